//! From a Dockerfile to an image.
//!
//! The language, and pure: bytes become instructions (`dockerfile/`), instructions and options become a graph of
//! steps (`plan.rs`), with BuildKit's sentences when they cannot. What carries a graph out is not written yet.
//! Start at `dockerfile/mod.rs`, then `plan.rs`.
//!
//! Never: knows a registry's or a client's protocol, keeps a record of a container, or lets a secret into a step.

// An error is made once and ends the build: a box at each return would cost readers more than its size costs us.
#![allow(clippy::result_large_err)]

mod args;
pub mod checks;
pub mod detect;
pub mod dockerfile;
pub mod error;
pub mod git;
pub mod glob;
pub mod host;
pub mod ignore;
pub mod plan;
pub mod request;

use minke_model::go;

pub use dockerfile::Dockerfile;
pub use error::{BuildError, DockerfileError, Lines, Result};
pub use host::{Client, Progress};
pub use plan::{Plan, PlanOptions, Planner};
pub use request::{BuildRequest, Built};
