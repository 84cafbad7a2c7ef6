//! Networks of a cluster: as asked, as `network` commands show them, and as tasks do.

use super::{
    Map, is_default,
    network::{CreateBody, Reference, Resource, parse_pools},
    secret::Version,
    template::{Driver, rpc_invalid},
};
use crate::error::{ApiError, Result};
use http::StatusCode;
use minke_model::{
    go::quote,
    network::{NetworkDriver, NetworkSpec},
    overlay::ClusterNetwork,
};
use serde::Serialize;
use std::collections::BTreeMap;

/// A network as inspect and list show it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Inspect {
    name: String,
    id: String,
    created: String,
    scope: &'static str,
    driver: &'static str,
    #[serde(rename = "EnableIPv4")]
    enable_ipv4: bool,
    #[serde(rename = "EnableIPv6")]
    enable_ipv6: bool,
    #[serde(rename = "IPAM")]
    ipam: Ipam,
    internal: bool,
    attachable: bool,
    ingress: bool,
    config_from: Reference,
    config_only: bool,
    containers: Option<BTreeMap<String, Resource>>,
    options: Map,
    labels: Option<Map>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    peers: Vec<Peer>,
    #[serde(skip_serializing_if = "Option::is_none")]
    services: Option<BTreeMap<String, ServiceInfo>>,
}

/// Address management.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Ipam {
    driver: &'static str,
    options: Option<Map>,
    config: Option<Vec<Range>>,
}

/// One range of addresses.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Range {
    subnet: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    gateway: String,
}

/// A node that takes part.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Peer {
    /// Of the node.
    #[serde(rename = "Name")]
    pub(crate) name: String,
    /// Of its data path.
    #[serde(rename = "IP")]
    pub(crate) address: String,
}

/// A service on a network: `verbose`.
#[derive(Debug, Serialize)]
pub(crate) struct ServiceInfo {
    /// Its virtual address.
    #[serde(rename = "VIP")]
    pub(crate) vip: String,
    /// `Target: 80, Publish: 8080`.
    #[serde(rename = "Ports")]
    pub(crate) ports: Vec<String>,
    /// Of the load balancer; ours has none.
    #[serde(rename = "LocalLBIndex")]
    pub(crate) index: u32,
    /// Those that take traffic.
    #[serde(rename = "Tasks")]
    pub(crate) tasks: Vec<TaskInfo>,
}

/// A task on a network.
#[derive(Debug, Serialize)]
pub(crate) struct TaskInfo {
    /// `web.1.<id>`.
    #[serde(rename = "Name")]
    pub(crate) name: String,
    /// Unused.
    #[serde(rename = "EndpointID")]
    pub(crate) endpoint: String,
    /// There.
    #[serde(rename = "EndpointIP")]
    pub(crate) address: String,
    /// `Host IP`.
    #[serde(rename = "Info")]
    pub(crate) info: Option<BTreeMap<&'static str, String>>,
}

/// A network as a task shows it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct NetworkOfTask {
    #[serde(rename = "ID")]
    id: String,
    version: Version,
    created_at: String,
    updated_at: String,
    spec: Spec,
    driver_state: Driver,
    #[serde(rename = "IPAMOptions")]
    ipam: IpamOptions,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Spec {
    name: String,
    labels: Map,
    driver_configuration: Driver,
    #[serde(rename = "IPv6Enabled", skip_serializing_if = "is_default")]
    ipv6: bool,
    #[serde(skip_serializing_if = "is_default")]
    internal: bool,
    #[serde(skip_serializing_if = "is_default")]
    attachable: bool,
    #[serde(skip_serializing_if = "is_default")]
    ingress: bool,
    #[serde(rename = "IPAMOptions")]
    ipam: IpamOptions,
    scope: &'static str,
}

#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
struct IpamOptions {
    driver: Driver,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    configs: Vec<Range>,
}

/// What the driver says of itself: its number, as Docker shows it, and what was asked.
fn options(network: &ClusterNetwork) -> Map {
    let mut options = network.spec.options.clone();
    if network.vni != 0 {
        options.insert("com.docker.network.driver.overlay.vxlanid_list".to_owned(), network.vni.to_string());
    }
    Map(options)
}

fn ranges(network: &ClusterNetwork) -> Vec<Range> {
    let have = network
        .subnets
        .iter()
        .map(|s| Range { subnet: s.subnet.to_string(), gateway: s.gateway.to_string() });
    if !network.subnets.is_empty() {
        return have.collect();
    }
    let asked = network.spec.pools.iter();
    asked
        .map(|p| Range {
            subnet: p.subnet.to_string(),
            gateway: p.gateway.map(|g| g.to_string()).unwrap_or_default(),
        })
        .collect()
}

impl Inspect {
    /// As the control plane knows it: lists show no more.
    pub(crate) fn new(network: &ClusterNetwork) -> Self {
        let (spec, ranges) = (&network.spec, ranges(network));
        Self {
            name: spec.name.clone(),
            id: network.id.as_str().to_owned(),
            created: network.meta.created.to_string(),
            scope: "swarm",
            driver: "overlay",
            enable_ipv4: true,
            enable_ipv6: spec.ipv6,
            ipam: Ipam { driver: "default", options: None, config: (!ranges.is_empty()).then_some(ranges) },
            internal: spec.internal,
            attachable: spec.attachable,
            ingress: spec.ingress,
            config_from: Reference { network: String::new() },
            config_only: false,
            containers: None,
            options: options(network),
            labels: (!spec.labels.is_empty()).then(|| Map(spec.labels.clone())),
            peers: Vec::new(),
            services: None,
        }
    }

    /// A network that every node has by itself, as services name it.
    pub(crate) fn predefined(name: &str) -> serde_json::Value {
        serde_json::json!({
            "Name": name, "Id": name, "Created": "0001-01-01T00:00:00Z", "Scope": "swarm", "Driver": name,
            "EnableIPv4": true, "EnableIPv6": false,
            "IPAM": { "Driver": "default", "Options": null, "Config": [] },
            "Internal": false, "Attachable": false, "Ingress": false, "ConfigFrom": { "Network": "" },
            "ConfigOnly": false, "Containers": null, "Options": null,
            "Labels": { "com.docker.swarm.predefined": "true" },
        })
    }

    /// With who is on it.
    pub(crate) fn with_members(mut self, containers: BTreeMap<String, Resource>, peers: Vec<Peer>) -> Self {
        (self.containers, self.peers) = (Some(containers), peers);
        self.labels.get_or_insert_default();
        self
    }

    /// With its services.
    pub(crate) fn with_services(mut self, services: BTreeMap<String, ServiceInfo>) -> Self {
        self.services = (!services.is_empty()).then_some(services);
        self
    }
}

impl NetworkOfTask {
    pub(crate) fn new(network: &ClusterNetwork) -> Self {
        let spec = &network.spec;
        let default = Driver { name: "default".to_owned(), options: Map::default() };
        // The ingress network that Docker makes by itself has no driver asked for.
        let asked = |driver: &Driver| if spec.ingress { Driver::default() } else { driver.clone() };
        let overlay = Driver { name: "overlay".to_owned(), options: Map(spec.options.clone()) };
        Self {
            id: network.id.as_str().to_owned(),
            version: Version { index: network.meta.version },
            created_at: network.meta.created.to_string(),
            updated_at: network.meta.updated.to_string(),
            spec: Spec {
                name: spec.name.clone(),
                labels: Map(spec.labels.clone()),
                driver_configuration: asked(&overlay),
                ipv6: spec.ipv6,
                internal: spec.internal,
                attachable: spec.attachable,
                ingress: spec.ingress,
                ipam: IpamOptions { driver: asked(&default), configs: Vec::new() },
                scope: "swarm",
            },
            driver_state: Driver { name: "overlay".to_owned(), options: options(network) },
            ipam: IpamOptions { driver: default, configs: ranges(network) },
        }
    }
}

impl CreateBody {
    /// Whether it asks for a network of the cluster.
    pub(crate) fn is_of_cluster(&self) -> bool {
        self.driver == "overlay" || self.scope == "swarm" || self.ingress
    }

    /// As our model has it, of a network of the cluster.
    pub(crate) fn parse_for_cluster(&self) -> Result<NetworkSpec> {
        if self.name.is_empty() {
            return Err(ApiError::invalid("invalid name: name is empty"));
        }
        if ["bridge", "host", "none", "null", "default"].contains(&self.name.as_str()) {
            let text = format!("{} is a pre-defined network and cannot be created", self.name);
            return Err(ApiError::new(StatusCode::FORBIDDEN, text));
        }
        match self.driver.as_str() {
            "overlay" | "" => {}
            name => {
                return Err(ApiError::unsupported(format!(
                    "networks of the cluster are of driver overlay, not {}",
                    quote(name)
                )));
            }
        }
        let ipam = self.ipam.clone().unwrap_or_default();
        if !matches!(ipam.driver.as_str(), "" | "default") {
            return Err(rpc_invalid(format!("IPAM driver plugin {} not found", quote(&ipam.driver))));
        }
        let pools =
            parse_pools(ipam.config.as_deref().unwrap_or_default(), self.enable_ipv6.unwrap_or(false))?;
        Ok(NetworkSpec {
            name: self.name.clone(),
            driver: NetworkDriver::Overlay,
            ipv4: self.enable_ipv4.unwrap_or(true),
            ipv6: self.enable_ipv6.unwrap_or(false),
            internal: self.internal,
            attachable: self.attachable,
            ingress: self.ingress,
            config_only: false,
            config_from: None,
            options: self.options.0.clone(),
            labels: self.labels.0.clone(),
            ipam_driver: "default".to_owned(),
            ipam_options: ipam.options.map(|o| o.0),
            pools,
        })
    }
}
