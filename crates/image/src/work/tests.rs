use super::*;
use crate::testing::images;
use std::{collections::BTreeSet, fs, os::unix::fs::symlink};

/// Whether overlays can be mounted.
fn can_mount() -> bool {
    let can = rustix::process::geteuid().is_root();
    if !can {
        eprintln!("skipped: needs root");
    }
    can
}

fn layer(images: &Images, base: &Chain, change: impl FnOnce(&Path)) -> Chain {
    let work = images.work(base).unwrap();
    {
        let root = work.open().unwrap();
        change(Path::new(&disk::proc_path(root.as_fd())));
    }
    work.finish(None).unwrap()
}

#[test]
fn what_was_changed_becomes_a_layer_whose_tar_is_written_again() {
    let (_temp, images) = images();
    if !can_mount() {
        return;
    }
    let first = layer(&images, &Chain::default(), |root| {
        fs::create_dir(root.join("d")).unwrap();
        fs::write(root.join("d/a"), "one").unwrap();
        fs::write(root.join("gone"), "two").unwrap();
        symlink("d/a", root.join("l")).unwrap();
        fs::hard_link(root.join("d/a"), root.join("h")).unwrap();
    });
    let second = layer(&images, &first, |root| {
        fs::remove_file(root.join("gone")).unwrap();
        fs::write(root.join("d/b"), vec![7; 300_000]).unwrap();
    });
    assert_eq!(second.len(), 2);
    let mut tar = Vec::new();
    // It compares the digest of what it writes with the layer's.
    second.write_tar(1, &mut tar).unwrap();
    assert_eq!(tar.len() as u64, second.tar_size(1));
    let names: Vec<_> = tar::Archive::new(&tar[..])
        .entries()
        .unwrap()
        .map(|entry| entry.unwrap().path().unwrap().display().to_string())
        .collect();
    assert_eq!(names, ["d/", "d/b", ".wh.gone"]);
    let root = images.open_chain(&second).unwrap();
    let at = disk::proc_path(root.as_fd());
    assert_eq!(fs::read_to_string(format!("{at}/l")).unwrap(), "one");
    assert!(!Path::new(&format!("{at}/gone")).exists());
}

#[test]
fn blobs_hold_the_tar_in_each_form() {
    let (_temp, images) = images();
    if !can_mount() {
        return;
    }
    let chain = layer(&images, &Chain::default(), |root| fs::write(root.join("a"), "text").unwrap());
    let mut plain = Vec::new();
    chain.write_tar(0, &mut plain).unwrap();
    for form in [BlobForm::Tar, BlobForm::Gzip, BlobForm::Zstd] {
        let mut blob = Vec::new();
        chain.write_blob(0, form, &mut blob).unwrap();
        let taken = images.layer_of_tar(&blob[..], Some(&chain.diff_ids()[0])).unwrap();
        assert_eq!(taken.diff_ids(), chain.diff_ids(), "{form:?}");
    }
    let other = Digest::from_sha256(&[1; 32]);
    let refused = images.layer_of_tar(&plain[..], Some(&other));
    assert!(matches!(refused, Err(ImageError::DigestMismatch { .. })));
}

#[test]
fn times_are_no_later_than_asked() {
    let (_temp, images) = images();
    if !can_mount() {
        return;
    }
    let make = || {
        let work = images.work(&Chain::default()).unwrap();
        {
            let root = work.open().unwrap();
            let at = disk::proc_path(root.as_fd());
            fs::create_dir(format!("{at}/d")).unwrap();
            fs::write(format!("{at}/d/a"), "x").unwrap();
        }
        work.finish(Some(1_000_000_000)).unwrap().diff_ids()
    };
    assert_eq!(make(), make());
}

#[test]
fn layers_that_are_named_stay_over_a_restart_and_others_go() {
    let (temp, images) = images();
    if !can_mount() {
        return;
    }
    let kept = layer(&images, &Chain::default(), |root| fs::write(root.join("a"), "1").unwrap());
    let lost = layer(&images, &Chain::default(), |root| fs::write(root.join("b"), "2").unwrap());
    let (kept, lost) = (kept.diff_ids(), lost.diff_ids());
    drop(images);
    let named: BTreeSet<Digest> = kept.iter().cloned().collect();
    let (images, held) = Images::open_keeping(&temp.path("image"), &named).unwrap();
    assert_eq!(held.diff_ids(), kept);
    assert!(images.chain(&kept).is_some());
    assert!(images.chain(&lost).is_none());
}

#[test]
fn a_layer_of_another_boot_that_was_not_synced_is_not_believed() {
    let (temp, images) = images();
    if !can_mount() {
        return;
    }
    let chain = layer(&images, &Chain::default(), |root| fs::write(root.join("a"), "1").unwrap());
    let ids = chain.diff_ids();
    let dir = chain.leases()[0].0.dir.clone();
    fs::write(dir.join(UNSYNCED), "another boot").unwrap();
    drop(chain);
    drop(images);
    let named: BTreeSet<Digest> = ids.iter().cloned().collect();
    let (images, held) = Images::open_keeping(&temp.path("image"), &named).unwrap();
    assert!(held.is_empty());
    assert!(images.chain(&ids).is_none());
}

#[test]
fn a_work_that_is_dropped_leaves_nothing() {
    let (temp, images) = images();
    let work = images.work(&Chain::default()).unwrap();
    fs::write(temp.path("image/ingest").join("x"), "").unwrap();
    drop(work);
    let left = disk::names(&temp.path("image/ingest")).unwrap();
    assert_eq!(left, ["x"]);
}
