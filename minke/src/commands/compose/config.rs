//! `compose config`: the project as it is after all files were read.

use super::files::Disk;
use super::session::Session;
use super::warn;
use crate::cli::command::{Arity, Command, command};
use crate::cli::flag::flags;
use crate::cli::{Cli, Failure, Outcome, show};
use crate::format::tabs;
use minke_compose::{Format, LoadOptions, Project, load_model, print_variables, service_hash, variables};
use std::collections::{BTreeMap, BTreeSet};

/// `config`
pub(super) static COMMAND: Command = command!(ConfigFlags, config, {
    name: "config",
    aliases: &["convert"],
    usage: "[OPTIONS] [SERVICE...]",
    about: "Check compose files and print them in their canonical form",
    arity: Arity::Any,
});

flags! {
    /// Flags of `config`.
    struct ConfigFlags {
        environment: bool ["environment"], "Print the variables that interpolation sees";
        format: String ["format"], "\"yaml\" (default) or \"json\"";
        hash: String ["hash"], "Print the hashes of these services, or of all (\"*\")";
        images: bool ["images"], "Print the names of images";
        lock_image_digests: bool ["lock-image-digests"], "Print a file that pins images by their digests";
        models: bool ["models"], "Print the names of models";
        networks: bool ["networks"], "Print the names of networks";
        no_consistency: bool ["no-consistency"], "Do not check whether what is named exists";
        no_env_resolution: bool ["no-env-resolution"], "Do not read env_file into the environment";
        no_interpolate: bool ["no-interpolate"], "Leave variables as they are";
        no_normalize: bool ["no-normalize"], "Do not fill in defaults";
        no_path_resolution: bool ["no-path-resolution"], "Leave paths as they are";
        output: String ["output" 'o'], "Write to this file";
        profiles: bool ["profiles"], "Print the names of profiles";
        quiet: bool ["quiet" 'q'], "Only check";
        resolve_image_digests: bool ["resolve-image-digests"], "Pin images by their digests";
        services: bool ["services"], "Print the names of services";
        variables: bool ["variables"], "Print the variables that the files name";
        volumes: bool ["volumes"], "Print the names of volumes";
    }
}

fn config(cli: &Cli, flags: ConfigFlags, services: Vec<String>) -> Outcome {
    let session = Session::new(cli, false)?;
    let options = LoadOptions {
        interpolate: !flags.no_interpolate && !flags.variables,
        normalize: !flags.no_normalize,
        resolve_paths: !flags.no_path_resolution,
        consistency: !flags.no_consistency,
        resolve_environment: !flags.no_env_resolution,
        ..session.options(&services)?
    };
    let format = match flags.format.as_str() {
        "" | "yaml" => Format::Yaml,
        "json" => Format::Json,
        other => {
            return Err(Failure::new(format!("unsupported format {}", minke_model::go::quote(other))));
        }
    };
    if flags.variables {
        return show_variables(&options, &flags.format);
    }
    if let Some(text) = listed(&session, &flags, &options)? {
        return show(&text);
    }
    let text = match flags.no_interpolate {
        true => {
            let tree = load_model(&options, &Disk).map_err(told)?;
            tree.warnings.iter().for_each(|warning| warn(&warning.report()));
            tree.print(format)
        }
        false => {
            let mut project = session.load_with(&options, true)?;
            if flags.resolve_image_digests || flags.lock_image_digests {
                pin(&session, &mut project)?;
            }
            if flags.lock_image_digests {
                project = only_images(project);
            }
            project.print(format)
        }
    };
    match (flags.quiet, flags.output.as_str()) {
        (true, _) => Ok(()),
        (false, "") => show(&text),
        (false, file) => Ok(std::fs::write(file, text)?),
    }
}

fn told(faults: Vec<minke_compose::Fault>) -> Failure {
    Failure::new(faults.iter().map(minke_compose::Fault::report).collect::<Vec<_>>().join("\n"))
}

/// One thing a line, where that was asked for.
fn listed(
    session: &Session<'_>,
    flags: &ConfigFlags,
    options: &LoadOptions,
) -> Result<Option<String>, Failure> {
    // Lists need no env_file, and hashes are those without them, as docker compose's are.
    let environment = flags.environment && options.resolve_environment;
    let services = if flags.hash.is_empty() { options.services.clone() } else { Vec::new() };
    let options = LoadOptions { resolve_environment: environment, services, ..options.clone() };
    let project = || session.load_with(&options, true);
    let lines = |lines: Vec<String>| Some(lines.into_iter().map(|line| line + "\n").collect::<String>());
    Ok(match () {
        () if flags.services => lines(project()?.services.into_keys().collect()),
        () if flags.volumes => lines(project()?.volumes.into_keys().collect()),
        () if flags.networks => lines(project()?.networks.into_keys().collect()),
        () if flags.models => lines(project()?.models.into_values().map(|model| model.model).collect()),
        () if !flags.hash.is_empty() => {
            let project = project()?.with_platforms(true).map_err(|fault| Failure::new(fault.report()))?;
            lines(hashes(&project, &flags.hash)?)
        }
        () if flags.profiles => {
            let project = project()?;
            let all = project.services.values().chain(project.disabled_services.values());
            let profiles: BTreeSet<String> = all.flat_map(|service| service.profiles.clone()).collect();
            lines(profiles.into_iter().collect())
        }
        () if flags.images => {
            let project = project()?;
            let images = project.services.values();
            lines(images.map(|service| service.image_name(&project.name, session.separator)).collect())
        }
        () if flags.environment => {
            let environment = project()?.environment;
            lines(environment.into_iter().map(|(name, value)| format!("{name}={value}")).collect())
        }
        () => None,
    })
}

fn hashes(project: &Project, named: &str) -> Result<Vec<String>, Failure> {
    let mut names: Vec<&str> = match named {
        "*" => project.services.keys().map(String::as_str).collect(),
        named => named.split(',').collect(),
    };
    names.sort_unstable();
    let line = |name: &str| match project.services.get(name) {
        Some(service) => Ok(format!("{name} {}", service_hash(service))),
        None => Err(Failure::new(format!("no such service: {name}"))),
    };
    names.into_iter().map(line).collect()
}

fn show_variables(options: &LoadOptions, format: &str) -> Outcome {
    let tree = load_model(options, &Disk).map_err(told)?;
    match format {
        "json" => return show(&print_variables(&variables(&tree.value), Format::Json)),
        "yaml" => return show(&print_variables(&variables(&tree.value), Format::Yaml)),
        _ => {}
    }
    let mut text = String::from("NAME\tREQUIRED\tDEFAULT VALUE\tALTERNATE VALUE\n");
    for (name, variable) in variables(&tree.value) {
        text.push_str(&format!(
            "{name}\t{}\t{}\t{}\n",
            variable.required, variable.default_value, variable.presence_value
        ));
    }
    show(&tabs::align(&text, 20, 1))
}

/// Names images by the digests that their registries tell.
fn pin(session: &Session<'_>, project: &mut Project) -> Outcome {
    for service in project.services.values_mut().filter(|service| !service.image.is_empty()) {
        let reference = minke_image::Reference::parse(&service.image)
            .map_err(|error| Failure::new(error.to_string()))?
            .or_latest();
        if reference.digest().is_some() {
            continue;
        }
        let auth = session.cli.config().registry_auth(reference.domain()).map_err(Failure::new)?;
        let target = format!("/distribution/{}/json", crate::commands::segment(&reference.full()));
        let answer = session.client()?.call_with(
            "GET",
            &target,
            &[],
            crate::client::http::Payload::None,
            &[("X-Registry-Auth".to_owned(), auth)],
        )?;
        let digest = answer.json()?.text("Descriptor.digest").to_owned();
        service.image = format!("{}@{digest}", reference.full());
    }
    Ok(())
}

/// The project with nothing but its images.
fn only_images(project: Project) -> Project {
    let services: BTreeMap<String, minke_compose::Service> = (project.services.into_iter())
        .map(|(name, service)| {
            let only =
                minke_compose::Service { image: service.image, name: name.clone(), ..Default::default() };
            (name, only)
        })
        .collect();
    Project { services, ..Project::default() }
}
