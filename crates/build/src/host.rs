//! What a build needs of others: of who asked for it ([`Client`]), of the machine ([`Host`]), of who watches
//! ([`Progress`]).
//!
//! Doors implement `Client` and `Progress`; the engine implements `Host`. All may be called from any task.

use crate::{
    error::Result,
    plan::{CopyOp, Git, Http, Parents, RunOp},
    report::Reporter,
    request::{BuildEvent, CacheRef, RunOptions},
};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use minke_image::{ImageConfig, registry::RegistryAuth};
use minke_model::{Timestamp, id::Digest, image::Platform};
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

/// What a step left.
#[derive(Clone, Debug)]
pub struct Left {
    /// Its files.
    pub root: Root,
    /// When it was made: for a cached one, then.
    pub created: Timestamp,
}

/// For whom a step is done.
#[derive(Clone)]
pub struct At {
    /// Who asked.
    pub client: Arc<dyn Client>,
    /// Where what happens is told.
    pub reporter: Reporter,
}

/// An image's configuration, and the digest that its name means in its registry, where it came from one.
#[derive(Clone, Debug)]
pub struct ImageFound {
    /// Of the manifest or index.
    pub digest: Option<Digest>,
    /// Its configuration.
    pub config: Arc<ImageConfig>,
}

/// Which files of a tree are meant.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Selection {
    /// Absolute; a pattern where `pattern`.
    pub path: String,
    /// Wildcards in `path` count.
    pub pattern: bool,
    /// Patterns, relative to what `path` means, of what is left out.
    pub exclude: Vec<String>,
    /// Patterns of what is copied with its directories.
    pub parents: Option<(String, Option<String>)>,
}

impl Selection {
    /// All below one path.
    pub fn plain(path: &str) -> Self {
        Self { path: path.to_owned(), pattern: false, exclude: Vec::new(), parents: None }
    }

    /// Of a copy's source.
    pub fn of_copy(path: &str, pattern: bool, exclude: &[String], parents: Option<&Parents>) -> Self {
        let parents = parents.map(|p| (p.pattern.clone(), p.required.clone()));
        Self { path: path.to_owned(), pattern, exclude: exclude.to_vec(), parents }
    }
}

/// A copy, with the trees that it reads.
#[derive(Clone, Debug)]
pub struct CopyWork {
    /// What is changed.
    pub base: Root,
    /// For each source its tree; nothing for a text.
    pub sources: Vec<Root>,
    /// What to do.
    pub op: CopyOp,
    /// No time in what is made is later.
    pub epoch: Option<i64>,
}

/// A process, with the trees that it reads.
#[derive(Clone, Debug)]
pub struct RunWork {
    /// Its root.
    pub base: Root,
    /// For each mount its tree; nothing for those without.
    pub mounts: Vec<Root>,
    /// What to do.
    pub op: RunOp,
    /// What every process of the build runs with.
    pub options: RunOptions,
    /// No time in what is made is later.
    pub epoch: Option<i64>,
}

/// What a build cache notes of a step.
#[derive(Clone, Debug)]
pub struct About {
    /// As progress shows it.
    pub description: String,
    /// `regular`, `exec.cachemount`…
    pub kind: &'static str,
}

/// What the machine can do for builds. Futures that are dropped stop what they do, and leave nothing.
pub trait Host: Send + Sync + 'static {
    /// This machine's platform.
    fn platform(&self) -> Platform;

    /// Fails where processes of a platform cannot run here.
    fn check_platform(&self, platform: &Platform) -> Result<()>;

    /// An image's configuration: from here, or (with `pull` always) from its registry; of `oci-layout://STORE@DIGEST`
    /// from the client's blobs.
    fn image_config<'a>(
        &'a self,
        reference: &'a str,
        platform: &'a Platform,
        pull: bool,
        at: &'a At,
    ) -> BoxFuture<'a, Result<ImageFound>>;

    /// An image's files.
    fn image<'a>(
        &'a self,
        reference: &'a str,
        platform: &'a Platform,
        at: &'a At,
    ) -> BoxFuture<'a, Result<Left>>;

    /// Files of the client's directory `local`. `what` is shown: `context`, `dockerfile`.
    fn local<'a>(
        &'a self,
        local: &'a str,
        wanted: Wanted,
        what: &'a str,
        at: &'a At,
    ) -> BoxFuture<'a, Result<Root>>;

    /// A fetched file.
    fn http<'a>(&'a self, http: &'a Http, at: &'a At) -> BoxFuture<'a, Result<Root>>;

    /// A fetched repository.
    fn git<'a>(&'a self, git: &'a Git, at: &'a At) -> BoxFuture<'a, Result<Root>>;

    /// A tar, compressed or not, that is the only file of a fetched tree, unpacked; `None` where it is none.
    fn unpack<'a>(&'a self, root: &'a Root, file: &'a str) -> BoxFuture<'a, Result<Option<Root>>>;

    /// A file of a tree, links followed inside of it; `None` where there is none.
    fn read<'a>(
        &'a self,
        root: &'a Root,
        path: &'a str,
        limit: u64,
    ) -> BoxFuture<'a, Result<Option<Vec<u8>>>>;

    /// A digest of what the files are: names, bytes, modes, owners, links, extended attributes; not times.
    fn content<'a>(&'a self, root: &'a Root, selection: &'a Selection) -> BoxFuture<'a, Result<Digest>>;

    /// Copies.
    fn copy<'a>(&'a self, work: CopyWork, at: &'a At) -> BoxFuture<'a, Result<Root>>;

    /// Makes a directory.
    fn directory<'a>(
        &'a self,
        base: Root,
        path: &'a str,
        owner: &'a str,
        epoch: Option<i64>,
    ) -> BoxFuture<'a, Result<Root>>;

    /// Runs a process.
    fn run<'a>(&'a self, work: RunWork, at: &'a At) -> BoxFuture<'a, Result<Root>>;

    /// `above` laid over `below`.
    fn stack(&self, below: &Root, above: &Root) -> Result<Root>;

    /// What the cache has under a key.
    fn find<'a>(&'a self, key: &'a Digest) -> BoxFuture<'a, Option<Left>>;

    /// Puts what a step left into the cache, under each key.
    fn keep<'a>(&'a self, keys: &'a [Digest], left: &'a Left, about: About) -> BoxFuture<'a, Result<()>>;

    /// Makes the records of caches outside known, as far as they can be had. What cannot is only told.
    fn import<'a>(&'a self, caches: &'a [CacheRef], at: &'a At) -> BoxFuture<'a, ()>;
}
