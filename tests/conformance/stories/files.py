"""Files of containers: cp both ways, diff, export, and paths that lead nowhere else."""

import io
import pathlib
import tarfile

from house import IMAGE, story, until


@story
def files_are_copied_both_ways(machine):
    machine.run("-d", "--name", "one", "--", "mkdir /d; echo in > /d/f; chown 33:33 /d/f; sleep 1000")
    machine.docker("exec", "one", "sh", "-c", "while ! test -s /d/f; do :; done")
    here = machine.scratch / "copy"
    machine.docker("cp", "one:/d", here)
    assert (here / "f").read_text() == "in\n"
    (here / "g").write_text("back")
    machine.docker("cp", here, "one:/e")
    assert machine.docker("exec", "one", "cat", "/e/g").out == "back"
    machine.docker("stop", "-t", "0", "one")
    machine.docker("cp", here / "g", "one:/stopped")
    machine.docker("start", "one")
    assert machine.docker("exec", "one", "cat", "/stopped").out == "back"
    gone = machine.docker("cp", "one:/nothing", here, fails=True)
    # Command lines of before Docker 23 say it in words of their own.
    assert "Could not find the file /nothing in container one" in gone.err or "No such container:path" in gone.err, gone


@story
def a_link_in_a_container_leads_nowhere_outside(machine):
    secret = machine.scratch / "secret"
    secret.write_text("of the host")
    machine.run("--name", "one", "--", f"ln -s {secret} /s; ln -s / /r; mkdir -p {machine.scratch}")
    refused = machine.docker("cp", "-L", "one:/s", machine.scratch / "stolen", fails=None)
    stolen = machine.scratch / "stolen"
    assert not stolen.exists() or stolen.read_text() != "of the host", refused
    (machine.scratch / "new").write_text("new")
    machine.docker("cp", machine.scratch / "new", f"one:/r{secret}")
    assert secret.read_text() == "of the host"


@story
def diff_and_export_tell_what_changed(machine):
    machine.run("--name", "one", "--", "echo x > /root/new; rm /bin/awk; echo y >> /etc/passwd")
    assert machine.docker("diff", "one").out.splitlines() == ["C /bin", "D /bin/awk", "C /etc", "C /etc/passwd", "C /root", "A /root/new"]
    with tarfile.open(fileobj=io.BytesIO(machine.docker("export", "one", binary=True).out)) as tar:
        names = set(tar.getnames())
        assert tar.extractfile("root/new").read() == b"x\n"
    assert "bin/busybox" in names and "bin/awk" not in names


@story
def a_binary_of_the_host_cannot_be_overwritten_from_inside(machine):
    # CVE-2019-5736: writing to the program that started us, through /proc/self/exe of whoever enters.
    before = pathlib.Path(machine.minke).stat()
    machine.run("-d", "--name", "one", "--", "ln -sf /proc/self/exe /root/entry; sleep 1000")
    machine.docker("exec", "one", "/root/entry", fails=None)
    machine.docker("exec", "one", "sh", "-c", "for p in /proc/[0-9]*/exe; do echo broken > $p; done; true", fails=None)
    after = pathlib.Path(machine.minke).stat()
    assert (before.st_size, before.st_mtime_ns) == (after.st_size, after.st_mtime_ns)
    assert machine.docker("run", "--rm", IMAGE, "echo", "whole").out == "whole\n"


@story
def what_comes_out_is_named_as_it_was_asked_for(machine):
    machine.run("-d", "--name", "one", "--", "mkdir -p /d/e && echo f > /d/e/f && ln -s d /l; sleep 1000")
    until("the files", lambda: machine.docker("exec", "one", "test", "-L", "/l", fails=None).code == 0)

    def names(path):
        status, _, body = machine.daemon.ask("GET", f"/containers/one/archive?path={path}")
        assert status == 200, body
        return tarfile.open(fileobj=io.BytesIO(body)).getnames()

    assert names("/d") == names("d/") == ["d", "d/e", "d/e/f"]
    assert names("/d/.") == [".", "./e", "./e/f"]
    assert names("/l") == ["l"] and names("/l/") == ["l", "l/e", "l/e/f"]
    assert names("/l/.") == [".", "./e", "./e/f"]
