//! What happens in a cluster, told among the events of each of its managers: `docker events` of scope swarm.
//!
//! Attributes are moby's (`daemon/events.go`). A change that no user asked for is told only where Docker's clients look
//! for it: an update's state, a node's state and role.

use minke_cluster::{
    control::{Control, Difference, Record, StoreError, Stored, Table},
    tables::{CONFIGS, NETWORKS, NODES, SECRETS, SERVICES},
};
use minke_engine::events::Events;
use minke_model::{
    Event, Timestamp,
    event::{Noun, Scope},
    node::{Availability, Node, NodeState, Role},
    object::Meta,
    service::{Mode, Service, UpdateState},
};
use serde::de::DeserializeOwned;
use std::{collections::BTreeMap, sync::Arc};

type Attributes = BTreeMap<String, String>;

/// Tells what happens from now on; ends when the control plane does.
pub(crate) async fn tell(events: Events, control: Control) {
    let Ok(mut seen) = control.look().await else { return };
    let mut changes = control.watch(seen.revision());
    loop {
        let lost = match changes.next().await {
            Ok(_) => false,
            // It fell behind: what lies in between is told as one change.
            Err(StoreError::Compacted { .. }) => true,
            Err(_) => return,
        };
        let Ok(now) = control.look().await else { return };
        for difference in now.changes_since(&seen) {
            if let Some(event) = event(&difference, control.now()) {
                events.tell_event(event);
            }
        }
        seen = now;
        if lost {
            changes = control.watch(seen.revision());
        }
    }
}

/// What one change of a record is to those who listen.
fn event(difference: &Difference, now: Timestamp) -> Option<Event> {
    let (table, _) = difference.key.as_str().split_once('/')?;
    match table {
        "service" => service(Change::read(&SERVICES, difference)?, now),
        "node" => node(Change::read(&NODES, difference)?, now),
        "network" => {
            let change = Change::read(&NETWORKS, difference)?;
            let network = change.either();
            let (id, name) = (network.id.as_str().to_owned(), network.spec.name.clone());
            plain(&change, Noun::Network, id, name, |n| &n.meta, now)
        }
        "secret" => {
            let change = Change::read(&SECRETS, difference)?;
            let (id, name) = (change.either().id.as_str().to_owned(), change.either().name.clone());
            plain(&change, Noun::Secret, id, name, |s| &s.meta, now)
        }
        "config" => {
            let change = Change::read(&CONFIGS, difference)?;
            let (id, name) = (change.either().id.as_str().to_owned(), change.either().name.clone());
            plain(&change, Noun::Config, id, name, |c| &c.meta, now)
        }
        _ => None,
    }
}

/// A record before and after.
enum Change<T> {
    Made(Stored<T>),
    Changed(Stored<T>, Stored<T>),
    Gone(Stored<T>),
}

impl<T: DeserializeOwned + Send + Sync + 'static> Change<T> {
    fn read(table: &Table<T>, difference: &Difference) -> Option<Self> {
        let decode = |record: &Option<Arc<Record>>| -> Option<Option<Stored<T>>> {
            record.as_ref().map(|record| table.decode(&difference.key, record)).transpose().ok()
        };
        Some(match (decode(&difference.before)?, decode(&difference.after)?) {
            (None, Some(new)) => Change::Made(new),
            (Some(old), Some(new)) => Change::Changed(old, new),
            (Some(old), None) => Change::Gone(old),
            (None, None) => return None,
        })
    }

    /// As it is, or was last.
    fn either(&self) -> &T {
        match self {
            Change::Made(new) | Change::Changed(_, new) => new,
            Change::Gone(old) => old,
        }
    }
}

fn made(at: Timestamp, noun: Noun, action: &str, id: String, attributes: Attributes) -> Event {
    Event { at, scope: Scope::Swarm, noun, action: action.to_owned(), id, attributes }
}

/// An event of what has only a name.
fn plain<T: DeserializeOwned + Send + Sync + 'static>(
    change: &Change<T>,
    noun: Noun,
    id: String,
    name: String,
    meta: impl Fn(&T) -> &Meta,
    now: Timestamp,
) -> Option<Event> {
    let attributes = Attributes::from([("name".to_owned(), name)]);
    Some(match change {
        Change::Made(new) => made(meta(new).created, noun, "create", id, attributes),
        Change::Changed(old, new) if meta(old).version != meta(new).version => {
            made(meta(new).updated, noun, "update", id, attributes)
        }
        Change::Changed(..) => return None,
        Change::Gone(_) => made(now, noun, "remove", id, attributes),
    })
}

/// `what.old` and `what.new`, where they differ.
fn note(attributes: &mut Attributes, what: &str, old: impl ToString, new: impl ToString) -> bool {
    let (old, new) = (old.to_string(), new.to_string());
    if old == new {
        return false;
    }
    attributes.insert(format!("{what}.old"), old);
    attributes.insert(format!("{what}.new"), new);
    true
}

fn service(change: Change<Service>, now: Timestamp) -> Option<Event> {
    let service = change.either();
    let (id, mut attributes) = (service.id.as_str().to_owned(), Attributes::new());
    attributes.insert("name".to_owned(), service.spec.name.clone());
    Some(match &change {
        Change::Made(new) => made(new.meta.created, Noun::Service, "create", id, attributes),
        Change::Changed(old, new) if new.removing => {
            return (!old.removing).then(|| made(now, Noun::Service, "remove", id, attributes));
        }
        Change::Changed(old, new) => {
            let mut told = old.meta.version != new.meta.version;
            note(&mut attributes, "image", &old.spec.task.container.image, &new.spec.task.container.image);
            if let (Mode::Replicated { replicas: old }, Mode::Replicated { replicas: new }) =
                (&old.spec.mode, &new.spec.mode)
            {
                note(&mut attributes, "replicas", old, new);
            }
            let state = |s: &Service| s.update.as_ref().map(|u| update_word(u.state));
            match (state(old), state(new)) {
                (Some(before), Some(after)) => told |= note(&mut attributes, "updatestate", before, after),
                (None, Some(after)) => {
                    attributes.insert("updatestate.new".to_owned(), after.to_owned());
                    told = true;
                }
                (_, None) => {}
            }
            let at = if old.meta.version == new.meta.version { now } else { new.meta.updated };
            return told.then(|| made(at, Noun::Service, "update", id, attributes));
        }
        Change::Gone(old) if old.removing => return None,
        Change::Gone(_) => made(now, Noun::Service, "remove", id, attributes),
    })
}

fn update_word(state: UpdateState) -> &'static str {
    match state {
        UpdateState::Updating => "updating",
        UpdateState::Paused => "paused",
        UpdateState::Completed => "completed",
        UpdateState::RollbackStarted => "rollback_started",
        UpdateState::RollbackPaused => "rollback_paused",
        UpdateState::RollbackCompleted => "rollback_completed",
    }
}

fn node(change: Change<Node>, now: Timestamp) -> Option<Event> {
    let node = change.either();
    let (id, mut attributes) = (node.id.as_str().to_owned(), Attributes::new());
    let hostname = node.description.as_ref().map(|d| d.hostname.clone()).unwrap_or_default();
    let name = if node.spec.name.is_empty() { hostname } else { node.spec.name.clone() };
    attributes.insert("name".to_owned(), name);
    Some(match &change {
        Change::Made(new) => made(new.meta.created, Noun::Node, "create", id, attributes),
        Change::Changed(old, new) => {
            let availability = |n: &Node| match n.spec.availability {
                Availability::Active => "active",
                Availability::Pause => "pause",
                Availability::Drain => "drain",
            };
            let role = |n: &Node| if n.spec.role == Role::Manager { "manager" } else { "worker" };
            let state = |n: &Node| match n.state {
                NodeState::Unknown => "unknown",
                NodeState::Down => "down",
                NodeState::Ready => "ready",
                NodeState::Away => "disconnected",
            };
            let mut told = old.meta.version != new.meta.version;
            told |= note(&mut attributes, "availability", availability(old), availability(new));
            told |= note(&mut attributes, "role", role(old), role(new));
            told |= note(&mut attributes, "state", state(old), state(new));
            if let (Some(before), Some(after)) = (&old.manager_status, &new.manager_status) {
                let reach = |reachable: bool| if reachable { "reachable" } else { "unreachable" };
                told |= note(&mut attributes, "leader", before.leader, after.leader);
                told |=
                    note(&mut attributes, "reachability", reach(before.reachable), reach(after.reachable));
            }
            let at = if old.meta.version == new.meta.version { now } else { new.meta.updated };
            return told.then(|| made(at, Noun::Node, "update", id, attributes));
        }
        Change::Gone(_) => made(now, Noun::Node, "remove", id, attributes),
    })
}
