//! Stories of pushes: to a registry that takes what it gets, and to such that are busy, broken, or say no.

use super::*;
use crate::{
    ImageError, ProgressEvent, PullRequest,
    registry::fake::{Fake, Reply, sha},
    testing::{Tar, Temp, import, load},
};
use flate2::Compression;
use std::{io::Read, sync::Mutex};

#[derive(Default)]
struct Told(Mutex<Vec<ProgressEvent>>);

impl Progress for Told {
    fn report(&self, event: ProgressEvent) {
        self.0.lock().unwrap().push(event);
    }
}

impl Told {
    /// What was said beside counts of bytes, without ids.
    fn lines(&self) -> Vec<String> {
        let told = self.0.lock().unwrap();
        told.iter().filter(|e| e.current.is_none()).map(|e| e.status.clone()).collect()
    }

    fn has(&self, line: &str) -> bool {
        self.lines().iter().any(|known| known == line)
    }
}

/// Images here, and a registry.
struct Lab {
    images: Images,
    fake: Fake,
    _temp: Temp,
}

impl Lab {
    async fn new() -> Self {
        let temp = Temp::new();
        Self { images: Images::open(&temp.path("image")).unwrap(), fake: Fake::start().await, _temp: temp }
    }

    fn name(&self, name: &str) -> Reference {
        Reference::parse(&format!("{}/{name}", self.fake.host())).unwrap()
    }

    async fn push(&self, name: &str) -> (Result<Vec<Pushed>>, Told) {
        let told = Arc::new(Told::default());
        let request = PushRequest { reference: self.name(name), auth: None };
        let pushed = self.images.push(request, &RegistryConfig::default(), told.clone()).await;
        (pushed, Arc::into_inner(told).unwrap())
    }

    async fn pull(&self, name: &str) {
        let request = PullRequest { reference: self.name(name), platform: None, auth: None, all_tags: false };
        let told = Arc::new(Told::default());
        self.images.pull(request, &RegistryConfig::default(), told).await.unwrap();
    }

    /// An image of one layer under a name there.
    fn image(&self, name: &str, content: &str) {
        import(&self.images, Tar::new().file("f", content).end(), &self.name(name).full()).unwrap();
    }
}

fn tar_of(blob: &[u8]) -> Vec<u8> {
    let mut tar = Vec::new();
    flate2::read::MultiGzDecoder::new(blob).read_to_end(&mut tar).unwrap();
    tar
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_arrives_whole_and_is_there_the_next_time() {
    let lab = Lab::new().await;
    let layer = Tar::new().file("f", "twice").end();
    let other = Tar::new().file("g", "once").end();
    // The same layer twice, as `COPY` of the same file makes it.
    load(&lab.images, &[layer.clone(), other, layer.clone()], &lab.name("app:1").full()).unwrap();
    let (pushed, told) = lab.push("app:1").await;
    let pushed = pushed.unwrap().remove(0);
    let (kind, raw) = lab.fake.manifest_of("app:1").unwrap();
    assert_eq!((kind.as_str(), sha(&raw), raw.len() as u64), (SCHEMA2, pushed.digest.clone(), pushed.size));
    let manifest: serde_json::Value = serde_json::from_slice(&raw).unwrap();
    let layers = manifest["layers"].as_array().unwrap();
    assert_eq!(layers.len(), 3);
    assert_eq!(layers[0], layers[2]);
    let uploads = lab.fake.seen().iter().filter(|seen| seen.method == http::Method::PATCH).count();
    assert_eq!(uploads, 3, "two layers and the configuration, each once");
    assert_eq!(told.lines().iter().filter(|line| *line == "Pushed").count(), 2);
    let last = format!("1: digest: {} size: {}", pushed.digest, pushed.size);
    assert_eq!(told.lines().pop(), Some(last));
    let (again, told) = lab.push("app:1").await;
    assert_eq!(again.unwrap().remove(0).digest, pushed.digest);
    assert_eq!(told.lines().iter().filter(|line| *line == "Layer already exists").count(), 2);
    let after = lab.fake.seen().iter().filter(|seen| seen.method == http::Method::PATCH).count();
    assert_eq!(after, uploads, "nothing is sent twice");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_neighbour_has_is_mounted_and_the_right_to_read_there_is_asked_for() {
    let lab = Lab::new().await;
    lab.fake.want_token(&format!("http://{}/token", lab.fake.host()));
    lab.image("one/app:1", "x");
    lab.push("one/app:1").await.0.unwrap();
    lab.images
        .tag(&lab.images.resolve(&lab.name("one/app:1").full()).unwrap(), &lab.name("two/app:1"))
        .unwrap();
    // A blob is there for the whole registry; that `two/app` lacks it is what a real one would say.
    lab.fake.rule(|seen| {
        let asks = seen.method == http::Method::HEAD && seen.path.starts_with("/v2/two/app/blobs/");
        asks.then(|| Reply::default().status(404))
    });
    let (pushed, told) = lab.push("two/app:1").await;
    pushed.unwrap();
    assert!(told.has("Mounted from one/app"), "{:?}", told.lines());
    let seen = lab.fake.seen();
    assert!(seen.iter().any(|s| s.path.starts_with("/v2/two/app/blobs/uploads/?mount=sha256:")
        && s.path.ends_with("&from=one%2Fapp")));
    assert!(seen.iter().any(|s| s.path.contains("scope=repository%3Aone%2Fapp%3Apull")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pulled_layer_is_mounted_from_where_it_came() {
    let lab = Lab::new().await;
    lab.image("base:1", "x");
    lab.push("base:1").await.0.unwrap();
    let id = lab.images.resolve(&lab.name("base:1").full()).unwrap();
    lab.images.remove(&id).unwrap();
    lab.pull("base:1").await;
    lab.images.tag(&id, &lab.name("mine:1")).unwrap();
    lab.fake.rule(|seen| {
        let asks = seen.method == http::Method::HEAD && seen.path.starts_with("/v2/mine/blobs/");
        asks.then(|| Reply::default().status(404))
    });
    let (pushed, told) = lab.push("mine:1").await;
    pushed.unwrap();
    assert!(told.has("Mounted from base"), "{:?}", told.lines());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_breaks_or_is_busy_gets_the_layer_again() {
    let lab = Lab::new().await;
    lab.image("app:1", "x");
    let mut answers = vec![
        Reply::new(429, "text/plain", "later").with("retry-after", "0"),
        Reply::new(502, "text/html", "<html>"),
    ];
    lab.fake.rule(move |seen| (seen.method == http::Method::PATCH).then(|| answers.pop()).flatten());
    let (pushed, told) = lab.push("app:1").await;
    pushed.unwrap();
    assert!(told.has("Retrying in 1 second"), "{:?}", told.lines());
    let (_, raw) = lab.fake.manifest_of("app:1").unwrap();
    let manifest: serde_json::Value = serde_json::from_slice(&raw).unwrap();
    let layer: Digest = serde_json::from_value(manifest["layers"][0]["digest"].clone()).unwrap();
    let blob = lab.fake.seen().into_iter().rfind(|s| sha(&s.body) == layer).unwrap().body;
    assert_eq!(tar_of(&blob), Tar::new().file("f", "x").end());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_says_which_registry_which_step_and_what_to_do() {
    let lab = Lab::new().await;
    lab.image("app:1", "x");
    lab.fake.rule(|seen| {
        let body = r#"{"errors":[{"code":"DENIED","message":"requested access to the resource is denied"}]}"#;
        (seen.method == http::Method::POST).then(|| Reply::json(403, body))
    });
    let error = lab.push("app:1").await.0.unwrap_err().to_string();
    let host = lab.fake.host();
    assert!(error.starts_with(&format!("denied (registry {host}, sending blob ")), "{error}");
    assert!(error.ends_with(&format!("; to log in: docker login {host})")), "{error}");
    let missing = lab.push("none:1").await.0.unwrap_err();
    assert_eq!(missing.to_string(), format!("An image does not exist locally with the tag: {host}/none"));
    let missing = lab.push("app:2").await.0.unwrap_err();
    assert!(matches!(missing, ImageError::NoSuchTag { .. }), "{missing}");
}

#[tokio::test(flavor = "multi_thread")]
async fn images_of_several_platforms_go_as_a_list_under_one_name() {
    let lab = Lab::new().await;
    let mut ids = Vec::new();
    for (name, content) in [("amd:1", "a"), ("arm:1", "b")] {
        lab.image(name, content);
        ids.push(lab.images.resolve(&lab.name(name).full()).unwrap());
    }
    lab.images.tag(&ids[1], &lab.name("app:1")).unwrap();
    let request = PushRequest { reference: lab.name("app:1"), auth: None };
    let registries = RegistryConfig::default();
    let pushed = lab.images.push_list(request, &ids, &registries, Arc::new(crate::Quiet)).await.unwrap();
    let (kind, raw) = lab.fake.manifest_of("app:1").unwrap();
    assert_eq!((kind.as_str(), sha(&raw)), (LIST, pushed.digest.clone()));
    let list: serde_json::Value = serde_json::from_slice(&raw).unwrap();
    let parts = list["manifests"].as_array().unwrap();
    assert_eq!(parts.len(), 2);
    for (part, id) in parts.iter().zip(&ids) {
        assert_eq!(part["platform"]["os"], "linux");
        let named = format!("app@{}", part["digest"].as_str().unwrap());
        let (kind, raw) = lab.fake.manifest_of(&named).unwrap();
        assert_eq!(kind, SCHEMA2);
        let manifest: serde_json::Value = serde_json::from_slice(&raw).unwrap();
        assert_eq!(manifest["config"]["digest"], id.as_str());
    }
    // Here its name with the list's digest is the image's that has the name.
    let known = lab.images.resolve(&lab.name("app").with_digest(pushed.digest).full()).unwrap();
    assert_eq!(known, ids[1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_manifest_goes_on_as_it_came() {
    let lab = Lab::new().await;
    let tar = Tar::new().file("f", "x").end();
    let blob = {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), Compression::best());
        gzip.write_all(&tar).unwrap();
        gzip.finish().unwrap()
    };
    let config = serde_json::json!({
        "architecture": "amd64", "os": "linux", "x-unknown": [1], "rootfs": {"type": "layers", "diff_ids": [sha(&tar)]},
    })
    .to_string();
    let part = |kind: &str, bytes: &[u8]| serde_json::json!({"mediaType": kind, "digest": sha(bytes), "size": bytes.len(), "annotations": {"a": "b"}});
    let manifest = serde_json::json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": part("application/vnd.oci.image.config.v1+json", config.as_bytes()),
        "layers": [part("application/vnd.oci.image.layer.v1.tar+gzip", &blob)],
        "annotations": {"org.example": "kept"}, "unknown": {"field": true},
    })
    .to_string();
    lab.fake.blob(config);
    lab.fake.blob(blob);
    let digest =
        lab.fake.manifest("their", "1", "application/vnd.oci.image.manifest.v1+json", manifest.clone());
    lab.pull("their:1").await;
    let id = lab.images.resolve(&lab.name("their:1").full()).unwrap();
    lab.images.tag(&id, &lab.name("ours:1")).unwrap();
    let pushed = lab.push("ours:1").await.0.unwrap().remove(0);
    assert_eq!(pushed.digest, digest);
    assert_eq!(lab.fake.manifest_of("ours:1").unwrap().1, manifest);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_whose_blobs_cannot_be_had_is_written_anew() {
    let lab = Lab::new().await;
    let tar = Tar::new().file("f", "x").end();
    // The layer is here already, so that the registry's own compression of it is never fetched.
    import(&lab.images, tar.clone(), "here:1").unwrap();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), Compression::none());
    gzip.write_all(&tar).unwrap();
    let blob = gzip.finish().unwrap();
    let config = serde_json::json!({
        "architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": [sha(&tar)]},
    })
    .to_string();
    let part = |kind: &str, bytes: &[u8]| serde_json::json!({"mediaType": kind, "digest": sha(bytes), "size": bytes.len()});
    let manifest = serde_json::json!({
        "schemaVersion": 2, "mediaType": SCHEMA2, "config": part(CONFIG, config.as_bytes()), "layers": [part(LAYER, &blob)],
    })
    .to_string();
    lab.fake.blob(config);
    let foreign = lab.fake.blob(blob);
    let digest = lab.fake.manifest("their", "1", SCHEMA2, manifest);
    lab.pull("their:1").await;
    lab.fake.lose(&foreign);
    let id = lab.images.resolve(&lab.name("their:1").full()).unwrap();
    lab.images.tag(&id, &lab.name("ours:1")).unwrap();
    let pushed = lab.push("ours:1").await.0.unwrap().remove(0);
    assert_ne!(pushed.digest, digest);
    let (_, raw) = lab.fake.manifest_of("ours:1").unwrap();
    assert!(!String::from_utf8_lossy(&raw).contains(foreign.as_str()));
}
