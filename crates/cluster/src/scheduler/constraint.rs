//! Swarm's placement constraints: `node.labels.zone == a` (swarmkit, manager/constraint). Pure.

use minke_model::{
    Subnet,
    node::{Node, Role},
};
use std::net::IpAddr;

/// Whether `node` satisfies all `constraints`. One that cannot be read holds for no node.
pub fn node_fits(constraints: &[String], node: &Node) -> bool {
    constraints.iter().all(|constraint| {
        let (key, equal, value) = match (constraint.split_once("=="), constraint.split_once("!=")) {
            (Some((key, value)), _) => (key, true, value),
            (None, Some((key, value))) => (key, false, value),
            (None, None) => return false,
        };
        holds(key.trim(), value.trim(), node).is_some_and(|same| same == equal)
    })
}

/// Whether what `key` means of `node` is `value`; `None`: nobody can say.
fn holds(key: &str, value: &str, node: &Node) -> Option<bool> {
    let same = |what: &str| Some(value.eq_ignore_ascii_case(what));
    let description = node.description.as_ref();
    let lower = key.to_ascii_lowercase();
    // A label's own name counts to the letter, what stands before it does not.
    if lower.starts_with("node.labels.") {
        return same(node.spec.labels.get(&key["node.labels.".len()..]).map_or("", String::as_str));
    }
    if lower.starts_with("engine.labels.") {
        let labels = description.map(|description| &description.engine_labels);
        let label = labels.and_then(|labels| labels.get(&key["engine.labels.".len()..]));
        return same(label.map_or("", String::as_str));
    }
    match lower.as_str() {
        "node.id" => same(node.id.as_str()),
        "node.hostname" => same(description.map_or("", |description| &description.hostname)),
        "node.role" => same(match node.spec.role {
            Role::Manager => "manager",
            Role::Worker => "worker",
        }),
        "node.platform.os" => same(description.map_or("", |description| &description.platform.os)),
        "node.platform.arch" => {
            same(description.map_or("", |description| &description.platform.architecture))
        }
        "node.ip" => {
            if let Ok(address) = value.parse::<IpAddr>() {
                return Some(node.address == Some(address));
            }
            let subnet: Subnet = value.parse().ok()?;
            Some(node.address.is_some_and(|address| subnet.contains(address)))
        }
        _ => None,
    }
}
