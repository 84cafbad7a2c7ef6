//! `X-Docker-Container-Path-Stat`: what lies at a path in a container, as base64 of JSON.

use base64::Engine as _;
use minke_model::Timestamp;
use serde::Serialize;

/// What lies there. `mode` is Go's `os.FileMode`, not Linux's.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PathStat<'a> {
    name: &'a str,
    size: u64,
    mode: u32,
    mtime: String,
    link_target: &'a str,
}

impl<'a> PathStat<'a> {
    /// From Linux's `st_mode`.
    pub(crate) fn new(name: &'a str, size: u64, mode: u32, mtime: Timestamp, link_target: &'a str) -> Self {
        Self { name, size, mode: go_mode(mode), mtime: mtime.to_string(), link_target }
    }

    /// The header's value.
    pub(crate) fn header(&self) -> String {
        base64::engine::general_purpose::STANDARD.encode(serde_json::to_vec(self).unwrap_or_default())
    }
}

/// Linux's `st_mode` as Go has it (https://pkg.go.dev/io/fs#FileMode): permissions stay, the sort of file and the
/// set-id and sticky bits move to the top.
pub(crate) fn go_mode(mode: u32) -> u32 {
    const DIR: u32 = 1 << 31;
    const SYMLINK: u32 = 1 << 27;
    const DEVICE: u32 = 1 << 26;
    const NAMED_PIPE: u32 = 1 << 25;
    const SOCKET: u32 = 1 << 24;
    const SETUID: u32 = 1 << 23;
    const SETGID: u32 = 1 << 22;
    const CHAR_DEVICE: u32 = 1 << 21;
    const STICKY: u32 = 1 << 20;
    let sort = match mode & 0o170000 {
        0o040000 => DIR,
        0o120000 => SYMLINK,
        0o060000 => DEVICE,
        0o020000 => DEVICE | CHAR_DEVICE,
        0o010000 => NAMED_PIPE,
        0o140000 => SOCKET,
        _ => 0,
    };
    let mut go = mode & 0o777 | sort;
    for (linux, flag) in [(0o4000, SETUID), (0o2000, SETGID), (0o1000, STICKY)] {
        if mode & linux != 0 {
            go |= flag;
        }
    }
    go
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_go_s() {
        assert_eq!(go_mode(0o100644), 0o644);
        assert_eq!(go_mode(0o040755), 1 << 31 | 0o755);
        assert_eq!(go_mode(0o041777), 1 << 31 | 1 << 20 | 0o777);
        assert_eq!(go_mode(0o120777), 1 << 27 | 0o777);
        assert_eq!(go_mode(0o104755), 1 << 23 | 0o755);
        assert_eq!(go_mode(0o020666), 1 << 26 | 1 << 21 | 0o666);
    }
}
