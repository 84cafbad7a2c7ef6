//! What nobody needs any more: old tasks, services that are removed, templates that nothing names, statuses without
//! tasks, addresses that have rested. Pure.

use crate::{
    View, nature,
    plan::{Deed, Other, Planned, Step, after, unchanged_tasks},
    tables::{
        NAMES, Named, RETIRED, SERVICES, STATUSES, TEMPLATES, guard_of_service, name_of, retired_name,
        status_name, template_name,
    },
    view::TaskNow,
};
use minke_model::{
    NetworkId, ServiceId, Timestamp,
    node::NodeState,
    service::Service,
    task::{Slot, Task, TaskState},
};
use minke_store::{Guard, Txn};
use std::{collections::BTreeMap, net::IpAddr, time::Duration};

/// A task on a node that has been down for so long is taken for lost (swarmkit, dispatcher, defaultNodeDownPeriod).
const LOST: Duration = Duration::from_secs(24 * 3600);
/// So long nobody gets the address of a task that ended: others may still know it.
pub const REST: Duration = Duration::from_secs(600);
/// Tasks kept per slot where the cluster does not say (swarmkit, defaults).
const HISTORY: u64 = 5;
/// Writes of one deed about many small things.
const AT_ONCE: usize = 32;

/// What can go of one service, which may be gone itself.
pub fn plan(view: &View, id: &ServiceId, now: Timestamp) -> Planned {
    let mut planned = Planned::default();
    let service = view.service(id);
    let mut slots: BTreeMap<&Slot, Vec<&TaskNow>> = BTreeMap::new();
    for task in view.tasks_of(id) {
        if let Some(deed) = lose(view, task, now, &mut planned) {
            planned.push(deed);
        } else if let Some(why) = is_over(view, task) {
            planned.push(forget(task, now, why));
        } else {
            slots.entry(&task.task.slot).or_default().push(task);
        }
    }
    if let Some(service) = service {
        for mut tasks in slots.into_values() {
            tasks.sort_by(|a, b| (a.task.meta.created, &a.task.id).cmp(&(b.task.meta.created, &b.task.id)));
            old(view, service, &tasks, now, &mut planned);
        }
    }
    match service {
        Some(service) if service.removing => planned.deeds.extend(remove(view, service, now)),
        service => templates(view, id, service.map(|service| &**service), &mut planned),
    }
    planned
}

/// What is of no service: statuses without tasks, addresses that have rested.
pub fn plan_rest(view: &View, now: Timestamp) -> Planned {
    let mut planned = Planned::default();
    let stray: Vec<_> = view.stray_statuses().collect();
    for some in stray.chunks(AT_ONCE) {
        let txn = some.iter().fold(Txn::on(view.snapshot()), |txn, (node, task)| {
            txn.remove(&STATUSES, &status_name(node, task))
        });
        let because = "a node spoke of tasks that are no more".to_owned();
        planned.push(Deed { steps: vec![Step::Other(Other(txn))], because, of: None });
    }
    let mut rested: Vec<(&NetworkId, &IpAddr)> = Vec::new();
    for (network, address, until) in view.retired() {
        if until <= now {
            rested.push((network, address));
        } else {
            planned.look_again_at(until);
        }
    }
    rested.sort();
    for some in rested.chunks(AT_ONCE) {
        let txn = some.iter().fold(Txn::on(view.snapshot()), |txn, (network, address)| {
            txn.remove(&RETIRED, &retired_name(network, **address))
        });
        let because = "addresses have rested for long enough".to_owned();
        planned.push(Deed { steps: vec![Step::Other(Other(txn))], because, of: None });
    }
    planned
}

/// A task whose node is gone, or has been down for a day, is lost.
fn lose(view: &View, task: &TaskNow, now: Timestamp, planned: &mut Planned) -> Option<Deed> {
    if task.has_ended() {
        return None;
    }
    let because = match view.node(task.task.node.as_ref()?) {
        None => "its node has left".to_owned(),
        Some(node) if node.state == NodeState::Down => {
            // Its data is there: it comes back with its node.
            if view.spec_of(&task.task).is_some_and(|spec| nature::is_bound(spec)) {
                return None;
            }
            let lost = after(node.since, LOST);
            if lost > now {
                planned.look_again_at(lost);
                return None;
            }
            format!("its node {} has been down for a day", nature::name_of(node))
        }
        Some(_) => return None,
    };
    let orphaned =
        Task { state: TaskState::Orphaned, since: now, message: because.clone(), ..(*task.task).clone() };
    let because = format!("task {}: {because}", task.task.id.short());
    Some(Deed { steps: vec![Step::Task(orphaned)], because, of: None })
}

/// Whether a task's record can go, however much history is kept.
fn is_over(view: &View, task: &TaskNow) -> Option<&'static str> {
    if task.is_wanted() {
        return None;
    }
    if task.state() < TaskState::Assigned {
        return Some("it never had a node");
    }
    if task.task.desired < TaskState::Remove {
        return None;
    }
    let gone = task.task.node.as_ref().is_none_or(|node| view.node(node).is_none());
    (task.has_ended() || gone).then_some("its slot or service is gone")
}

/// Ended tasks of one slot beyond the history that is kept. `tasks`: oldest first.
fn old(view: &View, service: &Service, tasks: &[&TaskNow], now: Timestamp, planned: &mut Planned) {
    let mut keep = view.cluster().map_or(HISTORY, |cluster| cluster.spec.task_history);
    let Some(newest) = tasks.last() else { return };
    if let Some(spec) = view.spec_of(&newest.task) {
        if nature::is_bound(spec) {
            // Where its data is: the next one goes there.
            keep = keep.max(2);
        }
        if let Some(policy) = spec.restart.as_ref().filter(|policy| !policy.window.is_zero()) {
            // Attempts in a window are counted by it.
            keep = keep.max(policy.max_attempts.saturating_add(1));
        }
    }
    let surplus = tasks.len().saturating_sub(usize::try_from(keep).unwrap_or(usize::MAX));
    let counts = |task: &&&TaskNow| {
        service.spec.mode.is_job()
            && task.task.job_iteration == Some(service.job_iteration)
            && task.state() == TaskState::Complete
    };
    // A slot whose only task has ended and is not followed needs it: it says so.
    let ended = tasks.iter().filter(|task| task.has_ended() && !task.is_wanted() && !counts(task));
    let last = tasks.iter().all(|task| task.has_ended()).then_some(newest.task.id.clone());
    for task in ended.filter(|task| Some(&task.task.id) != last.as_ref()).take(surplus) {
        planned.push(forget(task, now, "enough newer ones of its slot are kept"));
    }
}

fn forget(task: &TaskNow, now: Timestamp, why: &str) -> Deed {
    let was_somewhere = task.state() >= TaskState::Assigned;
    let until = after(if task.has_ended() { task.since().min(now) } else { now }, REST);
    let addresses =
        task.task.attachments.iter().flat_map(|at| {
            at.addresses.iter().map(move |(address, _)| (at.network.clone(), *address, until))
        });
    let resting = addresses.filter(|_| was_somewhere && until > now).collect();
    let statuses = task.status.iter().filter_map(|_| task.task.node.clone()).collect();
    let because = format!("task {}: {why}", task.task.id.short());
    Deed { steps: vec![Step::Forget { task: task.task.id.clone(), statuses, resting }], because, of: None }
}

/// A removed service goes when its last task has.
fn remove(view: &View, service: &Service, now: Timestamp) -> Option<Deed> {
    if view.tasks_of(&service.id).next().is_some() {
        return None;
    }
    let guard = guard_of_service(&service.id);
    let mut txn = Txn::on(view.snapshot()).remove(&SERVICES, service.id.as_str());
    for version in view.templates_of(&service.id).take(AT_ONCE) {
        txn = txn.remove(&TEMPLATES, &template_name(&service.id, version));
    }
    for (network, address, _) in service.endpoint.iter().flat_map(|endpoint| &endpoint.vips) {
        txn = txn.put(&RETIRED, &retired_name(network, *address), after(now, REST));
    }
    let name = name_of(Named::Service, &service.spec.name);
    // Another may have it already.
    if let Ok(Some(id)) = NAMES.get(view.snapshot(), &name)
        && *id.value == service.id.as_str()
    {
        txn = txn.guard_at(NAMES.key(&name), id.revision).remove(&NAMES, &name);
    }
    txn = txn.retire(guard.clone(), view.snapshot().revision_of(&guard));
    let because = format!("service {} is removed and has no tasks any more", service.spec.name);
    Some(Deed { steps: vec![Step::Other(Other(txn))], because, of: None })
}

/// Templates that neither the service nor any of its tasks names.
fn templates(view: &View, id: &ServiceId, service: Option<&Service>, planned: &mut Planned) {
    let is_named = |version: &u64| {
        service.is_some_and(|service| {
            service.template == *version || service.previous_template == Some(*version)
        }) || view.tasks_of(id).any(|task| task.task.template == *version)
    };
    let unnamed: Vec<u64> = view.templates_of(id).filter(|version| !is_named(version)).collect();
    for some in unnamed.chunks(AT_ONCE) {
        let service = Guard::seen(SERVICES.key(id.as_str()), view.service_revision(id));
        let txn = Txn::on(view.snapshot()).guard(service).guard(unchanged_tasks(view, id));
        let txn = some.iter().fold(txn, |txn, version| txn.remove(&TEMPLATES, &template_name(id, *version)));
        let because = "no task has these templates any more".to_owned();
        planned.push(Deed { steps: vec![Step::Other(Other(txn))], because, of: None });
    }
}
