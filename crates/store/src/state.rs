//! What a store holds in memory: the records, and the rules of a commit.

use crate::{
    Guard, Key, Prefix, Result, Revision, StoreError, Txn,
    map::Map,
    txn::Write,
    watch::{Change, Changes, History},
};
use std::{
    any::Any,
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

/// Everything as of one revision. Cheap to take, clone and keep.
#[derive(Clone)]
pub struct Snapshot {
    map: Map,
    prefix: Prefix,
    revision: Revision,
}

impl Snapshot {
    /// Of which revision.
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// What `key` holds; `None` also for a key outside of what was read.
    pub fn get(&self, key: &Key) -> Option<&Arc<Record>> {
        self.prefix.covers(key).then(|| self.map.get(key.as_str()))?
    }

    /// All records that were read, sorted by key.
    pub fn iter(&self) -> impl Iterator<Item = (&Key, &Arc<Record>)> {
        self.map.under(self.prefix.as_str())
    }

    /// All records that were read and lie under `prefix`, sorted by key.
    pub fn under<'a>(&'a self, prefix: &'a Prefix) -> impl Iterator<Item = (&'a Key, &'a Arc<Record>)> {
        // The longer of the two decides where to look, the other what to keep.
        let start = if self.prefix.as_str().len() > prefix.as_str().len() { &self.prefix } else { prefix };
        self.map.under(start.as_str()).filter(move |(key, _)| self.prefix.covers(key) && prefix.covers(key))
    }
}

/// The records of a store. Its owner holds the lock around it.
pub(crate) struct State {
    map: Map,
    revision: Revision,
    history: Arc<History>,
}

impl State {
    pub(crate) fn new(map: Map, revision: Revision) -> Self {
        State { map, revision, history: History::new(revision) }
    }

    pub(crate) fn revision(&self) -> Revision {
        self.revision
    }

    pub(crate) fn next_revision(&self) -> Revision {
        Revision { number: self.revision.number + 1, ..self.revision }
    }

    pub(crate) fn history(&self) -> Arc<History> {
        self.history.clone()
    }

    pub(crate) fn snapshot(&self, prefix: &Prefix) -> Snapshot {
        Snapshot { map: self.map.clone(), prefix: prefix.clone(), revision: self.revision }
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
                Guard::Unchanged(prefix, revision) => self.history.changed(prefix, *revision) == Some(false),
            };
            if !holds {
                return Err(StoreError::Refused(guard.clone()));
            }
        }
        Ok(())
    }

    /// Writes. The caller has checked, and has made it as durable as it must be before others see it.
    pub(crate) fn apply(&mut self, writes: Vec<Write>) {
        let revision = self.next_revision();
        let mut changes = Vec::with_capacity(writes.len());
        for Write { key, value } in writes {
            let record = value.map(|value| {
                let record = Record::new(revision, value.schema, value.bytes);
                if let Some(decoded) = value.decoded {
                    let _ = record.decoded.set(decoded);
                }
                Arc::new(record)
            });
            match &record {
                Some(record) => self.map.insert(key.clone(), record.clone()),
                None => {
                    self.map.remove(key.as_str());
                }
            }
            changes.push(Change { key, record });
        }
        self.revision = revision;
        self.history.push(Changes { revision, changes });
    }
}
