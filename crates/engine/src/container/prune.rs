//! `container prune`: removes all containers that do not run.

use super::{Containers, RemoveOptions};
use crate::{error::Result, filter::Filters, volume::Pruned};
use minke_model::{ContainerState, event::Noun};
use std::collections::BTreeMap;

/// Filters of prune.
const FILTERS: &[&str] = &["label", "label!", "until"];

impl Containers {
    /// Removes all that do not run and fit.
    pub async fn prune(&self, filters: &Filters) -> Result<Pruned> {
        filters.check(FILTERS)?;
        let until = filters.until()?;
        let mut pruned = Pruned::default();
        for cell in self.cells() {
            let record = cell.record();
            let idle = matches!(
                record.status.state,
                ContainerState::Created | ContainerState::Exited | ContainerState::Dead
            );
            if !idle
                || until.is_some_and(|u| record.created > u)
                || !filters.labels_fit(Containers::labels(&record))
            {
                continue;
            }
            let space = self.inner.store.usage(&cell.id).unwrap_or(0);
            // One that was started or removed meanwhile is left.
            if self.remove_cell(&cell, &RemoveOptions::default()).await.is_ok() {
                pruned.space += space;
                pruned.deleted.push(cell.id.to_string());
            }
        }
        let attributes = BTreeMap::from([("reclaimed".to_owned(), pruned.space.to_string())]);
        self.inner.events.tell(Noun::Container, "prune", "", attributes);
        Ok(pruned)
    }
}
