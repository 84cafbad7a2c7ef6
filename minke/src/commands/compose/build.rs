//! `compose build`: builds the images of services.

use super::progress::{Mark, Progress};
use super::session::{Manner, Session};
use crate::cli::command::{Arity, Command, command};
use crate::cli::flag::flags;
use crate::cli::{Cli, Failure, Outcome};
use crate::client::Client;
use crate::client::config_file::ConfigFile;
use minke_compose::plan::{Act, Plan};
use minke_compose::Project;

/// `build`
pub(super) static COMMAND: Command = command!(BuildFlags, build, {
    name: "build",
    usage: "[OPTIONS] [SERVICE...]",
    about: "Build the images of services",
    arity: Arity::Any,
});

flags! {
    /// Flags of `build`.
    struct BuildFlags {
        build_arg: Vec<String> ["build-arg"], "Set a build argument";
        dry_run: bool ["dry-run"], "Say what would be done, and why, and do nothing";
        no_cache: bool ["no-cache"], "Use nothing that was built before";
        pull: bool ["pull"], "Fetch base images anew";
        push: bool ["push"], "Send the images to their registries";
        quiet: bool ["quiet" 'q'], "Show no progress";
        with_dependencies: bool ["with-dependencies"], "What the named services need too";
    }
}

fn build(cli: &Cli, flags: BuildFlags, services: Vec<String>) -> Outcome {
    let session = Session::new(cli, flags.dry_run)?;
    let mut project = session.load(&services)?;
    let mut plan = Plan::default();
    for (name, service) in &mut project.services {
        let Some(build) = &mut service.build else { continue };
        build.no_cache |= flags.no_cache;
        build.pull |= flags.pull;
        for argument in &flags.build_arg {
            let (key, value) = argument.split_once('=').map_or((argument.as_str(), None), |(key, value)| (key, Some(value)));
            let value = value.map(str::to_owned).or_else(|| std::env::var(key).ok());
            build.args.insert(key.to_owned(), value);
        }
        if services.is_empty() || flags.with_dependencies || services.contains(name) {
            let image = service.image_name(&project.name, session.separator);
            plan.push(Act::Build { service: name.clone(), image, unless_there: false }, [], "it was asked for");
        }
    }
    session.carry_out("Building", &plan, Some(&project), &Manner::default())
}

/// Builds the image of one service.
pub(super) fn one(
    _client: &Client,
    _config: &ConfigFile,
    _project: &Project,
    service: &str,
    _separator: &str,
    progress: &Progress,
) -> Outcome {
    progress.tell_image(service, Mark::Error, "Error", "");
    Err(Failure::new(format!("cannot build service {service}: `docker compose build` can, with this daemon")))
}
