//! `logs`: what a container said.

use super::{Cell, Containers};
use crate::{Error, error::Result};
use minke_model::{Container, Timestamp, log::LogSpec};
use minke_runtime::logs::{Batch, LogQuery, LogReader, Stream, options::rotation};
use std::path::PathBuf;
use tokio::sync::watch;

/// Which lines.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogOptions {
    /// Output.
    pub stdout: bool,
    /// Errors.
    pub stderr: bool,
    /// New ones as they come, until it ends.
    pub follow: bool,
    /// Not before.
    pub since: Option<Timestamp>,
    /// Not after.
    pub until: Option<Timestamp>,
    /// The last so many; `None` is all.
    pub tail: Option<usize>,
}

/// Lines of a log.
pub struct Logs {
    /// Not framed for clients.
    pub tty: bool,
    reader: LogReader,
    stdout: bool,
    stderr: bool,
}

impl Logs {
    /// The next lines, of both streams; `None` at the end.
    pub async fn next(&mut self) -> Option<Result<Batch>> {
        Some(self.reader.next().await?.map_err(Error::from))
    }

    /// Whether the client wants lines of that stream.
    pub fn wants(&self, stream: Stream) -> bool {
        match stream {
            Stream::Stdout => self.stdout,
            Stream::Stderr => self.stderr,
        }
    }
}

impl Containers {
    /// What it said.
    pub async fn logs(&self, name: &str, options: LogOptions) -> Result<Logs> {
        if !options.stdout && !options.stderr {
            return Err(Error::Invalid("Bad parameters: you must choose at least one stream".into()));
        }
        let cell = self.find(name)?;
        let record = cell.record();
        let driver = record.spec.log.driver.clone();
        if !matches!(driver.as_str(), "json-file" | "local") {
            return Err(Error::Unsupported("configured logging driver does not support reading".into()));
        }
        let query = LogQuery {
            path: self.log_path(&record),
            driver,
            since: options.since,
            until: options.until,
            tail: options.tail,
            follow: options.follow.then(|| ended(&cell)),
        };
        let reader = self.inner.logs.read(query)?;
        Ok(Logs { tty: record.spec.process.tty, reader, stdout: options.stdout, stderr: options.stderr })
    }

    /// Compresses the older files of its log while it runs, where that was asked for.
    pub(super) fn compress_log(&self, cell: &Cell) {
        let record = cell.record();
        let LogSpec { driver, options } = &record.spec.log;
        let reads = matches!(driver.as_str(), "json-file" | "local");
        let asked =
            rotation(driver, options).is_ok_and(|rotation| rotation.compress && rotation.max_files > 1);
        if reads && asked {
            tokio::spawn(self.inner.logs.compress(self.log_path(&record), ended(cell)));
        }
    }

    /// Where its log lies.
    pub(crate) fn log_path(&self, record: &Container) -> PathBuf {
        let directory = self.directory(&record.id);
        match record.spec.log.driver.as_str() {
            "local" => directory.join("local-logs").join("container.log"),
            _ => directory.join(format!("{}-json.log", record.id)),
        }
    }
}

/// True once it does not run: then what is written is all.
fn ended(cell: &Cell) -> watch::Receiver<bool> {
    cell.once(|p| p.removed || !(p.state.is_up() || p.state == minke_model::ContainerState::Restarting))
}
