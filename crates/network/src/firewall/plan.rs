//! What is in the firewall's sets and maps, as a plain function of networks and published ports. Pure.
//!
//! A network is a few elements, a published port is one; `rules.rs` says what they mean to a packet.

use minke_linux::nftables::{Element, Set, Type, Value};
use minke_model::{
    network::Subnet,
    port::{Port, Protocol, PublishedPort},
};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// A network as the firewall sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Zone {
    /// The bridge's name.
    pub bridge: String,
    /// The ranges of its containers.
    pub subnets: Vec<Subnet>,
    /// No way out or in.
    pub internal: bool,
    /// Its containers may reach each other.
    pub icc: bool,
    /// How IPv4 gets in and out.
    pub ipv4: Gateway,
    /// How IPv6 gets in and out.
    pub ipv6: Gateway,
    /// The addresses of the host that outgoing packets get; none of a family: that of the interface they leave by.
    pub sources: Vec<IpAddr>,
    /// Interfaces of the host by which published ports are reached by the containers' own addresses too.
    pub trusted: Vec<String>,
}

/// How a network's containers are reached from outside, and reach it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gateway {
    /// By published ports; outgoing packets get the host's address.
    Nat,
    /// The same without translation of outgoing packets (`enable_ip_masquerade=false`).
    NatUnmasked,
    /// The same as `Nat`, but all ports can be reached by the container's own address.
    NatUnprotected,
    /// Without translation: published ports by the container's own address.
    Routed,
}

/// A port of a container that one other container of its network reaches, where containers are kept apart otherwise
/// (Docker's `--link` with `--icc=false`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Linked {
    /// Who reaches it.
    pub from: Ipv4Addr,
    /// Whom.
    pub to: Ipv4Addr,
    /// Where.
    pub port: Port,
}

/// A port of a container that is reached by others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Opening {
    /// By an address and port of the host.
    Translated {
        /// The host's side.
        at: PublishedPort,
        /// The container's side.
        to: SocketAddr,
    },
    /// By the container's own address.
    Routed {
        /// The container's side.
        to: SocketAddr,
        /// The transport.
        protocol: Protocol,
    },
    /// By the container's own address, from trusted interfaces only.
    Trusted {
        /// The container's side.
        to: SocketAddr,
        /// The transport.
        protocol: Protocol,
    },
    /// By one container of its own network.
    Linked(Linked),
}

/// The sets and maps, in the order in which they are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SetName {
    /// Our bridges.
    Bridges,
    /// Each bridge with itself: in and out by the same.
    Same,
    /// Bridges of internal networks.
    Internal,
    /// Bridges whose containers may not reach each other.
    Apart,
    /// Ranges whose outgoing packets are translated.
    Mask4,
    /// The same for IPv6.
    Mask6,
    /// Ranges whose outgoing packets get one address of the host.
    Source4,
    /// The same for IPv6.
    Source6,
    /// Ranges with their own bridges: never translated between them.
    Own4,
    /// The same for IPv6.
    Own6,
    /// Bridges whose containers are reached on all ports.
    Unprotected4,
    /// The same for IPv6.
    Unprotected6,
    /// Trusted interfaces, each with the bridge that it leads to.
    Trusted,
    /// Container ports that are reached from trusted interfaces.
    Direct4,
    /// The same for IPv6.
    Direct6,
    /// Who reaches which port of whom, of those that are kept apart.
    Linked,
    /// Container ports that are reached without translation.
    Open4,
    /// The same for IPv6.
    Open6,
    /// Host address and port to container.
    Ports4,
    /// Host port, on any address, to container.
    Any4,
    /// Host address and port to container.
    Ports6,
    /// Host port, on any address, to container.
    Any6,
}

impl SetName {
    /// All.
    pub const ALL: [SetName; 22] = [
        SetName::Bridges,
        SetName::Same,
        SetName::Internal,
        SetName::Apart,
        SetName::Mask4,
        SetName::Mask6,
        SetName::Source4,
        SetName::Source6,
        SetName::Own4,
        SetName::Own6,
        SetName::Unprotected4,
        SetName::Unprotected6,
        SetName::Trusted,
        SetName::Direct4,
        SetName::Direct6,
        SetName::Linked,
        SetName::Open4,
        SetName::Open6,
        SetName::Ports4,
        SetName::Any4,
        SetName::Ports6,
        SetName::Any6,
    ];

    /// As `nft` shows it.
    pub fn as_str(self) -> &'static str {
        match self {
            SetName::Bridges => "bridges",
            SetName::Same => "same",
            SetName::Internal => "internal",
            SetName::Apart => "apart",
            SetName::Mask4 => "mask4",
            SetName::Mask6 => "mask6",
            SetName::Source4 => "source4",
            SetName::Source6 => "source6",
            SetName::Own4 => "own4",
            SetName::Own6 => "own6",
            SetName::Unprotected4 => "unprotected4",
            SetName::Unprotected6 => "unprotected6",
            SetName::Trusted => "trusted",
            SetName::Direct4 => "direct4",
            SetName::Direct6 => "direct6",
            SetName::Linked => "linked",
            SetName::Open4 => "open4",
            SetName::Open6 => "open6",
            SetName::Ports4 => "ports4",
            SetName::Any4 => "any4",
            SetName::Ports6 => "ports6",
            SetName::Any6 => "any6",
        }
    }

    /// Its kernel form.
    pub fn set(self) -> Set {
        use Type::{InterfaceName, Ipv4, Ipv6, Port, Protocol};
        let name = self.as_str();
        match self {
            SetName::Bridges
            | SetName::Internal
            | SetName::Apart
            | SetName::Unprotected4
            | SetName::Unprotected6 => Set::of(name, &[InterfaceName]),
            SetName::Same | SetName::Trusted => Set::of(name, &[InterfaceName, InterfaceName]),
            SetName::Mask4 => Set::of(name, &[Ipv4]).with_intervals(),
            SetName::Mask6 => Set::of(name, &[Ipv6]).with_intervals(),
            SetName::Source4 => Set::map(name, &[Ipv4], &[Ipv4]).with_intervals(),
            SetName::Source6 => Set::map(name, &[Ipv6], &[Ipv6]).with_intervals(),
            SetName::Own4 => Set::of(name, &[Ipv4, InterfaceName]).with_intervals(),
            SetName::Own6 => Set::of(name, &[Ipv6, InterfaceName]).with_intervals(),
            SetName::Linked => Set::of(name, &[Ipv4, Ipv4, Protocol, Port]),
            SetName::Open4 | SetName::Direct4 => Set::of(name, &[Ipv4, Protocol, Port]),
            SetName::Open6 | SetName::Direct6 => Set::of(name, &[Ipv6, Protocol, Port]),
            SetName::Ports4 => Set::map(name, &[Ipv4, Protocol, Port], &[Ipv4, Port]),
            SetName::Any4 => Set::map(name, &[Protocol, Port], &[Ipv4, Port]),
            SetName::Ports6 => Set::map(name, &[Ipv6, Protocol, Port], &[Ipv6, Port]),
            SetName::Any6 => Set::map(name, &[Protocol, Port], &[Ipv6, Port]),
        }
    }
}

/// The bytes of an address.
fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    }
}

/// `IPPROTO_…`
pub(crate) fn protocol_number(protocol: Protocol) -> u8 {
    match protocol {
        Protocol::Tcp => 6,
        Protocol::Udp => 17,
        Protocol::Sctp => 132,
    }
}

/// The last address of a subnet as bytes.
fn last_octets(subnet: &Subnet) -> Vec<u8> {
    let bytes = crate::ipam::last(subnet).to_be_bytes();
    if subnet.address.is_ipv4() { bytes[12..].to_vec() } else { bytes.to_vec() }
}

/// The first address behind a subnet as bytes; empty behind the last of all.
fn behind_octets(subnet: &Subnet) -> Vec<u8> {
    let next = crate::ipam::last(subnet).wrapping_add(1);
    match subnet.address {
        IpAddr::V4(_) => u32::try_from(next).map_or(Vec::new(), |n| n.to_be_bytes().to_vec()),
        IpAddr::V6(_) if next == 0 => Vec::new(),
        IpAddr::V6(_) => next.to_be_bytes().to_vec(),
    }
}

/// The elements that a network brings.
pub fn zone_elements(zone: &Zone) -> Vec<(SetName, Element)> {
    let name = Element::interface(&zone.bridge);
    let mut elements =
        vec![(SetName::Bridges, Element::key(&[&name])), (SetName::Same, Element::key(&[&name, &name]))];
    if zone.internal {
        elements.push((SetName::Internal, Element::key(&[&name])));
    }
    if !zone.icc {
        elements.push((SetName::Apart, Element::key(&[&name])));
    }
    for (gateway, set) in [(zone.ipv4, SetName::Unprotected4), (zone.ipv6, SetName::Unprotected6)] {
        if gateway == Gateway::NatUnprotected && !zone.internal {
            elements.push((set, Element::key(&[&name])));
        }
    }
    for trusted in zone.trusted.iter().filter(|_| !zone.internal) {
        elements.push((SetName::Trusted, Element::key(&[&Element::interface(trusted), &name])));
    }
    for subnet in &zone.subnets {
        let (gateway, mask, own, fixed) = match subnet.address {
            IpAddr::V4(_) => (zone.ipv4, SetName::Mask4, SetName::Own4, SetName::Source4),
            IpAddr::V6(_) => (zone.ipv6, SetName::Mask6, SetName::Own6, SetName::Source6),
        };
        let first = octets(subnet.network());
        let mut element = Element::key(&[&first, &name]);
        element.end = Some(Element::key(&[&last_octets(subnet), &name]).key);
        elements.push((own, element));
        if matches!(gateway, Gateway::Nat | Gateway::NatUnprotected) && !zone.internal {
            let mut element = Element::key(&[&first]);
            element.end = Some(behind_octets(subnet));
            match zone.sources.iter().find(|source| source.is_ipv4() == subnet.address.is_ipv4()) {
                Some(source) => {
                    element.value = Value::Bytes(octets(*source));
                    elements.push((fixed, element));
                }
                None => elements.push((mask, element)),
            }
        }
    }
    elements
}

/// The elements that an opening brings. None where a copier does the work: an IPv6 address of the host for a container
/// that has only IPv4.
pub fn opening_elements(opening: &Opening) -> Vec<(SetName, Element)> {
    match opening {
        Opening::Translated { at, to } => {
            if at.host_ip.is_ipv4() != to.is_ipv4() || at.host_ip == IpAddr::V6(std::net::Ipv6Addr::LOCALHOST)
            {
                return Vec::new();
            }
            let protocol = [protocol_number(at.container.protocol)];
            let port = at.host_port.to_be_bytes();
            let (target, target_port) = (octets(to.ip()), to.port().to_be_bytes());
            let value: [&[u8]; 2] = [&target, &target_port];
            let set = match (at.host_ip.is_unspecified(), at.host_ip.is_ipv4()) {
                (true, true) => SetName::Any4,
                (false, true) => SetName::Ports4,
                (true, false) => SetName::Any6,
                (false, false) => SetName::Ports6,
            };
            let element = match at.host_ip.is_unspecified() {
                true => Element::pair(&[&protocol, &port], &value),
                false => Element::pair(&[&octets(at.host_ip), &protocol, &port], &value),
            };
            vec![(set, element)]
        }
        Opening::Routed { to, protocol } | Opening::Trusted { to, protocol } => {
            let set = match (opening, to.is_ipv4()) {
                (Opening::Trusted { .. }, true) => SetName::Direct4,
                (Opening::Trusted { .. }, false) => SetName::Direct6,
                (_, true) => SetName::Open4,
                (_, false) => SetName::Open6,
            };
            let (address, protocol, port) =
                (octets(to.ip()), [protocol_number(*protocol)], to.port().to_be_bytes());
            vec![(set, Element::key(&[&address, &protocol, &port]))]
        }
        Opening::Linked(Linked { from, to, port }) => {
            let (protocol, number) = ([protocol_number(port.protocol)], port.number.to_be_bytes());
            vec![(SetName::Linked, Element::key(&[&from.octets(), &to.octets(), &protocol, &number]))]
        }
    }
}

#[cfg(test)]
mod tests;
