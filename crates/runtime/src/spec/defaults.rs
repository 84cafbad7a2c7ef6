//! What a container gets without asking: Docker 28's defaults (moby `oci/defaults.go`, `oci/caps`), as facts.

/// `PATH` of containers that set none.
pub const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Bytes of /dev/shm.
pub const SHM_SIZE: i64 = 64 << 20;

/// AppArmor's profile for containers.
pub const APPARMOR_PROFILE: &str = "docker-default";

/// Capabilities by their numbers (include/uapi/linux/capability.h), without `CAP_`.
pub const CAPABILITIES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// The capabilities that an ordinary container has.
pub const DEFAULT_CAPABILITIES: [&str; 14] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "FSETID",
    "FOWNER",
    "MKNOD",
    "NET_RAW",
    "SETGID",
    "SETUID",
    "SETFCAP",
    "SETPCAP",
    "NET_BIND_SERVICE",
    "SYS_CHROOT",
    "KILL",
    "AUDIT_WRITE",
];

/// Paths hidden from containers, where they exist, in Docker's order.
const MASKED_PATHS: [&str; 12] = [
    "/proc/asound",
    "/proc/acpi",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
];

/// Paths that containers may only read.
const READONLY_PATHS: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// Hidden paths of a container that asks for no others, as inspect shows them. `throttles` are this machine's
/// `/sys/devices/system/cpu/cpu*/thermal_throttle`, which tell one container what another computes.
pub fn masked_paths(throttles: &[String]) -> Vec<String> {
    MASKED_PATHS.iter().map(|p| (*p).to_owned()).chain(throttles.iter().cloned()).collect()
}

/// Read-only paths of a container that asks for no others, as inspect shows them.
pub fn readonly_paths() -> Vec<String> {
    READONLY_PATHS.iter().map(|p| (*p).to_owned()).collect()
}

/// A character device of every container.
pub(super) struct Node {
    pub(super) path: &'static str,
    pub(super) major: u32,
    pub(super) minor: u32,
}

/// Device nodes of every container, mode 0666 (OCI runtime spec, config-linux.md#default-devices).
pub(super) const NODES: [Node; 6] = [
    Node { path: "/dev/null", major: 1, minor: 3 },
    Node { path: "/dev/zero", major: 1, minor: 5 },
    Node { path: "/dev/full", major: 1, minor: 7 },
    Node { path: "/dev/random", major: 1, minor: 8 },
    Node { path: "/dev/urandom", major: 1, minor: 9 },
    Node { path: "/dev/tty", major: 5, minor: 0 },
];

/// Links of every container's /dev (the same place).
pub(super) const LINKS: [(&str, &str); 6] = [
    ("/dev/fd", "/proc/self/fd"),
    ("/dev/stdin", "/proc/self/fd/0"),
    ("/dev/stdout", "/proc/self/fd/1"),
    ("/dev/stderr", "/proc/self/fd/2"),
    ("/dev/core", "/proc/kcore"),
    ("/dev/ptmx", "pts/ptmx"),
];

/// Device rules of every container (runc `specconv.AllowedDevices`): any node may be made, few may be opened:
/// null, zero, full, random, urandom, tty, console, ptmx, pts, net/tun.
pub(super) const DEVICE_RULES: [&str; 12] = [
    "c *:* m",
    "b *:* m",
    "c 1:3 rwm",
    "c 1:5 rwm",
    "c 1:7 rwm",
    "c 1:8 rwm",
    "c 1:9 rwm",
    "c 5:0 rwm",
    "c 5:1 rwm",
    "c 5:2 rwm",
    "c 136:* rwm",
    "c 10:200 rwm",
];

/// The bit of a capability by its name, with or without `CAP_`, in any case.
pub fn capability(name: &str) -> Option<u64> {
    let upper = name.to_ascii_uppercase();
    let bare = upper.strip_prefix("CAP_").unwrap_or(&upper);
    CAPABILITIES.iter().position(|c| *c == bare).map(|n| 1 << n)
}

/// The names of capabilities in a set, with `CAP_`, by number.
pub fn capability_names(set: u64) -> Vec<String> {
    let named = CAPABILITIES.iter().enumerate().filter(|(n, _)| set & 1 << n != 0);
    named.map(|(_, name)| format!("CAP_{name}")).collect()
}
