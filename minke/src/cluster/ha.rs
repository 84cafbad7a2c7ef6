//! From one manager to several: the store moves from the leader's disk into etcd, and members follow managers.
//!
//! A manager that joins while the store lies on one disk is a stand-by. With the second stand-by the move begins by
//! itself. Which managers are members is a record; each manager finds there what it has to become.

use super::{
    disk::Store as Place,
    etcd::{self, Plan},
    manager::{self, Manager},
    member::Member,
};
use minke_cluster::{
    membership::{join::Answer, session, token::new_secret as new_token},
    tables::NODES,
    transport::message,
};
use minke_model::{
    ClusterNodeId,
    node::{NodeState, Role},
};
use minke_store::{
    AnyStore, Endpoints, Etcd, EtcdAdmin as Admin, EtcdMember, Guard, Moved, Prefixes, Snapshot, Store as _,
    Switch, Table, Txn,
};
use serde::{Deserialize, Serialize};
use std::{
    sync::{Arc, Weak},
    time::Duration,
};
use tokio::time::{sleep, timeout};

/// Names of streams that the leader opens on a stand-by.
pub(super) const CHECK: &str = "etcd/check";
/// As that.
pub(super) const START: &str = "etcd/start";
/// Name of the stream on which a stand-by asks the leader to become a member.
pub(super) const JOIN: &str = "etcd/join";

/// Managers that make the move begin by itself.
const ENOUGH: usize = 3;
/// A question between managers is answered within this time.
const PATIENCE: Duration = Duration::from_secs(20);
/// Etcd is up within this time.
const UP: Duration = Duration::from_secs(60);
/// Between two tries of what failed.
const RETRY: Duration = Duration::from_secs(10);
/// Between two looks whether etcd has come up, or a learner has caught up.
const SOON: Duration = Duration::from_millis(200);
/// A learner has caught up within this time.
const CATCH_UP: Duration = Duration::from_secs(600);

/// Which managers' members make up etcd.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Members {
    ids: Vec<ClusterNodeId>,
    token: String,
}

static MEMBERS: Table<Members> = Table::new("etcd", 1);
const NAME: &str = "members";

fn text(e: impl ToString) -> String {
    e.to_string()
}

/// Keeps this manager's place among managers what the records say, for as long as it is one.
pub(super) async fn tend(member: Weak<Member>) {
    let prefixes = Prefixes::from([NODES.prefix(), MEMBERS.prefix()]);
    loop {
        let (store, snapshot, wait) = {
            let Some(member) = member.upgrade() else { return };
            let Some(manager) = member.manager() else { return };
            let store = manager.store.clone();
            match store.read(prefixes.clone()).await {
                Ok(snapshot) => {
                    let done = look(&member, &manager, &snapshot).await;
                    if let Err(e) = &done {
                        tracing::warn!("the cluster's store: {e}");
                    }
                    (store, Some(snapshot), done.is_err())
                }
                Err(_) => (store, None, true),
            }
        };
        match snapshot {
            Some(snapshot) if !wait => drop(store.watch(prefixes.clone(), snapshot.revision()).next().await),
            _ => sleep(if snapshot.is_some() { RETRY } else { SOON * 5 }).await,
        }
    }
}

async fn look(member: &Arc<Member>, manager: &Arc<Manager>, snapshot: &Snapshot) -> Result<(), String> {
    let members = MEMBERS.get(snapshot, NAME).map_err(text)?.map(|found| (*found.value).clone());
    match (member.place(), members) {
        (Place::Here, _) => {
            let nodes = NODES.list(snapshot).map_err(text)?;
            let ready = nodes
                .iter()
                .filter(|(_, node)| node.spec.role == Role::Manager && node.state == NodeState::Ready);
            if ready.count() >= ENOUGH { move_out(member).await } else { Ok(()) }
        }
        (Place::Elsewhere, Some(members)) if members.ids.contains(&member.id()) => {
            adopt(member, manager).await
        }
        (Place::Elsewhere, Some(_)) => ask_in(member).await,
        (Place::Elsewhere, None) => Ok(()),
        (Place::Etcd, Some(members)) if manager.leads() => tidy(member, manager, snapshot, members).await,
        (Place::Etcd, None) if manager.leads() => {
            let plan = member.home().plan().ok_or("no etcd was prepared here")?;
            write(&manager.store, |_| Members { ids: plan.members.clone(), token: plan.token.clone() }).await
        }
        (Place::Etcd, _) => Ok(()),
    }
}

/// Moves the store from this manager's disk into etcd on all managers that are there.
///
/// # Errors
/// What is missing, and on which node: then everything is as before.
pub(super) async fn move_out(member: &Arc<Member>) -> Result<(), String> {
    let manager = member.manager().ok_or("this node is no manager")?;
    if member.place() != Place::Here {
        return Err("the store is no longer on this manager's disk".into());
    }
    let snapshot = manager.store.read(NODES.prefix()).await.map_err(text)?;
    let nodes = NODES.list(&snapshot).map_err(text)?;
    let managers: Vec<_> = nodes
        .iter()
        .filter(|(_, node)| node.spec.role == Role::Manager)
        .map(|(_, node)| (node.id.clone(), node.hostname().to_owned()))
        .collect();
    if managers.len() < ENOUGH {
        return Err(format!(
            "{} managers are not enough for etcd: join or promote until there are {ENOUGH}",
            managers.len()
        ));
    }
    let me = member.id();
    let mut missing = Vec::new();
    for (id, hostname) in &managers {
        let checked =
            if *id == me { member.home().version() } else { ask::<(), String>(member, id, CHECK, &()).await };
        if let Err(e) = checked {
            missing.push(format!("{hostname}: {e}"));
        }
    }
    if !missing.is_empty() {
        return Err(format!("it stays on one manager's disk: {}", missing.join("; ")));
    }
    let ids: Vec<_> = managers.iter().map(|(id, _)| id.clone()).collect();
    let plan = Plan::new(ids.clone(), new_token(), false);
    tracing::info!("the store moves into etcd on {} managers", ids.len());
    member.run_etcd(plan.clone(), false)?;
    let moved = async {
        for (id, hostname) in managers.iter().filter(|(id, _)| *id != me) {
            ask::<Plan, ()>(member, id, START, &plan).await.map_err(|e| format!("{hostname}: {e}"))?;
        }
        let endpoints = member.home().endpoints(&me)?;
        up(&endpoints).await?;
        minke_store::move_to_etcd(&manager.switch, endpoints, member.clock()).await.map_err(text)
    };
    if let Err(e) = moved.await {
        member.end_etcd();
        return Err(e);
    }
    member.change(|state| state.store = Place::Etcd);
    manager.contend(member);
    // What nodes know is of an older life of the store.
    manager.reception.reconnect_all("the store has moved");
    write(&manager.store, |_| Members { ids: ids.clone(), token: plan.token.clone() }).await?;
    tracing::info!("the store is in etcd now");
    Ok(())
}

/// A stand-by whose member of etcd is up uses that.
async fn adopt(member: &Arc<Member>, manager: &Arc<Manager>) -> Result<(), String> {
    let etcd = open(member).await?;
    manager.switch.hold().await.exchange(AnyStore::new(etcd));
    member.change(|state| state.store = Place::Etcd);
    manager.contend(member);
    tracing::info!("this manager is a member of the cluster's etcd now");
    Ok(())
}

/// A stand-by asks to become a member.
async fn ask_in(member: &Arc<Member>) -> Result<(), String> {
    // It was let in, and catches up.
    if member.runs_etcd() {
        return Ok(());
    }
    member.home().version()?;
    let opener = member.opener().ok_or("no manager that leads can be reached")?;
    let plan: Plan = session::ask(&opener, JOIN, &()).await.map_err(text)?;
    member.run_etcd(plan, false)
}

/// The leader's answer to [`ask_in`]: announces a learner, and gives it its vote when it has caught up.
pub(super) async fn let_in(member: &Arc<Member>, who: ClusterNodeId) -> Result<Plan, String> {
    let manager = member.manager().filter(|manager| manager.leads()).ok_or("this manager does not lead")?;
    let snapshot = manager.store.read(MEMBERS.prefix()).await.map_err(text)?;
    let members = MEMBERS.get(&snapshot, NAME).map_err(text)?.ok_or("the store is not in etcd")?;
    let admin = Admin::new(member.home().endpoints(&member.id())?);
    let url = etcd::peer_url(&who);
    // What it was before, on a disk that it has no more.
    for old in admin.members().await.map_err(text)?.iter().filter(|old| old.peer_urls.contains(&url)) {
        admin.remove(old.id).await.map_err(text)?;
    }
    let (learner, all) = admin.add_learner(&url).await.map_err(text)?;
    let ids = all.iter().filter_map(id_of).collect();
    let (store, id) = (manager.store.clone(), learner.id);
    tokio::spawn(async move {
        let caught_up = async {
            while let Err(e) = admin.promote(id).await {
                tracing::debug!("a member of etcd has not caught up: {e}");
                sleep(SOON).await;
            }
        };
        if timeout(CATCH_UP, caught_up).await.is_err() {
            tracing::error!("manager {} did not catch up with etcd", who.short());
            return;
        }
        let added = write(&store, |members| {
            let mut members = members.clone().unwrap_or(Members { ids: Vec::new(), token: String::new() });
            if !members.ids.contains(&who) {
                members.ids.push(who.clone());
            }
            members
        });
        if let Err(e) = added.await {
            tracing::error!("a new member of etcd is not written down: {e}");
        }
    });
    // A name of its own each time: data of an earlier life is not taken for this one's.
    Ok(Plan::new(ids, format!("{}+{}", members.token, new_token()), true))
}

fn id_of(member: &EtcdMember) -> Option<ClusterNodeId> {
    let url = member.peer_urls.first()?;
    ClusterNodeId::parse(url.strip_prefix("unix://")?.strip_suffix(":0")?)
}

/// Takes members away whose managers are none any more.
async fn tidy(
    member: &Arc<Member>,
    manager: &Manager,
    snapshot: &Snapshot,
    members: Members,
) -> Result<(), String> {
    let nodes = NODES.list(snapshot).map_err(text)?;
    let is_manager =
        |id: &ClusterNodeId| nodes.iter().any(|(_, node)| node.id == *id && node.spec.role == Role::Manager);
    if members.ids.iter().all(is_manager) {
        return Ok(());
    }
    let admin = Admin::new(member.home().endpoints(&member.id())?);
    for old in admin.members().await.map_err(text)? {
        if id_of(&old).is_some_and(|id| !is_manager(&id)) {
            admin.remove(old.id).await.map_err(text)?;
        }
    }
    write(&manager.store, |members| {
        let mut members = members.clone().unwrap_or(Members { ids: Vec::new(), token: String::new() });
        members.ids.retain(is_manager);
        members
    })
    .await
}

async fn write(store: &AnyStore, change: impl Fn(&Option<Members>) -> Members) -> Result<(), String> {
    let mut last = String::new();
    for _ in 0..16 {
        let snapshot = store.read(MEMBERS.prefix()).await.map_err(text)?;
        let old = MEMBERS.get(&snapshot, NAME).map_err(text)?.map(|found| (*found.value).clone());
        let new = change(&old);
        if old.as_ref() == Some(&new) {
            return Ok(());
        }
        let key = MEMBERS.key(NAME);
        let seen = snapshot.revision_of(&key);
        match store.commit(Txn::on(&snapshot).guard(Guard::seen(key, seen)).put(&MEMBERS, NAME, new)).await {
            Ok(_) => return Ok(()),
            Err(e) => last = e.to_string(),
        }
    }
    Err(last)
}

/// Opens the store in this manager's member, once that answers.
pub(super) async fn open(member: &Member) -> Result<Etcd, String> {
    let endpoints = member.home().endpoints(&member.id())?;
    up(&endpoints).await?;
    match member.moved() {
        Some(moved) => moved.open(endpoints, member.clock()).await.map_err(text),
        None => Etcd::open(endpoints, member.clock()).await.map_err(text),
    }
}

/// What a manager does that found its store in etcd when it started: opens it, however long that takes.
pub(super) async fn open_at_last(member: Weak<Member>, switch: Switch) {
    loop {
        {
            let Some(member) = member.upgrade() else { return };
            match open(&member).await {
                Ok(etcd) => {
                    switch.hold().await.exchange(AnyStore::new(etcd));
                    if let Some(manager) = member.manager() {
                        manager.contend(&member);
                    }
                    return;
                }
                Err(e) => tracing::warn!("the cluster's store does not open yet: {e}"),
            }
        }
        sleep(SOON).await;
    }
}

async fn up(endpoints: &Endpoints) -> Result<(), String> {
    let admin = Admin::new(endpoints.clone());
    let answers = async {
        while admin.members().await.is_err() {
            sleep(SOON).await;
        }
    };
    timeout(UP, answers).await.map_err(|_| format!("etcd did not come up within {} s", UP.as_secs()))
}

/// One question to another manager, on the connection that it dialled.
async fn ask<Q: Serialize, A: serde::de::DeserializeOwned>(
    member: &Member,
    node: &ClusterNodeId,
    name: &str,
    question: &Q,
) -> Result<A, String> {
    let mut stream = member.open(node, name)?;
    let answer = timeout(PATIENCE, message::ask::<Q, Answer<A>>(&mut stream, question)).await;
    answer.map_err(|_| "it does not answer".to_owned())?.map_err(text)?.into_result().map_err(text)
}

/// What a store says that was moved while this manager was not there.
pub(super) fn moved(directory: &std::path::Path) -> Option<Moved> {
    Moved::found_in(directory).ok().flatten()
}

/// Nothing to be read or written: the store has not opened yet.
pub(super) fn nowhere() -> AnyStore {
    AnyStore::new(manager::Nowhere)
}
