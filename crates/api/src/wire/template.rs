//! What each task of a service runs: `TaskTemplate`, both ways.
//!
//! The form of fields is checked here, with dockerd's sentences; whether their meaning holds is the control plane's to
//! say. What this daemon never does is refused by name.

use super::{Empty, Map, is_default, task_container::ContainerSpec, wire};
use crate::error::{ApiError, Result};
use minke_model::{
    go::quote,
    image::Platform as ModelPlatform,
    service::{
        GenericResource as Generic, NetworkAttachmentSpec, Placement as ModelPlacement, RestartCondition,
        TaskExtra, TaskResources, TaskRestart, TaskSpec as Model,
    },
};
use std::time::Duration;

wire! {
    /// What a task runs, where, and when again.
    struct TaskSpec {
        #[serde(skip_serializing_if = "Option::is_none")]
        container_spec: Option<ContainerSpec>,
        #[serde(skip_serializing)]
        plugin_spec: Option<Empty>,
        #[serde(skip_serializing_if = "Option::is_none")]
        resources: Option<Requirements>,
        #[serde(skip_serializing_if = "Option::is_none")]
        restart_policy: Option<RestartPolicy>,
        #[serde(skip_serializing_if = "Option::is_none")]
        placement: Option<Placement>,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        networks: Vec<Attachment>,
        #[serde(skip_serializing_if = "Option::is_none")]
        log_driver: Option<Driver>,
        force_update: u64,
        #[serde(skip_serializing_if = "String::is_empty")]
        runtime: String,
    }
}

wire! {
    /// A driver and its options.
    struct Driver {
        #[serde(skip_serializing_if = "String::is_empty")]
        name: String,
        #[serde(skip_serializing_if = "Map::is_empty")]
        options: Map,
    }
}

wire! {
    /// A network that tasks are in.
    struct Attachment {
        #[serde(skip_serializing_if = "String::is_empty")]
        target: String,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        aliases: Vec<String>,
        #[serde(skip_serializing_if = "Map::is_empty")]
        driver_opts: Map,
    }
}

wire! {
    /// Limits and what must be free.
    struct Requirements {
        #[serde(skip_serializing_if = "Option::is_none")]
        limits: Option<Limit>,
        #[serde(skip_serializing_if = "Option::is_none")]
        reservations: Option<Resources>,
    }
}

wire! {
    /// What a task may use.
    struct Limit {
        #[serde(rename = "NanoCPUs", skip_serializing_if = "is_default")]
        nano_cpus: i64,
        #[serde(skip_serializing_if = "is_default")]
        memory_bytes: i64,
        #[serde(skip_serializing_if = "is_default")]
        pids: i64,
    }
}

wire! {
    /// What a node has, or a task reserves.
    struct Resources {
        #[serde(rename = "NanoCPUs", skip_serializing_if = "is_default")]
        nano_cpus: i64,
        #[serde(skip_serializing_if = "is_default")]
        memory_bytes: i64,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        generic_resources: Vec<GenericResource>,
    }
}

wire! {
    /// A resource that only its users know.
    struct GenericResource {
        #[serde(skip_serializing_if = "Option::is_none")]
        named_resource_spec: Option<Named>,
        #[serde(skip_serializing_if = "Option::is_none")]
        discrete_resource_spec: Option<Discrete>,
    }
}

wire! {
    /// One of a kind.
    struct Named {
        #[serde(skip_serializing_if = "String::is_empty")]
        kind: String,
        #[serde(skip_serializing_if = "String::is_empty")]
        value: String,
    }
}

wire! {
    /// So many of a kind.
    struct Discrete {
        #[serde(skip_serializing_if = "String::is_empty")]
        kind: String,
        #[serde(skip_serializing_if = "is_default")]
        value: i64,
    }
}

wire! {
    /// When a task that ended is replaced.
    struct RestartPolicy {
        #[serde(skip_serializing_if = "String::is_empty")]
        condition: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        delay: Option<i64>,
        #[serde(skip_serializing_if = "Option::is_none")]
        max_attempts: Option<u64>,
        #[serde(skip_serializing_if = "Option::is_none")]
        window: Option<i64>,
    }
}

wire! {
    /// Where a task may run.
    struct Placement {
        #[serde(skip_serializing_if = "Vec::is_empty")]
        constraints: Vec<String>,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        preferences: Vec<Preference>,
        #[serde(skip_serializing_if = "is_default")]
        max_replicas: u64,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        platforms: Vec<Platform>,
    }
}

wire! {
    /// What tasks are spread over.
    struct Preference {
        spread: Option<Spread>,
    }
}

wire! {
    /// A label.
    struct Spread {
        spread_descriptor: String,
    }
}

wire! {
    /// A system and a processor.
    struct Platform {
        #[serde(skip_serializing_if = "String::is_empty")]
        architecture: String,
        #[serde(rename = "OS", skip_serializing_if = "String::is_empty")]
        os: String,
    }
}

/// A span of time in nanoseconds; what is negative is refused where its meaning is known.
pub(super) fn span(nanos: i64) -> Option<Duration> {
    u64::try_from(nanos).ok().map(Duration::from_nanos)
}

/// Back.
pub(super) fn nanos(span: Duration) -> i64 {
    i64::try_from(span.as_nanos()).unwrap_or(i64::MAX)
}

pub(super) fn invalid(message: impl Into<String>) -> ApiError {
    ApiError::invalid(message)
}

/// swarmkit's refusal of a field's meaning.
pub(crate) fn rpc_invalid(message: impl std::fmt::Display) -> ApiError {
    ApiError::invalid(format!("rpc error: code = InvalidArgument desc = {message}"))
}

impl TaskSpec {
    /// As our model has it. `labels` of the service may say what Swarm's own fields cannot.
    pub(crate) fn parse(&self, labels: &Map) -> Result<Model> {
        match self.runtime.as_str() {
            "" | "container" => {}
            "plugin" => return Err(ApiError::unsupported("plugins are not supported by this daemon")),
            _ => return Err(invalid("unsupported runtime")),
        }
        let container =
            self.container_spec.as_ref().ok_or_else(|| invalid("mismatched Runtime and *Spec fields"))?;
        let mut container = container.parse()?;
        container.extra = extra(labels)?;
        Ok(Model {
            container,
            resources: self.resources.clone().unwrap_or_default().parse()?,
            restart: self.restart_policy.as_ref().map(RestartPolicy::parse).transpose()?,
            placement: self.placement.clone().unwrap_or_default().parse(),
            force_update: self.force_update,
            networks: self.networks.iter().map(Attachment::parse).collect(),
            log: self.log_driver.clone().map(|d| (d.name, d.options.0)),
            runtime: "container".to_owned(),
        })
    }

    /// As dockerd shows it: a service's names its runtime, a task's does not.
    pub(crate) fn new(model: &Model, of_service: bool) -> Self {
        let resources = &model.resources;
        let has_limits =
            resources.limit_pids != 0 || resources.limit_memory != 0 || resources.limit_nano_cpus != 0;
        let limits = Limit {
            nano_cpus: resources.limit_nano_cpus,
            memory_bytes: resources.limit_memory,
            pids: if has_limits { resources.limit_pids } else { 0 },
        };
        let reservations = Resources {
            nano_cpus: resources.reserve_nano_cpus,
            memory_bytes: resources.reserve_memory,
            generic_resources: resources.reserve_generic.iter().map(GenericResource::from).collect(),
        };
        Self {
            container_spec: Some(ContainerSpec::from(&model.container)),
            plugin_spec: None,
            resources: Some(Requirements { limits: Some(limits), reservations: Some(reservations) }),
            restart_policy: model.restart.as_ref().map(RestartPolicy::from),
            placement: Some(Placement::from(&model.placement)),
            networks: model.networks.iter().map(Attachment::from).collect(),
            log_driver: model.log.clone().map(|(name, options)| Driver { name, options: Map(options) }),
            force_update: model.force_update,
            runtime: if of_service { "container".to_owned() } else { String::new() },
        }
    }

    /// With what holds where nothing was said: `insertDefaults`.
    pub(crate) fn insert_defaults(&mut self) {
        if let Some(container) = &mut self.container_spec {
            container.stop_grace_period.get_or_insert(10_000_000_000);
            container.dns_config.get_or_insert_default();
        }
        self.resources.get_or_insert_default();
        self.restart_policy.get_or_insert_with(|| RestartPolicy::from(&TaskRestart::default()));
        self.placement.get_or_insert_default();
    }
}

/// What Swarm's spec has no field for, by labels of the service: `minke.privileged`, `minke.devices`,
/// `minke.security-opt`, `minke.shm-size`. As labels they survive whoever else updates the service.
fn extra(labels: &Map) -> Result<TaskExtra> {
    let get = |name: &str| labels.0.get(name).map(String::as_str).unwrap_or_default();
    let list = |name: &str| {
        get(name).split(',').map(str::trim).filter(|w| !w.is_empty()).map(str::to_owned).collect()
    };
    let privileged = match get("minke.privileged") {
        "" => false,
        text => minke_model::go::parse_bool(text)
            .ok_or_else(|| invalid(format!("label minke.privileged: {} is no boolean", quote(text))))?,
    };
    let shm_size = match get("minke.shm-size") {
        "" => 0,
        text => minke_model::go::ram_in_bytes(text)
            .and_then(|n| i64::try_from(n).ok())
            .ok_or_else(|| invalid(format!("label minke.shm-size: {} is no size", quote(text))))?,
    };
    Ok(TaskExtra {
        privileged,
        devices: list("minke.devices"),
        security_options: list("minke.security-opt"),
        shm_size,
    })
}

impl Attachment {
    pub(crate) fn parse(&self) -> NetworkAttachmentSpec {
        NetworkAttachmentSpec {
            target: self.target.clone(),
            aliases: self.aliases.clone(),
            driver_options: self.driver_opts.0.clone(),
        }
    }
}

impl From<&NetworkAttachmentSpec> for Attachment {
    fn from(model: &NetworkAttachmentSpec) -> Self {
        Self {
            target: model.target.clone(),
            aliases: model.aliases.clone(),
            driver_opts: Map(model.driver_options.clone()),
        }
    }
}

impl Requirements {
    fn parse(&self) -> Result<TaskResources> {
        let limits = self.limits.clone().unwrap_or_default();
        let reservations = self.reservations.clone().unwrap_or_default();
        Ok(TaskResources {
            limit_nano_cpus: limits.nano_cpus,
            limit_memory: limits.memory_bytes,
            limit_pids: limits.pids,
            reserve_nano_cpus: reservations.nano_cpus,
            reserve_memory: reservations.memory_bytes,
            reserve_generic: reservations
                .generic_resources
                .iter()
                .filter_map(GenericResource::parse)
                .collect(),
            swap: None,
        })
    }
}

impl GenericResource {
    fn parse(&self) -> Option<Generic> {
        let counted = |d: &Discrete| Generic::Count { kind: d.kind.clone(), value: d.value };
        let named = |n: &Named| Generic::Named { kind: n.kind.clone(), value: n.value.clone() };
        self.discrete_resource_spec
            .as_ref()
            .map(counted)
            .or_else(|| self.named_resource_spec.as_ref().map(named))
    }
}

impl From<&Generic> for GenericResource {
    fn from(model: &Generic) -> Self {
        match model {
            Generic::Count { kind, value } => Self {
                named_resource_spec: None,
                discrete_resource_spec: Some(Discrete { kind: kind.clone(), value: *value }),
            },
            Generic::Named { kind, value } => Self {
                named_resource_spec: Some(Named { kind: kind.clone(), value: value.clone() }),
                discrete_resource_spec: None,
            },
        }
    }
}

impl RestartPolicy {
    fn parse(&self) -> Result<TaskRestart> {
        let condition = match self.condition.as_str() {
            "none" => RestartCondition::None,
            "on-failure" => RestartCondition::OnFailure,
            "any" | "" => RestartCondition::Any,
            other => return Err(invalid(format!("invalid RestartCondition: {}", quote(other)))),
        };
        let negative = |what: &str| rpc_invalid(format!("TaskSpec: restart-{what} cannot be negative"));
        let default = TaskRestart::default();
        Ok(TaskRestart {
            condition,
            delay: self.delay.map_or(Ok(default.delay), |d| span(d).ok_or_else(|| negative("delay")))?,
            max_attempts: self.max_attempts.unwrap_or(0),
            window: self.window.map_or(Ok(default.window), |w| span(w).ok_or_else(|| negative("window")))?,
        })
    }
}

impl From<&TaskRestart> for RestartPolicy {
    fn from(model: &TaskRestart) -> Self {
        let condition = match model.condition {
            RestartCondition::None => "none",
            RestartCondition::OnFailure => "on-failure",
            RestartCondition::Any => "any",
        };
        Self {
            condition: condition.to_owned(),
            delay: Some(nanos(model.delay)),
            max_attempts: Some(model.max_attempts),
            window: (!model.window.is_zero()).then(|| nanos(model.window)),
        }
    }
}

impl Placement {
    fn parse(&self) -> ModelPlacement {
        let spread =
            self.preferences.iter().filter_map(|p| p.spread.as_ref()).map(|s| s.spread_descriptor.clone());
        let platform = |p: &Platform| ModelPlatform {
            os: p.os.clone(),
            architecture: p.architecture.clone(),
            variant: String::new(),
        };
        ModelPlacement {
            constraints: self.constraints.clone(),
            spread: spread.collect(),
            max_replicas: self.max_replicas,
            platforms: self.platforms.iter().map(platform).collect(),
        }
    }
}

impl From<&ModelPlacement> for Placement {
    fn from(model: &ModelPlacement) -> Self {
        let preference =
            |label: &String| Preference { spread: Some(Spread { spread_descriptor: label.clone() }) };
        Self {
            constraints: model.constraints.clone(),
            preferences: model.spread.iter().map(preference).collect(),
            max_replicas: model.max_replicas,
            platforms: model.platforms.iter().map(Platform::from).collect(),
        }
    }
}

impl From<&ModelPlatform> for Platform {
    fn from(model: &ModelPlatform) -> Self {
        Self { architecture: model.architecture.clone(), os: model.os.clone() }
    }
}
