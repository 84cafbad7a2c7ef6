//! `compose stats`: what containers use.

use super::observe;
use super::session::Session;
use crate::cli::command::{Arity, Command, command};
use crate::cli::{Cli, Outcome};
use crate::commands::container::stats::{StatsFlags, stats as of_containers};

/// `stats`
pub(super) static COMMAND: Command = command!(StatsFlags, stats, {
    name: "stats",
    usage: "[OPTIONS] [SERVICE]",
    about: "Show what containers use, as it changes",
    arity: Arity::AtMost(1),
});

fn stats(cli: &Cli, flags: StatsFlags, args: Vec<String>) -> Outcome {
    let session = Session::new(cli, false)?;
    let name = session.name()?;
    let listed = observe::list(session.client()?, &name, flags.all)?;
    let containers: Vec<String> = (listed.items().iter())
        .map(observe::container)
        .filter(|one| args.is_empty() || args[0] == one.service())
        .map(|one| one.name)
        .collect();
    if containers.is_empty() {
        return Ok(());
    }
    of_containers(cli, flags, containers)
}
