//! Our words: plain data that every room may name. What is asked (spec) and what is (status).
//!
//! Never: I/O, async, Docker's JSON (that lives in `api/wire`). Start at `container.rs`.

pub mod cluster;
pub mod container;
pub mod error;
pub mod event;
pub mod go;
pub mod health;
pub mod id;
pub mod image;
pub mod label;
pub mod log;
pub mod mount;
pub mod name;
pub mod network;
pub mod node;
pub mod object;
pub mod overlay;
pub mod port;
pub mod resources;
pub mod restart;
pub mod secret;
pub mod security;
pub mod service;
pub mod task;
pub mod time;
pub mod volume;

pub use container::{Container, ContainerSpec, ContainerState, ContainerStatus};
pub use error::Kind;
pub use event::{Action, Event};
pub use id::{
    ClusterId, ClusterNodeId, ConfigId, ContainerId, EndpointId, ExecId, ImageId, NetworkId, SecretId,
    ServiceId, TaskId,
};
pub use label::Labels;
pub use network::Subnet;
pub use time::Timestamp;
