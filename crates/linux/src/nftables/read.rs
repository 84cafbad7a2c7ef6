//! Reading what others put into the kernel: chains, rules, and events of change.

use super::{Family, Kind, SUBSYSTEM, batch::head};
use crate::netlink::{Attributes, Received, Refused, Socket};

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
    let (mut expressions, mut target, mut drops) = (Vec::new(), None, false);
    for (_, element) in Attributes::of(attributes.get(4).unwrap_or_default()) {
        let element = Attributes::of(element);
        let name = element.text(1)?.to_owned();
        let data = Attributes::of(element.get(2).unwrap_or_default());
        if name == "immediate" {
            let verdict = data.get(2).and_then(|d| Attributes::of(d).get(2)).map(Attributes::of);
            target = verdict.and_then(|v| v.text(2)).map(str::to_owned).or(target);
            drops |= verdict.and_then(|v| v.be32(1)) == Some(0);
        }
        // iptables rejects by an extension of its own; `nft_target`'s first attribute is its name.
        drops |= name == "reject" || name == "target" && data.text(1) == Some("REJECT");
        expressions.push(name);
    }
    let conditional =
        |name: &String| !matches!(name.as_str(), "counter" | "immediate" | "reject" | "target" | "log");
    Some(RuleInfo {
        family,
        table: attributes.text(1)?.to_owned(),
        chain: attributes.text(2)?.to_owned(),
        handle: attributes.be64(3)?,
        target,
        drops_all: drops && !expressions.iter().any(conditional),
        expressions,
    })
}
