//! Quantities and words of a compose file: durations, bytes, modes, commands. Pure.

use super::shape::{Form, Part, Reader, fits};
use crate::{
    node::{Data, Node},
    text,
    value::Value,
};
use minke_model::go;
use std::collections::BTreeMap;

/// A duration in nanoseconds. Written and printed as Go does: `1m30s`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Duration(pub i64);

impl Duration {
    /// As the standard library's; a negative one is none.
    pub fn to_std(self) -> std::time::Duration {
        std::time::Duration::from_nanos(u64::try_from(self.0).unwrap_or(0))
    }
}

impl Part for Duration {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Self {
        let text = node.plain();
        match go::parse_duration(&text) {
            Ok(nanos) => Duration(nanos),
            // Days and weeks are compose's own.
            Err(sentence) => match text::duration(&text) {
                Some(nanos) => Duration(nanos),
                None => reader.refuse(node, sentence),
            },
        }
    }
    fn show(&self, _: Form) -> Value {
        Value::Text(go::format_duration(self.0))
    }
    fn is_empty(&self, _: Form) -> bool {
        self.0 == 0
    }
}

/// A number of bytes. Read with units of 1024 (`64m`), printed as a string of digits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bytes(pub i64);

impl Part for Bytes {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Self {
        match &node.data {
            Data::Int(n) => Bytes(*n),
            Data::Text(word) => match text::bytes(word) {
                Ok(bytes) => Bytes(bytes),
                Err(message) => reader.refuse(node, message),
            },
            _ => Bytes(0),
        }
    }
    fn show(&self, _: Form) -> Value {
        Value::Text(self.0.to_string())
    }
    fn is_empty(&self, _: Form) -> bool {
        self.0 == 0
    }
}

/// The mode of a file: octal where it is written as a string.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FileMode(pub i64);

impl Part for FileMode {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Self {
        match &node.data {
            Data::Int(n) => FileMode(*n),
            Data::Text(word) => match i64::from_str_radix(word, 8) {
                Ok(mode) => FileMode(mode),
                Err(_) => reader.refuse(node, format!("strconv.ParseInt: parsing {word:?}: invalid syntax")),
            },
            _ => reader.refuse(node, format!("unexpected value type {} for mode", node.go_type())),
        }
    }
    fn show(&self, _: Form) -> Value {
        Value::Text(format!("0{:o}", self.0))
    }
    fn is_empty(&self, _: Form) -> bool {
        self.0 == 0
    }
}

/// How many devices: −1 is all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DeviceCount(pub i64);

impl Part for DeviceCount {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Self {
        match &node.data {
            Data::Int(n) => DeviceCount(*n),
            Data::Text(word) if word.eq_ignore_ascii_case("all") => DeviceCount(-1),
            Data::Text(word) => match word.parse() {
                Ok(n) => DeviceCount(n),
                Err(_) => reader.refuse(
                    node,
                    format!("invalid value {word:?}, the only value allowed is 'all' or a number"),
                ),
            },
            _ => reader.refuse(node, format!("invalid type {} for device count", node.go_type())),
        }
    }
    fn show(&self, _: Form) -> Value {
        Value::Int(self.0)
    }
    fn is_empty(&self, _: Form) -> bool {
        self.0 == 0
    }
}

/// A command. None leaves the image's; an empty list takes it away.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ShellWords(pub Option<Vec<String>>);

impl Part for ShellWords {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Self {
        match &node.data {
            Data::Text(line) => match text::shell_words(line) {
                Ok(words) => ShellWords(Some(words)),
                Err(message) => reader.refuse(node, message.to_owned()),
            },
            Data::List(list) => ShellWords(Some(list.iter().map(Node::plain).collect())),
            _ => ShellWords(None),
        }
    }
    fn show(&self, _: Form) -> Value {
        match &self.0 {
            None => Value::Null,
            Some(words) => Value::List(words.iter().cloned().map(Value::Text).collect()),
        }
    }
    fn is_empty(&self, _: Form) -> bool {
        self.0.is_none()
    }
}

/// The test of a health check: its first word is `CMD`, `CMD-SHELL` or `NONE`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Probe(pub Vec<String>);

impl Part for Probe {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Self {
        match &node.data {
            Data::Text(line) => Probe(vec!["CMD-SHELL".to_owned(), line.clone()]),
            Data::List(_) => Probe(Vec::read(node, reader)),
            _ => {
                reader.refuse(node, format!("unexpected value type {} for healthcheck.test", node.go_type()))
            }
        }
    }
    fn show(&self, form: Form) -> Value {
        self.0.show(form)
    }
    fn is_empty(&self, _: Form) -> bool {
        self.0.is_empty()
    }
}

/// Addresses by host name, for `/etc/hosts`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hosts(pub BTreeMap<String, Vec<String>>);

impl Hosts {
    /// Each as `host<separator>address`, sorted as text.
    pub fn lines(&self, separator: &str) -> Vec<String> {
        let mut lines: Vec<String> = (self.0.iter())
            .flat_map(|(host, addresses)| addresses.iter().map(move |ip| format!("{host}{separator}{ip}")))
            .collect();
        lines.sort();
        lines
    }
}

impl Part for Hosts {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Self {
        let mut hosts: BTreeMap<String, Vec<String>> = BTreeMap::new();
        match &node.data {
            Data::Map(map) => {
                for (host, value) in map {
                    let addresses = match &value.data {
                        Data::Null => vec![String::new()],
                        Data::Text(one) => vec![one.clone()],
                        Data::List(list) => list.iter().map(Node::plain).collect(),
                        _ => {
                            let message =
                                "unexpected value type map[string]interface {} for extra_hosts entry";
                            return reader.refuse(value, message.to_owned());
                        }
                    };
                    hosts.insert(host.clone(), addresses);
                }
            }
            Data::List(list) => {
                for entry in list {
                    let line = entry.plain();
                    let Some((host, ips)) = line.split_once('=').or_else(|| line.split_once(':')) else {
                        return reader.refuse(entry, format!("invalid additional host, missing IP: {line}"));
                    };
                    hosts.entry(host.to_owned()).or_default().extend(ips.split(',').map(str::to_owned));
                }
            }
            _ => {
                return reader
                    .refuse(node, format!("unexpected value type {} for extra_hosts", node.go_type()));
            }
        }
        for (host, addresses) in &mut hosts {
            if host.is_empty() || host.contains([':', '=']) {
                return reader.refuse(node, format!("bad host name '{host}'"));
            }
            for ip in addresses {
                if ip.len() > 2 && ip.starts_with('[') && ip.ends_with(']') {
                    *ip = ip[1..ip.len() - 1].to_owned();
                }
            }
        }
        Hosts(hosts)
    }
    fn show(&self, _: Form) -> Value {
        Value::List(self.lines("=").into_iter().map(Value::Text).collect())
    }
    fn is_empty(&self, _: Form) -> bool {
        self.0.is_empty()
    }
}

impl Part for bool {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Self {
        match &node.data {
            Data::Bool(yes) => *yes,
            Data::Text(word) => match text::boolean(word) {
                Some(yes) => yes,
                None => reader.refuse(node, format!("invalid boolean: {word}")),
            },
            _ => reader.mismatch(node, "bool"),
        }
    }
    fn show(&self, _: Form) -> Value {
        Value::Bool(*self)
    }
    fn is_empty(&self, _: Form) -> bool {
        !self
    }
}

macro_rules! integer {
    ($($kind:ty),*) => { $(
        impl Part for $kind {
            fn read(node: &Node, reader: &mut Reader<'_>) -> Self {
                match &node.data {
                    Data::Int(n) => fits(*n, node, reader, stringify!($kind)),
                    Data::Float(x) if x.fract() == 0.0 && x.abs() < 9e15 => fits(*x as i64, node, reader, stringify!($kind)),
                    Data::Text(word) => match word.parse::<i64>() {
                        Ok(n) => fits(n, node, reader, stringify!($kind)),
                        Err(_) => reader.mismatch(node, stringify!($kind)),
                    },
                    _ => reader.mismatch(node, stringify!($kind)),
                }
            }
            fn show(&self, _: Form) -> Value {
                Value::Int(i64::try_from(*self).unwrap_or(i64::MAX))
            }
            fn is_empty(&self, _: Form) -> bool {
                *self == 0
            }
        }
    )* };
}
integer!(i64, u64, u32, u16);

impl Part for f32 {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Self {
        match &node.data {
            Data::Int(n) => *n as f32,
            Data::Float(x) => *x as f32,
            Data::Text(word) => match word.parse() {
                Ok(x) => x,
                Err(_) => {
                    reader.refuse(node, format!("strconv.ParseFloat: parsing {word:?}: invalid syntax"))
                }
            },
            _ => reader.mismatch(node, "float32"),
        }
    }
    fn show(&self, _: Form) -> Value {
        Value::Single(*self)
    }
    fn is_empty(&self, _: Form) -> bool {
        *self == 0.0
    }
}

impl Part for String {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Self {
        match &node.data {
            Data::List(_) | Data::Map(_) => reader.mismatch(node, "string"),
            _ => node.plain(),
        }
    }
    fn show(&self, _: Form) -> Value {
        Value::Text(self.clone())
    }
    fn is_empty(&self, _: Form) -> bool {
        String::is_empty(self)
    }
}
