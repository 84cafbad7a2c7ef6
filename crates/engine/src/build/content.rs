//! What files are, as one digest: names, bytes, modes, owners, links, extended attributes; not times.

use super::view::{Item, View, kind};
use minke_build::{BuildError, Result, host::Selection, key::Hasher};
use minke_model::id::Digest;
use rustix::fs::{FileType, OFlags};
use sha2::{Digest as _, Sha256};
use std::{
    collections::HashMap,
    io::Read,
    os::{fd::AsFd, unix::ffi::OsStrExt},
    path::{Path, PathBuf},
};

/// The digest of what a selection means. Blocks.
pub(super) fn digest(view: &View, selection: &Selection) -> Result<Digest> {
    let mut hasher = Hasher::new("content");
    let picked = view.select(selection).map_err(|e| not_found(e, &selection.path))?;
    let several = picked.len() > 1 || selection.pattern;
    for source in &picked {
        if several {
            hasher.text(&source.name);
        }
        hasher.number(u64::from(source.is_dir));
        let mut links: HashMap<(u64, u64), PathBuf> = HashMap::new();
        for item in &source.items {
            hash(&mut hasher, view, item, &mut links)?;
        }
    }
    Ok(hasher.finish())
}

/// BuildKit's sentence for what is not in a tree, which has no name that means anything to people.
pub(super) fn not_found(error: BuildError, path: &str) -> BuildError {
    let mut name = Hasher::new("ref");
    name.text(path);
    let name = name.finish();
    match error {
        BuildError::Other { kind, message } if kind == minke_model::Kind::NotFound => {
            let (first, second) = (&name.hex()[..25], &name.hex()[25..50]);
            let message = format!("failed to calculate checksum of ref {first}::{second}: {message}");
            BuildError::Key { verb: "compute", cause: Box::new(BuildError::other(kind, message)) }
        }
        other => other,
    }
}

fn hash(
    hasher: &mut Hasher,
    view: &View,
    item: &Item,
    links: &mut HashMap<(u64, u64), PathBuf>,
) -> Result<()> {
    let stat = &item.stat;
    hasher.bytes(item.relative.as_os_str().as_bytes());
    hasher.number(stat.st_mode.into()).number(stat.st_uid.into()).number(stat.st_gid.into());
    match kind(stat) {
        FileType::RegularFile => {
            if let Some(known) = view.kept.as_ref().and_then(|kept| kept.digest(&item.path)) {
                hasher.text(known.as_str());
                return Ok(());
            }
            if stat.st_nlink > 1 {
                let first = links.entry((stat.st_dev, stat.st_ino)).or_insert_with(|| item.relative.clone());
                hasher.bytes(first.as_os_str().as_bytes());
            }
            hasher.text(file(view, &item.path)?.as_str());
        }
        FileType::Symlink => {
            hasher.bytes(read_link(view, &item.path)?.as_os_str().as_bytes());
        }
        FileType::CharacterDevice | FileType::BlockDevice => {
            hasher.number(stat.st_rdev);
        }
        _ => {}
    }
    Ok(())
}

/// Where a link leads.
pub(super) fn read_link(view: &View, path: &Path) -> Result<PathBuf> {
    let failed = |e: rustix::io::Errno| BuildError::io(format!("read {}", path.display()))(e.into());
    let fd = super::view::open_in(view.fd.as_fd(), path, OFlags::PATH | OFlags::NOFOLLOW).map_err(failed)?;
    let text = rustix::fs::readlinkat(&fd, c"", Vec::new()).map_err(failed)?.into_bytes();
    Ok(PathBuf::from(std::ffi::OsStr::from_bytes(&text)))
}

/// The digest of a file's bytes.
fn file(view: &View, path: &Path) -> Result<Digest> {
    let failed = |e: std::io::Error| BuildError::io(format!("read {}", path.display()))(e);
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let fd = super::view::open_in(view.fd.as_fd(), path, flags).map_err(|e| failed(e.into()))?;
    let mut file = std::fs::File::from(fd);
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 128 << 10];
    loop {
        match file.read(&mut buffer).map_err(failed)? {
            0 => return Ok(Digest::from_sha256(&hash.finalize())),
            count => hash.update(&buffer[..count]),
        }
    }
}
