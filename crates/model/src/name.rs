//! Names that users give.

/// Docker's rule for container, volume and network names: `[a-zA-Z0-9][a-zA-Z0-9_.-]*`, two characters at least
/// for containers and volumes.
pub fn is_valid(name: &str) -> bool {
    let bytes = name.as_bytes();
    bytes.len() >= 2
        && bytes[0].is_ascii_alphanumeric()
        && bytes.iter().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(b))
}

/// The rule in the words of Docker's messages.
pub const PATTERN: &str = "[a-zA-Z0-9][a-zA-Z0-9_.-]";
