//! Processes of containers: from a container's record to a running process, and back after a daemon's restart.
//!
//! `Runtime` makes, finds and forgets; `Process` is one container's process. Never: records, images, networks.

mod bundle;
pub mod cdi;
pub mod error;
pub mod external;
pub mod health;
pub mod logs;
pub mod process;
mod propagation;
pub mod request;
pub mod restart;
mod shim;
pub mod spec;
pub mod stats;

pub use error::{RuntimeError, StartError};
pub use minke_linux::cgroup::Stats;
pub use minke_shim::{protocol::Stage, user::ids as user_ids};
pub use process::{Exec, Found, Process};
pub use request::{
    AttachStreams, CgroupInfo, CreateRequest, ExecRequest, ExecState, Exit, ExternalRuntime, Joined,
    LogTarget, MountSource, NetJoin, NetworkFiles, ResolvedMount, Rootfs, RuntimeConfig,
};

use minke_linux::cgroup::Cgroup;
use minke_model::{Container, ContainerId, Timestamp};
use minke_shim::protocol::{Op, Phase, Request};
use rustix::fs::{FlockOperation, Mode, OFlags};
use shim::{Files, Identity, Link, Program};
use std::{
    collections::HashMap,
    os::{fd::OwnedFd, unix::fs::DirBuilderExt, unix::net::UnixStream},
    sync::{Arc, Mutex, PoisonError},
};

/// All containers' processes of one daemon. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Runtime {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    config: RuntimeConfig,
    machine: Arc<Machine>,
    program: Program,
    /// Connections to shims, for `forget`.
    links: Mutex<HashMap<ContainerId, Arc<Link>>>,
    /// Locked, so that no other daemon uses this exec-root.
    _lock: OwnedFd,
}

/// How long a killed process may take to end: longer only when it hangs in the kernel.
pub(crate) const GONE: std::time::Duration = std::time::Duration::from_secs(10);

/// What processes need to know of the machine.
#[derive(Debug)]
pub(crate) struct Machine {
    host: spec::Host,
    /// For containers of other runtimes.
    config: RuntimeConfig,
}

/// A shim that was started: its connection, and itself.
struct Spawned {
    stream: UnixStream,
    identity: Identity,
    shim: OwnedFd,
    cgroup: Cgroup,
}

impl Runtime {
    /// Opens exec-root: locks it, lays out the shim's program.
    ///
    /// # Errors
    /// When another daemon uses exec-root, or the machine lacks what containers need.
    pub fn open(config: RuntimeConfig) -> Result<Runtime, RuntimeError> {
        let root = &config.exec_root;
        let named = |what: &str| RuntimeError::io(format!("{what} {}", root.display()));
        std::fs::DirBuilder::new().recursive(true).mode(0o711).create(root).map_err(named("make"))?;
        let lock = rustix::fs::open(
            root.join("lock"),
            OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC,
            Mode::from_raw_mode(0o600),
        )
        .map_err(|e| named("lock")(e.into()))?;
        match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => return Err(RuntimeError::InUse { path: root.clone() }),
            Err(e) => return Err(named("lock")(e.into())),
        }
        let machine = Arc::new(Machine { host: spec::Host::find(&config)?, config: config.clone() });
        let program = Program::find(&config.shim, config.shim_bytes)?;
        Ok(Runtime {
            inner: Arc::new(Inner { config, machine, program, links: Mutex::default(), _lock: lock }),
        })
    }

    /// As opened.
    pub fn config(&self) -> &RuntimeConfig {
        &self.inner.config
    }

    /// Version of the cgroups that limit containers here: 1 or 2.
    pub fn cgroup_version(&self) -> u8 {
        self.inner.machine.host.cgroups.version()
    }

    /// Which cgroups this machine has, and what they can.
    pub fn cgroups(&self) -> CgroupInfo {
        let cgroups = &self.inner.machine.host.cgroups;
        let features = cgroups.features().clone();
        CgroupInfo {
            version: cgroups.version(),
            hybrid: cgroups.mounts().is_hybrid(),
            driver: "cgroupfs",
            swap: features.swap_limit,
            features,
        }
    }

    /// The AppArmor profile that a container gets; empty where the kernel has none.
    pub fn apparmor_profile(&self, container: &Container) -> String {
        spec::apparmor(&container.spec.security, &self.inner.machine.host)
    }

    /// Phase one of a start: cgroups made, shim spawned, child cloned into its namespaces; it waits for `go`.
    ///
    /// # Errors
    /// When the request can never work, or the kernel refuses. Nothing is left then.
    pub async fn create(&self, request: CreateRequest) -> Result<Process, RuntimeError> {
        let container = Arc::clone(&request.container);
        let files = Files::of(&self.inner.config.exec_root, &container.id);
        let spawned = {
            let (runtime, files) = (self.clone(), files.clone());
            blocking(move || runtime.spawn(&request, &files)).await?
        };
        let made = self.meet(&container, spawned, &files).await;
        if made.is_err() {
            self.forget(&container.id).await?;
        }
        made
    }

    /// The part of `create` that takes its time in the kernel.
    fn spawn(&self, request: &CreateRequest, files: &Files) -> Result<Spawned, RuntimeError> {
        let Inner { machine, program, .. } = &*self.inner;
        propagation::check(&request.mounts)?;
        let mut plan = spec::plan(request, &machine.host, &spec::HostDevices)?;
        let bundle = external::prepare(&mut plan, request, &machine.host, &self.inner.config, files.path())?;
        let cgroups = &machine.host.cgroups;
        let failed = |cause| RuntimeError::Cgroup { what: format!("make the cgroup {}", plan.cgroup), cause };
        let spawn = || {
            let cgroup = cgroups.create(&plan.cgroup).map_err(failed)?;
            cgroup.apply(&plan.limits).map_err(failed)?;
            if plan.start.log.driver != minke_shim::plan::LogDriver::None
                && let Some(log_dir) = request.log.path.parent()
            {
                std::fs::DirBuilder::new()
                    .recursive(true)
                    .mode(0o710)
                    .create(log_dir)
                    .map_err(RuntimeError::io("make a log's directory"))?;
            }
            let record =
                serde_json::to_vec(&*request.container).map_err(|e| RuntimeError::Invalid(e.to_string()))?;
            let (identity, listener) = files.make(&plan.cgroup, &plan.start.encode(), &record)?;
            bundle.map_or(Ok(()), |bundle| bundle.write())?;
            let stream = files
                .connect()
                .map_err(RuntimeError::io(format!("connect to {}", files.path().display())))?;
            let shim = program.spawn(files.path(), listener).map_err(RuntimeError::io("start a shim"))?;
            Ok(Spawned { stream, identity, shim, cgroup })
        };
        spawn().inspect_err(|_| {
            // The first error is the one to tell.
            let _ = files.remove();
            let _ = cgroups.remove(&plan.cgroup);
        })
    }

    async fn meet(
        &self,
        container: &Arc<Container>,
        spawned: Spawned,
        files: &Files,
    ) -> Result<Process, RuntimeError> {
        let Spawned { stream, identity, shim, cgroup } = spawned;
        let (link, state) =
            Link::open(container.id.clone(), stream, identity.token, files.clone(), Some(shim)).await?;
        self.links().insert(container.id.clone(), Arc::clone(&link));
        if state.reply.phase == Phase::Failed {
            return Err(StartError {
                stage: state.reply.stage,
                errno: state.reply.errno,
                detail: state.detail,
            }
            .into());
        }
        let gone = RuntimeError::ShimGone { id: container.id.clone() };
        Process::from_state(Arc::clone(container), state, link, Arc::clone(&self.inner.machine), cgroup)
            .ok_or(gone)
    }

    fn links(&self) -> std::sync::MutexGuard<'_, HashMap<ContainerId, Arc<Link>>> {
        self.inner.links.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Finds the process of a container again after a daemon's restart; `None` when exec-root holds nothing of it, or it
    /// never ran.
    ///
    /// # Errors
    /// When what is there cannot be understood.
    pub async fn reconnect(&self, id: &ContainerId) -> Result<Option<Found>, RuntimeError> {
        let files = Files::of(&self.inner.config.exec_root, id);
        let Some(identity) = files.identity() else { return Ok(None) };
        let cgroup = self.inner.machine.host.cgroups.at(&identity.cgroup);
        let opened = match files.connect() {
            Ok(stream) => Link::open(id.clone(), stream, identity.token, files.clone(), None).await.ok(),
            Err(_) => None,
        };
        let Some((link, state)) = opened else {
            // Nobody is there any more: what it wrote, or else its container dies with it.
            let exit = files.exit();
            if exit.is_none() {
                let (killed, pidfds) = blocking(move || {
                    let pidfds: Vec<OwnedFd> = cgroup
                        .pids()
                        .into_iter()
                        .filter_map(|pid| minke_linux::pidfd::open(pid).ok())
                        .collect();
                    Ok((cgroup.kill().is_ok(), pidfds))
                })
                .await?;
                tracing::warn!(
                    "the shim of container {id} died; its {} processes were killed ({killed})",
                    pidfds.len()
                );
                let ends = async {
                    for pidfd in pidfds {
                        shim::end_of(pidfd).await;
                    }
                };
                // Longer only when one hangs in the kernel.
                let _ = tokio::time::timeout(GONE, ends).await;
            }
            return Ok(Some(Found::Exited(exit.unwrap_or(Exit {
                code: 137,
                at: Timestamp::now(),
                oom: false,
            }))));
        };
        self.links().insert(id.clone(), Arc::clone(&link));
        if let Some(exit) = link.ended() {
            return Ok(Some(Found::Exited(exit)));
        }
        if state.reply.phase != Phase::Running {
            return Ok(None);
        }
        let container = files
            .container()
            .ok_or_else(|| RuntimeError::Protocol { id: id.clone(), what: "its record is damaged".into() })?;
        let machine = Arc::clone(&self.inner.machine);
        Ok(Process::from_state(Arc::new(container), state, link, machine, cgroup).map(Found::Running))
    }

    /// A cgroup beside those of containers, for processes of another sort: made where it is not there, and with this share
    /// of the processors' time (a container's is 1024). Returns what [`minke_model::resources::Resources::cgroup_parent`]
    /// takes.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn group(&self, name: &str, cpu_shares: u64) -> Result<String, RuntimeError> {
        let host = &self.inner.machine.host;
        let path = format!("{}/{name}", host.cgroup_parent.trim_end_matches('/'));
        let failed = |cause| RuntimeError::Cgroup { what: format!("make the cgroup {path}"), cause };
        let cgroup = host.cgroups.create(&path).map_err(failed)?;
        let limits = minke_linux::cgroup::Limits { cpu_shares: Some(cpu_shares), ..Default::default() };
        cgroup.apply(&limits).map_err(failed)?;
        Ok(path)
    }

    /// The daemon's end on a machine where nothing of it runs: the cgroup above its containers goes. While something is
    /// in there it stays.
    pub fn close(&self) {
        let Machine { host, .. } = &*self.inner.machine;
        host.cgroups.remove_if_empty(&format!("{}/build", host.cgroup_parent.trim_end_matches('/')));
        host.cgroups.remove_if_empty(&host.cgroup_parent);
    }

    /// Every container that exec-root holds something of.
    pub fn containers(&self) -> Vec<ContainerId> {
        Files::all(&self.inner.config.exec_root)
    }

    /// The exit was recorded (or a start failed): the shim ends, its files and cgroups go. A process that still runs is
    /// killed.
    ///
    /// # Errors
    /// When the kernel keeps something for a reason other than that it is still in use.
    pub async fn forget(&self, id: &ContainerId) -> Result<(), RuntimeError> {
        let files = Files::of(&self.inner.config.exec_root, id);
        let identity = files.identity();
        let mut link = self.links().remove(id);
        if let (None, Some(identity)) = (&link, &identity) {
            // A shim that nobody asked for yet.
            if let Ok(stream) = files.connect() {
                link = Link::open(id.clone(), stream, identity.token, files.clone(), None)
                    .await
                    .ok()
                    .map(|(link, _)| link);
            }
        }
        if let Some(link) = link {
            if link.ended().is_none() {
                // A shim that is gone has no process either.
                let _ = link.ask(Request::new(Op::Kill, 0), &[], None).await;
            }
            let _ = link.ask(Request::new(Op::Forget, 0), &[], None).await;
            // A killed process is gone soon; its cgroups cannot go before.
            if tokio::time::timeout(GONE, link.exit()).await.is_err() {
                tracing::warn!("the process of container {id} does not end");
            }
        }
        let cgroups = self.inner.machine.host.cgroups.clone();
        blocking(move || {
            if let Some(identity) = identity {
                cgroups.remove(&identity.cgroup).map_err(|cause| RuntimeError::Cgroup {
                    what: format!("remove the cgroup {}", identity.cgroup),
                    cause,
                })?;
            }
            files.remove().map_err(RuntimeError::io(format!("remove {}", files.path().display())))
        })
        .await
    }
}

/// Work that waits for the kernel, off the threads that serve sockets.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, RuntimeError> + Send + 'static,
) -> Result<T, RuntimeError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(e) => Err(RuntimeError::Io { what: "run a task".into(), cause: std::io::Error::other(e) }),
    }
}
