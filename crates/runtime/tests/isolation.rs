//! What the kernel says inside: capabilities, filters, mounts, devices, limits, namespaces. Needs root.

#![allow(clippy::unwrap_used)] // A test fails where it stands.

mod common;
use common::*;
use minke_model::{
    container::IpcSharing,
    mount::{MountKind, Propagation},
    resources::{DeviceSpec, Ulimit},
    security::{SeccompChoice, SecurityOption},
};
use minke_runtime::{CreateRequest, MountSource, NetJoin, ResolvedMount, RuntimeError};
use std::{fs, path::Path};

/// Docker's fourteen.
const DEFAULT_CAPS: u64 = 0xa804_25fb;

/// A number of /proc/self/status in hexadecimal.
fn hex(status: &str, name: &str) -> u64 {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix(name))
        .unwrap_or_else(|| panic!("no {name} in {status}"));
    u64::from_str_radix(line.trim(), 16).unwrap()
}

/// The five sets of a container's capabilities.
async fn caps(house: &House, how: impl FnOnce(&mut CreateRequest)) -> [u64; 5] {
    let status = sh(house, "cat /proc/self/status", how).await.out;
    ["CapInh:", "CapPrm:", "CapEff:", "CapBnd:", "CapAmb:"].map(|name| hex(&status, name))
}

/// Runs a shell line in a changed container.
async fn sh(house: &House, line: &str, how: impl FnOnce(&mut CreateRequest)) -> Ran {
    let mut request = house.request(&["sh", "-c", line]);
    how(&mut request);
    house.run(request).await
}

fn names(list: &[&str]) -> Option<Vec<String>> {
    Some(list.iter().map(|n| (*n).to_owned()).collect())
}

#[tokio::test]
async fn capabilities_are_docker_s_and_change_as_asked() {
    if !can_run() {
        return;
    }
    let house = House::new();
    let own = hex(&fs::read_to_string("/proc/self/status").unwrap(), "CapBnd:");
    let d = DEFAULT_CAPS;
    assert_eq!(caps(&house, |_| {}).await, [0, d, d, d, 0]);
    assert_eq!(caps(&house, |r| change(r, |c| c.spec.process.user = "web".into())).await, [0, 0, 0, d, 0]);
    assert_eq!(caps(&house, |r| change(r, |c| c.spec.security.cap_drop = names(&["ALL"]))).await, [0; 5]);
    let more = d | 1 << 12;
    assert_eq!(
        caps(&house, |r| change(r, |c| c.spec.security.cap_add = names(&["net_admin"]))).await,
        [0, more, more, more, 0]
    );
    assert_eq!(
        caps(&house, |r| change(r, |c| c.spec.security.privileged = true)).await,
        [0, own, own, own, 0]
    );
}

#[tokio::test]
async fn system_calls_are_filtered_unless_asked_otherwise() {
    if !can_run() {
        return;
    }
    let house = House::new();
    let line = "grep -E 'Seccomp:|NoNewPrivs:' /proc/self/status; unshare -m true; mkdir /x";
    let ran = sh(&house, line, |_| {}).await;
    assert_eq!(ran.out, "NoNewPrivs:\t0\nSeccomp:\t2\n");
    assert!(ran.err.contains("Operation not permitted"), "{ran:?}");
    assert_eq!(ran.exit.code, 0);

    let json = r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["mkdir","mkdirat"],"action":"SCMP_ACT_ERRNO","errnoRet":38}]}"#;
    let own = SecurityOption::Seccomp(SeccompChoice::Profile(json.into()));
    let ran = sh(&house, "mkdir /x", |r| change(r, |c| c.spec.security.options = Some(vec![own]))).await;
    assert!(ran.exit.code == 1 && ran.err.contains("Function not implemented"), "{ran:?}");

    let none =
        vec![SecurityOption::Seccomp(SeccompChoice::Unconfined), SecurityOption::NoNewPrivileges(true)];
    let ran = sh(&house, line, |r| change(r, |c| c.spec.security.options = Some(none))).await;
    assert_eq!(ran.out, "NoNewPrivs:\t1\nSeccomp:\t0\n");
}

#[tokio::test]
async fn mounts_are_docker_s() {
    if !can_run() {
        return;
    }
    let house = House::new();
    let mounts = sh(&house, "cat /proc/self/mounts", |_| {}).await.out;
    let find = |target: &str| -> Vec<(String, Vec<String>)> {
        let fields =
            mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>()).filter(|f| f[1] == target);
        fields.map(|f| (f[2].to_owned(), f[3].split(',').map(str::to_owned).collect())).collect()
    };
    for (target, kind, options) in [
        ("/", "overlay", &["rw"][..]),
        ("/proc", "proc", &["rw", "nosuid", "nodev", "noexec"]),
        ("/dev", "tmpfs", &["rw", "nosuid", "size=65536k", "mode=755"]),
        ("/dev/pts", "devpts", &["rw", "nosuid", "noexec", "gid=5", "mode=620", "ptmxmode=666"]),
        ("/sys", "sysfs", &["ro", "nosuid", "nodev", "noexec"]),
        ("/dev/mqueue", "mqueue", &["rw", "nosuid", "nodev", "noexec"]),
        ("/dev/shm", "tmpfs", &["rw", "nosuid", "nodev", "noexec", "size=65536k"]),
        ("/proc/sys", "proc", &["ro"]),
    ] {
        let found = find(target);
        assert_eq!(found.len(), 1, "{target} in {mounts}");
        assert_eq!(found[0].0, kind, "{target}");
        for option in options {
            assert!(found[0].1.iter().any(|o| o == option), "{target}: {option} in {:?}", found[0].1);
        }
    }
    for target in ["/etc/hosts", "/etc/hostname", "/etc/resolv.conf", "/proc/keys"] {
        assert_eq!(find(target).len(), 1, "{target} in {mounts}");
    }
    // Each tree of the machine's cgroups once, and none of it can be written.
    for line in
        mounts.lines().filter(|line| line.split(' ').nth(1).is_some_and(|t| t.starts_with("/sys/fs/cgroup")))
    {
        let fields: Vec<_> = line.split(' ').collect();
        assert!(fields[3].split(',').any(|o| o == "ro"), "{line}");
        assert_eq!(find(fields[1]).len(), 1, "{line}");
    }
}

#[tokio::test]
async fn what_is_hidden_is_hidden_and_privileged_sees_it() {
    if !can_run() {
        return;
    }
    let house = House::new();
    let look = "cat /proc/keys | wc -c; ls /sys/firmware | wc -l; echo 1 > /proc/sys/kernel/shm_rmid_forced; echo $?; \
                ls /dev/kmsg; grep -c ' /sys sysfs rw' /proc/mounts";
    let ran = sh(&house, look, |_| {}).await;
    assert_eq!(ran.out.split_whitespace().collect::<Vec<_>>(), ["0", "0", "1", "0"], "{ran:?}");
    let ran = sh(&house, look, |r| change(r, |c| c.spec.security.privileged = true)).await;
    let words: Vec<_> = ran.out.split_whitespace().collect();
    assert_eq!(words[2..], ["0", "/dev/kmsg", "1"], "{ran:?}");
}

#[tokio::test]
async fn devices_are_the_few_and_those_asked_for() {
    if !can_run() {
        return;
    }
    let house = House::new();
    let ran = sh(
        &house,
        "ls /dev; readlink /dev/fd; readlink /dev/ptmx; echo x > /dev/null; head -c 3 /dev/zero | wc -c",
        |_| {},
    )
    .await;
    let core = if Path::new("/proc/kcore").exists() { "core " } else { "" };
    let expected = "fd full mqueue null ptmx pts random shm stderr stdin stdout tty urandom zero /proc/self/fd pts/ptmx 3";
    assert_eq!(
        ran.out.split_whitespace().collect::<Vec<_>>().join(" "),
        format!("{core}{expected}"),
        "{ran:?}"
    );

    let device = |permissions: &str| DeviceSpec {
        host_path: "/dev/zero".into(),
        container_path: "/dev/nothing".into(),
        permissions: permissions.into(),
    };
    let ran = sh(&house, "stat -c '%F %t:%T' /dev/nothing", |r| {
        change(r, |c| c.spec.resources.devices = Some(vec![device("r")]))
    })
    .await;
    assert_eq!(ran.out, "character special file 1:5\n");

    // A node that no rule allows can be made, and not be opened.
    let ran = sh(&house, "mknod /tmp/kmsg c 1 11 && cat /tmp/kmsg", |_| {}).await;
    assert!(ran.err.contains("Operation not permitted"), "{ran:?}");
    let rules = names(&["c 1:11 r"]);
    let ran =
        sh(&house, "mknod /tmp/kmsg c 1 11 && dd if=/tmp/kmsg count=1 bs=9999 2>/dev/null | wc -c", |r| {
            change(r, |c| c.spec.resources.device_cgroup_rules = rules);
        })
        .await;
    assert!(ran.exit.code == 0 && ran.err.is_empty(), "{ran:?}");
}

#[tokio::test]
async fn limits_are_seen_inside() {
    if !can_run() {
        return;
    }
    let house = House::new();
    let read = "cd /sys/fs/cgroup; cat memory.max 2>/dev/null || cat memory/memory.limit_in_bytes; \
                cat memory.low 2>/dev/null || cat memory/memory.soft_limit_in_bytes; \
                cat pids.max 2>/dev/null || cat pids/pids.max; nproc; ulimit -n; cat /proc/self/oom_score_adj";
    let ran = sh(&house, read, |r| {
        change(r, |c| {
            c.spec.resources.memory = 96 << 20;
            c.spec.resources.memory_reservation = 48 << 20;
            c.spec.resources.pids_limit = Some(33);
            c.spec.resources.cpuset_cpus = "0".into();
            c.spec.resources.ulimits = Some(vec![Ulimit { name: "nofile".into(), soft: 123, hard: 456 }]);
            c.spec.oom_score_adj = 321;
        });
    })
    .await;
    let expected =
        [(96 << 20).to_string(), (48 << 20).to_string(), "33".into(), "1".into(), "123".into(), "321".into()];
    assert_eq!(ran.out.split_whitespace().collect::<Vec<_>>(), expected, "{ran:?}");
}

#[tokio::test]
async fn too_much_memory_is_an_oom() {
    if !can_run() {
        return;
    }
    let house = House::new();
    let small = |r: &mut CreateRequest| {
        change(r, |c| {
            c.spec.resources.memory = 16 << 20;
            c.spec.resources.memory_swap = 16 << 20;
        });
    };
    let ran = sh(&house, "exec tail -c 100000000 /dev/zero", small).await;
    assert_eq!((ran.exit.code, ran.exit.oom), (137, true), "{ran:?}");
    let ran = sh(&house, "true", small).await;
    assert_eq!((ran.exit.code, ran.exit.oom), (0, false), "{ran:?}");
}

#[tokio::test]
async fn namespaces_are_own_shared_or_the_machine_s() {
    if !can_run() {
        return;
    }
    let house = House::new();
    let host =
        |kind: &str| fs::read_link(format!("/proc/self/ns/{kind}")).unwrap().to_string_lossy().into_owned();
    let all = "for n in pid ipc uts net cgroup mnt; do readlink /proc/self/ns/$n; done";
    let own = sh(&house, all, |r| change(r, |c| c.spec.namespaces.cgroup_host = Some(false))).await.out;
    for (line, kind) in own.lines().zip(["pid", "ipc", "uts", "net", "cgroup", "mnt"]) {
        assert_ne!(line, host(kind));
    }
    let shared = sh(&house, all, |r| {
        r.join.net = NetJoin::Host;
        change(r, |c| {
            c.spec.namespaces.pid = minke_model::container::Sharing::Host;
            c.spec.namespaces.ipc = IpcSharing::Host;
            c.spec.namespaces.uts_host = true;
            c.spec.namespaces.cgroup_host = Some(true);
        });
    })
    .await
    .out;
    let expected: String = ["pid", "ipc", "uts", "net", "cgroup"].map(|kind| host(kind) + "\n").concat();
    assert!(shared.starts_with(&expected), "{shared} is not {expected}");

    let cgroup =
        sh(&house, "cat /proc/self/cgroup", |r| change(r, |c| c.spec.namespaces.cgroup_host = Some(false)))
            .await
            .out;
    assert!(cgroup.lines().all(|line| line.ends_with(":/")), "{cgroup}");
    let cgroup =
        sh(&house, "cat /proc/self/cgroup", |r| change(r, |c| c.spec.namespaces.cgroup_host = Some(true)))
            .await
            .out;
    assert!(
        cgroup.lines().all(|line| line.split('/').next_back().is_some_and(|id| id.len() == 64)),
        "{cgroup}"
    );
}

#[tokio::test]
async fn private_cgroups_are_mounted_as_the_container_s_own() {
    if !can_run() {
        return;
    }
    let house = House::new();
    let line = "cd /sys/fs/cgroup; cat pids.max 2>/dev/null || cat pids/pids.max; touch x; mkdir pids/x";
    let ran = sh(&house, line, |r| {
        change(r, |c| {
            c.spec.namespaces.cgroup_host = Some(false);
            c.spec.resources.pids_limit = Some(44);
        });
    })
    .await;
    assert_eq!(ran.out, "44\n", "{ran:?}");
    assert_eq!(ran.err.matches("Read-only file system").count(), 2, "{ran:?}");
}

#[tokio::test]
async fn memory_is_shared_with_whom_one_asks() {
    if !can_run() {
        return;
    }
    let house = House::new();
    let mut request = house.request(&["sh", "-c", "echo shared > /dev/shm/f; echo ready; exec sleep 100"]);
    change(&mut request, |c| c.spec.namespaces.ipc = IpcSharing::Shareable);
    let id = request.container.id.clone();
    let first = house.runtime().create(request).await.unwrap();
    let mut stream = first.attach(OUT).await.unwrap();
    first.go().await.unwrap();
    until(&mut stream, "ready").await;
    let ran = sh(&house, "cat /dev/shm/f", |r| {
        r.join.ipc = Some(first.pid());
        change(r, |c| c.spec.namespaces.ipc = IpcSharing::Container(id.to_string()));
    })
    .await;
    assert_eq!(ran.out, "shared\n", "{ran:?}");
    let ran = sh(&house, "grep -c ' /dev/shm ' /proc/mounts", |r| {
        change(r, |c| c.spec.namespaces.ipc = IpcSharing::None)
    })
    .await;
    assert_eq!(ran.out, "0\n");
    let error = {
        let mut request = house.request(&["true"]);
        change(&mut request, |c| c.spec.namespaces.ipc = IpcSharing::Container(id.to_string()));
        house.runtime().create(request).await.unwrap_err()
    };
    assert!(matches!(error, RuntimeError::Invalid(_)), "{error}");
    first.kill().await.unwrap();
    first.wait().await;
}

#[tokio::test]
async fn mounts_of_the_user_are_as_asked() {
    if !can_run() {
        return;
    }
    let house = House::new();
    let source = house.root.join("data");
    fs::create_dir_all(source.join("deep")).unwrap();
    fs::write(source.join("deep/file"), "found\n").unwrap();
    let mount =
        |target: &str, writable: bool, source: MountSource, kind: MountKind, subpath: &str| ResolvedMount {
            kind,
            source,
            subpath: subpath.into(),
            target: target.into(),
            writable,
            propagation: Some(Propagation::Rprivate),
            non_recursive: false,
            read_only_recursion: Default::default(),
            tmpfs_options: String::new(),
        };
    let path = || MountSource::Path(source.clone());
    let line = "cat /rw/deep/file /deep/file; touch /rw/new; touch /ro/no; touch /x; touch /tmp/a /run/b /dev/shm/c && \
                stat -c %a /tmp /run; grep ' /run ' /proc/mounts";
    let ran = sh(&house, line, |r| {
        r.mounts.push(mount("/rw/", true, path(), MountKind::Bind, ""));
        r.mounts.push(mount("/ro", false, path(), MountKind::Bind, ""));
        r.mounts.push(mount("/deep", false, path(), MountKind::Volume, "deep"));
        r.mounts.push(mount("/tmp", true, MountSource::Tmpfs, MountKind::Tmpfs, ""));
        change(r, |c| {
            c.spec.tmpfs.insert("/run".into(), "size=1m,mode=700,exec".into());
            c.spec.security.readonly_rootfs = true;
        });
    })
    .await;
    assert!(ran.out.starts_with("found\nfound\n"), "{ran:?}");
    assert!(source.join("new").exists());
    assert_eq!(ran.err.matches("Read-only file system").count(), 2, "{ran:?}");
    assert!(
        ran.out.contains("\n700\n")
            && ran.out.contains("tmpfs /run tmpfs rw,nosuid,nodev,relatime,size=1024k,mode=700"),
        "{ran:?}"
    );
}

#[tokio::test]
async fn nothing_but_three_descriptors_is_inherited() {
    if !can_run() {
        return;
    }
    let house = House::new();
    let process = house.runtime().create(house.request(&["sleep", "100"])).await.unwrap();
    process.go().await.unwrap();
    let mut open: Vec<_> = fs::read_dir(format!("/proc/{}/fd", process.pid()))
        .unwrap()
        .map(|e| e.unwrap().file_name())
        .collect();
    open.sort();
    assert_eq!(open, ["0", "1", "2"]);
    let limits = fs::read_to_string(format!("/proc/{}/status", process.pid())).unwrap();
    assert!(limits.contains("Umask:\t0022"), "{limits}");
    assert!(
        limits.contains("SigIgn:\t0000000000000000") && limits.contains("SigBlk:\t0000000000000000"),
        "{limits}"
    );
    process.kill().await.unwrap();
    process.wait().await;
}

#[tokio::test]
async fn kernel_parameters_and_names_are_the_container_s_own() {
    if !can_run() {
        return;
    }
    let house = House::new();
    let line = "hostname; cat /proc/sys/kernel/domainname /proc/sys/kernel/shmmax /proc/sys/net/ipv4/ip_unprivileged_port_start; id -G; pwd; echo $HOME";
    let ran = sh(&house, line, |r| {
        change(r, |c| {
            c.spec.hostname = "web".into();
            c.spec.domainname = "example.test".into();
            c.spec.sysctls.insert("kernel.shmmax".into(), "123456".into());
            c.spec.security.group_add = names(&["logs", "777"]);
            c.spec.process.working_dir = "/home/web".into();
        });
    })
    .await;
    assert_eq!(ran.out, "web\nexample.test\n123456\n0\n0 40 777\n/home/web\n/root\n", "{ran:?}");
}

#[tokio::test]
async fn a_paused_container_stands_still() {
    if !can_run() {
        return;
    }
    let house = House::new();
    let process =
        house.runtime().create(house.request(&["sh", "-c", "while :; do sleep 0.01; done"])).await.unwrap();
    process.go().await.unwrap();
    process.pause().await.unwrap();
    assert!(process.cgroup().is_frozen());
    let before = process.stats().await.unwrap().cpu.total;
    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    assert_eq!(process.stats().await.unwrap().cpu.total, before);
    process.resume().await.unwrap();
    process.pause().await.unwrap();
    process.kill().await.unwrap();
    assert_eq!(process.wait().await.code, 137, "a paused container can be killed");
}

#[tokio::test]
async fn the_machine_s_null_device_cannot_be_changed_from_inside() {
    if !can_run() {
        return;
    }
    let mode = || {
        use std::os::unix::fs::{MetadataExt, PermissionsExt};
        let meta = fs::metadata("/dev/null").unwrap();
        (meta.permissions().mode(), meta.uid())
    };
    let (house, before) = (House::new(), mode());
    let change_all = "chmod 604 /dev/stdin /proc/self/fd/0 /proc/keys /proc/timer_list; chown 7 /dev/stdin /proc/keys; echo tried";
    let ran = sh(&house, change_all, |_| {}).await;
    let after = mode();
    let process = house.runtime().create(house.request(&["sleep", "100"])).await.unwrap();
    process.go().await.unwrap();
    let (_, out, _) = exec_run(&process, exec(&["sh", "-c", "cat; chmod 604 /dev/stdin; echo tried"])).await;
    let after_exec = mode();
    // Whatever came of it, the machine goes on.
    fs::set_permissions("/dev/null", std::os::unix::fs::PermissionsExt::from_mode(before.0)).unwrap();
    std::os::unix::fs::chown("/dev/null", Some(before.1), None).unwrap();
    assert_eq!((ran.out.as_str(), out.as_str()), ("tried\n", "tried\n"), "{ran:?}");
    assert_eq!((after, after_exec), (before, before));
    process.kill().await.unwrap();
    process.wait().await;
}
