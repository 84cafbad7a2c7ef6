//! Tasks: one try of one container in one slot.

use crate::{
    ClusterNodeId, NetworkId, ServiceId, TaskId, Timestamp,
    object::Meta,
    service::{GenericResource, PortSpec},
};
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// How far a task is. Ordered: it never goes back.
///
/// ```text
/// New ► Pending ► Assigned ► Accepted ► Preparing ► Ready ► Starting ► Running ► Complete | Shutdown | Failed | Rejected
/// └──── control plane ────┘ └───────────────── its node ─────────────────────────────────────────────────────────┘
/// Remove, Orphaned: control plane
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum TaskState {
    /// Made by an orchestrator.
    #[default]
    New,
    /// Has its addresses; waits for a node.
    Pending,
    /// Has a node.
    Assigned,
    /// Its node took it.
    Accepted,
    /// Image and container are made.
    Preparing,
    /// Could start.
    Ready,
    /// Starts; with a health check: not healthy yet.
    Starting,
    /// Runs.
    Running,
    /// Ended well.
    Complete,
    /// Was told to end, and did.
    Shutdown,
    /// Ended badly.
    Failed,
    /// Its node could not run it.
    Rejected,
    /// Its service or slot goes: it ends, then its record goes.
    Remove,
    /// Its node is gone for good.
    Orphaned,
}

impl TaskState {
    /// Nothing runs any more.
    pub fn is_terminal(self) -> bool {
        self > TaskState::Running
    }

    /// Whether `next` may follow.
    pub fn may_become(self, next: TaskState) -> bool {
        next >= self
    }

    /// Docker's word.
    pub fn as_str(self) -> &'static str {
        match self {
            TaskState::New => "new",
            TaskState::Pending => "pending",
            TaskState::Assigned => "assigned",
            TaskState::Accepted => "accepted",
            TaskState::Preparing => "preparing",
            TaskState::Ready => "ready",
            TaskState::Starting => "starting",
            TaskState::Running => "running",
            TaskState::Complete => "complete",
            TaskState::Shutdown => "shutdown",
            TaskState::Failed => "failed",
            TaskState::Rejected => "rejected",
            TaskState::Remove => "remove",
            TaskState::Orphaned => "orphaned",
        }
    }
}

/// What a task takes part in.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Slot {
    /// A numbered place of a replicated service or job, from 1.
    Number(u64),
    /// A node of a global service or job.
    Node(ClusterNodeId),
}

/// A task as the control plane knows it: its record `task/<id>`. Small; the template is named, not copied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Task {
    /// Unique.
    pub id: TaskId,
    /// Of this record.
    pub meta: Meta,
    /// Whose.
    pub service: ServiceId,
    /// Names `template/<service>/<version>`.
    pub template: u64,
    /// Its place.
    pub slot: Slot,
    /// Where it runs; `None`: not decided.
    pub node: Option<ClusterNodeId>,
    /// How far the control plane has brought it: New, Pending, Assigned, or Orphaned. See [`TaskStatus`] for the rest.
    pub state: TaskState,
    /// How far it should go: Ready (waits to be released), Running, Complete, Shutdown or Remove. Never back.
    pub desired: TaskState,
    /// Since when `state` and `message` are what they are.
    pub since: Timestamp,
    /// Why it is where it is: for a pending one why no node takes it, nodes grouped by reason.
    pub message: String,
    /// Its addresses as allocated.
    pub attachments: Vec<Attachment>,
    /// What it was given of what it reserved.
    pub generic: Vec<GenericResource>,
    /// The run of its job.
    pub job_iteration: Option<u64>,
    /// It may start no earlier (restart delay); `None` is at once.
    #[serde(default)]
    pub not_before: Option<Timestamp>,
    /// The task that it replaces: told to end in the commit that sees this one run (or be assigned, if fenced).
    #[serde(default)]
    pub replaces: Option<TaskId>,
    /// How many tasks of its slot were restarted before it, since `template` came.
    #[serde(default)]
    pub restarts: u32,
    /// Why it was made.
    #[serde(default)]
    pub cause: Cause,
}

/// Why a task was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Cause {
    /// Its service wants so many.
    #[default]
    Wanted,
    /// The one before it in its slot ended.
    Restart,
    /// Its service has a new template.
    Update,
    /// The node of the one that it replaces is down, or gone.
    NodeDown,
    /// The node of the one that it replaces is drained.
    Drain,
    /// The node of the one that it replaces fits the service no more.
    Constraint,
    /// The one that it replaces had more neighbours of its own than elsewhere.
    Rebalance,
}

/// A task's place in a network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attachment {
    /// Which.
    pub network: NetworkId,
    /// With the subnet's prefix.
    pub addresses: Vec<(IpAddr, u8)>,
    /// Further names.
    pub aliases: Vec<String>,
}

/// What its node says of a task: its record `status/<node>/<task>`. Written by that node only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskStatus {
    /// Accepted or later.
    pub state: TaskState,
    /// When it came so far, by the node's clock.
    pub at: Timestamp,
    /// Docker's words: `started`, `preparing`, …
    pub message: String,
    /// Why it failed; empty when it did not.
    pub error: String,
    /// Its container, once made.
    pub container: Option<String>,
    /// Of its main process; 0 when none.
    pub pid: u32,
    /// Of its main process; `None` while it runs.
    pub exit_code: Option<i32>,
    /// Ports of mode host as they are.
    pub ports: Vec<PortSpec>,
    /// When it came to Running, by the node's clock; `None`: it never did.
    #[serde(default)]
    pub ran_since: Option<Timestamp>,
}

impl TaskStatus {
    /// Of a task that its node took at `at`.
    pub fn accepted(at: Timestamp) -> Self {
        TaskStatus {
            state: TaskState::Accepted,
            at,
            message: "accepted".into(),
            error: String::new(),
            container: None,
            pid: 0,
            exit_code: None,
            ports: Vec::new(),
            ran_since: None,
        }
    }
}
