//! Trees out of roots and into them, as `docker cp` and `docker export` ask. Needs root.

use super::*;
use crate::{
    tarball::TarReader,
    testing::{Tar, Temp, listing},
};
use std::{
    fs,
    os::unix::fs::{MetadataExt, symlink},
};

/// A root with something in it, and a file outside.
fn root() -> (Temp, OwnedFd) {
    let temp = Temp::new();
    fs::write(temp.path("outside"), "secret").unwrap();
    let root = temp.path("root");
    fs::create_dir_all(root.join("srv/d/e")).unwrap();
    fs::write(root.join("srv/d/e/f"), "1").unwrap();
    fs::hard_link(root.join("srv/d/e/f"), root.join("srv/d/g")).unwrap();
    symlink("/srv/d", root.join("abs")).unwrap();
    symlink("../../outside", root.join("out")).unwrap();
    symlink("nowhere", root.join("dangling")).unwrap();
    let fd = disk::open_dir(&root).unwrap();
    (temp, fd)
}

fn names(root: &OwnedFd, path: &str, options: WriteOptions) -> Vec<String> {
    let mut tar = Vec::new();
    write_tar(root.as_fd(), path, &mut tar, &options).unwrap();
    let mut reader = TarReader::new(&tar[..]);
    let mut names = Vec::new();
    while let Some(entry) = reader.next(&mut NoTap).unwrap() {
        names.push(match entry.kind {
            EntryKind::Link => format!("{} = {}", entry.name(), String::from_utf8_lossy(&entry.link)),
            EntryKind::Symlink => format!("{} -> {}", entry.name(), String::from_utf8_lossy(&entry.link)),
            _ => entry.name(),
        });
    }
    names
}

const NAMED: WriteOptions = WriteOptions { named: true, root_entry: false, whiteouts: false };

#[test]
fn a_copy_is_named_after_what_was_asked_for() {
    let (_temp, root) = root();
    let below = |name: &str| {
        ["", "e/", "e/f", "g"].map(|rest| match rest {
            "g" => format!("{name}/g = {name}/e/f"),
            rest => format!("{name}/{rest}"),
        })
    };
    assert_eq!(names(&root, "/srv/d", NAMED), below("d"));
    assert_eq!(names(&root, "srv/d/.", NAMED), below("."));
    assert_eq!(names(&root, "/abs/", NAMED), below("abs"), "a link's directory, by the link's name");
    assert_eq!(names(&root, "/abs", NAMED), ["abs -> /srv/d"]);
    assert_eq!(names(&root, "/srv/d/e/f", NAMED), ["f"]);
    assert_eq!(
        names(&root, "/", WriteOptions::default()),
        [
            "abs -> /srv/d",
            "dangling -> nowhere",
            "out -> ../../outside",
            "srv/",
            "srv/d/",
            "srv/d/e/",
            "srv/d/e/f",
            "srv/d/g = srv/d/e/f"
        ]
    );
    assert_eq!(names(&root, "/", NAMED)[..2], ["/", "/abs -> /srv/d"]);
}

#[test]
fn a_path_is_looked_at_inside_of_the_root() {
    let (_temp, root) = root();
    let stat = |path: &str| stat(root.as_fd(), path);
    let link = stat("/abs").unwrap();
    assert_eq!(
        (link.name.as_str(), link.link_target.as_str(), link.mode & 0o170_000),
        ("abs", "/srv/d", 0o120_000)
    );
    assert_eq!(stat("/abs/.").unwrap().mode & 0o170_000, 0o040_000);
    assert_eq!(stat("abs/e/f").unwrap().size, 1);
    assert_eq!(stat("/dangling").unwrap().link_target, "/nowhere");
    assert_eq!(stat("/out").unwrap().link_target, "/outside", "it ends at the root");
    assert_eq!(stat("/").unwrap().name, "/");
    for path in ["/none", "/out/.", "/dangling/.", "/outside", "/../outside"] {
        assert!(matches!(stat(path), Err(ImageError::NoSuchPath { .. })), "{path}: {:?}", stat(path));
    }
    assert!(matches!(stat("/srv/d/e/f/."), Err(ImageError::WrongPath { .. })));
}

#[test]
fn an_archive_lands_below_its_directory_and_never_outside() {
    let (temp, root) = root();
    let into = |dir: &str, tar: Tar| extract(root.as_fd(), dir, &tar.end()[..], &ExtractOptions::default());
    into("/abs", Tar::new().file("new", "2").dir("e/").file("e/f", "3")).unwrap();
    into("/", Tar::new().file("out", "replaced")).unwrap();
    into("/srv/../../../..", Tar::new().file("top", "4")).unwrap();
    assert!(into("/srv", Tar::new().file("../x", "")).is_err());
    assert!(matches!(into("/none", Tar::new().file("x", "")), Err(ImageError::NoSuchPath { .. })));
    assert_eq!(fs::read_to_string(temp.path("outside")).unwrap(), "secret");
    assert_eq!(
        listing(&temp.path("root")),
        [
            "abs -> /srv/d",
            "dangling -> nowhere",
            "out=replaced",
            "srv/",
            "srv/d/",
            "srv/d/e/",
            "srv/d/e/f=3",
            "srv/d/g=1",
            "srv/d/new=2",
            "top=4"
        ]
    );
}

#[test]
fn a_volume_is_filled_from_a_directory_of_an_image() {
    let (temp, root) = root();
    std::os::unix::fs::chown(temp.path("root/srv/d"), Some(70), Some(71)).unwrap();
    fs::set_permissions(temp.path("root/srv/d"), std::os::unix::fs::PermissionsExt::from_mode(0o2750))
        .unwrap();
    let volume = temp.path("volume");
    fs::create_dir(&volume).unwrap();
    copy_directory(root.as_fd(), "/abs", &volume).unwrap();
    assert_eq!(listing(&volume), ["e/", "e/f=1", "g=1"]);
    let meta = fs::metadata(&volume).unwrap();
    assert_eq!((meta.uid(), meta.gid(), meta.mode() & 0o7777), (70, 71, 0o2750));
    assert_eq!(fs::metadata(volume.join("g")).unwrap().nlink(), 2);
    for nothing in ["/none", "/srv/d/e/f", "/dangling"] {
        copy_directory(root.as_fd(), nothing, &volume).unwrap();
    }
    assert_eq!(listing(&volume).len(), 3);
}

#[test]
fn sockets_are_left_out_and_devices_are_not_opened() {
    let (temp, root) = root();
    let _socket = std::os::unix::net::UnixListener::bind(temp.path("root/srv/socket")).unwrap();
    rustix::fs::mknodat(&root, "srv/pipe", FileType::Fifo, Mode::RWXU, 0).unwrap();
    rustix::fs::mknodat(&root, "srv/null", FileType::CharacterDevice, Mode::RWXU, rustix::fs::makedev(1, 3))
        .unwrap();
    let all = names(&root, "/srv", NAMED);
    assert!(all.contains(&"srv/pipe".to_owned()) && all.contains(&"srv/null".to_owned()));
    assert!(!all.contains(&"srv/socket".to_owned()));
}

#[test]
fn deep_trees_fit_on_a_small_stack_or_are_refused() {
    let temp = Temp::new();
    let deep = |name: &str, depth: usize| {
        fs::create_dir(temp.path(name)).unwrap();
        let mut dir = disk::open_dir(&temp.path(name)).unwrap();
        for _ in 0..depth {
            rustix::fs::mkdirat(&dir, "d", Mode::RWXU).unwrap();
            dir = rustix::fs::openat(&dir, "d", OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).unwrap();
        }
        disk::open_dir(&temp.path(name)).unwrap()
    };
    let (some, many) = (deep("some", 400), deep("many", 2000));
    // As large as the stack of a thread for blocking work.
    let worker = std::thread::Builder::new().stack_size(2 << 20).spawn(move || {
        let write = |root: &OwnedFd| write_tar(root.as_fd(), "/", &mut io::sink(), &WriteOptions::default());
        write(&some).unwrap();
        assert!(matches!(write(&many), Err(ImageError::Io { .. })));
    });
    worker.unwrap().join().unwrap();
    assert_eq!(crate::layer::tree_size(&temp.path("many")).unwrap(), 0);
}

#[test]
fn a_compressed_tar_is_extracted_too() {
    let (temp, root) = root();
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    packed.write_all(&Tar::new().file("readme", "hello").end()).unwrap();
    extract(root.as_fd(), "/srv", &packed.finish().unwrap()[..], &ExtractOptions::default()).unwrap();
    assert_eq!(fs::read_to_string(temp.path("root/srv/readme")).unwrap(), "hello");
}
