//! What is not ours: asked of others, handed on as bytes.
//!
//! The host's resolvers are asked from the host's namespace, those that a container was given (`--dns`) from its own
//! (as Docker 28 does). Each is tried in turn. Every question goes out from a socket, and so a port, of its own, under
//! an id of our own, and only an answer to just this question, from just this server, is believed (RFC 5452).
//!
//! The client's transport is kept: what does not fit into a datagram comes back marked as cut, and the client asks
//! again by TCP, as does this end then.

use super::{ADDRESS, message, resolv_conf};
use minke_linux::netlink::within;
use rustix::{
    fd::{AsFd, OwnedFd},
    fs::Stat,
    net::{AddressFamily, RecvFlags, SocketFlags, SocketType, netdevice::name_to_index, recv, socket_with},
};
use std::{
    hash::{BuildHasher, RandomState},
    io,
    net::{IpAddr, SocketAddr, SocketAddrV6, TcpStream, UdpSocket},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, Interest},
    net::TcpSocket,
    sync::Semaphore,
    time::timeout,
};

/// How long one server may take; Docker's figure.
const PATIENCE: Duration = Duration::from_secs(4);
/// How many servers are tried; libc's figure, and Docker's.
const MOST_SERVERS: usize = 3;
/// Questions under way at once, for all containers.
const MOST_UNDER_WAY: usize = 2048;

/// Another resolver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upstream {
    /// Where it is.
    pub address: IpAddr,
    /// The interface of a link-local address; empty otherwise.
    pub zone: String,
    /// 53, but for tests.
    pub port: u16,
}

impl Upstream {
    fn socket_address(&self) -> io::Result<SocketAddr> {
        let IpAddr::V6(address) = self.address else { return Ok((self.address, self.port).into()) };
        let index = match self.zone.parse() {
            Ok(index) => index,
            Err(_) if self.zone.is_empty() => 0,
            Err(_) => {
                let any = socket_with(AddressFamily::INET6, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
                name_to_index(any.as_fd(), &self.zone)?
            }
        };
        Ok(SocketAddrV6::new(address, self.port, 0, index).into())
    }
}

/// Whom a container's resolver asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Servers {
    /// Those of the host's resolv.conf, as it is at the time of the question; from the host's namespace.
    Host,
    /// These; from the container's namespace.
    Given(Vec<Upstream>),
}

/// By which transport a question came, and goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Transport {
    Udp,
    Tcp,
}

/// What all containers' resolvers share.
pub(super) struct Forwarder {
    host: HostFile,
    ids: Ids,
    under_way: Arc<Semaphore>,
}

/// Leave to ask one question.
pub(super) type Leave = tokio::sync::OwnedSemaphorePermit;

impl Forwarder {
    pub(super) fn new(resolv_conf: PathBuf) -> Self {
        let host = HostFile { path: resolv_conf, known: Mutex::new((None, Vec::new())) };
        Forwarder { host, ids: Ids::new(), under_way: Arc::new(Semaphore::new(MOST_UNDER_WAY)) }
    }

    /// Leave to ask, unless too many questions are under way.
    pub(super) fn leave(&self) -> Option<Leave> {
        self.under_way.clone().try_acquire_owned().ok()
    }

    /// A number that nobody can guess.
    pub(super) fn random(&self) -> u64 {
        self.ids.next()
    }

    /// Asks `servers` in turn. `None`: none gave an answer. `netns` is the container's, for those of its own; the
    /// host's are not asked unless the container is `external`.
    pub(super) async fn ask(
        &self,
        servers: &Servers,
        netns: Option<&Arc<OwnedFd>>,
        external: bool,
        query: &[u8],
        question: &[u8],
        transport: Transport,
        _leave: Leave,
    ) -> Option<Vec<u8>> {
        let (servers, netns) = match servers {
            Servers::Host if external => (self.host.servers(), None),
            Servers::Host => return None,
            // Asking oneself would go round for ever; the host's own 127.0.0.11 is another one.
            Servers::Given(servers) => {
                (servers.iter().filter(|s| s.address != IpAddr::V4(ADDRESS)).cloned().collect(), Some(netns?))
            }
        };
        for server in servers.iter().take(MOST_SERVERS) {
            let id = self.ids.next() as u16;
            let exchange = exchange(server, netns, id, query, question, transport);
            let mut answer = match timeout(PATIENCE, exchange).await {
                Ok(Ok(answer)) => answer,
                Ok(Err(error)) => {
                    tracing::debug!(server = %server.address, %error, "cannot ask a resolver");
                    continue;
                }
                Err(_) => {
                    tracing::debug!(server = %server.address, "a resolver does not answer");
                    continue;
                }
            };
            // Another server may know better; anything else, also "no such name", is an answer.
            let failed = [message::Code::ServerFailed as u8, message::Code::Refused as u8];
            if message::code(&answer).is_none_or(|code| failed.contains(&code)) {
                continue;
            }
            message::set_id(&mut answer, message::id(query)?);
            return Some(answer);
        }
        None
    }
}

/// Sends `query` under `id` and waits for its answer.
async fn exchange(
    server: &Upstream,
    netns: Option<&Arc<OwnedFd>>,
    id: u16,
    query: &[u8],
    question: &[u8],
    transport: Transport,
) -> io::Result<Vec<u8>> {
    let address = server.socket_address()?;
    let socket = open(&address, netns, transport).await?;
    let mut query = query.to_vec();
    message::set_id(&mut query, id);
    match transport {
        Transport::Udp => {
            let socket = tokio::net::UdpSocket::from_std(UdpSocket::from(socket))?;
            // Connected: only this server's datagrams arrive, and its refusal is an error at once.
            socket.connect(address).await?;
            socket.send(&query).await?;
            loop {
                // The kernel tells a refusal as an error, without anything to read.
                let answer =
                    socket.async_io(Interest::READABLE | Interest::ERROR, || receive(&socket)).await?;
                if message::answers(&answer, id, question) {
                    return Ok(answer);
                }
            }
        }
        Transport::Tcp => {
            let socket = TcpSocket::from_std_stream(TcpStream::from(socket));
            let mut stream = socket.connect(address).await?;
            write_framed(&mut stream, &query).await?;
            let answer = read_framed(&mut stream).await?.ok_or(io::ErrorKind::UnexpectedEof)?;
            let is_ours = message::answers(&answer, id, question);
            is_ours.then_some(answer).ok_or_else(|| io::ErrorKind::InvalidData.into())
        }
    }
}

/// One datagram. Apart, so that its buffer lies on the stack and not in every waiting task: servers that know no EDNS
/// may send more than was asked for.
fn receive(socket: &tokio::net::UdpSocket) -> io::Result<Vec<u8>> {
    let mut buffer = [0u8; u16::MAX as usize];
    let (length, _) = recv(socket, &mut buffer[..], RecvFlags::DONTWAIT)?;
    Ok(buffer[..length].to_vec())
}

/// A socket in the container's namespace, or in ours.
async fn open(
    address: &SocketAddr,
    netns: Option<&Arc<OwnedFd>>,
    transport: Transport,
) -> io::Result<OwnedFd> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let kind = if transport == Transport::Udp { SocketType::DGRAM } else { SocketType::STREAM };
    let socket = move || socket_with(family, kind, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None);
    let Some(netns) = netns.cloned() else { return Ok(socket()?) };
    let made = tokio::task::spawn_blocking(move || within(netns.as_fd(), socket)).await;
    Ok(made.map_err(io::Error::other)???)
}

/// One message of a TCP stream (RFC 1035, section 4.2.2); `None` when it ends before one.
pub(super) async fn read_framed(stream: &mut tokio::net::TcpStream) -> io::Result<Option<Vec<u8>>> {
    let mut length = [0; 2];
    match stream.read_exact(&mut length).await {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        result => result?,
    };
    let mut body = vec![0; u16::from_be_bytes(length) as usize];
    stream.read_exact(&mut body).await?;
    Ok(Some(body))
}

/// Writes one message to a TCP stream.
pub(super) async fn write_framed(stream: &mut tokio::net::TcpStream, body: &[u8]) -> io::Result<()> {
    let length = u16::try_from(body.len()).map_err(|_| io::ErrorKind::InvalidData)?;
    let framed = [&length.to_be_bytes(), body].concat();
    stream.write_all(&framed).await
}

/// The host's resolv.conf, read again when it has changed.
struct HostFile {
    path: PathBuf,
    known: Mutex<(Option<Stamp>, Vec<Upstream>)>,
}

/// What changes when a file does.
#[derive(PartialEq, Eq)]
struct Stamp(u64, u64, i64, i64, u64);

impl Stamp {
    fn of(path: &Path) -> Option<Self> {
        let Stat { st_dev, st_ino, st_size, st_mtime, st_mtime_nsec, .. } = rustix::fs::stat(path).ok()?;
        Some(Stamp(st_dev, st_ino, st_size, st_mtime, st_mtime_nsec))
    }
}

impl HostFile {
    fn servers(&self) -> Vec<Upstream> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let stamp = Stamp::of(&self.path);
        if stamp.is_none() || stamp != known.0 {
            // A file that is missing names nobody; one that cannot be read now may be later.
            let text = std::fs::read_to_string(&self.path).unwrap_or_default();
            *known = (stamp, resolv_conf::parse(&text).servers().to_vec());
        }
        known.1.clone()
    }
}

/// Ids that nobody can guess: a keyed hash of a counter.
struct Ids {
    key: RandomState,
    next: AtomicU64,
}

impl Ids {
    fn new() -> Self {
        Ids { key: RandomState::new(), next: AtomicU64::new(0) }
    }

    fn next(&self) -> u64 {
        self.key.hash_one(self.next.fetch_add(1, Ordering::Relaxed))
    }
}
