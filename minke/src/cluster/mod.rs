//! This machine and its cluster: where the two worlds meet, beside `executor.rs`.
//!
//! [`Membership`] is the door that the API asks: it makes a cluster of this machine, joins one, leaves it, and tells
//! how it stands. What a member does is `member.rs`, what a manager does beside that is `manager.rs`; what stays over
//! a restart is `disk.rs`. Nothing that runs is touched by any of it, until the cluster says so.

mod address;
mod backup;
mod dial;
mod disk;
mod etcd;
mod glue;
mod ha;
mod images;
mod logs;
mod manager;
mod member;
mod node;
mod pass;
mod sealer;

use disk::{Disk, Opened, State, Store as Place};
use member::Member;
use minke_api::swarm::{
    Backup, Boxed, Door, Init, Join, LocalState, LogLines, LogWish, Refusal, Restore, Result, Signing,
    Standing, Tokens, Update,
};
use minke_cluster::{
    agent::Executor,
    control::ControlError,
    membership::{
        MembershipError,
        ca::{Authority, NodeKey},
        join,
        rotate::{self, Founding},
        seal::{Seal, UnlockKey},
        token::{self, Token},
    },
    tables::{CLUSTER, CLUSTER_NAME, NODES},
    transport::TransportError,
};
use minke_engine::Engine;
use minke_model::{
    ClusterNodeId, Kind, Timestamp,
    node::{Availability, NodeSpec, Role},
};
use minke_store::{Clock, Embedded, Store as _, Txn, WallClock};
use std::{
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, PoisonError, RwLock},
};

/// What a machine brings into a cluster.
pub(crate) struct Setup {
    /// Where its membership is kept.
    pub(crate) directory: PathBuf,
    /// Its containers.
    pub(crate) machine: Engine,
    /// Its hands.
    pub(crate) executor: Arc<dyn Executor>,
    /// Where others find it when nothing else is said; empty is found.
    pub(crate) default_advertise: String,
    /// The program that keeps records for several managers.
    pub(crate) etcd_binary: String,
}

/// This machine's place in a cluster, or outside. Clones are the same.
#[derive(Clone)]
pub(crate) struct Membership(Arc<Inner>);

struct Inner {
    disk: Disk,
    machine: Engine,
    executor: Arc<dyn Executor>,
    default_advertise: String,
    etcd_binary: String,
    clock: Arc<dyn Clock>,
    now: RwLock<Now>,
    /// One verb at a time.
    verbs: tokio::sync::Mutex<()>,
}

/// How it stands.
#[derive(Clone)]
enum Now {
    Outside,
    /// On its way in.
    Pending,
    /// A manager that needs the unlock key.
    Locked(Box<State>),
    /// What is on the disk cannot be read.
    Broken(String),
    In(Arc<Member>),
}

fn refuse(kind: Kind, message: impl Into<String>) -> Refusal {
    Refusal::new(kind, message)
}

fn of_membership(e: MembershipError) -> Refusal {
    refuse(e.kind(), e.to_string())
}

fn of_text(message: String) -> Refusal {
    refuse(Kind::Internal, message)
}

/// A membership's error where a connection is made.
fn join_error(e: MembershipError) -> TransportError {
    TransportError::Tls { tried: "use the node's certificate".to_owned(), detail: e.to_string() }
}

impl Membership {
    /// Goes on as this machine was when its daemon ended.
    pub(crate) async fn open(setup: Setup) -> Self {
        let inner = Inner {
            disk: Disk::new(setup.directory),
            machine: setup.machine,
            executor: setup.executor,
            default_advertise: setup.default_advertise,
            etcd_binary: setup.etcd_binary,
            clock: Arc::new(WallClock::new()),
            now: RwLock::new(Now::Outside),
            verbs: tokio::sync::Mutex::new(()),
        };
        let membership = Membership(Arc::new(inner));
        let now = membership.resume().await;
        if let Now::Broken(why) = &now {
            tracing::error!("this machine's membership in a cluster: {why}");
        }
        membership.become_(now);
        membership
    }

    /// Says goodbye, for a restart.
    pub(crate) async fn close(&self) {
        let _verb = self.0.verbs.lock().await;
        if let Now::In(member) = self.now() {
            member.close().await;
        }
    }

    async fn resume(&self) -> Now {
        let state = match self.0.disk.state() {
            Ok(Some(state)) => state,
            Ok(None) => return Now::Outside,
            Err(e) => return Now::Broken(e),
        };
        match self.0.disk.secrets(None) {
            Ok(Opened::Open { key, seal }) => Now::In(self.start(state, key, seal, None).await),
            Ok(Opened::Locked) => Now::Locked(Box::new(state)),
            Err(e) => Now::Broken(e),
        }
    }

    async fn start(
        &self,
        state: State,
        key: NodeKey,
        seal: Option<Seal>,
        store: Option<Embedded>,
    ) -> Arc<Member> {
        Member::start(member::Parts {
            disk: self.0.disk.clone(),
            state,
            key,
            seal,
            clock: self.0.clock.clone(),
            executor: self.0.executor.clone(),
            machine: self.0.machine.clone(),
            store,
            etcd_binary: self.0.etcd_binary.clone(),
        })
        .await
    }

    fn now(&self) -> Now {
        self.0.now.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn become_(&self, now: Now) {
        *self.0.now.write().unwrap_or_else(PoisonError::into_inner) = now;
    }

    fn member(&self) -> Result<Arc<Member>> {
        match self.now() {
            Now::In(member) => Ok(member),
            Now::Outside | Now::Pending | Now::Locked(_) | Now::Broken(_) => Err(Refusal::no_swarm()),
        }
    }

    fn manager(&self) -> Result<Arc<manager::Manager>> {
        self.member()?.manager().ok_or_else(|| {
            refuse(
                Kind::Unavailable,
                "This node is not a swarm manager. Worker nodes can't be used to view or modify cluster state. Please run this command on a manager node or promote the current node to a manager.",
            )
        })
    }

    async fn init(&self, wish: Init) -> Result<ClusterNodeId> {
        let _verb = self.0.verbs.lock().await;
        match self.now() {
            Now::In(member) if wish.force_new_cluster => return self.alone(&member).await,
            Now::Outside => {}
            Now::Pending | Now::Locked(_) | Now::Broken(_) | Now::In(_) => {
                return Err(Refusal::swarm_exists());
            }
        }
        let at = address::resolve(
            &wish.listen,
            &wish.advertise,
            &wish.data_path,
            &self.0.default_advertise,
            true,
        )?;
        // Found out before anything is made.
        drop(tokio::net::TcpListener::bind(at.listen).await.map_err(|e| {
            refuse(
                Kind::Internal,
                format!("failed to listen on remote API address: listen tcp {}: {e}", at.listen),
            )
        })?);
        let now = self.0.clock.wall();
        let founded = self.found(wish, &at, now).await;
        self.begin(founded).await
    }

    /// Goes on as the only manager of a cluster that was founded on this machine's disk, if it was.
    async fn begin(&self, founded: Result<(State, NodeKey, Seal, Embedded)>) -> Result<ClusterNodeId> {
        match founded {
            Ok((state, key, seal, store)) => {
                let id = state.node.clone();
                let member = self.start(state, key, Some(seal), Some(store)).await;
                self.become_(Now::In(member));
                Ok(id)
            }
            Err(e) => {
                // Nothing of a failed try stays.
                if let Err(why) = self.0.disk.forget() {
                    tracing::error!("{why}");
                }
                Err(e)
            }
        }
    }

    /// A new cluster on this machine's disk.
    async fn found(
        &self,
        wish: Init,
        at: &address::Addresses,
        now: Timestamp,
    ) -> Result<(State, NodeKey, Seal, Embedded)> {
        let authority = authority_of(&wish.signing, now)?;
        let (key, seal) = (NodeKey::generate().map_err(of_membership)?, Seal::generate());
        let founding = Founding {
            spec: wish.spec,
            data_path_port: wish.data_path_port,
            address_pools: wish.address_pools,
            subnet_size: wish.subnet_size,
        };
        let cluster = rotate::found(founding, &authority, &seal, now).map_err(of_membership)?;
        let request = key.request().map_err(of_membership)?;
        let (id, admission) =
            join::sign(&cluster, &seal, &request, Role::Manager, now).map_err(of_membership)?;
        let spec = NodeSpec { role: Role::Manager, availability: wish.availability, ..NodeSpec::default() };
        let mut node = join::new_node(id.clone(), spec, now);
        node.address = Some(at.data.unwrap_or(at.advertise.ip()));
        let mut status = join::manager_at(at.advertise, None);
        (status.leader, status.reachable) = (true, true);
        node.manager_status = Some(status);
        let managers = vec![(Some(id.clone()), at.advertise)];
        let mut state = State::new(
            cluster.id.clone(),
            id.clone(),
            Role::Manager,
            at,
            managers,
            admission.chain,
            admission.trusted,
        );
        state.store = Place::Here;
        state.data_address = node.address;
        let failed = |e: &dyn std::fmt::Display| refuse(Kind::Internal, e.to_string());
        self.0.disk.make().map_err(|e| failed(&e))?;
        let unlock = cluster
            .unlock_key
            .as_ref()
            .map(|sealed| UnlockKey::parse(&seal.open_text(sealed)?))
            .transpose()
            .map_err(of_membership)?;
        let store = Embedded::open_cluster(&self.0.disk.store()).map_err(|e| failed(&e))?;
        let snapshot = store.read(minke_cluster::tables::everything()).await.map_err(|e| failed(&e))?;
        let txn = Txn::on(&snapshot)
            .guard_absent(CLUSTER.key(CLUSTER_NAME))
            .put(&CLUSTER, CLUSTER_NAME, cluster)
            .put(&NODES, id.as_str(), node);
        let txn = minke_cluster::control::network::found_ingress(txn, now);
        store.commit(txn).await.map_err(|e| failed(&e))?;
        self.0.disk.save_secrets(&key, Some(&seal), unlock.as_ref()).map_err(of_text)?;
        self.0.disk.save_state(&state).map_err(of_text)?;
        Ok((state, key, seal, store))
    }

    /// Goes on without the other managers: `--force-new-cluster`.
    async fn alone(&self, member: &Arc<Member>) -> Result<ClusterNodeId> {
        let manager = self.manager()?;
        let me = member.id();
        let snapshot =
            manager.store.read(NODES.prefix()).await.map_err(ControlError::from).map_err(of_control)?;
        for (id, node) in NODES.list(&snapshot).map_err(ControlError::from).map_err(of_control)? {
            if id == me.as_str() || node.spec.role == Role::Worker {
                continue;
            }
            let now = self.0.clock.wall();
            let demote = |node: &mut minke_model::node::Node| {
                node.spec.role = Role::Worker;
                node.manager_status = None;
            };
            let done = minke_cluster::membership::observe::node(&manager.store, &node.id, now, demote).await;
            done.map_err(of_membership)?;
        }
        Ok(me)
    }

    async fn join(&self, wish: Join) -> Result<()> {
        let _verb = self.0.verbs.lock().await;
        match self.now() {
            Now::Outside => {}
            Now::Pending | Now::Locked(_) | Now::Broken(_) | Now::In(_) => {
                return Err(Refusal::swarm_exists());
            }
        }
        let token = Token::parse(&wish.token).map_err(of_membership)?;
        let at = address::resolve(
            &wish.listen,
            &wish.advertise,
            &wish.data_path,
            &self.0.default_advertise,
            false,
        )?;
        let remotes = wish.remotes.iter().map(|text| address::remote(text)).collect::<Result<Vec<_>>>()?;
        self.become_(Now::Pending);
        match self.come_in(&token, &at, &remotes, wish.availability).await {
            Ok(member) => {
                self.become_(Now::In(member));
                Ok(())
            }
            Err(e) => {
                if let Err(why) = self.0.disk.forget() {
                    tracing::error!("{why}");
                }
                self.become_(Now::Outside);
                Err(e)
            }
        }
    }

    async fn come_in(
        &self,
        token: &Token,
        at: &address::Addresses,
        remotes: &[String],
        availability: Availability,
    ) -> Result<Arc<Member>> {
        let key = NodeKey::generate().map_err(of_membership)?;
        let mut last = refuse(Kind::Invalid, "at least one RemoteAddr is required to join");
        for remote in remotes {
            match join::ask(remote, token, &key, availability, Some(at.advertise)).await {
                Ok(admission) => {
                    let found = tokio::net::lookup_host(remote).await.map(|mut found| found.next());
                    let managers: Vec<(Option<ClusterNodeId>, SocketAddr)> =
                        found.ok().flatten().map(|at| (None, at)).into_iter().collect();
                    let state = State::new(
                        admission.cluster,
                        key.id(),
                        admission.role,
                        at,
                        managers,
                        admission.chain,
                        admission.trusted,
                    );
                    self.0.disk.make().map_err(|e| refuse(Kind::Internal, e.to_string()))?;
                    self.0.disk.save_secrets(&key, None, None).map_err(of_text)?;
                    self.0.disk.save_state(&state).map_err(of_text)?;
                    let member = self.start(state, key, None, None).await;
                    // The CLI says that it joined as what: a manager is one when this returns.
                    member.settled().await;
                    return Ok(member);
                }
                Err(e) => last = of_membership(e),
            }
        }
        Err(last)
    }

    async fn leave(&self, force: bool) -> Result<()> {
        let _verb = self.0.verbs.lock().await;
        let member = match self.now() {
            Now::Outside | Now::Pending => return Err(Refusal::no_swarm()),
            Now::Locked(_) if !force => {
                return Err(refuse(
                    Kind::Unavailable,
                    "Swarm is encrypted and locked. Please unlock it first or use `--force` to ignore this message.",
                ));
            }
            Now::Locked(_) | Now::Broken(_) => None,
            Now::In(member) => Some(member),
        };
        if let Some(member) = member {
            if member.role() == Role::Manager && !force {
                return Err(refuse(Kind::Unavailable, self.warning(&member).await));
            }
            member.leave().await;
        }
        self.become_(Now::Outside);
        self.0.disk.forget().map_err(of_text)
    }

    /// What a manager that leaves should know (moby, `daemon/cluster/swarm.go`).
    async fn warning(&self, member: &Member) -> String {
        let mut text =
            "You are attempting to leave the swarm on a node that is participating as a manager. ".to_owned();
        let mut managers = 0;
        if let Some(manager) = member.manager()
            && let Ok(nodes) = manager.control.every_node().await
        {
            managers = nodes.iter().filter(|node| node.spec.role == Role::Manager).count();
        }
        match managers {
            0 => text += "Doing so may lose the consensus of your cluster. ",
            1 => {
                text += "Removing the last manager erases all current state of the swarm. Use `--force` to ignore this message. "
            }
            n => {
                text += &format!(
                    "Removing this node leaves {} managers out of {n}. Without a Raft quorum your swarm will be inaccessible. ",
                    n - 1
                );
            }
        }
        if managers != 1 {
            text += "The only way to restore a swarm that has lost consensus is to reinitialize it with `--force-new-cluster`. Use `--force` to suppress this message.";
        }
        text
    }

    async fn unlock(&self, text: String) -> Result<()> {
        let _verb = self.0.verbs.lock().await;
        let Now::Locked(state) = self.now() else {
            return Err(refuse(Kind::Conflict, "swarm is not locked"));
        };
        let key = UnlockKey::parse(&text).map_err(|_| wrong_key())?;
        match self.0.disk.secrets(Some(&key)) {
            Ok(Opened::Open { key, seal }) => {
                let member = self.start(*state, key, seal, None).await;
                self.become_(Now::In(member));
                Ok(())
            }
            Ok(Opened::Locked) | Err(_) => Err(wrong_key()),
        }
    }

    async fn unlock_key(&self) -> Result<String> {
        let manager = self.manager()?;
        let cluster = join::cluster(&manager.store).await.map_err(of_membership)?;
        match &cluster.unlock_key {
            Some(sealed) => manager.seal.open_text(sealed).map_err(of_membership),
            None => Ok(String::new()),
        }
    }

    async fn update(&self, wish: Update) -> Result<()> {
        let manager = self.manager()?;
        let now = self.0.clock.wall();
        let before = manager.control.cluster().await.map_err(of_control)?;
        let rotates =
            wish.spec.force_rotate != before.spec.force_rotate || wish.signing != Signing::default();
        let next = if rotates { Some(authority_of(&wish.signing, now)?) } else { None };
        let seal = manager.seal.clone();
        let change = |cluster: &mut minke_model::cluster::Cluster| {
            let refused = |e: MembershipError| ControlError::Plain { kind: e.kind(), message: e.to_string() };
            if let Some(next) = &next {
                rotate::begin(cluster, next, &seal, now).map_err(refused)?;
            }
            if wish.rotate_worker_token {
                cluster.worker_token = seal.seal(token::new_secret().as_bytes());
            }
            if wish.rotate_manager_token {
                cluster.manager_token = seal.seal(token::new_secret().as_bytes());
            }
            if !cluster.spec.autolock {
                cluster.unlock_key = None;
            } else if cluster.unlock_key.is_none() || wish.rotate_unlock_key {
                cluster.unlock_key = Some(seal.seal(UnlockKey::generate().to_string().as_bytes()));
            }
            Ok(())
        };
        manager.control.update_cluster(wish.version, wish.spec.clone(), change).await.map_err(of_control)
    }

    async fn tokens(&self) -> Result<Tokens> {
        let manager = self.manager()?;
        let cluster = join::cluster(&manager.store).await.map_err(of_membership)?;
        let (worker, of_managers) = rotate::tokens(&cluster, &manager.seal).map_err(of_membership)?;
        Ok(Tokens { worker: worker.to_string(), manager: of_managers.to_string() })
    }

    async fn logs(&self, wish: LogWish) -> Result<LogLines> {
        let member = self.member()?;
        let stream = member.open(&wish.node, logs::LOGS).map_err(|e| refuse(Kind::Unavailable, e))?;
        logs::ask(stream, wish).await
    }
}

fn of_control(e: ControlError) -> Refusal {
    refuse(e.kind(), e.to_string())
}

fn wrong_key() -> Refusal {
    refuse(Kind::Invalid, "swarm could not be unlocked: invalid key provided")
}

/// The authority that a user brings, or a new one.
fn authority_of(signing: &Signing, now: Timestamp) -> Result<Authority> {
    if signing.certificate.is_empty() && signing.key.is_empty() {
        return Authority::generate(now).map_err(of_membership);
    }
    Authority::from_pem(&signing.certificate, &signing.key).map_err(of_membership)
}

impl Door for Membership {
    fn standing(&self) -> Standing {
        match self.now() {
            Now::Outside => Standing::default(),
            Now::Pending => Standing { state: LocalState::Pending, ..Standing::default() },
            Now::Broken(error) => Standing { state: LocalState::Error, error, ..Standing::default() },
            Now::Locked(state) => Standing {
                state: LocalState::Locked,
                node: Some(state.node),
                manager: state.role == Role::Manager,
                error: "swarm is encrypted and needs to be unlocked before it can be used. Please use \"docker swarm unlock\" to unlock it."
                    .to_owned(),
                ..Standing::default()
            },
            Now::In(member) => {
                let (error, manager) = (member.trouble(), member.manager());
                Standing {
                    state: if error.is_empty() { LocalState::Active } else { LocalState::Error },
                    node: Some(member.id()),
                    address: member.address(),
                    error,
                    manager: member.role() == Role::Manager,
                    managers: member.known_managers(),
                    control: manager.map(|manager| manager.control.clone()),
                }
            }
        }
    }

    fn init(&self, wish: Init) -> Boxed<'_, Result<ClusterNodeId>> {
        Box::pin(Membership::init(self, wish))
    }

    fn join(&self, wish: Join) -> Boxed<'_, Result<()>> {
        Box::pin(Membership::join(self, wish))
    }

    fn leave(&self, force: bool) -> Boxed<'_, Result<()>> {
        Box::pin(Membership::leave(self, force))
    }

    fn unlock(&self, key: String) -> Boxed<'_, Result<()>> {
        Box::pin(Membership::unlock(self, key))
    }

    fn unlock_key(&self) -> Boxed<'_, Result<String>> {
        Box::pin(Membership::unlock_key(self))
    }

    fn update(&self, wish: Update) -> Boxed<'_, Result<()>> {
        Box::pin(Membership::update(self, wish))
    }

    fn tokens(&self) -> Boxed<'_, Result<Tokens>> {
        Box::pin(Membership::tokens(self))
    }

    fn logs(&self, wish: LogWish) -> Boxed<'_, Result<LogLines>> {
        Box::pin(Membership::logs(self, wish))
    }

    fn spread(&self) -> Boxed<'_, Result<()>> {
        Box::pin(async {
            let member = self.member()?;
            self.manager()?;
            ha::move_out(&member).await.map_err(|why| refuse(Kind::Conflict, why))
        })
    }

    fn backup(&self) -> Boxed<'_, Result<Backup>> {
        Box::pin(self.make_backup())
    }

    fn restore(&self, wish: Restore) -> Boxed<'_, Result<ClusterNodeId>> {
        Box::pin(self.make_from(wish))
    }
}
