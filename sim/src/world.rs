//! A cluster in one process: real managers and agents, on machines, wires and clocks that obey a seed.
//!
//! Everything between store and executor is the real thing: sessions, the multiplexed framing, the remote store,
//! assignments, the agent, and all loops. The store is one in memory, reached by each manager through its own faults.

use crate::{
    bugs::{Bug, Unguarded},
    clock::MachineClock,
    machine::{Habits, Lives, Machine},
    random::Random,
    wire::{Cut, Wire},
};
use minke_cluster::{
    agent::{Agent, Executor, Parts, Report, Reported, fence::Fence, follow},
    assigner::Assigner,
    control::{Control, ControlError, Sealer},
    loops::Loops,
    membership::{
        ca::Authority,
        join,
        reception::{Lead, Reception, Serve},
        rotate::{self, Founding},
        seal::Seal,
        session::{self, Backwards, Boxed, Dialled, Heard, Hello, Session, Standing},
    },
    tables::{CLUSTER, CLUSTER_NAME, NAMES, NETWORKS, NODES, Named, everything, name_of},
    transport::{TransportError, mux, tls::Peer},
};
use minke_model::{
    ClusterNodeId, Kind, NetworkId, TaskId, Timestamp,
    network::{NetworkDriver, NetworkSpec},
    node::{NodeSpec, Role},
    object::Meta,
    overlay::ClusterNetwork,
    secret::Sealed,
    task::TaskStatus,
};
use minke_store::{
    AnyStore, Assigned, Clock, Faults, Faulty, Link, Memory, Prefix, Remember, Remote, Server, Stopper,
    Store, StoreError, Txn,
};
use std::{
    future::Future,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{
    sync::watch,
    task::{AbortHandle, JoinSet},
    time::Instant,
};

/// The network that services may be on.
pub(crate) const NETWORK: &str = "wide";
/// Name of the stream on which a node reads what is its own.
const STORE: &str = "store";
/// What the world's clocks show at its beginning: 2026-01-01.
const BEGINNING: i64 = 1_767_225_600_000_000_000;
/// What the store remembers for watches: enough that only faults make one read again.
const REMEMBER: Remember = Remember { commits: 4096, bytes: 8 << 20 };

/// A cluster and all that it stands on.
pub(crate) struct World {
    /// What all managers share, without faults: for checks.
    pub(crate) store: AnyStore,
    /// For wishes.
    pub(crate) control: Control,
    /// Machines.
    pub(crate) nodes: Vec<NodeHere>,
    /// Managers.
    pub(crate) managers: Vec<ManagerHere>,
    /// What really ran.
    pub(crate) lives: Lives,
    /// When it began.
    pub(crate) start: Instant,
    seal: Seal,
    receptions: Receptions,
    bug: Option<Bug>,
    /// The network that services may be on.
    pub(crate) network: NetworkId,
}

type Receptions = Arc<Mutex<Vec<Option<(Reception, AbortHandles)>>>>;
type AbortHandles = Arc<Mutex<JoinSet<()>>>;

/// A machine with its wire and its daemon.
pub(crate) struct NodeHere {
    /// Who.
    pub(crate) id: ClusterNodeId,
    /// Its containers.
    pub(crate) machine: Arc<Machine>,
    /// Its way to managers.
    pub(crate) wire: Wire,
    /// Its clocks.
    pub(crate) clock: Arc<MachineClock>,
    /// It has power.
    pub(crate) powered: bool,
    shims: Option<AbortHandle>,
    daemon: Option<JoinSet<()>>,
}

/// A manager.
pub(crate) struct ManagerHere {
    clock: Arc<MachineClock>,
    faulty: Faulty,
    process: Option<JoinSet<()>>,
}

impl ManagerHere {
    /// From now on its way to the store is so.
    pub(crate) fn set_faults(&self, faults: Faults) {
        self.faulty.set(faults);
    }
}

impl World {
    /// `nodes` machines and `managers` managers, all whole and running.
    ///
    /// # Errors
    /// What could not be made: a bug.
    pub(crate) async fn new(
        nodes: usize,
        managers: usize,
        random: &mut Random,
        bug: Option<Bug>,
    ) -> Result<World, String> {
        let start = Instant::now();
        let store = AnyStore::new(Memory::remembering(REMEMBER));
        let seal = Seal::generate();
        let wall = Timestamp::from_nanos(BEGINNING);
        let clock = Arc::new(MachineClock::new(start, wall, 0));
        let text = |e: &dyn std::fmt::Display| e.to_string();
        let authority = Authority::generate(wall).map_err(|e| text(&e))?;
        let cluster = rotate::found(Founding::default(), &authority, &seal, wall).map_err(|e| text(&e))?;
        store.commit(Txn::new().put(&CLUSTER, CLUSTER_NAME, cluster)).await.map_err(|e| text(&e))?;
        let identities = Mutex::new(random.fork());
        let control = Control::new(store.clone(), clock, Arc::new(Sealing(seal.clone())))
            .with_identities(Arc::new(move || lock(&identities).bits()));
        let mut world = World {
            store,
            control,
            nodes: Vec::new(),
            managers: Vec::new(),
            lives: Lives::default(),
            start,
            seal,
            receptions: Arc::default(),
            bug,
            network: NetworkId::random(),
        };
        world.add_network("ingress", true).await.map_err(|e| text(&e))?;
        world.add_network(NETWORK, false).await.map_err(|e| text(&e))?;
        for number in 0..managers {
            let fast = random.between(0, 20_000) as i64 - 10_000;
            let clock = Arc::new(MachineClock::new(start, wall, fast));
            let way = AnyStore::new(Unguarded::new(world.store.clone(), bug));
            let faulty = Faulty::new(way, clock.clone(), Faults::default(), random.below(1 << 40));
            world.managers.push(ManagerHere { clock, faulty, process: None });
            lock(&world.receptions).push(None);
            world.start_manager(number);
        }
        for number in 0..nodes {
            world.add_node(number, random).await.map_err(|e| text(&e))?;
        }
        Ok(world)
    }

    async fn add_network(&mut self, name: &str, ingress: bool) -> Result<(), StoreError> {
        let snapshot = self.store.read(everything()).await?;
        let Some(id) = NetworkId::parse(&format!("{:064x}", NETWORKS.list(&snapshot)?.len() + 1)) else {
            return Ok(());
        };
        let spec = NetworkSpec {
            name: name.to_owned(),
            driver: NetworkDriver::Overlay,
            ipv4: true,
            ipv6: false,
            internal: false,
            attachable: false,
            ingress,
            config_only: false,
            config_from: None,
            options: Default::default(),
            labels: Default::default(),
            ipam_driver: "default".to_owned(),
            ipam_options: None,
            pools: Vec::new(),
        };
        let network = ClusterNetwork {
            id: id.clone(),
            meta: Meta::new(Timestamp::from_nanos(BEGINNING)),
            spec,
            encrypted: false,
            vni: 0,
            mtu: 0,
            subnets: Vec::new(),
        };
        let txn = Txn::on(&snapshot).put(&NAMES, &name_of(Named::Network, name), id.as_str().to_owned()).put(
            &NETWORKS,
            id.as_str(),
            network,
        );
        self.network = id;
        self.store.commit(txn).await.map(drop)
    }

    async fn add_node(&mut self, number: usize, random: &mut Random) -> Result<(), StoreError> {
        let id = ClusterNodeId::from_bits(random.bits());
        let wall = Timestamp::from_nanos(BEGINNING);
        let snapshot = self.store.read([NODES.prefix(), Prefix::new("guard/")]).await?;
        let mut node = join::new_node(id.clone(), NodeSpec::default(), wall);
        node.address = Some(address(number).ip());
        self.store.commit(Txn::on(&snapshot).put(&NODES, id.as_str(), node)).await?;
        let fast = random.between(0, 20_000) as i64 - 10_000;
        let clock = Arc::new(MachineClock::new(self.start, wall, fast));
        let machine =
            Machine::new(number, clock.clone(), self.lives.clone(), Habits::GOOD, random.fork(), self.bug);
        let shims = Some(tokio::spawn(machine.clone().shims()).abort_handle());
        let wire = Wire::new(random.fork());
        self.nodes.push(NodeHere { id, machine, wire, clock, powered: true, shims, daemon: None });
        self.start_daemon(number);
        Ok(())
    }

    /// Starts a manager that does not run. All run the loops: more leaders than one at a time cost quiet, not truth.
    pub(crate) fn start_manager(&mut self, number: usize) {
        let manager = &mut self.managers[number];
        if manager.process.is_some() {
            return;
        }
        let store = AnyStore::new(manager.faulty.clone());
        let clock: Arc<dyn Clock> = manager.clock.clone();
        let (stopper, stop) = Stopper::new();
        let mut process = JoinSet::new();
        process.spawn(async move {
            let _stopper = stopper;
            Loops::new(store, clock).run(stop).await;
        });
        manager.process = Some(process);
        self.lead();
    }

    /// kill -9 of a manager: its connections end.
    pub(crate) fn kill_manager(&mut self, number: usize) {
        self.managers[number].process = None;
        lock(&self.receptions)[number] = None;
        self.lead();
    }

    /// One of those that run takes sessions, and hears who is silent.
    fn lead(&mut self) {
        if lock(&self.receptions).iter().any(Option::is_some) {
            return;
        }
        let Some(number) = self.managers.iter().position(|manager| manager.process.is_some()) else { return };
        let manager = &mut self.managers[number];
        let store = AnyStore::new(manager.faulty.clone());
        let clock: Arc<dyn Clock> = manager.clock.clone();
        let assigner: Arc<dyn Assigned> =
            Arc::new(Assigner::start(store.clone(), Arc::new(self.seal.clone())));
        let answers = Arc::new(Answers(Server::new(store.clone(), assigner, clock.clone())));
        let (lead, seen) = watch::channel(Lead::Here);
        let me = ClusterNodeId::from_bits((number as u128 + 1) << 100);
        let reception = Reception::new(me, store, clock, self.seal.clone(), answers, seen);
        let tending = reception.clone();
        if let Some(process) = &mut manager.process {
            process.spawn(async move {
                // Who leads stays so for as long as the process lives.
                let _lead = lead;
                tending.tend().await;
            });
        }
        lock(&self.receptions)[number] = Some((reception, Arc::default()));
    }

    /// Starts a node's daemon, if it has power and none runs.
    pub(crate) fn start_daemon(&mut self, number: usize) {
        let (receptions, bug) = (self.receptions.clone(), self.bug);
        let node = &mut self.nodes[number];
        if !node.powered || node.daemon.is_some() {
            return;
        }
        let (machine, clock, id) = (node.machine.clone(), node.clock.clone(), node.id.clone());
        let dial = Arc::new(SimDial {
            node: id.clone(),
            address: address(number),
            wire: node.wire.clone(),
            receptions,
            next: Mutex::new(number),
        });
        let mut daemon = JoinSet::new();
        daemon.spawn(async move {
            let description = machine.describe().await;
            let hello = Hello { description, data_address: None, manager_address: None };
            // Kept: its end would mean that the node leaves.
            let (_hello, hello) = watch::channel(hello);
            let boot = machine.clone();
            let (session, handle) =
                Session::new(dial, Arc::new(Nothing), hello, Arc::new(move || boot.boot_time()));
            let store =
                AnyStore::new(Remote::new(Arc::new(StoreDial(handle.standing.clone())), clock.clone()));
            let (tell, told) = watch::channel(None);
            let fence = Fence::default();
            let (mut heard, acknowledged) = (handle.heard.clone(), fence.clone());
            let beats = async move {
                while heard.changed().await.is_ok() {
                    if let Some(Heard { sent, session }) = *heard.borrow_and_update() {
                        let session = if bug == Some(Bug::StaleReturn) { 0 } else { session };
                        acknowledged.acknowledged(sent, session);
                    }
                }
            };
            let agent = Agent::run(Parts {
                node: id.clone(),
                executor: machine,
                clock: Arc::new(move || clock.wall()),
                told,
                report: Arc::new(Reporting {
                    to: follow::StoreReport { store: store.clone(), node: id.clone() },
                    loses: bug == Some(Bug::LostReport),
                    count: AtomicU64::new(0),
                }),
                fence,
            });
            tokio::join!(session.run(), follow::follow(store, id, tell), beats, agent);
        });
        node.daemon = Some(daemon);
    }

    /// kill -9 of a node's daemon: containers live on.
    pub(crate) fn kill_daemon(&mut self, number: usize) {
        self.nodes[number].daemon = None;
    }

    /// Pulls a node's plug.
    pub(crate) fn power_off(&mut self, number: usize) {
        let node = &mut self.nodes[number];
        node.daemon = None;
        if let Some(shims) = node.shims.take() {
            shims.abort();
        }
        node.powered = false;
        node.machine.lose_power();
    }

    /// Puts it back; the daemon starts.
    pub(crate) fn power_on(&mut self, number: usize) {
        let node = &mut self.nodes[number];
        if !node.powered {
            node.powered = true;
            node.shims = Some(tokio::spawn(node.machine.clone().shims()).abort_handle());
        }
        self.start_daemon(number);
    }

    /// Everything whole again: wires, machines, daemons, managers, ways to the store.
    pub(crate) fn mend(&mut self) {
        for number in 0..self.managers.len() {
            self.managers[number].set_faults(Faults::default());
            self.start_manager(number);
        }
        for number in 0..self.nodes.len() {
            self.nodes[number].wire.set(Cut::NONE);
            self.nodes[number].machine.set_habits(Habits::GOOD);
            self.power_on(number);
        }
    }

    /// A manager's wall clock jumps.
    pub(crate) fn step_manager(&self, number: usize, seconds: i64) {
        self.managers[number].clock.step_wall(seconds);
    }

    /// How long the world has run.
    pub(crate) fn age(&self) -> Duration {
        self.start.elapsed()
    }
}

/// Where a machine is.
fn address(number: usize) -> SocketAddr {
    let [.., high, low] = (number as u32 + 1).to_be_bytes();
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 168, high, low)), 40_000)
}

/// Connects a node to a manager that runs, another one each time.
struct SimDial {
    node: ClusterNodeId,
    address: SocketAddr,
    wire: Wire,
    receptions: Receptions,
    next: Mutex<usize>,
}

impl session::Dial for SimDial {
    fn dial(&self, _: Option<SocketAddr>) -> Boxed<'_, Result<Dialled, TransportError>> {
        Box::pin(async move {
            if self.wire.cut().any() {
                tokio::time::sleep(Duration::from_secs(3)).await;
                return Err(TransportError::Ended("the wire is cut".into()));
            }
            let (number, found) = {
                let receptions = lock(&self.receptions);
                let mut next = lock(&self.next);
                *next = (*next + 1) % receptions.len().max(1);
                (*next, receptions.get(*next).cloned().flatten())
            };
            let Some((reception, connections)) = found else {
                return Err(TransportError::Ended("connection refused".into()));
            };
            let (node_end, manager_end, carry) = self.wire.connect();
            let peer =
                Peer { node: self.node.clone(), role: Role::Worker, issuer: Vec::new(), not_after: i64::MAX };
            let from = Some(self.address);
            lock(&connections).spawn(async move {
                tokio::join!(reception.converse(Box::new(manager_end), Some(peer), from), carry);
            });
            let node = ClusterNodeId::from_bits((number as u128 + 1) << 100);
            let peer = Peer { node, role: Role::Manager, issuer: Vec::new(), not_after: i64::MAX };
            Ok(Dialled { io: Box::new(node_end), peer })
        })
    }
}

/// Streams to a manager's store over the session that there is.
struct StoreDial(watch::Receiver<Standing>);

impl minke_store::Dial for StoreDial {
    fn dial(&self) -> Pin<Box<dyn Future<Output = minke_store::Result<Link>> + Send + '_>> {
        Box::pin(async move {
            let unavailable =
                |detail: String| StoreError::Unavailable { tried: "reach a manager".to_owned(), detail };
            let mut standing = self.0.clone();
            let opener = {
                let connected = standing.wait_for(|standing| standing.connected().is_some()).await;
                let connected = connected.map_err(|_| unavailable("the daemon ends".to_owned()))?;
                connected.connected().map(|c| c.opener.clone())
            };
            let opener = opener.ok_or_else(|| unavailable("no manager answers".to_owned()))?;
            let stream = opener.open(STORE).map_err(|e| unavailable(e.to_string()))?;
            Ok(Link::over(stream))
        })
    }
}

/// Reports as a node makes them.
struct Reporting {
    to: follow::StoreReport,
    loses: bool,
    count: AtomicU64,
}

impl Report for Reporting {
    fn report(&self, batch: Vec<(TaskId, TaskStatus)>) -> Reported<'_> {
        if self.loses && self.count.fetch_add(1, Ordering::Relaxed) % 8 == 7 {
            return Box::pin(async { Ok(()) });
        }
        self.to.report(batch)
    }
}

/// Managers open nothing on simulated nodes.
struct Nothing;

impl Backwards for Nothing {
    fn serve(&self, _: ClusterNodeId, _: String, _: mux::Stream) -> Boxed<'static, ()> {
        Box::pin(async {})
    }
}

/// What a manager answers nodes.
struct Answers(Server);

impl Serve for Answers {
    fn serve(&self, peer: Peer, name: String, stream: mux::Stream) -> Boxed<'static, ()> {
        let server = self.0.clone();
        let peer = minke_store::Peer { node: peer.node.as_str().to_owned(), role: minke_store::Role::Worker };
        Box::pin(async move {
            if name == STORE {
                server.serve(Link::over(stream), peer).await;
            }
        })
    }
}

/// The membership's seal, for the control plane.
struct Sealing(Seal);

impl Sealer for Sealing {
    fn seal(&self, plain: &[u8]) -> Result<Sealed, ControlError> {
        Ok(self.0.seal(plain))
    }

    fn open(&self, sealed: &Sealed) -> Result<Vec<u8>, ControlError> {
        self.0.open(sealed).map_err(|e| ControlError::Plain { kind: Kind::Internal, message: e.to_string() })
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
