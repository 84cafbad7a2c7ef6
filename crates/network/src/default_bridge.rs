//! Which range the default bridge has, from what is asked for and what its device has already. Pure.
//!
//! Rules are dockerd's (moby `daemon/daemon_unix.go`, `getDefaultBridgeIPAMConf` and `selectBIP`): an address that the
//! device has is kept while it fits; `--fixed-cidr` is the part that containers get theirs from.

use crate::{NetworkError, ipam::gateway_key};
use minke_model::network::{IpamPool, Subnet};
use std::net::{IpAddr, Ipv6Addr};

/// What is asked for in one family.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BridgeWish {
    /// The bridge's own address (`--bip`, `--bip6`).
    pub address: Option<Subnet>,
    /// Where containers' addresses come from (`--fixed-cidr`, `--fixed-cidr-v6`).
    pub range: Option<Subnet>,
    /// Their way out, where it is not the bridge (`--default-gateway`, `--default-gateway-v6`).
    pub gateway: Option<IpAddr>,
}

/// The range that a family gets; `None` where nothing says which. `ours`: the device is the daemon's own, so that a new
/// configuration outweighs what it has. `has` are the addresses of the device, of any family.
pub(crate) fn pool(
    wish: BridgeWish,
    ipv6: bool,
    ours: bool,
    has: &[Subnet],
) -> Result<Option<IpamPool>, NetworkError> {
    let range = wish.range.map(|range| Subnet { address: range.network(), ..range });
    let own = wish.address.or_else(|| kept(range, ipv6, ours, has));
    let subnet = match (own, range) {
        (Some(own), _) => Subnet { address: own.network(), ..own },
        (None, Some(range)) => range,
        (None, None) if wish.gateway.is_some() => {
            let (address, range) = if ipv6 { ("bip6", "fixed-cidr-v6") } else { ("bip", "fixed-cidr") };
            return Err(NetworkError::InvalidPool(format!(
                "a default gateway needs the bridge's subnet: give --{address} or --{range} too"
            )));
        }
        (None, None) => return Ok(None),
    };
    if let Some(gateway) = wish.gateway.filter(|gateway| !subnet.contains(*gateway)) {
        return Err(NetworkError::InvalidPool(format!(
            "default gateway {gateway} is not in the default bridge's subnet {subnet}"
        )));
    }
    let mut pool = IpamPool {
        subnet,
        range,
        gateway: own.map(|own| own.address),
        auxiliary: wish.gateway.map(|ip| (gateway_key(ipv6).to_owned(), ip)).into_iter().collect(),
        user_given: wish != BridgeWish::default(),
        gateway_chosen: false,
    };
    if let (Some(range), Some(_), false) = (range, own, ours)
        && (!subnet.contains(range.address) || range.prefix < subnet.prefix)
    {
        if ipv6 {
            return Err(NetworkError::InvalidPool(format!(
                "fixed-cidr-v6={range} is outside any subnet implied by addresses on the user-managed default bridge"
            )));
        }
        // dockerd has always taken it, and given addresses of the whole subnet.
        tracing::warn!(
            "fixed-cidr={range} is outside of the default bridge's subnet {subnet}: it has no effect"
        );
        pool.range = None;
    }
    Ok(Some(pool))
}

/// The address of the device that the network goes on with.
fn kept(range: Option<Subnet>, ipv6: bool, ours: bool, has: &[Subnet]) -> Option<Subnet> {
    // The kernel gives each device an address of fe80::/64; it counts only where containers shall have such ones too.
    let by_kernel = !range.is_some_and(|range| is_link_local(range.address));
    let mut fitting =
        has.iter().filter(|a| a.address.is_ipv6() == ipv6 && !(by_kernel && is_link_local(a.address)));
    let first = *fitting.next()?;
    let Some(range) = range else { return Some(first) };
    let mut chosen = first;
    for other in std::iter::once(&first).chain(fitting) {
        if other.contains(range.address) {
            chosen = *other;
            break;
        }
        if range.contains(other.address) && !range.contains(chosen.address) {
            chosen = *other;
        }
    }
    if !ours {
        return Some(chosen);
    }
    // Else the configuration has changed: the address is of another time.
    chosen.contains(range.address).then(|| Subnet { prefix: chosen.prefix.min(range.prefix), ..chosen })
}

/// fe80::/64, where the kernel gives each device an address.
pub(crate) fn is_link_local(address: IpAddr) -> bool {
    let first = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0);
    Subnet { address: first.into(), prefix: 64 }.contains(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subnet(text: &str) -> Subnet {
        text.parse().unwrap()
    }

    /// Subnet, range and gateway, `-` for none.
    fn decided(address: &str, range: &str, ours: bool, has: &[&str]) -> String {
        let optional = |text: &str| (!text.is_empty()).then(|| subnet(text));
        let has: Vec<Subnet> = has.iter().map(|text| subnet(text)).collect();
        let wish = BridgeWish { address: optional(address), range: optional(range), gateway: None };
        let ipv6 = [address, range].iter().any(|t| t.contains(':'));
        match pool(wish, ipv6, ours, &has) {
            Ok(Some(pool)) => {
                let range = pool.range.map_or("-".into(), |r| r.to_string());
                let gateway = pool.gateway.map_or("-".into(), |g| g.to_string());
                format!("{} {range} {gateway}", pool.subnet)
            }
            Ok(None) => "none".into(),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn a_bridge_of_ours_keeps_its_address_while_it_fits() {
        assert_eq!(decided("", "", true, &[]), "none");
        assert_eq!(decided("", "", true, &["192.168.176.88/20"]), "192.168.176.0/20 - 192.168.176.88");
        for (range, has, want) in [
            ("192.168.176.0/24", "10.0.0.1/8", "192.168.176.0/24 192.168.176.0/24 -"),
            ("192.168.176.0/24", "192.168.176.88/20", "192.168.176.0/20 192.168.176.0/24 192.168.176.88"),
            ("192.168.176.0/20", "192.168.176.88/24", "192.168.176.0/20 192.168.176.0/20 192.168.176.88"),
            ("192.168.177.0/24", "192.168.176.88/24", "192.168.177.0/24 192.168.177.0/24 -"),
            ("fdd1::/64", "fe80::7/64", "fdd1::/64 fdd1::/64 -"),
            ("fe80::/64", "fe80::7/64", "fe80::/64 fe80::/64 fe80::7"),
        ] {
            assert_eq!(decided("", range, true, &[has]), want);
        }
        let asked = decided("192.168.177.99/24", "192.168.177.0/24", true, &["192.168.176.88/24"]);
        assert_eq!(asked, "192.168.177.0/24 192.168.177.0/24 192.168.177.99");
    }

    #[test]
    fn the_way_out_may_be_another_one() {
        let wish = |address: Option<&str>, gateway: &str| BridgeWish {
            address: address.map(subnet),
            range: None,
            gateway: gateway.parse().ok(),
        };
        let made = pool(wish(Some("10.1.0.1/16"), "10.1.0.254"), false, true, &[]).unwrap().unwrap();
        assert_eq!(made.gateway, "10.1.0.1".parse().ok());
        assert_eq!(made.auxiliary["DefaultGatewayIPv4"].to_string(), "10.1.0.254");
        pool(wish(Some("10.1.0.1/16"), "10.2.0.1"), false, true, &[]).unwrap_err();
        pool(wish(None, "10.2.0.1"), false, true, &[]).unwrap_err();
    }

    #[test]
    fn a_bridge_of_the_user_s_has_the_address_that_the_range_belongs_to() {
        let many = ["192.168.160.88/20", "192.168.176.88/20", "192.168.192.88/20"];
        let want = "192.168.176.0/20 192.168.177.0/24 192.168.176.88";
        assert_eq!(decided("", "192.168.177.0/24", false, &many), want);
        // Ranges that lie outside, or are too big, have no effect; with IPv6 the daemon does not start.
        let want = "192.168.176.0/24 - 192.168.176.88";
        assert_eq!(decided("", "192.168.176.0/20", false, &["192.168.176.88/24"]), want);
        let want = "192.168.160.0/20 - 192.168.160.88";
        assert_eq!(decided("", "192.168.176.0/24", false, &["192.168.160.88/20"]), want);
        for has in ["fdd1::8888/64", "fdd1:0:0:10::1/64"] {
            assert!(decided("", "fdd1::/60", false, &[has]).contains("is outside any subnet"), "{has}");
        }
    }
}
