//! Containers: what is asked, what is, and the legal steps between.

use crate::{
    ContainerId, ImageId, Labels, Timestamp,
    health::{Health, HealthSpec},
    image::Platform,
    log::LogSpec,
    mount::{BindSpec, MountPoint, MountSpec},
    network::{Endpoint, EndpointSpec},
    port::{Port, PortBinding},
    resources::Resources,
    restart::RestartPolicy,
    security::SecuritySpec,
};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// A container as its user asked for it. Only users write it (create, update, rename).
///
/// After create, values that the image gives (env, cmd, user, …) are merged in, as Docker's inspect shows them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerSpec {
    /// The image as named.
    pub image: String,
    /// The image variant wanted; `None` is the machine's.
    pub platform: Option<Platform>,
    /// Its main process.
    pub process: ProcessSpec,
    /// Host name; empty is the short id.
    pub hostname: String,
    /// NIS domain name.
    pub domainname: String,
    /// The user's labels and the image's.
    pub labels: Labels,
    /// Annotations for an OCI runtime.
    pub annotations: BTreeMap<String, String>,
    /// Its probe.
    pub healthcheck: Option<HealthSpec>,
    /// Name or number; `None` is SIGTERM.
    pub stop_signal: Option<String>,
    /// Seconds; `None` is 10, negative is without end.
    pub stop_timeout: Option<i64>,
    /// Ports that its service listens on.
    pub exposed_ports: BTreeSet<Port>,
    /// What was said of ports in other words than ours: shown as it was said.
    #[serde(default)]
    pub exposed_as: BTreeSet<String>,
    /// Paths that get an anonymous volume.
    pub volumes: BTreeSet<String>,
    /// Kept for inspect.
    pub on_build: Option<Vec<String>>,
    /// Kept for inspect.
    pub shell: Option<Vec<String>>,
    /// `-v`.
    pub binds: Option<Vec<BindSpec>>,
    /// `--mount`.
    pub mounts: Vec<MountSpec>,
    /// `--tmpfs`: path to options.
    pub tmpfs: BTreeMap<String, String>,
    /// `container[:ro|rw]`.
    pub volumes_from: Option<Vec<String>>,
    /// Volume driver for `-v name:…`.
    pub volume_driver: String,
    /// Which namespaces are shared with whom.
    pub namespaces: NamespaceSpec,
    /// What it may do.
    pub security: SecuritySpec,
    /// What it may use.
    pub resources: Resources,
    /// Names and addresses.
    pub networking: NetworkingSpec,
    /// Where its output goes.
    pub log: LogSpec,
    /// When it is started again.
    pub restart: RestartPolicy,
    /// Removed with its anonymous volumes when it ends.
    pub auto_remove: bool,
    /// Bytes of /dev/shm; 0 is 64 MiB.
    pub shm_size: i64,
    /// Kernel parameters.
    pub sysctls: BTreeMap<String, String>,
    /// -1000 to 1000.
    pub oom_score_adj: i64,
    /// A reaping PID 1; `None` is the daemon's default.
    pub init: Option<bool>,
    /// Runtime by name; empty is the daemon's default.
    pub runtime: String,
    /// Kept for inspect.
    pub container_id_file: String,
    /// Storage options; refused where the snapshotter has none.
    pub storage_options: BTreeMap<String, String>,
    /// Rows and columns of the first terminal.
    pub console_size: (u16, u16),
    /// Kept for inspect: `default` or empty.
    pub isolation: String,
    /// Kept for inspect.
    pub cgroup: String,
}

impl ContainerSpec {
    /// One of `image` with nothing asked for.
    pub fn of(image: &str) -> Self {
        Self {
            image: image.to_owned(),
            platform: None,
            process: Default::default(),
            hostname: String::new(),
            domainname: String::new(),
            labels: Default::default(),
            annotations: BTreeMap::new(),
            healthcheck: None,
            stop_signal: None,
            stop_timeout: None,
            exposed_ports: Default::default(),
            exposed_as: Default::default(),
            volumes: Default::default(),
            on_build: None,
            shell: None,
            binds: None,
            mounts: Vec::new(),
            tmpfs: BTreeMap::new(),
            volumes_from: None,
            volume_driver: String::new(),
            namespaces: Default::default(),
            security: Default::default(),
            resources: Default::default(),
            networking: Default::default(),
            log: Default::default(),
            restart: Default::default(),
            auto_remove: false,
            shm_size: 0,
            sysctls: BTreeMap::new(),
            oom_score_adj: 0,
            init: None,
            runtime: String::new(),
            container_id_file: String::new(),
            storage_options: BTreeMap::new(),
            console_size: (0, 0),
            isolation: String::new(),
            cgroup: String::new(),
        }
    }
}

/// A container's main process as asked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessSpec {
    /// `name[:group]` or ids; empty is root.
    pub user: String,
    /// `NAME=value`, `NAME` removes.
    pub env: Vec<String>,
    /// Arguments, or all, of the command. `None` is the image's.
    pub cmd: Option<Vec<String>>,
    /// Run first. `None` is the image's, `[]` or `[""]` none.
    pub entrypoint: Option<Vec<String>>,
    /// Where it starts; empty is `/`.
    pub working_dir: String,
    /// Has a terminal.
    pub tty: bool,
    /// Its stdin stays open.
    pub open_stdin: bool,
    /// Its stdin closes when the first attached client leaves.
    pub stdin_once: bool,
    /// Kept for inspect.
    pub attach_stdin: bool,
    /// Kept for inspect.
    pub attach_stdout: bool,
    /// Kept for inspect.
    pub attach_stderr: bool,
    /// Kept for inspect.
    pub args_escaped: bool,
}

/// Which namespaces are shared with whom.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamespaceSpec {
    /// Process ids: private, `host`, `container:X`.
    pub pid: Sharing,
    /// System V IPC and /dev/shm.
    pub ipc: IpcSharing,
    /// Host name: private or host.
    pub uts_host: bool,
    /// `--userns=host`: kept for inspect, as remapping is not supported yet.
    pub user_host: bool,
    /// cgroup namespace: `None` is the default (private on v2, host on v1).
    pub cgroup_host: Option<bool>,
}

/// With whom a namespace is shared.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Sharing {
    /// With nobody.
    #[default]
    Private,
    /// With the machine.
    Host,
    /// With a container, by name or id as given.
    Container(String),
}

/// With whom IPC is shared.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum IpcSharing {
    /// The daemon's default, `private`.
    #[default]
    Default,
    /// With nobody.
    Private,
    /// With whoever asks for `container:` this one.
    Shareable,
    /// Own, without /dev/shm.
    None,
    /// With the machine.
    Host,
    /// With a container, by name or id as given.
    Container(String),
}

/// Names and addresses as asked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkingSpec {
    /// The first network.
    pub mode: NetworkMode,
    /// Networks by name or id as given, with what is asked of each.
    pub endpoints: BTreeMap<String, EndpointSpec>,
    /// Deprecated container-wide MAC; empty is chosen.
    pub mac: String,
    /// No network at all (`NetworkDisabled`).
    pub disabled: bool,
    /// Where ports appear on the host.
    pub port_bindings: BTreeMap<Port, Vec<PortBinding>>,
    /// The same as it was said, for inspect: by port, host addresses and ports.
    #[serde(default)]
    pub port_bindings_as: Option<BTreeMap<String, Option<Vec<(String, String)>>>>,
    /// Publish all exposed ports.
    pub publish_all: bool,
    /// Resolvers, instead of the host's.
    pub dns: Vec<String>,
    /// resolv.conf options.
    pub dns_options: Option<Vec<String>>,
    /// resolv.conf search.
    pub dns_search: Option<Vec<String>>,
    /// `name:address` lines for /etc/hosts.
    pub extra_hosts: Option<Vec<String>>,
    /// `container:alias`.
    pub links: Option<Vec<String>>,
}

/// The first network of a container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum NetworkMode {
    /// The default bridge, asked for as `default`.
    #[default]
    Default,
    /// The default bridge, asked for as `bridge`.
    Bridge,
    /// Loopback only.
    None,
    /// The machine's.
    Host,
    /// Another container's, by name or id as given.
    Container(String),
    /// A network by name or id.
    User(String),
}

impl NetworkMode {
    /// Docker's text.
    pub fn as_text(&self) -> String {
        match self {
            NetworkMode::Default => "default".into(),
            NetworkMode::Bridge => "bridge".into(),
            NetworkMode::None => "none".into(),
            NetworkMode::Host => "host".into(),
            NetworkMode::Container(c) => format!("container:{c}"),
            NetworkMode::User(n) => n.clone(),
        }
    }

    /// From Docker's text; empty is `default`.
    pub fn parse(text: &str) -> Self {
        match text {
            "" | "default" => NetworkMode::Default,
            "bridge" => NetworkMode::Bridge,
            "none" => NetworkMode::None,
            "host" => NetworkMode::Host,
            _ => match text.strip_prefix("container:") {
                Some(c) => NetworkMode::Container(c.into()),
                None => NetworkMode::User(text.into()),
            },
        }
    }

    /// Whether the container has a network namespace of its own.
    pub fn is_private(&self) -> bool {
        !matches!(self, NetworkMode::Host | NetworkMode::Container(_))
    }
}

/// The states of a container.
///
/// ```text
/// Created ──► Running ◄──► Paused
///    │          │  ▲
///    │          ▼  │
///    │       Restarting          (waits for its back-off; may be stopped → Exited)
///    │          │
///    ▼          ▼
/// Removing ◄─ Exited ──► Running
///    │
///    ▼
///   Dead                         (a removal that failed; only Removing may follow)
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ContainerState {
    /// Never started.
    Created,
    /// Its process runs.
    Running,
    /// Its processes are frozen.
    Paused,
    /// It ended and waits to be started again.
    Restarting,
    /// Its process ended.
    Exited,
    /// Its parts are being taken away.
    Removing,
    /// Its parts could not all be taken away.
    Dead,
}

impl ContainerState {
    /// Whether `next` may follow.
    pub fn may_become(self, next: ContainerState) -> bool {
        use ContainerState::*;
        match self {
            Created => matches!(next, Running | Exited | Removing),
            Running => matches!(next, Paused | Restarting | Exited),
            Paused => matches!(next, Running | Restarting | Exited),
            Restarting => matches!(next, Running | Restarting | Exited | Removing),
            Exited => matches!(next, Running | Restarting | Removing),
            Removing => matches!(next, Dead),
            Dead => matches!(next, Removing),
        }
    }

    /// Docker's word.
    pub fn as_str(self) -> &'static str {
        match self {
            ContainerState::Created => "created",
            ContainerState::Running => "running",
            ContainerState::Paused => "paused",
            ContainerState::Restarting => "restarting",
            ContainerState::Exited => "exited",
            ContainerState::Removing => "removing",
            ContainerState::Dead => "dead",
        }
    }

    /// Whether it has a process: running or paused.
    pub fn is_up(self) -> bool {
        matches!(self, ContainerState::Running | ContainerState::Paused)
    }
}

/// A container as it is. Only the engine writes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerStatus {
    /// Now.
    pub state: ContainerState,
    /// Its process on the host; 0 when none.
    pub pid: i32,
    /// Of the last process; 128 + n after signal n.
    pub exit_code: i32,
    /// Why it could not start; empty when it could.
    pub error: String,
    /// The kernel killed something in it for memory.
    pub oom_killed: bool,
    /// Last start; zero when never.
    pub started: Timestamp,
    /// Last end; zero when never.
    pub finished: Timestamp,
    /// Restarts by policy since the last start by a user.
    pub restart_count: u32,
    /// A user stopped it: `unless-stopped` leaves it so.
    pub stopped_by_user: bool,
    /// Its probes; `None` without a health check.
    pub health: Option<Health>,
    /// Its place in each network, by the network's name (as inspect keys them).
    pub endpoints: BTreeMap<String, Endpoint>,
    /// The boot (kernel's boot_id) of the last start; empty when never.
    pub boot_id: String,
}

impl ContainerStatus {
    /// Of one that was made and never started.
    pub fn created() -> Self {
        Self {
            state: ContainerState::Created,
            pid: 0,
            exit_code: 0,
            error: String::new(),
            oom_killed: false,
            started: Timestamp::zero(),
            finished: Timestamp::zero(),
            restart_count: 0,
            stopped_by_user: false,
            health: None,
            endpoints: BTreeMap::new(),
            boot_id: String::new(),
        }
    }
}

/// A container of this machine: its record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Container {
    /// Unique.
    pub id: ContainerId,
    /// Unique; without a slash.
    pub name: String,
    /// When it was made.
    pub created: Timestamp,
    /// The image that its root was made from; `None` for an empty root.
    pub image_id: Option<ImageId>,
    /// What runs: entrypoint and cmd joined. The first is `Path`.
    pub args: Vec<String>,
    /// As asked.
    pub spec: ContainerSpec,
    /// Its mounts, decided at create.
    pub mounts: Vec<MountPoint>,
    /// As it is.
    pub status: ContainerStatus,
}
