//! AppArmor as a container engine needs it (apparmor(7)): is it on, is a profile loaded, load one.
//!
//! A profile's text is compiled by the distribution's `apparmor_parser`: the kernel takes only its binary form, which
//! follows no stable description. Never: what a profile says.

use std::{
    io::{self, Write},
    path::Path,
    process::{Command, Stdio},
};

/// Where the kernel shows its profiles, one `name (mode)` a line.
const PROFILES: &str = "/sys/kernel/security/apparmor/profiles";
/// Where distributions keep the compiler.
const PARSERS: [&str; 2] = ["/sbin/apparmor_parser", "/usr/sbin/apparmor_parser"];

/// Why a profile could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum AppArmorError {
    /// The compiler is not installed.
    #[error("apparmor_parser is not installed")]
    NoParser,
    /// The compiler could not be run.
    #[error("cannot run {parser}: {source}")]
    Run {
        /// Its path.
        parser: &'static str,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The compiler refused.
    #[error("apparmor_parser refused the profile: {0}")]
    Refused(String),
}

/// Whether the kernel confines by AppArmor.
pub fn is_enabled() -> bool {
    std::fs::read_to_string("/sys/module/apparmor/parameters/enabled").is_ok_and(|text| text.starts_with('Y'))
        && Path::new("/sys/kernel/security/apparmor").is_dir()
}

/// Whether the kernel has a profile of that name.
///
/// # Errors
/// When the list cannot be read.
pub fn is_loaded(name: &str) -> io::Result<bool> {
    Ok(lists(&std::fs::read_to_string(PROFILES)?, name))
}

fn lists(profiles: &str, name: &str) -> bool {
    profiles.lines().any(|line| line.rsplit_once(" (").is_some_and(|(listed, _)| listed == name))
}

/// Compiles and loads a profile, in place of one of the same name.
///
/// # Errors
/// When the compiler is missing or refuses.
pub fn load(text: &str) -> Result<(), AppArmorError> {
    let parser = PARSERS.into_iter().find(|path| Path::new(path).exists()).ok_or(AppArmorError::NoParser)?;
    let failed = |source| AppArmorError::Run { parser, source };
    // Replaced when loaded, without a cache on disk.
    let mut child = Command::new(parser)
        .args(["-K", "-r"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(text.as_bytes()).map_err(failed)?;
    }
    let output = child.wait_with_output().map_err(failed)?;
    if output.status.success() {
        return Ok(());
    }
    Err(AppArmorError::Refused(String::from_utf8_lossy(&output.stderr).trim().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_is_found_by_its_whole_name() {
        let list = "docker-default (enforce)\n/usr/bin/man (complain)\nwith (blank) (enforce)\n";
        for (name, found) in
            [("docker-default", true), ("docker", false), ("/usr/bin/man", true), ("with (blank)", true)]
        {
            assert_eq!(lists(list, name), found, "{name}");
        }
    }

    #[test]
    fn a_profile_that_is_none_is_refused_or_there_is_no_parser() {
        assert!(matches!(load("profile {"), Err(AppArmorError::NoParser | AppArmorError::Refused(_))));
    }
}
