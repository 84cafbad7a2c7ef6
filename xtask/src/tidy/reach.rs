//! Rule: no dead files. Every `.rs` file is a crate's root or reached by a `mod` line from one.

use crate::workspace::{Crate, Source, Workspace};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// The rule.
pub(super) fn check(workspace: &Workspace) -> Vec<String> {
    let mut broken = Vec::new();
    for room in workspace.crates.values() {
        let reached = reached(room);
        let dead = room.sources.iter().filter(|s| !reached.contains(&s.path));
        broken.extend(dead.map(|s| format!("{}: no `mod` line leads here", s.path.display())));
    }
    broken
}

fn reached(room: &Crate) -> BTreeSet<PathBuf> {
    let mut reached = BTreeSet::new();
    let mut next: Vec<&Source> = room.sources.iter().filter(|s| is_root(room, &s.path)).collect();
    while let Some(source) = next.pop() {
        if !reached.insert(source.path.clone()) {
            continue;
        }
        let dir = children(&source.path, is_root(room, &source.path));
        for name in modules(&source.code) {
            let places = [dir.join(format!("{name}.rs")), dir.join(name).join("mod.rs")];
            next.extend(room.sources.iter().filter(|s| places.contains(&s.path)));
        }
    }
    reached
}

/// What cargo itself compiles: the library, binaries, tests, examples, benches, the build script.
fn is_root(room: &Crate, path: &Path) -> bool {
    let inside = path.strip_prefix(&room.dir).unwrap_or(path);
    let fixed = ["src/lib.rs", "src/main.rs", "build.rs"].iter().any(|root| inside == Path::new(root));
    let parents = ["src/bin", "tests", "examples", "benches"];
    fixed || parents.iter().any(|dir| inside.parent() == Some(Path::new(dir)))
}

/// Where the modules of a file lie.
fn children(path: &Path, root: bool) -> PathBuf {
    let parent = path.parent().unwrap_or(path).to_owned();
    if root || path.ends_with("mod.rs") {
        return parent;
    }
    parent.join(path.file_stem().unwrap_or_default())
}

/// The names in lines such as `pub(crate) mod name;`.
fn modules(code: &str) -> impl Iterator<Item = &str> {
    code.lines().filter_map(|line| {
        let line = line.trim();
        let rest = line
            .strip_prefix("pub(crate) ")
            .or(line.strip_prefix("pub(super) "))
            .or(line.strip_prefix("pub "))
            .unwrap_or(line);
        rest.strip_prefix("mod ")?.strip_suffix(';')
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_lie_beside_roots_and_under_others() {
        assert_eq!(children(Path::new("a/src/lib.rs"), true), Path::new("a/src"));
        assert_eq!(children(Path::new("a/src/b.rs"), false), Path::new("a/src/b"));
        assert_eq!(children(Path::new("a/src/b/mod.rs"), false), Path::new("a/src/b"));
        assert_eq!(modules("pub mod a;\nmod b {\npub(crate) mod c;").collect::<Vec<_>>(), ["a", "c"]);
    }
}
