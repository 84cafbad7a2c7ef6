//! Writable snapshots: a container's own changes on top of an image's layers.
//!
//! Life of one: prepared (`upper` and `work` made, the image's layers pinned) → mounted by the container's own start,
//! in its own mount namespace → discarded. On disk: `snapshots/CONTAINER/` with `upper`, `work`, and a symbolic link
//! `lower` whose text names the layers; a link is one journaled write, where a file would need a sync.
//!
//! Between the image and a container lies a layer with the mount points that every container needs (init.rs), as in
//! Docker, so that they are no change of the container's.

mod init;
pub(crate) mod overlay;

pub(crate) use init::{collect_inits, init_name};

use crate::{
    ImageError, Images, Result, disk, gc,
    images::Inner,
    layer::{self, LayerLease},
    state::{Snapshot, State},
};
use minke_model::{ContainerId, ImageId};
use std::{
    collections::{HashMap, HashSet},
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};

/// The link that names a snapshot's layers.
const LOWER: &str = "lower";

/// The mode of every container's root directory, as Docker's.
const ROOT_MODE: u32 = 0o755;

/// What an overlay mount of a container's root is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rootfs {
    /// Lower directories, the topmost first.
    pub lower: Vec<PathBuf>,
    /// What the container changes.
    pub upper: PathBuf,
    /// overlayfs's own.
    pub work: PathBuf,
}

/// What happened to a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeKind {
    /// Its content or its attributes; of a directory, also something in it.
    Modified,
    /// It was not there.
    Added,
    /// It is no more.
    Deleted,
}

/// A path that a container changed, as `docker diff` tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Absolute, inside of the root.
    pub path: String,
    /// What happened.
    pub kind: ChangeKind,
}

impl Images {
    /// Makes a container's writable root on an image, or on nothing. The image's layers stay as long as it does.
    pub fn prepare(&self, container: &ContainerId, image: Option<&ImageId>) -> Result<()> {
        let layers = {
            let mut state = self.0.state();
            if state.snapshots.contains_key(container) {
                return Err(ImageError::SnapshotExists { container: container.clone() });
            }
            let layers = match image {
                None => Vec::new(),
                Some(id) => {
                    let image = state
                        .images
                        .get(id)
                        .ok_or_else(|| ImageError::NoSuchImage { name: id.to_string() })?;
                    state.layers_of(image)?
                }
            };
            let diff_ids: Vec<_> = layers.iter().map(|l| l.diff_id().clone()).collect();
            let snapshot = Snapshot { layers: layers.clone(), init: init_name(&diff_ids) };
            state.snapshots.insert(container.clone(), snapshot);
            layers
        };
        let made = make(&self.0, container, &layers);
        if made.is_err() {
            self.0.state().snapshots.remove(container);
        }
        made
    }

    /// What the container's root is mounted from. The mount itself is the caller's: see [`Images::open_rootfs`] for
    /// its options.
    pub fn rootfs(&self, container: &ContainerId) -> Result<Rootfs> {
        let dir = self.0.snapshot_dir(container);
        let lower = self.lower(container)?;
        Ok(Rootfs { lower, upper: dir.join("upper"), work: dir.join("work") })
    }

    /// The container's root, mounted nowhere: gone when the descriptor is closed. For containers that do not run: a
    /// second mount of one work directory empties it under the first, which can then write no more.
    pub fn open_rootfs(&self, container: &ContainerId) -> Result<OwnedFd> {
        let rootfs = self.rootfs(container)?;
        overlay::mount(&self.0, &rootfs.lower, Some((&rootfs.upper, &rootfs.work)))
    }

    /// What a container's root was before it changed anything, read-only and mounted nowhere.
    pub(crate) fn open_base(&self, container: &ContainerId) -> Result<OwnedFd> {
        overlay::mount(&self.0, &self.lower(container)?, None)
    }

    /// An image's root, read-only and mounted nowhere.
    pub fn open_image(&self, id: &ImageId) -> Result<OwnedFd> {
        let image = self.get(id)?;
        // The leases keep the layers until they are mounted.
        let layers = self.0.state().layers_of(&image)?;
        overlay::mount(&self.0, &stack(&layers), None)
    }

    /// Directories of an image's layers, topmost first, to be mounted by whoever uses the image as a mount.
    pub fn layer_paths(&self, id: &ImageId) -> Result<Vec<PathBuf>> {
        let image = self.get(id)?;
        Ok(stack(&self.0.state().layers_of(&image)?))
    }

    /// Removes a container's root. One that does not exist is fine.
    pub fn discard(&self, container: &ContainerId) -> Result<()> {
        self.0.discard_dir(&self.0.snapshot_dir(container))?;
        let named = {
            let mut state = self.0.state();
            let held = state.snapshots.remove(container);
            held.is_none_or(|snapshot| {
                let layers = || snapshot.layers.iter().map(LayerLease::diff_id);
                layers().next().is_none() || state.images.values().any(|i| layers().eq(&i.config.diff_ids))
            })
        };
        if named {
            return Ok(());
        }
        // Layers without an image have waited for it.
        gc::collect(&self.0, &[])
    }

    /// All containers that have a root here.
    pub fn snapshots(&self) -> Vec<ContainerId> {
        let mut all: Vec<_> = self.0.state().snapshots.keys().cloned().collect();
        all.sort();
        all
    }

    /// Bytes of what a container changed, as Docker counts its size.
    pub fn usage(&self, container: &ContainerId) -> Result<u64> {
        layer::tree_size(&self.rootfs(container)?.upper)
    }

    fn lower(&self, container: &ContainerId) -> Result<Vec<PathBuf>> {
        let snapshot = self.0.snapshot(container)?;
        let mut lower = vec![init::path(&self.0, &snapshot.init)];
        lower.extend(stack(&snapshot.layers));
        Ok(lower)
    }
}

impl Inner {
    pub(crate) fn snapshot_dir(&self, container: &ContainerId) -> PathBuf {
        self.root.join("snapshots").join(container.as_str())
    }

    pub(crate) fn snapshot(&self, container: &ContainerId) -> Result<Snapshot> {
        let snapshot = self.state().snapshots.get(container).cloned();
        snapshot.ok_or_else(|| ImageError::NoSuchSnapshot { container: container.clone() })
    }
}

/// Trees of layers given from the bottom, the topmost first; of equal ones only the uppermost, since overlayfs refuses
/// a directory that it has already, and the uppermost hides all that the others have.
pub(crate) fn stack(layers: &[LayerLease]) -> Vec<PathBuf> {
    let mut seen = HashSet::new();
    let once = layers.iter().rev().filter(|layer| seen.insert(layer.diff_id().clone()));
    once.map(|layer| layer.0.tree()).collect()
}

fn make(inner: &Inner, container: &ContainerId, layers: &[LayerLease]) -> Result<()> {
    let init = init::ensure(inner, layers)?;
    let dir = inner.snapshot_dir(container);
    let made = disk::make_dir(&dir).and_then(|()| {
        let upper = dir.join("upper");
        disk::make_dir_with(&upper, ROOT_MODE)?;
        disk::make_dir(&dir.join("work"))?;
        // Last, since a directory without it is half made.
        let names: Vec<_> = std::iter::once(init.as_str()).chain(layers.iter().map(|l| l.0.name())).collect();
        let link = dir.join(LOWER);
        rustix::fs::symlink(names.join(":"), &link).map_err(|e| ImageError::io("write", &link, e))
    });
    if made.is_err() {
        inner.discard_dir(&dir)?;
    }
    made
}

/// The layer with mount points on top of `layers`: where it lies. Made, if it is not there yet.
pub(crate) fn ensure_init(inner: &Inner, layers: &[LayerLease]) -> Result<PathBuf> {
    let name = init::ensure(inner, layers)?;
    Ok(init::path(inner, &name))
}

/// Finds all snapshots on disk.
pub(crate) fn scan(inner: &Inner, state: &mut State) -> Result<()> {
    let root = inner.root.join("snapshots");
    let by_name: HashMap<_, _> = state.layers.values().map(|l| (l.name().to_owned(), l.clone())).collect();
    for name in disk::names(&root)? {
        let dir = root.join(&name);
        let container = ContainerId::parse(&name).filter(|_| disk::exists(&dir.join(LOWER)));
        let Some(container) = container else {
            inner.discard_dir(&dir)?;
            continue;
        };
        match read(&dir, &by_name) {
            Some(snapshot) => drop(state.snapshots.insert(container, snapshot)),
            None => {
                tracing::error!(%container, "a container's root cannot be used: layers below it are missing")
            }
        }
    }
    Ok(())
}

fn read(dir: &Path, layers: &HashMap<String, std::sync::Arc<layer::Layer>>) -> Option<Snapshot> {
    let link = rustix::fs::readlink(dir.join(LOWER), Vec::new()).ok()?.into_string().ok()?;
    let mut names = link.split(':');
    let init = names.next()?.to_owned();
    let layers = names.map(|name| layers.get(name).cloned().map(LayerLease)).collect::<Option<_>>()?;
    Some(Snapshot { layers, init })
}

#[cfg(test)]
mod tests;
