//! One process of a container, from clone to exit: its handle, its streams, its word on whether exec worked.
//!
//! Never: the poll loop, the protocol.

use crate::{
    child::{self, Start},
    plan::{Cgroups, ExecPlan, Namespace, StartPlan},
    protocol::{Id, Stage},
    report::{At, Failure, Outcome},
    stream::Streams,
};
use minke_linux::{
    namespace,
    process::{self, Cloned},
};
use rustix::{
    fs::{Mode, OFlags},
    net::{AddressFamily, SocketFlags, SocketType},
};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

/// Who waits for a process' start to be told: a connection's number and the request's.
pub(crate) type Asker = (u64, u32);

/// A process.
pub(crate) struct Task {
    pub(crate) id: Id,
    /// On the host.
    pub(crate) pid: i32,
    pub(crate) pidfd: OwnedFd,
    /// Its word before exec; `None` once exec worked or failed.
    pub(crate) report: Option<OwnedFd>,
    pub(crate) streams: Streams,
    /// Told when exec worked or failed.
    pub(crate) asker: Option<Asker>,
    /// What it said about going on without something.
    pub(crate) warnings: String,
    /// What it said about ending.
    pub(crate) failure: Option<Failure>,
    /// The size that its terminal gets when it is there.
    pub(crate) size: Option<(u16, u16)>,
    /// It was reaped.
    pub(crate) ended: bool,
}

/// This shim's own namespaces that it leaves for a moment.
pub(crate) struct Home {
    pid: OwnedFd,
}

impl Home {
    /// Before any other is entered.
    pub(crate) fn open() -> Outcome<Home> {
        Ok(Home { pid: own("pid").at(Stage::Join, "pid")? })
    }
}

fn own(name: &str) -> std::io::Result<OwnedFd> {
    Ok(rustix::fs::open(format!("/proc/self/ns/{name}"), OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?)
}

fn socket() -> Outcome<(OwnedFd, OwnedFd)> {
    rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
        .at(Stage::Clone, "socketpair")
}

/// The v2 cgroup to be born in.
fn unified(cgroups: &Cgroups) -> Outcome<Option<OwnedFd>> {
    if cgroups.unified.is_empty() {
        return Ok(None);
    }
    rustix::fs::open(
        cgroups.unified.as_str(),
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .map(Some)
    .at(Stage::Cgroup, cgroups.unified.as_str())
}

/// Clones; the child never returns from `run`.
fn spawn(flags: u64, cgroups: &Cgroups, run: impl FnOnce() -> Outcome<()>) -> Outcome<(i32, OwnedFd)> {
    let cgroup = unified(cgroups)?;
    // SAFETY: a shim has one thread.
    match unsafe { process::clone(flags, cgroup.as_ref().map(AsFd::as_fd)) }.at(Stage::Clone, "clone3")? {
        Cloned::Parent { pid, pidfd } => Ok((pid, pidfd)),
        Cloned::Child => {
            let _ = run();
            process::exit(1)
        }
    }
}

/// Makes a container's first process: it waits.
pub(crate) fn first(plan: &StartPlan, home: &Home) -> Outcome<Task> {
    let (streams, stdio) =
        Streams::make(plan.process.tty, plan.stdin, plan.stdin_once, true).at(Stage::Clone, "pipe")?;
    let (ours, theirs) = socket()?;
    let other = ours.as_raw_fd();
    let ns = &plan.namespaces;
    let mut flags = namespace::MOUNT;
    let mut join = Vec::new();
    for (which, kind, name) in [
        (ns.ipc, namespace::IPC, "ipc"),
        (ns.net, namespace::NET, "net"),
        (ns.uts, namespace::UTS, "uts"),
        (ns.cgroup, namespace::CGROUP, "cgroup"),
    ] {
        match which {
            Namespace::Host => {}
            // A new one begins once the process is in its cgroups: the child makes it.
            Namespace::New if kind == namespace::CGROUP => {}
            Namespace::New => flags |= kind,
            Namespace::Join { pid } => join.push((namespace::open(pid, name).at(Stage::Join, name)?, kind)),
        }
    }
    let away = match ns.pid {
        Namespace::Host => None,
        Namespace::New => {
            flags |= namespace::PID;
            None
        }
        Namespace::Join { pid } => Some(namespace::open(pid, "pid").at(Stage::Join, "pid")?),
    };
    if let Some(pid) = &away {
        namespace::join(pid.as_fd(), namespace::PID).at(Stage::Join, "pid")?;
    }
    let start = Start { socket: theirs, other, stdio, join };
    let spawned = spawn(flags, &plan.cgroups, || child::container(plan, start));
    if away.is_some() {
        namespace::join(home.pid.as_fd(), namespace::PID).at(Stage::Join, "pid")?;
    }
    let (pid, pidfd) = spawned?;
    Ok(Task {
        id: crate::protocol::FIRST,
        pid,
        pidfd,
        report: Some(ours),
        streams,
        asker: None,
        warnings: String::new(),
        failure: None,
        size: None,
        ended: false,
    })
}

/// Starts a further process in the container of `first`; it runs at once.
pub(crate) fn exec(
    plan: &ExecPlan,
    id: Id,
    first: &OwnedFd,
    home: &Home,
    client: Option<(OwnedFd, u8)>,
) -> Outcome<Task> {
    let (mut streams, stdio) =
        Streams::make(plan.process.tty, plan.stdin, true, client.is_some()).at(Stage::Clone, "pipe")?;
    if let Some((socket, wants)) = client {
        streams.attach(socket, wants).at(Stage::Clone, "client")?;
    }
    let (ours, theirs) = socket()?;
    let other = ours.as_raw_fd();
    namespace::join(first.as_fd(), namespace::PID).at(Stage::Join, "pid")?;
    let kinds = namespace::MOUNT | namespace::IPC | namespace::NET | namespace::UTS | namespace::CGROUP;
    let join = first.try_clone().at(Stage::Join, "descriptor").map(|fd| vec![(fd, kinds)]);
    let spawned = join.and_then(|join| {
        let start = Start { socket: theirs, other, stdio, join };
        spawn(0, &plan.cgroups, || child::exec(plan, start))
    });
    namespace::join(home.pid.as_fd(), namespace::PID).at(Stage::Join, "pid")?;
    let (pid, pidfd) = spawned?;
    let task = Task {
        id,
        pid,
        pidfd,
        report: Some(ours),
        streams,
        asker: None,
        warnings: String::new(),
        failure: None,
        size: None,
        ended: false,
    };
    task.go();
    Ok(task)
}

impl Task {
    /// The process may go on: a first one a first time to make its root, a second time to its exec.
    pub(crate) fn go(&self) {
        if let Some(report) = &self.report {
            // Its death shows in its pidfd.
            let _ = rustix::net::send(report, b"g", rustix::net::SendFlags::NOSIGNAL);
        }
    }

    /// Tells its terminal a size, or keeps it until there is one.
    pub(crate) fn resize(&mut self, rows: u16, columns: u16) {
        self.size = Some((rows, columns));
        if let Some(console) = self.streams.console() {
            let _ = minke_linux::pty::resize(console, rows, columns);
        }
    }

    /// Its terminal came.
    pub(crate) fn set_console(&mut self, master: OwnedFd) {
        if let Some((rows, columns)) = self.size {
            let _ = minke_linux::pty::resize(&master, rows, columns);
        }
        let _ = self.streams.set_console(master);
    }
}
