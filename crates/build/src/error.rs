//! What goes wrong in a build: typed, with data and, for a Dockerfile, with the place.

use crate::dockerfile::fault::Fault;
use minke_model::Kind;
use std::{fmt, sync::Arc};

/// A result of this room.
pub type Result<T, E = BuildError> = std::result::Result<T, E>;

/// A failure of this room.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The Dockerfile is wrong.
    #[error(transparent)]
    Dockerfile(#[from] Box<DockerfileError>),
}

impl BuildError {
    /// For programs.
    pub fn kind(&self) -> Kind {
        match self {
            BuildError::Dockerfile(error) => error.kind(),
        }
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
}

impl DockerfileError {
    /// `fault` at `word` of the instruction at `lines`.
    pub(crate) fn new(source: &Source, lines: Lines, word: &str, fault: Fault) -> Self {
        let (line, column) = source.find(lines, word);
        Self { fault, suggestion: None, while_parsing: false, lines, line, column, source: source.clone() }
    }

    /// With the word that may have been meant.
    pub(crate) fn suggest(mut self, suggestion: Option<String>) -> Self {
        self.suggestion = suggestion;
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
