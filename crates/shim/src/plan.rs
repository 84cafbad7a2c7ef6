//! The start plan: all that a shim needs to make a container, decided by the daemon, laid flat.
//!
//! Never: policy (the daemon decided), JSON. The order of fields is the encoding; a change raises `VERSION`.

use crate::{
    flat,
    wire::{Wire, WireError},
};

/// The version of the encoding. A plan lives only between a daemon and a shim of the same release.
pub const VERSION: u32 = 1;

/// The most bytes that a plan may take: arguments and environment are bounded by the kernel at about 6 MiB.
pub const MAX: usize = 16 << 20;

flat! {
    /// With whom a namespace is shared.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub enum Namespace {
        /// With the machine.
        Host = 0,
        /// With nobody: a new one is made.
        #[default]
        New = 1,
        /// With a process of the host, by its id.
        Join {
            /// The process.
            pid: i32,
        } = 2,
    }
}

flat! {
    /// The namespaces of a container. The mount namespace is always new.
    #[derive(Clone, Debug, Default, PartialEq, Eq)]
    pub struct Namespaces {
        /// Process ids.
        pub pid: Namespace,
        /// System V IPC and POSIX message queues.
        pub ipc: Namespace,
        /// Network.
        pub net: Namespace,
        /// Host name.
        pub uts: Namespace,
        /// View of cgroups.
        pub cgroup: Namespace,
    }
}

flat! {
    /// The cgroups of a container: absolute directories on the host, made by the daemon before.
    #[derive(Clone, Debug, Default, PartialEq, Eq)]
    pub struct Cgroups {
        /// The one in the unified hierarchy (cloned into), empty when there is none.
        pub unified: String,
        /// One for each v1 hierarchy (joined by `cgroup.procs` before anything runs).
        pub legacy: Vec<String>,
        /// Where `memory.events` (v2) or `memory.oom_control` (v1) lies; empty when memory is not controlled.
        pub memory: String,
    }
}

flat! {
    /// What becomes `/`.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub enum Root {
        /// An overlay, mounted in the container's mount namespace only. Without `lower`, `upper` itself is bound.
        Overlay {
            /// Topmost first.
            lower: Vec<String>,
            /// Takes what is written.
            upper: String,
            /// Overlayfs' own, on the same file system.
            work: String,
        } = 0,
        /// A directory of the host.
        Bind {
            /// Absolute.
            path: String,
        } = 1,
        /// An overlay that a power cut may take: taking it down writes nothing to disk.
        Volatile {
            /// Topmost first.
            lower: Vec<String>,
            /// Takes what is written.
            upper: String,
            /// Overlayfs' own, on the same file system.
            work: String,
        } = 2,
    }
}

flat! {
    /// How far a read-only bind goes.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum ReadOnlyDepth {
        /// The mount itself.
        Top = 0,
        /// Mounts below too, where the kernel can (5.12).
        AllIfPossible = 1,
        /// Mounts below too, or the start fails.
        All = 2,
    }
}

flat! {
    /// One thing done inside the new root, in the plan's order. Targets are absolute paths inside it, resolved
    /// without leaving it; what is missing on the way is made.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub enum Step {
        /// A new file system.
        Mount {
            /// `proc`, `tmpfs`…
            fstype: String,
            /// Shown in /proc/mounts.
            source: String,
            /// Where.
            target: String,
            /// `MS_*` of mount(2): read-only, nosuid, nodev, noexec, strictatime…
            flags: u64,
            /// Options of the file system, comma-separated.
            data: String,
            /// `MS_*` of propagation (with `MS_REC` when recursive); 0 leaves it private.
            propagation: u64,
        } = 0,
        /// A file or directory of the host.
        Bind {
            /// Absolute, on the host; symlinks are followed there.
            source: String,
            /// Below `source`, resolved without leaving it; empty is `source` itself.
            subpath: String,
            /// Where. Made as a file or directory as the source is.
            target: String,
            /// With mounts below.
            recursive: bool,
            /// `MS_RDONLY`, `MS_NOSUID`, `MS_NODEV`, `MS_NOEXEC`; others keep what the source has.
            flags: u64,
            /// With `MS_RDONLY`.
            depth: ReadOnlyDepth,
            /// `MS_*` of propagation (with `MS_REC` when recursive); 0 is `rprivate`.
            propagation: u64,
        } = 1,
        /// Layers of an image, read-only unless `upper` is given.
        Layers {
            /// Topmost first.
            lower: Vec<String>,
            /// Below the layers' root, resolved without leaving it; empty is the root itself.
            subpath: String,
            /// Where.
            target: String,
        } = 2,
        /// A device node, made with mknod(2) or, where that is refused, bound from the host.
        Node {
            /// Where.
            path: String,
            /// `S_IFCHR`, `S_IFBLK` or `S_IFIFO`.
            kind: u32,
            /// Device number.
            major: u32,
            /// Device number.
            minor: u32,
            /// Permission bits.
            mode: u32,
            /// Owner.
            uid: u32,
            /// Group.
            gid: u32,
        } = 3,
        /// A symbolic link; left alone when something is there.
        Link {
            /// Where.
            path: String,
            /// What it says.
            to: String,
        } = 4,
        /// A path hidden: a directory by an empty read-only tmpfs, a file by /dev/null. Skipped when missing.
        Mask {
            /// Which.
            path: String,
        } = 5,
        /// A path made read-only. Skipped when missing.
        ReadOnly {
            /// Which.
            path: String,
        } = 6,
    }
}

flat! {
    /// A limit of each process; `u64::MAX` is none.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct Rlimit {
        /// `RLIMIT_*`.
        pub resource: u32,
        /// Soft.
        pub soft: u64,
        /// Hard.
        pub hard: u64,
    }
}

flat! {
    /// Capability sets, bit n for capability n.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Capabilities {
        /// What may ever be had.
        pub bounding: u64,
        /// At exec.
        pub effective: u64,
        /// At exec.
        pub permitted: u64,
        /// At exec.
        pub inheritable: u64,
        /// At exec.
        pub ambient: u64,
    }
}

flat! {
    /// A process: the container's first, or an exec.
    #[derive(Clone, Debug, Default, PartialEq, Eq)]
    pub struct Process {
        /// The command; the first is looked up in the `PATH` of `env` unless it has a slash.
        pub args: Vec<String>,
        /// `NAME=value`. `HOME` is added from the user's entry when missing.
        pub env: Vec<String>,
        /// Absolute; made when missing (the container's first process only).
        pub cwd: String,
        /// `name|uid[:group|gid]`, looked up inside the root; empty is root.
        pub user: String,
        /// Further groups, names or ids.
        pub groups: Vec<String>,
        /// What it may do.
        pub capabilities: Capabilities,
        /// No exec gains privileges.
        pub no_new_privileges: bool,
        /// AppArmor profile; empty is none.
        pub apparmor: String,
        /// SELinux label; empty is none.
        pub selinux: String,
        /// The filter, as 8-byte `sock_filter` records; empty is none.
        pub seccomp: Vec<u8>,
        /// Flags of seccomp(2), `SECCOMP_FILTER_FLAG_*`.
        pub seccomp_flags: u32,
        /// Limits.
        pub rlimits: Vec<Rlimit>,
        /// -1000 to 1000; `None` keeps the shim's parent's.
        pub oom_score_adj: Option<i32>,
        /// Has a terminal.
        pub tty: bool,
        /// Rows of the terminal at start; 0 leaves it.
        pub rows: u16,
        /// Columns of the terminal at start; 0 leaves it.
        pub columns: u16,
    }
}

flat! {
    /// Who writes the log, and how.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub enum LogDriver {
        /// Nobody.
        #[default]
        None = 0,
        /// Docker's JSON lines.
        JsonFile = 1,
        /// Binary records (see `shim::log::local`).
        Local = 2,
    }
}

flat! {
    /// The log.
    #[derive(Clone, Debug, Default, PartialEq, Eq)]
    pub struct Log {
        /// Who writes it.
        pub driver: LogDriver,
        /// The newest file; older ones get `.1`, `.2`…
        pub path: String,
        /// Bytes after which a new file begins; 0 is never.
        pub max_size: u64,
        /// Files in all, the newest included; at least 1.
        pub max_files: u32,
        /// The daemon compresses older ones, which are `.1.gz`, `.2.gz`… then.
        pub compress: bool,
        /// Shown with every line (`attrs`).
        pub attributes: Vec<(String, String)>,
    }
}

flat! {
    /// An external OCI runtime that makes the container instead of the shim's own code.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct External {
        /// Its program, absolute.
        pub path: String,
        /// Its global arguments.
        pub args: Vec<String>,
        /// Its state directory (`--root`).
        pub root: String,
        /// The bundle, with `config.json`.
        pub bundle: String,
    }
}

flat! {
    /// All that a shim needs to make a container.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct StartPlan {
        /// The container's id.
        pub id: String,
        /// Namespaces.
        pub namespaces: Namespaces,
        /// Where its processes are counted.
        pub cgroups: Cgroups,
        /// Host name, when the UTS namespace is new; empty leaves it.
        pub hostname: String,
        /// NIS domain name, when the UTS namespace is new; empty leaves it.
        pub domainname: String,
        /// What becomes `/`.
        pub root: Root,
        /// `/` is made read-only after all steps.
        pub root_read_only: bool,
        /// `MS_SHARED`, `MS_SLAVE` or `MS_PRIVATE`, with `MS_REC`: how mounts travel between host and container;
        /// 0 is `rprivate`.
        pub root_propagation: u64,
        /// In order.
        pub steps: Vec<Step>,
        /// `kernel.shm_rmid_forced` (dots) to value, written before the root is entered.
        pub sysctls: Vec<(String, String)>,
        /// The first process.
        pub process: Process,
        /// PID 1 is a reaper that forwards signals; the process is its child.
        pub init: bool,
        /// Its stdin is a pipe that stays open (`-i`), else /dev/null.
        pub stdin: bool,
        /// stdin closes for good when the first attached client's does.
        pub stdin_once: bool,
        /// Its log.
        pub log: Log,
        /// Made by another runtime.
        pub external: Option<External>,
    }
}

flat! {
    /// A further process in a running container.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct ExecPlan {
        /// The exec's id.
        pub id: String,
        /// The process.
        pub process: Process,
        /// As the container's.
        pub cgroups: Cgroups,
        /// Its stdin is a pipe, closed when its client's half is; else /dev/null.
        pub stdin: bool,
        /// The container is another runtime's.
        pub external: Option<External>,
    }
}

/// Lays a plan flat, its version in front.
fn encode<T: Wire>(plan: &T) -> Vec<u8> {
    let mut out = Vec::with_capacity(16 << 10);
    VERSION.put(&mut out);
    plan.put(&mut out);
    out
}

/// The plan back, all bytes used.
fn decode<T: Wire>(mut bytes: &[u8]) -> Result<T, WireError> {
    match u32::take(&mut bytes)? {
        VERSION => {}
        other => return Err(WireError::Version(other)),
    }
    let plan = T::take(&mut bytes)?;
    if bytes.is_empty() { Ok(plan) } else { Err(WireError::Long) }
}

impl StartPlan {
    /// Lays it flat, its version in front.
    pub fn encode(&self) -> Vec<u8> {
        encode(self)
    }

    /// The plan back; anything odd is refused.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        decode(bytes)
    }
}

impl ExecPlan {
    /// Lays it flat, its version in front.
    pub fn encode(&self) -> Vec<u8> {
        encode(self)
    }

    /// The plan back; anything odd is refused.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        decode(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A plan with something in every field.
    fn full() -> StartPlan {
        StartPlan {
            id: "ab".repeat(32),
            namespaces: Namespaces { net: Namespace::Join { pid: 7 }, ..Default::default() },
            cgroups: Cgroups { unified: "/u".into(), legacy: vec!["/a".into()], memory: "/m".into() },
            hostname: "web".into(),
            domainname: "x".into(),
            root: Root::Overlay { lower: vec!["/l".into()], upper: "/u".into(), work: "/w".into() },
            root_read_only: true,
            root_propagation: 1,
            steps: vec![
                Step::Mask { path: "/proc/keys".into() },
                Step::Link { path: "/dev/fd".into(), to: "/proc/self/fd".into() },
            ],
            sysctls: vec![("a.b".into(), "1".into())],
            process: Process {
                args: vec!["true".into()],
                oom_score_adj: Some(-5),
                seccomp: vec![1; 8],
                ..Default::default()
            },
            init: true,
            stdin: true,
            stdin_once: false,
            log: Log {
                driver: LogDriver::JsonFile,
                path: "/p".into(),
                max_size: 5,
                max_files: 2,
                compress: true,
                ..Default::default()
            },
            external: None,
        }
    }

    #[test]
    fn a_plan_survives_its_encoding() {
        assert_eq!(StartPlan::decode(&full().encode()), Ok(full()));
    }

    #[test]
    fn a_cut_or_grown_plan_is_refused_at_every_length() {
        let bytes = full().encode();
        for n in 0..bytes.len() {
            assert!(StartPlan::decode(&bytes[..n]).is_err(), "{n} bytes");
        }
        let mut more = bytes;
        more.push(0);
        assert_eq!(StartPlan::decode(&more), Err(WireError::Long));
    }

    #[test]
    fn another_releases_plan_is_refused() {
        let mut bytes = full().encode();
        bytes[0] = 99;
        assert_eq!(StartPlan::decode(&bytes), Err(WireError::Version(99)));
    }
}
