//! Layers that mean well, and layers that do not. Needs root: owners, devices, `trusted.` attributes.

use super::*;
use crate::testing::{LIMITS, Tar, Temp, block, entry, listing, pax};
use std::{
    os::unix::fs::{MetadataExt, symlink},
    path::Path,
};

/// Unpacks a layer into `root/tree`, beside which nothing may appear.
pub(super) fn unpack_into(temp: &Temp, tar: &[u8], limits: Limits) -> Result<Unpacked> {
    let tree = temp.path("layer/tree");
    std::fs::create_dir_all(&tree).unwrap();
    std::fs::write(temp.path("outside"), "secret").unwrap();
    let root = disk::open_dir(&tree).unwrap();
    let mut recipe = RecipeWriter::create(&temp.path("layer")).unwrap();
    let options = Options { whiteouts: true, root_entry: true, ..Options::default() };
    let unpacked = unpack(root.as_fd(), tar, &mut recipe, options, limits);
    assert_eq!(
        std::fs::read_to_string(temp.path("outside")).unwrap(),
        "secret",
        "something outside was written"
    );
    let mut beside: Vec<_> = std::fs::read_dir(&temp.0).unwrap().map(|e| e.unwrap().file_name()).collect();
    beside.sort();
    assert_eq!(beside, ["layer", "outside"], "something outside was made");
    unpacked
}

fn unpacked(tar: &[u8]) -> (Temp, Vec<String>) {
    let temp = Temp::new();
    unpack_into(&temp, tar, LIMITS).unwrap();
    let listing = listing(&temp.path("layer/tree"));
    (temp, listing)
}

fn refusal(tar: &[u8]) -> String {
    let error = unpack_into(&Temp::new(), tar, LIMITS).unwrap_err();
    assert!(matches!(error, ImageError::Tar { .. }), "{error:?}");
    error.to_string()
}

fn opaque(path: &Path) -> bool {
    whiteout::is_opaque(disk::open_dir(path).unwrap().as_fd())
}

#[test]
fn all_kinds_of_files_with_all_their_attributes() {
    let odd =
        Entry { mode: 0o6751, uid: 12, gid: 34, mtime: (1_000_000_000, 0), ..entry("d/f", EntryKind::File) };
    let tar = Tar::new()
        .dir("d/")
        .add(odd, b"content")
        .link("d/hard", "d/f")
        .symlink("d/soft", "../nowhere")
        .add(Entry { mode: 0o622, ..entry("pipe", EntryKind::Fifo) }, b"")
        .add(Entry { device: (1, 3), mode: 0o666, ..entry("null", EntryKind::Char) }, b"")
        .add(Entry { mode: 0o1777, mtime: (5, 0), ..entry("tmp", EntryKind::Dir) }, b"")
        .file("tmp/x", "")
        .end();
    let (temp, files) = unpacked(&tar);
    assert_eq!(
        files,
        [
            "d/",
            "d/f=content",
            "d/hard=content",
            "d/soft -> ../nowhere",
            "null special",
            "pipe special",
            "tmp/",
            "tmp/x="
        ]
    );
    let meta = |name: &str| std::fs::symlink_metadata(temp.path("layer/tree").join(name)).unwrap();
    let f = meta("d/f");
    assert_eq!(
        (f.mode() & 0o7777, f.uid(), f.gid(), f.mtime(), f.nlink()),
        (0o6751, 12, 34, 1_000_000_000, 2)
    );
    assert_eq!(meta("d/hard").ino(), f.ino());
    assert_eq!(meta("pipe").mode() & 0o7777, 0o622);
    assert_eq!((meta("null").rdev(), meta("null").mode() & 0o7777), (rustix::fs::makedev(1, 3), 0o666));
    assert_eq!(
        (meta("tmp").mode() & 0o7777, meta("tmp").mtime()),
        (0o1777, 5),
        "times of directories come last"
    );
}

#[test]
fn modes_and_owners_that_a_new_file_has_by_itself_or_not() {
    let modes = [0o644, 0o755, 0o666, 0o777, 0o600, 0o444, 0o0, 0o2755, 0o1644, 0o4711];
    let mut tar =
        Tar::new().dir("d/").add(Entry { gid: 9, mode: 0o2755, ..entry("group", EntryKind::Dir) }, b"");
    for mode in modes {
        for dir in ["d", "group"] {
            tar = tar.add(Entry { mode, ..entry(&format!("{dir}/{mode:o}"), EntryKind::File) }, b"x");
        }
    }
    let (temp, _) = unpacked(&tar.end());
    for mode in modes {
        for dir in ["d", "group"] {
            let meta =
                std::fs::metadata(temp.path("layer/tree").join(dir).join(format!("{mode:o}"))).unwrap();
            assert_eq!((meta.mode() & 0o7777, meta.uid(), meta.gid()), (mode, 0, 0), "{dir}/{mode:o}");
        }
    }
}

#[test]
fn extended_attributes_but_never_overlayfs_own() {
    let capability = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let with = Entry {
        uid: 5,
        xattrs: vec![
            (b"security.capability".to_vec(), capability.to_vec()),
            (b"user.note".to_vec(), b"a\nb".to_vec()),
            (b"trusted.overlay.redirect".to_vec(), b"/etc".to_vec()),
            (b"trusted.overlay.opaque".to_vec(), b"y".to_vec()),
        ],
        ..entry("f", EntryKind::File)
    };
    let (temp, _) = unpacked(&Tar::new().add(with, b"x").end());
    let path = temp.path("layer/tree/f");
    let get = |name: &str| {
        let mut value = [0; 64];
        rustix::fs::lgetxattr(&path, name, &mut value[..]).map(|n| value[..n].to_vec())
    };
    assert_eq!(get("security.capability").unwrap(), capability, "a change of owner must not take it away");
    assert_eq!(get("user.note").unwrap(), b"a\nb");
    assert_eq!(get("trusted.overlay.redirect"), Err(Errno::NODATA));
    assert_eq!(get("trusted.overlay.opaque"), Err(Errno::NODATA));
}

#[test]
fn whiteouts_and_opaque_directories() {
    let tar = Tar::new()
        .file(".wh.gone", "")
        .dir("d/")
        .file("d/.wh..wh..opq", "")
        .file("d/new", "1")
        .file("a/b/.wh.c", "")
        .file(".wh..wh.plnk", "")
        .end();
    let (temp, files) = unpacked(&tar);
    assert_eq!(files, ["a/", "a/b/", "a/b/c gone", "d/", "d/new=1", "gone gone"]);
    assert!(opaque(&temp.path("layer/tree/d")));
    assert!(!opaque(&temp.path("layer/tree/a")));
    for name in [".wh.", ".wh..", "d/.wh..."] {
        assert!(refusal(&Tar::new().file(name, "").end()).contains("whiteout of nothing"), "{name}");
    }
}

#[test]
fn a_whiteout_hides_only_what_is_below() {
    // In one layer, in both orders: what the layer itself has stays, and hides what is below by itself.
    let tar = Tar::new()
        .file("f", "1")
        .file(".wh.f", "")
        .dir("d/")
        .file("d/x", "2")
        .file(".wh.d", "")
        .file(".wh.g", "")
        .file("g", "3")
        .file(".wh.h", "")
        .dir("h/")
        .file(".wh.e", "")
        .file("e/y", "4")
        .end();
    let (temp, files) = unpacked(&tar);
    assert_eq!(files, ["d/", "d/x=2", "e/", "e/y=4", "f=1", "g=3", "h/"]);
    assert!(["d", "e", "h"].iter().all(|dir| opaque(&temp.path("layer/tree").join(dir))));
}

#[test]
fn absolute_names_start_at_the_root() {
    let (_temp, files) = unpacked(&Tar::new().file("/etc/x", "1").file("./a//b/../c", "2").end());
    assert_eq!(files, ["a/", "a/c=2", "etc/", "etc/x=1"]);
}

#[test]
fn names_that_climb_out_are_refused() {
    for name in ["../x", "a/../../x", "/../x", "..", "a/b/../../../outside"] {
        assert!(refusal(&Tar::new().file(name, "evil").end()).contains("leads out of the root"), "{name}");
    }
}

#[test]
fn links_are_followed_inside_of_the_root_only() {
    let temp = Temp::new();
    let outside = temp.path("outside").to_string_lossy().into_owned();
    let tar = Tar::new()
        .symlink("up", "../../../../../../..")
        .file("up/via-up", "1")
        .symlink("abs", "/")
        .file("abs/via-abs", "2")
        .symlink("dir", "real")
        .dir("real/")
        .file("dir/via-dir", "3")
        // A link to a file outside: the entry replaces the link, and never writes through it.
        .symlink("f", &outside)
        .file("f", "4")
        .end();
    unpack_into(&temp, &tar, LIMITS).unwrap();
    let files = listing(&temp.path("layer/tree"));
    assert_eq!(
        files,
        [
            "abs -> /",
            "dir -> real",
            "f=4",
            "real/",
            "real/via-dir=3",
            "up -> ../../../../../../..",
            "via-abs=2",
            "via-up=1"
        ]
    );
}

#[test]
fn a_link_that_leads_nowhere_is_no_parent() {
    assert!(refusal(&Tar::new().symlink("a", "/nowhere").file("a/b", "1").end()).contains("parent"));
    assert!(refusal(&Tar::new().symlink("a", "a").file("a/b", "1").end()).contains("parent"));
    assert!(refusal(&Tar::new().file("a", "").file("a/b", "1").end()).contains("parent"));
}

#[test]
fn hard_links_reach_nothing_outside() {
    for (target, why) in [
        ("../outside", "leads out"),
        ("/../../outside", "leads out"),
        ("etc/passwd", "does not exist"),
        ("/etc/passwd", "does not exist"),
        ("up/outside", "does not exist"),
        ("d", "is a directory"),
        ("", "leads out"),
    ] {
        let tar = Tar::new().dir("d/").symlink("up", "../..").link("l", target).end();
        assert!(refusal(&tar).contains(why), "{target}: {}", refusal(&tar));
    }
    // A link to a symbolic link is one more name of that link, not of what it leads to.
    let (_temp, files) = unpacked(&Tar::new().symlink("s", "/etc/passwd").link("l", "s").end());
    assert_eq!(files, ["l -> /etc/passwd", "s -> /etc/passwd"]);
    assert!(refusal(&Tar::new().file("a", "1").link("a", "a").end()).contains("link to itself"));
}

#[test]
fn a_parent_that_was_replaced_is_not_written_to() {
    // `d` is a directory, then a link: what comes after goes where the link leads, inside.
    let tar = Tar::new()
        .file("d/x", "1")
        .dir("e/")
        .symlink("d", "e")
        .file("d/y", "2")
        // And back again.
        .dir("d/")
        .file("d/z", "3")
        .end();
    let (_temp, files) = unpacked(&tar);
    assert_eq!(files, ["d/", "d/z=3", "e/", "e/y=2"]);
}

#[test]
fn holes_stay_holes_and_take_no_room() {
    let tar = Tar::new()
        .raw(&pax(&[("GNU.sparse.map", b"1073741824,3"), ("GNU.sparse.size", b"1099511627776")]))
        .raw(&block(b"s", b'0', 3, b"abc"))
        .end();
    let temp = Temp::new();
    let unpacked = unpack_into(&temp, &tar, Limits { bytes: 100, entries: 10 }).unwrap();
    assert_eq!(unpacked.size, 1 << 40);
    let meta = std::fs::metadata(temp.path("layer/tree/s")).unwrap();
    assert_eq!(meta.len(), 1 << 40);
    assert!(meta.blocks() < 100);
    let file = File::open(temp.path("layer/tree/s")).unwrap();
    let mut at = [0; 5];
    file.read_exact_at(&mut at, (1 << 30) - 1).unwrap();
    assert_eq!(&at, b"\0abc\0");
}

#[test]
fn long_runs_of_zeros_become_holes() {
    let mut content = vec![0; 3 << 20];
    content[1 << 20..][..5].copy_from_slice(b"words");
    for content in [content.clone(), content[..(1 << 20) + 5].to_vec(), vec![0; 1 << 20]] {
        let tar = Tar::new().add(entry("f", EntryKind::File), &content).end();
        let temp = Temp::new();
        unpack_into(&temp, &tar, LIMITS).unwrap();
        let path = temp.path("layer/tree/f");
        assert!(std::fs::read(&path).unwrap() == content);
        assert!(std::fs::metadata(&path).unwrap().blocks() * 512 <= 256 << 10, "it takes room");
    }
}

#[test]
fn what_is_too_large_is_refused_before_it_is_written() {
    let tar = Tar::new().file("a", &"x".repeat(60)).file("b", &"x".repeat(60)).end();
    let temp = Temp::new();
    let error = unpack_into(&temp, &tar, Limits { bytes: 100, entries: 10 }).unwrap_err();
    assert!(matches!(error, ImageError::TooLarge { limit: 100, .. }), "{error:?}");
    assert!(!temp.path("layer/tree/b").exists());
    let many = (0..20).fold(Tar::new(), |tar, n| tar.file(&n.to_string(), "")).end();
    let error = unpack_into(&Temp::new(), &many, Limits { bytes: 100, entries: 10 }).unwrap_err();
    assert!(matches!(error, ImageError::TooLarge { limit: 10, .. }), "{error:?}");
}

#[test]
fn impossible_names_are_the_tars_fault() {
    assert!(refusal(&Tar::new().file(&"n".repeat(300), "").end()).contains("too long"));
    assert!(refusal(&Tar::new().file(&"n/".repeat(3000), "").end()).contains("too long"));
}

#[test]
fn a_cut_off_layer_is_refused() {
    let tar = Tar::new().file("a", &"x".repeat(5000)).end();
    assert!(refusal(&tar[..3000]).contains("ends inside of it"));
}

#[test]
fn an_archive_is_unpacked_below_a_directory_with_links_of_the_whole_root() {
    let temp = Temp::new();
    let root = temp.path("root");
    std::fs::create_dir_all(root.join("srv/real")).unwrap();
    std::fs::create_dir(root.join("etc")).unwrap();
    symlink("/etc", root.join("srv/link")).unwrap();
    let fd = disk::open_dir(&root).unwrap();
    let rules = Options { no_overwrite_dir_non_dir: true, below: b"srv".to_vec(), ..Options::default() };
    let tar = Tar::new().dir("./").file("link/x", "1").file(".wh.y", "2").end();
    unpack(fd.as_fd(), &tar[..], &mut NoTap, rules.clone(), LIMITS).unwrap();
    assert_eq!(listing(&root), ["etc/", "etc/x=1", "srv/", "srv/.wh.y=2", "srv/link -> /etc", "srv/real/"]);
    for (tar, words) in [
        (Tar::new().file("real", ""), "cannot overwrite directory \"srv/real\" with non-directory \"real\""),
        (Tar::new().dir(".wh.y/"), "cannot overwrite non-directory \"srv/.wh.y\" with directory \".wh.y/\""),
    ] {
        let error = unpack(fd.as_fd(), &tar.end()[..], &mut NoTap, rules.clone(), LIMITS).unwrap_err();
        assert!(error.to_string().contains(words), "{error}");
    }
    // Without that rule what is there goes, with all that is in it.
    let rules = Options { below: b"srv".to_vec(), owner: Some((7, 8)), ..Options::default() };
    unpack(fd.as_fd(), &Tar::new().file("real", "3").end()[..], &mut NoTap, rules, LIMITS).unwrap();
    let meta = std::fs::metadata(root.join("srv/real")).unwrap();
    assert_eq!((meta.uid(), meta.gid(), meta.len()), (7, 8, 1));
}
