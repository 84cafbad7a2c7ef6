//! The daemon's side of a shim: its files, its program, its connection.
//!
//! Never: plans (see `spec`), or a shim's pid as its identity: that is its socket's path, the boot and a token.

mod files;
mod link;
mod program;

pub(crate) use files::{Files, Identity};
pub(crate) use link::{Link, State, end_of, exec_id};
pub(crate) use program::Program;
