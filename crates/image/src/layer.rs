//! Layers: one unpacked tree for each diff id, shared by all images that have it.
//!
//! A layer's directory has a short number for a name, so that paths of many layers fit into one mount call. In it:
//! `d` the tree in overlayfs's form, `recipe`, `moves` and `aside` to write its tar again, and `layer.json`. It is
//! made where things under way are, synced as a whole, and appears by one rename.
//!
//! Two layers of one image with the same diff id share the tree; overlayfs sees only the upper one, which hides all
//! that the lower one has.

use crate::{
    ImageError, Result,
    content::Copying,
    decompress::{self, Compression},
    disk, path, pipe,
    recipe::{self, RecipeWriter},
    unpack::{self, Limits, Options},
    work::{UNSYNCED, boot_id},
};
use minke_model::id::Digest;
use rustix::{
    fs::{AtFlags, FileType, Mode, OFlags},
    io::Errno,
};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::{
    collections::HashSet,
    fs::File,
    io::{self, BufWriter, Read, Write},
    os::fd::AsFd,
    path::{Path, PathBuf},
    sync::{Arc, atomic::AtomicBool},
};

/// Format of `layer.json`.
const VERSION: u32 = 1;

/// The tree's name in a layer's directory.
const TREE: &str = "d";

/// A layer's record.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct LayerRecord {
    version: u32,
    /// Of its uncompressed tar.
    pub(crate) diff_id: Digest,
    /// As Docker counts: bytes of all files and symbolic links.
    pub(crate) size: u64,
    /// Length of its uncompressed tar.
    pub(crate) tar_size: u64,
    /// The blobs that it came as, which are kept.
    #[serde(default)]
    pub(crate) blobs: Vec<BlobRecord>,
}

/// A layer as a registry sent it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct BlobRecord {
    /// Of the bytes as sent.
    pub(crate) digest: Digest,
    /// Of the bytes as sent.
    pub(crate) size: u64,
    /// As the manifest said.
    pub(crate) media_type: String,
}

/// A layer that is here.
#[derive(Debug)]
pub(crate) struct Layer {
    /// Its directory.
    pub(crate) dir: PathBuf,
    pub(crate) record: LayerRecord,
    /// A power cut may take it: only builds have it so far (work.rs).
    pub(crate) unsynced: AtomicBool,
}

impl Layer {
    /// Reads the record in `dir`.
    pub(crate) fn read(dir: PathBuf) -> Result<Self> {
        let path = dir.join("layer.json");
        let bytes = std::fs::read(&path).map_err(|e| ImageError::io("read", &path, e))?;
        let record: LayerRecord = serde_json::from_slice(&bytes)
            .map_err(|e| ImageError::Record { path: path.clone(), detail: e.to_string() })?;
        if record.version > VERSION {
            let detail =
                format!("it has version {}, and {VERSION} is the newest that is known", record.version);
            return Err(ImageError::Record { path, detail });
        }
        let marker = std::fs::read_to_string(dir.join(UNSYNCED)).ok();
        if marker.as_ref().is_some_and(|boot| *boot != boot_id()) {
            return Err(ImageError::Record {
                path,
                detail: "it was not synced before the machine went down".into(),
            });
        }
        Ok(Self { dir, record, unsynced: AtomicBool::new(marker.is_some()) })
    }

    /// The tree in overlayfs's form.
    pub(crate) fn tree(&self) -> PathBuf {
        self.dir.join(TREE)
    }

    /// The name of its directory.
    pub(crate) fn name(&self) -> &str {
        self.dir.file_name().and_then(|n| n.to_str()).unwrap_or_default()
    }

    /// Writes its uncompressed tar, bit for bit as it came, and checks that it is.
    pub(crate) fn write_tar(&self, out: &mut dyn Write) -> Result<()> {
        let layer = &self.record.diff_id;
        let tree = disk::open_dir(&self.tree())?;
        let mut out = HashWriter { out, hash: Sha256::new() };
        if let Err(e) = recipe::rebuild(&self.dir, tree.as_fd(), &mut out) {
            return Err(match recipe::is_damage(&e) {
                true => ImageError::LayerDamaged { layer: layer.clone(), detail: e.to_string() },
                false => e,
            });
        }
        let actual = Digest::from_sha256(&out.hash.finalize());
        if &actual != layer {
            let detail = format!("its files now give {actual}");
            return Err(ImageError::LayerDamaged { layer: layer.clone(), detail });
        }
        Ok(())
    }
}

/// Keeps a layer from being removed until it is dropped.
#[derive(Clone, Debug)]
pub(crate) struct LayerLease(pub(crate) Arc<Layer>);

impl LayerLease {
    /// Of which layer.
    pub(crate) fn diff_id(&self) -> &Digest {
        &self.0.record.diff_id
    }

    /// Length of its uncompressed tar.
    pub(crate) fn tar_size(&self) -> u64 {
        self.0.record.tar_size
    }

    /// Writes its uncompressed tar, bit for bit as it came, and checks that it is.
    pub(crate) fn write_tar(&self, out: &mut dyn Write) -> Result<()> {
        self.0.write_tar(out)
    }
}

/// A layer that was unpacked but is not here yet; dropped, it is removed again.
#[derive(Debug)]
pub(crate) struct Pending {
    /// Where things under way are.
    dir: PathBuf,
    pub(crate) diff_id: Digest,
    pub(crate) size: u64,
    pub(crate) tar_size: u64,
    /// Of the stream as it came, compressed or not.
    pub(crate) blob: Digest,
    pub(crate) blob_size: u64,
    /// With `blob` in the directory, when it was kept.
    pub(crate) media_type: Option<String>,
}

impl Pending {
    /// Unpacks a layer's stream, compressed or not, into `dir`, which is made: hashes what comes and what comes out
    /// while it is unpacked. `keep` names the media type of a blob that is kept as received.
    pub(crate) fn unpack(
        dir: PathBuf,
        stream: impl Read + Send,
        limit: u64,
        keep: Option<String>,
        limits: Limits,
    ) -> Result<Self> {
        Self::unpack_blob(dir, stream, limit, keep, limits, None)
    }

    /// As [`Pending::unpack`], of a blob that is `expected`. One that is another and cannot be unpacked is told to be
    /// another.
    pub(crate) fn unpack_blob(
        dir: PathBuf,
        stream: impl Read + Send,
        limit: u64,
        keep: Option<String>,
        limits: Limits,
        expected: Option<&Digest>,
    ) -> Result<Self> {
        disk::make_dir(&dir)?;
        let unknown = Digest::from_sha256(&[0; 32]);
        let mut pending = Self {
            dir,
            diff_id: unknown.clone(),
            size: 0,
            tar_size: 0,
            blob: unknown,
            blob_size: 0,
            media_type: keep,
        };
        let filled = pending.fill(stream, limit, limits);
        if let (Err(_), Some(expected)) = (&filled, expected)
            && pending.blob_size > 0
            && pending.blob != *expected
        {
            let (what, actual) = ("a layer's blob".into(), pending.blob.clone());
            return Err(ImageError::DigestMismatch { what, expected: expected.clone(), actual });
        }
        filled.map(|()| pending)
    }

    fn fill(&mut self, stream: impl Read + Send, limit: u64, limits: Limits) -> Result<()> {
        let kept = match &self.media_type {
            None => None,
            Some(_) => {
                let path = self.blob_path();
                let file = File::create(&path).map_err(|e| ImageError::io("create", &path, e))?;
                Some(BufWriter::with_capacity(64 * 1024, file))
            }
        };
        let mut blob = HashReader::new(Copying::new(stream, kept, limit));
        let (compression, head) = decompress::sniff(&mut blob)?;
        // What is not compressed is hashed once.
        let diff_id = match compression {
            Compression::None => self.unpack_tar(head, limits).map(|()| None),
            _ => compression.inflate(head).and_then(|inflated| {
                pipe::read_ahead(inflated, |inflated| {
                    let mut tar = HashReader::new(inflated);
                    self.unpack_tar(&mut tar, limits)?;
                    Ok(Some(tar.finish().0))
                })
            }),
        };
        // Also after a failure: whether the blob was the right one is known at its end only.
        let rest = io::copy(&mut blob, &mut io::sink());
        if let (Err(_), Err(_)) = (&diff_id, &rest) {
            return diff_id.map(drop);
        }
        rest.map_err(|source| ImageError::Stream { what: "read a layer".into(), source })?;
        blob.from.flush().map_err(|e| ImageError::io("write", self.blob_path(), e))?;
        (self.blob, self.blob_size) = blob.finish();
        self.diff_id = diff_id?.unwrap_or_else(|| self.blob.clone());
        Ok(())
    }

    fn unpack_tar(&mut self, tar: impl Read, limits: Limits) -> Result<()> {
        let path = self.dir.join(TREE);
        disk::make_dir_with(&path, 0o755)?;
        let tree = disk::open_dir(&path)?;
        let mut recipe = RecipeWriter::create(&self.dir)?;
        let options = Options { whiteouts: true, root_entry: true, ..Options::default() };
        let unpacked = unpack::unpack(tree.as_fd(), tar, &mut recipe, options, limits)?;
        self.tar_size = unpacked.tar_size;
        self.size = if recipe.has_moved() { tree_size(&path)? } else { unpacked.size };
        recipe.finish()
    }

    fn blob_path(&self) -> PathBuf {
        self.dir.join("blob")
    }

    /// The kept blob's file and record.
    pub(crate) fn kept_blob(&self) -> Option<(PathBuf, BlobRecord)> {
        let media_type = self.media_type.clone()?;
        let record = BlobRecord { digest: self.blob.clone(), size: self.blob_size, media_type };
        Some((self.blob_path(), record))
    }

    /// Writes the record; the whole is synced by the caller before [`Pending::place`].
    pub(crate) fn write_record(&self) -> Result<()> {
        let blobs = self.kept_blob().map(|(_, record)| record).into_iter().collect();
        let record = LayerRecord {
            version: VERSION,
            diff_id: self.diff_id.clone(),
            size: self.size,
            tar_size: self.tar_size,
            blobs,
        };
        write_record(&self.dir, &record)
    }

    /// A layer whose directory is ready: its tree, its recipe.
    pub(crate) fn made(dir: PathBuf, diff_id: Digest, size: u64, tar_size: u64) -> Self {
        let blob = diff_id.clone();
        Self { dir, diff_id, size, tar_size, blob, blob_size: tar_size, media_type: None }
    }

    /// Notes that it is not synced, in this boot.
    pub(crate) fn mark_unsynced(&self, boot: &str) -> Result<()> {
        let path = self.dir.join(UNSYNCED);
        std::fs::write(&path, boot).map_err(|e| ImageError::io("write", &path, e))
    }

    /// Moves it to its place, from which on it is here.
    pub(crate) fn place(mut self, to: PathBuf) -> Result<Layer> {
        std::fs::rename(&self.dir, &to).map_err(|e| ImageError::io("rename", &self.dir, e))?;
        self.dir = PathBuf::new();
        Layer::read(to)
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        if self.dir.as_os_str().is_empty() {
            return;
        }
        if let Err(error) = disk::remove_dir(&self.dir) {
            tracing::warn!(%error, "cannot remove an unfinished layer; the next start will");
        }
    }
}

/// Writes a layer's record into its directory.
pub(crate) fn write_record(dir: &Path, record: &LayerRecord) -> Result<()> {
    let path = dir.join("layer.json");
    let bytes = serde_json::to_vec(record)
        .map_err(|e| ImageError::Record { path: path.clone(), detail: e.to_string() })?;
    disk::write_renamed(dir, "layer.json", &bytes, false)
}

/// Bytes of all files and symbolic links below `path`, each inode once, as Docker counts.
///
/// What a container hides deeper than a path can name is not counted, as by Docker.
pub(crate) fn tree_size(path: &Path) -> Result<u64> {
    let fail = |e: Errno| ImageError::io("measure", path, e);
    let root = disk::open_dir(path)?;
    let mut seen = HashSet::new();
    let mut size = 0;
    let mut queue: Vec<Vec<u8>> = vec![Vec::new()];
    while let Some(at) = queue.pop() {
        let dir =
            match path::open_beneath(root.as_fd(), &at, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()) {
                // A container moves things while its root is measured.
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::NAMETOOLONG) => continue,
                other => other.map_err(fail)?,
            };
        for (name, _) in disk::list(dir.as_fd()).map_err(fail)? {
            let stat = match rustix::fs::statat(&dir, &*name, AtFlags::SYMLINK_NOFOLLOW) {
                Err(Errno::NOENT) => continue,
                other => other.map_err(fail)?,
            };
            if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
                queue.push(path::join(&at, name.to_bytes()));
            } else if stat.st_nlink == 1 || seen.insert(stat.st_ino) {
                size += stat.st_size as u64;
            }
        }
    }
    Ok(size)
}

/// Hashes what is read through it.
pub(crate) struct HashReader<R> {
    from: R,
    hash: Sha256,
    count: u64,
}

impl<R> HashReader<R> {
    /// From the first byte on.
    pub(crate) fn new(from: R) -> Self {
        Self { from, hash: Sha256::new(), count: 0 }
    }

    /// Digest and number of all bytes read.
    pub(crate) fn finish(self) -> (Digest, u64) {
        (Digest::from_sha256(&self.hash.finalize()), self.count)
    }
}

impl<R: Read> Read for HashReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.from.read(buffer)?;
        self.hash.update(&buffer[..count]);
        self.count += count as u64;
        Ok(count)
    }
}

/// Hashes what is written through it.
pub(crate) struct HashWriter<'a> {
    pub(crate) out: &'a mut dyn Write,
    pub(crate) hash: Sha256,
}

impl Write for HashWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.out.write(bytes)?;
        self.hash.update(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
