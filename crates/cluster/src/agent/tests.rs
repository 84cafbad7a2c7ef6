//! One node against a machine that does as the story says.

use super::*;
use crate::assign::{AssignedTask, Assignment, NodeState};
use executor::{Asked, Step};
use minke_model::{
    Labels, NetworkId, SecretId, ServiceId,
    node::NodeDescription,
    object::Meta,
    secret::LARGEST_SECRET,
    service::{FileRef, TaskSpec},
    task::{Attachment, Slot, Task},
};
use std::sync::{Mutex, MutexGuard};

/// Longest that a story waits for what must come.
const PATIENCE: Duration = Duration::from_secs(30);

fn task(n: u128) -> TaskId {
    TaskId::from_bits(n << 8)
}

fn assigned(n: u128, desired: TaskState) -> AssignedTask {
    let now = Timestamp::from_nanos(0);
    AssignedTask {
        task: Task {
            id: task(n),
            meta: Meta::new(now),
            service: ServiceId::from_bits(8),
            template: 1,
            slot: Slot::Number(n as u64),
            node: Some(ClusterNodeId::from_bits(8)),
            state: TaskState::Assigned,
            desired,
            since: now,
            message: String::new(),
            attachments: Vec::new(),
            generic: Vec::new(),
            job_iteration: None,
            not_before: None,
            replaces: None,
            restarts: 0,
            cause: Default::default(),
        },
        spec: Arc::new(TaskSpec::default()),
        service_name: "web".into(),
        service_labels: Labels::default(),
        host_ports: Vec::new(),
        networks: BTreeMap::new(),
        registry: None,
        fenced: false,
    }
}

fn told(tasks: Vec<AssignedTask>) -> Assignment {
    Assignment {
        session: 0,
        tasks: tasks.into_iter().map(|t| (t.task.id.clone(), Arc::new(t))).collect(),
        reported: BTreeMap::new(),
        state: Arc::new(NodeState::of(ClusterNodeId::from_bits(8))),
    }
}

#[derive(Default)]
struct World {
    calls: Vec<String>,
    running: BTreeMap<TaskId, i32>,
    exits: BTreeMap<TaskId, Exit>,
    known: Vec<Known>,
    refuse: BTreeMap<TaskId, String>,
    reports: Vec<(TaskId, TaskStatus)>,
    deaf: bool,
    boot: Duration,
    deadlines: BTreeMap<TaskId, Duration>,
}

/// A machine, and the cluster that hears of it.
struct Machine {
    world: Mutex<World>,
    changed: watch::Sender<u64>,
}

impl Machine {
    fn new() -> Arc<Self> {
        Arc::new(Machine { world: Mutex::default(), changed: watch::Sender::new(0) })
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(|e| e.into_inner())
    }

    fn change<T>(&self, change: impl FnOnce(&mut World) -> T) -> T {
        let out = change(&mut self.world());
        self.changed.send_modify(|n| *n += 1);
        out
    }

    fn did(&self, what: &str, id: &TaskId) {
        self.change(|w| w.calls.push(format!("{what} {}", number(id))));
    }

    async fn until<T>(&self, what: &str, look: impl Fn(&World) -> Option<T>) -> T {
        let mut changed = self.changed.subscribe();
        let wait = async {
            loop {
                changed.borrow_and_update();
                let seen = look(&self.world());
                if let Some(out) = seen {
                    return out;
                }
                changed.changed().await.expect("the machine lives");
            }
        };
        match tokio::time::timeout(PATIENCE, wait).await {
            Ok(out) => out,
            Err(_) => panic!("{what} never came; so far: {:?}", self.world().calls),
        }
    }

    async fn reported(&self, n: u128, state: TaskState) -> TaskStatus {
        let id = task(n);
        self.until(&format!("task {n} {state:?}"), |w| {
            w.reports.iter().find(|(t, s)| *t == id && s.state == state).map(|(_, s)| s.clone())
        })
        .await
    }

    fn calls(&self) -> Vec<String> {
        self.world().calls.clone()
    }
}

fn number(id: &TaskId) -> u128 {
    (1..100).find(|n| task(*n) == *id).unwrap_or(0)
}

impl Executor for Machine {
    fn describe(&self) -> Asked<'_, NodeDescription> {
        Box::pin(async { NodeDescription::default() })
    }
    fn configure(&self, _: Arc<NodeState>) -> Step<'_, ()> {
        Box::pin(async { Ok(()) })
    }
    fn prepare<'a>(&'a self, t: &'a AssignedTask) -> Step<'a, Prepared> {
        Box::pin(async {
            self.did("prepare", &t.task.id);
            match self.world().refuse.get(&t.task.id) {
                Some(why) => Err(StepError::Final(why.clone())),
                None => Ok(Prepared { container: format!("c{}", number(&t.task.id)) }),
            }
        })
    }
    fn start<'a>(&'a self, t: &'a AssignedTask) -> Step<'a, Started> {
        Box::pin(async {
            let id = &t.task.id;
            self.did("start", id);
            let twice = self.change(|w| w.running.insert(id.clone(), 1).is_some());
            assert!(!twice, "task {} runs twice", number(id));
            Ok(Started { container: format!("c{}", number(id)), pid: 7, ports: Vec::new() })
        })
    }
    fn healthy<'a>(&'a self, _: &'a TaskId) -> Step<'a, ()> {
        Box::pin(async { Ok(()) })
    }
    fn wait<'a>(&'a self, id: &'a TaskId) -> Step<'a, Exit> {
        Box::pin(async move {
            let mut changed = self.changed.subscribe();
            loop {
                changed.borrow_and_update();
                let exit = self.world().exits.get(id).cloned();
                if let Some(exit) = exit {
                    self.world().running.remove(id);
                    return Ok(exit);
                }
                let _ = changed.changed().await;
            }
        })
    }
    fn shutdown<'a>(&'a self, id: &'a TaskId, _: Option<Duration>) -> Step<'a, ()> {
        Box::pin(async {
            self.did("shutdown", id);
            self.change(|w| w.running.remove(id));
            Ok(())
        })
    }
    fn remove<'a>(&'a self, id: &'a TaskId) -> Step<'a, ()> {
        Box::pin(async {
            self.did("remove", id);
            self.change(|w| w.running.remove(id));
            Ok(())
        })
    }
    fn known(&self) -> Asked<'_, Vec<Known>> {
        Box::pin(async { self.world().known.clone() })
    }
    fn boot_time(&self) -> Duration {
        self.world().boot
    }
    fn run_until<'a>(&'a self, tasks: &'a [TaskId], deadline: Duration) -> Step<'a, ()> {
        Box::pin(async move {
            self.change(|w| w.deadlines.extend(tasks.iter().map(|t| (t.clone(), deadline))));
            Ok(())
        })
    }
}

impl Report for Machine {
    fn report(&self, batch: Vec<(TaskId, TaskStatus)>) -> Reported<'_> {
        Box::pin(async {
            if self.world().deaf {
                return Err("nobody listens".into());
            }
            self.change(|w| w.reports.extend(batch));
            Ok(())
        })
    }
}

struct Story {
    machine: Arc<Machine>,
    tell: Option<watch::Sender<Option<Arc<Assignment>>>>,
    fence: Fence,
    agent: tokio::task::JoinHandle<()>,
}

fn begin(machine: Arc<Machine>) -> Story {
    let (tell, hears) = watch::channel(None);
    let fence = Fence::default();
    let parts = Parts {
        node: ClusterNodeId::from_bits(8),
        executor: machine.clone(),
        clock: Arc::new(|| Timestamp::from_nanos(1)),
        told: hears,
        report: machine.clone(),
        fence: fence.clone(),
    };
    Story { machine, tell: Some(tell), fence, agent: tokio::spawn(Agent::run(parts)) }
}

impl Story {
    fn tell(&self, assignment: Assignment) {
        self.tell.as_ref().expect("not ended").send_replace(Some(Arc::new(assignment)));
    }

    /// The daemon's end: nothing that runs is touched.
    async fn end(mut self) -> Arc<Machine> {
        self.tell = None;
        self.agent.await.expect("the agent ends");
        self.machine
    }
}

#[tokio::test(start_paused = true)]
async fn a_task_runs_ends_and_is_told_of_at_each_step() {
    let story = begin(Machine::new());
    story.tell(told(vec![assigned(1, TaskState::Running)]));
    let running = story.machine.reported(1, TaskState::Running).await;
    assert_eq!(
        (running.message.as_str(), running.container.as_deref(), running.pid),
        ("started", Some("c1"), 7)
    );
    story.machine.change(|w| w.exits.insert(task(1), Exit { code: 1, cause: String::new() }));
    let failed = story.machine.reported(1, TaskState::Failed).await;
    assert_eq!((failed.error.as_str(), failed.exit_code), ("task: non-zero exit (1)", Some(1)));
    assert_eq!(failed.message, "started", "what it last did");
    let machine = story.end().await;
    assert_eq!(machine.calls(), ["prepare 1", "start 1"]);
    let states: Vec<_> = machine.world().reports.iter().map(|(_, s)| s.state).collect();
    assert!(states.is_sorted(), "{states:?}");
}

#[tokio::test(start_paused = true)]
async fn a_task_waits_in_ready_until_it_is_released_and_ends_when_told() {
    let story = begin(Machine::new());
    story.tell(told(vec![assigned(1, TaskState::Ready)]));
    story.machine.reported(1, TaskState::Ready).await;
    story.tell(told(vec![assigned(1, TaskState::Running)]));
    story.machine.reported(1, TaskState::Running).await;
    story.tell(told(vec![assigned(1, TaskState::Shutdown)]));
    let ended = story.machine.reported(1, TaskState::Shutdown).await;
    assert_eq!((ended.message.as_str(), ended.pid), ("shutdown", 0));
    story.tell(told(vec![assigned(1, TaskState::Remove)]));
    story.machine.until("removed", |w| w.calls.contains(&"remove 1".to_owned()).then_some(())).await;
    let machine = story.end().await;
    assert_eq!(machine.calls(), ["prepare 1", "start 1", "shutdown 1", "remove 1"]);
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_made_is_rejected_with_the_machines_words() {
    let machine = Machine::new();
    machine.change(|w| w.refuse.insert(task(1), "No such image: web:none".into()));
    let story = begin(machine);
    story.tell(told(vec![assigned(1, TaskState::Running)]));
    let rejected = story.machine.reported(1, TaskState::Rejected).await;
    assert_eq!(
        (rejected.error.as_str(), rejected.message.as_str()),
        ("No such image: web:none", "preparing")
    );
}

#[tokio::test(start_paused = true)]
async fn after_a_restart_of_the_daemon_nothing_runs_twice_and_what_is_unknown_ends_first() {
    let story = begin(Machine::new());
    story.tell(told(vec![assigned(1, TaskState::Running), assigned(2, TaskState::Running)]));
    story.machine.reported(1, TaskState::Running).await;
    story.machine.reported(2, TaskState::Running).await;
    let machine = story.end().await;
    let status = |n| {
        let mut status = TaskStatus::accepted(Timestamp::from_nanos(1));
        status.state = TaskState::Running;
        Known { task: task(n), status }
    };
    machine.change(|w| {
        w.known = vec![status(1), status(2)];
        w.calls.clear();
    });

    let story = begin(machine);
    story.tell(told(vec![assigned(2, TaskState::Running), assigned(3, TaskState::Running)]));
    story.machine.reported(3, TaskState::Running).await;
    let calls = story.machine.calls();
    let at = |what: &str| calls.iter().position(|c| c == what).unwrap_or_else(|| panic!("{what}: {calls:?}"));
    assert!(at("shutdown 1") < at("start 3"), "{calls:?}");
    assert!(!calls.iter().any(|c| c.ends_with(" 2")), "{calls:?}");
    story.machine.until("1 is gone", |w| w.calls.contains(&"remove 1".to_owned()).then_some(())).await;
}

#[tokio::test(start_paused = true)]
async fn a_container_that_went_while_the_daemon_was_down_is_a_failure() {
    let story = begin(Machine::new());
    let mut assignment = told(vec![assigned(1, TaskState::Running)]);
    let mut said = TaskStatus::accepted(Timestamp::from_nanos(1));
    said.state = TaskState::Running;
    assignment.reported.insert(task(1), said);
    story.tell(assignment);
    let failed = story.machine.reported(1, TaskState::Failed).await;
    assert_eq!(failed.error, "its container is gone");
    assert!(story.machine.calls().is_empty());
}

#[tokio::test(start_paused = true)]
async fn while_nobody_listens_the_newest_report_of_each_task_waits() {
    let machine = Machine::new();
    machine.change(|w| w.deaf = true);
    let story = begin(machine);
    story.tell(told(vec![assigned(1, TaskState::Running)]));
    story.machine.until("it runs", |w| w.running.contains_key(&task(1)).then_some(())).await;
    story.machine.change(|w| w.exits.insert(task(1), Exit { code: 0, cause: String::new() }));
    tokio::time::sleep(Duration::from_secs(20)).await;
    story.machine.change(|w| w.deaf = false);
    story.machine.reported(1, TaskState::Complete).await;
    assert_eq!(story.machine.world().reports.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_fenced_task_starts_only_while_the_fence_holds_and_is_pushed_on_with_each_beat() {
    let story = begin(Machine::new());
    let mut fenced = assigned(1, TaskState::Running);
    fenced.fenced = true;
    story.tell(told(vec![fenced]));
    story.machine.reported(1, TaskState::Ready).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(story.machine.calls(), ["prepare 1"]);
    let boot = Duration::from_secs(100);
    story.machine.change(|w| w.boot = boot);
    story.fence.acknowledged(boot, 0);
    story.machine.reported(1, TaskState::Running).await;
    story.fence.acknowledged(boot + Duration::from_secs(1), 0);
    let until = |w: &World| w.deadlines.get(&task(1)).copied();
    let pushed = boot + Duration::from_secs(1) + fence::FENCE;
    story.machine.until("pushed on", |w| (until(w) == Some(pushed)).then_some(())).await;
    story.fence.acknowledged(boot, 0);
    assert_eq!(story.fence.deadline(), Some(pushed), "it never moves back");
}

#[test]
fn a_task_is_made_only_once_its_networks_and_secrets_are_here() {
    let mut wish = assigned(1, TaskState::Running);
    let secret = SecretId::from_bits(80);
    let network = NetworkId::random();
    let mut spec = TaskSpec::default();
    spec.container.secrets.push(FileRef { id: secret.clone(), name: "s".into(), file: None });
    wish.spec = Arc::new(spec);
    wish.task.attachments.push(Attachment { network, addresses: Vec::new(), aliases: Vec::new() });
    let assignment = told(vec![wish]);
    let mine = BTreeMap::from([(task(1), Mine::new(TaskStatus::accepted(Timestamp::from_nanos(0))))]);
    assert_eq!(plan::plan(&assignment, &mine, &assignment.state, true), plan::Plan::default());

    let mut state = NodeState::of(ClusterNodeId::from_bits(8));
    let data = crate::assign::FileData {
        name: "s".into(),
        templating: String::new(),
        data: vec![0; LARGEST_SECRET],
    };
    state.secrets.insert(secret, Arc::new(data));
    assert!(plan::plan(&assignment, &mine, &state, true).steps.is_empty(), "its network is missing");
}

#[test]
fn no_more_tasks_are_started_at_a_time_than_the_bound() {
    let assignment = told((1..40).map(|n| assigned(n, TaskState::Running)).collect());
    let mine =
        (1..40).map(|n| (task(n), Mine::new(TaskStatus::accepted(Timestamp::from_nanos(0))))).collect();
    assert_eq!(plan::plan(&assignment, &mine, &assignment.state, true).steps.len(), plan::MOST_STARTS);
}
