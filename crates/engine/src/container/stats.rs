//! `stats`: what a container uses now.

use super::Containers;
use crate::error::Result;
use minke_model::{ContainerId, Timestamp, container::NetworkMode};
use minke_runtime::Stats;
use std::collections::BTreeMap;

/// What a container uses, at one moment.
#[derive(Clone, Debug)]
pub struct StatsSample {
    /// Whose.
    pub id: ContainerId,
    /// Its name.
    pub name: String,
    /// When.
    pub read: Timestamp,
    /// What its cgroup counted; `None` when it does not run.
    pub usage: Option<Stats>,
    /// Its interfaces' counters by name.
    pub networks: BTreeMap<String, InterfaceStats>,
    /// CPU time of the whole machine, nanoseconds.
    pub system_cpu: u64,
    /// CPUs that are on.
    pub online_cpus: u32,
    /// Memory of the machine, bytes: the limit of containers without one.
    pub machine_memory: u64,
}

/// What went over an interface.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InterfaceStats {
    /// Bytes, packets, errors and drops in.
    pub received: [u64; 4],
    /// Bytes, packets, errors and drops out.
    pub sent: [u64; 4],
}

impl Containers {
    /// What it uses now.
    pub async fn stats(&self, name: &str) -> Result<StatsSample> {
        let cell = self.find(name)?;
        let record = cell.record();
        let process = cell.process().filter(|_| record.status.state.is_up());
        let usage = match &process {
            Some(process) => Some(process.stats().await?),
            None => None,
        };
        let own_network = !matches!(record.spec.networking.mode, NetworkMode::Host);
        let networks = match &process {
            Some(process) if own_network => interfaces(process.pid()),
            _ => BTreeMap::new(),
        };
        let (system_cpu, online_cpus) = machine_cpu();
        Ok(StatsSample {
            id: record.id.clone(),
            name: record.name.clone(),
            read: Timestamp::now(),
            usage,
            networks,
            system_cpu,
            online_cpus,
            machine_memory: crate::machine::memory(),
        })
    }
}

/// The counters of a process' interfaces but loopback, from /proc/PID/net/dev.
fn interfaces(pid: i32) -> BTreeMap<String, InterfaceStats> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/net/dev")).unwrap_or_default();
    text.lines()
        .skip(2)
        .filter_map(|line| {
            let (name, counters) = line.split_once(':')?;
            let numbers: Vec<u64> = counters.split_whitespace().filter_map(|n| n.parse().ok()).collect();
            let take = |at: usize| {
                Some([*numbers.get(at)?, *numbers.get(at + 1)?, *numbers.get(at + 2)?, *numbers.get(at + 3)?])
            };
            let stats = InterfaceStats { received: take(0)?, sent: take(8)? };
            (name.trim() != "lo").then(|| (name.trim().to_owned(), stats))
        })
        .collect()
}

/// Nanoseconds of CPU time of the whole machine, and how many CPUs are on (proc_stat(5)).
fn machine_cpu() -> (u64, u32) {
    let stat = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    let hertz = rustix::param::clock_ticks_per_second();
    let total: u64 = stat
        .lines()
        .next()
        .map(|line| line.split_whitespace().skip(1).take(8).filter_map(|n| n.parse::<u64>().ok()).sum())
        .unwrap_or(0);
    let online = stat.lines().filter(|l| l.starts_with("cpu") && !l.starts_with("cpu ")).count();
    (total * (1_000_000_000 / hertz.max(1)), online as u32)
}
