//! A registry on loopback for tests: serves what it is given, asks for tokens or passwords, and lies as it is told.

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::body::{Frame, Incoming};
use hyper_util::rt::TokioIo;
use minke_model::id::Digest;
use sha2::{Digest as _, Sha256};
use std::{
    collections::BTreeMap,
    convert::Infallible,
    io,
    net::SocketAddr,
    sync::{Arc, Mutex},
};
use tokio::{net::TcpListener, task::AbortHandle};

/// The digest of `bytes`.
pub(crate) fn sha(bytes: &[u8]) -> Digest {
    Digest::from_sha256(&Sha256::digest(bytes))
}

/// A request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) method: Method,
    /// With its query.
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Seen {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

/// An answer.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Bytes,
    /// The connection ends after so many bytes of the body.
    pub(crate) cut: Option<usize>,
    /// After so many bytes of the body nothing more comes.
    pub(crate) hang: Option<usize>,
}

impl Reply {
    pub(crate) fn new(status: u16, kind: &str, body: impl Into<Bytes>) -> Self {
        let headers = vec![("content-type".to_owned(), kind.to_owned())];
        Self { status, headers, body: body.into(), ..Self::default() }
    }

    pub(crate) fn json(status: u16, body: &str) -> Self {
        Self::new(status, "application/json", body.to_owned())
    }

    pub(crate) fn redirect(location: &str) -> Self {
        Self::default().with("location", location).status(307)
    }

    pub(crate) fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn status(mut self, status: u16) -> Self {
        self.status = status;
        self
    }

    pub(crate) fn cut(mut self, after: usize) -> Self {
        self.cut = Some(after);
        self
    }
}

type Rule = Box<dyn FnMut(&Seen) -> Option<Reply> + Send>;

#[derive(Default)]
struct State {
    blobs: BTreeMap<String, Bytes>,
    /// By `repository:tag` or `repository@digest`: content type and bytes.
    manifests: BTreeMap<String, (String, Bytes)>,
    /// What was sent to uploads under way, by their number.
    uploads: Vec<Bytes>,
    rules: Vec<Rule>,
    seen: Vec<Seen>,
}

/// A running registry; it ends when this is dropped.
pub(crate) struct Fake {
    pub(crate) address: SocketAddr,
    state: Arc<Mutex<State>>,
    task: AbortHandle,
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Fake {
    /// On a port of its own.
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state: Arc<Mutex<State>> = Arc::default();
        let shared = state.clone();
        let task = tokio::spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                let state = shared.clone();
                let service = hyper::service::service_fn(move |request| answer(state.clone(), request));
                let serving =
                    hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(tcp), service);
                tokio::spawn(async move { drop(serving.await) });
            }
        });
        Self { address, state, task: task.abort_handle() }
    }

    /// `127.0.0.1:port`.
    pub(crate) fn host(&self) -> String {
        self.address.to_string()
    }

    /// Keeps a blob for all repositories.
    pub(crate) fn blob(&self, bytes: impl Into<Bytes>) -> Digest {
        let bytes = bytes.into();
        let digest = sha(&bytes);
        self.blob_as(&digest, bytes);
        digest
    }

    /// Keeps a blob under a digest that may be another's.
    pub(crate) fn blob_as(&self, digest: &Digest, bytes: impl Into<Bytes>) {
        self.state.lock().unwrap().blobs.insert(digest.to_string(), bytes.into());
    }

    /// Forgets a blob.
    pub(crate) fn lose(&self, digest: &Digest) {
        self.state.lock().unwrap().blobs.remove(digest.as_str());
    }

    /// Keeps a manifest under its digest and a tag.
    pub(crate) fn manifest(&self, repository: &str, tag: &str, kind: &str, body: impl Into<Bytes>) -> Digest {
        let body = body.into();
        let digest = sha(&body);
        let mut state = self.state.lock().unwrap();
        state.manifests.insert(format!("{repository}@{digest}"), (kind.to_owned(), body.clone()));
        state.manifests.insert(format!("{repository}:{tag}"), (kind.to_owned(), body));
        digest
    }

    /// Answers before anything else does, as long as it gives `Some`. Earlier rules come first.
    pub(crate) fn rule(&self, rule: impl FnMut(&Seen) -> Option<Reply> + Send + 'static) {
        self.state.lock().unwrap().rules.push(Box::new(rule));
    }

    /// A manifest's content type and bytes.
    pub(crate) fn manifest_of(&self, name: &str) -> Option<(String, Bytes)> {
        self.state.lock().unwrap().manifests.get(name).cloned()
    }

    /// All requests so far.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.state.lock().unwrap().seen.clone()
    }

    /// How many requests had a path with `part` in it.
    pub(crate) fn count(&self, part: &str) -> usize {
        self.seen().iter().filter(|seen| seen.path.contains(part)).count()
    }

    /// Wants a name and a password for everything.
    pub(crate) fn want_basic(&self, authorization: &'static str) {
        self.rule(move |seen| {
            let good = seen.header("authorization") == Some(authorization);
            (!good).then(|| {
                Reply::json(
                    401,
                    r#"{"errors":[{"code":"UNAUTHORIZED","message":"authentication required","detail":[]}]}"#,
                )
                .with("www-authenticate", "Basic realm=\"r\"")
            })
        });
    }

    /// Wants the bearer token `t0ken`, which is to be had at `realm`.
    pub(crate) fn want_token(&self, realm: &str) {
        let challenge = format!("Bearer realm=\"{realm}\",service=\"fake.example\"");
        self.rule(move |seen| {
            let open =
                seen.path.starts_with("/token") || seen.header("authorization") == Some("Bearer t0ken");
            (!open).then(|| {
                Reply::json(
                    401,
                    r#"{"errors":[{"code":"UNAUTHORIZED","message":"authentication required","detail":[]}]}"#,
                )
                .with("www-authenticate", &challenge)
            })
        });
    }
}

async fn answer(
    state: Arc<Mutex<State>>,
    request: Request<Incoming>,
) -> Result<Response<UnsyncBoxBody<Bytes, io::Error>>, Infallible> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    let path = head.uri.path_and_query().map(|p| p.as_str()).unwrap_or_default().to_owned();
    let seen = Seen { method: head.method, path, headers: head.headers, body };
    let reply = {
        let mut state = state.lock().unwrap();
        state.seen.push(seen.clone());
        let ruled = state.rules.iter_mut().find_map(|rule| rule(&seen));
        ruled.unwrap_or_else(|| serve(&mut state, &seen))
    };
    let mut response = Response::builder().status(reply.status);
    for (name, value) in &reply.headers {
        response = response.header(name, value);
    }
    let length = reply.body.len();
    if seen.method == Method::HEAD {
        let response = response.header(header::CONTENT_LENGTH, length);
        return Ok(response.body(whole(Bytes::new())).unwrap());
    }
    let body = match (reply.cut, reply.hang) {
        (Some(after), _) => {
            let part = Ok(Frame::data(reply.body.slice(..after.min(length))));
            let end = Err(io::Error::other("cut"));
            let pieces = futures_util::stream::iter([part, end]);
            // A turn for the connection, so that the part is sent before the end is seen.
            let pieces = futures_util::StreamExt::then(pieces, |piece| async move {
                if piece.is_err() {
                    tokio::time::sleep(std::time::Duration::from_millis(20)).await;
                }
                piece
            });
            StreamBody::new(pieces).boxed_unsync()
        }
        (None, Some(after)) => {
            let part = futures_util::stream::iter([Ok(Frame::data(reply.body.slice(..after.min(length))))]);
            let never = futures_util::stream::pending();
            StreamBody::new(futures_util::StreamExt::chain(part, never)).boxed_unsync()
        }
        (None, None) => whole(reply.body),
    };
    Ok(response.header(header::CONTENT_LENGTH, length).body(body).unwrap())
}

fn whole(body: Bytes) -> UnsyncBoxBody<Bytes, io::Error> {
    Full::new(body).map_err(|never| match never {}).boxed_unsync()
}

/// An honest registry.
fn serve(state: &mut State, seen: &Seen) -> Reply {
    let (path, query) = seen.path.split_once('?').unwrap_or((&seen.path, ""));
    if let Some((repository, upload)) = path.split_once("/blobs/uploads/") {
        return take_blob(state, seen, repository, upload, query);
    }
    if let Some((repository, tag)) = path.trim_start_matches("/v2/").split_once("/manifests/")
        && seen.method == Method::PUT
    {
        let kind = seen.header("content-type").unwrap_or_default().to_owned();
        let digest = sha(&seen.body);
        for name in [format!("{repository}:{tag}"), format!("{repository}@{digest}")] {
            state.manifests.insert(name, (kind.clone(), seen.body.clone()));
        }
        return Reply::default().status(201).with("docker-content-digest", digest.as_str());
    }
    if path == "/v2/" {
        return Reply::json(200, "{}");
    }
    if path == "/token" {
        return Reply::json(200, r#"{"token":"t0ken","expires_in":300}"#);
    }
    if let Some((repository, name)) = path.trim_start_matches("/v2/").split_once("/manifests/") {
        let joint = if name.starts_with("sha256:") { '@' } else { ':' };
        return match state.manifests.get(&format!("{repository}{joint}{name}")) {
            Some((kind, body)) => {
                Reply::new(200, kind, body.clone()).with("docker-content-digest", sha(body).as_str())
            }
            None => Reply::json(
                404,
                &format!(
                    r#"{{"errors":[{{"code":"MANIFEST_UNKNOWN","message":"manifest unknown","detail":{{"Tag":"{name}"}}}}]}}"#
                ),
            ),
        };
    }
    if let Some((repository, "list")) = path.trim_start_matches("/v2/").split_once("/tags/") {
        let of = format!("{repository}:");
        let tags: Vec<&str> = state.manifests.keys().filter_map(|name| name.strip_prefix(&of)).collect();
        return Reply::json(200, &serde_json::json!({ "name": repository, "tags": tags }).to_string());
    }
    let Some(blob) = path.split("/blobs/").nth(1).and_then(|digest| state.blobs.get(digest)) else {
        return Reply::json(
            404,
            r#"{"errors":[{"code":"BLOB_UNKNOWN","message":"blob unknown to registry"}]}"#,
        );
    };
    let from = seen
        .header("range")
        .and_then(|r| r.strip_prefix("bytes=")?.trim_end_matches('-').parse::<usize>().ok());
    match from {
        None => Reply::new(200, "application/octet-stream", blob.clone()),
        Some(from) if from >= blob.len() => {
            Reply::default().status(StatusCode::RANGE_NOT_SATISFIABLE.as_u16())
        }
        Some(from) => Reply::new(206, "application/octet-stream", blob.slice(from..))
            .with("content-range", &format!("bytes {from}-{}/{}", blob.len() - 1, blob.len())),
    }
}

/// The three steps of an upload, and mounts of whatever is there.
fn take_blob(state: &mut State, seen: &Seen, repository: &str, upload: &str, query: &str) -> Reply {
    let value = |key: &str| query.split('&').find_map(|pair| pair.strip_prefix(key)?.strip_prefix('='));
    let at = |number: usize| format!("{repository}/blobs/uploads/{number}?state=x");
    match seen.method {
        Method::POST if value("mount").is_some_and(|digest| state.blobs.contains_key(digest)) => {
            Reply::default().status(201)
        }
        Method::POST => {
            state.uploads.push(Bytes::new());
            Reply::default().status(202).with("location", &at(state.uploads.len() - 1))
        }
        Method::PATCH => {
            let number: usize = upload.parse().unwrap();
            state.uploads[number] = seen.body.clone();
            Reply::default().status(202).with("location", &at(number))
        }
        _ => {
            let content = state.uploads[upload.parse::<usize>().unwrap()].clone();
            let digest = sha(&content);
            if value("digest") != Some(digest.as_str()) {
                return Reply::json(400, r#"{"errors":[{"code":"DIGEST_INVALID","message":"no"}]}"#);
            }
            state.blobs.insert(digest.to_string(), content);
            Reply::default().status(201)
        }
    }
}
