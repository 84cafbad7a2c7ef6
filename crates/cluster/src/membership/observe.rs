//! Writes down what a manager sees of nodes: only changes, never beats.

use super::{Result, silence::Verdict};
use crate::tables::NODES;
use minke_model::{
    ClusterNodeId, Timestamp,
    node::{Node, NodeState},
};
use minke_store::{AnyStore, Prefix, Prefixes, Snapshot, Store as _, StoreError, Txn};

/// Tries against others who write the same records.
const TRIES: usize = 16;
/// Nodes in one transaction: each is a write and a guard, and guards of what it offers.
const BATCH: usize = 16;

/// What is read to write nodes.
fn prefixes() -> Prefixes {
    Prefixes::from([NODES.prefix(), Prefix::new("guard/")])
}

/// Changes one node's record, if it is there and `change` changes it. Whether it is there.
///
/// # Errors
/// When the store fails.
pub async fn node(
    store: &AnyStore,
    id: &ClusterNodeId,
    now: Timestamp,
    change: impl Fn(&mut Node),
) -> Result<bool> {
    let mut last = StoreError::Closed;
    for _ in 0..TRIES {
        let snapshot = store.read(prefixes()).await?;
        let Some(txn) = changed(&snapshot, id, Txn::on(&snapshot), now, &change)? else { return Ok(false) };
        match commit(store, txn).await {
            Ok(()) => return Ok(true),
            Err(lost @ (StoreError::Refused(_) | StoreError::OutcomeUnknown { .. })) => last = lost,
            Err(failed) => return Err(failed.into()),
        }
    }
    Err(last.into())
}

/// Writes verdicts down.
///
/// # Errors
/// When the store fails; some may be written then.
pub async fn verdicts(store: &AnyStore, verdicts: &[Verdict], now: Timestamp) -> Result<()> {
    for batch in verdicts.chunks(BATCH) {
        let mut last = Some(StoreError::Closed);
        for _ in 0..TRIES {
            let snapshot = store.read(prefixes()).await?;
            let mut txn = Txn::on(&snapshot);
            for verdict in batch {
                let become_so = |node: &mut Node| {
                    enter(node, verdict.state, &verdict.because, now);
                };
                if let Some(more) = changed(&snapshot, &verdict.node, txn.clone(), now, &become_so)? {
                    txn = more;
                }
            }
            match commit(store, txn).await {
                Ok(()) => {
                    last = None;
                    break;
                }
                Err(lost @ (StoreError::Refused(_) | StoreError::OutcomeUnknown { .. })) => last = Some(lost),
                Err(failed) => return Err(failed.into()),
            }
        }
        if let Some(lost) = last {
            return Err(lost.into());
        }
    }
    Ok(())
}

/// A node is in `state` from `now` on.
pub fn enter(node: &mut Node, state: NodeState, because: &str, now: Timestamp) {
    if node.state != state {
        node.state = state;
        node.since = now;
        if matches!(state, NodeState::Unknown | NodeState::Down) {
            node.last_silent = Some(now);
        }
    }
    node.message = because.to_owned();
    if let Some(manager) = &mut node.manager_status {
        manager.reachable = matches!(state, NodeState::Ready);
    }
}

async fn commit(store: &AnyStore, txn: Txn) -> Result<(), StoreError> {
    if txn.writes().next().is_none() {
        return Ok(());
    }
    store.commit(txn).await.map(|_| ())
}

/// `txn` and the change; `None` when there is no such node.
fn changed(
    snapshot: &Snapshot,
    id: &ClusterNodeId,
    txn: Txn,
    now: Timestamp,
    change: &impl Fn(&mut Node),
) -> Result<Option<Txn>> {
    let Some(old) = NODES.get(snapshot, id.as_str())? else { return Ok(None) };
    let mut new = (*old.value).clone();
    change(&mut new);
    if new == *old.value {
        return Ok(Some(txn));
    }
    if new.spec != old.spec {
        new.meta = old.meta.changed(now);
    }
    Ok(Some(txn.put(&NODES, id.as_str(), new)))
}
