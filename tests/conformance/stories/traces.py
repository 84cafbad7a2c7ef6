"""What is removed is gone."""

import os
import subprocess

from house import IMAGE, story, until


@story
def nothing_stays_of_what_was_removed(machine):
    before = set(machine.traces())
    descriptors = f"/proc/{machine.daemon.process.pid}/fd"
    machine.run("--rm", "--", "true")
    open_before = len(os.listdir(descriptors))
    machine.docker("network", "create", "blue")
    for n in range(10):
        machine.run("-d", "--name", f"c{n}", "--network", "blue", "-p", f"{9200 + n}:80", "-v", f"v{n}:/v", "--tmpfs", "/t", "--", "sleep 1000")
    machine.docker("rm", "-f", "-v", *[f"c{n}" for n in range(10)])
    machine.docker("network", "rm", "blue")
    machine.docker("volume", "rm", *[f"v{n}" for n in range(10)])
    until("the kernel to let go", lambda: not set(machine.traces()) - before)
    until("descriptors to close", lambda: len(os.listdir(descriptors)) <= open_before + 4)


@story
def a_start_that_fails_leaves_nothing(machine):
    machine.run("--rm", "--", "true")
    before = set(machine.traces())
    machine.docker("run", "-p", "9300:80", IMAGE, "no-such-program", fails=True)
    machine.run("-d", "-p", "9300:80", "--name", "one", "--", "true")
    machine.docker("wait", "one")
    machine.docker("rm", "one")
    until("the kernel to let go", lambda: not set(machine.traces()) - before)


@story
def disk_is_given_back(machine):
    def size(path):
        try:
            return os.lstat(path).st_blocks * 512
        except OSError:  # just removed
            return 0

    def used():
        return sum(size(os.path.join(top, name)) for top, _, names in os.walk(machine.daemon.data) for name in names)

    # What earlier stories left in the trash goes by and by.
    trash = f"{machine.daemon.data}/image/trash"
    until("the trash to be empty", lambda: os.listdir(trash) == [])
    before = used()
    machine.run("--name", "big", "--", "head -c 50000000 /dev/urandom > /root/big")
    assert used() - before >= 50_000_000
    machine.docker("commit", "big", "big")
    machine.docker("rm", "big")
    machine.docker("rmi", "big")
    until("the disk to be given back", lambda: used() - before < 2_000_000)


@story
def installed_and_uninstalled_a_root_is_as_it_was(machine):
    root = machine.scratch / "root"
    (root / "etc").mkdir(parents=True)
    (root / "etc/group").write_text("root:x:0:\n")
    install = [machine.minke, "system", "install", "--docker", "--root", root]
    for _ in range(2):  # again is fine
        subprocess.run(install, check=True, capture_output=True)
    unit = (root / "etc/systemd/system/minke.service").read_text()
    assert "KillMode=process\n" in unit and "Delegate=yes\n" in unit and "Type=notify\n" in unit, unit
    assert subprocess.run([root / "usr/local/bin/minke", "--version"], capture_output=True, check=True).stdout
    assert "minke:x:" in (root / "etc/group").read_text()
    subprocess.run([machine.minke, "system", "uninstall", "--purge", "--root", root], check=True, capture_output=True)
    left = [str(path) for path in root.rglob("*") if path.is_file() and path.parent.name != "etc"]
    assert left == [], left
