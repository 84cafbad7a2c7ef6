//! Whether and when a task that ended is followed by another. Pure.
//!
//! As Swarm: a condition, a delay, so many attempts in a window (swarmkit, manager/orchestrator/restart). Beyond it: who
//! fails at once, again and again, is tried less and less often, at least once a minute.

use super::Desk;
use crate::{plan::after, view::TaskNow};
use minke_model::{
    Timestamp,
    service::{RestartCondition, TaskRestart},
    task::{Cause, TaskState},
};
use std::time::Duration;

/// A task that ran so long was no failure to start.
const RAN_WELL: Duration = Duration::from_secs(60);
/// So many quick ends in a row are nothing special.
const PATIENCE: u32 = 3;
/// The longest delay that back-off makes.
const LONGEST: Duration = Duration::from_secs(60);

/// Whether `ended` is followed by another, and when that may start. `slot`: all of its slot, oldest first.
pub(crate) fn next(desk: &Desk<'_>, ended: &TaskNow, slot: &[&TaskNow]) -> Option<Timestamp> {
    let policy = desk.view.spec_of(&ended.task).and_then(|spec| spec.restart.clone()).unwrap_or_default();
    if !is_due(desk, &policy, ended, slot) {
        return None;
    }
    // What its node's loss ended did nothing wrong.
    if ended.state() == TaskState::Orphaned {
        return Some(desk.now);
    }
    Some(after(desk.now, delay(&policy, slot)))
}

fn is_due(desk: &Desk<'_>, policy: &TaskRestart, ended: &TaskNow, slot: &[&TaskNow]) -> bool {
    let completed = ended.state() == TaskState::Complete;
    match policy.condition {
        RestartCondition::None => return false,
        RestartCondition::OnFailure if completed => return false,
        // To complete is what a job is for.
        RestartCondition::Any if completed && desk.service.spec.mode.is_job() => return false,
        RestartCondition::OnFailure | RestartCondition::Any => {}
    }
    if policy.max_attempts == 0 {
        return true;
    }
    let so_far = if policy.window.is_zero() {
        u64::from(ended.task.restarts)
    } else {
        let restarts = slot.iter().filter(|task| {
            task.task.cause == Cause::Restart
                && task.task.template == ended.task.template
                && ended.since().since(task.task.meta.created) < policy.window
        });
        restarts.count() as u64
    };
    so_far < policy.max_attempts
}

/// How long to wait, doubled for each quick end in a row beyond the first few.
fn delay(policy: &TaskRestart, slot: &[&TaskNow]) -> Duration {
    let quick = slot.iter().rev().skip_while(|task| !task.has_ended()).take_while(|task| {
        let ran = task.status.as_ref().and_then(|status| status.ran_since);
        task.state() == TaskState::Failed && ran.is_none_or(|ran| task.since().since(ran) < RAN_WELL)
    });
    let beyond = u32::try_from(quick.count()).unwrap_or(u32::MAX).saturating_sub(PATIENCE);
    if beyond == 0 {
        return policy.delay;
    }
    let doubled = policy.delay.max(Duration::from_millis(500)).saturating_mul(1 << beyond.min(16));
    doubled.min(LONGEST.max(policy.delay))
}
