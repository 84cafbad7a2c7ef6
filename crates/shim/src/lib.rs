//! The shim: one small process per container that makes it, keeps its streams, writes its log and its exit.
//!
//! Never: JSON, threads, tokio, policy. The daemon decides (a `plan::StartPlan`), the shim does.

pub mod plan;
pub mod protocol;
pub mod wire;
