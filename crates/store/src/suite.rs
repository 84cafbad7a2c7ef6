//! The tests that every [`Store`] must pass.
//!
//! A backend's own test module names itself here once: `suite!(memory, Memory::new())`.

pub(crate) use crate::random::Random;
use crate::*;
use std::{collections::BTreeMap, future::Future, pin::pin, sync::Arc, task::Poll};

impl Random {
    /// From `SEED` in the environment, or from the clock; printed, so that a failure can be run again.
    pub(crate) fn seeded() -> Self {
        let clock = || std::time::SystemTime::UNIX_EPOCH.elapsed().map_or(1, |d| d.as_nanos() as u64);
        let seed = std::env::var("SEED").ok().and_then(|s| s.parse().ok()).unwrap_or_else(clock);
        println!("SEED={seed}");
        Random::new(seed)
    }
}

const PETS: Table<String> = Table::new("pet", 2);

fn put(name: &str, value: &str) -> Txn {
    Txn::new().put(&PETS, name, value.to_owned())
}

async fn all<S: Store>(store: &S) -> Snapshot {
    store.read(Prefix::all()).await.unwrap()
}

pub(crate) async fn what_is_committed_is_read<S: Store>(store: &S) {
    let empty = all(store).await;
    let first = store.commit(put("cat", "Tom")).await.unwrap();
    let second = store.commit(put("dog", "Rex").durability(Durability::Relaxed)).await.unwrap();
    assert!(empty.revision() < first && first < second);
    let snapshot = all(store).await;
    assert_eq!(snapshot.revision(), second);
    let cat = PETS.get(&snapshot, "cat").unwrap().unwrap();
    assert_eq!((cat.as_str(), cat.revision), ("Tom", first));
    assert!(PETS.get(&snapshot, "cow").unwrap().is_none());

    store.commit(Txn::new().delete(PETS.key("cat")).put(&PETS, "dog", "Max".to_owned())).await.unwrap();
    let names =
        |s: &Snapshot| PETS.list(s).unwrap().into_iter().map(|(n, v)| (n, v.to_string())).collect::<Vec<_>>();
    assert_eq!(names(&all(store).await), [("dog".to_owned(), "Max".to_owned())]);
    assert_eq!(names(&snapshot).len(), 2, "an old snapshot stays as it was");
    assert!(names(&empty).is_empty());
}

pub(crate) async fn a_read_sees_only_its_prefix<S: Store>(store: &S) {
    store
        .commit(Txn::new().put_bytes("a/1", 1, *b"1").put_bytes("b/1", 1, *b"2").put_bytes("b/12", 1, *b"3"))
        .await
        .unwrap();
    let snapshot = store.read("b/").await.unwrap();
    let keys: Vec<_> = snapshot.iter().map(|(k, _)| k.to_string()).collect();
    assert_eq!(keys, ["b/1", "b/12"]);
    assert!(snapshot.get(&Key::new("a/1")).is_none());
    assert_eq!(snapshot.under(&Prefix::new("b/12")).count(), 1);
    assert_eq!(snapshot.under(&Prefix::all()).count(), 2);
    assert_eq!(snapshot.under(&Prefix::new("a/")).count(), 0);
}

pub(crate) async fn guards_refuse_what_has_changed<S: Store>(store: &S) {
    let refused = |result: Result<Revision>| matches!(result, Err(StoreError::Refused(_)));
    let cat = PETS.key("cat");
    let first = store.commit(put("cat", "Tom").guard_absent(&cat)).await.unwrap();
    assert!(refused(store.commit(put("cat", "Garfield").guard_absent(&cat)).await));
    let second = store.commit(put("cat", "Garfield").guard_at(&cat, first)).await.unwrap();
    assert!(refused(store.commit(put("cat", "Felix").guard_at(&cat, first)).await));
    assert!(refused(store.commit(put("cow", "Elsa").guard_at(PETS.key("cow"), second)).await));

    store.commit(put("cow", "Elsa")).await.unwrap();
    store.commit(Txn::new().delete(&cat)).await.unwrap();
    assert!(
        refused(store.commit(put("cat", "Felix").guard_at(&cat, second)).await),
        "a deletion is a change"
    );

    let half = put("cow", "half").put(&PETS, "cat", "half".to_owned()).guard_at(&cat, first);
    assert!(refused(store.commit(half).await));
    let snapshot = all(store).await;
    assert_eq!(
        PETS.get(&snapshot, "cow").unwrap().unwrap().as_str(),
        "Elsa",
        "nothing of a refused commit happens"
    );
    assert!(PETS.get(&snapshot, "cat").unwrap().is_none());
}

pub(crate) async fn deleting_what_is_not_there_is_a_commit_like_any_other<S: Store>(store: &S) {
    let first = store.commit(put("cat", "Tom")).await.unwrap();
    let second = store.commit(Txn::new().delete(PETS.key("cow"))).await.unwrap();
    assert!(second > first);
    let snapshot = all(store).await;
    assert_eq!((snapshot.revision(), snapshot.iter().count()), (second, 1));
}

pub(crate) async fn guards_alone_write_nothing<S: Store>(store: &S) {
    let first = store.commit(put("cat", "Tom")).await.unwrap();
    let again = store.commit(Txn::new().guard_at(PETS.key("cat"), first)).await.unwrap();
    assert_eq!(first, again);
}

pub(crate) async fn too_large_is_said<S: Store>(store: &S) {
    let many = (0..65).fold(Txn::new(), |txn, n| txn.put_bytes(format!("k/{n}").as_str(), 1, *b""));
    let guards = (0..65).fold(put("cat", "Tom"), |txn, n| txn.guard_absent(format!("k/{n}").as_str()));
    let key = Txn::new().put_bytes("k".repeat(1025).as_str(), 1, *b"");
    let value = Txn::new().put_bytes("k/1", 1, vec![0; 9 << 20]);
    for txn in [many, guards, key, value] {
        assert!(matches!(store.commit(txn).await, Err(StoreError::TooLarge { .. })));
    }
    assert_eq!(all(store).await.iter().count(), 0);
}

pub(crate) async fn a_value_that_cannot_be_encoded_fails_the_commit<S: Store>(store: &S) {
    const MAPS: Table<BTreeMap<Vec<u8>, u8>> = Table::new("map", 1);
    let txn = put("cat", "Tom").put(&MAPS, "x", BTreeMap::from([(vec![1], 1)]));
    assert!(matches!(store.commit(txn).await, Err(StoreError::Encode { .. })));
    assert_eq!(all(store).await.iter().count(), 0);
}

pub(crate) async fn schema_versions_rise_and_newer_ones_are_an_error<S: Store>(store: &S) {
    const OLD: Table<u32> = Table::new("pet", 1);
    const RAISED: Table<String> =
        Table::new("pet", 2).raising(|from, value| Ok(format!("{value} from {from}").into()));
    store.commit(Txn::new().put(&OLD, "cat", 7u32)).await.unwrap();
    let snapshot = all(store).await;
    assert!(matches!(PETS.get(&snapshot, "cat"), Err(StoreError::Decode { .. })));
    assert_eq!(RAISED.get(&snapshot, "cat").unwrap().unwrap().as_str(), "7 from 1");

    store.commit(put("cat", "Tom")).await.unwrap();
    let snapshot = all(store).await;
    let error = OLD.get(&snapshot, "cat").unwrap_err();
    assert!(matches!(error, StoreError::Newer { found: 2, known: 1, .. }), "{error}");
    assert!(error.to_string().contains("pet/cat") && error.to_string().contains("newer minke"), "{error}");
    assert!(OLD.list(&snapshot).is_err());
}

pub(crate) async fn a_watch_follows_every_change_in_order<S: Store>(store: &S) {
    let start = store.commit(put("cat", "Tom")).await.unwrap();
    let mut watch = store.watch(PETS.prefix(), start);
    store.commit(Txn::new().put_bytes("other/1", 1, *b"x")).await.unwrap();
    {
        let mut next = pin!(watch.next());
        std::future::poll_fn(|cx| {
            assert!(next.as_mut().poll(cx).is_pending(), "other prefixes do not wake the caller");
            Poll::Ready(())
        })
        .await;
    }
    let second = store.commit(put("dog", "Rex").put_bytes("other/1", 1, *b"y")).await.unwrap();
    let third = store.commit(Txn::relaxed().delete(PETS.key("cat"))).await.unwrap();
    let changes = watch.next().await.unwrap();
    assert_eq!((changes.revision, changes.changes.len()), (second, 1));
    assert_eq!((changes.changes[0].key.as_str(), changes.changes[0].record.is_some()), ("pet/dog", true));
    let changes = watch.next().await.unwrap();
    assert_eq!((changes.revision, changes.changes[0].record.is_none()), (third, true));
}

pub(crate) async fn a_watch_that_lags_is_told<S: Store>(store: &S) {
    let start = store.commit(put("cat", "Tom")).await.unwrap();
    let mut watch = store.watch(Prefix::all(), start);
    for n in 0..600 {
        store
            .commit(
                put("cat", "Tom")
                    .put_bytes(format!("n/{}", n % 10).as_str(), 1, *b"n")
                    .durability(Durability::Relaxed),
            )
            .await
            .unwrap();
    }
    // One that was open all the time is told all, or that it lags. Never with a gap.
    let (mut told, mut last) = (0, start);
    while told < 600 {
        match watch.next().await {
            Ok(changes) => {
                assert!(changes.revision > last);
                let number = changes.changes.iter().find(|change| change.key.as_str().starts_with("n/"));
                assert!(number.is_some_and(|change| change.key.as_str() == format!("n/{}", told % 10)));
                (told, last) = (told + 1, changes.revision);
            }
            Err(error) => {
                assert!(matches!(error, StoreError::Compacted { .. }), "{error}");
                break;
            }
        }
    }
    let mut watch = store.watch(Prefix::all(), start);
    assert!(matches!(watch.next().await, Err(StoreError::Compacted { .. })), "too long ago");
    let mut watch = store.watch(Prefix::all(), Revision { epoch: start.epoch - 1, number: u64::MAX });
    assert!(matches!(watch.next().await, Err(StoreError::Compacted { .. })), "an earlier life");
}

pub(crate) async fn several_prefixes_are_read_and_watched_as_one<S: Store>(store: &S) {
    let write = |key: &str| Txn::new().put_bytes(key, 1, *b"x");
    store.commit(write("a/1").put_bytes("b/1", 1, *b"x").put_bytes("c/1", 1, *b"x")).await.unwrap();
    let snapshot = store.read(["c/", "a/"]).await.unwrap();
    let keys = |s: &Snapshot| s.iter().map(|(k, _)| k.to_string()).collect::<Vec<_>>();
    assert_eq!(keys(&snapshot), ["a/1", "c/1"]);
    assert_eq!(snapshot.under(&Prefix::all()).count(), 2);
    assert!(snapshot.get(&Key::new("b/1")).is_none() && !snapshot.covers(&Key::new("b/1")));

    let mut watch = store.watch(["c/", "a/1"], snapshot.revision());
    store.commit(write("b/2")).await.unwrap();
    let both = store.commit(write("c/2").delete("a/1").delete("b/1")).await.unwrap();
    store.commit(write("a/2")).await.unwrap();
    let last = store.commit(write("a/12")).await.unwrap();
    let changes = watch.next().await.unwrap();
    assert_eq!((changes.revision, changes.changes.len()), (both, 2), "one commit is never torn");
    assert_eq!(watch.next().await.unwrap().revision, last);

    let later = store.read(["a/", "c/"]).await.unwrap();
    let differ: Vec<_> =
        later.changes_since(&snapshot).map(|d| (d.key.to_string(), d.after.is_some())).collect();
    let want = [("a/1", false), ("a/12", true), ("a/2", true), ("c/2", true)];
    assert_eq!(differ, want.map(|(key, there)| (key.to_owned(), there)));
    assert_eq!(later.changes_since(&Snapshot::empty()).count(), 4, "from scratch");
}

pub(crate) async fn a_watch_goes_on_from_where_its_reader_is<S: Store>(store: &S) {
    let start = store.commit(put("cat", "Tom")).await.unwrap();
    let mut watch = store.watch(PETS.prefix(), start);
    store.commit(put("dog", "Rex")).await.unwrap();
    let seen = store.read(PETS.prefix()).await.unwrap().revision();
    watch.skip(seen);
    let next = store.commit(put("cow", "Elsa")).await.unwrap();
    assert_eq!(watch.next().await.unwrap().revision, next, "what was read is left out");
    assert_eq!(watch.reached(), next);
    // A second watch from an older revision is told all.
    let mut late = store.watch(PETS.prefix(), start);
    assert_eq!(late.next().await.unwrap().changes[0].key.as_str(), "pet/dog");
    assert_eq!(late.next().await.unwrap().changes[0].key.as_str(), "pet/cow");
}

/// A dog belongs to a kennel; each kennel's set of dogs has a guard record.
const DOGS: Table<(String, u32)> = Table::new("dog", 1).guarded_by(|old, new| {
    let moves = old.map(|(kennel, _)| kennel) != new.map(|(kennel, _)| kennel);
    let kennels = old.into_iter().chain(new).filter(|_| moves);
    kennels.map(|(kennel, _)| Key::new(&format!("guard/kennel/{kennel}"))).collect()
});

pub(crate) async fn a_set_that_changed_refuses_who_relied_on_it<S: Store>(store: &S) {
    let dog = |kennel: &str, age| (kennel.to_owned(), age);
    let seen = all(store).await;
    store.commit(Txn::on(&seen).put(&DOGS, "rex", dog("north", 1))).await.unwrap();
    // Both look, both find one free place in the north, one gets it.
    let seen = all(store).await;
    let enter = |name: &str| Txn::on(&seen).put(&DOGS, name, dog("north", 2));
    store.commit(enter("max")).await.unwrap();
    let late = store.commit(enter("bob")).await;
    assert!(
        matches!(&late, Err(StoreError::Refused(Guard::At(key, _))) if key.as_str() == "guard/kennel/north"),
        "{late:?}"
    );
    // Who only grows older changes no set, and disturbs nobody who relies on one.
    let seen = all(store).await;
    store.commit(Txn::on(&seen).put(&DOGS, "rex", dog("north", 3))).await.unwrap();
    store.commit(Txn::on(&seen).put(&DOGS, "tim", dog("north", 1))).await.unwrap();
    // A move touches both sets, a removal the one it leaves.
    let seen = all(store).await;
    store.commit(Txn::on(&seen).put(&DOGS, "tim", dog("south", 1))).await.unwrap();
    for kennel in ["north", "south"] {
        let refused = store.commit(Txn::on(&seen).put(&DOGS, "ben", dog(kennel, 1))).await;
        assert!(matches!(refused, Err(StoreError::Refused(_))), "{kennel}");
    }
    let seen = all(store).await;
    store.commit(Txn::on(&seen).remove(&DOGS, "tim")).await.unwrap();
    assert!(store.commit(Txn::on(&seen).put(&DOGS, "ben", dog("south", 1))).await.is_err());
    // The record itself is guarded too, and nothing is written on what was not read.
    assert!(store.commit(Txn::on(&seen).put(&DOGS, "tim", dog("south", 2))).await.is_err());
    let part = store.read(DOGS.prefix()).await.unwrap();
    for txn in [Txn::on(&part), Txn::new()] {
        let blind = store.commit(txn.put(&DOGS, "kim", dog("south", 1))).await;
        assert!(matches!(blind, Err(StoreError::NotRead { .. })), "{blind:?}");
    }
}

pub(crate) async fn a_key_is_written_once_whatever_the_transaction_says<S: Store>(store: &S) {
    let seen = all(store).await.revision_of(&Key::new("guard/x"));
    let txn = put("cat", "Tom").delete(PETS.key("cat")).put(&PETS, "cat", "Garfield".to_owned());
    store.commit(txn.touch("guard/x", seen).touch("guard/x", seen)).await.unwrap();
    let snapshot = all(store).await;
    assert_eq!(PETS.get(&snapshot, "cat").unwrap().unwrap().as_str(), "Garfield");
    let seen = snapshot.revision_of(&Key::new("guard/x"));
    store.commit(Txn::new().retire("guard/x", seen)).await.unwrap();
    assert!(all(store).await.get(&Key::new("guard/x")).is_none());
    assert!(store.commit(Txn::new().touch("guard/x", seen)).await.is_err());
}

pub(crate) async fn concurrent_writers_of_one_counter_lose_nothing<S: Store + Clone + 'static>(store: &S) {
    const COUNTER: Table<u64> = Table::new("counter", 1);
    store.commit(Txn::new().put(&COUNTER, "n", 0u64)).await.unwrap();
    let writers: Vec<_> = (0..8)
        .map(|writer| {
            let store = store.clone();
            tokio::spawn(async move {
                let mut done = 0;
                while done < 20 {
                    let n = COUNTER.get(&all(&store).await, "n").unwrap().unwrap();
                    let durability = if writer % 2 == 0 { Durability::Synced } else { Durability::Relaxed };
                    let txn =
                        Txn::new().guard_at(COUNTER.key("n"), n.revision).put(&COUNTER, "n", *n.value + 1);
                    match store.commit(txn.durability(durability)).await {
                        Ok(_) => done += 1,
                        Err(StoreError::Refused(_)) => tokio::task::yield_now().await,
                        Err(other) => panic!("{other}"),
                    }
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
    assert_eq!(*COUNTER.get(&all(store).await, "n").unwrap().unwrap().value, 160);
}

pub(crate) async fn nothing_is_lost_or_done_twice_by_who_looks_again<S: Store + Clone + 'static>(store: &S) {
    const ENTRIES: Table<u64> = Table::new("entry", 1);
    const SUM: Table<u64> = Table::new("sum", 1);
    store.commit(Txn::new().put(&SUM, "of", 0u64)).await.unwrap();
    let seed = Random::seeded().state();
    let writers: Vec<_> = (0..4)
        .map(|writer: u64| {
            let any = AnyStore::new(store.clone());
            let store = Faulty::new(any, Arc::new(WallClock::new()), Faults::SOME, seed + writer);
            tokio::spawn(async move {
                // Each entry is made once and counted in the same commit; its name is chosen before, so that who
                // does not know looks and finds.
                for n in 0..25u64 {
                    let name = format!("{writer}-{n}");
                    loop {
                        let Ok(seen) = store.read(["entry/", "sum/"]).await else { continue };
                        if ENTRIES.get(&seen, &name).unwrap().is_some() {
                            break;
                        }
                        let sum = SUM.get(&seen, "of").unwrap().unwrap();
                        let txn = Txn::on(&seen)
                            .guard_absent(ENTRIES.key(&name))
                            .guard_at(SUM.key("of"), sum.revision)
                            .put(&ENTRIES, &name, n)
                            .put(&SUM, "of", *sum.value + 1);
                        match store.commit(txn).await {
                            Ok(_) => break,
                            Err(
                                StoreError::Refused(_)
                                | StoreError::OutcomeUnknown { .. }
                                | StoreError::Unavailable { .. },
                            ) => tokio::task::yield_now().await,
                            Err(other) => panic!("{other}"),
                        }
                    }
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
    let seen = all(store).await;
    assert_eq!(ENTRIES.list(&seen).unwrap().len(), 100);
    assert_eq!(*SUM.get(&seen, "of").unwrap().unwrap().value, 100);
}

/// One random transaction over few keys, guards included, that two stores must judge alike.
pub(crate) fn random_txn(random: &mut Random, seen: Revision) -> Txn {
    let mut txn = Txn::new();
    if random.below(4) > 0 {
        txn = txn.durability(Durability::Relaxed);
    }
    for _ in 0..1 + random.below(3) {
        let key = Key::new(&format!("{}/{}", ["a", "b"][random.below(2) as usize], random.below(12)));
        txn = match random.below(3) {
            0 => txn.delete(&key),
            _ => txn.put_bytes(
                &key,
                1,
                random.below(1 << 40).to_string().repeat(1 + random.below(40) as usize).into_bytes(),
            ),
        };
        let earlier = Revision { number: seen.number.saturating_sub(random.below(5)), ..seen };
        txn = match random.below(6) {
            0 => txn.guard_absent(&key),
            1 => txn.guard_at(&key, earlier),
            _ => txn,
        };
    }
    txn
}

/// Everything in a store, for comparison.
pub(crate) fn contents(snapshot: &Snapshot) -> Vec<(String, Revision, u32, Vec<u8>)> {
    snapshot.iter().map(|(k, r)| (k.to_string(), r.revision(), r.schema(), r.bytes().to_vec())).collect()
}

/// Runs every test of the suite on a fresh `$store` each.
macro_rules! suite {
    ($module:ident, $fresh:expr) => {
        mod $module {
            use super::*;
            $crate::suite::suite!(@each $fresh;
                what_is_committed_is_read a_read_sees_only_its_prefix guards_refuse_what_has_changed
                deleting_what_is_not_there_is_a_commit_like_any_other guards_alone_write_nothing too_large_is_said a_value_that_cannot_be_encoded_fails_the_commit
                schema_versions_rise_and_newer_ones_are_an_error a_watch_follows_every_change_in_order
                several_prefixes_are_read_and_watched_as_one a_watch_goes_on_from_where_its_reader_is
                a_set_that_changed_refuses_who_relied_on_it
                a_key_is_written_once_whatever_the_transaction_says a_watch_that_lags_is_told concurrent_writers_of_one_counter_lose_nothing
                nothing_is_lost_or_done_twice_by_who_looks_again);
        }
    };
    (@each $fresh:expr; $($name:ident)*) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() {
            let (store, _keep) = $fresh;
            $crate::suite::$name(&store).await;
        }
    )*};
}
pub(crate) use suite;
