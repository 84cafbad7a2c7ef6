//! What users want, at random: services made, scaled, updated, removed; nodes drained and taken back.

use crate::{random::Random, world::World};
use minke_cluster::{
    control::{ControlError, Filters, service::Credentials},
    nature::SINGLE,
};
use minke_model::{
    mount::{MountKind, MountSpec},
    node::Availability,
    port::Protocol,
    service::{
        EndpointModeSpec, FailureAction, Mode, NetworkAttachmentSpec, PortSpec, PublishMode,
        RestartCondition, ServiceSpec, TaskRestart, UpdateOrder, UpdatePolicy,
    },
};
use std::time::Duration;

/// Most services at a time.
const MOST_SERVICES: usize = 6;

/// One wish, and what came of it, for the trace.
pub(crate) async fn wish(world: &World, random: &mut Random, count: &mut u64) -> String {
    let services = match world.control.services(&Filters::default()).await {
        Ok(services) => services,
        Err(error) => return format!("services: {error}"),
    };
    let pick = random.pick(&services).cloned();
    let (what, done) = match (random.below(12), pick) {
        (0..=3, None) | (0..=2, Some(_)) if services.len() < MOST_SERVICES => {
            *count += 1;
            let spec = service(world, random, *count);
            let what =
                format!("create {} {:?}{}", spec.name, spec.mode, if single(&spec) { " single" } else { "" });
            (what, world.control.create_service(spec, None).await.map(drop))
        }
        (3..=5, Some(service)) => {
            let mut spec = service.spec.clone();
            let is_single = single(&spec);
            if let Mode::Replicated { replicas } = &mut spec.mode {
                *replicas = if is_single { 1 } else { random.below(8) };
            }
            let what = format!("scale {} to {:?}", spec.name, spec.mode);
            (what, update(world, &service.id, service.meta.version, spec).await)
        }
        (6..=8, Some(service)) => {
            let mut spec = service.spec.clone();
            spec.task.force_update += 1;
            spec.update = Some(policy(random));
            let what = format!("update {}", spec.name);
            (what, update(world, &service.id, service.meta.version, spec).await)
        }
        (9, Some(service)) => {
            (format!("remove {}", service.spec.name), world.control.remove_service(&service.id).await)
        }
        (10, Some(service)) => {
            let done = world.control.roll_back_service(&service.id, service.meta.version).await;
            (format!("roll back {}", service.spec.name), done)
        }
        _ => availability(world, random).await,
    };
    match done {
        Ok(()) => what,
        Err(error) => format!("{what}: {error}"),
    }
}

/// Every node takes tasks again.
pub(crate) async fn activate_all(world: &World) {
    for node in world.control.every_node().await.unwrap_or_default() {
        let mut spec = node.spec.clone();
        spec.availability = Availability::Active;
        // Refused only when it changed at this moment; the checks say if it mattered.
        let _ = world.control.update_node(&node.id, node.meta.version, spec).await;
    }
}

async fn update(
    world: &World,
    id: &minke_model::ServiceId,
    version: u64,
    spec: ServiceSpec,
) -> Result<(), ControlError> {
    world.control.update_service(id, version, spec, Credentials::default()).await
}

async fn availability(world: &World, random: &mut Random) -> (String, Result<(), ControlError>) {
    let nodes = world.control.every_node().await.unwrap_or_default();
    let Some(node) = random.pick(&nodes) else { return ("nothing".into(), Ok(())) };
    let mut spec = node.spec.clone();
    spec.availability = match random.below(4) {
        0 => Availability::Drain,
        1 => Availability::Pause,
        _ => Availability::Active,
    };
    let what = format!("{} {:?}", node.hostname(), spec.availability);
    (what, world.control.update_node(&node.id, node.meta.version, spec).await)
}

fn single(spec: &ServiceSpec) -> bool {
    spec.labels.contains_key(SINGLE)
}

fn service(world: &World, random: &mut Random, number: u64) -> ServiceSpec {
    let mut spec = ServiceSpec { name: format!("s{number}"), ..ServiceSpec::default() };
    spec.task.container.image = "simulated".into();
    spec.task.restart = Some(TaskRestart {
        condition: RestartCondition::Any,
        delay: random.millis(0, 3000),
        ..TaskRestart::default()
    });
    spec.update = Some(policy(random));
    if random.one_in(2) {
        let target = world.network.as_str().to_owned();
        spec.task.networks = vec![NetworkAttachmentSpec { target, ..NetworkAttachmentSpec::default() }];
    }
    if random.one_in(3) {
        let published = if random.one_in(2) { 0 } else { 8000 + random.below(3) as u16 };
        let port = PortSpec {
            name: String::new(),
            protocol: Protocol::Tcp,
            target: 80,
            published,
            publish: PublishMode::Ingress,
        };
        spec.endpoint = Some(EndpointModeSpec { ports: vec![port], ..EndpointModeSpec::default() });
    }
    if random.one_in(3) {
        spec.task.resources.reserve_memory = random.between(1, 3) as i64 * (1 << 30);
    }
    match random.below(10) {
        0 => spec.mode = Mode::Global,
        9 => {
            let total_completions = random.between(1, 6);
            spec.mode = Mode::ReplicatedJob { max_concurrent: random.between(1, 3), total_completions };
            spec.endpoint = None;
            spec.update = None;
            spec.task.restart =
                Some(TaskRestart { condition: RestartCondition::OnFailure, ..TaskRestart::default() });
        }
        8 => {
            let mount = MountSpec {
                kind: MountKind::Volume,
                source: "data".into(),
                target: "/data".into(),
                read_only: false,
                consistency: String::new(),
                bind: None,
                volume: None,
                tmpfs: None,
                image_subpath: None,
            };
            spec.task.container.mounts = vec![mount];
            spec.mode = Mode::Replicated { replicas: 1 };
        }
        1 | 2 => {
            spec.mode = Mode::Replicated { replicas: 1 };
            spec.labels.insert(SINGLE.into(), "true".into());
        }
        _ => spec.mode = Mode::Replicated { replicas: random.between(1, 6) },
    }
    spec
}

fn policy(random: &mut Random) -> UpdatePolicy {
    UpdatePolicy {
        parallelism: random.below(3),
        delay: random.millis(0, 500),
        failure_action: match random.below(3) {
            0 => FailureAction::Continue,
            1 => FailureAction::Rollback,
            _ => FailureAction::Pause,
        },
        monitor: Duration::from_secs(random.below(3)),
        max_failure_ratio: if random.one_in(2) { 0.0 } else { 0.5 },
        order: if random.one_in(2) { UpdateOrder::StartFirst } else { UpdateOrder::StopFirst },
    }
}
