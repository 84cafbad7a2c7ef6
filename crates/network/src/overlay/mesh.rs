//! Published ports, answered by this node for all: the host's end.

use super::{
    balance::{Balancer, Front, Scope, Targets},
    plan,
};
use crate::{NetworkError, error::Tried, ports};
use minke_linux::netlink::{self, Socket};
use minke_model::{overlay::OverlayState, port::Protocol};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};
use tokio::runtime::Handle;

/// `IPPROTO_UDP`
pub(crate) const UDP: u8 = 17;

/// The host's end.
#[derive(Debug, Default)]
pub(crate) struct Mesh {
    balancer: Option<Balancer>,
    /// The host's sockets, so that "address already in use" is true both ways; `None`: another process has it.
    held: BTreeMap<(Protocol, u16), Vec<ports::Holder>>,
}

impl Mesh {
    /// Answers these ports, and no others.
    pub(crate) fn set(
        &mut self,
        socket: &mut Socket,
        daemon_id: &str,
        interface: &str,
        state: &OverlayState,
        runtime: Option<&Handle>,
    ) -> Result<(), NetworkError> {
        let balancer = self.balancer.get_or_insert_with(|| {
            let scope = Scope::Host { interface: interface.to_owned() };
            Balancer::new(table(daemon_id), scope)
        });
        let nodes = state.members.iter().map(|node| node.underlay).collect();
        balancer.set(socket, &fronts(state), &nodes)?;
        self.hold(state, runtime);
        Ok(())
    }

    /// The kernel's table is not as it was left.
    pub(crate) fn forget(&mut self) {
        self.balancer = None;
    }

    /// Answers none any more.
    pub(crate) fn remove(&mut self, socket: &mut Socket, daemon_id: &str) -> Result<(), NetworkError> {
        self.held.clear();
        self.balancer = None;
        super::balance::remove_table(socket, minke_linux::nftables::Family::Inet, &table(daemon_id))
            .tried(|| "withdraw the cluster's published ports".into())
    }

    /// Keeps the ports from others, and serves what cannot be translated: `::1`, and all of IPv6 where tasks have none.
    fn hold(&mut self, state: &OverlayState, runtime: Option<&Handle>) {
        let wanted: BTreeSet<(Protocol, u16)> =
            state.mesh.iter().map(|mesh| (mesh.protocol, mesh.port)).collect();
        self.held.retain(|port, _| wanted.contains(port));
        for (protocol, port) in wanted {
            if self.held.contains_key(&(protocol, port)) {
                continue;
            }
            let own = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port);
            let ipv4 = ports::Holder::reserve(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port), protocol);
            let ipv6 = ports::hold(runtime, Ipv6Addr::UNSPECIFIED.into(), port, protocol, own);
            let mut holders = Vec::new();
            for held in [ipv4, ipv6] {
                match held {
                    Ok(holder) => holders.push(holder),
                    Err(error) => {
                        tracing::warn!(port, %protocol, %error, "a published port of the cluster is not held");
                    }
                }
            }
            self.held.insert((protocol, port), holders);
        }
    }
}

fn table(daemon_id: &str) -> String {
    format!("minke-{daemon_id}-mesh")
}

/// Who gets new flows, by port.
pub(crate) fn fronts(state: &OverlayState) -> BTreeMap<Front, Targets> {
    let mut fronts = BTreeMap::new();
    for mesh in &state.mesh {
        for ipv6 in [false, true] {
            let live = mesh.targets.iter().filter(|t| !t.draining && t.address.is_ipv6() == ipv6);
            let addresses: BTreeSet<IpAddr> = live.map(|t| t.address).collect();
            if !addresses.is_empty() {
                let addresses = addresses.into_iter().collect();
                let targets = Targets { addresses, port: Some(mesh.target_port) };
                fronts.insert(Front::Port(mesh.protocol, mesh.port, ipv6), targets);
            }
        }
    }
    fronts
}

/// Forgets flows that lead to who is not there any more; a sender that goes on is led to another, which refuses it.
/// Datagrams go elsewhere as soon as a task drains.
pub(crate) fn forget(
    sockets: [&mut Socket; 2],
    old: &OverlayState,
    new: &OverlayState,
) -> Result<(), NetworkError> {
    let all = |state: &OverlayState| -> BTreeSet<IpAddr> {
        state.mesh.iter().flat_map(|mesh| mesh.targets.iter().map(|t| t.address)).collect()
    };
    let live = |state: &OverlayState| -> BTreeSet<IpAddr> {
        let targets = state.mesh.iter().flat_map(|mesh| &mesh.targets);
        targets.filter(|t| !t.draining).map(|t| t.address).collect()
    };
    let gone: BTreeSet<IpAddr> = all(old).difference(&all(new)).copied().collect();
    let drained: BTreeSet<IpAddr> = live(old).difference(&live(new)).copied().collect();
    let (before, after) = (fronts(old), fronts(new));
    // A sender of datagrams that nobody took has a flow to the host itself.
    let first: BTreeSet<u16> = after
        .keys()
        .filter(|front| !before.contains_key(front))
        .filter_map(|front| match front {
            Front::Port(Protocol::Udp, port, _) => Some(*port),
            _ => None,
        })
        .collect();
    if gone.is_empty() && drained.is_empty() && first.is_empty() {
        return Ok(());
    }
    for socket in sockets {
        netlink::forget_flows(socket, |flow| {
            let datagrams = flow.protocol == UDP;
            gone.contains(&flow.answerer)
                || datagrams && (drained.contains(&flow.answerer) || first.contains(&flow.port))
        })
        .tried(|| "forget flows to tasks that are gone".into())?;
    }
    Ok(())
}

/// The zone that the host's own table has for the ingress network.
pub(crate) fn zone(interface: &str, state: &OverlayState) -> crate::firewall::plan::Zone {
    use crate::firewall::plan::{Gateway, Zone};
    let subnets = plan::ingress(state).into_iter().flat_map(|spec| spec.subnets.iter().map(|s| s.subnet));
    Zone {
        bridge: interface.to_owned(),
        subnets: subnets.collect(),
        internal: false,
        icc: true,
        ipv4: Gateway::Nat,
        ipv6: Gateway::Nat,
        sources: Vec::new(),
        trusted: Vec::new(),
    }
}
