//! A container's places in networks: decided from what was asked, reserved at start.

use super::{Containers, create::Endpoints};
use crate::{Error, error::Result};
use minke_model::{
    Container, ContainerId, ContainerSpec,
    container::NetworkMode,
    network::{Endpoint, EndpointSpec, NetworkDriver},
};
use std::collections::BTreeMap;

impl Containers {
    /// The empty endpoints of a new container, by network name, and what is asked of each under the same names.
    ///
    /// Names that no network has yet are kept: the start says so, as Docker's does.
    pub(super) fn plan_endpoints(&self, spec: &mut ContainerSpec, _id: &ContainerId) -> Result<Endpoints> {
        let networking = &mut spec.networking;
        if networking.disabled {
            networking.endpoints.clear();
            return Ok(Endpoints::new());
        }
        let by_default = matches!(networking.mode, NetworkMode::Default | NetworkMode::Bridge);
        // `--bridge none`: the default is no network, whatever its name.
        if by_default && networking.endpoints.is_empty() && self.inner.config.bridge == "none" {
            return Ok(Endpoints::new());
        }
        let first = match &networking.mode {
            NetworkMode::Default | NetworkMode::Bridge => "bridge".to_owned(),
            NetworkMode::None => "none".to_owned(),
            NetworkMode::Host => "host".to_owned(),
            NetworkMode::Container(_) => {
                networking.endpoints.clear();
                return Ok(Endpoints::new());
            }
            NetworkMode::User(name) => self.network_name(name),
        };
        let mut asked: BTreeMap<String, EndpointSpec> = BTreeMap::new();
        for (name, endpoint) in std::mem::take(&mut networking.endpoints) {
            let name = if name == "default" { first.clone() } else { self.network_name(&name) };
            check(&name, &endpoint)?;
            asked.insert(name, endpoint);
        }
        // Who names networks names all of them.
        if asked.is_empty() {
            asked.insert(first.clone(), EndpointSpec::default());
        }
        if !networking.mac.is_empty()
            && let Some(endpoint) = asked.get_mut(&first)
            && endpoint.mac.is_empty()
        {
            endpoint.mac.clone_from(&networking.mac);
        }
        let endpoints = asked.keys().map(|name| (name.clone(), Endpoint::default())).collect();
        networking.endpoints = asked;
        Ok(endpoints)
    }

    /// The name of the network that `name` (name, id or beginning of an id) means; itself when there is none.
    fn network_name(&self, name: &str) -> String {
        self.inner.networks.find(name).map_or_else(|_| name.to_owned(), |n| n.spec.name.clone())
    }

    /// Names under which the embedded DNS knows a container in a network of its user's.
    pub(super) fn dns_names(record: &Container, network: &str) -> Vec<String> {
        if matches!(network, "bridge" | "host" | "none") {
            return Vec::new();
        }
        let aliases =
            record.spec.networking.endpoints.get(network).map(|e| e.aliases.clone()).unwrap_or_default();
        let mut names = vec![record.name.clone()];
        for name in aliases.into_iter().chain([record.id.short().to_owned(), record.spec.hostname.clone()]) {
            if !name.is_empty() && !names.contains(&name) {
                names.push(name);
            }
        }
        names
    }

    /// The network that gives the default route: the highest priority, then not internal, then the first by name.
    pub(crate) fn gateway_network(&self, record: &Container) -> Option<String> {
        let asked = &record.spec.networking.endpoints;
        let mut candidates: Vec<(i64, bool, &String)> = record
            .status
            .endpoints
            .keys()
            .filter_map(|name| {
                let network = self.inner.networks.find(name).ok()?;
                let priority = asked.get(name).map_or(0, |e| e.gateway_priority);
                // By an overlay network nothing leads out: its containers have a bridge beside it.
                let leads_out = !network.spec.internal && network.spec.driver != NetworkDriver::Overlay;
                leads_out.then_some((priority, network.spec.ipv4, name))
            })
            .collect();
        candidates.sort_by(|a, b| b.0.cmp(&a.0).then(b.1.cmp(&a.1)).then(a.2.cmp(b.2)));
        candidates.first().map(|(_, _, name)| (*name).clone())
    }
}

/// What cannot be asked of a default network.
pub(super) fn check(network: &str, endpoint: &EndpointSpec) -> Result<()> {
    let builtin = matches!(network, "bridge" | "host" | "none");
    if builtin && (endpoint.ipv4.is_some() || endpoint.ipv6.is_some()) {
        return Err(Error::Invalid(format!(
            "invalid config for network {network}: invalid endpoint settings:\nuser specified IP address is supported on user defined networks only"
        )));
    }
    if builtin && !endpoint.aliases.is_empty() {
        return Err(Error::Invalid(format!(
            "invalid config for network {network}: invalid endpoint settings:\nnetwork-scoped alias is supported only for containers in user defined networks"
        )));
    }
    Ok(())
}

/// What an endpoint's interface shall be called, if its options say.
const INTERFACE: &str = "com.docker.network.endpoint.ifname";

/// The name that is asked for.
pub(super) fn asked_interface(wish: &EndpointSpec) -> Option<&String> {
    wish.driver_options.get(INTERFACE).filter(|name| !name.is_empty())
}

/// The first `ethN` that is not taken.
pub(super) fn free_interface(taken: &[String]) -> String {
    (0..=taken.len()).map(|n| format!("eth{n}")).find(|name| !taken.contains(name)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interfaces_fill_gaps_beside_asked_names() {
        let taken = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>();
        assert_eq!(free_interface(&taken(&[])), "eth0");
        assert_eq!(free_interface(&taken(&["eth1"])), "eth0");
        assert_eq!(free_interface(&taken(&["eth0", "eth1", "foobar"])), "eth2");
    }
}
