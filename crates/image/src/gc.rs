//! Removes what nothing names, leases or mounts.
//!
//! A layer stays while an image has it, a container's snapshot lies on it, or a lease is held: by a pull, a load or a
//! save under way. Blobs stay while an image or a layer names them.

use crate::{Images, Result, disk, images::Inner, state::State};
use minke_model::id::Digest;
use std::{collections::HashSet, sync::PoisonError};

/// Takes away what is unused by now: layers, their blobs, and of `candidates` the blobs that nothing names.
pub(crate) fn collect(inner: &Inner, candidates: &[Digest]) -> Result<()> {
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
    let leftovers: Vec<_> = ["ingest", "trash"]
        .iter()
        .map(|dir| inner.root.join(dir))
        .map(|dir| Ok(disk::names(&dir)?.into_iter().map(move |name| dir.join(name))))
        .collect::<Result<Vec<_>>>()?
        .into_iter()
        .flatten()
        .collect();
    if leftovers.is_empty() {
        return Ok(());
    }
    // A large tree must not hold up the start.
    let remove = move || {
        for dir in leftovers {
            if let Err(error) = disk::remove_dir(&dir) {
                tracing::warn!(%error, "cannot remove what a crash left");
            }
        }
    };
    match std::thread::Builder::new().name("image-cleanup".into()).spawn(remove) {
        Ok(cleaner) => *inner.cleaner.lock().unwrap_or_else(PoisonError::into_inner) = Some(cleaner),
        Err(error) => tracing::warn!(%error, "cannot remove what a crash left; the next start will"),
    }
    Ok(())
}

/// Names of layers with mount points that an image or a snapshot uses.
pub(crate) fn used_inits(state: &State) -> HashSet<String> {
    let images = state.images.values().map(|image| crate::snapshot::init_name(&image.config.diff_ids));
    images.chain(state.snapshots.values().map(|s| s.init.clone())).collect()
}
