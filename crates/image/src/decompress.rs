//! Finds out how a stream is compressed, from its first bytes, and inflates it.
//!
//! gzip (several members too), zstd (several frames too), bzip2 and xz, as Docker takes them; anything else is taken
//! as it is. What is declared elsewhere, in a media type or a file's name, is not asked: it lies too often.

use crate::{ImageError, Result};
use std::io::{self, BufRead, BufReader, Cursor, Read};

/// zstd windows larger than 128 MiB are refused: they take that much memory.
const MAX_WINDOW_LOG: u32 = 27;

/// Memory for xz, in KiB.
const MAX_XZ_KIB: u32 = 128 * 1024;

/// How a stream is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Compression {
    /// Not at all.
    None,
    /// RFC 1952.
    Gzip,
    /// RFC 8878.
    Zstd,
    /// bzip2.
    Bzip2,
    /// xz.
    Xz,
}

/// Longest magic number.
pub(crate) const MAGIC: usize = 6;

impl Compression {
    /// From the first bytes.
    pub(crate) fn of(head: &[u8]) -> Self {
        match head {
            [0x1f, 0x8b, ..] => Compression::Gzip,
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Compression::Zstd,
            [b'B', b'Z', b'h', ..] => Compression::Bzip2,
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Compression::Xz,
            _ => Compression::None,
        }
    }

    /// Inflates `stream`, whose compression this is.
    pub(crate) fn inflate<'a>(self, stream: impl BufRead + Send + 'a) -> Result<Box<dyn Read + Send + 'a>> {
        Ok(match self {
            Compression::None => Box::new(stream),
            Compression::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(stream)),
            Compression::Zstd => {
                let fail = |e| ImageError::Stream { what: "inflate zstd".into(), source: e };
                let mut decoder = zstd::Decoder::with_buffer(stream).map_err(fail)?;
                decoder.window_log_max(MAX_WINDOW_LOG).map_err(fail)?;
                Box::new(Zstd(decoder))
            }
            Compression::Bzip2 => Box::new(bzip2::bufread::MultiBzDecoder::new(stream)),
            Compression::Xz => Box::new(lzma_rust2::XzReader::new_mem_limit(stream, true, MAX_XZ_KIB)),
        })
    }
}

/// zstd's errors are of the kind `Other`; what is wrong is the data.
struct Zstd<R: BufRead>(zstd::Decoder<'static, R>);

impl<R: BufRead> Read for Zstd<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer).map_err(|e| match e.kind() {
            io::ErrorKind::Other if e.raw_os_error().is_none() => {
                io::Error::new(io::ErrorKind::InvalidData, e)
            }
            _ => e,
        })
    }
}

/// The stream's compression, and the stream with the bytes that were looked at.
pub(crate) fn sniff<R: Read>(
    mut stream: R,
) -> Result<(Compression, BufReader<io::Chain<Cursor<Vec<u8>>, R>>)> {
    let mut head = Vec::with_capacity(MAGIC);
    (&mut stream)
        .take(MAGIC as u64)
        .read_to_end(&mut head)
        .map_err(|source| ImageError::Stream { what: "read the archive".into(), source })?;
    let compression = Compression::of(&head);
    Ok((compression, BufReader::with_capacity(64 * 1024, Cursor::new(head).chain(stream))))
}

#[cfg(test)]
mod tests;
