//! Logs of containers as files: their options, and reading them. The shim writes them.

pub mod options;
