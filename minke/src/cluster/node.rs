//! What every member does: runs its agent over the session, and serves what a manager opens on it.

use super::{etcd::Plan, glue, ha, images, logs, manager, member::Member};
use minke_cluster::{
    agent::Executor,
    membership::{
        join::Answer,
        session::{self, Boxed, Standing},
    },
    transport::{TransportError, message, mux},
};
use minke_engine::Engine;
use minke_model::{ClusterNodeId, node::Role};
use minke_store::{Clock, Dial, Link, Remote, StoreError};
use std::{
    future::Future,
    pin::Pin,
    sync::{Arc, OnceLock, Weak},
};
use tokio::sync::watch;

/// Serves streams that a manager opens on this machine.
pub(super) struct Backwards {
    machine: Engine,
    member: OnceLock<Weak<Member>>,
}

impl Backwards {
    pub(super) fn new(machine: Engine) -> Self {
        Backwards { machine, member: OnceLock::new() }
    }

    /// Whose it is.
    pub(super) fn belongs_to(&self, member: &Arc<Member>) {
        // Set once, right after it was made.
        let _ = self.member.set(Arc::downgrade(member));
    }
}

/// The leader prepares the move into etcd.
async fn prepare(member: Arc<Member>, name: &str, mut stream: mux::Stream) -> Result<(), TransportError> {
    let of = |result: Result<String, String>| result.map_or_else(Answer::Refused, Answer::Good);
    if name == ha::CHECK {
        let () = message::read(&mut stream).await?;
        return message::write(&mut stream, &of(member.home().version())).await;
    }
    let plan: Plan = message::read(&mut stream).await?;
    let started = member.run_etcd(plan, false).map_or_else(Answer::Refused, Answer::Good);
    message::write(&mut stream, &started).await
}

impl session::Backwards for Backwards {
    fn serve(&self, from: ClusterNodeId, name: String, stream: mux::Stream) -> Boxed<'static, ()> {
        let machine = self.machine.clone();
        let member = self.member.get().and_then(Weak::upgrade);
        Box::pin(async move {
            match (name.as_str(), member) {
                (ha::CHECK | ha::START, Some(member)) if member.role() == Role::Manager => {
                    if let Err(e) = prepare(member, &name, stream).await {
                        tracing::debug!("a manager's question was not answered: {e}");
                    }
                }
                (logs::LOGS, _) => logs::answer(&machine, stream).await,
                (images::GIVE, _) => images::give(&machine, stream).await,
                (other, _) => tracing::warn!(
                    "manager {} opens {other:?}, which this version does not know",
                    from.short()
                ),
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
            let unavailable =
                |detail: String| StoreError::Unavailable { tried: "reach a manager".to_owned(), detail };
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
    executor.use_images(Arc::new(images::Others(session.standing.clone())));
    let store = Remote::new(Arc::new(StoreDial::new(session.standing.clone(), manager::ASSIGNED)), clock);
    glue::agent(me, executor, store, session.heard).await;
}
