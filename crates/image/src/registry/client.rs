//! HTTP with one endpoint of a registry, and the requests about one repository there (OCI distribution spec).
//!
//! Redirections are followed by hand: credentials never leave the host that they are for. Never: decides what to
//! pull; writes anything to disk.

use super::{
    auth::{self, Authorizer, RegistryAuth},
    dial::{Connector, Dialer, io_words},
    error::{self, RegistryError, TransportError},
    mirror::{Endpoint, RegistryConfig},
    patience::{self, Patience},
    tls,
};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, header};
use http_body_util::{BodyExt, Empty, combinators::UnsyncBoxBody};
use hyper::body::Incoming;
use hyper_util::{
    client::legacy,
    rt::{TokioExecutor, TokioTimer},
};
use minke_model::id::Digest;
use std::{error::Error as _, io, time::Duration};
use tokio::time::timeout;

/// The largest manifest, index, list of tags or error, in bytes (OCI distribution spec: at least 4 MiB).
pub(crate) const MAX_DOCUMENT: u64 = 4 << 20;

/// Until the head of an answer is there.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

/// Between two pieces of a body.
pub(crate) const IDLE_TIMEOUT: Duration = Duration::from_secs(60);

/// As Go's client.
const MAX_REDIRECTS: usize = 10;

/// Before the first further try of a request whose failure may pass; doubled for the next.
const BACK_OFF: Duration = Duration::from_millis(250);

/// Pages of tags that are read at most.
const MAX_TAG_PAGES: usize = 1000;

/// The formats of manifests, in the order in which they are wanted. The last is asked for to refuse it by name.
pub(crate) const MANIFEST_TYPES: [&str; 5] = [
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.v1+prettyjws",
];

/// What is sent with a request.
pub(crate) type Body = UnsyncBoxBody<Bytes, io::Error>;

/// HTTP with one endpoint.
pub(crate) struct Client {
    http: legacy::Client<Connector, Body>,
    endpoint: Endpoint,
    config: RegistryConfig,
    agent: HeaderValue,
}

impl Client {
    /// Sets up TLS and proxies; connects to nobody yet. Errors: `Settings`.
    pub(crate) fn new(config: &RegistryConfig, endpoint: Endpoint) -> Result<Self, RegistryError> {
        let tls = tls::client_config(config, &endpoint)?;
        let dialer = Dialer::new(config.options().proxies.clone(), tls::proxy_config(config)?);
        let http = legacy::Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(Duration::from_secs(30))
            .build(Connector::new(tls, dialer));
        let agent = HeaderValue::from_str(&config.options().user_agent)
            .map_err(|e| RegistryError::Settings(format!("invalid user agent: {e}")))?;
        Ok(Self { http, endpoint, config: config.clone(), agent })
    }

    /// Whom it speaks with.
    pub(crate) fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// One request and its answer of whatever status, after redirections. `headers` go along with redirections;
    /// `authorization` only as far as the host that it is for.
    pub(crate) async fn get(
        &self,
        method: Method,
        url: &str,
        headers: &HeaderMap,
        authorization: Option<&HeaderValue>,
    ) -> Result<Response<Incoming>, RegistryError> {
        let mut at = url.to_owned();
        for _ in 0..=MAX_REDIRECTS {
            let mut headers = headers.clone();
            if let Some(authorization) = authorization.filter(|_| same_origin(url, &at)) {
                headers.insert(header::AUTHORIZATION, authorization.clone());
            }
            let answer = self.send(method.clone(), &at, headers, empty()).await?;
            let location =
                answer.headers().get(header::LOCATION).filter(|_| answer.status().is_redirection());
            let Some(location) = location.and_then(|l| l.to_str().ok()) else { return Ok(answer) };
            let Some(next) = resolve(&at, location) else {
                let cause = RegistryError::Redirect(format!("failed to parse Location header {location:?}"));
                return Err(request_error(&method, &at, cause));
            };
            at = next;
        }
        Err(request_error(&method, &at, RegistryError::Redirect("stopped after 10 redirects".into())))
    }

    /// One request and its answer of whatever status; redirections are answers too.
    pub(crate) async fn send(
        &self,
        method: Method,
        url: &str,
        mut headers: HeaderMap,
        body: Body,
    ) -> Result<Response<Incoming>, RegistryError> {
        let fail = |cause: RegistryError| request_error(&method, url, cause);
        let uri: Uri = url.parse().map_err(|e| fail(RegistryError::Redirect(format!("invalid URL: {e}"))))?;
        headers.insert(header::USER_AGENT, self.agent.clone());
        let port = uri.port_u16().unwrap_or(80);
        let host = uri.host().unwrap_or_default();
        let plain = uri.scheme_str() == Some("http");
        let proxy = self.config.options().proxies.proxy_for("http", host, port).filter(|_| plain);
        if let Some(login) = proxy.and_then(|p| p.authorization).and_then(|a| HeaderValue::from_str(&a).ok())
        {
            headers.insert(header::PROXY_AUTHORIZATION, login);
        }
        let mut request = Request::new(body);
        *request.method_mut() = method.clone();
        *request.uri_mut() = uri;
        *request.headers_mut() = headers;
        match timeout(ANSWER_TIMEOUT, self.http.request(request)).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(e)) => Err(fail(transport(&e).into())),
            Err(_) => {
                Err(fail(TransportError::Timeout("net/http: timeout awaiting response headers").into()))
            }
        }
    }

    /// Asks whether a registry is there and what it wants to see: `GET /v2/`.
    pub(crate) async fn ping(&self) -> Result<Response<Incoming>, RegistryError> {
        self.get(Method::GET, &self.endpoint.url(""), &HeaderMap::new(), None).await
    }
}

/// No body.
pub(crate) fn empty() -> Body {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

/// A failure of a request, named as Go's client names it.
pub(crate) fn request_error(method: &Method, url: &str, cause: RegistryError) -> RegistryError {
    let method = match *method {
        Method::HEAD => "Head",
        Method::POST => "Post",
        Method::PUT => "Put",
        Method::PATCH => "Patch",
        _ => "Get",
    };
    RegistryError::Request { method, url: url.to_owned(), cause: Box::new(cause) }
}

/// What lies at the bottom of a client's error.
fn transport(error: &legacy::Error) -> TransportError {
    let mut at = error.source();
    let mut last = error.to_string();
    // Sources are few; the bound is for the case that they are not.
    for _ in 0..16 {
        let Some(source) = at else { break };
        if let Some(own) = source.downcast_ref::<TransportError>() {
            return own.clone();
        }
        if let Some(io) = source.downcast_ref::<io::Error>() {
            return TransportError::Broken(io_words(io));
        }
        if let Some(hyper) = source.downcast_ref::<hyper::Error>() {
            if hyper.is_canceled() {
                return TransportError::Ended;
            }
            last = hyper_words(hyper);
        }
        at = source.source();
    }
    TransportError::Broken(last)
}

fn hyper_words(error: &hyper::Error) -> String {
    if error.is_incomplete_message() {
        return "EOF".into();
    }
    if error.is_parse() {
        return "net/http: HTTP/1.x transport connection broken: malformed HTTP response".into();
    }
    error.to_string()
}

/// Why a body ended early.
pub(crate) fn body_error(error: &hyper::Error) -> TransportError {
    let io = error.source().and_then(|source| source.downcast_ref::<io::Error>());
    TransportError::Broken(io.map_or_else(|| "unexpected EOF".to_owned(), io_words))
}

/// A small body, whole. Errors: `Transport`, or `Manifest` when it is larger than `limit` bytes.
pub(crate) async fn read_all(body: Incoming, limit: u64) -> Result<Bytes, RegistryError> {
    let mut body = body;
    let mut whole = Vec::new();
    loop {
        let Ok(frame) = timeout(IDLE_TIMEOUT, body.frame()).await else {
            return Err(TransportError::Timeout("net/http: request canceled while reading body").into());
        };
        let Some(frame) = frame else { return Ok(whole.into()) };
        let Ok(data) = frame.map_err(|e| body_error(&e))?.into_data() else { continue };
        if whole.len() as u64 + data.len() as u64 > limit {
            return Err(RegistryError::Manifest(format!("the registry's answer exceeds {limit} bytes")));
        }
        whole.extend_from_slice(&data);
    }
}

/// The error that an answer tells. Reads its body.
pub(crate) async fn refusal(answer: Response<Incoming>) -> RegistryError {
    let (head, body) = answer.into_parts();
    let refused = auth::refusal(head.status, &head.headers);
    let body = match read_all(body, MAX_DOCUMENT).await {
        Ok(body) => body,
        Err(e) => return e,
    };
    let kind = text_header(&head.headers, header::CONTENT_TYPE);
    let cause = error::from_answer(head.status.as_u16(), kind, &body, refused);
    match patience::asked(head.status, &head.headers).filter(|pause| *pause > patience::LONGEST) {
        Some(pause) => RegistryError::Later { seconds: pause.as_secs(), cause: Box::new(cause) },
        None => cause,
    }
}

/// A header's value, if it is text.
pub(crate) fn text_header(headers: &HeaderMap, name: header::HeaderName) -> Option<&str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// Whether two URLs have the same scheme, host and port.
pub(crate) fn same_origin(one: &str, other: &str) -> bool {
    let origin = |url: &str| {
        let uri: Uri = url.parse().ok()?;
        let scheme = uri.scheme_str()?.to_ascii_lowercase();
        let port = uri.port_u16().unwrap_or(if scheme == "https" { 443 } else { 80 });
        Some((scheme, uri.host()?.to_ascii_lowercase(), port))
    };
    origin(one).is_some_and(|known| origin(other) == Some(known))
}

/// Where a `Location` or `Link` leads, seen from `base` (RFC 3986 section 5, as far as registries use it).
pub(crate) fn resolve(base: &str, location: &str) -> Option<String> {
    let (scheme, rest) = base.split_once("://")?;
    let location = location.split('#').next().unwrap_or_default();
    let url = if let Some((other, _)) = location.split_once("://").filter(|(s, _)| !s.contains(['/', '?'])) {
        let known = other.eq_ignore_ascii_case("http") || other.eq_ignore_ascii_case("https");
        known.then(|| location.to_owned())?
    } else if location.starts_with("//") {
        format!("{scheme}:{location}")
    } else {
        let slash = rest.find('/').unwrap_or(rest.len());
        let (host, path) = rest.split_at(slash);
        let path = path.split('?').next().unwrap_or_default();
        match location.chars().next()? {
            '/' => format!("{scheme}://{host}{location}"),
            '?' => format!("{scheme}://{host}{path}{location}"),
            _ => format!("{scheme}://{host}{}/{location}", path.rsplit_once('/').map_or("", |(dir, _)| dir)),
        }
    };
    url.parse::<Uri>().ok().filter(|uri| uri.host().is_some_and(|h| !h.is_empty())).map(|_| url)
}

/// A manifest or an index as it came.
#[derive(Clone, Debug)]
pub(crate) struct Document {
    /// Byte for byte.
    pub(crate) raw: Bytes,
    /// As the answer's head says; may be wrong.
    pub(crate) content_type: String,
    /// As the answer's head says; may be wrong.
    pub(crate) digest: Option<Digest>,
}

/// The requests about one repository, with the credentials for it.
pub(crate) struct Repository {
    client: Client,
    authorizer: Authorizer,
    path: String,
}

impl Repository {
    /// Greets the registry and learns what it wants to see. `path` is the repository's name there; `actions` are
    /// `pull`, or `pull,push`.
    pub(crate) async fn open(
        config: &RegistryConfig,
        endpoint: Endpoint,
        path: &str,
        auth: Option<&RegistryAuth>,
        actions: &str,
    ) -> Result<Self, RegistryError> {
        let auth = auth.filter(|_| !endpoint.mirror).cloned();
        let host = endpoint.host.clone();
        let client = Client::new(config, endpoint)?;
        let answer = client.ping().await.map_err(|e| e.at(&host, "asking for its version"))?;
        let challenges = auth::challenges(answer.status(), answer.headers());
        let scopes = vec![format!("repository:{path}:{actions}")];
        let authorizer = Authorizer::new(auth, challenges, scopes);
        Ok(Self { client, authorizer, path: path.to_owned() })
    }

    /// Whom it speaks with.
    pub(crate) fn endpoint(&self) -> &Endpoint {
        &self.client.endpoint
    }

    /// Its name there.
    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    /// How it speaks.
    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    /// The credentials for it.
    pub(crate) fn authorizer(&self) -> &Authorizer {
        &self.authorizer
    }

    /// What happened, with the registry and the step that it happened in.
    pub(crate) fn at(&self, step: impl Into<String>) -> impl FnOnce(RegistryError) -> RegistryError {
        let (host, step) = (self.client.endpoint.host.clone(), step.into());
        move |cause| cause.at(&host, step)
    }

    /// One request, with credentials, once more with new ones if they were refused. Any status may come back.
    async fn once(
        &self,
        method: Method,
        url: &str,
        headers: &HeaderMap,
    ) -> Result<Response<Incoming>, RegistryError> {
        let named = |cause| request_error(&method, url, cause);
        let authorization = self.authorizer.authorization(&self.client, "").await.map_err(named)?;
        let answer = self.client.get(method.clone(), url, headers, authorization.as_ref()).await?;
        if !self.authorizer.may_retry(answer.status(), answer.headers(), authorization.as_ref()).await {
            return Ok(answer);
        }
        let authorization = self.authorizer.authorization(&self.client, "").await.map_err(named)?;
        self.client.get(method.clone(), url, headers, authorization.as_ref()).await
    }

    /// A small request, some more times if its failure may pass.
    pub(crate) async fn request(
        &self,
        method: Method,
        url: &str,
        headers: &HeaderMap,
    ) -> Result<Response<Incoming>, RegistryError> {
        let mut patience = Patience::new(BACK_OFF);
        loop {
            let answer = self.once(method.clone(), url, headers).await;
            if !patience.wait(&answer).await {
                return answer;
            }
        }
    }

    /// What a tag is now, without fetching it (`HEAD`); `None` when the registry does not say.
    pub(crate) async fn head(&self, name: &str) -> Result<Option<Digest>, RegistryError> {
        let url = self.client.endpoint.url(&format!("{}/manifests/{name}", self.path));
        let answer = match self.once(Method::HEAD, &url, &accept()).await {
            // The GET that follows tries again.
            Err(e) if e.is_passing() => return Ok(None),
            answer => answer.map_err(self.at(asking_for(name)))?,
        };
        let digest = text_header(answer.headers(), CONTENT_DIGEST).and_then(Digest::parse);
        // An error has no body here: the GET that follows will tell it.
        Ok(digest.filter(|_| answer.status().is_success()))
    }

    /// The manifest or index of a tag or digest. Verifies nothing.
    pub(crate) async fn manifest(&self, name: &str) -> Result<Document, RegistryError> {
        self.fetch_manifest(name).await.map_err(self.at(asking_for(name)))
    }

    async fn fetch_manifest(&self, name: &str) -> Result<Document, RegistryError> {
        let url = self.client.endpoint.url(&format!("{}/manifests/{name}", self.path));
        let answer = self.request(Method::GET, &url, &accept()).await?;
        if !answer.status().is_success() {
            return Err(refusal(answer).await);
        }
        let (head, body) = answer.into_parts();
        let text = |name| text_header(&head.headers, name).unwrap_or_default();
        let content_type = text(header::CONTENT_TYPE).split(';').next().unwrap_or_default().trim().to_owned();
        let digest = Digest::parse(text(CONTENT_DIGEST));
        Ok(Document { raw: read_all(body, MAX_DOCUMENT).await?, content_type, digest })
    }

    /// All tags of the repository, in the registry's order.
    pub(crate) async fn tags(&self) -> Result<Vec<String>, RegistryError> {
        self.fetch_tags().await.map_err(self.at("asking for its tags"))
    }

    async fn fetch_tags(&self) -> Result<Vec<String>, RegistryError> {
        #[derive(serde::Deserialize)]
        struct Page {
            tags: Option<Vec<String>>,
        }
        let first = self.client.endpoint.url(&format!("{}/tags/list", self.path));
        let mut url = first.clone();
        let mut tags = Vec::new();
        for _ in 0..MAX_TAG_PAGES {
            let answer = self.request(Method::GET, &url, &HeaderMap::new()).await?;
            if !answer.status().is_success() {
                return Err(refusal(answer).await);
            }
            let next = text_header(answer.headers(), header::LINK).and_then(|link| {
                let target = link.split(';').next()?.trim().trim_matches(['<', '>']);
                resolve(&url, target)
            });
            let body = read_all(answer.into_body(), MAX_DOCUMENT).await?;
            let page: Page = serde_json::from_slice(&body)
                .map_err(|e| RegistryError::Manifest(format!("cannot read the list of tags: {e}")))?;
            tags.extend(page.tags.unwrap_or_default());
            match next {
                // A list that leads elsewhere would get this registry's credentials.
                Some(next) if same_origin(&first, &next) && next != url => url = next,
                _ => return Ok(tags),
            }
        }
        Ok(tags)
    }

    /// Begins to fetch a blob at `offset`. Errors: `BlobUnknown` and what else the registry says. The answer is 200
    /// (from the beginning), 206 or 416.
    pub(crate) async fn blob(
        &self,
        digest: &Digest,
        offset: u64,
    ) -> Result<Response<Incoming>, RegistryError> {
        let url = self.client.endpoint.url(&format!("{}/blobs/{digest}", self.path));
        let mut headers = HeaderMap::new();
        if offset > 0 {
            let range = HeaderValue::from_str(&format!("bytes={offset}-"));
            headers.insert(header::RANGE, range.unwrap_or(HeaderValue::from_static("bytes=0-")));
        }
        let mut patience = Patience::when_asked();
        let answer = loop {
            let answer = self.once(Method::GET, &url, &headers).await;
            if !patience.wait(&answer).await {
                break answer?;
            }
        };
        match answer.status() {
            status if status.is_success() => Ok(answer),
            StatusCode::RANGE_NOT_SATISFIABLE if offset > 0 => Ok(answer),
            StatusCode::NOT_FOUND => Err(RegistryError::BlobUnknown),
            _ => Err(refusal(answer).await),
        }
    }
}

fn asking_for(name: &str) -> String {
    format!("asking for manifest {}", Digest::parse(name).as_ref().map_or(name, Digest::short))
}

/// The digest of what is sent, or would be.
const CONTENT_DIGEST: header::HeaderName = header::HeaderName::from_static("docker-content-digest");

/// Which formats of manifests are understood.
fn accept() -> HeaderMap {
    let mut headers = HeaderMap::new();
    for kind in MANIFEST_TYPES {
        headers.append(header::ACCEPT, HeaderValue::from_static(kind));
    }
    headers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirections_lead_where_the_standard_says() {
        let base = "https://r.example:5000/v2/a/blobs/x?y=z";
        for (location, url) in [
            ("https://cdn.example/b?sig=1", Some("https://cdn.example/b?sig=1")),
            ("//cdn.example/b", Some("https://cdn.example/b")),
            ("/c", Some("https://r.example:5000/c")),
            ("?n=2", Some("https://r.example:5000/v2/a/blobs/x?n=2")),
            ("d?to=http://e", Some("https://r.example:5000/v2/a/blobs/d?to=http://e")),
            ("file:///etc/passwd", None),
            ("ftp://x/y", None),
            ("https://", None),
            ("", None),
        ] {
            assert_eq!(resolve(base, location).as_deref(), url, "{location}");
        }
    }

    #[test]
    fn an_origin_is_scheme_host_and_port() {
        assert!(same_origin("https://A.example/x", "https://a.example:443/y?z"));
        for other in
            ["http://a.example/", "https://a.example:444/", "https://b.a.example/", "https://a.example.evil/"]
        {
            assert!(!same_origin("https://a.example/x", other), "{other}");
        }
    }
}
