//! A host, an outside and containers, each a network namespace made for one test. The machine's own is never touched.

#![allow(dead_code, unreachable_pub, clippy::unwrap_used)] // Each test file uses what it needs; tests may fail here.

use minke_linux::netlink::{self, Address, LinkChange, Route, Socket, Veth};
use minke_model::{
    ContainerId, EndpointId, NetworkId, Timestamp,
    network::{IpamPool, Network, NetworkDriver, NetworkSpec},
    port::{Port, PortBinding, PublishedPort},
};
use minke_network::{
    EndpointPlan, NetworkConfig, Networks, PortRequest, PublishPolicy, Target, ipam::Leases,
};
use std::{
    io::{Read, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    process::Command,
    time::{Duration, Instant},
};

/// The host's address on the wire to outside.
pub const HOST: &str = "10.77.0.1";
/// The host's IPv6 address on the wire to outside.
pub const HOST6: &str = "fd77:aaaa::1";
/// The one outside.
pub const OUTSIDE: &str = "10.77.0.2";

/// How long a connection that must not fail may take.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// How long a connection that must fail is waited for.
const DOUBT: Duration = Duration::from_millis(400);
/// When a datagram is sent again, since they may be lost.
const AGAIN: Duration = Duration::from_millis(200);

pub struct Lab {
    pub networks: Networks,
    pub outside: OwnedFd,
    pub runtime: tokio::runtime::Runtime,
}

pub struct Guest {
    pub id: ContainerId,
    pub namespace: OwnedFd,
    pub ipv4: Option<Ipv4Addr>,
    pub ipv6: Option<Ipv6Addr>,
}

/// Runs a test on a host of its own. Needs root; without it there is nothing to test.
pub fn on_a_host(test: impl FnOnce(&mut Lab) + Send) {
    with(
        NetworkConfig { daemon_id: "0badcafe".into(), policy: PublishPolicy::Open, ..Default::default() },
        test,
    );
}

pub fn with(config: NetworkConfig, test: impl FnOnce(&mut Lab) + Send) {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: network namespaces need root");
        return;
    }
    let host = netlink::new_namespace().unwrap();
    let outside = netlink::new_namespace().unwrap();
    netlink::within(host.as_fd(), || {
        wire(outside.as_fd());
        bridged_packets_pass_netfilter(false);
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let networks = {
            let _inside = runtime.enter();
            Networks::open(config).unwrap()
        };
        test(&mut Lab { networks, outside, runtime });
    })
    .unwrap();
}

fn up(socket: &mut Socket, name: &str) -> u32 {
    let link = netlink::link_by_name(socket, name).unwrap().unwrap();
    netlink::set_link(socket, link.index, &LinkChange { up: Some(true), ..Default::default() }).unwrap();
    link.index
}

fn address(socket: &mut Socket, link: u32, ip: &str, prefix: u8) {
    netlink::add_address(socket, &Address { link, ip: ip.parse().unwrap(), prefix }).unwrap();
}

/// A wire between host and outside.
fn wire(outside: BorrowedFd<'_>) {
    let mut socket = Socket::open(netlink::Family::Route).unwrap();
    up(&mut socket, "lo");
    let veth =
        Veth { name: "wan0", master: None, peer: "eth0", namespace: outside, peer_address: None, mtu: 0 };
    netlink::create_veth(&mut socket, &veth).unwrap();
    let link = up(&mut socket, "wan0");
    address(&mut socket, link, HOST, 24);
    address(&mut socket, link, HOST6, 64);
    netlink::within(outside, || {
        let mut socket = Socket::open(netlink::Family::Route).unwrap();
        up(&mut socket, "lo");
        let link = up(&mut socket, "eth0");
        address(&mut socket, link, OUTSIDE, 24);
        address(&mut socket, link, "fd77:aaaa::2", 64);
    })
    .unwrap();
}

pub fn spec(name: &str) -> NetworkSpec {
    NetworkSpec {
        name: name.into(),
        driver: NetworkDriver::Bridge,
        ipv4: true,
        ipv6: false,
        internal: false,
        attachable: false,
        ingress: false,
        config_only: false,
        config_from: None,
        options: Default::default(),
        labels: Default::default(),
        ipam_driver: "default".into(),
        ipam_options: None,
        pools: Vec::new(),
    }
}

pub fn pool(subnet: &str) -> IpamPool {
    IpamPool {
        subnet: subnet.parse().unwrap(),
        range: None,
        gateway: None,
        auxiliary: Default::default(),
        user_given: true,
        gateway_chosen: false,
    }
}

pub fn request(host_ip: Option<&str>, host_port: u16, port: &str) -> PortRequest {
    PortRequest {
        container: port.parse::<Port>().unwrap(),
        binding: PortBinding {
            host_ip: host_ip.map(|ip| ip.parse().unwrap()),
            host_ports: (host_port != 0).then_some((host_port, host_port)),
        },
    }
}

impl Lab {
    /// Ends copiers and repairs: what the end of a daemon does.
    pub fn stop_tasks(&mut self) {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        std::mem::replace(&mut self.runtime, runtime).shutdown_timeout(PATIENCE);
    }

    /// One more address of the host on the wire to outside.
    pub fn host_address(&self, ip: &str) {
        let mut socket = Socket::open(netlink::Family::Route).unwrap();
        let link = netlink::link_index(&socket, "wan0").unwrap().unwrap();
        address(&mut socket, link, ip, if ip.contains(':') { 64 } else { 24 });
    }

    pub fn network(&self, spec: NetworkSpec) -> (Network, Leases) {
        self.network_beside(spec, &[])
    }

    pub fn network_beside(&self, mut spec: NetworkSpec, others: &[&Network]) -> (Network, Leases) {
        let id = NetworkId::random();
        let bridge = self.networks.device_name(&id, &spec).unwrap();
        let others: Vec<Network> = others.iter().map(|n| (*n).clone()).collect();
        let _lock = self.networks.decide(&mut spec, &bridge, &others).unwrap();
        let leases = Leases::new(&spec);
        let network = Network { id, created: Timestamp::zero(), spec, bridge };
        self.networks.ensure(&network).unwrap();
        (network, leases)
    }

    pub fn guest(&self, network: &Network, leases: &mut Leases) -> Guest {
        let namespace = netlink::new_namespace().unwrap();
        let mut guest = Guest { id: ContainerId::random(), namespace, ipv4: None, ipv6: None };
        let plan = self.join(&guest, network, leases, "eth0");
        guest.ipv4 = plan.ipv4.map(|(ip, _)| ip);
        guest.ipv6 = plan.ipv6.map(|(ip, _)| ip);
        guest
    }

    pub fn join(
        &self,
        guest: &Guest,
        network: &Network,
        leases: &mut Leases,
        interface: &str,
    ) -> EndpointPlan {
        let mut plan = EndpointPlan {
            interface: interface.into(),
            host_name: self.networks.host_name(&EndpointId::random()),
            ..Default::default()
        };
        if network.spec.ipv4 {
            let leased = leases.reserve(false, None).unwrap();
            if let (IpAddr::V4(ip), Some(IpAddr::V4(gateway))) = (leased.address, leased.gateway) {
                plan.ipv4 = Some((ip, leased.prefix));
                plan.gateway4 = (!network.spec.internal && interface == "eth0").then_some(gateway);
            }
        }
        if network.spec.ipv6 {
            let leased = leases.reserve(true, None).unwrap();
            if let (IpAddr::V6(ip), Some(IpAddr::V6(gateway))) = (leased.address, leased.gateway) {
                plan.ipv6 = Some((ip, leased.prefix));
                plan.gateway6 = (!network.spec.internal && interface == "eth0").then_some(gateway);
            }
        }
        self.networks.connect(guest.namespace.as_fd(), network, &plan).unwrap();
        plan
    }

    pub fn publish(&self, guest: &Guest, network: &Network, requests: &[PortRequest]) -> Vec<PublishedPort> {
        self.networks.publish(&guest.id, network, guest.target(), requests).unwrap()
    }

    /// Lets outside know the way to containers, as an attacker on the wire would.
    pub fn route_outside(&self, subnet: &str, gateway: &str) {
        let subnet: minke_model::network::Subnet = subnet.parse().unwrap();
        let (gateway, prefix) = (gateway.parse().unwrap(), subnet.prefix);
        netlink::within(self.outside.as_fd(), || {
            let mut socket = Socket::open(netlink::Family::Route).unwrap();
            let link = netlink::link_by_name(&mut socket, "eth0").unwrap().unwrap().index;
            let route =
                Route { destination: subnet.address, prefix, gateway: Some(gateway), link: Some(link) };
            netlink::add_route(&mut socket, &route).unwrap();
        })
        .unwrap();
    }
}

impl Guest {
    pub fn target(&self) -> Target {
        Target { ipv4: self.ipv4, ipv6: self.ipv6 }
    }

    pub fn fd(&self) -> BorrowedFd<'_> {
        self.namespace.as_fd()
    }

    pub fn address(&self) -> String {
        self.ipv4.unwrap().to_string()
    }
}

/// Answers every connection in a namespace with a name and the address that it came from.
pub fn serve(namespace: BorrowedFd<'_>, port: u16, name: &'static str) {
    let listener = netlink::within(namespace, || {
        TcpListener::bind(("::", port)).or_else(|_| TcpListener::bind(("0.0.0.0", port))).unwrap()
    })
    .unwrap();
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let Ok(mut client) = client else { return };
            let Ok(from) = client.peer_addr() else { continue };
            let _ = client.write_all(format!("{name} {}", from.ip().to_canonical()).as_bytes());
        }
    });
}

/// Answers every datagram in a namespace with a name, and with what it said.
pub fn serve_udp(namespace: BorrowedFd<'_>, port: u16, name: &'static str) {
    let socket = netlink::within(namespace, || UdpSocket::bind(("0.0.0.0", port)).unwrap()).unwrap();
    std::thread::spawn(move || {
        let mut buffer = [0; 64];
        while let Ok((length, from)) = socket.recv_from(&mut buffer) {
            let _ = socket.send_to(&[name.as_bytes(), b" ", &buffer[..length]].concat(), from);
        }
    });
}

/// What a server says, from where the caller stands.
pub fn ask(address: &str, port: u16) -> Result<String, std::io::Error> {
    ask_within(address, port, PATIENCE)
}

/// Whether no server answers, from where the caller stands.
pub fn unreachable(address: &str, port: u16) -> bool {
    ask_within(address, port, DOUBT).is_err()
}

/// The same from another namespace.
pub fn unreachable_from(namespace: BorrowedFd<'_>, address: &str, port: u16) -> bool {
    netlink::within(namespace, || unreachable(address, port)).unwrap()
}

fn ask_within(address: &str, port: u16, patience: Duration) -> Result<String, std::io::Error> {
    let address = SocketAddr::new(address.parse::<IpAddr>().unwrap(), port);
    let mut stream = TcpStream::connect_timeout(&address, patience)?;
    stream.set_read_timeout(Some(patience))?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    if answer.is_empty() {
        return Err(std::io::ErrorKind::UnexpectedEof.into());
    }
    Ok(answer)
}

/// The same from another namespace.
pub fn ask_from(namespace: BorrowedFd<'_>, address: &str, port: u16) -> Result<String, std::io::Error> {
    netlink::within(namespace, || ask(address, port)).unwrap()
}

/// What the server that a socket is connected to says.
pub fn ask_udp_connected(socket: &UdpSocket) -> Result<String, std::io::Error> {
    exchange(socket, |question| socket.send(question))
}

/// What a UDP server says.
pub fn ask_udp(socket: &UdpSocket, address: &str, port: u16) -> Result<String, std::io::Error> {
    let server = (address.parse::<IpAddr>().unwrap(), port);
    exchange(socket, |question| socket.send_to(question, server))
}

/// Asks until an answer to just this question comes: an answer may be lost, or come late.
fn exchange(
    socket: &UdpSocket,
    send: impl Fn(&[u8]) -> Result<usize, std::io::Error>,
) -> Result<String, std::io::Error> {
    let question = ContainerId::random();
    let begin = Instant::now();
    socket.set_read_timeout(Some(AGAIN))?;
    let mut buffer = [0; 128];
    loop {
        send(question.short().as_bytes())?;
        match socket.recv(&mut buffer) {
            Ok(length) => {
                let answer = String::from_utf8_lossy(&buffer[..length]).into_owned();
                if let Some(name) = answer.strip_suffix(&format!(" {}", question.short())) {
                    return Ok(name.to_owned());
                }
            }
            Err(error) if begin.elapsed() > PATIENCE => return Err(error),
            Err(_) => {}
        }
    }
}

/// Does it until it once takes less than `limit`: a loaded machine is slow now and then, a wait always.
pub fn takes_less_than(limit: Duration, mut once: impl FnMut() -> Duration) {
    let begin = Instant::now();
    loop {
        let took = once();
        if took < limit {
            return;
        }
        assert!(begin.elapsed() < PATIENCE, "it never took less than {limit:?}, last {took:?}");
    }
}

/// The host's ruleset as `nft` sees it: the oracle of tests, never of the daemon.
pub fn nft(arguments: &[&str]) -> String {
    let output = Command::new("nft").args(arguments).output().unwrap();
    assert!(output.status.success(), "nft {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Sets whether bridged packets pass netfilter on this host; `false` where the kernel cannot.
pub fn bridged_packets_pass_netfilter(pass: bool) -> bool {
    let value = if pass { "1" } else { "0" };
    let set = |name: &str| std::fs::write(format!("/proc/sys/net/bridge/{name}"), value).is_ok();
    set("bridge-nf-call-iptables") & set("bridge-nf-call-ip6tables") || !pass
}
