//! A guarded set of writes.

use crate::{Key, Result, Revision, Snapshot, StoreError, Table};
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

/// What must still be true when a transaction is written. Always about one key: where a whole set must not
/// change, its *guard record* stands for it, which everybody who writes to the set touches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Guard {
    /// No such key.
    Absent(Key),
    /// The key was last written by this revision.
    At(Key, Revision),
}

impl Guard {
    /// The key is as it was `seen`: last written then, or absent where that is zero.
    pub fn seen(key: Key, seen: Revision) -> Self {
        if seen == Revision::default() { Guard::Absent(key) } else { Guard::At(key, seen) }
    }

    /// About which key it is.
    pub fn key(&self) -> &Key {
        match self {
            Guard::Absent(key) | Guard::At(key, _) => key,
        }
    }
}

impl fmt::Display for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Guard::Absent(key) => write!(f, "\"{key} is absent\""),
            Guard::At(key, revision) => write!(f, "\"{key} is at revision {revision}\""),
        }
    }
}

/// One write: a value, or none to delete.
#[derive(Clone)]
pub(crate) struct Write {
    pub(crate) key: Key,
    pub(crate) value: Option<Value>,
}

/// A value on its way into the store.
#[derive(Clone)]
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
#[derive(Clone, Default)]
#[must_use = "a transaction does nothing before commit"]
pub struct Txn {
    pub(crate) guards: Vec<Guard>,
    pub(crate) writes: Vec<Write>,
    pub(crate) durability: Durability,
    basis: Option<Snapshot>,
    failed: Option<StoreError>,
}

impl Txn {
    /// Nothing yet; synced.
    pub fn new() -> Self {
        Txn::default()
    }

    /// Nothing yet, decided on what `snapshot` shows: what tables with guard records need.
    pub fn on(snapshot: &Snapshot) -> Self {
        Txn { basis: Some(snapshot.clone()), ..Txn::default() }
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

    /// Adds a guard, once.
    pub fn guard(mut self, guard: Guard) -> Self {
        if !self.guards.contains(&guard) {
            self.guards.push(guard);
        }
        self
    }

    /// Refuses if the set that the guard record `key` stands for has changed since it was `seen` (the
    /// record's revision, [`Snapshot::revision_of`]; zero: there was none), and says to others that it
    /// changes now. Touching twice is touching once.
    pub fn touch(mut self, key: impl Into<Key>, seen: Revision) -> Self {
        let key = key.into();
        let value = Value { schema: 1, bytes: Arc::new([]), decoded: None };
        self.write(key.clone(), Some(value));
        self.guard(Guard::seen(key, seen))
    }

    /// As [`Txn::touch`], and deletes the guard record: with what it stood for.
    pub fn retire(mut self, key: impl Into<Key>, seen: Revision) -> Self {
        let key = key.into();
        self.write(key.clone(), None);
        self.guard(Guard::seen(key, seen))
    }

    /// Writes `value` as `name` in `table`, and touches the guard records of the sets that this changes. A
    /// value that cannot be encoded fails the commit.
    pub fn put<T>(mut self, table: &Table<T>, name: &str, value: impl Into<Arc<T>>) -> Self
    where
        T: Serialize + DeserializeOwned + Send + Sync + 'static,
    {
        let (key, value) = (table.key(name), value.into());
        match serde_json::to_vec(&*value) {
            Ok(bytes) => {
                self = self.touch_sets(table, name, Some(&value));
                let value = Value { schema: table.version(), bytes: bytes.into(), decoded: Some(value) };
                self.write(key, Some(value));
            }
            Err(source) => self.failed = Some(StoreError::Encode { key, source: Arc::new(source) }),
        }
        self
    }

    /// Deletes `name` from `table`, and touches the guard records of the sets that this changes.
    pub fn remove<T>(mut self, table: &Table<T>, name: &str) -> Self
    where
        T: DeserializeOwned + Send + Sync + 'static,
    {
        self = self.touch_sets(table, name, None);
        self.write(table.key(name), None);
        self
    }

    /// Writes bytes that no table knows.
    pub fn put_bytes(mut self, key: impl Into<Key>, schema: u32, bytes: impl Into<Arc<[u8]>>) -> Self {
        let value = Value { schema, bytes: bytes.into(), decoded: None };
        self.write(key.into(), Some(value));
        self
    }

    /// Deletes; nothing happens to a key that is not there. Knows of no guard records: see [`Txn::remove`].
    pub fn delete(mut self, key: impl Into<Key>) -> Self {
        self.write(key.into(), None);
        self
    }

    /// What must hold.
    pub fn guards(&self) -> &[Guard] {
        &self.guards
    }

    /// The same without the guards that `drop` names: what a simulation plants as a bug.
    pub fn without_guards(mut self, drop: impl Fn(&Key) -> bool) -> Self {
        self.guards.retain(|guard| !drop(guard.key()));
        self
    }

    /// What it writes: keys and values, none for a deletion.
    pub fn writes(&self) -> impl Iterator<Item = (&Key, Option<&[u8]>)> {
        self.writes.iter().map(|write| (&write.key, write.value.as_ref().map(|value| &value.bytes[..])))
    }

    /// Takes `new` for what was `seen` of `key`: who wrote it in between was the caller itself.
    pub(crate) fn seen_again(&mut self, key: &Key, seen: Revision, new: Revision) {
        let before = Guard::seen(key.clone(), seen);
        for guard in self.guards.iter_mut().filter(|guard| **guard == before) {
            *guard = Guard::seen(key.clone(), new);
        }
    }

    /// A key is written once: no store could tell in which order.
    fn write(&mut self, key: Key, value: Option<Value>) {
        match self.writes.iter_mut().find(|write| write.key == key) {
            Some(write) => write.value = value,
            None => self.writes.push(Write { key, value }),
        }
    }

    /// Where a table has guard records: guards the record itself, as it was read, and touches those of the
    /// sets that differ between it and `new`.
    fn touch_sets<T>(mut self, table: &Table<T>, name: &str, new: Option<&T>) -> Self
    where
        T: DeserializeOwned + Send + Sync + 'static,
    {
        let Some(guarded_by) = table.guarded_by else { return self };
        let key = table.key(name);
        let Some(basis) = self.basis.clone().filter(|basis| basis.covers(&key)) else {
            self.failed = Some(StoreError::NotRead { key });
            return self;
        };
        let old = match table.get(&basis, name) {
            Ok(old) => old,
            Err(error) => {
                self.failed = Some(error);
                return self;
            }
        };
        let seen = basis.revision_of(&key);
        self = self.guard(Guard::seen(key, seen));
        for set in guarded_by(old.as_deref(), new) {
            if !basis.covers(&set) {
                self.failed = Some(StoreError::NotRead { key: set });
                return self;
            }
            let seen = basis.revision_of(&set);
            self = self.touch(set, seen);
        }
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
