//! `start`: addresses, files, mounts, then the process in two phases with its network in between.

use super::{Cell, Containers, attributes, endpoints, lock, supervise};
use crate::{Error, error::Result};
use minke_model::{
    Container, ContainerState, Timestamp,
    container::{IpcSharing, NetworkMode, Sharing},
    health::{Health, HealthState},
    log::LogSpec,
    network::Endpoint,
    overlay::GATEWAY_BRIDGE,
};
use minke_runtime::{CreateRequest, Joined, LogTarget, NetJoin, Process, RuntimeError, Stage};
use minke_store::Durability;
use std::sync::{Arc, atomic::Ordering};

/// ENOTDIR.
const NOT_A_DIRECTORY: i32 = rustix::io::Errno::NOTDIR.raw_os_error();
/// The `PATH` of a container whose image and user set none.
const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

impl Containers {
    /// Starts a container that does not run.
    pub async fn start(&self, name: &str) -> Result<()> {
        let cell = self.find(name)?;
        self.start_cell(&cell).await
    }

    /// Starts it as a user's wish: counters begin again.
    pub(crate) async fn start_cell(&self, cell: &Arc<Cell>) -> Result<()> {
        let verb = cell.verb.lock().await;
        if self.inner.closing.load(Ordering::SeqCst) {
            return Err(Error::ShuttingDown);
        }
        match cell.state() {
            ContainerState::Running | ContainerState::Restarting => {
                return Err(Error::NotModified(format!("container {} is already running", cell.id)));
            }
            ContainerState::Paused => {
                return Err(Error::Conflict("cannot start a paused container, try unpause instead".into()));
            }
            ContainerState::Removing | ContainerState::Dead => {
                return Err(Error::Conflict("container is marked for removal and cannot be started".into()));
            }
            ContainerState::Created | ContainerState::Exited => {}
        }
        cell.no_restart.store(false, Ordering::SeqCst);
        cell.change(|c| {
            c.status.stopped_by_user = false;
            c.status.restart_count = 0;
        });
        let launched = self.launch(cell).await;
        drop(verb);
        if launched.is_err() && cell.record().spec.auto_remove {
            self.remove_cell(cell, &super::RemoveOptions { force: true, volumes: true, link: false }).await?;
        }
        launched
    }

    /// Starts its process. The caller holds the verb lock. A failure is recorded and undone.
    pub(crate) async fn launch(&self, cell: &Arc<Cell>) -> Result<()> {
        let launched = self.try_launch(cell).await;
        let Err(e) = launched else { return Ok(()) };
        let (exit, message) = match &e {
            Error::Start { exit, message } => (*exit, message.clone()),
            other => (128, other.to_string()),
        };
        cell.attachers.clear();
        cell.change(|c| {
            c.status.exit_code = exit;
            c.status.error = message;
            c.status.pid = 0;
        });
        cell.progress.send_modify(|p| {
            p.code = exit;
            p.exits += 1;
        });
        self.save(cell, Durability::Relaxed).await?;
        Err(e)
    }

    async fn try_launch(&self, cell: &Arc<Cell>) -> Result<()> {
        self.take_names(cell);
        let record = self.reserve(cell)?;
        match self.make_process(cell, &record).await {
            Ok(process) => match self.go(cell, &process).await {
                Ok(()) => Ok(()),
                Err(e) => {
                    // The process waits, or has failed before its program ran.
                    let _ = process.kill().await;
                    cell.set_process(None);
                    self.tear_down(cell).await;
                    Err(e)
                }
            },
            Err(e) => {
                self.tear_down(cell).await;
                Err(e)
            }
        }
    }

    /// Who shares another's network is called as it is, from its start on, as with dockerd
    /// (`daemon/container_operations.go`, `initializeNetworking`).
    fn take_names(&self, cell: &Cell) {
        let NetworkMode::Container(target) = &cell.record().spec.networking.mode else { return };
        // That it is not there is told where its namespace is joined.
        let Ok(donor) = self.find(target).map(|donor| donor.record()) else { return };
        cell.change(|c| {
            c.spec.hostname.clone_from(&donor.spec.hostname);
            c.spec.domainname.clone_from(&donor.spec.domainname);
        });
    }

    /// Takes addresses for its endpoints; the record with them.
    fn reserve(&self, cell: &Arc<Cell>) -> Result<Arc<Container>> {
        let record = cell.record();
        let gateway = self.gateway_network(&record);
        let mut endpoints = record.status.endpoints.clone();
        let nowhere = |name: &&String| self.inner.networks.is_bridge_to_nowhere(name);
        if gateway.is_none() && self.inner.networks.wants_gateway_bridge(&record) {
            endpoints.insert(GATEWAY_BRIDGE.to_owned(), Endpoint::default());
        }
        let names: Vec<String> = endpoints.keys().filter(|name| !nowhere(name)).cloned().collect();
        for name in names {
            let wish = record.spec.networking.endpoints.get(&name).cloned().unwrap_or_default();
            let reserved =
                self.inner.networks.reserve(&record, &name, &wish, Containers::dns_names(&record, &name));
            match reserved {
                Ok(endpoint) => {
                    endpoints.insert(name, endpoint);
                }
                Err(e) => {
                    self.inner.networks.release_all(&record.id);
                    return Err(Error::Networking(Box::new(e)));
                }
            }
        }
        // Interfaces are numbered with the default route's network first, as Docker's are by priority.
        let mut order: Vec<&String> = endpoints.keys().collect();
        order.sort_by_key(|n| (gateway.as_ref() != Some(n), *n == GATEWAY_BRIDGE, (*n).clone()));
        let order: Vec<String> = order.into_iter().cloned().collect();
        let wishes = &record.spec.networking.endpoints;
        let asked = |name: &String| wishes.get(name).and_then(endpoints::asked_interface).cloned();
        let mut taken: Vec<String> = order.iter().filter_map(&asked).collect();
        for name in order {
            if let Some(endpoint) = endpoints.get_mut(&name).filter(|e| e.ipv4.is_some() || e.ipv6.is_some())
            {
                endpoint.interface = asked(&name).unwrap_or_else(|| {
                    let free = endpoints::free_interface(&taken);
                    taken.push(free.clone());
                    free
                });
            }
        }
        Ok(cell.change(|c| c.status.endpoints = endpoints))
    }

    /// Phase one: the process exists and waits, its network is ready.
    async fn make_process(&self, cell: &Arc<Cell>, record: &Arc<Container>) -> Result<Process> {
        let joined = self.joined(record)?;
        let resolver = self.write_files(record)?;
        let mut mounts = self.resolve_mounts(record)?;
        let request = CreateRequest {
            container: self.with_devices(record, &mut mounts)?,
            rootfs: self.inner.store.rootfs(&record.id).map(to_runtime)?,
            files: Some(self.files(record)?),
            mounts,
            shm: self.mount_shm(record)?,
            join: joined,
            log: self.log_target(record)?,
            extra_env: self.environment(record),
            stdin: record.spec.process.open_stdin,
            init: record.spec.init.unwrap_or(self.inner.config.init),
        };
        let process = self.inner.runtime.create(request).await.map_err(start_error)?;
        cell.set_process(Some(process.clone()));
        if record.spec.networking.mode.is_private() {
            let netns = process.netns()?;
            let gateway = self.gateway_network(record);
            let attached = self.inner.networks.attach(record, netns, gateway.as_deref(), resolver).await;
            let endpoints = match attached {
                Ok(endpoints) => endpoints,
                Err(e) => {
                    let _ = process.kill().await;
                    cell.set_process(None);
                    return Err(Error::Networking(Box::new(e)));
                }
            };
            let record = cell.change(|c| c.status.endpoints = endpoints);
            if super::links::has_links(&record.spec) {
                self.link_up(&record).await?;
            }
            if record.status.endpoints.contains_key("bridge") {
                self.tell_linked(&record).await;
            }
        } else {
            self.inner.networks.attach_host(record);
        }
        Ok(process)
    }

    /// Phase two: the program runs.
    async fn go(&self, cell: &Arc<Cell>, process: &Process) -> Result<()> {
        cell.attachers.connect(process).await;
        // Before its program runs, so that no moment of it is without.
        let deadline = *lock(&cell.deadline);
        if let Some(deadline) = deadline {
            process.run_until(deadline).await?;
        }
        let started = process.go().await.map_err(start_error)?;
        let record = cell.step(ContainerState::Running, |c| {
            c.status.pid = process.pid();
            c.status.started = started;
            c.status.finished = Timestamp::zero();
            c.status.exit_code = 0;
            c.status.error.clear();
            c.status.oom_killed = false;
            c.status.boot_id = crate::machine::boot_id();
            if let Some(health) = &mut c.status.health {
                *health = Health { state: HealthState::Starting, ..Health::default() };
            }
        })?;
        self.save(cell, Durability::Relaxed).await?;
        self.tell(&record, "start", &[]);
        self.watch(cell, process.clone());
        Ok(())
    }

    /// Begins to supervise and probe a process that runs.
    pub(crate) fn watch(&self, cell: &Arc<Cell>, process: Process) {
        *lock(&cell.prober) = self.probe(cell, &process);
        self.compress_log(cell);
        supervise::spawn(self.clone(), cell.clone(), process);
    }

    /// Takes back network, mounts and the shim's files of a process that ended or never ran. Goes on past errors.
    pub(crate) async fn tear_down(&self, cell: &Arc<Cell>) {
        let record = cell.record();
        self.inner.networks.detach_all(&record).await;
        self.release_mounts(&record);
        self.unmount_shm(&record);
        if let Err(e) = self.inner.runtime.forget(&record.id).await {
            tracing::warn!("cannot clean up after the process of container {}: {e}", record.id);
        }
        cell.change(|c| {
            for (name, endpoint) in &mut c.status.endpoints {
                let wish = c.spec.networking.endpoints.get(name);
                *endpoint = crate::network::at_rest(endpoint, wish);
            }
        });
    }

    /// The process of a container whose PID namespace another one shares.
    fn pid_donor(&self, target: &str) -> Result<i32> {
        let failed = |why: String| Error::Internal(format!("failed to join PID namespace: {why}"));
        let other = self.find(target).map_err(|e| failed(e.to_string()))?;
        let process = other.running_process().map_err(|e| failed(e.to_string()))?;
        if other.state() == ContainerState::Restarting {
            return Err(failed(format!(
                "Container {} is restarting, wait until the container is running",
                other.id
            )));
        }
        Ok(process.pid())
    }

    /// The process of a container whose network another one shares. At a start, that it is not there is the machine's
    /// failure: create took the name as it was.
    fn network_donor(&self, record: &Container, target: &str) -> Result<i32> {
        let other = self
            .find(target)
            .map_err(|e| Error::Internal(format!("joining network namespace of container: {e}")))?;
        if other.id == record.id {
            return Err(Error::Internal("cannot join own network namespace".into()));
        }
        let state = other.state();
        if state == ContainerState::Restarting {
            return Err(Error::Conflict(format!(
                "cannot join network namespace of container: Container {target} is restarting, wait until the container is running"
            )));
        }
        let process = other.running_process().map_err(|_| {
            Error::Conflict(format!(
                "cannot join network namespace of a non running container: container {} is {}",
                other.record().name,
                state.as_str()
            ))
        })?;
        Ok(process.pid())
    }

    /// The processes whose namespaces it shares.
    fn joined(&self, record: &Container) -> Result<Joined> {
        let running = |target: &str, what: &str| -> Result<i32> {
            let other = self.find(target)?;
            let process = other.running_process().map_err(|_| {
                Error::Conflict(format!("cannot join {what} of a non running container: {}", other.id))
            })?;
            if other.state() == ContainerState::Restarting {
                return Err(Error::Conflict(format!(
                    "cannot join {what} of container {target}: it is restarting, wait until it runs"
                )));
            }
            Ok(process.pid())
        };
        let pid = match &record.spec.namespaces.pid {
            Sharing::Container(target) => Some(self.pid_donor(target)?),
            Sharing::Private | Sharing::Host => None,
        };
        let ipc = match &record.spec.namespaces.ipc {
            IpcSharing::Container(target) => {
                let other = self.get(target)?;
                if matches!(other.spec.namespaces.ipc, IpcSharing::Private | IpcSharing::None) {
                    return Err(Error::Conflict(format!(
                        "failed to join IPC namespace: container {}: non-shareable IPC (hint: use IpcMode:shareable for the donor container)",
                        other.id
                    )));
                }
                Some(running(target, "IPC namespace")?)
            }
            _ => None,
        };
        let net = match &record.spec.networking.mode {
            NetworkMode::Host => NetJoin::Host,
            NetworkMode::Container(target) => NetJoin::Container(self.network_donor(record, target)?),
            _ => NetJoin::New,
        };
        Ok(Joined { pid, ipc, net })
    }

    /// Where its output goes.
    fn log_target(&self, record: &Container) -> Result<LogTarget> {
        let LogSpec { driver, options } = &record.spec.log;
        let attributes = match driver.as_str() {
            "json-file" | "local" => attributes::of(record).map_err(|why| Error::Start {
                exit: 128,
                message: format!(
                    "failed to create task for container: failed to initialize logging driver: {why}"
                ),
            })?,
            _ => Vec::new(),
        };
        Ok(LogTarget {
            driver: driver.clone(),
            path: self.log_path(record),
            options: options.clone(),
            attributes,
        })
    }

    /// The environment in front of the user's, in Docker's order.
    fn environment(&self, record: &Container) -> Vec<String> {
        let mut env = vec![PATH.to_owned()];
        let hostname = &record.spec.hostname;
        if hostname.is_empty() {
            env.push(format!("HOSTNAME={}", rustix::system::uname().nodename().to_string_lossy()));
        } else {
            env.push(format!("HOSTNAME={hostname}"));
        }
        if record.spec.process.tty {
            env.push("TERM=xterm".into());
        }
        env.extend(self.links(record).into_iter().flat_map(|l| l.env));
        env
    }
}

fn to_runtime(rootfs: minke_image::Rootfs) -> minke_runtime::Rootfs {
    minke_runtime::Rootfs { lower: rootfs.lower, upper: rootfs.upper, work: rootfs.work, volatile: false }
}

/// dockerd's sentence around what the process said: clients look for its inner part.
fn start_error(e: RuntimeError) -> Error {
    let e = match e {
        RuntimeError::Start(e) => e,
        RuntimeError::Cgroup { cause, .. } => {
            let message = format!(
                "failed to create task for container: failed to create shim task: OCI runtime create failed: runc create failed: unable to start container process: unable to apply cgroup configuration: {cause}"
            );
            return Error::Start { exit: 128, message };
        }
        // What the plan of it cannot have: at a start, that is the machine's failure.
        RuntimeError::Invalid(message) => return Error::Start { exit: 128, message },
        RuntimeError::Runc(why) => {
            let message = format!(
                "failed to create task for container: failed to create shim task: OCI runtime create failed: runc create failed: {why}"
            );
            return Error::Start { exit: 128, message };
        }
        other => return Error::Runtime(other),
    };
    match e.stage {
        Stage::User => Error::Start { exit: 128, message: e.detail },
        Stage::Cwd if e.errno == NOT_A_DIRECTORY => {
            Error::Start { exit: 128, message: format!("Cannot mkdir: {} is not a directory", e.detail) }
        }
        _ => {
            let message = format!(
                "failed to create task for container: failed to create shim task: OCI runtime create failed: runc create failed: unable to start container process: error during container init: {e}"
            );
            Error::Start { exit: e.exit_code(), message: with_hint(message) }
        }
    }
}

/// dockerd's guess at what a user got wrong.
fn with_hint(message: String) -> String {
    if message.contains("not a directory") && !message.contains("permission denied") {
        return message
            + ": Are you trying to mount a directory onto a file (or vice-versa)? Check if the specified host path exists and is the expected type";
    }
    message
}
