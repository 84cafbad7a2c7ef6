//! Address management: which range a network gets, which address a container gets. Pure.
//!
//! Rules and sentences are dockerd's (libnetwork's default IPAM, `api/types/network/ipam.go`). One departure: the next
//! address is the next free one after the last given, not the lowest free one, so that an address rests before it comes
//! back and a neighbour's stale memory of it has passed.
//!
//! Never: the kernel, locks, records.

use crate::NetworkError;
use minke_model::network::{IpamPool, NetworkSpec, Subnet};
use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

/// A range that is cut into networks: `--default-address-pool base=10.0.0.0/8,size=24`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddressPool {
    /// The whole.
    pub base: Subnet,
    /// The prefix of one network.
    pub size: u8,
}

impl FromStr for AddressPool {
    type Err = String;

    /// `base=10.0.0.0/8,size=24`.
    fn from_str(text: &str) -> Result<Self, String> {
        let (mut base, mut size) = (None, None);
        for field in text.split(',') {
            match field.trim().split_once('=') {
                Some(("base", value)) => base = Some(value.parse::<Subnet>()?),
                Some(("size", value)) => {
                    size = Some(value.parse::<u8>().map_err(|_| format!("invalid size value: {value}"))?);
                }
                _ => {
                    return Err(format!("invalid field '{field}' must be a key=value pair of base and size"));
                }
            }
        }
        let (Some(base), Some(size)) = (base, size) else {
            return Err(format!("invalid default address pool {text:?}: base and size are needed"));
        };
        Self::new(base, size)
    }
}

impl AddressPool {
    /// A pool whose networks fit into it.
    pub fn new(base: Subnet, size: u8) -> Result<Self, String> {
        if size < base.prefix || size > bits(base.address.is_ipv6()) {
            return Err(format!(
                "invalid size {size} of default address pool {base}: it must lie between the two"
            ));
        }
        Ok(Self { base: Subnet { address: base.network(), ..base }, size })
    }
}

/// The ranges from which networks without a subnet of their own get one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pools(Vec<AddressPool>);

impl Pools {
    /// Those given, in order; a family without any gets Docker's: 172.17.0.0/16 to 172.31.0.0/16, then 192.168.0.0/16 in
    /// /20, and for IPv6 a unique local /48 of this daemon in /64.
    pub fn new(given: &[AddressPool], daemon_id: &str) -> Self {
        let mut pools = given.to_vec();
        if !given.iter().any(|p| p.base.address.is_ipv4()) {
            for second in 17..32 {
                let address = IpAddr::V4(Ipv4Addr::new(172, second, 0, 0));
                pools.push(AddressPool { base: Subnet { address, prefix: 16 }, size: 16 });
            }
            let address = IpAddr::V4(Ipv4Addr::new(192, 168, 0, 0));
            pools.push(AddressPool { base: Subnet { address, prefix: 16 }, size: 20 });
        }
        if !given.iter().any(|p| p.base.address.is_ipv6()) {
            let id = u32::from_str_radix(daemon_id, 16).unwrap_or(0);
            // RFC 4193: fd, then 40 bits that shall be unlike anyone else's.
            let mixed = (id as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 24;
            let address = IpAddr::V6(Ipv6Addr::from((0xfd_u128 << 120) | (mixed as u128) << 80));
            pools.push(AddressPool { base: Subnet { address, prefix: 48 }, size: 64 });
        }
        Self(pools)
    }

    /// The first range of a family that shares no address with any of `taken`.
    pub fn choose(&self, ipv6: bool, taken: &[Subnet]) -> Result<Subnet, NetworkError> {
        for pool in self.0.iter().filter(|p| p.base.address.is_ipv6() == ipv6) {
            let step = 1u128.checked_shl((bits(ipv6) - pool.size) as u32).unwrap_or(0);
            let (mut at, end) = (number(pool.base.network()), last(&pool.base));
            // Jumps behind whatever is in the way, so that one step passes one taken range at most once.
            while at <= end {
                let candidate = Subnet { address: address(at, ipv6), prefix: pool.size };
                let Some(other) = taken.iter().find(|t| t.overlaps(&candidate)) else { return Ok(candidate) };
                let behind = last(other).max(last(&candidate));
                let Some(next) = behind.checked_add(1) else { break };
                // Up to the next multiple of the step.
                at = match step {
                    0 => break,
                    step => next.div_ceil(step).saturating_mul(step),
                };
            }
        }
        Err(NetworkError::NoPool)
    }
}

/// Refuses pools whose parts do not fit together, all reasons at once, in dockerd's words.
pub fn validate(spec: &NetworkSpec) -> Result<(), NetworkError> {
    let mut reasons = Vec::new();
    for pool in spec.pools.iter().filter(|p| spec.ipv6 || p.subnet.address.is_ipv4()) {
        let subnet = pool.subnet;
        let block = |ipv6: bool| if ipv6 { "IPv6" } else { "IPv4" };
        let fits = |address: IpAddr| {
            if address.is_ipv4() != subnet.address.is_ipv4() {
                return Some(format!("parent subnet is an {} block", block(subnet.address.is_ipv6())));
            }
            (!subnet.contains(address))
                .then(|| format!("parent subnet {subnet} doesn't contain this address"))
        };
        if subnet.address != subnet.network() {
            let should = Subnet { address: subnet.network(), ..subnet };
            reasons.push(format!("invalid subnet {subnet}: it should be {should}"));
        }
        if let Some(range) = pool.range {
            let should = Subnet { address: range.network(), ..range };
            if range.address.is_ipv4() != subnet.address.is_ipv4() {
                let kind = block(subnet.address.is_ipv6());
                reasons.push(format!("invalid ip-range {range}: parent subnet is an {kind} block"));
            } else {
                if range.prefix < subnet.prefix {
                    reasons.push(format!(
                        "invalid ip-range {range}: CIDR block is bigger than its parent subnet {subnet}"
                    ));
                }
                if range != should {
                    reasons.push(format!("invalid ip-range {range}: it should be {should}"));
                }
                if !subnet.overlaps(&range) {
                    reasons.push(format!(
                        "invalid ip-range {range}: parent subnet {subnet} doesn't contain ip-range"
                    ));
                }
            }
        }
        if let Some((gateway, reason)) = pool.gateway.and_then(|g| Some((g, fits(g)?))) {
            reasons.push(format!("invalid gateway {gateway}: {reason}"));
        }
        for (name, address) in &pool.auxiliary {
            if let Some(reason) = fits(*address) {
                reasons.push(format!("invalid auxiliary address {name}: {reason}"));
            }
        }
    }
    if reasons.is_empty() {
        return Ok(());
    }
    Err(NetworkError::InvalidPool(format!("invalid network config:\n{}", reasons.join("\n"))))
}

/// Decides a network's pools: gives each family that is asked for a range, and each range a gateway.
///
/// `networks` are the ranges of other networks: none may be shared. `host` are ranges that the host uses otherwise: none
/// is chosen, but a user may ask for one. `without_gateway` says of IPv4 and of IPv6 (`true`) whether no address goes to
/// the host: then all are the containers'.
pub fn decide(
    spec: &mut NetworkSpec,
    pools: &Pools,
    networks: &[Subnet],
    host: &[Subnet],
    without_gateway: impl Fn(bool) -> bool,
) -> Result<(), NetworkError> {
    validate(spec)?;
    let (ipv4, ipv6) = (spec.ipv4, spec.ipv6);
    spec.pools.retain(|pool| if pool.subnet.address.is_ipv4() { ipv4 } else { ipv6 });
    let mut seen = networks.to_vec();
    for pool in &spec.pools {
        if let Some(other) = seen.iter().find(|other| other.overlaps(&pool.subnet)) {
            return Err(NetworkError::PoolOverlaps { subnet: pool.subnet, other: *other });
        }
        seen.push(pool.subnet);
    }
    for (wanted, is_ipv6) in [(ipv4, false), (ipv6, true)] {
        if !wanted || spec.pools.iter().any(|p| p.subnet.address.is_ipv6() == is_ipv6) {
            continue;
        }
        let taken: Vec<Subnet> = networks.iter().chain(host).copied().collect();
        let subnet = pools.choose(is_ipv6, &taken)?;
        let pool = IpamPool {
            subnet,
            range: None,
            gateway: None,
            auxiliary: Default::default(),
            user_given: false,
            gateway_chosen: false,
        };
        // IPv4 comes first, as Docker shows it.
        let at = if is_ipv6 { spec.pools.len() } else { 0 };
        spec.pools.insert(at, pool);
    }
    for pool in &mut spec.pools {
        if pool.gateway.is_none() && !without_gateway(pool.subnet.address.is_ipv6()) {
            pool.gateway = Some(Lease::new(pool).next()?);
            pool.gateway_chosen = pool.user_given;
        }
    }
    Ok(())
}

/// The addresses of one network: which are given.
#[derive(Clone, Debug)]
pub struct Leases {
    pools: Vec<Lease>,
}

/// An address, and what goes with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leased {
    /// The address.
    pub address: IpAddr,
    /// The prefix of its subnet.
    pub prefix: u8,
    /// The way out.
    pub gateway: Option<IpAddr>,
}

impl Leases {
    /// Nothing is given but gateways and auxiliary addresses.
    pub fn new(spec: &NetworkSpec) -> Self {
        Self { pools: spec.pools.iter().map(Lease::new).collect() }
    }

    /// Gives an address of a family: the one wanted, or the next free one.
    pub fn reserve(&mut self, ipv6: bool, wanted: Option<IpAddr>) -> Result<Leased, NetworkError> {
        let Some(wanted) = wanted else {
            for pool in self.pools.iter_mut().filter(|p| p.subnet.address.is_ipv6() == ipv6) {
                if let Ok(address) = pool.next() {
                    pool.take(address);
                    return Ok(pool.leased(address));
                }
            }
            return Err(NetworkError::NoAddress { version: if ipv6 { 6 } else { 4 } });
        };
        let pool = self.pools.iter_mut().find(|p| p.subnet.contains(wanted));
        let pool = pool.ok_or(NetworkError::ForeignAddress { address: wanted })?;
        if !pool.free(number(wanted)) {
            return Err(NetworkError::AddressInUse { address: wanted });
        }
        pool.taken.insert(number(wanted));
        Ok(pool.leased(wanted))
    }

    /// Takes an address back. One that was never given is no matter.
    pub fn release(&mut self, address: IpAddr) {
        let pool = self.pools.iter_mut().find(|p| p.subnet.contains(address));
        if let Some(pool) = pool.filter(|p| !p.fixed.contains(&number(address))) {
            pool.taken.remove(&number(address));
        }
    }

    /// Whether an address belongs to any pool.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.pools.iter().any(|p| p.subnet.contains(address))
    }
}

/// One pool and what is taken of it.
#[derive(Clone, Debug)]
struct Lease {
    subnet: Subnet,
    gateway: Option<IpAddr>,
    /// The first and the last address that is given unasked.
    range: (u128, u128),
    taken: BTreeSet<u128>,
    /// Gateway, auxiliary addresses, the network's own: never given back.
    fixed: BTreeSet<u128>,
    /// Where the search goes on.
    cursor: u128,
}

/// An auxiliary address of this name is the way out, in the place of the bridge's own (libnetwork's
/// `DefaultGatewayV4AuxKey` and `DefaultGatewayV6AuxKey`).
pub(crate) fn gateway_key(ipv6: bool) -> &'static str {
    if ipv6 { "DefaultGatewayIPv6" } else { "DefaultGatewayIPv4" }
}

impl Lease {
    fn new(pool: &IpamPool) -> Self {
        let (first, end) = (number(pool.subnet.network()), last(&pool.subnet));
        let mut fixed = BTreeSet::new();
        // The network's own address and, with IPv4, its broadcast address; a /31, /32, /127 or /128 has none to spare.
        if end - first > 1 {
            fixed.insert(first);
            if pool.subnet.address.is_ipv4() {
                fixed.insert(end);
            }
        }
        fixed.extend(pool.gateway.map(number));
        fixed.extend(pool.auxiliary.values().map(|a| number(*a)));
        let range = pool.range.unwrap_or(pool.subnet);
        let range = (number(range.network()), last(&range));
        Self {
            subnet: pool.subnet,
            gateway: pool.auxiliary.get(gateway_key(pool.subnet.address.is_ipv6())).copied().or(pool.gateway),
            range,
            taken: fixed.clone(),
            fixed,
            cursor: range.0,
        }
    }

    fn free(&self, address: u128) -> bool {
        !self.taken.contains(&address)
    }

    /// The next free address from the cursor on, around once.
    fn next(&self) -> Result<IpAddr, NetworkError> {
        let ipv6 = self.subnet.address.is_ipv6();
        let (first, end) = self.range;
        let cursor = self.cursor.clamp(first, end);
        for (from, to) in [(cursor, end), (first, cursor)] {
            let mut at = from;
            loop {
                if self.free(at) {
                    return Ok(address(at, ipv6));
                }
                if at >= to {
                    break;
                }
                at += 1;
            }
        }
        Err(NetworkError::NoAddress { version: if ipv6 { 6 } else { 4 } })
    }

    fn take(&mut self, address: IpAddr) {
        self.taken.insert(number(address));
        self.cursor = number(address).saturating_add(1);
        if self.cursor > self.range.1 {
            self.cursor = self.range.0;
        }
    }

    fn leased(&self, address: IpAddr) -> Leased {
        Leased { address, prefix: self.subnet.prefix, gateway: self.gateway }
    }
}

fn bits(ipv6: bool) -> u8 {
    if ipv6 { 128 } else { 32 }
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(ip) => u32::from(ip) as u128,
        IpAddr::V6(ip) => u128::from(ip),
    }
}

fn address(number: u128, ipv6: bool) -> IpAddr {
    if ipv6 { IpAddr::V6(Ipv6Addr::from(number)) } else { IpAddr::V4(Ipv4Addr::from(number as u32)) }
}

/// The last address of a subnet, as a number.
pub(crate) fn last(subnet: &Subnet) -> u128 {
    let host = bits(subnet.address.is_ipv6()) - subnet.prefix;
    number(subnet.network()) | 1u128.checked_shl(host as u32).map_or(u128::MAX, |size| size - 1)
}

#[cfg(test)]
mod tests;
