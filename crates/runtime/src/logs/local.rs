//! The `local` driver's records, as the shim writes them, walked from either end. Pure.

use super::Attributes;
use std::{fs::File, io, os::unix::fs::FileExt};

pub(super) use minke_shim::log::local::parse;

/// Bytes of the length that stands before and after each record.
const LENGTH: u64 = 4;
/// How much of a file is looked at in one read when walking back.
const WINDOW: u64 = 64 << 10;

/// `name=value` pairs, each ended by a zero byte.
pub(super) fn attributes(text: &[u8]) -> Option<Attributes> {
    let pair = |entry: &[u8]| {
        let text = String::from_utf8_lossy(entry);
        text.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()))
    };
    let pairs: Attributes =
        text.split(|b| *b == 0).filter(|entry| !entry.is_empty()).filter_map(pair).collect();
    if pairs.is_empty() { None } else { Some(pairs) }
}

/// The attributes that the first record of a file holds for all its lines.
pub(super) fn first_attributes(file: &File) -> Option<Attributes> {
    let mut head = vec![0; WINDOW as usize];
    let mut filled = 0;
    while let Ok(n @ 1..) = file.read_at(&mut head[filled..], filled as u64) {
        filled += n;
    }
    let (record, _) = parse(&head[..filled])?;
    if record.stream.is_none() { attributes(record.line) } else { None }
}

/// Where the last `wanted` lines of a file of `size` bytes begin, and how many there are of them.
pub(super) fn from_end(file: &File, size: u64, wanted: usize) -> io::Result<(u64, usize)> {
    let mut window = Vec::new();
    let mut low = size;
    let mut at = size;
    let mut found = 0;
    while found < wanted && at > LENGTH {
        if at - LENGTH < low {
            low = at.saturating_sub(WINDOW);
            window.resize((at - low) as usize, 0);
            file.read_exact_at(&mut window, low)?;
        }
        let from = (at - LENGTH - low) as usize;
        let Some(trailer) = window.get(from..).and_then(|rest| rest.first_chunk::<4>()) else { break };
        let total = u64::from(u32::from_le_bytes(*trailer)) + 2 * LENGTH;
        if total > at || total < 18 {
            // Damaged: what follows is all there is.
            break;
        }
        if at == total && is_attributes(file)? {
            break;
        }
        at -= total;
        found += 1;
    }
    Ok((at, found))
}

/// Whether the first record of a file holds attributes.
fn is_attributes(file: &File) -> io::Result<bool> {
    let mut stream = [0u8];
    file.read_exact_at(&mut stream, LENGTH)?;
    Ok(stream[0] == 0)
}
