//! The embedded store dies in every way, and comes back with what it promised.

use super::*;
use crate::{
    Memory, Table,
    suite::{Random, contents, random_txn},
};
use std::{
    fs::OpenOptions,
    io::{BufRead, BufReader, Write as _},
    os::unix::fs::FileExt,
    process::{Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
};

/// A directory that goes with its test.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("minke-store-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).unwrap();
        Scratch(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Held while a child is made: between its fork and its exec it has our descriptors, and with them our locks.
static FORKING: Mutex<()> = Mutex::new(());

/// Opens a store, but not while a child may still hold its last owner's locks.
fn open_with(directory: &Path, full: u64) -> Result<Embedded> {
    drop(FORKING.lock());
    Embedded::open_with(directory, Keep { full, ..MACHINE })
}

fn open(directory: &Path) -> Result<Embedded> {
    drop(FORKING.lock());
    Embedded::open(directory)
}

fn fresh() -> (Embedded, Scratch) {
    let scratch = Scratch::new();
    (open(&scratch.0).unwrap(), scratch)
}

crate::suite::suite!(embedded, fresh());

const NUMBERS: Table<u64> = Table::new("n", 1);

/// Leaves without folding or closing anything, as a killed process does.
fn crash(store: Embedded) {
    let owner = Arc::into_inner(store.owner).unwrap();
    {
        let mut locked = owner.shared.lock();
        locked.dirty.clear();
        // Frees the lock on the files, as the kernel does.
        for file in ["journal-0", "journal-1"] {
            let bytes = fs::read(owner.shared.directory.join(file)).unwrap();
            fs::remove_file(owner.shared.directory.join(file)).unwrap();
            fs::write(owner.shared.directory.join(file), bytes).unwrap();
        }
    }
}

#[tokio::test]
async fn a_random_history_with_crashes_equals_that_in_memory() {
    let mut random = Random::seeded();
    for _ in 0..20 {
        let scratch = Scratch::new();
        let memory = Memory::new();
        // A tiny journal, so that folds happen all the time.
        let mut store = open_with(&scratch.0, 2000).unwrap();
        for _ in 0..200 {
            let state = random.state();
            let seen = store.snapshot().revision();
            let ours = store.commit(random_txn(&mut random, seen)).await;
            let theirs = memory.commit(random_txn(&mut Random::new(state), seen)).await;
            // After a reopening the embedded one may know less of the past, and refuses more.
            match (ours, theirs) {
                (Ok(ours), Ok(theirs)) => assert_eq!(ours, theirs),
                (Err(ours), Err(theirs)) => assert_eq!(ours.to_string(), theirs.to_string()),
                (ours, theirs) => panic!("{ours:?} but {theirs:?}"),
            }
        }
        assert_eq!(contents(&store.snapshot()), contents(&memory.read(Prefixes::all()).await.unwrap()));
        if random.below(2) == 0 {
            crash(store)
        } else {
            drop(store)
        }
        store = open_with(&scratch.0, 2000).unwrap();
        assert_eq!(contents(&store.snapshot()), contents(&memory.read(Prefixes::all()).await.unwrap()));
    }
}

#[tokio::test]
async fn a_torn_tail_loses_only_itself() {
    let (store, scratch) = fresh();
    let mut ends = vec![0];
    for n in 0..5u64 {
        store.commit(Txn::relaxed().put(&NUMBERS, &n.to_string(), n)).await.unwrap();
        ends.push(fs::metadata(scratch.0.join("journal-0")).unwrap().len());
    }
    crash(store);
    let whole = fs::read(scratch.0.join("journal-0")).unwrap();
    for cut in (0..whole.len()).rev() {
        fs::write(scratch.0.join("journal-0"), &whole[..cut]).unwrap();
        let store = open(&scratch.0).unwrap();
        let kept = ends.iter().filter(|end| **end > 0 && **end <= cut as u64).count();
        assert_eq!(NUMBERS.list(&store.snapshot()).unwrap().len(), kept, "cut at {cut}");
        assert_eq!(fs::metadata(scratch.0.join("journal-0")).unwrap().len(), ends[kept]);
        crash(store);
    }
    // Damage in the middle: what lies behind it is not trusted, and the next commit takes its place.
    fs::write(scratch.0.join("journal-0"), &whole).unwrap();
    OpenOptions::new()
        .write(true)
        .open(scratch.0.join("journal-0"))
        .unwrap()
        .write_all_at(b"!", ends[2] + 20)
        .unwrap();
    let store = open(&scratch.0).unwrap();
    assert_eq!(NUMBERS.list(&store.snapshot()).unwrap().len(), 2);
    store.commit(Txn::new().put(&NUMBERS, "9", 9u64)).await.unwrap();
    drop(store);
    let store = open(&scratch.0).unwrap();
    assert_eq!(NUMBERS.list(&store.snapshot()).unwrap().len(), 3);
}

#[tokio::test]
async fn a_gap_between_the_journals_drops_what_lies_behind() {
    let (store, scratch) = fresh();
    for n in 0..3u64 {
        store.commit(Txn::relaxed().put(&NUMBERS, &n.to_string(), n)).await.unwrap();
    }
    let three = fs::read(scratch.0.join("journal-0")).unwrap();
    store.commit(Txn::relaxed().put(&NUMBERS, "3", 3u64)).await.unwrap();
    let four = fs::read(scratch.0.join("journal-0")).unwrap();
    crash(store);
    // As if a power cut lost the last pages of the older file, but not the newer file.
    fs::write(scratch.0.join("journal-0"), &three[..three.len() - 1]).unwrap();
    fs::write(scratch.0.join("journal-1"), &four[three.len()..]).unwrap();
    let store = open(&scratch.0).unwrap();
    assert_eq!(NUMBERS.list(&store.snapshot()).unwrap().len(), 2);
    assert_eq!(store.snapshot().revision().number, 2);
    crash(store);
    // With both whole, both count, and the fold that was cut short is finished.
    fs::write(scratch.0.join("journal-0"), &four[three.len()..]).unwrap();
    fs::write(scratch.0.join("journal-1"), &three).unwrap();
    let store = open(&scratch.0).unwrap();
    assert_eq!(NUMBERS.list(&store.snapshot()).unwrap().len(), 4);
    assert_eq!(store.owner.shared.lock().journal.length(), 0);
}

#[tokio::test]
async fn an_old_journal_beside_its_fold_is_not_replayed() {
    let (store, scratch) = fresh();
    store.commit(Txn::new().put(&NUMBERS, "1", 1u64)).await.unwrap();
    let before = fs::read(scratch.0.join("journal-0")).unwrap();
    store.commit(Txn::new().delete(NUMBERS.key("1"))).await.unwrap();
    drop(store);
    // As if a power cut undid the emptying of the journal.
    fs::write(scratch.0.join("journal-0"), before).unwrap();
    let store = open(&scratch.0).unwrap();
    assert!(NUMBERS.list(&store.snapshot()).unwrap().is_empty());
    assert_eq!(store.snapshot().revision().number, 2);
}

#[tokio::test]
async fn closing_folds_everything_and_a_second_opener_is_refused() {
    let (store, scratch) = fresh();
    store.commit(Txn::relaxed().put(&NUMBERS, "1", 1u64)).await.unwrap();
    let error = open(&scratch.0).err().unwrap();
    assert!(error.to_string().contains("another process has it open"), "{error}");
    let mut watch = store.watch(Prefixes::all(), store.snapshot().revision());
    drop(store);
    assert!(matches!(watch.next().await, Err(StoreError::Closed)));
    assert_eq!(fs::metadata(scratch.0.join("journal-0")).unwrap().len(), 0);
    let store = open(&scratch.0).unwrap();
    assert_eq!(*NUMBERS.get(&store.snapshot(), "1").unwrap().unwrap().value, 1);
}

#[tokio::test]
async fn a_clusters_store_begins_a_new_epoch_each_time_and_syncs_whatever_is_asked() {
    let scratch = Scratch::new();
    let open_cluster = || {
        drop(FORKING.lock());
        Embedded::open_cluster(&scratch.0).unwrap()
    };
    let store = open_cluster();
    let first = store.commit(Txn::relaxed().put(&NUMBERS, "1", 1u64)).await.unwrap();
    assert_eq!(first, Revision { epoch: 1, number: 1 });
    assert!(store.owner.shared.progress.borrow().durable >= 1);
    crash(store);
    for epoch in 2..4 {
        let store = open_cluster();
        assert_eq!(store.snapshot().revision().epoch, epoch);
        assert!(matches!(store.watch("n/", first).next().await, Err(StoreError::Compacted { .. })));
        let seen = NUMBERS.get(&store.snapshot(), "1").unwrap().unwrap();
        assert_eq!(seen.revision, first, "a record keeps the revision that wrote it");
        let second =
            store.commit(Txn::new().guard_at(NUMBERS.key("1"), first).put(&NUMBERS, "2", 2u64)).await;
        assert_eq!(second.unwrap().epoch, epoch);
        crash(store);
    }
}

#[tokio::test]
async fn a_fold_that_fails_holds_up_nobody_until_there_is_far_too_much() {
    let scratch = Scratch::new();
    let store = open_with(&scratch.0, 1000).unwrap();
    // The database's name is taken by a directory.
    fs::create_dir(scratch.0.join("records.redb")).unwrap();
    let mut committed = 0u64;
    let error = loop {
        match store.commit(Txn::relaxed().put(&NUMBERS, &committed.to_string(), committed)).await {
            Ok(_) => committed += 1,
            Err(error) => break error,
        }
    };
    assert!(committed > 100 && committed < 1000, "{committed}");
    assert!(matches!(error, StoreError::Database { tried: "write", .. }), "{error}");
    fs::remove_dir(scratch.0.join("records.redb")).unwrap();
    drop(store);
    let store = open_with(&scratch.0, 1000).unwrap();
    assert_eq!(NUMBERS.list(&store.snapshot()).unwrap().len() as u64, committed);
    for n in 0..100 {
        store.commit(Txn::relaxed().put(&NUMBERS, &(committed + n).to_string(), n)).await.unwrap();
    }
    assert!(store.owner.shared.lock().journal.length() < 4000, "folding works again");
}

#[tokio::test]
async fn a_damaged_or_newer_database_is_named() {
    let (store, scratch) = fresh();
    store.commit(Txn::relaxed().put(&NUMBERS, "1", 1u64)).await.unwrap();
    drop(store);
    let path = scratch.0.join("records.redb");
    let good = fs::read(&path).unwrap();
    {
        let database = redb::Database::open(&path).unwrap();
        let transaction = database.begin_write().unwrap();
        transaction
            .open_table(redb::TableDefinition::<&str, u64>::new("meta"))
            .unwrap()
            .insert("format", 2)
            .unwrap();
        transaction.commit().unwrap();
    }
    let error = open(&scratch.0).err().unwrap();
    assert!(matches!(error, StoreError::NewerFormat { found: 2, known: 1, .. }), "{error}");
    fs::write(&path, vec![7; good.len()]).unwrap();
    let error = open(&scratch.0).err().unwrap();
    assert!(error.to_string().contains("records.redb"), "{error}");
    fs::write(&path, good).unwrap();
    assert!(open(&scratch.0).is_ok());
}

/// Not a test by itself: the child that the next one kills.
#[test]
fn child_that_writes_until_it_is_killed() {
    let Ok(directory) = std::env::var("MINKE_STORE_VICTIM") else { return };
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let store = open_with(Path::new(&directory), 3000).unwrap();
        let start = store.snapshot().revision().number;
        let mut out = std::io::stdout();
        for n in start + 1.. {
            let txn = Txn::new().put(&NUMBERS, &(n % 50).to_string(), n);
            let durability = if n % 7 == 0 { Durability::Synced } else { Durability::Relaxed };
            assert_eq!(store.commit(txn.durability(durability)).await.unwrap().number, n);
            writeln!(out, "\ncommitted {n}").unwrap();
        }
    });
}

#[test]
fn what_was_answered_survives_kill_9() {
    let scratch = Scratch::new();
    let mut random = Random::seeded();
    let mut last = 0;
    for _ in 0..8 {
        let forking = FORKING.lock();
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "embedded::tests::child_that_writes_until_it_is_killed", "--nocapture"])
            .env("MINKE_STORE_VICTIM", &scratch.0)
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        drop(forking);
        let until = last + 50 + random.below(400);
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let number = |line: String| line.strip_prefix("committed ").and_then(|n| n.parse::<u64>().ok());
        while last < until {
            last = lines.next().expect("the child lives").ok().and_then(number).unwrap_or(last);
        }
        child.kill().unwrap();
        // What it still told before it died counts too.
        last = lines.map_while(|l| l.ok()).filter_map(number).last().unwrap_or(last);
        child.wait().unwrap();
        let store = open_with(&scratch.0, 3000).unwrap();
        let snapshot = store.snapshot();
        let reached = snapshot.revision().number;
        assert!(reached == last || reached == last + 1, "told {last}, found {reached}");
        for (name, n) in NUMBERS.list(&snapshot).unwrap() {
            let name: u64 = name.parse().unwrap();
            let newest = (0..=reached).rev().find(|n| n % 50 == name).unwrap();
            assert_eq!((*n.value, n.revision.number), (newest, newest));
        }
        last = reached;
    }
}
