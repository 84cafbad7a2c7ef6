//! `network …`

pub(crate) mod connect;
pub(crate) mod create;
pub(crate) mod disconnect;
pub(crate) mod inspect;
pub(crate) mod ls;
pub(crate) mod prune;
pub(crate) mod rm;

use crate::cli::command::{Entry, Group};

/// The group.
pub(crate) static GROUP: Group = Group {
    name: "network",
    about: "Manage networks",
    entries: &[
        Entry::Command(&connect::COMMAND),
        Entry::Command(&create::COMMAND),
        Entry::Command(&disconnect::COMMAND),
        Entry::Command(&inspect::COMMAND),
        Entry::Command(&ls::COMMAND),
        Entry::Command(&prune::COMMAND),
        Entry::Command(&rm::COMMAND),
    ],
};

/// The path of a network's resource.
pub(crate) fn path(name: &str, rest: &str) -> String {
    format!("/networks/{}{rest}", super::segment(name))
}
