//! Routes. Numbers are those of `linux/rtnetlink.h`.

use super::{
    address::{AF_INET, AF_INET6, family, from_octets, octets},
    message::{Attributes, CREATE, Message, REPLACE},
    socket::{Refused, Socket},
};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

const RTM_NEWROUTE: u16 = 24;
const RTM_DELROUTE: u16 = 25;
const RTM_GETROUTE: u16 = 26;

const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const RTA_PRIORITY: u16 = 6;
const RTA_PREFERRED_SOURCE: u16 = 7;
const RTA_TABLE: u16 = 15;

const RT_TABLE_MAIN: u8 = 254;
const RTPROT_BOOT: u8 = 3;
const RT_SCOPE_UNIVERSE: u8 = 0;
const RT_SCOPE_LINK: u8 = 253;
const RTN_UNICAST: u8 = 1;
const RTN_UNREACHABLE: u8 = 7;
/// `RTNH_F_ONLINK`: the gateway is there, whatever other routes say.
const ON_LINK: u8 = 4;
/// `IP6_RT_PRIO_ADDRCONF`.
const SUBNET_PRIORITY: u32 = 256;

/// A way to a range of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// Where to; the unspecified address with prefix 0 is the default route.
    pub destination: IpAddr,
    /// 0 to 32 or 128.
    pub prefix: u8,
    /// By whom; `None`: directly.
    pub gateway: Option<IpAddr>,
    /// By which link.
    pub link: Option<u32>,
}

impl Route {
    /// The default route by a gateway.
    pub fn default_by(gateway: IpAddr, link: u32) -> Self {
        let destination = match gateway {
            IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        };
        Self { destination, prefix: 0, gateway: Some(gateway), link: Some(link) }
    }
}

fn message(kind: u16, flags: u16, route: &Route) -> Message {
    full_message(kind, flags, route, RTN_UNICAST, 0)
}

fn full_message(kind: u16, flags: u16, route: &Route, sort: u8, own_flags: u8) -> Message {
    let mut message = Message::new(kind, flags);
    let scope = if sort == RTN_UNICAST && route.gateway.is_none() && route.destination.is_ipv4() {
        RT_SCOPE_LINK
    } else {
        RT_SCOPE_UNIVERSE
    };
    // `struct rtmsg`: family, prefixes, tos, table, protocol, scope, type, flags.
    let head = [
        family(route.destination),
        route.prefix,
        0,
        0,
        RT_TABLE_MAIN,
        RTPROT_BOOT,
        scope,
        sort,
        own_flags,
        0,
        0,
        0,
    ];
    message.put(&head);
    if route.prefix != 0 {
        message.attr(RTA_DST, &octets(route.destination));
    }
    if let Some(gateway) = route.gateway {
        message.attr(RTA_GATEWAY, &octets(gateway));
    }
    if let Some(link) = route.link {
        message.attr_u32(RTA_OIF, link);
    }
    message
}

/// Adds a route; one that leads to the same place takes its stead.
pub fn add_route(socket: &mut Socket, route: &Route) -> Result<(), Refused> {
    socket.request(message(RTM_NEWROUTE, CREATE | REPLACE, route))
}

/// The same in another table than the main one. A gateway need not be in reach of any other route. Who does not say from
/// which address it sends gets `source`.
pub fn add_route_in(
    socket: &mut Socket,
    table: u32,
    route: &Route,
    source: Option<IpAddr>,
) -> Result<(), Refused> {
    let own_flags = if route.gateway.is_some() { ON_LINK } else { 0 };
    let mut message = full_message(RTM_NEWROUTE, CREATE | REPLACE, route, RTN_UNICAST, own_flags);
    message.attr_u32(RTA_TABLE, table);
    if route.prefix != 0 && route.destination.is_ipv6() {
        // As the kernel's own route to an interface's subnet, so that one takes the other's place.
        message.attr_u32(RTA_PRIORITY, SUBNET_PRIORITY);
    }
    if let Some(source) = source {
        message.attr(RTA_PREFERRED_SOURCE, &octets(source));
    }
    socket.request(message)
}

/// Who sends to this range is told at once that nobody is there, unless a narrower route knows better.
pub fn add_unreachable(socket: &mut Socket, destination: IpAddr, prefix: u8) -> Result<(), Refused> {
    let route = Route { destination, prefix, gateway: None, link: None };
    socket.request(full_message(RTM_NEWROUTE, CREATE | REPLACE, &route, RTN_UNREACHABLE, 0))
}

/// Takes a route away.
pub fn remove_route(socket: &mut Socket, route: &Route) -> Result<(), Refused> {
    socket.request(message(RTM_DELROUTE, 0, route))
}

/// The unicast routes of both families in the main table.
pub fn routes(socket: &mut Socket) -> Result<Vec<Route>, Refused> {
    let mut found = Vec::new();
    for family in [AF_INET, AF_INET6] {
        let mut message = Message::new(RTM_GETROUTE, 0);
        message.put(&[family, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        let replies = match socket.dump(message) {
            Ok(replies) => replies,
            // A kernel without IPv6.
            Err(refused) if family == AF_INET6 && refused.is(rustix::io::Errno::OPNOTSUPP) => continue,
            Err(refused) => return Err(refused),
        };
        found.extend(replies.iter().filter(|r| r.kind == RTM_NEWROUTE).filter_map(|r| parse(&r.body)));
    }
    Ok(found)
}

fn parse(body: &[u8]) -> Option<Route> {
    let (family, prefix, table, kind) = (*body.first()?, *body.get(1)?, *body.get(4)?, *body.get(7)?);
    if table != RT_TABLE_MAIN || kind != RTN_UNICAST {
        return None;
    }
    let attributes = Attributes::after(body, 12);
    let destination = match attributes.get(RTA_DST) {
        Some(bytes) => from_octets(bytes)?,
        None if family == AF_INET => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        None => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    let gateway = attributes.get(RTA_GATEWAY).and_then(from_octets);
    Some(Route { destination, prefix, gateway, link: attributes.u32(RTA_OIF) })
}
