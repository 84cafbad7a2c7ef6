//! What sort of failure it is, for programs. Sentences are the rooms' and, for Docker's clients, `api`'s.

/// The sort of an error. `api/error.rs` maps each to one HTTP status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// What was named does not exist.
    NotFound,
    /// The request itself is wrong; the same request can never work.
    Invalid,
    /// The request is fine but not in the present state.
    Conflict,
    /// It is as asked already.
    NotModified,
    /// Credentials are missing or wrong.
    Unauthorized,
    /// It is never allowed.
    Forbidden,
    /// It is not supported here, for a reason that the message names.
    NotImplemented,
    /// Something it needs does not answer now.
    Unavailable,
    /// A limit is reached: addresses, disk, ports.
    Exhausted,
    /// The client went away or asked to stop.
    Cancelled,
    /// It took longer than allowed.
    Deadline,
    /// Stored data is damaged.
    DataLoss,
    /// The rest: the kernel refused, a bug.
    Internal,
}
