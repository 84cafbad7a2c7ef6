//! Trees on their way out: gone from their place at once, removed file by file behind everyone's back.
//!
//! Removing 40 000 files takes seconds; nobody should wait for it. What a stop or a crash leaves in the trash, the next
//! start removes.

use crate::{ImageError, Result, disk};
use rustix::io::Errno;
use std::{
    path::{Path, PathBuf},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
};

/// The directory of what is being removed.
#[derive(Debug)]
pub(crate) struct Trash {
    dir: PathBuf,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    /// Told when the removing thread ends; only tests wait for it.
    idle: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// A thread removes.
    running: bool,
    /// Something came while it did.
    more: bool,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Trash {
    /// In `dir`, which exists.
    pub(crate) fn new(dir: PathBuf) -> Self {
        Self { dir, shared: Arc::default() }
    }

    /// Takes a directory away, at once; one that is gone is fine. `name` is one that nothing in the trash has.
    pub(crate) fn take(&self, dir: &Path, name: &str) -> Result<()> {
        match rustix::fs::rename(dir, self.dir.join(name)) {
            Err(Errno::NOENT) => return Ok(()),
            other => other.map_err(|e| ImageError::io("move to the trash", dir, e))?,
        }
        self.empty();
        Ok(())
    }

    /// Has all that is in the trash removed.
    pub(crate) fn empty(&self) {
        {
            let mut state = self.shared.state();
            if state.running {
                state.more = true;
                return;
            }
            state.running = true;
        }
        let (dir, shared) = (self.dir.clone(), self.shared.clone());
        let work = move || work(&dir, &shared);
        if let Err(error) = std::thread::Builder::new().name("image-trash".into()).spawn(work) {
            tracing::warn!(%error, "cannot start a thread to empty the trash; the next removal will");
            self.shared.state().running = false;
            self.shared.idle.notify_all();
        }
    }

    /// Waits until nothing is being removed.
    #[cfg(test)]
    pub(crate) fn wait(&self) {
        let state = self.shared.state();
        let idle = self.shared.idle.wait_while(state, |state| state.running);
        drop(idle.unwrap_or_else(PoisonError::into_inner));
    }
}

fn work(dir: &Path, shared: &Shared) {
    loop {
        // Each is tried once for each time that something came; what cannot be removed stays for the next start.
        for name in disk::names(dir).unwrap_or_default() {
            if let Err(error) = disk::remove_dir(&dir.join(name)) {
                tracing::warn!(%error, "cannot empty the trash");
            }
        }
        let mut state = shared.state();
        if !std::mem::take(&mut state.more) {
            state.running = false;
            shared.idle.notify_all();
            return;
        }
    }
}
