//! Docker's limits as the kernel's cgroups and setrlimit(2) know them. Pure, but for looking up block devices.

use super::{DeviceLookup, SpecError};
use minke_linux::cgroup::{DeviceNumber, Limits};
use minke_model::resources::{DeviceValue, Resources, Ulimit};
use minke_shim::plan::Rlimit;

/// Microseconds of Docker's CPU period where only a number of CPUs is asked for.
const NANO_CPU_PERIOD: u64 = 100_000;

/// Limits of a container. What is not asked for is left as the kernel made it.
///
/// # Errors
/// When a block device does not exist.
pub fn limits(resources: &Resources, devices: &dyn DeviceLookup) -> Result<Limits, SpecError> {
    let positive = |value: i64| (value > 0).then_some(value);
    let unsigned = |value: i64| positive(value).map(|v| v as u64);
    let mut limits = Limits {
        memory: positive(resources.memory),
        // Memory and as much swap again, unless said.
        memory_swap: match resources.memory_swap {
            0 => positive(resources.memory).map(|memory| memory.saturating_mul(2)),
            swap => Some(swap),
        },
        memory_reservation: positive(resources.memory_reservation),
        swappiness: resources.memory_swappiness.and_then(|n| u64::try_from(n).ok()),
        kernel_memory_tcp: positive(resources.kernel_memory_tcp),
        oom_kill_disable: resources.oom_kill_disable.filter(|on| *on),
        cpu_shares: unsigned(resources.cpu_shares),
        cpu_quota: (resources.cpu_quota != 0).then_some(resources.cpu_quota),
        cpu_period: unsigned(resources.cpu_period),
        cpu_rt_runtime: positive(resources.cpu_realtime_runtime),
        cpu_rt_period: unsigned(resources.cpu_realtime_period),
        cpuset_cpus: Some(resources.cpuset_cpus.clone()).filter(|s| !s.is_empty()),
        cpuset_mems: Some(resources.cpuset_mems.clone()).filter(|s| !s.is_empty()),
        pids: resources.pids_limit.map(|n| if n <= 0 { -1 } else { n }),
        blkio_weight: Some(resources.blkio_weight).filter(|n| *n != 0),
        ..Limits::default()
    };
    if resources.nano_cpus > 0 {
        limits.cpu_period = Some(NANO_CPU_PERIOD);
        limits.cpu_quota =
            Some((i128::from(resources.nano_cpus) * i128::from(NANO_CPU_PERIOD) / 1_000_000_000) as i64);
    }
    let weights = rates(&resources.blkio_weight_device, devices)?;
    limits.blkio_weight_device = weights.into_iter().map(|(d, n)| (d, n.min(1000) as u16)).collect();
    limits.read_bps = rates(&resources.blkio_read_bps, devices)?;
    limits.write_bps = rates(&resources.blkio_write_bps, devices)?;
    limits.read_iops = rates(&resources.blkio_read_iops, devices)?;
    limits.write_iops = rates(&resources.blkio_write_iops, devices)?;
    Ok(limits)
}

/// Devices by number.
fn rates(
    list: &Option<Vec<DeviceValue>>,
    devices: &dyn DeviceLookup,
) -> Result<Vec<(DeviceNumber, u64)>, SpecError> {
    let find = |asked: &DeviceValue| {
        let node = devices
            .node(&asked.path)
            .map_err(|cause| SpecError::BlockDevice { path: asked.path.clone(), cause })?;
        Ok((DeviceNumber { major: node.major, minor: node.minor }, asked.value))
    };
    list.iter().flatten().map(find).collect()
}

/// setrlimit(2)'s resources by name (asm-generic/resource.h).
const RLIMITS: [(&str, u32); 16] = [
    ("cpu", 0),
    ("fsize", 1),
    ("data", 2),
    ("stack", 3),
    ("core", 4),
    ("rss", 5),
    ("nproc", 6),
    ("nofile", 7),
    ("memlock", 8),
    ("as", 9),
    ("locks", 10),
    ("sigpending", 11),
    ("msgqueue", 12),
    ("nice", 13),
    ("rtprio", 14),
    ("rttime", 15),
];

/// The name of a resource by its number.
pub(super) fn rlimit_name(resource: u32) -> Option<&'static str> {
    RLIMITS.iter().find(|(_, n)| *n == resource).map(|(name, _)| *name)
}

/// Limits of each process: the container's, and the daemon's for names that it does not ask for.
///
/// # Errors
/// On an unknown name, in runc's words.
pub fn rlimits(asked: &Option<Vec<Ulimit>>, defaults: &[Ulimit]) -> Result<Vec<Rlimit>, SpecError> {
    let asked = asked.as_deref().unwrap_or_default();
    let others = defaults.iter().filter(|d| asked.iter().all(|a| a.name != d.name));
    let convert = |limit: &Ulimit| {
        let name = limit.name.to_ascii_lowercase();
        let found = RLIMITS.iter().find(|(known, _)| *known == name);
        let (_, resource) = found.ok_or_else(|| {
            SpecError::Runc(format!("wrong rlimit value: RLIMIT_{}", limit.name.to_ascii_uppercase()))
        })?;
        // -1 is without limit; the kernel's word for that is the largest number.
        Ok(Rlimit { resource: *resource, soft: limit.soft as u64, hard: limit.hard as u64 })
    };
    asked.iter().chain(others).map(convert).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::tests::FakeDevices;

    fn of(resources: Resources) -> Limits {
        limits(&resources, &FakeDevices).unwrap()
    }

    #[test]
    fn nothing_asked_is_nothing_set() {
        assert_eq!(of(Resources::default()), Limits::default());
    }

    #[test]
    fn memory_brings_as_much_swap_unless_said() {
        let m = 64 << 20;
        assert_eq!(of(Resources { memory: m, ..Default::default() }).memory_swap, Some(2 * m));
        assert_eq!(of(Resources { memory: m, memory_swap: -1, ..Default::default() }).memory_swap, Some(-1));
        assert_eq!(of(Resources { memory: m, memory_swap: m, ..Default::default() }).memory_swap, Some(m));
    }

    #[test]
    fn a_number_of_cpus_is_a_quota() {
        let limits = of(Resources { nano_cpus: 1_500_000_000, ..Default::default() });
        assert_eq!((limits.cpu_quota, limits.cpu_period), (Some(150_000), Some(100_000)));
    }

    #[test]
    fn pids_without_limit_in_both_forms() {
        for n in [0, -1] {
            assert_eq!(of(Resources { pids_limit: Some(n), ..Default::default() }).pids, Some(-1));
        }
        assert_eq!(of(Resources { pids_limit: Some(9), ..Default::default() }).pids, Some(9));
    }

    #[test]
    fn block_devices_are_found_by_their_nodes() {
        let rate = |path: &str| Some(vec![DeviceValue { path: path.into(), value: 7 }]);
        let limits = of(Resources { blkio_read_bps: rate("/dev/sda"), ..Default::default() });
        assert_eq!(limits.read_bps, [(DeviceNumber { major: 8, minor: 0 }, 7)]);
        let missing = Resources { blkio_read_bps: rate("/dev/nope"), ..Default::default() };
        super::limits(&missing, &FakeDevices).unwrap_err();
    }

    #[test]
    fn a_container_s_ulimit_hides_the_daemon_s_of_that_name() {
        let ulimit = |name: &str, n| Ulimit { name: name.into(), soft: n, hard: n };
        let got =
            rlimits(&Some(vec![ulimit("nofile", 10)]), &[ulimit("nofile", 99), ulimit("core", -1)]).unwrap();
        let short: Vec<_> = got.iter().map(|r| (r.resource, r.soft)).collect();
        assert_eq!(short, [(7, 10), (4, u64::MAX)]);
        rlimits(&Some(vec![ulimit("bogus", 1)]), &[]).unwrap_err();
    }
}
