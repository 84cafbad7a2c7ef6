"""What goes in and out of a process: logs, attach, exec, terminals."""

import os
import pty
import subprocess

from house import IMAGE, PATIENCE, read_until, story, until


@story
def stdin_ends_where_ours_ends(machine):
    assert machine.docker("run", "--rm", "-i", IMAGE, "cat", stdin="one\ntwo\n").out == "one\ntwo\n"
    many = "".join(f"line {n}\n" for n in range(200_000))
    assert machine.docker("run", "--rm", "-i", IMAGE, "cat", stdin=many).out == many


@story
def a_terminal_is_a_terminal(machine):
    ours, theirs = pty.openpty()
    process = machine.begin("run", "--rm", "-it", IMAGE, "sh", "-c", "test -t 0 && test -t 1 && echo yes; stty size; read a; echo got $a; exit 3",
                            stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True)
    os.close(theirs)
    with os.fdopen(ours, "r+b", buffering=0) as terminal:
        read_until(terminal, b"yes\r\n")
        terminal.write(b"hello\n")
        read_until(terminal, b"got hello\r\n")
    assert process.wait(PATIENCE) == 3


@story
def logs_can_be_cut_and_dated(machine):
    machine.run("--name", "talker", "--", "for n in 1 2 3 4 5; do echo $n; done; echo err >&2")
    assert machine.docker("logs", "talker").out == "1\n2\n3\n4\n5\n"
    assert machine.docker("logs", "talker").err == "err\n"
    assert machine.docker("logs", "--tail", "2", "talker").out + machine.docker("logs", "--tail", "2", "talker").err == "5\nerr\n"
    dated = machine.docker("logs", "-t", "talker").out.splitlines()
    moments = [line.split()[0] for line in dated]
    assert moments == sorted(moments) and all(m.endswith("Z") for m in moments), dated
    assert machine.docker("logs", "--since", moments[2], "talker").out.startswith("3\n")


@story
def a_follower_sees_the_end(machine):
    machine.docker("run", "-d", "-i", "--name", "slow", IMAGE, "sh", "-c", "echo first; read x; echo last")
    follower = machine.begin("logs", "-f", "slow")
    read_until(follower.stdout, b"first\n")
    writer = machine.begin("attach", "slow")
    writer.communicate(b"go\n", timeout=PATIENCE)
    assert follower.communicate(timeout=PATIENCE)[0] == b"last\n" and follower.returncode == 0


@story
def exec_runs_beside(machine):
    machine.run("-d", "--name", "host", "-e", "A=1", "--", "sleep 1000")
    done = machine.docker("exec", "-e", "B=2", "-w", "/var", "-u", "33", "host", "sh", "-c", "echo $A $B $(pwd) $(id -u); exit 5", fails=True)
    assert (done.code, done.out) == (5, "1 2 /var 33\n"), done
    assert machine.docker("exec", "-i", "host", "cat", stdin="through\n").out == "through\n"
    absent = machine.docker("exec", "host", "no-such-program", fails=True)
    assert absent.code in (126, 127), absent
    machine.docker("stop", "-t", "0", "host")
    stopped = machine.docker("exec", "host", "true", fails=True)
    assert "is not running" in stopped.err, stopped


@story
def one_who_does_not_read_costs_the_others_nothing(machine):
    # A client that never reads, while the container writes more than any buffer holds: output waits for it, as with
    # dockerd, and goes on when it leaves; nothing is missing from the log.
    machine.docker("create", "--name", "loud", IMAGE, "sh", "-c", "head -c 20000000 /dev/zero | tr '\\0' 'x'; echo; echo end >&2")
    lazy = machine.begin("start", "-a", "loud", stderr=subprocess.DEVNULL)
    until("it to run", lambda: machine.see("loud", "{{.State.Running}}") == "true")
    assert machine.docker("exec", "loud", "echo", "beside").out == "beside\n"
    lazy.kill()
    lazy.communicate()
    until("its end", lambda: machine.see("loud", "{{.State.Status}} {{.State.ExitCode}}") == "exited 0")
    kept = machine.docker("logs", "loud", binary=True).out.count(b"x")
    assert kept == 20_000_000, kept


@story
def logs_rotate_and_lose_nothing_that_is_kept(machine):
    machine.run("--name", "long", "--log-opt", "max-size=100k", "--log-opt", "max-file=3", "--", "for n in $(seq 20000); do echo $n; done")
    kept = machine.docker("logs", "long").out.split()
    assert kept[-1] == "20000" and kept == [str(n) for n in range(int(kept[0]), 20001)], (kept[:3], kept[-3:])
    assert 1000 < len(kept) < 20000, len(kept)
