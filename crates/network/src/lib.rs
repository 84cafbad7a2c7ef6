//! Networks: who may reach whom, by which name, without `ip`, `nft` or `iptables`.
//!
//! [`Networks`] makes bridges and interfaces, and publishes ports; [`ipam`] chooses addresses; [`dns`] answers names. All
//! functions block for as long as the kernel takes (well under a millisecond each); call them from a blocking thread.
//!
//! Never: records. What is, is told by the caller ([`Networks::sync`]); what the kernel has besides is repaired.

mod addresses;
mod bridge;
mod copier;
mod default_bridge;
pub mod dns;
mod endpoint;
mod error;
pub mod firewall;
pub mod ipam;
mod links;
mod mac;
mod macvlan;
mod networks;
mod overlay;
mod ports;
mod sysctl;
mod watch;

pub use bridge::{GatewayMode, Options};
pub use default_bridge::BridgeWish;
pub use endpoint::EndpointPlan;
pub use error::NetworkError;
pub use firewall::plan::Linked;
pub use mac::Mac;
pub use networks::{Faults, NetworkConfig, Networks, PoolLock, PublishPolicy, Running, State};
pub use ports::{PortRequest, Target};
