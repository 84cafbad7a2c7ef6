//! Paths inside of a root: taken apart, and opened so that nothing leads out.
//!
//! All opening is by openat2(2) with `RESOLVE_IN_ROOT` or `RESOLVE_BENEATH`: a symbolic link, an absolute path or
//! `..` ends at the root, also when someone swaps directories meanwhile.

use rustix::{
    fs::{Mode, OFlags, ResolveFlags},
    io::Errno,
};
use std::{
    ffi::CString,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

/// How often an open is tried that others disturb.
const MAX_TRIES: usize = 64;

/// A relative path without `.`, `..`, doubled and trailing slashes; empty is the root itself.
///
/// `..` takes back what is before it. `None` when the path climbs above the root or holds a NUL.
pub(crate) fn clean(path: &[u8]) -> Option<Vec<u8>> {
    if path.contains(&0) {
        return None;
    }
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in path.split(|&b| b == b'/') {
        match part {
            b"" | b"." => {}
            b".." => drop(parts.pop()?),
            _ => parts.push(part),
        }
    }
    Some(parts.join(&b'/'))
}

/// As [`clean`], but `..` at the root stays there, as it does inside of a container.
pub(crate) fn clean_in_root(path: &[u8]) -> Vec<u8> {
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in path.split(|&b| b == b'/' || b == 0) {
        match part {
            b"" | b"." => {}
            b".." => drop(parts.pop()),
            _ => parts.push(part),
        }
    }
    parts.join(&b'/')
}

/// Parent and last part of a clean path.
pub(crate) fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|&b| b == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (b"", path),
    }
}

/// `parent/name`, where the parent may be the root.
pub(crate) fn join(parent: &[u8], name: &[u8]) -> Vec<u8> {
    if parent.is_empty() { name.to_vec() } else { [parent, b"/", name].concat() }
}

/// For the kernel; a NUL inside is an invalid argument.
pub(crate) fn c_string(bytes: &[u8]) -> Result<CString, Errno> {
    CString::new(bytes).map_err(|_| Errno::INVAL)
}

/// Opens a path whose parts are no links. A link on the way is `ELOOP`, a way out `EXDEV`.
pub(crate) fn open_beneath(
    root: BorrowedFd<'_>,
    path: &[u8],
    flags: OFlags,
    mode: Mode,
) -> Result<OwnedFd, Errno> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    open(root, path, flags, mode, resolve)
}

/// Opens a path as a process inside of `root` would, links included.
pub(crate) fn open_in_root(
    root: BorrowedFd<'_>,
    path: &[u8],
    flags: OFlags,
    mode: Mode,
) -> Result<OwnedFd, Errno> {
    open(root, path, flags, mode, ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS)
}

fn open(
    root: BorrowedFd<'_>,
    path: &[u8],
    flags: OFlags,
    mode: Mode,
    resolve: ResolveFlags,
) -> Result<OwnedFd, Errno> {
    let path = if path.is_empty() { c".".to_owned() } else { c_string(path)? };
    // A rename elsewhere makes `..` uncertain: the kernel then asks to try again.
    for _ in 1..MAX_TRIES {
        match rustix::fs::openat2(root, &*path, flags | OFlags::CLOEXEC, mode, resolve) {
            Err(Errno::AGAIN | Errno::INTR) => {}
            other => return other,
        }
    }
    rustix::fs::openat2(root, &*path, flags | OFlags::CLOEXEC, mode, resolve)
}

/// Where an open directory lies below `root`, as a clean path; `None` when it lies elsewhere by now.
pub(crate) fn place_of(root: BorrowedFd<'_>, fd: BorrowedFd<'_>) -> Result<Option<Vec<u8>>, Errno> {
    let of = |fd: BorrowedFd<'_>| {
        rustix::fs::readlink(crate::disk::proc_path(fd.as_fd()), Vec::new()).map(|path| path.into_bytes())
    };
    let (root, place) = (of(root)?, of(fd)?);
    if root == b"/" {
        return Ok(Some(place.strip_prefix(b"/").unwrap_or(&place).to_vec()));
    }
    Ok(place.strip_prefix(root.as_slice()).and_then(|rest| match rest {
        b"" => Some(Vec::new()),
        _ => rest.strip_prefix(b"/").map(<[u8]>::to_vec),
    }))
}
