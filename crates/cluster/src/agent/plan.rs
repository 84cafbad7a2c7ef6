//! What the agent does next, from what it was told and what it has. Pure: no clock, no machine.
//!
//! Stops come first, and what nobody knows any more has ended before anything new starts: a node that comes back from
//! the dead never runs a task beside its replacement.

use crate::assign::{AssignedTask, Assignment, NodeState};
use minke_model::{
    TaskId,
    task::{TaskState, TaskStatus},
};
use std::{collections::BTreeMap, fmt, sync::Arc};

/// Tasks that are prepared or started at a time.
pub const MOST_STARTS: usize = 16;
/// Tasks that are stopped or removed at a time.
pub const MOST_STOPS: usize = 64;

/// A task as the agent has it.
#[derive(Clone, Debug)]
pub struct Mine {
    /// How far it is, as its machine last said.
    pub status: TaskStatus,
    /// The step that it is in.
    pub busy: Option<Action>,
    /// Something of it may be on this machine.
    pub present: bool,
    /// Its process was started and its end was not seen.
    pub live: bool,
    /// Its health check has passed, or it has none.
    pub healthy: bool,
}

impl Mine {
    /// Of a task that was just taken: nothing of it is here.
    pub fn new(status: TaskStatus) -> Self {
        Mine { status, busy: None, present: false, live: false, healthy: false }
    }
}

/// One step of one task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Action {
    /// Image and container.
    Prepare,
    /// Its process.
    Start,
    /// Until its health check has passed.
    AwaitHealth,
    /// Until its end.
    AwaitEnd,
    /// Makes it end.
    Shutdown,
    /// Takes away what is left.
    Remove,
}

impl Action {
    /// Whether it only waits, so that it is dropped when something else is to be done.
    pub fn only_waits(self) -> bool {
        matches!(self, Action::AwaitHealth | Action::AwaitEnd)
    }

    fn is_stop(self) -> bool {
        matches!(self, Action::Shutdown | Action::Remove)
    }

    fn is_start(self) -> bool {
        matches!(self, Action::Prepare | Action::Start)
    }
}

/// A step to take, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Next {
    /// Of which task.
    pub task: TaskId,
    /// Which.
    pub action: Action,
    /// Because of what.
    pub because: &'static str,
}

impl fmt::Display for Next {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "task {}: {:?}, because {}", self.task.short(), self.action, self.because)
    }
}

/// What is decided.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Steps to begin, stops first.
    pub steps: Vec<Next>,
    /// Tasks that are to be told of as ended, though they never ran here.
    pub never_ran: Vec<TaskId>,
    /// Tasks of which nothing is left and that nobody asks for.
    pub forget: Vec<TaskId>,
}

/// The next step of each task that is not in one already, as far as the bounds allow.
///
/// `configured` is the node-wide state that the machine has; `fences_hold` is whether a fenced task may start now.
pub fn plan(
    told: &Assignment,
    mine: &BTreeMap<TaskId, Mine>,
    configured: &NodeState,
    fences_hold: bool,
) -> Plan {
    let mut plan = Plan::default();
    let busy = |kind: fn(Action) -> bool| mine.values().filter(|m| m.busy.is_some_and(kind)).count();
    let mut stops = MOST_STOPS.saturating_sub(busy(Action::is_stop));
    let mut starts = MOST_STARTS.saturating_sub(busy(Action::is_start));
    let stranger = |id: &TaskId, m: &Mine| !told.tasks.contains_key(id) && m.live;
    let strangers_live = mine.iter().any(|(id, m)| stranger(id, m));

    for (id, m) in mine {
        match stop_of(m, told.tasks.get(id)) {
            Stop::No => {}
            Stop::NeverRan => plan.never_ran.push(id.clone()),
            Stop::Forget => plan.forget.push(id.clone()),
            Stop::Step(action, because) => {
                if stops > 0 {
                    stops -= 1;
                    plan.steps.push(Next { task: id.clone(), action, because });
                }
            }
        }
    }
    for (id, task) in &told.tasks {
        let Some(m) = mine.get(id) else { continue };
        let Some((action, because)) = onward(m, task, configured) else { continue };
        if action.is_start() {
            let held = action == Action::Start && (strangers_live || task.fenced && !fences_hold);
            if starts == 0 || held {
                continue;
            }
            starts -= 1;
        }
        plan.steps.push(Next { task: id.clone(), action, because });
    }
    plan
}

/// What the end of a task asks for.
enum Stop {
    No,
    NeverRan,
    Forget,
    Step(Action, &'static str),
}

fn stop_of(m: &Mine, told: Option<&Arc<AssignedTask>>) -> Stop {
    let (unwanted, gone) = match told {
        None => (true, true),
        Some(task) => (task.task.desired >= TaskState::Shutdown, task.task.desired >= TaskState::Remove),
    };
    // A stop or a removal under way is not begun again; what only waits gives way to it, and so does a pull.
    let ended = m.live && m.status.state.is_terminal();
    if !(unwanted || ended) || m.busy.is_some_and(Action::is_stop) || m.busy == Some(Action::Start) {
        return Stop::No;
    }
    let because = match told {
        None => "it is not this node's any more",
        Some(_) if unwanted => "it should not run any more",
        Some(_) => "it was told of as ended",
    };
    if m.live {
        return Stop::Step(Action::Shutdown, because);
    }
    if !m.status.state.is_terminal() && told.is_some() {
        // Prepared or being so: what is there stays for `docker ps -a` as Swarm's does.
        return if m.busy.is_some() { Stop::Step(Action::Shutdown, because) } else { Stop::NeverRan };
    }
    if gone && (m.present || m.busy.is_some()) {
        return Stop::Step(Action::Remove, because);
    }
    if told.is_none() { Stop::Forget } else { Stop::No }
}

fn onward(m: &Mine, task: &AssignedTask, configured: &NodeState) -> Option<(Action, &'static str)> {
    let desired = task.task.desired;
    if m.busy.is_some() || m.status.state.is_terminal() || desired >= TaskState::Shutdown {
        return None;
    }
    if m.live {
        return Some(if m.healthy {
            (Action::AwaitEnd, "it runs")
        } else {
            (Action::AwaitHealth, "it has not shown yet that it is healthy")
        });
    }
    if !m.present {
        return configured.serves(task).then_some((Action::Prepare, "it is this node's"));
    }
    (desired >= TaskState::Running).then_some((Action::Start, "it should run"))
}
