//! Whiteouts: how a layer says that something below it is gone.
//!
//! In a layer's tar: an entry `.wh.NAME` hides NAME, `.wh..wh..opq` hides all that the directory holds below (OCI
//! image spec, layer.md#whiteouts). In an overlayfs directory: a character device 0:0, and the extended attribute
//! `trusted.overlay.opaque=y` (kernel, Documentation/filesystems/overlayfs.rst).

use crate::{disk, path};
use rustix::{
    fs::{AtFlags, FileType, Mode, Stat, XattrFlags},
    io::Errno,
};
use std::{ffi::CStr, os::fd::BorrowedFd};

/// Prefix of the name of what is hidden.
const PREFIX: &[u8] = b".wh.";

/// Prefix of aufs's own files, which mean nothing here.
const META_PREFIX: &[u8] = b".wh..wh.";

/// Hides all that a directory holds below.
const OPAQUE: &[u8] = b".wh..wh..opq";

/// Marks an opaque directory.
const OPAQUE_XATTR: &CStr = c"trusted.overlay.opaque";

/// Attributes that steer overlayfs itself. A tar that could set them could redirect one path to another.
pub(crate) const OVERLAY_XATTRS: &[u8] = b"trusted.overlay.";

/// What an entry's last part means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Name<'a> {
    /// A file of that name.
    Plain,
    /// This name is hidden.
    Hidden(&'a [u8]),
    /// The directory that it is in is opaque.
    Opaque,
    /// Nothing: aufs's book-keeping.
    Nothing,
    /// `.wh.`, `.wh..` or `.wh...`, which hide nothing that could be named.
    Bad,
}

/// Reads the last part of an entry's path.
pub(crate) fn read(name: &[u8]) -> Name<'_> {
    if name == OPAQUE {
        return Name::Opaque;
    }
    if name.starts_with(META_PREFIX) {
        return Name::Nothing;
    }
    match name.strip_prefix(PREFIX) {
        None => Name::Plain,
        Some(b"" | b"." | b"..") => Name::Bad,
        Some(hidden) => Name::Hidden(hidden),
    }
}

/// Whether an entry's clean path begins with a directory of aufs's book-keeping.
pub(crate) fn is_aufs_own(clean: &[u8]) -> bool {
    clean.starts_with(META_PREFIX) && clean != OPAQUE
}

/// The entry that hides `path` in a tar.
pub(crate) fn tar_path(hidden: &[u8]) -> Vec<u8> {
    let (parent, name) = path::split(hidden);
    path::join(parent, &[PREFIX, name].concat())
}

/// The entry that makes the directory `path` opaque in a tar.
pub(crate) fn opaque_path(dir: &[u8]) -> Vec<u8> {
    path::join(dir, OPAQUE)
}

/// Whether it is overlayfs's whiteout.
pub(crate) fn is_whiteout(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice && stat.st_rdev == 0
}

/// Makes overlayfs's whiteout.
pub(crate) fn make(parent: BorrowedFd<'_>, name: &CStr) -> Result<(), Errno> {
    rustix::fs::mknodat(parent, name, FileType::CharacterDevice, Mode::empty(), 0)
}

/// Hides `name` of the layers below, where this layer may have something of that name itself: that stays.
pub(crate) fn hide(parent: BorrowedFd<'_>, name: &CStr) -> Result<(), Errno> {
    match make(parent, name) {
        Err(Errno::EXIST) => {}
        other => return other,
    }
    let stat = rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
        return Ok(());
    }
    set_opaque(path::open_beneath(parent, name.to_bytes(), rustix::fs::OFlags::PATH, Mode::empty())?)
}

/// Makes an open directory opaque.
pub(crate) fn set_opaque(dir: impl std::os::fd::AsFd) -> Result<(), Errno> {
    rustix::fs::setxattr(disk::proc_path(dir.as_fd()), OPAQUE_XATTR, b"y", XattrFlags::empty())
}

/// Whether an open directory is opaque.
pub(crate) fn is_opaque(dir: BorrowedFd<'_>) -> bool {
    let mut value = [0; 4];
    matches!(rustix::fs::getxattr(disk::proc_path(dir), OPAQUE_XATTR, &mut value[..]), Ok(1) if value[0] == b'y')
}
