//! Devices: `--device`, `--gpus`, block I/O rates and weights, `--cpus`.

use crate::human::parse_ram;
use serde_json::{Value, json};

/// `--device src[:dst[:permissions]]`, or the name of a CDI device.
pub(crate) enum Device {
    /// A node of the host's.
    Node(Value),
    /// A CDI device (`vendor.com/class=name`).
    Cdi(String),
}

/// Reads one `--device`.
pub(crate) fn parse(text: &str) -> Result<Device, String> {
    let is_cdi = !text.starts_with('/')
        && text.split_once('=').is_some_and(|(kind, name)| kind.contains('/') && !name.is_empty());
    if is_cdi {
        return Ok(Device::Cdi(text.to_owned()));
    }
    let parts: Vec<&str> = text.split(':').collect();
    let is_mode = |text: &str| !text.is_empty() && text.len() <= 3 && text.chars().all(|c| "rwm".contains(c));
    let (source, target, mode) = match parts.as_slice() {
        [source] => (*source, *source, "rwm"),
        [source, mode] if is_mode(mode) => (*source, *source, *mode),
        [source, target] => (*source, *target, "rwm"),
        [source, target, mode] if is_mode(mode) => (*source, *target, *mode),
        [_, _, mode] => return Err(format!("bad mode specified: {mode}")),
        _ => return Err(format!("invalid device specification: {text}")),
    };
    if !target.starts_with('/') {
        return Err(format!("{target} is not an absolute path"));
    }
    Ok(Device::Node(json!({"PathOnHost": source, "PathInContainer": target, "CgroupPermissions": mode})))
}

/// `--device-cgroup-rule 'c 1:3 rwm'`.
pub(crate) fn check_rule(text: &str) -> Result<(), String> {
    let wrong = || format!("invalid device cgroup format '{text}'");
    let parts: Vec<&str> = text.split(' ').collect();
    let [kind, numbers, mode] = parts.as_slice() else { return Err(wrong()) };
    let number = |text: &str| text == "*" || (!text.is_empty() && text.chars().all(|c| c.is_ascii_digit()));
    let valid = matches!(*kind, "a" | "b" | "c")
        && numbers.split_once(':').is_some_and(|(major, minor)| number(major) && number(minor))
        && (1..=3).contains(&mode.len())
        && mode.chars().all(|c| "rwm".contains(c));
    if valid { Ok(()) } else { Err(wrong()) }
}

/// The path and value of `/dev/x:value`.
fn per_device(text: &str) -> Result<(&str, &str), String> {
    let (path, value) = text
        .split_once(':')
        .filter(|(path, _)| !path.is_empty())
        .ok_or_else(|| format!("bad format: {text}"))?;
    if !path.starts_with("/dev/") {
        return Err(format!("bad format for device path: {text}"));
    }
    Ok((path, value))
}

/// `--blkio-weight-device /dev/x:weight`.
pub(crate) fn weight(text: &str) -> Result<Value, String> {
    let (path, value) = per_device(text)?;
    match value.parse::<u16>() {
        Ok(weight) if weight == 0 || (10..=1000).contains(&weight) => {
            Ok(json!({"Path": path, "Weight": weight}))
        }
        _ => Err(format!("invalid weight for device: {text}")),
    }
}

/// `--device-read-bps /dev/x:1mb`.
pub(crate) fn bytes_rate(text: &str) -> Result<Value, String> {
    let (path, value) = per_device(text)?;
    match parse_ram(value) {
        Ok(rate) => Ok(json!({"Path": path, "Rate": rate})),
        Err(_) => Err(format!(
            "invalid rate for device: {text}. The correct format is <device-path>:<number>[<unit>]. Number must be a positive integer. Unit is optional and can be kb, mb, or gb"
        )),
    }
}

/// `--device-read-iops /dev/x:100`.
pub(crate) fn operations_rate(text: &str) -> Result<Value, String> {
    let (path, value) = per_device(text)?;
    match value.parse::<u64>() {
        Ok(rate) => Ok(json!({"Path": path, "Rate": rate})),
        Err(_) => Err(format!(
            "invalid rate for device: {text}. The correct format is <device-path>:<number>. Number must be a positive integer"
        )),
    }
}

/// `--gpus all`, `--gpus 2`, `--gpus '"device=0,1",capabilities=utility'`.
pub(crate) fn gpus(text: &str) -> Result<Value, String> {
    let (mut count, mut driver, mut ids, mut capabilities, mut options) =
        (None, "".to_owned(), Vec::new(), Vec::<String>::new(), serde_json::Map::new());
    for field in minke_model::go::csv_fields(text)? {
        let (key, value) = match field.split_once('=') {
            Some((key, value)) => (key.to_owned(), value.to_owned()),
            None => ("count".to_owned(), field.clone()),
        };
        let list = || value.split(',').map(str::to_owned).collect::<Vec<_>>();
        match key.as_str() {
            "driver" => driver = value,
            "count" if value == "all" => count = Some(-1),
            "count" => {
                count = Some(value.parse().map_err(|_| {
                    format!(
                        "invalid count ({value}): value must be either \"all\" or an integer: invalid syntax"
                    )
                })?)
            }
            "device" => ids = list(),
            "capabilities" => capabilities.extend(list()),
            "options" => options.extend(
                list()
                    .iter()
                    .map(|option| option.split_once('=').unwrap_or((option, "")))
                    .map(|(name, value)| (name.to_owned(), value.into())),
            ),
            _ => return Err(format!("unexpected key '{key}' in '{field}'")),
        }
    }
    if !capabilities.iter().any(|name| name == "gpu") {
        capabilities.push("gpu".into());
    }
    let ids = if ids.is_empty() { Value::Null } else { ids.into() };
    let count = count.unwrap_or(if ids.is_null() { 1 } else { 0 });
    Ok(
        json!({"Driver": driver, "Count": count, "DeviceIDs": ids, "Capabilities": [capabilities], "Options": options}),
    )
}

/// `--cpus 1.5`, in billionths of a CPU.
pub(crate) fn cpus(text: &str) -> Result<i64, String> {
    let wrong = || format!("failed to parse {text} as a rational number");
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |text: &str| text.chars().all(|c| c.is_ascii_digit());
    let unsigned = whole.strip_prefix(['-', '+']).unwrap_or(whole);
    if !digits(unsigned) || !digits(fraction) || (unsigned.is_empty() && fraction.is_empty()) {
        return Err(wrong());
    }
    let fraction = fraction.trim_end_matches('0');
    if fraction.len() > 9 {
        return Err("value is too precise".into());
    }
    let whole_part: i64 = if unsigned.is_empty() { 0 } else { unsigned.parse().map_err(|_| wrong())? };
    let nanos: i64 = format!("{fraction:0<9}").parse().map_err(|_| wrong())?;
    let total =
        whole_part.checked_mul(1_000_000_000).and_then(|value| value.checked_add(nanos)).ok_or_else(wrong)?;
    Ok(if whole.starts_with('-') { -total } else { total })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(text: &str) -> Result<Value, String> {
        parse(text).map(|device| match device {
            Device::Node(node) => node,
            Device::Cdi(name) => json!(name),
        })
    }

    #[test]
    fn devices_are_read() {
        assert_eq!(node("/dev/null").unwrap()["CgroupPermissions"], "rwm");
        assert_eq!(
            node("/dev/a:/dev/b:r").unwrap(),
            json!({"PathOnHost": "/dev/a", "PathInContainer": "/dev/b", "CgroupPermissions": "r"})
        );
        assert_eq!(node("/dev/a:rw").unwrap()["PathInContainer"], "/dev/a");
        assert_eq!(node("vendor.com/gpu=0").unwrap(), json!("vendor.com/gpu=0"));
        assert_eq!(node("/dev/a:/dev/b:x").unwrap_err(), "bad mode specified: x");
        assert!(check_rule("c 1:* rwm").is_ok() && check_rule("c 1 r").is_err());
    }

    #[test]
    fn rates_have_units() {
        assert_eq!(bytes_rate("/dev/sda:1mb").unwrap(), json!({"Path": "/dev/sda", "Rate": 1 << 20}));
        assert_eq!(bytes_rate("sda:1").unwrap_err(), "bad format for device path: sda:1");
        assert_eq!(operations_rate("/dev/sda:5").unwrap()["Rate"], 5);
        assert_eq!(weight("/dev/sda:5").unwrap_err(), "invalid weight for device: /dev/sda:5");
    }

    #[test]
    fn cpus_are_billionths() {
        assert_eq!(cpus("1.5"), Ok(1_500_000_000));
        assert_eq!(cpus(".5"), Ok(500_000_000));
        assert_eq!(cpus("x").unwrap_err(), "failed to parse x as a rational number");
        assert_eq!(cpus("0.0000000001").unwrap_err(), "value is too precise");
    }

    #[test]
    fn gpus_are_requests() {
        assert_eq!(
            gpus("all").unwrap(),
            json!({"Driver": "", "Count": -1, "DeviceIDs": null, "Capabilities": [["gpu"]], "Options": {}})
        );
        assert_eq!(gpus("\"device=0,1\"").unwrap()["DeviceIDs"], json!(["0", "1"]));
        assert!(gpus("x").unwrap_err().starts_with("invalid count (x)"));
    }
}
