//! Docker's frames: how one stream of bytes carries a process' output and its errors.
//!
//! The process' side speaks in frames unless it has a terminal. What a client wants is its own word, so frames are kept,
//! put around, or taken off on the way.

/// Bytes before a frame's payload.
const HEAD: usize = 8;

/// Docker's frame: stream number, three zeros, length.
pub(crate) fn head(stream: u8, length: usize) -> [u8; HEAD] {
    let length = u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes();
    [stream, 0, 0, 0, length[0], length[1], length[2], length[3]]
}

/// What becomes of a process' frames on their way to a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    /// Both sides speak alike.
    Keep,
    /// A terminal's raw bytes become frames of output.
    Add,
    /// Frames become raw bytes.
    Remove,
}

impl Framing {
    /// For one stream of bytes, from its beginning.
    pub(crate) fn framer(self) -> Framer {
        Framer { framing: self, frames: Frames::default() }
    }
}

/// A [`Framing`] at work.
#[derive(Debug)]
pub(crate) struct Framer {
    framing: Framing,
    frames: Frames,
}

impl Framer {
    /// What the client gets for the process' next bytes.
    pub(crate) fn pass(&mut self, bytes: Vec<u8>) -> Vec<u8> {
        match self.framing {
            Framing::Add if !bytes.is_empty() => [&head(1, bytes.len())[..], &bytes].concat(),
            Framing::Keep | Framing::Add => bytes,
            Framing::Remove => self.frames.payload(&bytes),
        }
    }
}

/// Takes frames apart, wherever the bytes are cut.
#[derive(Debug, Default)]
struct Frames {
    head: Vec<u8>,
    left: usize,
}

impl Frames {
    /// What the frames in `bytes` hold; a frame may be spread over several calls.
    fn payload(&mut self, mut bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(bytes.len());
        while !bytes.is_empty() {
            if self.left > 0 {
                let n = self.left.min(bytes.len());
                out.extend_from_slice(&bytes[..n]);
                self.left -= n;
                bytes = &bytes[n..];
                continue;
            }
            let n = (HEAD - self.head.len()).min(bytes.len());
            self.head.extend_from_slice(&bytes[..n]);
            bytes = &bytes[n..];
            if let [_, _, _, _, a, b, c, d] = self.head[..] {
                self.left = u32::from_be_bytes([a, b, c, d]) as usize;
                self.head.clear();
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_taken_apart_wherever_they_are_cut() {
        let mut wire = Vec::new();
        for (stream, text) in [(1u8, "out"), (2, ""), (2, "error")] {
            wire.extend_from_slice(&head(stream, text.len()));
            wire.extend_from_slice(text.as_bytes());
        }
        for cut in 1..wire.len() {
            let mut framer = Framing::Remove.framer();
            let got: Vec<u8> = wire.chunks(cut).flat_map(|c| framer.pass(c.to_vec())).collect();
            assert_eq!(got, b"outerror", "cut by {cut}");
        }
    }

    #[test]
    fn a_terminals_bytes_become_frames_of_output() {
        let mut framer = Framing::Add.framer();
        assert_eq!(framer.pass(b"hello\r\n".to_vec()), b"\x01\0\0\0\0\0\0\x07hello\r\n");
        assert_eq!(framer.pass(Vec::new()), b"", "an end is no empty frame");
        assert_eq!(Framing::Keep.framer().pass(b"raw".to_vec()), b"raw");
    }
}
