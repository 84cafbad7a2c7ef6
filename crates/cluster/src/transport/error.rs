//! What can go wrong with a connection.

use std::{io, sync::Arc};

/// Why nothing came through.
#[derive(Debug, Clone, thiserror::Error)]
pub enum TransportError {
    /// The other side, or the network.
    #[error(transparent)]
    Io(Arc<io::Error>),
    /// What came breaks the rules.
    #[error("the other side breaks the protocol: {0}")]
    Protocol(&'static str),
    /// The connection is over.
    #[error("the connection has ended: {0}")]
    Ended(String),
    /// No secure connection comes about.
    #[error("cannot {tried}: {detail}")]
    Tls {
        /// What was tried, with whom.
        tried: String,
        /// Why not.
        detail: String,
    },
    /// Nobody answers there.
    #[error("cannot connect to {address}: {detail}")]
    Connect {
        /// Where.
        address: String,
        /// Why not.
        detail: String,
    },
    /// A message cannot be read.
    #[error("a message cannot be read: {0}")]
    Message(Arc<serde_json::Error>),
}

impl From<io::Error> for TransportError {
    fn from(error: io::Error) -> Self {
        TransportError::Io(Arc::new(error))
    }
}

impl From<serde_json::Error> for TransportError {
    fn from(error: serde_json::Error) -> Self {
        TransportError::Message(Arc::new(error))
    }
}
