//! Layers made to do harm: each is refused, or does no harm. Beside the tree lies a secret, and nothing else may appear.

use super::{Limits, tests::unpack_into};
use crate::{
    ImageError,
    tarball::{Entry, EntryKind},
    testing::{LIMITS, Tar, Temp, block, entry, listing, pax},
};

/// What must come of it.
enum End {
    /// The tar is at fault.
    Refused,
    /// This tree, and nothing else.
    Tree(&'static [&'static str]),
}

use End::{Refused, Tree};

/// The directory beside the tree, seen from inside of it: `tree/..` is `layer`, above lies the secret.
const UP: &str = "../../outside";

fn cases() -> Vec<(&'static str, Vec<u8>, End)> {
    let file = |path: &str| entry(path, EntryKind::File);
    let device = |path: &str, device| Entry { device, mode: 0o666, ..entry(path, EntryKind::Char) };
    let deep = |depth: usize| "d/".repeat(depth);
    vec![
        // Names that climb.
        ("a name with dots in front", Tar::new().file(UP, "x").end(), Refused),
        ("a name with dots inside", Tar::new().dir("a").file("a/../../../outside", "x").end(), Refused),
        (
            "an absolute name stays below the root",
            Tar::new().file("/outside", "x").end(),
            Tree(&["outside=x"]),
        ),
        ("many slashes and dots", Tar::new().file(".//.///./a//./b", "x").end(), Tree(&["a/", "a/b=x"])),
        ("a name of dots only", Tar::new().add(entry("../..", EntryKind::Dir), b"").end(), Refused),
        ("a directory named by its parent", Tar::new().dir("a/..").file("b", "x").end(), Tree(&["b=x"])),
        (
            "a pax name that climbs",
            Tar::new().raw(&pax(&[("path", UP.as_bytes())])).raw(&block(b"a", b'0', 1, b"x")).end(),
            Refused,
        ),
        (
            "a long GNU name that climbs",
            Tar::new()
                .raw(&block(b"././@LongLink", b'L', UP.len() as u64 + 1, format!("{UP}\0").as_bytes()))
                .raw(&block(b"a", b'0', 1, b"x"))
                .end(),
            Refused,
        ),
        (
            "a sparse name that climbs",
            Tar::new()
                .raw(&pax(&[
                    ("GNU.sparse.map", b"0,1"),
                    ("GNU.sparse.size", b"1"),
                    ("GNU.sparse.name", UP.as_bytes()),
                ]))
                .raw(&block(b"a", b'0', 1, b"x"))
                .end(),
            Refused,
        ),
        // Links that lead out.
        (
            "a file through an absolute link lands below the root",
            Tar::new().symlink("l", "/etc").dir("etc").file("l/x", "1").end(),
            Tree(&["etc/", "etc/x=1", "l -> /etc"]),
        ),
        (
            "a file through a climbing link lands below the root",
            Tar::new().symlink("l", "../../..").file("l/x", "1").end(),
            Tree(&["l -> ../../..", "x=1"]),
        ),
        (
            "a link to a link to the outside",
            Tar::new().symlink("a", "b").symlink("b", "/../..").file("a/x", "1").end(),
            Tree(&["a -> b", "b -> /../..", "x=1"]),
        ),
        (
            "a file in place of a link does not follow it",
            Tar::new().symlink("l", UP).file("l", "x").end(),
            Tree(&["l=x"]),
        ),
        (
            "a directory in place of a link does not follow it",
            Tar::new().symlink("l", "../..").dir("l").file("l/outside", "x").end(),
            Tree(&["l/", "l/outside=x"]),
        ),
        ("a hard link to a climbing name", Tar::new().link("h", UP).end(), Refused),
        (
            "a hard link through a link",
            Tar::new().symlink("l", "../..").link("h", "l/outside").end(),
            Refused,
        ),
        (
            "a hard link to the link itself",
            Tar::new().symlink("l", UP).link("h", "l").end(),
            Tree(&["h -> ../../outside", "l -> ../../outside"]),
        ),
        (
            "writing through a hard link of a link",
            Tar::new().symlink("l", UP).link("h", "l").file("h", "x").end(),
            Tree(&["h=x", "l -> ../../outside"]),
        ),
        ("a hard link to itself", Tar::new().file("a", "1").link("a", "a").end(), Refused),
        ("a hard link to a directory", Tar::new().dir("d").link("h", "d").end(), Refused),
        (
            "links that go round",
            Tar::new().symlink("a", "b").symlink("b", "a").file("a/x", "1").end(),
            Refused,
        ),
        // Parents that change while the tar is unpacked (the races of CVE-2018-15664 and CVE-2021-30465, in one tar).
        (
            "a directory that becomes a link",
            Tar::new().dir("d").file("d/a", "1").symlink("d", "../..").file("d/outside", "x").end(),
            Tree(&["d -> ../..", "outside=x"]),
        ),
        (
            "a directory that becomes a link, deeper",
            Tar::new().dir("d/e").symlink("d", "/").file("d/e/f", "x").end(),
            Tree(&["d -> /", "e/", "e/f=x"]),
        ),
        (
            "times of a directory that became a link",
            Tar::new().dir("d").symlink("d", UP).end(),
            Tree(&["d -> ../../outside"]),
        ),
        // Whiteouts.
        ("a whiteout of the parent", Tar::new().file(".wh...", "").end(), Refused),
        ("a whiteout of itself", Tar::new().file(".wh..", "").end(), Refused),
        ("a whiteout of nothing", Tar::new().file("d/.wh.", "").end(), Refused),
        (
            "a whiteout through a link",
            Tar::new().symlink("l", "../..").file("l/.wh.outside", "").end(),
            Tree(&["l -> ../..", "outside gone"]),
        ),
        (
            "an opaque mark at the root",
            Tar::new().file("a", "1").file(".wh..wh..opq", "").end(),
            Tree(&["a=1"]),
        ),
        (
            "AUFS's own names make nothing",
            Tar::new().file(".wh..wh.plnk/x", "1").file(".wh..wh.aufs", "").end(),
            Tree(&[]),
        ),
        (
            "a device that overlayfs takes for a whiteout",
            Tar::new().add(device("a", (0, 0)), b"").end(),
            Tree(&["a gone"]),
        ),
        (
            "overlayfs's own attributes",
            Tar::new()
                .add(
                    Entry {
                        xattrs: vec![(b"trusted.overlay.redirect".to_vec(), b"/../../outside".to_vec())],
                        ..entry("d", EntryKind::Dir)
                    },
                    b"",
                )
                .end(),
            Tree(&["d/"]),
        ),
        // Numbers and sizes that lie.
        ("a size beyond the end", block(b"a", b'0', 1 << 40, b"x"), Refused),
        (
            "a size that does not fit",
            Tar::new().raw(&pax(&[("size", b"99999999999999999999")])).raw(&block(b"a", b'0', 1, b"x")).end(),
            Refused,
        ),
        (
            "a negative size",
            Tar::new().raw(&pax(&[("size", b"-1")])).raw(&block(b"a", b'0', 1, b"x")).end(),
            Refused,
        ),
        (
            "a size for what has none moves no header",
            Tar::new().raw(&block(b"l", b'5', 512, b"")).file("f", "1").end(),
            Tree(&["f=1", "l/"]),
        ),
        (
            "pax size of a link moves no header",
            Tar::new()
                .raw(&pax(&[("size", b"512"), ("linkpath", b"f")]))
                .raw(&block(b"l", b'2', 0, b""))
                .file("f", "1")
                .end(),
            Tree(&["f=1", "l -> f"]),
        ),
        (
            "a record longer than its header",
            Tar::new().raw(&block(b"p", b'x', 10, b"99 path=a\n")).file("f", "1").end(),
            Refused,
        ),
        (
            "a record of no length",
            Tar::new().raw(&block(b"p", b'x', 8, b"0 a=b\n\n\n")).file("f", "1").end(),
            Refused,
        ),
        (
            "a header of headers",
            Tar::new().raw(&block(b"p", b'x', 1 << 30, b"")).file("f", "1").end(),
            Refused,
        ),
        (
            "holes that overlap",
            Tar::new()
                .raw(&pax(&[("GNU.sparse.map", b"0,2,1,2"), ("GNU.sparse.size", b"9")]))
                .raw(&block(b"s", b'0', 4, b"abcd"))
                .end(),
            Refused,
        ),
        (
            "a map beyond the file",
            Tar::new()
                .raw(&pax(&[("GNU.sparse.map", b"18446744073709551615,4"), ("GNU.sparse.size", b"9")]))
                .raw(&block(b"s", b'0', 4, b"abcd"))
                .end(),
            Refused,
        ),
        (
            "a NUL inside of a name",
            Tar::new().raw(&pax(&[("path", b"a\0b")])).raw(&block(b"x", b'0', 1, b"1")).end(),
            Refused,
        ),
        (
            "an empty name is the root",
            Tar::new().raw(&block(b"", b'5', 0, b"")).file("f", "1").end(),
            Tree(&["f=1"]),
        ),
        (
            "a name too long for the kernel",
            Tar::new()
                .raw(&pax(&[("path", "n".repeat(300).as_bytes())]))
                .raw(&block(b"x", b'0', 1, b"1"))
                .end(),
            Refused,
        ),
        (
            "a path too long for the kernel",
            Tar::new()
                .raw(&pax(&[("path", format!("{}f", deep(3000)).as_bytes())]))
                .raw(&block(b"x", b'0', 1, b"1"))
                .end(),
            Refused,
        ),
        ("an unknown type", Tar::new().raw(&block(b"x", b'Z', 0, b"")).end(), Refused),
        (
            "an owner that does not fit",
            Tar::new().raw(&pax(&[("uid", b"4294967296")])).raw(&block(b"x", b'0', 0, b"")).end(),
            Refused,
        ),
        (
            "a file where a directory is needed",
            Tar::new().add(file("a"), b"1").file("a/b", "2").end(),
            Refused,
        ),
    ]
}

#[test]
fn at_least_thirty_hostile_layers_do_no_harm() {
    let cases = cases();
    assert!(cases.len() >= 30);
    let mut wrong = Vec::new();
    for (name, tar, end) in cases {
        let temp = Temp::new();
        let unpacked = unpack_into(&temp, &tar, LIMITS);
        match end {
            Refused => {
                let error = unpacked.map(drop).err();
                let is_tars_fault =
                    matches!(error, Some(ImageError::Tar { .. } | ImageError::TooLarge { .. }));
                if !is_tars_fault {
                    wrong.push(format!("{name}: {error:?}, {:?}", listing(&temp.path("layer/tree"))));
                }
            }
            Tree(tree) => match unpacked {
                Err(e) => wrong.push(format!("{name}: {e}")),
                Ok(_) if listing(&temp.path("layer/tree")) == tree => {}
                Ok(_) => wrong.push(format!("{name}: {:?}", listing(&temp.path("layer/tree")))),
            },
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn bombs_are_bounded() {
    let limits = Limits { bytes: 1 << 20, entries: 1000 };
    let many = (0..2000).fold(Tar::new(), |tar, n| tar.file(&format!("f{n}"), "")).end();
    let large = Tar::new().add(entry("f", EntryKind::File), &vec![7; 2 << 20]).end();
    // The same bytes again and again by links are the same bytes; by files they are not.
    let twice = (0..40).fold(Tar::new(), |tar, n| tar.file(&format!("f{n}"), &"x".repeat(40_000))).end();
    for (name, tar) in [("entries", many), ("bytes", large), ("many small ones", twice)] {
        let error = unpack_into(&Temp::new(), &tar, limits).map(drop).unwrap_err();
        assert!(matches!(error, ImageError::TooLarge { .. }), "{name}: {error}");
    }
    // A petabyte of nothing is no byte.
    let hole = Tar::new()
        .raw(&pax(&[("GNU.sparse.map", b"0,1"), ("GNU.sparse.size", b"1125899906842624")]))
        .raw(&block(b"s", b'0', 1, b"x"))
        .end();
    match unpack_into(&Temp::new(), &hole, limits) {
        Ok(_) => {}
        // Larger than this file system's files may be.
        Err(error) => assert!(matches!(error, ImageError::Tar { .. }), "{error}"),
    }
}
