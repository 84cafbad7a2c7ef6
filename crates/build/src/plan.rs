//! A Dockerfile with options becomes a graph of steps: all choices are made here, none when it is carried out.
//!
//! Pure. What lies outside (the configurations of base images) is asked for and given: [`Planner::wanted`],
//! [`Planner::give`], until nothing is wanted; then [`Planner::finish`].

mod copy;
mod form;
mod planner;
mod ports;
mod run;
mod stage;
mod stages;

pub use planner::Planner;

use crate::{
    dockerfile::instruction::{Pairs, RunNetwork},
    error::Lines,
};
use minke_image::ImageConfig;
use minke_model::image::{ImageDefaults, Platform};
use std::sync::Arc;

/// What was asked of a build, as far as it changes the steps.
#[derive(Clone, Debug, Default)]
pub struct PlanOptions {
    /// The stage to build, by name; the last if none.
    pub target: Option<String>,
    /// `--build-arg`
    pub build_args: Pairs,
    /// `--label`
    pub labels: Pairs,
    /// The machine that builds.
    pub build_platform: Platform,
    /// The platform to build for, where one was asked for.
    pub platform: Option<Platform>,
    /// Names of steps tell the platform.
    pub multi_platform: bool,
    /// What must run although it is cached.
    pub no_cache: NoCache,
    /// `--build-context`: its name (`name` or `name::os/architecture`) and what it is (`docker-image://…`, a local
    /// name, a URL).
    pub contexts: Pairs,
    /// `--network`
    pub network: RunNetwork,
    /// `--allow security.insecure`
    pub allow_insecure: bool,
    /// `--allow network.host`
    pub allow_host_network: bool,
    /// Patterns of .dockerignore, for a check.
    pub ignore: Vec<String>,
    /// Plan every stage, needed or not (`--check`).
    pub all_stages: bool,
}

/// What must run although it is cached.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum NoCache {
    /// Nothing.
    #[default]
    Nothing,
    /// `--no-cache`
    All,
    /// `--no-cache-filter`: stages by name.
    Stages(Vec<String>),
}

/// A step of one [`Plan`]: its place in `Plan::steps`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StepId(pub usize);

/// A file tree that a step reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Tree {
    /// Nothing: `FROM scratch`.
    Empty,
    /// What a step left.
    Of(StepId),
}

/// All that is to be done, and the image that comes of it.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Each reads only from earlier ones. Only what the target needs.
    pub steps: Vec<Step>,
    /// The target's tree.
    pub result: Tree,
    /// The target's image.
    pub image: ImagePlan,
    /// Which paths of the main context are read; `None` is all of it. Links on the way count too.
    pub context_paths: Option<Vec<String>>,
    /// What checks found, in BuildKit's order.
    pub findings: Vec<Finding>,
    /// The value of `SOURCE_DATE_EPOCH`, where given.
    pub source_date_epoch: Option<i64>,
}

/// The image of a plan, without its layers.
#[derive(Clone, Debug)]
pub struct ImagePlan {
    /// For its containers.
    pub defaults: ImageDefaults,
    /// `MAINTAINER`
    pub author: String,
    /// What it runs on.
    pub platform: Platform,
    /// The configuration it began with: its history and layers come first.
    pub base: Option<Arc<ImageConfig>>,
    /// What this build adds to the history.
    pub history: Vec<Made>,
}

/// One entry of a history. Its comment is `buildkit.dockerfile.v0`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Made {
    /// By which instruction.
    pub created_by: String,
    /// The step that made its layer, if it made one.
    pub layer: Option<StepId>,
}

/// One step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// What to do.
    pub op: Op,
    /// As progress shows it: `[build 2/5] RUN make`.
    pub name: String,
    /// Its instruction.
    pub lines: Lines,
    /// It runs although it is cached.
    pub no_cache: bool,
    /// For which platform.
    pub platform: Platform,
}

/// What a step does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// The files of an image.
    Image {
        /// `docker.io/library/alpine:3.20`, with `@sha256:…` where known.
        reference: String,
    },
    /// The files of the main build context (no name) or of a further one.
    Context {
        /// The further one's name, as `PlanOptions::contexts` has it.
        name: Option<String>,
    },
    /// Fetches one file.
    Http(Http),
    /// Fetches a repository.
    Git(Git),
    /// Copies into a tree.
    Copy(CopyOp),
    /// Makes a directory (`WORKDIR`) with its parents, mode 0755, where it is not there.
    Directory {
        /// The tree to change.
        base: Tree,
        /// Absolute, clean.
        path: String,
        /// Who owns what is made, by names or ids of that tree; empty is root.
        owner: String,
    },
    /// Runs a process on a tree.
    Run(RunOp),
}

/// A file to fetch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Http {
    /// Where.
    pub url: String,
    /// The name of the one file in the tree.
    pub file: String,
    /// `sha256:…`, to be verified.
    pub checksum: Option<String>,
}

/// A repository to fetch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Git {
    /// Where.
    pub remote: String,
    /// A commit, branch or tag; empty is the default branch.
    pub reference: String,
    /// A directory in it; empty is all.
    pub directory: String,
    /// The commit that it must be.
    pub checksum: Option<String>,
    /// Keep `.git`.
    pub keep_git_dir: bool,
    /// Fetch submodules too.
    pub submodules: bool,
}

/// Copies into a tree, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CopyOp {
    /// The tree to change.
    pub base: Tree,
    /// What is copied.
    pub sources: Vec<CopySource>,
    /// Absolute; with a trailing `/` (or `/.`) it is a directory.
    pub destination: String,
    /// `user[:group]` by names or ids of `base`; root if none.
    pub owner: Option<String>,
    /// Modes of what is copied.
    pub mode: Option<Mode>,
    /// Made on an empty tree, then laid over `base`.
    pub link: bool,
    /// Patterns, relative to each source, of what is left out.
    pub exclude: Vec<String>,
}

/// One source of a copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CopySource {
    /// Files of a tree.
    Files {
        /// The tree.
        tree: Tree,
        /// Absolute in it; may be a pattern where `local`.
        path: String,
        /// From a context, stage or image: patterns count, links are followed, and of a directory the contents are
        /// copied. Else (a fetched file or repository) the path is one file or `/`.
        local: bool,
        /// Unpack it where it is an archive.
        unpack: bool,
        /// `--parents`: the patterns, relative to `path`, of what is copied with its directories.
        parents: Option<Parents>,
    },
    /// A file whose text stands in the Dockerfile, mode 0644.
    Text {
        /// Its name.
        name: String,
        /// What it holds.
        content: String,
    },
}

/// What `COPY --parents` copies with its directories.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parents {
    /// Relative to the source's path.
    pub pattern: String,
    /// Absolute; must exist. None where there are wildcards.
    pub required: Option<String>,
}

/// `--chmod`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Permission bits, up to 07777.
    Octal(u32),
    /// As chmod(1) takes it, checked: `u=rwX,go=rX`.
    Symbolic(String),
}

/// Runs a process on a tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunOp {
    /// Its root, and what is changed.
    pub base: Tree,
    /// The program and its arguments.
    pub args: Vec<String>,
    /// `NAME=value`, in order.
    pub env: Vec<String>,
    /// Where it starts, absolute.
    pub cwd: String,
    /// `user[:group]` by names or ids of `base`; empty is root.
    pub user: String,
    /// What it sees besides.
    pub mounts: Vec<RunMount>,
    /// Its network.
    pub network: RunNetwork,
    /// Unconfined.
    pub insecure: bool,
    /// Variables for its environment that are no part of its identity.
    pub proxy: Vec<(String, String)>,
}

/// What a `RUN` sees besides its tree. Targets are absolute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RunMount {
    /// A part of a tree; writes are lost.
    Bind {
        /// The tree.
        tree: Tree,
        /// In it, absolute.
        source: String,
        /// Where.
        target: String,
        /// Not to be written.
        read_only: bool,
    },
    /// A directory that outlives the build.
    Cache {
        /// Its name.
        id: String,
        /// Who may have it at once.
        sharing: Sharing,
        /// What it holds when new.
        tree: Tree,
        /// In `tree`, absolute.
        source: String,
        /// Where.
        target: String,
        /// Not to be written.
        read_only: bool,
        /// Of the directory when new.
        owner: Owner,
    },
    /// Memory.
    Tmpfs {
        /// Where.
        target: String,
        /// In bytes.
        size: Option<u64>,
    },
    /// A client's secret, as a file, a variable, or both.
    Secret {
        /// Its name.
        id: String,
        /// The file.
        target: Option<String>,
        /// The variable.
        env: Option<String>,
        /// Fail without it.
        required: bool,
        /// Of the file.
        owner: Owner,
    },
    /// A client's ssh agent.
    Ssh {
        /// Its name.
        id: String,
        /// The socket; `/run/buildkit/ssh_agent.N` if none.
        target: Option<String>,
        /// Fail without it.
        required: bool,
        /// Of the socket.
        owner: Owner,
    },
    /// A read-only file whose text stands in the Dockerfile.
    Text {
        /// Where.
        target: String,
        /// What it holds.
        content: String,
        /// Its mode.
        mode: u32,
    },
}

/// Who owns a mounted file, and its mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    /// User.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Permission bits.
    pub mode: u32,
}

/// Who may have a cache mount at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Sharing {
    /// All.
    #[default]
    Shared,
    /// Each its own.
    Private,
    /// One after the other.
    Locked,
}

/// What a check found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The rule's name: `StageNameCasing`.
    pub rule: &'static str,
    /// What the rule says.
    pub description: &'static str,
    /// Where it is explained; may be empty.
    pub url: &'static str,
    /// What was found.
    pub message: String,
    /// Where.
    pub lines: Lines,
}

/// A base whose configuration must be known before planning goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// To answer with.
    pub id: usize,
    /// What it is.
    pub what: Base,
    /// For which platform.
    pub platform: Platform,
    /// Who needs it.
    pub lines: Lines,
}

/// What a stage can begin with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Base {
    /// An image, by its full name with tag or digest: `docker.io/library/alpine:latest`.
    Image(String),
    /// A further context, by its name in `PlanOptions::contexts`; may come with a configuration.
    Context(String),
}

/// The answer to a [`Wanted`].
#[derive(Clone, Debug, Default)]
pub struct Given {
    /// The image's digest (of its manifest or index), for names of steps.
    pub digest: Option<String>,
    /// Its configuration, where it has one.
    pub config: Option<Arc<ImageConfig>>,
}
