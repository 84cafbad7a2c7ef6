//! kill -9 in the middle of loads and pulls: what was there is whole, the rest is collected, and the same command then
//! succeeds. The one who is killed is this test program itself, started again.

use crate::{
    Images, PullRequest, Quiet, Reference, Result,
    registry::{
        RegistryConfig,
        fake::{Fake, sha},
    },
    testing::{Tar, Temp, archive},
};
use std::{
    collections::BTreeSet,
    io::Write,
    path::Path,
    process::{Child, Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

/// How often each command is killed.
const KILLS: u32 = 25;

/// What the second process is told: where, and what to do.
const ROOT: &str = "MINKE_CRASH_ROOT";
const LOAD: &str = "MINKE_CRASH_LOAD";
const PULL: &str = "MINKE_CRASH_PULL";

/// The second process; without being told, nothing.
#[test]
fn the_one_who_is_killed() {
    let Some(root) = std::env::var_os(ROOT) else { return };
    let images = Images::open(Path::new(&root)).unwrap();
    if let Some(path) = std::env::var_os(LOAD) {
        images.load(std::fs::File::open(path).unwrap(), None, &Quiet).unwrap();
    }
    if let Ok(name) = std::env::var(PULL) {
        pull(&images, &name).unwrap();
    }
}

fn pull(images: &Images, name: &str) -> Result<()> {
    let reference = Reference::parse(name).unwrap();
    let request = PullRequest { reference, platform: None, auth: None, all_tags: false };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(images.pull(request, &RegistryConfig::default(), Arc::new(Quiet))).map(drop)
}

fn begin(root: &Path, what: &str, with: &str) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "tests::crash::the_one_who_is_killed", "--nocapture"])
        .env(ROOT, root)
        .env(what, with)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// Three layers with many files, and one that replaces some of the first.
fn layers() -> Vec<Vec<u8>> {
    (0..4)
        .map(|layer| {
            let mut tar = Tar::new().dir(&format!("d{layer}"));
            for file in 0..120 {
                tar = tar.file(&format!("d{layer}/f{file}"), &format!("{layer}{file}").repeat(400));
            }
            tar.file("same", &layer.to_string()).end()
        })
        .collect()
}

/// Only what is whole is there, and nothing else.
fn check(images: &Images, root: &Path) {
    images.0.trash.wait();
    let list = images.list();
    for image in &list {
        let damaged: Vec<_> =
            images.verify(&image.id).unwrap().into_iter().filter(|part| part.damage.is_some()).collect();
        assert!(damaged.is_empty(), "{damaged:?}");
    }
    let names = |dir: &str| -> Vec<String> {
        let entries = std::fs::read_dir(root.join(dir)).unwrap();
        entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect()
    };
    assert_eq!(names("ingest"), Vec::<String>::new());
    assert_eq!(names("trash"), Vec::<String>::new());
    let wanted: BTreeSet<_> = list.iter().flat_map(|image| &image.config.diff_ids).collect();
    assert_eq!(names("l").len(), wanted.len(), "layers that no image has");
}

/// Kills `what` at many moments of its life, and lets it end at last.
fn kill_often(root: &Path, what: &str, with: &str) {
    let began = Instant::now();
    assert!(begin(root, what, with).wait().unwrap().success());
    let whole = began.elapsed();
    let images = Images::open(root).unwrap();
    check(&images, root);
    let kept = images.list();
    assert_eq!(kept.len(), 1);
    let mut survived = 0;
    for number in 0..KILLS {
        // From nothing, so that each time all is to be done.
        let images = Images::open(root).unwrap();
        for image in images.list() {
            images.remove(&image.id).unwrap();
        }
        images.0.trash.wait();
        drop(images);
        let mut child = begin(root, what, with);
        std::thread::sleep(whole.mul_f64(f64::from(number + 1) / f64::from(KILLS)));
        child.kill().unwrap();
        child.wait().unwrap();
        let images = Images::open(root).unwrap();
        check(&images, root);
        survived += images.list().len();
    }
    assert!(survived < KILLS as usize, "nobody was killed in the middle");
    assert!(begin(root, what, with).wait().unwrap().success(), "the same command then succeeds");
    let images = Images::open(root).unwrap();
    check(&images, root);
    let ids = |list: &[Arc<crate::Image>]| list.iter().map(|image| image.id.clone()).collect::<Vec<_>>();
    assert_eq!(ids(&images.list()), ids(&kept));
}

#[test]
fn a_load_that_is_killed_at_any_moment_leaves_all_or_nothing() {
    let temp = Temp::new();
    let path = temp.path("archive.tar");
    std::fs::File::create(&path).unwrap().write_all(&archive(&layers(), "x:1")).unwrap();
    kill_often(&temp.path("image"), LOAD, path.to_str().unwrap());
}

#[test]
fn a_pull_that_is_killed_at_any_moment_leaves_all_or_nothing() {
    let temp = Temp::new();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let fake = runtime.block_on(Fake::start());
    let layers = layers();
    let part = |kind: &str, bytes: &[u8]| serde_json::json!({"mediaType": kind, "digest": sha(bytes), "size": bytes.len()});
    let config = serde_json::json!({
        "architecture": std::env::consts::ARCH, "os": "linux",
        "rootfs": {"type": "layers", "diff_ids": layers.iter().map(|l| sha(l)).collect::<Vec<_>>()},
    })
    .to_string();
    let of_layers: Vec<_> =
        layers.iter().map(|l| part("application/vnd.oci.image.layer.v1.tar", l)).collect();
    let manifest = serde_json::json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "layers": of_layers,
        "config": part("application/vnd.oci.image.config.v1+json", config.as_bytes()),
    });
    for layer in layers {
        fake.blob(layer);
    }
    fake.blob(config);
    fake.manifest("x", "1", "application/vnd.oci.image.manifest.v1+json", manifest.to_string());
    kill_often(&temp.path("image"), PULL, &format!("{}/x:1", fake.host()));
}

/// Beside the one that is killed lies an image that has some of its layers.
#[test]
fn what_was_there_before_a_kill_is_still_whole() {
    let temp = Temp::new();
    let root = temp.path("image");
    let layers = layers();
    let (old, new) = (archive(&layers[..2], "old:1"), temp.path("new.tar"));
    std::fs::write(&new, archive(&layers, "new:1")).unwrap();
    Images::open(&root).unwrap().load(old.as_slice(), None, &Quiet).unwrap();
    for wait in [5, 20, 50, 100, 200] {
        let mut child = begin(&root, LOAD, new.to_str().unwrap());
        std::thread::sleep(Duration::from_millis(wait));
        child.kill().unwrap();
        child.wait().unwrap();
        let images = Images::open(&root).unwrap();
        check(&images, &root);
        images.resolve("old:1").unwrap();
        if let Ok(id) = images.resolve("new:1") {
            images.remove(&id).unwrap();
            images.0.trash.wait();
        }
    }
}
