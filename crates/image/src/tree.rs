//! Trees as tars, both ways: `docker cp`, `docker export`, the first fill of a volume, a commit's layer.
//!
//! A root may be a running container's: whatever is opened is opened inside of it (openat2(2)), what is read is first
//! found to be a regular file by a descriptor that opens nothing, and a tar never lands outside.

use crate::{
    ImageError, Result, decompress, disk, path,
    tarball::{Entry, EntryKind, NoTap, TarReader, TarWriter},
    unpack::{self, Limits, Options},
    whiteout,
};
use minke_model::Timestamp;
use rustix::{
    fs::{FileType, Mode, OFlags, Stat},
    io::Errno,
};
use std::{
    collections::HashMap,
    ffi::{CStr, CString},
    fs::File,
    io::{self, Read, Write},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::Path,
};

/// Directories inside of each other that are walked.
const MAX_DEPTH: usize = 1024;

/// What lies at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathStat {
    /// The last part of the path as asked.
    pub name: String,
    /// Bytes, as lstat(2) gives them.
    pub size: i64,
    /// Kind and permissions, as lstat(2) gives them.
    pub mode: u32,
    /// Last change of its content.
    pub mtime: Timestamp,
    /// Where a symbolic link leads in the end, as an absolute path inside of the root; empty for others.
    pub link_target: String,
}

/// How a tar is written.
#[derive(Clone, Copy, Debug, Default)]
pub struct WriteOptions {
    /// Entries start with the last part of the path, which has an entry of its own; else they start below it.
    pub named: bool,
    /// With an entry `./` for the directory itself.
    pub root_entry: bool,
    /// overlayfs's whiteouts become a layer's.
    pub whiteouts: bool,
}

/// How a tar is extracted.
#[derive(Clone, Copy, Debug, Default)]
pub struct ExtractOptions {
    /// A directory never replaces something else, nor something else a directory.
    pub no_overwrite_dir_non_dir: bool,
    /// Everything belongs to this user and group, whatever the tar says.
    pub owner: Option<(u32, u32)>,
    /// An entry `./` sets the directory's own owner, mode and times.
    pub root_entry: bool,
    /// Names that climb above the root mean the root, as inside of a chroot; else they are refused.
    pub climbing: bool,
}

/// Looks at a path inside of `root`: links on the way are followed, the last part is not, unless the path ends in
/// `/` or `/.`.
pub fn stat(root: BorrowedFd<'_>, path: &str) -> Result<PathStat> {
    let found = find(root, path)?;
    let stat = rustix::fs::fstat(&found).map_err(|e| lost(path, e))?;
    let link_target = match FileType::from_raw_mode(stat.st_mode) {
        FileType::Symlink => link_target(root, &found, path)?,
        _ => String::new(),
    };
    let nanos = stat.st_mtime.saturating_mul(1_000_000_000).saturating_add(stat.st_mtime_nsec as i64);
    Ok(PathStat {
        name: base_name(path).to_owned(),
        size: stat.st_size,
        mode: stat.st_mode,
        mtime: Timestamp::from_nanos(nanos),
        link_target,
    })
}

/// Writes what lies at `path` inside of `root` as a tar, in the order of names.
///
/// Sockets are left out, as Docker does. Hard links stay links. Of extended attributes, file capabilities and the
/// user's own are written.
pub fn write_tar(
    root: BorrowedFd<'_>,
    path: &str,
    out: &mut dyn Write,
    options: &WriteOptions,
) -> Result<()> {
    write_told(root, path, out, options, &mut |_, _, _| Ok(()))
}

/// As [`write_tar`], telling of each entry with bytes of its own (path, kind, how many) between its header and them.
fn write_told(
    root: BorrowedFd<'_>,
    path: &str,
    out: &mut dyn Write,
    options: &WriteOptions,
    tell: Tell<'_>,
) -> Result<()> {
    let mut walk = Walk { tar: TarWriter::new(out), links: HashMap::new(), options: *options, tell };
    walk.start(root, path)?;
    walk.tar.finish().map(drop)
}

/// Who is told of entries.
type Tell<'a> = &'a mut dyn FnMut(&[u8], EntryKind, u64) -> Result<()>;

/// Writes a container's own changes as a layer: those of its upper directory.
pub(crate) fn write_layer(upper: BorrowedFd<'_>, out: &mut dyn Write) -> Result<()> {
    write_layer_with(upper, out, &mut |_, _, _| Ok(()))
}

/// As [`write_layer`], telling of each file and symbolic link between its header and its payload.
pub(crate) fn write_layer_with(upper: BorrowedFd<'_>, out: &mut dyn Write, tell: Tell<'_>) -> Result<()> {
    let options = WriteOptions { whiteouts: true, ..WriteOptions::default() };
    write_told(upper, "/", out, &options, tell)
}

/// Extracts a tar, compressed or not, below the directory `dir` inside of `root`.
///
/// Links in the tar and below `dir` are followed only inside of `root`; names that climb above `dir` are refused.
pub fn extract(
    root: BorrowedFd<'_>,
    dir: &str,
    tar: impl Read + Send,
    options: &ExtractOptions,
) -> Result<()> {
    let at = find(root, &format!("{dir}/."))?;
    let place = path::place_of(root, at.as_fd()).map_err(|e| lost(dir, e))?;
    let place = place.ok_or_else(|| ImageError::NoSuchPath { path: dir.to_owned() })?;
    let options = Options {
        whiteouts: false,
        no_overwrite_dir_non_dir: options.no_overwrite_dir_non_dir,
        owner: options.owner,
        root_entry: options.root_entry,
        climbing: options.climbing,
        below: place,
    };
    // A container's own file system and quota are its limits.
    let limits = Limits { bytes: u64::MAX, entries: u64::MAX };
    let (compression, head) = decompress::sniff(tar)?;
    unpack::unpack(root, compression.inflate(head)?, &mut NoTap, options, limits).map(drop)
}

/// Whether a stream is a tar, compressed or not.
pub fn is_archive(stream: impl Read + Send) -> bool {
    let Ok((compression, head)) = decompress::sniff(stream) else { return false };
    let Ok(inflated) = compression.inflate(head) else { return false };
    matches!(TarReader::new(inflated).next(&mut NoTap), Ok(Some(_)))
}

/// Copies the content of the directory `path` inside of `root`, with the directory's own owner and mode, to the
/// directory `to` of the host. A `path` that is not there, or no directory, is nothing to copy.
pub fn copy_directory(root: BorrowedFd<'_>, path: &str, to: &Path) -> Result<()> {
    match find(root, &format!("{path}/.")) {
        Err(ImageError::NoSuchPath { .. } | ImageError::WrongPath { .. }) => return Ok(()),
        other => drop(other?),
    }
    let to_fd = disk::open_dir(to)?;
    let (reader, mut writer) = io::pipe().map_err(|e| ImageError::io("make a pipe for", to, e))?;
    let options = WriteOptions { root_entry: true, ..WriteOptions::default() };
    let rules = ExtractOptions { root_entry: true, ..ExtractOptions::default() };
    std::thread::scope(|scope| {
        let written = scope.spawn(move || write_tar(root, &format!("{path}/."), &mut writer, &options));
        let extracted = extract(to_fd.as_fd(), "/", reader, &rules);
        match written.join() {
            // When the extraction failed the pipe broke: that failure is the cause.
            Ok(written) => extracted.and(written),
            Err(_) => Err(ImageError::io("copy to", to, io::Error::other("the reading thread ended"))),
        }
    })
}

/// Opens a path without effect. Not followed at the end, unless it ends in `/` or `/.`.
fn find(root: BorrowedFd<'_>, path: &str) -> Result<OwnedFd> {
    let follow = path.ends_with('/') || path.ends_with("/.") || path == ".";
    let flags = if follow { OFlags::PATH | OFlags::DIRECTORY } else { OFlags::PATH | OFlags::NOFOLLOW };
    let clean = path::clean_in_root(path.as_bytes());
    path::open_in_root(root, &clean, flags, Mode::empty()).map_err(|e| lost(path, e))
}

fn lost(path: &str, error: Errno) -> ImageError {
    match error {
        Errno::NOENT => ImageError::NoSuchPath { path: path.to_owned() },
        Errno::NOTDIR => ImageError::WrongPath { path: path.to_owned(), detail: "not a directory".into() },
        Errno::LOOP => {
            ImageError::WrongPath { path: path.to_owned(), detail: "too many levels of links".into() }
        }
        _ => ImageError::io("open", path, error),
    }
}

/// The last part, as Go's `filepath.Base` gives it.
fn base_name(path: &str) -> &str {
    let trimmed = path.trim_end_matches('/');
    match trimmed.rsplit('/').next() {
        Some("") | None => "/",
        Some(name) => name,
    }
}

/// Where a link leads; one that leads nowhere is taken by its text.
fn link_target(root: BorrowedFd<'_>, link: &OwnedFd, path: &str) -> Result<String> {
    let clean = path::clean_in_root(path.as_bytes());
    let place = match path::open_in_root(root, &clean, OFlags::PATH, Mode::empty()) {
        Ok(target) => path::place_of(root, target.as_fd()).map_err(|e| lost(path, e))?,
        Err(_) => None,
    };
    let target = match place {
        Some(place) => place,
        None => {
            let text = rustix::fs::readlinkat(link, c"", Vec::new()).map_err(|e| lost(path, e))?.into_bytes();
            let (parent, _) = path::split(&clean);
            let joined = if text.starts_with(b"/") { text } else { path::join(parent, &text) };
            path::clean_in_root(&joined)
        }
    };
    Ok(format!("/{}", String::from_utf8_lossy(&target)))
}

/// A directory whose names are being gone through.
struct Open {
    dir: OwnedFd,
    path: Vec<u8>,
    names: std::vec::IntoIter<CString>,
}

impl Open {
    fn new(dir: OwnedFd, path: Vec<u8>) -> Result<Self> {
        let names = disk::list(dir.as_fd())
            .map_err(|e| ImageError::io("read", String::from_utf8_lossy(&path).as_ref(), e))?;
        let names = names.into_iter().map(|(name, _)| name).collect::<Vec<_>>().into_iter();
        Ok(Self { dir, path, names })
    }
}

struct Walk<'a> {
    tar: TarWriter<&'a mut dyn Write>,
    /// First names of files with several.
    links: HashMap<(u64, u64), Vec<u8>>,
    options: WriteOptions,
    tell: Tell<'a>,
}

impl Walk<'_> {
    fn start(&mut self, root: BorrowedFd<'_>, path: &str) -> Result<()> {
        let found = find(root, path)?;
        let stat = rustix::fs::fstat(&found).map_err(|e| lost(path, e))?;
        let name = if self.options.named { base_name(path).as_bytes() } else { b"" };
        if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
            let dir = reopen(&found, OFlags::RDONLY | OFlags::DIRECTORY).map_err(|e| lost(path, e))?;
            if self.options.named || self.options.root_entry {
                let name = if self.options.named { name } else { b"." };
                self.dir_entry(dir.as_fd(), name, &stat)?;
            }
            return self.dir(dir, name);
        }
        self.node(&found, None, name, &stat)
    }

    /// All below a directory. Directories that are open wait on a list of their own: a container decides how deep
    /// they are, and a thread's stack is small.
    fn dir(&mut self, dir: OwnedFd, path: &[u8]) -> Result<()> {
        let mut open = vec![Open::new(dir, path.to_vec())?];
        while let Some(present) = open.last_mut() {
            let Some(name) = present.names.next() else {
                open.pop();
                continue;
            };
            let at = match &present.path[..] {
                b"/" => [b"/", name.to_bytes()].concat(),
                path => path::join(path, name.to_bytes()),
            };
            let fail = |e: Errno| ImageError::io("read", String::from_utf8_lossy(&at).as_ref(), e);
            let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let found = match rustix::fs::openat(&present.dir, &*name, flags, Mode::empty()) {
                // It is gone meanwhile.
                Err(Errno::NOENT) => continue,
                other => other.map_err(fail)?,
            };
            let stat = rustix::fs::fstat(&found).map_err(fail)?;
            if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
                self.node(&found, Some((present.dir.as_fd(), &name)), &at, &stat)?;
                continue;
            }
            let inner = reopen(&found, OFlags::RDONLY | OFlags::DIRECTORY).map_err(fail)?;
            self.dir_entry(inner.as_fd(), &at, &stat)?;
            if self.options.whiteouts && whiteout::is_opaque(inner.as_fd()) {
                self.marker(whiteout::opaque_path(&at))?;
            }
            if open.len() > MAX_DEPTH {
                return Err(fail(Errno::NAMETOOLONG));
            }
            open.push(Open::new(inner, at)?);
        }
        Ok(())
    }

    fn dir_entry(&mut self, dir: BorrowedFd<'_>, path: &[u8], stat: &Stat) -> Result<()> {
        let mut path = path.to_vec();
        if !path.ends_with(b"/") {
            path.push(b'/');
        }
        let mut entry = describe(path, EntryKind::Dir, stat);
        entry.xattrs = xattrs(&disk::proc_path(dir));
        self.tar.append_bytes(&entry, &[])
    }

    /// An empty file with a name that means something.
    fn marker(&mut self, path: Vec<u8>) -> Result<()> {
        let entry = Entry {
            path,
            link: Vec::new(),
            kind: EntryKind::File,
            mode: 0,
            uid: 0,
            gid: 0,
            mtime: (0, 0),
            atime: None,
            size: 0,
            device: (0, 0),
            xattrs: Vec::new(),
            sparse: None,
        };
        self.tar.append_bytes(&entry, &[])
    }

    fn node(
        &mut self,
        found: &OwnedFd,
        by_parent: Option<(BorrowedFd<'_>, &CStr)>,
        path: &[u8],
        stat: &Stat,
    ) -> Result<()> {
        let fail = |e: Errno| ImageError::io("read", String::from_utf8_lossy(path).as_ref(), e);
        if self.options.whiteouts && whiteout::is_whiteout(stat) {
            return self.marker(whiteout::tar_path(path));
        }
        let kind = match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => EntryKind::File,
            FileType::Symlink => EntryKind::Symlink,
            FileType::CharacterDevice => EntryKind::Char,
            FileType::BlockDevice => EntryKind::Block,
            FileType::Fifo => EntryKind::Fifo,
            _ => {
                tracing::debug!(path = %String::from_utf8_lossy(path), "sockets are left out");
                return Ok(());
            }
        };
        let mut entry = describe(path.to_vec(), kind, stat);
        if stat.st_nlink > 1 {
            match self.links.get(&(stat.st_dev, stat.st_ino)) {
                Some(first) => {
                    entry.kind = EntryKind::Link;
                    entry.link = first.clone();
                    entry.size = 0;
                    return self.tar.append_bytes(&entry, &[]);
                }
                None => drop(self.links.insert((stat.st_dev, stat.st_ino), path.to_vec())),
            }
        }
        match kind {
            EntryKind::File => {
                let mut file = File::from(reopen(found, OFlags::RDONLY).map_err(fail)?);
                entry.xattrs = xattrs(&disk::proc_path(file.as_fd()));
                self.tar.head(&entry)?;
                (self.tell)(path, kind, entry.size)?;
                self.tar.payload(&entry, &mut file)
            }
            EntryKind::Symlink => {
                entry.link = rustix::fs::readlinkat(found, c"", Vec::new()).map_err(fail)?.into_bytes();
                if let Some((parent, name)) = by_parent {
                    let by_parent = [disk::proc_path(parent).as_bytes(), b"/", name.to_bytes()].concat();
                    entry.xattrs = link_xattrs(&by_parent);
                }
                (self.tell)(path, kind, entry.link.len() as u64)?;
                self.tar.append_bytes(&entry, &[])
            }
            _ => self.tar.append_bytes(&entry, &[]),
        }
    }
}

/// Opens what a descriptor that opens nothing has found, by the magic link to the very file.
fn reopen(found: &OwnedFd, flags: OFlags) -> std::result::Result<OwnedFd, Errno> {
    rustix::fs::open(disk::proc_path(found.as_fd()), flags | OFlags::CLOEXEC, Mode::empty())
}

fn describe(path: Vec<u8>, kind: EntryKind, stat: &Stat) -> Entry {
    Entry {
        path,
        link: Vec::new(),
        kind,
        mode: stat.st_mode & 0o7777,
        uid: stat.st_uid,
        gid: stat.st_gid,
        mtime: (stat.st_mtime, 0),
        atime: None,
        size: if kind == EntryKind::File { stat.st_size as u64 } else { 0 },
        device: (rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev)),
        xattrs: Vec::new(),
        sparse: None,
    }
}

/// Which extended attributes travel.
fn travels(name: &[u8]) -> bool {
    name == b"security.capability" || name.starts_with(b"user.") && !name.starts_with(b"user.overlay.")
}

/// Extended attributes that travel; none where they cannot be read.
fn xattrs(path: &str) -> Vec<(Vec<u8>, Vec<u8>)> {
    // Nearly all files have none: no buffer is made for them.
    match rustix::fs::listxattr_query(path) {
        Ok(0) | Err(_) => Vec::new(),
        Ok(_) => collect_xattrs(
            |buffer| rustix::fs::listxattr(path, buffer),
            |name, buffer| rustix::fs::getxattr(path, name, buffer),
        ),
    }
}

fn link_xattrs(path: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
    match rustix::fs::llistxattr_query(path) {
        Ok(0) | Err(_) => Vec::new(),
        Ok(_) => collect_xattrs(
            |buffer| rustix::fs::llistxattr(path, buffer),
            |name, buffer| rustix::fs::lgetxattr(path, name, buffer),
        ),
    }
}

/// Most that the kernel gives for a list, and for a value (limits.h, `XATTR_LIST_MAX`, `XATTR_SIZE_MAX`).
const MAX_XATTR: usize = 64 * 1024;

fn collect_xattrs(
    list: impl Fn(&mut [u8]) -> std::result::Result<usize, Errno>,
    get: impl Fn(&[u8], &mut [u8]) -> std::result::Result<usize, Errno>,
) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut names = vec![0; MAX_XATTR];
    let Ok(length) = list(&mut names) else { return Vec::new() };
    let mut found = Vec::new();
    let mut value = vec![0; MAX_XATTR];
    for name in names[..length].split(|&b| b == 0).filter(|name| travels(name)) {
        if let Ok(length) = get(name, &mut value) {
            found.push((name.to_vec(), value[..length].to_vec()));
        }
    }
    found
}

#[cfg(test)]
mod tests;
