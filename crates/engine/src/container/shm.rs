//! The shared memory of containers that others may join (`--ipc shareable`): a mount of the host's, as Docker has it, so
//! that what looks at the host finds it. That of all others is their own, and made inside.

use super::Containers;
use crate::{Error, error::Result};
use minke_model::{Container, ContainerId, container::IpcSharing};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use std::{ffi::CString, fs, path::PathBuf};

impl Containers {
    /// Where it lies.
    fn shm(&self, id: &ContainerId) -> PathBuf {
        self.directory(id).join("mounts/shm")
    }

    /// Makes it for a container that starts; `None` for those that do not share theirs.
    pub(super) fn mount_shm(&self, record: &Container) -> Result<Option<PathBuf>> {
        if record.spec.namespaces.ipc != IpcSharing::Shareable {
            return Ok(None);
        }
        let path = self.shm(&record.id);
        let failed = |what: &str| Error::io(format!("cannot {what} {}", path.display()));
        self.unmount_shm(record);
        fs::create_dir_all(&path).map_err(failed("make"))?;
        let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
        let size = CString::new(format!("mode=1777,size={}", record.spec.shm_size)).unwrap_or_default();
        mount("shm", &path, "tmpfs", flags, Some(size.as_c_str()))
            .map_err(|errno| failed("mount shared memory on")(errno.into()))?;
        Ok(Some(path))
    }

    /// Takes it away; containers that joined keep theirs.
    pub(super) fn unmount_shm(&self, record: &Container) {
        if record.spec.namespaces.ipc != IpcSharing::Shareable {
            return;
        }
        let path = self.shm(&record.id);
        match unmount(&path, UnmountFlags::DETACH) {
            // Nothing is mounted there, or nothing is there at all.
            Ok(()) | Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOENT) => {}
            Err(errno) => tracing::warn!("cannot unmount {}: {errno}", path.display()),
        }
    }
}
