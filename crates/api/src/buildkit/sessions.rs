//! Clients' sessions: connections on which they serve us their files, credentials and secrets.
//!
//! A session comes by `POST /session` or by `Control/Session`, and lives as long as its connection. Builds name it.

use super::grpc::Channel;
use http::{HeaderMap, HeaderValue};
use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::watch,
};
use tonic::Status;

/// How long a build waits for the session that it names (BuildKit's `local` source waits as long).
const PATIENCE: Duration = Duration::from_secs(5);
/// Sessions at a time.
const MOST_SESSIONS: usize = 1024;
/// Methods that a client may name, and the length of its names.
const MOST_METHODS: usize = 256;
const LONGEST_NAME: usize = 1024;

/// What a client says of its session before it begins (BuildKit `session/session.go`).
#[derive(Clone, Debug)]
pub(crate) struct Hello {
    /// Its name, chosen by the client.
    pub(crate) id: String,
    /// What its directories are kept under between builds.
    pub(crate) shared_key: String,
    /// What it serves, as paths in lower case.
    methods: HashSet<String>,
}

impl Hello {
    /// From a request's fields.
    pub(crate) fn read(fields: &HeaderMap) -> Result<Self, String> {
        let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        let one = |name: &str| fields.get(name).map(text).unwrap_or_default();
        let id = one("x-docker-expose-session-uuid");
        if id.is_empty() || id.len() > LONGEST_NAME {
            return Err("a session needs an id in X-Docker-Expose-Session-Uuid".into());
        }
        let shared_key = one("x-docker-expose-session-sharedkey");
        if shared_key.len() > LONGEST_NAME {
            return Err(format!("the session's shared key is longer than {LONGEST_NAME} bytes"));
        }
        let methods = fields.get_all("x-docker-expose-session-grpc-method").iter().take(MOST_METHODS);
        Ok(Self { id, shared_key, methods: methods.map(|v| text(v).to_lowercase()).collect() })
    }
}

/// One session.
#[derive(Debug)]
pub(crate) struct Session {
    hello: Hello,
    channel: Channel,
    /// Becomes true with its connection's end.
    ended: watch::Receiver<bool>,
}

impl Session {
    /// What its directories are kept under between builds.
    pub(crate) fn shared_key(&self) -> &str {
        &self.hello.shared_key
    }

    /// Whether the client serves that method.
    pub(crate) fn serves(&self, method: &str) -> bool {
        self.hello.methods.contains(&method.to_lowercase())
    }

    /// Calls the client.
    pub(crate) fn channel(&self) -> &Channel {
        &self.channel
    }

    /// Until its connection ends.
    pub(crate) async fn ended(&self) {
        // An error says that whoever carried it is gone.
        let _ = self.ended.clone().wait_for(|ended| *ended).await;
    }
}

/// All sessions of now.
#[derive(Debug, Default)]
pub(crate) struct Sessions {
    open: watch::Sender<HashMap<String, Arc<Session>>>,
    /// Names of sessions that are being opened: two at once would both find their name free.
    opening: Mutex<HashSet<String>>,
}

/// Takes a session's name back.
struct Named<'a>(&'a Sessions, String);

impl Drop for Named<'_> {
    fn drop(&mut self) {
        self.0.open.send_modify(|open| drop(open.remove(&self.1)));
        self.0.opening.lock().unwrap_or_else(|e| e.into_inner()).remove(&self.1);
    }
}

impl Sessions {
    fn claim(&self, id: &str) -> Result<Named<'_>, String> {
        let mut names = self.opening.lock().unwrap_or_else(|e| e.into_inner());
        if names.len() >= MOST_SESSIONS {
            return Err(format!("there are {MOST_SESSIONS} sessions already"));
        }
        if !names.insert(id.to_owned()) {
            return Err(format!("session {id} already exists"));
        }
        Ok(Named(self, id.to_owned()))
    }

    /// Whether a session of that name could begin now.
    pub(crate) fn check(&self, id: &str) -> Result<(), String> {
        let names = self.opening.lock().unwrap_or_else(|e| e.into_inner());
        if names.contains(id) { Err(format!("session {id} already exists")) } else { Ok(()) }
    }

    /// Carries a session from its first byte to its last.
    pub(crate) async fn carry<S>(&self, hello: Hello, io: S) -> Result<(), String>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let named = self.claim(&hello.id)?;
        let over = Channel::over(io).await;
        let (channel, connection) = over.map_err(|e| format!("cannot begin session {}: {e}", hello.id))?;
        let (end, ended) = watch::channel(false);
        let session = Arc::new(Session { hello, channel, ended });
        self.open.send_modify(|open| drop(open.insert(named.1.clone(), session)));
        let carried = connection.await;
        end.send_replace(true);
        drop(named);
        // That a client leaves in the middle of something is its right.
        carried.map_err(|e| format!("a session ended: {e}"))
    }

    /// A session by its name; it may come a moment later than whoever names it.
    pub(crate) async fn find(&self, id: &str) -> Result<Arc<Session>, Status> {
        let mut open = self.open.subscribe();
        let found = tokio::time::timeout(PATIENCE, open.wait_for(|open| open.contains_key(id))).await;
        let session = found.ok().and_then(Result::ok).and_then(|open| open.get(id).cloned());
        session.ok_or_else(|| {
            Status::not_found(format!("no active session for {id}: context deadline exceeded"))
        })
    }
}
