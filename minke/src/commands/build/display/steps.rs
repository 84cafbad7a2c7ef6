//! What is known of a build's steps, by all ways of showing them.

use minke_engine::build::request::{BuildEvent, Vertex, VertexStatus};
use minke_model::id::Digest;
use std::collections::HashMap;

/// Lines of output that are kept for a step that fails.
const MOST_LINES: usize = 40;
/// Bytes of a line that is shown.
const LONGEST: usize = 8 << 10;

/// One step.
pub(super) struct Step {
    /// Its number as it is shown, from 1.
    pub(super) number: usize,
    pub(super) vertex: Vertex,
    /// Its parts, in the order of their beginnings.
    pub(super) parts: Vec<VertexStatus>,
    /// The last lines of its output, whole ones.
    pub(super) lines: Vec<String>,
    /// A line that has not ended.
    pub(super) open: String,
    /// Whole lines so far.
    pub(super) said: usize,
}

impl Step {
    /// Seconds from its beginning to `to`.
    pub(super) fn seconds(&self, to: minke_model::Timestamp) -> f64 {
        let from = self.vertex.started.map_or(to.as_nanos(), |started| started.as_nanos());
        (to.as_nanos() - from).max(0) as f64 / 1e9
    }

    /// How long it took, where it has ended.
    pub(super) fn took(&self) -> Option<f64> {
        self.vertex.completed.map(|completed| self.seconds(completed))
    }
}

/// Steps in the order of their beginnings.
#[derive(Default)]
pub(super) struct Steps {
    pub(super) all: Vec<Step>,
    by_digest: HashMap<Digest, usize>,
    /// Those that have not begun.
    pub(super) waiting: HashMap<Digest, Vertex>,
}

impl Steps {
    /// A step that has begun.
    pub(super) fn get(&self, digest: &Digest) -> Option<&Step> {
        self.by_digest.get(digest).map(|at| &self.all[*at])
    }

    /// How many have ended, and how many there are.
    pub(super) fn count(&self) -> (usize, usize) {
        let ended = self.all.iter().filter(|step| step.vertex.completed.is_some()).count();
        (ended, self.all.len() + self.waiting.len())
    }

    /// Takes note of what happened.
    pub(super) fn take(&mut self, event: &BuildEvent) {
        match event {
            BuildEvent::Vertex(vertex) => self.vertex(vertex),
            BuildEvent::Status(status) => {
                let Some(step) = self.step(&status.vertex) else { return };
                match step.parts.iter_mut().find(|part| part.id == status.id) {
                    Some(part) => *part = status.clone(),
                    None => step.parts.push(status.clone()),
                }
            }
            BuildEvent::Log(log) => {
                let Some(step) = self.step(&log.vertex) else { return };
                step.open.push_str(&String::from_utf8_lossy(&log.bytes));
                while let Some(end) = step.open.find('\n').or((step.open.len() > LONGEST).then_some(LONGEST))
                {
                    let end = (0..=end).rev().find(|end| step.open.is_char_boundary(*end)).unwrap_or(0);
                    let mut rest = step.open.split_off(end);
                    if rest.starts_with('\n') {
                        rest.remove(0);
                    }
                    let line = std::mem::replace(&mut step.open, rest);
                    step.said += 1;
                    step.lines.push(line.trim_end_matches('\r').to_owned());
                    if step.lines.len() > MOST_LINES {
                        step.lines.remove(0);
                    }
                }
            }
            BuildEvent::Warning(_) => {}
        }
    }

    fn step(&mut self, digest: &Digest) -> Option<&mut Step> {
        self.by_digest.get(digest).map(|at| &mut self.all[*at])
    }

    fn vertex(&mut self, vertex: &Vertex) {
        if let Some(step) = self.step(&vertex.digest) {
            step.vertex = vertex.clone();
            return;
        }
        if vertex.started.is_none() {
            self.waiting.insert(vertex.digest.clone(), vertex.clone());
            return;
        }
        self.waiting.remove(&vertex.digest);
        self.by_digest.insert(vertex.digest.clone(), self.all.len());
        self.all.push(Step {
            number: self.all.len() + 1,
            vertex: vertex.clone(),
            parts: Vec::new(),
            lines: Vec::new(),
            open: String::new(),
            said: 0,
        });
    }
}

/// `2.05kB`, `17B`, as buildx shows bytes.
pub(super) fn bytes(count: i64) -> String {
    const UNITS: [&str; 6] = ["B", "kB", "MB", "GB", "TB", "PB"];
    let (mut value, mut unit) = (count as f64, 0);
    while value >= 1000.0 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    if unit == 0 { format!("{count}B") } else { format!("{value:.2}{}", UNITS[unit]) }
}

/// A part of a step: what it is, how far, how long.
pub(super) fn part(part: &VertexStatus) -> String {
    let mut text = if part.name.is_empty() { part.id.clone() } else { part.name.clone() };
    if part.total != 0 {
        text.push_str(&format!(" {} / {}", bytes(part.current), bytes(part.total)));
    } else if part.current != 0 {
        text.push_str(&format!(" {}", bytes(part.current)));
    }
    if let Some(started) = part.started {
        let end = part.completed.unwrap_or(part.time);
        let seconds = (end.as_nanos() - started.as_nanos()) as f64 / 1e9;
        if seconds > 0.01 {
            text.push_str(&format!(" {seconds:.1}s"));
        }
    }
    if part.completed.is_some() {
        text.push_str(" done");
    }
    text
}
