//! Ports: exposed, asked for, published.

use serde::{Deserialize, Serialize};
use std::{fmt, net::IpAddr, str::FromStr};

/// A transport protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
            Protocol::Sctp => "sctp",
        })
    }
}

impl FromStr for Protocol {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text.to_ascii_lowercase().as_str() {
            "tcp" => Ok(Protocol::Tcp),
            "udp" => Ok(Protocol::Udp),
            "sctp" => Ok(Protocol::Sctp),
            _ => Err(format!("invalid proto: {text}")),
        }
    }
}

/// A port inside a container, `80/tcp`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Port {
    /// 0 to 65535.
    pub number: u16,
    /// The transport.
    pub protocol: Protocol,
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.number, self.protocol)
    }
}

/// The number and protocol in a key like `80/tcp`, as Docker cuts it apart (go-connections `nat.SplitProtoPort`): TCP
/// where none is said, and neither where there is no number.
pub fn split_key(key: &str) -> (&str, &str) {
    let mut parts = key.split('/');
    match (parts.next().unwrap_or_default(), parts.next().unwrap_or_default()) {
        ("", _) => ("", ""),
        (number, "") => (number, "tcp"),
        both => both,
    }
}

impl FromStr for Port {
    type Err = String;
    /// `80`, `80/tcp`, `53/udp`.
    fn from_str(text: &str) -> Result<Self, String> {
        let (number, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
        let number = number.parse().map_err(|_| format!("invalid port: {text}"))?;
        let protocol = if protocol.is_empty() { Protocol::Tcp } else { protocol.parse()? };
        Ok(Port { number, protocol })
    }
}

impl TryFrom<String> for Port {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Port> for String {
    fn from(port: Port) -> Self {
        port.to_string()
    }
}

/// Where a container's port was asked to appear on the host.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortBinding {
    /// As asked; `None` is every address of the network's default binding.
    pub host_ip: Option<IpAddr>,
    /// First and last host port wanted; `None` is any free one of the ephemeral range. First < last lets the
    /// engine pick a free one between.
    pub host_ports: Option<(u16, u16)>,
}

/// Where a container's port does appear.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PublishedPort {
    /// Inside.
    pub container: Port,
    /// The host address; unspecified is all of that family.
    pub host_ip: IpAddr,
    /// The host port.
    pub host_port: u16,
}
