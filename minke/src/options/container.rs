//! The API's request that the flags of `run` and `create` make.

use super::flags::ContainerFlags;
use super::{device, env, host, mount, network, port, security, ulimit};
use serde_json::{Map, Value, json};

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
