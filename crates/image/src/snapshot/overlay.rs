//! overlayfs mounts that hang nowhere: a root descriptor, and gone when it is closed.
//!
//! With many layers their paths do not fit into the one page that mount(2) takes. From kernel 6.5 on each is given by
//! itself (`lowerdir+`, kernel commit b36a5780cb44); before, they are named by way of a descriptor, which keeps some
//! 180 of them within a page.

use crate::{ImageError, Result, disk, images::Inner};
use rustix::{
    fs::{CWD, Mode, OFlags},
    io::Errno,
    mount::{
        FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, OpenTreeFlags, UnmountFlags, fsconfig_create,
        fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, open_tree,
    },
};
use std::{
    ffi::CString,
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
};

/// Off, so that an upper directory tells all of a container's changes by itself: no data left in a lower file, no
/// directory that is a reference to another. A commit would lose what these hide.
const OPTIONS: &[(&str, &str)] = &[("redirect_dir", "off"), ("metacopy", "off"), ("index", "off")];

/// The same for mount(2).
const OPTIONS_TEXT: &str = "redirect_dir=off,metacopy=off,index=off";

/// Mounts `lower` (the topmost first) with an upper and a work directory, or read-only without.
pub(crate) fn mount(inner: &Inner, lower: &[PathBuf], upper: Option<(&Path, &Path)>) -> Result<OwnedFd> {
    match (lower, upper) {
        ([], None) => {
            // An image of nothing.
            let empty = inner.root.join("empty");
            disk::make_dir(&empty)?;
            return disk::open_dir(&empty);
        }
        // overlayfs wants two directories at least.
        ([only], None) => return disk::open_dir(only),
        _ => {}
    }
    match by_context(lower, upper, false) {
        Err(Errno::INVAL) => by_page(inner, lower, upper),
        other => other.map_err(|e| failed(lower, e)),
    }
}

/// As [`mount`], for an upper directory that a power cut may take: unmounting it writes nothing to disk (`volatile`,
/// kernel 5.10), where it else writes all of the file system. Only one such mount at a time.
pub(crate) fn mount_volatile(
    inner: &Inner,
    lower: &[PathBuf],
    (upper, work): (&Path, &Path),
) -> Result<OwnedFd> {
    if lower.is_empty() {
        return mount(inner, lower, Some((upper, work)));
    }
    // What an earlier such mount left, which would forbid this one.
    disk::remove_dir(&work.join("work/incompat"))?;
    by_context(lower, Some((upper, work)), true).or_else(|_| mount(inner, lower, Some((upper, work))))
}

fn failed(lower: &[PathBuf], error: Errno) -> ImageError {
    ImageError::Io { what: format!("mount an overlay of {} layers", lower.len()), source: error.into() }
}

fn attributes(upper: Option<(&Path, &Path)>) -> MountAttrFlags {
    let flags = MountAttrFlags::MOUNT_ATTR_NODEV | MountAttrFlags::MOUNT_ATTR_NOSUID;
    if upper.is_none() { flags | MountAttrFlags::MOUNT_ATTR_RDONLY } else { flags }
}

/// By the mount API, a call for each layer.
pub(super) fn by_context(
    lower: &[PathBuf],
    upper: Option<(&Path, &Path)>,
    volatile: bool,
) -> std::result::Result<OwnedFd, Errno> {
    let context = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
    for dir in lower {
        fsconfig_set_string(&context, "lowerdir+", dir)?;
    }
    if let Some((upper, work)) = upper {
        fsconfig_set_string(&context, "upperdir", upper)?;
        fsconfig_set_string(&context, "workdir", work)?;
    }
    for (name, value) in OPTIONS {
        fsconfig_set_string(&context, *name, *value)?;
    }
    if volatile {
        fsconfig_set_flag(&context, "volatile")?;
    }
    fsconfig_create(&context)?;
    fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes(upper))
}

/// By mount(2), for kernels before 6.5: mounted in a directory of ours for a moment, copied, unmounted.
pub(super) fn by_page(inner: &Inner, lower: &[PathBuf], upper: Option<(&Path, &Path)>) -> Result<OwnedFd> {
    let base =
        rustix::fs::open(&inner.root, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
            .map_err(|e| ImageError::io("open", &inner.root, e))?;
    let base = disk::proc_path(base.as_fd()) + "/";
    let short = |path: &Path| match path.strip_prefix(&inner.root) {
        Ok(rest) => format!("{base}{}", rest.display()),
        Err(_) => path.display().to_string(),
    };
    let layers: Vec<_> = lower.iter().map(|dir| short(dir)).collect();
    let mut data = format!("{OPTIONS_TEXT},lowerdir={}", layers.join(":"));
    if let Some((upper, work)) = upper {
        data += &format!(",upperdir={},workdir={}", short(upper), short(work));
    }
    let data = CString::new(data).map_err(|_| failed(lower, Errno::INVAL))?;
    let point = inner.ingest_dir();
    disk::make_dir(&point)?;
    let flags = MountFlags::NODEV | MountFlags::NOSUID;
    let flags = if upper.is_none() { flags | MountFlags::RDONLY } else { flags };
    let mounted = rustix::mount::mount("overlay", &point, "overlay", flags, &*data).and_then(|()| {
        let copied =
            open_tree(CWD, &point, OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC);
        rustix::mount::unmount(&point, UnmountFlags::DETACH)?;
        copied
    });
    // Not what is in it: were it still mounted, that would be the layers.
    rustix::fs::rmdir(&point).map_err(|e| ImageError::io("remove", &point, e))?;
    mounted.map_err(|e| failed(lower, e))
}
