//! Whether a project makes sense as a whole: what is named exists, what excludes each other is not both there
//! (compose-go `loader/validate.go`, `graph/cycle.go`). Pure.

use crate::{
    error::Fault,
    project::{Project, Service},
};
use std::collections::{BTreeMap, HashMap};

const INVALID: &str = "invalid compose project";

/// All that does not fit, in the order of services. Places are the loader's to add: each fault comes with the path of
/// what it is about.
pub(crate) fn check(project: &Project) -> Vec<(String, Fault)> {
    let mut found = Vec::new();
    for (name, service) in &project.services {
        let mut say = |attribute: &str, message: String| {
            let path = match attribute {
                "" => format!("services.{name}"),
                attribute => format!("services.{name}.{attribute}"),
            };
            found.push((path, Fault::new(message)));
        };
        builds(project, name, service, &mut say);
        references(project, name, service, &mut say);
        amounts(name, service, &mut say);
        mounts(name, service, &mut say);
    }
    let mut names: BTreeMap<&str, &str> = BTreeMap::new();
    for (name, service) in project.services.iter().filter(|(_, service)| !service.container_name.is_empty()) {
        if let Some(other) = names.insert(&service.container_name, name) {
            let container = &service.container_name;
            let message =
                format!("services.{name}: container name {container:?} is already in use by service {other}");
            found.push((format!("services.{name}.container_name"), Fault::new(message)));
        }
    }
    for (key, secret) in project.secrets.iter().filter(|(_, secret)| !secret.external) {
        if secret.file.is_empty() && secret.environment.is_empty() {
            let message = format!("secret {key:?} must declare either `file` or `environment`: {INVALID}");
            found.push((format!("secrets.{key}"), Fault::new(message)));
        }
    }
    if let Some(cycle) = cycle(project) {
        let first = cycle.first().cloned().unwrap_or_default();
        let message = format!("dependency cycle detected: {}", cycle.join(" -> "));
        found.push((format!("services.{first}.depends_on"), Fault::new(message)));
    }
    found
}

fn builds(project: &Project, name: &str, service: &Service, say: &mut dyn FnMut(&str, String)) {
    let Some(build) = &service.build else {
        if service.image.is_empty() && service.provider.is_none() {
            let message =
                format!("service {name:?} has neither an image nor a build context specified: {INVALID}");
            say("", message);
        }
        return;
    };
    if !build.dockerfile_inline.is_empty() && !build.dockerfile.is_empty() {
        // Compose's spelling.
        let message = format!(
            "service {name:?} declares mutualy exclusive dockerfile and dockerfile_inline: {INVALID}"
        );
        say("build.dockerfile_inline", message);
    }
    for (context, from) in &build.additional_contexts {
        let Some(target) = from.strip_prefix("service:") else { continue };
        let kind = match project.services.get(target) {
            None => "unknown",
            Some(target) if target.build.is_none() => "non-buildable",
            Some(_) => continue,
        };
        let message =
            format!("service {name:?} declares {kind} service {target:?} as additional contexts {context}");
        say(&format!("build.additional_contexts.{context}"), message);
    }
    let platform = &service.platform;
    if !build.platforms.is_empty() && !platform.is_empty() && !build.platforms.contains(platform) {
        let message =
            format!("service.build.platforms MUST include service.platform {platform:?}: {INVALID}");
        say("build.platforms", message);
    }
}

fn references(project: &Project, name: &str, service: &Service, say: &mut dyn FnMut(&str, String)) {
    if !service.network_mode.is_empty() && !service.networks.is_empty() {
        let message =
            format!("service {name} declares mutually exclusive `network_mode` and `networks`: {INVALID}");
        say("network_mode", message);
    }
    let mut missing = |kind: &str, key: &str, attribute: String| {
        say(&attribute, format!("service {name:?} refers to undefined {kind} {key}: {INVALID}"));
    };
    for key in service.networks.keys().filter(|key| !project.networks.contains_key(*key)) {
        missing("network", key, format!("networks.{key}"));
    }
    for (at, mount) in service.volumes.iter().enumerate() {
        if mount.r#type == "volume"
            && !mount.source.is_empty()
            && !project.volumes.contains_key(&mount.source)
        {
            missing("volume", &mount.source, format!("volumes.{at}"));
        }
    }
    if let Some(build) = &service.build {
        for (at, secret) in build.secrets.iter().enumerate() {
            if !project.secrets.contains_key(&secret.source) {
                missing("build secret", &secret.source, format!("build.secrets.{at}"));
            }
        }
    }
    for (at, config) in service.configs.iter().enumerate() {
        if !project.configs.contains_key(&config.source) {
            missing("config", &config.source, format!("configs.{at}"));
        }
    }
    for key in service.models.keys().filter(|key| !project.models.contains_key(*key)) {
        missing("model", key, format!("models.{key}"));
    }
    for (at, secret) in service.secrets.iter().enumerate() {
        if !project.secrets.contains_key(&secret.source) {
            missing("secret", &secret.source, format!("secrets.{at}"));
        }
    }
    if let Some(test) = service.healthcheck.as_ref().and_then(|health| health.test.0.first())
        && !matches!(test.as_str(), "CMD" | "CMD-SHELL" | "NONE")
    {
        let message = "healthcheck.test must start either by \"CMD\", \"CMD-SHELL\" or \"NONE\"".to_owned();
        say("healthcheck.test", message);
    }
    for (other, dependency) in &service.depends_on {
        let disabled = project.disabled_services.contains_key(other);
        if project.services.contains_key(other) || disabled && !dependency.required {
            continue;
        }
        let message = format!("service {name:?} depends on undefined service {other:?}: {INVALID}");
        say(&format!("depends_on.{other}"), message);
    }
    if let Some(other) = service.network_mode.strip_prefix("service:")
        && !service.depends_on.contains_key(other)
        && !project.services.contains_key(other)
    {
        say("network_mode", format!("service {other:?} not found for network_mode 'service:{other}'"));
    }
}

fn amounts(name: &str, service: &Service, say: &mut dyn FnMut(&str, String)) {
    let deploy = service.deploy.as_ref();
    let replicas = deploy.and_then(|deploy| deploy.replicas);
    if let (Some(scale), Some(replicas)) = (service.scale, replicas)
        && scale != replicas
    {
        let message =
            format!("services.{name}: can't set distinct values on 'scale' and 'deploy.replicas': {INVALID}");
        say("scale", message);
    }
    for (attribute, count) in [("scale", service.scale), ("deploy.replicas", replicas)] {
        if count.is_some_and(|count| count < 0) {
            say(attribute, format!("services.{name}.{attribute}: must be greater than or equal to 0"));
        }
    }
    let mut distinct = |short: &str, long: &str| {
        let message =
            format!("services.{name}: can't set distinct values on '{short}' and '{long}': {INVALID}");
        say(short, message);
    };
    if let Some(limits) = deploy.and_then(|deploy| deploy.resources.limits.as_ref()) {
        if service.cpus != 0.0 && limits.cpus != service.cpus {
            distinct("cpus", "deploy.resources.limits.cpus");
        }
        if service.mem_limit.0 != 0 && limits.memory != service.mem_limit {
            distinct("mem_limit", "deploy.resources.limits.memory");
        }
        if service.pids_limit != 0 && limits.pids != service.pids_limit {
            distinct("pids_limit", "deploy.resources.limits.pids");
        }
    }
    if let Some(reservations) = deploy.and_then(|deploy| deploy.resources.reservations.as_ref())
        && service.mem_reservation.0 != 0
        && reservations.memory != service.mem_reservation
    {
        distinct("mem_reservation", "deploy.resources.reservations.memory");
    }
    if service.replicas() > 1 && !service.container_name.is_empty() {
        let attribute = if service.scale.is_some() { "scale" } else { "deploy.replicas" };
        // Compose has the two words in this order.
        let message = format!(
            "services.{attribute}: can't set container_name and {name} as container name must be unique: {INVALID}"
        );
        say("container_name", message);
    }
    for (at, watch) in service.develop.iter().flat_map(|develop| develop.watch.iter().enumerate()) {
        if watch.target.is_empty() && !matches!(watch.action.as_str(), "rebuild" | "restart") {
            let message = format!(
                "services.{name}.develop.watch: target is required for non-rebuild actions: {INVALID}"
            );
            say(&format!("develop.watch.{at}"), message);
        }
    }
}

fn mounts(name: &str, service: &Service, say: &mut dyn FnMut(&str, String)) {
    let mut taken: BTreeMap<&str, String> = BTreeMap::new();
    let tmpfs = service.tmpfs.iter().map(|line| line.split(':').next().unwrap_or(""));
    let tmpfs = tmpfs.enumerate().map(|(at, target)| ("tmpfs", at, target));
    let volumes =
        service.volumes.iter().enumerate().map(|(at, mount)| ("volumes", at, mount.target.as_str()));
    for (attribute, at, target) in tmpfs.chain(volumes) {
        let here = format!("services.{name}.{attribute}[{at}]");
        if let Some(before) = taken.get(target) {
            let message = format!("{here}: target {target} already mounted as {before}");
            say(&format!("{attribute}.{at}"), message);
        }
        taken.insert(target, here);
    }
}

/// A circle of dependencies, its first service again at its end.
fn cycle(project: &Project) -> Option<Vec<String>> {
    let next = |name: &str| -> Vec<&str> {
        let service = project.services.get(name);
        service.into_iter().flat_map(|service| service.depends_on.keys()).rev().map(String::as_str).collect()
    };
    // Those looked at: whether they are on the way that is being looked at.
    let mut seen: HashMap<&str, bool> = HashMap::new();
    for start in project.services.keys().map(String::as_str) {
        if seen.contains_key(start) {
            continue;
        }
        // A stack of our own: a service, and what of it is still to be seen.
        let mut stack: Vec<(&str, Vec<&str>)> = vec![(start, next(start))];
        seen.insert(start, true);
        while let Some((name, left)) = stack.last_mut() {
            let Some(child) = left.pop() else {
                seen.insert(name, false);
                stack.pop();
                continue;
            };
            match seen.get(child) {
                Some(false) => {}
                Some(true) => {
                    let circle = stack.iter().map(|(name, _)| *name).skip_while(|name| *name != child);
                    return Some(circle.chain([child]).map(str::to_owned).collect());
                }
                None => {
                    seen.insert(child, true);
                    stack.push((child, next(child)));
                }
            }
        }
    }
    None
}
