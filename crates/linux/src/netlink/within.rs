//! Doing something inside of another network namespace.
//!
//! A namespace belongs to a thread, and a thread that fails to come back would poison a pool. So a short-lived thread
//! goes in and never comes back; sockets that it opens work from anywhere.

use rustix::{
    fd::{BorrowedFd, OwnedFd},
    fs::{Mode, OFlags, open},
    thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space, unshare_unsafe},
};
use std::io;

/// Runs `work` in `namespace` and returns what it returns. Panics of `work` are passed on.
pub fn within<T: Send>(namespace: BorrowedFd<'_>, work: impl FnOnce() -> T + Send) -> io::Result<T> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("netns".into()).stack_size(1024 * 1024).spawn_scoped(
            scope,
            move || {
                move_into_link_name_space(namespace, Some(LinkNameSpaceType::Network))?;
                Ok(work())
            },
        )?;
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// The calling thread's network namespace.
pub fn own_namespace() -> io::Result<OwnedFd> {
    Ok(open("/proc/thread-self/ns/net", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?)
}

/// A new network namespace, with nothing but a loopback that is off. It lives as long as the descriptor, or anything in it.
pub fn new_namespace() -> io::Result<OwnedFd> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("netns".into()).spawn_scoped(scope, || {
            // SAFETY: only the network namespace of this thread changes; descriptors stay shared.
            unsafe { unshare_unsafe(UnshareFlags::NEWNET) }?;
            own_namespace()
        })?;
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}
