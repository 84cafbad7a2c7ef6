//! `kill`: a signal to a container's first process.

use super::{Cell, Containers};
use crate::{Error, error::Result, signal};
use minke_model::ContainerState;
use minke_store::Durability;
use std::sync::{Arc, atomic::Ordering};

impl Containers {
    /// Sends a signal, SIGKILL unless named.
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
        self.send_signal(&cell, number).await
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
