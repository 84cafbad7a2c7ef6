"""Restarts, health, and what is removed."""

import time

from house import story, until


@story
def one_that_fails_is_started_again_so_many_times(machine):
    machine.run("-d", "--name", "one", "--restart", "on-failure:2", "--", "echo again; exit 3")
    until("the last end", lambda: machine.see("one", "{{.State.Status}} {{.RestartCount}}") == "exited 2")
    assert machine.docker("logs", "one").out == "again\n" * 3
    assert machine.see("one", "{{.State.ExitCode}}") == "3"


@story
def a_restart_waits_longer_each_time(machine):
    machine.run("-d", "--name", "one", "--restart", "always", "--", "date +%s.%N 2>/dev/null; cut -d' ' -f1 /proc/uptime >> /root/starts; exit 1")
    until("five starts", lambda: int(machine.see("one", "{{.RestartCount}}")) >= 4)
    machine.docker("stop", "one", fails=None)
    machine.docker("cp", "one:/root/starts", machine.scratch / "starts")
    starts = [float(line) for line in (machine.scratch / "starts").read_text().split()]
    waits = [b - a for a, b in zip(starts, starts[1:])]
    for wait, least in zip(waits, (0.1, 0.2, 0.4, 0.8)):
        # How much longer it takes is the machine's affair; far from the longest wait, a minute.
        assert least - 0.02 <= wait < least + 30, waits


@story
def stopped_by_its_user_it_stays_stopped(machine):
    machine.run("-d", "--name", "one", "--restart", "unless-stopped", "--", "sleep 1000")
    machine.docker("stop", "-t", "0", "one")
    machine.daemon.again()
    assert machine.see("one", "{{.State.Status}}") == "exited"
    machine.docker("update", "--restart", "always", "one")
    machine.daemon.again()
    until("it to run", lambda: machine.see("one", "{{.State.Running}}") == "true")


@story
def its_probe_says_how_it_is(machine):
    machine.run("-d", "--name", "one", "--health-cmd", "test -e /root/well", "--health-interval", "100ms", "--health-retries", "2", "--", "sleep 1000")
    machine.healthy("one", "unhealthy")
    machine.docker("exec", "one", "touch", "/root/well")
    machine.healthy("one")
    assert machine.docker("ps", "--filter", "health=healthy", "--format", "{{.Names}}").out == "one\n"


@story
def prune_takes_what_is_dead_and_nothing_else(machine):
    machine.run("--name", "dead", "--", "true")
    machine.run("-d", "--name", "alive", "--", "sleep 1000")
    machine.docker("network", "create", "unused")
    told = machine.docker("system", "prune", "-f").out
    assert "Deleted Containers:" in told and "Deleted Networks:\nunused" in told, told
    assert machine.docker("ps", "-a", "--format", "{{.Names}}").out == "alive\n"


@story
def a_running_one_is_removed_by_force_only(machine):
    # By force, nobody waits for it to stop by itself: that would take longer than a command may.
    machine.run("-d", "--name", "one", "--stop-timeout", "300", "--", "sleep 1000")
    refused = machine.docker("rm", "one", fails=True)
    assert "container is running: stop the container before removing or force remove" in refused.err, refused
    machine.docker("rm", "-f", "one")


@story
def with_rm_a_restart_is_no_end(machine):
    machine.run("-d", "--rm", "--name", "one", "--", "sleep 1000")
    machine.docker("restart", "-t", "0", "one")
    assert machine.see("one", "{{.State.Running}}") == "true"
    machine.docker("stop", "-t", "0", "one")
    until("its removal", lambda: machine.docker("ps", "-aq").out == "")


@story
def a_policy_and_rm_exclude_each_other_later_too(machine):
    machine.run("-d", "--rm", "--name", "one", "--", "sleep 1000")
    refused = machine.docker("update", "--restart", "always", "one", fails=True)
    assert "Restart policy cannot be updated because AutoRemove is enabled" in refused.err, refused


@story
def a_removal_by_force_kills_once(machine):
    since = time.time()
    machine.run("-d", "--name", "one", "--restart", "always", "--", "sleep 1000")
    machine.docker("rm", "-f", "one")
    told = machine.docker("events", "--since", f"{since:.3f}", "--until", f"{time.time() + 0.01:.3f}", "--filter", "type=container", "--format", "{{.Action}}").out.split()
    assert told.count("kill") == 1 and told[-1] == "destroy", told
