//! `moby.buildkit.v1.Control`: builds, their progress, the cache, the history.

use super::{
    RpcStatus, Timestamp,
    solver::{Definition, Platform, Range, SourceInfo},
};
use std::collections::BTreeMap;

/// Asks what the cache takes.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct DiskUsageRequest {
    /// containerd's filters: each a list of conditions that all hold; one of them suffices.
    #[prost(string, repeated, tag = "1")]
    pub(crate) filter: Vec<String>,
}

/// What the cache takes.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct DiskUsageResponse {
    #[prost(message, repeated, tag = "1")]
    pub(crate) record: Vec<UsageRecord>,
}

/// One thing that the cache keeps.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct UsageRecord {
    #[prost(string, tag = "1")]
    pub(crate) id: String,
    #[prost(bool, tag = "2")]
    pub(crate) mutable: bool,
    #[prost(bool, tag = "3")]
    pub(crate) in_use: bool,
    #[prost(int64, tag = "4")]
    pub(crate) size: i64,
    /// For clients of before `parents`.
    #[prost(string, tag = "5")]
    pub(crate) parent: String,
    #[prost(message, optional, tag = "6")]
    pub(crate) created_at: Option<Timestamp>,
    #[prost(message, optional, tag = "7")]
    pub(crate) last_used_at: Option<Timestamp>,
    #[prost(int64, tag = "8")]
    pub(crate) usage_count: i64,
    #[prost(string, tag = "9")]
    pub(crate) description: String,
    #[prost(string, tag = "10")]
    pub(crate) record_type: String,
    #[prost(bool, tag = "11")]
    pub(crate) shared: bool,
    #[prost(string, repeated, tag = "12")]
    pub(crate) parents: Vec<String>,
}

/// What of the cache may go.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct PruneRequest {
    #[prost(string, repeated, tag = "1")]
    pub(crate) filter: Vec<String>,
    #[prost(bool, tag = "2")]
    pub(crate) all: bool,
    /// Nanoseconds.
    #[prost(int64, tag = "3")]
    pub(crate) keep_duration: i64,
    #[prost(int64, tag = "4")]
    pub(crate) reserved_space: i64,
    #[prost(int64, tag = "5")]
    pub(crate) max_used_space: i64,
    #[prost(int64, tag = "6")]
    pub(crate) min_free_space: i64,
}

/// Asks for a build.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct SolveRequest {
    /// Its name, chosen by the client.
    #[prost(string, tag = "1")]
    pub(crate) reference: String,
    #[prost(message, optional, tag = "2")]
    pub(crate) definition: Option<Definition>,
    /// Of clients of before `exporters`.
    #[prost(string, tag = "3")]
    pub(crate) exporter: String,
    #[prost(btree_map = "string, string", tag = "4")]
    pub(crate) exporter_attrs: BTreeMap<String, String>,
    /// The client's session.
    #[prost(string, tag = "5")]
    pub(crate) session: String,
    /// Empty is a gateway build.
    #[prost(string, tag = "6")]
    pub(crate) frontend: String,
    #[prost(btree_map = "string, string", tag = "7")]
    pub(crate) frontend_attrs: BTreeMap<String, String>,
    #[prost(message, optional, tag = "8")]
    pub(crate) cache: Option<CacheOptions>,
    #[prost(string, repeated, tag = "9")]
    pub(crate) entitlements: Vec<String>,
    #[prost(btree_map = "string, message", tag = "10")]
    pub(crate) frontend_inputs: BTreeMap<String, Definition>,
    /// Not for the history.
    #[prost(bool, tag = "11")]
    pub(crate) internal: bool,
    #[prost(message, repeated, tag = "13")]
    pub(crate) exporters: Vec<Exporter>,
}

/// Where caches come from and go to.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct CacheOptions {
    #[prost(string, tag = "1")]
    pub(crate) export_ref: String,
    #[prost(string, repeated, tag = "2")]
    pub(crate) import_refs: Vec<String>,
    #[prost(btree_map = "string, string", tag = "3")]
    pub(crate) export_attrs: BTreeMap<String, String>,
    #[prost(message, repeated, tag = "4")]
    pub(crate) exports: Vec<CacheOptionsEntry>,
    #[prost(message, repeated, tag = "5")]
    pub(crate) imports: Vec<CacheOptionsEntry>,
}

/// One cache: `registry`, `local`, `inline`.
#[derive(Clone, PartialEq, Eq, prost::Message, serde::Deserialize)]
pub(crate) struct CacheOptionsEntry {
    #[prost(string, tag = "1")]
    #[serde(rename = "Type", default)]
    pub(crate) kind: String,
    #[prost(btree_map = "string, string", tag = "2")]
    #[serde(rename = "Attrs", default)]
    pub(crate) attrs: BTreeMap<String, String>,
}

/// What a build gave: digests and names.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct SolveResponse {
    #[prost(btree_map = "string, string", tag = "1")]
    pub(crate) exporter_response: BTreeMap<String, String>,
}

/// Asks for a build's progress.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct StatusRequest {
    #[prost(string, tag = "1")]
    pub(crate) reference: String,
}

/// Progress since the last one.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct StatusResponse {
    #[prost(message, repeated, tag = "1")]
    pub(crate) vertexes: Vec<Vertex>,
    #[prost(message, repeated, tag = "2")]
    pub(crate) statuses: Vec<VertexStatus>,
    #[prost(message, repeated, tag = "3")]
    pub(crate) logs: Vec<VertexLog>,
    #[prost(message, repeated, tag = "4")]
    pub(crate) warnings: Vec<VertexWarning>,
}

/// A step.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct Vertex {
    #[prost(string, tag = "1")]
    pub(crate) digest: String,
    #[prost(string, repeated, tag = "2")]
    pub(crate) inputs: Vec<String>,
    #[prost(string, tag = "3")]
    pub(crate) name: String,
    #[prost(bool, tag = "4")]
    pub(crate) cached: bool,
    #[prost(message, optional, tag = "5")]
    pub(crate) started: Option<Timestamp>,
    #[prost(message, optional, tag = "6")]
    pub(crate) completed: Option<Timestamp>,
    #[prost(string, tag = "7")]
    pub(crate) error: String,
}

/// A part of a step.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct VertexStatus {
    #[prost(string, tag = "1")]
    pub(crate) id: String,
    #[prost(string, tag = "2")]
    pub(crate) vertex: String,
    #[prost(string, tag = "3")]
    pub(crate) name: String,
    #[prost(int64, tag = "4")]
    pub(crate) current: i64,
    #[prost(int64, tag = "5")]
    pub(crate) total: i64,
    #[prost(message, optional, tag = "6")]
    pub(crate) timestamp: Option<Timestamp>,
    #[prost(message, optional, tag = "7")]
    pub(crate) started: Option<Timestamp>,
    #[prost(message, optional, tag = "8")]
    pub(crate) completed: Option<Timestamp>,
}

/// What a step said.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct VertexLog {
    #[prost(string, tag = "1")]
    pub(crate) vertex: String,
    #[prost(message, optional, tag = "2")]
    pub(crate) timestamp: Option<Timestamp>,
    #[prost(int64, tag = "3")]
    pub(crate) stream: i64,
    #[prost(bytes = "bytes", tag = "4")]
    pub(crate) msg: bytes::Bytes,
}

/// What a check found.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct VertexWarning {
    #[prost(string, tag = "1")]
    pub(crate) vertex: String,
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

/// All workers: here one.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct ListWorkersResponse {
    #[prost(message, repeated, tag = "1")]
    pub(crate) record: Vec<WorkerRecord>,
}

/// Who runs steps.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct WorkerRecord {
    #[prost(string, tag = "1")]
    pub(crate) id: String,
    #[prost(btree_map = "string, string", tag = "2")]
    pub(crate) labels: BTreeMap<String, String>,
    #[prost(message, repeated, tag = "3")]
    pub(crate) platforms: Vec<Platform>,
    #[prost(message, repeated, tag = "4")]
    pub(crate) gc_policy: Vec<GcPolicy>,
    #[prost(message, optional, tag = "5")]
    pub(crate) buildkit_version: Option<BuildkitVersion>,
}

/// What of the cache goes by itself.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct GcPolicy {
    #[prost(bool, tag = "1")]
    pub(crate) all: bool,
    #[prost(int64, tag = "2")]
    pub(crate) keep_duration: i64,
    #[prost(int64, tag = "3")]
    pub(crate) reserved_space: i64,
    #[prost(string, repeated, tag = "4")]
    pub(crate) filters: Vec<String>,
    #[prost(int64, tag = "5")]
    pub(crate) max_used_space: i64,
    #[prost(int64, tag = "6")]
    pub(crate) min_free_space: i64,
}

/// Which BuildKit this behaves as.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct BuildkitVersion {
    #[prost(string, tag = "1")]
    pub(crate) package: String,
    #[prost(string, tag = "2")]
    pub(crate) version: String,
    #[prost(string, tag = "3")]
    pub(crate) revision: String,
}

/// What answers `Info`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct InfoResponse {
    #[prost(message, optional, tag = "1")]
    pub(crate) buildkit_version: Option<BuildkitVersion>,
}

/// Asks for builds of the past and of now.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct BuildHistoryRequest {
    #[prost(bool, tag = "1")]
    pub(crate) active_only: bool,
    #[prost(string, tag = "2")]
    pub(crate) reference: String,
    /// What there is now; else also what comes.
    #[prost(bool, tag = "3")]
    pub(crate) early_exit: bool,
    #[prost(string, repeated, tag = "4")]
    pub(crate) filter: Vec<String>,
    #[prost(int32, tag = "5")]
    pub(crate) limit: i32,
}

/// A build began.
pub(crate) const STARTED: i32 = 0;
/// A build ended.
pub(crate) const COMPLETE: i32 = 1;
/// A build is forgotten.
pub(crate) const DELETED: i32 = 2;

/// Something happened to a build.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct BuildHistoryEvent {
    #[prost(int32, tag = "1")]
    pub(crate) kind: i32,
    #[prost(message, optional, tag = "2")]
    pub(crate) record: Option<BuildHistoryRecord>,
}

/// One build.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct BuildHistoryRecord {
    #[prost(string, tag = "1")]
    pub(crate) reference: String,
    #[prost(string, tag = "2")]
    pub(crate) frontend: String,
    #[prost(btree_map = "string, string", tag = "3")]
    pub(crate) frontend_attrs: BTreeMap<String, String>,
    #[prost(message, repeated, tag = "4")]
    pub(crate) exporters: Vec<Exporter>,
    #[prost(message, optional, tag = "5")]
    pub(crate) error: Option<RpcStatus>,
    #[prost(message, optional, tag = "6")]
    pub(crate) created_at: Option<Timestamp>,
    #[prost(message, optional, tag = "7")]
    pub(crate) completed_at: Option<Timestamp>,
    #[prost(btree_map = "string, string", tag = "9")]
    pub(crate) exporter_response: BTreeMap<String, String>,
    #[prost(message, optional, tag = "10")]
    pub(crate) result: Option<BuildResultInfo>,
    #[prost(int32, tag = "12")]
    pub(crate) generation: i32,
    #[prost(bool, tag = "14")]
    pub(crate) pinned: bool,
    #[prost(int32, tag = "15")]
    pub(crate) num_cached_steps: i32,
    #[prost(int32, tag = "16")]
    pub(crate) num_total_steps: i32,
    #[prost(int32, tag = "17")]
    pub(crate) num_completed_steps: i32,
    /// The whole error, in the store of blobs.
    #[prost(message, optional, tag = "18")]
    pub(crate) external_error: Option<Descriptor>,
    #[prost(int32, tag = "19")]
    pub(crate) num_warnings: i32,
}

/// What is said of a build's result.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct BuildResultInfo {
    #[prost(message, repeated, tag = "2")]
    pub(crate) attestations: Vec<Descriptor>,
}

/// Changes a build's record.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct UpdateBuildHistoryRequest {
    #[prost(string, tag = "1")]
    pub(crate) reference: String,
    #[prost(bool, tag = "2")]
    pub(crate) pinned: bool,
    #[prost(bool, tag = "3")]
    pub(crate) delete: bool,
    #[prost(bool, tag = "4")]
    pub(crate) finalize: bool,
}

/// A blob by its digest.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct Descriptor {
    #[prost(string, tag = "1")]
    pub(crate) media_type: String,
    #[prost(string, tag = "2")]
    pub(crate) digest: String,
    #[prost(int64, tag = "3")]
    pub(crate) size: i64,
    #[prost(btree_map = "string, string", tag = "5")]
    pub(crate) annotations: BTreeMap<String, String>,
}

/// What becomes of a result.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct Exporter {
    #[prost(string, tag = "1")]
    pub(crate) kind: String,
    #[prost(btree_map = "string, string", tag = "2")]
    pub(crate) attrs: BTreeMap<String, String>,
}
