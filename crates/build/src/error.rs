//! What goes wrong in a build: typed, with data and, for a Dockerfile, with the place.

use crate::{dockerfile::fault::Fault, plan::Finding};
use minke_model::{Kind, id::Digest};
use std::{fmt, sync::Arc};

/// A result of this room.
pub type Result<T, E = BuildError> = std::result::Result<T, E>;

/// A failure of this room.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The Dockerfile is wrong.
    #[error(transparent)]
    Dockerfile(#[from] Box<DockerfileError>),
    /// A step failed.
    #[error(transparent)]
    Step(#[from] Box<StepError>),
    /// A process ended with another code than 0. BuildKit's sentence.
    #[error("process \"{command}\" did not complete successfully: {}", exit_text(*.code))]
    Exit {
        /// Its arguments, joined by blanks.
        command: String,
        /// Its exit code; `None` if memory ran out.
        code: Option<i32>,
    },
    /// Something else went wrong; the sentence tells what was tried, on what.
    #[error("{message}")]
    Other {
        /// For programs.
        kind: Kind,
        /// For people.
        message: String,
    },
    /// The image room refused.
    #[error(transparent)]
    Image(#[from] minke_image::ImageError),
    /// The kernel refused.
    #[error("cannot {what}: {source}")]
    Io {
        /// What was tried, on what.
        what: String,
        /// What the kernel said.
        source: std::io::Error,
    },
    /// What a step reads is not there, so that nothing can be known of the step.
    #[error("failed to {verb} cache key: {cause}")]
    Key {
        /// `compute` of files of a tree, `load` of what comes from elsewhere (BuildKit's words).
        verb: &'static str,
        /// Why: all that the step itself says.
        cause: Box<BuildError>,
    },
    /// A step that another build runs too failed there.
    #[error(transparent)]
    Shared(Arc<BuildError>),
    /// The client went away, or another step failed.
    #[error("context canceled")]
    Cancelled,
}

/// What BuildKit says of an exit code.
fn exit_text(code: Option<i32>) -> String {
    match code {
        Some(code) => format!("exit code: {code}"),
        None => "cannot allocate memory".into(),
    }
}

/// A step that failed: which, where it stands, and why.
#[derive(Debug, thiserror::Error)]
#[error("{cause}")]
pub struct StepError {
    /// The step.
    pub vertex: Digest,
    /// As progress shows it.
    pub name: String,
    /// Its Dockerfile.
    pub source_file: Source,
    /// Its instruction.
    pub lines: Lines,
    /// Why. BuildKit's clients put `failed to solve: ` before it.
    pub cause: BuildError,
}

impl BuildError {
    /// For programs.
    pub fn kind(&self) -> Kind {
        match self {
            BuildError::Dockerfile(error) => error.kind(),
            BuildError::Step(error) => error.cause.kind(),
            BuildError::Shared(error) => error.kind(),
            BuildError::Key { cause, .. } => cause.kind(),
            BuildError::Exit { .. } => Kind::Internal,
            BuildError::Other { kind, .. } => *kind,
            BuildError::Image(error) => error.kind(),
            BuildError::Io { .. } => Kind::Internal,
            BuildError::Cancelled => Kind::Cancelled,
        }
    }

    /// The step that failed.
    pub fn vertex(&self) -> Option<&Digest> {
        match self {
            BuildError::Step(error) => Some(&error.vertex),
            BuildError::Shared(error) => error.vertex(),
            _ => None,
        }
    }

    /// The lines of a Dockerfile that it is about.
    pub fn place(&self) -> Option<(&Source, Lines)> {
        match self {
            BuildError::Dockerfile(error) => Some((&error.source, error.lines)),
            BuildError::Step(error) => Some((&error.source_file, error.lines)),
            BuildError::Shared(error) => error.place(),
            _ => None,
        }
    }

    /// The exit code of the process that failed.
    pub fn exit_code(&self) -> Option<i32> {
        match self {
            BuildError::Exit { code, .. } => *code,
            BuildError::Step(error) => error.cause.exit_code(),
            BuildError::Shared(error) => error.exit_code(),
            _ => None,
        }
    }

    /// What checks found before the Dockerfile turned out to be wrong.
    pub fn findings(&self) -> &[Finding] {
        match self {
            BuildError::Dockerfile(error) => &error.findings,
            BuildError::Shared(error) => error.findings(),
            _ => &[],
        }
    }

    /// As the step says it that failed.
    pub fn in_step(&self) -> String {
        match self {
            BuildError::Key { cause, .. } => cause.to_string(),
            BuildError::Shared(error) => error.in_step(),
            other => other.to_string(),
        }
    }

    /// With a sentence of a kind.
    pub fn other(kind: Kind, message: impl Into<String>) -> Self {
        BuildError::Other { kind, message: message.into() }
    }

    /// The request is wrong.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::other(Kind::Invalid, message)
    }

    /// What the request needs is not there.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::other(Kind::NotFound, message)
    }

    /// Not done here, and why.
    pub fn unsupported(message: impl Into<String>) -> Self {
        Self::other(Kind::NotImplemented, message)
    }

    /// Wraps what the kernel said with what was tried: `cannot {what}`.
    pub fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> BuildError {
        let what = what.into();
        move |source| BuildError::Io { what, source }
    }
}

impl From<DockerfileError> for BuildError {
    fn from(error: DockerfileError) -> Self {
        BuildError::Dockerfile(Box::new(error))
    }
}

/// Lines of a Dockerfile, both included, from 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Lines {
    /// The first.
    pub first: u32,
    /// The last.
    pub last: u32,
}

impl Lines {
    /// One line.
    pub fn one(line: u32) -> Self {
        Self { first: line, last: line }
    }
}

/// A Dockerfile's name and text, as messages show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// As it was named: `Dockerfile`.
    pub file: Arc<str>,
    /// All of it.
    pub text: Arc<str>,
}

impl Source {
    /// Where `word` stands first within `lines`, from 1 (columns count characters); else where they begin.
    pub fn find(&self, lines: Lines, word: &str) -> (u32, u32) {
        let mut begin = None;
        for (number, line) in (1..).zip(self.text.lines()) {
            if number < lines.first {
                continue;
            }
            if number > lines.last.max(lines.first) {
                break;
            }
            let column = |at: usize| line[..at].chars().count() as u32 + 1;
            if !word.is_empty()
                && let Some(at) = line.find(word)
            {
                return (number, column(at));
            }
            begin.get_or_insert((number, column(line.len() - line.trim_start().len())));
        }
        begin.unwrap_or((lines.first.max(1), 1))
    }
}

/// What is wrong with a Dockerfile and where. Its text is BuildKit's sentence; [`DockerfileError::report`] adds the
/// place and shows the line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DockerfileError {
    /// What is wrong.
    pub fault: Fault,
    /// The word that may have been meant.
    pub suggestion: Option<String>,
    /// The instruction was refused as it was read: its text begins as BuildKit's then does.
    pub while_parsing: bool,
    /// The instruction.
    pub lines: Lines,
    /// The line of the wrong word.
    pub line: u32,
    /// Its first character in that line, from 1.
    pub column: u32,
    /// The file.
    pub source: Source,
    /// What checks found before.
    pub findings: Vec<Finding>,
}

impl DockerfileError {
    /// `fault` at `word` of the instruction at `lines`.
    pub(crate) fn new(source: &Source, lines: Lines, word: &str, fault: Fault) -> Self {
        let (line, column) = source.find(lines, word);
        let (suggestion, findings) = Default::default();
        Self {
            fault,
            suggestion,
            while_parsing: false,
            lines,
            line,
            column,
            source: source.clone(),
            findings,
        }
    }

    /// With the word that may have been meant.
    pub(crate) fn suggest(mut self, suggestion: Option<String>) -> Self {
        self.suggestion = suggestion;
        self
    }

    /// With what checks found before.
    pub(crate) fn after(mut self, findings: &[Finding]) -> Self {
        self.findings = findings.to_vec();
        self
    }

    /// Always the request's fault, but for what is known and not done here.
    pub fn kind(&self) -> Kind {
        self.fault.kind()
    }

    /// The file and place, the lines around, a mark under the word, and the sentence.
    pub fn report(&self) -> String {
        let Source { file, text } = &self.source;
        let mut out = format!("{file}:{}:{}\n--------------------\n", self.line, self.column);
        let first = self.lines.first.saturating_sub(2).max(1);
        let last = self.lines.last.max(self.lines.first) + 2;
        for (number, line) in (1u32..).zip(text.lines()) {
            if number < first {
                continue;
            }
            if number > last {
                break;
            }
            let within = (self.lines.first..=self.lines.last.max(self.lines.first)).contains(&number);
            out.push_str(&format!(" {number:3} | {} {line}\n", if within { ">>>" } else { "   " }));
            if number == self.line {
                // Tabs stay tabs, so that the mark stands under its word.
                let blank = line.chars().take(self.column as usize - 1);
                let blank: String = blank.map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
                out.push_str(&format!("     |     {blank}^\n"));
            }
        }
        out.push_str(&format!("--------------------\n{self}\n"));
        out
    }
}

impl fmt::Display for DockerfileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.while_parsing {
            write!(f, "dockerfile parse error on line {}: ", self.lines.first)?;
        }
        write!(f, "{}", self.fault)?;
        match &self.suggestion {
            Some(word) => write!(f, " (did you mean {word}?)"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for DockerfileError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        None
    }
}
