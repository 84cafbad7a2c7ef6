//! Why a verb failed. Most sentences are the ones that Docker's clients match on.

use minke_model::{ContainerId, Kind};
use thiserror::Error;

/// What engine verbs return.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a verb failed.
#[derive(Debug, Error)]
pub enum Error {
    /// No container has that name or id.
    #[error("No such container: {0}")]
    NoSuchContainer(String),
    /// No exec has that id.
    #[error("No such exec instance: {0}")]
    NoSuchExec(String),
    /// No network has that name or id.
    #[error("network {0} not found")]
    NoSuchNetwork(String),
    /// No volume has that name.
    #[error("get {0}: no such volume")]
    NoSuchVolume(String),
    /// A short id fits several.
    #[error("multiple IDs found with provided prefix: {0}")]
    Ambiguous(String),
    /// The container must run for this.
    #[error("container {0} is not running")]
    NotRunning(String),
    /// It is as asked already.
    #[error("{0}")]
    NotModified(String),
    /// The request is wrong in itself.
    #[error("{0}")]
    Invalid(String),
    /// The request does not fit the present state.
    #[error("{0}")]
    Conflict(String),
    /// Never allowed.
    #[error("{0}")]
    Forbidden(String),
    /// What the request names does not exist.
    #[error("{0}")]
    NotFound(String),
    /// Not supported, and why.
    #[error("{0}")]
    Unsupported(String),
    /// Another container has the name.
    #[error(
        "Conflict. The container name \"/{name}\" is already in use by container \"{holder}\". You have to remove (or rename) that container to be able to reuse that name."
    )]
    NameInUse {
        /// The name wanted.
        name: String,
        /// Who has it.
        holder: ContainerId,
    },
    /// The process could not be started; `exit` is what a shell would say (126, 127, 128).
    #[error("{message}")]
    Start {
        /// dockerd's sentence.
        message: String,
        /// 126, 127 or 128.
        exit: i32,
    },
    /// The network of a container that starts could not be made. dockerd's words around the reason.
    #[error("failed to set up container networking: {0}")]
    Networking(#[source] Box<Error>),
    /// The image room refused.
    #[error(transparent)]
    Image(#[from] minke_image::ImageError),
    /// The runtime room refused.
    #[error(transparent)]
    Runtime(#[from] minke_runtime::RuntimeError),
    /// The network room refused.
    #[error(transparent)]
    Network(#[from] minke_network::NetworkError),
    /// A log cannot be read.
    #[error(transparent)]
    Log(#[from] minke_runtime::logs::LogError),
    /// A build failed.
    #[error(transparent)]
    Build(#[from] minke_build::BuildError),
    /// A registry did not accept a login.
    #[error(transparent)]
    Login(#[from] minke_image::registry::LoginError),
    /// The store refused.
    #[error(transparent)]
    Store(#[from] minke_store::StoreError),
    /// The kernel refused, while doing what the text says.
    #[error("{what}: {source}")]
    Io {
        /// What was tried, on what.
        what: String,
        /// What the kernel said.
        source: std::io::Error,
    },
    /// The daemon is going down.
    #[error("the daemon is shutting down")]
    ShuttingDown,
    /// A bug, told rather than hidden.
    #[error("{0}")]
    Internal(String),
}

impl Error {
    /// For programs: what sort of failure it is.
    pub fn kind(&self) -> Kind {
        match self {
            Error::NoSuchContainer(_)
            | Error::NoSuchExec(_)
            | Error::NoSuchNetwork(_)
            | Error::NoSuchVolume(_)
            | Error::NotFound(_) => Kind::NotFound,
            Error::Ambiguous(_) | Error::Invalid(_) => Kind::Invalid,
            // Docker's line between a command that cannot be and a machine that cannot.
            Error::Start { exit: 126 | 127, .. } => Kind::Invalid,
            Error::Start { .. } => Kind::Internal,
            Error::NotRunning(_) | Error::Conflict(_) | Error::NameInUse { .. } => Kind::Conflict,
            Error::NotModified(_) => Kind::NotModified,
            Error::Forbidden(_) => Kind::Forbidden,
            Error::Unsupported(_) => Kind::NotImplemented,
            Error::Networking(e) => e.kind(),
            Error::Image(e) => e.kind(),
            Error::Runtime(e) => e.kind(),
            Error::Network(e) => e.kind(),
            Error::Store(e) => e.kind(),
            Error::Log(e) => e.kind(),
            Error::Login(e) => e.kind(),
            Error::Build(e) => e.kind(),
            Error::ShuttingDown => Kind::Unavailable,
            Error::Io { .. } | Error::Internal(_) => Kind::Internal,
        }
    }

    /// Wraps what the kernel said with what was tried.
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Error {
        let what = what.into();
        move |source| Error::Io { what, source }
    }
}
