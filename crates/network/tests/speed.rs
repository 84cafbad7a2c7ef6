//! Prints what a container's start costs the network room: `cargo test -p minke-network --test speed -- --nocapture`.

#![allow(clippy::unwrap_used)] // Tests may fail here.

mod lab;

use lab::*;
use minke_linux::netlink;
use minke_model::{ContainerId, EndpointId};
use minke_network::EndpointPlan;
use std::{
    os::fd::AsFd,
    time::{Duration, Instant},
};

#[test]
fn a_start_costs_little() {
    const COUNT: u32 = 50;
    on_a_host(|lab| {
        let (network, mut leases) = lab.network(spec("n"));
        let mut took = [Duration::MAX; 3];
        let mut namespaces = Vec::new();
        for _ in 0..COUNT {
            let namespace = netlink::new_namespace().unwrap();
            let leased = leases.reserve(false, None).unwrap();
            let std::net::IpAddr::V4(ip) = leased.address else { panic!("{leased:?}") };
            let plan = EndpointPlan {
                interface: "eth0".into(),
                host_name: lab.networks.host_name(&EndpointId::random()),
                ipv4: Some((ip, 16)),
                gateway4: Some("172.17.0.1".parse().unwrap()),
                ..Default::default()
            };
            let start = Instant::now();
            lab.networks.connect(namespace.as_fd(), &network, &plan).unwrap();
            took[0] = took[0].min(start.elapsed());
            let (id, target) = (ContainerId::random(), minke_network::Target { ipv4: Some(ip), ipv6: None });
            let start = Instant::now();
            lab.networks.publish(&id, &network, target, &[request(None, 0, "80/tcp")]).unwrap();
            took[1] = took[1].min(start.elapsed());
            let start = Instant::now();
            lab.networks.unpublish(&id).unwrap();
            took[2] = took[2].min(start.elapsed());
            namespaces.push(namespace);
        }
        // The best of each: what a loaded machine adds is not theirs.
        let [connect, publish, unpublish] = took;
        let start = Instant::now();
        let other = lab.network_beside(spec("m"), &[&network]);
        println!("another network {:?}", start.elapsed());
        let start = Instant::now();
        lab.networks.remove(&other.0).unwrap();
        println!("removed {:?}", start.elapsed());
        for _ in 0..3 {
            let start = Instant::now();
            lab.networks
                .sync(&minke_network::State { networks: vec![network.clone()], running: vec![] })
                .unwrap();
            println!("sync {:?}", start.elapsed());
        }
        println!("connect {connect:?}, publish {publish:?}, unpublish {unpublish:?}");
        assert!(connect + publish + unpublish < Duration::from_millis(50));
    });
}

#[test]
fn many_containers_start_and_end_at_once() {
    on_a_host(|lab| {
        let (network, mut leases) = lab.network(spec("n"));
        let plans: Vec<EndpointPlan> = (0..48)
            .map(|_| {
                let leased = leases.reserve(false, None).unwrap();
                let std::net::IpAddr::V4(ip) = leased.address else { panic!("{leased:?}") };
                EndpointPlan {
                    interface: "eth0".into(),
                    host_name: lab.networks.host_name(&EndpointId::random()),
                    ipv4: Some((ip, 16)),
                    gateway4: Some("172.17.0.1".parse().unwrap()),
                    ..Default::default()
                }
            })
            .collect();
        let start = Instant::now();
        let guests: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = plans
                .chunks(6)
                .map(|plans| {
                    let (networks, network) = (&lab.networks, &network);
                    scope.spawn(move || {
                        let start = |plan: &EndpointPlan| {
                            let namespace = netlink::new_namespace().unwrap();
                            networks.connect(namespace.as_fd(), network, plan).unwrap();
                            let (id, ip) = (ContainerId::random(), plan.ipv4.unwrap().0);
                            let target = minke_network::Target { ipv4: Some(ip), ipv6: None };
                            let asked = [request(None, 0, "80/tcp")];
                            let port = networks.publish(&id, network, target, &asked).unwrap()[0].host_port;
                            (namespace, id, port)
                        };
                        plans.iter().map(start).collect::<Vec<_>>()
                    })
                })
                .collect();
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
        });
        println!("48 started in {:?}", start.elapsed());
        for (namespace, id, port) in &guests {
            serve(namespace.as_fd(), 80, "guest");
            assert!(ask("127.0.0.1", *port).is_ok(), "{id}");
        }
        let start = Instant::now();
        std::thread::scope(|scope| {
            for guests in guests.chunks(6) {
                scope.spawn(|| guests.iter().for_each(|(_, id, _)| lab.networks.unpublish(id).unwrap()));
            }
        });
        println!("48 ended in {:?}", start.elapsed());
        assert!(!nft(&["list", "map", "inet", "minke-0badcafe", "any4"]).contains("elements"));
    });
}
