//! `compose pause` and `compose unpause`.

use super::DryRun;
use super::kill::each;
use super::observe;
use super::session::Session;
use crate::cli::command::{Arity, Command, command};
use crate::cli::{Cli, Outcome};
use crate::commands::container::path;
use minke_compose::running::{Container, State};

/// `pause`
pub(super) static COMMAND: Command = command!(DryRun, pause, {
    name: "pause",
    usage: "[SERVICE...]",
    about: "Pause services",
    arity: Arity::Any,
});

/// `unpause`
pub(super) static UNPAUSE: Command = command!(DryRun, unpause, {
    name: "unpause",
    usage: "[SERVICE...]",
    about: "Let paused services go on",
    arity: Arity::Any,
});

fn pause(cli: &Cli, flags: DryRun, services: Vec<String>) -> Outcome {
    // A paused one is asked too: the daemon says what is wrong.
    all(
        &Session::new(cli, flags.dry_run)?,
        &services,
        &[State::Running, State::Paused],
        "Pausing",
        ("", "Paused", "pause"),
    )
}

fn unpause(cli: &Cli, flags: DryRun, services: Vec<String>) -> Outcome {
    all(
        &Session::new(cli, flags.dry_run)?,
        &services,
        &[State::Paused],
        "Unpausing",
        ("", "Unpaused", "unpause"),
    )
}

fn all(
    session: &Session<'_>,
    services: &[String],
    states: &[State],
    title: &'static str,
    words: (&str, &str, &str),
) -> Outcome {
    let (_, name) = session.project_or_name(services)?;
    let client = session.client()?;
    let there = observe::containers(client, &name)?;
    let containers: Vec<&Container> = (there.iter())
        .filter(|one| states.contains(&one.state) && !one.is_one_off())
        .filter(|one| services.is_empty() || services.iter().any(|name| name == one.service()))
        .collect();
    each(session, title, words, &containers, |one| {
        client.act(&path(&one.id, &format!("/{}", words.2)), &[]).map_err(Into::into)
    })
}
