//! What a cgroup's processes use, in the kernel's numbers. Docker's names for them are `api`'s.

use super::{Cgroup, DeviceNumber, file};
use std::path::Path;

/// All numbers of one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Time on CPUs.
    pub cpu: CpuStats,
    /// Memory.
    pub memory: MemoryStats,
    /// Processes and threads.
    pub pids: PidsStats,
    /// Bytes to and from block devices, by device and operation.
    pub io_bytes: Vec<BlkioEntry>,
    /// Operations on block devices; empty on v2, where Docker shows bytes alone.
    pub io_operations: Vec<BlkioEntry>,
}

/// Time on CPUs, in nanoseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CpuStats {
    /// All.
    pub total: u64,
    /// In the program.
    pub user: u64,
    /// In the kernel.
    pub system: u64,
    /// Of each CPU (v1 only).
    pub per_cpu: Vec<u64>,
    /// By its quota.
    pub throttling: Throttling,
}

/// How a quota held it back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Throttling {
    /// Periods in which it ran.
    pub periods: u64,
    /// Of these, those with an exhausted quota.
    pub throttled_periods: u64,
    /// Nanoseconds.
    pub throttled_time: u64,
}

/// Memory, in bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemoryStats {
    /// Now.
    pub usage: u64,
    /// The most ever; `None` where the kernel does not say.
    pub max_usage: Option<u64>,
    /// `u64::MAX` without one. v1 without a limit says a number beyond any memory.
    pub limit: u64,
    /// How often the limit was hit (v1 only).
    pub failures: Option<u64>,
    /// `memory.stat` as it is.
    pub details: Vec<(String, u64)>,
}

/// Processes and threads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PidsStats {
    /// Now.
    pub current: u64,
    /// `None` without one.
    pub limit: Option<u64>,
}

/// A block device's counter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlkioEntry {
    /// Which device.
    pub device: DeviceNumber,
    /// As Docker names it: `read` and `write` on v2; on v1 as the kernel does, `Read`, `Write`, `Sync`…
    pub operation: String,
    /// The count.
    pub value: u64,
}

/// Of v1's controllers.
pub(super) fn read_v1(cgroup: &Cgroup) -> Stats {
    let mut stats = Stats::default();
    if let Some(dir) = cgroup.v1("cpuacct") {
        stats.cpu.total = file::number(&dir, "cpuacct.usage").unwrap_or(0);
        stats.cpu.user = file::number(&dir, "cpuacct.usage_user").unwrap_or(0);
        stats.cpu.system = file::number(&dir, "cpuacct.usage_sys").unwrap_or(0);
        let per_cpu = file::read(&dir, "cpuacct.usage_percpu").unwrap_or_default();
        stats.cpu.per_cpu = per_cpu.split_whitespace().filter_map(|n| n.parse().ok()).collect();
    }
    if let Some(dir) = cgroup.v1("cpu") {
        let text = file::read(&dir, "cpu.stat").unwrap_or_default();
        stats.cpu.throttling = Throttling {
            periods: file::keyed(&text, "nr_periods").unwrap_or(0),
            throttled_periods: file::keyed(&text, "nr_throttled").unwrap_or(0),
            throttled_time: file::keyed(&text, "throttled_time").unwrap_or(0),
        };
    }
    if let Some(dir) = cgroup.v1("memory") {
        stats.memory = MemoryStats {
            usage: file::number(&dir, "memory.usage_in_bytes").unwrap_or(0),
            max_usage: file::number(&dir, "memory.max_usage_in_bytes"),
            limit: file::number(&dir, "memory.limit_in_bytes").unwrap_or(u64::MAX),
            failures: file::number(&dir, "memory.failcnt"),
            details: file::all_keyed(&file::read(&dir, "memory.stat").unwrap_or_default()),
        };
    }
    if let Some(dir) = cgroup.v1("pids") {
        stats.pids = pids(&dir);
    }
    if let Some(dir) = cgroup.v1("blkio") {
        // BFQ counts under names of its own; the throttle layer counts for every scheduler.
        let pick = |bfq: &str, throttle: &str| {
            let entries = blkio_v1(&file::read(&dir, bfq).unwrap_or_default());
            if entries.is_empty() {
                blkio_v1(&file::read(&dir, throttle).unwrap_or_default())
            } else {
                entries
            }
        };
        stats.io_bytes =
            pick("blkio.bfq.io_service_bytes_recursive", "blkio.throttle.io_service_bytes_recursive");
        stats.io_operations = pick("blkio.bfq.io_serviced_recursive", "blkio.throttle.io_serviced_recursive");
    }
    stats
}

/// Lines `8:0 Read 4096`; the sum line at the end has no device.
fn blkio_v1(text: &str) -> Vec<BlkioEntry> {
    let line = |line: &str| {
        let mut words = line.split_whitespace();
        let (device, operation, value) = (words.next()?, words.next()?, words.next()?);
        Some(BlkioEntry {
            device: device_number(device)?,
            operation: operation.to_owned(),
            value: value.parse().ok()?,
        })
    };
    text.lines().filter_map(line).collect()
}

/// `8:0`.
fn device_number(text: &str) -> Option<DeviceNumber> {
    let (major, minor) = text.split_once(':')?;
    Some(DeviceNumber { major: major.parse().ok()?, minor: minor.parse().ok()? })
}

/// Of v2's controllers.
pub(super) fn read_v2(dir: &Path) -> Stats {
    let mut stats = Stats::default();
    let text = file::read(dir, "cpu.stat").unwrap_or_default();
    let micros = |key: &str| file::keyed(&text, key).unwrap_or(0).saturating_mul(1000);
    stats.cpu = CpuStats {
        total: micros("usage_usec"),
        user: micros("user_usec"),
        system: micros("system_usec"),
        per_cpu: Vec::new(),
        throttling: Throttling {
            periods: file::keyed(&text, "nr_periods").unwrap_or(0),
            throttled_periods: file::keyed(&text, "nr_throttled").unwrap_or(0),
            throttled_time: micros("throttled_usec"),
        },
    };
    stats.memory = MemoryStats {
        usage: file::number(dir, "memory.current").unwrap_or(0),
        max_usage: None,
        limit: file::number(dir, "memory.max").unwrap_or(u64::MAX),
        failures: None,
        details: file::all_keyed(&file::read(dir, "memory.stat").unwrap_or_default()),
    };
    stats.pids = pids(dir);
    stats.io_bytes = io_stat(&file::read(dir, "io.stat").unwrap_or_default());
    stats
}

/// Lines `8:0 rbytes=4096 wbytes=0 rios=1 …`: the bytes, as Docker shows them on v2.
fn io_stat(text: &str) -> Vec<BlkioEntry> {
    let mut entries = Vec::new();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let Some(device) = words.next().and_then(device_number) else { continue };
        for word in words {
            let Some((key, value)) = word.split_once('=') else { continue };
            let operation = match key {
                "rbytes" => "read",
                "wbytes" => "write",
                _ => continue,
            };
            if let Ok(value) = value.parse() {
                entries.push(BlkioEntry { device, operation: operation.into(), value });
            }
        }
    }
    entries
}

/// The same files on both versions.
fn pids(dir: &Path) -> PidsStats {
    PidsStats {
        current: file::number(dir, "pids.current").unwrap_or(0),
        limit: file::number(dir, "pids.max").filter(|n| *n != u64::MAX),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn v1_lines_are_read_and_the_sum_is_left_out() {
        let entries = blkio_v1("8:0 Read 4096\n8:0 Write 1\n8:0 Total 4097\nTotal 4097\n");
        let short: Vec<_> = entries.iter().map(|e| (e.device.major, e.operation.as_str(), e.value)).collect();
        assert_eq!(short, [(8, "Read", 4096), (8, "Write", 1), (8, "Total", 4097)]);
    }

    #[test]
    fn v2_lines_give_bytes() {
        let entries = io_stat("254:16 rbytes=4096 wbytes=8 rios=1 wios=2 dbytes=0 dios=0\n254:0\n");
        let short: Vec<_> = entries.iter().map(|e| (e.device.minor, e.operation.as_str(), e.value)).collect();
        assert_eq!(short, [(16, "read", 4096), (16, "write", 8)]);
    }
}
