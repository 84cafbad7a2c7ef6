//! Versions as projects write them, and the image's tag that fits (pure).

/// What is asked of a version, and where it was said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Version {
    /// For an image's tag: `3.12`, `20.11.1`.
    pub(super) tag: String,
    /// For people.
    pub(super) because: String,
}

impl Version {
    /// `tag`, said by `file`.
    pub(super) fn said(tag: impl Into<String>, language: &str, file: &str) -> Self {
        let tag = tag.into();
        Self { because: format!("{language} {tag}, said by {file}"), tag }
    }

    /// Nothing was said.
    pub(super) fn default(tag: &str, language: &str, files: &str) -> Self {
        Self { tag: tag.to_owned(), because: format!("{language} {tag}: no version is said by {files}") }
    }
}

/// `3.12.1` of `v3.12.1`, `python-3.12.1`, `3.12.x`; none if there is no number.
pub(super) fn exact(text: &str) -> Option<String> {
    let start = text.find(|c: char| c.is_ascii_digit())?;
    let number: String = text[start..].chars().take_while(|c| c.is_ascii_digit() || *c == '.').collect();
    let number = number.trim_end_matches('.');
    (!number.is_empty()).then(|| number.to_owned())
}

fn parts(version: &str) -> Vec<u32> {
    version.split('.').map_while(|part| part.parse().ok()).collect()
}

/// The newest of `known` (newest first: `3.13`, `3.12`, or `22`, `20`) that a range allows: `>=3.9,<3.13`, `^3.11`,
/// `~=3.10`, `18.x || 20.x`. A pinned version is taken as it is.
pub(super) fn in_range(range: &str, known: &[&str]) -> Option<String> {
    let pinned = range.trim().trim_start_matches(['=', 'v']).trim();
    if parts(pinned).len() == 3 && pinned.chars().all(|c| c.is_ascii_digit() || c == '.') {
        return Some(pinned.to_owned());
    }
    let mut best: Option<(usize, String)> = None;
    for choice in range.split("||").flat_map(|part| part.split('|')) {
        for (at, version) in known.iter().enumerate() {
            if allows(choice, version) && best.as_ref().is_none_or(|(old, _)| at < *old) {
                best = Some((at, (*version).to_owned()));
            }
        }
    }
    // Older or newer than all that are known: as it was said.
    best.map(|(_, version)| version).or_else(|| {
        let number = exact(range)?;
        let depth = known.first().map_or(2, |k| parts(k).len());
        Some(number.split('.').take(depth).collect::<Vec<_>>().join("."))
    })
}

/// Whether some release of the line `version` is in `choice`, all of whose conditions hold.
fn allows(choice: &str, version: &str) -> bool {
    let line = parts(version);
    let choice = choice.replace([',', '"', '\''], " ");
    let mut words = choice.split_whitespace().peekable();
    let mut any = false;
    while let Some(word) = words.next() {
        let split = word.find(|c: char| c.is_ascii_digit() || c == '*' || c == 'x').unwrap_or(word.len());
        let (operator, mut number) = word.split_at(split);
        if number.is_empty() {
            // `>= 3.9`
            number = words.next().unwrap_or_default();
        }
        if operator == "-" {
            // `18 - 20`: the upper end.
            any = true;
            if compare(&line, &parts(number)) > 0 {
                return false;
            }
            continue;
        }
        let number = number.trim_start_matches('v').trim_end_matches(".*").trim_end_matches(".x");
        let wanted = parts(number);
        any = true;
        if wanted.is_empty() {
            continue;
        }
        let upper_follows = words.peek() == Some(&"-");
        let holds = match operator.trim_end_matches('v') {
            ">=" | ">" => compare(&line, &wanted) >= 0,
            "" if upper_follows => compare(&line, &wanted) >= 0,
            "<=" => compare(&line, &wanted) <= 0,
            "<" => less(&line, &wanted),
            "!=" => compare(&line, &wanted) != 0 || wanted.len() > line.len(),
            "^" => line.first() == wanted.first() && compare(&line, &wanted) >= 0,
            "~" | "~=" | "~>" => {
                // All but the last part hold; of one alone, that one.
                let fixed = match (operator, wanted.len()) {
                    (_, 1) => 1,
                    ("~", _) => 2,
                    (_, n) => n - 1,
                };
                let fixed = fixed.min(line.len()).min(wanted.len());
                line[..fixed] == wanted[..fixed] && compare(&line, &wanted) >= 0
            }
            _ => compare(&line, &wanted) == 0,
        };
        if !holds {
            return false;
        }
    }
    any
}

/// Compares as far as both go: a line is as large as each of its releases.
fn compare(line: &[u32], wanted: &[u32]) -> i32 {
    line.iter().zip(wanted).find_map(|(a, b)| (a != b).then_some(if a < b { -1 } else { 1 })).unwrap_or(0)
}

/// `<3.13` has no release of the line 3.13, `<3.13.2` has.
fn less(line: &[u32], wanted: &[u32]) -> bool {
    match compare(line, wanted) {
        0 => wanted.len() > line.len() && wanted[line.len()..].iter().any(|part| *part > 0),
        order => order < 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_take_the_newest_that_fits() {
        let known = ["3.14", "3.13", "3.12", "3.11", "3.10", "3.9"];
        let is =
            |range: &str, tag: &str| assert_eq!(in_range(range, &known).as_deref(), Some(tag), "{range}");
        is(">=3.9,<3.13", "3.12");
        is(">=3.9", "3.14");
        is("^3.11", "3.14");
        is("~=3.10", "3.14");
        is("~3.10", "3.10");
        is("==3.11.*", "3.11");
        is("3.12.4", "3.12.4");
        is("3.12", "3.12");
        is("<=3.11", "3.11");
        is(">= 3.10, != 3.14", "3.13");
        is("*", "3.14");
        is("==2.7", "2.7");
    }

    #[test]
    fn node_writes_alternatives() {
        let known = ["24", "22", "20", "18"];
        let is =
            |range: &str, tag: &str| assert_eq!(in_range(range, &known).as_deref(), Some(tag), "{range}");
        is("18.x || 20.x", "20");
        is(">=16 <21", "20");
        is("^18.17.0 || >=20", "24");
        is("20", "20");
        is("18 - 20", "20");
        is("v20.11.1", "20.11.1");
        is("16", "16");
    }

    #[test]
    fn numbers_are_found_in_names() {
        assert_eq!(exact("python-3.12.1").as_deref(), Some("3.12.1"));
        assert_eq!(exact("v20").as_deref(), Some("20"));
        assert_eq!(exact("lts/iron"), None);
    }
}
