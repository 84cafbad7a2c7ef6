//! Services: what a cluster should run, and how it changes.

use crate::{
    ConfigId, Labels, NetworkId, SecretId, ServiceId, Timestamp, health::HealthSpec, image::Platform,
    mount::MountSpec, object::Meta, port::Protocol, resources::Ulimit,
};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, net::IpAddr, time::Duration};

/// A service as its user asked for it. The template of its tasks is apart, so that tasks can name it by version.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceSpec {
    /// Unique in the cluster.
    pub name: String,
    /// The user's; not the containers'.
    pub labels: Labels,
    /// How many tasks, and of which kind.
    pub mode: Mode,
    /// How a new template comes into force; `None` is the default.
    pub update: Option<UpdatePolicy>,
    /// How an old one comes back.
    pub rollback: Option<UpdatePolicy>,
    /// Its address and ports.
    pub endpoint: Option<EndpointModeSpec>,
    /// What each task runs.
    pub task: TaskSpec,
}

/// How many tasks a service has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Mode {
    /// So many, in numbered slots.
    Replicated {
        /// Slots.
        replicas: u64,
    },
    /// One on every node that fits.
    Global,
    /// Until so many have completed.
    ReplicatedJob {
        /// At most so many at a time.
        max_concurrent: u64,
        /// Until so many have completed.
        total_completions: u64,
    },
    /// Once on every node that fits.
    GlobalJob,
}

impl Default for Mode {
    fn default() -> Self {
        Mode::Replicated { replicas: 1 }
    }
}

impl Mode {
    /// Whether its tasks end.
    pub fn is_job(&self) -> bool {
        matches!(self, Mode::ReplicatedJob { .. } | Mode::GlobalJob)
    }

    /// Whether its tasks are bound to nodes, not slots.
    pub fn is_global(&self) -> bool {
        matches!(self, Mode::Global | Mode::GlobalJob)
    }
}

/// How a service rolls from one template to another.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct UpdatePolicy {
    /// Slots at a time; 0 is all.
    pub parallelism: u64,
    /// Between two batches.
    pub delay: Duration,
    /// When too many fail.
    pub failure_action: FailureAction,
    /// How long a new task is watched for failure.
    pub monitor: Duration,
    /// 0 to 1: the share of failed tasks that is borne.
    pub max_failure_ratio: f32,
    /// Which goes first.
    pub order: UpdateOrder,
}

impl Eq for UpdatePolicy {}

impl Default for UpdatePolicy {
    fn default() -> Self {
        UpdatePolicy {
            parallelism: 1,
            delay: Duration::ZERO,
            failure_action: FailureAction::Pause,
            monitor: Duration::from_secs(5),
            max_failure_ratio: 0.0,
            order: UpdateOrder::StopFirst,
        }
    }
}

/// What happens to an update whose tasks fail.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum FailureAction {
    /// It stops where it is.
    #[default]
    Pause,
    /// It goes on.
    Continue,
    /// It goes back.
    Rollback,
}

/// Which task of a slot goes first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum UpdateOrder {
    /// The old one stops, then the new one starts.
    #[default]
    StopFirst,
    /// The new one runs before the old one stops.
    StartFirst,
}

/// A service's address and ports as asked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointModeSpec {
    /// How its name resolves.
    pub mode: Resolution,
    /// What is published.
    pub ports: Vec<PortSpec>,
}

/// How a service's name resolves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Resolution {
    /// One address that spreads connections over the tasks.
    #[default]
    Vip,
    /// The addresses of the tasks.
    RoundRobin,
}

/// A published port.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PortSpec {
    /// The user's word for it; empty is none.
    pub name: String,
    /// tcp, udp, sctp.
    pub protocol: Protocol,
    /// In the container.
    pub target: u16,
    /// Outside; 0 is chosen by the allocator (30000 to 32767).
    pub published: u16,
    /// Where outside.
    pub publish: PublishMode,
}

/// Where a published port answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum PublishMode {
    /// On every node, by the mesh.
    #[default]
    Ingress,
    /// On the task's node only.
    Host,
}

/// What each task of a service runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskSpec {
    /// The container.
    pub container: TaskContainer,
    /// What it may use and what must be free.
    pub resources: TaskResources,
    /// When a task that ended is replaced; `None` is the default.
    pub restart: Option<TaskRestart>,
    /// Where it may run.
    pub placement: Placement,
    /// A counter that only makes templates differ.
    pub force_update: u64,
    /// Its networks.
    pub networks: Vec<NetworkAttachmentSpec>,
    /// Where its output goes; `None` is the node's default.
    pub log: Option<(String, BTreeMap<String, String>)>,
    /// `container`, or empty.
    pub runtime: String,
}

/// The container of a task.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskContainer {
    /// With digest, where it was resolved.
    pub image: String,
    /// The container's, beside `com.docker.swarm.*`.
    pub labels: Labels,
    /// Entry point; empty is the image's.
    pub command: Vec<String>,
    /// Arguments; empty is the image's.
    pub args: Vec<String>,
    /// A template.
    pub hostname: String,
    /// `NAME=value`; values are templates.
    pub env: Vec<String>,
    /// Where it starts.
    pub dir: String,
    /// `name[:group]`.
    pub user: String,
    /// Further groups.
    pub groups: Vec<String>,
    /// As of `docker run`.
    pub tty: bool,
    /// As of `docker run`.
    pub open_stdin: bool,
    /// As of `docker run`.
    pub read_only: bool,
    /// Volumes' names may be templates: `data-{{.Task.Slot}}`.
    pub mounts: Vec<MountSpec>,
    /// Name or number; empty is the image's.
    pub stop_signal: String,
    /// `None` is 10 s.
    pub stop_grace: Option<Duration>,
    /// Its probe.
    pub healthcheck: Option<HealthSpec>,
    /// Lines of /etc/hosts, `address name…`.
    pub hosts: Vec<String>,
    /// Resolvers; `None` is the default.
    pub dns: Option<TaskDns>,
    /// Files from secrets.
    pub secrets: Vec<FileRef<SecretId>>,
    /// Files from configs.
    pub configs: Vec<FileRef<ConfigId>>,
    /// As of `docker run`.
    pub init: Option<bool>,
    /// As of `docker run`.
    pub sysctls: BTreeMap<String, String>,
    /// As of `docker run`.
    pub cap_add: Vec<String>,
    /// As of `docker run`.
    pub cap_drop: Vec<String>,
    /// As of `docker run`.
    pub ulimits: Vec<Ulimit>,
    /// -1000 to 1000.
    pub oom_score_adj: i64,
    /// What Swarm calls privileges.
    pub privileges: Option<Privileges>,
    /// Minke's own, by labels or its own API: what `docker run` has and Swarm has not.
    #[serde(default)]
    pub extra: TaskExtra,
    /// Kept for inspect.
    #[serde(default)]
    pub isolation: String,
    /// What the image's registry is asked with, sealed: base64 of JSON, as Docker's clients send it.
    #[serde(default)]
    pub registry: Option<crate::secret::Sealed>,
}

/// What Swarm's own spec cannot say.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskExtra {
    /// All capabilities and devices.
    pub privileged: bool,
    /// `host[:container[:rwm]]`.
    pub devices: Vec<String>,
    /// As of `docker run`.
    pub security_options: Vec<String>,
    /// Bytes of /dev/shm; 0 is the default.
    pub shm_size: i64,
}

/// Resolvers of a task.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskDns {
    /// Addresses.
    pub nameservers: Vec<String>,
    /// Domains.
    pub search: Vec<String>,
    /// As of resolv.conf.
    pub options: Vec<String>,
}

/// A secret or config in a container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileRef<Id> {
    /// Which.
    pub id: Id,
    /// Its name, as asked.
    pub name: String,
    /// Where; `None`: it is no file (a config that a credential spec names).
    pub file: Option<FileTarget>,
}

/// A file in a container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileTarget {
    /// Path; relative to /run/secrets for a secret, to / for a config.
    pub path: String,
    /// Owner: a number as text.
    pub uid: String,
    /// Group: a number as text.
    pub gid: String,
    /// Permission bits.
    pub mode: u32,
}

/// What Swarm calls privileges.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Privileges {
    /// setuid programs gain nothing.
    pub no_new_privileges: bool,
    /// `default`, `unconfined` or `custom`; empty is the default.
    pub seccomp_mode: String,
    /// The profile, when custom.
    pub seccomp_profile: Vec<u8>,
    /// `default` or `disabled`; empty is the default.
    pub apparmor_mode: String,
    /// SELinux labels: `disable`, `user:…`, as of `docker run --security-opt label=`.
    pub selinux: Vec<String>,
}

/// What a task may use and what must be free for it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskResources {
    /// Billionths of a CPU; 0 is without limit.
    pub limit_nano_cpus: i64,
    /// Bytes; 0 is without limit.
    pub limit_memory: i64,
    /// Processes; 0 is without limit.
    pub limit_pids: i64,
    /// Billionths of a CPU that must be free.
    pub reserve_nano_cpus: i64,
    /// Bytes that must be free.
    pub reserve_memory: i64,
    /// GPUs and the like.
    pub reserve_generic: Vec<GenericResource>,
    /// Bytes; `None` is the default (API 1.52 and ours).
    #[serde(default)]
    pub swap: Option<i64>,
}

/// A resource that only its users know: counted, or one named thing.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum GenericResource {
    /// So many of a kind.
    Count {
        /// `gpu`.
        kind: String,
        /// How many.
        value: i64,
    },
    /// One of a kind by its name.
    Named {
        /// `gpu`.
        kind: String,
        /// `UUID1`.
        value: String,
    },
}

/// When a task that ended is replaced.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskRestart {
    /// Which ends.
    pub condition: RestartCondition,
    /// Between end and start.
    pub delay: Duration,
    /// So often in a window; 0 is always.
    pub max_attempts: u64,
    /// Of `max_attempts`; zero is all time.
    pub window: Duration,
}

impl Default for TaskRestart {
    fn default() -> Self {
        let delay = Duration::from_secs(5);
        TaskRestart { condition: RestartCondition::Any, delay, max_attempts: 0, window: Duration::ZERO }
    }
}

/// After which ends a task is replaced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum RestartCondition {
    /// None.
    None,
    /// Failures.
    OnFailure,
    /// All.
    #[default]
    Any,
}

/// Where a task may run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Placement {
    /// `node.labels.zone == a`, as checked by `control`.
    pub constraints: Vec<String>,
    /// Labels whose values the tasks are spread over, the first one most: `node.labels.zone`.
    pub spread: Vec<String>,
    /// On one node at most; 0 is without limit.
    pub max_replicas: u64,
    /// That the image runs on; empty is any.
    pub platforms: Vec<Platform>,
}

/// A network of a task as asked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkAttachmentSpec {
    /// Id (after `control` resolved it), or a name that every node has (`host`, `bridge`).
    pub target: String,
    /// Further names.
    pub aliases: Vec<String>,
    /// For the driver.
    pub driver_options: BTreeMap<String, String>,
}

/// A service: its record `service/<id>`. Written by the control plane only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Service {
    /// Unique.
    pub id: ServiceId,
    /// Of the spec.
    pub meta: Meta,
    /// As asked.
    pub spec: ServiceSpec,
    /// What it was before the last update; rollback goes there.
    pub previous: Option<Box<ServiceSpec>>,
    /// Which template new tasks have: names `template/<service>/<version>`. Changes only when the template does.
    pub template: u64,
    /// The template of `previous`.
    pub previous_template: Option<u64>,
    /// Its addresses and ports as allocated; `None`: not yet.
    pub endpoint: Option<ServiceEndpoint>,
    /// The update that runs or ran last.
    pub update: Option<UpdateStatus>,
    /// Counts runs of a job: a new one starts when it changes.
    pub job_iteration: u64,
    /// When the job last started.
    pub job_started: Option<Timestamp>,
    /// Its removal was asked for; tasks stop, then the record goes.
    #[serde(default)]
    pub removing: bool,
}

/// A service's addresses and ports as they are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceEndpoint {
    /// The mode that they were made for.
    pub mode: Resolution,
    /// Every published port is set.
    pub ports: Vec<PortSpec>,
    /// Virtual addresses by network, with the subnet's prefix.
    pub vips: Vec<(NetworkId, IpAddr, u8)>,
}

/// How far an update is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpdateStatus {
    /// Where it is.
    pub state: UpdateState,
    /// When it began.
    pub started: Timestamp,
    /// When it ended.
    pub completed: Option<Timestamp>,
    /// For people.
    pub message: String,
}

/// Where an update is.
///
/// ```text
/// Updating ──► Completed
///    │  ▲ (a new update starts over)
///    ├──► Paused
///    └──► RollbackStarted ──► RollbackCompleted
///               └──► RollbackPaused
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum UpdateState {
    /// It rolls.
    Updating,
    /// Too many failed: it waits for people.
    Paused,
    /// Every slot has the new template.
    Completed,
    /// It rolls back.
    RollbackStarted,
    /// Too many failed on the way back.
    RollbackPaused,
    /// Every slot has the old template.
    RollbackCompleted,
}
