//! Processes of containers: from a container's record to a running process, and back after a daemon's restart.
//!
//! `Runtime` makes, finds and forgets; `Process` is one container's process. Never: records, images, networks.

pub mod error;
pub mod process;
pub mod logs;
pub mod request;
pub mod spec;

pub use error::{RuntimeError, StartError};
pub use process::{Exec, Found, Process};
pub use request::{
    AttachStreams, CreateRequest, ExecRequest, ExecState, Exit, ExternalRuntime, Joined, LogTarget, MountSource, NetJoin, NetworkFiles,
    ResolvedMount, Rootfs, RuntimeConfig,
};

use minke_model::ContainerId;
use std::sync::Arc;

/// All containers' processes of one daemon. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Runtime {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    config: RuntimeConfig,
}

impl Runtime {
    /// Opens exec-root: locks it, lays out the shim's program.
    pub fn open(config: RuntimeConfig) -> Result<Runtime, RuntimeError> {
        Ok(Runtime { inner: Arc::new(Inner { config }) })
    }

    /// As opened.
    pub fn config(&self) -> &RuntimeConfig {
        &self.inner.config
    }

    /// Phase one of a start: cgroups made, shim spawned, child cloned into its namespaces; it waits for `go`.
    pub async fn create(&self, _request: CreateRequest) -> Result<Process, RuntimeError> {
        unimplemented!()
    }

    /// Finds the process of a container again after a daemon's restart; `None` when exec-root holds nothing of it.
    pub async fn reconnect(&self, _id: &ContainerId) -> Result<Option<Found>, RuntimeError> {
        unimplemented!()
    }

    /// Every container that exec-root holds something of.
    pub fn containers(&self) -> Vec<ContainerId> {
        unimplemented!()
    }

    /// The exit was recorded: the shim ends, its files and cgroups go.
    pub async fn forget(&self, _id: &ContainerId) -> Result<(), RuntimeError> {
        unimplemented!()
    }
}
