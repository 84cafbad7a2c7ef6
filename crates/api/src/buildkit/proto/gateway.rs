//! `moby.buildkit.v1.frontend.LLBBridge`: how a client builds from its own side, a question at a time.

use super::{
    RpcStatus,
    control::{CacheOptionsEntry, WorkerRecord},
    fsutil::Stat,
    solver::{Definition, Platform, Range, SourceInfo, SourceOp},
};
use std::collections::BTreeMap;

/// What is there for a platform, or for all.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct Result {
    /// For clients that know no definitions beside their references.
    #[prost(string, optional, tag = "1")]
    pub(crate) ref_deprecated: Option<String>,
    /// One result.
    #[prost(message, optional, tag = "3")]
    pub(crate) one: Option<Ref>,
    /// One for each platform.
    #[prost(message, optional, tag = "4")]
    pub(crate) many: Option<RefMap>,
    #[prost(btree_map = "string, bytes", tag = "10")]
    pub(crate) metadata: BTreeMap<String, Vec<u8>>,
}

/// A tree, and how it may be named in another build.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct Ref {
    #[prost(string, tag = "1")]
    pub(crate) id: String,
    #[prost(message, optional, tag = "2")]
    pub(crate) def: Option<Definition>,
}

/// Trees by platform.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct RefMap {
    #[prost(btree_map = "string, message", tag = "1")]
    pub(crate) refs: BTreeMap<String, Ref>,
}

/// What the client's side of a build ended with.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct ReturnRequest {
    #[prost(message, optional, tag = "1")]
    pub(crate) result: Option<Result>,
    #[prost(message, optional, tag = "2")]
    pub(crate) error: Option<RpcStatus>,
}

/// What was given to the build from outside.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct InputsResponse {
    #[prost(btree_map = "string, message", tag = "1")]
    pub(crate) definitions: BTreeMap<String, Definition>,
}

/// Asks for an image's configuration.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct ResolveImageConfigRequest {
    #[prost(string, tag = "1")]
    pub(crate) reference: String,
    #[prost(message, optional, tag = "2")]
    pub(crate) platform: Option<Platform>,
    #[prost(string, tag = "3")]
    pub(crate) resolve_mode: String,
}

/// An image's configuration.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct ResolveImageConfigResponse {
    #[prost(string, tag = "1")]
    pub(crate) digest: String,
    #[prost(bytes = "vec", tag = "2")]
    pub(crate) config: Vec<u8>,
    #[prost(string, tag = "3")]
    pub(crate) reference: String,
}

/// Asks what a source is now.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct ResolveSourceMetaRequest {
    #[prost(message, optional, tag = "1")]
    pub(crate) source: Option<SourceOp>,
    #[prost(message, optional, tag = "2")]
    pub(crate) platform: Option<Platform>,
    #[prost(string, tag = "4")]
    pub(crate) resolve_mode: String,
}

/// What a source is now.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct ResolveSourceMetaResponse {
    #[prost(message, optional, tag = "1")]
    pub(crate) source: Option<SourceOp>,
    #[prost(message, optional, tag = "2")]
    pub(crate) image: Option<ResolveSourceImageResponse>,
}

/// What an image is now.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct ResolveSourceImageResponse {
    #[prost(string, tag = "1")]
    pub(crate) digest: String,
    #[prost(bytes = "vec", tag = "2")]
    pub(crate) config: Vec<u8>,
}

/// Asks for a result: of a frontend, or of a graph.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct SolveRequest {
    #[prost(message, optional, tag = "1")]
    pub(crate) definition: Option<Definition>,
    #[prost(string, tag = "2")]
    pub(crate) frontend: String,
    #[prost(btree_map = "string, string", tag = "3")]
    pub(crate) frontend_opt: BTreeMap<String, String>,
    #[prost(bool, tag = "5")]
    pub(crate) allow_result_return: bool,
    #[prost(bool, tag = "6")]
    pub(crate) allow_result_array_ref: bool,
    #[prost(message, repeated, tag = "12")]
    pub(crate) cache_imports: Vec<CacheOptionsEntry>,
    #[prost(btree_map = "string, message", tag = "13")]
    pub(crate) frontend_inputs: BTreeMap<String, Definition>,
}

/// A result.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct SolveResponse {
    #[prost(string, tag = "1")]
    pub(crate) reference: String,
    #[prost(message, optional, tag = "3")]
    pub(crate) result: Option<Result>,
}

/// Reads a file of a result.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct ReadFileRequest {
    #[prost(string, tag = "1")]
    pub(crate) reference: String,
    #[prost(string, tag = "2")]
    pub(crate) file_path: String,
    #[prost(message, optional, tag = "3")]
    pub(crate) range: Option<FileRange>,
}

/// A part of a file.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub(crate) struct FileRange {
    #[prost(int64, tag = "1")]
    pub(crate) offset: i64,
    #[prost(int64, tag = "2")]
    pub(crate) length: i64,
}

/// What a file holds.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct ReadFileResponse {
    #[prost(bytes = "vec", tag = "1")]
    pub(crate) data: Vec<u8>,
}

/// Reads a directory of a result.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct ReadDirRequest {
    #[prost(string, tag = "1")]
    pub(crate) reference: String,
    #[prost(string, tag = "2")]
    pub(crate) dir_path: String,
    #[prost(string, tag = "3")]
    pub(crate) include_pattern: String,
}

/// What a directory holds.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct ReadDirResponse {
    #[prost(message, repeated, tag = "1")]
    pub(crate) entries: Vec<Stat>,
}

/// Looks at a file of a result.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct StatFileRequest {
    #[prost(string, tag = "1")]
    pub(crate) reference: String,
    #[prost(string, tag = "2")]
    pub(crate) path: String,
}

/// What a file is.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct StatFileResponse {
    #[prost(message, optional, tag = "1")]
    pub(crate) stat: Option<Stat>,
}

/// What this side can do, and who does it.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct PongResponse {
    #[prost(message, repeated, tag = "1")]
    pub(crate) frontend_caps: Vec<Cap>,
    #[prost(message, repeated, tag = "2")]
    pub(crate) llb_caps: Vec<Cap>,
    #[prost(message, repeated, tag = "3")]
    pub(crate) workers: Vec<WorkerRecord>,
}

/// Something that this side can do.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct Cap {
    #[prost(string, tag = "1")]
    pub(crate) id: String,
    #[prost(bool, tag = "2")]
    pub(crate) enabled: bool,
}

/// Shows a warning of the client's own.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct WarnRequest {
    #[prost(string, tag = "1")]
    pub(crate) digest: String,
    #[prost(int64, tag = "2")]
    pub(crate) level: i64,
    #[prost(bytes = "vec", tag = "3")]
    pub(crate) short: Vec<u8>,
    #[prost(bytes = "vec", repeated, tag = "4")]
    pub(crate) detail: Vec<Vec<u8>>,
    #[prost(string, tag = "5")]
    pub(crate) url: String,
    #[prost(message, optional, tag = "6")]
    pub(crate) info: Option<SourceInfo>,
    #[prost(message, repeated, tag = "7")]
    pub(crate) ranges: Vec<Range>,
}

/// Asks that a result be there.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct EvaluateRequest {
    #[prost(string, tag = "1")]
    pub(crate) reference: String,
}
