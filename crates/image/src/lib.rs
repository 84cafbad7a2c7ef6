//! Images: from a name to a root filesystem.
//!
//! Keeps images by the digests of their configs, layers as unpacked overlayfs directories by their diff ids, and a
//! writable snapshot for each container. Reads and writes the archives of `docker save` and the OCI layout, and
//! pulls from registries. Start at `images.rs`.
//!
//! Never: knows what a container is beyond its id, decides whether an image may go (the engine does), writes outside
//! of its own directory, or opens a path inside of a root other than by openat2(2).

pub mod error;
mod ingest;
mod layer;
pub mod platform;
pub mod progress;
pub mod reference;

pub use error::{ImageError, Result};
pub use progress::{Progress, ProgressEvent, Quiet};
pub use reference::Reference;

/// All images of this machine. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Images;
