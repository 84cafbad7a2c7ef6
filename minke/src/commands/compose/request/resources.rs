//! A service's limits, reservations and devices.

use super::{set, set_text};
use minke_compose::{DeviceRequest, Resource, Service, ThrottleDevice};
use serde_json::{Map, Value, json};

/// Nano CPUs of a number of CPUs. The number is a single, as compose has it.
fn nano(cpus: f32) -> i64 {
    (cpus * 1e9) as i64
}

/// The part of `HostConfig` that is about resources.
pub(super) fn of(service: &Service) -> Map<String, Value> {
    let mut host = Map::new();
    for (name, number) in [
        ("Memory", service.mem_limit.0),
        ("MemorySwap", service.memswap_limit.0),
        ("MemoryReservation", service.mem_reservation.0),
        ("CpuCount", service.cpu_count),
        ("CpuPeriod", service.cpu_period),
        ("CpuQuota", service.cpu_quota),
        ("CpuRealtimePeriod", service.cpu_rt_period),
        ("CpuRealtimeRuntime", service.cpu_rt_runtime),
        ("CpuShares", service.cpu_shares),
        ("NanoCpus", nano(service.cpus)),
        ("CpuPercent", (service.cpu_percent * 100.0) as i64),
    ] {
        set(&mut host, name, number);
    }
    set(&mut host, "OomKillDisable", service.oom_kill_disable);
    set_text(&mut host, "CgroupParent", &service.cgroup_parent);
    set_text(&mut host, "CpusetCpus", &service.cpuset);
    if service.mem_swappiness.0 != 0 {
        set(&mut host, "MemorySwappiness", service.mem_swappiness.0);
    }
    if service.pids_limit != 0 {
        set(&mut host, "PidsLimit", service.pids_limit);
    }
    if !service.device_cgroup_rules.is_empty() {
        set(&mut host, "DeviceCgroupRules", service.device_cgroup_rules.clone());
    }
    block(service, &mut host);
    if let Some(limits) = service.deploy.as_ref().and_then(|deploy| deploy.resources.limits.as_ref()) {
        limit(limits, &mut host);
    }
    devices(service, &mut host);
    let limits: Vec<Value> = (service.ulimits.iter())
        .map(|(name, limit)| {
            let soft = if limit.soft != 0 { limit.soft } else { limit.single };
            let hard = if limit.hard != 0 { limit.hard } else { limit.single };
            json!({"Name": name, "Soft": soft, "Hard": hard})
        })
        .collect();
    if !limits.is_empty() {
        set(&mut host, "Ulimits", limits);
    }
    host
}

fn block(service: &Service, host: &mut Map<String, Value>) {
    let Some(block) = &service.blkio_config else { return };
    let throttles = |devices: &[ThrottleDevice]| -> Vec<Value> {
        devices.iter().map(|device| json!({"Path": device.path, "Rate": device.rate.0})).collect()
    };
    set(host, "BlkioWeight", block.weight);
    let weights: Vec<Value> = (block.weight_device.iter())
        .map(|device| json!({"Path": device.path, "Weight": device.weight}))
        .collect();
    for (name, list) in [
        ("BlkioWeightDevice", weights),
        ("BlkioDeviceReadBps", throttles(&block.device_read_bps)),
        ("BlkioDeviceReadIOps", throttles(&block.device_read_iops)),
        ("BlkioDeviceWriteBps", throttles(&block.device_write_bps)),
        ("BlkioDeviceWriteIOps", throttles(&block.device_write_iops)),
    ] {
        if !list.is_empty() {
            set(host, name, list);
        }
    }
}

fn limit(limits: &Resource, host: &mut Map<String, Value>) {
    if limits.memory.0 != 0 {
        set(host, "Memory", limits.memory.0);
    }
    if limits.cpus != 0.0 {
        set(host, "NanoCpus", nano(limits.cpus));
    }
    if limits.pids > 0 {
        set(host, "PidsLimit", limits.pids);
    }
}

fn devices(service: &Service, host: &mut Map<String, Value>) {
    let mut requests = Vec::new();
    if let Some(reserved) = service.deploy.as_ref().and_then(|deploy| deploy.resources.reservations.as_ref())
    {
        if reserved.memory.0 != 0 {
            set(host, "MemoryReservation", reserved.memory.0);
        }
        requests.extend(reserved.devices.iter().map(|device| request(device, device.capabilities.clone())));
    }
    // A device by its CDI name is the same on both sides.
    let is_cdi = |source: &str| {
        source
            .split_once('=')
            .is_some_and(|(kind, name)| kind.contains('/') && !kind.starts_with('/') && !name.is_empty())
    };
    let (named, nodes): (Vec<_>, Vec<_>) =
        service.devices.iter().partition(|device| device.source == device.target && is_cdi(&device.source));
    let nodes: Vec<Value> = (nodes.iter())
        .map(|device| {
            json!({
                "PathOnHost": device.source,
                "PathInContainer": device.target,
                "CgroupPermissions": device.permissions,
            })
        })
        .collect();
    if !nodes.is_empty() {
        set(host, "Devices", nodes);
    }
    if !named.is_empty() {
        let names: Vec<&String> = named.iter().map(|device| &device.source).collect();
        requests.push(json!({"Driver": "cdi", "DeviceIDs": names}));
    }
    requests.extend(service.gpus.iter().map(|gpus| {
        let capabilities = gpus.capabilities.iter().cloned().chain(["gpu".to_owned()]).collect();
        request(gpus, capabilities)
    }));
    if !requests.is_empty() {
        set(host, "DeviceRequests", requests);
    }
}

fn request(device: &DeviceRequest, capabilities: Vec<String>) -> Value {
    json!({
        "Driver": device.driver,
        "Count": device.count.0,
        "DeviceIDs": device.device_ids,
        "Capabilities": [capabilities],
        "Options": device.options,
    })
}
