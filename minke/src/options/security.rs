//! `--security-opt`, `--sysctl`, `--storage-opt`, `--log-opt`.

use crate::commands::go_error;
use minke_model::go::quote;
use std::collections::BTreeSet;

/// Security options as the daemon takes them.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Security {
    /// What the daemon gets.
    pub(crate) options: Vec<String>,
    /// Whether masked and read-only paths are left away.
    pub(crate) open_paths: bool,
}

/// Reads all `--security-opt`; a seccomp profile's file is read and sent whole.
pub(crate) fn parse(given: &[String]) -> Result<Security, String> {
    let mut security = Security::default();
    for option in given {
        if option == "systempaths=unconfined" {
            security.open_paths = true;
            continue;
        }
        if option == "no-new-privileges" {
            security.options.push(option.clone());
            continue;
        }
        let pair = option.split_once('=').or_else(|| option.split_once(':'));
        let Some((name, value)) = pair.filter(|(_, value)| !value.is_empty()) else {
            return Err(format!("Invalid --security-opt: {}", quote(option)));
        };
        if name == "seccomp" && value != "builtin" && value != "unconfined" {
            let bytes = std::fs::read(value).map_err(|error| {
                format!("opening seccomp profile ({value}) failed: open {value}: {}", go_error(&error))
            })?;
            let profile: Box<serde_json::value::RawValue> = serde_json::from_slice(&bytes)
                .map_err(|error| format!("compacting json for seccomp profile ({value}) failed: {error}"))?;
            let profile: crate::format::value::Value = serde_json::from_str(profile.get())
                .map_err(|error| format!("compacting json for seccomp profile ({value}) failed: {error}"))?;
            security.options.push(format!("seccomp={}", profile.to_json(false)));
            continue;
        }
        security.options.push(option.clone());
    }
    Ok(security)
}

/// Capabilities to add and to drop, under their full names, sorted. Adding goes before dropping.
pub(crate) fn capabilities(add: &[String], drop: &[String]) -> (Vec<String>, Vec<String>) {
    const ALL: &str = "ALL";
    let full = |names: &[String]| -> BTreeSet<String> {
        let names = names.iter().map(|name| name.trim().to_uppercase()).filter(|name| !name.is_empty());
        let names: BTreeSet<String> = names
            .map(|name| if name == ALL || name.starts_with("CAP_") { name } else { format!("CAP_{name}") })
            .collect();
        if names.contains(ALL) { BTreeSet::from([ALL.to_owned()]) } else { names }
    };
    let (add, drop) = (full(add), full(drop));
    let drop = drop.difference(&add).cloned().collect();
    (add.into_iter().collect(), drop)
}

/// Whether `--sysctl name=value` may be: only what is namespaced.
pub(crate) fn check_sysctl(setting: &str) -> Result<(), String> {
    let name = setting.split('=').next().unwrap_or_default();
    const KERNEL: &[&str] = &[
        "kernel.msgmax",
        "kernel.msgmnb",
        "kernel.msgmni",
        "kernel.sem",
        "kernel.shmall",
        "kernel.shmmax",
        "kernel.shmmni",
        "kernel.shm_rmid_forced",
    ];
    let namespaced = KERNEL.contains(&name)
        || name.starts_with("net.")
        || name.starts_with("fs.mqueue.")
        || name == "kernel.domainname"
        || name == "kernel.hostname";
    if namespaced { Ok(()) } else { Err(format!("sysctl '{setting}' is not allowed")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_is_sent_whole() {
        let file = std::env::temp_dir().join(format!("minke-seccomp-{}", std::process::id()));
        std::fs::write(&file, "{\n  \"defaultAction\": \"SCMP_ACT_ALLOW\"\n}\n").unwrap();
        let security = parse(&[
            format!("seccomp={}", file.display()),
            "no-new-privileges".into(),
            "apparmor:x".into(),
            "systempaths=unconfined".into(),
        ])
        .unwrap();
        assert_eq!(
            security.options,
            ["seccomp={\"defaultAction\":\"SCMP_ACT_ALLOW\"}", "no-new-privileges", "apparmor:x"]
        );
        assert!(security.open_paths);
        std::fs::remove_file(file).unwrap();
        assert_eq!(parse(&["foo".into()]).unwrap_err(), "Invalid --security-opt: \"foo\"");
        assert_eq!(
            parse(&["seccomp=/no".into()]).unwrap_err(),
            "opening seccomp profile (/no) failed: open /no: no such file or directory"
        );
    }

    #[test]
    fn capabilities_have_full_names_and_adding_wins() {
        let list = |names: &[&str]| names.iter().map(|name| name.to_string()).collect::<Vec<_>>();
        assert_eq!(
            capabilities(&list(&["net_admin", "CAP_CHOWN"]), &list(&["all"])),
            (list(&["CAP_CHOWN", "CAP_NET_ADMIN"]), list(&["ALL"]))
        );
        assert_eq!(
            capabilities(&list(&["all", "chown"]), &list(&["ALL", "kill"])),
            (list(&["ALL"]), list(&[]))
        );
    }

    #[test]
    fn only_namespaced_sysctls_are_set() {
        assert!(check_sysctl("net.core.somaxconn").is_ok() && check_sysctl("kernel.shmmax").is_ok());
        assert_eq!(check_sysctl("vm.swappiness=1").unwrap_err(), "sysctl 'vm.swappiness=1' is not allowed");
    }
}
