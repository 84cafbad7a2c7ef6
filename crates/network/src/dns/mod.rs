//! Names for containers: a resolver at 127.0.0.11 in the namespace of each container on a user's network.
//!
//! ```text
//!  container's namespace                                daemon
//!  ┌─────────────────────────────────────┐
//!  │ client ─► 127.0.0.11:53             │
//!  │             │ redirect (`listen`)   │   `message`: what is asked?
//!  │             ▼                       │   `zone`: whose name is it? ─► answered
//!  │           127.0.0.11:high ──────────┼──►     otherwise ─► `upstream`, as bytes
//!  └─────────────────────────────────────┘
//! ```
//!
//! The sockets are the daemon's, made inside the namespace; one small task serves each container, and no thread
//! does. `resolv_conf` and `hosts` write the two files that a container's libc reads.
//!
//! Never: a cache, zones of its own invention, a query sent back to itself. Start at [`Server`].

pub mod hosts;
mod listen;
mod message;
pub mod resolv_conf;
mod server;
#[cfg(test)]
mod tests;
mod upstream;
mod zone;

pub use listen::Prepared;
pub use server::{ResolverConfig, Server};
pub use upstream::{Servers, Upstream};
pub use zone::{Member, Named, Zones};

use std::net::Ipv4Addr;

/// Where containers find the resolver.
pub const ADDRESS: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 11);
