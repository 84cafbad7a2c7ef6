//! `compose pull`: fetches the images of services.

use super::progress::Mark;
use super::session::Session;
use crate::cli::command::{Arity, Command, command};
use crate::cli::flag::flags;
use crate::cli::{Cli, Failure, Outcome};
use crate::commands::image::pull::quietly;
use std::collections::BTreeMap;

/// `pull`
pub(super) static COMMAND: Command = command!(PullFlags, pull, {
    name: "pull",
    usage: "[OPTIONS] [SERVICE...]",
    about: "Fetch the images of services",
    arity: Arity::Any,
});

flags! {
    /// Flags of `pull`.
    struct PullFlags {
        dry_run: bool ["dry-run"], "Say what would be done, and why, and do nothing";
        ignore_buildable: bool ["ignore-buildable"], "Leave out what can be built";
        ignore_failures: bool ["ignore-pull-failures"], "Go on where one cannot be fetched, and end well";
        include_deps: bool ["include-deps"], "What the named services need too";
        policy: String ["policy"], "\"missing\" or \"always\"";
        quiet: bool ["quiet" 'q'], "Show no progress";
    }
}

fn pull(cli: &Cli, flags: PullFlags, services: Vec<String>) -> Outcome {
    let session = Session::new(cli, flags.dry_run)?;
    let project = session.load(&services)?;
    let named = |name: &String| services.is_empty() || flags.include_deps || services.contains(name);
    let there = session.observe(&project.name, Some(&project))?.images;
    let style = if flags.quiet { super::progress::Style::Quiet } else { session.style };
    let progress = super::progress::Progress::new(style, "Pulling")?;
    // Image by image, however many services have it: the service that is told of, platform, whether it can be built.
    let mut images: BTreeMap<String, (String, String, bool)> = BTreeMap::new();
    for (name, service) in project.services.iter().filter(|(name, _)| named(name)) {
        let policy = if flags.policy.is_empty() { &service.pull_policy } else { &flags.policy };
        let skipped = match policy.as_str() {
            _ if service.image.is_empty() => "Skipped - No image to be pulled".to_owned(),
            "never" | "build" => "Skipped".to_owned(),
            "missing" | "if_not_present" if there.contains_key(&service.image) => {
                "Skipped - Image is already present locally".to_owned()
            }
            _ if flags.ignore_buildable && service.build.is_some() => {
                "Skipped - Image can be built".to_owned()
            }
            _ => match images.get(&service.image) {
                Some((other, ..)) => format!("Skipped - Image is already being pulled by {other}"),
                None => {
                    let of = (name.clone(), service.platform.clone(), service.build.is_some());
                    images.insert(service.image.clone(), of);
                    continue;
                }
            },
        };
        progress.tell_image(name, Mark::Done, &skipped, "");
    }
    if session.dry_run {
        let lines = images.keys().map(|image| format!("pull image {image}, because it was asked for\n"));
        return crate::cli::show(&lines.collect::<String>());
    }
    let images: Vec<_> = images.into_iter().collect();
    let (client, config) = (session.client()?, cli.config());
    let none = vec![Vec::new(); images.len()];
    let outcome = super::execute::run(&none, super::execute::AT_ONCE, |at| {
        let (image, (name, platform, can_build)) = &images[at];
        progress.tell_image(name, Mark::Working, "Pulling", "");
        match quietly(client, config, image, platform) {
            Ok(()) => {
                progress.tell_image(name, Mark::Done, "Pulled", "");
                Ok(())
            }
            Err(failure) => {
                let (mark, word) =
                    if *can_build { (Mark::Warning, "Warning") } else { (Mark::Error, "Error") };
                let why = failure.text.trim_start_matches("Error response from daemon: ").to_owned();
                progress.tell_image(name, mark, word, &why);
                Err(Failure {
                    text: if *can_build {
                        format!("{why}: it can be built: docker compose build {name}")
                    } else {
                        failure.text
                    },
                    ..failure
                })
            }
        }
    });
    if flags.ignore_failures { Ok(()) } else { outcome }
}
