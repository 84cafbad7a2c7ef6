//! The door: connections, HTTP/1.1 and HTTP/2, TLS, bounds. What a request means is `routes`'s.

use crate::{
    error::ApiError,
    response::{self, Answer, Served},
    socket::{Socket, Stream, Takeover},
};
use futures_util::FutureExt as _;
use http::{HeaderMap, HeaderValue, Request, StatusCode, header};
use hyper::{body::Incoming, server::conn::http1, server::conn::http2, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use std::{future::Future, io, panic::AssertUnwindSafe, pin::pin, sync::Arc, time::Duration};
use tokio::{
    io::AsyncReadExt as _,
    net::{TcpListener, UnixListener},
    sync::{Semaphore, watch},
    task::JoinSet,
};
use tokio_rustls::TlsAcceptor;

/// A client that has not sent its request's head in this time is sent away (as dockerd).
const HEAD_TIMEOUT: Duration = Duration::from_secs(300);
/// A client that has not finished its TLS handshake in this time is sent away.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Connections at a time; more wait to be accepted.
const MOST_CONNECTIONS: usize = 16_384;
/// Streams that are open when the daemon ends get this long to end by themselves.
const FAREWELL: Duration = Duration::from_millis(500);
/// How HTTP/2 begins when both sides know (RFC 9113, 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// The largest head of a request, bytes.
const MOST_HEAD: usize = 1 << 20;
/// Header fields of a request.
const MOST_FIELDS: usize = 256;

/// Where clients come from.
#[derive(Debug)]
pub enum Listener {
    /// A path of this machine.
    Unix(UnixListener),
    /// The network, in the open.
    Tcp(TcpListener),
    /// The network, encrypted.
    Tls(TcpListener, Arc<rustls::ServerConfig>),
}

/// What answers requests.
pub(crate) trait Handler: Send + Sync + 'static {
    /// Answers one request; `takeover` gives it the connection instead.
    fn handle(
        self: Arc<Self>,
        request: Request<Incoming>,
        takeover: Option<Takeover>,
    ) -> impl Future<Output = Answer> + Send;
}

/// Serves a listener until `shutdown`, then ends: requests under way first, streams after a moment.
pub(crate) async fn serve<H: Handler>(
    handler: Arc<H>,
    listener: Listener,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    let (closing, _) = watch::channel(false);
    let places = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    let mut clients = JoinSet::new();
    let mut shutdown = pin!(shutdown);
    loop {
        let place = tokio::select! {
            () = &mut shutdown => break,
            place = places.clone().acquire_owned() => place.map_err(io::Error::other)?,
        };
        let accepted = tokio::select! {
            () = &mut shutdown => break,
            Some(_) = clients.join_next() => continue,
            accepted = accept(&listener) => accepted,
        };
        let (stream, tls) = match accepted {
            Ok(accepted) => accepted,
            Err(e) => {
                // Out of descriptors, mostly: the next client may find one, and a busy loop finds none.
                tracing::warn!("cannot accept a client: {e}");
                if !clients.is_empty() && e.raw_os_error().is_some_and(|n| n == 23 || n == 24) {
                    clients.join_next().await;
                }
                continue;
            }
        };
        let (handler, closing) = (handler.clone(), closing.subscribe());
        clients.spawn(async move {
            client(handler, stream, tls, closing).await;
            drop(place);
        });
    }
    closing.send_replace(true);
    let all = async { while clients.join_next().await.is_some() {} };
    if tokio::time::timeout(FAREWELL, all).await.is_err() {
        clients.shutdown().await;
    }
    Ok(())
}

async fn accept(listener: &Listener) -> io::Result<(Stream, Option<Arc<rustls::ServerConfig>>)> {
    Ok(match listener {
        Listener::Unix(listener) => (Stream::Unix(listener.accept().await?.0), None),
        Listener::Tcp(listener) => (tcp(listener).await?, None),
        Listener::Tls(listener, config) => (tcp(listener).await?, Some(config.clone())),
    })
}

async fn tcp(listener: &TcpListener) -> io::Result<Stream> {
    let (stream, _) = listener.accept().await?;
    stream.set_nodelay(true)?;
    Ok(Stream::Tcp(stream))
}

/// One client, from its handshake to its end.
async fn client<H: Handler>(
    handler: Arc<H>,
    stream: Stream,
    tls: Option<Arc<rustls::ServerConfig>>,
    closing: watch::Receiver<bool>,
) {
    let stream = match (stream, tls) {
        (Stream::Tcp(tcp), Some(config)) => {
            match tokio::time::timeout(HANDSHAKE_TIMEOUT, TlsAcceptor::from(config).accept(tcp)).await {
                Ok(Ok(stream)) => Stream::Tls(Box::new(stream)),
                Ok(Err(e)) => return tracing::debug!("a client's TLS handshake failed: {e}"),
                Err(_) => return tracing::debug!("a client's TLS handshake took too long"),
            }
        }
        (stream, _) => stream,
    };
    let takeover = Takeover::default();
    let mut socket = Socket::new(stream, &takeover);
    match tokio::time::timeout(HEAD_TIMEOUT, speaks_http2(&mut socket)).await {
        Ok(Ok(true)) => http2(handler, socket, closing).await,
        Ok(Ok(false)) => http1(handler, socket, takeover, closing).await,
        Ok(Err(_)) | Err(_) => {}
    }
}

/// Whether the first bytes are HTTP/2's. They are read again.
async fn speaks_http2(socket: &mut Socket) -> io::Result<bool> {
    let mut seen = Vec::with_capacity(PREFACE.len());
    while seen.len() < PREFACE.len() && PREFACE.starts_with(&seen) {
        let mut buffer = [0u8; PREFACE.len()];
        let n = socket.read(&mut buffer[..PREFACE.len() - seen.len()]).await?;
        if n == 0 {
            break;
        }
        seen.extend_from_slice(&buffer[..n]);
    }
    let found = seen == PREFACE;
    socket.put_back(seen.into());
    Ok(found)
}

/// HTTP/1.1, and the stream that a handler makes of the connection.
async fn http1<H: Handler>(
    handler: Arc<H>,
    socket: Socket,
    takeover: Takeover,
    mut closing: watch::Receiver<bool>,
) {
    let for_requests = takeover.clone();
    let service = service_fn(move |request| {
        let (handler, takeover) = (handler.clone(), for_requests.clone());
        guarded(handler, request, Some(takeover)).boxed()
    });
    let mut connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(MOST_HEAD)
        .max_headers(MOST_FIELDS)
        .serve_connection(TokioIo::new(socket), service);
    let mut told = false;
    let ended = loop {
        tokio::select! {
            ended = std::future::poll_fn(|cx| connection.poll_without_shutdown(cx)) => break ended,
            () = closed(&mut closing), if !told => {
                told = true;
                std::pin::Pin::new(&mut connection).graceful_shutdown();
            }
        }
    };
    if let Err(e) = ended {
        return tracing::debug!("a connection ended: {e}");
    }
    let parts = connection.into_parts();
    let mut socket = parts.io.into_inner();
    match takeover.take() {
        Some(job) => {
            socket.put_back(parts.read_buf);
            socket.unmute();
            job(socket).await;
        }
        None => {
            // The client may be gone already.
            let _ = tokio::io::AsyncWriteExt::shutdown(&mut socket).await;
        }
    }
}

/// HTTP/2: many requests at once, no takeover.
async fn http2<H: Handler>(handler: Arc<H>, socket: Socket, mut closing: watch::Receiver<bool>) {
    let service = service_fn(move |request| guarded(handler.clone(), request, None));
    let connection = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .max_concurrent_streams(256)
        .serve_connection(TokioIo::new(socket), service);
    let mut connection = pin!(connection);
    let mut told = false;
    let ended = loop {
        tokio::select! {
            ended = connection.as_mut() => break ended,
            () = closed(&mut closing), if !told => {
                told = true;
                connection.as_mut().graceful_shutdown();
            }
        }
    };
    if let Err(e) = ended {
        tracing::debug!("a connection ended: {e}");
    }
}

/// Until the server ends.
async fn closed(closing: &mut watch::Receiver<bool>) {
    // An error says that the server is gone already.
    let _ = closing.wait_for(|closing| *closing).await;
}

/// A handler's panic is one client's answer, not the daemon's end.
async fn guarded<H: Handler>(
    handler: Arc<H>,
    request: Request<Incoming>,
    takeover: Option<Takeover>,
) -> Served {
    let claimed = takeover.clone();
    let asked = format!("{} {}", request.method(), request.uri().path());
    let mut answer =
        AssertUnwindSafe(handler.handle(request, takeover)).catch_unwind().await.unwrap_or_else(|_| {
            tracing::error!("a bug: the handler of {asked} panicked");
            response::error(&ApiError::internal("the daemon has a bug: see its log"))
        });
    tracing::debug!("{asked}: {}", answer.status());
    if claimed.is_some_and(|c| c.is_claimed()) {
        // hyper shall end here; the socket swallows this answer.
        answer = response::empty(StatusCode::OK);
        answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    Ok(answer)
}

/// The fields that every answer of a known path carries.
pub(crate) fn identify(headers: &mut HeaderMap, server: &HeaderValue, experimental: bool) {
    headers.insert("Api-Version", HeaderValue::from_static(crate::version::NEWEST));
    headers.insert("Ostype", HeaderValue::from_static("linux"));
    headers.insert(header::SERVER, server.clone());
    if experimental {
        headers.insert("Docker-Experimental", HeaderValue::from_static("false"));
    }
}

#[cfg(test)]
mod tests;
