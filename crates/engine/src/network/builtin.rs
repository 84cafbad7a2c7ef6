//! The three networks that are always there: `bridge`, `host` and `none`.

use super::{Inner, Networks, State};
use crate::{Events, config::EngineConfig, error::Result, records::Records};
use minke_model::{
    NetworkId, Timestamp,
    network::{IpamPool, Network, NetworkDriver, NetworkSpec, Subnet},
};
use minke_network::{Networks as Kernel, dns, ipam::Leases};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

/// Whether it is one of the three.
pub(super) fn is_builtin(network: &Network) -> bool {
    matches!(network.spec.name.as_str(), "bridge" | "host" | "none")
}

impl Networks {
    /// Reads the records and makes what is missing of the three. `sync` then makes the kernel so.
    pub(crate) async fn open(
        config: Arc<EngineConfig>,
        records: Records,
        events: Events,
        kernel: Kernel,
        dns: dns::Server,
    ) -> Result<Self> {
        let networks: BTreeMap<NetworkId, Arc<Network>> =
            records.networks()?.into_iter().map(|n| (n.id.clone(), n)).collect();
        let state = Mutex::new(State { networks, ..State::default() });
        let making = tokio::sync::Mutex::new(());
        let networks =
            Self { inner: Arc::new(Inner { config, records, events, kernel, dns, state, making }) };
        for (name, driver) in
            [("bridge", NetworkDriver::Bridge), ("host", NetworkDriver::Host), ("none", NetworkDriver::None)]
        {
            networks.ensure_builtin(name, driver).await?;
        }
        let mut state = networks.state();
        let leases = state.networks.values().map(|n| (n.id.clone(), Leases::new(&n.spec))).collect();
        state.leases = leases;
        drop(state);
        Ok(networks)
    }

    async fn ensure_builtin(&self, name: &str, driver: NetworkDriver) -> Result<()> {
        let config = self.inner.config.clone();
        let existing = self.find(name).ok();
        if name == "bridge" && config.bridge == "none" {
            if let Some(existing) = existing {
                self.state().networks.remove(&existing.id);
                self.inner.records.delete_network(existing.id.as_str()).await?;
            }
            return Ok(());
        }
        let mut spec = self.builtin_spec(name, driver);
        let id = existing.as_ref().map_or_else(NetworkId::random, |e| e.id.clone());
        let created = existing.as_ref().map_or_else(Timestamp::now, |e| e.created);
        let network = match &existing {
            Some(existing) if driver == NetworkDriver::Bridge && same_bridge(&config, existing) => {
                spec.pools.clone_from(&existing.spec.pools);
                Arc::new(Network { id, created, spec, bridge: config.bridge.clone() })
            }
            _ if driver == NetworkDriver::Bridge => {
                spec.pools.extend(config.bip.map(|bip| asked_pool(bip, config.fixed_cidr)));
                spec.pools.extend(config.bip6.map(|bip| asked_pool(bip, config.fixed_cidr_v6)));
                self.make(id, spec, config.bridge.clone(), created).await?
            }
            _ => Arc::new(Network { id, created, spec, bridge: String::new() }),
        };
        if existing.as_ref() != Some(&network) {
            self.inner.records.put_network(network.clone()).await?;
        }
        self.state().networks.insert(network.id.clone(), network);
        Ok(())
    }

    fn builtin_spec(&self, name: &str, driver: NetworkDriver) -> NetworkSpec {
        let config = &self.inner.config;
        let mut options = BTreeMap::new();
        if driver == NetworkDriver::Bridge {
            let set = [
                ("com.docker.network.bridge.default_bridge", "true".to_owned()),
                ("com.docker.network.bridge.enable_icc", config.icc.to_string()),
                ("com.docker.network.bridge.enable_ip_masquerade", config.ip_masq.to_string()),
                ("com.docker.network.bridge.host_binding_ipv4", config.default_host_ip.to_string()),
                ("com.docker.network.bridge.name", config.bridge.clone()),
                (
                    "com.docker.network.driver.mtu",
                    if config.mtu == 0 { "1500".into() } else { config.mtu.to_string() },
                ),
            ];
            options.extend(set.map(|(k, v)| (k.to_owned(), v)));
        }
        NetworkSpec {
            name: name.to_owned(),
            driver,
            ipv4: true,
            ipv6: driver == NetworkDriver::Bridge && config.ipv6,
            internal: false,
            attachable: false,
            ingress: false,
            config_only: false,
            config_from: None,
            options,
            labels: BTreeMap::new(),
            ipam_driver: "default".into(),
            ipam_options: None,
            pools: Vec::new(),
        }
    }
}

/// Whether the recorded default bridge is what the configuration asks for.
fn same_bridge(config: &EngineConfig, network: &Network) -> bool {
    let fits = |asked: Option<Subnet>, range: Option<Subnet>, ipv6: bool| {
        let pool = network.spec.pools.iter().find(|p| p.subnet.address.is_ipv6() == ipv6);
        match (asked, pool) {
            (Some(bip), Some(pool)) => {
                pool.gateway == Some(bip.address) && pool.subnet.prefix == bip.prefix && pool.range == range
            }
            (Some(_), None) => false,
            (None, Some(pool)) => !pool.user_given,
            (None, None) => ipv6,
        }
    };
    network.bridge == config.bridge
        && network.spec.ipv6 == config.ipv6
        && fits(config.bip, config.fixed_cidr, false)
        && fits(config.bip6, config.fixed_cidr_v6, true)
}

/// The pool that `--bip` and `--fixed-cidr` ask for.
fn asked_pool(bip: Subnet, range: Option<Subnet>) -> IpamPool {
    let subnet = Subnet { address: bip.network(), prefix: bip.prefix };
    IpamPool { subnet, range, gateway: Some(bip.address), auxiliary: BTreeMap::new(), user_given: true }
}
