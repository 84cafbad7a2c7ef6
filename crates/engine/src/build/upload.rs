//! A build context that came whole, as a tar in a request: unpacked once, then read as a client's directory.
//!
//! Who sends a context so sends nothing else: no secrets, no agent, and takes no files back.

use super::{
    error::{BuildError, Result},
    host::{Blobs, Client, Duplex, Entry, Files, Incoming, Sent, Wanted},
};
use crate::Images;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use minke_build::ignore::{Above, Ignore};
use minke_image::{Chain, Work, registry::RegistryAuth, tree};
use minke_model::Kind;
use rustix::fs::{FileType, Mode, OFlags, ResolveFlags};
use std::{
    collections::{BTreeMap, HashMap},
    fs::{self, File},
    io::{self, Read},
    os::{
        fd::{AsFd, OwnedFd},
        unix::{ffi::OsStrExt as _, fs::MetadataExt as _},
    },
    path::{Path, PathBuf},
    sync::Arc,
};
use tokio::{io::AsyncWrite, sync::mpsc};

/// Bytes of a file that are sent at once.
const CHUNK: usize = 256 << 10;

/// Directories inside of each other that are walked.
const MAX_DEPTH: usize = 512;

/// A context that came whole, and the credentials that came with it.
pub struct Upload {
    /// Holds the files; gone with this.
    work: Option<Work>,
    dir: Arc<Path>,
    auths: BTreeMap<String, RegistryAuth>,
}

impl Upload {
    /// Unpacks a tar, compressed or not. Blocking. Names that climb out are refused, links lead nowhere outside.
    pub fn unpack(images: &Images, tar: impl Read + Send) -> Result<Self> {
        let work = images.store().work(&Chain::default())?;
        let dir = work.scratch("context")?;
        let root = open_dir(&dir)?;
        let options = tree::ExtractOptions { owner: Some((0, 0)), ..Default::default() };
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
    rustix::fs::openat2(root, path, flags | OFlags::CLOEXEC | OFlags::NONBLOCK, Mode::empty(), resolve)
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
    let invalid = |e: minke_build::ignore::IgnoreError| BuildError::invalid(e.to_string());
    let mut include = wanted.include.clone();
    if !include.is_empty() {
        // What links lead to is not worked out: the parts that are named are sent whole.
        include.extend(wanted.follow.iter().cloned());
    }
    let mut walk = Walk {
        send,
        exclude: Ignore::new(&wanted.exclude).map_err(invalid)?,
        include: Ignore::new(&include).map_err(invalid)?,
        files: HashMap::new(),
        links: HashMap::new(),
        waiting: Vec::new(),
        count: 0,
    };
    let gone = || BuildError::Cancelled;
    if let Some(dir) = dir {
        walk.directory(dir, "", &Above::default(), &Above::default(), true)?;
    }
    walk.send.blocking_send(Sent::Listed).map_err(|_| gone())?;
    while let Some(entry) = asked.blocking_recv() {
        if let Some(path) = walk.files.get(&entry) {
            bytes(path, entry, &walk.send)?;
            walk.send.blocking_send(Sent::End { entry }).map_err(|_| gone())?;
        }
    }
    walk.send.blocking_send(Sent::Finished).map_err(|_| gone())
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

/// A walk over a directory that nobody else changes.
struct Walk {
    send: mpsc::Sender<Sent>,
    exclude: Ignore,
    include: Ignore,
    /// Regular files by the number of their entry.
    files: HashMap<u32, PathBuf>,
    /// The first name of files with several.
    links: HashMap<(u64, u64), String>,
    /// Directories that are sent once something in them is.
    waiting: Vec<Entry>,
    count: u32,
}

impl Walk {
    /// `taken`: what is in it is wanted unless something excludes it.
    fn directory(&mut self, dir: &Path, below: &str, out: &Above, into: &Above, root: bool) -> Result<()> {
        let failed = |e: io::Error| BuildError::Io { what: format!("read {}", dir.display()), source: e };
        if below.matches('/').count() > MAX_DEPTH {
            return Err(BuildError::invalid(
                "the build context has too many directories inside of each other",
            ));
        }
        let mut names = Vec::new();
        for entry in fs::read_dir(dir).map_err(failed)? {
            names.push(entry.map_err(failed)?.file_name());
        }
        names.sort_by(|a, b| a.as_bytes().cmp(b.as_bytes()));
        for name in names {
            let path = dir.join(&name);
            let Some(text) = name.to_str() else {
                return Err(BuildError::invalid(format!(
                    "the build context has a name that is not UTF-8: {name:?}"
                )));
            };
            let relative = if root { text.to_owned() } else { format!("{below}/{text}") };
            let meta = fs::symlink_metadata(&path).map_err(failed)?;
            let (excluded, out) = self.exclude.matches_below(&relative, out);
            let (mut included, into) = self.include.matches_below(&relative, into);
            included |= self.include.is_empty();
            let entry = self.entry(&relative, &path, &meta)?;
            if !meta.is_dir() {
                if included && !excluded {
                    self.tell(entry, &path, &meta)?;
                }
                continue;
            }
            if excluded && !self.exclude.may_keep_below(&relative) {
                continue;
            }
            let held = self.waiting.len();
            if included && !excluded {
                self.tell(entry, &path, &meta)?;
            } else {
                self.waiting.push(entry);
            }
            self.directory(&path, &relative, &out, &into, false)?;
            self.waiting.truncate(held);
        }
        Ok(())
    }

    fn entry(&self, relative: &str, path: &Path, meta: &fs::Metadata) -> Result<Entry> {
        let mut entry = Entry {
            path: relative.to_owned(),
            mode: meta.mode(),
            uid: meta.uid(),
            gid: meta.gid(),
            mtime: meta.mtime().saturating_mul(1_000_000_000).saturating_add(meta.mtime_nsec()),
            ..Entry::default()
        };
        if meta.is_symlink() {
            let target =
                fs::read_link(path).map_err(BuildError::io(format!("read the link {}", path.display())))?;
            entry.link = Some(target.to_string_lossy().into_owned());
        } else if meta.is_file() {
            entry.size = meta.len();
        } else if !meta.is_dir() {
            (entry.major, entry.minor) = (rustix::fs::major(meta.rdev()), rustix::fs::minor(meta.rdev()));
        }
        Ok(entry)
    }

    fn tell(&mut self, mut entry: Entry, path: &Path, meta: &fs::Metadata) -> Result<()> {
        for directory in std::mem::take(&mut self.waiting) {
            self.put(directory)?;
        }
        if meta.is_file() {
            let known = (meta.nlink() > 1).then(|| self.links.get(&(meta.dev(), meta.ino()))).flatten();
            match known {
                Some(first) => entry.link = Some(first.clone()),
                None => {
                    self.files.insert(self.count, path.to_owned());
                    self.links.insert((meta.dev(), meta.ino()), entry.path.clone());
                }
            }
        }
        self.put(entry)
    }

    fn put(&mut self, entry: Entry) -> Result<()> {
        self.count += 1;
        self.send.blocking_send(Sent::Entry(entry)).map_err(|_| BuildError::Cancelled)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(files: &[&str], wanted: Wanted) -> Vec<String> {
        let root = std::env::temp_dir().join(format!("minke-upload-{}-{:p}", std::process::id(), files));
        for file in files {
            let path = root.join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, file).unwrap();
        }
        let (send_end, mut sent) = mpsc::channel(1000);
        let (ask, asked) = mpsc::unbounded_channel();
        drop(ask);
        send(Some(&root), &wanted, Incoming { send: send_end, wanted: asked }).unwrap();
        fs::remove_dir_all(&root).unwrap();
        let mut names = Vec::new();
        let mut finished = false;
        while let Ok(one) = sent.try_recv() {
            match one {
                Sent::Entry(entry) => names.push(entry.path),
                Sent::Finished => finished = true,
                _ => {}
            }
        }
        assert!(finished);
        names
    }

    #[test]
    fn a_walk_leaves_out_what_is_not_wanted_and_keeps_the_way_to_what_is() {
        let files = ["a/b/keep", "a/b/drop", "c", "Dockerfile"];
        let all = listed(&files, Wanted::default());
        assert_eq!(all, ["Dockerfile", "a", "a/b", "a/b/drop", "a/b/keep", "c"]);
        let words = |words: &[&str]| words.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>();
        let exclude = Wanted { exclude: words(&["a", "!a/b/keep"]), ..Wanted::default() };
        assert_eq!(listed(&files, exclude), ["Dockerfile", "a", "a/b", "a/b/keep", "c"]);
        let include = Wanted { include: words(&["Dockerfile", ".dockerignore"]), ..Wanted::default() };
        assert_eq!(listed(&files, include), ["Dockerfile"]);
    }

    #[test]
    fn credentials_are_found_by_host() {
        assert_eq!(host("https://index.docker.io/v1/"), "docker.io");
        assert_eq!(host("http://localhost:5000/v2/"), "localhost:5000");
        assert_eq!(host("quay.io"), "quay.io");
    }
}
