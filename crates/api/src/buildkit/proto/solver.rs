//! `pb`: what BuildKit's solver speaks of. Of LLB only as much as references of ours need to travel in.

use minke_engine::build::{Lines, error::Source};
use std::collections::BTreeMap;

/// A machine's kind.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct Platform {
    #[prost(string, tag = "1")]
    pub(crate) architecture: String,
    #[prost(string, tag = "2")]
    pub(crate) os: String,
    #[prost(string, tag = "3")]
    pub(crate) variant: String,
    #[prost(string, tag = "4")]
    pub(crate) os_version: String,
}

/// A graph of operations, each encoded by itself.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct Definition {
    #[prost(bytes = "vec", repeated, tag = "1")]
    pub(crate) def: Vec<Vec<u8>>,
    /// By the operations' digests. Without any a client takes it for none.
    #[prost(btree_map = "string, message", tag = "2")]
    pub(crate) metadata: BTreeMap<String, OpMetadata>,
}

/// What is known of an operation besides; nothing of it is used here.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub(crate) struct OpMetadata {}

/// One operation. Only sources are known here.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct Op {
    #[prost(message, repeated, tag = "1")]
    pub(crate) inputs: Vec<Input>,
    #[prost(message, optional, tag = "3")]
    pub(crate) source: Option<SourceOp>,
}

/// An edge of the graph.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct Input {
    #[prost(string, tag = "1")]
    pub(crate) digest: String,
    #[prost(int64, tag = "2")]
    pub(crate) index: i64,
}

/// Files from outside: `docker-image://…`, `local://…`, `git://…`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct SourceOp {
    #[prost(string, tag = "1")]
    pub(crate) identifier: String,
    #[prost(btree_map = "string, string", tag = "2")]
    pub(crate) attrs: BTreeMap<String, String>,
}

/// A file that messages show lines of.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct SourceInfo {
    #[prost(string, tag = "1")]
    pub(crate) filename: String,
    #[prost(bytes = "vec", tag = "2")]
    pub(crate) data: Vec<u8>,
    #[prost(string, tag = "4")]
    pub(crate) language: String,
}

/// Lines of a file.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub(crate) struct Range {
    #[prost(message, optional, tag = "1")]
    pub(crate) start: Option<Position>,
    #[prost(message, optional, tag = "2")]
    pub(crate) end: Option<Position>,
}

/// A place in a file.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub(crate) struct Position {
    #[prost(int32, tag = "1")]
    pub(crate) line: i32,
    #[prost(int32, tag = "2")]
    pub(crate) character: i32,
}

impl From<Lines> for Range {
    fn from(lines: Lines) -> Self {
        let at = |line: u32| Some(Position { line: i32::try_from(line).unwrap_or(i32::MAX), character: 0 });
        Self { start: at(lines.first), end: at(lines.last.max(lines.first)) }
    }
}

impl From<&Source> for SourceInfo {
    fn from(source: &Source) -> Self {
        Self {
            filename: source.file.to_string(),
            data: source.text.as_bytes().to_vec(),
            language: "Dockerfile".into(),
        }
    }
}
