//! Connection tracking: forgetting flows whose container is gone, so that a client's next datagram finds the new one.
//!
//! Numbers are those of `linux/netfilter/nfnetlink_conntrack.h`.

use super::{
    message::{Attributes, Message},
    socket::{Refused, Socket},
};
use rustix::io::Errno;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// `NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_…`.
const CT_NEW: u16 = 1 << 8;
const CT_GET: u16 = 1 << 8 | 1;
const CT_DELETE: u16 = 1 << 8 | 2;
const CT_GET_STATS: u16 = 1 << 8 | 5;

const CTA_STATS_GLOBAL_ENTRIES: u16 = 1;

const CTA_TUPLE_ORIG: u16 = 1;
const CTA_TUPLE_REPLY: u16 = 2;
const CTA_ID: u16 = 12;
const CTA_TUPLE_IP: u16 = 1;
const CTA_TUPLE_PROTO: u16 = 2;
const CTA_IP_V4_SRC: u16 = 1;
const CTA_IP_V4_DST: u16 = 2;
const CTA_IP_V6_SRC: u16 = 3;
const CTA_IP_V6_DST: u16 = 4;
const CTA_PROTO_NUM: u16 = 1;
const CTA_PROTO_DST_PORT: u16 = 3;

/// What is known of a tracked flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flow {
    /// Who began it.
    pub source: IpAddr,
    /// The address it was sent to, before any translation.
    pub destination: IpAddr,
    /// The port it was sent to, before any translation; 0 without ports.
    pub port: u16,
    /// `IPPROTO_…`
    pub protocol: u8,
    /// Who answers: the container, after translation.
    pub answerer: IpAddr,
}

/// How many flows the socket's namespace has. Cheap, where looking at them means going through all of the machine's.
fn count(socket: &mut Socket) -> Result<u32, Refused> {
    let mut message = Message::new(CT_GET_STATS, 0);
    message.put(&[0, 0, 0, 0]);
    let reply = socket.get(message)?;
    Ok(Attributes::after(&reply.body, 4).be32(CTA_STATS_GLOBAL_ENTRIES).unwrap_or(u32::MAX))
}

/// Forgets every flow that `which` picks; returns how many. Flows that ended meanwhile are no error.
pub fn forget_flows(socket: &mut Socket, which: impl Fn(&Flow) -> bool) -> Result<usize, Refused> {
    // An old kernel that does not tell may have some.
    if count(socket).unwrap_or(u32::MAX) == 0 {
        return Ok(0);
    }
    let mut forgotten = 0;
    let mut message = Message::new(CT_GET, 0);
    // Of all families at once.
    message.put(&[0, 0, 0, 0]);
    for reply in socket.dump(message)? {
        let attributes = Attributes::after(&reply.body, 4);
        let (Some(flow), Some(tuple)) = (parse(attributes), attributes.get(CTA_TUPLE_ORIG)) else {
            continue;
        };
        if reply.kind != CT_NEW || !which(&flow) {
            continue;
        }
        let mut message = Message::new(CT_DELETE, 0);
        message.put(&[super::address::family(flow.source), 0, 0, 0]).nest(CTA_TUPLE_ORIG, |m| {
            m.put(tuple);
        });
        if let Some(id) = attributes.get(CTA_ID) {
            message.attr(CTA_ID, id);
        }
        match socket.request(message) {
            Ok(()) => forgotten += 1,
            Err(refused) if refused.is(Errno::NOENT) => {}
            Err(refused) => return Err(refused),
        }
    }
    Ok(forgotten)
}

fn parse(attributes: Attributes<'_>) -> Option<Flow> {
    let original = Attributes::of(attributes.get(CTA_TUPLE_ORIG)?);
    let reply = Attributes::of(attributes.get(CTA_TUPLE_REPLY)?);
    let protocol = Attributes::of(original.get(CTA_TUPLE_PROTO)?);
    let port = protocol.get(CTA_PROTO_DST_PORT).and_then(|b| b.try_into().ok()).map_or(0, u16::from_be_bytes);
    Some(Flow {
        source: address(original, CTA_IP_V4_SRC, CTA_IP_V6_SRC)?,
        destination: address(original, CTA_IP_V4_DST, CTA_IP_V6_DST)?,
        port,
        protocol: *protocol.get(CTA_PROTO_NUM)?.first()?,
        answerer: address(reply, CTA_IP_V4_SRC, CTA_IP_V6_SRC)?,
    })
}

fn address(tuple: Attributes<'_>, v4: u16, v6: u16) -> Option<IpAddr> {
    let ip = Attributes::of(tuple.get(CTA_TUPLE_IP)?);
    if let Some(bytes) = ip.get(v4) {
        return Some(IpAddr::V4(Ipv4Addr::from(<[u8; 4]>::try_from(bytes).ok()?)));
    }
    Some(IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(ip.get(v6)?).ok()?)))
}
