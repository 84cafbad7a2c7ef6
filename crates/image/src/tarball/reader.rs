//! Reads a tar once, from front to end, without seeking.

use super::{BLOCK, Entry, EntryKind, Tap, is_zero, pax};
use crate::{ImageError, Result};
use std::io::{self, Read};
use tar::Header;

/// Bytes read at once. Small files are then written with one call, straight from here.
const BUFFER: usize = 64 * 1024;

/// Bytes that may follow the end mark, other than zeros: some writers leave what was in their buffers.
const MAX_TRAILER: u64 = 256 << 20;

/// Zeros that may follow the end mark. Docker takes any number; its own tests send 8 GiB.
const MAX_ZEROS: u64 = 1 << 40;

/// Extents of one sparse file.
const MAX_EXTENTS: usize = 1 << 16;

/// Entries of a tar, one after the other.
pub(crate) struct TarReader<R> {
    source: R,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    /// Bytes of the present entry's payload still in the stream.
    payload: u64,
    padding: u64,
    /// Bytes taken from the stream.
    position: u64,
    /// For messages.
    present: String,
}

impl<R: Read> TarReader<R> {
    /// Reads from `source`, which needs no buffer of its own.
    pub(crate) fn new(source: R) -> Self {
        let buffer = vec![0; BUFFER];
        Self { source, buffer, start: 0, end: 0, payload: 0, padding: 0, position: 0, present: String::new() }
    }

    /// The next entry; what was left of the present one's payload goes to `tap`. `None` at the end mark, or where the
    /// stream ends between two entries.
    pub(crate) fn next(&mut self, tap: &mut dyn Tap) -> Result<Option<Entry>> {
        self.skip(tap)?;
        let mut pax = pax::Pax::default();
        let (mut long_path, mut long_link) = (None, None);
        loop {
            let Some(block) = self.header(tap)? else { return Ok(None) };
            let header = Header::from_byte_slice(&block);
            match header.entry_type().as_byte() {
                b'x' => {
                    let data = self.special(header, tap)?;
                    pax = pax::parse(&data).map_err(|detail| self.bad(detail))?;
                }
                // Docker's reader hands global headers on, and its unpacker ignores them.
                b'g' => drop(self.special(header, tap)?),
                b'L' => long_path = Some(until_nul(&self.special(header, tap)?)),
                b'K' => long_link = Some(until_nul(&self.special(header, tap)?)),
                _ => return self.entry(header, pax, long_path, long_link, tap).map(Some),
            }
        }
    }

    /// The next bytes of the present entry's payload; empty at its end. [`TarReader::consume`] takes them.
    pub(crate) fn payload(&mut self) -> Result<&[u8]> {
        if self.payload == 0 {
            return Ok(&[]);
        }
        if self.start == self.end && self.fill()? == 0 {
            return Err(self.bad("the archive ends inside of it"));
        }
        let have = (self.end - self.start).min(usize::try_from(self.payload).unwrap_or(usize::MAX));
        Ok(&self.buffer[self.start..self.start + have])
    }

    /// The first bytes of the present entry's payload, up to a block of them, without taking them.
    pub(crate) fn peek(&mut self) -> Result<&[u8]> {
        let want = usize::try_from(self.payload).unwrap_or(usize::MAX).min(BLOCK);
        self.buffer.copy_within(self.start..self.end, 0);
        (self.start, self.end) = (0, self.end - self.start);
        while self.end < want {
            match self.source.read(&mut self.buffer[self.end..]) {
                Ok(0) => return Err(self.bad("the archive ends inside of it")),
                Ok(count) => self.end += count,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(self.failed(e)),
            }
        }
        Ok(&self.buffer[..want])
    }

    /// Takes `count` bytes of what [`TarReader::payload`] gave.
    pub(crate) fn consume(&mut self, count: usize) {
        self.start += count;
        self.position += count as u64;
        self.payload -= count as u64;
    }

    /// How much of the present entry's payload is still in the stream.
    pub(crate) fn payload_left(&self) -> u64 {
        self.payload
    }

    /// Reads on to the very end of the stream, so that its digest is of all of it. Returns its length.
    pub(crate) fn finish(mut self, tap: &mut dyn Tap) -> Result<u64> {
        self.skip(tap)?;
        let (mut zeros, mut others) = (0, 0);
        loop {
            let rest = &self.buffer[self.start..self.end];
            let count = if is_zero(rest) { &mut zeros } else { &mut others };
            *count += rest.len() as u64;
            tap.raw(rest)?;
            self.position += rest.len() as u64;
            self.start = self.end;
            if zeros > MAX_ZEROS || others > MAX_TRAILER {
                let what = "bytes after the end of a tar".into();
                return Err(ImageError::TooLarge { what, limit: MAX_TRAILER });
            }
            if self.fill()? == 0 {
                return Ok(self.position);
            }
        }
    }

    fn skip(&mut self, tap: &mut dyn Tap) -> Result<()> {
        while self.payload > 0 {
            let have = self.payload()?.len();
            tap.raw(&self.buffer[self.start..self.start + have])?;
            self.consume(have);
        }
        self.payload = std::mem::take(&mut self.padding);
        while self.payload > 0 {
            let have = self.payload()?.len();
            tap.raw(&self.buffer[self.start..self.start + have])?;
            self.consume(have);
        }
        Ok(())
    }

    /// A header with a right checksum; `None` at the end.
    fn header(&mut self, tap: &mut dyn Tap) -> Result<Option<[u8; BLOCK]>> {
        let Some(block) = self.block(tap)? else { return Ok(None) };
        if block == [0; BLOCK] {
            return match self.block(tap)? {
                None => Ok(None),
                Some(block) if block == [0; BLOCK] => Ok(None),
                Some(_) => Err(self.bad("a zero block is followed by another")),
            };
        }
        let stored = octal(&block[148..156]).ok_or_else(|| self.bad("its checksum is no number"))?;
        let outside = || block[..148].iter().chain(&block[156..]);
        let unsigned: i64 = outside().map(|&b| i64::from(b)).sum::<i64>() + 8 * i64::from(b' ');
        let signed: i64 = outside().map(|&b| i64::from(b as i8)).sum::<i64>() + 8 * i64::from(b' ');
        if stored != unsigned && stored != signed {
            return Err(self.bad("the checksum of a header is wrong"));
        }
        Ok(Some(block))
    }

    fn block(&mut self, tap: &mut dyn Tap) -> Result<Option<[u8; BLOCK]>> {
        let mut block = [0; BLOCK];
        let mut have = 0;
        while have < BLOCK {
            if self.start == self.end && self.fill()? == 0 {
                return match have {
                    0 => Ok(None),
                    _ => Err(self.bad("the archive ends inside of a block")),
                };
            }
            let count = (self.end - self.start).min(BLOCK - have);
            block[have..have + count].copy_from_slice(&self.buffer[self.start..self.start + count]);
            self.start += count;
            self.position += count as u64;
            have += count;
        }
        tap.raw(&block)?;
        Ok(Some(block))
    }

    /// The payload of a header that speaks about the next one.
    fn special(&mut self, header: &Header, tap: &mut dyn Tap) -> Result<Vec<u8>> {
        let size = self.size(header)?;
        if size > pax::MAX_BYTES {
            return Err(ImageError::TooLarge { what: "a header of a tar".into(), limit: pax::MAX_BYTES });
        }
        let mut data = Vec::with_capacity(size as usize);
        while data.len() < size as usize {
            let block = self.block(tap)?.ok_or_else(|| self.bad("the archive ends inside of a header"))?;
            let count = BLOCK.min(size as usize - data.len());
            data.extend_from_slice(&block[..count]);
        }
        Ok(data)
    }

    fn entry(
        &mut self,
        header: &Header,
        pax: pax::Pax,
        long_path: Option<Vec<u8>>,
        long_link: Option<Vec<u8>>,
        tap: &mut dyn Tap,
    ) -> Result<Entry> {
        let path = pax.path.or(long_path).unwrap_or_else(|| header.path_bytes().into_owned());
        let link = pax.link.or(long_link);
        let link = link.or_else(|| header.link_name_bytes().map(|l| l.into_owned())).unwrap_or_default();
        self.present = String::from_utf8_lossy(&path).into_owned();
        let flag = header.entry_type().as_byte();
        let kind = match flag {
            b'0' | b'\0' if path.ends_with(b"/") => EntryKind::Dir,
            b'0' | b'\0' | b'7' | b'S' => EntryKind::File,
            b'1' => EntryKind::Link,
            b'2' => EntryKind::Symlink,
            b'3' => EntryKind::Char,
            b'4' => EntryKind::Block,
            b'5' => EntryKind::Dir,
            b'6' => EntryKind::Fifo,
            other => return Err(self.bad(format!("its type {:?} is not known", char::from(other)))),
        };
        let old = header.as_old();
        let field = |what: &str, bytes: &[u8]| {
            number(bytes).ok_or_else(|| self.bad(format!("its {what} is no number")))
        };
        let id = |what: &str, bytes: &[u8]| {
            u32::try_from(field(what, bytes)?)
                .map_err(|_| self.bad(format!("its {what} does not fit in 32 bits")))
        };
        let uid = pax.uid.map_or_else(|| id("owner", &old.uid), Ok)?;
        let gid = pax.gid.map_or_else(|| id("group", &old.gid), Ok)?;
        let mtime = pax.mtime.map_or_else(|| field("mtime", &old.mtime).map(|seconds| (seconds, 0)), Ok)?;
        let mode = (field("mode", &old.mode)? & 0o7777) as u32;
        let device = match kind {
            EntryKind::Char | EntryKind::Block => {
                let bytes = header.as_bytes();
                (id("device number", &bytes[329..337])?, id("device number", &bytes[337..345])?)
            }
            _ => (0, 0),
        };
        // As Go does: what has no content by its type has no payload, whatever its size says.
        let stored = match kind {
            EntryKind::File => pax.size.map_or_else(|| self.size(header), Ok)?,
            _ if flag == b'0' || flag == b'\0' => pax.size.map_or_else(|| self.size(header), Ok)?,
            _ => 0,
        };
        self.payload = stored;
        self.padding = stored.next_multiple_of(BLOCK as u64) - stored;
        let mut entry = Entry {
            path,
            link,
            kind,
            mode,
            uid,
            gid,
            mtime,
            atime: pax.atime,
            size: if kind == EntryKind::File { stored } else { 0 },
            device,
            xattrs: pax.xattrs,
            sparse: None,
        };
        if kind == EntryKind::File {
            self.sparse(&mut entry, header, pax.sparse, tap)?;
        }
        Ok(entry)
    }

    /// Finds out whether the file has holes, and where.
    fn sparse(
        &mut self,
        entry: &mut Entry,
        header: &Header,
        pax: pax::PaxSparse,
        tap: &mut dyn Tap,
    ) -> Result<()> {
        let numbers = match (pax.major, pax.minor) {
            _ if header.entry_type().as_byte() == b'S' => {
                entry.size = header
                    .as_gnu()
                    .and_then(|g| number(&g.realsize))
                    .and_then(|n| u64::try_from(n).ok())
                    .ok_or_else(|| self.bad("its real size is no number"))?;
                self.gnu_map(header, tap)?
            }
            (Some(1), Some(0)) => self.map_in_payload(tap)?,
            (Some(0), Some(0 | 1)) => pax.map,
            (None, None) if !pax.map.is_empty() => pax.map,
            _ => return Ok(()),
        };
        if let Some(name) = pax.name {
            entry.path = name;
            self.present = entry.name();
        }
        if let Some(size) = pax.size {
            entry.size = size;
        }
        if numbers.len() % 2 != 0 || numbers.len() / 2 > MAX_EXTENTS {
            return Err(self.bad("its map of holes is odd or too long"));
        }
        let extents: Vec<(u64, u64)> = numbers.chunks(2).map(|n| (n[0], n[1])).filter(|e| e.1 > 0).collect();
        let mut at = 0u64;
        let mut sum = 0u64;
        for &(offset, length) in &extents {
            let end = offset.checked_add(length).filter(|&end| offset >= at && end <= entry.size);
            at = end.ok_or_else(|| self.bad("its map of holes overlaps or leaves the file"))?;
            sum += length;
        }
        if sum != self.payload {
            return Err(self.bad("its map of holes does not fit its payload"));
        }
        entry.sparse = Some(extents);
        Ok(())
    }

    /// Old GNU format: four extents in the header, 21 in each block after it.
    fn gnu_map(&mut self, header: &Header, tap: &mut dyn Tap) -> Result<Vec<u64>> {
        let mut numbers = Vec::new();
        let bytes = header.as_bytes();
        let mut more = bytes[482] != 0;
        self.gnu_extents(&bytes[386..482], &mut numbers)?;
        while more {
            let block = self.block(tap)?.ok_or_else(|| self.bad("the archive ends inside of a header"))?;
            self.gnu_extents(&block[..504], &mut numbers)?;
            more = block[504] != 0;
            if numbers.len() > 2 * MAX_EXTENTS {
                return Err(self.bad("its map of holes is too long"));
            }
        }
        Ok(numbers)
    }

    fn gnu_extents(&self, bytes: &[u8], numbers: &mut Vec<u64>) -> Result<()> {
        for field in bytes.chunks(24).take_while(|f| f[0] != 0) {
            for half in [&field[..12], &field[12..]] {
                let value = number(half).and_then(|n| u64::try_from(n).ok());
                numbers.push(value.ok_or_else(|| self.bad("its map of holes is no number"))?);
            }
        }
        Ok(())
    }

    /// Version 1.0: the map is text at the head of the payload, padded to whole blocks.
    fn map_in_payload(&mut self, tap: &mut dyn Tap) -> Result<Vec<u64>> {
        let mut text = Vec::new();
        loop {
            if self.payload < BLOCK as u64 || text.len() > pax::MAX_BYTES as usize {
                return Err(self.bad("its map of holes is cut off or too long"));
            }
            let block = self.block(tap)?.ok_or_else(|| self.bad("the archive ends inside of it"))?;
            self.payload -= BLOCK as u64;
            text.extend_from_slice(&block);
            let mut lines = text.split(|&b| b == b'\n');
            // Whatever follows the last newline is not complete yet.
            let complete = lines.clone().count() - 1;
            let Some(count) = lines.next().filter(|_| complete > 0) else { continue };
            let count = pax::number(count).ok_or_else(|| self.bad("its map of holes is no number"))?;
            if count > MAX_EXTENTS as u64 {
                return Err(self.bad("its map of holes is too long"));
            }
            if (complete as u64) < 1 + 2 * count {
                continue;
            }
            let numbers: Option<Vec<u64>> = lines.take(2 * count as usize).map(pax::number).collect();
            return numbers.ok_or_else(|| self.bad("its map of holes is no number"));
        }
    }

    fn size(&self, header: &Header) -> Result<u64> {
        let size = number(&header.as_old().size).and_then(|n| u64::try_from(n).ok());
        size.ok_or_else(|| self.bad("its size is no number"))
    }

    fn fill(&mut self) -> Result<usize> {
        loop {
            match self.source.read(&mut self.buffer) {
                Ok(count) => {
                    (self.start, self.end) = (0, count);
                    return Ok(count);
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(self.failed(e)),
            }
        }
    }

    fn failed(&self, error: io::Error) -> ImageError {
        match ImageError::reading(error) {
            ImageError::Tar { detail, .. } => self.bad(detail),
            other => other,
        }
    }

    /// An error about the present entry.
    pub(crate) fn bad(&self, detail: impl Into<String>) -> ImageError {
        ImageError::Tar { entry: self.present.clone(), detail: detail.into() }
    }
}

fn until_nul(bytes: &[u8]) -> Vec<u8> {
    bytes.split(|&b| b == 0).next().unwrap_or_default().to_vec()
}

/// A header's number: octal text, or base 256 when the top bit is set.
fn number(field: &[u8]) -> Option<i64> {
    let first = *field.first()?;
    if first & 0x80 == 0 {
        return octal(field);
    }
    let negative = first & 0x40 != 0;
    let flip = if negative { 0xff } else { 0 };
    let mut value = 0u64;
    for (i, byte) in field.iter().enumerate() {
        let byte = if i == 0 { (byte ^ flip) & 0x7f } else { byte ^ flip };
        if value >> 56 != 0 {
            return None;
        }
        value = value << 8 | u64::from(byte);
    }
    let value = i64::try_from(value).ok()?;
    Some(if negative { !value } else { value })
}

fn octal(field: &[u8]) -> Option<i64> {
    let trim = |b: &u8| *b == b' ' || *b == 0;
    let start = field.iter().position(|b| !trim(b)).unwrap_or(field.len());
    let text = field[start..].split(|&b| b == 0).next().unwrap_or_default();
    let text = std::str::from_utf8(text).ok()?.trim_end_matches(' ');
    match text {
        "" => Some(0),
        _ if text.starts_with('+') => None,
        _ => i64::from_str_radix(text, 8).ok().filter(|&n| n >= 0),
    }
}
