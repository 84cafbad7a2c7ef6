"""The two daemons under measure, each in a network namespace of its own, and how they are spoken to."""

import http.client
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import time

HOME = pathlib.Path("/var/lib/minke-bench")
PATIENCE = 120

# Entered by pivot_root in a mount namespace of its own: under a plain chroot, dockerd's children would find the machine's
# root again.
ENTER = """
set -e
mount --bind "$0" "$0"
for dir in proc sys dev; do mount --rbind "/$dir" "$0/$dir"; done
cd "$0"
pivot_root . mnt
exec chroot . sh -c 'busybox umount -l /mnt && busybox mount --make-rshared / && exec "$@"' sh "$@"
"""


def alone():
    """Goes on in namespaces of its own, so that nothing of a run can stay: starts the program again where it is not in them."""
    if not os.environ.get("MINKE_BENCH_INSIDE"):
        os.environ["MINKE_BENCH_INSIDE"] = "1"
        os.execvp("unshare", ["unshare", "--net", "--mount", "--propagation", "private", sys.executable, *sys.argv])
    subprocess.run("ip link set lo up".split(), check=True)
    # Names of network namespaces are files: ours shall go with us, too.
    pathlib.Path("/run/netns").mkdir(exist_ok=True)
    subprocess.run("mount -t tmpfs bench /run/netns".split(), check=True)
    HOME.mkdir(parents=True, exist_ok=True)


class Api(http.client.HTTPConnection):
    """HTTP over a unix socket, kept open between requests."""

    def __init__(self, path):
        super().__init__("docker", timeout=PATIENCE)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)

    def ask(self, method, path, body=None, kind="application/json", wanted=(200, 201, 204, 304)):
        if isinstance(body, dict):
            body = json.dumps(body).encode()
        self.request(method, f"/v1.51{path}", body=body, headers={"Content-Type": kind} if body is not None else {})
        answer = self.getresponse()
        told = answer.read()
        if answer.status not in wanted:
            raise RuntimeError(f"{method} {path}: {answer.status} {told[:300]!r}")
        return json.loads(told) if told and answer.headers.get("Content-Type", "").startswith("application/json") and b"\n{" not in told else told


class Side:
    """One daemon. `number` makes its addresses."""

    name = ""

    def __init__(self, number, mark=""):
        """`mark` tells several of one kind apart."""
        self.number, self.mark = number, mark
        self.namespace = f"bench-{self.name}{mark}"
        self.address = f"10.97.{number}.2"
        self.process = None

    # Given by each.
    words: list
    socket: str
    state: list  # directories that go with a run

    def is_own(self, words):
        raise NotImplementedError

    def is_daemon(self, words):
        raise NotImplementedError

    def set_up(self):
        ns, n = self.namespace, self.number
        for line in (f"ip netns add {ns}", f"ip link add wire{n} type veth peer name wire netns {ns}", f"ip addr add 10.97.{n}.1/24 dev wire{n}",
                     f"ip link set wire{n} up", f"ip -n {ns} link set lo up", f"ip -n {ns} link set wire up",
                     f"ip -n {ns} addr add {self.address}/24 dev wire", f"ip -n {ns} route add default via 10.97.{n}.1"):
            subprocess.run(line.split(), check=True)

    def inside(self, *words):
        return ["nsenter", f"--net=/run/netns/{self.namespace}", *map(str, words)]

    def start(self):
        """Starts the daemon; seconds until its API answers."""
        log = open(HOME / f"{self.name}{self.mark}.log", "ab")
        pathlib.Path(self.socket).unlink(missing_ok=True)
        began = time.monotonic()
        self.process = subprocess.Popen(self.words, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
        while True:
            try:
                api = self.api()
                api.ask("GET", "/_ping")
                took = time.monotonic() - began
                api.close()
                return took
            except (OSError, http.client.HTTPException):
                if self.process.poll() is not None or time.monotonic() - began > PATIENCE:
                    raise RuntimeError(f"{self.name} does not start; see {log.name}") from None
                time.sleep(0.0005)

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(PATIENCE)

    def api(self):
        return Api(self.socket)

    def processes(self):
        """All that the daemon needs to run: itself, its children that are no containers, its shims."""
        found = {}
        for entry in pathlib.Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    words = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")[:-1]
                except OSError:
                    continue
                if words and self.is_own(words):
                    found[int(entry.name)] = words
        return found

    def memory(self):
        """PSS of all of that, in MB."""
        own = self.processes()
        if not any(self.is_daemon(words) for words in own.values()):
            raise RuntimeError(f"{self.name}'s daemon is not among the processes found: {sorted(own)}")
        total = 0
        for pid in own:
            try:
                rollup = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text()
            except OSError:
                continue
            total += next(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:"))
        return total / 1024

    def take_down(self):
        try:
            api = self.api()
            for container in api.ask("GET", "/containers/json?all=1"):
                api.ask("DELETE", f"/containers/{container['Id']}?force=1&v=1", wanted=(204, 404, 409))
        except (OSError, http.client.HTTPException, RuntimeError):
            pass
        if self.process and self.process.poll() is None:
            try:
                self.stop()
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        for pid in self.processes():
            os.kill(pid, signal.SIGKILL)
        for path in self.state:
            shutil.rmtree(path, ignore_errors=True)


class Minke(Side):
    """Ours."""

    name = "minke"

    def __init__(self, number, program, mark="", flags=()):
        super().__init__(number, mark)
        self.data, self.run, self.program = HOME / f"minke{mark}", f"/run/minke-bench{mark}", os.path.basename(program)
        self.socket = f"{self.run}/minke.sock"
        self.state = [self.data, self.run]
        for path in self.state:
            shutil.rmtree(path, ignore_errors=True)
        self.data.mkdir(parents=True)
        pathlib.Path(self.run).mkdir(parents=True)
        (self.data / "minke.toml").touch()
        self.words = self.inside(program, "daemon", "--data-root", self.data, "--exec-root", self.run, "--host", f"unix://{self.socket}",
                                 "--bridge", "minkebench0", "--config-file", self.data / "minke.toml", *flags)

    def is_own(self, words):
        return self.run in " ".join(words) and os.path.basename(words[0]) in (self.program, "minke-shim")

    def is_daemon(self, words):
        return "daemon" in words


class Docker(Side):
    """Debian sid's, in a root of its own. Its containers outlive it too (--live-restore), so that both do the same work."""

    name = "docker"

    def __init__(self, number, root, mark="", flags=("--live-restore",)):
        super().__init__(number, mark)
        self.run = f"/run/minke-bench-docker{mark}"
        self.socket = f"{root}{self.run}/docker.sock"
        data = f"/var/lib/minke-bench-docker{mark}"
        self.state = [f"{root}{data}", f"{root}{self.run}"]
        for path in self.state:
            shutil.rmtree(path, ignore_errors=True)
        pathlib.Path(f"{root}{self.run}").mkdir(parents=True)
        dockerd = ["dockerd", "--data-root", data, "--exec-root", self.run, "--pidfile", f"{self.run}/docker.pid",
                   "--host", f"unix://{self.run}/docker.sock", "--storage-driver", "overlay2", *flags]
        self.words = self.inside("unshare", "--mount", "--propagation", "private", "sh", "-c", ENTER, root, *dockerd)

    def is_own(self, words):
        program, line = os.path.basename(words[0]), " ".join(words)
        if program == "docker-proxy":
            return "-container-ip" in line
        return program in ("dockerd", "containerd", "containerd-shim-runc-v2") and self.run in line

    def is_daemon(self, words):
        return os.path.basename(words[0]) == "dockerd"
