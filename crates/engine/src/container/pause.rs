//! `pause` and `unpause`: all processes of a container frozen and thawed.

use super::Containers;
use crate::{Error, error::Result};
use minke_model::ContainerState;
use minke_store::Durability;

impl Containers {
    /// Freezes all its processes.
    pub async fn pause(&self, name: &str) -> Result<()> {
        let cell = self.find(name)?;
        let _verb = cell.verb.lock().await;
        match cell.state() {
            ContainerState::Running => {}
            ContainerState::Paused => {
                return Err(Error::Conflict(format!("Container {} is already paused", cell.id)));
            }
            ContainerState::Restarting => {
                return Err(Error::Conflict(format!(
                    "Container {} is restarting, wait until the container is running",
                    cell.id
                )));
            }
            _ => return Err(Error::NotRunning(cell.id.to_string())),
        }
        cell.running_process()?.pause().await?;
        let record = cell.step(ContainerState::Paused, |_| {})?;
        self.save(&cell, Durability::Relaxed).await?;
        self.tell(&record, "pause", &[]);
        Ok(())
    }

    /// Thaws all its processes.
    pub async fn unpause(&self, name: &str) -> Result<()> {
        let cell = self.find(name)?;
        let _verb = cell.verb.lock().await;
        if cell.state() != ContainerState::Paused {
            return Err(Error::Internal(format!("Container {} is not paused", cell.id)));
        }
        cell.running_process()?.resume().await?;
        let record = cell.step(ContainerState::Running, |_| {})?;
        self.save(&cell, Durability::Relaxed).await?;
        self.tell(&record, "unpause", &[]);
        Ok(())
    }
}
