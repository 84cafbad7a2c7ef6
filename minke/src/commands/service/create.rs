//! `service create`: from docker's flags to a service's spec. It returns when the wish is written down; `service ps`
//! shows what becomes of it.

use crate::cli::command::{Arity, Command, command};
use crate::cli::flag::{Bytes, Commas, Pairs, Span, flags};
use crate::cli::{Cli, Failure, Outcome, show};
use crate::client::http::Payload;
use crate::format::value::Value as Found;
use crate::options::flags::{Cpus, DnsSearch, DnsServers, Environment, Mounts, Ulimits};
use crate::options::{env, host};
use minke_image::Reference;
use serde_json::{Map, Value, json};

/// `service create`
pub(crate) static COMMAND: Command = command!(CreateFlags, create, {
    name: "create",
    usage: "[OPTIONS] IMAGE [COMMAND] [ARG...]",
    about: "Make a service",
    arity: Arity::AtLeast(1),
    interspersed: false,
});

flags! {
    /// Flags of `service create`.
    struct CreateFlags {
        cap_add: Commas ["cap-add"], "Add capabilities";
        cap_drop: Commas ["cap-drop"], "Take capabilities away";
        config: Vec<String> ["config"], "Give the tasks a config";
        constraint: Vec<String> ["constraint"], "Only on machines that fit (node.role==worker)";
        container_label: Vec<String> ["container-label"], "Set a label of the containers";
        detach: bool ["detach" 'd'], "Return when the wish is written down, as it does anyway";
        dns: DnsServers ["dns"], "Set a resolver";
        dns_option: Vec<String> ["dns-option"], "Set an option of resolvers";
        dns_search: DnsSearch ["dns-search"], "Set a domain to search in";
        endpoint_mode: String ["endpoint-mode"] = "vip", "How its name resolves (vip, dnsrr)";
        entrypoint: Option<String> ["entrypoint"], "Run this instead of the image's entry point";
        env: Environment ["env" 'e'], "Set an environment variable";
        env_file: Vec<String> ["env-file"], "Read environment variables from a file";
        generic_resource: Vec<String> ["generic-resource"], "Reserve a resource that only users know";
        group: Vec<String> ["group"], "Add a group";
        health_cmd: Option<String> ["health-cmd"], "Probe health with this command";
        health_interval: Span ["health-interval"], "Between probes";
        health_retries: i64 ["health-retries"], "Failures in a row that make it unhealthy";
        health_start_interval: Span ["health-start-interval"], "Between probes while it starts";
        health_start_period: Span ["health-start-period"], "Failures do not count for so long";
        health_timeout: Span ["health-timeout"], "A probe may take so long";
        host: Vec<String> ["host"], "Set a line of /etc/hosts (host:ip)";
        hostname: String ["hostname"], "Name of the containers";
        init: Option<bool> ["init"], "Run an init in the containers";
        label: Vec<String> ["label" 'l'], "Set a label of the service";
        limit_cpu: Cpus ["limit-cpu"], "Use at most so many processors";
        limit_memory: Bytes ["limit-memory"], "Use at most so much memory";
        limit_pids: i64 ["limit-pids"], "At most so many processes";
        log_driver: Option<String> ["log-driver"], "Where output goes";
        log_opt: Pairs ["log-opt"], "Options of the log driver";
        max_concurrent: Option<i64> ["max-concurrent"], "Of a job: so many at a time";
        mode: String ["mode"] = "replicated", "replicated, global, replicated-job, global-job";
        mount: Mounts ["mount"], "Attach a mount";
        name: String ["name"], "Its name";
        network: Vec<String> ["network"], "Join a network";
        no_healthcheck: bool ["no-healthcheck"], "Without the image's probe";
        placement_pref: Vec<String> ["placement-pref"], "Spread over a label (spread=node.labels.zone)";
        publish: Vec<String> ["publish" 'p'], "Publish a port";
        quiet: bool ["quiet" 'q'], "Say less";
        read_only: bool ["read-only"], "The root cannot be written";
        replicas: Option<i64> ["replicas"], "So many tasks";
        replicas_max_per_node: u64 ["replicas-max-per-node"] = "0", "At most so many on one machine; 0 is any number";
        reserve_cpu: Cpus ["reserve-cpu"], "So many processors must be free";
        reserve_memory: Bytes ["reserve-memory"], "So much memory must be free";
        restart_condition: Option<String> ["restart-condition"], "When a task that ended is replaced (none, on-failure, any)";
        restart_delay: Span ["restart-delay"], "How long after";
        restart_max_attempts: Option<i64> ["restart-max-attempts"], "How often";
        restart_window: Span ["restart-window"], "In which time";
        rollback_delay: Span ["rollback-delay"], "Between tasks that go back";
        rollback_failure_action: Option<String> ["rollback-failure-action"], "When going back fails (pause, continue)";
        rollback_max_failure_ratio: Option<String> ["rollback-max-failure-ratio"], "Share of failures that is borne";
        rollback_monitor: Span ["rollback-monitor"], "How long tasks are watched";
        rollback_order: Option<String> ["rollback-order"], "Which goes first (start-first, stop-first)";
        rollback_parallelism: Option<i64> ["rollback-parallelism"], "So many at a time; 0 is all";
        secret: Vec<String> ["secret"], "Give the tasks a secret";
        stop_grace_period: Span ["stop-grace-period"], "Time to obey before SIGKILL";
        stop_signal: String ["stop-signal"], "What makes it stop";
        sysctl: Pairs ["sysctl"], "Set a kernel parameter";
        tty: bool ["tty" 't'], "Give it a terminal";
        ulimit: Ulimits ["ulimit"], "Limit each process";
        update_delay: Span ["update-delay"], "Between tasks that change";
        update_failure_action: Option<String> ["update-failure-action"], "When changing fails (pause, continue, rollback)";
        update_max_failure_ratio: Option<String> ["update-max-failure-ratio"], "Share of failures that is borne";
        update_monitor: Span ["update-monitor"], "How long tasks are watched";
        update_order: Option<String> ["update-order"], "Which goes first (start-first, stop-first)";
        update_parallelism: Option<i64> ["update-parallelism"], "So many at a time; 0 is all";
        user: String ["user" 'u'], "As whom it runs";
        with_registry_auth: bool ["with-registry-auth"], "Send the registry's credentials to the machines";
        workdir: String ["workdir" 'w'], "Where it starts";
    }
}

fn create(cli: &Cli, flags: CreateFlags, args: Vec<String>) -> Outcome {
    let client = cli.client()?;
    let spec = spec(cli, &flags, &args)?;
    let mut headers = Vec::new();
    if flags.with_registry_auth {
        let image = Reference::parse(&args[0]).map_err(|error| Failure::new(error.to_string()))?;
        let auth = cli.config().registry_auth(image.domain()).map_err(Failure::new)?;
        headers.push(("X-Registry-Auth".to_owned(), auth));
    }
    let payload = Payload::json(&spec);
    let answer = client.call_with("POST", "/services/create", &[], payload, &headers)?.json()?;
    for warning in answer.texts("Warnings") {
        crate::output::warn(warning);
    }
    if !flags.detach && !flags.quiet {
        crate::output::warn(format!("minke service ps {} shows what becomes of it", answer.text("ID")));
    }
    show(&format!("{}\n", answer.text("ID")))
}

/// Sets what was given.
fn set(object: &mut Value, name: &str, value: Value) {
    let empty = match &value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
        Value::Bool(on) => !on,
        Value::Number(number) => number.as_i64() == Some(0),
    };
    if !empty {
        object[name] = value;
    }
}

fn labels(given: &[String]) -> Result<Value, Failure> {
    Ok(Value::Object(env::labels(&[], given)?.into_iter().map(|(n, v)| (n, v.into())).collect()))
}

fn spec(cli: &Cli, flags: &CreateFlags, args: &[String]) -> Result<Value, Failure> {
    let mut container = json!({ "Image": args[0], "Init": flags.init, "DNSConfig": {} });
    let environment = env::environment(&flags.env_file, &flags.env.0)?;
    let hosts: Result<Vec<String>, Failure> = flags.host.iter().map(|text| host_line(text)).collect();
    let entrypoint: Vec<&str> = flags.entrypoint.iter().flat_map(|text| text.split_whitespace()).collect();
    for (name, value) in [
        ("Labels", labels(&flags.container_label)?),
        ("Command", json!(entrypoint)),
        ("Args", json!(args[1..])),
        ("Hostname", json!(flags.hostname)),
        ("Env", json!(environment)),
        ("Dir", json!(flags.workdir)),
        ("User", json!(flags.user)),
        ("Groups", json!(flags.group)),
        ("StopSignal", json!(flags.stop_signal)),
        ("TTY", json!(flags.tty)),
        ("ReadOnly", json!(flags.read_only)),
        ("Mounts", json!(flags.mount.0)),
        ("StopGracePeriod", json!(flags.stop_grace_period.0)),
        ("Healthcheck", probe(flags)),
        ("Hosts", json!(hosts?)),
        ("Sysctls", flags.sysctl.to_json()),
        ("CapabilityAdd", json!(flags.cap_add.0)),
        ("CapabilityDrop", json!(flags.cap_drop.0)),
        ("Ulimits", json!(flags.ulimit.0)),
        ("Secrets", files(cli, "secret", &flags.secret)?),
        ("Configs", files(cli, "config", &flags.config)?),
    ] {
        set(&mut container, name, value);
    }
    for (name, value) in [
        ("Nameservers", json!(flags.dns.0)),
        ("Search", json!(flags.dns_search.0)),
        ("Options", json!(flags.dns_option)),
    ] {
        set(&mut container["DNSConfig"], name, value);
    }
    let mut task = json!({
        "ContainerSpec": container, "Resources": resources(flags)?, "Placement": placement(flags)?,
        "Networks": flags.network.iter().map(|text| network(text)).collect::<Vec<_>>(),
    });
    set(&mut task, "RestartPolicy", restart(flags));
    if let Some(driver) = &flags.log_driver {
        task["LogDriver"] = json!({ "Name": driver, "Options": flags.log_opt.to_json() });
    }
    let ports: Result<Vec<Vec<Value>>, Failure> = flags.publish.iter().map(|text| port(text)).collect();
    let mut spec = json!({
        "Name": flags.name, "Labels": labels(&flags.label)?, "TaskTemplate": task, "Mode": mode(flags)?,
        "EndpointSpec": { "Mode": flags.endpoint_mode, "Ports": ports?.concat() },
    });
    let update = Policy {
        parallelism: flags.update_parallelism,
        delay: flags.update_delay.0,
        failure_action: flags.update_failure_action.as_deref(),
        monitor: flags.update_monitor.0,
        max_failure_ratio: flags.update_max_failure_ratio.as_deref(),
        order: flags.update_order.as_deref(),
    };
    let rollback = Policy {
        parallelism: flags.rollback_parallelism,
        delay: flags.rollback_delay.0,
        failure_action: flags.rollback_failure_action.as_deref(),
        monitor: flags.rollback_monitor.0,
        max_failure_ratio: flags.rollback_max_failure_ratio.as_deref(),
        order: flags.rollback_order.as_deref(),
    };
    set(&mut spec, "UpdateConfig", update.json()?);
    set(&mut spec, "RollbackConfig", rollback.json()?);
    Ok(spec)
}

/// `name:address` as a line of /etc/hosts.
fn host_line(text: &str) -> Result<String, Failure> {
    let entry = host::extra_host(text)?;
    let (name, address) = entry.split_once(':').unwrap_or((&entry, ""));
    Ok(format!("{address} {name}"))
}

fn probe(flags: &CreateFlags) -> Value {
    if flags.no_healthcheck {
        return json!({ "Test": ["NONE"] });
    }
    let mut probe = json!({});
    if let Some(line) = &flags.health_cmd {
        probe["Test"] = json!(["CMD-SHELL", line]);
    }
    for (name, span) in [
        ("Interval", flags.health_interval.0),
        ("Timeout", flags.health_timeout.0),
        ("StartPeriod", flags.health_start_period.0),
        ("StartInterval", flags.health_start_interval.0),
        ("Retries", Some(flags.health_retries)),
    ] {
        set(&mut probe, name, json!(span));
    }
    probe
}

fn resources(flags: &CreateFlags) -> Result<Value, Failure> {
    let mut resources = json!({ "Limits": {}, "Reservations": {} });
    set(&mut resources["Limits"], "NanoCPUs", json!(flags.limit_cpu.0));
    set(&mut resources["Limits"], "MemoryBytes", json!(flags.limit_memory.0));
    set(&mut resources["Limits"], "Pids", json!(flags.limit_pids));
    set(&mut resources["Reservations"], "NanoCPUs", json!(flags.reserve_cpu.0));
    set(&mut resources["Reservations"], "MemoryBytes", json!(flags.reserve_memory.0));
    let mut generic = Vec::new();
    for text in &flags.generic_resource {
        let number = text.split_once('=').and_then(|(kind, n)| Some((kind, n.parse::<i64>().ok()?)));
        let Some((kind, value)) = number else {
            return Err(Failure::new(format!("could not parse generic-resource {text}: it is KIND=NUMBER")));
        };
        generic.push(json!({ "DiscreteResourceSpec": { "Kind": kind, "Value": value } }));
    }
    set(&mut resources["Reservations"], "GenericResources", json!(generic));
    Ok(resources)
}

fn placement(flags: &CreateFlags) -> Result<Value, Failure> {
    let mut placement = json!({});
    set(&mut placement, "Constraints", json!(flags.constraint));
    set(&mut placement, "MaxReplicas", json!(flags.replicas_max_per_node));
    let mut preferences = Vec::new();
    for text in &flags.placement_pref {
        let Some(label) = text.strip_prefix("spread=") else {
            return Err(Failure::new(
                "placement preference must be of the form \"<strategy>=<arg>\": spread=LABEL",
            ));
        };
        preferences.push(json!({ "Spread": { "SpreadDescriptor": label } }));
    }
    set(&mut placement, "Preferences", json!(preferences));
    Ok(placement)
}

fn restart(flags: &CreateFlags) -> Value {
    let mut policy = json!({});
    for (name, value) in [
        ("Condition", json!(flags.restart_condition)),
        ("Delay", json!(flags.restart_delay.0)),
        ("MaxAttempts", json!(flags.restart_max_attempts)),
        ("Window", json!(flags.restart_window.0)),
    ] {
        set(&mut policy, name, value);
    }
    policy
}

fn mode(flags: &CreateFlags) -> Result<Value, Failure> {
    let numbered = matches!(flags.mode.as_str(), "replicated" | "replicated-job");
    if flags.replicas.is_some() && !numbered {
        return Err(Failure::new("replicas can only be used with replicated or replicated-job mode"));
    }
    Ok(match flags.mode.as_str() {
        "replicated" => json!({ "Replicated": { "Replicas": flags.replicas } }),
        "global" => json!({ "Global": {} }),
        "replicated-job" => json!({ "ReplicatedJob": {
            "MaxConcurrent": flags.max_concurrent.or(flags.replicas), "TotalCompletions": flags.replicas,
        } }),
        "global-job" => json!({ "GlobalJob": {} }),
        other => {
            return Err(Failure::new(format!(
                "unknown mode: {other}, only replicated and global supported, and replicated-job and global-job"
            )));
        }
    })
}

/// How an update or a rollback goes.
struct Policy<'a> {
    parallelism: Option<i64>,
    delay: Option<i64>,
    failure_action: Option<&'a str>,
    monitor: Option<i64>,
    max_failure_ratio: Option<&'a str>,
    order: Option<&'a str>,
}

impl Policy<'_> {
    /// `null` when nothing was given.
    fn json(&self) -> Result<Value, Failure> {
        let ratio = match self.max_failure_ratio {
            None => None,
            Some(text) => Some(text.parse::<f64>().map_err(|_| {
                Failure::new(format!(
                    "{} is no share: it is a number from 0 to 1",
                    minke_model::go::quote(text)
                ))
            })?),
        };
        let given = self.parallelism.is_some()
            || self.delay.is_some()
            || self.failure_action.is_some()
            || self.monitor.is_some()
            || ratio.is_some()
            || self.order.is_some();
        if !given {
            return Ok(Value::Null);
        }
        Ok(json!({
            "Parallelism": self.parallelism.unwrap_or(1), "Delay": self.delay.unwrap_or(0),
            "FailureAction": self.failure_action.unwrap_or("pause"),
            "Monitor": self.monitor.unwrap_or(5_000_000_000), "MaxFailureRatio": ratio.unwrap_or(0.0),
            "Order": self.order.unwrap_or("stop-first"),
        }))
    }
}

/// Fields of a long form: `source=x,target=y`.
fn fields(text: &str) -> Result<Map<String, Value>, Failure> {
    let mut fields = Map::new();
    for field in minke_model::go::csv_fields(text)? {
        let (name, value) = field
            .split_once('=')
            .ok_or_else(|| Failure::new(format!("invalid field '{field}' must be a key=value pair")))?;
        fields.insert(name.to_lowercase(), value.into());
    }
    Ok(fields)
}

fn text<'a>(fields: &'a Map<String, Value>, names: &[&str]) -> &'a str {
    names.iter().find_map(|name| fields.get(*name)?.as_str()).unwrap_or_default()
}

/// `NAME`, or `name=NAME,alias=A`.
fn network(given: &str) -> Value {
    if !given.contains('=') {
        return json!({ "Target": given });
    }
    let mut network = json!({ "Aliases": [], "DriverOpts": {} });
    for field in given.split(',') {
        match field.split_once('=') {
            Some(("name", name)) => network["Target"] = name.into(),
            Some(("alias", alias)) => {
                if let Some(list) = network["Aliases"].as_array_mut() {
                    list.push(alias.into());
                }
            }
            Some(("driver-opt", option)) => {
                let (name, value) = option.split_once('=').unwrap_or((option, ""));
                network["DriverOpts"][name] = value.into();
            }
            _ => {}
        }
    }
    network
}

/// `8080:80/tcp`, `80`, or `published=8080,target=80,protocol=tcp,mode=host`.
fn port(given: &str) -> Result<Vec<Value>, Failure> {
    let number = |text: &str| -> Result<u16, Failure> {
        text.parse().map_err(|_| Failure::new(format!("invalid port {text:?}: it is a number up to 65535")))
    };
    if given.contains('=') {
        let fields = fields(given)?;
        let protocol = text(&fields, &["protocol"]);
        let mode = text(&fields, &["mode"]);
        let published = text(&fields, &["published"]);
        return Ok(vec![json!({
            "Protocol": if protocol.is_empty() { "tcp" } else { protocol },
            "TargetPort": number(text(&fields, &["target"]))?,
            "PublishedPort": if published.is_empty() { 0 } else { number(published)? },
            "PublishMode": if mode.is_empty() { "ingress" } else { mode },
        })]);
    }
    let (ports, protocol) = given.split_once('/').unwrap_or((given, "tcp"));
    let (published, target) = ports.rsplit_once(':').unwrap_or(("0", ports));
    if published.contains(':') {
        return Err(Failure::new(format!("{given}: hostip is not supported by services")));
    }
    let range = |text: &str| -> Result<(u16, u16), Failure> {
        match text.split_once('-') {
            Some((first, last)) => Ok((number(first)?, number(last)?)),
            None => Ok((number(text)?, number(text)?)),
        }
    };
    let (outside, inside) = (range(published)?, range(target)?);
    let count = |(first, last): (u16, u16)| last.checked_sub(first);
    if outside.0 != 0 && count(outside) != count(inside) || count(inside).is_none() {
        return Err(Failure::new(format!("invalid ranges specified for container and host ports: {given}")));
    }
    Ok((inside.0..=inside.1)
        .map(|target| {
            let published = if outside.0 == 0 { 0 } else { outside.0 + (target - inside.0) };
            json!({ "Protocol": protocol, "TargetPort": target, "PublishedPort": published, "PublishMode": "ingress" })
        })
        .collect())
}

/// Secrets or configs, found by name: `NAME`, or `source=NAME,target=F,uid=0,gid=0,mode=0444`.
fn files(cli: &Cli, what: &str, given: &[String]) -> Result<Value, Failure> {
    let mut references = Vec::new();
    for asked in given {
        let fields = match asked.contains('=') {
            true => fields(asked)?,
            false => Map::from_iter([("source".to_owned(), asked.as_str().into())]),
        };
        let source = text(&fields, &["source", "src"]);
        let found: Found =
            cli.client()?.get(&format!("/{what}s/{}", crate::commands::segment(source)), &[])?;
        let target = text(&fields, &["target"]);
        let or_zero = |name: &str| match text(&fields, &[name]) {
            "" => "0",
            id => id,
        };
        let mode = match text(&fields, &["mode"]) {
            "" => 0o444,
            digits => u32::from_str_radix(digits, 8).map_err(|_| {
                Failure::new(format!("invalid mode specified: {digits}: it is octal, as 0444"))
            })?,
        };
        let own = found.text("Spec.Name");
        let file = json!({
            "Name": if target.is_empty() { own } else { target },
            "UID": or_zero("uid"), "GID": or_zero("gid"), "Mode": mode,
        });
        let (id, name) = match what {
            "secret" => ("SecretID", "SecretName"),
            _ => ("ConfigID", "ConfigName"),
        };
        references.push(json!({ "File": file, id: found.text("ID"), name: own }));
    }
    Ok(json!(references))
}
