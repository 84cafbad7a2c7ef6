//! Source without a Dockerfile gets one: what it is written in is seen from its files, and a Dockerfile is written (pure).
//!
//! Each language has a file here. What it writes has a stage that builds, with caches that outlive it, and one that
//! runs: little in it, no root, a health check where something listens. It says why it is as it is. What cannot be
//! known is left out, never guessed at silently.
//!
//! Never: touches a disk (the caller lists and reads), runs anything, or needs a network.

mod golang;
mod gradle;
mod java;
mod maven;
mod node;
mod php;
mod procfile;
mod python;
mod recipe;
mod ruby;
mod rust;
mod sources;
mod static_site;
mod version;

use sources::Sources;

/// Files of a source tree, as the caller has them.
pub trait SourceTree {
    /// Paths of its files, relative, with `/` between. Links and what lies very deep may be missing.
    fn files(&self) -> &[String];
    /// The text of one, if it is a file of a size that a person writes.
    fn read(&self, path: &str) -> Option<String>;
}

/// What was seen, and the Dockerfile that comes of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Detected {
    /// In which language or with which tool: `Python`, `Java with Maven`.
    pub language: &'static str,
    /// The Dockerfile.
    pub dockerfile: String,
    /// Why it is as it is, a sentence each.
    pub because: Vec<String>,
    /// Patterns for `.dockerignore` where the tree has none.
    pub ignore: Vec<&'static str>,
}

/// Why there is no Dockerfile.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DetectError {
    /// No file tells the language.
    #[error(
        "cannot tell how to build this source: it has none of {LOOKED_FOR} at its top. \
         Write a Dockerfile, or name the directory of one of these"
    )]
    Unknown,
    /// The language is known, and something that it needs is not.
    #[error("this is {language}, and {missing}. Write a Dockerfile, or {way_out}")]
    Incomplete {
        /// What it is written in.
        language: &'static str,
        /// What was looked for and is not there.
        missing: String,
        /// What would help.
        way_out: &'static str,
    },
}

/// What tells a language, in the order of looking.
const LOOKED_FOR: &str = "Gemfile (Ruby), composer.json or index.php (PHP), pom.xml or build.gradle[.kts] (Java), \
go.mod (Go), Cargo.toml (Rust), requirements.txt, pyproject.toml, Pipfile, setup.py or manage.py (Python), \
package.json (Node), main.py or app.py (Python), index.html (static)";

type Outcome = Result<Detected, DetectError>;

/// A language: its name, how it is told, and its Dockerfile.
type Language = (&'static str, fn(&Sources<'_>) -> bool, fn(&Sources<'_>) -> Outcome);

/// In the order of looking: a framework's own files come before those of tools that it may use besides.
const LANGUAGES: [Language; 11] = [
    ("Ruby", ruby::is, ruby::write),
    ("PHP", php::is, php::write),
    ("Java with Maven", maven::is, maven::write),
    ("Java with Gradle", gradle::is, gradle::write),
    ("Go", golang::is, golang::write),
    ("Rust", rust::is, rust::write),
    ("Python", python::is, python::write),
    ("Node", node::is, node::write),
    ("Python", python::is_script, python::write),
    ("PHP", php::is_script, php::write),
    ("static", static_site::is, static_site::write),
];

/// Looks at a source tree and writes its Dockerfile.
pub fn detect(tree: &dyn SourceTree) -> Outcome {
    let sources = Sources::new(tree);
    let found: Vec<&Language> = LANGUAGES.iter().filter(|(_, is, _)| is(&sources)).collect();
    // A process that the Procfile starts by a language's own word decides among several.
    let said = procfile::language(sources.procfile());
    let chosen = found.iter().find(|(name, ..)| said.is_some_and(|s| name.starts_with(s))).or(found.first());
    let Some((name, _, write)) = chosen else { return Err(DetectError::Unknown) };
    let mut detected = write(&sources)?;
    let mut others: Vec<&str> = found.iter().map(|(other, ..)| *other).filter(|o| o != name).collect();
    others.dedup();
    // Pages and scripts stand in many trees.
    others.retain(|other| *other != "static");
    if !others.is_empty() {
        let why =
            format!("it has files of {} too: a Dockerfile of your own can build those", others.join(", "));
        detected.because.push(why.clone());
        detected.dockerfile = recipe::also(&detected.dockerfile, &why);
    }
    Ok(detected)
}

#[cfg(test)]
mod tests;
