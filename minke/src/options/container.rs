//! The flags that `run` and `create` share, and the API's request that they make.

use super::{device, env, host, mount, network, port, security, ulimit};
use crate::cli::flag::{Bytes, Pairs, Span, SwapBytes, Value as FlagValue, flags};
use serde_json::{Map, Value, json};

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

/// A request to make a container.
pub(crate) struct Request {
    /// The image.
    pub(crate) image: String,
    /// The body of `POST /containers/create`.
    pub(crate) body: Value,
    /// Which of our streams the user wants to be attached to.
    pub(crate) streams: StreamSet,
}

/// Streams that are attached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct StreamSet {
    /// Our stdin.
    pub(crate) stdin: bool,
    /// Our stdout.
    pub(crate) stdout: bool,
    /// Our stderr.
    pub(crate) stderr: bool,
}

/// Why a mode cannot be.
fn check_mode(flag: &str, what: &str, mode: &str, words: &[&str]) -> Result<(), String> {
    let named =
        mode.strip_prefix("container:").is_some_and(|name| !name.is_empty() && words.contains(&"container:"));
    if mode.is_empty() || words.contains(&mode) || named {
        Ok(())
    } else {
        Err(format!("--{flag}: invalid {what} mode"))
    }
}

/// Makes the request. `args` are the image and the command; `proxies` come from the user's configuration.
pub(crate) fn request(
    flags: ContainerFlags,
    args: &[String],
    proxies: Vec<(String, String)>,
) -> Result<Request, String> {
    let image = args[0].clone();
    let streams = streams(&flags);
    let mut config = config(&flags, args, proxies)?;
    let mut host = host_config(&flags)?;
    for (name, value) in
        [("AttachStdin", streams.stdin), ("AttachStdout", streams.stdout), ("AttachStderr", streams.stderr)]
    {
        config.insert(name.into(), value.into());
    }
    config.insert("StdinOnce".into(), (flags.interactive && streams.stdin).into());
    let general = network::General {
        aliases: [flags.network_alias, flags.net_alias].concat(),
        links: flags.link,
        ip: flags.ip,
        ip6: flags.ip6,
        link_local: flags.link_local_ip,
        mac: if flags.mac_address.is_empty() { String::new() } else { host::mac(&flags.mac_address)? },
    };
    let attachments = [flags.network.0, flags.net.0].concat();
    let (mode, endpoints) = network::endpoints(attachments, general)?;
    host.insert("NetworkMode".into(), mode.into());
    config.insert("HostConfig".into(), host.into());
    config.insert("NetworkingConfig".into(), json!({"EndpointsConfig": endpoints}));
    Ok(Request { image, body: config.into(), streams })
}

/// Refuses flags that no Linux daemon takes, or that are not supported, with the reason.
pub(crate) fn refuse_foreign(flags: &ContainerFlags) -> Result<(), String> {
    let windows = [
        ("cpu-count", flags.cpu_count.is_some()),
        ("cpu-percent", flags.cpu_percent.is_some()),
        ("io-maxbandwidth", flags.io_maxbandwidth.is_some()),
        ("io-maxiops", flags.io_maxiops.is_some()),
    ];
    if let Some((name, _)) = windows.iter().find(|(_, given)| *given) {
        return Err(format!(
            "\"--{name}\" is only supported on a Docker daemon running on windows, but the Docker daemon is running on linux"
        ));
    }
    if !flags.content_trust_off {
        return Err("--disable-content-trust=false: signatures of Docker Content Trust are not supported, since its service is retired".into());
    }
    if flags.use_api_socket {
        return Err("--use-api-socket is not supported: it would give the container the daemon and your credentials; mount what it needs with --volume".into());
    }
    Ok(())
}

/// Without `--attach` and `--detach` all output is attached, and stdin when it is open.
fn streams(flags: &ContainerFlags) -> StreamSet {
    let asked = |name: &str| flags.attach.0.iter().any(|stream| stream == name);
    let all = flags.attach.0.is_empty();
    StreamSet {
        stdin: flags.interactive || asked("stdin"),
        stdout: all || asked("stdout"),
        stderr: all || asked("stderr"),
    }
}

fn config(
    flags: &ContainerFlags,
    args: &[String],
    proxies: Vec<(String, String)>,
) -> Result<Map<String, Value>, String> {
    let mut environment = env::environment(&flags.env_file, &flags.env.0)?;
    for (name, value) in proxies {
        let set = |entry: &String| entry.split('=').next() == Some(&name);
        if !flags.env.0.iter().any(set) {
            environment.push(format!("{name}={value}"));
        }
    }
    let mut ports: Map<String, Value> =
        port::parse_exposed(&flags.expose)?.into_iter().map(|port| (port, json!({}))).collect();
    ports.extend(port::parse_published(&flags.publish)?.into_keys().map(|port| (port, json!({}))));
    let mut volumes = Map::new();
    for volume in &flags.volume {
        if let mount::Volume::Anonymous(path) = mount::volume(volume)? {
            volumes.insert(path, json!({}));
        }
    }
    let mut config = Map::new();
    let mut put = |name: &str, value: Value| {
        config.insert(name.to_owned(), value);
    };
    put("Image", args[0].clone().into());
    put("Hostname", flags.hostname.clone().into());
    put("Domainname", flags.domainname.clone().into());
    put("User", flags.user.clone().into());
    put("Tty", flags.tty.into());
    put("OpenStdin", flags.interactive.into());
    put("Env", or_null(environment));
    put("Cmd", if args.len() > 1 { args[1..].to_vec().into() } else { Value::Null });
    put("Volumes", volumes.into());
    put("WorkingDir", flags.workdir.clone().into());
    put("Entrypoint", flags.entrypoint.clone().map_or(Value::Null, |entry| json!([entry])));
    put(
        "Labels",
        env::labels(&flags.label_file, &flags.label)?
            .into_iter()
            .map(|(name, value)| (name, Value::from(value)))
            .collect::<Map<_, _>>()
            .into(),
    );
    if !ports.is_empty() {
        put("ExposedPorts", ports.into());
    }
    if !flags.stop_signal.is_empty() {
        put("StopSignal", flags.stop_signal.clone().into());
    }
    if let Some(seconds) = flags.stop_timeout {
        put("StopTimeout", seconds.into());
    }
    if let Some(health) = health(flags)? {
        put("Healthcheck", health);
    }
    Ok(config)
}

fn health(flags: &ContainerFlags) -> Result<Option<Value>, String> {
    let spans = [
        ("Interval", "health-interval", &flags.health_interval),
        ("Timeout", "health-timeout", &flags.health_timeout),
        ("StartPeriod", "health-start-period", &flags.health_start_period),
        ("StartInterval", "health-start-interval", &flags.health_start_interval),
    ];
    let asked = !flags.health_cmd.is_empty()
        || flags.health_retries != 0
        || spans.iter().any(|(_, _, span)| span.0.unwrap_or(0) != 0);
    if flags.no_healthcheck {
        if asked {
            return Err("--no-healthcheck conflicts with --health-* options".into());
        }
        return Ok(Some(json!({"Test": ["NONE"]})));
    }
    if !asked {
        return Ok(None);
    }
    if let Some((_, name, _)) = spans.iter().find(|(_, _, span)| span.0.unwrap_or(0) < 0) {
        return Err(format!("--{name} cannot be negative"));
    }
    if flags.health_retries < 0 {
        return Err("--health-retries cannot be negative".into());
    }
    let mut health = json!({});
    if flags.health_retries != 0 {
        health["Retries"] = flags.health_retries.into();
    }
    if !flags.health_cmd.is_empty() {
        health["Test"] = json!(["CMD-SHELL", flags.health_cmd]);
    }
    for (name, _, span) in spans {
        if let Some(nanos) = span.0.filter(|nanos| *nanos != 0) {
            health[name] = nanos.into();
        }
    }
    Ok(Some(health))
}

/// `--restart`: `no`, `always`, `unless-stopped`, `on-failure[:times]`.
pub(crate) fn restart_policy(text: &str) -> Result<Value, String> {
    if text.is_empty() {
        return Ok(json!({"Name": "", "MaximumRetryCount": 0}));
    }
    let (name, count) = text.split_once(':').map_or((text, None), |(name, count)| (name, Some(count)));
    if name.is_empty() {
        return Err("invalid restart policy format: no policy provided before colon".into());
    }
    let count: i64 = match count {
        None => 0,
        Some(count) => count.parse().map_err(|_| {
            "invalid restart policy format: maximum retry count must be an integer".to_owned()
        })?,
    };
    Ok(json!({"Name": name, "MaximumRetryCount": count}))
}

/// Lists that docker sends as null when nothing was said: `inspect` shows them as they were sent.
fn or_null<T: Into<Value>>(list: Vec<T>) -> Value {
    if list.is_empty() { Value::Null } else { list.into() }
}

fn host_config(flags: &ContainerFlags) -> Result<Map<String, Value>, String> {
    if flags.memory_swappiness != -1 && !(0..=100).contains(&flags.memory_swappiness) {
        return Err(format!(
            "invalid value: {}. Valid memory swappiness range is 0-100",
            flags.memory_swappiness
        ));
    }
    check_mode("pid", "PID", &flags.pid, &["host", "container:"])?;
    check_mode("uts", "UTS", &flags.uts, &["host"])?;
    check_mode("userns", "USER", &flags.userns, &["host"])?;
    check_mode("cgroupns", "CGROUP", &flags.cgroupns, &["host", "private"])?;
    if flags.rm && !matches!(flags.restart.as_str(), "" | "no") {
        return Err("conflicting options: cannot specify both --restart and --rm".into());
    }
    let mut host = resources(flags)?;
    let mut put = |name: &str, value: Value| {
        host.insert(name.to_owned(), value);
    };
    let mut binds = Vec::new();
    for volume in &flags.volume {
        if let mount::Volume::Bind(bind) = mount::volume(volume)? {
            binds.push(bind);
        }
    }
    let bindings = port::parse_published(&flags.publish)?.into_iter().map(|(port, hosts)| {
        let hosts: Vec<Value> =
            hosts.into_iter().map(|(ip, port)| json!({"HostIp": ip, "HostPort": port})).collect();
        (port, hosts.into())
    });
    let bindings: Map<String, Value> = bindings.collect();
    let mut log_options = Map::new();
    for option in &flags.log_opt {
        let (name, value) = option.split_once('=').unwrap_or((option, ""));
        log_options.insert(name.to_owned(), value.into());
    }
    if flags.log_driver == "none" && !log_options.is_empty() {
        return Err("invalid logging opts for driver none".into());
    }
    let mut storage = Map::new();
    for option in &flags.storage_opt {
        let (name, value) = option.split_once('=').ok_or("invalid storage option")?;
        storage.insert(name.to_owned(), value.into());
    }
    let security = security::parse(&flags.security_opt)?;
    let (add, drop) = security::capabilities(&flags.cap_add, &flags.cap_drop);
    put("Binds", or_null(binds));
    put("PortBindings", bindings.into());
    put("LogConfig", json!({"Type": flags.log_driver, "Config": log_options}));
    put("RestartPolicy", restart_policy(&flags.restart)?);
    put("AutoRemove", flags.rm.into());
    put("VolumeDriver", flags.volume_driver.clone().into());
    put("VolumesFrom", or_null(flags.volumes_from.clone()));
    put("CapAdd", or_null(add));
    put("CapDrop", or_null(drop));
    put("CgroupnsMode", flags.cgroupns.clone().into());
    put("Dns", flags.dns.0.clone().into());
    put("DnsOptions", [flags.dns_option.clone(), flags.dns_opt.clone()].concat().into());
    put("DnsSearch", flags.dns_search.0.clone().into());
    put("ExtraHosts", or_null(flags.add_host.0.clone()));
    put("GroupAdd", or_null(flags.group_add.clone()));
    put("IpcMode", flags.ipc.clone().into());
    put("Links", or_null(flags.link.clone()));
    put("OomScoreAdj", flags.oom_score_adj.into());
    put("PidMode", flags.pid.clone().into());
    put("Privileged", flags.privileged.into());
    put("PublishAllPorts", flags.publish_all.into());
    put("ReadonlyRootfs", flags.read_only.into());
    put("SecurityOpt", if flags.security_opt.is_empty() { Value::Null } else { security.options.into() });
    if !storage.is_empty() {
        put("StorageOpt", storage.into());
    }
    put("UTSMode", flags.uts.clone().into());
    put("UsernsMode", flags.userns.clone().into());
    put("ShmSize", flags.shm_size.0.into());
    put("ContainerIDFile", flags.cidfile.clone().into());
    put("Isolation", flags.isolation.clone().into());
    if let Some(init) = flags.init {
        put("Init", init.into());
    }
    if !flags.runtime.is_empty() {
        put("Runtime", flags.runtime.clone().into());
    }
    if !flags.mount.0.is_empty() {
        put("Mounts", flags.mount.0.clone().into());
    }
    if !flags.tmpfs.is_empty() {
        put(
            "Tmpfs",
            flags
                .tmpfs
                .iter()
                .map(|text| mount::tmpfs(text))
                .map(|(path, options)| (path, Value::from(options)))
                .collect::<Map<_, _>>()
                .into(),
        );
    }
    if !flags.sysctl.0.0.is_empty() {
        put("Sysctls", flags.sysctl.0.to_json());
    }
    if !flags.annotation.0.is_empty() {
        put("Annotations", flags.annotation.to_json());
    }
    if security.open_paths {
        put("MaskedPaths", json!([]));
        put("ReadonlyPaths", json!([]));
    }
    let (rows, columns) = crate::stream::terminal::size().unwrap_or_default();
    put("ConsoleSize", json!([rows, columns]));
    Ok(host)
}

fn resources(flags: &ContainerFlags) -> Result<Map<String, Value>, String> {
    let (mut nodes, mut cdi) = (Vec::new(), Vec::new());
    for text in &flags.device {
        match device::parse(text)? {
            device::Device::Node(node) => nodes.push(node),
            device::Device::Cdi(name) => cdi.push(name),
        }
    }
    let mut requests = flags.gpus.0.clone();
    if !cdi.is_empty() {
        requests.push(json!({"Driver": "cdi", "DeviceIDs": cdi}));
    }
    let resources = json!({
        "CpuShares": flags.cpu_shares,
        "Memory": flags.memory.0,
        "NanoCpus": flags.cpus.0,
        "CgroupParent": flags.cgroup_parent,
        "BlkioWeight": flags.blkio_weight,
        "BlkioWeightDevice": flags.blkio_weight_device.0,
        "BlkioDeviceReadBps": flags.device_read_bps.0,
        "BlkioDeviceWriteBps": flags.device_write_bps.0,
        "BlkioDeviceReadIOps": flags.device_read_iops.0,
        "BlkioDeviceWriteIOps": flags.device_write_iops.0,
        "CpuPeriod": flags.cpu_period,
        "CpuQuota": flags.cpu_quota,
        "CpuRealtimePeriod": flags.cpu_rt_period,
        "CpuRealtimeRuntime": flags.cpu_rt_runtime,
        "CpusetCpus": flags.cpuset_cpus,
        "CpusetMems": flags.cpuset_mems,
        "Devices": nodes,
        "DeviceCgroupRules": or_null(flags.device_cgroup_rule.0.clone()),
        "DeviceRequests": or_null(requests),
        "MemoryReservation": flags.memory_reservation.0,
        "MemorySwap": flags.memory_swap.0,
        "MemorySwappiness": flags.memory_swappiness,
        "OomKillDisable": flags.oom_kill_disable,
        "PidsLimit": flags.pids_limit,
        "Ulimits": ulimit::by_name(&flags.ulimit.0),
    });
    let resources = match resources {
        Value::Object(map) => map,
        _ => Map::new(),
    };
    Ok(resources)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn make(line: &str) -> Result<Request, String> {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        let parsed = crate::cli::parse::parse::<ContainerFlags>(&words, false)
            .unwrap_or_else(|wrong| panic!("{line}: {wrong:?}"));
        refuse_foreign(&parsed.flags)?;
        request(parsed.flags, &parsed.args, vec![("HTTP_PROXY".into(), "p".into())])
    }

    fn refused(line: &str) -> String {
        make(line).err().unwrap_or_else(|| panic!("{line} was accepted"))
    }

    #[test]
    fn a_plain_run_attaches_to_its_output() {
        let request = make("-e A=1 -l a=b -p 8080:80 -v v:/v -v /anon --name x img sh -c true").unwrap();
        let body = &request.body;
        assert_eq!(request.streams, StreamSet { stdin: false, stdout: true, stderr: true });
        assert_eq!(
            (&body["Image"], &body["Cmd"], &body["Env"]),
            (&json!("img"), &json!(["sh", "-c", "true"]), &json!(["A=1", "HTTP_PROXY=p"]))
        );
        assert_eq!(
            body["HostConfig"]["PortBindings"],
            json!({"80/tcp": [{"HostIp": "", "HostPort": "8080"}]})
        );
        assert_eq!(
            (&body["HostConfig"]["Binds"], &body["Volumes"], &body["ExposedPorts"]),
            (&json!(["v:/v"]), &json!({"/anon": {}}), &json!({"80/tcp": {}}))
        );
        assert_eq!(
            (&body["HostConfig"]["NetworkMode"], &body["NetworkingConfig"]["EndpointsConfig"]),
            (&json!("default"), &json!({"default": {}}))
        );
        assert_eq!(body["HostConfig"]["MemorySwappiness"], -1);
    }

    #[test]
    fn an_interactive_terminal_is_asked_for() {
        let body = make("-it --rm --init --stop-timeout 7 --entrypoint= img").unwrap().body;
        assert_eq!(
            (&body["Tty"], &body["OpenStdin"], &body["StdinOnce"], &body["AttachStdin"]),
            (&json!(true), &json!(true), &json!(true), &json!(true))
        );
        assert_eq!(
            (
                &body["HostConfig"]["AutoRemove"],
                &body["HostConfig"]["Init"],
                &body["StopTimeout"],
                &body["Entrypoint"],
                &body["Cmd"]
            ),
            (&json!(true), &json!(true), &json!(7), &json!([""]), &Value::Null)
        );
    }

    #[test]
    fn resources_and_security_are_asked_for() {
        let host = make("-m 64m --memory-swap -1 --cpus 1.5 --pids-limit 5 --ulimit nofile=1:2 --security-opt systempaths=unconfined --sysctl net.a=1 --tmpfs /t:size=1m --device /dev/null --restart on-failure:3 --network n --network-alias al i").unwrap().body["HostConfig"].clone();
        assert_eq!(
            (&host["Memory"], &host["MemorySwap"], &host["NanoCpus"], &host["PidsLimit"]),
            (&json!(64 << 20), &json!(-1), &json!(1_500_000_000), &json!(5))
        );
        assert_eq!(
            (&host["Ulimits"][0]["Hard"], &host["MaskedPaths"], &host["Sysctls"], &host["Tmpfs"]),
            (&json!(2), &json!([]), &json!({"net.a": "1"}), &json!({"/t": "size=1m"}))
        );
        assert_eq!(
            (&host["RestartPolicy"], &host["NetworkMode"]),
            (&json!({"Name": "on-failure", "MaximumRetryCount": 3}), &json!("n"))
        );
    }

    #[test]
    fn health_is_a_command_or_none() {
        assert_eq!(
            make("--health-cmd true --health-interval 1s i").unwrap().body["Healthcheck"],
            json!({"Test": ["CMD-SHELL", "true"], "Interval": 1_000_000_000})
        );
        assert_eq!(make("--no-healthcheck i").unwrap().body["Healthcheck"], json!({"Test": ["NONE"]}));
        assert_eq!(
            refused("--no-healthcheck --health-cmd x i"),
            "--no-healthcheck conflicts with --health-* options"
        );
    }

    #[test]
    fn what_cannot_be_is_refused_with_its_reason() {
        assert_eq!(
            refused("--rm --restart always i"),
            "conflicting options: cannot specify both --restart and --rm"
        );
        assert_eq!(refused("--pid foo i"), "--pid: invalid PID mode");
        assert_eq!(
            refused("--memory-swappiness 101 i"),
            "invalid value: 101. Valid memory swappiness range is 0-100"
        );
        assert!(refused("--cpu-count 1 i").contains("only supported on a Docker daemon running on windows"));
        assert!(refused("--use-api-socket i").contains("not supported"));
        assert_eq!(
            refused("--restart :3 i"),
            "invalid restart policy format: no policy provided before colon"
        );
    }
}
