//! `rename`.

use super::{Containers, create::check_name};
use crate::{Error, error::Result};

impl Containers {
    /// Gives a container another name; its old one is free at once.
    pub async fn rename(&self, name: &str, new: &str) -> Result<()> {
        let plain = new.strip_prefix('/').unwrap_or(new);
        if name.is_empty() || plain.is_empty() {
            return Err(Error::Invalid("Neither old nor new names may be empty".into()));
        }
        let cell = self.find(name)?;
        let _verb = cell.verb.lock().await;
        let old = cell.record().name.clone();
        if plain == old {
            return Err(Error::Invalid("Renaming a container with the same name as its current name".into()));
        }
        check_name(&format!("/{plain}"))
            .map_err(|e| Error::Invalid(format!("Error when allocating new name: {e}")))?;
        self.reserve_name(plain, &cell.id)
            .map_err(|e| Error::Conflict(format!("Error when allocating new name: {e}")))?;
        let record = cell.change(|c| c.name = plain.to_owned());
        if let Err(e) = self.inner.records.rename_container(record.clone(), &old).await {
            cell.change(|c| c.name.clone_from(&old));
            self.release_name(plain, &cell.id);
            return Err(e);
        }
        self.release_name(&old, &cell.id);
        self.inner.networks.rename(&record, &old);
        self.tell(&record, "rename", &[("oldName", format!("/{old}"))]);
        Ok(())
    }
}
