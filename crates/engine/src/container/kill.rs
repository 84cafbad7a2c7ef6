//! `kill`: a signal to a container's first process.

use super::{Cell, Containers};
use crate::{Error, error::Result, signal};
use minke_model::ContainerState;
use minke_store::Durability;
use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

/// How long the kernel may take to end what was killed.
const PATIENCE: Duration = Duration::from_secs(12);

impl Containers {
    /// Sends a signal, SIGKILL unless named. After SIGKILL it waits for the end: who killed may remove at once.
    pub async fn kill(&self, name: &str, wanted: Option<&str>) -> Result<()> {
        let number = match wanted.filter(|s| !s.is_empty()) {
            Some(text) => signal::parse(text)?,
            None => signal::KILL,
        };
        let cell = self.find(name)?;
        if !cell.state().is_up() && cell.state() != ContainerState::Restarting {
            return Err(Error::Conflict(format!(
                "cannot kill container: {name}: container {} is not running",
                cell.id
            )));
        }
        if number != signal::KILL {
            return self.send_signal(&cell, number).await;
        }
        let mut progress = cell.progress.subscribe();
        let began = progress.borrow_and_update().exits;
        self.send_signal(&cell, number).await?;
        let ended = progress.wait_for(|p| p.removed || p.exits > began);
        match tokio::time::timeout(PATIENCE, ended).await {
            // An error is the cell's end: it was removed on its exit.
            Ok(_) => Ok(()),
            Err(_) => {
                Err(Error::Internal("tried to kill container, but did not receive an exit event".into()))
            }
        }
    }

    /// Sends a signal as `kill` and `stop` do: whoever ends by it stays ended.
    pub(super) async fn send_signal(&self, cell: &Arc<Cell>, number: i32) -> Result<()> {
        let record = cell.record();
        let own_stop = record.spec.stop_signal.as_deref().map(signal::parse).transpose()?;
        // A signal that is not the one to stop by may be one that it lives on.
        let ends = number == signal::KILL || own_stop.is_none_or(|s| s == number);
        if ends {
            cell.no_restart.store(true, Ordering::SeqCst);
        }
        cell.change(|c| c.status.stopped_by_user = true);
        self.save(cell, Durability::Relaxed).await?;
        if record.status.state == ContainerState::Restarting {
            cell.cancel_restart.notify_one();
            return Ok(());
        }
        let process = cell.running_process()?;
        process.signal(number).await?;
        if record.status.state == ContainerState::Paused && ends {
            // A frozen process takes no signal; one that ends must run to its end.
            process.resume().await?;
            cell.step(ContainerState::Running, |_| {})?;
        }
        self.tell(&record, "kill", &[("signal", number.to_string())]);
        Ok(())
    }
}
