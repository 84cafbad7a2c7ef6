//! `[address:][host:]container[/protocol]`: the short form of a published port (docker/go-connections `nat`). Pure.

use crate::node::{Data, Node};
use std::net::IpAddr;

/// The long forms of a short one, one for each port of its range.
///
/// Fails with go-connections' sentence.
pub(crate) fn parse(spec: &str) -> Result<Vec<Node>, String> {
    let parts: Vec<&str> = spec.split(':').collect();
    let (address, host, container) = match parts.as_slice() {
        [container] => (String::new(), "", *container),
        [host, container] => (String::new(), *host, *container),
        [before @ .., host, container] => (before.join(":"), *host, *container),
        [] => (String::new(), "", ""),
    };
    let (container, protocol) = container.split_once('/').unwrap_or((container, "tcp"));
    let protocol = if protocol.is_empty() { "tcp" } else { protocol }.to_lowercase();
    let address = host_of(&address)?;
    if !address.is_empty() && address.parse::<IpAddr>().is_err() {
        return Err(format!("Invalid ip address: {address}"));
    }
    if container.is_empty() {
        return Err(format!("No port specified: {spec}<empty>"));
    }
    let Some((first, last)) = range(container) else {
        return Err(format!("Invalid containerPort: {container}"));
    };
    let hosts = match host {
        "" => None,
        host => Some(range(host).ok_or_else(|| format!("Invalid hostPort: {host}"))?),
    };
    if let Some((start, end)) = hosts
        && end - start != last - first
        && first != last
    {
        return Err(format!("Invalid ranges specified for container and host Ports: {container} and {host}"));
    }
    if !matches!(protocol.as_str(), "tcp" | "udp" | "sctp") {
        return Err(format!("Invalid proto: {protocol}"));
    }
    let mut ports: Vec<u32> = (first..=last).collect();
    // In the order of their texts, as a sorted list of Go's strings has them.
    ports.sort_by_key(|port| format!("{port}/{protocol}"));
    let port = |target: u32| {
        let mut node = Node::map([("mode", "ingress".into()), ("target", Data::Int(target.into()).into())]);
        let mut set = |key: &str, value: String| {
            if let (Some(map), false) = (node.as_map_mut(), value.is_empty()) {
                map.insert(key.to_owned(), Data::Text(value).into());
            }
        };
        set("protocol", protocol.clone());
        set("host_ip", address.clone());
        let published = match hosts {
            None => String::new(),
            // A single port may get any of a range.
            Some((start, end)) if first == last && start != end => format!("{start}-{end}"),
            Some((start, _)) => (start + target - first).to_string(),
        };
        set("published", published);
        node
    };
    Ok(ports.into_iter().map(port).collect())
}

/// An address without its brackets, which one with colons must have (Go's `net.SplitHostPort`).
fn host_of(address: &str) -> Result<String, String> {
    let refuse = |why: &str| Err(format!("Invalid ip address {address}: address {address}:: {why}"));
    match address.strip_prefix('[') {
        None if address.contains(':') => refuse("too many colons in address"),
        None => Ok(address.to_owned()),
        Some(inner) => match inner.split_once(']') {
            Some((inside, "")) => Ok(inside.to_owned()),
            Some(_) => refuse("missing port in address"),
            None => refuse("missing ']' in address"),
        },
    }
}

/// `80` or `80-90`.
fn range(text: &str) -> Option<(u32, u32)> {
    let port = |text: &str| text.parse::<u16>().ok().filter(|_| !text.starts_with('+')).map(u32::from);
    match text.split_once('-') {
        None => port(text).map(|port| (port, port)),
        Some((first, last)) => Some((port(first)?, port(last)?)).filter(|(first, last)| first <= last),
    }
}
