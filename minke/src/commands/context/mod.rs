//! `context …`: named daemons, in docker's own store.

pub(crate) mod create;
pub(crate) mod inspect;
pub(crate) mod ls;
pub(crate) mod rm;
pub(crate) mod show;
pub(crate) mod use_context;

use crate::cli::Cli;
use crate::cli::command::{Entry, Group};
use crate::client::Host;
use crate::client::host::default_socket;

/// The group.
pub(crate) static GROUP: Group = Group {
    name: "context",
    about: "Manage contexts",
    entries: &[
        Entry::Command(&create::COMMAND),
        Entry::Command(&inspect::COMMAND),
        Entry::Command(&ls::COMMAND),
        Entry::Command(&rm::COMMAND),
        Entry::Command(&show::COMMAND),
        Entry::Command(&use_context::COMMAND),
    ],
};

/// The address of the context `default`.
pub(crate) fn default_host(cli: &Cli) -> String {
    cli.explicit_host().unwrap_or_else(|| Host::Unix(default_socket()).to_string())
}
