//! What a node gets to know: its tasks, and of everything else just what they need. Words, and how they are written.

use minke_model::{
    ClusterNodeId, ConfigId, Labels, NetworkId, SecretId, TaskId,
    overlay::OverlayState,
    service::{PortSpec, TaskSpec},
    task::{Task, TaskStatus},
};
use minke_store::{Prefix, Prefixes, Table};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, fmt, sync::Arc};

/// Tasks by `<node>/<task>`.
pub static ASSIGNED: Table<AssignedTask> = Table::new("assigned", 1);
/// What a node said of its tasks, by `<node>/said/<task>`: for its first look after a restart.
pub static SAID: Table<TaskStatus> = Table::new("assigned", 1);
/// Which of a node's sessions whoever tells it knows of, by `<node>/session`.
pub static SESSION: Table<u64> = Table::new("assigned", 1);
/// Secrets, open, by id.
pub static OPEN_SECRETS: Table<FileData> = Table::new("secret", 1);
/// Configs, by id.
pub static OPEN_CONFIGS: Table<FileData> = Table::new("config", 1);

/// What a node reads and watches, `assigned/<node>/` and what its tasks need.
pub fn covered(node: &ClusterNodeId) -> Prefixes {
    let own = Prefix::new(&format!("assigned/{node}/"));
    let shared = ["endpoints/", "mesh/", "secret/", "config/"].into_iter().map(Prefix::new);
    Prefixes::new(shared.chain([own]))
}

/// All that a node needs to run one task, beside what it shares with others: the virtual record
/// `assigned/<node>/<task>`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AssignedTask {
    /// With its place, its addresses, and how far it should go.
    pub task: Task,
    /// What it runs.
    pub spec: Arc<TaskSpec>,
    /// Its service's name.
    pub service_name: String,
    /// Its service's labels: for templates.
    #[serde(default)]
    pub service_labels: Labels,
    /// Ports of mode host of its service.
    #[serde(default)]
    pub host_ports: Vec<PortSpec>,
    /// Names of the networks that it is in, by id.
    #[serde(default)]
    pub networks: BTreeMap<NetworkId, String>,
    /// What the image's registry is asked with; `None`: as anybody.
    #[serde(default)]
    pub registry: Option<RegistryAuth>,
    /// It must be single and may start elsewhere: its shim ends it when the node is cut off.
    #[serde(default)]
    pub fenced: bool,
}

impl AssignedTask {
    /// `web.1.<task>`, as Swarm names containers; of a global service `web.<node>.<task>`.
    pub fn container_name(&self) -> String {
        format!("{}.{}", self.name(), self.task.id)
    }

    /// `web.1`: its service and slot.
    pub fn name(&self) -> String {
        match &self.task.slot {
            minke_model::task::Slot::Number(n) => format!("{}.{n}", self.service_name),
            minke_model::task::Slot::Node(node) => format!("{}.{node}", self.service_name),
        }
    }
}

/// Credentials for a registry as Docker's clients send them: base64 of JSON. Never printed.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RegistryAuth(pub String);

impl fmt::Debug for RegistryAuth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RegistryAuth(…)")
    }
}

/// Plain data of a secret or config, on its way to a task's file. Never printed.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileData {
    /// Unique among its kind.
    pub name: String,
    /// `golang`: the data is a template over the task that gets it; empty is plain.
    #[serde(default)]
    pub templating: String,
    /// As given.
    #[serde(with = "as_base64")]
    pub data: Vec<u8>,
}

mod as_base64 {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(data: &[u8], to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&STANDARD.encode(data))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
        STANDARD.decode(String::deserialize(from)?).map_err(D::Error::custom)
    }
}

impl fmt::Debug for FileData {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FileData({:?}, {} bytes)", self.name, self.data.len())
    }
}

/// What a node knows of the cluster beside its tasks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeState {
    /// Who it is.
    pub node: ClusterNodeId,
    /// Networks, peers, names, published ports; `None`: the cluster has none yet, or did not say its address.
    pub overlay: Option<OverlayState>,
    /// Secrets of its tasks.
    pub secrets: BTreeMap<SecretId, Arc<FileData>>,
    /// Configs of its tasks.
    pub configs: BTreeMap<ConfigId, Arc<FileData>>,
}

impl NodeState {
    /// Of a node that was told nothing yet.
    pub fn of(node: ClusterNodeId) -> Self {
        NodeState { node, overlay: None, secrets: BTreeMap::new(), configs: BTreeMap::new() }
    }

    /// Whether it holds all that `task` needs to be made.
    pub fn serves(&self, task: &AssignedTask) -> bool {
        let container = &task.spec.container;
        let known = |network: &NetworkId| {
            self.overlay.as_ref().is_some_and(|overlay| overlay.networks.iter().any(|n| n.id == *network))
        };
        container.secrets.iter().all(|secret| self.secrets.contains_key(&secret.id))
            && container.configs.iter().all(|config| self.configs.contains_key(&config.id))
            && task.task.attachments.iter().all(|attachment| known(&attachment.network))
    }
}

/// All that a node is told, as of one revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignment {
    /// What it should run, and how far.
    pub tasks: BTreeMap<TaskId, Arc<AssignedTask>>,
    /// The newest of its sessions that whoever told this knew of. Below its own it may be older than its return.
    pub session: u64,
    /// What it said of them before, as far as the store has it: for the first look after a restart.
    pub reported: BTreeMap<TaskId, TaskStatus>,
    /// The rest.
    pub state: Arc<NodeState>,
}
