//! Who is where, told and not learnt: forwarding entries of VXLAN devices and bridges, and hardware addresses of
//! neighbours.
//!
//! Numbers are those of `linux/neighbour.h`.

use super::{
    address::{AF_INET, AF_INET6, family, from_octets, octets},
    message::{Attributes, CREATE, Message, REPLACE, u16_at, u32_at},
    socket::{Refused, Socket},
};
use std::net::IpAddr;

const RTM_NEWNEIGH: u16 = 28;
const RTM_DELNEIGH: u16 = 29;
const RTM_GETNEIGH: u16 = 30;

const NDA_DST: u16 = 1;
const NDA_LLADDR: u16 = 2;
const NDA_MASTER: u16 = 9;

const NTF_SELF: u8 = 0x02;
const NTF_MASTER: u8 = 0x04;

/// A bridge's "static, and not its own".
const NUD_NOARP: u16 = 0x40;
const NUD_PERMANENT: u16 = 0x80;

const AF_BRIDGE: u8 = 7;

/// An entry that stays until it is taken away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Neighbour {
    /// A VXLAN device sends what goes to `mac` to the node `to`.
    Remote {
        /// The device.
        link: u32,
        /// Whose.
        mac: [u8; 6],
        /// Below.
        to: IpAddr,
    },
    /// A bridge sends what goes to `mac` by its port `link`.
    Port {
        /// The port.
        link: u32,
        /// Whose.
        mac: [u8; 6],
    },
    /// `address` has `mac`, on `link`.
    Address {
        /// On which.
        link: u32,
        /// Whose.
        address: IpAddr,
        /// Its hardware address.
        mac: [u8; 6],
    },
}

fn message(kind: u16, flags: u16, entry: &Neighbour) -> Message {
    let mut message = Message::new(kind, flags);
    let (family, link, state, own) = match *entry {
        Neighbour::Remote { link, .. } => (AF_BRIDGE, link, NUD_PERMANENT, NTF_SELF),
        Neighbour::Port { link, .. } => (AF_BRIDGE, link, NUD_NOARP, NTF_MASTER),
        Neighbour::Address { link, address, .. } => (family(address), link, NUD_PERMANENT, 0),
    };
    let ([a, b, c, d], [e, f]) = (link.to_ne_bytes(), state.to_ne_bytes());
    // `struct ndmsg`: family, padding, index, state, flags, type.
    message.put(&[family, 0, 0, 0, a, b, c, d, e, f, own, 0]);
    match *entry {
        Neighbour::Remote { mac, to, .. } => message.attr(NDA_LLADDR, &mac).attr(NDA_DST, &octets(to)),
        Neighbour::Port { mac, .. } => message.attr(NDA_LLADDR, &mac),
        Neighbour::Address { address, mac, .. } => {
            message.attr(NDA_DST, &octets(address)).attr(NDA_LLADDR, &mac)
        }
    };
    message
}

/// Puts an entry in; it takes the place of one for the same.
pub fn add_neighbour(socket: &mut Socket, entry: &Neighbour) -> Result<(), Refused> {
    socket.request(message(RTM_NEWNEIGH, CREATE | REPLACE, entry))
}

/// Takes an entry away.
pub fn remove_neighbour(socket: &mut Socket, entry: &Neighbour) -> Result<(), Refused> {
    socket.request(message(RTM_DELNEIGH, 0, entry))
}

/// All such entries of the socket's namespace.
pub fn neighbours(socket: &mut Socket) -> Result<Vec<Neighbour>, Refused> {
    let mut found = Vec::new();
    for family in [AF_BRIDGE, AF_INET, AF_INET6] {
        let mut message = Message::new(RTM_GETNEIGH, 0);
        message.put(&[family, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        let replies = match socket.dump(message) {
            Ok(replies) => replies,
            // A kernel without IPv6.
            Err(refused) if family == AF_INET6 && refused.is(rustix::io::Errno::OPNOTSUPP) => continue,
            Err(refused) => return Err(refused),
        };
        found.extend(replies.iter().filter(|r| r.kind == RTM_NEWNEIGH).filter_map(|r| parse(&r.body)));
    }
    Ok(found)
}

fn parse(body: &[u8]) -> Option<Neighbour> {
    let (family, link, state) = (*body.first()?, u32_at(body, 4)?, u16_at(body, 8)?);
    let attributes = Attributes::after(body, 12);
    let mac: [u8; 6] = attributes.get(NDA_LLADDR)?.try_into().ok()?;
    let to = attributes.get(NDA_DST).and_then(from_octets);
    match (family, to) {
        (AF_BRIDGE, Some(to)) if state == NUD_PERMANENT && mac != [0; 6] => {
            Some(Neighbour::Remote { link, mac, to })
        }
        (AF_BRIDGE, None) if state == NUD_NOARP && attributes.get(NDA_MASTER).is_some() => {
            Some(Neighbour::Port { link, mac })
        }
        (AF_BRIDGE, _) => None,
        (_, Some(address)) if state == NUD_PERMANENT => Some(Neighbour::Address { link, address, mac }),
        _ => None,
    }
}
