//! The firewall beside others: the host's own, other daemons', and whoever changes what we made.

#![allow(clippy::unwrap_used)] // Tests may fail here.

mod lab;

use lab::*;
use minke_model::{ContainerId, network::Network};
use minke_network::{NetworkConfig, Networks, PublishPolicy, Running, State};
use std::{
    net::TcpListener,
    os::fd::AsFd,
    process::Command,
    time::{Duration, Instant},
};

/// A host's firewall that drops what it does not know, as ufw or firewalld set it up.
const NATIVE: &str =
    "table inet filter { chain forward { type filter hook forward priority filter; policy drop; }; }";
/// The same as iptables makes it.
const IPTABLES: &str =
    "table ip filter { chain FORWARD { type filter hook forward priority filter; policy drop; }; }";
/// firewalld's form: accepting by policy, with a last rule that rejects.
const LAST_RULE: &str = "table inet firewalld { chain filter_FORWARD { type filter hook forward priority filter + 10; \
                         policy accept; ct state established,related accept; reject with icmpx type admin-prohibited; }; }";

fn config(daemon_id: &str, policy: PublishPolicy) -> NetworkConfig {
    NetworkConfig { daemon_id: daemon_id.into(), policy, ..Default::default() }
}

fn load(ruleset: &str) {
    let file = std::env::temp_dir().join(format!("minke-test-{}.nft", ContainerId::random().short()));
    std::fs::write(&file, ruleset).unwrap();
    nft(&["-f", file.to_str().unwrap()]);
    std::fs::remove_file(file).unwrap();
}

/// Waits for what an event will soon bring about.
fn soon(what: &str, mut check: impl FnMut() -> bool) {
    let start = Instant::now();
    while !check() {
        assert!(start.elapsed() < PATIENCE, "{what} did not come about");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_host_firewall_that_drops_lets_containers_out_and_open_ports_in() {
    for ruleset in [NATIVE, IPTABLES, LAST_RULE] {
        with(config("0badcafe", PublishPolicy::Open), |lab| {
            load(ruleset);
            let before = nft(&["list", "ruleset"]);
            let (network, mut leases) = lab.network(spec("n"));
            let (a, b) = (lab.guest(&network, &mut leases), lab.guest(&network, &mut leases));
            serve(a.fd(), 80, "a");
            serve(lab.outside.as_fd(), 80, "outside");
            lab.publish(&a, &network, &[request(None, 8080, "80/tcp")]);
            assert!(ask_from(a.fd(), OUTSIDE, 80).is_ok(), "outgoing");
            assert!(ask_from(lab.outside.as_fd(), HOST, 8080).is_ok(), "incoming");
            assert!(ask_from(b.fd(), HOST, 8080).is_ok(), "from a neighbour");
            assert!(lab.networks.warnings(&[]).is_empty());
            lab.route_outside("172.17.0.0/16", HOST);
            assert!(
                unreachable_from(lab.outside.as_fd(), &a.address(), 80),
                "by the container's own address"
            );
            lab.networks.close(false, &[network]).unwrap();
            assert_eq!(nft(&["list", "ruleset"]), before, "something is left");
        });
    }
}

#[test]
fn under_the_hosts_policy_published_ports_obey_the_hosts_rules() {
    with(config("0badcafe", PublishPolicy::Host), |lab| {
        load(NATIVE);
        let (network, mut leases) = lab.network(spec("n"));
        let a = lab.guest(&network, &mut leases);
        serve(a.fd(), 80, "a");
        serve(lab.outside.as_fd(), 80, "outside");
        let published = lab.publish(&a, &network, &[request(None, 8080, "80/tcp")]);
        assert!(ask_from(a.fd(), OUTSIDE, 80).is_ok(), "outgoing traffic always works");
        assert!(unreachable_from(lab.outside.as_fd(), HOST, 8080), "the host's rules say no");
        assert!(
            ask(HOST, 8080).is_ok() && ask("127.0.0.1", 8080).is_ok(),
            "the host's own are not forwarded"
        );
        let warnings = lab.networks.warnings(&published);
        let command = warnings[0].split("To let it pass: ").nth(1).unwrap();
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        assert!(Command::new("sh").args(["-c", command]).status().unwrap().success(), "{command}");
        assert!(ask_from(lab.outside.as_fd(), HOST, 8080).is_ok(), "the command of the warning works");
        assert!(lab.networks.warnings(&published).is_empty(), "nothing to warn of any more");
    });
    with(config("0badcafe", PublishPolicy::Host), |lab| {
        let (network, mut leases) = lab.network(spec("n"));
        let a = lab.guest(&network, &mut leases);
        serve(a.fd(), 80, "a");
        let published = lab.publish(&a, &network, &[request(None, 8080, "80/tcp")]);
        assert!(ask_from(lab.outside.as_fd(), HOST, 8080).is_ok(), "a host without a firewall says nothing");
        assert!(lab.networks.warnings(&published).is_empty());
    });
}

#[test]
fn what_others_undo_is_repaired() {
    on_a_host(|lab| {
        load(NATIVE);
        let (network, mut leases) = lab.network(spec("n"));
        let a = lab.guest(&network, &mut leases);
        serve(a.fd(), 80, "a");
        serve(lab.outside.as_fd(), 80, "outside");
        lab.publish(&a, &network, &[request(None, 8080, "80/tcp")]);
        nft(&["flush", "ruleset"]);
        soon("the table", || nft(&["list", "ruleset"]).contains("minke-0badcafe"));
        soon("the published port", || ask_from(lab.outside.as_fd(), HOST, 8080).is_ok());
        load(NATIVE);
        soon("the jump", || nft(&["list", "table", "inet", "filter"]).contains("jump minke-0badcafe"));
        assert!(ask_from(a.fd(), OUTSIDE, 80).is_ok());
        nft(&["delete", "chain", "inet", "minke-0badcafe", "guard"]);
        soon("the chain", || nft(&["list", "ruleset"]).contains("chain guard"));
        // Nothing more happens after a repair: it does not wake itself.
        let generation = || nft(&["-j", "list", "chains"]);
        let first = generation();
        std::thread::sleep(Duration::from_millis(50));
        assert_eq!(generation(), first);
    });
}

#[test]
fn a_daemon_that_comes_back_finds_its_ports_and_networks() {
    on_a_host(|lab| {
        let (network, mut leases) = lab.network(spec("n"));
        let (a, b) = (lab.guest(&network, &mut leases), lab.guest(&network, &mut leases));
        serve(a.fd(), 80, "a");
        serve(b.fd(), 80, "b");
        let published = lab.publish(&a, &network, &[request(None, 8080, "80/tcp")]);
        lab.publish(&b, &network, &[request(None, 8081, "80/tcp")]);
        let restarted = |lab: &mut Lab| {
            lab.stop_tasks();
            let _inside = lab.runtime.enter();
            lab.networks = Networks::open(config("0badcafe", PublishPolicy::Open)).unwrap();
        };
        restarted(lab);
        assert!(ask_from(lab.outside.as_fd(), HOST, 8080).is_ok(), "between two daemons traffic goes on");
        let state = State {
            networks: vec![network.clone()],
            running: vec![Running {
                container: a.id.clone(),
                target: a.target(),
                published,
                linked: Vec::new(),
            }],
        };
        lab.networks.sync(&state).unwrap();
        for address in [HOST, "127.0.0.1", "::1"] {
            assert!(ask(address, 8080).is_ok(), "{address}");
        }
        assert!(TcpListener::bind("0.0.0.0:8080").is_err(), "the port is held again");
        assert!(unreachable(HOST, 8081), "a container that nobody knows any more has no port");
        lab.networks.unpublish(&a.id).unwrap();
        assert!(unreachable(HOST, 8080));
    });
}

#[test]
fn several_daemons_live_side_by_side() {
    on_a_host(|lab| {
        let (network, mut leases) = lab.network(spec("n"));
        let a = lab.guest(&network, &mut leases);
        serve(a.fd(), 80, "a");
        lab.publish(&a, &network, &[request(None, 8080, "80/tcp")]);
        let other = {
            let _inside = lab.runtime.enter();
            Networks::open(config("feedbeef", PublishPolicy::Open)).unwrap()
        };
        let first = std::mem::replace(&mut lab.networks, other);
        let (second_network, mut second_leases) = lab.network(spec("n"));
        assert_ne!(
            second_network.spec.pools[0].subnet, network.spec.pools[0].subnet,
            "ranges differ by themselves"
        );
        let b = lab.guest(&second_network, &mut second_leases);
        serve(b.fd(), 80, "b");
        let error =
            lab.networks.publish(&b.id, &second_network, b.target(), &[request(None, 8080, "80/tcp")]);
        assert!(error.unwrap_err().to_string().ends_with("address already in use"));
        lab.publish(&b, &second_network, &[request(None, 8081, "80/tcp")]);
        assert!(ask_from(lab.outside.as_fd(), HOST, 8080).unwrap().starts_with("a "));
        assert!(ask_from(lab.outside.as_fd(), HOST, 8081).unwrap().starts_with("b "));
        assert!(unreachable_from(b.fd(), &a.address(), 80), "their networks are isolated");
        assert!(ask_from(b.fd(), HOST, 8080).is_ok(), "but for published ports");
        lab.networks.close(false, &[second_network]).unwrap();
        assert!(ask_from(lab.outside.as_fd(), HOST, 8080).is_ok());
        let rules = nft(&["list", "ruleset"]);
        assert!(rules.contains("minke-0badcafe") && !rules.contains("minke-feedbeef"));
        first.close(true, &[]).unwrap();
        assert!(
            nft(&["list", "ruleset"]).contains("minke-0badcafe"),
            "containers that run on keep their ports"
        );
    });
}

#[test]
fn thousands_of_published_ports_do_not_slow_one_more() {
    on_a_host(|lab| {
        let (network, mut leases) = lab.network(spec("n"));
        let a = lab.guest(&network, &mut leases);
        serve(a.fd(), 80, "a");
        let many: Vec<_> = (20_000..23_000).map(|port| request(Some("127.0.0.1"), port, "80/tcp")).collect();
        let published = lab.publish(&a, &network, &many);
        assert_eq!(published.len(), 3000);
        assert!(ask("127.0.0.1", 22_999).is_ok());
        let one = ContainerId::random();
        takes_less_than(Duration::from_millis(100), || {
            lab.networks.unpublish(&one).unwrap();
            let asked = [request(Some("127.0.0.1"), 24_000, "80/tcp")];
            let start = Instant::now();
            lab.networks.publish(&one, &network, a.target(), &asked).unwrap();
            start.elapsed()
        });
        let state = State {
            networks: vec![network],
            running: vec![Running {
                container: a.id.clone(),
                target: a.target(),
                published,
                linked: Vec::new(),
            }],
        };
        lab.networks.sync(&state).unwrap();
        assert!(ask("127.0.0.1", 20_000).is_ok() && unreachable("127.0.0.1", 24_000));
    });
}

#[test]
fn a_bridge_that_is_there_gives_its_range_and_anything_else_of_its_name_is_refused() {
    on_a_host(|lab| {
        let mut named = spec("bridge");
        named.options.insert("com.docker.network.bridge.name".into(), "minke0".into());
        let (network, _) = lab.network_beside(named.clone(), &[]);
        assert_eq!(network.bridge, "minke0");
        // A daemon with a new data root takes the device over.
        let (again, _) = lab.network_beside(named.clone(), &[]);
        assert_eq!(again.spec.pools[0].subnet, network.spec.pools[0].subnet);
        assert_eq!(again.spec.pools[0].gateway, network.spec.pools[0].gateway);
        let wan: Network = {
            named.options.insert("com.docker.network.bridge.name".into(), "wan0".into());
            let mut wan = network.clone();
            wan.bridge = "wan0".into();
            wan
        };
        assert!(lab.networks.ensure(&wan).unwrap_err().to_string().contains("another kind"));
        assert!(lab.networks.remove(&wan).is_err(), "a foreign device is never removed");
        named.options.insert("com.docker.network.bridge.name".into(), "../evil".into());
        assert!(lab.networks.device_name(&network.id, &named).is_err());
    });
}
