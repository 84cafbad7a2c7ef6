//! What the engine asks of the runtime, and what it gets: plain data.
//!
//! Never: I/O.

use minke_model::{
    Container, ExecId, Timestamp,
    mount::{MountKind, Propagation, ReadOnlyRecursion},
    resources::Ulimit,
};
use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

/// How a daemon's runtime is set up.
#[derive(Clone, Debug, Default)]
pub struct RuntimeConfig {
    /// State that a reboot ends: sockets and files of shims. On tmpfs, usually.
    pub exec_root: PathBuf,
    /// State that stays: logs of containers lie below.
    pub data_root: PathBuf,
    /// 8 hex digits, in the names of cgroups.
    pub daemon_id: String,
    /// Below which containers' cgroups are made; empty is `/minke-<daemon id>` (or the daemon's delegated cgroup).
    pub cgroup_parent: String,
    /// External OCI runtimes by name.
    pub runtimes: BTreeMap<String, ExternalRuntime>,
    /// Used where a container names none; empty is our own.
    pub default_runtime: String,
    /// Limits of containers that ask for none of that name.
    pub default_ulimits: Vec<Ulimit>,
    /// The daemon-wide seccomp profile in Docker's JSON format, `unconfined`, or empty for the built-in one.
    pub seccomp_profile: String,
    /// The program that runs as shim, with its first arguments; empty is `shim_bytes`.
    pub shim: Vec<String>,
    /// The shim's own small program; `None` is this program with `shim`.
    pub shim_bytes: Option<&'static [u8]>,
}

/// Which cgroups a machine has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CgroupInfo {
    /// 1 (also when hybrid) or 2.
    pub version: u8,
    /// v1 controllers beside a unified hierarchy.
    pub hybrid: bool,
    /// Always `cgroupfs`.
    pub driver: &'static str,
    /// Swap is accounted.
    pub swap: bool,
    /// What they can.
    pub features: minke_linux::cgroup::Features,
}

/// An external OCI runtime.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExternalRuntime {
    /// Name or path of its program.
    pub path: String,
    /// Its global arguments.
    pub args: Vec<String>,
}

/// A container to be made (its first phase).
#[derive(Clone, Debug)]
pub struct CreateRequest {
    /// Its record.
    pub container: Arc<Container>,
    /// Its root.
    pub rootfs: Rootfs,
    /// The host files that become /etc/hostname, /etc/hosts and /etc/resolv.conf.
    pub files: Option<NetworkFiles>,
    /// Its mounts, from the container's record; sources exist.
    pub mounts: Vec<ResolvedMount>,
    /// Shared memory that the host has mounted for it; `None` is made inside.
    pub shm: Option<PathBuf>,
    /// Namespaces that it shares with other containers.
    pub join: Joined,
    /// Where its output goes.
    pub log: LogTarget,
    /// Environment in front of the user's: `PATH`, `HOSTNAME`, links.
    pub extra_env: Vec<String>,
    /// Its stdin is kept open.
    pub stdin: bool,
    /// PID 1 is a reaper.
    pub init: bool,
}

/// A container's root: layers of an overlay.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rootfs {
    /// Topmost first.
    pub lower: Vec<PathBuf>,
    /// Takes what is written.
    pub upper: PathBuf,
    /// Overlayfs' own.
    pub work: PathBuf,
    /// A power cut may take what is written.
    pub volatile: bool,
}

/// Files of the host that hold a container's network names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NetworkFiles {
    /// Becomes /etc/hostname.
    pub hostname: PathBuf,
    /// Becomes /etc/hosts.
    pub hosts: PathBuf,
    /// Becomes /etc/resolv.conf.
    pub resolv_conf: PathBuf,
}

/// Where a mount's content is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MountSource {
    /// A file or directory of the host.
    Path(PathBuf),
    /// The layers of an image, topmost first.
    Layers(Vec<PathBuf>),
    /// Memory.
    Tmpfs,
}

/// One mount, its source found and checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResolvedMount {
    /// What it is.
    pub kind: MountKind,
    /// Its content.
    pub source: MountSource,
    /// A path below the source; empty is the source itself.
    pub subpath: String,
    /// Absolute path inside.
    pub target: String,
    /// May be written.
    pub writable: bool,
    /// How mounts below travel.
    pub propagation: Option<Propagation>,
    /// Without mounts below.
    pub non_recursive: bool,
    /// How far read-only goes.
    pub read_only_recursion: ReadOnlyRecursion,
    /// `size=…,mode=…` of a tmpfs.
    pub tmpfs_options: String,
}

/// Namespaces shared with other containers: a process of each, on the host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Joined {
    /// `--pid=container:X`.
    pub pid: Option<i32>,
    /// `--ipc=container:X`.
    pub ipc: Option<i32>,
    /// The network.
    pub net: NetJoin,
}

/// The network namespace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NetJoin {
    /// A new one.
    #[default]
    New,
    /// The machine's.
    Host,
    /// That of a process on the host (then its UTS namespace too, as Docker does).
    Container(i32),
}

/// Where output goes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogTarget {
    /// `json-file`, `local` or `none`.
    pub driver: String,
    /// The newest file.
    pub path: PathBuf,
    /// `max-size`, `max-file`, `compress`.
    pub options: BTreeMap<String, String>,
    /// Shown with every line.
    pub attributes: Vec<(String, String)>,
}

/// How a container's process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exit {
    /// 128 + n after signal n.
    pub code: i32,
    /// When.
    pub at: Timestamp,
    /// The kernel killed something in it for memory.
    pub oom: bool,
}

/// Which streams an attach wants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AttachStreams {
    /// Bytes written go in.
    pub stdin: bool,
    /// Output comes.
    pub stdout: bool,
    /// Errors come.
    pub stderr: bool,
}

/// A further process for a running container.
#[derive(Clone, Debug)]
pub struct ExecRequest {
    /// Its id.
    pub id: ExecId,
    /// The command.
    pub args: Vec<String>,
    /// Added to the container's.
    pub env: Vec<String>,
    /// Empty is the container's.
    pub cwd: String,
    /// Empty is the container's.
    pub user: String,
    /// Has a terminal.
    pub tty: bool,
    /// All capabilities, no filter.
    pub privileged: bool,
    /// Rows and columns at start.
    pub size: Option<(u16, u16)>,
    /// Which streams a client takes at once; `None` attaches nobody and drops output.
    pub streams: Option<AttachStreams>,
}

/// How an exec stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExecState {
    /// It runs, as this process of the host.
    Running {
        /// Process id on the host.
        pid: i32,
    },
    /// It ended.
    Exited {
        /// Process id that it had.
        pid: i32,
        /// 128 + n after signal n.
        code: i32,
    },
}
