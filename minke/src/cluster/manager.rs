//! What a manager does beside what every member does: it takes nodes' connections, answers what they ask for, and,
//! where it leads, keeps the cluster's desired state true.

use super::{glue, pass, sealer::Sealing};
use minke_cluster::{
    control::Control,
    membership::{
        join::Answer,
        reception::{Lead, Reception, Serve},
        seal::Seal,
        session::Boxed,
    },
    transport::{
        message, mux,
        tls::{Credentials, Peer},
    },
};
use minke_model::{ClusterNodeId, node::Role};
use minke_store::{AnyStore, Assigned, Clock, Link, Server};
use std::{
    net::SocketAddr,
    sync::{Arc, OnceLock},
};
use tokio::{net::TcpListener, sync::watch, task::JoinSet};

/// Name of the stream on which a node reads what is assigned to it.
pub(super) const ASSIGNED: &str = "store";
/// Name of the stream on which another manager reads and writes everything.
pub(super) const EVERYTHING: &str = "store/everything";
/// Name of the stream on which another manager gets the data keys.
pub(super) const KEYS: &str = "keys";
/// Beginning of the names of streams that are passed on to a node: `to/<node>/<name>`.
pub(super) const TO: &str = "to/";

/// A manager at work; ends when dropped.
pub(super) struct Manager {
    /// The control plane.
    pub(super) control: Control,
    /// What seals secrets.
    pub(super) seal: Seal,
    /// All records.
    pub(super) store: AnyStore,
    /// Where nodes connect.
    pub(super) reception: Reception,
    lead: watch::Sender<Lead>,
    _tasks: JoinSet<()>,
}

/// What a manager is made of.
pub(super) struct Parts {
    pub(super) me: ClusterNodeId,
    pub(super) store: AnyStore,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) seal: Seal,
    pub(super) listen: SocketAddr,
    pub(super) credentials: watch::Receiver<Credentials>,
    /// It runs the loops, and sessions are its own.
    pub(super) leads: bool,
    /// Where what happens in the cluster is told.
    pub(super) events: minke_engine::Events,
}

impl Manager {
    /// Starts one.
    ///
    /// # Errors
    /// When nothing can listen there.
    pub(super) async fn start(parts: Parts) -> Result<Manager, String> {
        let listener = TcpListener::bind(parts.listen)
            .await
            .map_err(|e| format!("cannot listen for nodes on {}: {e}", parts.listen))?;
        let Parts { me, store, clock, seal, credentials, leads, events, .. } = parts;
        let sealer = Arc::new(Sealing(seal.clone()));
        let control = Control::new(store.clone(), clock.clone(), sealer);
        let assigned: Arc<dyn Assigned> = Arc::new(glue::assigned(store.clone(), &seal));
        let answers = Arc::new(Answers {
            server: Server::new(store.clone(), assigned, clock.clone()),
            seal: seal.clone(),
            reception: OnceLock::new(),
        });
        let (lead, lead_seen) = watch::channel(if leads { Lead::Here } else { Lead::Nobody });
        let reception =
            Reception::new(me, store.clone(), clock.clone(), seal.clone(), answers.clone(), lead_seen);
        // Set once, right here.
        let _ = answers.reception.set(reception.clone());
        let mut tasks = JoinSet::new();
        tasks.spawn(minke_api::swarm::tell(events, control.clone()));
        tasks.spawn(reception.clone().listen(listener, credentials));
        if leads {
            let tending = reception.clone();
            tasks.spawn(async move { tending.tend().await });
            tasks.spawn(glue::loops(store.clone(), clock));
        }
        Ok(Manager { control, seal, store, reception, lead, _tasks: tasks })
    }

    /// Another leads, to be found there.
    pub(super) fn follow(&self, leader: Vec<SocketAddr>) {
        let there = if leader.is_empty() { Lead::Nobody } else { Lead::There(leader) };
        self.lead.send_if_modified(|lead| {
            let differs = *lead != Lead::Here && *lead != there;
            if differs {
                *lead = there;
            }
            differs
        });
    }
}

/// Answers members' streams.
struct Answers {
    server: Server,
    seal: Seal,
    reception: OnceLock<Reception>,
}

impl Serve for Answers {
    fn serve(&self, peer: Peer, name: String, mut stream: mux::Stream) -> Boxed<'static, ()> {
        let store_peer = |role| minke_store::Peer { node: peer.node.as_str().to_owned(), role };
        let is_manager = peer.role == Role::Manager;
        match name.as_str() {
            // A manager's own agent, too, sees what is its own.
            ASSIGNED => {
                let (server, peer) = (self.server.clone(), store_peer(minke_store::Role::Worker));
                Box::pin(async move { server.serve(Link::over(stream), peer).await })
            }
            EVERYTHING if is_manager => {
                let (server, peer) = (self.server.clone(), store_peer(minke_store::Role::Manager));
                Box::pin(async move { server.serve(Link::over(stream), peer).await })
            }
            KEYS if is_manager => {
                let keys = self.seal.export();
                Box::pin(async move {
                    let asked = message::read::<()>(&mut stream).await;
                    if asked.is_ok()
                        && let Err(e) = message::write(&mut stream, &Answer::Good(keys)).await
                    {
                        tracing::debug!("a manager did not take the keys: {e}");
                    }
                })
            }
            other if is_manager && other.starts_with(TO) => {
                let opened = other[TO.len()..].split_once('/').and_then(|(node, name)| {
                    let node = ClusterNodeId::parse(node)?;
                    self.reception.get()?.open(&node, name).ok()
                });
                Box::pin(async move {
                    if let Some(onward) = opened {
                        pass::both_ways(stream, onward).await;
                    }
                })
            }
            other => {
                tracing::warn!("node {} may not ask for {other:?}", peer.node);
                Box::pin(async {})
            }
        }
    }
}
