//! Containers as callers of services: each has its own table that sends a service's address on to one of its tasks, at the
//! very beginning of a flow, so that nothing between has to know of it.

use super::balance::{Balancer, Front, Scope, Targets};
use crate::{NetworkError, error::Tried};
use minke_linux::netlink::{self, Family, Socket, within};
use minke_model::{ContainerId, NetworkId, overlay::OverlayState, port::Protocol};
use rustix::fd::BorrowedFd;
use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque},
    net::IpAddr,
};

/// The table in a container's namespace.
const TABLE: &str = "minke-services";

/// Addresses of a network that are remembered as gone: what still comes to them is refused. More are forgotten.
const MOST_GONE: usize = 1024;

#[derive(Debug)]
struct Caller {
    /// In its namespace, which is held by it.
    socket: Socket,
    /// The same, for rules of routing; only on the ingress network.
    route: Option<Socket>,
    /// Its addresses there.
    addresses: BTreeSet<IpAddr>,
    /// Published ports of UDP whose answers have rules, with their family.
    datagrams: BTreeSet<(u16, bool)>,
    networks: BTreeSet<NetworkId>,
    balancer: Balancer,
}

/// All of this node.
#[derive(Debug, Default)]
pub(crate) struct Callers {
    all: HashMap<ContainerId, Caller>,
    gone: BTreeMap<NetworkId, VecDeque<IpAddr>>,
    /// Who left, and who lost a service, since flows were forgotten last.
    left: BTreeSet<(NetworkId, IpAddr)>,
    dropped: BTreeSet<IpAddr>,
}

/// Opens a socket of a container's.
fn open(netns: BorrowedFd<'_>, family: Family) -> Result<Socket, NetworkError> {
    within(netns, || Socket::open(family))
        .map_err(|e| NetworkError::io("enter the container's network namespace", e))?
        .tried(|| "open a socket in the container's namespace".into())
}

/// What each network's callers are told.
type Told = BTreeMap<NetworkId, (BTreeMap<Front, Targets>, BTreeSet<IpAddr>)>;

impl Callers {
    /// A container is in these networks now; in none: it calls nobody.
    pub(crate) fn attach(
        &mut self,
        container: &ContainerId,
        netns: BorrowedFd<'_>,
        networks: BTreeSet<NetworkId>,
        addresses: &[IpAddr],
        state: &OverlayState,
    ) -> Result<(), NetworkError> {
        if networks.is_empty() {
            let Some(mut caller) = self.all.remove(container) else { return Ok(()) };
            return caller.balancer.remove(&mut caller.socket);
        }
        let told = self.tell(state, &networks);
        let caller = match self.all.remove(container) {
            Some(mut caller) => {
                caller.networks = networks;
                caller
            }
            None => {
                let socket = open(netns, Family::Netfilter)?;
                let balancer = Balancer::new(TABLE.to_owned(), Scope::Caller);
                let (addresses, datagrams) = (BTreeSet::new(), BTreeSet::new());
                Caller { socket, route: None, addresses, datagrams, networks, balancer }
            }
        };
        let caller = self.all.entry(container.clone()).or_insert(caller);
        let subnets = super::plan::ingress(state).filter(|spec| caller.networks.contains(&spec.id));
        let subnets = subnets.map(|spec| spec.subnets.as_slice()).unwrap_or_default();
        let own = |address: &&IpAddr| subnets.iter().any(|s| s.subnet.contains(**address));
        caller.addresses = addresses.iter().filter(own).copied().collect();
        if !caller.addresses.is_empty() && caller.route.is_none() {
            caller.route = Some(open(netns, Family::Route)?);
        }
        caller.update(&told).and(caller.answer(state))
    }

    /// A container is gone, and its namespace shall go.
    pub(crate) fn detach(&mut self, container: &ContainerId) {
        self.all.remove(container);
    }

    /// Tells those whom it concerns what changed. Flows to who is gone are forgotten later ([`Callers::forget`]).
    pub(crate) fn set(&mut self, old: Option<&OverlayState>, new: &OverlayState) -> Result<(), NetworkError> {
        self.note_gone(old, new);
        let same = |network: &NetworkId| {
            let of = |state: &'_ OverlayState| -> Vec<_> {
                state.services.iter().filter(|s| s.network == *network).cloned().collect()
            };
            old.is_some_and(|old| of(old) == of(new)) && !self.left.iter().any(|(other, _)| other == network)
        };
        let all: BTreeSet<&NetworkId> = self.all.values().flat_map(|caller| &caller.networks).collect();
        let changed: BTreeSet<NetworkId> =
            all.into_iter().filter(|network| !same(network)).cloned().collect();
        let concerned = |caller: &Caller| caller.networks.iter().any(|network| changed.contains(network));
        let networks: BTreeSet<NetworkId> = self
            .all
            .values()
            .filter(|caller| concerned(caller))
            .flat_map(|caller| caller.networks.iter().cloned())
            .collect();
        let told = self.tell(new, &networks);
        let mut result = Ok(());
        for caller in self.all.values_mut() {
            let updated = if concerned(caller) { caller.update(&told) } else { Ok(()) };
            result = result.and(updated).and(caller.answer(new));
        }
        result
    }

    /// Lets all forget flows to who left since the last call, and flows of datagrams to who serves no more.
    pub(crate) fn forget(&mut self) -> Result<(), NetworkError> {
        let gone: BTreeSet<IpAddr> = std::mem::take(&mut self.left).into_iter().map(|left| left.1).collect();
        let dropped = std::mem::take(&mut self.dropped);
        if gone.is_empty() && dropped.is_empty() {
            return Ok(());
        }
        // One that fails keeps nothing from the others.
        let mut result = Ok(());
        for caller in self.all.values_mut() {
            result = result.and(caller.forget(&gone, &dropped));
        }
        result
    }

    /// Remembers who left: addresses that nobody has any more, and those that lost their service.
    fn note_gone(&mut self, old: Option<&OverlayState>, new: &OverlayState) {
        if old.is_some_and(|old| (&old.peers, &old.services) == (&new.peers, &new.services)) {
            return;
        }
        let has: HashSet<(&NetworkId, IpAddr)> = new.peers.iter().map(|p| (&p.network, p.address)).collect();
        for (network, gone) in &mut self.gone {
            gone.retain(|address| !has.contains(&(network, *address)));
        }
        self.gone.retain(|network, _| new.networks.iter().any(|n| n.id == *network));
        let Some(old) = old else { return };
        for peer in old.peers.iter().filter(|p| !has.contains(&(&p.network, p.address))) {
            self.left.insert((peer.network.clone(), peer.address));
            if !new.networks.iter().any(|n| n.id == peer.network) {
                continue;
            }
            let gone = self.gone.entry(peer.network.clone()).or_default();
            if gone.len() == MOST_GONE {
                gone.pop_front();
            }
            gone.push_back(peer.address);
        }
        let serving = |state: &OverlayState| -> BTreeSet<IpAddr> {
            let services = state.services.iter().filter(|service| service.vip.is_some());
            services.flat_map(|service| service.tasks.iter().map(|task| task.1)).collect()
        };
        let now = serving(new);
        self.dropped.extend(serving(old).difference(&now));
    }

    fn tell(&self, state: &OverlayState, networks: &BTreeSet<NetworkId>) -> Told {
        let mut told: Told = BTreeMap::new();
        for network in networks {
            let gone = self.gone.get(network).into_iter().flatten().copied().collect();
            told.insert(network.clone(), (BTreeMap::new(), gone));
        }
        for service in &state.services {
            let (Some(vip), Some((fronts, refusing))) = (service.vip, told.get_mut(&service.network)) else {
                continue;
            };
            let tasks = service.tasks.iter().map(|task| task.1).filter(|a| a.is_ipv6() == vip.is_ipv6());
            let addresses: BTreeSet<IpAddr> = tasks.collect();
            let targets = Targets { addresses: addresses.into_iter().collect(), port: None };
            fronts.insert(Front::Address(vip), targets);
            // What has been sent on has another receiver by then.
            refusing.insert(vip);
        }
        told
    }
}

impl Caller {
    fn update(&mut self, told: &Told) -> Result<(), NetworkError> {
        let mut own = self.networks.iter().filter_map(|network| told.get(network));
        if let (Some((fronts, refusing)), None) = (own.next(), own.next()) {
            return self.balancer.set(&mut self.socket, fronts, refusing);
        }
        let (mut fronts, mut refusing) = (BTreeMap::new(), BTreeSet::new());
        for (own, gone) in self.networks.iter().filter_map(|network| told.get(network)) {
            fronts.extend(own.iter().map(|(front, targets)| (*front, targets.clone())));
            refusing.extend(gone);
        }
        self.balancer.set(&mut self.socket, &fronts, &refusing)
    }

    /// Lets answers of its published ports of UDP leave as its ingress address.
    fn answer(&mut self, state: &OverlayState) -> Result<(), NetworkError> {
        let Some(route) = &mut self.route else { return Ok(()) };
        let mut wanted = BTreeSet::new();
        for mesh in state.mesh.iter().filter(|mesh| mesh.protocol == Protocol::Udp) {
            let own = mesh.targets.iter().filter(|target| self.addresses.contains(&target.address));
            wanted.extend(own.map(|target| (mesh.target_port, target.address.is_ipv6())));
        }
        let failed = || "let answers of a published port leave its container".to_owned();
        for (port, ipv6) in self.datagrams.difference(&wanted) {
            for rule in super::ingress::datagram_rules(*port, *ipv6) {
                super::gone(netlink::remove_rule(route, &rule)).tried(failed)?;
            }
        }
        for (port, ipv6) in wanted.difference(&self.datagrams) {
            for rule in super::ingress::datagram_rules(*port, *ipv6) {
                super::ingress::unless_there(netlink::add_rule(route, &rule)).tried(failed)?;
            }
        }
        self.datagrams = wanted;
        Ok(())
    }

    /// Flows to who is gone, and flows of datagrams to who serves no more.
    fn forget(&mut self, gone: &BTreeSet<IpAddr>, dropped: &BTreeSet<IpAddr>) -> Result<(), NetworkError> {
        netlink::forget_flows(&mut self.socket, |flow| {
            gone.contains(&flow.answerer)
                || flow.protocol == super::mesh::UDP && dropped.contains(&flow.answerer)
        })
        .tried(|| "forget flows to tasks that are gone".into())
        .map(drop)
    }
}
