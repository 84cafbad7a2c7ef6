//! Services: create, update, inspect, list. What their tasks run is `template.rs`'s.

use super::{
    Empty, Map, is_default,
    secret::Version,
    template::{Attachment, TaskSpec, nanos, rpc_invalid, span},
    wire,
};
use crate::error::{ApiError, Result};
use minke_cluster::control::service::Tally;
use minke_model::{
    go::quote,
    port::Protocol,
    service::{
        EndpointModeSpec, FailureAction, Mode as ModelMode, PortSpec, PublishMode, Resolution,
        Service as Model, ServiceEndpoint, ServiceSpec as ModelSpec, UpdateOrder, UpdatePolicy, UpdateState,
        UpdateStatus as Status,
    },
};
use serde::Serialize;

wire! {
    /// A service as asked.
    struct ServiceSpec {
        #[serde(skip_serializing_if = "String::is_empty")]
        name: String,
        labels: Map,
        task_template: TaskSpec,
        mode: Mode,
        #[serde(skip_serializing_if = "Option::is_none")]
        update_config: Option<UpdateConfig>,
        #[serde(skip_serializing_if = "Option::is_none")]
        rollback_config: Option<UpdateConfig>,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        networks: Vec<Attachment>,
        #[serde(skip_serializing_if = "Option::is_none")]
        endpoint_spec: Option<EndpointSpec>,
    }
}

wire! {
    /// How many tasks, of which kind.
    struct Mode {
        #[serde(skip_serializing_if = "Option::is_none")]
        replicated: Option<Replicated>,
        #[serde(skip_serializing_if = "Option::is_none")]
        global: Option<Empty>,
        #[serde(skip_serializing_if = "Option::is_none")]
        replicated_job: Option<ReplicatedJob>,
        #[serde(skip_serializing_if = "Option::is_none")]
        global_job: Option<Empty>,
    }
}

wire! {
    /// So many.
    struct Replicated {
        #[serde(skip_serializing_if = "Option::is_none")]
        replicas: Option<u64>,
    }
}

wire! {
    /// Until so many completed.
    struct ReplicatedJob {
        #[serde(skip_serializing_if = "Option::is_none")]
        max_concurrent: Option<u64>,
        #[serde(skip_serializing_if = "Option::is_none")]
        total_completions: Option<u64>,
    }
}

wire! {
    /// How one template takes another's place.
    struct UpdateConfig {
        parallelism: u64,
        #[serde(skip_serializing_if = "is_default")]
        delay: i64,
        #[serde(skip_serializing_if = "String::is_empty")]
        failure_action: String,
        #[serde(skip_serializing_if = "is_default")]
        monitor: i64,
        #[serde(serialize_with = "ratio")]
        max_failure_ratio: f32,
        order: String,
    }
}

wire! {
    /// Address and ports.
    struct EndpointSpec {
        #[serde(skip_serializing_if = "String::is_empty")]
        mode: String,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        ports: Vec<PortConfig>,
    }
}

wire! {
    /// A published port.
    struct PortConfig {
        #[serde(skip_serializing_if = "String::is_empty")]
        name: String,
        #[serde(skip_serializing_if = "String::is_empty")]
        protocol: String,
        #[serde(skip_serializing_if = "is_default")]
        target_port: u32,
        #[serde(skip_serializing_if = "is_default")]
        published_port: u32,
        #[serde(skip_serializing_if = "String::is_empty")]
        publish_mode: String,
    }
}

/// A service as inspect and list show it.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Service {
    #[serde(rename = "ID")]
    id: String,
    version: Version,
    created_at: String,
    updated_at: String,
    spec: ServiceSpec,
    #[serde(skip_serializing_if = "Option::is_none")]
    previous_spec: Option<ServiceSpec>,
    endpoint: Endpoint,
    #[serde(skip_serializing_if = "Option::is_none")]
    update_status: Option<UpdateStatus>,
    #[serde(skip_serializing_if = "Option::is_none")]
    service_status: Option<ServiceStatus>,
    #[serde(skip_serializing_if = "Option::is_none")]
    job_status: Option<JobStatus>,
}

/// Address and ports as they are.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Endpoint {
    spec: EndpointSpec,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    ports: Vec<PortConfig>,
    #[serde(rename = "VirtualIPs", skip_serializing_if = "Vec::is_empty")]
    virtual_ips: Vec<VirtualIp>,
}

/// One address that stands for all tasks.
#[derive(Clone, Debug, Serialize)]
struct VirtualIp {
    #[serde(rename = "NetworkID")]
    network: String,
    #[serde(rename = "Addr")]
    address: String,
}

/// How far an update is.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct UpdateStatus {
    state: &'static str,
    started_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    completed_at: Option<String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    message: String,
}

/// How many tasks run, and should.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct ServiceStatus {
    running_tasks: u64,
    desired_tasks: u64,
    completed_tasks: u64,
}

/// A job's runs.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct JobStatus {
    job_iteration: Version,
    last_execution: String,
}

/// What create answers.
#[derive(Debug, Serialize)]
pub(crate) struct CreateAnswer {
    #[serde(rename = "ID")]
    pub(crate) id: String,
    #[serde(rename = "Warnings", skip_serializing_if = "Vec::is_empty")]
    pub(crate) warnings: Vec<String>,
}

/// What update answers.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct UpdateAnswer {
    pub(crate) warnings: Option<Vec<String>>,
}

/// Whole numbers without a fraction, and no more digits than 32 bits have, as Go writes them.
fn ratio<S: serde::Serializer>(value: &f32, out: S) -> std::result::Result<S::Ok, S::Error> {
    match value.to_string().parse::<f64>() {
        Ok(value) if value.fract() != 0.0 => out.serialize_f64(value),
        _ => out.serialize_i64(*value as i64),
    }
}

impl ServiceSpec {
    /// Its tasks' networks; older clients say them of the service.
    pub(crate) fn networks_mut(&mut self) -> &mut Vec<Attachment> {
        if self.task_template.networks.is_empty() {
            &mut self.networks
        } else {
            &mut self.task_template.networks
        }
    }

    /// As our model has it, or why not.
    pub(crate) fn parse(&self) -> Result<ModelSpec> {
        let mut task = self.task_template.parse(&self.labels)?;
        if task.networks.is_empty() {
            task.networks = self.networks.iter().map(Attachment::parse).collect();
        }
        let update = self.update_config.as_ref().map(UpdateConfig::parse).transpose()?;
        let rollback = self.rollback_config.as_ref().map(UpdateConfig::parse).transpose()?;
        let endpoint = self.endpoint_spec.as_ref().map(EndpointSpec::parse).transpose()?;
        let mode = self.mode.parse()?;
        check_image(&task.container.image)?;
        Ok(ModelSpec {
            name: self.name.clone(),
            labels: self.labels.0.clone(),
            mode,
            update,
            rollback,
            endpoint,
            task,
        })
    }

    fn new(model: &ModelSpec) -> Self {
        Self {
            name: model.name.clone(),
            labels: Map(model.labels.clone()),
            task_template: TaskSpec::new(&model.task, true),
            mode: Mode::from(&model.mode),
            update_config: model.update.as_ref().map(UpdateConfig::from),
            rollback_config: model.rollback.as_ref().map(UpdateConfig::from),
            networks: Vec::new(),
            endpoint_spec: model.endpoint.as_ref().map(EndpointSpec::from),
        }
    }
}

/// An image must have a name that can be one.
fn check_image(image: &str) -> Result<()> {
    if image.is_empty() {
        return Err(rpc_invalid("ContainerSpec: image reference must be provided"));
    }
    match minke_engine::Reference::parse(image) {
        Ok(_) => Ok(()),
        Err(_) => Err(rpc_invalid(format!("ContainerSpec: {} is not a valid repository/tag", quote(image)))),
    }
}

impl Mode {
    fn parse(&self) -> Result<ModelMode> {
        let given = [
            self.global.is_some(),
            self.replicated.is_some(),
            self.replicated_job.is_some(),
            self.global_job.is_some(),
        ];
        if given.iter().filter(|given| **given).count() > 1 {
            return Err(ApiError::invalid("must specify only one service mode"));
        }
        Ok(if self.global.is_some() {
            ModelMode::Global
        } else if self.global_job.is_some() {
            ModelMode::GlobalJob
        } else if let Some(job) = &self.replicated_job {
            let max_concurrent = job.max_concurrent.unwrap_or(1);
            let total_completions = job.total_completions.unwrap_or(max_concurrent);
            ModelMode::ReplicatedJob { max_concurrent, total_completions }
        } else {
            ModelMode::Replicated { replicas: self.replicated.as_ref().and_then(|r| r.replicas).unwrap_or(1) }
        })
    }
}

impl From<&ModelMode> for Mode {
    fn from(model: &ModelMode) -> Self {
        let mut mode = Mode::default();
        match model {
            ModelMode::Replicated { replicas } => {
                mode.replicated = Some(Replicated { replicas: Some(*replicas) })
            }
            ModelMode::Global => mode.global = Some(Empty {}),
            ModelMode::ReplicatedJob { max_concurrent, total_completions } => {
                mode.replicated_job = Some(ReplicatedJob {
                    max_concurrent: Some(*max_concurrent),
                    total_completions: Some(*total_completions),
                });
            }
            ModelMode::GlobalJob => mode.global_job = Some(Empty {}),
        }
        mode
    }
}

impl UpdateConfig {
    fn parse(&self) -> Result<UpdatePolicy> {
        let failure_action = match self.failure_action.as_str() {
            "pause" | "" => FailureAction::Pause,
            "continue" => FailureAction::Continue,
            "rollback" => FailureAction::Rollback,
            other => return Err(ApiError::invalid(format!("unrecognized update failure action {other}"))),
        };
        let order = match self.order.as_str() {
            "stop-first" | "" => UpdateOrder::StopFirst,
            "start-first" => UpdateOrder::StartFirst,
            other => return Err(ApiError::invalid(format!("unrecognized update order {other}"))),
        };
        let negative = |what: &str| rpc_invalid(format!("TaskSpec: update-{what} cannot be negative"));
        let monitor = match self.monitor {
            0 => UpdatePolicy::default().monitor,
            n => span(n).ok_or_else(|| negative("monitor"))?,
        };
        Ok(UpdatePolicy {
            parallelism: self.parallelism,
            delay: span(self.delay).ok_or_else(|| negative("delay"))?,
            failure_action,
            monitor,
            max_failure_ratio: self.max_failure_ratio,
            order,
        })
    }
}

impl From<&UpdatePolicy> for UpdateConfig {
    fn from(model: &UpdatePolicy) -> Self {
        let failure_action = match model.failure_action {
            FailureAction::Pause => "pause",
            FailureAction::Continue => "continue",
            FailureAction::Rollback => "rollback",
        };
        let order = match model.order {
            UpdateOrder::StopFirst => "stop-first",
            UpdateOrder::StartFirst => "start-first",
        };
        Self {
            parallelism: model.parallelism,
            delay: nanos(model.delay),
            failure_action: failure_action.to_owned(),
            monitor: nanos(model.monitor),
            max_failure_ratio: model.max_failure_ratio,
            order: order.to_owned(),
        }
    }
}

impl EndpointSpec {
    fn parse(&self) -> Result<EndpointModeSpec> {
        let mode = match self.mode.as_str() {
            "vip" | "" => Resolution::Vip,
            "dnsrr" => Resolution::RoundRobin,
            other => return Err(ApiError::invalid(format!("invalid resolution mode: {}", quote(other)))),
        };
        Ok(EndpointModeSpec { mode, ports: self.ports.iter().map(PortConfig::parse).collect::<Result<_>>()? })
    }
}

impl From<&EndpointModeSpec> for EndpointSpec {
    fn from(model: &EndpointModeSpec) -> Self {
        Self {
            mode: resolution(model.mode).to_owned(),
            ports: model.ports.iter().map(PortConfig::from).collect(),
        }
    }
}

fn resolution(mode: Resolution) -> &'static str {
    match mode {
        Resolution::Vip => "vip",
        Resolution::RoundRobin => "dnsrr",
    }
}

impl PortConfig {
    fn parse(&self) -> Result<PortSpec> {
        let port = |n: u32| {
            u16::try_from(n).map_err(|_| rpc_invalid(format!("EndpointSpec: port {n} is larger than 65535")))
        };
        // What is none of the words is the first of them, as Go's map of names has it.
        let protocol = self.protocol.parse().unwrap_or(Protocol::Tcp);
        let publish = if self.publish_mode.eq_ignore_ascii_case("host") {
            PublishMode::Host
        } else {
            PublishMode::Ingress
        };
        Ok(PortSpec {
            name: self.name.clone(),
            protocol,
            target: port(self.target_port)?,
            published: port(self.published_port)?,
            publish,
        })
    }
}

impl From<&PortSpec> for PortConfig {
    fn from(model: &PortSpec) -> Self {
        let mode = match model.publish {
            PublishMode::Ingress => "ingress",
            PublishMode::Host => "host",
        };
        Self {
            name: model.name.clone(),
            protocol: model.protocol.to_string(),
            target_port: u32::from(model.target),
            published_port: u32::from(model.published),
            publish_mode: mode.to_owned(),
        }
    }
}

impl Endpoint {
    fn new(spec: &ModelSpec, endpoint: Option<&ServiceEndpoint>) -> Self {
        // Only what has ports or addresses was allocated at all.
        let Some(endpoint) = endpoint.filter(|e| !e.ports.is_empty() || !e.vips.is_empty()) else {
            return Self::default();
        };
        let vip = |(network, address, prefix): &(minke_model::NetworkId, std::net::IpAddr, u8)| VirtualIp {
            network: network.as_str().to_owned(),
            address: format!("{address}/{prefix}"),
        };
        let asked = spec.endpoint.as_ref().map(EndpointSpec::from);
        Self {
            spec: asked.unwrap_or_else(|| EndpointSpec {
                mode: resolution(endpoint.mode).to_owned(),
                ports: Vec::new(),
            }),
            ports: endpoint.ports.iter().map(PortConfig::from).collect(),
            virtual_ips: endpoint.vips.iter().map(vip).collect(),
        }
    }
}

impl From<&Status> for UpdateStatus {
    fn from(model: &Status) -> Self {
        let state = match model.state {
            UpdateState::Updating => "updating",
            UpdateState::Paused => "paused",
            UpdateState::Completed => "completed",
            UpdateState::RollbackStarted => "rollback_started",
            UpdateState::RollbackPaused => "rollback_paused",
            UpdateState::RollbackCompleted => "rollback_completed",
        };
        Self {
            state,
            started_at: model.started.to_string(),
            completed_at: model.completed.map(|at| at.to_string()),
            message: model.message.clone(),
        }
    }
}

impl Service {
    /// As dockerd shows it.
    pub(crate) fn new(model: &Model) -> Self {
        let job = model.job_started.filter(|_| model.spec.mode.is_job());
        Self {
            id: model.id.as_str().to_owned(),
            version: Version { index: model.meta.version },
            created_at: model.meta.created.to_string(),
            updated_at: model.meta.updated.to_string(),
            spec: ServiceSpec::new(&model.spec),
            previous_spec: model.previous.as_ref().map(|spec| ServiceSpec::new(spec)),
            endpoint: Endpoint::new(&model.spec, model.endpoint.as_ref()),
            update_status: model.update.as_ref().map(UpdateStatus::from),
            service_status: None,
            job_status: job.map(|started| JobStatus {
                job_iteration: Version { index: model.job_iteration },
                last_execution: started.to_string(),
            }),
        }
    }

    /// With how far it is.
    pub(crate) fn with_tally(mut self, tally: Tally) -> Self {
        self.service_status = Some(ServiceStatus {
            running_tasks: tally.running,
            desired_tasks: tally.desired,
            completed_tasks: tally.completed,
        });
        self
    }

    /// With what holds where nothing was said.
    pub(crate) fn with_defaults(mut self) -> Self {
        self.spec.task_template.insert_defaults();
        for policy in [&mut self.spec.update_config, &mut self.spec.rollback_config] {
            policy.get_or_insert_with(|| UpdateConfig::from(&UpdatePolicy::default()));
        }
        self
    }
}

#[cfg(test)]
mod tests;
