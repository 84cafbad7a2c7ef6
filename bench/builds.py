#!/usr/bin/env python3
"""Builds and projects beside Docker, by Debian sid's buildx and Compose, unchanged. By script/bench builds.

Both sides are asked by the same clients from the same root. Every figure is a median, every claim a ratio of two figures
from the same run.
"""

import argparse
import json
import os
import pathlib
import shutil
import subprocess
import sys
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from run import Table, alternate, root_of  # noqa: E402
from sides import Docker, HOME, Minke, alone  # noqa: E402

STEPS = 20
FILES = 300  # of 1 MB
SERVICES = 20
PAUSE = 2  # seconds, of each of two stages


class Bench:
    """The measures. Each takes a side and returns seconds."""

    def __init__(self, peer, place):
        self.peer, self.place, self.count = peer, place, 0

    def client(self, side, *words):
        """A command of the peers' root, at a side's daemon; the seconds it took."""
        socket = str(side.socket).removeprefix(self.peer)
        words = side.inside("env", f"DOCKER_HOST=unix://{socket}", "HOME=/bench", "chroot", self.peer, "docker", *words)
        began = time.monotonic()
        done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"{side.name}: docker {' '.join(words[-6:])}: {done.stderr[-600:]}")
        return time.monotonic() - began

    def build(self, side, directory):
        return self.client(side, "buildx", "build", "-q", "-t", f"made-{directory}", f"/bench/{directory}")

    def directory(self, name, dockerfile):
        (self.place / name).mkdir(exist_ok=True)
        (self.place / name / "Dockerfile").write_text(dockerfile)

    def unlike_all(self):
        self.count += 1
        return f"{os.getpid()}.{self.count}"

    def cold(self, side):
        once = self.unlike_all()
        self.directory("steps", "FROM bench\n" + "".join(f"RUN echo {once} >/f{n}\n" for n in range(STEPS)))
        return self.build(side, "steps")

    def cached(self, side):
        return self.build(side, "cached")

    def context(self, side):
        (self.place / "context/data/changes").write_text(self.unlike_all())
        return self.build(side, "context")

    def stages(self, side):
        once = self.unlike_all()
        stage = f"RUN sleep {PAUSE} && echo {once} >/made\n"
        self.directory("stages", f"FROM bench AS a\n{stage}FROM bench AS b\n{stage}FROM bench\nCOPY --from=a /made /a\nCOPY --from=b /made /b\n")
        return self.build(side, "stages")

    def compose(self, side, *words):
        return self.client(side, "compose", "-f", "/bench/project/compose.yaml", "--progress", "quiet", *words)

    def up(self, side):
        took = self.compose(side, "up", "-d")
        self.compose(side, "down", "-t", "0")
        return took

    def prepare(self, sides):
        self.directory("cached", "FROM bench\n" + "".join(f"RUN echo {n} >/f{n}\n" for n in range(STEPS)))
        self.directory("context", "FROM bench\nCOPY . /all\n")
        data = self.place / "context/data"
        data.mkdir()
        for number in range(FILES):
            (data / str(number)).write_bytes(os.urandom(1_000_000))
        (self.place / "project").mkdir()
        services = "".join(f"  s{n}: {{image: bench, command: [sleep, '1000']}}\n" for n in range(SERVICES))
        (self.place / "project/compose.yaml").write_text(f"services:\n{services}")
        busybox = next(path for path in ("/bin/busybox", "/usr/bin/busybox") if os.path.exists(path))
        root = root_of(busybox)
        for side in sides:
            side.api().ask("POST", "/images/create?fromSrc=-&repo=bench&tag=latest", root, "application/x-tar")
            self.cached(side)
            self.context(side)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--minke", required=True)
    parser.add_argument("--peer", required=True)
    parser.add_argument("--docker", required=True, help="not used: clients are the peers' own")
    parser.add_argument("--quick", action="store_true", help="one round: for a look, not for a claim")
    parser.add_argument("--only", action="append", default=[], help="cold, cached, context, stages, compose")
    parser.add_argument("--json")
    options = parser.parse_args()
    alone()
    place = pathlib.Path(options.peer) / "bench"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    docker, minke = sides = [Docker(1, options.peer), Minke(2, options.minke)]
    bench, table, rounds = Bench(options.peer, place), Table(), 1 if options.quick else 5
    both = lambda figures: (figures["docker"], figures["minke"])  # noqa: E731
    wanted = lambda what: not options.only or what in options.only  # noqa: E731
    try:
        for side in sides:
            side.set_up()
            side.start()
        # Clients are in the peers' root, and Minke's socket is not.
        there = pathlib.Path(f"{options.peer}{minke.run}")
        there.mkdir(parents=True, exist_ok=True)
        subprocess.run(["mount", "--bind", minke.run, there], check=True)
        for name in ("proc", "dev"):
            subprocess.run(["mount", "--rbind", f"/{name}", f"{options.peer}/{name}"], check=True)
        bench.prepare(sides)
        table.head()
        if wanted("cold"):
            table.add(f"build of {STEPS} steps, cold", "s", *both(alternate(sides, rounds, bench.cold)), most=1 / 4)
        if wanted("cached"):
            table.add("the same, all of it cached", "s", *both(alternate(sides, rounds, bench.cached)), within=0.22)
        if wanted("context"):
            table.add(f"context of {FILES} MB, one file changed", "s", *both(alternate(sides, rounds, bench.context)), most=1 / 2)
        if wanted("stages"):
            table.add(f"two stages of {PAUSE} s each", "s", *both(alternate(sides, rounds, bench.stages)), within=PAUSE + 0.5)
        if wanted("compose"):
            table.add(f"compose up of {SERVICES} services", "s", *both(alternate(sides, rounds, bench.up)), most=1 / 3)
            for side in sides:
                bench.compose(side, "up", "-d")
            table.add("compose up, nothing to do", "s", *both(alternate(sides, rounds, lambda side: bench.compose(side, "up", "-d"))), most=1)
    finally:
        for side in sides:
            side.take_down()
        for name in ("proc", "dev", minke.run.lstrip("/")):
            subprocess.run(["umount", "-l", f"{options.peer}/{name}"], stderr=subprocess.DEVNULL)
        shutil.rmtree(place, ignore_errors=True)
    missed = [row["what"] for row in table.rows if not row["met"]]
    print(f"\n{len([r for r in table.rows if r['target']]) - len(missed)} targets met, {len(missed)} missed" + "".join(f"\n  missed: {what}" for what in missed))
    if options.json:
        pathlib.Path(options.json).write_text(json.dumps(table.rows, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
