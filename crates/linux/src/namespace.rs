//! Namespaces: joined by descriptors, left by nobody.

use std::{
    io,
    os::fd::{AsRawFd, BorrowedFd, OwnedFd},
};

/// Mount.
pub const MOUNT: u64 = libc::CLONE_NEWNS as u64;
/// Process ids.
pub const PID: u64 = libc::CLONE_NEWPID as u64;
/// System V IPC and message queues.
pub const IPC: u64 = libc::CLONE_NEWIPC as u64;
/// Network.
pub const NET: u64 = libc::CLONE_NEWNET as u64;
/// Host name.
pub const UTS: u64 = libc::CLONE_NEWUTS as u64;
/// View of cgroups.
pub const CGROUP: u64 = libc::CLONE_NEWCGROUP as u64;

/// Opens a namespace of a process: `net`, `ipc`, `pid`, `uts`, `cgroup`, `mnt`.
pub fn open(pid: i32, name: &str) -> io::Result<OwnedFd> {
    Ok(rustix::fs::open(
        format!("/proc/{pid}/ns/{name}"),
        rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::CLOEXEC,
        rustix::fs::Mode::empty(),
    )?)
}

/// Joins: `fd` is a namespace (then `flags` may be one of the kinds), or a pidfd (then `flags` are the kinds, 5.8).
pub fn join(fd: BorrowedFd<'_>, flags: u64) -> io::Result<()> {
    // SAFETY: the descriptor is alive; the caller has one thread where the mount namespace is joined.
    match unsafe { libc::setns(fd.as_raw_fd(), flags as i32) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// New namespaces for this thread.
pub fn unshare(flags: u64) -> io::Result<()> {
    // SAFETY: only CLONE_NEW* are given: no memory or descriptors are unshared.
    match unsafe { libc::unshare(flags as i32) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
