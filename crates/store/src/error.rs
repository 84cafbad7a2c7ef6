//! What can go wrong with a store.

use crate::{Guard, Key, Moved, Revision};
use minke_model::Kind;
use std::{io, path::PathBuf, sync::Arc};

/// Why a read, a commit or a watch did not do what it was asked.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// Something that the transaction relied on has changed. Look again.
    #[error("commit refused, because {0} does not hold")]
    Refused(Guard),
    /// The transaction breaks a bound and can never be taken.
    #[error("transaction too large: {what} is {found}, at most {limit} allowed")]
    TooLarge {
        /// What is counted.
        what: &'static str,
        /// How many there are.
        found: usize,
        /// How many there may be.
        limit: usize,
    },
    /// Nobody knows whether the transaction was written: the answer got lost, or the disk failed. Look again.
    #[error("it is not known whether the commit was written: {cause}")]
    OutcomeUnknown {
        /// What went wrong.
        cause: Arc<StoreError>,
    },
    /// The store cannot be reached, or takes nothing now. Nothing was written.
    #[error("cannot {tried}: {detail}")]
    Unavailable {
        /// What was tried, on what.
        tried: String,
        /// Why it failed.
        detail: String,
    },
    /// The store is being moved to another place, which takes a moment. Nothing was written.
    #[error("the store is being moved, try again")]
    Moving,
    /// The store was moved to another place for good.
    #[error("the store in {} was moved to etcd at {}", path.display(), moved.urls.join(", "))]
    Moved {
        /// Where it was.
        path: PathBuf,
        /// Where it is.
        moved: Moved,
    },
    /// What was to be filled holds a store already.
    #[error("{place} holds a store already")]
    Occupied {
        /// Where.
        place: String,
    },
    /// The asker has no right to it.
    #[error("{who} may not {what}")]
    Denied {
        /// Who asks.
        who: String,
        /// What it asked for.
        what: String,
    },
    /// A transaction writes or touches what its snapshot does not cover: a bug.
    #[error("the transaction relies on {key}, which it has not read")]
    NotRead {
        /// Which record.
        key: Key,
    },
    /// A watch fell behind what is remembered. Read again.
    #[error("changes after revision {after} are no longer remembered")]
    Compacted {
        /// Where the watch was.
        after: Revision,
    },
    /// The store was closed.
    #[error("the store is closed")]
    Closed,
    /// A record was written by a later version of this program.
    #[error(
        "record {key} has schema version {found}, but this version knows only up to {known}: it was written by a newer minke, start that one"
    )]
    Newer {
        /// Which record.
        key: Key,
        /// Its version.
        found: u32,
        /// The newest known here.
        known: u32,
    },
    /// The whole file was written by a later version of this program.
    #[error("{} has format {found}, but this version knows only up to {known}: it was written by a newer minke, start that one", path.display())]
    NewerFormat {
        /// Which file.
        path: PathBuf,
        /// Its format.
        found: u64,
        /// The newest known here.
        known: u64,
    },
    /// A record cannot be read as what it should be.
    #[error("cannot decode record {key}")]
    Decode {
        /// Which record.
        key: Key,
        /// Why.
        source: Arc<serde_json::Error>,
    },
    /// A value cannot be written down: a bug.
    #[error("cannot encode record {key}")]
    Encode {
        /// Which record.
        key: Key,
        /// Why.
        source: Arc<serde_json::Error>,
    },
    /// A file does not hold what it should.
    #[error("{} is damaged: {detail}", path.display())]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        detail: String,
    },
    /// The system refused.
    #[error("cannot {tried} {}", path.display())]
    Io {
        /// What was tried.
        tried: &'static str,
        /// On what.
        path: PathBuf,
        /// Why.
        source: Arc<io::Error>,
    },
    /// The database file refused.
    #[error("cannot {tried} {}", path.display())]
    Database {
        /// What was tried.
        tried: &'static str,
        /// On what.
        path: PathBuf,
        /// Why.
        source: Arc<redb::Error>,
    },
}

impl StoreError {
    /// What sort of failure it is.
    pub fn kind(&self) -> Kind {
        match self {
            StoreError::Refused(_) | StoreError::Compacted { .. } | StoreError::Occupied { .. } => {
                Kind::Conflict
            }
            StoreError::TooLarge { .. } => Kind::Invalid,
            StoreError::Closed
            | StoreError::OutcomeUnknown { .. }
            | StoreError::Unavailable { .. }
            | StoreError::Moving
            | StoreError::Moved { .. } => Kind::Unavailable,
            StoreError::Denied { .. } => Kind::Forbidden,
            StoreError::NotRead { .. } => Kind::Internal,
            StoreError::Newer { .. } | StoreError::NewerFormat { .. } => Kind::NotImplemented,
            StoreError::Decode { .. } | StoreError::Damaged { .. } => Kind::DataLoss,
            StoreError::Io { source, .. } if source.kind() == io::ErrorKind::StorageFull => Kind::Exhausted,
            StoreError::Encode { .. } | StoreError::Io { .. } | StoreError::Database { .. } => Kind::Internal,
        }
    }
}
