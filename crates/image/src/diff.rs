//! What a container changed: `docker diff`.
//!
//! The rules are Docker's (moby `pkg/archive/changes.go`): a directory is modified when its attributes are, or when
//! anything in it changed; of a directory that was removed only itself is told, of a new one everything in it. Times
//! of directories and sizes of what was only copied up are no changes. The order is that of the names.

use crate::{Change, ChangeKind, ImageError, Images, Result, disk, path, whiteout};
use minke_model::ContainerId;
use rustix::{
    fs::{AtFlags, FileType, Mode, OFlags, Stat},
    io::Errno,
};
use std::{
    collections::{BTreeMap, btree_map},
    ffi::{CStr, CString},
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

/// Directories inside of each other that are compared.
const MAX_DEPTH: usize = 1024;

impl Images {
    /// All that a container changed, parents before what lies below them.
    pub fn changes(&self, container: &ContainerId) -> Result<Vec<Change>> {
        let upper = disk::open_dir(&self.rootfs(container)?.upper)?;
        let base = self.open_base(container)?;
        compare(upper, base)
            .map_err(|e| ImageError::io("compare the root of container", container.as_str(), e))
    }
}

/// A directory that is being compared.
struct Open {
    upper: OwnedFd,
    /// The same directory before; `None` when there was none.
    base: Option<OwnedFd>,
    path: Vec<u8>,
    /// Names here, and, by `false`, those that an opaque directory hides.
    names: btree_map::IntoIter<CString, bool>,
    /// It is changed itself; else it is told only for what is in it.
    told: bool,
    /// How many changes there were with its own, before those in it.
    from: usize,
}

impl Open {
    fn new(
        upper: OwnedFd,
        base: Option<OwnedFd>,
        path: Vec<u8>,
        told: bool,
        from: usize,
    ) -> io::Result<Self> {
        let mut names: BTreeMap<CString, bool> =
            disk::list(upper.as_fd())?.into_iter().map(|(name, _)| (name, true)).collect();
        if let Some(base) = base.as_ref().filter(|_| whiteout::is_opaque(upper.as_fd())) {
            for (name, _) in disk::list(base.as_fd())? {
                names.entry(name).or_insert(false);
            }
        }
        Ok(Self { upper, base, path, names: names.into_iter(), told, from })
    }
}

/// Directories that are open wait on a list of their own: a container decides how deep they are, and a thread's stack
/// is small.
fn compare(upper: OwnedFd, base: OwnedFd) -> io::Result<Vec<Change>> {
    let mut changes = Vec::new();
    let mut open = vec![Open::new(upper, Some(base), b"/".to_vec(), true, 0)?];
    while let Some(present) = open.last_mut() {
        let Some((name, is_here)) = present.names.next() else {
            if !present.told && changes.len() == present.from {
                changes.pop();
            }
            open.pop();
            continue;
        };
        let at = match &present.path[..] {
            b"/" => [b"/", name.to_bytes()].concat(),
            path => path::join(path, name.to_bytes()),
        };
        if !is_here {
            changes.push(change(&at, ChangeKind::Deleted));
            continue;
        }
        let (upper, base) = (present.upper.as_fd(), present.base.as_ref().map(|base| base.as_fd()));
        // A running container may have taken it away.
        let Some(new) = lstat(upper, &name)? else { continue };
        let old = base.map(|base| lstat(base, &name)).transpose()?.flatten();
        if whiteout::is_whiteout(&new) {
            if old.is_some() {
                changes.push(change(&at, ChangeKind::Deleted));
            }
            continue;
        }
        let kind = match &old {
            None => Some(ChangeKind::Added),
            Some(old) => differ((base, old), (upper, &new), &name).then_some(ChangeKind::Modified),
        };
        changes.extend(kind.map(|kind| change(&at, kind)));
        if !is_dir(&new) {
            continue;
        }
        let inner = match open_dir(upper, &name) {
            Err(Errno::NOENT | Errno::NOTDIR) => continue,
            other => other?,
        };
        let below = match (base, &old) {
            (Some(base), Some(old)) if is_dir(old) => Some(open_dir(base, &name)?),
            _ => None,
        };
        if open.len() > MAX_DEPTH {
            return Err(Errno::NAMETOOLONG.into());
        }
        if kind.is_none() {
            // Taken back when nothing in it is changed.
            changes.push(change(&at, ChangeKind::Modified));
        }
        open.push(Open::new(inner, below, at, kind.is_some(), changes.len())?);
    }
    Ok(changes)
}

fn change(path: &[u8], kind: ChangeKind) -> Change {
    Change { path: String::from_utf8_lossy(path).into_owned(), kind }
}

fn lstat(dir: BorrowedFd<'_>, name: &CStr) -> std::result::Result<Option<Stat>, Errno> {
    match rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(stat)),
        Err(Errno::NOENT) => Ok(None),
        Err(e) => Err(e),
    }
}

fn open_dir(dir: BorrowedFd<'_>, name: &CStr) -> std::result::Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(dir, name, flags, Mode::empty())
}

fn is_dir(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::Directory
}

/// Whether it was more than copied up.
fn differ(old: (Option<BorrowedFd<'_>>, &Stat), new: (BorrowedFd<'_>, &Stat), name: &CStr) -> bool {
    let (a, b) = (old.1, new.1);
    if (a.st_mode, a.st_uid, a.st_gid) != (b.st_mode, b.st_uid, b.st_gid) {
        return true;
    }
    match FileType::from_raw_mode(b.st_mode) {
        FileType::CharacterDevice | FileType::BlockDevice if a.st_rdev != b.st_rdev => return true,
        FileType::Directory => return capability(old.0, name) != capability(Some(new.0), name),
        _ => {}
    }
    let (a_nanos, b_nanos) = (a.st_mtime_nsec, b.st_mtime_nsec);
    // A file system that keeps only seconds says 0.
    let same_time = a.st_mtime == b.st_mtime && (a_nanos == b_nanos || a_nanos == 0 || b_nanos == 0);
    !same_time || a.st_size != b.st_size || capability(old.0, name) != capability(Some(new.0), name)
}

fn capability(dir: Option<BorrowedFd<'_>>, name: &CStr) -> Option<Vec<u8>> {
    let path = [disk::proc_path(dir?).as_bytes(), b"/", name.to_bytes()].concat();
    let mut value = [0; 64];
    let length = rustix::fs::lgetxattr(path.as_slice(), c"security.capability", &mut value[..]).ok()?;
    Some(value[..length].to_vec())
}
