//! Writes a tar in the form that Docker writes: ustar where everything fits, pax records for what does not.

use super::{BLOCK, Entry, EntryKind, pax};
use crate::{ImageError, Result};
use std::io::{self, Read, Write};
use tar::{EntryType, Header};

/// Longest name in a plain header.
const NAME: usize = 100;

/// Largest number in eleven octal digits.
const MAX_SIZE: u64 = 0o77_777_777_777;

/// Largest number in seven octal digits.
const MAX_ID: u32 = 0o7_777_777;

/// Puts entries one after the other.
pub(crate) struct TarWriter<W> {
    out: W,
}

impl<W: Write> TarWriter<W> {
    /// Writes to `out`, in large pieces where payloads are large.
    pub(crate) fn new(out: W) -> Self {
        Self { out }
    }

    /// One entry; exactly `entry.size` bytes are taken from `payload` for a file, none for others.
    pub(crate) fn append(&mut self, entry: &Entry, payload: &mut dyn Read) -> Result<()> {
        self.head(entry)?;
        self.payload(entry, payload)
    }

    /// What follows the header: a file's payload with its padding, for others nothing.
    pub(crate) fn payload(&mut self, entry: &Entry, payload: &mut dyn Read) -> Result<()> {
        if entry.kind != EntryKind::File {
            return Ok(());
        }
        let mut buffer = vec![0; usize::try_from(entry.size).unwrap_or(usize::MAX).clamp(1, 64 * 1024)];
        let mut left = entry.size;
        while left > 0 {
            let want = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            let have = match payload.read(&mut buffer[..want]) {
                Ok(0) => {
                    let source = io::Error::new(io::ErrorKind::UnexpectedEof, "it shrank meanwhile");
                    return Err(ImageError::Io { what: format!("read {}", entry.name()), source });
                }
                Ok(have) => have,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(source) => return Err(ImageError::Io { what: format!("read {}", entry.name()), source }),
            };
            self.put(&buffer[..have])?;
            left -= have as u64;
        }
        self.pad(entry.size)
    }

    /// One entry with its payload in memory.
    pub(crate) fn append_bytes(&mut self, entry: &Entry, payload: &[u8]) -> Result<()> {
        self.append(entry, &mut &payload[..])
    }

    /// The header alone of a file whose payload and padding the caller writes by [`TarWriter::put`] and
    /// [`TarWriter::pad`].
    pub(crate) fn head(&mut self, entry: &Entry) -> Result<()> {
        let records = records(entry);
        if !records.is_empty() {
            let mut header = Header::new_ustar();
            let name = [b"PaxHeaders.0/", base(&entry.path)].concat();
            header.as_old_mut().name[..name.len().min(NAME)].copy_from_slice(&name[..name.len().min(NAME)]);
            header.set_entry_type(EntryType::XHeader);
            header.set_mode(0);
            header.set_size(records.len() as u64);
            header.set_mtime(0);
            header.set_cksum();
            self.put(header.as_bytes())?;
            self.put(&records)?;
            self.pad(records.len() as u64)?;
        }
        self.put(header(entry).as_bytes())
    }

    /// Bytes as they are.
    pub(crate) fn put(&mut self, bytes: &[u8]) -> Result<()> {
        self.out
            .write_all(bytes)
            .map_err(|source| ImageError::Stream { what: "write the archive".into(), source })
    }

    /// Zeros up to the next block after a payload of `size`.
    pub(crate) fn pad(&mut self, size: u64) -> Result<()> {
        let rest = (size.next_multiple_of(BLOCK as u64) - size) as usize;
        self.put(&[0; BLOCK][..rest])
    }

    /// The end mark.
    pub(crate) fn finish(mut self) -> Result<W> {
        self.put(&[0; 2 * BLOCK])?;
        self.out.flush().map_err(|source| ImageError::Stream { what: "write the archive".into(), source })?;
        Ok(self.out)
    }
}

fn base(path: &[u8]) -> &[u8] {
    let path = path.strip_suffix(b"/").unwrap_or(path);
    path.rsplit(|&b| b == b'/').next().unwrap_or(path)
}

fn header(entry: &Entry) -> Header {
    let mut header = Header::new_ustar();
    let (name, prefix) = split(&entry.path).unwrap_or((&entry.path[..entry.path.len().min(NAME)], b""));
    header.as_old_mut().name[..name.len()].copy_from_slice(name);
    let link = &entry.link[..entry.link.len().min(NAME)];
    header.as_old_mut().linkname[..link.len()].copy_from_slice(link);
    if let Some(ustar) = header.as_ustar_mut() {
        ustar.prefix[..prefix.len()].copy_from_slice(prefix);
    }
    header.set_entry_type(match entry.kind {
        EntryKind::File => EntryType::Regular,
        EntryKind::Link => EntryType::Link,
        EntryKind::Symlink => EntryType::Symlink,
        EntryKind::Char => EntryType::Char,
        EntryKind::Block => EntryType::Block,
        EntryKind::Dir => EntryType::Directory,
        EntryKind::Fifo => EntryType::Fifo,
    });
    header.set_mode(entry.mode);
    // What does not fit is in a pax record; Go writes zero here.
    header.set_uid(if entry.uid > MAX_ID { 0 } else { entry.uid.into() });
    header.set_gid(if entry.gid > MAX_ID { 0 } else { entry.gid.into() });
    header.set_size(if entry.size > MAX_SIZE { 0 } else { entry.size });
    header.set_mtime(u64::try_from(entry.mtime.0).ok().filter(|&t| t <= MAX_SIZE).unwrap_or(0));
    if matches!(entry.kind, EntryKind::Char | EntryKind::Block)
        && let Some(ustar) = header.as_ustar_mut()
    {
        ustar.set_device_major(entry.device.0.min(MAX_ID));
        ustar.set_device_minor(entry.device.1.min(MAX_ID));
    }
    header.set_cksum();
    header
}

/// Name and prefix of a ustar header, cut at a slash.
fn split(path: &[u8]) -> Option<(&[u8], &[u8])> {
    if path.len() <= NAME {
        return Some((path, b""));
    }
    let longest = path.len().min(156);
    let cut = path[..longest].iter().enumerate().rev().find(|&(i, &b)| b == b'/' && i < path.len() - 1)?.0;
    let (prefix, name) = (&path[..cut], &path[cut + 1..]);
    (name.len() <= NAME && !prefix.is_empty() && path.is_ascii()).then_some((name, prefix))
}

/// What the plain header cannot say.
fn records(entry: &Entry) -> Vec<u8> {
    let mut records = Vec::new();
    if !entry.path.is_ascii() || split(&entry.path).is_none() {
        pax::push(&mut records, b"path", &entry.path);
    }
    if !entry.link.is_ascii() || entry.link.len() > NAME {
        pax::push(&mut records, b"linkpath", &entry.link);
    }
    if entry.size > MAX_SIZE {
        pax::push(&mut records, b"size", entry.size.to_string().as_bytes());
    }
    if entry.uid > MAX_ID {
        pax::push(&mut records, b"uid", entry.uid.to_string().as_bytes());
    }
    if entry.gid > MAX_ID {
        pax::push(&mut records, b"gid", entry.gid.to_string().as_bytes());
    }
    if !(0..=MAX_SIZE as i64).contains(&entry.mtime.0) {
        pax::push(&mut records, b"mtime", entry.mtime.0.to_string().as_bytes());
    }
    for (name, value) in &entry.xattrs {
        pax::push(&mut records, &[pax::XATTR_PREFIX, name].concat(), value);
    }
    records
}
