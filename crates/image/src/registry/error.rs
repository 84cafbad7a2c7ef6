//! What can go wrong with a registry. Each sentence is the one that dockerd 28.5 gives: its clients, and people's
//! notes, match on them.

use crate::ImageError;
use minke_model::{Kind, id::Digest};
use std::fmt;

/// A failure of a registry, of the way to it, or of what it sent.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// A request got no usable answer.
    #[error("{method} {url:?}: {cause}")]
    Request {
        /// `Get`, `Head`, `Post`.
        method: &'static str,
        /// Without credentials.
        url: String,
        /// Why.
        cause: Box<RegistryError>,
    },
    /// The registry said what is wrong.
    #[error("{}", join(.0))]
    Api(Vec<ApiError>),
    /// An answer that means nothing here.
    #[error("received unexpected HTTP status: {}", status_text(*.0))]
    Status(u16),
    /// An error whose body says nothing.
    #[error("error parsing HTTP {status} response body: {why}: {body:?}")]
    Unparsable {
        /// HTTP's.
        status: u16,
        /// What is wrong with the body.
        why: String,
        /// Its beginning.
        body: String,
    },
    /// The other side could not be spoken with.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// More redirections than any registry needs, or one that leads nowhere.
    #[error("{0}")]
    Redirect(String),
    /// The registry wants a password and there is none.
    #[error("no basic auth credentials")]
    NoBasicCredentials,
    /// The token server's answer has no token.
    #[error("authorization server did not include a token in the response")]
    NoToken,
    /// The registry's challenge cannot be met.
    #[error("{0}")]
    Challenge(String),
    /// The registry does not take these credentials.
    #[error("login attempt to {url} failed with status: {}", status_text(*status))]
    Login {
        /// What was asked.
        url: String,
        /// HTTP's.
        status: u16,
    },
    /// The repository is not there, or only for others.
    #[error(
        "pull access denied for {name}, repository does not exist or may require 'docker login': {cause}"
    )]
    Denied {
        /// The repository, as people see it.
        name: String,
        /// In the registry's words.
        cause: ApiError,
    },
    /// The repository has no such tag or digest.
    #[error("manifest for {reference} not found: {cause}")]
    ManifestUnknown {
        /// As people see it.
        reference: String,
        /// In the registry's words.
        cause: ApiError,
    },
    /// The registry has no such repository.
    #[error("repository {name} not found: {cause}")]
    NameUnknown {
        /// As people see it.
        name: String,
        /// In the registry's words.
        cause: ApiError,
    },
    /// The registry has no such blob.
    #[error("unknown blob")]
    BlobUnknown,
    /// An index has nothing for this platform.
    #[error("no matching manifest for {platform} in the manifest list entries")]
    NoPlatform {
        /// What was looked for.
        platform: String,
    },
    /// Formats of before 2016.
    #[error(
        "Docker Image Format v1 and Docker Image manifest version 2, schema 1 support has been removed. Suggest the author of {reference} to upgrade the image to the OCI Format or Docker Image manifest v2, schema 2. More information at https://docs.docker.com/go/deprecated-image-specs/"
    )]
    Schema1 {
        /// With its domain.
        reference: String,
    },
    /// Something other than an image, or an image of a sort that is not for here.
    #[error("unsupported media type {0}")]
    MediaType(String),
    /// A plugin where an image was asked for.
    #[error("Encountered remote {media_type:?}({class}) when fetching")]
    Class {
        /// Of its config.
        media_type: String,
        /// `plugin` or `unknown`.
        class: &'static str,
    },
    /// A language model.
    #[error("AI models are not yet supported by the Engine, please use \"docker model pull/run\" instead")]
    AiModel,
    /// A manifest that cannot be read, or that can be read in two ways.
    #[error("{0}")]
    Manifest(String),
    /// A manifest is not what its digest says.
    #[error("manifest verification failed for digest {0}")]
    ManifestDigest(Digest),
    /// An image's config is not what its digest says.
    #[error("image config verification failed for digest {0}")]
    ConfigDigest(Digest),
    /// An image's config could not be had.
    #[error("error pulling image configuration: {0}")]
    Config(Box<RegistryError>),
    /// Enough was tried.
    #[error("download failed after attempts={attempts}: {cause}")]
    Attempts {
        /// How often.
        attempts: u32,
        /// The last failure.
        cause: Box<RegistryError>,
    },
    /// Enough was tried.
    #[error("upload failed after attempts={attempts}: {cause}")]
    UploadAttempts {
        /// How often.
        attempts: u32,
        /// The last failure.
        cause: Box<RegistryError>,
    },
    /// A layer is not what its digest says.
    #[error("filesystem layer verification failed for digest {0}")]
    LayerDigest(Digest),
    /// Manifest and config name different layers.
    #[error("layers from manifest don't match image configuration")]
    LayersMismatch,
    /// The config names no layers.
    #[error("invalid rootfs in image configuration")]
    RootFs,
    /// An image for another operating system.
    #[error("operating system is not supported")]
    System,
    /// A layer could not be unpacked.
    #[error("failed to register layer: {0}")]
    Register(Box<ImageError>),
    /// A name that no image may have.
    #[error("'{0}' is a reserved name")]
    Reserved(String),
    /// The daemon's settings for registries are wrong.
    #[error("{0}")]
    Settings(String),
    /// Where it happened, and what may help. dockerd's sentence comes first, as it is.
    #[error("{cause} (registry {registry}, {step}{})", advice(cause, registry))]
    At {
        /// `host[:port]`.
        registry: String,
        /// What was done: `fetching blob 0123456789ab`.
        step: String,
        /// What went wrong.
        cause: Box<RegistryError>,
    },
    /// The registry wants to be left alone for longer than anybody waits.
    #[error("{cause}")]
    Later {
        /// Seconds.
        seconds: u64,
        /// Its refusal.
        cause: Box<RegistryError>,
    },
}

impl RegistryError {
    /// The same, with where it happened. What names its registry or comes from further within stays as it is.
    pub(crate) fn at(self, registry: &str, step: impl Into<String>) -> Self {
        match self {
            RegistryError::At { .. }
            | RegistryError::Denied { .. }
            | RegistryError::ManifestUnknown { .. }
            | RegistryError::NameUnknown { .. }
            | RegistryError::Register(_)
            | RegistryError::Settings(_) => self,
            cause => {
                RegistryError::At { registry: registry.to_owned(), step: step.into(), cause: Box::new(cause) }
            }
        }
    }

    /// Without where it happened.
    pub(crate) fn bare(&self) -> &RegistryError {
        match self {
            RegistryError::At { cause, .. } | RegistryError::Later { cause, .. } => cause.bare(),
            other => other,
        }
    }

    /// Its sort, as dockerd's answer classes it: all that is not listed is 500 there.
    pub fn kind(&self) -> Kind {
        match self {
            RegistryError::At { cause, .. } | RegistryError::Later { cause, .. } => cause.kind(),
            RegistryError::Denied { .. }
            | RegistryError::ManifestUnknown { .. }
            | RegistryError::NameUnknown { .. } => Kind::NotFound,
            RegistryError::MediaType(_)
            | RegistryError::AiModel
            | RegistryError::Class { .. }
            | RegistryError::Schema1 { .. }
            | RegistryError::System
            | RegistryError::Settings(_) => Kind::Invalid,
            RegistryError::Reserved(_) => Kind::Forbidden,
            RegistryError::Register(cause) if cause.kind() == Kind::Exhausted => Kind::Exhausted,
            RegistryError::Api(errors) => errors.first().map_or(Kind::Internal, |error| error.code.kind()),
            _ => Kind::Internal,
        }
    }

    /// The registry's own words, if it is it that refused.
    pub(crate) fn api(&self) -> Option<&ApiError> {
        match self {
            RegistryError::Api(errors) => errors.first(),
            RegistryError::Request { cause, .. }
            | RegistryError::Config(cause)
            | RegistryError::At { cause, .. }
            | RegistryError::Later { cause, .. }
            | RegistryError::UploadAttempts { cause, .. }
            | RegistryError::Attempts { cause, .. } => cause.api(),
            _ => None,
        }
    }

    /// Whether the same request may go well a little later.
    pub(crate) fn is_passing(&self) -> bool {
        match self {
            RegistryError::Request { cause, .. } | RegistryError::At { cause, .. } => cause.is_passing(),
            RegistryError::Status(status) => matches!(status, 500 | 502 | 503 | 504),
            RegistryError::Transport(cause) => {
                use TransportError::*;
                matches!(cause, Connect { .. } | Timeout(_) | Broken(_) | Ended)
            }
            _ => false,
        }
    }

    /// Whether HTTP was spoken with the other side at all.
    pub(crate) fn reached(&self) -> bool {
        match self {
            RegistryError::Request { cause, .. } | RegistryError::At { cause, .. } => cause.reached(),
            RegistryError::Transport(_) => false,
            _ => true,
        }
    }
}

/// What may help, as the end of a sentence; empty where nobody knows.
fn advice(cause: &RegistryError, registry: &str) -> String {
    let login = || match registry {
        "registry-1.docker.io" => "; to log in: docker login".to_owned(),
        _ => format!("; to log in: docker login {registry}"),
    };
    let client_certs = || format!("client.cert and client.key belong in /etc/docker/certs.d/{registry}");
    let certs = || format!("; its authority's certificate belongs in /etc/docker/certs.d/{registry}/ca.crt");
    match cause {
        RegistryError::Request { cause, .. }
        | RegistryError::Config(cause)
        | RegistryError::Attempts { cause, .. } => advice(cause, registry),
        RegistryError::Later { seconds, .. } => format!("; it asks to be left alone for {seconds} s"),
        RegistryError::NoBasicCredentials => login(),
        RegistryError::Api(errors) => match errors.first().map(|e| e.code) {
            Some(Code::Unauthorized | Code::Denied) => login(),
            Some(Code::TooManyRequests) => "; try again later, or log in for a higher limit".into(),
            _ => String::new(),
        },
        RegistryError::Transport(TransportError::PlainHttp) => {
            "; a registry without TLS must be listed in insecure-registries".into()
        }
        RegistryError::Transport(TransportError::Tls(why)) if why.contains("unknown authority") => certs(),
        RegistryError::Transport(TransportError::Ended) => {
            format!("; if it wants a client certificate: {}", client_certs())
        }
        RegistryError::Transport(TransportError::Broken(why) | TransportError::Tls(why))
            if why.contains("CertificateRequired") =>
        {
            format!("; {}", client_certs())
        }
        RegistryError::LayerDigest(_)
        | RegistryError::ManifestDigest(_)
        | RegistryError::ConfigDigest(_)
        | RegistryError::LayersMismatch => "; what it sent is damaged: push the image there anew".into(),
        RegistryError::BlobUnknown => "; its image is not whole: push it there anew".into(),
        _ => String::new(),
    }
}

/// Why the other side could not be spoken with, in the words of Go's network library.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TransportError {
    /// No name server knows the host.
    #[error("dial tcp: lookup {host}: {why}")]
    Lookup {
        /// Without a port.
        host: String,
        /// `no such host`…
        why: String,
    },
    /// The host does not take the connection.
    #[error("dial tcp {address}: {why}")]
    Connect {
        /// With port.
        address: String,
        /// `connect: connection refused`, `i/o timeout`…
        why: String,
    },
    /// The proxy does not let through.
    #[error("proxyconnect tcp: {0}")]
    Proxy(String),
    /// Something without TLS answered where TLS was asked for.
    #[error("http: server gave HTTP response to HTTPS client")]
    PlainHttp,
    /// The certificate, or the handshake, is bad.
    #[error("{0}")]
    Tls(String),
    /// No answer within the time that this takes at most.
    #[error("{0}")]
    Timeout(&'static str),
    /// The other side ended the connection before it said anything.
    #[error("EOF")]
    Ended,
    /// The connection broke, or what came over it is not HTTP.
    #[error("{0}")]
    Broken(String),
}

/// One error as registries write it (OCI distribution spec, "Error Codes").
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiError {
    /// What sort.
    pub code: Code,
    /// In the registry's words; empty when it had none of its own.
    pub message: String,
}

impl ApiError {
    /// With a message; the code's usual one where it is `None`.
    pub(crate) fn new(code: Code, message: Option<&str>) -> Self {
        Self { code, message: message.unwrap_or(code.usual()).to_owned() }
    }
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = self.code.value().to_ascii_lowercase().replace('_', " ");
        match self.message.is_empty() {
            true => f.write_str(&words),
            false => write!(f, "{words}: {}", self.message),
        }
    }
}

macro_rules! codes {
    ($($name:ident $value:literal $usual:literal,)*) => {
        /// The codes that registries use.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[allow(missing_docs, reason = "their names are the specification's")]
        pub enum Code { $($name,)* }

        impl Code {
            /// From the registry's word; one that is not known is `Unknown`.
            pub fn parse(text: &str) -> Self {
                match text { $($value => Code::$name,)* _ => Code::Unknown }
            }

            /// The registry's word.
            pub fn value(self) -> &'static str {
                match self { $(Code::$name => $value,)* }
            }

            /// What the reference implementation says with it.
            pub(crate) fn usual(self) -> &'static str {
                match self { $(Code::$name => $usual,)* }
            }
        }
    };
}

codes! {
    Unknown "UNKNOWN" "unknown error",
    Unsupported "UNSUPPORTED" "The operation is unsupported.",
    Unauthorized "UNAUTHORIZED" "authentication required",
    Denied "DENIED" "requested access to the resource is denied",
    Unavailable "UNAVAILABLE" "service unavailable",
    TooManyRequests "TOOMANYREQUESTS" "too many requests",
    DigestInvalid "DIGEST_INVALID" "provided digest did not match uploaded content",
    SizeInvalid "SIZE_INVALID" "provided length did not match content length",
    NameInvalid "NAME_INVALID" "invalid repository name",
    TagInvalid "TAG_INVALID" "manifest tag did not match URI",
    NameUnknown "NAME_UNKNOWN" "repository name not known to registry",
    ManifestUnknown "MANIFEST_UNKNOWN" "manifest unknown",
    ManifestInvalid "MANIFEST_INVALID" "manifest invalid",
    ManifestUnverified "MANIFEST_UNVERIFIED" "manifest failed signature verification",
    ManifestBlobUnknown "MANIFEST_BLOB_UNKNOWN" "blob unknown to registry",
    BlobUnknown "BLOB_UNKNOWN" "blob unknown to registry",
    BlobUploadUnknown "BLOB_UPLOAD_UNKNOWN" "blob upload unknown to registry",
    BlobUploadInvalid "BLOB_UPLOAD_INVALID" "blob upload invalid",
    PaginationNumberInvalid "PAGINATION_NUMBER_INVALID" "invalid number of results requested",
}

impl Code {
    /// dockerd passes a registry's refusal on with the status that the specification has for its code.
    fn kind(self) -> Kind {
        use Code::*;
        match self {
            Unauthorized => Kind::Unauthorized,
            Denied => Kind::Forbidden,
            NameUnknown | ManifestUnknown | BlobUnknown | BlobUploadUnknown | BlobUploadInvalid => {
                Kind::NotFound
            }
            Unavailable => Kind::Unavailable,
            DigestInvalid
            | SizeInvalid
            | NameInvalid
            | TagInvalid
            | ManifestInvalid
            | ManifestUnverified
            | ManifestBlobUnknown
            | PaginationNumberInvalid => Kind::Invalid,
            Unknown | Unsupported | TooManyRequests => Kind::Internal,
        }
    }
}

/// One is told as it is, several as a list.
fn join(errors: &[ApiError]) -> String {
    match errors {
        [one] => one.to_string(),
        several => several.iter().fold("errors:\n".to_owned(), |text, error| format!("{text}{error}\n")),
    }
}

/// `502 Bad Gateway`.
fn status_text(status: u16) -> String {
    let reason = http::StatusCode::from_u16(status).ok().and_then(|s| s.canonical_reason());
    format!("{status} {}", reason.unwrap_or_default()).trim_end().to_owned()
}

/// What the registry says in an answer of 400 or more. `challenges` are those of its `WWW-Authenticate`.
pub(crate) fn from_answer(
    status: u16,
    content_type: Option<&str>,
    body: &[u8],
    refused: Option<ApiError>,
) -> RegistryError {
    if !(400..500).contains(&status) {
        return RegistryError::Status(status);
    }
    let parsed = from_body(status, content_type, body);
    // RFC 6750 section 3: the challenge itself may say why; that comes first.
    match (refused, parsed) {
        (Some(first), Ok(rest)) => RegistryError::Api([first].into_iter().chain(rest).collect()),
        (Some(first), Err(_)) => RegistryError::Api(vec![first]),
        (None, Ok(errors)) => RegistryError::Api(errors),
        (None, Err(_)) if status == 401 => RegistryError::Api(vec![ApiError::new(Code::Unauthorized, None)]),
        (None, Err(e)) => e,
    }
}

/// The errors in a body.
fn from_body(status: u16, content_type: Option<&str>, body: &[u8]) -> Result<Vec<ApiError>, RegistryError> {
    /// As registries write them; the second form is Docker Hub's token server's.
    #[derive(serde::Deserialize)]
    struct Body {
        #[serde(default)]
        errors: Option<Vec<One>>,
        #[serde(default)]
        details: Option<serde_json::Value>,
    }
    #[derive(serde::Deserialize)]
    struct One {
        #[serde(default)]
        code: Option<String>,
        #[serde(default)]
        message: Option<String>,
        #[serde(default)]
        detail: Option<serde_json::Value>,
    }
    let text = String::from_utf8_lossy(body);
    let whole = |message: &str| {
        let code = match status {
            401 => Code::Unauthorized,
            403 => Code::Denied,
            429 => Code::TooManyRequests,
            _ => Code::Unknown,
        };
        // Unlike an error with a code, one made of text keeps its (perhaps empty) text.
        vec![ApiError { code, message: message.to_owned() }]
    };
    let kind = content_type.unwrap_or_default().split(';').next().unwrap_or_default().trim();
    if !kind.eq_ignore_ascii_case("application/json")
        && !kind.eq_ignore_ascii_case("application/vnd.api+json")
    {
        return Ok(whole(&text));
    }
    let unparsable = |why: String| RegistryError::Unparsable { status, why, body: text.clone().into_owned() };
    let parsed: Body = serde_json::from_slice(body).map_err(|e| unparsable(e.to_string()))?;
    if let Some(details) = parsed.details.as_ref().and_then(|d| d.as_str()).filter(|d| !d.is_empty()) {
        return Ok(whole(details));
    }
    let errors: Vec<ApiError> = parsed
        .errors
        .unwrap_or_default()
        .into_iter()
        .map(|one| {
            let code = Code::parse(one.code.as_deref().unwrap_or_default());
            let message = one.message.unwrap_or_default();
            // Docker shortens an error that says no more than its code.
            let bare = one.detail.is_none_or(|d| d.is_null()) && message == code.usual();
            ApiError { code, message: if bare { String::new() } else { message } }
        })
        .collect();
    if errors.is_empty() {
        return Err(unparsable("no error details found in HTTP response body".into()));
    }
    Ok(errors)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(status: u16, kind: &str, body: &str) -> String {
        from_answer(status, Some(kind).filter(|k| !k.is_empty()), body.as_bytes(), None).to_string()
    }

    #[test]
    fn a_registrys_refusal_is_told_in_dockers_words() {
        let json = "application/json; charset=utf-8";
        let body =
            r#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown","detail":{"Tag":"v1"}}]}"#;
        assert_eq!(text(404, json, body), "manifest unknown: manifest unknown");
        let body = r#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}"#;
        assert_eq!(text(404, json, body), "manifest unknown");
        let body = r#"{"errors":[{"code":"TOOMANYREQUESTS","message":"slow down"}]}"#;
        assert_eq!(text(429, json, body), "toomanyrequests: slow down");
        let body = r#"{"errors":[{"code":"NEW_ONE","message":"m"},{"code":"DENIED","message":"no"}]}"#;
        assert_eq!(text(403, json, body), "errors:\nunknown: m\ndenied: no\n");
        assert_eq!(
            text(401, json, r#"{"details":"incorrect username or password"}"#),
            "unauthorized: incorrect username or password"
        );
        assert_eq!(text(429, "text/plain", "later"), "toomanyrequests: later");
        assert_eq!(text(401, json, "{}"), "unauthorized: authentication required");
        assert_eq!(
            text(404, json, "{}"),
            "error parsing HTTP 404 response body: no error details found in HTTP response body: \"{}\""
        );
        assert_eq!(text(502, "text/html", "<html>"), "received unexpected HTTP status: 502 Bad Gateway");
    }
}
