//! Layers: one unpacked tree for each diff id, shared by all images that have it.

use minke_model::id::Digest;

/// Keeps a layer from being removed until it is dropped.
#[derive(Debug)]
pub struct LayerLease {
    diff_id: Digest,
}

impl LayerLease {
    /// Of which layer.
    pub fn diff_id(&self) -> &Digest {
        &self.diff_id
    }
}
