//! Published ports that nobody chose. Pure.

use crate::View;
use minke_model::{
    port::Protocol,
    service::{PortSpec, PublishMode},
};
use std::collections::BTreeSet;

/// From which ports are chosen (swarmkit, manager/allocator/portallocator.go, dynamicPortStart).
const FIRST: u16 = 30_000;
/// To which.
const LAST: u16 = 32_767;

/// Ports of mode ingress that are taken.
pub(crate) struct Ports {
    taken: BTreeSet<(Protocol, u16)>,
}

impl Ports {
    pub(crate) fn of(view: &View) -> Self {
        let services = view.services().filter(|service| !service.removing);
        let ports = services.flat_map(|service| crate::tables::ingress_ports(service));
        Ports { taken: ports.map(|port| (port.protocol, port.published)).collect() }
    }

    /// What `asked` becomes: itself, what it was before, or the lowest that is free; `None`: none is.
    pub(crate) fn give(&mut self, asked: &PortSpec, have: &[PortSpec]) -> Option<PortSpec> {
        if asked.published != 0 || asked.publish == PublishMode::Host {
            return Some(asked.clone());
        }
        let same = |known: &&PortSpec| {
            known.published != 0 && PortSpec { published: 0, ..(*known).clone() } == *asked
        };
        if let Some(known) = have.iter().find(same) {
            return Some(known.clone());
        }
        let published = (FIRST..=LAST).find(|port| !self.taken.contains(&(asked.protocol, *port)))?;
        self.taken.insert((asked.protocol, published));
        Some(PortSpec { published, ..asked.clone() })
    }
}
