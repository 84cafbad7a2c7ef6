"""Many machines as one: daemons in network namespaces of their own, on one bridge, told by docker's command line."""

import contextlib
import os
import shutil
import signal
import subprocess
import time

from house import IMAGE, RUN, Daemon, busybox_root, story, until

# A service's word that its end may be waited for: it obeys its stop signal.
SERVES = "trap 'exit 0' TERM; echo here is $(hostname); while :; do sleep 1 & wait; done"


class Node(Daemon):
    """A daemon on a wire of its own; address 10.99.0.N."""

    def __init__(self, machine, number):
        super().__init__(machine.minke, f"node{number}", "minkeconf2", ["--node-name", f"n{number}"])
        self.machine, self.number = machine, number
        self.space, self.address = f"{os.path.basename(RUN)}-{number}", f"10.99.0.{number}"
        # Not `ip netns exec`: that mounts a /sys without cgroups.
        self.program = ["nsenter", f"--net=/run/netns/{self.space}", *self.program]

    def docker(self, *words, **how):
        return self.machine.docker(*words, daemon=self, **how)

    def wire(self, up):
        subprocess.run(["ip", "link", "set", f"port{self.number}", "up" if up else "down"], check=True)

    def kill(self):
        """As a power cut, as far as the cluster can tell."""
        self.wire(False)
        self.end(signal.SIGKILL)


@contextlib.contextmanager
def nodes(machine, count):
    """So many daemons, each on a machine of its own as far as networks go."""
    all_of_them = [Node(machine, number) for number in range(1, count + 1)]
    ip = lambda *words: subprocess.run(["ip", *words], check=True)  # noqa: E731
    try:
        ip("link", "add", "minkelan", "type", "bridge")
        ip("link", "set", "minkelan", "up")
        for node in all_of_them:
            ip("netns", "add", node.space)
            ip("link", "add", f"port{node.number}", "type", "veth", "peer", "name", "eth0", "netns", node.space)
            ip("link", "set", f"port{node.number}", "master", "minkelan", "up")
            for words in ("link set lo up", f"addr add {node.address}/24 dev eth0", "link set eth0 up", "route add default via 10.99.0.254"):
                ip("-n", node.space, *words.split())
            machine.others.append(node)
            node.start()
            node.docker("import", "-", IMAGE, stdin=busybox_root())
        yield all_of_them
    finally:
        for node in all_of_them:
            if node.process and node.process.poll() is None:
                node.docker("swarm", "leave", "--force", fails=None)
                names = node.docker("ps", "-aq", fails=None).out.split()
                if names:
                    node.docker("rm", "-f", *names, fails=None)
                node.end()
        for node in all_of_them:
            # The kernel takes a namespace down by and by: its wire goes now.
            subprocess.run(["ip", "link", "del", f"port{node.number}"], check=False)
            subprocess.run(["ip", "netns", "del", node.space], check=False)
            shutil.rmtree(node.data, ignore_errors=True)
            shutil.rmtree(node.run, ignore_errors=True)
        subprocess.run(["ip", "link", "del", "minkelan"], check=False)


def found(leader, workers=(), managers=()):
    leader.docker("swarm", "init")
    for role, joiners in (("worker", workers), ("manager", managers)):
        token = leader.docker("swarm", "join-token", "-q", role).out.strip() if joiners else ""
        for node in joiners:
            node.docker("swarm", "join", "--token", token, f"{leader.address}:2377")


def state_of(asked, node):
    seen = asked.docker("node", "ls", "--format", "{{.Hostname}} {{.Status}} {{.ManagerStatus}}", fails=None).out.splitlines()
    return next((line.split(" ", 1)[1].strip() for line in seen if line.split(" ", 1)[0] == f"n{node.number}"), None)


def running(asked, service):
    """Where a service's tasks run, as the cluster says."""
    lines = asked.docker("service", "ps", service, "--filter", "desired-state=running", "--format", "{{.Node}} {{.CurrentState}}", fails=None).out.splitlines()
    return sorted(line.split()[0] for line in lines if len(line.split()) > 1 and line.split()[1] == "Running")


def serve(asked, name, replicas):
    asked.docker("service", "create", "--detach", "--no-resolve-image", "--name", name, "--replicas", str(replicas), IMAGE, "sh", "-c", SERVES)


@story
def a_machine_becomes_a_cluster_of_one_and_nothing_that_runs_is_touched(machine):
    with nodes(machine, 1) as [one]:
        one.docker("run", "-d", "--name", "before", IMAGE, "sleep", "1000")
        began = one.docker("inspect", "-f", "{{.State.StartedAt}}", "before").out
        one.docker("swarm", "init")
        assert "is already part of a swarm" in one.docker("swarm", "init", fails=True).err
        serve(one, "web", 2)
        until("two tasks", lambda: running(one, "web") == ["n1", "n1"])
        one.again(signal.SIGTERM)
        until("the manager again", lambda: state_of(one, one) == "Ready Leader")
        until("two tasks still", lambda: len(running(one, "web")) == 2)
        assert one.docker("inspect", "-f", "{{.State.StartedAt}}", "before").out == began
        assert "Removing the last manager erases all current state" in one.docker("swarm", "leave", fails=True).err
        one.docker("swarm", "leave", "--force")
        assert one.docker("info", "-f", "{{.Swarm.LocalNodeState}}").out.strip() == "inactive"
        assert one.docker("ps", "--format", "{{.Names}}").out.split() == ["before"]


@story
def of_three_machines_one_dies_and_what_it_ran_runs_elsewhere(machine):
    with nodes(machine, 3) as [one, two, three]:
        found(one, workers=[two, three])
        serve(one, "web", 3)
        until("a task on each", lambda: running(one, "web") == ["n1", "n2", "n3"])
        logs = until("all their words", lambda: (lambda text: text if text.count("here is") == 3 else None)(one.docker("service", "logs", "web").out))
        assert all(f"@n{n} " in logs for n in (1, 2, 3)), logs
        three.kill()
        until("its death to be known", lambda: state_of(one, three) == "Down")
        until("a replacement", lambda: len([n for n in running(one, "web") if n != "n3"]) == 3)
        # It comes back: what was replaced ends there.
        three.wire(True)
        three.start()
        until("it to be back", lambda: state_of(one, three) == "Ready")
        until("one of each slot", lambda: len(running(one, "web")) == 3)
        until("nothing doubled", lambda: sum(len(n.docker("ps", "-q", "--filter", "label=com.docker.swarm.service.name=web").out.split()) for n in (one, two, three)) == 3)


@story
def a_restart_that_is_planned_moves_nothing(machine):
    with nodes(machine, 2) as [one, two]:
        found(one, workers=[two])
        serve(one, "web", 2)
        until("both", lambda: running(one, "web") == ["n1", "n2"])
        before = one.docker("service", "ps", "-q", "web").out
        two.end(signal.SIGTERM)
        time.sleep(5)  # longer than silence lasts before a node is given up
        two.start()
        until("it to be back", lambda: state_of(one, two) == "Ready")
        assert one.docker("service", "ps", "-q", "web").out == before


@story
def only_who_knows_the_newest_token_comes_in_and_certificates_rotate_under_way(machine):
    with nodes(machine, 2) as [one, two]:
        one.docker("swarm", "init")
        old = one.docker("swarm", "join-token", "-q", "worker").out.strip()
        one.docker("swarm", "join-token", "--rotate", "-q", "worker")
        refused = two.docker("swarm", "join", "--token", old, "10.99.0.1:2377", fails=True).err
        assert "A valid join token is necessary to join this cluster" in refused, refused
        new = one.docker("swarm", "join-token", "-q", "worker").out.strip()
        two.docker("swarm", "join", "--token", new, "10.99.0.1:2377")
        before = one.docker("swarm", "ca").out
        one.docker("swarm", "ca", "--rotate", "--quiet", "--detach")
        until("the rotation to end", lambda: one.docker("info", "-f", "{{.Swarm.Cluster.RootRotationInProgress}}").out.strip() == "false")
        assert one.docker("swarm", "ca").out != before
        two.again(signal.SIGKILL)
        until("it to be back with its new certificate", lambda: state_of(one, two) == "Ready")
        two.docker("swarm", "leave")
        until("that it left", lambda: state_of(one, two) == "Down")
        one.docker("node", "rm", "n2")


@story
def a_locked_manager_asks_for_its_key(machine):
    with nodes(machine, 1) as [one]:
        one.docker("swarm", "init", "--autolock")
        key = one.docker("swarm", "unlock-key", "-q").out.strip()
        assert key.startswith("SWMKEY-1-")
        one.again(signal.SIGKILL)
        assert one.docker("info", "-f", "{{.Swarm.LocalNodeState}}").out.strip() == "locked"
        assert "needs to be unlocked" in one.docker("node", "ls", fails=True).err
        wrong = f"SWMKEY-1-{'A' * 43}"
        assert "invalid key" in one.docker("swarm", "unlock", stdin=wrong + "\n", fails=True).err
        one.docker("swarm", "unlock", stdin=key + "\n")
        until("it to lead", lambda: state_of(one, one) == "Ready Leader")


@story
def a_worker_that_is_promoted_serves_the_api_and_one_that_is_demoted_does_not(machine):
    with nodes(machine, 2) as [one, two]:
        found(one, workers=[two])
        assert "This node is not a swarm manager" in two.docker("node", "ls", fails=True).err
        one.docker("node", "promote", "n2")
        until("it to be a manager", lambda: state_of(two, two) == "Ready Reachable")
        serve(two, "web", 2)
        until("both", lambda: running(one, "web") == ["n1", "n2"])
        one.docker("node", "demote", "n2")
        until("it to be none", lambda: two.docker("node", "ls", fails=None).code != 0)
        until("it to go on as a worker", lambda: state_of(one, two) == "Ready")


@story
def three_managers_lose_the_leader_and_go_on(machine):
    if not shutil.which("etcd"):
        print("        (without etcd: not told)", flush=True)
        return
    with nodes(machine, 3) as [one, two, three]:
        found(one, managers=[two, three])
        serve(one, "web", 3)
        until("a task on each", lambda: running(one, "web") == ["n1", "n2", "n3"])
        until("the store to be in etcd", lambda: all(os.path.exists(f"{n.data}/cluster/etcd/member.json") and '"Etcd"' in open(f"{n.data}/cluster/state.json").read() for n in (one, two, three)))
        one.kill()
        leads = lambda: [n for n in (two, three) if "Leader" in (state_of(two, n) or "")]  # noqa: E731
        until("another to lead", lambda: len(leads()) == 1)
        until("a change to be taken", lambda: two.docker("service", "scale", "--detach", "web=4", fails=None).code == 0)
        until("four of them", lambda: len([n for n in running(three, "web") if n != "n1"]) == 4)
        one.wire(True)
        one.start()
        until("it to be back", lambda: state_of(one, one) == "Ready Reachable")
        until("one of each slot", lambda: len(running(one, "web")) == 4)
