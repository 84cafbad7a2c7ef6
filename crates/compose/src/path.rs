//! Where in a tree something stands: `services.web.ports.[]`, and patterns of such paths. Pure.

use std::fmt;

/// A path of keys. A place in a list is `[]`, whichever it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Path {
    parts: Vec<String>,
}

impl Path {
    /// Of all.
    pub(crate) fn root() -> Self {
        Path::default()
    }

    /// From a dotted text; its keys have no dots.
    pub(crate) fn of(text: &str) -> Self {
        Path { parts: text.split('.').map(str::to_owned).collect() }
    }

    pub(crate) fn is_root(&self) -> bool {
        self.parts.is_empty()
    }

    /// One step further.
    pub(crate) fn next(&self, part: &str) -> Self {
        let mut parts = Vec::with_capacity(self.parts.len() + 1);
        parts.extend_from_slice(&self.parts);
        parts.push(part.to_owned());
        Path { parts }
    }

    /// Whether it is of the form of `pattern`, where `*` is any key.
    pub(crate) fn matches(&self, pattern: &str) -> bool {
        let mut wanted = pattern.split('.');
        self.parts.iter().all(|part| wanted.next().is_some_and(|wanted| wanted == "*" || wanted == part))
            && wanted.next().is_none()
    }

    /// The first of some patterns that it is of the form of.
    pub(crate) fn find<'a, T>(&self, table: &'a [(&str, T)]) -> Option<&'a T> {
        if self.parts.is_empty() {
            return None;
        }
        table.iter().find(|(pattern, _)| self.matches(pattern)).map(|(_, value)| value)
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.parts.join("."))
    }
}
