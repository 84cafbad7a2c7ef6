//! The text of a Dockerfile, as all languages write it: head, stages, and the end of the stage that runs (pure).

use super::{Detected, procfile, sources::Sources};
use crate::go::quote;

/// Labels of processes: `dev.minke.process.web`.
const PROCESS: &str = "dev.minke.process.";

/// Answers to a port, in a shell that all images we begin with have: no tool is installed for it.
const PROBE: &str = ": </dev/tcp/127.0.0.1/$PORT";

/// Patterns that no build needs.
const IGNORED: [&str; 6] = [".git", ".env", ".env.*", "**/.DS_Store", "Dockerfile*", ".dockerignore"];

/// A Dockerfile as it grows.
pub(super) struct Recipe {
    language: &'static str,
    because: Vec<String>,
    arguments: Vec<(&'static str, String)>,
    text: String,
    ignore: Vec<&'static str>,
}

/// How the program starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Start {
    /// A program and its arguments.
    Exec(Vec<String>),
    /// Words of a shell: variables count.
    Shell(String),
}

impl Start {
    /// Words without a variable.
    pub(super) fn exec(words: &[&str]) -> Self {
        Start::Exec(words.iter().map(|word| (*word).to_owned()).collect())
    }
}

/// The end of the stage that runs.
pub(super) struct End<'a> {
    /// Who it runs as.
    pub(super) user: &'a str,
    /// Where it listens; none is not known to listen.
    pub(super) port: Option<u16>,
    /// What it runs; where the Procfile has a process, that one counts.
    pub(super) start: Start,
}

impl Recipe {
    /// Nothing yet.
    pub(super) fn new(language: &'static str) -> Self {
        Self {
            language,
            because: Vec::new(),
            arguments: Vec::new(),
            text: String::new(),
            ignore: IGNORED.to_vec(),
        }
    }

    /// Why something is as it is.
    pub(super) fn because(&mut self, why: impl Into<String>) {
        self.because.push(why.into());
    }

    /// An argument of the whole file, so that `--build-arg` can say otherwise.
    pub(super) fn argument(&mut self, name: &'static str, value: impl Into<String>) {
        self.arguments.push((name, value.into()));
    }

    /// Patterns that this language's builds do not need.
    pub(super) fn ignore(&mut self, patterns: &[&'static str]) {
        self.ignore.extend(patterns);
    }

    /// A stage: `python:3.13 AS build`.
    pub(super) fn stage(&mut self, from: &str) {
        if !self.text.is_empty() {
            self.text.push('\n');
        }
        self.line(format!("FROM {from}"));
    }

    /// An instruction.
    pub(super) fn line(&mut self, line: impl AsRef<str>) {
        self.text.push_str(line.as_ref());
        self.text.push('\n');
    }

    /// `RUN` with directories that outlive the build.
    pub(super) fn run(&mut self, caches: &[&str], command: impl AsRef<str>) {
        self.line(run(caches, command.as_ref()));
    }

    /// Makes the user `app`.
    pub(super) fn user(&mut self) {
        self.line("RUN useradd --create-home --uid 10001 app");
    }

    /// Ends the stage that runs, and the file.
    pub(super) fn finish(mut self, sources: &Sources<'_>, end: End<'_>) -> Detected {
        let processes = sources.procfile();
        for process in processes {
            self.line(format!("LABEL {PROCESS}{}={}", process.name, label(&process.command)));
        }
        let (mut start, mut port) = (end.start, end.port);
        if let Some(process) = procfile::main(processes) {
            self.because(format!("Procfile: the container runs its process {}", process.name));
            start = Start::Shell(process.command.clone());
            match process.name.as_str() {
                "web" => port = port.or(Some(8080)),
                _ => port = None,
            }
        }
        self.line(format!("USER {}", end.user));
        match port {
            Some(port) => {
                self.because(format!("it listens on $PORT, {port} where nothing else is said"));
                self.line(format!("ENV PORT={port}"));
                self.line(format!("EXPOSE {port}"));
                self.line(
                    "HEALTHCHECK --interval=30s --timeout=5s --start-period=30s --start-interval=1s \\",
                );
                self.line(format!("  CMD [\"bash\", \"-c\", {}]", quote(PROBE)));
            }
            None => self.because("nothing shows that it listens on a port: no port, no health check"),
        }
        self.line(format!("CMD {}", command(&start)));
        self.whole()
    }

    fn whole(self) -> Detected {
        let mut dockerfile = "# syntax=docker/dockerfile:1\n".to_owned();
        dockerfile.push_str("# Written by `minke build`, because:\n");
        for why in &self.because {
            dockerfile.push_str(&format!("# - {why}\n"));
        }
        dockerfile.push('\n');
        for (name, value) in &self.arguments {
            dockerfile.push_str(&format!("ARG {name}={value}\n"));
        }
        if !self.arguments.is_empty() {
            dockerfile.push('\n');
        }
        dockerfile.push_str(&self.text);
        Detected { language: self.language, dockerfile, because: self.because, ignore: self.ignore }
    }
}

/// One more reason in the head of a Dockerfile that is written already.
pub(super) fn also(dockerfile: &str, why: &str) -> String {
    match dockerfile.split_once("\n\n") {
        Some((head, rest)) => format!("{head}\n# - {why}\n\n{rest}"),
        None => dockerfile.to_owned(),
    }
}

/// `RUN --mount=type=cache,… \` and the command on the next line.
fn run(caches: &[&str], command: &str) -> String {
    let mut text = "RUN ".to_owned();
    for cache in caches {
        text.push_str(&format!("--mount=type=cache,target={cache} \\\n  "));
    }
    text.push_str(command);
    text
}

/// A value of `LABEL`, whole and literal.
fn label(text: &str) -> String {
    quote(text).replace('$', "\\$")
}

/// The list of `CMD`. A shell's words are its last: it gives way to a single program, so that signals reach that.
fn command(start: &Start) -> String {
    let list =
        |words: &[&str]| format!("[{}]", words.iter().map(|w| quote(w)).collect::<Vec<_>>().join(", "));
    match start {
        Start::Exec(words) => list(&words.iter().map(String::as_str).collect::<Vec<_>>()),
        Start::Shell(text) => {
            let single = !text.contains(['&', '|', ';', '(', '<', '>', '`', '\n']);
            let assigns = text.split_whitespace().next().is_some_and(|word| word.contains('='));
            let builtin = ["exec ", "cd ", "export ", "if ", "for ", "while "];
            let plain = single && !assigns && !builtin.iter().any(|b| text.starts_with(b));
            let text = if plain { format!("exec {text}") } else { text.clone() };
            list(&["sh", "-c", &text])
        }
    }
}
