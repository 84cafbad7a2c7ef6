//! The move of a store from one machine's disk into etcd, and its filling from a backup.
//!
//! ```text
//!  old store  open ───────────────── held ──────────────────► says "moved", for good
//!  etcd       nothing ► "filling" ► copied ► read, compared ──────────► opened, in a new epoch
//! ```
//!
//! A crash between any two steps leaves exactly one store that opens: before the old one says "moved", that one, and the
//! next move begins anew; after it, the one in etcd, which whoever finds the old one's word opens ([`Moved::open`]).

use crate::{
    AnyStore, Clock, Dump, Embedded, Endpoints, Etcd, Key, Prefix, Result, Snapshot, Store, StoreError,
    Switch, Txn, dump::digest,
};
use serde::{Deserialize, Serialize};
use std::{path::Path, sync::Arc, time::Duration};

/// Under which key a store says that it was moved.
const MOVED: &str = "moved-to-etcd";
/// Pauses while etcd does not answer after there is no way back, and how many.
const PAUSE: Duration = Duration::from_millis(200);
const ATTEMPTS: usize = 50;

/// What an old store says when it was moved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moved {
    /// The members of the etcd that it is in.
    pub urls: Vec<String>,
    /// The digest of what was moved.
    pub digest: String,
    /// The epoch that begins there.
    pub epoch: u64,
}

/// How far a move has come. For tests that end it there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    CopiedBefore,
    Held,
    Copied,
    Compared,
    SaidMoved,
}

impl Moved {
    /// What the store in `directory` says, if it was moved.
    ///
    /// # Errors
    /// As [`Embedded::open`].
    pub fn found_in(directory: &Path) -> Result<Option<Self>> {
        Moved::said_by(&Embedded::open(directory)?.snapshot())
    }

    pub(crate) fn said_by(snapshot: &Snapshot) -> Result<Option<Self>> {
        let key = Key::new(MOVED);
        let said = snapshot.get(&key).map(|record| serde_json::from_slice(record.bytes()));
        said.transpose().map_err(|source| StoreError::Decode { key, source: Arc::new(source) })
    }

    /// The store that it was moved to. Also opens one that a crash kept from being opened.
    ///
    /// # Errors
    /// No member answers, or what is there is something else.
    pub async fn open(&self, endpoints: Endpoints, clock: Arc<dyn Clock>) -> Result<Etcd> {
        Etcd::finish_filling(endpoints, &self.digest, self.epoch, clock).await
    }
}

/// Moves what `switch` uses, a cluster's store on disk, into the etcd at `endpoints`, and lets `switch` use that. Nobody
/// can commit while this is under way, which is short: most is copied before. With an error before the old store has said
/// "moved", everything goes on as before.
///
/// # Errors
/// Etcd does not answer or is in use. [`StoreError::OutcomeUnknown`]: whether the old store has said "moved" is known only
/// after a restart; until then commits are refused.
pub async fn move_to_etcd(switch: &Switch, endpoints: Endpoints, clock: Arc<dyn Clock>) -> Result<Etcd> {
    move_until(switch, endpoints, clock, |_| Ok(())).await
}

async fn move_until(
    switch: &Switch,
    endpoints: Endpoints,
    clock: Arc<dyn Clock>,
    mut reached: impl FnMut(Step) -> Result<()> + Send,
) -> Result<Etcd> {
    let filling = Etcd::begin_filling(endpoints.clone()).await?;
    let before = switch.read(Prefix::all()).await?;
    filling.copy(&Snapshot::empty(), &before).await?;
    reached(Step::CopiedBefore)?;

    let held = switch.hold().await;
    reached(Step::Held)?;
    let now = held.current().read(Prefix::all()).await?;
    filling.copy(&before, &now).await?;
    reached(Step::Copied)?;
    let moved = Moved { urls: endpoints.urls.clone(), digest: digest(&now), epoch: now.revision().epoch + 1 };
    filling.compare(&moved.digest).await?;
    filling.promise(&moved.digest, moved.epoch).await?;
    reached(Step::Compared)?;

    let encode = |source| StoreError::Encode { key: Key::new(MOVED), source: Arc::new(source) };
    let word = serde_json::to_vec(&moved).map_err(encode)?;
    let said = held.current().commit(Txn::new().guard_absent(MOVED).put_bytes(MOVED, 1, word)).await;
    if let Err(error) = said {
        if matches!(error, StoreError::OutcomeUnknown { .. }) {
            held.for_good();
        }
        return Err(error);
    }
    // From here on there is no way back.
    let opened = async {
        reached(Step::SaidMoved)?;
        let mut attempt = 0;
        loop {
            match moved.open(endpoints.clone(), clock.clone()).await {
                Err(error) if attempt < ATTEMPTS => {
                    attempt += 1;
                    tracing::warn!(%error, "the store was moved to etcd, which does not open it yet");
                    clock.sleep_until(clock.now() + PAUSE).await;
                }
                done => return done,
            }
        }
    };
    match opened.await {
        Ok(etcd) => {
            held.exchange(AnyStore::new(etcd.clone()));
            Ok(etcd)
        }
        Err(error) => {
            held.for_good();
            Err(error)
        }
    }
}

/// Fills the empty etcd at `endpoints` from `dump`, as a new epoch, and opens it.
///
/// # Errors
/// Etcd does not answer or is in use.
pub async fn load_into_etcd(dump: &Dump, endpoints: Endpoints, clock: Arc<dyn Clock>) -> Result<Etcd> {
    let filling = Etcd::begin_filling(endpoints.clone()).await?;
    filling.copy(&Snapshot::empty(), dump.snapshot()).await?;
    let digest = dump.digest();
    filling.compare(&digest).await?;
    filling.promise(&digest, dump.next_epoch()).await?;
    Etcd::finish_filling(endpoints, &digest, dump.next_epoch(), clock).await
}

#[cfg(test)]
mod tests;
