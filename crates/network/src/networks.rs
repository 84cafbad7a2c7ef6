//! The room's door: everything that others ask of networks.

use crate::{
    NetworkError,
    bridge::{self, GatewayMode, Options},
    endpoint::{self, Attachment, EndpointPlan},
    error::Tried,
    firewall::{
        apply::Firewall,
        host,
        openings::{Directly, holds, openings, routed_ports},
        plan::{Linked, Opening, Zone},
    },
    ipam::{self, AddressPool, Pools},
    macvlan,
    overlay::Overlays,
    ports::{PortRequest, Ports, Taken, Target},
    sysctl, watch,
};
use minke_linux::netlink::{self, Family, Socket};
use minke_model::{
    ContainerId, EndpointId, NetworkId,
    network::{IpamPool, Network, NetworkDriver, NetworkSpec, Subnet},
    port::{Protocol, PublishedPort},
};
use rustix::{
    fd::{BorrowedFd, OwnedFd},
    fs::{FlockOperation, flock},
    io::Errno,
};
use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::AtomicU32},
};
use tokio::runtime::Handle;

/// Who decides whether traffic reaches a published port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PublishPolicy {
    /// The host's own forward rules.
    Host,
    /// Nobody: a published port is open, as Docker has it.
    Open,
}

/// What a daemon knows at its start.
#[derive(Clone, Debug)]
pub struct NetworkConfig {
    /// 8 hex digits, in the names of all that is made.
    pub daemon_id: String,
    /// For published ports.
    pub policy: PublishPolicy,
    /// `--default-address-pool`; empty is Docker's.
    pub pools: Vec<AddressPool>,
    /// `--ip`: where ports appear that are published without an address.
    pub binding: IpAddr,
    /// Whether the host may be made a router where containers need it (`--ip-forward`).
    pub ip_forward: bool,
    /// Whether there are firewall rules at all (`--iptables`). Without them no port is published but by copying.
    pub firewall: bool,
    /// Whether published ports are reached by the containers' own addresses too (`--allow-direct-routing`).
    pub direct_routing: bool,
    /// For tests.
    pub faults: Faults,
}

/// What shall fail as it would on a machine that forbids it: dockerd's own switches for tests (moby
/// `libnetwork/drivers/bridge` and `osl`), so that its stories can be told of this daemon too.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// This bridge cannot be made.
    pub bridge: Option<String>,
    /// IPv6 cannot be switched off for an interface.
    pub ipv6_stays: bool,
}

impl Default for NetworkConfig {
    fn default() -> Self {
        Self {
            daemon_id: "00000000".into(),
            policy: PublishPolicy::Host,
            pools: Vec::new(),
            binding: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            ip_forward: true,
            firewall: true,
            direct_routing: false,
            faults: Faults::default(),
        }
    }
}

/// A container that runs, as far as its ports go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Running {
    /// Which.
    pub container: ContainerId,
    /// Where its ports lead.
    pub target: Target,
    /// What is published.
    pub published: Vec<PublishedPort>,
    /// What it reaches of neighbours that it is kept apart from.
    pub linked: Vec<Linked>,
}

/// All that shall be: what a daemon tells at its start.
#[derive(Clone, Debug, Default)]
pub struct State {
    /// All networks.
    pub networks: Vec<Network>,
    /// All containers that run.
    pub running: Vec<Running>,
}

/// Keeps other daemons of this host from choosing address ranges while it lives. Hold it until the bridge is there.
#[derive(Debug)]
pub struct PoolLock {
    _namespace: OwnedFd,
}

/// The networks of one daemon. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Networks(pub(crate) Arc<Inner>);

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) config: NetworkConfig,
    pools: Pools,
    /// For links, in the host's namespace.
    pub(crate) route: Mutex<Socket>,
    pub(crate) firewall: Mutex<Firewall>,
    ports: Mutex<Ports>,
    pub(crate) overlays: Mutex<Overlays>,
    /// By which the overlays' own changes of the host's rules are known; 0 before there are any.
    pub(crate) overlays_port: AtomicU32,
}

/// A poisoned lock guards data that is still whole: every change of it is one assignment.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Networks {
    /// Opens the sockets that everything is asked by. Changes nothing yet. Copiers run on the tokio runtime that this is
    /// called in, as does the
    /// task that repairs what others change of the firewall.
    pub fn open(config: NetworkConfig) -> Result<Self, NetworkError> {
        let route = Socket::open(Family::Route).tried(|| "open a route socket".into())?;
        let firewall = Firewall::new(&config.daemon_id, config.policy == PublishPolicy::Open)?;
        let ports = Ports::new(Handle::try_current().ok());
        let pools = Pools::new(&config.pools, &config.daemon_id);
        let (route, firewall, ports) = (Mutex::new(route), Mutex::new(firewall), Mutex::new(ports));
        let watched = config.firewall;
        let (overlays, overlays_port) = (Mutex::default(), AtomicU32::new(0));
        let inner = Arc::new(Inner { config, pools, route, firewall, ports, overlays, overlays_port });
        if let (true, Ok(runtime)) = (watched, Handle::try_current()) {
            runtime.spawn(watch::run(watch::open()?, Arc::downgrade(&inner)));
        }
        Ok(Self(inner))
    }

    /// Reads a network's options, with the daemon's defaults.
    pub fn options(&self, spec: &NetworkSpec) -> Result<Options, NetworkError> {
        Options::read(&spec.options, self.0.config.binding)
    }

    /// The name of a network's device: as asked, or by its id. Empty for networks without one.
    pub fn device_name(&self, id: &NetworkId, spec: &NetworkSpec) -> Result<String, NetworkError> {
        if spec.driver != NetworkDriver::Bridge {
            return Ok(String::new());
        }
        let asked = Options::bridge_name(&spec.options)?;
        Ok(asked.map_or_else(|| format!("br-{}", id.short()), str::to_owned))
    }

    /// A name for an endpoint's device on the host: `veth`, four digits of the daemon's id, seven of the endpoint's.
    pub fn host_name(&self, endpoint: &EndpointId) -> String {
        let daemon = self.0.config.daemon_id.get(..4).unwrap_or_default();
        format!("veth{daemon}{}", &endpoint.as_str()[..7])
    }

    /// Checks a new network and decides its address ranges, against other networks of this daemon and all that the host
    /// uses. `device` may exist already with an address: then that is its range. Keep the lock until [`Networks::ensure`].
    pub fn decide(
        &self,
        spec: &mut NetworkSpec,
        device: &str,
        others: &[Network],
    ) -> Result<PoolLock, NetworkError> {
        let options = self.options(spec)?;
        self.check_driver(spec)?;
        let namespace = netlink::own_namespace()
            .map_err(|source| NetworkError::io("open the host's network namespace", source))?;
        flock(&namespace, FlockOperation::LockExclusive)
            .map_err(|errno| NetworkError::io("lock the host's address ranges", errno))?;
        if matches!(spec.driver, NetworkDriver::Host | NetworkDriver::None) {
            return Ok(PoolLock { _namespace: namespace });
        }
        let networks: Vec<Subnet> =
            others.iter().flat_map(|n| n.spec.pools.iter().map(|pool| pool.subnet)).collect();
        let (host, own) = self.host_subnets(device)?;
        if let Some(own) = own.filter(|own| !networks.iter().any(|n| n.overlaps(own)))
            && spec.ipv4
            && !spec.pools.iter().any(|pool| pool.subnet.address.is_ipv4())
        {
            spec.pools.insert(
                0,
                IpamPool {
                    subnet: Subnet { address: own.network(), ..own },
                    range: None,
                    gateway: Some(own.address),
                    auxiliary: BTreeMap::new(),
                    user_given: false,
                    gateway_chosen: false,
                },
            );
        }
        let internal = spec.internal;
        let without_gateway = |ipv6: bool| options.without_gateway(ipv6, internal);
        ipam::decide(spec, &self.0.pools, &networks, &host, without_gateway)?;
        Ok(PoolLock { _namespace: namespace })
    }

    fn check_driver(&self, spec: &NetworkSpec) -> Result<(), NetworkError> {
        match spec.driver {
            NetworkDriver::Ipvlan => {
                let reason = "ipvlan is not supported; macvlan is".to_owned();
                Err(NetworkError::Unsupported { driver: "ipvlan", reason })
            }
            NetworkDriver::Macvlan => macvlan::read(&spec.options).map(drop),
            _ => Ok(()),
        }
    }

    /// Makes a network's device and lets the firewall know it. What is there already is kept.
    pub fn ensure(&self, network: &Network) -> Result<(), NetworkError> {
        match network.spec.driver {
            NetworkDriver::Bridge => {}
            NetworkDriver::Macvlan => {
                let parent = macvlan::read(&network.spec.options)?;
                return macvlan::parent(&mut lock(&self.0.route), &parent).map(drop);
            }
            NetworkDriver::Ipvlan => return self.check_driver(&network.spec),
            NetworkDriver::Host | NetworkDriver::None | NetworkDriver::Overlay => return Ok(()),
        }
        let options = self.options(&network.spec)?;
        self.make_device(network, &options)?;
        if !self.0.config.firewall {
            return Ok(());
        }
        lock(&self.0.firewall).set_zone(&network.id, bridge::zone(network, &options))
    }

    fn make_device(&self, network: &Network, options: &Options) -> Result<(), NetworkError> {
        if self.0.config.faults.bridge.as_ref() == Some(&network.bridge) {
            return Err(NetworkError::io(format!("make bridge {}", network.bridge), Errno::PERM));
        }
        bridge::ensure(&mut lock(&self.0.route), network, options)?;
        if network.spec.internal || !self.0.config.ip_forward {
            return Ok(());
        }
        for (name, ipv6) in [("ipv4/ip_forward", false), ("ipv6/conf/all/forwarding", true)] {
            let needed = network.spec.pools.iter().any(|pool| pool.subnet.address.is_ipv6() == ipv6);
            if !needed || sysctl::get(name).as_deref() == Some("1") {
                continue;
            }
            if ipv6 {
                keep_router_advertisements();
            }
            sysctl::set(name, "1")?;
            tracing::info!("net.{} is set to 1: containers need a router", name.replace('/', "."));
        }
        Ok(())
    }

    /// Takes a network's device away, and what the firewall has of it.
    pub fn remove(&self, network: &Network) -> Result<(), NetworkError> {
        if network.spec.driver != NetworkDriver::Bridge {
            return Ok(());
        }
        // First the device: while it is there, the firewall still knows it.
        bridge::remove(&mut lock(&self.0.route), &network.bridge)?;
        lock(&self.0.firewall).remove_zone(&network.id)
    }

    /// Gives the container behind `netns` an interface in a network. Its loopback is switched on too.
    pub fn connect(
        &self,
        netns: BorrowedFd<'_>,
        network: &Network,
        plan: &EndpointPlan,
    ) -> Result<(), NetworkError> {
        self.connect_all(netns, &[(network, plan)], || ())
    }

    /// Gives a container that starts all its interfaces, then runs `inside` in its namespace. One short-lived thread does
    /// all that has to be done there. When anything fails, no interface stays.
    pub fn connect_all<T: Send>(
        &self,
        netns: BorrowedFd<'_>,
        endpoints: &[(&Network, &EndpointPlan)],
        inside: impl FnOnce() -> T + Send,
    ) -> Result<T, NetworkError> {
        let mut made: Vec<&EndpointPlan> = Vec::new();
        let done = endpoint::inside(netns, |socket| {
            endpoint::loopback_up(socket)?;
            for (network, plan) in endpoints {
                let quiet = (!plan.has_ipv6()).then(endpoint::WithoutIpv6::new);
                if !self.create_interface(netns, network, plan)? {
                    continue;
                }
                drop(quiet);
                made.push(plan);
                endpoint::set_up(socket, plan, self.0.config.faults.ipv6_stays)?;
                if network.spec.driver == NetworkDriver::Bridge {
                    let mut host = lock(&self.0.route);
                    endpoint::settle(&mut host, &plan.host_name)?;
                    endpoint::settle(&mut host, &network.bridge)?;
                }
                if network.spec.driver == NetworkDriver::Overlay {
                    lock(&self.0.overlays).settle(socket, &network.id, plan)?;
                }
                endpoint::announce(socket, plan)?;
            }
            Ok(inside())
        });
        done.inspect_err(|_| endpoint::disconnect_all(netns, &made))
    }

    /// Makes an endpoint's interface; `false` where a network has none.
    fn create_interface(
        &self,
        netns: BorrowedFd<'_>,
        network: &Network,
        plan: &EndpointPlan,
    ) -> Result<bool, NetworkError> {
        if network.spec.driver == NetworkDriver::Overlay {
            return lock(&self.0.overlays).connect(netns, &network.id, plan).map(|()| true);
        }
        // Held for this interface only: other containers start at the same time.
        let mut socket = lock(&self.0.route);
        let attachment = match network.spec.driver {
            NetworkDriver::Bridge => {
                let options = self.options(&network.spec)?;
                let name = &network.bridge;
                let found = netlink::link_index(&socket, name).tried(|| format!("look for bridge {name}"))?;
                let index = match found {
                    Some(index) => index,
                    // Somebody took it away: it is made again.
                    None => bridge::ensure(&mut socket, network, &options)?,
                };
                Attachment::Bridge { index, mtu: options.mtu, apart: !options.icc }
            }
            NetworkDriver::Macvlan => {
                let options = macvlan::read(&network.spec.options)?;
                let index = macvlan::parent(&mut socket, &options)?;
                Attachment::Parent { index, mode: options.mode, mtu: options.mtu }
            }
            NetworkDriver::Ipvlan => return self.check_driver(&network.spec).map(|()| false),
            NetworkDriver::Host | NetworkDriver::None | NetworkDriver::Overlay => return Ok(false),
        };
        endpoint::create(&mut socket, netns, &attachment, plan).map(|()| true)
    }

    /// Takes an interface of a running container away. Not needed at a container's end: its namespace takes all with it.
    pub fn disconnect(&self, netns: BorrowedFd<'_>, interface: &str) -> Result<(), NetworkError> {
        endpoint::disconnect(netns, interface)
    }

    /// Gives the default route to an interface that a running container has already.
    pub fn set_default_route(
        &self,
        netns: BorrowedFd<'_>,
        interface: &str,
        gateway4: Option<Ipv4Addr>,
        gateway6: Option<Ipv6Addr>,
    ) -> Result<(), NetworkError> {
        endpoint::set_default_route(netns, interface, gateway4, gateway6)
    }

    /// Switches a container's loopback on: all that a container without networks has.
    pub fn loopback_up(&self, netns: BorrowedFd<'_>) -> Result<(), NetworkError> {
        endpoint::inside(netns, endpoint::loopback_up)
    }

    /// Publishes ports of a container, all or none: finds and holds host ports, sends their traffic to the container. A
    /// port of a network in `routed` mode has host port 0: it is reached by the container's own address.
    pub fn publish(
        &self,
        container: &ContainerId,
        network: &Network,
        target: Target,
        requests: &[PortRequest],
    ) -> Result<Vec<PublishedPort>, NetworkError> {
        let options = self.options(&network.spec)?;
        if requests.is_empty() || network.spec.internal || network.spec.driver != NetworkDriver::Bridge {
            return Ok(Vec::new());
        }
        let default = match options.host_binding {
            IpAddr::V4(Ipv4Addr::UNSPECIFIED) => {
                vec![IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V6(Ipv6Addr::UNSPECIFIED)]
            }
            binding => vec![binding],
        };
        let is_routed = |ipv6: bool| match ipv6 {
            true => options.ipv6 == GatewayMode::Routed && target.ipv6.is_some(),
            false => options.ipv4 == GatewayMode::Routed && target.ipv4.is_some(),
        };
        let routed = routed_ports(is_routed, requests);
        let default: Vec<IpAddr> = default.into_iter().filter(|ip| !is_routed(ip.is_ipv6())).collect();
        let translated: Vec<PortRequest> = requests
            .iter()
            .filter(|r| r.binding.host_ip.map_or(!default.is_empty(), |ip| !is_routed(ip.is_ipv6())))
            .cloned()
            .collect();
        let behind = Target {
            ipv4: target.ipv4.filter(|_| !is_routed(false)),
            ipv6: target.ipv6.filter(|_| !is_routed(true)),
        };
        let taken = lock(&self.0.ports).take(container, behind, &default, &translated)?;
        let published: Vec<PublishedPort> = taken.iter().map(|t| t.at).chain(routed).collect();
        if !self.0.config.firewall {
            return Ok(published);
        }
        let openings = openings(target, &published, Directly::of(&options, self.0.config.direct_routing));
        let mut firewall = lock(&self.0.firewall);
        if let Err(error) = firewall.add_openings(container, &openings) {
            drop(firewall);
            lock(&self.0.ports).give_back(container, &taken);
            return Err(error);
        }
        forget_udp(&mut firewall, &taken);
        Ok(published)
    }

    /// Withdraws all ports of a container.
    pub fn unpublish(&self, container: &ContainerId) -> Result<(), NetworkError> {
        self.withdraw(container, |_| true)
    }

    /// Withdraws the ports of a container that lead to an address: it leaves that network.
    pub fn unpublish_target(&self, container: &ContainerId, target: Target) -> Result<(), NetworkError> {
        self.withdraw(container, |to| match to {
            IpAddr::V4(ip) => target.ipv4 == Some(ip),
            IpAddr::V6(ip) => target.ipv6 == Some(ip),
        })
    }

    fn withdraw(&self, container: &ContainerId, which: impl Fn(IpAddr) -> bool) -> Result<(), NetworkError> {
        let mut firewall = lock(&self.0.firewall);
        let gone = firewall.remove_openings(container, |opening| match opening {
            Opening::Translated { to, .. } | Opening::Routed { to, .. } | Opening::Trusted { to, .. } => {
                which(to.ip())
            }
            Opening::Linked(linked) => which(linked.from.into()),
        });
        drop(firewall);
        // The ports are free in any case: with the socket gone, nobody is there to answer.
        let gone_ports = lock(&self.0.ports).release(container, which);
        let gone = gone?;
        if gone_ports.iter().any(|t| t.at.container.protocol == Protocol::Udp) && !gone.is_empty() {
            forget_udp(&mut lock(&self.0.firewall), &gone_ports);
        }
        Ok(())
    }

    /// What a user should know of ports just published: where the host's own firewall drops traffic to them, and the
    /// command that lets it pass. Empty where it does not, where a rule lets it pass already, or where the policy is `Open`.
    pub fn warnings(&self, published: &[PublishedPort]) -> Vec<String> {
        let mut firewall = lock(&self.0.firewall);
        let mut warnings = Vec::new();
        for blocker in firewall.blockers() {
            let passes = host::passes(firewall.socket(), &blocker).unwrap_or_default();
            for port in published.iter().filter(|port| port.host_port != 0 && !port.host_ip.is_loopback()) {
                let (number, protocol) = (port.host_port, port.container.protocol.to_string());
                if !blocker.sees(port.host_ip)
                    || passes.iter().any(|(first, last)| (first..=last).contains(&&number))
                {
                    continue;
                }
                let warning = format!(
                    "port {number}/{protocol} is published, but the firewall of this host drops forwarded packets \
                     ({blocker}). To let it pass: {}",
                    blocker.command(&protocol, number)
                );
                if !warnings.contains(&warning) {
                    warnings.push(warning);
                }
            }
        }
        warnings
    }

    /// Makes all that shall be, and nothing else: the firewall's table anew, host sockets held again, devices made. For a
    /// daemon's start. A port that another process took meanwhile is told, and stays published by the firewall.
    pub fn sync(&self, state: &State) -> Result<(), NetworkError> {
        let mut zones: BTreeMap<NetworkId, Zone> = BTreeMap::new();
        for network in state.networks.iter().filter(|n| n.spec.driver == NetworkDriver::Bridge) {
            let options = self.options(&network.spec)?;
            if let Err(error) = self.make_device(network, &options) {
                if is_default_bridge(network) {
                    return Err(error);
                }
                // The others go on; this one can be removed, and made again by who connects to it.
                tracing::error!(%error, "network {} is not there", network.spec.name);
                continue;
            }
            zones.insert(network.id.clone(), bridge::zone(network, &options));
        }
        let mut all: BTreeMap<ContainerId, Vec<Opening>> = BTreeMap::new();
        {
            let mut ports = lock(&self.0.ports);
            ports.clear();
            for running in &state.running {
                for at in running.published.iter().filter(|at| at.host_port != 0) {
                    let Some(to) = running.target.behind(at.host_ip) else { continue };
                    if let Err(error) = ports.hold_again(&running.container, at, to) {
                        tracing::warn!(container = running.container.short(), %error, "a published port is not held");
                    }
                }
                let linked = running.linked.iter().copied().map(Opening::Linked);
                let network = state.networks.iter().find(|network| holds(network, running.target));
                let directly = match network {
                    Some(network) => {
                        Directly::of(&self.options(&network.spec)?, self.0.config.direct_routing)
                    }
                    None => Directly::Nobody,
                };
                let openings: Vec<Opening> = openings(running.target, &running.published, directly)
                    .into_iter()
                    .chain(linked)
                    .collect();
                if !openings.is_empty() {
                    all.entry(running.container.clone()).or_default().extend(openings);
                }
            }
        }
        let overlays = lock(&self.0.overlays).zone(&self.0.config.daemon_id);
        zones.extend(overlays);
        if !self.0.config.firewall || zones.is_empty() {
            return lock(&self.0.firewall).remove();
        }
        lock(&self.0.firewall).reset(zones, all)
    }

    /// The end of a daemon. With `keep` (containers run on) all stays as it is; without, the firewall's table and the
    /// bridges of `networks` go.
    pub fn close(&self, keep: bool, networks: &[Network]) -> Result<(), NetworkError> {
        lock(&self.0.ports).clear();
        if keep {
            return Ok(());
        }
        let overlays = lock(&self.0.overlays).close(&self.0, None);
        let mut result = lock(&self.0.firewall).remove().and(overlays);
        for network in networks.iter().filter(|n| n.spec.driver == NetworkDriver::Bridge) {
            result = result.and(bridge::remove(&mut lock(&self.0.route), &network.bridge));
        }
        result
    }
}

/// Whether it is the one that containers are in if they ask for none.
fn is_default_bridge(network: &Network) -> bool {
    network.spec.options.get("com.docker.network.bridge.default_bridge").is_some_and(|value| value == "true")
}

/// Forgets UDP flows to these ports, or to their containers: a sender that goes on would otherwise be led to who was there
/// before. TCP needs no such thing: its flows end.
fn forget_udp(firewall: &mut Firewall, taken: &[Taken]) {
    let udp: Vec<&Taken> = taken.iter().filter(|t| t.at.container.protocol == Protocol::Udp).collect();
    if udp.is_empty() {
        return;
    }
    let forgotten = netlink::forget_flows(firewall.socket(), |flow| {
        flow.protocol == 17 && udp.iter().any(|t| t.at.host_port == flow.port || t.to.ip() == flow.answerer)
    });
    if let Err(refused) = forgotten {
        tracing::warn!(%refused, "old UDP flows could not be forgotten");
    }
}

/// A router ignores router advertisements; the host's own way out may depend on them (`accept_ra` 1 becomes 2).
fn keep_router_advertisements() {
    let Ok(interfaces) = std::fs::read_dir("/proc/sys/net/ipv6/conf") else { return };
    for interface in interfaces.flatten() {
        let name = interface.file_name();
        let Some(name) = name.to_str() else { continue };
        let parameter = format!("ipv6/conf/{name}/accept_ra");
        if sysctl::get(&parameter).as_deref() == Some("1") {
            sysctl::try_set(&parameter, "2");
        }
    }
}
