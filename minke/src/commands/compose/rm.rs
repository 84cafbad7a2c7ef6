//! `compose rm`: removes stopped containers.

use super::kill::each;
use super::observe;
use super::session::{Manner, Session};
use crate::cli::command::{Arity, Command, command};
use crate::cli::flag::flags;
use crate::cli::{Cli, Outcome, show};
use crate::client::http::Payload;
use crate::commands::container::path;
use crate::output::confirm;
use minke_compose::plan;
use minke_compose::running::{Container, State};

/// `rm`
pub(super) static COMMAND: Command = command!(RmFlags, rm, {
    name: "rm",
    usage: "[OPTIONS] [SERVICE...]",
    about: "Remove stopped containers",
    long: "Anonymous volumes stay unless -v is given. What is not in a volume is lost.",
    arity: Arity::Any,
});

flags! {
    /// Flags of `rm`.
    struct RmFlags {
        all: bool ["all" 'a'], "", "it has no effect";
        dry_run: bool ["dry-run"], "Say what would be done, and why, and do nothing";
        force: bool ["force" 'f'], "Do not ask";
        stop: bool ["stop" 's'], "Stop the containers first";
        volumes: bool ["volumes" 'v'], "Remove anonymous volumes of the containers too";
    }
}

fn rm(cli: &Cli, flags: RmFlags, services: Vec<String>) -> Outcome {
    let session = Session::new(cli, flags.dry_run)?;
    let (project, name) = session.project_or_name(&services)?;
    let client = session.client()?;
    if flags.stop {
        let running = session.observe(&name, None)?;
        let outline = session.outline(project.as_ref(), &name, &running);
        let plan = plan::stop(&outline, &running, &services);
        session.carry_out("Stopping", &plan, project.as_ref(), &Manner::default())?;
    }
    let there = observe::containers(client, &name)?;
    let known =
        |one: &Container| project.as_ref().is_none_or(|project| project.services.contains_key(one.service()));
    let stopped: Vec<&Container> = (there.iter())
        .filter(|one| !one.is_one_off() && known(one))
        .filter(|one| services.is_empty() || services.iter().any(|name| name == one.service()))
        .filter(|one| {
            !matches!(one.state, State::Running | State::Paused | State::Restarting)
                || (flags.stop && session.dry_run)
        })
        .collect();
    if stopped.is_empty() {
        eprintln!("No stopped containers");
        return Ok(());
    }
    let names: Vec<&str> = stopped.iter().map(|one| one.name.as_str()).collect();
    let message = format!("Going to remove {}", names.join(", "));
    if flags.force {
        show(&format!("{message}\n"))?;
    } else if !session.dry_run && !confirm(&message)? {
        return Ok(());
    }
    each(&session, "Removing", ("Removing", "Removed", "remove"), &stopped, |one| {
        let mut query = Vec::new();
        for (name, given) in [("v", flags.volumes), ("force", flags.force)] {
            if given {
                query.push((name, "1".to_owned()));
            }
        }
        Ok(client.call("DELETE", &path(&one.id, ""), &query, Payload::None)?.drain()?)
    })
}
