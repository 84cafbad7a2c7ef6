"""Builds: by the classic door, as docker-py and others have it, and by our own command line."""

import gzip
import json
import os
import signal
import subprocess
import tarfile
import time
import urllib.parse

from house import IMAGE, PATIENCE, Done, processes, story, tar_of, until


def build(machine, *words, fails=False, stdin=None, environment=None):
    """`minke build`."""
    command = [machine.minke, "-H", f"unix://{machine.daemon.socket}", "build", *words]
    settings = {**os.environ, "DOCKER_CONFIG": str(machine.scratch / "config"), **(environment or {})}
    ended = subprocess.run(command, input=stdin, capture_output=True, timeout=PATIENCE, env=settings, check=False)
    done = Done(command, ended.returncode, ended.stdout.decode(), ended.stderr.decode())
    assert bool(done.code) == fails, done
    return done


def context(machine, files, name="context"):
    """A directory with these files."""
    root = machine.scratch / name
    for path, text in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    return str(root)


def ask(machine, tar, status=200, headers=None, **query):
    """`POST /build`: its lines."""
    words = urllib.parse.urlencode(query, doseq=True)
    headers = {"Content-Type": "application/x-tar", **(headers or {})}
    got, _, body = machine.daemon.ask("POST", f"/v1.51/build?{words}", tar, headers)
    assert got == status, (got, body)
    return [json.loads(line) for line in body.splitlines()]


def text(lines):
    return "".join(line.get("stream", "") for line in lines)


def image(machine, name, template="{{.Id}}"):
    return machine.docker("image", "inspect", "--format", template, name).out.strip()


# The classic door.


@story
def the_classic_builder_tells_each_step_and_the_image(machine):
    tar = tar_of(("Dockerfile", f"FROM {IMAGE}\nARG WHO\nENV A=$WHO\nCOPY f /f\nRUN echo \"$(cat /f) $A\"\n".encode()), ("f", b"hello"))
    lines = ask(machine, tar, t=["one", "two:v1"], buildargs=json.dumps({"WHO": "world", "LOST": "x"}), labels='{"l":"v"}')
    said = text(lines)
    for line in (f"Step 1/6 : FROM {IMAGE}\n", "Step 5/6 : RUN echo", "\nhello world\n", "Step 6/6 : LABEL l=v\n", "[Warning] One or more build-args [LOST] were not consumed\n",
                 "Successfully tagged one:latest\n", "Successfully tagged two:v1\n"):
        assert line in said, said
    made = [line["aux"]["ID"] for line in lines if "aux" in line][-1]
    assert made == image(machine, "one") == image(machine, "two:v1")
    assert image(machine, "one", "{{.Config.Env}} {{.Config.Labels.l}}").endswith("A=world] v")
    again = text(ask(machine, gzip.compress(tar), t="one", buildargs='{"WHO":"world"}', labels='{"l":"v"}'))
    assert again.count(" ---> Using cache\n") == 5, again
    machine.docker("rmi", "one", "two:v1")


@story
def what_fails_says_so_as_dockerd_does(machine):
    def last(dockerfile, **query):
        return ask(machine, tar_of(("Dockerfile", dockerfile.encode())), **query)[-1]
    failed = last(f"FROM {IMAGE}\nRUN exit 3\n")
    assert failed["errorDetail"] == {"code": 3, "message": "The command '/bin/sh -c exit 3' returned a non-zero code: 3"}, failed
    assert "COPY failed: file not found in build context" in last(f"FROM {IMAGE}\nCOPY nothing /\n")["error"]
    assert last(f"FROM {IMAGE}\nRUN --mount=type=cache,target=/c true\n")["error"].startswith("the --mount option requires BuildKit.")
    assert last("FROM scratch\nFOO x\n", status=400)["message"].startswith("dockerfile parse error on line 2: unknown instruction: FOO")
    assert last("", status=400)["message"] == "the Dockerfile (Dockerfile) cannot be empty"
    assert last("FROM scratch\n", status=400, target="no")["message"] == 'target stage "no" could not be found'
    assert ask(machine, tar_of(("f", b"")), status=500)[-1]["message"] == "Cannot locate specified Dockerfile: Dockerfile"


@story
def a_hostile_context_writes_nothing_outside(machine):
    victim = machine.scratch / "victim"
    link = tarfile.TarInfo("out")
    link.type, link.linkname = tarfile.SYMTYPE, str(machine.scratch)
    dockerfile = ("Dockerfile", f"FROM {IMAGE}\nCOPY . /c\n".encode())
    for tar in (tar_of(dockerfile, (f"../../../../../../..{victim}", b"x")), tar_of(dockerfile, link, ("out/victim", b"x"))):
        machine.daemon.ask("POST", "/v1.51/build", tar, {"Content-Type": "application/x-tar"})
        assert not victim.exists()
    stolen = tar_of(("Dockerfile", f"FROM {IMAGE}\nCOPY out/shadow /c\n".encode()), link_to("out", "/etc"))
    assert "error" in ask(machine, stolen)[-1]


def link_to(name, target):
    entry = tarfile.TarInfo(name)
    entry.type, entry.linkname = tarfile.SYMTYPE, target
    return entry


@story
def a_build_whose_client_leaves_is_over(machine):
    tar = tar_of(("Dockerfile", f"FROM {IMAGE}\nRUN sleep 4711\n".encode()))
    sleeps = lambda: any(words[-2:] == ["sleep", "4711"] for _, words in processes())  # noqa: E731
    curl = ["curl", "-sN", "--unix-socket", machine.daemon.socket, "--data-binary", "@-", "http://d/v1.51/build"]
    client = subprocess.Popen(curl, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
    client.stdin.write(tar)
    client.stdin.close()
    until("the step runs", sleeps)
    client.kill()
    client.wait()
    until("the step is gone", lambda: not sleeps())


@story
def version_2_speaks_buildkits_messages(machine):
    lines = ask(machine, tar_of(("Dockerfile", f"FROM {IMAGE}\nRUN --mount=type=cache,target=/c echo x\n".encode())), version=2, t="two")
    assert lines[0]["id"] == "moby.buildkit.trace", lines
    assert lines[-1] == {"id": "moby.image.id", "aux": {"ID": image(machine, "two")}}, lines
    machine.docker("rmi", "two")


# Our own command line.


@story
def minke_build_makes_an_image_with_secrets_and_files_back(machine):
    root = context(machine, {
        "Dockerfile": f"FROM {IMAGE} AS made\nCOPY . /c\nRUN --mount=type=secret,id=s cp /run/secrets/s /out && ls /c >>/out\nFROM scratch\nCOPY --from=made /out /\n",
        ".dockerignore": "hidden\n", "hidden": "", "seen": "", "secret": "shh\n",
    })
    build(machine, "-q", "--secret", f"id=s,src={root}/secret", "-o", f"{machine.scratch}/out", root)
    assert (machine.scratch / "out/out").read_text() == "shh\nDockerfile\nsecret\nseen\n"
    done = build(machine, "--progress", "plain", "--secret", "id=s,env=SHH", "-t", "made", "--iidfile", f"{machine.scratch}/id", root, environment={"SHH": "env"})
    assert "#1 [internal] load build definition from Dockerfile\n" in done.err and "shh" not in done.err, done
    assert (machine.scratch / "id").read_text() == image(machine, "made")
    wrong = build(machine, "-", stdin=f"FROM {IMAGE}\nRUN echo oh; false\n".encode(), fails=True)
    assert "\n 0." not in wrong.err and " > [2/2] RUN echo oh; false:\noh\n" in wrong.err, wrong
    assert "Dockerfile:2\n--------------------\n" in wrong.err and "   2 | >>> RUN echo oh; false\n" in wrong.err, wrong
    assert "failed to solve: process \"/bin/sh -c echo oh; false\" did not complete successfully: exit code: 1" in wrong.err, wrong
    machine.docker("rmi", "made")


@story
def a_tar_on_stdin_and_a_dockerfile_on_stdin_are_contexts(machine):
    tar = tar_of(("D", f"FROM {IMAGE}\nCOPY f /f\n".encode()), ("f", b"x"))
    first = build(machine, "-q", "-f", "D", "-", stdin=tar).out
    root = context(machine, {"f": "x"})
    assert build(machine, "-q", "-f", "-", root, stdin=f"FROM {IMAGE}\nCOPY f /f\n".encode()).out.startswith("sha256:")
    machine.docker("rmi", first.strip(), fails=None)


@story
def an_interrupted_build_stops_at_once(machine):
    sleeps = lambda: any(words[-2:] == ["sleep", "4712"] for _, words in processes())  # noqa: E731
    root = context(machine, {"Dockerfile": f"FROM {IMAGE}\nRUN sleep 4712\n"})
    client = subprocess.Popen([machine.minke, "-H", f"unix://{machine.daemon.socket}", "build", root], stderr=subprocess.DEVNULL)
    until("the step runs", sleeps)
    client.send_signal(signal.SIGINT)
    assert client.wait(PATIENCE) == 130
    until("the step is gone", lambda: not sleeps())


@story
def source_without_a_dockerfile_is_told_how_it_would_be_built(machine):
    root = context(machine, {"app.py": "import http.server\n", ".python-version": "3.12\n", "Procfile": "web: python app.py\n"})
    shown = build(machine, "--print", root).out
    for line in ("ARG PYTHON_VERSION=3.12", "USER app", 'LABEL dev.minke.process.web="python app.py"', 'CMD ["sh", "-c", "exec python app.py"]'):
        assert f"\n{line}\n" in shown, shown
    assert "HEALTHCHECK" in shown
    nothing = build(machine, context(machine, {"README": ""}, "nothing"), fails=True)
    assert "cannot tell how to build this source" in nothing.err and "go.mod (Go)" in nothing.err, nothing


@story
def checks_are_told_without_a_daemon(machine):
    root = context(machine, {"Dockerfile": f"FROM {IMAGE}\nENV a b\n"})
    found = build(machine, "--check", root, fails=True).out
    assert "WARNING: LegacyKeyValueFormat" in found and "   2 | >>> ENV a b\n" in found, found
    (machine.scratch / "context/Dockerfile").write_text(f"FROM {IMAGE}\nENV a=b\n")
    assert build(machine, "--check", root).out == "Check complete, no warnings found.\n"


@story
def the_cache_of_builds_can_be_taken_away(machine):
    began = time.time()
    build(machine, "-q", "-", stdin=f"FROM {IMAGE}\nRUN echo {began} >/x\n".encode())
    status, _, body = machine.daemon.ask("POST", "/v1.51/build/prune?all=1")
    assert status == 200 and json.loads(body)["CachesDeleted"], body
    machine.docker("image", "prune", "-f")


@story
def a_step_finds_the_same_machine_each_time(machine):
    dockerfile = (f"FROM {IMAGE}\nRUN --network=none cat /sys/class/net/lo/flags >/lo && echo mine >/etc/hostname\n"
                  "RUN cat /etc/hosts >/hosts && hostname >/name\n")
    build(machine, "-t", "same", "--add-host", "other:10.1.2.3", "-", stdin=dockerfile.encode())
    shown = machine.docker("run", "--rm", "--network", "none", "same", "cat", "/lo", "/hosts", "/name").out
    assert shown == ("0x9\n127.0.0.1\tlocalhost buildkitsandbox\n::1\tlocalhost ip6-localhost ip6-loopback\n"
                     "10.1.2.3\tother\nbuildkitsandbox\n"), shown
    status, _, layers = machine.daemon.ask("GET", "/v1.51/images/same/get")
    assert status == 200 and b"mine\n" in layers, "what a step writes to /etc/hostname is the image's"
    machine.docker("rmi", "same")


@story
def an_output_of_many_files_needs_few_descriptors(machine):
    root = context(machine, {"Dockerfile": "FROM scratch\nCOPY f* /\n", **{f"f{n}": str(n) for n in range(1500)}}, "many")
    out = machine.scratch / "out-many"
    command = ["prlimit", "--nofile=1024:1024", machine.minke, "-H", f"unix://{machine.daemon.socket}", "build", "-q", "-o", str(out), root]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 0, done
    assert len(os.listdir(out)) == 1500 and (out / "f1499").read_text() == "1499"
