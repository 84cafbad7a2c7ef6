//! A store that forgets everything with its process: for tests and simulations.

use crate::{Prefix, Result, Revision, Snapshot, Store, Txn, Watch, map::Map, state::State};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;

/// Keeps records in memory only. Clones are the same store.
#[derive(Clone)]
pub struct Memory {
    inner: Arc<Inner>,
}

struct Inner {
    state: Mutex<State>,
    latest: watch::Sender<Revision>,
}

impl Memory {
    /// Empty, in epoch 1.
    pub fn new() -> Self {
        let start = Revision { epoch: 1, number: 0 };
        let state = Mutex::new(State::new(Map::default(), start));
        Memory { inner: Arc::new(Inner { state, latest: watch::Sender::new(start) }) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.inner.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Memory {
    fn default() -> Self {
        Memory::new()
    }
}

impl Store for Memory {
    async fn read(&self, prefix: &Prefix) -> Result<Snapshot> {
        Ok(self.lock().snapshot(prefix))
    }

    async fn commit(&self, txn: Txn) -> Result<Revision> {
        txn.check()?;
        let mut state = self.lock();
        state.check(&txn)?;
        if txn.writes.is_empty() {
            return Ok(state.revision());
        }
        state.apply(txn.writes);
        let revision = state.revision();
        self.inner.latest.send_replace(revision);
        Ok(revision)
    }

    fn watch(&self, prefix: &Prefix, after: Revision) -> Watch {
        Watch::new(self.lock().history(), self.inner.latest.subscribe(), prefix.clone(), after)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    crate::suite::suite!(memory, (Memory::new(), ()));
}
