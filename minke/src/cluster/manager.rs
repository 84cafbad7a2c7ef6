//! What a manager does beside what every member does: it takes nodes' connections, answers what they ask for, and,
//! where it leads, keeps the cluster's desired state true.

use super::{etcd, glue, ha, images, member::Member, pass, sealer::Sealing};
use minke_cluster::{
    control::Control,
    membership::{
        join::Answer,
        leader, observe,
        reception::{Lead, Reception, Serve},
        seal::Seal,
        session::Boxed,
    },
    transport::{
        message, mux,
        tls::{Credentials, Peer},
    },
};
use minke_model::{ClusterNodeId, Timestamp, node::Role};
use minke_store::{
    AnyStore, Assigned, Changes, Clock, Follow, Link, Prefixes, Revision, Server, Snapshot, Store,
    StoreError, Switch, Txn, Watch,
};
use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, OnceLock, PoisonError, Weak},
    task::{Context, Poll},
    time::Duration,
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
    /// All records, wherever they are.
    pub(super) store: AnyStore,
    /// Where they are.
    pub(super) switch: Switch,
    /// Where nodes connect.
    pub(super) reception: Reception,
    lead: watch::Sender<Lead>,
    tasks: Mutex<JoinSet<()>>,
    contends: OnceLock<()>,
}

/// What a manager is made of.
pub(super) struct Parts {
    pub(super) me: ClusterNodeId,
    pub(super) store: AnyStore,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) seal: Seal,
    pub(super) listen: SocketAddr,
    pub(super) credentials: watch::Receiver<Credentials>,
    /// It runs the loops, and sessions are its own, from the start.
    pub(super) leads: bool,
    /// Told while it leads.
    pub(super) local: watch::Sender<Option<Reception>>,
    pub(super) member: Weak<Member>,
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
        let Parts { me, clock, seal, credentials, leads, local, member, .. } = parts;
        let switch = Switch::new(parts.store);
        let store = AnyStore::new(switch.clone());
        let control = Control::new(store.clone(), clock.clone(), Arc::new(Sealing(seal.clone())));
        let assigned: Arc<dyn Assigned> = Arc::new(glue::assigned(store.clone(), &seal));
        let answers = Arc::new(Answers {
            store: store.clone(),
            server: Server::new(store.clone(), assigned, clock.clone()),
            seal: seal.clone(),
            reception: OnceLock::new(),
            member,
        });
        let (lead, lead_seen) = watch::channel(if leads { Lead::Here } else { Lead::Nobody });
        let reception = Reception::new(
            me.clone(),
            store.clone(),
            clock.clone(),
            seal.clone(),
            answers.clone(),
            lead_seen.clone(),
        );
        // Set once, right here.
        let _ = answers.reception.set(reception.clone());
        let mut tasks = JoinSet::new();
        tasks.spawn(reception.clone().listen(listener, credentials));
        tasks.spawn(govern(me, store.clone(), clock, reception.clone(), lead_seen, local));
        Ok(Manager {
            control,
            seal,
            store,
            switch,
            reception,
            lead,
            tasks: Mutex::new(tasks),
            contends: OnceLock::new(),
        })
    }

    /// Whether it runs the loops.
    pub(super) fn leads(&self) -> bool {
        *self.lead.borrow() == Lead::Here
    }

    /// Another leads, to be found there: what a stand-by is told by its session.
    pub(super) fn follow(&self, leader: Vec<SocketAddr>) {
        if self.contends.get().is_some() {
            return;
        }
        let there = if leader.is_empty() { Lead::Nobody } else { Lead::There(leader) };
        self.lead.send_if_modified(|lead| {
            let differs = *lead != Lead::Here && *lead != there;
            if differs {
                *lead = there;
            }
            differs
        });
    }

    /// Contends for the leadership from now on.
    pub(super) fn contend(&self, member: &Arc<Member>) {
        if self.contends.set(()).is_err() {
            return;
        }
        let known = member.known();
        let find = move |id: &ClusterNodeId| {
            let known = known.borrow();
            known.iter().filter(|(other, _)| other == id).map(|(_, at)| *at).collect()
        };
        let contend =
            leader::contend(self.store.clone(), member.clock(), member.id(), self.lead.clone(), find);
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner).spawn(contend);
    }
}

/// Runs what only the leader runs, while this manager leads.
async fn govern(
    me: ClusterNodeId,
    store: AnyStore,
    clock: Arc<dyn Clock>,
    reception: Reception,
    mut lead: watch::Receiver<Lead>,
    local: watch::Sender<Option<Reception>>,
) {
    loop {
        if *lead.borrow_and_update() == Lead::Here {
            local.send_replace(Some(reception.clone()));
            let mut work = JoinSet::new();
            let tending = reception.clone();
            work.spawn(async move { tending.tend().await });
            work.spawn(glue::loops(store.clone(), clock.clone()));
            work.spawn(tell_who_leads(me.clone(), store.clone(), clock.clone()));
            let _ = lead.wait_for(|lead| *lead != Lead::Here).await;
            local.send_replace(None);
            work.shutdown().await;
            continue;
        }
        if lead.changed().await.is_err() {
            return;
        }
    }
}

/// Writes into managers' records who leads.
async fn tell_who_leads(me: ClusterNodeId, store: AnyStore, clock: Arc<dyn Clock>) {
    loop {
        let now: Timestamp = clock.wall();
        let told = async {
            let snapshot = store.read(minke_cluster::tables::NODES.prefix()).await?;
            for (_, node) in minke_cluster::tables::NODES.list(&snapshot)? {
                let leads = node.id == me;
                if node.manager_status.as_ref().is_some_and(|status| status.leader != leads) {
                    let change = |node: &mut minke_model::node::Node| {
                        if let Some(status) = &mut node.manager_status {
                            status.leader = leads;
                        }
                    };
                    observe::node(&store, &node.id, now, change).await?;
                }
            }
            Ok::<_, minke_cluster::membership::MembershipError>(())
        };
        match told.await {
            Ok(()) => return,
            Err(e) => tracing::debug!("who leads is not written down yet: {e}"),
        }
        clock.sleep_until(clock.now() + Duration::from_millis(500)).await;
    }
}

/// A store that has not opened yet.
pub(super) struct Nowhere;

fn not_yet() -> StoreError {
    StoreError::Unavailable {
        tried: "reach the cluster's store".to_owned(),
        detail: "etcd has no majority yet".to_owned(),
    }
}

impl Store for Nowhere {
    async fn read(&self, _: impl Into<Prefixes> + Send) -> minke_store::Result<Snapshot> {
        Err(not_yet())
    }

    async fn commit(&self, _: Txn) -> minke_store::Result<Revision> {
        Err(not_yet())
    }

    fn watch(&self, _: impl Into<Prefixes>, after: Revision) -> Watch {
        Watch::new(NoChanges(after))
    }
}

/// A watch of it: it ends when the store is exchanged.
struct NoChanges(Revision);

impl Follow for NoChanges {
    fn poll_next(&mut self, _: &mut Context<'_>) -> Poll<minke_store::Result<Changes>> {
        Poll::Pending
    }

    fn skip(&mut self, _: Revision) {}

    fn reached(&self) -> Revision {
        self.0
    }
}

/// Answers members' streams.
struct Answers {
    store: AnyStore,
    server: Server,
    seal: Seal,
    reception: OnceLock<Reception>,
    member: Weak<Member>,
}

impl Serve for Answers {
    fn needs_no_record(&self, peer: &Peer, name: &str) -> bool {
        // Etcd's own talk comes before there are records: by what this manager last knew of the others.
        let Some(member) = self.member.upgrade().filter(|_| name == etcd::PEER) else { return false };
        peer.role == Role::Manager && member.known().borrow().iter().any(|(id, _)| *id == peer.node)
    }

    fn serve(&self, peer: Peer, name: String, mut stream: mux::Stream) -> Boxed<'static, ()> {
        let store_peer = |role| minke_store::Peer { node: peer.node.as_str().to_owned(), role };
        let is_manager = peer.role == Role::Manager;
        match name.as_str() {
            // A manager's own agent, too, sees what is its own.
            ASSIGNED => {
                let (server, peer) = (self.server.clone(), store_peer(minke_store::Role::Worker));
                Box::pin(async move { server.serve(Link::over(stream), peer).await })
            }
            images::WANT => match self.reception.get().cloned() {
                Some(reception) => {
                    Box::pin(images::pass_on(self.store.clone(), reception, peer.node, stream))
                }
                None => Box::pin(async {}),
            },
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
            etcd::PEER if is_manager => {
                let member = self.member.upgrade();
                Box::pin(async move {
                    if let Some(member) = member {
                        let (directory, me) = (member.etcd_directory(), member.id());
                        drop(member);
                        etcd::answer(&directory, &me, stream).await;
                    }
                })
            }
            ha::JOIN if is_manager => {
                let (member, who) = (self.member.upgrade(), peer.node.clone());
                Box::pin(async move {
                    let asked = message::read::<()>(&mut stream).await;
                    let (Ok(()), Some(member)) = (asked, member) else { return };
                    let answer = match ha::let_in(&member, who).await {
                        Ok(plan) => Answer::Good(plan),
                        Err(e) => Answer::Refused(e),
                    };
                    if let Err(e) = message::write(&mut stream, &answer).await {
                        tracing::debug!("a stand-by did not hear its answer: {e}");
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
