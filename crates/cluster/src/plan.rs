//! What a loop decides, and how it becomes transactions: deeds, each whole or not at all, packed. Pure.

use crate::{
    View,
    tables::{NODES, RETIRED, SERVICES, STATUSES, TASKS, guard_of_service, retired_name, status_name},
};
use minke_model::{ClusterNodeId, NetworkId, ServiceId, TaskId, Timestamp, service::Service, task::Task};
use minke_store::{Guard, Txn};
use std::{collections::BTreeSet, net::IpAddr, time::Duration};

/// Most writes and most guards of a transaction (`minke_store::Txn`): what every store takes.
const MOST: usize = 64;
/// Most causes that a packed transaction tells.
const TOLD: usize = 4;

/// One write of a deed.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// A task is made, or becomes this.
    Task(Task),
    /// A task's record goes, with what its nodes said; its addresses rest until then.
    Forget {
        /// Which.
        task: TaskId,
        /// What was said of it.
        statuses: Vec<ClusterNodeId>,
        /// Addresses that nobody may have before the time.
        resting: Vec<(NetworkId, IpAddr, Timestamp)>,
    },
    /// A service becomes this.
    Service(Box<Service>),
    /// Nothing is written, but this node's record must be as it was seen.
    Holds(ClusterNodeId),
    /// Anything else: a transaction of its own.
    Other(Other),
}

/// A transaction that no other step joins.
#[derive(Clone)]
pub struct Other(pub Txn);

impl std::fmt::Debug for Other {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let writes = self.0.writes().map(|(key, value)| (key.as_str(), value.map(String::from_utf8_lossy)));
        f.debug_map().entries(writes).finish()
    }
}

impl PartialEq for Other {
    fn eq(&self, other: &Self) -> bool {
        self.0.guards() == other.0.guards() && self.0.writes().eq(other.0.writes())
    }
}

/// Steps that make sense only together, and why they are taken.
#[derive(Clone, Debug, PartialEq)]
pub struct Deed {
    /// In one transaction.
    pub steps: Vec<Step>,
    /// For people: said in logs.
    pub because: String,
    /// Its service must not have changed.
    pub of: Option<ServiceId>,
}

/// What a loop decided.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Planned {
    /// In order.
    pub deeds: Vec<Deed>,
    /// When to look again though nothing has changed.
    pub look_again: Option<Timestamp>,
}

impl Planned {
    /// Looks again at `time` or earlier.
    pub fn look_again_at(&mut self, time: Timestamp) {
        self.look_again = Some(self.look_again.map_or(time, |known| known.min(time)));
    }

    /// Adds one deed.
    pub fn push(&mut self, deed: Deed) {
        self.deeds.push(deed);
    }

    /// This, then `other`.
    pub fn append(&mut self, other: Planned) {
        self.deeds.extend(other.deeds);
        if let Some(time) = other.look_again {
            self.look_again_at(time);
        }
    }
}

/// `time`, so much later.
pub fn after(time: Timestamp, duration: Duration) -> Timestamp {
    let nanos = i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX);
    Timestamp::from_nanos(time.as_nanos().saturating_add(nanos))
}

/// `time`, so much earlier.
pub fn before(time: Timestamp, duration: Duration) -> Timestamp {
    let nanos = i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX);
    Timestamp::from_nanos(time.as_nanos().saturating_sub(nanos))
}

/// The transactions that carry out `deeds`, decided on `view`: as few as fit, none with half a deed.
pub fn pack(view: &View, deeds: Vec<Deed>) -> Vec<(Txn, String)> {
    let mut packed = Vec::new();
    let mut open: Option<Open> = None;
    for deed in deeds {
        if let [Step::Other(Other(txn))] = &deed.steps[..] {
            packed.extend(open.take().map(Open::close));
            packed.push((txn.clone(), deed.because));
            continue;
        }
        let written = deed.steps.iter().map(record_of).collect::<BTreeSet<_>>();
        let joined = open.as_mut().filter(|open| open.written.is_disjoint(&written)).map(|open| {
            // Tried on a copy only where it may not fit.
            let near = open.txn.guards().len().max(open.txn.writes().count()) + most(&deed) > MOST;
            let basis = if near { open.txn.clone() } else { std::mem::take(&mut open.txn) };
            let txn = write(view, basis, &deed);
            fits(&txn).then_some(txn)
        });
        match (joined, &mut open) {
            (Some(Some(txn)), Some(open)) => {
                open.txn = txn;
                open.written.extend(written);
                open.because.push(deed.because);
            }
            _ => {
                packed.extend(open.take().map(Open::close));
                let txn = write(view, Txn::on(view.snapshot()), &deed);
                open = Some(Open { txn, written, because: vec![deed.because] });
            }
        }
    }
    packed.extend(open.map(Open::close));
    packed
}

struct Open {
    txn: Txn,
    written: BTreeSet<String>,
    because: Vec<String>,
}

impl Open {
    fn close(mut self) -> (Txn, String) {
        let more = self.because.len().saturating_sub(TOLD);
        self.because.truncate(TOLD);
        let mut because = self.because.join("; ");
        if more > 0 {
            because += &format!("; and {more} more");
        }
        (self.txn, because)
    }
}

/// Writes, or guards, that a deed adds at most.
fn most(deed: &Deed) -> usize {
    let of_step = |step: &Step| match step {
        // Itself, its service's, and the node's before and after.
        Step::Task(task) => 4 + 2 * task.attachments.len(),
        // It only guards.
        Step::Holds(_) => 1,
        Step::Forget { .. } | Step::Service(_) | Step::Other(_) => MOST,
    };
    1 + deed.steps.iter().map(of_step).sum::<usize>()
}

fn fits(txn: &Txn) -> bool {
    txn.guards().len() <= MOST && txn.writes().count() <= MOST
}

/// A record is written by one deed of a transaction only.
fn record_of(step: &Step) -> String {
    match step {
        Step::Task(task) => format!("task/{}", task.id),
        Step::Forget { task, .. } => format!("task/{task}"),
        Step::Service(service) => format!("service/{}", service.id),
        Step::Holds(node) => format!("node/{node}"),
        Step::Other(_) => String::new(),
    }
}

fn write(view: &View, mut txn: Txn, deed: &Deed) -> Txn {
    if let Some(service) = &deed.of {
        txn = txn.guard(Guard::seen(SERVICES.key(service.as_str()), view.service_revision(service)));
    }
    for step in &deed.steps {
        txn = match step {
            Step::Task(task) => txn.put(&TASKS, task.id.as_str(), task.clone()),
            Step::Forget { task, statuses, resting } => {
                txn = txn.remove(&TASKS, task.as_str());
                for node in statuses {
                    txn = txn.remove(&STATUSES, &status_name(node, task));
                }
                for (network, address, until) in resting {
                    txn = txn.put(&RETIRED, &retired_name(network, *address), *until);
                }
                txn
            }
            Step::Service(service) => txn.put(&SERVICES, service.id.as_str(), (**service).clone()),
            Step::Holds(node) => {
                let key = NODES.key(node.as_str());
                let seen = view.snapshot().revision_of(&key);
                txn.guard(Guard::seen(key, seen))
            }
            Step::Other(Other(other)) => other.clone(),
        };
    }
    txn
}

/// The guard that refuses once a service's tasks have changed.
pub fn unchanged_tasks(view: &View, service: &ServiceId) -> Guard {
    let key = guard_of_service(service);
    let seen = view.snapshot().revision_of(&key);
    Guard::seen(key, seen)
}
