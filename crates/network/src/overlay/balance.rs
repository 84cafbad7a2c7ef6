//! One address or port that stands for many: a table of nftables that sends each new flow to one of its targets, by chance.
//!
//! A front (a service's address, or a published port) has a chain and a map of its own; a change of its targets touches
//! these only, in one batch. The whole table is made anew only at the start, or when the kernel's is not as we left it.
//! Flows that are there are not moved.

use crate::{NetworkError, error::Tried, firewall::plan::protocol_number};
use minke_linux::{
    netlink::{Refused, Socket},
    nftables::{
        Batch, Chain, Comparison, CtKey, Element, Expression, Family, FibResult, Hook, MetaKey, NatKind,
        PayloadBase, Priority, Register, RejectKind, Rule, Set, Type, Value, Verdict,
    },
};
use minke_model::port::Protocol;
use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

/// What stands for many.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Front {
    /// A service's address, all ports.
    Address(IpAddr),
    /// A published port: transport, number, IPv6.
    Port(Protocol, u16, bool),
}

/// Who gets its flows: addresses of one family, and their port where it differs from the front's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Targets {
    /// Each once.
    pub(crate) addresses: Vec<IpAddr>,
    /// `None`: the port that was asked for.
    pub(crate) port: Option<u16>,
}

/// Whose flows are sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    /// Those that begin in this namespace, to addresses: a container's own.
    Caller,
    /// Those that arrive at this host or begin on it, to its published ports; they leave by an interface.
    Host {
        /// Where targets are.
        interface: String,
    },
}

/// Before the host's own filters.
const BEFORE_FILTER: Priority = Priority(-10);

const FAMILY: Family = Family::Inet;

/// A table.
#[derive(Debug)]
pub(crate) struct Balancer {
    table: String,
    scope: Scope,
    /// What the kernel has; `None`: not known.
    built: Option<Built>,
}

#[derive(Debug, Default)]
struct Built {
    fronts: BTreeMap<Front, (u32, Targets)>,
    special: BTreeSet<IpAddr>,
    next: u32,
}

impl Balancer {
    /// Of a name. Nothing is made yet.
    pub(crate) fn new(table: String, scope: Scope) -> Self {
        Self { table, scope, built: None }
    }

    /// Makes the table so. `special`: for a caller, addresses that refuse what still comes to them; for a host, senders
    /// that get this node's address.
    pub(crate) fn set(
        &mut self,
        socket: &mut Socket,
        fronts: &BTreeMap<Front, Targets>,
        special: &BTreeSet<IpAddr>,
    ) -> Result<(), NetworkError> {
        let Some(built) = &self.built else { return self.rebuild(socket, fronts, special) };
        let same = |(front, targets): (&Front, &Targets)| {
            built.fronts.get(front).is_some_and(|(_, has)| has == targets)
        };
        if built.fronts.len() == fronts.len() && fronts.iter().all(same) && built.special == *special {
            return Ok(());
        }
        let mut batch = Batch::new();
        let changed = self.change(&mut batch, fronts, special);
        match batch.commit(socket) {
            Ok(()) => {
                self.built = Some(changed);
                Ok(())
            }
            Err(refused) => {
                tracing::warn!(table = self.table, %refused, "the table is not as it was left: building it anew");
                self.built = None;
                self.rebuild(socket, fronts, special)
            }
        }
    }

    /// Takes the table away.
    pub(crate) fn remove(&mut self, socket: &mut Socket) -> Result<(), NetworkError> {
        self.built = None;
        remove_table(socket, FAMILY, &self.table)
            .tried(|| format!("remove the nftables table {}", self.table))
    }

    fn rebuild(
        &mut self,
        socket: &mut Socket,
        fronts: &BTreeMap<Front, Targets>,
        special: &BTreeSet<IpAddr>,
    ) -> Result<(), NetworkError> {
        let mut batch = Batch::new();
        let table = self.table.as_str();
        batch.add_table(FAMILY, table, "");
        batch.delete_table(FAMILY, table);
        batch.add_table(FAMILY, table, "made by minke");
        for set in self.sets() {
            batch.add_set(FAMILY, table, &set);
        }
        for chain in self.chains() {
            batch.add_chain(FAMILY, table, &chain);
        }
        for rule in self.rules() {
            batch.append_rule(FAMILY, table, &rule);
        }
        self.built = Some(Built::default());
        let built = self.change(&mut batch, fronts, special);
        self.built = None;
        batch.commit(socket).tried(|| format!("build the nftables table {table}"))?;
        self.built = Some(built);
        Ok(())
    }

    /// Writes what differs from what is built; returns what then is.
    fn change(
        &self,
        batch: &mut Batch,
        fronts: &BTreeMap<Front, Targets>,
        special: &BTreeSet<IpAddr>,
    ) -> Built {
        let none = Built::default();
        let old = self.built.as_ref().unwrap_or(&none);
        let table = self.table.as_str();
        let mut new = Built { fronts: BTreeMap::new(), special: special.clone(), next: old.next };
        for (front, (id, _)) in &old.fronts {
            if fronts.contains_key(front) {
                continue;
            }
            batch.delete_elements(FAMILY, table, &dispatch(*front), &[front.element(*id)]);
            batch.flush_chain(FAMILY, table, &chain_of(*id));
            batch.delete_chain(FAMILY, table, &chain_of(*id));
            batch.delete_set(FAMILY, table, &map_of(*id, front.is_ipv6()).name);
        }
        for (front, targets) in fronts {
            let (id, has) = match old.fronts.get(front) {
                Some((id, has)) => (*id, Some(has)),
                None => {
                    new.next += 1;
                    (new.next, None)
                }
            };
            if has != Some(targets) {
                self.write_front(batch, *front, id, has, targets);
            }
            new.fronts.insert(*front, (id, targets.clone()));
        }
        for ipv6 in [false, true] {
            let of = |addresses: &BTreeSet<IpAddr>, without: &BTreeSet<IpAddr>| -> Vec<Element> {
                let left = addresses.difference(without).filter(|address| address.is_ipv6() == ipv6);
                left.map(|address| Element::key(&[&super::bytes(*address)])).collect()
            };
            let set = special_set(ipv6);
            let (gone, more) = (of(&old.special, special), of(special, &old.special));
            if !gone.is_empty() {
                batch.delete_elements(FAMILY, table, &set, &gone);
            }
            batch.add_elements(FAMILY, table, &set, &more);
        }
        new
    }

    fn write_front(
        &self,
        batch: &mut Batch,
        front: Front,
        id: u32,
        has: Option<&Targets>,
        targets: &Targets,
    ) {
        let (table, chain, ipv6) = (self.table.as_str(), chain_of(id), front.is_ipv6());
        let map = map_of(id, ipv6);
        match has {
            Some(has) => {
                batch.flush_chain(FAMILY, table, &chain);
                let gone = numbered(has, targets);
                batch.delete_elements(FAMILY, table, &map, &gone);
            }
            None => {
                batch.add_set(FAMILY, table, &map);
                batch.add_chain(FAMILY, table, &Chain::plain(&chain));
            }
        }
        let none = Targets::default();
        batch.add_elements(FAMILY, table, &map, &numbered(targets, has.unwrap_or(&none)));
        let count = targets.addresses.len() as u32;
        if count > 0 {
            let (address, port) = (Register(4), Register(8));
            let mut steps =
                vec![Expression::Random(count, Register(0)), Expression::Map(map.name, Register(0), address)];
            if let Some(number) = targets.port {
                steps.push(Expression::Immediate(port, number.to_be_bytes().to_vec()));
            }
            steps.push(Expression::Nat(NatKind::Destination, ipv6, address, targets.port.map(|_| port)));
            batch.append_rule(FAMILY, table, &Rule { chain, steps, comment: "" });
        }
        if has.is_none() {
            batch.add_elements(FAMILY, table, &dispatch(front), &[front.element(id)]);
        }
    }

    fn sets(&self) -> Vec<Set> {
        let mut sets = vec![special_set(false), special_set(true)];
        match self.scope {
            Scope::Caller => {
                sets.extend([false, true].map(|ipv6| dispatch(Front::Address(unspecified(ipv6)))));
            }
            Scope::Host { .. } => {
                sets.extend([false, true].map(|ipv6| dispatch(Front::Port(Protocol::Tcp, 0, ipv6))));
            }
        }
        sets
    }

    fn chains(&self) -> Vec<Chain> {
        match self.scope {
            Scope::Caller => vec![
                Chain::base("leaving", "nat", Hook::Output, Priority::DSTNAT),
                Chain::base("refusing", "filter", Hook::Output, Priority::FILTER),
            ],
            Scope::Host { .. } => vec![
                Chain::base("arriving", "nat", Hook::Prerouting, Priority::DSTNAT),
                Chain::base("leaving", "nat", Hook::Output, Priority::DSTNAT),
                Chain::base("answering", "filter", Hook::Input, BEFORE_FILTER),
                Chain::base("passing", "filter", Hook::Forward, BEFORE_FILTER),
                Chain::base("masking", "nat", Hook::Postrouting, Priority::SRCNAT),
            ],
        }
    }

    fn rules(&self) -> Vec<Rule> {
        let mut rules = Vec::new();
        let mut add = |chain: &str, comment: &'static str, steps: Vec<Expression>| {
            rules.push(Rule { chain: chain.to_owned(), steps, comment });
        };
        let interface = match &self.scope {
            Scope::Caller => {
                for ipv6 in [false, true] {
                    let mut steps = [family(ipv6), vec![load_address(ipv6, false)]].concat();
                    let name = dispatch(Front::Address(unspecified(ipv6))).name;
                    steps.push(Expression::VerdictMap(name, Register(0)));
                    add("leaving", "", steps);
                    let gone = [
                        family(ipv6),
                        vec![load_address(ipv6, false), Expression::In(special_set(ipv6).name, Register(0))],
                    ]
                    .concat();
                    let tcp = [
                        gone.clone(),
                        vec![
                            Expression::Meta(MetaKey::L4Protocol, Register(0)),
                            equal(&[6]),
                            Expression::Reject(RejectKind::Reset),
                        ],
                    ];
                    add("refusing", "nobody is there any more", tcp.concat());
                    let other = [gone, vec![Expression::Reject(RejectKind::Port)]].concat();
                    add("refusing", "", other);
                }
                return rules;
            }
            Scope::Host { interface } => interface,
        };
        for chain in ["arriving", "leaving"] {
            for ipv6 in [false, true] {
                let mut steps = family(ipv6);
                if chain == "leaving" && ipv6 {
                    // ::1 cannot leave the host: a copier serves it.
                    steps.extend([
                        load_address(true, false),
                        Expression::Compare(
                            Register(0),
                            Comparison::NotEqual,
                            std::net::Ipv6Addr::LOCALHOST.octets().to_vec(),
                        ),
                    ]);
                }
                steps.extend([
                    Expression::FibDestination(FibResult::AddressType, Register(0)),
                    // `RTN_LOCAL`
                    equal(&2u32.to_ne_bytes()),
                    Expression::Meta(MetaKey::L4Protocol, Register(0)),
                    Expression::Payload(PayloadBase::Transport, 2, 2, Register(1)),
                    Expression::VerdictMap(dispatch(Front::Port(Protocol::Tcp, 0, ipv6)).name, Register(0)),
                ]);
                add(chain, "", steps);
            }
        }
        for chain in ["answering", "passing"] {
            let steps = vec![
                Expression::Meta(MetaKey::InName, Register(0)),
                equal(&Element::interface(interface)),
                Expression::Ct(CtKey::Direction, Register(0), false),
                equal(&[0]),
                Expression::Verdict(Verdict::Drop),
            ];
            add(chain, "tasks answer, and begin nothing by this way", steps);
        }
        for ipv6 in [false, true] {
            let steps = [
                vec![Expression::Meta(MetaKey::OutName, Register(0)), equal(&Element::interface(interface))],
                family(ipv6),
                vec![
                    load_address(ipv6, true),
                    Expression::In(special_set(ipv6).name, Register(0)),
                    Expression::Masquerade,
                ],
            ];
            add("masking", "nodes as clients", steps.concat());
        }
        rules
    }
}

impl Front {
    fn is_ipv6(self) -> bool {
        match self {
            Front::Address(address) => address.is_ipv6(),
            Front::Port(.., ipv6) => ipv6,
        }
    }

    fn element(self, id: u32) -> Element {
        let mut element = match self {
            Front::Address(address) => Element::key(&[&super::bytes(address)]),
            Front::Port(protocol, port, _) => {
                Element::key(&[&[protocol_number(protocol)], &port.to_be_bytes()])
            }
        };
        element.value = Value::Goto(chain_of(id));
        element
    }
}

/// The elements of `targets` that `others` do not have at the same place.
fn numbered(targets: &Targets, others: &Targets) -> Vec<Element> {
    let own = targets.addresses.iter().enumerate();
    own.filter(|(at, address)| others.addresses.get(*at) != Some(address))
        .map(|(at, address)| Element::pair(&[&(at as u32).to_ne_bytes()], &[&super::bytes(*address)]))
        .collect()
}

fn chain_of(id: u32) -> String {
    format!("to-{id}")
}

fn map_of(id: u32, ipv6: bool) -> Set {
    Set::map(&format!("targets-{id}"), &[Type::Number], &[address_type(ipv6)])
}

/// From fronts to chains.
fn dispatch(front: Front) -> Set {
    let ipv6 = front.is_ipv6();
    let digit = if ipv6 { '6' } else { '4' };
    match front {
        Front::Address(_) => Set::verdict_map(&format!("services{digit}"), &[address_type(ipv6)]),
        Front::Port(..) => Set::verdict_map(&format!("ports{digit}"), &[Type::Protocol, Type::Port]),
    }
}

fn special_set(ipv6: bool) -> Set {
    Set::of(if ipv6 { "special6" } else { "special4" }, &[address_type(ipv6)])
}

fn address_type(ipv6: bool) -> Type {
    if ipv6 { Type::Ipv6 } else { Type::Ipv4 }
}

fn unspecified(ipv6: bool) -> IpAddr {
    if ipv6 { std::net::Ipv6Addr::UNSPECIFIED.into() } else { std::net::Ipv4Addr::UNSPECIFIED.into() }
}

/// Only IPv6, or only IPv4.
pub(crate) fn family(ipv6: bool) -> Vec<Expression> {
    vec![Expression::Meta(MetaKey::NfProtocol, Register(0)), equal(&[if ipv6 { 10 } else { 2 }])]
}

/// Loads the receiver's address, or the sender's.
pub(crate) fn load_address(ipv6: bool, sender: bool) -> Expression {
    let (offset, length) = match (ipv6, sender) {
        (false, false) => (16, 4),
        (false, true) => (12, 4),
        (true, false) => (24, 16),
        (true, true) => (8, 16),
    };
    Expression::Payload(PayloadBase::Network, offset, length, Register(0))
}

/// Only if the first register has this.
pub(crate) fn equal(value: &[u8]) -> Expression {
    Expression::Compare(Register(0), Comparison::Equal, value.to_vec())
}

/// Takes a table away; one that is not there is no error.
pub(crate) fn remove_table(socket: &mut Socket, family: Family, table: &str) -> Result<(), Refused> {
    let mut batch = Batch::new();
    batch.add_table(family, table, "");
    batch.delete_table(family, table);
    batch.commit(socket)
}
