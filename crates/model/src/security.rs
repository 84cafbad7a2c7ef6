//! What a container may do.

use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, fmt};

/// One `--security-opt`, parsed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SecurityOption {
    /// `seccomp=…`.
    Seccomp(SeccompChoice),
    /// `apparmor=PROFILE`.
    AppArmor(String),
    /// `label=…`: SELinux; kept, without effect where SELinux is off.
    Label(String),
    /// `no-new-privileges[=bool]`.
    NoNewPrivileges(bool),
    /// `writable-cgroups[=bool]`.
    WritableCgroups(bool),
}

/// Which syscall filter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SeccompChoice {
    /// None.
    Unconfined,
    /// The daemon's own.
    Builtin,
    /// A profile in Docker's JSON format, as the client sent it.
    Profile(String),
}

impl fmt::Display for SecurityOption {
    /// As Docker's inspect shows it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SecurityOption::Seccomp(SeccompChoice::Unconfined) => f.write_str("seccomp=unconfined"),
            SecurityOption::Seccomp(SeccompChoice::Builtin) => f.write_str("seccomp=builtin"),
            SecurityOption::Seccomp(SeccompChoice::Profile(json)) => write!(f, "seccomp={json}"),
            SecurityOption::AppArmor(profile) => write!(f, "apparmor={profile}"),
            SecurityOption::Label(label) => write!(f, "label={label}"),
            SecurityOption::NoNewPrivileges(true) => f.write_str("no-new-privileges"),
            SecurityOption::NoNewPrivileges(false) => f.write_str("no-new-privileges=false"),
            SecurityOption::WritableCgroups(on) => write!(f, "writable-cgroups={on}"),
        }
    }
}

/// Security as asked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecuritySpec {
    /// All capabilities, devices, no masks, no filter.
    pub privileged: bool,
    /// `ALL`, `NET_ADMIN` or `CAP_NET_ADMIN`, as asked.
    pub cap_add: Option<Vec<String>>,
    /// The same.
    pub cap_drop: Option<Vec<String>>,
    /// As asked, in order.
    pub options: Option<Vec<SecurityOption>>,
    /// The words of those that were said otherwise than they are written here, by their place in the list.
    #[serde(default)]
    pub options_as: BTreeMap<usize, String>,
    /// The root cannot be written.
    pub readonly_rootfs: bool,
    /// Hidden paths; `None` is Docker's default list.
    pub masked_paths: Option<Vec<String>>,
    /// Read-only paths; `None` is Docker's default list.
    pub readonly_paths: Option<Vec<String>>,
    /// Further groups, names or ids.
    pub group_add: Option<Vec<String>>,
}

impl SecuritySpec {
    /// Its options in the words in which they were said.
    pub fn options_said(&self) -> Option<Vec<String>> {
        let said = |(place, option): (usize, &SecurityOption)| {
            self.options_as.get(&place).cloned().unwrap_or_else(|| option.to_string())
        };
        Some(self.options.as_ref()?.iter().enumerate().map(said).collect())
    }
}
