//! How far a pull or a load is, in the terms of Docker's progress lines.

/// One line of progress.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProgressEvent {
    /// Of which layer (short id) or tag; `None` is a line about the whole.
    pub id: Option<String>,
    /// `Downloading`, `Pull complete`, `Digest: sha256:…`
    pub status: String,
    /// Bytes done.
    pub current: Option<u64>,
    /// Bytes in all, where known.
    pub total: Option<u64>,
}

/// Someone who wants to know. Called from several threads; must not block for long.
pub trait Progress: Send + Sync {
    /// Takes one line.
    fn report(&self, event: ProgressEvent);
}

/// Nobody wants to know.
#[derive(Clone, Copy, Debug, Default)]
pub struct Quiet;

impl Progress for Quiet {
    fn report(&self, _event: ProgressEvent) {}
}
