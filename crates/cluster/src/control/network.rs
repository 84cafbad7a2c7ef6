//! Networks over the nodes: made, found, removed when nobody is on them.

use super::{
    Code, Control, ControlError, Look, Result,
    filter::{check_dns_name, resolve},
};
use crate::tables::{NAMES, NETWORKS, NODES, Named, SERVICES, TASKS, guard_of_network, name_of, networks_of};
use minke_model::{
    Kind, NetworkId, Timestamp,
    network::{NetworkDriver, NetworkSpec},
    node::Node,
    object::Meta,
    overlay::ClusterNetwork,
    service::{PublishMode, Service},
    task::TaskState,
};
use minke_store::{Snapshot, Txn};
use std::sync::Arc;

/// Networks that every node has by itself.
pub const PREDEFINED: [&str; 2] = ["bridge", "host"];

/// What Swarm labels its own entries of [`PREDEFINED`] networks with.
const PREDEFINED_LABEL: &str = "com.docker.swarm.predefined";

/// A new cluster's own network for published ports, on its way into the store. The snapshot of `txn` covers
/// [`NETWORKS`], [`NAMES`] and `guard/`.
pub fn found_ingress(txn: Txn, now: Timestamp) -> Txn {
    let id = NetworkId::random();
    let spec = NetworkSpec {
        name: "ingress".to_owned(),
        driver: NetworkDriver::Overlay,
        ipv4: true,
        ipv6: false,
        internal: false,
        attachable: false,
        ingress: true,
        config_only: false,
        config_from: None,
        options: Default::default(),
        labels: Default::default(),
        ipam_driver: "default".to_owned(),
        ipam_options: None,
        pools: Vec::new(),
    };
    let name = name_of(Named::Network, &spec.name);
    txn.put(&NAMES, &name, id.as_str().to_owned()).put(&NETWORKS, id.as_str(), made(&id, spec, now))
}

/// Without numbers and addresses: the allocator gives them.
fn made(id: &NetworkId, spec: NetworkSpec, now: Timestamp) -> ClusterNetwork {
    let encrypted = spec.options.get("encrypted").is_some_and(|v| v != "false");
    ClusterNetwork {
        id: id.clone(),
        meta: Meta::new(now),
        spec,
        encrypted,
        vni: 0,
        mtu: 0,
        subnets: Vec::new(),
    }
}

impl Control {
    /// All networks of the cluster, by id.
    pub async fn networks(&self) -> Result<Vec<Arc<ClusterNetwork>>> {
        Ok(NETWORKS.list(&self.look().await?)?.into_iter().map(|(_, n)| n.value).collect())
    }

    /// The network that `input` means.
    pub async fn network(&self, input: &str) -> Result<Arc<ClusterNetwork>> {
        resolve("network", input, &self.networks().await?, |n| (n.id.as_str(), &n.spec.name))
    }

    /// Makes a network. Its numbers and addresses come by and by.
    pub async fn create_network(&self, spec: NetworkSpec) -> Result<NetworkId> {
        if spec.attachable && spec.ingress {
            return Err(ControlError::invalid("ingress network cannot be attachable"));
        }
        check_dns_name(&spec.name)?;
        if spec.labels.contains_key(PREDEFINED_LABEL) {
            return Err(ControlError::new(
                Code::PermissionDenied,
                format!(
                    "label {PREDEFINED_LABEL} is for internally created predefined networks and cannot be applied by users"
                ),
            ));
        }
        let id = NetworkId::random();
        let now = self.now();
        self.wish(|snapshot| {
            let name = name_of(Named::Network, &spec.name);
            match NAMES.get(snapshot, &name)? {
                Some(holder) if holder.as_str() == id.as_str() => return Ok(Look::Done(id.clone())),
                Some(_) => {
                    let text = format!("network with name {} already exists", spec.name);
                    return Err(ControlError::plain(Kind::Conflict, text));
                }
                None => {}
            }
            let networks = NETWORKS.list(snapshot)?;
            if let Some((_, other)) = networks.iter().find(|(_, n)| spec.ingress && n.spec.ingress) {
                return Err(ControlError::new(
                    Code::AlreadyExists,
                    format!("ingress network ({}) is already present", other.id),
                ));
            }
            let network = made(&id, spec.clone(), now);
            let nodes = NODES.list(snapshot)?;
            let encrypts = |node: &Node| node.description.as_ref().is_some_and(|d| d.encrypts);
            if network.encrypted && !nodes.iter().any(|(_, node)| encrypts(&node.value)) {
                return Err(ControlError::new(
                    Code::FailedPrecondition,
                    format!(
                        "network {} shall be encrypted, and no node of this cluster can encrypt: its packets would be seen on the wire",
                        spec.name
                    ),
                ));
            }
            let txn = Txn::on(snapshot)
                .guard_absent(NAMES.key(&name))
                .put(&NAMES, &name, id.as_str().to_owned())
                .put(&NETWORKS, id.as_str(), network);
            Ok(Look::Write(txn, id.clone()))
        })
        .await
    }

    /// Removes a network that nobody is on.
    pub async fn remove_network(&self, id: &NetworkId) -> Result<()> {
        self.wish(|snapshot| {
            let Some(found) = NETWORKS.get(snapshot, id.as_str())? else {
                return Err(ControlError::new(Code::NotFound, format!("network {id} not found")));
            };
            check_unused(snapshot, &found)?;
            // Who takes an address of it, or names it, touches its guard; removing the record touches it as well.
            let guard = guard_of_network(id);
            let txn = Txn::on(snapshot)
                .remove(&NETWORKS, id.as_str())
                .remove(&NAMES, &name_of(Named::Network, &found.spec.name))
                .retire(guard.clone(), snapshot.revision_of(&guard));
            Ok(Look::Write(txn, ()))
        })
        .await
    }
}

fn check_unused(snapshot: &Snapshot, network: &ClusterNetwork) -> Result<()> {
    let id = &network.id;
    let refuse = |text: String| Err(ControlError::new(Code::FailedPrecondition, text));
    let services = SERVICES.list(snapshot)?;
    let publishes = |s: &Service| {
        s.spec.endpoint.iter().flat_map(|e| &e.ports).any(|p| p.publish == PublishMode::Ingress)
    };
    let mut live = services.iter().filter(|(_, s)| !s.removing);
    if network.spec.ingress {
        return match live.find(|(_, s)| publishes(s)) {
            Some((_, s)) => {
                refuse(format!("ingress network cannot be removed because service {} depends on it", s.id))
            }
            None => Ok(()),
        };
    }
    if let Some((_, s)) = live.find(|(_, s)| networks_of(s).contains(id)) {
        return refuse(format!("network {id} is in use by service {}", s.id));
    }
    for (_, task) in TASKS.list(snapshot)? {
        let on_it = task.attachments.iter().any(|a| a.network == *id);
        if on_it && task.desired <= TaskState::Running && task.state <= TaskState::Running {
            return refuse(format!("network {id} is in use by task {}", task.id));
        }
    }
    Ok(())
}
