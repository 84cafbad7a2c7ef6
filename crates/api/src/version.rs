//! API versions: requests are raised to 1.51, answers are lowered from it. Handlers never see a version.
//!
//! Each rule says what an older version lacked, after Docker's own list
//! (https://docs.docker.com/reference/api/engine/version-history/) and what dockerd 28.5.2 does.

use crate::{
    error::{ApiError, Result},
    query::Query,
    router::Endpoint,
};
use serde_json::{Map, Value, json};
use std::{cmp::Ordering, fmt};

/// A version of the API, as a path names it: `1.51`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Version(Vec<u32>);

/// The newest, and the one whose shapes `wire` has.
pub const NEWEST: &str = "1.51";
/// The oldest.
pub const OLDEST: &str = "1.24";

impl Version {
    /// Digits and dots.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
            return None;
        }
        Some(Self(text.split('.').map(|part| part.parse().unwrap_or(0)).collect()))
    }

    /// `1.minor`.
    pub(crate) fn minor(minor: u32) -> Self {
        Self(vec![1, minor])
    }

    /// The newest.
    pub(crate) fn newest() -> Self {
        Self::minor(51)
    }

    /// Whether it is older than `1.minor`.
    pub(crate) fn before(&self, minor: u32) -> bool {
        self.cmp(&Self::minor(minor)) == Ordering::Less
    }

    /// Refuses versions that are not spoken.
    pub(crate) fn check(&self) -> Result<()> {
        if self.before(24) {
            return Err(ApiError::invalid(format!(
                "client version {self} is too old. Minimum supported API version is {OLDEST}, please upgrade your client to a newer version"
            )));
        }
        if *self > Self::newest() {
            return Err(ApiError::invalid(format!(
                "client version {self} is too new. Maximum supported API version is {NEWEST}"
            )));
        }
        Ok(())
    }
}

impl Ord for Version {
    /// Part by part; a missing part is 0.
    fn cmp(&self, other: &Self) -> Ordering {
        let part = |v: &Self, i: usize| v.0.get(i).copied().unwrap_or(0);
        (0..self.0.len().max(other.0.len()))
            .map(|i| part(self, i).cmp(&part(other, i)))
            .fold(Ordering::Equal, Ordering::then)
    }
}

impl PartialOrd for Version {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts: Vec<String> = self.0.iter().map(u32::to_string).collect();
        f.write_str(&parts.join("."))
    }
}

/// How streams differ by version: told to handlers as facts, so that they need not know which version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Dialect {
    /// Framed streams are named so in `Content-Type` (1.42).
    pub(crate) names_multiplexed: bool,
    /// `wait` sends its head at once (1.30).
    pub(crate) waits_with_head: bool,
    /// Websockets carry binary messages (1.28).
    pub(crate) binary_websocket: bool,
    /// Creating an image is told as an event (1.46).
    pub(crate) image_create_events: bool,
    /// Lists of networks tell their containers (before 1.28).
    pub(crate) networks_with_containers: bool,
    /// Read-only bind mounts leave mounts below writable (before 1.44).
    pub(crate) shallow_read_only: bool,
}

impl Dialect {
    /// Of a version.
    pub(crate) fn of(version: &Version) -> Self {
        Self {
            names_multiplexed: !version.before(42),
            waits_with_head: !version.before(30),
            binary_websocket: !version.before(28),
            image_create_events: !version.before(46),
            networks_with_containers: version.before(28),
            shallow_read_only: version.before(44),
        }
    }
}

/// Takes away the parameters that `version` did not know, and adds what it meant without saying.
pub(crate) fn raise_query(version: &Version, endpoint: Endpoint, query: &mut Query) {
    let mut drop_before = |minor: u32, name: &str| {
        if version.before(minor) {
            query.remove(name);
        }
    };
    match endpoint {
        Endpoint::ContainerStop | Endpoint::ContainerRestart => drop_before(42, "signal"),
        Endpoint::ContainerStats => drop_before(41, "one-shot"),
        Endpoint::ContainerCreate => drop_before(41, "platform"),
        Endpoint::ContainerWait => drop_before(30, "condition"),
        Endpoint::ImageCreate => drop_before(32, "platform"),
        Endpoint::ImageSave | Endpoint::ImageLoad | Endpoint::ImageHistory => drop_before(48, "platform"),
        Endpoint::ImageRemove => drop_before(50, "platforms"),
        Endpoint::ImageInspect => {
            drop_before(48, "manifests");
            drop_before(49, "platform");
        }
        Endpoint::DiskUsage => drop_before(42, "type"),
        Endpoint::ImageList => {
            drop_before(42, "shared-size");
            drop_before(47, "manifests");
            if version.before(41)
                && let Some(pattern) = query.filled("filter")
            {
                add_filter(query, "reference", &pattern);
            }
        }
        Endpoint::ContainerAttachWebsocket if version.before(42) => {
            for stream in ["stdin", "stdout", "stderr"] {
                query.set(stream, "1");
            }
        }
        // Before 1.42 named volumes were pruned, too.
        Endpoint::VolumePrune if version.before(42) => add_filter(query, "all", "true"),
        _ => {}
    }
}

fn add_filter(query: &mut Query, key: &str, value: &str) {
    let Ok(mut filters) = query.filters() else { return };
    filters.entry(key.to_owned()).or_default().insert(value.to_owned());
    query.set("filters", &json!(filters).to_string());
}

/// The object at `key`, if it is one.
fn object<'a>(value: &'a mut Value, key: &str) -> Option<&'a mut Map<String, Value>> {
    value.get_mut(key).and_then(Value::as_object_mut)
}

/// The object at `key`; made when there is none.
fn made<'a>(value: &'a mut Value, key: &str) -> &'a mut Value {
    if !value.is_object() {
        *value = json!({});
    }
    let entry = &mut value[key];
    if !entry.is_object() {
        *entry = json!({});
    }
    entry
}

/// The members of the list at `key` that are objects.
fn members<'a>(value: &'a mut Value, key: &str) -> impl Iterator<Item = &'a mut Value> {
    value.get_mut(key).and_then(Value::as_array_mut).into_iter().flatten().filter(|v| v.is_object())
}

/// Raises a body to 1.51, or says why it cannot mean anything. `legacy_cgroups`: this machine has cgroup v1.
pub(crate) fn raise_body(
    version: &Version,
    endpoint: Endpoint,
    legacy_cgroups: bool,
    body: &mut Value,
) -> Result<()> {
    match endpoint {
        Endpoint::ContainerCreate => raise_create(version, legacy_cgroups, body),
        Endpoint::ContainerUpdate if version.before(40) => {
            body.as_object_mut().map(|o| o.remove("PidsLimit"));
            Ok(())
        }
        Endpoint::ExecCreate | Endpoint::ExecStart if version.before(42) => {
            body.as_object_mut().map(|o| o.remove("ConsoleSize"));
            Ok(())
        }
        Endpoint::NetworkCreate if version.before(48) => {
            body.as_object_mut().map(|o| o.remove("EnableIPv4"));
            Ok(())
        }
        Endpoint::ServiceCreate | Endpoint::ServiceUpdate => {
            raise_service(version, body);
            Ok(())
        }
        Endpoint::SecretCreate | Endpoint::ConfigCreate if version.before(37) => {
            let what = if endpoint == Endpoint::SecretCreate { "secret" } else { "config" };
            match body.get("Templating").is_some_and(|t| !t.is_null()) {
                true => Err(ApiError::invalid(format!(
                    "{what} templating is not supported on the specified API version: {version}"
                ))),
                false => Ok(()),
            }
        }
        Endpoint::SwarmInit => {
            let dropped: &[(u32, &[&str])] =
                &[(39, &["DefaultAddrPool", "SubnetSize"]), (40, &["DataPathPort"])];
            for (_, names) in dropped.iter().filter(|(minor, _)| version.before(*minor)) {
                names.iter().for_each(|name| drop_member(body, name));
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

fn drop_member(value: &mut Value, name: &str) {
    value.as_object_mut().map(|o| o.remove(name));
}

/// Takes away what services could not say then (moby, `adjustForAPIVersion`).
fn raise_service(version: &Version, body: &mut Value) {
    if version.before(41)
        && let Some(mode) = object(body, "Mode")
    {
        mode.remove("ReplicatedJob");
        mode.remove("GlobalJob");
    }
    let Some(task) = body.get_mut("TaskTemplate") else { return };
    if version.before(40)
        && let Some(placement) = object(task, "Placement")
    {
        placement.remove("MaxReplicas");
    }
    if version.before(41)
        && let Some(limits) = task.get_mut("Resources").and_then(|r| object(r, "Limits"))
    {
        limits.remove("Pids");
    }
    let Some(container) = task.get_mut("ContainerSpec").filter(|c| c.is_object()) else { return };
    if version.before(46) {
        drop_member(container, "OomScoreAdj");
        for mount in members(container, "Mounts") {
            object(mount, "TmpfsOptions").map(|o| o.remove("Options"));
        }
    }
    if version.before(44) {
        if let Some(privileges) = object(container, "Privileges") {
            ["Seccomp", "AppArmor", "NoNewPrivileges"].iter().for_each(|name| {
                privileges.remove(*name);
            });
        }
        object(container, "Healthcheck").map(|o| o.remove("StartInterval"));
    }
    if version.before(41) {
        ["CapabilityAdd", "CapabilityDrop", "Ulimits"].iter().for_each(|name| drop_member(container, name));
    }
    if version.before(40) {
        drop_member(container, "Sysctls");
        for config in members(container, "Configs") {
            drop_member(config, "Runtime");
        }
    }
}

fn raise_create(version: &Version, legacy_cgroups: bool, body: &mut Value) -> Result<()> {
    if version.before(44) {
        raise_create_before_44(body)?;
    }
    let Some(host) = body.get_mut("HostConfig").filter(|h| h.is_object()) else { return Ok(()) };
    if version.before(25) {
        host["AutoRemove"] = json!(false);
    }
    if version.before(40) {
        for mount in members(host, "Mounts") {
            object(mount, "BindOptions").map(|o| o.remove("NonRecursive"));
        }
        host.as_object_mut().map(|h| h.remove("KernelMemoryTCP"));
        // The default was shareable then.
        if host.get("IpcMode").and_then(Value::as_str).unwrap_or_default().is_empty() {
            host["IpcMode"] = json!("shareable");
        }
    }
    // The default was the host's then, where there is cgroup v1.
    if version.before(41)
        && legacy_cgroups
        && host.get("CgroupnsMode").and_then(Value::as_str).unwrap_or_default().is_empty()
    {
        host["CgroupnsMode"] = json!("host");
    }
    if version.before(42) {
        raise_mounts_before_42(host);
        host.as_object_mut().map(|h| h.remove("ConsoleSize"));
    }
    if version.before(43) {
        host.as_object_mut().map(|h| h.remove("Annotations"));
    }
    if version.before(45) {
        let subpath = |m: &Value| {
            m.pointer("/VolumeOptions/Subpath").and_then(Value::as_str).is_some_and(|s| !s.is_empty())
        };
        if members(host, "Mounts").any(|m| subpath(m)) {
            return Err(ApiError::invalid("VolumeOptions.Subpath needs API v1.45 or newer"));
        }
    }
    if version.before(48) {
        if members(host, "Mounts").any(|m| m.get("Type").and_then(Value::as_str) == Some("image")) {
            return Err(ApiError::invalid("Mount type \"Image\" needs API v1.48 or newer"));
        }
        migrate_sysctls(body)?;
        if let Some(endpoints) =
            body.pointer_mut("/NetworkingConfig/EndpointsConfig").and_then(Value::as_object_mut)
        {
            for endpoint in endpoints.values_mut().filter_map(Value::as_object_mut) {
                endpoint.remove("GwPriority");
            }
        }
    }
    Ok(())
}

/// Combinations that were not refused before 1.42 are reset, so that they are not refused now.
fn raise_mounts_before_42(host: &mut Value) {
    for mount in members(host, "Mounts") {
        let kind = mount.get("Type").and_then(Value::as_str).unwrap_or_default().to_owned();
        let Some(mount) = mount.as_object_mut() else { continue };
        for (options, of) in [("VolumeOptions", "volume"), ("TmpfsOptions", "tmpfs")] {
            if kind != of {
                mount.remove(options);
            }
        }
        if let Some(bind) = mount.get_mut("BindOptions").and_then(Value::as_object_mut) {
            bind.remove("CreateMountpoint");
        }
    }
}

fn raise_create_before_44(body: &mut Value) -> Result<()> {
    object(body, "Healthcheck").map(|h| h.remove("StartInterval"));
    if let Some(host) = body.get_mut("HostConfig").filter(|h| h.is_object()) {
        for mount in members(host, "Mounts") {
            let bind = mount.get("Type").and_then(Value::as_str) == Some("bind");
            let forced = mount
                .pointer("/BindOptions/ReadOnlyForceRecursive")
                .and_then(Value::as_bool)
                .unwrap_or(false);
            if bind && forced {
                return Err(ApiError::invalid("BindOptions.ReadOnlyForceRecursive needs API v1.44 or newer"));
            }
            // Read-only was not recursive then.
            if bind && mount.get("ReadOnly").and_then(Value::as_bool).unwrap_or(false) {
                made(mount, "BindOptions")["ReadOnlyNonRecursive"] = json!(true);
            }
        }
    }
    let mode = body.pointer("/HostConfig/NetworkMode").and_then(Value::as_str).unwrap_or("").to_owned();
    let mac = body.get("MacAddress").and_then(Value::as_str).unwrap_or("").to_owned();
    let endpoints = body.pointer_mut("/NetworkingConfig/EndpointsConfig").and_then(Value::as_object_mut);
    if let Some(endpoints) = endpoints {
        if endpoints.len() > 1 {
            let names: Vec<&str> = endpoints.keys().map(String::as_str).collect();
            return Err(ApiError::invalid(format!(
                "Container cannot be created with multiple network endpoints: {}",
                names.join(", ")
            )));
        }
        for endpoint in endpoints.values_mut().filter_map(Value::as_object_mut) {
            // One of the endpoint's own was not known; the container's is meant for it.
            endpoint.remove("MacAddress");
            if !mac.is_empty() {
                endpoint.insert("MacAddress".to_owned(), json!(mac));
            }
        }
    }
    if mac.is_empty() {
        return Ok(());
    }
    if mode == "host" || mode == "none" || mode.starts_with("container:") {
        return Err(ApiError::invalid("conflicting options: mac-address and the network mode"));
    }
    let none = body
        .pointer("/NetworkingConfig/EndpointsConfig")
        .and_then(Value::as_object)
        .is_none_or(Map::is_empty);
    if none {
        let network = if mode.is_empty() || mode == "default" { "bridge" } else { &mode };
        body["NetworkingConfig"] = json!({ "EndpointsConfig": { network: { "MacAddress": mac } } });
    }
    body.as_object_mut().map(|o| o.remove("MacAddress"));
    Ok(())
}

/// `net.*.*.eth0.*` belongs to the endpoint of the main network since 1.48.
fn migrate_sysctls(body: &mut Value) -> Result<()> {
    const OPTION: &str = "com.docker.network.endpoint.sysctls";
    let mode = body.pointer("/HostConfig/NetworkMode").and_then(Value::as_str).unwrap_or("").to_owned();
    if mode == "host" || mode.starts_with("container:") {
        return Ok(());
    }
    let Some(sysctls) = body.pointer_mut("/HostConfig/Sysctls").and_then(Value::as_object_mut) else {
        return Ok(());
    };
    let mut moved = Vec::new();
    for (name, value) in sysctls.iter() {
        let parts: Vec<&str> = name.splitn(5, '.').collect();
        if parts.len() != 5 || parts[0] != "net" || !parts[3].starts_with("eth") {
            continue;
        }
        if parts[3] != "eth0" {
            return Err(ApiError::internal(format!(
                "unable to determine network endpoint for sysctl {name}, use driver option '{OPTION}' to set per-interface sysctls"
            )));
        }
        let value = value.as_str().unwrap_or_default();
        moved.push((name.clone(), format!("net.{}.{}.IFNAME.{}={value}", parts[1], parts[2], parts[4])));
    }
    if moved.is_empty() {
        return Ok(());
    }
    for (name, _) in &moved {
        sysctls.remove(name);
    }
    let network = if mode.is_empty() || mode == "default" { "bridge".to_owned() } else { mode };
    let mut options: Vec<String> = moved.into_iter().map(|(_, option)| option).collect();
    let endpoint = made(made(made(body, "NetworkingConfig"), "EndpointsConfig"), &network);
    let driver_options = made(endpoint, "DriverOpts");
    options.extend(driver_options.get(OPTION).and_then(Value::as_str).map(str::to_owned));
    driver_options[OPTION] = json!(options.join(","));
    Ok(())
}

/// Lowers an answer from 1.51 to what `version` said.
pub(crate) fn lower(version: &Version, endpoint: Endpoint, body: &mut Value) {
    match endpoint {
        Endpoint::ContainerInspect if version.before(45) => lower_inspect(body),
        Endpoint::ContainerList if version.before(46) => {
            for row in body.as_array_mut().into_iter().flatten() {
                object(row, "HostConfig").map(|h| h.remove("Annotations"));
            }
        }
        Endpoint::ImageList if version.before(51) => lower_image_list(version, body),
        Endpoint::ImageInspect if version.before(50) => lower_image(version, body),
        Endpoint::Info if version.before(50) => lower_info(version, body),
        Endpoint::DiskUsage if version.before(44) => {
            for image in members(body, "Images") {
                image["VirtualSize"] = image["Size"].clone();
            }
        }
        _ => {}
    }
}

/// Whether `lower` changes anything: without, an answer goes straight to bytes.
pub(crate) fn lowers(version: &Version, endpoint: Endpoint) -> bool {
    match endpoint {
        Endpoint::ContainerInspect => version.before(45),
        Endpoint::ContainerList => version.before(46),
        Endpoint::ImageList => version.before(51),
        Endpoint::ImageInspect | Endpoint::Info => version.before(50),
        Endpoint::DiskUsage => version.before(44),
        _ => false,
    }
}

/// Before 1.45 the short id and the host name were among the aliases in users' networks.
fn lower_inspect(body: &mut Value) {
    let text = |v: Option<&Value>| v.and_then(Value::as_str).unwrap_or_default().to_owned();
    let id = text(body.get("Id"));
    let names = [id.get(..12).unwrap_or(&id).to_owned(), text(body.pointer("/Config/Hostname"))];
    let Some(networks) = body.pointer_mut("/NetworkSettings/Networks").and_then(Value::as_object_mut) else {
        return;
    };
    for (network, endpoint) in networks.iter_mut() {
        if matches!(network.as_str(), "bridge" | "host" | "none" | "default") {
            continue;
        }
        let mut aliases: Vec<Value> = endpoint["Aliases"].as_array().cloned().unwrap_or_default();
        for name in &names {
            let name = json!(name);
            if !aliases.contains(&name) {
                aliases.push(name);
            }
        }
        endpoint["Aliases"] = Value::Array(aliases);
    }
}

fn lower_image_list(version: &Version, body: &mut Value) {
    for image in body.as_array_mut().into_iter().flatten() {
        let empty = |v: &Value| v.as_array().is_none_or(Vec::is_empty);
        // How many containers use an image is told since 1.51.
        image["Containers"] = json!(-1);
        if version.before(43) {
            match (empty(&image["RepoTags"]), empty(&image["RepoDigests"])) {
                (true, true) => {
                    image["RepoTags"] = json!(["<none>:<none>"]);
                    image["RepoDigests"] = json!(["<none>@<none>"]);
                }
                (true, false) => image["RepoTags"] = Value::Null,
                (false, true) => image["RepoDigests"] = Value::Null,
                (false, false) => {}
            }
        }
        if version.before(44) {
            image["VirtualSize"] = image["Size"].clone();
        }
    }
}

/// Fields of an image's `Config` that were always there before 1.50.
fn legacy_config() -> Value {
    json!({
        "AttachStderr": false, "AttachStdin": false, "AttachStdout": false, "Domainname": "", "Hostname": "",
        "Image": "", "OpenStdin": false, "StdinOnce": false, "Tty": false,
    })
}

fn lower_image(version: &Version, body: &mut Value) {
    if let (Some(config), Value::Object(legacy)) = (object(body, "Config"), legacy_config()) {
        for (name, value) in legacy {
            config.entry(name).or_insert(value);
        }
    }
    if version.before(45) {
        body["ContainerConfig"] = json!({
            "Hostname": "", "Domainname": "", "User": "", "AttachStdin": false, "AttachStdout": false,
            "AttachStderr": false, "Tty": false, "OpenStdin": false, "StdinOnce": false, "Env": null, "Cmd": null,
            "Image": "", "Volumes": null, "WorkingDir": "", "Entrypoint": null, "OnBuild": null, "Labels": null,
        });
    }
    if version.before(44) {
        body["VirtualSize"] = body["Size"].clone();
        if body.get("Created").is_none() {
            body["Created"] = json!("0001-01-01T00:00:00Z");
        }
    }
}

fn lower_info(version: &Version, body: &mut Value) {
    body["BridgeNfIptables"] = json!(false);
    body["BridgeNfIp6tables"] = json!(false);
    if version.before(50) {
        body.as_object_mut().map(|o| o.remove("DiscoveredDevices"));
    }
    if version.before(49) {
        body.as_object_mut().map(|o| o.remove("FirewallBackend"));
        for commit in ["ContainerdCommit", "RuncCommit", "InitCommit"] {
            let id = body[commit]["ID"].clone();
            if id.as_str().is_some_and(|id| !id.is_empty()) {
                body[commit]["Expected"] = id;
            }
        }
    }
    if version.before(47)
        && let Some(registry) = object(body, "RegistryConfig")
    {
        registry.insert("AllowNondistributableArtifactsCIDRs".to_owned(), Value::Null);
        registry.insert("AllowNondistributableArtifactsHostnames".to_owned(), Value::Null);
    }
    if version.before(46) {
        body.as_object_mut().map(|o| o.remove("Containerd"));
    }
    if version.before(44)
        && let Some(runtimes) = object(body, "Runtimes")
    {
        for runtime in runtimes.values_mut().filter_map(Value::as_object_mut) {
            runtime.remove("status");
        }
    }
    if version.before(25) {
        // Only names then: `name=seccomp,profile=builtin` was `seccomp`.
        for option in body["SecurityOptions"].as_array_mut().into_iter().flatten() {
            let name = option.as_str().and_then(|o| o.split(',').find_map(|part| part.strip_prefix("name=")));
            if let Some(name) = name.map(str::to_owned) {
                *option = json!(name);
            }
        }
    }
}

#[cfg(test)]
mod tests;
