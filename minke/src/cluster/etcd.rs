//! This manager's member of etcd: started, watched over, and connected with the others through the cluster's own
//! connections.
//!
//! ```text
//!  store ── TLS, loopback ──► etcd ◄─ <own id>:0 ── stream "etcd" ◄── other managers' daemons
//!                               │
//!                               └─► <other id>:0 (a socket of this daemon) ── stream "etcd" ──► that manager
//! ```
//! So members need no port, no address and no certificate of their own: they follow managers wherever these go, and a
//! manager that is none any more is cut off. Its clients' side is for this daemon only, by a key that lies beside it.

use super::pass;
use minke_cluster::{
    membership::ca::{Authority, NodeKey},
    transport::{
        TransportError, mux,
        tls::{self, Credentials},
    },
};
use minke_model::{ClusterId, ClusterNodeId, Timestamp, node::Role};
use minke_store::Endpoints;
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    fs, io,
    net::SocketAddr,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{
    net::{UnixListener, UnixStream},
    sync::watch,
    task::JoinSet,
    time::sleep,
};

/// Name of the stream that carries the talk of two members.
pub(super) const PEER: &str = "etcd";
/// Streams that one manager has open on another for it.
const MOST_STREAMS: usize = 0;
/// Pauses before a member that ended is started again, doubled from the first to the longest.
const PAUSES: [Duration; 2] = [Duration::from_millis(100), Duration::from_secs(5)];
/// Bytes that a member may hold.
const QUOTA: &str = "8589934592";

/// What a member is started with, as it lies on disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Plan {
    /// Those that it begins with, itself among them.
    pub(super) members: Vec<ClusterNodeId>,
    /// Tells one life of the cluster from another.
    pub(super) token: String,
    /// It joins what is there, and does not begin anew.
    pub(super) existing: bool,
    /// Where it listens for this daemon.
    #[serde(default)]
    port: u16,
}

impl Plan {
    /// Of members that begin together, or, when they are there, of one that joins.
    pub(super) fn new(members: Vec<ClusterNodeId>, token: String, existing: bool) -> Self {
        Plan { members, token, existing, port: 0 }
    }
}

/// Where a member is for the others.
pub(super) fn peer_url(id: &ClusterNodeId) -> String {
    format!("unix://{id}:0")
}

/// A member's directory.
#[derive(Clone, Debug)]
pub(super) struct Home {
    directory: PathBuf,
    binary: String,
}

impl Home {
    pub(super) fn new(directory: PathBuf, binary: String) -> Self {
        Home { directory, binary }
    }

    /// Which version of etcd there is.
    ///
    /// # Errors
    /// None, with the way out.
    pub(super) fn version(&self) -> Result<String, String> {
        let output = Command::new(&self.binary).arg("--version").output().map_err(|e| {
            format!(
                "there is no etcd here ({}: {e}): install the package etcd-server, or name the program with --etcd-binary",
                self.binary
            )
        })?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let version = text.lines().find_map(|line| line.strip_prefix("etcd Version: "));
        let version = version.ok_or_else(|| format!("{} does not say which etcd it is", self.binary))?;
        let mut numbers = version.split(['.', '-']).map(|part| part.parse::<u32>().unwrap_or(0));
        let number = [(); 3].map(|()| numbers.next().unwrap_or(0));
        if number < [3, 4, 0] {
            return Err(format!("etcd {version} is too old: 3.5.9 or newer is needed"));
        }
        if number < [3, 5, 9] {
            tracing::warn!("etcd {version} is old: 3.5.9 or newer is recommended");
        }
        Ok(version.to_owned())
    }

    /// The member that was installed here, if any.
    pub(super) fn plan(&self) -> Option<Plan> {
        let bytes = fs::read(self.directory.join("member.json")).ok()?;
        serde_json::from_slice(&bytes).ok()
    }

    /// Prepares a member. One of the same token is left as it is.
    pub(super) fn install(&self, mut plan: Plan, me: &ClusterNodeId) -> Result<(), String> {
        if self.plan().is_some_and(|old| old.token == plan.token) {
            return Ok(());
        }
        let failed = |e: io::Error| format!("cannot prepare etcd in {}: {e}", self.directory.display());
        self.forget()?;
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.directory).map_err(failed)?;
        let free = std::net::TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).map_err(failed)?;
        plan.port = free.port();
        let said = |e: minke_cluster::membership::MembershipError| e.to_string();
        let now = Timestamp::now();
        let (authority, key) = (Authority::generate(now).map_err(said)?, NodeKey::generate().map_err(said)?);
        let request = key.request().map_err(said)?;
        let life = Duration::from_secs(20 * 365 * 24 * 3600);
        let issued = authority.sign(&request, Role::Manager, &local_cluster(me), life, now).map_err(said)?;
        for (name, text) in
            [("ca.pem", authority.certificate()), ("cert.pem", &issued.chain), ("key.pem", &key.to_pem())]
        {
            secret_file(&self.directory.join(name), text.as_bytes()).map_err(failed)?;
        }
        let bytes = serde_json::to_vec(&plan).map_err(|e| e.to_string())?;
        // Last: what is half prepared is prepared anew.
        secret_file(&self.directory.join("member.json"), &bytes).map_err(failed)
    }

    /// Takes everything away.
    pub(super) fn forget(&self) -> Result<(), String> {
        match fs::remove_dir_all(&self.directory) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => {
                Err(format!("cannot remove {}: {e}", self.directory.display()))
            }
            _ => Ok(()),
        }
    }

    /// How this daemon reaches its member.
    pub(super) fn endpoints(&self, me: &ClusterNodeId) -> Result<Endpoints, String> {
        let plan = self.plan().ok_or("no etcd was prepared here")?;
        let read = |name: &str| {
            let path = self.directory.join(name);
            fs::read_to_string(&path).map_err(|e| format!("cannot read {}: {e}", path.display()))
        };
        let key = NodeKey::from_pem(&read("key.pem")?).map_err(|e| e.to_string())?;
        let credentials = Credentials {
            chain: read("cert.pem")?,
            key: key.to_der(),
            trusted: read("ca.pem")?,
            cluster: local_cluster(me).as_str().to_owned(),
        };
        let mut config = (*credentials.client().map_err(|e| e.to_string())?).clone();
        config.alpn_protocols = vec![b"h2".to_vec()];
        Ok(Endpoints { urls: vec![format!("https://127.0.0.1:{}", plan.port)], tls: Some(Arc::new(config)) })
    }

    /// The member's process.
    fn spawn(&self, plan: &Plan, me: &ClusterNodeId, alone: bool) -> io::Result<Child> {
        // Left by a process that was killed: it cannot be listened on again.
        let _ = fs::remove_file(self.directory.join(format!("{me}:0")));
        let client = format!("https://127.0.0.1:{}", plan.port);
        let members: Vec<_> = plan.members.iter().map(|id| format!("{id}={}", peer_url(id))).collect();
        let peer = peer_url(me);
        let mut command = Command::new(&self.binary);
        command
            .current_dir(&self.directory)
            .args(["--name", me.as_str(), "--data-dir", "data"])
            .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
            .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
            .args(["--initial-cluster", &members.join(","), "--initial-cluster-token", &plan.token])
            .args(["--initial-cluster-state", if plan.existing { "existing" } else { "new" }])
            .args(["--cert-file", "cert.pem", "--key-file", "key.pem", "--trusted-ca-file", "ca.pem"])
            .args(["--client-cert-auth", "--enable-grpc-gateway=false"])
            .args(["--quota-backend-bytes", QUOTA])
            .args(["--auto-compaction-mode", "periodic", "--auto-compaction-retention", "5m"])
            .args(["--heartbeat-interval", "100", "--election-timeout", "600"])
            .args(["--logger", "zap", "--log-level", "error"]);
        if alone {
            command.arg("--force-new-cluster");
        }
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn()?;
        fs::write(self.directory.join("pid"), child.id().to_string())?;
        Ok(child)
    }

    /// Ends a member that a daemon left which was killed.
    fn end_left(&self) {
        let Ok(text) = fs::read_to_string(self.directory.join("pid")) else { return };
        let Ok(number) = text.trim().parse::<i32>() else { return };
        let is_ours = fs::read_link(format!("/proc/{number}/cwd")).is_ok_and(|cwd| cwd == self.directory);
        let pid = rustix::process::Pid::from_raw(number).filter(|_| is_ours);
        let Some(pid) = pid else { return };
        let Ok(handle) = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()) else {
            return;
        };
        if rustix::process::pidfd_send_signal(&handle, rustix::process::Signal::KILL).is_ok() {
            let mut ends = [rustix::event::PollFd::new(&handle, rustix::event::PollFlags::IN)];
            let limit = rustix::event::Timespec { tv_sec: 10, tv_nsec: 0 };
            let _ = rustix::event::poll(&mut ends, Some(&limit));
        }
    }
}

/// The member's own authority signs for nobody else: any name does.
fn local_cluster(me: &ClusterNodeId) -> ClusterId {
    ClusterId::parse(me.as_str()).unwrap_or_else(ClusterId::random)
}

fn secret_file(path: &Path, bytes: &[u8]) -> io::Result<()> {
    use io::Write as _;
    let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// A running member; ends when dropped.
pub(super) struct Keeper {
    running: Arc<Mutex<Running>>,
    _tasks: JoinSet<()>,
}

#[derive(Default)]
struct Running {
    ended: bool,
    pid: Option<u32>,
}

impl Drop for Keeper {
    fn drop(&mut self) {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.ended = true;
        let pid =
            running.pid.and_then(|pid| i32::try_from(pid).ok()).and_then(rustix::process::Pid::from_raw);
        if let Some(pid) = pid {
            // It is our child and was not waited for yet: the number is its own.
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
    }
}

/// Where other managers are, and how they are dialled.
#[derive(Clone)]
pub(super) struct Others {
    pub(super) me: ClusterNodeId,
    pub(super) managers: watch::Receiver<Vec<(ClusterNodeId, SocketAddr)>>,
    pub(super) credentials: watch::Receiver<Credentials>,
}

impl Keeper {
    /// Starts the member that was installed, and keeps it running. `alone`: it gives up all others.
    pub(super) fn start(home: Home, others: Others, alone: bool) -> Result<Self, String> {
        let plan = home.plan().ok_or("no etcd was prepared here")?;
        home.end_left();
        let running: Arc<Mutex<Running>> = Arc::default();
        let mut tasks = JoinSet::new();
        tasks.spawn(tunnels(home.directory.clone(), others.clone()));
        let (me, state) = (others.me, running.clone());
        // A thread of its own: it does nothing but wait for a process.
        let spawned = std::thread::Builder::new()
            .name("etcd".into())
            .stack_size(256 << 10)
            .spawn(move || keep(&home, &plan, &me, alone, &state));
        spawned.map_err(|e| format!("cannot start a thread for etcd: {e}"))?;
        Ok(Keeper { running, _tasks: tasks })
    }
}

fn keep(home: &Home, plan: &Plan, me: &ClusterNodeId, mut alone: bool, running: &Mutex<Running>) {
    let lock = || running.lock().unwrap_or_else(PoisonError::into_inner);
    let mut pause = PAUSES[0];
    loop {
        let started = {
            let mut running = lock();
            if running.ended {
                return;
            }
            let started = home.spawn(plan, me, alone);
            running.pid = started.as_ref().ok().map(Child::id);
            started
        };
        let begun = std::time::Instant::now();
        match started {
            Ok(mut child) => {
                let ended = wait(&child);
                lock().pid = None;
                let ended = ended.and_then(|()| child.wait());
                if lock().ended {
                    return;
                }
                tracing::warn!("this manager's etcd ended ({ended:?}) and is started again");
                // It stands alone now: that is asked for once.
                alone = alone && begun.elapsed() < Duration::from_secs(1);
            }
            Err(e) => tracing::error!("this manager's etcd cannot be started: {e}"),
        }
        if begun.elapsed() > PAUSES[1] {
            pause = PAUSES[0];
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(PAUSES[1]);
    }
}

/// Waits for a process' end, and leaves it to be waited for: until then its number is nobody else's.
fn wait(child: &Child) -> io::Result<()> {
    use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).ok_or(io::ErrorKind::InvalidInput)?;
    loop {
        match waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT) {
            Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(e.into()),
            Ok(_) => return Ok(()),
        }
    }
}

/// Listens for this member's talk to every other manager, and passes it on.
async fn tunnels(directory: PathBuf, mut others: Others) {
    let mut listening: BTreeMap<ClusterNodeId, tokio::task::AbortHandle> = BTreeMap::new();
    let mut tasks = JoinSet::new();
    loop {
        let known = others.managers.borrow_and_update().clone();
        let gone: Vec<_> =
            listening.keys().filter(|id| !known.iter().any(|(other, _)| other == *id)).cloned().collect();
        for id in gone {
            if let Some(task) = listening.remove(&id) {
                task.abort();
            }
        }
        for (id, _) in known.iter().filter(|(id, _)| *id != others.me) {
            if listening.contains_key(id) {
                continue;
            }
            let path = directory.join(format!("{id}:0"));
            let _ = fs::remove_file(&path);
            match UnixListener::bind(&path) {
                Ok(listener) => {
                    let task = tasks.spawn(tunnel(listener, id.clone(), others.clone()));
                    listening.insert(id.clone(), task);
                }
                Err(e) => tracing::error!("cannot listen on {}: {e}", path.display()),
            }
        }
        if others.managers.changed().await.is_err() {
            return;
        }
    }
}

async fn tunnel(listener: UnixListener, to: ClusterNodeId, others: Others) {
    let connection: Arc<tokio::sync::Mutex<Option<mux::Opener>>> = Arc::default();
    let mut passing = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = passing.join_next() => continue,
        };
        let Ok((stream, _)) = accepted else {
            sleep(PAUSES[0]).await;
            continue;
        };
        let (to, others, connection) = (to.clone(), others.clone(), connection.clone());
        passing.spawn(async move {
            match open(&connection, &to, &others).await {
                Ok(onward) => pass::both_ways(stream, onward).await,
                Err(e) => tracing::debug!("etcd cannot reach manager {}: {e}", to.short()),
            }
        });
    }
}

/// A stream to another manager's member, on the connection that there is or a new one.
async fn open(
    connection: &tokio::sync::Mutex<Option<mux::Opener>>,
    to: &ClusterNodeId,
    others: &Others,
) -> Result<mux::Stream, TransportError> {
    let mut connection = connection.lock().await;
    if let Some(opener) = &*connection
        && let Ok(stream) = opener.open(PEER)
    {
        return Ok(stream);
    }
    let address = others.managers.borrow().iter().find(|(id, _)| id == to).map(|(_, at)| *at);
    let address = address.ok_or_else(|| TransportError::Ended("it is no manager".into()))?;
    let (config, cluster) = {
        let credentials = others.credentials.borrow();
        (credentials.client()?, credentials.cluster.clone())
    };
    let stream = tls::dial(&address.to_string(), config).await?;
    let peer = tls::peer(stream.get_ref().1.peer_certificates(), &cluster)?;
    if peer.is_none_or(|peer| peer.node != *to) {
        return Err(TransportError::Protocol("another manager answers there"));
    }
    let (opener, _) = mux::start(stream, mux::Side::Dialled, MOST_STREAMS);
    let stream = opener.open(PEER)?;
    *connection = Some(opener);
    Ok(stream)
}

/// The other end: to this manager's member.
pub(super) async fn answer(directory: &Path, me: &ClusterNodeId, stream: mux::Stream) {
    match UnixStream::connect(directory.join(format!("{me}:0"))).await {
        Ok(member) => pass::both_ways(stream, member).await,
        Err(e) => tracing::debug!("this manager's etcd is not there: {e}"),
    }
}
