//! The lower half of a pull: layers that arrive as streams of bytes are hashed, unpacked and verified in one go.
//!
//! For `pull.rs` and `push.rs`. Everything here blocks: call it from `spawn_blocking`. Nothing is visible to others
//! until its digests were right; a failed ingest leaves nothing behind.

use crate::{
    ImageError, Images, Result,
    config::{self, ImageConfig},
    layer::{LayerLease, Pending},
    reference::Reference,
    state::ImageRecord,
};
use minke_model::{ImageId, id::Digest};
use std::io::Read;

/// A layer that is about to arrive.
#[derive(Clone, Debug)]
pub(crate) struct LayerIngest {
    /// Of the uncompressed tar, as the image's config says.
    pub(crate) diff_id: Digest,
    /// Of the blob as it arrives, as the manifest says.
    pub(crate) blob: Digest,
    /// Bytes of the blob, as the manifest says; a longer stream is refused.
    pub(crate) size: u64,
    /// As the manifest says. The compression itself is found out from the bytes.
    pub(crate) media_type: String,
    /// Whether the blob is kept as received, beside the unpacked tree.
    pub(crate) keep_blob: bool,
}

/// An image whose layers have all arrived.
pub(crate) struct Registration<'a> {
    /// The image's config, byte for byte: its digest is the image's id.
    pub(crate) config: &'a [u8],
    /// A lease for each of the config's `rootfs.diff_ids`, from the bottom.
    pub(crate) layers: Vec<LayerLease>,
    /// The manifest that it came by, byte for byte; it is kept.
    pub(crate) manifest: Option<&'a [u8]>,
    /// The image that it was made from here; `None` for what came from elsewhere.
    pub(crate) parent: Option<ImageId>,
    /// Names that shall mean this image from now on: with a tag, or with a digest.
    pub(crate) names: Vec<Reference>,
}

impl Images {
    /// A lease on the layer with that diff id, if it is here already.
    pub(crate) fn lease_layer(&self, diff_id: &Digest) -> Option<LayerLease> {
        self.0.state().layers.get(diff_id).cloned().map(LayerLease)
    }

    /// Takes one layer in: hashes the blob while it is inflated, the tar while it is unpacked, and checks both.
    ///
    /// Reads `stream` to its end, on the calling thread. Several may run at once, in any order. Errors:
    /// `DigestMismatch`, `TooLarge`, `Tar`, `Io`; `Stream` when `stream` itself failed.
    pub(crate) fn ingest_layer(&self, layer: &LayerIngest, stream: impl Read + Send) -> Result<LayerLease> {
        let keep = layer.keep_blob.then(|| layer.media_type.clone());
        let (dir, limits) = (self.0.ingest_dir(), self.0.limits()?);
        let pending = Pending::unpack_blob(dir, stream, layer.size, keep, limits, Some(&layer.blob))?;
        check("a layer's blob", &layer.blob, &pending.blob)?;
        check("a layer's content", &layer.diff_id, &pending.diff_id)?;
        // One sync for all of an image's layers comes with the image.
        self.0.place_unsynced(pending)
    }

    /// Makes the image known, with its names, durably. Whether anything changed: a new image, or a name that meant
    /// something else.
    pub(crate) fn register(&self, image: Registration<'_>) -> Result<bool> {
        let config = ImageConfig::parse(image.config)?;
        let id = config.id();
        if !image.layers.iter().map(LayerLease::diff_id).eq(&config.diff_ids) {
            return Err(ImageError::Config {
                detail: "its layers are others than the ones that arrived".into(),
            });
        }
        let _writing = self.0.writing();
        let manifest = image.manifest.map(config::digest);
        if let (Some(digest), Some(raw)) = (&manifest, image.manifest) {
            self.0.content.put(digest, raw)?;
        }
        let new = self.0.add_image(config, ImageRecord::new(manifest, image.parent))?;
        let renamed = !image.names.is_empty() && self.0.set_names(&id, &image.names)?;
        Ok(new || renamed)
    }

    /// Keeps a small blob (a manifest, an index) under its digest, which is verified. Not named by an image, it goes
    /// with the next restart.
    pub(crate) fn keep_blob(&self, digest: &Digest, raw: &[u8]) -> Result<()> {
        self.0.content.put(digest, raw)
    }

    /// A small blob's bytes, if it is here: a config, a manifest.
    pub(crate) fn read_blob(&self, digest: &Digest) -> Result<Option<Vec<u8>>> {
        self.0.content.read(digest)
    }
}

fn check(what: &str, expected: &Digest, actual: &Digest) -> Result<()> {
    if expected == actual {
        return Ok(());
    }
    Err(ImageError::DigestMismatch { what: what.into(), expected: expected.clone(), actual: actual.clone() })
}
