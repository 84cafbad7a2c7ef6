//! `GET /containers/{name}/json`: all of a container.

use super::{config::Config, host::HostConfig, or_null, settings::NetworkSettings};
use minke_model::{
    Container, ContainerState, ContainerStatus,
    health::{Health as Probed, HealthState, ProbeResult},
    mount::{MountKind, MountPoint as Model},
};
use serde::Serialize;
use std::collections::BTreeMap;

/// All of a container.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Inspect {
    pub(crate) id: String,
    pub(crate) created: String,
    pub(crate) path: String,
    pub(crate) args: Vec<String>,
    pub(crate) state: State,
    pub(crate) image: String,
    pub(crate) resolv_conf_path: String,
    pub(crate) hostname_path: String,
    pub(crate) hosts_path: String,
    pub(crate) log_path: String,
    pub(crate) name: String,
    pub(crate) restart_count: u32,
    pub(crate) driver: String,
    pub(crate) platform: &'static str,
    pub(crate) mount_label: &'static str,
    pub(crate) process_label: &'static str,
    #[serde(rename = "AppArmorProfile")]
    pub(crate) apparmor_profile: String,
    #[serde(rename = "ExecIDs")]
    pub(crate) exec_ids: Option<Vec<String>>,
    pub(crate) host_config: HostConfig,
    pub(crate) graph_driver: GraphDriver,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) size_rw: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) size_root_fs: Option<u64>,
    pub(crate) mounts: Vec<MountPoint>,
    pub(crate) config: Config,
    pub(crate) network_settings: NetworkSettings,
}

/// Where a root filesystem lies.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct GraphDriver {
    pub(crate) data: BTreeMap<&'static str, String>,
    pub(crate) name: String,
}

/// How a container is.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct State {
    status: &'static str,
    running: bool,
    paused: bool,
    restarting: bool,
    #[serde(rename = "OOMKilled")]
    oom_killed: bool,
    dead: bool,
    pid: i32,
    exit_code: i32,
    error: String,
    started_at: String,
    finished_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    health: Option<Health>,
}

impl From<&ContainerStatus> for State {
    fn from(status: &ContainerStatus) -> Self {
        let state = status.state;
        Self {
            status: state.as_str(),
            // Docker calls one that waits for its restart running, too.
            running: state.is_up() || state == ContainerState::Restarting,
            paused: state == ContainerState::Paused,
            restarting: state == ContainerState::Restarting,
            oom_killed: status.oom_killed,
            dead: state == ContainerState::Dead,
            pid: status.pid,
            exit_code: status.exit_code,
            error: status.error.clone(),
            started_at: status.started.to_string(),
            finished_at: status.finished.to_string(),
            health: status.health.as_ref().map(Health::from),
        }
    }
}

/// What its probes say.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Health {
    status: &'static str,
    failing_streak: u32,
    log: Vec<Probe>,
}

/// One probe.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Probe {
    start: String,
    end: String,
    exit_code: i32,
    output: String,
}

impl From<&Probed> for Health {
    fn from(health: &Probed) -> Self {
        let state = if health.state == HealthState::None { HealthState::Starting } else { health.state };
        Self {
            status: state.as_str(),
            failing_streak: health.failing_streak,
            log: health.log.iter().map(Probe::from).collect(),
        }
    }
}

impl From<&ProbeResult> for Probe {
    fn from(result: &ProbeResult) -> Self {
        Self {
            start: result.start.to_string(),
            end: result.end.to_string(),
            exit_code: result.exit_code,
            output: result.output.clone(),
        }
    }
}

/// A mount as it is.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct MountPoint {
    #[serde(rename = "Type")]
    kind: &'static str,
    #[serde(skip_serializing_if = "String::is_empty")]
    name: String,
    pub(crate) source: String,
    destination: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    driver: String,
    mode: String,
    #[serde(rename = "RW")]
    rw: bool,
    propagation: &'static str,
}

impl From<&Model> for MountPoint {
    fn from(mount: &Model) -> Self {
        let propagation = if mount.kind == MountKind::Volume { None } else { mount.propagation };
        Self {
            kind: mount.kind.as_str(),
            name: mount.name.clone(),
            source: mount.source.clone(),
            destination: mount.destination.clone(),
            driver: mount.driver.clone(),
            mode: mount.mode.clone(),
            rw: mount.writable,
            propagation: propagation.map_or("", |p| p.as_str()),
        }
    }
}

/// What inspect needs besides the record.
#[derive(Debug, Default)]
pub(crate) struct Surroundings {
    pub(crate) exec_ids: Vec<String>,
    pub(crate) resolv_conf: String,
    pub(crate) hostname: String,
    pub(crate) hosts: String,
    pub(crate) log: String,
    pub(crate) driver: String,
    pub(crate) apparmor: String,
    pub(crate) layers: BTreeMap<&'static str, String>,
    pub(crate) size: Option<(u64, u64)>,
}

impl Inspect {
    /// As dockerd 28.5 shows it.
    pub(crate) fn new(
        container: &Container,
        around: Surroundings,
        network_settings: NetworkSettings,
    ) -> Self {
        let (path, args) = match container.args.split_first() {
            Some((path, args)) => (path.clone(), args.to_vec()),
            None => (String::new(), Vec::new()),
        };
        let mut config = Config::from(&container.spec);
        // dockerd shows the address asked of the main network here as well.
        if config.mac_address.is_empty() {
            let main = container.spec.networking.mode.as_text();
            let main = if main == "default" { "bridge" } else { &main };
            config.mac_address =
                container.spec.networking.endpoints.get(main).map(|e| e.mac.clone()).unwrap_or_default();
        }
        Self {
            id: container.id.as_str().to_owned(),
            created: container.created.to_string(),
            path,
            args,
            state: State::from(&container.status),
            image: container.image_id.as_ref().map(|id| id.as_str().to_owned()).unwrap_or_default(),
            resolv_conf_path: around.resolv_conf,
            hostname_path: around.hostname,
            hosts_path: around.hosts,
            log_path: around.log,
            name: format!("/{}", container.name),
            restart_count: container.status.restart_count,
            driver: around.driver.clone(),
            platform: "linux",
            mount_label: "",
            process_label: "",
            apparmor_profile: around.apparmor,
            exec_ids: or_null(&around.exec_ids),
            host_config: HostConfig::from(&container.spec),
            graph_driver: GraphDriver { data: around.layers, name: around.driver },
            size_rw: around.size.map(|s| s.0),
            size_root_fs: around.size.map(|s| s.1),
            mounts: container.mounts.iter().map(MountPoint::from).collect(),
            config,
            network_settings,
        }
    }
}

#[cfg(test)]
mod tests;
