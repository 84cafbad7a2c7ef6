//! A request as handlers see it: of the newest version, with its body still to be read.

use crate::{
    error::{ApiError, Result},
    query::Query,
    router::Endpoint,
    socket::Takeover,
    version::{self, Dialect, Version},
};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, header};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::body::{Body as _, Incoming};
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

/// The largest JSON body, bytes.
const MOST_JSON: usize = 16 << 20;

/// What of an unwanted body is read, bytes: a client that is cut off while it sends does not see the refusal.
const MOST_UNWANTED: usize = 8 << 20;
/// And how long.
const UNWANTED_TIME: Duration = Duration::from_secs(2);
/// A body up to this many bytes comes with its head, or right after it.
const SHORT: u64 = 64 << 10;

/// A request's body: whoever wants it takes it; what nobody took can still be read away.
#[derive(Clone)]
pub(crate) struct Inbox {
    body: Arc<Mutex<Option<Incoming>>>,
    /// Its length, if the head says one.
    pub(crate) length: Option<u64>,
}

impl Inbox {
    /// Of a request.
    pub(crate) fn new(body: Incoming) -> Self {
        let length = if body.is_end_stream() { Some(0) } else { body.size_hint().exact() };
        Self { body: Arc::new(Mutex::new(Some(body))), length }
    }

    /// The body, once.
    pub(crate) fn take(&self) -> Option<Incoming> {
        self.body.lock().unwrap_or_else(|e| e.into_inner()).take()
    }

    /// All of it, if it fits in `most` bytes.
    pub(crate) async fn read(&self, most: usize) -> Result<Bytes> {
        let Some(body) = self.take() else { return Ok(Bytes::new()) };
        match Limited::new(body, most).collect().await {
            Ok(body) => Ok(body.to_bytes()),
            Err(e) if e.is::<LengthLimitError>() => Err(ApiError::new(
                http::StatusCode::PAYLOAD_TOO_LARGE,
                format!("the body is larger than {most} bytes"),
            )),
            Err(e) => Err(ApiError::invalid(format!("cannot read the body: {e}"))),
        }
    }

    /// Whether all of it is known to come at once.
    pub(crate) fn is_short(&self) -> bool {
        self.length.is_some_and(|length| length <= SHORT)
    }

    /// Reads away what nobody took, within bounds.
    pub(crate) async fn drain(&self) {
        if let Some(body) = self.take().filter(|_| self.length != Some(0)) {
            drain(body).await;
        }
    }
}

/// Reads away the rest of a body, within bounds.
pub(crate) async fn drain(mut body: Incoming) {
    let mut read = 0;
    let all = async {
        while let Some(Ok(frame)) = body.frame().await {
            read += frame.data_ref().map_or(0, Bytes::len);
            if read > MOST_UNWANTED {
                return;
            }
        }
    };
    // A client that is too slow is cut off.
    let _ = tokio::time::timeout(UNWANTED_TIME, all).await;
}

/// A request on its way through a handler.
pub(crate) struct Ask {
    /// What it is for.
    pub(crate) endpoint: Endpoint,
    /// Only the head of the answer is wanted.
    pub(crate) head: bool,
    /// The name in its path.
    pub(crate) name: String,
    /// Its parameters, raised.
    pub(crate) query: Query,
    /// Its fields.
    pub(crate) headers: HeaderMap,
    /// Its version: only for raising and lowering.
    pub(crate) version: Version,
    /// How its streams differ.
    pub(crate) dialect: Dialect,
    /// Its body.
    pub(crate) body: Inbox,
    /// Takes its connection over; `None` in HTTP/2.
    pub(crate) takeover: Option<Takeover>,
    /// This machine has cgroup v1: a default of old versions.
    pub(crate) legacy_cgroups: bool,
}

impl Ask {
    /// Whether there is no body at all.
    fn is_empty(&self) -> bool {
        self.body.length == Some(0)
    }

    fn field(&self, name: header::HeaderName) -> Option<&HeaderValue> {
        self.headers.get(name)
    }

    /// Whether the client asks to upgrade.
    pub(crate) fn upgrades(&self) -> bool {
        self.field(header::UPGRADE).is_some()
    }

    /// Refuses bodies that are not JSON by their type.
    fn check_type(&self) -> Result<()> {
        let given =
            self.field(header::CONTENT_TYPE).map(|v| String::from_utf8_lossy(v.as_bytes()).into_owned());
        let given = given.unwrap_or_default();
        if given.is_empty() && self.is_empty() {
            return Ok(());
        }
        let kind = given.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        if kind == "application/json" {
            return Ok(());
        }
        let token = |part: &str| {
            !part.is_empty()
                && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
        };
        let problem = match kind.split_once('/') {
            _ if kind.is_empty() => Some("mime: no media type"),
            None if token(&kind) => None,
            Some((kind, subtype)) if token(kind) && token(subtype) => None,
            Some((kind, "")) if token(kind) => Some("mime: expected token after slash"),
            _ => Some("mime: unexpected content after media subtype"),
        };
        Err(ApiError::invalid(match problem {
            Some(problem) => format!("malformed Content-Type header ({given}): {problem}"),
            None => format!("unsupported Content-Type header ({given}): must be 'application/json'"),
        }))
    }

    /// A JSON body, raised to the newest version; `None` when there is none.
    pub(crate) async fn value(&self) -> Result<Option<Value>> {
        self.check_type()?;
        if self.is_empty() {
            return Ok(None);
        }
        let bytes = self.body.read(MOST_JSON).await?;
        let mut values = serde_json::Deserializer::from_slice(&bytes).into_iter::<Value>();
        let mut value = match values.next() {
            None => return Err(ApiError::invalid("invalid JSON: got EOF while reading request body")),
            Some(Err(e)) if e.is_eof() => return Err(ApiError::invalid("invalid JSON: unexpected EOF")),
            Some(Err(e)) => {
                let why = crate::wire::syntax::fault(&bytes).unwrap_or_else(|| e.to_string());
                return Err(ApiError::invalid(format!("invalid JSON: {why}")));
            }
            Some(Ok(value)) => value,
        };
        if values.next().is_some() {
            return Err(ApiError::invalid("unexpected content after JSON"));
        }
        version::raise_body(&self.version, self.endpoint, self.legacy_cgroups, &mut value)?;
        Ok(Some(value))
    }

    /// A JSON body of a shape; the shape's default when there is none, or `null`.
    pub(crate) async fn json<T: DeserializeOwned + Default>(&self) -> Result<T> {
        match self.value().await? {
            None | Some(Value::Null) => Ok(T::default()),
            Some(value) => {
                // A list would be read as an object's members in order.
                if !value.is_object() {
                    let kind = if value.is_array() { "array" } else { "value" };
                    return Err(ApiError::invalid(format!(
                        "invalid JSON: json: cannot unmarshal {kind} into an object"
                    )));
                }
                crate::wire::folded(value).map_err(|e| ApiError::invalid(format!("invalid JSON: {e}")))
            }
        }
    }

    /// The takeover of its connection, or why there is none.
    pub(crate) fn takeover(&self) -> Result<Takeover> {
        self.takeover.clone().ok_or_else(|| {
            ApiError::invalid(format!(
                "error attaching to container {}, hijack connection missing",
                self.name
            ))
        })
    }

    /// A parameter that must be there.
    pub(crate) fn required(&self, name: &str) -> Result<String> {
        // Without a space: as dockerd says it.
        self.query
            .filled(name)
            .ok_or_else(|| ApiError::invalid(format!("bad parameter: {name}cannot be empty")))
    }

    /// `filters`, as the engine takes them.
    pub(crate) fn filters(&self) -> Result<minke_engine::Filters> {
        self.query.filters().map(minke_engine::Filters::from)
    }

    /// Credentials for a registry, if they can be read: dockerd ignores what is none.
    pub(crate) fn registry_auth(&self) -> Option<crate::wire::system::AuthConfig> {
        use base64::{Engine as _, alphabet, engine};
        let text = self.headers.get("X-Registry-Auth")?.to_str().ok()?;
        let config = engine::GeneralPurposeConfig::new()
            .with_decode_padding_mode(engine::DecodePaddingMode::Indifferent);
        let decoded = engine::GeneralPurpose::new(&alphabet::URL_SAFE, config)
            .decode(text)
            .or_else(|_| engine::GeneralPurpose::new(&alphabet::STANDARD, config).decode(text))
            .ok()?;
        serde_json::from_slice(&decoded).ok()
    }
}
