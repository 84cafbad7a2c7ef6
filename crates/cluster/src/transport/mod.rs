//! Connections between the machines of a cluster: mutual TLS, many streams on each, messages on a stream.
//!
//! Only workers dial (and managers among each other); a manager reaches a node by opening streams backwards on the
//! connection that the node dialled ([`mux`]). Who is at the other end is said by its certificate, never by its
//! address ([`tls`]).
//!
//! Never: decides who may come in or what a stream is for.

pub mod error;
pub mod message;
pub mod mux;
pub mod tls;

pub use error::TransportError;
