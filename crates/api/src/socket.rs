//! A client's connection, and how a handler takes it over for a stream.
//!
//! Docker's old clients expect `200 OK` and raw bytes after it, which is no HTTP upgrade. So a handler claims the
//! connection; the socket then swallows what hyper says, hyper ends, and the bytes that it had read too far are
//! given back. All streams go this way, upgraded ones too, so that their head is dockerd's to the letter.

use bytes::{Buf as _, Bytes};
use std::{
    future::Future,
    io,
    os::fd::AsFd as _,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, Interest, ReadBuf},
    net::{TcpStream, UnixStream},
};
use tokio_rustls::server::TlsStream;

/// How long a client may take to read a stream's head before what follows is sent.
const HEAD_TIME: Duration = Duration::from_millis(500);

/// And how long one over the network gets.
const REMOTE_TIME: Duration = Duration::from_millis(40);

/// The kernel's or TLS's stream.
#[derive(Debug)]
pub(crate) enum Stream {
    /// Local.
    Unix(UnixStream),
    /// Over the network, in the open.
    Tcp(TcpStream),
    /// Over the network, encrypted.
    Tls(Box<TlsStream<TcpStream>>),
}

/// A client's connection.
#[derive(Debug)]
pub(crate) struct Socket {
    stream: Stream,
    /// Read before, to be read again.
    ahead: Bytes,
    muted: Arc<AtomicBool>,
}

/// What a handler does with a connection that it took over: given the socket, until the future ends.
pub(crate) type Job = Box<dyn FnOnce(Socket) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send>;

/// The handle by which a handler takes a connection over.
#[derive(Clone, Default)]
pub(crate) struct Takeover {
    muted: Arc<AtomicBool>,
    job: Arc<Mutex<Option<Job>>>,
}

impl Takeover {
    /// From now on the connection is `job`'s; the handler's own answer goes nowhere.
    pub(crate) fn claim(&self, job: Job) {
        *self.job.lock().unwrap_or_else(|e| e.into_inner()) = Some(job);
        self.muted.store(true, Ordering::Release);
    }

    /// Whether it was claimed.
    pub(crate) fn is_claimed(&self) -> bool {
        self.muted.load(Ordering::Acquire)
    }

    /// What is to be done with the connection, once.
    pub(crate) fn take(&self) -> Option<Job> {
        self.job.lock().unwrap_or_else(|e| e.into_inner()).take()
    }
}

impl Socket {
    /// A fresh connection that `takeover` may claim.
    pub(crate) fn new(stream: Stream, takeover: &Takeover) -> Self {
        Self { stream, ahead: Bytes::new(), muted: takeover.muted.clone() }
    }

    /// `bytes` will be read again, before anything else.
    pub(crate) fn put_back(&mut self, bytes: Bytes) {
        match self.ahead.is_empty() {
            true => self.ahead = bytes,
            false => self.ahead = [bytes, std::mem::take(&mut self.ahead)].concat().into(),
        }
    }

    /// What is written reaches the client again: hyper has ended.
    pub(crate) fn unmute(&mut self) {
        self.muted = Arc::default();
    }

    /// Waits until a local client has read all that was written, at most a moment. Of a client over the network nobody
    /// tells what it has read: it gets as long as dockerd takes to make a process at the least.
    ///
    /// Many clients read a stream's head through a buffer and lose what comes with it.
    pub(crate) async fn drained(&self) {
        let Stream::Unix(stream) = &self.stream else { return tokio::time::sleep(REMOTE_TIME).await };
        let drained =
            stream.async_io(Interest::WRITABLE, || match minke_engine::unread_by_peer(stream.as_fd()) {
                // The kernel tells when more room is left: that is when the client reads.
                Ok(1..) => Err(io::ErrorKind::WouldBlock.into()),
                Ok(0) | Err(_) => Ok(()),
            });
        // A client that does not read in time gets what follows all the same.
        let _ = tokio::time::timeout(HEAD_TIME, drained).await;
    }

    /// Whether the client closed both directions; one that only ended its own is still there.
    pub(crate) async fn is_gone(&self) -> bool {
        let ready = match &self.stream {
            Stream::Unix(s) => s.ready(Interest::WRITABLE).await,
            Stream::Tcp(s) => s.ready(Interest::WRITABLE).await,
            Stream::Tls(s) => s.get_ref().0.ready(Interest::WRITABLE).await,
        };
        ready.map_or(true, |ready| ready.is_write_closed())
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Unix(s) => Pin::new(s).poll_read(cx, out),
            Stream::Tcp(s) => Pin::new(s).poll_read(cx, out),
            Stream::Tls(s) => Pin::new(s).poll_read(cx, out),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Stream::Unix(s) => Pin::new(s).poll_write(cx, bytes),
            Stream::Tcp(s) => Pin::new(s).poll_write(cx, bytes),
            Stream::Tls(s) => Pin::new(s).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Unix(s) => Pin::new(s).poll_flush(cx),
            Stream::Tcp(s) => Pin::new(s).poll_flush(cx),
            Stream::Tls(s) => Pin::new(s).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Unix(s) => Pin::new(s).poll_shutdown(cx),
            Stream::Tcp(s) => Pin::new(s).poll_shutdown(cx),
            Stream::Tls(s) => Pin::new(s).poll_shutdown(cx),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Stream::Unix(s) => Pin::new(s).poll_write_vectored(cx, parts),
            Stream::Tcp(s) => Pin::new(s).poll_write_vectored(cx, parts),
            Stream::Tls(s) => Pin::new(s).poll_write_vectored(cx, parts),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Stream::Unix(s) => s.is_write_vectored(),
            Stream::Tcp(s) => s.is_write_vectored(),
            Stream::Tls(s) => s.is_write_vectored(),
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.ahead.is_empty() {
            return Pin::new(&mut self.stream).poll_read(cx, out);
        }
        let n = self.ahead.len().min(out.remaining());
        out.put_slice(&self.ahead[..n]);
        self.ahead.advance(n);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.muted.load(Ordering::Acquire) {
            return Poll::Ready(Ok(bytes.len()));
        }
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.muted.load(Ordering::Acquire) {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.muted.load(Ordering::Acquire) {
            return Poll::Ready(Ok(parts.iter().map(|p| p.len()).sum()));
        }
        Pin::new(&mut self.stream).poll_write_vectored(cx, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
