"""Projects of several containers: `minke compose`, and the official docker compose, where there is one, in turns with it."""

import json
import os
import pathlib
import signal
import subprocess
import time

from house import IMAGE, PATIENCE, Done, story, until

PLUGINS = [os.path.expanduser("~/.docker/cli-plugins"), "/usr/local/lib/docker/cli-plugins", "/usr/local/libexec/docker/cli-plugins",
           "/usr/lib/docker/cli-plugins", "/usr/libexec/docker/cli-plugins", str(pathlib.Path(__file__).parents[3] / "target/tools/cli-plugins")]
OFFICIAL = next((f"{directory}/docker-compose" for directory in PLUGINS if os.path.exists(f"{directory}/docker-compose")), None)

SHOP = f"""
name: shop
services:
  web:
    image: {IMAGE}
    command: sh -c 'echo hello from web; echo oops >&2; sleep 1000'
    stop_signal: SIGKILL
    depends_on: {{db: {{condition: service_healthy, restart: true}}}}
    configs: [settings]
    environment: {{COLOUR: red}}
  db:
    image: {IMAGE}
    command: sleep 1000
    stop_signal: SIGKILL
    healthcheck: {{test: 'true', interval: 1s, start_period: 5s, start_interval: 100ms}}
    volumes: ['data:/data']
volumes: {{data: {{}}}}
configs: {{settings: {{content: one}}}}
"""


def begin(machine, *words, tool="minke", environment=None):
    """A compose command, left running."""
    program = [machine.minke, "compose"] if tool == "minke" else [OFFICIAL]
    host = f"unix://{machine.daemon.socket}"
    settings = {**os.environ, "MINKE_HOST": host, "DOCKER_HOST": host, **(environment or {})}
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([*program, *map(str, words)], cwd=machine.scratch, env=settings, **pipes)


def compose(machine, *words, fails=False, **how):
    """A compose command to its end."""
    running = begin(machine, *words, **how)
    out, err = running.communicate(timeout=PATIENCE)
    done = Done(running.args, running.returncode, out, err)
    if fails is not None and (done.code != 0) != fails:
        raise AssertionError(f"{'did not fail' if fails else 'failed'}:\n{done}")
    return done


def write(machine, text):
    (machine.scratch / "compose.yaml").write_text(text)


def ids(machine):
    """The project's containers: name to id."""
    rows = machine.docker("ps", "-a", "--no-trunc", "--filter", "label=com.docker.compose.project=shop", "--format", "{{.Names}} {{.ID}}")
    return dict(row.split() for row in rows.out.splitlines())


def plan(machine):
    """What `up` would change."""
    steps = compose(machine, "up", "--dry-run").out.splitlines()
    return [step for step in steps if not step.startswith(("keep ", "wait ", "nothing "))]


@story
def up_makes_a_project_and_touches_only_what_differs(machine):
    write(machine, SHOP)
    told = compose(machine, "up", "-d").err
    assert told.index("shop-db-1  Healthy") < told.index("shop-web-1  Started"), told
    before = ids(machine)
    assert compose(machine, "exec", "-T", "web", "cat", "/settings").out == "one"
    compose(machine, "up", "-d")
    assert ids(machine) == before and plan(machine) == []

    write(machine, SHOP.replace("red", "blue"))
    assert plan(machine)[0] == "replace container shop-web-1, because its configuration changed"
    compose(machine, "up", "-d")
    after = ids(machine)
    assert after["shop-db-1"] == before["shop-db-1"] and after["shop-web-1"] != before["shop-web-1"]
    assert "COLOUR=blue" in machine.see("shop-web-1", "{{.Config.Env}}")

    write(machine, SHOP.replace("red", "blue").replace("content: one", "content: two"))
    assert plan(machine)[0] == "replace container shop-web-1, because the content of config settings changed"
    compose(machine, "up", "-d")
    assert compose(machine, "exec", "-T", "web", "cat", "/settings").out == "two"

    compose(machine, "down", "-v")
    assert ids(machine) == {}
    assert "shop" not in machine.docker("network", "ls").out + machine.docker("volume", "ls").out


@story
def what_restarts_with_another_stops_before_it_and_starts_after_it(machine):
    write(machine, SHOP)
    compose(machine, "up", "-d")
    started = machine.see("shop-web-1", "{{.State.StartedAt}}")
    write(machine, SHOP.replace("volumes: ['data:/data']", "environment: {A: b}"))
    told = compose(machine, "up", "-d").err
    order = [told.index(line) for line in ("shop-web-1  Stopped", "shop-db-1  Recreated", "shop-db-1  Healthy", "shop-web-1  Started")]
    assert order == sorted(order), told
    assert machine.see("shop-web-1", "{{.State.StartedAt}}") != started
    told = compose(machine, "restart", "-t", "0", "db").err
    assert told.index("shop-db-1  Started") < told.index("shop-web-1  Restarting"), told


@story
def output_has_names_in_front_and_exit_codes_come_through(machine):
    write(machine, SHOP)
    compose(machine, "up", "-d")
    until("both lines", lambda: sorted(compose(machine, "logs", "web").out.splitlines()) == ["web-1  | hello from web", "web-1  | oops"])
    assert compose(machine, "exec", "-T", "web", "sh", "-c", "exit 7", fails=True).code == 7
    ran = compose(machine, "run", "--rm", "-T", "-e", "A=5", "web", "sh", "-c", "echo $A $COLOUR; exit 3", fails=True)
    assert (ran.out, ran.code) == ("5 red\n", 3), ran
    write(machine, f"name: shop\nservices:\n  a: {{image: {IMAGE}, command: sh -c 'exit 4'}}\n  b: {{image: {IMAGE}, command: sleep 1000, stop_signal: SIGKILL}}\n")
    ended = compose(machine, "up", "--remove-orphans", "--abort-on-container-exit", fails=True)
    assert ended.code == 4 and "a-1 exited with code 4" in ended.out and "b-1 exited with code 137" in ended.out, ended


@story
def an_attached_up_stops_what_it_started_when_it_is_interrupted(machine):
    write(machine, SHOP)
    running = begin(machine, "up")
    line = running.stdout.readline()
    assert line == "Attaching to db-1, web-1\n", line
    assert running.stdout.readline() == "web-1  | hello from web\n"
    running.send_signal(signal.SIGINT)
    out, err = running.communicate(timeout=PATIENCE)
    assert running.returncode == 130 and "Gracefully Stopping..." in out, (running.returncode, out, err)
    assert machine.docker("ps", "-q").out == ""


@story
def scale_goes_up_and_down_from_the_end(machine):
    write(machine, SHOP)
    compose(machine, "up", "-d", "--scale", "web=3")
    before = ids(machine)
    assert sorted(before) == ["shop-db-1", "shop-web-1", "shop-web-2", "shop-web-3"]
    compose(machine, "scale", "web=1")
    assert ids(machine) == {name: before[name] for name in ("shop-db-1", "shop-web-1")}


@story
def an_unhealthy_dependency_fails_up_in_composes_words(machine):
    write(machine, SHOP.replace("test: 'true'", "test: 'false', retries: 1").replace("start_period: 5s, start_interval: 100ms", "timeout: 1s"))
    failed = compose(machine, "up", "-d", fails=True)
    assert "dependency failed to start: container shop-db-1 is unhealthy" in failed.err, failed
    assert machine.see("shop-web-1", "{{.State.Status}}") == "created"


@story
def a_killed_up_is_finished_by_the_next(machine):
    for moment in (0.01, 0.03, 0.06, 0.1, 0.15):
        write(machine, SHOP)
        running = begin(machine, "up", "-d")
        time.sleep(moment)
        running.kill()
        running.communicate()
        write(machine, SHOP.replace("red", "green"))
        running = begin(machine, "up", "-d", "-t", "0")
        time.sleep(moment)
        running.kill()
        running.communicate()
        compose(machine, "up", "-d", "-t", "0")
        assert sorted(ids(machine)) == ["shop-db-1", "shop-web-1"], ids(machine)
        assert plan(machine) == [], plan(machine)
        compose(machine, "down", "-v", "-t", "0")


@story
def up_goes_through_after_its_daemon_was_killed_under_it(machine):
    for moment in (0.02, 0.08):
        write(machine, SHOP)
        running = begin(machine, "up", "-d")
        time.sleep(moment)
        machine.daemon.again()
        running.communicate(timeout=PATIENCE)
        compose(machine, "up", "-d")
        assert sorted(ids(machine)) == ["shop-db-1", "shop-web-1"] and plan(machine) == []
        compose(machine, "down", "-v", "-t", "0")


@story
def gpus_without_devices_are_refused_clearly(machine):
    write(machine, f"name: shop\nservices:\n  a: {{image: {IMAGE}, command: 'true', gpus: all}}\n")
    failed = compose(machine, "up", "-d", fails=True)
    assert 'could not select device driver "" with capabilities: [[gpu]]' in failed.err, failed


@story
def a_key_that_is_not_honoured_is_named_with_its_line(machine):
    write(machine, f"name: shop\nservices:\n  a:\n    image: {IMAGE}\n    command: 'true'\n    deploy:\n      placement: {{constraints: [node.role == manager]}}\n")
    told = compose(machine, "up", "-d").err
    assert "compose.yaml:7" in told and "placement" in told, told


@story
def the_official_compose_and_ours_take_turns_on_one_project(machine):
    if not OFFICIAL:
        return
    write(machine, SHOP)
    compose(machine, "up", "-d", tool="docker")
    before = ids(machine)
    assert plan(machine) == []
    compose(machine, "up", "-d")
    assert ids(machine) == before
    for words in (("stop", "-t", "0", "web"), ("start",), ("restart", "-t", "0", "db")):
        for tool in ("docker", "minke"):
            compose(machine, *words, tool=tool)
    # What is paused already cannot be: each undoes what the other did.
    for tool, other in (("docker", "minke"), ("minke", "docker")):
        compose(machine, "pause", tool=tool)
        compose(machine, "unpause", tool=other)
    assert ids(machine) == before
    write(machine, SHOP.replace("red", "blue"))
    compose(machine, "up", "-d", "-t", "0")
    after = ids(machine)
    assert after["shop-web-1"] != before["shop-web-1"]
    compose(machine, "up", "-d", tool="docker")
    assert ids(machine) == after
    hashes = [compose(machine, "config", "--hash", "*", tool=tool).out for tool in ("docker", "minke")]
    assert hashes[0] == hashes[1], hashes
    lists = [json.loads(compose(machine, "ls", "--format", "json", tool=tool).out) for tool in ("docker", "minke")]
    assert lists[0] == lists[1], lists
    compose(machine, "down", "-v", "-t", "0", tool="docker")
    assert ids(machine) == {}


@story
def the_official_compose_reads_the_guestbook_as_we_do(machine):
    file = pathlib.Path(__file__).parents[3] / "examples/guestbook/compose.yaml"
    ours = compose(machine, "-f", file, "config").out
    assert "guestbook_data" in ours
    if OFFICIAL:
        assert compose(machine, "-f", file, "config", tool="docker").out == ours
