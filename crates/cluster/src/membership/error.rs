//! What can go wrong between a node and its cluster.

use crate::transport::TransportError;
use minke_model::{ClusterNodeId, Kind};
use minke_store::StoreError;

/// Why somebody does not belong, or not any more.
#[derive(Debug, Clone, thiserror::Error)]
pub enum MembershipError {
    /// A key, a certificate or a request for one is not what it should be.
    #[error("cannot {tried}: {detail}")]
    Certificate {
        /// What was tried, on what.
        tried: &'static str,
        /// Why not.
        detail: String,
    },
    /// The text is no join token.
    #[error("invalid join token")]
    TokenForm,
    /// The token is of another cluster: its authority is another one.
    #[error("remote CA does not match fingerprint. Expected: {expected}")]
    OtherAuthority {
        /// The digest in the token.
        expected: String,
    },
    /// The token is of this cluster, but was replaced.
    #[error("rpc error: code = InvalidArgument desc = A valid join token is necessary to join this cluster")]
    TokenUnknown,
    /// The node was removed, or never was one.
    #[error("node {0} is no member of this cluster, join it again")]
    NotMember(ClusterNodeId),
    /// A manager's word was taken where a worker's certificate was shown.
    #[error("{0} is no manager of the cluster")]
    NotManager(String),
    /// The text is no unlock key.
    #[error("invalid key {0:?}: unlock keys begin with SWMKEY-1-")]
    KeyForm(&'static str),
    /// It does not open what was sealed.
    #[error("unable to decrypt: the key is not the one that this was sealed with")]
    WrongKey,
    /// The certificates of this cluster are signed elsewhere, and there it failed.
    #[error("the external CA {url} did not sign: {detail}")]
    External {
        /// Which.
        url: String,
        /// Why not.
        detail: String,
    },
    /// None of the managers that are known answered.
    #[error("could not reach any manager of {managers}: {detail}")]
    NoManager {
        /// Those that were tried.
        managers: String,
        /// What the last one said.
        detail: String,
    },
    /// The cluster's record is not there: the store is of no cluster.
    #[error("the store holds no cluster")]
    NoCluster,
    /// It is not allowed.
    #[error("{0}")]
    Denied(String),
    /// The other side said so.
    #[error("{message}")]
    Remote {
        /// Its sort of failure.
        kind: Kind,
        /// Its sentence.
        message: String,
    },
    /// The connection failed.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// The store failed or refused.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl MembershipError {
    /// What sort of failure it is.
    pub fn kind(&self) -> Kind {
        match self {
            MembershipError::Certificate { .. }
            | MembershipError::TokenForm
            | MembershipError::KeyForm(_) => Kind::Invalid,
            MembershipError::OtherAuthority { .. }
            | MembershipError::TokenUnknown
            | MembershipError::WrongKey => Kind::Invalid,
            MembershipError::NotMember(_) | MembershipError::NotManager(_) | MembershipError::Denied(_) => {
                Kind::Forbidden
            }
            MembershipError::External { .. }
            | MembershipError::NoManager { .. }
            | MembershipError::NoCluster
            | MembershipError::Transport(_) => Kind::Unavailable,
            MembershipError::Remote { kind, .. } => *kind,
            MembershipError::Store(error) => error.kind(),
        }
    }
}
