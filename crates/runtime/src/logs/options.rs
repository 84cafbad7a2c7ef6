//! Options of log drivers, in Docker's words. Pure.

use crate::{request::LogTarget, spec::SpecError};
use minke_shim::plan::{Log, LogDriver};
use std::collections::BTreeMap;

/// A log is kept to 1 GiB in files of 64 MiB unless asked otherwise, so that no log fills a disk.
const DEFAULT_SIZE: u64 = 64 << 20;
const DEFAULT_FILES: u32 = 16;
/// The `local` driver's own defaults (moby `daemon/logger/local`).
const LOCAL_SIZE: u64 = 20 << 20;
const LOCAL_FILES: u32 = 5;

/// How a log's files follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rotation {
    /// Bytes after which a new file begins; 0 is never.
    pub max_size: u64,
    /// Files in all, at least 1.
    pub max_files: u32,
    /// Whether older files are compressed.
    pub compress: bool,
}

/// Options that every driver knows: they say what is shown with a line, or how it is passed on.
const COMMON: [&str; 7] = ["labels", "labels-regex", "env", "env-regex", "tag", "mode", "max-buffer-size"];

/// Checks and reads the options of `driver`, for create and for the start plan.
///
/// # Errors
/// A sentence in Docker's words on an unknown option or a bad value.
pub fn rotation(driver: &str, options: &BTreeMap<String, String>) -> Result<Rotation, String> {
    if driver == "none" {
        // Docker looks at no option of what is not written.
        return Ok(Rotation { max_size: DEFAULT_SIZE, max_files: DEFAULT_FILES, compress: false });
    }
    let known: &[&str] = match driver {
        "json-file" | "local" => &["max-size", "max-file", "compress"],
        _ => &[],
    };
    for name in options.keys() {
        if !known.contains(&name.as_str()) && !COMMON.contains(&name.as_str()) {
            return Err(format!("unknown log opt '{name}' for {driver} log driver"));
        }
    }
    let mut rotation = match driver {
        "local" => Rotation { max_size: LOCAL_SIZE, max_files: LOCAL_FILES, compress: true },
        _ => Rotation { max_size: DEFAULT_SIZE, max_files: DEFAULT_FILES, compress: false },
    };
    let asked_size = options.get("max-size");
    if let Some(text) = asked_size {
        rotation.max_size = match text.as_str() {
            "-1" if driver == "json-file" => 0,
            _ if driver == "local" => size(text, 1024)
                .ok_or_else(|| format!("invalid value for max-size: {text}: invalid size: '{text}'"))?,
            _ => size(text, 1000).ok_or_else(|| format!("invalid size: '{text}'"))?,
        };
        if rotation.max_size == 0 && text != "-1" {
            return Err("max-size must be a positive number".to_owned());
        }
        // Docker keeps one file unless told.
        if driver == "json-file" {
            rotation.max_files = 1;
        }
    }
    if let Some(text) = options.get("max-file") {
        rotation.max_files =
            text.parse().map_err(|_| format!("strconv.Atoi: parsing \"{text}\": invalid syntax"))?;
        if rotation.max_files < 1 {
            return Err("max-file cannot be less than 1".to_owned());
        }
    }
    if let Some(text) = options.get("compress") {
        rotation.compress = minke_model::go::parse_bool(text)
            .ok_or_else(|| format!("strconv.ParseBool: parsing \"{text}\": invalid syntax"))?;
        if rotation.compress && driver == "json-file" && (rotation.max_files == 1 || asked_size.is_none()) {
            return Err(
                "compress cannot be true when max-file is less than 2 or max-size is not set".to_owned()
            );
        }
    }
    Ok(rotation)
}

/// A size as go-units reads it: `10m`, `1.5GB`, `64k`, in powers of `base`.
fn size(text: &str, base: u64) -> Option<u64> {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, suffix) = text.split_at(end);
    let number: f64 = number.parse().ok().filter(|n: &f64| n.is_finite() && *n >= 0.0)?;
    let suffix = suffix.trim_start().to_ascii_lowercase();
    let bare = suffix.strip_suffix("ib").or_else(|| suffix.strip_suffix('b')).unwrap_or(&suffix);
    let power = match bare {
        "" => 0,
        "k" => 1,
        "m" => 2,
        "g" => 3,
        "t" => 4,
        "p" => 5,
        _ => return None,
    };
    Some((number * (base as f64).powi(power)) as u64)
}

/// The log of a start plan. Drivers that the shim does not write are none to it.
///
/// # Errors
/// As [`rotation`].
pub(crate) fn plan(target: &LogTarget) -> Result<Log, SpecError> {
    let driver = match target.driver.as_str() {
        "json-file" => LogDriver::JsonFile,
        "local" => LogDriver::Local,
        _ => return Ok(Log { max_files: 1, ..Log::default() }),
    };
    let rotation = rotation(&target.driver, &target.options).map_err(SpecError::Log)?;
    Ok(Log {
        driver,
        path: target.path.to_string_lossy().into_owned(),
        max_size: rotation.max_size,
        max_files: rotation.max_files,
        compress: rotation.compress && rotation.max_files > 1,
        attributes: target.attributes.clone(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(driver: &str, options: &[(&str, &str)]) -> Result<Rotation, String> {
        rotation(driver, &options.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect())
    }

    #[test]
    fn logs_rotate_without_being_asked() {
        assert_eq!(
            read("json-file", &[]).unwrap(),
            Rotation { max_size: 64 << 20, max_files: 16, compress: false }
        );
        assert_eq!(
            read("local", &[]).unwrap(),
            Rotation { max_size: 20 << 20, max_files: 5, compress: true }
        );
    }

    #[test]
    fn sizes_are_docker_s() {
        assert_eq!(
            read("json-file", &[("max-size", "10m"), ("max-file", "3")]).unwrap().max_size,
            10_000_000
        );
        assert_eq!(
            read("json-file", &[("max-size", "1.5kb")]).unwrap(),
            Rotation { max_size: 1500, max_files: 1, compress: false }
        );
        assert_eq!(read("local", &[("max-size", "10m")]).unwrap().max_size, 10 << 20);
        assert_eq!(read("json-file", &[("max-size", "-1")]).unwrap().max_size, 0);
    }

    #[test]
    fn bad_options_are_refused_in_docker_s_words() {
        assert_eq!(
            read("json-file", &[("bogus", "1")]).unwrap_err(),
            "unknown log opt 'bogus' for json-file log driver"
        );
        assert_eq!(read("json-file", &[("max-size", "many")]).unwrap_err(), "invalid size: 'many'");
        assert_eq!(read("json-file", &[("max-file", "0")]).unwrap_err(), "max-file cannot be less than 1");
        read("json-file", &[("max-file", "x")]).unwrap_err();
        read("json-file", &[("compress", "true")]).unwrap_err();
        assert_eq!(read("none", &[("max-size", "1m")]), read("none", &[]));
        assert!(read("local", &[("max-size", "-1")]).is_err());
    }
}
