//! Logs of containers as files: their options, and reading them. The shim writes them.
//!
//! Start at [`Logs::read`]. A log is a chain of files, `path` the newest, then `path.1`, `path.2`…; a reader gives
//! batches of lines, so that no line costs an allocation or a wake-up. Never: timestamps or frames for clients (`api`),
//! a blocking thread that waits, more than two chunks of a file in memory.

mod aside;
mod files;
mod json_file;
mod local;
pub mod options;
mod watch;

pub use minke_shim::log::Stream;

use crate::logs::files::{Cursor, Read};
use minke_model::{Kind, Timestamp};
use std::{io, path::PathBuf, sync::Arc, time::Duration};
use tokio::task::JoinHandle;

/// Which lines of which log.
#[derive(Clone, Debug)]
pub struct LogQuery {
    /// The newest file.
    pub path: PathBuf,
    /// `json-file` or `local`.
    pub driver: String,
    /// Lines before it are left out.
    pub since: Option<Timestamp>,
    /// The first line after it ends the reading; a follow ends at that time.
    pub until: Option<Timestamp>,
    /// So many lines from the end, counted before `since` is looked at; `None` is all.
    pub tail: Option<usize>,
    /// Goes on with what is written later, until this turns true and all is read.
    pub follow: Option<tokio::sync::watch::Receiver<bool>>,
}

/// Why a log cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The driver keeps nothing that can be read, or is not known.
    #[error("configured logging driver does not support reading")]
    NotReadable {
        /// Which.
        driver: String,
    },
    /// A file could not be read.
    #[error("cannot read log {path}: {source}", path = path.display())]
    Read {
        /// The newest file of the log.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
    /// Changes of a file could not be watched.
    #[error("cannot watch log {path}: {source}", path = path.display())]
    Watch {
        /// The newest file of the log.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
}

impl LogError {
    /// The sort of failure.
    pub fn kind(&self) -> Kind {
        match self {
            LogError::NotReadable { .. } => Kind::NotImplemented,
            _ => Kind::Internal,
        }
    }
}

/// Labels and the like that a line carries: names and values.
pub type Attributes = Arc<[(String, String)]>;

/// Some lines, in the order that they were written.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    text: Vec<u8>,
    lines: Vec<Line>,
    attributes: Vec<Attributes>,
}

/// A line in a batch. 24 bytes: a batch of short lines is mostly these.
#[derive(Clone, Copy, Debug)]
struct Line {
    /// Nanoseconds since 1970.
    at: i64,
    /// Where its text ends in the batch; it begins where the one before ended.
    end: u32,
    /// Number of its attributes in the batch, plus one; 0 is none.
    attributes: u32,
    stream: Stream,
}

/// One line, or one piece of a line that was longer than 16 KiB.
#[derive(Clone, Copy, Debug)]
pub struct LogLine<'a> {
    /// Where it was written to.
    pub stream: Stream,
    /// When, in nanoseconds since 1970.
    pub at: i64,
    /// With its newline, unless it goes on in the next piece.
    pub text: &'a [u8],
    /// What was set at create to be shown with it.
    pub attributes: Option<&'a Attributes>,
}

impl LogLine<'_> {
    /// When.
    pub fn time(&self) -> Timestamp {
        Timestamp::from_nanos(self.at)
    }
}

impl Batch {
    /// The lines.
    pub fn iter(&self) -> impl Iterator<Item = LogLine<'_>> {
        let mut start = 0usize;
        self.lines.iter().map(move |line| {
            let text = &self.text[start..line.end as usize];
            start = line.end as usize;
            let attributes = line.attributes.checked_sub(1).and_then(|at| self.attributes.get(at as usize));
            LogLine { stream: line.stream, at: line.at, text, attributes }
        })
    }

    /// How many lines.
    pub fn len(&self) -> usize {
        self.lines.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// Bytes of all lines together.
    pub fn bytes(&self) -> usize {
        self.text.len()
    }

    /// The number of a set of attributes, added if it is not the last one.
    fn attribute_number(&mut self, attributes: &Attributes) -> u32 {
        if self.attributes.last().is_none_or(|last| !Arc::ptr_eq(last, attributes)) {
            self.attributes.push(Arc::clone(attributes));
        }
        self.attributes.len() as u32
    }
}

/// Reads logs. Holds what all followers share; cheap to clone.
#[derive(Clone, Debug)]
pub struct Logs {
    watcher: Arc<watch::Watcher>,
    /// Of names alone: what is written wakes nobody.
    renames: Arc<watch::Watcher>,
}

impl Default for Logs {
    fn default() -> Self {
        let watcher = |contents| Arc::new(watch::Watcher::new(contents));
        Logs { watcher: watcher(true), renames: watcher(false) }
    }
}

impl Logs {
    /// Begins to read. No file yet is an empty log.
    ///
    /// # Errors
    /// When the driver cannot be read back, or changes cannot be watched.
    pub fn read(&self, query: LogQuery) -> Result<LogReader, LogError> {
        let format = match query.driver.as_str() {
            "json-file" => files::Format::Json,
            "local" => files::Format::Local,
            _ => return Err(LogError::NotReadable { driver: query.driver }),
        };
        // Watched from before the first read: nothing falls between.
        let changes = match &query.follow {
            Some(_) => {
                let dir = query.path.parent().unwrap_or(std::path::Path::new("/"));
                let failed = |source| LogError::Watch { path: query.path.clone(), source };
                Some(self.watcher.subscribe(dir).map_err(failed)?)
            }
            None => None,
        };
        let nanos = |time: Option<Timestamp>| time.map(|t| t.as_nanos());
        let (since, until) = (nanos(query.since), nanos(query.until));
        let cursor =
            Cursor::new(query.path.clone(), format, since, until, query.tail, query.follow.is_some());
        Ok(LogReader {
            path: query.path,
            until: query.until,
            ended: query.follow,
            changes,
            cursor: Some(Box::new(cursor)),
            reading: None,
        })
    }
}

impl Logs {
    /// Compresses what is put aside of a log until `ended` turns true and all is done; what was put aside before, too.
    pub fn compress(
        &self,
        path: PathBuf,
        ended: tokio::sync::watch::Receiver<bool>,
    ) -> impl Future<Output = ()> + Send + use<> {
        aside::watch(Arc::clone(&self.renames), path, ended)
    }
}

/// Gives a log's lines, batch by batch.
#[derive(Debug)]
pub struct LogReader {
    path: PathBuf,
    until: Option<Timestamp>,
    ended: Option<tokio::sync::watch::Receiver<bool>>,
    changes: Option<watch::Subscription>,
    /// Not here while a thread reads with it.
    cursor: Option<Box<Cursor>>,
    reading: Option<JoinHandle<(Box<Cursor>, io::Result<Read>)>>,
}

impl LogReader {
    /// The next lines, at least one; `None` is the end. May be dropped while it waits, and called again.
    pub async fn next(&mut self) -> Option<Result<Batch, LogError>> {
        loop {
            // Asked before the read: what is written until the end is told is then read.
            let ended = self.ended.as_ref().is_none_or(|ended| *ended.borrow());
            let reading = match (&mut self.reading, self.cursor.take()) {
                (Some(reading), _) => reading,
                (none, Some(mut cursor)) => none.insert(tokio::task::spawn_blocking(move || {
                    let read = cursor.read();
                    (cursor, read)
                })),
                // It ended, or failed, before.
                (None, None) => return None,
            };
            let result = reading.await;
            self.reading = None;
            let read = match result {
                Ok((cursor, Ok(read))) => {
                    self.cursor = Some(cursor);
                    read
                }
                Ok((_, Err(source))) => return Some(Err(LogError::Read { path: self.path.clone(), source })),
                // The runtime shuts down.
                Err(_) => return None,
            };
            match read {
                Read::Lines(batch) => return Some(Ok(batch)),
                Read::Done => {
                    self.cursor = None;
                    return None;
                }
                Read::End if ended => {
                    self.cursor = None;
                    return None;
                }
                Read::End => {
                    if !self.wait().await {
                        self.cursor = None;
                        return None;
                    }
                }
            }
        }
    }

    /// Waits for something to read; false when `until` is over.
    async fn wait(&mut self) -> bool {
        let (Some(changes), Some(ended)) = (&mut self.changes, &mut self.ended) else { return false };
        let left = self.until.map(|until| until.since(Timestamp::now()));
        let deadline = async {
            match left {
                Some(left) => tokio::time::sleep(left + Duration::from_millis(1)).await,
                None => std::future::pending().await,
            }
        };
        if left.is_some_and(|left| left.is_zero()) {
            return false;
        }
        tokio::select! {
            () = changes.changed() => {}
            // Whoever could say that it ended is gone: read what is there.
            gone = ended.changed() => if gone.is_err() { self.ended = None },
            () = deadline => {}
        }
        true
    }
}

#[cfg(test)]
mod tests;
