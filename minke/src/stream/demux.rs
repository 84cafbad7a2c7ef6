//! Docker's multiplexed stream: frames of stdout and stderr on one wire.
//!
//! A frame is a stream number, three zero bytes, a big-endian length, and so many bytes. Frames that
//! arrive together are written together: a log of short lines costs few writes.

use std::io::{self, Read, Write};

/// Bytes read at once.
const CHUNK: usize = 64 * 1024;

/// Bytes of a frame's head.
const HEAD: usize = 8;

/// Copies frames to `out` and `err` until the stream ends.
pub(crate) fn copy(mut from: impl Read, out: &mut dyn Write, err: &mut dyn Write) -> io::Result<()> {
    let mut buffer = vec![0; CHUNK];
    let mut demux = Demux::default();
    loop {
        let count = match from.read(&mut buffer) {
            Ok(0) if demux.is_whole() => return Ok(()),
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        demux.feed(&buffer[..count], out, err)?;
    }
}

/// Where in the frames the stream is.
#[derive(Default)]
pub(crate) struct Demux {
    head: [u8; HEAD],
    head_length: usize,
    left: usize,
    pending: Vec<u8>,
    pending_stream: u8,
}

impl Demux {
    /// Whether it stands between two frames.
    fn is_whole(&self) -> bool {
        self.head_length == 0 && self.left == 0
    }

    /// Takes in the next bytes and writes what they hold.
    pub(crate) fn feed(
        &mut self,
        mut bytes: &[u8],
        out: &mut dyn Write,
        err: &mut dyn Write,
    ) -> io::Result<()> {
        while !bytes.is_empty() {
            if self.left == 0 {
                let count = bytes.len().min(HEAD - self.head_length);
                self.head[self.head_length..self.head_length + count].copy_from_slice(&bytes[..count]);
                self.head_length += count;
                bytes = &bytes[count..];
                if self.head_length < HEAD {
                    break;
                }
                self.head_length = 0;
                self.left =
                    u32::from_be_bytes([self.head[4], self.head[5], self.head[6], self.head[7]]) as usize;
                let stream = self.head[0];
                if stream > 3 {
                    return Err(io::Error::new(
                        io::ErrorKind::InvalidData,
                        format!("Unrecognized input header: {stream}"),
                    ));
                }
                if stream != self.pending_stream {
                    self.flush(out, err)?;
                    self.pending_stream = stream;
                }
                continue;
            }
            let count = bytes.len().min(self.left);
            self.pending.extend_from_slice(&bytes[..count]);
            self.left -= count;
            bytes = &bytes[count..];
        }
        self.flush(out, err)
    }

    fn flush(&mut self, out: &mut dyn Write, err: &mut dyn Write) -> io::Result<()> {
        if self.pending.is_empty() {
            return Ok(());
        }
        match self.pending_stream {
            0 | 1 => out.write_all(&self.pending)?,
            2 => err.write_all(&self.pending)?,
            _ => {
                return Err(io::Error::other(format!(
                    "error from daemon in stream: {}",
                    String::from_utf8_lossy(&self.pending)
                )));
            }
        }
        self.pending.clear();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(stream: u8, text: &str) -> Vec<u8> {
        let mut frame = vec![stream, 0, 0, 0];
        frame.extend((text.len() as u32).to_be_bytes());
        frame.extend(text.as_bytes());
        frame
    }

    /// Gives one byte a read.
    struct Slow(Vec<u8>, usize);
    impl Read for Slow {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let Some(byte) = self.0.get(self.1) else { return Ok(0) };
            buffer[0] = *byte;
            self.1 += 1;
            Ok(1)
        }
    }

    #[test]
    fn frames_go_to_their_streams_however_they_arrive() {
        let wire = [frame(1, "out"), frame(2, "err"), frame(1, ""), frame(1, "more")].concat();
        for slow in [false, true] {
            let (mut out, mut err) = (Vec::new(), Vec::new());
            let from: Box<dyn Read> =
                if slow { Box::new(Slow(wire.clone(), 0)) } else { Box::new(&wire[..]) };
            copy(from, &mut out, &mut err).unwrap();
            assert_eq!((out, err), (b"outmore".to_vec(), b"err".to_vec()));
        }
    }

    #[test]
    fn a_torn_frame_is_an_error() {
        let wire = frame(1, "whole");
        assert!(copy(&wire[..10], &mut Vec::new(), &mut Vec::new()).is_err());
        assert!(copy(&[9u8, 0, 0, 0, 0, 0, 0, 1, 1][..], &mut Vec::new(), &mut Vec::new()).is_err());
        let told = copy(&frame(3, "it broke")[..], &mut Vec::new(), &mut Vec::new()).unwrap_err();
        assert_eq!(told.to_string(), "error from daemon in stream: it broke");
    }
}
