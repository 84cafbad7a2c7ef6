//! Unpacks a tar below a directory: a layer into an empty one, an archive into a container's root.
//!
//! Invariant: nothing is made, changed or removed outside of the root. Each entry's parent is opened by openat2(2)
//! inside of the root and the last part is then made by that descriptor, never followed. Absolute names start at the
//! root; names that climb out are refused. The trees that come out are Docker's (moby `pkg/archive`, `Unpack` and
//! `createTarFile`), except that a link entry does not change its target's owner and mode again.

mod attributes;

use attributes::{Newborn, times};

use crate::{
    ImageError, Result, disk, path,
    recipe::RecipeWriter,
    tarball::{Entry, EntryKind, NoTap, Tap, TarReader, is_zero},
    whiteout,
};
use rustix::{
    fs::{AtFlags, FileType, Mode, OFlags, Timestamps},
    io::Errno,
};
use std::{
    collections::HashMap,
    ffi::{CStr, CString},
    fs::File,
    io::Read,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::fs::FileExt,
    },
    rc::Rc,
};

/// Parents that are kept open.
const MAX_OPEN: usize = 64;

/// Zeros in one piece that become a hole.
const HOLE: usize = 32 * 1024;

/// How much one tar may unpack to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Bytes of files, without holes.
    pub(crate) bytes: u64,
    /// Entries, whatever they make.
    pub(crate) entries: u64,
}

/// What the unpacker does beside making files.
#[derive(Clone, Debug, Default)]
pub(crate) struct Options {
    /// `.wh.` names are whiteouts and become overlayfs's.
    pub(crate) whiteouts: bool,
    /// A directory is never replaced by something else, nor something else by a directory.
    pub(crate) no_overwrite_dir_non_dir: bool,
    /// An entry `./` sets the owner, mode and times of the directory that is unpacked to.
    pub(crate) root_entry: bool,
    /// Names that climb out mean the root itself.
    pub(crate) climbing: bool,
    /// Unpacked below this clean path, which is a directory; links still resolve from the root.
    pub(crate) below: Vec<u8>,
    /// Whatever the tar says, everything belongs to this user and group.
    pub(crate) owner: Option<(u32, u32)>,
}

/// Where the bytes of the tar go that are no file, and files that are replaced.
pub(crate) trait Keeper: Tap {
    /// Itself, as the reader needs it.
    fn tap(&mut self) -> &mut dyn Tap;
    /// The payload's next bytes now lie in this range of this file.
    fn range(&mut self, path: &[u8], offset: u64, length: u64) -> Result<()>;
    /// Takes away what the next entry replaces.
    fn replace(&mut self, parent: BorrowedFd<'_>, name: &CStr, path: &[u8]) -> Result<()>;
}

impl Keeper for RecipeWriter {
    fn tap(&mut self) -> &mut dyn Tap {
        self
    }

    fn range(&mut self, path: &[u8], offset: u64, length: u64) -> Result<()> {
        RecipeWriter::range(self, path, offset, length)
    }

    fn replace(&mut self, parent: BorrowedFd<'_>, name: &CStr, path: &[u8]) -> Result<()> {
        RecipeWriter::replace(self, parent, name, path)
    }
}

impl Keeper for NoTap {
    fn tap(&mut self) -> &mut dyn Tap {
        self
    }

    fn range(&mut self, _path: &[u8], _offset: u64, _length: u64) -> Result<()> {
        Ok(())
    }

    fn replace(&mut self, parent: BorrowedFd<'_>, name: &CStr, path: &[u8]) -> Result<()> {
        disk::remove_at(parent, name)
            .map_err(|e| ImageError::io("remove", String::from_utf8_lossy(path).as_ref(), e))
    }
}

/// What came out.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Unpacked {
    /// Bytes of files with their holes, and of symbolic links, as Docker counts a layer's size. What was replaced
    /// within the same tar is counted twice.
    pub(crate) size: u64,
    /// Length of the tar itself.
    pub(crate) tar_size: u64,
}

/// An open directory and where it lies, which is not where the tar said when a link led there.
#[derive(Debug)]
struct Place {
    fd: OwnedFd,
    path: Vec<u8>,
    /// What is made in it gets its group.
    gives_group: bool,
}

impl Place {
    fn new(fd: OwnedFd, path: Vec<u8>) -> std::result::Result<Self, Errno> {
        let gives_group = rustix::fs::fstat(&fd)?.st_mode & 0o2000 != 0;
        Ok(Self { fd, path, gives_group })
    }
}

/// Unpacks all entries of `tar` below `root`.
pub(crate) fn unpack(
    root: BorrowedFd<'_>,
    tar: impl Read,
    keeper: &mut dyn Keeper,
    options: Options,
    limits: Limits,
) -> Result<Unpacked> {
    let mut reader = TarReader::new(tar);
    // Elsewhere default ACLs may give new files other modes.
    let newborn = options.whiteouts.then(Newborn::of_this_process);
    let mut unpacker = Unpacker {
        newborn,
        root,
        keeper,
        options,
        open: HashMap::new(),
        dirs: Vec::new(),
        size: 0,
        bytes: 0,
        entry: String::new(),
    };
    let mut count = 0;
    while let Some(entry) = reader.next(unpacker.keeper.tap())? {
        count += 1;
        if count > limits.entries {
            return Err(ImageError::TooLarge {
                what: "the number of entries of a tar".into(),
                limit: limits.entries,
            });
        }
        unpacker.bytes += reader.payload_left();
        if unpacker.bytes > limits.bytes {
            return Err(ImageError::TooLarge { what: "the content of a tar".into(), limit: limits.bytes });
        }
        unpacker.entry(&entry, &mut reader)?;
    }
    unpacker.set_times_of_dirs()?;
    let size = unpacker.size;
    let tar_size = reader.finish(keeper.tap())?;
    Ok(Unpacked { size, tar_size })
}

struct Unpacker<'a> {
    /// What need not be set anew; `None`: all is set.
    newborn: Option<Newborn>,
    root: BorrowedFd<'a>,
    keeper: &'a mut dyn Keeper,
    options: Options,
    /// By the path that the tar uses.
    open: HashMap<Vec<u8>, Rc<Place>>,
    /// Set at the end, since making files in a directory changes its own.
    dirs: Vec<(Vec<u8>, Timestamps)>,
    size: u64,
    bytes: u64,
    entry: String,
}

impl Unpacker<'_> {
    fn entry<R: Read>(&mut self, entry: &Entry, reader: &mut TarReader<R>) -> Result<()> {
        self.entry = entry.name();
        // From here on new files' modes may depend on their parents.
        if entry.xattrs.iter().any(|(name, _)| name == b"system.posix_acl_default") {
            self.newborn = None;
        }
        let clean = match self.options.climbing {
            true => path::clean_in_root(&entry.path),
            false => path::clean(&entry.path).ok_or_else(|| self.bad("its name leads out of the root"))?,
        };
        if clean.is_empty() {
            return self.root_entry(entry);
        }
        let clean = self.below(clean);
        let (parent, name) = path::split(&clean);
        if self.options.whiteouts {
            // What AUFS kept for itself at the root, with all that is in it (moby `UnpackLayer`).
            if whiteout::is_aufs_own(&clean) {
                return Ok(());
            }
            match whiteout::read(name) {
                whiteout::Name::Plain => {}
                whiteout::Name::Nothing => return Ok(()),
                whiteout::Name::Bad => return Err(self.bad("it is a whiteout of nothing")),
                whiteout::Name::Opaque => {
                    let place = self.place(parent)?;
                    return whiteout::set_opaque(&place.fd).map_err(|e| self.failed("make opaque", e));
                }
                whiteout::Name::Hidden(hidden) => {
                    let place = self.place(parent)?;
                    let hidden = self.c_name(hidden)?;
                    return whiteout::hide(place.fd.as_fd(), &hidden).map_err(|e| self.failed("hide", e));
                }
            }
        }
        let place = self.place(parent)?;
        let name = self.c_name(name)?;
        match entry.kind {
            EntryKind::File => self.file(entry, &place, &name, reader),
            EntryKind::Dir => self.dir(entry, &clean, &place, &name),
            EntryKind::Link => self.link(entry, &place, &name),
            EntryKind::Symlink => {
                let target = path::c_string(&entry.link).map_err(|_| self.bad("its target holds a NUL"))?;
                self.make(entry, &place, &name, |dir, name| rustix::fs::symlinkat(&*target, dir, name))?;
                self.size += entry.link.len() as u64;
                self.describe_node(entry, &place, &name)
            }
            EntryKind::Char | EntryKind::Block | EntryKind::Fifo => {
                let (kind, device) = match entry.kind {
                    EntryKind::Char => (FileType::CharacterDevice, entry.device),
                    EntryKind::Block => (FileType::BlockDevice, entry.device),
                    _ => (FileType::Fifo, (0, 0)),
                };
                let device = rustix::fs::makedev(device.0, device.1);
                let mode = Mode::from_raw_mode(entry.mode & 0o777);
                self.make(entry, &place, &name, |dir, name| {
                    rustix::fs::mknodat(dir, name, kind, mode, device)
                })?;
                self.describe_node(entry, &place, &name)
            }
        }
    }

    fn below(&self, clean: Vec<u8>) -> Vec<u8> {
        if self.options.below.is_empty() { clean } else { path::join(&self.options.below, &clean) }
    }

    /// `./`: the directory's own owner, mode and times.
    fn root_entry(&mut self, entry: &Entry) -> Result<()> {
        if entry.kind != EntryKind::Dir || !self.options.root_entry {
            return Ok(());
        }
        let below = self.options.below.clone();
        let fd = path::open_beneath(self.root, &below, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())
            .map_err(|e| self.failed("open", e))?;
        self.describe(entry, fd.as_fd(), None)?;
        self.dirs.push((below, times(entry)));
        Ok(())
    }

    fn file<R: Read>(
        &mut self,
        entry: &Entry,
        place: &Place,
        name: &CStr,
        reader: &mut TarReader<R>,
    ) -> Result<()> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = self.make(entry, place, name, |dir, name| {
            rustix::fs::openat(dir, name, flags, Mode::from_raw_mode(entry.mode & 0o777))
        })?;
        let file = File::from(fd);
        let at = path::join(&place.path, name.to_bytes());
        match &entry.sparse {
            None => {
                self.content(&file, entry.size, reader)?;
                if entry.size > 0 {
                    self.keeper.range(&at, 0, entry.size)?;
                }
            }
            Some(extents) => {
                for &(offset, length) in extents {
                    self.extent(&file, offset, length, reader)?;
                    self.keeper.range(&at, offset, length)?;
                }
                rustix::fs::ftruncate(&file, entry.size).map_err(|e| self.failed("size", e))?;
            }
        }
        self.size += entry.size;
        self.describe(entry, file.as_fd(), Some(place))?;
        rustix::fs::futimens(&file, &times(entry)).map_err(|e| self.failed("set times of", e))
    }

    /// A whole file. Long runs of zeros become holes: disk images and databases have them.
    fn content<R: Read>(&self, file: &File, size: u64, reader: &mut TarReader<R>) -> Result<()> {
        let mut offset = 0;
        let mut written = 0;
        while !reader.payload()?.is_empty() {
            let chunk = reader.payload()?;
            let length = chunk.len();
            if length < HOLE || !is_zero(chunk) {
                file.write_all_at(chunk, offset).map_err(|e| ImageError::io("write", &self.entry, e))?;
                written = offset + length as u64;
            }
            reader.consume(length);
            offset += length as u64;
        }
        if written < size {
            rustix::fs::ftruncate(file, size).map_err(|e| self.failed("size", e))?;
        }
        Ok(())
    }

    fn extent<R: Read>(
        &self,
        file: &File,
        mut offset: u64,
        mut left: u64,
        reader: &mut TarReader<R>,
    ) -> Result<()> {
        while left > 0 {
            let chunk = reader.payload()?;
            let length = chunk.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            file.write_all_at(&chunk[..length], offset)
                .map_err(|e| ImageError::io("write", &self.entry, e))?;
            reader.consume(length);
            offset += length as u64;
            left -= length as u64;
        }
        Ok(())
    }

    fn dir(&mut self, entry: &Entry, clean: &[u8], place: &Place, name: &CStr) -> Result<()> {
        let mode = Mode::from_raw_mode(entry.mode & 0o777);
        let mut hides = false;
        if let Err(e) = rustix::fs::mkdirat(&place.fd, name, mode) {
            if e != Errno::EXIST {
                return Err(self.failed("make", e));
            }
            let stat = self.look(place, name)?;
            if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
                hides = self.options.whiteouts && whiteout::is_whiteout(&stat);
                self.clear(entry, &stat, place, name)?;
                rustix::fs::mkdirat(&place.fd, name, mode).map_err(|e| self.failed("make", e))?;
            }
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd =
            rustix::fs::openat(&place.fd, name, flags, Mode::empty()).map_err(|e| self.failed("open", e))?;
        self.describe(entry, fd.as_fd(), None)?;
        if hides {
            whiteout::set_opaque(&fd).map_err(|e| self.failed("make opaque", e))?;
        }
        let at = path::join(&place.path, name.to_bytes());
        self.dirs.push((at.clone(), times(entry)));
        let place = Place::new(fd, at).map_err(|e| self.failed("look at", e))?;
        self.keep_open(clean, place);
        Ok(())
    }

    fn link(&mut self, entry: &Entry, place: &Place, name: &CStr) -> Result<()> {
        let target = path::clean(&entry.link).filter(|t| !t.is_empty());
        let target = self.below(target.ok_or_else(|| self.bad("its target leads out of the root"))?);
        let (parent, last) = path::split(&target);
        let from = match self.existing(parent) {
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {
                return Err(self.bad("its target does not exist"));
            }
            other => other.map_err(|e| self.failed("open the target of", e))?,
        };
        if from.path == place.path && last == name.to_bytes() {
            return Err(self.bad("it is a link to itself"));
        }
        let last = self.c_name(last)?;
        let stat = match rustix::fs::statat(&from.fd, &*last, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => return Err(self.bad("its target does not exist")),
            other => other.map_err(|e| self.failed("look at the target of", e))?,
        };
        if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
            return Err(self.bad("its target is a directory"));
        }
        self.make(entry, place, name, |dir, name| {
            rustix::fs::linkat(&from.fd, &*last, dir, name, AtFlags::empty())
        })
    }

    /// Makes something by `make`; if the name is taken, takes that away and tries again.
    fn make<T>(
        &mut self,
        entry: &Entry,
        place: &Place,
        name: &CStr,
        make: impl Fn(&OwnedFd, &CStr) -> std::result::Result<T, Errno>,
    ) -> Result<T> {
        match make(&place.fd, name) {
            Err(Errno::EXIST) => {}
            other => return other.map_err(|e| self.failed("make", e)),
        }
        let stat = self.look(place, name)?;
        self.clear(entry, &stat, place, name)?;
        make(&place.fd, name).map_err(|e| self.failed("make", e))
    }

    fn look(&self, place: &Place, name: &CStr) -> Result<rustix::fs::Stat> {
        rustix::fs::statat(&place.fd, name, AtFlags::SYMLINK_NOFOLLOW).map_err(|e| self.failed("look at", e))
    }

    /// Takes away what lies where the entry goes.
    fn clear(&mut self, entry: &Entry, stat: &rustix::fs::Stat, place: &Place, name: &CStr) -> Result<()> {
        let (old_dir, new_dir) =
            (FileType::from_raw_mode(stat.st_mode) == FileType::Directory, entry.kind == EntryKind::Dir);
        let at = path::join(&place.path, name.to_bytes());
        if self.options.no_overwrite_dir_non_dir && old_dir != new_dir {
            let (old, new) =
                if old_dir { ("directory", "non-directory") } else { ("non-directory", "directory") };
            let path = String::from_utf8_lossy(&at).into_owned();
            let detail = format!("cannot overwrite {old} {path:?} with {new} {:?}", self.entry);
            return Err(ImageError::WrongPath { path, detail });
        }
        if self.options.whiteouts && whiteout::is_whiteout(stat) {
            return rustix::fs::unlinkat(&place.fd, name, AtFlags::empty())
                .map_err(|e| self.failed("replace", e));
        }
        // Open parents may lie below it, or have been found by way of it.
        self.open.clear();
        self.keeper.replace(place.fd.as_fd(), name, &at)
    }

    /// An entry's parent, made where it is missing.
    fn place(&mut self, path: &[u8]) -> Result<Rc<Place>> {
        match self.existing(path) {
            Err(Errno::NOENT) => {}
            Err(Errno::NOTDIR) if self.options.whiteouts => {}
            other => return other.map_err(|e| self.failed("open the parent of", e)),
        }
        let mut at = Vec::new();
        let mut place = self.existing(b"").map_err(|e| self.failed("open the parent of", e))?;
        for part in path.split(|&b| b == b'/') {
            at = path::join(&at, part);
            place = match self.existing(&at) {
                Err(Errno::NOENT) => self.make_parent(&at, &place, part, false)?,
                // The layer hides what is below by that name, and has a directory of that name itself.
                Err(Errno::NOTDIR) if self.is_hidden(&place, part)? => {
                    self.make_parent(&at, &place, part, true)?
                }
                other => other.map_err(|e| self.failed("open the parent of", e))?,
            };
        }
        Ok(place)
    }

    fn is_hidden(&self, place: &Place, name: &[u8]) -> Result<bool> {
        let name = self.c_name(name)?;
        Ok(self.options.whiteouts && whiteout::is_whiteout(&self.look(place, &name)?))
    }

    fn make_parent(&mut self, at: &[u8], place: &Place, name: &[u8], hidden: bool) -> Result<Rc<Place>> {
        let name = self.c_name(name)?;
        let mode = Mode::from_raw_mode(0o755);
        if hidden {
            rustix::fs::unlinkat(&place.fd, &*name, AtFlags::empty())
                .map_err(|e| self.failed("make the parent of", e))?;
        }
        rustix::fs::mkdirat(&place.fd, &*name, mode).map_err(|e| self.failed("make the parent of", e))?;
        let made = self.existing(at).map_err(|e| self.failed("open the parent of", e))?;
        // The process's umask took bits away.
        rustix::fs::chmod(disk::proc_path(made.fd.as_fd()), mode)
            .and_then(|()| if hidden { whiteout::set_opaque(&made.fd) } else { Ok(()) })
            .map_err(|e| self.failed("make the parent of", e))?;
        Ok(made)
    }

    /// A directory inside of the root, links followed as inside of it.
    fn existing(&mut self, path: &[u8]) -> std::result::Result<Rc<Place>, Errno> {
        if let Some(place) = self.open.get(path) {
            return Ok(place.clone());
        }
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        let place = match path::open_beneath(self.root, path, flags, Mode::empty()) {
            Err(Errno::LOOP) => {
                let fd = path::open_in_root(self.root, path, flags, Mode::empty())?;
                let path = path::place_of(self.root, fd.as_fd())?.ok_or(Errno::NOENT)?;
                Place::new(fd, path)?
            }
            other => Place::new(other?, path.to_vec())?,
        };
        Ok(self.keep_open(path, place))
    }

    fn keep_open(&mut self, path: &[u8], place: Place) -> Rc<Place> {
        if self.open.len() >= MAX_OPEN {
            self.open.clear();
        }
        let place = Rc::new(place);
        self.open.insert(path.to_vec(), place.clone());
        place
    }

    fn set_times_of_dirs(&mut self) -> Result<()> {
        self.entry.clear();
        for (path, times) in std::mem::take(&mut self.dirs) {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY;
            match path::open_beneath(self.root, &path, flags, Mode::empty()) {
                // Replaced by a later entry.
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {}
                opened => opened.and_then(|fd| rustix::fs::futimens(fd, &times)).map_err(|e| {
                    ImageError::io("set times of", String::from_utf8_lossy(&path).as_ref(), e)
                })?,
            }
        }
        Ok(())
    }

    fn c_name(&self, name: &[u8]) -> Result<CString> {
        path::c_string(name).map_err(|_| self.bad("its name holds a NUL"))
    }

    fn bad(&self, detail: &str) -> ImageError {
        ImageError::Tar { entry: self.entry.clone(), detail: detail.into() }
    }

    /// What the tar asks and cannot be is the tar's fault; the rest is the machine's.
    fn failed(&self, verb: &str, error: Errno) -> ImageError {
        match error {
            Errno::EXIST
            | Errno::INVAL
            | Errno::ISDIR
            | Errno::LOOP
            | Errno::MLINK
            | Errno::NAMETOOLONG
            | Errno::NOENT
            | Errno::NOTDIR
            | Errno::PERM
            | Errno::FBIG
            | Errno::OVERFLOW
            | Errno::XDEV => self.bad(&format!("cannot {verb} it: {error}")),
            _ => ImageError::io(verb, &self.entry, error),
        }
    }
}

#[cfg(test)]
mod hostile;
#[cfg(test)]
mod tests;
