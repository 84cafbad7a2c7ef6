//! `image prune`.

use super::{ImageListOptions, Images, Removal, RemoveImage};
use crate::{error::Result, filter::Filters};
use minke_model::{Timestamp, event::Noun};
use std::collections::BTreeMap;

/// Filters of prune.
const FILTERS: &[&str] = &["dangling", "label", "label!", "until"];

impl Images {
    /// Removes images without a name (with `dangling=false`: all) that no container uses; what went, and bytes freed.
    pub async fn prune(&self, filters: &Filters) -> Result<(Vec<Removal>, u64)> {
        filters.check(FILTERS)?;
        let only_dangling = filters.boolean("dangling")?.unwrap_or(true);
        let until = filters.until()?;
        let before = self.inner.store.stored_size();
        let mut removed = Vec::new();
        for summary in self.list(&Filters::default(), ImageListOptions { all: true, ..Default::default() })? {
            let image = summary.image;
            let named = !image.tags.is_empty() || !image.digests.is_empty();
            let old = until.is_none_or(|u| image.config.created.unwrap_or_else(Timestamp::zero) <= u);
            if !old
                || only_dangling && !image.tags.is_empty()
                || !filters.labels_fit(&image.config.defaults.labels)
            {
                continue;
            }
            let mut names: Vec<String> = match named {
                true => image.tags.iter().chain(&image.digests).map(|r| r.familiar()).collect(),
                false => vec![image.id.to_string()],
            };
            // An image that a container uses keeps one name: the last, as dockerd has it.
            names.sort();
            if !self.users(&image.id).is_empty() {
                names.pop();
            }
            for name in names {
                // One that came into use, or that others are built on, stays.
                if let Ok(went) = self.remove(&name, RemoveImage { force: false, no_prune: false }).await {
                    removed.extend(went);
                }
            }
        }
        let space = before.saturating_sub(self.inner.store.stored_size());
        let attributes = BTreeMap::from([("reclaimed".to_owned(), space.to_string())]);
        self.inner.events.tell(Noun::Image, "prune", "", attributes);
        Ok((removed, space))
    }
}
