//! What the rules look at: every crate's manifest and every source file, read once.

use crate::lexer::code_only;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The whole workspace.
pub(crate) struct Workspace {
    /// Where it lies.
    pub(crate) root: PathBuf,
    /// Its crates by directory name: `model`, `engine`, `minke`, `xtask`.
    pub(crate) crates: BTreeMap<String, Crate>,
    /// The workspace's own manifest.
    pub(crate) manifest: toml::Table,
}

/// One crate.
pub(crate) struct Crate {
    /// Its manifest.
    pub(crate) manifest: toml::Table,
    /// Its directory, relative to the workspace's root.
    pub(crate) dir: PathBuf,
    /// All its `.rs` files.
    pub(crate) sources: Vec<Source>,
}

/// One source file.
pub(crate) struct Source {
    /// Relative to the workspace's root.
    pub(crate) path: PathBuf,
    /// As written.
    pub(crate) text: String,
    /// Without comments and literals; same lines.
    pub(crate) code: String,
}

impl Workspace {
    /// Reads the workspace that this program was built from.
    pub(crate) fn read() -> Result<Self, String> {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        let root = here.parent().ok_or("xtask has no parent directory")?.to_owned();
        let manifest = manifest(&root.join("Cargo.toml"))?;
        let mut dirs = vec![PathBuf::from("minke"), PathBuf::from("sim"), PathBuf::from("xtask")];
        for entry in list(&root.join("crates"))? {
            if entry.join("Cargo.toml").exists() {
                dirs.push(entry.strip_prefix(&root).unwrap_or(&entry).to_owned());
            }
        }
        let mut crates = BTreeMap::new();
        for dir in dirs {
            let name = dir.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
            let mut sources = Vec::new();
            read_sources(&root, &root.join(&dir), &mut sources)?;
            let manifest = self::manifest(&root.join(&dir).join("Cargo.toml"))?;
            crates.insert(name, Crate { manifest, dir, sources });
        }
        Ok(Self { root, crates, manifest })
    }

    /// All source files.
    pub(crate) fn sources(&self) -> impl Iterator<Item = (&str, &Source)> {
        self.crates.iter().flat_map(|(name, c)| c.sources.iter().map(move |s| (name.as_str(), s)))
    }

    /// A file of the project as text.
    pub(crate) fn file(&self, path: &str) -> Result<String, String> {
        std::fs::read_to_string(self.root.join(path)).map_err(|e| format!("cannot read {path}: {e}"))
    }

    /// Writes a file of the project, if that changes it; tells which.
    pub(crate) fn write(&self, path: &str, text: &str) -> Result<String, String> {
        if self.file(path).is_ok_and(|now| now == text) {
            return Ok(format!("{path} is true already"));
        }
        std::fs::write(self.root.join(path), text).map_err(|e| format!("cannot write {path}: {e}"))?;
        Ok(format!("wrote {path}"))
    }
}

impl Crate {
    /// The rooms of ours that it may call, as its manifest says; those that only its tests use come with `tests`.
    pub(crate) fn uses(&self, tests: bool) -> Vec<String> {
        let tables = if tests { &["dependencies", "dev-dependencies"][..] } else { &["dependencies"] };
        let names =
            tables.iter().filter_map(|t| self.manifest.get(*t)?.as_table()).flat_map(toml::Table::keys);
        names.filter_map(|name| name.strip_prefix("minke-")).map(str::to_owned).collect()
    }

    /// The first sentence of its front page.
    pub(crate) fn purpose(&self) -> String {
        let front = ["src/lib.rs", "src/main.rs"].map(|f| self.dir.join(f));
        let source = self.sources.iter().find(|s| front.contains(&s.path));
        source.map(|s| s.doc().trim_end_matches('.').to_owned()).unwrap_or_default()
    }
}

impl Source {
    /// The first paragraph of its module doc, in one line.
    pub(crate) fn doc(&self) -> String {
        let lines = self.text.lines().map_while(|l| l.strip_prefix("//!"));
        let words: Vec<&str> = lines.map(str::trim).take_while(|l| !l.is_empty()).collect();
        words.join(" ")
    }

    /// Whether it holds tests only.
    pub(crate) fn is_test(&self) -> bool {
        let name = self.path.file_name().unwrap_or_default();
        name == "tests.rs" || name == "suite.rs" || self.path.components().any(|c| c.as_os_str() == "tests")
    }

    /// Its code before a `#[cfg(test)]` module at its end.
    pub(crate) fn without_tests(&self) -> &str {
        let end = self.code.find("\n#[cfg(test)]\nmod ").filter(|_| !self.is_test());
        end.map_or(&self.code, |at| &self.code[..at])
    }
}

fn manifest(path: &Path) -> Result<toml::Table, String> {
    let text = std::fs::read_to_string(path).map_err(|e| format!("cannot read {}: {e}", path.display()))?;
    text.parse().map_err(|e| format!("cannot parse {}: {e}", path.display()))
}

fn list(dir: &Path) -> Result<Vec<PathBuf>, String> {
    let entries = std::fs::read_dir(dir).map_err(|e| format!("cannot list {}: {e}", dir.display()))?;
    let mut paths: Vec<PathBuf> = entries.filter_map(|e| Some(e.ok()?.path())).collect();
    paths.sort();
    Ok(paths)
}

fn read_sources(root: &Path, dir: &Path, into: &mut Vec<Source>) -> Result<(), String> {
    for path in list(dir)? {
        if path.is_dir() {
            read_sources(root, &path, into)?;
        } else if path.extension().is_some_and(|e| e == "rs") {
            let text =
                std::fs::read_to_string(&path).map_err(|e| format!("cannot read {}: {e}", path.display()))?;
            let code = code_only(&text);
            into.push(Source { path: path.strip_prefix(root).unwrap_or(&path).to_owned(), text, code });
        }
    }
    Ok(())
}
