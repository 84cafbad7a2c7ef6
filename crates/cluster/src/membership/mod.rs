//! Who belongs to the cluster, how it proves that, and whether it is still there.
//!
//! A node is its key: its id is the key's fingerprint, so that no address, name or certificate makes two of one or
//! one of two. It comes in with a token ([`join`]), shows a certificate of the cluster's authority ([`ca`]) from then
//! on, and beats ([`session`], [`reception`]). [`silence`] decides purely who is gone.
//!
//! Never: reads or writes files, or knows what a node runs.

pub mod ca;
pub mod error;
pub mod join;
pub mod leader;
pub mod observe;
pub mod reception;
pub mod rotate;
pub mod seal;
pub mod session;
pub mod silence;
pub mod token;

pub use error::MembershipError;

/// What every verb here returns.
pub type Result<T, E = MembershipError> = std::result::Result<T, E>;

#[cfg(test)]
mod tests;
