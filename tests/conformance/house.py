"""What stories are told with: a machine with one daemon, docker's command line, and eyes for what the kernel has."""

import http.client
import io
import json
import os
import pathlib
import re
import select
import shutil
import signal
import socket
import subprocess
import tarfile
import time

IMAGE = "busybox"
HOST = "10.98.0.1"  # an address of this machine beyond loopback
PATIENCE = 60  # seconds; what must happen has happened by then
# Roots of this run alone: several runs may be at once.
DISK, RUN = f"/var/tmp/minke-conformance-{os.getpid()}", f"/run/minke-conformance-{os.getpid()}"


def story(tell):
    """Marks a function as a story; its name is a sentence that can be false."""
    tell.is_story = True
    return tell


def until(what, see, patience=PATIENCE):
    """Waits for something that only looking can tell. Returns what was seen."""
    end = time.monotonic() + patience
    while True:
        try:
            seen = see()
        except (OSError, http.client.HTTPException):  # refused, reset, cut: not yet
            seen = None
        if seen:
            return seen
        assert time.monotonic() < end, f"waited {patience} s for {what}"
        time.sleep(0.02)


class Done:
    """A command that ended."""

    def __init__(self, words, code, out, err):
        self.words, self.code, self.out, self.err = words, code, out, err

    def __str__(self):
        return f"$ {' '.join(self.words)}\n→ {self.code}\n{self.out[-2000:]}{self.err[-2000:]}"


def daemon_id(root):
    """What a daemon calls itself in the kernel: `daemon_id` of `crates/engine/src/root.rs`."""
    hashed = 0xCBF29CE484222325
    for byte in os.fsencode(root):
        hashed = (hashed ^ byte) * 0x100000001B3 % 2**64
    return f"{(hashed >> 32) ^ (hashed & 0xFFFFFFFF):08x}"


class Daemon:
    """One daemon on roots of its own."""

    ids = set()  # of this run: others on the same kernel have their cgroups beside

    def __init__(self, minke, name, bridge, flags=()):
        self.minke, self.name, self.bridge, self.flags = minke, name, bridge, list(flags)
        self.data, self.run = f"{DISK}/{name}", f"{RUN}/{name}"
        self.socket = f"{self.run}/minke.sock"
        self.program = [self.minke, "daemon"]
        self.process = None
        Daemon.ids.add(daemon_id(self.data))

    def start(self):
        os.makedirs(self.data, exist_ok=True)
        os.makedirs(self.run, exist_ok=True)
        log = open(f"{self.data}/daemon.log", "ab")
        # systemd's way of being told: no looking again and again.
        notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        path = f"{self.run}/notify"
        pathlib.Path(path).unlink(missing_ok=True)
        notify.bind(path)
        notify.settimeout(PATIENCE)
        words = [*self.program, "--data-root", self.data, "--exec-root", self.run, "--host", f"unix://{self.socket}"]
        # The machine's disk may be full of others' things: what a story made must not go for that. dockerd has no such flag.
        words += ["--disk-high", "0"] if "daemon" in self.program else []
        words += ["--bridge", self.bridge, "--config-file", f"{self.data}/minke.toml", *self.flags]
        pathlib.Path(f"{self.data}/minke.toml").touch()
        self.process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env={**os.environ, "NOTIFY_SOCKET": path})
        try:
            while b"READY=1" not in notify.recv(4096):
                pass
        except TimeoutError:
            raise AssertionError(f"the daemon did not become ready\n{self.last_words()}") from None
        finally:
            notify.close()
        return self

    def last_words(self):
        with open(f"{self.data}/daemon.log", errors="replace") as log:
            return "".join(log.readlines()[-30:])

    def end(self, how=signal.SIGTERM):
        self.process.send_signal(how)
        try:
            return self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"the daemon did not end by {how}\n{self.last_words()}") from None

    def again(self, how=signal.SIGKILL):
        self.end(how)
        return self.start()

    def connect(self):
        """A connection to its API."""
        connection = http.client.HTTPConnection("docker", timeout=PATIENCE)
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.settimeout(PATIENCE)
        connection.sock.connect(self.socket)
        return connection

    def ask(self, method, path, body=None, headers=None):
        """The API itself: status, headers, bytes."""
        connection = self.connect()
        sent = {"Host": "docker", **(headers or {})}
        if isinstance(body, (dict, list)):
            body, sent["Content-Type"] = json.dumps(body), "application/json"
        connection.request(method, path, body=body, headers=sent)
        answer = connection.getresponse()
        told = answer.status, answer.headers, answer.read()
        connection.close()
        return told


class Machine:
    """This machine as stories see it."""

    def __init__(self, minke, docker):
        self.minke, self.docker_path = minke, docker
        self.daemon = Daemon(minke, "first", "minkeconf0")
        self.scratch = pathlib.Path(f"{DISK}/scratch")
        self.others = []

    # Beginning and end.

    def set_up(self):
        for word in ("link set lo up", f"link add wire0 type veth peer name wire1", f"addr add {HOST}/24 dev wire0",
                     "link set wire0 up", "link set wire1 up", "route add default via 10.98.0.254"):
            subprocess.run(["ip", *word.split()], check=True)
        shutil.rmtree(DISK, ignore_errors=True)
        shutil.rmtree(RUN, ignore_errors=True)
        self.scratch.mkdir(parents=True)
        self.before = self.traces()
        self.daemon.start()
        self.load_image()

    def load_image(self):
        if self.docker("image", "inspect", IMAGE, fails=None).code != 0:
            self.docker("import", "-", IMAGE, stdin=busybox_root())

    def second_daemon(self, *flags, name="second"):
        other = Daemon(self.minke, name, "minkeconf1", flags)
        self.others.append(other)
        return other.start()

    def clear(self):
        """Takes away what a story left, so that the next begins with one image and nothing else."""
        names = self.docker("ps", "-aq").out.split()
        if names:
            self.docker("rm", "-f", "-v", *names)
        networks = self.docker("network", "ls", "-q", "--filter", "type=custom").out.split()
        if networks:
            self.docker("network", "rm", *networks)
        volumes = self.docker("volume", "ls", "-q").out.split()
        if volumes:
            self.docker("volume", "rm", "-f", *volumes)
        for entry in self.scratch.iterdir():
            shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()

    def begin_again(self):
        """After a failed story: the same daemon if it can be cleared, else a new one on new roots."""
        try:
            if self.daemon.process.poll() is not None:
                self.daemon.start()
            self.clear()
        except Exception as error:  # noqa: BLE001
            print(f"        (begins again on new roots: {str(error).strip().splitlines()[:1]})", flush=True)
            self.abandon(keep=False)
            self.scratch.mkdir(parents=True)
            self.daemon.start()
        self.load_image()

    def take_down(self, keep):
        """Ends the daemon; what it leaves behind that was not there before."""
        self.clear()
        self.docker("image", "prune", "-af")
        self.docker("rmi", "-f", IMAGE, fails=None)
        # While it runs, a daemon keeps its own bridge, table and cgroup, which hold nothing. It takes them with it.
        own = re.compile(r"^(link minkeconf0|nftables .*minke-[0-9a-f]{8}|cgroup \S*/minke-[0-9a-f]{8}(/build)?)$")

        def stays():
            return [trace for trace in self.traces() if trace not in self.before]

        # What the kernel takes down by itself, it takes down soon after everything is removed: on a quiet machine in a
        # second, on a loaded one when its workers have their turn.
        end = time.monotonic() + PATIENCE
        while any(not own.match(trace) for trace in stays()) and time.monotonic() < end:
            time.sleep(0.02)
        late = [trace for trace in stays() if not own.match(trace)]
        self.daemon.end()
        return late or stays()

    def abandon(self, keep):
        """Whatever happened: no process, cgroup or file of this run stays."""
        for daemon in [self.daemon, *self.others]:
            if daemon.process and daemon.process.poll() is None:
                daemon.process.kill()
                daemon.process.wait()
        for pid, words in processes():
            if words and os.path.basename(words[0]) == "minke-shim" and f"{RUN}/" in " ".join(words):
                end_tree(pid)
        time.sleep(0.1)
        for line in self.traces():
            if line.startswith("cgroup ") and line not in getattr(self, "before", []):
                remove_cgroup(line.removeprefix("cgroup "))
        for line in reversed(pathlib.Path("/proc/self/mounts").read_text().splitlines()):
            if line.split()[1].startswith((DISK, RUN)):
                subprocess.run(["umount", "-l", line.split()[1]], check=False)
        if not keep:
            shutil.rmtree(DISK, ignore_errors=True)
            shutil.rmtree(RUN, ignore_errors=True)

    # Commands.

    def docker(self, *words, stdin=None, fails=False, daemon=None, timeout=PATIENCE, binary=False):
        """docker's command line to its end. `fails`: False it must not, True it must, None both are fine."""
        words = [self.docker_path, "-H", f"unix://{(daemon or self.daemon).socket}", *map(str, words)]
        if isinstance(stdin, str):
            stdin = stdin.encode()
        try:
            done = subprocess.run(words, input=stdin if stdin is not None else b"", capture_output=True, timeout=timeout, check=False)
        except subprocess.TimeoutExpired as late:
            raise AssertionError(f"$ {' '.join(words)}\ntook more than {timeout} s\n{late.stdout or b''}{late.stderr or b''}") from None
        text = (lambda b: b) if binary else (lambda b: b.decode(errors="replace"))
        done = Done(words[3:], done.returncode, text(done.stdout), done.stderr.decode(errors="replace"))
        if fails is not None and (done.code != 0) != fails:
            raise AssertionError(f"{'did not fail' if fails else 'failed'}:\n{done}")
        return done

    def begin(self, *words, **how):
        """docker's command line, left running: a Popen with pipes."""
        words = [self.docker_path, "-H", f"unix://{self.daemon.socket}", *map(str, words)]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, **how}
        return subprocess.Popen(words, **pipes)

    def run(self, *words, **how):
        """`docker run` of the one image: flags, then `--`, then the command's words; a single word is a shell's."""
        at = words.index("--")
        command = words[at + 1:]
        if len(command) == 1:
            command = ("sh", "-c", command[0])
        return self.docker("run", *words[:at], IMAGE, *command, **how)

    def see(self, name, template):
        return self.docker("inspect", "--format", template, name).out.strip()

    def healthy(self, name, status="healthy"):
        until(f"{name} to be {status}", lambda: self.see(name, "{{.State.Health.Status}}") == status)

    # What the kernel has.

    def traces(self):
        """Links, firewall tables, cgroups, shims and mounts of this run."""
        seen = []
        links = subprocess.run(["ip", "-o", "link"], capture_output=True, text=True, check=True).stdout
        seen += [f"link {line.split(': ')[1].split('@')[0]}" for line in links.splitlines()]
        tables = subprocess.run(["nft", "list", "tables"], capture_output=True, text=True, check=True).stdout
        seen += [f"nftables {line.removeprefix('table ')}" for line in tables.splitlines()]
        for top, dirs, _ in os.walk("/sys/fs/cgroup"):
            seen += [f"cgroup {top}/{name}" for name in dirs if any(f"minke-{one}" in f"{top}/{name}" for one in Daemon.ids)]
        for pid, words in processes():
            if words and os.path.basename(words[0]) == "minke-shim" and f"{RUN}/" in " ".join(words):
                seen.append(f"shim {pid} {' '.join(words)}")
        for line in pathlib.Path("/proc/self/mounts").read_text().splitlines():
            if line.split()[1].startswith((DISK, RUN)):
                seen.append(f"mount {line.split()[1]}")
        return seen


def processes():
    for entry in pathlib.Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                yield int(entry.name), (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")[:-1]
            except OSError:
                continue


def end_tree(pid):
    """Kills a process that this run's daemon started, and its children."""
    try:
        children = pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        children = []
    for child in [*map(int, children), pid]:
        try:
            os.kill(child, signal.SIGKILL)
        except ProcessLookupError:
            pass


def remove_cgroup(path):
    for top, _, _ in os.walk(path, topdown=False):
        try:
            os.rmdir(top)
        except OSError:
            pass


def busybox_root():
    """A root file system with nothing but busybox, as a tar."""
    busybox = next(path for path in ("/bin/busybox", "/usr/bin/busybox") if os.path.exists(path))
    applets = subprocess.run([busybox, "--list"], capture_output=True, text=True, check=True).stdout.split()
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        def put(name, kind, data=b"", mode=0o755, link=""):
            entry = tarfile.TarInfo(name)
            entry.type, entry.mode, entry.linkname, entry.size = kind, mode, link, len(data)
            tar.addfile(entry, io.BytesIO(data))
        for name in ("bin", "etc", "root", "var", "home"):
            put(name, tarfile.DIRTYPE)
        put("tmp", tarfile.DIRTYPE, mode=0o1777)
        put("etc/passwd", tarfile.REGTYPE, b"root:x:0:0:root:/root:/bin/sh\nwww:x:33:33:www:/var:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\n", 0o644)
        put("etc/group", tarfile.REGTYPE, b"root:x:0:\nwww:x:33:\nextra:x:77:www\nnogroup:x:65534:\n", 0o644)
        put("bin/busybox", tarfile.REGTYPE, pathlib.Path(busybox).read_bytes())
        for applet in applets:
            if applet != "busybox":
                put(f"bin/{applet}", tarfile.SYMTYPE, link="busybox")
    return out.getvalue()


def tar_of(*entries):
    """A tar of (name, content or None for a directory, or a TarInfo)."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for entry in entries:
            if isinstance(entry, tarfile.TarInfo):
                tar.addfile(entry)
                continue
            name, data = entry
            info = tarfile.TarInfo(name)
            if data is None:
                info.type, info.mode = tarfile.DIRTYPE, 0o755
                tar.addfile(info)
            else:
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


def read_until(stream, wanted, patience=PATIENCE):
    """Reads bytes from a pipe until `wanted` has come; all that came."""
    got, end = b"", time.monotonic() + patience
    while wanted not in got:
        left = end - time.monotonic()
        assert left > 0, f"waited {patience} s for {wanted!r}, got {got[-400:]!r}"
        ready, _, _ = select.select([stream], [], [], left)
        if ready:
            more = os.read(stream.fileno(), 65536)
            assert more, f"ended before {wanted!r}, after {got[-400:]!r}"
            got += more
    return got


def fetch(address, port, path="/"):
    """One HTTP GET; its body."""
    connection = http.client.HTTPConnection(address, port, timeout=10)
    connection.request("GET", path)
    body = connection.getresponse().read().decode()
    connection.close()
    return body
