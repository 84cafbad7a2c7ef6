//! `compose start`: starts containers that are there, each after what it needs.

use super::session::{Manner, Session};
use crate::cli::command::{Arity, Command, command};
use crate::cli::flag::flags;
use crate::cli::{Cli, Failure, Outcome};
use minke_compose::plan::{self, Act, Until};

/// `start`
pub(super) static COMMAND: Command = command!(StartFlags, start, {
    name: "start",
    usage: "[OPTIONS] [SERVICE...]",
    about: "Start services",
    arity: Arity::Any,
});

flags! {
    /// Flags of `start`.
    struct StartFlags {
        dry_run: bool ["dry-run"], "Say what would be done, and why, and do nothing";
        wait: bool ["wait"], "Wait until services run or are healthy";
        wait_timeout: i64 ["wait-timeout"], "Wait at most so many seconds";
    }
}

fn start(cli: &Cli, flags: StartFlags, services: Vec<String>) -> Outcome {
    let session = Session::new(cli, flags.dry_run)?;
    let (project, name) = session.project_or_name(&services)?;
    let running = session.observe(&name, None)?;
    let outline = session.outline(project.as_ref(), &name, &running);
    session.check_named(&outline, &services)?;
    let mut plan =
        plan::start(&outline, &running, &services).map_err(|error| Failure::new(error.to_string()))?;
    if flags.wait {
        if flags.wait_timeout > 0 {
            super::up::end_after(flags.wait_timeout);
        }
        let steps = 0..plan.steps.len();
        for service in outline.in_order() {
            let names: Vec<String> = running.of_service(service).map(|one| one.name.clone()).collect();
            if !names.is_empty() {
                let act = Act::Wait {
                    service: service.to_owned(),
                    names,
                    until: Until::RunningOrHealthy,
                    required: true,
                };
                plan.push(act, steps.clone(), "--wait asks for it");
            }
        }
    }
    session.carry_out("Running", &plan, project.as_ref(), &Manner::default())
}
