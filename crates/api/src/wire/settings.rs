//! `NetworkSettings` of an inspected container.

use super::{
    endpoint::EndpointSettings,
    ports::{PortMap, published},
};
use minke_model::{
    Container,
    network::{Endpoint, EndpointSpec},
    overlay::GATEWAY_BRIDGE,
};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// A container's network, as it is. Fields that Docker never sets any more are still shown, empty.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct NetworkSettings {
    bridge: &'static str,
    #[serde(rename = "SandboxID")]
    sandbox_id: String,
    sandbox_key: String,
    ports: PortMap,
    hairpin_mode: bool,
    #[serde(rename = "LinkLocalIPv6Address")]
    link_local_ipv6_address: &'static str,
    #[serde(rename = "LinkLocalIPv6PrefixLen")]
    link_local_ipv6_prefix_len: u8,
    #[serde(rename = "SecondaryIPAddresses")]
    secondary_ip_addresses: Option<()>,
    #[serde(rename = "SecondaryIPv6Addresses")]
    secondary_ipv6_addresses: Option<()>,
    #[serde(rename = "EndpointID")]
    endpoint_id: String,
    gateway: String,
    #[serde(rename = "GlobalIPv6Address")]
    global_ipv6_address: String,
    #[serde(rename = "GlobalIPv6PrefixLen")]
    global_ipv6_prefix_len: u8,
    #[serde(rename = "IPAddress")]
    ip_address: String,
    #[serde(rename = "IPPrefixLen")]
    ip_prefix_len: u8,
    #[serde(rename = "IPv6Gateway")]
    ipv6_gateway: String,
    mac_address: String,
    networks: BTreeMap<String, EndpointSettings>,
}

/// Its networks by name, with what was asked and what is.
pub(crate) type Networks = BTreeMap<String, (EndpointSpec, Endpoint)>;

/// As `Networks` shows them.
pub(crate) fn networks(of: &Networks) -> BTreeMap<String, EndpointSettings> {
    let shown = of.iter().filter(|(name, _)| *name != GATEWAY_BRIDGE);
    shown.map(|(name, (spec, endpoint))| (name.clone(), EndpointSettings::new(spec, endpoint))).collect()
}

impl NetworkSettings {
    /// The flat fields repeat the default bridge's.
    pub(crate) fn new(container: &Container, of: &Networks, sandbox_id: String, sandbox_key: String) -> Self {
        let networks = networks(of);
        let bridge = networks.get("bridge").cloned().unwrap_or_default();
        let ports = match container.status.state.is_up() && container.spec.networking.mode.is_private() {
            true => {
                let places: BTreeSet<_> =
                    of.values().flat_map(|(_, e)| e.published.iter().copied()).collect();
                published(&container.spec, &places)
            }
            false => PortMap::default(),
        };
        Self {
            bridge: "",
            sandbox_id,
            sandbox_key,
            ports,
            hairpin_mode: false,
            link_local_ipv6_address: "",
            link_local_ipv6_prefix_len: 0,
            secondary_ip_addresses: None,
            secondary_ipv6_addresses: None,
            endpoint_id: bridge.endpoint_id,
            gateway: bridge.gateway,
            global_ipv6_address: bridge.global_ipv6_address,
            global_ipv6_prefix_len: bridge.global_ipv6_prefix_len,
            ip_address: bridge.ip_address,
            ip_prefix_len: bridge.ip_prefix_len,
            ipv6_gateway: bridge.ipv6_gateway,
            mac_address: bridge.mac_address,
            networks,
        }
    }
}
