//! A store that does everything that may go wrong with one, under a seed.
//!
//! What it wraps stays whole: only answers are lost, late or old. A loop that ends up right on this ends up right on a
//! cluster whose managers, links and disks fail.

use crate::{
    AnyStore, Changes, Clock, Follow, Prefixes, Result, Revision, Snapshot, Store, StoreError, Txn, Watch,
    any::Boxed, random::Random,
};
use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

/// Most snapshots that are kept to be handed out late.
const MOST_OLD: usize = 8;

/// How often what goes wrong, each in a thousand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// A commit is written, but answered with [`StoreError::OutcomeUnknown`].
    pub answer_lost: u16,
    /// A commit is not written, and answered with [`StoreError::OutcomeUnknown`].
    pub request_lost: u16,
    /// A read or a commit is refused with [`StoreError::Unavailable`].
    pub unavailable: u16,
    /// A read shows an earlier revision.
    pub stale: u16,
    /// A watch ends in [`StoreError::Compacted`] instead of its next change.
    pub compacted: u16,
    /// A change reaches a watch later, by up to [`Faults::longest_lag`].
    pub late: u16,
    /// How much later.
    pub longest_lag: Duration,
}

impl Faults {
    /// A bit of everything.
    pub const SOME: Self = Faults {
        answer_lost: 50,
        request_lost: 50,
        unavailable: 30,
        stale: 100,
        compacted: 30,
        late: 200,
        longest_lag: Duration::from_millis(20),
    };
}

/// One process' way to a store, with faults. Clones share the seed, the faults and a crash.
#[derive(Clone)]
pub struct Faulty {
    store: AnyStore,
    clock: Arc<dyn Clock>,
    state: Arc<Mutex<State>>,
}

struct State {
    random: Random,
    faults: Faults,
    old: VecDeque<(Prefixes, Snapshot)>,
    /// Commits until the process dies.
    crash_after: Option<u64>,
}

impl Faulty {
    /// A way to `store`. The same seed and calls give the same faults.
    pub fn new(store: AnyStore, clock: Arc<dyn Clock>, faults: Faults, seed: u64) -> Self {
        let state = State { random: Random::new(seed), faults, old: VecDeque::new(), crash_after: None };
        Faulty { store, clock, state: Arc::new(Mutex::new(state)) }
    }

    /// Goes on with other faults.
    pub fn set(&self, faults: Faults) {
        self.lock().faults = faults;
    }

    /// After `commits` more commits everything ends in [`StoreError::Closed`], as if the process had died between two
    /// pieces of a plan.
    pub fn crash_after(&self, commits: u64) {
        self.lock().crash_after = Some(commits);
    }

    /// The process runs again.
    pub fn restart(&self) {
        self.lock().crash_after = None;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn happens(&mut self, fault: fn(&Faults) -> u16) -> bool {
        let chance = u64::from(fault(&self.faults));
        chance > 0 && self.random.below(1000) < chance
    }

    fn alive(&mut self) -> Result<()> {
        if self.crash_after == Some(0) {
            return Err(StoreError::Closed);
        }
        if self.happens(|f| f.unavailable) {
            let (tried, detail) = ("reach the store".to_owned(), "an injected fault".to_owned());
            return Err(StoreError::Unavailable { tried, detail });
        }
        Ok(())
    }
}

fn unknown() -> StoreError {
    let (tried, detail) = ("wait for the answer".to_owned(), "an injected fault".to_owned());
    StoreError::OutcomeUnknown { cause: Arc::new(StoreError::Unavailable { tried, detail }) }
}

impl Store for Faulty {
    async fn read(&self, prefixes: impl Into<Prefixes> + Send) -> Result<Snapshot> {
        let prefixes = prefixes.into();
        self.lock().alive()?;
        let snapshot = self.store.read(prefixes.clone()).await?;
        let mut state = self.lock();
        if state.happens(|f| f.stale) {
            let same: Vec<_> =
                state.old.iter().filter(|(of, _)| *of == prefixes).map(|(_, s)| s.clone()).collect();
            if !same.is_empty() {
                let which = state.random.below(same.len() as u64) as usize;
                return Ok(same[which].clone());
            }
        }
        if state.faults.stale > 0 {
            state.old.push_back((prefixes, snapshot.clone()));
            if state.old.len() > MOST_OLD {
                state.old.pop_front();
            }
        }
        Ok(snapshot)
    }

    async fn commit(&self, txn: Txn) -> Result<Revision> {
        let lost = {
            let mut state = self.lock();
            state.alive()?;
            if state.happens(|f| f.request_lost) {
                return Err(unknown());
            }
            state.happens(|f| f.answer_lost)
        };
        let revision = self.store.commit(txn).await?;
        if let Some(left) = &mut self.lock().crash_after {
            *left = left.saturating_sub(1);
        }
        if lost { Err(unknown()) } else { Ok(revision) }
    }

    fn watch(&self, prefixes: impl Into<Prefixes>, after: Revision) -> Watch {
        let watch = self.store.watch(prefixes, after);
        Watch::new(Lagging { faulty: self.clone(), watch, late: None })
    }
}

/// A watch that is told late, or ends for no reason.
struct Lagging {
    faulty: Faulty,
    watch: Watch,
    /// What waits for its time, and how it does.
    late: Option<(Result<Changes>, Boxed<'static, ()>)>,
}

impl Follow for Lagging {
    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Result<Changes>> {
        if self.late.is_none() {
            let Poll::Ready(next) = self.watch.poll_next(context) else { return Poll::Pending };
            let mut state = self.faulty.lock();
            if state.crash_after == Some(0) {
                return Poll::Ready(Err(StoreError::Closed));
            }
            if state.happens(|f| f.compacted) {
                return Poll::Ready(Err(StoreError::Compacted { after: self.watch.reached() }));
            }
            if !state.happens(|f| f.late) {
                return Poll::Ready(next);
            }
            let longest = state.faults.longest_lag.as_micros() as u64;
            let lag = Duration::from_micros(state.random.below(longest.max(1)));
            drop(state);
            self.late = Some((next, self.faulty.clock.sleep_until(self.faulty.clock.now() + lag)));
        }
        if let Some((_, time)) = &mut self.late
            && time.as_mut().poll(context).is_pending()
        {
            return Poll::Pending;
        }
        self.late.take().map_or(Poll::Pending, |(next, _)| Poll::Ready(next))
    }

    fn skip(&mut self, until: Revision) {
        self.late.take_if(|(next, _)| next.as_ref().is_ok_and(|changes| changes.revision <= until));
        self.watch.skip(until);
    }

    fn reached(&self) -> Revision {
        // Not past what waits.
        match &self.late {
            Some((Ok(changes), _)) => {
                Revision { number: changes.revision.number.saturating_sub(1), ..changes.revision }
            }
            _ => self.watch.reached(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Memory, Table, WallClock};

    fn faulty(faults: Faults) -> Faulty {
        let mut random = Random::seeded();
        Faulty::new(AnyStore::new(Memory::new()), Arc::new(WallClock::new()), faults, random.below(u64::MAX))
    }

    const ONLY_LATE: Faults = Faults {
        late: 500,
        longest_lag: Duration::from_millis(3),
        answer_lost: 0,
        request_lost: 0,
        unavailable: 0,
        stale: 0,
        compacted: 0,
    };

    crate::suite::suite!(faulty_without_faults, (faulty(Faults::default()), ()));
    crate::suite::suite!(faulty_and_late, (faulty(ONLY_LATE), ()));

    const NUMBERS: Table<u64> = Table::new("n", 1);

    #[tokio::test]
    async fn the_same_seed_gives_the_same_faults() {
        let run = async |seed| {
            let clock = Arc::new(WallClock::new());
            let store = Faulty::new(AnyStore::new(Memory::new()), clock, Faults::SOME, seed);
            let mut answers = Vec::new();
            for n in 0..100 {
                let answer = store.commit(Txn::new().put(&NUMBERS, "x", n)).await;
                answers.push(answer.map_err(|error| error.to_string()));
            }
            answers
        };
        assert_eq!(run(7).await, run(7).await);
        assert_ne!(run(7).await, run(8).await);
    }

    #[tokio::test]
    async fn a_crash_leaves_what_was_written_before_it() {
        let store = faulty(Faults::default());
        store.crash_after(2);
        for n in 0..4u64 {
            let _ = store.commit(Txn::new().put(&NUMBERS, &n.to_string(), n)).await;
        }
        assert!(matches!(store.read("n/").await, Err(StoreError::Closed)));
        store.restart();
        assert_eq!(store.read("n/").await.unwrap().iter().count(), 2);
    }
}
