//! `compose restart`: stops and starts containers, and those that restart with them.

use super::session::{Manner, Session};
use crate::cli::command::{Arity, Command, command};
use crate::cli::flag::flags;
use crate::cli::{Cli, Outcome};
use minke_compose::plan;

/// `restart`
pub(super) static COMMAND: Command = command!(RestartFlags, restart, {
    name: "restart",
    usage: "[OPTIONS] [SERVICE...]",
    about: "Restart services",
    arity: Arity::Any,
});

flags! {
    /// Flags of `restart`.
    struct RestartFlags {
        dry_run: bool ["dry-run"], "Say what would be done, and why, and do nothing";
        no_deps: bool ["no-deps"], "Leave alone what restarts with the named services";
        timeout: Option<i64> ["timeout" 't'], "Seconds before a container is killed";
    }
}

fn restart(cli: &Cli, flags: RestartFlags, services: Vec<String>) -> Outcome {
    let session = Session::new(cli, flags.dry_run)?;
    let (project, name) = session.project_or_name(&[])?;
    let running = session.observe(&name, None)?;
    let outline = session.outline(project.as_ref(), &name, &running);
    session.check_named(&outline, &services)?;
    let plan = plan::restart(&outline, &running, &services, !flags.no_deps);
    let manner = Manner { timeout: flags.timeout, ..Manner::default() };
    session.carry_out("Restarting", &plan, project.as_ref(), &manner)
}
