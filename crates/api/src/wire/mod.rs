//! Docker's JSON: the shapes of Engine API 1.51, and conversions from and to our model.
//!
//! Only the newest shape lives here; `version.rs` raises old requests to it and lowers answers from it. What is
//! `null`, `[]` or absent is part of each shape (recorded from dockerd 28.5.2). Field names and order:
//! https://docs.docker.com/reference/api/engine/version/v1.51/

pub(crate) mod archive;
pub(crate) mod config;
pub(crate) mod container;
pub(crate) mod create;
pub(crate) mod devices;
pub(crate) mod distribution;
pub(crate) mod endpoint;
pub(crate) mod event;
pub(crate) mod exec;
mod fold;
pub(crate) mod host;
pub(crate) mod image;
pub(crate) mod log;
pub(crate) mod mounts;
pub(crate) mod network;
pub(crate) mod node;
pub(crate) mod overlay;
pub(crate) mod ports;
pub(crate) mod progress;
pub(crate) mod prune;
pub(crate) mod resources;
pub(crate) mod search;
pub(crate) mod secret;
pub(crate) mod security;
pub(crate) mod service;
pub(crate) mod settings;
pub(crate) mod space;
pub(crate) mod stats;
pub(crate) mod summary;
pub(crate) mod swarm;
pub(crate) mod syntax;
pub(crate) mod system;
pub(crate) mod task;
pub(crate) mod task_container;
pub(crate) mod template;
pub(crate) mod time;
pub(crate) mod update;
pub(crate) mod verified;
pub(crate) mod volume;

use serde::{Deserialize, Deserializer, Serialize, de};
use std::{collections::BTreeMap, fmt};

/// A JSON shape whose fields may all be absent or `null` on the way in, as Go's decoder allows. `@flatten` takes the
/// fields of another shape in. Read it with [`folded`].
macro_rules! wire {
    ($(#[$meta:meta])* struct $name:ident {
        $($(#[$field_meta:meta])* $field:ident: $type:ty,)*
    }) => {
        $(#[$meta])*
        #[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
        #[serde(rename_all = "PascalCase")]
        pub(crate) struct $name {
            $(
                $(#[$field_meta])*
                #[serde(default, deserialize_with = "crate::wire::nullable")]
                pub(crate) $field: $type,
            )*
        }
    };
    ($(#[$meta:meta])* struct $name:ident {
        $($(#[$field_meta:meta])* $field:ident: $type:ty,)*
        @flatten $flat:ident: $flat_type:ty,
        $($(#[$late_meta:meta])* $late:ident: $late_type:ty,)*
    }) => {
        $(#[$meta])*
        #[derive(Clone, Debug, Default, PartialEq, serde::Serialize)]
        #[serde(rename_all = "PascalCase")]
        pub(crate) struct $name {
            $($(#[$field_meta])* pub(crate) $field: $type,)*
            #[serde(flatten)]
            pub(crate) $flat: $flat_type,
            $($(#[$late_meta])* pub(crate) $late: $late_type,)*
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
                // serde's own flattening knows no names, so that their case could not be overlooked.
                crate::wire::wire! {
                    struct Own {
                        $($(#[$field_meta])* $field: $type,)*
                        $($(#[$late_meta])* $late: $late_type,)*
                    }
                }
                let value = serde_json::Value::deserialize(input)?;
                let own: Own = crate::wire::folded(value.clone()).map_err(serde::de::Error::custom)?;
                let $flat = crate::wire::folded(value).map_err(serde::de::Error::custom)?;
                Ok(Self { $($field: own.$field,)* $flat, $($late: own.$late,)* })
            }
        }
    };
}
pub(crate) use fold::folded;
pub(crate) use wire;

/// `null` is the type's default.
pub(crate) fn nullable<'de, D, T>(input: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::<T>::deserialize(input)?.unwrap_or_default())
}

/// `{}`: the value of a set's members in Go's JSON. Anything is taken for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Empty {}

impl<'de> Deserialize<'de> for Empty {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        de::IgnoredAny::deserialize(input).map(|_| Empty {})
    }
}

/// Strings that may be given as one string.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub(crate) struct Words(pub(crate) Vec<String>);

impl<'de> Deserialize<'de> for Words {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = Words;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string or a list of strings")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Words, E> {
                Ok(Words(vec![text.to_owned()]))
            }
            fn visit_seq<A: de::SeqAccess<'de>>(self, mut items: A) -> Result<Words, A::Error> {
                let mut words = Vec::new();
                while let Some(word) = items.next_element::<Option<String>>()? {
                    words.push(word.unwrap_or_default());
                }
                Ok(Words(words))
            }
        }
        input.deserialize_any(Visitor)
    }
}

/// A map whose values may be `null` on the way in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub(crate) struct Map<T = String>(pub(crate) BTreeMap<String, T>);

impl<T> Default for Map<T> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<'de, T: Deserialize<'de> + Default> Deserialize<'de> for Map<T> {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        let map = BTreeMap::<String, Option<T>>::deserialize(input)?;
        Ok(Self(map.into_iter().map(|(k, v)| (k, v.unwrap_or_default())).collect()))
    }
}

impl<T> Map<T> {
    /// Whether nothing is in it.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// For `skip_serializing_if`: Go's `omitempty`.
pub(crate) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// An empty list is `null`, as a Go slice that was never made.
pub(crate) fn or_null<T: Clone>(list: &[T]) -> Option<Vec<T>> {
    (!list.is_empty()).then(|| list.to_vec())
}
