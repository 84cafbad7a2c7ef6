//! One machine: containers, images, networks and volumes, side by side. No struct owns all verbs.
//!
//! Verbs are calls: under a lock per container they check, plan, apply, and return the error that Docker's client
//! expects. Loops only repair: recovery, exits, health, restarts. Never: a cluster, HTTP, Docker's JSON.
//! Start at `container/start.rs`.

pub mod body;
pub mod build;
pub mod config;
pub mod container;
pub mod error;
pub mod events;
pub mod filter;
pub mod image;
pub mod machine;
mod names;
pub mod network;
mod records;
mod recover;
mod root;
mod signal;
pub mod space;
pub mod volume;

pub use build::Builds;
pub use config::EngineConfig;
pub use container::Containers;
pub use error::Error;
pub use events::Events;
pub use filter::Filters;
pub use image::Images;
pub use machine::Machine;
pub use network::Networks;
pub use space::Space;
pub use volume::Volumes;

// The types of rooms below that `api` names.
pub use minke_image::{
    Change, ChangeKind, History, Image, ImageConfig, ImageError, Loaded, Progress, ProgressEvent, Reference,
    platform, pull::Pulled, push::Pushed, reference, registry,
};
pub use minke_linux::socket::unread_by_peer;
pub use minke_network::{Faults as NetworkFaults, NetworkError, PublishPolicy};
pub use minke_runtime::{CgroupInfo, ExternalRuntime, RuntimeError, Stats, logs};

use error::Result;
use records::Records;
use std::{os::fd::OwnedFd, sync::Arc};

/// One machine's engine: rooms, no verbs.
#[derive(Clone)]
pub struct Engine {
    /// Builds.
    pub builds: Builds,
    /// Containers.
    pub containers: Containers,
    /// Images.
    pub images: Images,
    /// Networks.
    pub networks: Networks,
    /// Volumes.
    pub volumes: Volumes,
    /// What happened.
    pub events: Events,
    /// The machine itself.
    pub machine: Machine,
    /// Room on its disk.
    pub space: Space,
    /// Keeps other daemons out of the data root.
    _lock: Arc<OwnedFd>,
}

impl Engine {
    /// Opens the data root, brings networks up, finds what still runs.
    pub async fn open(config: EngineConfig) -> Result<Engine> {
        let config = Arc::new(config);
        let lock = Arc::new(root::lock(&config.data_root)?);
        let daemon_id = root::daemon_id(&config.data_root);
        let id = root::machine_id(&config.data_root)?;
        let events = Events::new();
        let records = Records::open(&config.data_root.join("store"))?;
        let (built, store, kept) = {
            let (root, records) = (config.data_root.join("image"), build::records_root(&config));
            let open = move || {
                // What the build cache names stays, although nothing in the image room does.
                let built = build::read_records(&records);
                let named = built.iter().flat_map(|record| record.chain.iter().cloned()).collect();
                minke_image::Images::open_keeping(&root, &named).map(|(store, kept)| (built, store, kept))
            };
            blocking(open).await??
        };
        let runtime = minke_runtime::Runtime::open(minke_runtime::RuntimeConfig {
            exec_root: config.exec_root.clone(),
            data_root: config.data_root.clone(),
            daemon_id: daemon_id.clone(),
            cgroup_parent: config.cgroup_parent.clone(),
            runtimes: config.runtimes.clone(),
            default_runtime: config.default_runtime.clone(),
            default_ulimits: config.default_ulimits.clone(),
            seccomp_profile: config.seccomp_profile.clone(),
            shim: config.shim.clone(),
            shim_bytes: config.shim_bytes,
        })?;
        let kernel = minke_network::Networks::open(minke_network::NetworkConfig {
            daemon_id,
            policy: config.publish_policy,
            pools: config.address_pools.clone(),
            binding: config.default_host_ip,
            ip_forward: config.ip_forward,
            firewall: config.firewall,
            direct_routing: config.direct_routing,
            faults: config.network_faults.clone(),
        })?;
        let dns = minke_network::dns::Server::new(Default::default(), config.resolv_conf());
        let networks = Networks::open(config.clone(), records.clone(), events.clone(), kernel, dns).await?;
        let volumes = Volumes::open(config.data_root.join("volumes"), records.clone(), events.clone())?;
        let containers = Containers::new(
            config.clone(),
            records,
            store.clone(),
            runtime.clone(),
            networks.clone(),
            volumes.clone(),
            events.clone(),
        );
        let images = Images::new(&config, store.clone(), containers.clone(), events.clone());
        let builds = Builds::open(
            config.clone(),
            built,
            store,
            images.clone(),
            containers.clone(),
            networks.clone(),
            runtime.clone(),
            events.clone(),
        )?;
        drop(kept);
        let space = Space::new(
            config.data_root.clone(),
            config.watermarks,
            containers.clone(),
            images.clone(),
            builds.clone(),
            events.clone(),
        );
        let machine = Machine::new(
            id,
            config,
            containers.clone(),
            images.clone(),
            volumes.clone(),
            events.clone(),
            runtime,
        );
        containers.recover().await?;
        space.watch();
        Ok(Engine { builds, containers, images, networks, volumes, events, machine, space, _lock: lock })
    }

    /// The daemon's end. Containers run on, or get `timeout` seconds to stop.
    pub async fn close(&self, stop_containers: bool, timeout: i64) {
        self.containers.close();
        if stop_containers {
            self.containers.stop_all(timeout).await;
        }
        // Nothing of ours stays on a machine where nothing of ours runs.
        let keep = self.containers.any_up();
        if let Err(e) = self.networks.close(keep).await {
            tracing::warn!("networks are left as they are: {e}");
        }
        if !keep {
            self.machine.close();
        }
    }

    /// Takes what may change while the daemon runs from a new configuration: labels, registries, debug.
    pub fn reload(&self, config: EngineConfig) {
        self.images.reload(config.registries.clone());
        self.machine.reload(&config);
        self.events.tell(
            minke_model::event::Noun::Daemon,
            "reload",
            self.machine.id(),
            self.machine.describe(),
        );
    }
}

/// Runs blocking work on a thread that may block.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|e| Error::Internal(format!("a blocking task failed: {e}")))
}
