//! Addresses of links. Numbers are those of `linux/if_addr.h`.

use super::{
    message::{Attributes, CREATE, EXCLUSIVE, Message, u32_at},
    socket::{Refused, Socket},
};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

const RTM_NEWADDR: u16 = 20;
const RTM_DELADDR: u16 = 21;
const RTM_GETADDR: u16 = 22;

const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_BROADCAST: u16 = 4;
/// `IFA_F_NODAD`: no wait for a duplicate's answer.
const NO_DAD: u8 = 0x02;

pub(super) const AF_INET: u8 = 2;
pub(super) const AF_INET6: u8 = 10;

/// One address of one link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address {
    /// Of which.
    pub link: u32,
    /// The address itself.
    pub ip: IpAddr,
    /// 0 to 32 or 128.
    pub prefix: u8,
}

/// The bytes of an address.
pub(super) fn octets(ip: IpAddr) -> Vec<u8> {
    match ip {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    }
}

/// An address from 4 or 16 bytes.
pub(super) fn from_octets(bytes: &[u8]) -> Option<IpAddr> {
    if let Ok(bytes) = <[u8; 4]>::try_from(bytes) {
        return Some(IpAddr::V4(Ipv4Addr::from(bytes)));
    }
    Some(IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?)))
}

pub(super) fn family(ip: IpAddr) -> u8 {
    if ip.is_ipv4() { AF_INET } else { AF_INET6 }
}

fn message(kind: u16, flags: u16, address: &Address) -> Message {
    let mut message = Message::new(kind, flags);
    let own_flags = if address.ip.is_ipv6() { NO_DAD } else { 0 };
    let [a, b, c, d] = address.link.to_ne_bytes();
    // `struct ifaddrmsg`: family, prefix, flags, scope (universe), index.
    message.put(&[family(address.ip), address.prefix, own_flags, 0, a, b, c, d]);
    let bytes = octets(address.ip);
    message.attr(IFA_LOCAL, &bytes).attr(IFA_ADDRESS, &bytes);
    if let (IpAddr::V4(ip), 0..=30) = (address.ip, address.prefix) {
        message.attr(IFA_BROADCAST, &(u32::from(ip) | u32::MAX >> address.prefix).to_be_bytes());
    }
    message
}

/// Gives a link an address, without duplicate detection. `EXIST` when it has it.
pub fn add_address(socket: &mut Socket, address: &Address) -> Result<(), Refused> {
    socket.request(message(RTM_NEWADDR, CREATE | EXCLUSIVE, address))
}

/// Takes an address from a link.
pub fn remove_address(socket: &mut Socket, address: &Address) -> Result<(), Refused> {
    socket.request(message(RTM_DELADDR, 0, address))
}

/// All addresses of the socket's namespace.
pub fn addresses(socket: &mut Socket) -> Result<Vec<Address>, Refused> {
    let mut message = Message::new(RTM_GETADDR, 0);
    message.put(&[0; 8]);
    let replies = socket.dump(message)?;
    let parse = |body: &[u8]| {
        let attributes = Attributes::after(body, 8);
        let bytes = attributes.get(IFA_LOCAL).or_else(|| attributes.get(IFA_ADDRESS))?;
        Some(Address { link: u32_at(body, 4)?, ip: from_octets(bytes)?, prefix: *body.get(1)? })
    };
    Ok(replies.iter().filter(|r| r.kind == RTM_NEWADDR).filter_map(|r| parse(&r.body)).collect())
}
