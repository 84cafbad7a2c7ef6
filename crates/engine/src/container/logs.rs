//! `logs`: what a container said.

use super::{Cell, Containers};
use crate::{Error, error::Result};
use minke_model::{Container, Timestamp};
use minke_runtime::logs::{Batch, LogQuery, LogReader, Stream};
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

/// What each line carries, as `labels`, `labels-regex`, `env`, `env-regex` and `tag` of the log options ask.
pub(super) fn attributes(record: &Container) -> Vec<(String, String)> {
    let options = &record.spec.log.options;
    let mut out = Vec::new();
    let named = |key: &str| {
        options.get(key).map(|v| v.split(',').map(str::to_owned).collect::<Vec<_>>()).unwrap_or_default()
    };
    let pattern = |key: &str| options.get(key).and_then(|p| regex_lite::Regex::new(p).ok());
    let env = record.spec.process.env.iter().filter_map(|e| e.split_once('='));
    let (labels, label_pattern) = (named("labels"), pattern("labels-regex"));
    let (envs, env_pattern) = (named("env"), pattern("env-regex"));
    for (name, value) in &record.spec.labels {
        if labels.contains(name) || label_pattern.as_ref().is_some_and(|p| p.is_match(name)) {
            out.push((name.clone(), value.clone()));
        }
    }
    for (name, value) in env {
        if envs.iter().any(|e| e == name) || env_pattern.as_ref().is_some_and(|p| p.is_match(name)) {
            out.push((name.to_owned(), value.to_owned()));
        }
    }
    if let Some(tag) = options.get("tag") {
        out.push(("tag".into(), expand_tag(tag, record)));
    }
    out
}

/// The fields that tags of Docker's documentation use.
fn expand_tag(tag: &str, record: &Container) -> String {
    let image_id = record.image_id.as_ref().map(|i| i.short().to_owned()).unwrap_or_default();
    let image_full = record.image_id.as_ref().map(ToString::to_string).unwrap_or_default();
    let fields = [
        ("{{.ID}}", record.id.short().to_owned()),
        ("{{.FullID}}", record.id.to_string()),
        ("{{.Name}}", record.name.clone()),
        ("{{.ImageID}}", image_id),
        ("{{.ImageFullID}}", image_full),
        ("{{.ImageName}}", record.spec.image.clone()),
        ("{{.DaemonName}}", "docker".to_owned()),
    ];
    fields.iter().fold(tag.to_owned(), |text, (field, value)| text.replace(field, value))
}
