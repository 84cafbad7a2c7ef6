//! The layer with mount points: what every container needs and few images have.
//!
//! One for each stack of layers, made once; empty files and directories only, as Docker's `-init` layers (moby
//! `daemon/initlayer/setup_unix.go`): an image's own `/etc/hosts` and the like are hidden by empty files, over which
//! a start then mounts the container's.

use crate::{ImageError, Result, config, disk, gc, images::Inner, layer::LayerLease, path, snapshot};
use minke_model::id::Digest;
use rustix::{
    fs::{AtFlags, FileType, Mode, OFlags},
    io::Errno,
};
use std::{
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::PathBuf,
    sync::PoisonError,
};

enum Point {
    Dir,
    File,
    Link(&'static str),
}

/// Parents before children.
const POINTS: &[(&str, Point)] = &[
    ("dev", Point::Dir),
    ("dev/pts", Point::Dir),
    ("dev/shm", Point::Dir),
    ("dev/console", Point::File),
    ("proc", Point::Dir),
    ("sys", Point::Dir),
    (".dockerenv", Point::File),
    ("etc", Point::Dir),
    ("etc/resolv.conf", Point::File),
    ("etc/hosts", Point::File),
    ("etc/hostname", Point::File),
    ("etc/mtab", Point::Link("/proc/mounts")),
];

/// The name of the layer for this stack, from the bottom: half of the chain id's digits.
pub(crate) fn init_name(diff_ids: &[Digest]) -> String {
    match config::chain_ids(diff_ids).last() {
        Some(chain) => chain.hex()[..32].to_owned(),
        None => "none".to_owned(),
    }
}

/// Where it lies.
pub(super) fn path(inner: &Inner, name: &str) -> PathBuf {
    inner.root.join("init").join(name)
}

/// Makes it, if it is not there yet. Returns its name.
pub(super) fn ensure(inner: &Inner, layers: &[LayerLease]) -> Result<String> {
    let diff_ids: Vec<_> = layers.iter().map(|l| l.diff_id().clone()).collect();
    let name = init_name(&diff_ids);
    let place = path(inner, &name);
    if disk::exists(&place) {
        return Ok(name);
    }
    let _making = inner.making_init.lock().unwrap_or_else(PoisonError::into_inner);
    if disk::exists(&place) {
        return Ok(name);
    }
    let dir = inner.ingest_dir();
    disk::make_dir(&dir)?;
    let (upper, work) = (dir.join("d"), dir.join("w"));
    disk::make_dir_with(&upper, snapshot::ROOT_MODE)?;
    let root = if layers.is_empty() {
        disk::open_dir(&upper)?
    } else {
        disk::make_dir(&work)?;
        snapshot::overlay::mount(inner, &snapshot::stack(layers), Some((&upper, &work)))?
    };
    for (point, kind) in POINTS {
        make(root.as_fd(), point, kind).map_err(|e| ImageError::io("make mount point", point, e))?;
    }
    drop(root);
    std::fs::rename(&upper, &place).map_err(|e| ImageError::io("rename", &upper, e))?;
    disk::remove_dir(&dir)?;
    Ok(name)
}

/// Makes one mount point, in the place of whatever is there and is not of that sort. A directory in the place of a
/// file stays, as in Docker: the mount over it then fails and says so.
fn make(root: BorrowedFd<'_>, point: &str, kind: &Point) -> std::result::Result<(), Errno> {
    let (parent, name) = path::split(point.as_bytes());
    let parent: OwnedFd =
        path::open_beneath(root, parent, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())?;
    let name = path::c_string(name)?;
    match rustix::fs::statat(&parent, &*name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Directory => return Ok(()),
        Ok(_) => rustix::fs::unlinkat(&parent, &*name, AtFlags::empty())?,
        Err(Errno::NOENT) => {}
        Err(e) => return Err(e),
    }
    let mode = Mode::from_raw_mode(0o755);
    let made = match kind {
        Point::Link(target) => return rustix::fs::symlinkat(*target, &parent, &*name),
        Point::Dir => {
            rustix::fs::mkdirat(&parent, &*name, mode)?;
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            rustix::fs::openat(&parent, &*name, flags, Mode::empty())?
        }
        Point::File => {
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
            rustix::fs::openat(&parent, &*name, flags, mode)?
        }
    };
    // The process's umask may have taken bits away.
    rustix::fs::fchmod(made, mode)
}

/// Removes the layers with mount points that neither an image nor a container uses.
pub(crate) fn collect_inits(inner: &Inner) -> Result<()> {
    let _making = inner.making_init.lock().unwrap_or_else(PoisonError::into_inner);
    let root = inner.root.join("init");
    let used = gc::used_inits(&inner.state());
    for name in disk::names(&root)?.into_iter().filter(|name| !used.contains(name) && name != "none") {
        inner.discard_dir(&root.join(name))?;
    }
    Ok(())
}
