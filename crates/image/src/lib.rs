//! Images: from a name to a root filesystem.
//!
//! Keeps images by the digests of their configs, layers as unpacked overlayfs directories by their diff ids, and a
//! writable snapshot for each container. Reads and writes the archives of `docker save` and the OCI layout, and
//! pulls from registries. Start at `images.rs`.
//!
//! Never: knows what a container is beyond its id, decides whether an image may go (the engine does), writes outside
//! of its own directory, or opens a path inside of a root other than by openat2(2).

mod archive;
pub mod changes;
mod commit;
pub mod config;
mod content;
mod decompress;
mod diff;
mod disk;
pub mod error;
mod gc;
mod gzip;
mod images;
mod import;
mod ingest;
mod layer;
mod manifest;
mod path;
mod pipe;
pub mod platform;
pub mod progress;
pub mod pull;
pub mod push;
mod recipe;
pub mod reference;
pub mod registry;
mod snapshot;
mod state;
mod tarball;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod transfer;
mod trash;
pub mod tree;
mod unpack;
pub mod verify;
pub mod web;
mod whereabouts;
mod whiteout;
pub mod work;

pub use archive::Loaded;
pub use commit::CommitRequest;
pub use config::{History, ImageConfig};
pub use error::{ImageError, Result};
pub use images::{Image, Images};
pub use import::ImportRequest;
pub(crate) use layer::LayerLease;
pub use progress::{Progress, ProgressEvent, Quiet};
pub use pull::{PullRequest, Pulled};
pub use reference::Reference;
pub use snapshot::{Change, ChangeKind, Rootfs};
pub use work::{BlobForm, Chain, Work};
