//! What every object of a cluster carries beside its spec.

use crate::Timestamp;
use serde::{Deserialize, Serialize};

/// When it was made and changed, and how often.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Meta {
    /// When it was made.
    pub created: Timestamp,
    /// When its spec was last changed.
    pub updated: Timestamp,
    /// Counts changes of the spec, from 1: Docker's `Version.Index`. An update names the one that it saw.
    pub version: u64,
}

impl Meta {
    /// Of an object that is made at `now`.
    pub fn new(now: Timestamp) -> Self {
        Meta { created: now, updated: now, version: 1 }
    }

    /// After one more change of the spec.
    pub fn changed(&self, now: Timestamp) -> Self {
        Meta { created: self.created, updated: now, version: self.version + 1 }
    }
}
