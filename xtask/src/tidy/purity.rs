//! Rule: a file named `plan.rs`, or marked as pure in its first paragraph, decides and touches nothing.

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

/// `plan.rs`, or a first paragraph that says `(pure)`, `Pure.` or `Pure: …`. “Pure, but for …” does not count.
fn is_pure(source: &Source) -> bool {
    let doc = source.doc().to_lowercase();
    let marked = ["(pure)", " pure.", " pure:"].iter().any(|mark| doc.contains(mark));
    let named = source.path.file_name().is_some_and(|name| name == "plan.rs");
    !source.is_test() && (marked || named)
}

/// The rule.
pub(super) fn check(workspace: &Workspace) -> Vec<String> {
    let pure = workspace.sources().filter(|(_, s)| is_pure(s));
    pure.flat_map(|(_, s)| REACHES_OUT.iter().flat_map(|word| lines_with(s, s.without_tests(), word)))
        .collect()
}
