//! What a store holds in memory: the records, and the rules of a commit.

use crate::{
    Guard, Key, Prefix, Prefixes, Remember, Result, Revision, StoreError, Txn, Watch,
    map::Map,
    txn::Write,
    watch::{Change, Changes, History},
};
use std::{
    any::Any,
    fmt,
    sync::{Arc, OnceLock},
};

/// One value with its schema version and the revision that wrote it.
pub struct Record {
    revision: Revision,
    schema: u32,
    bytes: Arc<[u8]>,
    decoded: OnceLock<Arc<dyn Any + Send + Sync>>,
}

impl Record {
    pub(crate) fn new(revision: Revision, schema: u32, bytes: Arc<[u8]>) -> Self {
        Record { revision, schema, bytes, decoded: OnceLock::new() }
    }

    /// Which commit wrote it.
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// The schema version that it was written with.
    pub fn schema(&self) -> u32 {
        self.schema
    }

    /// As written.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// As written, to be kept or written elsewhere without a copy.
    pub fn shared_bytes(&self) -> Arc<[u8]> {
        self.bytes.clone()
    }

    /// The value, parsed by the first who asks.
    pub(crate) fn decoded<T: Send + Sync + 'static, E>(
        &self,
        parse: impl FnOnce() -> Result<T, E>,
    ) -> Result<Arc<T>, E> {
        if let Some(known) = self.decoded.get().and_then(|any| any.clone().downcast().ok()) {
            return Ok(known);
        }
        let value = Arc::new(parse()?);
        // Lost only to a reader that parsed the same bytes at the same time.
        let _ = self.decoded.set(value.clone());
        Ok(value)
    }
}

impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Record({}, {})", self.revision, String::from_utf8_lossy(&self.bytes))
    }
}

/// How one record differs between two snapshots.
#[derive(Clone, Debug)]
pub struct Difference {
    /// Which.
    pub key: Key,
    /// What it held; `None`: it was not there.
    pub before: Option<Arc<Record>>,
    /// What it holds; `None`: it is gone.
    pub after: Option<Arc<Record>>,
}

/// Everything as of one revision. Cheap to take, clone and keep.
#[derive(Clone)]
pub struct Snapshot {
    pub(crate) map: Map,
    prefixes: Prefixes,
    revision: Revision,
}

impl Snapshot {
    /// Of nothing, from before everything: what a first look compares with.
    pub fn empty() -> Self {
        Snapshot::new(Map::default(), Prefixes::all(), Revision::default())
    }

    pub(crate) fn new(map: Map, prefixes: Prefixes, revision: Revision) -> Self {
        Snapshot { map, prefixes, revision }
    }

    /// Of which revision.
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// Whether `key` lies under what was read.
    pub fn covers(&self, key: &Key) -> bool {
        self.prefixes.covers(key)
    }

    /// What `key` holds; `None` also for a key outside of what was read.
    pub fn get(&self, key: &Key) -> Option<&Arc<Record>> {
        self.covers(key).then(|| self.map.get(key.as_str()))?
    }

    /// When `key` was last written; zero when it is not there. For [`Txn::touch`].
    pub fn revision_of(&self, key: &Key) -> Revision {
        self.get(key).map_or(Revision::default(), |record| record.revision())
    }

    /// All records that were read, sorted by key.
    pub fn iter(&self) -> impl Iterator<Item = (&Key, &Arc<Record>)> {
        self.prefixes.iter().flat_map(|prefix| self.map.under(prefix.as_str()))
    }

    /// All records that were read and lie under `prefix`, sorted by key.
    pub fn under<'a>(&'a self, prefix: &'a Prefix) -> impl Iterator<Item = (&'a Key, &'a Arc<Record>)> {
        let within = move |read: &'a Prefix| {
            // The longer of the two, where one lies in the other.
            if read.as_str().starts_with(prefix.as_str()) {
                Some(read)
            } else {
                prefix.as_str().starts_with(read.as_str()).then_some(prefix)
            }
        };
        self.prefixes.iter().filter_map(within).flat_map(|part| self.map.under(part.as_str()))
    }

    /// What differs from an `older` snapshot, sorted by key. When both are of one store, the work is that of
    /// what changed in between, however much there is: a loop that looks this way comes to the same as from
    /// scratch, which is a comparison with [`Snapshot::empty`].
    pub fn changes_since<'a>(&'a self, older: &'a Snapshot) -> impl Iterator<Item = Difference> + 'a {
        self.map.differences(&older.map).filter_map(|(key, before, after)| {
            let (before, after) = (before.filter(|_| older.covers(key)), after.filter(|_| self.covers(key)));
            if before.is_none() && after.is_none() {
                return None;
            }
            Some(Difference { key: key.clone(), before: before.cloned(), after: after.cloned() })
        })
    }
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Snapshot({} of {:?})", self.revision, self.prefixes)
    }
}

/// The records of a store. Its owner holds the lock around it.
pub(crate) struct State {
    map: Map,
    revision: Revision,
    history: Arc<History>,
}

impl State {
    pub(crate) fn new(map: Map, revision: Revision, remember: Remember) -> Self {
        State { map, revision, history: History::new(revision, remember) }
    }

    pub(crate) fn revision(&self) -> Revision {
        self.revision
    }

    pub(crate) fn next_revision(&self) -> Revision {
        Revision { number: self.revision.number + 1, ..self.revision }
    }

    /// The end of all watches.
    pub(crate) fn end(&self, why: StoreError) {
        self.history.end(why);
    }

    pub(crate) fn watch(&self, prefixes: Prefixes, after: Revision) -> Watch {
        Watch::in_history(self.history.clone(), prefixes, after)
    }

    pub(crate) fn snapshot(&self, prefixes: Prefixes) -> Snapshot {
        Snapshot::new(self.map.clone(), prefixes, self.revision)
    }

    pub(crate) fn map(&self) -> &Map {
        &self.map
    }

    /// Whether `txn` may be written now.
    pub(crate) fn check(&self, txn: &Txn) -> Result<()> {
        for guard in &txn.guards {
            let holds = match guard {
                Guard::Absent(key) => self.map.get(key.as_str()).is_none(),
                Guard::At(key, revision) => {
                    self.map.get(key.as_str()).is_some_and(|r| r.revision == *revision)
                }
            };
            if !holds {
                return Err(StoreError::Refused(guard.clone()));
            }
        }
        Ok(())
    }

    /// Becomes what was read elsewhere. What happened in between is not known.
    pub(crate) fn replace(&mut self, snapshot: Snapshot) {
        self.map = snapshot.map;
        self.revision = snapshot.revision;
        self.history.reset(snapshot.revision);
    }

    /// Takes what was written elsewhere.
    pub(crate) fn take(&mut self, changes: Changes) {
        for Change { key, record } in &changes.changes {
            match record {
                Some(record) => self.map.insert(key.clone(), record.clone()),
                None => {
                    self.map.remove(key.as_str());
                }
            }
        }
        self.revision = changes.revision;
        self.history.push(changes);
    }

    /// Writes. The caller has checked, and has made it as durable as it must be before others see it.
    pub(crate) fn apply(&mut self, writes: Vec<Write>) {
        self.apply_as(self.next_revision(), writes);
    }

    /// As [`State::apply`], as a given revision, later than all so far.
    pub(crate) fn apply_as(&mut self, revision: Revision, writes: Vec<Write>) {
        let changes = writes.into_iter().map(|Write { key, value }| {
            let record = value.map(|value| {
                let record = Record::new(revision, value.schema, value.bytes);
                if let Some(decoded) = value.decoded {
                    let _ = record.decoded.set(decoded);
                }
                Arc::new(record)
            });
            Change { key, record }
        });
        let changes = changes.collect();
        self.take(Changes { revision, changes });
    }
}
