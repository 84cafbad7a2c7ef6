//! What `down` takes away. Pure.

use super::{Act, Plan};
use crate::running::{Container, Outline, Running};
use std::collections::BTreeMap;

/// Which images go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Images {
    /// All that services name.
    All,
    /// Those that the project builds and gives no name of their own.
    Local,
}

/// What of it is asked for.
#[derive(Clone, Debug, Default)]
pub struct Down {
    /// Services that were named; none means all.
    pub services: Vec<String>,
    /// Whether containers of services that no file has go too.
    pub remove_orphans: bool,
    /// Whether volumes go.
    pub volumes: bool,
    /// Which images go.
    pub images: Option<Images>,
}

/// Takes a project away: containers in reverse order of their needs, then networks, images and volumes.
pub fn down(name: &str, outline: &Outline, running: &Running, asked: &Down) -> Plan {
    let mut plan = Plan::default();
    let gone = gone(outline, &asked.services);
    let mut removed: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    let mut all = Vec::new();
    for service in outline.in_order().into_iter().rev() {
        let before: Vec<usize> = (outline.dependents(service))
            .filter_map(|(dependent, _)| removed.get(dependent))
            .flatten()
            .copied()
            .collect();
        let Some(because) = gone.get(service) else { continue };
        for container in running.of_service(service) {
            let step = take(&mut plan, container, before.clone(), asked.volumes, because);
            removed.entry(service).or_default().push(step);
            all.push(step);
        }
    }
    if asked.remove_orphans {
        let orphans = running.containers.iter().filter(|one| outline.is_orphan(one) || one.is_one_off());
        for orphan in orphans {
            all.push(take(&mut plan, orphan, [], false, "no file has its service"));
        }
    }
    let found = !running.containers.is_empty();
    for network in outline.networks.values() {
        for there in running.networks.iter().filter(|one| one.name == *network && ours(&one.labels, name)) {
            let act = Act::RemoveNetwork { id: there.id.clone(), name: network.clone() };
            plan.push(act, all.iter().copied(), "the project goes");
        }
    }
    if let Some(which) = asked.images {
        let images: std::collections::BTreeSet<&String> = (outline.images.values())
            .filter(|(image, built)| (which == Images::All || *built) && running.images.contains_key(image))
            .map(|(image, _)| image)
            .collect();
        for image in images {
            plan.push(Act::RemoveImage { name: image.clone() }, all.iter().copied(), "--rmi asks for it");
        }
    }
    if asked.volumes {
        for volume in outline.volumes.values() {
            if running.volumes.iter().any(|one| one.name == *volume) {
                let act = Act::RemoveVolume { name: volume.clone() };
                plan.push(act, all.iter().copied(), "--volumes asks for it");
            }
        }
    }
    if !found && plan.steps.is_empty() {
        plan.warnings.push(format!("Warning: No resource found to remove for project {name:?}."));
    }
    plan
}

/// The services whose containers go, and why: those named, and whatever needs them.
fn gone<'a>(outline: &'a Outline, named: &'a [String]) -> BTreeMap<&'a str, String> {
    if named.is_empty() {
        return outline.services.keys().map(|name| (name.as_str(), "the project goes".to_owned())).collect();
    }
    let mut gone = BTreeMap::new();
    let mut next: Vec<(&str, String)> =
        named.iter().map(|name| (name.as_str(), "its service was named".to_owned())).collect();
    while let Some((name, because)) = next.pop() {
        if gone.insert(name, because).is_none() {
            let dependents = outline.dependents(name).filter(|(dependent, _)| !gone.contains_key(dependent));
            next.extend(
                dependents
                    .map(|(dependent, _)| (dependent, format!("it needs {name}, which goes")))
                    .collect::<Vec<_>>(),
            );
        }
    }
    gone
}

fn ours(labels: &BTreeMap<String, String>, project: &str) -> bool {
    labels.get(crate::label::PROJECT).is_some_and(|of| of == project)
}

fn take(
    plan: &mut Plan,
    container: &Container,
    before: impl IntoIterator<Item = usize>,
    volumes: bool,
    because: &str,
) -> usize {
    let (service, id, name) = (container.service().to_owned(), container.id.clone(), container.name.clone());
    let stop = plan.push(Act::Stop { service, id: id.clone(), name: name.clone() }, before, because);
    plan.push(Act::Remove { id, name, volumes }, [stop], because)
}
