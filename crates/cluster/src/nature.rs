//! What a task is by nature: bound to where its volumes are, or single in the world. Pure.

use minke_model::{
    Labels, NetworkId,
    mount::{MountKind, MountSpec},
    node::Node,
    service::{PublishMode, Service, TaskSpec},
};

/// The label of a service that must be single but may move: on it, or on its containers.
pub const SINGLE: &str = "minke.single";
/// The label of a service that says `off` where its tasks are never moved for an even spread.
pub const REBALANCE: &str = "minke.rebalance";

/// File systems of volumes that every node sees the same.
const SHARED_TYPES: &[&str] = &["nfs", "nfs4", "cifs", "smb3", "ceph", "glusterfs", "9p"];

/// The named volumes of a task that live on one node only, as asked (their names may be templates).
pub fn local_volumes(spec: &TaskSpec) -> impl Iterator<Item = &str> {
    spec.container
        .mounts
        .iter()
        .filter(|mount| mount.kind == MountKind::Volume && !mount.source.is_empty() && !is_shared(mount))
        .map(|mount| mount.source.as_str())
}

/// Whether a task's data lives on one node only: such a task is never fenced, orphaned or replaced elsewhere.
pub fn is_bound(spec: &TaskSpec) -> bool {
    local_volumes(spec).next().is_some()
}

/// Whether it must be single *and* may start on another node: stopped on the lost side before a replacement starts.
pub fn is_fenced(service: &Service, spec: &TaskSpec) -> bool {
    let says = |labels: &Labels| labels.get(SINGLE).is_some_and(|value| value != "false");
    let shared = || {
        let mounts = spec.container.mounts.iter();
        mounts.filter(|mount| mount.kind == MountKind::Volume && !mount.source.is_empty()).any(is_shared)
    };
    !is_bound(spec) && (says(&service.spec.labels) || says(&spec.container.labels) || shared())
}

fn is_shared(mount: &MountSpec) -> bool {
    let Some(options) = &mount.volume else { return false };
    if !matches!(options.driver.as_str(), "" | "local") {
        return true;
    }
    options.driver_options.get("type").is_some_and(|kind| SHARED_TYPES.contains(&kind.as_str()))
}

/// The networks of the cluster that a task joins by its template.
pub fn networks(spec: &TaskSpec) -> impl Iterator<Item = NetworkId> {
    spec.networks.iter().filter_map(|network| NetworkId::parse(&network.target))
}

/// Whether a service has ports that every node answers.
pub fn is_published(service: &Service) -> bool {
    let mut ports = service.spec.endpoint.iter().flat_map(|endpoint| &endpoint.ports);
    ports.any(|port| port.publish == PublishMode::Ingress)
}

/// Whether tasks of it need addresses of networks of the cluster.
pub fn needs_addresses(service: &Service, spec: &TaskSpec) -> bool {
    is_published(service) || networks(spec).next().is_some()
}

/// How people know a node.
pub fn name_of(node: &Node) -> &str {
    match node.spec.name.as_str() {
        "" => node.hostname(),
        name => name,
    }
}
