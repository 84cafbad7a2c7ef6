//! The shim: one small process per container that makes it, keeps its streams, writes its log and its exit.
//!
//! Never: JSON, threads, tokio, policy. The daemon decides (a `plan::StartPlan`), the shim does.

#![allow(unsafe_code)] // Clone, poll and stdio by number: what no safe wrapper covers.

mod cgroup;
mod child;
mod control;
mod deadline;
mod directory;
mod external;
pub mod log;
pub mod plan;
pub mod protocol;
mod reaper;
mod report;
mod rootfs;
mod search;
mod shim;
mod stream;
mod task;
pub mod user;
pub mod wire;

use minke_linux::process;
use rustix::fs::{Mode, OFlags};
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd};

/// Runs a shim: `args` are its own directory (absolute); stdin is its listening socket. Returns its exit code.
///
/// The process must have one thread.
pub fn main(args: &[String]) -> i32 {
    let [dir] = args else { return 2 };
    match start(dir) {
        Ok(()) => 0,
        Err(_) => 1,
    }
}

fn start(dir: &str) -> std::io::Result<()> {
    reaper::find_command_line();
    // Run by descriptor, it would be called by that one's number.
    let _ = rustix::thread::set_name(c"minke-shim");
    child::hide();
    let _ = rustix::process::setsid();
    // Stopping the daemon's session, group or terminal is nothing to a container.
    for signal in [
        libc::SIGHUP,
        libc::SIGINT,
        libc::SIGQUIT,
        libc::SIGTERM,
        libc::SIGPIPE,
        libc::SIGTSTP,
        libc::SIGTTIN,
        libc::SIGTTOU,
        libc::SIGUSR1,
        libc::SIGUSR2,
    ] {
        process::ignore_signal(signal);
    }
    rustix::process::umask(Mode::from_raw_mode(0o077));
    let dir = rustix::fs::open(dir, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let null = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
    // SAFETY: stdin is open and only looked at.
    let stdin = unsafe { BorrowedFd::borrow_raw(0) };
    // Aside first, then to 3 and 4: nothing that the daemon's spawn leaked stays, wherever it lies.
    let aside = |fd: BorrowedFd<'_>| rustix::io::fcntl_dupfd_cloexec(fd, 10).map(IntoRawFd::into_raw_fd);
    let (from_dir, from_listener, from_null) = (aside(dir.as_fd())?, aside(stdin)?, aside(null.as_fd())?);
    drop((dir, null));
    for (from, to, flags) in [
        (from_null, 0, 0),
        (from_null, 1, 0),
        (from_null, 2, 0),
        (from_dir, 3, libc::O_CLOEXEC),
        (from_listener, 4, libc::O_CLOEXEC),
    ] {
        // SAFETY: no object owns these numbers.
        if unsafe { libc::dup3(from, to, flags) } == -1 {
            return Err(std::io::Error::last_os_error());
        }
    }
    process::close_from(5)?;
    // SAFETY: just placed, owned by nobody.
    let (dir, listener) = unsafe { (OwnedFd::from_raw_fd(3), OwnedFd::from_raw_fd(4)) };
    rustix::process::chdir("/")?;
    shim::run(dir, listener)
}
