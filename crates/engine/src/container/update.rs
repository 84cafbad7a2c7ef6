//! `update`: limits and the restart policy of a container, also while it runs.

use super::Containers;
use crate::{Error, error::Result};
use minke_model::{ContainerState, resources::Resources, restart::RestartPolicy};
use minke_store::Durability;

/// What to change. `None` and zero leave a value as it is, as Docker's clients mean it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Update {
    /// New limits.
    pub resources: Resources,
    /// New policy.
    pub restart: Option<RestartPolicy>,
}

impl Containers {
    /// Changes a container; warnings.
    pub async fn update(&self, name: &str, wish: Update) -> Result<Vec<String>> {
        let cell = self.find(name)?;
        let _verb = cell.verb.lock().await;
        let record = cell.record();
        if matches!(record.status.state, ContainerState::Removing | ContainerState::Dead) {
            let cause = "container is marked for removal and cannot be \"update\"";
            return Err(Error::Conflict(format!("Cannot update container {}: {cause}", cell.id)));
        }
        if record.spec.auto_remove && wish.restart.is_some_and(|r| r != RestartPolicy::No) {
            return Err(Error::Conflict(format!(
                "Cannot update container {}: Restart policy cannot be updated because AutoRemove is enabled for the container",
                cell.id
            )));
        }
        let mut merged = merge(&record.spec.resources, &wish.resources)
            .map_err(|why| Error::Invalid(format!("Cannot update container {}: {why}", cell.id)))?;
        let warnings = self.inner.judge_resources(&mut merged)?;
        if let Some(process) = cell.process().filter(|_| record.status.state.is_up()) {
            process.update(&merged).await?;
        }
        let record = cell.change(|c| {
            c.spec.resources = merged;
            if let Some(restart) = wish.restart {
                c.spec.restart = restart;
            }
        });
        self.save(&cell, Durability::Synced).await?;
        self.tell(&record, "update", &[]);
        Ok(warnings)
    }
}

/// The limits after an update (pure), or why it cannot be.
fn merge(now: &Resources, wish: &Resources) -> std::result::Result<Resources, String> {
    let mut next = now.clone();
    let set = |value: &mut i64, wanted: i64| {
        if wanted != 0 {
            *value = wanted;
        }
    };
    if wish.memory > 0 {
        if wish.memory_swap == 0 && now.memory_swap > 0 && wish.memory > now.memory_swap {
            return Err("Memory limit should be smaller than already set memoryswap limit, update the memoryswap at the same time".into());
        }
        next.memory = wish.memory;
    }
    if wish.nano_cpus > 0 && (now.cpu_period > 0 || now.cpu_quota > 0) {
        return Err(
            "Conflicting options: Nano CPUs cannot be updated as CPU Period has already been set".into()
        );
    }
    if (wish.cpu_period > 0 || wish.cpu_quota > 0) && now.nano_cpus > 0 {
        return Err(
            "Conflicting options: CPU Period cannot be updated as NanoCPUs has already been set".into()
        );
    }
    set(&mut next.memory_swap, wish.memory_swap);
    set(&mut next.memory_reservation, wish.memory_reservation);
    set(&mut next.nano_cpus, wish.nano_cpus);
    set(&mut next.cpu_shares, wish.cpu_shares);
    set(&mut next.cpu_period, wish.cpu_period);
    set(&mut next.cpu_quota, wish.cpu_quota);
    set(&mut next.cpu_realtime_period, wish.cpu_realtime_period);
    set(&mut next.cpu_realtime_runtime, wish.cpu_realtime_runtime);
    if wish.blkio_weight != 0 {
        next.blkio_weight = wish.blkio_weight;
    }
    if !wish.cpuset_cpus.is_empty() {
        next.cpuset_cpus.clone_from(&wish.cpuset_cpus);
    }
    if !wish.cpuset_mems.is_empty() {
        next.cpuset_mems.clone_from(&wish.cpuset_mems);
    }
    if wish.pids_limit.is_some() {
        next.pids_limit = wish.pids_limit;
    }
    Ok(next)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_above_the_swap_limit_needs_both() {
        let now = Resources { memory: 64 << 20, memory_swap: 128 << 20, ..Resources::default() };
        let wish = Resources { memory: 200 << 20, ..Resources::default() };
        assert!(merge(&now, &wish).is_err());
        let both = Resources { memory_swap: 300 << 20, ..wish };
        assert_eq!(merge(&now, &both).map(|r| (r.memory, r.memory_swap)), Ok((200 << 20, 300 << 20)));
    }

    #[test]
    fn what_is_not_named_stays() {
        let now = Resources { memory: 64 << 20, cpu_shares: 512, ..Resources::default() };
        let wish = Resources { cpu_shares: 256, ..Resources::default() };
        assert_eq!(merge(&now, &wish).map(|r| (r.memory, r.cpu_shares)), Ok((64 << 20, 256)));
    }
}
