//! A directory as a client sends it: in the order of a walk, without what its patterns leave out.
//!
//! Whoever it belongs to, here all is root's (as BuildKit's clients send it). Links are told, never followed.

use minke_build::{
    BuildError, Result, glob,
    host::{Entry, Files, Wanted},
    ignore::{Above, Ignore, IgnoreError},
};
use std::{
    collections::{BTreeSet, HashMap},
    fs::{self, File},
    io,
    os::unix::{ffi::OsStrExt as _, fs::MetadataExt as _},
    path::{Path, PathBuf},
};

/// Directories inside of each other that are walked.
const MAX_DEPTH: usize = 512;
/// Links that lead to links.
const MAX_LINKS: usize = 255;
/// Paths that wildcards stand for.
const MAX_PATHS: usize = 10_000;

/// A directory, and what of it is wanted.
#[derive(Clone, Debug)]
pub struct Directory {
    root: PathBuf,
    exclude: Ignore,
    include: Ignore,
}

impl Directory {
    /// Fails where a pattern is wrong.
    pub fn new(root: &Path, wanted: &Wanted) -> Result<Self> {
        let invalid = |e: IgnoreError| BuildError::invalid(e.to_string());
        let mut include = wanted.include.clone();
        if !wanted.follow.is_empty() {
            let mut found = BTreeSet::new();
            for path in &wanted.follow {
                follow(root, path, &mut found, 0);
            }
            // The whole directory: then nothing needs to be named.
            if found.contains("") {
                include.clear();
            } else {
                include.extend(found.into_iter().map(|path| escape(&path)));
            }
        }
        Ok(Self {
            root: root.to_owned(),
            exclude: Ignore::new(&wanted.exclude).map_err(invalid)?,
            include: Ignore::new(&include).map_err(invalid)?,
        })
    }
}

/// A path as a pattern that means it alone.
fn escape(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    for c in path.chars() {
        if matches!(c, '*' | '?' | '[' | ']' | '\\' | '!') {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

/// `path` with what the links on its way lead to (tonistiigi/fsutil `followlinks.go`). What is not there is kept as it is.
fn follow(root: &Path, path: &str, found: &mut BTreeSet<String>, depth: usize) {
    if depth > MAX_LINKS || found.len() > MAX_PATHS {
        return;
    }
    let clean = minke_model::go::clean_rooted(path);
    let mut done = String::new();
    let mut parts = clean.split('/').filter(|part| !part.is_empty());
    while let Some(part) = parts.next() {
        let rest: Vec<&str> = parts.clone().collect();
        if part.contains(['*', '?', '[']) {
            let pattern = [part];
            let Ok(entries) = fs::read_dir(root.join(&done)) else { return };
            for entry in entries.flatten() {
                let Ok(name) = entry.file_name().into_string() else { continue };
                if glob::matches(pattern[0], &name).unwrap_or(false) {
                    let mut whole = vec![done.as_str(), name.as_str()];
                    whole.extend(&rest);
                    follow(root, &whole.join("/"), found, depth + 1);
                }
            }
            return;
        }
        let here = if done.is_empty() { part.to_owned() } else { format!("{done}/{part}") };
        if let Ok(target) = fs::read_link(root.join(&here)) {
            found.insert(here);
            let target = target.to_string_lossy().into_owned();
            let target = if target.starts_with('/') { target } else { format!("{done}/{target}") };
            let mut whole = vec![target.as_str()];
            whole.extend(&rest);
            return follow(root, &whole.join("/"), found, depth + 1);
        }
        done = here;
    }
    found.insert(done);
}

impl Files for Directory {
    fn walk(&self, each: &mut dyn FnMut(Entry) -> io::Result<()>) -> io::Result<()> {
        let mut walk = Walk { directory: self, each, links: HashMap::new(), waiting: Vec::new() };
        walk.below(&self.root, "", &Above::default(), &Above::default())
    }

    fn open(&self, path: &str) -> io::Result<File> {
        let path = self.root.join(path);
        if !fs::symlink_metadata(&path)?.is_file() {
            return Err(io::Error::other(format!("{} is no regular file any more", path.display())));
        }
        File::open(path)
    }
}

struct Walk<'a> {
    directory: &'a Directory,
    each: &'a mut dyn FnMut(Entry) -> io::Result<()>,
    /// The first name of files with several.
    links: HashMap<(u64, u64), String>,
    /// Directories that are told once something in them is.
    waiting: Vec<Entry>,
}

/// What was there a moment ago may be gone.
fn there<T>(found: io::Result<T>) -> io::Result<Option<T>> {
    match found {
        Ok(found) => Ok(Some(found)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

impl Walk<'_> {
    fn below(&mut self, dir: &Path, below: &str, out: &Above, into: &Above) -> io::Result<()> {
        let failed = |e: io::Error| io::Error::new(e.kind(), format!("cannot read {}: {e}", dir.display()));
        if below.matches('/').count() > MAX_DEPTH {
            return Err(io::Error::other(format!(
                "{} has too many directories inside of each other",
                dir.display()
            )));
        }
        let Some(entries) = there(fs::read_dir(dir)).map_err(failed)? else { return Ok(()) };
        let mut names = Vec::new();
        for entry in entries {
            names.push(entry.map_err(failed)?.file_name());
        }
        names.sort_by(|a, b| a.as_bytes().cmp(b.as_bytes()));
        for name in names {
            let path = dir.join(&name);
            let Some(text) = name.to_str() else {
                return Err(io::Error::other(format!("{} is not UTF-8", path.display())));
            };
            let relative = if below.is_empty() { text.to_owned() } else { format!("{below}/{text}") };
            let (excluded, out) = self.directory.exclude.matches_below(&relative, out);
            let (mut included, into) = self.directory.include.matches_below(&relative, into);
            included |= self.directory.include.is_empty();
            let Some(meta) = there(fs::symlink_metadata(&path)).map_err(failed)? else { continue };
            if !meta.is_dir() {
                if included && !excluded {
                    let entry = self.entry(&relative, &path, &meta)?;
                    self.tell(entry, &meta)?;
                }
                continue;
            }
            if excluded && !self.directory.exclude.may_keep_below(&relative) {
                continue;
            }
            let held = self.waiting.len();
            let entry = self.entry(&relative, &path, &meta)?;
            if included && !excluded {
                self.tell(entry, &meta)?;
            } else {
                self.waiting.push(entry);
            }
            self.below(&path, &relative, &out, &into)?;
            self.waiting.truncate(held);
        }
        Ok(())
    }

    fn entry(&self, relative: &str, path: &Path, meta: &fs::Metadata) -> io::Result<Entry> {
        let mut entry = Entry {
            path: relative.to_owned(),
            mode: meta.mode(),
            mtime: meta.mtime().saturating_mul(1_000_000_000).saturating_add(meta.mtime_nsec()),
            ..Entry::default()
        };
        if meta.is_symlink() {
            entry.link = Some(fs::read_link(path)?.to_string_lossy().into_owned());
        } else if meta.is_file() {
            entry.size = meta.len();
        } else if !meta.is_dir() {
            (entry.major, entry.minor) = (rustix::fs::major(meta.rdev()), rustix::fs::minor(meta.rdev()));
        }
        Ok(entry)
    }

    fn tell(&mut self, mut entry: Entry, meta: &fs::Metadata) -> io::Result<()> {
        for directory in std::mem::take(&mut self.waiting) {
            (self.each)(directory)?;
        }
        if meta.is_file() && meta.nlink() > 1 {
            let first = self.links.entry((meta.dev(), meta.ino())).or_insert_with(|| entry.path.clone());
            if *first != entry.path {
                entry.link = Some(first.clone());
            }
        }
        (self.each)(entry)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn listed(files: &[&str], links: &[(&str, &str)], wanted: &Wanted) -> Vec<String> {
        let root = std::env::temp_dir().join(format!("minke-directory-{}-{wanted:p}", std::process::id()));
        for file in files {
            let path = root.join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, file).unwrap();
        }
        for (path, target) in links {
            symlink(target, root.join(path)).unwrap();
        }
        let mut names = Vec::new();
        Directory::new(&root, wanted)
            .unwrap()
            .walk(&mut |entry| {
                names.push(entry.path);
                Ok(())
            })
            .unwrap();
        fs::remove_dir_all(&root).unwrap();
        names
    }

    fn words(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    #[test]
    fn a_walk_leaves_out_what_is_not_wanted_and_keeps_the_way_to_what_is() {
        let files = ["a/b/keep", "a/b/drop", "c", "Dockerfile"];
        let all = listed(&files, &[], &Wanted::default());
        assert_eq!(all, ["Dockerfile", "a", "a/b", "a/b/drop", "a/b/keep", "c"]);
        let exclude = Wanted { exclude: words(&["a", "!a/b/keep"]), ..Wanted::default() };
        assert_eq!(listed(&files, &[], &exclude), ["Dockerfile", "a", "a/b", "a/b/keep", "c"]);
        let include = Wanted { include: words(&["Dockerfile", ".dockerignore"]), ..Wanted::default() };
        assert_eq!(listed(&files, &[], &include), ["Dockerfile"]);
    }

    #[test]
    fn what_links_lead_to_comes_along() {
        let files = ["real/x/file", "other", "src/a.c", "src/a.h"];
        let links = [("link", "real"), ("real/up", "../other")];
        let followed = Wanted { follow: words(&["/link/x", "src/*.c", "link/up"]), ..Wanted::default() };
        assert_eq!(
            listed(&files, &links, &followed),
            ["link", "other", "real", "real/up", "real/x", "real/x/file", "src", "src/a.c"]
        );
        let whole = Wanted { follow: words(&["/"]), ..Wanted::default() };
        assert_eq!(listed(&files, &links, &whole).len(), 9);
    }
}
