//! The flags that `run` and `create` share, and the values among them that are checked where they are given.

use super::{device, env, host, mount, network, security, ulimit};
use crate::cli::flag::{Bytes, Pairs, Span, SwapBytes, Value as FlagValue, flags};
use serde_json::Value;

/// A value checked where it is given.
macro_rules! checked_list {
    ($(#[$doc:meta])* $name:ident, $word:literal, $check:expr) => {
        $(#[$doc])*
        #[derive(Default)]
        pub(crate) struct $name(pub(crate) Vec<Value>);
        impl FlagValue for $name {
            const WORD: &'static str = $word;
            fn set(&mut self, text: &str) -> Result<(), String> {
                self.0.push($check(text)?);
                Ok(())
            }
        }
    };
}

checked_list!(
    /// `--mount`
    Mounts, "mount", mount::mount
);
checked_list!(
    /// `--ulimit`
    Ulimits, "ulimit", ulimit::parse
);
checked_list!(
    /// `--gpus`
    Gpus, "gpu-request", device::gpus
);
checked_list!(
    /// `--blkio-weight-device`
    Weights, "list", device::weight
);
checked_list!(
    /// `--device-read-bps` and `--device-write-bps`
    ByteRates, "list", device::bytes_rate
);
checked_list!(
    /// `--device-read-iops` and `--device-write-iops`
    OperationRates, "list", device::operations_rate
);
checked_list!(
    /// `--add-host`
    ExtraHosts, "list", |text| host::extra_host(text).map(Value::from)
);
checked_list!(
    /// `--dns`
    DnsServers, "list", |text| host::dns(text).map(Value::from)
);
checked_list!(
    /// `--dns-search`
    DnsSearch, "list", |text| host::dns_search(text).map(Value::from)
);
checked_list!(
    /// `--device-cgroup-rule`
    DeviceRules, "list", |text: &str| device::check_rule(text).map(|()| Value::from(text))
);

/// `--network`
#[derive(Default)]
pub(crate) struct Networks(pub(crate) Vec<network::Attachment>);

impl FlagValue for Networks {
    const WORD: &'static str = "network";
    fn set(&mut self, text: &str) -> Result<(), String> {
        self.0.push(network::parse(text)?);
        Ok(())
    }
}

/// `--env`
#[derive(Default)]
pub(crate) struct Environment(pub(crate) Vec<String>);

impl FlagValue for Environment {
    const WORD: &'static str = "list";
    fn set(&mut self, text: &str) -> Result<(), String> {
        self.0.push(env::validate(text)?);
        Ok(())
    }
}

/// `--attach`: streams by name.
#[derive(Default)]
pub(crate) struct Streams(pub(crate) Vec<String>);

impl FlagValue for Streams {
    const WORD: &'static str = "list";
    fn set(&mut self, text: &str) -> Result<(), String> {
        let name = text.to_lowercase();
        if !matches!(name.as_str(), "stdin" | "stdout" | "stderr") {
            return Err("valid streams are STDIN, STDOUT and STDERR".into());
        }
        self.0.push(name);
        Ok(())
    }
}

/// `--cpus`
#[derive(Default)]
pub(crate) struct Cpus(pub(crate) i64);

impl FlagValue for Cpus {
    const WORD: &'static str = "decimal";
    fn set(&mut self, text: &str) -> Result<(), String> {
        self.0 = device::cpus(text)?;
        Ok(())
    }
}

/// `--sysctl`
#[derive(Default)]
pub(crate) struct Sysctls(pub(crate) Pairs);

impl FlagValue for Sysctls {
    const WORD: &'static str = "map";
    fn set(&mut self, text: &str) -> Result<(), String> {
        security::check_sysctl(text)?;
        self.0.set(text)
    }
}

flags! {
    /// What `run` and `create` are asked for.
    struct ContainerFlags {
        add_host: ExtraHosts ["add-host"], "Add a line to /etc/hosts (host:ip)";
        annotation: Pairs ["annotation"] , "Add an annotation (handed to the OCI runtime)";
        attach: Streams ["attach" 'a'], "Attach to stdin, stdout or stderr";
        blkio_weight: u16 ["blkio-weight"] = "0", "Relative weight of block I/O, 10 to 1000, or 0 for none";
        blkio_weight_device: Weights ["blkio-weight-device"], "Relative weight of block I/O of one device";
        cap_add: Vec<String> ["cap-add"], "Add capabilities";
        cap_drop: Vec<String> ["cap-drop"], "Drop capabilities";
        cgroup_parent: String ["cgroup-parent"], "The cgroup above the container's";
        cgroupns: String ["cgroupns"], "Cgroup namespace: \"host\", \"private\", or the daemon's default";
        cidfile: String ["cidfile"], "Write the container's ID to this file";
        cpu_count: Option<i64> ["cpu-count"], "Number of CPUs (Windows only)";
        cpu_percent: Option<i64> ["cpu-percent"], "Share of the CPU in percent (Windows only)";
        cpu_period: i64 ["cpu-period"], "Period of the CPU quota in microseconds";
        cpu_quota: i64 ["cpu-quota"], "CPU time per period in microseconds";
        cpu_rt_period: i64 ["cpu-rt-period"], "Period of the real-time quota in microseconds";
        cpu_rt_runtime: i64 ["cpu-rt-runtime"], "Real-time CPU time per period in microseconds";
        cpu_shares: i64 ["cpu-shares" 'c'], "Relative weight of CPU time";
        cpus: Cpus ["cpus"], "Number of CPUs";
        cpuset_cpus: String ["cpuset-cpus"], "CPUs to run on (0-3, 0,1)";
        cpuset_mems: String ["cpuset-mems"], "Memory nodes to use (0-3, 0,1)";
        device: Vec<String> ["device"], "Add a device of the host";
        device_cgroup_rule: DeviceRules ["device-cgroup-rule"], "Add a rule to the cgroup's list of allowed devices";
        device_read_bps: ByteRates ["device-read-bps"], "Limit bytes per second read from a device";
        device_read_iops: OperationRates ["device-read-iops"], "Limit reads per second from a device";
        device_write_bps: ByteRates ["device-write-bps"], "Limit bytes per second written to a device";
        device_write_iops: OperationRates ["device-write-iops"], "Limit writes per second to a device";
        content_trust_off: bool ["disable-content-trust"] = "true", "Do not verify signatures of images";
        dns: DnsServers ["dns"], "Set DNS servers";
        dns_opt: Vec<String> ["dns-opt"], "";
        dns_option: Vec<String> ["dns-option"], "Set DNS options";
        dns_search: DnsSearch ["dns-search"], "Set DNS search domains";
        domainname: String ["domainname"], "The container's NIS domain name";
        entrypoint: Option<String> ["entrypoint"], "Replace the image's entry point";
        env: Environment ["env" 'e'], "Set environment variables";
        env_file: Vec<String> ["env-file"], "Read environment variables from a file";
        expose: Vec<String> ["expose"], "Expose a port or a range of ports";
        gpus: Gpus ["gpus"], "Add GPUs ('all' for every one)";
        group_add: Vec<String> ["group-add"], "Join further groups";
        health_cmd: String ["health-cmd"], "Command that checks the container's health";
        health_interval: Span ["health-interval"] , "Time between two checks (ms|s|m|h)";
        health_retries: i64 ["health-retries"], "Failures in a row that mean unhealthy";
        health_start_interval: Span ["health-start-interval"], "Time between two checks while it starts (ms|s|m|h)";
        health_start_period: Span ["health-start-period"], "Time to start in, before failures count (ms|s|m|h)";
        health_timeout: Span ["health-timeout"], "Longest time for one check (ms|s|m|h)";
        hostname: String ["hostname" 'h'], "The container's host name";
        init: Option<bool> ["init"], "Run an init that forwards signals and reaps processes";
        interactive: bool ["interactive" 'i'], "Keep stdin open even if not attached";
        io_maxbandwidth: Option<String> ["io-maxbandwidth"], "Limit of the system drive's bandwidth (Windows only)";
        io_maxiops: Option<String> ["io-maxiops"], "Limit of the system drive's operations (Windows only)";
        ip: String ["ip"], "IPv4 address";
        ip6: String ["ip6"], "IPv6 address";
        ipc: String ["ipc"], "IPC namespace to use";
        isolation: String ["isolation"], "Isolation technology";
        kernel_memory: Bytes ["kernel-memory"], "Taken and not used: the kernel has no such limit any more";
        label: Vec<String> ["label" 'l'], "Set a label";
        label_file: Vec<String> ["label-file"], "Read labels from a file";
        link: Vec<String> ["link"], "Link to another container";
        link_local_ip: Vec<String> ["link-local-ip"], "Link-local addresses";
        log_driver: String ["log-driver"], "Where the container's output is kept";
        log_opt: Vec<String> ["log-opt"], "Options of the log driver";
        mac_address: String ["mac-address"], "Hardware address";
        memory: Bytes ["memory" 'm'], "Limit of memory";
        memory_reservation: Bytes ["memory-reservation"], "Soft limit of memory";
        memory_swap: SwapBytes ["memory-swap"], "Limit of memory and swap together: '-1' for no limit";
        memory_swappiness: i64 ["memory-swappiness"] = "-1", "How eagerly memory is swapped (0 to 100)";
        mount: Mounts ["mount"], "Mount a file system";
        name: String ["name"], "Name the container";
        net: Networks ["net"], "";
        net_alias: Vec<String> ["net-alias"], "";
        network: Networks ["network"], "Connect to a network";
        network_alias: Vec<String> ["network-alias"], "Add a name on the network";
        no_healthcheck: bool ["no-healthcheck"], "Drop the image's health check";
        oom_kill_disable: bool ["oom-kill-disable"], "Never kill it when memory runs out";
        oom_score_adj: i64 ["oom-score-adj"], "How early it is killed when memory runs out (-1000 to 1000)";
        pid: String ["pid"], "PID namespace to use";
        pids_limit: i64 ["pids-limit"], "Limit of processes (-1 for no limit)";
        platform: String ["platform"], "Platform of the image";
        privileged: bool ["privileged"], "Give it all privileges";
        publish: Vec<String> ["publish" 'p'], "Publish ports on the host";
        publish_all: bool ["publish-all" 'P'], "Publish all exposed ports on free ports of the host";
        pull: String ["pull"] = "missing", "When to pull the image (\"always\", \"missing\", \"never\")";
        quiet: bool ["quiet" 'q'], "Show no progress of a pull";
        read_only: bool ["read-only"], "Mount the root file system read-only";
        restart: String ["restart"] = "no", "What to do when the container ends";
        rm: bool ["rm"], "Remove the container and its anonymous volumes when it ends";
        runtime: String ["runtime"], "Runtime to use";
        security_opt: Vec<String> ["security-opt"], "Security options";
        shm_size: Bytes ["shm-size"], "Size of /dev/shm";
        stop_signal: String ["stop-signal"], "Signal that stops the container";
        stop_timeout: Option<i64> ["stop-timeout"], "Seconds to wait before it is killed";
        storage_opt: Vec<String> ["storage-opt"], "Options of the storage driver";
        sysctl: Sysctls ["sysctl"], "Kernel settings";
        tmpfs: Vec<String> ["tmpfs"], "Mount a tmpfs";
        tty: bool ["tty" 't'], "Give it a terminal";
        ulimit: Ulimits ["ulimit"], "Resource limits";
        use_api_socket: bool ["use-api-socket"], "Give it the API's socket and credentials";
        user: String ["user" 'u'], "User, by name or number (user[:group])";
        userns: String ["userns"], "User namespace to use";
        uts: String ["uts"], "UTS namespace to use";
        volume: Vec<String> ["volume" 'v'], "Mount a volume or a directory of the host";
        volume_driver: String ["volume-driver"], "Driver of the volumes";
        volumes_from: Vec<String> ["volumes-from"], "Mount the volumes of another container";
        workdir: String ["workdir" 'w'], "Working directory";
    }
}
