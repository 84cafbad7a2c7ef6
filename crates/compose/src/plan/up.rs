//! What `up`, `create` and `scale` change. Pure.

mod shared;

use super::{Act, Plan, PlanError, Until};
use crate::project::{Project, Service, Volume};
use crate::running::{Container, Need, Outline, Running, State};
use crate::{label, service_hash, volume_hash};
use std::collections::{BTreeMap, BTreeSet};

/// When a container is made anew.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Recreate {
    /// When it differs from what the file says.
    #[default]
    Changed,
    /// In any case.
    Always,
    /// Never.
    Never,
}

/// What of it is asked for.
#[derive(Clone, Debug, Default)]
pub struct Up {
    /// Services that were named; none means all. The others are there because these need them.
    pub services: Vec<String>,
    /// For services that were named.
    pub recreate: Recreate,
    /// For those that they need.
    pub recreate_dependencies: Recreate,
    /// Whether containers of services that no file has are removed; `None`: nor told of.
    pub orphans: Option<bool>,
    /// Volumes, by key, that changed and may be lost.
    pub renew_volumes: BTreeSet<String>,
    /// Whether containers are started.
    pub start: bool,
    /// Whether it is waited until all run or are healthy.
    pub wait: bool,
    /// Between the parts of a name: `-`, or `_` as of old.
    pub separator: String,
    /// Digests of the configs and secrets of services, as of [`label::FILES`].
    pub files: BTreeMap<String, String>,
}

/// Volumes, by key, that are not what the file says any more. Renewing one loses its data.
pub fn changed_volumes<'a>(project: &'a Project, running: &Running) -> Vec<(&'a str, &'a Volume)> {
    let changed = |volume: &Volume| {
        let there = running.volumes.iter().find(|one| one.name == volume.name);
        let hash = there.and_then(|one| one.labels.get(label::CONFIG_HASH));
        !volume.external && hash.is_some_and(|hash| *hash != volume_hash(volume))
    };
    let volumes = project.volumes.iter().filter(|(_, volume)| changed(volume));
    volumes.map(|(key, volume)| (key.as_str(), volume)).collect()
}

/// From what runs to what the files say.
pub fn up(project: &Project, running: &Running, asked: &Up) -> Result<Plan, PlanError> {
    let mut builder = Builder {
        project,
        running,
        asked,
        outline: Outline::of_project(project, &asked.separator),
        plan: Plan::default(),
        before: Vec::new(),
        networks: BTreeMap::new(),
        volumes: BTreeMap::new(),
        gone: BTreeSet::new(),
        stopped: BTreeMap::new(),
        services: BTreeMap::new(),
    };
    builder.orphans();
    builder.networks()?;
    builder.volumes()?;
    let order: Vec<String> = builder.outline.in_order().into_iter().map(str::to_owned).collect();
    for name in &order {
        builder.converge(name)?;
    }
    builder.plan.created = builder.plan.steps.len();
    if asked.start {
        builder.start(&order)?;
    }
    Ok(builder.plan)
}

/// One container as it will be.
#[derive(Clone)]
struct Ready {
    name: String,
    /// The step that makes it; `None` when it is there.
    made: Option<usize>,
    /// Why it must be started; `None` when it runs.
    start: Option<String>,
    /// What starts it, when that is not the engine's start.
    unpause: Option<String>,
}

struct Builder<'a> {
    project: &'a Project,
    running: &'a Running,
    asked: &'a Up,
    outline: Outline,
    plan: Plan,
    /// What every container waits for: orphans may hold its ports and names.
    before: Vec<usize>,
    /// Steps that make networks, by key.
    networks: BTreeMap<String, usize>,
    /// Steps that make volumes, by key.
    volumes: BTreeMap<String, usize>,
    /// Ids of containers that are removed on the way, since their volume changed.
    gone: BTreeSet<String>,
    /// Steps that stop containers, by id, and why.
    stopped: BTreeMap<String, (usize, String)>,
    /// What each service will have.
    services: BTreeMap<String, Vec<Ready>>,
}

/// A container's name.
fn container_name(project: &Project, service: &Service, number: u32, separator: &str) -> String {
    match service.container_name.is_empty() {
        true => format!("{}{separator}{}{separator}{number}", project.name, service.name),
        false => service.container_name.clone(),
    }
}

impl Builder<'_> {
    fn orphans(&mut self) {
        let orphans: Vec<Container> =
            self.running.containers.iter().filter(|one| self.outline.is_orphan(one)).cloned().collect();
        if orphans.is_empty() {
            return;
        }
        match self.asked.orphans {
            None => {}
            Some(false) => {
                let names: Vec<&str> = orphans.iter().map(|one| one.name.as_str()).collect();
                self.plan.warnings.push(format!(
                    "Found orphan containers ([{}]) for this project. If you removed or renamed this service in your compose file, you can run this command with the --remove-orphans flag to clean it up.",
                    names.join(" ")
                ));
            }
            Some(true) => {
                for orphan in &orphans {
                    let because = format!("no file has the service {}", orphan.service());
                    let stop = self.stop(orphan, [], &because);
                    let remove = self.remove(orphan, [stop], because);
                    self.before.push(remove);
                }
            }
        }
    }

    fn stop(
        &mut self,
        container: &Container,
        after: impl IntoIterator<Item = usize>,
        because: &str,
    ) -> usize {
        if let Some((step, _)) = self.stopped.get(&container.id) {
            return *step;
        }
        let act = Act::Stop {
            service: container.service().to_owned(),
            id: container.id.clone(),
            name: container.name.clone(),
        };
        let step = self.plan.push(act, after, because);
        self.stopped.insert(container.id.clone(), (step, because.to_owned()));
        step
    }

    fn remove(
        &mut self,
        container: &Container,
        after: impl IntoIterator<Item = usize>,
        because: String,
    ) -> usize {
        let act = Act::Remove { id: container.id.clone(), name: container.name.clone(), volumes: false };
        self.plan.push(act, after, because)
    }

    /// The containers of one service.
    fn converge(&mut self, name: &str) -> Result<(), PlanError> {
        let Some(service) = self.project.services.get(name) else { return Ok(()) };
        // Nothing here runs what provides it.
        if service.provider.is_some() {
            return Ok(());
        }
        let wanted = usize::try_from(service.replicas()).unwrap_or(0);
        if wanted > 1 && !service.container_name.is_empty() {
            let name = service.container_name.clone();
            return Err(PlanError::OneName { service: service.name.clone(), name });
        }
        let shared = self.shared(service)?;
        let mut there: Vec<(Container, Option<String>)> = Vec::new();
        for container in self.running.of_service(name).filter(|one| !self.gone.contains(&one.id)) {
            there.push((container.clone(), self.must_replace(service, container)));
        }
        let leftovers = self.leftovers(service, &mut there);
        // Up to date ones with low numbers first; what is beyond the wanted number goes.
        there.sort_by_key(|(container, replace)| (replace.is_some(), container.number(), container.created));
        let highest = there.iter().map(|(container, _)| container.number()).max().unwrap_or(0);
        let mut ready = Vec::new();
        let mut stops: Option<Vec<usize>> = None;
        let count = there.len();
        for (at, (container, replace)) in there.into_iter().enumerate() {
            if at >= wanted {
                let because = format!("{name} shall have {wanted} of {count} containers");
                let stop = self.stop(&container, [], &because);
                self.remove(&container, [stop], because);
                continue;
            }
            match replace {
                Some(because) => {
                    let stops = stops.get_or_insert_with(|| self.stop_dependents(name)).clone();
                    // What an interrupted replacement left has the name that this one needs.
                    let after = [self.needed(service, &shared), stops, leftovers.clone()].concat();
                    ready.push(self.replace(service, &container, after, because));
                }
                None => ready.push(self.keep(service, &container, &leftovers)),
            }
        }
        for (number, more) in (highest + 1..).zip(count..wanted) {
            let name = container_name(self.project, service, number, &self.asked.separator);
            let after = [self.needed(service, &shared), leftovers.clone()].concat();
            let act = Act::Create { service: service.name.clone(), number, name: name.clone() };
            let because = match more {
                0 => "there is none yet".to_owned(),
                more => format!("{} shall have {wanted} containers and has {more}", service.name),
            };
            let made = self.plan.push(act, after, because);
            ready.push(Ready { name, made: Some(made), start: Some("it is new".into()), unpause: None });
        }
        if let Some(first) = ready.iter().map(|one| &one.name).min() {
            self.plan.first.insert(name.to_owned(), first.clone());
        }
        self.services.insert(name.to_owned(), ready);
        Ok(())
    }

    /// What an interrupted replacement left: a container that has the number of another one goes.
    fn leftovers(&mut self, service: &Service, there: &mut Vec<(Container, Option<String>)>) -> Vec<usize> {
        let mut steps = Vec::new();
        let named = |container: &Container| {
            container.name == container_name(self.project, service, container.number(), &self.asked.separator)
        };
        let numbers: BTreeSet<u32> =
            there.iter().filter(|(one, _)| named(one)).map(|(one, _)| one.number()).collect();
        let (keep, left): (Vec<_>, Vec<_>) = std::mem::take(there).into_iter().partition(|(container, _)| {
            named(container)
                || !container.labels.contains_key(label::REPLACE)
                || !numbers.contains(&container.number())
        });
        *there = keep;
        for (container, _) in left {
            let because = "a replacement was interrupted";
            let stop = self.stop(&container, [], because);
            steps.push(self.remove(&container, [stop], because.into()));
        }
        steps
    }

    /// The services whose first container this one's containers share something with.
    fn shared(&self, service: &Service) -> Result<Vec<String>, PlanError> {
        let mut shared = Vec::new();
        let modes = [
            ("network namespace", &service.network_mode),
            ("IPC namespace", &service.ipc),
            ("PID namespace", &service.pid),
        ];
        let named = modes.iter().filter_map(|(what, mode)| Some((*what, mode.strip_prefix("service:")?)));
        let volumes =
            service.volumes_from.iter().map(|from| ("volume", from.split(':').next().unwrap_or_default()));
        for (what, name) in named.chain(volumes.filter(|(_, name)| *name != "container")) {
            if self.services.get(name).is_none_or(Vec::is_empty) {
                return Err(PlanError::NothingToShare { what, service: name.to_owned() });
            }
            shared.push(name.to_owned());
        }
        Ok(shared)
    }

    /// Steps before a container of `service` can be made.
    fn needed(&self, service: &Service, shared: &[String]) -> Vec<usize> {
        let mut steps = self.before.clone();
        if service.networks.is_empty() {
            steps.extend(self.networks.get("default"));
        }
        steps.extend(service.networks.keys().filter_map(|key| self.networks.get(key)));
        steps.extend(service.volumes.iter().filter_map(|mount| self.volumes.get(&mount.source)));
        // Namespaces and links name containers: those must be there.
        let linked = service.links.iter().filter_map(|link| link.split(':').next());
        let others = shared.iter().map(String::as_str).chain(linked);
        steps.extend(others.filter_map(|name| self.services.get(name)).flatten().filter_map(|one| one.made));
        steps
    }

    fn replace(&mut self, service: &Service, old: &Container, after: Vec<usize>, because: String) -> Ready {
        let number = old.number().max(1);
        let name = container_name(self.project, service, number, &self.asked.separator);
        let stopped = self.stopped.get(&old.id).map(|(step, _)| *step);
        let after = after.into_iter().chain(stopped);
        let act = Act::Replace {
            service: service.name.clone(),
            number,
            name: name.clone(),
            old: old.id.clone(),
            old_name: old.name.clone(),
        };
        let made = self.plan.push(act, after, because);
        Ready { name, made: Some(made), start: Some("it is new".into()), unpause: None }
    }

    fn keep(&mut self, service: &Service, container: &Container, leftovers: &[usize]) -> Ready {
        let usual = container_name(self.project, service, container.number(), &self.asked.separator);
        let mut made = None;
        let mut name = container.name.clone();
        if name != usual && container.labels.contains_key(label::REPLACE) {
            let act = Act::Rename { id: container.id.clone(), name: usual.clone() };
            made = Some(self.plan.push(act, leftovers.iter().copied(), "a replacement was interrupted"));
            name = usual;
        }
        let (start, unpause) = match self.stopped.get(&container.id) {
            Some((step, because)) => {
                made = Some(made.unwrap_or(*step).max(*step));
                (Some(format!("it was stopped: {because}")), None)
            }
            None => match container.state {
                State::Running => (None, None),
                State::Paused => (Some(State::Paused.told().to_owned()), Some(container.id.clone())),
                state => (Some(state.told().to_owned()), None),
            },
        };
        if start.is_none() {
            self.plan.push(Act::Keep { name: name.clone() }, [], "it is what the file says");
        }
        Ready { name, made, start, unpause }
    }

    /// Those that restart with `name` stop before it is replaced.
    fn stop_dependents(&mut self, name: &str) -> Vec<usize> {
        let dependents: Vec<String> = (self.outline.dependents(name))
            .filter(|(_, need)| need.restart)
            .map(|(dependent, _)| dependent.to_owned())
            .collect();
        let because = format!("it restarts with {name}, which is replaced");
        let mut stops = Vec::new();
        for dependent in dependents {
            let running = self.running;
            let mut containers: Vec<&Container> =
                running.of_service(&dependent).filter(|one| one.state == State::Running).collect();
            containers.retain(|one| !self.gone.contains(&one.id));
            for container in containers {
                stops.push(self.stop(container, [], &because));
            }
        }
        stops
    }

    /// Why a container is made anew; `None` when it is what the file says.
    fn must_replace(&self, service: &Service, container: &Container) -> Option<String> {
        let named = self.asked.services.is_empty() || self.asked.services.contains(&service.name);
        match if named { self.asked.recreate } else { self.asked.recreate_dependencies } {
            Recreate::Never => return None,
            Recreate::Always => return Some("it was asked for".into()),
            Recreate::Changed => {}
        }
        let Some(hash) = self.hash(service) else {
            return Some("what it shares a namespace or volume with is made anew".into());
        };
        if container.label(label::CONFIG_HASH) != hash {
            return Some("its configuration changed".into());
        }
        let image = service.image_name(&self.project.name, &self.asked.separator);
        let id = self.running.images.get(&image).map_or("", |image| image.id.as_str());
        if container.label(label::IMAGE) != id {
            return Some(format!("image {image} changed"));
        }
        if let (Some(old), Some(new)) =
            (container.labels.get(label::FILES), self.asked.files.get(&service.name))
            && old != new
        {
            let olds: BTreeSet<&str> = old.split(',').collect();
            let changed = new.split(',').find(|digest| !olds.contains(digest)).unwrap_or(old);
            let what = changed.split('=').next().unwrap_or_default().replacen(':', " ", 1);
            return Some(format!("the content of {what} changed"));
        }
        for key in service.networks.keys() {
            let Some(network) = self.project.networks.get(key) else { continue };
            if self.networks.contains_key(key) {
                return Some(format!("network {key} is made anew"));
            }
            let id = self.running.network(&network.name).map_or("", |one| one.id.as_str());
            if container.state == State::Running && !container.networks.iter().any(|of| of == id) {
                return Some(format!("it is not in network {key}"));
            }
        }
        for mount in
            service.volumes.iter().filter(|mount| mount.r#type == "volume" && !mount.source.is_empty())
        {
            let Some(volume) = self.project.volumes.get(&mount.source) else { continue };
            if self.volumes.contains_key(&mount.source) {
                return Some(format!("volume {} is made anew", mount.source));
            }
            if !container.volumes.contains(&volume.name) {
                return Some(format!("it does not mount volume {}", mount.source));
            }
        }
        None
    }

    /// The hash that a container's label would have; `None` while a container that it names is not made yet.
    fn hash(&self, service: &Service) -> Option<String> {
        let id = |name: &str| {
            let first = self.services.get(name)?.iter().min_by_key(|one| &one.name)?;
            let there = self.running.containers.iter().find(|one| one.name == first.name)?;
            first.made.is_none().then(|| there.id.clone())
        };
        Some(service_hash(&resolved(service, id)?))
    }

    /// Starts, each after what its service needs.
    fn start(&mut self, order: &[String]) -> Result<(), PlanError> {
        let mut started: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        let mut waits = BTreeMap::new();
        for name in order {
            let ready = self.services.get(name).cloned().unwrap_or_default();
            let needs = self.outline.services.get(name).cloned().unwrap_or_default();
            let mut before = Vec::new();
            // Also for one that runs: that what it needs is unhealthy is told, as docker compose does.
            if !ready.is_empty() {
                before = self.wait_for(name, &needs, &started, &mut waits)?;
            }
            for one in ready {
                let Some(because) = one.start else { continue };
                let after = before.iter().copied().chain(one.made);
                let act = match one.unpause {
                    Some(id) => Act::Unpause { id, name: one.name },
                    None => Act::Start { service: name.clone(), name: one.name },
                };
                let step = self.plan.push(act, after, because);
                started.entry(name).or_default().push(step);
            }
        }
        if self.asked.wait {
            for name in order {
                let completes = self
                    .outline
                    .dependents(name)
                    .any(|(_, need)| Until::of(need.condition) == Some(Until::Completed));
                let until = if completes { Until::Completed } else { Until::RunningOrHealthy };
                let after = started.get(name.as_str()).cloned().unwrap_or_default();
                if !self.services.get(name).is_none_or(Vec::is_empty) {
                    self.wait(name, until, true, after, &mut waits);
                }
            }
        }
        Ok(())
    }

    /// The steps that must be done before `name` starts.
    fn wait_for(
        &mut self,
        name: &str,
        needs: &BTreeMap<String, Need>,
        started: &BTreeMap<&str, Vec<usize>>,
        waits: &mut BTreeMap<(String, Until, bool), usize>,
    ) -> Result<Vec<usize>, PlanError> {
        let mut before = Vec::new();
        for (dependency, need) in needs {
            let starts = started.get(dependency.as_str()).cloned().unwrap_or_default();
            before.extend(starts.iter().copied());
            let Some(until) = Until::of(need.condition) else { continue };
            // Not part of this `up`, or wanted without containers: nothing is waited for.
            let Some(service) = self.project.services.get(dependency) else { continue };
            if service.replicas() == 0 || service.provider.is_some() {
                continue;
            }
            if self.services.get(dependency).is_none_or(Vec::is_empty) {
                if need.required {
                    let (service, dependency) = (name.to_owned(), dependency.clone());
                    return Err(PlanError::NoDependency { service, dependency });
                }
                self.plan.warnings.push(format!("{name} is missing dependency {dependency}"));
                continue;
            }
            before.push(self.wait(dependency, until, need.required, starts, waits));
        }
        Ok(before)
    }

    /// One wait for all who wait for the same.
    fn wait(
        &mut self,
        service: &str,
        until: Until,
        required: bool,
        after: Vec<usize>,
        waits: &mut BTreeMap<(String, Until, bool), usize>,
    ) -> usize {
        let key = (service.to_owned(), until, required);
        if let Some(step) = waits.get(&key) {
            return *step;
        }
        let names = self.services.get(service).into_iter().flatten().map(|one| one.name.clone()).collect();
        let act = Act::Wait { service: service.to_owned(), names, until, required };
        let because = if until == Until::RunningOrHealthy { "--wait asks for it" } else { "others need it" };
        let step = self.plan.push(act, after, because);
        waits.insert(key, step);
        step
    }
}

/// A service with the ids of containers in place of `service:NAME`; `None` when one is not known.
pub fn resolved(service: &Service, id: impl Fn(&str) -> Option<String>) -> Option<Service> {
    let mut resolved = service.clone();
    for mode in [&mut resolved.network_mode, &mut resolved.ipc, &mut resolved.pid] {
        if let Some(name) = mode.strip_prefix("service:") {
            *mode = format!("container:{}", id(name)?);
        }
    }
    for from in &mut resolved.volumes_from {
        let mut parts = from.split(':');
        let first = parts.next().unwrap_or_default();
        *from = match first {
            "container" => parts.next().unwrap_or_default().to_owned(),
            service => id(service)?,
        };
    }
    Some(resolved)
}
