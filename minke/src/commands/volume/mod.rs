//! `volume …`

pub(crate) mod create;
pub(crate) mod inspect;
pub(crate) mod ls;
pub(crate) mod prune;
pub(crate) mod rm;

use crate::cli::command::{Entry, Group};

/// The group.
pub(crate) static GROUP: Group = Group {
    name: "volume",
    about: "Manage volumes",
    entries: &[
        Entry::Command(&create::COMMAND),
        Entry::Command(&inspect::COMMAND),
        Entry::Command(&ls::COMMAND),
        Entry::Command(&prune::COMMAND),
        Entry::Command(&rm::COMMAND),
    ],
};

/// The path of a volume's resource.
pub(crate) fn path(name: &str) -> String {
    format!("/volumes/{}", super::segment(name))
}
