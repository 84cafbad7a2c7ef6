//! Networks: create, inspect, list, connect.

use super::{
    Map,
    endpoint::{EndpointSettings, join_reasons},
    is_default, wire,
};
use crate::error::ApiError;
use http::StatusCode;
use minke_model::go::quote;
use minke_model::network::{Endpoint, IpamPool, Network, NetworkDriver, NetworkSpec, Subnet};
use serde::Serialize;
use std::{collections::BTreeMap, net::IpAddr};

wire! {
    /// `POST /networks/create`.
    struct CreateBody {
        name: String,
        driver: String,
        scope: String,
        #[serde(rename = "EnableIPv4")]
        enable_ipv4: Option<bool>,
        #[serde(rename = "EnableIPv6")]
        enable_ipv6: Option<bool>,
        #[serde(rename = "IPAM")]
        ipam: Option<Ipam>,
        internal: bool,
        attachable: bool,
        ingress: bool,
        config_only: bool,
        config_from: Option<Reference>,
        options: Map,
        labels: Map,
    }
}

wire! {
    /// Address management.
    struct Ipam {
        driver: String,
        options: Option<Map>,
        config: Option<Vec<Pool>>,
    }
}

wire! {
    /// One range of addresses.
    struct Pool {
        #[serde(skip_serializing_if = "String::is_empty")]
        subnet: String,
        #[serde(rename = "IPRange", skip_serializing_if = "String::is_empty")]
        ip_range: String,
        #[serde(skip_serializing_if = "String::is_empty")]
        gateway: String,
        #[serde(rename = "AuxiliaryAddresses", skip_serializing_if = "Map::is_empty")]
        auxiliary: Map,
    }
}

wire! {
    /// A network by name.
    struct Reference {
        network: String,
    }
}

wire! {
    /// `POST /networks/{id}/connect`.
    struct ConnectBody {
        container: String,
        endpoint_config: Option<EndpointSettings>,
    }
}

wire! {
    /// `POST /networks/{id}/disconnect`.
    struct DisconnectBody {
        container: String,
        force: bool,
    }
}

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
    containers: BTreeMap<String, Resource>,
    options: Map,
    labels: Map,
}

/// A container in a network.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Resource {
    name: String,
    #[serde(rename = "EndpointID")]
    endpoint_id: String,
    mac_address: String,
    #[serde(rename = "IPv4Address")]
    ipv4_address: String,
    #[serde(rename = "IPv6Address")]
    ipv6_address: String,
}

impl Resource {
    /// A container's name and place.
    pub(crate) fn new(name: &str, endpoint: &Endpoint) -> Self {
        Self {
            name: name.to_owned(),
            endpoint_id: endpoint.id.as_ref().map(|id| id.as_str().to_owned()).unwrap_or_default(),
            mac_address: endpoint.mac.clone(),
            ipv4_address: endpoint.ipv4.map(|(a, p)| format!("{a}/{p}")).unwrap_or_default(),
            ipv6_address: endpoint.ipv6.map(|(a, p)| format!("{a}/{p}")).unwrap_or_default(),
        }
    }
}

impl From<&IpamPool> for Pool {
    fn from(pool: &IpamPool) -> Self {
        Self {
            subnet: pool.subnet.to_string(),
            ip_range: pool.range.map(|r| r.to_string()).unwrap_or_default(),
            gateway: pool.gateway.filter(|_| !pool.gateway_chosen).map(|g| g.to_string()).unwrap_or_default(),
            auxiliary: Map(pool.auxiliary.iter().map(|(name, a)| (name.clone(), a.to_string())).collect()),
        }
    }
}

impl Inspect {
    /// As dockerd 28.5 shows it; lists show no containers.
    pub(crate) fn new(network: &Network, containers: BTreeMap<String, Resource>) -> Self {
        let spec = &network.spec;
        let pools: Vec<Pool> = spec.pools.iter().map(Pool::from).collect();
        Self {
            name: spec.name.clone(),
            id: network.id.as_str().to_owned(),
            created: network.created.to_string(),
            scope: if spec.driver == NetworkDriver::Overlay { "swarm" } else { "local" },
            driver: if spec.config_only { "null" } else { spec.driver.as_str() },
            enable_ipv4: spec.ipv4,
            enable_ipv6: spec.ipv6,
            ipam: Ipam {
                driver: if spec.ipam_driver.is_empty() {
                    "default".to_owned()
                } else {
                    spec.ipam_driver.clone()
                },
                options: spec.ipam_options.clone().map(Map),
                config: (!pools.is_empty()).then_some(pools),
            },
            internal: spec.internal,
            attachable: spec.attachable,
            ingress: spec.ingress,
            config_from: Reference { network: spec.config_from.clone().unwrap_or_default() },
            config_only: spec.config_only,
            containers,
            options: Map(spec.options.clone()),
            labels: Map(spec.labels.clone()),
        }
    }
}

const ENABLE_IPV4: &str = "com.docker.network.enable_ipv4";
const ENABLE_IPV6: &str = "com.docker.network.enable_ipv6";

/// A truth value as Go reads it.
fn boolean(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

impl CreateBody {
    /// Its driver's name.
    pub(crate) fn driver(&self) -> &str {
        if self.driver.is_empty() { "bridge" } else { &self.driver }
    }

    /// Takes the daemon's options for what it does not say (`--default-network-opt`). What it says itself of IPv4 and
    /// IPv6 needs no option.
    pub(crate) fn take_defaults(&mut self, defaults: &BTreeMap<String, String>) -> Result<(), ApiError> {
        if self.config_from.as_ref().is_none_or(|from| from.network.is_empty()) {
            for (name, value) in defaults {
                self.options.0.entry(name.clone()).or_insert_with(|| value.clone());
            }
        }
        for (name, enabled) in [(ENABLE_IPV4, &mut self.enable_ipv4), (ENABLE_IPV6, &mut self.enable_ipv6)] {
            if enabled.is_some() {
                self.options.0.remove(name);
            } else if let Some(text) = self.options.0.get(name) {
                let bad = || ApiError::invalid(format!("driver-opt {} is not a valid bool", quote(name)));
                *enabled = Some(boolean(text).ok_or_else(bad)?);
            }
        }
        Ok(())
    }

    /// As our model has it, or why not.
    pub(crate) fn parse(&self) -> Result<NetworkSpec, ApiError> {
        let forbidden = |sentence: &str| Err(ApiError::new(StatusCode::FORBIDDEN, sentence));
        if self.name.is_empty() {
            return Err(ApiError::invalid("invalid name: name is empty"));
        }
        if self.scope == "swarm" {
            return forbidden("cannot create a swarm scoped network when swarm is not active");
        }
        if self.ingress {
            return forbidden("Ingress network can only be global scope network");
        }
        let driver = match self.driver.as_str() {
            "" | "bridge" => NetworkDriver::Bridge,
            "host" => NetworkDriver::Host,
            "null" => NetworkDriver::None,
            "macvlan" => NetworkDriver::Macvlan,
            "ipvlan" => NetworkDriver::Ipvlan,
            "overlay" => return forbidden(crate::swarm::NOT_MANAGER),
            name => {
                return Err(ApiError::new(
                    StatusCode::NOT_FOUND,
                    format!("plugin {} not found", quote(name)),
                ));
            }
        };
        let ipv4 = self.enable_ipv4.unwrap_or(true);
        let ipv6 = self.enable_ipv6.unwrap_or(false);
        if !ipv4 && !ipv6 {
            return Err(ApiError::invalid("IPv4 or IPv6 must be enabled"));
        }
        let ipam = self.ipam.clone().unwrap_or_default();
        let pools = parse_pools(ipam.config.as_deref().unwrap_or_default(), ipv6)?;
        if !matches!(ipam.driver.as_str(), "" | "default" | "null") {
            let name = quote(&ipam.driver);
            return Err(ApiError::new(StatusCode::NOT_FOUND, format!("plugin {name} not found")));
        }
        if ipam.driver == "null" && driver == NetworkDriver::Bridge {
            return Err(ApiError::invalid(if ipv4 { "ipv4 pool is empty" } else { "ipv6 pool is empty" }));
        }
        let config_from = self.config_from.as_ref().map(|r| r.network.clone()).filter(|n| !n.is_empty());
        Ok(NetworkSpec {
            name: self.name.clone(),
            driver,
            ipv4,
            ipv6,
            internal: self.internal,
            attachable: self.attachable,
            ingress: false,
            config_only: self.config_only,
            config_from,
            options: self.options.0.clone(),
            labels: self.labels.0.clone(),
            ipam_driver: if ipam.driver.is_empty() { "default".to_owned() } else { ipam.driver },
            ipam_options: ipam.options.map(|o| o.0),
            pools,
        })
    }
}

/// All ranges, or every reason against them.
pub(super) fn parse_pools(configs: &[Pool], ipv6: bool) -> Result<Vec<IpamPool>, ApiError> {
    let mut pools = Vec::new();
    let mut reasons = Vec::new();
    for config in configs {
        if is_default(config) {
            continue;
        }
        match config.subnet.parse::<Subnet>() {
            Ok(subnet) => pools.extend(parse_pool(config, subnet, ipv6, &mut reasons)),
            Err(_) => reasons.push(format!("invalid subnet {}: invalid CIDR block notation", config.subnet)),
        }
    }
    match reasons.is_empty() {
        true => Ok(pools),
        false => Err(ApiError::invalid(format!("invalid network config:\n{}", join_reasons(&reasons)))),
    }
}

fn parse_pool(config: &Pool, subnet: Subnet, ipv6: bool, reasons: &mut Vec<String>) -> Option<IpamPool> {
    // dockerd takes, and never uses, an IPv6 range of a network without IPv6.
    if !ipv6 && subnet.address.is_ipv6() {
        return None;
    }
    let masked = Subnet { address: subnet.network(), prefix: subnet.prefix };
    if masked != subnet {
        reasons.push(format!("invalid subnet {subnet}: it should be {masked}"));
    }
    let range = parse_ip_range(&config.ip_range, &masked, reasons);
    let gateway = parse_inside(&config.gateway, &masked, &format!("gateway {}", config.gateway), reasons);
    let mut auxiliary = BTreeMap::new();
    for (name, text) in &config.auxiliary.0 {
        if let Some(address) = parse_inside(text, &masked, &format!("auxiliary address {name}"), reasons) {
            auxiliary.insert(name.clone(), address);
        }
    }
    Some(IpamPool { subnet: masked, range, gateway, auxiliary, user_given: true, gateway_chosen: false })
}

fn parse_ip_range(text: &str, subnet: &Subnet, reasons: &mut Vec<String>) -> Option<Subnet> {
    if text.is_empty() {
        return None;
    }
    let Ok(range) = text.parse::<Subnet>() else {
        reasons.push(format!("invalid ip-range {text}: invalid CIDR block notation"));
        return None;
    };
    let masked = Subnet { address: range.network(), prefix: range.prefix };
    if range.address.is_ipv4() != subnet.address.is_ipv4() {
        let family = if subnet.address.is_ipv4() { "IPv4" } else { "IPv6" };
        reasons.push(format!("invalid ip-range {text}: parent subnet is an {family} block"));
        return None;
    }
    if range.prefix < subnet.prefix {
        reasons
            .push(format!("invalid ip-range {text}: CIDR block is bigger than its parent subnet {subnet}"));
    }
    if range != masked {
        reasons.push(format!("invalid ip-range {text}: it should be {masked}"));
    }
    if !subnet.overlaps(&masked) {
        reasons.push(format!("invalid ip-range {text}: parent subnet {subnet} doesn't contain ip-range"));
    }
    Some(masked)
}

fn parse_inside(text: &str, subnet: &Subnet, what: &str, reasons: &mut Vec<String>) -> Option<IpAddr> {
    if text.is_empty() {
        return None;
    }
    let Ok(address) = text.parse::<IpAddr>() else {
        reasons.push(format!("invalid {what}: invalid address"));
        return None;
    };
    if address.is_ipv4() != subnet.address.is_ipv4() {
        let family = if subnet.address.is_ipv4() { "IPv4" } else { "IPv6" };
        reasons.push(format!("invalid {what}: parent subnet is an {family} block"));
        return None;
    }
    if !subnet.contains(address) {
        reasons.push(format!("invalid {what}: parent subnet {subnet} doesn't contain this address"));
    }
    Some(address)
}
