//! Links: bridges, veth pairs, macvlans, and what can be changed of any.
//!
//! Numbers are those of `linux/if_link.h` and `linux/rtnetlink.h`.

use super::{
    message::{Attributes, CREATE, EXCLUSIVE, Message, u16_at, u32_at},
    socket::{Refused, Reply, Socket},
};
use rustix::{
    fd::{AsRawFd, BorrowedFd},
    io::Errno,
};

pub(super) const RTM_NEWLINK: u16 = 16;
const RTM_DELLINK: u16 = 17;
pub(super) const RTM_GETLINK: u16 = 18;

const IFLA_ADDRESS: u16 = 1;
pub(super) const IFLA_IFNAME: u16 = 3;
pub(super) const IFLA_MTU: u16 = 4;
const IFLA_LINK: u16 = 5;
const IFLA_MASTER: u16 = 10;
pub(super) const IFLA_LINKINFO: u16 = 18;
pub(super) const IFLA_NET_NS_FD: u16 = 28;

pub(super) const IFLA_INFO_KIND: u16 = 1;
pub(super) const IFLA_INFO_DATA: u16 = 2;
const IFLA_INFO_SLAVE_KIND: u16 = 4;
const IFLA_INFO_SLAVE_DATA: u16 = 5;
const VETH_INFO_PEER: u16 = 1;
const IFLA_MACVLAN_MODE: u16 = 1;
const IFLA_BRPORT_MODE: u16 = 4;
const IFLA_BRPORT_ISOLATED: u16 = 33;

pub(super) const IFF_UP: u32 = 1;

/// A network interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Its number in this namespace.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Whether it is switched on.
    pub up: bool,
    /// The bridge it belongs to.
    pub master: Option<u32>,
    /// `bridge`, `veth`, …; empty for hardware.
    pub kind: String,
    /// Six bytes for ethernet.
    pub address: Vec<u8>,
    /// Bytes of a packet.
    pub mtu: u32,
}

/// A bridge to make.
#[derive(Clone, Debug)]
pub struct Bridge<'a> {
    /// At most 15 bytes.
    pub name: &'a str,
    /// Bytes of a packet; 0 is the kernel's default.
    pub mtu: u32,
    /// Six bytes. Given, so that it does not change with the first port.
    pub address: [u8; 6],
}

/// A pair of interfaces to make: one here, its peer in another namespace.
#[derive(Clone, Debug)]
pub struct Veth<'a> {
    /// The end here.
    pub name: &'a str,
    /// The bridge that it is a port of.
    pub master: Option<u32>,
    /// The other end's name there.
    pub peer: &'a str,
    /// Where "there" is.
    pub namespace: BorrowedFd<'a>,
    /// The other end's address.
    pub peer_address: Option<[u8; 6]>,
    /// Bytes of a packet, both ends; 0 is the kernel's default.
    pub mtu: u32,
}

/// How macvlans of one parent reach each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MacvlanMode {
    /// Not at all.
    Private,
    /// By the switch outside.
    Vepa,
    /// Directly.
    Bridge,
    /// One macvlan has the parent for itself.
    Passthru,
}

/// A macvlan to make in another namespace.
#[derive(Clone, Debug)]
pub struct Macvlan<'a> {
    /// Its name there.
    pub name: &'a str,
    /// The parent here.
    pub parent: u32,
    /// How it reaches its siblings.
    pub mode: MacvlanMode,
    /// Where "there" is.
    pub namespace: BorrowedFd<'a>,
    /// Its address.
    pub address: Option<[u8; 6]>,
    /// Bytes of a packet; 0 is the parent's.
    pub mtu: u32,
}

/// What to change of a link.
#[derive(Clone, Debug, Default)]
pub struct LinkChange<'a> {
    /// On or off.
    pub up: Option<bool>,
    /// A new name; only while it is off, on old kernels.
    pub name: Option<&'a str>,
    /// Bytes of a packet.
    pub mtu: Option<u32>,
    /// The bridge it shall belong to; 0 takes it out.
    pub master: Option<u32>,
}

/// `struct ifinfomsg`.
pub(super) fn header(family: u8, index: u32, flags: u32, change: u32) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[0] = family;
    bytes[4..8].copy_from_slice(&index.to_ne_bytes());
    bytes[8..12].copy_from_slice(&flags.to_ne_bytes());
    bytes[12..16].copy_from_slice(&change.to_ne_bytes());
    bytes
}

/// Makes a bridge, switched on. `EXIST` when the name is taken.
pub fn create_bridge(socket: &mut Socket, bridge: &Bridge<'_>) -> Result<(), Refused> {
    socket.request(bridge_message(bridge))
}

fn bridge_message(bridge: &Bridge<'_>) -> Message {
    let mut message = Message::new(RTM_NEWLINK, CREATE | EXCLUSIVE);
    message.put(&header(0, 0, IFF_UP, IFF_UP)).attr_str(IFLA_IFNAME, bridge.name);
    message.attr(IFLA_ADDRESS, &bridge.address);
    if bridge.mtu != 0 {
        message.attr_u32(IFLA_MTU, bridge.mtu);
    }
    message.nest(IFLA_LINKINFO, |m| {
        m.attr_str(IFLA_INFO_KIND, "bridge");
    });
    message
}

/// Makes a veth pair in one request: the end here is a port of its bridge and switched on; the end there has its final
/// name and is off, so that it can be set up before the first packet. (The kernel refuses to switch it on at once.)
pub fn create_veth(socket: &mut Socket, veth: &Veth<'_>) -> Result<(), Refused> {
    let mut message = Message::new(RTM_NEWLINK, CREATE | EXCLUSIVE);
    message.put(&header(0, 0, IFF_UP, IFF_UP)).attr_str(IFLA_IFNAME, veth.name);
    if veth.mtu != 0 {
        message.attr_u32(IFLA_MTU, veth.mtu);
    }
    if let Some(master) = veth.master {
        message.attr_u32(IFLA_MASTER, master);
    }
    message.nest(IFLA_LINKINFO, |m| {
        m.attr_str(IFLA_INFO_KIND, "veth").nest(IFLA_INFO_DATA, |m| {
            m.nest(VETH_INFO_PEER, |m| {
                m.put(&header(0, 0, 0, 0)).attr_str(IFLA_IFNAME, veth.peer);
                m.attr_u32(IFLA_NET_NS_FD, veth.namespace.as_raw_fd() as u32);
                if let Some(address) = veth.peer_address {
                    m.attr(IFLA_ADDRESS, &address);
                }
                if veth.mtu != 0 {
                    m.attr_u32(IFLA_MTU, veth.mtu);
                }
            });
        });
    });
    socket.request(message)
}

/// Makes a macvlan directly in its namespace, switched off.
pub fn create_macvlan(socket: &mut Socket, macvlan: &Macvlan<'_>) -> Result<(), Refused> {
    let mode: u32 = match macvlan.mode {
        MacvlanMode::Private => 1,
        MacvlanMode::Vepa => 2,
        MacvlanMode::Bridge => 4,
        MacvlanMode::Passthru => 8,
    };
    let mut message = Message::new(RTM_NEWLINK, CREATE | EXCLUSIVE);
    message.put(&header(0, 0, 0, 0)).attr_str(IFLA_IFNAME, macvlan.name).attr_u32(IFLA_LINK, macvlan.parent);
    message.attr_u32(IFLA_NET_NS_FD, macvlan.namespace.as_raw_fd() as u32);
    if let Some(address) = macvlan.address {
        message.attr(IFLA_ADDRESS, &address);
    }
    if macvlan.mtu != 0 {
        message.attr_u32(IFLA_MTU, macvlan.mtu);
    }
    message.nest(IFLA_LINKINFO, |m| {
        m.attr_str(IFLA_INFO_KIND, "macvlan").nest(IFLA_INFO_DATA, |m| {
            m.attr_u32(IFLA_MACVLAN_MODE, mode);
        });
    });
    socket.request(message)
}

/// Changes a link.
pub fn set_link(socket: &mut Socket, index: u32, change: &LinkChange<'_>) -> Result<(), Refused> {
    let mut message = Message::new(RTM_NEWLINK, 0);
    let (flags, mask) = match change.up {
        Some(up) => (if up { IFF_UP } else { 0 }, IFF_UP),
        None => (0, 0),
    };
    message.put(&header(0, index, flags, mask));
    if let Some(name) = change.name {
        message.attr_str(IFLA_IFNAME, name);
    }
    if let Some(mtu) = change.mtu {
        message.attr_u32(IFLA_MTU, mtu);
    }
    if let Some(master) = change.master {
        message.attr_u32(IFLA_MASTER, master);
    }
    socket.request(message)
}

/// Gives a link another hardware address.
pub fn set_address(socket: &mut Socket, index: u32, address: [u8; 6]) -> Result<(), Refused> {
    let mut message = Message::new(RTM_NEWLINK, 0);
    message.put(&header(0, index, 0, 0)).attr(IFLA_ADDRESS, &address);
    socket.request(message)
}

/// How a bridge treats one of its ports.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BridgePort {
    /// Isolated ports of a bridge reach its other ports, but not each other.
    pub isolated: bool,
    /// Frames may leave by the port that they came by.
    pub hairpin: bool,
}

/// Sets how a bridge treats the port of a name.
pub fn set_bridge_port(socket: &mut Socket, name: &str, port: BridgePort) -> Result<(), Refused> {
    let mut message = Message::new(RTM_NEWLINK, 0);
    message.put(&header(0, 0, 0, 0)).attr_str(IFLA_IFNAME, name).nest(IFLA_LINKINFO, |m| {
        m.attr_str(IFLA_INFO_SLAVE_KIND, "bridge").nest(IFLA_INFO_SLAVE_DATA, |m| {
            m.attr_u8(IFLA_BRPORT_MODE, port.hairpin as u8)
                .attr_u8(IFLA_BRPORT_ISOLATED, port.isolated as u8);
        });
    });
    socket.request(message)
}

/// Takes a link away.
pub fn remove_link(socket: &mut Socket, index: u32) -> Result<(), Refused> {
    let mut message = Message::new(RTM_DELLINK, 0);
    message.put(&header(0, index, 0, 0));
    socket.request(message)
}

/// The link of a name; `None` when there is none.
pub fn link_by_name(socket: &mut Socket, name: &str) -> Result<Option<Link>, Refused> {
    let mut message = Message::new(RTM_GETLINK, 0);
    message.put(&header(0, 0, 0, 0)).attr_str(IFLA_IFNAME, name);
    match socket.get(message) {
        Ok(reply) => Ok(parse(&reply)),
        Err(refused) if refused.is(Errno::NODEV) => Ok(None),
        Err(refused) => Err(refused),
    }
}

/// The number of a link; `None` when there is none of that name. Much cheaper than [`link_by_name`].
pub fn link_index(socket: &Socket, name: &str) -> Result<Option<u32>, Refused> {
    match rustix::net::netdevice::name_to_index(socket, name) {
        Ok(index) => Ok(Some(index)),
        Err(Errno::NODEV) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

/// All links of the socket's namespace.
pub fn links(socket: &mut Socket) -> Result<Vec<Link>, Refused> {
    let mut message = Message::new(RTM_GETLINK, 0);
    message.put(&header(0, 0, 0, 0));
    Ok(socket.dump(message)?.iter().filter_map(parse).collect())
}

fn parse(reply: &Reply) -> Option<Link> {
    if reply.kind != RTM_NEWLINK {
        return None;
    }
    let attributes = Attributes::after(&reply.body, 16);
    let info = attributes.get(IFLA_LINKINFO).map(Attributes::of);
    Some(Link {
        index: u32_at(&reply.body, 4)?,
        name: attributes.text(IFLA_IFNAME)?.to_owned(),
        up: u16_at(&reply.body, 8)? as u32 & IFF_UP != 0,
        master: attributes.u32(IFLA_MASTER),
        kind: info.and_then(|i| i.text(IFLA_INFO_KIND)).unwrap_or_default().to_owned(),
        address: attributes.get(IFLA_ADDRESS).unwrap_or_default().to_vec(),
        mtu: attributes.u32(IFLA_MTU).unwrap_or(0),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netlink::{self, Address, Family, Route, new_namespace, within};
    use std::os::fd::AsFd;

    #[test]
    fn a_pair_is_made_with_its_far_end_in_place_and_found_again() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let (here, there) = (new_namespace().unwrap(), new_namespace().unwrap());
        within(here.as_fd(), || {
            let mut socket = Socket::open(Family::Route).unwrap();
            let bridge = Bridge { name: "br0", mtu: 1400, address: [2, 0x42, 1, 2, 3, 4] };
            create_bridge(&mut socket, &bridge).unwrap();
            assert_eq!(create_bridge(&mut socket, &bridge).unwrap_err().errno, Errno::EXIST);
            let link = link_by_name(&mut socket, "br0").unwrap().unwrap();
            assert_eq!((link.kind.as_str(), link.up, link.mtu), ("bridge", true, 1400));
            assert_eq!(link.address, bridge.address);
            let veth = Veth {
                name: "veth0",
                master: Some(link.index),
                peer: "eth0",
                namespace: there.as_fd(),
                peer_address: Some([2, 0x42, 9, 9, 9, 9]),
                mtu: 1400,
            };
            create_veth(&mut socket, &veth).unwrap();
            set_bridge_port(&mut socket, "veth0", BridgePort { isolated: true, hairpin: true }).unwrap();
            let own = links(&mut socket).unwrap();
            assert_eq!(own.iter().find(|l| l.name == "veth0").unwrap().master, Some(link.index));
            assert_eq!(link_index(&socket, "br0").unwrap(), Some(link.index));
            assert_eq!(
                (link_index(&socket, "none").unwrap(), link_by_name(&mut socket, "none").unwrap()),
                (None, None)
            );
            remove_link(&mut socket, link.index).unwrap();
        })
        .unwrap();
        within(there.as_fd(), || {
            let mut socket = Socket::open(Family::Route).unwrap();
            let link = link_by_name(&mut socket, "eth0").unwrap().unwrap();
            assert_eq!(
                (link.up, link.address.as_slice(), link.mtu),
                (false, &[2, 0x42, 9, 9, 9, 9][..], 1400)
            );
            let address = Address { link: link.index, ip: "10.1.2.3".parse().unwrap(), prefix: 24 };
            netlink::add_address(&mut socket, &address).unwrap();
            assert_eq!(netlink::add_address(&mut socket, &address).unwrap_err().errno, Errno::EXIST);
            set_link(&mut socket, link.index, &LinkChange { up: Some(true), ..Default::default() }).unwrap();
            let way_out = Route::default_by("10.1.2.1".parse().unwrap(), link.index);
            netlink::add_route(&mut socket, &way_out).unwrap();
            assert!(netlink::addresses(&mut socket).unwrap().contains(&address));
            let routes = netlink::routes(&mut socket).unwrap();
            assert!(routes.contains(&way_out) && routes.iter().any(|r| r.prefix == 24), "{routes:?}");
            netlink::remove_route(&mut socket, &way_out).unwrap();
            netlink::remove_address(&mut socket, &address).unwrap();
            let bad = Route::default_by("192.0.2.1".parse().unwrap(), link.index);
            let refused = netlink::add_route(&mut socket, &bad).unwrap_err();
            assert!(refused.to_string().contains("gateway"), "the kernel's own sentence is kept: {refused}");
        })
        .unwrap();
    }
}
