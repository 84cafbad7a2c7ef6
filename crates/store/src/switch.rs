//! A store that can be exchanged for another while everybody uses it.
//!
//! While records are copied, commits are refused for a moment ([`StoreError::Moving`]), reads and watches go on.
//! After the exchange every older watch ends as if it had lagged, and every older guard is refused: the new
//! store lives in a later epoch.

use crate::{
    AnyStore, Changes, Follow, Prefixes, Result, Revision, Snapshot, Store, StoreError, Txn, Watch,
    any::Boxed,
};
use std::{
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
};
use tokio::sync::{RwLock, watch};

/// The store that is used now. Clones are the same switch.
#[derive(Clone)]
pub struct Switch {
    inner: Arc<Inner>,
}

struct Inner {
    /// Held for reading by every commit while it runs, for writing while commits are refused.
    commits: Arc<RwLock<()>>,
    current: Mutex<AnyStore>,
    /// Counts the exchanges.
    generation: watch::Sender<u64>,
}

/// As long as this lives, no commit runs and none is taken.
pub struct Held {
    switch: Switch,
    _commits: tokio::sync::OwnedRwLockWriteGuard<()>,
}

impl Switch {
    /// Uses `store` at first.
    pub fn new(store: AnyStore) -> Self {
        let inner = Inner {
            commits: Arc::new(RwLock::new(())),
            current: Mutex::new(store),
            generation: watch::Sender::new(0),
        };
        Switch { inner: Arc::new(inner) }
    }

    /// The store behind it.
    pub fn current(&self) -> AnyStore {
        self.inner.current.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits for the commits that run, and refuses those that come.
    pub async fn hold(&self) -> Held {
        Held { switch: self.clone(), _commits: self.inner.commits.clone().write_owned().await }
    }
}

impl Held {
    /// The store that is held, for its last commits.
    pub fn current(&self) -> AnyStore {
        self.switch.current()
    }

    /// Refuses commits until the process ends: nobody knows any more which store is the right one.
    pub(crate) fn for_good(self) {
        std::mem::forget(self._commits);
    }

    /// Uses `store` from now on.
    pub fn exchange(self, store: AnyStore) {
        let inner = &self.switch.inner;
        let before =
            std::mem::replace(&mut *inner.current.lock().unwrap_or_else(PoisonError::into_inner), store);
        inner.generation.send_modify(|generation| *generation += 1);
        // Only now: a watch that sees the old store close before it hears of the new one would end for good.
        drop(before);
    }
}

impl Store for Switch {
    async fn read(&self, prefixes: impl Into<Prefixes> + Send) -> Result<Snapshot> {
        let prefixes = prefixes.into();
        self.current().read(prefixes).await
    }

    async fn commit(&self, txn: Txn) -> Result<Revision> {
        let Ok(_running) = self.inner.commits.try_read() else { return Err(StoreError::Moving) };
        self.current().commit(txn).await
    }

    fn watch(&self, prefixes: impl Into<Prefixes>, after: Revision) -> Watch {
        // Taken before the store: an exchange in between ends the watch at once.
        let mut generation = self.inner.generation.subscribe();
        let now = *generation.borrow_and_update();
        let watch = self.current().watch(prefixes, after);
        let exchanged = async move {
            let _ = generation.wait_for(|generation| *generation != now).await;
        };
        Watch::new(UntilExchanged { watch, exchanged: Some(Box::pin(exchanged)) })
    }
}

/// A watch of the store that is used now.
struct UntilExchanged {
    watch: Watch,
    /// `None` once it happened.
    exchanged: Option<Boxed<'static, ()>>,
}

impl Follow for UntilExchanged {
    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Result<Changes>> {
        if let Some(exchanged) = &mut self.exchanged {
            if exchanged.as_mut().poll(context).is_pending() {
                return self.watch.poll_next(context);
            }
            self.exchanged = None;
        }
        Poll::Ready(Err(StoreError::Compacted { after: self.watch.reached() }))
    }

    fn skip(&mut self, until: Revision) {
        self.watch.skip(until);
    }

    fn reached(&self) -> Revision {
        self.watch.reached()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Memory;

    crate::suite::suite!(switch, (Switch::new(AnyStore::new(Memory::new())), ()));

    #[tokio::test]
    async fn commits_are_refused_during_a_move_and_watches_end_after_it() {
        let switch = Switch::new(AnyStore::new(Memory::new()));
        let first = switch.commit(Txn::new().put_bytes("a/1", 1, *b"old")).await.unwrap();
        let mut watch = switch.watch("a/", first);
        let held = switch.hold().await;
        let refused = switch.commit(Txn::new().put_bytes("a/1", 1, *b"lost")).await;
        assert!(matches!(refused, Err(StoreError::Moving)), "{refused:?}");
        assert_eq!(switch.read("a/").await.unwrap().iter().count(), 1, "reads go on");
        held.exchange(AnyStore::new(Memory::new()));
        assert!(matches!(watch.next().await, Err(StoreError::Compacted { .. })));
        assert!(matches!(watch.next().await, Err(StoreError::Compacted { .. })), "and stays so");
        assert_eq!(switch.read("a/").await.unwrap().iter().count(), 0);
        switch.commit(Txn::new().put_bytes("a/1", 1, *b"new")).await.unwrap();
        // A move that is given up leaves everything as it was.
        drop(switch.hold().await);
        switch.commit(Txn::new().put_bytes("a/1", 1, *b"newer")).await.unwrap();
    }
}
