//! `system …`

pub(crate) mod df;
pub(crate) mod dial_stdio;
pub(crate) mod events;
pub(crate) mod info;
pub(crate) mod install;
pub(crate) mod prune;
pub(crate) mod uninstall;
mod units;
pub(crate) mod version;

use crate::cli::Failure;
use crate::cli::command::{Entry, Group};

/// The group.
pub(crate) static GROUP: Group = Group {
    name: "system",
    about: "Manage the daemon's machine as a whole",
    entries: &[
        Entry::Command(&df::COMMAND),
        Entry::Command(&dial_stdio::COMMAND),
        Entry::Command(&events::COMMAND),
        Entry::Command(&info::COMMAND),
        Entry::Command(&install::COMMAND),
        Entry::Command(&prune::COMMAND),
        Entry::Command(&uninstall::COMMAND),
    ],
};

/// A template that failed while it was carried out: docker ends the line that it had begun.
fn spoilt(why: &str) -> Failure {
    // Stdout that is closed cannot be told of more.
    let _ = crate::cli::show("\n");
    Failure::new(why)
}
