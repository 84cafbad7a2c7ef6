//! The one shape of loop: look, plan, commit, and wait until something may have changed.

use crate::{Clock, Key, Prefixes, Result, Revision, Snapshot, Store, StoreError, Time, Txn, Watch};
use std::{
    collections::HashMap,
    future::{Future, pending},
    sync::Arc,
    time::Duration,
};
use tokio::sync::{Notify, watch};

/// The first pause after a look that came to nothing; doubled each time.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
/// The longest.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// So many refused looks in a row are repeated at once: others were faster, which is no fault.
const AT_ONCE: u32 = 2;

/// A loop that makes what is into what was asked for.
///
/// Invariant: a wake-up says only "look again". The path taken after a crash is the path taken always.
pub trait Reconcile: Send {
    /// All that a decision needs. Large ones share structure with what the loop keeps (`Arc`).
    type View: Send + Sync;

    /// What it is called, in logs.
    fn name(&self) -> &str;

    /// What it looks at. A change there wakes it. Guard records that its plans touch belong to it.
    fn reads(&self) -> Prefixes;

    /// Picks out of one snapshot, and of what only this process knows, all that the decision needs. It may
    /// keep what it found to bound the work of the next look ([`Snapshot::changes_since`]), but must come to
    /// the same as from scratch.
    fn look(&mut self, snapshot: &Snapshot) -> impl Future<Output = Result<Self::View>> + Send;

    /// Decides. No clock, no I/O, no lock: the same view and time give the same plan.
    fn plan(view: &Self::View, now: Time) -> Plan;
}

/// What a loop wants to happen.
#[derive(Clone, Default)]
pub struct Plan {
    /// In order, and why. Each makes sense alone, as a crash may come after any.
    pub txns: Vec<(Txn, String)>,
    /// When to look again though nothing has changed: the end of a delay, a back-off, a deadline.
    pub look_again: Option<Time>,
}

impl Plan {
    /// Adds a transaction.
    pub fn push(&mut self, txn: Txn, because: impl Into<String>) {
        self.txns.push((txn, because.into()));
    }

    /// Asks to look again at `time`, or earlier.
    pub fn look_again_at(&mut self, time: Time) {
        self.look_again = Some(self.look_again.map_or(time, |known| known.min(time)));
    }
}

/// What came of one turn of a loop.
#[derive(Debug)]
pub struct Turn {
    /// How many of the plan's transactions were written.
    pub written: usize,
    /// How it ended.
    pub outcome: Outcome,
    /// When the plan wants to be made again.
    pub look_again: Option<Time>,
}

/// How a turn ended.
#[derive(Debug)]
pub enum Outcome {
    /// All that was planned is written.
    Done,
    /// A guard did not hold, or nobody knows whether a commit was written: look again.
    LookAgain(StoreError),
    /// The store did not answer, or the plan cannot be carried out: look again after a pause.
    Failed(StoreError),
}

/// Runs one loop.
pub struct Driver<R, S> {
    reconcile: R,
    store: S,
    clock: Arc<dyn Clock>,
    wake: Wake,
    /// With what it watches.
    watch: Option<(Prefixes, Watch)>,
    /// Turns in a row that came to nothing.
    misses: u32,
}

impl<R: Reconcile, S: Store> Driver<R, S> {
    /// Of `reconcile` on `store`.
    pub fn new(reconcile: R, store: S, clock: Arc<dyn Clock>) -> Self {
        Driver { reconcile, store, clock, wake: Wake::new(), watch: None, misses: 0 }
    }

    /// Wakes the loop when something outside of the store has changed.
    pub fn wake(&self) -> Wake {
        self.wake.clone()
    }

    /// The loop itself, for tests.
    pub fn reconcile(&mut self) -> &mut R {
        &mut self.reconcile
    }

    /// Looks once, plans once, and writes the plan until something in it is refused.
    pub async fn turn(&mut self) -> Turn {
        let failed = |error| Turn { written: 0, outcome: Outcome::Failed(error), look_again: None };
        let reads = self.reconcile.reads();
        let snapshot = match self.store.read(&reads).await {
            Ok(snapshot) => snapshot,
            Err(error) => return failed(error),
        };
        match &mut self.watch {
            Some((watched, watch)) if *watched == reads => watch.skip(snapshot.revision()),
            _ => self.watch = Some((reads.clone(), self.store.watch(&reads, snapshot.revision()))),
        }
        let view = match self.reconcile.look(&snapshot).await {
            Ok(view) => view,
            Err(error) => return failed(error),
        };
        let Plan { txns, look_again } = R::plan(&view, self.clock.now());
        drop(view);
        let mut turn = Turn { written: 0, outcome: Outcome::Done, look_again };
        let mut own = Own::default();
        for (mut txn, because) in txns {
            own.rebase(&mut txn);
            let touched = own.touched_by(&txn);
            match self.store.commit(txn).await {
                Ok(revision) => {
                    tracing::debug!(name = self.reconcile.name(), because, %revision, "committed");
                    own.written(touched, revision);
                    turn.written += 1;
                }
                Err(error @ (StoreError::Refused(_) | StoreError::OutcomeUnknown { .. })) => {
                    tracing::debug!(name = self.reconcile.name(), because, %error, "looking again");
                    turn.outcome = Outcome::LookAgain(error);
                    break;
                }
                Err(error) => {
                    tracing::warn!(name = self.reconcile.name(), because, %error, "cannot commit");
                    turn.outcome = Outcome::Failed(error);
                    break;
                }
            }
        }
        turn
    }

    /// Runs until `stop`, which interrupts no commit. A failure is never the end: it looks again.
    pub async fn run(mut self, mut stop: Stop) {
        while !stop.is_requested() {
            let turn = self.turn().await;
            let pause_until = self.pause_after(&turn);
            tokio::select! {
                biased;
                () = stop.requested() => return,
                () = self.until_something_changed(pause_until, turn.look_again) => {}
            }
        }
    }

    /// Until when nothing is worth another look.
    fn pause_after(&mut self, turn: &Turn) -> Option<Time> {
        let at_once = match &turn.outcome {
            Outcome::Done => {
                self.misses = 0;
                return None;
            }
            Outcome::LookAgain(_) => AT_ONCE,
            Outcome::Failed(error) => {
                tracing::debug!(name = self.reconcile.name(), %error, "will look again");
                0
            }
        };
        // Who gets on, however slowly, does not wait longer and longer.
        self.misses = if turn.written > 0 { 1 } else { self.misses.saturating_add(1) };
        let doublings = self.misses.saturating_sub(at_once + 1).min(16);
        let pause = if self.misses <= at_once { Duration::ZERO } else { FIRST_PAUSE * (1 << doublings) };
        Some(self.clock.now() + pause.min(LONGEST_PAUSE))
    }

    async fn until_something_changed(&mut self, pause_until: Option<Time>, look_again: Option<Time>) {
        // After a miss the look is due anyway: only the pause counts.
        if let Some(until) = pause_until {
            return self.clock.sleep_until(until).await;
        }
        let timer = async {
            match look_again {
                Some(time) => self.clock.sleep_until(time).await,
                None => pending().await,
            }
        };
        let changed = async {
            match &mut self.watch {
                Some((_, watch)) => watch.next().await,
                None => pending().await,
            }
        };
        let broken = tokio::select! {
            biased;
            () = timer => false,
            () = self.wake.0.notified() => false,
            changed = changed => match changed {
                Ok(_) => false,
                Err(StoreError::Compacted { .. }) => true,
                Err(error) => {
                    tracing::debug!(name = self.reconcile.name(), %error, "the watch broke");
                    // The store may be gone for good: no reason to spin.
                    self.clock.sleep_until(self.clock.now() + FIRST_PAUSE).await;
                    true
                }
            },
        };
        if broken {
            self.watch = None;
        }
    }
}

/// What the earlier transactions of a plan wrote to guard records. The later ones were planned with that in
/// mind: that the loop itself was there is no reason to refuse them.
#[derive(Default)]
struct Own(HashMap<Key, (Revision, Revision)>);

impl Own {
    fn rebase(&self, txn: &mut Txn) {
        let known = txn.guards().iter().filter_map(|guard| self.0.get_key_value(guard.key()));
        let known: Vec<_> = known.map(|(key, seen)| (key.clone(), *seen)).collect();
        for (key, (seen, now)) in known {
            txn.seen_again(&key, seen, now);
        }
    }

    /// The keys that `txn` both guards and writes, and as what it saw them first.
    fn touched_by(&self, txn: &Txn) -> Vec<(Key, Revision)> {
        let written = |key: &Key| txn.writes().any(|(write, value)| write == key && value.is_some());
        let touched = txn.guards().iter().filter(|guard| written(guard.key()));
        let first = |guard: &crate::Guard| {
            let seen = match guard {
                crate::Guard::Absent(_) => Revision::default(),
                crate::Guard::At(_, revision) => *revision,
            };
            self.0.get(guard.key()).filter(|(_, now)| *now == seen).map_or(seen, |(first, _)| *first)
        };
        touched.map(|guard| (guard.key().clone(), first(guard))).collect()
    }

    fn written(&mut self, touched: Vec<(Key, Revision)>, now: Revision) {
        self.0.extend(touched.into_iter().map(|(key, seen)| (key, (seen, now))));
    }
}

/// Wakes a loop. Says nothing but "look again"; many wake-ups before a look are one.
#[derive(Clone)]
pub struct Wake(Arc<Notify>);

impl Wake {
    fn new() -> Self {
        Wake(Arc::new(Notify::new()))
    }

    /// Look again.
    pub fn look_again(&self) {
        self.0.notify_one();
    }
}

/// Asks loops to end.
#[derive(Debug)]
pub struct Stopper(watch::Sender<bool>);

impl Stopper {
    /// A stopper, and what its loops hold.
    pub fn new() -> (Self, Stop) {
        let (sender, receiver) = watch::channel(false);
        (Stopper(sender), Stop(receiver))
    }

    /// Ends all. Dropping it does the same.
    pub fn stop(&self) {
        self.0.send_replace(true);
    }
}

/// Says when to end.
#[derive(Clone, Debug)]
pub struct Stop(watch::Receiver<bool>);

impl Stop {
    /// Whether it is time.
    pub fn is_requested(&self) -> bool {
        *self.0.borrow() || self.0.has_changed().is_err()
    }

    /// Returns when it is time.
    pub async fn requested(&mut self) {
        // An error means that nobody is left to ask: that is the end too.
        let _ = self.0.wait_for(|stop| *stop).await;
    }
}

impl From<watch::Receiver<bool>> for Stop {
    fn from(stopped: watch::Receiver<bool>) -> Self {
        Stop(stopped)
    }
}

#[cfg(test)]
mod tests;
