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
    collections::BTreeMap,
    ffi::{CStr, CString},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

/// Directories inside of each other that are compared.
const MAX_DEPTH: usize = 1024;

impl Images {
    /// All that a container changed, parents before what lies below them.
    pub fn changes(&self, container: &ContainerId) -> Result<Vec<Change>> {
        let upper = disk::open_dir(&self.rootfs(container)?.upper)?;
        let base = self.open_base(container)?;
        let mut changes = Vec::new();
        compare(upper.as_fd(), Some(base.as_fd()), b"/", 0, &mut changes)
            .map_err(|e| ImageError::io("compare the root of container", container.as_str(), e))?;
        Ok(changes)
    }
}

fn compare(
    upper: BorrowedFd<'_>,
    base: Option<BorrowedFd<'_>>,
    path: &[u8],
    depth: usize,
    changes: &mut Vec<Change>,
) -> std::result::Result<(), Errno> {
    if depth > MAX_DEPTH {
        return Err(Errno::NAMETOOLONG);
    }
    // Names here, and those below that an opaque directory hides.
    let mut names: BTreeMap<CString, bool> =
        disk::list(upper)?.into_iter().map(|(name, _)| (name, true)).collect();
    if let Some(base) = base.filter(|_| whiteout::is_opaque(upper)) {
        for (name, _) in disk::list(base)? {
            names.entry(name).or_insert(false);
        }
    }
    for (name, is_here) in names {
        let at =
            if path == b"/" { [b"/", name.to_bytes()].concat() } else { path::join(path, name.to_bytes()) };
        let mut tell = |kind| changes.push(Change { path: String::from_utf8_lossy(&at).into_owned(), kind });
        if !is_here {
            tell(ChangeKind::Deleted);
            continue;
        }
        let new = match rustix::fs::statat(upper, &*name, AtFlags::SYMLINK_NOFOLLOW) {
            // A running container took it away.
            Err(Errno::NOENT) => continue,
            other => other?,
        };
        let old = base.map(|base| lstat(base, &name)).transpose()?.flatten();
        if whiteout::is_whiteout(&new) {
            if old.is_some() {
                tell(ChangeKind::Deleted);
            }
            continue;
        }
        let told = match &old {
            None => Some(ChangeKind::Added),
            Some(old) => differ((base, old), (upper, &new), &name).then_some(ChangeKind::Modified),
        };
        if let Some(kind) = told {
            tell(kind);
        }
        if !is_dir(&new) {
            continue;
        }
        let from = changes.len();
        let inner = match open(upper, &name) {
            Err(Errno::NOENT | Errno::NOTDIR) => continue,
            other => other?,
        };
        let below = match (base, &old) {
            (Some(base), Some(old)) if is_dir(old) => Some(open(base, &name)?),
            _ => None,
        };
        compare(inner.as_fd(), below.as_ref().map(|fd| fd.as_fd()), &at, depth + 1, changes)?;
        if told.is_none() && changes.len() > from {
            let path = String::from_utf8_lossy(&at).into_owned();
            changes.insert(from, Change { path, kind: ChangeKind::Modified });
        }
    }
    Ok(())
}

fn lstat(dir: BorrowedFd<'_>, name: &CStr) -> std::result::Result<Option<Stat>, Errno> {
    match rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(stat)),
        Err(Errno::NOENT) => Ok(None),
        Err(e) => Err(e),
    }
}

fn open(dir: BorrowedFd<'_>, name: &CStr) -> std::result::Result<OwnedFd, Errno> {
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
