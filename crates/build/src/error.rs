//! What goes wrong in a build: typed, with data and, for a Dockerfile, with the place.

use minke_model::Kind;
use std::fmt;

/// A result of this room.
pub type Result<T, E = BuildError> = std::result::Result<T, E>;

/// A failure of this room.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The Dockerfile is wrong.
    #[error(transparent)]
    Dockerfile(#[from] DockerfileError),
}

impl BuildError {
    /// For programs.
    pub fn kind(&self) -> Kind {
        match self {
            BuildError::Dockerfile(error) => error.kind(),
        }
    }
}

/// Lines of a Dockerfile, both included, from 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Lines {
    /// The first.
    pub first: u32,
    /// The last.
    pub last: u32,
}

/// What is wrong with a Dockerfile and where. Its text is BuildKit's sentence; [`DockerfileError::report`] adds the
/// place and the line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DockerfileError {
    /// BuildKit's sentence.
    pub message: String,
    /// The instruction.
    pub lines: Lines,
}

impl DockerfileError {
    /// Always the request's fault.
    pub fn kind(&self) -> Kind {
        Kind::Invalid
    }
}

impl fmt::Display for DockerfileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for DockerfileError {}
