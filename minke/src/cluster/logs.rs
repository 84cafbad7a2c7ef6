//! A task's output on its way from its node to a manager: lines in frames, on a stream that the manager opened.

use minke_api::swarm::{LogLine, LogLines, LogWish, Refusal, Result};
use minke_cluster::transport::{TransportError, message, mux};
use minke_engine::{
    Engine, Filters,
    container::{ListOptions, LogOptions},
    logs::Stream,
};
use minke_model::{Kind, Labels, TaskId, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use tokio::sync::mpsc;

/// Name of the stream.
pub(super) const LOGS: &str = "logs";
/// Label that names the task whose container it is.
const TASK_LABEL: &str = "com.docker.swarm.task.id";
/// Lines that wait for a slow reader.
const WAITING: usize = 64;

/// What is asked for.
#[derive(Serialize, Deserialize)]
struct Question {
    task: TaskId,
    stdout: bool,
    stderr: bool,
    follow: bool,
    since: Option<Timestamp>,
    tail: Option<usize>,
}

/// Some lines, or the end.
#[derive(Serialize, Deserialize)]
enum Piece {
    Lines(Vec<Line>),
    End,
    Failed(String),
}

#[derive(Serialize, Deserialize)]
struct Line {
    at: i64,
    stream: u8,
    details: Vec<(String, String)>,
    /// Text that is no UTF-8 is kept byte by byte.
    text: Bytes,
}

#[derive(Serialize, Deserialize)]
enum Bytes {
    Text(String),
    Raw(Vec<u8>),
}

/// The manager's side: asks, and hands on what comes.
pub(super) async fn ask(mut stream: mux::Stream, wish: LogWish) -> Result<LogLines> {
    let question = Question {
        task: wish.task,
        stdout: wish.stdout,
        stderr: wish.stderr,
        follow: wish.follow,
        since: wish.since,
        tail: wish.tail,
    };
    let failed = |e: TransportError| Refusal::new(Kind::Unavailable, e.to_string());
    message::write(&mut stream, &question).await.map_err(failed)?;
    let (sender, lines) = mpsc::channel(WAITING);
    tokio::spawn(async move {
        loop {
            let piece = tokio::select! {
                piece = message::read::<Piece>(&mut stream) => piece,
                // The stream ends with this task, and the node's reading with the stream.
                () = sender.closed() => return,
            };
            let lines = match piece {
                Ok(Piece::Lines(lines)) => lines,
                Ok(Piece::End) => return,
                Ok(Piece::Failed(why)) => {
                    let _ = sender.send(Err(Refusal::new(Kind::Internal, why))).await;
                    return;
                }
                Err(e) => {
                    let _ = sender.send(Err(failed(e))).await;
                    return;
                }
            };
            for line in lines {
                let line = LogLine {
                    at: Timestamp::from_nanos(line.at),
                    stream: line.stream,
                    details: line.details.into_iter().collect::<Labels>(),
                    text: match line.text {
                        Bytes::Text(text) => text.into(),
                        Bytes::Raw(raw) => raw.into(),
                    },
                };
                if sender.send(Ok(line)).await.is_err() {
                    return;
                }
            }
        }
    });
    Ok(lines)
}

/// The node's side: reads the container's log, and sends it.
pub(super) async fn answer(machine: &Engine, mut stream: mux::Stream) {
    let told = match message::read::<Question>(&mut stream).await {
        Ok(question) => send(machine, question, &mut stream).await,
        Err(e) => Err(e),
    };
    if let Err(e) = told {
        tracing::debug!("a task's log is not read to its end: {e}");
    }
}

async fn send(
    machine: &Engine,
    question: Question,
    stream: &mut mux::Stream,
) -> std::result::Result<(), TransportError> {
    let label = format!("{TASK_LABEL}={}", question.task);
    let filters = Filters::from(BTreeMap::from([("label".to_owned(), BTreeSet::from([label]))]));
    let found = machine.containers.list(&filters, ListOptions { all: true, ..ListOptions::default() }).await;
    let container = match found.map(|found| found.into_iter().next()) {
        Ok(Some(summary)) => summary.container.id.clone(),
        // It was not made yet, or its container is gone: there is nothing to read.
        Ok(None) => return message::write(stream, &Piece::End).await,
        Err(e) => return message::write(stream, &Piece::Failed(e.to_string())).await,
    };
    let options = LogOptions {
        stdout: question.stdout,
        stderr: question.stderr,
        follow: question.follow,
        since: question.since,
        until: None,
        tail: question.tail,
    };
    let mut logs = match machine.containers.logs(container.as_str(), options).await {
        Ok(logs) => logs,
        Err(e) => return message::write(stream, &Piece::Failed(e.to_string())).await,
    };
    while let Some(batch) = logs.next().await {
        let batch = match batch {
            Ok(batch) => batch,
            Err(e) => return message::write(stream, &Piece::Failed(e.to_string())).await,
        };
        let lines = batch.iter().filter(|line| logs.wants(line.stream)).map(|line| Line {
            at: line.at,
            stream: match line.stream {
                Stream::Stdout => 1,
                Stream::Stderr => 2,
            },
            details: line.attributes.map_or_else(Vec::new, |attributes| attributes.to_vec()),
            text: match std::str::from_utf8(line.text) {
                Ok(text) => Bytes::Text(text.to_owned()),
                Err(_) => Bytes::Raw(line.text.to_owned()),
            },
        });
        let lines: Vec<_> = lines.collect();
        if !lines.is_empty() {
            message::write(stream, &Piece::Lines(lines)).await?;
        }
    }
    message::write(stream, &Piece::End).await
}
