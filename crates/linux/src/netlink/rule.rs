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
const FRA_TABLE: u16 = 15;
const FRA_FWMASK: u16 = 16;
/// `FR_ACT_TO_TBL`.
const TO_TABLE: u8 = 1;

/// Which packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Selector {
    /// Those from one address.
    From(IpAddr),
    /// Those with all bits of a mark, of IPv4 or (`true`) IPv6.
    Marked(u32, bool),
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
}

fn message(kind: u16, flags: u16, rule: &Rule) -> Message {
    let mut message = Message::new(kind, flags);
    let (family, bits) = match rule.selector {
        Selector::From(address) => (family(address), if address.is_ipv4() { 32 } else { 128 }),
        Selector::Marked(_, ipv6) => (if ipv6 { AF_INET6 } else { AF_INET }, 0),
    };
    // `struct fib_rule_hdr`: family, prefixes of receiver and sender, tos, table, two reserved, action, flags.
    message.put(&[family, 0, bits, 0, 0, 0, 0, TO_TABLE, 0, 0, 0, 0]);
    message.attr_u32(FRA_PRIORITY, rule.priority).attr_u32(FRA_TABLE, rule.table);
    match rule.selector {
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
