//! Trees that builds work on: stacks of layers without an image, and a writable tree on top that becomes a layer.
//!
//! A layer made here is not copied: the upper directory that took the changes becomes the layer's tree, while its tar is
//! hashed and its recipe written. It is not synced either until an image has it (state of a build, that a power cut may
//! take): until then a file `unsynced` in it names the boot that wrote it.
//!
//! Never: names a step or a cache; who holds a [`Chain`] keeps its layers.

use crate::{
    ImageError, Images, Reference, Result,
    config::{self, ImageConfig},
    disk, gc,
    gzip::Gzip,
    images::Inner,
    layer::{Layer, LayerLease, Pending},
    recipe::RecipeWriter,
    snapshot::{self, Rootfs, overlay},
    state::ImageRecord,
    tarball::{EntryKind, Tap},
    tree,
};
use minke_model::{ImageId, id::Digest};
use rustix::fs::{AtFlags, Timespec, Timestamps};
use sha2::{Digest as _, Sha256};
use std::{
    cell::RefCell,
    collections::HashSet,
    io::{self, Write},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
    sync::{Arc, atomic::Ordering},
};

/// The file in a layer that names the boot that wrote it.
pub(crate) const UNSYNCED: &str = "unsynced";

/// How a layer is compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BlobForm {
    /// Not at all.
    Tar,
    /// RFC 1952.
    #[default]
    Gzip,
    /// RFC 8878.
    Zstd,
}

impl BlobForm {
    /// OCI's media type of a layer in this form.
    pub fn media_type(self) -> &'static str {
        match self {
            BlobForm::Tar => "application/vnd.oci.image.layer.v1.tar",
            BlobForm::Gzip => "application/vnd.oci.image.layer.v1.tar+gzip",
            BlobForm::Zstd => "application/vnd.oci.image.layer.v1.tar+zstd",
        }
    }
}

/// Layers from the bottom, kept from being removed as long as this is.
#[derive(Clone, Debug, Default)]
pub struct Chain(Arc<Vec<LayerLease>>);

impl Chain {
    /// Digests of its layers' tars, from the bottom.
    pub fn diff_ids(&self) -> Vec<Digest> {
        self.0.iter().map(|layer| layer.diff_id().clone()).collect()
    }

    pub(crate) fn leases(&self) -> &[LayerLease] {
        &self.0
    }

    /// `above` on top of it.
    pub fn with(&self, above: &Chain) -> Chain {
        Chain(Arc::new(self.0.iter().chain(above.0.iter()).cloned().collect()))
    }

    /// Its lowest `count` layers.
    pub fn lowest(&self, count: usize) -> Chain {
        Chain(Arc::new(self.0.iter().take(count).cloned().collect()))
    }

    /// Without its lowest `count` layers.
    pub fn above(&self, count: usize) -> Chain {
        Chain(Arc::new(self.0.iter().skip(count).cloned().collect()))
    }

    /// Directories of its layers, the topmost first, each once.
    pub fn paths(&self) -> Vec<PathBuf> {
        snapshot::stack(&self.0)
    }

    /// Bytes of each layer, from the bottom.
    pub fn sizes(&self) -> Vec<u64> {
        self.0.iter().map(|layer| layer.0.record.size).collect()
    }

    /// Length of a layer's uncompressed tar; 0 where there is no such layer.
    pub fn tar_size(&self, number: usize) -> u64 {
        self.0.get(number).map_or(0, LayerLease::tar_size)
    }

    /// Writes a layer's uncompressed tar, and checks that its files are unchanged.
    pub fn write_tar(&self, number: usize, out: &mut dyn Write) -> Result<()> {
        self.0.get(number).map_or(Ok(()), |layer| layer.write_tar(out))
    }

    /// Writes a layer as a blob, and checks that its files are unchanged.
    pub fn write_blob(&self, number: usize, how: BlobForm, out: &mut dyn Write) -> Result<()> {
        let fail = |source| ImageError::Stream { what: "write a layer".into(), source };
        match how {
            BlobForm::Tar => self.write_tar(number, out),
            BlobForm::Gzip => {
                let mut gzip = Gzip::new(out);
                self.write_tar(number, &mut gzip)?;
                gzip.finish().map(drop).map_err(fail)
            }
            BlobForm::Zstd => {
                let mut zstd = zstd::Encoder::new(out, 3).map_err(fail)?;
                self.write_tar(number, &mut zstd)?;
                zstd.finish().map(drop).map_err(fail)
            }
        }
    }

    /// How many layers.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// None.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// A writable tree on a stack of layers. Dropped, it goes with all that was written.
#[derive(Debug)]
pub struct Work {
    images: Images,
    base: Chain,
    /// Where things under way are; empty once the tree has become a layer.
    dir: PathBuf,
    /// The layer with mount points that its process uses.
    init: Option<InitUse>,
}

/// Keeps a layer with mount points.
#[derive(Debug)]
struct InitUse {
    images: Images,
    name: String,
}

impl InitUse {
    fn new(images: &Images, name: String) -> Self {
        *images.0.state().work_inits.entry(name.clone()).or_default() += 1;
        Self { images: images.clone(), name }
    }
}

impl Drop for InitUse {
    fn drop(&mut self) {
        let mut state = self.images.0.state();
        if let Some(count) = state.work_inits.get_mut(&self.name) {
            *count -= 1;
            if *count == 0 {
                state.work_inits.remove(&self.name);
            }
        }
    }
}

impl Images {
    /// The layers with these diff ids; `None` where one is not here.
    pub fn chain(&self, diff_ids: &[Digest]) -> Option<Chain> {
        let state = self.0.state();
        let lease = |id: &Digest| state.layers.get(id).cloned().map(LayerLease);
        diff_ids.iter().map(lease).collect::<Option<Vec<_>>>().map(|layers| Chain(Arc::new(layers)))
    }

    /// The layers of an image.
    pub fn image_chain(&self, id: &ImageId) -> Result<Chain> {
        let image = self.get(id)?;
        Ok(Chain(Arc::new(self.0.state().layers_of(&image)?)))
    }

    /// Layers as one tree, read-only and mounted nowhere: gone when the descriptor is closed.
    pub fn open_chain(&self, chain: &Chain) -> Result<OwnedFd> {
        overlay::mount(&self.0, &chain.paths(), None)
    }

    /// A writable tree on `base`.
    pub fn work(&self, base: &Chain) -> Result<Work> {
        let dir = self.0.ingest_dir();
        disk::make_dir(&dir)?;
        let work = Work { images: self.clone(), base: base.clone(), dir, init: None };
        disk::make_dir_with(&work.upper_path(), 0o755)?;
        disk::make_dir(&work.work_path())?;
        Ok(work)
    }

    /// Takes a tar of a layer in, compressed or not, as one that builds made. Its diff id must be `expected`, where given.
    pub fn layer_of_tar(&self, tar: impl io::Read + Send, expected: Option<&Digest>) -> Result<Chain> {
        let pending = Pending::unpack(self.0.ingest_dir(), tar, u64::MAX, None, self.0.limits()?)?;
        if let Some(expected) = expected.filter(|expected| **expected != pending.diff_id) {
            let (what, actual) = ("a layer's content".into(), pending.diff_id.clone());
            return Err(ImageError::DigestMismatch { what, expected: expected.clone(), actual });
        }
        Ok(Chain(Arc::new(vec![self.0.place_unsynced(pending)?])))
    }

    /// Makes an image of layers known, durably, and gives it names. `config` is its configuration, byte for byte, with
    /// the diff ids of `chain`.
    pub fn register_built(&self, config: &[u8], chain: &Chain, names: &[Reference]) -> Result<ImageId> {
        let config = ImageConfig::parse(config)?;
        if config.diff_ids != chain.diff_ids() {
            return Err(ImageError::Config {
                detail: "its layers are others than those of the build".into(),
            });
        }
        let id = config.id();
        self.0.sync_layers(&config.diff_ids)?;
        let _writing = self.0.writing();
        self.0.add_image(config, ImageRecord::new(None, None))?;
        let names: Vec<_> = names.iter().map(|name| name.clone().or_latest()).collect();
        self.0.set_names(&id, &names)?;
        Ok(id)
    }

    /// Removes what nothing holds by now.
    pub fn collect(&self) -> Result<()> {
        gc::collect(&self.0, &[])
    }

    /// Whether an image has all of these layers.
    pub fn has_image_with(&self, diff_ids: &[Digest]) -> bool {
        self.0.state().images.values().any(|image| image.config.diff_ids.starts_with(diff_ids))
    }
}

impl Work {
    fn upper_path(&self) -> PathBuf {
        self.dir.join("d")
    }

    fn work_path(&self) -> PathBuf {
        self.dir.join("w")
    }

    /// What it lies on.
    pub fn base(&self) -> &Chain {
        &self.base
    }

    /// The whole tree, mounted nowhere: gone when the descriptor is closed, which must be before [`Work::upper`] is
    /// written to, and before [`Work::finish`].
    pub fn open(&self) -> Result<OwnedFd> {
        let lower = self.base.paths();
        if lower.is_empty() {
            return disk::open_dir(&self.upper_path());
        }
        overlay::mount_volatile(&self.images.0, &lower, (&self.upper_path(), &self.work_path()))
    }

    /// What was changed so far, in overlayfs's form.
    pub fn upper(&self) -> Result<OwnedFd> {
        disk::open_dir(&self.upper_path())
    }

    /// For a process: with the mount points that every process needs, which are no change of its own.
    pub fn rootfs(&mut self) -> Result<Rootfs> {
        let name = snapshot::init_name(&self.base.diff_ids());
        self.init.get_or_insert_with(|| InitUse::new(&self.images, name));
        let init = snapshot::ensure_init(&self.images.0, &self.base.0)?;
        let mut lower = vec![init];
        lower.extend(self.base.paths());
        Ok(Rootfs { lower, upper: self.upper_path(), work: self.work_path() })
    }

    /// A further directory that goes with it: for upper directories of mounts whose writes are lost.
    pub fn scratch(&self, name: &str) -> Result<PathBuf> {
        let path = self.dir.join(name);
        disk::make_dir_with(&path, 0o755)?;
        Ok(path)
    }

    /// What was changed becomes a layer on top of the base. With `latest` (seconds since 1970) no time in it is later.
    pub fn finish(mut self, latest: Option<i64>) -> Result<Chain> {
        if let Some(latest) = latest {
            clamp(&self.upper()?, latest)?;
        }
        let upper = self.upper()?;
        let taking = RefCell::new(Taking {
            hash: Sha256::new(),
            recipe: RecipeWriter::create(&self.dir)?,
            payload: 0,
            tar_size: 0,
            size: 0,
        });
        let mut sink = Sink(&taking);
        tree::write_layer_with(upper.as_fd(), &mut sink, &mut |path, kind, size| {
            let mut taking = taking.borrow_mut();
            taking.size += size;
            if kind == EntryKind::File && size > 0 {
                taking.recipe.range(path, 0, size)?;
                taking.payload = size;
            }
            Ok(())
        })?;
        let Taking { hash, recipe, tar_size, size, .. } = taking.into_inner();
        recipe.finish()?;
        // All but the tree, the recipe and the list of what was moved aside.
        for name in disk::names(&self.dir)? {
            if !matches!(name.as_str(), "d" | "recipe" | "moves") {
                disk::remove_dir(&self.dir.join(name))?;
            }
        }
        let diff_id = Digest::from_sha256(&hash.finalize());
        let pending = Pending::made(std::mem::take(&mut self.dir), diff_id, size, tar_size);
        let layer = self.images.0.place_unsynced(pending)?;
        Ok(self.base.with(&Chain(Arc::new(vec![layer]))))
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        if self.dir.as_os_str().is_empty() {
            return;
        }
        if let Err(error) = self.images.0.discard_dir(&self.dir) {
            tracing::warn!(%error, "cannot remove a build's tree; the next start will");
        }
    }
}

/// A layer's tar on its way into a hash and a recipe.
struct Taking {
    hash: Sha256,
    recipe: RecipeWriter,
    /// Bytes of a file's content that are still to come.
    payload: u64,
    tar_size: u64,
    size: u64,
}

struct Sink<'a>(&'a RefCell<Taking>);

impl Write for Sink<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut taking = self.0.borrow_mut();
        taking.hash.update(bytes);
        taking.tar_size += bytes.len() as u64;
        // Headers, contents and paddings are written by calls of their own.
        match taking.payload {
            0 => taking.recipe.raw(bytes).map_err(io::Error::other)?,
            left => taking.payload = left.saturating_sub(bytes.len() as u64),
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Sets times of change below `dir` that are later than `latest` to it.
fn clamp(dir: &OwnedFd, latest: i64) -> Result<()> {
    fn walk(dir: BorrowedFd<'_>, latest: i64, depth: usize) -> std::result::Result<(), rustix::io::Errno> {
        let time = Timespec { tv_sec: latest, tv_nsec: 0 };
        let times = Timestamps { last_access: time, last_modification: time };
        for (name, kind) in disk::list(dir)? {
            if kind == rustix::fs::FileType::Directory && depth > 0 {
                let flags = rustix::fs::OFlags::RDONLY
                    | rustix::fs::OFlags::DIRECTORY
                    | rustix::fs::OFlags::NOFOLLOW
                    | rustix::fs::OFlags::CLOEXEC;
                let inner = rustix::fs::openat(dir, &*name, flags, rustix::fs::Mode::empty())?;
                walk(inner.as_fd(), latest, depth - 1)?;
            }
            let stat = rustix::fs::statat(dir, &*name, AtFlags::SYMLINK_NOFOLLOW)?;
            if stat.st_mtime > latest || (stat.st_mtime == latest && stat.st_mtime_nsec > 0) {
                rustix::fs::utimensat(dir, &*name, &times, AtFlags::SYMLINK_NOFOLLOW)?;
            }
        }
        Ok(())
    }
    walk(dir.as_fd(), latest, 512).map_err(|e| ImageError::io("set times in", Path::new("a build's tree"), e))
}

impl Inner {
    /// Makes a layer known that only a build or a pull under way has: not synced.
    pub(crate) fn place_unsynced(&self, pending: Pending) -> Result<LayerLease> {
        pending.write_record()?;
        pending.mark_unsynced(&boot_id())?;
        // Removed when the lock is free again.
        let spare;
        let _writing = self.writing();
        if let Some(layer) = self.state().layers.get(&pending.diff_id).cloned() {
            spare = pending;
            drop(_writing);
            drop(spare);
            return Ok(LayerLease(layer));
        }
        if let Some((file, blob)) = pending.kept_blob() {
            self.content.adopt(&blob.digest, &file)?;
        }
        let layer: Arc<Layer> = Arc::new(pending.place(self.root.join("l").join(self.number()))?);
        let lease = LayerLease(layer.clone());
        self.state().layers.insert(layer.record.diff_id.clone(), layer);
        Ok(lease)
    }

    /// What was not synced of these layers outlives a power cut from now on.
    pub(crate) fn sync_layers(&self, diff_ids: &[Digest]) -> Result<()> {
        let unsynced: Vec<Arc<Layer>> = {
            let state = self.state();
            let layers = diff_ids.iter().filter_map(|id| state.layers.get(id));
            let mut seen = HashSet::new();
            layers
                .filter(|layer| {
                    layer.unsynced.load(Ordering::Acquire) && seen.insert(layer.name().to_owned())
                })
                .cloned()
                .collect()
        };
        if unsynced.is_empty() {
            return Ok(());
        }
        disk::sync_filesystem(&self.root)?;
        for layer in &unsynced {
            disk::remove_file(&layer.dir.join(UNSYNCED))?;
        }
        // Little is left to write: the marks themselves must not come back.
        disk::sync_filesystem(&self.root)?;
        unsynced.iter().for_each(|layer| layer.unsynced.store(false, Ordering::Release));
        Ok(())
    }
}

/// The kernel's name for this boot.
pub(crate) fn boot_id() -> String {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    text.trim().to_owned()
}

/// The identity of a stack of layers: the chain id of the topmost; of none a fixed one.
pub fn chain_id(diff_ids: &[Digest]) -> Digest {
    config::chain_ids(diff_ids).pop().unwrap_or_else(|| Digest::from_sha256(&[0; 32]))
}

#[cfg(test)]
mod tests;
