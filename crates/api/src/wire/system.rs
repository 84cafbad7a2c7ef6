//! The daemon as a whole: version, info, disk use, logins.

use super::{image, volume};
use minke_engine::machine::Info as Facts;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Who asks a registry: `POST /auth`, and `X-Registry-Auth`.
#[derive(Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct AuthConfig {
    username: Option<String>,
    password: Option<String>,
    serveraddress: Option<String>,
    identitytoken: Option<String>,
    registrytoken: Option<String>,
}

impl From<AuthConfig> for minke_engine::registry::RegistryAuth {
    fn from(wire: AuthConfig) -> Self {
        Self {
            username: wire.username.unwrap_or_default(),
            password: wire.password.unwrap_or_default(),
            identity_token: wire.identitytoken.unwrap_or_default(),
            registry_token: wire.registrytoken.unwrap_or_default(),
            server_address: wire.serveraddress.unwrap_or_default(),
        }
    }
}

/// What a login gave.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct AuthAnswer {
    pub(crate) status: String,
    pub(crate) identity_token: String,
}

/// `GET /system/df`. What was not asked for is `null`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct DiskUsage {
    pub(crate) layers_size: u64,
    pub(crate) images: Option<Vec<image::Summary>>,
    pub(crate) containers: Option<Vec<super::summary::Summary>>,
    pub(crate) volumes: Option<Vec<volume::Volume>>,
    pub(crate) build_cache: Option<Vec<CacheRecord>>,
}

/// One thing that the build cache keeps.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct CacheRecord {
    #[serde(rename = "ID")]
    id: String,
    /// Of API 1.41 and older.
    #[serde(skip_serializing_if = "Option::is_none")]
    parent: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    parents: Vec<String>,
    r#type: &'static str,
    description: String,
    in_use: bool,
    shared: bool,
    size: u64,
    created_at: String,
    last_used_at: Option<String>,
    usage_count: u64,
}

impl CacheRecord {
    pub(crate) fn new(usage: &minke_engine::build::request::CacheUsage) -> Self {
        Self {
            id: usage.id.clone(),
            parent: usage.parents.first().cloned(),
            parents: usage.parents.clone(),
            r#type: usage.kind,
            description: usage.description.clone(),
            in_use: usage.in_use,
            shared: usage.shared,
            size: usage.size,
            created_at: usage.created.to_string(),
            last_used_at: usage.last_used.map(|t| t.to_string()),
            usage_count: usage.uses,
        }
    }
}

/// What the binary knows of itself.
#[derive(Clone, Debug)]
pub struct VersionInfo {
    /// Minke's own version.
    pub minke: String,
    /// The commit that it was built from; empty when not known.
    pub commit: String,
    /// When it was built, RFC 3339; empty when not known.
    pub built: String,
}

/// The Docker whose behaviour this daemon follows.
pub const DOCKER: &str = "28.5.2";

/// Go's word for this machine's processor.
fn arch() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// `GET /version`.
pub(crate) fn version(info: &VersionInfo, kernel: &str) -> Value {
    let engine: BTreeMap<&str, &str> = BTreeMap::from([
        ("ApiVersion", crate::version::NEWEST),
        ("Arch", arch()),
        ("BuildTime", info.built.as_str()),
        ("Experimental", "false"),
        ("GitCommit", info.commit.as_str()),
        ("GoVersion", ""),
        ("KernelVersion", kernel),
        ("MinAPIVersion", crate::version::OLDEST),
        ("Os", "linux"),
    ]);
    json!({
        "Platform": { "Name": "" },
        "Components": [
            { "Name": "Engine", "Version": DOCKER, "Details": engine },
            { "Name": "minke", "Version": info.minke, "Details": { "GitCommit": info.commit } },
        ],
        "Version": DOCKER,
        "ApiVersion": crate::version::NEWEST,
        "MinAPIVersion": crate::version::OLDEST,
        "GitCommit": info.commit,
        "GoVersion": "",
        "Os": "linux",
        "Arch": arch(),
        "KernelVersion": kernel,
        "BuildTime": info.built,
    })
}

#[derive(Debug, Serialize)]
struct Runtime {
    path: String,
    #[serde(rename = "runtimeArgs", skip_serializing_if = "Vec::is_empty")]
    args: Vec<String>,
}

/// `GET /info`, all but what a list or map is simplest said in place.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Info {
    #[serde(rename = "ID")]
    id: String,
    containers: usize,
    containers_running: usize,
    containers_paused: usize,
    containers_stopped: usize,
    images: usize,
    driver: &'static str,
    driver_status: Vec<[String; 2]>,
    plugins: Value,
    memory_limit: bool,
    swap_limit: bool,
    #[serde(rename = "KernelMemoryTCP", skip_serializing_if = "super::is_default")]
    kernel_memory_tcp: bool,
    cpu_cfs_period: bool,
    cpu_cfs_quota: bool,
    #[serde(rename = "CPUShares")]
    cpu_shares: bool,
    #[serde(rename = "CPUSet")]
    cpu_set: bool,
    pids_limit: bool,
    #[serde(rename = "IPv4Forwarding")]
    ipv4_forwarding: bool,
    debug: bool,
    #[serde(rename = "NFd")]
    descriptors: usize,
    oom_kill_disable: bool,
    #[serde(rename = "NGoroutines")]
    threads: usize,
    system_time: String,
    logging_driver: String,
    cgroup_driver: &'static str,
    cgroup_version: &'static str,
    #[serde(rename = "NEventsListener")]
    followers: usize,
    kernel_version: String,
    operating_system: String,
    #[serde(rename = "OSVersion")]
    os_version: String,
    #[serde(rename = "OSType")]
    os_type: &'static str,
    architecture: String,
    index_server_address: &'static str,
    registry_config: Value,
    #[serde(rename = "NCPU")]
    cpus: usize,
    mem_total: u64,
    generic_resources: Option<()>,
    docker_root_dir: String,
    http_proxy: String,
    https_proxy: String,
    no_proxy: String,
    name: String,
    labels: Vec<String>,
    experimental_build: bool,
    server_version: &'static str,
    runtimes: BTreeMap<String, Runtime>,
    default_runtime: String,
    swarm: Value,
    live_restore_enabled: bool,
    isolation: &'static str,
    init_binary: &'static str,
    containerd_commit: Value,
    runc_commit: Value,
    init_commit: Value,
    security_options: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    default_address_pools: Vec<Value>,
    firewall_backend: Value,
    #[serde(rename = "CDISpecDirs")]
    cdi_spec_dirs: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    discovered_devices: Vec<Value>,
    warnings: Option<Vec<String>>,
}

/// How registries are spoken to, as `info` tells it.
fn registry_config(registries: &minke_engine::registry::RegistryConfig) -> Value {
    let mirrors = registries.mirrors();
    let hub = json!({ "Mirrors": mirrors, "Name": "docker.io", "Official": true, "Secure": true });
    let mut indexes = serde_json::Map::from_iter([("docker.io".to_owned(), hub)]);
    for host in registries.insecure_hosts() {
        let index = json!({ "Mirrors": [], "Name": host, "Official": false, "Secure": false });
        indexes.insert(host.to_owned(), index);
    }
    json!({
        "IndexConfigs": indexes,
        "InsecureRegistryCIDRs": registries.insecure_cidrs().collect::<Vec<_>>(),
        "Mirrors": if mirrors.is_empty() { Value::Null } else { json!(mirrors) },
    })
}

/// Our own runtime under the names that clients look for, and those that the configuration adds.
fn runtimes(facts: &Facts) -> BTreeMap<String, Runtime> {
    let shown = |r: &minke_engine::ExternalRuntime| Runtime { path: r.path.clone(), args: r.args.clone() };
    let mut runtimes: BTreeMap<_, _> =
        facts.config.runtimes.iter().map(|(name, r)| (name.clone(), shown(r))).collect();
    for name in ["runc", "io.containerd.runc.v2"] {
        runtimes
            .entry(name.to_owned())
            .or_insert_with(|| Runtime { path: "minke".to_owned(), args: Vec::new() });
    }
    runtimes
}

impl Info {
    /// As dockerd shows it.
    pub(crate) fn new(facts: &Facts, version: &VersionInfo, swarm: Value) -> Self {
        let config = &facts.config;
        let registries = config.registries.options();
        let v1 = facts.cgroups.version == 1;
        let label = |(name, value): (&String, &String)| {
            if value.is_empty() { name.clone() } else { format!("{name}={value}") }
        };
        let status = [
            ("Backing Filesystem", facts.backing_filesystem.as_str()),
            ("Supports d_type", "true"),
            ("Using metacopy", "false"),
            ("Native Overlay Diff", "true"),
            ("userxattr", "false"),
        ];
        Self {
            id: facts.id.clone(),
            containers: facts.containers,
            containers_running: facts.running,
            containers_paused: facts.paused,
            containers_stopped: facts.stopped,
            images: facts.images,
            driver: "overlay2",
            driver_status: status.map(|(name, value)| [name.to_owned(), value.to_owned()]).to_vec(),
            plugins: json!({
                "Volume": ["local"],
                "Network": ["bridge", "host", "null", "overlay"],
                "Authorization": null,
                "Log": ["json-file", "local", "none"],
            }),
            memory_limit: true,
            swap_limit: facts.cgroups.swap,
            kernel_memory_tcp: v1,
            cpu_cfs_period: true,
            cpu_cfs_quota: true,
            cpu_shares: true,
            cpu_set: true,
            pids_limit: true,
            ipv4_forwarding: facts.ipv4_forwarding,
            debug: config.debug,
            descriptors: facts.descriptors,
            oom_kill_disable: v1,
            threads: facts.threads,
            system_time: facts.time.to_string(),
            logging_driver: config.log.driver.clone(),
            cgroup_driver: "cgroupfs",
            cgroup_version: if v1 { "1" } else { "2" },
            followers: facts.followers,
            kernel_version: facts.kernel.clone(),
            operating_system: facts.operating_system.clone(),
            os_version: facts.os_version.clone(),
            os_type: "linux",
            architecture: facts.architecture.clone(),
            index_server_address: "https://index.docker.io/v1/",
            registry_config: registry_config(&facts.registries),
            cpus: facts.cpus,
            mem_total: facts.memory,
            generic_resources: None,
            docker_root_dir: config.data_root.display().to_string(),
            http_proxy: minke_engine::registry::without_login(&registries.proxies.http),
            https_proxy: minke_engine::registry::without_login(&registries.proxies.https),
            no_proxy: registries.proxies.no.clone(),
            name: facts.name.clone(),
            labels: config.labels.iter().map(label).collect(),
            experimental_build: false,
            server_version: DOCKER,
            runtimes: runtimes(facts),
            default_runtime: if config.default_runtime.is_empty() {
                "runc".to_owned()
            } else {
                config.default_runtime.clone()
            },
            swarm,
            live_restore_enabled: config.live_restore,
            isolation: "",
            init_binary: "docker-init",
            containerd_commit: json!({ "ID": "" }),
            runc_commit: json!({ "ID": version.commit }),
            init_commit: json!({ "ID": "" }),
            security_options: security_options(facts),
            default_address_pools: config
                .address_pools
                .iter()
                .map(|pool| json!({ "Base": pool.base.to_string(), "Size": pool.size }))
                .collect(),
            firewall_backend: json!({ "Driver": "nftables" }),
            cdi_spec_dirs: cdi_spec_dirs(facts),
            discovered_devices: facts.devices.iter().map(|id| json!({ "Source": "cdi", "ID": id })).collect(),
            warnings: None,
        }
    }
}

/// Where CDI devices are looked for; none where they are off.
fn cdi_spec_dirs(facts: &Facts) -> Vec<String> {
    facts.config.cdi.iter().flatten().map(|directory| directory.display().to_string()).collect()
}

fn security_options(facts: &Facts) -> Vec<String> {
    let profile =
        if facts.config.seccomp_profile.is_empty() { "builtin" } else { &facts.config.seccomp_profile };
    // A profile of one's own is shown as such, not as its text.
    let profile = if profile.starts_with('{') { "custom" } else { profile };
    let apparmor = facts.apparmor.then(|| "name=apparmor".to_owned());
    let mut options: Vec<String> = apparmor.into_iter().collect();
    options.push(format!("name=seccomp,profile={profile}"));
    if !matches!(facts.cgroups.version, 1) {
        options.push("name=cgroupns".to_owned());
    }
    options
}

/// Where an image's or a container's layers lie, as `GraphDriver.Data`.
pub(crate) fn layers(
    lower: &[std::path::PathBuf],
    upper: &std::path::Path,
    work: &std::path::Path,
    merged: &std::path::Path,
) -> BTreeMap<&'static str, String> {
    let mut data = BTreeMap::new();
    let text = |path: &std::path::Path| path.display().to_string();
    if !lower.is_empty() {
        data.insert("LowerDir", lower.iter().map(|p| text(p)).collect::<Vec<_>>().join(":"));
    }
    for (name, path) in [("MergedDir", merged), ("UpperDir", upper), ("WorkDir", work)] {
        if !path.as_os_str().is_empty() {
            data.insert(name, text(path));
        }
    }
    data
}
