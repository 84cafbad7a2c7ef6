//! A store on disk, for one machine.
//!
//! ```text
//!            commit                        fold (store thread)
//!  caller ──────────► journal-0 or -1 ─────────────────────────► records.redb
//!            write()   fdatasync, if asked,    one transaction
//!                      once for all waiting
//! ```
//!
//! A commit checks its guards, appends itself to a journal by one `write` (which outlives this process, by
//! whatever signal it dies) and changes the map in memory, all under one short lock. One that must survive
//! a power cut then waits for the store thread, which syncs the journal once for all that wait. When a
//! journal is full, the thread folds what changed into the database while commits go on in the other.
//!
//! redb alone would not do: its commits with `Durability::None` stay in its own memory until the next
//! durable one, so that `kill -9` loses them. It is opened only to load and to fold: at rest it costs no
//! memory, and a killed daemon leaves it closed in order.
//!
//! Invariants: the journals hold every commit after the database's `applied`, in order and without a gap
//! but for a tail that nobody was told is synced; a journal is emptied only after its commits are durable
//! in the database. Others may see a commit before it is synced, never before it is in the journal.

mod disk;
mod journal;
#[cfg(test)]
mod tests;

use crate::{
    Dump, Durability, Moved, Prefixes, Remember, Result, Revision, Snapshot, Store, StoreError, Txn, Watch,
    map::Map,
    state::{Record, State},
};
use journal::Journal;
use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
};
use tokio::sync::watch;

/// How a store on disk is kept.
#[derive(Clone, Copy)]
struct Keep {
    remember: Remember,
    /// A journal of this many bytes is folded.
    full: u64,
    /// Every commit is synced before it is answered, whatever it asks, and every opening begins a new epoch:
    /// others may have seen what a crash took back.
    shared: bool,
}

/// For one machine's records.
const MACHINE: Keep = Keep { remember: Remember::MACHINE, full: 1 << 20, shared: false };
/// For a cluster's.
const CLUSTER: Keep = Keep { remember: Remember::CLUSTER, full: 16 << 20, shared: true };

/// With so many full journals' bytes unfolded, because folding fails, commits are refused.
const REFUSED: u64 = 16;

/// Keeps records in a directory. Clones are the same store; the last one to go folds and closes it.
#[derive(Clone)]
pub struct Embedded {
    owner: Arc<Owner>,
}

/// Joins the thread when the last handle goes.
struct Owner {
    shared: Arc<Shared>,
    thread: Option<thread::JoinHandle<()>>,
}

struct Shared {
    directory: PathBuf,
    keep: Keep,
    locked: Mutex<Locked>,
    /// Wakes the thread.
    wake: Condvar,
    files: journal::Files,
    progress: watch::Sender<Progress>,
}

struct Locked {
    state: State,
    journal: Journal,
    /// Keys that differ from the database's.
    dirty: BTreeSet<crate::Key>,
    /// Some commit up to this one waits to be durable.
    sync_wanted: u64,
    fold_wanted: bool,
    closing: bool,
    /// Why the last fold failed.
    fold_error: Option<StoreError>,
    /// Why nothing can be written any more.
    dead: Option<StoreError>,
}

/// What those who wait for the thread look at.
#[derive(Clone, Default)]
struct Progress {
    durable: u64,
    dead: Option<StoreError>,
}

impl Embedded {
    /// Opens the store in `directory`, which is made if it is missing. Blocks while it reads; the journal's
    /// torn tail, left by a crash, is cut off.
    ///
    /// # Errors
    /// Another process has it open; it is damaged or of a newer format; the disk refuses.
    pub fn open(directory: &Path) -> Result<Self> {
        Self::open_with(directory, MACHINE)
    }

    /// As [`Embedded::open`], for records that other machines follow: remembers much more of the past, syncs
    /// every commit before it answers, and begins a new epoch.
    ///
    /// # Errors
    /// As [`Embedded::open`]; [`StoreError::Moved`] when it was moved to etcd: open it there.
    pub fn open_cluster(directory: &Path) -> Result<Self> {
        Self::open_with(directory, CLUSTER)
    }

    /// Fills a new cluster's store in `directory` from `dump`, all or nothing, and opens it in a new epoch.
    ///
    /// # Errors
    /// As [`Embedded::open`]; [`StoreError::Occupied`] when there are records.
    pub fn load_cluster(directory: &Path, dump: &Dump) -> Result<Self> {
        if Self::open_with(directory, MACHINE)?.snapshot().revision().number > 0 {
            return Err(StoreError::Occupied { place: directory.display().to_string() });
        }
        let (keys, begin) = (dump.snapshot.iter().map(|(key, _)| key.clone()).collect(), dump.begins_at());
        disk::fold(directory, &dump.snapshot.map, &keys, begin.number.max(1), begin.epoch)?;
        Self::open_cluster(directory)
    }

    fn open_with(directory: &Path, keep: Keep) -> Result<Self> {
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(directory);
        made.map_err(|source| io_error("create directory", directory, source))?;
        let (files, replay) = journal::open(directory)?;
        let disk::Loaded { mut map, applied, mut epoch } = disk::load(directory)?;

        let mut dirty = BTreeSet::new();
        let mut number = applied;
        let journal = replay.each(applied, |entry_number, writes| {
            number = entry_number;
            for write in writes {
                match write.value {
                    Some(value) => {
                        let record = Record::new(Revision { epoch, number }, value.schema, value.bytes);
                        map.insert(write.key.clone(), Arc::new(record));
                    }
                    None => {
                        map.remove(write.key.as_str());
                    }
                }
                dirty.insert(write.key);
            }
        });
        let mut journal =
            journal.map_err(|source| io_error("cut the torn tail of a journal in", directory, source))?;
        let next_life = keep.shared && number > 0;
        if journal.both() || next_life {
            epoch += u64::from(next_life);
            // Of a crash in the middle of a fold: finished first, as there is no empty journal to go on with.
            disk::fold(directory, &map, &dirty, number, epoch)?;
            journal.clear(&files).map_err(|source| io_error("empty the journals in", directory, source))?;
            dirty.clear();
        }

        let revision = Revision { epoch, number };
        if keep.shared
            && let Some(moved) = Moved::said_by(&Snapshot::new(map.clone(), Prefixes::all(), revision))?
        {
            return Err(StoreError::Moved { path: directory.to_owned(), moved });
        }
        let locked = Locked {
            state: State::new(map, revision, keep.remember),
            journal,
            dirty,
            sync_wanted: 0,
            fold_wanted: false,
            closing: false,
            fold_error: None,
            dead: None,
        };
        let shared = Arc::new(Shared {
            directory: directory.to_owned(),
            keep,
            locked: Mutex::new(locked),
            wake: Condvar::new(),
            files,
            progress: watch::Sender::new(Progress::default()),
        });
        let run = {
            let shared = shared.clone();
            move || shared.run()
        };
        let thread = thread::Builder::new().name("store".into()).stack_size(256 << 10).spawn(run);
        let thread = thread.map_err(|source| io_error("start the thread of", directory, source))?;
        Ok(Embedded { owner: Arc::new(Owner { shared, thread: Some(thread) }) })
    }

    /// Everything as it is now. As [`Store::read`], without waiting.
    pub fn snapshot(&self) -> Snapshot {
        self.owner.shared.lock().state.snapshot(Prefixes::all())
    }
}

impl Store for Embedded {
    async fn read(&self, prefixes: impl Into<Prefixes> + Send) -> Result<Snapshot> {
        Ok(self.owner.shared.lock().state.snapshot(prefixes.into()))
    }

    async fn commit(&self, txn: Txn) -> Result<Revision> {
        let shared = &self.owner.shared;
        let (revision, wait) = shared.write(txn)?;
        if wait {
            shared.durable(revision.number).await?;
        }
        Ok(revision)
    }

    fn watch(&self, prefixes: impl Into<Prefixes>, after: Revision) -> Watch {
        self.owner.shared.lock().state.watch(prefixes.into(), after)
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        {
            let mut locked = self.shared.lock();
            locked.closing = true;
            locked.state.end(StoreError::Closed);
        }
        self.shared.wake.notify_one();
        if let Some(thread) = self.thread.take() {
            // A panic there has been printed, and there is nobody left to tell.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Locked> {
        self.locked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Checks, journals and applies; says whether the caller must wait for the thread.
    fn write(&self, txn: Txn) -> Result<(Revision, bool)> {
        txn.check()?;
        let mut guard = self.lock();
        let locked = &mut *guard;
        if let Some(dead) = &locked.dead {
            return Err(dead.clone());
        }
        locked.state.check(&txn)?;
        if txn.writes.is_empty() {
            return Ok((locked.state.revision(), false));
        }
        if locked.journal.length() > self.keep.full.saturating_mul(REFUSED)
            && let Some(error) = &locked.fold_error
        {
            return Err(error.clone());
        }
        let revision = locked.state.next_revision();
        if let Err(failed) = locked.journal.append(&self.files, revision.number, &txn.writes) {
            let error = io_error("append to a journal in", &self.directory, failed.source);
            if failed.torn {
                locked.dead = Some(error.clone());
            }
            return Err(error);
        }
        locked.dirty.extend(txn.writes.iter().map(|w| w.key.clone()));
        locked.state.apply(txn.writes);
        let filled = locked.journal.current_length();
        locked.fold_wanted |= filled > self.keep.full;
        // Where folding cannot keep up, waiting for it slows the writers down.
        let synced = self.keep.shared || txn.durability == Durability::Synced;
        let wait = filled > 2 * self.keep.full || synced;
        if wait {
            locked.sync_wanted = revision.number;
        }
        if wait || locked.fold_wanted {
            drop(guard);
            self.wake.notify_one();
        }
        Ok((revision, wait))
    }

    /// Waits until commit `number` is on disk.
    async fn durable(&self, number: u64) -> Result<()> {
        let mut progress = self.progress.subscribe();
        let reached = progress.wait_for(|p| p.durable >= number || p.dead.is_some()).await;
        let unknown = |cause| StoreError::OutcomeUnknown { cause: Arc::new(cause) };
        let reached = reached.map_err(|_| unknown(StoreError::Closed))?;
        if reached.durable >= number {
            return Ok(());
        }
        Err(unknown(reached.dead.clone().unwrap_or(StoreError::Closed)))
    }

    /// The store thread.
    fn run(&self) {
        let mut durable = 0;
        loop {
            let mut locked = self.lock();
            while !locked.closing
                && !locked.fold_wanted
                && (locked.sync_wanted <= durable || locked.dead.is_some())
            {
                locked = self.wake.wait(locked).unwrap_or_else(PoisonError::into_inner);
            }
            let closing = locked.closing;
            let fold = std::mem::take(&mut locked.fold_wanted) || closing;
            let sync = locked.sync_wanted > durable && locked.dead.is_none();
            drop(locked);
            // First, as somebody waits for it.
            if sync {
                durable = durable.max(self.sync());
            }
            if fold {
                durable = durable.max(self.fold());
            }
            if closing {
                return;
            }
        }
    }

    /// Syncs all commits so far; returns the last of them.
    fn sync(&self) -> u64 {
        let (number, which) = {
            let locked = self.lock();
            (locked.state.revision().number, locked.journal.used())
        };
        match self.files.sync(which) {
            Ok(()) => {
                self.progress.send_modify(|p| p.durable = number);
                number
            }
            Err(source) => {
                // What a failed sync has lost cannot be known nor tried again (LWN 752063): no more writes.
                self.die(io_error("sync a journal in", &self.directory, source));
                0
            }
        }
    }

    /// Moves all commits so far into the database; returns the last of them, 0 if it failed.
    fn fold(&self) -> u64 {
        let (map, dirty, revision, old): (Map, _, _, _) = {
            let mut locked = self.lock();
            if locked.dirty.is_empty() {
                return 0;
            }
            let dirty = std::mem::take(&mut locked.dirty);
            // Not rotated when the other still holds commits, as a fold has failed: the full one goes on.
            let old = locked.journal.rotate();
            (locked.state.map().clone(), dirty, locked.state.revision(), old)
        };
        let folded = disk::fold(&self.directory, &map, &dirty, revision.number, revision.epoch);
        let mut locked = self.lock();
        if let Err(error) = folded {
            tracing::warn!(%error, "cannot fold the journal into the database, going on with the journal");
            locked.dirty.extend(dirty);
            locked.fold_error = Some(error);
            return 0;
        }
        locked.fold_error = None;
        if let Err(source) = locked.journal.clear_one(&self.files, old) {
            drop(locked);
            self.die(io_error("empty a journal in", &self.directory, source));
            return 0;
        }
        drop(locked);
        self.progress.send_modify(|p| p.durable = p.durable.max(revision.number));
        revision.number
    }

    fn die(&self, error: StoreError) {
        tracing::error!(%error, "the store takes no more writes");
        self.lock().dead = Some(error.clone());
        self.progress.send_modify(|p| p.dead = Some(error));
    }
}

fn io_error(tried: &'static str, path: &Path, source: std::io::Error) -> StoreError {
    StoreError::Io { tried, path: path.to_owned(), source: Arc::new(source) }
}
