//! Changes after a revision.
//!
//! The store remembers a bounded stretch of its latest commits, once for all watches; a watch is only a
//! place in it. So a slow one costs nothing and holds up nobody: it is told that it fell behind.

use crate::{Key, Prefix, Record, Result, Revision, StoreError};
use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
};
use tokio::sync::watch;

/// Most commits that are remembered.
const MOST_COMMITS: usize = 512;
/// Most bytes of values that are remembered: they may be the last copy of what was overwritten since.
const MOST_BYTES: usize = 256 << 10;

/// One record that was written or deleted.
#[derive(Clone)]
pub struct Change {
    /// Which.
    pub key: Key,
    /// What it holds now; `None`: deleted.
    pub record: Option<Arc<Record>>,
}

/// All that one commit changed under a watch's prefix.
#[derive(Clone)]
pub struct Changes {
    /// Of the commit.
    pub revision: Revision,
    /// In the order of its writes.
    pub changes: Vec<Change>,
}

/// The latest commits.
pub(crate) struct History {
    inner: Mutex<Inner>,
}

struct Inner {
    commits: VecDeque<Changes>,
    bytes: usize,
    /// Everything after this one is remembered.
    start: Revision,
    latest: Revision,
}

impl History {
    pub(crate) fn new(start: Revision) -> Arc<Self> {
        let inner = Inner { commits: VecDeque::new(), bytes: 0, start, latest: start };
        Arc::new(History { inner: Mutex::new(inner) })
    }

    pub(crate) fn push(&self, commit: Changes) {
        let mut inner = self.lock();
        inner.latest = commit.revision;
        inner.bytes += size(&commit);
        inner.commits.push_back(commit);
        while inner.commits.len() > MOST_COMMITS || inner.bytes > MOST_BYTES {
            let Some(gone) = inner.commits.pop_front() else { break };
            inner.bytes -= size(&gone);
            inner.start = gone.revision;
        }
    }

    /// Whether something under `prefix` changed after `after`; `None`: too long ago to know.
    pub(crate) fn changed(&self, prefix: &Prefix, after: Revision) -> Option<bool> {
        let inner = self.lock();
        if after >= inner.latest {
            return Some(false);
        }
        (after >= inner.start)
            .then(|| inner.after(after).any(|c| c.changes.iter().any(|c| prefix.covers(&c.key))))
    }

    /// The first commit after `after` that touches `prefix`, or how far there is none.
    fn next(&self, prefix: &Prefix, after: Revision) -> Result<Result<Changes, Revision>> {
        let inner = self.lock();
        if after < inner.start {
            return Err(StoreError::Compacted { after });
        }
        for commit in inner.after(after) {
            let changes: Vec<_> = commit.changes.iter().filter(|c| prefix.covers(&c.key)).cloned().collect();
            if !changes.is_empty() {
                return Ok(Ok(Changes { revision: commit.revision, changes }));
            }
        }
        Ok(Err(inner.latest.max(after)))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn after(&self, after: Revision) -> impl Iterator<Item = &Changes> {
        let first = self.commits.partition_point(|c| c.revision <= after);
        self.commits.range(first..)
    }
}

fn size(commit: &Changes) -> usize {
    commit.changes.iter().map(|c| c.record.as_ref().map_or(0, |r| r.bytes().len())).sum()
}

/// Follows what changes under a prefix, commit by commit, in order.
pub struct Watch {
    history: Arc<History>,
    latest: watch::Receiver<Revision>,
    prefix: Prefix,
    after: Revision,
}

impl Watch {
    pub(crate) fn new(
        history: Arc<History>,
        latest: watch::Receiver<Revision>,
        prefix: Prefix,
        after: Revision,
    ) -> Self {
        Watch { history, latest, prefix, after }
    }

    /// Waits for the next commit that touches the prefix. May be dropped and called again: nothing is missed.
    ///
    /// # Errors
    /// [`StoreError::Compacted`]: it fell behind, read again and start a new watch. [`StoreError::Closed`]:
    /// the store is gone.
    pub async fn next(&mut self) -> Result<Changes> {
        loop {
            // Marked as seen before looking, so that a commit in between wakes us.
            self.latest.borrow_and_update();
            match self.history.next(&self.prefix, self.after)? {
                Ok(changes) => {
                    self.after = changes.revision;
                    return Ok(changes);
                }
                Err(none_until) => self.after = none_until,
            }
            self.latest.changed().await.map_err(|_| StoreError::Closed)?;
        }
    }
}
