//! A container's place in a network: `EndpointSettings`.

use super::{Map, is_default, or_null, wire};
use crate::error::ApiError;
use minke_model::network::{Endpoint, EndpointSpec};

wire! {
    /// As asked, and as it is.
    struct EndpointSettings {
        #[serde(rename = "IPAMConfig")]
        ipam_config: Option<IpamConfig>,
        links: Option<Vec<String>>,
        aliases: Option<Vec<String>>,
        mac_address: String,
        driver_opts: Option<Map>,
        gw_priority: i64,
        #[serde(rename = "NetworkID")]
        network_id: String,
        #[serde(rename = "EndpointID")]
        endpoint_id: String,
        gateway: String,
        #[serde(rename = "IPAddress")]
        ip_address: String,
        #[serde(rename = "IPPrefixLen")]
        ip_prefix_len: u8,
        #[serde(rename = "IPv6Gateway")]
        ipv6_gateway: String,
        #[serde(rename = "GlobalIPv6Address")]
        global_ipv6_address: String,
        #[serde(rename = "GlobalIPv6PrefixLen")]
        global_ipv6_prefix_len: u8,
        #[serde(rename = "DNSNames")]
        dns_names: Option<Vec<String>>,
    }
}

wire! {
    /// Addresses as asked.
    struct IpamConfig {
        #[serde(rename = "IPv4Address", skip_serializing_if = "String::is_empty")]
        ipv4_address: String,
        #[serde(rename = "IPv6Address", skip_serializing_if = "String::is_empty")]
        ipv6_address: String,
        #[serde(rename = "LinkLocalIPs", skip_serializing_if = "is_default")]
        link_local_ips: Vec<String>,
    }
}

fn text<T: ToString>(value: Option<T>) -> String {
    value.map(|v| v.to_string()).unwrap_or_default()
}

impl EndpointSettings {
    /// As inspect shows it.
    pub(crate) fn new(spec: &EndpointSpec, endpoint: &Endpoint) -> Self {
        let ipam = IpamConfig {
            ipv4_address: text(spec.ipv4),
            ipv6_address: text(spec.ipv6),
            link_local_ips: spec.link_local.iter().map(ToString::to_string).collect(),
        };
        let up = endpoint.id.is_some();
        Self {
            ipam_config: (spec.ipam_given || ipam != IpamConfig::default()).then_some(ipam),
            links: or_null(&spec.links),
            aliases: or_null(&spec.aliases),
            mac_address: match (up, &endpoint.network) {
                (true, _) => endpoint.mac.clone(),
                // What is asked for is told until the network has been joined once.
                (false, None) => spec.mac.clone(),
                (false, Some(_)) => String::new(),
            },
            driver_opts: (!spec.driver_options.is_empty()).then(|| Map(spec.driver_options.clone())),
            gw_priority: spec.gateway_priority,
            network_id: endpoint.network.as_ref().map(|n| n.as_str().to_owned()).unwrap_or_default(),
            endpoint_id: endpoint.id.as_ref().map(|id| id.as_str().to_owned()).unwrap_or_default(),
            gateway: if up { text(endpoint.gateway4) } else { String::new() },
            ip_address: text(endpoint.ipv4.filter(|_| up).map(|a| a.0)),
            ip_prefix_len: endpoint.ipv4.filter(|_| up).map_or(0, |a| a.1),
            ipv6_gateway: if up { text(endpoint.gateway6) } else { String::new() },
            global_ipv6_address: text(endpoint.ipv6.filter(|_| up).map(|a| a.0)),
            global_ipv6_prefix_len: endpoint.ipv6.filter(|_| up).map_or(0, |a| a.1),
            dns_names: or_null(&endpoint.dns_names),
        }
    }

    /// As lists show it: without names, links and options.
    pub(crate) fn in_list(mut self) -> Self {
        self.links = None;
        self.aliases = None;
        self.driver_opts = None;
        self.dns_names = None;
        self
    }

    /// What a new container asks of `network`, or every reason against it, in dockerd's words.
    pub(crate) fn parse(&self, network: &str) -> Result<EndpointSpec, ApiError> {
        self.parse_for_connect(network)
            .map_err(|e| e.context(format_args!("invalid config for network {network}")))
    }

    /// The same for a container that is connected later.
    pub(crate) fn parse_for_connect(&self, network: &str) -> Result<EndpointSpec, ApiError> {
        if !self.mac_address.is_empty() && !is_mac(&self.mac_address) {
            return Err(ApiError::invalid(format!("invalid MAC address {}", self.mac_address)));
        }
        let mut reasons = Vec::new();
        let ipam = self.ipam_config.clone().unwrap_or_default();
        let predefined = matches!(network, "bridge" | "host" | "none" | "default");
        let addressed = !ipam.ipv4_address.is_empty() || !ipam.ipv6_address.is_empty();
        if predefined && self.aliases.as_ref().is_some_and(|aliases| !aliases.is_empty()) {
            reasons.push(
                "network-scoped alias is supported only for containers in user defined networks".to_owned(),
            );
        }
        if predefined && addressed {
            reasons.push("user specified IP address is supported on user defined networks only".to_owned());
        }
        let ipv4 = parse_address(&ipam.ipv4_address, "IPv4", &mut reasons);
        let ipv6 = parse_address(&ipam.ipv6_address, "IPv6", &mut reasons);
        let mut link_local = Vec::new();
        for given in &ipam.link_local_ips {
            match given.parse() {
                Ok(address) => link_local.push(address),
                Err(_) => reasons.push(format!("invalid link-local IP address: {given}")),
            }
        }
        if predefined && addressed {
            reasons.push(
                "user specified IP address is supported only when connecting to networks with user configured subnets"
                    .to_owned(),
            );
        }
        if !reasons.is_empty() {
            return Err(ApiError::invalid(format!("invalid endpoint settings:\n{}", join_reasons(&reasons))));
        }
        Ok(EndpointSpec {
            ipv4,
            ipv6,
            link_local,
            aliases: self.aliases.clone().unwrap_or_default(),
            links: self.links.clone().unwrap_or_default(),
            mac: self.mac_address.clone(),
            driver_options: self.driver_opts.clone().unwrap_or_default().0,
            gateway_priority: self.gw_priority,
            ipam_given: self.ipam_config.is_some(),
        })
    }
}

/// Several reasons as moby joins them: one a line, with a star when they are more than one.
pub(crate) fn join_reasons(reasons: &[String]) -> String {
    match reasons {
        [one] => one.clone(),
        many => many.iter().map(|r| format!("* {r}")).collect::<Vec<_>>().join("\n"),
    }
}

fn parse_address<T: std::str::FromStr>(given: &str, family: &str, reasons: &mut Vec<String>) -> Option<T> {
    if given.is_empty() {
        return None;
    }
    let parsed = given.parse().ok();
    if parsed.is_none() {
        reasons.push(format!("invalid {family} address: {given}"));
    }
    parsed
}

/// Six bytes in hex with colons or dashes, or three groups with dots.
pub(crate) fn is_mac(text: &str) -> bool {
    let hex =
        |group: &str, width: usize| group.len() == width && group.bytes().all(|b| b.is_ascii_hexdigit());
    let by = |separator: char, width: usize, count: usize| {
        text.split(separator).count() == count && text.split(separator).all(|group| hex(group, width))
    };
    by(':', 2, 6) || by('-', 2, 6) || by('.', 4, 3)
}
