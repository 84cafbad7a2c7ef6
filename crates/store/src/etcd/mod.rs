//! A store in etcd, shared by several managers.
//!
//! ```text
//!  read   ── how far is the store? ──► etcd       answered from the copy, once it has come as far
//!  commit ── compare, put, delete ───► etcd
//!  copy   ◄── one watch of everything ─ etcd
//! ```
//!
//! So a read shows every commit that was answered before it, on whatever manager, and costs one short question however
//! large the store is. Without a majority of etcd's members there are neither reads nor commits.

mod admin;
mod client;
mod filling;
#[cfg(test)]
pub(crate) mod lab;
mod proto;
mod raw;
#[cfg(test)]
mod tests;

pub use admin::{Admin, Alarm, Member, Status};
pub use client::Endpoints;

use crate::{AnyStore, Clock, Mirror, Prefixes, Remember, Result, Revision, Snapshot, Store, Txn, Watch};
use client::Client;
use raw::Raw;
use std::sync::Arc;

/// Under which beginning of keys everything lies.
const ROOT: &str = "minke/";

/// A store in etcd. Clones share its connection and its copy.
#[derive(Clone)]
pub struct Etcd {
    raw: Raw,
    mirror: Mirror,
}

impl Etcd {
    /// The store in the etcd at `endpoints`, which is begun where there is none.
    ///
    /// # Errors
    /// No member answers, or what is there is not a store.
    pub async fn open(endpoints: Endpoints, clock: Arc<dyn Clock>) -> Result<Self> {
        Self::open_under(endpoints, ROOT, Remember::CLUSTER, clock).await
    }

    async fn open_under(
        endpoints: Endpoints,
        root: &str,
        remember: Remember,
        clock: Arc<dyn Clock>,
    ) -> Result<Self> {
        let raw = Raw::open(Client::new(endpoints), root).await?;
        let mirror = Mirror::start(AnyStore::new(raw.clone()), Prefixes::all(), remember, clock);
        mirror.until(raw.latest().await?).await?;
        Ok(Etcd { raw, mirror })
    }

    /// For the care of its members.
    pub fn admin(&self) -> Admin {
        Admin::with(self.raw.client.clone())
    }
}

impl Store for Etcd {
    async fn read(&self, prefixes: impl Into<Prefixes> + Send) -> Result<Snapshot> {
        let prefixes = prefixes.into();
        let latest = self.raw.latest().await?;
        self.mirror.until(latest).await?;
        self.mirror.read(prefixes).await
    }

    async fn commit(&self, txn: Txn) -> Result<Revision> {
        // Without waiting for it to come back: who reads asks how far the store is.
        self.raw.commit(txn).await
    }

    fn watch(&self, prefixes: impl Into<Prefixes>, after: Revision) -> Watch {
        self.mirror.watch(prefixes, after)
    }
}
