//! What `run` and `create` are asked for: each flag's own small language, read as docker reads it.
//!
//! Pure but for the files that a flag names. Start at `container.rs`, which makes the API's request.

pub(crate) mod container;
pub(crate) mod device;
pub(crate) mod env;
pub(crate) mod flags;
pub(crate) mod host;
pub(crate) mod moment;
pub(crate) mod mount;
pub(crate) mod network;
pub(crate) mod port;
pub(crate) mod security;
pub(crate) mod ulimit;
