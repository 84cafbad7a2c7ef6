//! Takes what a client sends into a kept directory: only what differs is asked for, and nothing is written outside.

use super::{Index, Kept, Known};
use crate::build::view::{kind, proc_path};
use minke_build::{
    BuildError, Result,
    host::{Entry, Root, Sent},
    key::Hasher,
};
use minke_model::{Kind, id::Digest};
use rustix::{
    fs::{AtFlags, CWD, Gid, Mode, OFlags, ResolveFlags, Timespec, Timestamps, Uid},
    io::Errno,
};
use sha2::{Digest as _, Sha256};
use std::{
    collections::HashMap,
    fs::File,
    io::Write,
    os::{
        fd::{AsFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::{Path, PathBuf},
    sync::Arc,
};
use tokio::sync::mpsc;

/// Most entries of a context.
const MAX_ENTRIES: usize = 4_000_000;
/// Files open at once while they come.
const MAX_OPEN: usize = 256;

/// A file whose bytes are coming.
struct Arriving {
    file: File,
    hash: Sha256,
    temporary: PathBuf,
    size: u64,
}

/// Takes what a client sends into a directory.
pub(super) struct Receiver {
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
    /// Received so far.
    pub(super) bytes: u64,
    changed: bool,
}

impl Receiver {
    pub(super) fn new(mut kept: Kept, want: mpsc::UnboundedSender<u32>) -> Result<Self> {
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
    pub(super) fn take(&mut self, sent: Sent) -> Result<bool> {
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
                rustix::fs::symlinkat(to.as_str(), &parent, name.as_os_str())
                    .map_err(|e| self.failed(&path, e))?;
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
            rustix::fs::chownat(parent, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)
                .map_err(failed)?;
        }
        if !is_link {
            let mode = Mode::from_raw_mode(entry.mode & 0o7777);
            rustix::fs::chmodat(parent, name, mode, AtFlags::empty()).map_err(failed)?;
        }
        let magic = proc_path(parent.as_fd()).join(name);
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
        let at = proc_path(parent.as_fd()).join(name);
        match rustix::fs::statat(CWD, &at, AtFlags::SYMLINK_NOFOLLOW) {
            Err(_) => Ok(()),
            Ok(stat) if kind(&stat) == rustix::fs::FileType::Directory => {
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

    pub(super) fn finish(mut self) -> Result<Root> {
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
