//! Containers' roots, mounted for real. Needs root.

use crate::{
    Change, ChangeKind, CommitRequest, ImageError, Images, path,
    snapshot::{Rootfs, overlay},
    tarball::{Entry, EntryKind},
    testing::{Tar, Temp, entry, images, import, listing, load},
};
use minke_model::{ContainerId, image::ImageDefaults};
use rustix::fs::{Mode, OFlags};
use std::{
    fs,
    io::{Read, Write},
    os::{
        fd::{AsFd, OwnedFd},
        unix::fs::{MetadataExt, PermissionsExt},
    },
    path::PathBuf,
};

/// What a path holds inside of a mounted root.
fn read(root: &OwnedFd, path: &str) -> Option<String> {
    let fd = path::open_in_root(root.as_fd(), path.as_bytes(), OFlags::RDONLY, Mode::empty()).ok()?;
    let mut text = String::new();
    fs::File::from(fd).read_to_string(&mut text).unwrap();
    Some(text)
}

fn write(root: &OwnedFd, path: &str, text: &str) {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC;
    let fd = path::open_in_root(root.as_fd(), path.as_bytes(), flags, Mode::from_raw_mode(0o644)).unwrap();
    fs::File::from(fd).write_all(text.as_bytes()).unwrap();
}

/// A path for calls that take only paths.
fn at(root: &OwnedFd, path: &str) -> PathBuf {
    PathBuf::from(format!("{}/{path}", crate::disk::proc_path(root.as_fd())))
}

fn container(images: &Images, image: &str) -> ContainerId {
    let id = ContainerId::random();
    images.prepare(&id, Some(&images.resolve(image).unwrap())).unwrap();
    id
}

fn told(images: &Images, container: &ContainerId) -> Vec<String> {
    let letter = |change: &Change| match change.kind {
        ChangeKind::Modified => 'C',
        ChangeKind::Added => 'A',
        ChangeKind::Deleted => 'D',
    };
    images.changes(container).unwrap().iter().map(|c| format!("{} {}", letter(c), c.path)).collect()
}

#[test]
fn a_container_writes_on_top_of_its_image() {
    let (_temp, images) = images();
    load(
        &images,
        &[
            Tar::new().file("a", "1").file("b", "1").dir("d/").file("d/x", "1").end(),
            Tar::new().file("b", "2").file(".wh.a", "").file("d/.wh..wh..opq", "").file("d/y", "2").end(),
        ],
        "x",
    )
    .unwrap();
    let id = container(&images, "x");
    let root = images.open_rootfs(&id).unwrap();
    assert_eq!((read(&root, "a"), read(&root, "b").as_deref()), (None, Some("2")));
    assert_eq!((read(&root, "d/x"), read(&root, "d/y").as_deref()), (None, Some("2")));
    assert_eq!(fs::metadata(at(&root, ".")).unwrap().permissions().mode() & 0o7777, 0o755);
    // What every container has.
    assert_eq!(read(&root, "etc/hosts").as_deref(), Some(""));
    assert!(fs::metadata(at(&root, "proc")).unwrap().is_dir());
    write(&root, "new", "3");
    drop(root);

    assert_eq!(images.usage(&id).unwrap(), 1);
    let Rootfs { upper, lower, .. } = images.rootfs(&id).unwrap();
    assert_eq!(listing(&upper), ["new=3"], "mount points are no change of the container's");
    assert_eq!(lower.len(), 3);
    let image = images.open_image(&images.resolve("x").unwrap()).unwrap();
    assert_eq!((read(&image, "b").as_deref(), read(&image, "new")), (Some("2"), None));
    assert!(fs::write(at(&image, "b"), "").is_err(), "an image is read-only");
    assert!(matches!(images.prepare(&id, None), Err(ImageError::SnapshotExists { .. })));
    assert_eq!(images.snapshots(), std::slice::from_ref(&id));
    images.discard(&id).unwrap();
    images.discard(&id).unwrap();
    assert!(matches!(images.rootfs(&id), Err(ImageError::NoSuchSnapshot { .. })));
    assert!(!upper.exists());
}

#[test]
fn a_root_of_nothing_has_only_mount_points() {
    let (_temp, images) = images();
    let id = ContainerId::random();
    images.prepare(&id, None).unwrap();
    let root = images.open_rootfs(&id).unwrap();
    assert!(fs::metadata(at(&root, "dev/pts")).unwrap().is_dir());
    assert_eq!(fs::read_link(at(&root, "etc/mtab")).unwrap(), PathBuf::from("/proc/mounts"));
    assert_eq!(images.changes(&id).unwrap(), []);
}

#[test]
fn an_images_own_links_and_files_give_way_to_mount_points() {
    let (_temp, images) = images();
    let tar = Tar::new()
        .add(Entry { mode: 0o700, ..entry("etc", EntryKind::Dir) }, b"")
        .symlink("etc/resolv.conf", "../run/resolv.conf")
        .file("etc/hosts", "image's own")
        .file("etc/passwd", "root")
        .symlink("dev", "/somewhere")
        .end();
    import(&images, tar, "x").unwrap();
    let id = container(&images, "x");
    let root = images.open_rootfs(&id).unwrap();
    assert_eq!(read(&root, "etc/hosts").as_deref(), Some(""));
    assert_eq!(read(&root, "etc/passwd").as_deref(), Some("root"));
    assert!(fs::symlink_metadata(at(&root, "etc/resolv.conf")).unwrap().is_file());
    assert!(fs::symlink_metadata(at(&root, "dev")).unwrap().is_dir());
    assert_eq!(fs::metadata(at(&root, "etc")).unwrap().permissions().mode() & 0o777, 0o700);
    assert_eq!(told(&images, &id), Vec::<String>::new());
}

#[test]
fn the_same_layer_twice_in_an_image() {
    let (_temp, images) = images();
    let a = Tar::new().file("f", "a").end();
    let id = load(&images, &[a.clone(), Tar::new().file("f", "b").file("g", "b").end(), a], "x").unwrap();
    assert_eq!(images.layer_sizes(&id).unwrap(), [1, 2, 1]);
    assert_eq!(images.get(&id).unwrap().size, 4);
    let root = images.open_rootfs(&container(&images, "x")).unwrap();
    assert_eq!((read(&root, "f").as_deref(), read(&root, "g").as_deref()), (Some("a"), Some("b")));
}

#[test]
fn two_hundred_layers_are_mounted_by_both_ways() {
    let (_temp, images) = images();
    let layers: Vec<_> =
        (0..200).map(|n| Tar::new().file("last", &n.to_string()).file(&format!("f{n}"), "").end()).collect();
    load(&images, &layers, "x").unwrap();
    let id = container(&images, "x");
    let Rootfs { lower, upper, work } = images.rootfs(&id).unwrap();
    assert_eq!(lower.len(), 201);
    let root = overlay::by_context(&lower, Some((&upper, &work)), false).unwrap();
    assert_eq!(read(&root, "last").as_deref(), Some("199"));
    assert!(read(&root, "f0").is_some());
    drop(root);
    // A page takes fewer.
    let root = overlay::by_page(&images.0, &lower[..150], Some((&upper, &work))).unwrap();
    assert_eq!(read(&root, "last").as_deref(), Some("199"));
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounts.contains(&*images.0.root.to_string_lossy()), "nothing stays mounted on the host");
    assert_eq!(fs::read_dir(images.0.root.join("ingest")).unwrap().count(), 0);
}

#[test]
fn changes_are_told_as_docker_tells_them() {
    let (_temp, images) = images();
    let tar = Tar::new()
        .file("same", "1")
        .file("edit", "1")
        .file("gone", "1")
        .file("d/keep", "1")
        .file("d/gone", "1")
        .file("tree/a/b", "1")
        .file("swap/x", "1")
        .file("to-dir", "1")
        .file("mode", "1")
        .end();
    import(&images, tar, "x").unwrap();
    let id = container(&images, "x");
    let root = images.open_rootfs(&id).unwrap();
    // Copied up, and nothing more.
    fs::OpenOptions::new().append(true).open(at(&root, "same")).unwrap();
    fs::hard_link(at(&root, "same"), at(&root, "link")).unwrap();
    write(&root, "edit", "22");
    fs::remove_file(at(&root, "gone")).unwrap();
    fs::remove_file(at(&root, "d/gone")).unwrap();
    fs::remove_dir_all(at(&root, "tree")).unwrap();
    fs::remove_dir_all(at(&root, "swap")).unwrap();
    fs::create_dir(at(&root, "swap")).unwrap();
    write(&root, "swap/y", "");
    fs::remove_file(at(&root, "to-dir")).unwrap();
    fs::create_dir(at(&root, "to-dir")).unwrap();
    write(&root, "to-dir/z", "");
    fs::set_permissions(at(&root, "mode"), fs::Permissions::from_mode(0o600)).unwrap();
    fs::create_dir_all(at(&root, "new/deep")).unwrap();
    write(&root, "new/deep/f", "");
    drop(root);
    assert_eq!(
        told(&images, &id),
        [
            "C /d",
            "D /d/gone",
            "C /edit",
            "D /gone",
            "A /link",
            "C /mode",
            "A /new",
            "A /new/deep",
            "A /new/deep/f",
            "C /swap",
            "D /swap/x",
            "A /swap/y",
            "C /to-dir",
            "A /to-dir/z",
            "D /tree",
        ]
    );
}

#[test]
fn changes_of_a_running_container_are_told_and_it_runs_on() {
    let (_temp, images) = images();
    import(&images, Tar::new().file("a", "1").file("b", "1").file("c", "1").end(), "x").unwrap();
    let id = container(&images, "x");
    // As its own mount.
    let running = images.open_rootfs(&id).unwrap();
    write(&running, "a", "2");
    fs::remove_file(at(&running, "b")).unwrap();
    assert_eq!(told(&images, &id), ["C /a", "D /b"]);
    // It can still copy up, which needs its work directory.
    write(&running, "c", "3");
    assert_eq!(told(&images, &id), ["C /a", "D /b", "C /c"]);
}

#[test]
fn a_commit_is_an_image_of_the_changes() {
    let (_temp, images) = images();
    let base =
        import(&images, Tar::new().file("a", "1").file("b", "1").file("d/x", "1").end(), "base").unwrap();
    let id = container(&images, "base");
    let root = images.open_rootfs(&id).unwrap();
    write(&root, "a", "2");
    fs::remove_file(at(&root, "b")).unwrap();
    fs::remove_dir_all(at(&root, "d")).unwrap();
    fs::create_dir(at(&root, "d")).unwrap();
    write(&root, "d/y", "2");
    fs::hard_link(at(&root, "d/y"), at(&root, "hard")).unwrap();
    rustix::fs::setxattr(at(&root, "a"), c"user.note", b"hello", rustix::fs::XattrFlags::empty()).unwrap();
    std::os::unix::fs::chown(at(&root, "a"), Some(70_000), Some(8)).unwrap();
    drop(root);
    let request = CommitRequest {
        container: id.clone(),
        parent: Some(base.clone()),
        author: "me".into(),
        comment: "why".into(),
        created_by: "sh -c x".into(),
        config: ImageDefaults { cmd: Some(vec!["new".into()]), ..ImageDefaults::default() },
        reference: Some("made:1".parse().unwrap()),
    };
    let made = images.commit(request.clone()).unwrap();
    let image = images.get(&made).unwrap();
    assert_eq!(image.tags, ["made:1".parse().unwrap()]);
    assert_eq!(image.parent.as_ref(), Some(&base));
    assert_eq!((image.config.author.as_str(), image.config.comment.as_str()), ("me", "why"));
    assert_eq!(image.config.defaults.cmd.as_deref(), Some(&["new".to_owned()][..]));
    assert_eq!(image.config.history.len(), 2);
    assert_eq!(image.config.history[1].created_by, "sh -c x");
    assert_eq!(image.config.diff_ids.len(), 2);

    let again = container(&images, "made:1");
    let root = images.open_rootfs(&again).unwrap();
    assert_eq!((read(&root, "a").as_deref(), read(&root, "b")), (Some("2"), None));
    assert_eq!((read(&root, "d/x"), read(&root, "d/y").as_deref()), (None, Some("2")));
    let meta = fs::metadata(at(&root, "a")).unwrap();
    assert_eq!((meta.uid(), meta.gid()), (70_000, 8));
    assert_eq!(fs::metadata(at(&root, "hard")).unwrap().ino(), fs::metadata(at(&root, "d/y")).unwrap().ino());
    let mut note = [0; 9];
    assert_eq!(rustix::fs::getxattr(at(&root, "a"), c"user.note", &mut note[..]), Ok(5));
    drop(root);

    // Nothing changed: no layer, but a line of history.
    let unchanged = images.commit(CommitRequest { container: again, parent: Some(made), ..request }).unwrap();
    let unchanged = images.get(&unchanged).unwrap();
    assert_eq!(unchanged.config.diff_ids, image.config.diff_ids);
    assert!(unchanged.config.history[2].empty_layer);
}

#[test]
fn a_container_keeps_its_layers_when_its_image_goes() {
    let (temp, images) = images();
    let id = import(&images, Tar::new().file("a", "1").end(), "x").unwrap();
    let kept = container(&images, "x");
    assert_eq!(images.remove(&id).unwrap(), [id]);
    assert_eq!(images.stored_size(), 1);
    // Also over a restart.
    drop(images);
    let images = Images::open(&temp.path("image")).unwrap();
    let root = images.open_rootfs(&kept).unwrap();
    assert_eq!(read(&root, "a").as_deref(), Some("1"));
    drop(root);
    images.discard(&kept).unwrap();
    assert_eq!(images.stored_size(), 0);
    images.0.trash.wait();
    let left = |dir: &str| fs::read_dir(temp.path("image").join(dir)).unwrap().count();
    assert_eq!((left("l"), left("blobs/sha256"), left("trash"), left("init")), (0, 0, 0, 0));
}

#[test]
fn a_deep_tree_of_a_container_goes_too() {
    let (_temp, images): (Temp, Images) = images();
    let id = ContainerId::random();
    images.prepare(&id, None).unwrap();
    let upper = images.rootfs(&id).unwrap().upper;
    let mut dir = crate::disk::open_dir(&upper).unwrap();
    for _ in 0..3000 {
        rustix::fs::mkdirat(&dir, "d", Mode::RWXU).unwrap();
        dir = rustix::fs::openat(&dir, "d", OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).unwrap();
    }
    drop(dir);
    let error = images.changes(&id).unwrap_err();
    assert!(matches!(error, ImageError::Io { .. }), "told, and no stack overflows: {error}");
    images.discard(&id).unwrap();
    assert!(!upper.exists());
    images.0.trash.wait();
    assert_eq!(fs::read_dir(images.0.root.join("trash")).unwrap().count(), 0);
}
