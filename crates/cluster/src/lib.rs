//! Many machines as one: who runs what, where, and what happens when one of them dies.
//!
//! Users' wishes and nodes' reports are records in the store ([`tables`]). Loops make what is into what was asked
//! for: each decides purely, from a [`View`] of one snapshot and a time, and says *because*. All that a decision
//! relies on is guarded by the commit that writes it down, so two leaders at once cost quiet, not truth.
//!
//! Never: knows Linux, an engine, or Docker's HTTP. A node's hands are behind a trait.
//!
//! Start at [`tables`], then [`view`].

pub mod agent;
pub mod allocator;
pub mod assign;
pub mod assigner;
pub mod control;
pub mod endpoints;
pub mod error;
pub mod loops;
pub mod membership;
pub mod nature;
pub mod orchestrator;
pub mod plan;
pub mod scheduler;
pub mod tables;
pub mod template;
pub mod transport;
pub mod view;
pub mod why;

pub use error::{ClusterError, Result};
pub use loops::Loops;
pub use view::View;
