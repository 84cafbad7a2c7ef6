//! Services: made, changed, rolled back, removed; each change with the template that its tasks will name.

use super::{
    Code, Control, ControlError, Filters, Look, Result, constraint,
    filter::{check_dns_name, resolve},
    secret::{guard_of_config, guard_of_secret},
    task::TaskView,
};
use crate::tables::{CONFIGS, NAMES, NETWORKS, Named, SECRETS, SERVICES, TEMPLATES, name_of, template_name};
use minke_model::{
    Kind, NetworkId, ServiceId, Timestamp,
    object::Meta,
    port::Protocol,
    service::{
        EndpointModeSpec, Mode, PortSpec, PublishMode, Resolution, Service, ServiceSpec, TaskSpec,
        UpdateState, UpdateStatus,
    },
    task::TaskState,
};
use minke_store::{Snapshot, Txn};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// Credentials for a service's image.
#[derive(Clone, Default, PartialEq, Eq)]
pub enum Credentials {
    /// As they are now.
    #[default]
    Keep,
    /// As they were before the last update.
    Previous,
    /// These: base64 of JSON, as Docker's clients send them.
    Given(String),
}

/// How many tasks a service has, and should have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// That run.
    pub running: u64,
    /// That should.
    pub desired: u64,
    /// Of a job's run: that ended well.
    pub completed: u64,
}

/// Says which mode it is, as filters name them.
pub fn mode_word(mode: &Mode) -> &'static str {
    match mode {
        Mode::Replicated { .. } => "replicated",
        Mode::Global => "global",
        Mode::ReplicatedJob { .. } => "replicated-job",
        Mode::GlobalJob => "global-job",
    }
}

impl Control {
    /// The service that `input` means.
    pub async fn service(&self, input: &str) -> Result<Arc<Service>> {
        let services = self.every_service().await?;
        resolve("service", input, &services, |s| (s.id.as_str(), &s.spec.name))
    }

    /// All services that are not on their way out, by id.
    pub(super) async fn every_service(&self) -> Result<Vec<Arc<Service>>> {
        let snapshot = self.look().await?;
        Ok(SERVICES.list(&snapshot)?.into_iter().map(|(_, s)| s.value).filter(|s| !s.removing).collect())
    }

    /// Services that are wanted.
    pub async fn services(&self, filters: &Filters) -> Result<Vec<Arc<Service>>> {
        filters.check(&["name", "id", "label", "mode", "runtime"])?;
        let wanted = |s: &Service| {
            filters.begins("name", &s.spec.name)
                && filters.begins("id", s.id.as_str())
                && filters.labelled("label", &s.spec.labels)
                && filters.is("mode", mode_word(&s.spec.mode))
                && filters.is("runtime", "container")
        };
        Ok(self.every_service().await?.into_iter().filter(|s| wanted(s)).collect())
    }

    /// How far each of `services` is.
    pub async fn tallies(&self, services: &[Arc<Service>]) -> Result<Vec<Tally>> {
        let tasks = self.tasks(&Filters::default()).await?;
        let mut by_service = BTreeMap::<&ServiceId, Vec<&TaskView>>::new();
        for task in &tasks {
            by_service.entry(&task.task.service).or_default().push(task);
        }
        let none = Vec::new();
        Ok(services.iter().map(|s| tally(s, by_service.get(&s.id).unwrap_or(&none))).collect())
    }

    /// Makes a service.
    pub async fn create_service(&self, spec: ServiceSpec, credentials: Option<String>) -> Result<ServiceId> {
        let id = self.new_service();
        let mut spec = spec;
        if spec.name.is_empty() {
            spec.name = id.short().to_owned();
        }
        check(&spec)?;
        let sealed = match &credentials {
            Some(plain) if !plain.is_empty() => Some(self.sealer.seal(plain.as_bytes())?),
            _ => None,
        };
        spec.task.container.registry = sealed;
        let now = self.now();
        self.wish(|snapshot| {
            let name = name_of(Named::Service, &spec.name);
            if SERVICES.get(snapshot, id.as_str())?.is_some() {
                return Ok(Look::Done(id.clone()));
            }
            check_networks(snapshot, &spec.task)?;
            check_ports(snapshot, &spec, None)?;
            check_ingress(snapshot, &spec)?;
            let txn = use_files(snapshot, Txn::on(snapshot), &spec.task, None)?;
            if NAMES.get(snapshot, &name)?.is_some() {
                return Err(ControlError::new(
                    Code::AlreadyExists,
                    format!("name conflicts with an existing object: service {} already exists", spec.name),
                ));
            }
            let is_job = spec.mode.is_job();
            let service = Service {
                id: id.clone(),
                meta: Meta::new(now),
                spec: spec.clone(),
                previous: None,
                template: 1,
                previous_template: None,
                endpoint: None,
                update: None,
                job_iteration: 0,
                job_started: is_job.then_some(now),
                removing: false,
            };
            let txn = txn
                .guard_absent(NAMES.key(&name))
                .put(&NAMES, &name, id.as_str().to_owned())
                .put(&TEMPLATES, &template_name(&id, 1), spec.task.clone())
                .put(&SERVICES, id.as_str(), service);
            Ok(Look::Write(txn, id.clone()))
        })
        .await
    }

    /// Changes a service to `spec`, if it is still of `version`.
    pub async fn update_service(
        &self,
        id: &ServiceId,
        version: u64,
        spec: ServiceSpec,
        credentials: Credentials,
    ) -> Result<()> {
        check(&spec)?;
        self.change(id, version, |control, snapshot, service| {
            let mut spec = spec.clone();
            spec.task.container.registry = control.credentials(service, &credentials)?;
            check_networks(snapshot, &spec.task)?;
            if spec.endpoint.is_some() && spec.endpoint != service.spec.endpoint {
                check_ports(snapshot, &spec, Some(id))?;
            }
            check_ingress(snapshot, &spec)?;
            if std::mem::discriminant(&spec.mode) != std::mem::discriminant(&service.spec.mode) {
                return Err(ControlError::new(Code::Unimplemented, "service mode change is not allowed"));
            }
            if spec.name != service.spec.name {
                return Err(ControlError::new(Code::Unimplemented, "renaming services is not supported"));
            }
            let mut next = service.clone();
            next.previous = Some(Box::new(std::mem::replace(&mut next.spec, spec)));
            next.previous_template = Some(next.template);
            next.update = None;
            Ok(next)
        })
        .await
    }

    /// Goes back to what a service was before its last update.
    pub async fn roll_back_service(&self, id: &ServiceId, version: u64) -> Result<()> {
        let now = self.now();
        self.change(id, version, |_, _, service| {
            let Some(previous) = service.previous.clone() else {
                return Err(ControlError::new(
                    Code::FailedPrecondition,
                    format!("service {id} does not have a previous spec"),
                ));
            };
            let mut next = service.clone();
            next.previous = Some(Box::new(std::mem::replace(&mut next.spec, *previous)));
            let template = next.previous_template.unwrap_or(next.template);
            next.previous_template = Some(std::mem::replace(&mut next.template, template));
            next.update = Some(rolling_back(now));
            Ok(next)
        })
        .await
    }

    /// Writes what `decide` makes of a service of `version`, with a new template where its tasks would differ.
    async fn change(
        &self,
        id: &ServiceId,
        version: u64,
        decide: impl Fn(&Control, &Snapshot, &Service) -> Result<Service>,
    ) -> Result<()> {
        let now = self.now();
        self.wish(|snapshot| {
            let found = SERVICES.get(snapshot, id.as_str())?.filter(|s| !s.removing);
            let Some(found) = found else {
                return Err(ControlError::new(Code::NotFound, format!("service {id} not found")));
            };
            let mut next = decide(self, snapshot, &found)?;
            if found.meta.version == version + 1 && found.meta.updated == now {
                // An earlier try was written after all.
                return Ok(Look::Done(()));
            }
            if found.meta.version != version {
                return Err(ControlError::out_of_sequence());
            }
            next.meta = found.meta.changed(now);
            if next.spec.mode.is_job() {
                next.job_iteration += 1;
                next.job_started = Some(now);
            }
            let mut txn = use_files(snapshot, Txn::on(snapshot), &next.spec.task, Some(&found.spec.task))?;
            if needs_template(snapshot, &next, &found)? {
                next.template = next.meta.version;
                txn = txn.put(&TEMPLATES, &template_name(id, next.template), next.spec.task.clone());
            }
            Ok(Look::Write(txn.put(&SERVICES, id.as_str(), next), ()))
        })
        .await
    }

    /// The sealed credentials that an update leaves: the same bytes where they mean the same, so that tasks do not
    /// differ by a nonce.
    fn credentials(
        &self,
        service: &Service,
        wanted: &Credentials,
    ) -> Result<Option<minke_model::secret::Sealed>> {
        let now = &service.spec.task.container.registry;
        match wanted {
            Credentials::Keep => Ok(now.clone()),
            Credentials::Previous => match &service.previous {
                Some(previous) => Ok(previous.task.container.registry.clone()),
                None => Err(ControlError::plain(Kind::Internal, "service does not have a previous spec")),
            },
            Credentials::Given(plain) => {
                if let Some(sealed) = now
                    && self.sealer.open(sealed)? == plain.as_bytes()
                {
                    return Ok(now.clone());
                }
                Ok(Some(self.sealer.seal(plain.as_bytes())?))
            }
        }
    }

    /// Takes a service away: its name at once, its tasks when they have stopped.
    pub async fn remove_service(&self, id: &ServiceId) -> Result<()> {
        self.wish(|snapshot| {
            let found = SERVICES.get(snapshot, id.as_str())?.filter(|s| !s.removing);
            let Some(found) = found else {
                return Err(ControlError::new(Code::NotFound, format!("service {id} not found")));
            };
            let mut next = Service::clone(&found);
            next.removing = true;
            let txn = Txn::on(snapshot).remove(&NAMES, &name_of(Named::Service, &found.spec.name)).put(
                &SERVICES,
                id.as_str(),
                next,
            );
            Ok(Look::Write(txn, ()))
        })
        .await
    }
}

fn rolling_back(now: Timestamp) -> UpdateStatus {
    UpdateStatus {
        state: UpdateState::RollbackStarted,
        started: now,
        completed: None,
        message: "manually requested rollback".to_owned(),
    }
}

/// Whether the tasks of `next` need a template that `template` does not name: another task, or other ports of mode host,
/// which belong to tasks.
fn needs_template(snapshot: &Snapshot, next: &Service, found: &Service) -> Result<bool> {
    let host = |spec: &ServiceSpec| -> Vec<PortSpec> {
        let ports = spec.endpoint.iter().flat_map(|e| &e.ports);
        ports.filter(|p| p.publish == PublishMode::Host).cloned().collect()
    };
    let named = TEMPLATES.get(snapshot, &template_name(&next.id, next.template))?;
    Ok(named.is_none_or(|named| *named != next.spec.task) || host(&next.spec) != host(&found.spec))
}

fn tally(service: &Service, tasks: &[&TaskView]) -> Tally {
    let (mut tally, is_job) = (Tally::default(), service.spec.mode.is_job());
    match service.spec.mode {
        Mode::Replicated { replicas } => tally.desired = replicas,
        Mode::ReplicatedJob { max_concurrent, .. } => tally.desired = max_concurrent,
        Mode::Global | Mode::GlobalJob => {}
    }
    for view in tasks {
        let (state, desired) = (view.state(), view.task.desired);
        if is_job && view.task.job_iteration != Some(service.job_iteration) {
            continue;
        }
        tally.completed += u64::from(is_job && state == TaskState::Complete);
        tally.running += u64::from(state == TaskState::Running);
        let wanted =
            desired == TaskState::Running || (desired == TaskState::Complete && state != TaskState::Complete);
        tally.desired += u64::from(service.spec.mode.is_global() && wanted);
    }
    tally
}

/// All that can be said of a spec by itself.
fn check(spec: &ServiceSpec) -> Result<()> {
    check_dns_name(&spec.name)?;
    check_task(&spec.task)?;
    let negative = |n: u64| i64::try_from(n).is_err();
    match spec.mode {
        Mode::Replicated { replicas } if negative(replicas) => {
            return Err(ControlError::invalid("Number of replicas must be non-negative"));
        }
        Mode::ReplicatedJob { max_concurrent, .. } if negative(max_concurrent) => {
            return Err(ControlError::invalid("Maximum concurrent jobs must not be negative"));
        }
        Mode::ReplicatedJob { total_completions, .. } if negative(total_completions) => {
            return Err(ControlError::invalid("Total completed jobs must not be negative"));
        }
        _ => {}
    }
    match (&spec.update, spec.mode.is_job()) {
        (Some(_), true) => return Err(ControlError::invalid("Jobs may not have an update config")),
        (Some(update), false) if !(0.0..=1.0).contains(&update.max_failure_ratio) => {
            return Err(ControlError::invalid(
                "TaskSpec: update-maxfailureratio cannot be less than 0 or bigger than 1",
            ));
        }
        _ => {}
    }
    spec.endpoint.as_ref().map_or(Ok(()), check_endpoint)
}

fn check_task(task: &TaskSpec) -> Result<()> {
    let resources = &task.resources;
    let amounts = [
        (resources.limit_nano_cpus, resources.limit_memory),
        (resources.reserve_nano_cpus, resources.reserve_memory),
    ];
    for (cpus, memory) in amounts {
        if cpus != 0 && cpus < 1_000_000 {
            return Err(ControlError::invalid(format!(
                "invalid cpu value {}: Must be at least 0.001",
                go_float(cpus as f64 / 1e9)
            )));
        }
        if memory != 0 && memory < 4 << 20 {
            return Err(ControlError::invalid(format!(
                "invalid memory value {memory}: Must be at least 4MiB"
            )));
        }
    }
    constraint::check(&task.placement.constraints)?;
    let container = &task.container;
    let secrets =
        container.secrets.iter().map(|s| (s.name.as_str(), s.file.as_ref().map(|f| f.path.as_str())));
    check_targets("secret", secrets)?;
    let configs =
        container.configs.iter().map(|s| (s.name.as_str(), s.file.as_ref().map(|f| f.path.as_str())));
    check_targets("config", configs)?;
    let mut targets = BTreeSet::new();
    match container.mounts.iter().find(|mount| !targets.insert(&mount.target)) {
        Some(mount) => {
            Err(ControlError::invalid(format!("ContainerSpec: duplicate mount point: {}", mount.target)))
        }
        None => Ok(()),
    }
}

/// As Go's `%g`: very small numbers with an exponent of two digits.
fn go_float(value: f64) -> String {
    if value == 0.0 || value.abs() >= 1e-4 {
        return value.to_string();
    }
    let text = format!("{value:e}");
    match text.split_once("e-") {
        Some((digits, exponent)) => format!("{digits}e-{exponent:0>2}"),
        None => text,
    }
}

/// Files of one kind must not fall on each other.
fn check_targets<'a>(what: &str, files: impl Iterator<Item = (&'a str, Option<&'a str>)>) -> Result<()> {
    let mut seen = BTreeMap::new();
    for (name, path) in files {
        match path {
            Some("") => {
                return Err(ControlError::invalid(format!(
                    "malformed file {what} reference, invalid target file name provided"
                )));
            }
            Some(path) => {
                if let Some(earlier) = seen.insert(path, name) {
                    return Err(ControlError::invalid(format!(
                        "{what} references '{earlier}' and '{name}' have a conflicting target: '{path}'"
                    )));
                }
            }
            None => {}
        }
    }
    Ok(())
}

fn check_endpoint(endpoint: &EndpointModeSpec) -> Result<()> {
    let mut published = BTreeSet::new();
    for port in &endpoint.ports {
        if endpoint.mode == Resolution::RoundRobin && port.publish == PublishMode::Ingress {
            return Err(ControlError::invalid(
                "EndpointSpec: port published with ingress mode can't be used with dnsrr mode",
            ));
        }
        if port.published != 0 && !published.insert((port.published, port.protocol)) {
            return Err(ControlError::invalid("EndpointSpec: duplicate published ports provided"));
        }
    }
    Ok(())
}

/// Networks of the cluster must be there, and must not be the one of published ports.
fn check_networks(snapshot: &Snapshot, task: &TaskSpec) -> Result<()> {
    for wanted in &task.networks {
        let Some(id) = NetworkId::parse(&wanted.target) else { continue };
        match NETWORKS.get(snapshot, id.as_str())? {
            Some(network) if network.spec.ingress => {
                return Err(ControlError::invalid(format!(
                    "Service cannot be explicitly attached to the ingress network {}",
                    minke_model::go::quote(&network.spec.name)
                )));
            }
            Some(_) => {}
            None => return Err(ControlError::plain(Kind::NotFound, format!("network {id} not found"))),
        }
    }
    Ok(())
}

/// Without an ingress network nothing is published on every node.
fn check_ingress(snapshot: &Snapshot, spec: &ServiceSpec) -> Result<()> {
    let needs = |e: &EndpointModeSpec| e.ports.iter().any(|p| p.publish == PublishMode::Ingress);
    if !spec.endpoint.as_ref().is_some_and(needs) {
        return Ok(());
    }
    match NETWORKS.list(snapshot)?.iter().any(|(_, network)| network.spec.ingress) {
        true => Ok(()),
        false => Err(ControlError::new(
            Code::FailedPrecondition,
            "service needs ingress network, but no ingress network is present",
        )),
    }
}

/// Published ports must be free: on every node for the mesh, of the mesh for those of mode host.
fn check_ports(snapshot: &Snapshot, spec: &ServiceSpec, own: Option<&ServiceId>) -> Result<()> {
    let wanted = |mode: PublishMode| -> BTreeSet<(Protocol, u16)> {
        let ports = spec.endpoint.iter().flat_map(|e| &e.ports);
        ports.filter(|p| p.publish == mode && p.published != 0).map(|p| (p.protocol, p.published)).collect()
    };
    let (ingress, host) = (wanted(PublishMode::Ingress), wanted(PublishMode::Host));
    if ingress.is_empty() && host.is_empty() {
        return Ok(());
    }
    for (_, other) in SERVICES.list(snapshot)? {
        if own == Some(&other.id) || other.removing {
            continue;
        }
        let asked = other.spec.endpoint.iter().flat_map(|e| &e.ports);
        for port in asked.chain(other.endpoint.iter().flat_map(|e| &e.ports)) {
            let key = (port.protocol, port.published);
            let (taken, how) = match port.publish {
                PublishMode::Host => (ingress.contains(&key), "a host-published port"),
                PublishMode::Ingress => (ingress.contains(&key) || host.contains(&key), "an ingress port"),
            };
            if taken {
                return Err(ControlError::invalid(format!(
                    "port '{}' is already in use by service '{}' ({}) as {how}",
                    port.published, other.spec.name, other.id
                )));
            }
        }
    }
    Ok(())
}

/// Takes the files of a task into use: those that it did not have `before` must be there until the commit.
fn use_files(snapshot: &Snapshot, mut txn: Txn, task: &TaskSpec, before: Option<&TaskSpec>) -> Result<Txn> {
    let mut missing = Vec::new();
    for wanted in &task.container.secrets {
        match SECRETS.get(snapshot, wanted.id.as_str())?.filter(|found| found.name == wanted.name) {
            None => missing.push(wanted.name.clone()),
            Some(found) => {
                if before.is_none_or(|b| b.container.secrets.iter().all(|s| s.id != wanted.id)) {
                    let guard = guard_of_secret(&wanted.id);
                    let seen = snapshot.revision_of(&guard);
                    txn = txn.guard_at(SECRETS.key(wanted.id.as_str()), found.revision).touch(guard, seen);
                }
            }
        }
    }
    not_found("secret", &missing)?;
    for wanted in &task.container.configs {
        match CONFIGS.get(snapshot, wanted.id.as_str())?.filter(|found| found.name == wanted.name) {
            None => missing.push(wanted.name.clone()),
            Some(found) => {
                if before.is_none_or(|b| b.container.configs.iter().all(|s| s.id != wanted.id)) {
                    let guard = guard_of_config(&wanted.id);
                    let seen = snapshot.revision_of(&guard);
                    txn = txn.guard_at(CONFIGS.key(wanted.id.as_str()), found.revision).touch(guard, seen);
                }
            }
        }
    }
    not_found("config", &missing)?;
    Ok(txn)
}

fn not_found(what: &str, missing: &[String]) -> Result<()> {
    match missing {
        [] => Ok(()),
        [one] => Err(ControlError::invalid(format!("{what} not found: {one}"))),
        more => Err(ControlError::invalid(format!("{what}s not found: {}", more.join(", ")))),
    }
}
