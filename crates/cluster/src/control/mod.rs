//! Valid wishes: what users ask of a cluster becomes one guarded transaction, or a sentence why not.
//!
//! Checks are Swarm's, and so are their sentences: Docker's clients match on some. Nothing has run when a call returns;
//! the loops make it true. An object's id is chosen before the first try, so that a try whose outcome is unknown finds
//! its own work. Never: knows HTTP or JSON, schedules, or opens a connection.

pub mod cluster;
mod constraint;
pub mod error;
pub mod filter;
pub mod network;
pub mod node;
pub mod secret;
pub mod service;
pub mod task;
pub mod why;

pub use error::{Code, ControlError, Result};
pub use filter::Filters;
pub use minke_store::{Difference, Record, StoreError, Stored, Table};

use crate::tables;
use minke_model::{ServiceId, Timestamp, secret::Sealed};
use minke_store::{AnyStore, Clock, Revision, Snapshot, Store, Txn, Watch};
use std::{fmt, sync::Arc};

/// Seals what must not be read in any store, and opens it again. Its keys are the membership's.
pub trait Sealer: Send + Sync {
    /// Seals.
    ///
    /// # Errors
    /// Without a data key.
    fn seal(&self, plain: &[u8]) -> Result<Sealed>;

    /// Opens.
    ///
    /// # Errors
    /// Another key sealed it, or it is damaged.
    fn open(&self, sealed: &Sealed) -> Result<Vec<u8>>;
}

/// A cluster's control plane, as one who asks sees it. Clones are the same.
#[derive(Clone)]
pub struct Control {
    store: AnyStore,
    clock: Arc<dyn Clock>,
    sealer: Arc<dyn Sealer>,
    /// Where new identities come from; `None`: chance.
    identities: Option<Arc<dyn Fn() -> u128 + Send + Sync>>,
}

impl fmt::Debug for Control {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Control")
    }
}

/// Tries of one wish: each is lost only to another commit that went through.
const MOST_TRIES: usize = 64;

/// What one look at a snapshot comes to.
enum Look<T> {
    /// This should be written.
    Write(Txn, T),
    /// It is so already.
    Done(T),
}

impl Control {
    /// Over a store.
    pub fn new(store: AnyStore, clock: Arc<dyn Clock>, sealer: Arc<dyn Sealer>) -> Self {
        Control { store, clock, sealer, identities: None }
    }

    /// The same, whose new services get their identities from `identities`: a simulation's seed repeats them.
    pub fn with_identities(self, identities: Arc<dyn Fn() -> u128 + Send + Sync>) -> Self {
        Control { identities: Some(identities), ..self }
    }

    fn new_service(&self) -> ServiceId {
        self.identities.as_ref().map_or_else(ServiceId::random, |next| ServiceId::from_bits(next()))
    }

    /// Everything, as of now.
    pub async fn look(&self) -> Result<Snapshot> {
        Ok(self.store.read(tables::everything()).await?)
    }

    /// Every change of everything after `revision`.
    pub fn watch(&self, after: Revision) -> Watch {
        self.store.watch(tables::everything(), after)
    }

    /// Now, for records.
    pub fn now(&self) -> Timestamp {
        self.clock.wall()
    }

    /// Looks, decides and writes until nobody came in between.
    async fn wish<T>(&self, mut decide: impl FnMut(&Snapshot) -> Result<Look<T>>) -> Result<T> {
        let mut lost = None;
        for _ in 0..MOST_TRIES {
            let snapshot = self.look().await?;
            let (txn, done) = match decide(&snapshot)? {
                Look::Done(done) => return Ok(done),
                Look::Write(txn, done) => (txn, done),
            };
            match self.store.commit(txn).await {
                Ok(_) => return Ok(done),
                Err(e @ (StoreError::Refused(_) | StoreError::OutcomeUnknown { .. })) => lost = Some(e),
                Err(e) => return Err(e.into()),
            }
        }
        Err(lost.unwrap_or(StoreError::Closed).into())
    }
}

#[cfg(test)]
mod tests;
