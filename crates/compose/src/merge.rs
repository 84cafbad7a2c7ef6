//! One tree over another: what a later file says wins, with a rule for each attribute where that is not enough
//! (compose-go `override/merge.go`). Pure.

use crate::{
    error::{Fault, Place},
    node::{Data, Map, Node},
    path::Path,
};

/// How an attribute is merged where replacing a value and joining lists and mappings will not do.
#[derive(Clone, Copy)]
enum How {
    /// The later one alone.
    Override,
    /// Both as lists of `KEY=VALUE`; what stands twice is sorted out later.
    Sequence,
    /// The same, without what stands twice as a whole.
    Hosts,
    /// A text stands for its context.
    Build,
    /// A list stands for a mapping to these.
    Dependencies,
    /// A list stands for a mapping to nothing.
    Keys,
    /// Options only join where the driver is the same.
    Logging,
    /// By subnet.
    Pools,
}

const SPECIAL: &[(&str, How)] = &[
    ("networks.*.ipam.config", How::Pools),
    ("networks.*.labels", How::Sequence),
    ("volumes.*.labels", How::Sequence),
    ("services.*.annotations", How::Sequence),
    ("services.*.build", How::Build),
    ("services.*.build.args", How::Sequence),
    ("services.*.build.additional_contexts", How::Sequence),
    ("services.*.build.extra_hosts", How::Hosts),
    ("services.*.build.labels", How::Sequence),
    ("services.*.command", How::Override),
    ("services.*.depends_on", How::Dependencies),
    ("services.*.deploy.labels", How::Sequence),
    ("services.*.dns", How::Sequence),
    ("services.*.dns_opt", How::Sequence),
    ("services.*.dns_search", How::Sequence),
    ("services.*.entrypoint", How::Override),
    ("services.*.env_file", How::Sequence),
    ("services.*.label_file", How::Sequence),
    ("services.*.environment", How::Sequence),
    ("services.*.extra_hosts", How::Hosts),
    ("services.*.healthcheck.test", How::Override),
    ("services.*.labels", How::Sequence),
    ("services.*.logging", How::Logging),
    ("services.*.models", How::Keys),
    ("services.*.networks", How::Keys),
    ("services.*.sysctls", How::Sequence),
    ("services.*.tmpfs", How::Sequence),
    ("services.*.ulimits.*", How::Override),
];

/// `over` over `base`. `files` are the names that places count.
pub(crate) fn merge(base: Node, over: Node, path: &Path, files: &[String]) -> Result<Node, Fault> {
    let key = if over.key.line > 0 { over.key } else { base.key };
    let merged = match path.find(SPECIAL) {
        Some(how) => special(*how, base, over, path, files)?,
        None => plain(base, over, path, files)?,
    };
    Ok(Node { key, ..merged })
}

fn plain(base: Node, over: Node, path: &Path, files: &[String]) -> Result<Node, Fault> {
    match (base.data, over.data) {
        (data, Data::Null) => Ok(Node { data, at: base.at, key: base.key }),
        (Data::Map(map), Data::Map(other)) => {
            Ok(Node { data: Data::Map(mappings(map, other, path, files)?), at: over.at, key: over.key })
        }
        (Data::List(mut list), Data::List(other)) => {
            list.extend(other);
            Ok(Node { data: Data::List(list), at: over.at, key: over.key })
        }
        (Data::Map(_) | Data::List(_), _) => {
            Err(Fault::at(Place::of(over.at, files), format!("cannot override {path}")))
        }
        (_, data) => Ok(Node { data, at: over.at, key: over.key }),
    }
}

/// Key by key.
fn mappings(mut map: Map, other: Map, path: &Path, files: &[String]) -> Result<Map, Fault> {
    for (key, node) in other {
        let merged = match map.remove(&key) {
            None => node,
            Some(base) => merge(base, node, &path.next(&key), files)?,
        };
        map.insert(key, merged);
    }
    Ok(map)
}

fn special(how: How, base: Node, over: Node, path: &Path, files: &[String]) -> Result<Node, Fault> {
    let at = over.with(Data::Null);
    let data = match how {
        How::Override => return Ok(over),
        How::Sequence => {
            let mut list = sequence(base);
            list.extend(sequence(over));
            Data::List(list)
        }
        How::Hosts => {
            let mut list = sequence(base);
            for entry in sequence(over) {
                if !list.contains(&entry) {
                    list.push(entry);
                }
            }
            Data::List(list)
        }
        How::Build => Data::Map(mappings(build(base), build(over), path, files)?),
        How::Dependencies => {
            let started = || Node::map([("condition", "service_started".into()), ("required", true.into())]);
            Data::Map(mappings(mapping(base, &started), mapping(over, &started), path, files)?)
        }
        How::Keys => {
            let nothing = || Node::from(Data::Null);
            Data::Map(mappings(mapping(base, &nothing), mapping(over, &nothing), path, files)?)
        }
        How::Logging => match (base.data, over.data) {
            (Data::Map(map), Data::Map(other)) => {
                let (one, two) = (map.get("driver"), other.get("driver"));
                match one == two || one.is_none() || two.is_none() {
                    true => Data::Map(mappings(map, other, path, files)?),
                    false => Data::Map(other),
                }
            }
            (_, other) => other,
        },
        How::Pools => match (base.data, over.data) {
            (Data::List(list), Data::List(other)) => Data::List(pools(list, other, path, files)?),
            (_, other) => {
                let kind = Node::from(other).go_type();
                return Err(Fault::at(Place::of(at.at, files), format!("{path}: unexpected type {kind}")));
            }
        },
    };
    Ok(Node { data, ..at })
}

/// As a list of `KEY=VALUE`.
fn sequence(node: Node) -> Vec<Node> {
    match node.data {
        Data::List(list) => list,
        Data::Text(_) => vec![node],
        Data::Map(map) => {
            let mut list: Vec<Node> = Vec::new();
            for (key, value) in map {
                let line = |text: String| Node { data: Data::Text(text), at: value.at, key: value.key };
                match &value.data {
                    Data::Null => list.push(line(key)),
                    Data::List(values) => {
                        list.extend(values.iter().map(|one| line(format!("{key}={}", one.value().sprint()))));
                    }
                    _ => list.push(line(format!("{key}={}", value.plain()))),
                }
            }
            list.sort_by(|a, b| a.as_text().cmp(&b.as_text()));
            list
        }
        _ => Vec::new(),
    }
}

/// As a mapping, where a list names its keys.
fn mapping(node: Node, default: &dyn Fn() -> Node) -> Map {
    match node.data {
        Data::Map(map) => map,
        Data::List(list) => {
            let entry = |node: Node| (node.plain(), Node { at: node.at, key: node.at, ..default() });
            list.into_iter().map(entry).collect()
        }
        _ => Map::new(),
    }
}

fn build(node: Node) -> Map {
    match node.data {
        Data::Map(map) => map,
        Data::Text(_) => [("context".to_owned(), node)].into(),
        _ => Map::new(),
    }
}

/// Address pools: those with one subnet become one.
fn pools(base: Vec<Node>, over: Vec<Node>, path: &Path, files: &[String]) -> Result<Vec<Node>, Fault> {
    let mut pools: Vec<Node> = Vec::new();
    let nothing = || Node::from(Data::Null);
    let subnet = |node: &Node| node.get("subnet").cloned();
    for original in base {
        // Merging changes what the next one is compared with.
        let mut right = original.with(Data::Map(mapping(original.clone(), &nothing)));
        for left in &over {
            let left = left.with(Data::Map(mapping(left.clone(), &nothing)));
            if subnet(&left) != subnet(&right) && !pools.iter().any(|pool| subnet(pool) == subnet(&left)) {
                pools.push(left);
                continue;
            }
            let (Data::Map(map), Data::Map(other)) = (right.data.clone(), left.data) else { continue };
            right.data = Data::Map(mappings(map, other, path, files)?);
            match pools.iter_mut().find(|pool| subnet(pool) == subnet(&right)) {
                Some(pool) => *pool = right.clone(),
                None => pools.push(right.clone()),
            }
        }
    }
    Ok(pools)
}
