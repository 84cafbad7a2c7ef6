//! Port maps: `{"80/tcp": [{"HostIp": "", "HostPort": "8080"}]}`.

use super::{Map, wire};
use crate::error::ApiError;
use minke_model::go::quote;
use minke_model::port::{Port, PortBinding as Model, Protocol, PublishedPort};
use std::collections::{BTreeMap, BTreeSet};

/// Container ports and where they appear; `null` is exposed but not published.
pub(crate) type PortMap = Map<Option<Vec<PortBinding>>>;

wire! {
    /// A place on the host.
    struct PortBinding {
        host_ip: String,
        host_port: String,
    }
}

/// Bindings as inspect shows them.
pub(crate) fn bindings(model: &BTreeMap<Port, Vec<Model>>) -> PortMap {
    let show = |binding: &Model| PortBinding {
        host_ip: binding.host_ip.map(|ip| ip.to_string()).unwrap_or_default(),
        host_port: match binding.host_ports {
            None => String::new(),
            Some((first, last)) if first == last => first.to_string(),
            Some((first, last)) => format!("{first}-{last}"),
        },
    };
    Map(model.iter().map(|(port, list)| (port.to_string(), Some(list.iter().map(show).collect()))).collect())
}

/// `NetworkSettings.Ports` of a running container: every exposed port, and where it appears.
pub(crate) fn published(exposed: &BTreeSet<Port>, published: &BTreeSet<PublishedPort>) -> PortMap {
    let mut map: BTreeMap<String, Option<Vec<PortBinding>>> =
        exposed.iter().map(|p| (p.to_string(), None)).collect();
    for port in published {
        let binding =
            PortBinding { host_ip: port.host_ip.to_string(), host_port: number(port.host_port) };
        map.entry(port.container.to_string()).or_default().get_or_insert_default().push(binding);
    }
    Map(map)
}

/// First and last of `80` or `80-90`.
fn parse_range(text: &str) -> Option<(u16, u16)> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (first.parse().ok()?, last.parse().ok()?);
    (first <= last).then_some((first, last))
}

/// The container's ports of `80`, `80/tcp`, `80-90/udp`.
pub(crate) fn parse_exposed(text: &str) -> Result<Vec<Port>, ApiError> {
    let (range, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let bad = || ApiError::invalid(format!("invalid port specification: {}", quote(text)));
    let protocol: Protocol =
        if protocol.is_empty() { Protocol::Tcp } else { protocol.parse().map_err(|_| bad())? };
    let (first, last) = parse_range(range).ok_or_else(bad)?;
    Ok((first..=last).map(|number| Port { number, protocol }).collect())
}

/// A container's port as a key of `PortBindings`: no ranges there.
fn parse_key(text: &str) -> Result<Port, ApiError> {
    let (number, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let bad = |what: &str| ApiError::invalid(format!("invalid port specification: {}", quote(what)));
    let number = number.parse().map_err(|_| bad(number))?;
    let protocol =
        if protocol.is_empty() { Protocol::Tcp } else { protocol.parse().map_err(|_| bad(text))? };
    Ok(Port { number, protocol })
}

fn parse_binding(wire: &PortBinding) -> Result<Model, ApiError> {
    let text = wire.host_port.as_str();
    let (range, _) = text.split_once('/').unwrap_or((text, ""));
    let host_ports = match range {
        "" => None,
        _ => Some(
            parse_range(range)
                .ok_or_else(|| ApiError::invalid(format!("invalid port specification: {}", quote(text))))?,
        ),
    };
    let host_ip = match wire.host_ip.as_str() {
        "" => None,
        ip => Some(ip.parse().map_err(|_| ApiError::invalid(format!("invalid IP address: {ip}")))?),
    };
    // Docker's client says "any free port" as 0.
    Ok(Model { host_ip, host_ports: host_ports.filter(|range| *range != (0, 0)) })
}

/// Bindings as asked.
pub(crate) fn parse_bindings(map: &PortMap) -> Result<BTreeMap<Port, Vec<Model>>, ApiError> {
    let mut parsed = BTreeMap::new();
    for (key, list) in &map.0 {
        let bindings = list.iter().flatten().map(parse_binding).collect::<Result<Vec<_>, _>>()?;
        parsed.insert(parse_key(key)?, bindings);
    }
    Ok(parsed)
}

/// A port of the host; none is the form of one that is reached by the container's own address.
fn number(port: u16) -> String {
    if port == 0 { String::new() } else { port.to_string() }
}
