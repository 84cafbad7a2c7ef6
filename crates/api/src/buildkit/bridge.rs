//! `moby.buildkit.v1.frontend.LLBBridge`: a client's own side of its build, a question at a time.
//!
//! Each call names its build in a field. Results stay until the build is over; other builds may take them as inputs,
//! by a definition that means nothing but their name.

use super::{
    Buildkit, attrs,
    control::no_llb,
    fault,
    jobs::{Job, Outcome, cancelled},
    proto::{
        Empty,
        gateway::{
            self, InputsResponse, PongResponse, ReadDirRequest, ReadDirResponse, ReadFileRequest,
            ReadFileResponse, Ref, RefMap, ResolveImageConfigRequest, ResolveImageConfigResponse,
            ResolveSourceMetaRequest, ResolveSourceMetaResponse, ReturnRequest, SolveRequest, SolveResponse,
            StatFileRequest, StatFileResponse, WarnRequest,
        },
        solver::{Definition, Input, Op, OpMetadata, SourceOp},
    },
    questions, send, worker,
};
use minke_engine::{
    build::{
        Built, Lines, Progress as _,
        error::Source,
        request::{BuildEvent, BuiltImage, VertexWarning},
    },
    platform,
};
use minke_model::id::Digest;
use prost::Message as _;
use serde_json::json;
use sha2::{Digest as _, Sha256};
use std::{collections::BTreeMap, sync::Arc};
use tonic::{Status, metadata::MetadataMap};

/// The field that names the build of a call (BuildKit `client/buildid`).
const BUILD_ID: &str = "buildkit-controlapi-buildid";
/// What an input's definition says that it is: a result by its name.
const RESULT: &str = "minke-result://";
/// The largest file that is read for a client, bytes.
const MOST_FILE: u64 = 8 << 20;
/// Operations of one definition.
const MOST_OPERATIONS: usize = 64;
/// Bytes of one warning.
const MOST_WARNING: usize = 64 << 10;

impl Buildkit {
    /// The build that a call is about.
    pub(super) async fn job_of(&self, fields: &MetadataMap) -> Result<Arc<Job>, Status> {
        let id = fields.get(BUILD_ID).and_then(|id| id.to_str().ok());
        let id = id.ok_or_else(|| Status::invalid_argument("no buildid found in context"))?;
        self.jobs.find(id).await
    }

    /// What this side can.
    pub(super) fn pong(&self) -> PongResponse {
        PongResponse {
            frontend_caps: worker::frontend_caps(),
            llb_caps: worker::solver_caps(),
            workers: vec![worker::record(&self.engine)],
        }
    }

    /// Has a Dockerfile built, or answers a question about it.
    pub(super) async fn bridge_solve(
        &self,
        job: &Arc<Job>,
        request: SolveRequest,
    ) -> Result<SolveResponse, Status> {
        tokio::select! {
            solved = self.solve_for(job, request) => solved,
            () = job.over() => Err(cancelled()),
        }
    }

    async fn solve_for(&self, job: &Arc<Job>, request: SolveRequest) -> Result<SolveResponse, Status> {
        let definition = request.definition.unwrap_or_default();
        if request.frontend.is_empty() {
            let result = match definition.def.is_empty() {
                true => gateway::Result::default(),
                false => {
                    let outcome = self.input(&definition).ok_or_else(no_llb)?;
                    let built = single(&outcome)?;
                    let names = self.jobs.keep(job, &built)?;
                    of_images(&names, &built)
                }
            };
            return Ok(answer(result));
        }
        attrs::check_frontend(&request.frontend, &request.frontend_opt)?;
        let mut asked =
            attrs::read(&request.frontend_opt, &job.request.entitlements, &request.cache_imports)?;
        for (name, definition) in &request.frontend_inputs {
            let outcome = self.input(definition).ok_or_else(no_llb)?;
            let image = outcome.image().ok_or_else(no_llb)?.clone();
            asked.request.inputs.insert(name.clone(), image);
        }
        if let Some(question) = &asked.question {
            questions::check(question)?;
        }
        let client = self.client(job, asked.elsewhere);
        let check_only = asked.request.check_only;
        let target = asked.request.options.target.clone();
        let build_args = asked.request.options.build_args.clone();
        let built = self.engine.builds.solve(asked.request, client, job.journal.clone()).await;
        if let Some(question) = asked.question.filter(|_| check_only) {
            let metadata = questions::answer(&question, built.as_deref(), target.as_deref(), &build_args)?;
            return Ok(answer(gateway::Result { metadata, ..gateway::Result::default() }));
        }
        let built = built.map_err(|e| fault::status(&e))?;
        let names = self.jobs.keep(job, &built)?;
        Ok(answer(of_images(&names, &built)))
    }

    /// The result that a definition means, if it is one of ours.
    fn input(&self, definition: &Definition) -> Option<Outcome> {
        let operations =
            definition.def.iter().take(MOST_OPERATIONS).filter_map(|op| Op::decode(op.as_slice()).ok());
        let mut sources = operations.filter_map(|op| op.source);
        let name = sources.find_map(|source| source.identifier.strip_prefix(RESULT).map(str::to_owned))?;
        self.jobs.result_of_any(&name)
    }

    /// A file of a result.
    pub(super) async fn read_file(
        &self,
        job: &Job,
        request: ReadFileRequest,
    ) -> Result<ReadFileResponse, Status> {
        let image = image(job.result(&request.reference)?)?;
        let range = request.range.map(|range| {
            let number = |n: i64| u64::try_from(n).unwrap_or_default();
            let length = Some(number(range.length)).filter(|length| *length > 0);
            (number(range.offset), length.unwrap_or(MOST_FILE).min(MOST_FILE))
        });
        let range = range.or(Some((0, MOST_FILE)));
        let read = self.engine.builds.read_file(&image.root, &request.file_path, range).await;
        let data = read.map_err(|e| fault::status(&e))?;
        Ok(ReadFileResponse { data })
    }

    /// A directory of a result.
    pub(super) async fn read_dir(
        &self,
        job: &Job,
        request: ReadDirRequest,
    ) -> Result<ReadDirResponse, Status> {
        let image = image(job.result(&request.reference)?)?;
        let read =
            self.engine.builds.read_dir(&image.root, &request.dir_path, &request.include_pattern).await;
        let entries = read.map_err(|e| fault::status(&e))?.into_iter().map(send::stat).collect();
        Ok(ReadDirResponse { entries })
    }

    /// What a file of a result is.
    pub(super) async fn stat_file(
        &self,
        job: &Job,
        request: StatFileRequest,
    ) -> Result<StatFileResponse, Status> {
        let image = image(job.result(&request.reference)?)?;
        let found = self.engine.builds.stat(&image.root, &request.path).await;
        let stat = found.map_err(|e| fault::status(&e)).map(send::stat)?;
        Ok(StatFileResponse { stat: Some(stat) })
    }

    /// An image's configuration.
    pub(super) async fn resolve_image_config(
        &self,
        job: &Job,
        request: ResolveImageConfigRequest,
    ) -> Result<ResolveImageConfigResponse, Status> {
        let name = request.reference.clone();
        let (digest, config) =
            self.image_config(job, &name, request.platform.as_ref(), &request.resolve_mode).await?;
        Ok(ResolveImageConfigResponse { digest, config, reference: request.reference })
    }

    /// What a source is now. Of images their configuration; others are as they were asked for.
    pub(super) async fn resolve_source(
        &self,
        job: &Job,
        request: ResolveSourceMetaRequest,
    ) -> Result<ResolveSourceMetaResponse, Status> {
        let source = request.source.ok_or_else(|| Status::invalid_argument("no source to resolve"))?;
        let mut image = None;
        if let Some(name) = source.identifier.strip_prefix("docker-image://") {
            let (digest, config) =
                self.image_config(job, name, request.platform.as_ref(), &request.resolve_mode).await?;
            image = Some(gateway::ResolveSourceImageResponse { digest, config });
        }
        Ok(ResolveSourceMetaResponse { source: Some(source), image })
    }

    async fn image_config(
        &self,
        job: &Job,
        name: &str,
        wanted: Option<&super::proto::solver::Platform>,
        mode: &str,
    ) -> Result<(String, Vec<u8>), Status> {
        let wanted = match wanted {
            Some(p) => minke_model::image::Platform {
                os: p.os.clone(),
                architecture: p.architecture.clone(),
                variant: p.variant.clone(),
            },
            None => platform::host(),
        };
        let client = self.client(job, BTreeMap::new());
        let found = self.engine.builds.image_config(name, &wanted, mode == "pull", client).await;
        let found = found.map_err(|e| fault::status(&e))?;
        let digest = found.digest.map(|digest| digest.to_string()).unwrap_or_default();
        Ok((digest, found.config.raw.to_vec()))
    }
}

/// What was given to the build from outside: nothing that a client does not know already.
pub(super) fn inputs() -> InputsResponse {
    InputsResponse::default()
}

/// The client's side of a build ended.
pub(super) fn give_back(job: &Job, request: ReturnRequest) -> Empty {
    let ReturnRequest { result, error } = request;
    let result = result.unwrap_or_default();
    let one = result.one.map(|one| one.id).or(result.ref_deprecated);
    let many = result.many.unwrap_or_default().refs.into_values().map(|one| one.id);
    let names = one.into_iter().chain(many).filter(|name| !name.is_empty()).collect();
    job.give_back(match error.filter(|error| error.code != 0) {
        Some(error) => Err(error),
        None => Ok(names),
    });
    Empty {}
}

/// A result is there when its name is: nothing is done later.
pub(super) fn evaluate(job: &Job, reference: &str) -> Result<Empty, Status> {
    job.result(reference).map(|_| Empty {})
}

/// A warning of the client's own.
pub(super) fn warn(job: &Job, request: WarnRequest) -> Result<Empty, Status> {
    if request.encoded_len() > MOST_WARNING {
        return Err(Status::invalid_argument(format!("a warning of more than {MOST_WARNING} bytes")));
    }
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let vertex = Digest::parse(&request.digest);
    let info = request.info.unwrap_or_default();
    let line =
        |at: Option<super::proto::solver::Position>| at.map_or(0, |at| u32::try_from(at.line).unwrap_or(0));
    let range = request.ranges.first().copied().unwrap_or_default();
    job.journal.report(BuildEvent::Warning(VertexWarning {
        vertex: vertex
            .ok_or_else(|| Status::invalid_argument(format!("invalid digest {:?}", request.digest)))?,
        level: i32::try_from(request.level).unwrap_or(i32::MAX),
        short: text(&request.short),
        detail: request.detail.iter().map(|line| text(line)).collect(),
        url: request.url,
        source: Source { file: info.filename.as_str().into(), text: text(&info.data).into() },
        lines: Lines { first: line(range.start), last: line(range.end) },
    }));
    Ok(Empty {})
}

fn image(outcome: Outcome) -> Result<BuiltImage, Status> {
    outcome.image().cloned().ok_or_else(|| Status::unknown("that result has no files"))
}

/// One result by itself.
fn single(outcome: &Outcome) -> Result<Arc<Built>, Status> {
    let Built { findings, source, inline_cache, .. } = &*outcome.built;
    let images = vec![image(outcome.clone())?];
    let (findings, source, inline_cache) = (findings.clone(), source.clone(), *inline_cache);
    Ok(Arc::new(Built { images, multi_platform: false, findings, source, inline_cache }))
}

fn answer(result: gateway::Result) -> SolveResponse {
    SolveResponse { reference: String::new(), result: Some(result) }
}

/// A reference, with a definition by which other builds can name it.
fn reference(name: &str) -> Ref {
    let source = SourceOp { identifier: format!("{RESULT}{name}"), attrs: BTreeMap::new() };
    let source = Op { inputs: Vec::new(), source: Some(source) }.encode_to_vec();
    let digest = |op: &[u8]| Digest::from_sha256(&Sha256::digest(op)).to_string();
    let last = Op { inputs: vec![Input { digest: digest(&source), index: 0 }], source: None }.encode_to_vec();
    let metadata = [digest(&source), digest(&last)].map(|digest| (digest, OpMetadata {})).into();
    Ref { id: name.to_owned(), def: Some(Definition { def: vec![source, last], metadata }) }
}

/// What was built, as a frontend's result (BuildKit `exporter/containerimage/exptypes`).
fn of_images(names: &[String], built: &Built) -> gateway::Result {
    const CONFIG: &str = "containerimage.config";
    let mut result = gateway::Result::default();
    let mut platforms = Vec::new();
    let mut refs = BTreeMap::new();
    for (name, image) in names.iter().zip(&built.images) {
        let id = platform::format(&image.platform);
        let p = &image.platform;
        let mut described = json!({ "architecture": p.architecture, "os": p.os });
        if !p.variant.is_empty() {
            described["variant"] = json!(p.variant);
        }
        platforms.push(json!({ "ID": id, "Platform": described }));
        let key = if built.multi_platform { format!("{CONFIG}/{id}") } else { CONFIG.to_owned() };
        result.metadata.insert(key, image.config.raw.to_vec());
        refs.insert(id, reference(name));
    }
    if !platforms.is_empty() {
        let listed = json!({ "Platforms": platforms }).to_string();
        result.metadata.insert("refs.platforms".into(), listed.into_bytes());
    }
    match built.multi_platform {
        true => result.many = Some(RefMap { refs }),
        false => result.one = refs.into_values().next(),
    }
    result
}
