//! Terminals: made in a given devpts, never by a path that someone else may have put there.

use rustix::{
    fs::{Mode, OFlags},
    pty::OpenptFlags,
    termios::Winsize,
};
use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

/// DEVPTS_SUPER_MAGIC.
const DEVPTS: u64 = 0x1cd1;

/// A new terminal of the devpts mounted at `dir`: its two sides.
///
/// Refuses anything at `ptmx` that is not the multiplexer of a devpts (CVE-2025-52565: a container may have
/// put something else there).
pub fn open_in(dir: BorrowedFd<'_>) -> io::Result<(OwnedFd, OwnedFd)> {
    let path = rustix::fs::openat2(
        dir,
        "ptmx",
        OFlags::PATH | OFlags::CLOEXEC,
        Mode::empty(),
        rustix::fs::ResolveFlags::BENEATH
            | rustix::fs::ResolveFlags::NO_SYMLINKS
            | rustix::fs::ResolveFlags::NO_XDEV,
    )?;
    let stat = rustix::fs::fstat(&path)?;
    let is_ptmx = stat.st_mode & libc::S_IFMT == libc::S_IFCHR && stat.st_rdev == libc::makedev(5, 2);
    if !is_ptmx || rustix::fs::fstatfs(&path)?.f_type as u64 != DEVPTS {
        return Err(io::Error::from_raw_os_error(libc::ENXIO));
    }
    let master = rustix::fs::openat(
        dir,
        "ptmx",
        OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC | OFlags::NOFOLLOW,
        Mode::empty(),
    )?;
    let again = rustix::fs::fstat(&master)?;
    if again.st_rdev != stat.st_rdev || again.st_dev != stat.st_dev {
        return Err(io::Error::from_raw_os_error(libc::ENXIO));
    }
    rustix::pty::unlockpt(&master)?;
    let slave = rustix::pty::ioctl_tiocgptpeer(
        &master,
        OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC,
    )?;
    Ok((master, slave))
}

/// Makes `slave` this session's terminal.
pub fn control(slave: BorrowedFd<'_>) -> io::Result<()> {
    Ok(rustix::process::ioctl_tiocsctty(slave)?)
}

/// Tells a terminal its size.
pub fn resize(side: impl AsFd, rows: u16, columns: u16) -> io::Result<()> {
    Ok(rustix::termios::tcsetwinsize(
        side,
        Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 },
    )?)
}
