//! A copy in memory of a part of a store that is far away, kept up by one watch for all who look at it.
//!
//! Reads cost nothing and show what was last heard, also while the way to the store is cut: who runs something goes on
//! by it. Who has committed here sees it here. Commits go to the store itself.

use crate::{
    AnyStore, Clock, Prefixes, Remember, Result, Revision, Snapshot, Stop, Stopper, Store, StoreError, Txn,
    Watch, map::Map, state::State,
};
use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::sync::watch;

/// How long a first read waits for the copy, and who committed for the change to come back.
const PATIENCE: Duration = crate::patience(3_000);
/// Pauses between attempts to read, doubled from the first to the longest.
const PAUSES: [Duration; 2] = [Duration::from_millis(20), Duration::from_secs(1)];

/// A copy of what lies under some prefixes of a store. Clones share it.
#[derive(Clone)]
pub struct Mirror {
    inner: Arc<Inner>,
    /// Ends the watch with the last clone.
    _stopper: Arc<Stopper>,
}

struct Inner {
    store: AnyStore,
    prefixes: Prefixes,
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
    /// Of the copy; zero before the first.
    reached: watch::Sender<Revision>,
}

impl Mirror {
    /// Begins to copy what lies under `prefixes` of `store`. Needs a tokio runtime around it.
    pub fn start(
        store: AnyStore,
        prefixes: impl Into<Prefixes>,
        remember: Remember,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let (stopper, stop) = Stopper::new();
        let inner = Arc::new(Inner {
            store,
            prefixes: prefixes.into(),
            clock,
            state: Mutex::new(State::new(Map::default(), Revision::default(), remember)),
            reached: watch::Sender::new(Revision::default()),
        });
        tokio::spawn(inner.clone().follow(stop));
        Mirror { inner, _stopper: Arc::new(stopper) }
    }

    /// Waits until the copy holds everything up to `revision`.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] when that takes too long.
    pub async fn until(&self, revision: Revision) -> Result<()> {
        self.inner.until(revision).await
    }

    /// The copy as it is, without waiting; zero revision before the first.
    pub fn snapshot(&self) -> Snapshot {
        self.inner.lock().snapshot(self.inner.prefixes.clone())
    }
}

impl Store for Mirror {
    async fn read(&self, prefixes: impl Into<Prefixes> + Send) -> Result<Snapshot> {
        let prefixes = prefixes.into();
        if !self.inner.prefixes.contain_all(&prefixes) {
            return self.inner.store.read(prefixes).await;
        }
        if *self.inner.reached.borrow() == Revision::default() {
            self.inner.until(Revision { epoch: 0, number: 1 }).await?;
        }
        Ok(self.inner.lock().snapshot(prefixes))
    }

    async fn commit(&self, txn: Txn) -> Result<Revision> {
        let comes_back = txn.writes().any(|(key, _)| self.inner.prefixes.covers(key));
        let revision = self.inner.store.commit(txn).await?;
        if comes_back && let Err(error) = self.inner.until(revision).await {
            // It is written all the same.
            tracing::debug!(%revision, %error, "a commit has not come back yet");
        }
        Ok(revision)
    }

    fn watch(&self, prefixes: impl Into<Prefixes>, after: Revision) -> Watch {
        let prefixes = prefixes.into();
        if !self.inner.prefixes.contain_all(&prefixes) {
            return self.inner.store.watch(prefixes, after);
        }
        self.inner.lock().watch(prefixes, after)
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn until(&self, revision: Revision) -> Result<()> {
        let mut reached = self.reached.subscribe();
        let deadline = self.clock.sleep_until(self.clock.now() + PATIENCE);
        tokio::select! {
            biased;
            found = reached.wait_for(|reached| *reached >= revision) => found.map(drop).map_err(|_| StoreError::Closed),
            () = deadline => Err(StoreError::Unavailable {
                tried: format!("wait for revision {revision}"),
                detail: "the store did not tell of it in time".to_owned(),
            }),
        }
    }

    async fn follow(self: Arc<Self>, mut stop: Stop) {
        tokio::select! {
            biased;
            () = self.keep_up() => {}
            () = stop.requested() => {}
        }
        self.lock().end(StoreError::Closed);
    }

    async fn keep_up(&self) {
        let mut pause = PAUSES[0];
        loop {
            match self.store.read(&self.prefixes).await {
                Ok(snapshot) => {
                    pause = PAUSES[0];
                    let after = snapshot.revision();
                    self.lock().replace(snapshot);
                    self.reached.send_replace(after);
                    self.take_changes(after).await;
                }
                Err(error) => tracing::debug!(%error, "cannot read what is to be copied"),
            }
            self.clock.sleep_until(self.clock.now() + pause).await;
            pause = (pause * 2).min(PAUSES[1]);
        }
    }

    /// Until the watch ends: whatever the reason, another read follows.
    async fn take_changes(&self, after: Revision) {
        let mut watch = self.store.watch(&self.prefixes, after);
        loop {
            match watch.next().await {
                Ok(changes) => {
                    let revision = changes.revision;
                    self.lock().take(changes);
                    self.reached.send_replace(revision);
                }
                Err(error) => {
                    tracing::debug!(%error, "the watch of what is copied ended");
                    return;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Faults, Faulty, Memory, WallClock};

    fn clock() -> Arc<dyn Clock> {
        Arc::new(WallClock::new())
    }

    fn mirror() -> Mirror {
        Mirror::start(AnyStore::new(Memory::new()), Prefixes::all(), Remember::MACHINE, clock())
    }

    crate::suite::suite!(mirror, (mirror(), ()));

    #[tokio::test]
    async fn a_copy_comes_to_the_same_whatever_happens_to_its_watch() {
        let store = Memory::new();
        let faults = Faults { compacted: 100, unavailable: 100, late: 300, ..Faults::SOME };
        let faulty = Faulty::new(AnyStore::new(store.clone()), clock(), Faults { stale: 0, ..faults }, 7);
        let mirror = Mirror::start(AnyStore::new(faulty.clone()), "a/", Remember::MACHINE, clock());
        let mut random = crate::random::Random::seeded();
        let mut last = Revision::default();
        for _ in 0..500 {
            let txn = crate::suite::random_txn(&mut random, store.snapshot().revision());
            if txn.writes().any(|(key, _)| key.as_str().starts_with("a/")) {
                last = store.commit(txn).await.unwrap_or(last);
            }
            tokio::task::yield_now().await;
        }
        mirror.until(last).await.unwrap();
        let want = store.read("a/").await.unwrap();
        let found = mirror.read("a/").await.unwrap();
        assert_eq!(crate::suite::contents(&found), crate::suite::contents(&want));
        // What is not copied is asked for.
        store.commit(Txn::new().put_bytes("b/x", 1, *b"x")).await.unwrap();
        faulty.set(Faults::default());
        assert!(mirror.read("b/").await.unwrap().get(&"b/x".into()).is_some());
    }
}
