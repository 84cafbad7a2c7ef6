//! Changes after a revision.
//!
//! The store remembers a bounded stretch of its latest commits, once for all watches; a watch is only a
//! place in it, and a list of the commits there that concern it. So a slow one costs nothing and holds up
//! nobody: it is told that it fell behind. A commit wakes only those whose prefixes it touches.

use crate::{Key, Prefix, Prefixes, Record, Result, Revision, StoreError};
use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    future::poll_fn,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

/// How much of the past a store remembers for its watches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Remember {
    /// Most commits.
    pub commits: usize,
    /// Most bytes of values: they may be the last copy of what was overwritten since.
    pub bytes: usize,
}

impl Remember {
    /// One machine's records: few watch them, and memory counts.
    pub const MACHINE: Self = Remember { commits: 512, bytes: 256 << 10 };
    /// A cluster's: a watcher that was away for some seconds of hard work goes on where it was.
    pub const CLUSTER: Self = Remember { commits: 64 << 10, bytes: 64 << 20 };
}

/// One record that was written or deleted.
#[derive(Clone, Debug)]
pub struct Change {
    /// Which.
    pub key: Key,
    /// What it holds now; `None`: deleted.
    pub record: Option<Arc<Record>>,
}

/// All that one commit changed under a watch's prefixes.
#[derive(Clone, Debug)]
pub struct Changes {
    /// Of the commit.
    pub revision: Revision,
    /// In the order of its writes.
    pub changes: Vec<Change>,
}

/// The latest commits, and who follows them.
pub(crate) struct History {
    inner: Mutex<Inner>,
}

struct Inner {
    remember: Remember,
    commits: VecDeque<Changes>,
    bytes: usize,
    /// Everything after this one is remembered.
    start: Revision,
    latest: Revision,
    /// Why no more will come.
    ended: Option<StoreError>,
    followers: BTreeMap<u64, Follower>,
    next_follower: u64,
    /// Who follows a prefix that is empty or ends in `/`: found from a key by its slashes.
    by_prefix: HashMap<Prefix, Vec<u64>>,
    /// Who follows any other prefix.
    odd: Vec<(Prefix, u64)>,
}

#[derive(Default)]
struct Follower {
    /// Commits that concern it and that it has not taken, in order.
    waiting: VecDeque<Revision>,
    /// The first that it could not be told of is forgotten.
    lagged: bool,
    waker: Option<Waker>,
}

impl History {
    pub(crate) fn new(start: Revision, remember: Remember) -> Arc<Self> {
        let inner = Inner {
            remember,
            commits: VecDeque::new(),
            bytes: 0,
            start,
            latest: start,
            ended: None,
            followers: BTreeMap::new(),
            next_follower: 0,
            by_prefix: HashMap::new(),
            odd: Vec::new(),
        };
        Arc::new(History { inner: Mutex::new(inner) })
    }

    /// Remembers a commit and wakes whom it concerns.
    pub(crate) fn push(&self, commit: Changes) {
        let mut wakers = Vec::new();
        let mut guard = self.lock();
        let inner = &mut *guard;
        inner.latest = commit.revision;
        let concerned = inner.concerned(&commit);
        inner.bytes += size(&commit);
        let revision = commit.revision;
        inner.commits.push_back(commit);
        while inner.commits.len() > inner.remember.commits || inner.bytes > inner.remember.bytes {
            let Some(gone) = inner.commits.pop_front() else { break };
            inner.bytes -= size(&gone);
            inner.start = gone.revision;
        }
        for id in concerned {
            let Some(follower) = inner.followers.get_mut(&id).filter(|f| !f.lagged) else { continue };
            follower.waiting.push_back(revision);
            // The list of what nobody comes for is bounded too.
            if follower.waiting.front().is_some_and(|first| *first <= inner.start) {
                follower.waiting.clear();
                follower.lagged = true;
            }
            wakers.extend(follower.waker.take());
        }
        drop(guard);
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Forgets everything up to `start`: what happened in between is not known.
    pub(crate) fn reset(&self, start: Revision) {
        let mut inner = self.lock();
        inner.commits.clear();
        (inner.bytes, inner.start, inner.latest) = (0, start, start);
        for follower in inner.followers.values_mut() {
            follower.waiting.clear();
            follower.lagged = true;
        }
        inner.wake_all();
    }

    /// Says to all watches, once they have seen what was before, that there will be no more.
    pub(crate) fn end(&self, why: StoreError) {
        let mut inner = self.lock();
        inner.ended.get_or_insert(why);
        inner.wake_all();
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn after(&self, after: Revision) -> impl Iterator<Item = &Changes> {
        let first = self.commits.partition_point(|c| c.revision <= after);
        self.commits.range(first..)
    }

    /// Whose prefixes cover a key of `commit`, each once.
    fn concerned(&self, commit: &Changes) -> Vec<u64> {
        let mut ids = Vec::new();
        if self.followers.is_empty() {
            return ids;
        }
        for change in &commit.changes {
            let key = change.key.as_str();
            let slashes = key.bytes().enumerate().filter(|(_, b)| *b == b'/').map(|(at, _)| at + 1);
            for end in std::iter::once(0).chain(slashes) {
                ids.extend(self.by_prefix.get(&key[..end]).into_iter().flatten());
            }
            ids.extend(self.odd.iter().filter(|(prefix, _)| prefix.covers(&change.key)).map(|(_, id)| id));
        }
        ids.sort_unstable();
        ids.dedup();
        ids
    }

    fn wake_all(&mut self) {
        for follower in self.followers.values_mut() {
            if let Some(waker) = follower.waker.take() {
                waker.wake();
            }
        }
    }
}

fn size(commit: &Changes) -> usize {
    commit.changes.iter().map(|c| c.record.as_ref().map_or(0, |r| r.bytes().len())).sum()
}

/// A place in a store's history.
struct Place {
    history: Arc<History>,
    id: u64,
    prefixes: Prefixes,
    after: Revision,
}

impl Place {
    fn new(history: Arc<History>, prefixes: Prefixes, after: Revision) -> Self {
        let mut guard = history.lock();
        let inner = &mut *guard;
        let id = inner.next_follower;
        inner.next_follower += 1;
        let mut follower = Follower::default();
        // A later epoch's revision is of another history too. One that is only ahead is not: a store of several
        // machines answers a commit before it has heard of it.
        if after < inner.start || after.epoch > inner.latest.epoch {
            follower.lagged = true;
        } else {
            let concerns = |c: &&Changes| c.changes.iter().any(|change| prefixes.covers(&change.key));
            follower.waiting = inner.after(after).filter(concerns).map(|c| c.revision).collect();
        }
        inner.followers.insert(id, follower);
        for prefix in prefixes.iter() {
            if prefix.as_str().is_empty() || prefix.as_str().ends_with('/') {
                inner.by_prefix.entry(prefix.clone()).or_default().push(id);
            } else {
                inner.odd.push((prefix.clone(), id));
            }
        }
        drop(guard);
        Place { history, id, prefixes, after }
    }
}

impl Follow for Place {
    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Result<Changes>> {
        let mut guard = self.history.lock();
        let inner = &mut *guard;
        let (start, latest) = (inner.start, inner.latest);
        let Some(follower) = inner.followers.get_mut(&self.id) else {
            return Poll::Ready(Err(StoreError::Closed));
        };
        while let Some(revision) = follower.waiting.front().copied().filter(|_| !follower.lagged) {
            if revision <= self.after {
                follower.waiting.pop_front();
                continue;
            }
            if revision <= start {
                follower.lagged = true;
                break;
            }
            follower.waiting.pop_front();
            self.after = revision;
            let at = inner.commits.partition_point(|c| c.revision < revision);
            let covered = |c: &&Change| self.prefixes.covers(&c.key);
            let changes = inner.commits.get(at).into_iter().flat_map(|c| &c.changes);
            let changes = changes.filter(covered).cloned().collect();
            return Poll::Ready(Ok(Changes { revision, changes }));
        }
        if follower.lagged {
            return Poll::Ready(Err(StoreError::Compacted { after: self.after }));
        }
        if let Some(why) = &inner.ended {
            return Poll::Ready(Err(why.clone()));
        }
        self.after = self.after.max(latest);
        follower.waker = Some(context.waker().clone());
        Poll::Pending
    }

    fn skip(&mut self, until: Revision) {
        self.after = self.after.max(until);
    }

    fn reached(&self) -> Revision {
        let inner = self.history.lock();
        match inner.followers.get(&self.id) {
            Some(f) if f.waiting.is_empty() && !f.lagged => inner.latest.max(self.after),
            _ => self.after,
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut guard = self.history.lock();
        let inner = &mut *guard;
        inner.followers.remove(&self.id);
        for prefix in self.prefixes.iter() {
            if let Some(ids) = inner.by_prefix.get_mut(prefix.as_str()) {
                ids.retain(|id| *id != self.id);
                if ids.is_empty() {
                    inner.by_prefix.remove(prefix.as_str());
                }
            }
        }
        inner.odd.retain(|(_, id)| *id != self.id);
    }
}

/// A stream of changes, in whatever way a store comes by them.
pub trait Follow: Send {
    /// The next commit that touches the prefixes, as [`Watch::next`].
    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Result<Changes>>;
    /// As [`Watch::skip`].
    fn skip(&mut self, until: Revision);
    /// As [`Watch::reached`].
    fn reached(&self) -> Revision;
}

/// Follows what changes under some prefixes, commit by commit, in the order of revisions.
pub struct Watch(Box<dyn Follow>);

impl Watch {
    pub(crate) fn in_history(history: Arc<History>, prefixes: Prefixes, after: Revision) -> Self {
        Watch::new(Place::new(history, prefixes, after))
    }

    /// A watch from another source than a store's own history.
    pub fn new(source: impl Follow + 'static) -> Self {
        Watch(Box::new(source))
    }

    /// Waits for the next commit that touches the prefixes. May be dropped and called again: nothing is missed.
    ///
    /// # Errors
    /// [`StoreError::Compacted`]: it fell behind, or the store lives a new life: read again and start a new
    /// watch. [`StoreError::Closed`]: the store is gone.
    pub async fn next(&mut self) -> Result<Changes> {
        poll_fn(|context| self.poll_next(context)).await
    }

    /// As [`Watch::next`], for who waits for many things.
    pub fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Result<Changes>> {
        self.0.poll_next(context)
    }

    /// Leaves out everything up to `until`: the caller has read it.
    pub fn skip(&mut self, until: Revision) {
        self.0.skip(until);
    }

    /// Up to where everything has been handed over: from here a new watch would go on. Moves on also while
    /// nothing under the prefixes changes.
    pub fn reached(&self) -> Revision {
        self.0.reached()
    }
}
