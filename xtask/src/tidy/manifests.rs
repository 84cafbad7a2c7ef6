//! Rules about manifests: versions stand once, features by hand, nothing is asked for that nobody uses.

use crate::workspace::{Crate, Workspace};
use toml::{Table, Value};

/// Dependencies that no `use` names, and why.
const UNNAMED: &[(&str, &str)] = &[];

/// The rule.
pub(super) fn check(workspace: &Workspace) -> Vec<String> {
    let mut broken = Vec::new();
    let versions = table(&workspace.manifest, "workspace").and_then(|w| table(w, "dependencies"));
    let Some(versions) = versions else { return vec!["Cargo.toml: no [workspace.dependencies]".to_owned()] };
    for (name, entry) in versions {
        let ours = name.starts_with("minke-");
        if !ours && entry.get("default-features") != Some(&Value::Boolean(false)) {
            broken.push(format!("Cargo.toml: {name} without `default-features = false`"));
        }
        let used = workspace.crates.values().any(|c| dependencies(c).any(|(n, _)| n == name));
        if !used && !ours {
            broken.push(format!("Cargo.toml: {name} is listed, but no room uses it"));
        }
    }
    for room in workspace.crates.values() {
        let manifest = room.dir.join("Cargo.toml");
        for (name, entry) in dependencies(room) {
            if entry.get("workspace") != Some(&Value::Boolean(true)) {
                broken.push(format!(
                    "{}: {name} has a version of its own; it belongs into the workspace's manifest",
                    manifest.display()
                ));
            }
            if !names(room, name) && !UNNAMED.iter().any(|(n, _)| *n == name) {
                broken.push(format!("{}: {name} is asked for, but never named", manifest.display()));
            }
        }
        let lints = table(&room.manifest, "lints").and_then(|l| l.get("workspace"));
        if lints != Some(&Value::Boolean(true)) {
            broken.push(format!("{}: does not take the workspace's lints", manifest.display()));
        }
    }
    broken
}

fn table<'a>(table: &'a Table, key: &str) -> Option<&'a Table> {
    table.get(key)?.as_table()
}

fn dependencies(room: &Crate) -> impl Iterator<Item = (&str, &Value)> {
    let tables = ["dependencies", "dev-dependencies", "build-dependencies"];
    tables
        .into_iter()
        .filter_map(|t| table(&room.manifest, t))
        .flatten()
        .map(|(name, value)| (name.as_str(), value))
}

/// Whether any source names the crate: a derive or macro counts, a comment does not.
fn names(room: &Crate, dependency: &str) -> bool {
    let word = dependency.replace('-', "_");
    room.sources.iter().any(|s| {
        s.code.match_indices(&word).any(|(at, _)| {
            let before = s.code[..at].chars().next_back();
            let after = s.code[at + word.len()..].chars().next();
            let part = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
            !part(before) && !part(after)
        })
    })
}
