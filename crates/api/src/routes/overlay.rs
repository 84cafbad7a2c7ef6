//! Networks of the cluster, beside the machine's own in `network.rs`.

use super::Routes;
use crate::{
    error::Result,
    wire::{
        network::Resource,
        overlay::{Inspect, Peer, ServiceInfo, TaskInfo},
    },
};
use minke_cluster::control::{Control, Filters as ClusterFilters, task::TaskView};
use minke_engine::Filters;
use minke_model::{NetworkId, overlay::ClusterNetwork, task::TaskState};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// Networks of the cluster that fit, by age.
pub(super) async fn list(control: &Control, filters: &Filters) -> Result<Vec<Arc<ClusterNetwork>>> {
    let dangling = filters.boolean("dangling")?;
    let mut fitting = Vec::new();
    for network in control.networks().await? {
        let spec = &network.spec;
        let fits = filters.allows("driver", "overlay")
            && filters.allows("scope", "swarm")
            && filters.allows("type", "custom")
            && filters
                .values("id")
                .is_none_or(|ids| ids.iter().any(|i| network.id.as_str().starts_with(i.as_str())))
            && filters
                .values("name")
                .is_none_or(|names| names.iter().any(|n| spec.name.contains(n.as_str())))
            && filters.labels_fit(&spec.labels);
        if fits {
            fitting.push(network);
        }
    }
    if let Some(wanted) = dangling {
        let tasks = control.tasks(&ClusterFilters::default()).await?;
        let used: BTreeSet<&NetworkId> =
            live(&tasks).flat_map(|view| view.task.attachments.iter().map(|a| &a.network)).collect();
        fitting.retain(|network| wanted != (used.contains(&network.id) || network.spec.ingress));
    }
    fitting.sort_by(|a, b| a.meta.created.cmp(&b.meta.created).then_with(|| a.spec.name.cmp(&b.spec.name)));
    Ok(fitting)
}

/// Tasks that run or will.
fn live(tasks: &[TaskView]) -> impl Iterator<Item = &TaskView> {
    let up = |view: &&TaskView| view.state() <= TaskState::Running && view.task.desired <= TaskState::Running;
    tasks.iter().filter(up)
}

/// A network of the cluster, with who is on it: containers of this machine, nodes, and services where `verbose`.
pub(super) async fn inspect(
    routes: &Routes,
    control: &Control,
    network: &ClusterNetwork,
    verbose: bool,
) -> Result<Inspect> {
    let mut containers = BTreeMap::new();
    if let Ok(local) = routes.engine.networks.inspect(network.id.as_str()) {
        let rows = local.containers.iter();
        containers = rows.map(|(id, (name, e))| (id.as_str().to_owned(), Resource::new(name, e))).collect();
    }
    let tasks = control.tasks(&ClusterFilters::default()).await?;
    let here: Vec<&TaskView> =
        live(&tasks).filter(|view| view.task.attachments.iter().any(|a| a.network == network.id)).collect();
    let nodes = control.nodes(&ClusterFilters::default()).await?;
    let on_it = |id| here.iter().any(|view| view.task.node.as_ref() == Some(id));
    let peers = nodes
        .iter()
        .filter(|node| network.spec.ingress || on_it(&node.id))
        .filter_map(|node| {
            Some(Peer { name: node.id.short().to_owned(), address: node.address?.to_string() })
        })
        .collect();
    let shown = Inspect::new(network).with_members(containers, peers);
    if !verbose {
        return Ok(shown);
    }
    let mut services = BTreeMap::<String, ServiceInfo>::new();
    for view in here.iter().filter(|view| view.state() == TaskState::Running) {
        let Some(service) = &view.service else { continue };
        let endpoint = service.endpoint.as_ref();
        let info = services.entry(service.spec.name.clone()).or_insert_with(|| ServiceInfo {
            vip: endpoint
                .and_then(|e| e.vips.iter().find(|(id, ..)| *id == network.id))
                .map(|(_, address, _)| address.to_string())
                .unwrap_or_default(),
            ports: endpoint
                .iter()
                .flat_map(|e| &e.ports)
                .map(|p| format!("Target: {}, Publish: {}", p.target, p.published))
                .collect(),
            index: 0,
            tasks: Vec::new(),
        });
        let place = view.task.attachments.iter().find(|a| a.network == network.id);
        let host = nodes.iter().find(|n| view.task.node.as_ref() == Some(&n.id)).and_then(|n| n.address);
        info.tasks.push(TaskInfo {
            name: view.name(),
            endpoint: String::new(),
            address: place.and_then(|p| p.addresses.first()).map(|(a, _)| a.to_string()).unwrap_or_default(),
            info: host.map(|host| BTreeMap::from([("Host IP", host.to_string())])),
        });
    }
    Ok(shown.with_services(services))
}

/// Removes networks of the cluster that nobody is on, and tells their names.
pub(super) async fn prune(control: &Control, filters: &Filters) -> Result<Vec<String>> {
    let until = filters.until()?;
    let mut deleted = Vec::new();
    for network in control.networks().await? {
        let old = until.is_none_or(|u| network.meta.created <= u);
        if network.spec.ingress || !old || !filters.labels_fit(&network.spec.labels) {
            continue;
        }
        // One that is in use stays.
        if control.remove_network(&network.id).await.is_ok() {
            deleted.push(network.spec.name.clone());
        }
    }
    Ok(deleted)
}
