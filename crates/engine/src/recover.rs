//! After a restart of the daemon: find the shims, take note of what happened meanwhile, start what shall run, and take
//! away what no record names.

use crate::{
    Containers,
    container::{Cell, StopOptions},
    error::Result,
    records::ExecRecord,
};
use minke_model::{
    Container, ContainerId, ContainerState, ExecId, Timestamp, health::HealthState, restart::RestartPolicy,
};
use minke_runtime::{Exit, Found, restart};
use minke_store::Durability;
use std::{collections::HashSet, sync::Arc, time::Duration};

/// The exit code of a container whose end nobody saw, as Docker's after a reboot.
const UNSEEN: i32 = 255;

impl Containers {
    /// Reads the records and finds what still runs. Ports, names and addresses are as before when it returns.
    pub(crate) async fn recover(&self) -> Result<()> {
        let records = self.inner.records.containers()?;
        let mut adopted = Vec::new();
        for record in records {
            if let Err(e) = self.reserve_name(&record.name, &record.id) {
                tracing::error!("container {} has lost its name: {e}", record.id);
            }
            for mount in record.mounts.iter().filter(|m| m.kind == minke_model::mount::MountKind::Volume) {
                self.inner.volumes.hold(&mount.name, &record.id);
            }
            let cell = Arc::new(Cell::new(record.as_ref().clone()));
            self.insert(cell.clone());
            adopted.push(cell);
        }
        self.sweep().await;
        self.inner.networks.recall_overlays().await;
        // Addresses of what runs are taken before anything else starts.
        let mut ends = Vec::new();
        let execs = self.inner.records.execs()?;
        for cell in &adopted {
            if let Some(exit) = self.find_process(cell, &execs).await {
                ends.push((cell.clone(), exit));
            }
        }
        for (id, exec) in &execs {
            let runs = adopted.iter().any(|c| c.id == exec.container && c.process().is_some());
            if !runs {
                self.inner.records.delete_exec(id).await?;
            }
        }
        let running = adopted.iter().map(|c| c.record()).filter(|r| r.status.state.is_up());
        let running: Vec<_> = running.map(|r| (r.clone(), self.linked(&r))).collect();
        self.inner.networks.sync(&running).await?;
        let running: Vec<_> = running.into_iter().map(|(record, _)| record).collect();
        self.inner.networks.restore_overlays(&running).await;
        self.rejoin_overlays(&adopted).await;
        // Before the API is served: nobody shall see what is not to be.
        if self.inner.config.stop_survivors {
            self.stop_survivors(&adopted).await;
        }
        self.start_all(adopted, ends);
        Ok(())
    }

    /// Containers that ran on are in their overlay networks as before.
    async fn rejoin_overlays(&self, adopted: &[Arc<Cell>]) {
        for cell in adopted {
            let (record, Some(process)) = (cell.record(), cell.process()) else { continue };
            if !record.spec.networking.mode.is_private() {
                continue;
            }
            let joined = match process.netns() {
                Ok(netns) => self.inner.networks.reconnect_overlays(&record, &netns).await,
                Err(e) => Err(e.into()),
            };
            if let Err(e) = joined {
                tracing::error!("container {} is not in its overlay networks: {e}", record.name);
            }
        }
    }

    /// Finds the process of a container that ran; its exit when it ended meanwhile.
    async fn find_process(&self, cell: &Arc<Cell>, execs: &[(ExecId, Arc<ExecRecord>)]) -> Option<Exit> {
        let record = cell.record();
        let was_up = record.status.state.is_up();
        let found = match self.inner.runtime.reconnect(&record.id).await {
            Ok(found) => found,
            Err(e) => {
                tracing::warn!("cannot find the process of container {}: {e}", record.id);
                None
            }
        };
        match found {
            Some(Found::Running(process)) => {
                self.adopt(cell, process, execs).await;
                None
            }
            Some(Found::Exited(exit)) if was_up => Some(exit),
            None if was_up => Some(Exit { code: UNSEEN, at: Timestamp::now(), oom: false }),
            _ => {
                // A shim that waits for a *go* that never came, or whose exit was recorded.
                if let Err(e) = self.inner.runtime.forget(&record.id).await {
                    tracing::warn!("cannot clean up after the process of container {}: {e}", record.id);
                }
                None
            }
        }
    }

    /// Takes a process that ran on into care again.
    async fn adopt(
        &self,
        cell: &Arc<Cell>,
        process: minke_runtime::Process,
        execs: &[(ExecId, Arc<ExecRecord>)],
    ) {
        let record = cell.record();
        self.inner.networks.reclaim(&record);
        cell.set_process(Some(process.clone()));
        if !record.status.state.is_up() {
            // The daemon died between the start and its record.
            let started = process.started();
            cell.change(|c| {
                c.status.state = ContainerState::Running;
                c.status.pid = process.pid();
                c.status.started = started;
                c.status.error.clear();
            });
            cell.progress.send_modify(|p| p.state = ContainerState::Running);
            if let Err(e) = self.save(cell, Durability::Relaxed).await {
                tracing::error!("cannot write down that container {} runs: {e}", record.id);
            }
        }
        // Probes begin again: what was known is of before.
        cell.change(|c| {
            if let Some(health) = &mut c.status.health {
                (health.state, health.failing_streak) = (HealthState::Starting, 0);
            }
        });
        for mount in record.mounts.iter().filter(|m| m.kind == minke_model::mount::MountKind::Volume) {
            if let Err(e) = self.inner.volumes.mount(&mount.name, &record.id) {
                tracing::warn!("volume {} of container {}: {e}", mount.name, record.name);
            }
        }
        if record.spec.networking.mode.is_private() {
            let resumed = match process.netns() {
                Ok(netns) => {
                    let record = cell.record();
                    self.inner.networks.resume(&record, netns, self.resolver(&record)).await
                }
                Err(e) => Err(e.into()),
            };
            if let Err(e) = resumed {
                tracing::error!("the network of container {} is not whole again: {e}", record.name);
            }
        }
        self.adopt_execs(cell, &process, execs).await;
        self.watch(cell, process);
    }

    /// Takes note of exits, and starts what shall run, behind those that it shares namespaces with.
    fn start_all(&self, cells: Vec<Arc<Cell>>, ends: Vec<(Arc<Cell>, Exit)>) {
        let containers = self.clone();
        tokio::spawn(async move {
            for (cell, exit) in ends {
                containers.ended_unseen(&cell, exit).await;
            }
            for cell in in_order(cells) {
                let record = cell.record();
                let idle = matches!(
                    record.status.state,
                    ContainerState::Exited | ContainerState::Created | ContainerState::Restarting
                );
                let ever = !record.status.started.is_zero();
                let status = &record.status;
                let wanted = ever
                    && restart::at_daemon_start(
                        record.spec.restart,
                        status.exit_code,
                        status.stopped_by_user,
                        status.restart_count,
                    );
                if idle && wanted {
                    if record.status.state == ContainerState::Restarting {
                        containers.step_to_exited(&cell).await;
                    }
                    if let Err(e) = containers.start_cell(&cell).await {
                        tracing::error!("cannot start container {}: {e}", record.name);
                    }
                } else if record.status.state == ContainerState::Restarting {
                    containers.step_to_exited(&cell).await;
                } else if record.status.state == ContainerState::Removing {
                    containers.finish_removal(&cell).await;
                }
            }
        });
    }

    async fn ended_unseen(&self, cell: &Arc<Cell>, exit: Exit) {
        let record = cell.record();
        let rebooted = record.status.boot_id != crate::machine::boot_id();
        if rebooted {
            // Restart policies act on a reboot as on a start of the daemon, without back-off.
            cell.no_restart.store(true, std::sync::atomic::Ordering::SeqCst);
        }
        self.inner.networks.reclaim(&record);
        let containers = self.clone();
        let cell = cell.clone();
        if rebooted || record.spec.restart == RestartPolicy::No {
            containers.ended(&cell, exit).await;
        } else {
            // The wait for its back-off must not hold others up.
            tokio::spawn(async move { containers.ended(&cell, exit).await });
        }
    }

    /// dockerd's meaning without live-restore: what outlived the daemon is stopped, then policies act.
    async fn stop_survivors(&self, cells: &[Arc<Cell>]) {
        let stops = cells.iter().filter(|c| c.state().is_up()).map(|cell| async move {
            if let Err(e) = self.stop_cell(cell, &StopOptions::default()).await {
                tracing::warn!("cannot stop container {}: {e}", cell.id);
            }
            cell.change(|c| c.status.stopped_by_user = false);
        });
        futures_util::future::join_all(stops).await;
    }

    async fn step_to_exited(&self, cell: &Arc<Cell>) {
        let stepped = cell.step(ContainerState::Exited, |_| {});
        let saved = match stepped {
            Ok(_) => self.save(cell, Durability::Relaxed).await,
            Err(e) => Err(e),
        };
        if let Err(e) = saved {
            tracing::warn!("cannot write down the state of container {}: {e}", cell.id);
        }
    }

    async fn finish_removal(&self, cell: &Arc<Cell>) {
        let options = crate::container::RemoveOptions {
            force: true,
            volumes: cell.record().spec.auto_remove,
            link: false,
        };
        if let Err(e) = self.remove(cell.id.as_str(), options).await {
            tracing::warn!("cannot finish the removal of container {}: {e}", cell.id);
        }
    }

    /// Takes away what no record names: snapshots, directories and shims of creates and removals that a crash cut off.
    async fn sweep(&self) {
        let known: HashSet<ContainerId> = self.cells().iter().map(|c| c.id.clone()).collect();
        for id in self.inner.runtime.containers().into_iter().filter(|id| !known.contains(id)) {
            if let Ok(Some(Found::Running(process))) = self.inner.runtime.reconnect(&id).await {
                let _ = process.kill().await;
                process.wait().await;
            }
            if let Err(e) = self.inner.runtime.forget(&id).await {
                tracing::warn!("cannot take away the process of the unknown container {id}: {e}");
            }
        }
        for id in self.inner.store.snapshots().into_iter().filter(|id| !known.contains(id)) {
            if let Err(e) = self.inner.store.discard(&id) {
                tracing::warn!("cannot take away the root of the unknown container {id}: {e}");
            }
        }
        let directory = self.inner.config.data_root.join("containers");
        for entry in std::fs::read_dir(&directory).into_iter().flatten().flatten() {
            let id = entry.file_name().to_str().and_then(ContainerId::parse);
            if id.is_some_and(|id| !known.contains(&id))
                && let Err(e) = crate::volume::remove_tree(&entry.path())
            {
                tracing::warn!("cannot remove {}: {e}", entry.path().display());
            }
        }
    }

    /// Stops all containers, for a daemon that takes them with it.
    pub async fn stop_all(&self, timeout: i64) {
        let cells = self.cells();
        let stops = cells.iter().filter(|c| c.state().is_up()).map(|cell| async move {
            let options =
                StopOptions { signal: None, timeout: cell.record().spec.stop_timeout.or(Some(timeout)) };
            if let Err(e) = self.stop_cell(cell, &options).await {
                tracing::warn!("cannot stop container {}: {e}", cell.id);
            }
            // The daemon stopped it, not a user: policies act at its next start.
            cell.change(|c| c.status.stopped_by_user = false);
            if let Err(e) = self.save(cell, Durability::Relaxed).await {
                tracing::warn!("cannot write down the stop of container {}: {e}", cell.id);
            }
        });
        tokio::time::timeout(
            Duration::from_secs(timeout.max(0) as u64 + 5),
            futures_util::future::join_all(stops),
        )
        .await
        .unwrap_or_default();
    }

    /// Whether any container has a process.
    pub(crate) fn any_up(&self) -> bool {
        self.cells().iter().any(|c| c.process().is_some())
    }

    /// No restarts any more: the daemon goes down.
    pub fn close(&self) {
        self.inner.closing.store(true, std::sync::atomic::Ordering::SeqCst);
    }
}

/// Behind those whose network they share, that they link to or take volumes from; else by age (pure but for look-ups).
fn in_order(cells: Vec<Arc<Cell>>) -> Vec<Arc<Cell>> {
    let mut cells = cells;
    cells.sort_by_key(|c| c.record().created);
    let mut ordered: Vec<Arc<Cell>> = Vec::with_capacity(cells.len());
    let mut waiting = cells;
    loop {
        let done: HashSet<String> =
            ordered.iter().flat_map(|c| [c.record().name.clone(), c.id.to_string()]).collect();
        let there: HashSet<String> =
            waiting.iter().flat_map(|c| [c.record().name.clone(), c.id.to_string()]).collect();
        let ready = |c: &Arc<Cell>| needs(&c.record()).iter().all(|n| done.contains(n) || !there.contains(n));
        let (now, later): (Vec<_>, Vec<_>) = waiting.into_iter().partition(ready);
        if now.is_empty() {
            // A circle: their start says what is wrong.
            ordered.extend(later);
            return ordered;
        }
        ordered.extend(now);
        if later.is_empty() {
            return ordered;
        }
        waiting = later;
    }
}

fn needs(record: &Container) -> Vec<String> {
    use minke_model::container::{IpcSharing, NetworkMode, Sharing};
    let spec = &record.spec;
    let mut needs = Vec::new();
    if let NetworkMode::Container(c) = &spec.networking.mode {
        needs.push(c.clone());
    }
    if let Sharing::Container(c) = &spec.namespaces.pid {
        needs.push(c.clone());
    }
    if let IpcSharing::Container(c) = &spec.namespaces.ipc {
        needs.push(c.clone());
    }
    let first = |text: &String| text.split(':').next().unwrap_or_default().trim_start_matches('/').to_owned();
    needs.extend(spec.networking.links.iter().flatten().map(first));
    needs.extend(spec.volumes_from.iter().flatten().map(first));
    needs
}
