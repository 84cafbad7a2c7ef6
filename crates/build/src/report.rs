//! What is told of a build's steps while they run: each begins, says things, ends; some for several builds at once.
//!
//! Never: waits for a watcher.

use crate::{
    error::BuildError,
    host::Progress,
    request::{BuildEvent, Vertex, VertexLog, VertexStatus},
};
use bytes::Bytes;
use minke_model::{Timestamp, id::Digest};
use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Bytes of a shared step's output that one who comes later still sees.
const PAST: usize = 256 << 10;

/// A step, told to whoever watches it.
#[derive(Clone)]
pub struct Reporter(Arc<Inner>);

struct Inner {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    watchers: Vec<Watcher>,
    next: u64,
    past: VecDeque<(u32, Bytes, Timestamp)>,
    kept: usize,
}

struct Watcher {
    number: u64,
    vertex: Digest,
    progress: Arc<dyn Progress>,
}

/// Watches as long as it is held.
pub struct Watching {
    reporter: Reporter,
    number: u64,
}

impl Drop for Watching {
    fn drop(&mut self) {
        self.reporter.state().watchers.retain(|w| w.number != self.number);
    }
}

impl Default for Reporter {
    fn default() -> Self {
        Self(Arc::new(Inner { state: Mutex::default() }))
    }
}

impl Reporter {
    /// Nobody watches yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Of one vertex for one build.
    pub fn of(vertex: &Digest, progress: &Arc<dyn Progress>) -> Self {
        let reporter = Self::new();
        reporter.add(vertex, progress);
        reporter
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, vertex: &Digest, progress: &Arc<dyn Progress>) -> u64 {
        let mut state = self.state();
        state.next += 1;
        let number = state.next;
        for (stream, bytes, time) in &state.past {
            progress.report(BuildEvent::Log(VertexLog {
                vertex: vertex.clone(),
                stream: *stream,
                bytes: bytes.clone(),
                time: *time,
            }));
        }
        state.watchers.push(Watcher { number, vertex: vertex.clone(), progress: progress.clone() });
        number
    }

    /// One more build watches, until what is returned is dropped; it sees what was said before, as far as it is kept.
    pub fn watch(&self, vertex: &Digest, progress: &Arc<dyn Progress>) -> Watching {
        Watching { reporter: self.clone(), number: self.add(vertex, progress) }
    }

    /// The step said something: 1 is output, 2 errors.
    pub fn log(&self, stream: u32, bytes: impl Into<Bytes>) {
        let (bytes, time) = (bytes.into(), Timestamp::now());
        let mut state = self.state();
        state.kept += bytes.len();
        state.past.push_back((stream, bytes.clone(), time));
        while state.kept > PAST {
            let Some((_, old, _)) = state.past.pop_front() else { break };
            state.kept -= old.len();
        }
        for watcher in &state.watchers {
            let vertex = watcher.vertex.clone();
            watcher.progress.report(BuildEvent::Log(VertexLog {
                vertex,
                stream,
                bytes: bytes.clone(),
                time,
            }));
        }
    }

    /// A part of the step went on. `total` is 0 where it is not known.
    pub fn status(&self, id: &str, current: i64, total: i64, started: Timestamp, done: bool) {
        let time = Timestamp::now();
        for watcher in &self.state().watchers {
            watcher.progress.report(BuildEvent::Status(VertexStatus {
                id: id.to_owned(),
                vertex: watcher.vertex.clone(),
                name: String::new(),
                current,
                total,
                time,
                started: Some(started),
                completed: done.then_some(time),
            }));
        }
    }
}

/// A vertex of one build, from its beginning to its end.
pub struct Telling {
    vertex: Vertex,
    progress: Arc<dyn Progress>,
}

impl Telling {
    /// It is known.
    pub fn known(digest: Digest, name: String, inputs: Vec<Digest>, progress: &Arc<dyn Progress>) -> Self {
        let vertex =
            Vertex { digest, inputs, name, started: None, completed: None, cached: false, error: None };
        let telling = Self { vertex, progress: progress.clone() };
        telling.report();
        telling
    }

    /// Its identity.
    pub fn digest(&self) -> &Digest {
        &self.vertex.digest
    }

    fn report(&self) {
        self.progress.report(BuildEvent::Vertex(self.vertex.clone()));
    }

    /// It begins.
    pub fn start(&mut self) {
        if self.vertex.started.is_none() {
            self.vertex.started = Some(Timestamp::now());
            self.report();
        }
    }

    /// It was done before.
    pub fn cached(&mut self) {
        let now = Timestamp::now();
        self.vertex.started.get_or_insert(now);
        self.vertex.completed = Some(now);
        self.vertex.cached = true;
        self.report();
    }

    /// It ended, unless that was told.
    pub fn end_unless_cached<T>(&mut self, result: &Result<T, BuildError>) {
        if self.vertex.completed.is_none() {
            self.end(result);
        }
    }

    /// It ended.
    pub fn end<T>(&mut self, result: &Result<T, BuildError>) {
        let now = Timestamp::now();
        self.vertex.started.get_or_insert(now);
        self.vertex.completed = Some(now);
        self.vertex.error = result.as_ref().err().map(BuildError::in_step);
        self.report();
    }
}

impl Drop for Telling {
    fn drop(&mut self) {
        // Begun, and dropped with its build.
        if self.vertex.started.is_some() && self.vertex.completed.is_none() {
            self.end::<()>(&Err(BuildError::Cancelled));
        }
    }
}
