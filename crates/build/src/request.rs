//! What is asked of a build, by whichever door, and what comes of it.
//!
//! Plain data. A door fills a [`BuildRequest`], the solver gives a [`Built`], and an [`ExportRequest`] says what becomes
//! of that.

use crate::{
    error::Lines,
    host::Root,
    plan::{Finding, PlanOptions},
};
use bytes::Bytes;
use minke_image::ImageConfig;
use minke_model::{Timestamp, id::Digest, image::Platform};
use std::{collections::BTreeMap, sync::Arc};

/// What one build asks for.
#[derive(Clone, Debug, Default)]
pub struct BuildRequest {
    /// Where the Dockerfile is.
    pub dockerfile: DockerfileFrom,
    /// The main build context.
    pub context: ContextFrom,
    /// What changes the steps. The solver sets `build_platform`, `platform`, `multi_platform` and `ignore` itself.
    pub options: PlanOptions,
    /// What to build for; empty is this machine. Each becomes one image of the result.
    pub platforms: Vec<Platform>,
    /// The result is an index even of one platform (BuildKit's `multi-platform`).
    pub multi_platform: bool,
    /// `--pull`: ask registries for images although they are here.
    pub pull: bool,
    /// Every step's process runs with these.
    pub run: RunOptions,
    /// `--cache-from`
    pub cache_from: Vec<CacheRef>,
    /// What other builds made, by the names that further contexts have them by (`input:NAME`).
    pub inputs: BTreeMap<String, BuiltImage>,
    /// No step runs: only the Dockerfile is read and planned, with all stages (`--check`).
    pub check_only: bool,
}

impl BuildRequest {
    /// What another build made, where the further context of that name is one.
    pub fn input(&self, context: &str) -> Option<&BuiltImage> {
        self.inputs.get(self.options.contexts.get(context)?.strip_prefix("input:")?)
    }
}

/// Where the Dockerfile is.
#[derive(Clone, Debug)]
pub enum DockerfileFrom {
    /// In what the client calls `local`; `file` is a path in it.
    Local {
        /// The client's name for it: `dockerfile`.
        local: String,
        /// `Dockerfile`
        file: String,
    },
    /// In the main context, wherever that comes from.
    Context {
        /// `Dockerfile`
        file: String,
    },
    /// Here.
    Text {
        /// As messages show it.
        name: String,
        /// All of it.
        bytes: Vec<u8>,
    },
}

impl Default for DockerfileFrom {
    fn default() -> Self {
        Self::Local { local: "dockerfile".into(), file: "Dockerfile".into() }
    }
}

/// Where a build context comes from.
#[derive(Clone, Debug)]
pub enum ContextFrom {
    /// From the client, by its name for it: `context`.
    Local(String),
    /// A git repository (as [`crate::git::parse`] takes it), or a URL of a tar, or of a Dockerfile alone.
    Remote(String),
    /// Nothing.
    Empty,
}

impl Default for ContextFrom {
    fn default() -> Self {
        Self::Local("context".into())
    }
}

/// What every step's process runs with, whatever its instruction says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunOptions {
    /// `--add-host`: name and address (`host-gateway` is the bridge's).
    pub add_hosts: Vec<(String, String)>,
    /// `--ulimit`: name, soft, hard.
    pub ulimits: Vec<(String, i64, i64)>,
    /// `--shm-size`, in bytes; 64 MiB if none.
    pub shm_size: Option<u64>,
    /// `--cgroup-parent`
    pub cgroup_parent: Option<String>,
    /// The host name; `buildkitsandbox` if none.
    pub hostname: Option<String>,
    /// Bytes of memory (`/build?memory=`).
    pub memory: Option<i64>,
    /// Bytes of memory and swap.
    pub memory_swap: Option<i64>,
    /// Weight of its processors' time.
    pub cpu_shares: Option<i64>,
    /// Which processors.
    pub cpuset_cpus: String,
    /// Which memory nodes.
    pub cpuset_mems: String,
    /// Microseconds of a period.
    pub cpu_period: Option<i64>,
    /// Microseconds in each period.
    pub cpu_quota: Option<i64>,
    /// A network by name, where it is none of `default`, `host`, `none` (classic builds).
    pub network: Option<String>,
}

/// `--cache-from` or `--cache-to`: where a cache lies outside of this machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CacheRef {
    /// `registry`, `local`, `inline`…
    pub kind: String,
    /// As the client wrote them: `ref`, `mode`, `src`, `dest`, `digest`…
    pub attributes: BTreeMap<String, String>,
}

/// What a build made.
#[derive(Debug)]
pub struct Built {
    /// One for each platform, in the order they were asked for.
    pub images: Vec<BuiltImage>,
    /// It is an index even of one platform.
    pub multi_platform: bool,
    /// What checks found.
    pub findings: Vec<Finding>,
    /// The Dockerfile, to show lines of.
    pub source: crate::error::Source,
    /// Images of it say what of them is cached (the build argument `BUILDKIT_INLINE_CACHE`).
    pub inline_cache: bool,
}

/// What a build made for one platform.
#[derive(Clone, Debug)]
pub struct BuiltImage {
    /// For which.
    pub platform: Platform,
    /// Its configuration, whole: `raw` is what an image of it has.
    pub config: Arc<ImageConfig>,
    /// Its files.
    pub root: Root,
    /// `SOURCE_DATE_EPOCH`, where given: seconds since 1970.
    pub epoch: Option<i64>,
    /// Its steps that left trees: what a cache export takes.
    pub cache: Arc<[CachedStep]>,
}

/// A step of a build, as caches outside know it.
#[derive(Clone, Debug)]
pub struct CachedStep {
    /// Its key.
    pub key: Digest,
    /// What it left; of `--link` without what that lies on.
    pub root: Root,
    /// When.
    pub created: Timestamp,
    /// As progress shows it.
    pub description: String,
    /// The result needs it.
    pub in_result: bool,
}

/// What becomes of what was built.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExportRequest {
    /// `image` (also `moby`, `docker-image`), `local`, `tar`, `oci`, `docker`; empty or `cacheonly` is nothing.
    pub kind: String,
    /// As the client wrote them: `name`, `push`, `dest`, `compression`…
    pub attributes: BTreeMap<String, String>,
    /// Which of the client's exporters it is, for [`crate::host::Client::send_tar`].
    pub exporter: String,
}

/// A step as progress shows it (BuildKit's vertex).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vertex {
    /// Its identity.
    pub digest: Digest,
    /// Those that it needs.
    pub inputs: Vec<Digest>,
    /// `[2/3] RUN make`
    pub name: String,
    /// When it began, if it did.
    pub started: Option<Timestamp>,
    /// When it ended, if it did.
    pub completed: Option<Timestamp>,
    /// Nothing was done, for it was done before.
    pub cached: bool,
    /// Why it failed.
    pub error: Option<String>,
}

/// How far one part of a step is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VertexStatus {
    /// The part: `transferring context:`, `sha256:…`.
    pub id: String,
    /// Of which step.
    pub vertex: Digest,
    /// How it is shown; empty is its id.
    pub name: String,
    /// Done, often in bytes.
    pub current: i64,
    /// Of so much; zero where it is not known.
    pub total: i64,
    /// Now.
    pub time: Timestamp,
    /// When it began.
    pub started: Option<Timestamp>,
    /// When it ended, if it did.
    pub completed: Option<Timestamp>,
}

/// Output of a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VertexLog {
    /// Of which step.
    pub vertex: Digest,
    /// 1 is its output, 2 its errors.
    pub stream: u32,
    /// As they came.
    pub bytes: Bytes,
    /// When.
    pub time: Timestamp,
}

/// What a check found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VertexWarning {
    /// Of which step.
    pub vertex: Digest,
    /// BuildKit's level; a check's is 1.
    pub level: i32,
    /// One line.
    pub short: String,
    /// Further lines.
    pub detail: Vec<String>,
    /// Where it is explained.
    pub url: String,
    /// The file that it is about.
    pub source: crate::error::Source,
    /// Its lines.
    pub lines: Lines,
}

/// What a door can show while a build runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BuildEvent {
    /// A step is known, began or ended; later ones replace earlier ones of the same digest.
    Vertex(Vertex),
    /// A part of a step went on.
    Status(VertexStatus),
    /// A step said something.
    Log(VertexLog),
    /// A check found something.
    Warning(VertexWarning),
}

/// One thing that the build cache keeps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheUsage {
    /// Its name.
    pub id: String,
    /// Those it lies on.
    pub parents: Vec<String>,
    /// `regular`, `source.local`, `exec.cachemount`, `internal`, `frontend`, `source.git.checkout`.
    pub kind: &'static str,
    /// Which step it is of.
    pub description: String,
    /// It is needed now: a build runs on it.
    pub in_use: bool,
    /// An image has it as well.
    pub shared: bool,
    /// Bytes.
    pub size: u64,
    /// When it was made.
    pub created: Timestamp,
    /// When a build last needed it.
    pub last_used: Option<Timestamp>,
    /// How often builds needed it.
    pub uses: u64,
    /// It may be changed: a cache mount or a context.
    pub mutable: bool,
}

/// What of the build cache may go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CachePrune {
    /// Also what is shared with images, and internal things.
    pub all: bool,
    /// Not what was needed within so many seconds.
    pub keep_seconds: Option<u64>,
    /// Stop where the cache takes at most so many bytes (`--keep-storage`, `--max-used-space`).
    pub keep_bytes: Option<u64>,
    /// The cache may always have so many bytes (`--reserved-space`).
    pub reserved_bytes: Option<u64>,
    /// Go on until the disk has so many bytes free (`--min-free-space`).
    pub min_free_bytes: Option<u64>,
    /// Only what matches all: containerd's filters `id`, `parents`, `description`, `inuse`, `mutable`, `immutable`,
    /// `type`, `shared`, `private`, each with how it compares and with what.
    pub filters: Vec<CacheFilter>,
}

/// One condition on a [`CacheUsage`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheFilter {
    /// `id`, `type`, …
    pub field: String,
    /// `==`, `!=`, `~=`; empty where only the field must be set.
    pub operator: String,
    /// To compare with.
    pub value: String,
}
