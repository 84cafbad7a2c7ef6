//! `moby.buildkit.v1.Control`: builds asked for, watched, remembered; what the cache takes, and what of it may go.

use super::{
    Buildkit, attrs,
    client::SessionClient,
    fault,
    grpc::Pieces,
    jobs::{Job, Outcome, cancelled},
    proto::{
        BytesMessage,
        content::{Info, InfoRequest, InfoResponse, ReadContentRequest, ReadContentResponse},
        control::{
            self, BuildHistoryEvent, BuildHistoryRequest, DiskUsageRequest, DiskUsageResponse, PruneRequest,
            SolveRequest, SolveResponse, StatusRequest, StatusResponse, UpdateBuildHistoryRequest,
            UsageRecord,
        },
    },
    sessions::Hello,
};
use futures_util::{StreamExt as _, stream};
use minke_engine::build::{
    Built,
    request::{CacheFilter, CachePrune, CacheRef, CacheUsage, ExportRequest},
};
use std::{collections::BTreeMap, sync::Arc};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    sync::broadcast::error::RecvError,
};
use tonic::{Status, Streaming};

/// Bytes of a session that a client carries inside of a call.
const PIECE: usize = 32 << 10;
/// Exporters of one build.
const MOST_EXPORTERS: usize = 64;

/// Fields of before what they are now (BuildKit `control/control.go`, `translateLegacySolveRequest`).
fn raise(request: &mut SolveRequest) {
    if request.exporters.is_empty() && !request.exporter.is_empty() {
        let (kind, attrs) =
            (std::mem::take(&mut request.exporter), std::mem::take(&mut request.exporter_attrs));
        request.exporters.push(control::Exporter { kind, attrs });
    }
    let cache = request.cache.get_or_insert_default();
    let registry = |reference: String, mut attrs: BTreeMap<String, String>| {
        attrs.insert("ref".into(), reference);
        control::CacheOptionsEntry { kind: "registry".into(), attrs }
    };
    if !cache.export_ref.is_empty() {
        let (reference, attrs) =
            (std::mem::take(&mut cache.export_ref), std::mem::take(&mut cache.export_attrs));
        cache.exports.push(registry(reference, attrs));
    }
    for reference in std::mem::take(&mut cache.import_refs) {
        cache.imports.push(registry(reference, BTreeMap::new()));
    }
}

impl Buildkit {
    /// A build, to its end. Dropped, or left by its session, it stops.
    pub(super) async fn solve(self: Arc<Self>, mut request: SolveRequest) -> Result<SolveResponse, Status> {
        raise(&mut request);
        if request.exporters.len() > MOST_EXPORTERS {
            return Err(Status::invalid_argument(format!("more than {MOST_EXPORTERS} exporters")));
        }
        if request.definition.as_ref().is_some_and(|definition| !definition.def.is_empty()) {
            return Err(no_llb());
        }
        let session = self.sessions.find(&request.session).await?;
        let running = self.jobs.begin(request, session.clone())?;
        let job = running.job.clone();
        let outcome = tokio::select! {
            outcome = self.run(&job) => outcome,
            () = session.ended() => Err(cancelled()),
        };
        running.end(outcome.as_ref());
        outcome.map(|exporter_response| SolveResponse { exporter_response })
    }

    async fn run(&self, job: &Arc<Job>) -> Result<BTreeMap<String, String>, Status> {
        let request = &job.request;
        let built = match request.frontend.as_str() {
            "" => {
                let names = job.returned().await.map_err(fault::from_rpc)?;
                let results = names.iter().map(|name| job.result(name)).collect::<Result<Vec<_>, _>>()?;
                gathered(results)
            }
            frontend => {
                attrs::check_frontend(frontend, &request.frontend_attrs)?;
                let asked = attrs::read(
                    &request.frontend_attrs,
                    &request.entitlements,
                    request.cache.as_ref().map_or(&[], |cache| &cache.imports),
                )?;
                let client = self.client(job, asked.elsewhere);
                let built = self.engine.builds.solve(asked.request, client, job.journal.clone()).await;
                Some(built.map_err(|e| fault::status(&e))?)
            }
        };
        match built {
            Some(built) => self.export(job, &built).await,
            None => Ok(BTreeMap::new()),
        }
    }

    /// The client of a build, as the build room knows one.
    pub(super) fn client(&self, job: &Job, elsewhere: BTreeMap<String, String>) -> Arc<SessionClient> {
        let images = self.engine.images.clone();
        Arc::new(SessionClient::new(self.sessions.clone(), job.session.clone(), elsewhere, images))
    }

    async fn export(&self, job: &Job, built: &Arc<Built>) -> Result<BTreeMap<String, String>, Status> {
        let client = self.client(job, BTreeMap::new());
        let caches = job.request.cache.iter().flat_map(|cache| &cache.exports);
        let caches =
            caches.map(|entry| CacheRef { kind: entry.kind.clone(), attributes: entry.attrs.clone() });
        let exports = job.request.exporters.iter().enumerate().map(|(number, exporter)| ExportRequest {
            kind: exporter.kind.clone(),
            attributes: exporter.attrs.clone(),
            exporter: number.to_string(),
        });
        let (exports, caches) = (exports.collect(), caches.collect());
        let done = self.engine.builds.export(built, exports, caches, client, job.journal.clone()).await;
        done.map_err(|e| fault::status(&e))
    }

    /// What happens in a build, from its beginning to its end.
    pub(super) async fn status(
        self: Arc<Self>,
        request: StatusRequest,
    ) -> Result<Pieces<StatusResponse>, Status> {
        let reader = self.jobs.journal(&request.reference).await?.read();
        let pieces = stream::unfold(reader, |mut reader| async move {
            reader.next().await.map(|message| (Ok(message), reader))
        });
        Ok(pieces.boxed())
    }

    /// Builds of now and of the past; unless asked to end, also those to come.
    pub(super) async fn listen(
        self: Arc<Self>,
        request: BuildHistoryRequest,
    ) -> Result<Pieces<BuildHistoryEvent>, Status> {
        let event = |kind: i32| move |record| BuildHistoryEvent { kind, record: Some(record) };
        let active = self.jobs.active().into_iter();
        let active = active.filter(|r| request.reference.is_empty() || r.reference == request.reference);
        let mut events: Vec<BuildHistoryEvent> = active.map(event(control::STARTED)).collect();
        let (past, news) = self.jobs.history.list(&request.reference);
        if !request.active_only {
            events.extend(past.into_iter().rev().map(event(control::COMPLETE)));
        }
        if let Some(most) = usize::try_from(request.limit).ok().filter(|most| *most > 0) {
            events.truncate(most);
        }
        let known = stream::iter(events.into_iter().map(Ok));
        if request.early_exit {
            return Ok(known.boxed());
        }
        let reference = request.reference;
        let news = stream::unfold((news, reference), |(mut news, reference)| async move {
            loop {
                let event = match news.recv().await {
                    Ok(event) => event,
                    // What a slow listener missed it asks for again.
                    Err(RecvError::Lagged(_)) => continue,
                    Err(RecvError::Closed) => return None,
                };
                let of = event.record.as_ref().map_or("", |record| record.reference.as_str());
                if reference.is_empty() || of == reference {
                    return Some((Ok(event), (news, reference)));
                }
            }
        });
        Ok(known.chain(news).boxed())
    }

    /// Forgets a build, or keeps it longer.
    pub(super) fn update_history(&self, request: &UpdateBuildHistoryRequest) -> Result<(), Status> {
        self.jobs.history.update(request)
    }

    /// What the cache takes.
    pub(super) async fn disk_usage(
        self: Arc<Self>,
        request: DiskUsageRequest,
    ) -> Result<DiskUsageResponse, Status> {
        let filters = filters(&request.filter)?;
        let usage = self.engine.builds.usage(&filters).await.map_err(|e| fault::status(&e))?;
        Ok(DiskUsageResponse { record: usage.into_iter().map(Into::into).collect() })
    }

    /// Takes things out of the cache, and tells which.
    pub(super) async fn prune(self: Arc<Self>, request: PruneRequest) -> Result<Pieces<UsageRecord>, Status> {
        let bytes = |n: i64| u64::try_from(n).ok().filter(|n| *n > 0);
        let prune = CachePrune {
            all: request.all,
            keep_seconds: bytes(request.keep_duration).map(|nanos| nanos / 1_000_000_000),
            keep_bytes: bytes(request.max_used_space),
            reserved_bytes: bytes(request.reserved_space),
            min_free_bytes: bytes(request.min_free_space),
            filters: filters(&request.filter)?,
        };
        let gone = self.engine.builds.prune(prune).await.map_err(|e| fault::status(&e))?;
        Ok(stream::iter(gone.into_iter().map(|usage| Ok(usage.into()))).boxed())
    }

    /// A blob that a build's record names.
    pub(super) fn blob_info(&self, request: &InfoRequest) -> Result<InfoResponse, Status> {
        let blob = self.blob(&request.digest)?;
        let info = Info { digest: request.digest.clone(), size: blob.len() as i64 };
        Ok(InfoResponse { info: Some(info) })
    }

    /// Its bytes.
    pub(super) async fn read_blob(
        self: Arc<Self>,
        request: ReadContentRequest,
    ) -> Result<Pieces<ReadContentResponse>, Status> {
        let blob = self.blob(&request.digest)?;
        let from = usize::try_from(request.offset).unwrap_or_default().min(blob.len());
        let most = usize::try_from(request.size).ok().filter(|size| *size > 0).unwrap_or(usize::MAX);
        let to = from.saturating_add(most).min(blob.len());
        let piece = ReadContentResponse { offset: from as i64, data: blob.slice(from..to) };
        Ok(stream::iter([Ok(piece)]).boxed())
    }

    fn blob(&self, digest: &str) -> Result<bytes::Bytes, Status> {
        let blob = self.jobs.history.blob(digest);
        blob.ok_or_else(|| Status::not_found(format!("content {digest}: not found")))
    }

    /// A session inside of a call: its bytes come and go as messages.
    pub(super) async fn session(
        self: Arc<Self>,
        request: tonic::Request<Streaming<BytesMessage>>,
    ) -> Result<Pieces<BytesMessage>, Status> {
        let (fields, _, mut pieces) = request.into_parts();
        let hello = Hello::read(&fields.into_headers()).map_err(Status::invalid_argument)?;
        self.sessions.check(&hello.id).map_err(Status::already_exists)?;
        let (near, far) = tokio::io::duplex(4 * PIECE);
        let (read, mut write) = tokio::io::split(far);
        let carried = async move {
            let fed = async {
                while let Ok(Some(piece)) = pieces.message().await {
                    if write.write_all(&piece.data).await.is_err() {
                        break;
                    }
                }
                // The session may have ended already.
                let _ = write.shutdown().await;
            };
            let (carried, ()) = tokio::join!(self.sessions.carry(hello, near), fed);
            if let Err(e) = carried {
                tracing::debug!("{e}");
            }
        };
        // It ends with the answer's stream: when the client closes the call, all of it is dropped.
        let carried = stream::once(carried).filter_map(|()| async { None });
        let said = stream::unfold(read, |mut read| async move {
            let mut piece = bytes::BytesMut::with_capacity(PIECE);
            match read.read_buf(&mut piece).await {
                Ok(1..) => Some((Ok(BytesMessage { data: piece.freeze() }), read)),
                _ => None,
            }
        });
        Ok(stream::select(said, carried).boxed())
    }
}

/// Graphs of a client's own are not run here.
pub(super) fn no_llb() -> Status {
    Status::unimplemented(
        "this daemon builds Dockerfiles; it does not run LLB definitions: build with the frontend dockerfile.v0",
    )
}

/// The results that a client returned, as one.
fn gathered(results: Vec<Outcome>) -> Option<Arc<Built>> {
    let first = results.first()?;
    let all = first.built.images.len() == results.len();
    if all && results.iter().enumerate().all(|(n, r)| r.number == n && Arc::ptr_eq(&r.built, &first.built)) {
        return Some(first.built.clone());
    }
    Some(Arc::new(Built {
        images: results.iter().filter_map(|result| result.image().cloned()).collect(),
        multi_platform: first.built.multi_platform || results.len() > 1,
        findings: first.built.findings.clone(),
        source: first.built.source.clone(),
        inline_cache: first.built.inline_cache,
    }))
}

/// containerd's filters (containerd `pkg/filters`): `type==regular,inuse`; several are alternatives, of which only one
/// is supported.
fn filters(texts: &[String]) -> Result<Vec<CacheFilter>, Status> {
    let text = match texts {
        [] => return Ok(Vec::new()),
        [one] => one,
        _ => {
            return Err(Status::invalid_argument(
                "several filters at once are not supported: join them by commas",
            ));
        }
    };
    let mut conditions = Vec::new();
    for condition in minke_model::go::csv_fields(text).map_err(Status::invalid_argument)? {
        let found = ["==", "!=", "~="].iter().find_map(|operator| {
            let (field, value) = condition.split_once(operator)?;
            Some((field, *operator, value))
        });
        let (field, operator, value) = found.unwrap_or((&condition, "", ""));
        conditions.push(CacheFilter {
            field: field.trim().to_lowercase(),
            operator: operator.into(),
            value: value.trim().trim_matches('"').to_owned(),
        });
    }
    Ok(conditions)
}

impl From<CacheUsage> for UsageRecord {
    fn from(usage: CacheUsage) -> Self {
        Self {
            id: usage.id,
            mutable: usage.mutable,
            in_use: usage.in_use,
            size: i64::try_from(usage.size).unwrap_or(i64::MAX),
            parent: usage.parents.first().cloned().unwrap_or_default(),
            created_at: Some(usage.created.into()),
            last_used_at: usage.last_used.map(Into::into),
            usage_count: i64::try_from(usage.uses).unwrap_or(i64::MAX),
            description: usage.description,
            record_type: usage.kind.to_owned(),
            shared: usage.shared,
            parents: usage.parents,
        }
    }
}
