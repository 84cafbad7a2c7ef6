//! Handlers, by noun. Each takes a request of the newest version, calls the engine, and gives dockerd's answer.

mod archive;
mod attach;
mod build;
mod cluster;
mod container;
mod container_list;
mod distribution;
mod elsewhere;
mod exec;
mod image;
mod image_transfer;
mod logs;
mod network;
mod node;
mod overlay;
mod search;
mod secret;
mod service;
mod stats;
mod swarm;
mod system;
mod task;
mod task_logs;
mod volume;

use crate::{
    ServerOptions,
    buildkit::{self, Buildkit},
    error::{ApiError, Result},
    query::Query,
    request::{Ask, Inbox, drain},
    response::{self, Answer, Payload},
    router::{self, Endpoint, Route},
    server::{Handler, identify},
    socket::Takeover,
    swarm::Door,
    version::{self, Dialect, Version},
    wire::system::DOCKER,
};
use http::{HeaderValue, Method, Request, StatusCode, header};
use hyper::body::Incoming;
use minke_engine::Engine;
use serde::Serialize;
use std::{future::Future, sync::Arc};

/// All handlers, and what they need.
pub(crate) struct Routes {
    engine: Arc<Engine>,
    /// How this machine stands to a cluster.
    door: Arc<dyn Door>,
    /// Tells what happens in the cluster, while there is one.
    teller: swarm::Teller,
    options: ServerOptions,
    /// `Server` in every answer.
    name: HeaderValue,
    buildkit: Arc<Buildkit>,
    /// Builds that can be cancelled.
    builds: build::Cancellable,
}

impl Routes {
    pub(crate) fn new(engine: Arc<Engine>, options: ServerOptions, door: Arc<dyn Door>) -> Self {
        let name = HeaderValue::from_str(&format!("Docker/{DOCKER} (linux)"));
        let name = name.unwrap_or(HeaderValue::from_static("Docker (linux)"));
        Self {
            buildkit: Buildkit::new(engine.clone()),
            builds: Default::default(),
            engine,
            door,
            teller: Default::default(),
            options,
            name,
        }
    }

    async fn dispatch(&self, ask: Ask) -> Result<Answer> {
        use Endpoint as E;
        match ask.endpoint {
            E::Options => Ok(response::empty(StatusCode::OK)),
            E::Ping | E::Version | E::Info | E::Events | E::DiskUsage | E::Space | E::Auth => {
                system::handle(self, ask).await
            }
            E::ContainerList | E::ContainerInspect => container_list::handle(self, ask).await,
            E::ContainerCreate
            | E::ContainerTop
            | E::ContainerChanges
            | E::ContainerResize
            | E::ContainerStart
            | E::ContainerStop
            | E::ContainerRestart
            | E::ContainerKill
            | E::ContainerUpdate
            | E::ContainerRename
            | E::ContainerPause
            | E::ContainerUnpause
            | E::ContainerWait
            | E::ContainerRemove
            | E::ContainerPrune
            | E::Commit => container::handle(self, ask).await,
            E::ContainerLogs => logs::handle(self, ask).await,
            E::ContainerStats => stats::handle(self, ask).await,
            E::ContainerAttach | E::ContainerAttachWebsocket => attach::handle(self, ask).await,
            E::ContainerExport
            | E::ContainerArchiveStat
            | E::ContainerArchiveGet
            | E::ContainerArchivePut => archive::handle(self, ask).await,
            E::ExecCreate | E::ExecStart | E::ExecResize | E::ExecInspect => exec::handle(self, ask).await,
            E::ImageList
            | E::ImageInspect
            | E::ImageHistory
            | E::ImageTag
            | E::ImageRemove
            | E::ImageVerify
            | E::ImagePrune => image::handle(self, ask).await,
            E::ImageCreate | E::ImagePush | E::ImageSave | E::ImageLoad => {
                image_transfer::handle(self, ask).await
            }
            E::NetworkList
            | E::NetworkCreate
            | E::NetworkInspect
            | E::NetworkConnect
            | E::NetworkDisconnect
            | E::NetworkRemove
            | E::NetworkPrune => network::handle(self, ask).await,
            E::VolumeList
            | E::VolumeCreate
            | E::VolumeInspect
            | E::VolumeUpdate
            | E::VolumeRemove
            | E::VolumePrune => volume::handle(self, ask).await,
            E::Distribution => distribution::handle(self, ask).await,
            E::Grpc => {
                self.buildkit.clone().take_calls(&ask.headers, ask.takeover.as_ref())?;
                Ok(response::empty(StatusCode::OK))
            }
            E::Session => {
                self.buildkit.clone().take_session(&ask.headers, ask.takeover.as_ref())?;
                Ok(response::empty(StatusCode::OK))
            }
            E::Build | E::BuildPrune | E::BuildCancel => build::handle(self, ask).await,
            E::ImageSearch => search::handle(self, ask).await,
            E::ContainerCheckpoint | E::PluginList | E::Plugin | E::PluginChange => elsewhere::handle(ask),
            E::ClusterSpread | E::ClusterBackup | E::ClusterRestore => cluster::handle(self, ask).await,
            E::SwarmInit
            | E::SwarmJoin
            | E::SwarmLeave
            | E::SwarmInspect
            | E::SwarmUpdate
            | E::SwarmUnlock
            | E::SwarmUnlockKey => swarm::handle(self, ask).await,
            E::ServiceList | E::ServiceInspect | E::ServiceCreate | E::ServiceUpdate | E::ServiceRemove => {
                service::handle(self, ask).await
            }
            E::NodeList | E::NodeInspect | E::NodeUpdate | E::NodeRemove => node::handle(self, ask).await,
            E::TaskList | E::TaskInspect => task::handle(self, ask).await,
            E::ServiceLogs | E::TaskLogs => task_logs::handle(self, ask).await,
            E::SecretList
            | E::SecretInspect
            | E::SecretCreate
            | E::SecretUpdate
            | E::SecretRemove
            | E::ConfigList
            | E::ConfigInspect
            | E::ConfigCreate
            | E::ConfigUpdate
            | E::ConfigRemove => secret::handle(self, ask).await,
        }
    }

    /// From a request to its answer, failures included.
    async fn answer(&self, request: Request<Incoming>, takeover: Option<Takeover>) -> Answer {
        // Calls need trailers, so they come in HTTP/2 alone.
        if request.version() == http::Version::HTTP_2 && buildkit::is_call(request.headers()) {
            return self.buildkit.clone().call(request).await.map(Payload::Call);
        }
        let (parts, body) = request.into_parts();
        let (endpoint, name, version) = match router::route(&parts.method, parts.uri.path()) {
            Route::To { endpoint, name, version } => {
                (endpoint, name, version.unwrap_or_else(Version::newest))
            }
            Route::Redirect(to) => return redirect(&to, parts.uri.query()),
            Route::Unknown => return response::error(&ApiError::no_such_page()),
        };
        if let Err(e) = version.check() {
            // Clients of before 1.24 print what they get as it is.
            let mut answer = match version.before(24) {
                true => response::whole(e.status, "text/plain; charset=utf-8", format!("{e}\n")),
                false => response::error(&e),
            };
            identify(answer.headers_mut(), &self.name, false);
            return answer;
        }
        let mut query = Query::parse(parts.uri.query().unwrap_or_default());
        version::raise_query(&version, endpoint, &mut query);
        let dialect = Dialect::of(&version);
        let waits = parts.headers.contains_key(header::EXPECT);
        let body = Inbox::new(body);
        let head = parts.method == Method::HEAD;
        let ask = Ask {
            endpoint,
            head,
            name,
            query,
            headers: parts.headers,
            version,
            dialect,
            body: body.clone(),
            takeover,
            legacy_cgroups: self.engine.machine.cgroup_version() == 1,
        };
        let mut answer = match self.dispatch(ask).await {
            Ok(answer) => {
                // A body that nobody asked for may still be on its way: who sends it would find the connection closed.
                if !waits && body.is_short() {
                    body.drain().await;
                }
                answer
            }
            Err(e) => {
                if e.status.is_server_error() {
                    tracing::error!("{} {}: {e}", parts.method, parts.uri.path());
                }
                // A client that waits to be told to send is told not to.
                if !waits {
                    body.drain().await;
                }
                response::error(&e)
            }
        };
        identify(answer.headers_mut(), &self.name, true);
        answer
    }
}

impl Handler for Routes {
    async fn handle(self: Arc<Self>, request: Request<Incoming>, takeover: Option<Takeover>) -> Answer {
        self.answer(request, takeover).await
    }
}

fn redirect(to: &str, query: Option<&str>) -> Answer {
    let target = query.map_or_else(|| to.to_owned(), |q| format!("{to}?{q}"));
    let mut answer = response::empty(StatusCode::MOVED_PERMANENTLY);
    if let Ok(target) = HeaderValue::from_str(&target) {
        answer.headers_mut().insert(header::LOCATION, target);
    }
    answer
}

/// Runs a verb to its end, even when its client leaves meanwhile: dropping a handler must not leave a container half
/// started.
async fn to_its_end<T: Send + 'static, E: Into<ApiError> + Send + 'static>(
    verb: impl Future<Output = std::result::Result<T, E>> + Send + 'static,
) -> Result<T> {
    match tokio::spawn(verb).await {
        Ok(result) => result.map_err(Into::into),
        Err(e) if e.is_panic() => Err(ApiError::internal("the daemon has a bug: see its log")),
        Err(_) => Err(ApiError::internal("the daemon is shutting down")),
    }
}

/// JSON of a shape, lowered to the version of the request.
fn lowered<T: Serialize>(
    ask_version: &Version,
    endpoint: Endpoint,
    status: StatusCode,
    value: &T,
) -> Result<Answer> {
    if !version::lowers(ask_version, endpoint) {
        return response::json(status, value);
    }
    let mut value = serde_json::to_value(value)
        .map_err(|e| ApiError::internal(format!("cannot encode the answer: {e}")))?;
    version::lower(ask_version, endpoint, &mut value);
    response::json(status, &value)
}

/// 200 with JSON.
fn ok<T: Serialize>(value: &T) -> Result<Answer> {
    response::json(StatusCode::OK, value)
}

/// 204.
fn done() -> Result<Answer> {
    Ok(response::empty(StatusCode::NO_CONTENT))
}

/// A body of the engine's, as it comes.
fn body_chunks(
    body: minke_engine::body::Body,
) -> impl futures_util::Stream<Item = std::io::Result<bytes::Bytes>> + Send + 'static {
    response::steps(body, |mut body| async move { body.next().await.map(|chunk| (chunk, body)) })
}

/// A request's body on its way to the engine; dropped with its request.
fn feed(body: &Inbox) -> minke_engine::body::Body {
    use http_body_util::BodyExt as _;
    let (sender, fed) = minke_engine::body::feed();
    let Some(mut body) = body.take() else { return fed };
    tokio::spawn(async move {
        while let Some(frame) = body.frame().await {
            let chunk = match frame.map(http_body::Frame::into_data) {
                Ok(Ok(data)) => Ok(data),
                // Trailers say nothing.
                Ok(Err(_)) => continue,
                Err(e) => Err(std::io::Error::other(e)),
            };
            let failed = chunk.is_err();
            if sender.send(chunk).await.is_err() {
                // Nobody wants the rest; the client may still be sending it.
                return drain(body).await;
            }
            if failed {
                return;
            }
        }
    });
    fed
}

/// Where a request wants another platform than the machine's: `linux/arm64`.
fn platform_of(text: &str) -> Result<Option<minke_model::image::Platform>> {
    if text.is_empty() {
        return Ok(None);
    }
    minke_engine::platform::parse(text).map(Some).map_err(|e| ApiError::invalid(e.to_string()))
}

/// The same as JSON, as newer parameters have it: `{"os":"linux","architecture":"arm64"}`.
fn platform_json(text: &str) -> Result<Option<minke_model::image::Platform>> {
    #[derive(serde::Deserialize)]
    struct Wire {
        #[serde(default)]
        os: String,
        #[serde(default)]
        architecture: String,
        #[serde(default)]
        variant: String,
    }
    if text.is_empty() {
        return Ok(None);
    }
    let wire: Wire = serde_json::from_str(text)
        .map_err(|e| ApiError::invalid(format!("failed to parse platform: {e}")))?;
    if wire.os.is_empty() && wire.architecture.is_empty() && !wire.variant.is_empty() {
        return Err(ApiError::invalid(
            "optional platform fields provided, but OS and Architecture are missing",
        ));
    }
    if wire.os.is_empty() || wire.architecture.is_empty() {
        return Err(ApiError::invalid("both OS and Architecture must be provided"));
    }
    Ok(Some(minke_model::image::Platform {
        os: wire.os,
        architecture: wire.architecture,
        variant: wire.variant,
    }))
}

/// A name with a tag, of `repo` and `tag`; `None` without `repo`.
fn repository_and_tag(repository: &str, tag: &str) -> Result<Option<minke_engine::Reference>> {
    if repository.is_empty() {
        return Ok(None);
    }
    let invalid = |e: minke_engine::reference::ReferenceError| ApiError::invalid(e.to_string());
    let reference = minke_engine::Reference::parse(repository).map_err(invalid)?;
    if reference.digest().is_some() {
        return Err(ApiError::invalid("cannot import digest reference"));
    }
    match tag {
        "" => Ok(Some(reference.or_latest())),
        tag => reference.with_tag(tag).map(Some).map_err(invalid),
    }
}
