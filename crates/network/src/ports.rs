//! Published ports: which are free, and the host sockets that keep them.
//!
//! A port is held by a bound socket as long as it is published, so that "address already in use" is true both ways: no
//! process can take a published port, and none that a process has is published. Traffic does not come here, nftables
//! takes it away before; see `copier.rs` for the little that does.

use crate::{NetworkError, copier};
use minke_linux::datagram;
use minke_model::{
    ContainerId,
    port::{Port, PortBinding, Protocol, PublishedPort},
};
use rustix::{
    fd::{AsFd, OwnedFd},
    io::Errno,
    net::{AddressFamily, SocketFlags, SocketType, bind, ipproto, listen, socket_with, sockopt},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket},
    sync::Arc,
};
use tokio::{runtime::Handle, task::AbortHandle};

/// Connections that wait for the copier.
const BACKLOG: i32 = 128;

/// Ports that the kernel gives to who does not care, if it does not say.
const EPHEMERAL: (u16, u16) = (32768, 60999);

/// A port of a container that shall appear on the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortRequest {
    /// Inside.
    pub container: Port,
    /// Where on the host.
    pub binding: PortBinding,
}

/// Where traffic to published ports goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Target {
    /// The container's address.
    pub ipv4: Option<Ipv4Addr>,
    /// The container's address.
    pub ipv6: Option<Ipv6Addr>,
}

impl Target {
    /// The address that answers for a host address: of its own family where there is one. IPv6 is never reached by an IPv4
    /// address of the host.
    pub(crate) fn behind(&self, host: IpAddr) -> Option<IpAddr> {
        let ipv4 = self.ipv4.map(IpAddr::V4);
        match host {
            IpAddr::V4(_) => ipv4,
            IpAddr::V6(_) => self.ipv6.map(IpAddr::V6).or(ipv4),
        }
    }
}

/// What keeps a port: its socket, and the task that copies.
#[derive(Debug, Default)]
pub(crate) struct Holder {
    /// Kept open, never read.
    _socket: Option<Arc<dyn Send + Sync + std::fmt::Debug>>,
    task: Option<AbortHandle>,
}

impl Drop for Holder {
    fn drop(&mut self) {
        // The task does not own the socket: it is closed right after this.
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

#[derive(Debug)]
struct Held {
    taken: Taken,
    container: ContainerId,
    _holder: Holder,
}

/// All published ports of this daemon.
#[derive(Debug)]
pub(crate) struct Ports {
    held: BTreeMap<(Protocol, u16), Vec<Held>>,
    of: BTreeMap<ContainerId, BTreeSet<(Protocol, u16)>>,
    /// The next ephemeral port to try.
    cursor: u16,
    runtime: Option<Handle>,
}

/// A port that was taken for a request, not yet known to the firewall.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Taken {
    /// The host's side and the container's port.
    pub(crate) at: PublishedPort,
    /// Where it goes.
    pub(crate) to: SocketAddr,
}

impl Ports {
    /// None yet. Copiers run on `runtime`; without one, they do not.
    pub(crate) fn new(runtime: Option<Handle>) -> Self {
        Self { held: BTreeMap::new(), of: BTreeMap::new(), cursor: 0, runtime }
    }

    /// Takes a port for each request, on every host address that it asks for; `default` are the addresses of a request
    /// that names none. All or nothing.
    pub(crate) fn take(
        &mut self,
        container: &ContainerId,
        target: Target,
        default: &[IpAddr],
        requests: &[PortRequest],
    ) -> Result<Vec<Taken>, NetworkError> {
        let mut taken = Vec::new();
        for request in requests {
            match self.take_one(container, target, default, request) {
                Ok(ports) => taken.extend(ports),
                Err(error) => {
                    self.give_back(container, &taken);
                    return Err(error);
                }
            }
        }
        Ok(taken)
    }

    fn take_one(
        &mut self,
        container: &ContainerId,
        target: Target,
        default: &[IpAddr],
        request: &PortRequest,
    ) -> Result<Vec<Taken>, NetworkError> {
        let asked = request.binding.host_ip.map(|ip| vec![ip]);
        // An address that nobody asked for by name may be missing: a host or a container without IPv6.
        let addresses = asked.as_deref().unwrap_or(default);
        let addresses: Vec<(IpAddr, IpAddr)> =
            addresses.iter().filter_map(|host| Some((*host, target.behind(*host)?))).collect();
        let Some((first_address, _)) = addresses.first().copied() else { return Ok(Vec::new()) };
        let (first, last) = request.binding.host_ports.unwrap_or_else(ephemeral_range);
        let count = last.saturating_sub(first) as u32 + 1;
        let start = match request.binding.host_ports {
            Some(_) => 0,
            None => self.cursor.saturating_sub(first) as u32 % count,
        };
        let mut failed = None;
        for step in 0..count {
            let port = first + ((start + step) % count) as u16;
            match self.take_port(container, request.container, &addresses, port, asked.is_some()) {
                Ok(taken) => {
                    if request.binding.host_ports.is_none() {
                        self.cursor = port.wrapping_add(1);
                    }
                    return Ok(taken);
                }
                // An address that is not the host's is so with every port.
                Err(error @ NetworkError::PortBind { .. }) if !is_in_use(&error) => return Err(error),
                Err(error) => failed = Some(error),
            }
        }
        match failed {
            Some(error) if count == 1 || matches!(error, NetworkError::PortBind { .. }) => Err(error),
            _ => Err(NetworkError::PortsAllocated { address: first_address, first, last }),
        }
    }

    fn take_port(
        &mut self,
        container: &ContainerId,
        inside: Port,
        addresses: &[(IpAddr, IpAddr)],
        port: u16,
        asked: bool,
    ) -> Result<Vec<Taken>, NetworkError> {
        let protocol = inside.protocol;
        let others = self.held.get(&(protocol, port)).map(Vec::as_slice).unwrap_or_default();
        for (address, _) in addresses {
            if others.iter().any(|other| overlap(other.taken.at.host_ip, *address)) {
                return Err(NetworkError::PortAllocated { address: *address, port, protocol });
            }
        }
        let (mut taken, mut holders) = (Vec::new(), Vec::new());
        for (address, behind) in addresses {
            let to = SocketAddr::new(*behind, inside.number);
            let at = PublishedPort { container: inside, host_ip: *address, host_port: port };
            match self.hold(*address, port, protocol, to) {
                Ok(holder) => {
                    let port = Taken { at, to };
                    holders.push(Held { taken: port, container: container.clone(), _holder: holder });
                    taken.push(port);
                }
                Err(errno) if !asked && address.is_ipv6() && is_without_ipv6(errno) => continue,
                Err(errno) => {
                    return Err(NetworkError::PortBind {
                        address: *address,
                        port,
                        target: *behind,
                        container_port: inside.number,
                        protocol,
                        source: errno.into(),
                    });
                }
            }
        }
        self.held.entry((protocol, port)).or_default().extend(holders);
        self.of.entry(container.clone()).or_default().insert((protocol, port));
        Ok(taken)
    }

    /// Holds a port that is published already: what a daemon does at its start.
    pub(crate) fn hold_again(
        &mut self,
        container: &ContainerId,
        at: &PublishedPort,
        to: IpAddr,
    ) -> Result<(), NetworkError> {
        self.take_port(container, at.container, &[(at.host_ip, to)], at.host_port, true).map(drop)
    }

    /// Gives back the ports of a container whose traffic goes to addresses that `which` picks. Returns them.
    pub(crate) fn release(&mut self, container: &ContainerId, which: impl Fn(IpAddr) -> bool) -> Vec<Taken> {
        let keys = self.of.get(container).cloned().unwrap_or_default();
        let held = keys.iter().filter_map(|key| self.held.get(key)).flatten();
        let own = held.filter(|h| h.container == *container && which(h.taken.to.ip()));
        let gone: Vec<Taken> = own.map(|h| h.taken).collect();
        self.give_back(container, &gone);
        gone
    }

    /// Gives back some ports of a container.
    pub(crate) fn give_back(&mut self, container: &ContainerId, taken: &[Taken]) {
        for Taken { at, .. } in taken {
            let key = (at.container.protocol, at.host_port);
            let Some(held) = self.held.get_mut(&key) else { continue };
            held.retain(|h| h.container != *container || h.taken.at != *at);
            let gone = !held.iter().any(|h| h.container == *container);
            if held.is_empty() {
                self.held.remove(&key);
            }
            if gone && let Some(keys) = self.of.get_mut(container) {
                keys.remove(&key);
                if keys.is_empty() {
                    self.of.remove(container);
                }
            }
        }
    }

    /// Forgets everything: sockets are closed.
    pub(crate) fn clear(&mut self) {
        self.held.clear();
        self.of.clear();
    }

    fn hold(&self, address: IpAddr, port: u16, protocol: Protocol, to: SocketAddr) -> Result<Holder, Errno> {
        hold(self.runtime.as_ref(), address, port, protocol, to)
    }
}

/// Binds the socket, and starts the copier where there may be work for it.
pub(crate) fn hold(
    runtime: Option<&Handle>,
    address: IpAddr,
    port: u16,
    protocol: Protocol,
    to: SocketAddr,
) -> Result<Holder, Errno> {
    let at = SocketAddr::new(address, port);
    let Some(socket) = bound_socket(at, protocol, true)? else { return Ok(Holder::default()) };
    let runtime = match (runtime, protocol) {
        (Some(runtime), Protocol::Tcp) => runtime,
        (Some(runtime), Protocol::Udp) => runtime,
        _ => return Ok(Holder { _socket: Some(Arc::new(socket)), task: None }),
    };
    let failed = |error: io::Error| Errno::from_io_error(&error).unwrap_or(Errno::IO);
    let _inside = runtime.enter();
    if protocol == Protocol::Tcp {
        let listener = tokio::net::TcpListener::from_std(TcpListener::from(socket)).map_err(failed)?;
        let listener = Arc::new(listener);
        let task = runtime.spawn(copier::tcp(Arc::downgrade(&listener), to));
        return Ok(Holder { _socket: Some(listener), task: Some(task.abort_handle()) });
    }
    datagram::want_local(socket.as_fd(), address.is_ipv6()).map_err(failed)?;
    let socket = Arc::new(tokio::net::UdpSocket::from_std(UdpSocket::from(socket)).map_err(failed)?);
    let task = runtime.spawn(copier::udp(Arc::downgrade(&socket), to));
    Ok(Holder { _socket: Some(socket), task: Some(task.abort_handle()) })
}

impl Holder {
    /// Keeps a port from others and takes nothing: who connects to it is refused.
    pub(crate) fn reserve(at: SocketAddr, protocol: Protocol) -> Result<Self, Errno> {
        let socket = bound_socket(at, protocol, false)?;
        let socket = socket.map(|socket| Arc::new(socket) as Arc<dyn Send + Sync + std::fmt::Debug>);
        Ok(Self { _socket: socket, task: None })
    }
}

/// Whether two addresses of the same port cannot both be had.
fn overlap(a: IpAddr, b: IpAddr) -> bool {
    a.is_ipv4() == b.is_ipv4() && (a == b || a.is_unspecified() || b.is_unspecified())
}

fn is_in_use(error: &NetworkError) -> bool {
    matches!(error, NetworkError::PortBind { source, .. } if source.kind() == io::ErrorKind::AddrInUse)
}

fn is_without_ipv6(errno: Errno) -> bool {
    matches!(errno, Errno::AFNOSUPPORT | Errno::ADDRNOTAVAIL)
}

/// A non-blocking bound socket, of TCP one that `listens` if asked to. `None`: this kernel cannot make one of that protocol, so no process can have the port.
fn bound_socket(at: SocketAddr, protocol: Protocol, listens: bool) -> Result<Option<OwnedFd>, Errno> {
    let family = if at.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let (kind, number) = match protocol {
        Protocol::Tcp => (SocketType::STREAM, ipproto::TCP),
        Protocol::Udp => (SocketType::DGRAM, ipproto::UDP),
        Protocol::Sctp => (SocketType::STREAM, ipproto::SCTP),
    };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = match socket_with(family, kind, flags, Some(number)) {
        Err(Errno::PROTONOSUPPORT | Errno::SOCKTNOSUPPORT) if protocol == Protocol::Sctp => return Ok(None),
        socket => socket?,
    };
    if at.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, true)?;
    }
    if protocol == Protocol::Tcp && listens {
        // Connections of the port's last owner may linger; a listening socket still keeps others away.
        sockopt::set_socket_reuseaddr(&socket, true)?;
    }
    bind(&socket, &at)?;
    if protocol == Protocol::Tcp && listens {
        listen(&socket, BACKLOG)?;
    }
    Ok(Some(socket))
}

/// The kernel's own range.
fn ephemeral_range() -> (u16, u16) {
    let read = || {
        let text = crate::sysctl::get("ipv4/ip_local_port_range")?;
        let mut numbers = text.split_whitespace().map(str::parse::<u16>);
        let (first, last) = (numbers.next()?.ok()?, numbers.next()?.ok()?);
        (0 < first && first <= last).then_some((first, last))
    };
    read().unwrap_or(EPHEMERAL)
}
