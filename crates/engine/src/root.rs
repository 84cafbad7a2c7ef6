//! The data root: one daemon's, never Docker's, and what tells this daemon from others.

use crate::{Error, error::Result};
use minke_model::{ContainerId, id::hex};
use std::{os::fd::OwnedFd, path::Path};

/// One daemon a data root, and none of Docker's.
pub(crate) fn lock(root: &Path) -> Result<OwnedFd> {
    use rustix::fs::{FlockOperation, Mode, OFlags};
    std::fs::create_dir_all(root)
        .map_err(Error::io(format!("cannot make the data root {}", root.display())))?;
    // Both daemons keep an `engine-id`; only ours keeps a lock beside it.
    let docker = root.join("engine-id").is_file() || root.join("image").join("overlay2").is_dir();
    if docker && !root.join("lock").exists() {
        return Err(Error::Invalid(format!(
            "the data root {} was written by Docker: choose another with --data-root",
            root.display()
        )));
    }
    let path = root.join("lock");
    let open =
        rustix::fs::open(&path, OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC, Mode::from_raw_mode(0o600));
    let lock =
        open.map_err(|e| Error::Io { what: format!("cannot open {}", path.display()), source: e.into() })?;
    rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive).map_err(|_| {
        Error::Conflict(format!("the data root {} is in use by another daemon", root.display()))
    })?;
    Ok(lock)
}

/// The daemon's own identity, kept beside its data; in the form of a UUID, as Docker's.
pub(crate) fn machine_id(root: &Path) -> Result<String> {
    let path = root.join("engine-id");
    if let Ok(text) = std::fs::read_to_string(&path)
        && !text.trim().is_empty()
    {
        return Ok(text.trim().to_owned());
    }
    let hex = ContainerId::random();
    let h = hex.as_str();
    let id = format!("{}-{}-{}-{}-{}", &h[..8], &h[8..12], &h[12..16], &h[16..20], &h[20..32]);
    std::fs::write(&path, &id).map_err(Error::io(format!("cannot write {}", path.display())))?;
    Ok(id)
}

/// Eight hex digits that tell this daemon's things from others': of the data root's path.
pub(crate) fn daemon_id(root: &Path) -> String {
    // FNV-1a (64 bits): stable over releases, and no secret depends on it.
    let mut hash = 0xcbf2_9ce4_8422_2325u64;
    for byte in root.as_os_str().as_encoded_bytes() {
        hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    hex(&((hash >> 32) as u32 ^ hash as u32).to_be_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roots_are_told_apart_and_an_id_is_kept() {
        assert_ne!(daemon_id(Path::new("/var/lib/minke")), daemon_id(Path::new("/var/lib/minke2")));
        let root = std::env::temp_dir().join(format!("minke-root-{}", std::process::id()));
        let held = lock(&root).unwrap();
        assert_eq!(machine_id(&root).unwrap(), machine_id(&root).unwrap());
        let second = lock(&root).map(drop).map_err(|e| e.to_string());
        assert_eq!(second, Err(format!("the data root {} is in use by another daemon", root.display())));
        drop(held);
        lock(&root).map(drop).unwrap();
        std::fs::remove_dir_all(&root).unwrap();
    }

    #[test]
    fn a_root_of_docker_is_left_alone() {
        let root = std::env::temp_dir().join(format!("minke-root-docker-{}", std::process::id()));
        std::fs::create_dir_all(root.join("image/overlay2")).unwrap();
        let refused = lock(&root).map(drop).map_err(|e| e.to_string());
        assert!(refused.is_err_and(|e| e.contains("was written by Docker")));
        assert!(!root.join("lock").exists());
        std::fs::remove_dir_all(&root).unwrap();
    }
}
