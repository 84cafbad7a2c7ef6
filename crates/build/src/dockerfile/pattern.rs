//! The patterns of `${a#p}`, `${a%p}` and `${a/p/r}`: `*`, `?` and letters, never a class (pure).

use super::fault::ExpandFault;

/// Most comparisons of one replacement: patterns and values are strangers'.
const MAX_WORK: usize = 1 << 27;

/// One letter of a pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    /// `*`: any letters of one line.
    Star,
    /// `?`: one letter, no end of line.
    Any,
    Letter(char),
}

/// A pattern, parsed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pattern(Vec<Part>);

impl Pattern {
    /// `\*`, `\?` and `\\` are letters; `\}` and `\/` were escaped for the braces only.
    pub(super) fn parse(text: &str) -> Result<Self, ExpandFault> {
        let mut parts = Vec::new();
        let mut chars = text.chars().peekable();
        while let Some(c) = chars.next() {
            let part = match (c, chars.peek().copied()) {
                ('*', _) => Part::Star,
                ('?', _) => Part::Any,
                ('\\', Some('}' | '/')) => continue,
                ('\\', Some(escaped @ ('*' | '?' | '\\'))) => {
                    chars.next();
                    Part::Letter(escaped)
                }
                ('\\', escaped) => {
                    let escaped = escaped.map(String::from).unwrap_or_default();
                    return Err(ExpandFault::Pattern { pattern: text.into(), escaped });
                }
                (c, _) => Part::Letter(c),
            };
            parts.push(part);
        }
        Ok(Self(parts))
    }

    /// `value` without the shortest or longest beginning that matches.
    pub(super) fn trim_start(&self, value: &str, longest: bool) -> String {
        let letters: Vec<char> = value.chars().collect();
        match self.end(&letters, longest) {
            Some(end) => letters[end..].iter().collect(),
            None => value.to_owned(),
        }
    }

    /// `value` without the shortest or longest end that matches.
    pub(super) fn trim_end(&self, value: &str, longest: bool) -> String {
        let backwards = Self(self.0.iter().rev().copied().collect());
        let letters: Vec<char> = value.chars().rev().collect();
        match backwards.end(&letters, longest) {
            Some(end) => letters[end..].iter().rev().collect(),
            None => value.to_owned(),
        }
    }

    /// `value` with the first match, or all, replaced, each as long as can be. None if larger than `limit`, or too
    /// much work.
    pub(super) fn replace(&self, value: &str, with: &str, all: bool, limit: usize) -> Option<String> {
        let letters: Vec<char> = value.chars().collect();
        let mut out = String::new();
        let (mut at, mut copied, mut work) = (0, 0, 0usize);
        while at <= letters.len() {
            let mut found = None;
            for from in at..=letters.len() {
                let first = self.0.first();
                if let Some(Part::Letter(c)) = first
                    && letters.get(from) != Some(c)
                {
                    continue;
                }
                work += self.reach(letters.len() - from) * self.0.len();
                if work > MAX_WORK {
                    return None;
                }
                if let Some(length) = self.end(&letters[from..], true) {
                    found = Some((from, from + length));
                    break;
                }
            }
            let Some((from, to)) = found else { break };
            out.extend(&letters[copied..from]);
            // Nothing at the end of the last match is no further match.
            if to > copied || from == 0 {
                out.push_str(with);
            }
            copied = to;
            if out.len() > limit {
                return None;
            }
            if !all {
                break;
            }
            at = if to > at { to } else { at + 1 };
        }
        out.extend(&letters[copied..]);
        Some(out)
    }

    /// How many of `available` letters a match can take.
    fn reach(&self, available: usize) -> usize {
        if self.0.contains(&Part::Star) { available } else { available.min(self.0.len()) }
    }

    /// Where the shortest or longest match that begins at the first of `letters` ends.
    fn end(&self, letters: &[char], longest: bool) -> Option<usize> {
        let letters = &letters[..self.reach(letters.len())];
        // reached[i]: the parts so far can match letters[..i].
        let mut reached = vec![false; letters.len() + 1];
        reached[0] = true;
        for part in &self.0 {
            let mut next = vec![false; letters.len() + 1];
            match part {
                Part::Star => {
                    let mut on = false;
                    for i in 0..=letters.len() {
                        on |= reached[i];
                        next[i] = on;
                        on &= letters.get(i) != Some(&'\n');
                    }
                }
                Part::Any => {
                    (1..=letters.len()).for_each(|i| next[i] = reached[i - 1] && letters[i - 1] != '\n')
                }
                Part::Letter(c) => {
                    (1..=letters.len()).for_each(|i| next[i] = reached[i - 1] && letters[i - 1] == *c)
                }
            }
            reached = next;
        }
        if longest { reached.iter().rposition(|r| *r) } else { reached.iter().position(|r| *r) }
    }
}
