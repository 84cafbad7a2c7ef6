//! Doing something inside of another network namespace.
//!
//! A namespace belongs to a thread, and a thread that fails to come back would poison a pool. So a short-lived thread
//! goes in and never comes back; sockets that it opens work from anywhere.

use rustix::{
    fd::{BorrowedFd, OwnedFd},
    fs::{Mode, OFlags, open},
    thread::{LinkNameSpaceType, move_into_link_name_space},
};
use std::io;

/// Runs `work` in `namespace` and returns what it returns. Panics of `work` are passed on.
pub fn within<T: Send>(namespace: BorrowedFd<'_>, work: impl FnOnce() -> T + Send) -> io::Result<T> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("netns".into()).stack_size(256 * 1024).spawn_scoped(
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
