use super::*;
use minke_build::plan::{CopyOp, Tree};
use minke_image::tree::{WriteOptions, write_tar};
use std::{collections::BTreeMap, io::Read, os::unix::fs::MetadataExt, sync::Arc};

/// An image room of its own, and a directory to copy from.
struct House {
    root: PathBuf,
    store: Store,
}

impl Drop for House {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.root).unwrap();
    }
}

impl House {
    /// `None` where overlays cannot be mounted.
    fn new() -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            eprintln!("skipped: needs root");
            return None;
        }
        let root =
            std::env::temp_dir().join(format!("minke-copy-{}", minke_model::ContainerId::random().short()));
        std::fs::create_dir_all(root.join("context")).unwrap();
        let store = Store::open(&root.join("image")).unwrap();
        Some(Self { root, store })
    }

    fn file(&self, path: &str, text: &str) {
        let path = self.root.join("context").join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    fn link(&self, path: &str, to: &str) {
        let path = self.root.join("context").join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::os::unix::fs::symlink(to, path).unwrap();
    }

    fn context(&self) -> Root {
        Root::Directory { path: self.root.join("context").into(), keep: Arc::new(()) }
    }

    fn try_copy(&self, base: &Root, path: &str, to: &str, change: impl FnOnce(&mut CopyOp)) -> Result<Root> {
        let mut op = CopyOp {
            base: Tree::Empty,
            sources: vec![CopySource::Files {
                tree: Tree::Empty,
                path: path.into(),
                local: true,
                unpack: false,
                parents: None,
            }],
            destination: to.into(),
            owner: None,
            mode: None,
            link: false,
            exclude: Vec::new(),
        };
        change(&mut op);
        copy(&self.store, CopyWork { base: base.clone(), sources: vec![self.context()], op, epoch: None })
    }

    fn copy(&self, base: &Root, path: &str, to: &str) -> Root {
        self.try_copy(base, path, to, |_| {}).unwrap()
    }

    /// Paths of a tree with what they hold: text, `/` for directories, `-> x` for links.
    fn show(&self, root: &Root) -> BTreeMap<String, String> {
        let view = View::open(&self.store, root).unwrap();
        let mut bytes = Vec::new();
        write_tar(view.fd.as_fd(), "/", &mut bytes, &WriteOptions::default()).unwrap();
        let mut shown = BTreeMap::new();
        for entry in tar::Archive::new(&bytes[..]).entries().unwrap() {
            let mut entry = entry.unwrap();
            let path = entry.path().unwrap().to_string_lossy().trim_end_matches('/').to_owned();
            let mut text = String::new();
            match entry.header().entry_type() {
                tar::EntryType::Directory => text.push('/'),
                tar::EntryType::Symlink => {
                    text = format!("-> {}", entry.link_name().unwrap().unwrap().display());
                }
                _ => drop(entry.read_to_string(&mut text).unwrap()),
            }
            shown.insert(path, text);
        }
        shown
    }
}

fn texts(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect()
}

#[test]
fn a_directorys_contents_are_copied_and_a_file_goes_into_a_directory_that_is_there() {
    let Some(house) = House::new() else { return };
    house.file("d/a", "1");
    house.file("f", "2");
    let base = house.copy(&Root::empty(), "/d", "/x");
    assert_eq!(house.show(&base), texts(&[("x", "/"), ("x/a", "1")]));
    let next = house.copy(&base, "/f", "/x");
    assert_eq!(house.show(&next), texts(&[("x", "/"), ("x/a", "1"), ("x/f", "2")]));
    assert_eq!(next.chain().len(), 2);
    let last = house.copy(&next, "/f", "/y/z");
    assert_eq!(house.show(&last).get("y/z").map(String::as_str), Some("2"));
}

#[test]
fn what_is_below_is_replaced_or_kept() {
    let Some(house) = House::new() else { return };
    house.file("one/a", "1");
    house.file("one/sub/b", "1");
    house.file("two/a", "2");
    let base = house.copy(&Root::empty(), "/one", "/");
    let next = house.copy(&base, "/two", "/");
    assert_eq!(house.show(&next), texts(&[("a", "2"), ("sub", "/"), ("sub/b", "1")]));
    let refused = house.try_copy(&base, "/two/a", "/a/x", |_| {});
    assert!(refused.unwrap_err().to_string().contains("not a directory"));
    let refused = house.try_copy(&base, "/two", "/a", |_| {});
    assert_eq!(refused.unwrap_err().to_string(), "cannot copy to non-directory: /a");
}

#[test]
fn links_of_the_target_lead_nowhere_outside() {
    let Some(house) = House::new() else { return };
    let outside = house.root.join("outside");
    std::fs::create_dir_all(&outside).unwrap();
    house.link("evil/up", "../../../../../../../../tmp");
    house.link("evil/abs", outside.to_str().unwrap());
    house.file("f", "1");
    let base = house.copy(&Root::empty(), "/evil", "/");
    for to in ["/up/f", "/abs/f", "/abs/deep/f"] {
        let copied = house.try_copy(&base, "/f", to, |_| {});
        // Inside of the tree the link leads to a path that is made there, or to nothing.
        if let Ok(root) = copied {
            assert!(house.show(&root).values().any(|text| text == "1"), "{to}");
        }
        assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 0, "{to}");
    }
    assert!(!Path::new("/tmp/f").exists());
}

#[test]
fn a_file_goes_where_links_of_the_target_lead() {
    let Some(house) = House::new() else { return };
    house.file("t/real/a", "old");
    house.link("t/file", "/real/a");
    house.link("t/dir", "real");
    house.link("t/later", "made/here");
    house.file("f", "new");
    let base = house.copy(&Root::empty(), "/t", "/");
    let shown = |to: &str| house.show(&house.copy(&base, "/f", to));
    assert_eq!(shown("/file").get("real/a").map(String::as_str), Some("new"));
    assert_eq!(shown("/dir/").get("real/f").map(String::as_str), Some("new"));
    assert_eq!(shown("/later/x").get("made/here/x").map(String::as_str), Some("new"));
}

#[test]
fn links_of_the_source_lead_nowhere_outside() {
    let Some(house) = House::new() else { return };
    let secret = house.root.join("secret");
    std::fs::write(&secret, "secret").unwrap();
    house.link("leak", secret.to_str().unwrap());
    house.link("up", "../secret");
    house.link("dir", "..");
    for path in ["/leak", "/up", "/dir/secret"] {
        if let Ok(root) = house.try_copy(&Root::empty(), path, "/got", |_| {}) {
            assert!(!house.show(&root).values().any(|text| text == "secret"), "{path}");
        }
    }
}

#[test]
fn wildcards_take_what_is_there_and_nothing_is_no_failure() {
    let Some(house) = House::new() else { return };
    for path in ["a.txt", "b.txt", "s/c.txt", "t/c.txt", "t/d.md"] {
        house.file(path, "1");
    }
    let names = |root: &Root| house.show(root).into_keys().collect::<Vec<_>>();
    assert_eq!(names(&house.copy(&Root::empty(), "/*.txt", "/x/")), ["x", "x/a.txt", "x/b.txt"]);
    assert_eq!(names(&house.copy(&Root::empty(), "/?/c.txt", "/x/")), ["x", "x/c.txt"]);
    assert_eq!(names(&house.copy(&Root::empty(), "/*.none", "/x/")), [""; 0]);
    let missing = house.try_copy(&Root::empty(), "/none", "/x/", |_| {}).unwrap_err();
    assert!(missing.in_step().starts_with("failed to calculate checksum of ref "), "{missing}");
    assert!(missing.to_string().ends_with("\"/none\": not found"), "{missing}");
}

#[test]
fn excluded_files_and_parents() {
    let Some(house) = House::new() else { return };
    for path in ["src/a/f.txt", "src/b/f.txt", "src/b/g"] {
        house.file(path, "1");
    }
    let names = |root: &Root| house.show(root).into_keys().collect::<Vec<_>>();
    let excluded =
        house.try_copy(&Root::empty(), "/", "/x", |op| op.exclude = vec!["**/g".into(), "src/a".into()]);
    assert_eq!(names(&excluded.unwrap()), ["x", "x/src", "x/src/b", "x/src/b/f.txt"]);
    let parents = house.try_copy(&Root::empty(), "/", "/p", |op| {
        if let CopySource::Files { parents, .. } = &mut op.sources[0] {
            *parents = Some(minke_build::plan::Parents { pattern: "src/*/f.txt".into(), required: None });
        }
    });
    let expected = ["p", "p/src", "p/src/a", "p/src/a/f.txt", "p/src/b", "p/src/b/f.txt"];
    assert_eq!(names(&parents.unwrap()), expected);
}

#[test]
fn owners_are_looked_up_in_the_target_and_modes_are_set() {
    let Some(house) = House::new() else { return };
    house.file("etc/passwd", "web:x:1001:1002::/:/bin/sh\n");
    house.file("etc/group", "staff:x:77:\n");
    house.file("f", "1");
    let base = house.copy(&Root::empty(), "/etc", "/etc");
    let owned = |owner: &str, mode: Option<Chmod>| {
        let root = house
            .try_copy(&base, "/f", "/new/f", |op| {
                op.owner = Some(owner.into());
                op.mode = mode;
            })
            .unwrap();
        let view = View::open(&house.store, &root).unwrap();
        let meta = |path: &str| std::fs::metadata(proc_path(view.fd.as_fd()).join(path)).unwrap();
        let (file, dir) = (meta("new/f"), meta("new"));
        (file.uid(), file.gid(), file.mode() & 0o7777, dir.uid(), dir.mode() & 0o7777)
    };
    assert_eq!(owned("web", None), (1001, 1002, 0o644, 1001, 0o755));
    assert_eq!(owned("web:staff", Some(Chmod::Octal(0o640))), (1001, 77, 0o640, 1001, 0o640));
    assert_eq!(owned("5", Some(Chmod::Symbolic("u=rwX,go=".into()))), (5, 5, 0o600, 5, 0o755));
    assert_eq!(owned("nobody-here:8", None).0, 0);
}

#[test]
fn symbolic_modes_are_chmods() {
    for (text, from, to) in [
        ("u=rwX,go=rX", 0o100600, 0o644),
        ("u=rwX,go=rX", 0o100711, 0o755),
        ("u=rwX,go=rX", 0o040700, 0o755),
        ("+x", 0o100644, 0o755),
        ("a-w", 0o100666, 0o444),
        ("g=u", 0o100640, 0o660),
        ("u+s", 0o100755, 0o4755),
        ("o=", 0o100777, 0o770),
        ("+t", 0o040777, 0o1777),
    ] {
        assert_eq!(symbolic(text, from), to, "{text} of {from:o}");
    }
}
