//! `compose scale`: so many containers of services.

use super::session::{Manner, Session};
use super::up::{Making, prepare, project};
use crate::cli::command::{Arity, Command, command};
use crate::cli::flag::flags;
use crate::cli::{Cli, Failure, Outcome};

/// `scale`
pub(super) static COMMAND: Command = command!(ScaleFlags, scale, {
    name: "scale",
    usage: "[OPTIONS] SERVICE=NUMBER...",
    about: "Set how many containers services have",
    arity: Arity::AtLeast(1),
});

flags! {
    /// Flags of `scale`.
    struct ScaleFlags {
        dry_run: bool ["dry-run"], "Say what would be done, and why, and do nothing";
        no_deps: bool ["no-deps"], "Leave alone what the named services need";
    }
}

fn scale(cli: &Cli, flags: ScaleFlags, args: Vec<String>) -> Outcome {
    let mut services = Vec::new();
    for argument in &args {
        match argument.split_once('=') {
            Some((name, number)) if !name.is_empty() && number.parse::<i64>().is_ok() => {
                services.push(name.to_owned());
            }
            Some((name, number)) if !name.is_empty() && !number.is_empty() => {
                return Err(Failure::new(format!(
                    "invalid scale specifier: can't parse replica value as int: {argument}"
                )));
            }
            _ => return Err(Failure::new(format!("invalid scale specifier: {argument}"))),
        }
    }
    let session = Session::new(cli, flags.dry_run)?;
    let making = Making { scale: args, no_deps: flags.no_deps, start: true, ..Making::default() };
    let project = project(&session, &services, &making)?;
    let (plan, running) = prepare(&session, &project, &services, &making)?;
    if session.dry_run {
        return session.explain(&plan);
    }
    let progress = session.progress("Scaling")?;
    session.with_apply(&plan, Some(&project), &running, &Manner::default(), &progress, |apply| {
        apply.run(&plan, 0..plan.steps.len())
    })
}
