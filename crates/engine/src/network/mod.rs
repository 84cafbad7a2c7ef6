//! Networks: their records, who is in which, and the addresses that are given. What the kernel does is the `network`
//! room's.
//!
//! Addresses, ports and names are reserved in memory; the durable truth is each container's own record, from which
//! recovery makes the tables again.

mod attach;
mod builtin;
mod create;
mod intent;
mod overlay;

pub(crate) use attach::{at_rest, check_addresses};

use crate::{Error, Events, config::EngineConfig, error::Result, filter::Filters, records::Records};
use minke_model::{
    Container, ContainerId, NetworkId,
    event::Noun,
    network::{Endpoint, Network, NetworkDriver},
};
use minke_network::{Linked, Networks as Kernel, Running, State as Wanted, Target, dns, ipam::Leases};
use std::{
    collections::{BTreeMap, HashMap},
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard},
};

/// The networks of this machine.
#[derive(Clone)]
pub struct Networks {
    inner: Arc<Inner>,
}

struct Inner {
    config: Arc<EngineConfig>,
    records: Records,
    events: Events,
    kernel: Kernel,
    dns: dns::Server,
    state: Mutex<State>,
    /// One network is made or removed at a time: pools are chosen against all others.
    making: tokio::sync::Mutex<()>,
    /// What was told last of overlay networks; one telling is worked in at a time.
    overlays: tokio::sync::Mutex<Option<Arc<minke_model::overlay::OverlayState>>>,
}

#[derive(Default)]
struct State {
    networks: BTreeMap<NetworkId, Arc<Network>>,
    leases: HashMap<NetworkId, Leases>,
    members: HashMap<NetworkId, BTreeMap<ContainerId, Member>>,
    /// What each container had last in each network: it gets that again, while nobody else has it.
    last: HashMap<(ContainerId, NetworkId), Vec<IpAddr>>,
}

/// A running container in a network.
#[derive(Clone, Debug)]
struct Member {
    name: String,
    endpoint: Endpoint,
}

/// A network, and who is in it.
#[derive(Clone, Debug)]
pub struct NetworkInspection {
    /// The record.
    pub network: Arc<Network>,
    /// Names and places of running containers.
    pub containers: BTreeMap<ContainerId, (String, Endpoint)>,
}

/// Filters of the list.
const LIST_FILTERS: &[&str] = &["dangling", "driver", "id", "label", "name", "scope", "type"];
/// Filters of prune.
const PRUNE_FILTERS: &[&str] = &["label", "label!", "until"];

impl Networks {
    fn state(&self) -> MutexGuard<'_, State> {
        self.inner.state.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// The network of that id, name or unique beginning of an id.
    pub fn find(&self, name: &str) -> Result<Arc<Network>> {
        let state = self.state();
        let missing = || Error::NoSuchNetwork(name.to_owned());
        if name.is_empty() {
            return Err(missing());
        }
        if let Some(network) = NetworkId::parse(name).and_then(|id| state.networks.get(&id)) {
            return Ok(network.clone());
        }
        if let Some(network) = state.networks.values().find(|n| n.spec.name == name) {
            return Ok(network.clone());
        }
        let mut fitting = state.networks.values().filter(|n| n.id.as_str().starts_with(name));
        match (fitting.next(), fitting.next()) {
            (Some(network), None) => Ok(network.clone()),
            (Some(_), Some(_)) => Err(Error::Invalid(format!(
                "network {name} is ambiguous ({} matches found on ID prefix)",
                fitting.count() + 2
            ))),
            (None, _) => Err(missing()),
        }
    }

    /// A network and who is in it.
    pub fn inspect(&self, name: &str) -> Result<NetworkInspection> {
        let network = self.find(name)?;
        let state = self.state();
        // One without a name is a step of a build.
        let named = |(_, member): &(&ContainerId, &Member)| !member.name.is_empty();
        let members = state.members.get(&network.id).into_iter().flatten().filter(named);
        let containers = members.map(|(id, m)| (id.clone(), (m.name.clone(), m.endpoint.clone()))).collect();
        drop(state);
        Ok(NetworkInspection { network, containers })
    }

    /// Those that fit, by age.
    pub fn list(&self, filters: &Filters) -> Result<Vec<NetworkInspection>> {
        filters.check(LIST_FILTERS)?;
        let dangling = filters.boolean("dangling")?;
        if let Some(bad) =
            filters.values("type").and_then(|t| t.iter().find(|v| *v != "builtin" && *v != "custom"))
        {
            return Err(Error::Invalid(format!("invalid filter: 'type'='{bad}'")));
        }
        let mut networks: Vec<Arc<Network>> = self.state().networks.values().cloned().collect();
        networks.sort_by(|a, b| a.created.cmp(&b.created).then_with(|| a.spec.name.cmp(&b.spec.name)));
        let mut list = Vec::new();
        for network in networks {
            let spec = &network.spec;
            let builtin = builtin::is_builtin(&network);
            let fits = filters.allows("driver", spec.driver.as_str())
                && filters
                    .allows("scope", if spec.driver == NetworkDriver::Overlay { "swarm" } else { "local" })
                && filters
                    .values("id")
                    .is_none_or(|ids| ids.iter().any(|i| network.id.as_str().starts_with(i.as_str())))
                && filters
                    .values("name")
                    .is_none_or(|names| names.iter().any(|n| spec.name.contains(n.as_str())))
                && filters.allows("type", if builtin { "builtin" } else { "custom" })
                && filters.labels_fit(&spec.labels);
            if !fits {
                continue;
            }
            let inspection = self.inspect(network.id.as_str())?;
            if dangling.is_some_and(|wanted| wanted != (inspection.containers.is_empty() && !builtin)) {
                continue;
            }
            list.push(inspection);
        }
        Ok(list)
    }

    /// Removes a network that no running container is in.
    pub async fn remove(&self, name: &str) -> Result<()> {
        let network = self.find(name)?;
        let _making = self.inner.making.lock().await;
        if network.spec.driver == NetworkDriver::Overlay {
            return Err(Error::Forbidden(format!(
                "network {} is the cluster's: it is removed there, for all nodes",
                network.spec.name
            )));
        }
        if builtin::is_builtin(&network) {
            return Err(Error::Forbidden(format!(
                "{} is a pre-defined network and cannot be removed",
                network.spec.name
            )));
        }
        {
            let mut state = self.state();
            if let Some(members) = state.members.get(&network.id).filter(|m| !m.is_empty()) {
                let endpoint = |m: &Member| m.endpoint.id.as_ref().map_or("", |id| id.short()).to_owned();
                let list: Vec<String> =
                    members.values().map(|m| format!("name:{:?} id:{:?}", m.name, endpoint(m))).collect();
                return Err(Error::Forbidden(format!(
                    "error while removing network: network {} has active endpoints ({})",
                    network.spec.name,
                    list.join(", ")
                )));
            }
            if network.spec.config_only
                && let Some(user) = state
                    .networks
                    .values()
                    .find(|n| n.spec.config_from.as_deref() == Some(&network.spec.name))
            {
                return Err(Error::Forbidden(format!(
                    "configuration network {:?} is in use by {}",
                    network.spec.name, user.spec.name
                )));
            }
            state.networks.remove(&network.id);
            state.leases.remove(&network.id);
            state.members.remove(&network.id);
            state.last.retain(|(_, other), _| *other != network.id);
        }
        let _intent = intent::Intent::note(&self.inner.config.exec_root, &network)?;
        self.inner.records.delete_network(network.id.as_str()).await?;
        if network.spec.driver == NetworkDriver::Bridge && !network.spec.config_only {
            let (kernel, gone) = (self.inner.kernel.clone(), network.clone());
            crate::blocking(move || kernel.remove(&gone)).await??;
        }
        self.tell(&network, "destroy", None);
        Ok(())
    }

    /// Removes all networks of users that no container is in.
    pub async fn prune(&self, filters: &Filters) -> Result<Vec<String>> {
        filters.check(PRUNE_FILTERS)?;
        let until = filters.until()?;
        let mut deleted = Vec::new();
        for NetworkInspection { network, containers } in self.list(&Filters::default())? {
            let old = until.is_none_or(|u| network.created <= u);
            if builtin::is_builtin(&network)
                || !containers.is_empty()
                || !old
                || !filters.labels_fit(&network.spec.labels)
            {
                continue;
            }
            // One that came into use meanwhile stays.
            if self.remove(network.id.as_str()).await.is_ok() {
                deleted.push(network.spec.name.clone());
            }
        }
        let attributes = BTreeMap::from([("reclaimed".to_owned(), "0".to_owned())]);
        self.inner.events.tell(Noun::Network, "prune", "", attributes);
        Ok(deleted)
    }

    /// Makes the kernel as the records and running containers say, and nothing else: for the daemon's start.
    pub(crate) async fn sync(&self, running: &[(Arc<Container>, Vec<Linked>)]) -> Result<()> {
        let networks: Vec<Network> = self
            .state()
            .networks
            .values()
            .filter(|n| !n.spec.config_only)
            .map(|n| n.as_ref().clone())
            .collect();
        let ports = running.iter().flat_map(|(record, linked)| {
            let linked = (!linked.is_empty()).then(|| Running {
                container: record.id.clone(),
                target: Target::default(),
                published: Vec::new(),
                linked: linked.clone(),
            });
            let published = record.status.endpoints.values().filter(|e| !e.published.is_empty());
            let published = published.map(|e| Running {
                container: record.id.clone(),
                target: Target { ipv4: e.ipv4.map(|(a, _)| a), ipv6: e.ipv6.map(|(a, _)| a) },
                published: e.published.clone(),
                linked: Vec::new(),
            });
            published.chain(linked)
        });
        // What was being made or removed when the last daemon died, and no record names.
        let left = intent::left(&self.inner.config.exec_root);
        let left = left.filter(|left| !networks.iter().any(|network| network.bridge == left.bridge));
        let wanted = Wanted { networks, running: ports.collect() };
        let kernel = self.inner.kernel.clone();
        Ok(crate::blocking(move || {
            if let Some(left) = left {
                kernel.remove(&left)?;
            }
            kernel.sync(&wanted)
        })
        .await??)
    }

    /// The daemon's end. With `keep` containers run on, and their networks stay.
    pub(crate) async fn close(&self, keep: bool) -> Result<()> {
        let mut networks: Vec<Network> = self.state().networks.values().map(|n| n.as_ref().clone()).collect();
        if self.inner.config.keep_bridges {
            networks.clear();
        }
        let kernel = self.inner.kernel.clone();
        Ok(crate::blocking(move || kernel.close(keep, &networks)).await??)
    }

    /// What `host-gateway` means in extra hosts.
    pub(crate) fn host_gateway(&self) -> Vec<IpAddr> {
        if !self.inner.config.host_gateway.is_empty() {
            return self.inner.config.host_gateway.clone();
        }
        let bridge = self.find("bridge").ok();
        bridge.iter().flat_map(|n| &n.spec.pools).filter_map(|p| p.gateway).collect()
    }

    /// Whether any network of the container gives IPv6 addresses.
    pub(crate) fn has_ipv6(&self, record: &Container) -> bool {
        let endpoints = &record.status.endpoints;
        attach::allows_ipv6(record)
            && endpoints.keys().any(|name| {
                self.find(name).is_ok_and(|n| n.spec.ipv6 && n.spec.driver != NetworkDriver::None)
            })
    }

    /// Whether the container's resolver is the embedded one: it is in a network of a user's.
    pub(crate) fn embedded_dns(&self, record: &Container) -> bool {
        record.status.endpoints.keys().any(|name| self.find(name).is_ok_and(|n| !builtin::is_builtin(&n)))
    }

    /// A member's name changed.
    pub(crate) fn rename(&self, record: &Container, old: &str) {
        let mut state = self.state();
        let mut networks = Vec::new();
        for (network, members) in &mut state.members {
            if let Some(member) = members.get_mut(&record.id) {
                member.name.clone_from(&record.name);
                for name in &mut member.endpoint.dns_names {
                    if name == old {
                        name.clone_from(&record.name);
                    }
                }
                networks.push((network.clone(), member.endpoint.clone()));
            }
        }
        drop(state);
        for (network, endpoint) in networks {
            if let Ok(network) = self.find(network.as_str()) {
                self.publish_names(&network, record, &endpoint);
            }
        }
    }

    fn tell(&self, network: &Network, action: &str, container: Option<&ContainerId>) {
        let mut attributes = BTreeMap::from([
            ("name".to_owned(), network.spec.name.clone()),
            ("type".to_owned(), network.spec.driver.as_str().to_owned()),
        ]);
        if let Some(container) = container {
            attributes.insert("container".into(), container.to_string());
        }
        self.inner.events.tell(Noun::Network, action, network.id.as_str(), attributes);
    }
}
