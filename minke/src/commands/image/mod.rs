//! `image …`

pub(crate) mod history;
pub(crate) mod import;
pub(crate) mod inspect;
pub(crate) mod load;
pub(crate) mod ls;
pub(crate) mod prune;
pub(crate) mod pull;
pub(crate) mod push;
pub(crate) mod rm;
pub(crate) mod save;
pub(crate) mod tag;
pub(crate) mod verify;

use crate::cli::command::{Entry, Group};

/// The group.
pub(crate) static GROUP: Group = Group {
    name: "image",
    about: "Manage images",
    entries: &[
        Entry::Command(&super::build::COMMAND),
        Entry::Command(&history::COMMAND),
        Entry::Command(&import::COMMAND),
        Entry::Command(&inspect::COMMAND),
        Entry::Command(&load::COMMAND),
        Entry::Command(&ls::COMMAND),
        Entry::Command(&prune::COMMAND),
        Entry::Command(&pull::COMMAND),
        Entry::Command(&push::COMMAND),
        Entry::Command(&rm::COMMAND),
        Entry::Command(&save::COMMAND),
        Entry::Command(&tag::COMMAND),
        Entry::Command(&verify::COMMAND),
    ],
};

/// The path of an image's resource.
pub(crate) fn path(name: &str, rest: &str) -> String {
    format!("/images/{}{rest}", super::segment(name))
}
