//! Whole resolvers in network namespaces of their own: one is the host's, one a container's, with servers that answer
//! as the test says. They need root.

use super::{
    message::{Code, Query, Record, answers, ask, code, kind},
    *,
};
use minke_linux::{
    namespace,
    netlink::{Family, LinkChange, Socket, own_namespace, set_link, within},
    nftables,
};
use minke_model::{ContainerId, NetworkId};
use rustix::{
    fd::{AsFd, OwnedFd},
    thread::{LinkNameSpaceType, move_into_link_name_space},
};
use std::{
    collections::BTreeMap,
    io::{ErrorKind, Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::runtime::Runtime;

const RESOLVER: (Ipv4Addr, u16) = (ADDRESS, 53);
/// What must happen has happened by then, however loaded the machine is.
const PATIENCE: Duration = Duration::from_secs(60);
/// When a question is asked again, since datagrams may be lost.
const AGAIN: Duration = Duration::from_millis(100);

/// A network namespace with loopback.
fn fresh_namespace() -> OwnedFd {
    let make = || {
        namespace::unshare(namespace::NET).expect("these tests need root");
        let mut socket = Socket::open(Family::Route).unwrap();
        set_link(&mut socket, 1, &LinkChange { up: Some(true), ..Default::default() }).unwrap();
        own_namespace().unwrap()
    };
    std::thread::scope(|scope| scope.spawn(make).join().unwrap())
}

/// A host with one container on a network called `net`, and the daemon's runtime, whose threads live in the host.
struct World {
    host: OwnedFd,
    inside: OwnedFd,
    runtime: Runtime,
    server: Option<Server>,
    container: ContainerId,
    resolv_conf: PathBuf,
}

impl World {
    fn new() -> Self {
        let host = fresh_namespace();
        let threads = host.try_clone().unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .on_thread_start(move || {
                move_into_link_name_space(threads.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
            })
            .build()
            .unwrap();
        let container = ContainerId::random();
        let resolv_conf = std::env::temp_dir().join(format!("minke-dns-{}", container.short()));
        std::fs::write(&resolv_conf, "nameserver 127.0.0.53\n").unwrap();
        let mut world =
            World { host, inside: fresh_namespace(), runtime, server: None, container, resolv_conf };
        world.start();
        world.join(&["web", "alias"], &["172.18.0.2"], true);
        world
    }

    /// A daemon, started anew.
    fn start(&mut self) {
        let _inside = self.runtime.enter();
        let zones = self.server.take().map_or_else(Zones::new, |old| old.zones().clone());
        self.server = Some(Server::new(zones, self.resolv_conf.clone()));
    }

    fn server(&self) -> &Server {
        self.server.as_ref().unwrap()
    }

    fn join(&self, names: &[&str], addresses: &[&str], external: bool) -> ContainerId {
        // The first to join is the container itself.
        let empty = self.server().zones().look_up(&self.container, "web", kind::A)
            == zone::Verdict::Unknown { external: false };
        let container = if empty { self.container.clone() } else { ContainerId::random() };
        self.server().zones().join(
            &container,
            Member {
                network: NetworkId::parse(&"ab".repeat(32)).unwrap(),
                network_name: "net".into(),
                external,
                names: names.iter().map(|n| n.to_string()).collect(),
                links: BTreeMap::new(),
                addresses: addresses.iter().map(|a| a.parse().unwrap()).collect(),
            },
        );
        container
    }

    fn attach(&self, servers: Servers) {
        let config = ResolverConfig { servers, ndots_set: false };
        self.server().attach(&self.container, self.inside.as_fd(), config).unwrap();
    }

    /// A server in the host, or in the container, that answers each question as `how` says.
    fn upstream(
        &self,
        netns: &OwnedFd,
        address: &str,
        how: impl Fn(&Query<'_>, &[u8]) -> Option<Vec<u8>> + Send + Sync + 'static,
    ) -> Seen {
        let seen = Seen::default();
        let address: SocketAddr = address.parse().unwrap();
        let (udp, tcp) = within(netns.as_fd(), || {
            (UdpSocket::bind(address).unwrap(), TcpListener::bind(address).unwrap())
        })
        .unwrap();
        udp.set_nonblocking(true).unwrap();
        tcp.set_nonblocking(true).unwrap();
        let _inside = self.runtime.enter();
        let udp = tokio::net::UdpSocket::from_std(udp).unwrap();
        let tcp = tokio::net::TcpListener::from_std(tcp).unwrap();
        let how = Arc::new(how);
        let (udp_how, udp_seen) = (how.clone(), seen.clone());
        self.runtime.spawn(async move {
            let mut buffer = [0; 4096];
            while let Ok((length, client)) = udp.recv_from(&mut buffer).await {
                udp_seen.udp.fetch_add(1, Ordering::SeqCst);
                let query = Query::parse(&buffer[..length]).unwrap();
                if let Some(answer) = udp_how(&query, &buffer[..length]) {
                    udp.send_to(&answer, client).await.unwrap();
                }
            }
        });
        let tcp_seen = seen.clone();
        self.runtime.spawn(async move {
            while let Ok((mut stream, _)) = tcp.accept().await {
                while let Ok(Some(bytes)) = upstream::read_framed(&mut stream).await {
                    tcp_seen.tcp.fetch_add(1, Ordering::SeqCst);
                    let Some(answer) = how(&Query::parse(&bytes).unwrap(), &bytes) else { break };
                    upstream::write_framed(&mut stream, &answer).await.unwrap();
                }
            }
        });
        seen
    }

    fn udp(&self) -> UdpSocket {
        let socket = within(self.inside.as_fd(), || {
            let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
            socket.connect(RESOLVER).unwrap();
            socket
        });
        let socket = socket.unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket
    }

    fn tcp(&self) -> TcpStream {
        let stream = within(self.inside.as_fd(), || TcpStream::connect(RESOLVER).unwrap()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// Asks by UDP: the answer's code and addresses.
    fn ask(&self, name: &str, asked: u16) -> (u8, Vec<String>) {
        read(&exchange(&self.udp(), &ask(0x1234, name, asked, None)))
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.resolv_conf);
    }
}

/// How many questions a server has seen.
#[derive(Clone, Default)]
struct Seen {
    udp: Arc<AtomicUsize>,
    tcp: Arc<AtomicUsize>,
}

impl Seen {
    fn counts(&self) -> (usize, usize) {
        (self.udp.load(Ordering::SeqCst), self.tcp.load(Ordering::SeqCst))
    }
}

fn exchange(socket: &UdpSocket, query: &[u8]) -> Vec<u8> {
    let mut buffer = [0; 65535];
    // A refusal may be left from a resolver that went away meanwhile.
    while let Err(error) = socket.send(query) {
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    }
    let length = socket.recv(&mut buffer).unwrap();
    buffer[..length].to_vec()
}

fn exchange_tcp(stream: &mut TcpStream, query: &[u8]) -> Vec<u8> {
    stream.write_all(&[&(query.len() as u16).to_be_bytes(), query].concat()).unwrap();
    let mut length = [0; 2];
    stream.read_exact(&mut length).unwrap();
    let mut body = vec![0; u16::from_be_bytes(length) as usize];
    stream.read_exact(&mut body).unwrap();
    body
}

/// Code and addresses, as another codec reads them.
fn read(answer: &[u8]) -> (u8, Vec<String>) {
    let packet = simple_dns::Packet::parse(answer).unwrap();
    let text = |r: &simple_dns::ResourceRecord<'_>| match &r.rdata {
        simple_dns::rdata::RData::A(a) => Ipv4Addr::from(a.address).to_string(),
        simple_dns::rdata::RData::PTR(name) => name.0.to_string(),
        other => format!("{other:?}"),
    };
    (code(answer).unwrap(), packet.answers.iter().map(text).collect())
}

fn addresses(list: &[&str]) -> Vec<Record> {
    list.iter().map(|a| Record::Address(a.parse().unwrap())).collect()
}

fn says(list: &'static [&'static str]) -> impl Fn(&Query<'_>, &[u8]) -> Option<Vec<u8>> + Send + Sync {
    move |query, _| Some(query.answer(Code::Fine, &addresses(list), 60_000))
}

fn fine(list: &[&str]) -> (u8, Vec<String>) {
    (0, list.iter().map(|a| a.to_string()).collect())
}

const FAILED: (u8, Vec<String>) = (2, Vec::new());

/// Does it until it once takes less than `limit`: a loaded machine is slow now and then, a timer always.
fn takes_less_than(limit: Duration, once: impl Fn()) {
    let begin = Instant::now();
    loop {
        let start = Instant::now();
        once();
        if start.elapsed() < limit {
            return;
        }
        assert!(begin.elapsed() < PATIENCE, "it never took less than {limit:?}");
    }
}

#[test]
fn names_answer_by_udp_and_by_tcp_also_when_the_container_serves_port_53() {
    let world = World::new();
    // On every address, before and after.
    let own = within(world.inside.as_fd(), || UdpSocket::bind("0.0.0.0:53").unwrap()).unwrap();
    world.attach(Servers::Host);
    let also = within(world.inside.as_fd(), || TcpListener::bind("0.0.0.0:53").unwrap()).unwrap();

    assert_eq!(world.ask("WEB", kind::A), fine(&["172.18.0.2"]));
    assert_eq!(world.ask("alias.net", kind::A), fine(&["172.18.0.2"]));
    assert_eq!(world.ask("web", kind::AAAA), fine(&[]));
    assert_eq!(world.ask("2.0.18.172.in-addr.arpa", kind::PTR), fine(&["web.net"]));
    let mut stream = world.tcp();
    for round in 0..3 {
        let answer = exchange_tcp(&mut stream, &ask(round, "web", kind::A, None));
        assert_eq!((message::id(&answer), read(&answer)), (Some(round), fine(&["172.18.0.2"])));
    }

    // The container's own server is reached at its other addresses.
    let client = within(world.inside.as_fd(), || UdpSocket::bind("127.0.0.1:0").unwrap()).unwrap();
    client.send_to(b"hello", "127.0.0.1:53").unwrap();
    let mut buffer = [0; 16];
    assert_eq!(own.recv(&mut buffer).unwrap(), 5);
    drop(also);
}

#[test]
fn who_shares_a_name_takes_turns() {
    let world = World::new();
    world.join(&["pool"], &["172.18.0.3"], true);
    world.join(&["pool"], &["172.18.0.4"], true);
    world.attach(Servers::Host);
    let firsts: std::collections::BTreeSet<_> = (0..64)
        .map(|_| {
            let (code, mut found) = world.ask("pool", kind::A);
            let first = found[0].clone();
            found.sort();
            assert_eq!((code, found), fine(&["172.18.0.3", "172.18.0.4"]));
            first
        })
        .collect();
    assert_eq!(firsts.len(), 2);
}

#[test]
fn other_names_are_asked_of_the_hosts_servers_as_bytes() {
    let world = World::new();
    world.attach(Servers::Host);
    // Of an unknown type, with EDNS and a record that nobody knows, answered with "no such name" and strange flags.
    let query = ask(0x7777, "Example.COM", 65280, Some(1400));
    let asked = query.clone();
    let seen = world.upstream(&world.host, "127.0.0.53:53", move |_, bytes| {
        assert_eq!(bytes[2..], asked[2..], "all but the id as the client sent it");
        assert_ne!(bytes[..2], asked[..2], "an id of our own");
        let mut answer = bytes.to_vec();
        answer[2] |= 0x84;
        answer[3] = 0x43;
        answer.extend(b"rest");
        Some(answer)
    });
    let answer = exchange(&world.udp(), &query);
    assert_eq!(answer[..2], query[..2]);
    assert_eq!((answer[2], answer[3], &answer[query.len()..]), (0x85, 0x43, &b"rest"[..]));
    let answer = exchange_tcp(&mut world.tcp(), &query);
    assert_eq!((answer[2], answer[3], &answer[query.len()..]), (0x85, 0x43, &b"rest"[..]));
    assert_eq!(seen.counts(), (1, 1), "each by the transport of its client");
}

#[test]
fn the_hosts_file_is_read_again_when_it_changes() {
    let world = World::new();
    world.attach(Servers::Host);
    world.upstream(&world.host, "127.0.0.53:53", says(&["1.1.1.1"]));
    world.upstream(&world.host, "[::1]:53", says(&["2.2.2.2"]));
    assert_eq!(world.ask("example.com", kind::A), fine(&["1.1.1.1"]));
    std::fs::write(&world.resolv_conf, "nameserver ::1\n").unwrap();
    assert_eq!(world.ask("example.com", kind::A), fine(&["2.2.2.2"]));
    // Replaced, as most programs do.
    let new = world.resolv_conf.with_extension("new");
    std::fs::write(&new, "nameserver 127.0.0.53\n").unwrap();
    std::fs::rename(&new, &world.resolv_conf).unwrap();
    assert_eq!(world.ask("example.com", kind::A), fine(&["1.1.1.1"]));
    std::fs::remove_file(&world.resolv_conf).unwrap();
    assert_eq!(world.ask("example.com", kind::A), FAILED);
}

#[test]
fn servers_are_tried_in_order_until_one_answers() {
    let world = World::new();
    world.attach(Servers::Host);
    // Nobody listens at the first; the second is broken.
    std::fs::write(&world.resolv_conf, "nameserver 127.0.0.1\nnameserver 127.0.0.2\nnameserver 127.0.0.3\n")
        .unwrap();
    assert_eq!(world.ask("example.com", kind::A), FAILED);
    let broken = world
        .upstream(&world.host, "127.0.0.2:53", |query, _| Some(query.answer(Code::ServerFailed, &[], 512)));
    assert_eq!(world.ask("example.com", kind::A), FAILED);
    let good = world.upstream(&world.host, "127.0.0.3:53", says(&["3.3.3.3"]));
    assert_eq!(world.ask("example.com", kind::A), fine(&["3.3.3.3"]));
    assert_eq!((broken.counts(), good.counts()), ((2, 0), (1, 0)));
    // A refusal is known at once.
    takes_less_than(Duration::from_secs(2), || {
        assert_eq!(world.ask("example.com", kind::A), fine(&["3.3.3.3"]));
    });
    // A server that is silent costs its time, not the answer.
    world.upstream(&world.host, "127.0.0.1:53", |_, _| None);
    let start = Instant::now();
    assert_eq!(world.ask("example.com", kind::A), fine(&["3.3.3.3"]));
    assert!(start.elapsed() >= Duration::from_secs(4));
}

#[test]
fn an_internal_network_asks_nobody_but_knows_its_own() {
    let world = World::new();
    world.join(&["other"], &["172.18.0.3"], false);
    let seen = world.upstream(&world.host, "127.0.0.53:53", says(&["1.1.1.1"]));
    let inside = ContainerId::random();
    let network = NetworkId::random();
    let member = |external| Member {
        network: network.clone(),
        network_name: "dark".into(),
        external,
        names: vec!["db".into()],
        links: BTreeMap::new(),
        addresses: vec!["172.19.0.2".parse().unwrap()],
    };
    world.server().zones().join(&inside, member(false));
    let config = ResolverConfig { servers: Servers::Host, ndots_set: false };
    world.server().attach(&inside, world.inside.as_fd(), config).unwrap();
    assert_eq!(world.ask("db", kind::A), fine(&["172.19.0.2"]));
    assert_eq!(world.ask("example.com", kind::A), FAILED);
    assert_eq!(seen.counts(), (0, 0));
    // Connected to the world while it runs.
    world.server().zones().join(&inside, member(true));
    assert_eq!(world.ask("example.com", kind::A), fine(&["1.1.1.1"]));
}

#[test]
fn given_servers_are_asked_from_within_the_container_and_never_ourselves() {
    let world = World::new();
    let host = world.upstream(&world.host, "127.0.0.5:53", says(&["1.1.1.1"]));
    let own = world.upstream(&world.inside, "127.0.0.5:5353", says(&["5.5.5.5"]));
    let given =
        |address: &str, port| Upstream { address: address.parse().unwrap(), zone: String::new(), port };
    world.attach(Servers::Given(vec![given("127.0.0.11", 53), given("127.0.0.5", 5353)]));
    assert_eq!(world.ask("example.com", kind::A), fine(&["5.5.5.5"]));
    assert_eq!(
        read(&exchange_tcp(&mut world.tcp(), &ask(1, "example.com", kind::A, None))),
        fine(&["5.5.5.5"])
    );
    assert_eq!((host.counts(), own.counts()), ((0, 0), (1, 1)));
    world.attach(Servers::Given(vec![given("127.0.0.11", 53)]));
    takes_less_than(Duration::from_secs(1), || assert_eq!(world.ask("example.com", kind::A), FAILED));
}

#[test]
fn only_the_answer_to_the_question_is_believed() {
    let world = World::new();
    world.attach(Servers::Host);
    let (udp, client) =
        (within(world.host.as_fd(), || UdpSocket::bind("127.0.0.53:53").unwrap()).unwrap(), world.udp());
    client.send(&ask(9, "example.com", kind::A, None)).unwrap();
    let mut buffer = [0; 512];
    let (length, from) = udp.recv_from(&mut buffer).unwrap();
    let asked = &buffer[..length];
    let lie = |query: &[u8]| Query::parse(query).unwrap().answer(Code::Fine, &addresses(&["6.6.6.6"]), 512);
    let id = message::id(asked).unwrap();
    for wrong in [
        lie(&ask(id ^ 1, "example.com", kind::A, None)),
        lie(&ask(id, "example.net", kind::A, None)),
        b"x".to_vec(),
    ] {
        udp.send_to(&wrong, from).unwrap();
    }
    // The right one, but from elsewhere.
    let other = within(world.host.as_fd(), || UdpSocket::bind("127.0.0.54:53").unwrap()).unwrap();
    other.send_to(&lie(asked), from).unwrap();
    udp.send_to(&Query::parse(asked).unwrap().answer(Code::Fine, &addresses(&["9.9.9.9"]), 512), from)
        .unwrap();
    let length = client.recv(&mut buffer).unwrap();
    assert!(answers(&buffer[..length], 9, &ask(9, "example.com", kind::A, None)[12..]));
    assert_eq!(read(&buffer[..length]), fine(&["9.9.9.9"]));
}

#[test]
fn what_is_too_large_is_cut_and_whole_by_tcp() {
    let world = World::new();
    for n in 0..100 {
        world.join(&["many"], &[&format!("172.18.1.{n}")], true);
    }
    world.attach(Servers::Host);
    let cut = exchange(&world.udp(), &ask(1, "many", kind::A, None));
    assert!(cut.len() <= 512 && cut[2] & 2 != 0);
    let more = exchange(&world.udp(), &ask(1, "many", kind::A, Some(1232)));
    assert!(more.len() > 1000 && more.len() <= 1232 && more[2] & 2 != 0);
    let whole = exchange_tcp(&mut world.tcp(), &ask(1, "many", kind::A, None));
    assert_eq!((read(&whole).1.len(), whole[2] & 2), (100, 0));

    // Others' answers: cut stays cut, and the client's second try goes on by TCP.
    let list: Vec<_> = (0..100).map(|n| Record::Address(Ipv4Addr::new(10, 0, 0, n).into())).collect();
    let seen = world.upstream(&world.host, "127.0.0.53:53", move |query, _| {
        // It cannot see the transport; its first answer is by UDP.
        Some(query.answer(Code::Fine, &list, if query.kind == kind::A { 512 } else { 60_000 }))
    });
    let cut = exchange(&world.udp(), &ask(1, "example.com", kind::A, None));
    assert!(cut[2] & 2 != 0 && read(&cut).1.len() > 20);
    let whole = exchange_tcp(&mut world.tcp(), &ask(1, "example.com", 99, None));
    assert!(whole.len() > 1600);
    assert_eq!(seen.counts(), (1, 1));
    // A server that sends more than the client said it takes is passed on as it is.
    assert!(exchange(&world.udp(), &ask(1, "example.com", 99, None)).len() > 1600);
}

#[test]
fn a_bare_name_waits_for_its_search_domain_when_ndots_was_set() {
    let world = World::new();
    let seen = world.upstream(&world.host, "127.0.0.53:53", says(&["1.1.1.1"]));
    let config = ResolverConfig { servers: Servers::Host, ndots_set: true };
    world.server().attach(&world.container, world.inside.as_fd(), config).unwrap();
    assert_eq!(world.ask("intranet", kind::A), fine(&[]));
    assert_eq!(seen.counts(), (0, 0));
    assert_eq!(world.ask("intranet.corp", kind::A), fine(&["1.1.1.1"]));
    assert_eq!(world.ask("web", kind::A), fine(&["172.18.0.2"]));
}

#[test]
fn a_daemon_started_anew_takes_over_and_old_flows_still_arrive() {
    let mut world = World::new();
    world.attach(Servers::Host);
    let old = world.udp();
    assert_eq!(read(&exchange(&old, &ask(1, "web", kind::A, None))), fine(&["172.18.0.2"]));
    // Its sockets go, as when a process dies.
    let server = world.server.take().unwrap();
    let zones = server.zones().clone();
    drop(server);
    let gone = Instant::now();
    let inside = world.inside.try_clone().unwrap();
    loop {
        let port = within(inside.as_fd(), || Prepared::here(&world.container).unwrap()).unwrap();
        // Not before the task's end has closed them is the first port free.
        if port.udp.local_addr().unwrap().port() == first_port(&world.container) {
            break;
        }
        assert!(gone.elapsed() < PATIENCE);
    }
    let entered = world.runtime.enter();
    let server = Server::new(zones, world.resolv_conf.clone());
    drop(entered);
    world.server = Some(server);
    world.attach(Servers::Host);
    assert_eq!(
        read(&exchange(&old, &ask(2, "web", kind::A, None))),
        fine(&["172.18.0.2"]),
        "the same port as before"
    );
    assert_eq!(world.ask("web", kind::A), fine(&["172.18.0.2"]));
    // Again, without an end in between.
    world.attach(Servers::Host);
    assert_eq!(world.ask("web", kind::A), fine(&["172.18.0.2"]));
    // Someone in the container took the rules away.
    let chains = || {
        within(world.inside.as_fd(), || {
            let mut socket = Socket::open(Family::Netfilter).unwrap();
            let chains = nftables::chains(&mut socket).unwrap();
            let mut batch = nftables::Batch::new();
            batch.flush_chain(nftables::Family::Ip, &chains[0].table, &chains[0].name);
            batch.commit(&mut socket).unwrap();
            chains.len()
        })
    };
    assert_eq!(chains().unwrap(), 1, "one redirect, however often it was made");
    world.attach(Servers::Host);
    assert_eq!(world.ask("web", kind::A), fine(&["172.18.0.2"]));
}

fn first_port(container: &ContainerId) -> u16 {
    20_000 + (u64::from_str_radix(&container.as_str()[..8], 16).unwrap() % 12_000) as u16
}

#[test]
fn after_detach_nobody_answers_and_nothing_is_held() {
    let world = World::new();
    world.attach(Servers::Host);
    assert_eq!(world.ask("web", kind::A), fine(&["172.18.0.2"]));
    world.upstream(&world.host, "127.0.0.53:53", |_, _| None);
    let waiting = world.udp();
    waiting.send(&ask(1, "example.com", kind::A, None)).unwrap();
    let mut stream = world.tcp();
    exchange_tcp(&mut stream, &ask(1, "web", kind::A, None));
    world.server().detach(&world.container);
    assert_eq!(stream.read(&mut [0; 2]).unwrap(), 0, "open connections end");
    // A question may still reach the socket while it goes, and is then lost.
    let socket = world.udp();
    socket.set_read_timeout(Some(AGAIN)).unwrap();
    let begin = Instant::now();
    let is_refused = || {
        let sent = socket.send(&ask(1, "web", kind::A, None)).map(drop);
        let refused = |error: std::io::Error| error.kind() == ErrorKind::ConnectionRefused;
        sent.and_then(|()| socket.recv(&mut [0; 512]).map(drop)).is_err_and(refused)
    };
    while !is_refused() {
        assert!(begin.elapsed() < PATIENCE, "the socket still answers");
    }
}

#[test]
fn a_flood_is_refused_beyond_a_bound_and_names_go_on() {
    let world = World::new();
    world.attach(Servers::Host);
    let begin = Instant::now();
    let seen = world.upstream(&world.host, "127.0.0.53:53", |_, _| None);
    let socket = world.udp();
    socket.set_read_timeout(Some(Duration::from_millis(5))).unwrap();
    let mut buffer = [0; 512];
    let mut is_refused = || {
        let length = socket.recv(&mut buffer).ok()?;
        Some(code(&buffer[..length]) == Some(Code::Refused as u8))
    };
    // Datagrams may be lost, and each question ends after a while: new ones until one is refused.
    for id in (0..=u16::MAX).cycle() {
        assert!(begin.elapsed() < PATIENCE, "no question was refused");
        socket.send(&ask(id, "example.com", kind::A, None)).unwrap();
        if id % 32 == 0 && std::iter::from_fn(&mut is_refused).any(|refused| refused) {
            break;
        }
    }
    // Each holds its place until its time is over.
    let rounds = 1 + begin.elapsed().as_secs() / 4;
    assert!(seen.counts().0 as u64 <= 256 * rounds, "{} in {rounds} rounds", seen.counts().0);

    let asking = world.udp();
    asking.set_read_timeout(Some(AGAIN)).unwrap();
    let mut answer = [0; 512];
    let length = loop {
        asking.send(&ask(1, "web", kind::A, None)).unwrap();
        match asking.recv(&mut answer) {
            Ok(length) => break length,
            Err(error) => assert!(begin.elapsed() < PATIENCE, "no answer: {error}"),
        }
    };
    assert_eq!(read(&answer[..length]), fine(&["172.18.0.2"]));
}

#[test]
fn rubbish_gets_little_and_answers_get_nothing() {
    let world = World::new();
    world.attach(Servers::Host);
    let socket = world.udp();
    let mut answer = ask(1, "web", kind::A, None);
    answer[2] |= 0x80;
    socket.send(&answer).unwrap();
    socket.send(b"x").unwrap();
    let mut two = ask(3, "web", kind::A, None);
    two[5] = 2;
    // The only one to be answered is the last.
    assert_eq!(exchange(&socket, &two)[..4], [0, 3, 0x81, 0x81]);
    let mut stream = world.tcp();
    stream.write_all(&[0, 3, 1, 2, 3]).unwrap();
    assert_eq!(stream.read(&mut [0; 2]).unwrap(), 0, "a stream of rubbish is closed");
}

#[test]
fn idle_connections_are_bounded_and_do_not_stop_datagrams() {
    let world = World::new();
    world.attach(Servers::Host);
    let idle: Vec<_> = (0..40).map(|_| world.tcp()).collect();
    assert_eq!(world.ask("web", kind::A), fine(&["172.18.0.2"]));
    let mut last = idle.into_iter().next_back().unwrap();
    // The others have gone: this one has its turn.
    assert_eq!(read(&exchange_tcp(&mut last, &ask(1, "web", kind::A, None))), fine(&["172.18.0.2"]));
}
