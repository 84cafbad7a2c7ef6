//! `exec`: further processes in a running container, children of its shim: they live on through the daemon's restart.

use super::{AttachStream, Attachment, Cell, Containers, detach::DetachKeys, lock};
use crate::{Error, error::Result, records::ExecRecord};
use minke_model::{Container, ContainerState, ExecId};
use minke_runtime::{AttachStreams, ExecRequest, ExecState, Process, RuntimeError, Stage};
use serde::{Deserialize, Serialize};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};
use tokio::sync::watch;

/// Ended execs that are remembered for `inspect`, for each container.
const REMEMBERED: usize = 64;

/// A process to run in a container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecSpec {
    /// The command.
    pub cmd: Vec<String>,
    /// Added to the container's.
    pub env: Vec<String>,
    /// Empty is the container's.
    pub user: String,
    /// Empty is the container's.
    pub working_dir: String,
    /// With a terminal.
    pub tty: bool,
    /// All capabilities.
    pub privileged: bool,
    /// Input is wanted.
    pub attach_stdin: bool,
    /// Output is wanted.
    pub attach_stdout: bool,
    /// Errors are wanted.
    pub attach_stderr: bool,
    /// Instead of `ctrl-p,ctrl-q`.
    pub detach_keys: String,
    /// Rows and columns at start.
    pub console_size: Option<(u16, u16)>,
}

/// How to start an exec.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ExecStart {
    /// Nobody listens.
    pub detach: bool,
    /// Who listens takes no errors: it cannot tell them from output.
    pub output_only: bool,
    /// Rows and columns at start.
    pub console_size: Option<(u16, u16)>,
}

/// An exec as it is.
#[derive(Clone, Debug)]
pub struct ExecInspection {
    /// Its id.
    pub id: ExecId,
    /// Its container.
    pub container: Arc<Container>,
    /// As asked.
    pub spec: ExecSpec,
    /// It runs now.
    pub running: bool,
    /// Once it ended.
    pub exit_code: Option<i32>,
    /// On the host; 0 before the start.
    pub pid: i32,
}

#[derive(Clone, Debug)]
struct Entry {
    spec: ExecSpec,
    state: State,
    /// Order of creation.
    serial: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Created,
    Running { pid: i32 },
    Exited { pid: i32, code: i32 },
}

/// The execs of one container.
#[derive(Default)]
pub(crate) struct Execs(Mutex<Table>);

#[derive(Default)]
struct Table {
    entries: HashMap<ExecId, Entry>,
    serial: u64,
}

impl Execs {
    fn add(&self, id: &ExecId, spec: ExecSpec) {
        let mut table = lock(&self.0);
        table.serial += 1;
        let serial = table.serial;
        table.entries.insert(id.clone(), Entry { spec, state: State::Created, serial });
        if table.entries.len() > REMEMBERED {
            let ended = |e: &Entry| !matches!(e.state, State::Running { .. });
            let oldest = table
                .entries
                .iter()
                .filter(|(_, e)| ended(e))
                .min_by_key(|(_, e)| e.serial)
                .map(|(id, _)| id.clone());
            if let Some(oldest) = oldest {
                table.entries.remove(&oldest);
            }
        }
    }

    fn get(&self, id: &ExecId) -> Option<Entry> {
        lock(&self.0).entries.get(id).cloned()
    }

    fn set(&self, id: &ExecId, state: State) {
        if let Some(entry) = lock(&self.0).entries.get_mut(id) {
            entry.state = state;
        }
    }

    /// Takes the right to start it; only the first gets it.
    fn claim(&self, id: &ExecId) -> Result<()> {
        let mut table = lock(&self.0);
        let entry = table.entries.get_mut(id).ok_or_else(|| Error::NoSuchExec(id.to_string()))?;
        match entry.state {
            State::Created => {
                entry.state = State::Running { pid: 0 };
                Ok(())
            }
            State::Running { .. } => Err(Error::Conflict(format!("exec command {id} is already running"))),
            State::Exited { .. } => Err(Error::Conflict(format!("exec command {id} has already run"))),
        }
    }

    /// Ids of those that run, for inspect; `None` when none was ever made.
    pub(crate) fn running(&self) -> Option<Vec<ExecId>> {
        let table = lock(&self.0);
        let mut running: Vec<(u64, ExecId)> = table
            .entries
            .iter()
            .filter(|(_, e)| matches!(e.state, State::Running { .. }))
            .map(|(id, e)| (e.serial, id.clone()))
            .collect();
        running.sort_by_key(|(serial, _)| *serial);
        (!running.is_empty()).then(|| running.into_iter().map(|(_, id)| id).collect())
    }

    /// The container's process ended, and with it all of them.
    pub(crate) fn end_all(&self) {
        for entry in lock(&self.0).entries.values_mut() {
            if let State::Running { pid } = entry.state {
                entry.state = State::Exited { pid, code: 137 };
            }
        }
    }
}

impl Containers {
    /// Notes a process to run.
    pub async fn exec_create(&self, name: &str, spec: ExecSpec) -> Result<ExecId> {
        let cell = self.find(name)?;
        if spec.cmd.is_empty() {
            return Err(Error::Invalid("No exec command specified".into()));
        }
        may_exec(&cell)?;
        DetachKeys::parse(&spec.detach_keys)
            .map_err(|_| Error::Internal(format!("Invalid escape keys ({}) provided", spec.detach_keys)))?;
        if spec.user.bytes().any(|b| !b.is_ascii_digit() && b != b':') {
            let user = spec.user.clone();
            self.with_root(&cell, move |root| {
                minke_runtime::user_ids(root, &user).map(drop).map_err(Error::Invalid)
            })
            .await?;
        }
        let id = ExecId::random();
        self.tell(
            &cell.record(),
            &format!("exec_create: {}", spec.cmd.join(" ")),
            &[("execID", id.to_string())],
        );
        cell.execs.add(&id, spec);
        Ok(id)
    }

    /// Refuses an exec whose container cannot run it now, before its client's connection is taken over.
    pub fn exec_check(&self, id: &str) -> Result<ExecInspection> {
        let inspection = self.exec_inspect(id)?;
        let (cell, _) = self.exec_of(id)?;
        match may_exec(&cell) {
            // For who wants to start them, execs go with their container's process.
            Err(Error::NotRunning(_)) => Err(Error::NoSuchExec(id.to_owned())),
            other => other.map(|()| inspection),
        }
    }

    /// Runs it; the client's streams unless detached.
    pub async fn exec_start(&self, id: &str, start: ExecStart) -> Result<Option<Attachment>> {
        let (cell, exec) = self.exec_of(id)?;
        may_exec(&cell)?;
        let process = cell.running_process()?;
        cell.execs.claim(&exec)?;
        let Some(Entry { spec, .. }) = cell.execs.get(&exec) else {
            return Err(Error::NoSuchExec(id.to_owned()));
        };
        let streams = AttachStreams {
            stdin: spec.attach_stdin,
            stdout: spec.attach_stdout,
            stderr: spec.attach_stderr && !start.output_only,
        };
        let request = ExecRequest {
            id: exec.clone(),
            args: spec.cmd.clone(),
            env: spec.env.clone(),
            cwd: spec.working_dir.clone(),
            user: spec.user.clone(),
            tty: spec.tty,
            privileged: spec.privileged,
            size: start.console_size.or(spec.console_size),
            streams: (!start.detach).then_some(streams),
        };
        self.tell(
            &cell.record(),
            &format!("exec_start: {}", spec.cmd.join(" ")),
            &[("execID", exec.to_string())],
        );
        let started = match process.exec(request).await {
            Ok(started) => started,
            Err(e) => {
                let e = exec_error(e);
                let code = if let Error::Start { exit, .. } = &e { *exit } else { 126 };
                cell.execs.set(&exec, State::Exited { pid: 0, code });
                return Err(e);
            }
        };
        cell.execs.set(&exec, State::Running { pid: started.pid });
        let record = ExecRecord { container: cell.id.clone(), spec: spec.clone() };
        if let Err(e) = self.inner.records.put_exec(&exec, record).await {
            tracing::warn!("exec {exec} will not be known after a restart: {e}");
        }
        let ended = self.follow_exec(&cell, process, exec, started.pid);
        let tty = spec.tty;
        let detach = if tty { Some(DetachKeys::parse(&spec.detach_keys)?) } else { None };
        Ok(started.stream.map(|stream| Attachment {
            tty,
            detach,
            stream: AttachStream::live(Vec::new(), stream),
            ended,
        }))
    }

    /// Tells its terminal its size.
    pub async fn exec_resize(&self, id: &str, rows: u16, columns: u16) -> Result<()> {
        let (cell, exec) = self.exec_of(id)?;
        Ok(cell.running_process()?.exec_resize(&exec, rows, columns).await?)
    }

    /// The exec as it is.
    pub fn exec_inspect(&self, id: &str) -> Result<ExecInspection> {
        let (cell, id) = self.exec_of(id)?;
        let Some(entry) = cell.execs.get(&id) else { return Err(Error::NoSuchExec(id.to_string())) };
        let (running, exit_code, pid) = match entry.state {
            State::Created => (false, None, 0),
            State::Running { pid } => (true, None, pid),
            State::Exited { pid, code } => (false, Some(code), pid),
        };
        Ok(ExecInspection { id, container: cell.record(), spec: entry.spec, running, exit_code, pid })
    }

    /// Waits for its end.
    fn follow_exec(
        &self,
        cell: &Arc<Cell>,
        process: Process,
        exec: ExecId,
        pid: i32,
    ) -> watch::Receiver<bool> {
        let (containers, cell) = (self.clone(), cell.clone());
        let (known, ended) = watch::channel(false);
        tokio::spawn(async move {
            let ended = process.exec_wait(&exec).await;
            if let Err(e) = containers.inner.records.delete_exec(&exec).await {
                tracing::warn!("exec {exec} stays in the records: {e}");
            }
            // An error is the shim's end: then the container's exit ends its execs.
            let Ok(code) = ended else { return };
            cell.execs.set(&exec, State::Exited { pid, code });
            let more = [("execID", exec.to_string()), ("exitCode", code.to_string())];
            containers.tell(&cell.record(), "exec_die", &more);
            known.send_replace(true);
        });
        ended
    }

    /// Takes the execs of a container that ran on while no daemon did into care again.
    pub(crate) async fn adopt_execs(
        &self,
        cell: &Arc<Cell>,
        process: &Process,
        records: &[(ExecId, Arc<ExecRecord>)],
    ) {
        for (id, record) in records.iter().filter(|(_, r)| r.container == cell.id) {
            cell.execs.add(id, record.spec.clone());
            match process.exec_state(id).await {
                Ok(ExecState::Running { pid }) => cell.execs.set(id, State::Running { pid }),
                Ok(ExecState::Exited { pid, code }) => cell.execs.set(id, State::Exited { pid, code }),
                Err(e) => {
                    tracing::warn!("exec {id} of container {} is lost: {e}", cell.id);
                    continue;
                }
            }
            let pid = match cell.execs.get(id).map(|e| e.state) {
                Some(State::Running { pid } | State::Exited { pid, .. }) => pid,
                _ => 0,
            };
            // Nobody waits for it.
            drop(self.follow_exec(cell, process.clone(), id.clone(), pid));
        }
    }

    fn exec_of(&self, id: &str) -> Result<(Arc<Cell>, ExecId)> {
        let missing = || Error::NoSuchExec(id.to_owned());
        let exec = ExecId::parse(id).ok_or_else(missing)?;
        let cell = self.cells().into_iter().find(|c| c.execs.get(&exec).is_some()).ok_or_else(missing)?;
        Ok((cell, exec))
    }
}

/// Whether the container can run an exec now.
fn may_exec(cell: &Cell) -> Result<()> {
    match cell.state() {
        ContainerState::Running => Ok(()),
        ContainerState::Paused => Err(Error::Conflict(format!(
            "Container {} is paused, unpause the container before exec",
            cell.id
        ))),
        ContainerState::Restarting => Err(Error::Conflict(format!(
            "Container {} is restarting, wait until the container is running",
            cell.id
        ))),
        _ => Err(Error::NotRunning(cell.id.to_string())),
    }
}

/// dockerd's sentence around what the process said.
fn exec_error(e: RuntimeError) -> Error {
    let RuntimeError::Start(e) = e else { return Error::Runtime(e) };
    if e.stage == Stage::User {
        return Error::Invalid(e.detail);
    }
    Error::Start {
        exit: match e.exit_code() {
            128 => 126,
            code => code,
        },
        message: format!("OCI runtime exec failed: exec failed: unable to start container process: {e}"),
    }
}
