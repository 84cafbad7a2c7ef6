//! Everything that a cluster knows as one file, and a cluster made of it again, on whatever machine.
//!
//! Secrets are sealed in it as they are in the store; the data keys beside them open only with a key that is not in it.
//! A cluster that is restored has a new authority and new tokens: whoever belonged to the old one joins again.

use super::{Membership, Now, address, disk::State, disk::Store as Place, of_membership, of_text, refuse};
use minke_api::swarm::{Backup, Refusal, Restore, Result};
use minke_cluster::{
    membership::{
        ca::{Authority, NodeKey},
        join, observe,
        seal::{Seal, UnlockKey, Wrapped, WrappingKey},
        token,
    },
    tables::{CLUSTER, CLUSTER_NAME, NODES},
};
use minke_model::{
    ClusterNodeId, Kind, Timestamp,
    node::{NodeSpec, NodeState, Role},
};
use minke_store::{Dump, Embedded, Prefix, Prefixes, Store as _, Txn};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// Of this file's form.
const FORM: u32 = 1;

/// The file's first line. A dump of the store follows.
#[derive(Serialize, Deserialize)]
struct Head {
    #[serde(rename = "minke-cluster-backup")]
    form: u32,
    data_keys: Wrapped,
}

fn internal(e: impl ToString) -> Refusal {
    refuse(Kind::Internal, e.to_string())
}

fn invalid(text: &str) -> Refusal {
    refuse(Kind::Invalid, text)
}

impl Membership {
    pub(super) async fn make_backup(&self) -> Result<Backup> {
        let manager = self.manager()?;
        let snapshot = manager.store.read(Prefixes::all()).await.map_err(internal)?;
        let cluster = join::cluster(&manager.store).await.map_err(of_membership)?;
        let key = match &cluster.unlock_key {
            Some(sealed) => {
                let text = manager.seal.open_text(sealed).map_err(of_membership)?;
                UnlockKey::parse(&text).map_err(of_membership)?
            }
            None => UnlockKey::generate(),
        };
        let head = Head { form: FORM, data_keys: manager.seal.wrap(&WrappingKey::of_unlock_key(&key)) };
        let mut bytes = serde_json::to_vec(&head).map_err(internal)?;
        bytes.push(b'\n');
        Dump::of(&snapshot).write(&mut bytes).map_err(internal)?;
        Ok(Backup { bytes, key: key.to_string() })
    }

    pub(super) async fn make_from(&self, wish: Restore) -> Result<ClusterNodeId> {
        let _verb = self.0.verbs.lock().await;
        let Now::Outside = self.now() else { return Err(Refusal::swarm_exists()) };
        let at = address::resolve(&wish.listen, &wish.advertise, "", &self.0.default_advertise, true)?;
        let (dump, seal) = read(&wish)?;
        let founded = self.found_from(&dump, &seal, &at).await;
        self.begin(founded.map(|(state, key, store)| (state, key, seal, store))).await
    }

    async fn found_from(
        &self,
        dump: &Dump,
        seal: &Seal,
        at: &address::Addresses,
    ) -> Result<(State, NodeKey, Embedded)> {
        let now = self.0.clock.wall();
        self.0.disk.make().map_err(internal)?;
        let store = Embedded::load_cluster(&self.0.disk.store(), dump).map_err(internal)?;
        let everything = Prefixes::from([CLUSTER.prefix(), NODES.prefix(), Prefix::new("guard/")]);
        let snapshot = store.read(everything).await.map_err(internal)?;
        let found = CLUSTER.get(&snapshot, CLUSTER_NAME).map_err(internal)?;
        let mut cluster =
            found.map(|found| (*found.value).clone()).ok_or(invalid("the backup holds no cluster"))?;
        let (authority, key) =
            (Authority::generate(now).map_err(of_membership)?, NodeKey::generate().map_err(of_membership)?);
        cluster.ca.trusted = authority.certificate().to_owned();
        cluster.ca.signer = authority.certificate().to_owned();
        cluster.ca.key = Some(seal.seal(authority.key_to_pem().as_bytes()));
        cluster.ca.rotating = false;
        cluster.ca.epoch += 1;
        cluster.worker_token = seal.seal(token::new_secret().as_bytes());
        cluster.manager_token = seal.seal(token::new_secret().as_bytes());
        let unlock = cluster
            .unlock_key
            .as_ref()
            .map(|sealed| UnlockKey::parse(&seal.open_text(sealed)?))
            .transpose()
            .map_err(of_membership)?;
        let request = key.request().map_err(of_membership)?;
        let (id, admission) =
            join::sign(&cluster, seal, &request, Role::Manager, now).map_err(of_membership)?;
        let node = own_node(&id, at, now);
        let txn = Txn::on(&snapshot)
            .put(&CLUSTER, CLUSTER_NAME, cluster.clone())
            .put(&NODES, id.as_str(), node)
            // Who led, and where etcd was, is of the old cluster.
            .delete("leader/leader")
            .delete("etcd/members");
        store.commit(txn).await.map_err(internal)?;
        let any = minke_store::AnyStore::new(store);
        for (_, old) in NODES.list(&snapshot).map_err(internal)? {
            let lost = |node: &mut minke_model::node::Node| {
                node.spec.role = Role::Worker;
                node.manager_status = None;
                observe::enter(node, NodeState::Down, "it was of the cluster before it was restored", now);
            };
            observe::node(&any, &old.id, now, lost).await.map_err(of_membership)?;
        }
        drop(any);
        let managers = vec![(Some(id.clone()), at.advertise)];
        let mut state =
            State::new(cluster.id, id, Role::Manager, at, managers, admission.chain, admission.trusted);
        state.store = Place::Here;
        state.data_address = Some(at.data.unwrap_or(at.advertise.ip()));
        self.0.disk.save_secrets(&key, Some(seal), unlock.as_ref()).map_err(of_text)?;
        self.0.disk.save_state(&state).map_err(of_text)?;
        let store = Embedded::open_cluster(&self.0.disk.store()).map_err(internal)?;
        Ok((state, key, store))
    }
}

fn own_node(id: &ClusterNodeId, at: &address::Addresses, now: Timestamp) -> minke_model::node::Node {
    let spec = NodeSpec { role: Role::Manager, ..NodeSpec::default() };
    let mut node = join::new_node(id.clone(), spec, now);
    node.address = Some(at.data.unwrap_or(at.advertise.ip()));
    let mut status = join::manager_at(at.advertise, None);
    (status.leader, status.reachable) = (true, true);
    node.manager_status = Some(status);
    node
}

/// The dump and the data keys of a backup.
fn read(wish: &Restore) -> Result<(Dump, Seal)> {
    let end = wish.backup.iter().position(|byte| *byte == b'\n');
    let end = end.ok_or(invalid("this is no backup of a cluster"))?;
    let head: Head =
        serde_json::from_slice(&wish.backup[..end]).map_err(|_| invalid("this is no backup of a cluster"))?;
    if head.form > FORM {
        return Err(invalid("the backup was written by a newer minke, start that one"));
    }
    let key = UnlockKey::parse(&wish.key)
        .map_err(|_| invalid("the backup needs the key that was printed with it: SWMKEY-1-…"))?;
    let seal = Seal::unwrap(&head.data_keys, &WrappingKey::of_unlock_key(&key)).map_err(of_membership)?;
    let dump = Dump::read(&wish.backup[end + 1..], Path::new("the backup")).map_err(internal)?;
    Ok((dump, seal))
}
