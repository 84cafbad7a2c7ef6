//! The manager's side: takes connections, hears beats, lets machines in, and opens streams backwards to nodes.
//!
//! Beats are kept in memory only; what is written is when a node's state changes. What a member asks for on streams
//! of other names is for [`Serve`] to answer, with the rights of the role that its certificate *and* its record give.
//!
//! Never: reads a file, or knows what a node runs.

use super::{
    MembershipError, Result,
    join::{self, Admission, Answer},
    observe, rotate,
    seal::Seal,
    session::{self, Boxed, Down, Hello, Io, Told, Up},
    silence::{LOOK, Silence, Verdict, beat},
};
use crate::{
    tables::{CLUSTER, CLUSTER_NAME, NODES},
    transport::{
        TransportError, message, mux,
        tls::{self, Peer},
    },
};
use minke_model::{
    ClusterNodeId,
    cluster::Cluster,
    node::{Node, NodeDescription, NodeState, Role},
};
use minke_store::{AnyStore, Clock, Prefixes, Snapshot, Store as _};
use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{
    net::TcpListener,
    sync::{Semaphore, mpsc, watch},
    time::{sleep, timeout},
};

/// Connections at a time: more wait to be taken.
const MOST_CONNECTIONS: usize = 20_000;
/// Streams that a member may have open.
const MOST_STREAMS: usize = 64;
/// Streams that somebody without certificate may have open.
const MOST_STRANGER_STREAMS: usize = 2;
/// Somebody without certificate has said all after so long.
const STRANGER: Duration = Duration::from_secs(30);
/// A node's hello comes within this time.
const HELLO: Duration = Duration::from_secs(10);

/// Answers streams that are none of membership's.
pub trait Serve: Send + Sync + 'static {
    /// One stream of a member, to its end.
    fn serve(&self, peer: Peer, name: String, stream: mux::Stream) -> Boxed<'static, ()>;

    /// Whether it answers this one without a look at the member's record: what the store itself needs.
    fn needs_no_record(&self, _peer: &Peer, _name: &str) -> bool {
        false
    }
}

/// Who decides: the manager itself, or another.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Lead {
    /// This one takes sessions.
    Here,
    /// Another does, to be found there.
    There(Vec<SocketAddr>),
    /// It is not known now.
    #[default]
    Nobody,
}

/// A manager's reception. Clones are the same.
#[derive(Clone)]
pub struct Reception(Arc<Inner>);

struct Inner {
    me: ClusterNodeId,
    store: AnyStore,
    clock: Arc<dyn Clock>,
    seal: Seal,
    serve: Arc<dyn Serve>,
    lead: watch::Receiver<Lead>,
    silence: Mutex<Silence>,
    sessions: Mutex<BTreeMap<ClusterNodeId, Seat>>,
    told: watch::Sender<Arc<Common>>,
}

/// One node's connection.
struct Seat {
    number: u64,
    opener: mux::Opener,
    told: watch::Sender<Option<Told>>,
    issuer: Vec<u8>,
    role: Role,
}

/// What all members are told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Common {
    nodes: usize,
    managers: Vec<(ClusterNodeId, SocketAddr)>,
    trusted: String,
    /// Identifier of the key that signs.
    signer: Vec<u8>,
    roles: BTreeMap<ClusterNodeId, Role>,
}

impl Reception {
    /// Of a manager whose id is `me`.
    pub fn new(
        me: ClusterNodeId,
        store: AnyStore,
        clock: Arc<dyn Clock>,
        seal: Seal,
        serve: Arc<dyn Serve>,
        lead: watch::Receiver<Lead>,
    ) -> Self {
        let inner = Inner {
            me,
            store,
            clock,
            seal,
            serve,
            lead,
            silence: Mutex::default(),
            sessions: Mutex::default(),
            told: watch::Sender::new(Arc::default()),
        };
        Reception(Arc::new(inner))
    }

    /// Takes connections for as long as nobody drops this. `credentials` may change; connections that are there stay.
    pub async fn listen(self, listener: TcpListener, credentials: watch::Receiver<tls::Credentials>) {
        let places = Arc::new(Semaphore::new(MOST_CONNECTIONS));
        loop {
            let Ok(place) = places.clone().acquire_owned().await else { return };
            let (tcp, from) = match listener.accept().await {
                Ok(accepted) => accepted,
                Err(e) => {
                    // Out of descriptors, mostly: the next may find one, and a busy loop finds none.
                    tracing::warn!("cannot take a node's connection: {e}");
                    sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            let (config, cluster) = {
                let credentials = credentials.borrow();
                (credentials.server(), credentials.cluster.clone())
            };
            let config = match config {
                Ok(config) => config,
                Err(e) => {
                    tracing::error!("{e}");
                    continue;
                }
            };
            let reception = self.clone();
            tokio::spawn(async move {
                let _place = place;
                let stream = match tls::accept(tcp, from, config).await {
                    Ok(stream) => stream,
                    Err(e) => return tracing::debug!("{e}"),
                };
                match tls::peer(stream.get_ref().1.peer_certificates(), &cluster) {
                    Ok(peer) => reception.converse(Box::new(stream), peer, Some(from)).await,
                    Err(e) => tracing::warn!("a connection from {from} is refused: {e}"),
                }
            });
        }
    }

    /// One connection, to its end. `peer` is who showed a certificate.
    pub async fn converse(&self, io: Box<dyn Io + Unpin>, peer: Option<Peer>, from: Option<SocketAddr>) {
        let most = if peer.is_some() { MOST_STREAMS } else { MOST_STRANGER_STREAMS };
        let (opener, mut incoming) = mux::start(io, mux::Side::Called, most);
        let serve = async {
            while let Some((name, stream)) = incoming.next().await {
                let (reception, peer, opener) = (self.clone(), peer.clone(), opener.clone());
                tokio::spawn(async move {
                    if let Err(e) = reception.stream(peer, &opener, name, stream, from).await {
                        tracing::debug!("a stream ended: {e}");
                    }
                });
            }
        };
        if peer.is_some() {
            serve.await;
        } else {
            // Streams that are open end by themselves: they hold the connection.
            let _ = timeout(STRANGER, serve).await;
            opener.close("a stranger stayed too long");
        }
    }

    async fn stream(
        &self,
        peer: Option<Peer>,
        opener: &mux::Opener,
        name: String,
        mut stream: mux::Stream,
        from: Option<SocketAddr>,
    ) -> Result<()> {
        match (name.as_str(), peer) {
            (join::AUTHORITY, _) => {
                let () = message::read(&mut stream).await?;
                // The newest comes first: the one that tokens pin.
                let trusted = join::cluster(&self.0.store).await?.ca.trusted;
                message::write(&mut stream, &trusted).await?;
            }
            (join::JOIN, None) => {
                let request = message::read(&mut stream).await?;
                let now = self.0.clock.wall();
                let admitted = join::admit(&self.0.store, &self.0.seal, request, from, now).await;
                if let Err(e) = &admitted {
                    tracing::warn!("{} may not join: {e}", from.map_or_else(String::new, |f| f.to_string()));
                }
                message::write(&mut stream, &Answer::from(admitted)).await?;
            }
            (_, None) => {
                return Err(MembershipError::Denied(format!(
                    "who has no certificate may not ask for {name:?}"
                )));
            }
            (session::SESSION, Some(peer)) => self.session(peer, opener, stream, from).await?,
            (join::CERTIFICATE, Some(peer)) => {
                let request: String = message::read(&mut stream).await?;
                let answer = Answer::from(self.renew(&peer, &request).await);
                message::write(&mut stream, &answer).await?;
            }
            (name, Some(peer)) if self.0.serve.needs_no_record(&peer, name) => {
                self.0.serve.serve(peer, name.to_owned(), stream).await;
            }
            (_, Some(peer)) => {
                // A node that was removed has a certificate for a while still.
                let record = self.member(&peer).await?;
                let role = if record.spec.role == Role::Manager { peer.role } else { Role::Worker };
                self.0.serve.serve(Peer { role, ..peer }, name, stream).await;
            }
        }
        Ok(())
    }

    /// The record of a member.
    async fn member(&self, peer: &Peer) -> Result<Node> {
        let snapshot = self.0.store.read(NODES.prefix()).await?;
        let node = NODES.get(&snapshot, peer.node.as_str())?;
        node.map(|node| (*node.value).clone()).ok_or(MembershipError::NotMember(peer.node.clone()))
    }

    async fn renew(&self, peer: &Peer, request: &str) -> Result<Admission> {
        let node = self.member(peer).await?;
        let cluster = join::cluster(&self.0.store).await?;
        let (id, admission) =
            join::sign(&cluster, &self.0.seal, request, node.spec.role, self.0.clock.wall())?;
        if id != peer.node {
            return Err(MembershipError::Denied(format!(
                "node {} may not ask for another's certificate",
                peer.node
            )));
        }
        Ok(admission)
    }

    /// One node's session, to its end.
    async fn session(
        &self,
        peer: Peer,
        opener: &mux::Opener,
        mut stream: mux::Stream,
        from: Option<SocketAddr>,
    ) -> Result<()> {
        let hello: Hello = timeout(HELLO, message::read(&mut stream))
            .await
            .map_err(|_| TransportError::Protocol("no hello came"))??;
        let lead = self.0.lead.borrow().clone();
        match lead {
            Lead::Here => {}
            Lead::There(addresses) => {
                return Ok(message::write(&mut stream, &Down::Elsewhere(addresses)).await?);
            }
            Lead::Nobody => {
                return Ok(message::write(&mut stream, &Down::Elsewhere(Vec::new())).await?);
            }
        }
        let record = match self.member(&peer).await {
            Ok(record) => record,
            Err(e @ MembershipError::NotMember(_)) => {
                return Ok(message::write(&mut stream, &Down::Expelled(e.to_string())).await?);
            }
            Err(e) => return Err(e),
        };
        let common = self.0.told.borrow().clone();
        let told = common.told_to(&peer.issuer, peer.role, record.spec.role);
        let (told_sender, told_changes) = watch::channel(Some(told));
        let number = self.seat(&peer, opener, told_sender);
        let verdict = self.silence().heard(&peer.node, self.0.clock.now().since_start());
        let seen = self.greeted(&peer, &hello, from, verdict).await;
        let end = match seen {
            Ok(session) => {
                if let Some(seat) = self.sessions().get(&peer.node).filter(|seat| seat.number == number) {
                    seat.told.send_modify(|told| told.iter_mut().for_each(|told| told.session = session));
                }
                self.converse_in_session(&peer, stream, told_changes).await
            }
            Err(e) => Err(e),
        };
        self.leave_seat(&peer.node, number);
        end
    }

    /// Takes a node's place; a connection that it had before is over.
    fn seat(&self, peer: &Peer, opener: &mux::Opener, told: watch::Sender<Option<Told>>) -> u64 {
        let mut sessions = self.sessions();
        let number = sessions.get(&peer.node).map_or(1, |seat| seat.number + 1);
        let seat =
            Seat { number, opener: opener.clone(), told, issuer: peer.issuer.clone(), role: peer.role };
        if let Some(before) = sessions.insert(peer.node.clone(), seat) {
            before.opener.close("the node has connected anew");
        }
        number
    }

    fn leave_seat(&self, node: &ClusterNodeId, number: u64) {
        let mut sessions = self.sessions();
        if sessions.get(node).is_some_and(|seat| seat.number == number) {
            sessions.remove(node);
        }
    }

    /// Writes down what a node said first; the number of this session.
    async fn greeted(
        &self,
        peer: &Peer,
        hello: &Hello,
        from: Option<SocketAddr>,
        verdict: Option<Verdict>,
    ) -> Result<u64> {
        let now = self.0.clock.wall();
        let me = self.0.me.clone();
        let session = AtomicU64::new(0);
        let address = hello.data_address.or(from.map(|from| from.ip()));
        let state = verdict.map_or(NodeState::Ready, |v| v.state);
        let is_member = observe::node(&self.0.store, &peer.node, now, |node| {
            node.sessions += 1;
            session.store(node.sessions, Ordering::Relaxed);
            node.description = Some(hello.description.clone());
            node.address = address.or(node.address);
            node.manager = Some(me.clone());
            node.signed_by = peer.issuer.clone();
            if let (Role::Manager, Some(told)) = (node.spec.role, hello.manager_address) {
                let new = join::manager_at(told, from);
                let old = node.manager_status.get_or_insert_with(|| new.clone());
                // Nobody sees where from a manager talks to itself.
                if !new.address.ip().is_unspecified() {
                    old.address = new.address;
                }
            }
            if node.spec.role == Role::Worker {
                node.manager_status = None;
            }
            observe::enter(node, state, "", now);
        })
        .await?;
        if !is_member {
            return Err(MembershipError::NotMember(peer.node.clone()));
        }
        Ok(session.into_inner())
    }

    async fn converse_in_session(
        &self,
        peer: &Peer,
        stream: mux::Stream,
        mut told: watch::Receiver<Option<Told>>,
    ) -> Result<()> {
        // Told at once.
        told.mark_changed();
        let (mut reader, mut writer) = tokio::io::split(stream);
        let (answer, mut answers) = mpsc::channel::<Down>(16);
        let reading = async {
            loop {
                let heard = match message::read(&mut reader).await? {
                    Up::Beat(n) => {
                        let verdict = self.silence().heard(&peer.node, self.0.clock.now().since_start());
                        self.write_down(verdict.into_iter().collect()).await;
                        n
                    }
                    Up::Describe(description) => {
                        self.described(peer, description).await?;
                        continue;
                    }
                    Up::Goodbye(n) => {
                        let verdict = self.silence().goodbye(&peer.node, self.0.clock.now().since_start());
                        self.write_down(verdict.into_iter().collect()).await;
                        n
                    }
                    Up::Leave(n) => {
                        let verdict = self.silence().left(&peer.node);
                        self.write_down(verdict.into_iter().collect()).await;
                        n
                    }
                };
                if answer.send(Down::Heard(heard)).await.is_err() {
                    return Ok(());
                }
            }
        };
        let mut lead = self.0.lead.clone();
        let writing = async {
            loop {
                let next = tokio::select! {
                    biased;
                    changed = told.changed() => {
                        if changed.is_err() {
                            return Ok(());
                        }
                        match told.borrow_and_update().clone() {
                            Some(told) => Down::Told(told),
                            None => Down::Expelled(MembershipError::NotMember(peer.node.clone()).to_string()),
                        }
                    }
                    changed = lead.changed() => {
                        let now = lead.borrow_and_update().clone();
                        match (changed, now) {
                            (Ok(()), Lead::Here) => continue,
                            (Ok(()), Lead::There(addresses)) => Down::Elsewhere(addresses),
                            _ => Down::Elsewhere(Vec::new()),
                        }
                    }
                    // Last: who beats without a pause must hear the rest, too.
                    Some(down) = answers.recv() => down,
                };
                let last = matches!(next, Down::Expelled(_) | Down::Elsewhere(_));
                message::write(&mut writer, &next).await?;
                if last {
                    // The other side ends the connection.
                    return Ok(());
                }
            }
        };
        tokio::select! {
            biased;
            end = reading => end,
            end = writing => end,
        }
    }

    async fn described(&self, peer: &Peer, description: NodeDescription) -> Result<()> {
        let now = self.0.clock.wall();
        observe::node(&self.0.store, &peer.node, now, |node| node.description = Some(description.clone()))
            .await?;
        Ok(())
    }

    /// Opens a stream on a node.
    ///
    /// # Errors
    /// When the node is not connected here.
    pub fn open(&self, node: &ClusterNodeId, name: &str) -> Result<mux::Stream, TransportError> {
        let opener = self.sessions().get(node).map(|seat| seat.opener.clone());
        opener.ok_or_else(|| TransportError::Ended(format!("node {node} is not connected")))?.open(name)
    }

    /// Ends all sessions: nodes come again at once, and read anew what they know.
    pub fn reconnect_all(&self, why: &str) {
        for seat in self.sessions().values() {
            seat.opener.close(why);
        }
    }

    /// Nodes that are connected here.
    pub fn connected(&self) -> Vec<ClusterNodeId> {
        self.sessions().keys().cloned().collect()
    }

    /// Somebody says that a node is gone for good: no brake holds that up.
    pub fn condemn(&self, node: ClusterNodeId) {
        self.silence().condemn(node);
    }

    /// Listens to silence, and tells members what changes, for as long as this manager leads.
    pub async fn tend(&self) {
        // Silence counts from now: what was heard before was heard by another, or long ago.
        *self.silence() = Silence::default();
        tokio::join!(self.watch_silence(), self.watch_records());
    }

    async fn watch_silence(&self) {
        loop {
            sleep(LOOK).await;
            let verdicts = self.silence().look(self.0.clock.now().since_start());
            if verdicts.is_empty() {
                continue;
            }
            for verdict in &verdicts {
                tracing::warn!(
                    "node {}: {:?}, because {}",
                    verdict.node.short(),
                    verdict.state,
                    verdict.because
                );
                if verdict.state == NodeState::Down
                    && let Some(seat) = self.sessions().get(&verdict.node)
                {
                    seat.opener.close("the node is silent");
                }
            }
            self.write_down(verdicts).await;
        }
    }

    async fn write_down(&self, verdicts: Vec<Verdict>) {
        if verdicts.is_empty() {
            return;
        }
        if let Err(e) = observe::verdicts(&self.0.store, &verdicts, self.0.clock.wall()).await {
            tracing::error!("cannot write down how nodes are: {e}");
            // What was not written is found again: the next look compares with the store.
        }
    }

    /// Keeps what members are told as the records say.
    async fn watch_records(&self) {
        let prefixes = Prefixes::from([CLUSTER.prefix(), NODES.prefix()]);
        loop {
            let snapshot = match self.0.store.read(prefixes.clone()).await {
                Ok(snapshot) => snapshot,
                Err(e) => {
                    tracing::error!("cannot read the cluster's members: {e}");
                    sleep(Duration::from_millis(500)).await;
                    continue;
                }
            };
            if let Err(e) = self.look(&snapshot) {
                tracing::error!("cannot read the cluster's members: {e}");
            }
            match rotate::finish(&self.0.store).await {
                Ok(true) => tracing::info!("every node has a certificate of the new CA: the old one is gone"),
                Ok(false) => {}
                Err(e) => tracing::warn!("the rotation of the CA cannot end: {e}"),
            }
            // An end of the watch only means to read again.
            if self.0.store.watch(prefixes.clone(), snapshot.revision()).next().await.is_err() {
                sleep(LOOK).await;
            }
        }
    }

    fn look(&self, snapshot: &Snapshot) -> Result<()> {
        let Some(cluster) = CLUSTER.get(snapshot, CLUSTER_NAME)? else { return Ok(()) };
        let nodes = NODES.list(snapshot)?;
        let common = Arc::new(Common::of(&cluster, nodes.iter().map(|(_, node)| &*node.value))?);
        let now = self.0.clock.now().since_start();
        {
            let mut silence = self.silence();
            let gone: Vec<_> =
                silence.watched().filter(|id| !common.roles.contains_key(id)).cloned().collect();
            gone.iter().for_each(|id| silence.forget(id));
            for (_, node) in &nodes {
                silence.watch(node.id.clone(), node.state, now);
            }
        }
        if *self.0.told.borrow() != common {
            self.0.told.send_replace(common.clone());
        }
        for (id, seat) in self.sessions().iter() {
            let mut told = common.roles.get(id).map(|role| common.told_to(&seat.issuer, seat.role, *role));
            seat.told.send_if_modified(|before| {
                if let (Some(told), Some(before)) = (&mut told, &*before) {
                    told.session = before.session;
                }
                let differs = *before != told;
                *before = told;
                differs
            });
        }
        Ok(())
    }

    fn silence(&self) -> MutexGuard<'_, Silence> {
        self.0.silence.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn sessions(&self) -> MutexGuard<'_, BTreeMap<ClusterNodeId, Seat>> {
        self.0.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Common {
    fn of<'a>(cluster: &Cluster, nodes: impl Iterator<Item = &'a Node>) -> Result<Self> {
        let mut common = Common {
            trusted: cluster.ca.trusted.clone(),
            signer: super::ca::AuthorityInfo::of_pem(&cluster.ca.signer)?.key_id,
            ..Common::default()
        };
        for node in nodes {
            common.nodes += 1;
            common.roles.insert(node.id.clone(), node.spec.role);
            if let (Role::Manager, Some(manager)) = (node.spec.role, &node.manager_status) {
                common.managers.push((node.id.clone(), manager.address));
            }
        }
        Ok(common)
    }

    /// What one member is told, whose certificate is by `issuer` and says `shown`.
    fn told_to(&self, issuer: &[u8], shown: Role, role: Role) -> Told {
        Told {
            beat: beat(self.nodes),
            managers: self.managers.clone(),
            trusted: self.trusted.clone(),
            role,
            renew: shown != role || issuer != self.signer,
            session: 0,
        }
    }
}
