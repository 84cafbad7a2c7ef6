//! Whether a bind's source lies on a mount that can travel as asked (mount_namespaces(7)): told before a start, as the
//! kernel itself would say nothing and do nothing.

use crate::{
    RuntimeError,
    request::{MountSource, ResolvedMount},
};
use minke_model::mount::Propagation;
use std::path::Path;

/// Refuses mounts that ask to travel from where nothing travels.
///
/// # Errors
/// In Docker's words, or when /proc cannot be read.
pub(crate) fn check(mounts: &[ResolvedMount]) -> Result<(), RuntimeError> {
    let travels = |m: &ResolvedMount| {
        m.propagation.is_some_and(|p| !matches!(p, Propagation::Private | Propagation::Rprivate))
    };
    if !mounts.iter().any(travels) {
        return Ok(());
    }
    let mountinfo = std::fs::read_to_string("/proc/self/mountinfo")
        .map_err(RuntimeError::io("read /proc/self/mountinfo"))?;
    for mount in mounts {
        if let (MountSource::Path(source), Some(propagation)) = (&mount.source, mount.propagation) {
            let source = std::fs::canonicalize(source).unwrap_or_else(|_| source.clone());
            check_one(&mountinfo, &source, propagation).map_err(RuntimeError::Invalid)?;
        }
    }
    Ok(())
}

/// One source against the mounts there are.
fn check_one(mountinfo: &str, source: &Path, propagation: Propagation) -> Result<(), String> {
    let (slaves_too, words) = match propagation {
        Propagation::Private | Propagation::Rprivate => return Ok(()),
        Propagation::Shared | Propagation::Rshared => (false, "shared"),
        Propagation::Slave | Propagation::Rslave => (true, "shared or slave"),
    };
    let mut nearest: Option<(&str, bool)> = None;
    for line in mountinfo.lines() {
        let fields: Vec<&str> = line.split(' ').collect();
        let Some(target) = fields.get(4).filter(|target| source.starts_with(target)) else { continue };
        let optional = fields.iter().skip(6).take_while(|field| **field != "-");
        let travels = optional
            .into_iter()
            .any(|f| f.starts_with("shared:") || (slaves_too && f.starts_with("master:")));
        // Of mounts in one place the last is on top.
        if nearest.is_none_or(|(old, _)| target.len() >= old.len()) {
            nearest = Some((target, travels));
        }
    }
    match nearest {
        Some((target, false)) => {
            Err(format!("path {} is mounted on {target} but it is not a {words} mount", source.display()))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "1 0 8:1 / / rw,relatime - ext4 /dev/sda rw\n\
        2 1 0:5 / /mnt/a rw shared:3 - tmpfs a rw\n\
        3 1 0:6 / /mnt/b rw master:3 - tmpfs b rw\n";

    #[test]
    fn only_what_can_travel_may_be_asked_to() {
        let ask = |path: &str, propagation| check_one(MOUNTS, Path::new(path), propagation);
        ask("/mnt/a/x", Propagation::Rshared).unwrap();
        ask("/mnt/b", Propagation::Rslave).unwrap();
        ask("/etc", Propagation::Rprivate).unwrap();
        let error = ask("/etc", Propagation::Shared).unwrap_err();
        assert_eq!(error, "path /etc is mounted on / but it is not a shared mount");
        let error = ask("/mnt/ab", Propagation::Slave).unwrap_err();
        assert_eq!(error, "path /mnt/ab is mounted on / but it is not a shared or slave mount");
        ask("/mnt/b", Propagation::Shared).unwrap_err();
    }
}
