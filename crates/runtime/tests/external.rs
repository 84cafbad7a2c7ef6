//! Containers made by another OCI runtime: runc or crun, where one is installed. Needs root.

#![allow(clippy::unwrap_used)] // A test fails where it stands.

mod common;
use common::*;
use minke_runtime::{ExternalRuntime, RuntimeConfig, RuntimeError};
use std::path::Path;

/// A house whose containers are made by runc or crun; `None` where there is neither.
fn house() -> Option<House> {
    let places = ["/usr/sbin/runc", "/usr/bin/runc", "/usr/bin/crun", "/usr/local/sbin/runc"];
    let named = std::env::var("MINKE_TEST_RUNTIME").ok();
    let path = named.or_else(|| places.iter().find(|p| Path::new(p).exists()).map(|p| (*p).to_owned()));
    let Some(path) = path.filter(|_| can_run()) else {
        eprintln!("skipped: needs root, busybox and runc or crun");
        return None;
    };
    let mut house = House::new();
    house.crash();
    let runtime = ExternalRuntime { path, args: Vec::new() };
    let runtimes = [("other".to_owned(), runtime)].into();
    let config = RuntimeConfig { runtimes, default_runtime: "other".into(), ..house.config() };
    house.runtime = Some(open(&config));
    Some(house)
}

#[tokio::test]
async fn a_container_runs_ends_and_can_run_again() {
    let Some(house) = house() else { return };
    let request = house.request(&["sh", "-c", "echo out; echo err >&2; id -u; exit 7"]);
    for _ in 0..2 {
        let ran = house.run(request.clone()).await;
        assert_eq!((ran.exit.code, ran.out.as_str(), ran.err.as_str()), (7, "out\n0\n", "err\n"));
    }
}

#[tokio::test]
async fn what_is_inside_is_as_of_our_own() {
    let Some(house) = house() else { return };
    let line = "grep -E 'CapBnd|Seccomp:' /proc/self/status; cat /proc/sys/net/ipv4/ip_unprivileged_port_start; hostname; id -G";
    let mut request = house.request(&["sh", "-c", line]);
    change(&mut request, |c| {
        c.spec.hostname = "web".into();
        c.spec.security.group_add = Some(vec!["logs".into()]);
    });
    let ran = house.run(request).await;
    assert_eq!(ran.out, "CapBnd:\t00000000a80425fb\nSeccomp:\t2\n0\nweb\n0 40\n", "{ran:?}");
}

#[tokio::test]
async fn execs_run_and_tell_their_codes_and_kill_ends_all() {
    let Some(house) = house() else { return };
    let request = house.request(&["sleep", "100"]);
    let id = request.container.id.clone();
    let process = house.runtime().create(request).await.unwrap();
    process.go().await.unwrap();
    let (code, out, err) = exec_run(&process, exec(&["sh", "-c", "echo in; echo no >&2; exit 3"])).await;
    assert_eq!((code, out.as_str(), err.as_str()), (3, "in\n", "no\n"));
    let Err(RuntimeError::Start(error)) = process.exec(exec(&["nothing"])).await else {
        panic!("it started")
    };
    assert!(
        error.to_string().contains("executable file") || error.to_string().contains("not found"),
        "{error}"
    );
    process.kill().await.unwrap();
    assert_eq!(process.wait().await.code, 137);
    house.runtime().forget(&id).await.unwrap();
    assert!(!process.cgroup().exists());
}

#[tokio::test]
async fn a_terminal_comes_over_the_console_socket() {
    let Some(house) = house() else { return };
    let mut request = house.request(&["sh", "-c", "test -t 0 && stty size"]);
    change(&mut request, |c| {
        c.spec.process.tty = true;
        c.spec.console_size = (33, 101);
    });
    let ran = house.run(request).await;
    assert_eq!((ran.exit.code, ran.out.as_str()), (0, "33 101\r\n"), "{ran:?}");
}

#[tokio::test]
async fn what_cannot_start_is_told_in_the_runtime_s_words() {
    let Some(house) = house() else { return };
    let request = house.request(&["nothing"]);
    let id = request.container.id.clone();
    let error = match house.runtime().create(request).await {
        Ok(process) => process.go().await.unwrap_err(),
        Err(error) => error,
    };
    assert!(
        error.to_string().contains("executable file") || error.to_string().contains("not found"),
        "{error}"
    );
    house.runtime().forget(&id).await.unwrap();
    let mut unknown = house.request(&["true"]);
    change(&mut unknown, |c| c.spec.runtime = "nosuch".into());
    let error = house.runtime().create(unknown).await.unwrap_err();
    assert_eq!(error.to_string(), "unknown or invalid runtime name: nosuch");
}
