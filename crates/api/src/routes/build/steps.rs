//! What dockerd's classic builder prints, told from the events of a build whose steps run side by side (pure).
//!
//! The classic builder does one instruction after the other and says so. Here a step's lines wait until all before it
//! have been told; what it says meanwhile is kept, up to a bound. Ids of steps are their keys: no image has them, but
//! for the last.

use crate::wire::progress::Line;
use minke_engine::build::{
    dockerfile::{
        Command, Dockerfile,
        instruction::{Pairs, Stage},
    },
    request::{BuildEvent, Vertex},
};
use minke_model::id::Digest;
use sha2::{Digest as _, Sha256};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Bytes of output that are kept for a step whose turn has not come.
const MOST_KEPT: usize = 1 << 20;

/// Build arguments that nobody needs to declare (moby `builder/dockerfile/buildargs.go`).
const BUILT_IN: [&str; 10] = [
    "HTTP_PROXY",
    "http_proxy",
    "HTTPS_PROXY",
    "https_proxy",
    "FTP_PROXY",
    "ftp_proxy",
    "NO_PROXY",
    "no_proxy",
    "ALL_PROXY",
    "all_proxy",
];

/// The steps of a Dockerfile, and how far they are told.
pub(super) struct Steps {
    all: Vec<Step>,
    stages: Vec<Seen>,
    vertices: HashMap<Digest, Vertex>,
    kept: HashMap<Digest, Vec<(u32, String)>>,
    next: usize,
    /// The line `Step 1/2 : …` of the next is out.
    said: bool,
    /// The line ` ---> Running in …` of the next is out.
    running: bool,
    /// The id after the last step that was told.
    id: String,
    /// Nothing more will happen.
    over: bool,
    unused: Vec<String>,
}

struct Step {
    text: String,
    stage: usize,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// `ARG` before the first stage.
    Argument,
    /// `FROM`
    From,
    /// Makes something: the number among those of its stage. `runs`: in a container.
    Work { number: usize, runs: bool },
    /// Changes only what the image says of itself.
    Note,
}

/// What is known of a stage's steps.
#[derive(Default)]
struct Seen {
    label: String,
    /// It begins with an earlier one.
    on: Option<usize>,
    scratch: bool,
    /// The target needs it.
    needed: bool,
    from: Option<Digest>,
    /// `ONBUILD` triggers of its base.
    triggers: usize,
    /// By their numbers as names have them, without triggers and `FROM`.
    work: BTreeMap<usize, Digest>,
    /// The id after its last step.
    id: String,
}

impl Steps {
    /// `target` is one of the file's stages; further labels come at the end.
    pub(super) fn new(file: &Dockerfile, target: usize, labels: &Pairs, given: &[String]) -> Self {
        let stages = &file.stages[..=target.min(file.stages.len() - 1)];
        let mut all = Vec::new();
        let mut step = |text: &str, stage, kind| all.push(Step { text: text.to_owned(), stage, kind });
        for argument in &file.arguments {
            step(&argument.source, 0, Kind::Argument);
        }
        for (stage, said) in stages.iter().enumerate() {
            step(&said.source, stage, Kind::From);
            let mut number = 0;
            for instruction in &said.instructions {
                let runs = match &instruction.command {
                    Command::Run(_) | Command::Workdir(_) => Some(true),
                    Command::Copy(_) | Command::Add(_) => Some(false),
                    _ => None,
                };
                let kind = runs.map_or(Kind::Note, |runs| Kind::Work { number, runs });
                number += usize::from(runs.is_some());
                step(&instruction.source, stage, kind);
            }
        }
        for (name, value) in labels {
            step(&format!("LABEL {name}={value}"), target, Kind::Note);
        }
        let mut declared: BTreeSet<&str> = BUILT_IN.into_iter().collect();
        let instructions = stages.iter().flat_map(|s| &s.instructions).chain(&file.arguments);
        for instruction in instructions {
            if let Command::Arg(arguments) = &instruction.command {
                declared.extend(arguments.iter().map(|a| a.name.as_str()));
            }
        }
        let unused = given.iter().filter(|name| !declared.contains(name.as_str())).cloned().collect();
        Self {
            all,
            stages: seen(stages, file.stages.len() == 1),
            vertices: HashMap::new(),
            kept: HashMap::new(),
            next: 0,
            said: false,
            running: false,
            id: String::new(),
            over: false,
            unused,
        }
    }

    /// What may be told before anything happens.
    pub(super) fn begin(&mut self) -> Vec<Line> {
        let mut out = Vec::new();
        self.advance(&mut out);
        out
    }

    /// Something happened.
    pub(super) fn event(&mut self, event: BuildEvent) -> Vec<Line> {
        let mut out = Vec::new();
        match event {
            BuildEvent::Vertex(vertex) => {
                self.place(&vertex);
                self.vertices.insert(vertex.digest.clone(), vertex);
                self.advance(&mut out);
            }
            BuildEvent::Log(log) => {
                let text = String::from_utf8_lossy(&log.bytes).into_owned();
                if self.running && self.current() == Some(&log.vertex) {
                    out.push(said(log.stream, &text));
                } else {
                    let kept = self.kept.entry(log.vertex).or_default();
                    if kept.iter().map(|(_, text)| text.len()).sum::<usize>() + text.len() <= MOST_KEPT {
                        kept.push((log.stream, text));
                    }
                }
            }
            BuildEvent::Status(status) => {
                let pulls = matches!(self.all.get(self.next), Some(Step { kind: Kind::From, .. }));
                if let (true, Some(hex)) = (pulls && self.said, status.id.strip_prefix("sha256:")) {
                    let word = if status.completed.is_some() { "Pull complete" } else { "Downloading" };
                    let number = |n: i64| u64::try_from(n).unwrap_or_default();
                    let id = hex.get(..12).unwrap_or(hex);
                    out.push(Line::progress(id, word, number(status.current), number(status.total)));
                }
            }
            BuildEvent::Warning(_) => {}
        }
        out
    }

    /// It is done: the rest of the steps, and what dockerd says then.
    pub(super) fn finish(&mut self, image: &str) -> Vec<Line> {
        let mut out = Vec::new();
        self.over = true;
        self.advance(&mut out);
        out.push(Line::stream(&format!(" ---> {}\n", short(image))));
        out.push(Line::result(image));
        if !self.unused.is_empty() {
            let names = self.unused.join(" ");
            out.push(Line::stream(&format!(
                "[Warning] One or more build-args [{names}] were not consumed\n"
            )));
        }
        out.push(Line::stream(&format!("Successfully built {}\n", short(image))));
        out
    }

    /// It failed: what of the failed step was not told yet.
    pub(super) fn fail(&mut self, vertex: Option<&Digest>) -> Vec<Line> {
        let mut out = Vec::new();
        let Some(vertex) = vertex else { return out };
        // Those before it in the file that still ran have nothing to say any more.
        let at = (self.next..self.all.len()).find(|at| self.digest_of(*at) == Some(vertex));
        if let Some(at) = at {
            while self.next < at {
                self.say(&mut out);
                self.step_on();
            }
            self.say(&mut out);
            self.run(&mut out);
        }
        out
    }

    /// Notes where a vertex stands, by its name: `[build 2/5] RUN make`.
    fn place(&mut self, vertex: &Vertex) {
        let Some((front, text)) = vertex.name.strip_prefix('[').and_then(|rest| rest.split_once("] ")) else {
            return;
        };
        let mut words: Vec<&str> = front.split_whitespace().collect();
        let number =
            words.pop().and_then(|word| word.split_once('/')).and_then(|(k, _)| k.parse::<usize>().ok());
        let Some(number) = number else { return };
        let label = words.last().copied().unwrap_or_default();
        let Some(stage) = self.stages.iter_mut().find(|stage| stage.label == label) else { return };
        if text.starts_with("FROM ") && number == 1 {
            stage.from = Some(vertex.digest.clone());
        } else if stage.work.values().all(|known| *known != vertex.digest) {
            stage.triggers += usize::from(text.starts_with("ONBUILD "));
            stage.work.insert(number, vertex.digest.clone());
        }
    }

    /// The vertex of a step, where it has one and that is known.
    fn digest_of(&self, at: usize) -> Option<&Digest> {
        let step = self.all.get(at)?;
        let stage = &self.stages[step.stage];
        match step.kind {
            Kind::From => stage.from.as_ref(),
            Kind::Work { number, .. } => stage.work.values().nth(number + stage.triggers),
            Kind::Argument | Kind::Note => None,
        }
    }

    fn current(&self) -> Option<&Digest> {
        self.digest_of(self.next)
    }

    fn say(&mut self, out: &mut Vec<Line>) {
        if !std::mem::replace(&mut self.said, true) {
            let text = format!("Step {}/{} : {}\n", self.next + 1, self.all.len(), self.all[self.next].text);
            out.push(Line::stream(&text));
        }
    }

    /// A container's id, made up: nothing of that name stays.
    fn container(&self) -> String {
        let made = Sha256::digest(format!("container {} {}", self.next, self.id));
        minke_model::id::hex(&made[..6])
    }

    /// Says that it runs, and what it has said so far.
    fn run(&mut self, out: &mut Vec<Line>) {
        let runs = !matches!(self.all[self.next].kind, Kind::From | Kind::Work { runs: false, .. });
        if !std::mem::replace(&mut self.running, true) && runs {
            out.push(Line::stream(&format!(" ---> Running in {}\n", self.container())));
        }
        let Some(digest) = self.current().cloned() else { return };
        for (stream, text) in self.kept.remove(&digest).unwrap_or_default() {
            out.push(said(stream, &text));
        }
    }

    fn step_on(&mut self) {
        if let Some(step) = self.all.get(self.next) {
            self.stages[step.stage].id = self.id.clone();
        }
        self.next += 1;
        (self.said, self.running) = (false, false);
    }

    /// Says how the next step ended, and goes on to the one after it.
    fn end(&mut self, id: String, cached: bool, out: &mut Vec<Line>) {
        let kind = self.all[self.next].kind;
        let contained = matches!(kind, Kind::Note | Kind::Work { runs: true, .. });
        self.say(out);
        if kind != Kind::From {
            match cached && !self.running {
                true => out.push(Line::stream(" ---> Using cache\n")),
                false => {
                    self.run(out);
                    if contained {
                        let gone = format!(" ---> Removed intermediate container {}\n", self.container());
                        out.push(Line::stream(&gone));
                    }
                }
            }
        }
        self.id = id;
        // The last one's is the image's own.
        if self.next + 1 < self.all.len() {
            out.push(Line::stream(&format!(" ---> {}\n", self.id)));
            self.stage_ends(out);
        }
        self.step_on();
    }

    /// Whoever counts stages by their results finds one of each, although nobody keeps those in between.
    fn stage_ends(&self, out: &mut Vec<Line>) {
        let stage = self.all[self.next].stage;
        if self.all.get(self.next + 1).is_some_and(|next| next.stage != stage) {
            let made = Sha256::digest(format!("stage {stage} {}", self.id));
            out.push(Line::result(&format!("sha256:{}", minke_model::id::hex(&made))));
        }
    }

    /// Tells all that can be told.
    fn advance(&mut self, out: &mut Vec<Line>) {
        while let Some(step) = self.all.get(self.next) {
            let (kind, stage) = (step.kind, step.stage);
            if !self.stages[stage].needed && kind != Kind::Argument {
                self.say(out);
                out.push(Line::stream(" ---> Skipped: the target does not need this stage\n"));
                self.stage_ends(out);
                self.step_on();
                continue;
            }
            let done = match kind {
                Kind::Argument => {
                    self.say(out);
                    self.step_on();
                    true
                }
                Kind::From => self.from(stage, out),
                Kind::Work { .. } => self.work(out),
                Kind::Note => self.note(stage, out),
            };
            if !done {
                return;
            }
        }
    }

    fn from(&mut self, stage: usize, out: &mut Vec<Line>) -> bool {
        self.say(out);
        let seen = &self.stages[stage];
        let id = match (seen.on, seen.scratch, self.current()) {
            (Some(on), ..) => self.stages[on].id.clone(),
            (None, true, _) => String::new(),
            (None, false, Some(digest)) => match self.vertices.get(digest) {
                Some(vertex) if vertex.completed.is_some() && vertex.error.is_none() => {
                    short(digest.as_str())
                }
                _ if self.over => short(digest.as_str()),
                _ => return false,
            },
            // An image without files is not fetched.
            (None, false, None) if self.over => String::new(),
            (None, false, None) => return false,
        };
        self.end(id, false, out);
        true
    }

    fn work(&mut self, out: &mut Vec<Line>) -> bool {
        let vertex = self.current().and_then(|digest| self.vertices.get(digest));
        let Some(vertex) = vertex.cloned() else {
            if self.over {
                self.end(self.id.clone(), true, out);
            }
            return self.over;
        };
        if vertex.error.is_none() && (vertex.completed.is_some() || self.over) {
            self.end(short(vertex.digest.as_str()), vertex.cached, out);
            return true;
        }
        if vertex.started.is_some() {
            self.say(out);
            self.run(out);
        }
        false
    }

    /// A note is cached as its neighbours are.
    fn note(&mut self, stage: usize, out: &mut Vec<Line>) -> bool {
        let work =
            |at: &usize| matches!(self.all[*at].kind, Kind::Work { .. }) && self.all[*at].stage == stage;
        let vertex = |at: usize| self.digest_of(at).and_then(|digest| self.vertices.get(digest));
        let before = (0..self.next).rev().find(work).and_then(vertex);
        let after = (self.next..self.all.len()).find(work);
        let cached = match (before, after) {
            (Some(before), _) if !before.cached => Some(false),
            (before, None) => Some(before.is_some()),
            (_, Some(after)) => {
                // What runs is not cached.
                vertex(after).filter(|v| v.started.is_some()).map(|v| v.completed.is_some() && v.cached)
            }
        };
        let Some(cached) = cached.or(self.over.then_some(false)) else { return false };
        let made = Sha256::digest(format!("{} {}", self.id, self.all[self.next].text));
        self.end(minke_model::id::hex(&made[..6]), cached, out);
        true
    }
}

/// Stages with what names of steps call them, and which of them the last needs.
fn seen(stages: &[Stage], single: bool) -> Vec<Seen> {
    let find = |name: &str, before: usize| {
        let number = name.parse().ok().filter(|number| *number < before);
        let named = || stages[..before].iter().rposition(|s| s.name.as_deref() == Some(&name.to_lowercase()));
        named().or(number)
    };
    let mut seen: Vec<Seen> = Vec::new();
    for (number, stage) in stages.iter().enumerate() {
        let label = match single {
            true => String::new(),
            false => stage.name.clone().unwrap_or_else(|| format!("stage-{number}")),
        };
        let on = stages[..number].iter().rposition(|s| s.name.as_deref() == Some(&stage.base.to_lowercase()));
        seen.push(Seen { label, on, scratch: stage.base == "scratch", ..Seen::default() });
    }
    for number in (0..stages.len()).rev() {
        seen[number].needed |= number + 1 == stages.len();
        if !seen[number].needed {
            continue;
        }
        let copies =
            stages[number].instructions.iter().filter_map(|instruction| match &instruction.command {
                Command::Copy(copy) => copy.from.as_deref(),
                _ => None,
            });
        let read: Vec<usize> = copies.filter_map(|from| find(from, number)).chain(seen[number].on).collect();
        for other in read {
            seen[other].needed = true;
        }
    }
    seen
}

/// Output of a step: errors in red, as dockerd's.
fn said(stream: u32, text: &str) -> Line {
    match stream {
        2 => Line::stream(&format!("\x1b[91m{text}\x1b[0m")),
        _ => Line::stream(text),
    }
}

/// The first 12 digits of an id.
pub(super) fn short(id: &str) -> String {
    let hex = id.split_once(':').map_or(id, |(_, hex)| hex);
    hex.get(..12).unwrap_or(hex).to_owned()
}

#[cfg(test)]
mod tests;
