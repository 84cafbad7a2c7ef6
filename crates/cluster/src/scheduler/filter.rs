//! On which nodes a task may run: Swarm's filters in Swarm's order, then ours. Pure.

use super::{
    constraint,
    nodes::{self, Room},
};
use crate::{View, nature};
use minke_model::{
    ClusterNodeId, ServiceId,
    image::Platform,
    mount::MountKind,
    node::Node,
    port::Protocol,
    service::{Service, TaskSpec},
};
use std::collections::BTreeSet;

/// Why a node is none for a task. In the order in which it is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// It is not ready, or takes no new tasks.
    NotReady,
    /// Too little is left of what the task reserves.
    Resources,
    /// It lacks a driver.
    Plugin,
    /// A constraint does not hold.
    Constraint,
    /// The image is not for its platform.
    Platform,
    /// A host port is taken.
    HostPort,
    /// It has as many of the service as it may.
    MaxReplicas,
    /// The slot's volumes are on another node.
    Volumes,
    /// It cannot encrypt, and a network demands it.
    Encryption,
    /// Its network carries smaller packets than one of the task's.
    Mtu,
}

/// What a task asks of a node.
pub struct Ask<'a> {
    service: &'a ServiceId,
    spec: &'a TaskSpec,
    ports: Vec<(Protocol, u16)>,
    encrypted: bool,
    /// Of the data path, at least.
    mtu: u32,
    volume_drivers: BTreeSet<&'a str>,
    log_driver: Option<&'a str>,
    /// The only node that has its volumes.
    pub(crate) pinned: Option<ClusterNodeId>,
}

/// What VXLAN adds to a packet (RFC 7348: outer Ethernet, IP, UDP and its own header), as `cluster` reckons MTUs.
pub(crate) const VXLAN: u32 = 50;

impl<'a> Ask<'a> {
    /// What tasks of a template ask.
    pub fn new(view: &View, service: &'a Service, spec: &'a TaskSpec) -> Self {
        let (mut encrypted, mut mtu) = (false, 0);
        for network in nature::networks(spec).filter_map(|id| view.network(&id).cloned()) {
            encrypted |= network.encrypted;
            mtu = mtu.max(if network.mtu == 0 { 0 } else { network.mtu + VXLAN });
        }
        let volumes = spec.container.mounts.iter().filter(|mount| mount.kind == MountKind::Volume);
        let drivers =
            volumes.filter_map(|mount| mount.volume.as_ref()).map(|options| options.driver.as_str());
        Ask {
            service: &service.id,
            spec,
            ports: nodes::host_ports(service).map(|port| (port.protocol, port.published)).collect(),
            encrypted,
            mtu,
            volume_drivers: drivers.filter(|driver| !matches!(*driver, "" | "local")).collect(),
            log_driver: spec
                .log
                .as_ref()
                .map(|(name, _)| name.as_str())
                .filter(|name| !matches!(*name, "" | "none")),
            pinned: None,
        }
    }
}

/// Why `node` is none for what is asked; `None`: it is one.
pub fn check(ask: &Ask<'_>, node: &Node, room: &Room) -> Option<Reason> {
    let reserved = &ask.spec.resources;
    let placement = &ask.spec.placement;
    if !View::takes_tasks(node) {
        return Some(Reason::NotReady);
    }
    let enough = reserved.reserve_nano_cpus <= room.nano_cpus || reserved.reserve_nano_cpus == 0;
    let enough = enough && (reserved.reserve_memory <= room.memory || reserved.reserve_memory == 0);
    if !enough || !nodes::has(&room.generic, &reserved.reserve_generic) {
        return Some(Reason::Resources);
    }
    if !has_plugins(ask, node) {
        return Some(Reason::Plugin);
    }
    if !constraint::node_fits(&placement.constraints, node) {
        return Some(Reason::Constraint);
    }
    if !platform_fits(ask.spec, node) {
        return Some(Reason::Platform);
    }
    if ask.ports.iter().any(|port| room.ports.contains(port)) {
        return Some(Reason::HostPort);
    }
    if placement.max_replicas > 0 && room.of_service(ask.service) as u64 >= placement.max_replicas {
        return Some(Reason::MaxReplicas);
    }
    if ask.pinned.as_ref().is_some_and(|pinned| *pinned != node.id) {
        return Some(Reason::Volumes);
    }
    let description = node.description.as_ref();
    if ask.encrypted && !description.is_some_and(|description| description.encrypts) {
        return Some(Reason::Encryption);
    }
    let mtu = description.map_or(0, |description| description.mtu);
    (mtu != 0 && mtu < ask.mtu).then_some(Reason::Mtu)
}

fn has_plugins(ask: &Ask<'_>, node: &Node) -> bool {
    let Some(description) = &node.description else { return true };
    let has = |kind: &str, name: &str| {
        let of_kind = description.plugins.iter().filter(|(of, _)| of == kind);
        of_kind
            .map(|(_, known)| known.as_str())
            .any(|known| known == name || known.strip_suffix(":latest") == Some(name))
    };
    // A node that names no log drivers at all is not asked (swarmkit, filter.go).
    let names_logs = description.plugins.iter().any(|(kind, _)| kind == "Log");
    ask.volume_drivers.iter().all(|driver| has("Volume", driver))
        && ask.log_driver.is_none_or(|driver| !names_logs || has("Log", driver))
}

/// Whether a template's image runs on a node.
pub fn platform_fits(spec: &TaskSpec, node: &Node) -> bool {
    let platforms = &spec.placement.platforms;
    let Some(description) = &node.description else { return platforms.is_empty() };
    let same = |platform: &Platform| {
        let (ours, theirs) =
            (architecture(&platform.architecture), architecture(&description.platform.architecture));
        (ours.is_empty() || ours == theirs)
            && (platform.os.is_empty() || platform.os == description.platform.os)
    };
    platforms.is_empty() || platforms.iter().any(same)
}

fn architecture(name: &str) -> &str {
    match name {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}
