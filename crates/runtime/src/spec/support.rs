//! What this kernel's cgroups can do of what is asked: the rest is discarded with Docker's warning, or refused in
//! Docker's words (moby `daemon_unix.go`, `verifyPlatformContainerResources`). Pure.

use minke_linux::cgroup::Features;
use minke_model::resources::Resources;

/// Discards what cannot be done and returns the warnings about it, in Docker's order.
///
/// # Errors
/// A sentence when CPUs or memory nodes are asked for that are not there.
pub fn judge(asked: &mut Resources, can: &Features) -> Result<Vec<String>, String> {
    let mut warnings = Vec::new();
    judge_memory(asked, can, &mut warnings);
    if asked.pids_limit.is_some_and(|n| n > 0) && !can.pids_limit {
        warnings.push(lacking("PIDs limit capabilities", "PIDs limit discarded"));
        asked.pids_limit = None;
    }
    if asked.nano_cpus > 0 && !can.cpu_cfs {
        return Err("NanoCPUs can not be set, as your kernel does not support CPU CFS scheduler or the cgroup is not mounted".into());
    }
    if asked.cpu_shares > 0 && !can.cpu_shares {
        warnings.push(lacking("CPU shares", "Shares discarded"));
        asked.cpu_shares = 0;
    }
    if (asked.cpu_period != 0 || asked.cpu_quota != 0) && !can.cpu_cfs {
        warnings.push("Your kernel does not support CPU CFS scheduler. CPU period/quota discarded.".into());
        (asked.cpu_period, asked.cpu_quota) = (0, 0);
    }
    judge_cpuset(asked, can, &mut warnings)?;
    judge_io(asked, can, &mut warnings)?;
    Ok(warnings)
}

/// Docker's sentence for what is missing.
fn lacking(what: &str, then: &str) -> String {
    format!("Your kernel does not support {what} or the cgroup is not mounted. {then}.")
}

fn judge_memory(asked: &mut Resources, can: &Features, warnings: &mut Vec<String>) {
    if asked.memory > 0 && !can.memory_limit {
        warnings.push(lacking("memory limit capabilities", "Limitation discarded"));
        (asked.memory, asked.memory_swap) = (0, -1);
    }
    if asked.memory > 0 && asked.memory_swap != -1 && !can.swap_limit {
        warnings.push(lacking("swap limit capabilities", "Memory limited without swap"));
        asked.memory_swap = -1;
    }
    if asked.memory_swappiness.is_some_and(|n| n != -1) && !can.memory_swappiness {
        warnings.push(lacking("memory swappiness capabilities", "Memory swappiness discarded"));
        asked.memory_swappiness = None;
    }
    if asked.memory_reservation > 0 && !can.memory_reservation {
        warnings.push(lacking("memory soft limit capabilities", "Limitation discarded"));
        asked.memory_reservation = 0;
    }
    if asked.oom_kill_disable == Some(true) && !can.oom_kill_disable {
        warnings.push("Your kernel does not support OomKillDisable. OomKillDisable discarded.".into());
        asked.oom_kill_disable = None;
    }
    if asked.oom_kill_disable == Some(true) && asked.memory == 0 {
        warnings.push(
            "OOM killer is disabled for the container, but no memory limit is set, this can result in the system running out of resources."
                .into(),
        );
    }
}

fn judge_cpuset(asked: &mut Resources, can: &Features, warnings: &mut Vec<String>) -> Result<(), String> {
    if (!asked.cpuset_cpus.is_empty() || !asked.cpuset_mems.is_empty()) && !can.cpuset {
        warnings.push(lacking("cpuset", "Cpuset discarded"));
        asked.cpuset_cpus.clear();
        asked.cpuset_mems.clear();
    }
    for (list, there, name, words) in [
        (&asked.cpuset_cpus, &can.cpus, "cpus", "CPUs"),
        (&asked.cpuset_mems, &can.mems, "mems", "memory nodes"),
    ] {
        let wanted = numbers(list)
            .ok_or_else(|| format!("Invalid value {list} for cpuset {name}: invalid format: {list}"))?;
        // What the kernel does not tell it may still have.
        let Some(available) = numbers(there).filter(|all| !all.is_empty()) else { continue };
        let has = |n: u32| available.iter().any(|(from, to)| (*from..=*to).contains(&n));
        if !wanted.iter().all(|(from, to)| (*from..=*to).all(has)) {
            return Err(format!(
                "Requested {words} are not available - requested {list}, available: {there}"
            ));
        }
    }
    Ok(())
}

/// `0-2,4` as ranges; `None` when it is no such list, or names more than any machine has.
fn numbers(list: &str) -> Option<Vec<(u32, u32)>> {
    const MOST: u32 = 8192;
    let range = |part: &str| {
        let (from, to) = part.split_once('-').unwrap_or((part, part));
        let (from, to) = (from.trim().parse::<u32>().ok()?, to.trim().parse::<u32>().ok()?);
        (from <= to && to < MOST).then_some((from, to))
    };
    list.split(',').filter(|_| !list.is_empty()).map(range).collect()
}

fn judge_io(asked: &mut Resources, can: &Features, warnings: &mut Vec<String>) -> Result<(), String> {
    let some = |list: &Option<Vec<_>>| list.as_ref().is_some_and(|list| !list.is_empty());
    if asked.blkio_weight > 0 && !can.blkio_weight {
        warnings.push(lacking("Block I/O weight", "Weight discarded"));
        asked.blkio_weight = 0;
    }
    if asked.blkio_weight > 0 && !(10..=1000).contains(&asked.blkio_weight) {
        return Err("Range of blkio weight is from 10 to 1000".into());
    }
    if some(&asked.blkio_weight_device) && !can.blkio_weight_device {
        warnings.push(lacking("Block I/O weight_device", "Weight-device discarded"));
        asked.blkio_weight_device = Some(Vec::new());
    }
    if can.blkio_throttle {
        return Ok(());
    }
    for (list, unit, way) in [
        (&mut asked.blkio_read_bps, "BPS", "read"),
        (&mut asked.blkio_write_bps, "BPS", "write"),
        (&mut asked.blkio_read_iops, "IOPS", "read"),
        (&mut asked.blkio_write_iops, "IOPS", "write"),
    ] {
        if some(list) {
            warnings.push(lacking(
                &format!("{unit} Block I/O {way} limit"),
                &format!("Block I/O {unit} {way} limit discarded"),
            ));
            *list = Some(Vec::new());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use minke_model::resources::DeviceValue;

    fn all() -> Features {
        Features {
            memory_limit: true,
            swap_limit: true,
            memory_reservation: true,
            kernel_memory_tcp: true,
            oom_kill_disable: true,
            memory_swappiness: true,
            cpu_shares: true,
            cpu_cfs: true,
            cpu_realtime: true,
            cpuset: true,
            cpus: "0-3".into(),
            mems: "0".into(),
            pids_limit: true,
            blkio_weight: true,
            blkio_weight_device: true,
            blkio_throttle: true,
            devices: true,
            controllers: Vec::new(),
        }
    }

    /// Something of everything.
    fn much() -> Resources {
        let device = || Some(vec![DeviceValue { path: "/dev/sda".into(), value: 1 }]);
        Resources {
            memory: 64 << 20,
            memory_swap: 128 << 20,
            memory_swappiness: Some(5),
            memory_reservation: 32 << 20,
            oom_kill_disable: Some(true),
            pids_limit: Some(9),
            cpu_shares: 512,
            cpu_quota: 5000,
            cpuset_cpus: "0-1,3".into(),
            cpuset_mems: "0".into(),
            blkio_weight: 300,
            blkio_weight_device: device(),
            blkio_read_bps: device(),
            blkio_write_iops: device(),
            ..Default::default()
        }
    }

    #[test]
    fn a_kernel_that_can_all_changes_nothing() {
        let mut asked = much();
        assert_eq!(judge(&mut asked, &all()), Ok(Vec::new()));
        assert_eq!(asked, much());
    }

    #[test]
    fn a_kernel_that_can_nothing_is_told_of_each_and_nothing_is_left() {
        let mut asked = much();
        let warnings = judge(&mut asked, &Features::default()).unwrap();
        assert_eq!(warnings.len(), 12, "{warnings:#?}");
        assert_eq!(
            warnings[0],
            "Your kernel does not support memory limit capabilities or the cgroup is not mounted. Limitation discarded."
        );
        let nothing = crate::spec::limits(&asked, &crate::spec::tests::FakeDevices).unwrap();
        assert_eq!(nothing, minke_linux::cgroup::Limits { memory_swap: Some(-1), ..Default::default() });
    }

    #[test]
    fn cpus_that_are_not_there_are_refused() {
        let ask =
            |cpus: &str| judge(&mut Resources { cpuset_cpus: cpus.into(), ..Default::default() }, &all());
        ask("0,2-3").unwrap();
        assert_eq!(ask("99").unwrap_err(), "Requested CPUs are not available - requested 99, available: 0-3");
        assert_eq!(
            ask("2-4").unwrap_err(),
            "Requested CPUs are not available - requested 2-4, available: 0-3"
        );
        assert_eq!(ask("x").unwrap_err(), "Invalid value x for cpuset cpus: invalid format: x");
        let mut nodes = Resources { cpuset_mems: "1".into(), ..Default::default() };
        assert_eq!(
            judge(&mut nodes, &all()).unwrap_err(),
            "Requested memory nodes are not available - requested 1, available: 0"
        );
    }

    #[test]
    fn a_disabled_killer_without_a_limit_is_warned_of() {
        let mut asked = Resources { oom_kill_disable: Some(true), ..Default::default() };
        assert!(judge(&mut asked, &all()).unwrap()[0].starts_with("OOM killer is disabled"));
    }
}
