//! The tree of a compose file before it has types: values, and where each was written. Pure.

use crate::value::Value;
use std::collections::BTreeMap;

/// Where something was written. Lines and columns count from 1; line 0 is nowhere.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Spot {
    /// Which of the loader's files.
    pub file: u16,
    /// The line.
    pub line: u32,
    /// The column.
    pub column: u32,
}

/// A mapping by key.
pub(crate) type Map = BTreeMap<String, Node>;

/// What a node holds.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Data {
    Null,
    Bool(bool),
    Int(i64),
    /// One that is too large for that.
    Large(u64),
    Float(f64),
    Text(String),
    /// A date, which no attribute takes.
    Time(String),
    List(Vec<Node>),
    Map(Map),
}

/// A value and its places.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    /// The value.
    pub data: Data,
    /// Where the value stands.
    pub at: Spot,
    /// Where its key stands, if it has one.
    pub key: Spot,
}

/// Equal where the values are: compose compares without places.
impl PartialEq for Node {
    fn eq(&self, other: &Self) -> bool {
        self.data == other.data
    }
}

impl From<Data> for Node {
    fn from(data: Data) -> Self {
        Node { data, at: Spot::default(), key: Spot::default() }
    }
}

impl From<&str> for Node {
    fn from(text: &str) -> Self {
        Data::Text(text.to_owned()).into()
    }
}

impl From<bool> for Node {
    fn from(yes: bool) -> Self {
        Data::Bool(yes).into()
    }
}

impl Node {
    /// A mapping of some entries.
    pub(crate) fn map<const N: usize>(entries: [(&str, Node); N]) -> Self {
        Data::Map(entries.map(|(key, node)| (key.to_owned(), node)).into()).into()
    }

    /// The same places with another value.
    pub(crate) fn with(&self, data: Data) -> Self {
        Node { data, at: self.at, key: self.key }
    }

    pub(crate) fn is_null(&self) -> bool {
        matches!(self.data, Data::Null)
    }

    pub(crate) fn as_text(&self) -> Option<&str> {
        match &self.data {
            Data::Text(text) => Some(text),
            _ => None,
        }
    }

    pub(crate) fn as_map(&self) -> Option<&Map> {
        match &self.data {
            Data::Map(map) => Some(map),
            _ => None,
        }
    }

    pub(crate) fn as_map_mut(&mut self) -> Option<&mut Map> {
        match &mut self.data {
            Data::Map(map) => Some(map),
            _ => None,
        }
    }

    pub(crate) fn as_list(&self) -> Option<&[Node]> {
        match &self.data {
            Data::List(list) => Some(list),
            _ => None,
        }
    }

    /// The value of a key of a mapping.
    pub(crate) fn get(&self, key: &str) -> Option<&Node> {
        self.as_map()?.get(key)
    }

    /// The best place to point at: the key's, or the value's.
    pub(crate) fn spot(&self) -> Spot {
        match self.key.line {
            0 => self.at,
            _ => self.key,
        }
    }

    /// As Go's `fmt.Sprint` prints it; null is nothing.
    pub(crate) fn plain(&self) -> String {
        match &self.data {
            Data::Null => String::new(),
            _ => self.value().sprint(),
        }
    }

    /// The type's name in Go's messages.
    pub(crate) fn go_type(&self) -> &'static str {
        match self.data {
            Data::Null => "<nil>",
            Data::Bool(_) => "bool",
            Data::Int(_) => "int",
            Data::Large(_) => "uint64",
            Data::Float(_) => "float64",
            Data::Text(_) => "string",
            Data::Time(_) => "time.Time",
            Data::List(_) => "[]interface {}",
            Data::Map(_) => "map[string]interface {}",
        }
    }

    /// Without places.
    pub(crate) fn value(&self) -> Value {
        match &self.data {
            Data::Null => Value::Null,
            Data::Bool(yes) => Value::Bool(*yes),
            Data::Int(n) => Value::Int(*n),
            Data::Large(n) => Value::Large(*n),
            Data::Float(x) => Value::Float(*x),
            Data::Text(text) => Value::Text(text.clone()),
            Data::Time(text) => Value::Moment(rfc3339(text)),
            Data::List(list) => Value::List(list.iter().map(Node::value).collect()),
            Data::Map(map) => Value::Map(map.iter().map(|(key, node)| (key.clone(), node.value())).collect()),
        }
    }
}

/// A date, or a date and a time, of YAML as RFC 3339 has it.
fn rfc3339(text: &str) -> String {
    let mut text = text.replacen(['t', ' '], "T", 1);
    if !text.contains('T') {
        text.push_str("T00:00:00");
    }
    let time = text.find('T').map_or("", |at| &text[at..]);
    if !time.contains(['Z', '+', '-']) {
        text.push('Z');
    }
    text
}
