//! Which images are fetched and which are built before containers are made. Pure.

use super::{Act, Plan, PlanError};
use crate::project::{Project, PullPolicy, Service};
use crate::running::Image;
use std::collections::{BTreeMap, BTreeSet};

/// Whether images are built.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Building {
    /// Those that are not there.
    #[default]
    Missing,
    /// All that can be (`--build`).
    All,
    /// None (`--no-build`).
    Never,
}

/// The images that must come from somewhere. `now` is in seconds since 1970.
pub fn images(
    project: &Project,
    separator: &str,
    there: &BTreeMap<String, Image>,
    building: Building,
    now: i64,
) -> Result<Plan, PlanError> {
    let mut plan = Plan::default();
    // One pull, one build an image, however many services have it.
    let mut pulls: BTreeMap<String, usize> = BTreeMap::new();
    let mut builds: BTreeMap<String, usize> = BTreeMap::new();
    for (name, service) in &project.services {
        if service.image.is_empty() && service.build.is_none() {
            return Err(PlanError::NoImage { service: name.clone() });
        }
        let can_build = service.build.is_some()
            || project.services.values().any(|other| other.image == service.image && other.build.is_some());
        let image = service.image_name(&project.name, separator);
        if let Some(because) = must_pull(service, there.get(&image), now, building)
            && !pulls.contains_key(&image)
        {
            let act = Act::Pull { service: name.clone(), image: image.clone(), optional: can_build };
            pulls.insert(image.clone(), plan.push(act, [], because));
        }
    }
    for (name, service) in in_build_order(project) {
        let image = service.image_name(&project.name, separator);
        let Some(because) = must_build(service, there.contains_key(&image), building) else { continue };
        if builds.contains_key(&image) {
            continue;
        }
        let pull = pulls.get(&image).copied();
        // Images of other services that it copies from come first.
        let others = contexts(service).filter_map(|other| project.services.get(other));
        let before =
            others.filter_map(|other| builds.get(&other.image_name(&project.name, separator)).copied());
        let before: Vec<usize> = before.chain(pull).collect();
        let act = Act::Build { service: name.to_owned(), image: image.clone(), unless_there: pull.is_some() };
        builds.insert(image, plan.push(act, before, because));
    }
    for mount in project.services.values().flat_map(|service| &service.volumes) {
        if mount.r#type == "image" && !there.contains_key(&mount.source) && !pulls.contains_key(&mount.source)
        {
            let act =
                Act::Pull { service: mount.source.clone(), image: mount.source.clone(), optional: false };
            pulls.insert(mount.source.clone(), plan.push(act, [], "a service mounts it"));
        }
    }
    Ok(plan)
}

/// The services whose images a build copies from.
fn contexts(service: &Service) -> impl Iterator<Item = &str> {
    let contexts = service.build.iter().flat_map(|build| build.additional_contexts.values());
    contexts.filter_map(|context| context.strip_prefix("service:"))
}

/// The services, each after those whose images it copies from. A circle is cut somewhere.
fn in_build_order(project: &Project) -> Vec<(&str, &Service)> {
    fn visit<'a>(
        project: &'a Project,
        name: &'a str,
        seen: &mut BTreeSet<&'a str>,
        order: &mut Vec<(&'a str, &'a Service)>,
    ) {
        let Some(service) = project.services.get(name) else { return };
        if seen.insert(name) {
            contexts(service).for_each(|other| visit(project, other, seen, order));
            order.push((name, service));
        }
    }
    let (mut seen, mut order) = (BTreeSet::new(), Vec::new());
    for name in project.services.keys() {
        visit(project, name, &mut seen, &mut order);
    }
    order
}

fn must_pull(service: &Service, there: Option<&Image>, now: i64, building: Building) -> Option<String> {
    if service.image.is_empty() || service.provider.is_some() {
        return None;
    }
    if building == Building::All && service.build.is_some() {
        return None;
    }
    match (service.pull_policy().unwrap_or(PullPolicy::Missing), there) {
        (PullPolicy::Always, _) => Some("its pull policy is always".into()),
        (PullPolicy::Never | PullPolicy::Build, _) => None,
        (PullPolicy::Missing | PullPolicy::Refresh(_), None) => Some("it is not there".into()),
        (PullPolicy::Missing, Some(_)) => None,
        (PullPolicy::Refresh(age), Some(image)) => (now > image.tagged.saturating_add(age.0 / 1_000_000_000))
            .then(|| format!("the one that is there is older than {} s", age.0 / 1_000_000_000)),
    }
}

fn must_build(service: &Service, there: bool, building: Building) -> Option<String> {
    service.build.as_ref()?;
    match building {
        Building::Never => None,
        Building::All => Some("--build asks for it".into()),
        Building::Missing if service.pull_policy() == Some(PullPolicy::Build) => {
            Some("its pull policy is build".into())
        }
        Building::Missing => (!there).then(|| "it is not there".into()),
    }
}
