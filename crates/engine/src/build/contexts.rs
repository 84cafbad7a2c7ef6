//! Directories of clients, kept between builds: only what differs is sent again.
//!
//! Each lies in a directory of its own below `contexts`, `tree` with an `index` beside it of what was sent and of the
//! digest of each file's bytes, taken while they came. A build has its directory for itself; another one at the same time
//! gets another. A file is never changed in place: layers are linked to it.
//!
//! Never: opens a path that a client sent other than beneath the tree, or trusts an index that was not written last.

mod receive;

use super::view::names;
use minke_build::{
    BuildError, Client, Result,
    host::{At, Entry, Incoming, Root, Wanted},
    key::Hasher,
};
use minke_model::{ContainerId, Kind, Timestamp, id::Digest};
use receive::Receiver;
use rustix::{
    fs::{AtFlags, Mode, OFlags},
    io::Errno,
};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::{
    collections::{BTreeMap, HashMap},
    fs::File,
    io::Write,
    os::fd::AsFd,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};
use tokio::sync::mpsc;

/// What waits between a client and the disk.
const QUEUE: usize = 256;
/// Directories of one client and name that are kept at rest.
const KEPT: usize = 3;

/// What is known of a file that was sent.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Known {
    mode: u32,
    uid: u32,
    gid: u32,
    size: u64,
    mtime: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    link: Option<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    xattrs: BTreeMap<String, Vec<u8>>,
    #[serde(default)]
    device: (u32, u32),
    #[serde(default, skip_serializing_if = "Option::is_none")]
    digest: Option<Digest>,
}

impl Known {
    fn of(entry: &Entry) -> Self {
        let Entry { mode, uid, gid, size, mtime, link, xattrs, major, minor, .. } = entry.clone();
        Self { mode, uid, gid, size, mtime, link, xattrs, device: (major, minor), digest: None }
    }

    fn is_same(&self, entry: &Entry) -> bool {
        let other = Self::of(entry);
        let is_dir = self.mode & 0o170000 == 0o040000;
        (self.mode, self.uid, self.gid, &self.link, &self.xattrs, self.device)
            == (other.mode, other.uid, other.gid, &other.link, &other.xattrs, other.device)
            && (is_dir || (self.size == other.size && self.mtime == other.mtime))
    }
}

type Index = BTreeMap<PathBuf, Known>;

/// A client's directory as a build has it. Given back when the last step that reads it is done.
#[derive(Debug)]
pub(crate) struct Kept {
    index: Index,
    /// Its place; `None` where it goes when it is not needed any more.
    home: Option<Home>,
    dir: PathBuf,
}

#[derive(Debug)]
struct Home {
    contexts: Contexts,
    pool: String,
    name: String,
}

impl Kept {
    /// The digest of a file's bytes.
    pub(crate) fn digest(&self, path: &Path) -> Option<Digest> {
        self.index.get(path)?.digest.clone()
    }

    /// Whether a file may be linked instead of copied: as it lies here it is what was sent.
    pub(crate) fn is_plain(&self, path: &Path) -> bool {
        self.index.get(path).is_some_and(|known| known.digest.is_some() && known.link.is_none())
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        match self.home.take() {
            Some(home) => home.contexts.give_back(&home.pool, &home.name),
            None => {
                if let Err(e) = crate::volume::remove_tree(&self.dir) {
                    tracing::warn!("cannot remove {}: {e}", self.dir.display());
                }
            }
        }
    }
}

/// All kept directories of clients.
#[derive(Clone, Debug)]
pub(crate) struct Contexts {
    root: Arc<PathBuf>,
    /// Those at rest, by pool, the one used last at the end.
    rest: Arc<Mutex<HashMap<String, Vec<String>>>>,
}

impl Contexts {
    /// Finds what is kept below `root`; what is half made goes.
    pub(crate) fn open(root: PathBuf) -> Result<Self> {
        std::fs::create_dir_all(&root).map_err(BuildError::io(format!("make {}", root.display())))?;
        let mut rest: HashMap<String, Vec<String>> = HashMap::new();
        for entry in std::fs::read_dir(&root).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            match name.split_once('.') {
                Some((pool, _)) if entry.path().join("index").is_file() => {
                    rest.entry(pool.to_owned()).or_default().push(name.clone());
                }
                _ => drop(crate::volume::remove_tree(&entry.path())),
            }
        }
        Ok(Self { root: Arc::new(root), rest: Arc::new(Mutex::new(rest)) })
    }

    fn rest(&self) -> std::sync::MutexGuard<'_, HashMap<String, Vec<String>>> {
        self.rest.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn give_back(&self, pool: &str, name: &str) {
        let spare: Vec<String> = {
            let mut rest = self.rest();
            let names = rest.entry(pool.to_owned()).or_default();
            names.push(name.to_owned());
            let many = names.len().saturating_sub(KEPT);
            names.drain(..many).collect()
        };
        for name in spare {
            drop(crate::volume::remove_tree(&self.root.join(name)));
        }
    }

    /// Directories at rest: name, bytes, last use.
    pub(crate) fn at_rest(&self) -> Vec<(String, u64, Timestamp)> {
        let names: Vec<String> = self.rest().values().flatten().cloned().collect();
        let one = |name: String| {
            let index = self.root.join(&name).join("index");
            let used = std::fs::metadata(&index).and_then(|m| m.modified()).ok()?;
            let nanos = used.duration_since(std::time::UNIX_EPOCH).ok()?.as_nanos();
            let known: Index = serde_json::from_slice(&std::fs::read(&index).ok()?).ok()?;
            let size = known.values().filter(|k| k.digest.is_some()).map(|k| k.size).sum();
            Some((name, size, Timestamp::from_nanos(i64::try_from(nanos).unwrap_or(i64::MAX))))
        };
        names.into_iter().filter_map(one).collect()
    }

    /// Removes one that is at rest. Whether it was.
    pub(crate) fn remove(&self, name: &str) -> bool {
        let found = {
            let mut rest = self.rest();
            rest.values_mut().any(|names| {
                let before = names.len();
                names.retain(|n| n != name);
                names.len() < before
            })
        };
        found && crate::volume::remove_tree(&self.root.join(name)).is_ok()
    }

    /// Brings a client's directory. `what` is shown while it comes.
    pub(crate) async fn bring(
        &self,
        client: &Arc<dyn Client>,
        local: &str,
        wanted: Wanted,
        what: &str,
        at: &At,
    ) -> Result<Root> {
        let key = client.key(local);
        let pool = (!key.is_empty()).then(|| {
            let mut hasher = Hasher::new("context");
            hasher.text(&key).text(local).text(&format!("{wanted:?}"));
            hasher.finish().hex()[..32].to_owned()
        });
        let contexts = self.clone();
        let (send, receive) = mpsc::channel(QUEUE);
        let (want, wants) = mpsc::unbounded_channel();
        let reporter = at.reporter.clone();
        let shown = format!("transferring {what}:");
        let taking = tokio::task::spawn_blocking(move || {
            let place = contexts.take(pool)?;
            let mut receiver = Receiver::new(place, want)?;
            let started = Timestamp::now();
            let mut told = std::time::Instant::now();
            let mut receive = receive;
            while let Some(sent) = receive.blocking_recv() {
                if receiver.take(sent)? {
                    reporter.status(&shown, receiver.bytes as i64, 0, started, true);
                    return receiver.finish();
                }
                if told.elapsed().as_millis() >= 100 {
                    told = std::time::Instant::now();
                    reporter.status(&shown, receiver.bytes as i64, 0, started, false);
                }
            }
            Err(BuildError::Cancelled)
        });
        let sending = client.sync(local, wanted, Incoming { send, wanted: wants });
        let (sent, taken) = tokio::join!(sending, taking);
        let taken = taken.map_err(|e| BuildError::other(Kind::Internal, format!("a task failed: {e}")))?;
        match (sent, taken) {
            (Ok(()), taken) => taken,
            // What went wrong here broke the client's stream.
            (Err(_), Err(error)) if !matches!(error, BuildError::Cancelled) => Err(error),
            (Err(error), _) => Err(error),
        }
    }

    /// A directory for a build alone: one at rest, else a new one.
    fn take(&self, pool: Option<String>) -> Result<Kept> {
        let Some(pool) = pool else { return self.fresh(None) };
        let found = self.rest().get_mut(&pool).and_then(Vec::pop);
        let Some(name) = found else { return self.fresh(Some(pool)) };
        let dir = self.root.join(&name);
        let index = std::fs::read(dir.join("index")).ok();
        let index: Option<Index> = index.and_then(|bytes| serde_json::from_slice(&bytes).ok());
        match index {
            Some(index) => {
                let home = Some(Home { contexts: self.clone(), pool, name });
                Ok(Kept { index, home, dir })
            }
            None => {
                drop(crate::volume::remove_tree(&dir));
                self.fresh(Some(pool))
            }
        }
    }

    fn fresh(&self, pool: Option<String>) -> Result<Kept> {
        let id = ContainerId::random();
        let name = format!("{}.{}", pool.as_deref().unwrap_or("once"), id.short());
        let dir = self.root.join(&name);
        let tree = dir.join("tree");
        std::fs::create_dir_all(&tree).map_err(BuildError::io(format!("make {}", tree.display())))?;
        let home = pool.map(|pool| Home { contexts: self.clone(), pool, name });
        Ok(Kept { index: Index::new(), home, dir })
    }

    /// A directory that somebody fills who is no client: a fetched file or repository, an archive.
    pub(crate) fn scratch(&self) -> Result<PathBuf> {
        let kept = self.fresh(None)?;
        let dir = kept.dir.clone();
        std::mem::forget(kept);
        Ok(dir)
    }

    /// What lies in a directory of [`Contexts::scratch`], as a tree that goes with its last user. Reads all files.
    pub(crate) fn adopt(&self, dir: PathBuf) -> Result<Root> {
        let mut index = Index::new();
        let tree = dir.join("tree");
        index_of(&tree, Path::new(""), &mut index)?;
        let kept = Kept { index, home: None, dir };
        Ok(Root::Directory { path: tree.into(), keep: Arc::new(kept) })
    }
}

/// Reads a directory of our own into an index.
fn index_of(root: &Path, at: &Path, index: &mut Index) -> Result<()> {
    let dir = root.join(at);
    let failed = |e: Errno| BuildError::io(format!("read {}", dir.display()))(e.into());
    let fd = rustix::fs::open(
        &dir,
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .map_err(failed)?;
    for name in names(fd.as_fd()).map_err(failed)? {
        let stat = rustix::fs::statat(&fd, &name, AtFlags::SYMLINK_NOFOLLOW).map_err(failed)?;
        let path = at.join(&name);
        let mut known = Known {
            mode: stat.st_mode,
            uid: stat.st_uid,
            gid: stat.st_gid,
            size: stat.st_size as u64,
            mtime: stat.st_mtime,
            link: None,
            xattrs: BTreeMap::new(),
            device: (0, 0),
            digest: None,
        };
        match rustix::fs::FileType::from_raw_mode(stat.st_mode) {
            rustix::fs::FileType::RegularFile => {
                let file = rustix::fs::openat(
                    &fd,
                    &name,
                    OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
                    Mode::empty(),
                )
                .map_err(failed)?;
                let mut hash = Sha256::new();
                std::io::copy(&mut File::from(file), &mut HashSink(&mut hash))
                    .map_err(BuildError::io(format!("read {}", dir.join(&name).display())))?;
                known.digest = Some(Digest::from_sha256(&hash.finalize()));
                index.insert(path, known);
            }
            rustix::fs::FileType::Directory => {
                index.insert(path.clone(), known);
                index_of(root, &path, index)?;
            }
            _ => drop(index.insert(path, known)),
        }
    }
    Ok(())
}

struct HashSink<'a>(&'a mut Sha256);

impl Write for HashSink<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
