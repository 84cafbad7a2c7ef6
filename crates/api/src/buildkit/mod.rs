//! BuildKit's protocol: builds by gRPC, as buildx, bake and Compose ask for them.
//!
//! A client opens two connections: one on which it asks (`/grpc`, or gRPC on the API's own HTTP/2), one on which it
//! serves us its files (`/session`, `sessions.rs`). `service.rs` finds the method. A build is asked for by
//! `Control/Solve` (`control.rs`), mostly as an empty one that waits until the client, by `LLBBridge` (`bridge.rs`),
//! has had its Dockerfile built and returns the result. Never: builds anything, or keeps a file.
//! Start at `service.rs`, then `control.rs`.

mod attrs;
mod blobs;
pub(crate) mod both;
mod bridge;
mod client;
mod control;
mod fault;
mod grpc;
mod history;
mod jobs;
pub(crate) mod journal;
mod mode;
mod proto;
mod provenance;
mod questions;
mod receive;
pub mod remote;
mod send;
mod service;
mod sessions;
mod worker;

use crate::{
    error::{ApiError, Result},
    socket::{Socket, Takeover},
};
use futures_util::FutureExt as _;
use grpc::Reply;
use history::History;
use http::{HeaderMap, Request, header};
use hyper::{body::Incoming, server::conn::http2, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use jobs::Jobs;
use minke_engine::Engine;
use sessions::{Hello, Sessions};
use std::{convert::Infallible, sync::Arc};
use tokio::io::AsyncWriteExt as _;

/// Calls of one connection at a time.
const MOST_CALLS: u32 = 256;
/// The head that makes a connection one of HTTP/2 (moby `api/server/router/grpc`).
const UPGRADED: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n";

/// BuildKit's services of one engine.
pub(crate) struct Buildkit {
    engine: Arc<Engine>,
    sessions: Arc<Sessions>,
    jobs: Jobs,
}

impl Buildkit {
    pub(crate) fn new(engine: Arc<Engine>) -> Arc<Self> {
        let jobs = Jobs::new(History::open(engine.builds.past().clone()));
        Arc::new(Self { engine, sessions: Arc::default(), jobs })
    }

    /// `POST /grpc`: the connection becomes one on which we are called.
    pub(crate) fn take_calls(self: Arc<Self>, fields: &HeaderMap, takeover: Option<&Takeover>) -> Result<()> {
        check_upgrade(fields)?;
        let takeover = takeover.ok_or_else(no_takeover)?;
        takeover.claim(Box::new(move |mut socket| {
            Box::pin(async move {
                // A client that is gone hears nothing.
                if socket.write_all(UPGRADED).await.is_ok() {
                    self.serve(socket).await;
                }
            })
        }));
        Ok(())
    }

    /// `POST /session`: the connection becomes one on which we call.
    pub(crate) fn take_session(
        self: Arc<Self>,
        fields: &HeaderMap,
        takeover: Option<&Takeover>,
    ) -> Result<()> {
        check_upgrade(fields)?;
        let takeover = takeover.ok_or_else(no_takeover)?;
        let hello = Hello::read(fields).map_err(ApiError::invalid)?;
        self.sessions.check(&hello.id).map_err(ApiError::invalid)?;
        takeover.claim(Box::new(move |mut socket| {
            Box::pin(async move {
                if socket.write_all(UPGRADED).await.is_err() {
                    return;
                }
                if let Err(e) = self.sessions.carry(hello, socket).await {
                    tracing::debug!("{e}");
                }
            })
        }));
        Ok(())
    }

    async fn serve(self: Arc<Self>, socket: Socket) {
        let service = service_fn(move |request: Request<Incoming>| {
            let calls = self.clone();
            async move { Ok::<Reply, Infallible>(calls.call(request).await) }.boxed()
        });
        let connection = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .max_concurrent_streams(MOST_CALLS)
            .serve_connection(TokioIo::new(socket), service);
        if let Err(e) = connection.await {
            tracing::debug!("a connection for builds ended: {e}");
        }
    }
}

/// Whether a request is a call.
pub(crate) fn is_call(fields: &HeaderMap) -> bool {
    let kind = fields.get(header::CONTENT_TYPE).map(|value| value.as_bytes());
    kind.is_some_and(|kind| kind.starts_with(b"application/grpc"))
}

fn no_takeover() -> ApiError {
    ApiError::invalid("handler does not support hijack")
}

fn check_upgrade(fields: &HeaderMap) -> Result<()> {
    match fields.get(header::UPGRADE).map(|value| value.as_bytes()) {
        None | Some(b"") => Err(ApiError::invalid("no upgrade proto in request")),
        Some(b"h2c") => Ok(()),
        Some(other) => {
            let other = String::from_utf8_lossy(other);
            Err(ApiError::invalid(format!("protocol {other} not supported")))
        }
    }
}
