//! `cluster …`: many machines as one.

pub(crate) mod backup;
pub(crate) mod ha;
pub(crate) mod init;
pub(crate) mod join;
pub(crate) mod restore;
pub(crate) mod token;

use crate::cli::command::{Entry, Group};

/// The group.
pub(crate) static GROUP: Group = Group {
    name: "cluster",
    about: "Manage the cluster that this machine is in",
    entries: &[
        Entry::Command(&backup::COMMAND),
        Entry::Command(&ha::COMMAND),
        Entry::Command(&init::COMMAND),
        Entry::Command(&join::COMMAND),
        Entry::Command(&restore::COMMAND),
        Entry::Command(&token::COMMAND),
    ],
};
