//! Wishes and their refusals, on the memory store.

use super::{
    Control, ControlError, Filters, Result, Sealer,
    secret::FileWish,
    service::{Credentials, Tally},
};
use crate::tables::{NODES, SERVICES, TASKS, TEMPLATES, template_name};
use minke_model::{
    ClusterNodeId, SecretId, ServiceId, TaskId, Timestamp,
    network::{NetworkDriver, NetworkSpec},
    node::{Node, NodeSpec, NodeState, Role},
    object::Meta,
    port::Protocol,
    secret::Sealed,
    service::{
        EndpointModeSpec, FileRef, FileTarget, Mode, NetworkAttachmentSpec, PortSpec, PublishMode,
        ServiceSpec, TaskContainer, TaskSpec, UpdateState,
    },
    task::{Slot, Task, TaskState},
};
use minke_store::{AnyStore, Memory, Store, Txn, WallClock};
use std::sync::Arc;

/// Turns bytes around: enough to see that nothing lies in the store as it came.
struct Mirror;

impl Sealer for Mirror {
    fn seal(&self, plain: &[u8]) -> Result<Sealed> {
        // A nonce that is never the same.
        let nonce = SecretId::random().as_str().as_bytes().to_vec();
        Ok(Sealed { key: 1, nonce, bytes: plain.iter().rev().copied().collect() })
    }

    fn open(&self, sealed: &Sealed) -> Result<Vec<u8>> {
        Ok(sealed.bytes.iter().rev().copied().collect())
    }
}

fn control() -> (Control, AnyStore) {
    let store = AnyStore::new(Memory::new());
    (Control::new(store.clone(), Arc::new(WallClock::new()), Arc::new(Mirror)), store)
}

fn spec(name: &str) -> ServiceSpec {
    let container = TaskContainer { image: "busybox".to_owned(), ..TaskContainer::default() };
    ServiceSpec {
        name: name.to_owned(),
        task: TaskSpec { container, ..TaskSpec::default() },
        ..ServiceSpec::default()
    }
}

fn publishing(name: &str, port: u16, publish: PublishMode) -> ServiceSpec {
    let port =
        PortSpec { name: String::new(), protocol: Protocol::Tcp, target: 80, published: port, publish };
    let endpoint = EndpointModeSpec { ports: vec![port], ..EndpointModeSpec::default() };
    ServiceSpec { endpoint: Some(endpoint), ..spec(name) }
}

fn overlay(name: &str) -> NetworkSpec {
    NetworkSpec {
        name: name.to_owned(),
        driver: NetworkDriver::Overlay,
        ipv4: true,
        ipv6: false,
        internal: false,
        attachable: false,
        ingress: name == "ingress",
        config_only: false,
        config_from: None,
        options: Default::default(),
        labels: Default::default(),
        ipam_driver: "default".to_owned(),
        ipam_options: None,
        pools: Vec::new(),
    }
}

fn file(name: &str, data: &[u8]) -> FileWish {
    FileWish { name: name.to_owned(), data: Some(data.to_vec()), ..FileWish::default() }
}

fn said<T>(result: Result<T>) -> String {
    result.err().map(|e| e.to_string()).unwrap_or_default()
}

/// Puts a node that beats.
async fn node(store: &AnyStore, role: Role) -> ClusterNodeId {
    let id = ClusterNodeId::random();
    let node = serde_json::json!({
        "id": id, "meta": Meta::new(Timestamp::now()), "spec": NodeSpec { role, ..NodeSpec::default() },
        "description": null, "state": NodeState::Ready, "message": "", "since": Timestamp::now(), "address": null,
        "manager_status": null,
    });
    let node: Node = serde_json::from_value(node).unwrap();
    put(store, |txn| txn.put(&NODES, id.as_str(), node)).await;
    id
}

async fn put(store: &AnyStore, write: impl FnOnce(Txn) -> Txn) {
    let snapshot = store.read(crate::tables::everything()).await.unwrap();
    store.commit(write(Txn::on(&snapshot))).await.unwrap();
}

#[tokio::test]
async fn a_name_is_taken_once_and_free_again_after_removal() {
    let (control, _) = control();
    let id = control.create_service(spec("web"), None).await.unwrap();
    assert_eq!(
        said(control.create_service(spec("web"), None).await),
        "rpc error: code = AlreadyExists desc = name conflicts with an existing object: service web already exists"
    );
    assert_eq!(control.service("web").await.unwrap().id, id);
    assert_eq!(control.service(&id.as_str()[..5]).await.unwrap().id, id);
    control.remove_service(&id).await.unwrap();
    assert_eq!(said(control.service("web").await), "service web not found");
    control.create_service(spec("web"), None).await.unwrap();
}

#[tokio::test]
async fn names_are_refused_with_swarms_sentences() {
    let (control, _) = control();
    for (name, why) in [
        ("a.b", "name must be valid as a DNS name component"),
        ("-a", "name must be valid as a DNS name component"),
        (&*"a".repeat(64), "name must be 63 characters or fewer"),
    ] {
        let text = said(control.create_service(spec(name), None).await);
        assert_eq!(text, format!("rpc error: code = InvalidArgument desc = {why}"));
    }
    assert_eq!(
        said(control.create_secret(file("a/b", b"x")).await),
        "rpc error: code = InvalidArgument desc = invalid name, only 64 [a-zA-Z0-9-_.] characters allowed, and the start and end character must be [a-zA-Z0-9]"
    );
    assert_eq!(
        said(control.create_secret(file("s", b"")).await),
        "rpc error: code = InvalidArgument desc = secret data must be larger than 0 and less than 512000 bytes"
    );
}

#[tokio::test]
async fn an_update_names_the_version_that_it_saw() {
    let (control, store) = control();
    let id = control.create_service(spec("web"), None).await.unwrap();
    let mut next = spec("web");
    next.task.container.args = vec!["true".to_owned()];
    control.update_service(&id, 1, next.clone(), Credentials::Keep).await.unwrap();
    let text = said(control.update_service(&id, 1, next, Credentials::Keep).await);
    assert_eq!(text, "rpc error: code = Unknown desc = update out of sequence");

    let service = control.service("web").await.unwrap();
    assert_eq!((service.meta.version, service.template, service.previous_template), (2, 2, Some(1)));
    let snapshot = store.read(crate::tables::everything()).await.unwrap();
    assert_eq!(TEMPLATES.get(&snapshot, &template_name(&id, 2)).unwrap().unwrap().container.args, ["true"]);

    // More of the same keeps the template; back is the one from before.
    let mut more = ServiceSpec::clone(&service.spec);
    more.mode = Mode::Replicated { replicas: 3 };
    control.update_service(&id, 2, more, Credentials::Keep).await.unwrap();
    let service = control.service("web").await.unwrap();
    assert_eq!((service.template, service.previous_template), (2, Some(2)));
    control.roll_back_service(&id, 3).await.unwrap();
    let service = control.service("web").await.unwrap();
    assert_eq!(service.spec.mode, Mode::Replicated { replicas: 1 });
    assert_eq!(service.update.as_ref().map(|u| u.state), Some(UpdateState::RollbackStarted));
}

#[tokio::test]
async fn what_a_service_is_cannot_be_changed() {
    let (control, _) = control();
    let id = control.create_service(spec("web"), None).await.unwrap();
    let other = ServiceSpec { mode: Mode::Global, ..spec("web") };
    assert_eq!(
        said(control.update_service(&id, 1, other, Credentials::Keep).await),
        "rpc error: code = Unimplemented desc = service mode change is not allowed"
    );
    assert_eq!(
        said(control.update_service(&id, 1, spec("other"), Credentials::Keep).await),
        "rpc error: code = Unimplemented desc = renaming services is not supported"
    );
    assert_eq!(
        said(control.roll_back_service(&id, 1).await),
        format!("rpc error: code = FailedPrecondition desc = service {id} does not have a previous spec")
    );
}

#[tokio::test]
async fn credentials_are_sealed_and_the_same_ones_change_no_template() {
    let (control, store) = control();
    let id = control.create_service(spec("web"), Some("token".to_owned())).await.unwrap();
    let before = control.service("web").await.unwrap();
    let sealed = before.spec.task.container.registry.clone().unwrap();
    assert_eq!(sealed.bytes, b"nekot");
    let given = Credentials::Given("token".to_owned());
    control.update_service(&id, 1, spec("web"), given).await.unwrap();
    control.update_service(&id, 2, spec("web"), Credentials::Keep).await.unwrap();
    let after = control.service("web").await.unwrap();
    assert_eq!((after.template, after.spec.task.container.registry.clone()), (1, Some(sealed)));
    let snapshot = store.read(crate::tables::everything()).await.unwrap();
    assert!(snapshot.iter().all(|(_, r)| !String::from_utf8_lossy(r.bytes()).contains("token")));
}

#[tokio::test]
async fn published_ports_are_unique_in_the_cluster() {
    let (control, _) = control();
    let text = said(control.create_service(publishing("a", 80, PublishMode::Ingress), None).await);
    assert_eq!(
        text,
        "rpc error: code = FailedPrecondition desc = service needs ingress network, but no ingress network is present"
    );
    control.create_network(overlay("ingress")).await.unwrap();
    let a = control.create_service(publishing("a", 80, PublishMode::Ingress), None).await.unwrap();
    for mode in [PublishMode::Ingress, PublishMode::Host] {
        assert_eq!(
            said(control.create_service(publishing("b", 80, mode), None).await),
            format!(
                "rpc error: code = InvalidArgument desc = port '80' is already in use by service 'a' ({a}) as an ingress port"
            )
        );
    }
    let c = control.create_service(publishing("c", 81, PublishMode::Host), None).await.unwrap();
    control.create_service(publishing("d", 81, PublishMode::Host), None).await.unwrap();
    let text = said(
        control.update_service(&a, 1, publishing("a", 81, PublishMode::Ingress), Credentials::Keep).await,
    );
    assert!(
        text.contains("port '81' is already in use by service") && text.ends_with("as a host-published port"),
        "{text} {c}"
    );
}

#[tokio::test]
async fn a_file_in_use_stays() {
    let (control, _) = control();
    let id = control.create_secret(file("s", b"x")).await.unwrap();
    let target = FileTarget { path: "s".to_owned(), uid: "0".into(), gid: "0".into(), mode: 0o444 };
    let wanted = FileRef { id: id.clone(), name: "s".to_owned(), file: Some(target) };
    let mut web = spec("web");
    web.task.container.secrets = vec![wanted.clone()];
    let service = control.create_service(web.clone(), None).await.unwrap();
    assert_eq!(
        said(control.remove_secret(&id).await),
        "rpc error: code = InvalidArgument desc = secret 's' is in use by the following service: web"
    );
    web.task.container.secrets.push(wanted);
    assert_eq!(
        said(control.update_service(&service, 1, web, Credentials::Keep).await),
        "rpc error: code = InvalidArgument desc = secret references 's' and 's' have a conflicting target: 's'"
    );
    control.remove_service(&service).await.unwrap();
    control.remove_secret(&id).await.unwrap();
    let mut late = spec("late");
    late.task.container.secrets = vec![FileRef { id, name: "s".into(), file: None }];
    assert_eq!(
        said(control.create_service(late, None).await),
        "rpc error: code = InvalidArgument desc = secret not found: s"
    );
}

#[tokio::test]
async fn a_secret_and_a_service_that_wants_it_never_pass_each_other() {
    let (control, _) = control();
    for round in 0..20 {
        let name = format!("s{round}");
        let id = control.create_secret(file(&name, b"x")).await.unwrap();
        let mut web = spec(&format!("w{round}"));
        web.task.container.secrets = vec![FileRef { id: id.clone(), name, file: None }];
        let (one, two) = (control.clone(), control.clone());
        let made = tokio::spawn(async move { one.create_service(web, None).await });
        let removed = tokio::spawn(async move { two.remove_secret(&id).await });
        assert_ne!(made.await.unwrap().is_ok(), removed.await.unwrap().is_ok(), "round {round}");
    }
}

#[tokio::test]
async fn only_labels_of_a_secret_change() {
    let (control, _) = control();
    let id = control.create_secret(file("s", b"x")).await.unwrap();
    let labelled = FileWish { labels: [("a".into(), "b".into())].into(), data: None, ..file("s", b"") };
    control.update_secret(&id, 1, labelled.clone()).await.unwrap();
    assert_eq!(said(control.update_secret(&id, 1, FileWish::default()).await), LABELS_ONLY);
    assert_eq!(said(control.update_secret(&id, 2, file("s", b"y")).await), LABELS_ONLY);
    let wanted = Filters::default().with("label", "a=b").with("name", "s");
    assert_eq!(control.secrets(&wanted).await.unwrap().len(), 1);
    assert_eq!(control.secrets(&Filters::default().with("label", "a=c")).await.unwrap().len(), 0);
    assert_eq!(said(control.secrets(&Filters::default().with("x", "y")).await), "invalid filter 'x'");
}

const LABELS_ONLY: &str = "rpc error: code = InvalidArgument desc = only updates to Labels are allowed";

#[tokio::test]
async fn a_network_that_a_service_names_stays() {
    let (control, _) = control();
    let id = control.create_network(overlay("back")).await.unwrap();
    assert_eq!(said(control.create_network(overlay("back")).await), "network with name back already exists");
    let mut web = spec("web");
    web.task.networks =
        vec![NetworkAttachmentSpec { target: id.as_str().to_owned(), ..NetworkAttachmentSpec::default() }];
    let service = control.create_service(web.clone(), None).await.unwrap();
    assert_eq!(
        said(control.remove_network(&id).await),
        format!("rpc error: code = FailedPrecondition desc = network {id} is in use by service {service}")
    );
    control.remove_service(&service).await.unwrap();
    control.remove_network(&id).await.unwrap();
    assert!(said(control.create_service(web, None).await).ends_with("not found"));
    let ingress = control.create_network(overlay("ingress")).await.unwrap();
    let mut inside = spec("inside");
    inside.task.networks = vec![NetworkAttachmentSpec {
        target: ingress.as_str().to_owned(),
        ..NetworkAttachmentSpec::default()
    }];
    assert!(said(control.create_service(inside, None).await).contains("cannot be explicitly attached"));
}

#[tokio::test]
async fn the_last_manager_stays_one_and_a_node_that_is_up_stays() {
    let (control, store) = control();
    let manager = node(&store, Role::Manager).await;
    let worker = node(&store, Role::Worker).await;
    assert_eq!(
        said(control.update_node(&manager, 1, NodeSpec::default()).await),
        "rpc error: code = FailedPrecondition desc = attempting to demote the last manager of the swarm"
    );
    assert_eq!(
        said(control.remove_node(&worker, false).await),
        format!("rpc error: code = FailedPrecondition desc = node {worker} is not down and can't be removed")
    );
    let service = control.create_service(spec("web"), None).await.unwrap();
    let tasks: Vec<TaskId> = (0..20).map(|_| TaskId::random()).collect();
    for id in &tasks {
        put(&store, |txn| txn.put(&TASKS, id.as_str(), task(id, &service, &worker))).await;
    }
    control.remove_node(&worker, true).await.unwrap();
    let views = control.tasks(&Filters::default()).await.unwrap();
    assert!(views.len() == 20 && views.iter().all(|view| view.state() == TaskState::Orphaned));
    assert_eq!(said(control.node(worker.as_str()).await), format!("node {worker} not found"));
}

fn task(id: &TaskId, service: &ServiceId, node: &ClusterNodeId) -> Task {
    let now = Timestamp::now();
    let task = serde_json::json!({
        "id": id, "meta": Meta::new(now), "service": service, "template": 1, "slot": Slot::Number(1), "node": node,
        "state": TaskState::Assigned, "desired": TaskState::Running, "since": now, "message": "", "attachments": [],
        "generic": [], "job_iteration": null,
    });
    serde_json::from_value(task).unwrap()
}

#[tokio::test]
async fn tasks_are_counted_by_what_they_should_be() {
    let (control, store) = control();
    let node = node(&store, Role::Worker).await;
    let service = control.create_service(spec("web"), None).await.unwrap();
    let id = TaskId::random();
    put(&store, |txn| txn.put(&TASKS, id.as_str(), task(&id, &service, &node))).await;
    let services = control.services(&Filters::default()).await.unwrap();
    assert_eq!(control.tallies(&services).await.unwrap(), [Tally { running: 0, desired: 1, completed: 0 }]);
    let named = control.task(&format!("web.1.{id}")).await.unwrap();
    assert_eq!(named.task.id, id);
    let new = control.tasks(&Filters::default().with("_up-to-date", "true")).await.unwrap();
    assert_eq!(new.len(), 1);
    let snapshot = store.read(crate::tables::everything()).await.unwrap();
    assert!(SERVICES.get(&snapshot, service.as_str()).unwrap().is_some());
    let bad = control.tasks(&Filters::default().with("desired-state", "odd")).await;
    assert!(matches!(bad, Err(ControlError::Plain { .. })));
}
