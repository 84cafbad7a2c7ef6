//! Which of several managers leads: a record that its holder touches, and that another takes when it has seen it
//! unchanged for long enough on its own clock.
//!
//! Leading is for quiet, not for truth: any manager may write at any time, and guards refuse what is out of date. So
//! two that lead for a moment do no harm. Never a lease of the store's: after an election a lease of one second was
//! seen to be gone only after five (etcd-io/etcd#9395).

use super::reception::Lead;
use minke_model::ClusterNodeId;
use minke_store::{AnyStore, Clock, Prefix, Revision, Store as _, Table, Time, Txn};
use serde::{Deserialize, Serialize};
use std::{net::SocketAddr, sync::Arc, time::Duration};
use tokio::{sync::watch, time::timeout};

/// How often the record is touched.
const TOUCH: Duration = Duration::from_millis(500);
/// Unchanged for so long it is another's to take; who could not touch it for so long leads no more.
const SILENT: Duration = Duration::from_millis(1000);
/// A sleep longer than asked for by this much was this machine's, not the leader's.
const ASLEEP: Duration = Duration::from_millis(500);
/// The store answers within this time.
const PATIENCE: Duration = Duration::from_millis(900);
/// Between two tries while the store does not answer.
const RETRY: Duration = Duration::from_millis(100);

/// Who leads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leader {
    /// Which manager.
    pub node: ClusterNodeId,
    /// Counts touches.
    pub beat: u64,
}

static LEADER: Table<Leader> = Table::new("leader", 1);
const NAME: &str = "leader";

/// Contends for the leadership for as long as nobody drops this, and says in `lead` how it stands. `find` says where
/// another manager is.
pub async fn contend(
    store: AnyStore,
    clock: Arc<dyn Clock>,
    me: ClusterNodeId,
    lead: watch::Sender<Lead>,
    find: impl Fn(&ClusterNodeId) -> Vec<SocketAddr>,
) {
    // The record as it was last seen to change, and when.
    let mut seen: Option<(Revision, Time)> = None;
    let mut touched: Option<Time> = None;
    let set = |new: Lead| {
        lead.send_if_modified(|old| {
            let differs = *old != new;
            if differs {
                tracing::info!("who leads the cluster: {new:?}");
                *old = new;
            }
            differs
        });
    };
    loop {
        let began = clock.now();
        let stale = |touched: Option<Time>| touched.is_none_or(|at| clock.now().since(at) >= SILENT);
        let Some((snapshot, found)) = look(&store).await else {
            if stale(touched) {
                set(Lead::Nobody);
                touched = None;
            }
            // What was not heard while the store did not answer is nobody's silence.
            seen = None;
            clock.sleep_until(clock.now() + RETRY).await;
            continue;
        };
        let revision = snapshot.revision_of(&LEADER.key(NAME));
        let holder = found.as_ref().map(|leader| leader.node.clone());
        let may_take = match (&holder, seen) {
            (None, _) => true,
            (Some(holder), _) if *holder == me => true,
            (Some(_), Some((of, at))) => of == revision && clock.now().since(at) >= SILENT,
            (Some(_), None) => false,
        };
        if may_take {
            let beat = found.map_or(1, |leader| leader.beat + 1);
            let txn = Txn::on(&snapshot).guard(minke_store::Guard::seen(LEADER.key(NAME), revision)).put(
                &LEADER,
                NAME,
                Leader { node: me.clone(), beat },
            );
            if matches!(timeout(PATIENCE, store.commit(txn)).await, Ok(Ok(_))) {
                touched = Some(began);
                seen = None;
                set(Lead::Here);
                clock.sleep_until(began + TOUCH).await;
                continue;
            }
            if stale(touched) {
                set(Lead::Nobody);
                touched = None;
            }
            seen = None;
            clock.sleep_until(clock.now() + RETRY).await;
            continue;
        }
        touched = None;
        if seen.is_none_or(|(of, _)| of != revision) {
            seen = Some((revision, clock.now()));
        }
        if let Some(holder) = &holder {
            let there = find(holder);
            set(if there.is_empty() { Lead::Nobody } else { Lead::There(there) });
        }
        let due = seen.map_or(clock.now(), |(_, at)| at) + SILENT;
        let mut watch = store.watch(LEADER.prefix(), snapshot.revision());
        tokio::select! {
            // Touched, or the watch broke: it is looked again.
            _ = watch.next() => {}
            () = clock.sleep_until(due) => {
                if clock.now().since(due) > ASLEEP {
                    seen = None;
                }
            }
        }
    }
}

async fn look(store: &AnyStore) -> Option<(minke_store::Snapshot, Option<Leader>)> {
    let snapshot = timeout(PATIENCE, store.read(Prefix::new("leader/"))).await.ok()?.ok()?;
    let found = LEADER.get(&snapshot, NAME).ok()?.map(|leader| (*leader.value).clone());
    Some((snapshot, found))
}

#[cfg(test)]
mod tests {
    use super::*;
    use minke_store::{Memory, WallClock};

    fn id(n: u128) -> ClusterNodeId {
        ClusterNodeId::from_bits(n << 64)
    }

    struct Manager {
        lead: watch::Receiver<Lead>,
        task: tokio::task::JoinHandle<()>,
    }

    fn manager(store: &AnyStore, n: u128) -> Manager {
        let (sender, lead) = watch::channel(Lead::Nobody);
        let find = |id: &ClusterNodeId| vec![SocketAddr::from(([10, 0, 0, 1], id.as_str().len() as u16))];
        let contend = contend(store.clone(), Arc::new(WallClock::new()), id(n), sender, find);
        Manager { lead, task: tokio::spawn(contend) }
    }

    impl Manager {
        async fn becomes(&mut self, what: impl FnMut(&Lead) -> bool) {
            let wait = self.lead.wait_for(what);
            assert!(timeout(Duration::from_secs(60), wait).await.is_ok_and(|r| r.is_ok()));
        }
    }

    #[tokio::test]
    async fn one_leads_and_when_it_falls_silent_another_does() {
        let store = AnyStore::new(Memory::new());
        let mut first = manager(&store, 1);
        first.becomes(|lead| *lead == Lead::Here).await;
        let mut second = manager(&store, 2);
        second.becomes(|lead| matches!(lead, Lead::There(_))).await;
        first.task.abort();
        second.becomes(|lead| *lead == Lead::Here).await;
        // The first comes back and finds that it leads no more.
        let mut again = manager(&store, 1);
        again.becomes(|lead| matches!(lead, Lead::There(_))).await;
        assert_eq!(*second.lead.borrow(), Lead::Here);
    }

    #[tokio::test]
    async fn who_held_it_before_its_restart_goes_on_at_once() {
        let store = AnyStore::new(Memory::new());
        let mut first = manager(&store, 1);
        first.becomes(|lead| *lead == Lead::Here).await;
        first.task.abort();
        let mut again = manager(&store, 1);
        again.becomes(|lead| *lead == Lead::Here).await;
    }
}
