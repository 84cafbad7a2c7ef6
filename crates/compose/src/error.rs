//! What is wrong with compose files: a sentence, and where. Pure.

use crate::node::Spot;
use minke_model::Kind;
use std::fmt;

/// A place in a file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The file, as it was named.
    pub file: String,
    /// From 1.
    pub line: u32,
    /// From 1, in characters.
    pub column: u32,
}

impl Place {
    /// Of a spot, where it has one.
    pub(crate) fn of(spot: Spot, files: &[String]) -> Option<Self> {
        let file = files.get(usize::from(spot.file))?;
        (spot.line > 0).then(|| Place { file: file.clone(), line: spot.line, column: spot.column })
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}

/// One thing that is wrong, or that a warning is about. Its text is compose's sentence; [`Fault::report`] adds the
/// place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Where, as far as it is known.
    pub place: Option<Place>,
    /// What.
    pub message: String,
    /// The word that may have been meant.
    pub suggestion: Option<String>,
    /// For programs.
    pub kind: Kind,
}

impl Fault {
    /// Without a place.
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Fault { place: None, message: message.into(), suggestion: None, kind: Kind::Invalid }
    }

    /// With one.
    pub(crate) fn at(place: Option<Place>, message: impl Into<String>) -> Self {
        Fault { place, ..Fault::new(message) }
    }

    /// Of something that does not exist.
    pub(crate) fn not_found(message: impl Into<String>) -> Self {
        Fault { kind: Kind::NotFound, ..Fault::new(message) }
    }

    /// For programs.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The place, the sentence, and the word that may have been meant.
    pub fn report(&self) -> String {
        match &self.place {
            Some(place) => format!("{place}: {self}"),
            None => self.to_string(),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match &self.suggestion {
            Some(word) => write!(f, " (did you mean '{word}'?)"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Fault {}
