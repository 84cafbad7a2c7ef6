"""Images: made, named, kept, given away, and those that mean harm."""

import pathlib
import tarfile

from house import DISK, IMAGE, busybox_root, story, tar_of


def id_of(machine, name):
    return machine.docker("image", "inspect", "--format", "{{.Id}}", name).out.strip()


@story
def saved_and_loaded_again_it_is_the_same(machine):
    machine.run("--name", "one", "--", "echo layer > /new; rm /bin/awk; ln /new /hard; ln -s new /soft")
    machine.docker("commit", "--change", "CMD [\"cat\", \"/hard\"]", "--change", "ENV A=b", "one", "made:v1")
    made = id_of(machine, "made:v1")
    assert machine.docker("run", "--rm", "made:v1").out == "layer\n"
    archive = machine.docker("save", "made:v1", binary=True).out
    machine.docker("rm", "one")
    machine.docker("rmi", "made:v1")
    assert "Loaded image: made:v1" in machine.docker("load", stdin=archive).out
    assert id_of(machine, "made:v1") == made
    assert machine.docker("save", "made:v1", binary=True).out == archive
    assert machine.docker("run", "--rm", "made:v1", "sh", "-c", "cat /soft; test ! -e /bin/awk; echo $A").out == "layer\nb\n"
    machine.docker("rmi", "made:v1")


@story
def names_and_images_go_one_by_one(machine):
    machine.docker("tag", IMAGE, "other:x")
    assert machine.docker("rmi", "other:x").out == "Untagged: other:x\n"
    machine.docker("tag", IMAGE, "other:x")
    machine.run("-d", "--name", "one", "--", "sleep 1000")
    refused = machine.docker("rmi", id_of(machine, IMAGE), fails=True)
    assert "conflict: unable to delete" in refused.err, refused
    machine.docker("rmi", "other:x")
    machine.docker("import", "-", "alone", stdin=tar_of(("f", b"x")))
    removed = machine.docker("rmi", "alone").out
    assert removed.startswith("Untagged: alone:latest\nDeleted: sha256:"), removed


@story
def history_and_layers_are_told(machine):
    machine.run("--name", "one", "--", "echo x > /x")
    machine.docker("commit", "-m", "why", "-a", "who", "one", "made")
    assert machine.docker("history", "--format", "{{.Comment}}", "made").out.splitlines()[0] == "why"
    assert machine.docker("image", "inspect", "--format", "{{len .RootFS.Layers}} {{.Author}}", "made").out == "2 who\n"
    machine.docker("rm", "one")
    machine.docker("rmi", "made")


@story
def a_hostile_tar_writes_nothing_outside(machine):
    victim = pathlib.Path(f"{DISK}/victim")
    victim.unlink(missing_ok=True)
    def link(name, target, kind=tarfile.SYMTYPE):
        entry = tarfile.TarInfo(name)
        entry.type, entry.linkname = kind, target
        return entry
    tars = {
        "dots": tar_of((f"../../../../../../../../..{victim}", b"x")),
        "absolute": tar_of((str(victim), b"x")),
        "symlink": tar_of(link("out", str(victim.parent)), ("out/victim", b"x")),
        "upwards": tar_of(link("out", "../../../../../../../../.." + str(victim.parent)), ("out/victim", b"x")),
        "hardlink": tar_of(link("passwd", "/etc/passwd", tarfile.LNKTYPE), ("passwd", b"broken")),
    }
    passwd = pathlib.Path("/etc/passwd").read_bytes()
    for name, tar in tars.items():
        machine.docker("import", "-", "hostile", stdin=tar, fails=None)
        assert not victim.exists() and pathlib.Path("/etc/passwd").read_bytes() == passwd, name
        machine.docker("create", "--name", "one", IMAGE, "true")
        machine.docker("cp", "-", "one:/root", stdin=tar, fails=None)
        assert not victim.exists() and pathlib.Path("/etc/passwd").read_bytes() == passwd, f"{name}, by cp"
        machine.docker("rm", "one")
        machine.docker("rmi", "-f", "hostile", fails=None)


@story
def what_is_no_archive_is_refused(machine):
    assert machine.docker("load", stdin="this is no tar", fails=True).code == 1
    cut = busybox_root()[:5000]
    assert machine.docker("import", "-", "cut", stdin=cut, fails=True).code == 1
    assert machine.docker("image", "ls", "-q", "cut").out == ""
    wrong = machine.docker("tag", IMAGE, "Upper/Case", fails=True)
    assert "invalid reference format" in wrong.err, wrong
