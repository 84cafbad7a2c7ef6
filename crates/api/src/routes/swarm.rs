//! The cluster as a whole: made, joined, left, looked at, changed, unlocked.

use super::{Routes, ok, to_its_end};
use crate::{
    error::{ApiError, Result, status},
    request::Ask,
    response::{self, Answer},
    router::Endpoint as E,
    swarm::{LocalState, NOT_MANAGER, Refusal, tell},
    wire::swarm::{InitBody, Inspect, JoinBody, Known, Spec, UnlockBody, info, parse_update},
};
use http::StatusCode;
use minke_cluster::control::{Control, ControlError, Filters};
use minke_engine::Events;
use minke_model::node::Role;
use serde_json::Value;
use std::sync::{Mutex, PoisonError};
use tokio::task::JoinHandle;

impl From<Refusal> for ApiError {
    fn from(refusal: Refusal) -> Self {
        ApiError::new(status(refusal.kind), refusal.message)
    }
}

impl From<ControlError> for ApiError {
    /// The control plane's sentences are Swarm's; only their status is added.
    fn from(e: ControlError) -> Self {
        ApiError::new(status(e.kind()), e.to_string())
    }
}

/// Who tells the cluster's events among the machine's: begins with the first who asks for the control plane, and again
/// with the next one's, when this machine left a cluster and joined another.
#[derive(Default)]
pub(super) struct Teller(Mutex<Option<JoinHandle<()>>>);

impl Teller {
    fn follow(&self, events: &Events, control: &Control) {
        let mut running = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if running.as_ref().is_none_or(JoinHandle::is_finished) {
            *running = Some(tokio::spawn(tell(events.clone(), control.clone())));
        }
    }
}

impl Routes {
    /// The control plane, or why this machine has none.
    pub(super) fn control(&self) -> Result<Control> {
        let standing = self.door.standing();
        if let Some(control) = standing.control {
            self.teller.follow(&self.engine.events, &control);
            return Ok(control);
        }
        let sentence = match (standing.state, standing.manager) {
            (LocalState::Locked, _) => {
                "Swarm is encrypted and needs to be unlocked before it can be used. Please use \"docker swarm unlock\" to unlock it."
            }
            (LocalState::Inactive, _) => NOT_MANAGER,
            (_, true) => {
                "This node is not a swarm manager. Manager is being prepared or has trouble connecting to the cluster."
            }
            (_, false) => {
                "This node is not a swarm manager. Worker nodes can't be used to view or modify cluster state. Please run this command on a manager node or promote the current node to a manager."
            }
        };
        Err(ApiError::new(StatusCode::SERVICE_UNAVAILABLE, sentence))
    }

    /// `Swarm` of `info`.
    pub(super) async fn swarm_info(&self) -> Value {
        let standing = self.door.standing();
        let Some(control) = &standing.control else { return info(&standing, None, None) };
        match known(control).await {
            Ok(known) => info(&standing, Some(known), None),
            Err(e) => info(&standing, None, Some(e.to_string())),
        }
    }

    /// The word of how this machine stands that every ping carries.
    pub(super) fn swarm_word(&self) -> String {
        let standing = self.door.standing();
        let word = standing.state.as_str();
        match standing.state {
            LocalState::Active if standing.manager => format!("{word}/manager"),
            LocalState::Active => format!("{word}/worker"),
            _ => word.to_owned(),
        }
    }
}

async fn known(control: &Control) -> Result<Known> {
    let cluster = control.cluster().await?;
    let nodes = control.nodes(&Filters::default()).await?;
    let managers = nodes.iter().filter(|n| n.spec.role == Role::Manager).count();
    Ok(Known { cluster: Inspect::new(&cluster, None), nodes: nodes.len(), managers })
}

/// The version that an update saw. Some of dockerd's refusals tell what is wrong with it, some do not.
pub(super) fn seen_version(ask: &Ask, what: &str, tells: bool) -> Result<u64> {
    let text = ask.query.get("version");
    text.parse().map_err(|_| {
        let quoted = minke_model::go::quote(text);
        ApiError::invalid(match tells {
            true => format!(
                "invalid {what} version '{text}': strconv.ParseUint: parsing {quoted}: invalid syntax"
            ),
            false => format!("invalid {what} version"),
        })
    })
}

/// A truth as Go parses it; what was not given is no.
fn truth(ask: &Ask, name: &str) -> Result<bool> {
    match ask.query.get(name) {
        "" => Ok(false),
        text => minke_model::go::parse_bool(text)
            .ok_or_else(|| ApiError::invalid(format!("invalid value for {name}: {text}"))),
    }
}

/// Who is in a cluster comes into no other.
fn check_outside(routes: &Routes) -> Result<()> {
    match routes.door.standing().state {
        LocalState::Inactive => Ok(()),
        _ => Err(Refusal::swarm_exists().into()),
    }
}

pub(super) async fn handle(routes: &Routes, ask: Ask) -> Result<Answer> {
    let door = routes.door.clone();
    match ask.endpoint {
        E::SwarmInit => {
            let body: InitBody = ask.json().await?;
            if !body.force_new_cluster {
                check_outside(routes)?;
            }
            let wish = body.parse()?;
            let node = to_its_end(async move { door.init(wish).await }).await?;
            // From now on its events are told.
            let _ = routes.control();
            ok(&node.as_str())
        }
        E::SwarmJoin => {
            let body: JoinBody = ask.json().await?;
            check_outside(routes)?;
            let wish = body.parse()?;
            to_its_end(async move { door.join(wish).await }).await?;
            Ok(response::empty(StatusCode::OK))
        }
        E::SwarmLeave => {
            let force = ask.query.flag("force");
            to_its_end(async move { door.leave(force).await }).await?;
            Ok(response::empty(StatusCode::OK))
        }
        E::SwarmInspect => {
            let cluster = routes.control()?.cluster().await?;
            ok(&Inspect::new(&cluster, Some(door.tokens().await?)))
        }
        E::SwarmUpdate => {
            let spec: Spec = ask.json().await?;
            let version = seen_version(&ask, "swarm", true)?;
            let flags = ["rotateWorkerToken", "rotateManagerToken", "rotateManagerUnlockKey"];
            let [worker, manager, unlock] = flags.map(|name| truth(&ask, name));
            routes.control()?;
            let mut wish = parse_update(&spec, version)?;
            minke_cluster::control::cluster::check(&wish.spec)?;
            (wish.rotate_worker_token, wish.rotate_manager_token, wish.rotate_unlock_key) =
                (worker?, manager?, unlock?);
            to_its_end(async move { door.update(wish).await }).await?;
            Ok(response::empty(StatusCode::OK))
        }
        E::SwarmUnlock => {
            let body: UnlockBody = ask.json().await?;
            let standing = door.standing();
            if standing.state != LocalState::Locked {
                routes.control()?;
                return Err(ApiError::new(StatusCode::CONFLICT, "swarm is not locked"));
            }
            to_its_end(async move { door.unlock(body.unlock_key).await }).await?;
            Ok(response::empty(StatusCode::OK))
        }
        _ => {
            routes.control()?;
            ok(&UnlockBody { unlock_key: door.unlock_key().await? })
        }
    }
}
