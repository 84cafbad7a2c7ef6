//! `--ulimit name=soft[:hard]`.

use serde_json::{Value, json};

const NAMES: &[&str] = &[
    "as",
    "core",
    "cpu",
    "data",
    "fsize",
    "locks",
    "memlock",
    "msgqueue",
    "nice",
    "nofile",
    "nproc",
    "rss",
    "rtprio",
    "rttime",
    "sigpending",
    "stack",
];

/// Reads one limit. The error is docker's sentence.
pub(crate) fn parse(text: &str) -> Result<Value, String> {
    let Some((name, limits)) = text.split_once('=') else {
        return Err(format!("invalid ulimit argument: {text}"));
    };
    if !NAMES.contains(&name) {
        return Err(format!("invalid ulimit type: {name}"));
    }
    let (soft, hard) = match limits.split_once(':') {
        Some((_, hard)) if hard.contains(':') => {
            return Err(format!(
                "too many limit value arguments - {limits}, can only have up to two, `soft[:hard]`"
            ));
        }
        Some((soft, hard)) => (number(soft)?, number(hard)?),
        None => {
            let both = number(limits)?;
            (both, both)
        }
    };
    if hard != -1 && (soft > hard || soft == -1) {
        return Err(format!("ulimit soft limit must be less than or equal to hard limit: {soft} > {hard}"));
    }
    Ok(json!({"Name": name, "Soft": soft, "Hard": hard}))
}

/// The limits in the order of their names; of two with one name, the later.
pub(crate) fn by_name(limits: &[Value]) -> Vec<Value> {
    let by_name: std::collections::BTreeMap<String, &Value> =
        limits.iter().map(|limit| (limit["Name"].to_string(), limit)).collect();
    by_name.into_values().cloned().collect()
}

fn number(text: &str) -> Result<i64, String> {
    text.parse()
        .map_err(|_| format!("strconv.ParseInt: parsing {}: invalid syntax", minke_model::go::quote(text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_read() {
        assert_eq!(parse("nofile=1:2").unwrap(), json!({"Name": "nofile", "Soft": 1, "Hard": 2}));
        assert_eq!(parse("core=-1").unwrap(), json!({"Name": "core", "Soft": -1, "Hard": -1}));
        assert_eq!(parse("foo=1").unwrap_err(), "invalid ulimit type: foo");
        assert_eq!(parse("nofile").unwrap_err(), "invalid ulimit argument: nofile");
        assert_eq!(
            parse("nofile=2:1").unwrap_err(),
            "ulimit soft limit must be less than or equal to hard limit: 2 > 1"
        );
    }
}
