//! Rules that choose a routing table. Numbers are those of `linux/fib_rules.h`.

use super::{
    address::{AF_INET, AF_INET6, family, octets},
    message::{CREATE, EXCLUSIVE, Message},
    socket::{Refused, Socket},
};
use std::net::IpAddr;

const RTM_NEWRULE: u16 = 32;
const RTM_DELRULE: u16 = 33;

const FRA_SRC: u16 = 2;
const FRA_PRIORITY: u16 = 6;
const FRA_FWMARK: u16 = 10;
const FRA_SUPPRESS_PREFIXLEN: u16 = 14;
const FRA_TABLE: u16 = 15;
const FRA_FWMASK: u16 = 16;
const FRA_IP_PROTO: u16 = 22;
const FRA_SPORT_RANGE: u16 = 23;
/// `IPPROTO_UDP`.
const UDP: u8 = 17;
/// `FR_ACT_TO_TBL`.
const TO_TABLE: u8 = 1;

/// Which packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Selector {
    /// Those from one address.
    From(IpAddr),
    /// Those with all bits of a mark, of IPv4 or (`true`) IPv6.
    Marked(u32, bool),
    /// Datagrams from a port of this machine, of IPv4 or (`true`) IPv6.
    FromPort(u16, bool),
}

/// Sends packets to a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Which.
    pub selector: Selector,
    /// Lower is asked first; the main table's is 32766.
    pub priority: u32,
    /// The table.
    pub table: u32,
    /// The table's default route does not count: the next rule is asked.
    pub without_default: bool,
}

fn message(kind: u16, flags: u16, rule: &Rule) -> Message {
    let mut message = Message::new(kind, flags);
    let (family, bits) = match rule.selector {
        Selector::From(address) => (family(address), if address.is_ipv4() { 32 } else { 128 }),
        Selector::Marked(_, ipv6) | Selector::FromPort(_, ipv6) => (if ipv6 { AF_INET6 } else { AF_INET }, 0),
    };
    // `struct fib_rule_hdr`: family, prefixes of receiver and sender, tos, table, two reserved, action, flags.
    message.put(&[family, 0, bits, 0, 0, 0, 0, TO_TABLE, 0, 0, 0, 0]);
    message.attr_u32(FRA_PRIORITY, rule.priority).attr_u32(FRA_TABLE, rule.table);
    if rule.without_default {
        message.attr_u32(FRA_SUPPRESS_PREFIXLEN, 0);
    }
    match rule.selector {
        Selector::FromPort(port, _) => {
            // `struct fib_rule_port_range`, in the machine's order.
            let ([a, b], [c, d]) = (port.to_ne_bytes(), port.to_ne_bytes());
            message.attr_u8(FRA_IP_PROTO, UDP).attr(FRA_SPORT_RANGE, &[a, b, c, d])
        }
        Selector::From(address) => message.attr(FRA_SRC, &octets(address)),
        Selector::Marked(mark, _) => message.attr_u32(FRA_FWMARK, mark).attr_u32(FRA_FWMASK, mark),
    };
    message
}

/// Adds a rule. `EXIST` when it is there.
pub fn add_rule(socket: &mut Socket, rule: &Rule) -> Result<(), Refused> {
    socket.request(message(RTM_NEWRULE, CREATE | EXCLUSIVE, rule))
}

/// Takes a rule away.
pub fn remove_rule(socket: &mut Socket, rule: &Rule) -> Result<(), Refused> {
    socket.request(message(RTM_DELRULE, 0, rule))
}
