//! VXLAN devices (RFC 7348), and bridge ports whose forwarding is told, not learnt.
//!
//! Numbers are those of `linux/if_link.h`.

use super::{
    address::octets,
    link::{self, IFLA_IFNAME, IFLA_INFO_DATA, IFLA_INFO_KIND, IFLA_LINKINFO, IFLA_MTU, IFLA_NET_NS_FD},
    message::{Attributes, CREATE, EXCLUSIVE, Message, u32_at},
    socket::{Refused, Socket},
};
use rustix::fd::{AsRawFd, BorrowedFd};
use std::net::IpAddr;

const IFLA_MASTER: u16 = 10;
const IFLA_INFO_SLAVE_KIND: u16 = 4;
const IFLA_INFO_SLAVE_DATA: u16 = 5;
const IFLA_BRPORT_LEARNING: u16 = 8;
const IFLA_BRPORT_UNICAST_FLOOD: u16 = 9;

const IFLA_VXLAN_ID: u16 = 1;
const IFLA_VXLAN_LOCAL: u16 = 4;
const IFLA_VXLAN_LEARNING: u16 = 7;
const IFLA_VXLAN_PROXY: u16 = 11;
const IFLA_VXLAN_PORT: u16 = 15;
const IFLA_VXLAN_LOCAL6: u16 = 17;

/// A VXLAN device to make: its packets travel in the socket's namespace, it stands in another.
#[derive(Clone, Debug)]
pub struct Vxlan<'a> {
    /// Its name there.
    pub name: &'a str,
    /// Where "there" is.
    pub namespace: BorrowedFd<'a>,
    /// The network's number, 24 bits.
    pub vni: u32,
    /// The address that its packets come from.
    pub local: IpAddr,
    /// UDP.
    pub port: u16,
    /// Bytes of a packet inside; 0 is the kernel's default.
    pub mtu: u32,
}

/// A VXLAN device that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VxlanInfo {
    /// Its number.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// The network's number.
    pub vni: u32,
    /// The address that its packets come from.
    pub local: Option<IpAddr>,
    /// UDP.
    pub port: u16,
    /// The bridge it belongs to.
    pub master: Option<u32>,
    /// Bytes of a packet inside.
    pub mtu: u32,
}

/// Makes one, off. It learns nothing and answers who asks for neighbours by its own table. `EXIST` when the network's
/// number and port are taken in this namespace.
pub fn create_vxlan(socket: &mut Socket, vxlan: &Vxlan<'_>) -> Result<(), Refused> {
    let mut message = Message::new(link::RTM_NEWLINK, CREATE | EXCLUSIVE);
    message.put(&link::header(0, 0, 0, 0)).attr_str(IFLA_IFNAME, vxlan.name);
    message.attr_u32(IFLA_NET_NS_FD, vxlan.namespace.as_raw_fd() as u32);
    if vxlan.mtu != 0 {
        message.attr_u32(IFLA_MTU, vxlan.mtu);
    }
    message.nest(IFLA_LINKINFO, |m| {
        m.attr_str(IFLA_INFO_KIND, "vxlan").nest(IFLA_INFO_DATA, |m| {
            let local = if vxlan.local.is_ipv4() { IFLA_VXLAN_LOCAL } else { IFLA_VXLAN_LOCAL6 };
            m.attr_u32(IFLA_VXLAN_ID, vxlan.vni).attr(local, &octets(vxlan.local));
            m.attr_u8(IFLA_VXLAN_LEARNING, 0).attr_u8(IFLA_VXLAN_PROXY, 1);
            m.attr(IFLA_VXLAN_PORT, &vxlan.port.to_be_bytes());
        });
    });
    socket.request(message)
}

/// Puts a link into a bridge as a port that learns nothing and gets nothing that no entry sends there, and switches it on.
pub fn join_static(socket: &mut Socket, index: u32, bridge: u32) -> Result<(), Refused> {
    let mut message = Message::new(link::RTM_NEWLINK, 0);
    message.put(&link::header(0, index, 0, 0)).attr_u32(IFLA_MASTER, bridge);
    socket.request(message)?;
    let mut message = Message::new(link::RTM_NEWLINK, 0);
    message.put(&link::header(0, index, link::IFF_UP, link::IFF_UP)).nest(IFLA_LINKINFO, |m| {
        m.attr_str(IFLA_INFO_SLAVE_KIND, "bridge").nest(IFLA_INFO_SLAVE_DATA, |m| {
            m.attr_u8(IFLA_BRPORT_LEARNING, 0).attr_u8(IFLA_BRPORT_UNICAST_FLOOD, 0);
        });
    });
    socket.request(message)
}

/// The VXLAN devices of the socket's namespace.
pub fn vxlans(socket: &mut Socket) -> Result<Vec<VxlanInfo>, Refused> {
    let mut message = Message::new(link::RTM_GETLINK, 0);
    message.put(&link::header(0, 0, 0, 0));
    Ok(socket.dump(message)?.iter().filter_map(|reply| parse(&reply.body)).collect())
}

fn parse(body: &[u8]) -> Option<VxlanInfo> {
    let attributes = Attributes::after(body, 16);
    let info = Attributes::of(attributes.get(IFLA_LINKINFO)?);
    if info.text(IFLA_INFO_KIND)? != "vxlan" {
        return None;
    }
    let data = Attributes::of(info.get(IFLA_INFO_DATA)?);
    let local = data.get(IFLA_VXLAN_LOCAL).or_else(|| data.get(IFLA_VXLAN_LOCAL6));
    Some(VxlanInfo {
        index: u32_at(body, 4)?,
        name: attributes.text(IFLA_IFNAME)?.to_owned(),
        vni: data.u32(IFLA_VXLAN_ID)?,
        local: local.and_then(super::address::from_octets),
        port: data.get(IFLA_VXLAN_PORT).and_then(|b| b.try_into().ok()).map_or(0, u16::from_be_bytes),
        master: attributes.u32(IFLA_MASTER),
        mtu: attributes.u32(IFLA_MTU).unwrap_or(0),
    })
}
