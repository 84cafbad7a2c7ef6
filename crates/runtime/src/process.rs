//! A container's process, as the daemon holds it.

use crate::{
    error::RuntimeError,
    request::{AttachStreams, ExecRequest, ExecState, Exit},
};
use minke_model::{ContainerId, ExecId, Timestamp};
use std::{os::fd::OwnedFd, sync::Arc};
use tokio::net::UnixStream;

/// A container's process: made, waiting for *go* or running. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Process {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    id: ContainerId,
    pid: i32,
}

/// An exec that started.
#[derive(Debug)]
pub struct Exec {
    /// Process id on the host.
    pub pid: i32,
    /// Its streams, when some were asked for: framed as Docker does, raw with a terminal.
    pub stream: Option<UnixStream>,
}

/// What a shim of an earlier daemon tells.
#[derive(Debug)]
pub enum Found {
    /// Its process runs.
    Running(Process),
    /// Its process ended while no daemon listened (or the shim died: 137).
    Exited(Exit),
}

impl Process {
    /// Its container.
    pub fn id(&self) -> &ContainerId {
        &self.inner.id
    }

    /// Its process id on the host.
    pub fn pid(&self) -> i32 {
        self.inner.pid
    }

    /// When it was told to go; zero when never.
    pub fn started(&self) -> Timestamp {
        unimplemented!()
    }

    /// Its network namespace: a descriptor of its own for the caller.
    pub fn netns(&self) -> Result<OwnedFd, RuntimeError> {
        unimplemented!()
    }

    /// Phase two: mounts, drops privileges, execs. The time is when exec succeeded.
    pub async fn go(&self) -> Result<Timestamp, RuntimeError> {
        unimplemented!()
    }

    /// Sends SIGKILL to all its processes.
    pub async fn kill(&self) -> Result<(), RuntimeError> {
        unimplemented!()
    }

    /// Sends a signal to its first process.
    pub async fn signal(&self, _signal: i32) -> Result<(), RuntimeError> {
        unimplemented!()
    }

    /// Its end; any number of waiters, also later.
    pub async fn wait(&self) -> Exit {
        unimplemented!()
    }

    /// Streams of its first process. Before `go` nothing is missed. Bytes written are stdin, their end closes it.
    pub async fn attach(&self, _streams: AttachStreams) -> Result<UnixStream, RuntimeError> {
        unimplemented!()
    }

    /// Tells the terminal its size.
    pub async fn resize(&self, _rows: u16, _columns: u16) -> Result<(), RuntimeError> {
        unimplemented!()
    }

    /// Starts a further process.
    pub async fn exec(&self, _request: ExecRequest) -> Result<Exec, RuntimeError> {
        unimplemented!()
    }

    /// The exit code of an exec; any number of waiters, also later.
    pub async fn exec_wait(&self, _id: &ExecId) -> Result<i32, RuntimeError> {
        unimplemented!()
    }

    /// Tells an exec's terminal its size.
    pub async fn exec_resize(&self, _id: &ExecId, _rows: u16, _columns: u16) -> Result<(), RuntimeError> {
        unimplemented!()
    }

    /// How an exec stands.
    pub async fn exec_state(&self, _id: &ExecId) -> Result<ExecState, RuntimeError> {
        unimplemented!()
    }
}
