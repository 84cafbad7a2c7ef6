//! Rules about words for readers: module docs, paths in documents, the glossary.

use crate::workspace::Workspace;

/// Documents whose paths must exist.
const DOCUMENTS: &[&str] = &["README.md", "ARCHITECTURE.md", "GLOSSARY.md", "STYLE.md", "CONTRIBUTING.md"];

/// Each file opens with what it is for. `tests.rs` belongs to the file beside it, which says so already.
pub(super) fn modules(workspace: &Workspace) -> Vec<String> {
    let silent =
        workspace.sources().filter(|(_, s)| !s.path.ends_with("tests.rs") && !s.text.starts_with("//! "));
    silent.map(|(_, s)| format!("{}: does not open with a module doc (`//! …`)", s.path.display())).collect()
}

/// A path in backticks that names a file or directory of ours must lead somewhere.
pub(super) fn paths(workspace: &Workspace) -> Vec<String> {
    let mut lost = Vec::new();
    for document in DOCUMENTS {
        let text = match workspace.file(document) {
            Ok(text) => text,
            Err(why) => {
                lost.push(why);
                continue;
            }
        };
        for path in spans(&text).filter(|span| looks_like_ours(span)) {
            if !workspace.root.join(path).exists() {
                lost.push(format!("{document}: `{path}` does not exist"));
            }
        }
    }
    lost
}

/// What stands in single backticks, code blocks left out.
fn spans(text: &str) -> impl Iterator<Item = &str> {
    let prose = text.split("```").step_by(2);
    prose.flat_map(|part| part.split('`').skip(1).step_by(2))
}

fn looks_like_ours(span: &str) -> bool {
    let roots = [
        "crates/",
        "minke/",
        "xtask/",
        "script/",
        "docs/",
        "tests/",
        "bench/",
        "examples/",
        ".ci/",
        ".config/",
    ];
    roots.iter().any(|root| span.starts_with(root)) && !span.contains([' ', '*', '<', '…', '{'])
}

/// A code block that says whose it is (```` ```rust crates/model/src/error.rs ````) is found there, line for line, but for
/// lines of `…`.
pub(super) fn quotations(workspace: &Workspace) -> Vec<String> {
    let mut wrong = Vec::new();
    for document in DOCUMENTS {
        let text = workspace.file(document).unwrap_or_default();
        for block in text.split("```").skip(1).step_by(2) {
            let (head, lines) = block.split_once('\n').unwrap_or_default();
            let Some(path) = head.strip_prefix("rust ") else { continue };
            let source = workspace.file(path).unwrap_or_default();
            let there: Vec<&str> = source.lines().map(str::trim).collect();
            let missing = lines.lines().map(str::trim).find(|l| !l.contains('…') && !there.contains(l));
            wrong.extend(missing.map(|line| format!("{document}: `{path}` does not say “{line}”")));
        }
    }
    wrong
}

/// `- **word**: meaning` in the glossary: somebody must say the word, in code or in a comment.
pub(super) fn glossary(workspace: &Workspace) -> Vec<String> {
    let text = match workspace.file("GLOSSARY.md") {
        Ok(text) => text,
        Err(why) => return vec![why],
    };
    let words: Vec<&str> =
        text.lines().filter_map(|line| line.strip_prefix("- **")?.split("**").next()).collect();
    if words.is_empty() {
        return vec!["GLOSSARY.md: no word in it (`- **word**: meaning`)".to_owned()];
    }
    // `exec-root` and `PublishPolicy` say “exec root” and “publish policy”.
    let flat = |text: &str| text.to_lowercase().replace(['-', '_', ' '], "");
    let texts: Vec<String> =
        workspace.sources().filter(|(room, _)| *room != "xtask").map(|(_, s)| flat(&s.text)).collect();
    let said = |word: &str| texts.iter().any(|text| text.contains(&flat(word)));
    words
        .into_iter()
        .filter(|word| !said(word))
        .map(|word| format!("GLOSSARY.md: nobody says “{word}”"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{looks_like_ours, spans};

    #[test]
    fn paths_are_read_from_prose_and_not_from_code_blocks() {
        let text = "see `crates/x.rs` and `run me`\n```\n`docs/none`\n```\n`script/test`";
        let found: Vec<&str> = spans(text).filter(|s| looks_like_ours(s)).collect();
        assert_eq!(found, ["crates/x.rs", "script/test"]);
    }
}
