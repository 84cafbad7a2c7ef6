//! Security as asked: capability names, `--security-opt`.

use super::{Words, host::HostConfig};
use crate::error::ApiError;
use minke_model::go::quote;
use minke_model::security::{SeccompChoice, SecurityOption, SecuritySpec};
use std::collections::BTreeMap;

/// All of it, or why not.
pub(crate) fn parse(host: &HostConfig) -> Result<SecuritySpec, ApiError> {
    let words = |w: &Option<Words>| w.clone().map(|w| w.0);
    let options = parse_options(host)?;
    Ok(SecuritySpec {
        privileged: host.privileged,
        cap_add: words(&host.cap_add),
        cap_drop: words(&host.cap_drop),
        options_as: said_otherwise(host, &options),
        options,
        readonly_rootfs: host.readonly_rootfs,
        masked_paths: host.masked_paths.clone(),
        readonly_paths: host.readonly_paths.clone(),
        group_add: host.group_add.clone(),
    })
}

/// The capabilities of Linux 6.x (include/uapi/linux/capability.h), without their prefix.
const CAPABILITIES: [&str; 41] = [
    "AUDIT_CONTROL",
    "AUDIT_READ",
    "AUDIT_WRITE",
    "BLOCK_SUSPEND",
    "BPF",
    "CHECKPOINT_RESTORE",
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "IPC_LOCK",
    "IPC_OWNER",
    "KILL",
    "LEASE",
    "LINUX_IMMUTABLE",
    "MAC_ADMIN",
    "MAC_OVERRIDE",
    "MKNOD",
    "NET_ADMIN",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_RAW",
    "PERFMON",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYSLOG",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_CHROOT",
    "SYS_MODULE",
    "SYS_NICE",
    "SYS_PACCT",
    "SYS_PTRACE",
    "SYS_RAWIO",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "WAKE_ALARM",
];

/// Refuses names that are no capability.
pub(crate) fn check_capabilities(field: &str, names: &Option<Words>) -> Result<(), ApiError> {
    for name in names.iter().flat_map(|w| &w.0) {
        let upper = name.to_ascii_uppercase();
        let plain = upper.strip_prefix("CAP_").unwrap_or(&upper);
        if upper != "ALL" && !CAPABILITIES.contains(&plain) {
            let full = quote(&format!("CAP_{plain}"));
            return Err(ApiError::invalid(format!("invalid {field}: unknown capability: {full}")));
        }
    }
    Ok(())
}

/// Go's `strconv.ParseBool`.
fn go_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

fn parse_options(host: &HostConfig) -> Result<Option<Vec<SecurityOption>>, ApiError> {
    let mut options = Vec::new();
    for text in host.security_opt.iter().flatten() {
        options.push(parse_option(text)?);
    }
    let labelled = options.iter().any(|o| matches!(o, SecurityOption::Label(_)));
    // Such containers get no SELinux confinement in dockerd, and it shows that it decided so.
    let unconfined = host.privileged || host.ipc_mode == "host" || host.pid_mode == "host";
    if unconfined && !labelled {
        options.push(SecurityOption::Label("disable".to_owned()));
    }
    Ok((host.security_opt.is_some() || !options.is_empty()).then_some(options))
}

/// `no-new-privileges:true` and the like: dockerd shows all options as they were said.
fn said_otherwise(host: &HostConfig, options: &Option<Vec<SecurityOption>>) -> BTreeMap<usize, String> {
    let pairs = host.security_opt.iter().flatten().zip(options.iter().flatten()).enumerate();
    pairs
        .filter(|(_, (text, option))| **text != option.to_string())
        .map(|(n, (text, _))| (n, text.clone()))
        .collect()
}

fn parse_option(text: &str) -> Result<SecurityOption, ApiError> {
    match text {
        "no-new-privileges" => return Ok(SecurityOption::NoNewPrivileges(true)),
        "writable-cgroups" => return Ok(SecurityOption::WritableCgroups(true)),
        "disable" => return Ok(SecurityOption::Label("disable".to_owned())),
        _ => {}
    }
    let refuse = |which: u8| ApiError::internal(format!("invalid --security-opt {which}: {}", quote(text)));
    let (key, value) = text.split_once('=').or_else(|| text.split_once(':')).ok_or_else(|| refuse(1))?;
    Ok(match key {
        "label" => SecurityOption::Label(value.to_owned()),
        "apparmor" => SecurityOption::AppArmor(value.to_owned()),
        "seccomp" => SecurityOption::Seccomp(match value {
            "unconfined" => SeccompChoice::Unconfined,
            "builtin" | "" => SeccompChoice::Builtin,
            profile => SeccompChoice::Profile(profile.to_owned()),
        }),
        "no-new-privileges" => SecurityOption::NoNewPrivileges(go_bool(value).ok_or_else(|| refuse(2))?),
        "writable-cgroups" => SecurityOption::WritableCgroups(go_bool(value).ok_or_else(|| refuse(2))?),
        _ => return Err(refuse(2)),
    })
}
