//! Processes held by a descriptor: never another one, however ids are reused.

use rustix::process::{PidfdFlags, Signal, WaitId, WaitIdOptions};
use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

/// How a child ended: its exit code, 128 + n after signal n.
pub type Code = i32;

/// A handle of a process.
pub fn open(pid: i32) -> io::Result<OwnedFd> {
    let pid = rustix::process::Pid::from_raw(pid).ok_or_else(|| io::Error::from_raw_os_error(libc::ESRCH))?;
    Ok(rustix::process::pidfd_open(pid, PidfdFlags::empty())?)
}

/// Sends a signal, by number (real-time signals too).
pub fn signal(pidfd: BorrowedFd<'_>, signal: i32) -> io::Result<()> {
    use std::os::fd::AsRawFd;
    // SAFETY: no info is given; the descriptor is alive.
    match unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            pidfd.as_raw_fd(),
            signal,
            std::ptr::null::<libc::siginfo_t>(),
            0,
        )
    } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// Sends SIGKILL; a process that is gone is no error.
pub fn kill(pidfd: BorrowedFd<'_>) {
    let _ = rustix::process::pidfd_send_signal(pidfd, Signal::KILL);
}

/// Reaps a child that ended; `None` while it runs. `ECHILD` for what is no child of ours.
pub fn reap(pidfd: impl AsFd) -> io::Result<Option<Code>> {
    let status =
        rustix::process::waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED | WaitIdOptions::NOHANG)?;
    Ok(status.map(|s| match (s.exit_status(), s.terminating_signal()) {
        (Some(code), _) => code,
        (_, Some(signal)) => 128 + signal,
        _ => 255,
    }))
}
