//! A container's place in networks: addresses reserved, links made, ports published, names known; and all taken back.

use super::{Member, Networks};
use crate::{Error, error::Result};
use minke_model::{
    Container, ContainerId, ContainerSpec, EndpointId,
    network::{Endpoint, EndpointSpec, Network, NetworkDriver},
    overlay::GATEWAY_BRIDGE,
    port::{Port, PortBinding, Protocol, PublishedPort, split_key},
};
use minke_network::{
    EndpointPlan, Linked, Mac, NetworkError, PortRequest, Target,
    dns::{Member as Named, Prepared, ResolverConfig},
    ipam::{Leased, Leases},
};
use std::{
    collections::BTreeMap,
    net::IpAddr,
    os::fd::{AsFd, OwnedFd},
    sync::Arc,
};

/// An endpoint of a container that does not run: what the user fixed, nothing else.
pub(crate) fn at_rest(endpoint: &Endpoint, wish: Option<&EndpointSpec>) -> Endpoint {
    Endpoint {
        network: endpoint.network.clone(),
        dns_names: endpoint.dns_names.clone(),
        mac: wish.map(|w| w.mac.clone()).unwrap_or_default(),
        ..Endpoint::default()
    }
}

/// Refuses an address of the user's choice where the daemon chose the subnets.
pub(crate) fn check_addresses(network: &Network, wish: &EndpointSpec) -> Result<()> {
    let addressed = wish.ipv4.is_some() || wish.ipv6.is_some();
    let builtin = matches!(network.spec.driver, NetworkDriver::Host | NetworkDriver::None);
    if addressed && !builtin && !network.spec.pools.iter().any(|p| p.user_given) {
        return Err(Error::Invalid(
            "invalid endpoint settings:\nuser specified IP address is supported only when connecting to networks with user configured subnets".into(),
        ));
    }
    Ok(())
}

impl Networks {
    /// Takes addresses in the network called `name`.
    pub(crate) fn reserve(
        &self,
        record: &Container,
        name: &str,
        wish: &EndpointSpec,
        dns_names: Vec<String>,
    ) -> Result<Endpoint> {
        let (container, ipv6) = (&record.id, allows_ipv6(record));
        let network = self.find(name)?;
        if network.spec.config_only {
            return Err(Error::Forbidden(format!(
                "cannot join config-only network {name}: it is a configuration network"
            )));
        }
        let mut endpoint = Endpoint {
            network: Some(network.id.clone()),
            id: Some(EndpointId::random()),
            dns_names,
            mac: wish.mac.clone(),
            ..Endpoint::default()
        };
        if matches!(network.spec.driver, NetworkDriver::Host | NetworkDriver::None) {
            self.join(&network, container, &endpoint);
            return Ok(endpoint);
        }
        if network.spec.driver == NetworkDriver::Overlay && wish.ipv4.is_none() && wish.ipv6.is_none() {
            return Err(Error::Invalid(format!(
                "network {name} spans a cluster: an address in it is given by the cluster"
            )));
        }
        check_addresses(&network, wish)
            .map_err(|e| Error::Invalid(format!("invalid config for network {name}: {e}")))?;
        self.reserve_addresses(&network, container, wish, ipv6, &mut endpoint)?;
        if endpoint.mac.is_empty() {
            let address =
                endpoint.ipv4.map(|(a, _)| IpAddr::V4(a)).or(endpoint.ipv6.map(|(a, _)| IpAddr::V6(a)));
            endpoint.mac = address.map(|a| Mac::of(a).to_string()).unwrap_or_default();
        }
        self.join(&network, container, &endpoint);
        Ok(endpoint)
    }

    fn reserve_addresses(
        &self,
        network: &Network,
        container: &ContainerId,
        wish: &EndpointSpec,
        ipv6: bool,
        endpoint: &mut Endpoint,
    ) -> Result<()> {
        let overlay = network.spec.driver == NetworkDriver::Overlay;
        let mut state = self.state();
        let place = (container.clone(), network.id.clone());
        let last = state.last.remove(&place).unwrap_or_default();
        let leases = state
            .leases
            .get_mut(&network.id)
            .ok_or_else(|| Error::NoSuchNetwork(network.spec.name.clone()))?;
        if network.spec.ipv4 && (!overlay || wish.ipv4.is_some()) {
            let leased = reserve(leases, false, wish.ipv4.map(IpAddr::V4), &last)?;
            if let IpAddr::V4(address) = leased.address {
                endpoint.ipv4 = Some((address, leased.prefix));
            }
            // By an overlay network nothing leads out.
            if let Some(IpAddr::V4(gateway)) = leased.gateway.filter(|_| !overlay) {
                endpoint.gateway4 = Some(gateway);
            }
        }
        if network.spec.ipv6 && ipv6 && (!overlay || wish.ipv6.is_some()) {
            let leased = match reserve(leases, true, wish.ipv6.map(IpAddr::V6), &last) {
                Ok(leased) => leased,
                Err(e) => {
                    if let Some((address, _)) = endpoint.ipv4 {
                        leases.release(address.into());
                    }
                    return Err(e.into());
                }
            };
            if let IpAddr::V6(address) = leased.address {
                endpoint.ipv6 = Some((address, leased.prefix));
            }
            if let Some(IpAddr::V6(gateway)) = leased.gateway.filter(|_| !overlay) {
                endpoint.gateway6 = Some(gateway);
            }
        }
        let got = endpoint.ipv4.map(|(a, _)| IpAddr::V4(a)).into_iter();
        let got = got.chain(endpoint.ipv6.map(|(a, _)| IpAddr::V6(a))).collect();
        state.last.insert(place, got);
        Ok(())
    }

    /// A container is no more: nobody asks for its addresses again.
    pub(crate) fn forget(&self, container: &ContainerId) {
        self.state().last.retain(|(other, _), _| other != container);
    }

    /// Takes again the addresses of a container that ran on while no daemon did.
    pub(crate) fn reclaim(&self, record: &Container) {
        for endpoint in record.status.endpoints.values() {
            let Some(network) = endpoint.network.as_ref().and_then(|id| self.find(id.as_str()).ok()) else {
                continue;
            };
            let mut state = self.state();
            if let Some(leases) = state.leases.get_mut(&network.id) {
                let addresses = endpoint
                    .ipv4
                    .map(|(a, _)| IpAddr::V4(a))
                    .into_iter()
                    .chain(endpoint.ipv6.map(|(a, _)| IpAddr::V6(a)));
                for address in addresses {
                    if let Err(e) = leases.reserve(address.is_ipv6(), Some(address)) {
                        tracing::warn!(
                            "address {address} of container {} is not its own any more: {e}",
                            record.name
                        );
                    }
                }
            }
            drop(state);
            self.join_named(&network, record, endpoint);
        }
    }

    fn join(&self, network: &Network, container: &ContainerId, endpoint: &Endpoint) {
        let member = Member { name: String::new(), endpoint: endpoint.clone() };
        self.state().members.entry(network.id.clone()).or_default().insert(container.clone(), member);
    }

    fn join_named(&self, network: &Network, record: &Container, endpoint: &Endpoint) {
        let member = Member { name: record.name.clone(), endpoint: endpoint.clone() };
        self.state().members.entry(network.id.clone()).or_default().insert(record.id.clone(), member);
    }

    /// Gives all addresses of a container back.
    pub(crate) fn release_all(&self, container: &ContainerId) {
        let mut state = self.state();
        let mut gone = Vec::new();
        for (network, members) in &mut state.members {
            if let Some(member) = members.remove(container) {
                gone.push((network.clone(), member.endpoint));
            }
        }
        for (network, endpoint) in gone {
            if let Some(leases) = state.leases.get_mut(&network) {
                release(leases, &endpoint);
            }
        }
    }

    /// Makes the links of a container that is about to run, publishes its ports and names.
    pub(crate) async fn attach(
        &self,
        record: &Container,
        netns: OwnedFd,
        gateway: Option<&str>,
        resolver: ResolverConfig,
    ) -> Result<BTreeMap<String, Endpoint>> {
        let mut wanted: Vec<(Arc<Network>, Endpoint, bool)> = Vec::new();
        let endpoints = record.status.endpoints.iter();
        for (name, endpoint) in endpoints.filter(|(name, _)| !self.is_bridge_to_nowhere(name)) {
            wanted.push((self.find(name)?, endpoint.clone(), gateway == Some(name)));
        }
        wanted.sort_by(|a, b| a.1.interface.cmp(&b.1.interface));
        let plans: Vec<(Arc<Network>, EndpointPlan)> = wanted
            .iter()
            .filter(|(network, ..)| !matches!(network.spec.driver, NetworkDriver::Host | NetworkDriver::None))
            .map(|(network, endpoint, is_gateway)| {
                Ok((network.clone(), self.plan(network, endpoint, *is_gateway, record)?))
            })
            .collect::<Result<_>>()?;
        let (kernel, id, embedded) =
            (self.inner.kernel.clone(), record.id.clone(), self.embedded_dns(record));
        let (netns, prepared) = crate::blocking(move || -> std::result::Result<_, NetworkError> {
            let interfaces: Vec<(&Network, &EndpointPlan)> =
                plans.iter().map(|(n, p)| (n.as_ref(), p)).collect();
            let prepared =
                kernel.connect_all(netns.as_fd(), &interfaces, || embedded.then(|| Prepared::here(&id)))?;
            Ok((netns, prepared))
        })
        .await??;
        self.call_services(record, &netns).await?;
        let mut endpoints = BTreeMap::new();
        for (network, mut endpoint, is_gateway) in wanted {
            if is_gateway && network.spec.driver == NetworkDriver::Bridge {
                endpoint.published = self.publish(record, &network, &endpoint).await?;
            }
            self.join_named(&network, record, &endpoint);
            self.publish_names(&network, record, &endpoint);
            self.tell_of(&network, "connect", record);
            endpoints.insert(network.spec.name.clone(), endpoint);
        }
        let served = match prepared {
            Some(Ok(prepared)) => self.inner.dns.serve(&record.id, prepared, netns.as_fd(), resolver),
            Some(Err(e)) => Err(e),
            None => Ok(()),
        };
        if let Err(e) = served {
            // Better without names than not at all, as dockerd holds it.
            tracing::warn!("container {} starts without a resolver: {e}", record.name);
        }
        Ok(endpoints)
    }

    /// A container with the host's network has nothing to attach; it is only told.
    pub(crate) fn attach_host(&self, record: &Container) {
        for (name, endpoint) in &record.status.endpoints {
            if let Ok(network) = self.find(name) {
                self.join_named(&network, record, endpoint);
                self.tell(&network, "connect", Some(&record.id));
            }
        }
    }

    /// One more network for a running container.
    pub(crate) async fn attach_one(
        &self,
        record: &Container,
        netns: OwnedFd,
        name: &str,
        endpoint: Endpoint,
        resolver: ResolverConfig,
    ) -> Result<Endpoint> {
        let network = self.find(name)?;
        let plan = self.plan(&network, &endpoint, false, record)?;
        let (kernel, wanted) = (self.inner.kernel.clone(), network.clone());
        let netns =
            crate::blocking(move || kernel.connect(netns.as_fd(), &wanted, &plan).map(|()| netns)).await??;
        self.join_named(&network, record, &endpoint);
        self.publish_names(&network, record, &endpoint);
        if network.spec.driver == NetworkDriver::Overlay {
            let mut with = record.clone();
            with.status.endpoints.insert(name.to_owned(), endpoint.clone());
            self.call_services(&with, &netns).await?;
        }
        self.tell(&network, "connect", Some(&record.id));
        self.resolve(record, netns, resolver).await?;
        Ok(endpoint)
    }

    /// One network less for a running container.
    pub(crate) async fn detach_one(
        &self,
        record: &Container,
        netns: OwnedFd,
        network: &Network,
        endpoint: &Endpoint,
    ) -> Result<()> {
        if !endpoint.published.is_empty() {
            self.unpublish(&record.id).await;
        }
        if network.spec.driver == NetworkDriver::Overlay {
            let mut without = record.clone();
            without.status.endpoints.remove(&network.spec.name);
            self.call_services(&without, &netns).await?;
        }
        let (kernel, interface) = (self.inner.kernel.clone(), endpoint.interface.clone());
        crate::blocking(move || kernel.disconnect(netns.as_fd(), &interface)).await??;
        self.leave(record, network, endpoint);
        Ok(())
    }

    /// Another network of a running container gives the default route now, and publishes its ports.
    pub(crate) async fn become_gateway(
        &self,
        record: &Container,
        netns: OwnedFd,
        name: &str,
        mut endpoint: Endpoint,
    ) -> Result<Endpoint> {
        let network = self.find(name)?;
        let plan = self.plan(&network, &endpoint, true, record)?;
        let kernel = self.inner.kernel.clone();
        crate::blocking(move || {
            kernel.set_default_route(netns.as_fd(), &plan.interface, plan.gateway4, plan.gateway6)
        })
        .await??;
        if network.spec.driver == NetworkDriver::Bridge {
            endpoint.published = self.publish(record, &network, &endpoint).await?;
        }
        self.join_named(&network, record, &endpoint);
        Ok(endpoint)
    }

    /// A container that does not run was taken out of a network.
    pub(crate) fn tell_disconnect(&self, network: &Network, container: &ContainerId) {
        self.tell(network, "disconnect", Some(container));
    }

    /// Ports, names and addresses of a container that ended. Its links go with its namespace.
    pub(crate) async fn detach_all(&self, record: &Container) {
        // Asked for, not what the record knows of: a start may have failed in between.
        let has_links = record.spec.networking.links.as_ref().is_some_and(|links| !links.is_empty());
        if !port_requests(record).is_empty() || has_links {
            self.unpublish(&record.id).await;
        }
        if let Some((address, _)) = record.status.endpoints.get("bridge").and_then(|e| e.ipv4)
            && !self.inner.config.icc
        {
            let kernel = self.inner.kernel.clone();
            if let Ok(Err(e)) = crate::blocking(move || kernel.unlink_address(address)).await {
                tracing::warn!("links to container {} are left: {e}", record.name);
            }
        }
        self.inner.dns.detach(&record.id);
        self.inner.kernel.forget_caller(&record.id);
        for (name, endpoint) in &record.status.endpoints {
            let Ok(network) = self.find(name) else { continue };
            if self.state().members.get(&network.id).is_some_and(|m| m.contains_key(&record.id)) {
                self.leave(record, &network, endpoint);
            }
        }
        self.release_all(&record.id);
    }

    fn leave(&self, record: &Container, network: &Network, endpoint: &Endpoint) {
        self.inner.dns.zones().leave(&record.id, &network.id);
        let mut state = self.state();
        if let Some(members) = state.members.get_mut(&network.id) {
            members.remove(&record.id);
        }
        if let Some(leases) = state.leases.get_mut(&network.id) {
            release(leases, endpoint);
        }
        drop(state);
        self.tell_of(network, "disconnect", record);
    }

    /// Of a container with a name. One without is a step of a build, which nobody is told of.
    fn tell_of(&self, network: &Network, action: &str, record: &Container) {
        if !record.name.is_empty() {
            self.tell(network, action, Some(&record.id));
        }
    }

    /// What the host's own firewall will do to the ports that a container asks for, and the command against it.
    pub(crate) async fn port_warnings(&self, spec: &ContainerSpec) -> Vec<String> {
        let host_ip = self.inner.config.default_host_ip;
        let asked = spec.networking.port_bindings.iter().flat_map(|(port, bindings)| {
            bindings.iter().filter_map(|b| {
                let (host_port, _) = b.host_ports?;
                Some(PublishedPort { container: *port, host_ip: b.host_ip.unwrap_or(host_ip), host_port })
            })
        });
        let asked: Vec<PublishedPort> = asked.collect();
        if asked.is_empty() || !spec.networking.mode.is_private() {
            return Vec::new();
        }
        let kernel = self.inner.kernel.clone();
        crate::blocking(move || kernel.warnings(&asked)).await.unwrap_or_default()
    }

    async fn publish(
        &self,
        record: &Container,
        network: &Network,
        endpoint: &Endpoint,
    ) -> Result<Vec<minke_model::port::PublishedPort>> {
        let failed = |why: &dyn std::fmt::Display| {
            let id = record.status.endpoints.values().find_map(|e| e.id.as_ref());
            Error::Internal(format!(
                "driver failed programming external connectivity on endpoint {} ({}): {why}",
                record.name,
                id.map(ToString::to_string).unwrap_or_default()
            ))
        };
        if asks_for_no_protocol(record) {
            return Err(failed(&"unknown protocol"));
        }
        let requests = port_requests(record);
        if requests.is_empty() {
            return Ok(Vec::new());
        }
        let (kernel, id, network, target) =
            (self.inner.kernel.clone(), record.id.clone(), network.clone(), target(endpoint));
        let published = crate::blocking(move || kernel.publish(&id, &network, target, &requests)).await?;
        published.map_err(|e| match e {
            NetworkError::PortAllocated { .. }
            | NetworkError::PortsAllocated { .. }
            | NetworkError::PortBind { .. } => failed(&e),
            other => other.into(),
        })
    }

    /// Lets a container of the default bridge reach these ports of its neighbours.
    pub(crate) async fn link(&self, container: &ContainerId, linked: Vec<Linked>) -> Result<()> {
        let (network, kernel, id) = (self.find("bridge")?, self.inner.kernel.clone(), container.clone());
        Ok(crate::blocking(move || kernel.link(&id, &network, &linked)).await??)
    }

    pub(crate) async fn unpublish(&self, container: &ContainerId) {
        let (kernel, id) = (self.inner.kernel.clone(), container.clone());
        match crate::blocking(move || kernel.unpublish(&id)).await {
            Ok(Ok(())) => {}
            Ok(Err(e)) => tracing::warn!("ports of container {container} stay published: {e}"),
            Err(e) => tracing::warn!("ports of container {container} stay published: {e}"),
        }
    }

    /// Lets the embedded DNS answer for a member's names, and know which names the member may ask for.
    pub(super) fn publish_names(&self, network: &Network, record: &Container, endpoint: &Endpoint) {
        let builtin = super::builtin::is_builtin(network);
        let wish = record.spec.networking.endpoints.get(&network.spec.name);
        let links = wish.iter().flat_map(|w| &w.links).filter(|_| !builtin).map(|link| {
            let (target, alias) = link.split_once(':').unwrap_or((link, link));
            (alias.to_owned(), target.trim_start_matches('/').to_owned())
        });
        let addresses = endpoint
            .ipv4
            .map(|(a, _)| IpAddr::V4(a))
            .into_iter()
            .chain(endpoint.ipv6.map(|(a, _)| IpAddr::V6(a)));
        let member = Named {
            network: network.id.clone(),
            network_name: network.spec.name.clone(),
            external: !network.spec.internal && (endpoint.gateway4.is_some() || endpoint.gateway6.is_some()),
            names: if builtin || network.spec.name == GATEWAY_BRIDGE {
                Vec::new()
            } else {
                endpoint.dns_names.clone()
            },
            links: links.collect(),
            addresses: addresses.collect(),
        };
        self.inner.dns.zones().join(&record.id, member);
    }

    /// Gives a container its resolver.
    async fn resolve(&self, record: &Container, netns: OwnedFd, resolver: ResolverConfig) -> Result<()> {
        let (dns, id) = (self.inner.dns.clone(), record.id.clone());
        Ok(crate::blocking(move || dns.attach(&id, netns.as_fd(), resolver)).await??)
    }

    /// Gives a container that ran on while no daemon did its names and its resolver again.
    pub(crate) async fn resume(
        &self,
        record: &Container,
        netns: OwnedFd,
        resolver: ResolverConfig,
    ) -> Result<()> {
        for (name, endpoint) in &record.status.endpoints {
            let network = self.find(name)?;
            self.publish_names(&network, record, endpoint);
        }
        if self.embedded_dns(record) {
            self.resolve(record, netns, resolver).await?;
        }
        Ok(())
    }

    /// What the kernel shall make of an endpoint.
    pub(super) fn plan(
        &self,
        network: &Network,
        endpoint: &Endpoint,
        is_gateway: bool,
        record: &Container,
    ) -> Result<EndpointPlan> {
        let wish = record.spec.networking.endpoints.get(&network.spec.name);
        let id = endpoint
            .id
            .as_ref()
            .ok_or_else(|| Error::Internal(format!("no endpoint in network {}", network.spec.name)))?;
        let leads_out = is_gateway && !network.spec.internal;
        Ok(EndpointPlan {
            interface: endpoint.interface.clone(),
            host_name: self.inner.kernel.host_name(id),
            mac: if endpoint.mac.is_empty() { None } else { Some(endpoint.mac.parse()?) },
            ipv4: endpoint.ipv4,
            ipv6: endpoint.ipv6,
            link_local: wish.map(|w| w.link_local.clone()).unwrap_or_default(),
            gateway4: endpoint.gateway4.filter(|_| leads_out),
            gateway6: endpoint.gateway6.filter(|_| leads_out),
            sysctls: wish
                .map(|w| EndpointPlan::sysctls_of(&w.driver_options))
                .transpose()?
                .unwrap_or_default(),
        })
    }
}

/// The address asked for, else the one that it had last, else any.
fn reserve(
    leases: &mut Leases,
    ipv6: bool,
    wanted: Option<IpAddr>,
    last: &[IpAddr],
) -> std::result::Result<Leased, NetworkError> {
    let last = last.iter().find(|address| address.is_ipv6() == ipv6).copied();
    match (wanted, last) {
        (None, Some(last)) => leases.reserve(ipv6, Some(last)).or_else(|_| leases.reserve(ipv6, None)),
        _ => leases.reserve(ipv6, wanted),
    }
}

/// Whether a container's interfaces may have IPv6 addresses: a sysctl of its own can forbid them.
pub(super) fn allows_ipv6(record: &Container) -> bool {
    record.spec.sysctls.get("net.ipv6.conf.all.disable_ipv6").is_none_or(|value| value != "1")
}

fn target(endpoint: &Endpoint) -> Target {
    Target { ipv4: endpoint.ipv4.map(|(a, _)| a), ipv6: endpoint.ipv6.map(|(a, _)| a) }
}

fn release(leases: &mut Leases, endpoint: &Endpoint) {
    if let Some((address, _)) = endpoint.ipv4 {
        leases.release(address.into());
    }
    if let Some((address, _)) = endpoint.ipv6 {
        leases.release(address.into());
    }
}

/// Whether a port shall be published whose protocol nobody knows. create takes it, as dockerd's does.
fn asks_for_no_protocol(record: &Container) -> bool {
    let spec = &record.spec;
    let published = |key: &&String| spec.networking.port_bindings_as.iter().any(|map| map.contains_key(*key));
    let unknown = |key: &String| split_key(key).1.parse::<Protocol>().is_err();
    spec.exposed_as.iter().filter(published).any(unknown)
}

/// The ports that a container asks to publish.
fn port_requests(record: &Container) -> Vec<PortRequest> {
    let networking = &record.spec.networking;
    let mut requests: Vec<PortRequest> = Vec::new();
    // Docker publishes what is exposed only; its CLI always says both.
    let exposed = |port: &Port| record.spec.exposed_ports.contains(port);
    for (port, bindings) in networking.port_bindings.iter().filter(|(port, _)| exposed(port)) {
        let any = [PortBinding::default()];
        let bindings = if bindings.is_empty() { &any[..] } else { bindings };
        requests.extend(bindings.iter().map(|b| PortRequest { container: *port, binding: b.clone() }));
    }
    if networking.publish_all {
        let exposed = record.spec.exposed_ports.iter().filter(|p| !networking.port_bindings.contains_key(p));
        requests.extend(exposed.map(|p| PortRequest { container: *p, binding: PortBinding::default() }));
    }
    requests
}
