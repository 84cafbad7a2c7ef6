#!/usr/bin/env python3
"""Minke beside Docker on one machine, measured in alternation. Started by script/bench; needs root.

Every figure is a median, every claim a ratio of two figures from the same run.
"""

import argparse
import concurrent.futures
import http.client
import io
import json
import os
import pathlib
import socket
import statistics
import subprocess
import sys
import tarfile
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from sides import Docker, HOME, Minke, alone  # noqa: E402

IMAGE = "bench"
MANY = 50
AT_ONCE = 8
LINES = 2_000_000  # of 100 bytes


def root_of(load):
    """A root file system: busybox, and the program that makes load."""
    busybox = next(path for path in ("/bin/busybox", "/usr/bin/busybox") if os.path.exists(path))
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name in ("bin", "etc", "tmp", "proc", "sys", "dev"):
            entry = tarfile.TarInfo(name)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(entry)
        for name, path in (("bin/busybox", busybox), ("bin/load", load)):
            data = pathlib.Path(path).read_bytes()
            entry = tarfile.TarInfo(name)
            entry.mode, entry.size = 0o755, len(data)
            tar.addfile(entry, io.BytesIO(data))
        for name in ("sh", "true", "sleep", "cat"):
            entry = tarfile.TarInfo(f"bin/{name}")
            entry.type, entry.linkname = tarfile.SYMTYPE, "busybox"
            tar.addfile(entry)
    return out.getvalue()


class Bench:
    """The measures. Each takes a side and returns seconds, megabytes or a rate."""

    def __init__(self, sides, docker, load, quick):
        self.sides, self.docker, self.load, self.quick = sides, docker, load, quick

    def cli(self, side, *words):
        return subprocess.run([self.docker, "-H", f"unix://{side.socket}", *words], check=True, capture_output=True, text=True).stdout.strip()

    def run_by_cli(self, side):
        began = time.monotonic()
        self.cli(side, "run", "--rm", IMAGE, "true")
        return time.monotonic() - began

    def run_by_api(self, side, network="default"):
        api = side.api()
        api.ask("GET", "/_ping")
        began = time.monotonic()
        made = api.ask("POST", "/containers/create", {"Image": IMAGE, "Cmd": ["true"], "HostConfig": {"NetworkMode": network}})["Id"]
        api.ask("POST", f"/containers/{made}/start")
        api.ask("POST", f"/containers/{made}/wait")
        api.ask("DELETE", f"/containers/{made}")
        return time.monotonic() - began

    def run_by_api_without_network(self, side):
        return self.run_by_api(side, "none")

    def first_byte(self, side):
        began = time.monotonic()
        made = self.cli(side, "run", "-d", "-p", "7000:7000", IMAGE, "load", "serve", "7000")
        while True:
            try:
                with socket.create_connection((side.address, 7000), timeout=1) as client:
                    client.sendall(b"p")
                    if client.recv(1) == b"p":
                        break
            except OSError:
                time.sleep(0.0005)
        took = time.monotonic() - began
        self.cli(side, "rm", "-f", made)
        return took

    def exec_by_api(self, side):
        api = side.api()
        if not hasattr(side, "idle"):
            side.idle = self.start_one(api)
        began = time.monotonic()
        made = api.ask("POST", f"/containers/{side.idle}/exec", {"Cmd": ["true"], "AttachStdout": True, "AttachStderr": True})["Id"]
        api.ask("POST", f"/exec/{made}/start", {"Detach": False})
        api.close()  # the connection was taken over
        code = api.ask("GET", f"/exec/{made}/json")["ExitCode"]
        assert code == 0, code
        return time.monotonic() - began

    @staticmethod
    def start_one(api):
        made = api.ask("POST", "/containers/create", {"Image": IMAGE, "Cmd": ["sleep", "100000"]})["Id"]
        api.ask("POST", f"/containers/{made}/start")
        return made

    def drop_idle(self, side):
        if hasattr(side, "idle"):
            side.api().ask("DELETE", f"/containers/{side.idle}?force=1")
            del side.idle

    def many(self, side):
        """Creates and starts MANY, 8 at a time; seconds, ids."""
        began = time.monotonic()
        with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
            ids = list(pool.map(lambda _: self.start_one(side.api()), range(MANY)))
        return time.monotonic() - began, ids

    def fewer(self, side, ids):
        began = time.monotonic()
        with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
            list(pool.map(lambda one: side.api().ask("DELETE", f"/containers/{one}?force=1"), ids))
        return time.monotonic() - began

    def logs(self, side):
        """Writes LINES lines and reads them back; seconds of each. Loses none."""
        api = side.api()
        made = api.ask("POST", "/containers/create", {"Image": IMAGE, "Cmd": ["load", "lines", str(LINES)]})["Id"]
        began = time.monotonic()
        api.ask("POST", f"/containers/{made}/start")
        api.ask("POST", f"/containers/{made}/wait")
        written = time.monotonic() - began
        api.request("GET", f"/v1.51/containers/{made}/logs?stdout=1")
        began = time.monotonic()
        answer, lines = api.getresponse(), 0
        while piece := answer.read(1 << 20):
            lines += piece.count(b"\n")
        read = time.monotonic() - began
        api.ask("DELETE", f"/containers/{made}")
        # Frame heads may hold a byte that looks like a line's end: never fewer, hardly more.
        assert LINES <= lines <= LINES * 1.02, f"{side.name} lost lines: {lines} of {LINES}"
        return written, read

    def port(self, side):
        if not hasattr(side, "server"):
            body = {"Image": IMAGE, "Cmd": ["load", "serve", "7001"], "ExposedPorts": {"7001/tcp": {}},
                    "HostConfig": {"PortBindings": {"7001/tcp": [{"HostPort": "7001"}]}}}
            api = side.api()
            side.server = api.ask("POST", "/containers/create", body)["Id"]
            api.ask("POST", f"/containers/{side.server}/start")
            time.sleep(0.3)
        return 7001

    def traffic(self, side, what, local):
        words = [self.load, what, "127.0.0.1" if local else side.address, str(self.port(side)), "500" if self.quick else "2000"]
        words = side.inside(*words) if local else words
        return float(subprocess.run(words, check=True, capture_output=True, text=True).stdout)

    def drop_server(self, side):
        if hasattr(side, "server"):
            side.api().ask("DELETE", f"/containers/{side.server}?force=1")
            del side.server


class Table:
    """Figures as they come, and at the end with ratios."""

    def __init__(self):
        self.rows = []

    def add(self, what, unit, docker, minke, most=None, least=None, within=None):
        """`most`: Minke's figure over Docker's may be so much; `least`: must be so much; `within`: an absolute bound."""
        ratio = minke / docker if docker else float("inf")
        good = (most is None or ratio <= most) and (least is None or ratio >= least) and (within is None or minke <= within)
        target = f"≤ 1/{1 / most:.0f}" if most else f"≥ {least:g}" if least else f"≤ {within * 1000:.0f} ms" if within else ""
        row = {"what": what, "unit": unit, "docker": docker, "minke": minke, "ratio": ratio, "target": target, "met": good}
        self.rows.append(row)
        print(self.line(row), flush=True)

    @staticmethod
    def figure(value, unit):
        """Three digits that count."""
        if unit == "s" and value < 1:
            value, unit = value * 1000, "ms"
        return f"{value:.{0 if value >= 100 else 1 if value >= 10 else 2}f} {unit}"

    @classmethod
    def line(cls, row):
        docker, minke = (cls.figure(row[side], row["unit"]) for side in ("docker", "minke"))
        ratio = f"1/{1 / row['ratio']:.1f}" if 0 < row["ratio"] < 1 else f"{row['ratio']:.2f}"
        mark = "" if not row["target"] else "met" if row["met"] else "MISSED"
        return f"{row['what']:<46}{docker:>13}{minke:>13}{ratio:>9}  {row['target']:<9} {mark}"

    def head(self):
        print(f"\n{'':<46}{'Docker':>13}{'Minke':>13}{'ratio':>9}  target\n{'-' * 97}", flush=True)


def alternate(sides, rounds, measure):
    """Medians of `rounds` measures of each side, one after the other. The first round only warms up."""
    seen = {side.name: [] for side in sides}
    for number in range(rounds + 1):
        for side in sides if number % 2 else reversed(sides):
            took = measure(side)
            if number:
                seen[side.name].append(took)
    return {name: statistics.median(figures) for name, figures in seen.items()}


def measure(bench, table, wanted):
    docker, minke = sides = bench.sides
    rounds = 3 if bench.quick else 15
    both = lambda figures: (figures["docker"], figures["minke"])  # noqa: E731

    if wanted("start"):
        times = alternate(sides, 1 if bench.quick else 5, lambda side: side.stop() or side.start())
        table.add("ready after start, nothing there", "s", *both(times), within=0.030)
    if wanted("memory"):
        for side in sides:
            side.stop()
            side.start()
        time.sleep(2)
        table.add("memory (PSS), fresh", "MB", docker.memory(), minke.memory(), most=1 / 6)
    if wanted("run"):
        table.add("run --rm IMAGE true, official command line", "s", *both(alternate(sides, rounds, bench.run_by_cli)), most=1 / 6)
        table.add("the same by the bare API", "s", *both(alternate(sides, rounds, bench.run_by_api)), most=1 / 12)
        table.add("the same without network", "s", *both(alternate(sides, rounds, bench.run_by_api_without_network)))
    if wanted("exec"):
        table.add("exec by the API", "s", *both(alternate(sides, rounds * 2, bench.exec_by_api)), most=1 / 8)
        for side in sides:
            bench.drop_idle(side)
    if wanted("port"):
        table.add("run -d -p, to the first byte", "s", *both(alternate(sides, rounds, bench.first_byte)), most=1 / 4)
    if wanted("many") or wanted("memory") or wanted("start"):
        started, removed, before, during, found = {}, {}, {}, {}, {}
        for side in sides:
            api = side.api()
            before[side.name] = side.memory()
            seconds, ids = bench.many(side)
            started[side.name] = seconds
            time.sleep(1)
            during[side.name] = side.memory()
            side.stop()
            found[side.name] = side.start()
            listed = [c["State"] for c in side.api().ask("GET", "/containers/json")]
            assert listed == ["running"] * MANY, f"{side.name} finds {len(listed)} of {MANY}"
            removed[side.name] = bench.fewer(side, ids)
            api.close()
        table.add(f"{MANY} created and started, {AT_ONCE} at a time", "s", *both(started), most=1 / 8)
        table.add(f"{MANY} removed", "s", *both(removed), most=1 / 8)
        per_one = {name: (during[name] - before[name]) / MANY for name in during}
        table.add("memory (PSS) per running container", "MB", *both(per_one), most=1 / 10)
        table.add(f"ready after start, {MANY} to find again", "s", *both(found), within=0.100)
    if wanted("logs"):
        written, read = {}, {}
        for side in sides:
            written[side.name], read[side.name] = bench.logs(side)
        table.add("200 MB of log lines, written", "s", *both(written), most=1 / 4)
        table.add("the same, read back", "s", *both(read), most=1 / 4)
    if wanted("memory"):
        time.sleep(2)
        table.add("memory (PSS), after this work", "MB", docker.memory(), minke.memory(), most=1 / 6)
    if wanted("traffic"):
        turns = 1 if bench.quick else 3
        for local, where in ((False, "from outside"), (True, "over 127.0.0.1")):
            for what, unit, name in (("connect", "/s", "connections"), ("stream", "MB/s", "stream")):
                rates = alternate(sides, turns, lambda side, what=what, local=local: bench.traffic(side, what, local))
                table.add(f"published port {where}: {name}", unit, *both(rates), least=0.95)
        for side in sides:
            bench.drop_server(side)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--minke", required=True)
    parser.add_argument("--peer", required=True)
    parser.add_argument("--docker", required=True)
    parser.add_argument("--quick", action="store_true", help="few rounds: for a look, not for a claim")
    parser.add_argument("--only", action="append", default=[], help="start, memory, run, exec, port, many, logs, traffic")
    parser.add_argument("--json")
    options = parser.parse_args()
    alone()
    load = HOME / "load"
    subprocess.run(["gcc", "-O2", "-static", "-o", load, pathlib.Path(__file__).with_name("load.c")], check=True)
    sides = [Docker(1, options.peer), Minke(2, options.minke)]
    bench, table = Bench(sides, options.docker, str(load), options.quick), Table()
    try:
        for side in sides:
            side.set_up()
            side.start()
            side.api().ask("POST", f"/images/create?fromSrc=-&repo={IMAGE}", root_of(load), "application/x-tar")
        table.head()
        measure(bench, table, lambda what: not options.only or what in options.only)
    finally:
        for side in sides:
            side.take_down()
    missed = [row["what"] for row in table.rows if not row["met"]]
    print(f"\n{len(table.rows) - len(missed)} targets met, {len(missed)} missed" + "".join(f"\n  missed: {what}" for what in missed))
    if options.json:
        pathlib.Path(options.json).write_text(json.dumps(table.rows, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
