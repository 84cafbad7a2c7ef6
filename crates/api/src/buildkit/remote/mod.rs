//! A build asked of a daemon by our own command line: the client's half of BuildKit's protocol.
//!
//! Two connections, as BuildKit's own clients have them: on one (`/session`) we serve our directories, secrets, agents
//! and credentials, on the other (`/grpc`) we ask for the build and watch it. Any daemon that speaks BuildKit's protocol
//! will do. Never: opens a connection, reads a command line, or prints.

mod directory;
mod serve;
mod store;
mod watch;

use super::{
    grpc::{Channel, Pieces},
    proto::{
        RpcStatus,
        control::{
            CacheOptions, CacheOptionsEntry, DiskUsageRequest, DiskUsageResponse, Exporter, PruneRequest,
            SolveRequest, SolveResponse, StatusRequest, StatusResponse, UsageRecord,
        },
    },
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use futures_util::{StreamExt as _, stream};
use minke_engine::build::{
    Progress,
    host::{Files, Wanted},
    request::CacheRef,
};
use prost::Message as _;
use std::{
    collections::BTreeMap,
    io::{self, Read, Write},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};
use tokio::io::{AsyncRead, AsyncWrite};
use tonic::Status;

const SOLVE: &str = "/moby.buildkit.v1.Control/Solve";
const STATUS: &str = "/moby.buildkit.v1.Control/Status";
const PRUNE: &str = "/moby.buildkit.v1.Control/Prune";
/// How long the last of a build's progress may take once the build has ended.
const LAST_NEWS: Duration = Duration::from_secs(3);
const DISK_USAGE: &str = "/moby.buildkit.v1.Control/DiskUsage";

/// What a client serves on its session, as it says beforehand (`X-Docker-Expose-Session-Grpc-Method`).
pub const METHODS: [&str; 11] = [
    serve::HEALTH,
    serve::DIFF_COPY,
    serve::TAKE,
    serve::UPLOAD,
    serve::CREDENTIALS,
    serve::SECRET,
    serve::CHECK_AGENT,
    serve::FORWARD_AGENT,
    serve::BLOB_INFO,
    serve::BLOB_READ,
    serve::BLOB_WRITE,
];

/// Where the bytes of an export go.
pub enum Sink {
    /// One stream.
    Stream(Box<dyn Write + Send>),
    /// Files below a directory.
    Directory(PathBuf),
}

/// What our command line has for a build. All of it may block: it is called on threads for that.
pub trait Local: Send + Sync {
    /// A directory by its name in the request.
    fn directory(&self, name: &str, wanted: &Wanted) -> io::Result<Option<Arc<dyn Files>>>;
    /// A stream that stands in for a directory, by its name; each is given once.
    fn upload(&self, name: &str) -> Option<Box<dyn Read + Send>>;
    /// A secret.
    fn secret(&self, id: &str) -> io::Result<Option<Vec<u8>>>;
    /// The socket of an ssh agent.
    fn agent(&self, id: &str) -> Option<PathBuf>;
    /// User and password for a registry; without a user the password is a token. None is nobody.
    fn credentials(&self, host: &str) -> io::Result<Option<(String, String)>>;
    /// The directory of a store of blobs, by its name: `local:` and a path.
    fn store(&self, name: &str) -> Option<PathBuf>;
    /// Where an exporter's bytes go; each is given once. `about` is what the daemon says of them.
    fn sink(&self, exporter: &str, about: &BTreeMap<String, String>) -> io::Result<Option<Sink>>;
}

/// What is asked for.
#[derive(Clone, Debug, Default)]
pub struct Ask {
    /// The build's name, chosen by us.
    pub reference: String,
    /// The session's name.
    pub session: String,
    /// What the frontend is told: `filename`, `target`, `build-arg:X`…
    pub attributes: BTreeMap<String, String>,
    /// What becomes of the result: kind and attributes.
    pub exporters: Vec<(String, BTreeMap<String, String>)>,
    /// `--cache-from`
    pub cache_from: Vec<CacheRef>,
    /// `--cache-to`
    pub cache_to: Vec<CacheRef>,
    /// `--allow`
    pub entitlements: Vec<String>,
}

/// Why a build came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// A connection broke.
    #[error("the connection to the daemon broke: {0}")]
    Connection(String),
    /// The daemon says so.
    #[error("{message}")]
    Refused {
        /// Its sentence.
        message: String,
        /// The lines of a Dockerfile that it is about.
        excerpt: Option<Excerpt>,
    },
}

/// Lines of a file that an error is about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Excerpt {
    /// Its name.
    pub file: String,
    /// All of it.
    pub text: String,
    /// The first line, from 1.
    pub first: u32,
    /// The last line.
    pub last: u32,
}

impl From<hyper::Error> for AskError {
    fn from(error: hyper::Error) -> Self {
        AskError::Connection(error.to_string())
    }
}

impl From<Status> for AskError {
    fn from(status: Status) -> Self {
        AskError::Refused { message: status.message().to_owned(), excerpt: excerpt(&status) }
    }
}

/// The place that a failure names beside its sentence (BuildKit `solver/errdefs`, `errdefs.Source`).
fn excerpt(status: &Status) -> Option<Excerpt> {
    let details = RpcStatus::decode(status.details()).ok()?.details;
    let located = details.iter().find(|detail| detail.type_url.ends_with("errdefs.Source+json"))?;
    let value: serde_json::Value = serde_json::from_slice(&located.value).ok()?;
    let text = STANDARD.decode(value["info"]["data"].as_str()?).ok()?;
    let range = &value["ranges"][0];
    let line = |end: &str| range[end]["line"].as_u64().and_then(|line| u32::try_from(line).ok());
    let first = line("start")?;
    Some(Excerpt {
        file: value["info"]["filename"].as_str().unwrap_or_default().to_owned(),
        text: String::from_utf8_lossy(&text).into_owned(),
        first,
        last: line("end").unwrap_or(first),
    })
}

/// Serves a session until its connection ends.
pub async fn serve(
    io: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    local: Arc<dyn Local>,
) -> Result<(), AskError> {
    serve::session(io, local).await.map_err(AskError::from)
}

/// A daemon's builds.
#[derive(Clone, Debug)]
pub struct Control(Channel);

impl Control {
    /// On a connection to `/grpc`; a task carries it until it ends.
    pub async fn over(io: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) -> Result<Self, AskError> {
        let (channel, connection) = Channel::over(io).await?;
        // Its end shows in every call.
        tokio::spawn(connection);
        Ok(Self(channel))
    }

    /// Builds; `progress` is told until the end. What the exporters say.
    pub async fn solve(
        &self,
        ask: Ask,
        progress: Arc<dyn Progress>,
    ) -> Result<BTreeMap<String, String>, AskError> {
        let entry = |cache: CacheRef| CacheOptionsEntry { kind: cache.kind, attrs: cache.attributes };
        let exporter = |(kind, attrs)| Exporter { kind, attrs };
        let reference = ask.reference.clone();
        let request = SolveRequest {
            reference: ask.reference,
            session: ask.session,
            frontend: "dockerfile.v0".into(),
            frontend_attrs: ask.attributes,
            exporters: ask.exporters.into_iter().map(exporter).collect(),
            cache: Some(CacheOptions {
                imports: ask.cache_from.into_iter().map(entry).collect(),
                exports: ask.cache_to.into_iter().map(entry).collect(),
                ..CacheOptions::default()
            }),
            entitlements: ask.entitlements,
            ..SolveRequest::default()
        };
        let watched = self.watch(reference, progress);
        let (done, mut all_told) = tokio::sync::oneshot::channel::<()>();
        let solved = async {
            let solved = self.0.unary::<_, SolveResponse>(SOLVE, request).await;
            // One that fails at once may never be known to those who watch.
            let _ = tokio::time::timeout(LAST_NEWS, &mut all_told).await;
            solved
        };
        let watched = async {
            let watched = watched.await;
            drop(done);
            // A build that was done is not undone by its display.
            if let Err(e) = watched {
                tracing::debug!("the progress of the build ended: {}", e.message());
            }
            std::future::pending::<()>().await;
        };
        tokio::select! {
            solved = solved => Ok(solved?.exporter_response),
            () = watched => Err(AskError::Connection("its progress ended".into())),
        }
    }

    async fn watch(&self, reference: String, progress: Arc<dyn Progress>) -> Result<(), Status> {
        let mut news = self.messages::<_, StatusResponse>(STATUS, StatusRequest { reference }).await?;
        while let Some(status) = news.next().await {
            for event in watch::events(status?) {
                progress.report(event);
            }
        }
        Ok(())
    }

    async fn messages<I, O>(&self, path: &'static str, request: I) -> Result<Pieces<O>, Status>
    where
        I: prost::Message + Default + Send + Sync + 'static,
        O: prost::Message + Default + Send + Sync + 'static,
    {
        let one = tonic::Request::new(stream::iter([request]));
        let answers = self.0.streaming::<I, O>(path, one).await?;
        Ok(Box::pin(answers))
    }

    /// Takes away what of the cache nobody needs; each thing that went, with its bytes.
    pub async fn prune(&self, wish: Prune) -> Result<Vec<Kept>, AskError> {
        let request = PruneRequest {
            filter: wish.filters,
            all: wish.all,
            keep_duration: wish.keep_nanos,
            reserved_space: wish.reserved_bytes,
            max_used_space: wish.most_bytes,
            min_free_space: wish.free_bytes,
        };
        let mut gone = self.messages::<_, UsageRecord>(PRUNE, request).await?;
        let mut all = Vec::new();
        while let Some(record) = gone.next().await {
            all.push(Kept::from(record?));
        }
        Ok(all)
    }

    /// What the cache has.
    pub async fn usage(&self, filters: Vec<String>) -> Result<Vec<Kept>, AskError> {
        let request = DiskUsageRequest { filter: filters };
        let usage = self.0.unary::<_, DiskUsageResponse>(DISK_USAGE, request).await?;
        Ok(usage.record.into_iter().map(Kept::from).collect())
    }
}

/// What of a build cache is to go.
#[derive(Clone, Debug, Default)]
pub struct Prune {
    /// containerd's filters.
    pub filters: Vec<String>,
    /// Also what is shared with images, and internal things.
    pub all: bool,
    /// Not what was needed within so many nanoseconds.
    pub keep_nanos: i64,
    /// The cache may always have so many bytes.
    pub reserved_bytes: i64,
    /// At most so many bytes stay.
    pub most_bytes: i64,
    /// Until the disk has so many bytes free.
    pub free_bytes: i64,
}

/// A thing in a build cache.
#[derive(Clone, Debug)]
pub struct Kept {
    /// Its name.
    pub id: String,
    /// A build may change it.
    pub mutable: bool,
    /// No build needs it now.
    pub reclaimable: bool,
    /// An image has it as well.
    pub shared: bool,
    /// Bytes.
    pub size: i64,
    /// Seconds since 1970 when a build last needed it.
    pub last_used: Option<i64>,
    /// Which step it is of.
    pub description: String,
    /// `regular`, `source.local`, `exec.cachemount`…
    pub kind: String,
}

impl From<UsageRecord> for Kept {
    fn from(record: UsageRecord) -> Self {
        Self {
            id: record.id,
            mutable: record.mutable,
            reclaimable: !record.in_use,
            shared: record.shared,
            size: record.size,
            last_used: record.last_used_at.map(|time| time.seconds),
            description: record.description,
            kind: record.record_type,
        }
    }
}
