//! The machine's records: the only file that speaks to the store.
//!
//! Synced before the answer: what a user made, renamed, changed or removed. Not synced: states, which follow from the
//! boot id and the shims' files after a reboot.

use crate::{container::ExecSpec, error::Result};
use minke_model::{Container, ContainerId, ExecId, network::Network, volume::Volume};
use minke_store::{Durability, Embedded, Store, Table, Txn};
use serde::{Deserialize, Serialize};
use std::{path::Path, sync::Arc};

const CONTAINERS: Table<Container> = Table::new("container", 1);
const NETWORKS: Table<Network> = Table::new("network", 1);
const VOLUMES: Table<Volume> = Table::new("volume", 1);
/// Which container has a name: uniqueness is one guard.
const NAMES: Table<ContainerId> = Table::new("name", 1);

/// Execs that run: they live on through the daemon's end.
const EXECS: Table<ExecRecord> = Table::new("exec", 1);

/// An exec that runs.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct ExecRecord {
    pub(crate) container: ContainerId,
    pub(crate) spec: ExecSpec,
}

/// The machine's records.
#[derive(Clone)]
pub(crate) struct Records {
    store: Arc<Embedded>,
}

impl Records {
    /// Opens the store at `path`.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        Ok(Self { store: Arc::new(Embedded::open(path)?) })
    }

    pub(crate) fn containers(&self) -> Result<Vec<Arc<Container>>> {
        Ok(CONTAINERS.list(&self.store.snapshot())?.into_iter().map(|(_, c)| c.value).collect())
    }

    pub(crate) fn networks(&self) -> Result<Vec<Arc<Network>>> {
        Ok(NETWORKS.list(&self.store.snapshot())?.into_iter().map(|(_, n)| n.value).collect())
    }

    pub(crate) fn volumes(&self) -> Result<Vec<Arc<Volume>>> {
        Ok(VOLUMES.list(&self.store.snapshot())?.into_iter().map(|(_, v)| v.value).collect())
    }

    /// Writes a new container, whose name nobody may have.
    pub(crate) async fn create_container(
        &self,
        container: Arc<Container>,
        durability: Durability,
    ) -> Result<()> {
        let (id, name) = (container.id.clone(), container.name.clone());
        let txn = Txn::new().guard_absent(NAMES.key(&name)).put(&NAMES, &name, id.clone()).put(
            &CONTAINERS,
            id.as_str(),
            container,
        );
        self.commit(txn, durability).await
    }

    /// Writes a container as it is now.
    pub(crate) async fn put_container(
        &self,
        container: Arc<Container>,
        durability: Durability,
    ) -> Result<()> {
        let id = container.id.clone();
        self.commit(Txn::new().put(&CONTAINERS, id.as_str(), container), durability).await
    }

    /// Writes a container under another name, which nobody may have.
    pub(crate) async fn rename_container(&self, container: Arc<Container>, old: &str) -> Result<()> {
        let (id, name) = (container.id.clone(), container.name.clone());
        let txn = Txn::new()
            .guard_absent(NAMES.key(&name))
            .put(&NAMES, &name, id.clone())
            .delete(NAMES.key(old))
            .put(&CONTAINERS, id.as_str(), container);
        self.commit(txn, Durability::Synced).await
    }

    pub(crate) async fn delete_container(&self, container: &Container, durability: Durability) -> Result<()> {
        let txn = Txn::new().delete(CONTAINERS.key(container.id.as_str())).delete(NAMES.key(&container.name));
        self.commit(txn, durability).await
    }

    pub(crate) async fn put_network(&self, network: Arc<Network>) -> Result<()> {
        let id = network.id.clone();
        self.commit(Txn::new().put(&NETWORKS, id.as_str(), network), Durability::Synced).await
    }

    pub(crate) async fn delete_network(&self, id: &str) -> Result<()> {
        self.commit(Txn::new().delete(NETWORKS.key(id)), Durability::Synced).await
    }

    pub(crate) async fn put_volume(&self, volume: Arc<Volume>) -> Result<()> {
        let name = volume.name.clone();
        self.commit(Txn::new().put(&VOLUMES, &name, volume), Durability::Synced).await
    }

    pub(crate) async fn delete_volume(&self, name: &str) -> Result<()> {
        self.commit(Txn::new().delete(VOLUMES.key(name)), Durability::Synced).await
    }

    pub(crate) fn execs(&self) -> Result<Vec<(ExecId, Arc<ExecRecord>)>> {
        let list = EXECS.list(&self.store.snapshot())?;
        Ok(list.into_iter().filter_map(|(id, e)| Some((ExecId::parse(&id)?, e.value))).collect())
    }

    pub(crate) async fn put_exec(&self, id: &ExecId, exec: ExecRecord) -> Result<()> {
        self.commit(Txn::new().put(&EXECS, id.as_str(), exec), Durability::Relaxed).await
    }

    pub(crate) async fn delete_exec(&self, id: &ExecId) -> Result<()> {
        self.commit(Txn::new().delete(EXECS.key(id.as_str())), Durability::Relaxed).await
    }

    async fn commit(&self, txn: Txn, durability: Durability) -> Result<()> {
        self.store.commit(txn.durability(durability)).await?;
        Ok(())
    }
}
