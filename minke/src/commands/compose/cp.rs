//! `compose cp`: files between containers of a service and this machine.

use super::observe;
use super::progress::Mark;
use super::session::Session;
use crate::cli::command::{Arity, Command, command};
use crate::cli::flag::flags;
use crate::cli::{Cli, Failure, Outcome};
use crate::commands::container::cp::{CpFlags as ContainerFlags, cp as copy};
use minke_compose::running::Container;

/// `cp`
pub(super) static COMMAND: Command = command!(CpFlags, cp, {
    name: "cp",
    usage: "[OPTIONS] SERVICE:SRC_PATH DEST_PATH|-\n[OPTIONS] SRC_PATH|- SERVICE:DEST_PATH",
    about: "Copy files to or from containers of a service",
    arity: Arity::Exactly(2),
});

flags! {
    /// Flags of `cp`.
    struct CpFlags {
        all: bool ["all"], "Containers of run too";
        archive: bool ["archive" 'a'], "Keep the numbers of users and groups";
        follow: bool ["follow-link" 'L'], "Follow a symbolic link in the source";
        index: i64 ["index"], "Of the container of that number";
    }
}

/// `service:path`, or a path of this machine.
fn split(argument: &str) -> Option<(&str, &str)> {
    argument.split_once(':').filter(|(service, _)| !service.contains('/') && !service.starts_with('.'))
}

fn cp(cli: &Cli, flags: CpFlags, args: Vec<String>) -> Outcome {
    let session = Session::new(cli, false)?;
    let name = session.name()?;
    let service = match (split(&args[0]), split(&args[1])) {
        (Some(_), Some(_)) => return Err(Failure::new("copying between services is not supported")),
        (None, None) => return Err(Failure::new("unknown copy direction")),
        (Some((service, _)), None) | (None, Some((service, _))) => service,
    };
    let listed = observe::list(session.client()?, &name, true)?;
    let mut containers: Vec<Container> = (listed.items().iter())
        .map(observe::container)
        .filter(|one| one.service() == service && (flags.all || !one.is_one_off()))
        .filter(|one| flags.index == 0 || i64::from(one.number()) == flags.index)
        .collect();
    containers.sort_by_key(|one| (one.is_one_off(), one.number()));
    if containers.is_empty() {
        return Err(Failure::new(format!(
            "no container found for service {}",
            minke_model::go::quote(service)
        )));
    }
    // From one of them, or to each.
    if split(&args[0]).is_some() {
        containers.truncate(1);
    }
    let progress = session.progress("Copying")?;
    for container in containers {
        let place = |argument: &String| match split(argument) {
            Some((_, path)) => format!("{}:{path}", container.id),
            None => argument.clone(),
        };
        let named = |argument: &String| match split(argument) {
            Some((_, path)) => format!("{}:{path}", container.name),
            None => argument.clone(),
        };
        let what = format!("copy {} to {}", named(&args[0]), named(&args[1]));
        progress.tell_image(&container.name, Mark::Working, &what, "Copying");
        let inner = ContainerFlags { archive: flags.archive, follow: flags.follow, quiet: true };
        copy(cli, inner, vec![place(&args[0]), place(&args[1])])?;
        progress.tell_image(&container.name, Mark::Done, &what, "Copied");
    }
    Ok(())
}
