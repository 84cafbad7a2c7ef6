//! Making the plan real, and keeping it real.

use super::{
    host::{self, Blocker},
    plan::{self, Opening, SetName, Zone},
    rules,
};
use crate::{NetworkError, error::Tried};
use minke_linux::{
    netlink::{Family as Netlink, Refused, Socket},
    nftables::{Batch, Element, Family},
};
use minke_model::{ContainerId, NetworkId};
use std::collections::BTreeMap;

/// The table of one daemon, and what shall be in it.
#[derive(Debug)]
pub(crate) struct Firewall {
    socket: Socket,
    table: String,
    open: bool,
    zones: BTreeMap<NetworkId, Zone>,
    openings: BTreeMap<ContainerId, Vec<Opening>>,
    /// Whether the kernel has the table as we made it.
    built: bool,
    /// The host's chains that drop by default, and whether each lets our traffic pass.
    blockers: Vec<(Blocker, bool)>,
}

impl Firewall {
    /// For the table `minke-<daemon id>`. Nothing is made before the first network is.
    pub(crate) fn new(daemon_id: &str, open: bool) -> Result<Self, NetworkError> {
        let socket = Socket::open(Netlink::Netfilter).tried(|| "open a netfilter socket".into())?;
        Ok(Self {
            socket,
            table: format!("minke-{daemon_id}"),
            open,
            zones: BTreeMap::new(),
            openings: BTreeMap::new(),
            built: false,
            blockers: Vec::new(),
        })
    }

    /// The socket's address, by which its own changes are known.
    pub(crate) fn port(&self) -> u32 {
        self.socket.port()
    }

    /// The table's name.
    pub(crate) fn table(&self) -> &str {
        &self.table
    }

    /// The host's chains that drop traffic to published ports, unless a rule of the host's lets it pass.
    pub(crate) fn blockers(&self) -> Vec<Blocker> {
        let drops = self.blockers.iter().filter(|(_, passes)| !self.open || !passes);
        drops.map(|(blocker, _)| blocker.clone()).collect()
    }

    /// For reading what others have.
    pub(crate) fn socket(&mut self) -> &mut Socket {
        &mut self.socket
    }

    /// Whether there is anything to keep.
    pub(crate) fn is_built(&self) -> bool {
        self.built
    }

    /// A network comes, or changes.
    pub(crate) fn set_zone(&mut self, id: &NetworkId, zone: Zone) -> Result<(), NetworkError> {
        let old = self.zones.insert(id.clone(), zone.clone());
        if old.as_ref() == Some(&zone) && self.built {
            return Ok(());
        }
        let new = plan::zone_elements(&zone);
        let mut gone = old.as_ref().map(plan::zone_elements).unwrap_or_default();
        gone.retain(|element| !new.contains(element));
        self.change(gone, new).tried(|| format!("let the firewall know network {}", zone.bridge)).inspect_err(
            |_| {
                match old {
                    Some(old) => self.zones.insert(id.clone(), old),
                    None => self.zones.remove(id),
                };
            },
        )
    }

    /// A network goes.
    pub(crate) fn remove_zone(&mut self, id: &NetworkId) -> Result<(), NetworkError> {
        let Some(zone) = self.zones.remove(id) else { return Ok(()) };
        self.change(plan::zone_elements(&zone), Vec::new())
            .tried(|| format!("take network {} out of the firewall", zone.bridge))
    }

    /// Ports of a container become reachable.
    pub(crate) fn add_openings(
        &mut self,
        id: &ContainerId,
        openings: &[Opening],
    ) -> Result<(), NetworkError> {
        if openings.is_empty() {
            return Ok(());
        }
        self.openings.entry(id.clone()).or_default().extend_from_slice(openings);
        let elements = openings.iter().flat_map(plan::opening_elements).collect();
        self.change(Vec::new(), elements)
            .tried(|| format!("publish ports of container {}", id.short()))
            .inspect_err(|_| {
                if let Some(all) = self.openings.get_mut(id) {
                    all.retain(|opening| !openings.contains(opening));
                }
            })
    }

    /// The containers that reach something, or are reached.
    pub(crate) fn holders(&self) -> Vec<ContainerId> {
        self.openings.keys().cloned().collect()
    }

    /// The ports of a container that `which` picks are not reachable any more. Returns them.
    pub(crate) fn remove_openings(
        &mut self,
        id: &ContainerId,
        which: impl Fn(&Opening) -> bool,
    ) -> Result<Vec<Opening>, NetworkError> {
        let Some(all) = self.openings.remove(id) else { return Ok(Vec::new()) };
        let (gone, kept): (Vec<_>, Vec<_>) = all.into_iter().partition(which);
        if !kept.is_empty() {
            self.openings.insert(id.clone(), kept);
        }
        if gone.is_empty() {
            return Ok(gone);
        }
        let elements = gone.iter().flat_map(plan::opening_elements).collect();
        self.change(elements, Vec::new()).tried(|| format!("withdraw ports of container {}", id.short()))?;
        Ok(gone)
    }

    /// Everything anew: what a daemon finds at its start.
    pub(crate) fn reset(
        &mut self,
        zones: BTreeMap<NetworkId, Zone>,
        openings: BTreeMap<ContainerId, Vec<Opening>>,
    ) -> Result<(), NetworkError> {
        self.zones = zones;
        self.openings = openings;
        self.rebuild()
    }

    /// Makes the whole table anew, in one step.
    pub(crate) fn rebuild(&mut self) -> Result<(), NetworkError> {
        self.build().tried(|| format!("build the nftables table {}", self.table))
    }

    /// Looks at the host's own forward chains again.
    pub(crate) fn check_host(&mut self) -> Result<(), NetworkError> {
        self.blockers =
            host::ensure(&mut self.socket, &self.table).tried(|| "look at the host's firewall".into())?;
        Ok(())
    }

    /// Takes the table away, and the jumps in the host's chains.
    pub(crate) fn remove(&mut self) -> Result<(), NetworkError> {
        self.blockers.clear();
        let jumps = host::remove(&mut self.socket, &self.table);
        let mut batch = Batch::new();
        // A table that is not there cannot be deleted: make sure that it is.
        batch.add_table(Family::Inet, &self.table, "");
        batch.delete_table(Family::Inet, &self.table);
        self.built = false;
        let table = batch.commit(&mut self.socket);
        jumps.and(table).tried(|| format!("remove the nftables table {}", self.table))
    }

    fn build(&mut self) -> Result<(), Refused> {
        let (family, table) = (Family::Inet, self.table.as_str());
        let mut batch = Batch::new();
        batch.add_table(family, table, "");
        batch.delete_table(family, table);
        batch.add_table(family, table, "made by minke; changes are undone");
        for chain in rules::chains() {
            batch.add_chain(family, table, &chain);
        }
        let zones = self.zones.values().flat_map(plan::zone_elements);
        let openings = self.openings.values().flatten().flat_map(plan::opening_elements);
        let mut elements = by_set(zones.chain(openings));
        for name in SetName::ALL {
            let set = name.set();
            batch.add_set(family, table, &set);
            let mut members = elements.remove(&name).unwrap_or_default();
            // A key that two records claim cannot be told twice: the first stays.
            members.sort();
            members.dedup_by(|a, b| a.key == b.key);
            batch.add_elements(family, table, &set, &members);
        }
        for rule in rules::rules(self.open) {
            batch.append_rule(family, table, &rule);
        }
        batch.commit(&mut self.socket)?;
        self.built = true;
        self.blockers = host::ensure(&mut self.socket, &self.table)?;
        Ok(())
    }

    /// One batch of elements; the whole table where there is none yet, or where the kernel's is not what we think.
    fn change(&mut self, gone: Vec<(SetName, Element)>, new: Vec<(SetName, Element)>) -> Result<(), Refused> {
        if !self.built {
            return self.build();
        }
        let (family, table) = (Family::Inet, self.table.as_str());
        let mut batch = Batch::new();
        for (name, elements) in by_set(gone) {
            batch.delete_elements(family, table, &name.set(), &elements);
        }
        for (name, elements) in by_set(new) {
            batch.add_elements(family, table, &name.set(), &elements);
        }
        match batch.commit(&mut self.socket) {
            Ok(()) => Ok(()),
            Err(refused) => {
                tracing::warn!(table, %refused, "the firewall table is not as it was left: building it anew");
                self.build()
            }
        }
    }
}

fn by_set(elements: impl IntoIterator<Item = (SetName, Element)>) -> BTreeMap<SetName, Vec<Element>> {
    let mut sets: BTreeMap<SetName, Vec<Element>> = BTreeMap::new();
    for (name, element) in elements {
        sets.entry(name).or_default().push(element);
    }
    sets
}
