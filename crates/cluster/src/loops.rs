//! The loops of the leader, on one view that they share: each a [`Reconcile`] with a pure plan.
//!
//! ```text
//! orchestrator ► allocator ► scheduler ► (nodes report) ► orchestrator …   reaper, rebalancer beside
//! ```
//! A loop looks only at what changed since it last looked, and at what it wanted to look at again by now: its cost is
//! that of the change. That it comes to the same as from scratch is held by `tests/from_scratch.rs`.
//!
//! Two of a kind at once, on two managers, only refuse each other's commits: guards carry correctness.

use crate::{
    View, allocator, orchestrator,
    plan::{Deed, Planned, pack},
    scheduler, tables,
    view::Changed,
};
use minke_model::{ServiceId, Timestamp};
use minke_store::{
    Clock, Driver, Outcome, Plan, Prefixes, Reconcile, Result, Snapshot, Stop, Store, StoreError, Time,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// The longest that loops wait without a look: wall clocks jump.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// After a turn that came to nothing; doubled each time.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
/// The longest such pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Which loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Makes tasks, and tells them to end.
    Orchestrator,
    /// Gives addresses, ports and numbers.
    Allocator,
    /// Gives tasks their nodes.
    Scheduler,
    /// Takes away what nobody needs.
    Reaper,
    /// Moves tasks to where there is more room.
    Rebalancer,
}

impl Kind {
    /// All, in the order in which one's work is the next one's.
    pub const ALL: [Kind; 5] =
        [Kind::Orchestrator, Kind::Allocator, Kind::Scheduler, Kind::Reaper, Kind::Rebalancer];

    /// In logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Orchestrator => "orchestrator",
            Kind::Allocator => "allocator",
            Kind::Scheduler => "scheduler",
            Kind::Reaper => "reaper",
            Kind::Rebalancer => "rebalancer",
        }
    }

    /// What it plans from scratch.
    pub fn plan(self, view: &View, now: Timestamp) -> Planned {
        let services: Vec<ServiceId> = everybody(view).into_iter().collect();
        let each = |plan: fn(&View, &ServiceId, Timestamp) -> Planned| {
            let mut planned = Planned::default();
            for service in &services {
                planned.append(plan(view, service, now));
            }
            planned
        };
        match self {
            Kind::Orchestrator => each(orchestrator::plan),
            Kind::Allocator => allocator::plan(view, &allocator::Scope::all(view), now),
            Kind::Scheduler => scheduler::plan(view, &mut scheduler::Nodes::of(view), now),
            Kind::Reaper => {
                let mut planned = each(orchestrator::reaper::plan);
                planned.append(orchestrator::reaper::plan_rest(view, now));
                planned
            }
            Kind::Rebalancer => each(orchestrator::rebalance::plan),
        }
    }
}

/// Services, and what is left of those that are gone.
fn everybody(view: &View) -> BTreeSet<ServiceId> {
    let there = view.services().map(|service| service.id.clone());
    let tasks = view.tasks().map(|task| task.task.service.clone());
    there.chain(tasks).chain(view.services_with_templates().cloned()).collect()
}

/// The view that loops share, and what each has not looked at yet.
struct Shared {
    view: Arc<View>,
    nodes: scheduler::Nodes,
    changed: BTreeMap<Kind, Changed>,
}

impl Shared {
    /// Shows `snapshot`, at the cost of what changed.
    fn advance(&mut self, snapshot: &Snapshot) -> Result<()> {
        if self.view.snapshot().revision() == snapshot.revision() {
            return Ok(());
        }
        let changed = match Arc::get_mut(&mut self.view) {
            Some(view) => view.advance(snapshot),
            None => {
                // Somebody still plans on the old one: all is looked at anew.
                let mut view = View::new();
                let advanced = view.advance(snapshot);
                self.view = Arc::new(view);
                self.nodes = scheduler::Nodes::default();
                advanced
            }
        };
        let changed = match changed {
            Ok(changed) => changed,
            Err(error) => {
                *self = Shared::default();
                let crate::ClusterError::Store(error) = error;
                return Err(error);
            }
        };
        for node in &changed.nodes {
            self.nodes.refresh(&self.view, node);
        }
        for kind in Kind::ALL {
            self.changed.entry(kind).or_default().add(&changed);
        }
        Ok(())
    }
}

impl Default for Shared {
    fn default() -> Self {
        Shared { view: Arc::new(View::new()), nodes: scheduler::Nodes::default(), changed: BTreeMap::new() }
    }
}

/// One of them.
struct Loop {
    kind: Kind,
    shared: Arc<Mutex<Shared>>,
    clock: Arc<dyn Clock>,
    /// What its last look concerned: looked at again where that came to nothing.
    last: Changed,
    /// When it wants to look at a service again.
    again: BTreeMap<ServiceId, Timestamp>,
    /// When it wants to look at the rest again.
    rest_again: Option<Timestamp>,
    started: bool,
}

/// What a loop decided, and on what.
struct Decided {
    view: Arc<View>,
    deeds: Vec<Deed>,
    look_again: Option<Timestamp>,
    wall: Timestamp,
}

impl Loop {
    fn shared(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What came to nothing is looked at again.
    fn repeat(&mut self) {
        let last = std::mem::take(&mut self.last);
        self.shared().changed.entry(self.kind).or_default().add(&last);
    }

    /// What concerns it at `now`: what changed, and whose time has come.
    fn concerned(&mut self, view: &View, now: Timestamp) -> Changed {
        let mut changed = self.shared().changed.remove(&self.kind).unwrap_or_default();
        let due: Vec<_> = self.again.iter().filter(|(_, at)| **at <= now).map(|(id, _)| id.clone()).collect();
        changed.services.extend(due);
        if self.rest_again.is_some_and(|at| at <= now) {
            changed.stray = true;
        }
        if !self.started {
            self.started = true;
            changed.services.extend(everybody(view));
            changed.network_records = true;
            changed.node_records = true;
            changed.stray = true;
        }
        for service in &changed.services {
            self.again.remove(service);
        }
        changed
    }

    /// Plans for each service, and notes when to look at which again.
    fn each(&mut self, view: &View, services: &BTreeSet<ServiceId>, now: Timestamp) -> Planned {
        let plan = match self.kind {
            Kind::Reaper => orchestrator::reaper::plan,
            Kind::Rebalancer => orchestrator::rebalance::plan,
            Kind::Orchestrator | Kind::Allocator | Kind::Scheduler => orchestrator::plan,
        };
        let mut all = Planned::default();
        for service in services {
            let planned = plan(view, service, now);
            if let Some(at) = planned.look_again {
                self.again.insert(service.clone(), at);
            }
            all.deeds.extend(planned.deeds);
        }
        all
    }

    fn decide(&mut self, view: &View, changed: &Changed, now: Timestamp) -> Planned {
        match self.kind {
            Kind::Orchestrator => self.each(view, &changed.services, now),
            Kind::Rebalancer => {
                let mut services = changed.services.clone();
                // A node that came makes room for everybody.
                if changed.node_records {
                    let spread = view.services().filter(|service| !service.spec.mode.is_global());
                    services.extend(spread.map(|service| service.id.clone()));
                }
                self.each(view, &services, now)
            }
            Kind::Allocator => {
                let scope = allocator::Scope {
                    services: changed.services.clone(),
                    nodes: changed.network_records || changed.node_records,
                    networks: changed.network_records,
                };
                allocator::plan(view, &scope, now)
            }
            Kind::Scheduler => scheduler::plan(view, &mut self.shared().nodes, now),
            Kind::Reaper => {
                let mut planned = self.each(view, &changed.services, now);
                if changed.stray || !changed.networks.is_empty() {
                    let rest = orchestrator::reaper::plan_rest(view, now);
                    self.rest_again = rest.look_again;
                    planned.deeds.extend(rest.deeds);
                }
                planned
            }
        }
    }
}

impl Reconcile for Loop {
    type View = Decided;

    fn name(&self) -> &str {
        self.kind.as_str()
    }

    fn reads(&self) -> Prefixes {
        tables::everything()
    }

    async fn look(&mut self, snapshot: &Snapshot) -> Result<Decided> {
        let now = self.clock.wall();
        let view = {
            let mut shared = self.shared();
            shared.advance(snapshot)?;
            shared.view.clone()
        };
        let changed = self.concerned(&view, now);
        let planned = self.decide(&view, &changed, now);
        self.last = changed;
        let look_again = self.again.values().copied().chain(self.rest_again).chain(planned.look_again).min();
        Ok(Decided { view, deeds: planned.deeds, look_again, wall: now })
    }

    fn plan(decided: &Decided, now: Time) -> Plan {
        let mut plan = Plan { txns: pack(&decided.view, decided.deeds.clone()), look_again: None };
        if let Some(at) = decided.look_again {
            plan.look_again_at(now + at.since(decided.wall).min(LONGEST_WAIT));
        }
        plan
    }
}

/// All loops of a cluster's leader.
pub struct Loops<S> {
    store: S,
    clock: Arc<dyn Clock>,
    drivers: Vec<(Kind, Driver<Loop, S>)>,
}

/// What a turn of all loops came to.
#[derive(Clone, Copy, Debug, Default)]
pub struct Turned {
    /// Transactions that were written.
    pub written: usize,
    /// A plan was not carried out to its end: look again soon.
    pub missed: bool,
    /// When to look again though nothing has changed.
    pub look_again: Option<Time>,
}

impl<S: Store + Clone> Loops<S> {
    /// On `store`, by `clock`.
    pub fn new(store: S, clock: Arc<dyn Clock>) -> Self {
        let shared = Arc::new(Mutex::new(Shared::default()));
        let drivers = Kind::ALL.map(|kind| {
            let reconcile = Loop {
                kind,
                shared: shared.clone(),
                clock: clock.clone(),
                last: Changed::default(),
                again: BTreeMap::new(),
                rest_again: None,
                started: false,
            };
            (kind, Driver::new(reconcile, store.clone(), clock.clone()))
        });
        Loops { store, clock, drivers: drivers.into() }
    }

    /// Each loop looks and plans once, and writes its plan.
    pub async fn turn(&mut self) -> Turned {
        let mut turned = Turned::default();
        for (_, driver) in &mut self.drivers {
            let turn = driver.turn().await;
            turned.written += turn.written;
            if !matches!(turn.outcome, Outcome::Done) {
                turned.missed = true;
                driver.reconcile().repeat();
            }
            turned.look_again = [turned.look_again, turn.look_again].into_iter().flatten().min();
        }
        turned
    }

    /// Runs until `stop`, which interrupts no commit. The holder of the leadership starts it and stops it.
    pub async fn run(mut self, mut stop: Stop) {
        let mut misses = 0u32;
        let mut watch = None;
        while !stop.is_requested() {
            if watch.is_none() {
                let Ok(snapshot) = self.store.read(tables::everything()).await else {
                    pause(&*self.clock, &mut misses).await;
                    continue;
                };
                watch = Some(self.store.watch(tables::everything(), snapshot.revision()));
            }
            // What this turn sees needs no other.
            let (Some(changes), Ok(seen)) = (&mut watch, self.store.read(tables::everything()).await) else {
                pause(&*self.clock, &mut misses).await;
                continue;
            };
            changes.skip(seen.revision());
            drop(seen);
            let turned = self.turn().await;
            if turned.missed {
                pause(&*self.clock, &mut misses).await;
                continue;
            }
            misses = 0;
            if turned.written > 0 {
                // One loop's work is the next one's; others get a word in between.
                tokio::task::yield_now().await;
                continue;
            }
            let timer = async {
                match turned.look_again {
                    Some(time) => self.clock.sleep_until(time).await,
                    None => std::future::pending().await,
                }
            };
            let Some(changes) = &mut watch else { continue };
            let changed = tokio::select! {
                biased;
                () = stop.requested() => return,
                () = timer => continue,
                changed = changes.next() => changed,
            };
            if let Err(error) = changed {
                watch = None;
                if !matches!(error, StoreError::Compacted { .. }) {
                    tracing::debug!(%error, "the loops' watch broke");
                    pause(&*self.clock, &mut misses).await;
                }
            }
        }
    }
}

/// Waits after a turn that came to nothing.
async fn pause(clock: &dyn Clock, misses: &mut u32) {
    let pause = FIRST_PAUSE * (1 << (*misses).min(10));
    *misses = misses.saturating_add(1);
    clock.sleep_until(clock.now() + pause.min(LONGEST_PAUSE)).await;
}
