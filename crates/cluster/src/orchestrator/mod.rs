//! Orchestrators: from what services want and what their tasks are, to tasks made and told to end.
//!
//! All are one pure function of a service ([`plan`]): a task that ended is replaced by another in its slot
//! ([`restart`]), a task whose node is lost or drained by one elsewhere ([`slot`]), and the number of slots by the
//! service's mode ([`replicated`], [`global`], [`job`]); a new template comes into force slot by slot ([`update`]).
//!
//! A slot's new task never shares a commit with the end of one that still serves, except where the order says so.

pub mod drain;
pub mod global;
pub mod job;
pub mod reaper;
pub mod rebalance;
pub mod replicated;
pub mod restart;
pub mod slot;
pub mod update;

use crate::{
    View, nature,
    plan::{Deed, Planned, Step},
    tables::guard_of_service,
    view::TaskNow,
};
use minke_model::{
    ServiceId, TaskId, Timestamp,
    object::Meta,
    service::{Mode, Service, TaskSpec},
    task::{Cause, Slot, Task, TaskState},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
};

/// What must happen to a service's tasks at `now`.
pub fn plan(view: &View, service: &ServiceId, now: Timestamp) -> Planned {
    let Some(service) = view.service(service) else { return without_service(view, service) };
    let Some(spec) = view.template(&service.id, service.template) else { return Planned::default() };
    let mut desk = Desk::new(view, service, spec, now);
    if service.removing {
        for task in desk.tasks.clone() {
            desk.tell(task, TaskState::Remove, format!("service {} is removed", service.spec.name));
        }
        return desk.planned;
    }
    match service.spec.mode {
        Mode::Replicated { replicas } => replicated::plan(&mut desk, replicas),
        Mode::Global => global::plan(&mut desk),
        Mode::ReplicatedJob { max_concurrent, total_completions } => {
            job::plan_replicated(&mut desk, max_concurrent, total_completions);
        }
        Mode::GlobalJob => job::plan_global(&mut desk),
    }
    desk.planned
}

/// Tasks whose service is gone.
fn without_service(view: &View, service: &ServiceId) -> Planned {
    let mut planned = Planned::default();
    for now_is in view.tasks_of(service).filter(|task| task.task.desired != TaskState::Remove) {
        let task = Task { desired: TaskState::Remove, ..(*now_is.task).clone() };
        let because = format!("the service of task {} is gone", task.id.short());
        planned.push(Deed { steps: vec![Step::Task(task)], because, of: None });
    }
    planned
}

/// Where one service's plan is made.
pub(crate) struct Desk<'a> {
    pub(crate) view: &'a View,
    pub(crate) service: &'a Service,
    /// What new tasks run.
    pub(crate) spec: &'a Arc<TaskSpec>,
    pub(crate) now: Timestamp,
    /// All of the service.
    pub(crate) tasks: Vec<&'a TaskNow>,
    pub(crate) planned: Planned,
    /// Told by this plan to end.
    told: BTreeSet<TaskId>,
    /// Slots that this plan does something in.
    pub(crate) touched: BTreeSet<Slot>,
    /// Slots that this plan makes a task in.
    pub(crate) made_in: BTreeSet<Slot>,
    made: u64,
}

impl<'a> Desk<'a> {
    fn new(view: &'a View, service: &'a Service, spec: &'a Arc<TaskSpec>, now: Timestamp) -> Self {
        let tasks = view.tasks_of(&service.id).collect();
        Desk {
            view,
            service,
            spec,
            now,
            tasks,
            planned: Planned::default(),
            told: BTreeSet::new(),
            touched: BTreeSet::new(),
            made_in: BTreeSet::new(),
            made: 0,
        }
    }

    /// The service's tasks by slot, each slot's oldest first.
    pub(crate) fn slots(&self, of: impl Fn(&TaskNow) -> bool) -> BTreeMap<Slot, Vec<&'a TaskNow>> {
        let mut slots: BTreeMap<Slot, Vec<&TaskNow>> = BTreeMap::new();
        for task in self.tasks.iter().filter(|task| of(task)) {
            slots.entry(task.task.slot.clone()).or_default().push(task);
        }
        for tasks in slots.values_mut() {
            tasks.sort_by(|a, b| (a.task.meta.created, &a.task.id).cmp(&(b.task.meta.created, &b.task.id)));
        }
        slots
    }

    /// How people know a task: `web.2`.
    pub(crate) fn name(&self, slot: &Slot) -> String {
        match slot {
            Slot::Number(number) => format!("{}.{number}", self.service.spec.name),
            Slot::Node(node) => {
                let host = self.view.node(node).map_or(node.short(), |node| nature::name_of(node));
                format!("{}.{host}", self.service.spec.name)
            }
        }
    }

    /// Whether a task was made from another template than new ones.
    pub(crate) fn is_dirty(&self, task: &TaskNow) -> bool {
        if task.task.template == self.service.template {
            return false;
        }
        let Some(old) = self.view.spec_of(&task.task) else { return true };
        // A change of the placement alone leaves those who stand where they may (swarmkit,
        // manager/orchestrator/task.go, IsTaskDirty).
        let same = TaskSpec { placement: self.spec.placement.clone(), ..(**old).clone() } == **self.spec;
        let node = task.task.node.as_ref().and_then(|node| self.view.node(node));
        !(same
            && node.is_some_and(|node| {
                crate::scheduler::constraint::node_fits(&self.spec.placement.constraints, node)
            }))
    }

    /// Where a task ends that is still wanted.
    pub(crate) fn desired(&self) -> TaskState {
        if self.service.spec.mode.is_job() { TaskState::Complete } else { TaskState::Running }
    }

    /// A new task for `slot`, not yet part of any deed.
    pub(crate) fn draft(&mut self, slot: &Slot, desired: TaskState, cause: Cause) -> Task {
        // Made of what is decided on, so that the same decision is the same plan: of the state of the service's tasks,
        // too, since two may be made at one time.
        let seen = self.view.snapshot().revision_of(&guard_of_service(&self.service.id));
        let mut hasher = [DefaultHasher::new(), DefaultHasher::new()];
        for (which, hasher) in hasher.iter_mut().enumerate() {
            (which, &self.service.id, slot, self.now.as_nanos(), seen, self.made).hash(hasher);
        }
        self.made += 1;
        self.made_in.insert(slot.clone());
        let bits = u128::from(hasher[0].finish()) << 64 | u128::from(hasher[1].finish());
        // Also what could do without addresses waits for those of its service.
        let new = nature::needs_addresses(self.service, self.spec);
        Task {
            id: TaskId::from_bits(bits),
            meta: Meta::new(self.now),
            service: self.service.id.clone(),
            template: self.service.template,
            slot: slot.clone(),
            node: None,
            state: if new { TaskState::New } else { TaskState::Pending },
            desired,
            since: self.now,
            message: if new { "created" } else { "pending task scheduling" }.to_owned(),
            attachments: Vec::new(),
            generic: Vec::new(),
            job_iteration: self.service.spec.mode.is_job().then_some(self.service.job_iteration),
            not_before: None,
            replaces: None,
            restarts: 0,
            cause,
        }
    }

    /// One deed about `slot`.
    pub(crate) fn deed(&mut self, slot: &Slot, steps: Vec<Step>, because: String) {
        self.touched.insert(slot.clone());
        self.planned.push(Deed { steps, because, of: Some(self.service.id.clone()) });
    }

    /// The step that tells a task to become `desired`; none where it was told so, or more.
    pub(crate) fn telling(&mut self, task: &TaskNow, desired: TaskState) -> Option<Step> {
        if task.task.desired >= desired
            || (desired >= TaskState::Shutdown && self.told.contains(&task.task.id))
        {
            return None;
        }
        if desired >= TaskState::Shutdown {
            self.told.insert(task.task.id.clone());
        }
        Some(Step::Task(Task { desired, ..(*task.task).clone() }))
    }

    /// A deed of its own that tells a task to become `desired`.
    pub(crate) fn tell(&mut self, task: &TaskNow, desired: TaskState, because: String) {
        if let Some(step) = self.telling(task, desired) {
            self.deed(&task.task.slot, vec![step], because);
        }
    }

    /// Whether this plan has told a task to end.
    pub(crate) fn has_told(&self, task: &TaskNow) -> bool {
        self.told.contains(&task.task.id)
    }
}
