//! VXLAN is taken from members of the cluster only: its packets carry no proof of who sent them.
//!
//! Only the cluster's own network numbers are looked at, so that others may use the same port on this host.

use super::balance::{equal, family, load_address, remove_table};
use crate::{NetworkError, error::Tried};
use minke_linux::{
    netlink::Socket,
    nftables::{
        Batch, Chain, Element, Expression, Family, Hook, MetaKey, PayloadBase, Priority, Register, Rule, Set,
        Type, Verdict,
    },
};
use minke_model::overlay::OverlayState;
use std::{collections::BTreeSet, net::IpAddr};

/// Before the host's own filters.
const BEFORE_FILTER: Priority = Priority(-10);

/// The table, and what it was made of.
#[derive(Debug, Default)]
pub(crate) struct Members {
    built: Option<(BTreeSet<IpAddr>, BTreeSet<u32>, u16)>,
}

impl Members {
    /// Makes the table so. It changes only when a node or a network comes or goes, so it is made anew then.
    pub(crate) fn set(
        &mut self,
        socket: &mut Socket,
        daemon_id: &str,
        state: &OverlayState,
    ) -> Result<(), NetworkError> {
        let nodes: BTreeSet<IpAddr> = state.members.iter().map(|node| node.underlay).collect();
        let vnis: BTreeSet<u32> = super::plan::served(state).map(|network| network.vni).collect();
        let wanted = (nodes, vnis, state.data_path_port);
        if self.built.as_ref() == Some(&wanted) {
            return Ok(());
        }
        let (nodes, vnis, port) = &wanted;
        let (inet, table) = (Family::Inet, table(daemon_id));
        let mut batch = Batch::new();
        batch.add_table(inet, &table, "");
        batch.delete_table(inet, &table);
        batch.add_table(inet, &table, "made by minke");
        let numbers = Set::of("networks", &[Type::Vni]);
        batch.add_set(inet, &table, &numbers);
        let elements: Vec<Element> =
            vnis.iter().map(|vni| Element::key(&[&vni.to_be_bytes()[1..]])).collect();
        batch.add_elements(inet, &table, &numbers, &elements);
        batch.add_chain(inet, &table, &Chain::base("arriving", "filter", Hook::Input, BEFORE_FILTER));
        for (ipv6, name, kind) in [(false, "nodes4", Type::Ipv4), (true, "nodes6", Type::Ipv6)] {
            let set = Set::of(name, &[kind]);
            batch.add_set(inet, &table, &set);
            let of_family = nodes.iter().filter(|node| node.is_ipv6() == ipv6);
            let elements: Vec<Element> =
                of_family.map(|node| Element::key(&[&super::bytes(*node)])).collect();
            batch.add_elements(inet, &table, &set, &elements);
            let steps = [
                family(ipv6),
                vec![
                    Expression::Meta(MetaKey::L4Protocol, Register(0)),
                    equal(&[super::mesh::UDP]),
                    Expression::Payload(PayloadBase::Transport, 2, 2, Register(0)),
                    equal(&port.to_be_bytes()),
                    // Behind 8 bytes of UDP and 4 of VXLAN.
                    Expression::Payload(PayloadBase::Transport, 12, 3, Register(0)),
                    Expression::In("networks".into(), Register(0)),
                    load_address(ipv6, true),
                    Expression::NotIn(name.into(), Register(0)),
                    Expression::Verdict(Verdict::Drop),
                ],
            ];
            let rule =
                Rule { chain: "arriving".into(), steps: steps.concat(), comment: "not of this cluster" };
            batch.append_rule(inet, &table, &rule);
        }
        batch.commit(socket).tried(|| format!("build the nftables table {table}"))?;
        self.built = Some(wanted);
        Ok(())
    }

    /// The kernel's is not as it was left.
    pub(crate) fn forget(&mut self) {
        self.built = None;
    }

    /// Takes the table away.
    pub(crate) fn remove(&mut self, socket: &mut Socket, daemon_id: &str) -> Result<(), NetworkError> {
        self.built = None;
        let table = table(daemon_id);
        remove_table(socket, Family::Inet, &table).tried(|| format!("remove the nftables table {table}"))
    }
}

fn table(daemon_id: &str) -> String {
    format!("minke-{daemon_id}-vxlan")
}
