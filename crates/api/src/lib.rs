//! The door: HTTP and Docker's JSON, as dockerd 28.5 speaks them (Engine API 1.24 to 1.51), nowhere else.
//!
//! A request goes from `server` (connections) through `router` (which endpoint) and `version` (raised to the newest)
//! to a handler in `routes`; `wire` turns Docker's shapes into our model and back; `error` makes a status of a kind;
//! `stream` and `websocket` carry bytes of attached clients; `buildkit` is a second protocol on the same door. Never:
//! decides what a machine does, touches a kernel, or keeps anything that outlives its clients but the last builds'
//! history. Start at `routes/mod.rs`.

mod buildkit;
pub mod error;
mod frames;
mod query;
mod request;
mod response;
mod router;
mod routes;
mod server;
mod socket;
mod stream;
pub mod swarm;
pub mod tls;
mod version;
mod websocket;
mod wire;

pub use buildkit::remote;
pub use server::Listener;
pub use version::{NEWEST, OLDEST};
pub use wire::system::{DOCKER, VersionInfo};

use minke_engine::Engine;
use routes::Routes;
use std::{future::Future, io, sync::Arc};
use swarm::Door;

/// How the API presents the daemon.
#[derive(Clone, Debug)]
pub struct ServerOptions {
    /// What the binary knows of itself.
    pub version: VersionInfo,
}

/// The API of one engine.
#[derive(Clone)]
pub struct Server {
    routes: Arc<Routes>,
}

impl Server {
    /// Of an engine that is open, and of the door to the cluster that it may be in.
    pub fn new(engine: Arc<Engine>, options: ServerOptions, door: Arc<dyn Door>) -> Self {
        Self { routes: Arc::new(Routes::new(engine, options, door)) }
    }

    /// Serves the clients of one listener until `shutdown`, then ends what is under way. Several listeners: several calls.
    pub async fn serve(&self, listener: Listener, shutdown: impl Future<Output = ()>) -> io::Result<()> {
        server::serve(self.routes.clone(), listener, shutdown).await
    }
}
