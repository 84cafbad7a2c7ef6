//! The API's request for a container of a service: what docker compose sends (`pkg/compose/create.go`), in a fixed order.
//!
//! Pure: files it needs, such as a seccomp profile, are read by the caller.

mod mounts;
mod network;
mod resources;

pub(crate) use mounts::{Inherited, target};

use minke_compose::{Project, Service, label, service_hash};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// What of a container its service does not say.
#[derive(Default)]
pub(crate) struct Wish<'a> {
    /// Which of its service's; `None` for one of `run`.
    pub(crate) number: Option<u32>,
    /// Between the parts of names.
    pub(crate) separator: &'a str,
    /// Labels beside the service's own.
    pub(crate) labels: BTreeMap<String, String>,
    /// Proxies of the user's configuration.
    pub(crate) proxies: Vec<(String, String)>,
    /// Links as `container:alias`.
    pub(crate) links: Vec<String>,
    /// Volumes taken over from a container that it replaces.
    pub(crate) inherited: Vec<Inherited>,
    /// Texts of seccomp profiles by the option that names their file.
    pub(crate) profiles: BTreeMap<String, String>,
    /// Whether it goes by itself when it ends.
    pub(crate) auto_remove: bool,
    /// Whether our stdin is attached.
    pub(crate) attach_stdin: bool,
    /// Whether it has no aliases of its service in networks, as one of `run`.
    pub(crate) without_aliases: bool,
}

/// Labels that every container of a project has.
pub(crate) fn project_labels(
    project: &Project,
    env_files: &[String],
    service: &str,
) -> BTreeMap<String, String> {
    let mut labels: BTreeMap<String, String> = [
        (label::PROJECT, project.name.clone()),
        (label::SERVICE, service.to_owned()),
        (label::VERSION, label::TOOL_VERSION.to_owned()),
        (label::WORKING_DIR, project.working_dir.clone()),
        (label::CONFIG_FILES, project.files.join(",")),
        (label::ONE_OFF, "False".to_owned()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into();
    if !env_files.is_empty() {
        labels.insert(label::ENVIRONMENT_FILE.to_owned(), env_files.join(","));
    }
    labels
}

/// The body of `POST /containers/create`. `service` has ids in place of `service:NAME`. The error is docker compose's.
pub(crate) fn body(project: &Project, service: &Service, wish: &Wish<'_>) -> Result<Value, String> {
    let (mode, endpoints) = network::settings(project, service, wish)?;
    let mut body = config(project, service, wish)?;
    body.insert("HostConfig".into(), host_config(project, service, wish, mode)?.into());
    if let Some(endpoints) = endpoints {
        body.insert("NetworkingConfig".into(), json!({"EndpointsConfig": endpoints}));
    }
    Ok(body.into())
}

fn set(map: &mut Map<String, Value>, name: &str, value: impl Into<Value>) {
    map.insert(name.to_owned(), value.into());
}

/// Sets a text unless it is empty: what is not said is the image's or the engine's to say.
fn set_text(map: &mut Map<String, Value>, name: &str, value: &str) {
    if !value.is_empty() {
        set(map, name, value);
    }
}

fn config(project: &Project, service: &Service, wish: &Wish<'_>) -> Result<Map<String, Value>, String> {
    let mut config = Map::new();
    for (name, text) in [
        ("Hostname", &service.hostname),
        ("Domainname", &service.domainname),
        ("User", &service.user),
        ("WorkingDir", &service.working_dir),
        ("StopSignal", &service.stop_signal),
    ] {
        set_text(&mut config, name, text);
    }
    set(&mut config, "Image", service.image_name(&project.name, wish.separator));
    set(&mut config, "Tty", service.tty);
    set(&mut config, "OpenStdin", service.stdin_open);
    set(&mut config, "StdinOnce", wish.attach_stdin && service.stdin_open);
    set(&mut config, "AttachStdin", wish.attach_stdin);
    set(&mut config, "AttachStdout", true);
    set(&mut config, "AttachStderr", true);
    set(&mut config, "Env", environment(service, wish));
    set(&mut config, "Labels", json!(labels(service, wish)));
    set(&mut config, "ExposedPorts", exposed(service));
    if let Some(words) = &service.command.0 {
        set(&mut config, "Cmd", words.clone());
    }
    if let Some(words) = &service.entrypoint.0 {
        set(&mut config, "Entrypoint", words.clone());
    }
    if let Some(health) = health(service)? {
        set(&mut config, "Healthcheck", health);
    }
    if let Some(grace) = service.stop_grace_period {
        set(&mut config, "StopTimeout", grace.0 / 1_000_000_000);
    }
    Ok(config)
}

/// Proxies first; what the service says goes before them.
fn environment(service: &Service, wish: &Wish<'_>) -> Vec<String> {
    let mut variables: BTreeMap<&str, Option<&str>> =
        wish.proxies.iter().map(|(name, value)| (name.as_str(), Some(value.as_str()))).collect();
    variables.extend(service.environment.iter().map(|(name, value)| (name.as_str(), value.as_deref())));
    variables
        .into_iter()
        .map(|(name, value)| value.map_or_else(|| name.to_owned(), |value| format!("{name}={value}")))
        .collect()
}

fn labels(service: &Service, wish: &Wish<'_>) -> BTreeMap<String, String> {
    let mut labels = service.labels.clone();
    labels.extend(wish.labels.clone());
    labels.insert(label::CONFIG_HASH.into(), service_hash(service));
    if let Some(number) = wish.number {
        labels.insert(label::NUMBER.into(), number.to_string());
    }
    let needs: Vec<String> = (service.depends_on.iter())
        .map(|(name, need)| format!("{name}:{}:{}", need.condition.as_str(), need.restart))
        .collect();
    labels.insert(label::DEPENDS_ON.into(), needs.join(","));
    labels
}

fn exposed(service: &Service) -> Value {
    let exposed = service.expose.iter().map(|port| match port.contains('/') {
        true => port.clone(),
        false => format!("{port}/tcp"),
    });
    let published = service.ports.iter().map(|port| format!("{}/{}", port.target, port.protocol));
    Value::Object(exposed.chain(published).map(|port| (port, json!({}))).collect())
}

fn health(service: &Service) -> Result<Option<Value>, String> {
    let Some(check) = &service.healthcheck else { return Ok(None) };
    if check.start_interval.is_some() && check.start_period.is_none() {
        return Err("healthcheck.start_interval requires healthcheck.start_period to be set".into());
    }
    let test = if check.disable { vec!["NONE".to_owned()] } else { check.test.0.clone() };
    let mut health = Map::new();
    if !test.is_empty() {
        set(&mut health, "Test", test);
    }
    for (name, span) in [
        ("Interval", check.interval),
        ("Timeout", check.timeout),
        ("StartPeriod", check.start_period),
        ("StartInterval", check.start_interval),
    ] {
        if let Some(span) = span {
            set(&mut health, name, span.0);
        }
    }
    if let Some(retries) = check.retries {
        set(&mut health, "Retries", retries);
    }
    Ok(Some(health.into()))
}

fn host_config(
    project: &Project,
    service: &Service,
    wish: &Wish<'_>,
    mode: String,
) -> Result<Map<String, Value>, String> {
    let mut host = resources::of(service);
    let (binds, mounts) = mounts::of(project, service, &wish.inherited)?;
    let (security, unconfined) = security(service, wish)?;
    let (cap_add, cap_drop) = crate::options::security::capabilities(&service.cap_add, &service.cap_drop);
    for (name, list) in [
        ("Binds", &binds),
        ("CapAdd", &cap_add),
        ("CapDrop", &cap_drop),
        ("VolumesFrom", &service.volumes_from),
        ("Dns", &service.dns),
        ("DnsSearch", &service.dns_search),
        ("DnsOptions", &service.dns_opt),
        ("SecurityOpt", &security),
        ("GroupAdd", &service.group_add),
        ("Links", &wish.links),
    ] {
        if !list.is_empty() {
            set(&mut host, name, list.clone());
        }
    }
    for (name, text) in [
        ("NetworkMode", &mode),
        ("IpcMode", &service.ipc),
        ("CgroupnsMode", &service.cgroup),
        ("VolumeDriver", &service.volume_driver),
        ("UsernsMode", &service.userns_mode),
        ("UTSMode", &service.uts),
        ("PidMode", &service.pid),
        ("Isolation", &service.isolation),
        ("Runtime", &service.runtime),
    ] {
        set_text(&mut host, name, text);
    }
    for (name, map) in [
        ("Annotations", &service.annotations),
        ("Sysctls", &service.sysctls),
        ("StorageOpt", &service.storage_opt),
        ("Tmpfs", &tmpfs(service)),
    ] {
        if !map.is_empty() {
            set(&mut host, name, json!(map));
        }
    }
    if !mounts.is_empty() {
        set(&mut host, "Mounts", mounts);
    }
    if let Some(init) = service.init {
        set(&mut host, "Init", init);
    }
    if let Some(logging) = &service.logging {
        set(&mut host, "LogConfig", json!({"Type": logging.driver, "Config": logging.options}));
    }
    if unconfined {
        set(&mut host, "MaskedPaths", json!([]));
        set(&mut host, "ReadonlyPaths", json!([]));
    }
    set(&mut host, "ExtraHosts", service.extra_hosts.lines(":"));
    set(&mut host, "AutoRemove", wish.auto_remove);
    set(&mut host, "ReadonlyRootfs", service.read_only);
    set(&mut host, "Privileged", service.privileged);
    set(&mut host, "ShmSize", service.shm_size.0);
    set(&mut host, "OomScoreAdj", service.oom_score_adj);
    set(&mut host, "RestartPolicy", restart_policy(service));
    set(&mut host, "PortBindings", bindings(service));
    Ok(host)
}

fn tmpfs(service: &Service) -> BTreeMap<String, String> {
    let split = |entry: &String| {
        let (path, options) = entry.split_once(':').unwrap_or((entry, ""));
        (path.to_owned(), options.to_owned())
    };
    service.tmpfs.iter().map(split).collect()
}

fn bindings(service: &Service) -> Value {
    let mut bindings: Map<String, Value> = Map::new();
    for port in &service.ports {
        let binding = json!({"HostIp": port.host_ip, "HostPort": port.published});
        let key = format!("{}/{}", port.target, port.protocol);
        if let Value::Array(list) = bindings.entry(key).or_insert_with(|| json!([])) {
            list.push(binding);
        }
    }
    bindings.into()
}

/// `deploy.restart_policy` goes before `restart`.
fn restart_policy(service: &Service) -> Value {
    let (mut name, mut attempts) = (String::new(), 0);
    if !service.restart.is_empty() {
        let (word, count) = service.restart.split_once(':').unwrap_or((&service.restart, "0"));
        (name, attempts) = (policy_name(word), count.parse().unwrap_or(0));
    }
    if let Some(policy) = service.deploy.as_ref().and_then(|deploy| deploy.restart_policy.as_ref()) {
        (name, attempts) = (policy_name(&policy.condition), policy.max_attempts.unwrap_or(0));
    }
    json!({"Name": name, "MaximumRetryCount": attempts})
}

/// The engine's word for a condition of `deploy`.
fn policy_name(condition: &str) -> String {
    match condition {
        "none" | "no" => "no",
        "any" | "always" => "always",
        other => other,
    }
    .to_owned()
}

/// The options for the engine, and whether no path is masked. Profiles stand in the request as text.
fn security(service: &Service, wish: &Wish<'_>) -> Result<(Vec<String>, bool), String> {
    let (mut options, mut unconfined) = (Vec::new(), false);
    for option in &service.security_opt {
        if option == "systempaths=unconfined" {
            unconfined = true;
            continue;
        }
        let known = option == "no-new-privileges" || option.contains(['=', ':']);
        if !known {
            return Err(format!("invalid security-opt: {}", minke_model::go::quote(option)));
        }
        match wish.profiles.get(option) {
            Some(profile) => options.push(format!("seccomp={profile}")),
            None => options.push(option.clone()),
        }
    }
    Ok((options, unconfined))
}

/// The files that `security_opt` names for seccomp, by the whole option.
pub(crate) fn seccomp_files(service: &Service) -> impl Iterator<Item = (&str, &str)> {
    service.security_opt.iter().filter_map(|option| {
        let (name, value) = option.split_once('=').or_else(|| option.split_once(':'))?;
        (name == "seccomp" && !matches!(value, "unconfined" | "builtin")).then_some((option.as_str(), value))
    })
}

#[cfg(test)]
mod tests;
