//! `POST /build`: the context is the body, the answer a line a happening. As dockerd's classic builder answers, or with
//! `version=2` with BuildKit's own messages.
//!
//! The solver is the same as BuildKit's door has. Start at `classic`, then `building.rs`.

mod building;
mod feed;
mod options;
mod prune;
mod steps;
mod watch;

use super::{Routes, feed};
use crate::{
    buildkit::both::UPLOADED,
    error::{ApiError, Result, status},
    request::Ask,
    response::{self, Answer},
    router::Endpoint as E,
};
use building::Building;
use minke_engine::{
    Engine,
    body::Body,
    build::{
        BuildError, Client, Dockerfile, DockerfileError, Upload,
        dockerfile::{Command, fault::Fault, instruction::RunNetwork},
        git,
        plan::NoCache,
        request::{BuildRequest, ContextFrom, DockerfileFrom, ExportRequest},
    },
    registry::RegistryAuth,
};
use minke_model::go::quote;
use options::Options;
use std::{
    collections::BTreeMap,
    io::{Cursor, Read},
    sync::Arc,
};
use steps::Steps;
use tokio::sync::Notify;

/// The largest Dockerfile, bytes.
const MOST_DOCKERFILE: u64 = 4 << 20;

/// What sends a classic build away (moby `builder/dockerfile/dispatchers.go`).
const NEEDS_BUILDKIT: &str = "option requires BuildKit. Refer to https://docs.docker.com/go/buildkit/ to learn how \
to build images with BuildKit enabled";

pub(super) async fn handle(routes: &Routes, ask: Ask) -> Result<Answer> {
    match ask.endpoint {
        E::BuildCancel => cancel(routes, &ask),
        E::BuildPrune => prune::prune(routes, &ask).await,
        _ => build(routes, ask).await,
    }
}

fn cancel(routes: &Routes, ask: &Ask) -> Result<Answer> {
    let id = ask.query.get("id");
    if id.is_empty() {
        return Err(ApiError::invalid("build ID not provided"));
    }
    routes.builds.cancel(id);
    response::json(http::StatusCode::OK, &serde_json::Value::Null)
        .map(|_| response::empty(http::StatusCode::OK))
}

/// Builds that can be cancelled by an id of their client's.
#[derive(Clone, Default)]
pub(crate) struct Cancellable(Arc<std::sync::Mutex<BTreeMap<String, Arc<Notify>>>>);

impl Cancellable {
    fn cancel(&self, id: &str) {
        let all = self.0.lock().unwrap_or_else(|e| e.into_inner());
        if let Some(build) = all.get(id) {
            build.notify_one();
        }
    }

    /// Known by this id until it is dropped.
    fn enter(&self, id: &str) -> Entered {
        let cancelled = Arc::new(Notify::new());
        if !id.is_empty() {
            self.0.lock().unwrap_or_else(|e| e.into_inner()).insert(id.to_owned(), cancelled.clone());
        }
        Entered { all: self.clone(), id: id.to_owned(), cancelled }
    }
}

/// A build that can be cancelled.
struct Entered {
    all: Cancellable,
    id: String,
    cancelled: Arc<Notify>,
}

impl Drop for Entered {
    fn drop(&mut self) {
        let mut all = self.all.0.lock().unwrap_or_else(|e| e.into_inner());
        if all.get(&self.id).is_some_and(|known| Arc::ptr_eq(known, &self.cancelled)) {
            all.remove(&self.id);
        }
    }
}

impl From<BuildError> for ApiError {
    fn from(e: BuildError) -> Self {
        Self::new(status(e.kind()), e.to_string())
    }
}

/// `X-Registry-Config`: credentials by registry. What cannot be read is as if not sent, as in dockerd.
fn registry_config(ask: &Ask) -> BTreeMap<String, RegistryAuth> {
    use base64::{Engine as _, alphabet, engine};
    let config =
        engine::GeneralPurposeConfig::new().with_decode_padding_mode(engine::DecodePaddingMode::Indifferent);
    let text = ask.headers.get("X-Registry-Config").and_then(|value| value.to_str().ok()).unwrap_or_default();
    let decoded = [alphabet::URL_SAFE, alphabet::STANDARD]
        .iter()
        .find_map(|letters| engine::GeneralPurpose::new(letters, config).decode(text).ok());
    let map: BTreeMap<String, crate::wire::system::AuthConfig> =
        decoded.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default();
    map.into_iter().map(|(name, auth)| (name, RegistryAuth::from(auth))).collect()
}

/// What came as the body: a tar, or a Dockerfile alone.
enum Context {
    Tar(Upload),
    Dockerfile(Vec<u8>),
}

/// Reads the body. Blocking.
fn receive(engine: &Engine, mut body: Body) -> std::result::Result<Context, BuildError> {
    let mut head = Vec::new();
    (&mut body).take(512).read_to_end(&mut head).map_err(BuildError::io("read the build context"))?;
    if is_text(&head) {
        let mut text = head;
        let read = (&mut body).take(MOST_DOCKERFILE).read_to_end(&mut text);
        read.map_err(BuildError::io("read the Dockerfile"))?;
        return Ok(Context::Dockerfile(text));
    }
    Upload::unpack(&engine.images, Cursor::new(head).chain(body)).map(Context::Tar)
}

/// Whether what begins so is no archive but text.
fn is_text(head: &[u8]) -> bool {
    let magic = [&b"\x1f\x8b"[..], b"BZh", b"\xfd7zXZ\0", b"\x28\xb5\x2f\xfd"];
    let packed = magic.iter().any(|magic| head.starts_with(magic));
    !head.is_empty() && !packed && !head.contains(&0)
}

/// What is to be built, with what of it can be told beforehand.
struct Prepared {
    client: Arc<dyn Client>,
    request: BuildRequest,
    exports: Vec<ExportRequest>,
    steps: Option<Steps>,
    /// Why it is not done after all, told after the first step.
    refused: Option<String>,
}

async fn build(routes: &Routes, ask: Ask) -> Result<Answer> {
    let options = Options::read(&ask.query)?;
    if options.outputs.len() > 1 {
        return Err(ApiError::internal("multiple outputs not supported"));
    }
    let prepared = match options.buildkit {
        true => buildkit(routes, &ask, &options).await?,
        false => classic(routes, &ask, &options).await?,
    };
    let entered = routes.builds.enter(&options.build_id);
    Building::new(routes.engine.clone(), prepared, options, entered).answer().await
}

/// The context that the body is.
async fn received(routes: &Routes, ask: &Ask) -> Result<Context> {
    let (engine, body) = (routes.engine.clone(), feed(&ask.body));
    let received = tokio::task::spawn_blocking(move || receive(&engine, body)).await;
    Ok(received.map_err(|e| ApiError::internal(format!("reading the context ended: {e}")))??)
}

/// A context that is fetched.
fn remote(options: &Options) -> Result<BuildRequest> {
    let remote = &options.remote;
    let is_url = remote.starts_with("http://") || remote.starts_with("https://");
    if !is_url && git::parse(remote).is_none() {
        return Err(ApiError::internal(format!("remoteURL ({remote}) could not be recognized as URL")));
    }
    Ok(BuildRequest {
        dockerfile: DockerfileFrom::Context { file: options.dockerfile.clone() },
        context: ContextFrom::Remote(remote.clone()),
        ..options.request.clone()
    })
}

/// The result becomes an image with the tags.
fn image(options: &Options) -> ExportRequest {
    let names = options.tags.iter().map(|tag| tag.full()).collect::<Vec<_>>().join(",");
    let attributes = if names.is_empty() { BTreeMap::new() } else { [("name".to_owned(), names)].into() };
    ExportRequest { kind: "image".into(), attributes, exporter: String::new() }
}

async fn classic(routes: &Routes, ask: &Ask, options: &Options) -> Result<Prepared> {
    if let Some(output) = options.outputs.iter().find(|output| !output.kind.is_empty()) {
        let kind = quote(&output.kind);
        return Err(ApiError::unsupported(format!(
            "the output {kind} needs BuildKit: use docker buildx build"
        )));
    }
    let auths = registry_config(ask);
    let mut prepared = match options.remote.as_str() {
        "" => prepare(received(routes, ask).await?, options, auths)?,
        "client-session" => {
            return Err(ApiError::invalid(
                "experimental session with v1 builder is no longer supported, use builder version v2 (BuildKit) instead",
            ));
        }
        _ => Prepared {
            client: Arc::new(Upload::empty().with_auths(auths)),
            request: remote(options)?,
            exports: vec![image(options)],
            steps: None,
            refused: None,
        },
    };
    if !options.cache_from.is_empty() {
        // As dockerd's classic builder: where images are named, only what they were built from counts.
        let here = options.cache_from.iter().any(|name| routes.engine.images.get(name).is_ok());
        if !here {
            prepared.request.options.no_cache = NoCache::All;
        }
    }
    Ok(prepared)
}

/// `version=2`: the context is the body, or a session has it (moby `builder/builder-next`, `Build`).
async fn buildkit(routes: &Routes, ask: &Ask, options: &Options) -> Result<Prepared> {
    let auths = registry_config(ask);
    let named = options.request.run.network.as_ref();
    if let Some(network) = named {
        return Err(ApiError::internal(format!("network mode {} not supported by buildkit", quote(network))));
    }
    let (upload, request) = match options.remote.as_str() {
        "" => match received(routes, ask).await? {
            Context::Dockerfile(bytes) => {
                let dockerfile = DockerfileFrom::Text { name: options.dockerfile.clone(), bytes };
                let context = ContextFrom::Empty;
                (Upload::empty(), BuildRequest { dockerfile, context, ..options.request.clone() })
            }
            Context::Tar(upload) => {
                let local = UPLOADED.to_owned();
                let dockerfile =
                    DockerfileFrom::Local { local: local.clone(), file: options.dockerfile.clone() };
                let context = ContextFrom::Local(local);
                (upload, BuildRequest { dockerfile, context, ..options.request.clone() })
            }
        },
        "client-session" => {
            let dockerfile =
                DockerfileFrom::Local { local: "dockerfile".into(), file: options.dockerfile.clone() };
            (Upload::empty(), BuildRequest { dockerfile, ..options.request.clone() })
        }
        _ => (Upload::empty(), remote(options)?),
    };
    let exports = match options.outputs.first() {
        None => vec![image(options)],
        Some(output) if output.kind == "cacheonly" => Vec::new(),
        Some(output) => {
            let mut export = ExportRequest {
                kind: output.kind.clone(),
                attributes: output.attributes.clone().unwrap_or_default(),
                exporter: "0".into(),
            };
            if matches!(output.kind.as_str(), "" | "image" | "moby") {
                export.attributes.extend(image(options).attributes);
                export.kind = "image".into();
            }
            vec![export]
        }
    };
    let client = routes.buildkit.client_with(upload.with_auths(auths), &options.session).await?;
    Ok(Prepared { client, request, exports, steps: None, refused: None })
}

/// Reads the Dockerfile of a context that is here.
fn prepare(context: Context, options: &Options, auths: BTreeMap<String, RegistryAuth>) -> Result<Prepared> {
    let mut request = options.request.clone();
    let mut name = options.dockerfile.clone();
    let (upload, bytes) = match context {
        Context::Dockerfile(bytes) => {
            request.dockerfile = DockerfileFrom::Text { name: name.clone(), bytes: bytes.clone() };
            request.context = ContextFrom::Empty;
            (Upload::empty(), bytes)
        }
        Context::Tar(upload) => {
            let mut bytes = upload.read(&name, MOST_DOCKERFILE)?;
            if bytes.is_none() && name == "Dockerfile" {
                name = name.to_lowercase();
                bytes = upload.read(&name, MOST_DOCKERFILE)?;
            }
            let Some(bytes) = bytes else {
                return Err(ApiError::internal(format!(
                    "Cannot locate specified Dockerfile: {}",
                    options.dockerfile
                )));
            };
            request.dockerfile = DockerfileFrom::Local { local: "context".into(), file: name.clone() };
            (upload, bytes)
        }
    };
    let file = Dockerfile::parse(&name, &bytes).map_err(|e| ApiError::invalid(sentence(&name, &e)))?;
    let target = match &options.request.options.target {
        None => file.stages.len() - 1,
        Some(wanted) => {
            let named = file.stages.iter().position(|s| s.name.as_deref() == Some(&wanted.to_lowercase()));
            let number = wanted.parse().ok().filter(|number| *number < file.stages.len());
            named.or(number).ok_or_else(|| {
                ApiError::invalid(format!("target stage {} could not be found", quote(wanted)))
            })?
        }
    };
    let steps = Steps::new(&file, target, &options.request.options.labels, &options.given);
    let refused = beyond(&file, target).map(|flag| format!("the --{flag} {NEEDS_BUILDKIT}"));
    Ok(Prepared {
        client: Arc::new(upload.with_auths(auths)),
        request,
        exports: vec![image(options)],
        steps: Some(steps),
        refused,
    })
}

/// dockerd's sentence for a Dockerfile that is wrong.
fn sentence(name: &str, error: &DockerfileError) -> String {
    match &error.fault {
        Fault::Empty => format!("the Dockerfile ({name}) cannot be empty"),
        Fault::NoStages | Fault::OutsideStage => error.to_string(),
        _ if error.while_parsing => error.to_string(),
        _ => format!("failed to parse {name}: {error}"),
    }
}

/// The first flag that the classic builder does not know.
fn beyond(file: &Dockerfile, target: usize) -> Option<&'static str> {
    file.stages[..=target].iter().flat_map(|stage| &stage.instructions).find_map(|i| match &i.command {
        Command::Run(run) if !run.mounts.is_empty() => Some("mount"),
        Command::Run(run) if run.network != RunNetwork::Default => Some("network"),
        Command::Run(run) if run.insecure => Some("security"),
        Command::Run(run) if !run.devices.is_empty() => Some("device"),
        Command::Copy(copy) | Command::Add(copy) if copy.chmod.is_some() => Some("chmod"),
        _ => None,
    })
}
