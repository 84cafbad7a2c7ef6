//! Services with one task on every node that fits. Pure.

use super::{
    Desk,
    drain::{Trouble, trouble},
    replicated::remove_strangers,
    slot, update,
};
use crate::{View, nature, plan::Step, scheduler, view::TaskNow};
use minke_model::{
    ClusterNodeId,
    node::{Availability, Node, NodeState},
    service::TaskSpec,
    task::{Cause, Slot, TaskState},
};
use std::collections::BTreeMap;

/// Whether a service's task belongs on a node at all.
pub(crate) fn fits(spec: &TaskSpec, node: &Node) -> bool {
    node.spec.availability != Availability::Drain
        && node.description.is_some()
        && scheduler::constraint::node_fits(&spec.placement.constraints, node)
        && scheduler::filter::platform_fits(spec, node)
}

/// The plan of a service that wants one on each node.
pub(crate) fn plan(desk: &mut Desk<'_>) {
    let mut slots = desk.slots(|task| matches!(task.task.slot, Slot::Node(_)));
    remove_strangers(desk, |slot| matches!(slot, Slot::Node(_)));
    leave(desk, &slots);
    let mut filled: BTreeMap<Slot, Vec<&TaskNow>> = BTreeMap::new();
    let nodes: Vec<_> = desk.view.nodes().filter(|node| fits(desk.spec, node)).cloned().collect();
    for node in nodes {
        let slot = Slot::Node(node.id.clone());
        let tasks = slots.remove(&slot).unwrap_or_default();
        // A node that is not there does nothing; what runs on it runs on.
        if node.state == NodeState::Down {
            continue;
        }
        let settled = slot::settle(desk, &slot, &tasks);
        if settled.occupied {
            filled.insert(slot.clone(), settled.left);
        } else if View::takes_tasks(&node) {
            let task = desk.draft(&slot, TaskState::Running, Cause::Wanted);
            let because = format!("{} belongs on node {}", desk.service.spec.name, nature::name_of(&node));
            desk.deed(&slot, vec![Step::Task(task)], because);
        }
    }
    let slots = desk.slots(|task| matches!(task.task.slot, Slot::Node(_)));
    update::plan(desk, &slots, &filled);
}

/// Tasks on nodes where they do not belong any more are told to end.
pub(crate) fn leave(desk: &mut Desk<'_>, slots: &BTreeMap<Slot, Vec<&TaskNow>>) {
    for (slot, tasks) in slots {
        let Slot::Node(id) = slot else { continue };
        let node = desk.view.node(id);
        let Some(why) = why_not(desk, id) else { continue };
        let desired = if node.is_none() { TaskState::Remove } else { TaskState::Shutdown };
        for task in tasks.iter().filter(|task| task.task.desired < desired) {
            let name = desk.name(slot);
            desk.tell(task, desired, format!("{name}: the node {why}"));
        }
    }
}

fn why_not(desk: &Desk<'_>, id: &ClusterNodeId) -> Option<&'static str> {
    let Some(node) = desk.view.node(id) else { return Some(Trouble::Gone.as_str()) };
    if node.spec.availability == Availability::Drain {
        return Some(Trouble::Drained.as_str());
    }
    // As long as it never spoke nothing is known.
    (node.description.is_some() && !fits(desk.spec, node)).then_some(Trouble::Unfit.as_str())
}

/// Whether a task's node does not answer: nothing is changed on it.
pub(crate) fn is_away(desk: &Desk<'_>, task: &TaskNow) -> bool {
    trouble(desk.view, task) == Some(Trouble::Down)
}
