//! The AppArmor profile of ordinary containers: as Docker's `docker-default`, what would reach the machine through
//! /proc, /sys, mount(2) and other processes is denied. Text only; `linux::apparmor` loads it.

/// Trees of /proc that are the machine's and may not be written. Processes' own, `sys` and `sysvipc` are not here.
const PROC_TREES: [&str; 13] = [
    "acpi",
    "asound",
    "bus",
    "device-tree",
    "driver",
    "dynamic_debug",
    "fs",
    "irq",
    "mpt",
    "pressure",
    "scsi",
    "tty",
    "xen",
];

/// Trees that may not be touched at all.
const NEVER: [&str; 4] = [
    "/sys/firmware/**",
    "/sys/devices/virtual/powercap/**",
    "/sys/kernel/security/**",
    "/sys/kernel/debug/**",
];

/// The text of a profile `name`, for apparmor_parser(8). `daemon` is the profile that the daemon itself runs under.
pub(super) fn profile(name: &str, daemon: &str) -> String {
    let mut text = format!(
        "#include <tunables/global>\n\
         profile {name} flags=(attach_disconnected,mediate_deleted) {{\n\
         #include <abstractions/base>\n\
         network,\ncapability,\nfile,\numount,\n\
         signal (send, receive) peer={name},\n\
         ptrace (trace, read, tracedby, readby) peer={name},\n"
    );
    let mut line = |rule: String| {
        text.push_str(&rule);
        text.push_str(",\n");
    };
    // Who stops and kills containers.
    for peer in ["unconfined", "runc", "crun", daemon] {
        line(format!("signal (receive) peer={peer}"));
    }
    line("deny mount".into());
    line("deny @{PROC}/* w".into());
    line(format!("deny @{{PROC}}/{{{}}}/** w", PROC_TREES.join(",")));
    // Of /proc/sys only kernel/shm* is a container's own to write.
    line("deny @{PROC}/sys/[^k]** w".into());
    line("deny @{PROC}/sys/kernel/{?,??,[^s]*,s[^h]*,sh[^m]*}{,/**} w".into());
    line("deny @{PROC}/{sysrq-trigger,kcore} rwklx".into());
    // Of /sys only fs/cgroup, and that as its mount allows.
    line("deny /sys/[^f]*/** wklx".into());
    line("deny /sys/f[^s]*/** wklx".into());
    line("deny /sys/fs/[^c]*/** wklx".into());
    line("deny /sys/fs/c[^g]*/** wklx".into());
    for tree in NEVER {
        line(format!("deny {tree} rwklx"));
    }
    text.push_str("}\n");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_has_its_name_and_denies_mounts() {
        let text = profile("docker-default", "unconfined");
        assert!(text.contains("profile docker-default flags"), "{text}");
        assert!(text.contains("deny mount,\n"));
        assert_eq!(text.matches('{').count(), text.matches('}').count(), "{text}");
        for rule in text.lines().filter(|l| l.starts_with("deny") || l.starts_with("signal")) {
            assert!(rule.ends_with(','), "{rule}");
        }
    }
}
