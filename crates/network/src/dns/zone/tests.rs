use super::*;

struct Town {
    zones: Zones,
    front: NetworkId,
    back: NetworkId,
}

impl Town {
    fn new() -> Self {
        Town { zones: Zones::new(), front: NetworkId::random(), back: NetworkId::random() }
    }

    fn member(&self, network: &NetworkId, names: &[&str], addresses: &[&str]) -> Member {
        Member {
            network: network.clone(),
            network_name: if *network == self.front { "front" } else { "Back.net" }.into(),
            external: *network == self.front,
            names: names.iter().map(|n| n.to_string()).collect(),
            links: BTreeMap::new(),
            addresses: addresses.iter().map(|a| a.parse().unwrap()).collect(),
        }
    }

    fn live(&self, network: &NetworkId, names: &[&str], addresses: &[&str]) -> ContainerId {
        let id = ContainerId::random();
        self.zones.join(&id, self.member(network, names, addresses));
        id
    }

    fn ask(&self, who: &ContainerId, name: &str, asked: u16) -> Option<Vec<String>> {
        match self.zones.look_up(who, name, asked) {
            Verdict::Known(records) => Some(
                records
                    .iter()
                    .map(|r| match r {
                        Record::Address(a) => a.to_string(),
                        Record::Pointer(n) => n.clone(),
                    })
                    .collect(),
            ),
            Verdict::Unknown { .. } => None,
        }
    }
}

fn some(answers: &[&str]) -> Option<Vec<String>> {
    Some(answers.iter().map(|a| a.to_string()).collect())
}

#[test]
fn a_container_is_found_by_each_of_its_names_and_by_none_of_others() {
    let town = Town::new();
    let web = town.live(&town.front, &["Web", "www", "0123456789ab"], &["172.18.0.2", "fd00::2"]);
    let database = town.live(&town.back, &["db"], &["172.19.0.2"]);
    for name in ["web", "www", "0123456789ab", "web.front", "www.front"] {
        assert_eq!(town.ask(&web, name, kind::A), some(&["172.18.0.2"]), "{name}");
        assert_eq!(town.ask(&web, name, kind::AAAA), some(&["fd00::2"]), "{name}");
    }
    for name in ["db", "web.back.net", "ww", "", "front", "web.front.front"] {
        assert_eq!(town.ask(&web, name, kind::A), None, "{name}");
    }
    assert_eq!(town.ask(&database, "web", kind::A), None, "another network");
    assert_eq!(town.ask(&database, "db.back.net", kind::A), some(&["172.19.0.2"]));
}

#[test]
fn a_known_name_without_such_an_address_is_known_and_empty() {
    let town = Town::new();
    let web = town.live(&town.front, &["web"], &["172.18.0.2"]);
    assert_eq!(town.ask(&web, "web", kind::AAAA), some(&[]));
    assert_eq!(
        town.ask(&web, "web", 15),
        some(&[]),
        "MX: clients fall back to the address (RFC 5321, section 5.1)"
    );
    assert_eq!(town.ask(&web, "web", 65), some(&[]), "HTTPS");
}

#[test]
fn an_alias_of_several_answers_with_all_and_forgets_each_that_leaves() {
    let town = Town::new();
    let one = town.live(&town.front, &["one", "pool"], &["172.18.0.2"]);
    let two = town.live(&town.front, &["two", "pool", "POOL"], &["172.18.0.3"]);
    assert_eq!(town.ask(&one, "pool", kind::A), some(&["172.18.0.2", "172.18.0.3"]));
    town.zones.leave(&two, &town.front);
    assert_eq!(town.ask(&one, "pool", kind::A), some(&["172.18.0.2"]));
    assert_eq!(town.ask(&one, "two", kind::A), None);
    assert_eq!(town.ask(&two, "one", kind::A), None, "who has left hears nothing");
    town.zones.leave_all(&one);
    assert!(town.zones.state.read().unwrap().networks.is_empty());
    assert!(town.zones.state.read().unwrap().containers.is_empty());
}

#[test]
fn joining_again_replaces_names_and_addresses() {
    let town = Town::new();
    let web = town.live(&town.front, &["web"], &["172.18.0.2"]);
    town.zones.join(&web, town.member(&town.front, &["shop"], &["172.18.0.9"]));
    assert_eq!(town.ask(&web, "web", kind::A), None);
    assert_eq!(town.ask(&web, "shop", kind::A), some(&["172.18.0.9"]));
}

#[test]
fn the_network_joined_first_wins() {
    let town = Town::new();
    town.live(&town.front, &["db"], &["172.18.0.2"]);
    town.live(&town.back, &["db"], &["172.19.0.2"]);
    let client = town.live(&town.back, &["client"], &["172.19.0.3"]);
    town.zones.join(&client, town.member(&town.front, &["client"], &["172.18.0.3"]));
    assert_eq!(town.ask(&client, "db", kind::A), some(&["172.19.0.2"]));
    assert_eq!(town.ask(&client, "db.front", kind::A), some(&["172.18.0.2"]));
    assert_eq!(town.ask(&client, "db.back.net", kind::A), some(&["172.19.0.2"]));
}

#[test]
fn links_are_names_for_one_alone_and_hide_others() {
    let town = Town::new();
    let real = town.live(&town.front, &["postgres"], &["172.18.0.2"]);
    town.live(&town.front, &["db"], &["172.18.0.3"]);
    let client = ContainerId::random();
    let mut member = town.member(&town.front, &["client"], &["172.18.0.4"]);
    member.links = BTreeMap::from([("DB".into(), "Postgres".into()), ("gone".into(), "nobody".into())]);
    town.zones.join(&client, member);
    assert_eq!(town.ask(&client, "db", kind::A), some(&["172.18.0.2"]));
    assert_eq!(town.ask(&client, "db.front", kind::A), some(&["172.18.0.2"]));
    assert_eq!(town.ask(&client, "gone", kind::A), None);
    assert_eq!(
        town.ask(&real, "db", kind::A),
        some(&["172.18.0.3"]),
        "others see the container of that name"
    );
}

#[test]
fn names_that_are_told_for_a_network_come_before_containers_own_and_go_with_the_next_telling() {
    let town = Town::new();
    let client = town.live(&town.front, &["web", "client"], &["172.18.0.4"]);
    let named = |names: &[&str], addresses: &[&str]| Named {
        names: names.iter().map(|n| n.to_string()).collect(),
        addresses: addresses.iter().map(|a| a.parse().unwrap()).collect(),
    };
    let service = named(&["Web", "www"], &["172.18.0.100"]);
    let tasks = named(&["tasks.web"], &["172.18.0.9", "172.18.0.8"]);
    let task = named(&["web.1.x"], &["172.18.0.9"]);
    town.zones.tell(&town.front, "front", &[task, service, tasks]);
    assert_eq!(town.ask(&client, "web", kind::A), some(&["172.18.0.100"]));
    assert_eq!(town.ask(&client, "www.front", kind::A), some(&["172.18.0.100"]));
    assert_eq!(town.ask(&client, "tasks.web", kind::A), some(&["172.18.0.8", "172.18.0.9"]));
    assert_eq!(town.ask(&client, "9.0.18.172.in-addr.arpa", kind::PTR), some(&["web.1.x.front"]));
    assert_eq!(town.ask(&client, "web", kind::AAAA), some(&[]));
    let stranger = town.live(&town.back, &["db"], &["172.19.0.2"]);
    assert_eq!(town.ask(&stranger, "www", kind::A), None);
    town.zones.tell(&town.front, "front", &[]);
    assert_eq!(town.ask(&client, "web", kind::A), some(&["172.18.0.4"]));
    assert_eq!(town.ask(&client, "tasks.web", kind::A), None);
}

#[test]
fn addresses_lead_back_to_name_and_network() {
    let town = Town::new();
    let web = town.live(&town.front, &["Web", "www"], &["172.18.0.2", "fd00::2"]);
    assert_eq!(town.ask(&web, "2.0.18.172.in-addr.arpa", kind::PTR), some(&["Web.front"]));
    let nibbles = "2.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.d.f.ip6.arpa";
    assert_eq!(town.ask(&web, nibbles, kind::PTR), some(&["Web.front"]));
    for other in [
        "3.0.18.172.in-addr.arpa",
        "0.18.172.in-addr.arpa",
        "1.2.0.18.172.in-addr.arpa",
        "x.ip6.arpa",
        "ip6.arpa",
    ] {
        assert_eq!(town.ask(&web, other, kind::PTR), None, "{other}");
    }
    assert_eq!(town.ask(&web, "2.0.18.172.in-addr.arpa", kind::A), None);
}

#[test]
fn only_a_network_that_leads_outside_opens_the_hosts_resolvers() {
    let town = Town::new();
    let inside = town.live(&town.back, &["db"], &["172.19.0.2"]);
    assert_eq!(town.zones.look_up(&inside, "example.com", kind::A), Verdict::Unknown { external: false });
    // The default bridge: no names, but a way out.
    town.zones.join(&inside, town.member(&town.front, &[], &["172.17.0.2"]));
    assert_eq!(town.zones.look_up(&inside, "example.com", kind::A), Verdict::Unknown { external: true });
    town.zones.leave(&inside, &town.front);
    assert_eq!(town.zones.look_up(&inside, "example.com", kind::A), Verdict::Unknown { external: false });
    assert_eq!(town.ask(&inside, "db", kind::A), some(&["172.19.0.2"]));
}
