//! A guarded set of writes.

use crate::{Key, Prefix, Result, Revision, StoreError, Table};
use serde::{Serialize, de::DeserializeOwned};
use std::{any::Any, fmt, sync::Arc};

/// Most guards of a transaction, and most writes: every store can take so many at once.
const MOST_ENTRIES: usize = 64;
/// Longest key, in bytes.
const LONGEST_KEY: usize = 1024;
/// Largest transaction, in bytes of keys and values.
const LARGEST: usize = 8 << 20;

/// When a commit has returned, what does it survive?
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// The loss of power.
    #[default]
    Synced,
    /// The death of this process, by whatever signal. After a power cut the newest of these may be gone,
    /// never one in the middle.
    Relaxed,
}

/// What must still be true when a transaction is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Guard {
    /// No such key.
    Absent(Key),
    /// The key was last written by this revision.
    At(Key, Revision),
    /// Nothing under the prefix was written or deleted after this revision.
    Unchanged(Prefix, Revision),
}

impl fmt::Display for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Guard::Absent(key) => write!(f, "\"{key} is absent\""),
            Guard::At(key, revision) => write!(f, "\"{key} is at revision {revision}\""),
            Guard::Unchanged(prefix, revision) => {
                write!(f, "\"{prefix}* is unchanged since revision {revision}\"")
            }
        }
    }
}

/// One write: a value, or none to delete.
pub(crate) struct Write {
    pub(crate) key: Key,
    pub(crate) value: Option<Value>,
}

/// A value on its way into the store.
pub(crate) struct Value {
    pub(crate) schema: u32,
    pub(crate) bytes: Arc<[u8]>,
    /// The same, decoded: the first reader need not do it.
    pub(crate) decoded: Option<Arc<dyn Any + Send + Sync>>,
}

/// A guarded set of writes: all happen, or none.
///
/// ```
/// # use minke_store::*;
/// const NAMES: Table<String> = Table::new("name", 1);
/// # async fn f(store: &Embedded) -> Result<()> {
/// store.commit(Txn::new().guard_absent(NAMES.key("web")).put(&NAMES, "web", "4f…".to_owned())).await?;
/// # Ok(()) }
/// ```
#[derive(Default)]
#[must_use = "a transaction does nothing before commit"]
pub struct Txn {
    pub(crate) guards: Vec<Guard>,
    pub(crate) writes: Vec<Write>,
    pub(crate) durability: Durability,
    failed: Option<StoreError>,
}

impl Txn {
    /// Nothing yet; synced.
    pub fn new() -> Self {
        Txn::default()
    }

    /// As [`Txn::new`], but [`Durability::Relaxed`].
    pub fn relaxed() -> Self {
        Txn::new().durability(Durability::Relaxed)
    }

    /// What it survives once committed.
    pub fn durability(mut self, durability: Durability) -> Self {
        self.durability = durability;
        self
    }

    /// Refuse if `key` exists.
    pub fn guard_absent(self, key: impl Into<Key>) -> Self {
        self.guard(Guard::Absent(key.into()))
    }

    /// Refuse if `key` was written after, or is not there as of, `revision` (that of its record).
    pub fn guard_at(self, key: impl Into<Key>, revision: Revision) -> Self {
        self.guard(Guard::At(key.into(), revision))
    }

    /// Refuse if anything under `prefix` was written or deleted after `revision` (that of a snapshot). Also
    /// refused when that is too long ago to know.
    pub fn guard_unchanged(self, prefix: impl Into<Prefix>, revision: Revision) -> Self {
        self.guard(Guard::Unchanged(prefix.into(), revision))
    }

    /// Adds a guard.
    pub fn guard(mut self, guard: Guard) -> Self {
        self.guards.push(guard);
        self
    }

    /// Writes `value` as `name` in `table`. A value that cannot be encoded fails the commit.
    pub fn put<T>(mut self, table: &Table<T>, name: &str, value: impl Into<Arc<T>>) -> Self
    where
        T: Serialize + DeserializeOwned + Send + Sync + 'static,
    {
        let (key, value) = (table.key(name), value.into());
        match serde_json::to_vec(&*value) {
            Ok(bytes) => {
                let value = Value { schema: table.version(), bytes: bytes.into(), decoded: Some(value) };
                self.writes.push(Write { key, value: Some(value) });
            }
            Err(source) => self.failed = Some(StoreError::Encode { key, source: Arc::new(source) }),
        }
        self
    }

    /// Writes bytes that no table knows.
    pub fn put_bytes(mut self, key: impl Into<Key>, schema: u32, bytes: impl Into<Arc<[u8]>>) -> Self {
        let value = Value { schema, bytes: bytes.into(), decoded: None };
        self.writes.push(Write { key: key.into(), value: Some(value) });
        self
    }

    /// Deletes; nothing happens to a key that is not there.
    pub fn delete(mut self, key: impl Into<Key>) -> Self {
        self.writes.push(Write { key: key.into(), value: None });
        self
    }

    /// Refuses what no store may take.
    pub(crate) fn check(&self) -> Result<()> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        let longest_key = self.writes.iter().map(|w| w.key.as_str().len()).max().unwrap_or(0);
        let bytes = self
            .writes
            .iter()
            .map(|w| w.key.as_str().len() + w.value.as_ref().map_or(0, |v| v.bytes.len()))
            .sum();
        for (what, found, limit) in [
            ("number of guards", self.guards.len(), MOST_ENTRIES),
            ("number of writes", self.writes.len(), MOST_ENTRIES),
            ("key length", longest_key, LONGEST_KEY),
            ("size in bytes", bytes, LARGEST),
        ] {
            if found > limit {
                return Err(StoreError::TooLarge { what, found, limit });
            }
        }
        Ok(())
    }
}
