//! What a shim does with its container's cgroups: asks whether memory ran out, and kills all that is left.

use crate::plan::Cgroups;
use minke_linux::pidfd;
use std::os::fd::AsFd;

/// Whether the kernel killed something in the container for memory.
pub(crate) fn had_oom(cgroups: &Cgroups) -> bool {
    let dir = &cgroups.memory;
    !dir.is_empty()
        && ["memory.events", "memory.oom_control"].iter().any(|name| {
            let text = std::fs::read_to_string(format!("{dir}/{name}")).unwrap_or_default();
            text.lines().filter_map(|l| l.strip_prefix("oom_kill ")).any(|n| n.trim() != "0")
        })
}

/// Kills every process in them; new ones that they make meanwhile are met in the next round.
pub(crate) fn kill(cgroups: &Cgroups) {
    if !cgroups.unified.is_empty() && std::fs::write(format!("{}/cgroup.kill", cgroups.unified), "1").is_ok()
    {
        return;
    }
    let dir = cgroups.legacy.first().unwrap_or(&cgroups.unified);
    for _ in 0..16 {
        let text = std::fs::read_to_string(format!("{dir}/cgroup.procs")).unwrap_or_default();
        let mut alive =
            text.lines().filter_map(|l| l.parse().ok()).filter_map(|pid| pidfd::open(pid).ok()).peekable();
        if alive.peek().is_none() {
            return;
        }
        alive.for_each(|p| pidfd::kill(p.as_fd()));
    }
}
