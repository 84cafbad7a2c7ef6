"""The API itself: versions, errors, filters."""

import json
import socket
import time

from house import PATIENCE, story


@story
def versions_are_negotiated(machine):
    status, headers, body = machine.daemon.ask("GET", "/_ping")
    assert (status, body, headers["Api-Version"]) == (200, b"OK", "1.51"), headers
    for version in ("1.24", "1.40", "1.51"):
        status, _, body = machine.daemon.ask("GET", f"/v{version}/containers/json")
        assert (status, json.loads(body)) == (200, []), version
    status, _, body = machine.daemon.ask("GET", "/v1.99/containers/json")
    assert status == 400 and "client version 1.99 is too new. Maximum supported API version is 1.51" in body.decode(), body
    status, _, body = machine.daemon.ask("GET", "/v1.10/info")
    assert status == 400 and "too old" in body.decode(), body


@story
def what_does_not_exist_is_404_in_docker_s_words(machine):
    for path, message in (("/containers/none/json", "No such container: none"), ("/images/none/json", "No such image: none:latest"),
                          ("/networks/nowhere", "network nowhere not found"), ("/volumes/none", "get none: no such volume"),
                          ("/exec/none/json", "No such exec instance: none"), ("/nowhere", "page not found")):
        status, _, body = machine.daemon.ask("GET", path)
        assert (status, json.loads(body).get("message")) == (404, message), (path, body)


@story
def what_is_asked_too_little_or_of_nobody_says_so(machine):
    for method, path in (("POST", "/build"), ("GET", "/images/search"), ("GET", "/plugins/none/json")):
        status, _, body = machine.daemon.ask(method, path)
        assert status >= 400 and json.loads(body)["message"], (path, status, body)
    status, _, body = machine.daemon.ask("GET", "/services")
    assert status == 503 and "not a swarm manager" in json.loads(body)["message"], body


@story
def nonsense_is_refused_and_harms_nobody(machine):
    for body in (b"{", b'{"Image": 5}', b"[]", b'{"Image": "busybox", "HostConfig": {"NetworkMode": 7}}'):
        status, _, told = machine.daemon.ask("POST", "/containers/create", body, {"Content-Type": "application/json"})
        assert status == 400 and json.loads(told)["message"], (body, status, told)
    status, _, told = machine.daemon.ask("GET", "/containers/json?filters=%7B%22colour%22%3A%5B%22blue%22%5D%7D")
    assert status == 400 and "invalid filter 'colour'" in told.decode(), told
    assert machine.daemon.ask("GET", "/_ping")[0] == 200


@story
def lists_are_filtered(machine):
    machine.run("-d", "--name", "first", "--label", "team=blue", "--", "sleep 1000")
    machine.run("--name", "second", "--label", "team=red", "--", "exit 3", fails=None)
    listed = lambda *filters: machine.docker("ps", "-a", "--format", "{{.Names}}", *[w for f in filters for w in ("--filter", f)]).out.split()  # noqa: E731
    assert listed("label=team=blue") == ["first"] and listed("label=team") == ["second", "first"]
    assert listed("status=exited") == ["second"] and listed("exited=3") == ["second"] and listed("exited=4") == []
    assert listed("ancestor=busybox", "name=fir") == ["first"] and listed("since=first") == ["second"] and listed("before=second") == ["first"]


@story
def the_machine_tells_of_itself(machine):
    info = json.loads(machine.daemon.ask("GET", "/info")[2])
    assert info["Driver"] == "overlay2" and info["CgroupDriver"] == "cgroupfs" and info["Images"] >= 1, info
    version = json.loads(machine.daemon.ask("GET", "/version")[2])
    assert version["ApiVersion"] == "1.51" and version["MinAPIVersion"] == "1.24", version
    assert "minke" in [c["Name"] for c in version["Components"]], version
    assert "Images" in machine.docker("system", "df").out


@story
def a_body_that_nobody_wants_ends_no_connection(machine):
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(PATIENCE)
        client.connect(machine.daemon.socket)
        client.sendall(b"POST /images/none/push?tag=x HTTP/1.1\r\nHost: d\r\nContent-Length: 3\r\n\r\n")
        time.sleep(0.05)  # the body is late, as some clients' are
        client.sendall(b"{}\nGET /_ping HTTP/1.1\r\nHost: d\r\nConnection: close\r\n\r\n")
        told = b"".join(iter(lambda: client.recv(65536), b""))
    assert b"does not exist locally" in told and told.endswith(b"OK"), told
