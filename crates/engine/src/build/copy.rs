//! `COPY`, `ADD` and `WORKDIR`: files of one tree into another, as BuildKit copies (fsutil `copy`).
//!
//! Directories are made through the mounted tree, so that links in it are followed and what is below stays; files are
//! then put into the upper directory itself, once nothing is mounted on it. A file of a kept context that need not be
//! changed is linked, not copied: neither is ever written in place.
//!
//! Never: follows a link out of either tree.

mod rules;

use super::{
    content::{not_found, read_link},
    view::{Item, Picked, View, chain_of, clean, kind, open_in, proc_path, reopen, root_of},
};
use minke_build::{
    BuildError, Result,
    host::{CopyWork, Root, Selection},
    plan::{CopySource, Mode as Chmod},
};
use minke_image::{Chain, Images as Store, Work, tree};
use rules::{Rules, ids, symbolic};
use rustix::{
    fs::{AtFlags, FileType, Gid, Mode, OFlags, Stat, Timespec, Timestamps, Uid},
    io::Errno,
};
use std::{
    collections::HashMap,
    fs::File,
    io::Write,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
};

/// Links that lead to links.
const MAX_LINKS: usize = 255;

/// Copies; what it leaves. Blocks.
pub(super) fn copy(store: &Store, wish: CopyWork) -> Result<Root> {
    let base = match &wish.base {
        Root::Layers { chain, keep } => chain_of(store, chain, keep)?,
        Root::Directory { .. } => Chain::default(),
    };
    let work = store.work(&base)?;
    let owner = {
        let root = work.open()?;
        wish.op.owner.as_deref().map(|owner| ids(root.as_fd(), owner)).transpose()?
    };
    let rules = Rules { owner, mode: wish.op.mode.clone(), epoch: wish.epoch };
    for (source, tree) in wish.op.sources.iter().zip(&wish.sources) {
        match source {
            CopySource::Text { name, content } => text(&work, &wish.op.destination, name, content, &rules)?,
            CopySource::Files { path, local, unpack, parents, .. } => {
                let view = View::open(store, tree)?;
                let selection = Selection::of_copy(path, *local, &wish.op.exclude, parents.as_ref());
                for picked in view.select(&selection).map_err(|e| not_found(e, path))? {
                    if *unpack
                        && !picked.is_dir
                        && extract(&work, &view, &picked, &wish.op.destination, &rules)?
                    {
                        continue;
                    }
                    place(&work, &view, &picked, &wish.op.destination, &rules)?;
                }
            }
        }
    }
    Ok(root_of(work.finish(wish.epoch)?))
}

/// Makes a directory with its parents. Blocks.
pub(super) fn directory(
    store: &Store,
    base: &Root,
    path: &str,
    owner: &str,
    epoch: Option<i64>,
) -> Result<Root> {
    let base = match base {
        Root::Layers { chain, keep } => chain_of(store, chain, keep)?,
        Root::Directory { .. } => Chain::default(),
    };
    let work = store.work(&base)?;
    {
        let root = work.open()?;
        let owner = if owner.is_empty() { (0, 0) } else { ids(root.as_fd(), owner)? };
        let rules = Rules { owner: Some(owner), mode: None, epoch };
        if let Err(Errno::NOTDIR) = open_in(root.as_fd(), Path::new(path), OFlags::PATH | OFlags::DIRECTORY) {
            return Err(BuildError::invalid(format!("lstat {path}: not a directory")));
        }
        make_dirs(root.as_fd(), &resolve(root.as_fd(), Path::new(path)), &rules)?;
    }
    Ok(root_of(work.finish(epoch)?))
}

fn failed(path: &Path, error: Errno) -> BuildError {
    BuildError::io(format!("write /{}", path.display()))(error.into())
}

/// Where a path leads inside of `root`, links followed, also those at its end and those that lead to nothing yet
/// (continuity `fs.RootPath`). What is not there stands for itself.
fn resolve(root: BorrowedFd<'_>, path: &Path) -> PathBuf {
    let mut at = PathBuf::new();
    let mut rest: Vec<std::ffi::OsString> = clean(path).iter().rev().map(std::ffi::OsStr::to_owned).collect();
    let mut links = 0;
    while let Some(part) = rest.pop() {
        if part == ".." {
            at.pop();
            continue;
        }
        let next = at.join(&part);
        let found = open_in(root, &next, OFlags::PATH | OFlags::NOFOLLOW);
        let text = match found.and_then(|fd| rustix::fs::readlinkat(&fd, c"", Vec::new())) {
            Ok(text) if links < MAX_LINKS => PathBuf::from(text.to_string_lossy().into_owned()),
            _ => {
                at = next;
                continue;
            }
        };
        links += 1;
        if text.is_absolute() {
            at = PathBuf::new();
        }
        let parts: Vec<std::ffi::OsString> = text
            .components()
            .filter(|c| matches!(c, std::path::Component::Normal(_) | std::path::Component::ParentDir))
            .map(|c| c.as_os_str().to_owned())
            .collect();
        rest.extend(parts.into_iter().rev());
    }
    at
}

/// Makes a directory and those above it where they are not there; the open directory, and where it really lies.
fn make_dirs(root: BorrowedFd<'_>, path: &Path, rules: &Rules) -> Result<(OwnedFd, PathBuf)> {
    let mut at = PathBuf::new();
    let flags = OFlags::RDONLY | OFlags::DIRECTORY;
    let mut dir = open_in(root, Path::new(""), flags).map_err(|e| failed(path, e))?;
    for part in clean(path).iter() {
        let next = at.join(part);
        dir = match open_in(root, &next, flags) {
            Ok(dir) => dir,
            Err(Errno::NOENT) => {
                make_dir(
                    &dir,
                    Path::new(part),
                    &next,
                    rules.made(),
                    rules.owner.unwrap_or((0, 0)),
                    rules.epoch,
                )?;
                open_in(root, &next, flags).map_err(|e| failed(&next, e))?
            }
            Err(Errno::NOTDIR) => {
                return Err(BuildError::invalid(format!("mkdir /{}: not a directory", next.display())));
            }
            Err(e) => return Err(failed(&next, e)),
        };
        at = real(root, dir.as_fd()).unwrap_or(next);
    }
    Ok((dir, at))
}

/// Where an open directory lies below `root`.
fn real(root: BorrowedFd<'_>, fd: BorrowedFd<'_>) -> Option<PathBuf> {
    let base = std::fs::read_link(proc_path(root)).ok()?;
    let path = std::fs::read_link(proc_path(fd)).ok()?;
    path.strip_prefix(&base).map(Path::to_owned).ok()
}

fn make_dir(
    parent: &OwnedFd,
    name: &Path,
    path: &Path,
    mode: u32,
    (uid, gid): (u32, u32),
    epoch: Option<i64>,
) -> Result<()> {
    match rustix::fs::mkdirat(parent, name, Mode::from_raw_mode(0o700)) {
        Ok(()) => {}
        // A link that leads nowhere is in the way.
        Err(Errno::EXIST) => {
            return Err(BuildError::invalid(format!("mkdir /{}: file exists", path.display())));
        }
        Err(e) => return Err(failed(path, e)),
    }
    if (uid, gid) != (0, 0) {
        let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
        rustix::fs::chownat(parent, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|e| failed(path, e))?;
    }
    rustix::fs::chmodat(parent, name, Mode::from_raw_mode(mode), AtFlags::empty())
        .map_err(|e| failed(path, e))?;
    if let Some(seconds) = epoch {
        let time = Timespec { tv_sec: seconds, tv_nsec: 0 };
        let times = Timestamps { last_access: time, last_modification: time };
        rustix::fs::utimensat(parent, name, &times, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|e| failed(path, e))?;
    }
    Ok(())
}

/// What a destination means for a source: the directory that things go to, and for a file its name there.
fn target(
    root: BorrowedFd<'_>,
    destination: &str,
    picked: &Picked,
    name: &str,
    rules: &Rules,
) -> Result<(PathBuf, Option<String>)> {
    let says_dir = destination.ends_with('/') || destination.ends_with("/.");
    let path = resolve(root, Path::new(destination));
    if picked.is_dir {
        if let Ok(there) = open_in(root, &path, OFlags::PATH)
            && rustix::fs::fstat(&there).is_ok_and(|stat| kind(&stat) != FileType::Directory)
        {
            return Err(BuildError::invalid(format!("cannot copy to non-directory: /{}", path.display())));
        }
        let (_, at) = make_dirs(root, &path, rules)?;
        return Ok((at, None));
    }
    let is_dir = says_dir
        || path.as_os_str().is_empty()
        || open_in(root, &path, OFlags::PATH | OFlags::DIRECTORY).is_ok();
    if is_dir {
        let (_, at) = make_dirs(root, &path, rules)?;
        return Ok((at, Some(name.to_owned())));
    }
    let (_, at) = make_dirs(root, path.parent().unwrap_or(Path::new("")), rules)?;
    Ok((at, path.file_name().map(|n| n.to_string_lossy().into_owned())))
}

/// A file that is still to be put into the upper directory.
struct Pending<'a> {
    item: &'a Item,
    /// Below the root; no links on the way.
    to: PathBuf,
}

/// Puts one source into the tree.
fn place(work: &Work, view: &View, picked: &Picked, destination: &str, rules: &Rules) -> Result<()> {
    let mut pending = Vec::new();
    let mut dirs: Vec<(PathBuf, &Stat)> = Vec::new();
    {
        let root = work.open()?;
        let root = root.as_fd();
        let (at, name) = target(root, destination, picked, &picked.name, rules)?;
        copy_up(root, &at)?;
        if !picked.is_dir {
            let to = at.join(name.unwrap_or_default());
            clear(root, &to)?;
            pending.extend(picked.items.first().map(|item| Pending { item, to }));
        } else {
            for item in &picked.items {
                let to = at.join(&item.relative);
                if kind(&item.stat) != FileType::Directory {
                    clear(root, &to)?;
                    pending.push(Pending { item, to });
                    continue;
                }
                enter(root, &to, item, rules)?;
                dirs.push((to, &item.stat));
            }
        }
    }
    let upper = work.upper()?;
    let mut links: HashMap<(u64, u64), PathBuf> = HashMap::new();
    for one in &pending {
        put(view, upper.as_fd(), one, rules, &mut links)?;
    }
    // Last, since what was put in changed their times.
    for (to, stat) in dirs.iter().rev() {
        if let Ok(parent) = open_in(upper.as_fd(), to, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW)
        {
            rustix::fs::futimens(&parent, &rules.times(stat)).map_err(|e| failed(to, e))?;
        }
    }
    Ok(())
}

/// Takes away what is in the place of a file; a directory there is an error.
fn clear(root: BorrowedFd<'_>, to: &Path) -> Result<()> {
    let Some(name) = to.file_name() else { return Ok(()) };
    let parent = to.parent().unwrap_or(Path::new(""));
    let Ok(dir) = open_in(root, parent, OFlags::RDONLY | OFlags::DIRECTORY) else { return Ok(()) };
    match rustix::fs::statat(&dir, name, AtFlags::SYMLINK_NOFOLLOW) {
        Err(Errno::NOENT) => Ok(()),
        Err(e) => Err(failed(to, e)),
        Ok(stat) if kind(&stat) == FileType::Directory => {
            Err(BuildError::invalid(format!("cannot replace to directory /{} with file", to.display())))
        }
        Ok(_) => rustix::fs::unlinkat(&dir, name, AtFlags::empty()).map_err(|e| failed(to, e)),
    }
}

/// Makes a directory of a source in the tree, or gives the one that is there its attributes. Through the mounted tree:
/// what lies below stays.
fn enter(root: BorrowedFd<'_>, to: &Path, item: &Item, rules: &Rules) -> Result<()> {
    let name = to.file_name().unwrap_or_default();
    let parent = to.parent().unwrap_or(Path::new(""));
    let dir = open_in(root, parent, OFlags::RDONLY | OFlags::DIRECTORY).map_err(|e| failed(to, e))?;
    let stat = &item.stat;
    match rustix::fs::mkdirat(&dir, name, Mode::from_raw_mode(0o700)) {
        Ok(()) => {}
        Err(Errno::EXIST) => {
            let there =
                rustix::fs::statat(&dir, name, AtFlags::SYMLINK_NOFOLLOW).map_err(|e| failed(to, e))?;
            if kind(&there) != FileType::Directory {
                return Err(BuildError::invalid(format!("cannot copy to non-directory: /{}", to.display())));
            }
        }
        Err(e) => return Err(failed(to, e)),
    }
    let (uid, gid) = rules.owner(stat);
    let flags = AtFlags::SYMLINK_NOFOLLOW;
    rustix::fs::chownat(&dir, name, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)), flags)
        .and_then(|()| {
            rustix::fs::chmodat(&dir, name, Mode::from_raw_mode(rules.mode(stat)), AtFlags::empty())
        })
        .and_then(|()| rustix::fs::utimensat(&dir, name, &rules.times(stat), flags))
        .map_err(|e| failed(to, e))
}

/// A directory of the mounted tree comes to be in the upper one, as it is.
fn copy_up(root: BorrowedFd<'_>, path: &Path) -> Result<()> {
    if path.as_os_str().is_empty() {
        return Ok(());
    }
    let dir = open_in(root, path, OFlags::RDONLY | OFlags::DIRECTORY).map_err(|e| failed(path, e))?;
    let stat = rustix::fs::fstat(&dir).map_err(|e| failed(path, e))?;
    rustix::fs::fchmod(&dir, Mode::from_raw_mode(stat.st_mode & 0o7777)).map_err(|e| failed(path, e))
}

/// Puts a file, link or device into the upper directory. Nothing is mounted on it now.
fn put(
    view: &View,
    upper: BorrowedFd<'_>,
    pending: &Pending<'_>,
    rules: &Rules,
    links: &mut HashMap<(u64, u64), PathBuf>,
) -> Result<()> {
    let Pending { item, to } = pending;
    let stat = &item.stat;
    let name = to.file_name().unwrap_or_default();
    let parent = upper_dir(upper, to.parent().unwrap_or(Path::new("")))?;
    let fail = |e: Errno| failed(to, e);
    // A whiteout of what was there.
    match rustix::fs::unlinkat(&parent, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(e) => return Err(fail(e)),
    }
    let flags = AtFlags::SYMLINK_NOFOLLOW;
    match kind(stat) {
        FileType::RegularFile => {
            let plain = view.kept.as_ref().is_some_and(|kept| kept.is_plain(&item.path));
            if plain && rules.leaves(stat) && link(view, item, &parent, name).is_ok() {
                return Ok(());
            }
            if stat.st_nlink > 1 && view.kept.is_none() {
                if let Some(first) = links.get(&(stat.st_dev, stat.st_ino)) {
                    let from = upper_dir(upper, first.parent().unwrap_or(Path::new("")))?;
                    let from_name = first.file_name().unwrap_or_default();
                    return rustix::fs::linkat(&from, from_name, &parent, name, AtFlags::empty())
                        .map_err(fail);
                }
                links.insert((stat.st_dev, stat.st_ino), to.clone());
            }
            return copy_file(view, item, &parent, name, to, rules);
        }
        FileType::Symlink => {
            let text = read_link(view, &item.path)?;
            rustix::fs::symlinkat(&text, &parent, name).map_err(fail)?;
        }
        other => {
            rustix::fs::mknodat(&parent, name, other, Mode::from_raw_mode(0o600), stat.st_rdev)
                .map_err(fail)?;
        }
    }
    let (uid, gid) = rules.owner(stat);
    rustix::fs::chownat(&parent, name, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)), flags)
        .map_err(fail)?;
    if kind(stat) != FileType::Symlink {
        rustix::fs::chmodat(&parent, name, Mode::from_raw_mode(rules.mode(stat)), AtFlags::empty())
            .map_err(fail)?;
    }
    rustix::fs::utimensat(&parent, name, &rules.times(stat), flags).map_err(fail)
}

/// A directory of the upper tree. One that the mounted tree has only below is not in it: it was not changed so far.
fn upper_dir(upper: BorrowedFd<'_>, path: &Path) -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW;
    open_in(upper, path, flags).map_err(|e| failed(path, e))
}

fn link(
    view: &View,
    item: &Item,
    parent: &OwnedFd,
    name: &std::ffi::OsStr,
) -> std::result::Result<(), Errno> {
    let from_dir = item.path.parent().unwrap_or(Path::new(""));
    let from = open_in(view.fd.as_fd(), from_dir, OFlags::RDONLY | OFlags::DIRECTORY)?;
    rustix::fs::linkat(&from, item.path.file_name().unwrap_or_default(), parent, name, AtFlags::empty())
}

fn copy_file(
    view: &View,
    item: &Item,
    parent: &OwnedFd,
    name: &std::ffi::OsStr,
    to: &Path,
    rules: &Rules,
) -> Result<()> {
    let stat = &item.stat;
    let fail = |e: Errno| failed(to, e);
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let from = open_in(view.fd.as_fd(), &item.path, flags).map_err(fail)?;
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let into = rustix::fs::openat(parent, name, flags, Mode::from_raw_mode(0o600)).map_err(fail)?;
    let (mut from, mut into) = (File::from(from), File::from(into));
    // By the kernel, which shares blocks where it can.
    std::io::copy(&mut from, &mut into).map_err(BuildError::io(format!("write /{}", to.display())))?;
    xattrs(from.as_fd(), into.as_fd());
    let (uid, gid) = rules.owner(stat);
    rustix::fs::fchown(&into, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid))).map_err(fail)?;
    // A change of owner takes a capability away: it is given again.
    xattrs(from.as_fd(), into.as_fd());
    rustix::fs::fchmod(&into, Mode::from_raw_mode(rules.mode(stat))).map_err(fail)?;
    rustix::fs::futimens(&into, &rules.times(stat)).map_err(fail)
}

/// Copies the extended attributes that travel. What the file system does not take is left out, as in BuildKit.
fn xattrs(from: BorrowedFd<'_>, to: BorrowedFd<'_>) {
    let mut names = vec![0; 4096];
    let count = match rustix::fs::flistxattr(from, &mut names) {
        Ok(0) | Err(_) => return,
        Ok(count) => count,
    };
    for name in
        names[..count].split(|b| *b == 0).filter(|n| *n == b"security.capability" || n.starts_with(b"user."))
    {
        let mut value = vec![0; 64 << 10];
        if let Ok(length) = rustix::fs::fgetxattr(from, name, &mut value) {
            let _ = rustix::fs::fsetxattr(to, name, &value[..length], rustix::fs::XattrFlags::empty());
        }
    }
}

/// A file whose text stands in the Dockerfile.
fn text(work: &Work, destination: &str, name: &str, content: &str, rules: &Rules) -> Result<()> {
    let root = work.open()?;
    let root = root.as_fd();
    let path = resolve(root, Path::new(destination));
    let is_dir = destination.ends_with('/')
        || destination.ends_with("/.")
        || open_in(root, &path, OFlags::PATH | OFlags::DIRECTORY).is_ok();
    let to = if is_dir { path.join(name) } else { path };
    let (dir, at) = make_dirs(root, to.parent().unwrap_or(Path::new("")), rules)?;
    let name = to.file_name().unwrap_or_default();
    let to = at.join(name);
    clear(root, &to)?;
    let fail = |e: Errno| failed(&to, e);
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = rustix::fs::openat(&dir, name, flags, Mode::from_raw_mode(0o600)).map_err(fail)?;
    let mut file = File::from(file);
    file.write_all(content.as_bytes()).map_err(BuildError::io(format!("write /{}", to.display())))?;
    let (uid, gid) = rules.owner.unwrap_or((0, 0));
    rustix::fs::fchown(&file, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid))).map_err(fail)?;
    let mode = match &rules.mode {
        Some(Chmod::Octal(bits)) => *bits,
        Some(Chmod::Symbolic(text)) => symbolic(text, 0o100644),
        None => 0o644,
    };
    rustix::fs::fchmod(&file, Mode::from_raw_mode(mode)).map_err(fail)?;
    if let Some(seconds) = rules.epoch {
        let time = Timespec { tv_sec: seconds, tv_nsec: 0 };
        rustix::fs::futimens(&file, &Timestamps { last_access: time, last_modification: time })
            .map_err(fail)?;
    }
    Ok(())
}

/// Unpacks a file that is an archive; false where it is none.
fn extract(work: &Work, view: &View, picked: &Picked, destination: &str, rules: &Rules) -> Result<bool> {
    let Some(item) = picked.items.first().filter(|item| kind(&item.stat) == FileType::RegularFile) else {
        return Ok(false);
    };
    let open = || {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        open_in(view.fd.as_fd(), &item.path, flags)
            .map(File::from)
            .map_err(|e| BuildError::io(format!("read {}", item.path.display()))(e.into()))
    };
    if !tree::is_archive(open()?) {
        return Ok(false);
    }
    let root = work.open()?;
    let (_, at) = make_dirs(root.as_fd(), &resolve(root.as_fd(), Path::new(destination)), rules)?;
    let options = tree::ExtractOptions { owner: rules.owner, ..tree::ExtractOptions::default() };
    let dir = format!("/{}", at.display());
    tree::extract(root.as_fd(), &dir, open()?, &options)?;
    Ok(true)
}

/// Copies a tree, or a file, of a view to a path of the host that is ours: for mounts whose writes are lost. Blocks.
pub(super) fn copy_out(view: &View, source: &str, to: &Path) -> Result<()> {
    let selection = Selection::plain(source);
    let rules = Rules { owner: None, mode: None, epoch: None };
    for picked in view.select(&selection)? {
        let made = match picked.is_dir {
            true => std::fs::create_dir_all(to),
            false => Ok(()),
        };
        made.map_err(BuildError::io(format!("make {}", to.display())))?;
        let (base, single) = match picked.is_dir {
            true => (to.to_owned(), None),
            false => (to.parent().unwrap_or(Path::new("/")).to_owned(), to.file_name()),
        };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::open(&base, flags, Mode::empty()).map_err(|e| failed(&base, e))?;
        let mut links = HashMap::new();
        for item in &picked.items {
            let path = single.map_or_else(|| item.relative.clone(), PathBuf::from);
            if kind(&item.stat) == FileType::Directory {
                enter(root.as_fd(), &path, item, &rules)?;
                continue;
            }
            put_copy(view, root.as_fd(), &Pending { item, to: path }, &rules, &mut links)?;
        }
        if picked.is_dir {
            let stat = &picked.stat;
            rustix::fs::fchown(&root, Some(Uid::from_raw(stat.st_uid)), Some(Gid::from_raw(stat.st_gid)))
                .and_then(|()| rustix::fs::fchmod(&root, Mode::from_raw_mode(stat.st_mode & 0o7777)))
                .map_err(|e| failed(to, e))?;
        }
    }
    Ok(())
}

/// As [`put`], never by a link to the source: it may be written.
fn put_copy(
    view: &View,
    root: BorrowedFd<'_>,
    pending: &Pending<'_>,
    rules: &Rules,
    links: &mut HashMap<(u64, u64), PathBuf>,
) -> Result<()> {
    if kind(&pending.item.stat) != FileType::RegularFile {
        return put(view, root, pending, rules, links);
    }
    let to = &pending.to;
    let parent = upper_dir(root, to.parent().unwrap_or(Path::new("")))?;
    copy_file(view, pending.item, &parent, to.file_name().unwrap_or_default(), to, rules)
}

/// Makes a directory in the root of an upper directory.
pub(super) fn make_point(upper: &OwnedFd, name: &str) -> Result<()> {
    make_dir(upper, Path::new(name), Path::new(name), 0o755, (0, 0), None)
}

/// Removes a file or directory of an upper directory if it is empty: a mount point that a start made.
pub(super) fn remove_stub(upper: &OwnedFd, path: &str) {
    let path = Path::new(path);
    let Some(name) = path.file_name() else { return };
    let Ok(parent) = upper_dir(upper.as_fd(), path.parent().unwrap_or(Path::new(""))) else { return };
    let Ok(stat) = rustix::fs::statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW) else { return };
    let flags = match kind(&stat) {
        FileType::Directory => AtFlags::REMOVEDIR,
        FileType::RegularFile if stat.st_size == 0 => AtFlags::empty(),
        _ => return,
    };
    // One that is not empty is the step's own.
    let _ = rustix::fs::unlinkat(&parent, name, flags);
}

/// Opens what a path means, for reading.
pub(super) fn open_file(view: &View, path: &str) -> std::result::Result<(File, Stat), Errno> {
    let found = open_in(view.fd.as_fd(), Path::new(path), OFlags::PATH)?;
    let stat = rustix::fs::fstat(&found)?;
    if kind(&stat) != FileType::RegularFile {
        return Err(if kind(&stat) == FileType::Directory { Errno::ISDIR } else { Errno::INVAL });
    }
    Ok((File::from(reopen(found.as_fd(), OFlags::RDONLY)?), stat))
}

#[cfg(test)]
mod tests;
