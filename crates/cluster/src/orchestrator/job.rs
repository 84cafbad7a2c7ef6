//! Services whose tasks end: so often, or once on every node. Pure.
//!
//! A run of a job has a number. When it changes, what is left of the run before it goes, and all begins again.

use super::{Desk, global, replicated::remove_strangers, restart, slot};
use crate::{View, plan::Step, view::TaskNow};
use minke_model::task::{Cause, Slot, TaskState};
use std::collections::BTreeMap;

/// A job of `total` completions, at most `concurrent` at a time.
pub(crate) fn plan_replicated(desk: &mut Desk<'_>, concurrent: u64, total: u64) {
    remove_strangers(desk, |slot| matches!(slot, Slot::Number(_)));
    end_older_runs(desk);
    let slots = this_run(desk);
    let (mut done, mut active) = (0, 0);
    for (number, tasks) in &slots {
        if has_completed(tasks) {
            done += 1;
            stop_the_rest(desk, tasks);
        } else if given_up(desk, tasks) {
            // Nobody will try again: it neither runs nor leaves room for another.
            done += 1;
            slot::settle(desk, number, tasks);
        } else {
            active += 1;
            slot::settle(desk, number, tasks);
        }
    }
    let room = concurrent.saturating_sub(active).min(total.saturating_sub(done + active));
    let free = (1..).map(Slot::Number).filter(|number| !slots.contains_key(number));
    let new: Vec<_> = free.take(usize::try_from(room).unwrap_or(usize::MAX)).collect();
    for number in new {
        let task = desk.draft(&number, TaskState::Complete, Cause::Wanted);
        let name = desk.name(&number);
        desk.deed(&number, vec![Step::Task(task)], format!("{name}: {done} of {total} have completed"));
    }
}

/// A job that completes once on every node.
pub(crate) fn plan_global(desk: &mut Desk<'_>) {
    remove_strangers(desk, |slot| matches!(slot, Slot::Node(_)));
    end_older_runs(desk);
    let slots = this_run(desk);
    let unfinished: BTreeMap<_, _> = slots
        .iter()
        .filter(|(_, tasks)| !has_completed(tasks))
        .map(|(slot, tasks)| (slot.clone(), tasks.clone()))
        .collect();
    global::leave(desk, &unfinished);
    let nodes: Vec<_> = desk.view.nodes().filter(|node| global::fits(desk.spec, node)).cloned().collect();
    for node in nodes {
        let slot = Slot::Node(node.id.clone());
        match slots.get(&slot) {
            Some(tasks) if has_completed(tasks) => stop_the_rest(desk, tasks),
            Some(tasks) if tasks.iter().any(|task| global::is_away(desk, task)) => {}
            Some(tasks) => {
                slot::settle(desk, &slot, tasks);
            }
            None if View::takes_tasks(&node) => {
                let task = desk.draft(&slot, TaskState::Complete, Cause::Wanted);
                let name = desk.name(&slot);
                desk.deed(&slot, vec![Step::Task(task)], format!("{name} has not completed yet"));
            }
            None => {}
        }
    }
}

fn is_of_this_run(desk: &Desk<'_>, task: &TaskNow) -> bool {
    task.task.job_iteration == Some(desk.service.job_iteration)
}

fn this_run<'a>(desk: &Desk<'a>) -> BTreeMap<Slot, Vec<&'a TaskNow>> {
    desk.slots(|task| is_of_this_run(desk, task) && task.task.desired < TaskState::Remove)
}

fn end_older_runs(desk: &mut Desk<'_>) {
    for task in desk.tasks.clone() {
        if !is_of_this_run(desk, task) && !task.has_ended() {
            desk.tell(task, TaskState::Remove, "its job runs anew".to_owned());
        }
    }
}

fn has_completed(tasks: &[&TaskNow]) -> bool {
    tasks.iter().any(|task| task.state() == TaskState::Complete)
}

/// A stand-in that completed is enough, or the one that it stood in for.
fn stop_the_rest(desk: &mut Desk<'_>, tasks: &[&TaskNow]) {
    for task in tasks.iter().filter(|task| task.is_wanted() && !task.has_ended()) {
        desk.tell(task, TaskState::Shutdown, "another has completed its slot".to_owned());
    }
}

fn given_up(desk: &Desk<'_>, tasks: &[&TaskNow]) -> bool {
    tasks.last().is_some_and(|newest| {
        tasks.iter().all(|task| task.has_ended()) && restart::next(desk, newest, tasks).is_none()
    })
}
