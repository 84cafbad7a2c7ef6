//! A cluster in memory: nodes that do as they are told, a clock that moves when told to, loops that plan from scratch.

use minke_cluster::{
    View,
    loops::Kind,
    plan::{after, pack},
    tables::{
        CLUSTER, CLUSTER_NAME, NAMES, NETWORKS, NODES, Named, SERVICES, STATUSES, TEMPLATES, name_of,
        status_name, template_name,
    },
};
use minke_model::{
    ClusterId, ClusterNodeId, NetworkId, ServiceId, TaskId, Timestamp,
    cluster::{CertificateAuthority, Cluster, ClusterSpec},
    image::Platform,
    mount::{MountKind, MountSpec, VolumeOptions},
    network::{NetworkDriver, NetworkSpec},
    node::{Availability, Node, NodeDescription, NodeSpec, NodeState, Role},
    object::Meta,
    overlay::ClusterNetwork,
    port::Protocol,
    secret::Sealed,
    service::{
        EndpointModeSpec, FailureAction, GenericResource, Mode, NetworkAttachmentSpec, PortSpec, PublishMode,
        Resolution, RestartCondition, Service, ServiceSpec, TaskRestart, UpdateOrder, UpdatePolicy,
        UpdateState, UpdateStatus,
    },
    task::{Slot, Task, TaskState, TaskStatus},
};
use minke_store::{Memory, Store, StoreError, Txn};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    future::Future,
    pin::pin,
    task::{Context, Poll, Waker},
    time::Duration,
};

/// More rounds without an end are a bug.
const MOST_ROUNDS: usize = 500;

/// A store in memory never waits.
pub(crate) fn now_or_never<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("the memory store waits"),
    }
}

/// All that a scenario can touch.
pub(crate) struct World {
    pub(crate) store: Memory,
    pub(crate) now: Timestamp,
    nodes: BTreeMap<String, ClusterNodeId>,
    services: BTreeMap<String, ServiceId>,
    /// Nodes that do nothing and say nothing.
    dead: BTreeSet<ClusterNodeId>,
    /// Images whose tasks fail right away.
    broken: BTreeSet<String>,
    names: HashMap<TaskId, String>,
    counted: HashMap<(ServiceId, Slot), usize>,
    heard: Vec<String>,
    next_id: u128,
}

impl World {
    pub(crate) fn new() -> Self {
        let mut world = World {
            store: Memory::new(),
            now: Timestamp::parse("2026-01-01T00:00:00Z").unwrap(),
            nodes: BTreeMap::new(),
            services: BTreeMap::new(),
            dead: BTreeSet::new(),
            broken: BTreeSet::new(),
            names: HashMap::new(),
            counted: HashMap::new(),
            heard: Vec::new(),
            next_id: 1,
        };
        let sealed = || Sealed { key: 0, nonce: Vec::new(), bytes: Vec::new() };
        let ca = CertificateAuthority {
            trusted: String::new(),
            signer: String::new(),
            key: None,
            rotating: false,
            epoch: 1,
        };
        let cluster = Cluster {
            id: ClusterId::from_bits(world.id()),
            meta: Meta::new(world.now),
            spec: ClusterSpec::default(),
            ca,
            worker_token: sealed(),
            manager_token: sealed(),
            unlock_key: None,
            data_path_port: 4789,
            address_pools: vec!["10.0.0.0/8".parse().unwrap()],
            subnet_size: 24,
        };
        world.commit(world.txn().put(&CLUSTER, CLUSTER_NAME, cluster));
        world
    }

    fn id(&mut self) -> u128 {
        self.next_id += 1;
        self.next_id << 64
    }

    pub(crate) fn txn(&self) -> Txn {
        Txn::on(&self.store.snapshot())
    }

    pub(crate) fn commit(&self, txn: Txn) {
        now_or_never(self.store.commit(txn)).unwrap();
    }

    pub(crate) fn view(&self) -> View {
        View::of(&self.store.snapshot()).unwrap()
    }

    pub(crate) fn heard(&mut self) -> Vec<String> {
        std::mem::take(&mut self.heard)
    }

    /// One line of a scenario.
    pub(crate) fn act(&mut self, verb: &str, words: &[&str]) {
        match verb {
            "cluster" => self.change_cluster(words),
            "node" => self.add_nodes(words),
            "label" => {
                let (key, value) = words[1].split_once('=').unwrap();
                self.change_node(words[0], |node| {
                    node.spec.labels.insert(key.to_owned(), value.to_owned());
                });
            }
            "network" => self.add_network(words),
            "service" => self.add_service(words),
            "update" => self.update(words),
            "scale" => self.change_service(words[0], |service| {
                service.spec.mode = Mode::Replicated { replicas: words[1].parse().unwrap() };
            }),
            "rollback" => self.rollback(words[0]),
            "rerun" => self.change_service(words[0], |service| service.job_iteration += 1),
            "rm" => self.change_service(words[0], |service| service.removing = true),
            "silence" => self.turn(words, NodeState::Unknown),
            "kill" => self.turn(words, NodeState::Down),
            "return" => self.turn(words, NodeState::Ready),
            "drain" => self.avail(words[0], Availability::Drain),
            "pause" => self.avail(words[0], Availability::Pause),
            "activate" => self.avail(words[0], Availability::Active),
            "leave" => {
                let id = self.nodes.remove(words[0]).unwrap();
                self.commit(self.txn().remove(&NODES, id.as_str()));
            }
            "broken" => {
                self.broken.insert(words[0].to_owned());
            }
            "fail" => self.end(words[0], TaskState::Failed),
            "complete" => self.end(words[0], TaskState::Complete),
            "settle" => self.settle(),
            "after" => self.pass(duration(words[0])),
            "quiet" => {
                self.pass(duration(words[0]));
                self.heard.clear();
            }
            "show" => self.show(words),
            "why" => self.why(words[0]),
            other => panic!("no such verb: {other}"),
        }
    }

    fn change_cluster(&mut self, words: &[&str]) {
        let mut cluster = (**self.view().cluster().unwrap()).clone();
        for (key, value) in pairs(words) {
            match key {
                "history" => cluster.spec.task_history = value.parse().unwrap(),
                other => panic!("no such key: {other}"),
            }
        }
        self.commit(self.txn().put(&CLUSTER, CLUSTER_NAME, cluster));
    }

    fn add_nodes(&mut self, words: &[&str]) {
        let (named, keys): (Vec<&str>, Vec<&str>) = words.iter().partition(|word| !word.contains('='));
        for name in named {
            let id = ClusterNodeId::from_bits(self.id());
            let mut node = Node {
                id: id.clone(),
                meta: Meta::new(self.now),
                spec: NodeSpec::default(),
                description: None,
                state: NodeState::Ready,
                message: String::new(),
                since: self.now,
                last_silent: None,
                address: Some(std::net::Ipv4Addr::from(0xc0a8_0001 + self.nodes.len() as u32).into()),
                manager: None,
                manager_status: None,
                signed_by: Default::default(),
                sessions: 0,
                attachments: Vec::new(),
            };
            let mut description = NodeDescription {
                hostname: name.to_owned(),
                platform: Platform {
                    os: "linux".into(),
                    architecture: "amd64".into(),
                    ..Platform::default()
                },
                nano_cpus: 4_000_000_000,
                memory: 8 << 30,
                encrypts: true,
                mtu: 1500,
                ..NodeDescription::default()
            };
            for (key, value) in pairs(&keys) {
                match key {
                    "cpus" => description.nano_cpus = value.parse::<i64>().unwrap() * 1_000_000_000,
                    "memory" => description.memory = value.parse::<i64>().unwrap() << 20,
                    "gpu" => description.generic = gpus(value),
                    "role" if value == "manager" => node.spec.role = Role::Manager,
                    "arch" => description.platform.architecture = value.to_owned(),
                    "encrypts" => description.encrypts = value == "yes",
                    "mtu" => description.mtu = value.parse().unwrap(),
                    "engine" => {
                        description.engine_labels.insert("kind".into(), value.to_owned());
                    }
                    label => {
                        node.spec.labels.insert(label.to_owned(), value.to_owned());
                    }
                }
            }
            node.description = Some(description);
            self.nodes.insert(name.to_owned(), id.clone());
            self.commit(self.txn().put(&NODES, id.as_str(), node));
        }
    }

    fn add_network(&mut self, words: &[&str]) {
        let id = NetworkId::parse(&format!("{:064x}", self.id() | 0xabcdef)).unwrap();
        let mut network = ClusterNetwork {
            id: id.clone(),
            meta: Meta::new(self.now),
            spec: NetworkSpec {
                name: words[0].to_owned(),
                driver: NetworkDriver::Overlay,
                ipv4: true,
                ipv6: false,
                internal: false,
                attachable: false,
                ingress: false,
                config_only: false,
                config_from: None,
                options: BTreeMap::new(),
                labels: BTreeMap::new(),
                ipam_driver: "default".into(),
                ipam_options: None,
                pools: Vec::new(),
            },
            encrypted: false,
            vni: 0,
            mtu: 0,
            subnets: Vec::new(),
        };
        for word in &words[1..] {
            match *word {
                "ingress" => network.spec.ingress = true,
                "encrypted" => network.encrypted = true,
                subnet => network.spec.pools.push(minke_model::network::IpamPool {
                    subnet: subnet.parse().unwrap(),
                    range: None,
                    gateway: None,
                    auxiliary: BTreeMap::new(),
                    user_given: true,
                    gateway_chosen: false,
                }),
            }
        }
        let name = name_of(Named::Network, words[0]);
        self.commit(self.txn().put(&NETWORKS, id.as_str(), network).put(&NAMES, &name, id.to_string()));
    }

    fn add_service(&mut self, words: &[&str]) {
        let id = ServiceId::from_bits(self.id());
        let mut spec = ServiceSpec { name: words[0].to_owned(), ..ServiceSpec::default() };
        spec.task.container.image = "v1".to_owned();
        self.fill(&mut spec, &words[1..]);
        let service = Service {
            id: id.clone(),
            meta: Meta::new(self.now),
            previous: None,
            template: 1,
            previous_template: None,
            endpoint: None,
            update: None,
            job_iteration: 0,
            job_started: None,
            removing: false,
            spec,
        };
        self.services.insert(words[0].to_owned(), id.clone());
        let txn = self
            .txn()
            .put(&TEMPLATES, &template_name(&id, 1), service.spec.task.clone())
            .put(&NAMES, &name_of(Named::Service, words[0]), id.to_string())
            .put(&SERVICES, id.as_str(), service);
        self.commit(txn);
    }

    fn fill(&self, spec: &mut ServiceSpec, words: &[&str]) {
        let task = &mut spec.task;
        for word in words.iter().filter(|word| !word.contains('=')) {
            match *word {
                "global" => spec.mode = Mode::Global,
                "global-job" => spec.mode = Mode::GlobalJob,
                "single" => {
                    spec.labels.insert("minke.single".into(), "true".into());
                }
                other => panic!("no such word: {other}"),
            }
        }
        for (key, value) in pairs(words) {
            let restart =
                |task: &mut minke_model::service::TaskSpec| task.restart.clone().unwrap_or_default();
            match key {
                "replicas" => spec.mode = Mode::Replicated { replicas: value.parse().unwrap() },
                "job" => {
                    let (total, concurrent) = value.split_once('/').unwrap();
                    spec.mode = Mode::ReplicatedJob {
                        max_concurrent: concurrent.parse().unwrap(),
                        total_completions: total.parse().unwrap(),
                    };
                }
                "image" => task.container.image = value.to_owned(),
                "constraint" => task.placement.constraints.push(value.to_owned()),
                "spread" => task.placement.spread.push(value.to_owned()),
                "max" => task.placement.max_replicas = value.parse().unwrap(),
                "cpus" => task.resources.reserve_nano_cpus = value.parse::<i64>().unwrap() * 1_000_000_000,
                "memory" => task.resources.reserve_memory = value.parse::<i64>().unwrap() << 20,
                "gpu" => task.resources.reserve_generic = gpus(value),
                "restart" => {
                    let condition = match value {
                        "none" => RestartCondition::None,
                        "on-failure" => RestartCondition::OnFailure,
                        _ => RestartCondition::Any,
                    };
                    task.restart = Some(TaskRestart { condition, ..restart(task) });
                }
                "delay" => task.restart = Some(TaskRestart { delay: duration(value), ..restart(task) }),
                "attempts" => {
                    task.restart = Some(TaskRestart { max_attempts: value.parse().unwrap(), ..restart(task) })
                }
                "window" => task.restart = Some(TaskRestart { window: duration(value), ..restart(task) }),
                "volume" => task.container.mounts.push(MountSpec {
                    kind: MountKind::Volume,
                    source: value.to_owned(),
                    target: "/data".into(),
                    read_only: false,
                    consistency: String::new(),
                    bind: None,
                    volume: Some(VolumeOptions::default()),
                    tmpfs: None,
                    image_subpath: None,
                }),
                "network" => {
                    let view = self.view();
                    let network = view.networks().find(|network| network.spec.name == value).unwrap();
                    task.networks.push(NetworkAttachmentSpec {
                        target: network.id.to_string(),
                        ..NetworkAttachmentSpec::default()
                    });
                }
                "port" | "host-port" => {
                    let (published, target) = value.split_once(':').unwrap();
                    let publish = if key == "port" { PublishMode::Ingress } else { PublishMode::Host };
                    let endpoint = spec.endpoint.get_or_insert_with(EndpointModeSpec::default);
                    endpoint.ports.push(PortSpec {
                        name: String::new(),
                        protocol: Protocol::Tcp,
                        target: target.parse().unwrap(),
                        published: published.parse().unwrap(),
                        publish,
                    });
                }
                "endpoint" if value == "dnsrr" => {
                    spec.endpoint.get_or_insert_with(EndpointModeSpec::default).mode = Resolution::RoundRobin;
                }
                "label" => {
                    let (key, value) = value.split_once(':').unwrap();
                    spec.labels.insert(key.to_owned(), value.to_owned());
                }
                policy => {
                    let update = spec.update.get_or_insert_with(UpdatePolicy::default);
                    match policy {
                        "parallelism" => update.parallelism = value.parse().unwrap(),
                        "update-delay" => update.delay = duration(value),
                        "monitor" => update.monitor = duration(value),
                        "ratio" => update.max_failure_ratio = value.parse().unwrap(),
                        "order" if value == "start-first" => update.order = UpdateOrder::StartFirst,
                        "on-failure" => {
                            update.failure_action = match value {
                                "continue" => FailureAction::Continue,
                                "rollback" => FailureAction::Rollback,
                                _ => FailureAction::Pause,
                            };
                        }
                        other => panic!("no such key: {other}"),
                    }
                }
            }
        }
    }

    pub(crate) fn change_service(&mut self, name: &str, change: impl FnOnce(&mut Service)) {
        let id = self.services[name].clone();
        let view = self.view();
        let mut service = (**view.service(&id).unwrap()).clone();
        change(&mut service);
        self.commit(self.txn().put(&SERVICES, id.as_str(), service));
    }

    fn update(&mut self, words: &[&str]) {
        let id = self.services[words[0]].clone();
        let view = self.view();
        let old = (**view.service(&id).unwrap()).clone();
        let mut spec = old.spec.clone();
        self.fill(&mut spec, &words[1..]);
        let version = view.templates_of(&id).max().unwrap() + 1;
        let service = Service {
            meta: old.meta.changed(self.now),
            previous: Some(Box::new(old.spec.clone())),
            previous_template: Some(old.template),
            template: version,
            update: None,
            spec,
            ..old
        };
        let template = service.spec.task.clone();
        self.commit(self.txn().put(&TEMPLATES, &template_name(&id, version), template).put(
            &SERVICES,
            id.as_str(),
            service,
        ));
    }

    fn rollback(&mut self, name: &str) {
        let now = self.now;
        self.change_service(name, |service| {
            service.spec = *service.previous.take().unwrap();
            service.template = service.previous_template.take().unwrap();
            service.update = Some(UpdateStatus {
                state: UpdateState::RollbackStarted,
                started: now,
                completed: None,
                message: "manually requested rollback".into(),
            });
        });
    }

    fn change_node(&mut self, name: &str, change: impl FnOnce(&mut Node)) {
        let id = self.nodes[name].clone();
        let mut node = (**self.view().node(&id).unwrap()).clone();
        change(&mut node);
        self.commit(self.txn().put(&NODES, id.as_str(), node));
    }

    pub(crate) fn turn(&mut self, words: &[&str], state: NodeState) {
        for name in words {
            let (id, now) = (self.nodes[*name].clone(), self.now);
            if state == NodeState::Ready {
                self.dead.remove(&id);
            } else {
                self.dead.insert(id);
            }
            self.change_node(name, |node| {
                (node.state, node.since) = (state, now);
                node.last_silent = Some(now);
            });
        }
    }

    fn avail(&mut self, name: &str, availability: Availability) {
        self.change_node(name, |node| node.spec.availability = availability);
    }

    pub(crate) fn end(&mut self, name: &str, state: TaskState) {
        let view = self.view();
        let task = view
            .tasks()
            .filter(|task| {
                self.name_of(&task.task.id).starts_with(&format!("{name}/"))
                    || self.name_of(&task.task.id) == name
            })
            .filter(|task| task.state() == TaskState::Running)
            .max_by_key(|task| task.task.meta.created)
            .unwrap_or_else(|| panic!("{name} does not run"));
        let code = if state == TaskState::Complete { 0 } else { 1 };
        let error = if code == 0 { "" } else { "task: non-zero exit (1)" };
        self.say(&task.task.clone(), state, error, Some(code));
    }

    pub(crate) fn name_of(&self, id: &TaskId) -> String {
        self.names.get(id).cloned().unwrap_or_else(|| id.short().to_owned())
    }

    fn say(&mut self, task: &Task, state: TaskState, error: &str, exit_code: Option<i32>) {
        let node = task.node.clone().unwrap();
        let view = self.view();
        let old = view.task(&task.id).and_then(|task| task.status.clone());
        let mut status = old.map_or_else(|| TaskStatus::accepted(self.now), |status| (*status).clone());
        if state == TaskState::Running {
            status.ran_since = Some(self.now);
        }
        status.state = state;
        status.at = self.now;
        status.message = state.as_str().to_owned();
        status.error = error.to_owned();
        status.exit_code = exit_code;
        self.commit(self.txn().put(&STATUSES, &status_name(&node, &task.id), status));
        if state >= TaskState::Running {
            let line = format!("{}: {} is {}", self.node_name(&node), self.name_of(&task.id), state.as_str());
            self.heard.push(line);
        }
    }

    fn node_name(&self, id: &ClusterNodeId) -> String {
        self.nodes.iter().find(|(_, known)| *known == id).map_or("?".to_owned(), |(name, _)| name.clone())
    }

    /// All loops plan and commit until nothing is left to do, and all nodes do what they are told.
    pub(crate) fn settle(&mut self) {
        for _ in 0..MOST_ROUNDS {
            let planned = self.plan_once();
            if !planned && !self.nodes_step() {
                return;
            }
        }
        panic!("the loops never come to rest: {}", self.heard.join("\n"));
    }

    /// Whether a plan of any loop had something in it.
    pub(crate) fn plan_once(&mut self) -> bool {
        let mut some = false;
        for kind in Kind::ALL {
            let view = self.view();
            let planned = kind.plan(&view, self.now);
            some |= !planned.deeds.is_empty();
            for deed in planned.deeds {
                let because = deed.because.clone();
                // One deed each, on what is now: as if all before it had been others'.
                for (txn, _) in pack(&view, vec![deed]) {
                    match now_or_never(self.store.commit(txn)) {
                        Ok(_) => {
                            self.learn_names();
                            let line = format!("{}: {}", kind.as_str(), self.readable(&because));
                            self.heard.push(line);
                        }
                        Err(StoreError::Refused(_)) => {}
                        Err(error) => panic!("{because}: {error}"),
                    }
                }
            }
        }
        some
    }

    /// `web.1/2`: the second task of the first slot.
    pub(crate) fn learn_names(&mut self) {
        let view = self.view();
        let mut new: Vec<_> = view.tasks().filter(|task| !self.names.contains_key(&task.task.id)).collect();
        new.sort_by_key(|task| task.task.meta.created);
        for task in new {
            let service = view.service(&task.task.service).map_or("?", |service| &service.spec.name);
            let count = self.counted.entry((task.task.service.clone(), task.task.slot.clone())).or_default();
            *count += 1;
            let slot = match &task.task.slot {
                Slot::Number(number) => number.to_string(),
                Slot::Node(node) => {
                    self.nodes.iter().find(|(_, id)| *id == node).map_or("?".into(), |(name, _)| name.clone())
                }
            };
            self.names.insert(task.task.id.clone(), format!("{service}.{slot}/{count}"));
        }
    }

    fn readable(&self, text: &str) -> String {
        self.names.iter().fold(text.to_owned(), |text, (id, name)| {
            text.replace(id.as_str(), name).replace(id.short(), name)
        })
    }

    /// Every living node takes one step with each of its tasks. Whether one did.
    pub(crate) fn nodes_step(&mut self) -> bool {
        let view = self.view();
        let mut tasks: Vec<_> = view.tasks().filter(|task| task.task.state == TaskState::Assigned).collect();
        tasks.sort_by_key(|task| self.name_of(&task.task.id));
        let mut some = false;
        for task in tasks {
            let Some(node) = task.task.node.clone() else { continue };
            if self.dead.contains(&node) || view.node(&node).is_none() || task.has_ended() {
                continue;
            }
            let image = view.spec_of(&task.task).map_or("", |spec| &spec.container.image);
            let (next, error) = match (task.task.desired, task.state()) {
                (TaskState::Shutdown | TaskState::Remove, _) => (TaskState::Shutdown, ""),
                (TaskState::Running | TaskState::Complete, TaskState::Running) => continue,
                (TaskState::Running | TaskState::Complete, _) if self.broken.contains(image) => {
                    (TaskState::Failed, "task: non-zero exit (1)")
                }
                (TaskState::Running | TaskState::Complete, _) => (TaskState::Running, ""),
                (_, TaskState::Ready) => continue,
                (_, _) => (TaskState::Ready, ""),
            };
            let task = task.task.clone();
            self.say(&task, next, error, (!error.is_empty()).then_some(1));
            some = true;
        }
        some
    }

    /// Lets time pass, from one thing that is due to the next.
    pub(crate) fn pass(&mut self, time: Duration) {
        let until = after(self.now, time);
        for _ in 0..MOST_ROUNDS {
            self.settle();
            let view = self.view();
            let due = Kind::ALL.into_iter().filter_map(|kind| kind.plan(&view, self.now).look_again).min();
            match due.filter(|due| *due <= until) {
                Some(due) => self.now = due.max(after(self.now, Duration::from_nanos(1))),
                None => {
                    self.now = until;
                    return self.settle();
                }
            }
        }
        panic!("the loops look again and again: {}", self.heard.join("\n"));
    }

    /// What is, as `docker service ps` and `ls` say it.
    fn show(&mut self, words: &[&str]) {
        let view = self.view();
        for service in view.services() {
            let wanted = words.is_empty() || words.contains(&service.spec.name.as_str());
            if !wanted {
                continue;
            }
            if let Some(update) = &service.update {
                let line =
                    format!("{}: {:?}, {}", service.spec.name, update.state, self.readable(&update.message));
                self.heard.push(line);
            }
            if let Some(endpoint) = &service.endpoint {
                let vips: Vec<_> =
                    endpoint.vips.iter().map(|(_, address, prefix)| format!("{address}/{prefix}")).collect();
                let ports: Vec<_> =
                    endpoint.ports.iter().map(|port| format!("{}:{}", port.published, port.target)).collect();
                self.heard.push(format!(
                    "{}: at {} ports {}",
                    service.spec.name,
                    vips.join(" "),
                    ports.join(" ")
                ));
            }
            let mut tasks: Vec<_> = view.tasks_of(&service.id).collect();
            let count =
                |task: &TaskId| self.name_of(task).rsplit('/').next().and_then(|n| n.parse::<u32>().ok());
            tasks.sort_by_key(|task| (task.task.slot.clone(), count(&task.task.id)));
            for task in tasks {
                let node = task.task.node.as_ref().map_or("-".to_owned(), |node| self.node_name(node));
                let addresses: Vec<_> = task
                    .task
                    .attachments
                    .iter()
                    .flat_map(|at| &at.addresses)
                    .map(|(address, _)| format!(" {address}"))
                    .collect();
                let message = if task.state() <= TaskState::Pending {
                    format!(" ({})", task.task.message)
                } else {
                    String::new()
                };
                let granted: Vec<_> = task.task.generic.iter().map(|one| format!(" {one:?}")).collect();
                self.heard.push(format!(
                    "{} on {node}: {}, wanted {}{}{}{message}",
                    self.name_of(&task.task.id),
                    task.state().as_str(),
                    task.task.desired.as_str(),
                    addresses.concat(),
                    granted.concat(),
                ));
            }
        }
    }

    fn why(&mut self, name: &str) {
        let view = self.view();
        let lines = match self.services.get(name).filter(|id| view.service(id).is_some()) {
            Some(id) => minke_cluster::why::of_service(&view, id, self.now),
            None => {
                let mut named: Vec<_> =
                    view.tasks().filter(|task| self.name_of(&task.task.id).starts_with(name)).collect();
                named.sort_by_key(|task| task.task.meta.created);
                named
                    .last()
                    .map_or(Vec::new(), |task| minke_cluster::why::of_task(&view, &task.task.id, self.now))
            }
        };
        for line in lines {
            let line = self.readable(&line.to_string());
            self.heard.push(line);
        }
    }
}

fn pairs<'a>(words: &'a [&'a str]) -> impl Iterator<Item = (&'a str, &'a str)> {
    words.iter().filter_map(|word| word.split_once('='))
}

fn gpus(value: &str) -> Vec<GenericResource> {
    let kind = "gpu".to_owned();
    match value.parse() {
        Ok(value) => vec![GenericResource::Count { kind, value }],
        Err(_) => value
            .split(',')
            .map(|name| GenericResource::Named { kind: kind.clone(), value: name.to_owned() })
            .collect(),
    }
}

/// `500ms`, `3s`, `10m`, `24h`.
fn duration(text: &str) -> Duration {
    let digits = text.trim_end_matches(|c: char| c.is_alphabetic());
    let number: u64 = digits.parse().unwrap();
    match &text[digits.len()..] {
        "ms" => Duration::from_millis(number),
        "s" => Duration::from_secs(number),
        "m" => Duration::from_secs(60 * number),
        "h" => Duration::from_secs(3600 * number),
        other => panic!("no such unit: {other}"),
    }
}
