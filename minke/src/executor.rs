//! Carries out a cluster's tasks on this machine's engine: the one place where the two worlds meet.
//!
//! A task is a container with Swarm's name and labels; by its label it is found again, also after a restart of the
//! daemon. Never decides what runs: the agent does. Start at [`Hands`].

mod files;
mod image;
mod spec;

use files::Files;
use minke_cluster::{
    agent::{
        Executor, Exit, Known, Prepared, Started, StepError,
        executor::{Asked, Images, Step},
    },
    assign::{AssignedTask, NodeState},
    template::Context,
};
use minke_engine::{
    Engine, Error, Filters,
    container::{CreateContainer, RemoveOptions, StopOptions, WaitCondition},
};
use minke_model::{
    Container, ContainerState, TaskId, Timestamp,
    container::ContainerStatus,
    health::HealthState,
    image::Platform,
    node::NodeDescription,
    service::{GenericResource, PortSpec, PublishMode},
    task::{TaskState, TaskStatus},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError, RwLock},
    time::Duration,
};

/// The label by which a task's container is found.
pub(crate) const TASK_LABEL: &str = "com.docker.swarm.task.id";
/// What Swarm says of a container that its probes found ill.
const UNHEALTHY: &str = "dockerexec: unhealthy container";

/// This machine's hands. Clones are the same.
#[derive(Clone)]
pub(crate) struct Hands(Arc<Inner>);

struct Inner {
    engine: Engine,
    files: Files,
    about: About,
    state: RwLock<Option<Arc<NodeState>>>,
    pulls: image::Pulls,
    /// One step at a time for each task that is made, stopped or removed.
    steps: Mutex<BTreeMap<TaskId, Arc<tokio::sync::Mutex<()>>>>,
}

/// What this machine says of itself.
#[derive(Clone, Debug, Default)]
pub(crate) struct About {
    /// Host name, or `--node-name`.
    pub(crate) hostname: String,
    /// `--node-generic-resource`.
    pub(crate) generic: Vec<GenericResource>,
}

impl Hands {
    /// Of `engine`. What tasks must not leave on a disk lies in memory under `exec_root`.
    pub(crate) fn new(engine: Engine, exec_root: PathBuf, about: About) -> Self {
        Hands(Arc::new(Inner {
            engine,
            files: Files::new(exec_root.join("tasks")),
            about,
            state: RwLock::default(),
            pulls: image::Pulls::default(),
            steps: Mutex::default(),
        }))
    }

    fn hostname(&self) -> String {
        match self.0.about.hostname.as_str() {
            "" => self.0.engine.machine.info().name,
            name => name.to_owned(),
        }
    }

    fn platform(&self) -> Platform {
        Platform {
            os: "linux".into(),
            architecture: self.0.engine.machine.info().architecture,
            ..Platform::default()
        }
    }

    /// The container of a task.
    fn find(&self, task: &TaskId) -> Option<Arc<Container>> {
        let mut all = self.0.engine.containers.all().into_iter();
        all.find(|container| container.spec.labels.get(TASK_LABEL).is_some_and(|id| id == task.as_str()))
    }

    fn found(&self, task: &TaskId) -> Result<Arc<Container>, StepError> {
        self.find(task).ok_or_else(|| StepError::Final(format!("the container of task {task} is gone")))
    }

    /// Runs a step of `task` alone, and to its end: also when nobody waits for it any more.
    async fn alone<T: Send + 'static>(
        &self,
        task: &TaskId,
        step: impl Future<Output = Result<T, StepError>> + Send + 'static,
    ) -> Result<T, StepError> {
        let lock = {
            let mut steps = self.0.steps.lock().unwrap_or_else(PoisonError::into_inner);
            steps.retain(|_, lock| Arc::strong_count(lock) > 1);
            steps.entry(task.clone()).or_default().clone()
        };
        let held = lock.lock_owned().await;
        let run = tokio::spawn(async move {
            let done = step.await;
            drop(held);
            done
        });
        run.await
            .unwrap_or_else(|error| Err(StepError::Final(format!("a step of a task broke off: {error}"))))
    }

    async fn make(&self, task: AssignedTask) -> Result<Prepared, StepError> {
        let id = &task.task.id;
        if let Some(container) = self.find(id) {
            return Ok(Prepared { container: container.id.to_string() });
        }
        let state = self.0.state.read().unwrap_or_else(PoisonError::into_inner).clone();
        let node = state.as_ref().map(|state| state.node.clone()).or(task.task.node.clone());
        let Some(node) = node else { return Err(StepError::Final("this node is in no cluster".into())) };
        let (hostname, platform) = (self.hostname(), self.platform());
        let context = Context::of(&task, &node, &hostname, &platform);
        let mut spec = spec::container(&task, &node, &context).map_err(StepError::Final)?;
        if let Some(state) = &state {
            let context = context.with_files(&task, &spec.process.env, state);
            let files = files::of(&task, state, &context).map_err(StepError::Final)?;
            let (place, id) = (self.0.files.clone(), id.clone());
            let mounts = tokio::task::spawn_blocking(move || place.write(&id, files)).await;
            let mounts = mounts.map_err(|e| StepError::Final(e.to_string()))?;
            spec.mounts.extend(mounts.map_err(|e| StepError::Final(e.to_string()))?);
        }
        let name = task.container_name();
        let created =
            self.0.engine.containers.create(CreateContainer { name: Some(name.clone()), spec }).await;
        match created {
            Ok(created) => Ok(Prepared { container: created.id.to_string() }),
            Err(error) => {
                self.forget_files(id).await;
                Err(step_error(&error))
            }
        }
    }

    async fn run(&self, task: AssignedTask) -> Result<Started, StepError> {
        let container = self.found(&task.task.id)?;
        let never = container.status.started.is_zero() && !container.status.state.is_up();
        if never {
            match self.0.engine.containers.start(container.id.as_str()).await {
                Ok(()) | Err(Error::NotModified(_)) => {}
                Err(error) => return Err(step_error(&error)),
            }
        }
        let container = self.found(&task.task.id)?;
        Ok(Started {
            container: container.id.to_string(),
            pid: u32::try_from(container.status.pid).unwrap_or_default(),
            ports: host_ports(&container.status, &task.host_ports),
        })
    }

    async fn await_health(&self, task: &TaskId) -> Result<(), StepError> {
        let container = self.found(task)?;
        let mut told = self.health_of(&container);
        loop {
            let container = self.found(task)?;
            let health = container.status.health.as_ref().map_or(HealthState::None, |health| health.state);
            match health {
                // Its end is for `wait` to tell.
                _ if !container.status.state.is_up() => return Ok(()),
                HealthState::None | HealthState::Healthy => return Ok(()),
                HealthState::Unhealthy => return Err(StepError::Final(UNHEALTHY.into())),
                HealthState::Starting => {}
            }
            if told.next().await.is_none() {
                return Err(StepError::Final("the daemon ends".into()));
            }
        }
    }

    async fn await_end(&self, task: &TaskId) -> Result<Exit, StepError> {
        let container = self.found(task)?;
        let id = container.id.to_string();
        let mut told = self.health_of(&container);
        let end = self
            .0
            .engine
            .containers
            .wait(&id, WaitCondition::NotRunning)
            .await
            .map_err(|e| step_error(&e))?;
        let mut end = Box::pin(end);
        let ill = |container: &Container| {
            let health = container.status.health.as_ref();
            container.status.state.is_up()
                && health.is_some_and(|health| health.state == HealthState::Unhealthy)
        };
        let mut cause = String::new();
        loop {
            if self.find(task).is_some_and(|container| ill(&container)) {
                cause = UNHEALTHY.to_owned();
                let stopped = self.0.engine.containers.stop(&id, StopOptions::default()).await;
                stopped.map_err(|e| step_error(&e))?;
                break;
            }
            tokio::select! {
                _ = &mut end => break,
                Some(_) = told.next() => {}
            }
        }
        self.forget_files(task).await;
        let status = match self.find(task) {
            Some(container) => container.status.clone(),
            None => return Err(StepError::Final(format!("No such container: {id}"))),
        };
        if cause.is_empty() {
            cause = status.error;
        }
        Ok(Exit { code: status.exit_code, cause })
    }

    /// News of a container's health and life.
    fn health_of(&self, container: &Container) -> minke_engine::events::EventStream {
        let one = |text: &str| BTreeSet::from([text.to_owned()]);
        let filters = Filters::from(BTreeMap::from([
            ("container".to_owned(), one(container.id.as_str())),
            (
                "event".to_owned(),
                BTreeSet::from(["health_status".to_owned(), "die".to_owned(), "destroy".to_owned()]),
            ),
        ]));
        self.0.engine.events.subscribe(None, None, filters)
    }

    async fn stop(&self, task: TaskId, grace: Option<Duration>) -> Result<(), StepError> {
        if let Some(container) = self.find(&task) {
            let options = StopOptions { signal: None, timeout: grace.map(spec::seconds) };
            match self.0.engine.containers.stop(container.id.as_str(), options).await {
                Ok(_) | Err(Error::NoSuchContainer(_)) => {}
                Err(error) => return Err(step_error(&error)),
            }
        }
        self.forget_files(&task).await;
        Ok(())
    }

    async fn take_away(&self, task: TaskId) -> Result<(), StepError> {
        if let Some(container) = self.find(&task) {
            let options = RemoveOptions { force: true, volumes: true, link: false };
            match self.0.engine.containers.remove(container.id.as_str(), options).await {
                Ok(()) | Err(Error::NoSuchContainer(_)) => {}
                Err(error) => return Err(step_error(&error)),
            }
        }
        self.forget_files(&task).await;
        Ok(())
    }

    async fn forget_files(&self, task: &TaskId) {
        let (files, id) = (self.0.files.clone(), task.clone());
        let gone = tokio::task::spawn_blocking(move || files.remove(&id)).await;
        if let Ok(Err(error)) = gone {
            tracing::warn!("secrets of task {task} cannot be taken away: {error}");
        }
    }
}

impl Executor for Hands {
    fn describe(&self) -> Asked<'_, NodeDescription> {
        Box::pin(async {
            let info = self.0.engine.machine.info();
            let plugin = |kind: &str, names: &[&str]| {
                names.iter().map(|name| (kind.to_owned(), (*name).to_owned())).collect::<Vec<_>>()
            };
            let plugins = [
                plugin("Log", &["json-file", "local", "none"]),
                plugin("Network", &["bridge", "host", "ipvlan", "macvlan", "null", "overlay"]),
                plugin("Volume", &["local"]),
            ];
            NodeDescription {
                hostname: self.hostname(),
                platform: self.platform(),
                nano_cpus: i64::try_from(info.cpus).unwrap_or(0) * 1_000_000_000,
                memory: i64::try_from(info.memory).unwrap_or(i64::MAX),
                generic: self.0.about.generic.clone(),
                engine_version: minke_api::DOCKER.into(),
                engine_labels: info.labels,
                plugins: plugins.concat(),
                encrypts: self.0.engine.networks.can_encrypt(),
                mtu: info.config.mtu,
            }
        })
    }

    fn configure(&self, state: Arc<NodeState>) -> Step<'_, ()> {
        Box::pin(async move {
            *self.0.state.write().unwrap_or_else(PoisonError::into_inner) = Some(state.clone());
            let networks = &self.0.engine.networks;
            let applied = match &state.overlay {
                Some(overlay) => networks.apply_overlays(overlay.clone()).await,
                None => networks.leave_overlays().await,
            };
            applied.map_err(|error| StepError::Temporary(error.to_string()))
        })
    }

    fn prepare<'a>(&'a self, task: &'a AssignedTask) -> Step<'a, Prepared> {
        Box::pin(async {
            if self.find(&task.task.id).is_none() {
                // Dropped when the task is not wanted any more: a pull then ends and leaves nothing half.
                self.0.pulls.fetch(&self.0.engine, task).await?;
            }
            let (hands, own) = (self.clone(), task.clone());
            self.alone(&task.task.id, async move { hands.make(own).await }).await
        })
    }

    fn start<'a>(&'a self, task: &'a AssignedTask) -> Step<'a, Started> {
        let (hands, own) = (self.clone(), task.clone());
        Box::pin(self.alone(&task.task.id, async move { hands.run(own).await }))
    }

    fn healthy<'a>(&'a self, task: &'a TaskId) -> Step<'a, ()> {
        Box::pin(self.await_health(task))
    }

    fn wait<'a>(&'a self, task: &'a TaskId) -> Step<'a, Exit> {
        Box::pin(self.await_end(task))
    }

    fn shutdown<'a>(&'a self, task: &'a TaskId, grace: Option<Duration>) -> Step<'a, ()> {
        let (hands, id) = (self.clone(), task.clone());
        Box::pin(self.alone(task, async move { hands.stop(id, grace).await }))
    }

    fn remove<'a>(&'a self, task: &'a TaskId) -> Step<'a, ()> {
        let (hands, id) = (self.clone(), task.clone());
        Box::pin(self.alone(task, async move { hands.take_away(id).await }))
    }

    fn use_images(&self, from: Arc<dyn Images>) {
        self.0.pulls.ask(from);
    }

    fn known(&self) -> Asked<'_, Vec<Known>> {
        Box::pin(async {
            let containers = self.0.engine.containers.all();
            containers.iter().filter_map(|container| known(container)).collect()
        })
    }

    fn boot_time(&self) -> Duration {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        Duration::new(now.tv_sec.unsigned_abs(), u32::try_from(now.tv_nsec).unwrap_or_default())
    }

    fn run_until<'a>(&'a self, tasks: &'a [TaskId], deadline: Duration) -> Step<'a, ()> {
        Box::pin(async move {
            let mut failed = None;
            for task in tasks {
                let Some(container) = self.find(task) else { continue };
                if let Err(error) = self.0.engine.containers.run_until(container.id.as_str(), deadline).await
                {
                    failed = Some(step_error(&error));
                }
            }
            failed.map_or(Ok(()), Err)
        })
    }
}

/// What a container is to the cluster; `None`: it is no task's.
fn known(container: &Container) -> Option<Known> {
    let task = TaskId::parse(container.spec.labels.get(TASK_LABEL)?)?;
    let mut status = TaskStatus::accepted(Timestamp::now());
    let made = container.status.state == ContainerState::Created;
    (status.state, status.message) =
        if made { (TaskState::Ready, "prepared".into()) } else { (TaskState::Starting, "starting".into()) };
    status.container = Some(container.id.to_string());
    status.pid = u32::try_from(container.status.pid).unwrap_or_default();
    Some(Known { task, status })
}

/// Ports of mode host as they are.
fn host_ports(status: &ContainerStatus, asked: &[PortSpec]) -> Vec<PortSpec> {
    let mut ports = Vec::new();
    for published in status.endpoints.values().flat_map(|endpoint| &endpoint.published) {
        let port = PortSpec {
            name: String::new(),
            protocol: published.container.protocol,
            target: published.container.number,
            published: published.host_port,
            publish: PublishMode::Host,
        };
        let wanted = asked.iter().any(|a| a.target == port.target && a.protocol == port.protocol);
        if wanted && !ports.contains(&port) {
            ports.push(port);
        }
    }
    ports
}

/// What cannot be is final; what the machine has no room for now may be by and by.
fn step_error(error: &Error) -> StepError {
    match error {
        Error::ShuttingDown => StepError::Temporary(error.to_string()),
        other => StepError::Final(other.to_string()),
    }
}
