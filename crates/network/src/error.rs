//! What can go wrong with networks, with the data that a caller needs to say it well.

use minke_linux::netlink::Refused;
use minke_model::{Kind, network::Subnet, port::Protocol};
use std::{io, net::IpAddr};

/// A failure of this room.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// A fixed address that someone has. dockerd's sentence.
    #[error("Address already in use")]
    AddressInUse {
        /// Which.
        address: IpAddr,
    },
    /// No address is left. dockerd's sentence, without the network's name.
    #[error("no available IPv{version} addresses on this network's address pools")]
    NoAddress {
        /// 4 or 6.
        version: u8,
    },
    /// A fixed address outside of the network. dockerd's sentence.
    #[error("Invalid address {address}: It does not belong to any of this network's subnets")]
    ForeignAddress {
        /// Which.
        address: IpAddr,
    },
    /// A subnet that shares addresses with another network's. dockerd's sentence.
    #[error("Pool overlaps with other one on this address space")]
    PoolOverlaps {
        /// What was asked for.
        subnet: Subnet,
        /// Whose it is.
        other: Subnet,
    },
    /// No default pool is left. dockerd's sentence.
    #[error("all predefined address pools have been fully subnetted")]
    NoPool,
    /// A pool's parts do not fit together.
    #[error("{0}")]
    InvalidPool(String),
    /// A driver option that cannot be.
    #[error("invalid value {value:?} for option {option}: {reason}")]
    InvalidOption {
        /// Its name.
        option: String,
        /// As given.
        value: String,
        /// Why not.
        reason: &'static str,
    },
    /// A hardware address that cannot be.
    #[error("invalid MAC address: {0}")]
    InvalidMac(String),
    /// A port that another container has. dockerd's sentence.
    #[error("Bind for {}:{port} failed: port is already allocated", host(*.address))]
    PortAllocated {
        /// The host's address.
        address: IpAddr,
        /// The host's port.
        port: u16,
        /// The transport.
        protocol: Protocol,
    },
    /// A port that another process has, or an address that is not the host's. dockerd's sentence.
    #[error(
        "failed to bind host port for {}:{port}:{}:{container_port}/{protocol}: {}",
        host(*.address), host(*.target), bind_reason(.source)
    )]
    PortBind {
        /// The host's address.
        address: IpAddr,
        /// The host's port.
        port: u16,
        /// The container's address.
        target: IpAddr,
        /// The container's port.
        container_port: u16,
        /// The transport.
        protocol: Protocol,
        /// Why.
        source: io::Error,
    },
    /// Every port of a range is taken. dockerd's sentence.
    #[error("Bind for {}:{first}-{last} failed: all ports are allocated", host(*.address))]
    PortsAllocated {
        /// The host's address.
        address: IpAddr,
        /// The range's first.
        first: u16,
        /// The range's last.
        last: u16,
    },
    /// The interface's name is taken by something that is not a bridge of ours.
    #[error("cannot use {name} as a bridge: it is a link of another kind ({kind})")]
    NotABridge {
        /// The name.
        name: String,
        /// What it is.
        kind: String,
    },
    /// A driver that this kernel or this version lacks.
    #[error("network driver {driver} cannot be used: {reason}")]
    Unsupported {
        /// Which.
        driver: &'static str,
        /// Why not.
        reason: String,
    },
    /// Another cluster's node, or another VXLAN, is in this network namespace.
    #[error(
        "VXLAN network {vni} on UDP port {port} is taken on this host: two nodes of clusters need a network namespace each, or another --data-path-port"
    )]
    VniTaken {
        /// The network's number.
        vni: u32,
        /// UDP.
        port: u16,
    },
    /// The parent interface of a macvlan is missing.
    #[error("invalid subinterface vlan name {0}, the parent interface was not found on the host")]
    NoParent(String),
    /// A container of a network without IPv6 would have it. dockerd's words.
    #[error(
        "failed to disable IPv6 on container's interface {interface}: net.ipv6.conf.{interface}.disable_ipv6 stays as it is; is /proc/sys read-only?"
    )]
    Ipv6Stays {
        /// Which.
        interface: String,
    },
    /// The kernel said no.
    #[error("cannot {action}: {source}")]
    Kernel {
        /// What was tried.
        action: String,
        /// Its answer.
        source: Refused,
    },
    /// A file of the kernel's said no.
    #[error("cannot {action}: {source}")]
    Io {
        /// What was tried.
        action: String,
        /// The system's answer.
        source: io::Error,
    },
}

impl NetworkError {
    /// Its sort, for programs.
    pub fn kind(&self) -> Kind {
        match self {
            NetworkError::AddressInUse { .. } | NetworkError::PoolOverlaps { .. } => Kind::Forbidden,
            NetworkError::NoAddress { .. } => Kind::Unavailable,
            NetworkError::NoPool => Kind::Invalid,
            NetworkError::ForeignAddress { .. }
            | NetworkError::InvalidPool(_)
            | NetworkError::InvalidOption { .. }
            | NetworkError::InvalidMac(_)
            | NetworkError::NoParent(_) => Kind::Invalid,
            NetworkError::PortAllocated { .. }
            | NetworkError::PortBind { .. }
            | NetworkError::PortsAllocated { .. }
            | NetworkError::Ipv6Stays { .. }
            | NetworkError::Kernel { .. }
            | NetworkError::Io { .. } => Kind::Internal,
            NetworkError::NotABridge { .. } | NetworkError::VniTaken { .. } => Kind::Conflict,
            NetworkError::Unsupported { .. } => Kind::NotImplemented,
        }
    }

    pub(crate) fn io(action: impl Into<String>, source: impl Into<io::Error>) -> Self {
        NetworkError::Io { action: action.into(), source: source.into() }
    }
}

/// Says what was tried when the kernel refuses.
pub(crate) trait Tried<T> {
    /// `action` completes "cannot …".
    fn tried(self, action: impl FnOnce() -> String) -> Result<T, NetworkError>;
}

impl<T> Tried<T> for Result<T, Refused> {
    fn tried(self, action: impl FnOnce() -> String) -> Result<T, NetworkError> {
        self.map_err(|source| NetworkError::Kernel { action: action(), source })
    }
}

/// An address as part of a host and port.
fn host(address: IpAddr) -> String {
    match address {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => format!("[{ip}]"),
    }
}

/// Go's words for what clients match on.
fn bind_reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => "address already in use".to_owned(),
        io::ErrorKind::AddrNotAvailable => "cannot assign requested address".to_owned(),
        io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        _ => error.to_string(),
    }
}
