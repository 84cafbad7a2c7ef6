//! The shim's program: on a file system of its own that nobody can write, so that no container reaches it through
//! `/proc/self/exe` (CVE-2019-5736).
//!
//! Never: a place in any mount table. The file system goes with the last process that runs from it.

use crate::RuntimeError;
use rustix::{
    fs::{Mode, OFlags},
    mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, OpenTreeFlags},
};
use std::{
    io::{self, Write},
    os::{
        fd::{AsFd, AsRawFd, OwnedFd},
        unix::{net::UnixListener, process::CommandExt},
    },
    path::Path,
    process::{Command, Stdio},
};

/// What runs as shim.
#[derive(Debug)]
pub(crate) enum Program {
    /// A program named by the configuration, with its first arguments.
    Named(Vec<String>),
    /// A program that nobody can write.
    Held {
        /// Its file.
        file: OwnedFd,
        /// Its first arguments.
        args: Vec<String>,
    },
}

impl Program {
    /// Lays it out: `named` as it is, else `bytes`, else this very program with `shim`.
    pub(crate) fn find(named: &[String], bytes: Option<&[u8]>) -> Result<Program, RuntimeError> {
        if !named.is_empty() {
            return Ok(Program::Named(named.to_vec()));
        }
        Ok(match bytes {
            Some(bytes) => Program::Held {
                file: sealed_copy(bytes).map_err(RuntimeError::io("lay out the shim's program"))?,
                args: Vec::new(),
            },
            None => Program::Held {
                file: read_only_self().map_err(RuntimeError::io("lay out this program as shim"))?,
                args: vec!["shim".into()],
            },
        })
    }

    /// Starts a shim for the directory `dir`; its stdin is `listener`. Returns a handle of it.
    pub(crate) fn spawn(&self, dir: &Path, listener: UnixListener) -> io::Result<OwnedFd> {
        let (program, args) = match self {
            Program::Named(words) => (words[0].clone(), &words[1..]),
            // Resolved in the new process, before its descriptors close.
            Program::Held { file, args } => (format!("/proc/self/fd/{}", file.as_raw_fd()), &args[..]),
        };
        let mut command = Command::new(program);
        command.arg0("minke-shim").args(args).arg(dir).env_clear();
        command.stdin(Stdio::from(OwnedFd::from(listener))).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn()?;
        // Not reaped by anyone before the handle's owner does it: the id is still this child's.
        minke_linux::pidfd::open(child.id() as i32)
    }
}

/// `bytes` as a program on a file system that is read-only as a whole.
fn sealed_copy(bytes: &[u8]) -> io::Result<OwnedFd> {
    let fs = rustix::mount::fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    rustix::mount::fsconfig_set_string(fs.as_fd(), "source", "minke-shim")?;
    rustix::mount::fsconfig_set_string(fs.as_fd(), "mode", "0755")?;
    rustix::mount::fsconfig_create(fs.as_fd())?;
    let mount =
        rustix::mount::fsmount(fs.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::MOUNT_ATTR_NOSUID)?;
    let file = rustix::fs::openat(
        &mount,
        "minke-shim",
        OFlags::CREATE | OFlags::WRONLY | OFlags::CLOEXEC,
        Mode::from_raw_mode(0o555),
    )?;
    let mut file = std::fs::File::from(file);
    file.write_all(bytes)?;
    drop(file);
    rustix::mount::fsconfig_set_flag(fs.as_fd(), "ro")?;
    rustix::mount::fsconfig_reconfigure(fs.as_fd())?;
    Ok(rustix::fs::openat(&mount, "minke-shim", OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?)
}

/// The most bytes of this program that are copied; a larger one (built for debugging) is reached by a read-only mount.
const MAX_COPY: u64 = 48 << 20;

fn read_only_self() -> io::Result<OwnedFd> {
    let exe = std::fs::File::open("/proc/self/exe")?;
    if exe.metadata()?.len() <= MAX_COPY {
        return sealed_copy(&std::fs::read("/proc/self/exe")?);
    }
    let tree = rustix::mount::open_tree(
        exe.as_fd(),
        "",
        OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH,
    )?;
    minke_linux::mount::set_attributes(tree.as_fd(), minke_linux::mount::READ_ONLY, 0, false)?;
    Ok(tree)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// CVE-2019-5736: whoever holds the program's file cannot write it, nor make it writable.
    #[test]
    fn cve_2019_5736_the_program_cannot_be_written() {
        for file in [sealed_copy(&std::fs::read("/bin/true").unwrap()).unwrap(), read_only_self().unwrap()] {
            let path = format!("/proc/self/fd/{}", file.as_raw_fd());
            let error = std::fs::OpenOptions::new().write(true).open(&path).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::ReadOnlyFilesystem);
        }
    }

    #[test]
    fn a_held_program_runs() {
        let file = sealed_copy(&std::fs::read("/bin/true").unwrap()).unwrap();
        assert!(Command::new(format!("/proc/self/fd/{}", file.as_raw_fd())).status().unwrap().success());
    }
}
