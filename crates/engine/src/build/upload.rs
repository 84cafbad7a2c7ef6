//! A build context that came whole, as a tar in a request: unpacked once, then read as a client's directory.
//!
//! Who sends a context so sends nothing else: no secrets, no agent, and takes no files back.

use super::directory::Directory;
use crate::Images;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use minke_build::{
    BuildError, Result,
    host::{Blobs, Client, Duplex, Files, Incoming, Sent, Wanted},
};
use minke_image::{Chain, Work, registry::RegistryAuth, tree};
use minke_model::Kind;
use rustix::fs::{FileType, Mode, OFlags, ResolveFlags};
use std::{
    collections::{BTreeMap, HashMap},
    fs::File,
    io::{self, Read},
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
    sync::Arc,
};
use tokio::{io::AsyncWrite, sync::mpsc};

/// Bytes of a file that are sent at once.
const CHUNK: usize = 256 << 10;

/// A context that came whole, and the credentials that came with it.
pub struct Upload {
    /// Holds the files; gone with this.
    work: Option<Work>,
    dir: Arc<Path>,
    auths: BTreeMap<String, RegistryAuth>,
}

impl Upload {
    /// Unpacks a tar, compressed or not. Blocking. Names that climb out and links lead nowhere outside (as dockerd, which
    /// unpacks contexts in a chroot).
    pub fn unpack(images: &Images, tar: impl Read + Send) -> Result<Self> {
        let work = images.store().work(&Chain::default())?;
        let dir = work.scratch("context")?;
        let root = open_dir(&dir)?;
        let options = tree::ExtractOptions { owner: Some((0, 0)), climbing: true, ..Default::default() };
        tree::extract(root.as_fd(), "/", tar, &options)?;
        Ok(Self { work: Some(work), dir: dir.into(), auths: BTreeMap::new() })
    }

    /// No files at all.
    pub fn empty() -> Self {
        Self { work: None, dir: Path::new("/nonexistent").into(), auths: BTreeMap::new() }
    }

    /// With credentials, by the registries' names as clients write them (`https://index.docker.io/v1/`).
    pub fn with_auths(mut self, auths: BTreeMap<String, RegistryAuth>) -> Self {
        self.auths = auths.into_iter().map(|(name, auth)| (host(&name).to_owned(), auth)).collect();
        self
    }

    /// A file of up to `limit` bytes; `None` where there is none of that name. Blocking.
    pub fn read(&self, path: &str, limit: u64) -> Result<Option<Vec<u8>>> {
        if self.work.is_none() {
            return Ok(None);
        }
        let failed = |e: rustix::io::Errno| BuildError::Io {
            what: format!("read {path} of the build context"),
            source: e.into(),
        };
        let root = open_dir(&self.dir)?;
        // Found first, by a descriptor that opens nothing: a context may hold devices and pipes.
        let found = match inside(&root, path, OFlags::PATH) {
            Ok(found) => found,
            Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR) => return Ok(None),
            Err(e) => return Err(failed(e)),
        };
        let stat = rustix::fs::fstat(&found).map_err(failed)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(BuildError::invalid(format!("{path} of the build context is not a regular file")));
        }
        if stat.st_size as u64 > limit {
            return Err(BuildError::invalid(format!(
                "{path} of the build context is larger than {limit} bytes"
            )));
        }
        let file = File::from(inside(&root, path, OFlags::RDONLY).map_err(failed)?);
        let mut bytes = Vec::new();
        let read = file.take(limit).read_to_end(&mut bytes);
        read.map_err(BuildError::io(format!("read {path} of the build context")))?;
        Ok(Some(bytes))
    }
}

/// Docker Hub's credentials are kept under its index's address; others under a host or an address.
fn host(name: &str) -> &str {
    let bare = name.split_once("://").map_or(name, |(_, rest)| rest);
    match bare.split('/').next().unwrap_or(bare) {
        "index.docker.io" | "registry-1.docker.io" => "docker.io",
        host => host,
    }
}

fn open_dir(path: &Path) -> Result<OwnedFd> {
    rustix::fs::open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .map_err(|e| BuildError::Io { what: format!("open {}", path.display()), source: e.into() })
}

fn inside(root: &OwnedFd, path: &str, flags: OFlags) -> rustix::io::Result<OwnedFd> {
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    rustix::fs::openat2(root, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve)
}

fn only_files(what: &str) -> BuildError {
    BuildError::unsupported(format!("{what} needs BuildKit: a build whose context comes as a tar has none"))
}

impl Client for Upload {
    fn key(&self, local: &str) -> String {
        // No two are the same directory.
        format!("upload:{}:{local}", self.dir.display())
    }

    fn sync<'a>(&'a self, _: &'a str, wanted: Wanted, into: Incoming) -> BoxFuture<'a, Result<()>> {
        let dir = self.work.is_some().then(|| self.dir.clone());
        Box::pin(async move {
            let sent = tokio::task::spawn_blocking(move || send(dir.as_deref(), &wanted, into)).await;
            sent.map_err(|e| {
                BuildError::other(Kind::Internal, format!("reading the build context ended: {e}"))
            })?
        })
    }

    fn secret<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<Option<Vec<u8>>>> {
        Box::pin(async { Ok(None) })
    }

    fn has_ssh<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<bool>> {
        Box::pin(async { Ok(false) })
    }

    fn ssh<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<Box<dyn Duplex>>> {
        Box::pin(async { Err(only_files("an ssh agent")) })
    }

    fn auth<'a>(&'a self, registry: &'a str) -> BoxFuture<'a, Result<Option<RegistryAuth>>> {
        let found = self.auths.get(host(registry)).cloned();
        Box::pin(async move { Ok(found) })
    }

    fn send_tar<'a>(
        &'a self,
        _: &'a str,
        _: BTreeMap<String, String>,
    ) -> BoxFuture<'a, Result<Box<dyn AsyncWrite + Send + Unpin>>> {
        Box::pin(async { Err(only_files("sending a result back")) })
    }

    fn send_files<'a>(&'a self, _: &'a str, _: Arc<dyn Files>) -> BoxFuture<'a, Result<()>> {
        Box::pin(async { Err(only_files("sending a result back")) })
    }

    fn blobs(&self, _: &str) -> Option<Arc<dyn Blobs>> {
        None
    }
}

/// Sends a directory: entries, then the bytes of those that are wanted.
fn send(dir: Option<&Path>, wanted: &Wanted, into: Incoming) -> Result<()> {
    let Incoming { send, wanted: mut asked } = into;
    let mut files: HashMap<u32, PathBuf> = HashMap::new();
    let gone = || BuildError::Cancelled;
    if let Some(dir) = dir {
        let mut count = 0;
        let walked = Directory::new(dir, wanted)?.walk(&mut |entry| {
            if entry.link.is_none() && FileType::from_raw_mode(entry.mode) == FileType::RegularFile {
                files.insert(count, dir.join(&entry.path));
            }
            count += 1;
            send.blocking_send(Sent::Entry(entry)).map_err(|_| io::ErrorKind::BrokenPipe.into())
        });
        match walked {
            Err(e) if e.kind() == io::ErrorKind::BrokenPipe => return Err(gone()),
            walked => walked.map_err(BuildError::io("read the build context"))?,
        }
    }
    send.blocking_send(Sent::Listed).map_err(|_| gone())?;
    while let Some(entry) = asked.blocking_recv() {
        if let Some(path) = files.get(&entry) {
            bytes(path, entry, &send)?;
            send.blocking_send(Sent::End { entry }).map_err(|_| gone())?;
        }
    }
    send.blocking_send(Sent::Finished).map_err(|_| gone())
}

fn bytes(path: &Path, entry: u32, send: &mpsc::Sender<Sent>) -> Result<()> {
    let failed = |e: io::Error| BuildError::Io { what: format!("read {}", path.display()), source: e };
    let mut file = File::open(path).map_err(failed)?;
    loop {
        let mut chunk = vec![0; CHUNK];
        let n = file.read(&mut chunk).map_err(failed)?;
        if n == 0 {
            return Ok(());
        }
        chunk.truncate(n);
        send.blocking_send(Sent::Data { entry, bytes: Bytes::from(chunk) })
            .map_err(|_| BuildError::Cancelled)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn only_what_is_asked_for_comes_with_its_bytes() {
        let root = std::env::temp_dir().join(format!("minke-upload-{}", std::process::id()));
        fs::create_dir_all(&root).unwrap();
        fs::write(root.join("a"), "one").unwrap();
        fs::write(root.join("b"), "two").unwrap();
        let (into, mut sent) = mpsc::channel(100);
        let (ask, asked) = mpsc::unbounded_channel();
        ask.send(1).unwrap();
        drop(ask);
        send(Some(&root), &Wanted::default(), Incoming { send: into, wanted: asked }).unwrap();
        fs::remove_dir_all(&root).unwrap();
        let mut said = Vec::new();
        while let Ok(one) = sent.try_recv() {
            said.push(match one {
                Sent::Entry(entry) => entry.path,
                Sent::Data { entry, bytes } => format!("{entry}: {}", String::from_utf8_lossy(&bytes)),
                Sent::End { entry } => format!("{entry} ends"),
                other => format!("{other:?}"),
            });
        }
        assert_eq!(said, ["a", "b", "Listed", "1: two", "1 ends", "Finished"]);
    }

    #[test]
    fn credentials_are_found_by_host() {
        assert_eq!(host("https://index.docker.io/v1/"), "docker.io");
        assert_eq!(host("http://localhost:5000/v2/"), "localhost:5000");
        assert_eq!(host("quay.io"), "quay.io");
    }
}
