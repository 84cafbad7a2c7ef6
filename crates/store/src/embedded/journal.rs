//! Two files that commits are appended to, in turns.
//!
//! An entry: length of the body (u32), CRC-32 of the rest (u32), number of the commit (u64), body. All
//! little-endian. The body is a list of writes: `0` key for a deletion, `1` key schema (u32) value for a
//! value, where keys and values carry their length (u32) first.

use crate::{
    Key, Result,
    txn::{Value, Write},
};
use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{self, Read},
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::Path,
};

const HEADER: usize = 16;

/// Both files. The first one is locked as long as this lives.
pub(super) struct Files([File; 2]);

/// Which files hold commits, by index.
pub(super) type Used = [bool; 2];

impl Files {
    /// Makes what has been written to them durable.
    pub(super) fn sync(&self, used: Used) -> io::Result<()> {
        self.0.iter().zip(used).filter(|(_, used)| *used).try_for_each(|(file, _)| file.sync_data())
    }
}

/// How far each file is filled, and which one is written.
pub(super) struct Journal {
    lengths: [u64; 2],
    current: usize,
    buffer: Vec<u8>,
}

/// An append that did not happen.
pub(super) struct Failed {
    /// A part of it may lie in the file, and later entries would lie behind it.
    pub(super) torn: bool,
    pub(super) source: io::Error,
}

impl Journal {
    /// Bytes of all entries.
    pub(super) fn length(&self) -> u64 {
        self.lengths.iter().sum()
    }

    /// Bytes in the one that is written.
    pub(super) fn current_length(&self) -> u64 {
        self.lengths[self.current]
    }

    /// Whether both hold entries.
    pub(super) fn both(&self) -> bool {
        self.lengths.iter().all(|l| *l > 0)
    }

    /// Which hold entries.
    pub(super) fn used(&self) -> Used {
        self.lengths.map(|l| l > 0)
    }

    /// Writes one entry behind the last, in one call.
    pub(super) fn append(&mut self, files: &Files, number: u64, writes: &[Write]) -> Result<(), Failed> {
        encode(&mut self.buffer, number, writes);
        let (file, end) = (&files.0[self.current], self.lengths[self.current]);
        let written = file.write_all_at(&self.buffer, end);
        if let Err(source) = written {
            return Err(Failed { torn: file.set_len(end).is_err(), source });
        }
        self.lengths[self.current] = end + self.buffer.len() as u64;
        // One large commit shall not hold memory for good.
        self.buffer.clear();
        self.buffer.shrink_to(16 << 10);
        Ok(())
    }

    /// Goes on in the other file, if it is empty. Returns the one that may be emptied once all is folded.
    pub(super) fn rotate(&mut self) -> usize {
        let other = 1 - self.current;
        if self.lengths[other] > 0 {
            return other;
        }
        self.current = other;
        1 - other
    }

    /// Empties file `index`.
    pub(super) fn clear_one(&mut self, files: &Files, index: usize) -> io::Result<()> {
        files.0[index].set_len(0)?;
        self.lengths[index] = 0;
        Ok(())
    }

    /// Empties both.
    pub(super) fn clear(&mut self, files: &Files) -> io::Result<()> {
        self.clear_one(files, 0)?;
        self.clear_one(files, 1)
    }
}

/// What lay in both files when they were opened.
pub(super) struct Replay {
    files: [File; 2],
    contents: [Vec<u8>; 2],
}

/// Opens or makes both files in `directory`, locks them, and reads them.
pub(super) fn open(directory: &Path) -> Result<(Files, Replay)> {
    let open_one = |name: &str| -> Result<(File, File, Vec<u8>)> {
        let path = directory.join(name);
        let failed = |tried| {
            let path = path.clone();
            move |source| super::io_error(tried, &path, source)
        };
        let options =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(&path);
        let mut file = options.map_err(failed("open"))?;
        file.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => {
                failed("lock, as another process has it open,")(io::ErrorKind::WouldBlock.into())
            }
            TryLockError::Error(source) => failed("lock")(source),
        })?;
        let mut contents = Vec::new();
        file.read_to_end(&mut contents).map_err(failed("read"))?;
        let again = file.try_clone().map_err(failed("open"))?;
        Ok((file, again, contents))
    };
    let (file0, again0, contents0) = open_one("journal-0")?;
    let (file1, again1, contents1) = open_one("journal-1")?;
    // The names must survive a power cut as well as what is synced into them.
    let synced = File::open(directory).and_then(|d| d.sync_all());
    synced.map_err(|source| super::io_error("sync directory", directory, source))?;
    Ok((Files([file0, file1]), Replay { files: [again0, again1], contents: [contents0, contents1] }))
}

impl Replay {
    /// Hands over, in order, every commit after `applied`; cuts off what is torn, and all behind a gap.
    pub(super) fn each(self, applied: u64, mut with: impl FnMut(u64, Vec<Write>)) -> io::Result<Journal> {
        let first = |index: usize| decode(&self.contents[index]).map_or(u64::MAX, |(number, ..)| number);
        let order = if first(0) <= first(1) { [0, 1] } else { [1, 0] };
        let mut lengths = [0u64; 2];
        let mut current = order[0];
        let mut last = applied;
        for index in order {
            let mut at = 0;
            let mut news = false;
            while let Some((number, writes, length)) = decode(&self.contents[index][at..]) {
                if number > applied {
                    if number != last + 1 {
                        break;
                    }
                    with(number, writes);
                    last = number;
                    news = true;
                }
                at += length;
            }
            // A file without a commit that is still needed starts afresh.
            let keep = if news { at } else { 0 };
            if keep < self.contents[index].len() {
                if news {
                    tracing::info!(
                        file = index,
                        from = keep,
                        to = self.contents[index].len(),
                        "cut off the torn tail of a journal"
                    );
                }
                self.files[index].set_len(keep as u64)?;
            }
            lengths[index] = keep as u64;
            if keep > 0 {
                current = index;
            }
        }
        Ok(Journal { lengths, current, buffer: Vec::new() })
    }
}

/// Fills `out` with one entry.
fn encode(out: &mut Vec<u8>, number: u64, writes: &[Write]) {
    out.clear();
    out.extend([0; HEADER]);
    // All lengths fit: a transaction is at most a few MiB (`txn.rs`).
    let piece = |out: &mut Vec<u8>, bytes: &[u8]| {
        out.extend((bytes.len() as u32).to_le_bytes());
        out.extend(bytes);
    };
    for write in writes {
        out.push(write.value.is_some() as u8);
        piece(out, write.key.as_str().as_bytes());
        if let Some(value) = &write.value {
            out.extend(value.schema.to_le_bytes());
            piece(out, &value.bytes);
        }
    }
    let length = (out.len() - HEADER) as u32;
    out[8..16].copy_from_slice(&number.to_le_bytes());
    out[..4].copy_from_slice(&length.to_le_bytes());
    let crc = crc32(&out[8..]);
    out[4..8].copy_from_slice(&crc.to_le_bytes());
}

/// The first entry of `bytes`: its number, its writes, its length. `None` at the end, and for anything torn.
fn decode(bytes: &[u8]) -> Option<(u64, Vec<Write>, usize)> {
    let mut rest = bytes;
    let length = u32::from_le_bytes(take(&mut rest)?) as usize;
    let crc = u32::from_le_bytes(take(&mut rest)?);
    let all = HEADER.checked_add(length)?;
    if bytes.len() < all || crc32(&bytes[8..all]) != crc {
        return None;
    }
    let number = u64::from_le_bytes(take(&mut rest)?);
    let mut body = &rest[..length];
    let mut writes = Vec::new();
    while let Some([kind]) = take::<1>(&mut body) {
        let key = Key::new(std::str::from_utf8(piece(&mut body)?).ok()?);
        let value = match kind {
            0 => None,
            1 => {
                let schema = u32::from_le_bytes(take(&mut body)?);
                Some(Value { schema, bytes: piece(&mut body)?.into(), decoded: None })
            }
            _ => return None,
        };
        writes.push(Write { key, value });
    }
    Some((number, writes, all))
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (first, others) = rest.split_first_chunk::<N>()?;
    *rest = others;
    Some(*first)
}

fn piece<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = u32::from_le_bytes(take(rest)?) as usize;
    let (first, others) = rest.split_at_checked(length)?;
    *rest = others;
    Some(first)
}

/// CRC-32 as in ISO 3309 (zip, png): polynomial 0xedb88320, reflected. Eight bytes a step ("slicing by 8",
/// Kounavis and Berry 2005), as it is taken under the lock.
fn crc32(bytes: &[u8]) -> u32 {
    /// `TABLES[n][b]`: what byte `b` leaves behind after `n` more zero bytes.
    static TABLES: [[u32; 256]; 8] = {
        let mut tables = [[0; 256]; 8];
        let mut index = 0;
        while index < 256 {
            let mut value = index as u32;
            let mut bit = 0;
            while bit < 8 {
                value = if value & 1 == 1 { 0xedb8_8320 ^ (value >> 1) } else { value >> 1 };
                bit += 1;
            }
            tables[0][index] = value;
            index += 1;
        }
        let mut table = 1;
        while table < 8 {
            let mut index = 0;
            while index < 256 {
                let before = tables[table - 1][index];
                tables[table][index] = tables[0][(before & 0xff) as usize] ^ (before >> 8);
                index += 1;
            }
            table += 1;
        }
        tables
    };
    let (eights, rest) = bytes.as_chunks::<8>();
    let crc = eights.iter().fold(!0u32, |crc, eight| {
        let word = u64::from_le_bytes(*eight) ^ crc as u64;
        word.to_le_bytes().iter().enumerate().fold(0, |sum, (at, byte)| sum ^ TABLES[7 - at][*byte as usize])
    });
    !rest.iter().fold(crc, |crc, byte| TABLES[0][((crc ^ *byte as u32) & 0xff) as usize] ^ (crc >> 8))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_the_usual_one() {
        // The check value of CRC-32/ISO-HDLC in the catalogue of parametrised CRC algorithms.
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
        // 32 bytes of zeros: the value that zlib and png tools print.
        assert_eq!(crc32(&[0; 32]), 0x190a_55ad);
    }

    #[test]
    fn an_entry_comes_back_and_no_flipped_bit_or_cut_does() {
        let value = Value { schema: 7, bytes: b"value"[..].into(), decoded: None };
        let writes =
            [Write { key: Key::new("a/1"), value: Some(value) }, Write { key: Key::new("a/2"), value: None }];
        let mut entry = Vec::new();
        encode(&mut entry, 42, &writes);
        let (number, back, length) = decode(&entry).unwrap();
        assert_eq!((number, length, back.len()), (42, entry.len(), 2));
        assert_eq!(back[0].value.as_ref().map(|v| (v.schema, &v.bytes[..])), Some((7, &b"value"[..])));
        assert!(back[1].value.is_none() && back[1].key.as_str() == "a/2");
        for cut in 0..entry.len() {
            assert!(decode(&entry[..cut]).is_none());
        }
        for bit in 0..entry.len() * 8 {
            let mut torn = entry.clone();
            torn[bit / 8] ^= 1 << (bit % 8);
            assert!(decode(&torn).is_none(), "bit {bit}");
        }
    }
}
