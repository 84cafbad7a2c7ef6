//! Limits in the units of cgroup v1 and Docker. How v2 writes them is `v2.rs`'s. Never touches a file.

/// A block device's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeviceNumber {
    /// Its driver.
    pub major: u32,
    /// Which of the driver's.
    pub minor: u32,
}

/// What a cgroup may use. `None` leaves a value as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Bytes; -1 without limit.
    pub memory: Option<i64>,
    /// Bytes of memory and swap together; -1 without limit.
    pub memory_swap: Option<i64>,
    /// Bytes that are kept under pressure; -1 without limit (v1).
    pub memory_reservation: Option<i64>,
    /// 0 to 100 (v1 only).
    pub swappiness: Option<u64>,
    /// Bytes of TCP buffers (v1 only).
    pub kernel_memory_tcp: Option<i64>,
    /// The kernel must not kill on out-of-memory (v1 only).
    pub oom_kill_disable: Option<bool>,
    /// Relative weight, 2 to 262144.
    pub cpu_shares: Option<u64>,
    /// Microseconds of CPU a period; -1 without limit.
    pub cpu_quota: Option<i64>,
    /// Microseconds.
    pub cpu_period: Option<u64>,
    /// Microseconds of realtime CPU a period (v1 only).
    pub cpu_rt_runtime: Option<i64>,
    /// Microseconds (v1 only).
    pub cpu_rt_period: Option<u64>,
    /// `0-2,4`.
    pub cpuset_cpus: Option<String>,
    /// NUMA nodes.
    pub cpuset_mems: Option<String>,
    /// Processes and threads; -1 without limit.
    pub pids: Option<i64>,
    /// 10 to 1000.
    pub blkio_weight: Option<u16>,
    /// 10 to 1000 per device.
    pub blkio_weight_device: Vec<(DeviceNumber, u16)>,
    /// Bytes a second.
    pub read_bps: Vec<(DeviceNumber, u64)>,
    /// Bytes a second.
    pub write_bps: Vec<(DeviceNumber, u64)>,
    /// Operations a second.
    pub read_iops: Vec<(DeviceNumber, u64)>,
    /// Operations a second.
    pub write_iops: Vec<(DeviceNumber, u64)>,
    /// Which devices may be used, the last match decides; nothing else may. `None` leaves it as it is.
    pub devices: Option<Vec<super::DeviceRule>>,
}

/// cgroup v2's cpu.weight of v1's cpu.shares: 2 is 1, 1024 is 100, 262144 is 10000, on the curve that runc uses
/// since 1.3.2 (opencontainers/cgroups#20): 10^((l² + 125 l) / 612 - 7 / 34) with l = log2(shares).
pub fn weight_of_shares(shares: u64) -> u64 {
    if shares == 0 {
        return 0;
    }
    let l = (shares.clamp(2, 262_144) as f64).log2();
    let weight = 10f64.powf((l * l + 125.0 * l) / 612.0 - 7.0 / 34.0);
    // Rounding errors must not lift an exact value to the next.
    ((weight - 1e-9).ceil() as u64).clamp(1, 10_000)
}

/// cgroup v2's io.weight (1 to 10000) of v1's blkio.weight (10 to 1000), linear as runc has it.
pub fn io_weight_of_blkio(weight: u16) -> u64 {
    if weight == 0 { 0 } else { 1 + (u64::from(weight.clamp(10, 1000)) - 10) * 9999 / 990 }
}

/// cgroup v2's swap limit of Docker's sum of memory and swap. `Ok(None)`: leave as it is.
///
/// # Errors
/// When the sum is smaller than the memory, or there is no memory limit to take from it.
pub(super) fn swap_of_sum(
    memory_swap: Option<i64>,
    memory: Option<i64>,
) -> Result<Option<i64>, super::CgroupError> {
    let invalid = |text: &str| Err(super::CgroupError::Invalid(text.into()));
    match (memory_swap, memory) {
        // As v1 does: without a memory limit there is none on swap, unless asked.
        (None | Some(0), Some(-1)) => Ok(Some(-1)),
        (None | Some(0), _) => Ok(None),
        (Some(-1), _) => Ok(Some(-1)),
        (Some(_), None | Some(0) | Some(-1)) => invalid("unable to set swap limit without memory limit"),
        (Some(sum), Some(_)) if sum < 0 => invalid("the sum of memory and swap is negative"),
        (Some(_), Some(memory)) if memory < 0 => invalid("the memory limit is negative"),
        (Some(sum), Some(memory)) if sum < memory => {
            invalid("the sum of memory and swap is smaller than the memory limit")
        }
        (Some(sum), Some(memory)) => Ok(Some(sum - memory)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_become_weights_on_runc_s_curve() {
        let points = [
            (0, 0),
            (1, 1),
            (2, 1),
            (512, 59),
            (1024, 100),
            (2048, 174),
            (262_144, 10_000),
            (1 << 40, 10_000),
        ];
        for (shares, weight) in points {
            assert_eq!(weight_of_shares(shares), weight, "{shares}");
        }
    }

    #[test]
    fn blkio_weights_become_io_weights() {
        for (blkio, io) in [(0, 0), (10, 1), (500, 4950), (1000, 10_000)] {
            assert_eq!(io_weight_of_blkio(blkio), io, "{blkio}");
        }
    }

    #[test]
    fn swap_is_what_the_sum_leaves() {
        assert_eq!(swap_of_sum(Some(300), Some(100)).unwrap(), Some(200));
        assert_eq!(swap_of_sum(Some(100), Some(100)).unwrap(), Some(0));
        assert_eq!(swap_of_sum(Some(-1), Some(100)).unwrap(), Some(-1));
        assert_eq!(swap_of_sum(None, Some(-1)).unwrap(), Some(-1));
        assert_eq!(swap_of_sum(None, Some(100)).unwrap(), None);
        swap_of_sum(Some(99), Some(100)).unwrap_err();
        swap_of_sum(Some(100), None).unwrap_err();
    }
}
