//! In which registries a layer was seen, and as which blob: a small file beside the layer.
//!
//! With it a push need not compress a layer to know that a registry has it, and can ask for it to be mounted from a
//! neighbouring repository. Losing it costs a compression, nothing else: it is never synced.

use crate::{layer::LayerLease, manifest::Descriptor};
use minke_model::id::Digest;
use serde::{Deserialize, Serialize};
use std::{
    fs::File,
    io::{self, Read},
    path::PathBuf,
};

/// The file's name.
const FILE: &str = "pushed.json";

/// The largest such file that is read, in bytes.
const LARGEST: u64 = 64 << 10;

/// Repositories that are remembered.
const MOST_PLACES: usize = 32;

/// The blob that a layer makes, and where it was seen.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Whereabouts {
    pub(crate) digest: Digest,
    pub(crate) size: u64,
    /// As the manifest said it; empty in old files, which have gzip only.
    #[serde(default)]
    pub(crate) media_type: String,
    /// `host/path`, the newest last.
    places: Vec<String>,
}

impl Whereabouts {
    /// What is known of a layer.
    pub(crate) fn read(layer: &LayerLease) -> Option<Self> {
        let mut text = String::new();
        File::open(path(layer)).ok()?.take(LARGEST).read_to_string(&mut text).ok()?;
        serde_json::from_str(&text).ok()
    }

    /// Repositories of `host` that have the blob, the newest first, without `but`.
    pub(crate) fn neighbours<'a>(&'a self, host: &'a str, but: &'a str) -> impl Iterator<Item = &'a str> {
        let paths = self.places.iter().rev();
        paths
            .filter_map(move |place| place.strip_prefix(host)?.strip_prefix('/'))
            .filter(move |path| *path != but)
    }
}

/// Notes that the layer is `blob` in the repository `path` of `host`.
pub(crate) fn note(layer: &LayerLease, blob: &Descriptor, host: &str, path: &str) {
    let place = format!("{host}/{path}");
    let before = Whereabouts::read(layer).filter(|known| known.digest == blob.digest);
    if before.as_ref().is_some_and(|known| known.places.last() == Some(&place)) {
        return;
    }
    let mut places = before.map(|known| known.places).unwrap_or_default();
    places.retain(|known| *known != place);
    places.push(place);
    let surplus = places.len().saturating_sub(MOST_PLACES);
    places.drain(..surplus);
    let (digest, size, media_type) = (blob.digest.clone(), blob.size, blob.media_type.clone());
    if let Err(error) = write(layer, &Whereabouts { digest, size, media_type, places }) {
        tracing::debug!(%error, layer = %layer.diff_id(), "where a layer was seen is not remembered");
    }
}

fn write(layer: &LayerLease, whereabouts: &Whereabouts) -> io::Result<()> {
    let path = self::path(layer);
    let fresh = path.with_extension("new");
    std::fs::write(&fresh, serde_json::to_vec(whereabouts).map_err(io::Error::other)?)?;
    std::fs::rename(&fresh, &path)
}

fn path(layer: &LayerLease) -> PathBuf {
    layer.0.dir.join(FILE)
}
