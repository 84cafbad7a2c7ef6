//! Messages on a stream: JSON with its length before it.

use super::TransportError;
use serde::{Serialize, de::DeserializeOwned};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

/// Longest message, in bytes.
const LONGEST: usize = 4 << 20;

/// Writes one.
///
/// # Errors
/// When the stream is gone, or the message too long.
pub async fn write<T: Serialize>(
    stream: &mut (impl AsyncWrite + Unpin),
    message: &T,
) -> Result<(), TransportError> {
    let body = serde_json::to_vec(message)?;
    if body.len() > LONGEST {
        return Err(TransportError::Protocol("a message is too long"));
    }
    let mut bytes = (body.len() as u32).to_be_bytes().to_vec();
    bytes.extend_from_slice(&body);
    stream.write_all(&bytes).await?;
    stream.flush().await?;
    Ok(())
}

/// Reads one. Not to be dropped half way: what was read is gone then.
///
/// # Errors
/// When the stream has ended, or what came is no such message.
pub async fn read<T: DeserializeOwned>(stream: &mut (impl AsyncRead + Unpin)) -> Result<T, TransportError> {
    let length = stream.read_u32().await? as usize;
    if length > LONGEST {
        return Err(TransportError::Protocol("a message is too long"));
    }
    let mut body = Vec::new();
    // Grows with what really comes, not with what was announced.
    stream.take(length as u64).read_to_end(&mut body).await?;
    if body.len() < length {
        return Err(TransportError::Protocol("a message ends early"));
    }
    Ok(serde_json::from_slice(&body)?)
}

/// One question, one answer.
///
/// # Errors
/// As [`write()`] and [`read`].
pub async fn ask<Q: Serialize, A: DeserializeOwned>(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    question: &Q,
) -> Result<A, TransportError> {
    write(stream, question).await?;
    stream.shutdown().await?;
    read(stream).await
}
