//! Keys, what they start with, and sets of such beginnings.

use std::{borrow::Borrow, fmt, sync::Arc};

/// Where a record lies: `table/name`. Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(Arc<str>);

impl Key {
    /// Any text; its length is checked at commit.
    pub fn new(text: &str) -> Self {
        Key(text.into())
    }

    /// All of it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Key {
    fn from(text: &str) -> Self {
        Key::new(text)
    }
}

impl From<&Key> for Key {
    fn from(key: &Key) -> Self {
        key.clone()
    }
}

impl Borrow<str> for Key {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({})", self.0)
    }
}

/// The beginning of keys. Ends in `/` when it means a whole table; empty means everything.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Prefix(Arc<str>);

impl Prefix {
    /// Every key.
    pub fn all() -> Self {
        Prefix("".into())
    }

    /// Keys that start with `text`.
    pub fn new(text: &str) -> Self {
        Prefix(text.into())
    }

    /// All of it.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether `key` lies under it.
    pub fn covers(&self, key: &Key) -> bool {
        key.as_str().starts_with(&*self.0)
    }
}

impl Borrow<str> for Prefix {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Prefix {
    fn from(text: &str) -> Self {
        Prefix::new(text)
    }
}

impl From<&Prefix> for Prefix {
    fn from(prefix: &Prefix) -> Self {
        prefix.clone()
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Prefix({})", self.0)
    }
}

/// Several prefixes, read or watched as one. Sorted, and none within another.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Prefixes(Arc<[Prefix]>);

impl Prefixes {
    /// Every key.
    pub fn all() -> Self {
        Prefix::all().into()
    }

    /// All of `prefixes`; what lies within another is left out.
    pub fn new(prefixes: impl IntoIterator<Item = Prefix>) -> Self {
        let mut sorted: Vec<_> = prefixes.into_iter().collect();
        sorted.sort();
        // A prefix sorts right before all that begin with it.
        sorted.dedup_by(|later, earlier| later.as_str().starts_with(earlier.as_str()));
        Prefixes(sorted.into())
    }

    /// One by one, sorted.
    pub fn iter(&self) -> impl Iterator<Item = &Prefix> {
        self.0.iter()
    }

    /// Whether `key` lies under one of them.
    pub fn covers(&self, key: &Key) -> bool {
        self.covers_text(key.as_str())
    }

    /// Whether everything under `prefix` lies under one of them.
    pub fn contains(&self, prefix: &Prefix) -> bool {
        self.covers_text(prefix.as_str())
    }

    /// Whether everything under `others` lies under these.
    pub fn contain_all(&self, others: &Prefixes) -> bool {
        others.iter().all(|other| self.contains(other))
    }

    /// These and `others`.
    pub fn and(&self, others: &Prefixes) -> Self {
        Prefixes::new(self.iter().chain(others.iter()).cloned())
    }

    fn covers_text(&self, text: &str) -> bool {
        // Only the last that sorts before it can be its beginning: whatever sorts between the two begins
        // with the first, and is not here.
        let after = self.0.partition_point(|prefix| prefix.as_str() <= text);
        after.checked_sub(1).is_some_and(|at| text.starts_with(self.0[at].as_str()))
    }
}

impl From<Prefix> for Prefixes {
    fn from(prefix: Prefix) -> Self {
        Prefixes(Arc::new([prefix]))
    }
}

impl From<&Prefix> for Prefixes {
    fn from(prefix: &Prefix) -> Self {
        prefix.clone().into()
    }
}

impl From<&str> for Prefixes {
    fn from(text: &str) -> Self {
        Prefix::new(text).into()
    }
}

impl From<&Prefixes> for Prefixes {
    fn from(prefixes: &Prefixes) -> Self {
        prefixes.clone()
    }
}

impl<P: Into<Prefix>> From<Vec<P>> for Prefixes {
    fn from(prefixes: Vec<P>) -> Self {
        Prefixes::new(prefixes.into_iter().map(Into::into))
    }
}

impl<P: Into<Prefix>, const N: usize> From<[P; N]> for Prefixes {
    fn from(prefixes: [P; N]) -> Self {
        Prefixes::new(prefixes.into_iter().map(Into::into))
    }
}

impl fmt::Debug for Prefixes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter().map(Prefix::as_str)).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_of_prefixes_covers_what_one_of_them_does() {
        let set = Prefixes::from(["task/", "task/9", "node/a", "node/", "guard/node/x", "z"]);
        assert_eq!(
            set.iter().map(Prefix::as_str).collect::<Vec<_>>(),
            ["guard/node/x", "node/", "task/", "z"]
        );
        for key in ["task/1", "task/9", "node/b", "guard/node/xy", "z", "zebra"] {
            assert!(set.covers(&Key::new(key)), "{key}");
        }
        for key in ["tas", "task", "guard/node/a", "guard/port", "a", "~", ""] {
            assert!(!set.covers(&Key::new(key)), "{key}");
        }
        assert!(set.contains(&Prefix::new("node/a/")) && !set.contains(&Prefix::new("guard/")));
        assert!(Prefixes::all().contain_all(&set) && !set.contain_all(&Prefixes::all()));
        assert!(set.and(&Prefixes::all()).iter().count() == 1);
    }
}
