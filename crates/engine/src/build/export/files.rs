//! Files of a result for clients: as entries one by one, or as one tar.

use crate::build::view::{Item, View, kind};
use minke_build::{
    BuildError, Result,
    host::{Entry, Files, Selection},
    request::BuiltImage,
};
use minke_image::{ImageError, Images as Store, tree};
use rustix::fs::{FileType, OFlags};
use std::{
    collections::HashMap,
    io::{self, Write},
    os::fd::AsFd,
    path::Path,
};

/// Trees of a build, each below its directory.
pub(super) struct TreeFiles {
    trees: Vec<(String, View, Option<i64>)>,
}

impl TreeFiles {
    /// Opens the images' trees; `split` puts each into a directory of its platform's name. Blocks.
    pub(super) fn open(store: &Store, images: &[BuiltImage], split: bool) -> Result<Self> {
        let open = |image: &BuiltImage| {
            let directory = if split { super::directory_of(&image.platform) } else { String::new() };
            Ok((directory, View::open(store, &image.root)?, image.epoch))
        };
        Ok(Self { trees: images.iter().map(open).collect::<Result<_>>()? })
    }
}

fn other(error: BuildError) -> io::Error {
    io::Error::other(error.to_string())
}

impl Files for TreeFiles {
    fn walk(&self, each: &mut dyn FnMut(Entry) -> io::Result<()>) -> io::Result<()> {
        for (directory, view, epoch) in &self.trees {
            if !directory.is_empty() {
                each(Entry { path: directory.clone(), mode: 0o040755, ..Entry::default() })?;
            }
            let mut links: HashMap<(u64, u64), String> = HashMap::new();
            for picked in view.select(&Selection::plain("/")).map_err(other)? {
                for item in picked.items {
                    let mut path = item.relative.to_string_lossy().into_owned();
                    if !directory.is_empty() {
                        path = format!("{directory}/{path}");
                    }
                    each(entry(view, &item, path, *epoch, &mut links)?)?;
                }
            }
        }
        Ok(())
    }

    fn open(&self, path: &str) -> io::Result<std::fs::File> {
        for (directory, view, _) in &self.trees {
            let inner = match directory.is_empty() {
                true => Some(path),
                false => path.strip_prefix(directory.as_str()).and_then(|rest| rest.strip_prefix('/')),
            };
            if let Some(inner) = inner {
                let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK;
                return Ok(crate::build::view::open_in(view.fd.as_fd(), Path::new(inner), flags)?.into());
            }
        }
        Err(io::ErrorKind::NotFound.into())
    }
}

fn entry(
    view: &View,
    item: &Item,
    path: String,
    epoch: Option<i64>,
    links: &mut HashMap<(u64, u64), String>,
) -> io::Result<Entry> {
    let stat = &item.stat;
    let nanos = stat.st_mtime.saturating_mul(1_000_000_000).saturating_add(stat.st_mtime_nsec as i64);
    let mut entry = Entry {
        path: path.clone(),
        mode: stat.st_mode,
        uid: stat.st_uid,
        gid: stat.st_gid,
        mtime: epoch.map_or(nanos, |seconds| nanos.min(seconds.saturating_mul(1_000_000_000))),
        major: rustix::fs::major(stat.st_rdev),
        minor: rustix::fs::minor(stat.st_rdev),
        ..Entry::default()
    };
    match kind(stat) {
        FileType::RegularFile if stat.st_nlink > 1 => match links.get(&(stat.st_dev, stat.st_ino)) {
            Some(first) => entry.link = Some(first.clone()),
            None => {
                links.insert((stat.st_dev, stat.st_ino), path);
                entry.size = stat.st_size as u64;
            }
        },
        FileType::RegularFile => entry.size = stat.st_size as u64,
        FileType::Symlink => {
            let text = crate::build::content::read_link(view, &item.path).map_err(other)?;
            entry.link = Some(text.to_string_lossy().into_owned());
        }
        _ => {}
    }
    Ok(entry)
}

/// Writes a tree as one tar.
pub(super) fn write_tar(
    view: &View,
    _epoch: Option<i64>,
    out: &mut dyn Write,
) -> std::result::Result<(), ImageError> {
    tree::write_tar(view.fd.as_fd(), "/", out, &tree::WriteOptions::default())
}
