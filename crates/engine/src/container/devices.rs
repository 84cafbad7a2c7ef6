//! Devices that are asked for by name or by what they can: `--device vendor.com/class=name`, `--gpus`.
//!
//! Looked up at each start, as dockerd does: what a device brings may have changed, and it may come after the container.

use super::Containers;
use crate::{Error, error::Result};
use minke_model::{
    Container, ContainerSpec,
    mount::{MountKind, ReadOnlyRecursion},
    resources::DeviceSpec,
};
use minke_runtime::{
    MountSource, ResolvedMount,
    cdi::{Cdi, CdiError, Edits},
};
use std::{path::PathBuf, sync::Arc};

impl From<CdiError> for Error {
    fn from(error: CdiError) -> Self {
        Error::Start { exit: 128, message: error.to_string() }
    }
}

impl Containers {
    /// What the asked-for devices bring.
    fn device_edits(&self, spec: &ContainerSpec) -> Result<Option<Edits>> {
        let requests = spec.resources.device_requests.as_deref().unwrap_or_default();
        if requests.is_empty() {
            return Ok(None);
        }
        let mut names = Vec::new();
        for request in requests {
            let Some(_) = self.inner.config.cdi.as_ref().filter(|_| request.driver == "cdi") else {
                let sets: Vec<String> =
                    request.capabilities.iter().flatten().map(|set| format!("[{}]", set.join(" "))).collect();
                let message = format!(
                    "could not select device driver \"{}\" with capabilities: [{}]",
                    request.driver,
                    sets.join(" ")
                );
                return Err(Error::Start { exit: 128, message });
            };
            names.extend(request.device_ids.iter().flatten().cloned());
        }
        let cdi = Cdi::new(self.inner.config.cdi.clone().unwrap_or_default());
        Ok(Some(cdi.edits(&names)?))
    }

    /// The container as its start needs it: with the nodes, variables, groups and mounts of its devices. The record keeps
    /// what was asked.
    pub(super) fn with_devices(
        &self,
        record: &Arc<Container>,
        mounts: &mut Vec<ResolvedMount>,
    ) -> Result<Arc<Container>> {
        let Some(edits) = self.device_edits(&record.spec)? else { return Ok(record.clone()) };
        mounts.extend(edits.mounts.iter().map(|(source, target, writable)| bind(source, target, *writable)));
        let mut container = record.as_ref().clone();
        add(&mut container.spec, edits);
        Ok(Arc::new(container))
    }
}

/// Adds what devices bring to what a container asks for. Theirs outweighs the user's, as in the OCI specification's
/// tools.
fn add(spec: &mut ContainerSpec, edits: Edits) {
    let name = |entry: &str| entry.split('=').next().unwrap_or_default().to_owned();
    for entry in edits.env {
        spec.process.env.retain(|other| name(other) != name(&entry));
        spec.process.env.push(entry);
    }
    let nodes = edits.nodes.into_iter().map(|(host_path, container_path, permissions)| DeviceSpec {
        host_path,
        container_path,
        permissions,
    });
    spec.resources.devices.get_or_insert_default().extend(nodes);
    let groups = spec.security.group_add.get_or_insert_default();
    groups.extend(edits.groups.iter().map(u32::to_string));
}

fn bind(source: &str, target: &str, writable: bool) -> ResolvedMount {
    ResolvedMount {
        kind: MountKind::Bind,
        source: MountSource::Path(PathBuf::from(source)),
        subpath: String::new(),
        target: target.to_owned(),
        writable,
        propagation: None,
        non_recursive: false,
        read_only_recursion: ReadOnlyRecursion::IfPossible,
        tmpfs_options: String::new(),
    }
}
