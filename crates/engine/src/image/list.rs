//! `images`: which images there are.

use super::Images;
use crate::{error::Result, filter::Filters};
use minke_image::{Image, Reference};
use minke_model::{ImageId, Timestamp, id::Digest};
use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

/// How much of the list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ImageListOptions {
    /// Also those without a name that others are built on.
    pub all: bool,
    /// With what each shares.
    pub shared_size: bool,
    /// With how many containers use each.
    pub containers: bool,
}

/// One line of the list.
#[derive(Clone, Debug)]
pub struct ImageSummary {
    /// The image.
    pub image: Arc<Image>,
    /// Its names that fit the filters.
    pub tags: Vec<Reference>,
    /// Its names by digest.
    pub digests: Vec<Reference>,
    /// Bytes of layers that others have too; only when asked for.
    pub shared_size: Option<u64>,
    /// Containers made from it; only when asked for.
    pub containers: Option<u64>,
}

/// Filters that `images` knows.
const FILTERS: &[&str] = &["before", "dangling", "label", "reference", "since", "until"];

impl Images {
    /// Those that fit, newest first.
    pub fn list(&self, filters: &Filters, options: ImageListOptions) -> Result<Vec<ImageSummary>> {
        filters.check(FILTERS)?;
        let dangling = filters.boolean("dangling")?;
        let until = filters.first_until()?;
        let created = |key: &str| -> Result<Option<Timestamp>> {
            let Some(name) = filters.values(key).and_then(|v| v.iter().next()) else { return Ok(None) };
            Ok(self.get(name)?.config.created)
        };
        let (before, since) = (created("before")?, created("since")?);
        let images = self.inner.store.list();
        let shared = options.shared_size.then(|| shared_sizes(self, &images)).transpose()?;
        let users = self.inner.containers.all();
        let mut list = Vec::new();
        for image in images {
            let at = image.config.created.unwrap_or_else(Timestamp::zero);
            if before.is_some_and(|t| at >= t)
                || since.is_some_and(|t| at <= t)
                || until.is_some_and(|t| at >= t)
            {
                continue;
            }
            if !filters.labels_fit(&image.config.defaults.labels) {
                continue;
            }
            let (mut tags, mut digests) = (image.tags.clone(), image.digests.clone());
            let named = !tags.is_empty() || !digests.is_empty();
            if let Some(patterns) = filters.values("reference") {
                tags.retain(|t| patterns.iter().any(|p| reference_fits(p, t)));
                digests.retain(|d| patterns.iter().any(|p| reference_fits(p, d)));
                if tags.is_empty() && digests.is_empty() {
                    continue;
                }
            }
            match dangling {
                Some(true) if !tags.is_empty() || named && !digests.is_empty() => continue,
                Some(false) if !named => continue,
                _ => {}
            }
            // An unnamed image that others are built on is a step of theirs.
            let intermediate = !named
                && !options.all
                && self.inner.store.list().iter().any(|i| i.parent.as_ref() == Some(&image.id));
            if intermediate {
                continue;
            }
            list.push(ImageSummary {
                shared_size: shared.as_ref().map(|s| s.get(&image.id).copied().unwrap_or(0)),
                containers: options
                    .containers
                    .then(|| users.iter().filter(|c| c.image_id.as_ref() == Some(&image.id)).count() as u64),
                tags,
                digests,
                image,
            });
        }
        list.sort_by(|a, b| {
            b.image.config.created.cmp(&a.image.config.created).then_with(|| a.image.id.cmp(&b.image.id))
        });
        Ok(list)
    }
}

/// Bytes of each image's layers that another image has too.
fn shared_sizes(images: &Images, all: &[Arc<Image>]) -> Result<HashMap<ImageId, u64>> {
    let mut uses: HashMap<Digest, u32> = HashMap::new();
    let mut chains = Vec::with_capacity(all.len());
    for image in all {
        let chain = images.inner.store.layer_chain(&image.id)?;
        for layer in chain.iter().collect::<BTreeSet<_>>() {
            *uses.entry(layer.clone()).or_default() += 1;
        }
        chains.push(chain);
    }
    let mut shared = HashMap::new();
    for (image, chain) in all.iter().zip(chains) {
        let sizes = images.inner.store.layer_sizes(&image.id)?;
        let sum = chain
            .iter()
            .zip(sizes)
            .filter(|(layer, _)| uses.get(layer).is_some_and(|n| *n > 1))
            .map(|(_, size)| size)
            .sum();
        shared.insert(image.id.clone(), sum);
    }
    Ok(shared)
}

/// Docker matches `reference` as a path pattern against the familiar name, with and without its tag.
fn reference_fits(pattern: &str, reference: &Reference) -> bool {
    let full = reference.familiar();
    let bare = reference.familiar_name();
    path_match(pattern, &full) || path_match(pattern, &bare)
}

/// Go's `path.Match`: `*` and `?` do not match `/`; classes in brackets.
pub(crate) fn path_match(pattern: &str, text: &str) -> bool {
    let mut regex = String::from("^");
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        match c {
            '*' => regex.push_str("[^/]*"),
            '?' => regex.push_str("[^/]"),
            '[' => {
                regex.push('[');
                for c in chars.by_ref() {
                    regex.push(c);
                    if c == ']' {
                        break;
                    }
                }
            }
            '\\' => regex.push_str(&regex_lite::escape(&chars.next().unwrap_or('\\').to_string())),
            other => regex.push_str(&regex_lite::escape(&other.to_string())),
        }
    }
    regex.push('$');
    regex_lite::Regex::new(&regex).is_ok_and(|r| r.is_match(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_stop_at_slashes() {
        for (pattern, text, want) in [
            ("alp*", "alpine:3", true),
            ("*", "a/b", false),
            ("*/*", "a/b", true),
            ("alpine:[23]", "alpine:3", true),
            ("alpine", "alpine:3", false),
        ] {
            assert_eq!(path_match(pattern, text), want, "{pattern} on {text}");
        }
    }
}
