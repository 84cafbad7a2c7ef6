//! What the schema cannot say about a tree: what excludes what (compose-go `validation/`). Pure.

use crate::{
    error::{Fault, Place},
    node::{Data, Node},
    path::Path,
};
use std::net::IpAddr;

/// What is looked at, at some place.
#[derive(Clone, Copy)]
enum Rule {
    External,
    /// Of these exactly one, unless others keep it.
    Source(&'static [&'static str]),
    Address,
    NotBlank,
    Devices,
}

const RULES: &[(&str, Rule)] = &[
    ("volumes.*", Rule::External),
    ("configs.*", Rule::Source(&["file", "environment", "content"])),
    ("secrets.*", Rule::Source(&["file", "environment"])),
    ("services.*.ports.*", Rule::Address),
    ("services.*.develop.watch.*.path", Rule::NotBlank),
    ("services.*.deploy.resources.reservations.devices.*", Rule::Devices),
    ("services.*.gpus.*", Rule::Devices),
];

/// All that is wrong.
pub(crate) fn validate(node: &Node, path: &Path, files: &[String], faults: &mut Vec<Fault>) {
    if let Some(rule) = path.find(RULES) {
        if let Err(message) = check(*rule, node, path) {
            faults.push(Fault::at(Place::of(node.spot(), files), message));
        }
        return;
    }
    match &node.data {
        Data::Map(map) => map.iter().for_each(|(key, value)| validate(value, &path.next(key), files, faults)),
        Data::List(list) => list.iter().for_each(|value| validate(value, &path.next("[]"), files, faults)),
        _ => {}
    }
}

fn check(rule: Rule, node: &Node, path: &Path) -> Result<(), String> {
    let has = |key: &str| node.get(key).is_some();
    match rule {
        Rule::External => {
            let external = node.get("external").is_some_and(|external| external.data == Data::Bool(true));
            let other =
                |key: &&String| !matches!(key.as_str(), "name" | "external") && !key.starts_with("x-");
            match node.as_map().filter(|_| external).and_then(|map| map.keys().find(other)) {
                Some(key) => {
                    Err(format!("{path}: conflicting parameters \"external\" and {key:?} specified"))
                }
                None => Ok(()),
            }
        }
        Rule::Source(keys) => match keys.iter().filter(|key| has(key)).count() {
            1 => Ok(()),
            0 if has("driver") || has("external") => Ok(()),
            0 => Err(format!("{path}: one of {} must be set", keys.join("|"))),
            _ => Err(format!("{path}: {} attributes are mutually exclusive", keys.join("|"))),
        },
        Rule::Address => match node.get("host_ip").and_then(Node::as_text) {
            Some(ip) if ip.parse::<IpAddr>().is_err() => Err(format!("{path}: invalid ip address: {ip}")),
            _ => Ok(()),
        },
        Rule::NotBlank => match node.as_text() {
            Some("") => Err(format!("{path}: value can't be blank")),
            _ => Ok(()),
        },
        Rule::Devices if has("count") && has("device_ids") => {
            Err(format!("{path}: \"count\" and \"device_ids\" attributes are exclusive"))
        }
        Rule::Devices => Ok(()),
    }
}
