//! Stories of pulls: from a registry that serves what it should, and from liars.

use super::*;
use crate::{
    ProgressEvent,
    registry::{
        RegistryOptions,
        fake::{Fake, Reply, sha},
    },
};
use std::{
    fs,
    io::{Read, Write},
    os::fd::OwnedFd,
    path::PathBuf,
    sync::atomic::AtomicU32,
};

const MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
const GZIP: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";

/// A store in a directory of its own, gone with the test.
struct Store {
    images: Images,
    root: PathBuf,
}

impl Store {
    fn open() -> Self {
        static LAST: AtomicU32 = AtomicU32::new(0);
        let name = format!("minke-pull-{}-{}", std::process::id(), LAST.fetch_add(1, Ordering::Relaxed));
        let root = std::env::temp_dir().join(name);
        Self { images: Images::open(&root).unwrap(), root }
    }

    /// Names below `dir` of the store.
    fn names(&self, dir: &str) -> Vec<String> {
        let entries = fs::read_dir(self.root.join(dir)).into_iter().flatten().flatten();
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
    }

    /// Waits until threads of pulls that ended have ended too, and what they left is gone.
    async fn settled(&self) -> bool {
        for _ in 0..6000 {
            if ["ingest", "l", "trash", "blobs/sha256"].iter().all(|dir| self.names(dir).is_empty()) {
                return true;
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        false
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.root);
    }
}

/// Remembers what was reported.
#[derive(Default)]
struct Told(Mutex<Vec<ProgressEvent>>);

impl Progress for Told {
    fn report(&self, event: ProgressEvent) {
        self.0.lock().unwrap().push(event);
    }
}

impl Told {
    /// `id: status`, without the many `Downloading`.
    fn lines(&self) -> Vec<String> {
        let events = self.0.lock().unwrap();
        let shown = events.iter().filter(|e| e.status != "Downloading");
        shown.map(|e| e.id.iter().map(|id| format!("{id}: ")).collect::<String>() + &e.status).collect()
    }
}

fn tar(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, content) in files {
        let mut header = tar::Header::new_ustar();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        header.set_mtime(1);
        builder.append_data(&mut header, name, *content).unwrap();
    }
    builder.into_inner().unwrap()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Bytes that do not compress.
fn noise(size: usize) -> Vec<u8> {
    let mut x = 7u32;
    let next = |_| {
        x = x.wrapping_mul(1664525).wrapping_add(1013904223);
        (x >> 24) as u8
    };
    (0..size).map(next).collect()
}

/// An image in a registry: its layers (tar and blob) and its documents.
#[derive(Clone)]
struct Made {
    config: Vec<u8>,
    manifest: Vec<u8>,
    blobs: Vec<Vec<u8>>,
}

impl Made {
    /// Layers are given as tar, blob and media type.
    fn new(architecture: &str, kind: &str, layers: &[(Vec<u8>, Vec<u8>, &str)]) -> Self {
        let diff_ids: Vec<String> = layers.iter().map(|(tar, ..)| sha(tar).to_string()).collect();
        let config = serde_json::json!({
            "architecture": architecture, "os": "linux", "config": {"Cmd": ["/bin/true"]},
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
        });
        let config = config.to_string().into_bytes();
        let described: Vec<_> = layers
            .iter()
            .map(|(_, blob, media)| serde_json::json!({"mediaType": media, "digest": sha(blob), "size": blob.len()}))
            .collect();
        let config_type = "application/vnd.docker.container.image.v1+json";
        let manifest = serde_json::json!({
            "schemaVersion": 2, "mediaType": kind,
            "config": {"mediaType": config_type, "digest": sha(&config), "size": config.len()},
            "layers": described,
        });
        let blobs = layers.iter().map(|(_, blob, _)| blob.clone()).collect();
        Self { config, manifest: manifest.to_string().into_bytes(), blobs }
    }

    /// Two small layers.
    fn small(architecture: &str) -> Self {
        let base = tar(&[("base", b"1"), ("etc/issue", b"hello")]);
        let top = tar(&[("arch", architecture.as_bytes())]);
        let layers = [(base.clone(), gzip(&base), GZIP), (top.clone(), gzip(&top), GZIP)];
        Self::new(architecture, MANIFEST, &layers)
    }

    /// One layer of `size` bytes that do not compress.
    fn large(size: usize) -> Self {
        let tar = tar(&[("big", &noise(size))]);
        Self::new("amd64", MANIFEST, &[(tar.clone(), gzip(&tar), GZIP)])
    }

    fn id(&self) -> Digest {
        sha(&self.config)
    }

    /// Puts it into a registry; the digest of its manifest.
    fn push(&self, fake: &Fake, repository: &str, tag: &str) -> Digest {
        fake.blob(self.config.clone());
        for blob in &self.blobs {
            fake.blob(blob.clone());
        }
        let kind = if self.manifest.windows(4).any(|w| w == b".oci") { OCI_MANIFEST } else { MANIFEST };
        fake.manifest(repository, tag, kind, self.manifest.clone())
    }

    /// What people see of its layers.
    fn shorts(&self) -> Vec<String> {
        self.blobs.iter().map(|blob| sha(blob).short().to_owned()).collect()
    }
}

fn request(fake: &Fake, name: &str) -> PullRequest {
    let reference = Reference::parse(&format!("{}/{name}", fake.host())).unwrap();
    PullRequest { reference, platform: None, auth: None, all_tags: false }
}

fn amd64() -> Option<Platform> {
    Some(platform::parse("linux/amd64").unwrap())
}

async fn pull(store: &Store, request: PullRequest) -> (Result<Pulled>, Arc<Told>) {
    let told = Arc::new(Told::default());
    let result = store.images.pull(request, &RegistryConfig::default(), told.clone()).await;
    (result, told)
}

/// dockerd's sentence, and after it the registry and the step where it is not said already.
#[track_caller]
fn assert_told(error: &str, sentence: &str, fake: &Fake) {
    let said = error.strip_prefix(sentence).unwrap_or_else(|| panic!("{error}\nis not\n{sentence}"));
    let placed = said.starts_with(&format!(" (registry {}, ", fake.host())) && said.ends_with(')');
    assert!(placed || said.is_empty() && error.contains(&fake.host()), "{error}");
}

async fn refused(store: &Store, request: PullRequest) -> String {
    match pull(store, request).await.0 {
        Ok(pulled) => panic!("pulled {pulled:?}"),
        Err(e) => e.to_string(),
    }
}

fn read_file(root: &OwnedFd, name: &str) -> Vec<u8> {
    let file = rustix::fs::openat(root, name, rustix::fs::OFlags::RDONLY, rustix::fs::Mode::empty()).unwrap();
    let mut content = Vec::new();
    fs::File::from(file).read_to_end(&mut content).unwrap();
    content
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_arrives_with_dockers_lines_and_is_up_to_date_the_next_time() {
    let (fake, store, made) = (Fake::start().await, Store::open(), Made::small("amd64"));
    let digest = made.push(&fake, "team/app", "v1");
    let (pulled, told) = pull(&store, request(&fake, "team/app:v1")).await;
    let pulled = pulled.unwrap();
    assert_eq!(pulled, Pulled { id: made.id(), digest: digest.clone(), up_to_date: false });
    let lines = told.lines();
    let (host, shorts) = (fake.host(), made.shorts());
    assert_eq!(lines[0], "v1: Pulling from team/app");
    assert_eq!(lines[1..3], shorts.iter().map(|s| format!("{s}: Pulling fs layer")).collect::<Vec<_>>()[..]);
    for short in &shorts {
        let prefix = format!("{short}: ");
        let of: Vec<&str> = lines.iter().filter_map(|line| line.strip_prefix(&prefix)).collect();
        assert_eq!(
            of,
            ["Pulling fs layer", "Verifying Checksum", "Download complete", "Extracting", "Pull complete"]
        );
    }
    let end = [format!("Digest: {digest}"), format!("Status: Downloaded newer image for {host}/team/app:v1")];
    assert_eq!(lines[lines.len() - 2..], end);
    let image = store.images.get(&pulled.id).unwrap();
    assert_eq!(
        image.tags.iter().map(Reference::familiar).collect::<Vec<_>>(),
        [format!("{host}/team/app:v1")]
    );
    assert_eq!(
        image.digests.iter().map(Reference::familiar).collect::<Vec<_>>(),
        [format!("{host}/team/app@{digest}")]
    );
    let requests = fake.seen().len();
    let (again, told) = pull(&store, request(&fake, "team/app:v1")).await;
    assert!(again.unwrap().up_to_date);
    let up_to_date = format!("Status: Image is up to date for {host}/team/app:v1");
    assert_eq!(
        told.lines(),
        ["v1: Pulling from team/app".to_owned(), format!("Digest: {digest}"), up_to_date]
    );
    let asked: Vec<String> =
        fake.seen()[requests..].iter().map(|s| format!("{} {}", s.method, s.path)).collect();
    assert_eq!(asked, ["GET /v2/", "HEAD /v2/team/app/manifests/v1"], "what is here is not fetched again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_layer_that_is_here_already_is_not_fetched() {
    let (fake, store) = (Fake::start().await, Store::open());
    let base = tar(&[("base", b"1")]);
    let shared = (base.clone(), gzip(&base), GZIP);
    let top = tar(&[("top", b"2")]);
    Made::new("amd64", MANIFEST, std::slice::from_ref(&shared)).push(&fake, "a", "1");
    let second = Made::new("amd64", MANIFEST, &[shared, (top.clone(), gzip(&top), GZIP)]);
    second.push(&fake, "b", "1");
    pull(&store, request(&fake, "a:1")).await.0.unwrap();
    let (pulled, told) = pull(&store, request(&fake, "b:1")).await;
    pulled.unwrap();
    let shorts = second.shorts();
    assert_eq!(
        told.lines()[1..3],
        [format!("{}: Already exists", shorts[0]), format!("{}: Pulling fs layer", shorts[1])]
    );
    assert_eq!(fake.count(&sha(&second.blobs[0]).to_string()), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn layers_may_be_plain_gzip_or_zstd() {
    let (fake, store) = (Fake::start().await, Store::open());
    let tars: Vec<Vec<u8>> = ["p", "g", "z"].iter().map(|name| tar(&[(name, name.as_bytes())])).collect();
    let zstd = zstd::encode_all(&tars[2][..], 1).unwrap();
    let kind = |suffix: &'static str| suffix;
    let layers = [
        (tars[0].clone(), tars[0].clone(), kind("application/vnd.oci.image.layer.v1.tar")),
        (tars[1].clone(), gzip(&tars[1]), kind("application/vnd.oci.image.layer.v1.tar+gzip")),
        (tars[2].clone(), zstd, kind("application/vnd.oci.image.layer.v1.tar+zstd")),
    ];
    Made::new("amd64", OCI_MANIFEST, &layers).push(&fake, "x", "latest");
    let pulled = pull(&store, request(&fake, "x")).await.0.unwrap();
    if !rustix::process::getuid().is_root() {
        return;
    }
    let root = store.images.open_image(&pulled.id).unwrap();
    for name in ["p", "g", "z"] {
        assert_eq!(read_file(&root, name), name.as_bytes());
    }
}

/// An index of images for these platforms; the index's digest.
fn index(fake: &Fake, tag: &str, entries: &[(&Made, &str)]) -> Digest {
    let manifests: Vec<_> = entries
        .iter()
        .map(|(made, text)| {
            let digest = made.push(fake, "multi", &format!("only-{}", text.replace('/', "-")));
            let parts: Vec<&str> = text.split('/').collect();
            let variant = parts.get(2).copied().unwrap_or_default();
            serde_json::json!({
                "mediaType": MANIFEST, "digest": digest, "size": made.manifest.len(),
                "platform": {"os": parts[0], "architecture": parts[1], "variant": variant},
            })
        })
        .collect();
    let body = serde_json::json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": manifests});
    fake.manifest("multi", tag, OCI_INDEX, body.to_string())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_image_for_the_platform_is_chosen_and_the_index_gives_the_digest() {
    let (fake, store) = (Fake::start().await, Store::open());
    let (arm, amd) = (Made::small("arm64"), Made::small("amd64"));
    let digest = index(&fake, "v1", &[(&arm, "linux/arm64/v8"), (&amd, "linux/amd64")]);
    for (platform, made) in [("linux/amd64", &amd), ("linux/arm64", &arm)] {
        let wanted = Some(platform::parse(platform).unwrap());
        let (pulled, told) =
            pull(&store, PullRequest { platform: wanted, ..request(&fake, "multi:v1") }).await;
        let pulled = pulled.unwrap();
        assert_eq!((pulled.id, pulled.digest), (made.id(), digest.clone()), "{platform}");
        assert!(!told.lines().iter().any(|line| line.contains("WARNING")));
    }
    let wanted = Some(platform::parse("linux/s390x").unwrap());
    let error = refused(&store, PullRequest { platform: wanted, ..request(&fake, "multi:v1") }).await;
    assert_eq!(error, "no matching manifest for linux/s390x in the manifest list entries");
    let mut by_digest = request(&fake, "multi");
    by_digest.reference = by_digest.reference.with_digest(digest.clone());
    let (pulled, told) = pull(&store, PullRequest { platform: amd64(), ..by_digest.clone() }).await;
    assert_eq!(pulled.unwrap().id, amd.id());
    assert_eq!(told.lines()[0], format!("{}/multi@{digest}: Pulling from multi", fake.host()));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_for_another_platform_comes_with_a_warning() {
    let (fake, store, made) = (Fake::start().await, Store::open(), Made::small("arm64"));
    made.push(&fake, "x", "1");
    let (pulled, told) = pull(&store, PullRequest { platform: amd64(), ..request(&fake, "x:1") }).await;
    pulled.unwrap();
    let last = told.lines().pop().unwrap();
    let name = format!("{}/x:1", fake.host());
    assert_eq!(
        last,
        format!(
            "WARNING: image with reference {name} was found but its platform (linux/arm64) does not match the specified platform (linux/amd64)"
        )
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn all_tags_are_pulled_one_after_the_other() {
    let (fake, store) = (Fake::start().await, Store::open());
    Made::small("amd64").push(&fake, "x", "a");
    Made::small("arm64").push(&fake, "x", "b");
    let (pulled, told) = pull(&store, PullRequest { all_tags: true, ..request(&fake, "x") }).await;
    pulled.unwrap();
    let lines = told.lines();
    let host = fake.host();
    for line in
        ["a: Pulling from x", "b: Pulling from x", &format!("Status: Downloaded newer image for {host}/x")]
    {
        assert!(lines.iter().any(|l| l == line), "{line} in {lines:?}");
    }
    assert_eq!(store.images.list().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn lies_are_caught_and_leave_nothing() {
    let made = Made::small("amd64");
    let top = sha(&made.blobs[1]);
    let manifest = sha(&made.manifest);
    let cases: [(&str, Box<dyn Fn(&Fake)>, String); 6] = [
        (
            "another manifest than HEAD said",
            Box::new(|fake| {
                let lie = String::from_utf8(Made::small("amd64").manifest)
                    .unwrap()
                    .replace("schemaVersion", "schemaVersion ");
                fake.rule(move |seen| {
                    let get = seen.method == http::Method::GET && seen.path.contains("/manifests/");
                    get.then(|| Reply::new(200, MANIFEST, lie.clone()))
                });
            }),
            format!("manifest verification failed for digest {manifest}"),
        ),
        (
            "another config",
            Box::new(|fake| {
                let made = Made::small("amd64");
                let lie = String::from_utf8(made.config.clone()).unwrap().replace("true", "evil");
                fake.blob_as(&made.id(), lie);
            }),
            format!(
                "error pulling image configuration: image config verification failed for digest {}",
                made.id()
            ),
        ),
        (
            "another layer that unpacks to the same",
            Box::new(|fake| {
                let made = Made::small("amd64");
                let mut tar = Vec::new();
                flate2::read::GzDecoder::new(&made.blobs[1][..]).read_to_end(&mut tar).unwrap();
                let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
                encoder.write_all(&tar).unwrap();
                let mut lie = encoder.finish().unwrap();
                lie.resize(made.blobs[1].len(), 0);
                fake.blob_as(&sha(&made.blobs[1]), lie);
            }),
            format!("filesystem layer verification failed for digest {top}"),
        ),
        (
            "a layer that goes on after its end",
            Box::new(|fake| {
                let blob = Made::small("amd64").blobs[1].clone();
                fake.blob_as(&sha(&blob), [blob.as_slice(), b"more"].concat());
            }),
            format!("filesystem layer verification failed for digest {top}"),
        ),
        (
            "a layer that is missing",
            Box::new(move |fake| fake.lose(&sha(&Made::small("amd64").blobs[1]))),
            "unknown blob".into(),
        ),
        (
            "a config that is missing",
            Box::new(|fake| fake.lose(&Made::small("amd64").id())),
            "error pulling image configuration: download failed after attempts=1: unknown blob".into(),
        ),
    ];
    for (lie, tell, why) in cases {
        let (fake, store) = (Fake::start().await, Store::open());
        made.push(&fake, "x", "1");
        tell(&fake);
        assert_told(&refused(&store, request(&fake, "x:1")).await, &why, &fake);
        assert_eq!(store.images.list().len(), 0, "{lie}");
        assert!(store.settled().await, "{lie} left {:?} {:?}", store.names("l"), store.names("blobs/sha256"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_config_that_names_other_layers_than_the_manifest_is_refused() {
    let (fake, store) = (Fake::start().await, Store::open());
    let (one, two) = (tar(&[("one", b"1")]), tar(&[("two", b"2")]));
    // The config says `one`, the blob is `two`.
    let made = Made::new("amd64", MANIFEST, &[(one, gzip(&two), GZIP)]);
    made.push(&fake, "x", "1");
    let error = refused(&store, request(&fake, "x:1")).await;
    assert_told(&error, "layers from manifest don't match image configuration", &fake);
    assert!(store.settled().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_layer_is_resumed() {
    let (fake, store, made) = (Fake::start().await, Store::open(), Made::large(3_000_000));
    made.push(&fake, "x", "1");
    let (blob, mut first) = (Bytes::from(made.blobs[0].clone()), true);
    let path = format!("/blobs/{}", sha(&blob));
    fake.rule(move |seen| {
        let cut = seen.path.contains(&path) && std::mem::take(&mut first);
        cut.then(|| Reply::new(200, "x/y", blob.clone()).cut(1_500_000))
    });
    pull(&store, request(&fake, "x:1")).await.0.unwrap();
    let ranges: Vec<String> =
        fake.seen().iter().filter_map(|s| s.header("range").map(str::to_owned)).collect();
    assert_eq!(ranges.len(), 1, "{ranges:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_are_told_in_dockerds_words() {
    let (fake, store) = (Fake::start().await, Store::open());
    let host = fake.host();
    fake.rule(|seen| {
        let code = match seen.path.rsplit('/').next()? {
            "denied" => ("DENIED", "requested access to the resource is denied", 403),
            "noname" => ("NAME_UNKNOWN", "repository name not known to registry", 404),
            "limit" => ("TOOMANYREQUESTS", "You have reached your pull rate limit.", 429),
            _ => return None,
        };
        let body = serde_json::json!({"errors": [{"code": code.0, "message": code.1, "detail": {"x": 1}}]});
        Some(Reply::json(code.2, &body.to_string()))
    });
    for (tag, why, kind) in [
        (
            "none",
            format!("manifest for {host}/x:none not found: manifest unknown: manifest unknown"),
            minke_model::Kind::NotFound,
        ),
        (
            "denied",
            format!(
                "pull access denied for {host}/x, repository does not exist or may require 'docker login': denied: requested access to the resource is denied"
            ),
            minke_model::Kind::NotFound,
        ),
        (
            "noname",
            format!("repository {host}/x not found: name unknown: repository name not known to registry"),
            minke_model::Kind::NotFound,
        ),
        (
            "limit",
            "toomanyrequests: You have reached your pull rate limit.".into(),
            minke_model::Kind::Internal,
        ),
    ] {
        let error = pull(&store, request(&fake, &format!("x:{tag}"))).await.0.unwrap_err();
        assert_told(&error.to_string(), &why, &fake);
        assert_eq!(error.kind(), kind);
    }
    let scratch = PullRequest { reference: Reference::parse("scratch").unwrap(), ..request(&fake, "x") };
    assert_eq!(refused(&store, scratch).await, "'scratch' is a reserved name");
    fake.want_basic("Basic never");
    let error = refused(&store, request(&fake, "x:none")).await;
    let sentence = format!("Head \"http://{host}/v2/x/manifests/none\": no basic auth credentials");
    assert_told(&error, &sentence, &fake);
    assert!(error.contains(&format!("docker login {host}")), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mirror_that_does_not_know_an_image_is_passed_over() {
    let (mirror, hub, store) = (Fake::start().await, Fake::start().await, Store::open());
    let made = Made::small("amd64");
    made.push(&hub, "library/x", "1");
    let options =
        RegistryOptions { mirrors: vec![format!("http://{}", mirror.host())], ..RegistryOptions::default() };
    let config = RegistryConfig::with_hub(options, &format!("http://{}", hub.host())).unwrap();
    let reference = Reference::parse("x:1").unwrap();
    let request = PullRequest { reference, platform: None, auth: None, all_tags: false };
    let told = Arc::new(Told::default());
    let pulled = store.images.pull(request.clone(), &config, told.clone()).await.unwrap();
    assert_eq!(pulled.id, made.id());
    assert!(mirror.count("/library/x/manifests/1") > 0);
    assert_eq!(told.lines()[0], "1: Pulling from library/x");
    assert_eq!(told.lines().pop().unwrap(), "Status: Downloaded newer image for x:1");
    let seen = hub.seen().len();
    made.push(&mirror, "library/x", "2");
    let request = PullRequest { reference: Reference::parse("x:2").unwrap(), ..request };
    store.images.pull(request, &config, told).await.unwrap();
    assert_eq!(hub.seen().len(), seen, "what the mirror has is not asked of Docker Hub");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_pulls_of_one_layer_fetch_it_once() {
    let (fake, store, made) = (Fake::start().await, Store::open(), Made::large(1_000_000));
    made.push(&fake, "x", "1");
    made.push(&fake, "y", "1");
    let (one, two) = tokio::join!(pull(&store, request(&fake, "x:1")), pull(&store, request(&fake, "y:1")));
    assert_eq!(one.0.unwrap().id, two.0.unwrap().id);
    assert_eq!(fake.count(&sha(&made.blobs[0]).to_string()), 1);
    for told in [one.1, two.1] {
        assert!(
            told.lines().iter().any(|line| line.ends_with(": Pull complete")),
            "both hear that it is there"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_that_is_dropped_stops_and_leaves_nothing_and_another_goes_on() {
    let (fake, store, made) = (Fake::start().await, Store::open(), Made::large(2_000_000));
    made.push(&fake, "x", "1");
    let (blob, mut first) = (Bytes::from(made.blobs[0].clone()), true);
    let path = format!("/blobs/{}", sha(&blob));
    fake.rule(move |seen| {
        let stall = seen.path.contains(&path) && std::mem::take(&mut first);
        stall.then(|| Reply { hang: Some(1_000_000), ..Reply::new(200, "x/y", blob.clone()) })
    });
    /// Tells when bytes arrive.
    struct Arrived(tokio::sync::Notify);
    impl Progress for Arrived {
        fn report(&self, event: ProgressEvent) {
            if event.status == "Downloading" {
                self.0.notify_one();
            }
        }
    }
    let arrived = Arc::new(Arrived(tokio::sync::Notify::new()));
    let config = RegistryConfig::default();
    let stuck = store.images.pull(request(&fake, "x:1"), &config, arrived.clone());
    tokio::select! {
        _ = stuck => panic!("it cannot end"),
        () = arrived.0.notified() => {}
    }
    assert!(store.settled().await, "left {:?}", store.names("ingest"));
    pull(&store, request(&fake, "x:1")).await.0.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn only_so_many_layers_arrive_at_once_and_the_others_wait() {
    let (fake, store) = (Fake::start().await, Store::open());
    let layers: Vec<_> = (0..6)
        .map(|n| {
            let tar = tar(&[(&format!("f{n}"), b"x")]);
            (tar.clone(), gzip(&tar), GZIP)
        })
        .collect();
    let made = Made::new("amd64", MANIFEST, &layers);
    made.push(&fake, "x", "1");
    let (pulled, told) = pull(&store, request(&fake, "x:1")).await;
    pulled.unwrap();
    let waiting: Vec<String> = told.lines().into_iter().filter(|line| line.ends_with(": Waiting")).collect();
    assert_eq!(waiting, made.shorts()[3..].iter().map(|s| format!("{s}: Waiting")).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_layer_twice_is_fetched_once() {
    let (fake, store) = (Fake::start().await, Store::open());
    let empty = tar(&[]);
    let layer = (empty.clone(), gzip(&empty), GZIP);
    let other = tar(&[("f", b"x")]);
    let made = Made::new("amd64", MANIFEST, &[layer.clone(), (other.clone(), gzip(&other), GZIP), layer]);
    made.push(&fake, "x", "1");
    let pulled = pull(&store, request(&fake, "x:1")).await.0.unwrap();
    assert_eq!(store.images.layer_sizes(&pulled.id).unwrap().len(), 3);
    assert_eq!(fake.count(&sha(&made.blobs[0]).to_string()), 1);
}
