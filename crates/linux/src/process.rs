//! Words about processes that safe wrappers lack: clone3, exec, signals, descriptors.
//!
//! Never: threads. What follows a clone assumes that the caller has one thread only.

use std::{
    ffi::{CStr, c_char},
    io,
    os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd},
};

/// Starts in the given cgroup; libc has it in a type that is too narrow.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// Who one is after a clone.
#[derive(Debug)]
pub enum Cloned {
    /// The old process.
    Parent {
        /// The new process, in the caller's pid namespace.
        pid: i32,
        /// A handle of it that no other process ever gets.
        pidfd: OwnedFd,
    },
    /// The new process.
    Child,
}

/// Makes a process: `flags` are `CLONE_NEW*`; with `cgroup` (v2) it starts in there (5.7).
///
/// # Safety
/// The caller has one thread; otherwise the child may meet locks that nobody will ever open.
pub unsafe fn clone(flags: u64, cgroup: Option<BorrowedFd<'_>>) -> io::Result<Cloned> {
    let mut pidfd: RawFd = -1;
    // SAFETY: all zero is a valid clone_args.
    let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
    args.flags = flags | libc::CLONE_PIDFD as u64;
    args.pidfd = &raw mut pidfd as u64;
    args.exit_signal = libc::SIGCHLD as u64;
    if let Some(fd) = cgroup {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = fd.as_raw_fd() as u64;
    }
    // SAFETY: `args` and `pidfd` live through the call; without CLONE_VM the child has its own memory.
    let pid = unsafe { libc::syscall(libc::SYS_clone3, &raw const args, size_of::<libc::clone_args>()) };
    match pid {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(Cloned::Child),
        // SAFETY: the kernel just made this descriptor for us.
        pid => Ok(Cloned::Parent { pid: pid as i32, pidfd: unsafe { OwnedFd::from_raw_fd(pidfd) } }),
    }
}

/// Makes a process in the same namespaces: its id, or `None` in it. By clone(2), which Docker's default seccomp profile
/// allows where it hides clone3.
///
/// # Safety
/// As [`clone`].
pub unsafe fn fork() -> io::Result<Option<i32>> {
    // SAFETY: no memory is shared, no stack is given.
    match unsafe { libc::syscall(libc::SYS_clone, libc::SIGCHLD, 0, 0, 0, 0) } {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(None),
        pid => Ok(Some(pid as i32)),
    }
}

/// Replaces the program. Returns only when that fails.
pub fn exec(path: &CStr, args: &[&CStr], env: &[&CStr]) -> io::Error {
    let list = |items: &[&CStr]| -> Vec<*const c_char> {
        items.iter().map(|s| s.as_ptr()).chain([std::ptr::null()]).collect()
    };
    let (args, env) = (list(args), list(env));
    // SAFETY: both lists end in null and point at strings that live through the call.
    unsafe { libc::execve(path.as_ptr(), args.as_ptr(), env.as_ptr()) };
    io::Error::last_os_error()
}

/// Ends this process at once: no destructors, no buffers.
pub fn exit(code: i32) -> ! {
    // SAFETY: `_exit` has no conditions.
    unsafe { libc::_exit(code) }
}

/// All signals get their default action and none is blocked, whatever was inherited.
pub fn reset_signals() {
    // Past the C library, which refuses to touch the two that it uses itself, and whose posix_spawn leaves them ignored.
    let default = [0u64; 4];
    // SAFETY: a zeroed `struct sigaction` of the kernel is SIG_DFL with no flags; SIGKILL and SIGSTOP refuse, which is fine.
    unsafe {
        for signal in 1..=64 {
            libc::syscall(
                libc::SYS_rt_sigaction,
                signal,
                default.as_ptr(),
                std::ptr::null_mut::<u64>(),
                8usize,
            );
        }
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut());
    }
}

/// A signal is dropped when it comes.
pub fn ignore_signal(signal: i32) {
    // SAFETY: no handler of ours runs.
    unsafe { libc::signal(signal, libc::SIG_IGN) };
}

/// Blocks all signals; returns nothing, as the caller takes them by `wait_signal`.
pub fn block_signals() {
    // SAFETY: plain data.
    unsafe {
        let mut all: libc::sigset_t = std::mem::zeroed();
        libc::sigfillset(&raw mut all);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const all, std::ptr::null_mut());
    }
}

/// The next blocked signal that comes.
pub fn wait_signal() -> i32 {
    // SAFETY: plain data; a null info is allowed.
    unsafe {
        let mut all: libc::sigset_t = std::mem::zeroed();
        libc::sigfillset(&raw mut all);
        libc::sigwaitinfo(&raw const all, std::ptr::null_mut())
    }
}

/// All descriptors from `first` on are closed.
pub fn close_from(first: RawFd) -> io::Result<()> {
    close_range(first, 0)
}

/// All descriptors from `first` on close at the next exec.
pub fn close_from_at_exec(first: RawFd) -> io::Result<()> {
    close_range(first, libc::CLOSE_RANGE_CLOEXEC)
}

fn close_range(first: RawFd, flags: u32) -> io::Result<()> {
    // SAFETY: the caller owns no descriptor object above `first` that it still uses.
    match unsafe { libc::syscall(libc::SYS_close_range, first as u32, u32::MAX, flags) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// A limit of this process; `u64::MAX` is none.
pub fn set_rlimit(resource: u32, soft: u64, hard: u64) -> io::Result<()> {
    let limit = libc::rlimit64 { rlim_cur: soft, rlim_max: hard };
    // SAFETY: `limit` lives through the call.
    match unsafe {
        libc::syscall(
            libc::SYS_prlimit64,
            0,
            resource,
            &raw const limit,
            std::ptr::null_mut::<libc::rlimit64>(),
        )
    } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// A limit of this process as it is: soft, hard.
pub fn rlimit(resource: u32) -> io::Result<(u64, u64)> {
    let mut limit = libc::rlimit64 { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` lives through the call.
    match unsafe {
        libc::syscall(libc::SYS_prlimit64, 0, resource, std::ptr::null::<libc::rlimit64>(), &raw mut limit)
    } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok((limit.rlim_cur, limit.rlim_max)),
    }
}

/// Whether this process may run `path` (relative to the current directory), by its effective ids.
pub fn may_execute(path: &CStr) -> io::Result<()> {
    // faccessat2 (5.8): libc's own faccessat emulates AT_EACCESS by reading files, which is not wanted here.
    // SAFETY: `path` lives through the call.
    match unsafe {
        libc::syscall(libc::SYS_faccessat2, libc::AT_FDCWD, path.as_ptr(), libc::X_OK, libc::AT_EACCESS)
    } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// Loads a seccomp filter of 8-byte `sock_filter` records for this process.
pub fn load_seccomp(filter: &[u8], flags: u32) -> io::Result<()> {
    let count = filter.len() / 8;
    if !filter.len().is_multiple_of(8) || count == 0 || count > usize::from(u16::MAX) {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    }
    // Copied, as records need their alignment.
    let records: Vec<libc::sock_filter> = filter
        .chunks_exact(8)
        .map(|b| libc::sock_filter {
            code: u16::from_le_bytes([b[0], b[1]]),
            jt: b[2],
            jf: b[3],
            k: u32::from_le_bytes([b[4], b[5], b[6], b[7]]),
        })
        .collect();
    let program = libc::sock_fprog { len: count as u16, filter: records.as_ptr().cast_mut() };
    // SAFETY: program and records live through the call; the kernel copies them.
    match unsafe {
        libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, &raw const program)
    } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// Takes a descriptor that was passed to this process by number (systemd's socket activation). It is closed at exec.
///
/// # Errors
/// When no such descriptor is open. Taking one twice, or one that something else owns, is the caller's mistake.
pub fn take_passed_fd(number: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: fcntl only looks at the number.
    if unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) } == -1 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: it is open, and whoever passed it gave it to us alone.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}
