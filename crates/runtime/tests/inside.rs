//! What a container finds inside, and what it shares. Needs root.

mod common;
use common::*;
use minke_model::{
    container::{IpcSharing, NetworkMode, Sharing},
    mount::{MountKind, ReadOnlyRecursion},
};
use minke_runtime::{Found, MountSource, NetJoin, ResolvedMount, RuntimeError};
use std::{fs, os::unix::fs::PermissionsExt, time::Duration};

fn mount(source: MountSource, target: &str, writable: bool) -> ResolvedMount {
    ResolvedMount {
        kind: MountKind::Bind,
        source,
        subpath: String::new(),
        target: target.into(),
        writable,
        propagation: None,
        non_recursive: false,
        read_only_recursion: ReadOnlyRecursion::IfPossible,
        tmpfs_options: String::new(),
    }
}

#[tokio::test]
async fn pid_1_of_init_reaps_and_passes_signals_on() {
    if !can_run() {
        return;
    }
    let house = House::new();
    // A process is in /proc until it is reaped; `read` makes no process that could be taken for it.
    let script = "trap 'exit 9' USR1; (sleep 0.05 & echo $! > /tmp/orphan); echo $$; read orphan < /tmp/orphan; \
                  while test -d /proc/$orphan; do sleep 0.05; done; echo ready; while :; do sleep 0.05; done";
    let mut request = house.request(&["sh", "-c", script]);
    request.init = true;
    let process = house.runtime().create(request).await.unwrap();
    let mut stream = process.attach(OUT).await.unwrap();
    process.go().await.unwrap();
    let out = tokio::time::timeout(PATIENCE, until(&mut stream, "ready")).await.expect("a zombie stays");
    let words: Vec<&str> =
        out.split(|c: char| !c.is_ascii_alphanumeric()).filter(|w| !w.is_empty()).collect();
    assert_eq!(words, ["2", "ready"], "the command is not PID 1");
    process.signal(10).await.unwrap();
    assert_eq!(process.wait().await.code, 9);
}

#[tokio::test]
async fn a_read_only_root_takes_no_writes_but_its_mounts_do() {
    if !can_run() {
        return;
    }
    let house = House::new();
    let data = house.root.join("data-dir");
    fs::create_dir_all(&data).unwrap();
    let mut request = house.request(&[
        "sh",
        "-c",
        "touch /x; touch /rw/x && echo rw; touch /ro/x; touch /mem/x && echo mem; stat -c %a /mem; cat /one",
    ]);
    change(&mut request, |c| c.spec.security.readonly_rootfs = true);
    fs::write(data.join("one"), "file\n").unwrap();
    request.mounts = vec![
        mount(MountSource::Path(data.clone()), "/rw", true),
        mount(MountSource::Path(data.clone()), "/ro", false),
        mount(MountSource::Path(data.join("one")), "/one", false),
        ResolvedMount {
            kind: MountKind::Tmpfs,
            tmpfs_options: "size=64k,mode=750".into(),
            ..mount(MountSource::Tmpfs, "/mem", true)
        },
    ];
    // A read-only root cannot get mount points while it is read-only: they are made before.
    let ran = house.run(request).await;
    assert_eq!(ran.out, "rw\nmem\n750\nfile\n", "{ran:?}");
    assert_eq!(ran.err.matches("ead-only file system").count(), 2, "{ran:?}");
    assert!(data.join("x").exists());
}

#[tokio::test]
async fn a_subpath_cannot_leave_its_volume() {
    if !can_run() {
        return;
    }
    let house = House::new();
    let volume = house.root.join("volume");
    fs::create_dir_all(volume.join("part")).unwrap();
    fs::write(volume.join("part/f"), "part\n").unwrap();
    std::os::unix::fs::symlink(&house.root, volume.join("out")).unwrap();
    let mut request = house.request(&["cat", "/v/f"]);
    request.mounts = vec![ResolvedMount {
        subpath: "part".into(),
        ..mount(MountSource::Path(volume.clone()), "/v", true)
    }];
    assert_eq!(house.run(request).await.out, "part\n");
    let mut request = house.request(&["ls", "/v"]);
    request.mounts =
        vec![ResolvedMount { subpath: "out".into(), ..mount(MountSource::Path(volume), "/v", true) }];
    house.refused(request).await;
}

#[tokio::test]
async fn an_images_layers_can_be_mounted() {
    if !can_run() {
        return;
    }
    let house = House::new();
    for (layer, file) in [("l1", "a"), ("l2", "b")] {
        fs::create_dir_all(house.root.join(layer).join("sub")).unwrap();
        fs::write(house.root.join(layer).join("sub").join(file), file).unwrap();
    }
    let layers = || MountSource::Layers(vec![house.root.join("l1"), house.root.join("l2")]);
    let mut request = house.request(&["sh", "-c", "ls /whole/sub /part; touch /whole/x"]);
    request.mounts = vec![
        mount(layers(), "/whole", false),
        ResolvedMount { subpath: "sub".into(), ..mount(layers(), "/part", false) },
    ];
    let ran = house.run(request).await;
    assert_eq!(ran.out.split_whitespace().collect::<Vec<_>>(), ["/part:", "a", "b", "/whole/sub:", "a", "b"]);
    assert!(ran.err.contains("ead-only"), "{ran:?}");
}

#[tokio::test]
async fn a_working_directory_is_made_and_belongs_to_root() {
    if !can_run() {
        return;
    }
    let house = House::new();
    let mut request = house.request(&["sh", "-c", "pwd; stat -c '%a %u' ."]);
    change(&mut request, |c| {
        c.spec.process.working_dir = "/new/deep".into();
        c.spec.process.user = "web".into();
    });
    let upper = request.rootfs.upper.clone();
    assert_eq!(house.run(request).await.out, "/new/deep\n755 0\n");
    assert_eq!(fs::metadata(upper.join("new")).unwrap().permissions().mode() & 0o777, 0o755);
}

#[tokio::test]
async fn a_user_can_open_the_streams_that_it_was_given() {
    if !can_run() {
        return;
    }
    let house = House::new();
    let mut request = house.request(&["sh", "-c", "echo opened > /dev/stdout; echo too > /dev/stderr"]);
    change(&mut request, |c| c.spec.process.user = "web".into());
    let ran = house.run(request).await;
    assert_eq!((ran.out.as_str(), ran.err.as_str()), ("opened\n", "too\n"));
}

#[tokio::test]
async fn namespaces_are_shared_as_asked() {
    if !can_run() {
        return;
    }
    let house = House::new();
    let first = house.runtime().create(house.request(&["sleep", "100"])).await.unwrap();
    first.go().await.unwrap();
    let of = |pid: i32, name: &str| fs::read_link(format!("/proc/{pid}/ns/{name}")).unwrap();
    let mut request = house.request(&["sleep", "100"]);
    request.join.pid = Some(first.pid());
    request.join.net = NetJoin::Container(first.pid());
    change(&mut request, |c| {
        c.spec.namespaces.pid = Sharing::Container("first".into());
        c.spec.networking.mode = NetworkMode::Container("first".into());
    });
    let second = house.runtime().create(request).await.unwrap();
    let same = |a: &std::os::fd::OwnedFd, b: &std::os::fd::OwnedFd| {
        rustix::fs::fstat(a).unwrap().st_ino == rustix::fs::fstat(b).unwrap().st_ino
    };
    assert!(same(&first.netns().unwrap(), &second.netns().unwrap()));
    second.go().await.unwrap();
    for (name, shared) in [("pid", true), ("net", true), ("mnt", false), ("ipc", false)] {
        assert_eq!(of(first.pid(), name) == of(second.pid(), name), shared, "{name}");
    }
    let (_, out, _) = exec_run(&second, exec(&["sh", "-c", "ps | grep -c 'sleep 10[0]'"])).await;
    assert_eq!(out, "2\n");
    let mut request = house.request(&["sleep", "100"]);
    request.join.net = NetJoin::Host;
    change(&mut request, |c| {
        c.spec.namespaces.pid = Sharing::Host;
        c.spec.namespaces.ipc = IpcSharing::Host;
        c.spec.namespaces.uts_host = true;
    });
    change(&mut request, |c| c.spec.networking.mode = NetworkMode::Host);
    let host = house.runtime().create(request).await.unwrap();
    host.go().await.unwrap();
    let own = std::process::id() as i32;
    for name in ["pid", "net", "ipc", "uts"] {
        assert_eq!(of(own, name), of(host.pid(), name), "{name}");
    }
    for process in [host, second, first] {
        process.kill().await.unwrap();
        assert_eq!(process.wait().await.code, 137);
    }
}

#[tokio::test]
async fn without_a_pid_namespace_the_others_die_with_the_first() {
    if !can_run() {
        return;
    }
    let house = House::new();
    let mut request = house.request(&["sh", "-c", "setsid sleep 4242 & sleep 0.1; exit 0"]);
    change(&mut request, |c| c.spec.namespaces.pid = Sharing::Host);
    let ran = house.run(request).await;
    assert_eq!(ran.exit.code, 0);
    let pgrep = || std::process::Command::new("pgrep").args(["-x", "-f", "sleep 4242"]).output().unwrap();
    soon("the others to die", || pgrep().stdout.is_empty());
}

#[tokio::test]
async fn memory_that_ran_out_is_told() {
    if !can_run() {
        return;
    }
    let house = House::new();
    let mut request = house.request(&["sh", "-c", "tail /dev/zero"]);
    change(&mut request, |c| (c.spec.resources.memory, c.spec.resources.memory_swap) = (8 << 20, 8 << 20));
    let ran = house.run(request).await;
    assert!(ran.exit.oom, "{ran:?}");
    assert_eq!(ran.exit.code, 137);
}

#[tokio::test]
async fn a_limit_that_cannot_be_raised_is_as_high_as_it_can_be() {
    if !can_run() {
        return;
    }
    let house = House::new();
    let mut request = house.request(&["sh", "-c", "ulimit -n"]);
    change(&mut request, |c| {
        c.spec.resources.ulimits =
            Some(vec![minke_model::resources::Ulimit { name: "nofile".into(), soft: 1 << 19, hard: 1 << 19 }])
    });
    let ran = house.run(request).await;
    assert!(ran.out.trim().parse::<u64>().is_ok_and(|n| n > 0 && n <= 1 << 19), "{ran:?}");
}

#[tokio::test]
async fn a_client_that_does_not_read_loses_nothing_and_others_get_all() {
    if !can_run() {
        return;
    }
    let house = House::new();
    let request = house.request(&["sh", "-c", "seq 1 300000"]);
    let process = house.runtime().create(request).await.unwrap();
    let slow = process.attach(OUT).await.unwrap();
    let gone = process.attach(OUT).await.unwrap();
    process.go().await.unwrap();
    drop(gone);
    tokio::time::sleep(Duration::from_millis(200)).await;
    let (out, _) = split(slow).await;
    assert_eq!(out.lines().count(), 300_000);
    assert_eq!(process.wait().await.code, 0);
}

#[tokio::test]
async fn a_shim_that_died_takes_its_container_along() {
    if !can_run() {
        return;
    }
    let mut house = House::new();
    let process = house.runtime().create(house.request(&["sleep", "100"])).await.unwrap();
    process.go().await.unwrap();
    let id = process.id().clone();
    let status = fs::read_to_string(format!("/proc/{}/status", process.pid())).unwrap();
    let shim: i32 = status.lines().find_map(|l| l.strip_prefix("PPid:")).unwrap().trim().parse().unwrap();
    let shim = rustix::process::Pid::from_raw(shim).unwrap();
    rustix::process::kill_process(shim, rustix::process::Signal::KILL).unwrap();
    assert_eq!(process.wait().await.code, 137);
    assert!(matches!(process.exec(exec(&["true"])).await, Err(RuntimeError::NotRunning { .. })));
    house.crash();
    house.open();
    let Some(Found::Exited(exit)) = house.runtime().reconnect(&id).await.unwrap() else { panic!("it runs") };
    assert_eq!(exit.code, 137);
    house.runtime().forget(&id).await.unwrap();
}

#[tokio::test]
async fn an_exit_while_no_daemon_was_there_is_known() {
    if !can_run() {
        return;
    }
    let mut house = House::new();
    let script = "while ! test -e /tmp/go; do sleep 0.02; done; exit 42";
    let process = house.runtime().create(house.request(&["sh", "-c", script])).await.unwrap();
    process.go().await.unwrap();
    let (id, pid) = (process.id().clone(), process.pid());
    drop(process);
    house.crash();
    touch(pid, "tmp/go");
    let exit = house.root.join("exec/shim").join(id.as_str()).join("exit");
    soon("the shim to write the exit down", || exit.exists());
    house.open();
    let Some(Found::Exited(exit)) = house.runtime().reconnect(&id).await.unwrap() else { panic!("it runs") };
    assert_eq!(exit.code, 42);
    house.runtime().forget(&id).await.unwrap();
}

#[tokio::test]
async fn execs_survive_a_daemon_and_keep_their_codes() {
    if !can_run() {
        return;
    }
    let mut house = House::new();
    let process = house.runtime().create(house.request(&["sleep", "100"])).await.unwrap();
    process.go().await.unwrap();
    let id = process.id().clone();
    let waiting = |go: &str, code: i32| {
        let script = format!("while ! test -e /tmp/{go}; do sleep 0.02; done; exit {code}");
        minke_runtime::ExecRequest { streams: None, ..exec(&["sh", "-c", &script]) }
    };
    let (short, long) = (waiting("short", 3), waiting("long", 4));
    let (a, b) = (short.id.clone(), long.id.clone());
    let (pid, short) = (process.pid(), process.exec(short).await.unwrap().pid);
    process.exec(long).await.unwrap();
    drop(process);
    house.crash();
    touch(pid, "tmp/short");
    // Its shim reaps it, and so knows.
    soon("the short one to end", || !std::path::Path::new(&format!("/proc/{short}")).exists());
    house.open();
    let Some(Found::Running(process)) = house.runtime().reconnect(&id).await.unwrap() else { panic!("lost") };
    assert!(matches!(
        process.exec_state(&a).await.unwrap(),
        minke_runtime::ExecState::Exited { code: 3, .. }
    ));
    assert!(matches!(process.exec_state(&b).await.unwrap(), minke_runtime::ExecState::Running { .. }));
    touch(process.pid(), "tmp/long");
    assert_eq!((process.exec_wait(&a).await.unwrap(), process.exec_wait(&b).await.unwrap()), (3, 4));
    assert!(matches!(
        process.exec_wait(&minke_model::ExecId::random()).await,
        Err(RuntimeError::NoSuchExec { .. })
    ));
    process.kill().await.unwrap();
}

#[tokio::test]
async fn lives_leave_nothing_behind() {
    if !can_run() {
        return;
    }
    let house = House::new();
    house.sh("true").await;
    let fds = || fs::read_dir("/proc/self/fd").unwrap().count();
    let cgroups = || house.runtime().config().daemon_id.clone();
    let before = fds();
    for _ in 0..10 {
        house.sh("true").await;
    }
    // Other tests of this process open and close theirs meanwhile.
    assert!(fds() < before + 40, "{before} then {}", fds());
    let left: Vec<_> = fs::read_dir(format!("/sys/fs/cgroup/pids/minke-{}", cgroups()))
        .into_iter()
        .flatten()
        .flatten()
        .filter(|e| e.path().is_dir())
        .collect();
    assert!(left.is_empty(), "{left:?}");
    assert!(house.runtime().containers().is_empty());
}

#[tokio::test]
async fn two_daemons_do_not_share_an_exec_root() {
    if !can_run() {
        return;
    }
    let house = House::new();
    assert!(matches!(minke_runtime::Runtime::open(house.config()), Err(RuntimeError::InUse { .. })));
}

#[tokio::test]
async fn a_container_that_never_went_is_gone_with_its_daemon() {
    if !can_run() {
        return;
    }
    let house = House::new();
    let process = house.runtime().create(house.request(&["true"])).await.unwrap();
    let id = process.id().clone();
    house.runtime().forget(&id).await.unwrap();
    soon("its process to be gone", || !std::path::Path::new(&format!("/proc/{}", process.pid())).exists());
    assert!(house.runtime().containers().is_empty());
}

#[tokio::test]
async fn a_shim_keeps_no_descriptor_of_what_ended() {
    if !can_run() {
        return;
    }
    let house = House::new();
    let process = house.runtime().create(house.request(&["sleep", "100"])).await.unwrap();
    process.go().await.unwrap();
    let status = fs::read_to_string(format!("/proc/{}/status", process.pid())).unwrap();
    let shim = status.lines().find_map(|l| l.strip_prefix("PPid:")).unwrap().trim().to_owned();
    let count = || fs::read_dir(format!("/proc/{shim}/fd")).unwrap().count();
    exec_run(&process, exec(&["true"])).await;
    // An answer means that all before it is done.
    process.resize(1, 1).await.unwrap();
    let before = count();
    for n in 0..20 {
        let mut request = exec(&["sh", "-c", "echo x; cat"]);
        request.tty = n % 2 == 0;
        request.streams = Some(ALL);
        let id = request.id.clone();
        let mut stream = process.exec(request).await.unwrap().stream.unwrap();
        until(&mut stream, "x").await;
        process.exec_kill(&id).await.unwrap();
        process.exec_wait(&id).await.unwrap();
        drop(process.attach(OUT).await.unwrap());
        assert!(process.exec(exec(&["nothing"])).await.is_err());
    }
    soon("as many descriptors as before", || count() == before);
    process.kill().await.unwrap();
}
