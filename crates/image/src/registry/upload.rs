//! The writing half of a repository (OCI distribution spec, "Push"): blobs checked, mounted, sent; manifests put.
//!
//! Never: reads a blob whole; sends credentials to a host that an upload's `Location` leads to, unless it is the same.

use super::{
    client::{Body, Repository, empty, read_all, refusal, request_error, resolve, same_origin, text_header},
    error::RegistryError,
};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use minke_model::id::Digest;

/// What an upload's begin came to.
pub(crate) enum Begun {
    /// The registry has the blob now, from another of its repositories.
    Mounted,
    /// It is to be sent here.
    At(String),
}

impl Repository {
    /// The bytes of a blob that the registry has already; `None` when it has not.
    pub(crate) async fn has_blob(&self, digest: &Digest) -> Result<bool, RegistryError> {
        let url = self.endpoint().url(&format!("{}/blobs/{digest}", self.path()));
        let answer = self.once(Method::HEAD, &url, &HeaderMap::new()).await?;
        match answer.status() {
            status if status.is_success() => Ok(true),
            StatusCode::NOT_FOUND => Ok(false),
            _ => Err(refusal(answer).await),
        }
    }

    /// Begins an upload; with `from`, asks for the blob to be taken over from that repository.
    pub(crate) async fn begin_upload(&self, mount: Option<(&Digest, &str)>) -> Result<Begun, RegistryError> {
        let query = match mount {
            Some((digest, from)) => format!("?mount={digest}&from={}", from.replace('/', "%2F")),
            None => String::new(),
        };
        let url = self.endpoint().url(&format!("{}/blobs/uploads/{query}", self.path()));
        let answer = self.send_once(Method::POST, &url, &HeaderMap::new(), empty).await?;
        match answer.status() {
            StatusCode::CREATED => Ok(Begun::Mounted),
            StatusCode::ACCEPTED => location(&url, &answer).map(Begun::At),
            _ => Err(refusal(answer).await),
        }
    }

    /// Sends a blob of `size` bytes to an upload that has begun, and ends it. `body` is made once more when the first
    /// try is refused for its credentials.
    pub(crate) async fn finish_upload(
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
        let answer = self.send_once(Method::PATCH, at, &headers, body).await?;
        if !answer.status().is_success() {
            return Err(refusal(answer).await);
        }
        let at = location(at, &answer)?;
        let url = format!("{at}{}digest={digest}", if at.contains('?') { '&' } else { '?' });
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(0));
        let answer = self.send_once(Method::PUT, &url, &headers, empty).await?;
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
        let answer = self.send_once(Method::PUT, &url, &headers, body).await?;
        if !answer.status().is_success() {
            return Err(refusal(answer).await);
        }
        // Read to its end, so that the connection can be used again.
        read_all(answer.into_body(), super::client::MAX_DOCUMENT).await.map(drop)
    }

    /// One request with a body, once more with new credentials if they were refused.
    async fn send_once(
        &self,
        method: Method,
        url: &str,
        headers: &HeaderMap,
        body: impl Fn() -> Body,
    ) -> Result<Response<Incoming>, RegistryError> {
        let named = |cause| request_error(&method, url, cause);
        let ours = same_origin(&self.endpoint().url(""), url);
        let mut refused = false;
        loop {
            let mut headers = headers.clone();
            let authorization = match ours {
                true => self.authorizer().authorization(self.client()).await.map_err(named)?,
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
