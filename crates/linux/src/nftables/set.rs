//! Sets and maps: what rules look keys up in, and what a container's start changes.

use super::{
    Family,
    expression::{LIST_ELEMENT, Verdict, data},
};
use crate::netlink::Message;

const FLAG_INTERVAL: u32 = 0x4;
const FLAG_MAP: u32 = 0x8;
const FLAG_CONCAT: u32 = 0x80;
/// `NFT_DATA_VERDICT`.
const VERDICT_TYPE: u32 = 0xffff_ff00;
/// `NFT_SET_ELEM_INTERVAL_END`.
const INTERVAL_END: u32 = 1;
/// `TYPE_BITS` of libnftables: a concatenation's type is its parts' types, six bits each.
const TYPE_BITS: u32 = 6;

/// Attributes hold at most 64 kB; a list of elements is cut well below.
const LIST_LIMIT: usize = 32 * 1024;

/// One part of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    /// 4 bytes.
    Ipv4,
    /// 16 bytes.
    Ipv6,
    /// 1 byte, `IPPROTO_…`.
    Protocol,
    /// 2 bytes in the network's order.
    Port,
    /// 16 bytes, filled up with zeros.
    InterfaceName,
    /// 6 bytes.
    Ethernet,
    /// 4 bytes in the machine's order.
    Mark,
    /// 4 bytes in the machine's order.
    Number,
    /// 3 bytes in the network's order.
    Vni,
}

impl Type {
    /// libnftables' number.
    fn number(self) -> u32 {
        match self {
            Type::Ipv4 => 7,
            Type::Ipv6 => 8,
            Type::Protocol => 12,
            Type::Port => 13,
            Type::InterfaceName => 41,
            Type::Ethernet => 9,
            Type::Mark => 19,
            Type::Number | Type::Vni => 4,
        }
    }

    /// Bytes that matter.
    fn length(self) -> u32 {
        match self {
            Type::Ipv4 | Type::Mark | Type::Number => 4,
            Type::Ethernet => 6,
            Type::Vni => 3,
            Type::Ipv6 | Type::InterfaceName => 16,
            Type::Protocol => 1,
            Type::Port => 2,
        }
    }
}

fn number(parts: &[Type]) -> u32 {
    parts.iter().fold(0, |number, part| number << TYPE_BITS | part.number())
}

/// Bytes of a key or value; parts of a concatenation are padded to 4.
fn length(parts: &[Type]) -> u32 {
    match parts {
        [part] => part.length(),
        parts => parts.iter().map(|part| part.length().next_multiple_of(4)).sum(),
    }
}

/// A named set, or a map when it has values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Set {
    /// At most 31 bytes on old kernels.
    pub name: String,
    /// One part, or several concatenated.
    pub key: Vec<Type>,
    /// What a map's values are; empty for a set.
    pub value: Vec<Type>,
    /// A map whose values are verdicts.
    pub verdicts: bool,
    /// Keys may be ranges.
    pub intervals: bool,
}

impl Set {
    /// A set of single keys.
    pub fn of(name: &str, key: &[Type]) -> Self {
        Self {
            name: name.to_owned(),
            key: key.to_vec(),
            value: Vec::new(),
            verdicts: false,
            intervals: false,
        }
    }

    /// A map of single keys.
    pub fn map(name: &str, key: &[Type], value: &[Type]) -> Self {
        Self { value: value.to_vec(), ..Self::of(name, key) }
    }

    /// A map from keys to verdicts.
    pub fn verdict_map(name: &str, key: &[Type]) -> Self {
        Self { verdicts: true, ..Self::of(name, key) }
    }

    /// The same with ranges as keys.
    pub fn with_intervals(mut self) -> Self {
        self.intervals = true;
        self
    }

    pub(super) fn write(&self, message: &mut Message, table: &str, id: u32) {
        let mut flags = 0;
        if self.intervals {
            flags |= FLAG_INTERVAL;
            if self.key.len() > 1 {
                flags |= FLAG_CONCAT;
            }
        }
        if self.verdicts || !self.value.is_empty() {
            flags |= FLAG_MAP;
        }
        message.attr_str(1, table).attr_str(2, &self.name).attr_be32(3, flags);
        message.attr_be32(4, number(&self.key)).attr_be32(5, length(&self.key));
        if self.verdicts {
            message.attr_be32(6, VERDICT_TYPE);
        } else if !self.value.is_empty() {
            message.attr_be32(6, number(&self.value)).attr_be32(7, length(&self.value));
        }
        if self.intervals && self.key.len() > 1 {
            message.nest(9, |m| {
                m.nest(2, |m| {
                    for part in &self.key {
                        m.nest(LIST_ELEMENT, |m| {
                            m.attr_be32(1, part.length());
                        });
                    }
                });
            });
        }
        message.attr_be32(10, id);
        // libnftables' note on how keys and values are ordered (`NFTNL_UDATA_SET_KEYBYTEORDER`, `…DATABYTEORDER`): names
        // and numbers in the machine's order (1), all else in the network's (2).
        let order = |parts: &[Type]| match parts {
            [Type::InterfaceName | Type::Mark | Type::Number] => 1u32,
            _ => 2,
        };
        let mut note = vec![0, 4];
        note.extend_from_slice(&order(&self.key).to_ne_bytes());
        if !self.value.is_empty() {
            note.extend_from_slice(&[1, 4]);
            note.extend_from_slice(&order(&self.value).to_ne_bytes());
        }
        message.attr(13, &note);
    }
}

/// What an element maps to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Value {
    /// Nothing: an element of a set.
    None,
    /// Bytes.
    Bytes(Vec<u8>),
    /// Goes on in a chain.
    Goto(String),
    /// Ends.
    Drop,
    /// Ends.
    Accept,
}

/// One element.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Element {
    /// Bytes of the key, parts padded to 4.
    pub key: Vec<u8>,
    /// A range's end. In a plain set the first key that is not in it any more (empty: there is none, the range goes to the
    /// end); in a concatenated one the last that is.
    pub end: Option<Vec<u8>>,
    /// A map's value.
    pub value: Value,
}

impl Element {
    /// A single key.
    pub fn key(parts: &[&[u8]]) -> Self {
        Self { key: concatenate(parts), end: None, value: Value::None }
    }

    /// A single key with a value.
    pub fn pair(key: &[&[u8]], value: &[&[u8]]) -> Self {
        Self { key: concatenate(key), end: None, value: Value::Bytes(concatenate(value)) }
    }

    /// The name of an interface as key part.
    pub fn interface(name: &str) -> [u8; 16] {
        let mut bytes = [0; 16];
        let length = name.len().min(15);
        bytes[..length].copy_from_slice(&name.as_bytes()[..length]);
        bytes
    }

    fn write(&self, message: &mut Message, concatenated: bool) {
        message.nest(LIST_ELEMENT, |m| {
            m.nest(1, |m| data(m, &self.key));
            if let (Some(end), true) = (&self.end, concatenated) {
                m.nest(10, |m| data(m, end));
            }
            match &self.value {
                Value::None => {}
                Value::Bytes(bytes) => {
                    m.nest(2, |m| data(m, bytes));
                }
                Value::Goto(chain) => {
                    m.nest(2, |m| Verdict::Goto(chain.clone()).write(m));
                }
                Value::Drop => {
                    m.nest(2, |m| Verdict::Drop.write(m));
                }
                Value::Accept => {
                    m.nest(2, |m| Verdict::Accept.write(m));
                }
            }
        });
        if let (Some(end), false) = (&self.end, concatenated)
            && !end.is_empty()
        {
            message.nest(LIST_ELEMENT, |m| {
                m.attr_be32(3, INTERVAL_END).nest(1, |m| data(m, end));
            });
        }
    }
}

/// Key parts one after another; with more than one, each padded to 4.
fn concatenate(parts: &[&[u8]]) -> Vec<u8> {
    if let [part] = parts {
        return part.to_vec();
    }
    let mut bytes = Vec::new();
    for part in parts {
        bytes.extend_from_slice(part);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
    }
    bytes
}

/// Writes elements into as many messages as their size needs.
pub(super) fn write_elements(
    kind: u16,
    flags: u16,
    family: Family,
    table: &str,
    set: &Set,
    elements: &[Element],
) -> Vec<Message> {
    let concatenated = set.key.len() > 1;
    let mut messages = Vec::new();
    let mut rest = elements;
    while !rest.is_empty() {
        let mut message = super::batch::head(kind, flags, family);
        message.attr_str(1, table).attr_str(2, &set.name);
        let mut written = 0;
        message.nest(3, |m| {
            let start = m.len();
            for element in rest {
                if m.len() - start > LIST_LIMIT {
                    break;
                }
                element.write(m, concatenated);
                written += 1;
            }
        });
        rest = &rest[written..];
        messages.push(message);
    }
    messages
}
