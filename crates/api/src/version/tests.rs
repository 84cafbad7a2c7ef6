//! Old requests raised, new answers lowered.

use super::*;

fn raised(minor: u32, endpoint: Endpoint, body: Value) -> std::result::Result<Value, String> {
    let mut body = body;
    raise_body(&Version::minor(minor), endpoint, false, &mut body).map_err(|e| e.message)?;
    Ok(body)
}

fn lowered(minor: u32, endpoint: Endpoint, body: Value) -> Value {
    let (mut body, version) = (body, Version::minor(minor));
    if lowers(&version, endpoint) {
        lower(&version, endpoint, &mut body);
    }
    body
}

#[test]
fn versions_are_compared_part_by_part_and_bounded() {
    let check = |text: &str| Version::parse(text).map(|v| v.check().map_err(|e| e.message));
    assert_eq!(check("1.51"), Some(Ok(())));
    assert_eq!(check("1.24"), Some(Ok(())));
    assert_eq!(check("1.24.3"), Some(Ok(())));
    let new = "client version 1.99 is too new. Maximum supported API version is 1.51";
    assert_eq!(check("1.99"), Some(Err(new.into())));
    let old = "client version 1.20 is too old. Minimum supported API version is 1.24, please upgrade your client to a newer version";
    assert_eq!(check("1.20"), Some(Err(old.into())));
    assert_eq!(check("1.2x"), None);
    assert!(Version::minor(9).before(10), "1.9 is older than 1.10");
}

#[test]
fn parameters_of_later_versions_are_as_if_not_given() {
    let query = |minor: u32, endpoint, text: &str| {
        let mut query = Query::parse(text);
        raise_query(&Version::minor(minor), endpoint, &mut query);
        query
    };
    assert!(!query(41, Endpoint::ContainerStop, "signal=HUP").has("signal"));
    assert!(query(42, Endpoint::ContainerStop, "signal=HUP").has("signal"));
    assert!(!query(29, Endpoint::ContainerWait, "condition=removed").has("condition"));
    assert!(!query(40, Endpoint::ContainerStats, "one-shot=1").has("one-shot"));
    let filters = query(40, Endpoint::ImageList, "filter=a*").filters().expect("filters");
    assert!(filters["reference"].contains("a*"));
    let filters = query(41, Endpoint::VolumePrune, "filters={\"label\":[\"x\"]}").filters().expect("filters");
    assert!(filters["all"].contains("true") && filters["label"].contains("x"));
    assert!(query(41, Endpoint::ContainerAttachWebsocket, "").flag("stdin"));
    assert!(!query(42, Endpoint::ContainerAttachWebsocket, "").flag("stdin"));
}

#[test]
fn old_defaults_of_create_are_said_out_loud() {
    let body = json!({"Image": "a", "HostConfig": {"AutoRemove": true, "ConsoleSize": [1, 2], "Annotations": {"a": "b"}}});
    let old = raised(24, Endpoint::ContainerCreate, body.clone()).expect("raised");
    assert_eq!(old["HostConfig"], json!({"AutoRemove": false, "IpcMode": "shareable"}));
    assert_eq!(raised(51, Endpoint::ContainerCreate, body.clone()), Ok(body));
}

#[test]
fn before_1_41_a_machine_with_cgroup_v1_gives_its_own_cgroup_namespace() {
    let mode = |minor, legacy, asked: &str| {
        let mut body = json!({"HostConfig": {"CgroupnsMode": asked}});
        raise_body(&Version::minor(minor), Endpoint::ContainerCreate, legacy, &mut body).expect("raised");
        body["HostConfig"]["CgroupnsMode"].as_str().unwrap_or_default().to_owned()
    };
    assert_eq!(mode(40, true, ""), "host");
    assert_eq!(mode(40, true, "private"), "private");
    assert_eq!((mode(40, false, ""), mode(41, true, "")), (String::new(), String::new()));
}

#[test]
fn what_an_old_version_could_not_mean_is_refused() {
    let mount = |mount: Value| json!({"Image": "a", "HostConfig": {"Mounts": [mount]}});
    let refused = |minor, body| raised(minor, Endpoint::ContainerCreate, body).map(|_| ());
    assert_eq!(
        refused(44, mount(json!({"Type": "volume", "VolumeOptions": {"Subpath": "x"}}))),
        Err("VolumeOptions.Subpath needs API v1.45 or newer".into())
    );
    assert_eq!(
        refused(47, mount(json!({"Type": "image"}))),
        Err("Mount type \"Image\" needs API v1.48 or newer".into())
    );
    assert_eq!(
        refused(43, json!({"Image": "a", "NetworkingConfig": {"EndpointsConfig": {"a": {}, "b": {}}}})),
        Err("Container cannot be created with multiple network endpoints: a, b".into())
    );
    assert_eq!(
        refused(
            43,
            json!({"Image": "a", "MacAddress": "02:42:ac:11:00:99", "HostConfig": {"NetworkMode": "host"}})
        ),
        Err("conflicting options: mac-address and the network mode".into())
    );
}

#[test]
fn options_of_other_mount_types_were_ignored_once() {
    let body = json!({"Image": "a", "HostConfig": {"IpcMode": "private", "Mounts": [
        {"Type": "bind", "VolumeOptions": {}, "BindOptions": {"CreateMountpoint": true, "NonRecursive": true}}]}});
    let old = raised(41, Endpoint::ContainerCreate, body).expect("raised");
    assert_eq!(old["HostConfig"]["Mounts"], json!([{"Type": "bind", "BindOptions": {"NonRecursive": true}}]));
}

#[test]
fn read_only_binds_were_shallow_before_1_44() {
    let body = json!({"Image": "a", "HostConfig": {"Mounts": [{"Type": "bind", "ReadOnly": true}]}});
    let old = raised(43, Endpoint::ContainerCreate, body).expect("raised");
    assert_eq!(old["HostConfig"]["Mounts"][0]["BindOptions"], json!({"ReadOnlyNonRecursive": true}));
}

#[test]
fn a_container_s_mac_and_eth0_s_sysctls_go_to_its_network() {
    let body = json!({"Image": "a", "MacAddress": "02:42:ac:11:00:99",
        "HostConfig": {"NetworkMode": "web", "Sysctls": {"net.ipv4.conf.eth0.forwarding": "1", "net.core.somaxconn": "5"}}});
    let old = raised(43, Endpoint::ContainerCreate, body.clone()).expect("raised");
    let endpoint = &old["NetworkingConfig"]["EndpointsConfig"]["web"];
    assert_eq!(endpoint["MacAddress"], "02:42:ac:11:00:99");
    assert_eq!(
        endpoint["DriverOpts"]["com.docker.network.endpoint.sysctls"],
        "net.ipv4.conf.IFNAME.forwarding=1"
    );
    assert_eq!(old["HostConfig"]["Sysctls"], json!({"net.core.somaxconn": "5"}));
    assert_eq!(old.get("MacAddress"), None);
}

#[test]
fn bodies_of_any_form_do_no_harm() {
    let odd = [
        json!(null),
        json!([]),
        json!("x"),
        json!({"HostConfig": 1}),
        json!({"HostConfig": {"Mounts": 1, "Sysctls": []}}),
        json!({"NetworkingConfig": "x", "MacAddress": "a", "HostConfig": {"Sysctls": {"net.ipv4.conf.eth0.x": 1}}}),
        json!({"NetworkingConfig": {"EndpointsConfig": {"bridge": 5}}, "HostConfig": {"Sysctls": {"net.ipv4.conf.eth0.x": "1"}}}),
        json!({"HostConfig": {"Mounts": [null, 1, {"Type": "bind", "ReadOnly": true, "BindOptions": "x"}]}}),
    ];
    for body in odd {
        for minor in [24, 39, 41, 43, 44, 47, 51] {
            let _ = raised(minor, Endpoint::ContainerCreate, body.clone());
            let _ = raised(minor, Endpoint::ExecCreate, body.clone());
        }
    }
}

#[test]
fn images_are_listed_as_old_clients_knew_them() {
    let row = |tags: Value, digests: Value| json!([{"Containers": 2, "RepoTags": tags, "RepoDigests": digests, "Size": 5}]);
    let old = lowered(42, Endpoint::ImageList, row(json!([]), json!([])));
    assert_eq!(
        old,
        json!([{"Containers": -1, "RepoTags": ["<none>:<none>"], "RepoDigests": ["<none>@<none>"], "Size": 5, "VirtualSize": 5}])
    );
    let tagged = lowered(24, Endpoint::ImageList, row(json!(["a:1"]), json!([])));
    assert_eq!(tagged[0]["RepoDigests"], Value::Null);
    assert_eq!(lowered(50, Endpoint::ImageList, row(json!([]), json!([])))[0]["Containers"], -1);
    assert_eq!(lowered(51, Endpoint::ImageList, row(json!([]), json!([])))[0]["Containers"], 2);
}

#[test]
fn an_inspected_image_had_more_fields_before_1_50() {
    let image = json!({"Size": 5, "Config": {"Cmd": ["sh"]}});
    let old = lowered(43, Endpoint::ImageInspect, image.clone());
    assert_eq!((old["VirtualSize"].clone(), old["Config"]["AttachStdin"].clone()), (json!(5), json!(false)));
    assert!(old["ContainerConfig"].is_object() && old["Created"] == "0001-01-01T00:00:00Z");
    assert_eq!(lowered(50, Endpoint::ImageInspect, image.clone()), image);
}

#[test]
fn info_was_lowered_as_dockerd_lowers_it() {
    let info = json!({"FirewallBackend": {"Driver": "x"}, "RuncCommit": {"ID": "1"}, "ContainerdCommit": {"ID": ""}, "InitCommit": {"ID": ""},
        "RegistryConfig": {}, "Runtimes": {"runc": {"path": "runc", "status": {}}}, "SecurityOptions": ["name=seccomp,profile=builtin"]});
    let old = lowered(24, Endpoint::Info, info.clone());
    assert_eq!(old["SecurityOptions"], json!(["seccomp"]));
    assert_eq!(old["RuncCommit"], json!({"ID": "1", "Expected": "1"}));
    assert_eq!(old["ContainerdCommit"], json!({"ID": ""}));
    assert_eq!(old["Runtimes"], json!({"runc": {"path": "runc"}}));
    assert_eq!((old.get("FirewallBackend"), old["BridgeNfIptables"].clone()), (None, json!(false)));
    assert_eq!(lowered(50, Endpoint::Info, info.clone()), info);
}

#[test]
fn names_in_users_networks_were_aliases_before_1_45() {
    let container = json!({"Id": "0123456789abcdef", "Config": {"Hostname": "web"},
        "NetworkSettings": {"Networks": {"n": {"Aliases": ["al"]}, "bridge": {"Aliases": null}}}});
    let old = lowered(44, Endpoint::ContainerInspect, container);
    assert_eq!(
        old["NetworkSettings"]["Networks"],
        json!({"n": {"Aliases": ["al", "0123456789ab", "web"]}, "bridge": {"Aliases": null}})
    );
}
