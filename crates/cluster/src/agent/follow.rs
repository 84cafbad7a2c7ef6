//! From a node's records to what its agent is told: reads, watches, and reads again, at whatever distance the store is.
//! What was told last stays in force while nobody answers.

use super::report::{Report, Reported};
use crate::{
    assign::{ASSIGNED, Assignment, NodeState, OPEN_CONFIGS, OPEN_SECRETS, SAID, SESSION, covered},
    endpoints::overlay_of,
    tables::{STATUSES, status_name},
};
use minke_model::{ClusterNodeId, ConfigId, SecretId, TaskId, task::TaskStatus};
use minke_store::{AnyStore, Key, Prefix, Revision, Snapshot, Store, StoreError, Txn};
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tokio::sync::watch;

/// Pauses after the store did not answer, doubled from the first to the longest.
const PAUSES: [Duration; 2] = [Duration::from_millis(50), Duration::from_secs(2)];

/// Tells `to` what `node` is told in `store`, until nobody listens. A picture older than one that was told is not told:
/// another manager may know less.
pub async fn follow(store: AnyStore, node: ClusterNodeId, to: watch::Sender<Option<Arc<Assignment>>>) {
    let covered = covered(&node);
    let mut told: Option<(Revision, Arc<Assignment>)> = None;
    let mut pause = PAUSES[0];
    loop {
        let watched = async {
            let snapshot = store.read(&covered).await?;
            let mut watch = store.watch(&covered, snapshot.revision());
            let mut snapshot = snapshot;
            loop {
                let newest = told.as_ref().map(|(revision, _)| *revision).unwrap_or_default();
                if snapshot.revision() >= newest {
                    let assignment = assignment_of(&node, &snapshot, told.as_ref().map(|(_, old)| &**old))?;
                    let assignment = Arc::new(assignment);
                    told = Some((snapshot.revision(), assignment.clone()));
                    pause = PAUSES[0];
                    to.send_replace(Some(assignment));
                }
                watch.next().await?;
                snapshot = store.read(&covered).await?;
                watch.skip(snapshot.revision());
            }
        };
        let ended: Result<(), StoreError> = tokio::select! {
            biased;
            ended = watched => ended,
            () = to.closed() => return,
        };
        if let Err(error) = ended {
            tracing::debug!("node {node} goes on with what it was told last: {error}");
        }
        tokio::select! {
            biased;
            () = tokio::time::sleep(pause) => pause = (pause * 2).min(PAUSES[1]),
            () = to.closed() => return,
        }
    }
}

/// What a node is told, from the records that it sees. Parts that are as they were are shared with `before`.
///
/// # Errors
/// A record that cannot be read.
pub fn assignment_of(
    node: &ClusterNodeId,
    snapshot: &Snapshot,
    before: Option<&Assignment>,
) -> Result<Assignment, StoreError> {
    let mut assignment = Assignment {
        tasks: BTreeMap::new(),
        session: 0,
        reported: BTreeMap::new(),
        state: Arc::new(NodeState::of(node.clone())),
    };
    let own = Prefix::new(&format!("assigned/{node}/"));
    for (key, record) in snapshot.under(&own) {
        let name = &key.as_str()[own.as_str().len()..];
        if name == "session" {
            assignment.session = *SESSION.decode(key, record)?.value;
        } else if let Some(task) = name.strip_prefix("said/").and_then(TaskId::parse) {
            assignment.reported.insert(task, (*SAID.decode(key, record)?.value).clone());
        } else if let Some(task) = TaskId::parse(name) {
            assignment.tasks.insert(task, ASSIGNED.decode(key, record)?.value);
        }
    }
    let mut state = NodeState::of(node.clone());
    for (key, record) in snapshot.under(&OPEN_SECRETS.prefix()) {
        if let Some(id) = last(key).and_then(SecretId::parse) {
            state.secrets.insert(id, OPEN_SECRETS.decode(key, record)?.value);
        }
    }
    for (key, record) in snapshot.under(&OPEN_CONFIGS.prefix()) {
        if let Some(id) = last(key).and_then(ConfigId::parse) {
            state.configs.insert(id, OPEN_CONFIGS.decode(key, record)?.value);
        }
    }
    state.overlay = overlay_of(node, snapshot)?;
    assignment.state = match before {
        Some(before) if *before.state == state => before.state.clone(),
        _ => Arc::new(state),
    };
    Ok(assignment)
}

fn last(key: &Key) -> Option<&str> {
    key.as_str().rsplit_once('/').map(|(_, last)| last)
}

/// Reports as commits of `node` to a store.
pub struct StoreReport {
    /// Where.
    pub store: AnyStore,
    /// Whose.
    pub node: ClusterNodeId,
}

impl Report for StoreReport {
    fn report(&self, batch: Vec<(TaskId, TaskStatus)>) -> Reported<'_> {
        Box::pin(async move {
            let mut txn = Txn::new();
            for (task, status) in batch {
                txn = txn.put(&STATUSES, &status_name(&self.node, &task), status);
            }
            self.store.commit(txn).await.map(drop).map_err(|error| error.to_string())
        })
    }
}
