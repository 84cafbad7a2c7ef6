//! Secrets and configs as files of a task: in memory, never on a disk, gone with the task.

use minke_cluster::{
    assign::{AssignedTask, FileData, NodeState},
    template::Context,
};
use minke_model::{
    TaskId,
    mount::{MountKind, MountSpec},
    service::FileTarget,
};
use rustix::{
    fs::{Gid, Mode, Uid},
    io::Errno,
};
use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// Where secrets with a relative path lie in a container.
const SECRETS: &str = "/run/secrets";
/// Options of the file system: nothing in it is a device, a program or swapped out.
const FLAGS: u64 = (libc_flags::NOSUID | libc_flags::NODEV | libc_flags::NOEXEC) as u64;

mod libc_flags {
    use rustix::mount::MountFlags;
    pub(super) const NOSUID: u32 = MountFlags::NOSUID.bits();
    pub(super) const NODEV: u32 = MountFlags::NODEV.bits();
    pub(super) const NOEXEC: u32 = MountFlags::NOEXEC.bits();
}

/// A file that a task gets. Its data is never printed.
pub(super) struct File {
    pub(super) target: String,
    pub(super) owner: FileTarget,
    pub(super) data: Vec<u8>,
}

/// The files of a task, with templates filled in.
///
/// # Errors
/// A secret or config that is not here, or a template that cannot be filled in.
pub(super) fn of(task: &AssignedTask, state: &NodeState, context: &Context<'_>) -> Result<Vec<File>, String> {
    let mut files = Vec::new();
    let container = &task.spec.container;
    for reference in &container.secrets {
        let Some(owner) = &reference.file else { continue };
        let data =
            state.secrets.get(&reference.id).ok_or_else(|| format!("secret {} not found", reference.name))?;
        let target = if owner.path.starts_with('/') {
            owner.path.clone()
        } else {
            format!("{SECRETS}/{}", owner.path)
        };
        files.push(File { target, owner: owner.clone(), data: fill("secret", data, context)? });
    }
    for reference in &container.configs {
        let Some(owner) = &reference.file else { continue };
        let data =
            state.configs.get(&reference.id).ok_or_else(|| format!("config {} not found", reference.name))?;
        let target =
            if owner.path.starts_with('/') { owner.path.clone() } else { format!("/{}", owner.path) };
        files.push(File { target, owner: owner.clone(), data: fill("config", data, context)? });
    }
    Ok(files)
}

fn fill(kind: &str, data: &FileData, context: &Context<'_>) -> Result<Vec<u8>, String> {
    if data.templating.is_empty() {
        return Ok(data.data.clone());
    }
    if data.templating != "golang" {
        return Err(format!("unrecognized template type: {}", data.templating));
    }
    let text = String::from_utf8_lossy(&data.data);
    let filled =
        context.expand(&text).map_err(|e| format!("failed to expand templated {kind} {}: {e}", data.name))?;
    Ok(filled.into_owned().into_bytes())
}

/// Where the files of tasks lie: one file system in memory a task. Clones are the same place.
#[derive(Clone)]
pub(super) struct Files {
    root: PathBuf,
}

impl Files {
    pub(super) fn new(root: PathBuf) -> Self {
        Files { root }
    }

    /// Writes the files of a task, anew; what is mounted where.
    pub(super) fn write(&self, task: &TaskId, files: Vec<File>) -> io::Result<Vec<MountSpec>> {
        if files.is_empty() {
            return Ok(Vec::new());
        }
        self.remove(task)?;
        let place = self.place(task);
        fs::create_dir_all(&place)?;
        let target = place.to_string_lossy();
        minke_linux::mount::mount_path(
            Some("tmpfs"),
            &target,
            Some("tmpfs"),
            FLAGS,
            Some("mode=0700,noswap"),
        )
        // Before Linux 6.4 there is no `noswap`.
        .or_else(|_| {
            minke_linux::mount::mount_path(Some("tmpfs"), &target, Some("tmpfs"), FLAGS, Some("mode=0700"))
        })?;
        let written =
            files.into_iter().enumerate().map(|(n, file)| self.write_one(&place.join(n.to_string()), file));
        let written: io::Result<Vec<MountSpec>> = written.collect();
        if written.is_err() {
            self.remove(task)?;
        }
        written
    }

    fn write_one(&self, path: &Path, file: File) -> io::Result<MountSpec> {
        let number =
            |text: &str| if text.is_empty() { Ok(0) } else { text.parse::<u32>().map_err(io::Error::other) };
        let (uid, gid) = (number(&file.owner.uid)?, number(&file.owner.gid)?);
        fs::write(path, &file.data)?;
        rustix::fs::chown(path, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))?;
        rustix::fs::chmod(path, Mode::from_raw_mode(file.owner.mode & 0o7777))?;
        Ok(MountSpec {
            kind: MountKind::Bind,
            source: path.to_string_lossy().into_owned(),
            target: file.target,
            read_only: true,
            consistency: String::new(),
            bind: None,
            volume: None,
            tmpfs: None,
            image_subpath: None,
        })
    }

    /// Takes the files of a task away. Nothing happens where there are none.
    pub(super) fn remove(&self, task: &TaskId) -> io::Result<()> {
        let place = self.place(task);
        match rustix::mount::unmount(&place, rustix::mount::UnmountFlags::DETACH) {
            // Not there, or nothing is mounted: a crash came between the two steps.
            Ok(()) | Err(Errno::NOENT | Errno::INVAL) => {}
            Err(error) => return Err(error.into()),
        }
        match fs::remove_dir(&place) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    fn place(&self, task: &TaskId) -> PathBuf {
        self.root.join(task.as_str())
    }
}
