//! A node's own loop: makes what runs on this machine into what the cluster told it.
//!
//! It looks again whenever something changed: it was told something new, or a step ended. What to do is [`plan`]'s to
//! say, one step of one task is [`controller`]'s, the hands are an [`Executor`]. What becomes of tasks is told through
//! [`report`]. Losing all managers changes nothing: what was told last stays in force.
//!
//! Never: talks to a network, or knows what a container is.

pub mod controller;
pub mod executor;
pub mod fence;
pub mod follow;
pub mod plan;
pub mod report;

#[cfg(test)]
mod tests;

pub use executor::{Executor, Exit, Known, Prepared, Started, StepError};
pub use report::{Report, Reported};

use crate::assign::{AssignedTask, Assignment, NodeState};
use controller::Outcome;
use fence::Fence;
use minke_model::{
    ClusterNodeId, TaskId, Timestamp,
    task::{TaskState, TaskStatus},
};
use plan::{Action, Mine};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};
use tokio::{
    sync::watch,
    task::{AbortHandle, JoinSet},
    time::Instant,
};

/// How long after a failure the node-wide state is made again.
const CONFIGURE_AGAIN: Duration = Duration::from_secs(5);

/// How long a task that takes traffic runs on once it should stop: other nodes hear of it meanwhile, and send nothing new.
const TRAFFIC_LEAVES: Duration = Duration::from_millis(300);

/// Tells the time of day: the simulation's is its own.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// One node's loop.
pub struct Agent {
    node: ClusterNodeId,
    executor: Arc<dyn Executor>,
    clock: Clock,
    told: watch::Receiver<Option<Arc<Assignment>>>,
    fence: Fence,
    reports: report::Reporter,
    mine: BTreeMap<TaskId, Mine>,
    /// Found on this machine at the start, and not compared yet with what was said of them.
    found: BTreeSet<TaskId>,
    steps: JoinSet<(TaskId, Action, Outcome)>,
    waiting: BTreeMap<TaskId, AbortHandle>,
    configured: Arc<NodeState>,
    configuring: JoinSet<(Arc<NodeState>, Result<(), StepError>)>,
    configure_again: Option<Instant>,
}

/// What an agent is made of.
pub struct Parts {
    /// Whose it is.
    pub node: ClusterNodeId,
    /// Its hands.
    pub executor: Arc<dyn Executor>,
    /// The time of day, for people.
    pub clock: Clock,
    /// What the cluster tells; `None`: nothing yet. Its sender's end is the agent's.
    pub told: watch::Receiver<Option<Arc<Assignment>>>,
    /// Where reports go.
    pub report: Arc<dyn Report>,
    /// Until when fenced tasks may run.
    pub fence: Fence,
}

impl Agent {
    /// Runs until whoever tells is gone. Tasks run on.
    pub async fn run(parts: Parts) {
        let configured = Arc::new(NodeState::of(parts.node.clone()));
        let mut agent = Agent {
            node: parts.node,
            executor: parts.executor,
            clock: parts.clock,
            told: parts.told,
            fence: parts.fence,
            reports: report::Reporter::new(parts.report),
            mine: BTreeMap::new(),
            found: BTreeSet::new(),
            steps: JoinSet::new(),
            waiting: BTreeMap::new(),
            configured,
            configuring: JoinSet::new(),
            configure_again: None,
        };
        agent.resume().await;
        while agent.turn().await {}
        agent.reports.flush().await;
    }

    /// Finds what this machine has from before.
    async fn resume(&mut self) {
        for known in self.executor.known().await {
            let state = known.status.state;
            let mut mine = Mine::new(known.status);
            mine.present = true;
            mine.live = state >= TaskState::Starting;
            self.found.insert(known.task.clone());
            self.mine.insert(known.task, mine);
        }
    }

    /// Looks, acts, and waits for the next change; `false` at the end.
    async fn turn(&mut self) -> bool {
        let told = self.told.borrow_and_update().clone();
        if let Some(told) = told {
            self.take(&told);
            self.configure(&told.state);
            self.act(&told);
        }
        let again = self.configure_again;
        tokio::select! {
            biased;
            // News may come without a pause, and must not keep deadlines from being pushed on.
            () = self.fence.changed() => self.push_deadlines().await,
            Some(done) = self.steps.join_next() => {
                // One that was dropped has said what it had to.
                if let Ok((task, action, outcome)) = done {
                    self.ended(&task, action, outcome);
                }
            }
            Some(done) = self.configuring.join_next() => self.is_configured(done),
            () = self.reports.next() => {}
            changed = self.told.changed() => return changed.is_ok(),
            () = tokio::time::sleep_until(again.unwrap_or_else(Instant::now)), if again.is_some() => {
                self.configure_again = None;
            }
        }
        true
    }

    /// Takes what is new, and what was said of it before.
    fn take(&mut self, told: &Assignment) {
        for (id, task) in &told.tasks {
            let said = told.reported.get(id);
            if let Some(mine) = self.mine.get_mut(id) {
                // Told of before the daemon's restart, it stays so: since when it runs, or that it has ended.
                if let Some(said) = said.filter(|said| said.state > mine.status.state) {
                    let (container, pid) = (mine.status.container.take(), mine.status.pid);
                    mine.status = said.clone();
                    if !said.state.is_terminal() {
                        (mine.status.container, mine.status.pid) = (container, pid);
                    }
                } else if self.found.remove(id) && said.is_none_or(|said| said.state < mine.status.state) {
                    // It came further while no daemon was there to tell.
                    self.reports.tell(id.clone(), mine.status.clone());
                }
                continue;
            }
            let mut status = said.cloned().unwrap_or_else(|| TaskStatus::accepted((self.clock)()));
            if (TaskState::Starting..=TaskState::Running).contains(&status.state) {
                status.state = TaskState::Failed;
                status.at = (self.clock)();
                status.pid = 0;
                status.error = "its container is gone".into();
            }
            // Of one that should end, too: that its container is gone is what the cluster waits for.
            if said != Some(&status)
                && (task.task.desired < TaskState::Shutdown || status.state.is_terminal())
            {
                self.reports.tell(id.clone(), status.clone());
            }
            self.mine.insert(id.clone(), Mine::new(status));
        }
    }

    /// Makes the node-wide state what was told, one at a time.
    fn configure(&mut self, state: &Arc<NodeState>) {
        let same = Arc::ptr_eq(state, &self.configured) || *state == self.configured;
        if same && self.configure_again.is_none() || !self.configuring.is_empty() {
            return;
        }
        if self.configure_again.is_some_and(|at| same && at > Instant::now()) {
            return;
        }
        self.configure_again = None;
        let (executor, state) = (self.executor.clone(), state.clone());
        self.configuring.spawn(async move {
            let done = executor.configure(state.clone()).await;
            (state, done)
        });
    }

    fn is_configured(
        &mut self,
        done: Result<(Arc<NodeState>, Result<(), StepError>), tokio::task::JoinError>,
    ) {
        let Ok((state, done)) = done else { return };
        if let Err(error) = done {
            tracing::error!("the cluster's networks could not all be made here: {error}");
            self.configure_again = Some(Instant::now() + CONFIGURE_AGAIN);
        }
        self.configured = state;
    }

    fn act(&mut self, told: &Assignment) {
        let fences_hold = self.fence.holds(self.executor.boot_time(), told.session);
        let plan = plan::plan(told, &self.mine, &self.configured, fences_hold);
        for task in plan.never_ran {
            if let Some(mine) = self.mine.get_mut(&task) {
                controller::ended(mine, Action::Shutdown, Outcome::Stopped, (self.clock)());
                self.reports.tell(task, mine.status.clone());
            }
        }
        for task in plan.forget {
            self.mine.remove(&task);
            self.reports.forget(&task);
        }
        for next in plan.steps {
            tracing::debug!("{next}");
            let assigned = told.tasks.get(&next.task).cloned();
            self.begin(next.task, next.action, assigned);
        }
    }

    fn begin(&mut self, task: TaskId, action: Action, assigned: Option<Arc<AssignedTask>>) {
        let Some(mine) = self.mine.get_mut(&task) else { return };
        // What is under way gives way: a wait, or a pull.
        if let Some(before) = self.waiting.remove(&task) {
            before.abort();
        }
        let before = mine.status.state;
        controller::began(mine, action, (self.clock)());
        if mine.status.state != before {
            self.reports.tell(task.clone(), mine.status.clone());
        }
        let executor = self.executor.clone();
        let fence = self.fence.clone();
        let id = task.clone();
        let takes_traffic = assigned.as_ref().is_some_and(|assigned| !assigned.task.attachments.is_empty());
        let linger = action == Action::Shutdown && takes_traffic;
        let handle = self.steps.spawn(async move {
            if linger {
                tokio::time::sleep(TRAFFIC_LEAVES).await;
            }
            if action == Action::Start
                && let Some(deadline) = assigned.as_ref().filter(|a| a.fenced).and_then(|_| fence.deadline())
                && let Err(error) = executor.run_until(std::slice::from_ref(&task), deadline).await
            {
                return (task, action, Outcome::Failed(error));
            }
            let outcome = controller::step(&*executor, action, &task, assigned.as_ref()).await;
            (task, action, outcome)
        });
        self.waiting.insert(id, handle);
    }

    fn ended(&mut self, task: &TaskId, action: Action, outcome: Outcome) {
        let Some(mine) = self.mine.get_mut(task) else { return };
        // A step that ended in the moment that another took its place.
        if mine.busy != Some(action) {
            return;
        }
        self.waiting.remove(task);
        let before = mine.status.clone();
        controller::ended(mine, action, outcome, (self.clock)());
        if mine.status != before {
            self.reports.tell(task.clone(), mine.status.clone());
        }
    }

    /// A manager has heard this node: fenced tasks may run on.
    async fn push_deadlines(&mut self) {
        let Some(deadline) = self.fence.deadline() else { return };
        let told = self.told.borrow().clone();
        let fenced = |id: &TaskId| told.as_ref().is_some_and(|t| t.tasks.get(id).is_some_and(|t| t.fenced));
        let live: Vec<TaskId> =
            self.mine.iter().filter(|(id, m)| m.live && fenced(id)).map(|(id, _)| id.clone()).collect();
        if live.is_empty() {
            return;
        }
        if let Err(error) = self.executor.run_until(&live, deadline).await {
            tracing::warn!(
                "node {}: {} fenced tasks could not be let run on: {error}",
                self.node,
                live.len()
            );
        }
    }
}
