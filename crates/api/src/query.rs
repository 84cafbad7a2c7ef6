//! Query strings, with dockerd's meanings of their values.

use crate::error::ApiError;
use std::collections::{BTreeMap, BTreeSet};

/// The most parameters that a query may have.
const MOST: usize = 10_000;

/// A query's parameters in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Query(Vec<(String, String)>);

/// Undoes percent encoding; `+` is a space in queries only. Bytes that are not UTF-8 are replaced.
pub(crate) fn decode(text: &str, plus: bool) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut i = 0;
    while i < bytes.len() {
        let hex = |at: usize| bytes.get(at).and_then(|b| (*b as char).to_digit(16));
        match (bytes[i], hex(i + 1), hex(i + 2)) {
            (b'%', Some(high), Some(low)) => {
                out.push((high * 16 + low) as u8);
                i += 2;
            }
            (b'+', ..) if plus => out.push(b' '),
            (byte, ..) => out.push(byte),
        }
        i += 1;
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// Go's `strconv` errors, without what was parsed.
const SYNTAX: &str = "invalid syntax";
const RANGE: &str = "value out of range";

impl Query {
    /// Of a request's query string.
    pub(crate) fn parse(text: &str) -> Self {
        let pairs = text.split('&').filter(|pair| !pair.is_empty()).take(MOST).map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(name, true), decode(value, true))
        });
        Self(pairs.collect())
    }

    /// The first value; empty when it was not given.
    pub(crate) fn get(&self, name: &str) -> &str {
        self.0.iter().find(|(n, _)| n == name).map_or("", |(_, v)| v)
    }

    /// The first value, unless it is empty.
    pub(crate) fn filled(&self, name: &str) -> Option<String> {
        Some(self.get(name)).filter(|v| !v.is_empty()).map(str::to_owned)
    }

    /// All values.
    pub(crate) fn all(&self, name: &str) -> Vec<String> {
        self.0.iter().filter(|(n, _)| n == name).map(|(_, v)| v.clone()).collect()
    }

    /// Whether it was given at all.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(n, _)| n == name)
    }

    /// As if it had not been given.
    pub(crate) fn remove(&mut self, name: &str) {
        self.0.retain(|(n, _)| n != name);
    }

    /// As if it had been given so.
    pub(crate) fn set(&mut self, name: &str, value: &str) {
        self.remove(name);
        self.0.push((name.to_owned(), value.to_owned()));
    }

    /// A truth: everything but a few words for no.
    pub(crate) fn flag(&self, name: &str) -> bool {
        !matches!(self.get(name).trim().to_ascii_lowercase().as_str(), "" | "0" | "no" | "false" | "none")
    }

    /// A truth with a default.
    pub(crate) fn flag_or(&self, name: &str, default: bool) -> bool {
        if self.has(name) { self.flag(name) } else { default }
    }

    /// A whole number, if one was given. What is none is dockerd's mistake: it answers 500.
    pub(crate) fn number(&self, name: &str) -> Result<Option<i64>, ApiError> {
        let text = self.get(name);
        if text.is_empty() {
            return Ok(None);
        }
        let bad = |_| {
            ApiError::internal(format!("strconv.Atoi: parsing {}: {SYNTAX}", minke_model::go::quote(text)))
        };
        text.parse().map(Some).map_err(bad)
    }

    /// Height or width of a terminal.
    pub(crate) fn size(&self, name: &str, what: &str) -> Result<u16, ApiError> {
        let text = self.get(name);
        let refuse = |why: &str| {
            ApiError::invalid(format!("invalid resize {what} {}: {why}", minke_model::go::quote(text)))
        };
        let digits = text.strip_prefix('-').unwrap_or(text);
        if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
            return Err(refuse(SYNTAX));
        }
        match digits.parse::<u32>() {
            // Terminals have 16 bits for each; more is cut, as the kernel's ioctl would.
            Ok(value) if !text.starts_with('-') => Ok(value as u16),
            _ => Err(refuse(RANGE)),
        }
    }

    /// `filters`: `{"label": ["a"]}`, or of old clients `{"label": {"a": true}}`.
    pub(crate) fn filters(&self) -> Result<BTreeMap<String, BTreeSet<String>>, ApiError> {
        use serde_json::Value;
        let text = self.get("filters");
        let bad = || ApiError::invalid("invalid filter");
        if text.is_empty() {
            return Ok(BTreeMap::new());
        }
        let Value::Object(map) = serde_json::from_str(text).map_err(|_| bad())? else { return Err(bad()) };
        let mut filters = BTreeMap::new();
        for (key, value) in map {
            let values: BTreeSet<String> = match value {
                Value::Null => BTreeSet::new(),
                Value::Array(list) => list
                    .into_iter()
                    .map(|v| v.as_str().map(str::to_owned))
                    .collect::<Option<_>>()
                    .ok_or_else(bad)?,
                Value::Object(set) => {
                    set.into_iter().filter(|(_, on)| *on == Value::Bool(true)).map(|(v, _)| v).collect()
                }
                _ => return Err(bad()),
            };
            filters.insert(key, values);
        }
        Ok(filters)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_decoded_and_kept_in_order() {
        let query = Query::parse("changes=ENV+A%3D1&changes=CMD%20x&all=1&quiet");
        assert_eq!(query.all("changes"), ["ENV A=1", "CMD x"]);
        assert!(query.flag("all") && query.has("quiet") && !query.flag("quiet"));
    }

    #[test]
    fn truths_are_dockerd_s() {
        for (text, truth) in [
            ("1", true),
            ("true", true),
            ("yes", true),
            ("0", false),
            ("False", false),
            ("none", false),
            ("", false),
        ] {
            assert_eq!(Query::parse(&format!("x={text}")).flag("x"), truth, "{text}");
        }
        assert!(Query::parse("").flag_or("stream", true));
        assert!(!Query::parse("stream=0").flag_or("stream", true));
    }

    #[test]
    fn filters_are_lists_or_sets() {
        let filters = |json: &str| Query::parse(&format!("filters={json}")).filters();
        let expected = BTreeMap::from([("label".to_owned(), BTreeSet::from(["a".to_owned()]))]);
        assert_eq!(filters(r#"{"label":["a"]}"#), Ok(expected.clone()));
        assert_eq!(filters(r#"{"label":{"a":true,"b":false}}"#), Ok(expected));
        assert_eq!(filters("").map(|f| f.len()), Ok(0));
        for bad in ["x", "[]", r#"{"label":"a"}"#, r#"{"label":[1]}"#] {
            assert_eq!(filters(bad).map_err(|e| e.message), Err("invalid filter".to_owned()), "{bad}");
        }
    }

    #[test]
    fn terminal_sizes_are_refused_as_go_refuses_them() {
        let size = |text: &str| Query::parse(&format!("h={text}")).size("h", "height").map_err(|e| e.message);
        assert_eq!(size("24"), Ok(24));
        assert_eq!(size(""), Err("invalid resize height \"\": invalid syntax".into()));
        assert_eq!(size("-1"), Err("invalid resize height \"-1\": value out of range".into()));
        assert_eq!(
            size("99999999999"),
            Err("invalid resize height \"99999999999\": value out of range".into())
        );
    }
}
