//! The firewall: who may reach whom, by one nftables table of our own.
//!
//! `plan` and `rules` say what shall be, purely; `apply` makes it so; `host` deals with what the host's own firewall drops.

pub(crate) mod apply;
pub mod host;
pub(crate) mod openings;
pub mod plan;
pub mod rules;
