//! A source tree as detection asks about it (pure).

use super::{SourceTree, procfile::Process};
use std::collections::BTreeSet;

/// A tree, and its Procfile.
pub(super) struct Sources<'a> {
    tree: &'a dyn SourceTree,
    paths: BTreeSet<&'a str>,
    processes: Vec<Process>,
}

impl<'a> Sources<'a> {
    /// Reads the Procfile.
    pub(super) fn new(tree: &'a dyn SourceTree) -> Self {
        let paths = tree.files().iter().map(String::as_str).collect();
        let processes = tree.read("Procfile").map(|text| super::procfile::parse(&text)).unwrap_or_default();
        Self { tree, paths, processes }
    }

    /// The Procfile's processes, in order.
    pub(super) fn procfile(&self) -> &[Process] {
        &self.processes
    }

    /// Whether there is such a file.
    pub(super) fn has(&self, path: &str) -> bool {
        self.paths.contains(path)
    }

    /// The first of `paths` that is there.
    pub(super) fn first<'p>(&self, paths: &[&'p str]) -> Option<&'p str> {
        paths.iter().find(|path| self.has(path)).copied()
    }

    /// Whether there are files below a directory.
    pub(super) fn has_dir(&self, dir: &str) -> bool {
        let below = format!("{dir}/");
        self.paths.range(below.as_str()..).next().is_some_and(|path| path.starts_with(&below))
    }

    /// Paths that `wanted` takes, in order, those at the top first.
    pub(super) fn find(&self, wanted: impl Fn(&str) -> bool) -> Vec<&'a str> {
        let mut found: Vec<&str> = self.paths.iter().copied().filter(|path| wanted(path)).collect();
        found.sort_by_key(|path| path.matches('/').count());
        found
    }

    /// The text of a file; empty where there is none.
    pub(super) fn text(&self, path: &str) -> String {
        if self.has(path) { self.tree.read(path).unwrap_or_default() } else { String::new() }
    }

    /// The first line of a file that is neither empty nor a comment.
    pub(super) fn line(&self, path: &str) -> Option<String> {
        let text = self.text(path);
        let line = text.lines().map(str::trim).find(|line| !line.is_empty() && !line.starts_with('#'));
        line.map(str::to_owned)
    }

    /// The version of `tool` in `.tool-versions`.
    pub(super) fn tool_version(&self, tool: &str) -> Option<String> {
        let text = self.text(".tool-versions");
        let line = text.lines().find_map(|line| line.trim().strip_prefix(tool)?.strip_prefix(' '));
        line.and_then(|rest| rest.split_whitespace().next()).map(str::to_owned)
    }
}

/// Whether `word` stands in `text` by itself; `-` and `_` are the same, as is case.
pub(super) fn has_word(text: &str, word: &str) -> bool {
    let plain = |text: &str| text.to_ascii_lowercase().replace('_', "-");
    let (text, word) = (plain(text), plain(word));
    let part = |c: char| c.is_ascii_alphanumeric() || c == '-';
    text.match_indices(&word).any(|(at, _)| {
        let before = text[..at].chars().next_back();
        let after = text[at + word.len()..].chars().next();
        !before.is_some_and(part) && !after.is_some_and(part)
    })
}

/// The last part of a path.
pub(super) fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// The port that a program's text says it listens on, beside the variable PORT or alone.
pub(super) fn port_in(text: &str) -> Option<u16> {
    // Words after which such a number stands; what is nearest to the variable counts first.
    for word in ["PORT", "listen(", "port=", "port =", "port:", "\":", "0.0.0.0:"] {
        for (at, _) in text.match_indices(word) {
            let rest: String = text[at + word.len()..].chars().take(24).take_while(|c| *c != '\n').collect();
            let number = rest.split(|c: char| !c.is_ascii_digit()).find(|digits| !digits.is_empty());
            if let Some(port) = number.and_then(|digits| digits.parse().ok()).filter(|port| *port >= 1024) {
                return Some(port);
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_stand_alone() {
        assert!(has_word("Django>=4\nflask_login", "django"));
        assert!(!has_word("flask-login", "flask"));
        assert!(has_word("x\nflask[async]==3", "flask"));
    }

    #[test]
    fn ports_are_found_where_programs_say_them() {
        assert_eq!(port_in("app.listen(process.env.PORT || 3000)"), Some(3000));
        assert_eq!(port_in("http.ListenAndServe(\":8081\", nil)"), Some(8081));
        assert_eq!(port_in("app.run(host='0.0.0.0', port=5000)"), Some(5000));
        assert_eq!(port_in("timeout = 3000"), None);
    }
}
