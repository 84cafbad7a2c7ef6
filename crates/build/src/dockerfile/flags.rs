//! `--name=value` between an instruction and its arguments (pure).

use super::{arguments::At, fault::Fault};
use crate::go::nearest;

/// What a flag takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Takes {
    /// Nothing, or `true` or `false`.
    Bool,
    /// A value, once.
    One,
    /// A value, any number of times.
    Many,
}

/// The flags of one instruction.
#[derive(Debug)]
pub(super) struct Flags(Vec<(&'static str, String)>);

/// A fault, the word that it is about, and the flag that may have been meant.
pub(super) type Wrong = (Fault, String, Option<String>);

impl Flags {
    /// Reads `words`; only the `known` ones may be among them.
    pub(super) fn parse(words: &[String], known: &[(&'static str, Takes)]) -> Result<Self, Wrong> {
        let mut flags: Vec<(&'static str, String)> = Vec::new();
        for word in words {
            let (name, value) = match word.split_once('=') {
                Some((name, value)) => (name, Some(value)),
                None => (word.as_str(), None),
            };
            let name = name.trim_start_matches("--");
            let wrong = |fault| (fault, word.clone(), None);
            let Some((name, takes)) = known.iter().copied().find(|(known, _)| *known == name) else {
                let near = nearest(name, known.iter().map(|(known, _)| *known));
                return Err((Fault::UnknownFlag(name.into()), format!("--{name}"), near));
            };
            if takes != Takes::Many && flags.iter().any(|(seen, _)| *seen == name) {
                return Err(wrong(Fault::FlagTwice(name.into())));
            }
            let value = match (takes, value) {
                (Takes::Bool, None) => "true".to_owned(),
                (Takes::Bool, Some("")) | (Takes::One | Takes::Many, None) => {
                    return Err(wrong(Fault::FlagValue(name.into())));
                }
                (Takes::Bool, Some(value)) => match value.to_ascii_lowercase().as_str() {
                    lower @ ("true" | "false") => lower.to_owned(),
                    _ => return Err(wrong(Fault::FlagBool(name.into(), value.into()))),
                },
                (_, Some(value)) => value.to_owned(),
            };
            flags.push((name, value));
        }
        Ok(Self(flags))
    }

    /// No flag may be among `words`.
    pub(super) fn none(words: &[String]) -> Result<(), Wrong> {
        Self::parse(words, &[]).map(|_| ())
    }

    /// The value of a flag, where it is given.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(n, _)| *n == name).map(|(_, value)| value.as_str())
    }

    /// The same, unless empty.
    pub(super) fn text(&self, name: &str) -> Option<String> {
        self.get(name).filter(|value| !value.is_empty()).map(str::to_owned)
    }

    /// All values of a flag.
    pub(super) fn all(&self, name: &str) -> Vec<String> {
        self.0.iter().filter(|(n, _)| *n == name).map(|(_, value)| value.clone()).collect()
    }

    /// A switch, where it is given.
    pub(super) fn switch(&self, name: &str) -> Option<bool> {
        self.get(name).map(|value| value == "true")
    }
}

/// A plain fault has no suggestion.
pub(super) fn plain<T>(result: At<T>) -> Result<T, Wrong> {
    result.map_err(|(fault, word)| (fault, word, None))
}
