//! `compose build`: builds the images of services, by the code of `build`.

use super::progress::{Mark, Progress};
use super::session::{Manner, Session};
use crate::cli::command::{Arity, Command, command};
use crate::cli::flag::flags;
use crate::cli::{Cli, Failure, Outcome};
use crate::commands::build::display::{Display, Mode};
use crate::commands::build::run::run;
use crate::commands::build::wish::Wish;
use minke_compose::plan::{self, Building};
use minke_compose::{Project, Service, label};
use std::collections::BTreeMap;

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
        builder: String ["builder"], "";
        dry_run: bool ["dry-run"], "Say what would be done, and why, and do nothing";
        no_cache: bool ["no-cache"], "Use nothing that was built before";
        progress: String ["progress"], "";
        pull: bool ["pull"], "Fetch base images anew";
        push: bool ["push"], "Send the images to their registries";
        quiet: bool ["quiet" 'q'], "Show no progress";
        ssh: Option<String> ["ssh"], "Agents that steps may use (\"default\", \"name=path\")";
        with_dependencies: bool ["with-dependencies"], "What the named services need too";
    }
}

fn build(cli: &Cli, flags: BuildFlags, services: Vec<String>) -> Outcome {
    let session = Session::new(cli, flags.dry_run)?;
    let mut project = session.load(&services)?;
    let named = |name: &String| services.is_empty() || flags.with_dependencies || services.contains(name);
    for (name, service) in &mut project.services {
        if !named(name) {
            service.build = None;
        }
        let Some(build) = &mut service.build else { continue };
        build.no_cache |= flags.no_cache;
        build.pull |= flags.pull;
        for argument in &flags.build_arg {
            let (key, value) =
                argument.split_once('=').map_or((argument.as_str(), None), |(k, v)| (k, Some(v)));
            let value = value.map(str::to_owned).or_else(|| std::env::var(key).ok());
            build.args.insert(key.to_owned(), value);
        }
        if let Some(agents) = &flags.ssh {
            let key = |text: &str| {
                let (id, path) = text.split_once('=').unwrap_or((text, ""));
                minke_compose::SshKey { id: id.to_owned(), path: path.to_owned() }
            };
            build.ssh = agents.split(',').map(key).collect();
        }
    }
    // Those without anything to build are none of its business.
    project.services.retain(|_, service| service.build.is_some());
    project.services.values_mut().for_each(|service| service.pull_policy.clear());
    let plan = plan::images(&project, session.separator, &BTreeMap::new(), Building::All, 0)
        .map_err(|error| Failure::new(error.to_string()))?;
    let manner = Manner { quiet_build: flags.quiet, ..Manner::default() };
    session.carry_out("Building", &plan, Some(&project), &manner)?;
    if flags.push && !session.dry_run {
        return super::push::all(&session, &project, flags.quiet);
    }
    Ok(())
}

/// Whether and how builds show what they do: several at once share no screen.
pub(super) fn mode(session: &Session<'_>, project: Option<&Project>, quiet: bool) -> Result<Mode, Failure> {
    let several =
        project.is_some_and(|project| project.services.values().filter(|s| s.build.is_some()).count() > 1);
    let quiet = quiet || matches!(session.style, super::progress::Style::Quiet);
    Ok(Mode::of(if several { "plain" } else { "auto" }, quiet)?)
}

/// Builds the image of one service.
pub(super) fn one(
    cli: &Cli,
    project: &Project,
    service: &str,
    separator: &str,
    mode: Mode,
    progress: &Progress,
) -> Outcome {
    let Some(service) = project.services.get(service) else { return Ok(()) };
    progress.tell_image(&service.name, Mark::Working, "Building", "");
    match run(cli, wish(project, service, separator)?, &Display::new(mode)) {
        Ok(_) => {
            progress.tell_image(&service.name, Mark::Done, "", "Built");
            Ok(())
        }
        Err(failure) => {
            progress.tell_image(&service.name, Mark::Error, "", "Error");
            Err(Failure { text: format!("target {}: {}", service.name, failure.text), ..failure })
        }
    }
}

/// A service's `build` in the words of the flags of `build`.
fn wish(project: &Project, service: &Service, separator: &str) -> Result<Wish, Failure> {
    let Some(build) = &service.build else { return Ok(Wish::default()) };
    let is_remote = build.context.contains("://") || build.context.starts_with("git@");
    let file = match build.dockerfile.as_str() {
        "" => String::new(),
        file if file.starts_with('/') || is_remote => file.to_owned(),
        file => format!("{}/{file}", build.context.trim_end_matches('/')),
    };
    let mut tags = vec![service.image_name(&project.name, separator)];
    tags.extend(build.tags.iter().filter(|tag| **tag != tags[0]).cloned().collect::<Vec<_>>());
    let mut labels = build.labels.clone();
    for (name, value) in [
        (label::PROJECT, project.name.as_str()),
        (label::SERVICE, &service.name),
        (label::VERSION, label::TOOL_VERSION),
    ] {
        labels.insert(name.to_owned(), value.to_owned());
    }
    // One without a value has the project's, or is not set.
    let arguments = build.args.iter().filter_map(|(name, value)| {
        let value = value.as_ref().or_else(|| project.environment.get(name))?;
        Some(format!("{name}={value}"))
    });
    let contexts =
        build.additional_contexts.iter().map(|(name, value)| match value.strip_prefix("service:") {
            Some(other) => {
                let image = project.services.get(other).map_or_else(
                    || format!("{}{separator}{other}", project.name),
                    |other| other.image_name(&project.name, separator),
                );
                format!("{name}=docker-image://{image}")
            }
            None => format!("{name}={value}"),
        });
    let mut platforms = build.platforms.clone();
    if !service.platform.is_empty() {
        platforms = vec![service.platform.clone()];
    }
    let mut allow = build.entitlements.clone();
    if build.privileged {
        allow.push("security.insecure".to_owned());
    }
    Ok(Wish {
        context: build.context.clone(),
        file,
        inline: Some(build.dockerfile_inline.clone()).filter(|text| !text.is_empty()),
        tags,
        arguments: arguments.collect(),
        labels: labels.iter().map(|(name, value)| format!("{name}={value}")).collect(),
        target: build.target.clone(),
        platforms,
        no_cache: build.no_cache,
        pull: build.pull,
        secrets: secrets(project, service)?,
        ssh: (build.ssh.iter())
            .map(|key| if key.path.is_empty() { key.id.clone() } else { format!("{}={}", key.id, key.path) })
            .collect(),
        hosts: build.extra_hosts.lines("="),
        network: build.network.clone(),
        ulimits: (build.ulimits.iter())
            .map(|(name, limit)| match limit.single {
                0 => format!("{name}={}:{}", limit.soft, limit.hard),
                single => format!("{name}={single}:{single}"),
            })
            .collect(),
        shm_size: build.shm_size.0,
        contexts: contexts.collect(),
        cache_from: build.cache_from.clone(),
        cache_to: build.cache_to.clone(),
        allow,
        ..Wish::default()
    })
}

/// Secrets of steps: files and variables.
fn secrets(project: &Project, service: &Service) -> Result<Vec<String>, Failure> {
    let mut secrets = Vec::new();
    for secret in service.build.iter().flat_map(|build| &build.secrets) {
        let Some(object) = project.secrets.get(&secret.source) else { continue };
        let id = if secret.target.is_empty() { &secret.source } else { &secret.target };
        secrets.push(match (object.environment.as_str(), object.file.as_str()) {
            ("", "") => {
                return Err(Failure::new(format!(
                    "build.secrets only supports environment or file-based secrets: {}",
                    minke_model::go::quote(&secret.source)
                )));
            }
            ("", file) => format!("id={id},src={file}"),
            (variable, _) => format!("id={id},env={variable}"),
        });
    }
    Ok(secrets)
}
