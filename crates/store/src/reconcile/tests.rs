//! A loop gets where it should, whatever others do meanwhile.

use super::*;
use crate::{Memory, Prefix, Simulated, Table, WallClock};
use minke_model::Timestamp;

const WANTED: Table<u64> = Table::new("wanted", 1);
const MADE: Table<u64> = Table::new("made", 1)
    .guarded_by(|old, new| if old == new { Vec::new() } else { vec![Key::new("guard/made")] });

/// Makes what is wanted, one transaction each; what is over 100 only after a second.
struct Maker {
    looks: usize,
}

impl Reconcile for Maker {
    type View = Snapshot;

    fn name(&self) -> &str {
        "maker"
    }

    fn reads(&self) -> Prefixes {
        ["wanted/", "made/", "guard/made"].into()
    }

    async fn look(&mut self, snapshot: &Snapshot) -> Result<Snapshot> {
        self.looks += 1;
        Ok(snapshot.clone())
    }

    fn plan(view: &Snapshot, now: Time) -> Plan {
        let mut plan = Plan::default();
        let late = Time::from_millis(1000);
        for (name, wanted) in WANTED.list(view).unwrap() {
            if MADE.get(view, &name).unwrap().is_some_and(|made| *made.value == *wanted.value) {
                continue;
            }
            if *wanted.value > 100 && now < late {
                plan.look_again_at(late);
                continue;
            }
            plan.push(Txn::on(view).put(&MADE, &name, wanted.value.clone()), format!("{name} is wanted"));
        }
        plan
    }
}

async fn want(store: &Memory, name: &str, value: u64) {
    store.commit(Txn::new().put(&WANTED, name, value)).await.unwrap();
}

fn made(store: &Memory) -> usize {
    MADE.list(&store.snapshot()).unwrap().len()
}

/// Waits for the store to hold so many made things.
async fn until_made(store: &Memory, count: usize) {
    let mut watch = store.watch(Prefix::all(), store.snapshot().revision());
    while made(store) < count {
        watch.next().await.unwrap();
    }
}

#[tokio::test]
async fn a_plan_that_touches_one_guard_record_many_times_is_carried_out_whole() {
    let store = Memory::new();
    for n in 0..20 {
        want(&store, &n.to_string(), n).await;
    }
    let mut driver = Driver::new(Maker { looks: 0 }, store.clone(), Arc::new(WallClock::new()));
    let turn = driver.turn().await;
    assert!(matches!(turn.outcome, Outcome::Done), "{:?}", turn.outcome);
    assert_eq!((turn.written, made(&store)), (20, 20));
    assert_eq!(driver.turn().await.written, 0);
}

#[tokio::test]
async fn what_others_change_meanwhile_is_refused_and_looked_at_again() {
    /// Slips another's commit in before the first of the loop's.
    struct Meddler(Memory, std::sync::atomic::AtomicBool);
    impl Store for Meddler {
        async fn read(&self, prefixes: impl Into<Prefixes> + Send) -> Result<Snapshot> {
            self.0.read(prefixes).await
        }
        async fn commit(&self, txn: Txn) -> Result<Revision> {
            if !self.1.swap(true, std::sync::atomic::Ordering::Relaxed) {
                self.0.commit(Txn::on(&self.0.snapshot()).put(&MADE, "theirs", 0)).await?;
            }
            self.0.commit(txn).await
        }
        fn watch(&self, prefixes: impl Into<Prefixes>, after: Revision) -> Watch {
            self.0.watch(prefixes, after)
        }
    }
    let store = Memory::new();
    want(&store, "a", 1).await;
    let meddler = Meddler(store.clone(), Default::default());
    let mut driver = Driver::new(Maker { looks: 0 }, meddler, Arc::new(WallClock::new()));
    assert!(matches!(driver.turn().await.outcome, Outcome::LookAgain(StoreError::Refused(_))));
    assert_eq!(driver.turn().await.written, 1);
    assert_eq!(made(&store), 2);
}

#[tokio::test]
async fn a_loop_wakes_by_changes_by_time_and_by_hand_and_ends_when_asked() {
    let store = Memory::new();
    let clock = Simulated::new(Timestamp::from_nanos(0));
    let driver = Driver::new(Maker { looks: 0 }, store.clone(), Arc::new(clock.clone()));
    let wake = driver.wake();
    let (stopper, stop) = Stopper::new();
    let running = tokio::spawn(driver.run(stop));

    want(&store, "now", 1).await;
    until_made(&store, 1).await;
    want(&store, "later", 101).await;
    while clock.next().is_none() {
        tokio::task::yield_now().await;
    }
    assert_eq!((made(&store), clock.next()), (1, Some(Duration::from_secs(1))));
    wake.look_again();
    clock.advance_to(Duration::from_secs(1));
    until_made(&store, 2).await;
    stopper.stop();
    running.await.unwrap();
}

#[tokio::test]
async fn a_watch_that_lags_is_only_a_reason_to_look() {
    let store = Memory::new();
    let clock = Simulated::new(Timestamp::from_nanos(0));
    let driver = Driver::new(Maker { looks: 0 }, store.clone(), Arc::new(clock));
    let (stopper, stop) = Stopper::new();
    let running = tokio::spawn(driver.run(stop));
    for n in 0..1000 {
        // Without a pause: the loop sleeps through more than is remembered.
        want(&store, "x", n % 90).await;
    }
    want(&store, "last", 7).await;
    let mut watch = store.watch(Prefix::all(), store.snapshot().revision());
    while MADE.get(&store.snapshot(), "last").unwrap().is_none_or(|made| *made.value != 7) {
        watch.next().await.unwrap();
    }
    stopper.stop();
    running.await.unwrap();
}
