//! HTTP/1.1 as far as the Engine API needs it: a request's bytes, a response's head and framing.
//!
//! Heads are bounded at 64 KiB; bodies are streams.

use super::connection::Connection;
use super::{ClientError, Idle};
use std::io::{self, BufRead, Read, Write};
use std::sync::Arc;

/// A head longer than this is no answer of a daemon's.
const HEAD_LIMIT: u64 = 64 * 1024;

/// Connections kept for the next request.
const IDLE_LIMIT: usize = 4;

/// What a request carries.
pub(crate) enum Payload {
    /// Nothing.
    None,
    /// JSON.
    Json(Vec<u8>),
    /// A stream of that content type, sent while the answer is read.
    Stream(&'static str, Box<dyn Read + Send>),
}

impl Payload {
    /// The same once more; a stream can be sent but once.
    pub(crate) fn again(&self) -> Option<Self> {
        match self {
            Payload::None => Some(Payload::None),
            Payload::Json(json) => Some(Payload::Json(json.clone())),
            Payload::Stream(..) => None,
        }
    }

    /// JSON from a value.
    pub(crate) fn json(value: &serde_json::Value) -> Self {
        Payload::Json(value.to_string().into_bytes())
    }
}

/// Status line and headers of an answer.
#[derive(Debug)]
pub(crate) struct Head {
    /// The status code.
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
}

impl Head {
    /// A header's value, by its lower-case name.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// How the end of a body is told.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    /// After so many bytes.
    Length(u64),
    /// By an empty chunk; so many bytes of the present chunk are left.
    Chunked(u64),
    /// With the connection.
    Close,
    /// It is reached; the connection may be used again.
    Done,
}

impl Framing {
    /// What the head of an answer to `method` says.
    pub(crate) fn of(head: &Head, method: &str) -> Self {
        if method == "HEAD" || head.status == 204 || head.status == 304 {
            return Framing::Done;
        }
        if head.get("transfer-encoding").is_some_and(|coding| coding.eq_ignore_ascii_case("chunked")) {
            return Framing::Chunked(0);
        }
        match head.get("content-length").and_then(|length| length.parse().ok()) {
            Some(0) => Framing::Done,
            Some(length) => Framing::Length(length),
            None => Framing::Close,
        }
    }
}

/// Writes a request. A streamed payload is sent by a thread, so that the answer can be read meanwhile.
pub(crate) fn write_request(
    connection: &mut Connection,
    method: &str,
    target: &str,
    headers: &[(String, String)],
    payload: Payload,
) -> Result<(), ClientError> {
    let mut bytes = format!(
        "{method} {target} HTTP/1.1\r\nHost: api.moby.localhost\r\nUser-Agent: Minke-Client/{} (linux)\r\n",
        env!("CARGO_PKG_VERSION")
    );
    for (name, value) in headers {
        bytes.push_str(&format!("{name}: {value}\r\n"));
    }
    match payload {
        Payload::None => {
            if method != "GET" && method != "HEAD" {
                bytes.push_str("Content-Length: 0\r\n");
            }
            bytes.push_str("\r\n");
            connection.writer.write_all(bytes.as_bytes())?;
        }
        Payload::Json(json) => {
            bytes.push_str(&format!(
                "Content-Type: application/json\r\nContent-Length: {}\r\n\r\n",
                json.len()
            ));
            let mut bytes = bytes.into_bytes();
            bytes.extend_from_slice(&json);
            connection.writer.write_all(&bytes)?;
        }
        Payload::Stream(kind, source) => {
            bytes.push_str(&format!("Content-Type: {kind}\r\nTransfer-Encoding: chunked\r\n\r\n"));
            connection.writer.write_all(bytes.as_bytes())?;
            // The thread owns the writing half: such a connection is not used again.
            let mut writer = std::mem::replace(&mut connection.writer, super::connection::Sender::Pipe(None));
            std::thread::spawn(move || {
                // The daemon that refuses closes early: its answer tells why, this error does not.
                let _ = send_chunks(&mut writer, source);
            });
        }
    }
    connection.writer.flush()?;
    Ok(())
}

fn send_chunks(writer: &mut impl Write, mut source: Box<dyn Read + Send>) -> io::Result<()> {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let count = source.read(&mut buffer)?;
        if count == 0 {
            writer.write_all(b"0\r\n\r\n")?;
            return writer.flush();
        }
        writer.write_all(format!("{count:x}\r\n").as_bytes())?;
        writer.write_all(&buffer[..count])?;
        writer.write_all(b"\r\n")?;
    }
}

/// Reads status line and headers.
pub(crate) fn read_head(reader: &mut impl BufRead) -> Result<Head, ClientError> {
    let mut reader = reader.take(HEAD_LIMIT);
    let mut line = String::new();
    let mut next = |line: &mut String| -> Result<(), ClientError> {
        line.clear();
        if reader.read_line(line)? == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "EOF").into());
        }
        line.truncate(line.trim_end().len());
        Ok(())
    };
    next(&mut line)?;
    let status =
        line.strip_prefix("HTTP/1.").and_then(|rest| rest.get(2..5)).and_then(|code| code.parse().ok());
    let status = status.ok_or_else(|| ClientError::Protocol(format!("malformed HTTP response {line:?}")))?;
    let mut headers = Vec::new();
    loop {
        next(&mut line)?;
        if line.is_empty() {
            return Ok(Head { status, headers });
        }
        let (name, value) = line
            .split_once(':')
            .ok_or_else(|| ClientError::Protocol(format!("malformed header {line:?}")))?;
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
}

/// A body, as a stream. Once read to its end, its connection waits for the next request.
pub(crate) struct Body {
    connection: Option<Connection>,
    framing: Framing,
    idle: Arc<Idle>,
}

impl Body {
    /// The body that follows on `connection`.
    pub(crate) fn new(connection: Connection, framing: Framing, idle: Arc<Idle>) -> Self {
        let mut body = Self { connection: Some(connection), framing, idle };
        if body.framing == Framing::Done {
            body.release();
        }
        body
    }

    fn release(&mut self) {
        let Some(connection) = self.connection.take() else { return };
        if matches!(connection.writer, super::connection::Sender::Pipe(None)) {
            return;
        }
        let mut idle = self.idle.lock().unwrap_or_else(|poison| poison.into_inner());
        if idle.len() < IDLE_LIMIT {
            idle.push(connection);
        }
    }
}

impl Read for Body {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        let Some(connection) = self.connection.as_mut() else { return Ok(0) };
        let reader = &mut connection.reader;
        let count = match &mut self.framing {
            Framing::Done => 0,
            Framing::Close => reader.read(buffer)?,
            Framing::Length(left) => {
                let count = reader.take(*left).read(buffer)?;
                if count == 0 {
                    return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "unexpected EOF"));
                }
                *left -= count as u64;
                if *left == 0 {
                    self.framing = Framing::Done;
                    self.release();
                }
                return Ok(count);
            }
            Framing::Chunked(left) => {
                if *left == 0 {
                    *left = chunk_size(reader)?;
                    if *left == 0 {
                        self.framing = Framing::Done;
                        self.release();
                        return Ok(0);
                    }
                }
                let count = reader.take(*left).read(buffer)?;
                if count == 0 {
                    return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "unexpected EOF"));
                }
                *left -= count as u64;
                if *left == 0 {
                    line(reader)?;
                }
                return Ok(count);
            }
        };
        if count == 0 {
            self.connection = None;
        }
        Ok(count)
    }
}

/// The size line of the next chunk; after the last one, its trailer too.
fn chunk_size(reader: &mut impl BufRead) -> io::Result<u64> {
    let text = line(reader)?;
    let digits = text.split(';').next().unwrap_or_default().trim();
    let size = u64::from_str_radix(digits, 16)
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, format!("malformed chunk size {text:?}")))?;
    if size == 0 {
        while !line(reader)?.is_empty() {}
    }
    Ok(size)
}

fn line(reader: &mut impl BufRead) -> io::Result<String> {
    let mut text = String::new();
    if reader.take(1024).read_line(&mut text)? == 0 {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "unexpected EOF"));
    }
    text.truncate(text.trim_end().len());
    Ok(text)
}

/// Percent-encodes what is no plain letter of a path segment or query value.
pub(crate) fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => encoded.push(byte as char),
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

/// `?a=b&c=d`, or nothing.
pub(crate) fn query_string(query: &[(&str, String)]) -> String {
    let pairs: Vec<String> = query.iter().map(|(name, value)| format!("{name}={}", encode(value))).collect();
    if pairs.is_empty() { String::new() } else { format!("?{}", pairs.join("&")) }
}
