//! `containerd.services.content.v1`: blobs, ours for clients that read provenance, theirs for caches.

use bytes::Bytes;

/// Where a write stands, what a write does.
pub(crate) const STAT: i32 = 0;
/// Bytes come.
pub(crate) const WRITE: i32 = 1;
/// It is whole.
pub(crate) const COMMIT: i32 = 2;

/// One blob.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct Info {
    #[prost(string, tag = "1")]
    pub(crate) digest: String,
    #[prost(int64, tag = "2")]
    pub(crate) size: i64,
}

/// Asks for one.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct InfoRequest {
    #[prost(string, tag = "1")]
    pub(crate) digest: String,
}

/// Tells of one.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct InfoResponse {
    #[prost(message, optional, tag = "1")]
    pub(crate) info: Option<Info>,
}

/// Reads one; a size of 0 is all.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct ReadContentRequest {
    #[prost(string, tag = "1")]
    pub(crate) digest: String,
    #[prost(int64, tag = "2")]
    pub(crate) offset: i64,
    #[prost(int64, tag = "3")]
    pub(crate) size: i64,
}

/// Bytes of one.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct ReadContentResponse {
    #[prost(int64, tag = "1")]
    pub(crate) offset: i64,
    #[prost(bytes = "bytes", tag = "2")]
    pub(crate) data: Bytes,
}

/// A step of a write.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct WriteContentRequest {
    #[prost(int32, tag = "1")]
    pub(crate) action: i32,
    /// Names the write.
    #[prost(string, tag = "2")]
    pub(crate) reference: String,
    #[prost(int64, tag = "3")]
    pub(crate) total: i64,
    /// The digest that it must have.
    #[prost(string, tag = "4")]
    pub(crate) expected: String,
    #[prost(int64, tag = "5")]
    pub(crate) offset: i64,
    #[prost(bytes = "bytes", tag = "6")]
    pub(crate) data: Bytes,
}

/// What came of a step.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct WriteContentResponse {
    #[prost(int32, tag = "1")]
    pub(crate) action: i32,
    #[prost(int64, tag = "4")]
    pub(crate) offset: i64,
    #[prost(string, tag = "6")]
    pub(crate) digest: String,
}
