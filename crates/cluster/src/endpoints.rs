//! Where traffic goes: from services, tasks and nodes to what every node must know of it, and on a node from that to
//! its [`OverlayState`]. Pure.
//!
//! Told in slices, each encoded once for all who watch it. A slice holds services that fall into one bucket, or a part
//! of the tasks of one service that is large; so a change costs a slice, not a network. Nothing of it is stored: each
//! manager computes it from its view, and it is true the moment the view is.

use crate::{View, view::TaskNow};
use minke_model::{
    ClusterNodeId, NetworkId, ServiceId, TaskId,
    node::{Node, NodeState},
    overlay::{
        MeshPort, MeshTarget, OverlayNode, OverlayPeer, OverlayPlace, OverlayService, OverlaySpec,
        OverlayState, mac_of, node_mac,
    },
    service::{PublishMode, Resolution, Service},
    task::TaskState,
};
use minke_store::{Key, Prefix, Snapshot, StoreError, Table};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::IpAddr,
    sync::Arc,
};

/// Slices of services by network, `endpoints/<network>/<slice>`, and of published ports, `mesh/port/<slice>`.
static SLICES: Table<Slice> = Table::new("endpoints", 1);
/// What an overlay network is: `endpoints/<network>/network`.
static SPECS: Table<OverlaySpec> = Table::new("endpoints", 1);
/// Slices of published ports.
static PORTS: Table<Slice> = Table::new("mesh", 1);
/// Slices of nodes: `mesh/node/<slice>`.
static NODES: Table<Vec<Member>> = Table::new("mesh", 1);
/// `mesh/cluster`.
static CLUSTER: Table<DataPath> = Table::new("mesh", 1);
/// Buckets that services and nodes fall into.
const BUCKETS: u64 = 256;
/// Tasks of a service that has a slice to itself, about.
const LARGE: usize = 100;

/// A part of what is known of endpoints.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Slice {
    /// Names. One service's may be spread over slices.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub services: Vec<OverlayService>,
    /// Addresses.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub peers: Vec<OverlayPeer>,
    /// Published ports. One port's targets may be spread over slices.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<MeshPort>,
}

/// A node, as other nodes must know it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Which.
    pub id: ClusterNodeId,
    /// Where VXLAN is sent to.
    pub underlay: IpAddr,
    /// Its own addresses on the ingress network.
    pub ingress: Vec<(NetworkId, IpAddr)>,
}

/// How nodes reach each other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct DataPath {
    port: u16,
}

/// What became of shared records: their key, and what they hold now.
pub type Shared = Vec<(Key, Option<Arc<[u8]>>)>;

/// Everything that nodes share, encoded: kept up with a [`View`] at the cost of what changed.
#[derive(Default)]
pub struct Endpoints {
    parts: HashMap<ServiceId, BTreeMap<Key, Slice>>,
    in_slice: BTreeMap<Key, BTreeSet<ServiceId>>,
    members: BTreeMap<Key, BTreeMap<ClusterNodeId, Member>>,
    records: BTreeMap<Key, Arc<[u8]>>,
}

impl Endpoints {
    /// Shared records under `prefix`.
    pub fn under<'a>(&'a self, prefix: &'a Prefix) -> impl Iterator<Item = (&'a Key, &'a Arc<[u8]>)> {
        self.records.range(Key::new(prefix.as_str())..).take_while(|(key, _)| prefix.covers(key))
    }

    /// Takes what changed; says which shared records are others now.
    pub fn advance(&mut self, view: &View, changed: &crate::view::Changed) -> Shared {
        let mut dirty = BTreeSet::new();
        for id in &changed.services {
            self.take_service(view, id, &mut dirty);
        }
        let mut out = Shared::new();
        for key in dirty {
            let mut slice = Slice::default();
            for part in
                self.in_slice.get(&key).into_iter().flatten().filter_map(|s| self.parts.get(s)?.get(&key))
            {
                slice.services.extend_from_slice(&part.services);
                slice.peers.extend_from_slice(&part.peers);
                slice.ports.extend_from_slice(&part.ports);
            }
            let value = (slice != Slice::default()).then_some(&slice);
            self.put(key, value, &mut out);
        }
        for id in &changed.networks {
            let spec = view.network(id).and_then(|network| network.overlay());
            self.put(spec_key(id), spec.as_ref(), &mut out);
        }
        for id in &changed.nodes {
            self.take_node(id, view.node(id), &mut out);
        }
        let path = view.cluster().map(|cluster| DataPath { port: cluster.data_path_port });
        self.put(CLUSTER.key("cluster"), path.as_ref(), &mut out);
        out
    }

    fn take_service(&mut self, view: &View, id: &ServiceId, dirty: &mut BTreeSet<Key>) {
        let new = view.service(id).map(|service| parts(view, service)).unwrap_or_default();
        let old = self.parts.remove(id).unwrap_or_default();
        for (key, part) in &old {
            if new.get(key) != Some(part) {
                dirty.insert(key.clone());
            }
            if !new.contains_key(key)
                && let Some(services) = self.in_slice.get_mut(key)
            {
                services.remove(id);
                if services.is_empty() {
                    self.in_slice.remove(key);
                }
            }
        }
        for key in new.keys().filter(|key| !old.contains_key(*key)) {
            self.in_slice.entry(key.clone()).or_default().insert(id.clone());
            dirty.insert(key.clone());
        }
        if !new.is_empty() {
            self.parts.insert(id.clone(), new);
        }
    }

    fn take_node(&mut self, id: &ClusterNodeId, node: Option<&Arc<Node>>, out: &mut Shared) {
        let key = NODES.key(&format!("node/{:02x}", hash(id.as_str()) % BUCKETS));
        let member = node.and_then(|node| {
            let ingress = node.attachments.iter().map(|(network, address, _)| (network.clone(), *address));
            Some(Member { id: id.clone(), underlay: node.address?, ingress: ingress.collect() })
        });
        let slice = self.members.entry(key.clone()).or_default();
        if slice.get(id) == member.as_ref() {
            return;
        }
        match member {
            Some(member) => slice.insert(id.clone(), member),
            None => slice.remove(id),
        };
        let members: Vec<Member> = slice.values().cloned().collect();
        self.put(key, (!members.is_empty()).then_some(&members), out);
    }

    fn put<T: Serialize>(&mut self, key: Key, value: Option<&T>, out: &mut Shared) {
        let Some(value) = value else {
            if self.records.remove(&key).is_some() {
                out.push((key, None));
            }
            return;
        };
        // Plain data with text keys: it has always a JSON form.
        let Ok(bytes) = serde_json::to_vec(value) else { return };
        if self.records.get(&key).is_some_and(|old| **old == *bytes) {
            return;
        }
        let bytes: Arc<[u8]> = bytes.into();
        self.records.insert(key.clone(), bytes.clone());
        out.push((key, Some(bytes)));
    }
}

fn spec_key(network: &NetworkId) -> Key {
    SPECS.key(&format!("{network}/network"))
}

/// FNV-1a.
fn hash(text: &str) -> u64 {
    text.bytes()
        .fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// What takes traffic, and how.
fn traffic(now: &TaskNow, node: &Node) -> Option<MeshTargetState> {
    if now.state() != TaskState::Running {
        return None;
    }
    match node.state {
        NodeState::Down => None,
        NodeState::Unknown => Some(MeshTargetState::Draining),
        NodeState::Ready | NodeState::Away if !now.is_wanted() => Some(MeshTargetState::Draining),
        NodeState::Ready | NodeState::Away => Some(MeshTargetState::Taking),
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum MeshTargetState {
    Taking,
    Draining,
}

/// What one service says in each slice.
fn parts(view: &View, service: &Service) -> BTreeMap<Key, Slice> {
    let mut parts: BTreeMap<Key, Slice> = BTreeMap::new();
    let tasks: Vec<&TaskNow> = view.tasks_of(&service.id).filter(|now| now.task.node.is_some()).collect();
    let live = tasks.iter().filter(|now| !now.has_ended()).count();
    let chunks = if live > LARGE { (live / LARGE).next_power_of_two() as u64 } else { 1 };
    let slice_of = |task: Option<&TaskId>| match task {
        Some(task) if chunks > 1 => format!("{}.{}", service.id, hash(task.as_str()) % chunks),
        None if chunks > 1 => format!("{}.0", service.id),
        _ => format!("{:02x}", hash(service.id.as_str()) % BUCKETS),
    };
    let endpoint = service.endpoint.as_ref();
    let ingress = view.ingress().map(|network| network.id.clone());
    let named = |network: &NetworkId| {
        let asked = service.spec.task.networks.iter().find(|asked| asked.target == network.as_str());
        let vip = endpoint
            .filter(|e| e.mode == Resolution::Vip)
            .and_then(|e| e.vips.iter().find(|(of, ..)| of == network).map(|(_, address, _)| *address));
        OverlayService {
            network: network.clone(),
            name: service.spec.name.clone(),
            aliases: asked.map(|asked| asked.aliases.clone()).unwrap_or_default(),
            vip,
            tasks: Vec::new(),
        }
    };
    let published: Vec<_> = endpoint
        .iter()
        .flat_map(|e| &e.ports)
        .filter(|port| port.publish == PublishMode::Ingress && port.published != 0)
        .collect();
    // A name stands also while no task does.
    for (network, ..) in endpoint.iter().flat_map(|e| &e.vips).filter(|(n, ..)| Some(n) != ingress.as_ref()) {
        let key = SLICES.key(&format!("{network}/{}", slice_of(None)));
        service_in(parts.entry(key).or_default(), || named(network));
    }
    for port in &published {
        let slice = parts.entry(PORTS.key(&format!("port/{}", slice_of(None)))).or_default();
        port_in(slice, port);
    }
    for now in tasks {
        let Some(node) = now.task.node.as_ref().and_then(|node| view.node(node)) else { continue };
        if now.has_ended() {
            continue;
        }
        let takes = traffic(now, node);
        for attachment in &now.task.attachments {
            let network = &attachment.network;
            let is_ingress = ingress.as_ref() == Some(network);
            let slice = slice_of(Some(&now.task.id));
            let part = parts.entry(SLICES.key(&format!("{network}/{slice}"))).or_default();
            let first4 = attachment.addresses.iter().map(|(a, _)| *a).find(IpAddr::is_ipv4);
            for (address, _) in &attachment.addresses {
                if let Some(underlay) = node.address {
                    let mac = if is_ingress {
                        node_mac(node.id.as_str())
                    } else {
                        mac_of(first4.unwrap_or(*address))
                    };
                    part.peers.push(OverlayPeer {
                        network: network.clone(),
                        address: *address,
                        mac,
                        node: underlay,
                    });
                }
                if !is_ingress {
                    let named = service_in(part, || named(network));
                    if takes == Some(MeshTargetState::Taking) {
                        named.tasks.push((task_name(service, now), *address));
                    }
                }
            }
            let Some(takes) = takes.filter(|_| is_ingress) else { continue };
            for port in &published {
                let part = parts.entry(PORTS.key(&format!("port/{slice}"))).or_default();
                let targets = &mut port_in(part, port).targets;
                targets.extend(attachment.addresses.iter().map(|(address, _)| MeshTarget {
                    address: *address,
                    draining: takes == MeshTargetState::Draining,
                }));
            }
        }
    }
    parts
}

fn task_name(service: &Service, now: &TaskNow) -> String {
    match &now.task.slot {
        minke_model::task::Slot::Number(n) => format!("{}.{n}.{}", service.spec.name, now.task.id),
        minke_model::task::Slot::Node(node) => format!("{}.{node}.{}", service.spec.name, now.task.id),
    }
}

/// The service in a part, made where it is not there yet: one a network.
fn service_in(part: &mut Slice, make: impl FnOnce() -> OverlayService) -> &mut OverlayService {
    if part.services.is_empty() {
        part.services.push(make());
    }
    &mut part.services[0]
}

fn port_in<'a>(part: &'a mut Slice, port: &minke_model::service::PortSpec) -> &'a mut MeshPort {
    let is = |known: &MeshPort| known.port == port.published && known.protocol == port.protocol;
    let at = part.ports.iter().position(is).unwrap_or_else(|| {
        part.ports.push(MeshPort {
            port: port.published,
            protocol: port.protocol,
            target_port: port.target,
            targets: Vec::new(),
        });
        part.ports.len() - 1
    });
    &mut part.ports[at]
}

/// What `node` makes of the records that it was given; `None` while it does not know its own place.
///
/// # Errors
/// A record that cannot be read.
pub fn overlay_of(node: &ClusterNodeId, snapshot: &Snapshot) -> Result<Option<OverlayState>, StoreError> {
    let mut state = OverlayState {
        place: OverlayPlace {
            underlay: IpAddr::from([0, 0, 0, 0]),
            mac: node_mac(node.as_str()),
            ingress: Vec::new(),
        },
        data_path_port: minke_model::overlay::DATA_PATH_PORT,
        members: Vec::new(),
        networks: Vec::new(),
        peers: Vec::new(),
        services: Vec::new(),
        mesh: Vec::new(),
    };
    let mut placed = false;
    let mut services: BTreeMap<(NetworkId, String), OverlayService> = BTreeMap::new();
    let mut mesh: BTreeMap<(u16, String), MeshPort> = BTreeMap::new();
    for (key, record) in snapshot.under(&Prefix::new("endpoints/")) {
        if key.as_str().ends_with("/network") {
            state.networks.push((*SPECS.decode(key, record)?.value).clone());
            continue;
        }
        let slice = SLICES.decode(key, record)?;
        state.peers.extend_from_slice(&slice.peers);
        for service in &slice.services {
            match services.get_mut(&(service.network.clone(), service.name.clone())) {
                Some(known) => known.tasks.extend_from_slice(&service.tasks),
                None => {
                    services.insert((service.network.clone(), service.name.clone()), service.clone());
                }
            }
        }
    }
    for (key, record) in snapshot.under(&Prefix::new("mesh/")) {
        if key.as_str() == "mesh/cluster" {
            state.data_path_port = CLUSTER.decode(key, record)?.port;
        } else if key.as_str().starts_with("mesh/node/") {
            for member in NODES.decode(key, record)?.iter() {
                let mac = node_mac(member.id.as_str());
                state.members.push(OverlayNode { underlay: member.underlay, mac });
                if member.id == *node {
                    placed = true;
                    state.place.underlay = member.underlay;
                    state.place.ingress = member.ingress.iter().map(|(_, address)| *address).collect();
                }
                state.peers.extend(member.ingress.iter().map(|(network, address)| OverlayPeer {
                    network: network.clone(),
                    address: *address,
                    mac,
                    node: member.underlay,
                }));
            }
        } else {
            for port in &PORTS.decode(key, record)?.ports {
                match mesh.get_mut(&(port.port, port.protocol.to_string())) {
                    Some(known) => known.targets.extend_from_slice(&port.targets),
                    None => {
                        mesh.insert((port.port, port.protocol.to_string()), port.clone());
                    }
                }
            }
        }
    }
    let known: BTreeSet<NetworkId> = state.networks.iter().map(|network| network.id.clone()).collect();
    state.peers.retain(|peer| known.contains(&peer.network));
    state.services = services.into_values().filter(|service| known.contains(&service.network)).collect();
    state.mesh = mesh.into_values().collect();
    Ok(placed.then_some(state))
}
