//! A new template comes into force, slot by slot; or the old one comes back. Pure.
//!
//! As Swarm (swarmkit, manager/orchestrator/update): so many slots at a time, each until its new task runs and a delay
//! has passed; failures within a time of watching stop the update, take it back, or are borne. Where it is follows from
//! the records alone: which tasks were made by the update, and what became of them.

use super::{Desk, drain::trouble};
use crate::{
    plan::{Step, after},
    view::TaskNow,
};
use minke_model::{
    Timestamp,
    service::{FailureAction, Service, UpdateOrder, UpdatePolicy, UpdateState, UpdateStatus},
    task::{Cause, Slot, TaskState},
};
use std::{collections::BTreeMap, time::Duration};

/// How one slot stands.
enum Progress {
    /// Its tasks are of the old template.
    Dirty,
    /// Its new task is on its way, or not yet watched for long enough to go on with the next.
    InFlight,
    /// The update has nothing to do there.
    Clean,
}

/// One more step of a service's update. `filled`: by slot, what is wanted and lives there.
pub(crate) fn plan(
    desk: &mut Desk<'_>,
    all: &BTreeMap<Slot, Vec<&TaskNow>>,
    filled: &BTreeMap<Slot, Vec<&TaskNow>>,
) {
    let state = desk.service.update.as_ref().map(|update| update.state);
    if matches!(state, Some(UpdateState::Paused | UpdateState::RollbackPaused)) {
        return;
    }
    let rolling_back = state == Some(UpdateState::RollbackStarted);
    let policy = if rolling_back { &desk.service.spec.rollback } else { &desk.service.spec.update };
    let policy = policy.clone().unwrap_or_default();
    let running = matches!(state, Some(UpdateState::Updating | UpdateState::RollbackStarted));

    let (mut dirty, mut in_flight, mut last) = (Vec::new(), 0, None);
    for (slot, left) in filled {
        let Some(tasks) = all.get(slot) else { continue };
        let settled = settled_at(desk, tasks);
        last = last.max(settled);
        match progress(desk, tasks, left, settled, policy.delay) {
            Progress::Dirty => dirty.push(slot.clone()),
            Progress::InFlight => {
                in_flight += 1;
                if let Some(settled) = settled {
                    desk.planned.look_again_at(after(settled, policy.delay));
                }
            }
            Progress::Clean => {}
        }
    }
    if running
        && policy.failure_action != FailureAction::Continue
        && let Some(failed) = too_many_failed(desk, all, filled.len(), &policy)
    {
        return stop(desk, &failed, rolling_back, policy.failure_action);
    }
    if dirty.is_empty() {
        if running && in_flight == 0 {
            complete(desk, last, &policy, rolling_back);
        }
        return;
    }
    if state.is_none() {
        return start(desk);
    }
    let at_a_time = match policy.parallelism {
        0 => usize::MAX,
        some => usize::try_from(some).unwrap_or(usize::MAX),
    };
    let room = at_a_time.saturating_sub(in_flight);
    for slot in dirty.into_iter().take(room) {
        if !desk.touched.contains(&slot) {
            renew(desk, &slot, filled.get(&slot).map_or(&[], Vec::as_slice), policy.order);
        }
    }
}

/// The tasks that this update made in a slot.
fn made<'a>(desk: &Desk<'_>, tasks: &[&'a TaskNow]) -> Vec<&'a TaskNow> {
    let started = desk.service.update.as_ref().map(|update| update.started);
    let of_update = tasks.iter().filter(|task| {
        task.task.cause == Cause::Update
            && task.task.template == desk.service.template
            && started.is_some_and(|started| task.task.meta.created >= started)
    });
    of_update.copied().collect()
}

/// When a slot's new task came to run, or ended without.
fn settled_at(desk: &Desk<'_>, tasks: &[&TaskNow]) -> Option<Timestamp> {
    let settled = |task: &&TaskNow| {
        let ran = task.status.as_ref().and_then(|status| status.ran_since);
        ran.or_else(|| (task.state() >= TaskState::Running).then(|| task.since()))
    };
    // A node's clock may be ahead.
    made(desk, tasks).iter().filter_map(settled).min().map(|time| time.min(desk.now))
}

fn progress(
    desk: &Desk<'_>,
    tasks: &[&TaskNow],
    left: &[&TaskNow],
    settled: Option<Timestamp>,
    delay: Duration,
) -> Progress {
    let clean = left.iter().any(|task| !desk.is_dirty(task));
    let old = match left {
        [] => tasks
            .last()
            .is_some_and(|newest| newest.task.desired >= TaskState::Shutdown && desk.is_dirty(newest)),
        left => left.iter().any(|task| desk.is_dirty(task)),
    };
    let made = made(desk, tasks);
    if !made.is_empty() && (clean || settled.is_some()) {
        return match settled {
            Some(settled) if after(settled, delay) <= desk.now => Progress::Clean,
            Some(_) => Progress::InFlight,
            // Its first new task is gone from the history: it was tried.
            None if left.iter().any(|task| task.task.restarts > 0) => Progress::Clean,
            None => Progress::InFlight,
        };
    }
    // A stand-in for one that cannot stay is of the new template already.
    let clean_for_old = |task: &&&TaskNow| {
        !desk.is_dirty(task) && left.iter().any(|old| task.task.replaces.as_ref() == Some(&old.task.id))
    };
    if left.iter().any(|task| clean_for_old(&task)) {
        return Progress::InFlight;
    }
    // Nothing is begun where nobody answers.
    let reachable = left.is_empty() || left.iter().any(|task| trouble(desk.view, task).is_none());
    if old && reachable { Progress::Dirty } else { Progress::Clean }
}

/// The slot's new task is made, and the old one told to end: at once, or when the new one runs.
fn renew(desk: &mut Desk<'_>, slot: &Slot, left: &[&TaskNow], order: UpdateOrder) {
    let name = desk.name(slot);
    let because = format!("{name}: its service has a new template");
    let existing = left.iter().copied().find(|task| !desk.is_dirty(task));
    let old: Vec<_> = left.iter().copied().filter(|task| desk.is_dirty(task)).collect();
    let mut steps = Vec::new();
    if existing.is_none() {
        let fenced = crate::nature::is_fenced(desk.service, desk.spec);
        let start_first = order == UpdateOrder::StartFirst && !old.is_empty() && !fenced;
        let mut new =
            desk.draft(slot, if start_first { TaskState::Running } else { TaskState::Ready }, Cause::Update);
        if start_first {
            new.replaces = old.last().map(|task| task.task.id.clone());
        }
        steps.push(Step::Task(new));
        if start_first {
            return desk.deed(slot, steps, because);
        }
    }
    for task in old {
        steps.extend(desk.telling(task, TaskState::Shutdown));
    }
    if !steps.is_empty() {
        desk.deed(slot, steps, because);
    }
}

/// The failed task that makes them too many.
fn too_many_failed(
    desk: &mut Desk<'_>,
    all: &BTreeMap<Slot, Vec<&TaskNow>>,
    slots: usize,
    policy: &UpdatePolicy,
) -> Option<String> {
    let mut failed: Vec<&TaskNow> = Vec::new();
    for tasks in all.values() {
        failed.extend(made(desk, tasks).into_iter().filter(|task| {
            let ended = matches!(task.state(), TaskState::Complete | TaskState::Failed | TaskState::Rejected);
            let ran = task.status.as_ref().and_then(|status| status.ran_since);
            ended && ran.is_none_or(|ran| task.since().since(ran) <= policy.monitor)
        }));
    }
    let ratio = failed.len() as f32 / slots.max(1) as f32;
    let newest = failed.into_iter().max_by_key(|task| task.since())?;
    (ratio > policy.max_failure_ratio).then(|| newest.task.id.to_string())
}

fn start(desk: &mut Desk<'_>) {
    let update = UpdateStatus {
        state: UpdateState::Updating,
        started: desk.now,
        completed: None,
        message: "update in progress".to_owned(),
    };
    let name = desk.service.spec.name.clone();
    put(desk, Service { update: Some(update), ..desk.service.clone() }, format!("{name} has a new template"));
}

fn complete(desk: &mut Desk<'_>, last: Option<Timestamp>, policy: &UpdatePolicy, rolling_back: bool) {
    // A delay that is longer than the watching is watched, too (swarmkit, updater.go).
    let watched =
        if policy.delay >= policy.monitor { policy.delay + Duration::from_secs(1) } else { policy.monitor };
    let over = last.map(|last| after(last, policy.delay + watched));
    if let Some(over) = over.filter(|over| *over > desk.now) {
        return desk.planned.look_again_at(over);
    }
    let (state, message) = match rolling_back {
        true => (UpdateState::RollbackCompleted, "rollback completed"),
        false => (UpdateState::Completed, "update completed"),
    };
    let mut service = desk.service.clone();
    if let Some(update) = &mut service.update {
        *update =
            UpdateStatus { state, message: message.to_owned(), completed: Some(desk.now), ..update.clone() };
    }
    put(desk, service, message.to_owned());
}

fn stop(desk: &mut Desk<'_>, failed: &str, rolling_back: bool, action: FailureAction) {
    let mut service = desk.service.clone();
    let Some(update) = &mut service.update else { return };
    if rolling_back {
        update.state = UpdateState::RollbackPaused;
        update.message = format!("rollback paused due to failure or early termination of task {failed}");
    } else if action == FailureAction::Pause || service.previous.is_none() {
        update.state = UpdateState::Paused;
        update.message = format!("update paused due to failure or early termination of task {failed}");
    } else {
        update.state = UpdateState::RollbackStarted;
        update.message = format!("update rolled back due to failure or early termination of task {failed}");
        // What the way back makes is told from what the way there made.
        update.started = desk.now;
        if let Some(previous) = service.previous.take() {
            service.spec = *previous;
            service.template = service.previous_template.take().unwrap_or(service.template);
            service.meta = service.meta.changed(desk.now);
        }
    }
    let because = service.update.as_ref().map_or(String::new(), |update| update.message.clone());
    put(desk, service, because);
}

fn put(desk: &mut Desk<'_>, service: Service, because: String) {
    // Alone: what it says must not hang on what tasks do.
    desk.planned.push(crate::plan::Deed { steps: vec![Step::Service(Box::new(service))], because, of: None });
}
