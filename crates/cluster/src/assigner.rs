//! What each node's watch covers, kept up for all nodes that a manager serves: its tasks, and what they need.
//!
//! Nothing of it is stored. A node sees `assigned/<node>/…`, and of `endpoints/`, `mesh/`, `secret/` and `config/`
//! what its tasks need, for as long as they need it; nothing else is there for it, whatever it asks for. Secrets are
//! open here, and only here: on their way from a manager's memory into a session.

use crate::{
    View,
    assign::{ASSIGNED, AssignedTask, FileData, OPEN_CONFIGS, OPEN_SECRETS, RegistryAuth, SAID, SESSION},
    endpoints::Endpoints,
    nature, tables,
};
use minke_model::{
    ClusterNodeId, Labels, NetworkId, ServiceId, TaskId,
    secret::Sealed,
    service::{PortSpec, PublishMode, TaskSpec},
    task::{Task, TaskState},
};
use minke_store::{
    AnyStore, Assigned, Key, Memory, Prefix, Prefixes, Remember, Result, Revision, Snapshot, Store,
    StoreError, Txn, Watch,
};
use serde::Serialize;
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};
use tokio::sync::watch;

#[cfg(test)]
mod tests;

/// Changes gather so long before nodes are told: a hundred tasks that start are one piece of news.
const GATHER: Duration = Duration::from_millis(20);
/// Pause after the store did not answer.
const PAUSE: Duration = Duration::from_millis(200);
/// What one node's watch remembers.
const REMEMBER: Remember = Remember { commits: 256, bytes: 1 << 20 };

/// Opens what is sealed: the manager's data key, behind a trait.
pub trait Open: Send + Sync + 'static {
    /// What was sealed; `None` where this manager cannot.
    fn open(&self, sealed: &Sealed) -> Option<Vec<u8>>;
}

impl Open for crate::membership::seal::Seal {
    fn open(&self, sealed: &Sealed) -> Option<Vec<u8>> {
        crate::membership::seal::Seal::open(self, sealed).ok()
    }
}

/// What nodes see. Clones are the same.
#[derive(Clone)]
pub struct Assigner {
    inner: Arc<Inner>,
}

struct Inner {
    store: AnyStore,
    seal: Arc<dyn Open>,
    state: Mutex<State>,
    /// Up to where the view is; zero: it is of nothing yet, and no node may be told so.
    reached: watch::Sender<Revision>,
}

#[derive(Default)]
struct State {
    view: View,
    files: Option<Snapshot>,
    endpoints: Endpoints,
    nodes: HashMap<ClusterNodeId, Weak<Seen>>,
    encoded: HashMap<TaskId, Encoded>,
    services: HashMap<ServiceId, Arc<ServicePart>>,
    ingress: Option<NetworkId>,
}

/// What a node sees, as records.
struct Seen {
    memory: Memory,
    have: Mutex<Have>,
}

#[derive(Default)]
struct Have {
    records: BTreeMap<Key, Arc<[u8]>>,
    networks: BTreeSet<NetworkId>,
}

/// What a task's record says of its service.
#[derive(PartialEq, Eq)]
struct ServicePart {
    name: String,
    labels: Labels,
    host_ports: Vec<PortSpec>,
}

struct Encoded {
    task: Arc<Task>,
    service: Arc<ServicePart>,
    bytes: Arc<[u8]>,
}

impl Assigner {
    /// Of what `store` holds. Begins to follow it: needs a tokio runtime around it. Ends with the last clone, when no
    /// node is served any more.
    pub fn start(store: AnyStore, seal: Arc<dyn Open>) -> Self {
        let inner = Arc::new(Inner {
            store,
            seal,
            state: Mutex::default(),
            reached: watch::Sender::new(Revision::default()),
        });
        tokio::spawn(follow(Arc::downgrade(&inner)));
        Assigner { inner }
    }

    /// What `node` sees, as a store; it commits to the real one.
    pub fn of(&self, node: &ClusterNodeId) -> AnyStore {
        let mut state = self.inner.lock();
        state.nodes.retain(|_, seen| seen.strong_count() > 0);
        let known = state.nodes.get(node).and_then(Weak::upgrade);
        let seen = known.unwrap_or_else(|| {
            let revision = state.view.snapshot().revision();
            let start = Revision { number: revision.number.saturating_sub(1), ..revision };
            let seen =
                Arc::new(Seen { memory: Memory::starting_at(start, REMEMBER), have: Mutex::default() });
            state.nodes.insert(node.clone(), Arc::downgrade(&seen));
            state.sync(node, &seen, &*self.inner.seal);
            seen
        });
        AnyStore::new(NodeStore { inner: self.inner.clone(), seen })
    }
}

impl Assigned for Assigner {
    fn seen_by(&self, node: &str) -> AnyStore {
        match ClusterNodeId::parse(node) {
            Some(node) => self.of(&node),
            // No certificate names such a node: it sees nothing.
            None => AnyStore::new(Memory::new()),
        }
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a node sees: reads and watches its own records, commits to the real store.
struct NodeStore {
    inner: Arc<Inner>,
    seen: Arc<Seen>,
}

impl Store for NodeStore {
    async fn read(&self, prefixes: impl Into<Prefixes> + Send) -> Result<Snapshot> {
        let prefixes = prefixes.into();
        let mut reached = self.inner.reached.subscribe();
        // An empty view would tell a node to stop everything.
        if reached.wait_for(|reached| *reached != Revision::default()).await.is_err() {
            return Err(StoreError::Closed);
        }
        self.seen.memory.read(prefixes).await
    }

    async fn commit(&self, txn: Txn) -> Result<Revision> {
        self.inner.store.commit(txn).await
    }

    fn watch(&self, prefixes: impl Into<Prefixes>, after: Revision) -> Watch {
        self.seen.memory.watch(prefixes, after)
    }
}

/// Keeps the view, and all that nodes see of it.
async fn follow(inner: Weak<Inner>) {
    let mut watch: Option<Watch> = None;
    loop {
        let Some(strong) = inner.upgrade() else { return };
        let reads = tables::everything();
        match strong.store.read(&reads).await {
            Ok(snapshot) => {
                match &mut watch {
                    Some(watch) => watch.skip(snapshot.revision()),
                    None => watch = Some(strong.store.watch(&reads, snapshot.revision())),
                }
                if !strong.advance(&snapshot) {
                    watch = None;
                }
            }
            Err(StoreError::Closed) => return,
            Err(error) => {
                tracing::warn!(%error, "nodes are not told of changes, because the store cannot be read");
                watch = None;
            }
        }
        drop(strong);
        let Some(following) = &mut watch else {
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        match following.next().await {
            Ok(_) => tokio::time::sleep(GATHER).await,
            Err(StoreError::Closed) => return,
            Err(_) => watch = None,
        }
    }
}

impl Inner {
    /// Shows `snapshot` to all nodes; `false` when it could not be read.
    fn advance(&self, snapshot: &Snapshot) -> bool {
        let mut guard = self.lock();
        let state = &mut *guard;
        if snapshot.revision() < state.view.snapshot().revision() {
            return true;
        }
        let changed = match state.view.advance(snapshot) {
            Ok(changed) => changed,
            Err(error) => {
                tracing::error!(%error, "a record of the cluster cannot be read: nodes are told nothing new");
                state.view = View::new();
                return false;
            }
        };
        state.files = Some(snapshot.clone());
        let shared = state.endpoints.advance(&state.view, &changed);
        state.forget(&changed.services);
        let seen: Vec<_> =
            state.nodes.iter().filter_map(|(id, seen)| Some((id.clone(), seen.upgrade()?))).collect();
        let mut concerned = changed.nodes;
        let ingress = state.view.ingress().map(|network| network.id.clone());
        if ingress != state.ingress {
            // Every node is in it.
            state.ingress = ingress;
            concerned.extend(seen.iter().map(|(id, _)| id.clone()));
        }
        for service in &changed.services {
            let part = state.service_part(service);
            let same = match (&part, state.services.get(service)) {
                (Some(new), Some(old)) => *new == **old,
                (None, None) => true,
                _ => false,
            };
            if !same {
                let tasks = state.view.tasks_of(service).filter_map(|now| now.task.node.clone());
                concerned.extend(tasks);
                match part {
                    Some(part) => state.services.insert(service.clone(), Arc::new(part)),
                    None => state.services.remove(service),
                };
            }
        }
        for (id, seen) in seen {
            if concerned.contains(&id) {
                state.sync(&id, &seen, &*self.seal);
            } else {
                seen.tell(state.view.snapshot().revision(), &shared);
            }
        }
        self.reached.send_replace(snapshot.revision().max(Revision { epoch: 1, number: 0 }));
        true
    }
}

impl Seen {
    /// Passes on shared records that changed, where they concern this node.
    fn tell(&self, revision: Revision, shared: &[(Key, Option<Arc<[u8]>>)]) {
        let mut have = self.have.lock().unwrap_or_else(PoisonError::into_inner);
        let mut txn = Txn::new();
        let mut any = false;
        for (key, value) in shared {
            if !have.wants(key) {
                continue;
            }
            any = true;
            txn = match value {
                Some(bytes) => {
                    have.records.insert(key.clone(), bytes.clone());
                    txn.put_bytes(key, 1, bytes.clone())
                }
                None => {
                    have.records.remove(key);
                    txn.delete(key)
                }
            };
        }
        if any {
            self.memory.write_as(revision, txn);
        }
    }
}

impl Have {
    fn wants(&self, key: &Key) -> bool {
        match key.as_str().strip_prefix("endpoints/").and_then(|rest| rest.split_once('/')) {
            Some((network, _)) => NetworkId::parse(network).is_some_and(|id| self.networks.contains(&id)),
            None => key.as_str().starts_with("mesh/"),
        }
    }
}

impl State {
    /// Lets go what was encoded of tasks that are gone.
    fn forget(&mut self, services: &BTreeSet<ServiceId>) {
        if services.is_empty() || self.encoded.len() <= 2 * self.view.tasks().len() {
            return;
        }
        let view = &self.view;
        self.encoded.retain(|id, _| view.task(id).is_some());
    }

    fn service_part(&self, id: &ServiceId) -> Option<ServicePart> {
        let service = self.view.service(id)?;
        let ports = service.endpoint.iter().flat_map(|e| &e.ports);
        Some(ServicePart {
            name: service.spec.name.clone(),
            labels: service.spec.labels.clone(),
            host_ports: ports.filter(|port| port.publish == PublishMode::Host).cloned().collect(),
        })
    }

    /// Makes what a node sees what it should see.
    fn sync(&mut self, node: &ClusterNodeId, seen: &Seen, seal: &dyn Open) {
        let (networks, should) = self.records_of(node, seal);
        let mut have = seen.have.lock().unwrap_or_else(PoisonError::into_inner);
        let mut txn = Txn::new();
        let mut any = false;
        for (key, bytes) in &should {
            if have.records.get(key).is_none_or(|old| !Arc::ptr_eq(old, bytes) && **old != **bytes) {
                txn = txn.put_bytes(key, 1, bytes.clone());
                any = true;
            }
        }
        for key in have.records.keys().filter(|key| !should.contains_key(*key)) {
            txn = txn.delete(key);
            any = true;
        }
        have.networks = networks;
        have.records = should;
        if any {
            seen.memory.write_as(self.view.snapshot().revision(), txn);
        }
    }

    /// Everything that a node may see, and the networks that it is in.
    fn records_of(
        &mut self,
        node: &ClusterNodeId,
        seal: &dyn Open,
    ) -> (BTreeSet<NetworkId>, BTreeMap<Key, Arc<[u8]>>) {
        let mut records = BTreeMap::new();
        let mut networks: BTreeSet<NetworkId> = self.ingress.iter().cloned().collect();
        let sessions = self.view.node(node).map_or(0, |node| node.sessions);
        encode(&mut records, SESSION.key(&format!("{node}/session")), &sessions);
        let (mut secrets, mut configs) = (BTreeSet::new(), BTreeSet::new());
        let tasks: Vec<_> = self.view.tasks_on(node).cloned().collect();
        for now in tasks {
            let ours = (TaskState::Assigned..TaskState::Orphaned).contains(&now.task.state);
            if !ours {
                continue;
            }
            let Some(spec) = self.view.spec_of(&now.task).cloned() else { continue };
            if let Some(status) = &now.status {
                let name = format!("{node}/said/{}", now.task.id);
                encode(&mut records, SAID.key(&name), &**status);
            }
            if let Some(bytes) = self.encode_task(&now.task, &spec, seal) {
                records.insert(ASSIGNED.key(&format!("{node}/{}", now.task.id)), bytes);
            }
            if now.has_ended() {
                continue;
            }
            networks.extend(now.task.attachments.iter().map(|at| at.network.clone()));
            secrets.extend(spec.container.secrets.iter().map(|secret| secret.id.clone()));
            configs.extend(spec.container.configs.iter().map(|config| config.id.clone()));
        }
        if let Some(files) = &self.files {
            for id in secrets {
                let Ok(Some(secret)) = tables::SECRETS.get(files, id.as_str()) else { continue };
                let Some(data) = seal.open(&secret.sealed) else { continue };
                let data =
                    FileData { name: secret.name.clone(), templating: secret.templating.clone(), data };
                encode(&mut records, OPEN_SECRETS.key(id.as_str()), &data);
            }
            for id in configs {
                let Ok(Some(config)) = tables::CONFIGS.get(files, id.as_str()) else { continue };
                let (name, templating) = (config.name.clone(), config.templating.clone());
                let data = FileData { name, templating, data: config.data.clone() };
                encode(&mut records, OPEN_CONFIGS.key(id.as_str()), &data);
            }
        }
        for network in &networks {
            let prefix = Prefix::new(&format!("endpoints/{network}/"));
            records.extend(self.endpoints.under(&prefix).map(|(key, bytes)| (key.clone(), bytes.clone())));
        }
        let mesh = Prefix::new("mesh/");
        records.extend(self.endpoints.under(&mesh).map(|(key, bytes)| (key.clone(), bytes.clone())));
        (networks, records)
    }

    /// A task as its node gets it, encoded once.
    fn encode_task(&mut self, task: &Arc<Task>, spec: &Arc<TaskSpec>, seal: &dyn Open) -> Option<Arc<[u8]>> {
        let service = match self.services.get(&task.service) {
            Some(part) => part.clone(),
            None => {
                let part = Arc::new(self.service_part(&task.service).unwrap_or_else(|| ServicePart {
                    name: String::new(),
                    labels: Labels::default(),
                    host_ports: Vec::new(),
                }));
                self.services.insert(task.service.clone(), part.clone());
                part
            }
        };
        if let Some(known) = self.encoded.get(&task.id)
            && Arc::ptr_eq(&known.task, task)
            && Arc::ptr_eq(&known.service, &service)
        {
            return Some(known.bytes.clone());
        }
        let registry = spec.container.registry.as_ref().and_then(|sealed| seal.open(sealed));
        let registry = registry.and_then(|bytes| String::from_utf8(bytes).ok()).map(RegistryAuth);
        let mut spec = spec.clone();
        if spec.container.registry.is_some() {
            Arc::make_mut(&mut spec).container.registry = None;
        }
        let name_of = |id: &NetworkId| Some((id.clone(), self.view.network(id)?.spec.name.clone()));
        let fenced =
            self.view.service(&task.service).is_some_and(|service| nature::is_fenced(service, &spec));
        let assigned = AssignedTask {
            task: (**task).clone(),
            service_name: service.name.clone(),
            service_labels: service.labels.clone(),
            host_ports: service.host_ports.clone(),
            networks: task.attachments.iter().filter_map(|at| name_of(&at.network)).collect(),
            registry,
            fenced,
            spec,
        };
        let bytes: Arc<[u8]> = serde_json::to_vec(&assigned).ok()?.into();
        let encoded = Encoded { task: task.clone(), service, bytes: bytes.clone() };
        self.encoded.insert(task.id.clone(), encoded);
        Some(bytes)
    }
}

/// Plain data with text keys: it has always a JSON form.
fn encode<T: Serialize>(records: &mut BTreeMap<Key, Arc<[u8]>>, key: Key, value: &T) {
    if let Ok(bytes) = serde_json::to_vec(value) {
        records.insert(key, bytes.into());
    }
}
