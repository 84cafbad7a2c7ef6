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

/// The largest JSON body, bytes.
const MOST_JSON: usize = 16 << 20;

/// A request on its way through a handler.
pub(crate) struct Ask {
    /// What it is for.
    pub(crate) endpoint: Endpoint,
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
    pub(crate) body: Incoming,
    /// Takes its connection over; `None` in HTTP/2.
    pub(crate) takeover: Option<Takeover>,
}

impl Ask {
    /// Whether there is no body at all.
    fn is_empty(&self) -> bool {
        self.body.is_end_stream() || self.body.size_hint().exact() == Some(0)
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

    /// All of a body that fits.
    async fn bytes(&mut self) -> Result<Bytes> {
        let collected = Limited::new(&mut self.body, MOST_JSON).collect().await;
        match collected {
            Ok(body) => Ok(body.to_bytes()),
            Err(e) if e.is::<LengthLimitError>() => Err(ApiError::new(
                http::StatusCode::PAYLOAD_TOO_LARGE,
                format!("the body is larger than {MOST_JSON} bytes"),
            )),
            Err(e) => Err(ApiError::invalid(format!("cannot read the body: {e}"))),
        }
    }

    /// A JSON body, raised to the newest version; `None` when there is none.
    pub(crate) async fn value(&mut self) -> Result<Option<Value>> {
        self.check_type()?;
        if self.is_empty() {
            return Ok(None);
        }
        let bytes = self.bytes().await?;
        let mut values = serde_json::Deserializer::from_slice(&bytes).into_iter::<Value>();
        let mut value = match values.next() {
            None => return Err(ApiError::invalid("invalid JSON: got EOF while reading request body")),
            Some(Err(e)) if e.is_eof() => return Err(ApiError::invalid("invalid JSON: unexpected EOF")),
            Some(Err(e)) => return Err(ApiError::invalid(format!("invalid JSON: {e}"))),
            Some(Ok(value)) => value,
        };
        if values.next().is_some() {
            return Err(ApiError::invalid("unexpected content after JSON"));
        }
        version::raise_body(&self.version, self.endpoint, &mut value)?;
        Ok(Some(value))
    }

    /// A JSON body of a shape; the shape's default when there is none, or `null`.
    pub(crate) async fn json<T: DeserializeOwned + Default>(&mut self) -> Result<T> {
        match self.value().await? {
            None | Some(Value::Null) => Ok(T::default()),
            Some(value) => {
                serde_json::from_value(value).map_err(|e| ApiError::invalid(format!("invalid JSON: {e}")))
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
