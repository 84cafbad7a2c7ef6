//! Blobs by digest: configs, manifests, and layers as a registry sent them.
//!
//! A blob is written to a temporary file while it is hashed, and appears under its digest by a rename: what is here
//! is whole. Leftovers of a crash lie in the directory for what is under way, which is emptied at start.

use crate::{ImageError, Result, config, disk};
use minke_model::id::Digest;
use std::{
    fs::{self, File},
    io::{self, Read, Write},
    path::{Path, PathBuf},
};

/// Largest blob that is read into memory: a config, a manifest, an index.
pub(crate) const MAX_SMALL: u64 = config::MAX_BYTES;

/// The directory of blobs.
#[derive(Debug)]
pub(crate) struct Content {
    dir: PathBuf,
}

impl Content {
    /// In `dir`, which is made.
    pub(crate) fn open(dir: PathBuf) -> Result<Self> {
        disk::make_dir(&dir)?;
        Ok(Self { dir })
    }

    fn path(&self, digest: &Digest) -> PathBuf {
        self.dir.join(digest.hex())
    }

    /// Keeps bytes under the digest that they are said to have, durably.
    pub(crate) fn put(&self, digest: &Digest, bytes: &[u8]) -> Result<()> {
        let actual = config::digest(bytes);
        if &actual != digest {
            return Err(ImageError::DigestMismatch {
                what: "a blob".into(),
                expected: digest.clone(),
                actual,
            });
        }
        if disk::exists(&self.path(digest)) {
            return Ok(());
        }
        disk::write_durably(&self.dir, digest.hex(), bytes)
    }

    /// Takes a finished file, which lies on the same file system, under the digest that it has.
    pub(crate) fn adopt(&self, digest: &Digest, file: &Path) -> Result<()> {
        fs::rename(file, self.path(digest)).map_err(|e| ImageError::io("rename", file, e))
    }

    /// A small blob's bytes; `None` if it is not here. Verified.
    pub(crate) fn read(&self, digest: &Digest) -> Result<Option<Vec<u8>>> {
        let Some((file, size)) = self.open_blob(digest)? else { return Ok(None) };
        if size > MAX_SMALL {
            return Err(ImageError::TooLarge { what: format!("blob {digest}"), limit: MAX_SMALL });
        }
        let mut bytes = Vec::with_capacity(size as usize);
        let path = self.path(digest);
        file.take(MAX_SMALL).read_to_end(&mut bytes).map_err(|e| ImageError::io("read", &path, e))?;
        if &config::digest(&bytes) != digest {
            return Err(ImageError::Record { path, detail: "its content has changed".into() });
        }
        Ok(Some(bytes))
    }

    /// A blob opened, and its size; `None` if it is not here.
    pub(crate) fn open_blob(&self, digest: &Digest) -> Result<Option<(File, u64)>> {
        let path = self.path(digest);
        let fail = |e| ImageError::io("open", &path, e);
        let file = match File::open(&path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other.map_err(fail)?,
        };
        let size = file.metadata().map_err(fail)?.len();
        Ok(Some((file, size)))
    }

    /// Removes a blob; one that is gone is fine.
    pub(crate) fn remove(&self, digest: &Digest) -> Result<()> {
        disk::remove_file(&self.path(digest))
    }

    /// All that is here; other files in the directory are leftovers and are removed.
    pub(crate) fn scan(&self) -> Result<Vec<Digest>> {
        let mut digests = Vec::new();
        for name in disk::names(&self.dir)? {
            match Digest::parse(&format!("sha256:{name}")) {
                Some(digest) => digests.push(digest),
                None => disk::remove_file(&self.dir.join(name))?,
            }
        }
        Ok(digests)
    }

    /// Makes renames outlive a power cut.
    pub(crate) fn sync(&self) -> Result<()> {
        disk::sync_dir(&self.dir)
    }
}

/// Copies what is read through it to a file, too.
pub(crate) struct Copying<R, W> {
    from: R,
    to: Option<W>,
    left: u64,
}

impl<R, W> Copying<R, W> {
    /// Reads at most `limit` bytes; one more is an error.
    pub(crate) fn new(from: R, to: Option<W>, limit: u64) -> Self {
        Self { from, to, left: limit }
    }
}

impl<R, W: Write> Copying<R, W> {
    /// Hands the copy over to the kernel; an error would else go unseen.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        self.to.as_mut().map_or(Ok(()), W::flush)
    }
}

impl<R: Read, W: Write> Read for Copying<R, W> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.from.read(buffer)?;
        self.left = self.left.checked_sub(count as u64).ok_or_else(|| {
            io::Error::new(io::ErrorKind::InvalidData, "the blob is longer than its manifest says")
        })?;
        if let Some(to) = &mut self.to {
            to.write_all(&buffer[..count])?;
        }
        Ok(count)
    }
}
