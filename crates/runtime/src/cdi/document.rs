//! One description of devices, in JSON or YAML. Pure.

use super::{CdiError, Edits};
use saphyr_parser::{Event, Parser, ScalarStyle};
use serde::Deserialize;
use serde_json::{Map, Value};

/// So deep do descriptions nest at most.
const DEEPEST: usize = 16;

/// A file.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Document {
    /// `vendor.com/class`.
    kind: String,
    #[serde(default)]
    devices: Vec<Device>,
    /// What comes with any of its devices.
    #[serde(default)]
    container_edits: Edit,
}

/// One device of a file.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Device {
    name: String,
    #[serde(default)]
    container_edits: Edit,
}

/// What a device, or any device of a file, brings.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Edit {
    env: Vec<String>,
    device_nodes: Vec<Node>,
    mounts: Vec<Mount>,
    #[serde(rename = "additionalGids")]
    groups: Vec<u32>,
    hooks: Vec<Value>,
    intel_rdt: Option<Value>,
    net_devices: Vec<Value>,
}

/// A node of the host; its numbers are the host's.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Node {
    path: String,
    host_path: String,
    permissions: String,
}

/// A file or directory of the host.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Mount {
    host_path: String,
    container_path: String,
    options: Vec<String>,
    #[serde(rename = "type")]
    kind: String,
}

impl Document {
    pub(super) fn parse(text: &str, json: bool) -> Result<Self, String> {
        let tree: Value = match json {
            true => serde_json::from_str(text).map_err(|e| e.to_string())?,
            false => yaml(text)?,
        };
        let document: Self = serde_json::from_value(tree).map_err(|e| e.to_string())?;
        match document.kind.split_once('/') {
            Some((vendor, class)) if !vendor.is_empty() && !class.is_empty() => Ok(document),
            _ => Err(format!("its kind {:?} is not vendor/class", document.kind)),
        }
    }

    /// Its devices by their whole names.
    pub(super) fn devices(&self) -> impl Iterator<Item = (String, Edit)> {
        self.devices.iter().map(|d| (format!("{}={}", self.kind, d.name), d.container_edits.clone()))
    }

    /// What comes with any of them.
    pub(super) fn common(&self) -> Edit {
        self.container_edits.clone()
    }
}

impl Edit {
    /// Adds it to what a container gets by the device called `name`.
    pub(super) fn add_to(&self, edits: &mut Edits, name: &str) -> Result<(), CdiError> {
        let refuse =
            |what: &str| Err(CdiError::Unsupported { device: name.to_owned(), what: what.to_owned() });
        if !self.hooks.is_empty() {
            return refuse("hooks");
        }
        if self.intel_rdt.is_some() {
            return refuse("intelRdt");
        }
        if !self.net_devices.is_empty() {
            return refuse("netDevices");
        }
        edits.env.extend(self.env.iter().cloned());
        edits.groups.extend(self.groups.iter().copied().filter(|group| *group != 0));
        for node in &self.device_nodes {
            let or =
                |text: &str, other: &str| if text.is_empty() { other.to_owned() } else { text.to_owned() };
            let host = or(&node.host_path, &node.path);
            edits.nodes.push((host, node.path.clone(), or(&node.permissions, "rwm")));
        }
        for mount in &self.mounts {
            if !matches!(mount.kind.as_str(), "" | "bind" | "none") {
                return refuse(&format!("a mount of type {}", mount.kind));
            }
            let writable = !mount.options.iter().any(|option| option == "ro");
            edits.mounts.push((mount.host_path.clone(), mount.container_path.clone(), writable));
        }
        Ok(())
    }
}

/// A tree under construction: a list, or a map and the key that waits for its value.
enum Open {
    List(Vec<Value>),
    Map(Map<String, Value>, Option<String>),
}

/// The first document of a YAML text as a tree. Anchors are refused: nothing here needs them, and they can grow without end.
fn yaml(text: &str) -> Result<Value, String> {
    let mut open: Vec<Open> = Vec::new();
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|e| e.to_string())?;
        let whole = match event {
            Event::Alias(_) => return Err(format!("line {}: an alias", span.start.line())),
            Event::SequenceStart(..) => {
                open.push(Open::List(Vec::new()));
                None
            }
            Event::MappingStart(..) => {
                open.push(Open::Map(Map::new(), None));
                None
            }
            Event::Scalar(text, style, ..) => Some(scalar(&text, style == ScalarStyle::Plain)),
            Event::SequenceEnd | Event::MappingEnd => match open.pop() {
                Some(Open::List(list)) => Some(Value::Array(list)),
                Some(Open::Map(map, _)) => Some(Value::Object(map)),
                None => return Err("it ends what never began".into()),
            },
            Event::DocumentEnd | Event::StreamEnd => break,
            Event::Nothing | Event::StreamStart | Event::DocumentStart(_) => None,
        };
        if open.len() > DEEPEST {
            return Err(format!("line {}: it nests too deep", span.start.line()));
        }
        let Some(value) = whole else { continue };
        match open.last_mut() {
            None => return Ok(value),
            Some(Open::List(list)) => list.push(value),
            Some(Open::Map(map, key)) => match (key.take(), value) {
                (Some(key), value) => drop(map.insert(key, value)),
                (None, Value::String(name)) => *key = Some(name),
                (None, name) => *key = Some(name.to_string()),
            },
        }
    }
    Err("it is empty".into())
}

/// What a scalar means (YAML 1.2, core schema): only plain ones are anything but text.
fn scalar(text: &str, plain: bool) -> Value {
    match text {
        _ if !plain => Value::String(text.to_owned()),
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "true" | "True" | "TRUE" => Value::Bool(true),
        "false" | "False" | "FALSE" => Value::Bool(false),
        _ => text.parse::<i64>().map_or_else(|_| Value::String(text.to_owned()), Value::from),
    }
}
