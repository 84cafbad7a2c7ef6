//! Parser directives: `# syntax=`, `# escape=`, `# check=` above everything else (pure).

use super::fault::Fault;

/// Names that there are.
const NAMES: [&str; 3] = ["syntax", "escape", "check"];

/// Reads directives line by line, until the first line that is none.
#[derive(Debug)]
pub(crate) struct Reader {
    marker: &'static str,
    seen: Vec<&'static str>,
    done: bool,
}

impl Reader {
    /// For lines that begin with `marker`: `#`, or nothing once it is off.
    pub(crate) fn new(marker: &'static str) -> Self {
        Self { marker, seen: Vec::new(), done: false }
    }

    /// The directive that `line` is, if all before it were some too.
    pub(crate) fn line<'a>(&mut self, line: &'a str) -> Result<Option<(&'static str, &'a str)>, Fault> {
        if self.done {
            return Ok(None);
        }
        let Some((name, value)) = line.strip_prefix(self.marker).and_then(split) else {
            self.done = true;
            return Ok(None);
        };
        if self.seen.contains(&name) {
            return Err(Fault::DirectiveTwice(name.into()));
        }
        self.seen.push(name);
        Ok(Some((name, value)))
    }
}

/// `name = value`.
fn split(line: &str) -> Option<(&'static str, &str)> {
    let (name, value) = line.split_once('=')?;
    let (name, value) = (name.trim(), value.trim());
    let name = NAMES.into_iter().find(|known| known.eq_ignore_ascii_case(name))?;
    (!value.is_empty()).then_some((name, value))
}

/// The value of the directive `name` in `text`, and its line. A first line `#!…` does not count.
pub(super) fn find<'a>(text: &'a str, marker: &'static str, name: &str) -> Option<(&'a str, u32)> {
    let mut reader = Reader::new(marker);
    let shebang = usize::from(text.starts_with("#!"));
    for (number, line) in (1u32..).zip(text.lines()).skip(shebang) {
        match reader.line(line) {
            Ok(Some((found, value))) if found == name => return Some((value, number)),
            Ok(Some(_)) => {}
            Ok(None) | Err(_) => return None,
        }
    }
    None
}

/// The frontend that `text` asks for, and its line: `# syntax=`, `// syntax=`, or a JSON object's `syntax`.
pub(super) fn frontend(text: &str) -> Option<(String, u32)> {
    let line = find(text, "#", "syntax").or_else(|| find(text, "//", "syntax"));
    if let Some((value, line)) = line {
        return Some((value.split(' ').next().unwrap_or(value).to_owned(), line));
    }
    if !text.trim_start().starts_with('{') {
        return None;
    }
    let object: serde_json::Value = serde_json::from_str(text).ok()?;
    Some((object.get("syntax")?.as_str()?.to_owned(), 1))
}

/// Whether the frontend named `image` is the official one, in whichever version: then it is this one.
pub fn is_official(image: &str) -> bool {
    let name = image.split('@').next().unwrap_or(image);
    let path = name.rfind('/').map_or(0, |at| at + 1);
    let name = name[path..].find(':').map_or(name, |at| &name[..path + at]);
    let name = ["docker.io/", "index.docker.io/", "registry-1.docker.io/"]
        .into_iter()
        .find_map(|host| name.strip_prefix(host))
        .unwrap_or(name);
    matches!(name, "docker/dockerfile" | "docker/dockerfile-upstream")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directives_end_at_the_first_other_line() {
        let text = "# syntax = docker/dockerfile:1 extra\n#escape=`\n# a comment\n# check=skip=all\n";
        assert_eq!(frontend(text), Some(("docker/dockerfile:1".into(), 1)));
        assert_eq!(find(text, "#", "escape"), Some(("`", 2)));
        assert_eq!(find(text, "#", "check"), None);
        assert_eq!(frontend("#!/usr/bin/env x\n# syntax=a/b\n"), Some(("a/b".into(), 2)));
        assert_eq!(frontend("// syntax=a/b\n"), Some(("a/b".into(), 1)));
        assert_eq!(frontend("{\"syntax\": \"a/b\"}"), Some(("a/b".into(), 1)));
        assert_eq!(frontend("\n# syntax=a/b\n"), None);
    }

    #[test]
    fn a_directive_stands_once() {
        let mut reader = Reader::new("#");
        assert_eq!(reader.line("# ESCAPE=`"), Ok(Some(("escape", "`"))));
        assert_eq!(reader.line("#escape=`"), Err(Fault::DirectiveTwice("escape".into())));
    }

    #[test]
    fn only_the_official_frontend_is_this_one() {
        for ours in
            ["docker/dockerfile", "docker/dockerfile:1.7-labs", "docker.io/docker/dockerfile:1@sha256:ab"]
        {
            assert!(is_official(ours), "{ours}");
        }
        for other in [
            "docker/dockerfile2",
            "ghcr.io/docker/dockerfile:1",
            "dockerfile",
            "localhost:5000/docker/dockerfile",
        ] {
            assert!(!is_official(other), "{other}");
        }
    }
}
