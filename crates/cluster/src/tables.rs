//! All records of a cluster: under which keys they lie, and which guard records stand for which sets.
//!
//! A guard record stands for a set that a decision relies on as a whole: who writes to the set touches it, and so
//! refuses whoever decided on the set as it was. The tables do that by themselves ([`Table::guarded_by`]):
//!
//! | guard | the set |
//! |---|---|
//! | `guard/node/<id>` | what is booked on a node, and what it offers |
//! | `guard/service/<id>` | a service's tasks, and what each should become |
//! | `guard/network/<id>` | a network's addresses, and who names it |
//! | `guard/networks` | numbers and subnets of networks |
//! | `guard/ports` | published ports of the cluster |
//!
//! A transaction that writes to such a table is made by [`minke_store::Txn::on`] a snapshot that covers both the
//! record and `guard/`.

use minke_model::{
    ClusterNodeId, NetworkId, ServiceId, TaskId, Timestamp,
    cluster::Cluster,
    node::Node,
    overlay::ClusterNetwork,
    secret::{Config, Secret},
    service::{PortSpec, PublishMode, Service, TaskSpec},
    task::{Task, TaskState, TaskStatus},
};
use minke_store::{Key, Prefix, Prefixes, Table};

/// The cluster itself: one record, [`CLUSTER_NAME`].
pub static CLUSTER: Table<Cluster> = Table::new("cluster", 1);
/// Under which name the cluster's one record lies.
pub const CLUSTER_NAME: &str = "cluster";
/// Machines, by id.
pub static NODES: Table<Node> = Table::new("node", 1).guarded_by(sets_of_node);
/// Services, by id.
pub static SERVICES: Table<Service> = Table::new("service", 1).guarded_by(sets_of_service);
/// What tasks run: never changed once written. By [`template_name`].
pub static TEMPLATES: Table<TaskSpec> = Table::new("template", 1);
/// Tasks, by id.
pub static TASKS: Table<Task> = Table::new("task", 1).guarded_by(sets_of_task);
/// What nodes say of their tasks. By [`status_name`]. Only the node writes it; who removes the task removes it, too.
pub static STATUSES: Table<TaskStatus> = Table::new("status", 1);
/// Secrets, by id.
pub static SECRETS: Table<Secret> = Table::new("secret", 1);
/// Configs, by id.
pub static CONFIGS: Table<Config> = Table::new("config", 1);
/// Networks over the nodes, by id.
pub static NETWORKS: Table<ClusterNetwork> = Table::new("network", 1).guarded_by(sets_of_network);
/// Who has a name: ids, by [`name_of`]. Taken by `guard_absent`.
pub static NAMES: Table<String> = Table::new("name", 1);
/// Addresses of tasks whose records are gone: when each may be used again. By [`retired_name`].
pub static RETIRED: Table<Timestamp> = Table::new("retired", 1);

/// What has a name of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Named {
    /// A service.
    Service,
    /// A network.
    Network,
    /// A secret.
    Secret,
    /// A config.
    Config,
}

impl Named {
    /// As in keys.
    pub fn as_str(self) -> &'static str {
        match self {
            Named::Service => "service",
            Named::Network => "network",
            Named::Secret => "secret",
            Named::Config => "config",
        }
    }
}

/// The name in [`NAMES`] of what is called `name`.
pub fn name_of(kind: Named, name: &str) -> String {
    format!("{}/{name}", kind.as_str())
}

/// The name in [`TEMPLATES`] of a service's template.
pub fn template_name(service: &ServiceId, version: u64) -> String {
    format!("{service}/{version}")
}

/// The name in [`STATUSES`] of what `node` says of `task`.
pub fn status_name(node: &ClusterNodeId, task: &TaskId) -> String {
    format!("{node}/{task}")
}

/// The name in [`RETIRED`] of an address.
pub fn retired_name(network: &NetworkId, address: std::net::IpAddr) -> String {
    format!("{network}/{address}")
}

/// What the loops read and watch: everything that a decision may rely on.
pub fn everything() -> Prefixes {
    Prefixes::from([
        CLUSTER.prefix(),
        NODES.prefix(),
        SERVICES.prefix(),
        TEMPLATES.prefix(),
        TASKS.prefix(),
        STATUSES.prefix(),
        SECRETS.prefix(),
        CONFIGS.prefix(),
        NETWORKS.prefix(),
        NAMES.prefix(),
        RETIRED.prefix(),
        Prefix::new("guard/"),
        Prefix::new("leader/"),
        Prefix::new("endpoints/"),
        Prefix::new("mesh/"),
    ])
}

/// Stands for what is booked on a node, and what it offers.
pub fn guard_of_node(node: &ClusterNodeId) -> Key {
    Key::new(&format!("guard/node/{node}"))
}

/// Stands for a service's tasks, and what each should become.
pub fn guard_of_service(service: &ServiceId) -> Key {
    Key::new(&format!("guard/service/{service}"))
}

/// Stands for a network's addresses, and who names it.
pub fn guard_of_network(network: &NetworkId) -> Key {
    Key::new(&format!("guard/network/{network}"))
}

/// Stands for the numbers and subnets of all networks.
pub fn guard_of_networks() -> Key {
    Key::new("guard/networks")
}

/// Stands for the published ports of the cluster.
pub fn guard_of_ports() -> Key {
    Key::new("guard/ports")
}

/// On which node a task takes room: from its placement until its record goes or is orphaned. That it ended is the
/// node's word, and only makes room.
fn booked(task: Option<&Task>) -> Option<(&ClusterNodeId, &[minke_model::service::GenericResource])> {
    let task = task.filter(|task| task.state <= TaskState::Running)?;
    Some((task.node.as_ref()?, &task.generic))
}

fn sets_of_task(old: Option<&Task>, new: Option<&Task>) -> Vec<Key> {
    let mut keys = Vec::new();
    if old.map(|task| task.desired) != new.map(|task| task.desired) {
        keys.extend(old.or(new).map(|task| guard_of_service(&task.service)));
    }
    if booked(old) != booked(new) {
        keys.extend([booked(old), booked(new)].into_iter().flatten().map(|(node, _)| guard_of_node(node)));
    }
    let networks = |task: Option<&Task>| task.map_or(Vec::new(), |task| task.attachments.clone());
    let (before, after) = (networks(old), networks(new));
    if before != after {
        keys.extend(before.iter().chain(&after).map(|at| guard_of_network(&at.network)));
    }
    keys
}

fn sets_of_node(old: Option<&Node>, new: Option<&Node>) -> Vec<Key> {
    let mut keys = Vec::new();
    let offers = |node: Option<&Node>| node.map(|node| (node.spec.clone(), node.description.clone()));
    if offers(old) != offers(new) {
        keys.extend(old.or(new).map(|node| guard_of_node(&node.id)));
    }
    let addresses = |node: Option<&Node>| node.map_or(Vec::new(), |node| node.attachments.clone());
    let (before, after) = (addresses(old), addresses(new));
    if before != after {
        keys.extend(before.iter().chain(&after).map(|(network, ..)| guard_of_network(network)));
    }
    keys
}

/// The ports of a service that every node answers: as asked, or as they are.
pub fn ingress_ports(service: &Service) -> Vec<&PortSpec> {
    let asked = service.spec.endpoint.iter().flat_map(|endpoint| &endpoint.ports);
    let have = service.endpoint.iter().flat_map(|endpoint| &endpoint.ports);
    let mut ports: Vec<_> = asked
        .chain(have)
        .filter(|port| port.publish == PublishMode::Ingress && port.published != 0)
        .collect();
    ports.sort();
    ports.dedup();
    ports
}

/// The networks that a service names, or has addresses of.
pub fn networks_of(service: &Service) -> Vec<NetworkId> {
    let named = service.spec.task.networks.iter().filter_map(|network| NetworkId::parse(&network.target));
    let have = service
        .endpoint
        .iter()
        .flat_map(|endpoint| endpoint.vips.iter().map(|(network, ..)| network.clone()));
    let mut networks: Vec<_> = named.chain(have).collect();
    networks.sort();
    networks.dedup();
    networks
}

fn sets_of_service(old: Option<&Service>, new: Option<&Service>) -> Vec<Key> {
    let mut keys = Vec::new();
    if old.is_none() || new.is_none() {
        keys.extend(old.or(new).map(|service| guard_of_service(&service.id)));
    }
    if old.map_or(Vec::new(), ingress_ports) != new.map_or(Vec::new(), ingress_ports) {
        keys.push(guard_of_ports());
    }
    let vips = |service: Option<&Service>| {
        service
            .and_then(|service| service.endpoint.as_ref())
            .map_or(Vec::new(), |endpoint| endpoint.vips.clone())
    };
    let (before, after) = (old.map_or(Vec::new(), networks_of), new.map_or(Vec::new(), networks_of));
    if before != after || vips(old) != vips(new) {
        keys.extend(before.iter().chain(&after).map(guard_of_network));
    }
    keys
}

fn sets_of_network(old: Option<&ClusterNetwork>, new: Option<&ClusterNetwork>) -> Vec<Key> {
    let mut keys = Vec::new();
    if old.is_none() || new.is_none() {
        keys.extend(old.or(new).map(|network| guard_of_network(&network.id)));
    }
    let numbers = |network: Option<&ClusterNetwork>| {
        network.map(|network| (network.vni, network.subnets.clone(), network.spec.pools.clone()))
    };
    if numbers(old) != numbers(new) {
        keys.push(guard_of_networks());
    }
    keys
}
