//! All images of this machine: found, named, removed.
//!
//! On disk, below one directory that only root may enter: `version` (whose it is), `blobs/sha256/` (content.rs),
//! `l/` (layer.rs), `images/` and `names.json` (state.rs), `snapshots/` and `init/` (snapshot/), `ingest/` (under
//! way; emptied at start) and `trash/` (being removed). Everything in memory is rebuilt from a scan.

use crate::{
    ImageError, Result,
    config::ImageConfig,
    content::Content,
    disk, gc,
    layer::{Layer, LayerLease, Pending},
    pull::Transfers,
    reference::Reference,
    snapshot,
    state::{self, ImageRecord, State},
    trash::Trash,
    unpack::Limits,
    work::Chain,
};
use minke_model::{ImageId, Timestamp, id::Digest};
use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

/// What the file `version` says.
const MARK: &str = "minke-image 1\n";

/// All images of this machine. Cheap to clone; every method may be called from any thread, and blocks.
#[derive(Clone, Debug)]
pub struct Images(pub(crate) Arc<Inner>);

/// An image as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// The digest of its configuration.
    pub id: ImageId,
    /// Its configuration.
    pub config: Arc<ImageConfig>,
    /// Its names with a tag.
    pub tags: Vec<Reference>,
    /// Its names with a digest, of the registries that it came from.
    pub digests: Vec<Reference>,
    /// The image that it was made from here, by commit or build.
    pub parent: Option<ImageId>,
    /// Bytes of all its layers, unpacked.
    pub size: u64,
    /// The manifest that it was pulled by.
    pub manifest: Option<Digest>,
    /// When it got its last name.
    pub last_tagged: Option<Timestamp>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) root: PathBuf,
    pub(crate) content: Content,
    /// Short; never held while something is read or written.
    state: Mutex<State>,
    /// One writer of records and names at a time, and one remover of what they do not name.
    writing: Mutex<()>,
    /// One maker of layers with mount points at a time.
    pub(crate) making_init: Mutex<()>,
    /// Layers that pulls are fetching.
    pub(crate) transfers: Transfers,
    /// The last number that was given as a name.
    last: AtomicU64,
    pub(crate) trash: Trash,
}

impl Images {
    /// Opens the images below `root`, which is made if it is missing.
    ///
    /// Takes away what a crash left half done. Refuses a directory that holds something else. The caller sees to it
    /// that nobody else has it open.
    pub fn open(root: &Path) -> Result<Images> {
        Self::open_keeping(root, &BTreeSet::new()).map(|(images, _)| images)
    }

    /// As [`Images::open`], with the layers of `kept` that are here, although nothing here names them: builds do.
    pub fn open_keeping(root: &Path, kept: &BTreeSet<Digest>) -> Result<(Images, Chain)> {
        claim(root)?;
        for dir in ["blobs", "images", "l", "snapshots", "init", "ingest", "trash"] {
            disk::make_dir(&root.join(dir))?;
        }
        let content = Content::open(root.join("blobs/sha256"))?;
        let inner = Inner {
            root: root.to_owned(),
            content,
            state: Mutex::default(),
            writing: Mutex::default(),
            making_init: Mutex::default(),
            transfers: Transfers::default(),
            last: AtomicU64::new(0),
            trash: Trash::new(root.join("trash")),
        };
        let images = Images(Arc::new(inner));
        let kept = images.scan(kept)?;
        Ok((images, kept))
    }

    fn scan(&self, kept: &BTreeSet<Digest>) -> Result<Chain> {
        let root = &self.0.root;
        let mut last = 0;
        for dir in ["trash", "ingest", "l"] {
            let numbers = disk::names(&root.join(dir))?;
            last = numbers.iter().filter_map(|n| u64::from_str_radix(n, 36).ok()).fold(last, u64::max);
        }
        self.0.last.store(last, Ordering::Relaxed);
        let mut state = State { names: state::read_names(root)?, ..State::default() };
        for name in disk::names(&root.join("l"))? {
            let dir = root.join("l").join(&name);
            match Layer::read(dir.clone()) {
                Ok(layer) => drop(state.layers.insert(layer.record.diff_id.clone(), Arc::new(layer))),
                Err(error) => {
                    tracing::warn!(%error, "a layer without a record is removed");
                    self.0.discard_dir(&dir)?;
                }
            }
        }
        for (id, record) in state::read_records(&root.join("images"))? {
            let config = self.0.content.read(&id).and_then(|raw| {
                ImageConfig::parse(&raw.ok_or_else(|| ImageError::NoSuchImage { name: id.to_string() })?)
            });
            match config {
                Ok(config) => {
                    let image = state.describe(&id, Arc::new(config), &record);
                    state.images.insert(id, image);
                }
                Err(error) => {
                    tracing::error!(%error, image = %id, "an image's config cannot be read; it is left out")
                }
            }
        }
        let State { names, images, .. } = &mut state;
        names.names.retain(|_, id| images.contains_key(id));
        names.tagged.retain(|id, _| images.contains_key(id));
        snapshot::scan(&self.0, &mut state)?;
        let here: Vec<Digest> = kept.iter().filter(|id| state.layers.contains_key(id)).cloned().collect();
        *self.0.state() = state;
        let kept = self.chain(&here).unwrap_or_default();
        gc::at_start(self)?;
        Ok(kept)
    }

    /// The image that a name, an id or the beginning of an id means.
    pub fn resolve(&self, name: &str) -> Result<ImageId> {
        self.0.state().resolve(name)
    }

    /// An image as it is now.
    pub fn get(&self, id: &ImageId) -> Result<Arc<Image>> {
        let image = self.0.state().images.get(id).cloned();
        image.ok_or_else(|| ImageError::NoSuchImage { name: id.to_string() })
    }

    /// Since when an image is here, or is known by its present manifest.
    pub fn arrived(&self, id: &ImageId) -> Option<Timestamp> {
        let record = self.0.root.join("images").join(format!("{}.json", id.hex()));
        let since = std::fs::metadata(record).ok()?.modified().ok()?;
        let since = since.duration_since(std::time::UNIX_EPOCH).ok()?;
        Some(Timestamp::from_nanos(i64::try_from(since.as_nanos()).ok()?))
    }

    /// All images, in the order of their ids.
    pub fn list(&self) -> Vec<Arc<Image>> {
        self.0.state().images.values().cloned().collect()
    }

    /// What a name means exactly, without ids and prefixes.
    pub(crate) fn find_name(&self, name: &Reference) -> Option<ImageId> {
        self.0.state().names.names.get(name).cloned()
    }

    /// Gives an image a name, which another may lose by it. A name without a tag gets `latest`.
    pub fn tag(&self, id: &ImageId, name: &Reference) -> Result<()> {
        let _writing = self.0.writing();
        self.get(id)?;
        self.0.set_names(id, &[name.clone().or_latest()]).map(drop)
    }

    /// Takes a name away. Whether there was such a name.
    pub fn untag(&self, name: &Reference) -> Result<bool> {
        let _writing = self.0.writing();
        let mut names = self.0.state().names.clone();
        let Some(id) = names.names.remove(&name.clone().or_latest()) else { return Ok(false) };
        state::write_names(&self.0.root, &names)?;
        self.0.state().rename(names, &BTreeSet::from([id]));
        Ok(true)
    }

    /// Removes an image, its names, and the layers that nothing else has. Layers of containers stay as long as their
    /// containers do.
    ///
    /// Returns what is gone: the image's id, then the chain ids of layers, from the top.
    pub fn remove(&self, id: &ImageId) -> Result<Vec<Digest>> {
        let _writing = self.0.writing();
        let image = self.get(id)?;
        let mut names = self.0.state().names.clone();
        names.names.retain(|_, named| named != id);
        names.tagged.remove(id);
        state::write_names(&self.0.root, &names)?;
        state::remove_record(&self.0.root.join("images"), id)?;
        let mut gone = vec![id.clone()];
        {
            let mut state = self.0.state();
            state.images.remove(id);
            state.rename(names, &BTreeSet::new());
            let images = state.images.values().flat_map(|i| i.config.chain_ids());
            let kept: BTreeSet<_> = images.chain(state.snapshots.values().flat_map(|s| s.chain())).collect();
            gone.extend(image.config.chain_ids().into_iter().rev().filter(|chain| !kept.contains(chain)));
        }
        let candidates: Vec<_> = std::iter::once(id.clone()).chain(image.manifest.clone()).collect();
        gc::collect_as_writer(&self.0, &candidates)?;
        Ok(gone)
    }

    /// Bytes of each of an image's layers, from the bottom.
    pub fn layer_sizes(&self, id: &ImageId) -> Result<Vec<u64>> {
        let image = self.get(id)?;
        let state = self.0.state();
        let size = |diff_id| state.layers.get(diff_id).map_or(0, |layer| layer.record.size);
        Ok(image.config.diff_ids.iter().map(size).collect())
    }

    /// The chain id of each of an image's layers, from the bottom. Images share a layer exactly when they share this.
    pub fn layer_chain(&self, id: &ImageId) -> Result<Vec<Digest>> {
        Ok(self.get(id)?.config.chain_ids())
    }

    /// Bytes of all layers of images, each once.
    pub fn layers_size(&self) -> u64 {
        let state = self.0.state();
        let named: BTreeSet<&Digest> =
            state.images.values().flat_map(|image| &image.config.diff_ids).collect();
        named.into_iter().filter_map(|id| state.layers.get(id)).map(|layer| layer.record.size).sum()
    }

    /// Bytes of all layers that are here, each once: those of builds and of containers without an image, too.
    pub fn stored_size(&self) -> u64 {
        self.0.state().layers.values().map(|layer| layer.record.size).sum()
    }
}

impl Inner {
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn writing(&self) -> MutexGuard<'_, ()> {
        self.writing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A directory for something under way that does not exist yet.
    pub(crate) fn ingest_dir(&self) -> PathBuf {
        self.root.join("ingest").join(self.number())
    }

    /// A name that was never given since the scan, as short as can be.
    pub(crate) fn number(&self) -> String {
        let mut number = self.last.fetch_add(1, Ordering::Relaxed) + 1;
        let mut digits = Vec::new();
        while number > 0 {
            digits.push(char::from_digit((number % 36) as u32, 36).unwrap_or('0'));
            number /= 36;
        }
        digits.iter().rev().collect()
    }

    /// How much one tar may unpack to: what the disk has room for.
    pub(crate) fn limits(&self) -> Result<Limits> {
        let (bytes, entries) = disk::room(&self.root)?;
        Ok(Limits { bytes, entries })
    }

    /// Gives an image names, durably. Whether any of them meant something else, or nothing. With the writers' lock.
    pub(crate) fn set_names(&self, id: &ImageId, wanted: &[Reference]) -> Result<bool> {
        let mut names = self.state().names.clone();
        let mut touched = BTreeSet::from([id.clone()]);
        let mut changed = false;
        for name in wanted {
            let before = names.names.insert(name.clone(), id.clone());
            changed |= before.as_ref() != Some(id);
            touched.extend(before);
        }
        if wanted.iter().any(|name| name.digest().is_none()) {
            names.tagged.insert(id.clone(), Timestamp::now());
        }
        state::write_names(&self.root, &names)?;
        self.state().rename(names, &touched);
        Ok(changed)
    }

    /// Makes unpacked layers known: one sync for all of them, then a rename each.
    pub(crate) fn commit_layers(&self, pending: Vec<Pending>) -> Result<Vec<LayerLease>> {
        let prepare = || {
            pending.iter().try_for_each(Pending::write_record)?;
            disk::sync_filesystem(&self.root)
        };
        // Before the lock: it may take as long as the disk needs for all that was written.
        let all_known = || {
            let state = self.state();
            pending.iter().all(|p| state.layers.contains_key(&p.diff_id))
        };
        let is_prepared = !all_known();
        if is_prepared {
            prepare()?;
        }
        // Removed when the lock is free again.
        let mut spare = Vec::new();
        let _writing = self.writing();
        if !is_prepared && !all_known() {
            // One was removed meanwhile.
            prepare()?;
        }
        let mut leases = Vec::new();
        let mut is_new = false;
        for pending in pending {
            let known = self.state().layers.get(&pending.diff_id).cloned();
            if let Some(layer) = known {
                leases.push(LayerLease(layer));
                spare.push(pending);
                continue;
            }
            if let Some((file, blob)) = pending.kept_blob() {
                self.content.adopt(&blob.digest, &file)?;
            }
            let layer = Arc::new(pending.place(self.root.join("l").join(self.number()))?);
            leases.push(LayerLease(layer.clone()));
            self.state().layers.insert(layer.record.diff_id.clone(), layer);
            is_new = true;
        }
        if is_new {
            self.content.sync()?;
            disk::sync_dir(&self.root.join("l"))?;
        }
        Ok(leases)
    }

    /// Makes an image known, durably. With the writers' lock. Whether it is new.
    pub(crate) fn add_image(&self, config: ImageConfig, mut record: ImageRecord) -> Result<bool> {
        let id = config.id();
        let known = self.state().images.get(&id).cloned();
        if let Some(known) = &known {
            // What is known of it already is kept, where nothing newer is.
            record.manifest = record.manifest.or(known.manifest.clone());
            record.parent = record.parent.or(known.parent.clone());
            if (&record.manifest, &record.parent) == (&known.manifest, &known.parent) {
                return Ok(false);
            }
        }
        // Layers that only builds had until now.
        self.sync_layers(&config.diff_ids)?;
        self.content.put(&id, &config.raw)?;
        state::write_record(&self.root.join("images"), &id, &record)?;
        let mut state = self.state();
        let image = state.describe(&id, Arc::new(config), &record);
        state.images.insert(id, image);
        Ok(known.is_none())
    }

    /// Takes a directory away: at once for everyone else, on disk soon.
    pub(crate) fn discard_dir(&self, dir: &Path) -> Result<()> {
        self.trash.take(dir, &self.number())
    }
}

/// Makes the directory ours, or finds that it is.
fn claim(root: &Path) -> Result<()> {
    disk::make_dir(root)?;
    let foreign = |detail: &str| ImageError::ForeignRoot { path: root.to_owned(), detail: detail.into() };
    match std::fs::read_to_string(root.join("version")) {
        Ok(mark) if mark == MARK => return Ok(()),
        Ok(_) => return Err(foreign("its version is not known")),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
        Err(e) => return Err(ImageError::io("read", root.join("version"), e)),
    }
    // Half a mark is what a crash at the very first start leaves.
    if disk::names(root)?.iter().any(|name| name != ".version.new") {
        return Err(foreign("it is not empty"));
    }
    disk::write_durably(root, "version", MARK.as_bytes())
}

#[cfg(test)]
mod tests;
