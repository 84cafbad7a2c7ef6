//! Compose files: from YAML to a project as docker compose 2.40.3 (compose-go v2.9.1) loads it.
//!
//! Interpolates, merges, extends, includes, checks and prints; gives each service the hash that docker compose would,
//! so that both tools may take turns on one project. Never touches a file, the environment or the clock: whoever
//! calls gives a [`Files`] and the variables.
//!
//! Start at `load.rs`, then `project/mod.rs`.

mod canonical;
mod check;
mod dotenv;
mod env_file;
mod error;
mod extends;
mod files;
mod hash;
mod include;
mod interpolate;
pub mod label;
mod load;
mod merge;
mod model;
mod node;
mod normalize;
mod path;
mod paths;
pub mod plan;
mod port;
mod print;
mod project;
pub mod running;
mod schema;
mod short;
mod text;
mod unhonoured;
mod unique;
mod validate;
mod value;
mod variables;
mod volume;
mod yaml;

pub use error::{Fault, Place};
pub use files::{FileError, FileKind, Files};
pub use hash::{network_hash, service_hash, volume_hash};
pub use load::{LoadOptions, Loaded, Tree, load, load_model};
pub use project::*;
pub use short::{parse_port, parse_volume, shell_words};
pub use text::normalize_name;
pub use value::Value;
pub use variables::{Variable, print_variables, variables};
