//! A store that forgets everything with its process: for tests and simulations.

use crate::{
    Prefixes, Remember, Result, Revision, Snapshot, Store, StoreError, Txn, Watch, map::Map, state::State,
};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Keeps records in memory only. Clones are the same store.
#[derive(Clone)]
pub struct Memory {
    inner: Arc<Inner>,
}

struct Inner {
    state: Mutex<State>,
}

impl Memory {
    /// Empty, in epoch 1, with a short memory.
    pub fn new() -> Self {
        Memory::remembering(Remember::MACHINE)
    }

    /// Empty, in epoch 1.
    pub fn remembering(remember: Remember) -> Self {
        Memory::with(Map::default(), Revision { epoch: 1, number: 0 }, remember)
    }

    /// Empty, as of `start`: for what is computed from another store and keeps its revisions.
    pub fn starting_at(start: Revision, remember: Remember) -> Self {
        Memory::with(Map::default(), start, remember)
    }

    /// Writes all of `txn` as `revision`, whatever it guards and however large it is; says whether that is later than
    /// all so far, and so was done. For what is computed: its writer is alone.
    pub fn write_as(&self, revision: Revision, txn: Txn) -> bool {
        let mut state = self.lock();
        let is_later = revision > state.revision();
        if is_later {
            state.apply_as(revision, txn.writes);
        }
        is_later
    }

    fn with(map: Map, start: Revision, remember: Remember) -> Self {
        Memory { inner: Arc::new(Inner { state: Mutex::new(State::new(map, start, remember)) }) }
    }

    /// Everything as it is now. As [`Store::read`], without waiting.
    pub fn snapshot(&self) -> Snapshot {
        self.lock().snapshot(Prefixes::all())
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
    async fn read(&self, prefixes: impl Into<Prefixes> + Send) -> Result<Snapshot> {
        Ok(self.lock().snapshot(prefixes.into()))
    }

    async fn commit(&self, txn: Txn) -> Result<Revision> {
        txn.check()?;
        let mut state = self.lock();
        state.check(&txn)?;
        if txn.writes.is_empty() {
            return Ok(state.revision());
        }
        state.apply(txn.writes);
        Ok(state.revision())
    }

    fn watch(&self, prefixes: impl Into<Prefixes>, after: Revision) -> Watch {
        self.lock().watch(prefixes.into(), after)
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.state.get_mut().unwrap_or_else(PoisonError::into_inner).end(StoreError::Closed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    crate::suite::suite!(memory, (Memory::new(), ()));
}
