//! Output cut into lines: at newlines, and after 16 KiB without one, as Docker's copier does.

use super::clock::{self, Clock};

/// The longest piece without a newline.
pub(super) const MAX: usize = 16 << 10;

/// One stream's unfinished line.
#[derive(Default)]
pub(super) struct Lines {
    begun: Vec<u8>,
    /// When the first piece of a long line came: all its pieces carry that time. 0 is no such line.
    long_since: i64,
}

fn newline(bytes: &[u8]) -> Option<usize> {
    if bytes.is_empty() {
        return None;
    }
    // SAFETY: searches only inside of the slice.
    let found = unsafe { libc::memchr(bytes.as_ptr().cast(), i32::from(b'\n'), bytes.len()) };
    if found.is_null() { None } else { Some(found as usize - bytes.as_ptr() as usize) }
}

impl Lines {
    /// Takes some bytes and hands on what is complete, each line with its newline; returns how many it took:
    /// all, unless `emit` said that it is enough for now.
    pub(super) fn take(
        &mut self,
        bytes: &[u8],
        clock: &mut Clock,
        mut emit: impl FnMut(&[u8], i64, &mut Clock) -> bool,
    ) -> usize {
        let mut at = 0;
        while at < bytes.len() {
            let rest = &bytes[at..];
            let room = MAX - self.begun.len();
            let window = &rest[..rest.len().min(room + 1)];
            match newline(window) {
                // A newline that comes after exactly 16 KiB belongs to the next piece.
                Some(n) if n < room => {
                    let time = if self.long_since != 0 { self.long_since } else { clock::now() };
                    self.long_since = 0;
                    let more = if self.begun.is_empty() {
                        emit(&rest[..=n], time, clock)
                    } else {
                        self.begun.extend_from_slice(&rest[..=n]);
                        emit(&self.begun, time, clock)
                    };
                    self.begun.clear();
                    at += n + 1;
                    if !more {
                        return at;
                    }
                }
                _ if rest.len() < room => {
                    self.begun.extend_from_slice(rest);
                    at = bytes.len();
                }
                _ => {
                    if self.long_since == 0 {
                        self.long_since = clock::now();
                    }
                    self.begun.extend_from_slice(&rest[..room]);
                    let more = emit(&self.begun, self.long_since, clock);
                    self.begun.clear();
                    at += room;
                    if !more {
                        return at;
                    }
                }
            }
        }
        at
    }

    /// What is begun, as it is.
    pub(super) fn finish(&mut self, mut emit: impl FnMut(&[u8], i64)) {
        if !self.begun.is_empty() {
            let time = if self.long_since != 0 { self.long_since } else { clock::now() };
            emit(&self.begun, time);
        }
        *self = Lines::default();
    }

    /// Gives memory back.
    pub(super) fn rest(&mut self) {
        self.begun.shrink_to_fit();
    }
}
