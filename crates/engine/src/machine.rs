//! The machine as `info`, `version` and `df` tell of it.

use crate::{
    Containers, Error, Events, Images, Volumes,
    config::EngineConfig,
    container::{ListOptions, Summary},
    error::Result,
    filter::Filters,
    image::{ImageListOptions, ImageSummary},
    volume::VolumeInspection,
};
use minke_image::registry::RegistryConfig;
use minke_model::{ContainerSpec, ContainerState, Labels, Timestamp, resources::Resources};
use minke_runtime::{CgroupInfo, Runtime, cdi::Cdi};
use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Arc, RwLock},
};

/// Our own runtime's name, where Docker's is `runc`.
pub const OWN_RUNTIME: &str = "minke";
/// The name under which clients know the default.
const RUNC: &str = "runc";

/// The machine.
#[derive(Clone)]
pub struct Machine {
    inner: Arc<Inner>,
}

struct Inner {
    id: String,
    config: Arc<EngineConfig>,
    /// What SIGHUP may change: labels and debug.
    reloaded: RwLock<(Labels, bool)>,
    containers: Containers,
    images: Images,
    volumes: Volumes,
    events: Events,
    runtime: Runtime,
}

/// What `info` tells.
#[derive(Clone, Debug)]
pub struct Info {
    /// The daemon's own, kept over restarts.
    pub id: String,
    /// How the engine is set up.
    pub config: Arc<EngineConfig>,
    /// The daemon's labels.
    pub labels: Labels,
    /// Debug messages are on.
    pub debug: bool,
    /// How registries are spoken to.
    pub registries: RegistryConfig,
    /// In all, and by state.
    pub containers: usize,
    /// Of them.
    pub running: usize,
    /// Of them.
    pub paused: usize,
    /// Of them.
    pub stopped: usize,
    /// How many.
    pub images: usize,
    /// Which cgroups, and what they can.
    pub cgroups: CgroupInfo,
    /// `uname -r`.
    pub kernel: String,
    /// `Debian GNU/Linux 12 (bookworm)`.
    pub operating_system: String,
    /// `12`.
    pub os_version: String,
    /// `x86_64`.
    pub architecture: String,
    /// CPUs that this daemon may use.
    pub cpus: usize,
    /// Bytes.
    pub memory: u64,
    /// Host name.
    pub name: String,
    /// Now.
    pub time: Timestamp,
    /// Descriptors of this process.
    pub descriptors: usize,
    /// Threads of this process.
    pub threads: usize,
    /// Clients that follow events.
    pub followers: usize,
    /// Forwarding of IPv4 is on.
    pub ipv4_forwarding: bool,
    /// AppArmor is on.
    pub apparmor: bool,
    /// Devices that vendors describe, by name.
    pub devices: Vec<String>,
    /// The file system below the data root.
    pub backing_filesystem: String,
}

/// What `df` tells.
#[derive(Clone, Debug, Default)]
pub struct DiskUsage {
    /// Bytes of all layers.
    pub layers_size: u64,
    /// Images with what they share.
    pub images: Vec<ImageSummary>,
    /// Containers with sizes.
    pub containers: Vec<Summary>,
    /// Volumes with sizes and how many containers name each.
    pub volumes: Vec<(VolumeInspection, u64, usize)>,
}

impl Machine {
    pub(crate) fn new(
        id: String,
        config: Arc<EngineConfig>,
        containers: Containers,
        images: Images,
        volumes: Volumes,
        events: Events,
        runtime: Runtime,
    ) -> Self {
        let reloaded = RwLock::new((config.labels.clone(), config.debug));
        Self { inner: Arc::new(Inner { id, config, reloaded, containers, images, volumes, events, runtime }) }
    }

    /// The daemon's own identity.
    pub fn id(&self) -> &str {
        &self.inner.id
    }

    /// Whether clients are told to build by BuildKit's protocol.
    pub fn buildkit(&self) -> bool {
        self.inner.config.buildkit
    }

    /// Nothing of this daemon runs any more: nothing of it stays.
    pub(crate) fn close(&self) {
        self.inner.runtime.close();
    }

    pub(crate) fn reload(&self, config: &EngineConfig) {
        *self.inner.reloaded.write().unwrap_or_else(|e| e.into_inner()) =
            (config.labels.clone(), config.debug);
    }

    /// What an event of the daemon tells.
    pub(crate) fn describe(&self) -> BTreeMap<String, String> {
        let (labels, debug) = self.inner.reloaded.read().unwrap_or_else(|e| e.into_inner()).clone();
        let labels: Vec<String> = labels.iter().map(|(k, v)| format!("\"{k}={v}\"")).collect();
        let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
        [
            ("name", name),
            ("debug", debug.to_string()),
            ("labels", format!("[{}]", labels.join(","))),
            ("max-concurrent-downloads", self.inner.images.registries().options().max_downloads.to_string()),
            ("live-restore", self.inner.config.live_restore.to_string()),
            ("default-runtime", default_runtime(&self.inner.config).to_owned()),
            ("shutdown-timeout", self.inner.config.shutdown_timeout.to_string()),
        ]
        .map(|(k, v)| (k.to_owned(), v))
        .into()
    }

    /// Version of the cgroups that limit containers here: 1 or 2.
    pub fn cgroup_version(&self) -> u8 {
        self.inner.runtime.cgroup_version()
    }

    /// The machine now.
    pub fn info(&self) -> Info {
        let records = self.inner.containers.all();
        let count =
            |wanted: &[ContainerState]| records.iter().filter(|r| wanted.contains(&r.status.state)).count();
        let uname = rustix::system::uname();
        let release = os_release();
        let (labels, debug) = self.inner.reloaded.read().unwrap_or_else(|e| e.into_inner()).clone();
        let words = |key: &str| release.get(key).cloned().unwrap_or_default();
        Info {
            id: self.inner.id.clone(),
            config: self.inner.config.clone(),
            labels,
            debug,
            registries: self.inner.images.registries(),
            containers: records.len(),
            running: count(&[ContainerState::Running, ContainerState::Restarting]),
            paused: count(&[ContainerState::Paused]),
            stopped: count(&[
                ContainerState::Created,
                ContainerState::Exited,
                ContainerState::Dead,
                ContainerState::Removing,
            ]),
            images: self.inner.images.store().list().len(),
            cgroups: self.inner.runtime.cgroups(),
            kernel: uname.release().to_string_lossy().into_owned(),
            operating_system: words("PRETTY_NAME"),
            os_version: words("VERSION_ID"),
            architecture: uname.machine().to_string_lossy().into_owned(),
            cpus: cpus(),
            memory: memory(),
            name: uname.nodename().to_string_lossy().into_owned(),
            time: Timestamp::now(),
            descriptors: count_entries("/proc/self/fd"),
            // dockerd counts goroutines: watchers of leaks need what grows with each client.
            threads: tokio::runtime::Handle::current().metrics().num_alive_tasks(),
            followers: self.inner.events.followers(),
            ipv4_forwarding: std::fs::read_to_string("/proc/sys/net/ipv4/ip_forward")
                .is_ok_and(|v| v.trim() == "1"),
            devices: Cdi::new(self.inner.config.cdi.clone().unwrap_or_default()).devices(),
            apparmor: Path::new("/sys/kernel/security/apparmor").is_dir(),
            backing_filesystem: backing_filesystem(&self.inner.config.data_root),
        }
    }

    /// What takes space. Each part only when asked for.
    pub async fn disk_usage(&self, images: bool, containers: bool, volumes: bool) -> Result<DiskUsage> {
        let mut usage = DiskUsage::default();
        if images {
            usage.layers_size = self.inner.images.store().layers_size();
            let options = ImageListOptions { all: false, shared_size: true, containers: true };
            usage.images = self.inner.images.list(&Filters::default(), options)?;
        }
        if containers {
            let options = ListOptions { all: true, limit: 0, size: true };
            usage.containers = self.inner.containers.list(&Filters::default(), options).await?;
        }
        if volumes {
            for volume in self.inner.volumes.list(&Filters::default())? {
                let name = volume.volume.name.clone();
                let size = self.inner.volumes.size(&name).await;
                let users = self.inner.volumes.users(&name);
                usage.volumes.push((volume, size, users));
            }
        }
        Ok(usage)
    }
}

fn count_entries(path: &str) -> usize {
    std::fs::read_dir(path).map_or(0, Iterator::count)
}

/// The CPUs that this process may run on.
pub(crate) fn cpus() -> usize {
    std::thread::available_parallelism().map_or(1, Into::into)
}

/// Bytes of memory that the machine has.
pub(crate) fn memory() -> u64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|l| l.strip_prefix("MemTotal:"));
    line.and_then(|l| l.trim().trim_end_matches(" kB").trim().parse::<u64>().ok()).unwrap_or(0) * 1024
}

/// The kernel's name for this boot.
pub(crate) fn boot_id() -> String {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    text.trim().to_owned()
}

fn os_release() -> BTreeMap<String, String> {
    let text = std::fs::read_to_string("/etc/os-release")
        .or_else(|_| std::fs::read_to_string("/usr/lib/os-release"))
        .unwrap_or_default();
    let pairs = text.lines().filter_map(|l| l.split_once('='));
    pairs.map(|(k, v)| (k.to_owned(), v.trim_matches('"').to_owned())).collect()
}

/// The type of the file system that `path` lies on, by the longest mount point in /proc/self/mountinfo.
fn backing_filesystem(path: &Path) -> String {
    let text = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let mounts = text.lines().filter_map(|line| {
        let point = line.split(' ').nth(4)?;
        let kind = line.split(" - ").nth(1)?.split(' ').next()?;
        path.starts_with(point).then(|| (point.len(), kind.to_owned()))
    });
    mounts.max_by_key(|(length, _)| *length).map(|(_, kind)| kind).unwrap_or_default()
}

/// Whether a container may ask for the runtime `name`.
pub(crate) fn known_runtime(config: &EngineConfig, name: &str) -> bool {
    let own = [OWN_RUNTIME, "io.containerd.runc.v2"];
    name == RUNC || own.contains(&name) || config.runtimes.contains_key(name)
}

/// The runtime of containers that ask for none. Clients expect Docker's name for it.
pub(crate) fn default_runtime(config: &EngineConfig) -> &str {
    if config.default_runtime.is_empty() { RUNC } else { &config.default_runtime }
}

impl crate::container::Inner {
    /// Refuses log drivers and options that nothing here knows.
    pub(crate) fn config_check_log(&self, spec: &ContainerSpec) -> Result<()> {
        let log = &spec.log;
        let known: &[&str] = match log.driver.as_str() {
            "" | "json-file" => &[
                "max-size",
                "max-file",
                "compress",
                "labels",
                "labels-regex",
                "env",
                "env-regex",
                "tag",
                "mode",
                "max-buffer-size",
                "cache-disabled",
            ],
            "local" => &["max-size", "max-file", "compress", "mode", "max-buffer-size"],
            // Docker looks at no option of what is not written.
            "none" => return Ok(()),
            "syslog" | "journald" | "gelf" | "fluentd" | "awslogs" | "splunk" | "gcplogs" | "etwlogs" => {
                return Err(Error::Unsupported(format!(
                    "logger: the log driver {:?} is not supported yet: use json-file, local or none",
                    log.driver
                )));
            }
            other => {
                return Err(Error::Invalid(format!("logger: no log driver named '{other}' is registered")));
            }
        };
        let driver = if log.driver.is_empty() { "json-file" } else { &log.driver };
        match log.options.keys().find(|k| !known.contains(&k.as_str())) {
            Some(option) => {
                Err(Error::Invalid(format!("unknown log opt '{option}' for {driver} log driver")))
            }
            None => Ok(()),
        }
    }

    /// Discards what this kernel cannot do of what is asked; returns the warnings about it.
    pub(crate) fn judge_resources(&self, resources: &mut Resources) -> Result<Vec<String>> {
        minke_runtime::spec::judge(resources, &self.runtime.cgroups().features).map_err(Error::Invalid)
    }
}
