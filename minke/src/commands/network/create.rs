//! `network create`

use crate::cli::command::{Arity, Command, command};
use crate::cli::flag::{Commas, Pairs, flags};
use crate::cli::{Cli, Failure, Outcome, show};
use crate::options::env;
use crate::output::warn;
use serde_json::{Value, json};
use std::net::IpAddr;

/// `network create`
pub(crate) static COMMAND: Command = command!(CreateFlags, create, {
    name: "create",
    usage: "[OPTIONS] NETWORK",
    about: "Make a network",
    arity: Arity::Exactly(1),
});

flags! {
    /// Flags of `network create`.
    struct CreateFlags {
        attachable: bool ["attachable"], "Let containers attach by hand";
        aux_address: Pairs ["aux-address"], "Addresses that others use";
        config_from: String ["config-from"], "Network whose configuration is taken over";
        config_only: bool ["config-only"], "Make a configuration only";
        driver: String ["driver" 'd'] = "bridge", "Driver of the network";
        gateway: Commas ["gateway"], "Gateway of a subnet";
        ingress: bool ["ingress"], "Make the routing mesh of a swarm";
        internal: bool ["internal"], "Keep the network from the world outside";
        ip_range: Commas ["ip-range"], "Give out addresses of this part of a subnet only";
        ipam_driver: String ["ipam-driver"] = "default", "Driver that gives out addresses";
        ipam_opt: Pairs ["ipam-opt"], "Options of that driver";
        ipv4: Option<bool> ["ipv4"] = "true", "Give out IPv4 addresses";
        ipv6: Option<bool> ["ipv6"], "Give out IPv6 addresses";
        label: Vec<String> ["label"], "Set a label";
        opt: Pairs ["opt" 'o'], "Options of the network's driver";
        scope: String ["scope"], "How far the network reaches";
        subnet: Commas ["subnet"], "A subnet, in CIDR form";
    }
}

/// A subnet in CIDR form.
#[derive(Clone, Copy, PartialEq)]
struct Prefix {
    ip: IpAddr,
    bits: u8,
}

impl Prefix {
    fn parse(text: &str) -> Option<Self> {
        let (ip, bits) = text.split_once('/')?;
        let (ip, bits): (IpAddr, u8) = (ip.parse().ok()?, bits.parse().ok()?);
        (bits <= if ip.is_ipv4() { 32 } else { 128 }).then_some(Self { ip, bits })
    }

    fn holds(&self, ip: IpAddr) -> bool {
        let as_bits = |ip: IpAddr| match ip {
            IpAddr::V4(ip) => (u128::from(u32::from(ip)) << 96, 32),
            IpAddr::V6(ip) => (u128::from(ip), 128),
        };
        let ((own, kind), (other, other_kind)) = (as_bits(self.ip), as_bits(ip));
        kind == other_kind && (self.bits == 0 || (own ^ other) >> (128 - u32::from(self.bits)) == 0)
    }
}

/// Ranges, gateways and foreign addresses to the subnets that hold them. The error is docker's sentence.
fn pools(
    subnets: &[String],
    ranges: &[String],
    gateways: &[String],
    foreign: &[(String, String)],
) -> Result<Vec<Value>, String> {
    if subnets.len() < ranges.len() || subnets.len() < gateways.len() {
        return Err("every ip-range or gateway must have a corresponding subnet".into());
    }
    let mut prefixes: Vec<Option<Prefix>> = Vec::new();
    for subnet in subnets {
        let prefix = Prefix::parse(subnet);
        if let Some(prefix) = prefix
            && prefixes.iter().flatten().any(|other| other.holds(prefix.ip) || prefix.holds(other.ip))
        {
            return Err("multiple overlapping subnet configuration is not supported".into());
        }
        // What is no subnet holds nothing; the daemon says so.
        prefixes.push(prefix);
    }
    let mut pools: Vec<Value> = subnets.iter().map(|subnet| json!({"Subnet": subnet})).collect();
    let home = |ip: IpAddr| prefixes.iter().position(|prefix| prefix.is_some_and(|prefix| prefix.holds(ip)));
    for range in ranges {
        let prefix = Prefix::parse(range).ok_or_else(|| format!("invalid CIDR address: {range}"))?;
        let at = home(prefix.ip).ok_or_else(|| format!("no matching subnet for range {range}"))?;
        if let Some(other) = pools[at]["IPRange"].as_str() {
            return Err(format!(
                "cannot configure multiple ranges ({range}, {other}) on the same subnet ({})",
                subnets[at]
            ));
        }
        pools[at]["IPRange"] = range.as_str().into();
    }
    for gateway in gateways {
        let at = gateway
            .parse()
            .ok()
            .and_then(home)
            .ok_or_else(|| format!("no matching subnet for gateway {gateway}"))?;
        if let Some(other) = pools[at]["Gateway"].as_str() {
            return Err(format!(
                "cannot configure multiple gateways ({gateway}, {other}) for the same subnet ({})",
                subnets[at]
            ));
        }
        pools[at]["Gateway"] = gateway.as_str().into();
    }
    for (name, address) in foreign {
        let at = address
            .parse()
            .ok()
            .and_then(home)
            .ok_or_else(|| format!("no matching subnet for aux-address {address}"))?;
        pools[at]["AuxiliaryAddresses"][name] = address.as_str().into();
    }
    Ok(pools)
}

fn create(cli: &Cli, flags: CreateFlags, args: Vec<String>) -> Outcome {
    if flags.ingress {
        return Err(Failure::new("--ingress is not there yet: the routing mesh comes with a later version"));
    }
    let labels: serde_json::Map<String, Value> =
        env::labels(&[], &flags.label)?.into_iter().map(|(name, value)| (name, value.into())).collect();
    let mut body = json!({
        "Name": args[0],
        "Driver": flags.driver,
        "Options": flags.opt.to_json(),
        "IPAM": {
            "Driver": flags.ipam_driver,
            "Config": pools(&flags.subnet.0, &flags.ip_range.0, &flags.gateway.0, &flags.aux_address.0)?,
            "Options": flags.ipam_opt.to_json(),
        },
        "Internal": flags.internal,
        "Attachable": flags.attachable,
        "Ingress": flags.ingress,
        "Scope": flags.scope,
        "ConfigOnly": flags.config_only,
        "Labels": labels,
    });
    if !flags.config_from.is_empty() {
        body["ConfigFrom"] = json!({"Network": flags.config_from});
    }
    if let Some(ipv6) = flags.ipv6 {
        body["EnableIPv6"] = ipv6.into();
    }
    if flags.ipv4 == Some(false) {
        body["EnableIPv4"] = false.into();
    }
    let answer = cli.client()?.post("/networks/create", &[], &body)?;
    if !answer.text("Warning").is_empty() {
        warn(format!("WARNING: {}", answer.text("Warning")));
    }
    show(&format!("{}\n", answer.text("Id")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| text.to_string()).collect()
    }

    #[test]
    fn ranges_and_gateways_find_their_subnet() {
        let made = pools(
            &list(&["10.0.0.0/16", "fd00::/64"]),
            &list(&["10.0.5.0/24"]),
            &list(&["fd00::1", "10.0.0.1"]),
            &[("a".into(), "10.0.0.9".into())],
        )
        .unwrap();
        assert_eq!(
            made,
            [
                json!({"Subnet": "10.0.0.0/16", "IPRange": "10.0.5.0/24", "Gateway": "10.0.0.1", "AuxiliaryAddresses": {"a": "10.0.0.9"}}),
                json!({"Subnet": "fd00::/64", "Gateway": "fd00::1"})
            ]
        );
    }

    #[test]
    fn mistakes_are_told_in_dockers_words() {
        let fails = |subnets: &[&str], ranges: &[&str], gateways: &[&str]| {
            pools(&list(subnets), &list(ranges), &list(gateways), &[]).unwrap_err()
        };
        assert_eq!(
            fails(&[], &["10.0.0.0/24"], &[]),
            "every ip-range or gateway must have a corresponding subnet"
        );
        assert_eq!(
            fails(&["10.0.0.0/8", "10.1.0.0/16"], &[], &[]),
            "multiple overlapping subnet configuration is not supported"
        );
        assert_eq!(fails(&["10.0.0.0/24"], &[], &["10.0.1.1"]), "no matching subnet for gateway 10.0.1.1");
    }
}
