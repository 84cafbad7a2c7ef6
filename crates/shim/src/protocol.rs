//! What daemon and shim say to each other: fixed-size records on a unix socket.
//!
//! Never: a record that changes its meaning. A new word gets a new number; the hello carries the version that the
//! caller speaks, and a shim refuses only versions that it does not know.

/// Where starting a process failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Stage {
    /// The plan could not be read.
    Plan = 0,
    /// A namespace of another container could not be joined.
    Join = 1,
    /// clone3(2).
    Clone = 2,
    /// Its cgroups could not be entered.
    Cgroup = 3,
    /// Its root could not be made.
    Root = 4,
    /// A mount.
    Mount = 5,
    /// A device node.
    Device = 6,
    /// A masked or read-only path.
    Mask = 7,
    /// Entering the root.
    Pivot = 8,
    /// Host or domain name.
    Hostname = 9,
    /// A kernel parameter.
    Sysctl = 10,
    /// A limit.
    Rlimit = 11,
    /// The user or group is not there.
    User = 12,
    /// Changing to user and groups.
    Credentials = 13,
    /// Capabilities.
    Capabilities = 14,
    /// AppArmor or SELinux.
    Label = 15,
    /// The filter of syscalls.
    Seccomp = 16,
    /// The working directory.
    Cwd = 17,
    /// The command.
    Exec = 18,
    /// The terminal.
    Terminal = 19,
    /// The log file.
    Log = 20,
    /// The external runtime.
    External = 21,
    /// The process is gone without a word.
    Gone = 22,
}

impl Stage {
    /// All, by number.
    const ALL: [Stage; 23] = [
        Stage::Plan,
        Stage::Join,
        Stage::Clone,
        Stage::Cgroup,
        Stage::Root,
        Stage::Mount,
        Stage::Device,
        Stage::Mask,
        Stage::Pivot,
        Stage::Hostname,
        Stage::Sysctl,
        Stage::Rlimit,
        Stage::User,
        Stage::Credentials,
        Stage::Capabilities,
        Stage::Label,
        Stage::Seccomp,
        Stage::Cwd,
        Stage::Exec,
        Stage::Terminal,
        Stage::Log,
        Stage::External,
        Stage::Gone,
    ];

    /// By its number.
    pub fn from_number(number: u8) -> Option<Stage> {
        Stage::ALL.get(usize::from(number)).copied()
    }

    /// What was being done, for a sentence.
    pub fn as_str(self) -> &'static str {
        match self {
            Stage::Plan => "read the start plan",
            Stage::Join => "join a namespace",
            Stage::Clone => "clone into new namespaces",
            Stage::Cgroup => "enter the cgroup",
            Stage::Root => "prepare the root file system",
            Stage::Mount => "mount",
            Stage::Device => "make a device node",
            Stage::Mask => "mask a path",
            Stage::Pivot => "enter the root file system",
            Stage::Hostname => "set the host name",
            Stage::Sysctl => "set a kernel parameter",
            Stage::Rlimit => "set a resource limit",
            Stage::User => "find the user",
            Stage::Credentials => "change to the user",
            Stage::Capabilities => "set capabilities",
            Stage::Label => "set the security label",
            Stage::Seccomp => "load the seccomp filter",
            Stage::Cwd => "change to the working directory",
            Stage::Exec => "exec",
            Stage::Terminal => "set up the terminal",
            Stage::Log => "open the log",
            Stage::External => "run the external runtime",
            Stage::Gone => "wait for the process",
        }
    }
}
