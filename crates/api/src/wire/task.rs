//! Tasks: inspect and list.

use super::{
    Map, is_default,
    overlay::NetworkOfTask,
    secret::Version,
    service::PortConfig,
    template::{GenericResource, TaskSpec},
};
use minke_cluster::control::task::TaskView;
use minke_model::{
    NetworkId,
    overlay::ClusterNetwork,
    service::TaskSpec as Template,
    task::{Slot, TaskState},
};
use serde::Serialize;
use std::{collections::BTreeMap, sync::Arc};

/// A task as inspect and list show it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Task {
    #[serde(rename = "ID")]
    id: String,
    version: Version,
    created_at: String,
    updated_at: String,
    labels: Map,
    spec: TaskSpec,
    #[serde(rename = "ServiceID")]
    service_id: String,
    #[serde(skip_serializing_if = "is_default")]
    slot: u64,
    #[serde(rename = "NodeID", skip_serializing_if = "String::is_empty")]
    node_id: String,
    status: Status,
    desired_state: &'static str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    networks_attachments: Vec<Attached>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    generic_resources: Vec<GenericResource>,
    #[serde(skip_serializing_if = "Option::is_none")]
    job_iteration: Option<Version>,
    volumes: Option<()>,
}

/// How far it is.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Status {
    timestamp: String,
    state: &'static str,
    #[serde(skip_serializing_if = "String::is_empty")]
    message: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    err: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    container_status: Option<ContainerStatus>,
    port_status: PortStatus,
}

/// Its container.
#[derive(Debug, Serialize)]
struct ContainerStatus {
    #[serde(rename = "ContainerID")]
    container: String,
    #[serde(rename = "PID")]
    pid: u32,
    #[serde(rename = "ExitCode")]
    exit_code: i32,
}

/// Its ports of mode host.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct PortStatus {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    ports: Vec<PortConfig>,
}

/// Its place in a network.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Attached {
    network: NetworkOfTask,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    addresses: Vec<String>,
}

/// Networks of the cluster by id.
pub(crate) type Networks = BTreeMap<NetworkId, Arc<ClusterNetwork>>;

impl Task {
    /// As dockerd shows it.
    pub(crate) fn new(view: &TaskView, networks: &Networks) -> Self {
        let task = &view.task;
        let (gone, reported) = (Template::default(), view.reported());
        let attached = task.attachments.iter().filter_map(|place| {
            let addresses = place.addresses.iter().map(|(address, prefix)| format!("{address}/{prefix}"));
            let network = NetworkOfTask::new(networks.get(&place.network)?);
            Some(Attached { network, addresses: addresses.collect() })
        });
        let updated = task.meta.updated.max(view.since());
        Self {
            id: task.id.as_str().to_owned(),
            version: Version { index: task.meta.version },
            created_at: task.meta.created.to_string(),
            updated_at: updated.to_string(),
            labels: Map::default(),
            spec: TaskSpec::new(view.spec.as_deref().unwrap_or(&gone), false),
            service_id: task.service.as_str().to_owned(),
            slot: match task.slot {
                Slot::Number(number) => number,
                Slot::Node(_) => 0,
            },
            node_id: task.node.as_ref().map(|node| node.as_str().to_owned()).unwrap_or_default(),
            status: Status {
                timestamp: view.since().to_string(),
                state: view.state().as_str(),
                message: reported.map_or_else(|| word(view).to_owned(), |status| status.message.clone()),
                err: reported.map_or_else(|| task.message.clone(), |status| status.error.clone()),
                container_status: container(view),
                port_status: PortStatus {
                    ports: reported
                        .map(|s| s.ports.iter().map(PortConfig::from).collect())
                        .unwrap_or_default(),
                },
            },
            desired_state: task.desired.as_str(),
            networks_attachments: attached.collect(),
            generic_resources: task.generic.iter().map(GenericResource::from).collect(),
            job_iteration: task.job_iteration.map(|index| Version { index }),
            volumes: None,
        }
    }
}

/// Swarm's word for how far the control plane brought a task.
fn word(view: &TaskView) -> &'static str {
    match view.task.state {
        TaskState::New => "created",
        TaskState::Pending => "pending task scheduling",
        TaskState::Assigned => "scheduler assigned task to node",
        _ => "",
    }
}

/// Also of a task that ended elsewhere than its node says.
fn container(view: &TaskView) -> Option<ContainerStatus> {
    let status = view.status.as_ref()?;
    let container = status.container.clone()?;
    Some(ContainerStatus { container, pid: status.pid, exit_code: status.exit_code.unwrap_or(0) })
}
