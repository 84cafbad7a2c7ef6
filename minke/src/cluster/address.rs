//! Which addresses a member listens on and tells others: from what was asked, or from what the machine has
//! (moby, `daemon/cluster/listen_addr.go`, whose sentences these are).

use minke_api::swarm::Refusal;
use minke_linux::netlink::{Family, Socket, addresses, links};
use minke_model::Kind;
use std::net::{IpAddr, SocketAddr};

/// Where nodes are listened for.
const PORT: u16 = 2377;

/// A member's addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Addresses {
    /// Where it listens, should it be a manager.
    pub(super) listen: SocketAddr,
    /// Where others find it; unspecified: where it comes from.
    pub(super) advertise: SocketAddr,
    /// Where its data travels; `None`: where it comes from.
    pub(super) data: Option<IpAddr>,
}

/// One address of this machine.
#[derive(Clone, Debug)]
struct Own {
    interface: String,
    address: IpAddr,
}

fn invalid(text: impl Into<String>) -> Refusal {
    Refusal::new(Kind::Invalid, text)
}

/// Of what was asked. `founding`: somebody must be able to find it, so an address is chosen if none was said.
pub(super) fn resolve(
    listen: &str,
    advertise: &str,
    data: &str,
    default_advertise: &str,
    founding: bool,
) -> Result<Addresses, Refusal> {
    let own = own_addresses()?;
    let listen = if listen.is_empty() { format!("0.0.0.0:{PORT}") } else { listen.to_owned() };
    let (host, port) = split(&listen, PORT)?;
    let listen = SocketAddr::new(
        host.parse().ok().or_else(|| of_interface(&own, &host)).ok_or_else(|| {
            invalid("listen address must be an IP address or network interface (with optional port number)")
        })?,
        port,
    );
    let asked = if advertise.is_empty() { default_advertise } else { advertise };
    let advertise = if !asked.is_empty() {
        let (host, port) = split(asked, listen.port())?;
        let address = host.parse().ok().or_else(|| of_interface(&own, &host));
        let address = address.filter(|a: &IpAddr| !a.is_unspecified()).ok_or_else(|| {
            invalid("advertise address must be a non-zero IP address or network interface (with optional port number)")
        })?;
        SocketAddr::new(address, port)
    } else if !listen.ip().is_unspecified() {
        listen
    } else if founding {
        SocketAddr::new(choose(&own)?, listen.port())
    } else {
        SocketAddr::new(listen.ip(), listen.port())
    };
    let data = match data {
        "" => (!asked.is_empty()).then(|| advertise.ip()),
        text => Some(text.parse().ok().or_else(|| of_interface(&own, text)).ok_or_else(|| {
            invalid("data path address must be a non-zero IP address or network interface")
        })?),
    };
    Ok(Addresses { listen, advertise, data })
}

/// Where a manager is asked to be found, with its port.
pub(super) fn remote(text: &str) -> Result<String, Refusal> {
    let (host, port) = split(text, PORT)?;
    Ok(if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") })
}

/// Host and port of `host`, `host:port`, `[v6]:port` or a bare v6 address.
fn split(text: &str, default: u16) -> Result<(String, u16), Refusal> {
    let wrong =
        || invalid(format!("invalid address {text:?}: it must be an address, with a port or without"));
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok((address.to_string(), default));
    }
    if let Ok(address) = text.parse::<SocketAddr>() {
        let port = if address.port() == 0 { default } else { address.port() };
        return Ok((address.ip().to_string(), port));
    }
    match text.rsplit_once(':') {
        None => Ok((text.trim_matches(['[', ']']).to_owned(), default)),
        Some((host, port)) => {
            let port = if port.is_empty() { default } else { port.parse().map_err(|_| wrong())? };
            Ok((host.trim_matches(['[', ']']).to_owned(), if port == 0 { default } else { port }))
        }
    }
}

fn of_interface(own: &[Own], name: &str) -> Option<IpAddr> {
    let mut of_it: Vec<_> = own.iter().filter(|o| o.interface == name).map(|o| o.address).collect();
    of_it.sort_by_key(IpAddr::is_ipv6);
    of_it.first().copied()
}

/// The one address that this machine has, for others to find it.
fn choose(own: &[Own]) -> Result<IpAddr, Refusal> {
    let v4: Vec<_> = own.iter().filter(|o| o.address.is_ipv4()).collect();
    let candidates = if v4.is_empty() { own.iter().collect() } else { v4 };
    match candidates.as_slice() {
        [] => Err(invalid("could not find the system's IP address - specify one with --advertise-addr")),
        [one] => Ok(one.address),
        [first, second, ..] => Err(invalid(if first.interface == second.interface {
            format!(
                "could not choose an IP address to advertise since this system has multiple addresses on interface {} ({} and {})",
                first.interface, first.address, second.address
            )
        } else {
            format!(
                "could not choose an IP address to advertise since this system has multiple addresses on different interfaces ({} on {} and {} on {})",
                first.address, first.interface, second.address, second.interface
            )
        })),
    }
}

/// Addresses of this machine, without loopback, link-local ones, and bridges of containers.
fn own_addresses() -> Result<Vec<Own>, Refusal> {
    let failed = |e: &dyn std::fmt::Display| {
        Refusal::new(Kind::Internal, format!("cannot list this machine's addresses: {e}"))
    };
    let mut socket = Socket::open(Family::Route).map_err(|e| failed(&e))?;
    let links = links(&mut socket).map_err(|e| failed(&e))?;
    let addresses = addresses(&mut socket).map_err(|e| failed(&e))?;
    let mut own = Vec::new();
    for address in addresses {
        let Some(link) = links.iter().find(|link| link.index == address.link) else { continue };
        let ours = link.name.starts_with("veth") || link.name.starts_with("mesh-") || link.kind == "bridge";
        let local = match address.ip {
            IpAddr::V4(a) => a.is_loopback() || a.is_link_local(),
            IpAddr::V6(a) => a.is_loopback() || a.is_unicast_link_local(),
        };
        if !ours && !local {
            own.push(Own { interface: link.name.clone(), address: address.ip });
        }
    }
    Ok(own)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_come_with_a_port_or_without() {
        let cases = [
            ("10.0.0.1", "10.0.0.1", 2377),
            ("10.0.0.1:99", "10.0.0.1", 99),
            ("eth0", "eth0", 2377),
            ("eth0:7", "eth0", 7),
            ("::1", "::1", 2377),
            ("[::1]:7", "::1", 7),
            ("0.0.0.0:0", "0.0.0.0", 2377),
        ];
        for (text, host, port) in cases {
            assert_eq!(split(text, PORT).unwrap(), (host.to_owned(), port), "{text}");
        }
        assert!(split("a:b", PORT).is_err());
        assert_eq!(remote("::1").unwrap(), "[::1]:2377");
    }

    #[test]
    fn with_several_addresses_people_choose() {
        let own = |interface: &str, address: &str| Own {
            interface: interface.into(),
            address: address.parse().unwrap(),
        };
        assert!(choose(&[]).is_err());
        assert!(choose(&[own("eth0", "10.0.0.1"), own("eth0", "fd00::1")]).is_ok());
        let two = choose(&[own("eth0", "10.0.0.1"), own("eth1", "10.1.0.1")]).unwrap_err();
        assert!(two.message.contains("different interfaces (10.0.0.1 on eth0 and 10.1.0.1 on eth1)"));
    }
}
