//! Builds on this machine: what the build room needs of images, snapshots and processes, and its cache.
//!
//! Doors name the build room's types by this module.

mod upload;

pub use minke_build::{
    BuildError, BuildRequest, Built, Client, Dockerfile, DockerfileError, Lines, PlanOptions, Progress,
    checks, dockerfile, error, git, host, plan, request,
};
pub use upload::Upload;
