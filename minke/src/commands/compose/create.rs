//! `compose create`: makes what `up` makes, and starts nothing.

use super::session::{Manner, Session};
use super::up::{Making, prepare, project};
use crate::cli::command::{Arity, Command, command};
use crate::cli::flag::flags;
use crate::cli::{Cli, Failure, Outcome};
use minke_compose::plan::Recreate;

/// `create`
pub(super) static COMMAND: Command = command!(CreateFlags, create, {
    name: "create",
    usage: "[OPTIONS] [SERVICE...]",
    about: "Make containers without starting them",
    arity: Arity::Any,
});

flags! {
    /// Flags of `create`.
    struct CreateFlags {
        build: bool ["build"], "Build images first";
        dry_run: bool ["dry-run"], "Say what would be done, and why, and do nothing";
        force_recreate: bool ["force-recreate"], "Make containers anew even where nothing changed";
        no_build: bool ["no-build"], "Build no image, even where it is missing";
        no_recreate: bool ["no-recreate"], "Leave containers as they are, even where something changed";
        pull: Option<String> ["pull"], "When images are fetched (\"always\", \"missing\", \"never\", \"build\")";
        quiet_pull: bool ["quiet-pull"], "Show no progress of pulls";
        remove_orphans: bool ["remove-orphans"], "Remove containers of services that no file has";
        scale: Vec<String> ["scale"], "So many containers of a service (SERVICE=NUMBER)";
        yes: bool ["yes" 'y'], "Answer all questions with yes";
    }
}

fn create(cli: &Cli, flags: CreateFlags, services: Vec<String>) -> Outcome {
    if flags.force_recreate && flags.no_recreate {
        return Err(Failure::new("--force-recreate and --no-recreate are incompatible"));
    }
    let session = Session::new(cli, flags.dry_run)?;
    let making = Making {
        building: Making::building(flags.build, flags.no_build)?,
        pull: flags.pull,
        scale: flags.scale,
        recreate: match (flags.no_recreate, flags.force_recreate) {
            (true, _) => Recreate::Never,
            (false, true) => Recreate::Always,
            (false, false) => Recreate::Changed,
        },
        recreate_dependencies: if flags.no_recreate { Recreate::Never } else { Recreate::Changed },
        remove_orphans: flags.remove_orphans,
        yes: flags.yes,
        ..Making::default()
    };
    let project = project(&session, &services, &making)?;
    let (plan, running) = prepare(&session, &project, &services, &making)?;
    if session.dry_run {
        return session.explain(&plan);
    }
    let progress = session.progress("Creating")?;
    session.with_apply(&plan, Some(&project), &running, &Manner::default(), &progress, |apply| {
        apply.run(&plan, 0..plan.steps.len())
    })
}
