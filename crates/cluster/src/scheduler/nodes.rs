//! What is booked on each node, and how it fared. Pure.

use crate::{View, view::TaskNow};
use minke_model::{
    ClusterNodeId, ServiceId, Timestamp,
    node::Node,
    port::Protocol,
    service::{GenericResource, PortSpec, PublishMode, Service, TaskSpec},
    task::{Task, TaskState},
};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    time::Duration,
};

/// Failures are remembered for so long (swarmkit, manager/scheduler/nodeinfo.go, monitorFailures).
const REMEMBERED: Duration = Duration::from_secs(300);

/// What a node has left, and what it has.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Room {
    /// Billionths of a CPU that nobody has reserved.
    pub nano_cpus: i64,
    /// Bytes that nobody has reserved.
    pub memory: i64,
    /// Generic resources that nobody has.
    pub generic: Vec<GenericResource>,
    /// Host ports that are taken.
    pub ports: HashSet<(Protocol, u16)>,
    /// Tasks that are to run on it.
    pub total: usize,
    /// The same by service; none that is zero.
    pub by_service: HashMap<ServiceId, usize>,
    failed: HashMap<ServiceId, Vec<Timestamp>>,
}

impl Room {
    /// As the view shows it.
    pub fn of(view: &View, node: &Node) -> Self {
        let mut room = Room::default();
        if let Some(description) = &node.description {
            room.nano_cpus = description.nano_cpus;
            room.memory = description.memory;
            room.generic = description.generic.clone();
        }
        let mut oldest: BTreeMap<_, (&TaskNow, usize)> = BTreeMap::new();
        for task in view.tasks_on(&node.id) {
            if matches!(task.state(), TaskState::Failed | TaskState::Rejected) {
                room.failed.entry(task.task.service.clone()).or_default().push(task.since());
                let known = oldest.entry((&task.task.service, &task.task.slot)).or_insert((task, 0));
                known.1 += 1;
                if task.task.meta.created < known.0.task.meta.created {
                    known.0 = task;
                }
            }
            let spec = view.spec_of(&task.task);
            let service = view.service(&task.task.service);
            if !task.has_ended() {
                room.book(
                    &task.task,
                    spec.map(|spec| &**spec),
                    service.map(|service| &**service),
                    task.is_wanted(),
                );
            }
        }
        // Failures beyond the history that is kept are taken to have been where the oldest of it was.
        for ((service, _), (task, _)) in oldest {
            if task.task.restarts > 0 {
                room.failed.entry(service.clone()).or_default().push(task.since());
            }
        }
        room
    }

    /// One more task is on it.
    pub fn book(&mut self, task: &Task, spec: Option<&TaskSpec>, service: Option<&Service>, wanted: bool) {
        if let Some(spec) = spec {
            self.nano_cpus -= spec.resources.reserve_nano_cpus;
            self.memory -= spec.resources.reserve_memory;
        }
        take(&mut self.generic, &task.generic);
        if let Some(service) = service {
            self.ports.extend(host_ports(service).map(|port| (port.protocol, port.published)));
        }
        if wanted {
            self.total += 1;
            *self.by_service.entry(task.service.clone()).or_default() += 1;
        }
    }

    /// Tasks of a service that are to run on it.
    pub fn of_service(&self, service: &ServiceId) -> usize {
        self.by_service.get(service).copied().unwrap_or(0)
    }

    /// How often tasks of a service failed on it lately.
    pub fn failures(&self, service: &ServiceId, now: Timestamp) -> usize {
        let times = self.failed.get(service).map_or(&[][..], Vec::as_slice);
        times.iter().filter(|time| now.since(**time) < REMEMBERED).count()
    }

    /// Whose failures it remembers.
    pub fn has_failed(&self, service: &ServiceId) -> bool {
        self.failed.contains_key(service)
    }
}

/// The ports of a service that its tasks' nodes answer themselves, where they are fixed.
pub fn host_ports(service: &Service) -> impl Iterator<Item = &PortSpec> {
    let ports = service.spec.endpoint.iter().flat_map(|endpoint| &endpoint.ports);
    ports.filter(|port| port.publish == PublishMode::Host && port.published != 0)
}

/// How much of a kind there is.
fn count(of: &[GenericResource], wanted: &str) -> i64 {
    of.iter()
        .map(|resource| match resource {
            GenericResource::Count { kind, value } if kind == wanted => *value,
            GenericResource::Named { kind, .. } if kind == wanted => 1,
            _ => 0,
        })
        .sum()
}

/// Whether `left` has all that is `wanted`.
pub fn has(left: &[GenericResource], wanted: &[GenericResource]) -> bool {
    wanted.iter().all(|resource| match resource {
        GenericResource::Count { kind, value } => count(left, kind) >= *value,
        named @ GenericResource::Named { .. } => left.contains(named),
    })
}

/// What a task that wants `wanted` gets of what is `left`: named things by name, counted ones by number.
pub fn grant(left: &[GenericResource], wanted: &[GenericResource]) -> Vec<GenericResource> {
    let mut granted = Vec::new();
    for resource in wanted {
        match resource {
            GenericResource::Count { kind, value } => {
                let names = left
                    .iter()
                    .filter(|one| matches!(one, GenericResource::Named { kind: of, .. } if of == kind));
                let named: Vec<_> = names.take(usize::try_from(*value).unwrap_or(0)).cloned().collect();
                match named.is_empty() {
                    true => granted.push(resource.clone()),
                    false => granted.extend(named),
                }
            }
            named => granted.push(named.clone()),
        }
    }
    granted
}

fn take(left: &mut Vec<GenericResource>, taken: &[GenericResource]) {
    for resource in taken {
        match resource {
            GenericResource::Count { kind, value } => {
                for one in left.iter_mut() {
                    if let GenericResource::Count { kind: of, value: left } = one
                        && of == kind
                    {
                        *left -= value;
                    }
                }
            }
            named => left.retain(|one| one != named),
        }
    }
}

/// All nodes with what is booked on them, and in the order of how much that is.
#[derive(Clone, Default)]
pub struct Nodes {
    rooms: HashMap<ClusterNodeId, Room>,
    order: BTreeSet<(usize, ClusterNodeId)>,
}

impl Nodes {
    /// Of all nodes of a view.
    pub fn of(view: &View) -> Self {
        let mut nodes = Nodes::default();
        for node in view.nodes() {
            nodes.refresh(view, &node.id);
        }
        nodes
    }

    /// Looks at one node again.
    pub fn refresh(&mut self, view: &View, id: &ClusterNodeId) {
        if let Some(old) = self.rooms.remove(id) {
            self.order.remove(&(old.total, id.clone()));
        }
        if let Some(node) = view.node(id) {
            self.put(id, Room::of(view, node));
        }
    }

    /// What is on one of them.
    pub fn room(&self, id: &ClusterNodeId) -> Option<&Room> {
        self.rooms.get(id)
    }

    /// By how many tasks are on them, then by id.
    pub fn in_order(&self) -> impl Iterator<Item = &(usize, ClusterNodeId)> {
        self.order.iter()
    }

    /// Replaces what is on one of them; says what was.
    pub fn put(&mut self, id: &ClusterNodeId, room: Room) -> Option<Room> {
        let total = room.total;
        let old = self.rooms.insert(id.clone(), room);
        match &old {
            Some(old) if old.total == total => {}
            Some(old) => {
                self.order.remove(&(old.total, id.clone()));
                self.order.insert((total, id.clone()));
            }
            None => {
                self.order.insert((total, id.clone()));
            }
        }
        old
    }
}
