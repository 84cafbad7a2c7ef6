//! Removal without waiting: what is in use is remembered and tried again when the kernel says that it is empty,
//! or at the next opportunity.

use super::{Cgroup, CgroupError};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::{
    fs,
    io::{self, Read, Seek},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// How many cgroups may be remembered; beyond that the oldest are given up (a daemon's next start removes them).
const MOST: usize = 4096;

/// Removes a cgroup and all below it, the deepest first. Adds what is in use to `busy`.
pub(super) fn remove_tree(dir: &Path, busy: &mut Vec<PathBuf>) -> Result<(), CgroupError> {
    // The usual case has nothing below it: one syscall.
    if remove_one(dir)? {
        return Ok(());
    }
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_tree(&entry.path(), busy)?;
        }
    }
    if !remove_one(dir)? {
        busy.push(dir.to_owned());
    }
    Ok(())
}

/// Whether the directory is gone.
fn remove_one(dir: &Path) -> Result<bool, CgroupError> {
    match fs::remove_dir(dir) {
        Ok(()) => Ok(true),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(true),
        Err(e) if matches!(e.raw_os_error(), Some(libc::EBUSY | libc::ENOTEMPTY)) => Ok(false),
        Err(source) => Err(CgroupError::Remove { path: dir.to_owned(), source }),
    }
}

/// How many threads may wait for cgroups at once; what comes above that goes at the next opportunity.
const MOST_WATCHERS: usize = 16;

/// How long such a thread waits: a process that a kill does not end within it is stuck in the kernel.
const WATCH_SECONDS: i64 = 60;

/// Cgroups that were still in use when they should go.
#[derive(Debug, Default)]
pub(super) struct Leftovers {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    cgroups: Vec<Cgroup>,
    watchers: usize,
}

impl Leftovers {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers one, and has the kernel tell when it is empty.
    pub(super) fn add(self: &Arc<Self>, cgroup: Cgroup) {
        let events = cgroup.unified().map(|dir| dir.join("cgroup.events"));
        let mut state = self.lock();
        if state.cgroups.len() >= MOST {
            state.cgroups.remove(0);
        }
        state.cgroups.push(cgroup);
        let Some(events) = events.filter(|_| state.watchers < MOST_WATCHERS) else { return };
        let me = Arc::clone(self);
        let watch = move || {
            wait_until_empty(&events);
            me.lock().watchers -= 1;
            me.retry();
        };
        if std::thread::Builder::new().name("cgroup-remove".into()).spawn(watch).is_ok() {
            state.watchers += 1;
        }
    }

    /// Forgets a path that is made anew.
    pub(super) fn drop_path(&self, path: &Path) {
        self.lock().cgroups.retain(|c| c.path != path);
    }

    /// Tries all again.
    pub(super) fn retry(&self) {
        self.lock().cgroups.retain(|cgroup| {
            let mut busy = Vec::new();
            let gone = cgroup.dirs().iter().all(|dir| remove_tree(dir, &mut busy).is_ok());
            gone && !busy.is_empty()
        });
    }
}

/// Blocks until a unified cgroup has no process any more (in any hierarchy: the kernel counts them together).
fn wait_until_empty(events: &Path) {
    let Ok(mut file) = fs::File::open(events) else { return };
    let mut buffer = [0u8; 256];
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(WATCH_SECONDS as u64);
    loop {
        // Reading arms the notification that poll(2) waits for.
        let Ok(n) = file.seek(io::SeekFrom::Start(0)).and_then(|_| file.read(&mut buffer)) else { return };
        if !buffer[..n].windows(11).any(|w| w == b"populated 1") || std::time::Instant::now() >= deadline {
            return;
        }
        let limit = Timespec { tv_sec: WATCH_SECONDS, tv_nsec: 0 };
        if poll(&mut [PollFd::new(&file, PollFlags::PRI)], Some(&limit)).is_err() {
            return;
        }
    }
}
