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
        let mut took = [Duration::ZERO; 3];
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
            took[0] += start.elapsed();
            let (id, target) = (ContainerId::random(), minke_network::Target { ipv4: Some(ip), ipv6: None });
            let start = Instant::now();
            lab.networks.publish(&id, &network, target, &[request(None, 0, "80/tcp")]).unwrap();
            took[1] += start.elapsed();
            let start = Instant::now();
            lab.networks.unpublish(&id).unwrap();
            took[2] += start.elapsed();
            namespaces.push(namespace);
        }
        let [connect, publish, unpublish] = took.map(|t| t / COUNT);
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
