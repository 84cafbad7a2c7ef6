//! Overlay networks: one node's part of networks that span many machines, as a cluster tells it.
//!
//! All devices stand in a namespace of the daemon's own (`namespace`, `devices`): per network a bridge and a VXLAN device, whose
//! forwarding and neighbours are written, never learnt (`plan`). A service's address is translated in the namespace of the
//! container that calls it (`callers`, `balance`). Published ports are answered by `mesh` on the host and travel between
//! nodes as `ingress` says. `members` keeps strangers out.
//!
//! The whole state is told each time ([`Networks::apply_overlays`]), and compared with what is there: after a crash the
//! same call finds it again, and containers have noticed nothing.
//!
//! Never: what a cluster is, which address who gets, gossip.

mod balance;
mod callers;
mod devices;
mod ingress;
mod members;
mod mesh;
mod namespace;
mod plan;

use crate::{
    EndpointPlan, NetworkError, Networks, endpoint,
    error::Tried,
    firewall::plan::Zone,
    networks::{Inner, lock},
    sysctl,
};
use devices::Device;
use minke_linux::netlink::{self, Family, Neighbour, Refused, Route, Socket, Veth};
use minke_model::{ContainerId, NetworkId, overlay::OverlayState};
use namespace::Namespace;
use rustix::{fd::BorrowedFd, io::Errno};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    path::{Path, PathBuf},
    sync::atomic::Ordering,
};
use tokio::runtime::Handle;

/// All of this node.
#[derive(Debug, Default)]
pub(crate) struct Overlays {
    namespace: Option<Namespace>,
    devices: BTreeMap<NetworkId, Device>,
    /// What the namespace has; `None`: not looked at yet.
    entries: Option<BTreeSet<Neighbour>>,
    routes: Option<BTreeSet<(IpAddr, u32)>>,
    /// As it was told last.
    state: Option<OverlayState>,
    members: members::Members,
    callers: callers::Callers,
    mesh: mesh::Mesh,
    /// For the host's own tables.
    host: Option<Socket>,
}

impl Networks {
    /// Makes this node's part of all overlay networks as told. `pin` is the file that keeps their namespace; `elsewhere` is
    /// where else it may be seen, should it not be there.
    ///
    /// # Errors
    /// The first thing that failed; all others are done.
    pub fn apply_overlays(
        &self,
        pin: &Path,
        elsewhere: &[PathBuf],
        state: &OverlayState,
    ) -> Result<(), NetworkError> {
        lock(&self.0.overlays).apply(&self.0, pin, elsewhere, state)
    }

    /// Whether this node can keep a network's packets from being read on the wire. It cannot yet: networks that ask for it
    /// get no device here, and a cluster places none of their tasks on this node.
    pub fn can_encrypt(&self) -> bool {
        false
    }

    /// A container is in these overlay networks with these addresses, and calls their services from now on; in none: it
    /// does so no more.
    pub fn call_services(
        &self,
        container: &ContainerId,
        netns: BorrowedFd<'_>,
        networks: BTreeSet<NetworkId>,
        addresses: &[IpAddr],
    ) -> Result<(), NetworkError> {
        let mut overlays = lock(&self.0.overlays);
        let Overlays { callers, state, .. } = &mut *overlays;
        match state {
            Some(state) => callers.attach(container, netns, networks, addresses, state),
            None => Ok(()),
        }
    }

    /// A container ended: its namespace is let go.
    pub fn forget_caller(&self, container: &ContainerId) {
        lock(&self.0.overlays).callers.detach(container);
    }

    /// Whether a container's interface still leads to its overlay network: it does not if the namespace was lost.
    pub fn is_attached(&self, host_name: &str) -> bool {
        let overlays = lock(&self.0.overlays);
        let index = overlays.namespace.as_ref().map(|ns| netlink::link_index(&ns.route, host_name));
        matches!(index, Some(Ok(Some(_))))
    }
}

impl Overlays {
    fn apply(
        &mut self,
        inner: &Inner,
        pin: &Path,
        elsewhere: &[PathBuf],
        state: &OverlayState,
    ) -> Result<(), NetworkError> {
        if state.networks.is_empty() {
            return self.close(inner, Some(pin));
        }
        if self.namespace.is_none() {
            self.namespace = Some(Namespace::open(pin, elsewhere)?);
        }
        // Told the same again: nothing is taken for granted.
        let old = self.state.take().filter(|old| old != state);
        let mut failed = Failed(None);
        // Strangers are kept out before there is anything for them.
        let id = inner.config.daemon_id.as_str();
        failed.note(host_socket(&mut self.host, inner).and_then(|host| self.members.set(host, id, state)));
        self.set_devices(inner, old.as_ref(), state, &mut failed);
        let same_places =
            old.as_ref().is_some_and(|old| (&old.peers, &old.members) == (&state.peers, &state.members));
        if !same_places || self.entries.is_none() || self.routes.is_none() {
            failed.note(self.set_entries(state));
            failed.note(self.set_routes(state));
        }
        failed.note(self.callers.set(old.as_ref(), state));
        failed.note(self.set_mesh(inner, old.as_ref(), state));
        // Last: it takes longest, and who begins anew finds the way already.
        failed.note(self.callers.forget());
        self.state = Some(state.clone());
        failed.0.map_or(Ok(()), Err)
    }

    /// Somebody changed our tables on the host: they are made anew.
    pub(crate) fn repair(&mut self, inner: &Inner) -> Result<(), NetworkError> {
        let Some(state) = self.state.take() else { return Ok(()) };
        tracing::warn!("somebody changed the tables of the cluster's networks: building them anew");
        self.members.forget();
        self.mesh.forget();
        let id = inner.config.daemon_id.as_str();
        let members = host_socket(&mut self.host, inner).and_then(|host| self.members.set(host, id, &state));
        let mesh = self.set_mesh(inner, Some(&state), &state);
        self.state = Some(state);
        members.and(mesh)
    }

    /// Takes everything away: this node has no part in any overlay network.
    pub(crate) fn close(&mut self, inner: &Inner, pin: Option<&Path>) -> Result<(), NetworkError> {
        let mut failed = Failed(None);
        if let Some(state) = self.state.take() {
            let empty = OverlayState { mesh: Vec::new(), services: Vec::new(), peers: Vec::new(), ..state };
            failed.note(self.callers.set(None, &empty));
        }
        let interface = host_interface(&inner.config.daemon_id);
        let mut route = lock(&inner.route);
        if let Ok(Some(index)) = netlink::link_index(&route, &interface) {
            failed
                .note(gone(netlink::remove_link(&mut route, index)).tried(|| format!("remove {interface}")));
        }
        drop(route);
        let id = inner.config.daemon_id.as_str();
        let host = host_socket(&mut self.host, inner);
        failed.note(host.and_then(|host| self.mesh.remove(host, id).and(self.members.remove(host, id))));
        failed.note(lock(&inner.firewall).remove_zone(&ingress_zone()));
        // Devices first: containers that are still there keep the namespace.
        if let Some(mut ns) = self.namespace.take() {
            failed.note(devices::remove_others(&mut ns, &BTreeSet::new()));
            ns.drop_pin();
        } else if let Some(pin) = pin {
            namespace::unpin(pin);
        }
        (self.devices, self.entries, self.routes) = (BTreeMap::new(), None, None);
        failed.0.map_or(Ok(()), Err)
    }

    fn set_devices(
        &mut self,
        inner: &Inner,
        old: Option<&OverlayState>,
        state: &OverlayState,
        failed: &mut Failed,
    ) {
        let Some(ns) = self.namespace.as_mut() else { return };
        let same_place =
            old.is_some_and(|old| (&old.place, old.data_path_port) == (&state.place, state.data_path_port));
        for spec in state.networks.iter().filter(|spec| spec.encrypted) {
            let reason =
                format!("this node cannot encrypt, and {} shall never be sent in the clear", spec.name);
            failed.note(Err(NetworkError::Unsupported { driver: "overlay", reason }));
        }
        let mut devices = BTreeMap::new();
        for spec in plan::served(state) {
            let known = self
                .devices
                .get(&spec.id)
                .filter(|_| same_place && old.is_some_and(|old| old.networks.iter().any(|o| o == spec)));
            let device = match known {
                Some(device) => *device,
                None => match devices::ensure(ns, &mut lock(&inner.route), spec, state) {
                    Ok(device) => device,
                    Err(error) => {
                        failed.note(Err(error));
                        continue;
                    }
                },
            };
            devices.insert(spec.id.clone(), device);
        }
        if self.devices != devices || old.is_none() {
            // What was known of devices that are new is not so.
            (self.entries, self.routes) = (None, None);
        }
        self.devices = devices;
        let wanted = plan::served(state).map(|spec| spec.vni).collect();
        if old
            .is_none_or(|old| plan::served(old).any(|spec| !state.networks.iter().any(|n| n.vni == spec.vni)))
        {
            failed.note(devices::remove_others(ns, &wanted));
        }
        let Some(spec) = plan::ingress(state) else { return };
        let Some(device) = self.devices.get(&spec.id) else { return };
        let same = same_place
            && old.is_some_and(|old| old.members == state.members && plan::ingress(old) == Some(spec));
        if !same {
            failed.note(ingress::ensure(ns, device, spec, &state.members));
        }
    }

    /// Writes who is where.
    fn set_entries(&mut self, state: &OverlayState) -> Result<(), NetworkError> {
        let Some(ns) = self.namespace.as_mut() else { return Ok(()) };
        let wanted = plan::entries(state, &self.devices);
        let mut has = match self.entries.take() {
            Some(has) => has,
            None => {
                let all =
                    netlink::neighbours(&mut ns.route).tried(|| "look at the overlays' neighbours".into())?;
                all.into_iter().filter(|entry| !is_kernels_own(entry)).collect()
            }
        };
        let subjects: BTreeSet<_> = wanted.iter().map(plan::subject).collect();
        let mut result = Ok(());
        let leaving: Vec<Neighbour> = has.difference(&wanted).copied().collect();
        for entry in leaving {
            has.remove(&entry);
            if subjects.contains(&plan::subject(&entry)) {
                continue;
            }
            let done = gone(netlink::remove_neighbour(&mut ns.route, &entry));
            result = result.and(done.tried(|| format!("forget {}", shown(&entry))));
        }
        let coming: Vec<Neighbour> = wanted.difference(&has).copied().collect();
        for entry in coming {
            match netlink::add_neighbour(&mut ns.route, &entry) {
                Ok(()) => {
                    has.insert(entry);
                }
                refused => result = result.and(refused.tried(|| format!("write {}", shown(&entry)))),
            }
        }
        self.entries = Some(has);
        result
    }

    /// Writes by which link each address of the ingress network is reached.
    fn set_routes(&mut self, state: &OverlayState) -> Result<(), NetworkError> {
        let Some(ns) = self.namespace.as_mut() else { return Ok(()) };
        let wanted = plan::routes(state, &self.devices);
        let mut has = match self.routes.take() {
            Some(has) => has,
            None => {
                let all = netlink::routes(&mut ns.route).tried(|| "look at the overlays' routes".into())?;
                let single = all
                    .into_iter()
                    .filter(|r| r.gateway.is_none() && r.prefix == ingress::full(r.destination));
                let ours: BTreeSet<u32> =
                    self.devices.values().flat_map(|d| [Some(d.bridge), d.containers]).flatten().collect();
                single
                    .filter_map(|r| Some((r.destination, r.link.filter(|link| ours.contains(link))?)))
                    .collect()
            }
        };
        let route = |(destination, link): (IpAddr, u32)| Route {
            destination,
            prefix: ingress::full(destination),
            gateway: None,
            link: Some(link),
        };
        let mut result = Ok(());
        let leaving: Vec<(IpAddr, u32)> = has.difference(&wanted).copied().collect();
        for way in leaving {
            has.remove(&way);
            let done = gone(netlink::remove_route(&mut ns.route, &route(way)));
            result = result.and(done.tried(|| format!("take the route to {} away", way.0)));
        }
        let coming: Vec<(IpAddr, u32)> = wanted.difference(&has).copied().collect();
        for way in coming {
            match netlink::add_route(&mut ns.route, &route(way)) {
                Ok(()) => {
                    has.insert(way);
                }
                refused => result = result.and(refused.tried(|| format!("make a route to {}", way.0))),
            }
        }
        self.routes = Some(has);
        result
    }

    fn set_mesh(
        &mut self,
        inner: &Inner,
        old: Option<&OverlayState>,
        state: &OverlayState,
    ) -> Result<(), NetworkError> {
        let Some(ns) = self.namespace.as_mut() else { return Ok(()) };
        let Some(spec) = plan::ingress(state).filter(|_| !state.place.ingress.is_empty()) else {
            return Ok(());
        };
        let interface = host_interface(&inner.config.daemon_id);
        let same = old.is_some_and(|old| old.place == state.place && plan::ingress(old) == Some(spec));
        if !same {
            ingress::link_host(ns, &mut lock(&inner.route), &interface, state, spec)?;
            if inner.config.ip_forward {
                sysctl::set("ipv4/ip_forward", "1")?;
                if spec.subnets.iter().any(|s| s.gateway.is_ipv6()) {
                    sysctl::try_set("ipv6/conf/all/forwarding", "1");
                }
            }
        }
        if !inner.config.firewall {
            return Ok(());
        }
        if !same {
            lock(&inner.firewall).set_zone(&ingress_zone(), mesh::zone(&interface, state))?;
        }
        let host = host_socket(&mut self.host, inner)?;
        let runtime = Handle::try_current().ok();
        self.mesh.set(host, &inner.config.daemon_id, &interface, state, runtime.as_ref())?;
        let Some(old) = old else { return Ok(()) };
        mesh::forget([host, &mut ns.netfilter], old, state)
    }

    /// What the host's firewall knows of published ports' way, if there is one.
    pub(crate) fn zone(&self, daemon_id: &str) -> Option<(NetworkId, Zone)> {
        let state = self.state.as_ref()?;
        plan::ingress(state).filter(|_| !state.place.ingress.is_empty())?;
        Some((ingress_zone(), mesh::zone(&host_interface(daemon_id), state)))
    }

    /// Makes a container's interface in a network, switched off.
    pub(crate) fn connect(
        &mut self,
        netns: BorrowedFd<'_>,
        network: &NetworkId,
        plan: &EndpointPlan,
    ) -> Result<(), NetworkError> {
        let what = || format!("create interface {} of the container", plan.interface);
        let (Some(ns), Some(device)) = (self.namespace.as_mut(), self.devices.get(network)) else {
            let reason = format!("network {} is not on this node", network.short());
            return Err(NetworkError::Unsupported { driver: "overlay", reason });
        };
        let bridge = device.containers.unwrap_or(device.bridge);
        // Left by a container of this endpoint's whose namespace is not gone yet.
        if let Ok(Some(index)) = netlink::link_index(&ns.route, &plan.host_name) {
            gone(netlink::remove_link(&mut ns.route, index)).tried(what)?;
        }
        let veth = Veth {
            name: &plan.host_name,
            master: Some(bridge),
            peer: &plan.interface,
            namespace: netns,
            peer_address: plan.mac().map(|mac| mac.0),
            mtu: device.mtu,
        };
        netlink::create_veth(&mut ns.route, &veth).tried(what)?;
        let Some(containers) = device.containers else { return Ok(()) };
        let own = plan.ipv4.map(|(ip, _)| IpAddr::V4(ip));
        for address in own.into_iter().chain(plan.ipv6.map(|(ip, _)| IpAddr::V6(ip))) {
            let (prefix, link) = (ingress::full(address), Some(containers));
            let route = Route { destination: address, prefix, gateway: None, link };
            netlink::add_route(&mut ns.route, &route).tried(|| format!("make a route to {address}"))?;
            if let Some(routes) = &mut self.routes {
                routes.insert((address, containers));
            }
        }
        Ok(())
    }

    /// The second half of it, when the interface is on: `socket` is in the container's namespace.
    pub(crate) fn settle(
        &mut self,
        socket: &mut Socket,
        network: &NetworkId,
        plan: &EndpointPlan,
    ) -> Result<(), NetworkError> {
        if let Some(ns) = self.namespace.as_mut() {
            endpoint::settle(&mut ns.route, &plan.host_name)?;
        }
        let spec = self.state.iter().flat_map(|state| &state.networks).find(|spec| spec.id == *network);
        match spec {
            Some(spec) if spec.ingress => ingress::answer_from(socket, plan, spec),
            _ => Ok(()),
        }
    }
}

/// Keeps the first failure; what can be done is done.
struct Failed(Option<NetworkError>);

impl Failed {
    fn note(&mut self, result: Result<(), NetworkError>) {
        if let Err(error) = result {
            tracing::warn!(%error, "an overlay network is not as it shall be");
            self.0.get_or_insert(error);
        }
    }
}

/// The host's end of the way of published ports.
fn host_interface(daemon_id: &str) -> String {
    format!("mesh-{daemon_id}")
}

/// The network that the host's firewall knows the mesh by.
fn ingress_zone() -> NetworkId {
    // No id of a network: those are random.
    NetworkId::parse(&"0".repeat(64)).unwrap_or_else(NetworkId::random)
}

/// The bytes of an address.
fn bytes(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    }
}

/// What is gone already is as good as taken away.
fn gone(result: Result<(), Refused>) -> Result<(), Refused> {
    match result {
        Err(refused) if [Errno::NOENT, Errno::NODEV, Errno::SRCH].iter().any(|errno| refused.is(*errno)) => {
            Ok(())
        }
        result => result,
    }
}

/// Multicast and link-local neighbours come with the interface.
fn is_kernels_own(entry: &Neighbour) -> bool {
    let mac = match entry {
        Neighbour::Remote { mac, .. } | Neighbour::Port { mac, .. } | Neighbour::Address { mac, .. } => mac,
    };
    mac[0] & 1 == 1
}

fn shown(entry: &Neighbour) -> String {
    match entry {
        Neighbour::Remote { mac, to, .. } => format!("that {} is behind {to}", crate::Mac(*mac)),
        Neighbour::Port { mac, .. } => format!("that {} is elsewhere", crate::Mac(*mac)),
        Neighbour::Address { address, mac, .. } => format!("that {address} has {}", crate::Mac(*mac)),
    }
}

fn host_socket<'a>(socket: &'a mut Option<Socket>, inner: &Inner) -> Result<&'a mut Socket, NetworkError> {
    if socket.is_none() {
        let opened = Socket::open(Family::Netfilter).tried(|| "open a netfilter socket".into())?;
        inner.overlays_port.store(opened.port(), Ordering::Relaxed);
        *socket = Some(opened);
    }
    socket.as_mut().ok_or_else(|| NetworkError::io("open a netfilter socket", Errno::BADF))
}
