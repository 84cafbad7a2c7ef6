//! What can go wrong in a cluster's control plane.

use minke_model::Kind;
use minke_store::StoreError;

/// A failure of this room.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ClusterError {
    /// The store failed or refused.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl ClusterError {
    /// What sort of failure it is.
    pub fn kind(&self) -> Kind {
        match self {
            ClusterError::Store(error) => error.kind(),
        }
    }
}

/// What every verb here returns.
pub type Result<T, E = ClusterError> = std::result::Result<T, E>;
