//! Answers: JSON, bytes, and streams that are sent as they come.

use crate::error::{ApiError, Result};
use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, stream};
use http::{HeaderValue, Response, StatusCode, header};
use http_body::{Body, Frame, SizeHint};
use serde::Serialize;
use std::{
    convert::Infallible,
    future::Future,
    io,
    pin::Pin,
    task::{Context, Poll},
};

/// What an answer carries.
pub(crate) enum Payload {
    /// All of it, at once.
    Whole(Bytes),
    /// Chunks as they come; an error cuts the connection, so that the client sees that it is not all.
    Chunks(Pin<Box<dyn Stream<Item = io::Result<Bytes>> + Send>>),
    /// A call's answer, with trailers.
    Call(tonic::body::Body),
}

/// What handlers return.
pub(crate) type Answer = Response<Payload>;

impl Body for Payload {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        match self.get_mut() {
            Payload::Whole(bytes) if bytes.is_empty() => Poll::Ready(None),
            Payload::Whole(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Payload::Chunks(stream) => {
                stream.poll_next_unpin(cx).map(|chunk| chunk.map(|c| c.map(Frame::data)))
            }
            Payload::Call(body) => Pin::new(body).poll_frame(cx).map_err(io::Error::other),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Payload::Whole(bytes) => bytes.is_empty(),
            Payload::Chunks(_) => false,
            Payload::Call(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Payload::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Payload::Chunks(_) | Payload::Call(_) => SizeHint::default(),
        }
    }
}

/// A status and nothing more.
pub(crate) fn empty(status: StatusCode) -> Answer {
    let mut answer = Response::new(Payload::Whole(Bytes::new()));
    *answer.status_mut() = status;
    answer
}

/// JSON of any status, ended by a line feed as Go's encoder does.
pub(crate) fn json<T: Serialize>(status: StatusCode, value: &T) -> Result<Answer> {
    let mut bytes = serde_json::to_vec(value)
        .map_err(|e| ApiError::internal(format!("cannot encode the answer: {e}")))?;
    bytes.push(b'\n');
    Ok(whole(status, "application/json", bytes))
}

/// Bytes of a type.
pub(crate) fn whole(status: StatusCode, kind: &'static str, bytes: impl Into<Bytes>) -> Answer {
    let mut answer = empty(status);
    *answer.body_mut() = Payload::Whole(bytes.into());
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    answer
}

/// A stream of a type; its head is sent at once.
pub(crate) fn chunks(
    kind: &'static str,
    stream: impl Stream<Item = io::Result<Bytes>> + Send + 'static,
) -> Answer {
    let mut answer = empty(StatusCode::OK);
    *answer.body_mut() = Payload::Chunks(Box::pin(stream));
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    answer
}

/// A stream from a state and a step that gives the next chunk.
pub(crate) fn steps<S, F, R>(state: S, step: F) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static
where
    S: Send + 'static,
    F: FnMut(S) -> R + Send + 'static,
    R: Future<Output = Option<(io::Result<Bytes>, S)>> + Send + 'static,
{
    stream::unfold(state, step)
}

/// `{"message": …}` and its status.
pub(crate) fn error(e: &ApiError) -> Answer {
    if e.status == StatusCode::NOT_MODIFIED {
        return empty(e.status);
    }
    let body = serde_json::json!({ "message": e.message });
    json(e.status, &body).unwrap_or_else(|_| empty(e.status))
}

/// One line of a JSON stream.
pub(crate) fn line<T: Serialize>(value: &T) -> Bytes {
    let mut bytes = serde_json::to_vec(value).unwrap_or_default();
    bytes.push(b'\n');
    bytes.into()
}

/// A service that never fails: failures are answers.
pub(crate) type Served = std::result::Result<Answer, Infallible>;
