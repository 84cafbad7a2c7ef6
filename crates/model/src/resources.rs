//! Limits and shares.

use serde::{Deserialize, Serialize};

/// What a container may use. 0 (or -1 where said) means without limit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resources {
    /// Bytes.
    pub memory: i64,
    /// Bytes kept under pressure.
    pub memory_reservation: i64,
    /// Bytes of memory and swap; -1 without limit, 0 twice `memory`.
    pub memory_swap: i64,
    /// 0 to 100; `None` is the kernel's.
    pub memory_swappiness: Option<i64>,
    /// Bytes; deprecated by Docker.
    pub kernel_memory_tcp: i64,
    /// Billionths of a CPU.
    pub nano_cpus: i64,
    /// Relative weight, 2 to 262144; 0 is 1024.
    pub cpu_shares: i64,
    /// Microseconds.
    pub cpu_period: i64,
    /// Microseconds a period.
    pub cpu_quota: i64,
    /// Microseconds.
    pub cpu_realtime_period: i64,
    /// Microseconds.
    pub cpu_realtime_runtime: i64,
    /// `0-2,4`.
    pub cpuset_cpus: String,
    /// NUMA nodes.
    pub cpuset_mems: String,
    /// Processes and threads; 0 or -1 without limit, `None` not asked.
    pub pids_limit: Option<i64>,
    /// 10 to 1000; 0 none.
    pub blkio_weight: u16,
    /// Per device.
    pub blkio_weight_device: Option<Vec<DeviceValue>>,
    /// Bytes a second.
    pub blkio_read_bps: Option<Vec<DeviceValue>>,
    /// Bytes a second.
    pub blkio_write_bps: Option<Vec<DeviceValue>>,
    /// Operations a second.
    pub blkio_read_iops: Option<Vec<DeviceValue>>,
    /// Operations a second.
    pub blkio_write_iops: Option<Vec<DeviceValue>>,
    /// The kernel must not kill on out-of-memory (v1 only).
    pub oom_kill_disable: Option<bool>,
    /// Devices of the host.
    pub devices: Option<Vec<DeviceSpec>>,
    /// `c 1:3 rwm`.
    pub device_cgroup_rules: Option<Vec<String>>,
    /// GPUs and the like; JSON as asked is kept by `api` in `raw`.
    pub device_requests: Option<Vec<DeviceRequest>>,
    /// Limits of each process.
    pub ulimits: Option<Vec<Ulimit>>,
    /// Below this cgroup; empty is the daemon's.
    pub cgroup_parent: String,
}

/// A value for a block device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceValue {
    /// A device node of the host.
    pub path: String,
    /// Weight or rate.
    pub value: u64,
}

/// A device of the host for a container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceSpec {
    /// On the host: a node, or a directory of nodes.
    pub host_path: String,
    /// Inside.
    pub container_path: String,
    /// Of `rwm`.
    pub permissions: String,
}

/// A request for devices by capability.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceRequest {
    /// `nvidia`, `cdi`…
    pub driver: String,
    /// How many; -1 is all.
    pub count: i64,
    /// Which.
    pub device_ids: Option<Vec<String>>,
    /// Any of these sets of capabilities.
    pub capabilities: Option<Vec<Vec<String>>>,
    /// For the driver.
    pub options: Option<std::collections::BTreeMap<String, String>>,
}

/// A limit of each process (setrlimit(2)); -1 is without limit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ulimit {
    /// `nofile`, `core`…
    pub name: String,
    /// Soft.
    pub soft: i64,
    /// Hard.
    pub hard: i64,
}
