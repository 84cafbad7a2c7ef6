//! Volumes: directories that outlive containers.

use crate::{Labels, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A volume of this machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Volume {
    /// Unique; 64 hex digits when anonymous.
    pub name: String,
    /// `local`.
    pub driver: String,
    /// The driver's options as asked (`type`, `device`, `o` for `local`).
    pub options: BTreeMap<String, String>,
    /// The user's labels.
    pub labels: Labels,
    /// When it was made.
    pub created: Timestamp,
    /// Made by the daemon for a path without a name; goes with `rm -v` and `volume prune`.
    pub anonymous: bool,
}
