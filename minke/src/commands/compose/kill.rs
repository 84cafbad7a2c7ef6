//! `compose kill`: a signal for containers, side by side.

use super::observe;
use super::progress::Mark;
use super::session::{Session, is_set};
use crate::cli::command::{Arity, Command, command};
use crate::cli::flag::flags;
use crate::cli::{Cli, Outcome};
use crate::commands::container::path;
use minke_compose::running::{Container, Running, State};

/// `kill`
pub(super) static COMMAND: Command = command!(KillFlags, kill, {
    name: "kill",
    usage: "[OPTIONS] [SERVICE...]",
    about: "Kill containers",
    arity: Arity::Any,
});

flags! {
    /// Flags of `kill`.
    struct KillFlags {
        dry_run: bool ["dry-run"], "Say what would be done, and why, and do nothing";
        remove_orphans: Option<bool> ["remove-orphans"], "Kill containers of services that no file has too";
        signal: String ["signal" 's'] = "SIGKILL", "Signal to send";
    }
}

fn kill(cli: &Cli, flags: KillFlags, services: Vec<String>) -> Outcome {
    let session = Session::new(cli, flags.dry_run)?;
    let (project, name) = session.project_or_name(&services)?;
    let client = session.client()?;
    let running = Running { containers: observe::containers(client, &name)?, ..Running::default() };
    let outline = session.outline(project.as_ref(), &name, &running);
    let orphans = flags.remove_orphans.unwrap_or_else(|| is_set("COMPOSE_REMOVE_ORPHANS"));
    let containers: Vec<&Container> = (running.containers.iter())
        .filter(|one| matches!(one.state, State::Running | State::Paused | State::Restarting))
        .filter(|one| services.is_empty() || services.iter().any(|name| name == one.service()))
        .filter(|one| orphans || outline.services.contains_key(one.service()))
        .collect();
    each(&session, "Killing", ("Killing", "Killed", "kill"), &containers, |one| {
        client.act(&path(&one.id, "/kill"), &[("signal", flags.signal.clone())]).map_err(Into::into)
    })
}

/// Does the same to containers, side by side; `words` are those of progress (the first may be empty), and the verb for
/// a dry run.
pub(super) fn each(
    session: &Session<'_>,
    title: &'static str,
    (working, done, verb): (&str, &str, &str),
    containers: &[&Container],
    work: impl Fn(&Container) -> Outcome + Sync,
) -> Outcome {
    if containers.is_empty() {
        eprintln!("no container to {verb}");
        return Ok(());
    }
    if session.dry_run {
        let lines =
            containers.iter().map(|one| format!("{verb} container {}, because it was asked for\n", one.name));
        return crate::cli::show(&lines.collect::<String>());
    }
    let progress = session.progress(title)?;
    let none = vec![Vec::new(); containers.len()];
    super::execute::run(&none, super::execute::AT_ONCE, |at| {
        let thing = format!("Container {}", containers[at].name);
        if !working.is_empty() {
            progress.tell(&thing, Mark::Working, working);
        }
        match work(containers[at]) {
            Ok(()) => progress.tell(&thing, Mark::Done, done),
            Err(failure) => {
                progress.tell(&thing, Mark::Error, &format!("Error while {title}"));
                return Err(failure);
            }
        }
        Ok(())
    })
}
