//! `attach`: a client at a container's streams. Before the start it waits; the start connects it before *go*, so that
//! nothing is missed.

use super::{Containers, detach::DetachKeys, lock, logs::LogOptions};
use crate::{Error, error::Result};
use minke_model::{Container, ContainerState};
use minke_runtime::{AttachStreams, Process};
use std::sync::{Arc, Mutex};
use tokio::{
    net::UnixStream,
    sync::{oneshot, watch},
};

/// More clients than this that wait for a start are refused.
const MOST_WAITING: usize = 256;

/// What a client wants to attach to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AttachOptions {
    /// Input.
    pub stdin: bool,
    /// Output.
    pub stdout: bool,
    /// Errors.
    pub stderr: bool,
    /// What was said before.
    pub logs: bool,
    /// What is said from now on.
    pub stream: bool,
    /// Instead of `ctrl-p,ctrl-q`; empty is the default.
    pub detach_keys: String,
}

/// A client at a container's, or an exec's, streams.
#[derive(Debug)]
pub struct Attachment {
    /// Raw bytes; else Docker's frames.
    pub tty: bool,
    /// The keys that end it; only where there is a terminal.
    pub detach: Option<DetachKeys>,
    /// Where the bytes are.
    pub stream: AttachStream,
    /// Turns true once the process' exit is known: a client that sees its stream end may ask for the code at once.
    pub ended: watch::Receiver<bool>,
}

/// The bytes of an attachment.
#[derive(Debug)]
pub struct AttachStream {
    /// Sent first: what was said before.
    pub replay: Vec<u8>,
    source: Source,
}

#[derive(Debug)]
enum Source {
    /// Nothing comes after the replay.
    Ended,
    Live(UnixStream),
    /// The container has not started yet.
    Waiting(oneshot::Receiver<UnixStream>),
}

impl AttachStream {
    /// Nothing but what was said before.
    pub(crate) fn ended(replay: Vec<u8>) -> Self {
        Self { replay, source: Source::Ended }
    }

    pub(crate) fn live(replay: Vec<u8>, stream: UnixStream) -> Self {
        Self { replay, source: Source::Live(stream) }
    }

    /// The connection to the process: output comes, what is written is stdin, shutting it down closes stdin. Waits for
    /// the start of a container that has not started; `None` when nothing comes (any more).
    pub async fn open(self) -> Option<UnixStream> {
        match self.source {
            Source::Ended => None,
            Source::Live(stream) => Some(stream),
            Source::Waiting(start) => start.await.ok(),
        }
    }
}

/// Clients that wait for a container's start.
#[derive(Default)]
pub(crate) struct Attachers(Mutex<Vec<(AttachStreams, oneshot::Sender<UnixStream>)>>);

impl Attachers {
    fn wait(&self, streams: AttachStreams) -> Result<oneshot::Receiver<UnixStream>> {
        let mut waiting = lock(&self.0);
        waiting.retain(|(_, client)| !client.is_closed());
        if waiting.len() >= MOST_WAITING {
            return Err(Error::Conflict(format!(
                "{MOST_WAITING} clients wait for this container's start already"
            )));
        }
        let (sender, receiver) = oneshot::channel();
        waiting.push((streams, sender));
        Ok(receiver)
    }

    /// Connects all that wait to a process that is about to run.
    pub(crate) async fn connect(&self, process: &Process) {
        let waiting = std::mem::take(&mut *lock(&self.0));
        for (streams, client) in waiting {
            if client.is_closed() {
                continue;
            }
            match process.attach(streams).await {
                // A client that left meanwhile is none.
                Ok(stream) => drop(client.send(stream)),
                Err(e) => tracing::warn!("cannot attach a client to container {}: {e}", process.id()),
            }
        }
    }

    /// Sends all that wait away: the start failed.
    pub(crate) fn clear(&self) {
        lock(&self.0).clear();
    }
}

impl Containers {
    /// Attaches a client.
    pub async fn attach(&self, name: &str, options: AttachOptions) -> Result<Attachment> {
        let detach = DetachKeys::parse(&options.detach_keys)?;
        let cell = self.find(name)?;
        let exits = cell.progress.borrow().exits;
        let record = cell.record();
        match record.status.state {
            ContainerState::Paused => {
                return Err(Error::Conflict(format!(
                    "container {} is paused, unpause the container before attach",
                    cell.id
                )));
            }
            ContainerState::Restarting => {
                return Err(Error::Conflict(format!(
                    "container {} is restarting, wait until the container is running",
                    cell.id
                )));
            }
            _ => {}
        }
        let replay = if options.logs { self.replay(&record, &options).await? } else { Vec::new() };
        let streams = AttachStreams {
            stdin: options.stdin && record.spec.process.open_stdin,
            stdout: options.stdout,
            stderr: options.stderr,
        };
        let tty = record.spec.process.tty;
        let stream = if !options.stream {
            AttachStream::ended(replay)
        } else if let Some(process) = cell.process().filter(|_| record.status.state.is_up()) {
            AttachStream::live(replay, process.attach(streams).await?)
        } else if record.status.state == ContainerState::Created || !options.logs {
            AttachStream { replay, source: Source::Waiting(cell.attachers.wait(streams)?) }
        } else {
            AttachStream::ended(replay)
        };
        self.tell(&record, "attach", &[]);
        let ended = cell.once(move |p| p.removed || p.exits > exits);
        Ok(Attachment { tty, detach: tty.then_some(detach), stream, ended })
    }

    /// A client has typed its detach keys.
    pub fn detached(&self, name: &str) {
        if let Ok(record) = self.get(name) {
            self.tell(&record, "detach", &[]);
        }
    }

    /// Tells its terminal its size.
    pub async fn resize(&self, name: &str, rows: u16, columns: u16) -> Result<()> {
        let cell = self.find(name)?;
        cell.running_process()?.resize(rows, columns).await?;
        let (height, width) = (rows.to_string(), columns.to_string());
        self.tell(&cell.record(), "resize", &[("height", height), ("width", width)]);
        Ok(())
    }

    /// What was said before, as frames (raw with a terminal).
    async fn replay(&self, record: &Arc<Container>, options: &AttachOptions) -> Result<Vec<u8>> {
        let wanted = LogOptions { stdout: options.stdout, stderr: options.stderr, ..LogOptions::default() };
        let mut logs = self.logs(record.id.as_str(), wanted).await?;
        let mut out = Vec::new();
        while let Some(batch) = logs.next().await {
            for line in batch?.iter().filter(|l| logs.wants(l.stream)) {
                if !logs.tty {
                    out.extend_from_slice(&[line.stream as u8, 0, 0, 0]);
                    out.extend_from_slice(&(line.text.len() as u32).to_be_bytes());
                }
                out.extend_from_slice(line.text);
            }
        }
        Ok(out)
    }
}
