//! A container's process, as the daemon holds it.
//!
//! Never: what a shim does itself. This is the other end of its socket, and the container's cgroup.

use crate::{
    Machine,
    error::RuntimeError,
    external,
    request::{AttachStreams, ExecRequest, ExecState, Exit},
    shim::{Link, State, exec_id},
    spec::{self, HostDevices},
};
use minke_linux::cgroup::{Cgroup, CgroupError, Stats};
use minke_model::{Container, ContainerId, ExecId, Timestamp, resources::Resources};
use minke_shim::protocol::{self, Op, Phase, Request};
use std::{
    os::fd::{AsFd, OwnedFd},
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
};
use tokio::net::UnixStream;

/// A container's process: made, waiting for *go* or running. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Process {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    container: Arc<Container>,
    pid: i32,
    /// Nanoseconds since 1970; 0 before `go`.
    started: AtomicI64,
    netns: OwnedFd,
    link: Arc<Link>,
    cgroup: Cgroup,
    machine: Arc<Machine>,
}

/// An exec that started.
#[derive(Debug)]
pub struct Exec {
    /// Process id on the host.
    pub pid: i32,
    /// Its streams, when some were asked for: framed as Docker does, raw with a terminal.
    pub stream: Option<UnixStream>,
}

/// What a shim of an earlier daemon tells.
#[derive(Debug)]
pub enum Found {
    /// Its process runs.
    Running(Process),
    /// Its process ended while no daemon listened (or the shim died: 137).
    Exited(Exit),
}

impl Process {
    /// From what a shim tells; `None` when no process is alive.
    pub(crate) fn from_state(
        container: Arc<Container>,
        state: State,
        link: Arc<Link>,
        machine: Arc<Machine>,
        cgroup: Cgroup,
    ) -> Option<Process> {
        let (_pidfd, netns) = state.fds?;
        let started = AtomicI64::new(state.reply.started);
        Some(Process {
            inner: Arc::new(Inner { container, pid: state.reply.pid, started, netns, link, cgroup, machine }),
        })
    }

    /// Its container.
    pub fn id(&self) -> &ContainerId {
        &self.inner.container.id
    }

    /// Its process id on the host.
    pub fn pid(&self) -> i32 {
        self.inner.pid
    }

    /// When its exec succeeded; zero when it has not.
    pub fn started(&self) -> Timestamp {
        match self.inner.started.load(Ordering::Acquire) {
            0 => Timestamp::zero(),
            nanos => Timestamp::from_nanos(nanos),
        }
    }

    /// Its network namespace: a descriptor of its own for the caller.
    ///
    /// # Errors
    /// When this process may not open more descriptors.
    pub fn netns(&self) -> Result<OwnedFd, RuntimeError> {
        self.inner.netns.try_clone().map_err(RuntimeError::io("copy a network namespace's descriptor"))
    }

    /// Phase two: mounts, drops privileges, execs. The time is when exec succeeded.
    ///
    /// # Errors
    /// [`RuntimeError::Start`] says where and why it failed; the process is gone then, and `Runtime::forget` cleans up.
    pub async fn go(&self) -> Result<Timestamp, RuntimeError> {
        self.go_with(0).await
    }

    /// As [`Process::go`], but it dies when this daemon does.
    ///
    /// # Errors
    /// As [`Process::go`].
    pub async fn go_bound(&self) -> Result<Timestamp, RuntimeError> {
        self.go_with(protocol::BOUND).await
    }

    async fn go_with(&self, flags: u8) -> Result<Timestamp, RuntimeError> {
        let go = Request { flags, ..Request::new(Op::Go, 0) };
        let (reply, warnings) = self.inner.link.order(go, &[], None).await?;
        for warning in String::from_utf8_lossy(&warnings).lines() {
            tracing::warn!("container {}: {warning}", self.id());
        }
        self.inner.started.store(reply.started, Ordering::Release);
        Ok(Timestamp::from_nanos(reply.started))
    }

    /// Sends SIGKILL to all its processes. One that ended is no error.
    ///
    /// # Errors
    /// When the shim is gone.
    pub async fn kill(&self) -> Result<(), RuntimeError> {
        self.order_alive(Request::new(Op::Kill, 0)).await
    }

    /// Lets it run until `deadline`, in time since boot, and no longer, whatever becomes of this daemon. A deadline never
    /// moves back.
    ///
    /// # Errors
    /// When the shim is gone, or does not know how.
    pub async fn run_until(&self, deadline: std::time::Duration) -> Result<(), RuntimeError> {
        let (a, b) = (deadline.as_secs().min(i32::MAX as u64) as i32, deadline.subsec_nanos() as i32);
        self.order_alive(Request { a, b, ..Request::new(Op::RunUntil, 0) }).await
    }

    /// Sends a signal, by number, to its first process. One that ended is no error.
    ///
    /// # Errors
    /// When there is no such signal.
    pub async fn signal(&self, signal: i32) -> Result<(), RuntimeError> {
        self.order_alive(Request { a: signal, ..Request::new(Op::Signal, 0) }).await
    }

    /// Whether its first process catches a signal, blocks it or ignores it on purpose; `None` when it is gone. What it
    /// does none of, the kernel drops when the process is the first of its PID namespace (pid_namespaces(7)).
    pub fn takes(&self, signal: i32) -> Option<bool> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).ok()?;
        let set = |name: &str| {
            u64::from_str_radix(status.lines().find_map(|l| l.strip_prefix(name))?.trim(), 16).ok()
        };
        let all = set("SigCgt:")? | set("SigIgn:")? | set("SigBlk:")?;
        let bit = u32::try_from(signal).ok()?.checked_sub(1)?;
        Some(all.checked_shr(bit)? & 1 == 1)
    }

    /// An order to a process that may have ended: then nothing is to be done.
    async fn order_alive(&self, request: Request) -> Result<(), RuntimeError> {
        match self.inner.link.order(request, &[], None).await {
            Err(_) if self.inner.link.ended().is_some() => Ok(()),
            Err(RuntimeError::Start(e)) if e.errno == rustix::io::Errno::SRCH.raw_os_error() => Ok(()),
            done => done.map(drop),
        }
    }

    /// Its end; any number of waiters, also later.
    pub async fn wait(&self) -> Exit {
        self.inner.link.exit().await
    }

    /// Its end, if it ended.
    pub fn ended(&self) -> Option<Exit> {
        self.inner.link.ended()
    }

    /// Streams of its first process. Before `go` nothing is missed. Bytes written are stdin, their end closes it.
    ///
    /// # Errors
    /// When it ended, or the shim is gone.
    pub async fn attach(&self, streams: AttachStreams) -> Result<UnixStream, RuntimeError> {
        let (ours, theirs) = pair()?;
        let request = Request { flags: flags(streams), ..Request::new(Op::Attach, 0) };
        match self.inner.link.order(request, &[], Some(theirs.as_fd())).await {
            Ok(_) => Ok(ours),
            Err(RuntimeError::Start(_)) => Err(RuntimeError::NotRunning { id: self.id().clone() }),
            Err(e) => Err(e),
        }
    }

    /// Tells the terminal its size; without one nothing happens.
    ///
    /// # Errors
    /// When the shim is gone.
    pub async fn resize(&self, rows: u16, columns: u16) -> Result<(), RuntimeError> {
        self.order_alive(Request { a: i32::from(rows), b: i32::from(columns), ..Request::new(Op::Resize, 0) })
            .await
    }

    /// Starts a further process.
    ///
    /// # Errors
    /// [`RuntimeError::Start`] says where and why it failed.
    pub async fn exec(&self, request: ExecRequest) -> Result<Exec, RuntimeError> {
        if self.ended().is_some() {
            return Err(RuntimeError::NotRunning { id: self.id().clone() });
        }
        let Inner { container, machine, pid, .. } = &*self.inner;
        let mut plan = spec::exec_plan(container, &request, &machine.host)?;
        external::prepare_exec(&mut plan, &request, container, &machine.config, *pid)?;
        let (ours, theirs, flags) = match request.streams {
            Some(streams) => {
                let (ours, theirs) = pair()?;
                (Some(ours), Some(theirs), flags(streams))
            }
            None => (None, None, 0),
        };
        let order = Request { flags, ..Request::new(Op::Exec, 0) };
        let (reply, warnings) =
            self.inner.link.order(order, &plan.encode(), theirs.as_ref().map(AsFd::as_fd)).await?;
        for warning in String::from_utf8_lossy(&warnings).lines() {
            tracing::debug!("exec in container {}: {warning}", self.id());
        }
        Ok(Exec { pid: reply.pid, stream: ours })
    }

    /// The exit code of an exec; any number of waiters, also later.
    ///
    /// # Errors
    /// When there is no such exec, or the shim is gone.
    pub async fn exec_wait(&self, id: &ExecId) -> Result<i32, RuntimeError> {
        match self.inner.link.exec_exit(exec_id(id)).await {
            Err(RuntimeError::Invalid(_)) => Err(RuntimeError::NoSuchExec { id: id.clone() }),
            done => done,
        }
    }

    /// Tells an exec's terminal its size.
    ///
    /// # Errors
    /// When the shim is gone.
    pub async fn exec_resize(&self, id: &ExecId, rows: u16, columns: u16) -> Result<(), RuntimeError> {
        self.order_alive(Request {
            a: i32::from(rows),
            b: i32::from(columns),
            id: exec_id(id),
            ..Request::new(Op::Resize, 0)
        })
        .await
    }

    /// Sends a signal, by number, to an exec. One that ended is no error.
    ///
    /// # Errors
    /// When there is no such signal, or the shim is gone.
    pub async fn exec_signal(&self, id: &ExecId, signal: i32) -> Result<(), RuntimeError> {
        self.order_alive(Request { a: signal, id: exec_id(id), ..Request::new(Op::Signal, 0) }).await
    }

    /// Sends SIGKILL to an exec. One that ended is no error.
    ///
    /// # Errors
    /// When the shim is gone.
    pub async fn exec_kill(&self, id: &ExecId) -> Result<(), RuntimeError> {
        self.exec_signal(id, rustix::process::Signal::KILL.as_raw()).await
    }

    /// How an exec stands.
    ///
    /// # Errors
    /// When there is no such exec, or the shim is gone.
    pub async fn exec_state(&self, id: &ExecId) -> Result<ExecState, RuntimeError> {
        let (reply, _) = self
            .inner
            .link
            .ask(Request { id: exec_id(id), ..Request::new(Op::ExecState, 0) }, &[], None)
            .await?;
        match reply.phase {
            Phase::Running => Ok(ExecState::Running { pid: reply.pid }),
            Phase::Exited => Ok(ExecState::Exited { pid: reply.pid, code: reply.code }),
            _ => Err(RuntimeError::NoSuchExec { id: id.clone() }),
        }
    }

    /// Stops all its processes where they are. Returns when all stand still.
    ///
    /// # Errors
    /// When there is no freezer, or a process does not stop in time.
    pub async fn pause(&self) -> Result<(), RuntimeError> {
        self.in_cgroup("freeze", Cgroup::freeze).await
    }

    /// Lets them run again.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub async fn resume(&self) -> Result<(), RuntimeError> {
        self.in_cgroup("thaw", Cgroup::thaw).await
    }

    /// Sets limits; what is not asked stays.
    ///
    /// # Errors
    /// When a value can never be, or the kernel refuses it.
    pub async fn update(&self, resources: &Resources) -> Result<(), RuntimeError> {
        let limits = spec::limits(resources, &HostDevices)?;
        self.in_cgroup("limit", move |cgroup| cgroup.apply(&limits)).await
    }

    /// What its processes use now.
    ///
    /// # Errors
    /// When it has ended.
    pub async fn stats(&self) -> Result<Stats, RuntimeError> {
        self.in_cgroup("measure", Cgroup::stats).await
    }

    /// Process ids of the host in its cgroup.
    pub fn pids(&self) -> Vec<i32> {
        self.inner.cgroup.pids()
    }

    /// Its cgroup.
    pub fn cgroup(&self) -> &Cgroup {
        &self.inner.cgroup
    }

    /// The kernel answers these by files, which may take its time.
    async fn in_cgroup<T: Send + 'static>(
        &self,
        verb: &'static str,
        act: impl FnOnce(&Cgroup) -> Result<T, CgroupError> + Send + 'static,
    ) -> Result<T, RuntimeError> {
        let cgroup = self.inner.cgroup.clone();
        crate::blocking(move || {
            act(&cgroup).map_err(|e| RuntimeError::Cgroup {
                what: format!("{verb} the cgroup {}", cgroup.path()),
                cause: e,
            })
        })
        .await
    }
}

/// Streams as the shim names them.
fn flags(streams: AttachStreams) -> u8 {
    [(streams.stdin, protocol::STDIN), (streams.stdout, protocol::STDOUT), (streams.stderr, protocol::STDERR)]
        .into_iter()
        .filter(|(on, _)| *on)
        .fold(0, |all, (_, flag)| all | flag)
}

/// A connection whose other end a shim gets.
fn pair() -> Result<(UnixStream, std::os::unix::net::UnixStream), RuntimeError> {
    let (ours, theirs) =
        std::os::unix::net::UnixStream::pair().map_err(RuntimeError::io("make a socket pair"))?;
    ours.set_nonblocking(true).map_err(RuntimeError::io("make a socket pair"))?;
    Ok((UnixStream::from_std(ours).map_err(RuntimeError::io("watch a socket"))?, theirs))
}
