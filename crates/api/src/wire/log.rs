//! `LogConfig`: dockerd's checks of a log driver's options. Which drivers there are is the engine's to say.

use super::host::LogConfig;
use crate::error::ApiError;
use minke_model::go::quote;

/// Options of every driver.
const COMMON: [&str; 2] = ["mode", "max-buffer-size"];
/// Options of `json-file`.
const JSON_FILE: [&str; 8] =
    ["max-file", "max-size", "compress", "labels", "labels-regex", "env", "env-regex", "tag"];
/// Options of `local`.
const LOCAL: [&str; 3] = ["max-file", "max-size", "compress"];
/// Drivers that Docker has.
const DRIVERS: [&str; 11] = [
    "awslogs",
    "fluentd",
    "gcplogs",
    "gelf",
    "journald",
    "json-file",
    "local",
    "none",
    "splunk",
    "syslog",
    "etwlogs",
];

/// Refuses options that no driver, or not this one, has.
pub(crate) fn check(log: &LogConfig) -> Result<(), ApiError> {
    let options = &log.config.0;
    if log.driver == "none" {
        return Ok(());
    }
    let mode = options.get("mode").map_or("", String::as_str);
    if !matches!(mode, "" | "blocking" | "non-blocking") {
        return Err(ApiError::invalid(format!("logger: logging mode not supported: {mode}")));
    }
    if let Some(size) = options.get("max-buffer-size") {
        if mode != "non-blocking" {
            return Err(ApiError::invalid(
                "logger: max-buffer-size option is only supported with 'mode=non-blocking'",
            ));
        }
        if !is_size(size) {
            return Err(ApiError::invalid(format!(
                "error parsing option max-buffer-size: invalid size: '{size}'"
            )));
        }
    }
    let unknown = |known: &[&str]| {
        options.keys().find(|k| !known.contains(&k.as_str()) && !COMMON.contains(&k.as_str()))
    };
    match log.driver.as_str() {
        "json-file" => match unknown(&JSON_FILE) {
            Some(option) => {
                Err(ApiError::invalid(format!("unknown log opt '{option}' for json-file log driver")))
            }
            None => Ok(()),
        },
        "local" => match unknown(&LOCAL) {
            Some(option) => {
                Err(ApiError::invalid(format!("unknown log opt '{option}' for log driver local")))
            }
            None => Ok(()),
        },
        "" => Ok(()),
        name if DRIVERS.contains(&name) => Ok(()),
        name => Err(ApiError::invalid(format!(
            "error looking up logging plugin {name}: plugin {} not found",
            quote(name)
        ))),
    }
}

/// A size as go-units reads it: `1024`, `1.5m`, `64KiB`, `2 GB`.
fn is_size(text: &str) -> bool {
    let number = text.trim_end_matches(|c: char| c.is_ascii_alphabetic() || c == ' ');
    let unit = text[number.len()..].trim_start().to_ascii_lowercase();
    let unit = unit.strip_suffix("ib").or_else(|| unit.strip_suffix('b')).unwrap_or(&unit);
    number.parse::<f64>().is_ok_and(|n| n >= 0.0) && matches!(unit, "" | "k" | "m" | "g" | "t" | "p")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_go_units_reads_them() {
        for good in ["0", "1024", "1.5m", "64KiB", "2 GB", "7b"] {
            assert!(is_size(good), "{good}");
        }
        for bad in ["", "x", "-1", "1mm", "m"] {
            assert!(!is_size(bad), "{bad}");
        }
    }
}
