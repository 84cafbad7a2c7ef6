//! How the rooms of a cluster are put together on this machine: what workers see, the leader's loops, the agent.

use minke_cluster::{
    Loops,
    agent::{Agent, Executor, Parts, fence::Fence, follow},
    assigner::Assigner,
    membership::{seal::Seal, session::Heard},
};
use minke_model::{ClusterNodeId, Timestamp};
use minke_store::{AnyStore, Clock, Remote, Stopper};
use std::sync::Arc;
use tokio::sync::watch;

/// What workers see of the store.
pub(super) fn assigned(store: AnyStore, seal: &Seal) -> Assigner {
    Assigner::start(store, Arc::new(seal.clone()))
}

/// The loops of a manager that leads, for as long as nobody drops this.
pub(super) async fn loops(store: AnyStore, clock: Arc<dyn Clock>) {
    let (_stopper, stop) = Stopper::new();
    Loops::new(store, clock).run(stop).await;
}

/// A node's agent, for as long as nobody drops this. Tasks run on.
pub(super) async fn agent(
    me: ClusterNodeId,
    executor: Arc<dyn Executor>,
    store: Remote,
    mut heard: watch::Receiver<Option<Heard>>,
) {
    let store = AnyStore::new(store);
    let (tell, told) = watch::channel(None);
    let fence = Fence::default();
    let parts = Parts {
        node: me.clone(),
        executor,
        clock: Arc::new(Timestamp::now),
        told,
        report: Arc::new(follow::StoreReport { store: store.clone(), node: me.clone() }),
        fence: fence.clone(),
    };
    let fencing = async {
        loop {
            if let Some(Heard { sent, session }) = *heard.borrow_and_update() {
                fence.acknowledged(sent, session);
            }
            if heard.changed().await.is_err() {
                return std::future::pending::<()>().await;
            }
        }
    };
    tokio::join!(follow::follow(store, me, tell), Agent::run(parts), fencing);
}
