//! The devices of an overlay network: a bridge and a VXLAN device, and on the ingress network one bridge more.

use super::{gone, ingress, namespace::Namespace};
use crate::{NetworkError, error::Tried};
use minke_linux::netlink::{self, Bridge, LinkChange, Socket, Vxlan};
use minke_model::overlay::{OverlaySpec, OverlayState};
use rustix::io::Errno;
use std::collections::BTreeSet;

/// A network's devices, by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Device {
    /// Whose ports are containers, and the VXLAN device; on the ingress network the latter alone.
    pub(super) bridge: u32,
    pub(super) vxlan: u32,
    /// On the ingress network: the bridge whose ports are containers.
    pub(super) containers: Option<u32>,
    pub(super) mtu: u32,
}

/// Makes a network's devices; what is there as it shall be is kept.
pub(super) fn ensure(
    ns: &mut Namespace,
    host: &mut Socket,
    spec: &OverlaySpec,
    state: &OverlayState,
) -> Result<Device, NetworkError> {
    let ipv6 = spec.subnets.iter().any(|subnet| subnet.gateway.is_ipv6());
    let own_mac = |kind: u8| {
        let [_, a, b, c] = spec.vni.to_be_bytes();
        [0x02, 0x4d, kind, a, b, c]
    };
    let between = bridge_name(spec.vni);
    let mac = if spec.ingress { state.place.mac } else { own_mac(1) };
    let bridge = ensure_bridge(ns, &between, mac, spec.mtu)?;
    // A user's network has no neighbour of ours in it.
    ns.set(&[(format!("ipv6/conf/{between}/disable_ipv6"), if spec.ingress && ipv6 { "0" } else { "1" })]);
    let containers = match spec.ingress {
        false => None,
        true => {
            let name = ingress::containers_name(spec.vni);
            let containers = ensure_bridge(ns, &name, own_mac(2), spec.mtu)?;
            ns.set(&[(format!("ipv6/conf/{name}/disable_ipv6"), if ipv6 { "0" } else { "1" })]);
            Some(containers)
        }
    };
    let vxlan = ensure_vxlan(ns, host, spec, state, bridge)?;
    Ok(Device { bridge, vxlan, containers, mtu: spec.mtu })
}

fn ensure_bridge(ns: &mut Namespace, name: &str, mac: [u8; 6], mtu: u32) -> Result<u32, NetworkError> {
    let what = || format!("create bridge {name} of an overlay network");
    if let Some(link) = netlink::link_by_name(&mut ns.route, name).tried(what)? {
        let change = LinkChange { up: Some(true), mtu: (mtu != 0).then_some(mtu), ..LinkChange::default() };
        netlink::set_link(&mut ns.route, link.index, &change).tried(what)?;
        if link.address != mac {
            netlink::set_address(&mut ns.route, link.index, mac).tried(what)?;
        }
        return Ok(link.index);
    }
    netlink::create_bridge(&mut ns.route, &Bridge { name, mtu, address: mac }).tried(what)?;
    let found = netlink::link_index(&ns.route, name).tried(what)?;
    found.ok_or_else(|| NetworkError::io(what(), Errno::NODEV))
}

fn ensure_vxlan(
    ns: &mut Namespace,
    host: &mut Socket,
    spec: &OverlaySpec,
    state: &OverlayState,
    bridge: u32,
) -> Result<u32, NetworkError> {
    let name = vxlan_name(spec.vni);
    let what = || format!("create the VXLAN device of network {}", spec.name);
    let found = netlink::vxlans(&mut ns.route).tried(what)?.into_iter().find(|found| found.name == name);
    if let Some(found) = found {
        let same_mtu = spec.mtu == 0 || found.mtu == spec.mtu;
        if (found.local, found.port) == (Some(state.place.underlay), state.data_path_port) && same_mtu {
            netlink::join_static(&mut ns.route, found.index, bridge).tried(what)?;
            return Ok(found.index);
        }
        gone(netlink::remove_link(&mut ns.route, found.index)).tried(what)?;
    }
    let vxlan = Vxlan {
        name: &name,
        namespace: ns.fd(),
        vni: spec.vni,
        local: state.place.underlay,
        port: state.data_path_port,
        mtu: spec.mtu,
    };
    match netlink::create_vxlan(host, &vxlan) {
        Err(refused) if refused.is(Errno::EXIST) => {
            return Err(NetworkError::VniTaken { vni: spec.vni, port: state.data_path_port });
        }
        done => done.tried(what)?,
    }
    let index = netlink::link_index(&ns.route, &name).tried(what)?;
    let index = index.ok_or_else(|| NetworkError::io(what(), Errno::NODEV))?;
    netlink::join_static(&mut ns.route, index, bridge).tried(what)?;
    Ok(index)
}

/// Takes devices of networks away that are none of `wanted`.
pub(super) fn remove_others(ns: &mut Namespace, wanted: &BTreeSet<u32>) -> Result<(), NetworkError> {
    let links = netlink::links(&mut ns.route).tried(|| "look at the overlays' devices".into())?;
    let mut result = Ok(());
    for link in links.iter().filter(|link| matches!(link.kind.as_str(), "bridge" | "vxlan")) {
        let vni = link.name.get(2..).and_then(|digits| digits.parse().ok());
        if vni.is_some_and(|vni| wanted.contains(&vni)) {
            continue;
        }
        let done = gone(netlink::remove_link(&mut ns.route, link.index));
        result = result.and(done.tried(|| format!("remove device {} of an overlay network", link.name)));
    }
    result
}

/// The bridge that a network's VXLAN device belongs to.
pub(super) fn bridge_name(vni: u32) -> String {
    format!("br{vni}")
}

fn vxlan_name(vni: u32) -> String {
    format!("vx{vni}")
}
