//! Containers: one verb a file. Here: the cells that hold them, and how a name finds one.
//!
//! Each container has one lock that its verbs take in turn; locks are taken in the order container, network, store.

mod archive;
mod attach;
mod attributes;
mod changes;
mod commit;
mod connect;
mod create;
mod deadline;
mod detach;
mod devices;
mod endpoints;
mod exec;
mod export;
mod files;
mod health;
mod inspect;
mod kill;
mod links;
mod list;
mod logs;
mod merge;
mod mounts;
mod pause;
mod prune;
mod remove;
mod rename;
mod root;
mod shm;
mod start;
mod stats;
mod stop;
mod supervise;
mod top;
mod update;
mod wait;

pub use archive::{PathStat, PutOptions};
pub use attach::{AttachOptions, AttachStream, Attachment};
pub use commit::Commit;
pub use create::{CreateContainer, Created};
pub use detach::DetachKeys;
pub use exec::{ExecInspection, ExecSpec, ExecStart};
pub use inspect::{Inspection, Paths};
pub use list::{ListOptions, Summary};
pub use logs::{LogOptions, Logs};
pub use remove::RemoveOptions;
pub use stats::StatsSample;
pub use stop::StopOptions;
pub use top::Top;
pub use update::Update;
pub use wait::{WaitCondition, WaitResult};

use crate::{Error, Events, Networks, Volumes, config::EngineConfig, error::Result, records::Records};
use attach::Attachers;
use exec::Execs;
use minke_image::Images as ImageStore;
use minke_model::{Container, ContainerId, ContainerState, event::Noun};
use minke_runtime::{Process, Runtime, logs::Logs as LogFiles};
use minke_store::Durability;
use std::{
    collections::{BTreeMap, HashMap},
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, RwLock, atomic::AtomicBool},
    time::Duration,
};
use tokio::sync::watch;

/// The containers of this machine.
#[derive(Clone)]
pub struct Containers {
    pub(crate) inner: Arc<Inner>,
}

/// What container verbs need of the other rooms.
pub(crate) struct Inner {
    pub(crate) config: Arc<EngineConfig>,
    pub(crate) records: Records,
    pub(crate) store: ImageStore,
    pub(crate) runtime: Runtime,
    pub(crate) logs: LogFiles,
    pub(crate) networks: Networks,
    pub(crate) volumes: Volumes,
    pub(crate) events: Events,
    /// The daemon goes down: no restarts any more.
    pub(crate) closing: AtomicBool,
    table: RwLock<Registry>,
}

/// Who is there, and who has which name. A name is taken before its container exists.
#[derive(Default)]
struct Registry {
    cells: HashMap<ContainerId, Arc<Cell>>,
    names: BTreeMap<String, ContainerId>,
}

/// One container: its record, and what lives only as long as the daemon.
pub(crate) struct Cell {
    pub(crate) id: ContainerId,
    record: RwLock<Arc<Container>>,
    /// Taken by verbs that change it.
    pub(crate) verb: tokio::sync::Mutex<()>,
    /// Its process, while it has one.
    process: Mutex<Option<Process>>,
    /// What waiters look at.
    pub(crate) progress: watch::Sender<Progress>,
    /// Clients that attached before its start.
    pub(crate) attachers: Attachers,
    /// Its execs, by id.
    pub(crate) execs: Execs,
    /// Ends a wait for the next restart.
    pub(crate) cancel_restart: tokio::sync::Notify,
    /// A user stopped it: the next exit is not followed by a restart.
    pub(crate) no_restart: AtomicBool,
    /// A user restarts it: its end between is none.
    pub(crate) begins_again: AtomicBool,
    /// Set while probes run; dropping it ends them.
    pub(crate) prober: Mutex<Option<health::Prober>>,
    /// How long it waited before its last restart.
    last_delay: Mutex<Option<Duration>>,
    /// Until when its process may run, in time since boot; `None`: for good.
    deadline: Mutex<Option<Duration>>,
}

/// How far a container is, for those who wait.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Progress {
    pub(crate) state: ContainerState,
    /// Exits since the daemon started.
    pub(crate) exits: u64,
    /// Of the last exit.
    pub(crate) code: i32,
    /// It is gone.
    pub(crate) removed: bool,
}

impl Cell {
    pub(crate) fn new(record: Container) -> Self {
        let progress =
            Progress { state: record.status.state, exits: 0, code: record.status.exit_code, removed: false };
        Self {
            id: record.id.clone(),
            record: RwLock::new(Arc::new(record)),
            verb: tokio::sync::Mutex::new(()),
            process: Mutex::new(None),
            progress: watch::Sender::new(progress),
            attachers: Attachers::default(),
            execs: Execs::default(),
            cancel_restart: tokio::sync::Notify::new(),
            no_restart: AtomicBool::new(false),
            begins_again: AtomicBool::new(false),
            prober: Mutex::new(None),
            last_delay: Mutex::new(None),
            deadline: Mutex::new(None),
        }
    }

    /// Turns true once it is as far as asked, or gone.
    pub(crate) fn once(
        &self,
        reached: impl Fn(&Progress) -> bool + Send + Sync + 'static,
    ) -> watch::Receiver<bool> {
        let mut progress = self.progress.subscribe();
        let (sender, receiver) = watch::channel(reached(&progress.borrow()));
        tokio::spawn(async move {
            tokio::select! {
                // An error is the cell's end.
                _ = progress.wait_for(reached) => {}
                () = sender.closed() => return,
            }
            // The follower may have left.
            let _ = sender.send(true);
        });
        receiver
    }

    /// The record as now.
    pub(crate) fn record(&self) -> Arc<Container> {
        self.record.read().unwrap_or_else(|e| e.into_inner()).clone()
    }

    /// Changes the record in memory; `Containers::save` makes it last.
    pub(crate) fn change(&self, change: impl FnOnce(&mut Container)) -> Arc<Container> {
        let mut slot = self.record.write().unwrap_or_else(|e| e.into_inner());
        change(Arc::make_mut(&mut slot));
        slot.clone()
    }

    pub(crate) fn state(&self) -> ContainerState {
        self.record().status.state
    }

    pub(crate) fn process(&self) -> Option<Process> {
        self.process.lock().unwrap_or_else(|e| e.into_inner()).clone()
    }

    pub(crate) fn set_process(&self, process: Option<Process>) {
        *self.process.lock().unwrap_or_else(|e| e.into_inner()) = process;
    }

    pub(crate) fn last_delay(&self) -> Option<Duration> {
        *lock(&self.last_delay)
    }

    pub(crate) fn set_last_delay(&self, delay: Option<Duration>) {
        *lock(&self.last_delay) = delay;
    }

    /// The process of a container that must be up.
    pub(crate) fn running_process(&self) -> Result<Process> {
        self.process().filter(|_| self.state().is_up()).ok_or_else(|| Error::NotRunning(self.id.to_string()))
    }

    /// Moves to `next`, if the picture in `model::container` allows it, and tells waiters.
    pub(crate) fn step(
        &self,
        next: ContainerState,
        change: impl FnOnce(&mut Container),
    ) -> Result<Arc<Container>> {
        let now = self.state();
        if now != next && !now.may_become(next) {
            return Err(Error::Conflict(format!(
                "container {} is {} and cannot become {}",
                self.id,
                now.as_str(),
                next.as_str()
            )));
        }
        let record = self.change(|c| {
            c.status.state = next;
            change(c);
        });
        self.progress.send_modify(|p| {
            p.state = next;
            p.code = record.status.exit_code;
        });
        Ok(record)
    }
}

impl Containers {
    pub(crate) fn new(
        config: Arc<EngineConfig>,
        records: Records,
        store: ImageStore,
        runtime: Runtime,
        networks: Networks,
        volumes: Volumes,
        events: Events,
    ) -> Self {
        let table = RwLock::new(Registry::default());
        let closing = AtomicBool::new(false);
        let logs = LogFiles::default();
        Self {
            inner: Arc::new(Inner {
                config,
                records,
                store,
                runtime,
                logs,
                networks,
                volumes,
                events,
                closing,
                table,
            }),
        }
    }

    /// The record of the container with that name, id or unique beginning of an id.
    pub fn get(&self, name: &str) -> Result<Arc<Container>> {
        self.find(name).map(|cell| cell.record())
    }

    /// The cell of the container with that name, id or unique beginning of an id.
    pub(crate) fn find(&self, name: &str) -> Result<Arc<Cell>> {
        let missing = || Error::NoSuchContainer(name.to_owned());
        if name.is_empty() {
            return Err(Error::Invalid("No container name or ID supplied".into()));
        }
        let table = self.table();
        if let Some(cell) = ContainerId::parse(name).and_then(|id| table.cells.get(&id)) {
            return Ok(cell.clone());
        }
        let plain = name.strip_prefix('/').unwrap_or(name);
        if let Some(cell) = table.names.get(plain).and_then(|id| table.cells.get(id)) {
            return Ok(cell.clone());
        }
        // A link's name: `parent/alias`.
        if let Some((parent, alias)) = plain.rsplit_once('/') {
            let parent =
                table.names.get(parent).and_then(|id| table.cells.get(id)).ok_or_else(missing)?.record();
            let links =
                parent.spec.networking.links.iter().flatten().filter(|_| links::has_links(&parent.spec));
            let linked = links.map(|link| links::parse(link)).find(|(_, of)| *of == alias);
            let id = linked.and_then(|(target, _)| ContainerId::parse(target));
            return id.and_then(|id| table.cells.get(&id)).cloned().ok_or_else(missing);
        }
        if !name.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(missing());
        }
        let mut fitting = table.cells.values().filter(|c| c.id.as_str().starts_with(name));
        match (fitting.next(), fitting.next()) {
            (Some(cell), None) => Ok(cell.clone()),
            (Some(_), Some(_)) => Err(Error::Ambiguous(name.to_owned())),
            (None, _) => Err(missing()),
        }
    }

    /// All cells, in no order.
    pub(crate) fn cells(&self) -> Vec<Arc<Cell>> {
        self.table().cells.values().cloned().collect()
    }

    /// All records, in no order.
    pub fn all(&self) -> Vec<Arc<Container>> {
        self.cells().iter().map(|c| c.record()).collect()
    }

    /// Takes `name` for `id`; whoever has it already is the error.
    pub(crate) fn reserve_name(&self, name: &str, id: &ContainerId) -> Result<()> {
        let mut table = self.table_mut();
        match table.names.get(name) {
            Some(holder) => Err(Error::NameInUse { name: name.to_owned(), holder: holder.clone() }),
            None => {
                table.names.insert(name.to_owned(), id.clone());
                Ok(())
            }
        }
    }

    /// Gives `name` back, if `id` has it.
    pub(crate) fn release_name(&self, name: &str, id: &ContainerId) {
        let mut table = self.table_mut();
        if table.names.get(name) == Some(id) {
            table.names.remove(name);
        }
    }

    pub(crate) fn insert(&self, cell: Arc<Cell>) {
        self.table_mut().cells.insert(cell.id.clone(), cell);
    }

    pub(crate) fn forget(&self, id: &ContainerId) {
        self.table_mut().cells.remove(id);
    }

    /// Makes the record as it is in memory last.
    pub(crate) async fn save(&self, cell: &Cell, durability: Durability) -> Result<()> {
        let record = cell.record();
        // What goes with its end needs no disk: after a power cut it is gone anyway.
        let durability = if record.spec.auto_remove { Durability::Relaxed } else { durability };
        self.inner.records.put_container(record, durability).await
    }

    /// Tells that something happened to a container, with its name, image and labels.
    pub(crate) fn tell(&self, record: &Container, action: &str, more: &[(&str, String)]) {
        let mut attributes = record.spec.labels.clone();
        attributes.insert("image".into(), record.spec.image.clone());
        attributes.insert("name".into(), record.name.clone());
        attributes.extend(more.iter().map(|(k, v)| ((*k).to_owned(), v.clone())));
        self.inner.events.tell(Noun::Container, action, record.id.as_str(), attributes);
    }

    /// `<data-root>/containers/<id>`: logs and the files of its names.
    pub(crate) fn directory(&self, id: &ContainerId) -> PathBuf {
        self.inner.config.data_root.join("containers").join(id.as_str())
    }

    fn table(&self) -> std::sync::RwLockReadGuard<'_, Registry> {
        self.inner.table.read().unwrap_or_else(|e| e.into_inner())
    }

    fn table_mut(&self) -> std::sync::RwLockWriteGuard<'_, Registry> {
        self.inner.table.write().unwrap_or_else(|e| e.into_inner())
    }
}

/// A lock that a panic elsewhere does not poison.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|e| e.into_inner())
}
