//! A container's end of a network: an interface in its namespace.

use crate::{NetworkError, error::Tried, mac::Mac, sysctl};
use minke_linux::netlink::{
    self, Address, BridgePort, Family, LinkChange, Macvlan, MacvlanMode, Route, Socket, Veth,
};
use rustix::{fd::BorrowedFd, io::Errno};
use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

/// `lo` is the first interface of every namespace.
const LOOPBACK: u32 = 1;

/// What an interface in a container shall be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EndpointPlan {
    /// Its name there, `eth0`.
    pub interface: String,
    /// The name of its other end on the host, unique per start.
    pub host_name: String,
    /// Its hardware address; `None` follows from its IP address.
    pub mac: Option<Mac>,
    /// Address and prefix.
    pub ipv4: Option<(Ipv4Addr, u8)>,
    /// Address and prefix.
    pub ipv6: Option<(Ipv6Addr, u8)>,
    /// Further addresses, each of one host.
    pub link_local: Vec<IpAddr>,
    /// Makes the default route go by this network.
    pub gateway4: Option<Ipv4Addr>,
    /// Makes the default route go by this network.
    pub gateway6: Option<Ipv6Addr>,
    /// `com.docker.network.endpoint.sysctls`: names below `net/` with `IFNAME` in them, and values.
    pub sysctls: Vec<(String, String)>,
}

impl EndpointPlan {
    /// The address that its interface has.
    pub fn mac(&self) -> Option<Mac> {
        self.mac.or_else(|| self.usual_mac())
    }

    /// Whether it speaks IPv6 at all.
    pub(crate) fn has_ipv6(&self) -> bool {
        self.ipv6.is_some() || self.link_local.iter().any(IpAddr::is_ipv6)
    }

    fn usual_mac(&self) -> Option<Mac> {
        let ipv4 = self.ipv4.map(|(ip, _)| IpAddr::V4(ip));
        ipv4.or(self.ipv6.map(|(ip, _)| IpAddr::V6(ip))).map(Mac::of)
    }

    /// Reads the sysctls of an endpoint's options: `net.ipv4.conf.IFNAME.log_martians=1,…`.
    pub fn sysctls_of(options: &BTreeMap<String, String>) -> Result<Vec<(String, String)>, NetworkError> {
        let option = "com.docker.network.endpoint.sysctls";
        let Some(text) = options.get(option) else { return Ok(Vec::new()) };
        let mut sysctls = Vec::new();
        for part in text.split(',') {
            let bad =
                |reason| NetworkError::InvalidOption { option: option.into(), value: part.into(), reason };
            let (name, value) = part.split_once('=').ok_or_else(|| bad("it must be name=value"))?;
            let words: Vec<&str> = name.split('.').collect();
            let [first, family, group, interface, rest @ ..] = words.as_slice() else {
                return Err(bad("it must be net.X.Y.IFNAME.Z"));
            };
            // None of the words may lead elsewhere.
            let plain = |w: &&str| {
                !w.is_empty() && w.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-')
            };
            if *first != "net"
                || !interface.eq_ignore_ascii_case("IFNAME")
                || rest.len() != 1
                || !words.iter().all(plain)
            {
                return Err(bad("it must be net.X.Y.IFNAME.Z"));
            }
            sysctls.push((format!("{family}/{group}/IFNAME/{}", rest[0]), value.to_owned()));
        }
        Ok(sysctls)
    }
}

/// Where the interface's other end is.
pub(crate) enum Attachment {
    /// A port of a bridge: its number, packet size, whether it is kept apart from other ports.
    Bridge { index: u32, mtu: u32, apart: bool },
    /// A host's interface that it shares.
    Parent { index: u32, mode: MacvlanMode, mtu: u32 },
}

/// Makes the interface, switched off.
pub(crate) fn create(
    socket: &mut Socket,
    namespace: BorrowedFd<'_>,
    attachment: &Attachment,
    plan: &EndpointPlan,
) -> Result<(), NetworkError> {
    let what = || format!("create interface {} of the container", plan.interface);
    match *attachment {
        Attachment::Bridge { index, mtu, apart } => {
            let veth = Veth {
                name: &plan.host_name,
                master: Some(index),
                peer: &plan.interface,
                namespace,
                peer_address: plan.mac().map(|mac| mac.0),
                mtu,
            };
            netlink::create_veth(socket, &veth).tried(what)?;
            let port = BridgePort { isolated: apart, hairpin: bridge_calls_netfilter() };
            if port != BridgePort::default() {
                netlink::set_bridge_port(socket, &plan.host_name, port)
                    .tried(|| format!("set up bridge port {}", plan.host_name))?;
            }
        }
        Attachment::Parent { index, mode, mtu } => {
            let macvlan = Macvlan {
                name: &plan.interface,
                parent: index,
                mode,
                namespace,
                address: plan.mac().map(|mac| mac.0),
                mtu,
            };
            netlink::create_macvlan(socket, &macvlan).tried(what)?;
        }
    }
    Ok(())
}

/// Whether bridged packets pass netfilter too (`br_netfilter`). Then a packet to a port that its own sender publishes is
/// translated while it is bridged, and has to leave by the port that it came by.
fn bridge_calls_netfilter() -> bool {
    let calls = |name| sysctl::get(name).as_deref() == Some("1");
    calls("bridge/bridge-nf-call-iptables") || calls("bridge/bridge-nf-call-ip6tables")
}

/// Runs `work` inside of a namespace with a socket there.
pub(crate) fn inside<T: Send>(
    namespace: BorrowedFd<'_>,
    work: impl FnOnce(&mut Socket) -> Result<T, NetworkError> + Send,
) -> Result<T, NetworkError> {
    netlink::within(namespace, || {
        let mut socket =
            Socket::open(Family::Route).tried(|| "open a route socket in the container".into())?;
        work(&mut socket)
    })
    .map_err(|source| NetworkError::io("enter the container's network namespace", source))?
}

/// Inside: parameters, addresses, on, routes. In this order no packet leaves that the final setting would not send.
/// `ipv6_stays`: it cannot be switched off here.
pub(crate) fn set_up(socket: &mut Socket, plan: &EndpointPlan, ipv6_stays: bool) -> Result<(), NetworkError> {
    let name = plan.interface.as_str();
    let link = index(socket, name)?
        .ok_or_else(|| NetworkError::io(format!("find interface {name}"), Errno::NODEV))?;
    let has_ipv6 = plan.has_ipv6();
    let switch = format!("ipv6/conf/{name}/disable_ipv6");
    let wanted = if has_ipv6 { "0" } else { "1" };
    match sysctl::set(&switch, wanted) {
        Ok(()) if has_ipv6 || !ipv6_stays => {}
        // A kernel without IPv6.
        Err(NetworkError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) if has_ipv6 => tracing::warn!(%error, "interface {name} has no IPv6"),
        // It would have an address that nobody gave it.
        _ => return Err(NetworkError::Ipv6Stays { interface: name.to_owned() }),
    }
    if has_ipv6 {
        // Addresses come from us: no wait for a duplicate's answer, no advertisements.
        sysctl::try_set(&format!("ipv6/conf/{name}/accept_dad"), "0");
        sysctl::try_set(&format!("ipv6/conf/{name}/accept_ra"), "0");
    }
    for (parameter, value) in &plan.sysctls {
        sysctl::set(&parameter.replace("IFNAME", name), value)?;
    }
    let ipv4 = plan.ipv4.map(|(ip, prefix)| (IpAddr::V4(ip), prefix));
    let ipv6 = plan.ipv6.map(|(ip, prefix)| (IpAddr::V6(ip), prefix));
    let single = |ip: &IpAddr| (*ip, if ip.is_ipv4() { 32 } else { 128 });
    for (ip, prefix) in ipv4.into_iter().chain(ipv6).chain(plan.link_local.iter().map(single)) {
        let address = Address { link, ip, prefix };
        netlink::add_address(socket, &address)
            .tried(|| format!("give interface {name} the address {ip}/{prefix}"))?;
    }
    let up = LinkChange { up: Some(true), ..LinkChange::default() };
    netlink::set_link(socket, link, &up).tried(|| format!("switch interface {name} on"))?;
    add_default_routes(socket, link, name, plan.gateway4, plan.gateway6)
}

/// Tells neighbours of an interface's unusual hardware address, if it has one: they may remember the usual one for its IP
/// address. The kernel does it when the address is set again.
pub(crate) fn announce(socket: &mut Socket, plan: &EndpointPlan) -> Result<(), NetworkError> {
    let name = plan.interface.as_str();
    let Some(mac) = plan.mac.filter(|mac| Some(*mac) != plan.usual_mac()) else { return Ok(()) };
    let Some(link) = index(socket, name)? else { return Ok(()) };
    sysctl::try_set(&format!("ipv4/conf/{name}/arp_notify"), "1");
    sysctl::try_set(&format!("ipv6/conf/{name}/ndisc_notify"), "1");
    netlink::set_address(socket, link, mac.0).tried(|| format!("give interface {name} the MAC address {mac}"))
}

/// Makes the kernel act on what it knows of a link of the host: a bridge forwards by a port, and sends by itself, only
/// after a worker has noticed that the other end is on. From 6.13 on a look makes it notice at once; without, a first
/// packet may be lost, and asked for again after a second.
pub(crate) fn settle(socket: &mut Socket, name: &str) -> Result<(), NetworkError> {
    netlink::link_by_name(socket, name).tried(|| format!("look at link {name}")).map(drop)
}

/// Keeps IPv6 off for interfaces that are made in the calling thread's namespace while it lives. Switching it off for one
/// that is there needs the kernel's one lock of all networking, and spins for it.
pub(crate) struct WithoutIpv6(bool);

/// What a new interface starts with.
const NEW_INTERFACES: &str = "ipv6/conf/default/disable_ipv6";

impl WithoutIpv6 {
    pub(crate) fn new() -> Self {
        let change = sysctl::get(NEW_INTERFACES).as_deref() == Some("0");
        if change {
            sysctl::try_set(NEW_INTERFACES, "1");
        }
        Self(change)
    }
}

impl Drop for WithoutIpv6 {
    fn drop(&mut self) {
        if self.0 {
            sysctl::try_set(NEW_INTERFACES, "0");
        }
    }
}

fn add_default_routes(
    socket: &mut Socket,
    link: u32,
    name: &str,
    gateway4: Option<Ipv4Addr>,
    gateway6: Option<Ipv6Addr>,
) -> Result<(), NetworkError> {
    for gateway in gateway4.map(IpAddr::V4).into_iter().chain(gateway6.map(IpAddr::V6)) {
        netlink::add_route(socket, &Route::default_by(gateway, link))
            .tried(|| format!("make {gateway} by {name} the default gateway"))?;
    }
    Ok(())
}

/// Gives the default route to an interface that is there already.
pub(crate) fn set_default_route(
    namespace: BorrowedFd<'_>,
    interface: &str,
    gateway4: Option<Ipv4Addr>,
    gateway6: Option<Ipv6Addr>,
) -> Result<(), NetworkError> {
    inside(namespace, |socket| {
        let found = index(socket, interface)?;
        let link =
            found.ok_or_else(|| NetworkError::io(format!("find interface {interface}"), Errno::NODEV))?;
        add_default_routes(socket, link, interface, gateway4, gateway6)
    })
}

/// Takes the interface away; one that is gone is no error.
pub(crate) fn disconnect(namespace: BorrowedFd<'_>, interface: &str) -> Result<(), NetworkError> {
    inside(namespace, |socket| {
        let Some(link) = index(socket, interface)? else { return Ok(()) };
        match netlink::remove_link(socket, link) {
            Err(refused) if !refused.is(Errno::NODEV) => {
                Err(refused).tried(|| format!("remove interface {interface}"))
            }
            _ => Ok(()),
        }
    })
}

/// Takes interfaces away after a failure: that failure is the one to tell.
pub(crate) fn disconnect_all(namespace: BorrowedFd<'_>, plans: &[&EndpointPlan]) {
    for plan in plans {
        if let Err(error) = disconnect(namespace, &plan.interface) {
            tracing::warn!(%error, "a half-made interface is left");
        }
    }
}

/// Switches `lo` on.
pub(crate) fn loopback_up(socket: &mut Socket) -> Result<(), NetworkError> {
    let up = LinkChange { up: Some(true), ..LinkChange::default() };
    netlink::set_link(socket, LOOPBACK, &up).tried(|| "switch the container's loopback on".into())
}

fn index(socket: &mut Socket, name: &str) -> Result<Option<u32>, NetworkError> {
    netlink::link_index(socket, name).tried(|| format!("look for interface {name}"))
}
