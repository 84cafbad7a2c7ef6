//! This machine as a member of a cluster: its session, its agent, its certificate, and its work as a manager.
//!
//! What it learns of the cluster (managers, trusted authorities, its role) it keeps on disk at once, so that a restart
//! begins where it was.

use super::{
    dial::Dialler,
    disk::{Disk, State, Store},
    etcd, ha,
    manager::{self, Manager},
    node,
};
use minke_cluster::{
    agent::Executor,
    membership::{
        ca::{Identity, NodeKey},
        join::{Admission, CERTIFICATE},
        seal::{Seal, UnlockKey},
        session::{self, Connected, Hello, Session, Standing},
    },
    tables::{CLUSTER, CLUSTER_NAME},
    transport::{mux, tls::Credentials},
};
use minke_model::{ClusterNodeId, node::Role};
use minke_store::{AnyStore, Clock, Embedded, Remote, Store as _};
use std::{
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{sync::watch, task::JoinSet, time::sleep};

/// Between two tries of what failed.
const RETRY: Duration = Duration::from_secs(5);
/// Somebody who joins waits so long to be seen there.
const SETTLE: Duration = Duration::from_secs(20);
/// Longest sleep before it is looked whether the certificate is to be renewed.
const LONGEST_SLEEP: Duration = Duration::from_secs(3600);

/// What a member is made of.
pub(super) struct Parts {
    pub(super) disk: Disk,
    pub(super) state: State,
    pub(super) key: NodeKey,
    pub(super) seal: Option<Seal>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) executor: Arc<dyn Executor>,
    pub(super) machine: minke_engine::Engine,
    /// The store of a cluster that was just founded: it is open.
    pub(super) store: Option<Embedded>,
    /// The program that keeps records for several managers.
    pub(super) etcd_binary: String,
}

/// A member at work. Ends when its tasks are dropped.
pub(super) struct Member {
    disk: Disk,
    key: NodeKey,
    clock: Arc<dyn Clock>,
    pub(super) executor: Arc<dyn Executor>,
    state: Mutex<State>,
    seal: Mutex<Option<Seal>>,
    credentials: watch::Sender<Credentials>,
    managers: watch::Sender<Vec<SocketAddr>>,
    known: watch::Sender<Vec<(ClusterNodeId, SocketAddr)>>,
    home: etcd::Home,
    keeper: Mutex<Option<etcd::Keeper>>,
    moved: Mutex<Option<minke_store::Moved>>,
    local: watch::Sender<Option<minke_cluster::membership::reception::Reception>>,
    session: session::Handle,
    hello: watch::Sender<Hello>,
    own: watch::Receiver<Option<IpAddr>>,
    manager: watch::Sender<Option<Arc<Manager>>>,
    /// Why it cannot do what it should; empty when it can.
    trouble: Mutex<String>,
    tasks: Mutex<JoinSet<()>>,
}

impl Member {
    /// Starts one. What fails is tried again; it is a member all the same.
    pub(super) async fn start(parts: Parts) -> Arc<Member> {
        let Parts { disk, state, key, seal, clock, executor, machine, store, etcd_binary } = parts;
        let credentials = watch::Sender::new(Credentials {
            chain: state.chain.clone(),
            key: key.to_der(),
            trusted: state.trusted.clone(),
            cluster: state.cluster.as_str().to_owned(),
        });
        let managers = watch::Sender::new(state.managers.iter().map(|(_, address)| *address).collect());
        let known = watch::Sender::new(with_ids(&state));
        let home = etcd::Home::new(disk.etcd(), etcd_binary);
        let local = watch::Sender::new(None);
        let dialler =
            Arc::new(Dialler::new(credentials.subscribe(), managers.subscribe(), local.subscribe()));
        let own = dialler.own_address();
        let hello = watch::Sender::new(Hello {
            description: executor.describe().await,
            data_address: state.data_address,
            manager_address: Some(state.advertise),
        });
        let boot_time = {
            let executor = executor.clone();
            Arc::new(move || executor.boot_time())
        };
        let backwards = Arc::new(node::Backwards::new(machine));
        let (session, handle) = Session::new(dialler, backwards.clone(), hello.subscribe(), boot_time);
        let member = Arc::new(Member {
            disk,
            key,
            clock,
            executor,
            state: Mutex::new(state),
            seal: Mutex::new(seal),
            credentials,
            managers,
            known,
            home,
            keeper: Mutex::default(),
            moved: Mutex::default(),
            local,
            session: handle,
            hello,
            own,
            manager: watch::Sender::new(None),
            trouble: Mutex::default(),
            tasks: Mutex::default(),
        });
        backwards.belongs_to(&member);
        // A stand-by without the data keys first needs a manager to get them from.
        let has_keys = member.seal.lock().unwrap_or_else(PoisonError::into_inner).is_some();
        if member.role() == Role::Manager && has_keys {
            member.serve_as_manager(store).await;
        }
        let mut tasks = member.tasks();
        tasks.spawn(session.run());
        tasks.spawn(node::agent(
            member.id(),
            member.executor.clone(),
            member.clock.clone(),
            member.session.clone(),
        ));
        tasks.spawn(Self::keep(Arc::downgrade(&member)));
        tasks.spawn(Self::describe(Arc::downgrade(&member)));
        drop(tasks);
        member
    }

    /// Who it is.
    pub(super) fn id(&self) -> ClusterNodeId {
        self.state().node.clone()
    }

    /// As what it serves.
    pub(super) fn role(&self) -> Role {
        self.state().role
    }

    /// Its work as a manager, while it does that.
    pub(super) fn manager(&self) -> Option<Arc<Manager>> {
        self.manager.borrow().clone()
    }

    /// Where the cluster's records are for it.
    pub(super) fn place(&self) -> Store {
        self.state().store.clone()
    }

    /// Its clocks.
    pub(super) fn clock(&self) -> Arc<dyn Clock> {
        self.clock.clone()
    }

    /// Its member of etcd, should it have one.
    pub(super) fn home(&self) -> &etcd::Home {
        &self.home
    }

    /// Where that lives.
    pub(super) fn etcd_directory(&self) -> std::path::PathBuf {
        self.disk.etcd()
    }

    /// What its own disk says of a store that was moved.
    pub(super) fn moved(&self) -> Option<minke_store::Moved> {
        self.moved.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Follows which managers it knows, and where.
    pub(super) fn known(&self) -> watch::Receiver<Vec<(ClusterNodeId, SocketAddr)>> {
        self.known.subscribe()
    }

    /// For streams to the manager that leads.
    pub(super) fn opener(&self) -> Option<mux::Opener> {
        self.session.standing.borrow().connected().map(|connected| connected.opener.clone())
    }

    /// Prepares and starts its member of etcd. One that runs already stays.
    pub(super) fn run_etcd(&self, plan: etcd::Plan, alone: bool) -> Result<(), String> {
        let mut keeper = self.keeper.lock().unwrap_or_else(PoisonError::into_inner);
        let installed = self.home.plan().is_some_and(|old| old.token == plan.token);
        if keeper.is_some() && installed {
            return Ok(());
        }
        *keeper = None;
        self.home.install(plan, &self.id())?;
        *keeper = Some(self.keep_etcd(alone)?);
        Ok(())
    }

    /// Whether its member of etcd runs.
    pub(super) fn runs_etcd(&self) -> bool {
        self.keeper.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// Ends its member of etcd, and takes it away.
    pub(super) fn end_etcd(&self) {
        *self.keeper.lock().unwrap_or_else(PoisonError::into_inner) = None;
        if let Err(e) = self.home.forget() {
            tracing::warn!("{e}");
        }
    }

    fn keep_etcd(&self, alone: bool) -> Result<etcd::Keeper, String> {
        let others = etcd::Others {
            me: self.id(),
            managers: self.known.subscribe(),
            credentials: self.credentials.subscribe(),
        };
        etcd::Keeper::start(self.home.clone(), others, alone)
    }

    /// Where others find it, without port; empty when nobody knows.
    pub(super) fn address(&self) -> String {
        let state = self.state();
        let told = Some(state.advertise.ip()).filter(|ip| !ip.is_unspecified());
        let known = state.data_address.filter(|_| told.is_none());
        told.or(known).or(*self.own.borrow()).map_or_else(String::new, |ip| ip.to_string())
    }

    /// Waits for a moment until it is what it joined as.
    pub(super) async fn settled(&self) {
        let mut standing = self.session.standing.clone();
        let connected = standing.wait_for(|standing| standing.connected().is_some());
        let settled = async {
            let _ = connected.await;
            if self.role() == Role::Manager {
                let _ = self.manager.subscribe().wait_for(Option::is_some).await;
            }
        };
        // It goes on by itself.
        let _ = tokio::time::timeout(SETTLE, settled).await;
    }

    /// Managers that it knows.
    pub(super) fn known_managers(&self) -> Vec<(ClusterNodeId, String)> {
        let state = self.state();
        let with_id = state.managers.iter().filter_map(|(id, address)| Some((id.clone()?, address)));
        with_id.map(|(id, address)| (id, address.to_string())).collect()
    }

    /// Why it cannot do what it should; empty when it can.
    pub(super) fn trouble(&self) -> String {
        if let Standing::Expelled(why) = &*self.session.standing.borrow() {
            return why.clone();
        }
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Opens a stream on a node: its own connections, or its leader's.
    pub(super) fn open(&self, node: &ClusterNodeId, name: &str) -> Result<mux::Stream, String> {
        let manager = self.manager().ok_or("this node is no manager")?;
        if self.local.borrow().is_some() {
            return manager.reception.open(node, name).map_err(|e| e.to_string());
        }
        let standing = self.session.standing.borrow();
        let connected = standing.connected().ok_or("no manager that leads can be reached")?;
        connected.opener.open(&format!("{}{node}/{name}", manager::TO)).map_err(|e| e.to_string())
    }

    /// Says goodbye, for a restart, and stops.
    pub(super) async fn close(&self) {
        self.session.goodbye().await;
        self.stop();
    }

    /// Says that it leaves for good, takes away what it ran, and stops.
    pub(super) async fn leave(&self) {
        self.session.leave().await;
        self.stop();
        for known in self.executor.known().await {
            if let Err(e) = self.executor.remove(&known.task).await {
                tracing::error!("task {} stays: {e}", known.task.short());
            }
        }
        let nothing = Arc::new(minke_cluster::assign::NodeState::of(self.id()));
        if let Err(e) = self.executor.configure(nothing).await {
            tracing::error!("something of the cluster's networks stays: {e}");
        }
    }

    fn stop(&self) {
        self.tasks().abort_all();
        *self.keeper.lock().unwrap_or_else(PoisonError::into_inner) = None;
        self.local.send_replace(None);
        self.manager.send_replace(None);
    }

    /// Begins to serve as a manager.
    async fn serve_as_manager(self: &Arc<Self>, founded: Option<Embedded>) {
        if self.manager().is_some() {
            return;
        }
        match self.start_manager(founded).await {
            Ok(manager) => {
                let manager = Arc::new(manager);
                self.manager.send_replace(Some(manager.clone()));
                self.set_trouble(String::new());
                let mut tasks = self.tasks();
                tasks.spawn(Self::wrap_as_told(Arc::downgrade(self), manager.store.clone()));
                tasks.spawn(ha::tend(Arc::downgrade(self)));
                if self.place() == Store::Etcd {
                    tasks.spawn(ha::open_at_last(Arc::downgrade(self), manager.switch.clone()));
                }
            }
            Err(why) => {
                tracing::error!("this node cannot serve as a manager: {why}");
                self.set_trouble(why);
            }
        }
    }

    async fn start_manager(self: &Arc<Self>, founded: Option<Embedded>) -> Result<Manager, String> {
        if self.place() == Store::Here
            && founded.is_none()
            && let Some(moved) = ha::moved(&self.disk.store())
        {
            // It ended right after the move.
            *self.moved.lock().unwrap_or_else(PoisonError::into_inner) = Some(moved);
            self.change(|state| state.store = Store::Etcd);
        }
        let kept = self.seal.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let gone = "the data keys of this manager are gone";
        let (store, seal, leads) = match self.place() {
            Store::Etcd => {
                if !self.runs_etcd() {
                    let keeper = self.keep_etcd(false)?;
                    *self.keeper.lock().unwrap_or_else(PoisonError::into_inner) = Some(keeper);
                }
                (ha::nowhere(), kept.ok_or(gone)?, false)
            }
            Store::Here => {
                let seal = kept.ok_or(gone)?;
                let store = match founded {
                    Some(store) => store,
                    None => Embedded::open_cluster(&self.disk.store()).map_err(|e| e.to_string())?,
                };
                (AnyStore::new(store), seal, true)
            }
            Store::Elsewhere => {
                let dial = node::StoreDial::new(self.session.standing.clone(), manager::EVERYTHING);
                let remote = AnyStore::new(Remote::new(Arc::new(dial), self.clock.clone()));
                let seal = self.data_keys().await?;
                (remote, seal, false)
            }
        };
        let (me, listen) = {
            let state = self.state();
            (state.node.clone(), state.listen)
        };
        Manager::start(manager::Parts {
            me,
            store,
            clock: self.clock.clone(),
            seal,
            listen,
            credentials: self.credentials.subscribe(),
            leads,
            local: self.local.clone(),
            member: Arc::downgrade(self),
        })
        .await
    }

    /// The data keys: its own, or the leader's.
    async fn data_keys(&self) -> Result<Seal, String> {
        if let Some(seal) = self.seal.lock().unwrap_or_else(PoisonError::into_inner).clone() {
            return Ok(seal);
        }
        let opener = {
            let standing = self.session.standing.borrow();
            standing.connected().map(|c| c.opener.clone())
        };
        let opener = opener.ok_or("no manager that leads can be reached")?;
        let keys = session::ask(&opener, manager::KEYS, &()).await.map_err(|e| e.to_string())?;
        let seal = Seal::import(keys).map_err(|e| e.to_string())?;
        self.disk.save_secrets(&self.key, Some(&seal), None)?;
        *self.seal.lock().unwrap_or_else(PoisonError::into_inner) = Some(seal.clone());
        Ok(seal)
    }

    /// Keeps the secrets on disk wrapped as the cluster's record says.
    async fn wrap_as_told(member: std::sync::Weak<Member>, store: AnyStore) {
        let mut wrapped_by: Option<Option<UnlockKey>> = None;
        loop {
            let after = {
                let Some(member) = member.upgrade() else { return };
                let Some(manager) = member.manager() else { return };
                match member.unlock_key_of(&manager, &store).await {
                    Ok((unlock, revision)) => {
                        if wrapped_by.as_ref() != Some(&unlock) {
                            match member.disk.save_secrets(&member.key, Some(&manager.seal), unlock.as_ref())
                            {
                                Ok(()) => wrapped_by = Some(unlock),
                                Err(e) => tracing::error!("{e}"),
                            }
                        }
                        Some(revision)
                    }
                    Err(e) => {
                        tracing::debug!("the cluster's record cannot be read: {e}");
                        None
                    }
                }
            };
            match after {
                // However the watch ends: it is looked again.
                Some(after) => drop(store.watch(CLUSTER.prefix(), after).next().await),
                None => sleep(RETRY).await,
            }
        }
    }

    async fn unlock_key_of(
        &self,
        manager: &Manager,
        store: &AnyStore,
    ) -> Result<(Option<UnlockKey>, minke_store::Revision), String> {
        let snapshot = store.read(CLUSTER.prefix()).await.map_err(|e| e.to_string())?;
        let cluster = CLUSTER.get(&snapshot, CLUSTER_NAME).map_err(|e| e.to_string())?;
        let sealed = cluster.and_then(|cluster| cluster.unlock_key.clone());
        let unlock = sealed
            .map(|sealed| {
                let text = manager.seal.open_text(&sealed)?;
                UnlockKey::parse(&text)
            })
            .transpose()
            .map_err(|e| e.to_string())?;
        Ok((unlock, snapshot.revision()))
    }

    /// Tells managers anew what this machine is, when that has changed.
    async fn describe(member: std::sync::Weak<Member>) {
        loop {
            sleep(Duration::from_secs(60)).await;
            let Some(member) = member.upgrade() else { return };
            let description = member.executor.describe().await;
            member.hello.send_if_modified(|hello| {
                let differs = hello.description != description;
                hello.description = description;
                differs
            });
        }
    }

    /// Keeps what the cluster says, and the certificate good.
    async fn keep(member: std::sync::Weak<Member>) {
        let mut chance = [0];
        // Without random numbers all renew at the same point.
        let _ = getrandom::fill(&mut chance);
        let Some(mut standing) = member.upgrade().map(|member| member.session.standing.clone()) else {
            return;
        };
        loop {
            let wait = {
                let Some(member) = member.upgrade() else { return };
                let connected = standing.borrow_and_update().connected().cloned();
                match connected {
                    Some(connected) => member.learn(connected, chance[0]).await,
                    None => LONGEST_SLEEP,
                }
            };
            tokio::select! {
                changed = standing.changed() => if changed.is_err() { return },
                () = sleep(wait) => {}
            }
        }
    }

    /// Takes what a manager told; says when to look again.
    async fn learn(self: &Arc<Self>, connected: Connected, chance: u8) -> Duration {
        let told = &connected.told;
        let managers: Vec<_> = told.managers.iter().map(|(id, at)| (Some(id.clone()), *at)).collect();
        self.change(|state| {
            // A cluster without a single manager that can be found says nothing.
            if !managers.is_empty() {
                state.managers = managers.clone();
            }
            state.trusted = told.trusted.clone();
        });
        if let Some(manager) = self.manager() {
            let leader = told.managers.iter().filter(|(id, _)| *id == connected.manager);
            manager.follow(leader.map(|(_, at)| *at).collect());
        }
        let due = match Identity::of_pem(&self.state().chain) {
            Ok(identity) => identity.renew_at(chance) - self.clock.wall().as_second(),
            Err(_) => 0,
        };
        if told.renew || due <= 0 {
            return match self.renew(&connected).await {
                Ok(()) => LONGEST_SLEEP,
                Err(e) => {
                    tracing::warn!("the certificate cannot be renewed: {e}");
                    RETRY
                }
            };
        }
        if self.role() == Role::Manager && self.manager().is_none() {
            self.serve_as_manager(None).await;
            if self.manager().is_none() {
                return RETRY;
            }
        }
        Duration::from_secs(due.unsigned_abs()).min(LONGEST_SLEEP)
    }

    /// Gets the next certificate, and becomes what it says.
    async fn renew(self: &Arc<Self>, connected: &Connected) -> Result<(), String> {
        let request = self.key.request().map_err(|e| e.to_string())?;
        let admission: Admission =
            session::ask(&connected.opener, CERTIFICATE, &request).await.map_err(|e| e.to_string())?;
        let before = self.role();
        self.change(|state| {
            state.chain = admission.chain.clone();
            state.trusted = admission.trusted.clone();
            state.role = admission.role;
        });
        tracing::info!("this node has a new certificate as {:?}", admission.role);
        if before == Role::Manager && admission.role == Role::Worker {
            self.local.send_replace(None);
            self.manager.send_replace(None);
            self.end_etcd();
            self.change(|state| state.store = Store::Elsewhere);
        }
        // Whatever is asked for from now on is asked with the new one.
        connected.opener.close("the node has a new certificate");
        Ok(())
    }

    /// Changes what is remembered, on disk too, and what connections are made with.
    pub(super) fn change(&self, change: impl Fn(&mut State)) {
        let mut state = self.state();
        let mut new = state.clone();
        change(&mut new);
        if new == *state {
            return;
        }
        if let Err(e) = self.disk.save_state(&new) {
            tracing::error!("{e}");
        }
        let addresses: Vec<_> = new.managers.iter().map(|(_, at)| *at).collect();
        self.managers.send_if_modified(|known| {
            let differs = *known != addresses;
            *known = addresses;
            differs
        });
        let known = with_ids(&new);
        self.known.send_if_modified(|old| {
            let differs = *old != known;
            *old = known;
            differs
        });
        if (&new.chain, &new.trusted) != (&state.chain, &state.trusted) {
            self.credentials.send_modify(|credentials| {
                credentials.chain = new.chain.clone();
                credentials.trusted = new.trusted.clone();
            });
        }
        *state = new;
    }

    fn set_trouble(&self, why: String) {
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = why;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tasks(&self) -> MutexGuard<'_, JoinSet<()>> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Managers whose ids are known.
fn with_ids(state: &State) -> Vec<(ClusterNodeId, SocketAddr)> {
    state.managers.iter().filter_map(|(id, at)| Some((id.clone()?, *at))).collect()
}
