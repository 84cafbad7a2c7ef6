//! The way of published ports between nodes, in the overlays' namespace, which is a router on it:
//!
//! ```text
//!  node that is asked                         node of the task
//!  host ── "host" ─┐                     ┌─ "ct" ── container
//!                  br ── vx ═════ vx ── br
//! ```
//!
//! On the network between nodes there are nodes' hardware addresses only. The task's node writes down, in the flow's mark,
//! which node a flow came from; answers get that mark, one rule sends all marked packets one way, and a rule of the bridge
//! puts that node's hardware address in and takes the mark off, before VXLAN's own look for a route would see it.
//! Flows of this host have no mark: their answers go to the host. So the client's address stays what it is.

use super::{
    balance::equal,
    devices::{Device, bridge_name},
    namespace::Namespace,
    plan::{ANSWERS, FROM_NODE, mark_of},
};
use crate::{EndpointPlan, NetworkError, error::Tried, sysctl};
use minke_linux::{
    netlink::{self, Address, LinkChange, Refused, Route, Selector, Socket, Veth},
    nftables::{
        Batch, Chain, Comparison, CtKey, Element, Expression, Family, Hook, MetaKey, PayloadBase, Priority,
        Register, Rule, Set, Type, Verdict,
    },
};
use minke_model::overlay::{OverlayNode, OverlaySpec, OverlayState};
use rustix::io::Errno;
use std::net::IpAddr;

/// The end of the host's link in the namespace.
pub(crate) const HOST: &str = "host";
/// Its hardware address.
const HOST_MAC: [u8; 6] = [0x02, 0x4d, 0x4b, 0, 0, 2];
/// The table of answers to other nodes here; in a container, of answers from its ingress address.
const TABLE: u32 = 0x4d4b;
/// `RT_TABLE_MAIN`
const MAIN: u32 = 254;
/// Asked before the main table.
const PRIORITY: u32 = 100;
/// The namespace's own nftables tables.
const RULES: &str = "minke-ingress";

/// After connection tracking, before the choice of a route.
const MANGLE: Priority = Priority(-150);

/// Links the host with the namespace: `interface` is the host's end. Returns its number.
pub(crate) fn link_host(
    ns: &mut Namespace,
    host: &mut Socket,
    interface: &str,
    state: &OverlayState,
    spec: &OverlaySpec,
) -> Result<u32, NetworkError> {
    let look = || format!("look for interface {interface}");
    let index = match netlink::link_index(host, interface).tried(look)? {
        Some(index) => index,
        None => {
            // A far end without its near one cannot be.
            let veth = Veth {
                name: interface,
                master: None,
                peer: HOST,
                namespace: ns.fd(),
                peer_address: Some(HOST_MAC),
                mtu: spec.mtu,
            };
            netlink::create_veth(host, &veth).tried(|| format!("create interface {interface}"))?;
            netlink::link_index(host, interface)
                .tried(look)?
                .ok_or_else(|| NetworkError::io(look(), Errno::NODEV))?
        }
    };
    for (name, value) in [
        ("ipv4/conf/{}/route_localnet", "1"),
        ("ipv4/conf/{}/rp_filter", "2"),
        ("ipv6/conf/{}/disable_ipv6", "0"),
        ("ipv6/conf/{}/accept_dad", "0"),
        ("ipv6/conf/{}/accept_ra", "0"),
    ] {
        sysctl::try_set(&name.replace("{}", interface), value);
    }
    let far = netlink::link_index(&ns.route, HOST)
        .tried(|| "look for the host's link".into())?
        .ok_or_else(|| NetworkError::io("look for the host's link", Errno::NODEV))?;
    let up = LinkChange { up: Some(true), ..LinkChange::default() };
    netlink::set_link(&mut ns.route, far, &up).tried(|| "switch the host's link on".into())?;
    let near = |error: Result<(), Refused>| error.tried(|| format!("set up interface {interface}"));
    for address in state.place.ingress.iter().copied() {
        let Some(subnet) = spec.subnets.iter().find(|s| s.subnet.contains(address)) else { continue };
        near(unless_there(netlink::add_address(
            host,
            &Address { link: index, ip: address, prefix: full(address) },
        )))?;
        near(netlink::add_route(
            host,
            &Route {
                destination: subnet.gateway,
                prefix: full(subnet.gateway),
                gateway: None,
                link: Some(index),
            },
        ))?;
        near(netlink::add_route(
            host,
            &Route {
                destination: subnet.subnet.network(),
                prefix: subnet.subnet.prefix,
                gateway: Some(subnet.gateway),
                link: Some(index),
            },
        ))?;
        let way = |error: Result<(), Refused>| error.tried(|| "set up the host's link".into());
        if address.is_ipv6() {
            // Neighbours of IPv6 answer for what their own interface has.
            let gateway = Address { link: far, ip: subnet.gateway, prefix: 128 };
            way(unless_there(netlink::add_address(&mut ns.route, &gateway)))?;
        }
        way(netlink::add_route(
            &mut ns.route,
            &Route { destination: address, prefix: full(address), gateway: None, link: Some(far) },
        ))?;
        way(netlink::add_route(&mut ns.route, &Route::default_by(address, far)))?;
    }
    Ok(index)
}

/// Makes the namespace the router that it shall be.
pub(crate) fn ensure(
    ns: &mut Namespace,
    device: &Device,
    spec: &OverlaySpec,
    nodes: &[OverlayNode],
) -> Result<(), NetworkError> {
    let Some(containers) = device.containers else { return Ok(()) };
    // First the rules: until they are there, nothing is passed on.
    build_rules(ns, spec, nodes)?;
    ns.set(&[("ipv4/ip_forward".to_owned(), "1"), ("ipv6/conf/all/forwarding".to_owned(), "1")]);
    let tried = |result: Result<(), Refused>| result.tried(|| "set up the ingress network".into());
    for subnet in &spec.subnets {
        let (gateway, ipv6) = (subnet.gateway, subnet.gateway.is_ipv6());
        let address = Address { link: containers, ip: gateway, prefix: full(gateway) };
        tried(unless_there(netlink::add_address(&mut ns.route, &address)))?;
        tried(netlink::add_unreachable(&mut ns.route, subnet.subnet.network(), subnet.subnet.prefix))?;
        let answers = Route::default_by(ANSWERS[usize::from(ipv6)], device.bridge);
        tried(netlink::add_route_in(&mut ns.route, TABLE, &answers, None))?;
        let rule = to_answers(Selector::Marked(FROM_NODE, ipv6));
        tried(unless_there(netlink::add_rule(&mut ns.route, &rule)))?;
    }
    Ok(())
}

/// The bridge of containers on the ingress network.
pub(crate) fn containers_name(vni: u32) -> String {
    format!("ct{vni}")
}

/// Inside of a container: what leaves from its ingress address goes back by the ingress network, wherever other packets go.
pub(crate) fn answer_from(
    socket: &mut Socket,
    plan: &EndpointPlan,
    spec: &OverlaySpec,
) -> Result<(), NetworkError> {
    let name = plan.interface.as_str();
    let tried =
        |result: Result<(), Refused>| result.tried(|| format!("set up interface {name} for published ports"));
    let Some(link) = netlink::link_index(socket, name).tried(|| format!("look for interface {name}"))? else {
        return Ok(());
    };
    // Clients are anywhere; none where nothing else doubts them.
    let doubted = sysctl::get("ipv4/conf/all/rp_filter").is_some_and(|all| all != "0");
    sysctl::try_set(&format!("ipv4/conf/{name}/rp_filter"), if doubted { "2" } else { "0" });
    let own =
        plan.ipv4.map(|(ip, _)| IpAddr::V4(ip)).into_iter().chain(plan.ipv6.map(|(ip, _)| IpAddr::V6(ip)));
    for address in own {
        let Some(subnet) = spec.subnets.iter().find(|s| s.subnet.contains(address)) else { continue };
        // Nobody of it is a neighbour: all else of it, nodes too, is behind the gateway.
        let others = Route {
            destination: subnet.subnet.network(),
            prefix: subnet.subnet.prefix,
            gateway: Some(subnet.gateway),
            link: Some(link),
        };
        tried(netlink::add_route_in(socket, MAIN, &others, Some(address)))?;
        tried(netlink::add_route_in(socket, TABLE, &Route::default_by(subnet.gateway, link), Some(address)))?;
        let rule = to_answers(Selector::From(address));
        tried(unless_there(netlink::add_rule(socket, &rule)))?;
    }
    Ok(())
}

fn to_answers(selector: Selector) -> netlink::Rule {
    netlink::Rule { selector, priority: PRIORITY, table: TABLE, without_default: false }
}

/// Inside of a container: answers of a published port of UDP. A program that does not say from which address it answers
/// would do so by the default route, and from that one's address; neighbours of its own networks it answers as ever.
pub(crate) fn datagram_rules(port: u16, ipv6: bool) -> [netlink::Rule; 2] {
    let selector = Selector::FromPort(port, ipv6);
    let near = netlink::Rule { selector, priority: PRIORITY - 1, table: MAIN, without_default: true };
    [near, to_answers(selector)]
}

/// Takes away, and makes in the same step.
fn build_rules(ns: &mut Namespace, spec: &OverlaySpec, nodes: &[OverlayNode]) -> Result<(), NetworkError> {
    let mut batch = Batch::new();
    router_rules(&mut batch, spec, nodes);
    bridge_rules(&mut batch, nodes);
    batch.commit(&mut ns.netfilter).tried(|| "build the rules of the ingress network".into())
}

fn begin(batch: &mut Batch, family: Family) {
    batch.add_table(family, RULES, "");
    batch.delete_table(family, RULES);
    batch.add_table(family, RULES, "made by minke");
}

fn router_rules(batch: &mut Batch, spec: &OverlaySpec, nodes: &[OverlayNode]) {
    let family = Family::Inet;
    begin(batch, family);
    let marks = Set::map("nodes", &[Type::Ethernet], &[Type::Mark]);
    batch.add_set(family, RULES, &marks);
    let elements: Vec<Element> = distinct(nodes)
        .map(|node| Element::pair(&[&node.mac], &[&mark_of(node.mac).to_ne_bytes()]))
        .collect();
    batch.add_elements(family, RULES, &marks, &elements);
    batch.add_chain(family, RULES, &Chain::base("marking", "filter", Hook::Prerouting, MANGLE));
    batch.add_chain(family, RULES, &Chain::base("passing", "filter", Hook::Forward, Priority::FILTER));
    let (between, containers) = (bridge_name(spec.vni), containers_name(spec.vni));
    let came_by =
        |name: &str| vec![Expression::Meta(MetaKey::InName, Register(0)), equal(&Element::interface(name))];
    let leaves_by =
        |name: &str| vec![Expression::Meta(MetaKey::OutName, Register(0)), equal(&Element::interface(name))];
    let direction = |answers: bool| {
        vec![Expression::Ct(CtKey::Direction, Register(0), false), equal(&[u8::from(answers)])]
    };
    let mut add = |chain: &str, comment: &'static str, steps: Vec<Vec<Expression>>| {
        let rule = Rule { chain: chain.to_owned(), steps: steps.concat(), comment };
        batch.append_rule(family, RULES, &rule);
    };
    add(
        "marking",
        "which node sent it",
        vec![
            came_by(&between),
            direction(false),
            vec![
                Expression::Payload(PayloadBase::Link, 6, 6, Register(0)),
                Expression::Map("nodes".into(), Register(0), Register(4)),
                Expression::CtSet(CtKey::Mark, Register(4)),
            ],
        ],
    );
    add(
        "marking",
        "answers go back there",
        vec![
            came_by(&containers),
            direction(true),
            vec![
                Expression::Ct(CtKey::Mark, Register(0), false),
                Expression::MetaSet(MetaKey::Mark, Register(0)),
            ],
        ],
    );
    let accept = || vec![Expression::Verdict(Verdict::Accept)];
    add("passing", "from the host to tasks", vec![came_by(HOST), leaves_by(&containers), accept()]);
    add("passing", "from the host to other nodes", vec![came_by(HOST), leaves_by(&between), accept()]);
    add("passing", "from other nodes to tasks", vec![came_by(&between), leaves_by(&containers), accept()]);
    add("passing", "tasks' answers", vec![came_by(&containers), direction(true), accept()]);
    add("passing", "tasks to tasks elsewhere", vec![came_by(&containers), leaves_by(&between), accept()]);
    add("passing", "answers to this host", vec![came_by(&between), direction(true), accept()]);
    add("passing", "nothing else", vec![vec![Expression::Verdict(Verdict::Drop)]]);
}

fn bridge_rules(batch: &mut Batch, nodes: &[OverlayNode]) {
    let family = Family::Bridge;
    begin(batch, family);
    let macs = Set::map("nodes", &[Type::Mark], &[Type::Ethernet]);
    batch.add_set(family, RULES, &macs);
    let elements: Vec<Element> = distinct(nodes)
        .map(|node| Element::pair(&[&mark_of(node.mac).to_ne_bytes()], &[&node.mac]))
        .collect();
    batch.add_elements(family, RULES, &macs, &elements);
    batch.add_chain(family, RULES, &Chain::base("answering", "filter", Hook::Output, Priority::FILTER));
    let steps = vec![
        Expression::Meta(MetaKey::Mark, Register(0)),
        Expression::Map("nodes".into(), Register(0), Register(4)),
        Expression::PayloadSet(PayloadBase::Link, 0, 6, Register(4)),
        Expression::Immediate(Register(0), vec![0; 4]),
        Expression::MetaSet(MetaKey::Mark, Register(0)),
    ];
    batch.append_rule(
        family,
        RULES,
        &Rule { chain: "answering".into(), steps, comment: "to the node that asked" },
    );
    let steps = vec![
        Expression::Meta(MetaKey::Mark, Register(0)),
        Expression::Bitwise(Register(0), FROM_NODE.to_ne_bytes().to_vec(), vec![0; 4]),
        Expression::Compare(Register(0), Comparison::NotEqual, vec![0; 4]),
        Expression::Verdict(Verdict::Drop),
    ];
    batch.append_rule(
        family,
        RULES,
        &Rule { chain: "answering".into(), steps, comment: "a node that has left" },
    );
}

/// Those that a mark tells apart.
fn distinct(nodes: &[OverlayNode]) -> impl Iterator<Item = &OverlayNode> {
    let mut seen = std::collections::BTreeSet::new();
    nodes.iter().filter(move |node| seen.insert(mark_of(node.mac)))
}

/// The prefix of one address alone.
pub(crate) fn full(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

/// What is there already is as good as made.
pub(crate) fn unless_there(result: Result<(), Refused>) -> Result<(), Refused> {
    match result {
        Err(refused) if refused.is(Errno::EXIST) => Ok(()),
        result => result,
    }
}
