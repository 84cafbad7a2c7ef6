//! The v1 hierarchies (also beside a v2 without controllers): make, limit, freeze.

use super::{Cgroup, CgroupError, DeviceRule, Features, Hierarchy, Limits, Mounts, file};
use std::{
    fs, io,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};

/// Makes `path` and those above it in one hierarchy.
pub(super) fn make(hierarchy: &Hierarchy, path: &Path) -> Result<(), CgroupError> {
    let dir = hierarchy.mount.join(path);
    let cpuset = hierarchy.has("cpuset");
    match fs::create_dir(&dir) {
        Ok(()) => {}
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => return Ok(()),
        Err(e) if e.kind() == io::ErrorKind::NotFound && path.parent().is_some() => {
            make(hierarchy, path.parent().unwrap_or(Path::new("")))?;
            if hierarchy.has("memory") {
                // Before 5.11 children were not counted by themselves; after, this is refused, and true anyway.
                let _ = file::write(dir.parent().unwrap_or(&dir), "memory.use_hierarchy", "1");
            }
            match fs::create_dir(&dir) {
                Err(e) if e.kind() != io::ErrorKind::AlreadyExists => {
                    return Err(CgroupError::Create { path: dir, source: e });
                }
                _ => {}
            }
        }
        Err(source) => return Err(CgroupError::Create { path: dir, source }),
    }
    if cpuset {
        inherit_cpuset(&dir)?;
    }
    Ok(())
}

/// A new cpuset has no CPUs, and nothing can run in it: take its parent's.
fn inherit_cpuset(dir: &Path) -> Result<(), CgroupError> {
    let Some(parent) = dir.parent() else { return Ok(()) };
    for name in ["cpuset.cpus", "cpuset.mems"] {
        let own = file::read(dir, name)?;
        if own.trim().is_empty() {
            file::write(dir, name, file::read(parent, name)?.trim())?;
        }
    }
    Ok(())
}

/// Sets limits.
pub(super) fn apply(cgroup: &Cgroup, limits: &Limits) -> Result<(), CgroupError> {
    let dir =
        |controller: &str, what: &'static str| cgroup.v1(controller).ok_or(CgroupError::Unsupported { what });
    let set = |controller: &str, what: &'static str, name: &str, value: Option<String>| match value {
        Some(value) => file::write(&dir(controller, what)?, name, &value),
        None => Ok(()),
    };
    fn text<T: ToString>(value: &Option<T>) -> Option<String> {
        value.as_ref().map(T::to_string)
    }

    if limits.memory.is_some() || limits.memory_swap.is_some() {
        memory(&dir("memory", "a memory limit")?, limits.memory, limits.memory_swap)?;
    }
    set("memory", "a memory reservation", "memory.soft_limit_in_bytes", text(&limits.memory_reservation))?;
    set("memory", "swappiness", "memory.swappiness", text(&limits.swappiness))?;
    set("memory", "a TCP memory limit", "memory.kmem.tcp.limit_in_bytes", text(&limits.kernel_memory_tcp))?;
    let disable = limits.oom_kill_disable.map(|on| u8::from(on).to_string());
    set("memory", "disabling the OOM killer", "memory.oom_control", disable)?;

    set("cpu", "a realtime period", "cpu.rt_period_us", text(&limits.cpu_rt_period))?;
    set("cpu", "a realtime runtime", "cpu.rt_runtime_us", text(&limits.cpu_rt_runtime))?;
    set("cpu", "CPU shares", "cpu.shares", text(&limits.cpu_shares))?;
    if limits.cpu_period.is_some() || limits.cpu_quota.is_some() {
        bandwidth(&dir("cpu", "a CPU quota")?, limits.cpu_period, limits.cpu_quota)?;
    }
    set("cpuset", "pinning to CPUs", "cpuset.cpus", limits.cpuset_cpus.clone())?;
    set("cpuset", "pinning to memory nodes", "cpuset.mems", limits.cpuset_mems.clone())?;
    let pids = limits.pids.map(|n| if n < 0 { "max".to_owned() } else { n.to_string() });
    set("pids", "a process limit", "pids.max", pids)?;

    blkio(cgroup, limits)?;
    if let Some(rules) = &limits.devices {
        devices(&dir("devices", "device rules")?, rules)?;
    }
    Ok(())
}

/// Memory and memory with swap, in the order that keeps the second the larger at each step.
fn memory(dir: &Path, memory: Option<i64>, swap: Option<i64>) -> Result<(), CgroupError> {
    let limit = |value: i64| file::write(dir, "memory.limit_in_bytes", &value.to_string());
    let sum = |value: i64| match file::write(dir, "memory.memsw.limit_in_bytes", &value.to_string()) {
        // Without swap accounting there is no such file; Docker warns at create and goes on.
        Err(CgroupError::Write { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    };
    match (memory, swap) {
        (Some(memory), Some(swap)) => {
            let present = file::number(dir, "memory.memsw.limit_in_bytes").unwrap_or(0);
            if swap == -1 || swap as u64 > present {
                sum(swap)?;
                limit(memory)
            } else {
                limit(memory)?;
                sum(swap)
            }
        }
        // No limit on memory means none on the sum, which must not be the smaller.
        (Some(-1), None) => {
            sum(-1)?;
            limit(-1)
        }
        (Some(memory), None) => limit(memory),
        (None, Some(swap)) => sum(swap),
        (None, None) => Ok(()),
    }
}

/// CFS period and quota: a pair that the kernel checks at each write, so either order may be the possible one.
fn bandwidth(dir: &Path, period: Option<u64>, quota: Option<i64>) -> Result<(), CgroupError> {
    let set_period = || period.map_or(Ok(()), |p| file::write(dir, "cpu.cfs_period_us", &p.to_string()));
    let set_quota = || quota.map_or(Ok(()), |q| file::write(dir, "cpu.cfs_quota_us", &q.to_string()));
    if set_period().is_ok() {
        return set_quota();
    }
    set_quota()?;
    set_period()
}

/// Weights and throttles of block devices.
fn blkio(cgroup: &Cgroup, limits: &Limits) -> Result<(), CgroupError> {
    let asked = limits.blkio_weight.is_some()
        || [&limits.read_bps, &limits.write_bps, &limits.read_iops, &limits.write_iops]
            .iter()
            .any(|l| !l.is_empty())
        || !limits.blkio_weight_device.is_empty();
    if !asked {
        return Ok(());
    }
    let dir = cgroup.v1("blkio").ok_or(CgroupError::Unsupported { what: "block I/O limits" })?;
    if let Some(weight) = limits.blkio_weight {
        file::write(&dir, &weight_file(&dir, "weight"), &weight.to_string())?;
    }
    for (device, weight) in &limits.blkio_weight_device {
        let value = format!("{}:{} {weight}", device.major, device.minor);
        file::write(&dir, &weight_file(&dir, "weight_device"), &value)?;
    }
    let throttles = [
        ("blkio.throttle.read_bps_device", &limits.read_bps),
        ("blkio.throttle.write_bps_device", &limits.write_bps),
        ("blkio.throttle.read_iops_device", &limits.read_iops),
        ("blkio.throttle.write_iops_device", &limits.write_iops),
    ];
    for (name, list) in throttles {
        for (device, rate) in list {
            file::write(&dir, name, &format!("{}:{} {rate}", device.major, device.minor))?;
        }
    }
    Ok(())
}

/// `blkio.weight` was CFQ's, `blkio.bfq.weight` is BFQ's.
fn weight_file(dir: &Path, name: &str) -> String {
    let bfq = format!("blkio.bfq.{name}");
    if dir.join(&bfq).exists() { bfq } else { format!("blkio.{name}") }
}

/// Denies all, then writes each rule in order: the kernel lets the last one decide.
fn devices(dir: &Path, rules: &[DeviceRule]) -> Result<(), CgroupError> {
    if rules.first() == Some(&DeviceRule::everything()) {
        file::write(dir, "devices.allow", "a")?;
    } else {
        file::write(dir, "devices.deny", "a")?;
    }
    for rule in rules.iter().filter(|rule| **rule != DeviceRule::everything()) {
        file::write(dir, if rule.allow { "devices.allow" } else { "devices.deny" }, &rule.to_string())?;
    }
    Ok(())
}

/// Freezes by v1's own controller, whose state is only ever asked for: each read looks at all tasks again.
pub(super) fn freeze(dir: &Path) -> Result<(), CgroupError> {
    const ROUNDS: u32 = 2000;
    for _ in 0..ROUNDS {
        // Written each time: a task that was being born during the last one is caught by the next.
        file::write(dir, "freezer.state", "FROZEN")?;
        if file::read(dir, "freezer.state")?.trim() == "FROZEN" {
            return Ok(());
        }
        std::thread::yield_now();
    }
    file::write(dir, "freezer.state", "THAWED")?;
    Err(CgroupError::NotFrozen { path: dir.to_owned(), seconds: 0 })
}

/// Registers an eventfd for out-of-memory (Documentation/admin-guide/cgroup-v1/memory.rst, 10).
pub(super) fn watch_oom(dir: &Path) -> Result<OwnedFd, CgroupError> {
    use std::os::fd::AsRawFd;
    let path: PathBuf = dir.join("memory.oom_control");
    let failed = |source: io::Error| CgroupError::Read { path: path.clone(), source };
    let control = fs::File::open(&path).map_err(failed)?;
    let event = rustix::event::eventfd(
        0,
        rustix::event::EventfdFlags::CLOEXEC | rustix::event::EventfdFlags::NONBLOCK,
    )
    .map_err(|e| failed(e.into()))?;
    file::write(dir, "cgroup.event_control", &format!("{} {}", event.as_raw_fd(), control.as_raw_fd()))?;
    Ok(event)
}

/// What v1's controllers can do here, by the files of each hierarchy.
pub(super) fn features(mounts: &Mounts) -> Features {
    // Limits are not shown in the root of some hierarchies, so any directory below counts too.
    let has = |controller: &str, name: &str| {
        let Some(hierarchy) = mounts.v1_of(controller) else { return false };
        hierarchy.mount.join(name).exists()
            || first_child(&hierarchy.mount).is_some_and(|dir| dir.join(name).exists())
    };
    let in_root =
        |controller: &str, name: &str| mounts.v1_of(controller).is_some_and(|h| h.mount.join(name).exists());
    let cpuset = mounts.v1_of("cpuset");
    let list = |name: &str| cpuset.and_then(|h| file::read(&h.mount, name).ok()).map(|s| s.trim().to_owned());
    Features {
        memory_limit: has("memory", "memory.limit_in_bytes"),
        swap_limit: has("memory", "memory.memsw.limit_in_bytes"),
        memory_reservation: has("memory", "memory.soft_limit_in_bytes"),
        kernel_memory_tcp: has("memory", "memory.kmem.tcp.limit_in_bytes"),
        oom_kill_disable: has("memory", "memory.oom_control"),
        memory_swappiness: has("memory", "memory.swappiness"),
        cpu_shares: has("cpu", "cpu.shares"),
        cpu_cfs: has("cpu", "cpu.cfs_quota_us"),
        cpu_realtime: has("cpu", "cpu.rt_runtime_us"),
        cpuset: cpuset.is_some(),
        cpus: list("cpuset.cpus").unwrap_or_default(),
        mems: list("cpuset.mems").unwrap_or_default(),
        pids_limit: mounts.v1_of("pids").is_some(),
        // As Docker asks: the proportional policy of old, whose file the root has too. BFQ's is per disk.
        blkio_weight: in_root("blkio", "blkio.weight"),
        blkio_weight_device: in_root("blkio", "blkio.weight_device"),
        blkio_throttle: has("blkio", "blkio.throttle.read_bps_device"),
        devices: mounts.v1_of("devices").is_some(),
        controllers: mounts
            .v1
            .iter()
            .flat_map(|h| h.controllers.clone())
            .filter(|c| !c.starts_with("name="))
            .collect(),
    }
}

/// Any directory directly below.
fn first_child(dir: &Path) -> Option<PathBuf> {
    let entries = fs::read_dir(dir).ok()?;
    entries.flatten().find(|e| e.file_type().is_ok_and(|kind| kind.is_dir())).map(|e| e.path())
}
