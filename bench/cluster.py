#!/usr/bin/env python3
"""Three machines as one, beside Docker's swarm mode. Started by script/bench cluster; needs root.

Each node is a network namespace on one bridge. The clusters are measured one after the other, as two of three daemons at
once would measure the machine. Where the kernel has no IPVS, swarm's mesh answers nothing: then what needs it is measured
for Minke alone, and said so.
"""

import argparse
import concurrent.futures
import json
import os
import pathlib
import socket
import subprocess
import sys
import threading
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from run import root_of  # noqa: E402
from sides import Docker, HOME, Minke, PATIENCE, alone  # noqa: E402

IMAGE = "bench"
NODES = 3
REPLICAS = 60
FEW = 6
TICKS = os.sysconf("SC_CLK_TCK")


class Cluster:
    """Three nodes of one kind. Node 0 is the manager."""

    def __init__(self, name, number, make):
        self.name, self.number = name, number
        self.nodes = [make(10 * number + n, f"-{n}") for n in range(NODES)]
        self.down = set()

    def set_up(self):
        for n, node in enumerate(self.nodes):
            node.address = f"10.96.{self.number}.{n + 2}"
            ns, wire = node.namespace, f"wire{node.number}"
            for line in (f"ip netns add {ns}", f"ip link add {wire} type veth peer name wire netns {ns}", f"ip link set {wire} master lan{self.number} up",
                         f"ip -n {ns} link set lo up", f"ip -n {ns} link set wire up", f"ip -n {ns} addr add {node.address}/24 dev wire",
                         f"ip -n {ns} route add default via 10.96.{self.number}.1"):
                subprocess.run(line.split(), check=True)
            node.start()

    def cut(self, n):
        self.down.add(n)
        subprocess.run(f"ip link set wire{self.nodes[n].number} down".split(), check=True)

    def mend(self, n):
        self.down.discard(n)
        subprocess.run(f"ip link set wire{self.nodes[n].number} up".split(), check=True)

    def ask(self, *words, **more):
        return self.nodes[0].api().ask(*words, **more)

    def join(self):
        """Makes one cluster of the nodes; seconds until all are ready."""
        began = time.monotonic()
        first = self.nodes[0].address
        body = {"ListenAddr": f"{first}:2377", "AdvertiseAddr": first, "Spec": {}}
        self.ask("POST", "/swarm/init", body)
        token = self.ask("GET", "/swarm")["JoinTokens"]["Worker"]
        for node in self.nodes[1:]:
            body = {"ListenAddr": f"{node.address}:2377", "AdvertiseAddr": node.address, "RemoteAddrs": [f"{first}:2377"], "JoinToken": token}
            node.api().ask("POST", "/swarm/join", body)
        until(lambda: [n["Status"]["State"] for n in self.ask("GET", "/nodes")] == ["ready"] * NODES, "all nodes ready")
        took = time.monotonic() - began
        self.ids = {n["Description"]["Hostname"]: n["ID"] for n in self.ask("GET", "/nodes")}
        self.by_node = [node.api().ask("GET", "/info")["Swarm"]["NodeID"] for node in self.nodes]
        return took

    def create(self, name, replicas, **more):
        spec = {"Name": name, "TaskTemplate": {"ContainerSpec": {"Image": IMAGE, "Command": ["sleep", "100000"], "StopGracePeriod": 0}},
                "Mode": {"Replicated": {"Replicas": replicas}}}
        spec["TaskTemplate"]["ContainerSpec"].update(more.pop("container", {}))
        spec.update(more)
        return self.ask("POST", "/services/create", spec)["ID"]

    def update(self, name, change):
        service = self.ask("GET", f"/services/{name}")
        spec = service["Spec"]
        change(spec)
        self.ask("POST", f"/services/{name}/update?version={service['Version']['Index']}", spec)

    def tasks(self, service, api=None):
        filters = json.dumps({"service": [service], "desired-state": ["running"]}).replace('"', "%22").replace(" ", "")
        return (api or self.nodes[0].api()).ask("GET", f"/tasks?filters={filters}")

    def running(self, service, api=None):
        """The nodes of its running tasks that are not cut off."""
        gone = {self.by_node[n] for n in self.down}
        return [t["NodeID"] for t in self.tasks(service, api) if t["Status"]["State"] == "running" and t["NodeID"] not in gone]

    def converge(self, service, count, patience=PATIENCE):
        api = self.nodes[0].api()
        return until(lambda: len(self.running(service, api)) == count, f"{count} tasks of {service}", patience)

    def remove(self, service):
        self.ask("DELETE", f"/services/{service}")
        until(lambda: not any(self.containers(service)), f"the end of {service}")

    def containers(self, service):
        """How many of its containers really run, by node: asked of each node itself."""
        filters = json.dumps({"label": [f"com.docker.swarm.service.name={service}"]}).replace('"', "%22").replace(" ", "")
        return [len(node.api().ask("GET", f"/containers/json?filters={filters}")) for node in self.nodes]

    def take_down(self):
        for n in list(self.down):
            self.mend(n)
        for node in reversed(self.nodes):
            try:
                node.api().ask("POST", "/swarm/leave?force=1")
            except (OSError, RuntimeError):
                pass
        for node in self.nodes:
            node.take_down()


def until(good, what, patience=PATIENCE):
    """Seconds until it is so."""
    began = time.monotonic()
    while not good():
        if time.monotonic() - began > patience:
            raise RuntimeError(f"{what}: not after {patience} s")
        time.sleep(0.02)
    return time.monotonic() - began


def processor(node):
    """Processor time of a daemon and what it needs, in seconds."""
    total = 0
    for pid in node.processes():
        try:
            fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1].split()
        except OSError:
            continue
        total += int(fields[11]) + int(fields[12])
    return total / TICKS


class Client:
    """Asks a published port all the time, by a connection each, and counts what is lost."""

    def __init__(self, addresses, port):
        self.addresses, self.port, self.end = addresses, port, threading.Event()
        self.good = self.lost = 0
        self.last = time.monotonic()
        self.gap = 0.0
        self.threads = [threading.Thread(target=self.go, args=(n,)) for n in range(4)]
        for thread in self.threads:
            thread.start()

    def go(self, n):
        while not self.end.is_set():
            address = self.addresses[n % len(self.addresses)]
            try:
                with socket.create_connection((address, self.port), timeout=2) as asking:
                    asking.sendall(b"p")
                    good = asking.recv(1) == b"p"
            except OSError:
                good = False
            if good:
                now = time.monotonic()
                self.gap, self.last = max(self.gap, now - self.last), now
                self.good += 1
            else:
                self.lost += 1
            time.sleep(0.005)

    def stop(self):
        self.end.set()
        for thread in self.threads:
            thread.join()
        return self.good, self.lost


def measure(cluster, quick, wanted, out):
    """All figures of one cluster, by name, as they come."""

    def say(what, value, unit=""):
        out[what] = value
        print(f"  {cluster.name:<7} {what:<58} {value if isinstance(value, str) else f'{value:.2f}'} {unit}", flush=True)

    say("three nodes joined and ready", cluster.join(), "s")
    time.sleep(3)
    say("memory at rest, manager", cluster.nodes[0].memory(), "MB")
    say("memory at rest, worker", cluster.nodes[1].memory(), "MB")
    if wanted("rest"):
        before, seconds = [processor(node) for node in cluster.nodes], 5 if quick else 20
        time.sleep(seconds)
        after = [processor(node) for node in cluster.nodes]
        say("processor at rest, manager", 100 * (after[0] - before[0]) / seconds, "%")
        say("processor at rest, worker", 100 * (after[1] - before[1]) / seconds, "%")
    if wanted("converge"):
        cluster.create("many", REPLICAS)
        say(f"{REPLICAS} replicas running", cluster.converge("many", REPLICAS), "s")
        cluster.remove("many")
    if wanted("names"):
        names(cluster, say)
    if wanted("failover"):
        cluster.create("few", FEW)
        cluster.converge("few", FEW)
        cluster.cut(2)
        say("node cut off: replacements running after", cluster.converge("few", FEW), "s")
        cluster.mend(2)
        until(lambda: sum(cluster.containers("few")) == FEW, "the doubled ones ended")
        cluster.remove("few")
    if wanted("partition"):
        partition(cluster, quick, say)
    if wanted("traffic"):
        traffic(cluster, say)


def names(cluster, say):
    """A name's answers after a change, seen by a container on another node."""
    cluster.ask("POST", "/networks/create", {"Name": "wide", "Driver": "overlay", "Attachable": True})
    network = {"TaskTemplate": {"ContainerSpec": {"Image": IMAGE, "Command": ["sleep", "100000"], "StopGracePeriod": 0}, "Networks": [{"Target": "wide"}]}}
    cluster.ask("POST", "/services/create", {"Name": "named", "Mode": {"Replicated": {"Replicas": 1}}, **network})
    cluster.converge("named", 1)
    api = cluster.nodes[0].api()
    probe = api.ask("POST", "/containers/create", {"Image": IMAGE, "Cmd": ["sleep", "100000"], "HostConfig": {"NetworkMode": "wide"}})["Id"]
    api.ask("POST", f"/containers/{probe}/start")

    def seen(count):
        line = f"while [ $(busybox nslookup tasks.named 127.0.0.11 2>/dev/null | busybox grep -c '^Address: 10') -ne {count} ]; do busybox usleep 20000; done"
        run = subprocess.run([OPTIONS.docker, "-H", f"unix://{cluster.nodes[0].socket}", "exec", probe, "busybox", "timeout", "60", "sh", "-c", line], capture_output=True)
        return time.monotonic() if run.returncode == 0 else float("inf")

    seen(1)
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        answer = pool.submit(seen, 4)
        cluster.update("named", lambda spec: spec["Mode"]["Replicated"].update(Replicas=4))
        cluster.converge("named", 4)
        ran = time.monotonic()
        say("names follow running tasks after", max(0.0, answer.result() - ran), "s")
    api.ask("DELETE", f"/containers/{probe}?force=1")
    cluster.remove("named")
    until(lambda: gone(cluster, "wide"), "the network's removal")


def gone(cluster, network):
    try:
        cluster.ask("DELETE", f"/networks/{network}")
        return True
    except RuntimeError as error:
        return "404" in str(error)


def partition(cluster, quick, say):
    cluster.create("parted", FEW)
    cluster.converge("parted", FEW)
    seconds = 20 if quick else 60
    cluster.cut(2)
    began, doubled, most = time.monotonic(), 0.0, 0
    while time.monotonic() - began < seconds:
        extra = sum(cluster.containers("parted")) - FEW
        most = max(most, extra)
        doubled += 0.5 if extra > 0 else 0
        time.sleep(0.5)
    cluster.mend(2)
    say(f"tasks running twice in a partition of {seconds} s", float(most))
    say("for so long", doubled, "s")
    until(lambda: sum(cluster.containers("parted")) == FEW, "the doubled ones ended")
    time.sleep(30 if quick else 300)
    spread = [cluster.running("parted").count(node) for node in cluster.by_node]
    say("spread after it healed, largest less smallest", float(max(spread) - min(spread)))
    cluster.remove("parted")


def traffic(cluster, say):
    """Requests lost while a service rolls, a node drains, and a node dies."""
    ports = {"Ports": [{"Protocol": "tcp", "TargetPort": 7000, "PublishedPort": 7000, "PublishMode": "ingress"}]}
    container = {"Command": ["load", "serve", "7000"], "StopGracePeriod": 5_000_000_000}
    cluster.create("web", FEW, container=container, EndpointSpec=ports,
                   UpdateConfig={"Parallelism": 1, "Order": "start-first", "Monitor": 1_000_000_000, "Delay": 0})
    cluster.converge("web", FEW)
    addresses = [node.address for node in cluster.nodes[:2]]
    try:
        until(lambda: answers(addresses[0], 7000), "the published port", 10)
    except RuntimeError:
        say("requests lost", "the mesh does not answer here (no IPVS): left out")
        cluster.remove("web")
        return

    def lost(what, act):
        client = Client(addresses, 7000)
        time.sleep(1)
        act()
        time.sleep(1)
        good, bad = client.stop()
        say(f"requests lost, {what} (of {good + bad})", float(bad))
        return client

    def roll():
        cluster.update("web", lambda spec: spec["TaskTemplate"].update(ForceUpdate=spec["TaskTemplate"].get("ForceUpdate", 0) + 1))
        until(lambda: cluster.ask("GET", "/services/web").get("UpdateStatus", {}).get("State") == "completed", "the update")

    def drain():
        node = cluster.ask("GET", f"/nodes/{cluster.by_node[1]}")
        cluster.ask("POST", f"/nodes/{cluster.by_node[1]}/update?version={node['Version']['Index']}", {**node["Spec"], "Availability": "drain"})
        until(lambda: cluster.by_node[1] not in cluster.running("web") and len(cluster.running("web")) == FEW, "the drain")

    def undrain():
        node = cluster.ask("GET", f"/nodes/{cluster.by_node[1]}")
        cluster.ask("POST", f"/nodes/{cluster.by_node[1]}/update?version={node['Version']['Index']}", {**node["Spec"], "Availability": "active"})

    def die():
        cluster.cut(2)
        cluster.converge("web", FEW)

    lost("rolling update", roll)
    lost("drain of a node", drain)
    undrain()
    client = lost("death of a node", die)
    say("longest silence of the port while a node dies", client.gap, "s")
    cluster.mend(2)
    until(lambda: sum(cluster.containers("web")) == FEW, "the doubled ones ended")
    cluster.remove("web")


def answers(address, port):
    try:
        with socket.create_connection((address, port), timeout=1) as asking:
            asking.sendall(b"p")
            return asking.recv(1) == b"p"
    except OSError:
        return False


# What may be at most so much of swarm's figure, or at most so much.
TARGETS = {
    f"{REPLICAS} replicas running": {"most": 1 / 2},
    "node cut off: replacements running after": {"bound": 5.0},
    "longest silence of the port while a node dies": {"bound": 5.0},
    "names follow running tasks after": {"bound": 1.0},
    "spread after it healed, largest less smallest": {"bound": 1.0},
    "requests lost, rolling update": {"bound": 0.0},
    "requests lost, drain of a node": {"bound": 0.0},
    "memory at rest, manager": {"most": 1 / 2},
    "memory at rest, worker": {"most": 1 / 2},
}


def compare(docker, minke):
    print(f"\n{'':<60}{'docker':>12}{'minke':>12}")
    missed = []
    for what in {**docker, **minke}:
        beside, value = docker.get(what), minke.get(what)
        text = ["—" if v is None else v if isinstance(v, str) else f"{v:.2f}" for v in (beside, value)]
        target = next((t for name, t in TARGETS.items() if what.startswith(name)), None)
        mark = ""
        if target and isinstance(value, float):
            bound = target.get("bound", beside * target["most"] if "most" in target and isinstance(beside, float) else None)
            mark = "" if bound is None else f"≤ {bound:.2f} " + ("met" if value <= bound else "MISSED")
            missed += [what] if mark.endswith("MISSED") else []
        print(f"{what:<60}{text[0]:>12}{text[1]:>12}  {mark}")
    for what in missed:
        print(f"  missed: {what}")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--minke", required=True)
    parser.add_argument("--peer", required=True)
    parser.add_argument("--docker", required=True)
    parser.add_argument("--quick", action="store_true", help="short waits: for a look, not for a claim")
    parser.add_argument("--only", action="append", default=[], help="rest, converge, names, failover, partition, traffic; docker or minke alone")
    parser.add_argument("--json")
    global OPTIONS
    OPTIONS = options = parser.parse_args()
    alone()
    load = HOME / "load"
    subprocess.run(["gcc", "-O2", "-static", "-o", load, pathlib.Path(__file__).with_name("load.c")], check=True)
    kinds = {
        "docker": lambda number, mark: Docker(number, options.peer, mark, ()),
        "minke": lambda number, mark: Minke(number, options.minke, mark, ("--node-name", f"node{mark}")),
    }
    only = [word for word in options.only if word not in kinds]
    found = {name: {} for name in kinds}
    for number, (name, make) in enumerate(kinds.items(), 1):
        if set(options.only) & set(kinds) and name not in options.only:
            continue
        for line in (f"ip link add lan{number} type bridge", f"ip addr add 10.96.{number}.1/24 dev lan{number}", f"ip link set lan{number} up"):
            subprocess.run(line.split(), check=True)
        cluster = Cluster(name, number, make)
        try:
            cluster.set_up()
            for node in cluster.nodes:
                node.api().ask("POST", f"/images/create?fromSrc=-&repo={IMAGE}", root_of(load), "application/x-tar")
            measure(cluster, options.quick, lambda what: not only or what in only, found[name])
        finally:
            cluster.take_down()
    compare(found["docker"], found["minke"])
    if options.json:
        pathlib.Path(options.json).write_text(json.dumps(found, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
