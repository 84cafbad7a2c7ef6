//! Machines of a cluster.

use crate::{
    ClusterNodeId, Labels, NetworkId, Timestamp, image::Platform, object::Meta, service::GenericResource,
};
use serde::{Deserialize, Serialize};
use std::{net::IpAddr, net::SocketAddr};

/// A node as its user asked for it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeSpec {
    /// A further name; empty is none.
    pub name: String,
    /// Set by people: `node.labels.KEY` of constraints.
    pub labels: Labels,
    /// What it should be.
    pub role: Role,
    /// Whether it takes tasks.
    pub availability: Availability,
}

/// What a node may decide.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Role {
    /// Runs tasks.
    #[default]
    Worker,
    /// Serves the API and keeps the cluster's desired state true, too.
    Manager,
}

/// Whether a node takes tasks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Availability {
    /// Takes new ones.
    #[default]
    Active,
    /// Keeps its own, takes no new ones.
    Pause,
    /// Its tasks are moved to others.
    Drain,
}

/// How a node is, as its manager sees it.
///
/// ```text
/// Unknown ◄──► Ready ◄──► Away        Away: said that it restarts; tasks and traffic stay
///    │ ▲         ▲
///    ▼ │         │
///   Down ────────┘                    Down: silent for too long; tasks are replaced
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum NodeState {
    /// Silent: traffic leaves it. Also a node that was just made and never spoke.
    #[default]
    Unknown,
    /// Silent for so long that its tasks run elsewhere.
    Down,
    /// It beats.
    Ready,
    /// Its daemon said that it goes and comes back.
    Away,
}

/// A machine of the cluster: its record `node/<id>`. Written by the control plane only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// From its key's fingerprint: never changes.
    pub id: ClusterNodeId,
    /// Of the spec.
    pub meta: Meta,
    /// As asked.
    pub spec: NodeSpec,
    /// What it says of itself; `None` until it first spoke.
    pub description: Option<NodeDescription>,
    /// How it is.
    pub state: NodeState,
    /// Why it is so, for people; empty when all is well.
    pub message: String,
    /// Since when `state` is what it is.
    pub since: Timestamp,
    /// When it was last [`NodeState::Unknown`] or worse, for what must wait after that.
    #[serde(default)]
    pub last_silent: Option<Timestamp>,
    /// Where its data travels (VXLAN, layers); as its manager saw it or as it was told.
    pub address: Option<IpAddr>,
    /// Which manager holds its connection.
    #[serde(default)]
    pub manager: Option<ClusterNodeId>,
    /// Set while it is a manager.
    pub manager_status: Option<ManagerStatus>,
    /// Its own addresses in networks, with the subnet's prefix: on the ingress network, what clients that cannot keep
    /// theirs get. Given by the allocator.
    #[serde(default)]
    pub attachments: Vec<(NetworkId, IpAddr, u8)>,
    /// Identifier of the key that signed the certificate which it last showed.
    #[serde(default)]
    pub signed_by: Vec<u8>,
    /// Counts its connections to managers: what it is told counts only once it was told of the newest.
    #[serde(default)]
    pub sessions: u64,
}

impl Node {
    /// The name that people read: its host name, or its id until it spoke.
    pub fn hostname(&self) -> &str {
        self.description.as_ref().map_or(self.id.as_str(), |d| &d.hostname)
    }
}

/// A manager among managers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ManagerStatus {
    /// It runs the loops.
    pub leader: bool,
    /// It answers.
    pub reachable: bool,
    /// Where other nodes find it.
    pub address: SocketAddr,
}

/// What a node says of itself. Sent when it connects and when it changes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeDescription {
    /// Its host name, or `--node-name`.
    pub hostname: String,
    /// What it runs.
    pub platform: Platform,
    /// Billionths of a CPU.
    pub nano_cpus: i64,
    /// Bytes.
    pub memory: i64,
    /// GPUs and the like (`--node-generic-resource`).
    pub generic: Vec<GenericResource>,
    /// Our version.
    pub engine_version: String,
    /// Of the daemon's configuration: `engine.labels.KEY` of constraints.
    pub engine_labels: Labels,
    /// Drivers: type (`Network`, `Volume`, `Log`) and name.
    pub plugins: Vec<(String, String)>,
    /// It can carry encrypted overlay networks.
    pub encrypts: bool,
    /// Lowest MTU of its data path.
    pub mtu: u32,
}
