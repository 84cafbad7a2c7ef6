//! The `local` format: small binary records that can be walked both ways.
//!
//! A record is: length of what follows up to the trailer (u32) · stream (u8: 1 stdout, 2 stderr, 0 attributes) · flags
//! (u8: 1 when the line goes on in the next record of its stream) · nanoseconds since 1970 (i64) · bytes of the line
//! without its newline · the length again (u32). All little-endian. The first record of every file has stream 0: its
//! bytes are `name=value` pairs, each ended by a zero byte; they hold for all lines of the file.

use super::Stream;

/// Bytes of a record besides its line: two lengths, stream, flags, time.
const FRAME: usize = 4 + 1 + 1 + 8 + 4;
/// The line goes on in the next record of its stream.
const GOES_ON: u8 = 1;

/// A record, as read back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// `None` is the attributes.
    pub stream: Option<Stream>,
    /// Nanoseconds since 1970.
    pub time: i64,
    /// The line ends here (a newline followed it).
    pub whole: bool,
    /// Without newline.
    pub line: &'a [u8],
}

pub(super) fn record(out: &mut Vec<u8>, stream: Stream, line: &[u8], time: i64) {
    let (line, flags) = match line.strip_suffix(b"\n") {
        Some(line) => (line, 0),
        None => (line, GOES_ON),
    };
    put(out, stream as u8, flags, time, line);
}

pub(super) fn attributes(pairs: &[(String, String)]) -> Vec<u8> {
    let mut text = Vec::new();
    for (name, value) in pairs {
        text.extend_from_slice(name.as_bytes());
        text.push(b'=');
        text.extend_from_slice(value.as_bytes());
        text.push(0);
    }
    let mut out = Vec::new();
    put(&mut out, 0, 0, 0, &text);
    out
}

fn put(out: &mut Vec<u8>, stream: u8, flags: u8, time: i64, line: &[u8]) {
    let length = ((FRAME - 8 + line.len()) as u32).to_le_bytes();
    out.extend_from_slice(&length);
    out.extend_from_slice(&[stream, flags]);
    out.extend_from_slice(&time.to_le_bytes());
    out.extend_from_slice(line);
    out.extend_from_slice(&length);
}

/// The record at the front of `bytes` and its length; `None` when it is not all there, or no record.
pub fn parse(bytes: &[u8]) -> Option<(Record<'_>, usize)> {
    let length = u32::from_le_bytes(bytes.first_chunk::<4>().copied()?) as usize;
    let total = length.checked_add(8)?;
    let body = bytes.get(4..4 + length)?;
    let trailer = bytes.get(4 + length..total)?;
    if trailer != &bytes[..4] || body.len() < FRAME - 8 {
        return None;
    }
    let stream = match body[0] {
        0 => None,
        1 => Some(Stream::Stdout),
        2 => Some(Stream::Stderr),
        _ => return None,
    };
    let time = i64::from_le_bytes(body.get(2..10)?.try_into().ok()?);
    Some((Record { stream, time, whole: body[1] & GOES_ON == 0, line: &body[10..] }, total))
}

/// Bytes of whole records at the front that fit in `room`; with endless room, of the first one.
pub(super) fn whole(bytes: &[u8], room: usize) -> usize {
    let mut at = 0;
    while let Some((_, n)) = bytes.get(at..).and_then(parse) {
        if room == usize::MAX {
            return n;
        }
        if at + n > room {
            break;
        }
        at += n;
    }
    if room == usize::MAX { bytes.len() } else { at }
}
