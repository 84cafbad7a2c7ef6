//! An OCI bundle on disk: config.json beside an empty `rootfs`, on which the shim mounts the container's root.
//!
//! Lies below the container's directory in exec-root, so that it goes with it.

use serde_json::Value;
use std::{
    fs, io,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

/// Where the bundle of a container lies.
pub(crate) fn path(dir: &Path) -> PathBuf {
    dir.join("bundle")
}

/// Writes a bundle into `dir`, in place of an older one.
///
/// # Errors
/// When the directory cannot be written.
pub(crate) fn write(dir: &Path, config: &Value) -> io::Result<()> {
    let bundle = path(dir);
    fs::DirBuilder::new().recursive(true).mode(0o700).create(bundle.join("rootfs"))?;
    file(&bundle.join("config.json"), config)
}

/// Writes a process for `runc exec --process`; returns its path.
///
/// # Errors
/// When the directory cannot be written.
pub(crate) fn write_process(dir: &Path, exec: &str, process: &Value) -> io::Result<PathBuf> {
    let path = path(dir).join(format!("exec-{exec}.json"));
    file(&path, process)?;
    Ok(path)
}

/// Readable by the daemon alone: environments hold secrets.
fn file(path: &Path, value: &Value) -> io::Result<()> {
    let file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    serde_json::to_writer(io::BufWriter::new(file), value).map_err(io::Error::from)
}
