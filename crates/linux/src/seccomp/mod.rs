//! System call filters: a profile compiled to classic BPF (seccomp(2), Documentation/userspace-api/seccomp_filter.rst).
//!
//! Start at [`Profile`] and [`compile`]. Meaning as libseccomp's and runc's, so that profiles written for Docker mean
//! the same here: a rule without conditions beats those with, rules that repeat the default say nothing, and a
//! call newer than the newest that the profile names fails with ENOSYS, as on an older kernel (opencontainers/runc#2750).
//! Never: Docker's JSON, capabilities (the runtime's `spec::seccomp` knows them).

mod compile;
#[cfg(test)]
pub(crate) mod interpret;
mod syscalls;

pub use compile::{Program, compile};
pub use syscalls::{is_known, number};

/// A machine whose calls a filter knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Arch {
    /// 64-bit x86.
    X86_64,
    /// 32-bit x86.
    X86,
    /// 64-bit x86 with 32-bit pointers.
    X32,
    /// 64-bit ARM.
    Aarch64,
    /// 32-bit ARM.
    Arm,
}

impl Arch {
    /// This machine's.
    pub const NATIVE: Arch = if cfg!(target_arch = "aarch64") { Arch::Aarch64 } else { Arch::X86_64 };

    /// `AUDIT_ARCH_*` (include/uapi/linux/audit.h): the ELF machine, 64-bit and little-endian bits.
    fn audit(self) -> u32 {
        match self {
            Arch::X86_64 | Arch::X32 => 0xc000_003e,
            Arch::X86 => 0x4000_0003,
            Arch::Aarch64 => 0xc000_00b7,
            Arch::Arm => 0x4000_0028,
        }
    }

    /// From libseccomp's word, `SCMP_ARCH_X86_64`; `None` for a machine that Minke does not run on.
    pub fn parse(word: &str) -> Option<Self> {
        Some(match word {
            "SCMP_ARCH_X86_64" => Arch::X86_64,
            "SCMP_ARCH_X86" => Arch::X86,
            "SCMP_ARCH_X32" => Arch::X32,
            "SCMP_ARCH_AARCH64" => Arch::Aarch64,
            "SCMP_ARCH_ARM" => Arch::Arm,
            _ => return None,
        })
    }

    /// Its name in Go, which profiles' conditions use: `amd64`.
    pub fn go_name(self) -> &'static str {
        match self {
            Arch::X86_64 => "amd64",
            Arch::X86 => "x86",
            Arch::X32 => "x32",
            Arch::Aarch64 => "arm64",
            Arch::Arm => "arm",
        }
    }
}

/// What becomes of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// It is done.
    Allow,
    /// It fails with this errno.
    Errno(u16),
    /// The process dies.
    KillProcess,
    /// The thread dies.
    KillThread,
    /// SIGSYS, with this number beside.
    Trap(u16),
    /// A tracer decides, told this number; ENOSYS without one.
    Trace(u16),
    /// It is done, and logged.
    Log,
}

impl Action {
    /// `SECCOMP_RET_*` with its data.
    fn value(self) -> u32 {
        match self {
            Action::KillProcess => 0x8000_0000,
            Action::KillThread => 0,
            Action::Trap(data) => 0x0003_0000 | u32::from(data),
            Action::Errno(errno) => 0x0005_0000 | u32::from(errno),
            Action::Trace(data) => 0x7ff0_0000 | u32::from(data),
            Action::Log => 0x7ffc_0000,
            Action::Allow => 0x7fff_0000,
        }
    }

    /// From libseccomp's word, `SCMP_ACT_ERRNO`, with its number (EPERM when none is given).
    pub fn parse(word: &str, errno: Option<u16>) -> Option<Self> {
        let errno = errno.unwrap_or(libc::EPERM as u16);
        Some(match word {
            "SCMP_ACT_ALLOW" => Action::Allow,
            "SCMP_ACT_ERRNO" => Action::Errno(errno),
            "SCMP_ACT_KILL_PROCESS" => Action::KillProcess,
            "SCMP_ACT_KILL" | "SCMP_ACT_KILL_THREAD" => Action::KillThread,
            "SCMP_ACT_TRAP" => Action::Trap(errno),
            "SCMP_ACT_TRACE" => Action::Trace(errno),
            "SCMP_ACT_LOG" => Action::Log,
            _ => return None,
        })
    }
}

/// How an argument is compared, as unsigned 64 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Compare {
    /// `≠ value`.
    NotEqual,
    /// `< value`.
    Less,
    /// `≤ value`.
    LessOrEqual,
    /// `= value`.
    Equal,
    /// `≥ value`.
    GreaterOrEqual,
    /// `> value`.
    Greater,
    /// Of the bits in `value`, exactly those in `second` are set.
    Masked,
}

impl Compare {
    /// From libseccomp's word, `SCMP_CMP_EQ`.
    pub fn parse(word: &str) -> Option<Self> {
        Some(match word {
            "SCMP_CMP_NE" => Compare::NotEqual,
            "SCMP_CMP_LT" => Compare::Less,
            "SCMP_CMP_LE" => Compare::LessOrEqual,
            "SCMP_CMP_EQ" => Compare::Equal,
            "SCMP_CMP_GE" => Compare::GreaterOrEqual,
            "SCMP_CMP_GT" => Compare::Greater,
            "SCMP_CMP_MASKED_EQ" => Compare::Masked,
            _ => return None,
        })
    }
}

/// A condition on one argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Condition {
    /// 0 to 5.
    pub argument: u8,
    /// How.
    pub compare: Compare,
    /// With what; for `Masked` the mask.
    pub value: u64,
    /// For `Masked`: the bits that are set.
    pub second: u64,
}

/// What becomes of some calls when all conditions hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Calls; names that a machine does not have say nothing there.
    pub names: Vec<String>,
    /// What becomes of them.
    pub action: Action,
    /// All must hold. Two on one argument mean either, as in runc, since libseccomp knows no "and" there.
    pub conditions: Vec<Condition>,
}

/// A filter in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    /// What becomes of calls that no rule names.
    pub default: Action,
    /// Machines whose calls are let in at all; the process dies at a call of another.
    pub arches: Vec<Arch>,
    /// In no particular order, but for conditions: the first rule that holds counts.
    pub rules: Vec<Rule>,
}

/// Why a profile cannot be compiled.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SeccompError {
    /// Calls have six arguments.
    #[error("seccomp: system calls have no argument {0}")]
    Argument(u8),
    /// The kernel takes no longer program.
    #[error("seccomp: the profile needs {0} instructions, more than the kernel takes (4096)")]
    TooLong(usize),
}

#[cfg(test)]
mod tests;
