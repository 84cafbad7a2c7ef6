//! `network connect` and `network disconnect`, also while the container runs.

use super::{
    Containers,
    endpoints::{asked_interface, check, free_interface},
};
use crate::{Error, error::Result, network::check_addresses};
use minke_model::{
    Container, ContainerState,
    container::NetworkMode,
    network::{Endpoint, EndpointSpec, NetworkDriver},
};
use minke_store::Durability;

impl Containers {
    /// Puts a container into a network.
    pub async fn connect(&self, network: &str, container: &str, wish: EndpointSpec) -> Result<()> {
        let cell = self.find(container)?;
        let network = self.inner.networks.find(network)?;
        let name = network.spec.name.clone();
        let _verb = cell.verb.lock().await;
        let record = cell.record();
        check(&name, &wish)?;
        if matches!(record.status.state, ContainerState::Removing | ContainerState::Dead) {
            return Err(Error::Conflict(format!(
                "container {} is marked for removal and cannot be connected to or disconnected from a network",
                cell.id
            )));
        }
        match record.spec.networking.mode {
            NetworkMode::Host => return Err(Error::Conflict("container sharing network namespace with another container or host cannot be connected to any other network".into())),
            NetworkMode::Container(_) => {
                return Err(Error::Invalid("container sharing network namespace with another container or host cannot be connected to any other network".into()));
            }
            _ => {}
        }
        if network.spec.driver == NetworkDriver::Host {
            return Err(Error::Forbidden(
                "container cannot be disconnected from host network or connected to host network".into(),
            ));
        }
        if record.status.state.is_up() && record.status.endpoints.contains_key(&name) {
            return Err(Error::Forbidden(format!(
                "endpoint with name {} already exists in network {name}",
                record.name
            )));
        }
        check_addresses(&network, &wish)?;
        if record.status.endpoints.contains_key(&name) {
            // As Docker does: a container that does not run keeps what it asked for first.
            return Ok(());
        }
        let record = cell.change(|c| {
            c.spec.networking.endpoints.insert(name.clone(), wish.clone());
        });
        let names = Containers::dns_names(&record, &name);
        let record = cell.change(|c| {
            let endpoint = Endpoint { dns_names: names.clone(), ..Endpoint::default() };
            c.status.endpoints.insert(name.clone(), endpoint);
        });
        if let Some(process) = cell.process().filter(|_| record.status.state.is_up()) {
            let connected = async {
                let interface = interface(&record, &wish)?;
                let mut endpoint = self.inner.networks.reserve(&record, &name, &wish, names)?;
                endpoint.interface = interface;
                let record = cell.record();
                let resolver = self.resolver(&record);
                self.inner.networks.attach_one(&record, process.netns()?, &name, endpoint, resolver).await
            }
            .await;
            match connected {
                Ok(endpoint) => {
                    cell.change(|c| {
                        c.status.endpoints.insert(name.clone(), endpoint);
                    });
                    if self.gateway_network(&cell.record()).as_deref() == Some(&name) {
                        self.move_gateway(&cell, &process).await?;
                    }
                    self.write_files_again(&cell.record())?;
                }
                Err(e) => {
                    cell.change(|c| {
                        c.spec.networking.endpoints.remove(&name);
                        c.status.endpoints.remove(&name);
                    });
                    return Err(e);
                }
            }
        }
        self.save(&cell, Durability::Synced).await
    }

    /// Takes a container out of a network.
    pub async fn disconnect(&self, network: &str, container: &str, force: bool) -> Result<()> {
        let found = self.find(container);
        let network = self.inner.networks.find(network)?;
        let name = network.spec.name.clone();
        let cell = match found {
            // By force, an endpoint is taken out that no container is known for any more.
            Err(Error::NoSuchContainer(asked)) if force => {
                return Err(Error::NotFound(format!("endpoint {asked} not found")));
            }
            other => other?,
        };
        let _verb = cell.verb.lock().await;
        let record = cell.record();
        if matches!(record.spec.networking.mode, NetworkMode::Host)
            && network.spec.driver == NetworkDriver::Host
        {
            return Err(Error::Conflict(
                "container cannot be disconnected from host network or connected to host network".into(),
            ));
        }
        let Some(endpoint) = record.status.endpoints.get(&name).cloned() else {
            let the = if record.status.state.is_up() { "" } else { "the " };
            return Err(Error::Internal(format!(
                "container {} is not connected to {the}network {name}",
                cell.id
            )));
        };
        if let Some(process) = cell.process().filter(|_| record.status.state.is_up()) {
            let was_gateway = self.gateway_network(&record).as_deref() == Some(&name);
            self.inner.networks.detach_one(&record, process.netns()?, &network, &endpoint).await?;
            cell.change(|c| {
                c.status.endpoints.remove(&name);
                c.spec.networking.endpoints.remove(&name);
            });
            if was_gateway {
                self.move_gateway(&cell, &process).await?;
            }
            self.write_files_again(&cell.record())?;
        } else {
            cell.change(|c| {
                c.status.endpoints.remove(&name);
                c.spec.networking.endpoints.remove(&name);
            });
            self.inner.networks.tell_disconnect(&network, &cell.id);
        }
        self.save(&cell, Durability::Synced).await
    }

    /// The default route, and with it the published ports, go to the network that has the first right to them now.
    async fn move_gateway(&self, cell: &super::Cell, process: &minke_runtime::Process) -> Result<()> {
        let record = cell.record();
        if record.status.endpoints.values().any(|e| !e.published.is_empty()) {
            self.inner.networks.unpublish(&record.id).await;
            cell.change(|c| c.status.endpoints.values_mut().for_each(|e| e.published.clear()));
        }
        let Some(name) = self.gateway_network(&record) else { return Ok(()) };
        let Some(endpoint) = record.status.endpoints.get(&name).cloned() else { return Ok(()) };
        let endpoint = self.inner.networks.become_gateway(&record, process.netns()?, &name, endpoint).await?;
        cell.change(|c| {
            c.status.endpoints.insert(name, endpoint);
        });
        Ok(())
    }
}

/// The name of one more interface: what is asked for, or the first `ethN` that no endpoint has.
fn interface(record: &Container, wish: &EndpointSpec) -> Result<String> {
    let taken: Vec<String> = record.status.endpoints.values().map(|e| e.interface.clone()).collect();
    let Some(name) = asked_interface(wish) else { return Ok(free_interface(&taken)) };
    if taken.contains(name) {
        return Err(Error::Internal(format!(
            "failed to add interface to sandbox: error renaming interface to \"{name}\": file exists"
        )));
    }
    Ok(name.clone())
}
