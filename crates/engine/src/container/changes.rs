//! `diff`: what a container changed in its image.

use super::Containers;
use crate::error::Result;
use minke_image::Change;

impl Containers {
    /// All changes, parents before what lies below them.
    pub async fn changes(&self, name: &str) -> Result<Vec<Change>> {
        let cell = self.find(name)?;
        let (store, id) = (self.inner.store.clone(), cell.id.clone());
        Ok(crate::blocking(move || store.changes(&id)).await??)
    }
}
