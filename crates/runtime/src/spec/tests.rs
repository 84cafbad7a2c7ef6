//! Plans as text: what is asked, and all that a shim is told to do.

use super::*;
use crate::request::{Joined, LogTarget, NetworkFiles, Rootfs};
use minke_linux::cgroup::{Cgroups, Mounts};
use minke_model::{ContainerId, ContainerSpec, ContainerStatus, Timestamp};
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
    ContainerSpec::of("box")
}

/// Its id in tests.
pub(crate) fn id() -> ContainerId {
    ContainerId::parse(&"c0ffee00".repeat(8)).unwrap()
}

/// A record around a spec.
pub(crate) fn container(spec: ContainerSpec) -> Container {
    Container {
        id: id(),
        name: "web".into(),
        created: Timestamp::zero(),
        image_id: None,
        args: vec!["sleep".into(), "9".into()],
        spec,
        mounts: Vec::new(),
        status: ContainerStatus::created(),
    }
}

/// A request to start `spec` with nothing shared.
pub(crate) fn request(spec: ContainerSpec) -> CreateRequest {
    let file = |name: &str| PathBuf::from(format!("/var/lib/minke/containers/c0/{name}"));
    CreateRequest {
        container: Arc::new(container(spec)),
        rootfs: Rootfs {
            lower: vec!["/l2".into(), "/l1".into()],
            upper: "/up".into(),
            work: "/work".into(),
            volatile: false,
        },
        files: Some(NetworkFiles {
            hostname: file("hostname"),
            hosts: file("hosts"),
            resolv_conf: file("resolv.conf"),
        }),
        mounts: Vec::new(),
        shm: None,
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

/// One line a step, so that a plan reads from top to bottom.
fn tell(plan: &Plan) -> String {
    use minke_shim::plan::Step;
    use std::fmt::Write;
    let mut text = String::new();
    let start = &plan.start;
    let mut line = |words: String| writeln!(text, "{}", words.trim_end()).unwrap();
    line(format!("cgroup {}", plan.cgroup));
    line(format!("namespaces {:?}", start.namespaces).replace("Namespaces ", ""));
    line(format!("name {} {}", start.hostname, start.domainname));
    for (name, value) in &start.sysctls {
        line(format!("sysctl {name}={value}"));
    }
    line(format!("root read-only {} propagation {:#x}", start.root_read_only, start.root_propagation));
    for step in &start.steps {
        line(match step {
            Step::Mount { fstype, source, target, flags, data, propagation } => {
                format!("mount {fstype} {source} {target} {flags:#x} {data} travels {propagation:#x}")
            }
            Step::Bind { source, subpath, target, recursive, flags, depth, propagation } => {
                format!(
                    "bind {source} [{subpath}] {target} all {recursive} {flags:#x} {depth:?} travels {propagation:#x}"
                )
            }
            Step::Layers { lower, subpath, target } => format!("layers {lower:?} [{subpath}] {target}"),
            Step::Node { path, kind, major, minor, mode, uid, gid } => {
                format!("node {path} {kind:o} {major}:{minor} {mode:o} {uid}:{gid}")
            }
            Step::Link { path, to } => format!("link {path} to {to}"),
            Step::Mask { path } => format!("hide {path}"),
            Step::ReadOnly { path } => format!("only read {path}"),
        });
    }
    let process = &start.process;
    line(format!(
        "run {:?} in {} as {:?} with {:?}",
        process.args, process.cwd, process.user, process.groups
    ));
    line(format!("env {}", process.env.join(" ")));
    let capabilities = process.capabilities;
    line(format!("may {}", defaults::capability_names(capabilities.bounding).join(" ").replace("CAP_", "")));
    line(format!(
        "filtered {}, AppArmor {:?}, no new privileges {}",
        !process.seccomp.is_empty(),
        process.apparmor,
        process.no_new_privileges
    ));
    for limit in &process.rlimits {
        let name = resources::rlimit_name(limit.resource).unwrap();
        line(format!("limit {name} {} {}", limit.soft as i64, limit.hard as i64));
    }
    line(format!("oom {:?} tty {} {}x{}", process.oom_score_adj, process.tty, process.rows, process.columns));
    let devices: Vec<_> = plan.limits.devices.iter().flatten().map(ToString::to_string).collect();
    line(format!("devices {}", devices.join(", ")));
    line(format!("limits {:?}", Limits { devices: None, ..plan.limits.clone() }));
    line(format!("log {:?} {} x {}", start.log.driver, start.log.max_size, start.log.max_files));
    text
}

/// Holds a plan to `scenarios/NAME.txt`; with `UPDATE=1` in the environment, writes it.
fn check(name: &str, request: &CreateRequest, host: &Host) {
    hold(&format!("{name}.txt"), &tell(&plan(request, host, &FakeDevices).unwrap()));
}

/// Holds a text to a file of scenarios.
fn hold(name: &str, told: &str) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/spec/scenarios").join(name);
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, told).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap();
    for (number, (told, expected)) in told.lines().zip(expected.lines()).enumerate() {
        assert_eq!(told, expected, "{name}:{}", number + 1);
    }
    assert_eq!(told.lines().count(), expected.lines().count(), "{name}");
}

const V1: &str = "30 20 0:26 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n\
    31 30 0:27 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n\
    32 30 0:28 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
    33 30 0:29 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd\n\
    34 30 0:30 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";

#[test]
fn an_ordinary_container_on_v2() {
    check("ordinary_v2", &request(container_spec()), &host(V2));
}

#[test]
fn an_ordinary_container_on_hybrid_cgroups() {
    check("ordinary_hybrid", &request(container_spec()), &host(V1));
    let mut private = container_spec();
    private.namespaces.cgroup_host = Some(false);
    check("private_cgroups_hybrid", &request(private), &host(V1));
}

#[test]
fn a_privileged_container() {
    let mut spec = container_spec();
    spec.security.privileged = true;
    check("privileged", &request(spec), &host(V2));
}

#[test]
fn a_container_that_shares_all_it_can() {
    let mut spec = container_spec();
    spec.namespaces = minke_model::container::NamespaceSpec {
        pid: Sharing::Host,
        ipc: IpcSharing::Container("other".into()),
        uts_host: true,
        user_host: false,
        cgroup_host: Some(true),
    };
    let mut request = request(spec);
    request.join = Joined { pid: None, ipc: Some(4321), net: NetJoin::Host };
    check("sharing", &request, &host(V2));
}

#[test]
fn a_container_with_many_wishes() {
    check("wishes", &wishes(), &host(V2));
}

#[test]
fn many_wishes_in_the_words_of_an_oci_runtime() {
    let request = wishes();
    let (host, ids) = (host(V2), oci::Ids { uid: 33, gid: 34, groups: vec![10], home: "/home/web".into() });
    let plan = plan(&request, &host, &FakeDevices).unwrap();
    let mut config = oci::config(&plan, &ids, None, &BTreeMap::from([("org.example".into(), "yes".into())]));
    let told = serde_json::to_string_pretty(&config).unwrap() + "\n";
    hold("wishes.json", &told);

    let profile = host.filters.profile(&Default::default(), 0).unwrap();
    config = oci::config(&plan, &ids, profile.as_ref(), &BTreeMap::new());
    // What was written is read back as the same filter.
    let text = config["linux"]["seccomp"].to_string();
    let read = Filters::new(&text, (6, 1)).unwrap();
    assert_eq!(read.get(&Default::default(), 0).unwrap(), host.filters.get(&Default::default(), 0).unwrap());
}

#[test]
fn v1_s_trees_are_one_mount_for_an_oci_runtime() {
    let plan = plan(&request(container_spec()), &host(V1), &FakeDevices).unwrap();
    let config = oci::config(&plan, &oci::Ids::default(), None, &BTreeMap::new());
    let targets = config["mounts"].as_array().unwrap().iter().map(|m| m["destination"].as_str().unwrap());
    assert_eq!(targets.filter(|t| t.starts_with("/sys/fs/cgroup")).collect::<Vec<_>>(), ["/sys/fs/cgroup"]);
    assert!(config["linux"]["readonlyPaths"].as_array().unwrap().iter().all(|path| path != "/sys/fs/cgroup"));
}

/// A request with something of everything.
fn wishes() -> CreateRequest {
    use crate::request::{MountSource, ResolvedMount};
    use minke_model::{
        mount::{MountKind, Propagation, ReadOnlyRecursion},
        resources::{DeviceSpec, Ulimit},
        security::SecurityOption,
    };
    let mut spec = container_spec();
    spec.hostname = "db".into();
    spec.domainname = "example.test".into();
    spec.process.tty = true;
    spec.process.user = "web:logs".into();
    spec.process.working_dir = "/srv".into();
    spec.console_size = (24, 80);
    spec.security.readonly_rootfs = true;
    spec.security.cap_add = Some(vec!["SYS_PTRACE".into()]);
    spec.security.cap_drop = Some(vec!["NET_RAW".into()]);
    spec.security.group_add = Some(vec!["wheel".into()]);
    spec.security.masked_paths = Some(vec!["/proc/keys".into()]);
    spec.security.options =
        Some(vec![SecurityOption::NoNewPrivileges(true), SecurityOption::AppArmor("mine".into())]);
    spec.sysctls.insert("net.ipv4.ip_unprivileged_port_start".into(), "1024".into());
    spec.tmpfs.insert("/run".into(), "rw,exec,size=1m,size=2m".into());
    spec.shm_size = 1 << 20;
    spec.oom_score_adj = 500;
    spec.resources.memory = 64 << 20;
    spec.resources.nano_cpus = 500_000_000;
    spec.resources.pids_limit = Some(10);
    spec.resources.cgroup_parent = "/apps/shop/".into();
    let device = |host: &str, inside: &str| DeviceSpec {
        host_path: host.into(),
        container_path: inside.into(),
        permissions: "rw".into(),
    };
    spec.resources.devices = Some(vec![device("/dev/sda", "/dev/xvda"), device("/dev/snd", "/dev/snd")]);
    spec.resources.ulimits = Some(vec![Ulimit { name: "nofile".into(), soft: 10, hard: -1 }]);
    let mut request = request(spec);
    let mount = |target: &str, source: MountSource| ResolvedMount {
        kind: MountKind::Bind,
        source,
        subpath: String::new(),
        target: target.into(),
        writable: false,
        propagation: Some(Propagation::Rslave),
        non_recursive: false,
        read_only_recursion: ReadOnlyRecursion::Always,
        tmpfs_options: String::new(),
    };
    request.mounts = vec![
        mount("/srv/deep/er", MountSource::Path("/data/deeper".into())),
        mount("/srv/", MountSource::Path("/data".into())),
        mount("/image", MountSource::Layers(vec!["/a".into(), "/b".into()])),
        mount("/etc/hosts", MountSource::Path("/my/hosts".into())),
    ];
    request.log.options.insert("max-size".into(), "10m".into());
    request
}

#[test]
fn what_is_mounted_over_dev_and_cgroups_stands_in_for_them() {
    use crate::request::{MountSource, ResolvedMount};
    let mut request = request(container_spec());
    let mount = |target: &str| ResolvedMount {
        kind: minke_model::mount::MountKind::Bind,
        source: MountSource::Path("/somewhere".into()),
        subpath: String::new(),
        target: target.into(),
        writable: true,
        propagation: None,
        non_recursive: false,
        read_only_recursion: Default::default(),
        tmpfs_options: String::new(),
    };
    request.mounts = vec![mount("/dev"), mount("/sys/fs/cgroup")];
    check("own_dev", &request, &host(V1));
}

#[test]
fn an_exec_is_the_container_s_process_but_for_what_is_asked() {
    let mut spec = container_spec();
    spec.process.env = vec!["A=1".into(), "B=2".into()];
    spec.process.user = "web".into();
    spec.process.working_dir = "/srv".into();
    let container = container(spec);
    let mut exec = ExecRequest {
        id: minke_model::ExecId::random(),
        args: vec!["ls".into()],
        env: vec!["B=3".into()],
        cwd: String::new(),
        user: String::new(),
        tty: true,
        privileged: false,
        size: Some((20, 70)),
        streams: None,
    };
    let host = host(V2);
    let planned = exec_plan(&container, &exec, &host).unwrap();
    let process = &planned.process;
    assert_eq!(process.env, [defaults::PATH, "HOSTNAME=c0ffee00c0ff", "TERM=xterm", "A=1", "B=3"]);
    assert_eq!(
        (process.cwd.as_str(), process.user.as_str(), process.rows, process.columns),
        ("/srv", "web", 20, 70)
    );
    assert_eq!(planned.cgroups.unified, format!("/sys/fs/cgroup/minke-0a1b2c3d/{}", container.id));
    assert!(!planned.stdin);

    (exec.privileged, exec.user, exec.cwd) = (true, "root".into(), "/".into());
    let more = exec_plan(&container, &exec, &host).unwrap().process;
    assert_eq!(more.capabilities.effective, host.capabilities);
    assert_eq!((more.user.as_str(), more.cwd.as_str(), more.apparmor.as_str()), ("root", "/", "unconfined"));
    assert_eq!(more.seccomp, process.seccomp, "the filter is the container's own, as in Docker");
}
