"""What a daemon is told at its start, and what a container is given when nobody asks."""

import json
import os
import signal
import subprocess

from house import IMAGE, Daemon, busybox_root, story, until


def other_daemon(machine, *flags):
    other = machine.second_daemon(*flags)
    machine.docker("import", "-", IMAGE, stdin=busybox_root(), daemon=other)
    return other


@story
def survivors_of_a_kill_are_stopped_before_anybody_is_served(machine):
    other = other_daemon(machine, "--live-restore=false")
    machine.docker("run", "-d", "--name", "one", "--stop-timeout", "0", IMAGE, "sleep", "1000", daemon=other)
    other.end(signal.SIGKILL)
    other.start()
    states = [one["State"] for one in json.loads(other.ask("GET", "/containers/json?all=1")[2])]
    assert states == ["exited"], states
    machine.docker("rm", "one", daemon=other)
    other.end()


@story
def called_dockerd_it_leaves_its_bridge_for_others(machine):
    os.symlink(machine.minke, machine.scratch / "dockerd")
    other = Daemon(machine.scratch / "dockerd", "third", "docker0")
    other.program = [str(other.minke)]
    machine.others.append(other)
    other.start()
    try:
        assert subprocess.run(["ip", "link", "show", "docker0"], capture_output=True, check=False).returncode == 0
        other.end()
        assert subprocess.run(["ip", "link", "show", "docker0"], capture_output=True, check=False).returncode == 0
    finally:
        subprocess.run(["ip", "link", "del", "docker0"], check=False)


@story
def networks_get_the_daemon_s_options_where_they_have_none(machine):
    other = other_daemon(machine, "--default-network-opt", "bridge=com.docker.network.driver.mtu=1234")
    machine.docker("network", "create", "plain", daemon=other)
    machine.docker("network", "create", "-o", "com.docker.network.driver.mtu=1300", "own", daemon=other)
    for network, mtu in (("plain", "1234"), ("own", "1300")):
        seen = machine.docker("run", "--rm", "--network", network, IMAGE, "cat", "/sys/class/net/eth0/mtu", daemon=other).out
        assert seen == f"{mtu}\n", (network, seen)
    machine.docker("network", "rm", "plain", "own", daemon=other)
    other.end()


@story
def without_a_bridge_containers_have_loopback_alone(machine):
    other = other_daemon(machine, "--bridge", "none")
    assert sorted(machine.docker("network", "ls", "--format", "{{.Name}}", daemon=other).out.split()) == ["host", "none"]
    assert machine.docker("run", "--rm", IMAGE, "ls", "/sys/class/net", daemon=other).out.split() == ["lo"]
    other.end()


@story
def registries_are_told_as_they_were_given(machine):
    other = machine.second_daemon("--insecure-registry", "reg.example:5000", "--insecure-registry", "10.1.0.0/16", "--registry-mirror", "https://mirror.example/")
    told = json.loads(other.ask("GET", "/info")[2])["RegistryConfig"]
    assert "10.1.0.0/16" in told["InsecureRegistryCIDRs"] and "127.0.0.0/8" in told["InsecureRegistryCIDRs"], told
    assert told["Mirrors"] == ["https://mirror.example/"] and told["IndexConfigs"]["reg.example:5000"]["Secure"] is False, told
    assert told["IndexConfigs"]["docker.io"]["Mirrors"] == ["https://mirror.example/"], told
    other.end()


@story
def a_read_only_bind_may_stop_at_its_own_mount(machine):
    here = machine.scratch / "here"
    (here / "below").mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "none", here / "below"], check=True)
    try:
        write = "touch /h/below/f && echo below; touch /h/f && echo top"
        mount = f"type=bind,src={here},dst=/h,readonly"
        assert machine.run("--rm", "--mount", mount, "--", write, fails=None).out == ""
        assert machine.run("--rm", "--mount", mount + ",bind-recursive=writable", "--", write, fails=None).out == "below\n"
    finally:
        subprocess.run(["umount", here / "below"], check=True)


@story
def its_cgroups_are_its_own_where_docker_s_are(machine):
    own = os.readlink("/proc/self/ns/cgroup")
    seen = lambda *flags: machine.run("--rm", *flags, "--", "readlink /proc/self/ns/cgroup").out.strip()  # noqa: E731
    version = json.loads(machine.daemon.ask("GET", "/info")[2])["CgroupVersion"]
    assert (seen() == own) == (version == "1"), version
    assert seen("--cgroupns", "host") == own and seen("--cgroupns", "private") != own


@story
def what_a_probe_says_is_kept(machine):
    machine.run("-d", "--name", "one", "--health-cmd", "echo seen; exit 3", "--health-interval", "100ms", "--health-retries", "1", "--", "sleep 1000")
    machine.healthy("one", "unhealthy")
    last = json.loads(machine.see("one", "{{json .State.Health.Log}}"))[-1]
    assert (last["Output"], last["ExitCode"]) == ("seen\n", 3) and last["Start"] < last["End"], last


@story
def ipv6_that_a_container_forbids_it_does_not_get(machine):
    machine.docker("network", "create", "--ipv6", "six")
    without = "net.ipv6.conf.all.disable_ipv6=1"
    machine.run("-d", "--name", "with", "--network", "six", "--", "sleep 1000")
    machine.run("-d", "--name", "without", "--network", "six", "--sysctl", without, "--", "sleep 1000")
    address = "{{.NetworkSettings.Networks.six.GlobalIPv6Address}}"
    assert machine.see("with", address) and not machine.see("without", address)
    until("the other to be reached", lambda: machine.docker("exec", "with", "ping", "-c", "1", "-w", "2", "without", fails=None).code == 0)


@story
def a_working_directory_is_there_before_the_program(machine):
    machine.docker("create", "--name", "one", "-w", "/made/for/it", IMAGE, "pwd")
    (machine.scratch / "f").write_text("x")
    machine.docker("cp", machine.scratch / "f", "one:/made/for/it/f")
    assert machine.docker("start", "-a", "one").out == "/made/for/it\n"
    refused = machine.docker("create", "-w", "/etc/passwd", IMAGE, "true", fails=True)
    assert "Cannot mkdir: /etc/passwd is not a directory" in refused.err, refused


@story
def what_a_machine_cannot_have_is_its_failure_at_the_start(machine):
    for config, sentence in (
        ({"Sysctls": {"kernel.panic": "1"}}, 'sysctl "kernel.panic" is not in a separate kernel namespace'),
        ({"Ulimits": [{"Name": "bogus", "Soft": 1, "Hard": 1}]}, "wrong rlimit value: RLIMIT_BOGUS"),
        ({"Tmpfs": {"/t": "bogus"}}, 'invalid tmpfs option "bogus"'),
        ({"Devices": [{"PathOnHost": "/dev/nope", "PathInContainer": "/dev/nope", "CgroupPermissions": "r"}]}, "error gathering device information"),
        ({"NetworkMode": "container:nobody"}, "joining network namespace of container: No such container: nobody"),
        ({"Dns": ["bogus"]}, "bad nameserver address bogus"),
    ):
        status, _, body = machine.daemon.ask("POST", "/containers/create?name=one", {"Image": IMAGE, "Cmd": ["true"], "HostConfig": config})
        assert status == 201, (config, body)
        status, _, body = machine.daemon.ask("POST", "/containers/one/start")
        assert status == 500 and sentence in json.loads(body)["message"], (config, status, body)
        assert machine.see("one", "{{.State.ExitCode}}") == "128"
        machine.docker("rm", "one")
