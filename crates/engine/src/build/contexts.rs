//! Directories of clients, kept between builds: only what differs is sent again.
//!
//! Each lies in a directory of its own below `contexts`, `tree` with an `index` beside it of what was sent and of the
//! digest of each file's bytes, taken while they came. A build has its directory for itself; another one at the same time
//! gets another. A file is never changed in place: layers are linked to it.
//!
//! Never: opens a path that a client sent other than beneath the tree, or trusts an index that was not written last.

use super::view::names;
use minke_build::{
    BuildError, Client, Result,
    host::{At, Entry, Incoming, Root, Sent, Wanted},
    key::Hasher,
};
use minke_model::{ContainerId, Kind, Timestamp, id::Digest};
use rustix::{
    fs::{AtFlags, CWD, Gid, Mode, OFlags, ResolveFlags, Timespec, Timestamps, Uid},
    io::Errno,
};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::{
    collections::{BTreeMap, HashMap},
    fs::File,
    io::Write,
    os::{
        fd::{AsFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};
use tokio::sync::mpsc;

/// What waits between a client and the disk.
const QUEUE: usize = 256;
/// Most entries of a context.
const MAX_ENTRIES: usize = 4_000_000;
/// Directories of one client and name that are kept at rest.
const KEPT: usize = 3;
/// Files open at once while they come.
const MAX_OPEN: usize = 256;

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
    pub(crate) async fn bring(&self, client: &Arc<dyn Client>, local: &str, wanted: Wanted, what: &str, at: &At) -> Result<Root> {
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
    let fd = rustix::fs::open(&dir, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
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
                let file = rustix::fs::openat(&fd, &name, OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
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

/// A file whose bytes are coming.
struct Arriving {
    file: File,
    hash: Sha256,
    temporary: PathBuf,
    size: u64,
}

/// Takes what a client sends into a directory.
struct Receiver {
    kept: Kept,
    tree: OwnedFd,
    incoming: PathBuf,
    incoming_fd: OwnedFd,
    old: Index,
    new: Index,
    paths: Vec<PathBuf>,
    entries: Vec<Option<Entry>>,
    links: Vec<(PathBuf, String, Entry)>,
    arriving: HashMap<u32, Arriving>,
    /// Asked for, or in any case, not whole yet.
    missing: usize,
    want: Option<mpsc::UnboundedSender<u32>>,
    bytes: u64,
    changed: bool,
}

impl Receiver {
    fn new(mut kept: Kept, want: mpsc::UnboundedSender<u32>) -> Result<Self> {
        let tree = kept.dir.join("tree");
        let incoming = kept.dir.join("incoming");
        drop(crate::volume::remove_tree(&incoming));
        std::fs::create_dir_all(&incoming).map_err(BuildError::io(format!("make {}", incoming.display())))?;
        let open = |path: &Path| {
            rustix::fs::open(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
                .map_err(|e| BuildError::io(format!("open {}", path.display()))(e.into()))
        };
        let (tree, incoming_fd) = (open(&tree)?, open(&incoming)?);
        let old = std::mem::take(&mut kept.index);
        Ok(Self {
            kept,
            tree,
            incoming,
            incoming_fd,
            old,
            new: Index::new(),
            paths: Vec::new(),
            entries: Vec::new(),
            links: Vec::new(),
            arriving: HashMap::new(),
            missing: 0,
            want: Some(want),
            bytes: 0,
            changed: false,
        })
    }

    /// Before the first change: a crash from now on leaves a directory without an index, which goes.
    fn change(&mut self) -> Result<()> {
        if self.changed {
            return Ok(());
        }
        self.changed = true;
        match std::fs::remove_file(self.kept.dir.join("index")) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                Err(BuildError::io("change an index of a build context")(e))
            }
            _ => Ok(()),
        }
    }

    /// Takes the next piece; true at the end.
    fn take(&mut self, sent: Sent) -> Result<bool> {
        match sent {
            Sent::Entry(entry) => self.entry(entry)?,
            Sent::Data { entry, bytes } => self.data(entry, &bytes)?,
            Sent::End { entry } => self.end(entry)?,
            Sent::Listed => {
                self.want = None;
                self.remove_old()?;
            }
            Sent::Finished => {
                self.want = None;
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn entry(&mut self, entry: Entry) -> Result<()> {
        let number = self.paths.len() as u32;
        if self.paths.len() >= MAX_ENTRIES {
            return Err(BuildError::invalid(format!("the build context has more than {MAX_ENTRIES} files")));
        }
        let path = check(&entry.path)?;
        self.paths.push(path.clone());
        self.entries.push(None);
        let kind = entry.mode & 0o170000;
        if self.new.contains_key(&path) {
            return Err(BuildError::invalid(format!("the build context has {:?} twice", entry.path)));
        }
        if let Some(known) = self.old.remove(&path) {
            if known.is_same(&entry) {
                self.new.insert(path, known);
                return Ok(());
            }
            self.change()?;
            let stays = kind == 0o040000 && known.mode & 0o170000 == 0o040000;
            if !stays {
                self.remove(&path)?;
            }
        }
        self.change()?;
        let mut known = Known::of(&entry);
        match kind {
            0o040000 => {
                let (parent, name) = self.parent(&path)?;
                match rustix::fs::mkdirat(&parent, name.as_os_str(), Mode::RWXU) {
                    Ok(()) | Err(Errno::EXIST) => {}
                    Err(e) => return Err(self.failed(&path, e)),
                }
                self.attributes(&parent, &name, &entry, &path)?;
            }
            0o120000 => {
                let (parent, name) = self.parent(&path)?;
                let to = entry.link.clone().unwrap_or_default();
                rustix::fs::symlinkat(to.as_str(), &parent, name.as_os_str()).map_err(|e| self.failed(&path, e))?;
                self.attributes(&parent, &name, &entry, &path)?;
            }
            0o100000 => {
                if let Some(target) = &entry.link {
                    self.links.push((path.clone(), target.clone(), entry.clone()));
                } else if entry.size == 0 {
                    known.digest = Some(Digest::from_sha256(&Sha256::digest([])));
                    self.begin(number)?;
                    self.place(number, &entry, &path)?;
                } else {
                    self.missing += 1;
                    self.entries[number as usize] = Some(entry);
                    if let Some(want) = &self.want {
                        // Who sends all does not listen.
                        let _ = want.send(number);
                    }
                }
            }
            0o020000 | 0o060000 | 0o010000 => {
                let (parent, name) = self.parent(&path)?;
                let device = rustix::fs::makedev(entry.major, entry.minor);
                let file_type = rustix::fs::FileType::from_raw_mode(entry.mode);
                rustix::fs::mknodat(&parent, name.as_os_str(), file_type, Mode::from_raw_mode(0o600), device)
                    .map_err(|e| self.failed(&path, e))?;
                self.attributes(&parent, &name, &entry, &path)?;
            }
            // Sockets mean nothing to anyone else.
            _ => return Ok(()),
        }
        self.new.insert(path, known);
        Ok(())
    }

    fn begin(&mut self, number: u32) -> Result<&mut Arriving> {
        if !self.arriving.contains_key(&number) {
            if self.arriving.len() >= MAX_OPEN {
                return Err(BuildError::invalid("too many files of a build context come at once"));
            }
            let temporary = PathBuf::from(number.to_string());
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC | OFlags::NOFOLLOW;
            let file = rustix::fs::openat(&self.incoming_fd, &temporary, flags, Mode::from_raw_mode(0o600))
                .map_err(|e| self.failed(&self.incoming.join(&temporary), e))?;
            let arriving = Arriving { file: file.into(), hash: Sha256::new(), temporary, size: 0 };
            self.arriving.insert(number, arriving);
        }
        self.arriving.get_mut(&number).ok_or_else(|| BuildError::other(Kind::Internal, "a file is not open"))
    }

    fn data(&mut self, number: u32, bytes: &[u8]) -> Result<()> {
        self.bytes += bytes.len() as u64;
        let Some(Some(entry)) = self.entries.get(number as usize) else { return Ok(()) };
        let size = entry.size;
        let arriving = self.begin(number)?;
        arriving.size += bytes.len() as u64;
        // A file that grows while it is sent is taken as it comes, within reason.
        if arriving.size > size.saturating_mul(2).saturating_add(1 << 20) {
            return Err(BuildError::invalid("a file of the build context is longer than was said"));
        }
        arriving.hash.update(bytes);
        arriving.file.write_all(bytes).map_err(BuildError::io("write a file of a build context"))
    }

    fn end(&mut self, number: u32) -> Result<()> {
        let Some(entry) = self.entries.get_mut(number as usize).and_then(Option::take) else { return Ok(()) };
        let path = self.paths[number as usize].clone();
        self.begin(number)?;
        let digest = self.place(number, &entry, &path)?;
        if let Some(known) = self.new.get_mut(&path) {
            known.digest = Some(digest);
        }
        self.missing -= 1;
        Ok(())
    }

    /// Moves a whole file to its place.
    fn place(&mut self, number: u32, entry: &Entry, path: &Path) -> Result<Digest> {
        let gone = || BuildError::other(Kind::Internal, "a file is not open");
        let Arriving { file, hash, temporary, .. } = self.arriving.remove(&number).ok_or_else(gone)?;
        drop(file);
        let incoming = self.incoming_fd.try_clone().map_err(BuildError::io("copy a descriptor"))?;
        self.attributes(&incoming, &temporary, entry, path)?;
        let (parent, name) = self.parent(path)?;
        rustix::fs::renameat(&self.incoming_fd, &temporary, &parent, name.as_os_str())
            .map_err(|e| self.failed(path, e))?;
        let mut digest = Digest::from_sha256(&hash.finalize());
        if !entry.xattrs.is_empty() {
            let mut hasher = Hasher::new("file");
            hasher.text(digest.as_str()).text(&format!("{:?}", entry.xattrs));
            digest = hasher.finish();
        }
        Ok(digest)
    }

    fn attributes(&self, parent: &OwnedFd, name: &Path, entry: &Entry, path: &Path) -> Result<()> {
        let failed = |e| self.failed(path, e);
        let is_link = entry.mode & 0o170000 == 0o120000;
        if (entry.uid, entry.gid) != (0, 0) {
            let (uid, gid) = (Uid::from_raw(entry.uid), Gid::from_raw(entry.gid));
            rustix::fs::chownat(parent, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW).map_err(failed)?;
        }
        if !is_link {
            let mode = Mode::from_raw_mode(entry.mode & 0o7777);
            rustix::fs::chmodat(parent, name, mode, AtFlags::empty()).map_err(failed)?;
        }
        let magic = super::view::proc_path(parent.as_fd()).join(name);
        for (key, value) in &entry.xattrs {
            if key == "security.capability" || key.starts_with("user.") {
                // A file system without them has none to lose.
                let _ = rustix::fs::lsetxattr(&magic, key.as_str(), value, rustix::fs::XattrFlags::empty());
            }
        }
        let time = Timespec {
            tv_sec: entry.mtime.div_euclid(1_000_000_000),
            tv_nsec: entry.mtime.rem_euclid(1_000_000_000) as _,
        };
        let times = Timestamps { last_access: time, last_modification: time };
        rustix::fs::utimensat(parent, name, &times, AtFlags::SYMLINK_NOFOLLOW).map_err(failed)
    }

    /// The open directory that a path lies in, and its last part. Directories on the way that were not sent are made.
    fn parent(&self, path: &Path) -> Result<(OwnedFd, PathBuf)> {
        let name = PathBuf::from(path.file_name().unwrap_or_default());
        let parent = path.parent().unwrap_or(Path::new(""));
        let open = || self.open_parent(path);
        match open() {
            Ok(fd) => Ok((fd, name)),
            Err(Errno::NOENT) => {
                let (above, last) = self.parent(parent)?;
                match rustix::fs::mkdirat(&above, last.as_os_str(), Mode::from_raw_mode(0o755)) {
                    Ok(()) | Err(Errno::EXIST) => {}
                    Err(e) => return Err(self.failed(parent, e)),
                }
                open().map(|fd| (fd, name)).map_err(|e| self.failed(path, e))
            }
            Err(e) => Err(self.failed(path, e)),
        }
    }

    /// As [`Receiver::parent`], of what is there.
    fn open_parent(&self, path: &Path) -> std::result::Result<OwnedFd, Errno> {
        let parent = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        rustix::fs::openat2(&self.tree, parent, flags, Mode::empty(), resolve)
    }

    fn remove(&self, path: &Path) -> Result<()> {
        // What it lay in is gone already, or no directory any more.
        let Ok(parent) = self.open_parent(path) else { return Ok(()) };
        let name = path.file_name().unwrap_or_default();
        let at = super::view::proc_path(parent.as_fd()).join(name);
        match rustix::fs::statat(CWD, &at, AtFlags::SYMLINK_NOFOLLOW) {
            Err(_) => Ok(()),
            Ok(stat) if super::view::kind(&stat) == rustix::fs::FileType::Directory => {
                crate::volume::remove_tree(&at).map_err(BuildError::io(format!("remove {}", path.display())))
            }
            Ok(_) => std::fs::remove_file(&at).map_err(BuildError::io(format!("remove {}", path.display()))),
        }
    }

    /// What was there and was not sent again goes.
    fn remove_old(&mut self) -> Result<()> {
        let old = std::mem::take(&mut self.old);
        for path in old.keys() {
            // Its directory was another before, and is a file now.
            if self.new.range(path.clone()..).next().is_some_and(|(p, _)| p == path) {
                continue;
            }
            self.change()?;
            self.remove(path)?;
        }
        Ok(())
    }

    fn failed(&self, path: &Path, error: Errno) -> BuildError {
        BuildError::io(format!("write {} of the build context", path.display()))(error.into())
    }

    fn finish(mut self) -> Result<Root> {
        self.remove_old()?;
        if self.missing > 0 {
            return Err(BuildError::invalid("the client did not send all files of the build context"));
        }
        for (path, target, _) in std::mem::take(&mut self.links) {
            let target = check(&target)?;
            let (from, from_name) = self.parent(&target)?;
            let (to, to_name) = self.parent(&path)?;
            rustix::fs::linkat(&from, from_name.as_os_str(), &to, to_name.as_os_str(), AtFlags::empty())
                .map_err(|e| self.failed(&path, e))?;
            let digest = self.new.get(&target).and_then(|known| known.digest.clone());
            if let Some(known) = self.new.get_mut(&path) {
                known.digest = digest;
            }
        }
        drop(crate::volume::remove_tree(&self.incoming));
        let mut kept = self.kept;
        let dir = kept.dir.clone();
        if self.changed || self.new.is_empty() {
            let bytes = serde_json::to_vec(&self.new)
                .map_err(|e| BuildError::other(Kind::Internal, format!("cannot write an index: {e}")))?;
            let write = || -> std::io::Result<()> {
                std::fs::write(dir.join("index.new"), bytes)?;
                std::fs::rename(dir.join("index.new"), dir.join("index"))
            };
            write().map_err(BuildError::io(format!("write {}", dir.join("index").display())))?;
        }
        kept.index = self.new;
        Ok(Root::Directory { path: dir.join("tree").into(), keep: Arc::new(kept) })
    }
}

/// A client's path: relative, clean.
fn check(path: &str) -> Result<PathBuf> {
    let wrong = path.is_empty()
        || path.len() > 4096
        || path.as_bytes().contains(&0)
        || path.split('/').any(|part| matches!(part, "" | "." | ".."));
    if wrong {
        return Err(BuildError::invalid(format!("the build context has a path that cannot be: {path:?}")));
    }
    Ok(PathBuf::from(std::ffi::OsStr::from_bytes(path.as_bytes())))
}

#[cfg(test)]
mod tests;
