//! `POST /build`, as dockerd's classic builder answers it: the context is the body, the answer a line a happening.
//!
//! The solver is the same as BuildKit's door has: steps run side by side, and are told one after the other.

mod options;
mod prune;
mod steps;
mod watch;

use super::{Routes, feed};
use crate::{
    error::{ApiError, Result, status},
    request::Ask,
    response::{self, Answer},
    router::Endpoint as E,
    wire::progress::Line,
};
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use minke_engine::{
    Engine,
    body::Body,
    build::{
        BuildError, Client, Dockerfile, DockerfileError, Upload,
        dockerfile::{Command, fault::Fault, instruction::RunNetwork},
        git,
        plan::NoCache,
        request::{BuildEvent, BuildRequest, ContextFrom, DockerfileFrom, ExportRequest},
    },
    registry::RegistryAuth,
};
use options::Options;
use std::{
    collections::{BTreeMap, VecDeque},
    future::Future,
    io::{Cursor, Read},
    pin::Pin,
    sync::Arc,
};
use steps::Steps;
use tokio::sync::Notify;
use watch::Watch;

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
    steps: Option<Steps>,
    /// Why it is not done after all, told after the first step.
    refused: Option<String>,
}

async fn build(routes: &Routes, ask: Ask) -> Result<Answer> {
    let options = Options::read(&ask.query)?;
    if options.buildkit {
        return Err(ApiError::unsupported(
            "BuildKit's builds come over /session and /grpc on this daemon, as buildx and minke build send them: \
             /build takes version=1",
        ));
    }
    if let Some(output) = options.outputs.iter().find(|output| !output.kind.is_empty()) {
        let kind = minke_model::go::quote(&output.kind);
        return Err(ApiError::unsupported(format!(
            "the output {kind} needs BuildKit: use docker buildx build"
        )));
    }
    let auths = registry_config(&ask);
    let engine = routes.engine.clone();
    let mut prepared = match options.remote.as_str() {
        "" => {
            let body = feed(&ask.body);
            let received = tokio::task::spawn_blocking(move || {
                let context = receive(&engine, body)?;
                Ok::<_, ApiError>(context)
            });
            let context = received
                .await
                .map_err(|e| ApiError::internal(format!("reading the context ended: {e}")))??;
            prepare(context, &options, auths)?
        }
        "client-session" => {
            return Err(ApiError::invalid(
                "experimental session with v1 builder is no longer supported, use builder version v2 (BuildKit) instead",
            ));
        }
        remote => {
            let is_url = remote.starts_with("http://") || remote.starts_with("https://");
            if !is_url && git::parse(remote).is_none() {
                return Err(ApiError::internal(format!(
                    "remoteURL ({remote}) could not be recognized as URL"
                )));
            }
            let request = BuildRequest {
                dockerfile: DockerfileFrom::Context { file: options.dockerfile.clone() },
                context: ContextFrom::Remote(remote.to_owned()),
                ..options.request.clone()
            };
            Prepared {
                client: Arc::new(Upload::empty().with_auths(auths)),
                request,
                steps: None,
                refused: None,
            }
        }
    };
    if !options.cache_from.is_empty() {
        // As dockerd's classic builder: where images are named, only what they were built from counts.
        let here = options.cache_from.iter().any(|name| routes.engine.images.get(name).is_ok());
        if !here {
            prepared.request.options.no_cache = NoCache::All;
        }
    }
    let entered = routes.builds.enter(&options.build_id);
    Building::new(routes.engine.clone(), prepared, options, entered).answer().await
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
                ApiError::invalid(format!(
                    "target stage {} could not be found",
                    minke_model::go::quote(wanted)
                ))
            })?
        }
    };
    let steps = Steps::new(&file, target, &options.request.options.labels, &options.given);
    let refused = beyond(&file, target).map(|flag| format!("the --{flag} {NEEDS_BUILDKIT}"));
    Ok(Prepared { client: Arc::new(upload.with_auths(auths)), request, steps: Some(steps), refused })
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

/// A build under way; dropped with its answer, which ends it.
struct Building {
    /// `None` once it has ended.
    verb: Option<Pin<Box<dyn Future<Output = std::result::Result<String, BuildError>> + Send>>>,
    watch: Watch,
    steps: Option<Steps>,
    quiet: bool,
    tags: Vec<String>,
    lines: VecDeque<Line>,
    entered: Entered,
}

impl Building {
    fn new(engine: Arc<Engine>, prepared: Prepared, options: Options, entered: Entered) -> Self {
        let watch = Watch::default();
        let Prepared { client, request, mut steps, refused } = prepared;
        let tags: Vec<String> = options.tags.iter().map(|tag| tag.familiar()).collect();
        let names = options.tags.iter().map(|tag| tag.full()).collect::<Vec<_>>().join(",");
        let progress = Arc::new(watch.clone());
        let verb = async move {
            if let Some(refused) = refused {
                return Err(BuildError::unsupported(refused));
            }
            let built = engine.builds.solve(request, client.clone(), progress.clone()).await?;
            let export = ExportRequest {
                kind: "image".into(),
                attributes: [("name".to_owned(), names)].into(),
                exporter: String::new(),
            };
            let said = engine.builds.export(&built, vec![export], Vec::new(), client, progress).await?;
            Ok(said.get("containerimage.config.digest").cloned().unwrap_or_default())
        };
        let lines = match (&mut steps, options.quiet) {
            (Some(steps), false) => steps.begin().into(),
            _ => VecDeque::new(),
        };
        Self { verb: Some(Box::pin(verb)), watch, steps, quiet: options.quiet, tags, lines, entered }
    }

    fn event(&mut self, event: BuildEvent) {
        if self.quiet {
            return;
        }
        match &mut self.steps {
            Some(steps) => self.lines.extend(steps.event(event)),
            None => self.lines.extend(plain(&event)),
        }
    }

    /// What is said at the end.
    fn end(&mut self, ended: std::result::Result<String, BuildError>) -> Result<()> {
        while let Some(event) = self.watch.take() {
            self.event(event);
        }
        match ended {
            Ok(id) if self.quiet => self.lines.push_back(Line::stream(&format!("{id}\n"))),
            Ok(id) => {
                match &mut self.steps {
                    Some(steps) => self.lines.extend(steps.finish(&id)),
                    None => {
                        self.lines.push_back(Line::result(&id));
                        let built = format!("Successfully built {}\n", steps::short(&id));
                        self.lines.push_back(Line::stream(&built));
                    }
                }
                for tag in &self.tags {
                    self.lines.push_back(Line::stream(&format!("Successfully tagged {tag}\n")));
                }
            }
            Err(e) => {
                if let Some(steps) = self.steps.as_mut().filter(|_| !self.quiet) {
                    self.lines.extend(steps.fail(e.vertex()));
                }
                let (code, message) = failure(&e);
                if self.lines.is_empty() && self.quiet {
                    return Err(ApiError::new(status(e.kind()), message));
                }
                self.lines.push_back(Line::failure(code, &message));
            }
        }
        Ok(())
    }

    async fn next(&mut self) -> Option<Result<Line>> {
        loop {
            if let Some(line) = self.lines.pop_front() {
                return Some(Ok(line));
            }
            let verb = self.verb.as_mut()?;
            tokio::select! {
                biased;
                event = self.watch.next() => self.event(event),
                ended = verb => {
                    self.verb = None;
                    if let Err(e) = self.end(ended) {
                        return Some(Err(e));
                    }
                }
                () = self.entered.cancelled.notified() => {
                    self.verb = None;
                    self.lines.push_back(Line::error("Build cancelled"));
                }
            }
        }
    }

    /// The answer: an error before the first line is an HTTP error, a later one is a line.
    async fn answer(mut self) -> Result<Answer> {
        let first = match self.next().await {
            Some(Ok(first)) => vec![first.to_bytes()],
            Some(Err(e)) => return Err(e),
            None => Vec::new(),
        };
        let rest = response::steps(self, |mut building| async move {
            let line = building.next().await?.unwrap_or_else(|e| Line::error(&e.message));
            Some((Ok(line.to_bytes()), building))
        });
        let first = stream::iter(first.into_iter().map(Ok::<Bytes, std::io::Error>));
        Ok(response::chunks("application/json", first.chain(rest)))
    }
}

/// The classic builder's code and sentence.
fn failure(error: &BuildError) -> (i64, String) {
    if let (Some(code), Some(command)) = (error.exit_code(), command(error)) {
        return (code.into(), format!("The command '{command}' returned a non-zero code: {code}"));
    }
    (0, error.to_string())
}

/// The command that failed.
fn command(error: &BuildError) -> Option<&str> {
    match error {
        BuildError::Exit { command, .. } => Some(command),
        BuildError::Step(error) => command(&error.cause),
        BuildError::Shared(error) => command(error),
        _ => None,
    }
}

/// Of a Dockerfile that is elsewhere, the steps are told as they happen.
fn plain(event: &BuildEvent) -> Option<Line> {
    match event {
        BuildEvent::Vertex(vertex) if vertex.cached => {
            Some(Line::stream(&format!("{}\n ---> Using cache\n", vertex.name)))
        }
        BuildEvent::Vertex(vertex) if vertex.started.is_some() && vertex.completed.is_none() => {
            Some(Line::stream(&format!("{}\n", vertex.name)))
        }
        BuildEvent::Log(log) => Some(Line::stream(&String::from_utf8_lossy(&log.bytes))),
        _ => None,
    }
}
