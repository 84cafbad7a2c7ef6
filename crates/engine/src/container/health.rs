//! Health probes of a running container: when `runtime::health` says so, an exec; what it ends with, an event.

use super::{Cell, Containers, merge};
use minke_model::{
    ContainerState, ExecId, Timestamp,
    health::{Health, HealthSpec, HealthState, ProbeResult},
    restart::RestartPolicy,
};
use minke_runtime::{AttachStreams, ExecRequest, Process, health};
use minke_store::Durability;
use std::sync::Arc;
use tokio::{io::AsyncReadExt, task::JoinHandle};

/// Bytes of a probe's output that are kept, as Docker keeps.
const MOST_OUTPUT: usize = 4096;
/// Label that makes an unhealthy container start again.
const RESTART_LABEL: &str = "minke.restart.on-unhealthy";

/// The probes of one running container; dropping it ends them.
pub(crate) struct Prober(JoinHandle<()>);

impl Drop for Prober {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Containers {
    /// Begins to probe a container that has a health check.
    pub(super) fn probe(&self, cell: &Arc<Cell>, process: &Process) -> Option<Prober> {
        let record = cell.record();
        let spec = record.spec.healthcheck.clone().filter(merge::probes)?;
        let command = health::command(&spec, record.spec.shell.as_deref())?;
        let (containers, cell, process) = (self.clone(), cell.clone(), process.clone());
        Some(Prober(tokio::spawn(async move { containers.probe_on(&cell, &process, &spec, command).await })))
    }

    async fn probe_on(&self, cell: &Arc<Cell>, process: &Process, spec: &HealthSpec, command: Vec<String>) {
        let started = cell.record().status.started;
        // Only good news counts so early.
        if spec.at_start {
            let result = self.run_probe(cell, process, spec, &command).await;
            if result.exit_code == 0 && !self.take_probe(cell, spec, result).await {
                return;
            }
        }
        loop {
            let health = cell.record().status.health.clone().unwrap_or_default();
            tokio::time::sleep(health::next_after(spec, &health, started, Timestamp::now())).await;
            if cell.state() == ContainerState::Paused {
                continue;
            }
            let result = self.run_probe(cell, process, spec, &command).await;
            if !self.take_probe(cell, spec, result).await {
                return;
            }
        }
    }

    async fn run_probe(
        &self,
        cell: &Cell,
        process: &Process,
        spec: &HealthSpec,
        command: &[String],
    ) -> ProbeResult {
        let start = Timestamp::now();
        let id = ExecId::random();
        let told = format!("exec_create: {}", command.join(" "));
        self.tell(&cell.record(), &told, &[("execID", id.to_string())]);
        self.tell(&cell.record(), &told.replace("exec_create", "exec_start"), &[("execID", id.to_string())]);
        let limit = health::timeout(spec);
        let mut said = Vec::new();
        let run = tokio::time::timeout(limit, probe_once(process, &id, command, &mut said)).await;
        let (exit_code, output) = match run {
            Ok(Ok(code)) => (code, health::output(&said, false)),
            Ok(Err(e)) => (-1, e),
            Err(_) => {
                if let Err(e) = process.exec_kill(&id).await {
                    tracing::debug!("a probe of container {} cannot be killed: {e}", cell.id);
                }
                (-1, health::timed_out(spec, &health::output(&said, false)))
            }
        };
        self.tell(
            &cell.record(),
            "exec_die",
            &[("execID", id.to_string()), ("exitCode", exit_code.to_string())],
        );
        ProbeResult { start, end: Timestamp::now(), exit_code, output }
    }

    /// Takes note of a probe; `false` when there is nothing to probe any more.
    async fn take_probe(&self, cell: &Arc<Cell>, spec: &HealthSpec, result: ProbeResult) -> bool {
        let record = cell.record();
        if !record.status.state.is_up() {
            return false;
        }
        let before = record.status.health.clone().unwrap_or_default();
        let mut after: Health = before;
        let changed = health::judge(spec, &mut after, record.status.started, result);
        let record = cell.change(|c| c.status.health = Some(after.clone()));
        if !changed {
            return true;
        }
        if let Err(e) = self.save(cell, Durability::Relaxed).await {
            tracing::error!("cannot write down the health of container {}: {e}", cell.id);
        }
        self.tell(&record, &format!("health_status: {}", after.state.as_str()), &[]);
        if after.state == HealthState::Unhealthy && restarts_unhealthy(&record) {
            tracing::info!("container {} is unhealthy: ending it, so that its restart policy acts", cell.id);
            if let Some(process) = cell.process()
                && let Err(e) = process.kill().await
            {
                tracing::warn!("cannot end the unhealthy container {}: {e}", cell.id);
            }
        }
        true
    }
}

fn restarts_unhealthy(record: &minke_model::Container) -> bool {
    let labelled = record.spec.labels.get(RESTART_LABEL).is_some_and(|v| v == "true" || v == "1");
    record.spec.restart == RestartPolicy::OnUnhealthy || labelled && record.spec.restart != RestartPolicy::No
}

/// Runs a probe to its end: its exit code. What it says is in `output` also when nobody waits for its end.
async fn probe_once(
    process: &Process,
    id: &ExecId,
    command: &[String],
    output: &mut Vec<u8>,
) -> Result<i32, String> {
    let request = ExecRequest {
        id: id.clone(),
        args: command.to_vec(),
        env: Vec::new(),
        cwd: String::new(),
        user: String::new(),
        tty: false,
        privileged: false,
        size: None,
        streams: Some(AttachStreams { stdin: false, stdout: true, stderr: true }),
    };
    let exec = process.exec(request).await.map_err(|e| e.to_string())?;
    if let Some(mut stream) = exec.stream {
        let mut head = [0u8; 8];
        while stream.read_exact(&mut head).await.is_ok() {
            let length = u32::from_be_bytes([head[4], head[5], head[6], head[7]]);
            let mut payload = (&mut stream).take(u64::from(length));
            let mut chunk = Vec::new();
            if payload.read_to_end(&mut chunk).await.is_err() {
                break;
            }
            let room = MOST_OUTPUT.saturating_sub(output.len());
            output.extend_from_slice(&chunk[..chunk.len().min(room)]);
        }
    }
    process.exec_wait(id).await.map_err(|e| e.to_string())
}
