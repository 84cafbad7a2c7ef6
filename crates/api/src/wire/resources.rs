//! `Resources`: limits and shares, within `HostConfig` and in updates; and dockerd's checks of them.

use super::{
    devices::{DeviceMapping, DeviceRequest, Throttle, Ulimit, Weight, throttles},
    is_default, wire,
};
use crate::error::ApiError;
use minke_model::resources::{DeviceValue, Resources as Model};

wire! {
    /// What a container may use.
    struct Resources {
        cpu_shares: i64,
        memory: i64,
        nano_cpus: i64,
        cgroup_parent: String,
        blkio_weight: u16,
        blkio_weight_device: Option<Vec<Weight>>,
        blkio_device_read_bps: Option<Vec<Throttle>>,
        blkio_device_write_bps: Option<Vec<Throttle>>,
        #[serde(rename = "BlkioDeviceReadIOps")]
        blkio_device_read_iops: Option<Vec<Throttle>>,
        #[serde(rename = "BlkioDeviceWriteIOps")]
        blkio_device_write_iops: Option<Vec<Throttle>>,
        cpu_period: i64,
        cpu_quota: i64,
        cpu_realtime_period: i64,
        cpu_realtime_runtime: i64,
        cpuset_cpus: String,
        cpuset_mems: String,
        devices: Option<Vec<DeviceMapping>>,
        device_cgroup_rules: Option<Vec<String>>,
        device_requests: Option<Vec<DeviceRequest>>,
        #[serde(rename = "KernelMemoryTCP", skip_serializing_if = "is_default")]
        kernel_memory_tcp: i64,
        memory_reservation: i64,
        memory_swap: i64,
        memory_swappiness: Option<i64>,
        oom_kill_disable: Option<bool>,
        pids_limit: Option<i64>,
        ulimits: Option<Vec<Ulimit>>,
        cpu_count: i64,
        cpu_percent: i64,
        #[serde(rename = "IOMaximumIOps")]
        io_maximum_iops: u64,
        #[serde(rename = "IOMaximumBandwidth")]
        io_maximum_bandwidth: u64,
    }
}

impl From<&Model> for Resources {
    fn from(model: &Model) -> Self {
        Self {
            cpu_shares: model.cpu_shares,
            memory: model.memory,
            nano_cpus: model.nano_cpus,
            cgroup_parent: model.cgroup_parent.clone(),
            blkio_weight: model.blkio_weight,
            blkio_weight_device: model
                .blkio_weight_device
                .as_ref()
                .map(|list| list.iter().map(Weight::from).collect()),
            blkio_device_read_bps: throttles(&model.blkio_read_bps),
            blkio_device_write_bps: throttles(&model.blkio_write_bps),
            blkio_device_read_iops: throttles(&model.blkio_read_iops),
            blkio_device_write_iops: throttles(&model.blkio_write_iops),
            cpu_period: model.cpu_period,
            cpu_quota: model.cpu_quota,
            cpu_realtime_period: model.cpu_realtime_period,
            cpu_realtime_runtime: model.cpu_realtime_runtime,
            cpuset_cpus: model.cpuset_cpus.clone(),
            cpuset_mems: model.cpuset_mems.clone(),
            devices: model.devices.as_ref().map(|list| list.iter().map(DeviceMapping::from).collect()),
            device_cgroup_rules: model.device_cgroup_rules.clone(),
            device_requests: model
                .device_requests
                .as_ref()
                .map(|list| list.iter().map(DeviceRequest::from).collect()),
            kernel_memory_tcp: model.kernel_memory_tcp,
            memory_reservation: model.memory_reservation,
            memory_swap: model.memory_swap,
            memory_swappiness: model.memory_swappiness,
            oom_kill_disable: model.oom_kill_disable,
            pids_limit: model.pids_limit,
            ulimits: model.ulimits.as_ref().map(|list| list.iter().map(Ulimit::from).collect()),
            cpu_count: 0,
            cpu_percent: 0,
            io_maximum_iops: 0,
            io_maximum_bandwidth: 0,
        }
    }
}

/// The smallest memory limit, in bytes.
const MINIMUM_MEMORY: i64 = 6 << 20;

impl Resources {
    /// Refuses what no machine could do. What this kernel cannot do is the engine's to tell.
    pub(crate) fn check(&self, cpus: usize, update: bool) -> Result<(), ApiError> {
        if self.memory != 0 && self.memory < MINIMUM_MEMORY {
            return Err(ApiError::invalid("Minimum memory limit allowed is 6MB"));
        }
        if self.memory > 0 && self.memory_swap > 0 && self.memory_swap < self.memory {
            return Err(ApiError::invalid(
                "Minimum memoryswap limit should be larger than memory limit, see usage",
            ));
        }
        if self.memory == 0 && self.memory_swap > 0 && !update {
            return Err(ApiError::invalid(
                "You should always set the Memory limit when using Memoryswap limit, see usage",
            ));
        }
        // -1 is what old clients send for "not set".
        if let Some(swappiness) = self.memory_swappiness.filter(|s| *s != -1 && !(0..=100).contains(s)) {
            return Err(ApiError::invalid(format!(
                "Invalid value: {swappiness}, valid memory swappiness range is 0-100"
            )));
        }
        if self.memory_reservation > 0 && self.memory_reservation < MINIMUM_MEMORY {
            return Err(ApiError::invalid("Minimum memory reservation allowed is 6MB"));
        }
        if self.memory > 0 && self.memory_reservation > 0 && self.memory < self.memory_reservation {
            return Err(ApiError::invalid(
                "Minimum memory limit can not be less than memory reservation limit, see usage",
            ));
        }
        self.check_cpu(cpus)?;
        Ok(())
    }

    fn check_cpu(&self, cpus: usize) -> Result<(), ApiError> {
        if self.nano_cpus > 0 && self.cpu_period > 0 {
            return Err(ApiError::invalid(
                "Conflicting options: Nano CPUs and CPU Period cannot both be set",
            ));
        }
        if self.nano_cpus > 0 && self.cpu_quota > 0 {
            return Err(ApiError::invalid("Conflicting options: Nano CPUs and CPU Quota cannot both be set"));
        }
        if self.nano_cpus < 0 || self.nano_cpus > cpus as i64 * 1_000_000_000 {
            return Err(ApiError::invalid(format!(
                "range of CPUs is from 0.01 to {cpus}.00, as there are only {cpus} CPUs available"
            )));
        }
        if self.cpu_period != 0 && !(1_000..=1_000_000).contains(&self.cpu_period) {
            return Err(ApiError::invalid(
                "CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)",
            ));
        }
        if self.cpu_quota > 0 && self.cpu_quota < 1_000 {
            return Err(ApiError::invalid("CPU cfs quota can not be less than 1ms (i.e. 1000)"));
        }
        Ok(())
    }

    /// Refuses what dockerd's decoder does, before it looks at anything else.
    pub(crate) fn check_early(&self) -> Result<(), ApiError> {
        if self.io_maximum_bandwidth != 0 {
            return Err(ApiError::invalid(
                "invalid option: QoS maximum bandwidth configuration is not supported on linux",
            ));
        }
        if self.io_maximum_iops != 0 {
            return Err(ApiError::invalid(
                "invalid option: QoS maximum IOPs configuration is not supported on linux",
            ));
        }
        if self.cpu_realtime_period != 0
            && self.cpu_realtime_runtime != 0
            && self.cpu_realtime_runtime > self.cpu_realtime_period
        {
            return Err(ApiError::invalid(
                "cpu real-time runtime cannot be higher than cpu real-time period",
            ));
        }
        if self.cpu_shares < 0 {
            return Err(ApiError::invalid(format!(
                "invalid CPU shares ({}): value must be a positive integer",
                self.cpu_shares
            )));
        }
        Ok(())
    }

    /// What dockerd tells of values that it drops.
    pub(crate) fn warnings(&self) -> Vec<String> {
        let percent = "linux does not support CPU percent. Percent discarded.";
        if self.cpu_percent > 0 { vec![percent.to_owned()] } else { Vec::new() }
    }
}

fn values<'a, T: 'a>(list: &'a Option<Vec<T>>) -> Option<Vec<DeviceValue>>
where
    DeviceValue: From<&'a T>,
{
    list.as_ref().map(|list| list.iter().map(DeviceValue::from).collect())
}

impl From<&Resources> for Model {
    fn from(wire: &Resources) -> Self {
        Self {
            memory: wire.memory,
            memory_reservation: wire.memory_reservation,
            memory_swap: wire.memory_swap,
            memory_swappiness: wire.memory_swappiness.filter(|s| *s != -1),
            kernel_memory_tcp: wire.kernel_memory_tcp,
            nano_cpus: wire.nano_cpus,
            cpu_shares: wire.cpu_shares,
            cpu_period: wire.cpu_period,
            cpu_quota: wire.cpu_quota,
            cpu_realtime_period: wire.cpu_realtime_period,
            cpu_realtime_runtime: wire.cpu_realtime_runtime,
            cpuset_cpus: wire.cpuset_cpus.clone(),
            cpuset_mems: wire.cpuset_mems.clone(),
            pids_limit: wire.pids_limit,
            blkio_weight: wire.blkio_weight,
            blkio_weight_device: values(&wire.blkio_weight_device),
            blkio_read_bps: values(&wire.blkio_device_read_bps),
            blkio_write_bps: values(&wire.blkio_device_write_bps),
            blkio_read_iops: values(&wire.blkio_device_read_iops),
            blkio_write_iops: values(&wire.blkio_device_write_iops),
            oom_kill_disable: wire.oom_kill_disable,
            devices: wire.devices.as_ref().map(|list| list.iter().map(Into::into).collect()),
            device_cgroup_rules: wire.device_cgroup_rules.clone(),
            device_requests: wire.device_requests.as_ref().map(|list| list.iter().map(Into::into).collect()),
            ulimits: wire.ulimits.as_ref().map(|list| list.iter().map(Into::into).collect()),
            cgroup_parent: wire.cgroup_parent.clone(),
        }
    }
}
