//! Detach keys: the keystrokes that end an attach and leave the process running.

use crate::{Error, error::Result};

/// Docker's default, `ctrl-p,ctrl-q`.
const DEFAULT: &[u8] = &[16, 17];

/// Watches what a client types for its detach keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DetachKeys {
    keys: Vec<u8>,
    /// How many of them were typed.
    seen: usize,
}

impl DetachKeys {
    /// `ctrl-p,ctrl-q`, `a,b`; empty is the default.
    pub fn parse(text: &str) -> Result<Self> {
        if text.is_empty() {
            return Ok(Self { keys: DEFAULT.to_vec(), seen: 0 });
        }
        let keys = text
            .split(',')
            .map(|key| parse_key(key).ok_or(key))
            .collect::<std::result::Result<Vec<u8>, &str>>();
        match keys {
            Ok(keys) => Ok(Self { keys, seen: 0 }),
            Err(key) => Err(Error::Invalid(format!(
                "Invalid escape keys ({text}) provided: Unknown character: '{key}'"
            ))),
        }
    }

    /// Takes what was typed: what goes on to the process, and whether the keys are complete. Keys that turn out to be
    /// only a beginning go on too, late.
    pub fn feed(&mut self, typed: &[u8]) -> (Vec<u8>, bool) {
        let mut out = Vec::with_capacity(typed.len());
        for &byte in typed {
            if byte == self.keys[self.seen] {
                self.seen += 1;
                if self.seen == self.keys.len() {
                    self.seen = 0;
                    return (out, true);
                }
                continue;
            }
            out.extend_from_slice(&self.keys[..self.seen]);
            self.seen = usize::from(byte == self.keys[0]);
            if self.seen == 0 {
                out.push(byte);
            }
        }
        (out, false)
    }
}

fn parse_key(key: &str) -> Option<u8> {
    if let [single] = key.as_bytes() {
        return Some(*single);
    }
    match key.strip_prefix("ctrl-")?.as_bytes() {
        [letter @ b'a'..=b'z'] => Some(letter - b'a' + 1),
        [b'@'] => Some(0),
        [b'['] => Some(27),
        [b'\\'] => Some(28),
        [b']'] => Some(29),
        [b'^'] => Some(30),
        [b'_'] => Some(31),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_keys_end_the_attach_also_when_typed_apart() {
        let mut keys = DetachKeys::parse("").unwrap();
        assert_eq!(keys.feed(b"ab\x10"), (b"ab".to_vec(), false));
        assert_eq!(keys.feed(b"\x11more"), (vec![], true));
    }

    #[test]
    fn half_the_keys_are_passed_on_late() {
        let mut keys = DetachKeys::parse("ctrl-p,ctrl-q").unwrap();
        assert_eq!(keys.feed(b"\x10x"), (b"\x10x".to_vec(), false));
        assert_eq!(keys.feed(b"\x10\x10\x11"), (b"\x10".to_vec(), true));
    }

    #[test]
    fn unknown_keys_are_named() {
        let e = DetachKeys::parse("ctrl-p,nope").map_err(|e| e.to_string());
        assert_eq!(e, Err("Invalid escape keys (ctrl-p,nope) provided: Unknown character: 'nope'".into()));
    }
}
