"""A container runs, says something, and ends."""

from house import IMAGE, PATIENCE, story, until


@story
def what_it_prints_comes_out_and_its_code_is_ours(machine):
    done = machine.run("--rm", "--", "echo out; echo err >&2; exit 7", fails=True)
    assert (done.code, done.out, done.err) == (7, "out\n", "err\n"), done


@story
def a_program_that_cannot_run_has_docker_s_codes(machine):
    absent = machine.run("--rm", "--", "no-such-program", "x", fails=True)
    assert absent.code == 127 and "executable file not found in $PATH" in absent.err, absent
    refused = machine.run("--rm", "--", "/etc/passwd", "x", fails=True)
    assert refused.code == 126 and "permission denied" in refused.err, refused
    wrong = machine.docker("run", "--rm", "--network", "nowhere", IMAGE, "true", fails=True)
    assert wrong.code == 125 and "network nowhere not found" in wrong.err, wrong
    missing = machine.docker("create", "--pull", "never", "no-such-image", "true", fails=True)
    assert "No such image: no-such-image:latest" in missing.err, missing


@story
def flags_reach_the_process(machine):
    seen = machine.run("--rm", "-e", "COLOUR=blue", "-w", "/var", "-u", "www", "-h", "box", "--label", "a=b", "--",
                       'echo "$COLOUR $(pwd) $(id -u):$(id -g) $(id -G) $(hostname) $HOME"').out
    assert seen == "blue /var 33:33 33 77 box /var\n", seen
    seen = machine.docker("run", "--rm", "--entrypoint", "/bin/echo", IMAGE, "from", "entrypoint").out
    assert seen == "from entrypoint\n", seen


@story
def a_name_is_taken_once(machine):
    machine.run("-d", "--name", "one", "--", "sleep 1000")
    again = machine.run("-d", "--name", "one", "--", "true", fails=True)
    assert again.code == 125 and 'The container name "/one" is already in use by container' in again.err, again
    machine.docker("rename", "one", "two")
    assert machine.docker("ps", "--format", "{{.Names}}").out == "two\n"
    machine.run("--rm", "--name", "one", "--", "true")


@story
def its_events_come_in_order(machine):
    since = machine.docker("info", "--format", "{{.SystemTime}}").out.strip()
    machine.run("--rm", "--name", "short", "--", "true")
    until = machine.docker("info", "--format", "{{.SystemTime}}").out.strip()
    told = machine.docker("events", "--since", since, "--until", until, "--filter", "container=short", "--format", "{{.Action}}").out.split()
    assert told == ["create", "attach", "start", "die", "destroy"], told


@story
def wait_gives_the_code_to_all_who_ask(machine):
    machine.docker("run", "-d", "-i", "--name", "one", IMAGE, "sh", "-c", "trap 'exit 9' TERM; echo set; while :; do sleep 0.05; done")
    waiters = [machine.begin("wait", "one") for _ in range(3)]
    until("the trap to be set", lambda: machine.docker("logs", "one").out == "set\n")
    machine.docker("stop", "-t", "300", "one")
    assert [w.communicate(timeout=PATIENCE)[0] for w in waiters] == [b"9\n"] * 3
    assert machine.docker("wait", "one").out == "9\n"


@story
def what_will_not_stop_is_killed(machine):
    machine.run("-d", "--name", "deaf", "--", "trap '' TERM; while :; do sleep 1; done")
    machine.docker("stop", "-t", "1", "deaf")
    assert machine.see("deaf", "{{.State.ExitCode}} {{.State.Status}}") == "137 exited"
    machine.docker("start", "deaf")
    machine.docker("kill", "-s", "KILL", "deaf")
    machine.docker("wait", "deaf")
    refused = machine.docker("kill", "deaf", fails=True)
    assert "is not running" in refused.err, refused
