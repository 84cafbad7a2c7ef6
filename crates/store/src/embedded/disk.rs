//! The database file: what the journals are folded into. Open only for as long as a load or a fold takes.

use crate::{Key, Result, Revision, StoreError, map::Map, state::Record};
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};
use std::{
    collections::BTreeSet,
    fs::File,
    path::{Path, PathBuf},
    sync::Arc,
};

/// redb would take 1 GiB. Everything is in our own map already.
const CACHE: usize = 4 << 20;
/// Newest layout of the file that this program knows.
const FORMAT: u64 = 1;
/// A file larger than this is made smaller, when most of it is unused.
const LARGE: u64 = 32 << 20;

/// Key to epoch (u64), number (u64), schema (u32), all little-endian, and the value.
const RECORDS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("records");
/// `format`, `epoch`, `applied`.
const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");

const HEADER: usize = 20;

/// What the file holds.
pub(super) struct Loaded {
    pub(super) map: Map,
    /// The last commit in it.
    pub(super) applied: u64,
    pub(super) epoch: u64,
}

/// Reads everything. A missing file is an empty store.
pub(super) fn load(directory: &Path) -> Result<Loaded> {
    let path = directory.join("records.redb");
    let mut loaded = Loaded { map: Map::default(), applied: 0, epoch: 1 };
    if !path.exists() {
        return Ok(loaded);
    }
    let damaged = |detail: String| StoreError::Damaged { path: path.clone(), detail };
    let read = || -> Result<Option<(Vec<(String, Vec<u8>)>, [u64; 3])>, redb::Error> {
        let database = open(&path)?;
        let transaction = database.begin_read()?;
        let meta = match transaction.open_table(META) {
            Ok(meta) => meta,
            // Made by a fold that a crash cut short before its only commit.
            Err(redb::TableError::TableDoesNotExist(_)) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let mut values = [0; 3];
        for (value, name) in values.iter_mut().zip(["format", "epoch", "applied"]) {
            *value = meta.get(name)?.map_or(0, |v| v.value());
        }
        let mut rows = Vec::new();
        for row in transaction.open_table(RECORDS)?.iter()? {
            let (key, value) = row?;
            rows.push((key.value().to_owned(), value.value().to_owned()));
        }
        Ok(Some((rows, values)))
    };
    let Some((rows, [format, epoch, applied])) = read().map_err(|source| error("read", &path, source))?
    else {
        return Ok(loaded);
    };
    if format > FORMAT {
        return Err(StoreError::NewerFormat { path, found: format, known: FORMAT });
    }
    (loaded.applied, loaded.epoch) = (applied, epoch);
    for (key, row) in rows {
        let record = decode(&row).ok_or_else(|| damaged(format!("the value of {key} is too short")))?;
        loaded.map.insert(Key::new(&key), Arc::new(record));
    }
    Ok(loaded)
}

/// Writes what `keys` hold in `map`, durably and all at once, together with `applied`.
pub(super) fn fold(
    directory: &Path,
    map: &Map,
    keys: &BTreeSet<Key>,
    applied: u64,
    epoch: u64,
) -> Result<()> {
    let path = directory.join("records.redb");
    let is_new = !path.exists();
    let write = || -> Result<(), redb::Error> {
        let mut database = open(&path)?;
        let transaction = database.begin_write()?;
        {
            let mut records = transaction.open_table(RECORDS)?;
            let mut row = Vec::new();
            for key in keys {
                match map.get(key.as_str()) {
                    Some(record) => {
                        encode(&mut row, record);
                        records.insert(key.as_str(), &row[..])?;
                    }
                    None => {
                        records.remove(key.as_str())?;
                    }
                }
            }
            let mut meta = transaction.open_table(META)?;
            for (name, value) in [("format", FORMAT), ("epoch", epoch), ("applied", applied)] {
                meta.insert(name, value)?;
            }
        }
        // `Durability::Immediate`, redb's default: on disk when this returns.
        transaction.commit()?;
        let size = path.metadata().map_or(0, |file| file.len());
        let bytes = |(key, record): (&Key, &Arc<Record>)| (key.as_str().len() + record.bytes().len()) as u64;
        if size > LARGE && size > 8 * map.under("").map(bytes).sum::<u64>() {
            // The file only grows by itself (cberner/redb#652).
            database.compact()?;
        }
        Ok(())
    };
    write().map_err(|source| error("write", &path, source))?;
    if is_new {
        // Before a journal is emptied: its commits are found again only through this name.
        let synced = File::open(directory).and_then(|d| d.sync_all());
        synced.map_err(|source| super::io_error("sync directory", directory, source))?;
    }
    Ok(())
}

fn open(path: &Path) -> Result<Database, redb::Error> {
    Ok(Database::builder().set_cache_size(CACHE).create(path)?)
}

fn encode(row: &mut Vec<u8>, record: &Record) {
    row.clear();
    row.extend(record.revision().epoch.to_le_bytes());
    row.extend(record.revision().number.to_le_bytes());
    row.extend(record.schema().to_le_bytes());
    row.extend(record.bytes());
}

fn decode(row: &[u8]) -> Option<Record> {
    let (header, bytes) = row.split_first_chunk::<HEADER>()?;
    let word = |at: usize| header[at..at + 8].iter().rev().fold(0u64, |word, byte| word << 8 | *byte as u64);
    let schema = header[16..].iter().rev().fold(0u32, |word, byte| word << 8 | *byte as u32);
    Some(Record::new(Revision { epoch: word(0), number: word(8) }, schema, bytes.into()))
}

fn error(tried: &'static str, path: &Path, source: redb::Error) -> StoreError {
    StoreError::Database { tried, path: PathBuf::from(path), source: Arc::new(source) }
}
