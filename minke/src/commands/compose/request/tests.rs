//! Requests as docker compose would make them.

use super::*;
use minke_compose::{FileError, FileKind, Files, LoadOptions, load};

struct One(&'static str);

impl Files for One {
    fn read(&self, path: &str, _: u64) -> Result<Vec<u8>, FileError> {
        if path == "/p/compose.yaml" { Ok(self.0.into()) } else { Err(FileError::NotFound) }
    }
    fn kind(&self, path: &str) -> Option<FileKind> {
        (path == "/p/compose.yaml").then_some(FileKind::File)
    }
    fn resolve(&self, path: &str) -> Option<String> {
        Some(path.to_owned())
    }
}

fn project(yaml: &'static str) -> Project {
    let options = LoadOptions { working_directory: "/p".into(), ..LoadOptions::default() };
    load(&options, &One(yaml)).map(|loaded| loaded.project).unwrap_or_else(|faults| panic!("{faults:?}"))
}

fn wish() -> Wish<'static> {
    Wish { number: Some(1), separator: "-", ..Wish::default() }
}

/// The request for the service `a`.
fn request(yaml: &'static str) -> Value {
    let project = project(yaml);
    body(&project, &project.services["a"], &wish()).unwrap()
}

#[test]
fn volumes_are_binds_where_text_says_enough() {
    let body = request(
        "name: p\nservices:\n  a:\n    image: i\n    volumes: [data:/d:ro, /anon, './x:/x', {type: tmpfs, target: /t, tmpfs: {size: 1m}}, {type: volume, source: data, target: /s, volume: {subpath: sub}}]\n    secrets: [key]\n    configs: [{source: conf, target: /etc/c}, inline]\nvolumes: {data: {}}\nsecrets: {key: {file: ./k}}\nconfigs: {conf: {file: ./c}, inline: {content: hello}}\n",
    );
    assert_eq!(body["HostConfig"]["Binds"], json!(["p_data:/d:ro", "/p/x:/x:rw"]));
    assert_eq!(
        body["HostConfig"]["Mounts"],
        json!([
            {"Type": "volume", "Source": "", "Target": "/anon", "ReadOnly": false, "VolumeOptions": {"NoCopy": false, "Labels": {}, "Subpath": ""}},
            {"Type": "bind", "Source": "/p/c", "Target": "/etc/c", "ReadOnly": true},
            {"Type": "bind", "Source": "/p/k", "Target": "/run/secrets/key", "ReadOnly": true, "BindOptions": {}},
            {"Type": "volume", "Source": "p_data", "Target": "/s", "ReadOnly": false, "VolumeOptions": {"NoCopy": false, "Labels": {}, "Subpath": "sub"}},
            {"Type": "tmpfs", "Source": "", "Target": "/t", "ReadOnly": false, "TmpfsOptions": {"SizeBytes": 1 << 20, "Mode": 0}},
        ])
    );
}

#[test]
fn a_replaced_containers_anonymous_volumes_are_taken_over() {
    let project =
        project("name: p\nservices:\n  a: {image: i, volumes: [/anon, data:/d]}\nvolumes: {data: {}}\n");
    let old = |source: &str, target: &str, of_image| Inherited {
        kind: "volume".into(),
        source: source.into(),
        target: target.into(),
        read_only: false,
        of_image,
    };
    let inherited =
        vec![old("one", "/anon", false), old("two", "/of-image", true), old("three", "/gone", false)];
    let body = body(&project, &project.services["a"], &Wish { inherited, ..wish() }).unwrap();
    let sources: Vec<&str> = body["HostConfig"]["Mounts"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|mount| mount["Source"].as_str())
        .collect();
    assert_eq!(sources, ["one", "two"]);
    assert_eq!(body["HostConfig"]["Binds"], json!(["p_data:/d:rw"]));
}

#[test]
fn networks_go_by_priority_and_know_the_services_names() {
    let body = request(
        "name: p\nservices:\n  a:\n    image: i\n    mac_address: 02:42:ac:11:00:09\n    networks: {low: {aliases: [x]}, high: {priority: 5, ipv4_address: 10.0.0.9, interface_name: web0}}\nnetworks: {low: {}, high: {name: own}}\n",
    );
    assert_eq!(body["HostConfig"]["NetworkMode"], "own");
    let endpoints = &body["NetworkingConfig"]["EndpointsConfig"];
    assert_eq!(endpoints["p_low"]["Aliases"], json!(["p-a-1", "a", "x"]));
    assert_eq!(endpoints["own"]["IPAMConfig"]["IPv4Address"], "10.0.0.9");
    assert_eq!(endpoints["own"]["MacAddress"], "02:42:ac:11:00:09");
    assert_eq!(endpoints["own"]["DriverOpts"], json!({"com.docker.network.endpoint.ifname": "web0"}));
}

#[test]
fn deploy_says_resources_and_when_to_restart() {
    let body = request(
        "name: p\nservices:\n  a:\n    image: i\n    restart: always\n    gpus: all\n    cap_add: [net_admin]\n    deploy:\n      resources: {limits: {memory: 20m, cpus: '0.5', pids: 7}, reservations: {memory: 5m, devices: [{capabilities: [gpu], count: 2}]}}\n      restart_policy: {condition: on-failure, max_attempts: 3}\n",
    );
    let host = &body["HostConfig"];
    assert_eq!(
        (&host["Memory"], &host["NanoCpus"], &host["PidsLimit"]),
        (&json!(20 << 20), &json!(500_000_000), &json!(7))
    );
    assert_eq!((&host["MemoryReservation"], &host["CapAdd"]), (&json!(5 << 20), &json!(["CAP_NET_ADMIN"])));
    assert_eq!(host["RestartPolicy"], json!({"Name": "on-failure", "MaximumRetryCount": 3}));
    let requests = host["DeviceRequests"].as_array().unwrap();
    assert_eq!((&requests[0]["Count"], &requests[1]["Count"]), (&json!(2), &json!(-1)));
    assert_eq!(requests[1]["Capabilities"], json!([["gpu"]]));
}

#[test]
fn labels_are_those_of_both_tools() {
    let body = request(
        "name: p\nservices:\n  a: {image: i, labels: {k: v}, depends_on: {b: {condition: service_healthy}}}\n  b: {image: i}\n",
    );
    assert_eq!(body["Labels"]["k"], "v");
    assert_eq!(body["Labels"][label::DEPENDS_ON], "b:service_healthy:false");
    assert_eq!(body["Labels"][label::NUMBER], "1");
    assert_eq!(body["Labels"][label::CONFIG_HASH].as_str().map(str::len), Some(64));
}

#[test]
fn what_compose_does_not_do_is_refused_in_its_words() {
    let refused = |yaml: &'static str| {
        let project = project(yaml);
        body(&project, &project.services["a"], &wish()).unwrap_err()
    };
    assert_eq!(
        refused("name: p\nservices:\n  a: {image: i, secrets: [s]}\nsecrets: {s: {external: true}}\n"),
        "unsupported external secret s"
    );
    assert_eq!(
        refused("name: p\nservices:\n  a: {image: i, security_opt: [odd]}\n"),
        "invalid security-opt: \"odd\""
    );
    assert!(
        refused("name: p\nservices:\n  a: {image: i, healthcheck: {test: 'true', start_interval: 1s}}\n")
            .contains("start_period")
    );
}
