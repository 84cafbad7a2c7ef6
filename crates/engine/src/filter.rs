//! Filters of lists and prunes: names to sets of values.

use crate::{Error, error::Result};
use minke_model::{Labels, Timestamp, go};
use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Deref,
};

/// Filters as given. Several keys must all fit; of one key's values any (labels: all).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filters(BTreeMap<String, BTreeSet<String>>);

impl From<BTreeMap<String, BTreeSet<String>>> for Filters {
    fn from(map: BTreeMap<String, BTreeSet<String>>) -> Self {
        Self(map)
    }
}

impl Deref for Filters {
    type Target = BTreeMap<String, BTreeSet<String>>;
    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl Filters {
    /// Refuses names that the list does not know, in Docker's words.
    pub fn check(&self, known: &[&str]) -> Result<()> {
        match self.0.keys().find(|k| !known.contains(&k.as_str())) {
            Some(key) => Err(Error::Invalid(format!("invalid filter '{key}'"))),
            None => Ok(()),
        }
    }

    /// The values of `key`; `None` when it was not given or given empty.
    pub fn values(&self, key: &str) -> Option<&BTreeSet<String>> {
        self.0.get(key).filter(|v| !v.is_empty())
    }

    /// Whether `key` was not given or names `value`.
    pub fn allows(&self, key: &str, value: &str) -> bool {
        self.values(key).is_none_or(|v| v.contains(value))
    }

    /// The truth that `key` asks for, in Docker's spellings; `None` when it was not given.
    pub fn boolean(&self, key: &str) -> Result<Option<bool>> {
        let Some(values) = self.values(key) else { return Ok(None) };
        let bad = || {
            let list: Vec<&str> = values.iter().map(String::as_str).collect();
            Error::Invalid(format!("invalid filter '{key}=[{}]'", list.join(" ")))
        };
        let yes = ["1", "true", "t", "True", "TRUE", "T"].iter().any(|w| values.contains(*w));
        let no = ["0", "false", "f", "False", "FALSE", "F"].iter().any(|w| values.contains(*w));
        match (yes, no) {
            (true, false) => Ok(Some(true)),
            (false, true) => Ok(Some(false)),
            _ => Err(bad()),
        }
    }

    /// Whether `labels` fit `label` and `label!`.
    pub fn labels_fit(&self, labels: &Labels) -> bool {
        let wanted = self.values("label").is_none_or(|v| v.iter().all(|w| label_matches(labels, w)));
        let unwanted = self.values("label!").is_some_and(|v| v.iter().any(|w| label_matches(labels, w)));
        wanted && !unwanted
    }

    /// The time that `until` names: a duration back from now, a Unix time or RFC 3339. One value only.
    pub fn until(&self) -> Result<Option<Timestamp>> {
        if self.values("until").is_some_and(|values| values.len() > 1) {
            return Err(Error::Invalid("more than one until filter specified".into()));
        }
        self.first_until()
    }

    /// The same; of several values the earliest counts.
    pub fn first_until(&self) -> Result<Option<Timestamp>> {
        let mut first: Option<Timestamp> = None;
        for text in self.values("until").into_iter().flatten() {
            let time = parse_time(text, Timestamp::now()).ok_or_else(|| {
                Error::Invalid(format!("failed to parse {text} as a timestamp or duration"))
            })?;
            first = Some(first.map_or(time, |first| first.min(time)));
        }
        Ok(first)
    }
}

/// Whether `labels` has `name` or `name=value`.
pub fn label_matches(labels: &Labels, wanted: &str) -> bool {
    match wanted.split_once('=') {
        Some((name, value)) => labels.get(name).is_some_and(|v| v == value),
        None => labels.contains_key(wanted),
    }
}

/// A point in time as Docker's clients give it: `1700000000[.nanos]`, RFC 3339 with and without zone, a Go duration
/// back from `now` (`10m`, `1h30m`).
pub fn parse_time(text: &str, now: Timestamp) -> Option<Timestamp> {
    if let Ok(back) = go::parse_duration(text) {
        return Some(Timestamp::from_nanos(now.as_nanos().saturating_sub(back)));
    }
    if text.bytes().all(|b| b.is_ascii_digit() || b == b'.') && !text.is_empty() {
        return parse_unix(text);
    }
    if let Some(time) = Timestamp::parse(text) {
        return Some(time);
    }
    let civil: jiff::civil::DateTime = text.parse().ok()?;
    civil.to_zoned_datetime(jiff::tz::TimeZone::system()).ok().map(|z| z.timestamp().into())
}

/// `seconds[.fraction]` since 1970; the fraction is nanoseconds, right-padded.
fn parse_unix(text: &str) -> Option<Timestamp> {
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
    let seconds: i64 = seconds.parse().ok()?;
    let mut nanos = 0i64;
    for i in 0..9 {
        nanos = nanos * 10 + fraction.as_bytes().get(i).map_or(0, |b| (b - b'0') as i64);
    }
    seconds.checked_mul(1_000_000_000)?.checked_add(nanos).map(Timestamp::from_nanos)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_in_every_form_that_clients_send() {
        let now = Timestamp::from_nanos(1_700_000_000_000_000_000);
        let at = |text: &str| parse_time(text, now).map(|t| t.as_nanos());
        assert_eq!(at("1699999999.5"), Some(1_699_999_999_500_000_000));
        assert_eq!(at("1h30m"), Some(1_700_000_000_000_000_000 - 5_400_000_000_000));
        assert_eq!(at("2023-11-14T22:13:20Z"), Some(1_700_000_000_000_000_000));
        assert_eq!(at("soon"), None);
        assert_eq!(at(""), None);
    }

    #[test]
    fn an_unknown_filter_is_named() {
        let filters = Filters::from(BTreeMap::from([("bogus".to_owned(), BTreeSet::new())]));
        assert_eq!(
            filters.check(&["name"]).map_err(|e| e.to_string()),
            Err("invalid filter 'bogus'".to_owned())
        );
    }
}
