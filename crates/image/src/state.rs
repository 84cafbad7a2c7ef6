//! What is known of all images, in memory, and the two kinds of file that it is rebuilt from.
//!
//! `images/ID.json` is an image's record, `names.json` all names. A lock guards the memory; it is never held while
//! something is read or written.

use crate::{
    ImageError, Result,
    config::ImageConfig,
    disk,
    images::Image,
    layer::{Layer, LayerLease},
    reference::Reference,
};
use minke_model::{ContainerId, ImageId, Timestamp, id::Digest};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    path::Path,
    sync::Arc,
};

/// Format of the records.
const VERSION: u32 = 1;

/// The file of all names.
const NAMES: &str = "names.json";

/// An image's record.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ImageRecord {
    #[serde(default)]
    version: u32,
    /// The manifest that it was pulled by.
    #[serde(default)]
    pub(crate) manifest: Option<Digest>,
    /// The image that it was made from here.
    #[serde(default)]
    pub(crate) parent: Option<ImageId>,
}

impl ImageRecord {
    /// Of an image that came by `manifest`, or was made from `parent` here.
    pub(crate) fn new(manifest: Option<Digest>, parent: Option<ImageId>) -> Self {
        Self { version: VERSION, manifest, parent }
    }
}

/// All names, and when images last got one.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Names {
    #[serde(default)]
    version: u32,
    /// Full names.
    pub(crate) names: BTreeMap<Reference, ImageId>,
    /// When an image got its last name.
    #[serde(default)]
    pub(crate) tagged: BTreeMap<ImageId, Timestamp>,
}

/// A container's writable snapshot, as far as it holds others.
#[derive(Clone, Debug)]
pub(crate) struct Snapshot {
    /// Layers from the bottom.
    pub(crate) layers: Vec<LayerLease>,
    /// Name of the layer with mount points that lies on top of them.
    pub(crate) init: String,
}

impl Snapshot {
    /// Chain ids of its layers, from the bottom.
    pub(crate) fn chain(&self) -> Vec<Digest> {
        let ids: Vec<_> = self.layers.iter().map(|l| l.diff_id().clone()).collect();
        crate::config::chain_ids(&ids)
    }
}

/// What is known.
#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) images: BTreeMap<ImageId, Arc<Image>>,
    pub(crate) names: Names,
    /// By diff id.
    pub(crate) layers: HashMap<Digest, Arc<Layer>>,
    pub(crate) snapshots: HashMap<ContainerId, Snapshot>,
    /// Layers with mount points that processes of builds use, and how many.
    pub(crate) work_inits: HashMap<String, usize>,
}

impl State {
    /// Makes an image anew from its parts and the present names.
    pub(crate) fn describe(
        &self,
        id: &ImageId,
        config: Arc<ImageConfig>,
        record: &ImageRecord,
    ) -> Arc<Image> {
        let names = self.names.names.iter().filter(|(_, named)| *named == id).map(|(name, _)| name.clone());
        let (digests, tags): (Vec<_>, Vec<_>) = names.partition(|name| name.digest().is_some());
        let sizes = config.diff_ids.iter().map(|d| self.layers.get(d).map_or(0, |l| l.record.size));
        let size = sizes.sum();
        Arc::new(Image {
            id: id.clone(),
            config,
            tags,
            digests,
            parent: record.parent.clone(),
            size,
            manifest: record.manifest.clone(),
            last_tagged: self.names.tagged.get(id).copied(),
        })
    }

    /// Follows a change of names.
    pub(crate) fn rename(&mut self, names: Names, touched: &BTreeSet<ImageId>) {
        self.names = names;
        for id in touched {
            if let Some(image) = self.images.get(id) {
                let record = ImageRecord::new(image.manifest.clone(), image.parent.clone());
                let image = self.describe(id, image.config.clone(), &record);
                self.images.insert(id.clone(), image);
            }
        }
    }

    /// The image that a name, an id or the beginning of an id means. An id comes first, as in Docker.
    pub(crate) fn resolve(&self, name: &str) -> Result<ImageId> {
        let missing = || ImageError::NoSuchImage { name: name.to_owned() };
        if let Some(id) = Digest::parse(name).filter(|id| self.images.contains_key(id)) {
            return Ok(id);
        }
        // A whole id is never taken for a name.
        if crate::reference::is_identifier(name) {
            let id = Digest::parse(&format!("sha256:{name}"));
            return id.filter(|id| self.images.contains_key(id)).ok_or_else(missing);
        }
        let by_name = || {
            let reference = Reference::parse(name).ok()?;
            let full = self.names.names.get(&reference.clone().or_latest());
            // A name with tag and digest means the digest; the tag is a remark.
            full.or_else(|| {
                let digest = reference.digest()?.clone();
                self.names.names.get(&reference.repository().with_digest(digest))
            })
            .cloned()
        };
        if let Some(id) = by_name() {
            return Ok(id);
        }
        let prefix = name.strip_prefix("sha256:").unwrap_or(name);
        let is_prefix = !prefix.is_empty() && prefix.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        if !is_prefix {
            return Err(missing());
        }
        let mut found = self.images.keys().filter(|id| id.hex().starts_with(prefix));
        match (found.next(), found.next()) {
            (Some(id), None) => Ok(id.clone()),
            (Some(_), Some(_)) => Err(ImageError::Ambiguous { prefix: prefix.to_owned() }),
            (None, _) => Err(missing()),
        }
    }

    /// Leases on an image's layers, from the bottom.
    pub(crate) fn layers_of(&self, image: &Image) -> Result<Vec<LayerLease>> {
        let lease = |layer: &Digest| match self.layers.get(layer) {
            Some(layer) => Ok(LayerLease(layer.clone())),
            None => Err(ImageError::LayerMissing { image: image.id.clone(), layer: layer.clone() }),
        };
        image.config.diff_ids.iter().map(lease).collect()
    }

    /// Takes out the layers that no image, snapshot or lease holds.
    pub(crate) fn take_unused(&mut self) -> Vec<Arc<Layer>> {
        let used: HashSet<&Digest> = self.images.values().flat_map(|i| &i.config.diff_ids).collect();
        // A lease, of a snapshot too, is a second owner.
        let unused =
            self.layers.iter().filter(|(id, layer)| !used.contains(id) && Arc::strong_count(layer) == 1);
        let unused: Vec<Digest> = unused.map(|(id, _)| id.clone()).collect();
        unused.iter().filter_map(|id| self.layers.remove(id)).collect()
    }

    /// Blobs that an image or a layer names.
    pub(crate) fn named_blobs(&self) -> HashSet<Digest> {
        let images = self.images.values().flat_map(|i| std::iter::once(&i.id).chain(&i.manifest));
        let layers = self.layers.values().flat_map(|l| l.record.blobs.iter().map(|b| &b.digest));
        images.chain(layers).cloned().collect()
    }
}

/// Writes an image's record, durably.
pub(crate) fn write_record(dir: &Path, id: &ImageId, record: &ImageRecord) -> Result<()> {
    let name = format!("{}.json", id.hex());
    let bytes = serde_json::to_vec(record)
        .map_err(|e| ImageError::Record { path: dir.join(&name), detail: e.to_string() })?;
    disk::write_durably(dir, &name, &bytes)
}

/// Removes an image's record, durably.
pub(crate) fn remove_record(dir: &Path, id: &ImageId) -> Result<()> {
    disk::remove_file(&dir.join(format!("{}.json", id.hex())))?;
    disk::sync_dir(dir)
}

/// Reads all images' records.
pub(crate) fn read_records(dir: &Path) -> Result<Vec<(ImageId, ImageRecord)>> {
    let mut records = Vec::new();
    for name in disk::names(dir)? {
        let path = dir.join(&name);
        let id = name.strip_suffix(".json").and_then(|hex| Digest::parse(&format!("sha256:{hex}")));
        let Some(id) = id else {
            // Half a record, of a crash.
            disk::remove_file(&path)?;
            continue;
        };
        let record: ImageRecord = read(&path)?.unwrap_or_default();
        check_version(&path, record.version)?;
        records.push((id, record));
    }
    Ok(records)
}

/// Writes all names, durably.
pub(crate) fn write_names(root: &Path, names: &Names) -> Result<()> {
    let bytes = serde_json::to_vec(&Names { version: VERSION, ..names.clone() })
        .map_err(|e| ImageError::Record { path: root.join(NAMES), detail: e.to_string() })?;
    disk::write_durably(root, NAMES, &bytes)
}

/// Reads all names.
pub(crate) fn read_names(root: &Path) -> Result<Names> {
    let path = root.join(NAMES);
    let names: Names = read(&path)?.unwrap_or_default();
    check_version(&path, names.version)?;
    Ok(names)
}

fn check_version(path: &Path, version: u32) -> Result<()> {
    if version > VERSION {
        let detail = format!("it has version {version}, and {VERSION} is the newest that is known");
        return Err(ImageError::Record { path: path.to_owned(), detail });
    }
    Ok(())
}

fn read<T: for<'de> Deserialize<'de>>(path: &Path) -> Result<Option<T>> {
    let bytes = match std::fs::read(path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        other => other.map_err(|e| ImageError::io("read", path, e))?,
    };
    let parsed = serde_json::from_slice(&bytes);
    parsed.map(Some).map_err(|e| ImageError::Record { path: path.to_owned(), detail: e.to_string() })
}
