//! What may go wrong between the command line and its daemon.

/// A failed request.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClientError {
    /// Nobody answers there.
    #[error("Cannot connect to the {daemon} daemon at {host}. Is the {} daemon running?", daemon.to_lowercase())]
    Unreachable {
        /// The address.
        host: String,
        /// Whose daemon was meant, by the name that we were called by.
        daemon: &'static str,
    },
    /// The socket is not ours to open.
    #[error("permission denied while trying to connect to the daemon socket at {host}: {cause}")]
    Denied {
        /// The address.
        host: String,
        /// The kernel's reason.
        cause: std::io::Error,
    },
    /// Reaching it failed for another reason.
    #[error("error during connect: {0}")]
    Connect(String),
    /// The daemon answered with an error.
    #[error("Error response from daemon: {message}")]
    Daemon {
        /// The HTTP status.
        status: u16,
        /// Its sentence.
        message: String,
    },
    /// The connection broke.
    #[error("{0}")]
    Io(#[from] std::io::Error),
    /// What came is not what the API promises.
    #[error("unexpected answer from the daemon: {0}")]
    Protocol(String),
}

impl ClientError {
    /// Whether the daemon said that what was named does not exist.
    pub(crate) fn is_not_found(&self) -> bool {
        matches!(self, ClientError::Daemon { status: 404, .. })
    }

    /// Whether the daemon is gone, rather than refusing.
    pub(crate) fn is_lost(&self) -> bool {
        matches!(self, ClientError::Unreachable { .. } | ClientError::Connect(_) | ClientError::Io(_))
    }
}
