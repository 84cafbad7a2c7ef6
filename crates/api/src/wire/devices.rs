//! Devices, per-device rates, and process limits, as `Resources` carries them.

use super::{Map, wire};
use minke_model::resources::{self, DeviceSpec, DeviceValue};

wire! {
    /// A weight of a block device.
    struct Weight {
        path: String,
        weight: u16,
    }
}

wire! {
    /// A rate of a block device.
    struct Throttle {
        path: String,
        rate: u64,
    }
}

wire! {
    /// A device of the host.
    struct DeviceMapping {
        path_on_host: String,
        path_in_container: String,
        cgroup_permissions: String,
    }
}

wire! {
    /// A request for devices by capability.
    struct DeviceRequest {
        driver: String,
        count: i64,
        #[serde(rename = "DeviceIDs")]
        device_ids: Option<Vec<String>>,
        capabilities: Option<Vec<Vec<String>>>,
        options: Option<Map>,
    }
}

wire! {
    /// A limit of each process.
    struct Ulimit {
        name: String,
        hard: i64,
        soft: i64,
    }
}

impl From<&DeviceValue> for Weight {
    fn from(value: &DeviceValue) -> Self {
        Self { path: value.path.clone(), weight: u16::try_from(value.value).unwrap_or(u16::MAX) }
    }
}

impl From<&Weight> for DeviceValue {
    fn from(wire: &Weight) -> Self {
        Self { path: wire.path.clone(), value: u64::from(wire.weight) }
    }
}

impl From<&Throttle> for DeviceValue {
    fn from(wire: &Throttle) -> Self {
        Self { path: wire.path.clone(), value: wire.rate }
    }
}

/// Rates as Docker shows them.
pub(crate) fn throttles(values: &Option<Vec<DeviceValue>>) -> Option<Vec<Throttle>> {
    values
        .as_ref()
        .map(|list| list.iter().map(|v| Throttle { path: v.path.clone(), rate: v.value }).collect())
}

impl From<&DeviceSpec> for DeviceMapping {
    fn from(spec: &DeviceSpec) -> Self {
        Self {
            path_on_host: spec.host_path.clone(),
            path_in_container: spec.container_path.clone(),
            cgroup_permissions: spec.permissions.clone(),
        }
    }
}

impl From<&DeviceMapping> for DeviceSpec {
    fn from(wire: &DeviceMapping) -> Self {
        Self {
            host_path: wire.path_on_host.clone(),
            container_path: wire.path_in_container.clone(),
            permissions: wire.cgroup_permissions.clone(),
        }
    }
}

impl From<&resources::DeviceRequest> for DeviceRequest {
    fn from(model: &resources::DeviceRequest) -> Self {
        Self {
            driver: model.driver.clone(),
            count: model.count,
            device_ids: model.device_ids.clone(),
            capabilities: model.capabilities.clone(),
            options: model.options.clone().map(Map),
        }
    }
}

impl From<&DeviceRequest> for resources::DeviceRequest {
    fn from(wire: &DeviceRequest) -> Self {
        Self {
            driver: wire.driver.clone(),
            count: wire.count,
            device_ids: wire.device_ids.clone(),
            capabilities: wire.capabilities.clone(),
            options: wire.options.clone().map(|m| m.0),
        }
    }
}

impl From<&resources::Ulimit> for Ulimit {
    fn from(model: &resources::Ulimit) -> Self {
        Self { name: model.name.clone(), hard: model.hard, soft: model.soft }
    }
}

impl From<&Ulimit> for resources::Ulimit {
    fn from(wire: &Ulimit) -> Self {
        Self { name: wire.name.clone(), soft: wire.soft, hard: wire.hard }
    }
}
