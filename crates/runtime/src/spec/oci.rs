//! The same plan as an OCI runtime's config.json (OCI runtime spec 1.0.2, config.md and config-linux.md), for runc and
//! crun. Pure.
//!
//! Never decides anything: what is not in the plan is not in the file.

use super::{Plan, defaults, mounts::flag, resources};
use minke_linux::{
    cgroup::{DeviceKind, DeviceRule, Limits, devices::letters_of},
    seccomp::{Action, Arch, Compare, Profile},
};
use minke_shim::plan::{Namespace, ReadOnlyDepth, Step};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// A user by numbers: OCI runtimes look up no names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ids {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// Further groups.
    pub groups: Vec<u32>,
    /// Home directory, for an environment without one.
    pub home: String,
}

/// Where cgroups are seen inside: one mount of type `cgroup`, which the runtime fills by itself.
const CGROUP: &str = "/sys/fs/cgroup";

/// config.json for `plan`. The root is the bundle's `rootfs`.
pub fn config(
    plan: &Plan,
    ids: &Ids,
    seccomp: Option<&Profile>,
    annotations: &BTreeMap<String, String>,
) -> Value {
    let start = &plan.start;
    let mut mounts = Vec::new();
    let mut devices = Vec::new();
    let (mut masked, mut readonly) = (Vec::new(), Vec::new());
    for step in &start.steps {
        match step {
            Step::Node { path, kind, major, minor, mode, uid, gid } => {
                // The default ones are the runtime's own to make.
                if defaults::NODES.iter().all(|node| node.path != path) {
                    let kind = if *kind == 0o060_000 { "b" } else { "c" };
                    devices.push(json!({"path": path, "type": kind, "major": major, "minor": minor, "fileMode": mode, "uid": uid, "gid": gid}));
                }
            }
            Step::Mask { path } => masked.push(path.clone()),
            Step::ReadOnly { path } if path != CGROUP => readonly.push(path.clone()),
            Step::Link { .. } | Step::ReadOnly { .. } => {}
            Step::Mount { .. } | Step::Bind { .. } | Step::Layers { .. } => mounts.extend(mount(step)),
        }
    }
    let mut linux = json!({
        "namespaces": namespaces(plan),
        "cgroupsPath": plan.cgroup,
        "resources": resources_of(&plan.limits),
        "devices": devices,
        "maskedPaths": masked,
        "readonlyPaths": readonly,
        "sysctl": start.sysctls.iter().cloned().collect::<BTreeMap<_, _>>(),
    });
    if start.root_propagation != 0 {
        linux["rootfsPropagation"] = json!(propagation_word(start.root_propagation));
    }
    if let Some(profile) = seccomp {
        linux["seccomp"] = seccomp_of(profile);
    }
    let mut config = json!({
        "ociVersion": "1.0.2",
        "process": process(&start.process, ids),
        "root": {"path": "rootfs", "readonly": start.root_read_only},
        "mounts": mounts,
        "annotations": annotations,
        "linux": linux,
    });
    if !start.hostname.is_empty() {
        config["hostname"] = json!(start.hostname);
    }
    if !start.domainname.is_empty() {
        config["domainname"] = json!(start.domainname);
    }
    config
}

/// `process` of config.json, and the file that `runc exec --process` takes.
pub fn process(process: &minke_shim::plan::Process, ids: &Ids) -> Value {
    let mut env = process.env.clone();
    if !ids.home.is_empty() && !env.iter().any(|entry| entry.starts_with("HOME=")) {
        env.push(format!("HOME={}", ids.home));
    }
    let capabilities = &process.capabilities;
    let limits = process.rlimits.iter().filter_map(|limit| {
        let name = resources::rlimit_name(limit.resource)?.to_ascii_uppercase();
        Some(json!({"type": format!("RLIMIT_{name}"), "soft": limit.soft, "hard": limit.hard}))
    });
    let mut value = json!({
        "terminal": process.tty,
        "user": {"uid": ids.uid, "gid": ids.gid, "additionalGids": ids.groups},
        "args": process.args,
        "env": env,
        "cwd": process.cwd,
        "capabilities": {
            "bounding": defaults::capability_names(capabilities.bounding),
            "effective": defaults::capability_names(capabilities.effective),
            "permitted": defaults::capability_names(capabilities.permitted),
            "inheritable": defaults::capability_names(capabilities.inheritable),
            "ambient": defaults::capability_names(capabilities.ambient),
        },
        "rlimits": limits.collect::<Vec<_>>(),
        "noNewPrivileges": process.no_new_privileges,
    });
    if process.tty && process.rows != 0 {
        value["consoleSize"] = json!({"height": process.rows, "width": process.columns});
    }
    if !process.apparmor.is_empty() {
        value["apparmorProfile"] = json!(process.apparmor);
    }
    if !process.selinux.is_empty() {
        value["selinuxLabel"] = json!(process.selinux);
    }
    if let Some(adjust) = process.oom_score_adj {
        value["oomScoreAdj"] = json!(adjust);
    }
    value
}

/// One mount; `None` for what the runtime makes by itself.
fn mount(step: &Step) -> Option<Value> {
    match step {
        Step::Mount { target, .. } | Step::Bind { target, .. } if target.starts_with("/sys/fs/cgroup/") => {
            None
        }
        Step::Mount { target, flags, .. } if target == CGROUP => {
            // v1's own tmpfs is locked after it is filled; the word here means the trees below.
            let mut options = words(*flags | flag::RDONLY);
            if let Step::Mount { fstype, .. } = step
                && fstype == "cgroup2"
            {
                options = words(*flags);
            }
            options.retain(|word| word != "rw");
            Some(json!({"type": "cgroup", "source": "cgroup", "destination": CGROUP, "options": options}))
        }
        Step::Mount { fstype, source, target, flags, data, propagation } => {
            let mut options = words(*flags);
            options.extend(data.split(',').filter(|word| !word.is_empty()).map(str::to_owned));
            if *propagation != 0 {
                options.push(propagation_word(*propagation).into());
            }
            Some(json!({"type": fstype, "source": source, "destination": target, "options": options}))
        }
        Step::Bind { source, subpath, target, recursive, flags, depth, propagation } => {
            let mut options = words(*flags);
            if *flags & flag::RDONLY != 0 && *recursive && *depth == ReadOnlyDepth::All {
                options.push("rro".into());
            }
            options.push(if *recursive { "rbind" } else { "bind" }.into());
            options.push(propagation_word(*propagation).into());
            let source = if subpath.is_empty() {
                source.clone()
            } else {
                format!("{source}/{}", subpath.trim_start_matches('/'))
            };
            Some(json!({"type": "bind", "source": source, "destination": target, "options": options}))
        }
        Step::Layers { lower, subpath, target } if lower.len() == 1 => {
            let source = format!("{}/{}", lower[0], subpath.trim_start_matches('/'));
            Some(
                json!({"type": "bind", "source": source, "destination": target, "options": ["rbind", "ro", "rprivate"]}),
            )
        }
        Step::Layers { lower, target, .. } => {
            let data = format!("lowerdir={}", lower.join(":"));
            Some(
                json!({"type": "overlay", "source": "overlay", "destination": target, "options": ["ro", data]}),
            )
        }
        _ => None,
    }
}

/// mount(8)'s words of mount(2)'s flags.
fn words(flags: u64) -> Vec<String> {
    let known = [
        (flag::NOSUID, "nosuid"),
        (flag::NODEV, "nodev"),
        (flag::NOEXEC, "noexec"),
        (flag::SYNCHRONOUS, "sync"),
        (flag::DIRSYNC, "dirsync"),
        (flag::NOATIME, "noatime"),
        (flag::NODIRATIME, "nodiratime"),
        (flag::RELATIME, "relatime"),
        (flag::STRICTATIME, "strictatime"),
    ];
    let mut words = vec![if flags & flag::RDONLY != 0 { "ro" } else { "rw" }.to_owned()];
    words.extend(known.iter().filter(|(bit, _)| flags & bit != 0).map(|(_, word)| (*word).to_owned()));
    words
}

/// The word of a propagation.
fn propagation_word(flags: u64) -> &'static str {
    match (flags & flag::REC != 0, flags & !flag::REC) {
        (_, 0) => "rprivate",
        (true, flag::SHARED) => "rshared",
        (false, flag::SHARED) => "shared",
        (true, flag::SLAVE) => "rslave",
        (false, flag::SLAVE) => "slave",
        (true, _) => "rprivate",
        (false, _) => "private",
    }
}

/// New namespaces, and those of others by their paths.
fn namespaces(plan: &Plan) -> Vec<Value> {
    let asked = &plan.start.namespaces;
    let mut list = vec![json!({"type": "mount"})];
    for (name, file, namespace) in [
        ("pid", "pid", &asked.pid),
        ("ipc", "ipc", &asked.ipc),
        ("network", "net", &asked.net),
        ("uts", "uts", &asked.uts),
        ("cgroup", "cgroup", &asked.cgroup),
    ] {
        match namespace {
            Namespace::Host => {}
            Namespace::New => list.push(json!({"type": name})),
            Namespace::Join { pid } => {
                list.push(json!({"type": name, "path": format!("/proc/{pid}/ns/{file}")}))
            }
        }
    }
    list
}

/// Limits as OCI has them, in v1's units.
fn resources_of(limits: &Limits) -> Value {
    let object = |fields: Vec<(&str, Option<Value>)>| -> Value {
        let set = fields.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
        Value::Object(set.collect::<Map<_, _>>())
    };
    fn value<T: serde::Serialize>(value: &Option<T>) -> Option<Value> {
        value.as_ref().map(|value| json!(value))
    }
    let rates = |list: &[(minke_linux::cgroup::DeviceNumber, u64)]| {
        let rate = |(device, rate): &(minke_linux::cgroup::DeviceNumber, u64)| json!({"major": device.major, "minor": device.minor, "rate": rate});
        (!list.is_empty()).then(|| Value::Array(list.iter().map(rate).collect()))
    };
    let weights = limits
        .blkio_weight_device
        .iter()
        .map(|(d, weight)| json!({"major": d.major, "minor": d.minor, "weight": weight}));
    let weights: Vec<_> = weights.collect();
    let devices = limits.devices.as_deref().unwrap_or_default();
    let mut rules = vec![json!({"allow": false, "access": "rwm"})];
    rules.extend(devices.iter().map(device_rule));
    let mut all = json!({
        "devices": rules,
        "memory": object(vec![
            ("limit", value(&limits.memory)),
            ("swap", value(&limits.memory_swap)),
            ("reservation", value(&limits.memory_reservation)),
            ("swappiness", value(&limits.swappiness)),
            ("kernelTCP", value(&limits.kernel_memory_tcp)),
            ("disableOOMKiller", value(&limits.oom_kill_disable)),
        ]),
        "cpu": object(vec![
            ("shares", value(&limits.cpu_shares)),
            ("quota", value(&limits.cpu_quota)),
            ("period", value(&limits.cpu_period)),
            ("realtimeRuntime", value(&limits.cpu_rt_runtime)),
            ("realtimePeriod", value(&limits.cpu_rt_period)),
            ("cpus", value(&limits.cpuset_cpus)),
            ("mems", value(&limits.cpuset_mems)),
        ]),
        "blockIO": object(vec![
            ("weight", value(&limits.blkio_weight)),
            ("weightDevice", (!weights.is_empty()).then_some(Value::Array(weights))),
            ("throttleReadBpsDevice", rates(&limits.read_bps)),
            ("throttleWriteBpsDevice", rates(&limits.write_bps)),
            ("throttleReadIOPSDevice", rates(&limits.read_iops)),
            ("throttleWriteIOPSDevice", rates(&limits.write_iops)),
        ]),
    });
    if let Some(pids) = limits.pids {
        all["pids"] = json!({"limit": pids});
    }
    all
}

/// A device rule.
fn device_rule(rule: &DeviceRule) -> Value {
    let mut value = json!({"allow": rule.allow, "access": letters_of(rule.access)});
    match rule.kind {
        DeviceKind::All => {}
        DeviceKind::Char => value["type"] = json!("c"),
        DeviceKind::Block => value["type"] = json!("b"),
    }
    if let Some(major) = rule.major {
        value["major"] = json!(major);
    }
    if let Some(minor) = rule.minor {
        value["minor"] = json!(minor);
    }
    value
}

/// A filter in libseccomp's words.
fn seccomp_of(profile: &Profile) -> Value {
    let (default, errno) = action_words(profile.default);
    let arch = |arch: &Arch| match arch {
        Arch::X86_64 => "SCMP_ARCH_X86_64",
        Arch::X86 => "SCMP_ARCH_X86",
        Arch::X32 => "SCMP_ARCH_X32",
        Arch::Aarch64 => "SCMP_ARCH_AARCH64",
        Arch::Arm => "SCMP_ARCH_ARM",
    };
    let rules = profile.rules.iter().map(|rule| {
        let (action, errno) = action_words(rule.action);
        let conditions = rule.conditions.iter().map(|c| {
            json!({"index": c.argument, "value": c.value, "valueTwo": c.second, "op": compare_word(c.compare)})
        });
        let mut value = json!({"names": rule.names, "action": action, "args": conditions.collect::<Vec<_>>()});
        if let Some(errno) = errno {
            value["errnoRet"] = json!(errno);
        }
        value
    });
    let mut value = json!({
        "defaultAction": default,
        "architectures": profile.arches.iter().map(arch).collect::<Vec<_>>(),
        "syscalls": rules.collect::<Vec<_>>(),
    });
    if let Some(errno) = errno {
        value["defaultErrnoRet"] = json!(errno);
    }
    value
}

/// libseccomp's word for an action, and its number.
fn action_words(action: Action) -> (&'static str, Option<u16>) {
    match action {
        Action::Allow => ("SCMP_ACT_ALLOW", None),
        Action::Errno(errno) => ("SCMP_ACT_ERRNO", Some(errno)),
        Action::KillProcess => ("SCMP_ACT_KILL_PROCESS", None),
        Action::KillThread => ("SCMP_ACT_KILL_THREAD", None),
        Action::Trap(_) => ("SCMP_ACT_TRAP", None),
        Action::Trace(data) => ("SCMP_ACT_TRACE", Some(data)),
        Action::Log => ("SCMP_ACT_LOG", None),
    }
}

/// libseccomp's word for a comparison.
fn compare_word(compare: Compare) -> &'static str {
    match compare {
        Compare::NotEqual => "SCMP_CMP_NE",
        Compare::Less => "SCMP_CMP_LT",
        Compare::LessOrEqual => "SCMP_CMP_LE",
        Compare::Equal => "SCMP_CMP_EQ",
        Compare::GreaterOrEqual => "SCMP_CMP_GE",
        Compare::Greater => "SCMP_CMP_GT",
        Compare::Masked => "SCMP_CMP_MASKED_EQ",
    }
}
