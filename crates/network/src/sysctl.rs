//! Kernel parameters of networking, in the calling thread's network namespace.

use crate::NetworkError;
use std::{fs, io};

/// Sets one, `ipv4/conf/eth0/route_localnet` below `net/`. Left alone where it has the value already: `/proc/sys` may be
/// read-only, and a write takes locks.
pub(crate) fn set(name: &str, value: &str) -> Result<(), NetworkError> {
    let path = format!("/proc/sys/net/{name}");
    let failed = |source: io::Error| {
        NetworkError::io(format!("set net.{} to {value}", name.replace('/', ".")), source)
    };
    if fs::read_to_string(&path).map_err(failed)?.trim() == value {
        return Ok(());
    }
    fs::write(&path, value).map_err(failed)
}

/// Sets one that a kernel may lack; a refusal is only told.
pub(crate) fn try_set(name: &str, value: &str) {
    match set(name, value) {
        Ok(()) => {}
        // A kernel without IPv6.
        Err(NetworkError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
        Err(error) => tracing::warn!(%error, "a network parameter could not be set"),
    }
}

/// Reads one.
pub(crate) fn get(name: &str) -> Option<String> {
    Some(fs::read_to_string(format!("/proc/sys/net/{name}")).ok()?.trim().to_owned())
}
