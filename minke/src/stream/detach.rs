//! The keys that leave a container alone: `ctrl-p,ctrl-q` unless the user says others.

/// Docker's default.
pub(crate) const DEFAULT: &str = "ctrl-p,ctrl-q";

/// Reads `a`, `ctrl-x`, and lists of them. The error is docker's sentence.
pub(crate) fn parse(text: &str) -> Result<Vec<u8>, String> {
    if text.is_empty() {
        return Ok(Vec::new());
    }
    let unknown = |key: &str| format!("Unknown character: '{key}'");
    text.split(',')
        .map(|key| match key.strip_prefix("ctrl-") {
            Some(letter) => match letter.as_bytes() {
                [byte @ (b'a'..=b'z')] => Ok(byte - b'a' + 1),
                [b'@'] => Ok(0),
                [byte @ (b'[' | b'\\' | b']' | b'^' | b'_')] => Ok(byte - b'[' + 27),
                _ => Err(unknown(key)),
            },
            None => match key.as_bytes() {
                [byte] => Ok(*byte),
                b"DEL" => Ok(127),
                _ => Err(unknown(key)),
            },
        })
        .collect()
}

/// Watches what is typed for the keys.
pub(crate) struct Watch {
    keys: Vec<u8>,
    matched: usize,
}

impl Watch {
    /// A watch for `keys`; without any it never fires.
    pub(crate) fn new(keys: Vec<u8>) -> Self {
        Self { keys, matched: 0 }
    }

    /// What of `typed` goes to the container, and whether the keys were complete. A first part of the
    /// keys is held back until it is known not to be them.
    pub(crate) fn pass(&mut self, typed: &[u8]) -> (Vec<u8>, bool) {
        if self.keys.is_empty() {
            return (typed.to_vec(), false);
        }
        let mut passed = Vec::with_capacity(typed.len());
        for &byte in typed {
            if byte == self.keys[self.matched] {
                self.matched += 1;
                if self.matched == self.keys.len() {
                    return (passed, true);
                }
                continue;
            }
            passed.extend_from_slice(&self.keys[..self.matched]);
            self.matched = usize::from(byte == self.keys[0]);
            if self.matched == 0 {
                passed.push(byte);
            }
        }
        (passed, false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read() {
        assert_eq!(parse(DEFAULT), Ok(vec![16, 17]));
        assert_eq!(parse("a,DEL,ctrl-@,ctrl-\\"), Ok(vec![b'a', 127, 0, 28]));
        assert!(parse("ctrl-").is_err() && parse("ab").is_err());
    }

    #[test]
    fn the_keys_are_caught_and_all_else_passes() {
        let mut watch = Watch::new(vec![16, 17]);
        assert_eq!(watch.pass(b"ab\x10"), (b"ab".to_vec(), false));
        assert_eq!(watch.pass(b"c"), (b"\x10c".to_vec(), false));
        assert_eq!(watch.pass(b"\x10\x10\x11x"), (b"\x10".to_vec(), true));
        assert_eq!(Watch::new(Vec::new()).pass(b"\x10\x11"), (b"\x10\x11".to_vec(), false));
    }
}
