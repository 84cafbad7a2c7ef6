//! Typed tables over keys.

use crate::{Key, Prefix, Record, Result, Revision, Snapshot, StoreError};
use serde::de::DeserializeOwned;
use std::{marker::PhantomData, ops::Deref, sync::Arc};

/// How a value of an older schema version is raised to the newest: from which version, and its JSON.
pub type Raise = fn(u32, serde_json::Value) -> serde_json::Result<serde_json::Value>;

/// The guard records of the sets that change when a record becomes another: none before it is made, none after
/// it is gone. What is in a set is for the table to say: a task that only reports changes no node's bookings.
pub type GuardedBy<T> = fn(Option<&T>, Option<&T>) -> Vec<Key>;

/// Records of one type under one prefix, as JSON with a schema version.
///
/// Additions with a serde default need no new version; anything that an older program would misread does.
pub struct Table<T> {
    name: &'static str,
    version: u32,
    raise: Option<Raise>,
    pub(crate) guarded_by: Option<GuardedBy<T>>,
    of: PhantomData<fn() -> T>,
}

impl<T> Table<T> {
    /// A table whose keys are `name/…` and whose values are written as schema `version`, from 1.
    pub const fn new(name: &'static str, version: u32) -> Self {
        Table { name, version, raise: None, guarded_by: None, of: PhantomData }
    }

    /// Reads older versions through `raise`. Without it older values are read as they are.
    pub const fn raising(mut self, raise: Raise) -> Self {
        self.raise = Some(raise);
        self
    }

    /// Every write and removal touches the guard records that `sets` names, as the snapshot of the transaction
    /// ([`Txn::on`](crate::Txn::on)) shows them, and guards the record itself: no caller can forget.
    pub const fn guarded_by(mut self, sets: GuardedBy<T>) -> Self {
        self.guarded_by = Some(sets);
        self
    }

    /// The schema version that it writes.
    pub const fn version(&self) -> u32 {
        self.version
    }

    /// The key of `name` in it.
    pub fn key(&self, name: &str) -> Key {
        Key::new(&format!("{}/{name}", self.name))
    }

    /// The name that `key` has in it; `None`: it lies elsewhere.
    pub fn name_of<'a>(&self, key: &'a Key) -> Option<&'a str> {
        key.as_str().strip_prefix(self.name)?.strip_prefix('/')
    }

    /// Every key of it.
    pub fn prefix(&self) -> Prefix {
        Prefix::new(&format!("{}/", self.name))
    }
}

impl<T: DeserializeOwned + Send + Sync + 'static> Table<T> {
    /// The value of `name`, if any. Decoded once, however often it is read.
    ///
    /// # Errors
    /// [`StoreError::Newer`] and [`StoreError::Decode`].
    pub fn get(&self, snapshot: &Snapshot, name: &str) -> Result<Option<Stored<T>>> {
        let key = self.key(name);
        snapshot.get(&key).map(|record| self.decode(&key, record)).transpose()
    }

    /// All names and values, sorted by name. The first that cannot be read is an error.
    ///
    /// # Errors
    /// As [`Table::get`].
    pub fn list(&self, snapshot: &Snapshot) -> Result<Vec<(String, Stored<T>)>> {
        let prefix = self.prefix();
        let names = snapshot.under(&prefix);
        names
            .map(|(key, record)| {
                Ok((key.as_str()[prefix.as_str().len()..].to_owned(), self.decode(key, record)?))
            })
            .collect()
    }

    /// Reads `record` as a value of this table.
    ///
    /// # Errors
    /// As [`Table::get`].
    pub fn decode(&self, key: &Key, record: &Record) -> Result<Stored<T>> {
        if record.schema() > self.version {
            return Err(StoreError::Newer { key: key.clone(), found: record.schema(), known: self.version });
        }
        let parse = || -> serde_json::Result<T> {
            match self.raise {
                Some(raise) if record.schema() < self.version => {
                    serde_json::from_value(raise(record.schema(), serde_json::from_slice(record.bytes())?)?)
                }
                _ => serde_json::from_slice(record.bytes()),
            }
        };
        let value = record
            .decoded(parse)
            .map_err(|source| StoreError::Decode { key: key.clone(), source: Arc::new(source) })?;
        Ok(Stored { value, revision: record.revision() })
    }
}

/// A value as read, with the revision that wrote it (for [`crate::Txn::guard_at`]).
#[derive(Debug)]
pub struct Stored<T> {
    /// Shared with the store: not copied.
    pub value: Arc<T>,
    /// When it was written.
    pub revision: Revision,
}

impl<T> Deref for Stored<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T> Clone for Stored<T> {
    fn clone(&self) -> Self {
        Stored { value: self.value.clone(), revision: self.revision }
    }
}
