//! `logs`: lines as they come, framed unless the container has a terminal.

use super::Routes;
use crate::{
    error::{ApiError, Result},
    frames,
    request::Ask,
    response::{self, Answer},
    stream::{MULTIPLEXED, RAW},
    wire::time,
};
use bytes::Bytes;
use minke_engine::container::{LogOptions, Logs, WaitCondition};
use minke_model::Timestamp;
use std::time::Duration;

/// Where the daemon's own words go in a framed stream.
const SYSTEM_ERROR: u8 = 3;

/// How long a program that was just started may speak before its log is read. dockerd takes as long to start one, so
/// that clients find what a short program says without waiting for its end; docker-py's own tests count on that.
const HEAD_START: Duration = Duration::from_millis(100);

/// Waits until a program that was just started has ended, or has had its head start.
async fn let_speak(routes: &Routes, name: &str) -> Result<()> {
    let containers = &routes.engine.containers;
    let status = &containers.get(name)?.status;
    let age = Timestamp::now().since(status.started);
    if status.state.is_up() && age < HEAD_START {
        let ended = containers.wait(name, WaitCondition::NotRunning).await?;
        // Most go on.
        let _ = tokio::time::timeout(HEAD_START - age, ended).await;
    }
    Ok(())
}

/// A log on its way to a client.
struct Follow {
    logs: Logs,
    framed: bool,
    timestamps: bool,
    details: bool,
    ended: bool,
}

pub(super) async fn handle(routes: &Routes, ask: Ask) -> Result<Answer> {
    let query = &ask.query;
    let (stdout, stderr) = (query.flag("stdout"), query.flag("stderr"));
    if !stdout && !stderr {
        return Err(ApiError::invalid("Bad parameters: you must choose at least one stream"));
    }
    // Who is not there is told before what cannot be read.
    routes.engine.containers.get(&ask.name)?;
    let options = LogOptions {
        stdout,
        stderr,
        follow: query.flag("follow"),
        since: time::unix(query.get("since"))?,
        until: time::unix(query.get("until"))?.filter(|t| t.as_nanos() != 0),
        // Whatever is no number means all.
        tail: query.get("tail").parse().ok(),
    };
    if !options.follow {
        let_speak(routes, &ask.name).await?;
    }
    let logs = routes.engine.containers.logs(&ask.name, options).await?;
    let framed = !logs.tty;
    let kind = if framed && ask.dialect.names_multiplexed { MULTIPLEXED } else { RAW };
    let follow = Follow {
        logs,
        framed,
        timestamps: query.flag("timestamps"),
        details: query.flag("details"),
        ended: false,
    };
    Ok(response::chunks(
        kind,
        response::steps(follow, |mut follow| async move {
            let chunk = follow.next().await?;
            Some((Ok(chunk), follow))
        }),
    ))
}

impl Follow {
    /// The next lines, ready to be sent.
    async fn next(&mut self) -> Option<Bytes> {
        if self.ended {
            return None;
        }
        let mut out = Vec::new();
        match self.logs.next().await? {
            Ok(lines) => {
                for line in lines.iter().filter(|l| self.logs.wants(l.stream)) {
                    self.write(&mut out, &line);
                }
            }
            Err(e) => {
                self.ended = true;
                let text = format!("Error grabbing logs: {e}\n");
                if self.framed {
                    out.extend_from_slice(&frames::head(SYSTEM_ERROR, text.len()));
                }
                out.extend_from_slice(text.as_bytes());
            }
        }
        Some(out.into())
    }

    fn write(&self, out: &mut Vec<u8>, line: &minke_engine::logs::LogLine<'_>) {
        let start = out.len();
        if self.framed {
            out.extend_from_slice(&[0; 8]);
        }
        if self.timestamps {
            out.extend_from_slice(time::fixed(line.time()).as_bytes());
            out.push(b' ');
        }
        if self.details {
            let pairs = line.attributes.map(|a| a.to_vec()).unwrap_or_default();
            let shown: Vec<String> =
                pairs.iter().map(|(name, value)| format!("{}={}", escape(name), escape(value))).collect();
            out.extend_from_slice(shown.join(",").as_bytes());
            out.push(b' ');
        }
        out.extend_from_slice(line.text);
        if self.framed {
            let head = frames::head(line.stream as u8, out.len() - start - 8);
            out[start..start + 8].copy_from_slice(&head);
        }
    }
}

/// Go's `url.QueryEscape`.
pub(super) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(byte as char),
            b' ' => out.push('+'),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}
