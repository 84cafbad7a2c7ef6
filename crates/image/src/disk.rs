//! Directories of our own: written so that a crash leaves the old or the new, and taken away whole.

use crate::{ImageError, Result};
use rustix::{
    fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags},
    io::Errno,
};
use std::{
    ffi::{CStr, CString},
    fs::{self, File},
    io::Write,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::Path,
};

/// Directories inside of each other that are held open at once; deeper ones are first moved up.
const MAX_DEPTH: usize = 64;

/// Opens a directory by its path, which is our own.
pub(crate) fn open_dir(path: &Path) -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty()).map_err(|e| ImageError::io("open", path, e))
}

/// Makes a directory that only root may enter; one that exists is fine.
pub(crate) fn make_dir(path: &Path) -> Result<()> {
    match rustix::fs::mkdir(path, Mode::RWXU) {
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        Err(e) => Err(ImageError::io("create", path, e)),
    }
}

/// Makes a directory with exactly this mode.
pub(crate) fn make_dir_with(path: &Path, mode: u32) -> Result<()> {
    let fail = |e| ImageError::io("create", path, e);
    rustix::fs::mkdir(path, Mode::from_raw_mode(mode)).map_err(fail)?;
    // The process's umask takes bits away, which is rare and costs a write to set right.
    if rustix::fs::stat(path).map_err(fail)?.st_mode & 0o7777 != mode {
        rustix::fs::chmod(path, Mode::from_raw_mode(mode)).map_err(fail)?;
    }
    Ok(())
}

/// Writes `dir/name` so that a crash leaves the old or the new content, and a power cut after the return the new.
pub(crate) fn write_durably(dir: &Path, name: &str, bytes: &[u8]) -> Result<()> {
    write_renamed(dir, name, bytes, true)?;
    sync_dir(dir)
}

/// As [`write_durably`], without the directory's sync: for several files in one directory.
pub(crate) fn write_renamed(dir: &Path, name: &str, bytes: &[u8], sync: bool) -> Result<()> {
    let temporary = dir.join(format!(".{name}.new"));
    let write = || {
        let mut file = File::create(&temporary)?;
        file.write_all(bytes)?;
        if sync { file.sync_data() } else { Ok(()) }
    };
    write().map_err(|e| ImageError::io("write", &temporary, e))?;
    fs::rename(&temporary, dir.join(name)).map_err(|e| ImageError::io("rename", &temporary, e))
}

/// Makes what was renamed, made or removed in `dir` outlive a power cut.
pub(crate) fn sync_dir(dir: &Path) -> Result<()> {
    rustix::fs::fsync(open_dir(dir)?).map_err(|e| ImageError::io("sync", dir, e))
}

/// Makes all that was written to the file system below `path` so far outlive a power cut.
pub(crate) fn sync_filesystem(path: &Path) -> Result<()> {
    rustix::fs::syncfs(open_dir(path)?).map_err(|e| ImageError::io("sync", path, e))
}

/// Removes a file of ours; one that is gone is fine.
pub(crate) fn remove_file(path: &Path) -> Result<()> {
    match rustix::fs::unlink(path) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(e) => Err(ImageError::io("remove", path, e)),
    }
}

/// Removes a directory of ours with all that is in it, however deep. Nobody else may be writing there.
pub(crate) fn remove_dir(path: &Path) -> Result<()> {
    let fail = |e: Errno| ImageError::io("remove", path, e);
    let mut pass = 0;
    loop {
        let root = match rustix::fs::open(path, dir_flags(), Mode::empty()) {
            Err(Errno::NOENT) => return Ok(()),
            other => other.map_err(fail)?,
        };
        // What lies too deep is moved to the top and removed in the next pass.
        let mut moved = 0;
        let mut up = |dir: BorrowedFd<'_>, name: &CStr| {
            moved += 1;
            rustix::fs::renameat(dir, name, &root, format!(".moved-{pass}-{moved}"))
        };
        empty(root.as_fd(), MAX_DEPTH, &mut up).map_err(fail)?;
        if moved == 0 {
            break;
        }
        pass += 1;
    }
    match rustix::fs::rmdir(path) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(e) => Err(fail(e)),
    }
}

/// Removes `name` below `parent` with all that is in it. Never follows a link; a tree that others change meanwhile
/// may stay in part. Trees deeper than 256 directories are refused.
pub(crate) fn remove_at(parent: BorrowedFd<'_>, name: &CStr) -> std::result::Result<(), Errno> {
    match rustix::fs::unlinkat(parent, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        Err(Errno::ISDIR) => {}
        Err(e) => return Err(e),
    }
    let dir = rustix::fs::openat(parent, name, dir_flags(), Mode::empty())?;
    empty(dir.as_fd(), 256, &mut |_, _| Err(Errno::NAMETOOLONG))?;
    rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR)
}

fn dir_flags() -> OFlags {
    OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC
}

/// Removes all that is in `dir`; directories deeper than `depth` are given to `deep`.
fn empty(
    dir: BorrowedFd<'_>,
    depth: usize,
    deep: &mut dyn FnMut(BorrowedFd<'_>, &CStr) -> std::result::Result<(), Errno>,
) -> std::result::Result<(), Errno> {
    for (name, kind) in list(dir)? {
        if kind != FileType::Directory {
            match rustix::fs::unlinkat(dir, &*name, AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => continue,
                Err(Errno::ISDIR) => {}
                Err(e) => return Err(e),
            }
        }
        // An empty directory, as most are by now, goes without being opened.
        match rustix::fs::unlinkat(dir, &*name, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => continue,
            Err(Errno::NOTEMPTY | Errno::EXIST) => {}
            Err(e) => return Err(e),
        }
        if depth == 0 {
            deep(dir, &name)?;
            continue;
        }
        let inner = match rustix::fs::openat(dir, &*name, dir_flags(), Mode::empty()) {
            Err(Errno::NOENT) => continue,
            other => other?,
        };
        empty(inner.as_fd(), depth - 1, deep)?;
        drop(inner);
        match rustix::fs::unlinkat(dir, &*name, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

/// Names and types of what is in `dir`, without `.` and `..`, in the order of the names.
pub(crate) fn list(dir: BorrowedFd<'_>) -> std::result::Result<Vec<(CString, FileType)>, Errno> {
    let mut names = Vec::new();
    for entry in Dir::read_from(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        if name != c"." && name != c".." {
            names.push((name.to_owned(), entry.file_type()));
        }
    }
    names.sort_unstable_by(|a, b| a.0.cmp(&b.0));
    Ok(names)
}

/// Names in a directory of ours that are text.
pub(crate) fn names(path: &Path) -> Result<Vec<String>> {
    let names = list(open_dir(path)?.as_fd()).map_err(|e| ImageError::io("read", path, e))?;
    Ok(names.into_iter().filter_map(|(name, _)| name.into_string().ok()).collect())
}

/// The path of an open file, for calls that take only paths. The last part is a magic link to the very file.
pub(crate) fn proc_path(fd: BorrowedFd<'_>) -> String {
    use std::os::fd::AsRawFd;
    format!("/proc/self/fd/{}", fd.as_raw_fd())
}

/// Bytes and files that the file system below `path` still takes, less a sixteenth for everyone else.
pub(crate) fn room(path: &Path) -> Result<(u64, u64)> {
    let stat = rustix::fs::statvfs(path).map_err(|e| ImageError::io("look at", path, e))?;
    let bytes = stat.f_bavail.saturating_mul(stat.f_frsize);
    // Some file systems have no fixed number of inodes and say 0 of 0.
    let files = if stat.f_files == 0 { u64::MAX } else { stat.f_favail };
    Ok((bytes - bytes / 16, files - files / 16))
}

/// Whether `name` exists in the current directory's sense of `path`.
pub(crate) fn exists(path: &Path) -> bool {
    rustix::fs::statat(CWD, path, AtFlags::SYMLINK_NOFOLLOW).is_ok()
}
