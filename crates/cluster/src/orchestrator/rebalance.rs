//! A gentle hand: a task moves to a node that has much less, start-first, and never many at a time. Pure.
//!
//! At most one task of a service, and one in twenty of a node, a minute; only where it makes the spread better by two or
//! more; never to a node that was silent within five minutes; never one whose data is on its node, or that must be
//! single; not where the service's label `minke.rebalance` says `off`.

use super::{Desk, drain::trouble};
use crate::{
    View, nature,
    plan::{Planned, Step, after},
    scheduler,
    view::TaskNow,
};
use minke_model::{
    ClusterNodeId, ServiceId, Timestamp,
    node::Node,
    service::{Mode, UpdateState},
    task::{Cause, TaskState},
};
use std::{collections::BTreeMap, time::Duration};

/// The least time between two moves of a service, and what a node's share is counted over.
const MINUTE: Duration = Duration::from_secs(60);
/// A node must have been heard for so long.
const TRUSTED: Duration = Duration::from_secs(300);
/// One in so many of a node's tasks may come in a minute.
const SHARE: usize = 20;

/// The move that is due for a service, if any.
pub fn plan(view: &View, id: &ServiceId, now: Timestamp) -> Planned {
    let Some(service) = view.service(id) else { return Planned::default() };
    let Some(spec) = view.template(id, service.template) else { return Planned::default() };
    let off = service.spec.labels.get(nature::REBALANCE).is_some_and(|value| value == "off");
    if off || service.removing || nature::is_bound(spec) || nature::is_fenced(service, spec) {
        return Planned::default();
    }
    if !matches!(service.spec.mode, Mode::Replicated { .. }) || !spec.placement.spread.is_empty() {
        return Planned::default();
    }
    let updating = service.update.as_ref().is_some_and(|update| {
        !matches!(update.state, UpdateState::Completed | UpdateState::RollbackCompleted)
    });
    let wanted: Vec<_> = view.tasks_of(id).filter(|task| task.is_wanted()).collect();
    let runs = |task: &&TaskNow| task.state() == TaskState::Running && trouble(view, task).is_none();
    // While something else moves, nothing is moved.
    if updating || !wanted.iter().all(runs) {
        return Planned::default();
    }
    let mut per_node: BTreeMap<&ClusterNodeId, Vec<&TaskNow>> = BTreeMap::new();
    for task in &wanted {
        if let Some(node) = &task.task.node {
            per_node.entry(node).or_default().push(task);
        }
    }
    let Some((_, fullest)) = per_node.iter().max_by_key(|(_, tasks)| tasks.len()) else {
        return Planned::default();
    };
    if fullest.len() < 2 {
        return Planned::default();
    }
    let count = |node: &Node| per_node.get(&node.id).map_or(0, Vec::len);
    let mut planned = Planned::default();
    let mut target: Option<&Node> = None;
    for node in view.nodes().filter(|node| count(node) + 2 <= fullest.len()) {
        if !View::takes_tasks(node) || !scheduler::could_take(view, service, spec, node, now) {
            continue;
        }
        let trusted = node.last_silent.map_or(now, |silent| after(silent, TRUSTED));
        if let Some(wait) = Some(trusted.max(when_free(view, node, now))).filter(|time| *time > now) {
            planned.look_again_at(wait);
            continue;
        }
        if target.is_none_or(|best| count(node) < count(best)) {
            target = Some(node);
        }
    }
    let Some(target) = target else { return planned };
    let last = view
        .tasks_of(id)
        .filter(|task| task.task.cause == Cause::Rebalance)
        .map(|task| task.task.meta.created);
    if let Some(next) = last.max().map(|last| after(last, MINUTE)).filter(|next| *next > now) {
        planned.look_again_at(next);
        return planned;
    }
    let Some(moved) = fullest.iter().max_by_key(|task| (task.task.meta.created, &task.task.id)) else {
        return planned;
    };
    let because = format!(
        "{} has {} tasks on one node and {} on {}",
        service.spec.name,
        fullest.len(),
        count(target),
        nature::name_of(target)
    );
    let mut desk = Desk::new(view, service, spec, now);
    let mut next = desk.draft(&moved.task.slot, TaskState::Running, Cause::Rebalance);
    next.replaces = Some(moved.task.id.clone());
    desk.deed(&moved.task.slot, vec![Step::Task(next)], because);
    desk.planned
}

/// When a node may take one more that was moved.
fn when_free(view: &View, node: &Node, now: Timestamp) -> Timestamp {
    let mut moved: Vec<_> = view
        .tasks_on(&node.id)
        .filter(|task| task.task.cause == Cause::Rebalance && now.since(task.task.meta.created) < MINUTE)
        .map(|task| task.task.meta.created)
        .collect();
    let share = (view.tasks_on(&node.id).filter(|task| task.is_wanted()).count() / SHARE).max(1);
    moved.sort();
    moved.iter().rev().nth(share - 1).map_or(now, |oldest| after(*oldest, MINUTE))
}
