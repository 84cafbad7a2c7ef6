//! Containers that are there and are started, stopped or restarted, in the order of what they need. Pure.

use super::{Act, Plan, PlanError, Until};
use crate::running::{Container, Outline, Running, State};
use std::collections::{BTreeMap, BTreeSet};

fn wanted(services: &[String], service: &str) -> bool {
    services.is_empty() || services.iter().any(|one| one == service)
}

/// Stops the containers of `services` (none: of all), each after those that need it.
pub fn stop(outline: &Outline, running: &Running, services: &[String]) -> Plan {
    let mut plan = Plan::default();
    let mut stopped: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for service in outline.in_order().into_iter().rev().filter(|service| wanted(services, service)) {
        let before: Vec<usize> = outline
            .dependents(service)
            .filter_map(|(name, _)| stopped.get(name))
            .flatten()
            .copied()
            .collect();
        for container in running.of_service(service) {
            let (id, name) = (container.id.clone(), container.name.clone());
            let act = Act::Stop { service: service.to_owned(), id, name };
            let step = plan.push(act, before.iter().copied(), "it was asked for");
            stopped.entry(service).or_default().push(step);
        }
    }
    plan
}

/// Starts the containers of `services` (none: of all) and of what they need.
pub fn start(outline: &Outline, running: &Running, services: &[String]) -> Result<Plan, PlanError> {
    let mut chosen: BTreeSet<&str> = BTreeSet::new();
    let mut next: Vec<&str> =
        outline.services.keys().map(String::as_str).filter(|service| wanted(services, service)).collect();
    while let Some(service) = next.pop() {
        if chosen.insert(service) {
            next.extend(
                outline.services.get(service).into_iter().flat_map(|needs| needs.keys()).map(String::as_str),
            );
        }
    }
    let mut plan = Plan::default();
    let mut started: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    let mut waits: BTreeMap<(&str, Until), usize> = BTreeMap::new();
    for service in outline.in_order().into_iter().filter(|service| chosen.contains(service)) {
        let containers: Vec<&Container> = running.of_service(service).collect();
        if containers.is_empty() {
            if services.iter().any(|one| one == service) {
                return Err(PlanError::NoContainer { service: service.to_owned() });
            }
            continue;
        }
        let mut before = Vec::new();
        for (name, need) in outline.services.get(service).into_iter().flatten() {
            let starts = started.get(name.as_str()).cloned().unwrap_or_default();
            before.extend(starts.iter().copied());
            let names: Vec<String> = running.of_service(name).map(|one| one.name.clone()).collect();
            if let Some(until) = Until::of(need.condition)
                && !names.is_empty()
            {
                let act = Act::Wait { service: name.clone(), names, until, required: need.required };
                let wait = *waits
                    .entry((name.as_str(), until))
                    .or_insert_with(|| plan.push(act, starts.iter().copied(), "others need it"));
                before.push(wait);
            }
        }
        for container in containers.iter().filter(|one| one.state != State::Running) {
            let act = Act::Start { service: service.to_owned(), name: container.name.clone() };
            let step = plan.push(act, before.iter().copied(), container.state.told());
            started.entry(service).or_default().push(step);
        }
    }
    Ok(plan)
}

/// Restarts the containers of `services` (none: of all), and of those that restart with them.
pub fn restart(outline: &Outline, running: &Running, services: &[String], dependents: bool) -> Plan {
    let mut chosen: BTreeMap<&str, String> = BTreeMap::new();
    let mut next: Vec<(&str, String)> = (outline.services.keys())
        .filter(|service| wanted(services, service))
        .map(|service| (service.as_str(), "it was asked for".to_owned()))
        .collect();
    while let Some((service, because)) = next.pop() {
        if chosen.insert(service, because).is_none() && dependents {
            let followers = outline.dependents(service).filter(|(_, need)| need.restart);
            next.extend(
                followers
                    .filter(|(name, _)| !chosen.contains_key(name))
                    .map(|(name, _)| (name, format!("it restarts with {service}"))),
            );
        }
    }
    let mut plan = Plan::default();
    let mut restarted: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for service in outline.in_order() {
        let Some(because) = chosen.get(service) else { continue };
        // Of what is needed, only what restarts with it is waited for.
        let needs = outline.services.get(service).into_iter().flatten().filter(|(_, need)| need.restart);
        let mut before = Vec::new();
        for (name, need) in needs {
            let Some(steps) = restarted.get(name.as_str()).cloned() else { continue };
            before.extend(steps.iter().copied());
            if let Some(until) = Until::of(need.condition) {
                let names = running.of_service(name).map(|one| one.name.clone()).collect();
                let act = Act::Wait { service: name.clone(), names, until, required: need.required };
                before.push(plan.push(act, steps, "others need it"));
            }
        }
        for container in running.of_service(service) {
            let (id, name) = (container.id.clone(), container.name.clone());
            let act = Act::Restart { service: service.to_owned(), id, name };
            let step = plan.push(act, before.iter().copied(), because.clone());
            restarted.entry(service).or_default().push(step);
        }
    }
    plan
}
