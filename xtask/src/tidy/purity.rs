//! Rule: a file named `plan.rs`, or marked `(pure)` in its first sentence, decides and touches nothing.

use super::words::lines_with;
use crate::workspace::{Source, Workspace};

/// What reaches out of a function. Addresses (`std::net::IpAddr`) are values and may stay.
const REACHES_OUT: &[&str] = &[
    "std::fs",
    "std::process",
    "std::thread",
    "std::io::stdin",
    "rustix::fs",
    "rustix::net",
    "tokio",
    "TcpStream",
    "TcpListener",
    "UdpSocket",
    "UnixStream",
    "UnixListener",
    "Instant::now",
    "SystemTime::now",
    "Timestamp::now",
    "env::var",
    "async fn",
];

fn is_pure(source: &Source) -> bool {
    let marked = source.text.lines().next().is_some_and(|first| {
        first.starts_with("//!") && (first.contains("(pure)") || first.contains(": pure."))
    });
    !source.is_test() && (marked || source.path.file_name().is_some_and(|name| name == "plan.rs"))
}

/// The rule.
pub(super) fn check(workspace: &Workspace) -> Vec<String> {
    let pure = workspace.sources().filter(|(_, s)| is_pure(s));
    pure.flat_map(|(_, s)| REACHES_OUT.iter().flat_map(|word| lines_with(s, s.without_tests(), word)))
        .collect()
}
