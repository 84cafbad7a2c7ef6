//! From a container's record to what a shim does: pure, so that every default can be read and tested as text.
//!
//! Start at [`plan`]. Never: files, processes, clocks. What the machine can do is a [`Host`], found once (`host.rs`).

mod apparmor;
pub mod defaults;
mod devices;
mod host;
mod mounts;
pub mod oci;
mod resources;
mod seccomp;
mod seccomp_default;
mod security;
mod support;
mod sysctl;

pub use devices::{DeviceLookup, HostDevices, Node};
pub use host::Host;
pub use resources::{limits, rlimits};
pub use seccomp::{Filters, check_profile};
pub(crate) use security::apparmor;
pub use security::capabilities;
pub use support::judge;

use crate::request::{CreateRequest, ExecRequest, NetJoin};
use minke_linux::cgroup::{Cgroup, Limits};
use minke_model::{
    Container, Kind,
    container::{IpcSharing, Sharing},
};
use minke_shim::plan::{self, ExecPlan, Namespace, Namespaces, Process, Root, StartPlan};
use std::io;

/// Why no plan can be made of a request.
#[derive(Debug, thiserror::Error)]
pub enum SpecError {
    /// The machine could not be looked at.
    #[error("cannot look at {what}: {cause}")]
    Machine {
        /// At what.
        what: &'static str,
        /// Why.
        cause: io::Error,
    },
    /// No such capability.
    #[error("invalid CapAdd: unknown capability: \"CAP_{}\"", name.to_ascii_uppercase().trim_start_matches("CAP_"))]
    UnknownCapability {
        /// As asked.
        name: String,
    },
    /// The daemon does not have it itself.
    #[error(
        "invalid CapAdd: capability not supported by your kernel or not available in the current environment: \"CAP_{}\"",
        name.to_ascii_uppercase().trim_start_matches("CAP_")
    )]
    UnavailableCapability {
        /// As asked.
        name: String,
    },
    /// What runc would say of a bundle, in its words.
    #[error("{0}")]
    Runc(String),
    /// A device of the host is missing or none.
    #[error(
        "error gathering device information while adding custom device \"{path}\": {}",
        minke_linux::words::of(cause)
    )]
    Device {
        /// As asked.
        path: String,
        /// Why.
        cause: io::Error,
    },
    /// A throttled device of the host is missing or none.
    #[error("stat {path}: {}", minke_linux::words::of(cause))]
    BlockDevice {
        /// As asked.
        path: String,
        /// Why.
        cause: io::Error,
    },
    /// Not `c 1:3 rwm`.
    #[error("invalid device cgroup rule format: '{rule}'")]
    DeviceRule {
        /// As asked.
        rule: String,
    },
    /// tmpfs knows no such option.
    #[error("invalid tmpfs option \"{option}\"")]
    TmpfsOption {
        /// As asked.
        option: String,
    },
    /// A namespace is to be shared with a container that has no process.
    #[error("cannot join the {kind} namespace of container {container}: it is not running")]
    NotRunning {
        /// `pid`, `ipc`.
        kind: &'static str,
        /// As asked.
        container: String,
    },
    /// A log driver's option is unknown or wrong.
    #[error("failed to create task for container: failed to initialize logging driver: {0}")]
    Log(String),
    /// A seccomp profile is wrong.
    #[error("{0}")]
    Seccomp(String),
}

impl SpecError {
    /// The sort of failure.
    pub fn kind(&self) -> Kind {
        match self {
            SpecError::Machine { .. } => Kind::Internal,
            SpecError::NotRunning { .. } => Kind::Conflict,
            _ => Kind::Invalid,
        }
    }
}

impl From<SpecError> for crate::RuntimeError {
    fn from(error: SpecError) -> Self {
        match error {
            SpecError::Machine { what, cause } => {
                crate::RuntimeError::Io { what: format!("look at {what}"), cause }
            }
            SpecError::Runc(why) => crate::RuntimeError::Runc(why),
            other => crate::RuntimeError::Invalid(other.to_string()),
        }
    }
}

/// `SECCOMP_FILTER_FLAG_SPEC_ALLOW`: a filter does not turn on speculation mitigations, which cost more than they
/// give since processes ask for them themselves (runc's default).
const SECCOMP_FLAGS: u32 = 4;

/// What a start needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// For the shim.
    pub start: StartPlan,
    /// The cgroup to make before, [`Cgroups::create`]'s path.
    pub cgroup: String,
    /// What to set in it before.
    pub limits: Limits,
}

/// Decides everything about a container's start.
///
/// # Errors
/// When the request can never work here: an unknown capability, a missing device, a bad option.
pub fn plan(request: &CreateRequest, host: &Host, lookup: &dyn DeviceLookup) -> Result<Plan, SpecError> {
    let container = &request.container;
    let spec = &container.spec;
    let path = cgroup_path(container, host);
    let cgroup = host.cgroups.at(&path);
    let devices = devices::plan(spec, lookup)?;
    let (steps, root_propagation) = mounts::plan(request, host, &cgroup, &devices)?;
    let namespaces = namespaces(request, host)?;
    let sysctls = sysctl::plan(request, &namespaces)?;
    let own_uts = namespaces.uts == Namespace::New;
    let mut limits = resources::limits(&spec.resources, lookup)?;
    limits.devices = Some(devices.rules);
    let start = StartPlan {
        id: container.id.to_string(),
        namespaces,
        cgroups: cgroup_dirs(&cgroup),
        hostname: if own_uts { hostname(container) } else { String::new() },
        domainname: if own_uts { spec.domainname.clone() } else { String::new() },
        root: root(&request.rootfs),
        root_read_only: spec.security.readonly_rootfs,
        root_propagation,
        steps,
        sysctls,
        process: process(request, host)?,
        init: request.init,
        stdin: request.stdin,
        stdin_once: spec.process.stdin_once,
        log: crate::logs::options::plan(&request.log)?,
        external: None,
    };
    Ok(Plan { start, cgroup: path, limits })
}

/// What becomes `/`.
fn root(rootfs: &crate::Rootfs) -> Root {
    let text = |path: &std::path::Path| path.to_string_lossy().into_owned();
    let lower: Vec<String> = rootfs.lower.iter().map(|path| text(path)).collect();
    let (upper, work) = (text(&rootfs.upper), text(&rootfs.work));
    match rootfs.volatile && !lower.is_empty() {
        true => Root::Volatile { lower, upper, work },
        false => Root::Overlay { lower, upper, work },
    }
}

/// A further process in a running container: as its first one, but for what is asked.
///
/// # Errors
/// As [`plan`].
pub fn exec_plan(container: &Container, exec: &ExecRequest, host: &Host) -> Result<ExecPlan, SpecError> {
    let spec = &container.spec;
    let own = capabilities(&spec.security, host.capabilities)?;
    let given = if exec.privileged { host.capabilities } else { own };
    let env = environment(exec.tty, &hostname(container), &[], &spec.process.env);
    let either = |asked: &str, own: &str| if asked.is_empty() { own.to_owned() } else { asked.to_owned() };
    let (rows, columns) = exec.size.unwrap_or_default();
    let process = Process {
        args: exec.args.clone(),
        env: merge_env(env, &exec.env),
        cwd: either(&exec.cwd, &either(&spec.process.working_dir, "/")),
        user: either(&exec.user, &spec.process.user),
        groups: spec.security.group_add.clone().unwrap_or_default(),
        capabilities: capability_sets(given),
        no_new_privileges: security::no_new_privileges(&spec.security, false),
        apparmor: if exec.privileged && host.apparmor {
            "unconfined".into()
        } else {
            security::apparmor(&spec.security, host)
        },
        selinux: String::new(),
        // The container's own filter, also for a privileged exec: as Docker and runc have it.
        seccomp: host.filters.get(&spec.security, own)?.to_vec(),
        seccomp_flags: SECCOMP_FLAGS,
        rlimits: resources::rlimits(&spec.resources.ulimits, &host.default_ulimits)?,
        oom_score_adj: Some(spec.oom_score_adj.clamp(-1000, 1000) as i32),
        tty: exec.tty,
        rows,
        columns,
    };
    let cgroup = host.cgroups.at(&cgroup_path(container, host));
    let stdin = exec.streams.is_some_and(|streams| streams.stdin);
    Ok(ExecPlan { id: exec.id.to_string(), process, cgroups: cgroup_dirs(&cgroup), stdin, external: None })
}

/// The path of a container's cgroup in each hierarchy.
pub fn cgroup_path(container: &Container, host: &Host) -> String {
    let parent = match container.spec.resources.cgroup_parent.trim_matches('/') {
        "" => host.cgroup_parent.trim_end_matches('/').to_owned(),
        asked => format!("/{asked}"),
    };
    format!("{parent}/{}", container.id)
}

/// A cgroup's directories as the shim wants them.
fn cgroup_dirs(cgroup: &Cgroup) -> plan::Cgroups {
    let text = |path: std::path::PathBuf| path.to_string_lossy().into_owned();
    plan::Cgroups {
        unified: cgroup.unified().map(text).unwrap_or_default(),
        legacy: cgroup.legacy().into_iter().map(text).collect(),
        memory: cgroup.memory().map(text).unwrap_or_default(),
    }
}

/// The host name: as asked, else the short id.
fn hostname(container: &Container) -> String {
    match container.spec.hostname.as_str() {
        "" => container.id.short().to_owned(),
        asked => asked.to_owned(),
    }
}

/// Which namespaces are new, the machine's or another container's.
fn namespaces(request: &CreateRequest, host: &Host) -> Result<Namespaces, SpecError> {
    let spec = &request.container.spec;
    let asked = &spec.namespaces;
    let join = |pid: Option<i32>, kind, container: &str| match pid {
        Some(pid) => Ok(Namespace::Join { pid }),
        None => Err(SpecError::NotRunning { kind, container: container.to_owned() }),
    };
    Ok(Namespaces {
        pid: match &asked.pid {
            Sharing::Private => Namespace::New,
            Sharing::Host => Namespace::Host,
            Sharing::Container(container) => join(request.join.pid, "pid", container)?,
        },
        ipc: match &asked.ipc {
            IpcSharing::Host => Namespace::Host,
            IpcSharing::Container(container) => join(request.join.ipc, "ipc", container)?,
            _ => Namespace::New,
        },
        net: match request.join.net {
            NetJoin::New => Namespace::New,
            NetJoin::Host => Namespace::Host,
            NetJoin::Container(pid) => Namespace::Join { pid },
        },
        uts: match request.join.net {
            _ if asked.uts_host => Namespace::Host,
            // Who shares a network shares its name.
            NetJoin::Container(pid) => Namespace::Join { pid },
            _ => Namespace::New,
        },
        cgroup: match mounts::cgroup_namespace_is_host(asked, host.cgroups.version()) {
            true => Namespace::Host,
            false => Namespace::New,
        },
    })
}

/// The first process.
fn process(request: &CreateRequest, host: &Host) -> Result<Process, SpecError> {
    let container = &request.container;
    let spec = &container.spec;
    let env = environment(spec.process.tty, &hostname(container), &request.extra_env, &spec.process.env);
    let (rows, columns) = spec.console_size;
    let capabilities = capabilities(&spec.security, host.capabilities)?;
    Ok(Process {
        args: container.args.clone(),
        env,
        cwd: if spec.process.working_dir.is_empty() { "/".into() } else { spec.process.working_dir.clone() },
        user: spec.process.user.clone(),
        groups: spec.security.group_add.clone().unwrap_or_default(),
        capabilities: capability_sets(capabilities),
        no_new_privileges: security::no_new_privileges(&spec.security, false),
        apparmor: security::apparmor(&spec.security, host),
        selinux: String::new(),
        seccomp: host.filters.get(&spec.security, capabilities)?.to_vec(),
        seccomp_flags: SECCOMP_FLAGS,
        rlimits: resources::rlimits(&spec.resources.ulimits, &host.default_ulimits)?,
        oom_score_adj: Some(spec.oom_score_adj.clamp(-1000, 1000) as i32),
        tty: spec.process.tty,
        rows,
        columns,
    })
}

/// Docker gives no inheritable and no ambient capabilities (CVE-2022-24769).
fn capability_sets(set: u64) -> plan::Capabilities {
    plan::Capabilities { bounding: set, effective: set, permitted: set, inheritable: 0, ambient: 0 }
}

/// The environment: `PATH`, `HOSTNAME`, `TERM` with a terminal, the engine's, then the image's and the user's.
fn environment(tty: bool, hostname: &str, extra: &[String], asked: &[String]) -> Vec<String> {
    let mut env = vec![defaults::PATH.to_owned(), format!("HOSTNAME={hostname}")];
    if tty {
        env.push("TERM=xterm".into());
    }
    merge_env(merge_env(env, extra), asked)
}

/// `NAME=value` replaces in place or is added; `NAME` removes (moby `container.ReplaceOrAppendEnvVars`).
fn merge_env(mut env: Vec<String>, over: &[String]) -> Vec<String> {
    for entry in over {
        let name = entry.split('=').next().unwrap_or(entry);
        let found = env.iter().position(|old| old.split('=').next() == Some(name));
        match (entry.contains('='), found) {
            (true, Some(at)) => env[at] = entry.clone(),
            (true, None) => env.push(entry.clone()),
            (false, Some(at)) => drop(env.remove(at)),
            (false, None) => {}
        }
    }
    env
}

#[cfg(test)]
pub(crate) mod tests;
