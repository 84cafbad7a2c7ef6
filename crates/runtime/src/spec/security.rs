//! Which capabilities, profiles and hidden paths a container gets. Pure.

use super::{Host, SpecError, defaults};
use minke_model::{
    ContainerSpec,
    security::{SeccompChoice, SecurityOption, SecuritySpec},
};

/// The capabilities of a container, bit n for capability n (moby `oci/caps.TweakCapabilities`): privileged has all
/// that the daemon has; `ALL` added gives all but the dropped; `ALL` dropped leaves the added.
///
/// # Errors
/// On an unknown name, or one that the daemon does not have itself.
pub fn capabilities(spec: &SecuritySpec, available: u64) -> Result<u64, SpecError> {
    if spec.privileged {
        return Ok(available);
    }
    let set = |names: &Option<Vec<String>>| {
        names.iter().flatten().try_fold((0, false), |(set, all), name| {
            if name.eq_ignore_ascii_case("ALL") || name.eq_ignore_ascii_case("CAP_ALL") {
                return Ok((set, true));
            }
            let bit = defaults::capability(name)
                .ok_or_else(|| SpecError::UnknownCapability { name: name.clone() })?;
            if available & bit == 0 {
                let name = name.clone();
                return Err(SpecError::UnavailableCapability { name });
            }
            Ok((set | bit, all))
        })
    };
    let (dropped, drop_all) = set(&without_unavailable(&spec.cap_drop, available))?;
    let (added, add_all) = set(&spec.cap_add)?;
    let basic: u64 =
        defaults::DEFAULT_CAPABILITIES.iter().filter_map(|name| defaults::capability(name)).sum();
    Ok(match (add_all, drop_all) {
        (true, _) => available & !dropped,
        (false, true) => added,
        (false, false) => (basic & available & !dropped) | added,
    })
}

/// Dropping what nobody has is no error.
fn without_unavailable(names: &Option<Vec<String>>, available: u64) -> Option<Vec<String>> {
    let keep = |name: &&String| defaults::capability(name).is_none_or(|bit| available & bit != 0);
    names.as_ref().map(|names| names.iter().filter(keep).cloned().collect())
}

/// Which filter a container asks for: the last `seccomp=` counts, privileged has none of itself, `None` is the
/// daemon's.
pub(super) fn seccomp_choice(spec: &SecuritySpec) -> Option<SeccompChoice> {
    let asked = spec.options.iter().flatten().rev().find_map(|option| match option {
        SecurityOption::Seccomp(choice) => Some(choice.clone()),
        _ => None,
    });
    match asked {
        None if spec.privileged => Some(SeccompChoice::Unconfined),
        other => other,
    }
}

/// The AppArmor profile to enter at exec; empty is none.
pub(crate) fn apparmor(spec: &SecuritySpec, host: &Host) -> String {
    if !host.apparmor {
        return String::new();
    }
    let asked = spec.options.iter().flatten().rev().find_map(|option| match option {
        SecurityOption::AppArmor(profile) => Some(profile.clone()),
        _ => None,
    });
    match asked {
        Some(profile) => profile,
        None if spec.privileged => "unconfined".into(),
        None => defaults::APPARMOR_PROFILE.into(),
    }
}

/// Whether no exec may gain privileges. `default` is the daemon's.
pub(super) fn no_new_privileges(spec: &SecuritySpec, default: bool) -> bool {
    let asked = spec.options.iter().flatten().rev().find_map(|option| match option {
        SecurityOption::NoNewPrivileges(on) => Some(*on),
        _ => None,
    });
    asked.unwrap_or(default)
}

/// Whether /sys/fs/cgroup can be written.
pub(super) fn writable_cgroups(spec: &SecuritySpec) -> bool {
    let asked = spec.options.iter().flatten().rev().find_map(|option| match option {
        SecurityOption::WritableCgroups(on) => Some(*on),
        _ => None,
    });
    asked.unwrap_or(spec.privileged)
}

/// Hidden and read-only paths.
pub(super) fn paths(spec: &ContainerSpec, host: &Host) -> (Vec<String>, Vec<String>) {
    let security = &spec.security;
    if security.privileged {
        return (Vec::new(), Vec::new());
    }
    let masked = security.masked_paths.clone().unwrap_or_else(|| defaults::masked_paths(&host.throttles));
    let readonly = security.readonly_paths.clone().unwrap_or_else(defaults::readonly_paths);
    (masked, readonly)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: u64 = (1 << 41) - 1;

    fn spec(add: &[&str], drop: &[&str]) -> SecuritySpec {
        let list = |names: &[&str]| Some(names.iter().map(|n| (*n).to_owned()).collect());
        SecuritySpec { cap_add: list(add), cap_drop: list(drop), ..Default::default() }
    }

    #[test]
    fn docker_s_fourteen_are_the_start() {
        assert_eq!(capabilities(&SecuritySpec::default(), ALL).unwrap(), 0xa804_25fb);
    }

    #[test]
    fn names_are_added_and_dropped_in_any_form() {
        for name in ["NET_ADMIN", "CAP_NET_ADMIN", "net_admin"] {
            assert_eq!(capabilities(&spec(&[name], &[]), ALL).unwrap(), 0xa804_25fb | 1 << 12);
        }
        assert_eq!(capabilities(&spec(&["CHOWN"], &["ALL"]), ALL).unwrap(), 1);
        assert_eq!(capabilities(&spec(&["ALL"], &["chown"]), ALL).unwrap(), ALL & !1);
        assert_eq!(capabilities(&spec(&[], &["cap_chown"]), ALL).unwrap(), 0xa804_25fa);
    }

    #[test]
    fn what_the_daemon_lacks_cannot_be_given_but_dropped() {
        let available = ALL & !(1 << 24);
        assert_eq!(
            capabilities(&SecuritySpec { privileged: true, ..Default::default() }, available).unwrap(),
            available
        );
        let error = capabilities(&spec(&["SYS_RESOURCE"], &[]), available).unwrap_err();
        assert!(error.to_string().contains("not available in the current environment"), "{error}");
        capabilities(&spec(&[], &["SYS_RESOURCE"]), available).unwrap();
        let error = capabilities(&spec(&["NONSENSE"], &[]), available).unwrap_err();
        assert_eq!(error.to_string(), "invalid CapAdd: unknown capability: \"CAP_NONSENSE\"");
    }
}
