//! A container's root as its processes see it: that of the process when it runs; else put together, with its volumes,
//! in a mount namespace that one thread makes and that goes with it. The host's mount table never sees it.

use super::{Cell, Containers};
use crate::{Error, error::Result};
use minke_model::{Container, mount::MountKind};
use rustix::{
    fs::{Mode, OFlags},
    mount::{MountPropagationFlags, MoveMountFlags, OpenTreeFlags},
    thread::UnshareFlags,
};
use std::{
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::PathBuf,
};

/// A mount to put into the root: where from, where to.
struct Attach {
    source: PathBuf,
    target: String,
}

impl Containers {
    /// Does `work` with the container's root open. Every path below it must be opened with openat2(RESOLVE_IN_ROOT).
    pub(crate) async fn with_root<T: Send + 'static>(
        &self,
        cell: &Cell,
        work: impl FnOnce(BorrowedFd<'_>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        if let Some(process) = cell.process().filter(|_| cell.state().is_up()) {
            match open_process_root(process.pid()) {
                Ok(root) => return crate::blocking(move || work(root.as_fd())).await?,
                // It ends just now: what it leaves is in its own tree.
                Err(e) if is_gone(&e) => {}
                Err(e) => return Err(e),
            }
        }
        let record = cell.record();
        let attach = self.attachable(&record);
        let (store, id) = (self.inner.store.clone(), cell.id.clone());
        let anchor = self.inner.config.exec_root.join("view");
        std::fs::create_dir_all(&anchor).map_err(Error::io(format!("cannot make {}", anchor.display())))?;
        let (sender, receiver) = tokio::sync::oneshot::channel();
        let thread = std::thread::Builder::new().name("root".into()).spawn(move || {
            let done = store.open_rootfs(&id).map_err(Error::from).and_then(|overlay| {
                let root = assemble(overlay, &attach, &anchor)?;
                work(root.as_fd())
            });
            // Nobody waits any more when the client left.
            let _ = sender.send(done);
        });
        thread.map_err(Error::io("cannot start a thread"))?;
        receiver
            .await
            .map_err(|_| Error::Internal(format!("reading the root of container {} failed", cell.id)))?
    }

    /// A container's own tree, without what is mounted into it.
    pub(super) async fn own_tree(&self, cell: &Cell) -> Result<OwnedFd> {
        if let Some(process) = cell.process().filter(|_| cell.state().is_up()) {
            match self.tree_of_process(cell, process.pid()).await {
                // It ends just now: what it leaves is in its own tree.
                Err(e) if is_gone(&e) => {}
                opened => return opened,
            }
        }
        let (store, id) = (self.inner.store.clone(), cell.id.clone());
        Ok(crate::blocking(move || store.open_rootfs(&id)).await??)
    }

    async fn tree_of_process(&self, cell: &Cell, pid: i32) -> Result<OwnedFd> {
        let (sender, receiver) = tokio::sync::oneshot::channel();
        // A thread of its own: it enters the container's mount namespace and never comes back.
        let thread = std::thread::Builder::new().name("root".into()).spawn(move || {
            // Nobody waits any more when the client left.
            let _ = sender.send(copy_root_mount(pid));
        });
        thread.map_err(Error::io("cannot start a thread"))?;
        receiver
            .await
            .map_err(|_| Error::Internal(format!("reading the root of container {} failed", cell.id)))?
    }

    /// Volumes and binds that exist now, parents first.
    fn attachable(&self, record: &Container) -> Vec<Attach> {
        let mut attach: Vec<Attach> = record
            .mounts
            .iter()
            .filter(|m| matches!(m.kind, MountKind::Volume | MountKind::Bind))
            .map(|m| Attach {
                source: PathBuf::from(&m.source).join(m.subpath.trim_start_matches('/')),
                target: m.destination.clone(),
            })
            .filter(|a| a.source.exists())
            .collect();
        attach.sort_by_key(|a| a.target.matches('/').count());
        attach
    }
}

/// Whether a process was not there any more.
fn is_gone(error: &Error) -> bool {
    let gone = [rustix::io::Errno::NOENT, rustix::io::Errno::SRCH].map(|e| Some(e.raw_os_error()));
    matches!(error, Error::Io { source, .. } if gone.contains(&source.raw_os_error()))
}

fn open_process_root(pid: i32) -> Result<OwnedFd> {
    let path = format!("/proc/{pid}/root");
    rustix::fs::open(&path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .map_err(|e| Error::Io { what: format!("cannot open {path}"), source: e.into() })
}

/// A copy of the root mount alone, taken inside the process' mount namespace.
fn copy_root_mount(pid: i32) -> Result<OwnedFd> {
    let failed = || Error::io(format!("cannot enter the mount namespace of process {pid}"));
    let namespace = minke_linux::namespace::open(pid, "mnt").map_err(failed())?;
    minke_linux::namespace::unshare(u64::from(UnshareFlags::FS.bits())).map_err(failed())?;
    minke_linux::namespace::join(namespace.as_fd(), u64::from(UnshareFlags::NEWNS.bits()))
        .map_err(failed())?;
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    rustix::mount::open_tree(rustix::fs::CWD, "/", flags).map_err(|e| Error::Io {
        what: format!("cannot copy the root mount of process {pid}"),
        source: e.into(),
    })
}

/// Mounts the overlay and what belongs into it, in a mount namespace of this thread's own.
fn assemble(overlay: OwnedFd, attach: &[Attach], anchor: &PathBuf) -> Result<OwnedFd> {
    let failed = |what: &str| {
        let what = format!("cannot {what}");
        move |e: rustix::io::Errno| Error::Io { what, source: e.into() }
    };
    minke_linux::namespace::unshare(u64::from(UnshareFlags::NEWNS.bits()))
        .map_err(Error::io("cannot make a mount namespace"))?;
    rustix::mount::mount_change("/", MountPropagationFlags::REC | MountPropagationFlags::PRIVATE)
        .map_err(failed("make mounts private"))?;
    rustix::mount::move_mount(&overlay, "", rustix::fs::CWD, anchor, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
        .map_err(failed("mount the container's root"))?;
    let root = rustix::fs::open(anchor, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .map_err(failed("open the container's root"))?;
    for Attach { source, target } in attach {
        // A start makes missing places too.
        let place = match source.is_dir() {
            true => minke_linux::mount::make_dir_in_root(root.as_fd(), target),
            false => minke_linux::mount::make_file_in_root(root.as_fd(), target),
        };
        let place = place.map_err(Error::io(format!("cannot open {target} of the container")))?;
        let tree = rustix::mount::open_tree(
            rustix::fs::CWD,
            source,
            OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_RECURSIVE,
        )
        .map_err(failed(&format!("take a copy of the mount {}", source.display())))?;
        rustix::mount::move_mount(
            &tree,
            "",
            &place,
            "",
            MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH,
        )
        .map_err(failed(&format!("mount {} at {target}", source.display())))?;
    }
    Ok(root)
}
