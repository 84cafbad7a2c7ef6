//! Numbers, subnets and packet sizes of networks. Pure.

use crate::{View, scheduler::filter::VXLAN};
use minke_model::{
    network::{NetworkDriver, Subnet},
    overlay::{ClusterNetwork, OverlaySubnet},
};
use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr},
};

/// The lowest VXLAN number that is given (moby, libnetwork/drivers/overlay: 4096 and below are others').
const FIRST_NUMBER: u32 = 4097;
/// The highest there is: 24 bits.
const LAST_NUMBER: u32 = (1 << 24) - 1;
/// The option that fixes a network's packet size.
const MTU_OPTION: &str = "com.docker.network.driver.mtu";
/// What nodes carry that do not say.
const ETHERNET: u32 = 1500;
/// What VXLAN adds more where nodes speak IPv6.
const OVER_IPV6: u32 = 20;
/// What encryption adds at most (WireGuard over IPv6).
const ENCRYPTION: u32 = 80;
/// A network that carries less carries nothing (RFC 791).
const LEAST_MTU: u32 = 68;

/// Whether the network spans nodes.
pub fn is_overlay(network: &ClusterNetwork) -> bool {
    network.spec.driver == NetworkDriver::Overlay
}

/// Numbers and subnets that are taken.
pub(crate) struct Numbers {
    taken: BTreeSet<u32>,
    subnets: Vec<Subnet>,
}

impl Numbers {
    pub(crate) fn of(view: &View) -> Self {
        let taken = view.networks().map(|network| network.vni).collect();
        let have = view.networks().flat_map(|network| network.subnets.iter().map(|subnet| subnet.subnet));
        let asked = view.networks().flat_map(|network| network.spec.pools.iter().map(|pool| pool.subnet));
        Numbers { taken, subnets: have.chain(asked).collect() }
    }

    /// `network` with all that it needs; `None`: nothing is left.
    pub(crate) fn give(&mut self, view: &View, network: &ClusterNetwork) -> Option<ClusterNetwork> {
        let mut subnets: Vec<OverlaySubnet> = Vec::new();
        for pool in &network.spec.pools {
            let whole = Subnet { address: pool.subnet.network(), prefix: pool.subnet.prefix };
            let gateway = pool.gateway.or_else(|| next(whole.address))?;
            subnets.push(OverlaySubnet { subnet: whole, gateway });
        }
        if subnets.is_empty() {
            let subnet = self.cut(view)?;
            let gateway = next(subnet.address)?;
            subnets.push(OverlaySubnet { subnet, gateway });
        }
        let asked = number_asked(network).filter(|number| !self.taken.contains(number));
        let vni =
            asked.or_else(|| (FIRST_NUMBER..=LAST_NUMBER).find(|number| !self.taken.contains(number)))?;
        self.taken.insert(vni);
        self.subnets.extend(subnets.iter().map(|subnet| subnet.subnet));
        Some(ClusterNetwork { vni, subnets, mtu: mtu(view, network), ..network.clone() })
    }

    /// The first range of the cluster's pools that nobody has.
    fn cut(&self, view: &View) -> Option<Subnet> {
        let cluster = view.cluster()?;
        for pool in &cluster.address_pools {
            let IpAddr::V4(start) = pool.network() else { continue };
            if cluster.subnet_size < pool.prefix || cluster.subnet_size > 30 {
                continue;
            }
            let (mut at, size) = (u64::from(u32::from(start)), 1u64 << (32 - cluster.subnet_size));
            let end = at + (1u64 << (32 - pool.prefix));
            while at + size <= end {
                let address = IpAddr::V4(Ipv4Addr::from(u32::try_from(at).ok()?));
                let subnet = Subnet { address, prefix: cluster.subnet_size };
                let Some(other) = self.subnets.iter().find(|other| other.overlaps(&subnet)) else {
                    return Some(subnet);
                };
                // Past the whole of what is in the way.
                at = match other.network() {
                    IpAddr::V4(start) => {
                        let over = u64::from(u32::from(start)) + (1u64 << (32 - other.prefix));
                        at.max(over.div_ceil(size) * size).max(at + size)
                    }
                    IpAddr::V6(_) => at + size,
                };
            }
        }
        None
    }
}

/// `com.docker.network.driver.overlay.vxlanid_list`, its first.
fn number_asked(network: &ClusterNetwork) -> Option<u32> {
    let list = network.spec.options.get("com.docker.network.driver.overlay.vxlanid_list")?;
    list.split(',').next()?.trim().parse().ok().filter(|number| (1..=LAST_NUMBER).contains(number))
}

/// The size of packets that all nodes carry.
fn mtu(view: &View, network: &ClusterNetwork) -> u32 {
    if let Some(asked) = network.spec.options.get(MTU_OPTION).and_then(|text| text.parse().ok()) {
        return asked;
    }
    let known = view
        .nodes()
        .filter_map(|node| node.description.as_ref())
        .map(|known| known.mtu)
        .filter(|mtu| *mtu > 0);
    let below = known.min().unwrap_or(ETHERNET);
    let over_ipv6 = view.nodes().any(|node| node.address.is_some_and(|address| address.is_ipv6()));
    let added =
        VXLAN + if over_ipv6 { OVER_IPV6 } else { 0 } + if network.encrypted { ENCRYPTION } else { 0 };
    below.saturating_sub(added).max(LEAST_MTU)
}

/// The address after `address`.
pub(crate) fn next(address: IpAddr) -> Option<IpAddr> {
    match address {
        IpAddr::V4(address) => u32::from(address).checked_add(1).map(|next| IpAddr::V4(next.into())),
        IpAddr::V6(address) => u128::from(address).checked_add(1).map(|next| IpAddr::V6(next.into())),
    }
}
