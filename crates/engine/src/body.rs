//! Bodies: bytes between a client's connection and blocking code, through a bounded queue.

use bytes::Bytes;
use std::io::{self, Read, Write};
use tokio::sync::mpsc;

/// Chunks on their way; a slower side holds the faster one up.
const QUEUE: usize = 16;
/// Bytes gathered before they are sent on.
const CHUNK: usize = 64 << 10;

/// A body as a stream of chunks. Blocking code reads it (`Read`), asynchronous code takes chunks (`next`).
#[derive(Debug)]
pub struct Body {
    chunks: mpsc::Receiver<io::Result<Bytes>>,
    rest: Bytes,
}

/// The writing end of a body that the engine makes.
#[derive(Debug)]
pub struct Writer {
    chunks: mpsc::Sender<io::Result<Bytes>>,
    gathered: Vec<u8>,
}

/// The end that a client's connection feeds.
pub type Sender = mpsc::Sender<io::Result<Bytes>>;

/// A body that blocking code writes.
pub fn channel() -> (Writer, Body) {
    let (sender, body) = feed();
    (Writer { chunks: sender, gathered: Vec::with_capacity(CHUNK) }, body)
}

/// A body that a client's connection feeds, chunk by chunk.
pub fn feed() -> (Sender, Body) {
    let (sender, chunks) = mpsc::channel(QUEUE);
    (sender, Body { chunks, rest: Bytes::new() })
}

impl Body {
    /// The next chunk; `None` at the end.
    pub async fn next(&mut self) -> Option<io::Result<Bytes>> {
        if !self.rest.is_empty() {
            return Some(Ok(std::mem::take(&mut self.rest)));
        }
        self.chunks.recv().await
    }
}

impl Read for Body {
    /// Blocks: never on a runtime's own thread.
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.rest.is_empty() {
            match self.chunks.blocking_recv() {
                Some(chunk) => self.rest = chunk?,
                None => return Ok(0),
            }
        }
        let n = out.len().min(self.rest.len());
        out[..n].copy_from_slice(&self.rest.split_to(n));
        Ok(n)
    }
}

impl Writer {
    fn send(&mut self) -> io::Result<()> {
        if self.gathered.is_empty() {
            return Ok(());
        }
        let chunk = Bytes::from(std::mem::replace(&mut self.gathered, Vec::with_capacity(CHUNK)));
        self.chunks.blocking_send(Ok(chunk)).map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))
    }

    /// Ends the body; an error is told to the reader.
    pub fn finish(mut self, result: io::Result<()>) {
        let last = match result {
            Ok(()) => self.send(),
            Err(e) => Err(e),
        };
        if let Err(e) = last {
            // The reader may have left: then nobody wants to know.
            let _ = self.chunks.blocking_send(Err(e));
        }
    }
}

impl Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.gathered.extend_from_slice(bytes);
        if self.gathered.len() >= CHUNK {
            self.send()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.send()
    }
}
