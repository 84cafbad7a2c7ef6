//! `compose stop`: stops containers, each after those that need it.

use super::session::{Manner, Session};
use crate::cli::command::{Arity, Command, command};
use crate::cli::flag::flags;
use crate::cli::{Cli, Outcome};
use minke_compose::plan;

/// `stop`
pub(super) static COMMAND: Command = command!(StopFlags, stop, {
    name: "stop",
    usage: "[OPTIONS] [SERVICE...]",
    about: "Stop services",
    arity: Arity::Any,
});

flags! {
    /// Flags of `stop`.
    struct StopFlags {
        dry_run: bool ["dry-run"], "Say what would be done, and why, and do nothing";
        timeout: Option<i64> ["timeout" 't'], "Seconds before a container is killed";
    }
}

fn stop(cli: &Cli, flags: StopFlags, services: Vec<String>) -> Outcome {
    let session = Session::new(cli, flags.dry_run)?;
    let (project, name) = session.project_or_name(&[])?;
    let running = session.observe(&name, None)?;
    let outline = session.outline(project.as_ref(), &name, &running);
    session.check_named(&outline, &services)?;
    let plan = plan::stop(&outline, &running, &services);
    let manner = Manner { timeout: flags.timeout, ..Manner::default() };
    session.carry_out("Stopping", &plan, project.as_ref(), &manner)
}
