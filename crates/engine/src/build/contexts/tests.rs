use super::*;
use bytes::Bytes;
use minke_build::host::Sent;

/// Kept directories in a place of their own.
struct House {
    root: PathBuf,
    contexts: Contexts,
}

impl Drop for House {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.root).unwrap();
    }
}

impl House {
    fn new() -> Self {
        let root = std::env::temp_dir().join(format!("minke-context-{}", ContainerId::random().short()));
        let contexts = Contexts::open(root.clone()).unwrap();
        Self { root, contexts }
    }

    /// Sends entries, and the bytes of those that are wanted; their numbers.
    fn send(&self, entries: &[(Entry, &str)]) -> Result<(Root, Vec<u32>)> {
        let kept = self.contexts.take(Some("pool".into()))?;
        let (want, mut wants) = mpsc::unbounded_channel();
        let mut receiver = Receiver::new(kept, want)?;
        for (entry, _) in entries {
            receiver.take(Sent::Entry(entry.clone()))?;
        }
        receiver.take(Sent::Listed)?;
        let mut wanted = Vec::new();
        while let Ok(number) = wants.try_recv() {
            wanted.push(number);
            let bytes = Bytes::from(entries[number as usize].1.to_owned());
            receiver.take(Sent::Data { entry: number, bytes })?;
            receiver.take(Sent::End { entry: number })?;
        }
        receiver.take(Sent::Finished)?;
        Ok((receiver.finish()?, wanted))
    }

    fn read(root: &Root, path: &str) -> Option<String> {
        let Root::Directory { path: dir, .. } = root else { return None };
        std::fs::read_to_string(dir.join(path)).ok()
    }
}

fn file(path: &str, text: &'static str, mtime: i64) -> (Entry, &'static str) {
    (Entry { path: path.into(), mode: 0o100644, size: text.len() as u64, mtime, ..Entry::default() }, text)
}

fn dir(path: &str) -> (Entry, &'static str) {
    (Entry { path: path.into(), mode: 0o040755, ..Entry::default() }, "")
}

fn link(path: &str, to: &str) -> (Entry, &'static str) {
    let link = Some(to.to_owned());
    (Entry { path: path.into(), mode: 0o120777, link, ..Entry::default() }, "")
}

#[test]
fn only_what_differs_is_asked_for_again() {
    let house = House::new();
    let (root, wanted) = house.send(&[file("a", "one", 1), dir("d"), file("d/b", "two", 1)]).unwrap();
    assert_eq!(wanted, [0, 2]);
    assert_eq!(House::read(&root, "d/b").as_deref(), Some("two"));
    drop(root);
    let (root, wanted) = house.send(&[file("a", "one", 1), dir("d"), file("d/b", "tw0", 2)]).unwrap();
    assert_eq!(wanted, [2]);
    assert_eq!(
        (House::read(&root, "a").as_deref(), House::read(&root, "d/b").as_deref()),
        (Some("one"), Some("tw0"))
    );
}

#[test]
fn what_is_not_sent_again_goes_and_kinds_may_change() {
    let house = House::new();
    drop(house.send(&[dir("d"), file("d/b", "1", 1), file("x", "1", 1)]).unwrap());
    let (root, _) = house.send(&[file("d", "now a file", 1), dir("x"), file("x/y", "2", 1)]).unwrap();
    assert_eq!(House::read(&root, "d").as_deref(), Some("now a file"));
    assert_eq!(House::read(&root, "x/y").as_deref(), Some("2"));
}

#[test]
fn a_directory_belongs_to_one_build_at_a_time_and_outlives_the_daemon() {
    let house = House::new();
    let (first, _) = house.send(&[file("a", "1", 1)]).unwrap();
    // Another build at the same time gets a directory of its own.
    let (_second, wanted) = house.send(&[file("a", "1", 1)]).unwrap();
    assert_eq!(wanted, [0]);
    drop(first);
    let again = Contexts::open(house.root.clone()).unwrap();
    assert!(!again.at_rest().is_empty());
}

#[test]
fn a_change_that_was_cut_off_leaves_nothing_that_is_believed() {
    let house = House::new();
    drop(house.send(&[file("a", "1", 1)]).unwrap());
    {
        let kept = house.contexts.take(Some("pool".into())).unwrap();
        let (want, _wants) = mpsc::unbounded_channel();
        let mut receiver = Receiver::new(kept, want).unwrap();
        receiver.take(Sent::Entry(file("a", "2", 2).0)).unwrap();
        // The client leaves.
    }
    let (root, wanted) = house.send(&[file("a", "1", 1)]).unwrap();
    assert_eq!(wanted, [0]);
    assert_eq!(House::read(&root, "a").as_deref(), Some("1"));
}

#[test]
fn names_that_climb_out_are_refused() {
    let house = House::new();
    for path in ["../x", "/etc/x", "a/../../x", "", ".", "a//b", "a/./b"] {
        assert!(house.send(&[file(path, "1", 1)]).is_err(), "{path:?}");
    }
    assert!(house.send(&[file("a", "1", 1), file("a", "2", 1)]).is_err());
}

#[test]
fn nothing_is_written_through_a_link() {
    let house = House::new();
    let outside = house.root.join("outside");
    std::fs::create_dir_all(&outside).unwrap();
    for to in [outside.to_str().unwrap(), "../../outside"] {
        assert!(house.send(&[link("l", to), file("l/f", "1", 1)]).is_err());
        assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 0);
    }
    // Hard links are found beneath the tree only.
    let mut hard = file("h", "", 1);
    hard.0.link = Some("../outside".into());
    assert!(house.send(&[hard]).is_err());
}

#[test]
fn a_file_that_is_cut_off_or_too_long_is_not_used() {
    let house = House::new();
    let kept = house.contexts.take(None).unwrap();
    let (want, _wants) = mpsc::unbounded_channel();
    let mut receiver = Receiver::new(kept, want).unwrap();
    receiver.take(Sent::Entry(file("a", "1234", 1).0)).unwrap();
    receiver.take(Sent::Data { entry: 0, bytes: Bytes::from_static(b"12") }).unwrap();
    receiver.take(Sent::Listed).unwrap();
    assert!(receiver.finish().is_err());
    let kept = house.contexts.take(None).unwrap();
    let (want, _wants) = mpsc::unbounded_channel();
    let mut receiver = Receiver::new(kept, want).unwrap();
    receiver.take(Sent::Entry(file("a", "1", 1).0)).unwrap();
    let long = Bytes::from(vec![0; 2 << 20]);
    assert!(receiver.take(Sent::Data { entry: 0, bytes: long }).is_err());
}
