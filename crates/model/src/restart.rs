//! What to do when a container ends.

use serde::{Deserialize, Serialize};

/// When a container is started again by itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum RestartPolicy {
    /// Never.
    #[default]
    No,
    /// Whenever it ends, and at the daemon's start, unless stopped by a user since.
    Always,
    /// As `Always`, but what a user stopped stays stopped over the daemon's start.
    UnlessStopped,
    /// After a non-zero exit, at most so many times (0: without end).
    OnFailure(u32),
    /// As `Always`, and also when its health check fails (Minke's own).
    OnUnhealthy,
}
