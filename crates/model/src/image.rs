//! Images as containers see them: a platform, defaults for a process, layers.

use crate::{Labels, health::HealthSpec, port::Port};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// An operating system and processor that an image is for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Platform {
    /// `linux`.
    pub os: String,
    /// `amd64`, `arm64`, `arm`…
    pub architecture: String,
    /// `v7`, `v8`…; empty when none.
    pub variant: String,
}

/// The defaults that an image gives to its containers (OCI image spec, config.md#properties, `config`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageDefaults {
    /// `name[:group]` or ids.
    pub user: String,
    /// Ports that its service listens on.
    pub exposed_ports: BTreeSet<Port>,
    /// `NAME=value`.
    pub env: Vec<String>,
    /// Run first.
    pub entrypoint: Option<Vec<String>>,
    /// Arguments, or all, of the command.
    pub cmd: Option<Vec<String>>,
    /// Paths that get an anonymous volume.
    pub volumes: BTreeSet<String>,
    /// Where the process starts; empty is `/`.
    pub working_dir: String,
    /// The image's labels.
    pub labels: Labels,
    /// Its stop signal, if not SIGTERM.
    pub stop_signal: Option<String>,
    /// Seconds to wait for it, if not 10.
    pub stop_timeout: Option<i64>,
    /// Its probe.
    pub healthcheck: Option<HealthSpec>,
    /// For shell forms.
    pub shell: Option<Vec<String>>,
    /// Instructions for images built on this one.
    pub on_build: Vec<String>,
    /// Windows leftovers, kept as found.
    pub args_escaped: bool,
}
