"""What a container may use and may do."""

import json
import os

from house import IMAGE, busybox_root, story, until


@story
def one_that_takes_too_much_memory_is_told_so(machine):
    machine.run("--name", "greedy", "-m", "16m", "--memory-swap", "16m", "--", "head -c 100000000 /dev/zero | tail", fails=None)
    assert machine.see("greedy", "{{.State.OOMKilled}}") == "true", machine.see("greedy", "{{json .State}}")


@story
def processes_and_descriptors_are_counted(machine):
    done = machine.run("--rm", "--pids-limit", "8", "--", "for n in $(seq 20); do sleep 5 & done; wait", fails=None)
    assert "can't fork" in done.err, done
    assert machine.run("--rm", "--ulimit", "nofile=123:456", "--", "ulimit -n; ulimit -Hn").out == "123\n456\n"


@story
def what_is_given_by_default_is_docker_s(machine):
    status = machine.run("--rm", "--", "cat /proc/self/status").out
    seen = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    assert seen["CapEff"] == seen["CapBnd"] == "00000000a80425fb" and seen["Seccomp"] == "2" and seen["NoNewPrivs"] == "0", status
    hidden = [path for path in ("/proc/kcore", "/proc/keys", "/proc/timer_list") if os.path.exists(path)]
    assert machine.run("--rm", "--", f"cat {' '.join(hidden)} | wc -c; ls /sys/firmware | wc -l").out.split() == ["0", "0"]
    for path in ("/sys/x", "/proc/sys/kernel/domainname", "/proc/irq/x"):
        machine.run("--rm", "--", f"echo x > {path}", fails=True)
    for forbidden in ("unshare -m true", "mount -t tmpfs none /tmp", "mknod /tmp/sda b 8 0 && head -c 1 /tmp/sda", "dmesg"):
        machine.run("--rm", "--", forbidden, fails=True)


@story
def capabilities_come_and_go(machine):
    machine.run("--rm", "--cap-drop", "ALL", "--", "chown 33 /root", fails=True)
    machine.run("--rm", "--cap-add", "NET_ADMIN", "--", "ip link set lo mtu 1000")
    machine.run("--rm", "--privileged", "--", "mount -t tmpfs none /tmp && test -b /dev/vda -o -c /dev/kmsg")
    machine.run("--rm", "--security-opt", "no-new-privileges", "--", "grep -q 'NoNewPrivs:.1' /proc/self/status")


@story
def a_seccomp_profile_of_one_s_own_holds(machine):
    profile = machine.scratch / "profile.json"
    rules = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28}]}
    profile.write_text(json.dumps(rules))
    done = machine.run("--rm", "--security-opt", f"seccomp={profile}", "--", "mkdir /x", fails=True)
    assert "No space left on device" in done.err, done


@story
def limits_change_while_it_runs(machine):
    machine.run("-d", "--name", "one", "-m", "64m", "--", "sleep 1000")
    machine.docker("update", "-m", "96m", "--memory-swap", "96m", "--cpus", "0.5", "one")
    assert machine.see("one", "{{.HostConfig.Memory}} {{.HostConfig.NanoCpus}}") == "100663296 500000000"
    stats = json.loads(machine.daemon.ask("GET", "/containers/one/stats?stream=false&one-shot=true")[2])
    assert stats["memory_stats"]["limit"] == 100663296, stats["memory_stats"]


@story
def a_paused_one_stands_still(machine):
    machine.run("-d", "--name", "one", "--", "while :; do echo tick; sleep 0.02; done")
    machine.docker("pause", "one")
    assert machine.see("one", "{{.State.Status}}") == "paused"
    # What it said before may still be on its way to the log.
    log = lambda: machine.docker("logs", "one").out  # noqa: E731
    until("the log to stand still", lambda: log() == log())
    before = log()
    refused = machine.docker("exec", "one", "true", fails=True)
    assert "is paused" in refused.err, refused
    assert log() == before
    machine.docker("unpause", "one")
    machine.docker("exec", "one", "true")


@story
def an_init_reaps_what_is_orphaned(machine):
    machine.docker("run", "-d", "--init", "--name", "one", IMAGE, "sh", "-c", "(sleep 0.05 &) ; exec sleep 1000")
    # PID 1 shows the words of its command: its children are looked at.
    orphan = "ps -o ppid,args | grep -q '^ *1 sleep 0.05'"
    machine.docker("exec", "one", "sh", "-c", f"while {orphan}; do sleep 0.05; done")
    until("the orphan to be reaped", lambda: machine.docker("exec", "one", "sh", "-c", "! ps -o stat | grep -q Z", fails=None).code == 0)


@story
def a_device_brings_what_its_vendor_s_file_says(machine):
    devices = machine.scratch / "cdi"
    devices.mkdir()
    library = machine.scratch / "libfoo.so"
    library.write_text("foo\n")
    (devices / "vendor.yaml").write_text(f"""
cdiVersion: "0.5.0"
kind: "vendor.com/device"
containerEdits:
  mounts:
  - {{hostPath: {library}, containerPath: /lib/libfoo.so, options: [ro]}}
devices:
- name: foo
  containerEdits:
    env: [FOO=injected]
    deviceNodes: [{{path: /dev/foo, hostPath: /dev/null}}]
""")
    other = machine.second_daemon("--cdi-spec-dir", str(devices))
    machine.docker("import", "-", IMAGE, stdin=busybox_root(), daemon=other)
    told = json.loads(other.ask("GET", "/v1.51/info")[2])
    assert told["CDISpecDirs"] == [str(devices)], told["CDISpecDirs"]
    assert told["DiscoveredDevices"] == [{"Source": "cdi", "ID": "vendor.com/device=foo"}]
    seen = machine.run("--rm", "--device", "vendor.com/device=foo", "--", "echo $FOO; cat /lib/libfoo.so; echo x > /dev/foo && ls -l /dev/foo", daemon=other).out
    assert seen.startswith("injected\nfoo\ncrw") and " 1,   3 " in seen, seen
    refused = machine.run("--rm", "--device", "vendor.com/device=bar", "--", "true", daemon=other, fails=True)
    assert "unresolvable CDI devices vendor.com/device=bar" in refused.err, refused
    other.end()
