//! `system …`

pub(crate) mod df;
pub(crate) mod dial_stdio;
pub(crate) mod events;
pub(crate) mod info;
pub(crate) mod prune;
pub(crate) mod version;

use crate::cli::command::{Entry, Group};

/// The group.
pub(crate) static GROUP: Group = Group {
    name: "system",
    about: "Manage the daemon's machine as a whole",
    entries: &[Entry::Command(&df::COMMAND), Entry::Command(&dial_stdio::COMMAND), Entry::Command(&events::COMMAND), Entry::Command(&info::COMMAND), Entry::Command(&prune::COMMAND)],
};
