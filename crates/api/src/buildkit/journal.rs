//! What a build's watchers are told: kept from its first step, so that whoever comes late, or after its end, sees all.

use super::proto::control;
use minke_engine::build::{
    Progress,
    request::{BuildEvent, Vertex, VertexLog, VertexStatus, VertexWarning},
};
use minke_model::{Timestamp, id::Digest};
use prost::Message as _;
use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};
use tokio::sync::watch;

/// What one step may say, bytes (BuildKit's `BUILDKIT_STEP_LOG_MAX_SIZE`).
const MOST_LOG: usize = 2 << 20;
/// What all steps may say, bytes.
const MOST_LOGS: usize = 16 << 20;
/// Said once where a step's output is cut.
const CLIPPED: &str = "[output clipped, log limit 2MiB reached]\n";
/// Events of one build; beyond them only steps' ends are kept.
const MOST_EVENTS: usize = 1 << 17;
/// How often one part of a step tells how far it is (BuildKit's own rate).
const STATUS_RATE: Duration = Duration::from_millis(100);
/// Bytes of output in one message.
const MOST_MESSAGE_LOGS: usize = 1 << 20;
/// Events in one message.
const MOST_MESSAGE_EVENTS: usize = 4096;

/// What happened in a build, as it is kept on disk.
#[derive(Clone, PartialEq, prost::Message)]
struct Kept {
    #[prost(message, repeated, tag = "1")]
    messages: Vec<control::StatusResponse>,
}

/// All that happened in one build.
#[derive(Debug)]
pub(crate) struct Journal {
    state: Mutex<State>,
    /// How many events there are, and whether no more come.
    news: watch::Sender<(usize, bool)>,
}

#[derive(Debug, Default)]
struct State {
    events: Vec<BuildEvent>,
    /// Of one that was read again: all that it tells.
    kept: VecDeque<control::StatusResponse>,
    /// Bytes that each step said.
    said: HashMap<Digest, usize>,
    said_by_all: usize,
    /// When each part of a step told last.
    told: HashMap<(Digest, String), Timestamp>,
    /// Each step's place in `order`, and its last state.
    steps: HashMap<Digest, Vertex>,
    warnings: usize,
}

/// Sums for a build's record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sums {
    /// Steps known.
    pub(crate) total: usize,
    /// Of them, ended.
    pub(crate) completed: usize,
    /// Of them, found in the cache.
    pub(crate) cached: usize,
    /// Findings.
    pub(crate) warnings: usize,
}

impl Default for Journal {
    fn default() -> Self {
        Self { state: Mutex::default(), news: watch::Sender::new((0, false)) }
    }
}

impl Progress for Journal {
    fn report(&self, event: BuildEvent) {
        let mut state = self.state();
        if !state.add(event) {
            return;
        }
        let length = state.events.len();
        drop(state);
        self.news.send_modify(|(known, _)| *known = length.max(*known));
    }
}

impl State {
    /// Whether there is something to tell.
    fn add(&mut self, event: BuildEvent) -> bool {
        let full = self.events.len() >= MOST_EVENTS;
        let event = match event {
            BuildEvent::Vertex(vertex) => {
                if full && vertex.completed.is_none() || self.events.len() >= 2 * MOST_EVENTS {
                    return false;
                }
                self.steps.insert(vertex.digest.clone(), vertex.clone());
                BuildEvent::Vertex(vertex)
            }
            BuildEvent::Status(status) => {
                let part = (status.vertex.clone(), status.id.clone());
                let told = self.told.get(&part).copied();
                let soon = told.is_some_and(|told| status.time.since(told) < STATUS_RATE);
                if full || soon && status.completed.is_none() {
                    return false;
                }
                self.told.insert(part, status.time);
                BuildEvent::Status(status)
            }
            BuildEvent::Log(mut log) => {
                let said = self.said.entry(log.vertex.clone()).or_default();
                if full || *said > MOST_LOG || self.said_by_all > MOST_LOGS {
                    return false;
                }
                *said += log.bytes.len();
                self.said_by_all += log.bytes.len();
                if *said > MOST_LOG || self.said_by_all > MOST_LOGS {
                    *said = MOST_LOG + 1;
                    log.bytes = CLIPPED.into();
                }
                BuildEvent::Log(log)
            }
            BuildEvent::Warning(warning) => {
                if full {
                    return false;
                }
                self.warnings += 1;
                BuildEvent::Warning(warning)
            }
        };
        self.events.push(event);
        true
    }
}

impl Journal {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// No more comes.
    pub(crate) fn close(&self) {
        self.news.send_modify(|(_, closed)| *closed = true);
    }

    /// Sums of what happened until now.
    pub(crate) fn sums(&self) -> Sums {
        let state = self.state();
        let count = |fits: fn(&Vertex) -> bool| state.steps.values().filter(|v| fits(v)).count();
        Sums {
            total: state.steps.len(),
            completed: count(|v| v.completed.is_some()),
            cached: count(|v| v.cached),
            warnings: state.warnings,
        }
    }

    /// Bytes that steps said.
    pub(crate) fn said(&self) -> usize {
        self.state().said_by_all
    }

    /// Forgets what steps said; what they were stays.
    pub(crate) fn forget_logs(&self) {
        let mut state = self.state();
        state.events.retain(|event| !matches!(event, BuildEvent::Log(_)));
        state.events.shrink_to_fit();
        state.said_by_all = 0;
    }

    /// All of it, to be read again by [`Journal::decode`].
    pub(crate) fn encode(&self) -> Vec<u8> {
        let state = self.state();
        let mut messages = Vec::new();
        let mut at = 0;
        while let Some((message, next)) = state.message(at) {
            messages.push(message);
            at = next;
        }
        Kept { messages }.encode_to_vec()
    }

    /// One of a build that ended; nothing where the bytes are none.
    pub(crate) fn decode(bytes: &[u8]) -> Self {
        let kept = Kept::decode(bytes).unwrap_or_default().messages.into();
        let state = State { kept, ..State::default() };
        Self { state: Mutex::new(state), news: watch::Sender::new((0, true)) }
    }

    /// Names of all steps.
    pub(crate) fn steps(&self) -> Vec<String> {
        self.state().steps.values().map(|step| step.name.clone()).collect()
    }

    /// A reader from the first event on.
    pub(crate) fn read(self: Arc<Self>) -> Reader {
        Reader { news: self.news.subscribe(), journal: self, at: 0 }
    }
}

/// Reads a journal, whether it is still written or not.
#[derive(Debug)]
pub(crate) struct Reader {
    journal: Arc<Journal>,
    news: watch::Receiver<(usize, bool)>,
    at: usize,
}

impl Reader {
    /// What happened since; waits until there is something. `None` at the end.
    pub(crate) async fn next(&mut self) -> Option<control::StatusResponse> {
        let at = self.at;
        // An error is impossible: the journal is held.
        let _ = self.news.wait_for(|(length, closed)| *length > at || *closed).await;
        let mut state = self.journal.state();
        if let Some(kept) = state.kept.pop_front() {
            return Some(kept);
        }
        let (message, next) = state.message(at)?;
        self.at = next;
        Some(message)
    }
}

impl State {
    /// What is told after so many events, and how many were told then; `None` where there is nothing new.
    fn message(&self, at: usize) -> Option<(control::StatusResponse, usize)> {
        let mut message = control::StatusResponse::default();
        let (mut logs, mut next) = (0, at);
        for event in self.events.iter().skip(at).take(MOST_MESSAGE_EVENTS) {
            next += 1;
            match event {
                BuildEvent::Vertex(vertex) => message.vertexes.push(vertex.into()),
                BuildEvent::Status(status) => message.statuses.push(status.into()),
                BuildEvent::Log(log) => {
                    logs += log.bytes.len();
                    message.logs.push(log.into());
                }
                BuildEvent::Warning(warning) => message.warnings.push(warning.into()),
            }
            if logs > MOST_MESSAGE_LOGS {
                break;
            }
        }
        (next > at).then_some((message, next))
    }
}

impl From<&Vertex> for control::Vertex {
    fn from(v: &Vertex) -> Self {
        Self {
            digest: v.digest.to_string(),
            inputs: v.inputs.iter().map(Digest::to_string).collect(),
            name: v.name.clone(),
            cached: v.cached,
            started: v.started.map(Into::into),
            completed: v.completed.map(Into::into),
            error: v.error.clone().unwrap_or_default(),
        }
    }
}

impl From<&VertexStatus> for control::VertexStatus {
    fn from(s: &VertexStatus) -> Self {
        Self {
            id: s.id.clone(),
            vertex: s.vertex.to_string(),
            name: s.name.clone(),
            current: s.current,
            total: s.total,
            timestamp: Some(s.time.into()),
            started: s.started.map(Into::into),
            completed: s.completed.map(Into::into),
        }
    }
}

impl From<&VertexLog> for control::VertexLog {
    fn from(l: &VertexLog) -> Self {
        Self {
            vertex: l.vertex.to_string(),
            timestamp: Some(l.time.into()),
            stream: l.stream.into(),
            msg: l.bytes.clone(),
        }
    }
}

impl From<&VertexWarning> for control::VertexWarning {
    fn from(w: &VertexWarning) -> Self {
        let bytes = |text: &String| text.clone().into_bytes();
        Self {
            vertex: w.vertex.to_string(),
            level: w.level.into(),
            short: bytes(&w.short),
            detail: w.detail.iter().map(bytes).collect(),
            url: w.url.clone(),
            info: Some((&w.source).into()),
            ranges: vec![w.lines.into()],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(n: u8) -> Digest {
        Digest::from_sha256(&[n; 32])
    }

    fn vertex(n: u8, completed: bool) -> BuildEvent {
        let time = Some(Timestamp::from_nanos(1));
        let completed = time.filter(|_| completed);
        BuildEvent::Vertex(Vertex {
            digest: digest(n),
            inputs: Vec::new(),
            name: format!("step {n}"),
            started: time,
            completed,
            cached: false,
            error: None,
        })
    }

    fn log(bytes: usize) -> BuildEvent {
        let bytes = vec![b'x'; bytes].into();
        BuildEvent::Log(VertexLog { vertex: digest(1), stream: 1, bytes, time: Timestamp::from_nanos(2) })
    }

    fn status(at: i64, completed: bool) -> BuildEvent {
        let time = Timestamp::from_nanos(at * 1_000_000);
        BuildEvent::Status(VertexStatus {
            id: "transferring context:".into(),
            vertex: digest(1),
            name: String::new(),
            current: at,
            total: 0,
            time,
            started: None,
            completed: completed.then_some(time),
        })
    }

    #[tokio::test]
    async fn whoever_comes_late_sees_all_and_the_end() {
        let journal = Arc::new(Journal::default());
        journal.report(vertex(1, false));
        journal.report(log(3));
        let mut early = journal.clone().read();
        assert_eq!(early.next().await.map(|m| (m.vertexes.len(), m.logs.len())), Some((1, 1)));
        journal.report(vertex(1, true));
        assert_eq!(early.next().await.map(|m| m.vertexes.len()), Some(1));
        journal.close();
        assert_eq!(early.next().await, None);
        let late = journal.clone().read().next().await;
        assert_eq!(late.map(|m| m.vertexes.len()), Some(2));
        assert_eq!(journal.sums(), Sums { total: 1, completed: 1, ..Sums::default() });
    }

    #[tokio::test]
    async fn one_that_was_kept_tells_the_same_again() {
        let journal = Arc::new(Journal::default());
        journal.report(vertex(1, false));
        journal.report(log(3));
        journal.report(vertex(1, true));
        journal.close();
        let again = Arc::new(Journal::decode(&journal.encode()));
        let (mut first, mut second) = (journal.read(), again.read());
        assert_eq!(first.next().await, second.next().await);
        assert_eq!((first.next().await, second.next().await), (None, None));
        assert_eq!(Arc::new(Journal::decode(b"no journal")).read().next().await, None);
    }

    #[tokio::test]
    async fn a_step_that_talks_too_much_is_cut_once() {
        let journal = Arc::new(Journal::default());
        for _ in 0..5 {
            journal.report(log(MOST_LOG / 2));
        }
        journal.close();
        let mut reader = journal.clone().read();
        let mut said = Vec::new();
        while let Some(message) = reader.next().await {
            said.extend(message.logs.into_iter().map(|l| l.msg));
        }
        assert_eq!(said.len(), 3);
        assert_eq!(said[2], CLIPPED);
    }

    #[tokio::test]
    async fn what_was_said_can_be_forgotten_and_the_steps_stay() {
        let journal = Arc::new(Journal::default());
        journal.report(log(10));
        journal.report(vertex(1, true));
        journal.close();
        assert_eq!(journal.said(), 10);
        journal.forget_logs();
        let message = journal.clone().read().next().await.unwrap();
        assert_eq!((message.logs.len(), message.vertexes.len(), journal.said()), (0, 1, 0));
    }

    #[test]
    fn a_part_tells_ten_times_a_second_and_always_its_end() {
        let journal = Journal::default();
        for at in [0, 10, 50, 99, 100, 150] {
            journal.report(status(at, at == 150));
        }
        assert_eq!(journal.state().events.len(), 3);
    }
}
