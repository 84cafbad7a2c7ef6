//! `HostConfig`: a container's half that belongs to this machine.

use super::{
    Map, Words, is_default,
    mounts::Mount,
    ports::{PortMap, bindings},
    resources::Resources,
    wire,
};
use minke_model::{
    ContainerSpec,
    container::{IpcSharing, NamespaceSpec, NetworkMode, Sharing},
    restart::RestartPolicy as Policy,
};

wire! {
    /// What a container gets of its host.
    struct HostConfig {
        binds: Option<Vec<String>>,
        #[serde(rename = "ContainerIDFile")]
        container_id_file: String,
        log_config: LogConfig,
        network_mode: String,
        port_bindings: Option<PortMap>,
        restart_policy: RestartPolicy,
        auto_remove: bool,
        volume_driver: String,
        volumes_from: Option<Vec<String>>,
        console_size: (u16, u16),
        #[serde(skip_serializing_if = "Map::is_empty")]
        annotations: Map,
        cap_add: Option<Words>,
        cap_drop: Option<Words>,
        cgroupns_mode: String,
        dns: Option<Vec<String>>,
        dns_options: Option<Vec<String>>,
        dns_search: Option<Vec<String>>,
        extra_hosts: Option<Vec<String>>,
        group_add: Option<Vec<String>>,
        ipc_mode: String,
        cgroup: String,
        links: Option<Vec<String>>,
        oom_score_adj: i64,
        pid_mode: String,
        privileged: bool,
        publish_all_ports: bool,
        readonly_rootfs: bool,
        security_opt: Option<Vec<String>>,
        #[serde(skip_serializing_if = "Map::is_empty")]
        storage_opt: Map,
        #[serde(skip_serializing_if = "Map::is_empty")]
        tmpfs: Map,
        #[serde(rename = "UTSMode")]
        uts_mode: String,
        userns_mode: String,
        shm_size: i64,
        #[serde(skip_serializing_if = "Map::is_empty")]
        sysctls: Map,
        #[serde(skip_serializing_if = "String::is_empty")]
        runtime: String,
        isolation: String,
        @flatten resources: Resources,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        mounts: Vec<Mount>,
        masked_paths: Option<Vec<String>>,
        readonly_paths: Option<Vec<String>>,
        #[serde(skip_serializing_if = "Option::is_none")]
        init: Option<bool>,
    }
}

wire! {
    /// Where output goes.
    struct LogConfig {
        #[serde(rename = "Type")]
        driver: String,
        config: Map,
    }
}

wire! {
    /// When it is started again.
    struct RestartPolicy {
        name: String,
        maximum_retry_count: i64,
    }
}

impl From<Policy> for RestartPolicy {
    fn from(policy: Policy) -> Self {
        let (name, count) = match policy {
            Policy::No => ("no", 0),
            Policy::Always => ("always", 0),
            Policy::UnlessStopped => ("unless-stopped", 0),
            Policy::OnFailure(count) => ("on-failure", i64::from(count)),
            Policy::OnUnhealthy => ("on-unhealthy", 0),
        };
        Self { name: name.to_owned(), maximum_retry_count: count }
    }
}

/// Paths that Docker hides in a container without other wishes (moby, oci/defaults.go and 28.x additions).
const MASKED: [&str; 12] = [
    "/proc/asound",
    "/proc/acpi",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
];

/// Paths that Docker makes read-only in a container without other wishes.
const READONLY: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

fn or_default_paths(given: &Option<Vec<String>>, privileged: bool, default: &[&str]) -> Option<Vec<String>> {
    match given {
        Some(paths) => Some(paths.clone()),
        None if privileged => None,
        None => Some(default.iter().map(|p| (*p).to_owned()).collect()),
    }
}

/// Docker's words for the namespaces: pid, ipc, uts, userns, cgroupns.
fn modes(spec: &NamespaceSpec) -> [String; 5] {
    let pid = match &spec.pid {
        Sharing::Private => String::new(),
        Sharing::Host => "host".to_owned(),
        Sharing::Container(name) => format!("container:{name}"),
    };
    let ipc = match &spec.ipc {
        IpcSharing::Default | IpcSharing::Private => "private".to_owned(),
        IpcSharing::Shareable => "shareable".to_owned(),
        IpcSharing::None => "none".to_owned(),
        IpcSharing::Host => "host".to_owned(),
        IpcSharing::Container(name) => format!("container:{name}"),
    };
    let host = |on: bool| if on { "host".to_owned() } else { String::new() };
    let cgroup = match spec.cgroup_host {
        Some(true) => "host",
        Some(false) => "private",
        None => "",
    };
    [pid, ipc, host(spec.uts_host), host(spec.user_host), cgroup.to_owned()]
}

impl From<&ContainerSpec> for HostConfig {
    fn from(spec: &ContainerSpec) -> Self {
        let [pid_mode, ipc_mode, uts_mode, userns_mode, cgroupns_mode] = modes(&spec.namespaces);
        let (security, networking) = (&spec.security, &spec.networking);
        Self {
            binds: spec.binds.as_ref().map(|binds| binds.iter().map(|b| b.text.clone()).collect()),
            container_id_file: spec.container_id_file.clone(),
            log_config: LogConfig { driver: spec.log.driver.clone(), config: Map(spec.log.options.clone()) },
            network_mode: networking.mode.as_text(),
            port_bindings: bindings(networking),
            restart_policy: spec.restart.into(),
            auto_remove: spec.auto_remove,
            volume_driver: spec.volume_driver.clone(),
            volumes_from: spec.volumes_from.clone(),
            console_size: spec.console_size,
            annotations: Map(spec.annotations.clone()),
            cap_add: security.cap_add.clone().map(Words),
            cap_drop: security.cap_drop.clone().map(Words),
            cgroupns_mode,
            dns: super::or_null(&networking.dns),
            dns_options: networking.dns_options.clone(),
            dns_search: networking.dns_search.clone(),
            extra_hosts: networking.extra_hosts.clone(),
            group_add: security.group_add.clone(),
            ipc_mode,
            cgroup: spec.cgroup.clone(),
            // On users' networks links belong to the endpoint: dockerd shows them there alone.
            links: networking.links.clone().filter(|_| !matches!(networking.mode, NetworkMode::User(_))),
            oom_score_adj: spec.oom_score_adj,
            pid_mode,
            privileged: security.privileged,
            publish_all_ports: networking.publish_all,
            readonly_rootfs: security.readonly_rootfs,
            security_opt: security.options_said(),
            storage_opt: Map(spec.storage_options.clone()),
            tmpfs: Map(spec.tmpfs.clone()),
            uts_mode,
            userns_mode,
            shm_size: spec.shm_size,
            sysctls: Map(spec.sysctls.clone()),
            runtime: spec.runtime.clone(),
            isolation: spec.isolation.clone(),
            resources: Resources::from(&spec.resources),
            mounts: spec.mounts.iter().map(Mount::from).collect(),
            masked_paths: or_default_paths(&security.masked_paths, security.privileged, &MASKED),
            readonly_paths: or_default_paths(&security.readonly_paths, security.privileged, &READONLY),
            init: spec.init,
        }
    }
}

impl RestartPolicy {
    /// Whether it is the default, `no`.
    pub(crate) fn is_none(&self) -> bool {
        matches!(self.name.as_str(), "" | "no")
    }

    /// Whether nothing was said at all.
    pub(crate) fn is_absent(&self) -> bool {
        is_default(self)
    }
}
