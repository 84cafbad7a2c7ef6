//! The daemon as the command line sees it: a small blocking HTTP/1.1 client.
//!
//! It starts no threads and no runtime of its own: one request costs one write and one read. Streams
//! that the daemon takes over (attach, exec) come out as a pair of halves. Start at [`Client::call`].

pub(crate) mod config_file;
pub(crate) mod connection;
pub(crate) mod context;
pub(crate) mod error;
pub(crate) mod host;
pub(crate) mod http;
pub(crate) mod revival;
pub(crate) mod tls;

pub(crate) use error::ClientError;
pub(crate) use host::Host;

use crate::format::value::Value;
use connection::Connection;
use http::{Body, Framing, Head, Payload};
use std::io::Read;
use std::sync::{Arc, Mutex, OnceLock};

/// The newest API that this client speaks.
pub(crate) const API_VERSION: &str = "1.51";

/// The daemon's oldest: what it is taken for when it does not say.
const FALLBACK_VERSION: &str = "1.24";

/// Connections that wait for their next request.
pub(crate) type Idle = Mutex<Vec<Connection>>;

/// A client of one daemon.
pub(crate) struct Client {
    host: Host,
    version: OnceLock<String>,
    headers: Vec<(String, String)>,
    idle: Arc<Idle>,
}

/// An answer.
pub(crate) struct Response {
    /// The status code.
    pub(crate) status: u16,
    /// The headers.
    pub(crate) head: Head,
    /// What follows.
    pub(crate) body: Body,
}

/// Both halves of a connection that became a stream.
pub(crate) struct Stream {
    /// What the daemon sends.
    pub(crate) reader: Box<dyn Read + Send>,
    /// What it gets.
    pub(crate) writer: connection::Sender,
}

/// A connection on which another protocol is spoken now.
pub(crate) struct Upgraded {
    /// Bytes of it that came already.
    pub(crate) first: Vec<u8>,
    /// What the daemon sends after them.
    pub(crate) reader: Box<dyn Read + Send>,
    /// What it gets.
    pub(crate) writer: connection::Sender,
}

impl Client {
    /// A client of the daemon at `host`; `headers` go with each request. Nothing is dialled yet.
    pub(crate) fn new(host: Host, headers: Vec<(String, String)>) -> Self {
        let version = OnceLock::new();
        if let Some(fixed) = std::env::var("DOCKER_API_VERSION").ok().filter(|text| !text.is_empty()) {
            let _ = version.set(fixed.trim_start_matches('v').to_owned());
        }
        Self { host, version, headers, idle: Arc::default() }
    }

    /// Where the daemon is.
    pub(crate) fn host(&self) -> &Host {
        &self.host
    }

    /// The API version that both sides speak; asks the daemon once.
    pub(crate) fn version(&self) -> Result<&str, ClientError> {
        if let Some(version) = self.version.get() {
            return Ok(version);
        }
        let answer = self.send("HEAD", "/_ping", &[], Payload::None)?;
        let theirs = answer.head.get("api-version").unwrap_or(FALLBACK_VERSION).to_owned();
        let agreed = if older(&theirs, API_VERSION) { theirs } else { API_VERSION.to_owned() };
        Ok(self.version.get_or_init(|| agreed))
    }

    /// Sends a request and fails when the daemon refuses it.
    pub(crate) fn call(
        &self,
        method: &str,
        path: &str,
        query: &[(&str, String)],
        payload: Payload,
    ) -> Result<Response, ClientError> {
        self.call_with(method, path, query, payload, &[])
    }

    /// [`Client::call`] with further headers.
    pub(crate) fn call_with(
        &self,
        method: &str,
        path: &str,
        query: &[(&str, String)],
        payload: Payload,
        headers: &[(String, String)],
    ) -> Result<Response, ClientError> {
        let target = format!("/v{}{path}{}", self.version()?, http::query_string(query));
        let answer = self.send(method, &target, headers, payload)?;
        if answer.status >= 400 {
            return Err(refusal(answer, &target));
        }
        Ok(answer)
    }

    /// `GET` whose answer is JSON.
    pub(crate) fn get(&self, path: &str, query: &[(&str, String)]) -> Result<Value, ClientError> {
        self.call("GET", path, query, Payload::None)?.json()
    }

    /// `POST` of JSON whose answer is JSON.
    pub(crate) fn post(
        &self,
        path: &str,
        query: &[(&str, String)],
        body: &serde_json::Value,
    ) -> Result<Value, ClientError> {
        self.call("POST", path, query, Payload::json(body))?.json()
    }

    /// `POST` without a body; the answer does not matter.
    pub(crate) fn act(&self, path: &str, query: &[(&str, String)]) -> Result<(), ClientError> {
        self.call("POST", path, query, Payload::None)?.drain()
    }

    /// `POST` that turns the connection into a stream.
    pub(crate) fn hijack(
        &self,
        path: &str,
        query: &[(&str, String)],
        payload: Payload,
    ) -> Result<Stream, ClientError> {
        let target = format!("/v{}{path}{}", self.version()?, http::query_string(query));
        let mut connection = self.dial()?;
        let mut headers = self.headers.clone();
        headers.push(("Connection".into(), "Upgrade".into()));
        headers.push(("Upgrade".into(), "tcp".into()));
        http::write_request(&mut connection, "POST", &target, &headers, payload)?;
        let head = http::read_head(&mut connection.reader)?;
        if head.status >= 400 {
            let body = Body::new(connection, Framing::of(&head, "POST"), Arc::clone(&self.idle));
            return Err(refusal(Response { status: head.status, head, body }, &target));
        }
        Ok(Stream { reader: Box::new(connection.reader), writer: connection.writer })
    }

    /// `POST` that makes a connection speak `protocol`.
    pub(crate) fn upgrade(
        &self,
        path: &str,
        protocol: &str,
        headers: &[(String, String)],
    ) -> Result<Upgraded, ClientError> {
        let target = format!("/v{}{path}", self.version()?);
        let mut connection = self.dial()?;
        let mut all = self.headers.clone();
        all.extend_from_slice(headers);
        all.push(("Connection".into(), "Upgrade".into()));
        all.push(("Upgrade".into(), protocol.into()));
        http::write_request(&mut connection, "POST", &target, &all, Payload::None)?;
        let head = http::read_head(&mut connection.reader)?;
        if head.status != 101 {
            let status = head.status;
            let body = Body::new(connection, Framing::of(&head, "POST"), Arc::clone(&self.idle));
            if status >= 400 {
                return Err(refusal(Response { status, head, body }, &target));
            }
            return Err(ClientError::Protocol(format!("{target} does not become {protocol}")));
        }
        let first = connection.reader.buffer().to_vec();
        Ok(Upgraded { first, reader: connection.reader.into_inner(), writer: connection.writer })
    }

    /// A fresh connection, for who speaks on it by himself.
    pub(crate) fn dial(&self) -> Result<Connection, ClientError> {
        Connection::open(&self.host)
    }

    fn send(
        &self,
        method: &str,
        target: &str,
        headers: &[(String, String)],
        payload: Payload,
    ) -> Result<Response, ClientError> {
        let mut all = self.headers.clone();
        all.extend_from_slice(headers);
        let exchange = |mut connection: Connection, payload: Payload| -> Result<Response, ClientError> {
            http::write_request(&mut connection, method, target, &all, payload)?;
            let head = http::read_head(&mut connection.reader)?;
            let body = Body::new(connection, Framing::of(&head, method), Arc::clone(&self.idle));
            Ok(Response { status: head.status, head, body })
        };
        let idle = self.idle.lock().unwrap_or_else(|poison| poison.into_inner()).pop();
        if let Some(connection) = idle
            && let Some(copy) = payload.again()
        {
            match exchange(connection, copy) {
                // The daemon closed it while it waited: nothing was done yet.
                Err(ClientError::Io(_)) => self.forget_idle(),
                other => return other,
            }
        }
        exchange(self.dial()?, payload)
    }

    /// Closes the connections that wait; their daemon is gone.
    fn forget_idle(&self) {
        self.idle.lock().unwrap_or_else(|poison| poison.into_inner()).clear();
    }
}

impl Response {
    /// The whole body.
    pub(crate) fn bytes(mut self) -> Result<Vec<u8>, ClientError> {
        let mut bytes = Vec::new();
        self.body.read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// The body as JSON.
    pub(crate) fn json(self) -> Result<Value, ClientError> {
        let bytes = self.bytes()?;
        if bytes.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_slice(&bytes).map_err(|error| ClientError::Protocol(error.to_string()))
    }

    /// Reads the body to its end, so that the connection can be used again.
    pub(crate) fn drain(mut self) -> Result<(), ClientError> {
        std::io::copy(&mut self.body, &mut std::io::sink())?;
        Ok(())
    }
}

/// The daemon's own sentence for why it refused.
fn refusal(answer: Response, target: &str) -> ClientError {
    let status = answer.status;
    let json = answer.head.get("content-type").is_some_and(|kind| kind.starts_with("application/json"));
    let bytes = answer.bytes().unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes).trim().to_owned();
    let message = match json.then(|| serde_json::from_str::<Value>(&text).ok()).flatten() {
        Some(value) => value.text("message").trim().to_owned(),
        None => text,
    };
    let message = if message.is_empty() {
        format!(
            "request returned status {status} for {target}, check if the server supports the requested API version"
        )
    } else {
        message
    };
    ClientError::Daemon { status, message }
}

/// Whether API version `a` is older than `b`.
pub(crate) fn older(a: &str, b: &str) -> bool {
    let parts = |text: &str| -> Vec<u32> { text.split('.').map(|part| part.parse().unwrap_or(0)).collect() };
    parts(a) < parts(b)
}

#[cfg(test)]
mod tests;
