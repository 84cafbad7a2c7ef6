//! A JSON value that keeps the order of its fields, with what templates need beyond: Go's printing.
//!
//! Docker's command line prints Go values. A Go struct prints as `{a b}`, a map as `map[k:v]`; JSON
//! tells them apart only by convention, so [`Value::Map`] is what a key of free choice leads to.

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use std::fmt;

/// A value.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) enum Value {
    /// Nothing.
    #[default]
    Null,
    /// What a map gives for a key that it has not.
    Absent,
    /// A list that was never made: null in JSON, `[]` when printed.
    NilList,
    /// A map that was never made: null in JSON, `map[]` when printed.
    NilMap,
    /// True or false.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A number beyond that.
    Float(f64),
    /// A text.
    Text(String),
    /// A sequence.
    List(Vec<Value>),
    /// Keys that users choose.
    Map(Vec<(String, Value)>),
    /// Fields that a type declares.
    Struct(Vec<(String, Value)>),
}

/// What an absent field reads as.
static NULL: Value = Value::Null;

impl Value {
    /// The field at `path` (`State.Health.Status`), or null.
    pub(crate) fn at(&self, path: &str) -> &Value {
        path.split('.').fold(self, |value, key| value.at_key(key))
    }

    /// The field of that very name, dots and all, or null.
    pub(crate) fn at_key(&self, key: &str) -> &Value {
        self.entries().iter().find(|(known, _)| known == key).map_or(&NULL, |(_, value)| value)
    }

    /// A text at `path`; empty when it is none.
    pub(crate) fn text(&self, path: &str) -> &str {
        match self.at_key(path) {
            Value::Text(text) => text,
            _ => self.at(path).as_text(),
        }
    }

    /// A whole number at `path`; zero when it is none.
    pub(crate) fn int(&self, path: &str) -> i64 {
        match self.at(path) {
            Value::Int(number) => *number,
            Value::Float(number) => *number as i64,
            _ => 0,
        }
    }

    /// Whether `path` is true.
    pub(crate) fn bool(&self, path: &str) -> bool {
        matches!(self.at(path), Value::Bool(true))
    }

    /// The entries of the list at `path`.
    pub(crate) fn list(&self, path: &str) -> &[Value] {
        self.at(path).items()
    }

    /// The texts of the list at `path`.
    pub(crate) fn texts(&self, path: &str) -> Vec<&str> {
        self.list(path).iter().map(Value::as_text).collect()
    }

    /// Itself as a text; empty when it is none.
    pub(crate) fn as_text(&self) -> &str {
        match self {
            Value::Text(text) => text,
            _ => "",
        }
    }

    /// Its entries, when it is a list.
    pub(crate) fn items(&self) -> &[Value] {
        match self {
            Value::List(items) => items,
            _ => &[],
        }
    }

    /// Its fields, when it has some.
    pub(crate) fn entries(&self) -> &[(String, Value)] {
        match self {
            Value::Map(entries) | Value::Struct(entries) => entries,
            _ => &[],
        }
    }

    /// Whether it is nothing.
    pub(crate) fn is_null(&self) -> bool {
        matches!(self, Value::Null | Value::Absent | Value::NilList | Value::NilMap)
    }

    /// Sets a field of a struct or map, or adds it.
    pub(crate) fn set(&mut self, key: &str, value: Value) {
        if let Value::Map(entries) | Value::Struct(entries) = self {
            match entries.iter_mut().find(|(known, _)| known == key) {
                Some((_, old)) => *old = value,
                None => entries.push((key.to_owned(), value)),
            }
        }
    }

    /// Compact JSON as Go writes it; `escape` also writes `<`, `>` and `&` as Go's default does.
    pub(crate) fn to_json(&self, escape: bool) -> String {
        let mut json = String::new();
        self.write_json(&mut json, escape);
        json
    }

    fn write_json(&self, out: &mut String, escape: bool) {
        match self {
            Value::Null | Value::Absent | Value::NilList | Value::NilMap => out.push_str("null"),
            Value::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
            Value::Int(value) => out.push_str(&value.to_string()),
            Value::Float(value) => out.push_str(&value.to_string()),
            Value::Text(text) => write_json_text(out, text, escape),
            Value::List(items) => {
                out.push('[');
                for (at, item) in items.iter().enumerate() {
                    if at > 0 {
                        out.push(',');
                    }
                    item.write_json(out, escape);
                }
                out.push(']');
            }
            Value::Map(entries) | Value::Struct(entries) => {
                out.push('{');
                for (at, (key, value)) in entries.iter().enumerate() {
                    if at > 0 {
                        out.push(',');
                    }
                    write_json_text(out, key, escape);
                    out.push(':');
                    value.write_json(out, escape);
                }
                out.push('}');
            }
        }
    }
}

/// A JSON string, escaped as Go's encoder does.
fn write_json_text(out: &mut String, text: &str, escape: bool) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '<' | '>' | '&' if escape => out.push_str(&format!("\\u{:04x}", c as u32)),
            '\u{2028}' | '\u{2029}' => out.push_str(&format!("\\u{:04x}", c as u32)),
            c if (c as u32) < 0x20 => out.push_str(&format!("\\u{:04x}", c as u32)),
            c => out.push(c),
        }
    }
    out.push('"');
}

/// Lays compact or loose JSON out over lines, its tokens untouched.
pub(crate) fn indent(json: &str, unit: &str) -> String {
    let mut out = String::with_capacity(json.len() * 2);
    let (mut depth, mut quoted, mut escaped, mut fresh) = (0usize, false, false, false);
    let line = |out: &mut String, depth: usize| {
        out.push('\n');
        (0..depth).for_each(|_| out.push_str(unit));
    };
    for c in json.chars() {
        if quoted {
            out.push(c);
            quoted = c != '"' || escaped;
            escaped = c == '\\' && !escaped;
            continue;
        }
        if c.is_ascii_whitespace() {
            continue;
        }
        if fresh && c != '}' && c != ']' {
            line(&mut out, depth);
        }
        match c {
            '{' | '[' => {
                depth += 1;
                out.push(c);
            }
            '}' | ']' => {
                depth = depth.saturating_sub(1);
                if !fresh {
                    line(&mut out, depth);
                }
                out.push(c);
            }
            ',' => {
                out.push(c);
                line(&mut out, depth);
            }
            ':' => out.push_str(": "),
            _ => {
                quoted = c == '"';
                out.push(c);
            }
        }
        fresh = c == '{' || c == '[';
    }
    out
}

/// Fields of the API whose keys are free: Go maps, where other objects are Go structs.
const MAPS: &[&str] = &[
    "Labels",
    "Options",
    "Sysctls",
    "PortBindings",
    "Ports",
    "ExposedPorts",
    "Volumes",
    "Networks",
    "Config",
    "Annotations",
    "StorageOpt",
    "Tmpfs",
    "Containers",
    "DriverOpts",
    "Data",
    "Attributes",
    "Opts",
    "RegistryConfig",
    "IndexConfigs",
    "Runtimes",
    "Status",
    "Details",
    "AuxiliaryAddresses",
    "AuxAddress",
    "HttpHeaders",
    "Endpoints",
];

/// Fields of the API that are lists, also where they are null.
const LISTS: &[&str] = &[
    "Binds",
    "CapAdd",
    "CapDrop",
    "Dns",
    "DnsOptions",
    "DnsSearch",
    "ExtraHosts",
    "GroupAdd",
    "Links",
    "SecurityOpt",
    "VolumesFrom",
    "Devices",
    "DeviceRequests",
    "DeviceCgroupRules",
    "BlkioWeightDevice",
    "BlkioDeviceReadBps",
    "BlkioDeviceWriteBps",
    "BlkioDeviceReadIOps",
    "BlkioDeviceWriteIOps",
    "Ulimits",
    "Entrypoint",
    "Cmd",
    "Env",
    "OnBuild",
    "Shell",
    "ExecIDs",
    "Aliases",
    "DNSNames",
    "RepoTags",
    "RepoDigests",
    "MaskedPaths",
    "ReadonlyPaths",
    "Mounts",
    "Args",
    "Layers",
    "Warnings",
];

/// Fields above that are structs all the same, told by a field that they have.
fn is_struct_after_all(key: &str, fields: &[(String, Value)]) -> bool {
    let has = |name: &str| fields.iter().any(|(known, _)| known == name);
    match key {
        "Config" => has("Image") || has("Entrypoint") || has("Subnet"),
        "Status" => has("State"),
        _ => false,
    }
}

/// Tells maps from structs by the keys that lead to them.
fn classify(key: &str, value: Value) -> Value {
    match value {
        Value::Null if MAPS.contains(&key) => Value::NilMap,
        Value::Null if LISTS.contains(&key) => Value::NilList,
        Value::Struct(fields) if MAPS.contains(&key) && !is_struct_after_all(key, &fields) => {
            Value::Map(fields)
        }
        value => value,
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Value;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("JSON")
            }
            fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
                Ok(Value::Bool(value))
            }
            fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
                Ok(Value::Int(value))
            }
            fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
                Ok(i64::try_from(value).map_or(Value::Float(value as f64), Value::Int))
            }
            fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
                Ok(Value::Float(value))
            }
            fn visit_str<E>(self, value: &str) -> Result<Value, E> {
                Ok(Value::Text(value.to_owned()))
            }
            fn visit_string<E>(self, value: String) -> Result<Value, E> {
                Ok(Value::Text(value))
            }
            fn visit_unit<E>(self) -> Result<Value, E> {
                Ok(Value::Null)
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
                let mut list = Vec::new();
                while let Some(item) = items.next_element()? {
                    list.push(item);
                }
                Ok(Value::List(list))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
                let mut fields = Vec::new();
                while let Some((key, value)) = entries.next_entry::<String, Value>()? {
                    let value = classify(&key, value);
                    fields.push((key, value));
                }
                Ok(Value::Struct(fields))
            }
        }
        deserializer.deserialize_any(Any)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Value::Text(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Value::Text(text)
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Value::Bool(value)
    }
}

impl From<i64> for Value {
    fn from(value: i64) -> Self {
        Value::Int(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(json: &str) -> Value {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn order_and_escapes_survive() {
        let json = r#"{"b":1,"a":["x<y>",null,true,-2.5],"c":{}}"#;
        assert_eq!(parse(json).to_json(false), json);
        assert_eq!(parse(r#"{"a":"x<y"}"#).to_json(true), r#"{"a":"x\u003cy"}"#);
    }

    #[test]
    fn indenting_leaves_tokens_alone() {
        assert_eq!(
            indent(r#"{"a":[1,2],"b":{},"c":[],"d":"x{\",y"}"#, "  "),
            "{\n  \"a\": [\n    1,\n    2\n  ],\n  \"b\": {},\n  \"c\": [],\n  \"d\": \"x{\\\",y\"\n}"
        );
    }

    #[test]
    fn paths_lead_to_fields() {
        let value = parse(r#"{"A":{"B":{"C":"x"}},"L":[1]}"#);
        assert_eq!((value.text("A.B.C"), value.text("A.X.C"), value.list("L").len()), ("x", "", 1));
    }
}
