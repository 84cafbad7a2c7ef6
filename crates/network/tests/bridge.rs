//! Bridges, interfaces, published ports: real packets between namespaces.

mod lab;

use lab::*;
use std::os::fd::AsFd;

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
    on_a_host(|lab| {
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
        assert_eq!(
            ask_from(lab.outside.as_fd(), HOST, 8080).unwrap(),
            format!("a {OUTSIDE}"),
            "from outside"
        );
        for address in [HOST, "172.17.0.1", "172.18.0.1", "127.0.0.1", "127.0.0.9", "::1", HOST6] {
            assert!(
                ask(address, 8080).is_ok_and(|said| said.starts_with("a ")),
                "from the host by {address}"
            );
        }
        assert!(
            ask_from(lab.outside.as_fd(), HOST6, 8080).unwrap().starts_with("a "),
            "from outside by IPv6"
        );
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
        assert!(ask(HOST, 8080).is_err() && ask("127.0.0.1", 8080).is_err() && ask("::1", 8080).is_err());
    });
}
