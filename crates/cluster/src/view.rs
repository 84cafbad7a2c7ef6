//! A snapshot as loops see it: decoded, and indexed by what they ask for.
//!
//! Advancing a view to a newer snapshot costs what changed in between, and says what that concerns
//! ([`Changed`]). A view of scratch is one that advanced from nothing.
//!
//! Never: a decision, a clock, I/O.

use crate::{
    Result,
    tables::{self, CLUSTER, NETWORKS, NODES, RETIRED, SERVICES, STATUSES, TASKS, TEMPLATES},
};
use minke_model::{
    ClusterNodeId, NetworkId, ServiceId, TaskId, Timestamp,
    cluster::Cluster,
    node::{Availability, Node, NodeState},
    overlay::ClusterNetwork,
    service::{Service, TaskSpec},
    task::{Task, TaskState, TaskStatus},
};
use minke_store::{Difference, Revision, Snapshot};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::IpAddr,
    sync::Arc,
};

/// A task with what its node says of it.
#[derive(Clone, Debug)]
pub struct TaskNow {
    /// As the control plane knows it.
    pub task: Arc<Task>,
    /// As its node knows it.
    pub status: Option<Arc<TaskStatus>>,
}

impl TaskNow {
    /// How far it is: the further of the two words.
    pub fn state(&self) -> TaskState {
        self.status.as_ref().map_or(self.task.state, |status| status.state.max(self.task.state))
    }

    /// It is meant to run (or to complete), or to wait until it may.
    pub fn is_wanted(&self) -> bool {
        self.task.desired <= TaskState::Complete
    }

    /// Nothing of it runs any more, and nothing will.
    pub fn has_ended(&self) -> bool {
        self.state().is_terminal()
    }

    /// Since when it is what it is: by its node's clock, where its node said so.
    pub fn since(&self) -> Timestamp {
        match &self.status {
            Some(status) if status.state >= self.task.state => status.at,
            _ => self.task.since,
        }
    }
}

/// Who has an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Holder {
    /// A task.
    Task(TaskId),
    /// A service's virtual address.
    Service(ServiceId),
    /// A node's own.
    Node(ClusterNodeId),
    /// Nobody any more; free again then.
    Retired(Timestamp),
}

/// What an advance concerned.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changed {
    /// Services that changed, or whose tasks, templates, or nodes under these did.
    pub services: BTreeSet<ServiceId>,
    /// Nodes that changed, or what runs on them did.
    pub nodes: BTreeSet<ClusterNodeId>,
    /// Networks that changed, or their addresses did.
    pub networks: BTreeSet<NetworkId>,
    /// A network's own record changed, or the cluster's.
    pub network_records: bool,
    /// A node's own record changed.
    pub node_records: bool,
    /// Something is left over that is of no service.
    pub stray: bool,
}

impl Changed {
    /// This and `other`.
    pub fn add(&mut self, other: &Changed) {
        self.services.extend(other.services.iter().cloned());
        self.nodes.extend(other.nodes.iter().cloned());
        self.networks.extend(other.networks.iter().cloned());
        self.network_records |= other.network_records;
        self.node_records |= other.node_records;
        self.stray |= other.stray;
    }

    /// Nothing.
    pub fn is_empty(&self) -> bool {
        self == &Changed::default()
    }
}

/// A decoded snapshot with its indexes.
pub struct View {
    snapshot: Snapshot,
    cluster: Option<Arc<Cluster>>,
    nodes: BTreeMap<ClusterNodeId, Arc<Node>>,
    services: BTreeMap<ServiceId, Arc<Service>>,
    revisions: HashMap<ServiceId, Revision>,
    templates: HashMap<ServiceId, BTreeMap<u64, Arc<TaskSpec>>>,
    tasks: HashMap<TaskId, TaskNow>,
    statuses: HashMap<TaskId, BTreeMap<ClusterNodeId, Arc<TaskStatus>>>,
    by_service: HashMap<ServiceId, BTreeSet<TaskId>>,
    by_node: HashMap<ClusterNodeId, BTreeSet<TaskId>>,
    networks: BTreeMap<NetworkId, Arc<ClusterNetwork>>,
    addresses: HashMap<NetworkId, BTreeMap<IpAddr, Vec<Holder>>>,
    fresh: BTreeSet<TaskId>,
    waiting: BTreeSet<TaskId>,
    stray: BTreeSet<(ClusterNodeId, TaskId)>,
}

impl Default for View {
    fn default() -> Self {
        View::new()
    }
}

impl View {
    /// Of nothing.
    pub fn new() -> Self {
        View {
            snapshot: Snapshot::empty(),
            cluster: None,
            nodes: BTreeMap::new(),
            services: BTreeMap::new(),
            revisions: HashMap::new(),
            templates: HashMap::new(),
            tasks: HashMap::new(),
            statuses: HashMap::new(),
            by_service: HashMap::new(),
            by_node: HashMap::new(),
            networks: BTreeMap::new(),
            addresses: HashMap::new(),
            fresh: BTreeSet::new(),
            waiting: BTreeSet::new(),
            stray: BTreeSet::new(),
        }
    }

    /// Of `snapshot`, from scratch.
    ///
    /// # Errors
    /// A record that cannot be read.
    pub fn of(snapshot: &Snapshot) -> Result<Self> {
        let mut view = View::new();
        view.advance(snapshot)?;
        Ok(view)
    }

    /// The snapshot that it shows: what a transaction is decided on.
    pub fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    /// The cluster, once there is one.
    pub fn cluster(&self) -> Option<&Arc<Cluster>> {
        self.cluster.as_ref()
    }

    /// One machine.
    pub fn node(&self, id: &ClusterNodeId) -> Option<&Arc<Node>> {
        self.nodes.get(id)
    }

    /// All machines, by id.
    pub fn nodes(&self) -> impl ExactSizeIterator<Item = &Arc<Node>> {
        self.nodes.values()
    }

    /// One service.
    pub fn service(&self, id: &ServiceId) -> Option<&Arc<Service>> {
        self.services.get(id)
    }

    /// When a service's record was last written.
    pub fn service_revision(&self, id: &ServiceId) -> Revision {
        self.revisions.get(id).copied().unwrap_or_default()
    }

    /// All services, by id.
    pub fn services(&self) -> impl ExactSizeIterator<Item = &Arc<Service>> {
        self.services.values()
    }

    /// What tasks of a template run.
    pub fn template(&self, service: &ServiceId, version: u64) -> Option<&Arc<TaskSpec>> {
        self.templates.get(service)?.get(&version)
    }

    /// The templates of a service, also of one that is gone.
    pub fn templates_of(&self, service: &ServiceId) -> impl Iterator<Item = u64> {
        self.templates.get(service).into_iter().flat_map(|versions| versions.keys().copied())
    }

    /// Who has templates.
    pub fn services_with_templates(&self) -> impl Iterator<Item = &ServiceId> {
        self.templates.keys()
    }

    /// What a task runs.
    pub fn spec_of(&self, task: &Task) -> Option<&Arc<TaskSpec>> {
        self.template(&task.service, task.template)
    }

    /// One task.
    pub fn task(&self, id: &TaskId) -> Option<&TaskNow> {
        self.tasks.get(id)
    }

    /// All tasks, in no order.
    pub fn tasks(&self) -> impl ExactSizeIterator<Item = &TaskNow> {
        self.tasks.values()
    }

    /// A service's tasks, by id.
    pub fn tasks_of(&self, service: &ServiceId) -> impl Iterator<Item = &TaskNow> {
        self.by_service.get(service).into_iter().flatten().filter_map(|id| self.tasks.get(id))
    }

    /// The tasks that have a node, by id.
    pub fn tasks_on(&self, node: &ClusterNodeId) -> impl Iterator<Item = &TaskNow> {
        self.by_node.get(node).into_iter().flatten().filter_map(|id| self.tasks.get(id))
    }

    /// Tasks that have no addresses yet.
    pub fn fresh(&self) -> impl Iterator<Item = &TaskNow> {
        self.fresh.iter().filter_map(|id| self.tasks.get(id))
    }

    /// Tasks that wait for a node.
    pub fn waiting(&self) -> impl Iterator<Item = &TaskNow> {
        self.waiting.iter().filter_map(|id| self.tasks.get(id))
    }

    /// What nodes say of tasks that are no more, or not theirs.
    pub fn stray_statuses(&self) -> impl Iterator<Item = &(ClusterNodeId, TaskId)> {
        self.stray.iter()
    }

    /// One network.
    pub fn network(&self, id: &NetworkId) -> Option<&Arc<ClusterNetwork>> {
        self.networks.get(id)
    }

    /// All networks, by id.
    pub fn networks(&self) -> impl ExactSizeIterator<Item = &Arc<ClusterNetwork>> {
        self.networks.values()
    }

    /// The network that published ports go over.
    pub fn ingress(&self) -> Option<&Arc<ClusterNetwork>> {
        self.networks.values().find(|network| network.spec.ingress)
    }

    /// A network's addresses and who has each.
    pub fn addresses(&self, network: &NetworkId) -> Option<&BTreeMap<IpAddr, Vec<Holder>>> {
        self.addresses.get(network)
    }

    /// Retired addresses that are free since before `now`, by network.
    pub fn retired(&self) -> impl Iterator<Item = (&NetworkId, &IpAddr, Timestamp)> {
        self.addresses.iter().flat_map(|(network, addresses)| {
            addresses.iter().flat_map(move |(address, holders)| {
                holders.iter().filter_map(move |holder| match holder {
                    Holder::Retired(until) => Some((network, address, *until)),
                    _ => None,
                })
            })
        })
    }

    /// Whether a node could take new tasks.
    pub fn takes_tasks(node: &Node) -> bool {
        node.state == NodeState::Ready && node.spec.availability == Availability::Active
    }

    /// Shows `snapshot` instead, at the cost of what differs.
    ///
    /// # Errors
    /// A record that cannot be read. The view is then of no snapshot and must be made anew.
    pub fn advance(&mut self, snapshot: &Snapshot) -> Result<Changed> {
        let older = std::mem::replace(&mut self.snapshot, snapshot.clone());
        let mut changed = Changed::default();
        for difference in snapshot.changes_since(&older) {
            self.take(&difference, &mut changed)?;
        }
        Ok(changed)
    }

    fn take(&mut self, difference: &Difference, changed: &mut Changed) -> Result<()> {
        let Some((table, name)) = difference.key.as_str().split_once('/') else { return Ok(()) };
        match table {
            "task" => self.take_task(difference, changed),
            "status" => self.take_status(difference, name, changed),
            "service" => self.take_service(difference, name, changed),
            "node" => self.take_node(difference, name, changed),
            "template" => self.take_template(difference, name, changed),
            "network" => self.take_network(difference, name, changed),
            "retired" => self.take_retired(difference, name, changed),
            "cluster" if name == tables::CLUSTER_NAME => {
                self.cluster = decode(&CLUSTER, difference)?;
                changed.services.extend(self.services.keys().cloned());
                changed.network_records = true;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn take_task(&mut self, difference: &Difference, changed: &mut Changed) -> Result<()> {
        let old: Option<Arc<Task>> = before(&TASKS, difference)?;
        let new: Option<Arc<Task>> = decode(&TASKS, difference)?;
        for task in old.iter().chain(&new) {
            changed.services.insert(task.service.clone());
            changed.nodes.extend(task.node.clone());
            changed.networks.extend(task.attachments.iter().map(|at| at.network.clone()));
        }
        if let Some(task) = &old {
            self.tasks.remove(&task.id);
            unlink(&mut self.by_service, &task.service, &task.id);
            if let Some(node) = &task.node {
                unlink(&mut self.by_node, node, &task.id);
            }
            for (network, address) in addresses_of(task) {
                self.let_go(network, address, |holder| *holder == Holder::Task(task.id.clone()));
            }
        }
        let Some(id) = old.as_ref().or(new.as_ref()).map(|task| task.id.clone()) else { return Ok(()) };
        if let Some(task) = new {
            self.by_service.entry(task.service.clone()).or_default().insert(task.id.clone());
            if let Some(node) = &task.node {
                self.by_node.entry(node.clone()).or_default().insert(task.id.clone());
            }
            for (network, address) in addresses_of(&task) {
                self.hold(network, address, Holder::Task(task.id.clone()));
            }
            self.tasks.insert(task.id.clone(), TaskNow { task, status: None });
        }
        self.settle(&id, changed);
        Ok(())
    }

    fn take_status(&mut self, difference: &Difference, name: &str, changed: &mut Changed) -> Result<()> {
        let Some((node, task)) = name.split_once('/') else { return Ok(()) };
        let (Some(node), Some(task)) = (ClusterNodeId::parse(node), TaskId::parse(task)) else {
            return Ok(());
        };
        let new: Option<Arc<TaskStatus>> = decode(&STATUSES, difference)?;
        let said = self.statuses.entry(task.clone()).or_default();
        match new {
            Some(status) => said.insert(node.clone(), status),
            None => said.remove(&node),
        };
        if said.is_empty() {
            self.statuses.remove(&task);
        }
        self.stray.remove(&(node.clone(), task.clone()));
        changed.nodes.insert(node);
        self.settle(&task, changed);
        Ok(())
    }

    /// After a task or what is said of it has changed: joins the two, and files it under what it waits for.
    fn settle(&mut self, id: &TaskId, changed: &mut Changed) {
        let said = self.statuses.get(id);
        let now = self.tasks.get_mut(id);
        let node = now.as_ref().and_then(|now| now.task.node.clone());
        for other in said.into_iter().flat_map(|said| said.keys()) {
            let key = (other.clone(), id.clone());
            if Some(other) == node.as_ref() {
                self.stray.remove(&key);
            } else {
                self.stray.insert(key);
                changed.stray = true;
            }
        }
        self.fresh.remove(id);
        self.waiting.remove(id);
        let Some(now) = now else { return };
        now.status = node.and_then(|node| said?.get(&node).cloned());
        changed.services.insert(now.task.service.clone());
        if !now.is_wanted() {
            return;
        }
        match now.task.state {
            TaskState::New => self.fresh.insert(id.clone()),
            TaskState::Pending => self.waiting.insert(id.clone()),
            _ => false,
        };
    }

    fn take_service(&mut self, difference: &Difference, name: &str, changed: &mut Changed) -> Result<()> {
        let Some(id) = ServiceId::parse(name) else { return Ok(()) };
        let old: Option<Arc<Service>> = before(&SERVICES, difference)?;
        let new: Option<Arc<Service>> = decode(&SERVICES, difference)?;
        for service in old.iter().chain(&new) {
            changed.networks.extend(tables::networks_of(service));
        }
        let vips = |service: &Service| {
            service.endpoint.as_ref().map_or(Vec::new(), |endpoint| endpoint.vips.clone())
        };
        for (network, address, _) in old.iter().flat_map(|service| vips(service)) {
            self.let_go(&network, address, |holder| *holder == Holder::Service(id.clone()));
        }
        for (network, address, _) in new.iter().flat_map(|service| vips(service)) {
            self.hold(&network, address, Holder::Service(id.clone()));
        }
        let revision = difference.after.as_ref().map_or(Revision::default(), |record| record.revision());
        match new {
            Some(service) => {
                self.revisions.insert(id.clone(), revision);
                self.services.insert(id.clone(), service);
            }
            None => {
                self.revisions.remove(&id);
                self.services.remove(&id);
                changed.stray = true;
            }
        }
        changed.services.insert(id);
        Ok(())
    }

    fn take_node(&mut self, difference: &Difference, name: &str, changed: &mut Changed) -> Result<()> {
        let Some(id) = ClusterNodeId::parse(name) else { return Ok(()) };
        let old: Option<Arc<Node>> = before(&NODES, difference)?;
        let new: Option<Arc<Node>> = decode(&NODES, difference)?;
        for (network, address, _) in old.iter().flat_map(|node| node.attachments.clone()) {
            self.let_go(&network, address, |holder| *holder == Holder::Node(id.clone()));
            changed.networks.insert(network);
        }
        for (network, address, _) in new.iter().flat_map(|node| node.attachments.clone()) {
            self.hold(&network, address, Holder::Node(id.clone()));
            changed.networks.insert(network);
        }
        for task in self.by_node.get(&id).into_iter().flatten() {
            changed.services.extend(self.tasks.get(task).map(|now| now.task.service.clone()));
        }
        changed.node_records = true;
        let everywhere = self.services.values().filter(|service| service.spec.mode.is_global());
        changed.services.extend(everywhere.map(|service| service.id.clone()));
        match new {
            Some(node) => self.nodes.insert(id.clone(), node),
            None => self.nodes.remove(&id),
        };
        changed.nodes.insert(id);
        Ok(())
    }

    fn take_template(&mut self, difference: &Difference, name: &str, changed: &mut Changed) -> Result<()> {
        let Some((service, version)) = name.split_once('/') else { return Ok(()) };
        let (Some(service), Ok(version)) = (ServiceId::parse(service), version.parse()) else {
            return Ok(());
        };
        let versions = self.templates.entry(service.clone()).or_default();
        match decode(&TEMPLATES, difference)? {
            Some(template) => versions.insert(version, template),
            None => versions.remove(&version),
        };
        if versions.is_empty() {
            self.templates.remove(&service);
        }
        changed.services.insert(service);
        Ok(())
    }

    fn take_network(&mut self, difference: &Difference, name: &str, changed: &mut Changed) -> Result<()> {
        let Some(id) = NetworkId::parse(name) else { return Ok(()) };
        let new: Option<Arc<ClusterNetwork>> = decode(&NETWORKS, difference)?;
        let ingress = new.as_ref().is_some_and(|network| network.spec.ingress);
        let concerned = |service: &&Arc<Service>| {
            tables::networks_of(service).contains(&id) || ingress && crate::nature::is_published(service)
        };
        changed.services.extend(self.services.values().filter(concerned).map(|service| service.id.clone()));
        match new {
            Some(network) => self.networks.insert(id.clone(), network),
            None => self.networks.remove(&id),
        };
        changed.network_records = true;
        changed.networks.insert(id);
        Ok(())
    }

    fn take_retired(&mut self, difference: &Difference, name: &str, changed: &mut Changed) -> Result<()> {
        let Some((network, address)) = name.split_once('/') else { return Ok(()) };
        let (Some(network), Ok(address)) = (NetworkId::parse(network), address.parse()) else {
            return Ok(());
        };
        self.let_go(&network, address, |holder| matches!(holder, Holder::Retired(_)));
        if let Some(until) = decode(&RETIRED, difference)? {
            self.hold(&network, address, Holder::Retired(*until));
        }
        changed.networks.insert(network);
        Ok(())
    }

    fn hold(&mut self, network: &NetworkId, address: IpAddr, holder: Holder) {
        self.addresses.entry(network.clone()).or_default().entry(address).or_default().push(holder);
    }

    fn let_go(&mut self, network: &NetworkId, address: IpAddr, who: impl Fn(&Holder) -> bool) {
        let Some(addresses) = self.addresses.get_mut(network) else { return };
        if let Some(holders) = addresses.get_mut(&address) {
            holders.retain(|holder| !who(holder));
            if holders.is_empty() {
                addresses.remove(&address);
            }
        }
        if addresses.is_empty() {
            self.addresses.remove(network);
        }
    }
}

fn addresses_of(task: &Task) -> impl Iterator<Item = (&NetworkId, IpAddr)> {
    task.attachments
        .iter()
        .flat_map(|at| at.addresses.iter().map(move |(address, _)| (&at.network, *address)))
}

fn unlink<K: std::hash::Hash + Eq>(index: &mut HashMap<K, BTreeSet<TaskId>>, key: &K, id: &TaskId) {
    if let Some(ids) = index.get_mut(key) {
        ids.remove(id);
        if ids.is_empty() {
            index.remove(key);
        }
    }
}

/// What a record holds now.
fn decode<T>(table: &minke_store::Table<T>, difference: &Difference) -> Result<Option<Arc<T>>>
where
    T: serde::de::DeserializeOwned + Send + Sync + 'static,
{
    let Some(record) = &difference.after else { return Ok(None) };
    Ok(Some(table.decode(&difference.key, record)?.value))
}

/// What it held before.
fn before<T>(table: &minke_store::Table<T>, difference: &Difference) -> Result<Option<Arc<T>>>
where
    T: serde::de::DeserializeOwned + Send + Sync + 'static,
{
    let Some(record) = &difference.before else { return Ok(None) };
    Ok(Some(table.decode(&difference.key, record)?.value))
}
