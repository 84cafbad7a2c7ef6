//! `GET /containers/json`: one row a container.

use super::{Map, container::MountPoint, endpoint::EndpointSettings, is_default, time};
use minke_model::{
    Container, ContainerState, Timestamp,
    health::HealthState,
    mount::MountKind,
    overlay::GATEWAY_BRIDGE,
    port::{Port as Exposed, PublishedPort},
};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// One row of the list.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Summary {
    id: String,
    names: Vec<String>,
    image: String,
    #[serde(rename = "ImageID")]
    image_id: String,
    command: String,
    created: i64,
    ports: Vec<Port>,
    #[serde(skip_serializing_if = "is_default")]
    size_rw: u64,
    #[serde(skip_serializing_if = "is_default")]
    size_root_fs: u64,
    labels: Map,
    state: &'static str,
    status: String,
    host_config: Host,
    network_settings: Networks,
    mounts: Vec<MountPoint>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Host {
    network_mode: String,
    #[serde(skip_serializing_if = "Map::is_empty")]
    annotations: Map,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Networks {
    networks: BTreeMap<String, EndpointSettings>,
}

/// One port of a row.
#[derive(Debug, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Port {
    #[serde(rename = "IP", skip_serializing_if = "String::is_empty")]
    ip: String,
    private_port: u16,
    #[serde(skip_serializing_if = "is_default")]
    public_port: u16,
    #[serde(rename = "Type")]
    kind: String,
}

/// Published ports, and exposed ones that are not.
fn ports(exposed: &BTreeSet<Exposed>, published: &BTreeSet<PublishedPort>) -> Vec<Port> {
    let mut rows: Vec<Port> = published
        .iter()
        .map(|p| Port {
            ip: p.host_ip.to_string(),
            private_port: p.container.number,
            public_port: p.host_port,
            kind: p.container.protocol.to_string(),
        })
        .collect();
    let shown = |port: &&Exposed| !published.iter().any(|p| p.container == **port);
    rows.extend(exposed.iter().filter(shown).map(|p| Port {
        ip: String::new(),
        private_port: p.number,
        public_port: 0,
        kind: p.protocol.to_string(),
    }));
    rows
}

/// `Up 3 minutes (healthy)`: how dockerd says a state to people.
pub(crate) fn status_text(container: &Container, now: Timestamp) -> String {
    let status = &container.status;
    let since = |from: Timestamp| time::human(now.since(from));
    match status.state {
        ContainerState::Created => "Created".to_owned(),
        ContainerState::Running | ContainerState::Paused => {
            let mut text = format!("Up {}", since(status.started));
            if status.state == ContainerState::Paused {
                text.push_str(" (Paused)");
            } else if let Some(health) = &status.health {
                text.push_str(match health.state {
                    HealthState::None | HealthState::Starting => " (health: starting)",
                    HealthState::Healthy => " (healthy)",
                    HealthState::Unhealthy => " (unhealthy)",
                });
            }
            text
        }
        ContainerState::Restarting => {
            format!("Restarting ({}) {} ago", status.exit_code, since(status.finished))
        }
        ContainerState::Exited if status.finished.is_zero() => "Created".to_owned(),
        ContainerState::Exited => format!("Exited ({}) {} ago", status.exit_code, since(status.finished)),
        ContainerState::Removing => "Removal In Progress".to_owned(),
        ContainerState::Dead => "Dead".to_owned(),
    }
}

/// The command as a shell would need it: arguments with spaces in single quotes.
fn command(args: &[String]) -> String {
    let show = |arg: &String| if arg.contains(' ') { format!("'{arg}'") } else { arg.clone() };
    args.iter().map(show).collect::<Vec<_>>().join(" ")
}

impl Summary {
    /// As dockerd 28.5 lists it.
    pub(crate) fn new(row: &minke_engine::container::Summary, now: Timestamp) -> Self {
        let (container, size) = (&row.container, row.size);
        let status = &container.status;
        let networking = &container.spec.networking;
        let published: BTreeSet<_> =
            status.endpoints.values().flat_map(|e| e.published.iter().copied()).collect();
        let up = status.state.is_up() && networking.mode.is_private();
        let shown = status.endpoints.iter().filter(|(name, _)| *name != GATEWAY_BRIDGE);
        let networks = shown.map(|(name, endpoint)| {
            let spec = networking.endpoints.get(name).cloned().unwrap_or_default();
            (name.clone(), EndpointSettings::new(&spec, endpoint).in_list())
        });
        let mode = networking.mode.as_text();
        let (size_rw, size_root_fs) = size.unwrap_or_default();
        let mounts = container.mounts.iter().map(|mount| {
            let mut shown = MountPoint::from(mount);
            // An anonymous volume's place is not told in lists.
            let anonymous = mount.kind == MountKind::Volume && is_random_name(&mount.name);
            if anonymous {
                shown.source.clear();
            }
            shown
        });
        Self {
            id: container.id.as_str().to_owned(),
            names: std::iter::once(format!("/{}", container.name)).chain(row.links.iter().cloned()).collect(),
            image: row.image_name.clone(),
            image_id: container.image_id.as_ref().map(|id| id.as_str().to_owned()).unwrap_or_default(),
            command: command(&container.args),
            created: container.created.as_second(),
            ports: if up { ports(&container.spec.exposed_ports, &published) } else { Vec::new() },
            size_rw,
            size_root_fs,
            labels: Map(container.spec.labels.clone()),
            state: status.state.as_str(),
            status: status_text(container, now),
            host_config: Host {
                network_mode: if mode == "default" { "bridge".to_owned() } else { mode },
                annotations: Map(container.spec.annotations.clone()),
            },
            network_settings: Networks { networks: networks.collect() },
            mounts: mounts.collect(),
        }
    }
}

/// Whether a volume's name was made by us.
fn is_random_name(name: &str) -> bool {
    name.len() == 64 && name.bytes().all(|b| b.is_ascii_hexdigit())
}
