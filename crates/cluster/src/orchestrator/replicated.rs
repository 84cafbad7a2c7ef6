//! Services with so many tasks in numbered slots. Pure.

use super::{Desk, drain::trouble, slot, update};
use crate::view::TaskNow;
use minke_model::{
    ClusterNodeId,
    task::{Cause, Slot, TaskState},
};
use std::collections::{BTreeMap, HashMap};

/// The plan of a service that wants `replicas` slots.
pub(crate) fn plan(desk: &mut Desk<'_>, replicas: u64) {
    let slots = desk.slots(|task| matches!(task.task.slot, Slot::Number(_)));
    remove_strangers(desk, |slot| matches!(slot, Slot::Number(_)));
    let mut filled: BTreeMap<Slot, Vec<&TaskNow>> = BTreeMap::new();
    let mut dead = Vec::new();
    for (number, tasks) in &slots {
        let settled = slot::settle(desk, number, tasks);
        if settled.occupied {
            filled.insert(number.clone(), settled.left);
        } else {
            dead.push(number.clone());
        }
    }
    let wanted = usize::try_from(replicas).unwrap_or(usize::MAX);
    if filled.len() > wanted {
        for number in surplus(desk, &filled, wanted) {
            let name = desk.name(&number);
            for task in slots.get(&number).into_iter().flatten() {
                desk.tell(task, TaskState::Remove, format!("{name}: only {replicas} replicas are wanted"));
            }
            filled.remove(&number);
        }
    } else {
        let missing = replicas - filled.len() as u64;
        let free = (1..).map(Slot::Number).filter(|number| !filled.contains_key(number));
        let mut new = Vec::new();
        new.extend(free.take(usize::try_from(missing).unwrap_or(usize::MAX)));
        for number in &new {
            let task = desk.draft(number, TaskState::Running, Cause::Wanted);
            let name = desk.name(number);
            desk.deed(
                number,
                vec![crate::plan::Step::Task(task)],
                format!("{name}: {replicas} replicas are wanted"),
            );
        }
        dead.retain(|number| !new.contains(number));
    }
    // What is left of slots that are no more.
    for number in dead {
        let name = desk.name(&number);
        for task in slots
            .get(&number)
            .into_iter()
            .flatten()
            .filter(|task| !desk.has_told(task))
            .copied()
            .collect::<Vec<_>>()
        {
            desk.tell(task, TaskState::Remove, format!("{name} is no slot any more"));
        }
    }
    update::plan(desk, &slots, &filled);
}

/// Tasks in places that this mode does not have.
pub(crate) fn remove_strangers(desk: &mut Desk<'_>, belongs: impl Fn(&Slot) -> bool) {
    for task in desk.tasks.clone().into_iter().filter(|task| !belongs(&task.task.slot)) {
        desk.tell(task, TaskState::Remove, "its service has another mode now".to_owned());
    }
}

/// The slots that go when only `wanted` stay: first those that do not run, then those on nodes with most of the service,
/// so that what stays is even (swarmkit, manager/orchestrator/replicated/services.go), then the highest numbers.
fn surplus(desk: &Desk<'_>, filled: &BTreeMap<Slot, Vec<&TaskNow>>, wanted: usize) -> Vec<Slot> {
    let stands = |tasks: &[&TaskNow]| {
        let runs =
            |task: &&&TaskNow| task.state() == TaskState::Running && trouble(desk.view, task).is_none();
        tasks.iter().find(runs).and_then(|task| task.task.node.clone())
    };
    let mut on_node: HashMap<ClusterNodeId, usize> = HashMap::new();
    let mut ranked: Vec<(usize, &Slot)> = Vec::new();
    for (number, tasks) in filled {
        // The nth of its node; who does not run comes after all who do.
        let nth = stands(tasks).map_or(usize::MAX, |node| {
            let count = on_node.entry(node).or_default();
            *count += 1;
            *count
        });
        ranked.push((nth, number));
    }
    ranked.sort();
    ranked.into_iter().skip(wanted).map(|(_, number)| number.clone()).collect()
}
