//! Reading what others put into the kernel: chains, rules, and events of change.

use super::{Family, Kind, SUBSYSTEM, batch::head};
use crate::netlink::{Attributes, Received, Refused, Socket, u16_at};

/// A chain as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChainInfo {
    /// Its table's.
    pub family: Family,
    /// Its table.
    pub table: String,
    /// Its name.
    pub name: String,
    /// Hook number and priority of a base chain.
    pub hook: Option<(u32, i32)>,
    /// Whether it drops what no rule decides.
    pub drops: bool,
    /// `filter`, `nat`, `route`; empty for a plain chain.
    pub kind: String,
}

/// A rule as it is, as far as we need to know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleInfo {
    /// Its table's.
    pub family: Family,
    /// Its table.
    pub table: String,
    /// Its chain.
    pub chain: String,
    /// Its number in the table.
    pub handle: u64,
    /// The chain that it jumps to or goes on in.
    pub target: Option<String>,
    /// The names of its expressions, in order.
    pub expressions: Vec<String>,
    /// Whether it drops or rejects everything: such a rule at a chain's end is a policy.
    pub drops_all: bool,
    /// The first and last port, before translation, for which it lets packets pass, if it looks at that.
    pub passes_original: Option<(u16, u16)>,
}

/// What an event tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Who asked for it: a socket's port.
    pub port: u32,
    /// Of which table; empty for "a new generation of the ruleset".
    pub table: String,
    /// Its family, where we know it.
    pub family: Option<Family>,
}

/// All chains of all tables of the families we know.
pub fn chains(socket: &mut Socket) -> Result<Vec<ChainInfo>, Refused> {
    let mut message = crate::netlink::Message::new(Kind::GetChain.number(), 0);
    message.put(&[0, 0, 0, 0]);
    Ok(socket.dump(message)?.iter().filter_map(|reply| parse_chain(&reply.body)).collect())
}

/// The rules of a chain, in order.
pub fn rules(
    socket: &mut Socket,
    family: Family,
    table: &str,
    chain: &str,
) -> Result<Vec<RuleInfo>, Refused> {
    let mut message = head(Kind::GetRule.number(), 0, family);
    message.attr_str(1, table).attr_str(2, chain);
    let replies = socket.dump(message)?;
    let found = replies.iter().filter_map(|reply| parse_rule(&reply.body));
    Ok(found.filter(|r| r.table == table && r.chain == chain && r.family == family).collect())
}

/// The rules of all chains of a table.
pub fn table_rules(socket: &mut Socket, family: Family, table: &str) -> Result<Vec<RuleInfo>, Refused> {
    let mut message = head(Kind::GetRule.number(), 0, family);
    message.attr_str(1, table);
    let replies = socket.dump(message)?;
    let found = replies.iter().filter_map(|reply| parse_rule(&reply.body));
    Ok(found.filter(|r| r.table == table && r.family == family).collect())
}

/// What an event of the group [`super::EVENTS`] tells.
pub fn change(received: &Received<'_>) -> Option<Change> {
    if received.kind >> 8 != SUBSYSTEM {
        return None;
    }
    let family = Family::of(*received.body.first()?);
    // Tables, chains, rules, sets and elements all name their table in attribute 1.
    let table = if received.kind == Kind::NewGeneration.number() {
        ""
    } else {
        Attributes::after(received.body, 4).text(1).unwrap_or_default()
    };
    Some(Change { port: received.port, table: table.to_owned(), family })
}

fn parse_chain(body: &[u8]) -> Option<ChainInfo> {
    let family = Family::of(*body.first()?)?;
    let attributes = Attributes::after(body, 4);
    let hook = attributes.get(4).map(Attributes::of);
    Some(ChainInfo {
        family,
        table: attributes.text(1)?.to_owned(),
        name: attributes.text(3)?.to_owned(),
        hook: hook.and_then(|hook| Some((hook.be32(1)?, hook.be32(2)? as i32))),
        drops: attributes.be32(5) == Some(0),
        kind: attributes.text(7).unwrap_or_default().to_owned(),
    })
}

pub(super) fn parse_rule(body: &[u8]) -> Option<RuleInfo> {
    let family = Family::of(*body.first()?)?;
    let attributes = Attributes::after(body, 4);
    let mut rule = RuleInfo {
        family,
        table: attributes.text(1)?.to_owned(),
        chain: attributes.text(2)?.to_owned(),
        handle: attributes.be64(3)?,
        target: None,
        expressions: Vec::new(),
        drops_all: false,
        passes_original: None,
    };
    let (mut drops, mut accepts, mut original, mut loads_original) = (false, false, None, false);
    for (_, element) in Attributes::of(attributes.get(4).unwrap_or_default()) {
        let element = Attributes::of(element);
        let name = element.text(1)?;
        let data = Attributes::of(element.get(2).unwrap_or_default());
        match name {
            "immediate" => {
                let verdict = data.get(2).and_then(|d| Attributes::of(d).get(2)).map(Attributes::of);
                rule.target = verdict.and_then(|v| v.text(2)).map(str::to_owned).or(rule.target);
                // `NF_DROP`, `NF_ACCEPT`.
                drops |= verdict.and_then(|v| v.be32(1)) == Some(0);
                accepts |= verdict.and_then(|v| v.be32(1)) == Some(1);
            }
            // iptables rejects by an extension of its own; `nft_target`'s first attribute is its name.
            "reject" => drops = true,
            "target" => drops |= data.text(1) == Some("REJECT"),
            "match" => original = original.or_else(|| original_port_of_iptables(data)),
            // The destination port of the direction "original".
            "ct" => loads_original = data.be32(2) == Some(12) && data.get(3) == Some(&[0]),
            "cmp" if loads_original && data.be32(2) == Some(0) => {
                let value = data.get(3).and_then(|d| Attributes::of(d).get(1));
                let port = value.and_then(|v| Some(u16::from_be_bytes(v.get(..2)?.try_into().ok()?)));
                original = original.or(port.map(|port| (port, port)));
            }
            _ => {}
        }
        rule.expressions.push(name.to_owned());
    }
    let conditional =
        |name: &String| !matches!(name.as_str(), "counter" | "immediate" | "reject" | "target" | "log");
    rule.drops_all = drops && !rule.expressions.iter().any(conditional);
    rule.passes_original = original.filter(|_| accepts);
    Some(rule)
}

/// `--ctorigdstport` of iptables' extension `conntrack`: `struct xt_conntrack_mtinfo3` of
/// `linux/netfilter/xt_conntrack.h`, eight addresses of 16 bytes, then numbers in the machine's order.
fn original_port_of_iptables(data: Attributes<'_>) -> Option<(u16, u16)> {
    const ORIGINAL_DESTINATION_PORT: u16 = 1 << 9;
    if data.text(1) != Some("conntrack") || data.be32(2) != Some(3) {
        return None;
    }
    let info = data.get(3)?;
    let (first, last, flags) = (u16_at(info, 140)?, u16_at(info, 156)?, u16_at(info, 146)?);
    let inverted = u16_at(info, 148)? & ORIGINAL_DESTINATION_PORT != 0;
    (flags & ORIGINAL_DESTINATION_PORT != 0 && !inverted).then_some((first, last.max(first)))
}
