//! What can go wrong with processes.

use minke_model::{ContainerId, ExecId, Kind};
use minke_shim::protocol::Stage;
use std::{io, path::PathBuf};
use thiserror::Error;

/// A failure of the runtime.
#[derive(Debug, Error)]
pub enum RuntimeError {
    /// The kernel refused something.
    #[error("{what}: {cause}")]
    Io {
        /// What was tried, on what: `make the cgroup /sys/fs/…`.
        what: String,
        /// Why not.
        #[source]
        cause: io::Error,
    },
    /// A cgroup refused something.
    #[error("{what}: {cause}")]
    Cgroup {
        /// What was tried, on which.
        what: String,
        /// Why not.
        #[source]
        cause: minke_linux::cgroup::CgroupError,
    },
    /// A process could not be started.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The request can never work.
    #[error("{0}")]
    Invalid(String),
    /// What runc would refuse before it makes anything, in its words.
    #[error("{0}")]
    Runc(String),
    /// It is not supported here.
    #[error("{0}")]
    NotImplemented(String),
    /// No such runtime is configured.
    #[error("unknown or invalid runtime name: {name}")]
    NoSuchRuntime {
        /// As asked.
        name: String,
    },
    /// The container has no process.
    #[error("container {id} is not running")]
    NotRunning {
        /// Which.
        id: ContainerId,
    },
    /// No such exec in this container.
    #[error("no exec {id}")]
    NoSuchExec {
        /// Which.
        id: ExecId,
    },
    /// The shim does not answer any more; its container is dead.
    #[error("the shim of container {id} is gone")]
    ShimGone {
        /// Which.
        id: ContainerId,
    },
    /// The shim answers nonsense.
    #[error("the shim of container {id} answers nonsense: {what}")]
    Protocol {
        /// Which.
        id: ContainerId,
        /// What was odd.
        what: String,
    },
    /// A directory belongs to another daemon that runs.
    #[error("{} is in use by another daemon", path.display())]
    InUse {
        /// Which.
        path: PathBuf,
    },
}

impl RuntimeError {
    /// For `map_err`: names what was tried.
    pub fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> RuntimeError {
        let what = what.into();
        move |cause| RuntimeError::Io { what, cause }
    }

    /// The sort of failure.
    pub fn kind(&self) -> Kind {
        match self {
            RuntimeError::Io { .. }
            | RuntimeError::Runc(_)
            | RuntimeError::Cgroup { .. }
            | RuntimeError::ShimGone { .. }
            | RuntimeError::Protocol { .. } => Kind::Internal,
            RuntimeError::Start(e) => e.kind(),
            RuntimeError::Invalid(_) | RuntimeError::NoSuchRuntime { .. } => Kind::Invalid,
            RuntimeError::NotImplemented(_) => Kind::NotImplemented,
            RuntimeError::NotRunning { .. } | RuntimeError::InUse { .. } => Kind::Conflict,
            RuntimeError::NoSuchExec { .. } => Kind::NotFound,
        }
    }
}

/// Why a process could not be started: told by the process itself, from inside.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{}", self.text())]
pub struct StartError {
    /// Where it failed.
    pub stage: Stage,
    /// errno; 0 when `detail` says all.
    pub errno: i32,
    /// On what: the path, the command, the user.
    pub detail: String,
}

impl StartError {
    /// The exit code that Docker gives: 127 not found, 126 found but cannot run, 128 all else. By dockerd's rule, which
    /// looks at the words.
    pub fn exit_code(&self) -> i32 {
        let text = self.text();
        let says = |words: &[&str]| words.iter().any(|word| text.contains(word));
        if says(&["permission denied", "is a directory"]) {
            126
        } else if says(&["executable file not found", "no such file or directory", "not a directory"]) {
            127
        } else {
            128
        }
    }

    /// The kernel's words for `errno`, as Go writes them: lower case.
    pub fn reason(&self) -> String {
        minke_linux::words::of(&io::Error::from_raw_os_error(self.errno))
    }

    /// What went wrong, in the words that Docker's clients know from runc.
    fn text(&self) -> String {
        let StartError { stage, errno, detail } = self;
        match stage {
            // They have their own words.
            Stage::User | Stage::External if *errno == 0 => detail.clone(),
            Stage::Exec if *errno == libc_errno::ENOENT && !detail.contains('/') => {
                format!("exec: \"{detail}\": executable file not found in $PATH")
            }
            Stage::Exec if matches!(*errno, libc_errno::ENOENT | libc_errno::ENOTDIR) => {
                format!("exec: \"{detail}\": stat {detail}: {}", self.reason())
            }
            Stage::Exec if *errno == libc_errno::EISDIR => {
                format!("exec: \"{detail}\": is a directory: permission denied")
            }
            Stage::Exec => format!("exec: \"{detail}\": {}", self.reason()),
            Stage::Hostname => format!("sethostname: {}", self.reason()),
            Stage::Rlimit => format!(
                "error setting rlimits for ready process: error setting rlimit type {detail}: {}",
                self.reason()
            ),
            Stage::Sysctl => {
                let (name, value) = detail.split_once('=').unwrap_or((detail, ""));
                let path = name.replace('.', "/");
                match *errno {
                    libc_errno::ENOENT => {
                        format!("open sysctl {name} file: openat2 /proc/sys/{path}: {}", self.reason())
                    }
                    _ => format!(
                        "failed to write sysctl {name} = {value:?}: write /proc/sys/{path}: {}",
                        self.reason()
                    ),
                }
            }
            Stage::Mount if *errno == 0 => detail.clone(),
            Stage::Mount if detail.starts_with("error mounting") => format!("{detail}: {}", self.reason()),
            Stage::Cwd => format!("chdir to cwd (\"{detail}\") set in config.json failed: {}", self.reason()),
            _ if *errno == 0 => format!("{}: {detail}", stage.as_str()),
            _ => format!("{}: {detail}: {}", stage.as_str(), self.reason()),
        }
    }

    /// The sort of failure.
    pub fn kind(&self) -> Kind {
        match self.stage {
            Stage::Exec | Stage::Cwd | Stage::User => Kind::Invalid,
            _ => Kind::Internal,
        }
    }
}

/// The few numbers that decide an exit code.
mod libc_errno {
    use rustix::io::Errno;
    pub(super) const ENOENT: i32 = Errno::NOENT.raw_os_error();
    pub(super) const ENOTDIR: i32 = Errno::NOTDIR.raw_os_error();
    pub(super) const EISDIR: i32 = Errno::ISDIR.raw_os_error();
}
