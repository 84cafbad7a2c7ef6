//! Nodes: inspect, list, update.

use super::{
    Map, is_default,
    secret::Version,
    template::{GenericResource, Platform, Resources},
    wire,
};
use crate::error::{ApiError, Result};
use minke_model::{
    go::quote,
    node::{Availability, Node as Model, NodeSpec as Spec, NodeState, Role},
};
use serde::Serialize;

wire! {
    /// A node as asked.
    struct NodeSpec {
        #[serde(skip_serializing_if = "String::is_empty")]
        name: String,
        labels: Map,
        role: String,
        availability: String,
    }
}

/// A node as inspect and list show it.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Node {
    #[serde(rename = "ID")]
    id: String,
    version: Version,
    created_at: String,
    updated_at: String,
    spec: NodeSpec,
    description: Description,
    status: Status,
    #[serde(skip_serializing_if = "Option::is_none")]
    manager_status: Option<ManagerStatus>,
}

/// What a node says of itself.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Description {
    #[serde(skip_serializing_if = "String::is_empty")]
    hostname: String,
    platform: Platform,
    resources: Resources,
    engine: Engine,
    #[serde(rename = "TLSInfo")]
    tls_info: TlsInfo,
}

/// Its daemon.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Engine {
    #[serde(skip_serializing_if = "String::is_empty")]
    engine_version: String,
    #[serde(skip_serializing_if = "Map::is_empty")]
    labels: Map,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    plugins: Vec<Plugin>,
}

/// A driver.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Plugin {
    #[serde(rename = "Type")]
    kind: String,
    name: String,
}

/// Whom it trusts.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct TlsInfo {
    /// PEM.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) trust_root: String,
    /// DER, base64.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) cert_issuer_subject: String,
    /// DER, base64.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) cert_issuer_public_key: String,
}

/// How it is.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Status {
    state: &'static str,
    #[serde(skip_serializing_if = "String::is_empty")]
    message: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    addr: String,
}

/// A manager among managers.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct ManagerStatus {
    #[serde(skip_serializing_if = "is_default")]
    leader: bool,
    reachability: &'static str,
    addr: String,
}

/// `active`, `pause`, `drain`.
pub(crate) fn availability(text: &str) -> Result<Availability> {
    match text.to_ascii_lowercase().as_str() {
        "active" => Ok(Availability::Active),
        "pause" => Ok(Availability::Pause),
        "drain" => Ok(Availability::Drain),
        _ => Err(ApiError::invalid(format!("invalid Availability: {}", quote(text)))),
    }
}

impl NodeSpec {
    /// As our model has it.
    pub(crate) fn parse(&self) -> Result<Spec> {
        let role = match self.role.to_ascii_lowercase().as_str() {
            "worker" => Role::Worker,
            "manager" => Role::Manager,
            _ => return Err(ApiError::invalid(format!("invalid Role: {}", quote(&self.role)))),
        };
        Ok(Spec {
            name: self.name.clone(),
            labels: self.labels.0.clone(),
            role,
            availability: availability(&self.availability)?,
        })
    }
}

impl Node {
    /// As dockerd shows it. `tls` is whom all nodes trust.
    pub(crate) fn new(model: &Model, tls: &TlsInfo) -> Self {
        let role = match model.spec.role {
            Role::Worker => "worker",
            Role::Manager => "manager",
        };
        let availability = match model.spec.availability {
            Availability::Active => "active",
            Availability::Pause => "pause",
            Availability::Drain => "drain",
        };
        let state = match model.state {
            NodeState::Unknown => "unknown",
            NodeState::Down => "down",
            NodeState::Ready => "ready",
            // Docker's clients know no word for one that comes back.
            NodeState::Away => "disconnected",
        };
        let description = model.description.as_ref().map(|d| Description {
            hostname: d.hostname.clone(),
            platform: Platform::from(&d.platform),
            resources: Resources {
                nano_cpus: d.nano_cpus,
                memory_bytes: d.memory,
                generic_resources: d.generic.iter().map(GenericResource::from).collect(),
            },
            engine: Engine {
                engine_version: d.engine_version.clone(),
                labels: Map(d.engine_labels.clone()),
                plugins: d
                    .plugins
                    .iter()
                    .map(|(kind, name)| Plugin { kind: kind.clone(), name: name.clone() })
                    .collect(),
            },
            tls_info: tls.clone(),
        });
        let address = model.address.map(|a| a.to_string()).unwrap_or_default();
        Self {
            id: model.id.as_str().to_owned(),
            version: Version { index: model.meta.version },
            created_at: model.meta.created.to_string(),
            updated_at: model.meta.updated.to_string(),
            spec: NodeSpec {
                name: model.spec.name.clone(),
                labels: Map(model.spec.labels.clone()),
                role: role.to_owned(),
                availability: availability.to_owned(),
            },
            description: description.unwrap_or_default(),
            status: Status { state, message: model.message.clone(), addr: address },
            manager_status: model.manager_status.as_ref().map(|m| ManagerStatus {
                leader: m.leader,
                reachability: if m.reachable { "reachable" } else { "unreachable" },
                addr: m.address.to_string(),
            }),
        }
    }
}
