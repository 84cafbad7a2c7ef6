//! Archives as docker, skopeo and buildx write them, and ours read back.

use crate::{
    ImageError, Images, Loaded, Progress, ProgressEvent, Quiet, Result,
    config::digest,
    tarball::{EntryKind, NoTap, TarReader},
    testing::{Tar, archive, entry, images, import, listing, load},
};
use minke_model::{ImageId, image::Platform};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    io::Write,
    sync::{Arc, Mutex},
};

/// Files of an archive by name.
fn files(tar: &[u8]) -> BTreeMap<String, Vec<u8>> {
    let mut reader = TarReader::new(tar);
    let mut files = BTreeMap::new();
    while let Some(entry) = reader.next(&mut NoTap).unwrap() {
        let mut content = Vec::new();
        while !reader.payload().unwrap().is_empty() {
            let chunk = reader.payload().unwrap().to_vec();
            reader.consume(chunk.len());
            content.extend(chunk);
        }
        if entry.kind == EntryKind::File {
            files.insert(entry.name(), content);
        }
    }
    files
}

fn save(images: &Images, names: &[&str]) -> Vec<u8> {
    let names: Vec<_> = names.iter().map(|n| (*n).to_owned()).collect();
    let mut out = Vec::new();
    images.save(&names, None, &mut out).unwrap();
    out
}

fn take(images: &Images, tar: &[u8]) -> Result<Vec<Loaded>> {
    images.load(tar, None, &Quiet)
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn names(loaded: &[Loaded]) -> Vec<String> {
    let name = |loaded: &Loaded| match loaded {
        Loaded::Reference(reference) => reference.to_string(),
        Loaded::Id(id) => id.to_string(),
    };
    loaded.iter().map(name).collect()
}

fn refusal(tar: &[u8]) -> String {
    let (temp, images) = images();
    let error = take(&images, tar).unwrap_err();
    assert_eq!(images.list(), [], "{error}");
    let left = |dir: &str| std::fs::read_dir(temp.path("image").join(dir)).unwrap().count();
    assert_eq!((left("l"), left("ingest"), left("images")), (0, 0, 0), "{error}");
    error.to_string()
}

#[test]
fn an_image_saved_and_loaded_again_is_the_same() {
    let (_temp, here) = images();
    let lower = Tar::new().dir("d/").file("d/a", "1").link("d/hard", "d/a").symlink("s", "/d").end();
    let upper = Tar::new().file("d/.wh.a", "").file("b", "2").end();
    let id = load(&here, &[lower.clone(), upper.clone()], "a/b:c").unwrap();
    let saved = save(&here, &["a/b:c"]);
    let (_temp, there) = images();
    assert_eq!(names(&take(&there, &saved).unwrap()), ["a/b:c"]);
    assert_eq!(there.resolve("a/b:c").unwrap(), id);
    assert_eq!(*there.get(&id).unwrap().config, *here.get(&id).unwrap().config);
    assert_eq!(save(&there, &["a/b:c"]), saved, "and so is what is saved of it");
    for (layer, tar) in there.get(&id).unwrap().config.diff_ids.iter().zip([lower, upper]) {
        let mut out = Vec::new();
        there.lease_layer(layer).unwrap().write_tar(&mut out).unwrap();
        assert_eq!(out, tar);
    }
}

#[test]
fn what_is_saved_is_both_dockers_and_an_oci_layout() {
    let (_temp, images) = images();
    let id = load(&images, &[Tar::new().file("a", "1").end()], "x:1").unwrap();
    images.tag(&id, &"y".parse().unwrap()).unwrap();
    let files = files(&save(&images, &["x:1", "y", id.as_str()]));
    let order: Vec<_> = files.keys().filter(|k| !k.starts_with("blobs/")).collect();
    assert_eq!(order, ["index.json", "manifest.json", "oci-layout", "repositories"]);
    let json = |name: &str| -> Value { serde_json::from_slice(&files[name]).unwrap() };
    let diff_id = &images.get(&id).unwrap().config.diff_ids[0];
    assert_eq!(
        json("manifest.json"),
        json!([{
            "Config": format!("blobs/sha256/{}", id.hex()),
            "RepoTags": ["x:1", "y:latest"],
            "Layers": [format!("blobs/sha256/{}", diff_id.hex())],
            "LayerSources": {diff_id.as_str(): {
                "mediaType": "application/vnd.oci.image.layer.v1.tar", "size": 2048, "digest": diff_id.as_str(),
            }},
        }])
    );
    assert_eq!(json("repositories"), json!({"x": {"1": diff_id.hex()}, "y": {"latest": diff_id.hex()}}));
    assert_eq!(json("oci-layout"), json!({"imageLayoutVersion": "1.0.0"}));
    let index = json("index.json");
    assert_eq!(index["manifests"].as_array().unwrap().len(), 2);
    let first = &index["manifests"][0];
    assert_eq!(first["annotations"]["io.containerd.image.name"], "docker.io/library/x:1");
    assert_eq!(first["annotations"]["org.opencontainers.image.ref.name"], "1");
    for (name, content) in &files {
        if let Some(hex) = name.strip_prefix("blobs/sha256/") {
            assert_eq!(digest(content).hex(), hex);
        }
    }
    // By its id alone an image has no name.
    let files = super::tests::files(&save(&images, &[id.as_str()]));
    let manifest: Value = serde_json::from_slice(&files["manifest.json"]).unwrap();
    assert_eq!(manifest[0]["RepoTags"], Value::Null);
    assert!(!files.contains_key("repositories"));
}

#[test]
fn a_repository_without_a_tag_means_all_of_its_tags() {
    let (_temp, images) = images();
    let a = load(&images, &[Tar::new().file("a", "1").end()], "x:1").unwrap();
    let b = load(&images, &[Tar::new().file("a", "2").end()], "x:2").unwrap();
    images.tag(&a, &"x:3".parse().unwrap()).unwrap();
    let manifest: Value = serde_json::from_slice(&files(&save(&images, &["x"]))["manifest.json"]).unwrap();
    let mut tags: Vec<_> = manifest.as_array().unwrap().iter().map(|i| i["RepoTags"].clone()).collect();
    tags.sort_by_key(ToString::to_string);
    assert_eq!(tags, [json!(["x:1", "x:3"]), json!(["x:2"])]);
    assert_ne!(a, b);
    assert!(matches!(
        images.save(&["nope".into()], None, &mut Vec::new()),
        Err(ImageError::NoSuchImage { .. })
    ));
}

#[test]
fn an_old_archive_with_layers_that_are_links_to_each_other() {
    // As docker before 25, and skopeo.
    let layer = Tar::new().file("a", "1").end();
    let config = json!({
        "architecture": "amd64", "os": "linux",
        "rootfs": {"type": "layers", "diff_ids": [digest(&layer), digest(&layer)]},
    })
    .to_string();
    let list =
        json!([{"Config": "c0ffee.json", "RepoTags": ["old:1"], "Layers": ["aa/layer.tar", "bb/layer.tar"]}]);
    let tar = Tar::new()
        .file("manifest.json", &list.to_string())
        .dir("aa/")
        .file("aa/VERSION", "1.0")
        .file("aa/json", "{\"id\":\"aa\"}")
        .symlink("aa/layer.tar", "../bb/layer.tar")
        .add(entry("bb/layer.tar", EntryKind::File), &layer)
        .file("c0ffee.json", &config)
        .end();
    for tar in [tar.clone(), gzip(&tar), zstd::encode_all(&tar[..], 1).unwrap()] {
        let (_temp, images) = images();
        assert_eq!(names(&take(&images, &tar).unwrap()), ["old:1"]);
        assert_eq!(images.resolve("old:1").unwrap(), digest(config.as_bytes()));
    }
}

/// An OCI layout's files with one image; its descriptor.
fn layout(layer: &[u8], blob: &[u8], architecture: &str) -> (Vec<(String, Vec<u8>)>, Value, ImageId) {
    let config = json!({
        "architecture": architecture, "os": "linux", "rootfs": {"type": "layers", "diff_ids": [digest(layer)]},
    });
    let config = config.to_string().into_bytes();
    let part = |media_type: &str, bytes: &[u8]| json!({"mediaType": media_type, "digest": digest(bytes), "size": bytes.len()});
    let manifest = json!({
        "schemaVersion": 2,
        "config": part("application/vnd.oci.image.config.v1+json", &config),
        "layers": [part("application/vnd.oci.image.layer.v1.tar+gzip", blob)],
    });
    let manifest = manifest.to_string().into_bytes();
    let mut described = part("application/vnd.oci.image.manifest.v1+json", &manifest);
    described["platform"] = json!({"architecture": architecture, "os": "linux"});
    let id = digest(&config);
    let blobs = [manifest, config, blob.to_vec()].map(|b| (format!("blobs/sha256/{}", digest(&b).hex()), b));
    (blobs.into(), described, id)
}

fn tar_of(files: Vec<(String, Vec<u8>)>, index: &Value) -> Vec<u8> {
    let mut tar = Tar::new().file("oci-layout", "{\"imageLayoutVersion\":\"1.0.0\"}");
    for (name, content) in files {
        tar = tar.add(entry(&name, EntryKind::File), &content);
    }
    tar.file("index.json", &index.to_string()).end()
}

#[test]
fn oci_layouts_with_every_compression() {
    let layer = Tar::new().file("a", "1").end();
    let zstd = zstd::encode_all(&layer[..], 1).unwrap();
    // Two members, as parallel compressors write.
    let members = [gzip(&layer[..700]), gzip(&layer[700..])].concat();
    for blob in [layer.clone(), gzip(&layer), members, zstd] {
        let (files, mut described, id) = layout(&layer, &blob, "amd64");
        described["annotations"] = json!({"org.opencontainers.image.ref.name": "v1"});
        let (_temp, images) = images();
        let loaded = take(&images, &tar_of(files.clone(), &json!({"manifests": [described]}))).unwrap();
        assert_eq!(names(&loaded), [id.to_string()], "a tag alone is no name");
        described["annotations"]["io.containerd.image.name"] = json!("docker.io/library/web:v1");
        let loaded = take(&images, &tar_of(files, &json!({"manifests": [described]}))).unwrap();
        assert_eq!(names(&loaded), ["web:v1"]);
    }
}

#[test]
fn a_nested_index_gives_the_wanted_platform() {
    let layer = Tar::new().file("a", "1").end();
    let (mut files, amd64, amd64_id) = layout(&layer, &gzip(&layer), "amd64");
    let other = Tar::new().file("a", "2").end();
    let (more, arm64, arm64_id) = layout(&other, &gzip(&other), "arm64");
    files.extend(more);
    let attestation = json!({
        "mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": digest(b"none"), "size": 4,
        "platform": {"architecture": "unknown", "os": "unknown"},
        "annotations": {"vnd.docker.reference.type": "attestation-manifest"},
    });
    let inner =
        json!({"schemaVersion": 2, "manifests": [arm64, amd64, attestation]}).to_string().into_bytes();
    files.push((format!("blobs/sha256/{}", digest(&inner).hex()), inner.clone()));
    let index = json!({"schemaVersion": 2, "manifests": [{
        "mediaType": "application/vnd.oci.image.index.v1+json", "digest": digest(&inner), "size": inner.len(),
        "annotations": {"org.opencontainers.image.ref.name": "example.org/app:2"},
    }]});
    let tar = tar_of(files, &index);
    let wanted = |architecture: &str| Platform {
        os: "linux".into(),
        architecture: architecture.into(),
        variant: String::new(),
    };
    for (architecture, id) in [("amd64", amd64_id), ("arm64", arm64_id)] {
        let (_temp, images) = images();
        images.load(&tar[..], Some(&wanted(architecture)), &Quiet).unwrap();
        assert_eq!(images.resolve("example.org/app:2").unwrap(), id);
    }
    let (_temp, images) = images();
    assert_eq!(images.load(&tar[..], Some(&wanted("s390x")), &Quiet).unwrap(), []);
}

#[test]
fn archives_that_lie_are_refused_and_leave_nothing() {
    let layer = Tar::new().file("a", "1").end();
    let config = |diff_ids: Value| json!({"rootfs": {"diff_ids": diff_ids}}).to_string();
    let with = |config: &str, list: Value| {
        Tar::new()
            .file("c.json", config)
            .add(entry("l.tar", EntryKind::File), &layer)
            .file("manifest.json", &list.to_string())
            .end()
    };
    let list = |layers: Value| json!([{"Config": "c.json", "RepoTags": ["x:1"], "Layers": layers}]);
    let good = config(json!([digest(&layer)]));
    let other = config(json!([digest(b"other")]));
    assert!(refusal(&with(&other, list(json!(["l.tar"])))).contains("invalid diffID for layer 0: expected"));
    assert!(refusal(&with(&good, list(json!([])))).contains("layers length mismatch: expected 0, got 1"));
    assert!(refusal(&with(&good, list(json!(["none.tar"])))).contains("it has no none.tar"));
    assert!(refusal(&with(&good, json!([{"Config": "none.json"}]))).contains("it has no none.json"));
    assert!(refusal(&with("{}", list(json!(["l.tar"])))).contains("no rootfs"));
    assert!(
        refusal(&with(&good, json!([{"Config": "c.json", "RepoTags": ["BAD"], "Layers": ["l.tar"]}])))
            .contains("lowercase")
    );
    assert!(refusal(&Tar::new().file("a", "1").end()).contains("neither manifest.json nor index.json"));
    assert!(refusal(b"rubbish").contains("inside of a block"));
    assert!(refusal(&archive(&[layer], "x:1")[..3000]).contains("ends inside"));
}

#[test]
fn a_hostile_layer_spoils_its_image_only() {
    let evil = Tar::new().file("../../evil", "x").end();
    assert!(refusal(&archive(std::slice::from_ref(&evil), "x:1")).contains("leads out of the root"));
    // Not named by the list, it is only not used.
    let mut tar = archive(&[Tar::new().file("a", "1").end()], "x:1");
    let extra = Tar::new().add(entry("extra/layer.tar", EntryKind::File), &evil).end();
    tar.splice(0..0, extra[..extra.len() - 1024].iter().copied());
    let (_temp, images) = images();
    assert_eq!(names(&take(&images, &tar).unwrap()), ["x:1"]);
}

#[test]
fn a_bomb_in_a_layer_is_bounded_by_the_disk() {
    let (_temp, images) = images();
    let bomb = crate::layer::Pending::unpack(
        images.0.ingest_dir(),
        &gzip(&Tar::new().file("zeros", &"\0".repeat(5 << 20)).end())[..],
        u64::MAX,
        None,
        crate::unpack::Limits { bytes: 1 << 20, entries: 10 },
    );
    assert!(matches!(bomb, Err(ImageError::TooLarge { .. })), "{bomb:?}");
    assert_eq!(std::fs::read_dir(images.0.root.join("ingest")).unwrap().count(), 0);
}

/// Keeps the lines.
#[derive(Default)]
struct Lines(Mutex<Vec<ProgressEvent>>);

impl Progress for Lines {
    fn report(&self, event: ProgressEvent) {
        self.0.lock().unwrap().push(event);
    }
}

#[test]
fn a_name_moves_and_docker_says_so() {
    let (_temp, images) = images();
    let old = load(&images, &[Tar::new().file("a", "1").end()], "x:1").unwrap();
    let lines = Lines::default();
    let tar = archive(&[Tar::new().file("a", "2").end()], "x:1");
    images.load(&tar[..], None, &lines).unwrap();
    let lines = lines.0.into_inner().unwrap();
    assert_eq!(lines[0].status, "Loading layer");
    assert_eq!(
        lines[1].status,
        format!("The image x:1 already exists, renaming the old one with ID {old} to empty string")
    );
    assert_eq!(images.get(&old).unwrap().tags, []);
}

#[test]
fn a_layer_that_is_here_is_not_unpacked_again() {
    let (temp, images) = images();
    let id = import(&images, Tar::new().file("a", "1").end(), "x").unwrap();
    let saved = save(&images, &["x"]);
    let before = listing(&temp.path("image/l"));
    take(&images, &saved).unwrap();
    assert_eq!(listing(&temp.path("image/l")), before);
    // Several at once, of the same.
    let other = Arc::new(archive(&[Tar::new().file("b", "2").end()], "y"));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| take(&images, &other).unwrap());
        }
    });
    assert_eq!(std::fs::read_dir(temp.path("image/l")).unwrap().count(), 2);
    assert_eq!(images.resolve("x").unwrap(), id);
}

#[test]
fn an_archive_from_before_manifests_is_taken() {
    let (_temp, images) = images();
    let (base, top) = (Tar::new().file("hello", "1").end(), Tar::new().file("more", "2").end());
    let about = |parent: &str, cmd: &str| {
        json!({"id": "x", "parent": parent, "created": "2015-10-13T23:47:48Z", "os": "linux", "architecture": "amd64",
            "container_config": {"Cmd": ["/bin/sh", "-c", cmd]}, "config": {"Cmd": [cmd]}, "Size": 9})
        .to_string()
    };
    let tar = Tar::new()
        .file("aa/VERSION", "1.0")
        .file("aa/json", &about("", "one"))
        .add(entry("aa/layer.tar", EntryKind::File), &base)
        .file("bb/json", &about("aa", "two"))
        .add(entry("bb/layer.tar", EntryKind::File), &top)
        .file("repositories", &json!({"old": {"1": "bb", "2": "aa"}}).to_string())
        .end();
    assert_eq!(names(&take(&images, &tar).unwrap()), ["old:2", "old:1"], "parents first, and no more");
    let image = images.get(&images.resolve("old:1").unwrap()).unwrap();
    assert_eq!(image.config.diff_ids, [digest(&base), digest(&top)]);
    assert_eq!(image.config.defaults.cmd.as_deref(), Some(&["two".to_owned()][..]));
    assert_eq!(image.config.history.len(), 2);
    assert_eq!(image.parent, Some(images.resolve("old:2").unwrap()));
    let orphan = Tar::new().file("repositories", r#"{"old": {"1": "cc"}}"#).end();
    assert!(refusal(&orphan).contains("it has no cc/json"));
}
