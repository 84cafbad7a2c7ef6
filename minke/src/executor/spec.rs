//! From a task to a container, as Swarm makes it (moby `daemon/cluster/executor/container/container.go`). Pure.

use super::TASK_LABEL;
use minke_cluster::{assign::AssignedTask, nature, template::Context};
use minke_model::{
    ClusterNodeId, ContainerSpec, Labels, NetworkId,
    container::NetworkMode,
    health::HealthSpec,
    log::LogSpec,
    mount::MountSpec,
    network::EndpointSpec,
    port::{Port, PortBinding},
    resources::{DeviceSpec, Resources},
    security::{SeccompChoice, SecurityOption, SecuritySpec},
    service::{GenericResource, Privileges},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    time::Duration,
};

/// Whole seconds of a grace, rounded up.
pub(super) fn seconds(grace: Duration) -> i64 {
    i64::try_from(grace.as_secs() + u64::from(grace.subsec_nanos() > 0)).unwrap_or(i64::MAX)
}

/// The container of a task, without the files of its secrets and configs.
///
/// # Errors
/// A template that cannot be filled in, in Swarm's words.
pub(super) fn container(
    task: &AssignedTask,
    node: &ClusterNodeId,
    context: &Context<'_>,
) -> Result<ContainerSpec, String> {
    let asked = &task.spec.container;
    let expand = |what: &str, text: &str| {
        context
            .expand(text)
            .map(|text| text.into_owned())
            .map_err(|e| format!("expanding {what} failed: {e}"))
    };
    let mut spec = ContainerSpec::of(&asked.image);
    spec.hostname = expand("hostname", &asked.hostname)?;
    spec.labels = labels(task, node);
    spec.process.env = asked.env.iter().map(|e| expand("env", e)).collect::<Result<_, _>>()?;
    spec.process.env.extend(generic(&task.task.generic));
    spec.process.entrypoint = (!asked.command.is_empty()).then(|| asked.command.clone());
    spec.process.cmd = (!asked.args.is_empty()).then(|| asked.args.clone());
    spec.process.working_dir.clone_from(&asked.dir);
    spec.process.user.clone_from(&asked.user);
    spec.process.tty = asked.tty;
    spec.process.open_stdin = asked.open_stdin;
    // Of the image's health check, if it brings none: this one, once more.
    spec.healthcheck = Some(HealthSpec { at_start: true, ..asked.healthcheck.clone().unwrap_or_default() });
    spec.stop_signal = (!asked.stop_signal.is_empty()).then(|| asked.stop_signal.clone());
    spec.stop_timeout = asked.stop_grace.map(seconds);
    spec.mounts = asked.mounts.iter().map(|m| mount(m, &expand)).collect::<Result<_, _>>()?;
    spec.security = security(task);
    spec.resources = resources(task);
    spec.log = task.spec.log.clone().map(|(driver, options)| LogSpec { driver, options }).unwrap_or_default();
    spec.init = asked.init;
    spec.sysctls = asked.sysctls.clone();
    spec.oom_score_adj = asked.oom_score_adj;
    spec.shm_size = asked.extra.shm_size;
    spec.isolation.clone_from(&asked.isolation);
    networking(task, &mut spec);
    Ok(spec)
}

fn labels(task: &AssignedTask, node: &ClusterNodeId) -> Labels {
    let mut labels = task.spec.container.labels.clone();
    for (key, value) in [
        ("com.docker.swarm.task", String::new()),
        (TASK_LABEL, task.task.id.to_string()),
        ("com.docker.swarm.task.name", task.container_name()),
        ("com.docker.swarm.node.id", node.to_string()),
        ("com.docker.swarm.service.id", task.task.service.to_string()),
        ("com.docker.swarm.service.name", task.service_name.clone()),
    ] {
        labels.insert(key.to_owned(), value);
    }
    labels
}

/// `DOCKER_RESOURCE_GPU=UUID1,UUID2`: what it was given of what it reserved.
fn generic(given: &[GenericResource]) -> Vec<String> {
    let mut by_kind: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for resource in given {
        let (kind, value) = match resource {
            GenericResource::Count { kind, value } => (kind, value.to_string()),
            GenericResource::Named { kind, value } => (kind, value.clone()),
        };
        by_kind.entry(kind.to_uppercase()).or_default().push(value);
    }
    by_kind.into_iter().map(|(kind, values)| format!("DOCKER_RESOURCE_{kind}={}", values.join(","))).collect()
}

fn mount(
    asked: &MountSpec,
    expand: &dyn Fn(&str, &str) -> Result<String, String>,
) -> Result<MountSpec, String> {
    let mut mount = asked.clone();
    mount.source = expand("mounts", &asked.source)?;
    mount.target = expand("mounts", &asked.target)?;
    if let Some(volume) = &mut mount.volume {
        for value in volume.labels.values_mut().chain(volume.driver_options.values_mut()) {
            *value = expand("mounts", value)?;
        }
    }
    Ok(mount)
}

fn security(task: &AssignedTask) -> SecuritySpec {
    let asked = &task.spec.container;
    let list = |list: &[String]| (!list.is_empty()).then(|| list.to_vec());
    let options: Vec<SecurityOption> = asked.privileges.iter().flat_map(privileges).collect();
    SecuritySpec {
        privileged: asked.extra.privileged,
        cap_add: list(&asked.cap_add),
        cap_drop: list(&asked.cap_drop),
        options: (!options.is_empty()).then_some(options),
        readonly_rootfs: asked.read_only,
        group_add: list(&asked.groups),
        ..SecuritySpec::default()
    }
}

fn privileges(asked: &Privileges) -> Vec<SecurityOption> {
    let mut options = Vec::new();
    if asked.no_new_privileges {
        options.push(SecurityOption::NoNewPrivileges(true));
    }
    match asked.seccomp_mode.as_str() {
        "unconfined" => options.push(SecurityOption::Seccomp(SeccompChoice::Unconfined)),
        "custom" => {
            let profile = String::from_utf8_lossy(&asked.seccomp_profile).into_owned();
            options.push(SecurityOption::Seccomp(SeccompChoice::Profile(profile)));
        }
        _ => {}
    }
    if asked.apparmor_mode == "disabled" {
        options.push(SecurityOption::AppArmor("unconfined".into()));
    }
    options.extend(asked.selinux.iter().cloned().map(SecurityOption::Label));
    options
}

fn resources(task: &AssignedTask) -> Resources {
    let asked = &task.spec.resources;
    let container = &task.spec.container;
    let devices: Vec<DeviceSpec> = container.extra.devices.iter().map(|text| device(text)).collect();
    Resources {
        memory: asked.limit_memory,
        memory_reservation: asked.reserve_memory,
        memory_swap: asked.swap.unwrap_or_default(),
        nano_cpus: asked.limit_nano_cpus,
        pids_limit: (asked.limit_pids != 0).then_some(asked.limit_pids),
        ulimits: (!container.ulimits.is_empty()).then(|| container.ulimits.clone()),
        devices: (!devices.is_empty()).then_some(devices),
        ..Resources::default()
    }
}

/// `host[:container[:rwm]]`.
fn device(text: &str) -> DeviceSpec {
    let mut parts = text.splitn(3, ':');
    let host_path = parts.next().unwrap_or_default().to_owned();
    let container_path = parts.next().filter(|p| !p.is_empty()).unwrap_or(&host_path).to_owned();
    DeviceSpec { container_path, permissions: parts.next().unwrap_or("rwm").to_owned(), host_path }
}

fn networking(task: &AssignedTask, spec: &mut ContainerSpec) {
    let asked = &task.spec.container;
    let networking = &mut spec.networking;
    if let Some(dns) = &asked.dns {
        networking.dns = dns.nameservers.clone();
        networking.dns_search = (!dns.search.is_empty()).then(|| dns.search.clone());
        networking.dns_options = (!dns.options.is_empty()).then(|| dns.options.clone());
    }
    let hosts: Vec<String> = asked.hosts.iter().flat_map(|line| host_lines(line)).collect();
    networking.extra_hosts = (!hosts.is_empty()).then_some(hosts);
    for port in &task.host_ports {
        let inside = Port { number: port.target, protocol: port.protocol };
        let host_ports = (port.published != 0).then_some((port.published, port.published));
        spec.exposed_ports.insert(inside);
        networking.port_bindings.entry(inside).or_default().push(PortBinding { host_ip: None, host_ports });
    }
    let given: BTreeSet<NetworkId> = nature::networks(&task.spec).collect();
    // The networks that were asked for come first: one of them gives the default route.
    let mut attachments: Vec<_> = task.task.attachments.iter().collect();
    attachments.sort_by_key(|attachment| !given.contains(&attachment.network));
    if let Some(first) = attachments.first() {
        networking.mode = NetworkMode::User(first.network.to_string());
    } else {
        // Networks that every node has, by name.
        let named = task.spec.networks.iter().map(|network| network.target.as_str());
        networking.mode = named.map(NetworkMode::parse).next().unwrap_or_default();
    }
    for attachment in attachments {
        let asked = task.spec.networks.iter().find(|asked| asked.target == attachment.network.as_str());
        let mut endpoint = EndpointSpec {
            aliases: attachment.aliases.clone(),
            driver_options: asked.map(|asked| asked.driver_options.clone()).unwrap_or_default(),
            ipam_given: true,
            ..EndpointSpec::default()
        };
        for (address, _) in &attachment.addresses {
            match address {
                IpAddr::V4(address) => endpoint.ipv4 = Some(*address),
                IpAddr::V6(address) => endpoint.ipv6 = Some(*address),
            }
        }
        networking.endpoints.insert(attachment.network.to_string(), endpoint);
    }
}

/// `address name…` as `name:address` each (swarmkit keeps lines of /etc/hosts).
fn host_lines(line: &str) -> Vec<String> {
    let mut words = line.split_whitespace();
    let Some(address) = words.next() else { return Vec::new() };
    words.map(|name| format!("{name}:{address}")).collect()
}
