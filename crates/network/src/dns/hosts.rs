//! A container's /etc/hosts: pure. Its lines and their order are Docker 28's.

use std::{fmt::Write, net::IpAddr};

/// Lines that every container has.
const LOCAL: &str = "127.0.0.1\tlocalhost\n";
const LOCAL_IPV6: &str = "::1\tlocalhost ip6-localhost ip6-loopback\n\
                          fe00::\tip6-localnet\n\
                          ff00::\tip6-mcastprefix\n\
                          ff02::1\tip6-allnodes\n\
                          ff02::2\tip6-allrouters\n";

/// What stands in the file.
#[derive(Clone, Copy, Debug)]
pub struct Hosts<'a> {
    /// Whether the container's namespace has IPv6 (`net.ipv6.conf.all.disable_ipv6` is 0): otherwise no line names
    /// an address of it.
    pub ipv6: bool,
    /// `--add-host` ([`parse_extra`]) and links ([`link_names`]), in this order: names and an address each.
    pub extra: &'a [(String, IpAddr)],
    /// Host name.
    pub hostname: &'a str,
    /// Domain name; empty for none.
    pub domainname: &'a str,
    /// The container's addresses, network by network.
    pub addresses: &'a [IpAddr],
}

/// Writes the file.
pub fn write(hosts: &Hosts<'_>) -> String {
    let mut text = String::from(LOCAL);
    if hosts.ipv6 {
        text.push_str(LOCAL_IPV6);
    }
    let own = own_names(hosts.hostname, hosts.domainname);
    let extra = hosts.extra.iter().map(|(names, address)| (names, address));
    for (names, address) in extra
        .chain(hosts.addresses.iter().filter(|a| hosts.ipv6 || a.is_ipv4()).map(|address| (&own, address)))
    {
        push(&mut text, address, names);
    }
    text
}

/// The names of the container itself: with its domain, and the first part alone.
pub fn own_names(hostname: &str, domainname: &str) -> String {
    let full = if domainname.is_empty() { hostname.to_owned() } else { format!("{hostname}.{domainname}") };
    match full.split_once('.') {
        Some((first, _)) => format!("{full} {first}"),
        None => full,
    }
}

/// The names of a linked container's line: the alias, its host name, and its own name unless that is the alias.
pub fn link_names(alias: &str, hostname: &str, name: &str) -> String {
    if alias == name { format!("{alias} {hostname}") } else { format!("{alias} {hostname} {name}") }
}

/// Reads an entry of `ExtraHosts`, `name:address`; `host-gateway` stands for each of `gateways`. `None` when it is
/// none.
pub fn parse_extra(entry: &str, gateways: &[IpAddr]) -> Option<Vec<(String, IpAddr)>> {
    // Addresses hold colons too: the name ends at the first.
    let (name, address) = entry.split_once(':').filter(|(name, _)| !name.is_empty())?;
    if address == "host-gateway" {
        return Some(gateways.iter().map(|gateway| (name.to_owned(), *gateway)).collect());
    }
    let address = address.strip_prefix('[').and_then(|a| a.strip_suffix(']')).unwrap_or(address);
    Some(vec![(name.to_owned(), address.parse().ok()?)])
}

/// `text` with lines for new addresses of the container: it was connected to a network while it runs.
pub fn add(text: &str, own_names: &str, addresses: &[IpAddr]) -> String {
    let mut text = text.to_owned();
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    addresses.iter().for_each(|address| push(&mut text, address, own_names));
    text
}

/// `text` without the container's lines for `addresses`: it was disconnected. Lines that a user changed stay.
pub fn remove(text: &str, own_names: &str, addresses: &[IpAddr]) -> String {
    let is_gone = |line: &str| {
        let address = line.strip_suffix(own_names).and_then(|rest| rest.strip_suffix('\t'));
        address.and_then(|a| a.trim().parse().ok()).is_some_and(|a| addresses.contains(&a))
    };
    text.split_inclusive('\n').filter(|line| !is_gone(line.trim_end_matches('\n'))).collect()
}

fn push(text: &mut String, address: &IpAddr, names: &str) {
    // A string takes everything.
    let _ = writeln!(text, "{address}\t{names}");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn the_file_is_dockers() {
        let extra = [("ah".to_owned(), ip("1.1.1.1")), (link_names("db", "dh", "d1"), ip("172.17.0.2"))];
        let addresses = [ip("172.17.0.3"), ip("fd00::3")];
        let mut hosts = Hosts {
            ipv6: true,
            extra: &extra,
            hostname: "ecffbd56e5a8",
            domainname: "",
            addresses: &addresses,
        };
        // Written by dockerd 28.5.2 for `--add-host ah:1.1.1.1 --link d1:db`.
        let want = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nfe00::\tip6-localnet\n\
                    ff00::\tip6-mcastprefix\nff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n1.1.1.1\tah\n\
                    172.17.0.2\tdb dh d1\n172.17.0.3\tecffbd56e5a8\nfd00::3\tecffbd56e5a8\n";
        assert_eq!(write(&hosts), want);
        hosts.ipv6 = false;
        let want = "127.0.0.1\tlocalhost\n1.1.1.1\tah\n172.17.0.2\tdb dh d1\n172.17.0.3\tecffbd56e5a8\n";
        assert_eq!(write(&hosts), want);
    }

    #[test]
    fn names_of_a_container_are_full_then_short() {
        assert_eq!(own_names("web", ""), "web");
        assert_eq!(own_names("foo.bar", ""), "foo.bar foo");
        assert_eq!(own_names("a.b.c", "d.e"), "a.b.c.d.e a");
        assert_eq!(link_names("d1", "dh", "d1"), "d1 dh");
    }

    #[test]
    fn extra_hosts_are_read_with_any_address() {
        let gateways = [ip("172.17.0.1"), ip("fd00::1")];
        assert_eq!(parse_extra("a:1.2.3.4", &gateways), Some(vec![("a".into(), ip("1.2.3.4"))]));
        assert_eq!(parse_extra("a:::1", &gateways), Some(vec![("a".into(), ip("::1"))]));
        assert_eq!(parse_extra("a:[fd00::9]", &gateways), Some(vec![("a".into(), ip("fd00::9"))]));
        let both = vec![("a".into(), gateways[0]), ("a".into(), gateways[1])];
        assert_eq!(parse_extra("a:host-gateway", &gateways), Some(both));
        for bad in ["a", ":1.2.3.4", "a:b", "a:"] {
            assert_eq!(parse_extra(bad, &gateways), None, "{bad}");
        }
    }

    #[test]
    fn lines_come_and_go_with_networks_and_leave_the_users_alone() {
        let before = "127.0.0.1\tlocalhost\n172.18.0.2\tweb\n# mine\n172.18.0.2\tweb www\n9.9.9.9\tweb";
        let after = add(before, "web", &[ip("172.19.0.2"), ip("fd00::2")]);
        assert_eq!(after, format!("{before}\n172.19.0.2\tweb\nfd00::2\tweb\n"));
        let gone = remove(&after, "web", &[ip("172.18.0.2"), ip("fd00::2")]);
        assert_eq!(
            gone,
            "127.0.0.1\tlocalhost\n# mine\n172.18.0.2\tweb www\n9.9.9.9\tweb\n172.19.0.2\tweb\n"
        );
    }
}
