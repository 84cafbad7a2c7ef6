//! What a loader may ask of the outside: files by absolute path, nothing else. Pure.

/// Files, as the caller has them.
pub trait Files {
    /// The bytes of a file; `-` is the standard input. Refuses what is larger than `limit`.
    fn read(&self, path: &str, limit: u64) -> Result<Vec<u8>, FileError>;
    /// What is at a path, links followed. None where there is nothing.
    fn kind(&self, path: &str) -> Option<FileKind>;
    /// The path with all links followed. None where it does not exist.
    fn resolve(&self, path: &str) -> Option<String>;
}

/// What is at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// A file, or something that is read like one.
    File,
    /// A directory.
    Directory,
}

/// Why a file was not read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FileError {
    /// There is none.
    #[error("no such file or directory")]
    NotFound,
    /// It is a directory.
    #[error("is a directory")]
    Directory,
    /// It is larger than a compose file may be.
    #[error("file is larger than {limit} bytes")]
    TooLarge {
        /// What is allowed.
        limit: u64,
    },
    /// The system said no.
    #[error("{0}")]
    Other(String),
}
