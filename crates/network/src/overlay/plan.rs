//! What the namespace of overlays shall have, as plain functions of what the cluster tells. Pure.

use super::devices::Device;
use minke_linux::netlink::Neighbour;
use minke_model::{
    NetworkId,
    overlay::{OverlaySpec, OverlayState},
};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

/// In the mark of a flow: it came from another node, whose number the other bits are.
pub(crate) const FROM_NODE: u32 = 0x8000_0000;

/// Where answers to other nodes are sent, before the bridge's rule puts the node's own address in its place.
pub(crate) const ANY_NODE: [u8; 6] = [0x02, 0x4d, 0x4b, 0, 0, 1];

/// By whom answers to other nodes are sent, on paper: of IPv4 and IPv6.
pub(crate) const ANSWERS: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(169, 254, 77, 77)),
    IpAddr::V6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0x4d4b, 1)),
];

/// The mark of flows that a node sent: the last 31 bits of its hardware address.
pub(crate) fn mark_of(mac: [u8; 6]) -> u32 {
    FROM_NODE | u32::from_be_bytes([mac[2], mac[3], mac[4], mac[5]])
}

/// The networks that get devices here: what shall not be seen on the wire is not sent at all.
pub(crate) fn served(state: &OverlayState) -> impl Iterator<Item = &OverlaySpec> {
    state.networks.iter().filter(|network| !network.encrypted)
}

/// The network that published ports go over.
pub(crate) fn ingress(state: &OverlayState) -> Option<&OverlaySpec> {
    served(state).find(|network| network.ingress)
}

/// Every entry that says who is where.
pub(crate) fn entries(state: &OverlayState, devices: &BTreeMap<NetworkId, Device>) -> BTreeSet<Neighbour> {
    let mut entries = BTreeSet::new();
    let macs: HashMap<IpAddr, [u8; 6]> = state.members.iter().map(|node| (node.underlay, node.mac)).collect();
    for peer in state.peers.iter().filter(|peer| peer.node != state.place.underlay) {
        let Some(device) = devices.get(&peer.network) else { continue };
        if device.containers.is_some() {
            // Nodes pass packets on here: the network below has nodes' addresses only.
            let Some(mac) = macs.get(&peer.node).copied() else { continue };
            entries.insert(Neighbour::Address { link: device.bridge, address: peer.address, mac });
            continue;
        }
        entries.insert(Neighbour::Remote { link: device.vxlan, mac: peer.mac, to: peer.node });
        entries.insert(Neighbour::Port { link: device.vxlan, mac: peer.mac });
        entries.insert(Neighbour::Address { link: device.vxlan, address: peer.address, mac: peer.mac });
    }
    for device in devices.values().filter(|device| device.containers.is_some()) {
        for node in state.members.iter().filter(|node| node.underlay != state.place.underlay) {
            entries.insert(Neighbour::Remote { link: device.vxlan, mac: node.mac, to: node.underlay });
            entries.insert(Neighbour::Port { link: device.vxlan, mac: node.mac });
        }
        entries.insert(Neighbour::Port { link: device.vxlan, mac: ANY_NODE });
        let speaks = |ipv6: bool| {
            let subnets = ingress(state).into_iter().flat_map(|spec| &spec.subnets);
            subnets.into_iter().any(|subnet| subnet.gateway.is_ipv6() == ipv6)
        };
        for gateway in ANSWERS.into_iter().filter(|gateway| speaks(gateway.is_ipv6())) {
            entries.insert(Neighbour::Address { link: device.bridge, address: gateway, mac: ANY_NODE });
        }
    }
    entries
}

/// What an entry is for: of each there is one.
pub(crate) fn subject(entry: &Neighbour) -> (u8, u32, Vec<u8>) {
    match entry {
        Neighbour::Remote { link, mac, .. } => (0, *link, mac.to_vec()),
        Neighbour::Port { link, mac } => (1, *link, mac.to_vec()),
        Neighbour::Address { link, address, .. } => (2, *link, super::bytes(*address)),
    }
}

/// By which link each address of the ingress network is reached.
pub(crate) fn routes(state: &OverlayState, devices: &BTreeMap<NetworkId, Device>) -> BTreeSet<(IpAddr, u32)> {
    let mut routes = BTreeSet::new();
    // This node's own addresses are the host's.
    for peer in state.peers.iter().filter(|peer| !state.place.ingress.contains(&peer.address)) {
        let Some((device, containers)) = devices.get(&peer.network).and_then(|d| Some((d, d.containers?)))
        else {
            continue;
        };
        let is_here = peer.node == state.place.underlay;
        routes.insert((peer.address, if is_here { containers } else { device.bridge }));
    }
    routes
}
