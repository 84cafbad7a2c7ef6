//! One node's hands: what the agent asks of its machine, one step of one task a call.
//!
//! Implemented by the daemon on its engine, and by the simulation's machines. Never decides: which task, which step
//! and when is `plan.rs`. Every step may be asked for again, also after a restart of the daemon, and then finds what it
//! did: the task's id is all that it goes by.

use crate::assign::{AssignedTask, NodeState};
use minke_model::{TaskId, node::NodeDescription, service::PortSpec, task::TaskStatus};
use std::{future::Future, pin::Pin, sync::Arc, time::Duration};

/// A step on its way.
pub type Step<'a, T> = Pin<Box<dyn Future<Output = Result<T, StepError>> + Send + 'a>>;
/// A question on its way.
pub type Asked<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// One node's hands.
///
/// ```text
/// prepare ► start ► healthy ► wait          shutdown: any time; wait and healthy end by it
///                                           remove:   any time; nothing of the task stays
/// ```
pub trait Executor: Send + Sync + 'static {
    /// What this machine is.
    fn describe(&self) -> Asked<'_, NodeDescription>;

    /// Makes the node-wide state true: overlay networks, peers, names, published ports; keeps the secrets and configs
    /// that tasks get. Told as a whole, whenever it changes. What is the same costs nothing.
    ///
    /// # Errors
    /// What could not be made; the rest is. It is tried again with the next change and by and by.
    fn configure(&self, state: Arc<NodeState>) -> Step<'_, ()>;

    /// Fetches the image and makes the container. Comes after a [`Executor::configure`] with all that the task needs.
    fn prepare<'a>(&'a self, task: &'a AssignedTask) -> Step<'a, Prepared>;

    /// Runs the container's process. Nothing happens to one that runs, or has run: [`Executor::wait`] tells.
    fn start<'a>(&'a self, task: &'a AssignedTask) -> Step<'a, Started>;

    /// Waits until its health check has passed once; at once where there is none, and when it does not run any more.
    ///
    /// # Errors
    /// It became unhealthy instead.
    fn healthy<'a>(&'a self, task: &'a TaskId) -> Step<'a, ()>;

    /// Waits for its end. One that becomes unhealthy is made to end, with that as its cause.
    fn wait<'a>(&'a self, task: &'a TaskId) -> Step<'a, Exit>;

    /// Makes it end: its stop signal, its time to obey (`grace`; `None` is its own), then SIGKILL. Returns when nothing
    /// of it runs any more. Nothing happens to one that is not there.
    fn shutdown<'a>(&'a self, task: &'a TaskId, grace: Option<Duration>) -> Step<'a, ()>;

    /// Takes away all that is left of it, running or not. Nothing happens to one that is not there.
    fn remove<'a>(&'a self, task: &'a TaskId) -> Step<'a, ()>;

    /// Says where images come from that no registry gives. Forgotten with the daemon.
    fn use_images(&self, _from: Arc<dyn Images>) {}

    /// Tasks that this machine has something of, and how far each is: asked once, when the daemon has started.
    fn known(&self) -> Asked<'_, Vec<Known>>;

    /// Time since the machine booted, suspension included: what deadlines count in.
    fn boot_time(&self) -> Duration;

    /// Lets fenced tasks run on until `deadline` (of [`Executor::boot_time`]), and no longer, whatever happens to the
    /// daemon. A deadline never moves back.
    fn run_until<'a>(&'a self, tasks: &'a [TaskId], deadline: Duration) -> Step<'a, ()>;
}

/// Other machines' images.
pub trait Images: Send + Sync + 'static {
    /// An archive of `image`, which `task` needs, as `docker save` writes it; `None`: nobody has it, or nobody answers.
    /// Whoever reads it verifies it.
    fn fetch<'a>(&'a self, task: &'a TaskId, image: &'a str) -> Asked<'a, Option<Archive>>;
}

/// An archive on its way: chunks, the last of which is empty. One that ends without is cut off.
pub type Archive = tokio::sync::mpsc::Receiver<Vec<u8>>;

/// A task whose container was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prepared {
    /// Its id.
    pub container: String,
}

/// A task whose process runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Started {
    /// Its container.
    pub container: String,
    /// Of its main process; 0 when it ended already.
    pub pid: u32,
    /// Ports of mode host as they are.
    pub ports: Vec<PortSpec>,
}

/// How a task's process ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exit {
    /// Its code; 128 + n after signal n.
    pub code: i32,
    /// What was wrong beside that; empty when nothing was.
    pub cause: String,
}

/// What a machine has of a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// Which.
    pub task: TaskId,
    /// How far it is: Ready (made), Running (a process is there), or at its end.
    pub status: TaskStatus,
}

/// Why a step failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StepError {
    /// It would fail again: the task is rejected, or failed once it was started.
    #[error("{0}")]
    Final(String),
    /// It may succeed by and by.
    #[error("{0}")]
    Temporary(String),
}
