//! Whose name it is: pure.
//!
//! A container sees the names of the networks that it is in, in the order in which it joined them: first the name
//! as asked in all of them, then, for `a.b.c`, `a.b` in a network `c` and `a` in a network `b.c` (Docker's order,
//! `libnetwork/sandbox.go`). Names are compared without regard to case.

use super::message::{Record, kind};
use minke_model::{ContainerId, NetworkId};
use std::{
    collections::{BTreeMap, HashMap},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::{Arc, PoisonError, RwLock},
};

/// A container's place in one network, as far as names go.
#[derive(Clone, Debug)]
pub struct Member {
    /// In which.
    pub network: NetworkId,
    /// Its name, for `container.network`.
    pub network_name: String,
    /// Whether this network leads outside: not internal, with a gateway. A container that has no such network gets
    /// nothing from the host's resolvers.
    pub external: bool,
    /// The names that others find it by, the container's own name first (as `Endpoint::dns_names`). Empty on the
    /// default bridge, which has no names.
    pub names: Vec<String>,
    /// Names that only this container knows: alias to another's name (`--link name:alias` on a user's network).
    pub links: BTreeMap<String, String>,
    /// Its addresses there.
    pub addresses: Vec<IpAddr>,
}

/// A name on a network that is no container's own: a service's, or a task's of another machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// All names of it.
    pub names: Vec<String>,
    /// What they mean.
    pub addresses: Vec<IpAddr>,
}

/// Who is in which network under which names. Cheap to clone; all clones are the same.
#[derive(Clone, Default)]
pub struct Zones {
    state: Arc<RwLock<State>>,
}

#[derive(Default)]
struct State {
    networks: HashMap<NetworkId, Network>,
    /// Each container's networks, in the order of its joining.
    containers: HashMap<ContainerId, Vec<Joined>>,
}

#[derive(Default)]
struct Network {
    name: String,
    names: HashMap<String, Vec<Entry>>,
    /// Names that are told for the whole network; they come before containers' own.
    told: HashMap<String, Vec<IpAddr>>,
    /// Whose address it is, by what was told.
    told_of: HashMap<IpAddr, String>,
}

struct Entry {
    container: ContainerId,
    addresses: Arc<[IpAddr]>,
}

struct Joined {
    network: NetworkId,
    external: bool,
    names: Vec<String>,
    /// As told, for reverse answers.
    own_name: String,
    links: BTreeMap<String, String>,
    addresses: Arc<[IpAddr]>,
}

/// What the zones say to a question.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is ours: these are all answers, perhaps none.
    Known(Vec<Record>),
    /// It is not ours: others may know, the host's resolvers only if so.
    Unknown { external: bool },
}

impl Zones {
    /// Nobody anywhere.
    pub fn new() -> Self {
        Zones::default()
    }

    /// Puts `container` into a network, or changes its names and addresses there.
    pub fn join(&self, container: &ContainerId, member: Member) {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        let state = &mut *state;
        let place = state
            .containers
            .get(container)
            .and_then(|joined| joined.iter().position(|j| j.network == member.network));
        if place.is_some() {
            state.forget_names(container, &member.network);
        }
        let mut names: Vec<_> = member.names.iter().map(|name| name.to_ascii_lowercase()).collect();
        names.sort_unstable();
        names.dedup();
        let addresses: Arc<[IpAddr]> = member.addresses.into();
        let network = state.networks.entry(member.network.clone()).or_default();
        network.name = member.network_name.to_ascii_lowercase();
        for name in &names {
            let entry = Entry { container: container.clone(), addresses: addresses.clone() };
            network.names.entry(name.clone()).or_default().push(entry);
        }
        let links = member
            .links
            .into_iter()
            .map(|(alias, name)| (alias.to_ascii_lowercase(), name.to_ascii_lowercase()));
        let new = Joined {
            network: member.network,
            external: member.external,
            own_name: match member.names.first() {
                Some(name) => format!("{name}.{}", member.network_name),
                None => String::new(),
            },
            names,
            links: links.collect(),
            addresses,
        };
        let joined = state.containers.entry(container.clone()).or_default();
        match place {
            Some(place) => joined[place] = new,
            None => joined.push(new),
        }
    }

    /// Tells all names of a network that are no container's own; they take the place of those told before.
    pub fn tell(&self, network: &NetworkId, network_name: &str, named: &[Named]) {
        let (mut told, mut told_of): (HashMap<String, Vec<IpAddr>>, _) = Default::default();
        for named in named {
            if let ([address], Some(name)) = (named.addresses.as_slice(), named.names.first()) {
                let name = format!("{name}.{network_name}");
                HashMap::entry(&mut told_of, *address).or_insert(name);
            }
            for name in &named.names {
                told.entry(name.to_ascii_lowercase()).or_default().extend_from_slice(&named.addresses);
            }
        }
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        let known = state.networks.entry(network.clone()).or_default();
        known.name = network_name.to_ascii_lowercase();
        (known.told, known.told_of) = (told, told_of);
        state.drop_if_empty(network);
    }

    /// Takes `container` out of a network.
    pub fn leave(&self, container: &ContainerId, network: &NetworkId) {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        state.forget_names(container, network);
        if let Some(joined) = state.containers.get_mut(container) {
            joined.retain(|j| j.network != *network);
            if joined.is_empty() {
                state.containers.remove(container);
            }
        }
        state.drop_if_empty(network);
    }

    /// Takes `container` out of all networks: it has stopped.
    pub fn leave_all(&self, container: &ContainerId) {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        let networks: Vec<_> =
            state.containers.get(container).into_iter().flatten().map(|j| j.network.clone()).collect();
        for network in &networks {
            state.forget_names(container, network);
        }
        state.containers.remove(container);
        for network in &networks {
            state.drop_if_empty(network);
        }
    }

    /// What `container` is told when it asks for `name` (lower case, no dot at its end).
    pub(super) fn look_up(&self, container: &ContainerId, name: &str, asked: u16) -> Verdict {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        let joined = state.containers.get(container).map_or(&[][..], Vec::as_slice);
        let unknown = Verdict::Unknown { external: joined.iter().any(|j| j.external) };
        if asked == kind::PTR
            && let Some(address) = reversed(name)
        {
            let found = joined.iter().find_map(|j| state.name_of(&j.network, address));
            return found.map_or(unknown, |name| Verdict::Known(vec![Record::Pointer(name)]));
        }
        let Some(addresses) = state.resolve(joined, name) else { return unknown };
        let wanted = |address: &IpAddr| match asked {
            kind::A => address.is_ipv4(),
            kind::AAAA => address.is_ipv6(),
            _ => false,
        };
        Verdict::Known(addresses.into_iter().filter(wanted).map(Record::Address).collect())
    }
}

impl State {
    /// The addresses of `name` for one who is in `joined`; `None`: no such name.
    fn resolve(&self, joined: &[Joined], name: &str) -> Option<Vec<IpAddr>> {
        if name.is_empty() {
            return None;
        }
        let suffixes = name.rmatch_indices('.').map(|(at, _)| (&name[..at], &name[at + 1..]));
        std::iter::once((name, "")).chain(suffixes).find_map(|(name, network)| {
            let linked = |j: &Joined| self.names(j, network)?.names.get(j.links.get(name)?);
            let direct =
                |j: &Joined| self.names(j, network)?.names.get(name).filter(|_| !j.links.contains_key(name));
            let told = |j: &Joined| self.names(j, network)?.told.get(name).cloned();
            let of = |entries: &Vec<Entry>| -> Vec<IpAddr> {
                entries.iter().flat_map(|entry| entry.addresses.iter().copied()).collect()
            };
            let found = joined.iter().find_map(linked).map(of).or_else(|| joined.iter().find_map(told));
            let mut addresses = found.or_else(|| joined.iter().find_map(direct).map(of))?;
            addresses.sort_unstable();
            addresses.dedup();
            Some(addresses)
        })
    }

    /// The network of `joined`, if it is called `name` or any will do.
    fn names(&self, joined: &Joined, name: &str) -> Option<&Network> {
        self.networks.get(&joined.network).filter(|network| name.is_empty() || network.name == name)
    }

    /// `container.network` of who has `address` in `network`.
    fn name_of(&self, network: &NetworkId, address: IpAddr) -> Option<String> {
        if let Some(name) = self.networks.get(network).and_then(|n| n.told_of.get(&address)) {
            return Some(name.clone());
        }
        let members =
            self.networks.get(network)?.names.values().flatten().filter(|e| e.addresses.contains(&address));
        // One container may have several names there, all with the same place.
        let containers = members.map(|e| &e.container);
        let joined =
            containers.filter_map(|c| self.containers.get(c)?.iter().find(|j| j.network == *network));
        joined.filter(|j| j.addresses.contains(&address)).map(|j| &j.own_name).min().cloned()
    }

    fn forget_names(&mut self, container: &ContainerId, network: &NetworkId) {
        let joined =
            self.containers.get(container).and_then(|joined| joined.iter().find(|j| j.network == *network));
        let (Some(joined), Some(network)) = (joined, self.networks.get_mut(network)) else { return };
        for name in &joined.names {
            if let Some(entries) = network.names.get_mut(name) {
                entries.retain(|entry| entry.container != *container);
                if entries.is_empty() {
                    network.names.remove(name);
                }
            }
        }
    }

    fn drop_if_empty(&mut self, network: &NetworkId) {
        if self.networks.get(network).is_some_and(|n| n.names.is_empty() && n.told.is_empty()) {
            self.networks.remove(network);
        }
    }
}

/// The address that `d.c.b.a.in-addr.arpa` or `….ip6.arpa` asks for (RFC 1035, section 3.5; RFC 3596, section 2.5).
fn reversed(name: &str) -> Option<IpAddr> {
    if let Some(parts) = name.strip_suffix(".in-addr.arpa") {
        let mut octets = [0u8; 4];
        let mut parts = parts.rsplit('.');
        for octet in &mut octets {
            *octet = parts.next()?.parse().ok()?;
        }
        return parts.next().is_none().then(|| Ipv4Addr::from(octets).into());
    }
    let parts = name.strip_suffix(".ip6.arpa")?;
    let mut bits = 0u128;
    let mut count = 0;
    for part in parts.rsplit('.') {
        let digit = u128::from_str_radix(part, 16).ok().filter(|_| part.len() == 1)?;
        bits = bits << 4 | digit;
        count += 1;
        if count > 32 {
            return None;
        }
    }
    (count == 32).then(|| Ipv6Addr::from(bits).into())
}

#[cfg(test)]
mod tests;
