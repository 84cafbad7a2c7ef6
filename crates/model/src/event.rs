//! What happened, as `docker events` tells it.

use crate::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What an event is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Noun {
    /// A container.
    Container,
    /// An image.
    Image,
    /// A volume.
    Volume,
    /// A network.
    Network,
    /// The daemon.
    Daemon,
    /// The builder.
    Builder,
    /// A service of the cluster.
    Service,
    /// A machine of the cluster.
    Node,
    /// A secret of the cluster.
    Secret,
    /// A config of the cluster.
    Config,
}

impl Noun {
    /// Docker's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Noun::Container => "container",
            Noun::Image => "image",
            Noun::Volume => "volume",
            Noun::Network => "network",
            Noun::Daemon => "daemon",
            Noun::Builder => "builder",
            Noun::Service => "service",
            Noun::Node => "node",
            Noun::Secret => "secret",
            Noun::Config => "config",
        }
    }
}

/// What was done, in Docker's words: `create`, `start`, `die`, `exec_create: sh -c x`, `health_status: healthy`.
pub type Action = String;

/// Where something happened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Scope {
    /// On this machine.
    #[default]
    Local,
    /// In the cluster.
    Swarm,
}

impl Scope {
    /// Docker's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Scope::Local => "local",
            Scope::Swarm => "swarm",
        }
    }
}

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// When.
    pub at: Timestamp,
    /// Where.
    #[serde(default)]
    pub scope: Scope,
    /// To what.
    pub noun: Noun,
    /// What.
    pub action: Action,
    /// Full id, or name for volumes, or reference for images.
    pub id: String,
    /// What else is told: name, image, labels, exitCode, signal…
    pub attributes: BTreeMap<String, String>,
}
