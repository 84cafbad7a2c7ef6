//! Places all waiting tasks, equal ones together. Pure.
//!
//! The cost grows with the tasks to place, not with the nodes: nodes are kept in the order of how much is on them, and
//! only those that have tasks of the same service already, or failed with it, are looked at apart. Where tasks are spread
//! over labels, and where a task finds no node, all nodes are looked at once.

use super::{
    explain::{self, Reasons},
    filter::{Ask, check},
    nodes::{Nodes, Room, grant},
    score::Score,
};
use crate::{
    View, nature,
    plan::{Deed, Planned, Step},
    view::TaskNow,
};
use minke_model::{
    ClusterNodeId, ServiceId, Timestamp,
    node::Node,
    service::{Service, TaskSpec},
    task::{Slot, Task, TaskState},
};
use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap},
    sync::Arc,
};

/// The placement of all that waits. `nodes`: of the same view; booked on while the plan is made, and then as before.
pub fn plan(view: &View, nodes: &mut Nodes, now: Timestamp) -> Planned {
    let mut planned = Planned::default();
    let mut groups: BTreeMap<(ServiceId, u64), Vec<&TaskNow>> = BTreeMap::new();
    for task in view.waiting() {
        groups.entry((task.task.service.clone(), task.task.template)).or_default().push(task);
    }
    if groups.is_empty() {
        return planned;
    }
    let mut work = Work { view, nodes, before: HashMap::new(), now };
    for ((service, template), mut tasks) in groups {
        let (Some(service), Some(spec)) = (view.service(&service), view.template(&service, template)) else {
            continue;
        };
        tasks.sort_by(|a, b| (&a.task.slot, &a.task.id).cmp(&(&b.task.slot, &b.task.id)));
        let (alone, alike): (Vec<_>, Vec<_>) = tasks
            .into_iter()
            .partition(|task| matches!(task.task.slot, Slot::Node(_)) || nature::is_bound(spec));
        for task in alone {
            work.one(service, spec, task, &mut planned);
        }
        if !alike.is_empty() {
            work.many(service, spec, &alike, &mut planned);
        }
    }
    for (id, room) in work.before {
        work.nodes.put(&id, room);
    }
    planned
}

/// What is booked while the plan is made.
struct Work<'a> {
    view: &'a View,
    nodes: &'a mut Nodes,
    /// What was on those that this plan books on.
    before: HashMap<ClusterNodeId, Room>,
    now: Timestamp,
}

impl<'a> Work<'a> {
    /// What is on a node now.
    fn put(&mut self, id: &ClusterNodeId, room: Room) {
        if let Some(old) = self.nodes.put(id, room) {
            self.before.entry(id.clone()).or_insert(old);
        }
    }

    /// A task that is for one node, or whose volumes may be on one.
    fn one(&mut self, service: &'a Service, spec: &'a Arc<TaskSpec>, task: &TaskNow, planned: &mut Planned) {
        let mut ask = Ask::new(self.view, service, spec);
        if let Slot::Node(id) = &task.task.slot {
            let Some(node) = self.view.node(id) else { return };
            let room = self.nodes.room(id).cloned().unwrap_or_default();
            match check(&ask, node, &room) {
                None => {
                    let message = "scheduler confirmed task can run on preassigned node";
                    planned.push(self.place(service, spec, task, node, message));
                }
                Some(reason) => {
                    planned.deeds.extend(self.leave(task, explain::sentence(&Reasons::from([(reason, 1)]))));
                }
            }
            return;
        }
        ask.pinned = home(self.view, spec, task);
        if let Some(id) = &ask.pinned
            && let Some(node) = self.view.node(id)
        {
            let room = self.nodes.room(id).cloned().unwrap_or_default();
            if check(&ask, node, &room).is_none() {
                planned.push(self.place(service, spec, task, node, "scheduler assigned task to node"));
            } else {
                let why = self.explain(&ask);
                planned.deeds.extend(self.leave(task, why));
            }
            return;
        }
        self.many(service, spec, &[task], planned);
    }

    /// Tasks that are alike.
    fn many(
        &mut self,
        service: &'a Service,
        spec: &'a Arc<TaskSpec>,
        tasks: &[&TaskNow],
        planned: &mut Planned,
    ) {
        let ask = Ask::new(self.view, service, spec);
        let mut queue = tasks.iter().copied();
        let spread: Vec<_> = spec.placement.spread.iter().filter(|over| label(over).is_some()).collect();
        if spread.is_empty() {
            self.greedily(service, spec, &ask, &mut queue, planned);
        } else {
            let all: Vec<_> = self.view.nodes().cloned().collect();
            let tree = tree(&spread, &all);
            self.evenly(service, spec, &ask, &tree, tasks.len(), &mut queue, planned);
        }
        let left: Vec<_> = queue.collect();
        if !left.is_empty() {
            let why = self.explain(&ask);
            for task in left {
                planned.deeds.extend(self.leave(task, why.clone()));
            }
        }
    }

    /// Each to the node that is best then.
    fn greedily<'t>(
        &mut self,
        service: &'a Service,
        spec: &'a Arc<TaskSpec>,
        ask: &Ask<'_>,
        queue: &mut (impl ExactSizeIterator<Item = &'t TaskNow> + Clone),
        planned: &mut Planned,
    ) {
        let apart: BTreeSet<ClusterNodeId> =
            self.view.tasks_of(&service.id).filter_map(|task| task.task.node.clone()).collect();
        let mut heap: BinaryHeap<Reverse<Score>> = BinaryHeap::new();
        for id in &apart {
            if let Some(room) = self.nodes.room(id) {
                heap.push(Reverse(Score::of(id, room, &service.id, self.now)));
            }
        }
        // As it was before this group: who gets a task of it stands in the heap from then on.
        let mut stream = Stream::new(self.nodes, &apart, &service.id, self.now);
        let mut rooms: HashMap<ClusterNodeId, Room> = HashMap::new();
        while queue.len() > 0 {
            let from_heap = match (heap.peek(), stream.peek()) {
                (None, None) => break,
                (Some(Reverse(known)), Some(next)) => known < next,
                (Some(_), None) => true,
                (None, Some(_)) => false,
            };
            let Some(score) =
                (if from_heap { heap.pop().map(|Reverse(score)| score) } else { stream.take() })
            else {
                break;
            };
            let Some(node) = self.view.node(&score.node) else { continue };
            let Some(room) = rooms.get(&node.id).or_else(|| self.nodes.room(&node.id)) else { continue };
            // What does not fit now will not fit later in this group: rooms only fill.
            if check(ask, node, room).is_some() {
                continue;
            }
            let Some(task) = queue.next() else { break };
            let mut room = room.clone();
            let placed = assign(task, spec, node, &room, self.now, "scheduler assigned task to node");
            room.book(&placed, Some(spec), Some(service), true);
            heap.push(Reverse(Score::of(&node.id, &room, &service.id, self.now)));
            planned.push(deed(placed, node));
            rooms.insert(node.id.clone(), room);
        }
        drop(stream);
        for (id, room) in rooms {
            self.put(&id, room);
        }
    }

    /// So many tasks over the branches of a tree, so that the branches become even.
    fn evenly<'t>(
        &mut self,
        service: &'a Service,
        spec: &'a Arc<TaskSpec>,
        ask: &Ask<'_>,
        tree: &Tree,
        wanted: usize,
        queue: &mut impl Iterator<Item = &'t TaskNow>,
        planned: &mut Planned,
    ) -> usize {
        let branches = match tree {
            Tree::Leaf(nodes) => return self.among(service, spec, ask, nodes, wanted, queue, planned),
            Tree::Branches(branches) => branches,
        };
        let mut counts: Vec<usize> = branches.iter().map(|branch| self.count(branch, &service.id)).collect();
        let mut full = vec![false; branches.len()];
        let mut placed = 0;
        // Fills the emptiest branch, one task at a time: the end is that of swarmkit's rounds.
        while placed < wanted {
            let next = (0..branches.len()).filter(|at| !full[*at]).min_by_key(|at| (counts[*at], *at));
            let Some(at) = next else { break };
            if self.evenly(service, spec, ask, &branches[at], 1, queue, planned) == 1 {
                counts[at] += 1;
                placed += 1;
            } else {
                full[at] = true;
            }
        }
        placed
    }

    fn among<'t>(
        &mut self,
        service: &'a Service,
        spec: &'a Arc<TaskSpec>,
        ask: &Ask<'_>,
        nodes: &[Arc<Node>],
        wanted: usize,
        queue: &mut impl Iterator<Item = &'t TaskNow>,
        planned: &mut Planned,
    ) -> usize {
        let mut placed = 0;
        while placed < wanted {
            let fitting = nodes.iter().filter_map(|node| {
                let room = self.nodes.room(&node.id)?;
                check(ask, node, room)
                    .is_none()
                    .then(|| (Score::of(&node.id, room, &service.id, self.now), node))
            });
            let Some((_, node)) = fitting.min_by(|a, b| a.0.cmp(&b.0)) else { break };
            let Some(task) = queue.next() else { break };
            planned.push(self.place(service, spec, task, node, "scheduler assigned task to node"));
            placed += 1;
        }
        placed
    }

    /// Tasks of a service below a branch.
    fn count(&self, tree: &Tree, service: &ServiceId) -> usize {
        match tree {
            Tree::Leaf(nodes) => {
                let rooms = nodes.iter().filter_map(|node| self.nodes.room(&node.id));
                rooms.map(|room| room.of_service(service)).sum()
            }
            Tree::Branches(branches) => branches.iter().map(|branch| self.count(branch, service)).sum(),
        }
    }

    fn place(
        &mut self,
        service: &Service,
        spec: &TaskSpec,
        task: &TaskNow,
        node: &Node,
        message: &str,
    ) -> Deed {
        let mut room = self.nodes.room(&node.id).cloned().unwrap_or_default();
        let placed = assign(task, spec, node, &room, self.now, message);
        room.book(&placed, Some(spec), Some(service), true);
        self.put(&node.id, room);
        deed(placed, node)
    }

    /// Why no node takes what is asked.
    fn explain(&self, ask: &Ask<'_>) -> String {
        let mut reasons = Reasons::new();
        for node in self.view.nodes() {
            if let Some(reason) = self.nodes.room(&node.id).and_then(|room| check(ask, node, room)) {
                *reasons.entry(reason).or_default() += 1;
            }
        }
        explain::no_suitable_node(&reasons)
    }

    /// A task that goes on waiting says why.
    fn leave(&self, task: &TaskNow, why: String) -> Option<Deed> {
        if task.task.message == why {
            return None;
        }
        let because = format!("task {} waits: {why}", task.task.id.short());
        let waiting = Task { message: why, since: self.now, ..(*task.task).clone() };
        Some(Deed { steps: vec![Step::Task(waiting)], because, of: None })
    }
}

/// Nodes that have nothing of a service, the emptiest first.
struct Stream<'a> {
    order: Box<dyn Iterator<Item = Score> + 'a>,
    next: Option<Score>,
}

impl<'a> Stream<'a> {
    fn new(
        nodes: &'a Nodes,
        apart: &'a BTreeSet<ClusterNodeId>,
        service: &'a ServiceId,
        now: Timestamp,
    ) -> Self {
        let others = nodes.in_order().filter(|(_, id)| !apart.contains(id));
        let mut order = others.filter_map(move |(_, id)| Some(Score::of(id, nodes.room(id)?, service, now)));
        let next = order.next();
        Stream { order: Box::new(order), next }
    }

    fn peek(&self) -> Option<&Score> {
        self.next.as_ref()
    }

    fn take(&mut self) -> Option<Score> {
        std::mem::replace(&mut self.next, self.order.next())
    }
}

/// Nodes by the values of labels.
enum Tree {
    Branches(Vec<Tree>),
    Leaf(Vec<Arc<Node>>),
}

fn tree(spread: &[&String], nodes: &[Arc<Node>]) -> Tree {
    let Some((first, rest)) = spread.split_first() else { return Tree::Leaf(nodes.to_vec()) };
    let mut values: BTreeMap<&str, Vec<Arc<Node>>> = BTreeMap::new();
    for node in nodes {
        values.entry(value_of(first, node)).or_default().push(node.clone());
    }
    Tree::Branches(values.values().map(|nodes| tree(rest, nodes)).collect())
}

enum Label<'a> {
    Node(&'a str),
    Engine(&'a str),
}

/// What a spread descriptor names; others are ignored (swarmkit, nodeset.go).
fn label(descriptor: &str) -> Option<Label<'_>> {
    let after = |prefix: &str| {
        let (start, rest) = descriptor.split_at_checked(prefix.len())?;
        (start.eq_ignore_ascii_case(prefix) && !rest.is_empty()).then_some(rest)
    };
    after("node.labels.").map(Label::Node).or_else(|| after("engine.labels.").map(Label::Engine))
}

fn value_of<'n>(descriptor: &str, node: &'n Node) -> &'n str {
    let value = match label(descriptor) {
        Some(Label::Node(name)) => node.spec.labels.get(name),
        Some(Label::Engine(name)) => {
            node.description.as_ref().and_then(|known| known.engine_labels.get(name))
        }
        None => None,
    };
    value.map_or("", String::as_str)
}

/// The node that has the volumes of a task's slot: where the latest of it was that had one of them.
fn home(view: &View, spec: &TaskSpec, task: &TaskNow) -> Option<ClusterNodeId> {
    let ours: BTreeSet<&str> = nature::local_volumes(spec).collect();
    let of_slot = view.tasks_of(&task.task.service).filter(|other| other.task.slot == task.task.slot);
    let had = of_slot.filter(|other| {
        let spec = view.spec_of(&other.task);
        spec.is_some_and(|spec| nature::local_volumes(spec).any(|volume| ours.contains(volume)))
    });
    let placed = had.filter(|other| other.task.node.as_ref().is_some_and(|node| view.node(node).is_some()));
    placed.max_by_key(|other| (other.task.meta.created, other.task.id.clone()))?.task.node.clone()
}

fn assign(task: &TaskNow, spec: &TaskSpec, node: &Node, room: &Room, now: Timestamp, message: &str) -> Task {
    Task {
        node: Some(node.id.clone()),
        state: TaskState::Assigned,
        since: now,
        message: message.to_owned(),
        generic: grant(&room.generic, &spec.resources.reserve_generic),
        ..(*task.task).clone()
    }
}

fn deed(placed: Task, node: &Node) -> Deed {
    let because = format!("task {} runs on {}", placed.id.short(), nature::name_of(node));
    Deed { steps: vec![Step::Task(placed)], because, of: None }
}
