//! Files of a result, for who asks a build's tree before it is exported.

use super::{
    Builds, copy,
    machine::Machine,
    view::{View, kind, names, open_in},
};
use minke_build::{
    BuildError, Client, Result, glob,
    host::{At, Entry, Host as _, ImageFound, Root},
    report::Reporter,
};
use minke_model::image::Platform;
use rustix::{
    fs::{AtFlags, FileType, OFlags, Stat},
    io::Errno,
};
use std::{
    io::{Read, Seek, SeekFrom},
    os::fd::AsFd,
    path::Path,
    sync::Arc,
};

/// Most bytes of a file that are read at once.
const MAX_FILE: u64 = 64 << 20;

fn failed(path: &str, error: Errno) -> BuildError {
    match error {
        Errno::NOENT | Errno::NOTDIR => {
            BuildError::not_found(format!("lstat {path}: no such file or directory"))
        }
        e => BuildError::io(format!("read {path}"))(e.into()),
    }
}

fn entry(path: String, stat: &Stat, link: Option<String>) -> Entry {
    Entry {
        path,
        mode: stat.st_mode,
        uid: stat.st_uid,
        gid: stat.st_gid,
        size: stat.st_size as u64,
        mtime: stat.st_mtime.saturating_mul(1_000_000_000).saturating_add(stat.st_mtime_nsec as i64),
        link,
        major: rustix::fs::major(stat.st_rdev),
        minor: rustix::fs::minor(stat.st_rdev),
        ..Entry::default()
    }
}

impl Builds {
    /// A file's bytes; of a range (offset and length) only those.
    pub async fn read_file(&self, root: &Root, path: &str, range: Option<(u64, u64)>) -> Result<Vec<u8>> {
        let (store, root, path) = (self.inner.store.clone(), root.clone(), path.to_owned());
        super::blocking(move || {
            let (mut file, _) =
                copy::open_file(&View::open(&store, &root)?, &path).map_err(|e| failed(&path, e))?;
            let (offset, length) = range.unwrap_or((0, MAX_FILE));
            let mut bytes = Vec::new();
            file.seek(SeekFrom::Start(offset))
                .and_then(|_| file.take(length.min(MAX_FILE)).read_to_end(&mut bytes))
                .map_err(BuildError::io(format!("read {path}")))?;
            Ok(bytes)
        })
        .await
    }

    /// A directory's entries, whose names a pattern takes; an empty one takes all.
    pub async fn read_dir(&self, root: &Root, path: &str, pattern: &str) -> Result<Vec<Entry>> {
        let (store, root, path, pattern) =
            (self.inner.store.clone(), root.clone(), path.to_owned(), pattern.to_owned());
        super::blocking(move || {
            let view = View::open(&store, &root)?;
            let flags = OFlags::RDONLY | OFlags::DIRECTORY;
            let dir = open_in(view.fd.as_fd(), Path::new(&path), flags).map_err(|e| failed(&path, e))?;
            let mut entries = Vec::new();
            for name in names(dir.as_fd()).map_err(|e| failed(&path, e))? {
                let shown = name.to_string_lossy().into_owned();
                let taken = pattern.is_empty()
                    || glob::matches(&pattern, &shown).map_err(|e| BuildError::invalid(e.to_string()))?;
                if !taken {
                    continue;
                }
                let stat = rustix::fs::statat(&dir, &name, AtFlags::SYMLINK_NOFOLLOW)
                    .map_err(|e| failed(&path, e))?;
                let link = match kind(&stat) {
                    FileType::Symlink => rustix::fs::readlinkat(&dir, &name, Vec::new())
                        .ok()
                        .map(|text| text.to_string_lossy().into_owned()),
                    _ => None,
                };
                entries.push(entry(shown, &stat, link));
            }
            Ok(entries)
        })
        .await
    }

    /// What lies at a path, links followed.
    pub async fn stat(&self, root: &Root, path: &str) -> Result<Entry> {
        let (store, root, path) = (self.inner.store.clone(), root.clone(), path.to_owned());
        super::blocking(move || {
            let view = View::open(&store, &root)?;
            let found =
                open_in(view.fd.as_fd(), Path::new(&path), OFlags::PATH).map_err(|e| failed(&path, e))?;
            let stat = rustix::fs::fstat(&found).map_err(|e| failed(&path, e))?;
            let name = Path::new(&path).file_name().map(|n| n.to_string_lossy().into_owned());
            Ok(entry(name.unwrap_or_else(|| "/".into()), &stat, None))
        })
        .await
    }

    /// An image's configuration, as a build would find it; with `pull`, as its registry has it.
    pub async fn image_config(
        &self,
        reference: &str,
        platform: &Platform,
        pull: bool,
        client: Arc<dyn Client>,
    ) -> Result<ImageFound> {
        let at = At { client, reporter: Reporter::new() };
        Machine(self.inner.clone()).image_config(reference, platform, pull, &at).await
    }
}
