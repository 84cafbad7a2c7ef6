"""What outlives a container, and what comes from the host."""

import subprocess

from house import IMAGE, story, until


@story
def a_named_volume_outlives_its_containers(machine):
    machine.run("--rm", "-v", "data:/d", "--", "echo kept > /d/f")
    assert machine.run("--rm", "-v", "data:/d", "--", "cat /d/f").out == "kept\n"
    machine.run("-d", "--name", "user", "-v", "data:/d", "--", "sleep 1000")
    refused = machine.docker("volume", "rm", "data", fails=True)
    assert "volume is in use" in refused.err, refused
    machine.docker("rm", "-f", "user")
    machine.docker("volume", "rm", "data")
    assert machine.docker("volume", "ls", "-q").out == ""


@story
def an_empty_volume_is_filled_from_the_image_once(machine):
    machine.run("--rm", "-v", "etc:/etc", "--", "grep -q www /etc/passwd && echo mine > /etc/mark")
    assert machine.run("--rm", "-v", "etc:/etc", "--", "cat /etc/mark").out == "mine\n"
    machine.run("--rm", "--mount", "type=volume,src=raw,dst=/etc,volume-nocopy", "--", "test ! -e /etc/group")


@story
def anonymous_volumes_go_with_rm(machine):
    machine.run("--rm", "-v", "/d", "--", "true")
    assert machine.docker("volume", "ls", "-q").out == ""
    machine.run("--name", "one", "-v", "/d", "--", "true")
    machine.docker("rm", "one")
    assert len(machine.docker("volume", "ls", "-q").out.split()) == 1
    machine.docker("volume", "prune", "-f")
    assert machine.docker("volume", "ls", "-q").out == ""


@story
def the_host_s_files_are_seen_and_kept_from_writing(machine):
    here = machine.scratch / "here"
    here.mkdir()
    (here / "f").write_text("host")
    assert machine.run("--rm", "-v", f"{here}:/h", "--", "cat /h/f; echo new > /h/g").out == "host"
    assert (here / "g").read_text() == "new\n"
    refused = machine.run("--rm", "-v", f"{here}:/h:ro", "--", "echo no > /h/f", fails=True)
    assert "Read-only file system" in refused.err and (here / "f").read_text() == "host", refused
    machine.run("--rm", "-v", f"{machine.scratch}/made:/h", "--", "true")
    assert (machine.scratch / "made").is_dir()
    missing = machine.docker("run", "--rm", "--mount", f"type=bind,src={machine.scratch}/none,dst=/h", IMAGE, "true", fails=True)
    assert "bind source path does not exist" in missing.err, missing


@story
def tmpfs_and_read_only_roots(machine):
    machine.run("--rm", "--read-only", "--tmpfs", "/t:size=1m", "--", "echo x > /t/f && ! touch /f && ! dd if=/dev/zero of=/t/g bs=1M count=2")
    machine.run("--name", "source", "-v", "shared:/s", "--", "echo x > /s/f")
    assert machine.run("--rm", "--volumes-from", "source:ro", "--", "cat /s/f; touch /s/g || echo kept").out == "x\nkept\n"


@story
def a_part_of_a_volume_is_mounted_and_nothing_outside(machine):
    machine.run("--rm", "-v", "data:/d", "--", "mkdir -p /d/part /d/etc; echo kept > /d/part/f; ln -s / /d/out")
    mount = "type=volume,src=data,dst=/p,volume-subpath="
    assert machine.run("--rm", "--mount", mount + "part", "--", "cat /p/f").out == "kept\n"
    assert "cannot access path" in machine.run("--rm", "--mount", mount + "none", "--", "true", fails=True).err
    assert "escapes the base directory" in machine.run("--rm", "--mount", mount + "out", "--", "true", fails=True).err
    machine.run("--rm", "--mount", "type=volume,src=data,dst=/etc,volume-subpath=etc", "--", "test -e /etc/group")
    machine.run("--rm", "-v", "data:/d", "--", "test -e /d/etc/group")


@story
def a_shared_mount_travels_to_the_host(machine):
    shared = machine.scratch / "shared"
    (shared / "a").mkdir(parents=True)
    for words in (["--bind", shared, shared], ["--make-private", shared], ["--make-shared", shared]):
        subprocess.run(["mount", *words], check=True)
    try:
        machine.run("--rm", "--privileged", "-v", f"{shared}:/s:shared", "--", "mount --bind /s/a /s/a")
        assert f" {shared}/a " in open("/proc/self/mountinfo").read()
        subprocess.run(["umount", shared / "a"], check=True)
    finally:
        subprocess.run(["umount", shared], check=True)


@story
def shared_memory_that_others_may_join_is_a_mount_of_the_host_s(machine):
    machine.run("-d", "--name", "giver", "--ipc", "shareable", "--shm-size", "8m", "--", "echo hello > /dev/shm/word; sleep 1000")
    machine.run("-d", "--name", "alone", "--", "sleep 1000")

    def device(name):
        return machine.docker("exec", name, "sh", "-c", "awk '$5 == \"/dev/shm\" {print $3}' /proc/self/mountinfo").out.strip()

    def on_host():
        return [line.split()[2] for line in open("/proc/self/mountinfo")]

    assert device("giver") in on_host() and device("alone") not in on_host()
    until("the word", lambda: machine.run("--rm", "--ipc", "container:giver", "--", "cat /dev/shm/word", fails=None).out == "hello\n")
    assert "8.0M" in machine.docker("exec", "giver", "df", "-h", "/dev/shm").out
    was = device("giver")
    machine.docker("rm", "-f", "giver")
    assert was not in on_host()


@story
def a_part_of_an_image_may_be_a_file_and_does_not_lead_out(machine):
    machine.run("--name", "made", "--", "mkdir -p /d/sub && echo world > /d/sub/f && ln -s ../../../../../etc /d/out")
    machine.docker("commit", "made", "parts")
    mount = "type=image,source=parts,target=/x,image-subpath="
    assert machine.run("--rm", "--mount", mount + "d/sub/f", "--", "cat /x").out == "world\n"
    assert machine.run("--rm", "--mount", mount + "d/sub", "--", "ls /x; cat /x/f").out == "f\nworld\n"
    refused = machine.run("--rm", "--mount", mount + "d/none", "--", "true", fails=True)
    assert "cannot access path" in refused.err, refused
    refused = machine.run("--rm", "--mount", mount + "d/out", "--", "true", fails=True)
    assert "path concatenation escapes the base directory" in refused.err, refused
    machine.docker("rm", "made")
    machine.docker("rmi", "parts")
