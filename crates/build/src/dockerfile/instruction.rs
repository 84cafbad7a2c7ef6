//! What a Dockerfile can say, after parsing: stages and their instructions, nothing expanded yet.
//!
//! Texts are as written (quotes and `$` included) until `plan` expands them. Source of the shapes: the Dockerfile
//! reference, docker/dockerfile:1.

use crate::error::{Lines, Source};
use minke_model::health::HealthSpec;
use std::collections::BTreeMap;

/// One stage: a `FROM` and what follows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stage {
    /// Its name, in lower case.
    pub name: Option<String>,
    /// The image, or an earlier stage, that it begins with; as written.
    pub base: String,
    /// `--platform`, as written.
    pub platform: Option<String>,
    /// `FROM` as it was spelt.
    pub keyword: String,
    /// The name as it was spelt, with the word before it (`AS`).
    pub spelt: Option<(String, String)>,
    /// The whole instruction, continuation lines joined.
    pub source: String,
    /// Where it stands.
    pub lines: Lines,
    /// Comments directly above it, without `#`.
    pub comments: Vec<String>,
    /// What follows it, in order.
    pub instructions: Vec<Instruction>,
}

/// One instruction with where it came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instruction {
    /// What it asks.
    pub command: Command,
    /// Its word as it was spelt.
    pub keyword: String,
    /// All of it, continuation lines joined, without here-documents.
    pub source: String,
    /// Where it stands, here-documents included.
    pub lines: Lines,
    /// Comments directly above it, without `#`.
    pub comments: Vec<String>,
}

/// What an instruction asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// `ADD`
    Add(Copy),
    /// `ARG`
    Arg(Vec<Argument>),
    /// `CMD`
    Cmd(CommandLine),
    /// `COPY`
    Copy(Copy),
    /// `ENTRYPOINT`
    Entrypoint(CommandLine),
    /// `ENV`
    Env(Vec<Pair>),
    /// `EXPOSE`: sorted, as written.
    Expose(Vec<String>),
    /// `HEALTHCHECK`
    Healthcheck(HealthSpec),
    /// `LABEL`
    Label(Vec<Pair>),
    /// `MAINTAINER`
    Maintainer(String),
    /// `ONBUILD`: the instruction that it keeps, here-documents included.
    Onbuild(String),
    /// `RUN`
    Run(Run),
    /// `SHELL`
    Shell(Vec<String>),
    /// `STOPSIGNAL`
    Stopsignal(String),
    /// `USER`
    User(String),
    /// `VOLUME`
    Volume(Vec<String>),
    /// `WORKDIR`
    Workdir(String),
}

/// `name=value`, or the old `name value`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    /// The name.
    pub name: String,
    /// The value, quotes kept.
    pub value: String,
    /// A blank stood between them, not `=`.
    pub legacy: bool,
}

/// One variable of an `ARG`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Argument {
    /// Its name.
    pub name: String,
    /// Its default, quotes kept.
    pub default: Option<String>,
    /// What the comment above says of it.
    pub description: String,
}

/// A command in shell or exec form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandLine {
    /// One line for a shell, or a program and its arguments. Empty exec forms are empty.
    pub words: Vec<String>,
    /// For a shell.
    pub shell: bool,
    /// Here-documents of the line, in order.
    pub documents: Vec<Heredoc>,
}

/// A here-document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heredoc {
    /// The word that ends it; of a `COPY`, also the file's name.
    pub name: String,
    /// The text, each line with its end; leading tabs still there.
    pub content: String,
    /// `<<-`: leading tabs go.
    pub strip_tabs: bool,
    /// The word had no quotes: variables are expanded (in `COPY` and `ADD`).
    pub expand: bool,
}

/// `COPY` or `ADD`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Copy {
    /// Paths, patterns, URLs.
    pub sources: Vec<String>,
    /// Files whose text stands in the Dockerfile, leading tabs gone where asked.
    pub documents: Vec<Heredoc>,
    /// Where to.
    pub destination: String,
    /// `--from`: a stage's name or number, an image, a context. `COPY` only.
    pub from: Option<String>,
    /// `--chown`
    pub chown: Option<String>,
    /// `--chmod`
    pub chmod: Option<String>,
    /// `--link`
    pub link: bool,
    /// `--parents`: keep the sources' directories. `COPY` only.
    pub parents: bool,
    /// `--exclude`, in order.
    pub exclude: Vec<String>,
    /// `--checksum`. `ADD` only.
    pub checksum: Option<String>,
    /// `--keep-git-dir`. `ADD` only.
    pub keep_git_dir: Option<bool>,
    /// `--unpack`. `ADD` only.
    pub unpack: Option<bool>,
}

/// `RUN`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// What to run.
    pub line: CommandLine,
    /// `--mount`, in order; parsed further once variables are known.
    pub mounts: Vec<MountFlag>,
    /// `--network`, where given and not `default`.
    pub network: RunNetwork,
    /// `--security=insecure`
    pub insecure: bool,
    /// `--device`, in order.
    pub devices: Vec<String>,
}

/// A `--mount`, as written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountFlag {
    /// All of it.
    pub text: String,
    /// Its `from`: a stage, an image, a context.
    pub from: Option<String>,
}

/// Which network a step has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum RunNetwork {
    /// The build's.
    #[default]
    Default,
    /// Loopback only.
    None,
    /// The host's.
    Host,
}

/// A Dockerfile, parsed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dockerfile {
    /// Its parser directives.
    pub directives: Directives,
    /// `ARG`s before the first `FROM`.
    pub arguments: Vec<Instruction>,
    /// Its stages, at least one.
    pub stages: Vec<Stage>,
    /// Instructions that were continued over empty lines: the last line of each.
    pub empty_continuations: Vec<u32>,
    /// The file, for messages that show a line.
    pub source: Source,
}

/// `# name=value` lines at the top.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Directives {
    /// `# syntax=`: a frontend's image and its arguments, and its line.
    pub syntax: Option<(String, u32)>,
    /// `# escape=`
    pub escape: char,
    /// `# check=`
    pub check: Option<String>,
}

/// Names and values: build arguments, labels.
pub type Pairs = BTreeMap<String, String>;
