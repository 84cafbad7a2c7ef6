//! Tar as streams: entries in, entries out, byte for byte.
//!
//! Field layouts and checksums are the `tar` crate's; names, sizes and attributes are put together here, by the rules
//! of Go's `archive/tar` (which Docker reads and writes with), so that both see the same files in one archive.
//! Formats: POSIX.1-2017 pax, and the GNU tar manual's "Basic Tar Format" and "Sparse Formats".
//!
//! Never: touches a file system, or keeps a payload in memory.

mod pax;
mod reader;
mod writer;

pub(crate) use reader::TarReader;
pub(crate) use writer::TarWriter;

use crate::Result;

/// The unit of tar.
pub(crate) const BLOCK: usize = 512;

/// As many zeros as are looked for at once.
static ZEROS: [u8; 64 * 1024] = [0; 64 * 1024];

/// Whether these bytes, at most [`ZEROS`] of them, are all zero. As quick as comparing memory is.
pub(crate) fn is_zero(bytes: &[u8]) -> bool {
    ZEROS.get(..bytes.len()).is_some_and(|zeros| zeros == bytes)
}

/// What an entry makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EntryKind {
    /// A regular file.
    File,
    /// Another name of an earlier entry's file.
    Link,
    /// A symbolic link.
    Symlink,
    /// A character device.
    Char,
    /// A block device.
    Block,
    /// A directory.
    Dir,
    /// A named pipe.
    Fifo,
}

/// One entry: everything but its payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// As written; may be absolute, hold `..`, and end in a slash.
    pub(crate) path: Vec<u8>,
    /// Target of a link or symbolic link, as written.
    pub(crate) link: Vec<u8>,
    /// What it makes.
    pub(crate) kind: EntryKind,
    /// Permission bits with setuid, setgid, sticky.
    pub(crate) mode: u32,
    /// Owner.
    pub(crate) uid: u32,
    /// Group.
    pub(crate) gid: u32,
    /// Seconds and nanoseconds.
    pub(crate) mtime: (i64, u32),
    /// Where a pax record gives it.
    pub(crate) atime: Option<(i64, u32)>,
    /// Bytes of a regular file, holes included.
    pub(crate) size: u64,
    /// Of a device.
    pub(crate) device: (u32, u32),
    /// Names and values.
    pub(crate) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    /// Where the payload's bytes belong: offset and length, ascending. `None`: all of it from 0.
    pub(crate) sparse: Option<Vec<(u64, u64)>>,
}

impl Entry {
    /// The name for messages.
    pub(crate) fn name(&self) -> String {
        String::from_utf8_lossy(&self.path).into_owned()
    }
}

/// Takes the bytes of a tar that are not a file's payload: headers, padding, the end.
pub(crate) trait Tap {
    /// Takes the next bytes.
    fn raw(&mut self, bytes: &[u8]) -> Result<()>;
}

/// Nobody wants them.
pub(crate) struct NoTap;

impl Tap for NoTap {
    fn raw(&mut self, _bytes: &[u8]) -> Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
