//! `update`

use super::{check_name, path};
use crate::cli::command::{Arity, Command, Offer, command};
use crate::cli::flag::{Bytes, SwapBytes, flags};
use crate::cli::{Cli, Failure, Outcome, show};
use crate::options::container::restart_policy;
use crate::options::flags::Cpus;
use crate::output::warn;
use serde_json::json;

/// `update`
pub(crate) static COMMAND: Command = command!(UpdateFlags, update, {
    name: "update",
    known_as: &["container update", "update"],
    usage: "[OPTIONS] CONTAINER [CONTAINER...]",
    about: "Change limits and restart policy of containers",
    arity: Arity::AtLeast(1),
    offer: Offer::Containers,
});

flags! {
    /// Flags of `update`.
    struct UpdateFlags {
        blkio_weight: u16 ["blkio-weight"] = "0", "Relative weight of block I/O, 10 to 1000, or 0 for none";
        cpu_period: i64 ["cpu-period"], "Period of the CPU quota in microseconds";
        cpu_quota: i64 ["cpu-quota"], "CPU time per period in microseconds";
        cpu_rt_period: i64 ["cpu-rt-period"], "Period of the real-time quota in microseconds";
        cpu_rt_runtime: i64 ["cpu-rt-runtime"], "Real-time CPU time per period in microseconds";
        cpu_shares: i64 ["cpu-shares" 'c'], "Relative weight of CPU time";
        cpus: Cpus ["cpus"], "Number of CPUs";
        cpuset_cpus: String ["cpuset-cpus"], "CPUs to run on (0-3, 0,1)";
        cpuset_mems: String ["cpuset-mems"], "Memory nodes to use (0-3, 0,1)";
        kernel_memory: Bytes ["kernel-memory"], "";
        memory: Bytes ["memory" 'm'], "Limit of memory";
        memory_reservation: Bytes ["memory-reservation"], "Soft limit of memory";
        memory_swap: SwapBytes ["memory-swap"], "Limit of memory and swap together: -1 for no limit";
        pids_limit: Option<i64> ["pids-limit"], "Limit of processes (-1 for no limit)";
        restart: String ["restart"], "What to do when the container ends";
    }
}

fn update(cli: &Cli, flags: UpdateFlags, args: Vec<String>) -> Outcome {
    let nothing = UpdateFlags::default();
    let changes = [
        flags.cpu_period,
        flags.cpu_quota,
        flags.cpu_rt_period,
        flags.cpu_rt_runtime,
        flags.cpu_shares,
        flags.cpus.0,
        flags.memory.0,
        flags.memory_reservation.0,
        flags.memory_swap.0,
        flags.kernel_memory.0,
        i64::from(flags.blkio_weight),
    ];
    let texts = [&flags.cpuset_cpus, &flags.cpuset_mems, &flags.restart];
    if changes.iter().all(|number| *number == 0)
        && texts.iter().all(|text| text.is_empty())
        && flags.pids_limit == nothing.pids_limit
    {
        return Err(Failure::new("you must provide one or more flags when using this command"));
    }
    let mut body = json!({
        "BlkioWeight": flags.blkio_weight,
        "CpusetCpus": flags.cpuset_cpus,
        "CpusetMems": flags.cpuset_mems,
        "CpuShares": flags.cpu_shares,
        "Memory": flags.memory.0,
        "MemoryReservation": flags.memory_reservation.0,
        "MemorySwap": flags.memory_swap.0,
        "CpuPeriod": flags.cpu_period,
        "CpuQuota": flags.cpu_quota,
        "CpuRealtimePeriod": flags.cpu_rt_period,
        "CpuRealtimeRuntime": flags.cpu_rt_runtime,
        "NanoCpus": flags.cpus.0,
        "RestartPolicy": restart_policy(&flags.restart)?,
    });
    if let Some(limit) = flags.pids_limit {
        body["PidsLimit"] = limit.into();
    }
    let client = cli.client()?;
    let mut warnings = Vec::new();
    let mut failures = Vec::new();
    for name in &args {
        match check_name(name).and_then(|()| Ok(client.post(&path(name, "/update"), &[], &body)?)) {
            Ok(answer) => {
                show(&format!("{name}\n"))?;
                warnings.extend(answer.texts("Warnings").into_iter().map(str::to_owned));
            }
            Err(failure) => failures.push(failure),
        }
    }
    if !warnings.is_empty() {
        warn(warnings.join("\n"));
    }
    crate::output::together(failures)
}
