//! Frames over a stream of bytes, in both directions.

use std::io;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader, BufWriter},
    sync::mpsc,
};

/// Longest frame, in bytes. A transaction is at most half of it.
const LONGEST: usize = 16 << 20;
/// Frames that may wait in each direction: who sends more waits.
const WAITING: usize = 16;

/// A connection that carries whole frames in order. Ends when either half is dropped.
pub struct Link {
    pub(crate) sender: mpsc::Sender<Vec<u8>>,
    pub(crate) receiver: mpsc::Receiver<Vec<u8>>,
}

impl Link {
    /// Two ends that are connected: for simulations and tests.
    pub fn pair() -> (Link, Link) {
        let (to_there, from_here) = mpsc::channel(WAITING);
        let (to_here, from_there) = mpsc::channel(WAITING);
        (Link { sender: to_there, receiver: from_there }, Link { sender: to_here, receiver: from_here })
    }

    /// An end whose frames come and go by hand: for simulations, which double, reorder and lose them.
    pub fn of(sender: mpsc::Sender<Vec<u8>>, receiver: mpsc::Receiver<Vec<u8>>) -> Link {
        Link { sender, receiver }
    }

    /// Speaks over `io`, each frame after its length (u32, little-endian), until either end closes it.
    pub fn over(io: impl AsyncRead + AsyncWrite + Send + 'static) -> Link {
        let (reader, writer) = tokio::io::split(io);
        let (ours, theirs) = Link::pair();
        tokio::spawn(write_all(BufWriter::new(writer), theirs.receiver));
        tokio::spawn(read_all(BufReader::new(reader), theirs.sender));
        ours
    }
}

async fn write_all(mut to: impl AsyncWrite + Unpin, mut frames: mpsc::Receiver<Vec<u8>>) {
    let written = async {
        while let Some(frame) = frames.recv().await {
            // Nobody here makes longer ones: a transaction and a page of records are bounded.
            let length = u32::try_from(frame.len()).map_err(io::Error::other)?;
            to.write_all(&length.to_le_bytes()).await?;
            to.write_all(&frame).await?;
            if frames.is_empty() {
                to.flush().await?;
            }
        }
        to.shutdown().await
    };
    if let Err(error) = written.await {
        tracing::debug!(%error, "a store's connection cannot be written any more");
    }
}

async fn read_all(mut from: impl AsyncRead + Unpin, frames: mpsc::Sender<Vec<u8>>) {
    let read = async {
        loop {
            let mut length = [0; 4];
            if let Err(error) = from.read_exact(&mut length).await {
                return if error.kind() == io::ErrorKind::UnexpectedEof { Ok(()) } else { Err(error) };
            }
            let length = u32::from_le_bytes(length) as usize;
            if length > LONGEST {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "a frame is too long"));
            }
            // Grows with what really comes: a stranger's number reserves nothing.
            let mut frame = Vec::new();
            (&mut from).take(length as u64).read_to_end(&mut frame).await?;
            if frame.len() < length || frames.send(frame).await.is_err() {
                return Ok(());
            }
        }
    };
    tokio::select! {
        biased;
        read = read => if let Err(error) = read {
            tracing::debug!(%error, "a store's connection cannot be read any more");
        },
        () = frames.closed() => {}
    }
}
