//! Passes bytes on between two streams, both ways, each half to its own end.

use tokio::io::{AsyncRead, AsyncWrite, copy_bidirectional};

/// Until both halves have ended.
pub(super) async fn both_ways(
    mut one: impl AsyncRead + AsyncWrite + Unpin,
    mut other: impl AsyncRead + AsyncWrite + Unpin,
) {
    if let Err(e) = copy_bidirectional(&mut one, &mut other).await {
        tracing::debug!("a stream that was passed on ended: {e}");
    }
}
