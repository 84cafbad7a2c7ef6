//! One step of one task: asks the machine, and says what the task is after it, in Swarm's words
//! (swarmkit, `agent/exec/controller.go`).

use super::{
    executor::{Executor, Exit, Prepared, Started, StepError},
    plan::{Action, Mine},
};
use crate::assign::AssignedTask;
use minke_model::{
    TaskId, Timestamp,
    task::{TaskState, TaskStatus},
};
use std::{sync::Arc, time::Duration};

/// First wait before a step that failed for now is tried again; doubled each time.
const RETRY_FIRST: Duration = Duration::from_millis(500);
/// Longest such wait.
const RETRY_LONGEST: Duration = Duration::from_secs(30);

/// How a step went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// [`Action::Prepare`].
    Prepared(Prepared),
    /// [`Action::Start`].
    Started(Started),
    /// [`Action::AwaitHealth`].
    Healthy,
    /// [`Action::AwaitEnd`].
    Ended(Exit),
    /// [`Action::Shutdown`].
    Stopped,
    /// [`Action::Remove`].
    Removed,
    /// Any.
    Failed(StepError),
}

/// Takes one step. What may succeed later is tried again, with back-off, for as long as nobody drops it.
pub async fn step(
    executor: &dyn Executor,
    action: Action,
    task: &TaskId,
    assigned: Option<&Arc<AssignedTask>>,
) -> Outcome {
    let mut wait = RETRY_FIRST;
    loop {
        let outcome = once(executor, action, task, assigned).await;
        let why = match &outcome {
            Outcome::Failed(StepError::Temporary(why)) => why,
            // A stop is never given up.
            Outcome::Failed(StepError::Final(why)) if matches!(action, Action::Shutdown | Action::Remove) => {
                why
            }
            _ => return outcome,
        };
        tracing::warn!("task {}: {action:?} failed and is tried again in {wait:?}: {why}", task.short());
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(RETRY_LONGEST);
    }
}

async fn once(
    executor: &dyn Executor,
    action: Action,
    task: &TaskId,
    assigned: Option<&Arc<AssignedTask>>,
) -> Outcome {
    let done = match (action, assigned) {
        (Action::Prepare, Some(task)) => executor.prepare(task).await.map(Outcome::Prepared),
        (Action::Start, Some(task)) => executor.start(task).await.map(Outcome::Started),
        // The plan takes these steps only for what is assigned.
        (Action::Prepare | Action::Start, None) => return Outcome::Stopped,
        (Action::AwaitHealth, _) => executor.healthy(task).await.map(|()| Outcome::Healthy),
        (Action::AwaitEnd, _) => executor.wait(task).await.map(Outcome::Ended),
        (Action::Shutdown, _) => executor.shutdown(task, None).await.map(|()| Outcome::Stopped),
        (Action::Remove, _) => executor.remove(task).await.map(|()| Outcome::Removed),
    };
    done.unwrap_or_else(Outcome::Failed)
}

/// What a task is told of as when a step begins, if that shows.
pub fn began(mine: &mut Mine, action: Action, now: Timestamp) {
    mine.busy = Some(action);
    mine.present |= action == Action::Prepare;
    let (state, message) = match action {
        Action::Prepare => (TaskState::Preparing, "preparing"),
        Action::Start => (TaskState::Starting, "starting"),
        Action::AwaitHealth | Action::AwaitEnd | Action::Shutdown | Action::Remove => return,
    };
    reach(&mut mine.status, state, message, now);
}

/// What a task is after a step.
pub fn ended(mine: &mut Mine, action: Action, outcome: Outcome, now: Timestamp) {
    mine.busy = None;
    let status = &mut mine.status;
    match outcome {
        Outcome::Prepared(prepared) => {
            mine.present = true;
            status.container = Some(prepared.container);
            reach(status, TaskState::Ready, "prepared", now);
        }
        Outcome::Started(started) => {
            mine.present = true;
            mine.live = true;
            status.container = Some(started.container);
            status.pid = started.pid;
            status.ports = started.ports;
        }
        Outcome::Healthy => {
            mine.healthy = true;
            reach(status, TaskState::Running, "started", now);
        }
        Outcome::Ended(exit) => {
            mine.live = false;
            end(status, &exit, now);
        }
        Outcome::Stopped => {
            mine.live = false;
            status.pid = 0;
            reach(status, TaskState::Shutdown, "shutdown", now);
        }
        Outcome::Removed => {
            mine.present = false;
            mine.live = false;
            status.pid = 0;
            reach(status, TaskState::Shutdown, "shutdown", now);
        }
        Outcome::Failed(error) => failed(mine, action, &error, now),
    }
}

/// What a task is that its machine cannot run.
fn failed(mine: &mut Mine, action: Action, error: &StepError, now: Timestamp) {
    let status = &mut mine.status;
    let state = match action {
        Action::Prepare => TaskState::Rejected,
        // Something of it may run still: it is made to end, since its state says so.
        Action::Start | Action::AwaitHealth | Action::AwaitEnd => TaskState::Failed,
        // Never given up, so never failed.
        Action::Shutdown | Action::Remove => return,
    };
    if reach_quietly(status, state, now) {
        status.error = error.to_string();
    }
}

fn end(status: &mut TaskStatus, exit: &Exit, now: Timestamp) {
    status.pid = 0;
    status.exit_code = Some(exit.code);
    if exit.code == 0 && exit.cause.is_empty() {
        reach(status, TaskState::Complete, "finished", now);
        return;
    }
    if reach_quietly(status, TaskState::Failed, now) {
        status.error = match exit.cause.as_str() {
            "" => format!("task: non-zero exit ({})", exit.code),
            cause => format!("task: non-zero exit ({}): {cause}", exit.code),
        };
    }
}

/// Moves on, never back.
fn reach(status: &mut TaskStatus, state: TaskState, message: &str, now: Timestamp) {
    if reach_quietly(status, state, now) {
        status.message = message.to_owned();
    }
}

/// As [`reach`]; what it last did stays its message.
fn reach_quietly(status: &mut TaskStatus, state: TaskState, now: Timestamp) -> bool {
    let on = state > status.state && !status.state.is_terminal();
    if on {
        status.state = state;
        status.at = now;
        if state == TaskState::Running {
            status.ran_since = Some(now);
        }
    }
    on
}
