//! One slot: what ended is followed, what cannot stay is replaced, and of two that could serve one does.
//!
//! ```text
//! ended ──► another in its slot, after a delay
//! node down, drained or unfit ──► a stand-in elsewhere; it runs ──► the old one is told to end
//!                                 └► the node is back first ──► the stand-in is withdrawn
//! ```
//! A fenced task is told to end before its stand-in starts: when that has a node. One that is bound to its node's
//! volumes has no stand-in.

use super::{
    Desk,
    drain::{Trouble, node_name, trouble},
    restart,
};
use crate::{
    nature,
    plan::{Step, after},
    view::TaskNow,
};
use minke_model::{
    TaskId,
    node::NodeState,
    service::{RestartCondition, UpdateState},
    task::{Cause, Slot, Task, TaskState},
};
use std::{collections::BTreeSet, time::Duration};

/// So long a new task waits for the old one of its slot to stop (swarmkit, restart.go, defaultOldTaskTimeout).
const LONGEST_STOP: Duration = Duration::from_secs(60);

/// So long a drained node keeps a task that no other node takes: then its user's wish counts.
const DRAIN_PATIENCE: Duration = Duration::from_secs(10);

/// What a slot holds after [`settle`].
pub(crate) struct Settled<'a> {
    /// Wanted, not ended, and not told to end.
    pub(crate) left: Vec<&'a TaskNow>,
    /// It counts: something is or will be there, or was and is not to be repeated.
    pub(crate) occupied: bool,
}

/// Brings one slot in order. `tasks`: all of it, oldest first.
pub(crate) fn settle<'a>(desk: &mut Desk<'a>, slot: &Slot, tasks: &[&'a TaskNow]) -> Settled<'a> {
    let wanted = tasks.iter().copied().filter(|task| task.is_wanted());
    let (ended, live): (Vec<_>, Vec<_>) = wanted.partition(|task| task.has_ended());
    let followed = follow(desk, slot, tasks, &ended, &live);
    supersede(desk, &live);
    let left: Vec<_> = live.into_iter().filter(|task| !desk.has_told(task)).collect();
    stand_in(desk, slot, &left);
    let left: Vec<_> = left.into_iter().filter(|task| !desk.has_told(task)).collect();
    release(desk, tasks, &left);
    let occupied = followed || !left.is_empty() || desk.made_in.contains(slot) || is_done(desk, tasks);
    Settled { left, occupied }
}

/// Whether all ended and nothing follows: a slot that counts as filled, but on the way back to an old template.
pub(crate) fn is_done(desk: &Desk<'_>, tasks: &[&TaskNow]) -> bool {
    if desk.service.update.as_ref().is_some_and(|update| update.state == UpdateState::RollbackStarted) {
        return false;
    }
    let Some(newest) = tasks.last().filter(|_| tasks.iter().all(|task| task.has_ended())) else {
        return false;
    };
    newest.task.desired < TaskState::Remove
        && !matches!(newest.state(), TaskState::Shutdown | TaskState::Remove)
        && restart::next(desk, newest, tasks).is_none()
}

/// Ended tasks are told so, and the newest is followed by another, unless something else is in its place.
fn follow(
    desk: &mut Desk<'_>,
    slot: &Slot,
    tasks: &[&TaskNow],
    ended: &[&TaskNow],
    live: &[&TaskNow],
) -> bool {
    let mut followed = false;
    for (at, task) in ended.iter().enumerate() {
        let newest = at + 1 == ended.len();
        let replaced = live.iter().find(|other| task.task.replaces.as_ref() == Some(&other.task.id));
        let alone = live.iter().all(|other| Some(&other.task.id) == replaced.map(|old| &old.task.id));
        // Who stood in for a task that can stay after all is not needed.
        let needed = match (replaced, task.task.cause) {
            (None, _) => true,
            (Some(_), Cause::Rebalance) => false,
            (Some(old), _) => trouble(desk.view, old).is_some() || desk.is_dirty(old),
        };
        let again = if newest && alone && needed { restart::next(desk, task, tasks) } else { None };
        let ended_as = describe(task);
        let name = desk.name(slot);
        let Some(not_before) = again else {
            desk.tell(
                task,
                TaskState::Shutdown,
                format!("{name} ended ({ended_as}) and is not followed by another"),
            );
            continue;
        };
        let lost = task.state() == TaskState::Orphaned;
        let cause = if lost { Cause::NodeDown } else { Cause::Restart };
        let mut next = desk.draft(slot, TaskState::Ready, cause);
        next.not_before = (not_before > desk.now).then_some(not_before);
        next.replaces = replaced.map(|old| old.task.id.clone());
        if next.template == task.task.template {
            next.restarts = task.task.restarts.saturating_add(1);
        }
        let steps = desk.telling(task, TaskState::Shutdown).into_iter().chain([Step::Task(next)]).collect();
        desk.deed(slot, steps, format!("{name} ended ({ended_as})"));
        followed = true;
    }
    followed
}

/// How a task ended, for people.
fn describe(task: &TaskNow) -> String {
    let error = task.status.as_ref().map_or("", |status| status.error.as_str());
    match error {
        "" => task.state().as_str().to_owned(),
        error => format!("{}: {error}", task.state().as_str()),
    }
}

/// Whether a task serves where it can stay.
fn serves(desk: &Desk<'_>, task: &TaskNow) -> bool {
    task.state() == TaskState::Running
        && task.task.desired >= TaskState::Running
        && trouble(desk.view, task).is_none()
}

fn is_fenced(desk: &Desk<'_>, task: &TaskNow) -> bool {
    desk.view.spec_of(&task.task).is_some_and(|spec| nature::is_fenced(desk.service, spec))
}

/// Of several live tasks of a slot, those that are not needed are told to end.
fn supersede(desk: &mut Desk<'_>, live: &[&TaskNow]) {
    let find = |id: &TaskId| live.iter().copied().find(|task| task.task.id == *id);
    for task in live {
        let Some(old) = task.task.replaces.as_ref().and_then(find).filter(|_| !desk.has_told(task)) else {
            continue;
        };
        let placed = task.state() >= TaskState::Assigned && trouble(desk.view, task).is_none();
        if serves(desk, task) {
            let because =
                format!("{} runs in its place on {}", task.task.id.short(), node_name(desk.view, task));
            desk.tell(old, TaskState::Shutdown, because);
        } else if placed && is_fenced(desk, old) && trouble(desk.view, old).is_some() {
            let because = format!(
                "{} is to run on {} and must be single",
                task.task.id.short(),
                node_name(desk.view, task)
            );
            desk.tell(old, TaskState::Shutdown, because);
        } else if matches!(task.task.cause, Cause::NodeDown | Cause::Drain | Cause::Constraint)
            && trouble(desk.view, old).is_none()
            && !desk.is_dirty(old)
        {
            let because = format!("{} can stay on {}", old.task.id.short(), node_name(desk.view, old));
            desk.tell(task, TaskState::Shutdown, because);
        } else if task.state() <= TaskState::Pending && trouble(desk.view, old) == Some(Trouble::Drained) {
            let until = after(task.task.meta.created, DRAIN_PATIENCE);
            if until > desk.now {
                desk.planned.look_again_at(until);
                continue;
            }
            let because = format!("no other node takes it, and {} must be empty", node_name(desk.view, old));
            desk.tell(old, TaskState::Shutdown, because);
        }
    }
    let left: Vec<_> = live.iter().copied().filter(|task| !desk.has_told(task)).collect();
    let related = |task: &TaskNow| {
        left.iter().any(|other| {
            other.task.replaces.as_ref() == Some(&task.task.id)
                || task.task.replaces.as_ref() == Some(&other.task.id)
        })
    };
    // Strangers in one slot: one stays, the best.
    let rank = |task: &TaskNow| {
        (!desk.is_dirty(task), serves(desk, task), trouble(desk.view, task).is_none(), task.state())
    };
    let Some(best) = left.iter().copied().max_by_key(|task| rank(task)) else { return };
    if !(serves(desk, best) || trouble(desk.view, best).is_none()) {
        return;
    }
    let extra: Vec<_> =
        left.iter().copied().filter(|task| task.task.id != best.task.id && !related(task)).collect();
    for task in extra {
        // One that serves, or did when its node was lost, yields when the better one serves.
        if serves(desk, best) || !serves(desk, task) && trouble(desk.view, task).is_none() {
            desk.tell(task, TaskState::Shutdown, format!("{} is in its slot", best.task.id.short()));
        }
    }
}

/// Where nobody of a slot can stay, one more is made elsewhere.
fn stand_in(desk: &mut Desk<'_>, slot: &Slot, left: &[&TaskNow]) {
    if matches!(slot, Slot::Node(_)) {
        return;
    }
    let Some(newest) = left.last() else { return };
    let troubles: Vec<_> = left.iter().map(|task| trouble(desk.view, task)).collect();
    let Some(why) = troubles.last().copied().flatten().filter(|_| troubles.iter().all(Option::is_some))
    else {
        return;
    };
    let Some(spec) = desk.view.spec_of(&newest.task).cloned() else { return };
    let name = desk.name(slot);
    let because = format!("{name}: node {} {}", node_name(desk.view, newest), why.as_str());
    let bound = nature::is_bound(&spec);
    let may_follow = spec.restart.as_ref().is_none_or(|policy| policy.condition != RestartCondition::None);
    if bound && why == Trouble::Down || !may_follow && matches!(why, Trouble::Down | Trouble::Gone) {
        return;
    }
    if !may_follow {
        desk.tell(newest, TaskState::Shutdown, because);
        return;
    }
    let stops_first = bound || nature::is_fenced(desk.service, &spec);
    let mut next = desk.draft(slot, if stops_first { TaskState::Ready } else { desk.desired() }, why.cause());
    let mut steps = Vec::new();
    if bound {
        // Its data is there: nothing can run elsewhere meanwhile.
        steps.extend(desk.telling(newest, TaskState::Shutdown));
    } else {
        next.replaces = Some(newest.task.id.clone());
    }
    steps.push(Step::Task(next));
    desk.deed(slot, steps, because);
}

/// Tasks that wait are released when their time has come and their slot is free.
fn release(desk: &mut Desk<'_>, tasks: &[&TaskNow], left: &[&TaskNow]) {
    for task in left.iter().filter(|task| task.task.desired < TaskState::Running) {
        if let Some(time) = task.task.not_before.filter(|time| *time > desk.now) {
            desk.planned.look_again_at(time);
            continue;
        }
        let fenced = is_fenced(desk, task);
        // A fenced one waits for the word to the one that it replaces, too.
        let awaited = |other: &&&TaskNow| {
            other.task.id != task.task.id
                && (other.task.desired >= TaskState::Shutdown || fenced)
                && is_stopping(desk, other)
        };
        let stopping = tasks.iter().find(awaited);
        let deadline = after(task.task.meta.created, LONGEST_STOP);
        if stopping.is_some() && (fenced || deadline > desk.now) {
            if !fenced {
                desk.planned.look_again_at(deadline);
            }
            continue;
        }
        let because = match task.task.cause {
            Cause::Restart => "its delay is over".to_owned(),
            _ => "its slot is free".to_owned(),
        };
        let desired = desk.desired();
        let released = Task { desired, not_before: None, ..(*task.task).clone() };
        let name = desk.name(&task.task.slot);
        // That a node is down is what lets this one start: it must be so still.
        let down = tasks.iter().filter(|other| fenced && !other.has_ended() && other.task.id != task.task.id);
        let down: BTreeSet<_> = down.filter_map(|other| other.task.node.clone()).collect();
        let steps = down.into_iter().map(Step::Holds).chain([Step::Task(released)]).collect();
        desk.deed(&task.task.slot, steps, format!("{name} may start: {because}"));
    }
}

/// Whether a task may still do something that a second one must not do at the same time.
fn is_stopping(desk: &Desk<'_>, task: &TaskNow) -> bool {
    if task.has_ended() || task.state() < TaskState::Assigned {
        return false;
    }
    let node = task.task.node.as_ref().and_then(|node| desk.view.node(node));
    let told = task.task.desired >= TaskState::Shutdown;
    // A node that is down has stopped what is fenced, and does not stop what is not.
    !(told && node.is_none_or(|node| node.state == NodeState::Down))
}
