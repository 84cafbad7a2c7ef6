//! Builds: what the solver of `minke-build` needs of a machine, and what becomes of what was built.
//!
//! On disk below `build` of the data root, each found again by a scan: `records` (cache.rs), `contexts` (contexts.rs),
//! `mounts` (mounts.rs), `past` (past.rs), `scratch` (emptied at start). Layers are the image room's; records hold them.
//! Start at [`Builds::solve`], then `machine.rs`.

mod cache;
mod content;
mod contexts;
mod copy;
mod directory;
mod export;
mod fetch;
mod layout;
mod machine;
mod mounts;
mod past;
mod read;
mod run;
mod upload;
mod usage;
mod view;

pub use directory::Directory;
pub use minke_build::{
    BuildError, BuildRequest, Built, Client, Dockerfile, DockerfileError, Lines, PlanOptions, Progress,
    checks, detect, dockerfile, error, git, host, host as seam, ignore, plan, request,
};
pub use past::PastBuilds;
pub use upload::Upload;

pub(crate) use cache::{Record, read as read_records};

use crate::{Containers, Events, Images, Networks, config::EngineConfig};
use minke_build::{Flights, Result};
use minke_image::Images as Store;
use minke_model::{Kind, image::Platform};
use minke_runtime::Runtime;
use std::{path::PathBuf, sync::Arc};

/// The builds of this machine.
#[derive(Clone)]
pub struct Builds {
    inner: Arc<Inner>,
}

/// What builds share.
pub(crate) struct Inner {
    config: Arc<EngineConfig>,
    store: Store,
    images: Images,
    containers: Containers,
    networks: Networks,
    runtime: Runtime,
    events: Events,
    cache: cache::Cache,
    contexts: contexts::Contexts,
    mounts: mounts::CacheMounts,
    past: PastBuilds,
    flights: Arc<Flights>,
    /// For what steps write that is not kept.
    scratch: PathBuf,
    /// A directory with nothing in it.
    empty: PathBuf,
    /// In the exec root: secrets, sockets.
    exec_root: PathBuf,
}

/// Takes away, after a build that ended or was dropped, the layers that are nobody's: of steps that failed, of records
/// that others replaced; and, where the disk is nearly full, what was needed longest ago.
struct Sweep(Arc<Inner>);

impl Drop for Sweep {
    fn drop(&mut self) {
        let inner = self.0.clone();
        let sweep = move || {
            usage::make_room(&inner);
            if let Err(error) = inner.store.collect() {
                tracing::warn!(%error, "cannot remove what a build left");
            }
        };
        // Dropped outside of a runtime only at the daemon's end: the next start sweeps.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            drop(runtime.spawn_blocking(sweep));
        }
    }
}

/// Work that waits for the disk, off the threads that serve sockets.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(e) => Err(BuildError::other(Kind::Internal, format!("a blocking task failed: {e}"))),
    }
}

/// Where the records of the build cache lie.
pub(crate) fn records_root(config: &EngineConfig) -> PathBuf {
    config.data_root.join("build/records")
}

impl Builds {
    pub(crate) fn open(
        config: Arc<EngineConfig>,
        records: Vec<Record>,
        store: Store,
        images: Images,
        containers: Containers,
        networks: Networks,
        runtime: Runtime,
        events: Events,
    ) -> Result<Self> {
        let root = config.data_root.join("build");
        let make = |path: PathBuf, anew: bool| {
            if anew {
                drop(crate::volume::remove_tree(&path));
            }
            std::fs::create_dir_all(&path)
                .map(|()| path.clone())
                .map_err(BuildError::io(format!("make {}", path.display())))
        };
        make(root.clone(), false)?;
        let restrict = rustix::fs::chmod(&root, rustix::fs::Mode::RWXU);
        restrict.map_err(|e| BuildError::io(format!("make {}", root.display()))(e.into()))?;
        let inner = Inner {
            cache: cache::Cache::open(records_root(&config), records, &store)?,
            contexts: contexts::Contexts::open(root.join("contexts"))?,
            mounts: mounts::CacheMounts::open(root.join("mounts"))?,
            past: PastBuilds::open(root.join("past"))?,
            flights: Arc::default(),
            scratch: make(root.join("scratch"), true)?,
            empty: make(root.join("empty"), false)?,
            exec_root: make(config.exec_root.join("build"), true)?,
            config,
            store,
            images,
            containers,
            networks,
            runtime,
            events,
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Runs a build. Dropping the future cancels it and leaves nothing.
    pub async fn solve(
        &self,
        request: BuildRequest,
        client: Arc<dyn Client>,
        progress: Arc<dyn Progress>,
    ) -> Result<Arc<Built>> {
        let host = Arc::new(machine::Machine(self.inner.clone()));
        let flights = self.inner.flights.clone();
        let _sweep = Sweep(self.inner.clone());
        minke_build::solve(request, host, client, progress, flights).await
    }

    /// What is kept of builds that ended.
    pub fn past(&self) -> &PastBuilds {
        &self.inner.past
    }

    /// What can be built for: this machine's platform first, then those that binfmt_misc runs.
    pub fn platforms(&self) -> Vec<Platform> {
        machine::platforms()
    }
}
