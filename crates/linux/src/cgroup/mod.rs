//! cgroups v1, hybrid and v2, by their files alone (cgroups(7), Documentation/admin-guide/cgroup-v{1,2}.rst).
//!
//! Start at [`Cgroups`], which knows the mounted hierarchies; a [`Cgroup`] is one path in all of them. Never
//! speaks to systemd, never waits for a removal: what is still in use goes at the next opportunity.

mod detect;
pub mod devices;
mod error;
mod file;
mod limits;
mod removal;
mod stats;
mod v1;
mod v2;

pub use detect::{Hierarchy, Mounts};
pub use devices::{DeviceKind, DeviceRule};
pub use error::CgroupError;
pub use limits::{DeviceNumber, Limits, io_weight_of_blkio, weight_of_shares};
pub use stats::{BlkioEntry, CpuStats, MemoryStats, PidsStats, Stats, Throttling};

use std::{
    os::fd::OwnedFd,
    path::PathBuf,
    sync::{Arc, OnceLock},
    time::Duration,
};

/// How long a frozen process may take to stop. The kernel needs milliseconds; a process stuck in the kernel may
/// never.
const FREEZE_DEADLINE: Duration = Duration::from_secs(10);

/// The mounted hierarchies, and what is left to remove. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Cgroups {
    mounts: Arc<Mounts>,
    leftovers: Arc<removal::Leftovers>,
    features: Arc<OnceLock<Features>>,
}

/// What this machine's cgroups can do: Docker's `/info` and its warnings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Features {
    /// `memory.limit_in_bytes` or `memory.max`.
    pub memory_limit: bool,
    /// Swap is accounted.
    pub swap_limit: bool,
    /// `memory.soft_limit_in_bytes` or `memory.low`.
    pub memory_reservation: bool,
    /// v1's `memory.kmem.tcp.limit_in_bytes`.
    pub kernel_memory_tcp: bool,
    /// v1's `memory.oom_control`.
    pub oom_kill_disable: bool,
    /// v1's `memory.swappiness`.
    pub memory_swappiness: bool,
    /// `cpu.shares` or `cpu.weight`.
    pub cpu_shares: bool,
    /// `cpu.cfs_quota_us` or `cpu.max`.
    pub cpu_cfs: bool,
    /// v1's `cpu.rt_runtime_us`.
    pub cpu_realtime: bool,
    /// A cpuset controller.
    pub cpuset: bool,
    /// CPUs that may be given, `0-3`.
    pub cpus: String,
    /// NUMA nodes that may be given, `0`.
    pub mems: String,
    /// A pids controller.
    pub pids_limit: bool,
    /// `blkio.weight` or `io.weight`.
    pub blkio_weight: bool,
    /// The same per device.
    pub blkio_weight_device: bool,
    /// `blkio.throttle.*` or `io.max`.
    pub blkio_throttle: bool,
    /// A devices controller, or v2's device filters.
    pub devices: bool,
    /// Controllers by name.
    pub controllers: Vec<String>,
}

impl Cgroups {
    /// Looks at what is mounted.
    ///
    /// # Errors
    /// When nothing is, or /proc cannot be read.
    pub fn find() -> Result<Self, CgroupError> {
        Ok(Self::with(Mounts::find()?))
    }

    /// With given mounts, for tests and for roots elsewhere.
    pub fn with(mounts: Mounts) -> Self {
        Cgroups { mounts: Arc::new(mounts), leftovers: Arc::default(), features: Arc::default() }
    }

    /// The mounted hierarchies.
    pub fn mounts(&self) -> &Mounts {
        &self.mounts
    }

    /// 1 (also when hybrid) or 2.
    pub fn version(&self) -> u8 {
        self.mounts.version()
    }

    /// The cgroup at `path` (`/minke-1a2b3c4d/ID`) in all hierarchies, which need not exist. `..` has no effect.
    pub fn at(&self, path: &str) -> Cgroup {
        let relative: PathBuf = path.split('/').filter(|part| !matches!(*part, "" | "." | "..")).collect();
        Cgroup { mounts: Arc::clone(&self.mounts), path: relative }
    }

    /// Makes the cgroup at `path` and those above it, with all controllers enabled for it.
    ///
    /// # Errors
    /// When a directory cannot be made. A controller that cannot be enabled is no error here, but when a limit
    /// asks for it.
    pub fn create(&self, path: &str) -> Result<Cgroup, CgroupError> {
        let cgroup = self.at(path);
        self.leftovers.drop_path(&cgroup.path);
        self.leftovers.retry();
        for hierarchy in &self.mounts.v1 {
            v1::make(hierarchy, &cgroup.path)?;
        }
        if let Some(hierarchy) = &self.mounts.v2 {
            v2::make(hierarchy, &cgroup.path, self.version() == 2)?;
        }
        Ok(cgroup)
    }

    /// Removes the cgroup at `path` with all below it. What is still in use is killed and goes as soon as the kernel
    /// lets it go, without waiting here. One that does not exist is no error.
    ///
    /// # Errors
    /// When the kernel refuses for another reason.
    pub fn remove(&self, path: &str) -> Result<(), CgroupError> {
        let cgroup = self.at(path);
        self.leftovers.retry();
        if cgroup.path.as_os_str().is_empty() {
            return Ok(());
        }
        let mut busy = Vec::new();
        for dir in cgroup.dirs() {
            removal::remove_tree(&dir, &mut busy)?;
        }
        if !busy.is_empty() {
            cgroup.kill().ok();
            self.leftovers.add(cgroup);
        }
        Ok(())
    }

    /// Removes the cgroup at `path` where it is empty and has none below it; else leaves it.
    pub fn remove_if_empty(&self, path: &str) {
        self.leftovers.retry();
        let cgroup = self.at(path);
        if !cgroup.path.as_os_str().is_empty() {
            // In use is what it may be.
            cgroup.dirs().iter().for_each(|dir| drop(std::fs::remove_dir(dir)));
        }
    }

    /// Names of the cgroups directly below `path`, in any hierarchy.
    pub fn children(&self, path: &str) -> Vec<String> {
        let mut names = std::collections::BTreeSet::new();
        for dir in self.at(path).dirs() {
            for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
                if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    names.insert(entry.file_name().to_string_lossy().into_owned());
                }
            }
        }
        names.into_iter().collect()
    }

    /// What this machine's cgroups can do, as of the first time that it is asked.
    pub fn features(&self) -> &Features {
        let look =
            || if self.version() == 2 { v2::features(&self.mounts) } else { v1::features(&self.mounts) };
        self.features.get_or_init(look)
    }
}

/// One path in all hierarchies.
#[derive(Clone, Debug)]
pub struct Cgroup {
    mounts: Arc<Mounts>,
    path: PathBuf,
}

impl Cgroup {
    /// Its path below each hierarchy's mount, with a leading slash.
    pub fn path(&self) -> String {
        format!("/{}", self.path.display())
    }

    /// Its directory in the unified hierarchy.
    pub fn unified(&self) -> Option<PathBuf> {
        self.mounts.v2.as_ref().map(|h| h.mount.join(&self.path))
    }

    /// Its directories in the v1 hierarchies.
    pub fn legacy(&self) -> Vec<PathBuf> {
        self.mounts.v1.iter().map(|h| h.mount.join(&self.path)).collect()
    }

    /// All its directories.
    pub fn dirs(&self) -> Vec<PathBuf> {
        let mut dirs = self.legacy();
        dirs.extend(self.unified());
        dirs
    }

    /// Its directory in the v1 hierarchy of `controller`.
    fn v1(&self, controller: &str) -> Option<PathBuf> {
        self.mounts.v1_of(controller).map(|h| h.mount.join(&self.path))
    }

    /// The directory with its memory files (`memory.events` of v2, `memory.oom_control` of v1).
    pub fn memory(&self) -> Option<PathBuf> {
        self.v1("memory").or_else(|| self.unified().filter(|_| self.mounts.version() == 2))
    }

    /// Whether it exists in any hierarchy.
    pub fn exists(&self) -> bool {
        self.dirs().iter().any(|dir| dir.is_dir())
    }

    /// Puts a process into it, in all hierarchies.
    ///
    /// # Errors
    /// When the kernel refuses, in whichever hierarchy.
    pub fn add(&self, pid: i32) -> Result<(), CgroupError> {
        self.dirs().iter().try_for_each(|dir| file::write(dir, "cgroup.procs", &pid.to_string()))
    }

    /// Sets limits. What is `None` stays.
    ///
    /// # Errors
    /// When the kernel refuses a value or cannot do what is asked at all; limits before it are set by then.
    pub fn apply(&self, limits: &Limits) -> Result<(), CgroupError> {
        match (self.mounts.version(), self.unified()) {
            (2, Some(dir)) => v2::apply(&dir, limits),
            _ => v1::apply(self, limits),
        }
    }

    /// Process ids in it and below it, each once.
    pub fn pids(&self) -> Vec<i32> {
        let dir = self.unified().or_else(|| self.v1("pids")).or_else(|| self.legacy().into_iter().next());
        let mut pids = Vec::new();
        if let Some(dir) = dir {
            file::collect_pids(&dir, &mut pids, 0);
        }
        pids.sort_unstable();
        pids.dedup();
        pids
    }

    /// Stops all its processes where they are. Returns when all stand still.
    ///
    /// # Errors
    /// When there is no freezer, or a process does not stop within 10 seconds; then all run again.
    pub fn freeze(&self) -> Result<(), CgroupError> {
        match self.freezer() {
            Some(dir) => v2::freeze(&dir, FREEZE_DEADLINE),
            None => v1::freeze(
                &self.v1("freezer").ok_or(CgroupError::Unsupported { what: "freezing processes" })?,
            ),
        }
    }

    /// Lets them run again.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn thaw(&self) -> Result<(), CgroupError> {
        match self.freezer() {
            Some(dir) => file::write(&dir, "cgroup.freeze", "0"),
            None => {
                let dir =
                    self.v1("freezer").ok_or(CgroupError::Unsupported { what: "freezing processes" })?;
                file::write(&dir, "freezer.state", "THAWED")
            }
        }
    }

    /// Whether they are stopped.
    pub fn is_frozen(&self) -> bool {
        match self.freezer() {
            Some(dir) => file::read(&dir, "cgroup.freeze").is_ok_and(|text| text.trim() == "1"),
            None => self.v1("freezer").is_some_and(|dir| {
                file::read(&dir, "freezer.state").is_ok_and(|text| text.trim() != "THAWED")
            }),
        }
    }

    /// The unified directory, if it can freeze (kernel 5.2, also beside v1): its frozen processes can be killed.
    fn freezer(&self) -> Option<PathBuf> {
        self.unified().filter(|dir| dir.join("cgroup.freeze").exists())
    }

    /// Kills all its processes, also those being born. Does not wait for their end.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn kill(&self) -> Result<(), CgroupError> {
        if let Some(dir) = self.unified().filter(|dir| dir.join("cgroup.kill").exists()) {
            return file::write(&dir, "cgroup.kill", "1");
        }
        // Before 5.14: stand still, so that no fork slips by; then one signal each.
        let frozen = !self.is_frozen() && self.freeze().is_ok();
        for pid in self.pids() {
            if let Some(pid) = rustix::process::Pid::from_raw(pid) {
                // A process that ended meanwhile is what we want.
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            }
        }
        if frozen || self.is_frozen() {
            self.thaw()?;
        }
        Ok(())
    }

    /// How often the kernel killed something in it for memory.
    pub fn oom_kills(&self) -> u64 {
        let Some(dir) = self.memory() else { return 0 };
        let name = if self.mounts.version() == 2 { "memory.events" } else { "memory.oom_control" };
        file::read(&dir, name).ok().and_then(|text| file::keyed(&text, "oom_kill")).unwrap_or(0)
    }

    /// A descriptor that becomes readable when memory ran out in it: an inotify on `memory.events`, or v1's eventfd
    /// on `memory.oom_control` (which also fires at removal). Read it, then ask [`Cgroup::oom_kills`].
    ///
    /// # Errors
    /// When memory is not controlled or the kernel refuses.
    pub fn watch_oom(&self) -> Result<OwnedFd, CgroupError> {
        let dir = self.memory().ok_or(CgroupError::Unsupported { what: "watching memory" })?;
        if self.mounts.version() == 2 { v2::watch_oom(&dir) } else { v1::watch_oom(&dir) }
    }

    /// What its processes use now.
    ///
    /// # Errors
    /// When it does not exist. What the kernel does not account is zero.
    pub fn stats(&self) -> Result<Stats, CgroupError> {
        if !self.exists() {
            return Err(CgroupError::Read {
                path: self.dirs().into_iter().next().unwrap_or_default(),
                source: std::io::ErrorKind::NotFound.into(),
            });
        }
        Ok(if self.mounts.version() == 2 {
            stats::read_v2(&self.unified().unwrap_or_default())
        } else {
            stats::read_v1(self)
        })
    }
}

/// Whether a directory is a cgroup's, for tests that clean up.
#[cfg(test)]
pub(crate) fn is_cgroup(dir: &std::path::Path) -> bool {
    dir.join("cgroup.procs").exists()
}

#[cfg(test)]
mod tests;
