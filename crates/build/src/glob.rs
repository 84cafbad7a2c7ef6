//! Shell patterns as Go's `filepath.Match` takes them (pure).
//!
//! `*` and `?` never match `/`; `[a-z]` and `[^a-z]` do as they say; `\` escapes. What is malformed anywhere is an
//! error, whether or not the name gets that far.

/// One part of a pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// One letter.
    Letter(char),
    /// `?`
    Any,
    /// `*`
    Star,
    /// `[…]`
    Class {
        /// `[^…]`
        not: bool,
        /// First and last of each range.
        ranges: Vec<(char, char)>,
    },
    /// `**/`: nothing, or directories with their slashes (of .dockerignore only).
    Deep,
    /// `**` at the end: anything (of .dockerignore only).
    Rest,
}

/// A pattern that cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("syntax error in pattern")]
pub struct BadPattern;

/// Whether `pattern` matches all of `name`.
pub fn matches(pattern: &str, name: &str) -> Result<bool, BadPattern> {
    Ok(all(&parse(pattern)?, name))
}

/// Whether `text` has a wildcard that is not escaped.
pub fn has_wildcards(text: &str) -> bool {
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '*' | '?' | '[' => return true,
            '\\' => {
                chars.next();
            }
            _ => {}
        }
    }
    false
}

/// The parts of a pattern; `**` is two `*`.
pub(crate) fn parse(pattern: &str) -> Result<Vec<Part>, BadPattern> {
    let mut parts = Vec::new();
    let mut chars = pattern.chars().peekable();
    while let Some(c) = chars.next() {
        parts.push(match c {
            '*' => Part::Star,
            '?' => Part::Any,
            '\\' => Part::Letter(chars.next().ok_or(BadPattern)?),
            '[' => class(&mut chars)?,
            c => Part::Letter(c),
        });
    }
    Ok(parts)
}

/// What stands behind `[`, up to its `]`.
pub(crate) fn class(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Result<Part, BadPattern> {
    let not = chars.next_if_eq(&'^').is_some();
    let mut ranges = Vec::new();
    let one = |chars: &mut std::iter::Peekable<std::str::Chars<'_>>| match chars.next() {
        None | Some('-' | ']') => Err(BadPattern),
        Some('\\') => chars.next().ok_or(BadPattern),
        Some(c) => Ok(c),
    };
    while ranges.is_empty() || chars.next_if_eq(&']').is_none() {
        let first = one(chars)?;
        let last = if chars.next_if_eq(&'-').is_some() { one(chars)? } else { first };
        ranges.push((first, last));
        if chars.peek().is_none() {
            return Err(BadPattern);
        }
    }
    Ok(Part::Class { not, ranges })
}

/// Whether `parts` match all of `name`. No backtracking: time is their product.
pub(crate) fn all(parts: &[Part], name: &str) -> bool {
    let letters: Vec<char> = name.chars().collect();
    // reached[i]: the parts so far can match letters[..i].
    let mut reached = vec![false; letters.len() + 1];
    reached[0] = true;
    for part in parts {
        let mut next = vec![false; letters.len() + 1];
        match part {
            Part::Star => {
                let mut on = false;
                for i in 0..=letters.len() {
                    on |= reached[i];
                    next[i] = on;
                    on &= letters.get(i) != Some(&'/');
                }
            }
            Part::Rest => {
                let first = reached.iter().position(|r| *r).unwrap_or(reached.len());
                next[first..].fill(true);
            }
            Part::Deep => {
                let mut on = false;
                for i in 0..=letters.len() {
                    next[i] = reached[i] || (on && letters[i - 1] == '/');
                    on |= reached[i];
                }
            }
            one => (1..=letters.len()).for_each(|i| next[i] = reached[i - 1] && one.takes(letters[i - 1])),
        }
        reached = next;
    }
    reached.last().copied().unwrap_or_default()
}

impl Part {
    fn takes(&self, c: char) -> bool {
        match self {
            Part::Letter(letter) => *letter == c,
            Part::Any => c != '/',
            Part::Class { not, ranges } => ranges.iter().any(|(a, b)| (*a..=*b).contains(&c)) != *not,
            Part::Star | Part::Deep | Part::Rest => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_in_go() {
        for (pattern, name, is) in [
            ("abc", "abc", true),
            ("*", "abc", true),
            ("*c", "abc", true),
            ("a*", "ab/c", false),
            ("a*/b", "a/c/b", false),
            ("a*b*c*d*e*/f", "axbxcxdxe/f", true),
            ("a*b?c*x", "abxbbxdbxebxczzx", true),
            ("ab[c]", "abc", true),
            ("ab[b-d]", "abc", true),
            ("ab[^b-d]", "abc", false),
            ("a\\*b", "a*b", true),
            ("a\\*b", "ab", false),
            ("a?b", "a☺b", true),
            ("a???b", "a☺b", false),
            ("a?b", "a/b", false),
            ("[\\]a]", "]", true),
            ("[\\-x]", "-", true),
            ("*x", "xxx", true),
            ("", "", true),
            ("", "x", false),
        ] {
            assert_eq!(matches(pattern, name), Ok(is), "{pattern} {name}");
        }
        for bad in ["[]a]", "[-]", "[x-]", "[-x]", "[", "[^", "[^bc", "a[", "\\", "[a-b-c]"] {
            assert_eq!(matches(bad, "a"), Err(BadPattern), "{bad}");
        }
    }

    #[test]
    fn wildcards_are_seen_unless_escaped() {
        assert!(has_wildcards("a/*.c") && has_wildcards("[x]") && !has_wildcards("a\\*b"));
    }
}
