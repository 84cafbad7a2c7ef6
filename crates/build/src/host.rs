//! What a build needs of others: of who asked for it ([`Client`]), of the machine ([`Host`]), of who watches
//! ([`Progress`]).
//!
//! Doors implement `Client` and `Progress`; the engine implements `Host`. All may be called from any task.

use crate::{error::Result, request::BuildEvent};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use minke_image::registry::RegistryAuth;
use minke_model::id::Digest;
use std::{
    any::Any,
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::mpsc,
};

/// Watches a build. Never blocks: what cannot be shown in time is the watcher's to thin out.
pub trait Progress: Send + Sync {
    /// Something happened.
    fn report(&self, event: BuildEvent);
}

/// Nobody watches.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unwatched;

impl Progress for Unwatched {
    fn report(&self, _: BuildEvent) {}
}

/// Both directions of a stream.
pub trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// Which files of a client's directory are wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Patterns of what is wanted (BuildKit's `include-patterns`); empty is all.
    pub include: Vec<String>,
    /// Patterns of what is not (`.dockerignore`'s rules).
    pub exclude: Vec<String>,
    /// Paths that are wanted with what links on the way lead to (`followpaths`); empty is none besides.
    pub follow: Vec<String>,
}

/// Who asked for a build. What one cannot do is refused with a sentence; a client's end drops the build's future.
pub trait Client: Send + Sync {
    /// What its directory `local` is kept under between builds: who sends the same key again sends much the same files.
    fn key(&self, local: &str) -> String;

    /// Sends its directory `local`: each entry, directories before what is in them, in the order of a walk, then
    /// [`Sent::Listed`]; the bytes of entries that [`Incoming::wanted`] names, whenever (who cannot wait may send all:
    /// what is not wanted is dropped); once that has ended, [`Sent::Finished`].
    fn sync<'a>(&'a self, local: &'a str, wanted: Wanted, into: Incoming) -> BoxFuture<'a, Result<()>>;

    /// A secret; `None` where it has none of that name.
    fn secret<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<Option<Vec<u8>>>>;

    /// Whether it forwards an ssh agent by that name.
    fn has_ssh<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<bool>>;

    /// A new connection to its ssh agent.
    fn ssh<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<Box<dyn Duplex>>>;

    /// Its credentials for a registry (`docker.io`, `localhost:5000`).
    fn auth<'a>(&'a self, registry: &'a str) -> BoxFuture<'a, Result<Option<RegistryAuth>>>;

    /// Where the bytes of a `tar`, `oci` or `docker` export go. Shutting it down ends the export, and waits until the
    /// client has all.
    fn send_tar<'a>(
        &'a self,
        exporter: &'a str,
        metadata: BTreeMap<String, String>,
    ) -> BoxFuture<'a, Result<Box<dyn AsyncWrite + Send + Unpin>>>;

    /// Takes the files of a `local` export.
    fn send_files<'a>(&'a self, exporter: &'a str, files: Arc<dyn Files>) -> BoxFuture<'a, Result<()>>;

    /// A store of blobs on its side, for caches of type `local` and contexts of type `oci-layout`.
    fn blobs(&self, store: &str) -> Option<Arc<dyn Blobs>>;
}

/// Blobs on the client's side (`containerd.services.content.v1`).
pub trait Blobs: Send + Sync {
    /// All bytes of one; an error of kind `NotFound` where there is none.
    fn read<'a>(&'a self, digest: &'a Digest, limit: u64) -> BoxFuture<'a, Result<Bytes>>;
    /// Whether it is there.
    fn has<'a>(&'a self, digest: &'a Digest) -> BoxFuture<'a, Result<bool>>;
    /// Writes one from a file of that size.
    fn write<'a>(&'a self, digest: &'a Digest, size: u64, from: PathBuf) -> BoxFuture<'a, Result<()>>;
}

/// Files to send. Blocking: for threads that may block.
pub trait Files: Send + Sync {
    /// Tells each entry in the order of a walk (directories before what is in them, names in byte order).
    fn walk(&self, each: &mut dyn FnMut(Entry) -> std::io::Result<()>) -> std::io::Result<()>;
    /// Opens a regular file that `walk` told of.
    fn open(&self, path: &str) -> std::io::Result<std::fs::File>;
}

/// An entry of a directory, as clients send and take it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// Relative, clean, with `/`: `src/main.rs`. Never empty.
    pub path: String,
    /// As stat(2) has it: type and permission bits. (BuildKit sends Go's `os.FileMode`: the door translates.)
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Bytes of a regular file.
    pub size: u64,
    /// Changed, in nanoseconds since 1970.
    pub mtime: i64,
    /// What a symbolic link says; of a regular file, the earlier entry that it is a hard link to (then no bytes come).
    pub link: Option<String>,
    /// Of a device.
    pub major: u32,
    /// Of a device.
    pub minor: u32,
    /// Extended attributes.
    pub xattrs: BTreeMap<String, Vec<u8>>,
}

/// What a client sends of a directory.
#[derive(Clone, Debug)]
pub enum Sent {
    /// The next entry; they are numbered from 0.
    Entry(Entry),
    /// Bytes of a regular file, in order. Files may take turns.
    Data {
        /// The number of its entry.
        entry: u32,
        /// Not empty.
        bytes: Bytes,
    },
    /// A file has all its bytes.
    End {
        /// The number of its entry.
        entry: u32,
    },
    /// There is no further entry: from now on only bytes of files that are wanted.
    Listed,
    /// All was sent. Without it what came is not used.
    Finished,
}

/// The near end of a client's directory: bounded, so that a client waits for the disk.
#[derive(Debug)]
pub struct Incoming {
    /// What comes.
    pub send: mpsc::Sender<Sent>,
    /// Numbers of entries whose bytes are wanted; ends, after [`Sent::Listed`], when no further one is.
    pub wanted: mpsc::UnboundedReceiver<u32>,
}

/// A file tree on this machine, kept as long as this is.
#[derive(Clone)]
pub enum Root {
    /// Layers, from the bottom, by the digests of their tars.
    Layers {
        /// None is an empty tree.
        chain: Arc<[Digest]>,
        /// Whatever keeps them.
        keep: Arc<dyn Any + Send + Sync>,
    },
    /// A directory: a context, a fetched file or repository.
    Directory {
        /// Where.
        path: Arc<Path>,
        /// Whatever keeps it.
        keep: Arc<dyn Any + Send + Sync>,
    },
}

impl Root {
    /// Nothing.
    pub fn empty() -> Self {
        Root::Layers { chain: Arc::new([]), keep: Arc::new(()) }
    }

    /// Its layers, from the bottom; of a directory none.
    pub fn chain(&self) -> &[Digest] {
        match self {
            Root::Layers { chain, .. } => chain,
            Root::Directory { .. } => &[],
        }
    }
}

impl fmt::Debug for Root {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Root::Layers { chain, .. } => f.debug_tuple("Layers").field(chain).finish(),
            Root::Directory { path, .. } => f.debug_tuple("Directory").field(path).finish(),
        }
    }
}
