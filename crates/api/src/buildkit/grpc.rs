//! gRPC over connections that are there already: as a server for BuildKit's clients, as a client of their sessions.
//!
//! Which method a path means is `service.rs`'s. Never: opens a connection.

use futures_util::Stream;
use http::{Request, Response, Uri, uri::PathAndQuery};
use hyper::{
    body::Incoming,
    client::conn::http2::{self, SendRequest},
};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use prost::Message;
use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};
use tokio::io::{AsyncRead, AsyncWrite};
use tonic::{
    Status, Streaming,
    body::Body,
    client, server,
    server::{ServerStreamingService, StreamingService, UnaryService},
};
use tonic_prost::ProstCodec;

/// The largest message, bytes (BuildKit's own bound: containerd's `DefaultMaxRecvMsgSize`).
const MOST_MESSAGE: usize = 16 << 20;
/// A client that says nothing is asked this often whether it is there, and given this long to say so.
const ASK_ALIVE: Duration = Duration::from_secs(15);
/// How much of one stream may be under way.
const STREAM_WINDOW: u32 = 2 << 20;
/// How much of one connection may be under way.
const CONNECTION_WINDOW: u32 = 8 << 20;

/// An answer, with its trailers still to come.
pub(crate) type Reply = Response<Body>;

/// Messages that a method answers with.
pub(crate) type Pieces<O> = Pin<Box<dyn Stream<Item = Result<O, Status>> + Send>>;

/// Messages that come, and messages that go.
trait Said: Message + Default + Send + 'static {}
impl<T: Message + Default + Send + 'static> Said for T {}

type Answering<O> = Pin<Box<dyn Future<Output = Result<tonic::Response<O>, Status>> + Send>>;

/// A handler of one call: tonic calls it once, by a reference.
struct Handler<F>(Option<F>);

impl<F> Handler<F> {
    fn call<I, O, A>(&mut self, request: I) -> Answering<O>
    where
        F: FnOnce(I) -> A,
        A: Future<Output = Result<O, Status>> + Send + 'static,
        O: Send + 'static,
    {
        match self.0.take() {
            Some(answer) => {
                let answer = answer(request);
                Box::pin(async move { answer.await.map(tonic::Response::new) })
            }
            None => Box::pin(async { Err(Status::internal("called twice")) }),
        }
    }
}

struct One<F>(Handler<F>);

impl<F, I, O, A> UnaryService<I> for One<F>
where
    F: FnOnce(tonic::Request<I>) -> A,
    A: Future<Output = Result<O, Status>> + Send + 'static,
    O: Send + 'static,
{
    type Response = O;
    type Future = Answering<O>;

    fn call(&mut self, request: tonic::Request<I>) -> Self::Future {
        self.0.call(request)
    }
}

struct Many<F>(Handler<F>);

impl<F, I, O, A> ServerStreamingService<I> for Many<F>
where
    F: FnOnce(tonic::Request<I>) -> A,
    A: Future<Output = Result<Pieces<O>, Status>> + Send + 'static,
    O: 'static,
{
    type Response = O;
    type ResponseStream = Pieces<O>;
    type Future = Answering<Pieces<O>>;

    fn call(&mut self, request: tonic::Request<I>) -> Self::Future {
        self.0.call(request)
    }
}

struct Both<F>(Handler<F>);

impl<F, I, O, A> StreamingService<I> for Both<F>
where
    F: FnOnce(tonic::Request<Streaming<I>>) -> A,
    A: Future<Output = Result<Pieces<O>, Status>> + Send + 'static,
    O: 'static,
{
    type Response = O;
    type ResponseStream = Pieces<O>;
    type Future = Answering<Pieces<O>>;

    fn call(&mut self, request: tonic::Request<Streaming<I>>) -> Self::Future {
        self.0.call(request)
    }
}

fn server<I: Said, O: Said>() -> server::Grpc<ProstCodec<O, I>> {
    server::Grpc::new(ProstCodec::default()).max_decoding_message_size(MOST_MESSAGE)
}

/// One message for one.
pub(crate) async fn unary<I, O, A>(
    request: Request<Incoming>,
    answer: impl FnOnce(tonic::Request<I>) -> A + Send,
) -> Reply
where
    I: Message + Default + Send + 'static,
    O: Message + Default + Send + 'static,
    A: Future<Output = Result<O, Status>> + Send + 'static,
{
    server::<I, O>().unary(One(Handler(Some(answer))), request).await
}

/// Many messages for one.
pub(crate) async fn server_streaming<I, O, A>(
    request: Request<Incoming>,
    answer: impl FnOnce(tonic::Request<I>) -> A + Send,
) -> Reply
where
    I: Message + Default + Send + 'static,
    O: Message + Default + Send + 'static,
    A: Future<Output = Result<Pieces<O>, Status>> + Send + 'static,
{
    server::<I, O>().server_streaming(Many(Handler(Some(answer))), request).await
}

/// Many messages for many.
pub(crate) async fn streaming<I, O, A>(
    request: Request<Incoming>,
    answer: impl FnOnce(tonic::Request<Streaming<I>>) -> A + Send,
) -> Reply
where
    I: Message + Default + Send + 'static,
    O: Message + Default + Send + 'static,
    A: Future<Output = Result<Pieces<O>, Status>> + Send + 'static,
{
    server::<I, O>().streaming(Both(Handler(Some(answer))), request).await
}

/// Nothing here answers to that path.
pub(crate) fn unknown(path: &str) -> Reply {
    Status::unimplemented(format!("unknown method {path}")).into_http()
}

/// A client's side of a connection on which the other end serves.
#[derive(Clone, Debug)]
pub(crate) struct Channel(SendRequest<Body>);

impl tower_service::Service<Request<Body>> for Channel {
    type Response = Response<Incoming>;
    type Error = hyper::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Incoming>, hyper::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), hyper::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        Box::pin(self.0.send_request(request))
    }
}

impl Channel {
    /// On a connection; the future carries it until it ends.
    pub(crate) async fn over<S>(
        io: S,
    ) -> hyper::Result<(Self, impl Future<Output = hyper::Result<()>> + Send + 'static)>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let (send, connection) = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .keep_alive_interval(ASK_ALIVE)
            .keep_alive_timeout(ASK_ALIVE)
            .keep_alive_while_idle(true)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .handshake(TokioIo::new(io))
            .await?;
        Ok((Self(send), connection))
    }

    fn grpc(&self) -> client::Grpc<Self> {
        client::Grpc::with_origin(self.clone(), Uri::from_static("http://localhost"))
            .max_decoding_message_size(MOST_MESSAGE)
    }

    /// Asks for one message by one.
    pub(crate) async fn unary<I, O>(
        &self,
        path: &'static str,
        request: impl tonic::IntoRequest<I>,
    ) -> Result<O, Status>
    where
        I: Message + Default + Send + Sync + 'static,
        O: Message + Default + Send + Sync + 'static,
    {
        let mut grpc = self.grpc();
        grpc.ready().await.map_err(gone)?;
        let codec = ProstCodec::<I, O>::default();
        let answer = grpc.unary(request.into_request(), PathAndQuery::from_static(path), codec).await?;
        Ok(answer.into_inner())
    }

    /// Opens a stream of messages in both directions.
    pub(crate) async fn streaming<I, O>(
        &self,
        path: &'static str,
        request: tonic::Request<impl Stream<Item = I> + Send + 'static>,
    ) -> Result<Streaming<O>, Status>
    where
        I: Message + Default + Send + Sync + 'static,
        O: Message + Default + Send + Sync + 'static,
    {
        let mut grpc = self.grpc();
        grpc.ready().await.map_err(gone)?;
        let codec = ProstCodec::<I, O>::default();
        Ok(grpc.streaming(request, PathAndQuery::from_static(path), codec).await?.into_inner())
    }
}

fn gone(e: hyper::Error) -> Status {
    Status::unavailable(format!("the client's session has ended: {e}"))
}
