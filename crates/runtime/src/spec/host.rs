//! What plans depend on besides the request: facts of the machine and settings of the daemon, found once.

use super::{Filters, SpecError, defaults};
use crate::request::RuntimeConfig;
use minke_linux::cgroup::Cgroups;
use minke_model::resources::Ulimit;
use std::io;

/// Facts of the machine and settings of the daemon that plans depend on.
#[derive(Clone, Debug)]
pub struct Host {
    /// Mounted cgroup hierarchies.
    pub cgroups: Cgroups,
    /// Below which containers' cgroups lie, with a leading slash.
    pub cgroup_parent: String,
    /// Capabilities that the daemon has and may give.
    pub capabilities: u64,
    /// The kernel has AppArmor on.
    pub apparmor: bool,
    /// This machine's `/sys/devices/system/cpu/cpu*/thermal_throttle`.
    pub throttles: Vec<String>,
    /// The machine shows its memory as /proc/kcore.
    pub kcore: bool,
    /// Limits of processes that ask for none of that name.
    pub default_ulimits: Vec<Ulimit>,
    /// Compiled system call filters.
    pub filters: Filters,
}

impl Host {
    /// Looks at the machine.
    ///
    /// # Errors
    /// When no cgroup hierarchy is mounted or /proc cannot be read.
    pub fn find(config: &RuntimeConfig) -> Result<Self, SpecError> {
        let failed = |what: &'static str| move |cause: io::Error| SpecError::Machine { what, cause };
        let cgroups = Cgroups::find()
            .map_err(|e| SpecError::Machine { what: "cgroups", cause: io::Error::other(e) })?;
        let cgroup_parent = match config.cgroup_parent.as_str() {
            "" => format!("/minke-{}", config.daemon_id),
            asked => format!("/{}", asked.trim_matches('/')),
        };
        let status = std::fs::read_to_string("/proc/self/status").map_err(failed("/proc/self/status"))?;
        let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
        let capabilities = effective.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok()).unwrap_or(0);
        Ok(Host {
            cgroups,
            cgroup_parent,
            capabilities,
            apparmor: has_apparmor(),
            throttles: throttles(),
            kcore: std::path::Path::new("/proc/kcore").exists(),
            default_ulimits: config.default_ulimits.clone(),
            filters: Filters::new(&config.seccomp_profile, kernel())?,
        })
    }
}

/// Whether containers are confined by AppArmor: it is on, and the default profile is loaded or can be.
fn has_apparmor() -> bool {
    use minke_linux::apparmor;
    let name = defaults::APPARMOR_PROFILE;
    if !apparmor::is_enabled() {
        return false;
    }
    if apparmor::is_loaded(name).unwrap_or(false) {
        return true;
    }
    let own = std::fs::read_to_string("/proc/self/attr/current").unwrap_or_default();
    let own = own.split(" (").next().unwrap_or_default().trim();
    let own = if own.is_empty() { "unconfined" } else { own };
    match apparmor::load(&super::apparmor::profile(name, own)) {
        Ok(()) => true,
        Err(error) => {
            tracing::warn!("containers are not confined by AppArmor: {error}");
            false
        }
    }
}

/// The kernel's version, its first two numbers.
fn kernel() -> (u32, u32) {
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|n| n.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

/// Files that tell of heat per CPU.
fn throttles() -> Vec<String> {
    let cpus = std::fs::read_dir("/sys/devices/system/cpu").into_iter().flatten().flatten();
    let is_cpu = |name: &str| {
        name.strip_prefix("cpu").is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
    };
    let mut paths: Vec<String> = cpus
        .filter(|entry| is_cpu(&entry.file_name().to_string_lossy()))
        .map(|entry| entry.path().join("thermal_throttle"))
        .filter(|path| path.exists())
        .map(|path| path.to_string_lossy().into_owned())
        .collect();
    paths.sort();
    paths
}
