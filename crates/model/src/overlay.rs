//! Networks over many machines, as one of them must know them: told as a whole, by whoever knows all.
//!
//! Nothing here is gossiped or learnt: where an address lives, what a name means and which ports every node answers is
//! said in an [`OverlayState`], and a newer one takes its place.

use crate::{
    NetworkId,
    network::{NetworkSpec, Subnet},
    object::Meta,
    port::{Port, Protocol},
};
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// Where VXLAN is spoken if nobody says otherwise (RFC 7348, section 5).
pub const DATA_PATH_PORT: u16 = 4789;

/// The bridge by which containers of overlay networks reach the outside, and publish ports of one machine alone. Docker's
/// name for it; no container asks for it, and none shows it.
pub const GATEWAY_BRIDGE: &str = "docker_gwbridge";

/// One range of addresses of an overlay network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OverlaySubnet {
    /// All of it, host bits zero.
    pub subnet: Subnet,
    /// The address that no container gets; on the ingress network each node answers for it to its own containers.
    pub gateway: IpAddr,
}

/// What a node must know of one overlay network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OverlaySpec {
    /// The same on all nodes.
    pub id: NetworkId,
    /// Unique in the cluster.
    pub name: String,
    /// The number in VXLAN's header, 24 bits, unique in the cluster.
    pub vni: u32,
    /// Bytes of a packet inside of it: the smallest of the nodes' below, less 50 (70 where nodes speak IPv6).
    pub mtu: u32,
    /// Nothing of it may be seen on the wire: a node that cannot encrypt has no part in it.
    pub encrypted: bool,
    /// At most one of a family is used for a container.
    pub subnets: Vec<OverlaySubnet>,
    /// Its containers get no way out by it.
    pub internal: bool,
    /// Containers that are no tasks may join.
    pub attachable: bool,
    /// It is the one that published ports go over. At most one.
    pub ingress: bool,
    /// The user's labels.
    pub labels: crate::Labels,
    /// Driver options, as asked.
    pub options: std::collections::BTreeMap<String, String>,
}

/// A network over the nodes of a cluster: its record `network/<id>`. Written by the control plane only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterNetwork {
    /// Unique.
    pub id: NetworkId,
    /// Of the spec.
    pub meta: Meta,
    /// As asked. Its pools are those that the user gave, if any; see `subnets`.
    pub spec: NetworkSpec,
    /// Nothing of it may be seen on the wire (`--opt encrypted`).
    pub encrypted: bool,
    /// The number in VXLAN's header; 0: not allocated yet.
    pub vni: u32,
    /// Bytes of a packet inside of it; 0: not allocated yet.
    pub mtu: u32,
    /// Its ranges of addresses; empty: not allocated yet.
    pub subnets: Vec<OverlaySubnet>,
}

impl ClusterNetwork {
    /// Has all that a node needs to make it.
    pub fn is_allocated(&self) -> bool {
        self.vni != 0 && !self.subnets.is_empty()
    }

    /// As nodes must know it; `None` before it is allocated.
    pub fn overlay(&self) -> Option<OverlaySpec> {
        self.is_allocated().then(|| OverlaySpec {
            id: self.id.clone(),
            name: self.spec.name.clone(),
            vni: self.vni,
            mtu: self.mtu,
            encrypted: self.encrypted,
            subnets: self.subnets.clone(),
            internal: self.spec.internal,
            attachable: self.spec.attachable,
            ingress: self.spec.ingress,
            labels: self.spec.labels.clone(),
            options: self.spec.options.clone(),
        })
    }
}

/// Where one address of an overlay network lives.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct OverlayPeer {
    /// In which.
    pub network: NetworkId,
    /// A container's. One with two families is two peers of one `mac`.
    pub address: IpAddr,
    /// Its interface's: [`mac_of`] its IPv4 address, or of its IPv6 address where it has no other. On the ingress network
    /// its node's stands in its place.
    pub mac: [u8; 6],
    /// The node's address that VXLAN is sent to.
    pub node: IpAddr,
}

/// A node of the cluster, this one too.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct OverlayNode {
    /// Where it takes VXLAN, and from where it sends it.
    pub underlay: IpAddr,
    /// Its hardware address on the ingress network: [`node_mac`].
    pub mac: [u8; 6],
}

/// What a service's name means on one network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OverlayService {
    /// On which.
    pub network: NetworkId,
    /// Its name.
    pub name: String,
    /// Further names of it there.
    pub aliases: Vec<String>,
    /// The one address that stands for all tasks; `None`: its name means the tasks' addresses (`dnsrr`).
    pub vip: Option<IpAddr>,
    /// The tasks that take traffic: name, and address there.
    pub tasks: Vec<(String, IpAddr)>,
}

/// A task behind a published port.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct MeshTarget {
    /// Its address on the ingress network.
    pub address: IpAddr,
    /// It keeps what it has and gets nothing new. One that has stopped is not told of at all.
    pub draining: bool,
}

/// A published port, answered by every node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MeshPort {
    /// Published on each node.
    pub port: u16,
    /// TCP, UDP or SCTP.
    pub protocol: Protocol,
    /// The tasks' own.
    pub target_port: u16,
    /// Those that run, in any order.
    pub targets: Vec<MeshTarget>,
}

impl MeshPort {
    /// The port on the nodes, `8080/tcp`.
    pub fn published(&self) -> Port {
        Port { number: self.port, protocol: self.protocol }
    }
}

/// This node's own place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OverlayPlace {
    /// Where it takes VXLAN, and from where it sends it.
    pub underlay: IpAddr,
    /// Its hardware address on the ingress network: [`node_mac`].
    pub mac: [u8; 6],
    /// Its own addresses on the ingress network, at most one of a family: what clients that cannot keep theirs get.
    /// Empty: this node answers no published ports.
    pub ingress: Vec<IpAddr>,
}

/// All of it. Applied as a whole; the same again changes nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OverlayState {
    /// This node.
    pub place: OverlayPlace,
    /// The UDP port of VXLAN, of all nodes.
    pub data_path_port: u16,
    /// All nodes of the cluster: from others no VXLAN is taken.
    pub members: Vec<OverlayNode>,
    /// Those that this node has containers in, or all.
    pub networks: Vec<OverlaySpec>,
    /// Containers in these networks, here and elsewhere.
    pub peers: Vec<OverlayPeer>,
    /// Names on these networks.
    pub services: Vec<OverlayService>,
    /// Published ports.
    pub mesh: Vec<MeshPort>,
}

/// The hardware address of a container that has `address`: `02:42` and its last four bytes, as on bridges.
pub fn mac_of(address: IpAddr) -> [u8; 6] {
    let [a, b, c, d] = match address {
        IpAddr::V4(ip) => ip.octets(),
        IpAddr::V6(ip) => {
            let o = ip.octets();
            [o[12], o[13], o[14], o[15]]
        }
    };
    [0x02, 0x42, a, b, c, d]
}

/// The hardware address of a node on the ingress network, by its id (FNV-1a, 40 bits of it). Its last 31 bits tell nodes
/// apart: of 10,000 nodes, two share them in one cluster of forty.
pub fn node_mac(id: &str) -> [u8; 6] {
    let hash = id
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    let [_, _, _, a, b, c, d, e] = (hash ^ hash >> 40).to_be_bytes();
    [0x02, a, b, c, d, e]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nodes_hardware_address_is_local_unicast_and_its_own() {
        let (a, b) = (node_mac("p3x8ll0wq2"), node_mac("p3x8ll0wq3"));
        assert_ne!(a[2..], b[2..]);
        assert_eq!(a, node_mac("p3x8ll0wq2"), "by the id alone");
        assert_eq!(a[0] & 3, 2);
    }
}
