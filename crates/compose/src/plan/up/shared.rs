//! What services share, networks and volumes, as `up` makes them and makes them anew. Pure.

use super::{Builder, changed_volumes};
use crate::plan::{Act, PlanError};
use crate::project::{Network, Volume};
use crate::running::Container;
use crate::{label, network_hash};
use std::collections::BTreeMap;

impl Builder<'_> {
    /// Networks that are missing or changed.
    pub(super) fn networks(&mut self) -> Result<(), PlanError> {
        for (key, network) in &self.project.networks {
            let there = self.running.network(&network.name);
            if network.external {
                if there.is_none() {
                    return Err(PlanError::NoExternalNetwork { name: network.name.clone() });
                }
                continue;
            }
            let Some(there) = there else {
                let act = Act::CreateNetwork { key: key.clone(), name: network.name.clone() };
                let step = self.plan.push(act, [], "there is none of this name");
                self.networks.insert(key.clone(), step);
                continue;
            };
            self.whose(&there.labels, "network", &network.name);
            let found = there.labels.get(label::NETWORK).map_or("", String::as_str);
            if found != key {
                let (name, found, key) = (network.name.clone(), found.to_owned(), key.clone());
                return Err(PlanError::OtherNetwork { name, found, key });
            }
            let hash = there.labels.get(label::CONFIG_HASH).map_or("", String::as_str);
            if !hash.is_empty() && hash != network_hash(network) {
                self.renew_network(key, network, &there.id);
            }
        }
        Ok(())
    }

    /// Warns of what another project made, or somebody by hand.
    fn whose(&mut self, labels: &BTreeMap<String, String>, what: &str, name: &str) {
        let project = &self.project.name;
        match (labels.get(label::PROJECT), what) {
            (Some(owner), _) if owner == project => {}
            (None, "network") => self.plan.warnings.push(format!(
                "a network with name {name} exists but was not created by compose.\nSet `external: true` to use an existing network"
            )),
            (Some(_), "network") => self.plan.warnings.push(format!(
                "a network with name {name} exists but was not created for project {project:?}.\nSet `external: true` to use an existing network"
            )),
            (None, _) => self.plan.warnings.push(format!(
                "volume {name:?} already exists but was not created by Docker Compose. Use `external: true` to use an existing volume"
            )),
            (Some(owner), _) => self.plan.warnings.push(format!(
                "volume {name:?} already exists but was created for project {owner:?} (expected {project:?}). Use `external: true` to use an existing volume"
            )),
        }
    }

    /// A network that changed: its containers leave it, and are made anew in the next one.
    fn renew_network(&mut self, key: &str, network: &Network, id: &str) {
        let because = format!("the configuration of network {key} changed");
        let inside: Vec<Container> = self
            .running
            .containers
            .iter()
            .filter(|one| one.networks.iter().any(|of| of == id))
            .cloned()
            .collect();
        let stops: Vec<usize> = inside.iter().map(|one| self.stop(one, [], &because)).collect();
        let containers: Vec<String> = inside.into_iter().map(|one| one.id).collect();
        let mut last = stops;
        if !containers.is_empty() {
            let act = Act::Leave { network: id.to_owned(), containers };
            last = vec![self.plan.push(act, last, because.clone())];
        }
        let act = Act::RemoveNetwork { id: id.to_owned(), name: network.name.clone() };
        let removed = self.plan.push(act, last, "its configuration changed");
        let act = Act::CreateNetwork { key: key.to_owned(), name: network.name.clone() };
        let made = self.plan.push(act, [removed], "its configuration changed");
        self.networks.insert(key.to_owned(), made);
    }

    /// Volumes that are missing, or changed and may be lost.
    pub(super) fn volumes(&mut self) -> Result<(), PlanError> {
        let changed: Vec<&str> =
            changed_volumes(self.project, self.running).into_iter().map(|(key, _)| key).collect();
        for (key, volume) in &self.project.volumes {
            let there = self.running.volumes.iter().find(|one| one.name == volume.name);
            let act = Act::CreateVolume { key: key.clone(), name: volume.name.clone() };
            match there {
                None if volume.external => {
                    return Err(PlanError::NoExternalVolume { name: volume.name.clone() });
                }
                None => {
                    let step = self.plan.push(act, [], "there is none of this name");
                    self.volumes.insert(key.clone(), step);
                }
                Some(_) if volume.external => {}
                Some(there) => {
                    self.whose(&there.labels, "volume", &volume.name);
                    if changed.contains(&key.as_str()) && self.asked.renew_volumes.contains(key) {
                        self.renew_volume(volume, act);
                    }
                }
            }
        }
        Ok(())
    }

    /// A volume that changed and may be lost: its containers go first.
    fn renew_volume(&mut self, volume: &Volume, create: Act) {
        let because = "its configuration changed, and its data may be lost";
        let holders: Vec<Container> = self
            .running
            .containers
            .iter()
            .filter(|one| one.volumes.contains(&volume.name))
            .cloned()
            .collect();
        let mut removed = Vec::new();
        for holder in holders {
            let stop = self.stop(&holder, [], "the configuration of its volume changed");
            removed.push(self.remove(&holder, [stop], "the configuration of its volume changed".into()));
            self.gone.insert(holder.id);
        }
        let act = Act::RemoveVolume { name: volume.name.clone() };
        let removed = self.plan.push(act, removed, because);
        let Act::CreateVolume { key, .. } = &create else { return };
        let key = key.clone();
        let made = self.plan.push(create, [removed], because);
        self.volumes.insert(key, made);
    }
}
