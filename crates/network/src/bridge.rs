//! Bridges: a network's device on the host, and the options that Docker's bridge driver knows.

use crate::{
    NetworkError,
    error::Tried,
    firewall::plan::{Gateway, Zone},
    mac::Mac,
    sysctl,
};
use minke_linux::netlink::{self, Address, Bridge, LinkChange, Socket};
use minke_model::{
    go,
    network::{Network, Subnet},
};
use rustix::io::Errno;
use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr},
};

/// Options of a bridge network, `com.docker.network.…`, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// `bridge.enable_icc`
    pub icc: bool,
    /// `bridge.enable_ip_masquerade`
    pub masquerade: bool,
    /// `bridge.host_binding_ipv4`: where ports appear that are published without an address.
    pub host_binding: IpAddr,
    /// `driver.mtu`; 0 is the kernel's default.
    pub mtu: u32,
    /// `bridge.inhibit_ipv4`: the bridge has no address of its own.
    pub inhibit_ipv4: bool,
    /// `host_ipv4`, `host_ipv6`: the host's addresses that outgoing packets get.
    pub sources: Vec<IpAddr>,
    /// `bridge.gateway_mode_ipv4`
    pub ipv4: GatewayMode,
    /// `bridge.gateway_mode_ipv6`
    pub ipv6: GatewayMode,
    /// `bridge.trusted_host_interfaces`: by these, published ports are reached by the containers' own addresses too.
    pub trusted: Vec<String>,
    /// `container_iface_prefix`: what containers' interfaces are called, before their number.
    pub interface_prefix: String,
}

/// How a network is reached from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GatewayMode {
    /// By published ports of the host.
    Nat,
    /// The same, and all ports by the container's address.
    NatUnprotected,
    /// Published ports by the container's address.
    Routed,
    /// Internal networks only: the host has no address in it.
    Isolated,
}

impl Options {
    /// Reads a network's options. `binding` is the daemon's own (`--ip`).
    pub fn read(options: &BTreeMap<String, String>, binding: IpAddr) -> Result<Self, NetworkError> {
        let text = |name: &'static str| {
            let value = options.get(&format!("com.docker.network.{name}"))?;
            Some((name, value.as_str()))
        };
        let flag =
            |name: &'static str, default: bool| text(name).map_or(Ok(default), |(n, v)| parse_bool(n, v));
        let mode = |name: &'static str| text(name).map_or(Ok(GatewayMode::Nat), |(n, v)| parse_mode(n, v));
        let mtu = text("driver.mtu").map_or(Ok(0), |(name, value)| {
            value.parse().map_err(|_| invalid(name, value, "it must be a number of bytes"))
        })?;
        let host_binding = text("bridge.host_binding_ipv4").filter(|(_, value)| !value.is_empty()).map_or(
            Ok(binding),
            |(name, value)| {
                let bad = |_| invalid(name, value, "it must be an IP address");
                value.parse::<IpAddr>().map_err(bad)
            },
        )?;
        let mut sources = Vec::new();
        for name in ["host_ipv4", "host_ipv6"] {
            if let Some((name, value)) = text(name).filter(|(_, value)| !value.is_empty()) {
                let ip: IpAddr =
                    value.parse().map_err(|_| invalid(name, value, "it must be an IP address"))?;
                if ip.is_ipv4() != (name == "host_ipv4") {
                    return Err(invalid(name, value, "it is of the other family"));
                }
                sources.push(ip);
            }
        }
        Ok(Self {
            icc: flag("bridge.enable_icc", true)?,
            masquerade: flag("bridge.enable_ip_masquerade", true)?,
            host_binding,
            mtu,
            sources,
            inhibit_ipv4: flag("bridge.inhibit_ipv4", false)?,
            ipv4: mode("bridge.gateway_mode_ipv4")?,
            ipv6: mode("bridge.gateway_mode_ipv6")?,
            trusted: text("bridge.trusted_host_interfaces")
                .map(|(_, value)| {
                    value.split(':').filter(|name| !name.is_empty()).map(str::to_owned).collect()
                })
                .unwrap_or_default(),
            interface_prefix: text("container_iface_prefix").map_or("eth", |(_, value)| value).to_owned(),
        })
    }

    /// Whether the host has no address in it that a container would send to (libnetwork's `GetSkipGwAlloc`).
    pub(crate) fn without_gateway(&self, ipv6: bool, internal: bool) -> bool {
        match ipv6 {
            true => self.ipv6 == GatewayMode::Isolated,
            false => self.ipv4 == GatewayMode::Isolated || (self.inhibit_ipv4 && internal),
        }
    }

    /// The name that is asked for, `bridge.name`.
    pub fn bridge_name(options: &BTreeMap<String, String>) -> Result<Option<&str>, NetworkError> {
        let name = "com.docker.network.bridge.name";
        let Some(value) = options.get(name).filter(|v| !v.is_empty()) else { return Ok(None) };
        // `dev_valid_name` of the kernel.
        let good = value.len() <= 15
            && !matches!(value.as_str(), "." | "..")
            && !value.contains(|c: char| c == '/' || c == ':' || c.is_whitespace());
        if good {
            Ok(Some(value))
        } else {
            Err(invalid("bridge.name", value, "it is no name of an interface"))
        }
    }
}

fn invalid(option: &str, value: &str, reason: &'static str) -> NetworkError {
    NetworkError::InvalidOption {
        option: format!("com.docker.network.{option}"),
        value: value.to_owned(),
        reason,
    }
}

/// A switch, as Go reads it.
fn parse_bool(option: &str, value: &str) -> Result<bool, NetworkError> {
    go::parse_bool(value).ok_or_else(|| invalid(option, value, "it must be true or false"))
}

fn parse_mode(option: &str, value: &str) -> Result<GatewayMode, NetworkError> {
    match value {
        "" | "nat" => Ok(GatewayMode::Nat),
        "nat-unprotected" => Ok(GatewayMode::NatUnprotected),
        "routed" => Ok(GatewayMode::Routed),
        "isolated" => Ok(GatewayMode::Isolated),
        _ => Err(invalid(option, value, "it must be nat, nat-unprotected, routed or isolated")),
    }
}

/// What the firewall needs to know of a network.
pub(crate) fn zone(network: &Network, options: &Options) -> Zone {
    let gateway = |mode: GatewayMode| match mode {
        GatewayMode::Routed | GatewayMode::Isolated => Gateway::Routed,
        GatewayMode::NatUnprotected => Gateway::NatUnprotected,
        GatewayMode::Nat if !options.masquerade => Gateway::NatUnmasked,
        GatewayMode::Nat => Gateway::Nat,
    };
    Zone {
        bridge: network.bridge.clone(),
        subnets: network.spec.pools.iter().map(|pool| pool.subnet).collect(),
        internal: network.spec.internal,
        icc: options.icc,
        ipv4: gateway(options.ipv4),
        ipv6: gateway(options.ipv6),
        sources: options.sources.clone(),
        trusted: options.trusted.clone(),
    }
}

/// Makes the device as the network asks; what is there already is kept and completed. Returns its number.
pub(crate) fn ensure(socket: &mut Socket, network: &Network, options: &Options) -> Result<u32, NetworkError> {
    let name = network.bridge.as_str();
    let ipv6 = network.spec.pools.iter().any(|pool| pool.subnet.address.is_ipv6());
    let (link, new) = match find(socket, name)? {
        Some(link) => (link, false),
        None => {
            let id = network.id.as_str().as_bytes();
            let tail: [u8; 4] = std::array::from_fn(|i| hex_byte(id, 2 * i));
            let address = Mac::of(IpAddr::V4(Ipv4Addr::from(tail)));
            let bridge = Bridge { name, mtu: options.mtu, address: address.0 };
            match netlink::create_bridge(socket, &bridge) {
                Ok(()) => {}
                Err(refused) if refused.is(Errno::EXIST) => {}
                refused => refused.tried(|| format!("create bridge {name}"))?,
            }
            let made = find(socket, name)?;
            (made.ok_or_else(|| NetworkError::io(format!("find bridge {name}"), Errno::NODEV))?, true)
        }
    };
    if new {
        sysctl::try_set(&format!("ipv6/conf/{name}/disable_ipv6"), if ipv6 { "0" } else { "1" });
        sysctl::try_set(&format!("ipv6/conf/{name}/accept_ra"), "0");
        sysctl::try_set(&format!("ipv6/conf/{name}/accept_dad"), "0");
    } else if !link.up {
        let change = LinkChange { up: Some(true), ..LinkChange::default() };
        netlink::set_link(socket, link.index, &change).tried(|| format!("switch bridge {name} on"))?;
    }
    if !new && ipv6 {
        // It may be left from a daemon without IPv6.
        sysctl::try_set(&format!("ipv6/conf/{name}/disable_ipv6"), "0");
    }
    // Answers to 127.0.0.1 come back by the bridge; see `firewall/rules.rs` on what guards it.
    sysctl::try_set(&format!("ipv4/conf/{name}/route_localnet"), "1");
    set_addresses(socket, network, options, link.index)?;
    Ok(link.index)
}

/// The bridge of a name; an error when it is something else.
fn find(socket: &mut Socket, name: &str) -> Result<Option<netlink::Link>, NetworkError> {
    match netlink::link_by_name(socket, name).tried(|| format!("look for bridge {name}"))? {
        Some(link) if link.kind != "bridge" => {
            Err(NetworkError::NotABridge { name: link.name, kind: link.kind })
        }
        found => Ok(found),
    }
}

fn hex_byte(digits: &[u8], at: usize) -> u8 {
    let digit = |i: usize| digits.get(i).and_then(|d| (*d as char).to_digit(16)).unwrap_or(0) as u8;
    digit(at) << 4 | digit(at + 1)
}

/// Gives the bridge its gateway addresses.
fn set_addresses(
    socket: &mut Socket,
    network: &Network,
    options: &Options,
    link: u32,
) -> Result<(), NetworkError> {
    for pool in &network.spec.pools {
        let isolated = match pool.subnet.address {
            IpAddr::V4(_) => options.inhibit_ipv4 || options.ipv4 == GatewayMode::Isolated,
            IpAddr::V6(_) => options.ipv6 == GatewayMode::Isolated,
        };
        let Some(ip) = pool.gateway.filter(|_| !isolated) else { continue };
        let address = Address { link, ip, prefix: pool.subnet.prefix };
        match netlink::add_address(socket, &address) {
            Ok(()) => {}
            Err(refused) if refused.is(Errno::EXIST) => {}
            refused => {
                let subnet = Subnet { address: ip, prefix: pool.subnet.prefix };
                refused.tried(|| format!("give bridge {} the address {subnet}", network.bridge))?;
            }
        }
    }
    Ok(())
}

/// Takes the device away, if it is a bridge. One that is gone is no error.
pub(crate) fn remove(socket: &mut Socket, name: &str) -> Result<(), NetworkError> {
    let Some(link) = find(socket, name)? else { return Ok(()) };
    match netlink::remove_link(socket, link.index) {
        Err(refused) if !refused.is(Errno::NODEV) => Err(refused).tried(|| format!("remove bridge {name}")),
        _ => Ok(()),
    }
}
