#!/usr/bin/env python3
"""Images beside Docker and buildah: load, push and pull of 200 MB in 10 layers of many small files. By script/bench images.

Each round has an image of its own, so that nothing is there already and nothing has to be removed in between (file
systems are slow where much was just removed). Registries are Debian's docker-registry, one in each side's namespace.
Every figure is a median, every claim a ratio of two figures from the same run.
"""

import argparse
import hashlib
import io
import json
import os
import pathlib
import random
import shutil
import statistics
import subprocess
import sys
import tarfile
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from run import Table  # noqa: E402
from sides import Docker, ENTER, HOME, Minke, Side, alone  # noqa: E402

LAYERS = 10
SIZE = 200_000_000
PUSHES, PULLS = 5000, 5001  # ports


def make(path, name, seed):
    """A docker-archive of an image like a program with its libraries: small files of text, 40 to a directory."""
    dice = random.Random(seed)
    words = ["".join(dice.choices("abcdefghijklmnopqrstuvwxyz_", k=dice.randint(2, 9))).encode() for _ in range(4000)]
    layers = []
    for number in range(LAYERS):
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w") as tar:
            size = count = 0
            while size < SIZE // LAYERS:
                if count % 40 == 0:
                    entry = tarfile.TarInfo(f"l{number}/d{count // 40}")
                    entry.type, entry.mode = tarfile.DIRTYPE, 0o755
                    tar.addfile(entry)
                entry = tarfile.TarInfo(f"l{number}/d{count // 40}/f{count}")
                entry.size, entry.mtime = dice.randint(500, 9500), 1_700_000_000 + count
                content = b" ".join(dice.choices(words, k=entry.size // 5))[: entry.size]
                tar.addfile(entry, io.BytesIO(content.ljust(entry.size)))
                size, count = size + entry.size, count + 1
        layers.append(out.getvalue())
    digests = ["sha256:" + hashlib.sha256(layer).hexdigest() for layer in layers]
    config = {"architecture": "amd64", "os": "linux", "config": {"Cmd": ["x"]}, "rootfs": {"type": "layers", "diff_ids": digests}}
    files = {f"{number}.tar": layer for number, layer in enumerate(layers)}
    files["config.json"] = json.dumps(config).encode()
    files["manifest.json"] = json.dumps([{"Config": "config.json", "RepoTags": [name], "Layers": [f"{n}.tar" for n in range(LAYERS)]}]).encode()
    with tarfile.open(path, "w") as tar:
        for file, content in files.items():
            entry = tarfile.TarInfo(file)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))


class Buildah(Side):
    """Debian sid's, from the same root as Docker. It has no daemon."""

    name = "buildah"

    def __init__(self, number, root):
        super().__init__(number)
        self.root, self.state = root, [f"{root}/var/lib/minke-bench-buildah", f"{root}/run/minke-bench-buildah"]
        self.words = ["buildah", "--root", "/var/lib/minke-bench-buildah", "--runroot", "/run/minke-bench-buildah", "--storage-driver", "overlay"]

    def take_down(self):
        for path in self.state:
            shutil.rmtree(path, ignore_errors=True)


class Bench:
    """The measures, by name. Each takes a side and the number of a round, and returns seconds."""

    def __init__(self, peer, docker, archives):
        self.peer, self.docker, self.archives = peer, docker, archives
        self.measures = {"load": self.load, "push": self.push, "pull": self.pull}

    def in_peer(self, side, *words):
        """A command inside of the peers' root, in the side's network."""
        return side.inside("unshare", "--mount", "--propagation", "private", "sh", "-c", ENTER, self.peer, *words)

    def timed(self, side, words):
        os.sync()
        began = time.monotonic()
        done = subprocess.run(words, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"{side.name}: {' '.join(map(str, words[-6:]))}: {done.stderr[-500:]}")
        return time.monotonic() - began

    def cli(self, side, *words):
        return [self.docker, "-H", f"unix://{side.socket}", *words]

    def load(self, side, round):
        if side.name == "buildah":
            return self.timed(side, self.in_peer(side, *side.words, "pull", "-q", f"docker-archive:/bench/{round}.tar"))
        return self.timed(side, self.cli(side, "load", "-q", "-i", str(self.archives / f"{round}.tar")))

    def push(self, side, round):
        there = f"127.0.0.1:{PUSHES}/{side.name}/{round}:1"
        if side.name == "buildah":
            words = self.in_peer(side, *side.words, "push", "-q", "--tls-verify=false", f"localhost/bench/{round}:1", f"docker://{there}")
            return self.timed(side, words)
        subprocess.run(self.cli(side, "tag", f"bench/{round}:1", there), check=True)
        return self.timed(side, self.cli(side, "push", "-q", there))

    def pull(self, side, round):
        there = f"127.0.0.1:{PULLS}/p/{round}:1"
        if side.name == "buildah":
            return self.timed(side, self.in_peer(side, *side.words, "pull", "-q", "--tls-verify=false", there))
        return self.timed(side, self.cli(side, "pull", "-q", there))


class Registry:
    """Debian's docker-registry in a side's namespace."""

    def __init__(self, bench, side, port, directory):
        config = pathlib.Path(bench.peer) / f"bench/registry-{side.name}-{port}.yml"
        config.write_text(f"version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {directory}}}}}\nhttp: {{addr: 127.0.0.1:{port}}}\n")
        words = bench.in_peer(side, "docker-registry", "serve", f"/bench/{config.name}")
        self.process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        probe = f"until exec 3<>/dev/tcp/127.0.0.1/{port}; do sleep .05; done 2>/dev/null"
        subprocess.run(side.inside("timeout", "20", "bash", "-c", probe), check=True)

    def end(self):
        self.process.terminate()
        self.process.wait()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--minke", required=True)
    parser.add_argument("--peer", required=True)
    parser.add_argument("--docker", required=True)
    parser.add_argument("--quick", action="store_true", help="one round: for a look, not for a claim")
    parser.add_argument("--only", action="append", default=[], help="load, push (loads first), pull")
    parser.add_argument("--json")
    options = parser.parse_args()
    alone()
    archives = pathlib.Path(options.peer) / "bench"
    shutil.rmtree(archives, ignore_errors=True)
    archives.mkdir()
    sides = [Docker(1, options.peer), Minke(2, options.minke), Buildah(3, options.peer)]
    bench, table, registries = Bench(options.peer, options.docker, archives), Table(), []
    rounds = range(1 if options.quick else 3)
    wanted = [name for name in bench.measures if not options.only or name in options.only or name == "load" and "push" in options.only]
    seen = {(name, side.name): [] for name in wanted for side in sides}
    try:
        for side in sides:
            side.set_up()
            if side.name != "buildah":
                side.start()
            registries.append(Registry(bench, side, PUSHES, f"/bench/pushes-{side.name}"))
            registries.append(Registry(bench, side, PULLS, "/bench/pulls"))
        table.head()
        for round in rounds:
            make(archives / f"{round}.tar", f"bench/{round}:1", f"load {round}")
            make(archives / "pull.tar", "x:1", f"pull {round}")
            words = bench.in_peer(sides[0], "skopeo", "copy", "-q", "--insecure-policy", "--dest-tls-verify=false",
                                  "docker-archive:/bench/pull.tar", f"docker://127.0.0.1:{PULLS}/p/{round}:1")
            subprocess.run(words, check=True)
            for name in wanted:
                for side in sides if round % 2 else reversed(sides):
                    seen[name, side.name].append(bench.measures[name](side, round))
        size = f"{SIZE // 1_000_000} MB, {LAYERS} layers"
        for name in wanted:
            docker, minke, buildah = (statistics.median(seen[name, side.name]) for side in sides)
            table.add(f"{name}, {size}", "s", docker, minke, most=1 / 2)
            table.add(f"{name}, beside buildah", "s", buildah, minke)
    finally:
        for registry in registries:
            registry.end()
        for side in sides:
            side.take_down()
        shutil.rmtree(archives, ignore_errors=True)
    missed = [row["what"] for row in table.rows if not row["met"]]
    print(f"\n{len([r for r in table.rows if r['target']]) - len(missed)} targets met, {len(missed)} missed" + "".join(f"\n  missed: {what}" for what in missed))
    if options.json:
        pathlib.Path(options.json).write_text(json.dumps(table.rows, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
