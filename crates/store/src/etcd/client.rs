//! Calls to etcd: one HTTP/2 connection to one member at a time, and the next member when it breaks.

use crate::{Result, StoreError};
use futures_util::StreamExt;
use http::{Request, Response, Uri, uri::PathAndQuery};
use hyper::{
    body::Incoming,
    client::conn::http2::{self, SendRequest},
};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use prost::Message;
use std::{
    future::{Future, poll_fn},
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    task::AbortHandle,
    time::timeout,
};
use tonic::{Code, Status, Streaming, body::Body, client};
use tonic_prost::ProstCodec;

/// The largest answer. A page of records is far smaller; one record may be some MiB.
const LARGEST: usize = 64 << 20;
/// How long a member may take to be connected to.
const CONNECTING: Duration = crate::patience(1_500);
/// A member that says nothing is asked this often whether it is there: etcd hangs up on who asks more than every 5 s
/// (its `--grpc-keepalive-min-time`).
const ASK_ALIVE: Duration = Duration::from_secs(6);
/// And given this long to say so.
const SILENT: Duration = Duration::from_millis(1500);
/// How much of one stream, and of a connection, may be under way.
const WINDOW: u32 = 4 << 20;

/// Where etcd's members are, and how they are spoken to.
#[derive(Clone)]
pub struct Endpoints {
    /// `http://host:port` or `https://host:port`; the first that answers is used.
    pub urls: Vec<String>,
    /// For `https`: our certificate, and whom to trust.
    pub tls: Option<Arc<rustls::ClientConfig>>,
}

/// Why a call came to nothing.
#[derive(Debug)]
pub(super) struct Failed {
    /// Whether the member may have done it all the same.
    pub(super) maybe_done: bool,
    pub(super) code: Code,
    pub(super) error: StoreError,
}

/// Etcd, whichever member answers. Clones share a connection.
#[derive(Clone)]
pub(super) struct Client {
    shared: Arc<Shared>,
}

struct Shared {
    endpoints: Endpoints,
    current: Mutex<Current>,
    /// One connects at a time, and the others use it.
    connecting: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Current {
    channel: Option<Channel>,
    /// Which endpoint is tried first.
    next: usize,
    /// Counts the connections.
    generation: u64,
}

impl Client {
    pub(super) fn new(endpoints: Endpoints) -> Self {
        let shared =
            Shared { endpoints, current: Mutex::default(), connecting: tokio::sync::Mutex::default() };
        Client { shared: Arc::new(shared) }
    }

    /// A client of one member alone.
    pub(super) fn only(&self, url: &str) -> Self {
        Client::new(Endpoints { urls: vec![url.to_owned()], tls: self.shared.endpoints.tls.clone() })
    }

    /// Asks for one message by one.
    pub(super) async fn call<I, O>(
        &self,
        path: &'static str,
        request: I,
        patience: Duration,
    ) -> Result<O, Failed>
    where
        I: Message + Default + Send + Sync + 'static,
        O: Message + Default + Send + Sync + 'static,
    {
        let (channel, generation) = self.channel(path).await?;
        let mut grpc = channel.grpc();
        let codec = ProstCodec::<I, O>::default();
        let call = async {
            grpc.ready().await.map_err(gone)?;
            grpc.unary(tonic::Request::new(request), PathAndQuery::from_static(path), codec).await
        };
        match timeout(patience, call).await {
            Ok(Ok(answer)) => Ok(answer.into_inner()),
            Ok(Err(status)) => {
                if matches!(status.code(), Code::Unavailable | Code::Unknown | Code::Internal) {
                    self.give_up(generation);
                }
                Err(failed(path, &status))
            }
            Err(_) => {
                self.give_up(generation);
                Err(failed(path, &Status::deadline_exceeded("no answer came in time")))
            }
        }
    }

    /// Opens a stream of answers to one message; says on which connection.
    pub(super) async fn stream<I, O>(
        &self,
        path: &'static str,
        request: I,
    ) -> Result<(Streaming<O>, u64), Failed>
    where
        I: Message + Default + Send + Sync + 'static,
        O: Message + Default + Send + Sync + 'static,
    {
        let (channel, generation) = self.channel(path).await?;
        let mut grpc = channel.grpc();
        let codec = ProstCodec::<I, O>::default();
        // Etcd ends a stream whose asker says that nothing more will come.
        let requests = futures_util::stream::iter([request]).chain(futures_util::stream::pending());
        let call = async {
            grpc.ready().await.map_err(gone)?;
            grpc.streaming(tonic::Request::new(requests), PathAndQuery::from_static(path), codec).await
        };
        match timeout(CONNECTING, call).await {
            Ok(Ok(answers)) => Ok((answers.into_inner(), generation)),
            Ok(Err(status)) => {
                self.give_up(generation);
                Err(failed(path, &status))
            }
            Err(_) => {
                self.give_up(generation);
                Err(failed(path, &Status::deadline_exceeded("no answer came in time")))
            }
        }
    }

    /// Ends the connection of `generation`: whoever else waits for that member looks elsewhere too, watches above all.
    pub(super) fn give_up(&self, generation: u64) {
        let mut current = self.lock();
        if current.generation == generation
            && let Some(channel) = current.channel.take()
        {
            channel.carrier.abort();
            current.next += 1;
        }
    }

    /// The connection that is there, or a new one to the first member that takes it.
    async fn channel(&self, path: &str) -> Result<(Channel, u64), Failed> {
        let known = |current: &Current| {
            current.channel.clone().filter(Channel::is_open).map(|channel| (channel, current.generation))
        };
        if let Some(found) = known(&self.lock()) {
            return Ok(found);
        }
        let _one = self.shared.connecting.lock().await;
        if let Some(found) = known(&self.lock()) {
            return Ok(found);
        }
        let urls = &self.shared.endpoints.urls;
        let first = self.lock().next;
        let mut why = "no member is known".to_owned();
        for step in 0..urls.len() {
            let at = (first + step) % urls.len();
            match timeout(CONNECTING, self.connect(&urls[at])).await {
                Ok(Ok(channel)) => {
                    let mut current = self.lock();
                    current.next = at;
                    current.generation += 1;
                    current.channel = Some(channel.clone());
                    return Ok((channel, current.generation));
                }
                Ok(Err(error)) => why = format!("{}: {error}", urls[at]),
                Err(_) => why = format!("{}: it takes no connection", urls[at]),
            }
        }
        let error = StoreError::Unavailable { tried: format!("reach etcd for {path}"), detail: why };
        Err(Failed { maybe_done: false, code: Code::Unavailable, error })
    }

    async fn connect(&self, url: &str) -> std::io::Result<Channel> {
        let invalid = |why: &str| std::io::Error::new(std::io::ErrorKind::InvalidInput, why.to_owned());
        let uri: Uri = url.parse().map_err(|_| invalid("it is no URL"))?;
        let host = uri.host().ok_or_else(|| invalid("it names no host"))?;
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let tcp = TcpStream::connect((bare, uri.port_u16().unwrap_or(2379))).await?;
        tcp.set_nodelay(true)?;
        if uri.scheme_str() != Some("https") {
            return Channel::over(tcp).await;
        }
        let config = self.shared.endpoints.tls.clone();
        let mut config = (*config.ok_or_else(|| invalid("https needs certificates"))?).clone();
        // Go's servers refuse HTTP/2 to who does not ask for it (RFC 7540 section 3.3).
        config.alpn_protocols = vec![b"h2".to_vec()];
        let name = rustls_pki_types::ServerName::try_from(bare.to_owned()).map_err(std::io::Error::other)?;
        Channel::over(tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, tcp).await?).await
    }

    fn lock(&self) -> MutexGuard<'_, Current> {
        self.shared.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a status means for whoever asked.
pub(super) fn failed(path: &str, status: &Status) -> Failed {
    // Texts of etcd's `api/v3rpc/rpctypes/error.go`: these say that nothing was proposed.
    const NOT_DONE: [&str; 3] = ["no leader", "too many requests", "database space exceeded"];
    let text = status.message();
    let maybe_done = match status.code() {
        Code::InvalidArgument | Code::OutOfRange | Code::NotFound | Code::PermissionDenied => false,
        Code::Unauthenticated | Code::Unimplemented | Code::FailedPrecondition => false,
        _ => !NOT_DONE.iter().any(|known| text.contains(known)),
    };
    let error = StoreError::Unavailable { tried: format!("ask etcd for {path}"), detail: text.to_owned() };
    Failed { maybe_done, code: status.code(), error }
}

fn gone(error: hyper::Error) -> Status {
    Status::unavailable(format!("the connection has ended: {error}"))
}

/// One connection.
#[derive(Clone)]
struct Channel {
    send: SendRequest<Body>,
    /// Moves its bytes.
    carrier: AbortHandle,
}

impl Channel {
    async fn over(io: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) -> std::io::Result<Self> {
        let (send, connection) = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .keep_alive_interval(ASK_ALIVE)
            .keep_alive_timeout(SILENT)
            .keep_alive_while_idle(true)
            .initial_stream_window_size(WINDOW)
            .initial_connection_window_size(2 * WINDOW)
            .handshake(TokioIo::new(io))
            .await
            .map_err(std::io::Error::other)?;
        let carrier = tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection to etcd ended");
            }
        });
        Ok(Channel { send, carrier: carrier.abort_handle() })
    }

    fn is_open(&self) -> bool {
        !self.send.is_closed()
    }

    fn grpc(&self) -> client::Grpc<Self> {
        client::Grpc::with_origin(self.clone(), Uri::from_static("http://etcd"))
            .max_decoding_message_size(LARGEST)
            .max_encoding_message_size(LARGEST)
    }
}

impl tower_service::Service<Request<Body>> for Channel {
    type Response = Response<Incoming>;
    type Error = hyper::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Incoming>, hyper::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), hyper::Error>> {
        self.send.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        Box::pin(self.send.send_request(request))
    }
}

/// The next answer of a stream, for who polls.
pub(super) async fn next<O: Message + Default + 'static>(stream: &mut Streaming<O>) -> Result<O, Status> {
    match poll_fn(|context| stream.poll_next_unpin(context)).await {
        Some(answer) => answer,
        None => Err(Status::unavailable("the stream ended")),
    }
}
