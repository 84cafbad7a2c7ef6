//! Copies what nftables cannot send on: connections to `::1`, to IPv6 addresses of the host when the container has only
//! IPv4, and between containers of a network that are kept apart.
//!
//! The kernel takes all other traffic to published ports away before it reaches a socket; these tasks then sleep. What
//! they hold is bounded: [`CONNECTIONS`] a TCP port, [`SESSIONS`] a UDP port.
//!
//! Never: the port's socket itself, beyond one poll. Its owner closes it at once, whatever a task is waiting for.

use minke_linux::datagram::{self, Local};
use std::{
    collections::HashMap,
    future::poll_fn,
    io,
    net::SocketAddr,
    os::fd::AsFd,
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicBool, Ordering},
    },
    task::{Poll, ready},
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

struct Session {
    server: Arc<UdpSocket>,
    active: Arc<AtomicBool>,
}

/// Sends datagrams on, and answers back, until the socket is gone. The socket was told to [`datagram::want_local`].
pub(crate) async fn udp(socket: Weak<UdpSocket>, target: SocketAddr) {
    let sessions: Arc<Mutex<HashMap<Peer, Session>>> = Arc::default();
    let mut answers = JoinSet::new();
    let mut buffer = vec![0; DATAGRAM];
    loop {
        while answers.try_join_next().is_some() {}
        let (peer, length) = match receive(&socket, &mut buffer).await {
            None => return,
            Some(Ok(received)) => received,
            // An answer that could not be delivered is told here.
            Some(Err(_)) => continue,
        };
        let known = {
            let sessions = sessions.lock().unwrap_or_else(PoisonError::into_inner);
            sessions.get(&peer).map(|s| (s.server.clone(), s.active.clone())).ok_or(sessions.len())
        };
        let server = match known {
            Ok((server, active)) => {
                active.store(true, Ordering::Relaxed);
                server
            }
            Err(count) if count >= SESSIONS => continue,
            Err(_) => {
                let Ok(server) = connect(target).await else { continue };
                let (server, active) = (Arc::new(server), Arc::new(AtomicBool::new(false)));
                let session = Session { server: server.clone(), active: active.clone() };
                sessions.lock().unwrap_or_else(PoisonError::into_inner).insert(peer, session);
                let (socket, sessions, from) = (socket.clone(), sessions.clone(), server.clone());
                answers.spawn(async move {
                    answer(socket, peer, from, active).await;
                    sessions.lock().unwrap_or_else(PoisonError::into_inner).remove(&peer);
                });
                server
            }
        };
        // A datagram that cannot be sent is lost, as datagrams are.
        let _ = server.send(&buffer[..length]).await;
    }
}

/// The next datagram; `None` when the socket is gone.
async fn receive(socket: &Weak<UdpSocket>, buffer: &mut [u8]) -> Option<io::Result<(Peer, usize)>> {
    poll_fn(|context| {
        loop {
            let Some(socket) = socket.upgrade() else { return Poll::Ready(None) };
            if let Err(error) = ready!(socket.poll_recv_ready(context)) {
                return Poll::Ready(Some(Err(error)));
            }
            let read = || datagram::receive(socket.as_fd(), buffer);
            match socket.try_io(Interest::READABLE, read) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                read => {
                    return Poll::Ready(Some(read.map(|(length, client, local)| ((client, local), length))));
                }
            }
        }
    })
    .await
}

async fn connect(target: SocketAddr) -> io::Result<UdpSocket> {
    let any: SocketAddr = if target.is_ipv4() { ([0; 4], 0).into() } else { ([0u16; 8], 0).into() };
    let socket = UdpSocket::bind(any).await?;
    socket.connect(target).await?;
    Ok(socket)
}

/// Sends a session's answers back until it is idle in both directions.
async fn answer(
    socket: Weak<UdpSocket>,
    (client, local): Peer,
    server: Arc<UdpSocket>,
    active: Arc<AtomicBool>,
) {
    let mut buffer = vec![0; DATAGRAM];
    loop {
        match tokio::time::timeout(IDLE, server.recv(&mut buffer)).await {
            Ok(Ok(length)) => {
                let Some(socket) = socket.upgrade() else { return };
                // A full queue loses it, as any on the way would.
                let _ = datagram::send(socket.as_fd(), &buffer[..length], client, local);
            }
            // "Nobody listens there": the next datagram may find someone.
            Ok(Err(_)) => {}
            Err(_) if active.swap(false, Ordering::Relaxed) => {}
            Err(_) => return,
        }
    }
}
