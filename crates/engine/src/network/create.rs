//! `network create`.

use super::{Networks, intent::Intent};
use crate::{Error, error::Result};
use minke_model::{
    Labels, NetworkId, Timestamp,
    network::{Network, NetworkDriver, NetworkSpec},
};
use minke_network::ipam::Leases;
use std::sync::Arc;

impl Networks {
    /// Options that networks of a driver get where they have none of that name.
    pub fn default_options(&self, driver: &str) -> Labels {
        self.inner.config.network_options.get(driver).cloned().unwrap_or_default()
    }

    /// Makes a network.
    pub async fn create(&self, mut spec: NetworkSpec) -> Result<Arc<Network>> {
        let _making = self.inner.making.lock().await;
        self.check(&spec)?;
        if let Some(from) = spec.config_from.clone() {
            self.take_config(&mut spec, &from)?;
        }
        let id = NetworkId::random();
        let addressed =
            matches!(spec.driver, NetworkDriver::Bridge | NetworkDriver::Macvlan | NetworkDriver::Ipvlan)
                && !spec.config_only;
        let bridge =
            if spec.config_only { String::new() } else { self.inner.kernel.device_name(&id, &spec)? };
        if !bridge.is_empty() && self.state().networks.values().any(|n| n.bridge == bridge) {
            return Err(Error::Forbidden(format!(
                "conflicts with network: bridge name {bridge} is in use by another network"
            )));
        }
        // The note stays until the record is there.
        let (network, _intent) = if addressed {
            let (network, intent) = self.make(id.clone(), spec, bridge, Timestamp::now()).await?;
            (network, Some(intent))
        } else {
            (Arc::new(Network { id: id.clone(), created: Timestamp::now(), spec, bridge }), None)
        };
        if let Err(e) = self.inner.records.put_network(network.clone()).await {
            let (kernel, gone) = (self.inner.kernel.clone(), network.clone());
            if let Err(undo) = crate::blocking(move || kernel.remove(&gone)).await? {
                tracing::warn!("cannot take back network {}: {undo}", network.spec.name);
            }
            return Err(e);
        }
        let mut state = self.state();
        state.leases.insert(id.clone(), Leases::new(&network.spec));
        state.networks.insert(id, network.clone());
        drop(state);
        self.tell(&network, "create", None);
        Ok(network)
    }

    /// Decides its addresses and makes its device. Other daemons of this host wait meanwhile.
    pub(super) async fn make(
        &self,
        id: NetworkId,
        mut spec: NetworkSpec,
        bridge: String,
        created: Timestamp,
    ) -> Result<(Arc<Network>, Intent)> {
        let others: Vec<Network> =
            self.state().networks.values().filter(|n| n.id != id).map(|n| n.as_ref().clone()).collect();
        let kernel = self.inner.kernel.clone();
        let exec_root = self.inner.config.exec_root.clone();
        crate::blocking(move || {
            let _lock = kernel.decide(&mut spec, &bridge, &others)?;
            let network = Arc::new(Network { id, created, spec, bridge });
            let intent = Intent::note(&exec_root, &network)?;
            kernel.ensure(&network)?;
            Ok((network, intent))
        })
        .await?
    }

    fn check(&self, spec: &NetworkSpec) -> Result<()> {
        if matches!(spec.name.as_str(), "bridge" | "host" | "none" | "default") {
            return Err(Error::Forbidden(format!(
                "operation is not permitted on predefined {} network ",
                spec.name
            )));
        }
        // Docker takes any other name, spaces and slashes too.
        if spec.name.trim().is_empty() {
            return Err(Error::Invalid("invalid name: name is empty".into()));
        }
        if self.state().networks.values().any(|n| n.spec.name == spec.name) {
            return Err(Error::Conflict(format!("network with name {} already exists", spec.name)));
        }
        if spec.ingress {
            return Err(Error::Unsupported(
                "an ingress network needs a cluster: this machine is not part of one".into(),
            ));
        }
        match spec.driver {
            NetworkDriver::Host => {
                Err(Error::Forbidden("only one instance of \"host\" network is allowed".into()))
            }
            NetworkDriver::None => {
                Err(Error::Forbidden("only one instance of \"null\" network is allowed".into()))
            }
            NetworkDriver::Bridge if several_of_a_family(spec) => {
                Err(Error::Forbidden("bridge driver doesn't support multiple subnets".into()))
            }
            NetworkDriver::Overlay => {
                Err(Error::Unsupported("an overlay network is made by its cluster, for all its nodes".into()))
            }
            NetworkDriver::Bridge | NetworkDriver::Macvlan | NetworkDriver::Ipvlan => Ok(()),
        }
    }

    /// `--config-from`: driver options, pools and the rest come from a configuration network.
    fn take_config(&self, spec: &mut NetworkSpec, from: &str) -> Result<()> {
        let config = self
            .find(from)
            .map_err(|_| Error::NotFound(format!("configuration network {from:?} does not exist")))?;
        if !config.spec.config_only {
            return Err(Error::Invalid(format!("{from:?} network is not a configuration network")));
        }
        if !spec.pools.is_empty() || !spec.options.is_empty() {
            return Err(Error::Invalid("user defined configurations are not supported if the network depends on a configuration network".into()));
        }
        spec.pools.clone_from(&config.spec.pools);
        spec.options.clone_from(&config.spec.options);
        spec.internal = config.spec.internal;
        spec.ipv6 = config.spec.ipv6;
        for (name, value) in &config.spec.labels {
            spec.labels.entry(name.clone()).or_insert_with(|| value.clone());
        }
        Ok(())
    }
}

/// Whether two pools are asked for in one address family.
fn several_of_a_family(spec: &NetworkSpec) -> bool {
    let count = |ipv4: bool| spec.pools.iter().filter(|p| p.subnet.address.is_ipv4() == ipv4).count();
    count(true) > 1 || count(false) > 1
}
