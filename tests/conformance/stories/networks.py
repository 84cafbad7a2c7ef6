"""Who reaches whom, and by which name."""

import pathlib
import socket
import subprocess

from house import HOST, IMAGE, busybox_root, fetch, story, until

SERVE = "mkdir /www; echo hello from $HOSTNAME > /www/index.html; exec httpd -f -p 80 -h /www"


def said(machine, name, url, **how):
    """What a server says to a container, once it serves."""
    ask = lambda: machine.docker("exec", name, "timeout", "5", "wget", "-q", "-O", "-", url, fails=None, **how).out  # noqa: E731
    return until(f"{url} to answer", ask)


def port_of(machine, name, port="80/tcp"):
    return int(machine.docker("port", name, port).out.splitlines()[0].rsplit(":", 1)[1])


@story
def names_are_known_on_a_network_of_their_own(machine):
    machine.docker("network", "create", "blue")
    machine.docker("network", "create", "red")
    machine.run("-d", "--name", "web", "--network", "blue", "--network-alias", "shop", "-h", "webhost", "--", SERVE)
    said(machine, "web", "http://127.0.0.1/")
    for name in ("web", "shop", "web.blue"):
        seen = machine.run("--rm", "--network", "blue", "--", f"wget -q -O - http://{name}/").out
        assert seen == "hello from webhost\n", (name, seen)
    machine.run("--rm", "--network", "red", "--", "timeout 2 wget -q -O - http://web/; exit $?", fails=True)
    machine.run("-d", "--name", "late", "--network", "red", "--", "sleep 1000")
    machine.docker("network", "connect", "blue", "late")
    assert machine.docker("exec", "late", "wget", "-q", "-O", "-", "http://web/").out == "hello from webhost\n"
    machine.docker("network", "disconnect", "blue", "late")
    machine.docker("exec", "late", "timeout", "2", "wget", "-q", "-O", "-", "http://web/", fails=True)


@story
def networks_apart_do_not_reach_each_other(machine):
    machine.docker("network", "create", "blue")
    machine.docker("network", "create", "red")
    machine.run("-d", "--name", "web", "--network", "blue", "--", SERVE)
    address = machine.see("web", "{{.NetworkSettings.Networks.blue.IPAddress}}")
    said(machine, "web", "http://127.0.0.1/")
    machine.run("--rm", "--network", "blue", "--", f"wget -q -O - http://{address}/; exit $?")
    machine.run("--rm", "--network", "red", "--", f"timeout 2 wget -q -O - http://{address}/; exit $?", fails=True)
    machine.docker("network", "create", "--internal", "inside")
    machine.run("--rm", "--network", "inside", "--", f"timeout 2 wget -q -O - http://{address}/; exit $?", fails=True)


@story
def a_published_port_is_reached_by_every_address_of_the_host(machine):
    machine.run("-d", "--name", "web", "-p", "8081:80", "-h", "w", "--", SERVE)
    for address in ("127.0.0.1", HOST):
        until(f"{address} to answer", lambda: fetch(address, 8081) == "hello from w\n")
    seen = machine.run("--rm", "--", f"wget -q -O - http://{HOST}:8081/").out
    assert seen == "hello from w\n", "from another container"
    taken = machine.run("-d", "-p", "8081:80", "--", "true", fails=True)
    assert taken.code == 125 and "port is already allocated" in taken.err, taken
    machine.docker("rm", "-f", "web")
    with socket.create_server(("127.0.0.1", 8081)):
        pass


@story
def a_port_that_the_host_uses_is_refused(machine):
    with socket.create_server(("0.0.0.0", 8082)):
        refused = machine.run("-d", "-p", "8082:80", "--", "true", fails=True)
        assert refused.code == 125 and "address already in use" in refused.err, refused


@story
def ports_are_chosen_and_ranges_hold(machine):
    machine.run("-d", "--name", "web", "-p", "127.0.0.1::80", "-h", "w", "--", SERVE)
    port = port_of(machine, "web")
    until("it to answer", lambda: fetch("127.0.0.1", port) == "hello from w\n")
    try:
        socket.create_connection((HOST, port), timeout=1).close()
        raise RuntimeError("reached by an address that it is not published on")
    except OSError:
        pass
    machine.run("-d", "--name", "range", "-p", "9100-9102:7000-7002", "--", "sleep 1000")
    assert port_of(machine, "range", "7001/tcp") == 9101


@story
def datagrams_pass_too(machine):
    source = pathlib.Path(__file__).parent.parent / "echo.c"
    subprocess.run(["gcc", "-static", "-o", machine.scratch / "echo", source], check=True)
    machine.docker("run", "-d", "--name", "echo", "-p", "8083:7/udp", "-v", f"{machine.scratch}/echo:/echo", IMAGE, "/echo")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(0.5)
        client.connect((HOST, 8083))

        def echoed():
            try:
                client.send(b"ping")
                return client.recv(100) == b"ping"
            except OSError:
                return False

        until("the datagram to come back", echoed)


@story
def host_and_shared_namespaces(machine):
    seen = machine.run("--rm", "--network", "host", "--", "ip -o link show wire0").out
    assert "wire0" in seen, seen
    machine.run("-d", "--name", "web", "-h", "w", "--", SERVE)
    said(machine, "web", "http://127.0.0.1/")
    seen = machine.run("--rm", "--network", "container:web", "--", "wget -q -O - http://127.0.0.1/").out
    assert seen == "hello from w\n"
    seen = machine.run("--rm", "--network", "none", "--", "ip -o link | wc -l").out
    assert seen == "1\n", seen


@story
def hosts_and_links_are_written_down(machine):
    machine.run("-d", "--name", "db", "--", "sleep 1000")
    seen = machine.run("--rm", "--link", "db:store", "--add-host", "far:10.9.9.9", "--", "cat /etc/hosts").out
    address = machine.see("db", "{{.NetworkSettings.IPAddress}}")
    lines = [line.split() for line in seen.splitlines()]
    assert ["10.9.9.9", "far"] in lines and any(line[0] == address and "store" in line for line in lines), seen


@story
def a_network_in_use_is_kept(machine):
    machine.docker("network", "create", "--subnet", "10.55.0.0/24", "mine")
    machine.run("-d", "--name", "one", "--network", "mine", "--ip", "10.55.0.9", "--", "sleep 1000")
    assert machine.see("one", "{{.NetworkSettings.Networks.mine.IPAddress}}") == "10.55.0.9"
    refused = machine.docker("network", "rm", "mine", fails=True)
    assert "has active endpoints" in refused.err, refused
    machine.docker("rm", "-f", "one")
    machine.docker("network", "rm", "mine")


@story
def a_link_follows_who_is_renamed(machine):
    machine.run("-d", "--name", "db", "--", "sleep 1000")
    machine.run("-d", "--name", "app", "--link", "db:store", "--", "sleep 1000")
    assert machine.docker("ps", "--no-trunc", "--filter", "name=^/db$", "--format", "{{.Names}}").out == "db,app/store\n"
    machine.docker("rename", "db", "old")
    machine.docker("rename", "app", "web")
    assert machine.see("web", "{{.HostConfig.Links}}") == "[/old:/web/store]"
    assert machine.see("web/store", "{{.Name}}") == "/old"


@story
def an_interface_is_called_as_asked(machine):
    machine.docker("network", "create", "one")
    machine.docker("network", "create", "two")
    option = "driver-opt=com.docker.network.endpoint.ifname=eth1"
    machine.run("-d", "--name", "here", "--network", f"name=one,{option}", "--network", "two", "--", "sleep 1000")
    names = machine.docker("exec", "here", "ls", "/sys/class/net").out.split()
    assert {"eth0", "eth1", "lo"} <= set(names), names
    refused = machine.docker("network", "connect", "--driver-opt", "com.docker.network.endpoint.ifname=eth0", "bridge", "here", fails=True)
    assert "file exists" in refused.err, refused


@story
def a_container_keeps_its_address_while_nobody_else_has_it(machine):
    machine.docker("network", "create", "blue")
    machine.run("-d", "--name", "one", "--network", "blue", "--", "sleep 1000")
    machine.run("-d", "--name", "two", "--network", "blue", "--", "sleep 1000")
    seen = lambda: machine.see("one", "{{.NetworkSettings.Networks.blue.IPAddress}}")
    before = seen()
    machine.docker("restart", "-t", "0", "one")
    assert seen() == before
    machine.docker("network", "disconnect", "blue", "one")
    machine.docker("network", "connect", "blue", "one")
    assert seen() == before


@story
def links_reach_where_all_are_kept_apart(machine):
    other = machine.second_daemon("--icc=false", name="apart")
    machine.docker("import", "-", IMAGE, stdin=busybox_root(), daemon=other)
    machine.run("-d", "--name", "web", "--expose", "80", "--", SERVE, daemon=other)
    machine.run("-d", "--name", "stranger", "--", "sleep 1000", daemon=other)
    machine.run("-d", "--name", "client", "--link", "web:shop", "--", "sleep 1000", daemon=other)
    assert said(machine, "client", "http://shop/", daemon=other).startswith("hello")
    address = machine.docker("inspect", "--format", "{{.NetworkSettings.IPAddress}}", "web", daemon=other).out.strip()
    machine.docker("exec", "stranger", "timeout", "1", "wget", "-q", "-O", "-", f"http://{address}/", daemon=other, fails=True)
    # One that comes back is reached where it is then.
    machine.docker("restart", "-t", "0", "web", daemon=other)
    assert said(machine, "client", "http://shop/", daemon=other).startswith("hello")
    machine.docker("rm", "--link", "client/shop", daemon=other)
    machine.docker("exec", "client", "timeout", "1", "wget", "-q", "-O", "-", f"http://{address}/", daemon=other, fails=True)
    machine.docker("exec", "client", "grep", "shop", "/etc/hosts", daemon=other, fails=True)
    machine.docker("rm", "-f", "web", "stranger", "client", daemon=other)
    other.end()
