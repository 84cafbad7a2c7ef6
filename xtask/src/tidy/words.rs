//! Rules about words that code may not say, or only in some rooms.

use crate::workspace::{Source, Workspace};

/// Files outside of `minke` that read the environment, and why they may.
const ENVIRONMENT: &[(&str, &str)] = &[
    (
        "crates/network/src/dns/resolv_conf.rs",
        "dockerd's own variable for another resolv.conf; read where the file is chosen",
    ),
    ("crates/runtime/src/external.rs", "PATH: an external runtime may be named without its directory"),
    ("crates/store/src/suite.rs", "SEED: a failed random test is run again with its seed"),
    ("crates/store/src/map.rs", "SEED: a failed random test is run again with its seed"),
    ("crates/store/src/embedded/tests.rs", "a test runs itself as the process that is killed"),
    ("crates/linux/src/seccomp/tests.rs", "a test runs itself under the filter"),
    ("xtask/src/workspace.rs", "the directory that cargo built it from"),
];

/// `unsafe` is said where the kernel is spoken to, and nowhere else.
pub(super) fn unsafe_code(workspace: &Workspace) -> Vec<String> {
    let elsewhere = workspace.sources().filter(|(room, _)| !["linux", "shim"].contains(room));
    let mut broken: Vec<String> = elsewhere.flat_map(|(_, s)| lines_with(s, &s.code, "unsafe")).collect();
    for (_, source) in workspace.sources().filter(|(room, _)| ["linux", "shim"].contains(room)) {
        broken.extend(unexplained(source));
    }
    broken
}

/// Each `unsafe` block has a `SAFETY:` above it or in it, no more than eight lines away.
fn unexplained(source: &Source) -> Vec<String> {
    let text: Vec<&str> = source.text.lines().collect();
    let mut broken = Vec::new();
    for (at, line) in source.code.lines().enumerate() {
        if !line.contains("unsafe {") && !line.contains("unsafe impl") {
            continue;
        }
        let near = &text[at.saturating_sub(8)..(at + 3).min(text.len())];
        if !near.iter().any(|l| l.contains("SAFETY")) {
            broken.push(format!("{}:{}: unsafe without SAFETY", source.path.display(), at + 1));
        }
    }
    broken
}

/// Configuration and environment are read by the binary and handed down.
pub(super) fn environment(workspace: &Workspace) -> Vec<String> {
    let may = |s: &Source| ENVIRONMENT.iter().any(|(path, _)| s.path.ends_with(path));
    let others = workspace.sources().filter(|(room, s)| *room != "minke" && !may(s) && !s.is_test());
    let mut broken: Vec<String> = others.flat_map(|(_, s)| lines_with(s, &s.code, "env::var")).collect();
    for (path, _) in ENVIRONMENT.iter().filter(|(path, _)| !workspace.root.join(path).exists()) {
        broken.push(format!("xtask/src/tidy/words.rs: {path} may read the environment, but does not exist"));
    }
    broken
}

/// What says that something is unfinished. Put together here so that this file does not say it.
pub(super) fn left_over(workspace: &Workspace) -> Vec<String> {
    let macros = ["todo!", "unimplemented!", "dbg!"];
    let notes = [["TO", "DO"], ["FIX", "ME"], ["XX", "X:"]].map(|halves| halves.concat());
    let mut broken = Vec::new();
    for (_, source) in workspace.sources() {
        broken.extend(macros.iter().flat_map(|word| lines_with(source, &source.code, word)));
        broken.extend(notes.iter().flat_map(|word| lines_with(source, &source.text, word)));
    }
    broken
}

/// The lines of `text` (the source's code or all of it) that say `word` as a word of its own.
pub(super) fn lines_with(source: &Source, text: &str, word: &str) -> Vec<String> {
    let whole = |line: &str| {
        line.match_indices(word).any(|(at, _)| {
            let part = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
            let ends_open = word.ends_with(|c: char| !c.is_alphanumeric()) || word.contains("::");
            !part(line[..at].chars().next_back())
                && (ends_open || !part(line[at + word.len()..].chars().next()))
        })
    };
    let lines = text.lines().enumerate().filter(|(_, line)| whole(line));
    lines.map(|(at, _)| format!("{}:{}: says {word}", source.path.display(), at + 1)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    fn source(text: &str) -> Source {
        Source { path: PathBuf::from("x.rs"), text: text.to_owned(), code: crate::lexer::code_only(text) }
    }

    #[test]
    fn words_are_whole_words_in_code() {
        let s = source("fn f() { unsafe { g() } }\n// unsafe\nlet unsafe_ = 1; #![deny(unsafe_code)]");
        assert_eq!(lines_with(&s, &s.code, "unsafe"), ["x.rs:1: says unsafe"]);
        let s = source("let a = std::env::var_os(\"A\");");
        assert_eq!(lines_with(&s, &s.code, "env::var").len(), 1);
    }

    #[test]
    fn an_unsafe_block_explains_itself() {
        assert!(unexplained(&source("// SAFETY: the pointer is ours.\nunsafe { f() }")).is_empty());
        assert_eq!(unexplained(&source("unsafe { f() }")).len(), 1);
    }
}
