//! One line a happening, each with its step's number, as `docker buildx build --progress plain` writes them.
//!
//! Steps run side by side, and their lines would be hard to read in turn: one has the word until it ends, or until it
//! has had nothing to say for a while.

use super::{
    View,
    steps::{Step, Steps, part},
};
use minke_engine::build::request::BuildEvent;
use minke_model::id::Digest;
use std::{
    collections::{HashMap, HashSet},
    io::{self, Write},
    time::{Duration, Instant},
};

/// How long a step that says nothing keeps the word while others wait.
const SILENCE: Duration = Duration::from_secs(2);
/// Lines of one step that wait for the word.
const MOST_WAITING: usize = 10_000;

/// Lines as they come.
#[derive(Default)]
pub(super) struct Plain {
    /// Who has the word, and when it said something last.
    speaks: Option<(Digest, Instant)>,
    /// Who was heard already.
    heard: HashSet<Digest>,
    /// Lines of others, in the order of their first.
    waiting: Vec<(Digest, Vec<String>)>,
    /// Lines of output that were taken from each step.
    taken: HashMap<Digest, usize>,
    begun: bool,
    ended: HashSet<Digest>,
}

impl View for Plain {
    fn event(&mut self, steps: &Steps, event: &BuildEvent, out: &mut dyn Write) -> io::Result<()> {
        let (digest, lines) = match event {
            BuildEvent::Vertex(vertex) => {
                let Some(step) = steps.get(&vertex.digest) else { return Ok(()) };
                let mut lines = Vec::new();
                if vertex.completed.is_some() && self.ended.insert(vertex.digest.clone()) {
                    if !step.open.is_empty() {
                        lines.push(step.open.clone());
                    }
                    lines.push(last(step));
                }
                (&vertex.digest, lines)
            }
            BuildEvent::Status(status) if status.completed.is_some() => (&status.vertex, vec![part(status)]),
            BuildEvent::Log(log) => {
                let Some(step) = steps.get(&log.vertex) else { return Ok(()) };
                let taken = self.taken.entry(log.vertex.clone()).or_default();
                let new = step.said - *taken;
                *taken = step.said;
                let at = step.seconds(log.time);
                let fresh = step.lines.iter().rev().take(new).rev();
                (&log.vertex, fresh.map(|line| format!("{at:.3} {line}")).collect())
            }
            _ => return Ok(()),
        };
        self.say(steps, digest, lines, out)
    }

    fn end(&mut self, steps: &Steps, out: &mut dyn Write) -> io::Result<()> {
        for (digest, lines) in std::mem::take(&mut self.waiting) {
            self.give(steps, &digest, out)?;
            self.write(steps, &digest, lines, out)?;
        }
        for step in steps.all.iter().filter(|step| failed(step)) {
            writeln!(out, "------\n > {}:", step.vertex.name)?;
            for line in &step.lines {
                writeln!(out, "{line}")?;
            }
            if !step.open.is_empty() {
                writeln!(out, "{}", step.open)?;
            }
            writeln!(out, "------")?;
        }
        Ok(())
    }
}

/// Whether a step's own output says why the build failed.
pub(super) fn failed(step: &Step) -> bool {
    step.vertex.error.as_deref().is_some_and(|error| !error.ends_with("context canceled"))
        && (!step.lines.is_empty() || !step.open.is_empty())
}

/// How a step ended.
fn last(step: &Step) -> String {
    match (&step.vertex.error, step.vertex.cached, step.took()) {
        (Some(error), ..) if error.ends_with("context canceled") => "CANCELED".into(),
        (Some(error), ..) => format!("ERROR: {error}"),
        (None, true, _) => "CACHED".into(),
        (None, false, took) => format!("DONE {:.1}s", took.unwrap_or_default()),
    }
}

impl Plain {
    fn say(
        &mut self,
        steps: &Steps,
        digest: &Digest,
        lines: Vec<String>,
        out: &mut dyn Write,
    ) -> io::Result<()> {
        let holder = self.speaks.as_ref().map(|(digest, since)| (digest.clone(), since.elapsed()));
        let free = match &holder {
            None => true,
            Some((holder, _)) if holder == digest => true,
            Some((holder, silent)) => self.ended.contains(holder) || *silent > SILENCE,
        };
        if !free {
            match self.waiting.iter_mut().find(|(known, _)| known == digest) {
                Some((_, kept)) if kept.len() < MOST_WAITING => kept.extend(lines),
                Some(_) => {}
                None => self.waiting.push((digest.clone(), lines)),
            }
            return Ok(());
        }
        // Who waited longest is heard before who comes now.
        if holder.as_ref().is_none_or(|(holder, _)| holder != digest) {
            self.hear_waiting(steps, Some(digest), out)?;
        }
        self.give(steps, digest, out)?;
        self.write(steps, digest, lines, out)?;
        if self.ended.contains(digest) {
            self.hear_waiting(steps, None, out)?;
        }
        Ok(())
    }

    /// Hears those who wait and have ended; then one that goes on, if nobody else is about to speak.
    fn hear_waiting(&mut self, steps: &Steps, but: Option<&Digest>, out: &mut dyn Write) -> io::Result<()> {
        let waiting = std::mem::take(&mut self.waiting);
        let (ended, rest): (Vec<_>, Vec<_>) =
            waiting.into_iter().partition(|(digest, _)| self.ended.contains(digest) || Some(digest) == but);
        for (digest, lines) in ended {
            self.give(steps, &digest, out)?;
            self.write(steps, &digest, lines, out)?;
        }
        self.waiting = rest;
        if but.is_none() && !self.waiting.is_empty() {
            let (digest, lines) = self.waiting.remove(0);
            self.give(steps, &digest, out)?;
            self.write(steps, &digest, lines, out)?;
        }
        Ok(())
    }

    /// Gives the word to a step.
    fn give(&mut self, steps: &Steps, digest: &Digest, out: &mut dyn Write) -> io::Result<()> {
        let before = self.speaks.replace((digest.clone(), Instant::now())).map(|(digest, _)| digest);
        if before.as_ref() == Some(digest) {
            return Ok(());
        }
        if let Some(before) = before.filter(|before| !self.ended.contains(before))
            && let Some(step) = steps.get(&before)
        {
            writeln!(out, "#{} ...", step.number)?;
        }
        let Some(step) = steps.get(digest) else { return Ok(()) };
        if std::mem::replace(&mut self.begun, true) {
            writeln!(out)?;
        }
        self.heard.insert(digest.clone());
        writeln!(out, "#{} {}", step.number, step.vertex.name)
    }

    fn write(
        &mut self,
        steps: &Steps,
        digest: &Digest,
        lines: Vec<String>,
        out: &mut dyn Write,
    ) -> io::Result<()> {
        let Some(step) = steps.get(digest) else { return Ok(()) };
        for line in lines {
            writeln!(out, "#{} {line}", step.number)?;
        }
        out.flush()
    }
}
