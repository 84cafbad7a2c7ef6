//! What follows an exit: the record, events, network and mounts, and the next start if the policy says so.

use super::{Cell, Containers, RemoveOptions, lock};
use minke_model::{ContainerState, Timestamp, health::HealthState};
use minke_runtime::{Exit, Process, restart};
use minke_store::Durability;
use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

/// Follows a process to its end, and the container through its restarts.
pub(super) fn spawn(containers: Containers, cell: Arc<Cell>, process: Process) {
    tokio::spawn(async move {
        let exit = process.wait().await;
        containers.ended(&cell, exit).await;
    });
}

impl Containers {
    /// Takes note of an exit, and starts the container again or removes it as asked.
    pub(crate) async fn ended(&self, cell: &Arc<Cell>, exit: Exit) {
        let verb = cell.verb.lock().await;
        let again = self.note_exit(cell, exit).await;
        drop(verb);
        match again {
            Some(delay) => self.restart_later(cell, delay).await,
            None if cell.record().spec.auto_remove
                && !cell.begins_again.load(Ordering::SeqCst)
                && !self.inner.closing.load(Ordering::SeqCst) =>
            {
                let options = RemoveOptions { force: false, volumes: true, link: false };
                if let Err(e) = self.remove_cell(cell, &options).await {
                    tracing::warn!("cannot remove container {} after its end: {e}", cell.id);
                }
            }
            None => {}
        }
    }

    /// Writes the exit down and tells of it; when to start again, if ever. The caller holds the verb lock.
    async fn note_exit(&self, cell: &Arc<Cell>, exit: Exit) -> Option<Duration> {
        lock(&cell.prober).take();
        let before = cell.record();
        let again = self.next_start(cell, exit);
        self.tear_down(cell).await;
        cell.set_process(None);
        cell.execs.end_all();
        let next = if again.is_some() { ContainerState::Restarting } else { ContainerState::Exited };
        let stepped = cell.step(next, |c| {
            c.status.pid = 0;
            c.status.exit_code = exit.code;
            c.status.finished = exit.at;
            c.status.oom_killed = exit.oom;
            if let Some(health) = c.status.health.as_mut().filter(|h| h.state != HealthState::Unhealthy) {
                health.state = HealthState::Unhealthy;
            }
            if again.is_some() {
                c.status.restart_count += 1;
            }
        });
        let record = match stepped {
            Ok(record) => record,
            Err(e) => {
                tracing::warn!("an exit of container {} came too late: {e}", cell.id);
                before
            }
        };
        if let Err(e) = self.save(cell, Durability::Relaxed).await {
            tracing::error!("cannot write down the exit of container {}: {e}", cell.id);
        }
        if exit.oom {
            self.tell(&record, "oom", &[]);
        }
        let lasted = exit.at.since(record.status.started).as_secs();
        self.tell(
            &record,
            "die",
            &[("exitCode", exit.code.to_string()), ("execDuration", lasted.to_string())],
        );
        cell.progress.send_modify(|p| {
            p.exits += 1;
            p.code = exit.code;
        });
        again
    }

    fn next_start(&self, cell: &Cell, exit: Exit) -> Option<Duration> {
        let by_user = cell.no_restart.swap(false, Ordering::SeqCst);
        if self.inner.closing.load(Ordering::SeqCst) {
            return None;
        }
        let record = cell.record();
        let unhealthy = record.status.health.as_ref().is_some_and(|h| h.state == HealthState::Unhealthy);
        let ended = restart::Ended {
            exit_code: exit.code,
            ran: exit.at.since(record.status.started),
            by_user,
            unhealthy,
        };
        let history = restart::History {
            restarts: record.status.restart_count,
            wait: cell.last_delay().unwrap_or_default(),
        };
        let next = restart::next(record.spec.restart, ended, history);
        cell.set_last_delay(next.map(|n| n.history.wait));
        next.map(|n| n.after)
    }

    /// Waits for the back-off and starts it again; a user's stop ends the wait.
    pub(crate) async fn restart_later(&self, cell: &Arc<Cell>, delay: Duration) {
        let mut delay = delay;
        loop {
            let cancelled = tokio::select! {
                () = cell.cancel_restart.notified() => true,
                () = tokio::time::sleep(delay) => false,
            };
            let verb = cell.verb.lock().await;
            if cell.state() != ContainerState::Restarting {
                return;
            }
            if cancelled || self.inner.closing.load(Ordering::SeqCst) {
                self.give_up(cell).await;
                drop(verb);
                return;
            }
            let Err(e) = self.launch(cell).await else { return };
            tracing::warn!("cannot start container {} again: {e}", cell.id);
            let failed = Exit { code: cell.record().status.exit_code, at: Timestamp::now(), oom: false };
            match self.next_start(cell, failed) {
                Some(next) => {
                    delay = next;
                    cell.change(|c| c.status.restart_count += 1);
                }
                None => {
                    self.give_up(cell).await;
                    return;
                }
            }
        }
    }

    async fn give_up(&self, cell: &Arc<Cell>) {
        cell.no_restart.store(false, Ordering::SeqCst);
        if let Err(e) = cell.step(ContainerState::Exited, |_| {}) {
            tracing::warn!("container {} stays as it is: {e}", cell.id);
        }
        if let Err(e) = self.save(cell, Durability::Relaxed).await {
            tracing::error!("cannot write down the end of container {}: {e}", cell.id);
        }
        cell.progress.send_modify(|p| p.exits += 1);
    }
}
