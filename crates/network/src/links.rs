//! Links: one container reaches what another one serves, in a network that keeps its containers apart.

use crate::{Linked, NetworkError, Networks, firewall::plan::Opening, networks::lock, sysctl};
use minke_model::{ContainerId, network::Network};
use std::net::Ipv4Addr;

impl Networks {
    /// Lets a container reach these ports of its neighbours, and no others any more, in a network that keeps its
    /// containers apart.
    ///
    /// Their links do not pass packets to each other: the bridge answers for everyone, so that packets come to the host,
    /// whose rules let pass what is linked.
    pub fn link(
        &self,
        container: &ContainerId,
        network: &Network,
        linked: &[Linked],
    ) -> Result<(), NetworkError> {
        self.unlink(|holder, _| holder == container)?;
        if linked.is_empty() || !self.0.config.firewall || self.options(&network.spec)?.icc {
            return Ok(());
        }
        sysctl::set(&format!("ipv4/conf/{}/proxy_arp_pvlan", network.bridge), "1")?;
        sysctl::try_set(&format!("ipv4/neigh/{}/proxy_delay", network.bridge), "0");
        let openings: Vec<Opening> = linked.iter().copied().map(Opening::Linked).collect();
        lock(&self.0.firewall).add_openings(container, &openings)
    }

    /// Nobody reaches a container of this address by a link any more: it ended.
    pub fn unlink_address(&self, address: Ipv4Addr) -> Result<(), NetworkError> {
        self.unlink(|_, linked| linked.to == address)
    }

    fn unlink(&self, which: impl Fn(&ContainerId, &Linked) -> bool) -> Result<(), NetworkError> {
        let mut firewall = lock(&self.0.firewall);
        for holder in firewall.holders() {
            firewall.remove_openings(
                &holder,
                |opening| matches!(opening, Opening::Linked(linked) if which(&holder, linked)),
            )?;
        }
        Ok(())
    }
}
