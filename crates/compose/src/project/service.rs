//! One service: what its containers are. Pure.

use super::{
    Build, Bytes, Deploy, DeviceRequest, Duration, EnvFile, Extensions, FileMount, Hosts, Mount, Pairs,
    Probe, ShellWords,
    shape::{Form, Part, Reader, shape},
};
use crate::{
    node::{Data, Node},
    text,
    value::Value,
};
use std::collections::BTreeMap;

shape! {
    /// One service. Attributes stand in the order in which compose prints them.
    pub struct Service {
        /// Its key in the file.
        name: String = "name" [never],
        /// Profiles that enable it; none means always.
        profiles: Vec<String> = "profiles",
        /// OCI annotations.
        annotations: BTreeMap<String, String> = "annotations",
        /// Whether `up` shows its output.
        attach: Option<bool> = "attach",
        /// How its image is built.
        build: Option<Build> = "build",
        /// What `watch` does.
        develop: Option<Develop> = "develop",
        /// Limits of block devices.
        blkio_config: Option<Blkio> = "blkio_config",
        /// Capabilities beyond the default.
        cap_add: Vec<String> = "cap_add",
        /// Capabilities taken away.
        cap_drop: Vec<String> = "cap_drop",
        /// The cgroup above the container's.
        cgroup_parent: String = "cgroup_parent",
        /// The cgroup namespace: `host` or `private`.
        cgroup: String = "cgroup",
        /// Usable CPUs (Windows).
        cpu_count: i64 = "cpu_count",
        /// Usable percentage of CPUs (Windows).
        cpu_percent: f32 = "cpu_percent",
        /// CFS period, in µs.
        cpu_period: i64 = "cpu_period",
        /// CFS quota, in µs.
        cpu_quota: i64 = "cpu_quota",
        /// Realtime period, in µs.
        cpu_rt_period: i64 = "cpu_rt_period",
        /// Realtime runtime, in µs.
        cpu_rt_runtime: i64 = "cpu_rt_runtime",
        /// CPUs, also fractions.
        cpus: f32 = "cpus",
        /// CPUs and where they are: `0-3`.
        cpuset: String = "cpuset",
        /// Relative weight.
        cpu_shares: i64 = "cpu_shares",
        /// In place of the image's command.
        command: ShellWords = "command" [always in json],
        /// Configs, as files.
        configs: Vec<FileMount> = "configs",
        /// A container name instead of `<project>-<service>-<number>`.
        container_name: String = "container_name",
        /// Windows' credentials.
        credential_spec: Option<CredentialSpec> = "credential_spec",
        /// What must be there first.
        depends_on: BTreeMap<String, Dependency> = "depends_on",
        /// Replicas, resources, restart policy and updates.
        deploy: Option<Deploy> = "deploy",
        /// Rules of the device cgroup.
        device_cgroup_rules: Vec<String> = "device_cgroup_rules",
        /// Devices of the host.
        devices: Vec<Device> = "devices",
        /// DNS servers.
        dns: Vec<String> = "dns",
        /// Options of the resolver.
        dns_opt: Vec<String> = "dns_opt",
        /// Search domains.
        dns_search: Vec<String> = "dns_search",
        /// Not in the specification.
        dockerfile: String = "dockerfile",
        /// The container's domain.
        domainname: String = "domainname",
        /// In place of the image's entry point.
        entrypoint: ShellWords = "entrypoint" [always in json],
        /// A program that provides the service instead of containers. Not honoured.
        provider: Option<Provider> = "provider",
        /// Variables of the environment.
        environment: Pairs = "environment",
        /// Files with further variables.
        env_file: Vec<EnvFile> = "env_file",
        /// Ports that other containers may reach.
        expose: Vec<String> = "expose",
        /// What it extended. Empty once loaded.
        extends: Option<Extends> = "extends",
        /// Links to containers of others.
        external_links: Vec<String> = "external_links",
        /// Lines for `/etc/hosts`.
        extra_hosts: Hosts = "extra_hosts",
        /// Further groups of the user.
        group_add: Vec<String> = "group_add",
        /// GPUs.
        gpus: Vec<DeviceRequest> = "gpus",
        /// The container's host name.
        hostname: String = "hostname",
        /// How its health is probed.
        healthcheck: Option<Healthcheck> = "healthcheck",
        /// The image's name.
        image: String = "image",
        /// Whether an init process runs in it.
        init: Option<bool> = "init",
        /// The IPC namespace.
        ipc: String = "ipc",
        /// How it is isolated (Windows).
        isolation: String = "isolation",
        /// Labels.
        labels: BTreeMap<String, String> = "labels",
        /// Files with further labels.
        label_file: Vec<String> = "label_file",
        /// Links to services: `service:alias`.
        links: Vec<String> = "links",
        /// Where the output goes.
        logging: Option<Logging> = "logging",
        /// Old form of `logging.driver`.
        log_driver: String = "log_driver",
        /// Old form of `logging.options`.
        log_opt: BTreeMap<String, String> = "log_opt",
        /// Memory limit.
        mem_limit: Bytes = "mem_limit",
        /// Memory reservation.
        mem_reservation: Bytes = "mem_reservation",
        /// Memory with swap; −1 is no limit.
        memswap_limit: Bytes = "memswap_limit",
        /// 0 to 100.
        mem_swappiness: Bytes = "mem_swappiness",
        /// The hardware address.
        mac_address: String = "mac_address",
        /// Language models. Not honoured.
        models: BTreeMap<String, Option<ServiceModel>> = "models",
        /// Not in the specification.
        net: String = "net",
        /// `none`, `host`, `service:…`, `container:…`.
        network_mode: String = "network_mode",
        /// Networks and how it stands in each.
        networks: BTreeMap<String, Option<ServiceNetwork>> = "networks",
        /// Whether the kernel may not kill it when memory is short.
        oom_kill_disable: bool = "oom_kill_disable",
        /// How likely the kernel kills it.
        oom_score_adj: i64 = "oom_score_adj",
        /// The PID namespace.
        pid: String = "pid",
        /// How many processes.
        pids_limit: i64 = "pids_limit",
        /// `os/architecture/variant`.
        platform: String = "platform",
        /// Published ports.
        ports: Vec<Port> = "ports",
        /// All rights.
        privileged: bool = "privileged",
        /// When the image is pulled; see [`Service::pull_policy`].
        pull_policy: String = "pull_policy",
        /// The root file system is read only.
        read_only: bool = "read_only",
        /// The restart policy: `no`, `always`, `on-failure:3`, `unless-stopped`.
        restart: String = "restart",
        /// The OCI runtime.
        runtime: String = "runtime",
        /// How many containers.
        scale: Option<i64> = "scale",
        /// Secrets, as files.
        secrets: Vec<FileMount> = "secrets",
        /// Labels, seccomp and AppArmor.
        security_opt: Vec<String> = "security_opt",
        /// The size of `/dev/shm`.
        shm_size: Bytes = "shm_size",
        /// Standard input stays open.
        stdin_open: bool = "stdin_open",
        /// Time between the stop signal and the kill.
        stop_grace_period: Option<Duration> = "stop_grace_period",
        /// The signal that asks it to stop.
        stop_signal: String = "stop_signal",
        /// Options of the storage driver.
        storage_opt: BTreeMap<String, String> = "storage_opt",
        /// Kernel parameters.
        sysctls: BTreeMap<String, String> = "sysctls",
        /// Directories in memory.
        tmpfs: Vec<String> = "tmpfs",
        /// A terminal.
        tty: bool = "tty",
        /// Limits of each process.
        ulimits: BTreeMap<String, Ulimit> = "ulimits",
        /// Whether it may use the engine's socket.
        use_api_socket: bool = "use_api_socket",
        /// The user, and group, by name or number.
        user: String = "user",
        /// The user namespace.
        userns_mode: String = "userns_mode",
        /// The UTS namespace.
        uts: String = "uts",
        /// Not in the specification.
        volume_driver: String = "volume_driver",
        /// Mounts.
        volumes: Vec<Mount> = "volumes",
        /// Mounts of other services or containers.
        volumes_from: Vec<String> = "volumes_from",
        /// The directory the process starts in.
        working_dir: String = "working_dir",
        /// Commands after each start.
        post_start: Vec<Hook> = "post_start",
        /// Commands before each stop.
        pre_stop: Vec<Hook> = "pre_stop",
    }
}

/// When an image is pulled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PullPolicy {
    /// At each `up`.
    Always,
    /// Never.
    Never,
    /// Where it is not there.
    Missing,
    /// Not at all: it is built.
    Build,
    /// Where the one that is there is older than this.
    Refresh(Duration),
}

impl Service {
    /// How many containers it has.
    pub fn replicas(&self) -> i64 {
        self.scale.or_else(|| self.deploy.as_ref().and_then(|deploy| deploy.replicas)).unwrap_or(1)
    }

    /// When its image is pulled. None where `every_…` is no duration.
    pub fn pull_policy(&self) -> Option<PullPolicy> {
        const HOUR: i64 = 3_600_000_000_000;
        Some(match self.pull_policy.as_str() {
            "always" => PullPolicy::Always,
            "never" => PullPolicy::Never,
            "build" => PullPolicy::Build,
            "daily" => PullPolicy::Refresh(Duration(24 * HOUR)),
            "weekly" => PullPolicy::Refresh(Duration(7 * 24 * HOUR)),
            other => match other.strip_prefix("every_") {
                Some(period) => PullPolicy::Refresh(Duration(text::duration(period)?)),
                None => PullPolicy::Missing,
            },
        })
    }

    /// Its image, or the name that one built for it gets.
    pub fn image_name(&self, project: &str, separator: &str) -> String {
        match self.image.is_empty() {
            true => format!("{project}{separator}{}", self.name),
            false => self.image.clone(),
        }
    }

    /// Its networks, those of highest priority first, then by name.
    pub fn networks_by_priority(&self) -> Vec<&str> {
        let priority =
            |name: &str| self.networks.get(name).and_then(Option::as_ref).map_or(0, |n| n.priority);
        let mut names: Vec<&str> = self.networks.keys().map(String::as_str).collect();
        names.sort_by_key(|name| (-priority(name), *name));
        names
    }

    /// Whether one of `profiles` enables it.
    pub fn has_profile(&self, profiles: &[String]) -> bool {
        self.profiles.is_empty() || profiles.iter().any(|asked| asked == "*" || self.profiles.contains(asked))
    }
}

/// What of another service must be true.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Condition {
    /// It runs.
    #[default]
    Started,
    /// Its health check says so.
    Healthy,
    /// It ended with 0.
    CompletedSuccessfully,
}

impl Condition {
    /// The word of the specification.
    pub fn as_str(self) -> &'static str {
        match self {
            Condition::Started => "service_started",
            Condition::Healthy => "service_healthy",
            Condition::CompletedSuccessfully => "service_completed_successfully",
        }
    }
}

impl Part for Condition {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Self {
        match node.plain().as_str() {
            "service_started" => Condition::Started,
            "service_healthy" => Condition::Healthy,
            "service_completed_successfully" => Condition::CompletedSuccessfully,
            other => reader.refuse(node, format!("unsupported condition {other:?}")),
        }
    }
    fn show(&self, _: Form) -> Value {
        Value::Text(self.as_str().to_owned())
    }
    fn is_empty(&self, _: Form) -> bool {
        false
    }
}

shape! {
    /// On what a service waits.
    pub struct Dependency {
        /// For what.
        condition: Condition = "condition",
        /// Whether it restarts with it.
        restart: bool = "restart",
        /// Whether it must be there at all.
        required: bool = "required" [always],
    }
}

shape! {
    /// What `watch` looks at.
    pub struct Develop {
        /// The rules.
        watch: Vec<Watch> = "watch",
    }
}

shape! {
    /// One rule of `watch`.
    pub struct Watch {
        /// The watched path.
        path: String = "path" [always],
        /// `sync`, `rebuild`, `restart`, `sync+restart`, `sync+exec`.
        action: String = "action" [always],
        /// Where files go in the container.
        target: String = "target",
        /// What is run after a sync.
        exec: Hook = "exec",
        /// Patterns of what counts.
        include: Vec<String> = "include",
        /// Patterns of what does not.
        ignore: Vec<String> = "ignore",
        /// Whether all is synced at first.
        initial_sync: bool = "initial_sync",
    }
}

shape! {
    /// A command that runs in a container at some moment of its life.
    pub struct Hook {
        /// The command.
        command: ShellWords = "command" [always in json],
        /// As whom.
        user: String = "user",
        /// With all rights.
        privileged: bool = "privileged",
        /// Where.
        working_dir: String = "working_dir",
        /// Further variables.
        environment: Pairs = "environment",
    }
}

shape! {
    /// Limits of block devices.
    pub struct Blkio {
        /// 10 to 1000.
        weight: u16 = "weight",
        /// Weights by device.
        weight_device: Vec<WeightDevice> = "weight_device",
        /// Bytes read a second.
        device_read_bps: Vec<ThrottleDevice> = "device_read_bps",
        /// Reads a second.
        device_read_iops: Vec<ThrottleDevice> = "device_read_iops",
        /// Bytes written a second.
        device_write_bps: Vec<ThrottleDevice> = "device_write_bps",
        /// Writes a second.
        device_write_iops: Vec<ThrottleDevice> = "device_write_iops",
    }
}

shape! {
    /// The weight of a device.
    pub struct WeightDevice {
        /// Its path.
        path: String = "path" / "Path" [always],
        /// 10 to 1000.
        weight: u16 = "weight" / "Weight" [always],
    }
}

shape! {
    /// The limit of a device.
    pub struct ThrottleDevice {
        /// Its path.
        path: String = "path" / "Path" [always],
        /// A second.
        rate: Bytes = "rate" / "Rate" [always],
    }
}

shape! {
    /// A device of the host.
    pub struct Device {
        /// On the host, or a CDI name.
        source: String = "source",
        /// In the container.
        target: String = "target",
        /// Of `r`, `w` and `m`.
        permissions: String = "permissions",
    }
}

shape! {
    /// Windows' credentials.
    pub struct CredentialSpec {
        /// A config's name.
        config: String = "config",
        /// A file.
        file: String = "file",
        /// A registry key.
        registry: String = "registry",
    }
}

shape! {
    /// A program that provides a service.
    pub struct Provider {
        /// Which.
        r#type: String = "type",
        /// What it is told.
        options: BTreeMap<String, Vec<String>> = "options",
    }
}

shape! {
    /// Which service another one began as.
    pub struct Extends {
        /// In which file.
        file: String = "file",
        /// Its name.
        service: String = "service",
    }
}

shape! {
    /// How health is probed.
    pub struct Healthcheck {
        /// The test.
        test: Probe = "test",
        /// How long one may take.
        timeout: Option<Duration> = "timeout",
        /// Between two.
        interval: Option<Duration> = "interval",
        /// How many failures in a row mean unhealthy.
        retries: Option<u64> = "retries",
        /// For how long failures do not count.
        start_period: Option<Duration> = "start_period",
        /// Between two in that time.
        start_interval: Option<Duration> = "start_interval",
        /// Whether the image's is off.
        disable: bool = "disable",
    }
}

shape! {
    /// Where output goes.
    pub struct Logging {
        /// The log driver.
        driver: String = "driver",
        /// Its options.
        options: BTreeMap<String, String> = "options",
    }
}

shape! {
    /// What of a model a service is told.
    pub struct ServiceModel {
        /// The variable with its address.
        endpoint_var: String = "endpoint_var",
        /// The variable with its name.
        model_var: String = "model_var",
    }
}

shape! {
    /// A service's place in a network.
    pub struct ServiceNetwork {
        /// Further names.
        aliases: Vec<String> = "aliases",
        /// Options of the driver.
        driver_opts: BTreeMap<String, String> = "driver_opts",
        /// The network of highest priority gives the default gateway.
        gw_priority: i64 = "gw_priority",
        /// The interface's name in the container.
        interface_name: String = "interface_name",
        /// A fixed IPv4 address.
        ipv4_address: String = "ipv4_address",
        /// A fixed IPv6 address.
        ipv6_address: String = "ipv6_address",
        /// Link-local addresses.
        link_local_ips: Vec<String> = "link_local_ips",
        /// The hardware address.
        mac_address: String = "mac_address",
        /// In which order networks are connected.
        priority: i64 = "priority",
    }
}

shape! {
    /// A published port.
    pub struct Port {
        /// What people call it.
        name: String = "name",
        /// `ingress` or `host`.
        mode: String = "mode",
        /// An address of the host.
        host_ip: String = "host_ip",
        /// The container's port.
        target: u32 = "target",
        /// The host's, a range, or none for any.
        published: String = "published",
        /// `tcp`, `udp`, `sctp`.
        protocol: String = "protocol",
        /// What is spoken over it.
        app_protocol: String = "app_protocol",
    }
}

/// A limit of each process: one value, or a soft and a hard one.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Ulimit {
    /// Both, where it is not 0.
    pub single: i64,
    /// What a process gets.
    pub soft: i64,
    /// Up to where it may raise it.
    pub hard: i64,
    /// `x-…` attributes.
    pub extensions: Extensions,
}

impl Part for Ulimit {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Self {
        match &node.data {
            Data::Map(map) => {
                let mut side = |key: &str| map.get(key).map_or(0, |value| i64::read_any(value, reader));
                Ulimit { single: 0, soft: side("soft"), hard: side("hard"), extensions: Extensions::new() }
            }
            _ => Ulimit { single: i64::read(node, reader), ..Ulimit::default() },
        }
    }
    fn show(&self, form: Form) -> Value {
        if self.single != 0 {
            return Value::Int(self.single);
        }
        let sides = [("soft", self.soft), ("hard", self.hard)].into_iter();
        let shown = sides.filter(|(_, value)| form == Form::Yaml || *value != 0);
        Value::Map(shown.map(|(key, value)| (key.to_owned(), Value::Int(value))).collect())
    }
    fn is_empty(&self, _: Form) -> bool {
        false
    }
}
