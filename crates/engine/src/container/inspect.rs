//! `inspect`: all that is known of a container.

use super::Containers;
use crate::error::Result;
use minke_model::{
    Container, ExecId,
    container::NetworkMode,
    network::{Endpoint, EndpointSpec},
};
use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

/// All that is known of a container.
#[derive(Clone, Debug)]
pub struct Inspection {
    /// The record.
    pub container: Arc<Container>,
    /// Execs that run; `None` when there are none.
    pub exec_ids: Option<Vec<ExecId>>,
    /// Where its files lie.
    pub paths: Paths,
    /// Bytes written, and bytes in all; only when asked for.
    pub size: Option<(u64, u64)>,
    /// `docker-default` where AppArmor is on and it is not privileged; empty else.
    pub apparmor_profile: String,
    /// Its network namespace's identity; empty when it has none.
    pub sandbox_id: String,
    /// Where its network namespace can be entered; empty when it does not run.
    pub sandbox_key: String,
    /// What was asked of each network, and what is.
    pub networks: BTreeMap<String, (EndpointSpec, Endpoint)>,
}

/// Where a container's files lie on the host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Paths {
    /// Becomes /etc/resolv.conf; empty before the first start.
    pub resolv_conf: PathBuf,
    /// Becomes /etc/hostname.
    pub hostname: PathBuf,
    /// Becomes /etc/hosts.
    pub hosts: PathBuf,
    /// The log that clients read; empty for drivers without a file.
    pub log: PathBuf,
    /// Its image's layers, topmost first.
    pub lower: Vec<PathBuf>,
    /// What it wrote.
    pub upper: PathBuf,
    /// Overlayfs' own.
    pub work: PathBuf,
    /// Where the whole would be mounted; only the container itself sees it.
    pub merged: PathBuf,
}

impl Containers {
    /// All that is known of it.
    pub async fn inspect(&self, name: &str, size: bool) -> Result<Inspection> {
        let cell = self.find(name)?;
        let record = cell.record();
        let size = if size { Some(self.sizes(&record).await?) } else { None };
        let mut paths = Paths::default();
        if !record.status.started.is_zero() {
            let files = self.files(&record).unwrap_or_default();
            (paths.hostname, paths.hosts, paths.resolv_conf) =
                (files.hostname, files.hosts, files.resolv_conf);
        }
        if record.spec.log.driver == "json-file" && !record.status.started.is_zero() {
            paths.log = self.log_path(&record);
        }
        if let Ok(rootfs) = self.inner.store.rootfs(&record.id) {
            paths.merged = rootfs.upper.parent().map(|p| p.join("merged")).unwrap_or_default();
            (paths.lower, paths.upper, paths.work) = (rootfs.lower, rootfs.upper, rootfs.work);
        }
        let sandboxed = record.status.state.is_up() && record.spec.networking.mode.is_private();
        let host = matches!(record.spec.networking.mode, NetworkMode::Host) && record.status.state.is_up();
        let sandbox_key = if sandboxed {
            format!("/proc/{}/ns/net", record.status.pid)
        } else if host {
            "/proc/1/ns/net".into()
        } else {
            String::new()
        };
        let networks = record
            .status
            .endpoints
            .iter()
            .map(|(name, endpoint)| {
                let spec = record.spec.networking.endpoints.get(name).cloned().unwrap_or_default();
                (name.clone(), (spec, endpoint.clone()))
            })
            .collect();
        let links = self.shown_links(&record);
        let container = if links == record.spec.networking.links {
            record
        } else {
            let mut shown = record.as_ref().clone();
            shown.spec.networking.links = links;
            Arc::new(shown)
        };
        Ok(Inspection {
            exec_ids: cell.execs.running(),
            apparmor_profile: self.inner.runtime.apparmor_profile(&container),
            sandbox_id: if sandboxed || host { container.id.to_string() } else { String::new() },
            sandbox_key,
            networks,
            paths,
            size,
            container,
        })
    }
}
