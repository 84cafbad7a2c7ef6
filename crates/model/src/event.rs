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
        }
    }
}

/// What was done, in Docker's words: `create`, `start`, `die`, `exec_create: sh -c x`, `health_status: healthy`.
pub type Action = String;

/// One thing that happened on this machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// When.
    pub at: Timestamp,
    /// To what.
    pub noun: Noun,
    /// What.
    pub action: Action,
    /// Full id, or name for volumes, or reference for images.
    pub id: String,
    /// What else is told: name, image, labels, exitCode, signal…
    pub attributes: BTreeMap<String, String>,
}
