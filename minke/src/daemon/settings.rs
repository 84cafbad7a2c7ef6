//! From flags and files to the engine's configuration: every value checked, with its flag named.

use super::flags::Given;
use minke_engine::{
    EngineConfig, ExternalRuntime, NetworkFaults, PublishPolicy, registry, space::Watermarks,
};
use minke_model::{Labels, go, log::LogSpec, network::Subnet, resources::Ulimit};
use std::{
    collections::BTreeMap,
    net::IpAddr,
    path::{Path, PathBuf},
    str::FromStr,
};

/// The shim's own small program, where `script/build` embedded one; without it this program stands in for it.
const SHIM: Option<&[u8]> = include!(concat!(env!("OUT_DIR"), "/shim.rs"));

/// As whom the daemon was called: their defaults differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Persona {
    /// `minke daemon`.
    Minke,
    /// `dockerd`.
    Dockerd,
}

impl Persona {
    /// The configuration file that is read when none is named.
    pub(super) fn config_file(self) -> &'static str {
        match self {
            Persona::Minke => "/etc/minke/minke.toml",
            Persona::Dockerd => "/etc/docker/daemon.json",
        }
    }

    fn data_root(self) -> &'static str {
        match self {
            Persona::Minke => "/var/lib/minke",
            Persona::Dockerd => "/var/lib/docker",
        }
    }

    fn exec_root(self) -> &'static str {
        match self {
            Persona::Minke => "/run/minke",
            Persona::Dockerd => "/var/run/docker",
        }
    }

    fn bridge(self) -> &'static str {
        match self {
            Persona::Minke => "minke0",
            Persona::Dockerd => "docker0",
        }
    }

    fn group(self) -> &'static str {
        match self {
            Persona::Minke => "minke",
            Persona::Dockerd => "docker",
        }
    }
}

/// All that the daemon needs to know.
pub(super) struct Settings {
    pub(super) engine: EngineConfig,
    pub(super) hosts: Vec<String>,
    pub(super) group: String,
    pub(super) pidfile: Option<PathBuf>,
    pub(super) log_level: String,
    /// SIGTERM stops containers too.
    pub(super) stop_containers: bool,
    pub(super) shutdown_timeout: i64,
    pub(super) tls: Option<TlsFiles>,
    pub(super) oom_score_adjust: i64,
    /// What this machine is called in a cluster; empty is its host name.
    pub(super) node_name: String,
    /// Where other machines of a cluster find this one, when nothing else is said; empty is found.
    pub(super) default_advertise: String,
    /// The program that keeps a cluster's records for several managers.
    pub(super) etcd_binary: String,
    /// Accepted, but without effect here: told once.
    pub(super) warnings: Vec<String>,
}

/// Files for TLS on tcp sockets.
pub(super) struct TlsFiles {
    pub(super) ca: Option<PathBuf>,
    pub(super) cert: PathBuf,
    pub(super) key: PathBuf,
    /// Clients must show a certificate of the CA.
    pub(super) verify: bool,
}

/// The settings that `given` means.
pub(super) fn settle(given: &Given, persona: Persona) -> Result<Settings, String> {
    refuse(given)?;
    let f = &given.flags;
    let data_root = PathBuf::from(f.data_root.as_deref().unwrap_or(persona.data_root()));
    let exec_root = PathBuf::from(f.exec_root.as_deref().unwrap_or(persona.exec_root()));
    for (flag, path) in [("data-root", &data_root), ("exec-root", &exec_root)] {
        if !path.is_absolute() {
            return Err(format!("--{flag} must be an absolute path, not {}", path.display()));
        }
    }
    let hosts = if f.host.is_empty() {
        vec![match persona {
            Persona::Minke => format!("unix://{}/minke.sock", exec_root.display()),
            Persona::Dockerd => "unix:///var/run/docker.sock".to_owned(),
        }]
    } else {
        f.host.iter().map(|h| normal_host(h)).collect()
    };
    // dockerd makes no bridge but its own: one that is named must be there.
    let named = f.bridge.as_deref().filter(|name| !matches!(*name, "" | "none" | "docker0"));
    if let (Persona::Dockerd, Some(name)) = (persona, named)
        // Of this network namespace, which /sys may not be.
        && !Path::new("/proc/sys/net/ipv4/conf").join(name).exists()
    {
        return Err(format!(
            "failed to start daemon: bridge device with non default name {name} must be created manually"
        ));
    }
    let live_restore = f.live_restore.unwrap_or(persona == Persona::Minke);
    let engine = EngineConfig {
        bridge: f.bridge.clone().unwrap_or_else(|| persona.bridge().to_owned()),
        // Moby's own tests name another file there (`integration/networking/resolvconf_test.go`).
        resolv_conf: std::env::var_os("DOCKER_TEST_RESOLV_CONF_PATH").map(PathBuf::from),
        bridge_is_users: persona == Persona::Dockerd && named.is_some(),
        bip: optional("bip", &f.bip)?,
        bip6: optional("bip6", &f.bip6)?,
        fixed_cidr: optional("fixed-cidr", &f.fixed_cidr)?,
        fixed_cidr_v6: optional("fixed-cidr-v6", &f.fixed_cidr_v6)?,
        default_gateway: gateway("default-gateway", &f.default_gateway, false)?,
        default_gateway_v6: gateway("default-gateway-v6", &f.default_gateway_v6, true)?,
        ipv6: f.ipv6,
        icc: f.icc.unwrap_or(true),
        ip_masq: f.ip_masq.unwrap_or(true),
        ip_forward: f.ip_forward.unwrap_or(true),
        firewall: f.iptables.unwrap_or(true),
        keep_bridges: persona == Persona::Dockerd,
        default_host_ip: parse("ip", &f.ip)?,
        mtu: u32::try_from(f.mtu).map_err(|_| format!("invalid --mtu {}", f.mtu))?,
        address_pools: f
            .default_address_pool
            .iter()
            .map(|p| parse("default-address-pool", p))
            .collect::<Result<_, _>>()?,
        network_options: network_options(&f.default_network_opt)?,
        direct_routing: f.allow_direct_routing,
        network_faults: faults(persona),
        publish_policy: publish_policy(&f.publish_policy, persona)?,
        log: LogSpec { driver: f.log_driver.clone(), options: pairs("log-opt", &f.log_opt)? },
        cgroup_parent: f.cgroup_parent.clone(),
        runtimes: runtimes(&f.add_runtime)?,
        default_runtime: f.default_runtime.clone(),
        default_ulimits: f.default_ulimit.iter().map(|u| ulimit(u)).collect::<Result<_, _>>()?,
        default_shm_size: size("default-shm-size", &f.default_shm_size)?,
        default_ipc_shareable: one_of("default-ipc-mode", &f.default_ipc_mode, &["private", "shareable"])?
            == "shareable",
        default_cgroupns_host: match one_of(
            "default-cgroupns-mode",
            &f.default_cgroupns_mode,
            &["", "host", "private"],
        )? {
            "host" => Some(true),
            "private" => Some(false),
            _ => None,
        },
        no_new_privileges: f.no_new_privileges,
        seccomp_profile: seccomp(&f.seccomp_profile)?,
        init: f.init,
        dns: addresses("dns", &f.dns)?,
        dns_options: f.dns_opt.clone(),
        dns_search: f.dns_search.clone(),
        host_gateway: f
            .host_gateway_ip
            .iter()
            .map(|a| parse::<IpAddr>("host-gateway-ip", a))
            .collect::<Result<_, _>>()?,
        labels: pairs("label", &f.label)?,
        shutdown_timeout: f.shutdown_timeout,
        stop_survivors: !live_restore,
        shim: Vec::new(),
        shim_bytes: SHIM,
        buildkit: feature(given, "buildkit")?.unwrap_or(true),
        cdi: cdi(given)?,
        watermarks: watermarks(given)?,
        registries: registries(given)?,
        debug: f.debug || matches!(f.log_level.as_str(), "debug" | "trace"),
        // Told as dockerd tells it: a setting, not what Minke does anyway.
        live_restore: f.live_restore == Some(true),
        data_root,
        exec_root,
    };
    Ok(Settings {
        engine,
        hosts,
        group: f.group.clone().unwrap_or_else(|| persona.group().to_owned()),
        pidfile: f
            .pidfile
            .clone()
            .or((persona == Persona::Dockerd).then(|| "/var/run/docker.pid".to_owned()))
            .map(PathBuf::from),
        log_level: if f.debug { "debug".into() } else { f.log_level.clone() },
        stop_containers: f.stop_containers_on_exit || !live_restore,
        shutdown_timeout: f.shutdown_timeout,
        tls: tls(given)?,
        oom_score_adjust: f.oom_score_adjust,
        node_name: f.node_name.clone().unwrap_or_default(),
        default_advertise: f.swarm_default_advertise_addr.clone(),
        etcd_binary: f.etcd_binary.clone(),
        warnings: without_effect(given).into_iter().chain(overridden_proxies(given)).collect(),
    })
}

/// What cannot be done is said before anything begins.
fn refuse(given: &Given) -> Result<(), String> {
    let f = &given.flags;
    let refusals = [
        (!f.userns_remap.is_empty(), "--userns-remap is not supported yet"),
        (f.rootless, "--rootless is not supported"),
        (f.selinux_enabled, "--selinux-enabled is not supported"),
        (
            !f.authorization_plugin.is_empty(),
            "--authorization-plugin is not supported: plugins are not supported",
        ),
        (!f.metrics_addr.is_empty(), "--metrics-addr is not supported yet"),
        (
            f.cpu_rt_period != 0 || f.cpu_rt_runtime != 0,
            "--cpu-rt-period and --cpu-rt-runtime are not supported",
        ),
        (f.log_format != "text", "--log-format must be \"text\""),
    ];
    if let Some((_, why)) = refusals.iter().find(|(asked, _)| *asked) {
        return Err((*why).to_owned());
    }
    if !matches!(f.storage_driver.as_str(), "" | "overlay2" | "overlay") {
        return Err(format!("--storage-driver {} is not supported: only overlay2 is", f.storage_driver));
    }
    if let Some(option) = f.exec_opt.iter().find(|o| *o != "native.cgroupdriver=cgroupfs") {
        return Err(format!(
            "--exec-opt {option} is not supported: containers' cgroups are made by the daemon itself (native.cgroupdriver=cgroupfs)"
        ));
    }
    if let Some(option) = f.storage_opt.iter().find(|o| !o.starts_with("overlay2.override_kernel_check")) {
        return Err(format!("--storage-opt {option} is not supported"));
    }
    if !matches!(f.log_level.as_str(), "trace" | "debug" | "info" | "warn" | "error" | "fatal" | "panic") {
        return Err(format!("invalid logging level: {}", f.log_level));
    }
    Ok(())
}

fn without_effect(given: &Given) -> Vec<String> {
    const IDLE: &[&str] = &[
        "allow-nondistributable-artifacts",
        "containerd",
        "containerd-namespace",
        "containerd-plugins-namespace",
        "experimental",
        "init-path",
        "ip-forward-no-drop",
        "network-control-plane-mtu",
        "node-generic-resource",
        "raw-logs",
        "userland-proxy",
        "userland-proxy-path",
        "base-domain",
    ];
    IDLE.iter()
        .filter(|name| given.names.contains(**name))
        .map(|name| format!("--{name} has no effect here"))
        .collect()
}

/// Whether a feature is asked to be on or off; the last word counts.
fn feature(given: &Given, wanted: &str) -> Result<Option<bool>, String> {
    let mut told = None;
    for feature in &given.flags.feature {
        let (name, value) = feature.split_once('=').unwrap_or((feature, "true"));
        let value = go::parse_bool(value).ok_or_else(|| {
            format!("invalid value {feature:?} for --feature: it must be name=true or name=false")
        })?;
        if name == wanted {
            told = Some(value);
        }
    }
    Ok(told)
}

/// Where CDI devices are looked for; `None` where the feature is off.
fn cdi(given: &Given) -> Result<Option<Vec<PathBuf>>, String> {
    let on = feature(given, "cdi")?.unwrap_or(true);
    let asked = &given.flags.cdi_spec_dir;
    let directories = match given.names.contains("cdi-spec-dir") {
        true => asked.iter().filter(|directory| !directory.is_empty()).map(PathBuf::from).collect(),
        false => ["/etc/cdi", "/var/run/cdi"].map(PathBuf::from).to_vec(),
    };
    Ok(on.then_some(directories))
}

fn parse<T: FromStr>(flag: &str, text: &str) -> Result<T, String>
where
    T::Err: std::fmt::Display,
{
    text.parse().map_err(|e| format!("invalid value {text:?} for --{flag}: {e}"))
}

fn optional(flag: &str, text: &str) -> Result<Option<Subnet>, String> {
    if text.is_empty() { Ok(None) } else { parse(flag, text).map(Some) }
}

/// An address of one family.
fn gateway(flag: &str, text: &str, ipv6: bool) -> Result<Option<IpAddr>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    let address: IpAddr = parse(flag, text)?;
    if address.is_ipv6() != ipv6 {
        let family = if ipv6 { "IPv6" } else { "IPv4" };
        return Err(format!("invalid value {text:?} for --{flag}: it must be an {family} address"));
    }
    Ok(Some(address))
}

fn addresses(flag: &str, texts: &[String]) -> Result<Vec<String>, String> {
    for text in texts {
        parse::<IpAddr>(flag, text)?;
    }
    Ok(texts.to_vec())
}

fn one_of<'a>(flag: &str, text: &'a str, allowed: &[&str]) -> Result<&'a str, String> {
    if allowed.contains(&text) {
        Ok(text)
    } else {
        Err(format!("invalid value {text:?} for --{flag}: it must be one of {}", allowed.join(", ")))
    }
}

fn pairs(flag: &str, texts: &[String]) -> Result<Labels, String> {
    let mut map = BTreeMap::new();
    for text in texts {
        let (key, value) = text
            .split_once('=')
            .ok_or_else(|| format!("invalid value {text:?} for --{flag}: it must be key=value"))?;
        map.insert(key.to_owned(), value.to_owned());
    }
    Ok(map)
}

/// `bridge=com.docker.network.driver.mtu=1234`.
fn network_options(texts: &[String]) -> Result<BTreeMap<String, Labels>, String> {
    let mut all: BTreeMap<String, Labels> = BTreeMap::new();
    for text in texts {
        let (driver, option) =
            text.split_once('=').filter(|(_, option)| option.contains('=')).ok_or_else(|| {
                format!("invalid value {text:?} for --default-network-opt: it must be driver=option=value")
            })?;
        all.entry(driver.to_owned()).or_default().extend(pairs("default-network-opt", &[option.to_owned()])?);
    }
    Ok(all)
}

/// dockerd's own switches for tests, which its test suite sets.
fn faults(persona: Persona) -> NetworkFaults {
    let told = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    match persona {
        Persona::Minke => NetworkFaults::default(),
        Persona::Dockerd => NetworkFaults {
            bridge: told("DOCKER_TEST_BRIDGE_INIT_ERROR"),
            ipv6_stays: told("DOCKER_TEST_RO_DISABLE_IPV6").is_some(),
        },
    }
}

fn publish_policy(text: &str, persona: Persona) -> Result<PublishPolicy, String> {
    match (text, persona) {
        ("host", _) | ("", Persona::Minke) => Ok(PublishPolicy::Host),
        ("open", _) | ("", Persona::Dockerd) => Ok(PublishPolicy::Open),
        _ => Err(format!("invalid value {text:?} for --publish-policy: it must be host or open")),
    }
}

fn runtimes(texts: &[String]) -> Result<BTreeMap<String, ExternalRuntime>, String> {
    let mut map = BTreeMap::new();
    for text in texts {
        let (name, command) = text
            .split_once('=')
            .ok_or_else(|| format!("invalid value {text:?} for --add-runtime: it must be name=path"))?;
        if matches!(name, "runc" | "minke" | "io.containerd.runc.v2") {
            return Err(format!(
                "runtime name {name:?} is reserved: it is the built-in runtime; register yours under another name"
            ));
        }
        let mut words = command.split_whitespace().map(str::to_owned);
        let path = words.next().ok_or_else(|| format!("--add-runtime {name} names no program"))?;
        map.insert(name.to_owned(), ExternalRuntime { path, args: words.collect() });
    }
    Ok(map)
}

/// `nofile=1024:2048`.
fn ulimit(text: &str) -> Result<Ulimit, String> {
    let bad = || format!("invalid value {text:?} for --default-ulimit: it must be name=soft[:hard]");
    let (name, limits) = text.split_once('=').ok_or_else(bad)?;
    let (soft, hard) = limits.split_once(':').unwrap_or((limits, limits));
    Ok(Ulimit {
        name: name.to_owned(),
        soft: soft.parse().map_err(|_| bad())?,
        hard: hard.parse().map_err(|_| bad())?,
    })
}

/// `64MiB`, `64m`, bytes.
fn size(flag: &str, text: &str) -> Result<i64, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let scale: i64 = match text[digits..].to_ascii_lowercase().trim_end_matches("ib").trim_end_matches('b') {
        "" => 1,
        "k" => 1 << 10,
        "m" => 1 << 20,
        "g" => 1 << 30,
        _ => return Err(format!("invalid value {text:?} for --{flag}: it must be a size like 64m")),
    };
    let number: i64 = parse(flag, &text[..digits])?;
    number.checked_mul(scale).ok_or_else(|| format!("--{flag} {text} is too large"))
}

fn seccomp(text: &str) -> Result<String, String> {
    match text {
        "" | "builtin" => Ok(String::new()),
        "unconfined" => Ok("unconfined".into()),
        path => {
            std::fs::read_to_string(path).map_err(|e| format!("opening seccomp profile ({path}) failed: {e}"))
        }
    }
}

/// When unused things go from a disk that fills up.
fn watermarks(given: &Given) -> Result<Watermarks, String> {
    let f = &given.flags;
    let percent = |flag: &str, value: i64| match u8::try_from(value) {
        Ok(value) if value <= 100 => Ok(value),
        _ => Err(format!("invalid --{flag} {value}: it is a percentage, 0 to 100")),
    };
    let (high, low) = (percent("disk-high", f.disk_high)?, percent("disk-low", f.disk_low)?);
    if high > 0 && low >= high {
        return Err(format!("--disk-low {low} must be less than --disk-high {high}"));
    }
    let keep = go::parse_duration(&f.disk_keep)
        .map_err(|_| format!("invalid --disk-keep {:?}: it is a time as 24h or 90m", f.disk_keep))?;
    Ok(Watermarks { high, low, keep: keep / 1_000_000_000 })
}

/// Variables that what is configured stands in for, without logins.
fn overridden_proxies(given: &Given) -> Vec<String> {
    let f = &given.flags;
    let pairs = [
        ("HTTP_PROXY", &f.http_proxy),
        ("http_proxy", &f.http_proxy),
        ("HTTPS_PROXY", &f.https_proxy),
        ("https_proxy", &f.https_proxy),
        ("NO_PROXY", &f.no_proxy),
        ("no_proxy", &f.no_proxy),
    ];
    let told = pairs.into_iter().filter(|(_, new)| !new.is_empty()).filter_map(|(name, new)| {
        let old = std::env::var(name).ok().filter(|old| !old.is_empty() && old != new)?;
        let (old, new) = (registry::without_login(&old), registry::without_login(new));
        Some(format!(
            "overriding existing proxy variable with value from configuration: {name} was {old} and is {new}"
        ))
    });
    told.collect()
}

fn registries(given: &Given) -> Result<registry::RegistryConfig, String> {
    let f = &given.flags;
    let env = |flag: &str, names: [&str; 2]| {
        if !flag.is_empty() {
            return flag.to_owned();
        }
        names.iter().find_map(|n| std::env::var(n).ok()).unwrap_or_default()
    };
    let options = registry::RegistryOptions {
        mirrors: f.registry_mirror.clone(),
        insecure: f.insecure_registry.clone(),
        proxies: registry::Proxies {
            http: env(&f.http_proxy, ["HTTP_PROXY", "http_proxy"]),
            https: env(&f.https_proxy, ["HTTPS_PROXY", "https_proxy"]),
            no: env(&f.no_proxy, ["NO_PROXY", "no_proxy"]),
        },
        max_downloads: usize::try_from(f.max_concurrent_downloads)
            .map_err(|_| "invalid max concurrent downloads".to_owned())?,
        max_uploads: usize::try_from(f.max_concurrent_uploads)
            .map_err(|_| "invalid max concurrent uploads".to_owned())?,
        max_attempts: u32::try_from(f.max_download_attempts)
            .ok()
            .filter(|n| *n > 0)
            .ok_or("invalid max download attempts")?,
        ..registry::RegistryOptions::default()
    };
    registry::RegistryConfig::new(options).map_err(|e| e.to_string())
}

fn tls(given: &Given) -> Result<Option<TlsFiles>, String> {
    let f = &given.flags;
    if !(f.tls || f.tlsverify) {
        return Ok(None);
    }
    let path = |flag: &str, given: &Option<String>| {
        given.as_ref().map(PathBuf::from).ok_or_else(|| format!("TLS needs --{flag}"))
    };
    Ok(Some(TlsFiles {
        ca: if f.tlsverify {
            Some(path("tlscacert", &f.tlscacert)?)
        } else {
            f.tlscacert.as_ref().map(PathBuf::from)
        },
        cert: path("tlscert", &f.tlscert)?,
        key: path("tlskey", &f.tlskey)?,
        verify: f.tlsverify,
    }))
}

/// `-H /path` and `-H host:port` are allowed shorthand.
fn normal_host(text: &str) -> String {
    if text.contains("://") {
        return text.to_owned();
    }
    if Path::new(text).is_absolute() { format!("unix://{text}") } else { format!("tcp://{text}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::flag::Flags;

    fn settled(flags: &[(&str, &str)], persona: Persona) -> Result<Settings, String> {
        let mut given = Given::default();
        for (name, value) in flags {
            given.set(name, value).unwrap();
        }
        settle(&given, persona)
    }

    #[test]
    fn the_two_names_have_their_own_defaults() {
        let minke = settled(&[], Persona::Minke).map_err(|e| e.to_string()).ok().unwrap();
        assert_eq!(minke.hosts, ["unix:///run/minke/minke.sock"]);
        assert_eq!((minke.engine.bridge.as_str(), minke.stop_containers), ("minke0", false));
        let dockerd = settled(&[], Persona::Dockerd).map_err(|e| e.to_string()).ok().unwrap();
        assert_eq!(dockerd.hosts, ["unix:///var/run/docker.sock"]);
        assert_eq!((dockerd.engine.bridge.as_str(), dockerd.stop_containers), ("docker0", true));
        assert_eq!(dockerd.engine.publish_policy, PublishPolicy::Open);
    }

    #[test]
    fn what_cannot_be_done_is_refused_with_its_flag() {
        for (flag, value) in [
            ("userns-remap", "default"),
            ("storage-driver", "zfs"),
            ("exec-opt", "native.cgroupdriver=systemd"),
        ] {
            let error = settled(&[(flag, value)], Persona::Minke).err().unwrap_or_default();
            assert!(error.contains(flag), "{flag}: {error:?}");
        }
    }

    #[test]
    fn sizes_and_limits_are_read_as_docker_writes_them() {
        assert_eq!(size("x", "64MiB"), Ok(64 << 20));
        assert_eq!(size("x", "1g"), Ok(1 << 30));
        assert!(size("x", "much").is_err());
        assert_eq!(ulimit("nofile=1:2").map(|u| (u.soft, u.hard)), Ok((1, 2)));
    }
}
