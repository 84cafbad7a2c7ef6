//! Networks, and a container's place in one.

use crate::{EndpointId, Labels, NetworkId, Timestamp, port::PublishedPort};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

/// A range of addresses, `172.18.0.0/16`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Subnet {
    /// May have host bits, where that means an interface's address.
    pub address: IpAddr,
    /// 0 to 32 or 128.
    pub prefix: u8,
}

impl Subnet {
    /// With all host bits zero.
    pub fn network(&self) -> IpAddr {
        match self.address {
            IpAddr::V4(a) => {
                let mask = u32::MAX.checked_shl(32 - self.prefix as u32).unwrap_or(0);
                IpAddr::V4(Ipv4Addr::from(u32::from(a) & mask))
            }
            IpAddr::V6(a) => {
                let mask = u128::MAX.checked_shl(128 - self.prefix as u32).unwrap_or(0);
                IpAddr::V6(Ipv6Addr::from(u128::from(a) & mask))
            }
        }
    }

    /// Whether `address` lies in it.
    pub fn contains(&self, address: IpAddr) -> bool {
        address.is_ipv4() == self.address.is_ipv4()
            && Subnet { address, prefix: self.prefix }.network() == self.network()
    }

    /// Whether the two share an address.
    pub fn overlaps(&self, other: &Subnet) -> bool {
        let prefix = self.prefix.min(other.prefix);
        self.address.is_ipv4() == other.address.is_ipv4()
            && Subnet { prefix, ..*self }.network() == Subnet { prefix, ..*other }.network()
    }
}

impl fmt::Display for Subnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

impl FromStr for Subnet {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || format!("invalid CIDR address: {text}");
        let (address, prefix) = text.split_once('/').ok_or_else(bad)?;
        let address: IpAddr = address.parse().map_err(|_| bad())?;
        let prefix: u8 = prefix.parse().map_err(|_| bad())?;
        if prefix > if address.is_ipv4() { 32 } else { 128 } {
            return Err(bad());
        }
        Ok(Subnet { address, prefix })
    }
}

impl TryFrom<String> for Subnet {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Subnet> for String {
    fn from(subnet: Subnet) -> Self {
        subnet.to_string()
    }
}

/// How a network connects its containers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum NetworkDriver {
    /// A Linux bridge.
    Bridge,
    /// The host's own network.
    Host,
    /// Loopback only.
    None,
    /// MACs of a host interface.
    Macvlan,
    /// Addresses of a host interface.
    Ipvlan,
    /// Over many machines, as a cluster tells it.
    Overlay,
}

impl NetworkDriver {
    /// Docker's word.
    pub fn as_str(self) -> &'static str {
        match self {
            NetworkDriver::Bridge => "bridge",
            NetworkDriver::Host => "host",
            NetworkDriver::None => "null",
            NetworkDriver::Macvlan => "macvlan",
            NetworkDriver::Ipvlan => "ipvlan",
            NetworkDriver::Overlay => "overlay",
        }
    }
}

/// One pool of addresses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IpamPool {
    /// All of it.
    pub subnet: Subnet,
    /// Containers get theirs from this part.
    pub range: Option<Subnet>,
    /// The bridge's own.
    pub gateway: Option<IpAddr>,
    /// Addresses by name that no container gets.
    pub auxiliary: BTreeMap<String, IpAddr>,
    /// Whether the user gave the subnet (else chosen by us).
    pub user_given: bool,
    /// The gateway was chosen by us in a range that the user gave. `inspect` tells only what was asked for.
    #[serde(default)]
    pub gateway_chosen: bool,
}

/// A network as asked: input of create.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkSpec {
    /// Not unique by Docker's API, but enforced by us.
    pub name: String,
    /// How.
    pub driver: NetworkDriver,
    /// IPv4 addresses are given.
    pub ipv4: bool,
    /// IPv6 addresses are given.
    pub ipv6: bool,
    /// No way out.
    pub internal: bool,
    /// Kept for swarm.
    pub attachable: bool,
    /// Kept for swarm.
    pub ingress: bool,
    /// Only a configuration that others take.
    pub config_only: bool,
    /// The network whose configuration is taken.
    pub config_from: Option<String>,
    /// Driver options as asked, `com.docker.network.bridge.name`, …
    pub options: BTreeMap<String, String>,
    /// The user's labels.
    pub labels: Labels,
    /// `default`, or `null`.
    pub ipam_driver: String,
    /// As asked; `None`: not given.
    pub ipam_options: Option<BTreeMap<String, String>>,
    /// As asked or, in a record, as decided: every subnet is set.
    pub pools: Vec<IpamPool>,
}

/// A network of this machine: its record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    /// Unique.
    pub id: NetworkId,
    /// When it was made.
    pub created: Timestamp,
    /// As asked, with pools decided.
    pub spec: NetworkSpec,
    /// The bridge device's name (`minke0`, `br-0123456789ab`); empty for others.
    pub bridge: String,
}

/// A container's place in a network as asked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointSpec {
    /// A fixed address.
    pub ipv4: Option<Ipv4Addr>,
    /// A fixed address.
    pub ipv6: Option<Ipv6Addr>,
    /// Kept for inspect.
    pub link_local: Vec<IpAddr>,
    /// Further names.
    pub aliases: Vec<String>,
    /// `container:alias`.
    pub links: Vec<String>,
    /// `02:42:…`; empty is chosen.
    pub mac: String,
    /// Options as asked, `com.docker.network.endpoint.sysctls`…
    pub driver_options: BTreeMap<String, String>,
    /// The highest gives the default route.
    pub gateway_priority: i64,
    /// Whether an IPAM configuration was given at all (inspect shows it).
    pub ipam_given: bool,
}

/// A container's place in a network as it is. Addresses are empty while it does not run, unless fixed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// In which; `None` before the first start.
    pub network: Option<NetworkId>,
    /// Unique per start.
    pub id: Option<EndpointId>,
    /// Inside: `eth0`.
    pub interface: String,
    /// Address and prefix.
    pub ipv4: Option<(Ipv4Addr, u8)>,
    /// Its gateway.
    pub gateway4: Option<Ipv4Addr>,
    /// Address and prefix.
    pub ipv6: Option<(Ipv6Addr, u8)>,
    /// Its gateway.
    pub gateway6: Option<Ipv6Addr>,
    /// Six bytes as text; empty when none.
    pub mac: String,
    /// Names that the embedded DNS answers.
    pub dns_names: Vec<String>,
    /// Ports published through it.
    pub published: Vec<PublishedPort>,
}
