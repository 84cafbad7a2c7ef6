//! A store over a connection: a worker reads its manager's.
//!
//! ```text
//!  worker                                  manager
//!  Remote ── request ──► Link ──────────► Server ── as its role may ──► store, or what is assigned
//!         ◄─ answers ───      ◄──────────        ◄── snapshot, revision, changes ──
//! ```
//!
//! Both halves speak in frames over any ordered stream of bytes ([`Link`]), which somebody else has encrypted and whose
//! other end somebody else has identified. A peer that does not take its answers fills only its own connection: its
//! watches wait as places in the store's history until that forgets them, and it reads again.

mod client;
mod link;
mod server;
#[cfg(test)]
mod tests;
mod wire;

pub use client::{Dial, Remote};
pub use link::Link;
pub use server::Server;
