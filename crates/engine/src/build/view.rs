//! Trees as builds read them: opened without a way out, and what of them a `COPY` means.
//!
//! All opening is by openat2(2) inside of the tree: a stage's links lead nowhere else.

use super::contexts::Kept;
use minke_build::{
    BuildError, Result, glob,
    host::{Root, Selection},
    ignore::{Above, Ignore},
};
use minke_image::{Chain, Images as Store};
use rustix::{
    fs::{AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags, Stat},
    io::Errno,
};
use std::{
    ffi::OsStr,
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::{Path, PathBuf},
    sync::Arc,
};

/// Directories inside of each other that are walked.
const MAX_DEPTH: usize = 512;
/// How often an open is tried that others disturb.
const MAX_TRIES: usize = 64;

/// A tree that is open.
pub(crate) struct View {
    pub(crate) fd: OwnedFd,
    /// What is known of a kept directory's files.
    pub(crate) kept: Option<Arc<Kept>>,
}

/// One entry that a selection means.
pub(crate) struct Item {
    /// Where it lies in its tree: no links on the way.
    pub(crate) path: PathBuf,
    /// Where it belongs below its source; empty is the source itself.
    pub(crate) relative: PathBuf,
    pub(crate) stat: Stat,
}

/// One source that a selection means.
pub(crate) struct Picked {
    /// Its name, as it was written.
    pub(crate) name: String,
    /// It itself, where it is no directory; else what is in it, directories first.
    pub(crate) items: Vec<Item>,
    pub(crate) is_dir: bool,
    /// The directory's own attributes.
    pub(crate) stat: Stat,
}

pub(crate) fn kind(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}

/// Opens as a process inside of `root` would, links included.
pub(crate) fn open_in(
    root: BorrowedFd<'_>,
    path: &Path,
    flags: OFlags,
) -> std::result::Result<OwnedFd, Errno> {
    let clean = clean(path);
    let path = if clean.as_os_str().is_empty() { Path::new(".") } else { &clean };
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    for _ in 1..MAX_TRIES {
        match rustix::fs::openat2(root, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve) {
            Err(Errno::AGAIN | Errno::INTR) => {}
            other => return other,
        }
    }
    rustix::fs::openat2(root, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve)
}

/// Relative, without `.`, `..` and doubled slashes; `..` at the root stays there.
pub(crate) fn clean(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            std::path::Component::Normal(name) => out.push(name),
            std::path::Component::ParentDir => drop(out.pop()),
            _ => {}
        }
    }
    out
}

/// The path of an open file, for calls that take only paths.
pub(crate) fn proc_path(fd: BorrowedFd<'_>) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", fd.as_raw_fd()))
}

/// Opens what a descriptor that opens nothing has found.
pub(crate) fn reopen(found: BorrowedFd<'_>, flags: OFlags) -> std::result::Result<OwnedFd, Errno> {
    rustix::fs::open(proc_path(found), flags | OFlags::CLOEXEC, Mode::empty())
}

/// Where an open file lies below `root`.
fn place(root: BorrowedFd<'_>, fd: BorrowedFd<'_>) -> Option<PathBuf> {
    let root = std::fs::read_link(proc_path(root)).ok()?;
    let place = std::fs::read_link(proc_path(fd)).ok()?;
    place.strip_prefix(&root).map(Path::to_owned).ok()
}

/// Names in a directory, in byte order.
pub(crate) fn names(dir: BorrowedFd<'_>) -> std::result::Result<Vec<std::ffi::OsString>, Errno> {
    let mut names = Vec::new();
    for entry in Dir::read_from(dir)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            names.push(OsStr::from_bytes(name).to_owned());
        }
    }
    names.sort_unstable_by(|a, b| a.as_bytes().cmp(b.as_bytes()));
    Ok(names)
}

impl View {
    /// Opens a tree. Blocks.
    pub(crate) fn open(store: &Store, root: &Root) -> Result<View> {
        match root {
            Root::Layers { chain, keep } => {
                let chain = chain_of(store, chain, keep)?;
                Ok(View { fd: store.open_chain(&chain)?, kept: None })
            }
            Root::Directory { path, keep } => {
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
                let fd = rustix::fs::open(&**path, flags, Mode::empty())
                    .map_err(|e| BuildError::io(format!("open {}", path.display()))(e.into()))?;
                Ok(View { fd, kept: keep.clone().downcast::<Kept>().ok() })
            }
        }
    }

    /// Whether something lies at a path; a link at its end counts.
    pub(crate) fn has(&self, path: &str) -> bool {
        open_in(self.fd.as_fd(), Path::new(path), OFlags::PATH | OFlags::NOFOLLOW).is_ok()
    }

    /// Whether a path leads to something, links followed.
    pub(crate) fn leads(&self, path: &str) -> bool {
        open_in(self.fd.as_fd(), Path::new(path), OFlags::PATH).is_ok()
    }

    /// What a selection means. A path that is missing is an error, a pattern that matches nothing is none.
    pub(crate) fn select(&self, selection: &Selection) -> Result<Vec<Picked>> {
        if let Some((pattern, required)) = &selection.parents {
            return self.select_with_parents(selection, pattern, required.as_deref());
        }
        let ignore = Ignore::new(&selection.exclude).map_err(|e| BuildError::invalid(e.to_string()))?;
        let is_pattern = selection.pattern && glob::has_wildcards(&selection.path);
        let mut picked = Vec::new();
        for path in self.expand(selection)? {
            picked.extend(self.pick(&path, &ignore, is_pattern)?);
        }
        Ok(picked)
    }

    /// The paths that a pattern means.
    fn expand(&self, selection: &Selection) -> Result<Vec<PathBuf>> {
        let path = clean(Path::new(&selection.path));
        if !selection.pattern || !glob::has_wildcards(&selection.path) {
            return Ok(vec![path]);
        }
        let bad = |_| BuildError::invalid(format!("syntax error in pattern: {}", selection.path));
        let mut found: Vec<PathBuf> = vec![PathBuf::new()];
        for part in path.components() {
            let part = part.as_os_str().to_string_lossy().into_owned();
            if !glob::has_wildcards(&part) {
                // An escaped letter stands for itself.
                let plain = part.replace('\\', "");
                found.iter_mut().for_each(|dir| dir.push(&plain));
                continue;
            }
            let mut next = Vec::new();
            for dir in found {
                let Ok(fd) = open_in(self.fd.as_fd(), &dir, OFlags::RDONLY | OFlags::DIRECTORY) else {
                    continue;
                };
                for name in names(fd.as_fd()).map_err(|e| self.failed(&dir, e))? {
                    if glob::matches(&part, &name.to_string_lossy()).map_err(bad)? {
                        next.push(dir.join(&name));
                    }
                }
            }
            found = next;
        }
        // What stands behind the wildcards may be missing.
        let exists = |path: &PathBuf| open_in(self.fd.as_fd(), path, OFlags::PATH | OFlags::NOFOLLOW).is_ok();
        Ok(found.into_iter().filter(exists).collect())
    }

    fn failed(&self, path: &Path, error: Errno) -> BuildError {
        BuildError::io(format!("read {}", path.display()))(error.into())
    }

    /// One source: found, with what is in it. A link that leads nowhere is copied itself where a pattern found it.
    fn pick(&self, path: &Path, ignore: &Ignore, is_pattern: bool) -> Result<Option<Picked>> {
        let shown = format!("/{}", path.display());
        let missing = || BuildError::not_found(format!("{shown:?}: not found"));
        let found = match open_in(self.fd.as_fd(), path, OFlags::PATH) {
            Ok(found) => found,
            Err(Errno::NOENT | Errno::LOOP | Errno::NOTDIR) if is_pattern => {
                open_in(self.fd.as_fd(), path, OFlags::PATH | OFlags::NOFOLLOW).map_err(|_| missing())?
            }
            Err(Errno::NOENT | Errno::LOOP | Errno::NOTDIR) => return Err(missing()),
            Err(e) => return Err(self.failed(path, e)),
        };
        let stat = rustix::fs::fstat(&found).map_err(|e| self.failed(path, e))?;
        let real = match kind(&stat) {
            FileType::Symlink => path.to_owned(),
            _ => place(self.fd.as_fd(), found.as_fd()).ok_or_else(missing)?,
        };
        let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        if kind(&stat) != FileType::Directory {
            if !ignore.is_empty() && ignore.matches(&name) {
                return Ok(None);
            }
            let items = vec![Item { path: real, relative: PathBuf::new(), stat }];
            return Ok(Some(Picked { name, items, is_dir: false, stat }));
        }
        let mut items = Vec::new();
        let dir =
            reopen(found.as_fd(), OFlags::RDONLY | OFlags::DIRECTORY).map_err(|e| self.failed(path, e))?;
        let mut walk = Walk { view: self, ignore, include: None, items: &mut items };
        walk.dir(dir, &real, Path::new(""), &Above::default(), 0)?;
        Ok(Some(Picked { name, items, is_dir: true, stat }))
    }

    fn select_with_parents(
        &self,
        selection: &Selection,
        pattern: &str,
        required: Option<&str>,
    ) -> Result<Vec<Picked>> {
        if let Some(required) = required
            && open_in(self.fd.as_fd(), Path::new(required), OFlags::PATH | OFlags::NOFOLLOW).is_err()
        {
            return Err(BuildError::not_found(format!("{required:?}: not found")));
        }
        let ignore = Ignore::new(&selection.exclude).map_err(|e| BuildError::invalid(e.to_string()))?;
        let include = Ignore::new(std::slice::from_ref(&pattern.to_owned()))
            .map_err(|e| BuildError::invalid(e.to_string()))?;
        let mut picked = Vec::new();
        for path in self.expand(selection)? {
            let Ok(found) = open_in(self.fd.as_fd(), &path, OFlags::RDONLY | OFlags::DIRECTORY) else {
                continue;
            };
            let stat = rustix::fs::fstat(&found).map_err(|e| self.failed(&path, e))?;
            let real = place(self.fd.as_fd(), found.as_fd()).unwrap_or_else(|| path.clone());
            let mut items = Vec::new();
            let mut walk = Walk { view: self, ignore: &ignore, include: Some(&include), items: &mut items };
            walk.dir(found, &real, Path::new(""), &Above::default(), 0)?;
            // Directories only as far as something in them is meant.
            let wanted = |item: &Item, rest: &[Item]| {
                include.matches(&item.relative.to_string_lossy())
                    || rest.iter().any(|other| {
                        other.relative.starts_with(&item.relative)
                            && include.matches(&other.relative.to_string_lossy())
                    })
            };
            let keep: Vec<bool> = (0..items.len()).map(|at| wanted(&items[at], &items[at + 1..])).collect();
            let mut keep = keep.into_iter();
            items.retain(|_| keep.next().unwrap_or_default());
            picked.push(Picked { name: String::new(), items, is_dir: true, stat });
        }
        Ok(picked)
    }
}

struct Walk<'a> {
    view: &'a View,
    ignore: &'a Ignore,
    /// Only what this takes, and directories on the way.
    include: Option<&'a Ignore>,
    items: &'a mut Vec<Item>,
}

impl Walk<'_> {
    fn dir(&mut self, dir: OwnedFd, path: &Path, relative: &Path, above: &Above, depth: usize) -> Result<()> {
        if depth > MAX_DEPTH {
            return Err(self.view.failed(path, Errno::NAMETOOLONG));
        }
        for name in names(dir.as_fd()).map_err(|e| self.view.failed(path, e))? {
            let (at, relative) = (path.join(&name), relative.join(&name));
            let stat = match rustix::fs::statat(&dir, &name, AtFlags::SYMLINK_NOFOLLOW) {
                Err(Errno::NOENT) => continue,
                other => other.map_err(|e| self.view.failed(&at, e))?,
            };
            let is_dir = kind(&stat) == FileType::Directory;
            let shown = relative.to_string_lossy();
            let (ignored, below) = match self.ignore.is_empty() {
                true => (false, Above::default()),
                false => self.ignore.matches_below(&shown, above),
            };
            if let Some(include) = self.include
                && !is_dir
                && !include.matches(&shown)
            {
                continue;
            }
            let before = self.items.len();
            if !ignored {
                self.items.push(Item { path: at.clone(), relative: relative.clone(), stat });
            }
            if is_dir && (!ignored || self.ignore.may_keep_below(&shown)) {
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let inner = rustix::fs::openat(&dir, &name, flags, Mode::empty())
                    .map_err(|e| self.view.failed(&at, e))?;
                if ignored {
                    // There as far as something in it is.
                    self.items.push(Item { path: at.clone(), relative: relative.clone(), stat });
                }
                self.dir(inner, &at, &relative, &below, depth + 1)?;
                if ignored && self.items.len() == before + 1 {
                    self.items.pop();
                }
            }
        }
        Ok(())
    }
}

/// The layers of a tree, kept.
pub(crate) fn chain_of(
    store: &Store,
    chain: &[minke_model::id::Digest],
    keep: &Arc<dyn std::any::Any + Send + Sync>,
) -> Result<Chain> {
    if let Some(chain) = keep.downcast_ref::<Chain>() {
        return Ok(chain.clone());
    }
    let gone =
        || BuildError::other(minke_model::Kind::DataLoss, "a layer of the build cache is gone: build again");
    store.chain(chain).ok_or_else(gone)
}

/// A tree of layers.
pub(crate) fn root_of(chain: Chain) -> Root {
    let ids: Vec<_> = chain.diff_ids();
    Root::Layers { chain: ids.into(), keep: Arc::new(chain) }
}
