//! Removes what nothing names, leases or mounts.
//!
//! A layer stays while an image has it, a container's snapshot lies on it, or a lease is held: by a pull, a load or a
//! save under way. Blobs stay while an image or a layer names them.

use crate::{Images, Result, disk, images::Inner, state::State};
use minke_model::id::Digest;
use std::collections::HashSet;

/// Takes away what is unused by now: layers, their blobs, and of `candidates` the blobs that nothing names.
pub(crate) fn collect(inner: &Inner, candidates: &[Digest]) -> Result<()> {
    let _writing = inner.writing();
    collect_as_writer(inner, candidates)
}

/// As [`collect`], for who has the writers' lock: nothing must come again meanwhile.
pub(crate) fn collect_as_writer(inner: &Inner, candidates: &[Digest]) -> Result<()> {
    let (layers, blobs) = {
        let mut state = inner.state();
        let layers = state.take_unused();
        let named = state.named_blobs();
        let blobs = layers.iter().flat_map(|l| l.record.blobs.iter().map(|b| &b.digest)).chain(candidates);
        let blobs: Vec<_> = blobs.filter(|blob| !named.contains(blob)).cloned().collect();
        (layers, blobs)
    };
    for layer in layers {
        inner.discard_dir(&layer.dir)?;
    }
    for blob in blobs {
        inner.content.remove(&blob)?;
    }
    crate::snapshot::collect_inits(inner)
}

/// Takes away what a crash left: things under way, things being removed, things that nothing names.
pub(crate) fn at_start(images: &Images) -> Result<()> {
    let inner = &images.0;
    collect(inner, &[])?;
    let named = inner.state().named_blobs();
    for blob in inner.content.scan()?.iter().filter(|blob| !named.contains(blob)) {
        inner.content.remove(blob)?;
    }
    for name in disk::names(&inner.root.join("ingest"))? {
        inner.discard_dir(&inner.root.join("ingest").join(name))?;
    }
    if !disk::names(&inner.root.join("trash"))?.is_empty() {
        inner.trash.empty();
    }
    Ok(())
}

/// Names of layers with mount points that an image or a snapshot uses.
pub(crate) fn used_inits(state: &State) -> HashSet<String> {
    let images = state.images.values().map(|image| crate::snapshot::init_name(&image.config.diff_ids));
    let snapshots = state.snapshots.values().map(|s| s.init.clone());
    images.chain(snapshots).chain(state.work_inits.keys().cloned()).collect()
}
