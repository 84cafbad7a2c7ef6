//! A directory's source as detection asks about it.

use minke_engine::build::detect::SourceTree;
use std::{
    fs::{self, File},
    io::Read as _,
    path::{Path, PathBuf},
};

/// Files of a tree that are looked at, and directories inside of each other.
const MOST_FILES: usize = 20_000;
const MAX_DEPTH: usize = 7;
/// The largest file that a person writes, bytes.
const MOST_BYTES: u64 = 1 << 20;

/// Directories that hold what was built or fetched.
const NOT_SOURCE: [&str; 12] = [
    ".git",
    "node_modules",
    "target",
    "vendor",
    "venv",
    ".venv",
    "__pycache__",
    ".next",
    ".gradle",
    ".tox",
    "build/classes",
    ".terraform",
];

/// A directory's files.
pub(super) struct Source {
    root: PathBuf,
    files: Vec<String>,
}

impl Source {
    /// Lists a directory.
    pub(super) fn list(root: &Path) -> Self {
        let mut source = Self { root: root.to_owned(), files: Vec::new() };
        source.below("", 0);
        source.files.sort();
        source
    }

    fn below(&mut self, dir: &str, depth: usize) {
        // What cannot be read tells nothing.
        let Ok(entries) = fs::read_dir(self.root.join(dir)) else { return };
        let mut names: Vec<_> = entries.flatten().collect();
        names.sort_by_key(fs::DirEntry::file_name);
        for entry in names {
            if self.files.len() >= MOST_FILES {
                return;
            }
            let (Ok(name), Ok(kind)) = (entry.file_name().into_string(), entry.file_type()) else { continue };
            let path = if dir.is_empty() { name.clone() } else { format!("{dir}/{name}") };
            let vendored = name == "vendor" && depth == 0;
            match () {
                // That there is one is worth knowing, its files are not.
                () if kind.is_dir() && vendored => self.files.push("vendor/modules.txt".to_owned()),
                () if kind.is_dir() && depth < MAX_DEPTH && !NOT_SOURCE.contains(&name.as_str()) => {
                    self.below(&path, depth + 1);
                }
                () if kind.is_file() => self.files.push(path),
                () => {}
            }
        }
    }
}

impl SourceTree for Source {
    fn files(&self) -> &[String] {
        &self.files
    }

    fn read(&self, path: &str) -> Option<String> {
        let path = self.root.join(path);
        if !fs::symlink_metadata(&path).ok()?.is_file() {
            return None;
        }
        let mut bytes = Vec::new();
        File::open(path).ok()?.take(MOST_BYTES).read_to_end(&mut bytes).ok()?;
        Some(String::from_utf8_lossy(&bytes).into_owned())
    }
}
