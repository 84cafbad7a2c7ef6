//! Owners, modes, times and extended attributes of what was unpacked.

use super::{Place, Unpacker};
use crate::{
    Result, disk, path,
    tarball::{Entry, EntryKind},
    whiteout,
};
use rustix::{
    fs::{AtFlags, Gid, Mode, OFlags, Timespec, Timestamps, Uid, XattrFlags},
    io::Errno,
};
use std::{
    ffi::{CStr, CString},
    os::fd::{AsFd, BorrowedFd},
};

/// What a new file is like before anything is set. Each change of an inode costs as much as making it; most files of
/// most layers need none.
#[derive(Clone, Copy, Debug)]
pub(super) struct Newborn {
    /// Bits that the process's umask takes from a new file's mode; all if that is not known.
    mask: u32,
    uid: u32,
    gid: u32,
}

impl Newborn {
    /// Asks the kernel.
    pub(super) fn of_this_process() -> Self {
        // The mask can only be asked for in /proc: umask(2) would change it for every thread.
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("Umask:"));
        let mask = line.and_then(|mask| u32::from_str_radix(mask.trim(), 8).ok()).unwrap_or(0o777);
        Self { mask, uid: rustix::process::geteuid().as_raw(), gid: rustix::process::getegid().as_raw() }
    }
}

impl Unpacker<'_> {
    /// Owner, attributes and mode, in the order in which none undoes another: a change of owner takes away setuid
    /// bits and file capabilities.
    ///
    /// `parent` is given for a file that was just made in it with the entry's mode.
    pub(super) fn describe(&self, entry: &Entry, fd: BorrowedFd<'_>, parent: Option<&Place>) -> Result<()> {
        let (uid, gid) = self.options.owner.unwrap_or((entry.uid, entry.gid));
        let newborn = self.newborn.filter(|_| parent.is_some_and(|parent| !parent.gives_group));
        if newborn.is_none_or(|newborn| (newborn.uid, newborn.gid) != (uid, gid)) {
            rustix::fs::fchown(fd, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))
                .map_err(|e| self.failed("set the owner of", e))?;
        }
        for (name, value) in self.xattrs(entry)? {
            let set = rustix::fs::fsetxattr(fd, &*name, value, XattrFlags::empty());
            self.check_xattr(set, &name)?;
        }
        if newborn.is_some_and(|newborn| entry.mode & (newborn.mask | 0o7000) == 0) {
            return Ok(());
        }
        rustix::fs::fchmod(fd, Mode::from_raw_mode(entry.mode)).map_err(|e| self.failed("set the mode of", e))
    }

    /// The same for what cannot be opened without effects: links, devices, pipes.
    pub(super) fn describe_node(&self, entry: &Entry, place: &Place, name: &CStr) -> Result<()> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd =
            rustix::fs::openat(&place.fd, name, flags, Mode::empty()).map_err(|e| self.failed("open", e))?;
        let (uid, gid) = self.options.owner.unwrap_or((entry.uid, entry.gid));
        rustix::fs::chownat(
            &fd,
            c"",
            Some(Uid::from_raw(uid)),
            Some(Gid::from_raw(gid)),
            AtFlags::EMPTY_PATH,
        )
        .map_err(|e| self.failed("set the owner of", e))?;
        // The descriptor's own path is a magic link to the node itself; only for a symbolic link would the kernel
        // refuse to set anything by it, so that one is named by its parent.
        let by_parent = [disk::proc_path(place.fd.as_fd()).as_bytes(), b"/", name.to_bytes()].concat();
        for (xattr, value) in self.xattrs(entry)? {
            let set = match entry.kind {
                EntryKind::Symlink => {
                    rustix::fs::lsetxattr(by_parent.as_slice(), &*xattr, value, XattrFlags::empty())
                }
                _ => rustix::fs::setxattr(disk::proc_path(fd.as_fd()), &*xattr, value, XattrFlags::empty()),
            };
            self.check_xattr(set, &xattr)?;
        }
        if entry.kind != EntryKind::Symlink {
            rustix::fs::chmod(disk::proc_path(fd.as_fd()), Mode::from_raw_mode(entry.mode))
                .map_err(|e| self.failed("set the mode of", e))?;
        }
        rustix::fs::utimensat(&place.fd, name, &times(entry), AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|e| self.failed("set times of", e))
    }

    fn xattrs<'e>(&self, entry: &'e Entry) -> Result<Vec<(CString, &'e [u8])>> {
        let kept = entry.xattrs.iter().filter(|(name, _)| !name.starts_with(whiteout::OVERLAY_XATTRS));
        kept.map(|(name, value)| match path::c_string(name) {
            Ok(name) => Ok((name, value.as_slice())),
            Err(_) => Err(self.bad("the name of an extended attribute holds a NUL")),
        })
        .collect()
    }

    /// Attributes that this file system or kind of file cannot have are left out, as Docker does.
    fn check_xattr(&self, set: std::result::Result<(), Errno>, name: &CStr) -> Result<()> {
        match set {
            Err(Errno::OPNOTSUPP | Errno::PERM) => {
                tracing::debug!(entry = self.entry, ?name, "extended attribute is not supported here");
                Ok(())
            }
            other => other.map_err(|e| self.failed("set an extended attribute of", e)),
        }
    }
}

/// Access and modification times for the kernel.
pub(super) fn times(entry: &Entry) -> Timestamps {
    let spec = |(seconds, nanos): (i64, u32)| Timespec { tv_sec: seconds, tv_nsec: nanos.into() };
    let access = entry.atime.unwrap_or(entry.mtime).max(entry.mtime);
    Timestamps { last_access: spec(access), last_modification: spec(entry.mtime) }
}
