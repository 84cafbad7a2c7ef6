//! The host's own firewall. Where its forward chains drop what no rule lets pass (ufw, firewalld, dockerd's iptables
//! policy), containers would be cut off, whatever our own table says.
//!
//! So one jump is put at the head of each such chain, to a chain `minke-<daemon id>` beside it that lets marked packets
//! pass (`rules::MARK`); it is taken away again. Nothing else of the host's rules is touched.

use super::rules::MARK;
use minke_linux::{
    netlink::{Refused, Socket},
    nftables::{
        Batch, Chain, ChainInfo, Comparison, Expression, Family, MetaKey, Register, Rule, Verdict, chains,
        rules, table_rules,
    },
};

use std::{fmt, net::IpAddr};

/// `NF_INET_FORWARD`.
const FORWARD: u32 = 2;

/// A chain of the host's that drops forwarded packets by default.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blocker {
    /// Its table's family.
    pub family: Family,
    /// Its table.
    pub table: String,
    /// Its name.
    pub chain: String,
}

impl Blocker {
    /// Whether `iptables` made it: it reads only what it wrote itself, so our rule has to look like one of its own.
    fn is_iptables(&self) -> bool {
        self.family != Family::Inet && self.table == "filter" && self.chain == "FORWARD"
    }

    /// Whether it sees packets that were sent to this address of the host.
    pub fn sees(&self, address: IpAddr) -> bool {
        match self.family {
            Family::Ip => address.is_ipv4(),
            Family::Ip6 => address.is_ipv6(),
            _ => true,
        }
    }

    /// The command that lets traffic to a published port pass.
    pub fn command(&self, protocol: &str, port: u16) -> String {
        let (family, table, chain) = (self.family.as_str(), &self.table, &self.chain);
        if self.is_iptables() {
            let program = if self.family == Family::Ip { "iptables" } else { "ip6tables" };
            return format!(
                "{program} -I FORWARD -p {protocol} -m conntrack --ctorigdstport {port} -j ACCEPT"
            );
        }
        format!(
            "nft insert rule {family} {table} {chain} meta l4proto {protocol} ct original proto-dst {port} accept"
        )
    }
}

impl fmt::Display for Blocker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.family.as_str(), self.table, self.chain)
    }
}

/// The published ports, first and last, that rules beside it let pass.
pub(crate) fn passes(socket: &mut Socket, blocker: &Blocker) -> Result<Vec<(u16, u16)>, Refused> {
    let rules = table_rules(socket, blocker.family, &blocker.table)?;
    Ok(rules.iter().filter_map(|rule| rule.passes_original).collect())
}

/// Finds the host's chains that drop by default. Those of other Minkes are none.
pub(crate) fn blockers(socket: &mut Socket) -> Result<Vec<Blocker>, Refused> {
    let mut found = Vec::new();
    for chain in chains(socket)? {
        let forwards = chain.kind == "filter" && chain.hook.is_some_and(|(hook, _)| hook == FORWARD);
        if !forwards || chain.family == Family::Bridge || chain.table.starts_with("minke-") {
            continue;
        }
        let drops = chain.drops || drops_at_its_end(socket, &chain)?;
        if drops {
            found.push(Blocker { family: chain.family, table: chain.table, chain: chain.name });
        }
    }
    Ok(found)
}

fn drops_at_its_end(socket: &mut Socket, chain: &ChainInfo) -> Result<bool, Refused> {
    Ok(rules(socket, chain.family, &chain.table, &chain.name)?.last().is_some_and(|rule| rule.drops_all))
}

/// Puts the jump where it is missing. Returns the chains that drop by default, and whether each has the jump now.
pub(crate) fn ensure(socket: &mut Socket, own: &str) -> Result<Vec<(Blocker, bool)>, Refused> {
    let mut result = Vec::new();
    for blocker in blockers(socket)? {
        let Blocker { family, table, chain } = &blocker;
        let there =
            rules(socket, *family, table, chain)?.iter().any(|rule| rule.target.as_deref() == Some(own));
        if there {
            result.push((blocker, true));
            continue;
        }
        let mut batch = Batch::new();
        batch.add_chain(*family, table, &Chain::plain(own));
        batch.flush_chain(*family, table, own);
        batch.append_rule(*family, table, &let_pass(own, blocker.is_iptables()));
        let jump = vec![Expression::Counter, Expression::Verdict(Verdict::Jump(own.to_owned()))];
        batch.insert_rule(*family, table, &Rule { chain: chain.clone(), steps: jump, comment: "" });
        let done = batch.commit(socket);
        match &done {
            Ok(()) => tracing::info!(
                table,
                chain,
                "the host's firewall drops by default: containers' traffic is let pass"
            ),
            // Tables may have an owner (firewalld's), or just be gone.
            Err(refused) => {
                tracing::warn!(table, chain, %refused, "the host's firewall drops containers' traffic")
            }
        }
        result.push((blocker, done.is_ok()));
    }
    Ok(result)
}

/// The rule that lets marked packets pass.
fn let_pass(chain: &str, iptables: bool) -> Rule {
    let mut steps = if iptables {
        // `struct xt_mark_mtinfo1` of `linux/netfilter/xt_mark.h`: mark, mask, invert, padded to 8.
        let mut info = Vec::with_capacity(16);
        info.extend_from_slice(&MARK.to_ne_bytes());
        info.extend_from_slice(&MARK.to_ne_bytes());
        info.extend_from_slice(&[0; 8]);
        vec![Expression::Xt("mark", 1, info)]
    } else {
        vec![
            Expression::Meta(MetaKey::Mark, Register(0)),
            Expression::Bitwise(Register(0), MARK.to_ne_bytes().to_vec(), vec![0; 4]),
            Expression::Compare(Register(0), Comparison::NotEqual, vec![0; 4]),
        ]
    };
    steps.extend([Expression::Counter, Expression::Verdict(Verdict::Accept)]);
    Rule { chain: chain.to_owned(), steps, comment: "" }
}

/// Takes the jumps away, wherever they are.
pub(crate) fn remove(socket: &mut Socket, own: &str) -> Result<(), Refused> {
    let all = chains(socket)?;
    for chain in all.iter().filter(|chain| chain.name == own && chain.hook.is_none()) {
        let (family, table) = (chain.family, chain.table.as_str());
        let mut batch = Batch::new();
        for base in all.iter().filter(|c| c.family == family && c.table == table && c.hook.is_some()) {
            for rule in rules(socket, family, table, &base.name)? {
                if rule.target.as_deref() == Some(own) {
                    batch.delete_rule(family, table, &base.name, rule.handle);
                }
            }
        }
        batch.flush_chain(family, table, own);
        batch.delete_chain(family, table, own);
        batch.commit(socket)?;
    }
    Ok(())
}
