//! Overlay networks: this machine's part of a cluster's, as the cluster tells it. What is told is kept, so that after a
//! restart, or a reboot without any manager in reach, containers have their networks again.

use super::Networks;
use crate::{Error, error::Result};
use minke_model::{
    Container, NetworkId, Timestamp,
    network::{Endpoint, IpamPool, Network, NetworkDriver, NetworkSpec},
    overlay::{GATEWAY_BRIDGE, OverlaySpec, OverlayState},
};
use minke_network::{EndpointPlan, dns::Named, ipam::Leases};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
    sync::Arc,
};

/// What was told last, below the data root.
const STATE: &str = "overlays.json";
/// Keeps the namespace of all overlay networks, below the exec root.
const PIN: &str = "overlays";

impl Networks {
    /// Makes this machine's part of all overlay networks as told. The same again changes nothing; of what fails, the first
    /// is returned, and the rest is done. Networks of it are found by name and id from then on.
    pub async fn apply_overlays(&self, told: OverlayState) -> Result<()> {
        let mut last = self.inner.overlays.lock().await;
        let told = Arc::new(told);
        if last.as_deref() != Some(&told) {
            self.learn(&told);
            let (path, kept) = (self.state_file(), told.clone());
            crate::blocking(move || keep(&path, &kept)).await??;
        }
        *last = Some(told.clone());
        if told.networks.iter().any(|n| !n.internal && !n.ingress) && self.find(GATEWAY_BRIDGE).is_err() {
            self.make_gateway_bridge().await?;
        }
        self.make_overlays(told, Vec::new()).await
    }

    /// This machine is in no cluster any more: nothing is left of its networks.
    pub async fn leave_overlays(&self) -> Result<()> {
        let last = self.inner.overlays.lock().await.clone();
        let Some(last) = last else { return Ok(()) };
        let nothing = OverlayState {
            members: Vec::new(),
            networks: Vec::new(),
            peers: Vec::new(),
            services: Vec::new(),
            mesh: Vec::new(),
            ..last.as_ref().clone()
        };
        self.apply_overlays(nothing).await
    }

    /// Whether networks can be encrypted on this machine.
    pub fn can_encrypt(&self) -> bool {
        self.inner.kernel.can_encrypt()
    }

    /// At the daemon's start, before anything else: what was told last, so that networks and names are known.
    pub(crate) async fn recall_overlays(&self) {
        let path = self.state_file();
        let read = crate::blocking(move || std::fs::read(path)).await;
        let Ok(Ok(text)) = read else { return };
        let told: OverlayState = match serde_json::from_slice(&text) {
            Ok(told) => told,
            Err(e) => return tracing::error!("what was known of overlay networks cannot be read: {e}"),
        };
        let told = Arc::new(told);
        self.learn(&told);
        *self.inner.overlays.lock().await = Some(told);
    }

    /// The same, when all else of the kernel's is as it shall be. The records of what runs may tell where the namespace is
    /// that containers' interfaces lead to.
    pub(crate) async fn restore_overlays(&self, running: &[Arc<Container>]) {
        let Some(told) = self.inner.overlays.lock().await.clone() else { return };
        let pin = self.pin();
        let pids = running.iter().map(|record| record.status.pid).filter(|pid| *pid > 0);
        let elsewhere = pids.filter_map(|pid| seen_by_parent(pid, &pin)).collect();
        if let Err(e) = self.make_overlays(told, elsewhere).await {
            tracing::error!("overlay networks are not whole: {e}");
        }
    }

    async fn make_overlays(&self, told: Arc<OverlayState>, elsewhere: Vec<PathBuf>) -> Result<()> {
        let (kernel, pin) = (self.inner.kernel.clone(), self.pin());
        Ok(crate::blocking(move || kernel.apply_overlays(&pin, &elsewhere, &told)).await??)
    }

    /// Takes note of networks and names.
    fn learn(&self, told: &OverlayState) {
        let mut state = self.state();
        let is_told = |id: &NetworkId| told.networks.iter().any(|spec| spec.id == *id);
        let gone: Vec<NetworkId> = state
            .networks
            .values()
            .filter(|n| n.spec.driver == NetworkDriver::Overlay && !is_told(&n.id))
            .map(|n| n.id.clone())
            .collect();
        for id in &gone {
            state.networks.remove(id);
            state.leases.remove(id);
            state.members.remove(id);
            state.last.retain(|(_, other), _| other != id);
        }
        for spec in &told.networks {
            let known = state.networks.get(&spec.id);
            let created = known.map_or_else(Timestamp::now, |known| known.created);
            let network =
                Network { id: spec.id.clone(), created, spec: as_network(spec), bridge: String::new() };
            if known.is_none_or(|known| known.spec.pools != network.spec.pools) {
                state.leases.insert(spec.id.clone(), Leases::new(&network.spec));
            }
            state.networks.insert(spec.id.clone(), Arc::new(network));
        }
        drop(state);
        let mut named: BTreeMap<&NetworkId, Vec<Named>> = BTreeMap::new();
        for service in &told.services {
            let named = named.entry(&service.network).or_default();
            let all: Vec<IpAddr> = service.tasks.iter().map(|task| task.1).collect();
            let tasks = service.tasks.iter();
            named.extend(tasks.map(|(name, ip)| Named { names: vec![name.clone()], addresses: vec![*ip] }));
            let names: Vec<String> =
                std::iter::once(&service.name).chain(&service.aliases).cloned().collect();
            let of_tasks = names.iter().map(|name| format!("tasks.{name}")).collect();
            named.push(Named { names, addresses: service.vip.map_or_else(|| all.clone(), |vip| vec![vip]) });
            named.push(Named { names: of_tasks, addresses: all });
        }
        let zones = self.inner.dns.zones();
        for spec in &told.networks {
            zones.tell(&spec.id, &spec.name, named.get(&spec.id).map_or(&[], Vec::as_slice));
        }
        gone.iter().for_each(|id| zones.tell(id, "", &[]));
    }

    /// The way out for containers whose networks have none.
    async fn make_gateway_bridge(&self) -> Result<()> {
        let options = [
            ("com.docker.network.bridge.enable_icc", "false"),
            ("com.docker.network.bridge.enable_ip_masquerade", "true"),
        ];
        let spec = NetworkSpec {
            name: GATEWAY_BRIDGE.to_owned(),
            driver: NetworkDriver::Bridge,
            ipv4: true,
            ipv6: false,
            internal: false,
            attachable: false,
            ingress: false,
            config_only: false,
            config_from: None,
            options: options.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
            labels: BTreeMap::new(),
            ipam_driver: "default".to_owned(),
            ipam_options: None,
            pools: Vec::new(),
        };
        match self.create(spec).await {
            Ok(_) | Err(Error::Conflict(_)) => Ok(()),
            Err(e) => Err(e),
        }
    }

    /// Whether a container is in an overlay network that shall lead outside.
    pub(crate) fn wants_gateway_bridge(&self, record: &Container) -> bool {
        let mut networks = record.status.endpoints.keys().filter_map(|name| self.find(name).ok());
        networks.any(|n| n.spec.driver == NetworkDriver::Overlay && !n.spec.internal)
            && self.find(GATEWAY_BRIDGE).is_ok()
    }

    /// The overlay networks of a container, and its addresses there.
    fn overlays_of(&self, record: &Container) -> (BTreeSet<NetworkId>, Vec<IpAddr>) {
        let (mut networks, mut addresses) = (BTreeSet::new(), Vec::new());
        for (name, endpoint) in &record.status.endpoints {
            let Ok(network) = self.find(name) else { continue };
            if network.spec.driver == NetworkDriver::Overlay && endpoint.id.is_some() {
                networks.insert(network.id.clone());
                addresses.extend(addresses_of(endpoint));
            }
        }
        (networks, addresses)
    }

    /// Lets a container call the services of its overlay networks.
    pub(crate) async fn call_services(&self, record: &Container, netns: &OwnedFd) -> Result<()> {
        let (networks, addresses) = self.overlays_of(record);
        let (kernel, id) = (self.inner.kernel.clone(), record.id.clone());
        let netns = netns.try_clone().map_err(Error::io("keep the container's network namespace"))?;
        Ok(crate::blocking(move || kernel.call_services(&id, netns.as_fd(), networks, &addresses)).await??)
    }

    /// A container that ran on calls services again, and is connected again where the namespace of overlays was lost.
    pub(crate) async fn reconnect_overlays(&self, record: &Container, netns: &OwnedFd) -> Result<()> {
        for (name, endpoint) in &record.status.endpoints {
            let (Ok(network), Some(id)) = (self.find(name), &endpoint.id) else { continue };
            let kernel = self.inner.kernel.clone();
            if network.spec.driver != NetworkDriver::Overlay || kernel.is_attached(&kernel.host_name(id)) {
                continue;
            }
            let plan: EndpointPlan = self.plan(&network, endpoint, false, record)?;
            let netns = netns.try_clone().map_err(Error::io("keep the container's network namespace"))?;
            crate::blocking(move || {
                kernel.disconnect(netns.as_fd(), &plan.interface)?;
                kernel.connect(netns.as_fd(), &network, &plan)
            })
            .await??;
        }
        self.call_services(record, netns).await
    }

    fn pin(&self) -> PathBuf {
        self.inner.config.exec_root.join(PIN)
    }

    fn state_file(&self) -> PathBuf {
        self.inner.config.data_root.join(STATE)
    }
}

/// The addresses of an endpoint.
pub(super) fn addresses_of(endpoint: &Endpoint) -> impl Iterator<Item = IpAddr> {
    let ipv4 = endpoint.ipv4.map(|(a, _)| IpAddr::V4(a));
    ipv4.into_iter().chain(endpoint.ipv6.map(|(a, _)| IpAddr::V6(a)))
}

fn as_network(spec: &OverlaySpec) -> NetworkSpec {
    let has = |ipv6: bool| spec.subnets.iter().any(|s| s.subnet.address.is_ipv6() == ipv6);
    let pools = spec.subnets.iter().map(|subnet| IpamPool {
        subnet: subnet.subnet,
        range: None,
        gateway: Some(subnet.gateway),
        auxiliary: BTreeMap::new(),
        user_given: true,
        gateway_chosen: false,
    });
    let mut options = spec.options.clone();
    options.insert("com.docker.network.driver.overlay.vxlanid_list".to_owned(), spec.vni.to_string());
    NetworkSpec {
        name: spec.name.clone(),
        driver: NetworkDriver::Overlay,
        ipv4: has(false),
        ipv6: has(true),
        internal: spec.internal,
        attachable: spec.attachable,
        ingress: spec.ingress,
        config_only: false,
        config_from: None,
        options,
        labels: spec.labels.clone(),
        ipam_driver: "default".to_owned(),
        ipam_options: None,
        pools: pools.collect(),
    }
}

/// Writes down what was told; nothing is left of a cluster that this machine is not in.
fn keep(path: &Path, told: &OverlayState) -> Result<()> {
    let failed = || crate::Error::io(format!("write {}", path.display()));
    if told.networks.is_empty() {
        return match std::fs::remove_file(path) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(failed()(e)),
            _ => Ok(()),
        };
    }
    let text = serde_json::to_vec(told).map_err(std::io::Error::from).map_err(failed())?;
    let new = path.with_extension("new");
    std::fs::write(&new, text).and_then(|()| std::fs::rename(&new, path)).map_err(failed())
}

/// A path as the parent of a process sees it: its shim, which has the mounts of the daemon that started it.
fn seen_by_parent(pid: i32, path: &Path) -> Option<PathBuf> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let parent: i32 = status.lines().find_map(|line| line.strip_prefix("PPid:"))?.trim().parse().ok()?;
    let below = path.strip_prefix("/").ok()?;
    (parent > 1).then(|| Path::new("/proc").join(parent.to_string()).join("root").join(below))
}
