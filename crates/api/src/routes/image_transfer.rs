//! Images that come and go: pull, push, import, load, save.

use super::{Routes, body_chunks, feed, platform_json, platform_of, repository_and_tag};
use crate::{
    error::{ApiError, Result},
    request::Ask,
    response::{self, Answer},
    router::Endpoint as E,
    wire::progress::Line,
};
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use http::StatusCode;
use minke_engine::{
    Loaded, ProgressEvent, Reference,
    image::{Import, Pull, progress},
    registry::RegistryAuth,
};
use serde_json::json;
use std::{future::Future, pin::Pin};
use tokio::sync::mpsc;

pub(super) async fn handle(routes: &Routes, ask: Ask) -> Result<Answer> {
    match ask.endpoint {
        E::ImageCreate if !ask.query.get("fromImage").is_empty() => pull(routes, ask).await,
        E::ImageCreate => import(routes, ask).await,
        E::ImagePush => push(routes, ask).await,
        E::ImageLoad => load(routes, ask).await,
        _ => save(routes, ask).await,
    }
}

/// A verb under way that tells its progress.
struct Transfer {
    /// `None` once it has ended.
    verb: Option<Pin<Box<dyn Future<Output = Result<Vec<Line>>> + Send>>>,
    progress: mpsc::Receiver<ProgressEvent>,
    /// What it said at its end.
    last: std::collections::VecDeque<Line>,
}

/// One progress line.
fn line(event: &ProgressEvent) -> Line {
    let id = event.id.as_deref().unwrap_or_default();
    match (event.current, event.total) {
        (None, None) if event.id.is_none() => Line::status(id, &event.status),
        (current, total) => Line::progress(id, &event.status, current.unwrap_or(0), total.unwrap_or(0)),
    }
}

impl Transfer {
    fn new(
        verb: impl Future<Output = Result<Vec<Line>>> + Send + 'static,
        progress: mpsc::Receiver<ProgressEvent>,
    ) -> Self {
        Self { verb: Some(Box::pin(verb)), progress, last: Default::default() }
    }

    /// The next line; what was told before the end comes before what is said at the end.
    async fn next(&mut self) -> Option<Result<Line>> {
        loop {
            if let Some(last) = self.last.pop_front() {
                return Some(Ok(last));
            }
            let Some(verb) = &mut self.verb else {
                return self.progress.recv().await.map(|event| Ok(line(&event)));
            };
            tokio::select! {
                biased;
                Some(event) = self.progress.recv() => return Some(Ok(line(&event))),
                ended = verb => {
                    self.verb = None;
                    while let Ok(event) = self.progress.try_recv() {
                        self.last.push_back(line(&event));
                    }
                    self.progress.close();
                    match ended {
                        Ok(lines) => self.last.extend(lines),
                        Err(e) if self.last.is_empty() => return Some(Err(e)),
                        Err(e) => self.last.push_back(Line::error(&e.message)),
                    }
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
        let rest = response::steps(self, |mut transfer| async move {
            let line = transfer.next().await?.unwrap_or_else(|e| Line::error(&e.message));
            Some((Ok(line.to_bytes()), transfer))
        });
        let first = stream::iter(first.into_iter().map(Ok::<Bytes, std::io::Error>));
        Ok(response::chunks("application/json", first.chain(rest)))
    }
}

async fn push(routes: &Routes, ask: Ask) -> Result<Answer> {
    let invalid = |e: minke_engine::reference::ReferenceError| ApiError::invalid(e.to_string());
    let mut reference = Reference::parse(&ask.name).map_err(invalid)?;
    let tag = ask.query.get("tag");
    if !tag.is_empty() {
        reference = reference.repository().with_tag(tag).map_err(invalid)?;
    }
    if reference.digest().is_some() {
        return Err(ApiError::invalid("cannot push a digest reference"));
    }
    if let Some(wanted) = one_platform(&ask)? {
        routes.engine.images.get_for(&reference.familiar(), Some(&wanted))?;
    }
    let auth = ask.registry_auth().map(RegistryAuth::from);
    let (teller, told) = progress();
    let images = routes.engine.images.clone();
    // Dropped when the client leaves: that ends the push.
    let verb = async move {
        let pushed = images.push(reference, auth, teller).await.map_err(ApiError::from)?;
        let aux = |p: &minke_engine::Pushed| {
            Line::aux(json!({"Tag": p.tag, "Digest": p.digest.as_str(), "Size": p.size}))
        };
        Ok(pushed.iter().map(aux).collect())
    };
    Transfer::new(verb, told).answer().await
}

async fn pull(routes: &Routes, ask: Ask) -> Result<Answer> {
    let query = &ask.query;
    let platform = platform_of(query.get("platform"))?;
    let invalid = |e: minke_engine::reference::ReferenceError| ApiError::invalid(e.to_string());
    let (name, tag) = (query.get("fromImage"), query.get("tag"));
    let mut reference = Reference::parse(name.strip_suffix(':').unwrap_or(name)).map_err(invalid)?;
    if !tag.is_empty() {
        reference = match minke_engine::reference::parse_digest(tag) {
            Ok(digest) => reference.repository().with_digest(digest),
            Err(_) => reference.with_tag(tag).map_err(invalid)?,
        };
    }
    if reference.familiar_name() == "scratch" {
        return Err(ApiError::new(StatusCode::FORBIDDEN, "'scratch' is a reserved name"));
    }
    // Without tag and digest, the API means every tag (the client adds `latest` by itself).
    let all_tags = reference.is_name_only();
    let auth = ask.registry_auth().map(RegistryAuth::from);
    let wish = Pull { reference, platform, auth, all_tags };
    let (teller, told) = progress();
    let images = routes.engine.images.clone();
    // Dropped when the client leaves: that ends the pull.
    let verb = async move { images.pull(wish, teller).await.map(|_| Vec::new()).map_err(ApiError::from) };
    Transfer::new(verb, told).answer().await
}

async fn import(routes: &Routes, ask: Ask) -> Result<Answer> {
    let query = &ask.query;
    let platform = platform_of(query.get("platform"))?;
    let source = query.get("fromSrc").to_owned();
    let reference = repository_and_tag(query.get("repo"), query.get("tag"))?;
    let message = query.filled("message").unwrap_or_else(|| format!("Imported from {source}"));
    // Other systems' images do not run here, and Docker's graph drivers refuse them.
    if platform.as_ref().is_some_and(|p| p.os != "linux") {
        return Err(ApiError::invalid("operating system is not supported"));
    }
    let wish = Import { reference, message, changes: query.all("changes"), platform };
    if source == "-" {
        let id = routes.engine.images.import(feed(&ask.body), wish).await?;
        let line = Line::status("", id.as_str());
        return Ok(response::chunks("application/json", stream::iter([Ok(line.to_bytes())])));
    }
    // As dockerd: what has no scheme is a host.
    let url = if source.contains("://") { source } else { format!("http://{source}") };
    let images = routes.engine.images.clone();
    let began = Line::status("", &format!("Downloading from {url}"));
    let verb = async move {
        let imported = async { images.import(images.fetch(&url).await?, wish).await }.await;
        // dockerd's head is out by now.
        Ok(vec![imported.map_or_else(|e| Line::error(&e.to_string()), |id| Line::status("", id.as_str()))])
    };
    let mut transfer = Transfer::new(verb, mpsc::channel(1).1);
    transfer.last.push_back(began);
    transfer.answer().await
}

async fn load(routes: &Routes, ask: Ask) -> Result<Answer> {
    let platform = one_platform(&ask)?;
    let quiet = ask.query.flag_or("quiet", true);
    let images = routes.engine.images.clone();
    let (teller, told) = progress();
    let told = if quiet { mpsc::channel(1).1 } else { told };
    let body = feed(&ask.body);
    let verb = async move {
        let lines = match images.load(body, platform, teller).await {
            Ok(loaded) => loaded.iter().map(said).collect(),
            // dockerd's head is out by now.
            Err(e) => vec![Line::error(&e.to_string())],
        };
        Ok(lines)
    };
    Transfer::new(verb, told).answer().await
}

fn said(loaded: &Loaded) -> Line {
    match loaded {
        Loaded::Reference(reference) => Line::stream(&format!("Loaded image: {}\n", reference.familiar())),
        Loaded::Id(id) => Line::stream(&format!("Loaded image ID: {id}\n")),
    }
}

fn one_platform(ask: &Ask) -> Result<Option<minke_model::image::Platform>> {
    if ask.query.all("platform").len() > 1 {
        return Err(ApiError::invalid("multiple platform parameters not supported"));
    }
    platform_json(ask.query.get("platform"))
}

async fn save(routes: &Routes, ask: Ask) -> Result<Answer> {
    let platform = one_platform(&ask)?;
    let names = if ask.name.is_empty() { ask.query.all("names") } else { vec![ask.name.clone()] };
    let tar = routes.engine.images.save(names, platform).await?;
    Ok(response::chunks("application/x-tar", body_chunks(tar)))
}
