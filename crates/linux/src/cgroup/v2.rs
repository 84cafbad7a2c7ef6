//! The unified hierarchy: make with controllers, limit, freeze.

use super::{
    CgroupError, Features, Hierarchy, Limits, Mounts, devices, file, io_weight_of_blkio, limits,
    weight_of_shares,
};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::{
    fs, io,
    io::{Read, Seek},
    os::fd::OwnedFd,
    path::Path,
    time::{Duration, Instant},
};

/// The leaf that takes the processes of a cgroup namespace's root, which may have either processes or controlled
/// children (the "no internal processes" rule).
const LEAF: &str = "init";

/// Makes `path` and those above it; with `controlled`, all controllers are enabled down to it.
pub(super) fn make(hierarchy: &Hierarchy, path: &Path, controlled: bool) -> Result<(), CgroupError> {
    let mut dir = hierarchy.mount.clone();
    for part in path.components() {
        let above = dir.clone();
        dir.push(part);
        // What exists was made with its controllers, but for the last one's parent, which others may have made.
        match fs::create_dir(&dir) {
            Ok(()) => {}
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
            Err(source) => return Err(CgroupError::Create { path: dir, source }),
        }
        if controlled {
            enable(&above, above == hierarchy.mount);
        }
    }
    Ok(())
}

/// Enables in `dir` what it has, for its children; one at a time when not all at once. What stays off is told by
/// the limit that needs it.
fn enable(dir: &Path, is_root: bool) {
    let words = |name: &str| -> Vec<String> {
        file::read(dir, name).unwrap_or_default().split_whitespace().map(str::to_owned).collect()
    };
    let enabled = words("cgroup.subtree_control");
    let missing: Vec<String> = words("cgroup.controllers")
        .into_iter()
        .filter(|c| !enabled.contains(c))
        .map(|c| format!("+{c}"))
        .collect();
    if missing.is_empty() {
        return;
    }
    let busy = |e: &CgroupError| e.errno() == Some(libc::EBUSY);
    match file::write(dir, "cgroup.subtree_control", &missing.join(" ")) {
        Ok(()) => return,
        Err(e) if busy(&e) && is_root => move_to_leaf(dir),
        Err(_) => {}
    }
    for controller in missing {
        let _ = file::write(dir, "cgroup.subtree_control", &controller);
    }
}

/// Empties a namespace's root into a leaf below it.
fn move_to_leaf(root: &Path) {
    let leaf = root.join(LEAF);
    if let Err(e) = fs::create_dir(&leaf)
        && e.kind() != io::ErrorKind::AlreadyExists
    {
        return;
    }
    // Processes that fork meanwhile appear in the next round.
    for _ in 0..16 {
        let pids = file::read(root, "cgroup.procs").unwrap_or_default();
        if pids.trim().is_empty() {
            return;
        }
        for pid in pids.lines() {
            let _ = file::write(&leaf, "cgroup.procs", pid);
        }
    }
}

/// Sets limits.
pub(super) fn apply(dir: &Path, limits: &Limits) -> Result<(), CgroupError> {
    memory(dir, limits)?;
    if let Some(shares) = limits.cpu_shares
        && shares != 0
    {
        file::write(dir, "cpu.weight", &weight_of_shares(shares).to_string())?;
    }
    if limits.cpu_quota.is_some() || limits.cpu_period.is_some() {
        bandwidth(dir, limits.cpu_period, limits.cpu_quota)?;
    }
    if limits.cpu_rt_runtime.is_some_and(|n| n != 0) || limits.cpu_rt_period.is_some_and(|n| n != 0) {
        return Err(CgroupError::Unsupported { what: "realtime scheduling of a group" });
    }
    if let Some(cpus) = &limits.cpuset_cpus {
        file::write(dir, "cpuset.cpus", cpus)?;
    }
    if let Some(mems) = &limits.cpuset_mems {
        file::write(dir, "cpuset.mems", mems)?;
    }
    if let Some(pids) = limits.pids {
        file::write(dir, "pids.max", &max_or(pids))?;
    }
    io(dir, limits)?;
    if let Some(rules) = &limits.devices {
        devices::attach(dir, rules)?;
    }
    Ok(())
}

/// `max` for -1.
fn max_or(value: i64) -> String {
    if value < 0 { "max".into() } else { value.to_string() }
}

/// memory.max, memory.swap.max and memory.low. v1's swappiness, TCP and OOM-disable have no like in v2; Docker
/// warns at create and goes on.
fn memory(dir: &Path, limits: &Limits) -> Result<(), CgroupError> {
    let swap = limits::swap_of_sum(limits.memory_swap, limits.memory)?;
    if let Some(swap) = swap {
        match file::write(dir, "memory.swap.max", &max_or(swap)) {
            // A kernel without swap has no file; no limit or no swap is what it does anyway.
            Err(e) if e.errno() == Some(libc::ENOENT) && swap <= 0 => {}
            // Docker warns of a kernel without swap accounting and goes on.
            Err(e) if e.errno() == Some(libc::ENOENT) && dir.join("memory.max").exists() => {}
            other => other?,
        }
    }
    if let Some(memory) = limits.memory {
        file::write(dir, "memory.max", &max_or(memory))?;
    }
    if let Some(low) = limits.memory_reservation {
        file::write(dir, "memory.low", &max_or(low))?;
    }
    Ok(())
}

/// cpu.max, whose missing half is what it is now.
fn bandwidth(dir: &Path, period: Option<u64>, quota: Option<i64>) -> Result<(), CgroupError> {
    let present = file::read(dir, "cpu.max")?;
    let mut words = present.split_whitespace();
    let (old_quota, old_period) = (words.next().unwrap_or("max"), words.next().unwrap_or("100000"));
    let quota = match quota {
        Some(0) | None => old_quota.to_owned(),
        Some(quota) => max_or(quota),
    };
    let period = period.filter(|p| *p != 0).map_or(old_period.to_owned(), |p| p.to_string());
    file::write(dir, "cpu.max", &format!("{quota} {period}"))
}

/// io.weight and io.max.
fn io(dir: &Path, limits: &Limits) -> Result<(), CgroupError> {
    let bfq = dir.join("io.bfq.weight").exists();
    let weigh = |prefix: String, weight: u16| {
        if bfq {
            file::write(dir, "io.bfq.weight", &format!("{prefix}{weight}"))
        } else {
            file::write(dir, "io.weight", &format!("{prefix}{}", io_weight_of_blkio(weight)))
        }
    };
    if let Some(weight) = limits.blkio_weight.filter(|w| *w != 0) {
        weigh(if bfq { String::new() } else { "default ".into() }, weight)?;
    }
    for (device, weight) in &limits.blkio_weight_device {
        weigh(format!("{}:{} ", device.major, device.minor), *weight)?;
    }
    let throttles = [
        ("rbps", &limits.read_bps),
        ("wbps", &limits.write_bps),
        ("riops", &limits.read_iops),
        ("wiops", &limits.write_iops),
    ];
    for (key, list) in throttles {
        for (device, rate) in list {
            let rate = if *rate == 0 { "max".to_owned() } else { rate.to_string() };
            file::write(dir, "io.max", &format!("{}:{} {key}={rate}", device.major, device.minor))?;
        }
    }
    Ok(())
}

/// Freezes and waits for the kernel to say so.
pub(super) fn freeze(dir: &Path, patience: Duration) -> Result<(), CgroupError> {
    let path = dir.join("cgroup.events");
    let failed = |source: io::Error| CgroupError::Read { path: path.clone(), source };
    let mut events = fs::File::open(&path).map_err(failed)?;
    file::write(dir, "cgroup.freeze", "1")?;
    let deadline = Instant::now() + patience;
    let mut text = String::new();
    loop {
        // Reading arms the notification that poll(2) waits for.
        text.clear();
        events.seek(io::SeekFrom::Start(0)).and_then(|_| events.read_to_string(&mut text)).map_err(failed)?;
        if file::keyed(&text, "frozen") == Some(1) {
            return Ok(());
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            file::write(dir, "cgroup.freeze", "0")?;
            return Err(CgroupError::NotFrozen { path: dir.to_owned(), seconds: patience.as_secs() });
        }
        let limit = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() };
        match poll(&mut [PollFd::new(&events, PollFlags::PRI)], Some(&limit)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(failed(e.into())),
        }
    }
}

/// An inotify on `memory.events`, which changes with each kill.
pub(super) fn watch_oom(dir: &Path) -> Result<OwnedFd, CgroupError> {
    use rustix::fs::inotify;
    let path = dir.join("memory.events");
    let failed = |e: rustix::io::Errno| CgroupError::Read { path: path.clone(), source: e.into() };
    let fd = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK).map_err(failed)?;
    inotify::add_watch(&fd, &path, inotify::WatchFlags::MODIFY).map_err(failed)?;
    Ok(fd)
}

/// What v2's controllers can do here.
pub(super) fn features(mounts: &Mounts) -> Features {
    let Some(root) = mounts.v2.as_ref().map(|h| h.mount.clone()) else { return Features::default() };
    let controllers: Vec<String> = file::read(&root, "cgroup.controllers")
        .unwrap_or_default()
        .split_whitespace()
        .map(str::to_owned)
        .collect();
    let has = |name: &str| controllers.iter().any(|c| c == name);
    let list = |name: &str| file::read(&root, name).map(|s| s.trim().to_owned()).unwrap_or_default();
    Features {
        memory_limit: has("memory"),
        swap_limit: has("memory") && Path::new("/proc/swaps").exists(),
        memory_reservation: has("memory"),
        kernel_memory_tcp: false,
        oom_kill_disable: false,
        memory_swappiness: false,
        cpu_shares: has("cpu"),
        cpu_cfs: has("cpu"),
        cpu_realtime: false,
        cpuset: has("cpuset"),
        cpus: list("cpuset.cpus.effective"),
        mems: list("cpuset.mems.effective"),
        pids_limit: has("pids"),
        blkio_weight: has("io"),
        blkio_weight_device: has("io"),
        blkio_throttle: has("io"),
        devices: true,
        controllers,
    }
}
