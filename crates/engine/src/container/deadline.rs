//! `run_until`: a container that must be single in the world runs on borrowed time, kept by its shim.

use super::{Containers, lock};
use crate::error::Result;
use std::time::Duration;

impl Containers {
    /// Lets it run until `deadline`, in time since boot (CLOCK_BOOTTIME), and no longer, whatever becomes of this
    /// daemon. Counts for the process that runs, or for the next that starts. A deadline never moves back.
    pub async fn run_until(&self, name: &str, deadline: Duration) -> Result<()> {
        let cell = self.find(name)?;
        {
            let mut known = lock(&cell.deadline);
            *known = Some(known.map_or(deadline, |known| known.max(deadline)));
        }
        match cell.process() {
            Some(process) => Ok(process.run_until(deadline).await?),
            None => Ok(()),
        }
    }
}
