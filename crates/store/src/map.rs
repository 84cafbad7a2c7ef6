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
}
