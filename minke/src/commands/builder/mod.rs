//! `builder …`

pub(crate) mod prune;

use crate::cli::command::{Entry, Group};

/// The group.
pub(crate) static GROUP: Group = Group {
    name: "builder",
    about: "Manage builds",
    entries: &[Entry::Command(&super::build::COMMAND), Entry::Command(&prune::COMMAND)],
};
