//! What an image gives to its containers (pure). Docker's rules: the user's wins, lists of environment, labels, ports
//! and volumes are joined; an entrypoint given by the user drops the image's command.

use crate::{Error, error::Result};
use minke_model::{ContainerSpec, health::HealthSpec, image::ImageDefaults};

/// Fills `spec` from the image.
pub(crate) fn image_into(spec: &mut ContainerSpec, image: &ImageDefaults) {
    let process = &mut spec.process;
    if process.user.is_empty() {
        process.user.clone_from(&image.user);
    }
    let name = |entry: &str| entry.split('=').next().unwrap_or_default().to_owned();
    let given: Vec<String> = process.env.iter().map(|e| name(e)).collect();
    process.env.extend(image.env.iter().filter(|e| !given.contains(&name(e))).cloned());
    let image_entrypoint = image.entrypoint.as_ref().filter(|e| !e.is_empty());
    match &process.entrypoint {
        None => {
            if process.cmd.as_ref().is_none_or(Vec::is_empty) {
                process.cmd.clone_from(&image.cmd);
                process.args_escaped = image.args_escaped;
            }
            process.entrypoint = image_entrypoint.cloned();
        }
        // An empty list takes the image's away too, and leaves its command (moby `daemon/commit.go`, `merge`).
        Some(entrypoint) if entrypoint.is_empty() => {
            if process.cmd.as_ref().is_none_or(Vec::is_empty) {
                process.cmd.clone_from(&image.cmd);
            }
        }
        // `--entrypoint ""` takes the image's away.
        Some(entrypoint) if entrypoint.len() == 1 && entrypoint[0].is_empty() => process.entrypoint = None,
        Some(_) => {}
    }
    if process.working_dir.is_empty() {
        process.working_dir.clone_from(&image.working_dir);
    }
    for (name, value) in &image.labels {
        spec.labels.entry(name.clone()).or_insert_with(|| value.clone());
    }
    spec.exposed_ports.extend(image.exposed_ports.iter().copied());
    spec.volumes.extend(image.volumes.iter().cloned());
    if spec.stop_signal.is_none() {
        spec.stop_signal.clone_from(&image.stop_signal);
    }
    if spec.shell.is_none() {
        spec.shell.clone_from(&image.shell);
    }
    if spec.on_build.is_none() && !image.on_build.is_empty() {
        spec.on_build = Some(image.on_build.clone());
    }
    if let Some(image_health) = &image.healthcheck {
        merge_health(&mut spec.healthcheck, image_health);
    }
}

fn merge_health(health: &mut Option<HealthSpec>, image: &HealthSpec) {
    let Some(own) = health else {
        *health = Some(image.clone());
        return;
    };
    if own.test.as_ref().is_none_or(Vec::is_empty) {
        own.test.clone_from(&image.test);
    }
    for (value, from) in [
        (&mut own.interval, image.interval),
        (&mut own.timeout, image.timeout),
        (&mut own.start_period, image.start_period),
        (&mut own.start_interval, image.start_interval),
    ] {
        if *value == 0 {
            *value = from;
        }
    }
    if own.retries == 0 {
        own.retries = image.retries;
    }
}

/// A health check without a test, and no image gave one, is none.
pub(crate) fn health_defaults(spec: &mut ContainerSpec) {
    if spec.healthcheck.as_ref().is_some_and(|h| h.test.as_ref().is_none_or(Vec::is_empty)) {
        // Kept as Docker's inspect shows it, but it probes nothing.
        let nothing = |h: &HealthSpec| HealthSpec { at_start: false, ..h.clone() } == HealthSpec::default();
        if spec.healthcheck.as_ref().is_some_and(nothing) {
            spec.healthcheck = None;
        }
    }
}

/// Whether it probes at all.
pub(crate) fn probes(health: &HealthSpec) -> bool {
    health
        .test
        .as_ref()
        .is_some_and(|t| t.first().is_some_and(|kind| kind != "NONE" && !kind.is_empty()) && t.len() > 1)
}

/// What runs: the entrypoint with the command as its arguments.
pub(crate) fn command(spec: &ContainerSpec) -> Result<Vec<String>> {
    let entrypoint = spec.process.entrypoint.iter().flatten();
    let args: Vec<String> = entrypoint.chain(spec.process.cmd.iter().flatten()).cloned().collect();
    if args.is_empty() {
        return Err(Error::Invalid("no command specified".into()));
    }
    Ok(args)
}
