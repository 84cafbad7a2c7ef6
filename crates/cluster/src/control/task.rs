//! Tasks as one who asks sees them: what the control plane decided, what the node says, and what it runs.

use super::{Code, Control, ControlError, Filters, Result, filter::resolve};
use crate::tables::{NODES, SERVICES, STATUSES, TASKS, TEMPLATES, status_name, template_name};
use minke_model::{
    Kind, TaskId, Timestamp,
    service::{Service, TaskSpec},
    task::{Slot, Task, TaskState, TaskStatus},
};
use minke_store::Snapshot;
use std::sync::Arc;

/// One task, whole.
#[derive(Clone, Debug)]
pub struct TaskView {
    /// As the control plane has it.
    pub task: Arc<Task>,
    /// As its node says; `None`: it did not yet.
    pub status: Option<Arc<TaskStatus>>,
    /// What it runs; `None`: its template is gone.
    pub spec: Option<Arc<TaskSpec>>,
    /// Its service; `None`: gone.
    pub service: Option<Arc<Service>>,
}

impl TaskView {
    fn new(snapshot: &Snapshot, task: Arc<Task>) -> Result<Self> {
        let status = match &task.node {
            Some(node) => STATUSES.get(snapshot, &status_name(node, &task.id))?.map(|s| s.value),
            None => None,
        };
        let spec = TEMPLATES.get(snapshot, &template_name(&task.service, task.template))?.map(|s| s.value);
        let service = SERVICES.get(snapshot, task.service.as_str())?.map(|s| s.value);
        Ok(TaskView { task, status, spec, service })
    }

    /// How far it is.
    pub fn state(&self) -> TaskState {
        self.status.as_ref().map_or(self.task.state, |status| status.state.max(self.task.state))
    }

    /// What its node says, where that is what counts.
    pub fn reported(&self) -> Option<&TaskStatus> {
        self.status.as_deref().filter(|status| status.state >= self.task.state)
    }

    /// When it came so far.
    pub fn since(&self) -> Timestamp {
        self.reported().map_or(self.task.since, |status| status.at)
    }

    /// `web.1.<id>`: service, place, id.
    pub fn name(&self) -> String {
        let service = self.service.as_ref().map_or("", |service| service.spec.name.as_str());
        match &self.task.slot {
            Slot::Number(number) => format!("{service}.{number}.{}", self.task.id),
            Slot::Node(node) => format!("{service}.{node}.{}", self.task.id),
        }
    }

    /// Whether it is what its service now wants.
    fn is_up_to_date(&self) -> bool {
        self.service.as_ref().is_some_and(|service| {
            service.template == self.task.template
                && (!service.spec.mode.is_job() || self.task.job_iteration == Some(service.job_iteration))
        })
    }
}

/// Docker's word for a state, back.
fn state_of(word: &str) -> Option<TaskState> {
    use TaskState::*;
    let all = [
        New, Pending, Assigned, Accepted, Preparing, Ready, Starting, Running, Complete, Shutdown, Failed,
        Rejected, Remove, Orphaned,
    ];
    all.into_iter().find(|state| state.as_str() == word)
}

impl Control {
    /// The task that `input` means.
    pub async fn task(&self, input: &str) -> Result<TaskView> {
        let snapshot = self.look().await?;
        if let Some(task) = TASKS.get(&snapshot, input)? {
            return TaskView::new(&snapshot, task.value);
        }
        let views = every_task(&snapshot)?;
        let names: Vec<(TaskView, String)> =
            views.into_iter().map(|view| (view.clone(), view.name())).collect();
        resolve("task", input, &names, |(view, name)| (view.task.id.as_str(), name)).map(|(view, _)| view)
    }

    /// The task with this id.
    pub async fn task_by_id(&self, id: &TaskId) -> Result<TaskView> {
        let snapshot = self.look().await?;
        match TASKS.get(&snapshot, id.as_str())? {
            Some(task) => TaskView::new(&snapshot, task.value),
            None => Err(ControlError::new(Code::NotFound, format!("task {id} not found"))),
        }
    }

    /// Tasks that are wanted. Services and nodes may be named in any way.
    pub async fn tasks(&self, filters: &Filters) -> Result<Vec<TaskView>> {
        filters.check(&[
            "name",
            "id",
            "label",
            "service",
            "node",
            "desired-state",
            "_up-to-date",
            "runtime",
        ])?;
        let snapshot = self.look().await?;
        let mut services = Vec::new();
        for input in filters.get("service") {
            let all: Vec<_> = SERVICES.list(&snapshot)?.into_iter().map(|(_, s)| s.value).collect();
            let all: Vec<_> = all.into_iter().filter(|s| !s.removing).collect();
            services.push(resolve("service", input, &all, |s| (s.id.as_str(), &s.spec.name))?.id.clone());
        }
        let mut nodes = Vec::new();
        for input in filters.get("node") {
            let all: Vec<_> = NODES.list(&snapshot)?.into_iter().map(|(_, n)| n.value).collect();
            nodes.push(resolve("node", input, &all, |n| (n.id.as_str(), n.hostname()))?.id.clone());
        }
        let mut states = Vec::new();
        for word in filters.get("desired-state").filter(|word| !word.is_empty()) {
            let state = state_of(&word.to_ascii_lowercase()).ok_or_else(|| {
                ControlError::plain(Kind::Internal, format!("Invalid desired-state filter: '{word}'"))
            })?;
            states.push(state);
        }
        let runtime = filters.get("runtime").all(|r| r.is_empty() || r == "container")
            || filters.is("runtime", "container");
        let up_to_date = filters.has("_up-to-date");
        let labels = minke_model::Labels::default();
        let wanted = |view: &TaskView| {
            runtime
                && (services.is_empty() || services.contains(&view.task.service))
                && (nodes.is_empty() || view.task.node.as_ref().is_some_and(|node| nodes.contains(node)))
                && (states.is_empty() || states.contains(&view.task.desired))
                && filters.begins("id", view.task.id.as_str())
                && (!filters.has("name") || filters.begins("name", &view.name()))
                && filters.labelled("label", view.service.as_ref().map_or(&labels, |s| &s.spec.labels))
                && (!up_to_date || view.is_up_to_date())
        };
        Ok(every_task(&snapshot)?.into_iter().filter(wanted).collect())
    }
}

/// All tasks, by id.
fn every_task(snapshot: &Snapshot) -> Result<Vec<TaskView>> {
    TASKS.list(snapshot)?.into_iter().map(|(_, task)| TaskView::new(snapshot, task.value)).collect()
}
