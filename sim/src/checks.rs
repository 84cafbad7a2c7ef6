//! What must never be, and what must be once all is quiet. Asked of the world, not only of the store.

use crate::{machine::Life, world::World};
use minke_cluster::{
    nature,
    tables::{NODES, SERVICES, STATUSES, TASKS, TEMPLATES, everything, status_name, template_name},
};
use minke_model::{
    ClusterNodeId, TaskId,
    node::{Availability, NodeState},
    service::{Mode, TaskSpec},
    task::{Slot, TaskState},
};
use minke_store::{Revision, Snapshot, Store};
use std::collections::{BTreeMap, BTreeSet};

/// What is remembered between two looks at a run.
#[derive(Default)]
pub(crate) struct Watcher {
    states: BTreeMap<TaskId, (TaskState, TaskState)>,
    said: BTreeMap<String, TaskState>,
}

impl Watcher {
    /// What is wrong now, and could not be right a moment later.
    pub(crate) async fn look(&mut self, world: &World) -> Vec<String> {
        let Ok(snapshot) = world.store.read(everything()).await else {
            return vec!["the store is gone".into()];
        };
        let mut wrong = self.never_back(&snapshot);
        let lives = world.lives.all();
        wrong.extend(fenced_once(&lives));
        wrong.extend(addresses_once(&lives));
        wrong.extend(booked(&snapshot));
        wrong
    }

    /// A task never goes back, in no record of it.
    fn never_back(&mut self, snapshot: &Snapshot) -> Vec<String> {
        let mut wrong = Vec::new();
        for (name, task) in TASKS.list(snapshot).unwrap_or_default() {
            let now = (task.state, task.desired);
            let before = self.states.insert(task.id.clone(), now);
            if let Some(before) = before.filter(|before| now.0 < before.0 || now.1 < before.1) {
                wrong.push(format!("task {name} went back: {before:?} → {now:?}"));
            }
        }
        for (name, status) in STATUSES.list(snapshot).unwrap_or_default() {
            let before = self.said.insert(name.clone(), status.state);
            if let Some(before) = before.filter(|before| status.state < *before) {
                wrong.push(format!("status {name} went back: {before:?} → {:?}", status.state));
            }
        }
        wrong
    }
}

/// What must be single runs once at a time, in true time, over all machines.
fn fenced_once(lives: &[Life]) -> Vec<String> {
    let mut wrong = Vec::new();
    let fenced: Vec<&Life> = lives.iter().filter(|life| life.task.fenced).collect();
    for (n, one) in fenced.iter().enumerate() {
        for other in &fenced[n + 1..] {
            let same = one.task.task.service == other.task.task.service
                && one.task.task.slot == other.task.task.slot;
            let overlap =
                one.to.is_none_or(|end| other.from < end) && other.to.is_none_or(|end| one.from < end);
            if same && overlap {
                wrong.push(format!(
                    "{} ran twice: task {} on node-{} and task {} on node-{}",
                    one.task.name(),
                    one.task.task.id.short(),
                    one.machine,
                    other.task.task.id.short(),
                    other.machine
                ));
            }
        }
    }
    wrong
}

/// No two live containers have one address, unless their slot is the same and its node is lost.
fn addresses_once(lives: &[Life]) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut held = BTreeMap::new();
    for life in lives.iter().filter(|life| life.to.is_none()) {
        for attachment in &life.task.task.attachments {
            for (address, _) in &attachment.addresses {
                let before = held.insert((&attachment.network, address), life);
                if let Some(before) = before.filter(|before| before.task.task.id != life.task.task.id) {
                    wrong.push(format!(
                        "{} and {} both have {address}",
                        before.task.name(),
                        life.task.name()
                    ));
                }
            }
        }
    }
    wrong
}

/// Whether some node that takes tasks, or the one that the slot is for, has room for one of `template`.
fn has_room(snapshot: &Snapshot, template: &TaskSpec, slot: &Slot) -> bool {
    let used = used_memory(snapshot);
    NODES.list(snapshot).unwrap_or_default().iter().any(|(_, node)| {
        let has = node.description.as_ref().map_or(0, |d| d.memory);
        let free = has - used.get(&node.id).copied().unwrap_or(0);
        let is_for = !matches!(slot, Slot::Node(id) if *id != node.id);
        is_for && node.spec.availability == Availability::Active && free >= template.resources.reserve_memory
    })
}

/// Memory booked by tasks that are not over, by node.
fn used_memory(snapshot: &Snapshot) -> BTreeMap<ClusterNodeId, i64> {
    let mut used: BTreeMap<ClusterNodeId, i64> = BTreeMap::new();
    for (_, task) in TASKS.list(snapshot).unwrap_or_default() {
        let Some(node) = task.node.clone() else { continue };
        let said = STATUSES.get(snapshot, &status_name(&node, &task.id)).ok().flatten();
        if task.state > TaskState::Running || said.is_some_and(|said| said.state.is_terminal()) {
            continue;
        }
        let template = TEMPLATES.get(snapshot, &template_name(&task.service, task.template)).ok().flatten();
        *used.entry(node).or_default() += template.map_or(0, |template| template.resources.reserve_memory);
    }
    used
}

/// No node has more booked than it has.
fn booked(snapshot: &Snapshot) -> Vec<String> {
    let used = used_memory(snapshot);
    let nodes = NODES.list(snapshot).unwrap_or_default();
    let has = |id: &ClusterNodeId| {
        let node = nodes.iter().find(|(_, node)| node.id == *id);
        node.and_then(|(_, node)| node.description.as_ref()).map_or(i64::MAX, |d| d.memory)
    };
    let over = used.into_iter().filter(|(node, used)| *used > has(node));
    over.map(|(node, used)| format!("{} has {} GiB booked", node.short(), used >> 30)).collect()
}

/// Every node knows just the tasks that run, by the names of their services and at their addresses.
fn names_are_true(world: &World, snapshot: &Snapshot) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut running = BTreeSet::new();
    for (_, task) in TASKS.list(snapshot).unwrap_or_default() {
        let said = task.node.as_ref().and_then(|node| {
            STATUSES.get(snapshot, &status_name(node, &task.id)).ok().flatten().map(|said| said.state)
        });
        if said != Some(TaskState::Running) || task.desired > TaskState::Running {
            continue;
        }
        let attachments = task.attachments.iter().filter(|attachment| attachment.network == world.network);
        running.extend(attachments.flat_map(|a| &a.addresses).map(|(address, _)| *address));
    }
    for node in &world.nodes {
        let Some(overlay) = node.machine.told().and_then(|told| told.overlay.clone()) else { continue };
        if !overlay.networks.iter().any(|network| network.id == world.network) {
            continue;
        }
        let services = overlay.services.iter().filter(|service| service.network == world.network);
        let told: BTreeSet<_> =
            services.flat_map(|service| &service.tasks).map(|(_, address)| *address).collect();
        if told != running {
            wrong.push(format!("{} is told of {told:?}, but {running:?} run", node.id.short()));
        }
    }
    wrong
}

/// What is wrong although everything is whole and nobody wants anything new. With the revision that it was true at.
pub(crate) async fn quiet(world: &World) -> (Revision, Vec<String>) {
    let Ok(snapshot) = world.store.read(everything()).await else {
        return (Revision::default(), vec!["the store is gone".into()]);
    };
    let mut wrong = nodes_are_ready(&snapshot);
    wrong.extend(services_run(world, &snapshot));
    wrong.extend(names_are_true(world, &snapshot));
    (snapshot.revision(), wrong)
}

fn nodes_are_ready(snapshot: &Snapshot) -> Vec<String> {
    let nodes = NODES.list(snapshot).unwrap_or_default();
    let bad = nodes.iter().filter(|(_, node)| node.state != NodeState::Ready);
    bad.map(|(_, node)| format!("{} is {:?}: {}", node.hostname(), node.state, node.message)).collect()
}

fn services_run(world: &World, snapshot: &Snapshot) -> Vec<String> {
    let mut wrong = Vec::new();
    let really: BTreeMap<TaskId, &ClusterNodeId> = world
        .nodes
        .iter()
        .flat_map(|node| node.machine.running().into_iter().map(move |task| (task, &node.id)))
        .collect();
    let count: usize = world.nodes.iter().map(|node| node.machine.running().len()).sum();
    if count != really.len() {
        wrong.push("one task runs on two machines".into());
    }
    let mut wanted = BTreeSet::new();
    let tasks = TASKS.list(snapshot).unwrap_or_default();
    let active = NODES
        .list(snapshot)
        .unwrap_or_default()
        .iter()
        .filter(|(_, node)| node.spec.availability == Availability::Active)
        .count() as u64;
    for (_, service) in SERVICES.list(snapshot).unwrap_or_default() {
        if service.removing {
            wrong.push(format!("{} is not gone", service.spec.name));
            continue;
        }
        let template = TEMPLATES.get(snapshot, &template_name(&service.id, service.template));
        let Ok(Some(template)) = template else {
            wrong.push(format!("{} has no template {}", service.spec.name, service.template));
            continue;
        };
        let mut slots: BTreeMap<&Slot, u64> = BTreeMap::new();
        let mut waiting = BTreeSet::new();
        for (_, task) in tasks.iter().filter(|(_, task)| task.service == service.id) {
            let status = task.node.as_ref().and_then(|node| {
                STATUSES.get(snapshot, &status_name(node, &task.id)).ok().flatten().map(|status| status.state)
            });
            let live =
                task.desired <= TaskState::Running && status.is_none_or(|state| state <= TaskState::Running);
            if !live {
                continue;
            }
            if status != Some(TaskState::Running) {
                if task.message.contains("insufficient resources")
                    && !has_room(snapshot, &template, &task.slot)
                {
                    waiting.insert(&task.slot);
                } else if task.message.is_empty() {
                    wrong.push(format!(
                        "{} slot {:?}: task {} is {:?}/{status:?} and does not say why",
                        service.spec.name,
                        task.slot,
                        task.id.short(),
                        task.state
                    ));
                }
                continue;
            }
            *slots.entry(&task.slot).or_default() += 1;
            wanted.insert(task.id.clone());
            if really.get(&task.id).copied() != task.node.as_ref() {
                wrong.push(format!(
                    "{}: task {} is said to run, and does not",
                    service.spec.name,
                    task.id.short()
                ));
            }
        }
        let expected = match service.spec.mode {
            Mode::Replicated { replicas } => replicas,
            Mode::Global => active,
            Mode::ReplicatedJob { total_completions, .. } => {
                let done = tasks.iter().filter(|(_, task)| {
                    let node = task.node.as_ref().filter(|_| task.service == service.id);
                    let said = node.and_then(|node| {
                        STATUSES
                            .get(snapshot, &status_name(node, &task.id))
                            .ok()
                            .flatten()
                            .map(|said| said.state)
                    });
                    task.job_iteration == Some(service.job_iteration) && said == Some(TaskState::Complete)
                });
                // Work that was done and not heard of is done again: once a slot counts.
                let done = done.map(|(_, task)| &task.slot).collect::<BTreeSet<_>>().len() as u64;
                if done != total_completions {
                    wrong.push(format!("{}: {done} of {total_completions} are complete", service.spec.name));
                }
                continue;
            }
            Mode::GlobalJob => continue,
        };
        let running = slots.len() as u64;
        let excused = waiting.iter().filter(|slot| !slots.contains_key(*slot)).count() as u64;
        if running + excused != expected || slots.values().any(|count| *count != 1) {
            wrong.push(format!(
                "{}: {running} slots run, {expected} should{}: {slots:?}; update {:?}",
                service.spec.name,
                if nature::is_fenced(&service, &template) { " (single)" } else { "" },
                service.update
            ));
        }
    }
    for (task, node) in &really {
        if !wanted.contains(task) {
            wrong.push(format!("task {} runs on {} and nobody wants it", task.short(), node.short()));
        }
    }
    wrong
}

/// Every task as the store has it, for people.
pub(crate) async fn tasks(world: &World) -> Vec<String> {
    let Ok(snapshot) = world.store.read(everything()).await else { return Vec::new() };
    let mut lines = Vec::new();
    for (_, task) in TASKS.list(&snapshot).unwrap_or_default() {
        let node = task.node.as_ref().and_then(|id| world.nodes.iter().position(|node| node.id == *id));
        let said = task.node.as_ref().and_then(|node| {
            STATUSES.get(&snapshot, &status_name(node, &task.id)).ok().flatten().map(|said| said.state)
        });
        let service = SERVICES.get(&snapshot, task.service.as_str()).ok().flatten();
        lines.push(format!(
            "{} {:?} task {} on {node:?}: {:?}, should be {:?}, said {said:?}, since {}, replaces {:?}: {}",
            service.map_or("gone".to_owned(), |service| service.spec.name.clone()),
            task.slot,
            task.id.short(),
            task.state,
            task.desired,
            task.since,
            task.replaces.as_ref().map(|other| other.short()),
            task.message
        ));
    }
    lines.sort();
    lines
}
