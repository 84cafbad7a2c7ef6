//! Streams between two threads, in chunks, bounded.

use crate::{ImageError, Result};
use std::{
    io::{self, Read},
    sync::mpsc::{Receiver, SyncSender, sync_channel},
};

/// Bytes of a chunk.
pub(crate) const CHUNK: usize = 256 * 1024;

/// Chunks that wait when a thread only reads ahead.
const AHEAD: usize = 4;

/// The end that is written: a chunk, or why there are no more.
pub(crate) type Sender = SyncSender<io::Result<Vec<u8>>>;

/// The end that is read.
pub(crate) struct Chunks {
    from: Receiver<io::Result<Vec<u8>>>,
    chunk: Vec<u8>,
    at: usize,
}

/// A stream of at most so many chunks that wait.
pub(crate) fn channel(chunks: usize) -> (Sender, Chunks) {
    let (sender, from) = sync_channel(chunks);
    (sender, Chunks { from, chunk: Vec::new(), at: 0 })
}

impl Chunks {
    /// Takes the rest, so that the other thread gets on.
    pub(crate) fn drain(&mut self) {
        while self.from.recv().is_ok() {}
    }
}

impl Read for Chunks {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.at == self.chunk.len() {
            match self.from.recv() {
                Ok(chunk) => (self.chunk, self.at) = (chunk?, 0),
                Err(_) => return Ok(0),
            }
        }
        let count = buffer.len().min(self.chunk.len() - self.at);
        buffer[..count].copy_from_slice(&self.chunk[self.at..self.at + count]);
        self.at += count;
        Ok(count)
    }
}

/// Has a thread of its own read `from`, a few chunks ahead of `work`, which reads what it has read.
pub(crate) fn read_ahead<T>(
    mut from: impl Read + Send,
    work: impl FnOnce(&mut Chunks) -> Result<T>,
) -> Result<T> {
    std::thread::scope(|scope| {
        let (sender, mut chunks) = channel(AHEAD);
        let reader =
            std::thread::Builder::new().name("image-inflate".into()).spawn_scoped(scope, move || {
                loop {
                    let mut chunk = Vec::with_capacity(CHUNK);
                    let read = (&mut from).take(CHUNK as u64).read_to_end(&mut chunk);
                    let last = read.as_ref().map_or(true, |&count| count == 0);
                    // Who works may have ended early, with an error of its own.
                    if sender.send(read.map(|_| chunk)).is_err() || last {
                        return;
                    }
                }
            });
        reader.map_err(|e| ImageError::Io { what: "start a thread".into(), source: e })?;
        let done = work(&mut chunks);
        drop(chunks);
        done
    })
}
