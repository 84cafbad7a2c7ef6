//! `RUN`: a container without a record, in the build's own cgroup; what it wrote becomes a layer.
//!
//! Its process is one of the engine's own, with a shim like any other, which kills it when the daemon's connection ends.
//! A dropped future ends it at once: what is left is taken away by a task of its own.
//!
//! Never: keeps a secret outside of the exec root, or shows one.

use super::{
    Inner, copy,
    mounts::{self, Prepared},
    view::{View, chain_of, root_of},
};
use minke_build::{
    BuildError, Result,
    dockerfile::instruction::RunNetwork,
    host::{At, Root, RunWork},
    report::Reporter,
};
use minke_image::Work;
use minke_model::{
    Container, ContainerId, ContainerSpec, Kind, Timestamp,
    container::{ContainerStatus, NetworkMode},
    network::{Endpoint, EndpointSpec},
    resources::Ulimit,
};
use minke_runtime::{AttachStreams, CreateRequest, Joined, LogTarget, NetJoin, Process, RuntimeError, Stage};
use std::sync::Arc;
use tokio::{io::AsyncReadExt, sync::oneshot};

/// The host name of a step's process, as BuildKit's.
const HOSTNAME: &str = "buildkitsandbox";
/// Where its output is cut, in bytes (BuildKit's `BUILDKIT_STEP_LOG_MAX_SIZE`).
const MAX_LOG: usize = 2 << 20;
/// The share of processors' time that all builds together have where containers want it too; a container's is 1024.
const CPU_SHARES: u64 = 512;
/// Largest piece of output that is taken at once.
const PIECE: usize = 64 << 10;

/// Runs a process; what it leaves.
pub(super) async fn run(inner: &Arc<Inner>, wish: RunWork, at: &At) -> Result<Root> {
    let command = wish.op.args.join(" ");
    let wrong_start = |message: String| {
        BuildError::invalid(format!("process {command:?} did not complete successfully: {message}"))
    };
    let prepared = mounts::prepare(inner, &wish, at).await?;
    let (store, base) = (inner.store.clone(), wish.base.clone());
    let work = super::blocking(move || {
        let base = match &base {
            Root::Layers { chain, keep } => chain_of(&store, chain, keep)?,
            Root::Directory { .. } => Default::default(),
        };
        Ok(store.work(&base)?)
    })
    .await?;
    let record = record(inner, &wish, &prepared)?;
    let step = Step {
        inner: inner.clone(),
        record: Arc::new(record),
        work,
        prepared,
        process: None,
        missing: Vec::new(),
    };
    // A task of its own: a build that is dropped drops the sender, and the task ends the process and tidies up.
    let (_alive, dropped) = oneshot::channel::<()>();
    let running = tokio::spawn(step.whole(at.reporter.clone(), dropped));
    let (exit, work, prepared, missing) =
        running.await.map_err(|e| BuildError::other(Kind::Internal, format!("a step's task failed: {e}")))?;
    let exit = match exit {
        Ok(exit) => exit,
        Err(Stopped::Cancelled) => return Err(BuildError::Cancelled),
        Err(Stopped::Start(RuntimeError::Start(e))) if e.stage == Stage::User => {
            return Err(wrong_start(e.detail));
        }
        Err(Stopped::Start(RuntimeError::Start(e))) => {
            // runc's sentence and its exit code.
            let says = format!(
                "runc run failed: unable to start container process: error during container init: {e}\n"
            );
            at.reporter.log(2, says);
            return Err(BuildError::Exit { command, code: Some(1) });
        }
        Err(Stopped::Start(e)) => return Err(wrong_start(e.to_string())),
    };
    if exit.code != 0 {
        let code = if exit.oom && exit.code == 137 { None } else { Some(exit.code) };
        return Err(BuildError::Exit { command, code });
    }
    let epoch = wish.epoch;
    super::blocking(move || {
        drop(prepared);
        remove_stubs(&work, &missing)?;
        Ok(root_of(work.finish(epoch)?))
    })
    .await
}

/// Why a process did not come to its end.
enum Stopped {
    /// Nobody waits for it any more.
    Cancelled,
    /// It could not be started, or followed.
    Start(RuntimeError),
}

/// The record that nobody keeps.
fn record(inner: &Inner, wish: &RunWork, prepared: &Prepared) -> Result<Container> {
    let (op, options) = (&wish.op, &wish.options);
    let mut spec = ContainerSpec::of("");
    spec.hostname = options.hostname.clone().filter(|h| !h.is_empty()).unwrap_or_else(|| HOSTNAME.into());
    spec.process.user.clone_from(&op.user);
    spec.process.working_dir.clone_from(&op.cwd);
    spec.process.env = op.env.clone();
    spec.process.env.extend(op.proxy.iter().map(|(name, value)| format!("{name}={value}")));
    spec.process.env.extend(prepared.env.iter().cloned());
    spec.security.privileged = op.insecure;
    spec.shm_size = options.shm_size.map_or(64 << 20, |size| i64::try_from(size).unwrap_or(i64::MAX));
    let resources = &mut spec.resources;
    resources.cgroup_parent = match options.cgroup_parent.as_deref().filter(|p| !p.is_empty()) {
        Some(asked) => asked.to_owned(),
        None => inner
            .runtime
            .group("build", CPU_SHARES)
            .map_err(|e| BuildError::other(e.kind(), e.to_string()))?,
    };
    let limits = options.ulimits.iter();
    resources.ulimits = Some(
        limits.map(|(name, soft, hard)| Ulimit { name: name.clone(), soft: *soft, hard: *hard }).collect(),
    );
    resources.memory = options.memory.unwrap_or_default();
    resources.memory_swap = options.memory_swap.unwrap_or_default();
    resources.cpu_shares = options.cpu_shares.unwrap_or_default();
    resources.cpu_period = options.cpu_period.unwrap_or_default();
    resources.cpu_quota = options.cpu_quota.unwrap_or_default();
    resources.cpuset_cpus.clone_from(&options.cpuset_cpus);
    resources.cpuset_mems.clone_from(&options.cpuset_mems);
    spec.networking.mode = match (op.network, options.network.as_deref()) {
        (RunNetwork::None, _) => NetworkMode::None,
        (RunNetwork::Host, _) => NetworkMode::Host,
        (RunNetwork::Default, Some(name)) => NetworkMode::parse(name),
        (RunNetwork::Default, None) if inner.config.bridge == "none" => NetworkMode::None,
        (RunNetwork::Default, None) => NetworkMode::Default,
    };
    let hosts = options.add_hosts.iter().map(|(name, address)| format!("{name}:{address}"));
    spec.networking.extra_hosts = Some(hosts.collect());
    let mut status = ContainerStatus::created();
    let network = match &spec.networking.mode {
        NetworkMode::Default | NetworkMode::Bridge => Some("bridge".to_owned()),
        NetworkMode::User(name) => Some(name.clone()),
        NetworkMode::Host | NetworkMode::None | NetworkMode::Container(_) => None,
    };
    if let Some(network) = network {
        spec.networking.endpoints.insert(network.clone(), EndpointSpec::default());
        status.endpoints.insert(network, Endpoint::default());
    }
    Ok(Container {
        id: ContainerId::random(),
        // No name: nobody is told of it.
        name: String::new(),
        created: Timestamp::now(),
        image_id: None,
        args: op.args.clone(),
        spec,
        mounts: Vec::new(),
        status,
    })
}

/// A process of a build, from its start until nothing of it is left.
struct Step {
    inner: Arc<Inner>,
    record: Arc<Container>,
    /// What it runs on.
    work: Work,
    prepared: Prepared,
    process: Option<Process>,
    /// Mount points that were not there before.
    missing: Vec<String>,
}

impl Step {
    /// Starts it, follows it to its end or until `dropped`, and takes everything away but what it wrote.
    async fn whole(
        mut self,
        reporter: Reporter,
        dropped: oneshot::Receiver<()>,
    ) -> (std::result::Result<minke_runtime::Exit, Stopped>, Work, Prepared, Vec<String>) {
        let exit = match self.start().await {
            Ok(()) => tokio::select! {
                exit = self.follow(&reporter) => exit.map_err(Stopped::Start),
                _ = dropped => Err(Stopped::Cancelled),
            },
            Err(e) => Err(Stopped::Start(e)),
        };
        take_away(&self.inner, &self.record).await;
        (exit, self.work, self.prepared, self.missing)
    }

    /// Where something is mounted.
    fn targets(&self) -> Vec<String> {
        self.prepared.mounts.iter().map(|m| m.target.clone()).collect()
    }

    /// The mount points that are not there yet, with directories on the way: what a start makes of them is no change.
    ///
    /// Where the kernel's own are missing they are made, and stay, as in BuildKit.
    async fn missing(&self) -> Result<Vec<String>> {
        let targets = self.targets();
        let (store, base, upper) = (self.inner.store.clone(), self.work.base().clone(), self.work.upper()?);
        super::blocking(move || {
            let view = View::open(&store, &root_of(base))?;
            for point in ["dev", "proc", "sys"] {
                if !view.has(point) {
                    copy::make_point(&upper, point)?;
                }
            }
            let mut missing = Vec::new();
            for target in targets {
                let parts: Vec<&str> = target.split('/').filter(|p| !p.is_empty()).collect();
                for count in 1..=parts.len() {
                    let path = parts[..count].join("/");
                    if !view.has(&path) && !missing.contains(&path) {
                        missing.push(path);
                    }
                }
            }
            Ok(missing)
        })
        .await
    }

    /// Both phases, with its network in between.
    async fn start(&mut self) -> std::result::Result<(), RuntimeError> {
        let inner = self.inner.clone();
        let invalid = |e: crate::Error| RuntimeError::Invalid(e.to_string());
        let containers = &inner.containers;
        self.missing = self.missing().await.map_err(|e| RuntimeError::Invalid(e.to_string()))?;
        let mut record = (*self.record).clone();
        let names: Vec<String> = record.status.endpoints.keys().cloned().collect();
        for name in names {
            let endpoint = inner
                .networks
                .reserve(&record, &name, &EndpointSpec::default(), Vec::new())
                .map_err(invalid)?;
            let endpoint = Endpoint { interface: "eth0".into(), ..endpoint };
            record.status.endpoints.insert(name, endpoint);
        }
        self.record = Arc::new(record);
        let record = self.record.clone();
        let resolver = containers.write_files(&record).map_err(invalid)?;
        let mut files = containers.files(&record).map_err(invalid)?;
        // What a step writes there is the image's.
        files.hostname.clear();
        containers.write_build_hosts(&record).map_err(invalid)?;
        let rootfs = self.work.rootfs().map_err(|e| RuntimeError::Invalid(e.to_string()))?;
        let request = CreateRequest {
            container: record.clone(),
            rootfs: minke_runtime::Rootfs {
                lower: rootfs.lower,
                upper: rootfs.upper,
                work: rootfs.work,
                volatile: true,
            },
            files: Some(files),
            mounts: self.prepared.mounts.clone(),
            join: Joined {
                net: if record.spec.networking.mode == NetworkMode::Host {
                    NetJoin::Host
                } else {
                    NetJoin::New
                },
                ..Joined::default()
            },
            log: LogTarget { driver: "none".into(), ..LogTarget::default() },
            shm: None,
            extra_env: Vec::new(),
            stdin: false,
            init: false,
        };
        let process = inner.runtime.create(request).await?;
        self.process = Some(process.clone());
        if record.spec.networking.mode != NetworkMode::Host {
            let gateway = containers.gateway_network(&record);
            let endpoints =
                inner.networks.attach(&record, process.netns()?, gateway.as_deref(), resolver).await;
            let endpoints = endpoints.map_err(invalid)?;
            let mut record = (*record).clone();
            record.status.endpoints = endpoints;
            self.record = Arc::new(record);
        }
        Ok(())
    }

    /// Lets it run, shows its output, waits for its end.
    async fn follow(&self, reporter: &Reporter) -> std::result::Result<minke_runtime::Exit, RuntimeError> {
        let gone = || RuntimeError::NotRunning { id: self.record.id.clone() };
        let process = self.process.clone().ok_or_else(gone)?;
        let streams = AttachStreams { stdout: true, stderr: true, stdin: false };
        let mut stream = process.attach(streams).await?;
        process.go_bound().await?;
        let mut said = 0;
        loop {
            let mut header = [0; 8];
            if stream.read_exact(&mut header).await.is_err() {
                break;
            }
            let [number, _, _, _, length @ ..] = header;
            let mut left = u32::from_be_bytes(length) as usize;
            while left > 0 {
                let mut piece = vec![0; left.min(PIECE)];
                if stream.read_exact(&mut piece).await.is_err() {
                    break;
                }
                left -= piece.len();
                let had = said;
                said += piece.len();
                if had >= MAX_LOG {
                    continue;
                }
                piece.truncate(MAX_LOG - had);
                reporter.log(u32::from(number).clamp(1, 2), piece);
                if said >= MAX_LOG {
                    reporter.log(2, "[output clipped, log limit 2MiB reached]\n");
                }
            }
        }
        Ok(process.wait().await)
    }
}

/// Kills what still runs, and takes back network, names and the shim's files.
async fn take_away(inner: &Inner, record: &Container) {
    inner.networks.detach_all(record).await;
    if let Err(e) = inner.runtime.forget(&record.id).await {
        tracing::warn!("cannot clean up after a build's process {}: {e}", record.id);
    }
    let directory = inner.containers.directory(&record.id);
    if let Err(e) = crate::volume::remove_tree(&directory) {
        tracing::warn!("cannot remove {}: {e}", directory.display());
    }
}

/// Removes mount points that a start made and that nobody put anything into, the deepest first.
fn remove_stubs(work: &Work, missing: &[String]) -> Result<()> {
    if missing.is_empty() {
        return Ok(());
    }
    let upper = work.upper()?;
    for path in missing.iter().rev() {
        copy::remove_stub(&upper, path);
    }
    Ok(())
}
