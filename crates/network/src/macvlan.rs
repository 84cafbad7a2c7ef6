//! Macvlan networks: containers with hardware addresses of their own on a host's interface.

use crate::{NetworkError, error::Tried};
use minke_linux::netlink::{self, MacvlanMode, Socket};
use std::collections::BTreeMap;

/// Options of a macvlan network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Macvlan {
    /// `parent`: the host's interface.
    pub(crate) parent: String,
    /// `macvlan_mode`
    pub(crate) mode: MacvlanMode,
    /// `com.docker.network.driver.mtu`; 0 is the parent's.
    pub(crate) mtu: u32,
}

/// Reads them.
pub(crate) fn read(options: &BTreeMap<String, String>) -> Result<Macvlan, NetworkError> {
    let get = |name: &str| options.get(name).map(String::as_str).unwrap_or_default();
    let invalid = |option: &str, reason| NetworkError::InvalidOption {
        option: option.to_owned(),
        value: get(option).to_owned(),
        reason,
    };
    let mode = match get("macvlan_mode") {
        "" | "bridge" => MacvlanMode::Bridge,
        "private" => MacvlanMode::Private,
        "vepa" => MacvlanMode::Vepa,
        "passthru" => MacvlanMode::Passthru,
        _ => return Err(invalid("macvlan_mode", "it must be bridge, private, vepa or passthru")),
    };
    let mtu = match get("com.docker.network.driver.mtu") {
        "" => 0,
        text => text
            .parse()
            .map_err(|_| invalid("com.docker.network.driver.mtu", "it must be a number of bytes"))?,
    };
    if get("parent").is_empty() {
        let reason = "the option parent must name an interface of the host".to_owned();
        return Err(NetworkError::Unsupported { driver: "macvlan", reason });
    }
    Ok(Macvlan { parent: get("parent").to_owned(), mode, mtu })
}

/// The parent's number.
pub(crate) fn parent(socket: &mut Socket, options: &Macvlan) -> Result<u32, NetworkError> {
    let name = options.parent.as_str();
    let link = netlink::link_index(socket, name).tried(|| format!("look for interface {name}"))?;
    link.ok_or_else(|| NetworkError::NoParent(name.to_owned()))
}
