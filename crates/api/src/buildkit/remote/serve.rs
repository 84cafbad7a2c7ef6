//! What we serve a daemon on a session: directories, what it may have, and where it puts what it made.

use super::{Local, Sink, directory, store};
use crate::buildkit::{
    grpc::{self, Pieces, Reply},
    proto::{
        BytesMessage, Empty, Health,
        fsutil::Packet,
        session::{
            CheckAgentRequest, CredentialsRequest, CredentialsResponse, GetSecretRequest, GetSecretResponse,
        },
    },
};
use bytes::Bytes;
use futures_util::stream::{self, poll_fn};
use http::Request;
use hyper::{body::Incoming, server::conn::http2, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::{collections::BTreeMap, convert::Infallible, io, path::PathBuf, sync::Arc};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::UnixStream,
    sync::mpsc,
};
use tonic::{Status, Streaming, metadata::MetadataMap};

pub(super) const HEALTH: &str = "/grpc.health.v1.Health/Check";
pub(super) const DIFF_COPY: &str = "/moby.filesync.v1.FileSync/DiffCopy";
pub(super) const TAKE: &str = "/moby.filesync.v1.FileSend/DiffCopy";
pub(super) const UPLOAD: &str = "/moby.upload.v1.Upload/Pull";
pub(super) const CREDENTIALS: &str = "/moby.filesync.v1.Auth/Credentials";
pub(super) const SECRET: &str = "/moby.buildkit.secrets.v1.Secrets/GetSecret";
pub(super) const CHECK_AGENT: &str = "/moby.sshforward.v1.SSH/CheckAgent";
pub(super) const FORWARD_AGENT: &str = "/moby.sshforward.v1.SSH/ForwardAgent";
pub(super) const BLOB_INFO: &str = "/containerd.services.content.v1.Content/Info";
pub(super) const BLOB_READ: &str = "/containerd.services.content.v1.Content/Read";
pub(super) const BLOB_WRITE: &str = "/containerd.services.content.v1.Content/Write";

/// Bytes of a stream in one message.
const PIECE: usize = 32 << 10;
/// Messages that wait for the daemon.
const WAITING: usize = 32;
/// Calls at a time.
const MOST_CALLS: u32 = 256;
/// How much of one stream may be under way.
const STREAM_WINDOW: u32 = 2 << 20;

/// Serves until the connection ends.
pub(super) async fn session(
    io: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    local: Arc<dyn Local>,
) -> hyper::Result<()> {
    let service = service_fn(move |request: Request<Incoming>| {
        let local = local.clone();
        async move { Ok::<_, Infallible>(call(request, local).await) }
    });
    http2::Builder::new(TokioExecutor::new())
        .max_concurrent_streams(MOST_CALLS)
        .initial_stream_window_size(STREAM_WINDOW)
        .serve_connection(TokioIo::new(io), service)
        .await
}

async fn call(request: Request<Incoming>, local: Arc<dyn Local>) -> Reply {
    let path = request.uri().path().to_owned();
    match path.as_str() {
        HEALTH => grpc::unary(request, |_: tonic::Request<Empty>| async { Ok(Health { status: 1 }) }).await,
        DIFF_COPY => grpc::streaming(request, |ask| give(local, ask)).await,
        TAKE => take(request, local).await,
        UPLOAD => grpc::streaming(request, |ask| upload(local, ask)).await,
        CREDENTIALS => grpc::unary(request, |ask| credentials(local, ask)).await,
        SECRET => grpc::unary(request, |ask| secret(local, ask)).await,
        CHECK_AGENT => grpc::unary(request, |ask| check_agent(local, ask)).await,
        FORWARD_AGENT => grpc::streaming(request, |ask| forward(local, ask)).await,
        BLOB_INFO => grpc::unary(request, |ask| store::info(local, ask)).await,
        BLOB_READ => grpc::server_streaming(request, |ask| store::read(local, ask)).await,
        BLOB_WRITE => grpc::streaming(request, |ask| store::write(local, ask)).await,
        _ => grpc::unknown(&path),
    }
}

async fn give(
    local: Arc<dyn Local>,
    ask: tonic::Request<Streaming<Packet>>,
) -> Result<Pieces<Packet>, Status> {
    let wanted = directory::wanted(ask.metadata());
    let name = field(ask.metadata(), "dir-name");
    let missing = Status::not_found(format!("no access allowed to dir {name:?}"));
    let files = blocking(move || local.directory(&name, &wanted)).await?.ok_or(missing)?;
    Ok(directory::give(files, ask.into_inner()))
}

/// A stream of ours, in pieces.
async fn upload(
    local: Arc<dyn Local>,
    ask: tonic::Request<Streaming<BytesMessage>>,
) -> Result<Pieces<BytesMessage>, Status> {
    let name = field(ask.metadata(), "urlpath");
    let missing = Status::not_found(format!("nothing is uploaded as {name:?}"));
    let mut source = local.upload(name.trim_start_matches('/')).ok_or(missing)?;
    let (send, mut come) = mpsc::channel(WAITING);
    tokio::task::spawn_blocking(move || {
        loop {
            let mut piece = vec![0; PIECE];
            let message = match source.read(&mut piece) {
                Ok(0) => return,
                Ok(n) => {
                    piece.truncate(n);
                    Ok(BytesMessage { data: piece.into() })
                }
                Err(e) => Err(Status::unknown(format!("cannot read what is uploaded: {e}"))),
            };
            let failed = message.is_err();
            if send.blocking_send(message).is_err() || failed {
                return;
            }
        }
    });
    Ok(Box::pin(poll_fn(move |cx| come.poll_recv(cx))))
}

async fn credentials(
    local: Arc<dyn Local>,
    ask: tonic::Request<CredentialsRequest>,
) -> Result<CredentialsResponse, Status> {
    let host = ask.into_inner().host;
    let (username, secret) = blocking(move || local.credentials(&host)).await?.unwrap_or_default();
    Ok(CredentialsResponse { username, secret })
}

async fn secret(
    local: Arc<dyn Local>,
    ask: tonic::Request<GetSecretRequest>,
) -> Result<GetSecretResponse, Status> {
    let id = ask.into_inner().id;
    let missing = Status::not_found(format!("secret {id} not found"));
    let data = blocking(move || local.secret(&id)).await?.ok_or(missing)?;
    Ok(GetSecretResponse { data })
}

async fn check_agent(local: Arc<dyn Local>, ask: tonic::Request<CheckAgentRequest>) -> Result<Empty, Status> {
    let id = agent_id(&ask.into_inner().id);
    local.agent(&id).map(|_| Empty {}).ok_or_else(|| no_agent(&id))
}

/// An agent's socket, in both directions.
async fn forward(
    local: Arc<dyn Local>,
    ask: tonic::Request<Streaming<BytesMessage>>,
) -> Result<Pieces<BytesMessage>, Status> {
    let id = agent_id(&field(ask.metadata(), "buildkit.ssh.id"));
    let path = local.agent(&id).ok_or_else(|| no_agent(&id))?;
    let socket = UnixStream::connect(&path).await;
    let socket = socket.map_err(|e| Status::unavailable(format!("cannot reach {}: {e}", path.display())))?;
    let (read, mut write) = socket.into_split();
    let mut asks = ask.into_inner();
    tokio::spawn(async move {
        while let Ok(Some(piece)) = asks.message().await {
            if write.write_all(&piece.data).await.is_err() {
                return;
            }
        }
    });
    let answers = stream::unfold(read, |mut read| async move {
        let mut piece = bytes::BytesMut::with_capacity(PIECE);
        match read.read_buf(&mut piece).await {
            Ok(1..) => Some((Ok(BytesMessage { data: piece.freeze() }), read)),
            _ => None,
        }
    });
    Ok(Box::pin(answers))
}

fn agent_id(id: &str) -> String {
    if id.is_empty() { "default".into() } else { id.to_owned() }
}

fn no_agent(id: &str) -> Status {
    Status::not_found(format!("unset ssh forward key {id}"))
}

/// A field's first value; empty where there is none.
fn field(fields: &MetadataMap, name: &str) -> String {
    fields.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
}

pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, Status> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|e| Status::internal(e.to_string()))?.map_err(|e| Status::unknown(e.to_string()))
}

/// Takes an exporter's bytes: one stream, or files below a directory. Which, only the far end's messages tell apart,
/// and we know what we asked for.
async fn take(request: Request<Incoming>, local: Arc<dyn Local>) -> Reply {
    let exporter = request.headers().get("buildkit-attachable-exporter-id");
    let exporter = exporter.and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
    let mut about = BTreeMap::new();
    for (name, value) in request.headers() {
        if let (Some(name), Ok(value)) = (name.as_str().strip_prefix("exporter-md-"), value.to_str()) {
            about.insert(name.to_owned(), value.to_owned());
        }
    }
    let sink = blocking(move || {
        let missing = || io::Error::other(format!("nothing was asked for as output {exporter:?}"));
        local.sink(&exporter, &about)?.ok_or_else(missing)
    });
    match sink.await {
        Err(e) => e.into_http(),
        Ok(Sink::Directory(path)) => grpc::streaming(request, |ask| take_files(path, ask)).await,
        Ok(Sink::Stream(out)) => grpc::streaming(request, |ask| take_stream(out, ask)).await,
    }
}

async fn take_files(path: PathBuf, ask: tonic::Request<Streaming<Packet>>) -> Result<Pieces<Packet>, Status> {
    Ok(directory::take(path, ask.into_inner()))
}

async fn take_stream(
    mut out: Box<dyn io::Write + Send>,
    ask: tonic::Request<Streaming<BytesMessage>>,
) -> Result<Pieces<BytesMessage>, Status> {
    let mut pieces = ask.into_inner();
    let (send, mut come) = mpsc::channel::<Bytes>(WAITING);
    let written = blocking(move || {
        while let Some(piece) = come.blocking_recv() {
            out.write_all(&piece)?;
        }
        out.flush()
    });
    let read = async move {
        while let Some(piece) = pieces.message().await? {
            // Whoever writes says why it stopped.
            if send.send(piece.data).await.is_err() {
                break;
            }
        }
        Ok::<(), Status>(())
    };
    let (written, read) = tokio::join!(written, read);
    written?;
    read?;
    Ok(Box::pin(stream::empty()))
}
