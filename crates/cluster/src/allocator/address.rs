//! Addresses in networks: the lowest that nobody has, had lately, or may still have. Pure.
//!
//! The address of a task that ended rests for ten minutes ([`REST`]); that of one whose node has not confirmed the end is
//! not free at all. Only where a network has no other is the one that rests longest taken.

use super::network::next;
use crate::{View, orchestrator::reaper::REST, plan::after, view::Holder};
use minke_model::{NetworkId, Timestamp, network::Subnet, overlay::OverlaySubnet};
use std::{
    collections::{BTreeSet, HashMap},
    net::IpAddr,
};

/// How free an address is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Standing {
    Free,
    /// It may be used from then on.
    Resting(Timestamp),
    Held,
}

/// What one plan gives.
pub(crate) struct Addresses<'a> {
    view: &'a View,
    now: Timestamp,
    given: BTreeSet<(NetworkId, IpAddr)>,
    /// Where the search goes on, by network and subnet: everything below is taken.
    cursors: HashMap<(NetworkId, usize), IpAddr>,
}

impl<'a> Addresses<'a> {
    pub(crate) fn new(view: &'a View, now: Timestamp) -> Self {
        Addresses { view, now, given: BTreeSet::new(), cursors: HashMap::new() }
    }

    /// One address of `network`, IPv4 where there is.
    pub(crate) fn give(&mut self, network: &NetworkId) -> Option<(IpAddr, u8)> {
        let subnets = self.view.network(network)?.subnets.clone();
        let mut order: Vec<usize> = (0..subnets.len()).collect();
        order.sort_by_key(|at| subnets[*at].subnet.address.is_ipv6());
        order.into_iter().find_map(|at| self.in_subnet(network, at, &subnets[at]))
    }

    /// One address of each family that `network` has.
    pub(crate) fn give_each_family(&mut self, network: &NetworkId) -> Option<Vec<(IpAddr, u8)>> {
        let subnets = self.view.network(network)?.subnets.clone();
        let mut given = Vec::new();
        for ipv6 in [false, true] {
            let of_family: Vec<_> =
                subnets.iter().enumerate().filter(|(_, one)| one.subnet.address.is_ipv6() == ipv6).collect();
            if !of_family.is_empty() {
                given.push(
                    of_family.into_iter().find_map(|(at, subnet)| self.in_subnet(network, at, subnet))?,
                );
            }
        }
        Some(given)
    }

    fn in_subnet(&mut self, network: &NetworkId, at: usize, of: &OverlaySubnet) -> Option<(IpAddr, u8)> {
        let place = (network.clone(), at);
        let first = next(of.subnet.network())?;
        let mut address = self.cursors.get(&place).copied().unwrap_or(first);
        while is_a_hosts(&of.subnet, address) {
            if self.standing(network, of, address) == Standing::Free {
                self.cursors.insert(place, address);
                self.given.insert((network.clone(), address));
                return Some((address, of.subnet.prefix));
            }
            address = next(address)?;
        }
        self.cursors.insert(place, address);
        // None is free: the one that has rested for longest is better than none.
        let (mut address, mut rested) = (first, None);
        while is_a_hosts(&of.subnet, address) {
            if let Standing::Resting(until) = self.standing(network, of, address) {
                rested = Some(
                    rested.map_or((until, address), |known: (Timestamp, IpAddr)| known.min((until, address))),
                );
            }
            address = next(address)?;
        }
        let (_, address) = rested?;
        self.given.insert((network.clone(), address));
        Some((address, of.subnet.prefix))
    }

    fn standing(&self, network: &NetworkId, of: &OverlaySubnet, address: IpAddr) -> Standing {
        if address == of.gateway || self.given.contains(&(network.clone(), address)) {
            return Standing::Held;
        }
        let holders = self.view.addresses(network).and_then(|addresses| addresses.get(&address));
        let mut standing = Standing::Free;
        for holder in holders.into_iter().flatten() {
            let until = match holder {
                Holder::Service(_) | Holder::Node(_) => return Standing::Held,
                Holder::Retired(until) => *until,
                Holder::Task(id) => match self.view.task(id) {
                    Some(task) if task.has_ended() => after(task.since().min(self.now), REST),
                    _ => return Standing::Held,
                },
            };
            standing = match standing {
                Standing::Resting(known) => Standing::Resting(known.max(until)),
                _ if until > self.now => Standing::Resting(until),
                other => other,
            };
        }
        standing
    }
}

/// Whether an address of a subnet may be somebody's: the highest of IPv4 is everybody's.
fn is_a_hosts(subnet: &Subnet, address: IpAddr) -> bool {
    subnet.contains(address) && (address.is_ipv6() || next(address).is_some_and(|next| subnet.contains(next)))
}
