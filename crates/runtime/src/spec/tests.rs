//! Plans as text: what is asked, and all that a shim is told to do.

use super::*;
use crate::request::{Joined, LogTarget, NetworkFiles, Rootfs};
use minke_linux::cgroup::{Cgroups, Mounts};
use minke_model::{ContainerId, ContainerSpec, ContainerState, ContainerStatus, Timestamp};
use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

/// A machine with a disk, a sound card and nothing else.
pub(crate) struct FakeDevices;

impl DeviceLookup for FakeDevices {
    fn node(&self, path: &str) -> io::Result<Node> {
        let nodes = self.below("/dev")?;
        match nodes.into_iter().find(|node| node.path == path) {
            Some(node) => Ok(node),
            None if path == "/dev/snd" => Err(io::Error::other("not a device node")),
            None => Err(io::Error::from_raw_os_error(2)),
        }
    }

    fn below(&self, path: &str) -> io::Result<Vec<Node>> {
        let node = |path: &str, block, major, minor| Node {
            path: path.into(),
            block,
            major,
            minor,
            mode: 0o660,
            uid: 0,
            gid: 6,
        };
        let all = [
            node("/dev/kmsg", false, 1, 11),
            node("/dev/null", false, 1, 3),
            node("/dev/sda", true, 8, 0),
            node("/dev/snd/pcm0", false, 116, 2),
            node("/dev/snd/timer", false, 116, 33),
        ];
        Ok(all.into_iter().filter(|n| n.path.starts_with(&format!("{path}/"))).collect())
    }
}

/// A container's record as create makes it from no options.
pub(crate) fn container_spec() -> ContainerSpec {
    ContainerSpec {
        image: "box".into(),
        platform: None,
        process: Default::default(),
        hostname: String::new(),
        domainname: String::new(),
        labels: Default::default(),
        annotations: BTreeMap::new(),
        healthcheck: None,
        stop_signal: None,
        stop_timeout: None,
        exposed_ports: Default::default(),
        volumes: Default::default(),
        on_build: None,
        shell: None,
        binds: None,
        mounts: Vec::new(),
        tmpfs: BTreeMap::new(),
        volumes_from: None,
        volume_driver: String::new(),
        namespaces: Default::default(),
        security: Default::default(),
        resources: Default::default(),
        networking: Default::default(),
        log: Default::default(),
        restart: Default::default(),
        auto_remove: false,
        shm_size: 0,
        sysctls: BTreeMap::new(),
        oom_score_adj: 0,
        init: None,
        runtime: String::new(),
        container_id_file: String::new(),
        storage_options: BTreeMap::new(),
        console_size: (0, 0),
        isolation: String::new(),
        cgroup: String::new(),
    }
}

/// Its id in tests.
pub(crate) fn id() -> ContainerId {
    ContainerId::parse(&"c0ffee00".repeat(8)).unwrap()
}

/// A record around a spec.
pub(crate) fn container(spec: ContainerSpec) -> Container {
    let zero = Timestamp::zero();
    Container {
        id: id(),
        name: "web".into(),
        created: zero,
        image_id: None,
        args: vec!["sleep".into(), "9".into()],
        spec,
        mounts: Vec::new(),
        status: ContainerStatus {
            state: ContainerState::Created,
            pid: 0,
            exit_code: 0,
            error: String::new(),
            oom_killed: false,
            started: zero,
            finished: zero,
            restart_count: 0,
            stopped_by_user: false,
            health: None,
            endpoints: BTreeMap::new(),
            boot_id: String::new(),
        },
    }
}

/// A request to start `spec` with nothing shared.
pub(crate) fn request(spec: ContainerSpec) -> CreateRequest {
    let file = |name: &str| PathBuf::from(format!("/var/lib/minke/containers/c0/{name}"));
    CreateRequest {
        container: Arc::new(container(spec)),
        rootfs: Rootfs { lower: vec!["/l2".into(), "/l1".into()], upper: "/up".into(), work: "/work".into() },
        files: Some(NetworkFiles {
            hostname: file("hostname"),
            hosts: file("hosts"),
            resolv_conf: file("resolv.conf"),
        }),
        mounts: Vec::new(),
        join: Joined::default(),
        log: LogTarget { driver: "json-file".into(), path: file("json.log"), ..Default::default() },
        extra_env: Vec::new(),
        stdin: false,
        init: false,
    }
}

/// A machine with the given cgroup mounts, all capabilities and AppArmor.
pub(crate) fn host(mountinfo: &str) -> Host {
    Host {
        cgroups: Cgroups::with(Mounts::parse(mountinfo)),
        cgroup_parent: "/minke-0a1b2c3d".into(),
        capabilities: (1 << 41) - 1,
        apparmor: true,
        throttles: Vec::new(),
        kcore: true,
        default_ulimits: Vec::new(),
        filters: Filters::new("", (6, 1)).unwrap(),
    }
}

const V2: &str = "33 30 0:29 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n";

#[test]
fn the_user_s_environment_replaces_adds_and_removes() {
    let mut spec = container_spec();
    spec.process.tty = true;
    spec.process.env = ["A=1", "PATH=/x", "HOSTNAME", "A=2"].map(str::to_owned).to_vec();
    let env = plan(&request(spec), &host(V2), &FakeDevices).unwrap().start.process.env;
    assert_eq!(env, ["PATH=/x", "TERM=xterm", "A=2"]);
}
