//! What can go wrong with a cgroup. Never decides what it means for the caller.

use std::{io, path::PathBuf};

/// A refusal by the cgroup file system.
#[derive(Debug, thiserror::Error)]
pub enum CgroupError {
    /// No cgroup file system is mounted at all.
    #[error("no cgroup hierarchy is mounted")]
    NoHierarchy,
    /// A file could not be read.
    #[error("cannot read {path}: {source}", path = path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
    /// A value was refused.
    #[error("failed to write {value:?}: write {path}: {}", crate::words::of(source), path = path.display())]
    Write {
        /// Where.
        path: PathBuf,
        /// What.
        value: String,
        /// The kernel's answer.
        source: io::Error,
    },
    /// A cgroup could not be made.
    #[error("cannot create cgroup {path}: {source}", path = path.display())]
    Create {
        /// Which.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
    /// A cgroup could not be taken away, for another reason than being in use.
    #[error("cannot remove cgroup {path}: {source}", path = path.display())]
    Remove {
        /// Which.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The device filter was refused.
    #[error("cannot {action} the device filter of cgroup {path}: {source}", path = path.display())]
    DeviceFilter {
        /// `load`, `attach`…
        action: &'static str,
        /// Of which cgroup.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
    /// A limit asks for what this kernel's cgroups cannot do.
    #[error("{what} is not supported by this machine's cgroups")]
    Unsupported {
        /// Which limit.
        what: &'static str,
    },
    /// Limits contradict each other.
    #[error("invalid limits: {0}")]
    Invalid(String),
    /// Processes did not freeze in time.
    #[error("processes of cgroup {path} did not freeze within {seconds} s", path = path.display())]
    NotFrozen {
        /// Which.
        path: PathBuf,
        /// How long was waited.
        seconds: u64,
    },
}

impl CgroupError {
    /// The kernel's answer, where there is one.
    pub fn errno(&self) -> Option<i32> {
        match self {
            CgroupError::Read { source, .. }
            | CgroupError::Write { source, .. }
            | CgroupError::Create { source, .. }
            | CgroupError::Remove { source, .. }
            | CgroupError::DeviceFilter { source, .. } => source.raw_os_error(),
            _ => None,
        }
    }
}
