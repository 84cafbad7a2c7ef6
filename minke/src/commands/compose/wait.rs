//! `compose wait`: waits until containers have ended.

use super::observe;
use super::session::{Manner, Session};
use crate::cli::command::{Arity, Command, command};
use crate::cli::flag::flags;
use crate::cli::{Cli, Failure, Outcome, show};
use crate::client::http::Payload;
use crate::commands::container::path;
use minke_compose::plan::{self, Down};
use minke_compose::running::Container;
use std::sync::atomic::{AtomicI64, Ordering};

/// `wait`
pub(super) static COMMAND: Command = command!(WaitFlags, wait, {
    name: "wait",
    usage: "[OPTIONS] SERVICE [SERVICE...]",
    about: "Wait until containers have ended",
    arity: Arity::AtLeast(1),
});

flags! {
    /// Flags of `wait`.
    struct WaitFlags {
        down: bool ["down-project"], "Take the project away then";
    }
}

fn wait(cli: &Cli, flags: WaitFlags, services: Vec<String>) -> Outcome {
    let session = Session::new(cli, false)?;
    let (project, name) = session.project_or_name(&[])?;
    let client = session.client()?;
    let listed = observe::list(client, &name, false)?;
    let containers: Vec<Container> = (listed.items().iter())
        .map(observe::container)
        .filter(|one| services.iter().any(|name| name == one.service()))
        .collect();
    if containers.is_empty() {
        return Err(Failure::new(format!("no containers for project {}", minke_model::go::quote(&name))));
    }
    let last = AtomicI64::new(0);
    let none = vec![Vec::new(); containers.len()];
    super::execute::run(&none, containers.len(), |at| {
        let id = &containers[at].id;
        let code = client.call("POST", &path(id, "/wait"), &[], Payload::None)?.json()?.int("StatusCode");
        last.store(code, Ordering::Relaxed);
        show(&format!("container {} exited with status code {code}\n", minke_model::go::quote(id)))
    })?;
    if flags.down {
        let running = session.observe(&name, None)?;
        let outline = session.outline(project.as_ref(), &name, &running);
        let plan = plan::down(&name, &outline, &running, &Down { remove_orphans: true, ..Down::default() });
        session.carry_out("Running", &plan, project.as_ref(), &Manner::default())?;
    }
    match last.into_inner() {
        0 => Ok(()),
        code => Err(Failure::silent(code as i32)),
    }
}
