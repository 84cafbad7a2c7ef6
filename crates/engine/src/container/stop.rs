//! `stop` and `restart`: the stop signal, time to obey, then SIGKILL.

use super::{Cell, Containers};
use crate::{Error, error::Result, signal};
use minke_model::{ContainerState, Timestamp};
use minke_runtime::Process;
use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

/// Seconds that a process gets to obey its stop signal.
const PATIENCE: i64 = 10;

/// How long a program may take to set up how it ends.
const NEWBORN: Duration = Duration::from_secs(1);

/// How to stop.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StopOptions {
    /// Instead of the container's own.
    pub signal: Option<String>,
    /// Seconds, negative is without end; `None` is the container's own.
    pub timeout: Option<i64>,
}

impl Containers {
    /// Stops it; `false` when it did not run.
    pub async fn stop(&self, name: &str, options: StopOptions) -> Result<bool> {
        let cell = self.find(name)?;
        if !cell.state().is_up() && cell.state() != ContainerState::Restarting {
            return Ok(false);
        }
        if let Some(text) = options.signal.as_deref().filter(|s| !s.is_empty()) {
            signal::parse(text)
                .map_err(|e| Error::Internal(format!("cannot stop container: {name}: {e}")))?;
        }
        self.stop_cell(&cell, &options).await?;
        Ok(true)
    }

    /// Stops it if it runs, and starts it.
    pub async fn restart(&self, name: &str, options: StopOptions) -> Result<()> {
        let cell = self.find(name)?;
        // Set until it runs again: with `--rm`, the end between is not the end.
        let _again = BeginsAgain::of(&cell);
        if cell.state().is_up() || cell.state() == ContainerState::Restarting {
            self.stop_cell(&cell, &options).await?;
        }
        self.start_cell(&cell).await?;
        self.tell(&cell.record(), "restart", &[]);
        Ok(())
    }

    /// Stops a container that is up, and waits for its end.
    pub(crate) async fn stop_cell(&self, cell: &Arc<Cell>, options: &StopOptions) -> Result<()> {
        let record = cell.record();
        let wanted =
            options.signal.as_deref().filter(|s| !s.is_empty()).or(record.spec.stop_signal.as_deref());
        let number = wanted.map(signal::parse).transpose()?.unwrap_or(signal::TERM);
        let seconds = options.timeout.or(record.spec.stop_timeout).unwrap_or(PATIENCE);
        let mut progress = cell.progress.subscribe();
        let began = progress.borrow_and_update().exits;
        if !cell.state().is_up() && cell.state() != ContainerState::Restarting {
            return Ok(());
        }
        cell.no_restart.store(true, Ordering::SeqCst);
        let deaf = cell.running_process().ok().filter(|process| process.takes(number) == Some(false));
        if let Err(e) = self.send_signal(cell, number).await {
            // It ended by itself meanwhile: that is what was asked for.
            if cell.state().is_up() {
                return Err(e);
            }
        }
        let ended = async {
            let ended = async { progress.wait_for(|p| p.removed || p.exits > began).await.is_ok() };
            tokio::pin!(ended);
            tokio::select! {
                biased;
                done = &mut ended => done,
                () = insist(deaf, number) => ended.await,
            }
        };
        let obeyed = if seconds < 0 {
            ended.await
        } else {
            tokio::time::timeout(Duration::from_secs(seconds as u64), ended).await.unwrap_or(false)
        };
        if !obeyed {
            tracing::info!(
                "container {} did not stop within {seconds} s of signal {number}; killing it",
                cell.id
            );
            if let Err(e) = self.send_signal(cell, signal::KILL).await
                && cell.state().is_up()
            {
                return Err(e);
            }
            // An error is the cell's end: then the container is gone.
            let _ = progress.wait_for(|p| p.removed || p.exits > began).await;
        }
        self.tell(&cell.record(), "stop", &[]);
        Ok(())
    }
}

/// Sends a signal again to a process that did not take it yet, once it does. A shell that was started a moment ago has
/// not set its traps, and the kernel drops a signal that the first process of a PID namespace has no handler for: Docker's
/// own start is so slow that hardly anybody meets this. Only in the first second of its life, and looked for, since the
/// kernel tells nobody that a handler was set.
async fn insist(deaf: Option<Process>, number: i32) {
    let Some(process) = deaf else { return };
    let newborn = || Timestamp::now().as_nanos() - process.started().as_nanos() < NEWBORN.as_nanos() as i64;
    let mut pause = Duration::from_millis(1);
    while newborn() {
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_millis(20));
        match process.takes(number) {
            Some(false) => {}
            // That it ended meanwhile is what was asked for.
            Some(true) => return drop(process.signal(number).await),
            None => return,
        }
    }
}

/// Marks a container as one that a user restarts, as long as it lives.
struct BeginsAgain(Arc<Cell>);

impl BeginsAgain {
    fn of(cell: &Arc<Cell>) -> Self {
        cell.begins_again.store(true, Ordering::SeqCst);
        Self(cell.clone())
    }
}

impl Drop for BeginsAgain {
    fn drop(&mut self) {
        self.0.begins_again.store(false, Ordering::SeqCst);
    }
}
