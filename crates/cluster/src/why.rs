//! Why something is as it is: a chain of causes, from the records alone. Pure.

use crate::{
    View, nature,
    orchestrator::drain::{node_name, trouble},
    view::TaskNow,
};
use minke_model::{
    ClusterNodeId, ServiceId, TaskId, Timestamp,
    node::{Availability, NodeState},
    service::{Mode, Service, UpdateState},
    task::{Cause, Slot, TaskState},
};
use std::fmt;

/// At most so many tasks of one service are told of, and so many steps back.
const MOST: usize = 20;

/// One thing that is so, and how far back in the chain it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Because {
    /// 0: what was asked about.
    pub depth: usize,
    /// A sentence without a full stop.
    pub what: String,
}

impl fmt::Display for Because {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.depth {
            0 => f.write_str(&self.what),
            depth => write!(f, "{}because {}", "  ".repeat(depth), self.what),
        }
    }
}

/// Why a task is where it is.
pub fn of_task(view: &View, id: &TaskId, now: Timestamp) -> Vec<Because> {
    let mut chain = Vec::new();
    if let Some(task) = view.task(id) {
        tell_task(view, task, now, 0, &mut chain);
    }
    chain
}

/// Why a service is as far as it is.
pub fn of_service(view: &View, id: &ServiceId, now: Timestamp) -> Vec<Because> {
    let Some(service) = view.service(id) else { return Vec::new() };
    let wanted: Vec<_> = view.tasks_of(id).filter(|task| task.is_wanted()).collect();
    let running = wanted.iter().filter(|task| task.state() == TaskState::Running).count();
    let mut chain = vec![Because {
        depth: 0,
        what: format!("{}: {running} running, {}", service.spec.name, wish(service)),
    }];
    let mut say = |depth, what| chain.push(Because { depth, what });
    if service.removing {
        say(1, format!("its removal was asked for, and {} tasks still stop", view.tasks_of(id).count()));
    }
    if let Some(update) = &service.update
        && !matches!(update.state, UpdateState::Completed | UpdateState::RollbackCompleted)
    {
        say(1, update.message.clone());
    }
    let odd = |task: &&&TaskNow| task.state() != TaskState::Running || trouble(view, task).is_some();
    let mut waiting: Vec<_> = wanted.iter().filter(odd).collect();
    waiting.sort_by_key(|task| (task.task.slot.clone(), task.task.meta.created));
    let more = waiting.len().saturating_sub(MOST);
    for task in waiting.into_iter().take(MOST) {
        tell_task(view, task, now, 1, &mut chain);
    }
    if more > 0 {
        chain.push(Because { depth: 1, what: format!("{more} more tasks do not run yet") });
    }
    chain
}

/// Why a node is as it is, and what that does.
pub fn of_node(view: &View, id: &ClusterNodeId, now: Timestamp) -> Vec<Because> {
    let Some(node) = view.node(id) else { return Vec::new() };
    let state = match node.state {
        NodeState::Unknown => "is silent: no traffic goes to it",
        NodeState::Down => "is down: its tasks run elsewhere",
        NodeState::Ready => "is ready",
        NodeState::Away => "is away: its daemon said that it comes back",
    };
    let name = nature::name_of(node);
    let mut chain =
        vec![Because { depth: 0, what: format!("node {name} {state}, for {}", age(node.since, now)) }];
    let mut say = |what| chain.push(Because { depth: 1, what });
    if !node.message.is_empty() {
        say(node.message.clone());
    }
    match node.spec.availability {
        Availability::Active => {}
        Availability::Pause => say("its user wants no new tasks on it".to_owned()),
        Availability::Drain => say("its user wants it empty".to_owned()),
    }
    let live: Vec<_> = view.tasks_on(id).filter(|task| !task.has_ended()).collect();
    let bound = live
        .iter()
        .filter(|task| view.spec_of(&task.task).is_some_and(|spec| nature::is_bound(spec)))
        .count();
    say(format!("{} tasks are on it, {bound} of them with volumes that are only there", live.len()));
    chain
}

fn wish(service: &Service) -> String {
    match service.spec.mode {
        Mode::Replicated { replicas } => format!("{replicas} wanted"),
        Mode::Global => "one wanted on every node that fits".to_owned(),
        Mode::ReplicatedJob { max_concurrent, total_completions } => {
            format!("{total_completions} completions wanted, {max_concurrent} at a time")
        }
        Mode::GlobalJob => "one completion wanted on every node that fits".to_owned(),
    }
}

fn name(view: &View, task: &TaskNow) -> String {
    let service = view.service(&task.task.service).map_or("?", |service| &service.spec.name);
    let slot = match &task.task.slot {
        Slot::Number(number) => number.to_string(),
        Slot::Node(node) => {
            view.node(node).map_or_else(|| node.short().to_owned(), |node| nature::name_of(node).to_owned())
        }
    };
    format!("{service}.{slot} ({})", task.task.id.short())
}

fn tell_task(view: &View, task: &TaskNow, now: Timestamp, depth: usize, chain: &mut Vec<Because>) {
    if chain.len() > MOST * 3 || depth > MOST {
        return;
    }
    let place = match &task.task.node {
        Some(_) => format!(" on {}", node_name(view, task)),
        None => String::new(),
    };
    let what =
        format!("{} is {}{place}, for {}", name(view, task), task.state().as_str(), age(task.since(), now));
    chain.push(Because { depth, what });
    let mut say = |what: String| chain.push(Because { depth: depth + 1, what });
    if let Some(status) = task.status.as_ref().filter(|status| !status.error.is_empty()) {
        say(status.error.clone());
    } else if task.state() <= TaskState::Pending && !task.task.message.is_empty() {
        say(task.task.message.clone());
    }
    if let Some(until) = task.task.not_before.filter(|until| *until > now) {
        say(format!("it may start in {}: its restart is delayed", age(now, until)));
    } else if task.task.desired < TaskState::Running {
        say("it waits until the task before it in its slot has stopped".to_owned());
    }
    if let Some(trouble) = trouble(view, task) {
        let stays = match view.spec_of(&task.task) {
            Some(spec) if nature::is_bound(spec) => "; its volumes are only there, so it is not replaced",
            _ => "",
        };
        say(format!("node {} {}{stays}", node_name(view, task), trouble.as_str()));
    }
    if task.task.desired >= TaskState::Shutdown && !task.has_ended() {
        say("it was told to end".to_owned());
    }
    let before = before(view, task);
    let made = match task.task.cause {
        Cause::Wanted => return,
        Cause::Restart => {
            format!("it was made after the one before it ended, restart {}", task.task.restarts)
        }
        Cause::Update => "it was made by an update of its service".to_owned(),
        Cause::NodeDown => "it stands in for one on a node that is lost".to_owned(),
        Cause::Drain => "it stands in for one on a node that is drained".to_owned(),
        Cause::Constraint => {
            "it stands in for one on a node that no longer satisfies the constraints".to_owned()
        }
        Cause::Rebalance => "it was moved to where there is more room".to_owned(),
    };
    say(made);
    if let Some(before) = before {
        tell_task(view, before, now, depth + 2, chain);
    }
}

/// The task that one was made after: the one that it replaces, or the newest before it in its slot.
fn before<'a>(view: &'a View, task: &TaskNow) -> Option<&'a TaskNow> {
    if let Some(replaced) = task.task.replaces.as_ref().and_then(|id| view.task(id)) {
        return Some(replaced);
    }
    let of_slot = view.tasks_of(&task.task.service).filter(|other| other.task.slot == task.task.slot);
    of_slot
        .filter(|other| other.task.meta.created < task.task.meta.created)
        .max_by_key(|other| (other.task.meta.created, other.task.id.clone()))
}

/// `12s`, `3m`, `2h`, `5d`: the largest unit that says something.
fn age(since: Timestamp, now: Timestamp) -> String {
    let seconds = now.since(since).as_secs();
    match seconds {
        0..120 => format!("{seconds}s"),
        120..7200 => format!("{}m", seconds / 60),
        7200..172_800 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}
