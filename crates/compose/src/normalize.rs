//! Implicit things become explicit: the default network, names, what links and shared namespaces depend on
//! (compose-go `loader/normalize.go`). Pure.

use crate::{
    dotenv::Variables,
    node::{Data, Map, Node},
};
use minke_model::go;

/// Completes a checked tree of a project called `name`.
pub(crate) fn normalize(root: &mut Node, name: &str, environment: &Variables) {
    let Some(root) = root.as_map_mut() else { return };
    root.insert("name".to_owned(), name.into());
    networks(root);
    if let Some(services) = root.get_mut("services").and_then(Node::as_map_mut) {
        services.values_mut().filter_map(Node::as_map_mut).for_each(|map| service(map, environment));
    }
    names(root, name);
}

/// Who names no network is in the default one, which exists only then.
fn networks(root: &mut Map) {
    let mut used = false;
    let services = root.get_mut("services").and_then(Node::as_map_mut);
    for service in
        services.into_iter().flat_map(|services| services.values_mut()).filter_map(Node::as_map_mut)
    {
        if service.contains_key("provider") || service.contains_key("network_mode") {
            continue;
        }
        match service.get("networks").and_then(Node::as_map) {
            Some(networks) if !networks.is_empty() => used |= networks.contains_key("default"),
            _ => {
                service.insert("networks".to_owned(), Node::map([("default", Data::Null.into())]));
                used = true;
            }
        }
    }
    let mut networks = match root.remove("networks").map(|node| node.data) {
        Some(Data::Map(networks)) => networks,
        _ => Map::new(),
    };
    if used {
        networks.entry("default".to_owned()).or_insert(Data::Null.into());
    }
    if !networks.is_empty() {
        root.insert("networks".to_owned(), Data::Map(networks).into());
    }
}

fn service(service: &mut Map, environment: &Variables) {
    if service.get("pull_policy").and_then(Node::as_text) == Some("if_not_present") {
        service.insert("pull_policy".to_owned(), "missing".into());
    }
    if let Some(build) = service.get_mut("build").and_then(Node::as_map_mut) {
        let absent = |build: &Map, key: &str| build.get(key).is_none_or(Node::is_null);
        if absent(build, "context") {
            build.insert("context".to_owned(), ".".into());
        }
        if absent(build, "dockerfile") && absent(build, "dockerfile_inline") {
            build.insert("dockerfile".to_owned(), "Dockerfile".into());
        }
        if let Some(args) = build.get_mut("args") {
            resolve(args, environment, false);
        }
    }
    if let Some(pairs) = service.get_mut("environment") {
        resolve(pairs, environment, true);
    }
    let mut implied: Vec<(String, bool)> = Vec::new();
    let texts = |node: Option<&Node>| -> Vec<String> {
        node.and_then(Node::as_list).unwrap_or_default().iter().map(Node::plain).collect()
    };
    for link in texts(service.get("links")) {
        let name = match link.split(':').collect::<Vec<_>>().as_slice() {
            [name, _] => (*name).to_owned(),
            _ => link,
        };
        implied.push((name, true));
    }
    for namespace in ["network_mode", "ipc", "pid", "uts", "cgroup"] {
        let shared =
            service.get(namespace).and_then(Node::as_text).and_then(|text| text.strip_prefix("service:"));
        implied.extend(shared.map(|name| (name.to_owned(), true)));
    }
    for volumes in texts(service.get("volumes_from")) {
        if !volumes.starts_with("container:") {
            let name = volumes.split(':').next().unwrap_or("").to_owned();
            implied.push((name, false));
        }
    }
    if let Some(Data::List(volumes)) = service.get_mut("volumes").map(|node| &mut node.data) {
        for volume in volumes.iter_mut().filter_map(Node::as_map_mut) {
            if let Some(Data::Text(target)) = volume.get_mut("target").map(|node| &mut node.data) {
                *target = go::clean(target);
            }
        }
    }
    if implied.is_empty() {
        return;
    }
    let depends_on = service.entry("depends_on".to_owned()).or_insert_with(|| Node::map([]));
    let Some(depends_on) = depends_on.as_map_mut() else { return };
    for (name, restart) in implied {
        depends_on.entry(name).or_insert_with(|| {
            Node::map([
                ("condition", "service_started".into()),
                ("restart", restart.into()),
                ("required", true.into()),
            ])
        });
    }
}

/// Keys without a value get the caller's. Those that have none there stay, or go.
fn resolve(node: &mut Node, environment: &Variables, keep: bool) {
    match &mut node.data {
        Data::Map(map) => {
            for (key, value) in map.iter_mut().filter(|(_, value)| value.is_null()) {
                if let Some(found) = environment.get(key) {
                    value.data = Data::Text(found.clone());
                }
            }
            map.retain(|_, value| keep || !value.is_null());
        }
        Data::List(list) => list.retain_mut(|entry| {
            let Data::Text(line) = &mut entry.data else { return true };
            if line.contains('=') {
                return true;
            }
            match environment.get(line) {
                Some(found) => *line = format!("{line}={found}"),
                None => return keep,
            }
            true
        }),
        _ => {}
    }
}

/// What has no name gets the project's and its key's; what is external, its key's.
fn names(root: &mut Map, project: &str) {
    for section in ["networks", "volumes", "configs", "secrets"] {
        let resources = root.get_mut(section).and_then(Node::as_map_mut);
        for (key, resource) in resources.into_iter().flatten() {
            if resource.is_null() {
                resource.data = Data::Map(Map::new());
            }
            let Some(resource) = resource.as_map_mut() else { continue };
            if resource.get("name").is_some_and(|name| !name.is_null()) {
                continue;
            }
            let external =
                resource.get("external").is_some_and(|node| go::parse_bool(&node.plain()) == Some(true));
            let name = if external { key.clone() } else { format!("{project}_{key}") };
            resource.insert("name".to_owned(), Data::Text(name).into());
        }
    }
}
