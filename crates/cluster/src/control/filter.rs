//! Filters of lists, and finding one thing by what its user calls it.

use super::{ControlError, Result};
use minke_model::{Kind, Labels};
use std::collections::{BTreeMap, BTreeSet};

/// What is wanted, by Docker's names of filters. No values of a name: everything.
#[derive(Clone, Debug, Default)]
pub struct Filters(BTreeMap<String, BTreeSet<String>>);

impl From<BTreeMap<String, BTreeSet<String>>> for Filters {
    fn from(map: BTreeMap<String, BTreeSet<String>>) -> Self {
        Filters(map)
    }
}

impl Filters {
    /// Refuses names that the list does not know.
    pub(crate) fn check(&self, known: &[&str]) -> Result<()> {
        match self.0.keys().find(|name| !known.contains(&name.as_str())) {
            Some(name) => Err(ControlError::plain(Kind::Invalid, format!("invalid filter '{name}'"))),
            None => Ok(()),
        }
    }

    /// The values of a name.
    pub fn get(&self, name: &str) -> impl Iterator<Item = &str> {
        self.0.get(name).into_iter().flatten().map(String::as_str)
    }

    /// Whether a name was given.
    pub fn has(&self, name: &str) -> bool {
        self.get(name).next().is_some()
    }

    /// One more value.
    pub fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.0.entry(name.to_owned()).or_default().insert(value.into());
        self
    }

    /// Whether `text` is one of the values.
    pub(crate) fn is(&self, name: &str, text: &str) -> bool {
        !self.has(name) || self.get(name).any(|value| value == text)
    }

    /// Whether `text` begins with one of the values.
    pub(crate) fn begins(&self, name: &str, text: &str) -> bool {
        !self.has(name) || self.get(name).any(|value| text.starts_with(value))
    }

    /// Whether all of the values, `name` or `name=value`, are among `labels`. Of two values of one label the last counts.
    pub(crate) fn labelled(&self, name: &str, labels: &Labels) -> bool {
        let wanted: BTreeMap<_, _> =
            self.get(name).map(|text| text.split_once('=').unwrap_or((text, ""))).collect();
        wanted.iter().all(|(name, value)| labels.get(*name).is_some_and(|v| value.is_empty() || v == value))
    }
}

/// The one of `things` that `input` means: by whole id, else by name, else by the beginning of its id. `parts` gives
/// a thing's id and name.
pub(crate) fn resolve<T: Clone>(
    what: &str,
    input: &str,
    things: &[T],
    parts: impl Fn(&T) -> (&str, &str),
) -> Result<T> {
    if let Some(thing) = things.iter().find(|thing| parts(thing).0 == input) {
        return Ok(thing.clone());
    }
    let mut found: Vec<&T> = things.iter().filter(|thing| parts(thing).1 == input).collect();
    if found.is_empty() && !input.is_empty() {
        found = things.iter().filter(|thing| parts(thing).0.starts_with(input)).collect();
    }
    match found.as_slice() {
        [] => Err(ControlError::plain(Kind::NotFound, format!("{what} {input} not found"))),
        [one] => Ok((*one).clone()),
        more => Err(ControlError::plain(
            Kind::Invalid,
            format!("{what} {input} is ambiguous ({} matches found)", more.len()),
        )),
    }
}

/// A name of a service or network: a part of a DNS name.
pub(crate) fn check_dns_name(name: &str) -> Result<()> {
    if name.is_empty() {
        return Err(ControlError::invalid("meta: name must be provided"));
    }
    let bytes = name.as_bytes();
    let ends = [bytes[0], bytes[bytes.len() - 1]];
    let good = ends.iter().all(u8::is_ascii_alphanumeric)
        && bytes.iter().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(b));
    if !good {
        return Err(ControlError::invalid("name must be valid as a DNS name component"));
    }
    if bytes.len() > 63 {
        return Err(ControlError::invalid("name must be 63 characters or fewer"));
    }
    Ok(())
}

/// A name of a secret or config.
pub(crate) fn check_file_name(name: &str) -> Result<()> {
    if name.is_empty() {
        return Err(ControlError::invalid("name must be provided"));
    }
    let bytes = name.as_bytes();
    let ends = [bytes[0], bytes[bytes.len() - 1]];
    let good = bytes.len() <= 64
        && ends.iter().all(u8::is_ascii_alphanumeric)
        && bytes.iter().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(b));
    match good {
        true => Ok(()),
        false => Err(ControlError::invalid(
            "invalid name, only 64 [a-zA-Z0-9-_.] characters allowed, and the start and end character must be [a-zA-Z0-9]",
        )),
    }
}
