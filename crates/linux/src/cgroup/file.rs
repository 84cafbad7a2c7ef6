//! Reading and writing one cgroup file. Small, because every call is on a container's start path.

use super::CgroupError;
use std::{fs, io::Write, path::Path};

/// Writes a value in one write(2), as the kernel wants it.
pub(super) fn write(dir: &Path, name: &str, value: &str) -> Result<(), CgroupError> {
    let path = dir.join(name);
    let result =
        fs::OpenOptions::new().write(true).open(&path).and_then(|mut file| file.write_all(value.as_bytes()));
    result.map_err(|source| CgroupError::Write { path, value: value.to_owned(), source })
}

/// Reads all.
pub(super) fn read(dir: &Path, name: &str) -> Result<String, CgroupError> {
    let path = dir.join(name);
    fs::read_to_string(&path).map_err(|source| CgroupError::Read { path, source })
}

/// A file of one number; `max` is `u64::MAX`.
pub(super) fn number(dir: &Path, name: &str) -> Option<u64> {
    let text = read(dir, name).ok()?;
    let text = text.trim();
    if text == "max" { Some(u64::MAX) } else { text.parse().ok() }
}

/// The number after `key` in a file of `key number` lines.
pub(super) fn keyed(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' ')?.trim().parse().ok())
}

/// All `key number` lines.
pub(super) fn all_keyed(text: &str) -> Vec<(String, u64)> {
    text.lines()
        .filter_map(|line| {
            line.split_once(' ').and_then(|(k, v)| Some((k.to_owned(), v.trim().parse().ok()?)))
        })
        .collect()
}

/// Process ids of a cgroup and all below it. Nested deeper than 32 is not looked at.
pub(super) fn collect_pids(dir: &Path, pids: &mut Vec<i32>, depth: u32) {
    if depth > 32 {
        return;
    }
    if let Ok(text) = read(dir, "cgroup.procs") {
        pids.extend(text.lines().filter_map(|line| line.parse::<i32>().ok()));
    }
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            collect_pids(&entry.path(), pids, depth + 1);
        }
    }
}
