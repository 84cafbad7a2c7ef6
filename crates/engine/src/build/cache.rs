//! The build cache's records: under which keys lie which layers, since when, and when they were last needed.
//!
//! One file each below `records`, found again by a scan: what is half written, or names layers that are not here, goes. A
//! record's layers are held as long as it is known. Records are not synced: after a power cut a step may be done again.
//!
//! Never: keeps a client's secret, or anything by which one could be found.

use minke_build::{
    BuildError, Result,
    host::{About, Left},
};
use minke_image::{Chain, ImageConfig, Images as Store, work::chain_id};
use minke_model::{ContainerId, Kind, Timestamp, id::Digest};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Format of the records.
const VERSION: u32 = 1;
/// Most records that are kept; the one needed longest ago goes first.
const MAX_RECORDS: usize = 20_000;
/// A use is written down again after so many seconds.
const WRITE_USE: i64 = 60;

/// A record as it lies on disk.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Record {
    version: u32,
    /// Its name.
    pub(crate) id: String,
    /// Its keys.
    pub(crate) keys: BTreeSet<Digest>,
    /// Its layers, from the bottom.
    pub(crate) chain: Vec<Digest>,
    /// As progress showed the step.
    pub(crate) description: String,
    /// `regular`…
    pub(crate) kind: String,
    /// When it was made.
    pub(crate) created: Timestamp,
    /// When a build last needed it.
    pub(crate) used: Option<Timestamp>,
    /// How often.
    pub(crate) uses: u64,
    /// Of an image that was pulled: its configuration, byte for byte.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) config: Option<String>,
}

struct Entry {
    record: Record,
    chain: Chain,
    written: Timestamp,
}

#[derive(Default)]
struct State {
    records: BTreeMap<String, Entry>,
    by_key: HashMap<Digest, String>,
}

/// All records.
#[derive(Clone)]
pub(crate) struct Cache {
    root: Arc<PathBuf>,
    state: Arc<Mutex<State>>,
}

/// Reads the records below `root`, for the layers that they name. What cannot be read goes.
pub(crate) fn read(root: &Path) -> Vec<Record> {
    let mut records = Vec::new();
    for entry in std::fs::read_dir(root).into_iter().flatten().flatten() {
        let path = entry.path();
        let parsed =
            std::fs::read(&path).ok().and_then(|bytes| serde_json::from_slice::<Record>(&bytes).ok());
        match parsed {
            Some(record) if record.version == VERSION => records.push(record),
            _ => drop(std::fs::remove_file(&path)),
        }
    }
    records
}

impl Cache {
    /// Takes the records whose layers are here.
    pub(crate) fn open(root: PathBuf, records: Vec<Record>, store: &Store) -> Result<Self> {
        std::fs::create_dir_all(&root).map_err(BuildError::io(format!("make {}", root.display())))?;
        let mut state = State::default();
        for record in records {
            match store.chain(&record.chain) {
                Some(chain) => {
                    state.by_key.extend(record.keys.iter().map(|key| (key.clone(), record.id.clone())));
                    let written = record.used.unwrap_or(record.created);
                    state.records.insert(record.id.clone(), Entry { record, chain, written });
                }
                None => drop(std::fs::remove_file(root.join(&record.id))),
            }
        }
        Ok(Self { root: Arc::new(root), state: Arc::new(Mutex::new(state)) })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self, record: &Record) -> Result<()> {
        let bytes = serde_json::to_vec(record)
            .map_err(|e| BuildError::other(Kind::Internal, format!("cannot write a cache record: {e}")))?;
        let temporary = self.root.join(format!(".{}.new", record.id));
        std::fs::write(&temporary, bytes)
            .and_then(|()| std::fs::rename(&temporary, self.root.join(&record.id)))
            .map_err(BuildError::io(format!("write {}", temporary.display())))
    }

    /// What lies under a key. Blocks when its use is to be written down.
    pub(crate) fn find(&self, key: &Digest) -> Option<Left> {
        let now = Timestamp::now();
        let (left, write) = {
            let mut state = self.state();
            let id = state.by_key.get(key)?.clone();
            let entry = state.records.get_mut(&id)?;
            entry.record.used = Some(now);
            entry.record.uses += 1;
            let is_due = now.as_second() - entry.written.as_second() >= WRITE_USE;
            if is_due {
                entry.written = now;
            }
            let left =
                Left { root: super::view::root_of(entry.chain.clone()), created: entry.record.created };
            (left, is_due.then(|| entry.record.clone()))
        };
        if let Some(record) = write
            && let Err(e) = self.write(&record)
        {
            tracing::warn!("the use of a cache record is not written down: {e}");
        }
        Some(left)
    }

    /// Puts what a step left under keys: beside others that the same record has, or in the place of what lay there.
    pub(crate) fn keep(&self, keys: &[Digest], left: &Left, chain: Chain, about: About) -> Result<()> {
        self.put(keys, left.created, chain, about, None)
    }

    /// Whether something lies under a key.
    pub(crate) fn has(&self, key: &Digest) -> bool {
        self.state().by_key.contains_key(key)
    }

    /// Puts an image of a registry under a key.
    pub(crate) fn keep_image(
        &self,
        key: &Digest,
        config: &ImageConfig,
        chain: Chain,
        description: &str,
    ) -> Result<()> {
        let about = About { description: description.to_owned(), kind: "regular" };
        let raw = String::from_utf8_lossy(&config.raw).into_owned();
        let created = config.created.unwrap_or_else(Timestamp::now);
        self.put(std::slice::from_ref(key), created, chain, about, Some(raw))
    }

    /// The configuration of an image under a key.
    pub(crate) fn config(&self, key: &Digest) -> Option<Arc<ImageConfig>> {
        let state = self.state();
        let entry = state.records.get(state.by_key.get(key)?)?;
        ImageConfig::parse(entry.record.config.as_ref()?.as_bytes()).ok().map(Arc::new)
    }

    fn put(
        &self,
        keys: &[Digest],
        created: Timestamp,
        chain: Chain,
        about: About,
        config: Option<String>,
    ) -> Result<()> {
        if keys.is_empty() {
            return Ok(());
        }
        let layers = chain.diff_ids();
        let (record, gone) = {
            let mut state = self.state();
            let same = keys.iter().filter_map(|key| state.by_key.get(key)).find(|id| {
                state.records.get(*id).is_some_and(|e| e.record.chain == layers && e.record.config == config)
            });
            let id = same.cloned().unwrap_or_else(|| {
                chain_id(&layers).hex()[..25].to_owned() + &ContainerId::random().as_str()[..7]
            });
            let mut gone = Vec::new();
            for key in keys {
                let Some(old) = state.by_key.insert(key.clone(), id.clone()).filter(|old| *old != id) else {
                    continue;
                };
                let Some(entry) = state.records.get_mut(&old) else { continue };
                entry.record.keys.remove(key);
                if entry.record.keys.is_empty() {
                    state.records.remove(&old);
                    gone.push(old);
                }
            }
            let now = Timestamp::now();
            let entry = state.records.entry(id.clone()).or_insert_with(|| Entry {
                record: Record {
                    version: VERSION,
                    id,
                    keys: BTreeSet::new(),
                    chain: layers,
                    description: about.description,
                    kind: about.kind.to_owned(),
                    created,
                    used: Some(now),
                    uses: 1,
                    config,
                },
                chain,
                written: now,
            });
            entry.record.keys.extend(keys.iter().cloned());
            let record = entry.record.clone();
            if state.records.len() > MAX_RECORDS {
                let oldest =
                    state.records.values().min_by_key(|e| e.record.used).map(|e| e.record.id.clone());
                gone.extend(oldest.filter(|id| *id != record.id && state.forget(id)));
            }
            (record, gone)
        };
        self.write(&record)?;
        for id in gone {
            drop(std::fs::remove_file(self.root.join(id)));
        }
        Ok(())
    }

    /// All records with the bytes of their own (topmost) layers.
    pub(crate) fn all(&self) -> Vec<(Record, u64)> {
        let state = self.state();
        let size = |entry: &Entry| entry.chain.sizes().last().copied().unwrap_or(0);
        state.records.values().map(|entry| (entry.record.clone(), size(entry))).collect()
    }

    /// Takes a record away.
    pub(crate) fn remove(&self, id: &str) -> bool {
        let found = self.state().forget(id);
        if found {
            drop(std::fs::remove_file(self.root.join(id)));
        }
        found
    }
}

impl State {
    fn forget(&mut self, id: &str) -> bool {
        let Some(entry) = self.records.remove(id) else { return false };
        for key in &entry.record.keys {
            if self.by_key.get(key).is_some_and(|named| named == id) {
                self.by_key.remove(key);
            }
        }
        true
    }
}
