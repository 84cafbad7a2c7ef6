//! Short forms become long ones (compose-go `transform/`), and what is missing gets its default. Pure.

use crate::{
    error::{Fault, Place},
    node::{Data, Map, Node},
    path::Path,
    port, volume,
};

/// What is done at some place of the tree.
#[derive(Clone, Copy)]
enum Turn {
    /// A mapping is looked into, anything else stays.
    Inside,
    /// A text stands for `source`.
    FileMount,
    /// Anything becomes text.
    Text,
    /// `KEY=VALUE` lines become a mapping.
    KeyValue,
    /// A list becomes a mapping of conditions.
    DependsOn,
    EnvFile,
    /// A text stands for a list of one.
    OneOrSome,
    Extends,
    Gpus,
    /// A list becomes a mapping to nothing.
    Keys,
    Volume,
    Device,
    Ports,
    Build,
    Ssh,
    Ulimit,
    External,
    Include,
}

const TURNS: &[(&str, Turn)] = &[
    ("services.*", Turn::Inside),
    ("services.*.build.secrets.*", Turn::FileMount),
    ("services.*.build.provenance", Turn::Text),
    ("services.*.build.sbom", Turn::Text),
    ("services.*.build.additional_contexts", Turn::KeyValue),
    ("services.*.depends_on", Turn::DependsOn),
    ("services.*.env_file", Turn::EnvFile),
    ("services.*.label_file", Turn::OneOrSome),
    ("services.*.extends", Turn::Extends),
    ("services.*.gpus", Turn::Gpus),
    ("services.*.networks", Turn::Keys),
    ("services.*.models", Turn::Keys),
    ("services.*.volumes.*", Turn::Volume),
    ("services.*.dns", Turn::OneOrSome),
    ("services.*.devices.*", Turn::Device),
    ("services.*.secrets.*", Turn::FileMount),
    ("services.*.configs.*", Turn::FileMount),
    ("services.*.ports", Turn::Ports),
    ("services.*.build", Turn::Build),
    ("services.*.build.ssh", Turn::Ssh),
    ("services.*.ulimits.*", Turn::Ulimit),
    ("services.*.build.ulimits.*", Turn::Ulimit),
    ("services.*.develop.watch.*.ignore", Turn::OneOrSome),
    ("services.*.develop.watch.*.include", Turn::OneOrSome),
    ("volumes.*", Turn::External),
    ("networks.*", Turn::External),
    ("secrets.*", Turn::External),
    ("configs.*", Turn::External),
    ("include.*", Turn::Include),
];

/// What turning says.
pub(crate) struct Turner<'a> {
    /// The names of the files that places count.
    pub files: &'a [String],
    /// Whether what cannot be parsed stays: it may have variables in it.
    pub lenient: bool,
    /// What is wrong.
    pub faults: Vec<Fault>,
    /// What is worth a word.
    pub warnings: Vec<Fault>,
}

impl Turner<'_> {
    /// Turns all of a tree.
    pub(crate) fn canonical(&mut self, node: &mut Node, path: &Path) {
        match path.find(TURNS) {
            Some(turn) => {
                let (at, key) = (node.at, node.key);
                self.turn(*turn, node, path);
                (node.at, node.key) = (at, key);
            }
            None => self.inside(node, path),
        }
    }

    fn inside(&mut self, node: &mut Node, path: &Path) {
        match &mut node.data {
            Data::Map(map) => map.iter_mut().for_each(|(key, value)| self.canonical(value, &path.next(key))),
            Data::List(list) => list.iter_mut().for_each(|value| self.canonical(value, &path.next("[]"))),
            _ => {}
        }
    }

    fn refuse(&mut self, node: &Node, message: String) {
        self.faults.push(Fault::at(Place::of(node.spot(), self.files), message));
    }

    /// For what the schema let through in a form that has no meaning.
    fn unfit(&mut self, node: &Node, path: &Path, of: &str) {
        self.refuse(node, format!("{path}: invalid type {} for {of}", node.go_type()));
    }

    fn turn(&mut self, turn: Turn, node: &mut Node, path: &Path) {
        match turn {
            Turn::Inside => {
                if node.as_map().is_some() {
                    self.inside(node, path);
                }
            }
            Turn::FileMount => match &node.data {
                Data::Map(_) => {}
                Data::Text(_) => *node = Node::map([("source", node.clone())]),
                _ => self.refuse(node, format!("{path}: unsupported type {}", node.go_type())),
            },
            Turn::Text => node.data = Data::Text(node.value().sprint()),
            Turn::KeyValue => self.key_value(node, path),
            Turn::DependsOn => self.depends_on(node, path),
            Turn::EnvFile => match &mut node.data {
                Data::Text(_) => node.data = Data::List(vec![env_file(node.clone())]),
                Data::List(list) => list.iter_mut().for_each(|entry| *entry = env_file(entry.clone())),
                _ => self.unfit(node, path, "env_file"),
            },
            Turn::OneOrSome => {
                if node.as_text().is_some() {
                    node.data = Data::List(vec![node.clone()]);
                }
            }
            Turn::Extends => {
                if node.as_text().is_some() {
                    *node = Node::map([("service", node.clone())]);
                }
            }
            Turn::Gpus => match &node.data {
                Data::List(_) => self.inside(node, path),
                Data::Text(_) => node.data = Data::List(vec![Node::map([("count", "all".into())])]),
                _ => self.unfit(node, path, "gpus"),
            },
            Turn::Keys => {
                if let Data::List(list) = &node.data {
                    let key = |entry: &Node| {
                        (entry.plain(), Node { data: Data::Null, at: entry.at, key: entry.at })
                    };
                    node.data = Data::Map(list.iter().map(key).collect());
                }
            }
            Turn::Volume => match &node.data {
                Data::Map(_) => {}
                Data::Text(spec) => match volume::parse(spec) {
                    Ok(long) => node.data = long.data,
                    Err(_) if self.lenient => {}
                    Err(message) => self.refuse(node, message),
                },
                _ => self.unfit(node, path, "service volume mount"),
            },
            Turn::Device => self.device(node, path),
            Turn::Ports => self.ports(node, path),
            Turn::Build => match &node.data {
                Data::Map(_) => self.inside(node, path),
                Data::Text(_) => *node = Node::map([("context", node.clone())]),
                _ => self.unfit(node, path, "build"),
            },
            Turn::Ssh => self.ssh(node),
            Turn::Ulimit => {
                if !matches!(node.data, Data::Map(_) | Data::Int(_)) && !self.lenient {
                    self.unfit(node, path, "external");
                }
            }
            Turn::External => self.external(node, path),
            Turn::Include => {
                if node.as_text().is_some() {
                    *node = Node::map([("path", node.clone())]);
                }
            }
        }
    }

    fn key_value(&mut self, node: &mut Node, path: &Path) {
        let Data::List(list) = &node.data else { return };
        let mut map = Map::new();
        for entry in list.clone() {
            let line = entry.plain();
            match line.split_once('=') {
                Some((key, value)) => {
                    map.insert(key.to_owned(), entry.with(Data::Text(value.to_owned())));
                }
                None if self.lenient => return,
                None => {
                    return self.refuse(&entry, format!("{path}: invalid value {line}, expected key=value"));
                }
            }
        }
        node.data = Data::Map(map);
    }

    fn depends_on(&mut self, node: &mut Node, path: &Path) {
        match &mut node.data {
            Data::Map(map) => {
                for (name, entry) in map.clone() {
                    let Some(set) = map.get_mut(&name).and_then(Node::as_map_mut) else {
                        return self
                            .refuse(&entry, format!("{path}.{name}: unsupported value {}", entry.plain()));
                    };
                    set.entry("condition".to_owned()).or_insert("service_started".into());
                    set.entry("required".to_owned()).or_insert(true.into());
                }
            }
            Data::List(list) => {
                let entry = |entry: &Node| {
                    let started =
                        Node::map([("condition", "service_started".into()), ("required", true.into())]);
                    (entry.plain(), Node { at: entry.at, key: entry.at, ..started })
                };
                node.data = Data::Map(list.iter().map(entry).collect());
            }
            _ => self.unfit(node, path, "depend_on"),
        }
    }

    fn device(&mut self, node: &mut Node, path: &Path) {
        let Data::Text(spec) = &node.data else {
            if node.as_map().is_none() {
                self.unfit(node, path, "service volume mount");
            }
            return;
        };
        let parts: Vec<&str> = spec.split(':').collect();
        let (source, target, permissions) = match parts.as_slice() {
            [source] => (*source, *source, "rwm"),
            [source, target] => (*source, *target, "rwm"),
            [source, target, permissions] => (*source, *target, *permissions),
            _ if self.lenient => ("", "", "rwm"),
            _ => {
                let message = format!("confusing device mapping, please use long syntax: {spec}");
                return self.refuse(&node.clone(), message);
            }
        };
        let target = if target.is_empty() { source } else { target };
        let entries =
            [("source", source.into()), ("target", target.into()), ("permissions", permissions.into())];
        *node = Node::map(entries);
    }

    fn ports(&mut self, node: &mut Node, path: &Path) {
        let Data::List(list) = &node.data else { return self.unfit(node, path, "port") };
        let mut ports = Vec::with_capacity(list.len());
        for entry in list.clone() {
            match &entry.data {
                Data::Map(_) => ports.push(entry),
                Data::Text(_) | Data::Int(_) => match port::parse(&entry.plain()) {
                    Ok(parsed) => {
                        ports.extend(parsed.into_iter().map(|port| Node {
                            at: entry.at,
                            key: entry.key,
                            ..port
                        }));
                    }
                    Err(_) if self.lenient => return,
                    Err(message) => self.refuse(&entry, message),
                },
                _ => self.unfit(&entry, path, "port"),
            }
        }
        node.data = Data::List(ports);
    }

    fn ssh(&mut self, node: &mut Node) {
        let Data::List(list) = &node.data else { return };
        let mut keys = Map::new();
        for entry in list.clone() {
            let line = entry.plain();
            match line.split_once('=') {
                Some((id, path)) => keys.insert(id.to_owned(), entry.with(Data::Text(path.to_owned()))),
                None if line == "default" => keys.insert(line, entry.with(Data::Null)),
                None => return self.refuse(&entry, format!("invalid ssh key {line:?}")),
            };
        }
        node.data = Data::Map(keys);
    }

    /// `external: {name: x}` of old.
    fn external(&mut self, node: &mut Node, path: &Path) {
        if node.as_map().is_none() {
            return;
        }
        self.inside(node, path);
        let place = Place::of(node.spot(), self.files);
        let Some(map) = node.as_map_mut() else { return };
        let Some(external) = map.get("external").filter(|external| external.as_map().is_some()).cloned()
        else {
            return;
        };
        map.insert("external".to_owned(), external.with(Data::Bool(true)));
        let Some(name) = external.get("name") else { return };
        let message = format!("{path}: external.name is deprecated. Please set name and external: true");
        self.warnings.push(Fault::at(place, message));
        match map.get("name") {
            None => {
                map.insert("name".to_owned(), name.clone());
            }
            Some(other) if other == name => {}
            Some(_) => {
                let message = format!("{path}: name and external.name conflict; only use name");
                self.refuse(name, message);
            }
        }
    }
}

fn env_file(node: Node) -> Node {
    match node.data {
        Data::Map(mut map) => {
            map.entry("required".to_owned()).or_insert(true.into());
            Node { data: Data::Map(map), ..node }
        }
        Data::Text(_) => {
            let (at, key) = (node.at, node.key);
            Node { at, key, ..Node::map([("path", node), ("required", true.into())]) }
        }
        _ => node,
    }
}

/// Removes empty DNS servers, which variables leave behind.
pub(crate) fn omit_empty(node: &mut Node) {
    let Some(services) = node.as_map_mut().and_then(|map| map.get_mut("services")).and_then(Node::as_map_mut)
    else {
        return;
    };
    for service in services.values_mut() {
        if let Some(dns) = service.as_map_mut().and_then(|map| map.get_mut("dns"))
            && let Data::List(list) = &mut dns.data
        {
            list.retain(|entry| !entry.is_null() && entry.as_text() != Some(""));
        }
    }
}

/// What is missing gets its default (compose-go `transform/defaults.go`).
pub(crate) fn defaults(node: &mut Node) {
    let Some(services) = node.as_map_mut().and_then(|map| map.get_mut("services")).and_then(Node::as_map_mut)
    else {
        return;
    };
    let default = |map: &mut Map, key: &str, value: &str| {
        map.entry(key.to_owned()).or_insert(value.into());
    };
    for service in services.values_mut() {
        let Some(service) = service.as_map_mut() else { continue };
        if let Some(build) = service.get_mut("build").and_then(Node::as_map_mut) {
            default(build, "context", ".");
        }
        for secret in each(service.get_mut("secrets")) {
            let target = format!("/run/secrets/{}", secret.get("source").map_or(String::new(), Node::plain));
            default(secret, "target", &target);
        }
        for port in each(service.get_mut("ports")) {
            default(port, "protocol", "tcp");
            default(port, "mode", "ingress");
        }
        for device in each(service.get_mut("gpus")) {
            all_devices(device);
        }
        let mut at = service.get_mut("deploy");
        for key in ["resources", "reservations", "devices"] {
            at = at.and_then(Node::as_map_mut).and_then(|map| map.get_mut(key));
        }
        for device in each(at) {
            all_devices(device);
        }
    }
}

fn all_devices(device: &mut Map) {
    if !device.contains_key("device_ids") {
        device.entry("count".to_owned()).or_insert("all".into());
    }
}

/// The mappings of a list.
fn each(node: Option<&mut Node>) -> Vec<&mut Map> {
    match node.map(|node| &mut node.data) {
        Some(Data::List(list)) => list.iter_mut().filter_map(Node::as_map_mut).collect(),
        _ => Vec::new(),
    }
}
