//! The writing half of a repository (OCI distribution spec, "Push"): blobs checked, mounted, sent; manifests put.
//!
//! Never: reads a blob whole; sends credentials to a host that an upload's `Location` leads to, unless it is the same.

use super::{
    client::{Body, Repository, empty, read_all, refusal, request_error, resolve, same_origin, text_header},
    error::RegistryError,
    patience::Patience,
};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use minke_model::id::Digest;
use std::time::Duration;
use tokio::time::sleep;

/// How often one blob is sent at most.
const ATTEMPTS: u32 = 5;

/// Before it is sent once more; doubled each time.
const BACK_OFF: Duration = Duration::from_millis(500);

/// What an upload's begin came to.
pub(crate) enum Begun {
    /// The registry has the blob now, from another of its repositories.
    Mounted,
    /// It is to be sent here.
    At(String),
    /// It is to be sent, to an upload that is still to begin.
    Refused,
}

/// A blob that another repository of the same registry has.
#[derive(Clone, Copy)]
pub(crate) struct Mount<'a> {
    pub(crate) digest: &'a Digest,
    /// The repository's name there.
    pub(crate) from: &'a str,
}

impl Repository {
    /// Whether the registry has a blob already. Who may not ask is told when the blob is sent.
    pub(crate) async fn has_blob(&self, digest: &Digest) -> Result<bool, RegistryError> {
        let url = self.endpoint().url(&format!("{}/blobs/{digest}", self.path()));
        let step = || self.at(format!("looking for blob {}", digest.short()));
        match self.request(Method::HEAD, &url, &HeaderMap::new()).await {
            Ok(answer) => Ok(answer.status().is_success()),
            Err(e) if e.is_passing() || !e.reached() => Err(step()(e)),
            Err(error) => {
                tracing::debug!(%error, "cannot look for a blob; it is sent");
                Ok(false)
            }
        }
    }

    /// Asks for a blob to be taken over from another repository. Where the registry will not, it is to be sent.
    pub(crate) async fn mount(&self, mount: Mount<'_>) -> Begun {
        match self.begin(Some(mount)).await {
            Ok(begun) => begun,
            Err(error) => {
                tracing::debug!(%error, from = mount.from, "a blob cannot be mounted; it is sent");
                Begun::Refused
            }
        }
    }

    /// Begins an upload; with a mount, asks for the blob to be taken over.
    async fn begin(&self, mount: Option<Mount<'_>>) -> Result<Begun, RegistryError> {
        let query = match mount {
            Some(Mount { digest, from }) => format!("?mount={digest}&from={}", from.replace('/', "%2F")),
            None => String::new(),
        };
        // Reading there is another right than writing here.
        let beside = mount.map(|m| format!("repository:{}:pull", m.from)).unwrap_or_default();
        let url = self.endpoint().url(&format!("{}/blobs/uploads/{query}", self.path()));
        let answer = self.send(Method::POST, &url, &HeaderMap::new(), &beside, empty).await?;
        match answer.status() {
            StatusCode::CREATED => Ok(Begun::Mounted),
            StatusCode::ACCEPTED => location(&url, &answer).map(Begun::At),
            _ => Err(refusal(answer).await),
        }
    }

    /// Sends a blob of `size` bytes. `body` is made anew for each try; `waits` hears of pauses between them. Tries are
    /// few: each sends all of it.
    pub(crate) async fn upload(
        &self,
        digest: &Digest,
        size: u64,
        begun: Begun,
        body: impl Fn() -> Body,
        waits: &(dyn Fn(Duration) + Sync),
    ) -> Result<(), RegistryError> {
        let step = || self.at(format!("sending blob {}", digest.short()));
        let mut begun = Some(begun);
        let mut pause = BACK_OFF;
        for attempt in 1.. {
            let at = match begun.take() {
                Some(Begun::Mounted) => return Ok(()),
                Some(Begun::At(at)) => Ok(at),
                Some(Begun::Refused) | None => match self.begin(None).await {
                    Ok(Begun::At(at)) => Ok(at),
                    Ok(_) => return Ok(()),
                    Err(e) => Err(e),
                },
            };
            let sent = match at {
                Ok(at) => self.finish(&at, digest, size, &body).await,
                Err(e) => Err(e),
            };
            match sent {
                Ok(()) => return Ok(()),
                Err(cause) if cause.is_passing() && attempt < ATTEMPTS => {
                    tracing::info!(%cause, digest = digest.short(), "an upload broke off, trying again");
                    waits(pause);
                    sleep(pause).await;
                    pause *= 2;
                }
                Err(cause) if attempt > 1 => {
                    let (attempts, cause) = (attempt, Box::new(cause));
                    return Err(step()(RegistryError::UploadAttempts { attempts, cause }));
                }
                Err(cause) => return Err(step()(cause)),
            }
        }
        Ok(())
    }

    /// Sends a blob to an upload that has begun, and ends it.
    async fn finish(
        &self,
        at: &str,
        digest: &Digest,
        size: u64,
        body: impl Fn() -> Body,
    ) -> Result<(), RegistryError> {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(size));
        // Streamed by PATCH, as Docker does: some registries take a whole blob by PUT only up to a few MiB.
        let answer = self.send(Method::PATCH, at, &headers, "", body).await?;
        if !answer.status().is_success() {
            return Err(refusal(answer).await);
        }
        let at = location(at, &answer)?;
        let url = format!("{at}{}digest={digest}", if at.contains('?') { '&' } else { '?' });
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(0));
        let answer = self.send(Method::PUT, &url, &headers, "", empty).await?;
        if answer.status().is_success() { Ok(()) } else { Err(refusal(answer).await) }
    }

    /// Puts a manifest under a tag or digest.
    pub(crate) async fn put_manifest(
        &self,
        name: &str,
        media_type: &str,
        raw: &[u8],
    ) -> Result<(), RegistryError> {
        let url = self.endpoint().url(&format!("{}/manifests/{name}", self.path()));
        let mut headers = HeaderMap::new();
        let kind = HeaderValue::from_str(media_type);
        headers.insert(header::CONTENT_TYPE, kind.unwrap_or(HeaderValue::from_static("application/json")));
        let raw = Bytes::copy_from_slice(raw);
        let body = || Full::new(raw.clone()).map_err(|never| match never {}).boxed_unsync();
        let step = || self.at(format!("putting manifest {name}"));
        let mut patience = Patience::new(BACK_OFF);
        let answer = loop {
            let answer = self.send(Method::PUT, &url, &headers, "", body).await;
            if !patience.wait(&answer).await {
                break answer.map_err(step())?;
            }
        };
        if !answer.status().is_success() {
            return Err(step()(refusal(answer).await));
        }
        // Read to its end, so that the connection can be used again.
        read_all(answer.into_body(), super::client::MAX_DOCUMENT).await.map(drop)
    }

    /// One request with a body, once more with new credentials if they were refused, and when the registry is busy,
    /// later.
    async fn send(
        &self,
        method: Method,
        url: &str,
        headers: &HeaderMap,
        beside: &str,
        body: impl Fn() -> Body,
    ) -> Result<Response<Incoming>, RegistryError> {
        let mut patience = Patience::when_asked();
        loop {
            let answer = self.send_once(method.clone(), url, headers, beside, &body).await;
            if !patience.wait(&answer).await {
                return answer;
            }
        }
    }

    async fn send_once(
        &self,
        method: Method,
        url: &str,
        headers: &HeaderMap,
        beside: &str,
        body: impl Fn() -> Body,
    ) -> Result<Response<Incoming>, RegistryError> {
        let named = |cause| request_error(&method, url, cause);
        let ours = same_origin(&self.endpoint().url(""), url);
        let mut refused = false;
        loop {
            let mut headers = headers.clone();
            let authorization = match ours {
                true => self.authorizer().authorization(self.client(), beside).await.map_err(named)?,
                false => None,
            };
            if let Some(authorization) = &authorization {
                headers.insert(header::AUTHORIZATION, authorization.clone());
            }
            let answer = self.client().send(method.clone(), url, headers, body()).await?;
            let again = !refused
                && ours
                && self
                    .authorizer()
                    .may_retry(answer.status(), answer.headers(), authorization.as_ref())
                    .await;
            if !again {
                return Ok(answer);
            }
            refused = true;
        }
    }
}

/// Where an upload goes on.
fn location(url: &str, answer: &Response<Incoming>) -> Result<String, RegistryError> {
    text_header(answer.headers(), header::LOCATION)
        .and_then(|location| resolve(url, location))
        .ok_or_else(|| RegistryError::Redirect("the registry does not say where the upload goes on".into()))
}
