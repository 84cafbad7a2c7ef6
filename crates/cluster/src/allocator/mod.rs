//! The allocator: numbers and subnets of networks, virtual addresses and ports of services, addresses of tasks and nodes.
//! Pure. What has all that it needs goes on: a task from New to Pending.
//!
//! Never: checks a wish. What cannot be is refused when it is asked (`control`).

pub mod address;
pub mod network;
pub mod port;

use crate::{
    View, nature,
    plan::{Deed, Planned, Step},
    tables::NETWORKS,
    view::TaskNow,
};
use address::Addresses;
use minke_model::{
    NetworkId, ServiceId, Timestamp,
    node::Node,
    service::{Resolution, Service, ServiceEndpoint, TaskSpec},
    task::{Attachment, Task, TaskState},
};
use minke_store::Txn;
use port::Ports;
use std::collections::BTreeSet;

/// What a network says that no address is left in.
const EXHAUSTED: &str = "no address is left in network";

/// What an allocation looks at.
#[derive(Clone, Debug, Default)]
pub struct Scope {
    /// Services that may need addresses or ports.
    pub services: BTreeSet<ServiceId>,
    /// Whether nodes may need addresses.
    pub nodes: bool,
    /// Whether networks may need numbers.
    pub networks: bool,
}

impl Scope {
    /// All of it.
    pub fn all(view: &View) -> Self {
        Scope {
            services: view.services().map(|service| service.id.clone()).collect(),
            nodes: true,
            networks: true,
        }
    }
}

/// Gives everything in `scope`, and every task that waits for it, what it needs.
pub fn plan(view: &View, scope: &Scope, now: Timestamp) -> Planned {
    let mut planned = Planned::default();
    if scope.networks {
        networks(view, &mut planned);
    }
    let mut addresses = Addresses::new(view, now);
    let mut ports = None;
    for service in scope.services.iter().filter_map(|id| view.service(id)).filter(|service| !service.removing)
    {
        let Some(spec) = view.template(&service.id, service.template) else { continue };
        if let Some(endpoint) = endpoint(view, service, spec, &mut addresses, &mut ports) {
            let because = format!("{} gets its addresses and ports", service.spec.name);
            let service = Service { endpoint: Some(endpoint), ..(**service).clone() };
            planned.push(Deed { steps: vec![Step::Service(Box::new(service))], because, of: None });
        }
    }
    let mut fresh: Vec<_> = view.fresh().collect();
    fresh.sort_by(|a, b| (&a.task.service, &a.task.slot).cmp(&(&b.task.service, &b.task.slot)));
    for task in fresh {
        planned.deeds.extend(give(view, task, &mut addresses, now));
    }
    if scope.nodes {
        nodes(view, &mut addresses, &mut planned);
    }
    planned
}

fn networks(view: &View, planned: &mut Planned) {
    let mut numbers = network::Numbers::of(view);
    let unnumbered =
        view.networks().filter(|network| !network.is_allocated() && network::is_overlay(network));
    for network in unnumbered {
        let Some(allocated) = numbers.give(view, network) else {
            tracing::warn!(network = network.spec.name, "no subnet is left in the cluster's address pools");
            continue;
        };
        let because = format!(
            "network {} gets number {} and {}",
            allocated.spec.name,
            allocated.vni,
            allocated.subnets.iter().map(|subnet| subnet.subnet.to_string()).collect::<Vec<_>>().join(", ")
        );
        let id = allocated.id.clone();
        let txn = Txn::on(view.snapshot()).put(&NETWORKS, id.as_str(), allocated);
        planned.push(Deed { steps: vec![Step::Other(crate::plan::Other(txn))], because, of: None });
    }
}

/// The networks that a service's tasks are on, the ingress network too. `None`: one is not there yet.
fn networks_of(view: &View, service: &Service, spec: &TaskSpec) -> Option<Vec<NetworkId>> {
    let mut networks = Vec::new();
    for id in nature::networks(spec) {
        // What is no network of the cluster is the nodes' own business.
        let Some(network) = view.network(&id) else { continue };
        if !network::is_overlay(network) {
            continue;
        }
        if !network.is_allocated() {
            return None;
        }
        if !networks.contains(&id) {
            networks.push(id);
        }
    }
    if nature::is_published(service) {
        let ingress = view.ingress()?;
        if !ingress.is_allocated() {
            return None;
        }
        if !networks.contains(&ingress.id) {
            networks.push(ingress.id.clone());
        }
    }
    Some(networks)
}

/// The endpoint that a service should have; `None`: it has it, or must wait.
fn endpoint(
    view: &View,
    service: &Service,
    spec: &TaskSpec,
    addresses: &mut Addresses<'_>,
    ports: &mut Option<Ports>,
) -> Option<ServiceEndpoint> {
    let asked = service.spec.endpoint.clone().unwrap_or_default();
    if service.endpoint.is_none() && !nature::needs_addresses(service, spec) && asked.ports.is_empty() {
        return None;
    }
    let have = service.endpoint.clone().unwrap_or_default();
    let networks = networks_of(view, service, spec)?;
    let mut vips = Vec::new();
    for network in networks.iter().filter(|_| asked.mode == Resolution::Vip) {
        match have.vips.iter().find(|(of, ..)| of == network) {
            Some(vip) => vips.push(vip.clone()),
            None => {
                let (address, prefix) = addresses.give(network)?;
                vips.push((network.clone(), address, prefix));
            }
        }
    }
    let ports = ports.get_or_insert_with(|| Ports::of(view));
    let ports = asked.ports.iter().map(|port| ports.give(port, &have.ports)).collect::<Option<Vec<_>>>()?;
    let endpoint = ServiceEndpoint { mode: asked.mode, ports, vips };
    (service.endpoint.as_ref() != Some(&endpoint)).then_some(endpoint)
}

/// A new task gets its addresses, if those of its service are there.
fn give(view: &View, task: &TaskNow, addresses: &mut Addresses<'_>, now: Timestamp) -> Option<Deed> {
    let service = view.service(&task.task.service)?;
    let spec = view.spec_of(&task.task)?;
    let networks = networks_of(view, service, spec)?;
    let mut attachments = Vec::new();
    for network in networks {
        let names = spec.networks.iter().find(|at| NetworkId::parse(&at.target).as_ref() == Some(&network));
        let Some(given) = addresses.give_each_family(&network) else {
            let name = view.network(&network).map_or("", |network| &network.spec.name);
            return leave(task, format!("{EXHAUSTED} {name}"), now);
        };
        let aliases = names.map_or(Vec::new(), |at| at.aliases.clone());
        attachments.push(Attachment { network, addresses: given, aliases });
    }
    let pending = Task {
        state: TaskState::Pending,
        message: "pending task scheduling".to_owned(),
        since: now,
        attachments,
        ..(*task.task).clone()
    };
    let because = format!("task {} has its addresses", task.task.id.short());
    Some(Deed { steps: vec![Step::Task(pending)], because, of: None })
}

fn leave(task: &TaskNow, why: String, now: Timestamp) -> Option<Deed> {
    if task.task.message == why {
        return None;
    }
    let because = format!("task {} waits: {why}", task.task.id.short());
    let waiting = Task { message: why, since: now, ..(*task.task).clone() };
    Some(Deed { steps: vec![Step::Task(waiting)], because, of: None })
}

/// Every node has an address of its own on the ingress network.
fn nodes(view: &View, addresses: &mut Addresses<'_>, planned: &mut Planned) {
    let Some(ingress) = view.ingress().filter(|network| network.is_allocated()) else { return };
    for node in view.nodes() {
        let stale = node.attachments.iter().any(|(network, ..)| view.network(network).is_none());
        let has = node.attachments.iter().any(|(network, ..)| *network == ingress.id);
        if has && !stale {
            continue;
        }
        let mut attachments = node.attachments.clone();
        attachments.retain(|(network, ..)| view.network(network).is_some());
        if !has {
            let Some((address, prefix)) = addresses.give(&ingress.id) else { return };
            attachments.push((ingress.id.clone(), address, prefix));
        }
        planned.push(attach(view, node, attachments));
    }
}

fn attach(view: &View, node: &Node, attachments: Vec<(NetworkId, std::net::IpAddr, u8)>) -> Deed {
    let because = format!("node {} gets its address on the ingress network", nature::name_of(node));
    let node = Node { attachments, ..node.clone() };
    let id = node.id.clone();
    let txn = Txn::on(view.snapshot()).put(&crate::tables::NODES, id.as_str(), node);
    Deed { steps: vec![Step::Other(crate::plan::Other(txn))], because, of: None }
}
