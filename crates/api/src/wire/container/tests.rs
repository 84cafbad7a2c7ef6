//! A running container with nearly every option, held to what dockerd 28.5.2 answered about it, byte for byte.

use super::*;
use crate::wire::{
    create,
    network::{self, Resource},
    summary::Summary,
    system::layers,
};
use minke_model::{
    ContainerId, EndpointId, NetworkId, Timestamp,
    id::Digest,
    mount::{Propagation, ReadOnlyRecursion},
    network::{Endpoint, IpamPool, Network, NetworkDriver, NetworkSpec},
    port::PublishedPort,
};
use std::path::Path;

const ID: &str = "b1b7d60718226513e7bc33301fdc6745b2ad452b5f52eceb0504a18d629a37fb";
const ANONYMOUS: &str = "93e9abb71df125eb3143912a9584e1c4a826ad40c0e53a1dd8b8f69ab3152728";
const NETWORK: &str = "317cb79efceb95cf9fb427190bb00b0435f976908d9c39ab60c818dbda58eae6";

fn time(text: &str) -> Timestamp {
    Timestamp::parse(text).expect("a time")
}

fn mount(kind: MountKind, name: &str, source: &str, destination: &str) -> Model {
    Model {
        kind,
        name: name.to_owned(),
        source: source.to_owned(),
        destination: destination.to_owned(),
        driver: if kind == MountKind::Volume { "local".to_owned() } else { String::new() },
        mode: String::new(),
        writable: true,
        propagation: None,
        non_recursive: false,
        read_only_recursion: ReadOnlyRecursion::default(),
        copy_up: false,
        subpath: String::new(),
        tmpfs_options: String::new(),
        from_mount_spec: false,
    }
}

fn endpoint() -> Endpoint {
    Endpoint {
        network: NetworkId::parse(NETWORK),
        id: EndpointId::parse("6f283efadd45b534ac324818be2264114939adb633dcf7565e569ecd819d7bc5"),
        interface: "eth0".to_owned(),
        ipv4: Some(("10.77.5.5".parse().expect("an address"), 16)),
        gateway4: "10.77.0.9".parse().ok(),
        ipv6: Some(("fd77::2".parse().expect("an address"), 64)),
        gateway6: "fd77::1".parse().ok(),
        mac: "02:42:0a:4d:05:05".to_owned(),
        dns_names: ["fix", "al", "b1b7d6071822"].map(str::to_owned).to_vec(),
        published: vec![PublishedPort {
            container: "80/tcp".parse().expect("a port"),
            host_ip: "127.0.0.1".parse().expect("an address"),
            host_port: 28080,
        }],
    }
}

/// The record as the engine would keep it, with the image's part and the daemon's defaults in it.
fn container() -> Container {
    let body = serde_json::from_str(include_str!("body.json")).expect("the body");
    let mut spec = create::parse(body, None, 2).expect("a body that is taken").spec;
    spec.hostname = "b1b7d6071822".to_owned();
    spec.process.env.push("PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned());
    spec.namespaces.cgroup_host = Some(true);
    spec.runtime = "runc".to_owned();
    spec.resources.memory_swap = 128 << 20;
    spec.resources.oom_kill_disable = Some(false);
    let data = |name: &str| format!("/var/lib/api1/volumes/{name}/_data");
    let bind = |source: &str, destination: &str, propagation| Model {
        propagation: Some(propagation),
        ..mount(MountKind::Bind, "", source, destination)
    };
    let volume = |name: &str, destination: &str, mode: &str| Model {
        mode: mode.to_owned(),
        ..mount(MountKind::Volume, name, &data(name), destination)
    };
    Container {
        id: ContainerId::parse(ID).expect("an id"),
        name: "fix".to_owned(),
        created: time("2026-11-24T08:52:56.856200833Z"),
        image_id: Digest::parse("sha256:0c9327e979635969d73b4e0bed70db6efc966570b567805e31bf2c47e0fceb11"),
        args: vec!["sleep".to_owned(), "60".to_owned()],
        spec,
        mounts: vec![
            Model { mode: "ro".to_owned(), writable: false, ..bind("/tmp", "/x", Propagation::Rprivate) },
            volume("fixvol", "/vv", "z"),
            mount(MountKind::Tmpfs, "", "", "/t"),
            Model { writable: false, ..volume("fixvol", "/w", "z") },
            bind("/tmp", "/b", Propagation::Rslave),
            volume(ANONYMOUS, "/anon", ""),
        ],
        status: ContainerStatus {
            state: ContainerState::Running,
            pid: 25487,
            exit_code: 0,
            error: String::new(),
            oom_killed: false,
            started: time("2026-11-24T08:52:56.90257476Z"),
            finished: Timestamp::zero(),
            restart_count: 0,
            stopped_by_user: false,
            health: Some(Probed {
                state: HealthState::Healthy,
                failing_streak: 0,
                log: vec![ProbeResult {
                    start: time("2026-11-24T08:52:58.166906314Z"),
                    end: time("2026-11-24T08:52:58.223721743Z"),
                    exit_code: 0,
                    output: String::new(),
                }],
            }),
            endpoints: BTreeMap::from([("fixnet".to_owned(), endpoint())]),
            boot_id: String::new(),
        },
    }
}

#[test]
fn inspect_is_dockerd_s_byte_for_byte() {
    let container = container();
    let home = format!("/var/lib/api1/containers/{ID}");
    let overlay = "/var/lib/api1/overlay2/b0d62cf9cce4efa4829525cf754c9451173c9d136a09df4f7420425c0eb95df2";
    let lower = [
        format!("{overlay}-init/diff"),
        "/var/lib/api1/overlay2/7dae9cebd793584b942f7a5c34d2701146f2744c745ffb3747407cccd7bf6686/diff"
            .to_owned(),
    ];
    let below = |name: &str| format!("{overlay}/{name}");
    let mut data = layers(
        &lower.map(Into::into),
        Path::new(&below("diff")),
        Path::new(&below("work")),
        Path::new(&below("merged")),
    );
    data.insert("ID", ID.to_owned());
    let around = Surroundings {
        exec_ids: Vec::new(),
        resolv_conf: format!("{home}/resolv.conf"),
        hostname: format!("{home}/hostname"),
        hosts: format!("{home}/hosts"),
        log: format!("{home}/{ID}-json.log"),
        driver: "overlay2".to_owned(),
        apparmor: String::new(),
        layers: data,
        size: Some((0, 2_065_393)),
    };
    let spec = container.spec.networking.endpoints["fixnet"].clone();
    let networks = BTreeMap::from([("fixnet".to_owned(), (spec, endpoint()))]);
    let sandbox = "912a87d7da5be3723a64833aea838147f3a20b57703061593ad4ad68c05d3a65";
    let settings = NetworkSettings::new(
        &container,
        &networks,
        sandbox.to_owned(),
        "/run/api1/netns/912a87d7da5b".to_owned(),
    );
    let shown = serde_json::to_string(&Inspect::new(&container, around, settings)).expect("JSON");
    assert_eq!(shown, include_str!("inspect.json").trim_end());
}

/// Members in another order are the same: dockerd's lists of ports and mounts have none.
fn sorted(mut row: serde_json::Value) -> serde_json::Value {
    for list in ["Ports", "Mounts"] {
        if let Some(list) = row[list].as_array_mut() {
            list.sort_by_key(|item| item.to_string());
        }
    }
    row
}

#[test]
fn a_row_of_the_list_is_dockerd_s() {
    let now = time("2026-11-24T08:52:58.5Z");
    let listed = minke_engine::container::Summary {
        container: std::sync::Arc::new(container()),
        image_name: "sc/box:1".into(),
        size: Some((0, 2_065_393)),
        links: Vec::new(),
    };
    let row = Summary::new(&listed, now);
    let recorded: Vec<serde_json::Value> = serde_json::from_str(include_str!("row.json")).expect("rows");
    assert_eq!(sorted(serde_json::to_value(row).expect("JSON")), sorted(recorded[0].clone()));
}

#[test]
fn its_network_is_dockerd_s_byte_for_byte() {
    let pool = |subnet: &str| IpamPool {
        subnet: subnet.parse().expect("a subnet"),
        range: None,
        gateway: None,
        auxiliary: BTreeMap::new(),
        user_given: true,
        gateway_chosen: false,
    };
    let one = |name: &str, value: &str| BTreeMap::from([(name.to_owned(), value.to_owned())]);
    let network = Network {
        id: NetworkId::parse(NETWORK).expect("an id"),
        created: time("2026-11-24T08:52:56.741620096Z"),
        spec: NetworkSpec {
            name: "fixnet".to_owned(),
            driver: NetworkDriver::Bridge,
            ipv4: true,
            ipv6: true,
            internal: false,
            attachable: false,
            ingress: false,
            config_only: false,
            config_from: None,
            options: one("a", "b"),
            labels: one("l", "m"),
            ipam_driver: "default".to_owned(),
            ipam_options: None,
            pools: vec![
                IpamPool {
                    range: "10.77.5.0/24".parse().ok(),
                    gateway: "10.77.0.9".parse().ok(),
                    auxiliary: BTreeMap::from([("r".to_owned(), "10.77.0.10".parse().expect("an address"))]),
                    ..pool("10.77.0.0/16")
                },
                pool("fd77::/64"),
            ],
        },
        bridge: "br-317cb79efceb".to_owned(),
    };
    let containers = BTreeMap::from([(ID.to_owned(), Resource::new("fix", &endpoint()))]);
    let shown = serde_json::to_string(&network::Inspect::new(&network, containers)).expect("JSON");
    assert_eq!(shown, include_str!("network.json").trim_end());
}

#[test]
fn states_are_said_as_dockerd_says_them() {
    let now = time("2026-11-24T09:00:00Z");
    let said = |change: fn(&mut ContainerStatus)| {
        let mut container = container();
        change(&mut container.status);
        crate::wire::summary::status_text(&container, now)
    };
    assert_eq!(said(|_| {}), "Up 7 minutes (healthy)");
    assert_eq!(said(|s| s.health = None), "Up 7 minutes");
    assert_eq!(said(|s| s.state = ContainerState::Paused), "Up 7 minutes (Paused)");
    assert_eq!(said(|s| s.state = ContainerState::Created), "Created");
    let ended = |s: &mut ContainerStatus| {
        s.state = ContainerState::Exited;
        s.exit_code = 5;
        s.finished = time("2026-11-24T08:59:57Z");
    };
    assert_eq!(said(ended), "Exited (5) 3 seconds ago");
    assert_eq!(
        said(|s| {
            s.state = ContainerState::Restarting;
            s.exit_code = 1;
            s.finished = time("2026-11-24T08:59:59.5Z");
        }),
        "Restarting (1) Less than a second ago"
    );
}
