//! The three networks that are always there: `bridge`, `host` and `none`.

use super::{Inner, Networks, State};
use crate::{Events, config::EngineConfig, error::Result, records::Records};
use minke_model::{
    NetworkId, Timestamp,
    network::{IpamPool, Network, NetworkDriver, NetworkSpec},
};
use minke_network::{BridgeWish, Networks as Kernel, dns, ipam::Leases};
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
        let overlays = tokio::sync::Mutex::default();
        let networks =
            Self { inner: Arc::new(Inner { config, records, events, kernel, dns, state, making, overlays }) };
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

    /// Whether `name` is a default bridge that this daemon shall not have (`--bridge none`): containers of it have
    /// loopback alone, as dockerd's.
    pub(crate) fn is_bridge_to_nowhere(&self, name: &str) -> bool {
        name == "bridge" && self.inner.config.bridge == "none"
    }

    async fn ensure_builtin(&self, name: &str, driver: NetworkDriver) -> Result<()> {
        let config = self.inner.config.clone();
        let existing = self.find(name).ok();
        if self.is_bridge_to_nowhere(name) {
            if let Some(existing) = existing {
                self.state().networks.remove(&existing.id);
                self.inner.records.delete_network(existing.id.as_str()).await?;
            }
            return Ok(());
        }
        let mut spec = self.builtin_spec(name, driver);
        let id = existing.as_ref().map_or_else(NetworkId::random, |e| e.id.clone());
        let created = existing.as_ref().map_or_else(Timestamp::now, |e| e.created);
        let network = match driver {
            NetworkDriver::Bridge => {
                let before =
                    existing.as_deref().filter(|e| e.bridge == config.bridge && e.spec.ipv6 == spec.ipv6);
                spec.pools = self.default_pools(before).await?;
                if config.keep_bridges && !config.bridge_is_users {
                    let (kernel, device, pools) =
                        (self.inner.kernel.clone(), config.bridge.clone(), spec.pools.clone());
                    crate::blocking(move || kernel.forget_addresses(&device, &pools)).await??;
                }
                match before {
                    Some(before) if before.spec.pools == spec.pools => {
                        Arc::new(Network { id, created, spec, bridge: config.bridge.clone() })
                    }
                    _ => self.make(id, spec, config.bridge.clone(), created).await?.0,
                }
            }
            _ => Arc::new(Network { id, created, spec, bridge: String::new() }),
        };
        if existing.as_ref() != Some(&network) {
            self.inner.records.put_network(network.clone()).await?;
        }
        self.state().networks.insert(network.id.clone(), network);
        Ok(())
    }

    /// What is known of the default bridge's ranges: what the configuration asks for or the device has, else what it was.
    async fn default_pools(&self, before: Option<&Network>) -> Result<Vec<IpamPool>> {
        let (config, kernel) = (self.inner.config.clone(), self.inner.kernel.clone());
        let ipv6 = config.ipv6;
        let told = crate::blocking(move || {
            let wishes = [
                BridgeWish { address: config.bip, range: config.fixed_cidr, gateway: config.default_gateway },
                BridgeWish {
                    address: config.bip6,
                    range: config.fixed_cidr_v6,
                    gateway: config.default_gateway_v6,
                },
            ];
            kernel.default_bridge(&config.bridge, !config.bridge_is_users, wishes)
        })
        .await??;
        let mut pools = Vec::new();
        for is_ipv6 in [false, true].into_iter().filter(|is_ipv6| !is_ipv6 || ipv6) {
            let of_family = |pool: &&IpamPool| pool.subnet.address.is_ipv6() == is_ipv6;
            let before = before.and_then(|network| network.spec.pools.iter().find(of_family));
            pools.extend(match (told.iter().find(of_family), before) {
                (Some(told), Some(before)) if same_pool(told, before) => Some(before.clone()),
                (Some(told), _) => Some(told.clone()),
                (None, before) => before.filter(|pool| !pool.user_given).cloned(),
            });
        }
        Ok(pools)
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

/// Whether a recorded range is the one told of, whose gateway may be open.
fn same_pool(told: &IpamPool, recorded: &IpamPool) -> bool {
    (told.subnet, told.range, told.user_given) == (recorded.subnet, recorded.range, recorded.user_given)
        && told.auxiliary == recorded.auxiliary
        && told.gateway.is_none_or(|gateway| recorded.gateway == Some(gateway) && !recorded.gateway_chosen)
}
