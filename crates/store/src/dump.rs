//! Everything in a store as one file: for backups, and on the way to another store.
//!
//! The first line says in JSON what it is and how many records follow. Each record is a line of JSON (key, schema
//! version, length) and so many bytes with a line feed behind them. The last line holds the records' digest: a file that
//! was cut or changed is not read. What is secret was sealed before it came into the store, and is so here.
//!
//! Revisions are not in it: a store that is filled from a dump begins a new epoch.

use crate::{Key, Prefixes, Record, Result, Revision, Snapshot, StoreError, map::Map};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::{
    io::{self, BufRead, Read, Write},
    path::Path,
    sync::Arc,
};

/// Of this file's form.
const FORMAT: u32 = 1;
/// Longest line, in bytes: a key has at most 1 KiB.
const LONGEST_LINE: u64 = 16 << 10;
/// Largest value.
const LARGEST: usize = 16 << 20;

#[derive(Serialize, Deserialize)]
struct Head {
    #[serde(rename = "minke-store-dump")]
    format: u32,
    epoch: u64,
    number: u64,
    records: usize,
}

#[derive(Serialize, Deserialize)]
struct Entry<'a> {
    key: std::borrow::Cow<'a, str>,
    schema: u32,
    length: usize,
}

#[derive(Serialize, Deserialize)]
struct Tail {
    sha256: String,
}

/// All records of a store.
#[derive(Clone, Debug)]
pub struct Dump {
    pub(crate) snapshot: Snapshot,
}

impl Dump {
    /// Of what `snapshot` shows.
    pub fn of(snapshot: &Snapshot) -> Self {
        Dump { snapshot: snapshot.clone() }
    }

    /// What is in it, as of the revision that it was taken at.
    pub fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    /// The digest of its records: keys, schema versions and values.
    pub fn digest(&self) -> String {
        digest(&self.snapshot)
    }

    /// The epoch that a store filled from it begins.
    pub fn next_epoch(&self) -> u64 {
        self.snapshot.revision().epoch + 1
    }

    /// The revision that a store filled from it begins with.
    pub(crate) fn begins_at(&self) -> Revision {
        Revision { epoch: self.next_epoch(), ..self.snapshot.revision() }
    }

    /// Writes it down.
    ///
    /// # Errors
    /// Those of `to`.
    pub fn write(&self, mut to: impl Write) -> io::Result<()> {
        let Revision { epoch, number } = self.snapshot.revision();
        let head = Head { format: FORMAT, epoch, number, records: self.snapshot.iter().count() };
        line(&mut to, &head)?;
        for (key, record) in self.snapshot.iter() {
            let (schema, length) = (record.schema(), record.bytes().len());
            line(&mut to, &Entry { key: key.as_str().into(), schema, length })?;
            to.write_all(record.bytes())?;
            to.write_all(b"\n")?;
        }
        line(&mut to, &Tail { sha256: self.digest() })?;
        to.flush()
    }

    /// Reads what [`Dump::write`] has written; `path` is for errors.
    ///
    /// # Errors
    /// It is of a newer format, or is not whole.
    pub fn read(mut from: impl BufRead, path: &Path) -> Result<Self> {
        let damaged = |detail: &str| StoreError::Damaged { path: path.to_owned(), detail: detail.to_owned() };
        let io = |source| StoreError::Io { tried: "read", path: path.to_owned(), source: Arc::new(source) };
        let head = read_line(&mut from).map_err(io)?;
        let head: Head = serde_json::from_slice(&head).map_err(|_| damaged("it is no dump of a store"))?;
        if head.format > FORMAT {
            let (found, known) = (head.format.into(), FORMAT.into());
            return Err(StoreError::NewerFormat { path: path.to_owned(), found, known });
        }
        let revision = Revision { epoch: head.epoch, number: head.number };
        let mut map = Map::default();
        for _ in 0..head.records {
            let entry = read_line(&mut from).map_err(io)?;
            let entry: Entry<'_> = serde_json::from_slice(&entry).map_err(|_| damaged("it is cut off"))?;
            if entry.length > LARGEST {
                return Err(damaged("a record is too large"));
            }
            let mut bytes = Vec::new();
            let more = entry.length as u64 + 1;
            (&mut from).take(more).read_to_end(&mut bytes).map_err(io)?;
            if bytes.len() as u64 != more || bytes.pop() != Some(b'\n') {
                return Err(damaged("it is cut off"));
            }
            map.insert(Key::new(&entry.key), Arc::new(Record::new(revision, entry.schema, bytes.into())));
        }
        let tail = read_line(&mut from).map_err(io)?;
        let tail: Tail = serde_json::from_slice(&tail).map_err(|_| damaged("it is cut off"))?;
        let dump = Dump { snapshot: Snapshot::new(map, Prefixes::all(), revision) };
        if dump.digest() != tail.sha256 {
            return Err(damaged("its records are not those that were written"));
        }
        Ok(dump)
    }
}

fn line(to: &mut impl Write, value: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer(&mut *to, value)?;
    to.write_all(b"\n")
}

fn read_line(from: &mut impl BufRead) -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    from.take(LONGEST_LINE).read_until(b'\n', &mut line)?;
    Ok(line)
}

/// The digest of all records in `snapshot`, whenever they were written.
pub(crate) fn digest(snapshot: &Snapshot) -> String {
    let mut hash = Sha256::new();
    for (key, record) in snapshot.iter() {
        for piece in [key.as_str().as_bytes(), &record.schema().to_le_bytes(), record.bytes()] {
            hash.update((piece.len() as u64).to_le_bytes());
            hash.update(piece);
        }
    }
    minke_model::id::hex(&hash.finalize())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Memory, Store, Txn};

    #[tokio::test]
    async fn a_dump_comes_back_whole_and_no_changed_one_does() {
        let store = Memory::new();
        store
            .commit(Txn::new().put_bytes("a/1", 3, *b"{\"x\":1}").put_bytes("b/\n\"", 1, *b"\0\n\xff"))
            .await
            .unwrap();
        store.commit(Txn::new().put_bytes("empty", 1, *b"")).await.unwrap();
        let mut file = Vec::new();
        let dump = Dump::of(&store.snapshot());
        dump.write(&mut file).unwrap();
        let path = Path::new("a.dump");
        let again = Dump::read(&file[..], path).unwrap();
        assert_eq!((again.digest(), again.next_epoch()), (dump.digest(), 2));
        let list = |s: &Snapshot| {
            s.iter().map(|(k, r)| (k.clone(), r.schema(), r.bytes().to_vec())).collect::<Vec<_>>()
        };
        assert_eq!(list(again.snapshot()), list(&store.snapshot()));
        for cut in 0..file.len() - 1 {
            assert!(Dump::read(&file[..cut], path).is_err(), "cut at {cut}");
        }
        let second = file.iter().position(|b| *b == b'\n').unwrap();
        for at in second..file.len() - 1 {
            let mut changed = file.clone();
            changed[at] ^= 1;
            assert!(Dump::read(&changed[..], path).is_err(), "changed at {at}");
        }
    }
}
