//! nftables without `nft`: tables, chains, sets, maps and rules as values, written in one atomic [`Batch`], read back by
//! [`chains`] and [`rules`].
//!
//! Numbers are those of `linux/netfilter/nf_tables.h`; type numbers of sets are libnftables' (`datatype.h`), so that
//! `nft list ruleset` shows what is meant. Never: which rules; that is `network/firewall`'s.

mod batch;
mod expression;
mod read;
mod set;
#[cfg(test)]
mod tests;

pub use batch::{Batch, Chain, Hook, Made, Priority, Rule};
pub use expression::{
    Comparison, CtKey, Expression, FibResult, MetaKey, NatKind, PayloadBase, Register, RejectKind, Verdict,
};
pub use read::{ChainInfo, Change, RuleInfo, chains, change, rules, table_rules};
pub use set::{Element, Set, Type, Value};

/// `NFNL_SUBSYS_NFTABLES`.
pub(crate) const SUBSYSTEM: u16 = 10;

/// `NFNLGRP_NFTABLES`: the multicast group that tells of every change.
pub const EVENTS: u32 = 7;

/// Which packets a table sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Family {
    /// IPv4 and IPv6.
    Inet = 1,
    /// IPv4.
    Ip = 2,
    /// Frames that a bridge forwards.
    Bridge = 7,
    /// IPv6.
    Ip6 = 10,
}

impl Family {
    pub(crate) fn of(number: u8) -> Option<Self> {
        match number {
            1 => Some(Family::Inet),
            2 => Some(Family::Ip),
            7 => Some(Family::Bridge),
            10 => Some(Family::Ip6),
            _ => None,
        }
    }

    /// As `nft` writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Family::Inet => "inet",
            Family::Ip => "ip",
            Family::Bridge => "bridge",
            Family::Ip6 => "ip6",
        }
    }
}

/// Message kinds, `NFT_MSG_…`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub(crate) enum Kind {
    NewTable = 0,
    DelTable = 2,
    NewChain = 3,
    GetChain = 4,
    DelChain = 5,
    NewRule = 6,
    GetRule = 7,
    DelRule = 8,
    NewSet = 9,
    DelSet = 11,
    NewElements = 12,
    DelElements = 14,
    NewGeneration = 15,
}

impl Kind {
    pub(crate) fn number(self) -> u16 {
        SUBSYSTEM << 8 | self as u16
    }
}
