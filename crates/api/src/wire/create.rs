//! `POST /containers/create`: from Docker's JSON to a `ContainerSpec`, with everything that dockerd refuses by form.
//!
//! Checks come in dockerd's order, so that the first complaint is the same. What needs the machine or other objects
//! (does the image exist, is the link's target there) is the engine's.

use super::{
    Words,
    config::{Config, Healthcheck},
    endpoint::EndpointSettings,
    folded,
    host::{HostConfig, RestartPolicy},
    mounts, ports, security, wire,
};
use crate::error::ApiError;
use minke_model::{
    ContainerSpec,
    container::{IpcSharing, NamespaceSpec, NetworkMode, NetworkingSpec, ProcessSpec, Sharing},
    go::{self, quote},
    health::HealthSpec,
    image::Platform,
    log::LogSpec,
    mount::{BindSpec, MountSpec},
    network::EndpointSpec,
    port::Port,
    resources::Resources,
    restart::RestartPolicy as Policy,
};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

wire! {
    /// The whole body.
    struct CreateBody {
        @flatten config: Config,
        host_config: Option<HostConfig>,
        networking_config: Option<NetworkingConfig>,
    }
}

wire! {
    /// Networks to connect to.
    struct NetworkingConfig {
        endpoints_config: super::Map<EndpointSettings>,
    }
}

/// A container as asked, and what dockerd warns of.
#[derive(Debug)]
pub(crate) struct Asked {
    /// For the engine.
    pub(crate) spec: ContainerSpec,
    /// Told after the engine's own.
    pub(crate) warnings: Vec<String>,
}

/// The sentence for a body without any `Config`.
const EMPTY: &str = "config cannot be empty in order to create a container";

/// Reads a body that has been raised to 1.51. `cpus` is how many this machine has.
pub(crate) fn parse(body: Value, platform: Option<Platform>, cpus: usize) -> Result<Asked, ApiError> {
    let no_config = body
        .as_object()
        .is_none_or(|o| !o.keys().any(|k| Config::FIELDS.iter().any(|f| f.eq_ignore_ascii_case(k))));
    if no_config && body.is_null() {
        return Err(ApiError::invalid(EMPTY));
    }
    let body: CreateBody = folded(body).map_err(|e| ApiError::invalid(format!("invalid JSON: {e}")))?;
    let host = body.host_config.unwrap_or_default();
    check_modes_together(&body.config, &host)?;
    if !matches!(host.isolation.as_str(), "" | "default") {
        let isolation = &host.isolation;
        return Err(ApiError::invalid(format!(
            "invalid isolation ({isolation}): linux only supports 'default'"
        )));
    }
    host.resources.check_early()?;
    if no_config {
        return Err(ApiError::invalid(EMPTY));
    }
    for mount in &host.mounts {
        mount.check_options()?;
    }
    let mut warnings = Vec::new();
    let endpoints =
        endpoints(&body.config, &host, body.networking_config.unwrap_or_default(), &mut warnings)?;
    let spec = convert(&body.config, &host, endpoints, platform, cpus, &mut warnings)?;
    Ok(Asked { spec, warnings })
}

/// Whether asked for in `container:` form, and of whom.
fn container_mode(mode: &str) -> Option<&str> {
    if mode == "container" { Some("") } else { mode.strip_prefix("container:") }
}

/// What cannot be had together with somebody else's network or host name.
fn check_modes_together(config: &Config, host: &HostConfig) -> Result<(), ApiError> {
    let refuse = |condition: bool, sentence: &str| match condition {
        true => Err(ApiError::invalid(sentence)),
        false => Ok(()),
    };
    let filled = |list: &Option<Vec<String>>| list.as_ref().is_some_and(|l| !l.is_empty());
    if let Some(target) = container_mode(&host.network_mode) {
        let published = host.port_bindings.as_ref().is_some_and(|p| !p.is_empty()) || host.publish_all_ports;
        refuse(target.is_empty(), "invalid network mode: invalid container format container:<name|id>")?;
        refuse(!config.hostname.is_empty(), "conflicting options: hostname and the network mode")?;
        refuse(
            filled(&host.links),
            "conflicting options: container type network can't be used with links. This would result in undefined behavior",
        )?;
        refuse(filled(&host.dns), "conflicting options: dns and the network mode")?;
        refuse(
            filled(&host.extra_hosts),
            "conflicting options: custom host-to-IP mapping and the network mode",
        )?;
        refuse(published, "conflicting options: port publishing and the container type network mode")?;
        refuse(
            !config.exposed_ports.is_empty(),
            "conflicting options: port exposing and the container type network mode",
        )?;
    }
    refuse(
        host.uts_mode == "host" && !config.hostname.is_empty(),
        "conflicting options: hostname and the UTS mode",
    )?;
    refuse(
        host.network_mode == "host" && filled(&host.links),
        "conflicting options: host type networking can't be used with links. This would result in undefined behavior",
    )
}

/// Networks with what is asked of each; the container-wide MAC address goes to the main one.
fn endpoints(
    config: &Config,
    host: &HostConfig,
    networking: NetworkingConfig,
    warnings: &mut Vec<String>,
) -> Result<BTreeMap<String, EndpointSpec>, ApiError> {
    let mut asked = networking.endpoints_config.0;
    let main = match host.network_mode.as_str() {
        "" | "default" => "bridge",
        mode => mode,
    };
    if let Some(settings) = asked.remove("default") {
        asked.entry("bridge".to_owned()).or_insert(settings);
    }
    let mac = &config.mac_address;
    if !mac.is_empty() {
        let own_network = container_mode(main).is_none() && !matches!(main, "host" | "none");
        if own_network {
            let alone = asked.is_empty();
            let entry = match asked.entry(main.to_owned()) {
                std::collections::btree_map::Entry::Occupied(entry) => entry.into_mut(),
                std::collections::btree_map::Entry::Vacant(entry) if alone => {
                    entry.insert(EndpointSettings::default())
                }
                std::collections::btree_map::Entry::Vacant(_) => {
                    return Err(ApiError::invalid(
                        "unable to migrate container-wide MAC address to a specific network: HostConfig.NetworkMode must match the identity of a network in NetworkSettings.Networks",
                    ));
                }
            };
            if !entry.mac_address.is_empty() && entry.mac_address != *mac {
                return Err(ApiError::invalid(
                    "the container-wide MAC address must match the endpoint-specific MAC address for the main network, or be left empty",
                ));
            }
            entry.mac_address.clone_from(mac);
        }
        warnings.push(
            "The container-wide MacAddress field is now deprecated. It should be specified in EndpointsConfig instead."
                .to_owned(),
        );
    }
    for name in host.sysctls.0.keys() {
        let parts: Vec<&str> = name.splitn(5, '.').collect();
        if parts.len() == 5
            && parts[0] == "net"
            && parts[3].starts_with("eth")
            && container_mode(main).is_none()
            && main != "host"
        {
            return Err(ApiError::internal(format!(
                "interface specific sysctl setting {} must be supplied using driver option 'com.docker.network.endpoint.sysctls'",
                quote(name)
            )));
        }
    }
    asked.into_iter().map(|(name, settings)| settings.parse(&name).map(|spec| (name, spec))).collect()
}

/// dockerd's `verifyContainerSettings`, and the conversion.
fn convert(
    config: &Config,
    host: &HostConfig,
    endpoints: BTreeMap<String, EndpointSpec>,
    platform: Option<Platform>,
    cpus: usize,
    warnings: &mut Vec<String>,
) -> Result<ContainerSpec, ApiError> {
    let working_dir = match config.working_dir.as_str() {
        "" => String::new(),
        path if path.starts_with('/') => go::clean(path),
        path => {
            return Err(ApiError::invalid(format!(
                "the working directory '{path}' is invalid, it needs to be an absolute path"
            )));
        }
    };
    if !config.stop_signal.is_empty() {
        check_signal(&config.stop_signal)?;
    }
    if let Some(bad) = config.env.iter().flatten().find(|e| e.is_empty() || e.starts_with('=')) {
        return Err(ApiError::invalid(format!("invalid environment variable: {bad}")));
    }
    if let Some(probe) = &config.healthcheck {
        check_health(probe)?;
    }
    if host.auto_remove && !host.restart_policy.is_none() {
        return Err(ApiError::invalid("can't create 'AutoRemove' container with restart policy"));
    }
    let mounts = host.mounts.iter().map(mounts::Mount::parse).collect::<Result<Vec<MountSpec>, _>>()?;
    if mounts.iter().any(|m| m.kind == minke_model::mount::MountKind::Image) {
        warnings.push("Image mount is an experimental feature".to_owned());
    }
    for extra in host.extra_hosts.iter().flatten() {
        check_extra_host(extra)?;
    }
    let port_bindings = ports::parse_bindings(
        host.port_bindings.as_ref().unwrap_or(&super::Map::default()),
        &config.exposed_ports.0,
    )?;
    let restart = parse_restart(&host.restart_policy)?;
    security::check_capabilities("CapAdd", &host.cap_add)?;
    security::check_capabilities("CapDrop", &host.cap_drop)?;
    if host.annotations.0.contains_key("") {
        return Err(ApiError::invalid(
            "invalid Annotations: the empty string is not permitted as an annotation key",
        ));
    }
    host.resources.check(cpus, false)?;
    warnings.extend(host.resources.warnings());
    let namespaces = parse_namespaces(host)?;
    if host.network_mode == "host" && host.port_bindings.as_ref().is_some_and(|p| !p.is_empty()) {
        warnings.push("Published ports are discarded when using host network mode".to_owned());
    }
    for target in host.tmpfs.0.keys() {
        mounts::check_tmpfs_target(target)?;
    }
    if !matches!(host.cgroupns_mode.as_str(), "" | "host" | "private") {
        return Err(ApiError::invalid(format!("invalid cgroup namespace mode: {}", host.cgroupns_mode)));
    }
    warn_of_volume_driver(host, &mounts, warnings);
    let security = security::parse(host)?;
    for from in host.volumes_from.iter().flatten() {
        mounts::check_volumes_from(from)?;
    }
    super::log::check(&host.log_config)?;
    let binds = parse_binds(host)?;
    for link in host.links.iter().flatten() {
        check_link(link)?;
    }
    let mut resources = Resources::from(&host.resources);
    // dockerd takes 0 and everything below for "no limit", and shows none.
    resources.pids_limit = resources.pids_limit.filter(|limit| *limit > 0);
    let exposed: BTreeSet<Port> = config.exposed_ports.0.keys().filter_map(|key| ports::meant(key)).collect();
    let ours = |key: &String| ports::meant(key).is_some_and(|port| port.to_string() == *key);
    let exposed_as = config.exposed_ports.0.keys().filter(|key| !ours(key)).cloned().collect();
    let words = |w: &Option<Words>| w.clone().map(|w| w.0);
    Ok(ContainerSpec {
        image: config.image.clone(),
        platform,
        process: ProcessSpec {
            user: config.user.clone(),
            env: config.env.clone().unwrap_or_default(),
            cmd: words(&config.cmd),
            entrypoint: words(&config.entrypoint),
            working_dir,
            tty: config.tty,
            open_stdin: config.open_stdin,
            stdin_once: config.stdin_once,
            attach_stdin: config.attach_stdin,
            attach_stdout: config.attach_stdout,
            attach_stderr: config.attach_stderr,
            args_escaped: config.args_escaped,
        },
        hostname: config.hostname.clone(),
        domainname: config.domainname.clone(),
        labels: config.labels.clone().unwrap_or_default().0,
        annotations: host.annotations.0.clone(),
        healthcheck: config.healthcheck.as_ref().map(HealthSpec::from),
        stop_signal: (!config.stop_signal.is_empty()).then(|| config.stop_signal.clone()),
        stop_timeout: config.stop_timeout,
        exposed_ports: exposed,
        exposed_as,
        volumes: config.volumes.iter().flat_map(|v| v.0.keys().cloned()).collect(),
        on_build: config.on_build.clone(),
        shell: words(&config.shell),
        binds,
        mounts,
        tmpfs: host.tmpfs.0.clone(),
        volumes_from: host.volumes_from.clone(),
        volume_driver: host.volume_driver.clone(),
        namespaces,
        security,
        resources,
        networking: NetworkingSpec {
            mode: match NetworkMode::parse(&host.network_mode) {
                NetworkMode::Default => NetworkMode::Bridge,
                mode => mode,
            },
            endpoints,
            mac: String::new(),
            disabled: config.network_disabled,
            port_bindings,
            port_bindings_as: host.port_bindings.as_ref().map(ports::said),
            publish_all: host.publish_all_ports,
            dns: host.dns.clone().unwrap_or_default(),
            dns_options: host.dns_options.clone(),
            dns_search: host.dns_search.clone(),
            extra_hosts: host.extra_hosts.clone(),
            links: host.links.clone(),
        },
        log: LogSpec { driver: host.log_config.driver.clone(), options: host.log_config.config.0.clone() },
        restart,
        auto_remove: host.auto_remove,
        shm_size: host.shm_size,
        sysctls: host.sysctls.0.clone(),
        oom_score_adj: host.oom_score_adj,
        init: host.init,
        runtime: host.runtime.clone(),
        container_id_file: host.container_id_file.clone(),
        storage_options: host.storage_opt.0.clone(),
        console_size: host.console_size,
        isolation: host.isolation.clone(),
        cgroup: host.cgroup.clone(),
    })
}

/// The smallest time that a probe may have, in nanoseconds.
const MINIMUM_PROBE_TIME: i64 = 1_000_000;

fn check_health(probe: &Healthcheck) -> Result<(), ApiError> {
    let times = [("Interval", probe.interval), ("Timeout", probe.timeout)];
    let later = [("StartPeriod", probe.start_period), ("StartInterval", probe.start_interval)];
    let short = |times: &[(&str, i64)]| {
        let short = times.iter().find(|(_, t)| *t != 0 && *t < MINIMUM_PROBE_TIME).map(|(name, _)| *name);
        short.map_or(Ok(()), |name| {
            Err(ApiError::invalid(format!("{name} in Healthcheck cannot be less than 1ms")))
        })
    };
    short(&times)?;
    if probe.retries < 0 {
        return Err(ApiError::invalid("Retries in Healthcheck cannot be negative"));
    }
    short(&later)
}

/// `name:address`, where the address may be `host-gateway`.
fn check_extra_host(text: &str) -> Result<(), ApiError> {
    let bad = || ApiError::invalid(format!("bad format for add-host: {}", quote(text)));
    let (name, address) = text.split_once(':').ok_or_else(bad)?;
    if name.is_empty() {
        return Err(bad());
    }
    if address != "host-gateway" && address.trim().parse::<std::net::IpAddr>().is_err() {
        return Err(ApiError::invalid(format!("invalid IP address in add-host: {}", quote(address))));
    }
    Ok(())
}

/// `name` or `name:alias`.
fn check_link(text: &str) -> Result<(), ApiError> {
    if text.is_empty() {
        return Err(ApiError::internal("empty string specified for links"));
    }
    match text.split(':').count() {
        1 | 2 => Ok(()),
        _ => Err(ApiError::internal(format!("bad format for links: {text}"))),
    }
}

/// A restart policy as asked.
pub(crate) fn parse_restart(policy: &RestartPolicy) -> Result<Policy, ApiError> {
    let count = policy.maximum_retry_count;
    let refuse = |why: &str| Err(ApiError::invalid(format!("invalid restart policy: {why}")));
    let plain = match policy.name.as_str() {
        "" | "no" => Policy::No,
        "always" => Policy::Always,
        "unless-stopped" => Policy::UnlessStopped,
        "on-unhealthy" => Policy::OnUnhealthy,
        "on-failure" if count < 0 => return refuse("maximum retry count cannot be negative"),
        "on-failure" => return Ok(Policy::OnFailure(u32::try_from(count).unwrap_or(u32::MAX))),
        name => {
            return refuse(&format!(
                "unknown policy '{name}'; use one of 'no', 'always', 'on-failure', or 'unless-stopped'"
            ));
        }
    };
    match count {
        0 => Ok(plain),
        ..0 => refuse("maximum retry count can only be used with 'on-failure' and cannot be negative"),
        _ => refuse("maximum retry count can only be used with 'on-failure'"),
    }
}

fn parse_namespaces(host: &HostConfig) -> Result<NamespaceSpec, ApiError> {
    let ipc = match host.ipc_mode.as_str() {
        "" => IpcSharing::Default,
        "private" => IpcSharing::Private,
        "shareable" => IpcSharing::Shareable,
        "none" => IpcSharing::None,
        "host" => IpcSharing::Host,
        mode => match mode.strip_prefix("container:") {
            Some(name) => IpcSharing::Container(name.to_owned()),
            None => return Err(ApiError::invalid(format!("invalid IPC mode: {mode}"))),
        },
    };
    let pid = match host.pid_mode.as_str() {
        "" => Sharing::Private,
        "host" => Sharing::Host,
        mode => match mode.strip_prefix("container:").filter(|name| !name.is_empty()) {
            Some(name) => Sharing::Container(name.to_owned()),
            None => return Err(ApiError::invalid(format!("invalid PID mode: {mode}"))),
        },
    };
    if host.shm_size < 0 {
        return Err(ApiError::invalid("SHM size can not be less than 0"));
    }
    if !matches!(host.uts_mode.as_str(), "" | "host") {
        return Err(ApiError::invalid(format!("invalid UTS mode: {}", host.uts_mode)));
    }
    if !(-1000..=1000).contains(&host.oom_score_adj) {
        return Err(ApiError::invalid(format!(
            "Invalid value {}, range for oom score adj is [-1000, 1000]",
            host.oom_score_adj
        )));
    }
    Ok(NamespaceSpec {
        pid,
        ipc,
        uts_host: host.uts_mode == "host",
        user_host: host.userns_mode == "host",
        cgroup_host: match host.cgroupns_mode.as_str() {
            "host" => Some(true),
            "private" => Some(false),
            _ => None,
        },
    })
}

fn warn_of_volume_driver(host: &HostConfig, mounts: &[MountSpec], warnings: &mut Vec<String>) {
    let undecided = |m: &MountSpec| {
        m.kind == minke_model::mount::MountKind::Volume
            && m.volume.as_ref().is_none_or(|v| v.driver.is_empty())
    };
    if !host.volume_driver.is_empty() && mounts.iter().any(undecided) {
        warnings.push("WARNING: the container-wide volume-driver configuration is ignored for volumes specified via 'mount'. Use '--mount type=volume,volume-driver=...' instead".to_owned());
    }
}

fn parse_binds(host: &HostConfig) -> Result<Option<Vec<BindSpec>>, ApiError> {
    let Some(texts) = &host.binds else { return Ok(None) };
    let binds = texts.iter().map(|b| mounts::parse_bind(b)).collect::<Result<Vec<_>, _>>()?;
    let mut targets = BTreeSet::new();
    for bind in &binds {
        let target = go::clean(&bind.target);
        // Anonymous volumes of images give way; two asked for never do.
        if !targets.insert(target.clone()) {
            return Err(ApiError::invalid(format!("Duplicate mount point: {target}")));
        }
    }
    Ok(Some(binds))
}

/// Signals by name (signal(7)), and by number: as dockerd, any positive one.
fn check_signal(text: &str) -> Result<(), ApiError> {
    const NAMES: &str = "ABRT ALRM BUS CHLD CLD CONT FPE HUP ILL INT IO IOT KILL PIPE POLL PROF PWR QUIT SEGV STKFLT STOP SYS \
                         TERM TRAP TSTP TTIN TTOU URG USR1 USR2 VTALRM WINCH XCPU XFSZ RTMIN RTMAX";
    let bad = || ApiError::invalid(format!("invalid signal: {text}"));
    if let Ok(number) = text.parse::<i64>() {
        return if number > 0 { Ok(()) } else { Err(bad()) };
    }
    let upper = text.to_ascii_uppercase();
    let plain = upper.strip_prefix("SIG").unwrap_or(&upper);
    let real_time = plain.strip_prefix("RTMIN+").or_else(|| plain.strip_prefix("RTMAX-"));
    let known = match real_time {
        Some(offset) => offset.parse::<u8>().is_ok_and(|n| (1..=15).contains(&n)),
        None => NAMES.split_whitespace().any(|name| name == plain),
    };
    if known { Ok(()) } else { Err(bad()) }
}

#[cfg(test)]
mod tests;
