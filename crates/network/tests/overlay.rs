//! Overlay networks: nodes on one wire, each a network namespace with a state of its own, and real packets between their
//! containers.

#![allow(clippy::unwrap_used)] // Tests may fail here.

mod lab;

use lab::{PATIENCE, ask, ask_from, ask_udp, nft, pool, serve, serve_udp, spec, unreachable_from};
use minke_linux::netlink::{self, Address, Bridge, LinkChange, Socket, Veth, within};
use minke_model::{
    ContainerId, EndpointId, NetworkId, Timestamp,
    network::{Network, NetworkDriver},
    overlay::{
        DATA_PATH_PORT, MeshPort, MeshTarget, OverlayNode, OverlayPeer, OverlayPlace, OverlayService,
        OverlaySpec, OverlayState, OverlaySubnet, mac_of, node_mac,
    },
    port::Protocol,
};
use minke_network::{EndpointPlan, NetworkConfig, Networks, PublishPolicy};
use std::{
    collections::BTreeSet,
    io::{Read, Write},
    net::{IpAddr, TcpStream, UdpSocket},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::PathBuf,
    process::Command,
    time::Instant,
};

const CLIENT: &str = "10.77.0.2";
const CLIENT6: &str = "fd77:aaaa::2";

struct Node {
    namespace: OwnedFd,
    networks: Option<Networks>,
    /// Its threads are in its namespace.
    runtime: tokio::runtime::Runtime,
    address: IpAddr,
    index: usize,
    pin: PathBuf,
}

struct Cluster {
    nodes: Vec<Node>,
    client: OwnedFd,
    _wire: OwnedFd,
    /// What all are told, but for their own place.
    world: OverlayState,
    hosts: Hosts,
}

struct Guest {
    id: ContainerId,
    namespace: OwnedFd,
}

impl Guest {
    fn fd(&self) -> BorrowedFd<'_> {
        self.namespace.as_fd()
    }
}

/// How hosts treat packets.
#[derive(Clone, Copy, Debug)]
struct Hosts {
    bridged_pass_netfilter: bool,
    forward_drops: bool,
    /// They and their containers doubt every sender that they would not answer by the same way.
    strict_senders: bool,
}

const PLAIN: Hosts = Hosts { bridged_pass_netfilter: false, forward_drops: false, strict_senders: false };

/// Sets reverse path filtering of the calling thread's namespace.
fn doubt_senders(strict: bool) {
    for interfaces in ["all", "default"] {
        let value = if strict { "1" } else { "0" };
        std::fs::write(format!("/proc/sys/net/ipv4/conf/{interfaces}/rp_filter"), value).unwrap();
    }
}

fn up(socket: &mut Socket, name: &str) -> u32 {
    let link = netlink::link_index(socket, name).unwrap().unwrap();
    netlink::set_link(socket, link, &LinkChange { up: Some(true), ..Default::default() }).unwrap();
    link
}

/// Gives a namespace an interface on the wire.
fn plug(wire: BorrowedFd<'_>, namespace: BorrowedFd<'_>, name: &str, address: &str, address6: &str) {
    within(wire, || {
        let mut socket = Socket::open(netlink::Family::Route).unwrap();
        let master = netlink::link_index(&socket, "br0").unwrap();
        let veth = Veth { name, master, peer: "eth0", namespace, peer_address: None, mtu: 0 };
        netlink::create_veth(&mut socket, &veth).unwrap();
    })
    .unwrap();
    within(namespace, || {
        let mut socket = Socket::open(netlink::Family::Route).unwrap();
        up(&mut socket, "lo");
        let link = up(&mut socket, "eth0");
        for (ip, prefix) in [(address, 24), (address6, 64)] {
            let address = Address { link, ip: ip.parse().unwrap(), prefix };
            netlink::add_address(&mut socket, &address).unwrap();
        }
    })
    .unwrap();
}

/// Runs a test with a cluster of so many nodes. Needs root; without it there is nothing to test.
fn on_a_cluster(count: usize, hosts: Hosts, test: impl FnOnce(&mut Cluster) + Send) {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: network namespaces need root");
        return;
    }
    // A thread with mounts of its own, so that no pin stays behind.
    std::thread::scope(|scope| {
        scope.spawn(|| {
            minke_linux::namespace::unshare(minke_linux::namespace::MOUNT).unwrap();
            rustix::mount::mount_change(
                "/",
                rustix::mount::MountPropagationFlags::REC | rustix::mount::MountPropagationFlags::PRIVATE,
            )
            .unwrap();
            let directory =
                std::env::temp_dir().join(format!("minke-overlay-{}", ContainerId::random().short()));
            std::fs::create_dir(&directory).unwrap();
            let mut cluster = Cluster::new(count, hosts, &directory);
            test(&mut cluster);
            for node in &cluster.nodes {
                within(node.namespace.as_fd(), || node.networks().close(false, &[]).unwrap()).unwrap();
                assert!(!node.pin.exists());
            }
            std::fs::remove_dir_all(&directory).unwrap();
        });
    });
}

impl Cluster {
    fn new(count: usize, hosts: Hosts, directory: &std::path::Path) -> Self {
        let wire = netlink::new_namespace().unwrap();
        within(wire.as_fd(), || {
            let mut socket = Socket::open(netlink::Family::Route).unwrap();
            let bridge = Bridge { name: "br0", mtu: 1500, address: [2, 0, 0, 0, 0, 1] };
            netlink::create_bridge(&mut socket, &bridge).unwrap();
        })
        .unwrap();
        let client = netlink::new_namespace().unwrap();
        plug(wire.as_fd(), client.as_fd(), "client", CLIENT, CLIENT6);
        let mut nodes = Vec::new();
        for index in 0..count {
            let namespace = netlink::new_namespace().unwrap();
            let address = format!("10.77.0.{}", 10 + index);
            plug(
                wire.as_fd(),
                namespace.as_fd(),
                &format!("node{index}"),
                &address,
                &format!("fd77:aaaa::{}", 10 + index),
            );
            within(namespace.as_fd(), || {
                lab::bridged_packets_pass_netfilter(hosts.bridged_pass_netfilter);
                doubt_senders(hosts.strict_senders);
                if hosts.forward_drops {
                    nft(&["add", "table", "ip", "filter"]);
                    nft(&[
                        "add",
                        "chain",
                        "ip",
                        "filter",
                        "FORWARD",
                        "{ type filter hook forward priority 0; policy drop; }",
                    ]);
                }
            })
            .unwrap();
            let runtime = within(namespace.as_fd(), || {
                tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
            });
            let node = Node {
                namespace,
                networks: None,
                runtime: runtime.unwrap(),
                address: address.parse().unwrap(),
                index,
                pin: directory.join(format!("overlays-{index}")),
            };
            nodes.push(node);
        }
        let members =
            nodes.iter().map(|n| OverlayNode { underlay: n.address, mac: node_mac(&n.name()) }).collect();
        let place = OverlayPlace { underlay: CLIENT.parse().unwrap(), mac: [0; 6], ingress: Vec::new() };
        let world = OverlayState {
            place,
            data_path_port: DATA_PATH_PORT,
            members,
            networks: Vec::new(),
            peers: Vec::new(),
            services: Vec::new(),
            mesh: Vec::new(),
        };
        let mut cluster = Self { nodes, client, _wire: wire, world, hosts };
        (0..count).for_each(|index| cluster.start(index));
        cluster
    }

    /// A daemon starts on a node, and knows nothing.
    fn start(&mut self, index: usize) {
        let node = &mut self.nodes[index];
        let config = NetworkConfig {
            daemon_id: format!("0badcaf{index}"),
            policy: PublishPolicy::Open,
            ..Default::default()
        };
        let opened = within(node.namespace.as_fd(), || {
            let _inside = node.runtime.enter();
            Networks::open(config).unwrap()
        });
        node.networks = Some(opened.unwrap());
    }

    fn network(&mut self, name: &str, vni: u32, subnets: &[&str], ingress: bool) -> Network {
        let mut spec = spec(name);
        spec.driver = NetworkDriver::Overlay;
        spec.pools = subnets.iter().map(|subnet| pool(subnet)).collect();
        let id = NetworkId::random();
        let subnets = spec.pools.iter().map(|pool| OverlaySubnet {
            subnet: pool.subnet,
            gateway: match pool.subnet.address {
                IpAddr::V4(ip) => IpAddr::V4((u32::from(ip) + 1).into()),
                IpAddr::V6(ip) => IpAddr::V6((u128::from(ip) + 1).into()),
            },
        });
        self.world.networks.push(OverlaySpec {
            id: id.clone(),
            name: name.into(),
            vni,
            mtu: 1450,
            encrypted: false,
            subnets: subnets.collect(),
            internal: false,
            attachable: true,
            ingress,
            labels: Default::default(),
            options: Default::default(),
        });
        Network { id, created: Timestamp::zero(), spec, bridge: String::new() }
    }

    /// Tells all nodes what is.
    fn tell(&self) {
        for node in &self.nodes {
            self.tell_one(node);
        }
    }

    fn tell_one(&self, node: &Node) {
        let state = self.state_of(node);
        within(node.namespace.as_fd(), || {
            let _inside = node.runtime.enter();
            node.networks().apply_overlays(&node.pin, &[], &state).unwrap();
        })
        .unwrap();
    }

    fn state_of(&self, node: &Node) -> OverlayState {
        let ingress = self.world.networks.iter().find(|n| n.ingress);
        let own = |index: usize| -> Vec<IpAddr> {
            let subnets = ingress.into_iter().flat_map(|n| &n.subnets);
            let at = |s: &OverlaySubnet| match s.gateway {
                IpAddr::V4(ip) => IpAddr::V4((u32::from(ip) + 100 + index as u32).into()),
                IpAddr::V6(ip) => IpAddr::V6((u128::from(ip) + 100 + index as u128).into()),
            };
            subnets.map(at).collect()
        };
        let place =
            OverlayPlace { underlay: node.address, mac: node_mac(&node.name()), ingress: own(node.index) };
        let mut state = OverlayState { place, ..self.world.clone() };
        // Nodes are told of as peers too.
        for (other, network) in self.nodes.iter().zip(std::iter::repeat(ingress)) {
            let Some(network) = network else { continue };
            state.peers.extend(own(other.index).into_iter().map(|address| OverlayPeer {
                network: network.id.clone(),
                address,
                mac: node_mac(&other.name()),
                node: other.address,
            }));
        }
        state
    }

    /// A container on a node, with an address in each of these networks. The world knows it, nodes are not told yet.
    fn guest(&mut self, node: usize, places: &[(&Network, &[&str])]) -> Guest {
        let guest = Guest { id: ContainerId::random(), namespace: netlink::new_namespace().unwrap() };
        within(guest.fd(), || doubt_senders(self.hosts.strict_senders)).unwrap();
        let address_of_node = self.nodes[node].address;
        for (network, addresses) in places {
            let addresses: Vec<IpAddr> = addresses.iter().map(|a| a.parse().unwrap()).collect();
            for address in &addresses {
                self.world.peers.push(OverlayPeer {
                    network: network.id.clone(),
                    address: *address,
                    mac: mac_of(addresses[0]),
                    node: address_of_node,
                });
            }
        }
        self.tell();
        let node = &self.nodes[node];
        for (index, (network, addresses)) in places.iter().enumerate() {
            let addresses: Vec<IpAddr> = addresses.iter().map(|a| a.parse().unwrap()).collect();
            let prefix = |address: IpAddr| {
                network.spec.pools.iter().find(|p| p.subnet.contains(address)).unwrap().subnet.prefix
            };
            let plan = EndpointPlan {
                interface: format!("eth{index}"),
                host_name: node.networks().host_name(&EndpointId::random()),
                ipv4: addresses.iter().find_map(|a| match a {
                    IpAddr::V4(ip) => Some((*ip, prefix(*a))),
                    IpAddr::V6(_) => None,
                }),
                ipv6: addresses.iter().find_map(|a| match a {
                    IpAddr::V6(ip) => Some((*ip, prefix(*a))),
                    IpAddr::V4(_) => None,
                }),
                ..Default::default()
            };
            node.networks().connect(guest.fd(), network, &plan).unwrap();
        }
        let networks: BTreeSet<NetworkId> = places.iter().map(|(network, _)| network.id.clone()).collect();
        let own: Vec<IpAddr> =
            places.iter().flat_map(|(_, own)| own.iter().map(|a| a.parse().unwrap())).collect();
        node.networks().call_services(&guest.id, guest.fd(), networks, &own).unwrap();
        guest
    }

    /// An address is nobody's any more.
    fn forget(&mut self, address: &str) {
        let address: IpAddr = address.parse().unwrap();
        self.world.peers.retain(|peer| peer.address != address);
        for service in &mut self.world.services {
            service.tasks.retain(|task| task.1 != address);
        }
        for port in &mut self.world.mesh {
            port.targets.retain(|target| target.address != address);
        }
        self.tell();
    }

    fn service(&mut self, network: &Network, name: &str, vip: &str, tasks: &[&str]) {
        let named = tasks.iter().enumerate();
        let service = OverlayService {
            network: network.id.clone(),
            name: name.into(),
            aliases: Vec::new(),
            vip: Some(vip.parse().unwrap()),
            tasks: named.map(|(at, ip)| (format!("{name}.{}", at + 1), ip.parse().unwrap())).collect(),
        };
        self.world.services.retain(|s| s.name != name);
        self.world.services.push(service);
        self.tell();
    }

    fn publish(&mut self, port: u16, protocol: Protocol, target_port: u16, targets: &[&str]) {
        let targets =
            targets.iter().map(|address| MeshTarget { address: address.parse().unwrap(), draining: false });
        let mesh = MeshPort { port, protocol, target_port, targets: targets.collect() };
        self.world.mesh.retain(|m| (m.port, m.protocol) != (port, protocol));
        self.world.mesh.push(mesh);
        self.tell();
    }

    fn node(&self, index: usize) -> BorrowedFd<'_> {
        self.nodes[index].namespace.as_fd()
    }
}

impl Cluster {
    /// All that nodes have, for finding out.
    fn show(&self) {
        for node in &self.nodes {
            let inside = std::fs::File::open(&node.pin).unwrap();
            for namespace in [inside.as_fd(), node.namespace.as_fd()] {
                println!("== node {}", node.index);
                for family in ["-4", "-6"] {
                    for what in ["addr", "route", "rule", "neigh"] {
                        println!("{}", ip(namespace, &[family, what]));
                    }
                }
                println!("{}", within(namespace, || nft(&["list", "ruleset"])).unwrap());
            }
        }
    }
}

impl Node {
    fn name(&self) -> String {
        format!("node-{}", self.index)
    }

    fn networks(&self) -> &Networks {
        self.networks.as_ref().unwrap()
    }
}

/// A connection that stays, to a server that echoes.
fn serve_echo(namespace: BorrowedFd<'_>, port: u16) {
    let listener = within(namespace, || std::net::TcpListener::bind(("::", port)).unwrap()).unwrap();
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let (mut from, mut to) = (client.try_clone().unwrap(), client);
                let _ = std::io::copy(&mut from, &mut to);
            });
        }
    });
}

fn echo(stream: &mut TcpStream) -> std::io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(b"still there?")?;
    stream.read_exact(&mut [0; 12])
}

fn ip(namespace: BorrowedFd<'_>, arguments: &[&str]) -> String {
    let output = within(namespace, || Command::new("ip").args(arguments).output().unwrap()).unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

const ALL_HOSTS: [Hosts; 3] = [
    PLAIN,
    Hosts { bridged_pass_netfilter: true, forward_drops: false, strict_senders: false },
    Hosts { bridged_pass_netfilter: true, forward_drops: true, strict_senders: true },
];

#[test]
fn containers_of_one_network_reach_each_other_across_nodes_by_both_families() {
    for hosts in ALL_HOSTS {
        on_a_cluster(3, hosts, |cluster| {
            let network = cluster.network("n", 4097, &["10.0.1.0/24", "fd10:1::/64"], false);
            let other = cluster.network("m", 4098, &["10.0.2.0/24"], false);
            let a = cluster.guest(0, &[(&network, &["10.0.1.2", "fd10:1::2"])]);
            let b = cluster.guest(1, &[(&network, &["10.0.1.3", "fd10:1::3"])]);
            let c = cluster.guest(1, &[(&network, &["10.0.1.4", "fd10:1::4"])]);
            let d = cluster.guest(2, &[(&other, &["10.0.2.2"])]);
            serve(a.fd(), 80, "a");
            assert_eq!(ask_from(b.fd(), "10.0.1.2", 80).unwrap(), "a 10.0.1.3");
            assert_eq!(ask_from(c.fd(), "fd10:1::2", 80).unwrap(), "a fd10:1::4");
            serve(b.fd(), 80, "b");
            assert_eq!(ask_from(c.fd(), "10.0.1.3", 80).unwrap(), "b 10.0.1.4", "within a node");
            assert!(unreachable_from(d.fd(), "10.0.1.2", 80), "networks are isolated");
            assert!(unreachable_from(cluster.node(0), "10.0.1.2", 80), "the host is no neighbour");
        });
    }
}

#[test]
fn a_services_address_leads_to_its_tasks_and_follows_them() {
    on_a_cluster(2, PLAIN, |cluster| {
        let network = cluster.network("n", 4097, &["10.0.1.0/24", "fd10:1::/64"], false);
        let caller = cluster.guest(0, &[(&network, &["10.0.1.2"])]);
        let a = cluster.guest(0, &[(&network, &["10.0.1.3"])]);
        let b = cluster.guest(1, &[(&network, &["10.0.1.4"])]);
        serve(a.fd(), 80, "a");
        serve(b.fd(), 80, "b");
        serve_udp(a.fd(), 53, "a");
        serve_udp(b.fd(), 53, "b");
        cluster.service(&network, "web", "10.0.1.100", &["10.0.1.3", "10.0.1.4"]);
        let mut heard = BTreeSet::new();
        for _ in 0..64 {
            heard.insert(ask_from(caller.fd(), "10.0.1.100", 80).unwrap());
        }
        assert_eq!(heard.iter().map(String::as_str).collect::<Vec<_>>(), ["a 10.0.1.2", "b 10.0.1.2"]);
        // A task that calls its own service may find itself.
        for _ in 0..16 {
            ask_from(a.fd(), "10.0.1.100", 80).unwrap();
        }
        cluster.service(&network, "web", "10.0.1.100", &["10.0.1.4"]);
        assert_eq!(ask_from(caller.fd(), "10.0.1.100", 80).unwrap(), "b 10.0.1.2", "at once");
        let client = within(caller.fd(), || UdpSocket::bind("0.0.0.0:0").unwrap()).unwrap();
        assert_eq!(ask_udp(&client, "10.0.1.100", 53).unwrap(), "b");
        cluster.service(&network, "web", "10.0.1.100", &["10.0.1.3"]);
        assert_eq!(ask_udp(&client, "10.0.1.100", 53).unwrap(), "a", "the same socket finds the next task");
        cluster.service(&network, "web", "10.0.1.100", &[]);
        let refused = ask_from(caller.fd(), "10.0.1.100", 80).unwrap_err();
        assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused, "nobody serves");
        assert!(within(caller.fd(), || ask("10.0.1.3", 80)).unwrap().is_ok(), "tasks themselves are reached");
        cluster.world.services.clear();
        cluster.tell();
        let rules = within(caller.fd(), || nft(&["list", "ruleset"])).unwrap();
        assert!(!rules.contains("10.0.1.100") && !rules.contains("to-"), "{rules}");
    });
}

#[test]
fn who_still_speaks_to_a_task_that_is_gone_is_told_so() {
    on_a_cluster(2, PLAIN, |cluster| {
        let network = cluster.network("n", 4097, &["10.0.1.0/24"], false);
        let caller = cluster.guest(0, &[(&network, &["10.0.1.2"])]);
        let a = cluster.guest(1, &[(&network, &["10.0.1.3"])]);
        serve_echo(a.fd(), 80);
        cluster.service(&network, "web", "10.0.1.100", &["10.0.1.3"]);
        let mut direct = within(caller.fd(), || TcpStream::connect("10.0.1.3:80").unwrap()).unwrap();
        let mut by_service = within(caller.fd(), || TcpStream::connect("10.0.1.100:80").unwrap()).unwrap();
        echo(&mut direct).unwrap();
        echo(&mut by_service).unwrap();
        drop(a);
        cluster.forget("10.0.1.3");
        let begin = Instant::now();
        assert!(echo(&mut direct).is_err() && echo(&mut by_service).is_err());
        assert!(begin.elapsed() < PATIENCE, "by a reset, not by silence");
    });
}

#[test]
fn a_published_port_answers_on_every_node_and_tasks_see_the_client() {
    for hosts in ALL_HOSTS {
        on_a_cluster(3, hosts, |cluster| {
            let ingress = cluster.network("ingress", 4096, &["10.0.0.0/24", "fd10::/64"], true);
            let a = cluster.guest(0, &[(&ingress, &["10.0.0.7", "fd10::7"])]);
            let b = cluster.guest(1, &[(&ingress, &["10.0.0.8", "fd10::8"])]);
            serve(a.fd(), 80, "a");
            serve(b.fd(), 80, "b");
            cluster.publish(8080, Protocol::Tcp, 80, &["10.0.0.7", "fd10::7", "10.0.0.8", "fd10::8"]);
            if std::env::var_os("SHOW").is_some() {
                println!("{}", within(cluster.node(2), || nft(&["list", "ruleset"])).unwrap());
            }
            for node in ["10.77.0.10", "10.77.0.11", "10.77.0.12"] {
                let mut heard = BTreeSet::new();
                for _ in 0..32 {
                    heard.insert(ask_from(cluster.client.as_fd(), node, 8080).unwrap());
                }
                let heard: Vec<&str> = heard.iter().map(String::as_str).collect();
                assert_eq!(heard, ["a 10.77.0.2", "b 10.77.0.2"], "by {node} with {hosts:?}");
            }
            for node in ["fd77:aaaa::10", "fd77:aaaa::12"] {
                for _ in 0..8 {
                    let heard = ask_from(cluster.client.as_fd(), node, 8080);
                    if heard.is_err() && std::env::var_os("SHOW").is_some() {
                        cluster.show();
                    }
                    let heard = heard.unwrap_or_else(|e| panic!("by {node}: {e}"));
                    assert!(heard.ends_with(&format!(" {CLIENT6}")), "{heard} by {node}");
                }
            }
            for node in 0..3 {
                for address in ["127.0.0.1", "10.77.0.10", "10.77.0.12", "::1"] {
                    for _ in 0..4 {
                        let heard = ask_from(cluster.node(node), address, 8080);
                        assert!(heard.is_ok(), "node {node} by {address} with {hosts:?}: {heard:?}");
                    }
                }
            }
            // Who takes the table away has it back at once.
            within(cluster.node(2), || nft(&["delete", "table", "inet", "minke-0badcaf2-mesh"])).unwrap();
            let begin = Instant::now();
            let again = loop {
                match ask_from(cluster.client.as_fd(), "10.77.0.12", 8080) {
                    Err(_) if begin.elapsed() < PATIENCE => std::thread::yield_now(),
                    said => break said,
                }
            };
            assert!(again.unwrap().ends_with(" 10.77.0.2"));
            let taken = within(cluster.node(2), || std::net::TcpListener::bind("0.0.0.0:8080")).unwrap();
            assert!(taken.is_err(), "a process can take a published port");
            // Tasks answer by this way, and begin nothing.
            assert!(unreachable_from(a.fd(), "10.77.0.2", 80));
        });
    }
}

#[test]
fn a_port_without_ipv6_behind_it_is_reached_by_ipv6_all_the_same() {
    on_a_cluster(2, PLAIN, |cluster| {
        let ingress = cluster.network("ingress", 4096, &["10.0.0.0/24"], true);
        let a = cluster.guest(0, &[(&ingress, &["10.0.0.7"])]);
        serve(a.fd(), 80, "a");
        cluster.publish(8080, Protocol::Tcp, 80, &["10.0.0.7"]);
        for node in ["fd77:aaaa::10", "fd77:aaaa::11"] {
            assert!(ask_from(cluster.client.as_fd(), node, 8080).unwrap().starts_with("a "), "by {node}");
        }
    });
}

#[test]
fn a_draining_task_keeps_what_it_has_and_one_that_is_gone_is_told_of() {
    on_a_cluster(2, PLAIN, |cluster| {
        let ingress = cluster.network("ingress", 4096, &["10.0.0.0/24"], true);
        let a = cluster.guest(0, &[(&ingress, &["10.0.0.7"])]);
        let b = cluster.guest(1, &[(&ingress, &["10.0.0.8"])]);
        serve_echo(a.fd(), 80);
        serve_udp(a.fd(), 53, "a");
        serve_udp(b.fd(), 53, "b");
        cluster.publish(8080, Protocol::Tcp, 80, &["10.0.0.7"]);
        cluster.publish(5353, Protocol::Udp, 53, &["10.0.0.7"]);
        let client = cluster.client.try_clone().unwrap();
        let mut stream = within(client.as_fd(), || TcpStream::connect("10.77.0.11:8080").unwrap()).unwrap();
        let datagrams = within(client.as_fd(), || UdpSocket::bind("0.0.0.0:0").unwrap()).unwrap();
        echo(&mut stream).unwrap();
        assert_eq!(ask_udp(&datagrams, "10.77.0.11", 5353).unwrap(), "a");
        for node in [0, 1] {
            let local = within(cluster.node(node), || UdpSocket::bind("127.0.0.1:0").unwrap()).unwrap();
            assert_eq!(ask_udp(&local, "127.0.0.1", 5353).unwrap(), "a", "from node {node} itself");
        }
        serve(b.fd(), 80, "b");
        for port in &mut cluster.world.mesh {
            port.targets[0].draining = true;
            port.targets.push(MeshTarget { address: "10.0.0.8".parse().unwrap(), draining: false });
        }
        cluster.tell();
        echo(&mut stream).unwrap();
        for _ in 0..8 {
            assert_eq!(ask_from(client.as_fd(), "10.77.0.11", 8080).unwrap(), format!("b {CLIENT}"));
        }
        assert_eq!(ask_udp(&datagrams, "10.77.0.11", 5353).unwrap(), "b", "datagrams go elsewhere at once");
        echo(&mut stream).unwrap();
        drop(a);
        cluster.forget("10.0.0.7");
        assert!(echo(&mut stream).is_err(), "by a reset, not by silence");
        cluster.forget("10.0.0.8");
        let refused = ask_from(client.as_fd(), "10.77.0.10", 8080).unwrap_err();
        assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
    });
}

#[test]
fn containers_notice_nothing_of_a_daemon_that_dies_and_comes_back() {
    on_a_cluster(2, PLAIN, |cluster| {
        let network = cluster.network("n", 4097, &["10.0.1.0/24"], false);
        let ingress = cluster.network("ingress", 4096, &["10.0.0.0/24"], true);
        let a = cluster.guest(0, &[(&network, &["10.0.1.2"]), (&ingress, &["10.0.0.7"])]);
        let b = cluster.guest(1, &[(&network, &["10.0.1.3"])]);
        serve_echo(a.fd(), 80);
        cluster.publish(8080, Protocol::Tcp, 80, &["10.0.0.7"]);
        cluster.service(&network, "web", "10.0.1.100", &["10.0.1.2"]);
        let client = cluster.client.try_clone().unwrap();
        let mut inside = within(b.fd(), || TcpStream::connect("10.0.1.100:80").unwrap()).unwrap();
        let mut outside = within(client.as_fd(), || TcpStream::connect("10.77.0.11:8080").unwrap()).unwrap();
        let before = within(cluster.node(0), || nft(&["list", "ruleset"])).unwrap();
        for index in [0, 1] {
            cluster.nodes[index].networks = None;
            echo(&mut inside).unwrap();
            echo(&mut outside).unwrap();
            cluster.start(index);
            cluster.tell_one(&cluster.nodes[index]);
        }
        echo(&mut inside).unwrap();
        echo(&mut outside).unwrap();
        let callers = BTreeSet::from([network.id.clone()]);
        cluster.nodes[1].networks().call_services(&b.id, b.fd(), callers, &[]).unwrap();
        let mut again = within(b.fd(), || TcpStream::connect("10.0.1.100:80").unwrap()).unwrap();
        echo(&mut again).unwrap();
        let after = within(cluster.node(0), || nft(&["list", "ruleset"])).unwrap();
        assert_eq!(before.lines().count(), after.lines().count(), "{before}\n{after}");
        // A task that went while no daemon was there leaves nothing.
        cluster.nodes[1].networks = None;
        cluster.forget_quietly("10.0.1.2");
        cluster.start(1);
        cluster.tell_one(&cluster.nodes[1]);
        let namespace = std::fs::File::open(&cluster.nodes[1].pin).unwrap();
        let entries = ip(namespace.as_fd(), &["neighbour", "show", "nud", "permanent"]);
        assert!(!entries.contains("10.0.1.2"), "{entries}");
    });
}

impl Cluster {
    fn forget_quietly(&mut self, address: &str) {
        let address: IpAddr = address.parse().unwrap();
        self.world.peers.retain(|peer| peer.address != address);
        self.world.services.clear();
    }
}

#[test]
fn what_is_told_no_more_leaves_nothing() {
    on_a_cluster(2, PLAIN, |cluster| {
        let rules = |cluster: &Cluster| within(cluster.node(0), || nft(&["list", "ruleset"])).unwrap();
        // Names and numbers alone: whether a wire has settled is no matter.
        let links = |cluster: &Cluster| {
            let all = ip(cluster.node(0), &["-o", "link"]);
            all.lines().map(|line| line.split('<').next().unwrap().to_owned()).collect::<Vec<_>>()
        };
        let before = links(cluster);
        let network = cluster.network("n", 4097, &["10.0.1.0/24"], false);
        let ingress = cluster.network("ingress", 4096, &["10.0.0.0/24"], true);
        let a = cluster.guest(0, &[(&network, &["10.0.1.2"]), (&ingress, &["10.0.0.7"])]);
        cluster.publish(8080, Protocol::Tcp, 80, &["10.0.0.7"]);
        cluster.service(&network, "web", "10.0.1.100", &["10.0.1.2"]);
        drop(a);
        cluster.forget("10.0.1.2");
        cluster.forget("10.0.0.7");
        cluster.world.networks.retain(|n| n.ingress);
        cluster.world.services.clear();
        cluster.tell();
        let namespace = std::fs::File::open(&cluster.nodes[0].pin).unwrap();
        let devices = ip(namespace.as_fd(), &["-o", "link"]);
        assert!(devices.contains("br4096") && !devices.contains("4097"), "{devices}");
        drop(namespace);
        cluster.world.networks.clear();
        cluster.world.mesh.clear();
        cluster.tell();
        assert!(!cluster.nodes[0].pin.exists());
        assert_eq!(before, links(cluster));
        let (rules, routes) = (rules(cluster), ip(cluster.node(0), &["route"]));
        assert!(!rules.contains("-mesh") && !rules.contains("-vxlan") && !rules.contains("10.0."), "{rules}");
        assert!(!routes.contains("10.0."), "{routes}");
        let free = within(cluster.node(0), || std::net::TcpListener::bind("0.0.0.0:8080")).unwrap();
        assert!(free.is_ok(), "{free:?}");
    });
}

#[test]
fn strangers_are_not_heard_and_a_network_that_must_be_encrypted_is_not_sent() {
    on_a_cluster(3, PLAIN, |cluster| {
        let network = cluster.network("n", 4097, &["10.0.1.0/24"], false);
        let a = cluster.guest(0, &[(&network, &["10.0.1.2"])]);
        let c = cluster.guest(2, &[(&network, &["10.0.1.3"])]);
        serve(a.fd(), 80, "a");
        assert!(ask_from(c.fd(), "10.0.1.2", 80).is_ok());
        // Node 2 is thrown out, but goes on sending.
        cluster.world.members.truncate(2);
        cluster.tell_one(&cluster.nodes[0]);
        assert!(unreachable_from(c.fd(), "10.0.1.2", 80), "a stranger was heard");
        cluster.world.networks[0].encrypted = true;
        let state = cluster.state_of(&cluster.nodes[0]);
        let node = &cluster.nodes[0];
        let refused =
            within(cluster.node(0), || node.networks().apply_overlays(&node.pin, &[], &state)).unwrap();
        let refused = refused.unwrap_err().to_string();
        assert!(refused.contains("encrypt") && !node.networks().can_encrypt(), "{refused}");
    });
}

#[test]
fn two_nodes_in_one_namespace_are_told_what_is_wrong() {
    on_a_cluster(1, PLAIN, |cluster| {
        let _network = cluster.network("n", 4097, &["10.0.1.0/24"], false);
        cluster.tell();
        let state = cluster.state_of(&cluster.nodes[0]);
        let pin = cluster.nodes[0].pin.with_extension("other");
        let refused = within(cluster.node(0), || {
            let _inside = cluster.nodes[0].runtime.enter();
            let config = NetworkConfig { daemon_id: "0badcaf9".into(), ..Default::default() };
            let second = Networks::open(config).unwrap();
            let refused = second.apply_overlays(&pin, &[], &state).unwrap_err();
            second.close(false, &[]).unwrap();
            refused
        });
        let refused = refused.unwrap().to_string();
        assert!(refused.contains("4097") && refused.contains("namespace each"), "{refused}");
    });
}
