//! The published ways out of a container, each tried. Needs root.

#![allow(clippy::unwrap_used)] // A test that cannot go on fails.

mod common;
use common::*;
use minke_model::mount::{MountKind, ReadOnlyRecursion};
use minke_runtime::{MountSource, ResolvedMount};
use std::{fs, os::unix::fs::symlink, path::Path};

fn bind(source: &Path, target: &str) -> ResolvedMount {
    ResolvedMount {
        kind: MountKind::Bind,
        source: MountSource::Path(source.into()),
        subpath: String::new(),
        target: target.into(),
        writable: true,
        propagation: None,
        non_recursive: false,
        read_only_recursion: ReadOnlyRecursion::IfPossible,
        tmpfs_options: String::new(),
    }
}

/// A container's process of ours that never execs (the reaper) is the shim's program: it can be neither written nor read.
#[tokio::test]
async fn cve_2019_5736_the_shims_program_is_out_of_reach() {
    if !can_run() {
        return;
    }
    let house = House::new();
    let mut request = house.request(&[
        "sh",
        "-c",
        "cat /proc/1/exe > /tmp/copy; echo x > /proc/1/exe; ls /proc/1/fd; echo $(wc -c < /tmp/copy)",
    ]);
    request.init = true;
    let ran = house.run(request).await;
    assert_eq!(ran.out, "0\n1\n2\n0\n", "{ran:?}");
    assert_eq!(ran.err.matches("ermission denied").count(), 2, "{ran:?}");
}

/// The program as the container's own command: it is executed, but nobody can write it.
#[tokio::test]
async fn cve_2019_5736_the_command_may_be_the_shim_itself() {
    if !can_run() {
        return;
    }
    let mut house = House::new();
    let bytes: &'static [u8] = fs::read(&house.config().shim[0]).unwrap().leak();
    house.crash();
    let config = minke_runtime::RuntimeConfig { shim: Vec::new(), shim_bytes: Some(bytes), ..house.config() };
    house.runtime = Some(open(&config));
    let ran = house.run(house.request(&["/proc/self/exe"])).await;
    // The shim refuses to run without a directory; linked dynamically, it does not even find its loader.
    assert!([2, 255].contains(&ran.exit.code), "{ran:?}");
}

#[tokio::test]
async fn cve_2024_21626_no_descriptor_of_the_host_is_left() {
    if !can_run() {
        return;
    }
    let house = House::new();
    let ran = house.sh("ls /proc/self/fd | tr '\\n' ' '; pwd").await;
    assert_eq!(ran.out, "0 1 2 3 /\n", "3 is ls's own");
    for n in 3..14 {
        let mut request = house.request(&[
            "sh",
            "-c",
            "ls -d ../../../../etc/passwd; cat /proc/self/cwd/../../../../../etc/hostname",
        ]);
        change(&mut request, |c| c.spec.process.working_dir = format!("/proc/self/fd/{n}"));
        let id = request.container.id.clone();
        let process = house.runtime().create(request).await.unwrap();
        assert!(process.go().await.is_err(), "descriptor {n} named a directory");
        house.runtime().forget(&id).await.unwrap();
    }
    let process = house.runtime().create(house.request(&["sleep", "100"])).await.unwrap();
    process.go().await.unwrap();
    let (_, out, _) = exec_run(&process, exec(&["sh", "-c", "ls /proc/self/fd | tr '\\n' ' '"])).await;
    assert_eq!(out, "0 1 2 3 ");
    for n in 3..14 {
        let mut request = exec(&["pwd"]);
        request.cwd = format!("/proc/self/fd/{n}");
        assert!(process.exec(request).await.is_err(), "descriptor {n} named a directory");
    }
    process.kill().await.unwrap();
}

#[tokio::test]
async fn cve_2019_16884_and_cve_2021_30465_links_in_the_image_lead_no_mount_out() {
    if !can_run() {
        return;
    }
    let house = House::new();
    let content = house.root.join("content");
    let outside = house.root.join("outside");
    fs::create_dir_all(&content).unwrap();
    fs::create_dir_all(&outside).unwrap();
    fs::write(content.join("file"), "inside").unwrap();
    let mut request = house.request(&["sh", "-c", "cat /climb/x/file /absolute/y/file"]);
    let up = "../".repeat(20);
    symlink(
        format!("{up}{}", outside.strip_prefix("/").unwrap().display()),
        request.rootfs.upper.join("climb"),
    )
    .unwrap();
    symlink(&outside, request.rootfs.upper.join("absolute")).unwrap();
    // What the links name exists inside: mounts go there, never to the host's directory of that name.
    let inside = request.rootfs.upper.join(outside.strip_prefix("/").unwrap());
    fs::create_dir_all(&inside).unwrap();
    request.mounts = vec![bind(&content, "/climb/x"), bind(&content, "/absolute/y")];
    let ran = house.run(request).await;
    assert_eq!(ran.out, "insideinside");
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
    assert!(inside.join("x").is_dir() && inside.join("y").is_dir());
}

#[tokio::test]
async fn cve_2019_19921_and_cve_2023_27561_proc_and_sys_must_be_directories() {
    if !can_run() {
        return;
    }
    let house = House::new();
    for name in ["proc", "sys"] {
        let request = house.request(&["true"]);
        fs::create_dir_all(request.rootfs.upper.join("tmp/elsewhere")).unwrap();
        symlink("/tmp/elsewhere", request.rootfs.upper.join(name)).unwrap();
        let error = house.refused(request).await;
        assert!(error.contains(&format!("/{name}")), "{error}");
    }
}

#[tokio::test]
async fn nothing_can_be_mounted_over_procfs() {
    if !can_run() {
        return;
    }
    let house = House::new();
    let content = house.root.join("content");
    fs::create_dir_all(&content).unwrap();
    let mut request = house.request(&["true"]);
    request.mounts = vec![bind(&content, "/proc/sys/kernel")];
    let error = house.refused(request).await;
    assert!(error.contains("\"/proc/sys/kernel\" cannot be mounted because it is inside /proc"), "{error}");
    let mut request = house.request(&["true"]);
    symlink("/proc/sys", request.rootfs.upper.join("way")).unwrap();
    request.mounts = vec![bind(&content, "/way")];
    assert!(house.refused(request).await.contains("inside /proc"));
    fs::write(house.root.join("meminfo"), "of its own\n").unwrap();
    let mut request = house.request(&["cat", "/proc/meminfo"]);
    request.mounts = vec![bind(&house.root.join("meminfo"), "/proc/meminfo")];
    assert_eq!(house.run(request).await.out, "of its own\n");
}

#[tokio::test]
async fn cve_2025_31133_and_cve_2025_52565_the_images_devices_are_not_used() {
    if !can_run() {
        return;
    }
    let house = House::new();
    let mut request = house.request(&["sh", "-c", "stat -c %t:%T /proc/timer_list /proc/keys /dev/console; cat /proc/keys | wc -c; ls /sys/firmware | wc -l"]);
    let dev = request.rootfs.upper.join("dev");
    fs::create_dir_all(&dev).unwrap();
    for name in ["null", "console", "ptmx", "pts"] {
        symlink("/proc/sys/kernel/core_pattern", dev.join(name)).unwrap();
    }
    change(&mut request, |c| c.spec.process.tty = true);
    let ran = house.run(request).await;
    assert_eq!(ran.out, "1:3\r\n1:3\r\n88:0\r\n0\r\n0\r\n", "{ran:?}");
}

#[tokio::test]
async fn cve_2025_52881_parameters_go_to_the_containers_namespaces_only() {
    if !can_run() {
        return;
    }
    let house = House::new();
    let read = |name: &str| fs::read_to_string(format!("/proc/sys/{name}")).unwrap();
    let before = (read("net/core/somaxconn"), read("kernel/shm_rmid_forced"));
    let mut request = house.request(&["sh", "-c", "cat /proc/sys/net/core/somaxconn /proc/sys/kernel/shm_rmid_forced; echo 5 > /proc/sys/net/core/somaxconn"]);
    change(&mut request, |c| {
        c.spec.sysctls.insert("net.core.somaxconn".into(), "1234".into());
        c.spec.sysctls.insert("kernel.shm_rmid_forced".into(), "1".into());
    });
    let ran = house.run(request).await;
    assert_eq!(ran.out, "1234\n1\n");
    assert!(ran.err.contains("ead-only file system"), "{ran:?}");
    assert_eq!((read("net/core/somaxconn"), read("kernel/shm_rmid_forced")), before);
}

#[tokio::test]
async fn cve_2019_14271_user_files_are_parsed_never_obeyed() {
    if !can_run() {
        return;
    }
    let house = House::new();
    for kind in ["fifo", "link"] {
        let mut request = house.request(&["sed", "-n", "s/^Uid:.//p", "/proc/self/status"]);
        let etc = request.rootfs.upper.join("etc");
        fs::create_dir_all(&etc).unwrap();
        if kind == "fifo" {
            let path = std::ffi::CString::new(etc.join("passwd").to_str().unwrap()).unwrap();
            rustix::fs::mknodat(
                rustix::fs::CWD,
                path,
                rustix::fs::FileType::Fifo,
                rustix::fs::Mode::from_raw_mode(0o644),
                0,
            )
            .unwrap();
        } else {
            symlink("/dev/zero", etc.join("passwd")).unwrap();
        }
        change(&mut request, |c| c.spec.process.user = "1234".into());
        assert_eq!(house.run(request).await.out, "1234\t1234\t1234\t1234\n", "{kind}");
    }
}

#[tokio::test]
async fn a_container_has_dockers_privileges_and_no_more() {
    if !can_run() {
        return;
    }
    let house = House::new();
    let probe = "grep -E 'Cap|NoNew|Seccomp:' /proc/self/status | tr -d '\\t' | tr '\\n' ' '; mount -t tmpfs x /tmp && echo mounted; echo 1 > /proc/sys/vm/overcommit_memory; touch /sys/x";
    let ran = house.sh(probe).await;
    assert_eq!(
        ran.out,
        "CapInh:0000000000000000 CapPrm:00000000a80425fb CapEff:00000000a80425fb CapBnd:00000000a80425fb CapAmb:0000000000000000 NoNewPrivs:0 Seccomp:2 "
    );
    assert_eq!(ran.err.matches("ead-only file system").count(), 2, "{ran:?}");
    let mut request = house.request(&[
        "sh",
        "-c",
        "grep -E 'Cap(Eff|Prm|Bnd)|NoNew' /proc/self/status | tr -d '\\t' | tr '\\n' ' '; id -G; umask",
    ]);
    change(&mut request, |c| {
        c.spec.process.user = "web".into();
        c.spec.security.options = Some(vec![minke_model::security::SecurityOption::NoNewPrivileges(true)]);
        c.spec.security.cap_drop = Some(vec!["ALL".into()]);
        c.spec.security.cap_add = Some(vec!["CHOWN".into()]);
    });
    let ran = house.run(request).await;
    assert_eq!(
        ran.out,
        "CapPrm:0000000000000000 CapEff:0000000000000000 CapBnd:0000000000000001 NoNewPrivs:1 34 40\n0022\n"
    );
}

#[tokio::test]
async fn the_host_sees_none_of_a_containers_mounts_and_it_none_of_the_hosts() {
    if !can_run() {
        return;
    }
    let house = House::new();
    let host = || fs::read_to_string("/proc/self/mountinfo").unwrap();
    let before = host();
    let mut request = house.request(&["sleep", "100"]);
    request.mounts = vec![bind(&house.root, "/data")];
    let process = house.runtime().create(request).await.unwrap();
    process.go().await.unwrap();
    let after: Vec<String> = host().lines().map(str::to_owned).collect();
    assert!(
        after.iter().all(|line| before.contains(line.as_str()) || !line.contains(&house.daemon_id)),
        "{after:?}"
    );
    let inside = fs::read_to_string(format!("/proc/{}/mountinfo", process.pid())).unwrap();
    let roots: Vec<&str> = inside.lines().filter(|l| l.split(' ').nth(4) == Some("/")).collect();
    assert_eq!(roots.len(), 1, "{inside}");
    assert!(roots[0].contains("overlay"), "{inside}");
    process.kill().await.unwrap();
}
