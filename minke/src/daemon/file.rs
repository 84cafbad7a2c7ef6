//! The configuration file: `minke.toml`, or dockerd's `daemon.json`. Each key is a flag; an unknown one is an error.

use super::flags::Given;
use crate::cli::flag::Flags;
use minke_engine::registry;
use serde_json::Value;
use std::{collections::BTreeMap, path::Path};

/// daemon.json's names for flags that may be given several times.
const PLURALS: &[(&str, &str)] = &[
    ("hosts", "host"),
    ("labels", "label"),
    ("features", "feature"),
    ("cdi-spec-dirs", "cdi-spec-dir"),
    ("log-opts", "log-opt"),
    ("dns-opts", "dns-opt"),
    ("exec-opts", "exec-opt"),
    ("storage-opts", "storage-opt"),
    ("registry-mirrors", "registry-mirror"),
    ("insecure-registries", "insecure-registry"),
    ("default-address-pools", "default-address-pool"),
    ("default-network-opts", "default-network-opt"),
    ("default-ulimits", "default-ulimit"),
    ("runtimes", "add-runtime"),
    ("host-gateway-ips", "host-gateway-ip"),
    ("node-generic-resources", "node-generic-resource"),
    ("authorization-plugins", "authorization-plugin"),
    ("graph", "data-root"),
];

/// Reads `path` into `given`, under what the command line says. `may_miss`: a missing file is an empty one.
pub(super) fn read(path: &Path, may_miss: bool, given: &mut Given) -> Result<(), String> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound && may_miss => return Ok(()),
        Err(e) => {
            return Err(format!("unable to configure the Docker daemon with file {}: {e}", path.display()));
        }
    };
    // dockerd reads JSON from files of any name.
    let json = path.extension().is_none_or(|e| e != "toml")
        && (text.trim_start().starts_with('{') || path.extension().is_some_and(|e| e == "json"));
    apply(&text, json, given)
        .map_err(|e| format!("unable to configure the Docker daemon with file {}: {e}", path.display()))
}

fn apply(text: &str, json: bool, given: &mut Given) -> Result<(), String> {
    let tree: Value = if json {
        if text.trim().is_empty() {
            Value::Object(Default::default())
        } else {
            serde_json::from_str(text).map_err(|e| e.to_string())?
        }
    } else {
        toml::from_str(text).map_err(|e| e.to_string())?
    };
    let Value::Object(entries) = tree else { return Err("it must be a map of settings".into()) };
    let on_command_line = given.texts.clone();
    let mut conflicts = Vec::new();
    for (key, value) in entries {
        if key == "proxies" {
            apply_proxies(value, given, &on_command_line, &mut conflicts)?;
            continue;
        }
        let plural = PLURALS.iter().find(|(name, _)| *name == key);
        let flag = plural.map_or(key.as_str(), |(_, flag)| flag);
        if !Given::FLAGS.iter().any(|f| f.name == flag)
            || matches!(flag, "config-file" | "version" | "validate")
        {
            return Err(format!("the following directives don't match any configuration option: {key}"));
        }
        if let Some(asked) = on_command_line.get(flag) {
            conflicts.push(conflict(&key, asked, &texts(flag, &value)?));
            continue;
        }
        // An empty list says something too: none, where the default would be some.
        given.names.insert(flag.to_owned());
        for text in texts(flag, &value)? {
            given.set(flag, &text).map_err(|e| format!("invalid value {text:?} for {key}: {e}"))?;
        }
    }
    if conflicts.is_empty() {
        return Ok(());
    }
    Err(format!(
        "the following directives are specified both as a flag and in the configuration file: {}",
        conflicts.join(", ")
    ))
}

/// What the command line and the file both say, without logins.
fn conflict(key: &str, asked: &[String], found: &[String]) -> String {
    let show = |texts: &[String]| {
        let texts: Vec<String> = match key.ends_with("-proxy") {
            true => texts.iter().map(|text| registry::without_login(text)).collect(),
            false => texts.to_vec(),
        };
        if let [one] = texts.as_slice() { one.clone() } else { format!("[{}]", texts.join(" ")) }
    };
    format!("{key}: (from flag: {}, from file: {})", show(asked), show(found))
}

fn apply_proxies(
    value: Value,
    given: &mut Given,
    on_command_line: &BTreeMap<String, Vec<String>>,
    conflicts: &mut Vec<String>,
) -> Result<(), String> {
    let Value::Object(proxies) = value else { return Err("proxies must be a map".into()) };
    for (key, value) in proxies {
        if !matches!(key.as_str(), "http-proxy" | "https-proxy" | "no-proxy") {
            return Err(format!(
                "the following directives don't match any configuration option: proxies.{key}"
            ));
        }
        let found = texts(&key, &value)?;
        if let Some(asked) = on_command_line.get(&key) {
            conflicts.push(conflict(&key, asked, &found));
            continue;
        }
        for text in found {
            given.set(&key, &text)?;
        }
    }
    Ok(())
}

/// A value of the file as the flag's occurrences.
fn texts(flag: &str, value: &Value) -> Result<Vec<String>, String> {
    match value {
        Value::Null => Ok(Vec::new()),
        Value::Bool(b) => Ok(vec![b.to_string()]),
        Value::Number(n) => Ok(vec![n.to_string()]),
        Value::String(s) => Ok(vec![s.clone()]),
        Value::Array(list) => {
            let nested: Result<Vec<Vec<String>>, String> =
                list.iter().map(|entry| entry_texts(flag, entry)).collect();
            Ok(nested?.concat())
        }
        Value::Object(drivers) if flag == "default-network-opt" => {
            let options =
                |entry: &Value| entry.as_object().cloned().ok_or("options of networks must be a map");
            let mut all = Vec::new();
            for (driver, entry) in drivers {
                for (name, value) in options(entry)? {
                    all.push(format!("{driver}={}", named_text(flag, &name, &value)?));
                }
            }
            Ok(all)
        }
        Value::Object(map) => map.iter().map(|(name, entry)| named_text(flag, name, entry)).collect(),
    }
}

fn entry_texts(flag: &str, entry: &Value) -> Result<Vec<String>, String> {
    match (flag, entry) {
        ("default-address-pool", Value::Object(pool)) => {
            let base =
                pool.get("base").and_then(Value::as_str).ok_or("a default address pool needs a base")?;
            let size =
                pool.get("size").and_then(Value::as_u64).ok_or("a default address pool needs a size")?;
            Ok(vec![format!("base={base},size={size}")])
        }
        _ => texts(flag, entry),
    }
}

fn named_text(flag: &str, name: &str, entry: &Value) -> Result<String, String> {
    match (flag, entry) {
        ("add-runtime", Value::Object(runtime)) => {
            let path = runtime.get("path").and_then(Value::as_str).unwrap_or(name);
            let args = runtime
                .get("runtimeArgs")
                .and_then(Value::as_array)
                .into_iter()
                .flatten()
                .filter_map(Value::as_str);
            Ok(std::iter::once(format!("{name}={path}"))
                .chain(args.map(str::to_owned))
                .collect::<Vec<_>>()
                .join(" "))
        }
        ("default-ulimit", Value::Object(limit)) => {
            let number = |key: &str| limit.get(key).and_then(Value::as_i64);
            let (soft, hard) = (number("Soft"), number("Hard"));
            let (Some(soft), Some(hard)) = (soft.or(hard), hard.or(soft)) else {
                return Err(format!("default ulimit {name} needs Soft and Hard"));
            };
            Ok(format!("{name}={soft}:{hard}"))
        }
        (_, Value::String(text)) => Ok(format!("{name}={text}")),
        (_, Value::Bool(_) | Value::Number(_)) => Ok(format!("{name}={entry}")),
        _ => Err(format!("a value of {flag} must be a text")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(text: &str) -> Result<Given, String> {
        let mut given = Given::default();
        apply(text, true, &mut given).map(|()| given)
    }

    #[test]
    fn daemon_json_of_docker_users_is_understood() {
        let given = json(
            r#"{"hosts":["unix:///x"],"log-opts":{"max-size":"10m"},"default-address-pools":[{"base":"10.0.0.0/8","size":24}],
                "runtimes":{"crun":{"path":"/usr/bin/crun"}},"default-ulimits":{"nofile":{"Name":"nofile","Soft":1,"Hard":2}},
                "proxies":{"http-proxy":"http://p"},"debug":true,"mtu":1400}"#,
        )
        .unwrap();
        let f = given.flags;
        assert_eq!((f.host, f.log_opt), (vec!["unix:///x".to_owned()], vec!["max-size=10m".to_owned()]));
        assert_eq!(f.default_address_pool, ["base=10.0.0.0/8,size=24"]);
        assert_eq!(
            (f.add_runtime, f.default_ulimit),
            (vec!["crun=/usr/bin/crun".to_owned()], vec!["nofile=1:2".to_owned()])
        );
        assert_eq!((f.http_proxy.as_str(), f.debug, f.mtu), ("http://p", true, 1400));
    }

    #[test]
    fn an_unknown_key_is_named() {
        let error = json(r#"{"bogus":1}"#).err();
        assert_eq!(
            error.as_deref(),
            Some("the following directives don't match any configuration option: bogus")
        );
    }

    #[test]
    fn a_key_that_is_also_a_flag_is_refused() {
        let mut given = Given::default();
        given.set("mtu", "9000").unwrap();
        let error = apply("mtu = 1400", false, &mut given).err().unwrap_or_default();
        assert!(
            error.contains(
                "both as a flag and in the configuration file: mtu: (from flag: 9000, from file: 1400)"
            ),
            "{error}"
        );
        let mut given = Given::default();
        given.set("http-proxy", "http://user:secret@one").unwrap();
        let error = apply(r#"{"proxies":{"http-proxy":"http://u:secret@two"}}"#, true, &mut given).err();
        let told = "http-proxy: (from flag: http://xxxxx:xxxxx@one, from file: http://xxxxx:xxxxx@two)";
        assert!(error.unwrap_or_default().ends_with(told));
    }
}
