//! Lists in which an element has a key: a later one with the same key takes the earlier one's place (compose-go
//! `override/uncity.go`). Pure.

use crate::{
    error::{Fault, Place},
    node::{Data, Node},
    path::Path,
    volume,
};
use std::collections::HashMap;

/// What of an element is its key.
#[derive(Clone, Copy)]
enum Key {
    /// What is before `=`.
    Name,
    /// Where it is mounted.
    Mount,
    /// Where a device appears.
    Device,
    /// Where a config or secret appears; below this directory unless it says so.
    File(&'static str),
    /// The port.
    Expose,
    /// Address, ports and protocol.
    Port,
    /// The path.
    EnvFile,
}

const UNIQUE: &[(&str, Key)] = &[
    ("networks.*.labels", Key::Name),
    ("networks.*.ipam.options", Key::Name),
    ("services.*.annotations", Key::Name),
    ("services.*.build.args", Key::Name),
    ("services.*.build.additional_contexts", Key::Name),
    ("services.*.build.platform", Key::Name),
    ("services.*.build.tags", Key::Name),
    ("services.*.build.labels", Key::Name),
    ("services.*.cap_add", Key::Name),
    ("services.*.cap_drop", Key::Name),
    ("services.*.devices", Key::Device),
    ("services.*.configs", Key::File("")),
    ("services.*.deploy.labels", Key::Name),
    ("services.*.dns", Key::Name),
    ("services.*.dns_opt", Key::Name),
    ("services.*.dns_search", Key::Name),
    ("services.*.environment", Key::Name),
    ("services.*.env_file", Key::EnvFile),
    ("services.*.expose", Key::Expose),
    ("services.*.labels", Key::Name),
    ("services.*.links", Key::Name),
    ("services.*.networks.*.aliases", Key::Name),
    ("services.*.networks.*.link_local_ips", Key::Name),
    ("services.*.ports", Key::Port),
    ("services.*.profiles", Key::Name),
    ("services.*.secrets", Key::File("/run/secrets")),
    ("services.*.sysctls", Key::Name),
    ("services.*.tmpfs", Key::Name),
    ("services.*.volumes", Key::Mount),
];

/// Sorts out what stands twice.
pub(crate) fn enforce(node: &mut Node, path: &Path, files: &[String]) -> Result<(), Fault> {
    match &mut node.data {
        Data::Map(map) => {
            for (key, value) in map {
                enforce(value, &path.next(key), files)?;
            }
        }
        Data::List(list) => {
            let Some(key) = path.find(UNIQUE) else { return Ok(()) };
            let mut places: HashMap<String, usize> = HashMap::new();
            let mut kept: Vec<Node> = Vec::with_capacity(list.len());
            for (at, entry) in std::mem::take(list).into_iter().enumerate() {
                let of = key_of(*key, &entry).map_err(|message| {
                    Fault::at(
                        Place::of(entry.spot(), files),
                        message.replace("{path}", &format!("{path}.[{at}]")),
                    )
                })?;
                match places.get(&of) {
                    Some(place) => kept[*place] = entry,
                    None => {
                        places.insert(of, kept.len());
                        kept.push(entry);
                    }
                }
            }
            *list = kept;
        }
        _ => {}
    }
    Ok(())
}

/// The key of an element. `{path}` in the error stands for where it is.
fn key_of(key: Key, entry: &Node) -> Result<String, String> {
    let unexpected = || format!("{{path}}: unexpected type {}", entry.go_type());
    let target = |what: &str, missing: &str| match (&entry.data, entry.get("target").and_then(Node::as_text))
    {
        (Data::Map(_), Some(target)) => Ok(Some(target.to_owned())),
        (Data::Map(_), None) => Err(format!("service {what} {{path}} is missing a {missing}")),
        _ => Ok(None),
    };
    match key {
        Key::Name => match &entry.data {
            Data::Text(line) => Ok(line.split_once('=').map_or(line.as_str(), |(name, _)| name).to_owned()),
            _ => Err(unexpected()),
        },
        Key::Mount => match (target("volume", "mount target")?, entry.as_text()) {
            (Some(target), _) => Ok(target),
            (None, Some(spec)) => {
                volume::parse(spec).map(|node| node.get("target").map_or(String::new(), Node::plain))
            }
            (None, None) => Ok(String::new()),
        },
        Key::Device => match (target("device", "mount target")?, entry.as_text()) {
            (Some(target), _) => Ok(target),
            (None, Some(spec)) => {
                let mut parts = spec.split(':');
                let first = parts.next().unwrap_or("");
                Ok(parts.next().unwrap_or(first).to_owned())
            }
            (None, None) => Ok(String::new()),
        },
        Key::File(directory) => match &entry.data {
            Data::Text(name) => Ok(format!("{directory}/{name}")),
            Data::Map(map) => Ok(match map.get("target") {
                Some(target) => target.plain(),
                None => format!("{directory}/{}", map.get("source").map_or(String::new(), Node::plain)),
            }),
            _ => Err(unexpected()),
        },
        Key::Expose => match &entry.data {
            Data::Text(_) | Data::Int(_) => Ok(entry.plain()),
            _ => Err(format!("{{path}}: unsupported expose value {}", entry.plain())),
        },
        Key::Port => match &entry.data {
            Data::Map(map) => {
                let Some(target) = map.get("target") else {
                    return Err("service ports {path} is missing a target port".to_owned());
                };
                let of = |key: &str, default: &str| map.get(key).map_or(default.to_owned(), Node::plain);
                // A number is not the text of it: Go prints them differently.
                let published =
                    map.get("published").map_or("", |node| if node.as_text().is_some() { "" } else { "#" });
                let published = format!("{published}{}", of("published", "<nil>"));
                let target = target.plain();
                Ok(format!("{}:{published}:{target}/{}", of("host_ip", "0.0.0.0"), of("protocol", "tcp")))
            }
            Data::List(_) => Ok(String::new()),
            _ => Ok(entry.plain()),
        },
        Key::EnvFile => match &entry.data {
            Data::Map(map) => match map.get("path") {
                Some(path) => Ok(path.plain()),
                None => Err("environment path attribute {path} is missing".to_owned()),
            },
            _ => Ok(entry.plain()),
        },
    }
}
