//! A store moves, dies on the way in every place, and is never lost nor doubled.

use super::*;
use crate::{
    Prefixes, Table,
    etcd::lab::{clock, one, three},
    suite::contents,
};
use std::path::PathBuf;

const NUMBERS: Table<u64> = Table::new("n", 1);

/// A directory that goes with its test.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        use std::sync::atomic::{AtomicU32, Ordering};
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("minke-moving-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        Scratch(std::env::temp_dir().join(name))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

async fn filled(directory: &Path, count: u64) -> (Switch, Snapshot) {
    let store = Embedded::open_cluster(directory).unwrap();
    for first in (0..count).step_by(50) {
        let numbers = first..count.min(first + 50);
        let txn = numbers.fold(Txn::new(), |txn, n| txn.put(&NUMBERS, &n.to_string(), n));
        store.commit(txn).await.unwrap();
    }
    let snapshot = store.snapshot();
    (Switch::new(AnyStore::new(store)), snapshot)
}

fn values(snapshot: &Snapshot) -> Vec<(String, u32, Vec<u8>)> {
    contents(snapshot).into_iter().map(|(key, _, schema, bytes)| (key, schema, bytes)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_moves_under_those_who_use_it() {
    let (_servers, endpoints) = three().await;
    let scratch = Scratch::new();
    let (switch, before) = filled(&scratch.0, 5_000).await;
    // Somebody writes all the time, and somebody watches.
    let writing = {
        let switch = switch.clone();
        tokio::spawn(async move {
            let mut written = 0u64;
            while written < 200 {
                let key = format!("live/{written}");
                match switch
                    .commit(Txn::new().guard_absent(key.as_str()).put_bytes(key.as_str(), 1, *b"x"))
                    .await
                {
                    Ok(_) | Err(StoreError::Refused(_)) => written += 1,
                    Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
                }
            }
        })
    };
    let mut watch = switch.watch(Prefixes::all(), before.revision());
    let etcd = move_to_etcd(&switch, endpoints.clone(), clock()).await.unwrap();
    writing.await.unwrap();
    let after = etcd.read(Prefixes::all()).await.unwrap();
    assert_eq!(after.revision().epoch, before.revision().epoch + 1);
    assert_eq!(NUMBERS.list(&after).unwrap().len(), 5_000);
    assert_eq!(after.under(&Prefix::new("live/")).count(), 200);
    let ended = loop {
        match watch.next().await {
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert!(matches!(ended, StoreError::Compacted { .. }), "{ended}");
    // An older guard is refused, a new one holds.
    let old = before.revision_of(&NUMBERS.key("1"));
    assert!(switch.commit(Txn::new().guard_at(NUMBERS.key("1"), old).put(&NUMBERS, "1", 7)).await.is_err());
    let new = after.revision_of(&NUMBERS.key("1"));
    switch.commit(Txn::new().guard_at(NUMBERS.key("1"), new).put(&NUMBERS, "1", 7)).await.unwrap();
    drop(switch);
    // The old one says where it is, and what it says leads there, also again and again.
    let Err(StoreError::Moved { moved, .. }) = Embedded::open_cluster(&scratch.0) else { panic!("it opens") };
    assert_eq!(moved.urls, endpoints.urls);
    assert_eq!(Moved::found_in(&scratch.0).unwrap().as_ref(), Some(&moved));
    for _ in 0..2 {
        let again = moved.open(endpoints.clone(), clock()).await.unwrap();
        assert_eq!(*NUMBERS.get(&again.read("n/").await.unwrap(), "1").unwrap().unwrap().value, 7);
    }
    // Nothing is ever filled over it.
    let again = load_into_etcd(&Dump::of(&before), endpoints, clock()).await;
    assert!(matches!(again, Err(StoreError::Occupied { .. })));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_between_any_two_steps_leaves_exactly_one_store_that_opens() {
    for at in [Step::CopiedBefore, Step::Held, Step::Copied, Step::Compared, Step::SaidMoved] {
        let (_server, endpoints) = one().await;
        let scratch = Scratch::new();
        let (switch, before) = filled(&scratch.0, 300).await;
        let crash = |step| if step == at { Err(StoreError::Closed) } else { Ok(()) };
        let crashed = move_until(&switch, endpoints.clone(), clock(), crash).await;
        assert!(matches!(crashed, Err(StoreError::Closed)), "{at:?}");
        // A move that was given up is no hindrance for who goes on without a restart.
        let goes_on = switch.commit(Txn::new().put_bytes("x", 1, *b"x")).await;
        assert_eq!(goes_on.is_ok(), at != Step::SaidMoved, "{at:?}: {goes_on:?}");
        drop(switch);

        let old = Embedded::open_cluster(&scratch.0);
        let new = Etcd::open(endpoints.clone(), clock()).await;
        assert!(new.is_err(), "{at:?}: nobody opens a store that is only being filled");
        match old {
            Ok(old) => {
                assert_ne!(at, Step::SaidMoved);
                assert_eq!(NUMBERS.list(&old.snapshot()).unwrap().len(), 300);
                // The next attempt begins anew and comes to its end.
                let switch = Switch::new(AnyStore::new(old));
                let etcd = move_to_etcd(&switch, endpoints, clock()).await.unwrap();
                assert_eq!(NUMBERS.list(&etcd.read("n/").await.unwrap()).unwrap().len(), 300);
            }
            Err(StoreError::Moved { moved, .. }) => {
                assert_eq!(at, Step::SaidMoved);
                let etcd = moved.open(endpoints, clock()).await.unwrap();
                assert_eq!(values(&etcd.read(Prefixes::all()).await.unwrap()), values(&before));
            }
            Err(other) => panic!("{at:?}: {other}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_comes_back_in_either_store_in_a_new_epoch() {
    let scratch = Scratch::new();
    let (_switch, snapshot) = filled(&scratch.0, 300).await;
    let mut file = Vec::new();
    Dump::of(&snapshot).write(&mut file).unwrap();
    let dump = Dump::read(&file[..], Path::new("backup")).unwrap();

    let other = Scratch::new();
    let restored = Embedded::load_cluster(&other.0, &dump).unwrap();
    assert_eq!(values(&restored.snapshot()), values(&snapshot));
    assert!(restored.snapshot().revision().epoch > snapshot.revision().epoch);
    restored.commit(Txn::new().put_bytes("x", 1, *b"x")).await.unwrap();
    drop(restored);
    assert!(matches!(Embedded::load_cluster(&other.0, &dump), Err(StoreError::Occupied { .. })));
    assert_eq!(Embedded::open_cluster(&other.0).unwrap().snapshot().iter().count(), 301);

    let (_server, endpoints) = one().await;
    let etcd = load_into_etcd(&dump, endpoints, clock()).await.unwrap();
    let seen = etcd.read(Prefixes::all()).await.unwrap();
    assert_eq!(values(&seen), values(&snapshot));
    assert_eq!(seen.revision().epoch, dump.next_epoch());
}
