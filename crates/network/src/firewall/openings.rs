//! What published ports mean to the firewall, as plain functions of networks and ports. Pure.

use super::plan::Opening;
use crate::{
    bridge::Options,
    ports::{PortRequest, Target},
};
use minke_model::{network::Network, port::PublishedPort};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Ports that are reached without translation, in families that are routed.
pub(crate) fn routed_ports(is_routed: impl Fn(bool) -> bool, requests: &[PortRequest]) -> Vec<PublishedPort> {
    let everywhere = [IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V6(Ipv6Addr::UNSPECIFIED)];
    let mut ports = Vec::new();
    for request in requests {
        // Whoever asks for one address of the host asks for its family only.
        let asked = |ip: &IpAddr| request.binding.host_ip.is_none_or(|asked| asked.is_ipv6() == ip.is_ipv6());
        let routed = everywhere.into_iter().filter(|ip| is_routed(ip.is_ipv6()) && asked(ip));
        ports.extend(routed.map(|host_ip| PublishedPort {
            container: request.container,
            host_ip,
            host_port: 0,
        }));
    }
    ports
}

/// Who reaches published ports by the containers' own addresses too.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Directly {
    Nobody,
    Trusted,
    Everybody,
}

impl Directly {
    /// For a network; `direct_routing` is the daemon's.
    pub(crate) fn of(options: &Options, direct_routing: bool) -> Self {
        match options.trusted.is_empty() {
            _ if direct_routing => Directly::Everybody,
            true => Directly::Nobody,
            false => Directly::Trusted,
        }
    }
}

/// Whether a container's addresses are of a network.
pub(crate) fn holds(network: &Network, target: Target) -> bool {
    let addresses = target.ipv4.map(IpAddr::V4).into_iter().chain(target.ipv6.map(IpAddr::V6));
    let pools = &network.spec.pools;
    addresses.into_iter().any(|address| pools.iter().any(|pool| pool.subnet.contains(address)))
}

/// What published ports mean to the firewall.
pub(crate) fn openings(target: Target, published: &[PublishedPort], directly: Directly) -> Vec<Opening> {
    let mut openings = Vec::new();
    for at in published {
        let (number, protocol) = (at.container.number, at.container.protocol);
        let own = match at.host_ip {
            IpAddr::V4(_) => target.ipv4.map(IpAddr::V4),
            IpAddr::V6(_) => target.ipv6.map(IpAddr::V6),
        };
        let own = own.map(|ip| SocketAddr::new(ip, number));
        if at.host_port == 0 {
            openings.extend(own.map(|to| Opening::Routed { to, protocol }));
            continue;
        }
        let behind = target.behind(at.host_ip).map(|ip| SocketAddr::new(ip, number));
        openings.extend(behind.map(|to| Opening::Translated { at: *at, to }));
        // Whoever publishes for this host alone means just that.
        if at.host_ip.is_loopback() {
            continue;
        }
        openings.extend(own.and_then(|to| match directly {
            Directly::Nobody => None,
            Directly::Trusted => Some(Opening::Trusted { to, protocol }),
            Directly::Everybody => Some(Opening::Routed { to, protocol }),
        }));
    }
    // A port that appears on several addresses of the host is reached once.
    openings.sort();
    openings.dedup();
    openings
}
