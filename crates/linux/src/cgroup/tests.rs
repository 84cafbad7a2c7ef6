//! Against this machine's kernel: each test makes a cgroup of its own and takes it away.

use super::*;
use std::process::{Child, Command, Stdio};

/// A cgroup that goes with the test, whatever becomes of it.
struct Scratch {
    cgroups: Cgroups,
    path: String,
}

impl Scratch {
    /// `None` where the tests may not make cgroups.
    fn new(name: &str) -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            eprintln!("skipped: not root");
            return None;
        }
        let cgroups = Cgroups::find().ok()?;
        let path = format!("/minke-test-{}-{name}/one", std::process::id());
        cgroups.create(&path).unwrap();
        Some(Scratch { cgroups, path })
    }

    fn cgroup(&self) -> Cgroup {
        self.cgroups.at(&self.path)
    }

    /// A process in it that waits for its stdin to close.
    fn process(&self) -> Child {
        let child = Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        self.cgroup().add(child.id() as i32).unwrap();
        child
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let parent = self.path.trim_end_matches("/one");
        self.cgroups.remove(parent).unwrap();
        for dir in self.cgroups.at(parent).dirs() {
            if !std::thread::panicking() {
                assert!(!is_cgroup(&dir), "{} is left", dir.display());
            }
        }
    }
}

#[test]
fn a_process_is_counted_in_every_hierarchy_and_limits_read_back() {
    let Some(scratch) = Scratch::new("limits") else { return };
    let cgroup = scratch.cgroup();
    let mut child = scratch.process();
    assert_eq!(cgroup.pids(), [child.id() as i32]);
    let inside = std::fs::read_to_string(format!("/proc/{}/cgroup", child.id())).unwrap();
    for line in inside.lines() {
        assert!(line.ends_with(&scratch.path), "{line}");
    }

    let limits = Limits {
        memory: Some(64 << 20),
        memory_swap: Some(128 << 20),
        memory_reservation: Some(32 << 20),
        cpu_shares: Some(512),
        cpu_period: Some(50_000),
        cpu_quota: Some(25_000),
        pids: Some(33),
        cpuset_cpus: Some("0".into()),
        ..Limits::default()
    };
    cgroup.apply(&limits).unwrap();
    // Shrinking and growing past each other needs the right order.
    cgroup
        .apply(&Limits { memory: Some(200 << 20), memory_swap: Some(300 << 20), ..Limits::default() })
        .unwrap();
    cgroup
        .apply(&Limits { memory: Some(100 << 20), memory_swap: Some(100 << 20), ..Limits::default() })
        .unwrap();
    cgroup.apply(&Limits { pids: Some(44), ..Limits::default() }).unwrap();
    let stats = cgroup.stats().unwrap();
    assert_eq!(stats.memory.limit, 100 << 20);
    assert_eq!(stats.pids, PidsStats { current: 1, limit: Some(44) });
    assert!(stats.memory.usage < 100 << 20);
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
    assert!(status.contains("Cpus_allowed_list:\t0\n"), "{status}");

    let refused =
        cgroup.apply(&Limits { cpuset_cpus: Some("nonsense".into()), ..Limits::default() }).unwrap_err();
    assert_eq!(refused.errno(), Some(libc::EINVAL), "{refused}");
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn frozen_processes_stand_still_and_can_be_killed() {
    let Some(scratch) = Scratch::new("freeze") else { return };
    let cgroup = scratch.cgroup();
    let mut child = scratch.process();
    assert!(!cgroup.is_frozen());
    cgroup.freeze().unwrap();
    assert!(cgroup.is_frozen());
    assert!(child.try_wait().unwrap().is_none());
    cgroup.kill().unwrap();
    use std::os::unix::process::ExitStatusExt;
    assert_eq!(child.wait().unwrap().signal(), Some(9));
    cgroup.thaw().unwrap();
    assert!(!cgroup.is_frozen());
}

#[test]
fn what_is_in_use_is_killed_and_goes_without_waiting() {
    let Some(scratch) = Scratch::new("busy") else { return };
    let mut child = scratch.process();
    scratch.cgroups.remove(&scratch.path).unwrap();
    // Killed, and its cgroup is free at the latest when it is reaped.
    child.wait().unwrap();
    scratch.cgroups.remove("/minke-test-no-such").unwrap();
    for dir in scratch.cgroup().dirs() {
        assert!(!is_cgroup(&dir), "{}", dir.display());
    }
}

#[test]
fn memory_beyond_the_limit_is_counted_as_an_oom_kill() {
    let Some(scratch) = Scratch::new("oom") else { return };
    let cgroup = scratch.cgroup();
    cgroup.apply(&Limits { memory: Some(8 << 20), memory_swap: Some(8 << 20), ..Limits::default() }).unwrap();
    let watch = cgroup.watch_oom().unwrap();
    assert_eq!(cgroup.oom_kills(), 0);
    // Waits for a line, then builds one string of 64 MiB.
    let mut child = Command::new("sh")
        .args(["-c", "read go; head -c 67108864 /dev/zero | tail -c 67108864 > /dev/null; exit 0"])
        .stdin(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    cgroup.add(child.id() as i32).unwrap();
    std::io::Write::write_all(child.stdin.as_mut().unwrap(), b"go\n").unwrap();
    child.wait().unwrap();
    let limit = rustix::event::Timespec { tv_sec: 10, tv_nsec: 0 };
    let mut fds = [rustix::event::PollFd::new(&watch, rustix::event::PollFlags::IN)];
    assert_eq!(rustix::event::poll(&mut fds, Some(&limit)).unwrap(), 1, "the watch tells");
    assert!(cgroup.oom_kills() > 0);
}

#[test]
fn v1_device_rules_decide_what_can_be_opened() {
    let Some(scratch) = Scratch::new("devices") else { return };
    if scratch.cgroups.version() != 1 {
        return;
    }
    scratch.cgroup().apply(&null_but_not_zero()).unwrap();
    assert_eq!(opens(&scratch), "null zero-denied");
}

#[test]
fn v2_device_filters_decide_what_can_be_opened_and_can_be_replaced() {
    let Some(scratch) = Scratch::new("filter") else { return };
    let Some(unified) = scratch.cgroup().unified() else { return };
    devices::attach(&unified, &null_but_not_zero().devices.unwrap()).unwrap();
    assert_eq!(opens(&scratch), "null zero-denied");
    devices::attach(&unified, &[DeviceRule::everything()]).unwrap();
    assert_eq!(opens(&scratch), "null zero");
}

#[test]
fn only_what_is_empty_is_removed_as_empty() {
    let Some(scratch) = Scratch::new("empty") else { return };
    let parent = scratch.path.trim_end_matches("/one");
    scratch.cgroups.remove_if_empty(parent);
    assert!(scratch.cgroup().exists(), "one below it keeps it");
    scratch.cgroups.remove(&scratch.path).unwrap();
    scratch.cgroups.remove_if_empty(parent);
    assert!(!scratch.cgroups.at(parent).exists());
}

fn null_but_not_zero() -> Limits {
    let devices = ["c 1:3 rw", "c 5:0 rw"].map(|text| DeviceRule::parse(text).unwrap()).to_vec();
    Limits { devices: Some(devices), ..Limits::default() }
}

/// Which of two devices a process in the cgroup can open.
fn opens(scratch: &Scratch) -> String {
    let script =
        "read go; (: < /dev/null) && printf null; (: < /dev/zero) && printf ' zero' || printf ' zero-denied'";
    let mut child = Command::new("sh")
        .args(["-c", script])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    scratch.cgroup().add(child.id() as i32).unwrap();
    std::io::Write::write_all(child.stdin.as_mut().unwrap(), b"go\n").unwrap();
    String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap()
}
