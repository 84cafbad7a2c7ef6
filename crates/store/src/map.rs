//! A sorted map whose copies share structure: a snapshot is one pointer.
//!
//! A treap with priorities from the keys' hashes: its shape depends only on what it holds. A change copies
//! the path to it where a snapshot still needs the old one, and edits in place where none does.

use crate::{Key, state::Record};
use std::{
    cmp::Ordering,
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
};

type Link = Option<Arc<Node>>;

#[derive(Clone)]
struct Node {
    key: Key,
    record: Arc<Record>,
    priority: u64,
    left: Link,
    right: Link,
}

/// Keys to records, sorted. Cloning costs one reference count.
#[derive(Clone, Default)]
pub(crate) struct Map {
    root: Link,
}

impl Map {
    /// What `key` holds.
    pub(crate) fn get(&self, key: &str) -> Option<&Arc<Record>> {
        let mut link = &self.root;
        while let Some(node) = link {
            match key.cmp(node.key.as_str()) {
                Ordering::Equal => return Some(&node.record),
                Ordering::Less => link = &node.left,
                Ordering::Greater => link = &node.right,
            }
        }
        None
    }

    /// Puts or replaces.
    pub(crate) fn insert(&mut self, key: Key, record: Arc<Record>) {
        let mut hasher = DefaultHasher::new();
        key.hash(&mut hasher);
        insert(&mut self.root, Node { key, record, priority: hasher.finish(), left: None, right: None });
    }

    /// Takes away; says whether it was there.
    pub(crate) fn remove(&mut self, key: &str) -> bool {
        // Looked up first, so that a miss copies no path.
        self.get(key).is_some() && remove(&mut self.root, key)
    }

    /// All whose keys start with `prefix`, in order.
    pub(crate) fn under<'a>(&'a self, prefix: &'a str) -> Under<'a> {
        let mut stack = Vec::new();
        let mut link = &self.root;
        while let Some(node) = link {
            if node.key.as_str() >= prefix {
                stack.push(&**node);
                link = &node.left;
            } else {
                link = &node.right;
            }
        }
        Under { stack, prefix }
    }
}

/// What a walk through a tree has before it: a whole subtree, or one entry.
#[derive(Clone, Copy)]
enum Ahead<'a> {
    Tree(&'a Arc<Node>),
    Entry(&'a Node),
}

/// Walks through two maps at once, and past what they share: the work is that of what differs.
pub(crate) struct Differences<'a> {
    before: Vec<Ahead<'a>>,
    after: Vec<Ahead<'a>>,
    #[cfg(test)]
    steps: usize,
}

impl Map {
    /// All keys whose records are not the same in `before` and here, in order.
    pub(crate) fn differences<'a>(&'a self, before: &'a Map) -> Differences<'a> {
        let start = |map: &'a Map| map.root.iter().map(Ahead::Tree).collect();
        Differences {
            before: start(before),
            after: start(self),
            #[cfg(test)]
            steps: 0,
        }
    }
}

impl<'a> Iterator for Differences<'a> {
    /// The key, what it held, and what it holds.
    type Item = (&'a Key, Option<&'a Arc<Record>>, Option<&'a Arc<Record>>);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            #[cfg(test)]
            {
                self.steps += 1;
            }
            match (self.before.last().copied(), self.after.last().copied()) {
                (None, None) => return None,
                (Some(Ahead::Tree(old)), Some(Ahead::Tree(new))) => {
                    if Arc::ptr_eq(old, new) {
                        self.before.pop();
                        self.after.pop();
                        continue;
                    }
                    // The shape follows from the keys: taken apart from the top, equal parts meet each other.
                    match old.priority.cmp(&new.priority) {
                        Ordering::Less => open(&mut self.after, new),
                        Ordering::Greater => open(&mut self.before, old),
                        Ordering::Equal => {
                            open(&mut self.before, old);
                            open(&mut self.after, new);
                        }
                    }
                }
                (Some(Ahead::Tree(old)), _) => open(&mut self.before, old),
                (_, Some(Ahead::Tree(new))) => open(&mut self.after, new),
                (Some(Ahead::Entry(old)), None) => {
                    self.before.pop();
                    return Some((&old.key, Some(&old.record), None));
                }
                (None, Some(Ahead::Entry(new))) => {
                    self.after.pop();
                    return Some((&new.key, None, Some(&new.record)));
                }
                (Some(Ahead::Entry(old)), Some(Ahead::Entry(new))) => match old.key.cmp(&new.key) {
                    Ordering::Less => {
                        self.before.pop();
                        return Some((&old.key, Some(&old.record), None));
                    }
                    Ordering::Greater => {
                        self.after.pop();
                        return Some((&new.key, None, Some(&new.record)));
                    }
                    Ordering::Equal => {
                        self.before.pop();
                        self.after.pop();
                        if !Arc::ptr_eq(&old.record, &new.record)
                            && old.record.revision() != new.record.revision()
                        {
                            return Some((&new.key, Some(&old.record), Some(&new.record)));
                        }
                    }
                },
            }
        }
    }
}

/// Replaces the subtree on top of `stack` by its parts.
fn open<'a>(stack: &mut Vec<Ahead<'a>>, tree: &'a Arc<Node>) {
    stack.pop();
    stack.extend(tree.right.iter().map(Ahead::Tree));
    stack.push(Ahead::Entry(tree));
    stack.extend(tree.left.iter().map(Ahead::Tree));
}

fn insert(link: &mut Link, new: Node) {
    let Some(arc) = link else {
        *link = Some(Arc::new(new));
        return;
    };
    let here = Arc::make_mut(arc);
    match new.key.cmp(&here.key) {
        Ordering::Equal => here.record = new.record,
        Ordering::Less => {
            insert(&mut here.left, new);
            if here.left.as_ref().is_some_and(|left| left.priority > here.priority) {
                rise(link, |n| &mut n.left, |n| &mut n.right);
            }
        }
        Ordering::Greater => {
            insert(&mut here.right, new);
            if here.right.as_ref().is_some_and(|right| right.priority > here.priority) {
                rise(link, |n| &mut n.right, |n| &mut n.left);
            }
        }
    }
}

/// Rotates the child on side `near` above its parent.
fn rise(link: &mut Link, near: fn(&mut Node) -> &mut Link, far: fn(&mut Node) -> &mut Link) {
    let Some(mut parent) = link.take() else { return };
    let Some(mut child) = near(Arc::make_mut(&mut parent)).take() else {
        *link = Some(parent);
        return;
    };
    *near(Arc::make_mut(&mut parent)) = far(Arc::make_mut(&mut child)).take();
    *far(Arc::make_mut(&mut child)) = Some(parent);
    *link = Some(child);
}

fn remove(link: &mut Link, key: &str) -> bool {
    let Some(arc) = link else { return false };
    match key.cmp(arc.key.as_str()) {
        Ordering::Less => remove(&mut Arc::make_mut(arc).left, key),
        Ordering::Greater => remove(&mut Arc::make_mut(arc).right, key),
        Ordering::Equal => {
            let (left, right) = (arc.left.clone(), arc.right.clone());
            *link = merge(left, right);
            true
        }
    }
}

/// Joins two trees, all keys of `left` before all of `right`.
fn merge(left: Link, right: Link) -> Link {
    match (left, right) {
        (None, one) | (one, None) => one,
        (Some(mut left), Some(mut right)) => {
            if left.priority > right.priority {
                let node = Arc::make_mut(&mut left);
                node.right = merge(node.right.take(), Some(right));
                Some(left)
            } else {
                let node = Arc::make_mut(&mut right);
                node.left = merge(Some(left), node.left.take());
                Some(right)
            }
        }
    }
}

/// Walks keys in order from a prefix's first to its last.
pub(crate) struct Under<'a> {
    stack: Vec<&'a Node>,
    prefix: &'a str,
}

impl<'a> Iterator for Under<'a> {
    type Item = (&'a Key, &'a Arc<Record>);

    fn next(&mut self) -> Option<Self::Item> {
        let node = self.stack.pop()?;
        if !node.key.as_str().starts_with(self.prefix) {
            self.stack.clear();
            return None;
        }
        let mut link = &node.right;
        while let Some(next) = link {
            self.stack.push(next);
            link = &next.left;
        }
        Some((&node.key, &node.record))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn record(n: u64) -> Arc<Record> {
        Arc::new(Record::new(crate::Revision { epoch: 1, number: n }, 1, n.to_string().into_bytes().into()))
    }

    fn listed(map: &Map, prefix: &str) -> Vec<(String, u64)> {
        map.under(prefix).map(|(k, r)| (k.to_string(), r.revision().number)).collect()
    }

    #[test]
    fn a_map_agrees_with_the_standard_one_and_old_copies_never_change() {
        let seed: u64 = std::env::var("SEED").ok().and_then(|s| s.parse().ok()).unwrap_or(0x9e37_79b9);
        println!("SEED={seed}");
        let mut random = crate::suite::Random::new(seed);
        let (mut ours, mut theirs) = (Map::default(), BTreeMap::new());
        let mut copies = Vec::new();
        for step in 1..5000 {
            let key = format!("{}/{}", random.below(3), random.below(200));
            if random.below(3) == 0 {
                assert_eq!(ours.remove(&key), theirs.remove(&key).is_some(), "step {step}");
            } else {
                ours.insert(Key::new(&key), record(step));
                theirs.insert(key, step);
            }
            if random.below(100) == 0 {
                copies.push((ours.clone(), theirs.clone()));
            }
        }
        copies.push((ours, theirs));
        for (before, after) in copies.iter().zip(copies.iter().skip(1)) {
            let number = |r: Option<&Arc<Record>>| r.map(|r| r.revision().number);
            let found: Vec<_> = after
                .0
                .differences(&before.0)
                .map(|(key, old, new)| (key.to_string(), number(old), number(new)))
                .collect();
            let mut keys: Vec<_> = before.1.keys().chain(after.1.keys()).cloned().collect();
            keys.sort();
            keys.dedup();
            let want: Vec<_> = keys
                .into_iter()
                .map(|key| (before.1.get(&key).copied(), after.1.get(&key).copied(), key))
                .filter(|(old, new, _)| old != new)
                .map(|(old, new, key)| (key, old, new))
                .collect();
            assert_eq!(found, want);
        }
        for (ours, theirs) in copies {
            for prefix in ["", "1/", "1/1", "2/199", "3/"] {
                let want: Vec<_> = theirs
                    .iter()
                    .filter(|(k, _)| k.starts_with(prefix))
                    .map(|(k, v)| (k.clone(), *v))
                    .collect();
                assert_eq!(listed(&ours, prefix), want);
            }
            assert!(theirs.iter().all(|(k, v)| ours.get(k).is_some_and(|r| r.revision().number == *v)));
        }
    }

    #[test]
    fn the_work_of_a_comparison_is_that_of_what_differs() {
        let mut old = Map::default();
        for n in 0..10_000 {
            old.insert(Key::new(&format!("k/{n}")), record(n));
        }
        let mut new = old.clone();
        new.insert(Key::new("k/5000"), record(20_000));
        new.remove("k/77");
        let mut walk = new.differences(&old);
        let found: Vec<_> = walk.by_ref().map(|(key, ..)| key.to_string()).collect();
        assert_eq!(found, ["k/5000", "k/77"]);
        assert!(walk.steps < 500, "{} parts of 20,000 looked at", walk.steps);
    }
}
