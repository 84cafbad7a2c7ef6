use super::*;

fn zone(subnets: &[&str]) -> Zone {
    Zone {
        bridge: "br0".into(),
        subnets: subnets.iter().map(|s| s.parse().unwrap()).collect(),
        internal: false,
        icc: true,
        ipv4: Gateway::Nat,
        ipv6: Gateway::Nat,
        sources: Vec::new(),
        trusted: Vec::new(),
    }
}

fn sets(elements: &[(SetName, Element)]) -> Vec<SetName> {
    elements.iter().map(|(name, _)| *name).collect()
}

fn published(at: &str, to: &str) -> Vec<(SetName, Element)> {
    let (at, to): (SocketAddr, SocketAddr) = (at.parse().unwrap(), to.parse().unwrap());
    let container = minke_model::port::Port { number: to.port(), protocol: Protocol::Tcp };
    opening_elements(&Opening::Translated {
        at: PublishedPort { container, host_ip: at.ip(), host_port: at.port() },
        to,
    })
}

#[test]
fn a_network_is_known_by_its_bridge_and_its_ranges() {
    let elements = zone_elements(&zone(&["10.1.2.0/24", "fd00:1::/64"]));
    let names =
        [SetName::Bridges, SetName::Same, SetName::Own4, SetName::Mask4, SetName::Own6, SetName::Mask6];
    assert_eq!(sets(&elements), names);
    let (_, own) = &elements[2];
    assert_eq!((&own.key[..5], own.key.len()), (&[10, 1, 2, 0, b'b'][..], 20));
    assert_eq!(
        &own.end.as_ref().unwrap()[..5],
        [10, 1, 2, 255, b'b'],
        "concatenated ranges include their end"
    );
    let (_, mask) = &elements[3];
    assert_eq!(mask.end.as_deref(), Some(&[10, 1, 3, 0][..]), "plain ranges exclude it");
    let all = zone_elements(&zone(&["255.255.0.0/16"]));
    assert_eq!(all[3].1.end.as_deref(), Some(&[][..]), "the last range has nothing behind it");
}

#[test]
fn options_of_a_network_are_places_in_sets() {
    let internal = zone_elements(&Zone { internal: true, icc: false, ..zone(&["10.1.2.0/24"]) });
    assert_eq!(
        sets(&internal),
        [SetName::Bridges, SetName::Same, SetName::Internal, SetName::Apart, SetName::Own4]
    );
    let open = zone_elements(&Zone { ipv4: Gateway::NatUnprotected, ..zone(&["10.1.2.0/24"]) });
    assert!(sets(&open).contains(&SetName::Unprotected4) && sets(&open).contains(&SetName::Mask4));
    let source =
        zone_elements(&Zone { sources: vec!["10.0.0.9".parse().unwrap()], ..zone(&["10.1.2.0/24"]) });
    assert_eq!(sets(&source).last(), Some(&SetName::Source4));
    for unmasked in [Gateway::Routed, Gateway::NatUnmasked] {
        let elements = zone_elements(&Zone { ipv4: unmasked, ..zone(&["10.1.2.0/24"]) });
        assert!(!sets(&elements).contains(&SetName::Mask4));
    }
}

#[test]
fn a_published_port_is_one_element() {
    let any = published("0.0.0.0:8080", "172.17.0.2:80");
    assert_eq!(sets(&any), [SetName::Any4]);
    assert_eq!(any[0].1.key, [6, 0, 0, 0, 0x1f, 0x90, 0, 0]);
    assert_eq!(any[0].1.value, minke_linux::nftables::Value::Bytes(vec![172, 17, 0, 2, 0, 80, 0, 0]));
    assert_eq!(sets(&published("10.0.0.1:8080", "172.17.0.2:80")), [SetName::Ports4]);
    assert_eq!(sets(&published("[::]:8080", "[fd00::2]:80")), [SetName::Any6]);
    assert_eq!(sets(&published("[fd00::1]:8080", "[fd00::2]:80")), [SetName::Ports6]);
    for copied in [published("[::]:8080", "172.17.0.2:80"), published("[::1]:8080", "[fd00::2]:80")] {
        assert!(copied.is_empty(), "what nftables cannot translate is left to the copier");
    }
}
