//! Docker's rules for where a copy goes. Pure but for looking at what is there.

use crate::commands::go_error;
use minke_model::go::clean;
use std::path::Path;

/// Where the copy goes.
#[derive(Debug, PartialEq)]
pub(crate) enum Place {
    /// Into this directory, under its own name.
    Inside(String),
    /// Into this directory, under that name.
    Named(String, String),
}

impl Place {
    /// The directory.
    pub(crate) fn directory(&self) -> &str {
        match self {
            Place::Inside(directory) | Place::Named(directory, _) => directory,
        }
    }
}

/// Whether a path means the contents of a directory (`x/.`).
fn means_contents(path: &str) -> bool {
    path == "." || path.ends_with("/.")
}

/// Whether a path claims to be a directory.
fn claims_directory(path: &str) -> bool {
    path.ends_with('/') || means_contents(path)
}

/// A path's directory and last name; the name is `.` where the contents are meant.
pub(crate) fn split(path: &str) -> (String, String) {
    let cleaned = clean(path);
    if means_contents(path) {
        return (cleaned, ".".into());
    }
    match cleaned.rsplit_once('/') {
        Some(("", "")) => ("/".into(), "/".into()),
        Some(("", name)) => ("/".into(), name.into()),
        Some((directory, name)) => (directory.into(), name.into()),
        None => (".".into(), cleaned),
    }
}

/// A path of this machine from the root on; what it claims by its ending is kept.
pub(crate) fn absolute(path: &str) -> std::io::Result<String> {
    let whole = if path.starts_with('/') {
        path.to_owned()
    } else {
        format!("{}/{path}", std::env::current_dir()?.display())
    };
    let mut cleaned = clean(&whole);
    if means_contents(path) {
        cleaned.push_str("/.");
    } else if path.ends_with('/') && cleaned != "/" {
        cleaned.push('/');
    }
    Ok(cleaned)
}

/// What is at a destination of this machine: `Some(true)` a directory, `Some(false)` something else.
/// The error is a sentence.
pub(crate) fn destination(path: &str) -> Result<Option<bool>, String> {
    match std::fs::metadata(path) {
        Ok(meta) => Ok(Some(meta.is_dir())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let (parent, _) = split(path);
            match std::fs::metadata(&parent) {
                Ok(meta) if meta.is_dir() => Ok(None),
                Ok(_) => Err("not a directory".into()),
                Err(error) => Err(format!("stat {parent}: {}", go_error(&error))),
            }
        }
        // A name below a file is no place.
        Err(error) => Err(format!("lstat {path}: {}", go_error(&error))),
    }
}

/// Decides. `exists`: what is at the destination, as [`destination`] tells.
pub(crate) fn place(path: &str, source_is_directory: bool, exists: Option<bool>) -> Result<Place, String> {
    let (directory, name) = split(path);
    match exists {
        Some(true) => Ok(Place::Inside(path.to_owned())),
        Some(false) if source_is_directory => Err("cannot copy directory".into()),
        None if !source_is_directory && claims_directory(path) => Err("no such directory".into()),
        Some(false) | None => Ok(Place::Named(directory, name)),
    }
}

/// The name of an archive's entry, its first part `from` replaced by `to`.
pub(crate) fn renamed(name: &str, from: &str, to: &str) -> String {
    let from = if from == "/" { "" } else { from };
    name.strip_prefix(from).map_or_else(|| name.to_owned(), |rest| format!("{to}{rest}"))
}

/// Whether `path` stays below the directory that it is joined to.
pub(crate) fn stays_below(path: &Path) -> bool {
    path.components()
        .all(|part| matches!(part, std::path::Component::Normal(_) | std::path::Component::CurDir))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_split_as_docker_splits_them() {
        assert_eq!(split("/a/b"), ("/a".into(), "b".into()));
        assert_eq!(split("/a/b/"), ("/a".into(), "b".into()));
        assert_eq!(split("/a/b/."), ("/a/b".into(), ".".into()));
        assert_eq!(split("/"), ("/".into(), "/".into()));
        assert_eq!(absolute("/a/./b/../c/").unwrap(), "/a/c/");
    }

    #[test]
    fn a_copy_goes_where_dockers_goes() {
        assert_eq!(place("/d", false, Some(true)), Ok(Place::Inside("/d".into())));
        assert_eq!(place("/d/x", false, Some(false)), Ok(Place::Named("/d".into(), "x".into())));
        assert_eq!(place("/d/new", true, None), Ok(Place::Named("/d".into(), "new".into())));
        assert_eq!(place("/d/x", true, Some(false)), Err("cannot copy directory".into()));
        assert_eq!(place("/d/new/", false, None), Err("no such directory".into()));
    }

    #[test]
    fn entries_are_renamed_at_their_head() {
        assert_eq!(renamed("passwd", "passwd", "x1"), "x1");
        assert_eq!(renamed("./a/b", ".", "new"), "new/a/b");
        assert_eq!(renamed("etc/etc", "etc", "e"), "e/etc");
    }
}
