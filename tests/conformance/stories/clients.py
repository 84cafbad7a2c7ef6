"""What libraries lean on (docker-py, testcontainers): each story is a test of theirs that failed once."""

import json
import os
import pathlib
import shutil
import subprocess

from house import story


def told(machine, method, path, body=None, status=200):
    """The API's JSON."""
    got, _, text = machine.daemon.ask(method, path, body)
    assert got == status, (method, path, got, text)
    return json.loads(text) if text else None


def merged(said):
    """Frames, those of one stream after each other as one: how many there are is the reader's speed."""
    streams = []
    while said:
        stream, size, said = said[0], int.from_bytes(said[4:8], "big"), said[8:]
        text, said = said[:size], said[size:]
        if streams and streams[-1][0] == stream:
            text = streams.pop()[1] + text
        streams.append((stream, text))
    return b"".join(frame(*one) for one in streams)


def frame(stream, text):
    return bytes([stream, 0, 0, 0]) + len(text).to_bytes(4, "big") + text


@story
def an_exec_speaks_as_its_starter_asks(machine):
    machine.run("-d", "--name", "one", "--", "sleep 1000")
    for own, asked, wanted in ((False, False, frame(1, b"out\n") + frame(2, b"err\n")), (False, True, b"out\n"),
                               (True, False, frame(1, b"out\r\nerr\r\n")), (True, True, b"out\r\nerr\r\n")):
        body = {"Cmd": ["sh", "-c", "echo out; sleep 0.1; echo err >&2"], "Tty": own, "AttachStdout": True, "AttachStderr": True}
        exec_id = told(machine, "POST", "/containers/one/exec", body, 201)["Id"]
        status, _, said = machine.daemon.ask("POST", f"/exec/{exec_id}/start", {"Tty": asked})
        assert (status, said if asked else merged(said)) == (200, wanted), (own, asked, said)
        sentence = f"exec command {exec_id} has already run"
        assert told(machine, "POST", f"/exec/{exec_id}/start", {"Detach": True}, 409)["message"] == sentence
        _, _, said = machine.daemon.ask("POST", f"/exec/{exec_id}/start", {"Tty": True})
        assert said.decode() == sentence + "\r\n", said


@story
def members_of_a_body_may_have_any_case(machine):
    body = {"image": "busybox", "CMD": ["true"], "labels": {"Team": "a", "team": "b"}, "hostConfig": {"memory": 64 << 20}}
    made = told(machine, "POST", "/containers/create?name=one", body, 201)["Id"]
    seen = told(machine, "GET", f"/containers/{made}/json")
    assert seen["Config"]["Labels"] == {"Team": "a", "team": "b"} and seen["HostConfig"]["Memory"] == 64 << 20, seen


@story
def who_kills_may_remove_at_once(machine):
    for _ in range(5):
        machine.run("-d", "--name", "one", "--restart", "always", "--", "sleep 1000")
        machine.docker("kill", "one")
        assert machine.see("one", "{{.State.Status}} {{.State.ExitCode}}") == "exited 137"
        machine.docker("rm", "one")


@story
def a_wait_ends_with_the_exit_though_it_starts_again(machine):
    machine.run("-d", "--name", "one", "--restart", "always", "--", "sleep 0.5; exit 3")
    assert machine.docker("wait", "one").out == "3\n"


@story
def a_network_may_have_any_name(machine):
    for name in ("my net", "a/b", "-x", "ä"):
        made = told(machine, "POST", "/networks/create", {"Name": name}, 201)["Id"]
        assert told(machine, "GET", f"/networks/{made}")["Name"] == name
        machine.docker("network", "rm", made)
    assert told(machine, "POST", "/networks/create", {"Name": " "}, 400)["message"] == "invalid name: name is empty"
    two = {"Name": "net", "IPAM": {"Config": [{"Subnet": "10.97.8.0/24"}, {"Subnet": "10.97.9.0/24"}]}}
    assert told(machine, "POST", "/networks/create", two, 403)["message"] == "bridge driver doesn't support multiple subnets"


@story
def what_is_not_in_a_network_cannot_be_taken_out(machine):
    machine.docker("network", "create", "net")
    machine.run("-d", "--name", "one", "--", "sleep 1000")
    machine.docker("create", "--name", "two", "busybox", "true")
    up, down = (machine.see(name, "{{.Id}}") for name in ("one", "two"))
    for words, message in ((("one",), f"container {up} is not connected to network net"),
                           (("-f", "one"), f"container {up} is not connected to network net"),
                           (("two",), f"container {down} is not connected to the network net"),
                           (("-f", "none"), "endpoint none not found"), (("none",), "No such container: none")):
        flags, name = words[:-1], words[-1]
        failed = machine.docker("network", "disconnect", *flags, "net", name, fails=True)
        assert failed.err.strip() == f"Error response from daemon: {message}", failed


@story
def a_network_is_prepared_before_the_start(machine):
    machine.docker("network", "create", "net")
    machine.docker("create", "--name", "one", "busybox", "true")
    wish = {"Container": "one", "EndpointConfig": {"MacAddress": "02:42:ac:11:00:02", "Aliases": ["al"]}}
    told(machine, "POST", "/networks/net/connect", wish)
    seen = told(machine, "GET", "/containers/one/json")
    endpoint = seen["NetworkSettings"]["Networks"]["net"]
    assert endpoint["MacAddress"] == "02:42:ac:11:00:02", endpoint
    assert endpoint["DNSNames"] == ["one", "al", seen["Id"][:12]], endpoint
    refused = machine.docker("network", "connect", "--ip", "10.97.0.9", "net", "one", fails=None)
    assert refused.code != 0 and "invalid endpoint settings:\nuser specified IP address is supported only" in refused.err, refused


@story
def files_go_into_volumes_before_the_first_start(machine):
    machine.docker("create", "--name", "one", "-v", "/not/yet/there", "busybox", "cat", "/not/yet/there/file")
    (machine.scratch / "file").write_text("kept\n")
    machine.docker("cp", machine.scratch / "file", "one:/not/yet/there/")
    assert machine.docker("start", "-a", "one").out == "kept\n"


@story
def a_running_one_is_refused_in_its_asker_s_words(machine):
    machine.run("-d", "--name", "one", "--", "sleep 1000")
    short = machine.see("one", "{{.Id}}")[:12]
    refused = machine.docker("rm", short, fails=True)
    advice = "container is running: stop the container before removing or force remove"
    assert refused.err.strip() == f'Error response from daemon: cannot remove container "{short}": {advice}', refused


@story
def refusals_are_docker_s_words(machine):
    machine.run("-d", "--name", "one", "--", "sleep 1000")
    machine.docker("create", "--name", "two", "busybox", "true")
    taken = f'Error when allocating new name: Conflict. The container name "/one" is already in use by container "{machine.see("one", "{{.Id}}")}". You have to remove (or rename) that container to be able to reuse that name.'
    for method, path, body, status, message in (
        ("POST", "/containers/two/rename?name=one", None, 409, taken),
        ("POST", "/containers/two/rename?name=a/b", None, 400, "Error when allocating new name: Invalid container name (/a/b), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed"),
        ("POST", "/containers/one/stop?signal=FOO", None, 500, "cannot stop container: one: invalid signal: FOO"),
        ("DELETE", "/containers/one?link=1", None, 500, "Conflict, cannot remove the default link name of the container"),
        ("POST", "/containers/one/exec", {"Cmd": ["true"], "DetachKeys": "bad-"}, 500, "Invalid escape keys (bad-) provided"),
        ("GET", "/containers/json?filters=%7B%22exited%22%3A%5B%22x%22%5D%7D", None, 400, "invalid filter 'exited=x': strconv.Atoi: parsing \"x\": invalid syntax"),
        ("GET", "/containers/json?filters=%7B%22publish%22%3A%5B%22x%22%5D%7D", None, 500, "error while looking up for publish x: strconv.ParseUint: parsing \"x\": invalid syntax"),
        ("GET", "/volumes?filters=%5B%5D", None, 400, "error reading volume filters: invalid filter"),
        ("POST", "/volumes/create", {"Name": "x"}, 400, "create x: volume name is too short, names should be at least two alphanumeric characters"),
        ("POST", "/volumes/create", {"Name": "v1", "Driver": "none"}, 404, 'create v1: error looking up volume plugin none: plugin "none" not found'),
        ("GET", "/images/Bad%20Name/json", None, 400, "invalid reference format: repository name (library/Bad Name) must be lowercase"),
        ("GET", "/images/nope/get", None, 404, "No such image: nope"),
        ("GET", "/containers/none/logs?stdout=1&since=x", None, 404, "No such container: none"),
    ):
        assert told(machine, method, path, body, status)["message"] == message, path
    status, _, _ = machine.daemon.ask("POST", "/containers/two/stop?signal=FOO")
    assert status == 304, status


@story
def the_code_is_known_when_the_stream_ends(machine):
    gates = machine.scratch / "gates"
    gates.mkdir()
    os.mkfifo(gates / "gate")
    for _ in range(5):
        machine.run("-d", "--name", "one", "-v", f"{gates}:/gates", "--", "read x < /gates/gate; echo bye; exit 3")
        connection = machine.daemon.connect()
        connection.request("POST", "/containers/one/attach?stream=1&stdout=1")
        # Its head comes when the client is attached.
        answer = connection.getresponse()
        (gates / "gate").write_text("go\n")
        status, said = answer.status, answer.read()
        connection.close()
        assert (status, said) == (200, frame(1, b"bye\n")), (status, said)
        assert machine.see("one", "{{.State.Status}} {{.State.ExitCode}}") == "exited 3"
        machine.docker("rm", "one")


def ours(machine, *words, **how):
    """Our own command line, to its end."""
    how = {"capture_output": True, "timeout": 60, "check": False, **how}
    return subprocess.run([machine.minke, *map(str, words)], **how)


@story
def our_command_line_passes_all_bytes_on(machine):
    sent = bytes(range(256)) * 4096 + b"\x10\x11 are keys at a terminal only"
    done = ours(machine, "-H", f"unix://{machine.daemon.socket}", "run", "--rm", "-i", "busybox", "cat", input=sent)
    assert (done.returncode, done.stdout == sent) == (0, True), (done.returncode, len(done.stdout), done.stderr)


@story
def our_command_line_speaks_tls_to_whom_it_knows(machine):
    made = pathlib.Path(__file__).parents[3] / "crates/api/src/tls"
    files = machine.scratch / "certificates"
    files.mkdir()
    for name, source in (("ca.pem", "ca.pem"), ("cert.pem", "client.pem"), ("key.pem", "client.key")):
        shutil.copy(made / source, files / name)
    other = machine.second_daemon("--host", "tcp://127.0.0.1:2376", "--tlsverify", "--tlscacert", made / "ca.pem",
                                  "--tlscert", made / "server.pem", "--tlskey", made / "server.key")
    own = {"PATH": os.environ["PATH"], "HOME": str(machine.scratch), "DOCKER_CERT_PATH": str(files)}
    version = lambda *words, **more: ours(machine, *words, "version", "--format", "{{.Server.APIVersion}}", env={**own, **more})  # noqa: E731
    assert version("--tlsverify", "-H", "tcp://localhost:2376").stdout == b"1.51\n"
    assert version("-H", "tcp://localhost", DOCKER_TLS_VERIFY="1").stdout == b"1.51\n"
    made_context = ours(machine, "context", "create", "far", "--docker",
                        f"host=tcp://localhost:2376,ca={files}/ca.pem,cert={files}/cert.pem,key={files}/key.pem", env=own)
    assert made_context.returncode == 0, made_context
    assert version("--context", "far").stdout == b"1.51\n"
    (files / "cert.pem").unlink()
    assert b"CertificateRequired" in ours(machine, "--tlsverify", "-H", "tcp://localhost:2376", "ps", env=own).stderr
    (files / "ca.pem").unlink()
    assert b"unable to resolve docker endpoint: open" in version("--tlsverify=false").stderr
    other.end()
