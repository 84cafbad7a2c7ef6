//! What a container uses beside what the machine has: one sample for `docker stats`. Docker's names are `api`'s.

use minke_linux::cgroup::Stats;
use minke_model::Timestamp;
use std::{io, sync::OnceLock};

/// One moment of one container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    /// When.
    pub at: Timestamp,
    /// Its cgroup's numbers. The memory limit is the machine's memory where there is none.
    pub cgroup: Stats,
    /// The machine's.
    pub machine: Machine,
    /// Its interfaces, loopback left out; empty on the machine's own network.
    pub interfaces: Vec<Interface>,
}

/// The machine's CPUs at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Machine {
    /// Nanoseconds that all CPUs together have counted since boot, idle ones too.
    pub cpu_total: u64,
    /// CPUs that are on.
    pub cpus: u32,
}

/// A network interface's counters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Interface {
    /// As inside.
    pub name: String,
    /// Received.
    pub rx_bytes: u64,
    /// Received.
    pub rx_packets: u64,
    /// Received.
    pub rx_errors: u64,
    /// Received.
    pub rx_dropped: u64,
    /// Sent.
    pub tx_bytes: u64,
    /// Sent.
    pub tx_packets: u64,
    /// Sent.
    pub tx_errors: u64,
    /// Sent.
    pub tx_dropped: u64,
}

/// Completes a cgroup's numbers to a sample. `pid` is a process of the container whose network is its own.
///
/// # Errors
/// When /proc cannot be read.
pub fn sample(mut cgroup: Stats, pid: Option<i32>) -> io::Result<Sample> {
    cgroup.memory.limit = cgroup.memory.limit.min(memory_total());
    let machine = machine(&std::fs::read_to_string("/proc/stat")?);
    // A process that just ended has no interfaces any more.
    let text = pid.and_then(|pid| std::fs::read_to_string(format!("/proc/{pid}/net/dev")).ok());
    let interfaces = text.map(|text| interfaces(&text)).unwrap_or_default();
    Ok(Sample { at: Timestamp::now(), cgroup, machine, interfaces })
}

/// Bytes of the machine's memory.
pub fn memory_total() -> u64 {
    static TOTAL: OnceLock<u64> = OnceLock::new();
    *TOTAL.get_or_init(|| {
        let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
        let kib = line.and_then(|rest| rest.trim().strip_suffix(" kB")?.parse::<u64>().ok());
        kib.map_or(u64::MAX, |kib| kib * 1024)
    })
}

/// /proc/stat (proc_stat(5)): ticks of 10 ms (USER_HZ is 100 everywhere).
fn machine(text: &str) -> Machine {
    let mut machine = Machine::default();
    for line in text.lines() {
        let mut words = line.split_ascii_whitespace();
        match words.next() {
            Some("cpu") => {
                // user, nice, system, idle, iowait, irq, softirq, steal; guests are counted in user already.
                let ticks: u64 = words.take(8).filter_map(|n| n.parse::<u64>().ok()).sum();
                machine.cpu_total = ticks.saturating_mul(10_000_000);
            }
            Some(name) if name.starts_with("cpu") => machine.cpus += 1,
            _ => break,
        }
    }
    machine
}

/// /proc/net/dev (proc_pid_net(5)).
fn interfaces(text: &str) -> Vec<Interface> {
    let line = |line: &str| {
        let (name, rest) = line.split_once(':')?;
        let numbers: Vec<u64> = rest.split_ascii_whitespace().filter_map(|n| n.parse().ok()).collect();
        let name = name.trim().to_owned();
        if name == "lo" || numbers.len() < 12 {
            return None;
        }
        Some(Interface {
            name,
            rx_bytes: numbers[0],
            rx_packets: numbers[1],
            rx_errors: numbers[2],
            rx_dropped: numbers[3],
            tx_bytes: numbers[8],
            tx_packets: numbers[9],
            tx_errors: numbers[10],
            tx_dropped: numbers[11],
        })
    };
    text.lines().filter_map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_s_time_is_summed_without_guests() {
        let text = "cpu  10 20 30 40 50 60 70 80 1000 2000\ncpu0 1 1\ncpu1 1 1\nintr 5\ncpu9 0\n";
        assert_eq!(machine(text), Machine { cpu_total: 3_600_000_000, cpus: 2 });
    }

    #[test]
    fn interfaces_are_read_without_loopback() {
        let text = "Inter-|   Receive\n face |bytes\n    lo: 1 1 0 0 0 0 0 0 1 1 0 0 0 0 0 0\n  eth0:100 2 3 4 0 0 0 0 500 6 7 8 0 0 0 0\n";
        let got = interfaces(text);
        assert_eq!(got.len(), 1);
        assert_eq!(
            (got[0].name.as_str(), got[0].rx_bytes, got[0].tx_bytes, got[0].tx_dropped),
            ("eth0", 100, 500, 8)
        );
    }

    #[test]
    fn a_limit_beyond_all_memory_is_the_machine_s() {
        let mut stats = Stats::default();
        stats.memory.limit = u64::MAX;
        let sample = sample(stats, Some(std::process::id() as i32)).unwrap();
        assert_eq!(sample.cgroup.memory.limit, memory_total());
        assert!(sample.machine.cpus > 0 && memory_total() > 1 << 20);
    }
}
