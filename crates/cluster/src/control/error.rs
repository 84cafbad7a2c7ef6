//! Why a wish was refused, in Swarm's words and with its codes.

use minke_model::Kind;
use minke_store::StoreError;
use std::fmt;

/// What every verb here returns.
pub type Result<T, E = ControlError> = std::result::Result<T, E>;

/// A class of refusals, as Swarm's control API names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// It can never work.
    InvalidArgument,
    /// It is not there.
    NotFound,
    /// Another has that name.
    AlreadyExists,
    /// Not as things are.
    FailedPrecondition,
    /// Never allowed.
    PermissionDenied,
    /// Not a thing that is done.
    Unimplemented,
    /// Nobody said why.
    Unknown,
    /// What it needs is damaged or failed.
    Internal,
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// A refusal.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ControlError {
    /// Swarm's control plane would say so.
    #[error("rpc error: code = {code} desc = {message}")]
    Refused {
        /// Which class.
        code: Code,
        /// The sentence.
        message: String,
    },
    /// Docker's daemon would say so, before it asks its control plane.
    #[error("{message}")]
    Plain {
        /// What sort.
        kind: Kind,
        /// The sentence.
        message: String,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl ControlError {
    pub(crate) fn new(code: Code, message: impl Into<String>) -> Self {
        ControlError::Refused { code, message: message.into() }
    }

    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        ControlError::new(Code::InvalidArgument, message)
    }

    pub(crate) fn plain(kind: Kind, message: impl Into<String>) -> Self {
        ControlError::Plain { kind, message: message.into() }
    }

    /// An update that saw another version than there is.
    pub(crate) fn out_of_sequence() -> Self {
        ControlError::new(Code::Unknown, "update out of sequence")
    }

    /// For programs.
    pub fn kind(&self) -> Kind {
        match self {
            ControlError::Refused { code, .. } => match code {
                Code::InvalidArgument | Code::FailedPrecondition => Kind::Invalid,
                Code::NotFound => Kind::NotFound,
                Code::AlreadyExists => Kind::Conflict,
                Code::PermissionDenied => Kind::Forbidden,
                Code::Unimplemented => Kind::NotImplemented,
                Code::Unknown | Code::Internal => Kind::Internal,
            },
            ControlError::Plain { kind, .. } => *kind,
            ControlError::Store(error) => error.kind(),
        }
    }
}
