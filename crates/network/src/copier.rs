//! Copies what nftables cannot send on: connections to `::1`, to IPv6 addresses of the host when the container has only
//! IPv4, and between containers of a network that are kept apart.
//!
//! The kernel takes all other traffic to published ports away before it reaches a socket; these tasks then sleep. What
//! they hold is bounded: [`CONNECTIONS`] a TCP port, [`SESSIONS`] a UDP port.
//!
//! Never: the port's socket itself, beyond one poll. Its owner closes it at once, whatever a task is waiting for.

use minke_linux::datagram::{self, Local};
use rustix::net::SendFlags;
use std::{
    cell::RefCell,
    collections::HashMap,
    future::poll_fn,
    io,
    net::SocketAddr,
    os::fd::AsFd,
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicBool, Ordering},
    },
    task::Poll,
    time::Duration,
};
use tokio::{
    io::{Interest, copy_bidirectional_with_sizes},
    net::{TcpListener, TcpStream, UdpSocket},
    sync::Semaphore,
    task::JoinSet,
};

/// Connections of one port at a time; the next waits in the kernel's queue.
const CONNECTIONS: usize = 2048;
/// Senders of one UDP port at a time; the next one's datagrams are lost, as in a full queue.
const SESSIONS: usize = 1024;
/// A UDP sender that is silent for so long is forgotten, as by docker-proxy.
const IDLE: Duration = Duration::from_secs(90);
/// Bytes in flight a direction.
const BUFFER: usize = 32 * 1024;
/// Datagrams of one port that are sent on before others have their turn.
const BURST: usize = 64;
/// The largest datagram.
const DATAGRAM: usize = 65_536;

/// Sends connections on until the listener is gone.
pub(crate) async fn tcp(listener: Weak<TcpListener>, target: SocketAddr) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    // Dropped with the task: connections end with the port.
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let Ok(place) = places.clone().acquire_owned().await else { return };
        let accepted = poll_fn(|context| match listener.upgrade() {
            Some(listener) => listener.poll_accept(context).map(Some),
            None => Poll::Ready(None),
        })
        .await;
        match accepted {
            None => return,
            Some(Ok((client, _))) => {
                connections.spawn(async move {
                    // A connection that breaks ends here, as it does at both its ends.
                    let _ = connection(client, target).await;
                    drop(place);
                });
            }
            Some(Err(error)) if is_passing(&error) => {}
            Some(Err(error)) => {
                tracing::warn!(%target, %error, "a published port cannot accept connections");
                return;
            }
        }
    }
}

async fn connection(mut client: TcpStream, target: SocketAddr) -> io::Result<()> {
    let mut server = TcpStream::connect(target).await?;
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    copy_bidirectional_with_sizes(&mut client, &mut server, BUFFER, BUFFER).await.map(drop)
}

/// Whether the next `accept` may go well: the connection broke before it was taken.
fn is_passing(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted
    )
}

/// One sender of datagrams, and the address of this host that it sends to.
type Peer = (SocketAddr, Option<Local>);

/// What is known of a sender.
#[derive(Debug)]
struct Session {
    /// Connected to the container.
    server: UdpSocket,
    /// Whether it sent anything since it was last asked.
    active: AtomicBool,
}

type Sessions = Mutex<HashMap<Peer, Arc<Session>>>;

thread_local! {
    /// Where a datagram lies between two sockets. One for all ports of a thread: nothing waits while it is in use.
    static SCRATCH: RefCell<Vec<u8>> = RefCell::new(vec![0; DATAGRAM]);
}

/// Sends datagrams on, and answers back, until the socket is gone. The socket was told to [`datagram::want_local`].
pub(crate) async fn udp(socket: Weak<UdpSocket>, target: SocketAddr) {
    let sessions: Arc<Sessions> = Arc::default();
    let mut answers = JoinSet::new();
    loop {
        while answers.try_join_next().is_some() {}
        let ready = poll_fn(|context| match socket.upgrade() {
            Some(socket) => socket.poll_recv_ready(context).map(Some),
            None => Poll::Ready(None),
        });
        match ready.await {
            Some(Ok(())) => {}
            Some(Err(error)) => return tracing::warn!(%target, %error, "a published port cannot receive"),
            None => return,
        }
        let Some(socket) = socket.upgrade() else { return };
        for _ in 0..BURST {
            let sent = SCRATCH.with_borrow_mut(|buffer| send_on(&socket, &sessions, target, buffer));
            match sent {
                Ok(None) => {}
                Ok(Some((peer, session))) => {
                    answers.spawn(answers_of(Arc::downgrade(&socket), peer, session, sessions.clone()));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                // An answer that could not be delivered is told here.
                Err(_) => {}
            }
        }
        drop(socket);
        tokio::task::yield_now().await;
    }
}

/// Takes one datagram and sends it to the container. Returns the session if it is a new one.
fn send_on(
    socket: &UdpSocket,
    sessions: &Sessions,
    target: SocketAddr,
    buffer: &mut [u8],
) -> io::Result<Option<(Peer, Arc<Session>)>> {
    let read = || datagram::receive(socket.as_fd(), buffer);
    let (length, client, local) = socket.try_io(Interest::READABLE, read)?;
    let peer = (client, local);
    let mut sessions = sessions.lock().unwrap_or_else(PoisonError::into_inner);
    let known = sessions.get(&peer).cloned();
    let session = match &known {
        Some(session) => session.clone(),
        None if sessions.len() >= SESSIONS => return Ok(None),
        None => {
            let session = Arc::new(Session { server: connected(target)?, active: AtomicBool::new(false) });
            sessions.insert(peer, session.clone());
            session
        }
    };
    drop(sessions);
    session.active.store(true, Ordering::Relaxed);
    // A datagram that cannot be sent is lost, as datagrams are. Not by tokio's `try_send`: to it, a new socket is not ready.
    let _ = rustix::net::send(&session.server, &buffer[..length], SendFlags::DONTWAIT | SendFlags::NOSIGNAL);
    Ok(known.is_none().then_some((peer, session)))
}

fn connected(target: SocketAddr) -> io::Result<UdpSocket> {
    let any: SocketAddr = if target.is_ipv4() { ([0; 4], 0).into() } else { ([0u16; 8], 0).into() };
    let socket = std::net::UdpSocket::bind(any)?;
    socket.connect(target)?;
    socket.set_nonblocking(true)?;
    UdpSocket::from_std(socket)
}

/// Sends a session's answers back until it is idle in both directions.
async fn answers_of(socket: Weak<UdpSocket>, peer: Peer, session: Arc<Session>, sessions: Arc<Sessions>) {
    loop {
        match tokio::time::timeout(IDLE, session.server.readable()).await {
            Ok(Ok(())) => {
                let Some(socket) = socket.upgrade() else { break };
                SCRATCH.with_borrow_mut(|buffer| {
                    // "Nobody listens there" is told here; the next datagram may find someone.
                    if let Ok(length) = session.server.try_recv(buffer) {
                        // A full queue loses it, as any on the way would.
                        let _ = datagram::send(socket.as_fd(), &buffer[..length], peer.0, peer.1);
                    }
                });
            }
            Err(_) if session.active.swap(false, Ordering::Relaxed) => {}
            Ok(Err(_)) | Err(_) => break,
        }
    }
    sessions.lock().unwrap_or_else(PoisonError::into_inner).remove(&peer);
}
