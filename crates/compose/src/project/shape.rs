//! How a typed part is read from a tree and shown again: one table per type says field, key and when it is left
//! out. Pure.
//!
//! What is shown follows Go's `encoding/json` and `yaml.v3`, since compose's output and its hashes are theirs.

use crate::{
    error::{Fault, Place},
    node::{Data, Map, Node},
    value::Value,
};
use std::collections::BTreeMap;

/// In which form something is shown: they differ in what is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// As `yaml.v3` would.
    Yaml,
    /// As `encoding/json` would.
    Json,
}

/// What reading gathers.
pub(crate) struct Reader<'a> {
    /// What could not be read.
    pub faults: &'a mut Vec<Fault>,
    /// The names of the files that places count.
    pub files: &'a [String],
    /// Where we are, for messages, as mapstructure writes it: `.services`, `[web]`.
    pub path: Vec<String>,
}

impl Reader<'_> {
    /// Notes why `node` cannot be read; something empty stands for it.
    pub(crate) fn refuse<T: Default>(&mut self, node: &Node, message: String) -> T {
        let path = self.path.concat();
        let path = path.strip_prefix('.').unwrap_or(&path);
        let message = format!("decoding failed due to the following error(s):\n\n'{path}' {message}");
        self.faults.push(Fault::at(Place::of(node.at, self.files), message));
        T::default()
    }

    /// The same for something of another type.
    pub(crate) fn mismatch<T: Default>(&mut self, node: &Node, wanted: &str) -> T {
        self.refuse(node, format!("expected type '{wanted}', got unconvertible type '{}'", node.go_type()))
    }
}

/// Something that a compose file says.
pub(crate) trait Part: Default {
    /// Whether nothing is a value of it.
    const OPTIONAL: bool = false;
    /// From a node, which is not null.
    fn read(node: &Node, reader: &mut Reader<'_>) -> Self;
    /// As printed.
    fn show(&self, form: Form) -> Value;
    /// Whether Go's `omitempty` would leave it out.
    fn is_empty(&self, form: Form) -> bool;
    /// All of a mapping, where the schema lets a mapping stand for a list.
    fn read_entries(_: &Map) -> Option<Vec<Self>> {
        None
    }
    /// From a node that may be null.
    fn read_any(node: &Node, reader: &mut Reader<'_>) -> Self {
        match node.data {
            Data::Null => Self::default(),
            _ => Self::read(node, reader),
        }
    }
}

/// `n` where it fits.
pub(crate) fn fits<T: TryFrom<i64> + Default>(n: i64, node: &Node, reader: &mut Reader<'_>, kind: &str) -> T {
    match T::try_from(n) {
        Ok(n) => n,
        Err(_) => reader.refuse(node, format!("cannot parse, {n} overflows {kind}")),
    }
}

impl<T: Part> Part for Option<T> {
    const OPTIONAL: bool = true;
    fn read(node: &Node, reader: &mut Reader<'_>) -> Self {
        Some(T::read(node, reader))
    }
    fn show(&self, form: Form) -> Value {
        self.as_ref().map_or(Value::Null, |part| part.show(form))
    }
    fn is_empty(&self, _: Form) -> bool {
        self.is_none()
    }
}

impl<T: Part> Part for Vec<T> {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Self {
        match &node.data {
            Data::List(list) => {
                let mut parts = Vec::with_capacity(list.len());
                for (at, entry) in list.iter().enumerate() {
                    reader.path.push(format!("[{at}]"));
                    parts.push(T::read_any(entry, reader));
                    reader.path.pop();
                }
                parts
            }
            Data::Map(map) => T::read_entries(map).unwrap_or_else(|| reader.mismatch(node, "slice")),
            // A single one may stand for a list of one, where the schema lets it.
            _ => vec![T::read(node, reader)],
        }
    }
    fn show(&self, form: Form) -> Value {
        Value::List(self.iter().map(|part| part.show(form)).collect())
    }
    fn is_empty(&self, _: Form) -> bool {
        self.is_empty()
    }
}

impl<T: Part> Part for BTreeMap<String, T> {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Self {
        let mut parts = BTreeMap::new();
        match &node.data {
            Data::Map(map) => {
                for (key, value) in map {
                    reader.path.push(format!("[{key}]"));
                    parts.insert(key.clone(), T::read_any(value, reader));
                    reader.path.pop();
                }
            }
            // `- KEY=VALUE`
            Data::List(list) => {
                for entry in list {
                    let line = entry.plain();
                    let (key, value) = match line.split_once('=') {
                        Some((key, value)) => (key, Data::Text(value.to_owned())),
                        None => (line.as_str(), Data::Null),
                    };
                    // Go looks at variables only, not at labels.
                    if T::OPTIONAL && key.ends_with(char::is_whitespace) {
                        let message = format!("environment variable {key} is declared with a trailing space");
                        return reader.refuse(entry, message);
                    }
                    let value = Node { data: value, ..entry.clone() };
                    parts.insert(key.to_owned(), T::read_any(&value, reader));
                }
            }
            _ => return reader.mismatch(node, "map"),
        }
        parts
    }
    fn show(&self, form: Form) -> Value {
        Value::Map(self.iter().map(|(key, part)| (key.clone(), part.show(form))).collect()).sorted(form)
    }
    fn is_empty(&self, _: Form) -> bool {
        self.is_empty()
    }
}

impl Part for Value {
    fn read(node: &Node, _: &mut Reader<'_>) -> Self {
        node.value()
    }
    fn show(&self, form: Form) -> Value {
        self.clone().sorted_deep(form)
    }
    fn is_empty(&self, _: Form) -> bool {
        matches!(self, Value::Null)
    }
}

/// A struct of attributes, in the order in which they are printed.
///
/// `field: Type = "key"`, then `/ "Key"` where JSON has another one, then `[always]` where it is shown even when it
/// is empty, `[always in json]` where only JSON does so, `[never]` where it is not printed at all.
macro_rules! shape {
    (
        $(#[$about:meta])*
        pub struct $name:ident {
            $( $(#[$doc:meta])* $field:ident : $kind:ty = $key:literal $(/ $json:literal)? $([$($mode:tt)+])? , )*
        }
    ) => {
        $(#[$about])*
        #[derive(Clone, Debug, Default, PartialEq)]
        pub struct $name {
            $( $(#[$doc])* pub $field: $kind, )*
            /// `x-…` attributes.
            pub extensions: $crate::project::Extensions,
        }

        impl $crate::project::Part for $name {
            fn read(node: &$crate::node::Node, reader: &mut $crate::project::Reader<'_>) -> Self {
                use $crate::node::Data;
                let Data::Map(map) = &node.data else {
                    return reader.mismatch(node, stringify!($name));
                };
                let mut part = Self::default();
                for (key, value) in map {
                    match key.as_str() {
                        $( $key => {
                            reader.path.push(concat!(".", $key).to_owned());
                            part.$field = $crate::project::Part::read_any(value, reader);
                            reader.path.pop();
                        } )*
                        key if key.starts_with("x-") => {
                            part.extensions.insert(key.to_owned(), value.value());
                        }
                        // Refused by the schema before.
                        _ => {}
                    }
                }
                part
            }

            fn show(&self, form: $crate::project::Form) -> $crate::value::Value {
                #[allow(unused_mut)]
                let mut entries: Vec<(String, $crate::value::Value)> = Vec::new();
                $(
                    let forced: Option<bool> = $crate::project::shape::shape!(@mode form $($($mode)+)?);
                    if forced.unwrap_or_else(|| !$crate::project::Part::is_empty(&self.$field, form)) {
                        let key = $crate::project::shape::shape!(@key form $key $(/ $json)?);
                        entries.push((key.to_owned(), $crate::project::Part::show(&self.$field, form)));
                    }
                )*
                if form == $crate::project::Form::Yaml {
                    let extensions = $crate::project::Part::show(&self.extensions, form);
                    if let $crate::value::Value::Map(extensions) = extensions {
                        entries.extend(extensions);
                    }
                }
                $crate::value::Value::Map(entries)
            }

            // A struct is never empty for JSON; for YAML it is when all of it is.
            fn is_empty(&self, form: $crate::project::Form) -> bool {
                form == $crate::project::Form::Yaml
                    && self.extensions.is_empty()
                    $( && $crate::project::Part::is_empty(&self.$field, form) )*
            }
        }
    };
    (@mode $form:ident) => { None };
    (@mode $form:ident always) => { Some(true) };
    (@mode $form:ident never) => { Some(false) };
    (@mode $form:ident always in json) => { ($form == $crate::project::Form::Json).then_some(true) };
    (@key $form:ident $key:literal) => { $key };
    (@key $form:ident $key:literal / $json:literal) => {
        if $form == $crate::project::Form::Json { $json } else { $key }
    };
}
pub(crate) use shape;
