//! What every member does: runs its agent over the session, and serves what a manager opens on it.

use super::{glue, logs, manager};
use minke_cluster::{
    agent::Executor,
    membership::session::{self, Boxed, Standing},
    transport::mux,
};
use minke_engine::Engine;
use minke_model::ClusterNodeId;
use minke_store::{Clock, Dial, Link, Remote, StoreError};
use std::{future::Future, pin::Pin, sync::Arc};
use tokio::sync::watch;

/// Serves streams that a manager opens on this machine.
pub(super) struct Backwards {
    machine: Engine,
}

impl Backwards {
    pub(super) fn new(machine: Engine) -> Self {
        Backwards { machine }
    }
}

impl session::Backwards for Backwards {
    fn serve(&self, from: ClusterNodeId, name: String, stream: mux::Stream) -> Boxed<'static, ()> {
        let machine = self.machine.clone();
        Box::pin(async move {
            match name.as_str() {
                logs::LOGS => logs::answer(&machine, stream).await,
                other => tracing::warn!("manager {} opens {other:?}, which this version does not know", from.short()),
            }
        })
    }
}

/// Connections to a manager's store: streams of the session that there is.
pub(super) struct StoreDial {
    standing: watch::Receiver<Standing>,
    name: &'static str,
}

impl StoreDial {
    pub(super) fn new(standing: watch::Receiver<Standing>, name: &'static str) -> Self {
        StoreDial { standing, name }
    }
}

impl Dial for StoreDial {
    fn dial(&self) -> Pin<Box<dyn Future<Output = minke_store::Result<Link>> + Send + '_>> {
        Box::pin(async move {
            let unavailable = |detail: String| StoreError::Unavailable {
                tried: "reach a manager".to_owned(),
                detail,
            };
            let mut standing = self.standing.clone();
            let connected = standing
                .wait_for(|standing| standing.connected().is_some())
                .await
                .map_err(|_| unavailable("this node leaves the cluster".to_owned()))?;
            let opener = connected.connected().map(|c| c.opener.clone());
            drop(connected);
            let opener = opener.ok_or_else(|| unavailable("no manager answers".to_owned()))?;
            let stream = opener.open(self.name).map_err(|e| unavailable(e.to_string()))?;
            Ok(Link::over(stream))
        })
    }
}

/// The agent: runs what is assigned to this machine, for as long as nobody drops it.
pub(super) async fn agent(
    me: ClusterNodeId,
    executor: Arc<dyn Executor>,
    clock: Arc<dyn Clock>,
    session: session::Handle,
) {
    let store = Remote::new(Arc::new(StoreDial::new(session.standing.clone(), manager::ASSIGNED)), clock);
    glue::agent(me, executor, store, session.heard).await;
}
