//! `GET /containers/{name}/stats`: one object a sample, with the sample before it, from which clients compute rates.

use super::is_default;
use minke_engine::container::StatsSample;
use minke_model::Timestamp;
use serde::Serialize;
use std::collections::BTreeMap;

/// One sample.
#[derive(Debug, Serialize)]
pub(crate) struct Stats {
    name: String,
    id: String,
    read: String,
    preread: String,
    pids_stats: Pids,
    blkio_stats: Blkio,
    num_procs: u32,
    storage_stats: super::Empty,
    cpu_stats: Cpu,
    precpu_stats: Cpu,
    memory_stats: Memory,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    networks: BTreeMap<String, Network>,
}

#[derive(Debug, Default, Serialize)]
struct Pids {
    #[serde(skip_serializing_if = "is_default")]
    current: u64,
    #[serde(skip_serializing_if = "is_default")]
    limit: u64,
}

#[derive(Debug, Serialize)]
struct BlkioEntry {
    major: u64,
    minor: u64,
    op: String,
    value: u64,
}

#[derive(Debug, Default, Serialize)]
struct Blkio {
    io_service_bytes_recursive: Option<Vec<BlkioEntry>>,
    io_serviced_recursive: Option<Vec<BlkioEntry>>,
    io_queue_recursive: Option<Vec<BlkioEntry>>,
    io_service_time_recursive: Option<Vec<BlkioEntry>>,
    io_wait_time_recursive: Option<Vec<BlkioEntry>>,
    io_merged_recursive: Option<Vec<BlkioEntry>>,
    io_time_recursive: Option<Vec<BlkioEntry>>,
    sectors_recursive: Option<Vec<BlkioEntry>>,
}

#[derive(Debug, Default, Serialize)]
struct Usage {
    total_usage: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    percpu_usage: Vec<u64>,
    usage_in_kernelmode: u64,
    usage_in_usermode: u64,
}

#[derive(Debug, Default, Serialize)]
struct Throttling {
    periods: u64,
    throttled_periods: u64,
    throttled_time: u64,
}

#[derive(Debug, Default, Serialize)]
struct Cpu {
    cpu_usage: Usage,
    #[serde(skip_serializing_if = "is_default")]
    system_cpu_usage: u64,
    #[serde(skip_serializing_if = "is_default")]
    online_cpus: u32,
    throttling_data: Throttling,
}

#[derive(Debug, Default, Serialize)]
struct Memory {
    #[serde(skip_serializing_if = "is_default")]
    usage: u64,
    #[serde(skip_serializing_if = "is_default")]
    max_usage: u64,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    stats: BTreeMap<String, u64>,
    #[serde(skip_serializing_if = "is_default")]
    failcnt: u64,
    #[serde(skip_serializing_if = "is_default")]
    limit: u64,
}

#[derive(Debug, Serialize)]
struct Network {
    rx_bytes: u64,
    rx_packets: u64,
    rx_errors: u64,
    rx_dropped: u64,
    tx_bytes: u64,
    tx_packets: u64,
    tx_errors: u64,
    tx_dropped: u64,
}

impl Network {
    /// Bytes, packets, errors and drops, in and out.
    fn new(received: [u64; 4], sent: [u64; 4]) -> Self {
        let [rx_bytes, rx_packets, rx_errors, rx_dropped] = received;
        let [tx_bytes, tx_packets, tx_errors, tx_dropped] = sent;
        Self { rx_bytes, rx_packets, rx_errors, rx_dropped, tx_bytes, tx_packets, tx_errors, tx_dropped }
    }
}

/// CPU time of a sample; nothing of one without a process.
fn cpu(sample: &StatsSample) -> Cpu {
    let Some(usage) = &sample.usage else { return Cpu::default() };
    Cpu {
        cpu_usage: Usage {
            total_usage: usage.cpu.total,
            percpu_usage: usage.cpu.per_cpu.clone(),
            usage_in_kernelmode: usage.cpu.system,
            usage_in_usermode: usage.cpu.user,
        },
        system_cpu_usage: sample.system_cpu,
        online_cpus: sample.online_cpus,
        throttling_data: Throttling {
            periods: usage.cpu.throttling.periods,
            throttled_periods: usage.cpu.throttling.throttled_periods,
            throttled_time: usage.cpu.throttling.throttled_time,
        },
    }
}

impl Stats {
    /// A sample and the one before.
    pub(crate) fn new(sample: &StatsSample, before: Option<&StatsSample>) -> Self {
        let shown = |s: &StatsSample| if s.usage.is_some() { s.read } else { Timestamp::zero() };
        let mut stats = Self {
            name: format!("/{}", sample.name),
            id: sample.id.as_str().to_owned(),
            read: shown(sample).to_string(),
            preread: before.map_or_else(Timestamp::zero, shown).to_string(),
            pids_stats: Pids::default(),
            blkio_stats: Blkio::default(),
            num_procs: 0,
            storage_stats: super::Empty {},
            cpu_stats: cpu(sample),
            precpu_stats: before.map(cpu).unwrap_or_default(),
            memory_stats: Memory::default(),
            networks: sample
                .networks
                .iter()
                .map(|(name, n)| (name.clone(), Network::new(n.received, n.sent)))
                .collect(),
        };
        let Some(usage) = &sample.usage else { return stats };
        stats.pids_stats = Pids { current: usage.pids.current, limit: usage.pids.limit.unwrap_or(0) };
        stats.memory_stats = Memory {
            usage: usage.memory.usage,
            max_usage: usage.memory.max_usage.unwrap_or(0),
            stats: usage.memory.details.iter().cloned().collect(),
            failcnt: usage.memory.failures.unwrap_or(0),
            limit: usage.memory.limit.min(sample.machine_memory),
        };
        // The other lists are empty with cgroup v1, and not there with v2 (which has no count of each CPU, either).
        let v1 = !usage.cpu.per_cpu.is_empty();
        let none = || v1.then(Vec::new);
        let bytes = usage
            .io_bytes
            .iter()
            .map(|e| BlkioEntry::new(e.device.major, e.device.minor, &e.operation, e.value));
        let operations = usage.io_operations.iter();
        let operations =
            operations.map(|e| BlkioEntry::new(e.device.major, e.device.minor, &e.operation, e.value));
        stats.blkio_stats = Blkio {
            io_service_bytes_recursive: Some(bytes.collect()),
            io_serviced_recursive: v1.then(|| operations.collect()),
            io_queue_recursive: none(),
            io_service_time_recursive: none(),
            io_wait_time_recursive: none(),
            io_merged_recursive: none(),
            io_time_recursive: none(),
            sectors_recursive: none(),
        };
        stats
    }
}

impl BlkioEntry {
    fn new(major: u32, minor: u32, op: &str, value: u64) -> Self {
        Self { major: major.into(), minor: minor.into(), op: op.to_owned(), value }
    }
}
