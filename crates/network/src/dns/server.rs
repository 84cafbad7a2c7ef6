//! The resolvers of all containers.
//!
//! Each has one small task, woken when a question arrives. Questions for others wait in a bounded set; all of a
//! container's work ends with its task, so that nothing holds a namespace that should go.

use super::{
    listen::Prepared,
    message::{Code, Query, Record, SMALLEST, Unfit, kind, refuse},
    upstream::{Forwarder, Servers, Transport, read_framed, write_framed},
    zone::{Verdict, Zones},
};
use crate::error::NetworkError;
use minke_linux::netlink::within;
use minke_model::ContainerId;
use rustix::fd::{BorrowedFd, OwnedFd};
use std::{
    collections::HashMap,
    io,
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{
    net::{TcpListener, TcpStream, UdpSocket},
    runtime::Handle,
    task::{AbortHandle, JoinSet},
    time::{Instant, sleep_until, timeout},
};

/// Questions of one container under way to others.
const MOST_UNDER_WAY: usize = 256;
/// TCP connections of one container.
const MOST_CONNECTIONS: usize = 32;
/// How long a TCP connection may be silent (RFC 7766, section 6.2.3, asks for "a few seconds").
const IDLE: Duration = Duration::from_secs(10);
/// How long accepting rests when the daemon has no descriptor left.
const REST: Duration = Duration::from_secs(1);
/// A question is smaller than this.
const LARGEST_QUESTION: usize = 4096;
/// Datagrams that are read before others have their turn.
const AT_ONCE: usize = 32;

/// How one container's resolver behaves.
#[derive(Clone, Debug)]
pub struct ResolverConfig {
    /// Whom to ask what is not ours.
    pub servers: Servers,
    /// Whether `ndots` was set by the user or the host (`resolv_conf::Written`): then a name without a dot that is
    /// not ours is not asked of others, since the client will try it with its search domains.
    pub ndots_set: bool,
}

/// The resolvers of all containers. Cheap to clone; all clones are the same.
#[derive(Clone)]
pub struct Server {
    inner: Arc<Inner>,
}

struct Inner {
    zones: Zones,
    forwarder: Arc<Forwarder>,
    runtime: Handle,
    running: Mutex<HashMap<ContainerId, AbortHandle>>,
}

impl Server {
    /// None yet. `resolv_conf` is the host's ([`super::resolv_conf::host_path`]). To be called in the runtime that
    /// will serve.
    pub fn new(zones: Zones, resolv_conf: PathBuf) -> Self {
        let forwarder = Arc::new(Forwarder::new(resolv_conf));
        Server {
            inner: Arc::new(Inner {
                zones,
                forwarder,
                runtime: Handle::current(),
                running: Mutex::default(),
            }),
        }
    }

    /// The names that it answers from.
    pub fn zones(&self) -> &Zones {
        &self.inner.zones
    }

    /// Makes 127.0.0.11 answer in `netns`, whose loopback must be up. Blocks for about a millisecond. Called again,
    /// also by a daemon started anew, it takes the place of what was there.
    ///
    /// Until [`Server::detach`] the namespace is held.
    ///
    /// # Errors
    /// The kernel refuses a socket or the redirect.
    pub fn attach(
        &self,
        container: &ContainerId,
        netns: BorrowedFd<'_>,
        config: ResolverConfig,
    ) -> Result<(), NetworkError> {
        let prepared = within(netns, || Prepared::here(container));
        let prepared =
            prepared.map_err(|e| NetworkError::io("enter the container's network namespace", e))??;
        self.serve(container, prepared, netns, config)
    }

    /// As [`Server::attach`], with sockets that the caller has made while it was in the namespace anyway.
    ///
    /// # Errors
    /// The sockets cannot be registered.
    pub fn serve(
        &self,
        container: &ContainerId,
        prepared: Prepared,
        netns: BorrowedFd<'_>,
        config: ResolverConfig,
    ) -> Result<(), NetworkError> {
        let _inside = self.inner.runtime.enter();
        let register = || -> io::Result<_> {
            let netns = match &config.servers {
                Servers::Given(_) => Some(Arc::new(netns.try_clone_to_owned()?)),
                Servers::Host => None,
            };
            Ok((UdpSocket::from_std(prepared.udp)?, TcpListener::from_std(prepared.tcp)?, netns))
        };
        let (udp, tcp, netns) =
            register().map_err(|e| NetworkError::io("register the sockets for names", e))?;
        let (zones, forwarder) = (self.inner.zones.clone(), self.inner.forwarder.clone());
        let resolver = Arc::new(Resolver { container: container.clone(), zones, forwarder, config, netns });
        let task = self.inner.runtime.spawn(run(resolver, udp, tcp)).abort_handle();
        let old = self.lock().insert(container.clone(), task);
        if let Some(old) = old {
            old.abort();
        }
        Ok(())
    }

    /// Ends a container's resolver and lets go of its namespace.
    pub fn detach(&self, container: &ContainerId) {
        let running = self.lock().remove(container);
        if let Some(task) = running {
            task.abort();
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<ContainerId, AbortHandle>> {
        self.inner.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        let running = self.running.get_mut().unwrap_or_else(PoisonError::into_inner);
        running.values().for_each(AbortHandle::abort);
    }
}

/// One container's.
struct Resolver {
    container: ContainerId,
    zones: Zones,
    forwarder: Arc<Forwarder>,
    config: ResolverConfig,
    netns: Option<Arc<OwnedFd>>,
}

/// What becomes of a question.
enum Outcome {
    Silence,
    Answer(Vec<u8>),
    /// Others are to be asked; the host's resolvers only if the container is `external`.
    Ask {
        external: bool,
    },
}

impl Resolver {
    /// Answers what is ours. `limit` is the transport's, if it has one.
    fn judge(&self, bytes: &[u8], transport: Transport) -> Outcome {
        let query = match Query::parse(bytes) {
            Ok(query) => query,
            Err(Unfit::Silence) => return Outcome::Silence,
            Err(Unfit::Answer(code)) => return Outcome::Answer(refuse(bytes, code)),
        };
        let limit = match transport {
            Transport::Udp => query.size(),
            Transport::Tcp => u16::MAX as usize,
        };
        let name = query.name.as_deref().filter(|_| query.is_internet());
        let verdict = self.zones.look_up(&self.container, name.unwrap_or_default(), query.kind);
        match verdict {
            Verdict::Known(mut records) => {
                self.shuffle(&mut records);
                Outcome::Answer(query.answer(Code::Fine, &records, limit))
            }
            Verdict::Unknown { .. } if self.is_for_search(name, query.kind) => {
                Outcome::Answer(query.answer(Code::Fine, &[], limit))
            }
            Verdict::Unknown { external } => Outcome::Ask { external },
        }
    }

    /// Whether the client will come again with a search domain.
    fn is_for_search(&self, name: Option<&str>, asked: u16) -> bool {
        let is_bare = name.is_some_and(|name| !name.contains('.'));
        self.config.ndots_set && is_bare && matches!(asked, kind::A | kind::AAAA)
    }

    /// So that clients that take the first share the load.
    fn shuffle(&self, records: &mut [Record]) {
        for last in (1..records.len()).rev() {
            records.swap(last, (self.forwarder.random() % (last as u64 + 1)) as usize);
        }
    }

    /// Asks others; says so when nobody answers.
    async fn ask(&self, bytes: &[u8], external: bool, transport: Transport) -> Option<Vec<u8>> {
        let query = Query::parse(bytes).ok()?;
        let Some(leave) = self.forwarder.leave() else {
            return Some(query.answer(Code::Refused, &[], SMALLEST));
        };
        let servers = &self.config.servers;
        let question = query.question();
        let asked =
            self.forwarder.ask(servers, self.netns.as_ref(), external, bytes, question, transport, leave);
        Some(asked.await.unwrap_or_else(|| query.answer(Code::ServerFailed, &[], SMALLEST)))
    }
}

/// Serves one container until it is aborted.
async fn run(resolver: Arc<Resolver>, udp: UdpSocket, tcp: TcpListener) {
    let udp = Arc::new(udp);
    let mut asking = JoinSet::new();
    let mut connections = JoinSet::new();
    let mut rests_until: Option<Instant> = None;
    loop {
        let accepts = connections.len() < MOST_CONNECTIONS && rests_until.is_none();
        tokio::select! {
            ready = udp.readable() => {
                if ready.is_err() {
                    return;
                }
                drain(&resolver, &udp, &mut asking);
                tokio::task::yield_now().await;
            }
            accepted = tcp.accept(), if accepts => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(converse(resolver.clone(), stream));
                }
                // A client that went away is its own affair; without descriptors `accept` would fail at once again.
                Err(error) if matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset) => {}
                Err(error) => {
                    tracing::warn!(container = resolver.container.short(), %error, "cannot accept a connection for names");
                    rests_until = Some(Instant::now() + REST);
                }
            },
            _ = sleep_until(rests_until.unwrap_or_else(Instant::now)), if rests_until.is_some() => rests_until = None,
            Some(_) = asking.join_next() => {}
            Some(_) = connections.join_next() => {}
        }
    }
}

/// Reads what has arrived, and answers what can be answered at once.
fn drain(resolver: &Arc<Resolver>, udp: &Arc<UdpSocket>, asking: &mut JoinSet<()>) {
    let mut buffer = [0; LARGEST_QUESTION];
    for _ in 0..AT_ONCE {
        let Ok((length, client)) = udp.try_recv_from(&mut buffer) else { return };
        let bytes = &buffer[..length];
        let answer = match resolver.judge(bytes, Transport::Udp) {
            Outcome::Silence => continue,
            Outcome::Answer(answer) => answer,
            Outcome::Ask { .. } if asking.len() >= MOST_UNDER_WAY => refuse(bytes, Code::Refused),
            Outcome::Ask { external } => {
                asking.spawn(ask_for(resolver.clone(), udp.clone(), client, bytes.to_vec(), external));
                continue;
            }
        };
        // What cannot be sent is lost, as datagrams are; the client asks again.
        let _ = udp.try_send_to(&answer, client);
    }
}

async fn ask_for(
    resolver: Arc<Resolver>,
    udp: Arc<UdpSocket>,
    client: SocketAddr,
    bytes: Vec<u8>,
    external: bool,
) {
    if let Some(answer) = resolver.ask(&bytes, external, Transport::Udp).await {
        let _ = udp.send_to(&answer, client).await;
    }
}

/// One TCP connection: question after question, until the client is silent or gone.
async fn converse(resolver: Arc<Resolver>, mut stream: TcpStream) {
    while let Ok(Ok(Some(bytes))) = timeout(IDLE, read_framed(&mut stream)).await {
        let answer = match resolver.judge(&bytes, Transport::Tcp) {
            Outcome::Silence => return,
            Outcome::Answer(answer) => Some(answer),
            Outcome::Ask { external } => resolver.ask(&bytes, external, Transport::Tcp).await,
        };
        let Some(answer) = answer else { return };
        if !matches!(timeout(IDLE, write_framed(&mut stream, &answer)).await, Ok(Ok(()))) {
            return;
        }
    }
}
