//! Streams from one thread to another, through the kernel's pipes: bounded, and no memory of ours.

use crate::{ImageError, Result};
use std::io::{self, PipeReader, PipeWriter, Read, Write};

/// Bytes that wait when a thread only reads ahead.
const AHEAD: usize = 1 << 20;

/// Bytes that are handed over at once.
const PIECE: usize = 64 * 1024;

/// A pipe that holds so many bytes, or as many as the kernel allows.
pub(crate) fn channel(bytes: usize) -> Result<(PipeReader, PipeWriter)> {
    let (reader, writer) =
        io::pipe().map_err(|source| ImageError::Io { what: "make a pipe".into(), source })?;
    if let Err(error) = rustix::pipe::fcntl_setpipe_size(&writer, bytes) {
        tracing::debug!(%error, bytes, "a pipe keeps its usual size");
    }
    Ok((reader, writer))
}

/// Has a thread of its own read `from`, a little ahead of `work`, which reads what it has read.
pub(crate) fn read_ahead<T>(
    mut from: impl Read + Send,
    work: impl FnOnce(&mut PipeReader) -> Result<T>,
) -> Result<T> {
    let (mut reader, mut writer) = channel(AHEAD)?;
    std::thread::scope(|scope| {
        let copy = move || -> io::Result<()> {
            let mut piece = vec![0; PIECE];
            loop {
                let count = match from.read(&mut piece) {
                    Ok(0) => return Ok(()),
                    Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                    other => other?,
                };
                // Who works may have ended early, with an error of its own.
                if writer.write_all(&piece[..count]).is_err() {
                    return Ok(());
                }
            }
        };
        let copy = std::thread::Builder::new().name("image-inflate".into()).spawn_scoped(scope, copy);
        let copy = copy.map_err(|source| ImageError::Io { what: "start a thread".into(), source })?;
        let done = work(&mut reader);
        drop(reader);
        match copy.join() {
            Ok(Ok(())) => done,
            // To who works, the stream only ended too early.
            Ok(Err(error)) => Err(ImageError::reading(error)),
            Err(_) => {
                Err(ImageError::Io { what: "inflate".into(), source: io::Error::other("a thread ended") })
            }
        }
    })
}
