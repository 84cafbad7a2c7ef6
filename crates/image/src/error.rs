//! What can go wrong with images: typed, with data; the sentences of Docker's clients are `api`'s.

use crate::{reference::ReferenceError, registry::RegistryError};
use minke_model::{ContainerId, ImageId, Kind, id::Digest};
use std::{io, path::PathBuf};

/// A failure of this room.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// No image has that name or id.
    #[error("no such image: {name}")]
    NoSuchImage {
        /// As asked.
        name: String,
    },
    /// Nothing here has that name, so there is nothing to push. dockerd's sentence.
    #[error("An image does not exist locally with the tag: {repository}")]
    NothingToPush {
        /// As people write it.
        repository: String,
    },
    /// There is something to push by that name, but not this. dockerd's sentence.
    #[error("tag does not exist: {reference}")]
    NoSuchTag {
        /// As people write it.
        reference: String,
    },
    /// Several ids begin so.
    #[error("image id prefix {prefix} is ambiguous")]
    Ambiguous {
        /// As asked.
        prefix: String,
    },
    /// A name breaks the grammar.
    #[error(transparent)]
    Reference(#[from] ReferenceError),
    /// A registry refused, could not be reached, or sent something wrong.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// No snapshot has that key.
    #[error("no root filesystem of container {container}")]
    NoSuchSnapshot {
        /// The key.
        container: ContainerId,
    },
    /// The key is taken.
    #[error("container {container} has a root filesystem already")]
    SnapshotExists {
        /// The key.
        container: ContainerId,
    },
    /// The kernel refused.
    #[error("cannot {what}: {source}")]
    Io {
        /// What was tried on what.
        what: String,
        /// Why not.
        source: io::Error,
    },
    /// A tar is damaged or breaks a rule.
    #[error("invalid tar{}: {detail}", of(entry))]
    Tar {
        /// The entry's name, as far as known.
        entry: String,
        /// Which rule.
        detail: String,
    },
    /// Something is larger than is sane: a decompression bomb, or a lie.
    #[error("{what} exceeds the limit of {limit}")]
    TooLarge {
        /// Bytes or entries of what.
        what: String,
        /// How many are allowed.
        limit: u64,
    },
    /// Content is not what its digest says.
    #[error("{what} has digest {actual}, expected {expected}")]
    DigestMismatch {
        /// Of what.
        what: String,
        /// As said.
        expected: Digest,
        /// As computed.
        actual: Digest,
    },
    /// An image's configuration cannot be used.
    #[error("invalid image config: {detail}")]
    Config {
        /// Why.
        detail: String,
    },
    /// A Dockerfile instruction that is wrong or not allowed; in Docker's words.
    #[error("{detail}")]
    Instruction {
        /// Why.
        detail: String,
    },
    /// An archive has not the parts that an image needs.
    #[error("invalid image archive: {detail}")]
    Archive {
        /// Why.
        detail: String,
    },
    /// A layer of an image is not here.
    #[error("layer {layer} of image {image} is missing")]
    LayerMissing {
        /// Whose.
        image: ImageId,
        /// Its diff id.
        layer: Digest,
    },
    /// A layer's files no longer give the tar that they came from.
    #[error("layer {layer} cannot be rebuilt: {detail}")]
    LayerDamaged {
        /// Its diff id.
        layer: Digest,
        /// What was found.
        detail: String,
    },
    /// A path inside a root leads to nothing.
    #[error("no such file or directory: {path}")]
    NoSuchPath {
        /// As asked.
        path: String,
    },
    /// A path inside a root leads to something of the wrong sort.
    #[error("{detail}: {path}")]
    WrongPath {
        /// As asked.
        path: String,
        /// What is wrong.
        detail: String,
    },
    /// A directory holds something other than images of ours.
    #[error("{} is not an image directory of this program: {detail}", path.display())]
    ForeignRoot {
        /// Which.
        path: PathBuf,
        /// What was found.
        detail: String,
    },
    /// A record is damaged.
    #[error("cannot read record {}: {detail}", path.display())]
    Record {
        /// Where it lies.
        path: PathBuf,
        /// What is wrong.
        detail: String,
    },
    /// The stream that was read from or written to failed: the client's or the registry's.
    #[error("cannot {what}: {source}")]
    Stream {
        /// What was tried.
        what: String,
        /// Why not.
        source: io::Error,
    },
}

impl ImageError {
    /// Its sort, for programs.
    pub fn kind(&self) -> Kind {
        match self {
            ImageError::NothingToPush { .. }
            | ImageError::NoSuchTag { .. }
            | ImageError::NoSuchImage { .. }
            | ImageError::NoSuchSnapshot { .. }
            | ImageError::NoSuchPath { .. } => Kind::NotFound,
            ImageError::Reference(e) => e.kind(),
            ImageError::Registry(e) => e.kind(),
            ImageError::Ambiguous { .. }
            | ImageError::Tar { .. }
            | ImageError::TooLarge { .. }
            | ImageError::DigestMismatch { .. }
            | ImageError::Config { .. }
            | ImageError::Archive { .. }
            | ImageError::Instruction { .. }
            | ImageError::WrongPath { .. } => Kind::Invalid,
            ImageError::SnapshotExists { .. } => Kind::Conflict,
            ImageError::LayerMissing { .. } | ImageError::LayerDamaged { .. } | ImageError::Record { .. } => {
                Kind::DataLoss
            }
            ImageError::Io { source, .. } if is_full(source) => Kind::Exhausted,
            ImageError::Io { .. } | ImageError::ForeignRoot { .. } => Kind::Internal,
            ImageError::Stream { .. } => Kind::Cancelled,
        }
    }

    /// What reading a stream failed with: what a decompressor finds wrong is the archive's fault, the rest the
    /// stream's.
    pub(crate) fn reading(source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput | io::ErrorKind::UnexpectedEof => {
                ImageError::Tar { entry: String::new(), detail: source.to_string() }
            }
            _ => ImageError::Stream { what: "read the archive".into(), source },
        }
    }

    /// An [`ImageError::Io`] about a path: `cannot open /x: …`.
    pub(crate) fn io(verb: &str, path: impl AsRef<std::path::Path>, source: impl Into<io::Error>) -> Self {
        ImageError::Io { what: format!("{verb} {}", path.as_ref().display()), source: source.into() }
    }
}

fn of(entry: &str) -> String {
    if entry.is_empty() { String::new() } else { format!(" entry {entry:?}") }
}

/// Whether the disk, or a quota on it, is full.
fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// The result of this room's functions.
pub type Result<T> = std::result::Result<T, ImageError>;
