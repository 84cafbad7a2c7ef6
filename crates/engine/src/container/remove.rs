//! `rm`: record `removing`, kernel things, snapshot, then the record is gone.

use super::{Cell, Containers, links};
use crate::{Error, error::Result};
use minke_model::{ContainerState, mount::MountKind};
use minke_store::Durability;
use std::sync::{Arc, atomic::Ordering};

/// How to remove.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RemoveOptions {
    /// Kill it when it runs; a half-removed one goes too.
    pub force: bool,
    /// Its anonymous volumes go too.
    pub volumes: bool,
    /// Not the container: the link of that name (`/web/db`).
    pub link: bool,
}

impl Containers {
    /// Removes a container, or a link.
    pub async fn remove(&self, name: &str, options: RemoveOptions) -> Result<()> {
        if options.link {
            return self.remove_link(name).await;
        }
        let cell = self.find(name)?;
        may_remove(&cell, name, &options)?;
        self.remove_cell(&cell, &options).await
    }

    pub(crate) async fn remove_cell(&self, cell: &Arc<Cell>, options: &RemoveOptions) -> Result<()> {
        may_remove(cell, &cell.record().name, options)?;
        if cell.state().is_up() || cell.state() == ContainerState::Restarting {
            self.end_for_removal(cell).await?;
        }
        let _verb = cell.verb.lock().await;
        if cell.progress.borrow().removed {
            return Ok(());
        }
        cell.attachers.clear();
        if cell.state() != ContainerState::Removing {
            cell.step(ContainerState::Removing, |_| {})?;
            self.save(cell, Durability::Relaxed).await?;
        }
        match self.take_apart(cell, options).await {
            Ok(()) => Ok(()),
            Err(e) => {
                cell.step(ContainerState::Dead, |c| c.status.error = e.to_string())?;
                self.save(cell, Durability::Synced).await?;
                Err(e)
            }
        }
    }

    /// Kills what runs, so that it can be removed; again when a restart that was under way came between.
    async fn end_for_removal(&self, cell: &Arc<Cell>) -> Result<()> {
        let mut progress = cell.progress.subscribe();
        // Each run is told to have been killed once, whatever else changes before its end.
        let mut told = None;
        loop {
            let now = progress.borrow_and_update().clone();
            if now.removed || !now.state.is_up() && now.state != ContainerState::Restarting {
                return Ok(());
            }
            cell.no_restart.store(true, Ordering::SeqCst);
            cell.cancel_restart.notify_one();
            if let Some(process) = cell.process() {
                if now.state == ContainerState::Paused {
                    process.resume().await?;
                }
                if told.replace(now.exits) != Some(now.exits) {
                    self.tell(&cell.record(), "kill", &[("signal", "9".into())]);
                }
                process.kill().await?;
            }
            // An error is the cell's end.
            if progress.changed().await.is_err() {
                return Ok(());
            }
        }
    }

    async fn take_apart(&self, cell: &Arc<Cell>, options: &RemoveOptions) -> Result<()> {
        let record = cell.record();
        self.unmount_shm(&record);
        let (store, id, directory) = (self.inner.store.clone(), cell.id.clone(), self.directory(&cell.id));
        crate::blocking(move || {
            store.discard(&id)?;
            crate::volume::remove_tree(&directory)
                .map_err(Error::io(format!("cannot remove {}", directory.display())))
        })
        .await??;
        let durability = if record.spec.auto_remove { Durability::Relaxed } else { Durability::Synced };
        self.inner.records.delete_container(&record, durability).await?;
        self.let_volumes_go(&cell.id, &record.mounts);
        self.release_name(&record.name, &cell.id);
        self.forget(&cell.id);
        self.inner.networks.forget(&cell.id);
        self.tell(&record, "destroy", &[]);
        cell.progress.send_modify(|p| p.removed = true);
        if options.volumes {
            for point in record.mounts.iter().filter(|m| m.kind == MountKind::Volume) {
                let anonymous = self.inner.volumes.inspect(&point.name).is_ok_and(|v| v.volume.anonymous);
                if anonymous
                    && self.inner.volumes.users(&point.name) == 0
                    && let Err(e) = self.inner.volumes.remove(&point.name, true).await
                {
                    tracing::warn!("volume {} of container {} stays: {e}", point.name, record.name);
                }
            }
        }
        Ok(())
    }

    /// `/web/db` is the link of `web` under the alias `db`.
    async fn remove_link(&self, name: &str) -> Result<()> {
        let path = name.trim_start_matches('/');
        let Some((holder, alias)) = path.split_once('/') else {
            self.find(name)?;
            return Err(Error::Internal(
                "Conflict, cannot remove the default link name of the container".into(),
            ));
        };
        let cell = self.find(holder)?;
        let _verb = cell.verb.lock().await;
        let has = |link: &String| links::parse(link).1 == alias;
        if !cell.record().spec.networking.links.iter().flatten().any(has) {
            return Err(Error::NotFound(format!("no such link: {name}")));
        }
        cell.change(|c| {
            if let Some(links) = &mut c.spec.networking.links {
                links.retain(|l| links::parse(l).1 != alias);
            }
        });
        let record = cell.record();
        if record.status.state.is_up() {
            self.write_files_again(&record)?;
            self.link_up(&record).await?;
        }
        self.save(&cell, Durability::Synced).await
    }
}

/// Refuses what only force removes, and a second removal; `asked` is the container's name in the asker's words.
fn may_remove(cell: &Cell, asked: &str, options: &RemoveOptions) -> Result<()> {
    if options.force {
        return Ok(());
    }
    let advice = match cell.state() {
        ContainerState::Removing => {
            return Err(Error::Conflict(format!("removal of container {asked} is already in progress")));
        }
        ContainerState::Paused => "container is paused and must be unpaused first",
        ContainerState::Restarting => {
            "container is restarting: stop the container before removing or force remove"
        }
        ContainerState::Running => "container is running: stop the container before removing or force remove",
        _ => return Ok(()),
    };
    Err(Error::Conflict(format!("cannot remove container \"{asked}\": {advice}")))
}
