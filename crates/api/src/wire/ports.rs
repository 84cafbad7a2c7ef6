//! Port maps: `{"80/tcp": [{"HostIp": "", "HostPort": "8080"}]}`.

use super::{Map, wire};
use crate::error::ApiError;
use minke_model::{
    ContainerSpec,
    container::NetworkingSpec,
    go::quote,
    port::{Port, PortBinding as Model, Protocol, PublishedPort, split_key},
};
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

/// Bindings as inspect shows them: as they were said.
pub(crate) fn bindings(networking: &NetworkingSpec) -> Option<PortMap> {
    let show = |(ip, port): &(String, String)| PortBinding { host_ip: ip.clone(), host_port: port.clone() };
    let asked = networking.port_bindings_as.as_ref()?;
    Some(Map(asked
        .iter()
        .map(|(key, list)| (key.clone(), list.as_ref().map(|list| list.iter().map(show).collect())))
        .collect()))
}

/// Bindings as they were said.
pub(crate) fn said(map: &PortMap) -> BTreeMap<String, Option<Vec<(String, String)>>> {
    let pair = |binding: &PortBinding| (binding.host_ip.clone(), binding.host_port.clone());
    map.0
        .iter()
        .map(|(key, list)| (key.clone(), list.as_ref().map(|list| list.iter().map(pair).collect())))
        .collect()
}

/// `NetworkSettings.Ports` of a running container: every exposed port, and where it appears.
pub(crate) fn published(spec: &ContainerSpec, published: &BTreeSet<PublishedPort>) -> PortMap {
    let nothing = spec.exposed_as.iter().filter(|key| meant(key).is_none()).map(|key| without_meaning(key));
    let exposed = spec.exposed_ports.iter().map(ToString::to_string).chain(nothing);
    let mut map: BTreeMap<String, Option<Vec<PortBinding>>> = exposed.map(|key| (key, None)).collect();
    for port in published {
        let binding = PortBinding { host_ip: port.host_ip.to_string(), host_port: number(port.host_port) };
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

/// The container's port that a key of `ExposedPorts` or `PortBindings` means: `80`, `80/tcp`, `80/`. What means none is
/// kept and shown, as dockerd does, and has no effect.
pub(crate) fn meant(key: &str) -> Option<Port> {
    let (number, protocol) = split_key(key);
    Some(Port { number: number.parse().ok()?, protocol: protocol.parse().ok()? })
}

/// What dockerd makes of a key that means no port: zeros for what it cannot read.
fn without_meaning(key: &str) -> String {
    let (number, protocol) = split_key(key);
    let number: u16 = number.parse().unwrap_or(0);
    match protocol.parse::<Protocol>() {
        Ok(protocol) => format!("{number}/{protocol}"),
        Err(_) => format!("{number}/0"),
    }
}

/// Whether a key's number may stand there.
fn check_key(key: &str) -> Result<(), ApiError> {
    let (number, _) = split_key(key);
    match number.is_empty() || number.parse::<u16>().is_ok() {
        true => Ok(()),
        false => Err(ApiError::invalid(format!("invalid port specification: {}", quote(number)))),
    }
}

fn parse_binding(wire: &PortBinding) -> Result<Model, ApiError> {
    let text = wire.host_port.as_str();
    let host_ports = match text.split('/').next().unwrap_or_default() {
        "" => None,
        range => Some(
            parse_range(range)
                .ok_or_else(|| ApiError::invalid(format!("invalid port specification: {}", quote(text))))?,
        ),
    };
    // What is no address is everywhere, as Go's nil.
    let host_ip = wire.host_ip.parse().ok();
    // Docker's client says "any free port" as 0.
    Ok(Model { host_ip, host_ports: host_ports.filter(|range| *range != (0, 0)) })
}

/// Bindings as asked. dockerd publishes a port only where it was exposed in the same words; `exposed` are those that
/// are said, an image may have more.
pub(crate) fn parse_bindings<T>(
    map: &PortMap,
    exposed: &BTreeMap<String, T>,
) -> Result<BTreeMap<Port, Vec<Model>>, ApiError> {
    let otherwise = |key: &str, port: Port| {
        !exposed.contains_key(key)
            && (key != port.to_string() || exposed.keys().any(|other| meant(other) == Some(port)))
    };
    let mut parsed = BTreeMap::new();
    for (key, list) in &map.0 {
        check_key(key)?;
        let bindings = list.iter().flatten().map(parse_binding).collect::<Result<Vec<_>, _>>()?;
        if let Some(port) = meant(key).filter(|port| !otherwise(key, *port)) {
            parsed.insert(port, bindings);
        }
    }
    Ok(parsed)
}

/// A port of the host; none is the form of one that is reached by the container's own address.
fn number(port: u16) -> String {
    if port == 0 { String::new() } else { port.to_string() }
}
