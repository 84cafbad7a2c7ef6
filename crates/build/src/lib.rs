//! From a Dockerfile to an image.
//!
//! The language is pure: bytes become instructions (`dockerfile/`), instructions and options become a graph of
//! steps (`plan.rs`), with BuildKit's sentences when they cannot. The solver (`solve/`) carries a graph out through
//! what others do for it (`host.rs`). Start at `dockerfile/mod.rs`, then `plan.rs`, then `solve/mod.rs`.
//!
//! Never: knows a registry's or a client's protocol, keeps a record of a container, or lets a secret into a step.

// An error is made once and ends the build: a box at each return would cost readers more than its size costs us.
#![allow(clippy::result_large_err)]

mod args;
pub mod checks;
pub mod detect;
pub mod dockerfile;
pub mod error;
mod flight;
pub mod git;
pub mod glob;
pub mod host;
pub mod ignore;
pub mod key;
pub mod plan;
pub mod report;
pub mod request;
mod solve;
#[cfg(test)]
mod tests;

use minke_model::go;

pub use dockerfile::Dockerfile;
pub use error::{BuildError, DockerfileError, Lines, Result};
pub use flight::Flights;
pub use host::{Client, Progress};
pub use plan::{Plan, PlanOptions, Planner};
pub use request::{BuildRequest, Built};
pub use solve::solve;
