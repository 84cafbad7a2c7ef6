//! `compose push`: sends the images of services that are built.

use super::progress::Mark;
use super::session::Session;
use crate::cli::command::{Arity, Command, command};
use crate::cli::flag::flags;
use crate::cli::{Cli, Outcome};
use crate::commands::image::push::quietly;
use minke_compose::Project;
use std::collections::BTreeSet;

/// `push`
pub(super) static COMMAND: Command = command!(PushFlags, push, {
    name: "push",
    usage: "[OPTIONS] [SERVICE...]",
    about: "Send the images of services to their registries",
    arity: Arity::Any,
});

flags! {
    /// Flags of `push`.
    struct PushFlags {
        ignore_failures: bool ["ignore-push-failures"], "Go on where one cannot be sent, and end well";
        include_deps: bool ["include-deps"], "What the named services need too";
        quiet: bool ["quiet" 'q'], "Show no progress";
    }
}

fn push(cli: &Cli, flags: PushFlags, services: Vec<String>) -> Outcome {
    let session = Session::new(cli, false)?;
    let project = session.load(&services)?;
    let named = |name: &String| services.is_empty() || flags.include_deps || services.contains(name);
    let named = Project {
        services: project
            .services
            .iter()
            .filter(|(name, _)| named(name))
            .map(|(n, s)| (n.clone(), s.clone()))
            .collect(),
        ..project.clone()
    };
    let outcome = all(&session, &named, flags.quiet);
    if flags.ignore_failures { Ok(()) } else { outcome }
}

/// Sends what the services of `project` build.
pub(super) fn all(session: &Session<'_>, project: &Project, quiet: bool) -> Outcome {
    let style = if quiet { super::progress::Style::Quiet } else { session.style };
    let progress = super::progress::Progress::new(style, "Pushing")?;
    let mut images: BTreeSet<String> = BTreeSet::new();
    for (name, service) in &project.services {
        match &service.build {
            Some(build) if !service.image.is_empty() => {
                images.insert(service.image.clone());
                images.extend(build.tags.iter().cloned());
            }
            _ => progress.tell_image(name, Mark::Done, "Skipped", ""),
        }
    }
    let images: Vec<String> = images.into_iter().collect();
    let (client, config) = (session.client()?, session.cli.config());
    let none = vec![Vec::new(); images.len()];
    super::execute::run(&none, super::execute::AT_ONCE, |at| {
        let image = &images[at];
        progress.tell_image(image, Mark::Working, "Pushing", "");
        match quietly(client, config, image) {
            Ok(()) => progress.tell_image(image, Mark::Done, "Pushed", ""),
            Err(failure) => {
                progress.tell_image(image, Mark::Error, "Error", &failure.text);
                return Err(failure);
            }
        }
        Ok(())
    })
}
