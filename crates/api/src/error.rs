//! What a client is told when something fails: the one place where a kind becomes an HTTP status.

use http::StatusCode;
use minke_model::Kind;
use std::fmt;

/// A refusal: a status and dockerd's sentence for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiError {
    /// What it says of itself to programs.
    pub status: StatusCode,
    /// What it says to people; Docker's clients match on some.
    pub message: String,
}

/// What handlers return.
pub(crate) type Result<T> = std::result::Result<T, ApiError>;

impl ApiError {
    /// Any status.
    pub(crate) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into() }
    }

    /// 400: the request can never work.
    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    /// 500, also where dockerd answers so to what is really the client's mistake.
    pub(crate) fn internal(message: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, message)
    }

    /// 501: not here, for a reason.
    pub(crate) fn unsupported(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_IMPLEMENTED, message)
    }

    /// 404 for a path that is none.
    pub(crate) fn no_such_page() -> Self {
        Self::new(StatusCode::NOT_FOUND, "page not found")
    }

    /// The same status, with what was tried before the reason.
    pub(crate) fn context(mut self, what: impl fmt::Display) -> Self {
        self.message = format!("{what}: {}", self.message);
        self
    }
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for ApiError {}

/// The status of each kind, as moby's `api/server/httpstatus` maps its error classes.
pub(crate) fn status(kind: Kind) -> StatusCode {
    match kind {
        Kind::NotFound => StatusCode::NOT_FOUND,
        Kind::Invalid => StatusCode::BAD_REQUEST,
        Kind::Conflict => StatusCode::CONFLICT,
        Kind::NotModified => StatusCode::NOT_MODIFIED,
        Kind::Unauthorized => StatusCode::UNAUTHORIZED,
        Kind::Forbidden => StatusCode::FORBIDDEN,
        Kind::NotImplemented => StatusCode::NOT_IMPLEMENTED,
        Kind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        Kind::Exhausted | Kind::Cancelled | Kind::Deadline | Kind::DataLoss | Kind::Internal => {
            StatusCode::INTERNAL_SERVER_ERROR
        }
    }
}

impl From<minke_engine::Error> for ApiError {
    /// The engine's sentences are dockerd's; only their status is added.
    fn from(e: minke_engine::Error) -> Self {
        Self::new(status(e.kind()), e.to_string())
    }
}
