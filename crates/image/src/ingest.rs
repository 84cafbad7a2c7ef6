//! The lower half of a pull: layers that arrive as streams of bytes are hashed, unpacked and verified in one go.
//!
//! For `pull.rs` and `push.rs`. Everything here blocks: call it from `spawn_blocking`. Nothing is visible to others
//! until its digests were right; a failed ingest leaves nothing behind.

use crate::{Images, Result, layer::LayerLease, reference::Reference};
use minke_model::{ImageId, id::Digest};
use std::{fs::File, io::Read};

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
    /// Names that shall mean this image from now on: with a tag, or with a digest.
    pub(crate) names: Vec<Reference>,
}

/// What a registration did.
#[derive(Clone, Debug)]
pub(crate) struct Registered {
    /// The image.
    pub(crate) id: ImageId,
    /// Whether anything changed: a new image, or a name that meant something else.
    pub(crate) changed: bool,
}

impl Images {
    /// A lease on the layer with that diff id, if it is here already.
    pub(crate) fn lease_layer(&self, diff_id: &Digest) -> Option<LayerLease> {
        let _ = diff_id;
        todo!()
    }

    /// Takes one layer in: hashes the blob while it is inflated, the tar while it is unpacked, and checks both.
    ///
    /// Reads `stream` to its end, on the calling thread. Several may run at once, in any order. Errors:
    /// `DigestMismatch`, `TooLarge`, `Tar`, `Io`; `Stream` when `stream` itself failed.
    pub(crate) fn ingest_layer(&self, layer: &LayerIngest, stream: impl Read + Send) -> Result<LayerLease> {
        let _ = (layer, stream);
        todo!()
    }

    /// Makes the image known, with its names, durably.
    pub(crate) fn register(&self, image: Registration<'_>) -> Result<Registered> {
        let _ = image;
        todo!()
    }

    /// Keeps a small blob (a manifest, an index) under its digest, which is verified. Not named by an image, it goes
    /// with the next restart.
    pub(crate) fn keep_blob(&self, digest: &Digest, raw: &[u8]) -> Result<()> {
        let _ = (digest, raw);
        todo!()
    }

    /// A small blob's bytes, if it is here: a config, a manifest.
    pub(crate) fn read_blob(&self, digest: &Digest) -> Result<Option<Vec<u8>>> {
        let _ = digest;
        todo!()
    }

    /// A kept blob, opened for reading, and its size; for push and save.
    pub(crate) fn open_blob(&self, digest: &Digest) -> Result<Option<(File, u64)>> {
        let _ = digest;
        todo!()
    }
}
