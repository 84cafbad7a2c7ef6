//! One inotify for all followers of a daemon: instances are few (128 a user), watches are many.

use rustix::fs::inotify;
use std::{
    collections::HashMap,
    io,
    mem::MaybeUninit,
    os::fd::OwnedFd,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};
use tokio::{io::unix::AsyncFd, sync::watch};

/// Tells of changes in directories.
#[derive(Debug)]
pub(super) struct Watcher {
    /// Also of what is written; else of names alone.
    contents: bool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// `None` while nobody watches.
    inotify: Option<Arc<AsyncFd<OwnedFd>>>,
    directories: HashMap<i32, Directory>,
}

/// A directory and who waits for it.
#[derive(Debug)]
struct Directory {
    changed: watch::Sender<()>,
    subscribers: usize,
}

/// Changes of one directory.
#[derive(Debug)]
pub(super) struct Subscription {
    watcher: Arc<Watcher>,
    id: i32,
    changed: watch::Receiver<()>,
}

impl Watcher {
    pub(super) fn new(contents: bool) -> Self {
        Watcher { contents, state: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes from now on of files in `dir`: made, renamed, and perhaps written to.
    pub(super) fn subscribe(self: &Arc<Self>, dir: &Path) -> io::Result<Subscription> {
        let mut state = self.lock();
        let inotify = match &state.inotify {
            Some(inotify) => Arc::clone(inotify),
            None => {
                let flags = inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK;
                let inotify = Arc::new(asynchronous(inotify::init(flags)?)?);
                state.inotify = Some(Arc::clone(&inotify));
                tokio::spawn(listen(Arc::downgrade(self), Arc::downgrade(&inotify)));
                inotify
            }
        };
        let mut wanted = inotify::WatchFlags::CREATE | inotify::WatchFlags::MOVED_TO;
        wanted.set(inotify::WatchFlags::MODIFY, self.contents);
        let id = inotify::add_watch(inotify.get_ref(), dir, wanted)?;
        let directory = state
            .directories
            .entry(id)
            .or_insert_with(|| Directory { changed: watch::Sender::new(()), subscribers: 0 });
        directory.subscribers += 1;
        Ok(Subscription { watcher: Arc::clone(self), id, changed: directory.changed.subscribe() })
    }
}

impl Subscription {
    /// Waits for a change since the last call.
    pub(super) async fn changed(&mut self) {
        if self.changed.changed().await.is_err() {
            // The inotify failed; nothing more will be told.
            std::future::pending().await
        }
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let mut state = self.watcher.lock();
        let Some(directory) = state.directories.get_mut(&self.id) else { return };
        directory.subscribers -= 1;
        if directory.subscribers > 0 {
            return;
        }
        state.directories.remove(&self.id);
        if let Some(inotify) = &state.inotify {
            // A directory that went away took its watch with it.
            let _ = inotify::remove_watch(inotify.get_ref(), self.id);
        }
        if state.directories.is_empty() {
            // Closes it, and with it ends the listening task.
            state.inotify = None;
        }
    }
}

/// Registers a descriptor with the reactor.
#[expect(
    deprecated,
    reason = "its successor is unsafe for the sake of types that lie about their descriptor"
)]
fn asynchronous(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::with_interest(fd, tokio::io::Interest::READABLE)
}

/// Wakes subscribers until the inotify is closed.
async fn listen(watcher: Weak<Watcher>, inotify: Weak<AsyncFd<OwnedFd>>) {
    loop {
        // Holds the descriptor only while waiting; the last subscriber's leaving wakes it by removing its watch.
        let Some(fd) = inotify.upgrade() else { return };
        let Ok(mut ready) = fd.readable().await else { return };
        let ids = ready.try_io(|fd| read(fd.get_ref()));
        let Ok(ids) = ids else { continue };
        drop(ready);
        let Some(watcher) = watcher.upgrade() else { return };
        let state = watcher.lock();
        match ids {
            Ok(ids) => {
                for (id, directory) in &state.directories {
                    if ids.as_ref().is_none_or(|ids| ids.contains(id)) {
                        directory.changed.send_replace(());
                    }
                }
            }
            Err(_) => return,
        }
        if state.inotify.as_ref().is_none_or(|open| !Arc::ptr_eq(open, &fd)) {
            return;
        }
    }
}

/// Which directories changed; `None` when events were lost and any may have.
fn read(fd: &OwnedFd) -> io::Result<Option<Vec<i32>>> {
    let mut buffer = [MaybeUninit::uninit(); 8192];
    let mut reader = inotify::Reader::new(fd, &mut buffer);
    let mut ids = Vec::new();
    loop {
        let event = reader.next()?;
        if event.events().contains(inotify::ReadFlags::QUEUE_OVERFLOW) {
            return Ok(None);
        }
        if !ids.contains(&event.wd()) {
            ids.push(event.wd());
        }
        if reader.is_buffer_empty() {
            return Ok(Some(ids));
        }
    }
}
