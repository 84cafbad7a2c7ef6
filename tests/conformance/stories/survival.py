"""The daemon may die at any instruction."""

import datetime
import os
import random
import signal
import time

from house import IMAGE, PATIENCE, busybox_root, fetch, processes, story, until


@story
def containers_outlive_the_daemon_and_lose_no_line(machine):
    lines = 60_000
    machine.run("-d", "--name", "writer", "--", f"i=0; while [ $i -lt {lines} ]; do i=$((i+1)); echo $i; done")
    machine.run("-d", "--name", "slow", "--", "i=0; while [ $i -lt 300 ]; do i=$((i+1)); echo $i; sleep 0.01; done; exit 4")
    seed = int(os.environ.get("SEED", time.time_ns() % 1_000_000))
    chance = random.Random(seed)
    for _ in range(8):
        time.sleep(chance.uniform(0, 0.3))  # at any instruction
        machine.daemon.again(signal.SIGKILL)
    assert machine.docker("wait", "writer", "slow", timeout=5 * PATIENCE).out == "0\n4\n", f"SEED={seed}"
    for name, count in (("writer", lines), ("slow", 300)):
        seen = machine.docker("logs", name).out.split()
        assert seen == [str(n) for n in range(1, count + 1)], f"SEED={seed}: {name} has {len(seen)} lines of {count}"


@story
def what_ends_while_no_daemon_runs_is_known_after(machine):
    gates = machine.scratch / "gates"
    gates.mkdir()
    for gate in ("one", "again"):
        os.mkfifo(gates / gate)
    machine.run("-d", "--name", "one", "-v", f"{gates}:/gates", "--", "read x < /gates/one; echo bye; exit 42")
    machine.run("-d", "--name", "again", "--restart", "on-failure", "-v", f"{gates}:/gates", "--",
                "test -e /gates/ran && exec sleep 1000; touch /gates/ran; read x < /gates/again; exit 1")
    readers = [until(f"{gate} to wait", lambda gate=gate: opened(gates / gate)) for gate in ("one", "again")]
    machine.daemon.end(signal.SIGKILL)
    ended = time.time()
    for reader in readers:
        os.write(reader, b"go\n")
        os.close(reader)
    until("it to end", lambda: not alive("read x < /gates"))
    machine.daemon.start()
    # The process is dead, but its shim may still be reading how.
    until("its end to be known", lambda: machine.see("one", "{{.State.Status}}") == "exited")
    state = machine.see("one", "{{.State.Status}} {{.State.ExitCode}} {{.State.FinishedAt}}").split()
    finished = datetime.datetime.fromisoformat(state[2][:19] + "+00:00").timestamp()
    assert state[:2] == ["exited", "42"] and ended - 1 <= finished <= time.time(), state
    assert machine.docker("logs", "one").out == "bye\n"
    until("the other to run again", lambda: machine.see("again", "{{.State.Running}}") == "true")


def opened(fifo):
    """The writing end, once somebody reads."""
    return os.open(fifo, os.O_WRONLY | os.O_NONBLOCK)


def alive(words):
    return any(words in " ".join(line) for _, line in processes() if line and line[0] == "sh")


@story
def networks_go_on_without_the_daemon(machine):
    machine.docker("network", "create", "blue")
    machine.run("-d", "--name", "web", "--network", "blue", "-p", "8091:80", "--", "mkdir /www; echo up > /www/index.html; exec httpd -f -p 80 -h /www")
    until("it to answer", lambda: fetch("127.0.0.1", 8091) == "up\n")
    machine.daemon.end(signal.SIGKILL)
    assert fetch("127.0.0.1", 8091) == "up\n"
    machine.daemon.start()
    assert fetch("127.0.0.1", 8091) == "up\n"
    assert machine.run("--rm", "--network", "blue", "--", "wget -q -O - http://web/").out == "up\n"
    taken = machine.run("-d", "-p", "8091:80", "--", "true", fails=True)
    assert "port is already allocated" in taken.err, taken


@story
def a_follower_after_the_restart_misses_nothing(machine):
    machine.docker("run", "-d", "-i", "--name", "one", IMAGE, "sh", "-c", "for n in $(seq 100); do echo $n; done; read x; for n in $(seq 101 200); do echo $n; done")
    machine.daemon.again(signal.SIGTERM)
    follower = machine.begin("logs", "-f", "one")
    machine.begin("attach", "one").communicate(b"go\n", timeout=PATIENCE)
    seen = follower.communicate(timeout=PATIENCE)[0].split()
    assert seen == [str(n).encode() for n in range(1, 201)], seen


@story
def an_exec_keeps_its_name_and_its_code(machine):
    machine.run("-d", "--name", "one", "--", "sleep 1000")
    status, _, told = machine.daemon.ask("POST", "/containers/one/exec", {"Cmd": ["sh", "-c", "while ! test -e /root/go; do sleep 0.02; done; exit 6"]})
    assert status == 201, told
    exec_id = told.decode().split('"')[3]
    assert machine.daemon.ask("POST", f"/exec/{exec_id}/start", {"Detach": True})[0] == 200
    machine.daemon.again()
    assert b'"Running":true' in machine.daemon.ask("GET", f"/exec/{exec_id}/json")[2]
    machine.docker("exec", "one", "touch", "/root/go")
    until("its code", lambda: b'"ExitCode":6' in machine.daemon.ask("GET", f"/exec/{exec_id}/json")[2])


@story
def two_daemons_do_not_touch_each_other(machine):
    machine.run("-d", "--name", "mine", "--", "sleep 1000")
    other = machine.second_daemon()
    try:
        machine.docker("import", "-", IMAGE, stdin=busybox_root(), daemon=other)
        machine.docker("run", "-d", "--name", "theirs", IMAGE, "sleep", "1000", daemon=other)
        assert machine.docker("ps", "--format", "{{.Names}}").out == "mine\n"
        assert machine.docker("ps", "--format", "{{.Names}}", daemon=other).out == "theirs\n"
        address = "{{.NetworkSettings.IPAddress}}"
        theirs = machine.docker("inspect", "--format", address, "theirs", daemon=other).out.strip()
        assert machine.see("mine", address).rsplit(".", 2)[0] != theirs.rsplit(".", 2)[0]
        machine.docker("rm", "-f", "theirs", daemon=other)
    finally:
        other.end()
    machine.docker("exec", "mine", "true")
