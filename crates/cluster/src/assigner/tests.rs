//! What nodes see of a cluster, and what they do not.

use super::*;
use crate::{agent::follow::assignment_of, assign::covered, tables::template_name};
use minke_model::{
    SecretId, Timestamp,
    network::{NetworkDriver, NetworkSpec},
    node::{Node, NodeSpec, NodeState},
    object::Meta,
    overlay::{ClusterNetwork, OverlaySubnet, mac_of},
    port::Protocol,
    secret::Secret,
    service::{EndpointModeSpec, FileRef, Resolution, Service, ServiceEndpoint, ServiceSpec},
    task::{Attachment, Slot, TaskStatus},
};
use std::net::IpAddr;

struct Plain;

impl Open for Plain {
    fn open(&self, sealed: &Sealed) -> Option<Vec<u8>> {
        Some(sealed.bytes.iter().rev().copied().collect())
    }
}

fn now() -> Timestamp {
    Timestamp::from_nanos(0)
}

fn node_id(n: u8) -> ClusterNodeId {
    ClusterNodeId::from_bits(u128::from(n) << 8)
}

fn task_id(n: u8) -> TaskId {
    TaskId::from_bits(u128::from(n) << 8)
}

fn service_id() -> ServiceId {
    ServiceId::from_bits(1 << 8)
}

fn secret_id() -> SecretId {
    SecretId::from_bits(1 << 8)
}

fn network_id(digit: &str) -> NetworkId {
    NetworkId::parse(&digit.repeat(64)).expect("64 digits")
}

fn node(n: u8, state: NodeState) -> Node {
    Node {
        id: node_id(n),
        meta: Meta::new(now()),
        spec: NodeSpec::default(),
        description: None,
        state,
        message: String::new(),
        since: now(),
        last_silent: None,
        address: Some(IpAddr::from([192, 0, 2, n])),
        manager: None,
        manager_status: None,
        attachments: vec![(network_id("b"), IpAddr::from([10, 0, 9, n]), 24)],
        signed_by: Vec::new(),
        sessions: 1,
    }
}

fn network(digit: &str, name: &str, ingress: bool, third: u8) -> ClusterNetwork {
    let spec = NetworkSpec {
        name: name.into(),
        driver: NetworkDriver::Overlay,
        ipv4: true,
        ipv6: false,
        internal: false,
        attachable: false,
        ingress,
        config_only: false,
        config_from: None,
        options: BTreeMap::new(),
        labels: Labels::default(),
        ipam_driver: "default".into(),
        ipam_options: None,
        pools: Vec::new(),
    };
    let subnet = format!("10.0.{third}.0/24").parse().expect("a subnet");
    ClusterNetwork {
        id: network_id(digit),
        meta: Meta::new(now()),
        spec,
        encrypted: false,
        vni: 4096 + u32::from(third),
        mtu: 1450,
        subnets: vec![OverlaySubnet { subnet, gateway: IpAddr::from([10, 0, third, 1]) }],
    }
}

fn task(n: u8, on: u8, desired: TaskState) -> Task {
    let at = |digit: &str, third: u8| Attachment {
        network: network_id(digit),
        addresses: vec![(IpAddr::from([10, 0, third, 3 + n]), 24)],
        aliases: Vec::new(),
    };
    Task {
        id: task_id(n),
        meta: Meta::new(now()),
        service: service_id(),
        template: 1,
        slot: Slot::Number(u64::from(n)),
        node: Some(node_id(on)),
        state: TaskState::Assigned,
        desired,
        since: now(),
        message: String::new(),
        attachments: vec![at("a", 1), at("b", 9)],
        generic: Vec::new(),
        job_iteration: None,
        not_before: None,
        replaces: None,
        restarts: 0,
        cause: Default::default(),
    }
}

fn service() -> (Service, TaskSpec) {
    let port = PortSpec {
        name: String::new(),
        protocol: Protocol::Tcp,
        target: 80,
        published: 8080,
        publish: PublishMode::Ingress,
    };
    let mut spec = TaskSpec::default();
    spec.container.image = "web:1".into();
    spec.container.secrets.push(FileRef { id: secret_id(), name: "key".into(), file: None });
    let vips = vec![(network_id("a"), IpAddr::from([10, 0, 1, 2]), 24)];
    let service = Service {
        id: service_id(),
        meta: Meta::new(now()),
        spec: ServiceSpec {
            name: "web".into(),
            endpoint: Some(EndpointModeSpec { mode: Resolution::Vip, ports: vec![port.clone()] }),
            task: spec.clone(),
            ..ServiceSpec::default()
        },
        previous: None,
        template: 1,
        previous_template: None,
        endpoint: Some(ServiceEndpoint { mode: Resolution::Vip, ports: vec![port], vips }),
        update: None,
        job_iteration: 0,
        job_started: None,
        removing: false,
    };
    (service, spec)
}

/// Two nodes; task 1 on node 1, task 2 on node 2.
async fn cluster() -> (AnyStore, Assigner) {
    let store = AnyStore::new(Memory::new());
    let (service, template) = service();
    let secret = Secret {
        id: secret_id(),
        meta: Meta::new(now()),
        name: "key".into(),
        labels: Labels::default(),
        templating: String::new(),
        sealed: Sealed { key: 1, nonce: Vec::new(), bytes: b"nepo".to_vec() },
    };
    write(&store, |txn| {
        txn.put(&tables::NODES, node_id(1).as_str(), node(1, NodeState::Ready))
            .put(&tables::NODES, node_id(2).as_str(), node(2, NodeState::Ready))
            .put(&tables::NETWORKS, network_id("a").as_str(), network("a", "back", false, 1))
            .put(&tables::NETWORKS, network_id("b").as_str(), network("b", "ingress", true, 9))
            .put(&tables::SECRETS, secret_id().as_str(), secret)
            .put(&tables::SERVICES, service_id().as_str(), service)
            .put(&tables::TEMPLATES, &template_name(&service_id(), 1), template)
            .put(&tables::TASKS, task_id(1).as_str(), task(1, 1, TaskState::Running))
            .put(&tables::TASKS, task_id(2).as_str(), task(2, 2, TaskState::Running))
    })
    .await;
    let assigner = Assigner::start(store.clone(), Arc::new(Plain));
    (store, assigner)
}

async fn write(store: &AnyStore, with: impl FnOnce(Txn) -> Txn) {
    let snapshot = store.read(Prefixes::all()).await.expect("it is memory");
    store.commit(with(Txn::on(&snapshot))).await.expect("nobody else writes");
}

async fn says(store: &AnyStore, on: u8, task: u8, state: TaskState) {
    let status = TaskStatus { state, ..TaskStatus::accepted(now()) };
    let name = tables::status_name(&node_id(on), &task_id(task));
    write(store, |txn| txn.put(&tables::STATUSES, &name, status)).await;
}

/// Waits until what a node sees fits.
async fn sees<T>(assigner: &Assigner, n: u8, fits: impl Fn(&crate::assign::Assignment) -> Option<T>) -> T {
    let store = assigner.of(&node_id(n));
    let wait = async {
        let covered = covered(&node_id(n));
        loop {
            let snapshot = store.read(&covered).await.expect("it is there");
            let mut watch = store.watch(&covered, snapshot.revision());
            let seen = assignment_of(&node_id(n), &snapshot, None).expect("it can be read");
            if let Some(out) = fits(&seen) {
                return out;
            }
            watch.next().await.expect("it goes on");
        }
    };
    tokio::time::timeout(Duration::from_secs(30), wait).await.expect("it comes in time")
}

#[tokio::test]
async fn a_node_sees_its_own_tasks_and_what_they_need() {
    let (_store, assigner) = cluster().await;
    let seen = sees(&assigner, 1, |seen| (!seen.tasks.is_empty()).then(|| seen.clone())).await;
    assert_eq!(seen.tasks.keys().collect::<Vec<_>>(), [&task_id(1)]);
    let task = &seen.tasks[&task_id(1)];
    assert_eq!((task.service_name.as_str(), task.spec.container.image.as_str()), ("web", "web:1"));
    assert_eq!(task.networks[&network_id("a")], "back");
    assert_eq!(seen.state.secrets[&secret_id()].data, b"open");
    assert_eq!(seen.session, 1);
    assert!(seen.state.serves(task));
}

#[tokio::test]
async fn traffic_goes_to_tasks_that_run_on_nodes_that_are_heard() {
    let (store, assigner) = cluster().await;
    let names = |seen: &crate::assign::Assignment| {
        let overlay = seen.state.overlay.clone()?;
        let web = overlay.services.iter().find(|s| s.name == "web")?.clone();
        Some((web, overlay))
    };
    // A name stands, though nothing runs.
    let (web, _) = sees(&assigner, 1, names).await;
    assert_eq!((web.vip, web.tasks.len()), (Some(IpAddr::from([10, 0, 1, 2])), 0));

    says(&store, 1, 1, TaskState::Running).await;
    says(&store, 2, 2, TaskState::Running).await;
    let both = |seen: &crate::assign::Assignment| names(seen).filter(|(web, _)| web.tasks.len() == 2);
    let (_, overlay) = sees(&assigner, 1, both).await;
    let peer = |last: u8| overlay.peers.iter().find(|p| p.address == IpAddr::from([10, 0, 1, last]));
    let far = peer(5).expect("the other node's task");
    assert_eq!((far.node, far.mac), (IpAddr::from([192, 0, 2, 2]), mac_of(IpAddr::from([10, 0, 1, 5]))));
    assert_eq!((overlay.mesh.len(), overlay.mesh[0].targets.len()), (1, 2));
    assert_eq!(overlay.place.ingress, [IpAddr::from([10, 0, 9, 1])]);

    write(&store, |txn| txn.put(&tables::NODES, node_id(2).as_str(), node(2, NodeState::Unknown))).await;
    let one = |seen: &crate::assign::Assignment| names(seen).filter(|(web, _)| web.tasks.len() == 1);
    let (_, overlay) = sees(&assigner, 1, one).await;
    let draining: Vec<bool> = overlay.mesh[0].targets.iter().map(|target| target.draining).collect();
    assert_eq!(draining.iter().filter(|d| **d).count(), 1, "what it has it keeps: {draining:?}");
}

#[tokio::test]
async fn a_secret_goes_with_its_last_task_and_other_nodes_never_see_it() {
    let (store, assigner) = cluster().await;
    write(&store, |txn| txn.remove(&tables::TASKS, task_id(2).as_str())).await;
    sees(&assigner, 2, |seen| (seen.tasks.is_empty() && seen.state.secrets.is_empty()).then_some(())).await;
    sees(&assigner, 1, |seen| (seen.state.secrets.len() == 1).then_some(())).await;
    says(&store, 1, 1, TaskState::Failed).await;
    sees(&assigner, 1, |seen| (seen.tasks.len() == 1 && seen.state.secrets.is_empty()).then_some(())).await;
}

#[tokio::test]
async fn a_stolen_certificate_reads_no_other_nodes_tasks() {
    let (_store, assigner) = cluster().await;
    sees(&assigner, 2, |seen| (seen.tasks.len() == 1).then_some(())).await;
    let thief = assigner.seen_by(node_id(1).as_str());
    let everything = thief.read(Prefixes::all()).await.expect("it answers");
    let others = format!("assigned/{}/", node_id(2));
    let leaked = |key: &Key| {
        let key = key.as_str();
        key.starts_with(&others)
            || ["task/", "status/", "node/", "service/", "guard/"].iter().any(|p| key.starts_with(p))
    };
    let leaks: Vec<&Key> = everything.iter().map(|(key, _)| key).filter(|key| leaked(key)).collect();
    assert!(leaks.is_empty(), "{leaks:?}");
}

#[tokio::test]
async fn a_large_service_is_told_in_slices_and_read_as_one() {
    let (store, assigner) = cluster().await;
    for chunk in (10..=250u8).collect::<Vec<_>>().chunks(20) {
        for n in chunk {
            let one = task(*n, 2, TaskState::Running);
            write(&store, |txn| txn.put(&tables::TASKS, task_id(*n).as_str(), one)).await;
            says(&store, 2, *n, TaskState::Running).await;
        }
    }
    let overlay = sees(&assigner, 1, |seen| {
        let overlay = seen.state.overlay.clone()?;
        let web = overlay.services.iter().find(|s| s.name == "web")?;
        (web.tasks.len() == 241).then_some(overlay)
    })
    .await;
    assert_eq!(overlay.services.iter().filter(|s| s.name == "web").count(), 1);
    assert_eq!(overlay.mesh.len(), 1);
    let view = View::of(&store.read(Prefixes::all()).await.expect("memory")).expect("it can be read");
    let mut endpoints = Endpoints::default();
    let changed = crate::view::Changed { services: [service_id()].into(), ..Default::default() };
    let slices = endpoints.advance(&view, &changed).len();
    assert!(slices > 4, "{slices} slices");
}
