//! Bodies of `create`, held to what dockerd 28.5.2 said to each (recorded on a machine with 2 CPUs).

use super::*;
use minke_model::port::Port;
use minke_model::security::SecurityOption;
use serde::Deserialize;
use serde_json::json;

/// One recorded request: its body, the status, and the message (or the warnings).
#[derive(Deserialize)]
struct Recorded {
    body: Value,
    status: u16,
    says: Value,
    /// Who refuses it here: this file unless said; or the `engine`.
    by: Option<String>,
}

fn recorded() -> Vec<Recorded> {
    let lines = include_str!("recorded.jsonl").lines();
    lines.map(|line| serde_json::from_str(line).expect("a recorded line")).collect()
}

fn said(body: &Value) -> Result<Asked, ApiError> {
    parse(body.clone(), None, 2)
}

fn spec(body: Value) -> ContainerSpec {
    said(&body).expect("a body that is taken").spec
}

#[test]
fn what_dockerd_refuses_by_form_is_refused_in_the_same_words() {
    for case in recorded().iter().filter(|c| c.status >= 400 && c.by.is_none()) {
        let got = said(&case.body).map(|_| ()).map_err(|e| (e.status.as_u16(), e.message));
        let expected = (case.status, case.says.as_str().unwrap_or_default().to_owned());
        assert_eq!(got, Err(expected), "{}", case.body);
    }
}

#[test]
fn what_dockerd_takes_is_taken_and_what_only_the_machine_can_judge_passes() {
    for case in
        recorded().iter().filter(|c| c.by.as_deref() == Some("engine") || c.status < 400 && c.by.is_none())
    {
        let got = said(&case.body).map(|_| ());
        assert_eq!(got, Ok(()), "{}", case.body);
    }
}

#[test]
fn warnings_are_dockerd_s() {
    // The rest of the warnings are about the kernel: the engine's.
    let ours = ["deprecated", "Published ports are discarded", "CPU percent"];
    for case in recorded().iter().filter(|c| c.status < 400) {
        let told: Vec<&str> = case.says.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        if told.iter().any(|w| ours.iter().any(|o| w.contains(o))) {
            assert_eq!(
                said(&case.body).map(|a| a.warnings),
                Ok(told.iter().map(|w| w.to_string()).collect()),
                "{}",
                case.body
            );
        }
    }
}

#[test]
fn nulls_and_single_strings_are_read_as_go_reads_them() {
    let spec = spec(json!({
        "Image": "a", "Cmd": "echo hi", "Entrypoint": null, "Labels": null, "Env": null, "ExposedPorts": {"80/tcp": null},
        "Volumes": {"/v": null}, "HostConfig": {"Binds": null, "PortBindings": {"80/tcp": null}, "CapAdd": "NET_ADMIN",
        "RestartPolicy": null, "LogConfig": null, "Memory": null, "Mounts": null}, "NetworkingConfig": null,
    }));
    assert_eq!(spec.process.cmd, Some(vec!["echo hi".to_owned()]));
    assert_eq!(spec.process.entrypoint, None);
    let port: Port = "80/tcp".parse().expect("a port");
    assert_eq!(spec.exposed_ports, BTreeSet::from([port]));
    assert_eq!(spec.networking.port_bindings, BTreeMap::from([(port, vec![])]));
    assert_eq!(spec.security.cap_add, Some(vec!["NET_ADMIN".to_owned()]));
    assert_eq!(spec.volumes, BTreeSet::from(["/v".to_owned()]));
}

#[test]
fn a_value_of_a_wrong_type_is_never_taken_for_none() {
    for wrong in [
        json!({"Image": 5}),
        json!({"Image": "a", "Cmd": 5}),
        json!({"Image": "a", "HostConfig": {"Memory": "64m"}}),
        json!({"Image": "a", "HostConfig": {"Binds": "x"}}),
        json!({"Image": "a", "HostConfig": []}),
    ] {
        let got = said(&wrong).map(|_| ()).map_err(|e| (e.status.as_u16(), e.message));
        assert!(matches!(&got, Err((400, m)) if m.starts_with("invalid JSON: ")), "{wrong}: {got:?}");
    }
    assert_eq!(said(&Value::Null).map(|_| ()).map_err(|e| e.message), Err(EMPTY.to_owned()));
}

#[test]
fn ports_in_other_words_are_shown_as_said_and_those_that_are_none_do_nothing() {
    let said = json!({"80": {}, "81/": {}, "82/TCP": {}, "83/udp": {}, "90-92/tcp": {}, "99999/tcp": {}, "80/zz": {}});
    let asked = json!({"84": [{"HostIp": "x", "HostPort": "1/udp"}], "85/tcp": null});
    let body = json!({"Image": "a", "ExposedPorts": said, "HostConfig": {"PortBindings": asked}});
    let spec = spec(body);
    let ports: Vec<String> = spec.exposed_ports.iter().map(ToString::to_string).collect();
    assert_eq!(ports, ["80/tcp", "81/tcp", "82/tcp", "83/udp"]);
    let config = serde_json::to_value(Config::from(&spec)).expect("json");
    assert_eq!(config["ExposedPorts"], said);
    let host = serde_json::to_value(HostConfig::from(&spec)).expect("json");
    assert_eq!(host["PortBindings"], asked);
    let bound: Vec<String> = spec.networking.port_bindings.keys().map(ToString::to_string).collect();
    // Published is what is exposed in the same words.
    assert_eq!(bound, ["85/tcp"]);
}

#[test]
fn host_ports_are_one_a_range_or_any() {
    let bindings = |port: &str| {
        let body = json!({"Image": "a", "HostConfig": {"PortBindings": {"80/tcp": [{"HostIp": "127.0.0.1", "HostPort": port}]}}});
        spec(body)
            .networking
            .port_bindings
            .into_values()
            .next()
            .and_then(|b| b.into_iter().next())
            .map(|b| b.host_ports)
    };
    assert_eq!(bindings("8080"), Some(Some((8080, 8080))));
    assert_eq!(bindings("8080-8090"), Some(Some((8080, 8090))));
    assert_eq!((bindings(""), bindings("0")), (Some(None), Some(None)));
}

#[test]
fn the_mac_of_the_container_goes_to_its_main_network() {
    let mac = "02:42:ac:11:00:99";
    let asked =
        said(&json!({"Image": "a", "MacAddress": mac, "HostConfig": {"NetworkMode": "web"}})).expect("taken");
    assert_eq!(asked.spec.networking.endpoints["web"].mac, mac);
    let other = json!({"Image": "a", "MacAddress": mac, "HostConfig": {"NetworkMode": "web"},
                       "NetworkingConfig": {"EndpointsConfig": {"web": {"MacAddress": "02:42:ac:11:00:01"}}}});
    assert!(said(&other).is_err_and(|e| e.message.contains("must match the endpoint-specific MAC address")));
}

#[test]
fn a_privileged_container_is_not_confined_by_selinux() {
    let options = |host: Value| spec(json!({"Image": "a", "HostConfig": host})).security.options;
    assert_eq!(options(json!({"Privileged": true})), Some(vec![SecurityOption::Label("disable".into())]));
    assert_eq!(options(json!({"PidMode": "host"})), Some(vec![SecurityOption::Label("disable".into())]));
    assert_eq!(options(json!({})), None);
}

#[test]
fn a_port_said_without_a_protocol_is_shown_without_it() {
    let spec = spec(json!({"Image": "x", "ExposedPorts": {"8080": {}, "80/tcp": {}, "53/udp": {}}}));
    assert_eq!(spec.exposed_ports.len(), 3);
    let shown = serde_json::to_value(Config::from(&spec)).expect("JSON");
    assert_eq!(shown["ExposedPorts"], json!({"53/udp": {}, "80/tcp": {}, "8080": {}}));
}
