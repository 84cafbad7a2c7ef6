//! A machine that starts, fails, lies and dies: what an agent's hands hold in the simulation.
//!
//! Its containers outlive its daemon, as real ones do. What it writes down of them ([`Life`]) is the truth that the
//! checks compare the store with.

use crate::{bugs::Bug, clock::MachineClock, random::Random};
use minke_cluster::{
    agent::{
        Executor, Exit, Known, Prepared, Started, StepError,
        executor::{Asked, Step},
    },
    assign::{AssignedTask, NodeState},
};
use minke_model::{
    TaskId,
    image::Platform,
    node::NodeDescription,
    task::{TaskState, TaskStatus},
};
use minke_store::Clock;
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{sync::watch, time::Instant};

/// How a machine behaves.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Habits {
    /// Once in so many preparations fails for good; 0 never.
    pub(crate) rejects: u64,
    /// Once in so many starts fails.
    pub(crate) fails: u64,
    /// Once in so many tasks ends by itself after a while.
    pub(crate) crashes: u64,
    /// Longest preparation, in milliseconds.
    pub(crate) slow_prepare: u64,
    /// Longest obedience to a stop, in milliseconds.
    pub(crate) slow_stop: u64,
}

impl Habits {
    /// One that does what it is told, soon.
    pub(crate) const GOOD: Habits =
        Habits { rejects: 0, fails: 0, crashes: 0, slow_prepare: 20, slow_stop: 20 };
}

/// One container's process, from start to end, in true time.
#[derive(Clone, Debug)]
pub(crate) struct Life {
    /// Of which task.
    pub(crate) task: Arc<AssignedTask>,
    /// On which machine, by number.
    pub(crate) machine: usize,
    /// When it started.
    pub(crate) from: Instant,
    /// When it ended; `None`: it runs.
    pub(crate) to: Option<Instant>,
    /// It ended because somebody asked, not by itself or with its machine.
    pub(crate) asked: bool,
}

/// All lives that ever were, of all machines.
#[derive(Clone, Default)]
pub(crate) struct Lives(Arc<Mutex<Vec<Life>>>);

impl Lives {
    /// As they are now.
    pub(crate) fn all(&self) -> Vec<Life> {
        lock(&self.0).clone()
    }

    fn begin(&self, life: Life) -> usize {
        let mut lives = lock(&self.0);
        lives.push(life);
        lives.len() - 1
    }

    fn end(&self, which: usize, asked: bool) {
        if let Some(life) = lock(&self.0).get_mut(which).filter(|life| life.to.is_none()) {
            life.to = Some(Instant::now());
            life.asked = asked;
        }
    }
}

/// A machine.
pub(crate) struct Machine {
    number: usize,
    description: NodeDescription,
    clock: Arc<MachineClock>,
    lives: Lives,
    bug: Option<Bug>,
    inner: Mutex<Inner>,
    /// What it was last told of the cluster.
    told: Mutex<Option<Arc<NodeState>>>,
    /// Counts changes, so that waits look again.
    changed: watch::Sender<u64>,
}

struct Inner {
    habits: Habits,
    random: Random,
    containers: BTreeMap<TaskId, Container>,
}

struct Container {
    task: Arc<AssignedTask>,
    /// Which life is its own; `None`: never started.
    life: Option<usize>,
    exit: Option<Exit>,
    /// Ends by itself at this time.
    crash: Option<Instant>,
    /// Its shim ends it at this time of the machine's boot clock.
    deadline: Option<Duration>,
}

impl Container {
    fn runs(&self) -> bool {
        self.life.is_some() && self.exit.is_none()
    }
}

impl Machine {
    /// Switched on, with nothing on it.
    pub(crate) fn new(
        number: usize,
        clock: Arc<MachineClock>,
        lives: Lives,
        habits: Habits,
        random: Random,
        bug: Option<Bug>,
    ) -> Arc<Self> {
        let description = NodeDescription {
            hostname: format!("node-{number}"),
            platform: Platform { os: "linux".into(), architecture: "amd64".into(), variant: String::new() },
            nano_cpus: 4_000_000_000,
            memory: 8 << 30,
            engine_version: "simulated".into(),
            mtu: 1500,
            ..NodeDescription::default()
        };
        let inner = Mutex::new(Inner { habits, random, containers: BTreeMap::new() });
        let (told, changed) = (Mutex::default(), watch::Sender::new(0));
        Arc::new(Machine { number, description, clock, lives, bug, inner, told, changed })
    }

    /// Ends containers whose time has come; runs as long as the machine has power, daemon or not.
    pub(crate) async fn shims(self: Arc<Self>) {
        let mut changed = self.changed.subscribe();
        loop {
            changed.borrow_and_update();
            let next = self.end_what_is_due();
            let timer = async {
                match next {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = timer => {}
                _ = changed.changed() => {}
            }
        }
    }

    /// What runs on it.
    pub(crate) fn running(&self) -> Vec<TaskId> {
        lock(&self.inner).containers.iter().filter(|(_, c)| c.runs()).map(|(id, _)| id.clone()).collect()
    }

    /// What its daemon was last told of the cluster.
    pub(crate) fn told(&self) -> Option<Arc<NodeState>> {
        lock(&self.told).clone()
    }

    /// The plug is pulled: everything stops, nothing is said.
    pub(crate) fn lose_power(&self) {
        self.change(|inner, lives| {
            for container in inner.containers.values_mut().filter(|c| c.runs()) {
                container.exit = Some(Exit { code: 137, cause: "its machine lost power".into() });
                lives.end(container.life.unwrap_or(usize::MAX), false);
            }
        });
    }

    /// From now on it behaves so.
    pub(crate) fn set_habits(&self, habits: Habits) {
        self.change(|inner, _| inner.habits = habits);
    }

    fn end_what_is_due(&self) -> Option<Instant> {
        let (now, boot) = (Instant::now(), self.boot_time());
        let mut inner = lock(&self.inner);
        let mut next: Option<Instant> = None;
        let mut ended = false;
        for container in inner.containers.values_mut().filter(|c| c.runs()) {
            let fenced = container.deadline.map(|deadline| now + deadline.saturating_sub(boot));
            let (at, exit) = match (container.crash, fenced) {
                (Some(crash), fenced) if fenced.is_none_or(|f| crash <= f) => {
                    (crash, Exit { code: code_of(&container.task), cause: String::new() })
                }
                (_, Some(fence)) => (fence, Exit { code: 137, cause: "its deadline passed".into() }),
                _ => continue,
            };
            if at <= now {
                container.exit = Some(exit);
                self.lives.end(container.life.unwrap_or(usize::MAX), false);
                ended = true;
            } else {
                next = Some(next.map_or(at, |n| n.min(at)));
            }
        }
        drop(inner);
        if ended {
            self.changed.send_modify(|n| *n += 1);
        }
        next
    }

    fn change<T>(&self, change: impl FnOnce(&mut Inner, &Lives) -> T) -> T {
        let out = change(&mut lock(&self.inner), &self.lives);
        self.changed.send_modify(|n| *n += 1);
        out
    }

    async fn until_ended(&self, task: &TaskId) -> Result<Exit, StepError> {
        let mut changed = self.changed.subscribe();
        loop {
            changed.borrow_and_update();
            match lock(&self.inner).containers.get(task) {
                None => return Err(StepError::Final("its container is gone".into())),
                Some(Container { exit: Some(exit), .. }) => return Ok(exit.clone()),
                Some(_) => {}
            }
            if changed.changed().await.is_err() {
                std::future::pending().await
            }
        }
    }
}

impl Executor for Machine {
    fn describe(&self) -> Asked<'_, NodeDescription> {
        Box::pin(async { self.description.clone() })
    }

    fn configure(&self, state: Arc<NodeState>) -> Step<'_, ()> {
        Box::pin(async move {
            *lock(&self.told) = Some(state);
            Ok(())
        })
    }

    fn prepare<'a>(&'a self, task: &'a AssignedTask) -> Step<'a, Prepared> {
        Box::pin(async move {
            let (pause, rejected) = {
                let mut inner = lock(&self.inner);
                let Habits { slow_prepare, rejects, .. } = inner.habits;
                (inner.random.millis(1, slow_prepare), rejects > 0 && inner.random.one_in(rejects))
            };
            tokio::time::sleep(pause).await;
            if rejected {
                return Err(StepError::Final("No such image".into()));
            }
            let id = task.task.id.clone();
            let container = format!("{:0<64}", id.as_str());
            self.change(|inner, _| {
                inner.containers.entry(id).or_insert_with(|| Container {
                    task: Arc::new(task.clone()),
                    life: None,
                    exit: None,
                    crash: None,
                    deadline: None,
                });
            });
            Ok(Prepared { container })
        })
    }

    fn start<'a>(&'a self, task: &'a AssignedTask) -> Step<'a, Started> {
        Box::pin(async move {
            let pause = lock(&self.inner).random.millis(1, 10);
            tokio::time::sleep(pause).await;
            self.change(|inner, lives| {
                let failed = inner.habits.fails > 0 && inner.random.one_in(inner.habits.fails);
                let crashes = inner.habits.crashes > 0 && inner.random.one_in(inner.habits.crashes);
                let works = task.task.job_iteration.is_some();
                let crash = (crashes || works).then(|| Instant::now() + inner.random.millis(1, 20_000));
                let Some(container) = inner.containers.get_mut(&task.task.id) else {
                    return Err(StepError::Final("its container is gone".into()));
                };
                if container.life.is_none() && failed {
                    return Err(StepError::Final("cannot start".into()));
                }
                if container.life.is_none() {
                    let task = container.task.clone();
                    let life =
                        Life { task, machine: self.number, from: Instant::now(), to: None, asked: false };
                    container.life = Some(lives.begin(life));
                    container.crash = crash;
                }
                let container = format!("{:0<64}", task.task.id.as_str());
                Ok(Started { container, pid: 1 + self.number as u32, ports: Vec::new() })
            })
        })
    }

    fn healthy<'a>(&'a self, _: &'a TaskId) -> Step<'a, ()> {
        Box::pin(async { Ok(()) })
    }

    fn wait<'a>(&'a self, task: &'a TaskId) -> Step<'a, Exit> {
        Box::pin(self.until_ended(task))
    }

    fn shutdown<'a>(&'a self, task: &'a TaskId, _: Option<Duration>) -> Step<'a, ()> {
        Box::pin(async move {
            let pause = {
                let mut inner = lock(&self.inner);
                let slow = inner.habits.slow_stop;
                inner.random.millis(1, slow)
            };
            tokio::time::sleep(pause).await;
            self.change(|inner, lives| {
                if self.bug == Some(Bug::DeafStop) && inner.random.one_in(10) {
                    return;
                }
                if let Some(container) = inner.containers.get_mut(task).filter(|c| c.runs()) {
                    container.exit = Some(Exit { code: 0, cause: String::new() });
                    lives.end(container.life.unwrap_or(usize::MAX), true);
                }
            });
            Ok(())
        })
    }

    fn remove<'a>(&'a self, task: &'a TaskId) -> Step<'a, ()> {
        Box::pin(async move {
            self.change(|inner, lives| {
                if let Some(life) = inner.containers.remove(task).filter(Container::runs).and_then(|c| c.life)
                {
                    lives.end(life, true);
                }
            });
            Ok(())
        })
    }

    fn known(&self) -> Asked<'_, Vec<Known>> {
        Box::pin(async {
            let at = self.clock.wall();
            if self.bug == Some(Bug::Forgetful) {
                return Vec::new();
            }
            let inner = lock(&self.inner);
            let known = inner.containers.iter().map(|(id, container)| {
                let mut status = TaskStatus::accepted(at);
                status.container = Some(format!("{:0<64}", id.as_str()));
                status.state = match (container.life, &container.exit) {
                    (None, _) => TaskState::Ready,
                    (Some(_), None) => TaskState::Running,
                    (Some(_), Some(exit)) if exit.code == 0 => TaskState::Complete,
                    (Some(_), Some(_)) => TaskState::Failed,
                };
                status.exit_code = container.exit.as_ref().map(|exit| exit.code);
                Known { task: id.clone(), status }
            });
            known.collect()
        })
    }

    fn boot_time(&self) -> Duration {
        self.clock.now().since_start()
    }

    fn run_until<'a>(&'a self, tasks: &'a [TaskId], deadline: Duration) -> Step<'a, ()> {
        Box::pin(async move {
            let late = if self.bug == Some(Bug::LateFence) { Duration::from_secs(3) } else { Duration::ZERO };
            let deadline = deadline + late;
            self.change(|inner, _| {
                for id in tasks {
                    if let Some(container) = inner.containers.get_mut(id) {
                        container.deadline =
                            Some(container.deadline.map_or(deadline, |known| known.max(deadline)));
                    }
                }
            });
            Ok(())
        })
    }
}

/// With what it ends by itself: a job's work is done, a service's should not end.
fn code_of(task: &AssignedTask) -> i32 {
    if task.task.job_iteration.is_some() { 0 } else { 1 }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
