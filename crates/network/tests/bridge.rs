//! Bridges, interfaces, published ports: real packets between namespaces.

#![allow(clippy::unwrap_used)] // Tests may fail here.

mod lab;

use lab::*;
use minke_linux::netlink;
use minke_network::{BridgeWish, EndpointPlan, Faults, Linked, NetworkConfig, State};
use std::{
    net::{TcpListener, UdpSocket},
    os::fd::AsFd,
};

#[test]
fn two_containers_of_a_network_reach_each_other_and_the_outside() {
    on_a_host(|lab| {
        let (network, mut leases) = lab.network(spec("n"));
        assert_eq!(network.spec.pools[0].subnet.to_string(), "172.17.0.0/16");
        let (a, b) = (lab.guest(&network, &mut leases), lab.guest(&network, &mut leases));
        serve(a.fd(), 80, "a");
        serve(lab.outside.as_fd(), 80, "outside");
        assert_eq!(ask_from(b.fd(), &a.address(), 80).unwrap(), format!("a {}", b.address()));
        assert_eq!(ask(&a.address(), 80).unwrap(), "a 172.17.0.1");
        // Outgoing packets get the host's address: outside knows no way to containers.
        assert_eq!(ask_from(a.fd(), OUTSIDE, 80).unwrap(), format!("outside {HOST}"));
    });
}

#[test]
fn a_published_port_is_reached_from_everywhere() {
    on_a_host(published_from_everywhere);
}

#[test]
fn a_published_port_is_reached_from_everywhere_when_bridged_packets_pass_netfilter() {
    on_a_host(|lab| {
        if bridged_packets_pass_netfilter(true) {
            published_from_everywhere(lab);
        }
    });
}

fn published_from_everywhere(lab: &mut Lab) {
    let (network, mut leases) = lab.network(spec("n"));
    let (other, mut other_leases) = lab.network_beside(spec("m"), &[&network]);
    let (a, b) = (lab.guest(&network, &mut leases), lab.guest(&network, &mut leases));
    let c = lab.guest(&other, &mut other_leases);
    serve(a.fd(), 80, "a");
    let published = lab.publish(&a, &network, &[request(None, 8080, "80/tcp")]);
    let shown: Vec<String> = published.iter().map(|p| format!("{} {}", p.host_ip, p.host_port)).collect();
    assert_eq!(shown, ["0.0.0.0 8080", ":: 8080"]);
    if std::env::var_os("SHOW").is_some() {
        println!("{}", nft(&["list", "ruleset"]));
    }
    assert_eq!(ask_from(lab.outside.as_fd(), HOST, 8080).unwrap(), format!("a {OUTSIDE}"), "from outside");
    for address in [HOST, "172.17.0.1", "172.18.0.1", "127.0.0.1", "127.0.0.9", "::1", HOST6] {
        assert!(ask(address, 8080).is_ok_and(|said| said.starts_with("a ")), "from the host by {address}");
    }
    assert!(ask_from(lab.outside.as_fd(), HOST6, 8080).unwrap().starts_with("a "), "from outside by IPv6");
    for (who, guest) in [("itself", &a), ("a neighbour", &b), ("another network", &c)] {
        for address in [HOST, "172.17.0.1"] {
            let said = ask_from(guest.fd(), address, 8080);
            assert!(
                said.as_ref().is_ok_and(|said| said.starts_with("a ")),
                "from {who} by {address}: {said:?}"
            );
        }
    }
    lab.networks.unpublish(&a.id).unwrap();
    assert!(unreachable(HOST, 8080) && unreachable("127.0.0.1", 8080) && unreachable("::1", 8080));
}

#[test]
fn networks_are_isolated_and_the_outside_reaches_only_what_is_published() {
    on_a_host(|lab| {
        let (network, mut leases) = lab.network(spec("n"));
        let (other, mut other_leases) = lab.network_beside(spec("m"), &[&network]);
        let (a, c) = (lab.guest(&network, &mut leases), lab.guest(&other, &mut other_leases));
        serve(a.fd(), 80, "a");
        serve(a.fd(), 81, "a");
        lab.publish(&a, &network, &[request(Some("127.0.0.1"), 8080, "80/tcp")]);
        assert!(unreachable_from(c.fd(), &a.address(), 80), "traffic crossed networks");
        lab.route_outside("172.17.0.0/16", HOST);
        assert!(unreachable_from(lab.outside.as_fd(), &a.address(), 80), "by the container's own address");
        assert!(unreachable_from(lab.outside.as_fd(), &a.address(), 81), "a port that is not published");
        // CVE-2020-8558: a port on loopback is the host's own.
        lab.route_outside("127.9.0.0/16", HOST);
        assert!(unreachable_from(lab.outside.as_fd(), "127.9.0.1", 8080));
        assert!(unreachable_from(lab.outside.as_fd(), HOST, 8080), "bound to loopback only");
        assert!(ask("127.0.0.1", 8080).is_ok() && unreachable(HOST, 8080));
    });
}

#[test]
fn loopback_is_guarded_against_packets_from_the_wire() {
    on_a_host(|lab| {
        let (network, mut leases) = lab.network(spec("n"));
        let a = lab.guest(&network, &mut leases);
        serve(a.fd(), 80, "a");
        lab.publish(&a, &network, &[request(Some("127.0.0.1"), 8080, "80/tcp")]);
        // The neighbour sends packets for 127.0.0.1 to the host; its own kernel has to let it.
        let gateway = HOST.to_owned();
        minke_linux::netlink::within(lab.outside.as_fd(), || {
            std::fs::write("/proc/sys/net/ipv4/conf/all/route_localnet", "1").unwrap();
            let sh = |command: &str| assert!(std::process::Command::new("sh").args(["-c", command]).status().unwrap().success());
            sh("ip addr del 127.0.0.1/8 dev lo && ip route del table local 127.0.0.0/8 dev lo 2>/dev/null || true");
            sh(&format!("ip route add 127.0.0.1/32 via {gateway} src 10.77.0.2"));
            assert!(unreachable("127.0.0.1", 8080), "a port on loopback was reached from the wire");
        })
        .unwrap();
        // The guard is what stops it: without the rule, and nobody to repair it, it would be let through.
        lab.stop_tasks();
        nft(&["flush", "chain", "inet", "minke-0badcafe", "guard"]);
        let reached = ask_from(lab.outside.as_fd(), "127.0.0.1", 8080);
        assert!(reached.is_ok(), "the test's packets do not even arrive: {reached:?}");
    });
}

#[test]
fn an_internal_network_has_no_way_out_or_in() {
    on_a_host(|lab| {
        let mut internal = spec("n");
        internal.internal = true;
        let (network, mut leases) = lab.network(internal);
        let (other, mut other_leases) = lab.network_beside(spec("m"), &[&network]);
        let (a, b) = (lab.guest(&network, &mut leases), lab.guest(&network, &mut leases));
        let c = lab.guest(&other, &mut other_leases);
        serve(a.fd(), 80, "a");
        serve(lab.outside.as_fd(), 80, "outside");
        serve(c.fd(), 80, "c");
        lab.publish(&c, &other, &[request(None, 8080, "80/tcp")]);
        assert!(ask_from(b.fd(), &a.address(), 80).is_ok(), "its containers reach each other");
        assert!(ask(&a.address(), 80).is_ok(), "the host reaches it, as with Docker");
        assert!(
            lab.publish(&a, &network, &[request(None, 8081, "80/tcp")]).is_empty(),
            "nothing is published"
        );
        // Even a container that makes itself a route gets nowhere.
        minke_linux::netlink::within(b.fd(), || {
            let mut socket = minke_linux::netlink::Socket::open(minke_linux::netlink::Family::Route).unwrap();
            let link = minke_linux::netlink::link_by_name(&mut socket, "eth0").unwrap().unwrap().index;
            let gateway = network.spec.pools[0].gateway.unwrap();
            minke_linux::netlink::add_route(
                &mut socket,
                &minke_linux::netlink::Route::default_by(gateway, link),
            )
            .unwrap();
        })
        .unwrap();
        assert!(unreachable_from(b.fd(), OUTSIDE, 80) && unreachable_from(b.fd(), &c.address(), 80));
        lab.route_outside("172.17.0.0/16", HOST);
        assert!(unreachable_from(lab.outside.as_fd(), &a.address(), 80));
    });
}

#[test]
fn containers_that_are_kept_apart_reach_each_other_by_published_ports_only() {
    for passes in [false, true] {
        on_a_host(|lab| {
            if !bridged_packets_pass_netfilter(passes) {
                return;
            }
            let mut apart = spec("n");
            apart.options.insert("com.docker.network.bridge.enable_icc".into(), "false".into());
            let (network, mut leases) = lab.network(apart);
            let (a, b) = (lab.guest(&network, &mut leases), lab.guest(&network, &mut leases));
            serve(a.fd(), 80, "a");
            serve(lab.outside.as_fd(), 80, "outside");
            assert!(unreachable_from(b.fd(), &a.address(), 80), "icc=false let traffic through");
            assert!(ask_from(b.fd(), OUTSIDE, 80).is_ok() && ask(&a.address(), 80).is_ok());
            lab.publish(&a, &network, &[request(None, 8080, "80/tcp")]);
            let said = ask_from(b.fd(), HOST, 8080);
            assert!(said.is_ok(), "{said:?}");
            assert!(ask_from(lab.outside.as_fd(), HOST, 8080).is_ok());
        });
    }
}

#[test]
fn ports_that_are_taken_are_refused_in_dockers_words_and_free_again_at_once() {
    on_a_host(|lab| {
        let (network, mut leases) = lab.network(spec("n"));
        let (a, b) = (lab.guest(&network, &mut leases), lab.guest(&network, &mut leases));
        let refused = |requests: &[minke_network::PortRequest]| {
            lab.networks.publish(&b.id, &network, b.target(), requests).unwrap_err().to_string()
        };
        lab.publish(&a, &network, &[request(None, 8080, "80/tcp")]);
        assert_eq!(
            refused(&[request(None, 8080, "80/tcp")]),
            "Bind for 0.0.0.0:8080 failed: port is already allocated"
        );
        let error = refused(&[request(Some("127.0.0.1"), 8080, "80/tcp")]);
        assert_eq!(error, "Bind for 127.0.0.1:8080 failed: port is already allocated");
        assert!(TcpListener::bind("0.0.0.0:8080").is_err(), "a process can take a published port");
        let taken = TcpListener::bind("127.0.0.1:9090").unwrap();
        let error = refused(&[request(None, 7070, "70/tcp"), request(Some("127.0.0.1"), 9090, "90/tcp")]);
        let target = b.address();
        assert_eq!(
            error,
            format!("failed to bind host port for 127.0.0.1:9090:{target}:90/tcp: address already in use")
        );
        assert!(TcpListener::bind("0.0.0.0:7070").is_ok(), "what was taken before is given back");
        drop(taken);
        let error = refused(&[request(Some("10.1.2.3"), 9090, "90/tcp")]);
        assert!(error.ends_with("cannot assign requested address"), "{error}");
        lab.publish(&b, &network, &[request(None, 8080, "80/udp")]);
        for _ in 0..50 {
            lab.networks.unpublish(&a.id).unwrap();
            lab.publish(&a, &network, &[request(None, 8080, "80/tcp"), request(Some("::1"), 8082, "80/tcp")]);
        }
        lab.networks.unpublish(&a.id).unwrap();
        lab.networks.unpublish(&b.id).unwrap();
        let rules = nft(&["list", "map", "inet", "minke-0badcafe", "any4"]);
        assert!(!rules.contains("elements"), "{rules}");
    });
}

#[test]
fn a_port_is_chosen_from_the_kernels_range_or_the_one_that_is_asked_for() {
    on_a_host(|lab| {
        let (network, mut leases) = lab.network(spec("n"));
        let a = lab.guest(&network, &mut leases);
        let published = lab.publish(&a, &network, &[request(None, 0, "80/tcp"), request(None, 0, "81/tcp")]);
        let ports: Vec<u16> = published.iter().map(|p| p.host_port).collect();
        assert_eq!((ports[0], ports[2]), (ports[1], ports[3]), "IPv4 and IPv6 get the same port");
        assert!(ports.iter().all(|p| (32768..=60999).contains(p)) && ports[0] != ports[2], "{ports:?}");
        let mut range = request(Some("127.0.0.1"), 0, "80/tcp");
        range.binding.host_ports = Some((7000, 7002));
        let _taken = TcpListener::bind("127.0.0.1:7001").unwrap();
        let chosen: Vec<u16> =
            (0..2).map(|_| lab.publish(&a, &network, std::slice::from_ref(&range))[0].host_port).collect();
        assert_eq!(chosen, [7000, 7002]);
        let full = lab.networks.publish(&a.id, &network, a.target(), &[range]).unwrap_err();
        assert!(full.to_string().contains("127.0.0.1:700"), "{full}");
    });
}

#[test]
fn udp_is_published_and_a_sender_finds_the_next_container() {
    on_a_host(|lab| {
        let (network, mut leases) = lab.network(spec("n"));
        let (a, b) = (lab.guest(&network, &mut leases), lab.guest(&network, &mut leases));
        serve_udp(a.fd(), 53, "a");
        serve_udp(b.fd(), 53, "b");
        lab.publish(&a, &network, &[request(None, 5353, "53/udp")]);
        let client =
            minke_linux::netlink::within(lab.outside.as_fd(), || UdpSocket::bind("0.0.0.0:0").unwrap())
                .unwrap();
        assert_eq!(ask_udp(&client, HOST, 5353).unwrap(), "a");
        let local = UdpSocket::bind("127.0.0.1:0").unwrap();
        assert_eq!(ask_udp(&local, "127.0.0.1", 5353).unwrap(), "a");
        // A socket that takes answers from the address that it asked only.
        let client6 =
            minke_linux::netlink::within(lab.outside.as_fd(), || UdpSocket::bind("[::]:0").unwrap()).unwrap();
        lab.host_address("fd77:aaaa::5");
        client6.connect("[fd77:aaaa::5]:5353").unwrap();
        assert_eq!(ask_udp_connected(&client6).unwrap(), "a");
        let local6 = UdpSocket::bind("[::1]:0").unwrap();
        assert_eq!(ask_udp(&local6, "::1", 5353).unwrap(), "a");
        lab.networks.unpublish(&a.id).unwrap();
        lab.publish(&b, &network, &[request(None, 5353, "53/udp")]);
        // The same socket: the kernel would remember the old container for 30 seconds.
        assert_eq!(ask_udp(&client, HOST, 5353).unwrap(), "b");
        assert_eq!(ask_udp(&local, "127.0.0.1", 5353).unwrap(), "b");
    });
}

#[test]
fn a_network_with_both_families_is_reached_by_both() {
    for passes in [false, true] {
        on_a_host(|lab| {
            if bridged_packets_pass_netfilter(passes) {
                both_families(lab);
            }
        });
    }
}

fn both_families(lab: &mut Lab) {
    let mut both = spec("n");
    both.ipv6 = true;
    both.pools = vec![pool("fd77:1::/64"), pool("10.222.7.0/24")];
    let (network, mut leases) = lab.network(both);
    let (a, b) = (lab.guest(&network, &mut leases), lab.guest(&network, &mut leases));
    serve(a.fd(), 80, "a");
    serve(lab.outside.as_fd(), 80, "outside");
    assert_eq!(ask_from(b.fd(), "fd77:1::2", 80).unwrap(), "a fd77:1::3");
    assert_eq!(ask_from(b.fd(), "10.222.7.2", 80).unwrap(), "a 10.222.7.3");
    lab.publish(&a, &network, &[request(None, 8080, "80/tcp")]);
    assert_eq!(ask_from(lab.outside.as_fd(), HOST6, 8080).unwrap(), "a fd77:aaaa::2", "without a copier");
    for (address, why) in [("::1", "the copier"), (HOST6, "an own address"), ("fd77:1::1", "the bridge's")] {
        let said = ask(address, 8080);
        assert!(said.as_ref().is_ok_and(|s| s.starts_with("a ")), "{why}: {said:?}");
    }
    assert!(ask_from(b.fd(), HOST6, 8080).is_ok(), "a neighbour by the host's address");
    assert!(ask_from(a.fd(), HOST6, 8080).is_ok(), "itself by the host's address");
    assert_eq!(ask_from(a.fd(), "fd77:aaaa::2", 80).unwrap(), format!("outside {HOST6}"), "masked");
}

#[test]
fn interfaces_come_and_go_while_a_container_runs() {
    on_a_host(|lab| {
        let (network, mut leases) = lab.network(spec("n"));
        let (other, mut other_leases) = lab.network_beside(spec("m"), &[&network]);
        let a = lab.guest(&network, &mut leases);
        let b = lab.guest(&other, &mut other_leases);
        serve(a.fd(), 80, "a");
        let names = || {
            minke_linux::netlink::within(a.fd(), || {
                let mut socket =
                    minke_linux::netlink::Socket::open(minke_linux::netlink::Family::Route).unwrap();
                let mut names: Vec<String> =
                    minke_linux::netlink::links(&mut socket).unwrap().into_iter().map(|l| l.name).collect();
                names.sort();
                names
            })
            .unwrap()
        };
        let plan = lab.join(&a, &other, &mut other_leases, "eth1");
        assert_eq!(names(), ["eth0", "eth1", "lo"]);
        assert_eq!(
            ask_from(b.fd(), &plan.ipv4.unwrap().0.to_string(), 80).unwrap(),
            format!("a {}", b.address())
        );
        lab.networks.disconnect(a.fd(), "eth0").unwrap();
        lab.networks.disconnect(a.fd(), "eth0").unwrap();
        assert_eq!(names(), ["eth1", "lo"]);
        serve(lab.outside.as_fd(), 80, "outside");
        assert!(unreachable_from(a.fd(), OUTSIDE, 80), "the way out went with eth0");
        let gateway: std::net::Ipv4Addr = "172.18.0.1".parse().unwrap();
        lab.networks.set_default_route(a.fd(), "eth1", Some(gateway), None).unwrap();
        assert!(ask_from(a.fd(), OUTSIDE, 80).is_ok());
        lab.networks.remove(&network).unwrap();
        lab.networks.remove(&network).unwrap();
        assert!(!nft(&["list", "ruleset"]).contains(&network.bridge));
    });
}

#[test]
fn routed_networks_open_published_ports_by_their_own_addresses() {
    on_a_host(|lab| {
        let mut routed = spec("n");
        routed.options.insert("com.docker.network.bridge.gateway_mode_ipv4".into(), "routed".into());
        let (network, mut leases) = lab.network(routed);
        let a = lab.guest(&network, &mut leases);
        serve(a.fd(), 80, "a");
        serve(a.fd(), 81, "a");
        serve(lab.outside.as_fd(), 80, "outside");
        lab.route_outside("172.17.0.0/16", HOST);
        let published = lab.publish(&a, &network, &[request(None, 8080, "80/tcp")]);
        assert_eq!(published[0].host_port, 0);
        assert!(ask_from(lab.outside.as_fd(), &a.address(), 80).is_ok());
        assert!(unreachable_from(lab.outside.as_fd(), &a.address(), 81));
        assert_eq!(ask_from(a.fd(), OUTSIDE, 80).unwrap(), format!("outside {}", a.address()), "not masked");
    });
}

#[test]
fn a_mac_that_is_asked_for_is_given_and_neighbours_learn_it() {
    // Without the announcement the old address is asked first, and the answer takes a second or more.
    let mut took = std::time::Duration::ZERO;
    takes_less_than(std::time::Duration::from_millis(900), || {
        on_a_host(|lab| took = until_the_new_one_answers(lab));
        took
    });
}

/// How long it takes to reach a container that got the address of another.
fn until_the_new_one_answers(lab: &Lab) -> std::time::Duration {
    let (network, mut leases) = lab.network(spec("n"));
    let (a, b) = (lab.guest(&network, &mut leases), lab.guest(&network, &mut leases));
    serve(a.fd(), 80, "old");
    assert!(ask_from(b.fd(), &a.address(), 80).is_ok(), "b remembers the hardware address of a");
    lab.networks.disconnect(a.fd(), "eth0").unwrap();
    let other = minke_linux::netlink::new_namespace().unwrap();
    let plan = minke_network::EndpointPlan {
        interface: "eth0".into(),
        host_name: lab.networks.host_name(&minke_model::EndpointId::random()),
        mac: Some("02:00:00:00:00:77".parse().unwrap()),
        ipv4: a.ipv4.map(|ip| (ip, 16)),
        sysctls: vec![("ipv4/conf/IFNAME/log_martians".into(), "1".into())],
        ..Default::default()
    };
    lab.networks.connect(other.as_fd(), &network, &plan).unwrap();
    let (mac, martians) = minke_linux::netlink::within(other.as_fd(), || {
        let mut socket = minke_linux::netlink::Socket::open(minke_linux::netlink::Family::Route).unwrap();
        let link = minke_linux::netlink::link_by_name(&mut socket, "eth0").unwrap().unwrap();
        (link.address, std::fs::read_to_string("/proc/sys/net/ipv4/conf/eth0/log_martians").unwrap())
    })
    .unwrap();
    assert_eq!((mac.as_slice(), martians.trim()), (&[2, 0, 0, 0, 0, 0x77][..], "1"));
    serve(other.as_fd(), 80, "new");
    let start = std::time::Instant::now();
    assert!(ask_from(b.fd(), &a.address(), 80).unwrap().starts_with("new"));
    start.elapsed()
}

#[test]
fn ipv6_is_off_where_the_network_has_none() {
    on_a_host(|lab| {
        let (network, mut leases) = lab.network(spec("n"));
        let a = lab.guest(&network, &mut leases);
        let links = minke_linux::netlink::within(a.fd(), || {
            let mut socket = minke_linux::netlink::Socket::open(minke_linux::netlink::Family::Route).unwrap();
            let mut addresses = minke_linux::netlink::addresses(&mut socket).unwrap();
            addresses.retain(|address| address.ip.is_ipv6());
            addresses.iter().map(|address| address.ip.to_string()).collect::<Vec<_>>()
        })
        .unwrap();
        assert_eq!(links, ["::1"]);
    });
}

#[test]
fn a_macvlan_gives_a_container_a_place_on_the_hosts_wire() {
    on_a_host(|lab| {
        let mut macvlan = spec("n");
        macvlan.driver = minke_model::network::NetworkDriver::Macvlan;
        let missing = lab.networks.decide(&mut macvlan.clone(), "", &[]).unwrap_err();
        assert!(missing.to_string().contains("parent"), "{missing}");
        macvlan.options.insert("parent".into(), "wan0".into());
        let mut on_wire = pool("10.77.0.0/24");
        on_wire.range = Some("10.77.0.128/25".parse().unwrap());
        on_wire.gateway = Some("10.77.0.2".parse().unwrap());
        macvlan.pools = vec![on_wire];
        let (network, mut leases) = lab.network(macvlan.clone());
        let a = lab.guest(&network, &mut leases);
        serve(lab.outside.as_fd(), 80, "outside");
        assert_eq!(ask_from(a.fd(), OUTSIDE, 80).unwrap(), format!("outside {}", a.address()));
        lab.networks.remove(&network).unwrap();
        macvlan.options.insert("parent".into(), "none0".into());
        assert!(
            lab.networks.ensure(&minke_model::network::Network { spec: macvlan.clone(), ..network }).is_err()
        );
        macvlan.driver = minke_model::network::NetworkDriver::Ipvlan;
        assert!(lab.networks.decide(&mut macvlan, "", &[]).unwrap_err().to_string().contains("ipvlan"));
    });
}

#[test]
fn outgoing_packets_get_the_address_that_is_asked_for() {
    on_a_host(|lab| {
        lab.host_address("10.77.0.9");
        let mut fixed = spec("n");
        fixed.options.insert("com.docker.network.host_ipv4".into(), "10.77.0.9".into());
        let (network, mut leases) = lab.network(fixed.clone());
        let (a, b) = (lab.guest(&network, &mut leases), lab.guest(&network, &mut leases));
        serve(lab.outside.as_fd(), 80, "outside");
        serve(b.fd(), 80, "b");
        assert_eq!(ask_from(a.fd(), OUTSIDE, 80).unwrap(), "outside 10.77.0.9");
        assert_eq!(ask_from(a.fd(), &b.address(), 80).unwrap(), format!("b {}", a.address()));
        fixed.options.insert("com.docker.network.host_ipv4".into(), "fd00::1".into());
        assert!(lab.networks.options(&fixed).is_err());
    });
}

#[test]
fn one_that_is_kept_apart_reaches_the_ports_that_it_is_linked_to_and_no_others() {
    on_a_host(|lab| {
        let mut apart = spec("n");
        apart.options.insert("com.docker.network.bridge.enable_icc".into(), "false".into());
        let (network, mut leases) = lab.network(apart);
        let guests: Vec<Guest> = (0..3).map(|_| lab.guest(&network, &mut leases)).collect();
        let [a, b, c] = guests.as_slice() else { unreachable!() };
        serve(b.fd(), 80, "b");
        serve(b.fd(), 81, "b");
        assert!(unreachable_from(a.fd(), &b.address(), 80));
        let linked = Linked { from: a.ipv4.unwrap(), to: b.ipv4.unwrap(), port: "80/tcp".parse().unwrap() };
        lab.networks.link(&a.id, &network, &[linked]).unwrap();
        assert_eq!(ask_from(a.fd(), &b.address(), 80).unwrap(), format!("b {}", a.address()));
        assert!(unreachable_from(a.fd(), &b.address(), 81), "another port");
        assert!(unreachable_from(c.fd(), &b.address(), 80), "another container");
        // Who gets the address of one that ended is not linked to.
        lab.networks.unlink_address(b.ipv4.unwrap()).unwrap();
        assert!(unreachable_from(a.fd(), &b.address(), 80));
    });
}

#[test]
fn a_network_of_two_addresses_without_a_gateway_has_both_for_containers() {
    on_a_host(|lab| {
        let mut two = spec("n");
        two.internal = true;
        two.pools = vec![pool("192.168.135.0/31")];
        two.options.insert("com.docker.network.bridge.inhibit_ipv4".into(), "true".into());
        let (network, mut leases) = lab.network(two);
        assert_eq!(network.spec.pools[0].gateway, None);
        let given = [leases.reserve(false, None).unwrap(), leases.reserve(false, None).unwrap()];
        assert_eq!(given.map(|leased| leased.address.to_string()), ["192.168.135.0", "192.168.135.1"]);
        assert!(leases.reserve(false, None).is_err());
    });
}

#[test]
fn a_bridge_that_cannot_be_made_again_holds_up_no_other() {
    on_a_host(|lab| {
        let mut other = spec("other");
        other.options.insert("com.docker.network.bridge.name".into(), "wan0x".into());
        let (lost, _) = lab.network(other);
        let (kept, mut leases) = lab.network_beside(spec("kept"), &[&lost]);
        lab.networks.remove(&lost).unwrap();
        // Something else has its name now.
        let mut socket = netlink::Socket::open(netlink::Family::Route).unwrap();
        let veth = netlink::Veth {
            name: "wan0x",
            master: None,
            peer: "eth1",
            namespace: lab.outside.as_fd(),
            peer_address: None,
            mtu: 0,
        };
        netlink::create_veth(&mut socket, &veth).unwrap();
        lab.networks.sync(&State { networks: vec![lost, kept.clone()], running: Vec::new() }).unwrap();
        let a = lab.guest(&kept, &mut leases);
        serve(a.fd(), 80, "a");
        assert!(ask(&a.address(), 80).is_ok());
    });
}

#[test]
fn without_ipv6_switched_off_there_is_no_interface() {
    let faults = Faults { ipv6_stays: true, ..Faults::default() };
    let config = NetworkConfig { daemon_id: "0badcafe".into(), faults, ..Default::default() };
    with(config, |lab| {
        let (network, _) = lab.network(spec("n"));
        let namespace = netlink::new_namespace().unwrap();
        let plan = EndpointPlan {
            interface: "eth0".into(),
            host_name: "veth0x".into(),
            ipv4: Some(("172.17.0.2".parse().unwrap(), 16)),
            ..Default::default()
        };
        let refused = lab.networks.connect(namespace.as_fd(), &network, &plan).unwrap_err().to_string();
        assert!(refused.starts_with("failed to disable IPv6 on container's interface eth0"), "{refused}");
        let link = netlink::link_index(&netlink::Socket::open(netlink::Family::Route).unwrap(), "veth0x");
        assert_eq!(link.unwrap(), None, "a half-made interface is left");
    });
}

#[test]
fn a_bridge_that_is_kept_goes_on_with_its_address_or_loses_it() {
    on_a_host(|lab| {
        let mut old = spec("bridge");
        old.options.insert("com.docker.network.bridge.name".into(), "docker0".into());
        old.pools = vec![pool("192.168.176.0/24")];
        let (network, _) = lab.network(old);
        let range = |text: &str| BridgeWish { range: Some(text.parse().unwrap()), ..BridgeWish::default() };
        let told =
            |range| lab.networks.default_bridge("docker0", true, [range, BridgeWish::default()]).unwrap();
        let addresses = || {
            let mut socket = netlink::Socket::open(netlink::Family::Route).unwrap();
            let link = netlink::link_index(&socket, "docker0").unwrap().unwrap();
            let all = netlink::addresses(&mut socket).unwrap();
            let own = all.iter().filter(|a| a.link == link && a.ip.is_ipv4()).map(|a| a.ip.to_string());
            own.collect::<Vec<_>>()
        };
        let kept = told(range("192.168.176.128/25"));
        assert_eq!(
            (kept[0].subnet, kept[0].gateway),
            (network.spec.pools[0].subnet, network.spec.pools[0].gateway)
        );
        lab.networks.forget_addresses("docker0", &kept).unwrap();
        assert_eq!(addresses(), ["192.168.176.1"]);
        let other = told(range("192.168.177.0/24"));
        assert_eq!((other[0].subnet.to_string().as_str(), other[0].gateway), ("192.168.177.0/24", None));
        lab.networks.forget_addresses("docker0", &other).unwrap();
        assert_eq!(addresses(), Vec::<String>::new());
    });
}

#[test]
fn an_unprotected_network_is_reached_on_all_ports_by_its_own_addresses() {
    on_a_host(|lab| {
        let mut open = spec("n");
        open.options.insert("com.docker.network.bridge.gateway_mode_ipv4".into(), "nat-unprotected".into());
        let (network, mut leases) = lab.network(open);
        let a = lab.guest(&network, &mut leases);
        serve(a.fd(), 80, "a");
        serve(a.fd(), 81, "a");
        serve(lab.outside.as_fd(), 80, "outside");
        lab.route_outside("172.17.0.0/16", HOST);
        lab.publish(&a, &network, &[request(None, 8080, "80/tcp")]);
        for port in [80, 81] {
            assert!(ask_from(lab.outside.as_fd(), &a.address(), port).is_ok(), "{port}");
        }
        assert!(ask_from(lab.outside.as_fd(), HOST, 8080).is_ok());
        assert_eq!(ask_from(a.fd(), OUTSIDE, 80).unwrap(), format!("outside {HOST}"), "masked");
    });
}

#[test]
fn published_ports_are_reached_directly_where_that_is_trusted_or_allowed() {
    let reached = |trusted: Option<&str>, direct_routing: bool| {
        let config = NetworkConfig { daemon_id: "0badcafe".into(), direct_routing, ..Default::default() };
        let mut seen = Vec::new();
        with(config, |lab| {
            let mut asked = spec("n");
            let option = "com.docker.network.bridge.trusted_host_interfaces";
            asked.options.extend(trusted.map(|names| (option.to_owned(), names.to_owned())));
            let (network, mut leases) = lab.network(asked);
            let a = lab.guest(&network, &mut leases);
            for port in [80, 81, 82] {
                serve(a.fd(), port, "a");
            }
            lab.route_outside("172.17.0.0/16", HOST);
            let ports = [request(None, 8080, "80/tcp"), request(Some("127.0.0.1"), 8081, "81/tcp")];
            lab.publish(&a, &network, &ports);
            assert!(ask_from(lab.outside.as_fd(), HOST, 8080).is_ok());
            let direct = |port| !unreachable_from(lab.outside.as_fd(), &a.address(), port);
            seen = [80, 81, 82].map(direct).to_vec();
            lab.networks.unpublish(&a.id).unwrap();
            assert!(!direct(80));
        });
        seen
    };
    if !rustix::process::geteuid().is_root() {
        return;
    }
    assert_eq!(reached(None, false), [false, false, false]);
    assert_eq!(reached(Some("eth7:wan0"), false), [true, false, false]);
    assert_eq!(reached(Some("eth7"), false), [false, false, false]);
    assert_eq!(reached(None, true), [true, false, false]);
}
