//! The commands, one a file, and the tree that leads to them.

pub(crate) mod build;
pub(crate) mod builder;
pub(crate) mod cluster;
pub(crate) mod completion;
pub(crate) mod compose;
pub(crate) mod container;
pub(crate) mod context;
pub(crate) mod image;
pub(crate) mod inspect;
pub(crate) mod man;
pub(crate) mod manifest;
pub(crate) mod network;
pub(crate) mod node;
pub(crate) mod registry;
pub(crate) mod secret;
pub(crate) mod service;
pub(crate) mod swarm;
pub(crate) mod system;
pub(crate) mod volume;

use crate::cli::command::Entry;

/// All that can be said after the program's name.
pub(crate) static TREE: &[Entry] = &[
    Entry::Command(&container::run::COMMAND),
    Entry::Command(&container::exec::COMMAND),
    Entry::Alias("ps", &container::ls::COMMAND),
    Entry::Command(&build::COMMAND),
    Entry::Command(&image::pull::COMMAND),
    Entry::Command(&image::push::COMMAND),
    Entry::Command(&registry::login::COMMAND),
    Entry::Command(&registry::logout::COMMAND),
    Entry::Command(&registry::search::COMMAND),
    Entry::Alias("images", &image::ls::COMMAND),
    Entry::Command(&system::version::COMMAND),
    Entry::Command(&system::info::COMMAND),
    Entry::Flagged(&compose::GROUP),
    Entry::Group(&builder::GROUP),
    Entry::Group(&cluster::GROUP),
    Entry::Group(&secret::CONFIG),
    Entry::Group(&container::GROUP),
    Entry::Group(&context::GROUP),
    Entry::Group(&image::GROUP),
    Entry::Group(&manifest::GROUP),
    Entry::Group(&network::GROUP),
    Entry::Group(&node::GROUP),
    Entry::Group(&secret::SECRET),
    Entry::Group(&service::GROUP),
    Entry::Group(&swarm::GROUP),
    Entry::Group(&system::GROUP),
    Entry::Group(&volume::GROUP),
    Entry::Command(&container::attach::COMMAND),
    Entry::Command(&container::commit::COMMAND),
    Entry::Command(&completion::COMMAND),
    Entry::Command(&completion::OFFERS),
    Entry::Command(&container::cp::COMMAND),
    Entry::Command(&container::create::COMMAND),
    Entry::Command(&container::diff::COMMAND),
    Entry::Command(&system::events::COMMAND),
    Entry::Command(&container::export::COMMAND),
    Entry::Command(&image::history::COMMAND),
    Entry::Command(&image::import::COMMAND),
    Entry::Command(&inspect::COMMAND),
    Entry::Command(&container::kill::COMMAND),
    Entry::Command(&image::load::COMMAND),
    Entry::Command(&container::logs::COMMAND),
    Entry::Command(&man::COMMAND),
    Entry::Command(&container::pause::COMMAND),
    Entry::Command(&container::port::COMMAND),
    Entry::Command(&container::rename::COMMAND),
    Entry::Command(&container::restart::COMMAND),
    Entry::Command(&container::rm::COMMAND),
    Entry::Alias("rmi", &image::rm::COMMAND),
    Entry::Command(&image::save::COMMAND),
    Entry::Command(&container::start::COMMAND),
    Entry::Command(&container::stats::COMMAND),
    Entry::Command(&container::stop::COMMAND),
    Entry::Command(&image::tag::COMMAND),
    Entry::Command(&container::top::COMMAND),
    Entry::Command(&container::pause::UNPAUSE),
    Entry::Command(&container::update::COMMAND),
    Entry::Command(&container::wait::COMMAND),
];

/// Docker's verbs that come with later versions: they are told apart from typing mistakes.
const LATER: &[&str] = &[
    "buildx",
    "checkpoint",
    "plugin",
    "stack",
    "trust",
    "context export",
    "context import",
    "context update",
    "volume update",
];

/// The verb among [`LATER`] that `path` names.
pub(crate) fn comes_later(path: &str) -> Option<&'static str> {
    LATER.iter().find(|verb| **verb == path).copied()
}

/// An I/O error's reason in the words of Go, which docker's sentences end with.
pub(crate) use minke_linux::words::of as go_error;

/// A name that a user typed, as part of a request's path. Slashes and colons stay, as docker's client
/// leaves them: names of images and links have some.
pub(crate) fn segment(name: &str) -> String {
    crate::client::http::encode(name).replace("%2F", "/").replace("%3A", ":")
}

#[cfg(test)]
mod tests;
