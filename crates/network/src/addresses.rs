//! The addresses that the host has: which are taken, and which the default bridge goes on with.

use crate::{
    NetworkError, Networks,
    default_bridge::{self, BridgeWish},
    error::Tried,
    networks::lock,
};
use minke_linux::netlink::{self, Address};
use minke_model::network::{IpamPool, Subnet};

impl Networks {
    /// The ranges of the default bridge `device`, as asked for IPv4 and IPv6 and as the device has them; none for a family
    /// where nothing says which. `ours`: nobody but daemons gives it addresses.
    pub fn default_bridge(
        &self,
        device: &str,
        ours: bool,
        wishes: [BridgeWish; 2],
    ) -> Result<Vec<IpamPool>, NetworkError> {
        let has: Vec<Subnet> = self.addresses_of(device)?.iter().map(subnet_of).collect();
        let [ipv4, ipv6] = wishes;
        let pools =
            [default_bridge::pool(ipv4, false, ours, &has)?, default_bridge::pool(ipv6, true, ours, &has)?];
        Ok(pools.into_iter().flatten().collect())
    }

    /// Takes the addresses of another configuration from the default bridge `device`: those of a family whose own is not
    /// there. Others that are beside it are left, and those that the kernel gave.
    pub fn forget_addresses(&self, device: &str, pools: &[IpamPool]) -> Result<(), NetworkError> {
        let mut has = self.addresses_of(device)?;
        has.retain(|address| !default_bridge::is_link_local(address.ip));
        for pool in pools {
            let ipv6 = pool.subnet.address.is_ipv6();
            if has.iter().any(|address| Some(address.ip) == pool.gateway) {
                continue;
            }
            for address in has.iter().filter(|address| address.ip.is_ipv6() == ipv6) {
                netlink::remove_address(&mut lock(&self.0.route), address)
                    .tried(|| format!("take address {} from bridge {device}", address.ip))?;
            }
        }
        Ok(())
    }

    /// The addresses that a device of the host has; none where it is missing.
    fn addresses_of(&self, device: &str) -> Result<Vec<Address>, NetworkError> {
        let mut socket = lock(&self.0.route);
        let look = || format!("look at the addresses of {device}");
        let Some(link) = netlink::link_index(&socket, device).tried(look)? else { return Ok(Vec::new()) };
        let mut addresses = netlink::addresses(&mut socket).tried(look)?;
        addresses.retain(|address| address.link == link);
        Ok(addresses)
    }

    /// What the host has routes and addresses for, but by `device`; and the IPv4 address that `device` has.
    pub(crate) fn host_subnets(&self, device: &str) -> Result<(Vec<Subnet>, Option<Subnet>), NetworkError> {
        let mut socket = lock(&self.0.route);
        let look = || "look at the host's addresses and routes".to_owned();
        let own = match device {
            "" => None,
            device => netlink::link_index(&socket, device).tried(look)?,
        };
        let addresses = netlink::addresses(&mut socket).tried(look)?;
        let routes = netlink::routes(&mut socket).tried(look)?;
        let mut host: Vec<Subnet> = Vec::new();
        for address in addresses.iter().filter(|a| Some(a.link) != own) {
            host.push(Subnet { address: address.ip, prefix: address.prefix });
        }
        // A default route is no range that the host uses.
        for route in routes.iter().filter(|r| r.prefix > 0 && (own.is_none() || r.link != own)) {
            host.push(Subnet { address: route.destination, prefix: route.prefix });
        }
        let own = addresses.iter().find(|a| Some(a.link) == own && a.ip.is_ipv4());
        Ok((host, own.map(|a| Subnet { address: a.ip, prefix: a.prefix })))
    }
}

/// An address with the size of its subnet.
fn subnet_of(address: &Address) -> Subnet {
    Subnet { address: address.ip, prefix: address.prefix }
}
