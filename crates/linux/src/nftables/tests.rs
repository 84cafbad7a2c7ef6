//! The codec against the kernel and against `nft`, which prints back what it understood.

use super::*;
use crate::netlink::{self, Message, Socket, new_namespace, within};
use rustix::io::Errno;
use std::{os::fd::AsFd, process::Command};

/// Runs `work` in a fresh network namespace, where everything can be tried. Needs root.
fn alone<T: Send>(work: impl FnOnce(&mut Socket) -> T + Send) -> Option<T> {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: network namespaces need root");
        return None;
    }
    let namespace = new_namespace().unwrap();
    Some(within(namespace.as_fd(), || work(&mut Socket::open(netlink::Family::Netfilter).unwrap())).unwrap())
}

/// The ruleset as `nft` reads it.
fn listed() -> String {
    let output = Command::new("nft").args(["-s", "-n", "list", "ruleset"]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn rule(chain: &str, steps: Vec<Expression>) -> Rule {
    Rule { chain: chain.into(), steps, comment: "" }
}

#[test]
fn a_rule_has_the_bytes_that_the_kernel_wants() {
    let mut message = Message::new(Kind::NewRule.number(), 0);
    message.put(&[2, 0, 0, 0]).attr_str(1, "t").attr_str(2, "c").nest(4, |m| {
        Expression::Meta(MetaKey::L4Protocol, Register(0)).write(m);
        Expression::Verdict(Verdict::Jump("x".into())).write(m);
    });
    let bytes = message.finish(1, 0);
    let mut golden: Vec<u8> = Vec::new();
    let mut u16s = |numbers: &[u16]| numbers.iter().for_each(|n| golden.extend_from_slice(&n.to_ne_bytes()));
    // Header: length, kind (subsystem 10, NFT_MSG_NEWRULE 6), flags, sequence, port.
    u16s(&[132, 0, 10 << 8 | 6, 0, 1, 0, 0, 0]);
    golden.extend_from_slice(&[2, 0, 0, 0]);
    let mut attribute = |length: u16, kind: u16, payload: &[u8]| {
        golden.extend_from_slice(&length.to_ne_bytes());
        golden.extend_from_slice(&kind.to_ne_bytes());
        golden.extend_from_slice(payload);
    };
    const NESTED: u16 = 0x8000;
    attribute(6, 1, b"t\0\0\0");
    attribute(6, 2, b"c\0\0\0");
    attribute(96, 4 | NESTED, &[]);
    attribute(36, 1 | NESTED, &[]);
    attribute(9, 1, b"meta\0\0\0\0");
    attribute(20, 2 | NESTED, &[]);
    attribute(8, 2, &[0, 0, 0, 16]);
    attribute(8, 1, &[0, 0, 0, 8]);
    attribute(56, 1 | NESTED, &[]);
    attribute(14, 1, b"immediate\0\0\0");
    attribute(36, 2 | NESTED, &[]);
    attribute(8, 1, &[0; 4]);
    attribute(24, 2 | NESTED, &[]);
    attribute(20, 2 | NESTED, &[]);
    // NFT_JUMP is -3.
    attribute(8, 1, &[0xff, 0xff, 0xff, 0xfd]);
    attribute(6, 2, b"x\0\0\0");
    assert_eq!(bytes, golden);
}

#[test]
fn nft_reads_every_expression_as_it_is_meant() {
    let text = alone(|socket| {
        let (family, table) = (Family::Inet, "t");
        let mut batch = Batch::new();
        batch.add_table(family, table, "ours");
        batch.add_chain(family, table, &Chain::base("in", "filter", Hook::Input, Priority::FILTER));
        batch.add_chain(family, table, &Chain::base("pre", "nat", Hook::Prerouting, Priority::DSTNAT));
        batch.add_chain(family, table, &Chain::base("post", "nat", Hook::Postrouting, Priority::SRCNAT));
        batch.add_chain(family, table, &Chain::plain("sub"));
        let names = Set::of("names", &[Type::InterfaceName]);
        let ranges = Set::of("ranges", &[Type::Ipv4]).with_intervals();
        let pairs = Set::of("pairs", &[Type::Ipv4, Type::InterfaceName]).with_intervals();
        let ports = Set::map("ports", &[Type::Protocol, Type::Port], &[Type::Ipv4, Type::Port]);
        let ways = Set::verdict_map("ways", &[Type::Port]);
        for set in [&names, &ranges, &pairs, &ports, &ways] {
            batch.add_set(family, table, set);
        }
        batch.add_elements(family, table, &names, &[Element::key(&[&Element::interface("br0")])]);
        let mut range = Element::key(&[&[10, 0, 0, 0]]);
        range.end = Some(vec![11, 0, 0, 0]);
        let mut last = Element::key(&[&[255, 0, 0, 0]]);
        last.end = Some(Vec::new());
        batch.add_elements(family, table, &ranges, &[range, last]);
        let mut pair = Element::key(&[&[10, 0, 0, 0], &Element::interface("br0")]);
        pair.end = Some(Element::key(&[&[10, 0, 255, 255], &Element::interface("br0")]).key);
        batch.add_elements(family, table, &pairs, &[pair]);
        let element =
            Element::pair(&[&[6], &80u16.to_be_bytes()], &[&[172, 17, 0, 2], &8080u16.to_be_bytes()]);
        batch.add_elements(family, table, &ports, &[element]);
        let way = |port: u16, value| Element { key: port.to_be_bytes().to_vec(), end: None, value };
        batch.add_elements(
            family,
            table,
            &ways,
            &[way(1, Value::Goto("sub".into())), way(2, Value::Drop), way(3, Value::Accept)],
        );
        let r = Register;
        let equal = |register, value: &[u8]| Expression::Compare(register, Comparison::Equal, value.to_vec());
        let tcp = || [Expression::Meta(MetaKey::L4Protocol, r(0)), equal(r(0), &[6])];
        let th = |to| Expression::Payload(PayloadBase::Transport, 2, 2, to);
        let mut add =
            |chain: &str, steps: Vec<Expression>| batch.append_rule(family, table, &rule(chain, steps));
        add(
            "in",
            vec![
                Expression::Meta(MetaKey::InName, r(0)),
                Expression::In("names".into(), r(0)),
                Expression::Counter,
                Expression::Verdict(Verdict::Jump("sub".into())),
            ],
        );
        add(
            "in",
            vec![
                Expression::Meta(MetaKey::NfProtocol, r(0)),
                equal(r(0), &[2]),
                Expression::Payload(PayloadBase::Network, 12, 4, r(0)),
                Expression::NotIn("ranges".into(), r(0)),
                Expression::Reject(RejectKind::Prohibited),
            ],
        );
        add("in", [tcp().to_vec(), vec![Expression::Reject(RejectKind::Reset)]].concat());
        add("in", [tcp().to_vec(), vec![th(r(0)), Expression::VerdictMap("ways".into(), r(0))]].concat());
        add(
            "in",
            [
                tcp().to_vec(),
                vec![
                    Expression::Ct(CtKey::DestinationPort, r(0), true),
                    equal(r(0), &8080u16.to_be_bytes()),
                    Expression::Verdict(Verdict::Accept),
                ],
            ]
            .concat(),
        );
        add(
            "in",
            vec![
                Expression::Ct(CtKey::State, r(0), false),
                Expression::Bitwise(r(0), 6u32.to_ne_bytes().to_vec(), vec![0; 4]),
                Expression::Compare(r(0), Comparison::NotEqual, vec![0; 4]),
                Expression::Immediate(r(1), 7u32.to_ne_bytes().to_vec()),
                Expression::MetaSet(MetaKey::Mark, r(1)),
                Expression::Verdict(Verdict::Return),
            ],
        );
        add(
            "pre",
            vec![
                Expression::FibDestination(FibResult::AddressType, r(0)),
                equal(r(0), &2u32.to_ne_bytes()),
                Expression::Meta(MetaKey::NfProtocol, r(0)),
                equal(r(0), &[2]),
                Expression::Meta(MetaKey::L4Protocol, r(0)),
                th(r(1)),
                Expression::Map("ports".into(), r(0), r(4)),
                Expression::Nat(NatKind::Destination, false, r(4), Some(r(5))),
            ],
        );
        add(
            "pre",
            [
                tcp().to_vec(),
                vec![Expression::Immediate(r(0), 5353u16.to_be_bytes().to_vec()), Expression::Redirect(r(0))],
            ]
            .concat(),
        );
        add(
            "post",
            vec![
                Expression::Meta(MetaKey::NfProtocol, r(0)),
                equal(r(0), &[2]),
                Expression::Payload(PayloadBase::Network, 12, 4, r(0)),
                Expression::Meta(MetaKey::OutName, r(1)),
                Expression::In("pairs".into(), r(0)),
                Expression::Masquerade,
            ],
        );
        batch.commit(socket).unwrap();
        listed()
    });
    let Some(text) = text else { return };
    for line in [
        "comment \"ours\"",
        "elements = { \"br0\" }",
        "elements = { 10.0.0.0/8, 255.0.0.0/8 }",
        "elements = { 10.0.0.0/16 . \"br0\" }",
        "elements = { 6 . 80 : 172.17.0.2 . 8080 }",
        "elements = { 1 : goto sub, 2 : drop, 3 : accept }",
        "iifname @names counter jump sub",
        "ip saddr != @ranges reject with icmpx 3",
        "meta l4proto 6 reject with tcp reset",
        "tcp dport vmap @ways",
        "meta l4proto 6 ct original proto-dst 8080 accept",
        "ct state 0x2,0x4 meta mark set 0x00000007 return",
        "fib daddr type 2 meta nfproto 2 dnat ip to meta l4proto . th dport map @ports",
        "meta l4proto 6 redirect to :5353",
        "ip saddr . oifname @pairs masquerade",
    ] {
        assert!(text.contains(line), "{line} is missing from\n{text}");
    }
}

#[test]
fn a_batch_is_all_or_nothing_and_says_which_message_was_refused() {
    alone(|socket| {
        let mut batch = Batch::new();
        batch.add_table(Family::Inet, "t", "");
        batch.add_chain(Family::Inet, "t", &Chain::plain("c"));
        batch.append_rule(Family::Inet, "t", &rule("missing", vec![Expression::Counter]));
        batch.add_chain(Family::Inet, "t", &Chain::plain("d"));
        let refused = batch.commit(socket).unwrap_err();
        assert_eq!((refused.errno, refused.index), (Errno::NOENT, 2));
        assert_eq!(listed(), "");
        assert!(Batch::new().commit(socket).is_ok());
        let mut delete = Batch::new();
        delete.delete_table(Family::Inet, "t");
        assert_eq!(delete.commit(socket).unwrap_err().errno, Errno::NOENT);
    });
}

#[test]
fn rules_are_found_again_and_removed_by_their_handles() {
    alone(|socket| {
        let (family, table) = (Family::Ip, "filter");
        let mut batch = Batch::new();
        batch.add_table(family, table, "");
        batch.add_chain(family, table, &Chain::base("FORWARD", "filter", Hook::Forward, Priority::FILTER));
        batch.add_chain(family, table, &Chain::plain("ours"));
        batch.append_rule(family, table, &rule("FORWARD", vec![Expression::Reject(RejectKind::Port)]));
        let jump = vec![Expression::Counter, Expression::Verdict(Verdict::Jump("ours".into()))];
        batch.insert_rule(family, table, &rule("FORWARD", jump));
        let made = batch.commit_and_tell(socket).unwrap();
        assert_eq!(made.len(), 2, "{made:?}");
        let found = rules(socket, family, table, "FORWARD").unwrap();
        assert_eq!(found[0].target.as_deref(), Some("ours"), "inserted at the head");
        assert_eq!(found[0].handle, made[1].handle);
        assert!(!found[0].drops_all && found[1].drops_all);
        let all = chains(socket).unwrap();
        let base = all.iter().find(|c| c.name == "FORWARD").unwrap();
        assert_eq!((base.hook, base.drops, base.kind.as_str()), (Some((2, 0)), false, "filter"));
        assert_eq!(all.iter().find(|c| c.name == "ours").unwrap().hook, None);
        let mut batch = Batch::new();
        batch.delete_rule(family, table, "FORWARD", found[0].handle);
        batch.delete_chain(family, table, "ours");
        batch.commit(socket).unwrap();
        assert_eq!(rules(socket, family, table, "FORWARD").unwrap().len(), 1);
        Command::new("nft").args(["add chain ip filter FORWARD { policy drop; }"]).status().unwrap();
        assert!(chains(socket).unwrap()[0].drops);
    });
}

#[test]
fn thousands_of_elements_go_in_one_batch() {
    alone(|socket| {
        let set = Set::of("ports", &[Type::Protocol, Type::Port]);
        let elements: Vec<Element> =
            (1..=20_000u16).map(|port| Element::key(&[&[6], &port.to_be_bytes()])).collect();
        let mut batch = Batch::new();
        batch.add_table(Family::Inet, "t", "");
        batch.add_set(Family::Inet, "t", &set);
        batch.add_elements(Family::Inet, "t", &set, &elements);
        batch.commit(socket).unwrap();
        assert_eq!(listed().matches("6 . ").count(), 20_000);
        let mut batch = Batch::new();
        batch.delete_elements(Family::Inet, "t", &set, &elements[..19_999]);
        batch.commit(socket).unwrap();
        assert!(listed().contains("elements = { 6 . 20000 }"));
        let mut twice = Batch::new();
        twice.delete_elements(Family::Inet, "t", &set, &elements[..1]);
        assert_eq!(twice.commit(socket).unwrap_err().errno, Errno::NOENT);
    });
}

#[test]
fn events_tell_who_changed_which_table() {
    alone(|socket| {
        let mut listener = Socket::open(netlink::Family::Netfilter).unwrap();
        listener.join(EVENTS).unwrap();
        let mut batch = Batch::new();
        batch.add_table(Family::Inet, "t", "");
        batch.commit(socket).unwrap();
        let mut changes = Vec::new();
        while listener.events(|received| changes.extend(change(&received))).unwrap().is_some() {}
        let named: Vec<&Change> = changes.iter().filter(|c| !c.table.is_empty()).collect();
        assert_eq!(named.len(), 1, "{changes:?}");
        assert_eq!((named[0].port, named[0].table.as_str()), (socket.port(), "t"));
        assert_eq!(listener.events(|_| ()).unwrap(), None);
    });
}

#[test]
fn rules_that_pass_a_published_port_are_understood_in_both_dialects() {
    alone(|socket| {
        let (family, table) = (Family::Ip, "filter");
        let mut batch = Batch::new();
        batch.add_table(family, table, "");
        batch.add_chain(family, table, &Chain::base("FORWARD", "filter", Hook::Forward, Priority::FILTER));
        // `-m conntrack --ctorigdstport 8080:8090`, as iptables writes it.
        let mut info = vec![0u8; 168];
        info[140..142].copy_from_slice(&8080u16.to_ne_bytes());
        info[156..158].copy_from_slice(&8090u16.to_ne_bytes());
        info[146..148].copy_from_slice(&(1u16 << 9).to_ne_bytes());
        let accept = || Expression::Verdict(Verdict::Accept);
        batch.append_rule(
            family,
            table,
            &rule("FORWARD", vec![Expression::Xt("conntrack", 3, info), accept()]),
        );
        batch.commit(socket).unwrap();
        let add = |rule: &str| {
            let words: Vec<&str> =
                ["add", "rule", "ip", "filter", "FORWARD"].into_iter().chain(rule.split(' ')).collect();
            assert!(Command::new("nft").args(words).status().unwrap().success(), "{rule}");
        };
        add("meta l4proto tcp ct original proto-dst 443 accept");
        add("meta l4proto tcp ct reply proto-dst 443 accept");
        add("meta l4proto tcp ct original proto-dst 444 drop");
        add("counter drop");
        let found = table_rules(socket, family, table).unwrap();
        let passes: Vec<_> = found.iter().map(|r| r.passes_original).collect();
        assert_eq!(passes, [Some((8080, 8090)), Some((443, 443)), None, None, None]);
        assert_eq!(found.iter().map(|r| r.drops_all).collect::<Vec<_>>(), [false, false, false, false, true]);
    });
}
