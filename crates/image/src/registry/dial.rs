//! The way to a host: name lookup, TCP, perhaps a proxy, perhaps TLS. A connector for hyper-util's client.
//!
//! Written by hand for its errors: dockerd's are Go's, and people search for those.

use super::{
    error::TransportError,
    proxy::{Proxies, Proxy},
};
use http::Uri;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_rustls::{HttpsConnector, MaybeHttpsStream};
use hyper_util::{
    client::legacy::connect::{Connected, Connection},
    rt::TokioIo,
};
use std::{
    future::Future,
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

/// For the name, all addresses, the proxy and TLS together.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);

/// For one of several addresses.
const ADDRESS_TIMEOUT: Duration = Duration::from_secs(10);

/// The longest answer of a proxy to CONNECT, in bytes.
const MAX_PROXY_ANSWER: usize = 8 << 10;

type Dialing<T> = Pin<Box<dyn Future<Output = Result<T, TransportError>> + Send>>;

/// A connection as it is before anything is asked for.
type Wire = TokioIo<TcpStream>;

/// TCP to a host's first address.
#[derive(Clone)]
struct Direct;

impl tower_service::Service<Uri> for Direct {
    type Response = Wire;
    type Error = TransportError;
    type Future = Dialing<Wire>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), TransportError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        Box::pin(async move {
            let host = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
            Ok(TokioIo::new(connect(&host, uri.port_u16().unwrap_or(443)).await?))
        })
    }
}

/// TCP, directly or through a proxy.
#[derive(Clone)]
pub(crate) struct Dialer {
    proxies: Arc<Proxies>,
    /// To proxies that are spoken to by TLS.
    secure: HttpsConnector<Direct>,
}

impl Dialer {
    pub(crate) fn new(proxies: Proxies, tls: rustls::ClientConfig) -> Self {
        let builder = hyper_rustls::HttpsConnectorBuilder::new().with_tls_config(tls);
        let secure = builder.https_only().enable_http1().wrap_connector(Direct);
        Self { proxies: Arc::new(proxies), secure }
    }
}

/// A connection to a proxy.
async fn connect_proxy(
    proxy: &Proxy,
    mut secure: HttpsConnector<Direct>,
) -> Result<MaybeHttpsStream<Wire>, TransportError> {
    use tower_service::Service as _;
    let through = |e: TransportError| TransportError::Proxy(e.to_string());
    if !proxy.secure {
        let tcp = connect(&proxy.host, proxy.port).await.map_err(through)?;
        return Ok(MaybeHttpsStream::Http(TokioIo::new(tcp)));
    }
    let host = if proxy.host.contains(':') { format!("[{}]", proxy.host) } else { proxy.host.clone() };
    let uri: Uri = format!("https://{host}:{}/", proxy.port)
        .parse()
        .map_err(|e| TransportError::Proxy(format!("{host}: {e}")))?;
    secure.call(uri).await.map_err(|e| through(explain(e)))
}

impl tower_service::Service<Uri> for Dialer {
    type Response = Plain;
    type Error = TransportError;
    type Future = Dialing<Plain>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), TransportError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let (proxies, secure) = (self.proxies.clone(), self.secure.clone());
        Box::pin(async move {
            let scheme = uri.scheme_str().unwrap_or("http");
            let host = uri.host().unwrap_or_default();
            let port = uri.port_u16().unwrap_or(if scheme == "https" { 443 } else { 80 });
            let Some(proxy) = proxies.proxy_for(scheme, host, port) else {
                let tcp = connect(host.trim_matches(['[', ']']), port).await?;
                return Ok(Plain { way: MaybeHttpsStream::Http(TokioIo::new(tcp)), forwards: false });
            };
            let mut way = TokioIo::new(connect_proxy(&proxy, secure).await?);
            // Plain requests are handed to the proxy as they are; TLS needs a way through.
            if scheme == "https" {
                tunnel(&mut way, &proxy, host, port).await?;
            }
            Ok(Plain { way: way.into_inner(), forwards: scheme != "https" })
        })
    }
}

/// A TCP connection to the first address of `host` that takes one.
async fn connect(host: &str, port: u16) -> Result<TcpStream, TransportError> {
    let lookup = |why: String| TransportError::Lookup { host: host.to_owned(), why };
    let found = tokio::net::lookup_host((host, port)).await.map_err(|e| lookup(lookup_words(&e)))?;
    let mut last = lookup("no such host".into());
    for address in found.take(16) {
        let why = match timeout(ADDRESS_TIMEOUT, TcpStream::connect(address)).await {
            Ok(Ok(tcp)) => {
                // Requests are small and wait for answers: do not hold them back.
                let _ = tcp.set_nodelay(true);
                return Ok(tcp);
            }
            Ok(Err(e)) => format!("connect: {}", io_words(&e)),
            Err(_) => "i/o timeout".into(),
        };
        last = TransportError::Connect { address: show(address), why };
    }
    Err(last)
}

/// Asks the proxy for a way to `host:port`.
async fn tunnel(
    way: &mut TokioIo<MaybeHttpsStream<Wire>>,
    proxy: &Proxy,
    host: &str,
    port: u16,
) -> Result<(), TransportError> {
    let failed = |e: io::Error| TransportError::Proxy(io_words(&e));
    let login =
        proxy.authorization.iter().map(|a| format!("Proxy-Authorization: {a}\r\n")).collect::<String>();
    let request = format!("CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n{login}\r\n");
    way.write_all(request.as_bytes()).await.map_err(failed)?;
    way.flush().await.map_err(failed)?;
    let mut answer = Vec::new();
    // Byte by byte: what follows the empty line belongs to TLS.
    while !answer.ends_with(b"\r\n\r\n") {
        if answer.len() >= MAX_PROXY_ANSWER {
            return Err(TransportError::Proxy("the proxy's answer is too long".into()));
        }
        answer.push(way.read_u8().await.map_err(failed)?);
    }
    let first = String::from_utf8_lossy(&answer).lines().next().unwrap_or_default().to_owned();
    let status = first.split_once(' ').map(|(_, status)| status.trim()).unwrap_or_default();
    match status.starts_with("200") {
        true => Ok(()),
        false => Err(TransportError::Proxy(status.to_owned())),
    }
}

/// Go writes IPv6 addresses with brackets, as Rust does.
fn show(address: SocketAddr) -> String {
    address.to_string()
}

/// Why a name was not found. The C library's errors are told by text only.
fn lookup_words(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.strip_prefix("failed to lookup address information: ").unwrap_or(&text);
    match text {
        "Name or service not known" | "Name does not resolve" | "No address associated with hostname" => {
            "no such host".into()
        }
        other => other.to_owned(),
    }
}

/// An error number in Go's words: `connection refused`.
pub(crate) fn io_words(error: &io::Error) -> String {
    if error.kind() == io::ErrorKind::UnexpectedEof {
        return "unexpected EOF".into();
    }
    let text = error.to_string();
    match text.split_once(" (os error") {
        Some((words, _)) => words.to_lowercase(),
        None => text,
    }
}

/// The connector: a dialer, TLS for `https`, and a bound for all of it.
#[derive(Clone)]
pub(crate) struct Connector {
    https: HttpsConnector<Dialer>,
}

impl Connector {
    pub(crate) fn new(tls: rustls::ClientConfig, dialer: Dialer) -> Self {
        let builder = hyper_rustls::HttpsConnectorBuilder::new().with_tls_config(tls);
        Self { https: builder.https_or_http().enable_all_versions().wrap_connector(dialer) }
    }
}

impl tower_service::Service<Uri> for Connector {
    type Response = MaybeHttpsStream<Plain>;
    type Error = TransportError;
    type Future = Dialing<Self::Response>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), TransportError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connecting = self.https.call(uri);
        Box::pin(async move {
            match timeout(CONNECT_TIMEOUT, connecting).await {
                Ok(Ok(stream)) => Ok(stream),
                Ok(Err(error)) => Err(explain(error)),
                Err(_) => Err(TransportError::Timeout("net/http: TLS handshake timeout")),
            }
        })
    }
}

/// The dialer's own error, TLS's, or another.
fn explain(error: Box<dyn std::error::Error + Send + Sync>) -> TransportError {
    let error = match error.downcast::<TransportError>() {
        Ok(own) => return *own,
        Err(other) => other,
    };
    let mut at: &(dyn std::error::Error + 'static) = &*error;
    let mut words = at.to_string();
    // I/O errors are wrapped in one another; the bound is for the case that they go round.
    for _ in 0..8 {
        if let Some(tls) = at.downcast_ref::<rustls::Error>() {
            return super::tls::explain(tls);
        }
        let Some(io) = at.downcast_ref::<io::Error>() else { break };
        words = io_words(io);
        let Some(inner) = io.get_ref() else { break };
        at = inner;
    }
    TransportError::Broken(words)
}

/// A connection, perhaps to a proxy that forwards plain requests.
pub(crate) struct Plain {
    way: MaybeHttpsStream<Wire>,
    forwards: bool,
}

impl Connection for Plain {
    fn connected(&self) -> Connected {
        // A forwarding proxy wants the whole URL in the first line; hyper-util writes it so then.
        Connected::new().proxy(self.forwards)
    }
}

impl Read for Plain {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.way).poll_read(cx, buf)
    }
}

impl Write for Plain {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.way).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.way).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.way).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.way.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.way).poll_write_vectored(cx, bufs)
    }
}
